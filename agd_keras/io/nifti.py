"""Cases of NIfTI files: one of three or four dimensions, or one for each contrast."""

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agd_keras.errors import InputError
from agd_keras.io.case import (
    AXIAL,
    CHANNELS,
    FILL,
    Case,
    check_file,
    check_voxels,
    one_line,
    stack_channels,
)
from agd_keras.io.contrasts import CONTRASTS
from agd_keras.io.geometry import (
    check_affine,
    choose_plane,
    from_slices,
    slice_spacing,
    to_slices,
)
from agd_keras.io.label_names import holds_labels
from agd_keras.io.resample import Placed, match_grids
from agd_keras.io.unzip import read_range

if TYPE_CHECKING:
    from nibabel import Nifti1Image

SUFFIXES = (".nii", ".nii.gz")

# The channels of a file that nothing else tells: one, or this package's own.
_UNTOLD = {1: ("FLAIR",), 3: CHANNELS}
_MAX_CHANNELS = 16

_MAX_OFFSET = 2**22  # header and its extensions
_TO_MM = {"meter": 1e3, "micron": 1e-3}
_DEFLATE = 1032  # the most that a byte of gzip can become


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
        if len(shape) not in (3, 4) or (len(shape) == 4 and not 1 <= shape[3] <= _MAX_CHANNELS):
            found = "x".join(map(str, shape))
            raise InputError(
                f"{path}: expected 3 dimensions, or 1 to {_MAX_CHANNELS} channels last, not {found}"
            )
        check_voxels(path, shape[:3])
        if header.get_data_dtype().kind not in "iuf":
            raise InputError(f"{path}: expected real numbers, found {header.get_data_dtype()}")
        needed = offset + prod(map(int, shape)) * header.get_data_dtype().itemsize
        if (
            not header.sizeof_hdr <= offset <= _MAX_OFFSET
            or size * (_DEFLATE if compressed else 1) < needed
        ):
            raise InputError(f"{path}: truncated, or a damaged header ({size} bytes)")
        affine = header.get_best_affine()
        check_affine(path, affine)
        return image_class(ArrayProxy(path, header, mmap=False), affine, header)


def _find_channels(
    files: Sequence[Path], contrasts: Sequence[str], opened: Callable[[Path], "Nifti1Image"]
) -> tuple[dict[str, tuple[Path, int]], list[str]]:
    """File and place of each contrast, and notes."""
    if len(files) > 1 or len(contrasts) == 1:
        _check_once(files[0], contrasts)
        return {name: (path, 0) for name, path in zip(contrasts, files, strict=True)}, []
    [path] = files
    shape = opened(path).shape
    count = shape[3] if len(shape) == 4 else 1
    order = tuple(contrasts) or _UNTOLD.get(count, ())
    if len(order) != count:
        named = f", but {len(order)} are named: {', '.join(order)}" if order else ""
        raise InputError(
            f"{path}: {count} channel{'s' if count > 1 else ''}{named}; --channels t1,t1c,t2,flair "
            "(whatever their order is) says which is which"
        )
    _check_once(path, order)
    found = {name: (path, place) for place, name in enumerate(order)}
    if count > 1:
        return found, [f"channels taken as {', '.join(order)}"]
    return found, ["taken as FLAIR, since its name tells no contrast"]


def _check_once(path: Path, names: Sequence[str]) -> None:
    """Refuses channels of which one contrast is several."""
    for name in CONTRASTS:
        if names.count(name) > 1:
            raise InputError(f"{path}: two channels are named {name}: {', '.join(names)}")


def _read(path: Path, image: "Nifti1Image", place: int) -> np.ndarray:
    """Reads one channel, `(i, j, k)`."""
    from nibabel.arrayproxy import ArrayProxy

    stored: Any = image.dataobj  # an ArrayProxy, which knows how the voxels lie in the file
    shape = image.shape[:3]
    size = prod(shape) * stored.dtype.itemsize
    start = stored.offset + place * size
    with one_line(path, "NIfTI file"), np.errstate(all="ignore"):
        content = read_range(path, start, start + size)
        if len(content) < size:
            raise InputError(
                f"{path}: truncated, {size - len(content)} bytes of voxels are missing"
            )
        layout = (shape, stored.dtype, 0, stored.slope, stored.inter)
        return np.asarray(ArrayProxy(io.BytesIO(content), layout)[...], np.float32)


def _placed(path: Path, image: "Nifti1Image", place: int) -> Placed:
    """One channel and where it lies in space, in mm."""
    with one_line(path, "NIfTI file"):
        codes = [int(image.header[code]) for code in ("sform_code", "qform_code")]
    code = next((code for code in codes if code > 0), 0)
    # 3 and 4 are standard spaces; without a code nothing relates a file to another.
    frame = {0: str(path), 3: "Talairach", 4: "standard space"}.get(code, "scanner")
    return Placed(_read(path, image, place), _affine_mm(path, image), frame)


def _affine_mm(path: Path, image: "Nifti1Image") -> np.ndarray:
    """The affine in mm, which is also meant where no unit is."""
    with one_line(path, "NIfTI file"):
        scale = _TO_MM.get(image.header.get_xyzt_units()[0], 1.0)
    return image.affine * np.array([[scale], [scale], [scale], [1.0]])


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


