"""What a report says first: how good in one sentence, and the five metrics to read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agd_keras.wording import counted


@dataclass(frozen=True)
class MainMetric:
    """One of the metrics that a report does not fold away.

    Args:
        key: Short name, to link to what it means.
        name: Full name.
        value: As a reader wants it, with its unit.
        meaning: What it is, and what it hides.
    """

    key: str
    name: str
    value: str
    meaning: str


def headline(metrics: Mapping[str, Any]) -> str:
    """Says how good, on how many patients, how sure, and what the worst case is.

    Args:
        metrics: What `evaluate` returned.

    Returns:
        One or two sentences.

    Example:

    >>> subject = {"mean_dice": 0.91, "ci95_dice": [0.88, 0.94]}
    >>> subjects = {"a": {"dice": 0.95, "voxels_true": 9}, "b": {"dice": 0.0, "voxels_true": 9}}
    >>> headline({"protocol": {}, "subject": subject, "subjects": subjects})
    'Mean Dice 0.91 (95 % interval 0.88 to 0.94) over 2 patients. The worst is b with 0.00; in \
1 patient the tumour was missed completely.'
    """
    subject, patients = metrics["subject"], metrics["subjects"]
    interval = f" (95 % interval {_range(subject)})" if _range(subject) else ""
    unseen = ""
    if metrics["protocol"].get("patients_seen_in_training") == 0:
        unseen = " that the model was not trained on"
    whom = f"{counted(len(patients), 'patient')}{unseen}"
    said = f"Mean Dice {subject['mean_dice']:.2f}{interval} over {whom}."
    if len(patients) == 1:
        return said
    worst = min(patients, key=lambda name: patients[name]["dice"])
    missed = sum(1 for one in patients.values() if one["voxels_true"] and not one["dice"])
    also = f"; in {counted(missed, 'patient')} the tumour was missed completely" if missed else ""
    return f"{said} The worst is {worst} with {patients[worst]['dice']:.2f}{also}."


def main_metrics(metrics: Mapping[str, Any]) -> list[MainMetric]:
    """Returns the five metrics to read, by their full names.

    Args:
        metrics: What `evaluate` returned.

    Returns:
        Two of overlap and outlines per patient each, two of all pixels; see `MainMetric`.
    """
    subject, pooled = metrics["subject"], metrics["pooled"]
    unit = metrics.get("distance_unit", "px") or ""
    # Of earlier versions the number is not known.
    measured = subject.get("hd95_patients", len(metrics["subjects"]))
    over = "" if measured == len(metrics["subjects"]) else f", over {counted(measured, 'patient')}"
    within = f"2 {'mm' if unit == 'mm' else 'pixels'}"
    interval = f" ({_range(subject)})" if _range(subject) else ""
    return [
        MainMetric(
            "dice",
            "Dice coefficient",
            f"{subject['mean_dice']:.3f}{interval}",
            "Twice the pixels that truth and prediction share, divided by the sum of both: "
            "1 if they are the same, 0 if they share none. It is computed for each patient's whole "
            "stack; the value is the mean over patients, with a 95 % bootstrap interval.",
        ),
        MainMetric(
            "hd95",
            "95th percentile Hausdorff distance",
            _number(subject["mean_hd95"], 1, f" {'mm' if unit == 'mm' else 'pixels'}{over}"),
            "Distance between the outlines of truth and prediction, without the farthest 5 %; mean "
            "over patients with two masks that are not empty. A tumour that was missed completely "
            "is not included.",
        ),
        MainMetric(
            "nsd",
            f"Normalised surface Dice at {within}",
            _number(subject["mean_nsd"], 3, over),
            f"Share of both outlines that lies within {within} of the other; mean over the same "
            "patients.",
        ),
        MainMetric(
            "sensitivity",
            "Sensitivity (recall)",
            _number(pooled["recall"], 3),
            "Share of the tumour pixels that were marked, over all patients together: large "
            "tumours weigh more.",
        ),
        MainMetric(
            "precision",
            "Precision (positive predictive value)",
            _number(pooled["precision"], 3),
            "Share of the marked pixels that are tumour, over all patients together.",
        ),
    ]


def _range(subject: Mapping[str, Any]) -> str:
    low, high = subject.get("ci95_dice") or (None, None)
    return "" if low is None else f"{low:.2f} to {high:.2f}"


def _number(value: float | None, digits: int, rest: str = "") -> str:
    return "-" if value is None else f"{value:.{digits}f}{rest}"
