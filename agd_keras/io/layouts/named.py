"""Folders of scans whose names say what they are: BraTS, DICOM studies, whatever people write.

What the scans are, `find_cases` tells. Here each gets its label: of the label maps beside it that
of its name, or the only one; of a DICOM study, its segmentations.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from agd_keras.io.case import CHANNELS
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.dicom import is_dicom, is_mr_image, study_of
from agd_keras.io.dicom_candidate import is_segmentation
from agd_keras.io.discovery import find_cases
from agd_keras.io.label_names import is_label
from agd_keras.io.layouts.found import Found
from agd_keras.io.layouts.names import is_of, stem_of
from agd_keras.io.nifti import SUFFIXES

# BraTS since 2023 and BIDS name the scan of a person behind the person.
_PERSON = re.compile(r"(BraTS-[A-Za-z]+-\d+)-\d{3}|(sub-[A-Za-z0-9]+)_ses-[A-Za-z0-9]+.*")


def find(root: Path, labelled: bool = True, channels: Sequence[str] = CHANNELS) -> Found:
    """Finds the scans of a folder to any depth, each with the label beside it.

    Args:
        root: The folder.
        labelled: Whether a scan without a label is a problem.
        channels: Names of the channels wanted.

    Returns:
        What was `Found`, with a line for each case that cannot be read, has no label or several, or
        the name of another.

    Raises:
        InputError: There is no scan.
    """
    maps = label_maps(root)
    found = find_cases([root], wanted=channels)
    dicom = any(case.kind == "dicom" for case in found)
    segmentations = find_segmentations(root) if dicom else {}
    crowd = Counter(path for case in found for path in _folders(case))
    cases, problems = [], []
    for case in found:
        if case.kind == "dicom":
            label = segmentations.get(study_of(case.files), ())
            scans = tuple(path for path in case.files if path not in label)
            case = replace(case, files=scans, label=tuple(label))
        elif case.kind == "nifti":
            own = [
                path
                for folder in _folders(case)
                for path in maps[folder]
                if crowd[folder] == 1 or is_of(path, PurePosixPath(case.case_id).name)
            ]
            if len(own) > 1:
                listed = ", ".join(path.name for path in own)
                problems.append(f"{case.files[0].parent}: several labels ({listed}); use a table")
            case = replace(case, label=tuple(own[:1]), notes=_without(case.notes, own))
        cases.append(flat(case))
    return Found(tuple(cases), (*problems, *complain(cases, labelled)))


def label_maps(root: Path) -> dict[Path, list[Path]]:
    """Finds label maps of NIfTI by their names.

    Args:
        root: The folder, searched to any depth.

    Returns:
        Files by the folder that they lie in, by name.
    """
    maps: dict[Path, list[Path]] = defaultdict(list)
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            path = Path(folder, name)
            plain = name.lower().endswith(SUFFIXES) and not name.startswith((".", "_"))
            if plain and is_label(stem_of(path)):
                maps[Path(folder)].append(path)
    return maps


def find_segmentations(root: Path) -> dict[str, list[Path]]:
    """Finds DICOM segmentations, wherever they lie.

    Args:
        root: The folder, searched to any depth.

    Returns:
        Files by their study, as `study_of` names it.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for folder, _, names in os.walk(root):
        for path in (Path(folder, name) for name in sorted(names)):
            if is_dicom(path) and not is_mr_image(path) and is_segmentation(path):
                found[study_of([path])].append(path)
    return found


def flat(case: CaseRef) -> CaseRef:
    """Gives a case a name that is fit for a file, and the person that its name tells.

    Args:
        case: A case of `find_cases`, whose name may be a path.

    Returns:
        The case, a person of its own where its name tells none.

    Example:

    >>> case = flat(CaseRef("a/BraTS-GLI-00005-100", "nifti", (Path("x.nii"),)))
    >>> case.case_id, case.patient_id
    ('a_BraTS-GLI-00005-100', 'BraTS-GLI-00005')
    """
    parts = PurePosixPath(case.case_id).parts
    name = "_".join(dict.fromkeys(parts))  # a folder and its files are often called the same
    match = _PERSON.fullmatch(parts[-1])
    person = (match[1] or match[2]) if match else name
    return replace(case, case_id=name, patient_id=person)


def complain(cases: Iterable[CaseRef], labelled: bool) -> list[str]:
    """Says what is wrong with cases by what was found of them.

    Args:
        cases: The cases.
        labelled: Whether a scan without a label is a problem.

    Returns:
        A line for each case that cannot be read, lacks its label, or has the name of another, as
        `a/b_c` and `a_b/c` have once they are `flat`.
    """
    problems = []
    called: dict[str, CaseRef] = {}
    for case in cases:
        other = called.setdefault(case.case_id, case)
        if other is not case:
            both = f"{case.files[0]} and {other.files[0]}"
            problems.append(f"{both}: two cases of the name {case.case_id}; use a table")
        if case.problem:
            problems.append(case.problem)
        elif labelled and not case.label:
            problems.append(f"{case.files[0]}: has no label beside it")
    return problems


def _without(notes: Iterable[str], labels: Iterable[Path]) -> tuple[str, ...]:
    """Says of a label that it is the label, where it was left out of the images."""
    told = tuple(notes)
    for path in labels:
        was, now = (f"{path.name} ({what})" for what in ("label map", "the label"))
        told = tuple(note.replace(was, now) for note in told)
    return told


def _folders(case: CaseRef) -> list[Path]:
    return list(dict.fromkeys(path.parent for path in case.files))
