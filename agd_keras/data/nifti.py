"""Cases of NIfTI files: one of three or four dimensions, or one for each contrast."""

import io
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agd_keras.data.case import CHANNELS, Case, check_file, check_voxels, one_line, stack_channels
from agd_keras.data.orientation import axial_spacing, check_affine, from_axial, to_axial
from agd_keras.data.unzip import read_range
from agd_keras.errors import InputError

if TYPE_CHECKING:
    from nibabel import Nifti1Image

SUFFIXES = (".nii", ".nii.gz")

# Contrasts in file names: BraTS up to 2021, BraTS since 2023, BIDS.
_NAMES = {
    **dict.fromkeys(("flair", "t2f"), "FLAIR"),
    **dict.fromkeys(("t1", "t1n", "t1w"), "T1"),
    **dict.fromkeys(("t1ce", "t1c", "t1gd"), "T1c"),
    **dict.fromkeys(("t2", "t2w"), "T2"),
}
# A number alone names a case, not a contrast.
_NAME = re.compile(
    rf"(?:(.+)[-_])?({'|'.join(_NAMES)})|(.+)[-_](000[0-3])", re.IGNORECASE | re.DOTALL
)

# Contrasts that have only a number: in this package's order, or four as in the brain tumour task
# of the Medical Segmentation Decathlon (http://medicaldecathlon.com).
_NUMBERED = {
    1: ("FLAIR",),
    2: ("T1", "FLAIR"),
    3: ("T1", "FLAIR", "T1c"),
    4: ("FLAIR", "T1", "T1c", "T2"),
}

_MAX_OFFSET = 2**22  # header and its extensions
_DEFLATE = 1032  # the most that a byte of gzip can become


def split_name(path: Path) -> tuple[str, str | None]:
    """Splits a file's name into its case and the contrast that it names, if it does.

    Args:
        path: A `.nii` or `.nii.gz` file.

    Returns:
        The case, which is the folder where the name is that of a contrast only, and `T1`, `FLAIR`,
        `T1c`, `T2`, a number such as `0001`, or None.

    Example:

    >>> split_name(Path("BraTS_001_t1ce.nii.gz")), split_name(Path("head.nii"))
    (('BraTS_001', 'T1c'), ('head', None))
    """
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    match = _NAME.fullmatch(stem)
    if not match:
        return stem, None
    if match[4]:
        return match[3], match[4]
    return match[1] or path.resolve().parent.name or stem, _NAMES[match[2].lower()]


def _open(path: Path) -> "Nifti1Image":
    """Reads the header, checks what it claims, and leaves the voxels in the file."""
    import nibabel
    from nibabel.arrayproxy import ArrayProxy
    from nibabel.imageglobals import LoggingOutputSuppressor

    check_file(path)
    size = path.stat().st_size
    compressed = path.name.lower().endswith(".gz")
    with one_line(path, "NIfTI file"), LoggingOutputSuppressor():
        # Not more than this: an extension can claim to be of any size.
        start = read_range(path, 0, _MAX_OFFSET)
        # Their first four bytes tell the two versions apart, in either byte order.
        version2 = start[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
        image_class = nibabel.Nifti2Image if version2 else nibabel.Nifti1Image
        header = image_class.header_class.from_fileobj(io.BytesIO(start))
        shape, offset = header.get_data_shape(), header.get_data_offset()
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in _NUMBERED):
            found = "x".join(map(str, shape))
            raise InputError(f"{path}: expected 3 dimensions, or 1 to 4 channels last, not {found}")
        check_voxels(path, shape[:3])
        if header.get_data_dtype().kind not in "iuf":
            raise InputError(f"{path}: expected real numbers, found {header.get_data_dtype()}")
        needed = offset + prod(map(int, shape)) * header.get_data_dtype().itemsize
        if not 0 <= offset <= _MAX_OFFSET or size * (_DEFLATE if compressed else 1) < needed:
            raise InputError(f"{path}: truncated, or a damaged header ({size} bytes)")
        affine = header.get_best_affine()
        check_affine(path, affine)
        return image_class(ArrayProxy(path, header, mmap=False), affine, header)


def _find_channels(files: Sequence[Path]) -> tuple[dict[str, tuple[Path, int]], bool]:
    """File and place of each contrast, and whether they are known by their number only."""
    names = [split_name(path)[1] for path in files]
    if len(files) == 1 and (names[0] is None or names[0].isdigit()):
        shape = _open(files[0]).shape
        order = _NUMBERED[shape[3] if len(shape) == 4 else 1]
        return {name: (files[0], place) for place, name in enumerate(order)}, True
    found: dict[str, tuple[Path, int]] = {}
    for name, path in zip(names, files, strict=True):
        if found.setdefault(name or "FLAIR", (path, 0))[0] != path:
            raise InputError(f"{path}: the same contrast as {found[name or 'FLAIR'][0].name}")
    if not any(name.isdigit() for name in found):
        return found, False
    numbers = sorted(found)
    if numbers != [f"{number:04}" for number in range(len(found))]:
        raise InputError(f"{files[0]}: expected channels 0000, 0001, ..., found {numbers}")
    order = _NUMBERED[len(found)]
    return {name: found[number] for name, number in zip(order, numbers, strict=True)}, True


