"""The layout of nnU-Net: `imagesTr/<case>_0000.nii.gz`, `labelsTr`, `dataset.json`."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from agd_keras.errors import InputError
from agd_keras.io.case import CHANNELS
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.dataset_spec import FILE, read_spec
from agd_keras.io.layouts.dataset_json import parse_channels
from agd_keras.io.layouts.found import Found
from agd_keras.io.nifti import SUFFIXES

FOLDERS = ("imagesTr", "labelsTr")


def matches(root: Path) -> bool:
    """Says whether a folder is in this layout.

    Example:

    >>> matches(Path("nowhere"))
    False
    """
    spec = root / FILE
    folder = root / FOLDERS[0]
    return spec.is_file() and folder.is_dir() and any(folder.glob("*_0000.*"))


def find(
    root: Path,
    labelled: bool = True,
    channels: Sequence[str] = CHANNELS,
) -> Found:
    """Finds the cases of `imagesTr`.

    Each case is a person of its own, as nothing says otherwise.

    Args:
        root: Folder with `dataset.json`, `imagesTr` and `labelsTr`.
        labelled: Whether an image without a label is a problem.
        channels: Names of the channels wanted.

    Returns:
        What was `Found`, with a line for each missing channel and label, and if `dataset.json`
        tells of another number of cases.

    Raises:
        InputError: `dataset.json` cannot be used.
    """
    spec = read_spec(root / FILE)
    ending, images, labels = spec.file_ending, root / FOLDERS[0], root / FOLDERS[1]
    if ending.lower() not in SUFFIXES:
        raise InputError(f"{root / FILE}: file_ending {ending}: expected .nii or .nii.gz")
    contrasts = parse_channels(spec.channel_names)
    name = re.compile(rf"(.+)_(\d{{4}}){re.escape(ending)}")
    files: dict[str, dict[int, Path]] = defaultdict(dict)
    ignored = []
    for path in sorted(images.iterdir()):
        match = name.fullmatch(path.name)
        if match:
            files[match[1]][int(match[2])] = path
        else:
            ignored.append(path)
    cases, problems = [], spec.miscounted(root / FILE, len(files))
    for case, given in files.items():
        label = labels / f"{case}{ending}"
        missing = [n for n in range(len(contrasts)) if n not in given]
        problems += [f"{images / case}_{n:04}{ending}: expected, found nothing" for n in missing]
        problems += [
            f"{path}: a channel that {FILE} does not name"
            for n, path in given.items()
            if n >= len(contrasts)
        ]
        if labelled and not label.is_file():
            problems.append(f"{images / case}: has no label, expected {label}")
        stack = tuple(given[n] for n in sorted(given) if n < len(contrasts))
        named = tuple(contrasts[n] for n in sorted(given) if n < len(contrasts))
        own = (label,) if label.is_file() else ()
        cases.append(CaseRef(case, "nifti", stack, named, own, spec.values))
    return Found(tuple(cases), tuple(problems), tuple(ignored))
