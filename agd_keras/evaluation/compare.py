"""Runs that tested the same patients, side by side: paired differences, intervals and tests."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table
from rich.text import Text
from scipy import stats

from agd_keras.errors import InputError
from agd_keras.text import clean

COUNTS = ("tp", "fp", "fn")
RESAMPLES, SEED = 10_000, 0


class TextTable(NamedTuple):
    """A table of words, for Markdown and for the screen."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values of several tests by the step-down method of Holm (1979).

    Args:
        p_values: One for each test, 0 to 1, in any order.

    Returns:
        The adjusted values in the same order: below 0.05, the chance of even one false finding
        among all tests is below 0.05.

    Example:

    >>> np.round(holm([0.01, 0.04, 0.03]), 3).tolist()
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, highest)
    return adjusted


def compare(runs: Mapping[str, Mapping[str, Any]], baseline: str) -> dict[str, Any]:
    """Compares runs with one of them, patient by patient.

    Args:
        runs: By name what `gather` or `evaluate` returned, over the same patients.
        baseline: Name of the run that the others are compared with.

    Returns:
        `baseline`; `runs`, by name the pooled `f1` and `iou` and the `mean_dice` and `median_dice`
        over patients, each with its `value` and `ci95`, and `folds`, the spread of the pooled
        figures over folds; `differences`, by name of each other run, other minus baseline: `dice`,
        `f1` and `iou` with `value` and `ci95`, how many patients are `better` and `worse`, the `p`
        of the test and `p_holm`, corrected for the number of runs compared.

    Raises:
        InputError: A run tested other patients or other data than the baseline.

    Example:

    >>> def run(*dices):
    ...     entries = [{"dice": dice, "tp": 1, "fp": 1, "fn": 1} for dice in dices]
    ...     return {"protocol": {}, "subjects": dict(enumerate(entries))}
    >>> compared = compare({"plain": run(0.5, 0.6, 0.7), "new": run(0.6, 0.7, 0.8)}, "plain")
    >>> difference = compared["differences"]["new"]
    >>> round(difference["dice"]["value"], 3), difference["better"], difference["p"]
    (0.1, 3, 0.25)
    """
    others = [name for name in runs if name != baseline]
    for name in others:
        _check_same_patients(runs, baseline, name)
    differences = {name: _difference(runs[baseline], runs[name]) for name in others}
    corrected = holm([one["p"] for one in differences.values()])
    for one, p_holm in zip(differences.values(), corrected, strict=True):
        one["p_holm"] = p_holm
    return {
        "baseline": baseline,
        "runs": {name: _figures(metrics) for name, metrics in runs.items()},
        "differences": differences,
    }


def _check_same_patients(runs: Mapping[str, Mapping[str, Any]], baseline: str, name: str) -> None:
    first, other = runs[baseline], runs[name]
    alone = set(first["subjects"]) ^ set(other["subjects"])
    if alone:
        raise InputError(f"{name}: expected the patients of {baseline}, see {min(alone)}")
    key = "data_fingerprint"
    if first["protocol"].get(key) != other["protocol"].get(key):
        raise InputError(f"{name}: expected the data of {baseline}, it has other data")


def _figures(metrics: Mapping[str, Any]) -> dict[str, Any]:
    dices, counts = _dices(metrics), _counts(metrics)
    pooled = metrics.get("folds", {}).get("pooled", {})
    return {
        **{name: with_interval(counts, statistic) for name, statistic in POOLED.items()},
        "mean_dice": with_interval([dices], np.mean),
        "median_dice": with_interval([dices], np.median),
        "folds": {name: pooled[name] for name in POOLED if name in pooled},
    }


def _difference(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    differences = _dices(other) - _dices(first)
    columns = _counts(other) + _counts(first)
    return {
        "patients": len(differences),
        "dice": with_interval([differences], np.mean),
        **{name: with_interval(columns, _minus(statistic)) for name, statistic in POOLED.items()},
        "better": int((differences > 0).sum()),
        "worse": int((differences < 0).sum()),
        "p": _signed_rank(differences),
    }


def _signed_rank(differences: np.ndarray) -> float:
    # Zeros go first: with them SciPy would approximate what it can enumerate for few patients.
    ranked = differences[differences != 0]
    return float(stats.wilcoxon(ranked).pvalue) if ranked.size else 1.0


def _dices(metrics: Mapping[str, Any]) -> np.ndarray:
    return np.array([entry["dice"] for _, entry in sorted(metrics["subjects"].items())])


def _counts(metrics: Mapping[str, Any]) -> list[np.ndarray]:
    entries = [entry for _, entry in sorted(metrics["subjects"].items())]
    return [np.array([float(entry[key]) for entry in entries]) for key in COUNTS]


def _f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, axis: int = -1) -> np.ndarray:
    found, missed = 2 * tp.sum(axis), fp.sum(axis) + fn.sum(axis)
    return np.where(found + missed > 0, found / np.maximum(found + missed, 1), 1.0)


