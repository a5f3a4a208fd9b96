"""Results on disk, side by side: folders of `agd-evaluate`, runs, or folds of runs."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agd_keras.errors import InputError
from agd_keras.evaluation.compare import COUNTS, TextTable, compare, comparison_tables
from agd_keras.runs.aggregate import gather
from agd_keras.runs.result_files import METRICS, SUMS, read_json, read_sums
from agd_keras.runs.run_folder import RunFolder


def compare_folders(named: Sequence[str]) -> list[TextTable]:
    """Compares results of the same patients with those of the first folder.

    Args:
        named: Folders, each as it is, or as `NAME=FOLDER`.

    Returns:
        A table of the figures and, of more than one folder, one of the differences.

    Raises:
        InputError: A folder holds no results, two have one name, or their patients or data differ.

    Example:

    >>> compare_folders(["plain=runs/a", "longer=runs/b"])  # doctest: +SKIP
    """
    runs: dict[str, dict[str, Any]] = {}
    for text in named:
        name, folder = _split(text)
        if name in runs:
            raise InputError(f"--compare: two are called {name}; NAME=FOLDER tells them apart")
        runs[name] = read_results(folder)
    tables = comparison_tables(compare(runs, next(iter(runs))))
    return tables[: len(runs)]  # one has no differences


def _split(text: str) -> tuple[str, Path]:
    """Name and folder; one that is there may have any name."""
    name, equals, folder = text.partition("=")
    if equals and name and folder and not Path(text).exists():
        return name, Path(folder)
    return text.rstrip("/"), Path(text)


def read_results(folder: str | Path) -> dict[str, Any]:
    """Reads the figures and the counts of each patient from a folder.

    Args:
        folder: What `agd-evaluate` wrote, a fold of a run, or a run, whose folds are gathered.

    Returns:
        As `evaluate` returns it.

    Raises:
        InputError: It holds no results, or they are damaged.

    Example:

    >>> read_results("runs/first")["subject"]["mean_dice"]  # doctest: +SKIP
    0.83
    """
    folder = Path(folder)
    is_run = RunFolder(folder).folds_file.is_file()
    if is_run:
        metrics = gather(folder)
    elif (folder / METRICS).is_file():
        metrics = read_json(folder / METRICS)
    else:
        raise InputError(f"{folder}: expected results of agd-evaluate or a run folder, found none")
    if not isinstance(metrics, dict) or not isinstance(metrics.get("protocol"), dict):
        raise InputError(f"{folder / METRICS}: expected the metrics of an evaluation")
    if (folder / SUMS).is_file() and not is_run:
        metrics["subjects"] = read_sums(folder / SUMS)
    subjects = metrics.get("subjects")
    if not isinstance(subjects, dict) or not subjects:
        raise InputError(f"{folder}: expected patients in {METRICS}, found none")
    for patient, entry in subjects.items():
        if not all(_is_number(entry, key) for key in ("dice", *COUNTS)):
            raise InputError(f"{folder / SUMS}: expected Dice and counts of {patient}")
    return metrics


def _is_number(entry: Any, key: str) -> bool:
    value = entry.get(key) if isinstance(entry, dict) else None
    return isinstance(value, int | float) and math.isfinite(value)
