"""Splits for cross-validation: by patient, or by slice as some papers do."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from agd_keras.data.slices import Slice
from agd_keras.errors import InputError
from agd_keras.files import write_text

SPLITS = ("subject", "record")


@dataclass(frozen=True)
class Fold:
    """Who trains, validates and tests: patients if split by patient, else names of slices."""

    index: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def _unit(one: Slice, split: str) -> str:
    if split not in SPLITS:
        raise InputError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    return one.patient if split == "subject" else one.name


def _deal(units: list[str], areas: Mapping[str, int], portions: int, seed: int) -> list[list[str]]:
    """Divides units into portions of equal size and, stratum by stratum, of like tumour area."""
    from sklearn.model_selection import StratifiedKFold  # slow to import

    # Strata are runs of the ranking by area, just long enough to give to every portion.
    strata = len(units) // portions
    rank = np.argsort(np.argsort([areas[unit] for unit in units], kind="stable"))
    dealer = StratifiedKFold(portions, shuffle=True, random_state=seed)
    dealt = dealer.split(units, rank * strata // len(units))
    return [[units[i] for i in chosen] for _, chosen in dealt]


def make_folds(
    slices: Sequence[Slice],
    areas: Mapping[str, int],
    folds: int = 1,
    split: str = "subject",
    seed: int = 0,
    portions: int = 10,
    validation_portions: int = 1,
) -> list[Fold]:
    """Makes the folds of a cross-validation, in which every unit is tested once, or a single test.

    Units (patients, or slices) are divided into portions at random, balanced by tumour area. Fold
    `i` tests the `i`-th run of `portions / folds` portions, validates on those that follow and
    trains on the rest. The order of `slices` does not matter. A single test is of one fifth of the
    portions: of ten portions, the first of five folds. Without any test, the first portions
    validate and all others train: a model to give away, once others have said how good it is.

    Splitting by slice (`record`) puts slices of one patient into training and test, so that the
    metrics are too high.

    Args:
        slices: The data set.
        areas: Tumour pixels of each slice, by its name.
        folds: Number of folds; 1 for a single test, 0 for none.
        split: `"subject"` or `"record"`.
        seed: Seed of the split.
        portions: Multiple of `folds`. With fewer units than portions it falls to the largest
            multiple that they fill, and `validation_portions` with it.
        validation_portions: Portions that validate in each fold. 10 portions in 5 folds with 2 for
            validation are the published 6 / 2 / 2.

    Returns:
        `folds` folds, their units sorted; without a test, one fold that tests none.

    Raises:
        InputError: Fewer than 3 patients, or numbers that leave a side empty.

    Example:

    >>> slices = [Slice(case, case, 1, 0) for case in "abcdef"]
    >>> make_folds(slices, {one.name: 9 for one in slices}, folds=3, portions=3)[0]
    Fold(index=0, train=('a', 'd'), validation=('b', 'f'), test=('c', 'e'))
    """
    patients = {one.patient for one in slices}
    if len(patients) < 3:
        found = "one patient" if len(patients) == 1 else f"{len(patients)} patients"
        raise InputError(f"a data set of {found}: expected at least 3, to train, validate and test")
    total: Counter[str] = Counter()
    for one in sorted(slices):
        total[_unit(one, split)] += areas[one.name]
    units = sorted(total)
    if not 0 <= folds <= len(units):
        raise InputError(f"folds {folds}: expected 0 to {len(units)}, the number of units to split")
    rotations = max(1, folds)
    if portions < folds or portions % rotations:
        raise InputError(f"portions {portions}: expected a multiple of the {folds} folds")
    if validation_portions < 1:
        raise InputError(f"validation portions {validation_portions}: expected at least 1")
    fitting = min(portions, len(units) // rotations * rotations)
    validating = max(1, validation_portions * fitting // portions)
    testing = max(1, fitting // 5) if folds == 1 else (fitting // folds if folds else 0)
    if testing + validating >= fitting:
        raise InputError(
            f"{folds} folds of {fitting} portions, {validating} to validate: "
            "nothing left to train on, expected more folds"
        )
    dealt = _deal(units, total, fitting, seed)
    made = []
    for index in range(rotations):
        turned = dealt[index * testing :] + dealt[: index * testing]
        cut = testing + validating
        sides = turned[:testing], turned[testing:cut], turned[cut:]
        test, validation, train = (tuple(sorted(chain(*side))) for side in sides)
        made.append(Fold(index, train, validation, test))
    return made


def save_folds(folds: Sequence[Fold], path: str | Path, split: str, seed: int) -> None:
    """Writes folds as JSON, whole or not at all.

    Args:
        folds: What `make_folds` made.
        path: File to write.
        split: `"subject"` or `"record"`, noted in the file.
        seed: Seed of the split, noted in the file.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "folds.json"
    >>> save_folds([Fold(0, ("a",), ("b",), ("c",))], path, split="subject", seed=0)
    >>> load_folds(path)
    [Fold(index=0, train=('a',), validation=('b',), test=('c',))]
    """
    content = {"split": split, "seed": seed, "folds": [asdict(fold) for fold in folds]}
    write_text(path, json.dumps(content, indent=1) + "\n")


def load_folds(path: str | Path) -> list[Fold]:
    """Reads folds that `save_folds` wrote.

    Args:
        path: JSON file.

    Returns:
        The folds in their order.

    Raises:
        InputError: The file is missing or of another form, or a unit stands on two sides.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _other_form(path, error) from error
    return parse_folds(content, path)


def parse_folds(content: Any, path: str | Path) -> list[Fold]:
    """Reads folds out of what `save_folds` wrote.

    Args:
        content: What the JSON holds.
        path: The file, for the errors.

    Returns:
        The folds in their order.

    Raises:
        InputError: It is of another form, or a unit stands on two sides.

    Example:

    >>> sides = {"train": ["a"], "validation": ["b"], "test": []}
    >>> parse_folds({"folds": [{"index": 0, **sides}]}, "folds.json")
    [Fold(index=0, train=('a',), validation=('b',), test=())]
    """
    try:
        folds = [
            Fold(int(f["index"]), *(tuple(map(str, f[s])) for s in ("train", "validation", "test")))
            for f in content["folds"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise _other_form(path, error) from error
    for fold in folds:
        for unit, times in Counter(fold.train + fold.validation + fold.test).items():
            if times > 1:
                raise InputError(f"{path}: {unit} stands {times} times in fold {fold.index}")
    return folds


def _other_form(path: str | Path, error: Exception) -> InputError:
    return InputError(f"{path}: expected folds as save_folds writes them ({error})")


def select(slices: Iterable[Slice], units: Iterable[str], split: str) -> list[Slice]:
    """Picks the slices of one side of a fold.

    Args:
        slices: The data set.
        units: Patients or names of slices, as in a `Fold`.
        split: `"subject"` or `"record"`.

    Returns:
        The slices of these units, in the order of `slices`.

    Raises:
        InputError: A unit is not in the data set.

    Example:

    >>> slices = [Slice(case, case, 1, 0) for case in "abc"]
    >>> [one.patient for one in select(slices, ["c", "a"], "subject")]
    ['a', 'c']
    """
    wanted = set(units)
    chosen = [one for one in slices if _unit(one, split) in wanted]
    missing = wanted - {_unit(one, split) for one in chosen}
    if missing:
        raise InputError(f"{min(missing)}: named by a fold, but not in the data set")
    return chosen
