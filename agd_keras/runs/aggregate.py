"""From the folds of a run to its figures: each unit of the data tested once, by one config."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agd_keras.config import RunConfig, differences, make_config
from agd_keras.data.splits import Fold, load_folds
from agd_keras.errors import InputError
from agd_keras.evaluation.patients import PIXELS, add_entries
from agd_keras.evaluation.summary import DISTANCES, summarize
from agd_keras.files import write_text
from agd_keras.runs.baselines import GROUPS
from agd_keras.runs.report import (
    SUMS,
    read_sums,
    write_metrics,
    write_model_card,
    write_report,
)
from agd_keras.values import load_config
from agd_keras.viz import charts
from agd_keras.wording import counted

RECORD = "fold.json"


def write_record(
    folder: str | Path,
    config: RunConfig,
    fold: Fold,
    fingerprint: str,
    parameters: int,
    seconds: float | None = None,
) -> Path:
    """Writes `fold.json`, which says that a fold is finished and what it is part of.

    Args:
        folder: Folder of the fold, with everything else in place.
        config: Resolved options of the run.
        fold: The units of each part.
        fingerprint: Fingerprint of the data.
        parameters: Number of the model's weights.
        seconds: How long training and test took; None if unknown, as of an interrupted fold.

    Returns:
        The path.
    """
    record = {
        "config": config.model_dump(mode="json"),
        "data_fingerprint": fingerprint,
        "parameters": parameters,
        "seconds": seconds,
        "train": len(fold.train),
        "test": fold.test,
    }
    return write_text(Path(folder) / RECORD, json.dumps(record, indent=1) + "\n")


def is_done(folder: str | Path) -> bool:
    """Whether the folder holds a fold that was trained, tested and reported."""
    return (Path(folder) / RECORD).is_file()


def unfinished(run: str | Path) -> list[int]:
    """Returns the folds of a run that are still to do.

    Args:
        run: A run folder.

    Raises:
        InputError: It has no readable `folds.json`.
    """
    folds = load_folds(Path(run) / "folds.json")
    return [fold.index for fold in folds if not is_done(Path(run) / f"fold-{fold.index}")]


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
    run = Path(run)
    config = make_config(load_config(run / "config.yaml"))
    folds = load_folds(run / "folds.json")
    records = _checked_records(run, config, folds)
    parts = [read_json(run / f"fold-{fold.index}" / "metrics.json") for fold in folds]
    entries: dict[str, list[dict[str, Any]]] = {}
    for fold in folds:
        for patient, entry in read_sums(run / f"fold-{fold.index}" / SUMS).items():
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


def _checked_records(run: Path, config: RunConfig, folds: Sequence[Fold]) -> list[dict[str, Any]]:
    missing = unfinished(run)
    if missing:
        raise InputError(
            f"{run}: expected all {len(folds)} folds, but {', '.join(map(str, missing))} "
            "is not finished: --resume, on any machine, with --fold"
        )
    records = [read_json(run / f"fold-{fold.index}" / RECORD) for fold in folds]
    tested: dict[str, int] = {}
    for fold, record in zip(folds, records, strict=True):
        where = run / f"fold-{fold.index}"
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
    run = Path(run)
    metrics = gather(run)
    config = make_config(load_config(run / "config.yaml"))
    record = read_json(run / "fold-0" / RECORD)
    write_metrics(metrics, run / "metrics.json")
    drawn = charts.summary_figures(metrics)
    charts.save_figures(drawn, run / "figures")
    parts = sorted(run.glob("fold-*"))
    cases = {f"{part.name}/cases": part / "figures" / "cases.png" for part in parts}
    shown = drawn | {name: path for name, path in cases.items() if path.is_file()}
    title = f"{config.network} on {config.data.path}"
    write_report(run, metrics, shown, title, parts=[part.name for part in parts])
    unit = {"subject": "patient", "record": "slice"}[config.data.split]
    trained = counted(record["train"], unit) + (" in each fold" if config.data.folds > 1 else "")
    write_model_card(
        run / "MODEL_CARD.md",
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


def read_json(path: Path) -> Any:
    """Reads a JSON file of a finished fold.

    Args:
        path: The file.

    Returns:
        What it holds.

    Raises:
        InputError: It is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a file of a finished fold ({error})") from None
