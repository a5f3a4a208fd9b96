"""Splits that others made: `splits_final.json` of nnU-Net, and `folds.json` of a run.

nnU-Net knows training and validation, and reports the latter. Its validation cases are our test;
ours for picking the best epoch are dealt from its training cases, as `make_folds` would.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agd_keras.data.slices import Slice
from agd_keras.data.splits import Fold, make_folds, parse_folds
from agd_keras.errors import InputError
from agd_keras.files import write_text
from agd_keras.wording import counted

logger = logging.getLogger(__name__)

NNUNET = "splits_final.json"
_MAX_BYTES = 2**26


def count_folds(path: str | Path) -> int:
    """Says how many tests a split has.

    Args:
        path: `splits_final.json` or `folds.json`.

    Returns:
        As `data.folds`: 1 for a single test, 0 for none.

    Raises:
        InputError: The file is missing, or of another form.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / NNUNET
    >>> _ = path.write_text('[{"train": ["a", "b"], "val": ["c"]}]')
    >>> count_folds(path)
    1
    """
    content = _read(path)
    if isinstance(content, list):
        return len(_pairs(path, content))
    folds = parse_folds(content, path)
    return len(folds) if folds[0].test else 0


def read_split(
    path: str | Path,
    slices: Sequence[Slice],
    areas: Mapping[str, int],
    split: str = "subject",
    seed: int = 0,
    portions: int = 10,
    validation_portions: int = 1,
) -> list[Fold]:
    """Reads the folds of a file, of either kind, and checks them against the data.

    Args:
        path: `splits_final.json`, whose units are cases, or `folds.json`.
        slices: The data set.
        areas: Tumour pixels of each slice, by its name.
        split: As in `make_folds`; a `splits_final.json` is of whole persons.
        seed: Seed of the deal of validation cases.
        portions: As in `make_folds`, of the training cases of a `splits_final.json`.
        validation_portions: As in `make_folds`.

    Returns:
        The folds, as in the file. Cases that it does not name have no part, which is logged.

    Raises:
        InputError: The file is of another form, names what is not in the data, puts a case or a
            person on two sides, or tests one twice.
    """
    content = _read(path)
    if not isinstance(content, list):
        if content.get("split", split) != split:
            raise InputError(f"{path}: split by {content['split']}, expected --split {split}")
        folds = parse_folds(content, path)
    elif split != "subject":
        raise InputError(f"{path}: of whole cases, expected --split subject; --folds-file none")
    else:
        persons = {one.case: one.patient for one in slices}
        folds = []
        for index, sides in enumerate(_pairs(path, content)):
            train, test = _by_person(f"{path}, fold {index}", sides, persons)
            own = [one for one in slices if one.patient in train]
            if len(train) < 3:
                found = counted(len(train), "person")
                raise InputError(f"{path}, fold {index}: {found} to train on, expected at least 3")
            [dealt] = make_folds(own, areas, 0, split, seed, portions, validation_portions)
            folds.append(Fold(index, dealt.train, dealt.validation, tuple(sorted(test))))
    _check(path, folds, {one.patient if split == "subject" else one.name for one in slices})
    return folds


def save_nnunet(folds: Iterable[Fold], cases: Mapping[str, str], path: str | Path) -> None:
    """Writes folds as nnU-Net reads them: what trains and validates, and what tests.

    Args:
        folds: Folds of persons.
        cases: The person of each case.
        path: File to write.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / NNUNET
    >>> folds = [Fold(0, ("P1",), ("P2",), ("P3",))]
    >>> save_nnunet(folds, {"a": "P1", "b": "P1", "c": "P2", "d": "P3"}, path)
    >>> json.loads(path.read_text())
    [{'train': ['a', 'b', 'c'], 'val': ['d']}]
    """
    written = []
    for fold in folds:
        # Without a test, nnU-Net reports what picked the epoch.
        val = set(fold.test or fold.validation)
        train = {*fold.train, *fold.validation} - val
        sides = {"train": train, "val": val}
        written.append(
            {
                side: sorted(case for case, person in cases.items() if person in persons)
                for side, persons in sides.items()
            }
        )
    write_text(path, json.dumps(written, indent=1) + "\n")


def _read(path: str | Path) -> Any:
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES} bytes")
        read = json.loads(content)
        folds = read.get("folds") if isinstance(read, dict) else read
        if not (isinstance(folds, list) and folds):
            raise ValueError("no list of folds")
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: expected {NNUNET} or folds.json ({reason})") from None
    return read


def _pairs(path: str | Path, content: list[Any]) -> list[tuple[Any, Any]]:
    """Training and validation cases of each fold of nnU-Net."""
    pairs = []
    for index, fold in enumerate(content):
        sides = fold if isinstance(fold, dict) else {}
        train, val = sides.get("train"), sides.get("val")
        if not (_names(train) and _names(val)):
            raise InputError(f"{path}, fold {index}: expected lists of cases, train and val")
        pairs.append((train, val))
    return pairs


def _names(side: Any) -> bool:
    return isinstance(side, list) and bool(side) and all(isinstance(case, str) for case in side)


def _by_person(
    where: str, sides: Sequence[Sequence[str]], persons: Mapping[str, str]
) -> list[set[str]]:
    """The persons of each side, whose scans stand together."""
    for case, times in Counter(case for side in sides for case in side).items():
        if case not in persons:
            raise InputError(f"{where}: case {case} is not in the data")
        if times > 1:
            raise InputError(f"{where}: case {case} stands {times} times")
    train, test = ({persons[case] for case in side} for side in sides)
    if train & test:
        raise InputError(f"{where}: person {min(train & test)} has scans on both sides")
    named = {case for side in sides for case in side}
    for case, person in persons.items():
        if person in train | test and case not in named:
            raise InputError(f"{where}: case {case} is not named, but others of its person are")
    return [train, test]


def _check(path: str | Path, folds: Sequence[Fold], units: set[str]) -> None:
    """Refuses folds that do not fit together, or name what is not in the data."""
    tested: dict[str, int] = {}
    for place, fold in enumerate(folds):
        if fold.index != place:
            raise InputError(f"{path}: fold {fold.index}, expected {place} in its place")
        if not fold.train or not fold.validation or not (fold.test or len(folds) == 1):
            raise InputError(f"{path}, fold {place}: a side without cases")
        unknown = {*fold.train, *fold.validation, *fold.test} - units
        if unknown:
            raise InputError(f"{path}, fold {place}: {min(unknown)} is not in the data")
        for unit in fold.test:
            if unit in tested:
                raise InputError(f"{path}: {unit} is tested in folds {tested[unit]} and {place}")
            tested[unit] = place
    left = units.difference(*(fold.train + fold.validation + fold.test for fold in folds))
    if left:
        logger.info("%s: without a part in any fold: %s", path, counted(len(left), "unit"))
