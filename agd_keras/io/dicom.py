"""Cases of DICOM: one file, an enhanced multi-frame file, or series in files of any order."""

from collections.abc import Sequence
from functools import partial
from os.path import commonpath
from pathlib import Path

from agd_keras.errors import InputError
from agd_keras.io.case import AUTO, AXIAL, CHANNELS, FILL, Case, one_line, stack_channels
from agd_keras.io.dicom_candidate import read_candidates
from agd_keras.io.dicom_choice import choose_series
from agd_keras.io.dicom_decode import read_header
from agd_keras.io.dicom_seg import write_segmentation
from agd_keras.io.dicom_series import read_series
from agd_keras.io.geometry import choose_plane, slice_spacing, to_slices
from agd_keras.io.resample import Placed, match_grids

_MAGIC = slice(128, 132)
_START = 512  # bytes that hold the class of a file
_ASKED = 8  # files of a folder for their study, if the first are none

# Classes as the header of every DICOM file has them: little endian, explicit.
_DIRECTORY = b"UI\x14\x001.2.840.10008.1.3.10"
_MR_IMAGE = b"UI\x1a\x001.2.840.10008.5.1.4.1.1.4\0"


def is_dicom(path: Path) -> bool:
    """Says whether a file has the marker of DICOM, whatever its name.

    Args:
        path: Any file.

    Returns:
        False also where it cannot be read.

    Example:

    >>> is_dicom(Path("none.dcm"))
    False
    """
    return _start(path)[_MAGIC] == b"DICM"


def is_directory(path: Path) -> bool:
    """Says whether a file is a DICOMDIR, which lists other files and holds no image.

    Args:
        path: Any file.

    Returns:
        False also where it cannot be read.

    Example:

    >>> is_directory(Path("none.dcm"))
    False
    """
    return _DIRECTORY in _start(path)


def is_mr_image(path: Path) -> bool:
    """Says by its first bytes alone whether a file is a single MR image.

    Args:
        path: Any file.

    Returns:
        False also where it cannot be read.

    Example:

    >>> is_mr_image(Path("none.dcm"))
    False
    """
    return _MR_IMAGE in _start(path)


def _start(path: Path) -> bytes:
    """The first bytes of a file, none of what is no file or cannot be read."""
    try:
        if not path.is_file():  # a pipe would keep us waiting
            return b""
        with path.open("rb") as file:
            return file.read(_START)
    except OSError:
        return b""


def study_of(files: Sequence[Path]) -> str:
    """Returns what the files of one study have in common: PatientID and StudyInstanceUID.

    Args:
        files: DICOM files, of which the first that tells is enough.

    Returns:
        Empty if none tells.

    Example:

    >>> study_of([Path("none.dcm")])
    ''
    """
    for path in files[:_ASKED]:
        try:
            tags = ["PatientID", "StudyInstanceUID"]
            header = read_header(path, stop_before_pixels=True, specific_tags=tags)
            with one_line(path, "DICOM file"):
                if header.get("StudyInstanceUID"):
                    return f"{header.get('PatientID')} {header.StudyInstanceUID}"
        except InputError:
            continue
    return ""


def series_at(path: Path) -> list[Path]:
    """Returns the files of the series that a user names by its folder or by one of its files.

    Args:
        path: A folder with one series of MR images, or a DICOM file.

    Returns:
        Its files, those that are no images left out, by name.

    Raises:
        InputError: There is none, or a folder holds several.
    """
    folder = path if path.is_dir() else path.parent
    files = [
        one
        for one in sorted(folder.iterdir())
        if (is_dicom(one) or (one.suffix.lower() == ".dcm" and one.is_file()))
        and not is_directory(one)
    ]
    if not path.is_dir():
        files = files or [path]
    if not files:
        raise InputError(f"{path}: expected a DICOM series, found none in it")
    found = read_candidates(path, files)
    if path.is_dir() and len(found) > 1:
        raise InputError(
            f"{path}: expected one DICOM series, found {len(found)}; name a file of it"
        )
    own = [one.files for one in found if path.is_dir() or path in one.files]
    if not own:
        raise InputError(f"{path}: expected an MR image")
    return own[0]


def read_dicom(
    name: str,
    files: Sequence[Path],
    contrasts: Sequence[str] = (),
    descriptions: bool = False,
    channels: Sequence[str] = CHANNELS,
    missing: str = FILL,
    plane: str = AXIAL,
) -> Case:
    """Reads DICOM files as one case.

    Of several series, tags and descriptions must tell which is FLAIR, T1 and contrast-enhanced T1;
    a single one is taken as FLAIR where nothing tells. Those on another grid than the FLAIR are
    resampled.

    Args:
        name: What the case is called; the name of its mask.
        files: Files in any order; those that are no images are left out.
        contrasts: Contrast of each file, where a user says so.
        descriptions: Whether notes may hold SeriesDescriptions, which are typed by hand.
        channels: Names of the channels wanted, and
        missing: what becomes of those that are not there, see `stack_channels`.
        plane: In which the slices lie, see `choose_plane`.

    Returns:
        The `Case`; its mask is a DICOM segmentation that refers to the FLAIR.

    Raises:
        InputError: A file is damaged, too large, no MR image or in a transfer syntax that cannot be
            decoded here; the series is no volume; series are of several studies, or nothing tells
            which one is FLAIR.

    Example:

    >>> case = read_dicom("patient", sorted(Path("patient").iterdir()))  # doctest: +SKIP
    """
    path = files[0] if len(files) == 1 else Path(commonpath([file.parent for file in files]))
    notes: list[str] = []
    if contrasts:
        chosen: dict[str, list[Path]] = {}
        for file, contrast in zip(files, contrasts, strict=True):
            if contrast in channels:
                chosen.setdefault(contrast, []).append(file)
    else:
        chosen, notes = choose_series(path, files, descriptions, channels, plane)
    found = {contrast: read_series(chosen[contrast]) for contrast in chosen}
    source = found["FLAIR"]
    volumes = {
        contrast: Placed(one.volume, one.affine, one.frame_of_reference)
        for contrast, one in found.items()
    }
    matched, moved = match_grids(volumes)
    affine, shape = source.affine, source.volume.shape
    plane = choose_plane(plane, affine, shape)
    stacks = {contrast: to_slices(volume, affine, plane) for contrast, volume in matched.items()}
    images, filled = stack_channels(path, stacks, channels, missing)
    slices, rows, columns = slice_spacing(affine, plane)
    if shape[2] == 1:
        if choose_plane(AUTO, affine, shape) != plane:
            article = "an" if plane == AXIAL else "a"
            raise InputError(
                f"{path}: expected {article} {plane} slice, found one in another plane"
            )
        slices = source.thickness
    write = partial(write_segmentation, path=path, source=source, plane=plane)
    notes += [*source.notes, *moved, *filled]
    masks = (f"{name}_mask.dcm",)
    spacing = (slices, rows, columns)
    return Case(images, spacing, masks, write, tuple(notes), affine, tuple(channels), plane)
