"""Masks of a second reader, in whichever of three layouts they lie."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agd_keras.errors import InputError
from agd_keras.io.arrays import open_arrays
from agd_keras.io.case import AXIAL
from agd_keras.io.image_files import SUFFIXES, read_mask


def read_second(
    folder: str | Path, patient: str, numbers: Sequence[int], plane: str = AXIAL
) -> tuple[list[int], np.ndarray] | None:
    """Reads the masks of a patient, if there are any.

    | layout | which slices |
    |---|---|
    | `<case>.npz` with `mask` `(n, height, width)` and `slices` `(n,)` | those of these numbers |
    | `<case>.nii.gz` or `<case>.nii` | all, the lowest first |
    | `<case>/<case>_<n>_mask.tif` (`.tiff`, `.png`) | those that are there |

    Args:
        folder: Where the masks lie.
        patient: Name of the case.
        numbers: Numbers of its slices, in order.
        plane: In which they lie, see `choose_plane`.

    Returns:
        Places in `numbers` of the slices with a mask, and the masks, boolean, of shape
        `(places, height, width)`, True where the file is not 0; None if there is no file.

    Raises:
        InputError: The folder is missing, a file is damaged, or its slices do not fit.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     masks = np.eye(4, dtype=bool)[None]
    ...     np.savez(f"{folder}/a.npz", mask=masks, slices=[3])
    ...     places, found = read_second(folder, "a", [2, 3, 4])
    >>> places, found.shape
    ([1], (1, 4, 4))
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder with the masks of a second reader")
    array = folder / f"{patient}.npz"
    if array.is_file():
        return _read_array(array, numbers)
    for volume in (folder / f"{patient}.nii.gz", folder / f"{patient}.nii"):
        if volume.is_file():
            return _read_volume(volume, numbers, plane)
    found = [
        (place, path)
        for place, number in enumerate(numbers)
        for suffix in SUFFIXES
        if (path := folder / patient / f"{patient}_{number}_mask{suffix}").is_file()
    ]
    if not found:
        return None
    masks = [read_mask(path) for _, path in found]
    if len({mask.shape for mask in masks}) > 1:
        raise InputError(f"{folder / patient}: masks of different sizes")
    return [place for place, _ in found], np.stack(masks).astype(bool)


def _read_array(path: Path, numbers: Sequence[int]) -> tuple[list[int], np.ndarray]:
    with open_arrays(path) as archive:
        if not {"mask", "slices"} <= set(archive.files):
            raise InputError(f"{path}: expected `mask` and `slices` in it")
        mask, own = archive["mask"], archive["slices"]
    if mask.ndim != 3 or own.shape != mask.shape[:1] or mask.dtype.kind not in "biuf":
        raise InputError(f"{path}: expected a mask of 3 dimensions and a number for each slice")
    places = {number: place for place, number in enumerate(numbers)}
    unknown = [number for number in own.tolist() if number not in places]
    if unknown or len(set(own.tolist())) < len(own):
        raise InputError(f"{path}: expected numbers of the patient's slices, each once")
    order = [places[number] for number in own.tolist()]
    return order, mask != 0


def _read_volume(path: Path, numbers: Sequence[int], plane: str) -> tuple[list[int], np.ndarray]:
    from agd_keras.io.nifti import read_nifti

    images = read_nifti(path.name, [path], ("FLAIR",), plane=plane).images[..., 0]
    if len(images) != len(numbers):
        raise InputError(f"{path}: expected {len(numbers)} slices, found {len(images)}")
    return list(range(len(numbers))), images != 0
