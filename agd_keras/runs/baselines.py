"""The figures to compare with, each under its protocol: published ones and the trivial baseline."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from agd_keras.evaluation import scores
from agd_keras.wording import counted

GROUPS = ("pooled", "subject", "slice", "calibration", "confidence", "expected_volume")
COLUMNS = ("accuracy", "precision", "recall", "f1", "iou", "bce", "mean dice", "median dice")
RECORD_WISE = (
    "The data are split by slice: slices of one patient are in training and in test, so the "
    "metrics are too high. For new patients, expect the metrics of a split by patient."
)
KINDS_IN_WORDS = {
    "outline": "within two pixels of the true outline",
    "missed": "tumour in slices in which nothing was marked",
    "invented": "marked in slices without tumour",
    "region": "all others: parts left out, or surroundings included",
}
ANCHORS: tuple[dict[str, Any], ...] = (
    {
        "who": "AGD paper (Cvetko 2021), plain data",
        "protocol": "record-wise, 10-fold",
        **{"accuracy": 0.814, "precision": 0.771, "recall": 0.860, "f1": 0.821, "bce": 0.12},
    },
    {
        "who": "AGD paper (Cvetko 2021), augmented",
        "protocol": "record-wise, 10-fold",
        **{"accuracy": 0.821, "precision": 0.893, "recall": 0.931, "f1": 0.880, "bce": 0.08},
    },
    {"who": "AGD paper, abstract / text", "protocol": "not said which", "iou": "0.78 / 0.81"},
    {
        "who": "Buda et al. 2019, U-Net, 7.8 M parameters, 256 px",
        "protocol": "subject-wise, 22-fold",
        **{"mean dice": 0.836, "median dice": 0.873},
    },
    {"who": "two expert readers", "protocol": "subject-wise", "mean dice": "0.84 ± 0.02"},
)


def show(value: Any) -> str:
    """Writes a figure as a reader wants it; the full digits are in metrics.json.

    Args:
        value: A number, an interval, a mapping of such, a text, or None.

    Returns:
        Fractions with four digits, `-` for what is None.
    """
    if value in (None, [None, None]):
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {show(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return " to ".join(map(show, value))
    return str(value)


def rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Group, name and value of every figure over patients, in the order of `metrics.json`."""
    return [
        (group, name, value)
        for group in GROUPS
        for name, value in metrics.get(group, {}).items()  # earlier versions lack some
    ]


def fold_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, list[Any], Any, Any]]:
    """Group, name, values of the folds, mean and deviation of every figure of a cross-validation.

    None for metrics of a single test.
    """
    return [
        (group, name, over["each"], over["mean"], over["std"])
        for group, named in metrics.get("folds", {}).items()
        for name, over in named.items()
        if len(over["each"]) > 1
    ]


def own_row(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of the evaluated model by the names of the report's columns, with its protocol."""
    protocol, subject = metrics["protocol"], metrics["subject"]
    split, folds = protocol.get("split"), protocol.get("folds")
    words = (
        f"{split}-wise" if split in ("subject", "record") else split,
        f"{folds}-fold" if isinstance(folds, int) else folds,
        protocol.get("scored"),
    )
    return {
        "who": protocol.get("model") or "this model",
        "protocol": ", ".join(str(word) for word in words if word is not None) or None,
        **metrics["pooled"],
        "mean dice": subject["mean_dice"],
        "median dice": subject["median_dice"],
    }


def warnings(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a reader must know before the figures: patients the model had seen, or no like of.

    Args:
        metrics: What `evaluate` returned. Its protocol may tell `patients_seen_in_training`, which
            a record-wise test always has unless that says 0.

    Returns:
        Headings with their sentences; none for new patients of a kind that it knows.

    Example:

    >>> protocol = {"split": "subject", "patients_seen_in_training": 1}
    >>> [heading for heading, _ in warnings({"protocol": protocol, "subjects": {"a": {}}})]
    ['Seen in training.']
    """
    protocol, patients = metrics["protocol"], len(metrics["subjects"])
    seen = protocol.get("patients_seen_in_training")
    found = []
    if protocol.get("split") == "record" and seen != 0:
        found.append(("Record-wise.", RECORD_WISE))
    if seen:
        were = f"{counted(patients, 'patient')} {'was' if seen == 1 else 'were'}"
        known = " (by name and by image)" if protocol.get("seen_by") else ""
        text = f"{seen} of {were} trained or validated on{known}: the metrics are too high."
        found.append(("Seen in training.", text))
    if unlike := count_unlike(metrics["subjects"].values()):
        ways = ", ".join(f"{way} ({count})" for way, count in unlike.items())
        many = sum(bool(entry.get("unlike")) for entry in metrics["subjects"].values())
        were = f"{counted(patients, 'patient')} {'is' if many == 1 else 'are'}"
        text = f"{many} of {were} of a kind that the model never saw: {ways}."
        found.append(("Unlike the training data.", text))
    return found


def count_unlike(entries: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Counts in which ways patients are unlike those that the model was trained on.

    Args:
        entries: Results of `score_patient`, with `unlike` where that was judged.

    Returns:
        Patients by way, most first; of a range that is left out.

    Example:

    >>> count_unlike([{"unlike": ["no skull", "155 slices (20 to 88)"]}, {"unlike": ["no skull"]}])
    {'no skull': 2, '155 slices': 1}
    """
    ways = (way.partition(" (")[0] for entry in entries for way in entry.get("unlike", ()))
    return dict(Counter(ways).most_common())


def distance_note(metrics: Mapping[str, Any]) -> str:
    """Says in what unit `hd95` is and how close is close for `nsd`.

    Args:
        metrics: What `evaluate` returned; those of earlier versions are in pixels.

    Returns:
        The beginning of a sentence.

    Example:

    >>> distance_note({"distance_unit": "mm"})
    'hd95 is in mm; nsd is at 2 mm'
    """
    unit = metrics.get("distance_unit", "px")
    if unit is None:
        return (
            "hd95 and nsd are in mm for some patients and in pixels for others: they have no mean"
        )
    return f"hd95 is in {'pixels' if unit == 'px' else unit}; nsd is at 2 {unit}"


def error_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, Any, Any]]:
    """Kind, what it is, share of the wrong pixels and Dice if repaired, of each kind of error.

    None for metrics of earlier versions, or of a perfect mask.
    """
    found = metrics.get("errors", {})
    return [
        (kind, KINDS_IN_WORDS[kind], one["share"], one["dice_if_repaired"])
        for kind, one in found.items()
        if one["share"] is not None
    ]


def always_empty(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Figures of the trivial baseline that finds no tumour anywhere, on the same patients.

    Args:
        metrics: What `evaluate` returned.

    Returns:
        The figures by the names of the report's columns. Probability 0 is clipped for `bce` as
        every other probability is.
    """
    entries = metrics["subjects"].values()
    pixels = sum(entry["pixels"] for entry in entries)
    positive = sum(entry["voxels_true"] for entry in entries)
    counts = scores.Counts(fn=positive, tn=pixels - positive)
    dices = [0.0 if entry["voxels_true"] else 1.0 for entry in entries]
    return {
        "accuracy": scores.accuracy(counts),
        "precision": scores.precision(counts),
        "recall": scores.recall(counts),
        "f1": scores.dice(counts),
        "iou": scores.iou(counts),
        "bce": -math.log(scores.CLIP) * positive / pixels,
        "mean dice": float(np.mean(dices)),
        "median dice": float(np.median(dices)),
    }