def _iou(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, axis: int = -1) -> np.ndarray:
    f1 = _f1(tp, fp, fn, axis)
    return f1 / (2 - f1)


POOLED: dict[str, Callable[..., Any]] = {"f1": _f1, "iou": _iou}


def _minus(statistic: Callable[..., Any]) -> Callable[..., Any]:
    """The statistic of the first half of the columns minus that of the second."""
    count = len(COUNTS)
    return lambda *columns, axis=-1: (
        statistic(*columns[:count], axis=axis) - statistic(*columns[count:], axis=axis)
    )


def with_interval(columns: list[np.ndarray], statistic: Callable[..., Any]) -> dict[str, Any]:
    """Value of a statistic, and its interval by drawing patients: all columns of one together.

    Args:
        columns: Arrays of one number per patient, in one order.
        statistic: Function of the columns and of the `axis` along which the patients lie.

    Returns:
        `value`, and `ci95`, the ends of the percentile bootstrap; None for fewer than two patients.
    """
    patients = columns[0].size
    value = float(statistic(*columns, axis=-1))
    if patients < 2:
        return {"value": value, "ci95": [None, None]}
    interval = stats.bootstrap(
        columns,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, 2_000_000 // (patients * len(columns))),  # bounds memory
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return {"value": value, "ci95": [float(interval.low), float(interval.high)]}


def comparison_tables(compared: Mapping[str, Any]) -> list[TextTable]:
    """Makes a table of the runs and one of the differences.

    Args:
        compared: What `compare` returned; `parameters`, number of weights by run, if known.

    Returns:
        The tables.
    """
    figures = {
        "pooled F1": "f1",
        "pooled IoU": "iou",
        "mean Dice": "mean_dice",
        "median Dice": "median_dice",
    }
    parameters = compared.get("parameters", {})
    runs = [
        [
            name,
            *([f"{parameters[name]:,}"] if parameters else []),
            *(_cell(run[figure]) for figure in figures.values()),
        ]
        for name, run in compared["runs"].items()
    ]
    several = len(compared["differences"]) > 1
    differences = [
        [
            f"{name} − {compared['baseline']}",
            *(_cell(one[figure], signed=True) for figure in ("dice", "f1", "iou")),
            f"{one['better']} / {one['worse']} of {one['patients']}",
            _probability(one["p"]),
            *([_probability(one["p_holm"])] if several else []),
        ]
        for name, one in compared["differences"].items()
    ]
    return [
        TextTable(
            "Figures [95 % interval over patients]",
            ["run", *(["weights"] if parameters else []), *figures],
            runs,
        ),
        TextTable(
            "Differences [95 % interval over patients]",
            ["run", "mean Dice", "pooled F1", "pooled IoU", "better / worse", "p"]
            + (["p, Holm"] if several else []),
            differences,
        ),
    ]


def _cell(figure: Mapping[str, Any], signed: bool = False) -> str:
    form = "{:+.3f}" if signed else "{:.3f}"
    low, high = figure["ci95"]
    value = form.format(figure["value"])
    return value if low is None else f"{value} [{form.format(low)}, {form.format(high)}]"


def _probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def to_rich(table: TextTable) -> Table:
    """Makes a table for the screen.

    Args:
        table: Title, header and rows.

    Returns:
        A `rich.table.Table` of the same.

    Example:

    >>> to_rich(TextTable("Sizes", ["name", "size"], [["a", "1"]])).row_count
    1
    """
    made = Table(title=Text(clean(table.title), "table.title"))
    for index, name in enumerate(table.header):
        made.add_column(Text(clean(name)), justify="right" if index else "left")
    for row in table.rows:  # what stands in brackets on a line of its own
        made.add_row(*(Text(re.sub(r" ([\[(])", r"\n\1", clean(cell))) for cell in row))
    return made
