"""The `kaggle_3m` layout: a folder a patient, a TIFF or PNG a slice, its mask beside it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from agd_keras.errors import InputError
from agd_keras.io.case import CHANNELS
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.image_files import SUFFIXES
from agd_keras.io.layouts.found import Found
from agd_keras.io.table import LAYOUT, TABLE, dataset_root, read_table

_NAME = re.compile(r"(?P<case>.+)_(?P<index>\d+)(?P<mask>_mask)?", re.IGNORECASE)


def _scan_patient(folder: Path, labelled: bool) -> tuple[CaseRef | None, list[str], list[Path]]:
    """The case, problems and ignored entries of one folder."""
    images: dict[int, Path] = {}
    masks: dict[int, Path] = {}
    problems, ignored = [], []
    for path in sorted(folder.iterdir()):
        match = _read_name(path)
        if match is None or not path.is_file():
            ignored.append(path)
            continue
        found = masks if match["mask"] else images
        first = found.setdefault(int(match["index"]), path)
        if first != path:
            problems.append(f"{path}: the same slice as {first.name}")
    if labelled:
        problems += [f"{images[i]}: has no mask" for i in sorted(images.keys() - masks.keys())]
    problems += [f"{masks[i]}: mask without image" for i in sorted(masks.keys() - images.keys())]
    numbers = tuple(sorted(images))
    if not numbers:
        return None, problems, ignored
    label = tuple(masks[i] for i in numbers) if masks.keys() >= images.keys() else ()
    files = tuple(images[i] for i in numbers)
    case = CaseRef(folder.name, "picture", files, CHANNELS, label, numbers=numbers)
    return case, problems, ignored


def _letters(name: str) -> str:
    return re.match(r"[A-Za-z]*", name)[0]  # type: ignore[index]  # matches the empty string too


def matches(root: Path) -> bool:
    """Says whether a folder is in this layout.

    Example:

    >>> matches(Path("nowhere"))
    False
    """
    if not root.is_dir():
        return False
    root = dataset_root(root)
    return any(map(_read_name, root.glob("*/*")))


def _read_name(path: Path) -> re.Match[str] | None:
    """What a name says that is one of a slice or mask of its folder's patient."""
    match = _NAME.fullmatch(path.stem)
    own = match and match["case"] == path.parent.name and path.suffix.lower() in SUFFIXES
    return match if own else None


def find(
    root: Path,
    labelled: bool = True,
    channels: Sequence[str] = CHANNELS,
) -> Found:
    """Finds the patients, whose images and masks are paired by name.

    Args:
        root: Folder in the layout `<case>/<case>_<n>.tif` with `<case>_<n>_mask.tif` beside it
            (also `.tiff` and `.png`), or the folder above it that holds `kaggle_3m/`.
        labelled: Whether an image without a mask is a problem.
        channels: Names of the channels wanted.

    Returns:
        What was `Found`, with a line for each missing or orphan mask and patient without slices.

    Raises:
        InputError: The folder is no data set.

    Example:

    >>> from agd_keras.data.phantom import ensure_phantom
    >>> len(find(ensure_phantom(patients=3, slices=2, size=32)).cases)
    3
    """
    root = dataset_root(root)
    cases: list[CaseRef] = []
    problems: list[str] = []
    table: Mapping[str, object] = {}
    try:
        table = read_table(root)
    except InputError as error:
        problems.append(str(error))
    ignored: list[Path] = []
    empty: list[Path] = []
    for entry in sorted(root.iterdir()):
        if not entry.is_dir() or entry.name.startswith((".", "_")):
            if entry.name not in (TABLE, "README.md"):
                ignored.append(entry)
            continue
        case, wrong, other = _scan_patient(entry, labelled)
        cases += [case] if case else []
        problems += wrong
        if case or wrong:
            ignored += other
        else:
            empty.append(entry)
    if not cases and not problems:
        raise InputError(f"{root}: not a data set, {LAYOUT}")
    # A folder without slices is a patient if it is called like one, and else merely in the way.
    prefixes = {_letters(case.case_id) for case in cases}
    for entry in empty:
        if entry.name in table or _letters(entry.name) in prefixes:
            problems.append(f"{entry}: patient without slices")
        else:
            ignored.append(entry)
    return Found(tuple(cases), tuple(problems), tuple(ignored))
