"""The layout of the Medical Segmentation Decathlon: 4-D `imagesTr`, `labelsTr`, `dataset.json`."""

from collections.abc import Sequence
from pathlib import Path

from agd_keras.io.case import CHANNELS
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.dataset_spec import FILE, read_spec
from agd_keras.io.layouts.dataset_json import parse_channels
from agd_keras.io.layouts.found import Found
from agd_keras.io.layouts.names import stem_of
from agd_keras.io.layouts.nnunet import FOLDERS
from agd_keras.io.layouts.nnunet import matches as is_nnunet
from agd_keras.io.nifti import SUFFIXES


def matches(root: Path) -> bool:
    """Says whether a folder is in this layout.

    Example:

    >>> matches(Path("nowhere"))
    False
    """
    return (root / FILE).is_file() and (root / FOLDERS[0]).is_dir() and not is_nnunet(root)


def find(
    root: Path,
    labelled: bool = True,
    channels: Sequence[str] = CHANNELS,
) -> Found:
    """Finds the cases of `imagesTr`.

    Args:
        root: Folder with `dataset.json`, `imagesTr` and `labelsTr`.
        labelled: Whether an image without a label is a problem.
        channels: Names of the channels wanted.

    Returns:
        What was `Found`, with a line for each missing label, and if `dataset.json` tells of
        another number of cases.

    Raises:
        InputError: `dataset.json` cannot be used.
    """
    spec = read_spec(root / FILE)
    contrasts = parse_channels(spec.channel_names)
    cases, problems, ignored = [], [], []
    for path in sorted((root / FOLDERS[0]).iterdir()):
        if path.name.startswith((".", "_")) or not path.name.endswith(SUFFIXES):
            ignored.append(path)
            continue
        label = root / FOLDERS[1] / path.name
        if labelled and not label.is_file():
            problems.append(f"{path}: has no label, expected {label}")
        own = (label,) if label.is_file() else ()
        cases.append(CaseRef(stem_of(path), "nifti", (path,), contrasts, own, spec.values))
    problems += spec.miscounted(root / FILE, len(cases))
    return Found(tuple(cases), tuple(problems), tuple(ignored))
