"""The files of a prediction: made under another name, never over others, never outside."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor
from scipy import ndimage

from agd_keras.errors import InputError
from agd_keras.files import unique_number
from agd_keras.inference.uncertainty import UncertaintyMaps
from agd_keras.io.case import CHANNELS
from agd_keras.viz import overlays

MAPS = ("probability", "entropy", "mutual_information")
PREDICTION = ImageColor.getrgb(overlays.PREDICTION)
LONGEST_NAME = 255  # bytes, of nearly every file system
_PANELS, _SIDE = 9, 256


def resolve_outputs(
    out: Path, names: Sequence[str], sources: Sequence[Path], overwrite: bool
) -> list[Path]:
    """Turns names of output files into paths that may be written.

    Args:
        out: The output folder.
        names: Relative names.
        sources: The files that the case was read from.
        overwrite: Whether files of an earlier prediction may be replaced, which none in a folder
            with input may: they could be truth.

    Returns:
        A path for each name; nothing is made yet.

    Raises:
        InputError: A file exists already, would lie outside the folder, or has too long a name.

    Example:

    >>> resolve_outputs(Path("out"), ["a/b_mask.png"], [], overwrite=False)
    [PosixPath('out/a/b_mask.png')]
    """
    inputs = {path.parent.resolve() for path in sources}
    for path in (paths := [out / name for name in names]):
        if len(os.fsencode(path.name)) > LONGEST_NAME:
            source = next(iter(sources), path)
            raise InputError(f"{source}: the name is too long for outputs, {LONGEST_NAME} bytes")
        if not path.parent.resolve().is_relative_to(out.resolve()):
            raise InputError(f"{path}: leads out of {out}")
        if os.path.lexists(path):
            if not overwrite:
                raise InputError(f"{path}: exists already; --overwrite replaces it")
            if path.parent.resolve() in inputs or not path.is_file():
                raise InputError(f"{path}: exists beside the input and is not replaced")
    return paths


@contextmanager
def replacing(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Gives names to write to, and renames them into place once all are written.

    Args:
        paths: The files; older ones are replaced, missing folders made.

    Raises:
        OSError: One cannot be written; names it.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "new" / "note.txt"
    >>> with replacing([path]) as (temporary,):
    ...     _ = temporary.write_text("done")
    >>> path.read_text()
    'done'
    """
    number = unique_number()
    # The end of the name tells the format; the whole could be too long.
    temporary = [
        path.with_name(f".tmp-{number}-{place}-{path.name[-12:]}")
        for place, path in enumerate(paths)
    ]
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        for made, path in zip(temporary, paths, strict=True):
            os.replace(made, path)
    except OSError as error:
        # They are written in order: a full disk was met by the last one that was begun.
        begun = [path for made, path in zip(temporary, paths, strict=True) if made.exists()]
        where = begun[-1] if begun else paths[0]
        raise OSError(error.errno, error.strerror or str(error), str(where)) from error
    finally:
        for made in temporary:
            made.unlink(missing_ok=True)


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
    drawn[inside & ~ndimage.binary_erosion(inside, np.ones((3, 3)), border_value=0)] = PREDICTION
    return drawn


def draw_overlay(
    images: np.ndarray, mask: np.ndarray, spacing: tuple[float, float, float] | None
) -> Image.Image:
    """Draws the outline of the prediction on FLAIR, in up to nine slices from lowest to highest.

    Args:
        images: Array of shape `(slices, height, width, 3)`.
        mask: Boolean array of shape `(slices, height, width)`. Its slices with tumour are shown,
            evenly chosen; the middle slice if there are none.
        spacing: Between slices, rows and columns in mm, for the proportions; None for square.

    Returns:
        The picture.

    Example:

    >>> draw_overlay(np.ones((4, 8, 8, 3)), np.ones((4, 8, 8), bool), None).size
    (512, 512)
    """
    flair = images[..., CHANNELS.index("FLAIR")].astype(np.float32)
    flair = flair - flair.min()
    white = float(np.percentile(flair, 99.5)) or float(flair.max()) or 1.0
    found = np.flatnonzero(mask.any(axis=(1, 2)))
    if not found.size:
        found = np.array([len(mask) // 2])
    places = found[np.linspace(0, len(found) - 1, min(_PANELS, len(found))).round().astype(int)]
    _, rows, columns = spacing or (1.0, 1.0, 1.0)
    extent = np.array([mask.shape[1] * rows, mask.shape[2] * columns])
    least = max(_SIDE, *mask.shape[1:])
    height, width = np.maximum((extent / extent.max() * least).round().astype(int), 1)
    panels = [_panel(flair[i], mask[i], white, (height, width)) for i in places]
    across = int(np.ceil(np.sqrt(len(panels))))
    down = -(-len(panels) // across)
    panels += [np.zeros_like(panels[0])] * (across * down - len(panels))
    grid = [np.hstack(panels[row * across : (row + 1) * across]) for row in range(down)]
    return Image.fromarray(np.vstack(grid))


def write_maps(maps: UncertaintyMaps, images: np.ndarray, arrays: Path, picture: Path) -> None:
    """Writes maps of uncertainty: all of them as arrays, those of one slice as a picture.

    Args:
        maps: Maps of shape `(slices, height, width)`.
        images: Array of shape `(slices, height, width, 3)`.
        arrays: An `.npz` file, float16: `probability`, and in nats `entropy` and
            `mutual_information`.
        picture: A `.png` file: the slice with most entropy, in bits, so that 1 is the highest.
    """
    values = {name: getattr(maps, name) for name in MAPS}
    np.savez_compressed(arrays, **{name: value.astype("f2") for name, value in values.items()})
    place = int(maps.entropy.sum(axis=(1, 2)).argmax())
    shown = {"probability": values["probability"][place]}
    for name in MAPS[1:]:
        shown[f"{name.replace('_', ' ')} (bits)"] = values[name][place] / np.log(2)
    overlays.maps(images[place], shown, label="probability, or bits").savefig(picture, dpi=150)
