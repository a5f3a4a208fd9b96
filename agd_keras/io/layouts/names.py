"""File names that say a case and a contrast: BraTS, dcm2niix, and whatever people write."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agd_keras.io.contrasts import OTHER, enhancement, kind_of, name_contrast, words_of
from agd_keras.io.layouts import bids

_PART = re.compile(r"[A-Za-z0-9+*]+")
_BEFORE = re.compile(
    r"ax|axial|sag|sagittal|cor|coronal|tra|3d|2d|pre|post|ce|gd|gad|gado|km|kontrast|contrast|"
    r"postcontrast|precontrast",
    re.IGNORECASE,
)
# Folders of archives (XNAT, exports) between a scan's own folder and its files.
_GENERIC = re.compile(r"nifti|nii|resources|files|scans?|images?|data|secondary", re.IGNORECASE)


@dataclass(frozen=True)
class FileName:
    """What the name of a file says.

    Args:
        path: The file.
        place: Folder of its case, relative to the input.
        case: Its case, empty for the one that the folder is.
        contrast: `T1`, `FLAIR`, `T1c`, `T2`, `other`, or None where nothing is said.
        plain: Whether it says the contrast and nothing else of the image.
        space: Where it was resampled to, in BIDS.
    """

    path: Path
    place: str
    case: str
    contrast: str | None
    plain: bool = False
    space: str = ""


def stem_of(path: Path) -> str:
    """Returns the name of a file without `.nii`, `.nii.gz` or its other suffix.

    Example:

    >>> stem_of(Path("a.b.nii.gz")), stem_of(Path("c.png"))
    ('a.b', 'c')
    """
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    return path.stem if stem == path.name else stem


def is_of(path: Path, case: str) -> bool:
    """Says whether a file's name begins with that of a case, and not merely with its letters.

    Args:
        path: The file.
        case: The case.

    Returns:
        Whether no letter or digit follows.

    Example:

    >>> is_of(Path("P_1_seg.nii"), "P_1"), is_of(Path("P_10_seg.nii"), "P_1")
    (True, False)
    """
    return bool(re.match(rf"{re.escape(case)}(?![A-Za-z0-9])", stem_of(path)))


def _start_of_contrast(stem: str) -> int | None:
    """Where in a name the words about the image begin; what is before is the case."""
    starts = [match.start() for match in _PART.finditer(stem)]
    kinds = [kind_of((words_of(stem[start:]) or [""])[0]) for start in starts]
    glued = [any(map(kind_of, words_of(match[0]))) for match in _PART.finditer(stem)]
    told = [place for place, kind in enumerate(kinds) if kind not in (None, OTHER)]
    told = told or [place for place, has in enumerate(glued) if has]
    if not told:
        return None
    first = told[0]
    while first:
        before = stem[starts[first - 1] : starts[first]].rstrip("-_. ")
        if not (_BEFORE.fullmatch(before) or kinds[first - 1] == OTHER):
            break
        first -= 1
    return starts[first]


def _split(stem: str) -> tuple[str, str | None, bool]:
    start = _start_of_contrast(stem)
    if start is None:
        return stem, None, False
    words = words_of(stem[start:])
    contrast = name_contrast(words)
    told = [kind_of(word) not in (None, OTHER) for word in words]
    agent = [contrast == "T1c" and bool(enhancement([word])) for word in words]
    return stem[:start].rstrip("-_. "), contrast, all(map(max, told, agent))


def _contrast_of_folder(name: str) -> str | None:
    """The contrast that a folder is for, as `FLAIR`, `2_T1GD` or `5-t2_flair_tra`."""
    case, contrast, plain = _split(name)
    numbered = bool(re.fullmatch(r"\d*", case))
    return contrast if numbered and (case or plain or contrast != OTHER) else None


def read_name(path: Path, place: str) -> FileName:
    """Reads what a file's name says, and what the folder says that it lies in.

    Args:
        path: The file.
        place: Its folder, relative to the input, `.` for the input itself.

    Returns:
        The `FileName`.

    Example:

    >>> name = read_name(Path("BraTS_001_t1ce.nii.gz"), ".")
    >>> name.case, name.contrast
    ('BraTS_001', 'T1c')
    >>> name = read_name(Path("EGD-1/2_T1GD/NIFTI/T1GD.nii.gz"), "EGD-1/2_T1GD/NIFTI")
    >>> name.place, name.case, name.contrast
    ('EGD-1', '', 'T1c')
    """
    stem = stem_of(path)
    entities = bids.read_entities(stem)
    if entities:
        contrast, plain = bids.contrast_of(entities)
        case = bids.case_of(entities)
        return FileName(path, place, case, contrast, plain, entities.get("space", ""))
    case, contrast, plain = _split(stem)
    folders = list(PurePosixPath(place).parts)
    while folders and _GENERIC.fullmatch(folders[-1]):
        folders.pop()
    of_folder = _contrast_of_folder(folders[-1]) if folders else None
    # Or a folder for the one file, of its name, as of old BraTS: `P.MR_Flair.1/P.MR_Flair.1.nii`.
    told = bool(folders and case and contrast)
    alone = told and _split(folders[-1])[:2] == (case, contrast)
    if (of_folder and contrast in (None, of_folder)) or alone:
        place = str(PurePosixPath(*folders[:-1]))
        return FileName(path, place, case, of_folder or contrast, plain)
    return FileName(path, place, case, contrast, plain)