def read_nifti(
    name: str,
    files: Sequence[Path],
    contrasts: Sequence[str] = (),
    channels: Sequence[str] = CHANNELS,
    missing: str = FILL,
    plane: str = AXIAL,
) -> Case:
    """Reads NIfTI volumes as one case.

    Where no contrasts are given, a volume of three dimensions is FLAIR, and the last dimension of
    one with four holds T1, FLAIR and T1c. Contrasts on another grid are resampled to the FLAIR's.

    Args:
        name: What the case is called; the name of its mask.
        files: One file, or one for each contrast.
        contrasts: Contrast of each file, or of each channel of a single file; those that are not
            wanted are left out.
        channels: Names of the channels wanted, and
        missing: what becomes of those that are not there, see `stack_channels`.
        plane: In which the slices lie, see `choose_plane`.

    Returns:
        The `Case`; its mask is a uint8 volume of 0 and 1 with affine and header of the FLAIR.

    Raises:
        InputError: A file is damaged or too large, has another number of channels than contrasts,
            or there is no FLAIR.

    Example:

    >>> import tempfile, nibabel
    >>> path = Path(tempfile.mkdtemp()) / "head.nii.gz"
    >>> nibabel.Nifti1Image(np.ones((4, 5, 6), "int16"), np.eye(4)).to_filename(path)
    >>> case = read_nifti("head", [path])
    >>> case.images.shape, case.masks
    ((6, 5, 4, 3), ('head_mask.nii.gz',))
    >>> case.notes
    ('taken as FLAIR, since its name tells no contrast', 'T1 and T1c filled by FLAIR')
    """
    opened = cache(_open)  # of a file with several channels, the header is wanted more than once
    found, notes = _find_channels(files, contrasts, opened)
    if "FLAIR" not in found:
        stack_channels(files[0], dict.fromkeys(found, np.empty(0)))  # says what was found
    first = found["FLAIR"][0]
    source = opened(first)
    volumes = {}
    for channel, (path, place) in found.items():
        if channel in channels:
            image = opened(path)
            if image.ndim == 4 and image.shape[3] != 1 and (len(files) > 1 or len(contrasts) == 1):
                raise InputError(f"{path}: expected 3 dimensions in a file for one contrast")
            volumes[channel] = _placed(path, image, place)
    labels = [channel for channel, volume in volumes.items() if holds_labels(volume.voxels)]
    if "FLAIR" in labels and not contrasts:
        raise InputError(
            f"{first}: expected a scan, found few values and all of them whole numbers, as in a "
            "label map; --flair FILE if it is one"
        )
    notes += [f"warning: {channel} holds few values, as a label map does" for channel in labels]
    matched, moved = match_grids(volumes)
    affine = _affine_mm(first, source)
    plane = choose_plane(plane, affine, source.shape)
    slices = {key: to_slices(volume, affine, plane) for key, volume in matched.items()}
    images, filled = stack_channels(first, slices, channels, missing)
    notes += [*moved, *filled, *_orientation_notes(source)]
    suffix = ".nii.gz" if first.name.lower().endswith(".gz") else ".nii"
    masks = (f"{name}_mask{suffix}",)
    write = partial(_write, source=source, plane=plane)
    spacing = slice_spacing(affine, plane)
    return Case(images, spacing, masks, write, tuple(notes), affine, tuple(channels), plane)


def read_label_map(path: Path, affine: np.ndarray, plane: str = AXIAL) -> np.ndarray:
    """Reads a label map as slices.

    Args:
        path: NIfTI file of three dimensions, whole numbers.
        affine: Where the voxels of the scan lie that it labels, in mm, and
        plane: in which its slices lie.

    Returns:
        Int16 array of shape `(slices, height, width)`, slices as in `Case.images`.

    Raises:
        InputError: The file is damaged, lies on another grid than the scan, or holds other numbers.
    """
    label = _open(path)
    if prod(label.shape[3:]) != 1:
        raise InputError(f"{path}: expected a label map of 3 dimensions, found {label.ndim}")
    if not np.allclose(_affine_mm(path, label), affine, atol=1e-2):
        raise InputError(f"{path}: label on another grid than the scan")
    volume = _read(path, label, 0)
    whole = np.nan_to_num(volume).astype(np.int16)
    if not np.array_equal(volume, whole):
        raise InputError(f"{path}: expected a label map of whole numbers")
    return to_slices(whole, affine, plane)


def _write(mask: np.ndarray, paths: Sequence[Path], source: "Nifti1Image", plane: str) -> None:
    from nibabel.imageglobals import LoggingOutputSuppressor

    header = source.header.copy()
    header.set_data_dtype(np.uint8)
    header["cal_min"] = header["cal_max"] = 0  # the grey levels of the scan would hide the mask
    volume = np.ascontiguousarray(from_slices(mask, source.affine, plane), np.uint8)
    with one_line(paths[0], "NIfTI header"), LoggingOutputSuppressor():
        type(source)(volume, source.affine, header).to_filename(paths[0])
