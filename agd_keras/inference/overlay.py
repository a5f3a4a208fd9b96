"""The picture beside a mask: its outline on FLAIR, and what one must know to read it."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy import ndimage

from agd_keras.text import clean
from agd_keras.viz.colors import PREDICTION

OUTLINE = ImageColor.getrgb(PREDICTION)
PANELS, SIDE = 9, 256
LETTERS, MARGIN = 13, 4  # height of letters and their distance from the edge, in pixels
STRIP = LETTERS + 2 * MARGIN


def draw_overlay(
    flair: np.ndarray,
    mask: np.ndarray,
    spacing: tuple[float, float, float] | None,
    numbers: Sequence[int] = (),
    sides: str = "",
) -> Image.Image:
    """Draws the outline of the prediction on FLAIR, in up to nine slices from lowest to highest.

    Args:
        flair: Array of shape `(slices, height, width)`.
        mask: Boolean array of shape `(slices, height, width)`. Its slices with tumour are shown,
            evenly chosen; the middle slice if there are none.
        spacing: Between slices, rows and columns in mm, for the proportions; None for square.
        numbers: What the slices are called, a number for each. Default: from 1 on.
        sides: `Case.sides`, which are marked.

    Returns:
        The picture, with the number of each slice.

    Example:

    >>> draw_overlay(np.ones((4, 8, 8)), np.ones((4, 8, 8), bool), None).size
    (512, 512)
    """
    flair = flair.astype(np.float32)
    flair = flair - flair.min()
    white = float(np.percentile(flair, 99.5)) or float(flair.max()) or 1.0
    found = np.flatnonzero(mask.any(axis=(1, 2)))
    if not found.size:
        found = np.array([len(mask) // 2])
    places = found[np.linspace(0, len(found) - 1, min(PANELS, len(found))).round().astype(int)]
    _, rows, columns = spacing or (1.0, 1.0, 1.0)
    extent = np.array([mask.shape[1] * rows, mask.shape[2] * columns])
    least = max(SIDE, *mask.shape[1:])
    height, width = np.maximum((extent / extent.max() * least).round().astype(int), 1)
    panels = []
    for place in places:
        drawn = Image.fromarray(_panel(flair[place], mask[place], white, (height, width)))
        number = numbers[place] if len(numbers) == len(mask) else place + 1
        _label(drawn, f"{number}", sides)
        panels.append(np.asarray(drawn))
    across = int(np.ceil(np.sqrt(len(panels))))
    down = -(-len(panels) // across)
    panels += [np.zeros_like(panels[0])] * (across * down - len(panels))
    grid = [np.hstack(panels[row * across : (row + 1) * across]) for row in range(down)]
    return Image.fromarray(np.vstack(grid))


def add_title(picture: Image.Image, name: str, volume: float | None, voxels: int) -> Image.Image:
    """Puts a strip above a picture that names the case and tells how much was found.

    Args:
        picture: In colour.
        name: Of the case; what does not fit is left out in its middle.
        volume: Of the tumour in mm³; None if unknown.
        voxels: Of the tumour.

    Example:

    >>> add_title(Image.new("RGB", (256, 256)), "head", 12_345.0, 99).size
    (256, 277)
    """
    amount = f"{voxels:,} voxels" if volume is None else f"{volume / 1000:.1f} ml"
    font = ImageFont.load_default(LETTERS)
    titled = Image.new("RGB", (picture.width, picture.height + STRIP))
    titled.paste(picture, (0, STRIP))
    text = ImageDraw.Draw(titled)
    right = picture.width - MARGIN - text.textlength(amount, font)
    text.text((right, MARGIN), amount, "white", font)
    for longest in range(40, 3, -1):
        shown = clean(name, longest)
        if text.textlength(shown, font) < right - 3 * MARGIN:
            text.text((MARGIN, MARGIN), shown, "white", font)
            break
    return titled


def _panel(image: np.ndarray, mask: np.ndarray, white: float, size: tuple[int, int]) -> np.ndarray:
    """One slice with the outline, `(*size, 3)` uint8."""
    grey = np.clip(image / white * 255, 0, 255).astype(np.uint8)
    drawn = np.repeat(
        np.asarray(Image.fromarray(grey).resize(size[::-1], Image.Resampling.BILINEAR))[..., None],
        3,
        axis=-1,
    )
    large = Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST)
    inside = np.asarray(large)
    drawn[inside & ~ndimage.binary_erosion(inside, np.ones((3, 3)), border_value=0)] = OUTLINE
    return drawn


def _label(panel: Image.Image, number: str, sides: str) -> None:
    """Writes the number of a slice and the sides of the patient."""
    text, font = ImageDraw.Draw(panel), ImageFont.load_default(LETTERS)

    def write(place: tuple[float, float], letters: str, anchor: str) -> None:
        text.text(place, letters, "white", font, anchor, stroke_width=1, stroke_fill="black")

    write((MARGIN, MARGIN), number, "la")
    if sides:
        write((MARGIN, panel.height / 2), sides[0], "lm")
        write((panel.width - MARGIN, panel.height / 2), sides[1], "rm")
