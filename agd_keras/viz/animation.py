"""A patient's slices as an animation, from the lowest to the highest, small enough for a report."""

import io
from collections.abc import Sequence
from math import prod

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy import ndimage

from agd_keras.viz.colors import PREDICTION, TRUTH
from agd_keras.viz.montage import flair_of, grey_range

GREYS = 32  # with more the files grow, with fewer the brain has steps
PIXELS = 2_400_000  # of all slices together: keeps the file below 1 MB
SIDE, MARGIN = 256, 4
LETTERS = 11  # height of what is written, in pixels
BAR = 12  # height of the strip below the slices: two rows and a little air

_BLUE, _ORANGE, _WHITE = GREYS, GREYS + 1, GREYS - 1


def scroll(
    images: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    milliseconds: int = 150,
    numbers: Sequence[int] = (),
    sides: str = "",
    aspect: float = 1.0,
) -> bytes:
    """Makes an animated GIF of FLAIR with the outlines of both masks.

    The strip below tells where in the stack the slice is (white), and in which slices there is
    tumour: blue in truth, orange in the prediction. Where both outlines run along the same pixels
    they alternate.

    Args:
        images: FLAIR of all slices of a patient in order, `(slices, height, width)`, or the three
            contrasts, `(slices, height, width, 3)`.
        truth: Boolean array of shape `(slices, height, width)`.
        prediction: Boolean array of the same shape.
        milliseconds: Time for each slice.
        numbers: Number of each slice, to write on it. Default: from 1.
        sides: `Case.sides`, which are written too.
        aspect: Height of a pixel over its width.

    Returns:
        The content of an animated GIF, cut to the head, 32 grey levels.

    Example:

    >>> masks = np.zeros((3, 20, 30), bool)
    >>> scroll(np.ones((3, 20, 30, 3), "uint8"), masks, masks)[:6]
    b'GIF89a'
    """
    flair = flair_of(images, 3).astype(np.float32)
    black, white = grey_range(flair)
    rows, columns = _head(flair > flair.mean(), truth | prediction)
    flair = np.clip((flair[:, rows, columns] - black) / (white - black), 0, 1)
    extents = flair.shape[1] * aspect, flair.shape[2]
    factor = min(SIDE / max(extents), (PIXELS / (len(flair) * prod(extents))) ** 0.5)
    factor = round(factor) if factor > 1 else factor  # whole pixels stay sharp, and small
    height, width = (max(1, round(factor * side)) for side in extents)
    masks = [mask[:, rows, columns] for mask in (truth, prediction)]
    found = [np.asarray(mask.any(axis=(1, 2))) for mask in masks]
    frames = [
        _frame(flair[place], [mask[place] for mask in masks], found, place, (width, height))
        for place in range(len(flair))
    ]
    for frame, number in zip(frames, numbers or range(1, len(frames) + 1), strict=True):
        _label(frame, str(number), (width, height), sides)
    buffer = io.BytesIO()
    options = {"save_all": True, "append_images": frames[1:], "duration": milliseconds, "loop": 0}
    frames[0].save(buffer, "GIF", optimize=False, **options)
    return buffer.getvalue()


def _head(tissue: np.ndarray, tumor: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold the head and all tumour in any slice."""
    seen = (tissue | tumor).any(axis=0)
    sides = []
    for axis in (1, 0):
        places = np.flatnonzero(seen.any(axis=axis))
        first, last = (places[0], places[-1]) if places.size else (0, seen.shape[1 - axis] - 1)
        sides.append(slice(max(first - MARGIN, 0), last + MARGIN + 1))
    return sides[0], sides[1]


def _frame(
    plane: np.ndarray,
    masks: list[np.ndarray],
    found: list[np.ndarray],
    place: int,
    size: tuple[int, int],
) -> Image.Image:
    """One slice in a palette of greys and the two colours."""
    method = Image.Resampling.NEAREST if size[0] >= plane.shape[1] else Image.Resampling.BILINEAR
    grey = np.asarray(Image.fromarray(plane).resize(size, method))
    drawn = (grey * (GREYS - 1)).round().astype(np.uint8)
    edges = [_edge(np.asarray(Image.fromarray(mask).resize(size))) for mask in masks]
    dashes = np.add.outer(*map(np.arange, drawn.shape)) // 3 % 2 == 0
    drawn[edges[0]] = _BLUE
    drawn[edges[1] & (dashes | ~edges[0])] = _ORANGE
    picture = Image.fromarray(np.pad(drawn, ((0, BAR), (0, 0))))
    strip = ImageDraw.Draw(picture)
    starts = np.linspace(0, size[0], len(found[0]) + 1).astype(int)
    for row, (color, there) in enumerate(zip((_BLUE, _ORANGE), found, strict=True)):
        top = size[1] + 2 + 5 * row
        for at in np.flatnonzero(there):
            strip.rectangle((starts[at], top, max(starts[at + 1] - 1, starts[at]), top + 3), color)
    last = max(starts[place + 1] - 1, starts[place])
    strip.rectangle((starts[place], size[1] + 1, last, size[1] + BAR - 1), outline=_WHITE)
    picture.putpalette(_PALETTE)
    return picture


def _label(frame: Image.Image, number: str, size: tuple[int, int], sides: str) -> None:
    """Writes the number of a slice and the sides of the patient."""
    text, (width, height) = ImageDraw.Draw(frame), size
    text.fontmode = "1"  # blends no colours of the palette
    font = ImageFont.load_default(LETTERS)
    text.text((2, 1), number, _WHITE, font)
    if sides:
        text.text((2, height / 2), sides[0], _WHITE, font, "lm")
        text.text((width - 2, height / 2), sides[1], _WHITE, font, "rm")


def _edge(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask, border_value=0)


_LEVELS = np.linspace(0, 255, GREYS).round().astype(int)
_PALETTE = [int(level) for level in np.repeat(_LEVELS, 3)]
_PALETTE += [*ImageColor.getrgb(TRUTH), *ImageColor.getrgb(PREDICTION)]
