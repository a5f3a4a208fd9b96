"""Cases of TIFF and PNG pictures: a single one, or the slices of a `kaggle_3m` patient."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from agd_keras.errors import InputError
from agd_keras.io.case import CHANNELS, FILL, Case, one_line, settle_channels, stack_channels
from agd_keras.io.image_files import read_values
from agd_keras.quiet import silence


def read_pictures(
    name: str,
    files: Sequence[Path],
    channels: Sequence[str] = CHANNELS,
    missing: str = FILL,
) -> Case:
    """Reads pictures as one case: colour is the three contrasts, grey is FLAIR alone.

    Args:
        name: What the case is called. A single picture's mask gets this name, those of several
            go to a folder of this name.
        files: TIFF or PNG files of one size and kind, lowest slice first.
        channels: Names of the channels wanted, and
        missing: what becomes of those that are not there, see `stack_channels`.

    Returns:
        The `Case`, without spacing: resolution in such files is about printing.

    Raises:
        InputError: A file is missing, damaged, of another type, or sizes differ.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "slice.png"
    >>> Image.fromarray(np.zeros((4, 6, 3), "uint8")).save(path)
    >>> read_pictures("slice", [path]).masks
    ('slice_mask.png',)
    """
    planes: list[np.ndarray] = []
    for path in files:
        # libtiff writes to standard error of files for which Pillow then raises.
        with silence(), one_line(path, "image"):
            plane = read_values(path, len(files))
        if planes and plane.shape != planes[0].shape:
            sizes = " and ".join("x".join(map(str, p.shape)) for p in (plane, planes[0]))
            raise InputError(f"{path}: slices of different sizes or kinds ({sizes})")
        planes.append(plane)
    images = np.stack(planes)
    if images.ndim == 3:
        images, notes = stack_channels(files[0], {"FLAIR": images}, channels, missing)
    elif tuple(channels) == CHANNELS:
        notes = tuple(settle_channels(images))
    else:
        found = {contrast: images[..., place] for place, contrast in enumerate(CHANNELS)}
        images, notes = stack_channels(files[0], found, channels, missing)
    folder = PurePosixPath(name)
    stems = [folder] if len(files) == 1 else [folder / path.stem for path in files]
    masks = tuple(f"{stem}_mask{path.suffix}" for stem, path in zip(stems, files, strict=True))
    return Case(images, None, masks, _write, notes, channels=tuple(channels))


def _write(mask: np.ndarray, paths: Sequence[Path]) -> None:
    for plane, path in zip(mask, paths, strict=True):
        Image.fromarray(plane.astype(np.uint8) * 255).save(path)