def _read(path: Path, image: "Nifti1Image", place: int) -> np.ndarray:
    """Reads one channel as axial slices."""
    from nibabel.arrayproxy import ArrayProxy

    stored, shape = image.dataobj, image.shape[:3]
    size = prod(shape) * stored.dtype.itemsize
    start = stored.offset + place * size
    with one_line(path, "NIfTI file"), np.errstate(all="ignore"):
        content = read_range(path, start, start + size)
        if len(content) < size:
            raise InputError(
                f"{path}: truncated, {size - len(content)} bytes of voxels are missing"
            )
        layout = (shape, stored.dtype, 0, stored.slope, stored.inter)
        volume = ArrayProxy(io.BytesIO(content), layout)[...]
        return to_axial(np.asarray(volume, np.float32), image.affine)


def _spacing(path: Path, image: "Nifti1Image") -> tuple[float, float, float]:
    """Distances between slices, rows and columns in mm, which is also meant where no unit is."""
    with one_line(path, "NIfTI file"):
        to_mm = {"meter": 1e3, "micron": 1e-3}.get(image.header.get_xyzt_units()[0], 1.0)
    slices, rows, columns = axial_spacing(image.affine)
    return slices * to_mm, rows * to_mm, columns * to_mm


def _orientation_notes(image: "Nifti1Image") -> tuple[str, ...]:
    """What is to be said of the affine, of which a header can hold two."""
    quaternion, matrix = (image.header[name] > 0 for name in ("qform_code", "sform_code"))
    if not (quaternion or matrix):
        return ("no orientation in the header, taken as nibabel does",)
    if quaternion and matrix:
        with suppress(Exception):  # one that nibabel refuses is of no concern here
            if not np.allclose(image.header.get_qform(), image.affine, rtol=0, atol=0.1):
                return ("qform and sform of the header differ, taken as the sform says",)
    return ()


def read_nifti(name: str, files: Sequence[Path]) -> Case:
    """Reads NIfTI volumes as one case.

    A volume of three dimensions is FLAIR. The last dimension of one with four holds the channels:
    FLAIR; T1, FLAIR; T1, FLAIR, T1c; or, as in the Medical Segmentation Decathlon, FLAIR, T1, T1c,
    T2. Files numbered `_0000` onwards hold the same, one each.

    Args:
        name: What the case is called; the name of its mask.
        files: One file, or one for each contrast, named as `split_name` knows.

    Returns:
        The `Case`; its mask is a uint8 volume of 0 and 1 with affine and header of the FLAIR.

    Raises:
        InputError: A file is damaged or too large, or contrasts do not share a grid.

    Example:

    >>> import tempfile, nibabel
    >>> path = Path(tempfile.mkdtemp()) / "head.nii.gz"
    >>> nibabel.Nifti1Image(np.ones((4, 5, 6), "int16"), np.eye(4)).to_filename(path)
    >>> case = read_nifti("head", [path])
    >>> case.images.shape, case.masks, case.notes
    ((6, 5, 4, 3), ('head_mask.nii.gz',), ('T1 and T1c filled by FLAIR',))
    """
    found, numbered = _find_channels(files)
    first = found.get("FLAIR", next(iter(found.values())))[0]
    source = _open(first)
    channels = {}
    for channel, (path, place) in found.items():
        if channel in CHANNELS:
            image = source if path == first else _open(path)
            if image.ndim == 4 and image.shape[3] != 1 and (len(files) > 1 or not numbered):
                raise InputError(f"{path}: expected 3 dimensions in a file for one contrast")
            same = image.shape[:3] == source.shape[:3]
            if not same or not np.allclose(image.affine, source.affine, atol=1e-2):
                raise InputError(f"{path}: another grid than {first.name}; resample it first")
            channels[channel] = _read(path, image, place)
    images, notes = stack_channels(first, channels)
    if numbered and len(found) > 1:
        notes = (f"channels taken as {', '.join(found)}", *notes)
    notes += _orientation_notes(source)
    suffix = ".nii.gz" if first.name.lower().endswith(".gz") else ".nii"
    masks = (f"{name}_mask{suffix}",)
    return Case(images, _spacing(first, source), masks, partial(_write, source=source), notes)


def _write(mask: np.ndarray, paths: Sequence[Path], source: "Nifti1Image") -> None:
    header = source.header.copy()
    header.set_data_dtype(np.uint8)
    header["cal_min"] = header["cal_max"] = 0  # the grey levels of the scan would hide the mask
    volume = np.ascontiguousarray(from_axial(mask, source.affine), np.uint8)
    with one_line(paths[0], "NIfTI header"):
        type(source)(volume, source.affine, header).to_filename(paths[0])
