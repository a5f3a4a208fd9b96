"""Cases of TIFF and PNG pictures: a single one, or the slices of a `kaggle_3m` patient."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from agd_keras.data.case import Case, check_file, check_voxels, one_line, stack_channels
from agd_keras.data.formats import decode_image
from agd_keras.errors import InputError
from agd_keras.quiet import silence

_GREY = ("L", "I;16", "I;16B", "I", "F")
_PNG_DEPTH = 24  # the byte of the header with the bits a channel


def _read_picture(path: Path, slices: int) -> tuple[np.ndarray, str]:
    """Reads the pixels, `(height, width)` or `(height, width, 3)`, and says what was lost."""
    check_file(path)
    # libtiff writes to standard error of files for which Pillow then raises.
    with silence(), one_line(path, "image"):
        image = decode_image(path, lambda size: check_voxels(path, (slices, *size[::-1])))
    if image.mode in _GREY:
        return np.asarray(image), ""
    if image.mode != "RGB":
        raise InputError(f"{path}: expected an RGB or grey image, found mode {image.mode}")
    with one_line(path, "image"):
        if image.format == "PNG":
            with path.open("rb") as file:
                deep = file.read(_PNG_DEPTH + 1)[_PNG_DEPTH] > 8
        else:
            deep = max(image.tag_v2.get(258, (8,))) > 8  # type: ignore[attr-defined]
    return np.asarray(image), "RGB of 16 bits read as its upper 8" if deep else ""


def read_pictures(name: str, files: Sequence[Path]) -> Case:
    """Reads pictures as one case: colour is the three contrasts, grey is FLAIR alone.

    Args:
        name: What the case is called. A single picture's mask gets this name, those of several
            go to a folder of this name.
        files: TIFF or PNG files of one size and kind, lowest slice first.

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
    notes: dict[str, None] = {}
    for path in files:
        plane, note = _read_picture(path, len(files))
        if planes and plane.shape != planes[0].shape:
            sizes = " and ".join("x".join(map(str, p.shape)) for p in (plane, planes[0]))
            raise InputError(f"{path}: slices of different sizes or kinds ({sizes})")
        planes.append(plane)
        if note:
            notes[note] = None
    images = np.stack(planes)
    if images.ndim == 3:
        images, filled = stack_channels(files[0], {"FLAIR": images})
        notes |= dict.fromkeys(filled)
    folder = PurePosixPath(name)
    stems = [folder] if len(files) == 1 else [folder / path.stem for path in files]
    masks = tuple(f"{stem}_mask{path.suffix}" for stem, path in zip(stems, files, strict=True))
    return Case(images, None, masks, _write, tuple(notes))


def _write(mask: np.ndarray, paths: Sequence[Path]) -> None:
    for plane, path in zip(mask, paths, strict=True):
        Image.fromarray(plane.astype(np.uint8) * 255).save(path)
