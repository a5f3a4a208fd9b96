"""The files that an evaluation leaves, in a run, in each of its folds or in a folder of its own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agd_keras.errors import InputError
from agd_keras.files import write_text

METRICS, SUMS = "metrics.json", "sums.json"
REPORT, FIGURES, CARD = "report.html", "figures", "MODEL_CARD.md"
SUBJECT_KEYS = ("dice", "iou", "hd95", "nsd", "voxels_true", "voxels_pred")
NOTED_KEYS = (
    "unit",
    "errors",
    "confidence",
    "expected_volume",
    "unlike",
)  # in `metrics.json` too; entries of earlier versions lack them


def write_metrics(metrics: Mapping[str, Any], path: str | Path) -> Path:
    """Writes `metrics.json`, strict JSON in which a missing figure is null, and `sums.json`.

    `metrics.json` has only the figures of each patient. `sums.json`, beside it, has all of their
    entries, from which `summarize` makes figures over the patients of several evaluations.

    Args:
        metrics: What `evaluate` returned.
        path: The `metrics.json`; an older one is replaced, and the `sums.json` beside it.

    Returns:
        The path.

    Raises:
        ValueError: A figure is NaN or infinite, which JSON does not have.
    """
    entries = metrics["subjects"]
    subjects = {name: _short(entry) for name, entry in entries.items()}
    text = json.dumps({**metrics, "subjects": subjects}, indent=1, allow_nan=False)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path.with_name(SUMS), json.dumps(entries, allow_nan=False) + "\n")
    return write_text(path, text + "\n")


def _short(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a patient without the sums, and of each of several regions likewise."""
    noted = {key: entry[key] for key in NOTED_KEYS if key in entry}
    regions = {name: _short(own) for name, own in entry.get("regions", {}).items()}
    several = {"regions": regions} if regions else {}
    return {key: entry[key] for key in SUBJECT_KEYS} | noted | several


def read_sums(path: str | Path) -> dict[str, dict[str, Any]]:
    """Reads a `sums.json`: the `subjects` that `evaluate` returned, to give to `summarize`.

    Args:
        path: The file.

    Returns:
        For each patient the result of `score_patient`.

    Raises:
        InputError: The file is missing or is no such JSON.

    Example:

    >>> from agd_keras.evaluation.summary import summarize
    >>> files = Path("runs/first").glob("fold-*/sums.json")
    >>> sums = [read_sums(file) for file in files]
    >>> summarize({name: one for part in sums for name, one in part.items()})  # doctest: +SKIP
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a {SUMS} of an evaluation ({error})") from None
    if not isinstance(entries, dict) or not all(isinstance(one, dict) for one in entries.values()):
        raise InputError(f"{path}: expected a {SUMS} of an evaluation, with an entry per patient")
    return entries


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
