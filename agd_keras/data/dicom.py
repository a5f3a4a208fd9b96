"""Cases of DICOM: one file, an enhanced multi-frame file, or series in files of any order."""

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agd_keras.data.case import Case, one_line, stack_channels
from agd_keras.data.dicom_seg import write_segmentation
from agd_keras.data.dicom_series import read_header, read_series
from agd_keras.data.orientation import axial_spacing, to_axial
from agd_keras.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

_MAGIC = slice(128, 132)

# Of every file in a folder only these are read before the series are chosen.
_TAGS = [
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesDescription"),
    *("Modality", "ContrastBolusAgent", "Rows"),
]

_ENHANCED = re.compile(
    r"t1w? ?\+? ?(c|ce|gd)\b|\b(c|ce|gd|gad|gado|gadolinium|post|contrast|km)\b|\+ ?c\b|\bc ?\+"
)
_PLAIN = re.compile(r"\b(pre|without|w/?o|non|no)\b")


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
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(_MAGIC.stop)[_MAGIC] == b"DICM"
    except OSError:
        return False


def name_contrast(description: str, agent: str = "") -> str | None:
    """Guesses the contrast of a series.

    Args:
        description: Its SeriesDescription.
        agent: Its ContrastBolusAgent.

    Returns:
        `T1`, `FLAIR`, `T1c` or None.

    Example:

    >>> names = ("AX T2 FLAIR", "Ax T1 FLAIR", "AX T1 POST GD", "t1 pre contrast", "ADC")
    >>> [name_contrast(name) for name in names]
    ['FLAIR', 'T1', 'T1c', 'T1', None]
    """
    text = re.sub(r"[_-]", " ", description.lower())
    if "t1" in text:  # also T1 FLAIR, which is weighted by T1
        enhanced = _ENHANCED.search(text) or agent.strip()
        return "T1c" if enhanced and not _PLAIN.search(text) else "T1"
    return "FLAIR" if "flair" in text else None


def study_of(path: Path) -> str:
    """Returns the StudyInstanceUID of a file, empty if it cannot be read.

    Args:
        path: A DICOM file.

    Example:

    >>> study_of(Path("none.dcm"))
    ''
    """
    try:
        header = read_header(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
        return str(header.get("StudyInstanceUID", ""))
    except InputError:
        return ""


def _choose_series(path: Path, files: Sequence[Path]) -> tuple[dict[str, list[Path]], list[str]]:
    """The files of each contrast, and notes."""
    series: dict[str, list[Path]] = defaultdict(list)
    headers: dict[str, Dataset] = {}
    studies: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for file in files:
        header = read_header(file, stop_before_pixels=True, specific_tags=_TAGS)
        with one_line(file, "DICOM file"):
            if "Rows" in header and header.get("Modality") != "SEG":
                uid = str(header.get("SeriesInstanceUID"))
                series[uid].append(file)
                headers.setdefault(uid, header)
                patient = str(header.get("PatientID") or "")
                studies[uid].add((patient, str(header.get("StudyInstanceUID") or "")))
    if not series:
        raise InputError(f"{path}: expected an MR image, found other DICOM files only")
    found: dict[str, list[Path]] = {}
    other, twice = [], False
    mixed: set[tuple[str, str]] = set()
    for uid, header in headers.items():
        description = str(header.get("SeriesDescription", ""))
        contrast = name_contrast(description, str(header.get("ContrastBolusAgent") or ""))
        if contrast or len(series) == 1:
            mixed |= studies[uid]
        if contrast is None:
            other.append(description or "without description")
        else:
            twice |= contrast in found
            found[contrast] = series[uid]
    if len(mixed) > 1:
        raise InputError(
            f"{path}: files of {len(mixed)} patients or studies, expected one in a folder"
        )
    if len(series) == 1 and not found:
        return {"FLAIR": next(iter(series.values()))}, [f"series taken as FLAIR: {other[0]}"]
    if twice or (len(series) > 1 and "FLAIR" not in found):
        raise InputError(
            f"{path}: {len(series)} series, expected one, or descriptions that name one FLAIR "
            "and at most one T1 and one contrast-enhanced T1"
        )
    return found, [f"series left out: {', '.join(other)}"] if other else []


def read_dicom(name: str, files: Sequence[Path]) -> Case:
    """Reads DICOM files as one case.

    One series is taken as FLAIR unless its description says otherwise; of several, the descriptions
    must tell which is FLAIR, T1 and contrast-enhanced T1.

    Args:
        name: What the case is called; the name of its mask.
        files: Files in any order; those that are no images are left out.

    Returns:
        The `Case`; its mask is a DICOM segmentation that refers to the FLAIR.

    Raises:
        InputError: A file is damaged, too large, no MR image or in a transfer syntax that cannot be
            decoded here; the series is no volume; series are mixed or do not share a grid.

    Example:

    >>> case = read_dicom("patient", sorted(Path("patient").iterdir()))  # doctest: +SKIP
    """
    path = files[0] if len(files) == 1 else files[0].parent
    chosen, notes = _choose_series(path, files)
    found = {contrast: read_series(chosen[contrast]) for contrast in chosen}
    source = found.get("FLAIR", next(iter(found.values())))
    for contrast, series in found.items():
        same = series.volume.shape == source.volume.shape
        if not same or not np.allclose(series.affine, source.affine, atol=0.1):
            raise InputError(f"{path}: {contrast} on another grid than FLAIR; resample it first")
    channels = {name: to_axial(series.volume, source.affine) for name, series in found.items()}
    images, filled = stack_channels(path, channels)
    slices, rows, columns = axial_spacing(source.affine)
    if source.volume.shape[2] == 1:
        if np.abs(source.affine[:3, 2]).argmax() != 2:
            raise InputError(f"{path}: expected an axial slice, found one in another plane")
        slices = source.thickness
    write = partial(write_segmentation, path=path, source=source)
    notes += [*source.notes, *filled]
    return Case(images, (slices, rows, columns), (f"{name}_mask.dcm",), write, tuple(notes))
