"""From the folds of a run to its figures: each unit of the data tested once, by one config."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agd_keras.config import RunConfig, differences, make_config
from agd_keras.data.splits import Fold
from agd_keras.errors import InputError
from agd_keras.evaluation.patients import PIXELS, add_entries
from agd_keras.evaluation.summary import DISTANCES, summarize
from agd_keras.runs.baselines import GROUPS
from agd_keras.runs.report import write_model_card, write_report
from agd_keras.runs.result_files import write_metrics
from agd_keras.runs.run_folder import RunFolder
from agd_keras.viz import charts
from agd_keras.wording import counted


def gather(run: str | Path) -> dict[str, Any]:
    """Pools the tests of all folds of a run: every patient, or slice, out of fold.

    Args:
        run: A run folder; its folds may come from different machines.

    Returns:
        What `evaluate` returns, over all patients; in a run split by slice, the slices of a patient
        are added up over folds, and surface distances, which do not add, are None. Also `folds`:
        by group and figure the value of each fold, their `mean` and sample deviation `std`.

    Raises:
        InputError: A fold is missing, has another config or other data than the run, or a unit is
            tested twice or by another fold than `folds.json` says.

    Example:

    >>> gather("runs/first")["folds"]["pooled"]["iou"]["std"]  # doctest: +SKIP
    0.02
    """
    own = RunFolder(run)
    folds = own.read_folds()
    records = _checked_records(own, own.read_config(), folds)
    tests = [own.fold(fold.index) for fold in folds]
    parts = [test.read_metrics() for test in tests]
    entries: dict[str, list[dict[str, Any]]] = {}
    for test in tests:
        for patient, entry in test.read_sums().items():
            entries.setdefault(patient, []).append(entry)
    subjects = {patient: add_entries(entries[patient]) for patient in sorted(entries)}
    protocol = parts[0]["protocol"] | {"data_fingerprint": records[0]["data_fingerprint"]}
    if len(folds) > 1:
        protocol["folds"] = len(folds)
    return {
        "protocol": protocol,
        "threshold": parts[0]["threshold"],
        **summarize(subjects),
        "subjects": subjects,
        "folds": spread(parts),
    }


def _checked_records(
    run: RunFolder, config: RunConfig, folds: Sequence[Fold]
) -> list[dict[str, Any]]:
    missing = run.unfinished()
    if missing:
        raise InputError(
            f"{run.path}: expected all {len(folds)} folds, but {', '.join(map(str, missing))} "
            "is not finished: --resume, on any machine, with --fold"
        )
    records = [run.fold(fold.index).read_record() for fold in folds]
    tested: dict[str, int] = {}
    for fold, record in zip(folds, records, strict=True):
        where = run.fold(fold.index).path
        differing = differences(config, make_config(record["config"]))
        if differing:
            raise InputError(f"{where}: trained with other {', '.join(differing)} than the run")
        if record["data_fingerprint"] != records[0]["data_fingerprint"]:
            raise InputError(f"{where}: trained on other data than fold {folds[0].index}")
        for unit in record["test"]:
            if unit in tested:
                raise InputError(f"{where}: {unit} is tested here and in fold {tested[unit]}")
            tested[unit] = fold.index
        other = set(record["test"]) ^ set(fold.test)
        if other:
            raise InputError(f"{where}: does not test what folds.json says, see {min(other)}")
    return records


def spread(parts: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean and sample standard deviation of every figure over folds.

    Args:
        parts: Metrics of each fold.

    Returns:
        By group and figure: `each`, a list of values, `mean` over those that are not None, and
        `std`, None for fewer than two. Distances in mm and in pixels have neither.

    Example:

    >>> parts = [{group: {} for group in GROUPS} | {"pooled": {"iou": iou}} for iou in (0.5, 0.7)]
    >>> {key: np.round(value, 3).tolist() for key, value in spread(parts)["pooled"]["iou"].items()}
    {'each': [0.5, 0.7], 'mean': 0.6, 'std': 0.141}
    """
    result: dict[str, dict[str, Any]] = {}
    several_units = len({part.get("distance_unit", PIXELS) for part in parts}) > 1
    for group in GROUPS:
        result[group] = {}
        for name, first in parts[0].get(group, {}).items():
            if isinstance(first, list):  # an interval
                continue
            each = [part.get(group, {}).get(name) for part in parts]  # None: of an earlier version
            values = [value for value in each if value is not None]
            if several_units and name in DISTANCES:
                values = []
            result[group][name] = {
                "each": each,
                "mean": float(np.mean(values)) if values else None,
                "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            }
    return result


def report_run(run: str | Path) -> dict[str, Any]:
    """Gathers a run and writes its `metrics.json`, `report.html`, `figures/` and `MODEL_CARD.md`.

    Args:
        run: A run folder, all folds of which are finished.

    Returns:
        The metrics, as `gather` returns them.

    Raises:
        InputError: As `gather`.
    """
    own = RunFolder(run)
    metrics = gather(run)
    config, record = own.read_config(), own.fold(0).read_record()
    write_metrics(metrics, own.metrics_file)
    drawn = charts.summary_figures(metrics)
    charts.save_figures(drawn, own.figures)
    parts = own.begun_folds()
    cases = {f"{part.name}/cases": part.cases_picture for part in parts}
    shown = drawn | {name: path for name, path in cases.items() if path.is_file()}
    title = f"{config.network} on {config.data.path}"
    write_report(run, metrics, shown, title, parts=[part.name for part in parts])
    unit = {"subject": "patient", "record": "slice"}[config.data.split]
    trained = counted(record["train"], unit) + (" in each fold" if config.data.folds > 1 else "")
    write_model_card(
        own.card_file,
        metrics,
        model=f"{config.network}, {config.data.image_size}×{config.data.image_size} pixels",
        data=f"{config.data.path}: trained on {trained}.",
        data_license="none needed: computed, of no patient"
        if config.data.path == "phantom"
        else "that of the images"
        + (", CC BY-NC-SA 4.0" if Path(config.data.path).name == "kaggle_3m" else ""),
        parameters=record["parameters"],
        channels=config.data.channels,
    )
    return metrics
