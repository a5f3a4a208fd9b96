"""Whom a model has seen: by name and by image, through all that it was started from."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agd_keras.config import RunConfig
from agd_keras.data.cache import Cache
from agd_keras.errors import InputError
from agd_keras.files import write_text
from agd_keras.io.case_ref import CaseRef
from agd_keras.run_layout import fold_models
from agd_keras.runs.run_folder import FINGERPRINTS, RunFolder
from agd_keras.weights import find_model


@dataclass(frozen=True)
class Seen:
    """The patients that a model was trained or validated on.

    Args:
        names: Their names, or those of slices where they were split by slices.
        likeness: What `describe_likeness` says, by case.
        complete: Whether there are no others: of a file from elsewhere nobody knows.
    """

    names: frozenset[str] = frozenset()
    likeness: Mapping[str, list[str]] = field(default_factory=dict)
    complete: bool = True

    def names_case(self, case: CaseRef) -> bool:
        """Whether a case, or a slice of it, is among the names."""
        slices = {f"{case.case_id}_{number}" for number in case.numbers}
        return case.patient_id in self.names or not self.names.isdisjoint(slices)


def find_seen(model: str | Path) -> Seen | None:
    """Reads whom a model has seen from the run that it lies in.

    Args:
        model: A preset with weights, a run folder or a file of one.

    Returns:
        The patients of its folds and those of the model that it was started from; None where the
        folder does not tell.

    Raises:
        InputError: A file of the run is damaged.

    Example:

    >>> "TCGA_CS_4941_19960909" in find_seen("agd_tiny").names
    True
    """
    run, indices = RunFolder.of_model(find_model(model))
    if not indices or not run.folds_file.is_file():
        return None
    dealt = {fold.index: fold for fold in run.read_folds()}
    if not dealt.keys() >= set(indices):
        return None
    folds = [dealt[index] for index in indices]
    names = frozenset(unit for fold in folds for unit in fold.train + fold.validation)
    cases = {unit.rpartition("_")[0] for unit in names}  # of slices
    likeness = {
        case: entry["slices"]
        for case, entry in _read(run.fingerprints_file, {}, _check_fingerprints).items()
        if entry["patient"] in names or case in cases
    }
    before = _read(run.init_file, None, _check_init)
    if before is None:
        return Seen(names, likeness)
    return Seen(
        names | set(before["names"]), {**before["likeness"], **likeness}, before["complete"]
    )


def write_seen(run: RunFolder, config: RunConfig, cache: Cache) -> None:
    """Writes what a run must tell later: fingerprints of its data, and whom its start had seen.

    Args:
        run: An opened run folder. What it holds of an earlier start stays.
        config: Resolved options of the run.
        cache: The prepared data.

    Raises:
        InputError: The model to start from is not the one that the run was started with.
    """
    if not run.fingerprints_file.is_file():
        write_fingerprints(run.path, cache)
    init = config.training.init
    if not init:
        return
    digest = _digest(init)
    before = _read(run.init_file, None, _check_init)
    if before is None:
        seen = find_seen(init) or Seen(complete=False)
        record = {
            **{"model": init, "sha256": digest, "names": sorted(seen.names)},
            **{"complete": seen.complete, "likeness": dict(seen.likeness)},
        }
        write_text(run.init_file, json.dumps(record, indent=0) + "\n")
    elif before["sha256"] != digest:
        raise InputError(f"--init {init}: changed since {run.path} was started from it")


def write_fingerprints(folder: Path, cache: Cache) -> Path:
    """Writes `fingerprints.json`: of each case its patient and what it looks like.

    Args:
        folder: Where it goes.
        cache: The prepared data.

    Returns:
        The path.
    """
    lines = [
        f"{json.dumps(case)}: "
        + json.dumps({"patient": entry["patient"], "slices": entry["likeness"]})
        for case, entry in sorted(cache.cases.items())
    ]
    return write_text(folder / FINGERPRINTS, "{\n" + ",\n".join(lines) + "\n}\n")


def _digest(model: str) -> str:
    path = find_model(model)
    if path.is_dir():
        [path] = fold_models(path)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"--init {model}: cannot be read ({error.strerror})") from None


def _read(path: Path, absent: Any, check: Any) -> Any:
    if not path.is_file():
        return absent
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        check(record)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: damaged ({error or type(error).__name__})") from None
    return record


def _check_fingerprints(record: Any) -> None:
    for entry in record.values():
        if not isinstance(entry["patient"], str):
            raise ValueError("expected the name of a patient")
        _check_likeness(entry["slices"])


def _check_init(record: Any) -> None:
    if not all(isinstance(name, str) for name in [record["sha256"], *record["names"]]):
        raise ValueError("expected names")
    if not isinstance(record["complete"], bool):
        raise ValueError("expected true or false")
    for slices in record["likeness"].values():
        _check_likeness(slices)


def _check_likeness(slices: Any) -> None:
    if not all(re.fullmatch("[0-9a-f]{16}", one) for one in slices):
        raise ValueError("expected 16 hexadecimal digits a slice")
