"""The Brain Imaging Data Structure, whose masks lie in `derivatives/`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agd_keras.io.case import CHANNELS
from agd_keras.io.contrasts import words_of
from agd_keras.io.discovery import find_cases
from agd_keras.io.layouts.bids import case_of, read_entities
from agd_keras.io.layouts.found import Found
from agd_keras.io.layouts.named import complain, flat
from agd_keras.io.layouts.names import stem_of
from agd_keras.io.nifti import SUFFIXES

_SUFFIXES = ("mask", "dseg", "seg", "roi")
_TUMOUR = {"tumor", "tumour", "lesion", "whole", "wholetumor", "wholetumour", "wt", "glioma"}
_TISSUE = {"brain", "skull", "head", "gm", "wm", "csf", "aseg", "aparc", "aparcaseg", "tissue"}


def matches(root: Path) -> bool:
    """Says whether a folder is in this layout.

    Example:

    >>> matches(Path("nowhere"))
    False
    """
    return (root / "dataset_description.json").is_file() or any(root.glob("sub-*/"))


def find(root: Path, labelled: bool = True, channels: Sequence[str] = CHANNELS) -> Found:
    """Finds the scans of all sessions, each with its mask in `derivatives/`.

    Of several masks of a session that of a tumour or lesion is taken; masks of the brain and of
    tissue are none.

    Args:
        root: The folder above `sub-*`.
        labelled: Whether a scan without a label is a problem.
        channels: Names of the channels wanted.

    Returns:
        What was `Found`, with a line for each session without a mask, with several, or twice there.

    Raises:
        InputError: There is no scan.

    Reference:
        https://bids-specification.readthedocs.io/en/stable/derivatives/imaging.html
    """
    masks: dict[str, list[Path]] = {}
    for path in sorted((root / "derivatives").rglob("sub-*")):
        entities = read_entities(stem_of(path))
        told = set(words_of(" ".join(entities.values())))
        if entities.get("suffix") in _SUFFIXES and not told & _TISSUE and _is_nifti(path):
            masks.setdefault(case_of(entities), []).append(path)
    cases, problems = [], []
    for case in map(flat, find_cases([root], wanted=channels)):
        entities = read_entities(stem_of(case.files[0]))
        own = masks.get(case_of(entities), []) if entities else []
        tumours = [path for path in own if _TUMOUR & set(words_of(stem_of(path)))]
        own = tumours if len(own) > 1 and tumours else own
        if len(own) > 1:
            listed = ", ".join(path.name for path in own)
            problems.append(f"{case.files[0].parent}: several labels ({listed}); use a table")
        name = case_of(entities) if entities else case.case_id
        person = f"sub-{entities['sub']}" if entities else case.patient_id
        cases.append(replace(case, case_id=name, patient_id=person, label=tuple(own[:1])))
    return Found(tuple(cases), (*problems, *complain(cases, labelled)))


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)
