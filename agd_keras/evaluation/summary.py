"""The figures of an evaluation, over patients: means, intervals, pooled counts, by region."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from agd_keras.errors import InputError
from agd_keras.evaluation import reliability, scores
from agd_keras.evaluation.errors import summarize_errors
from agd_keras.evaluation.patients import PIXELS, mean_confidence, ratio

DISTANCES = ("mean_hd95", "mean_nsd")  # the figures over patients that depend on the unit


def summarize(subjects: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Makes the figures over patients from the entries of single patients.

    Args:
        subjects: For each patient the result of `score_patient`, from one evaluation or gathered
            from the folds of a cross-validation.

    Returns:
        `pooled`, `subject`, `slice`, `calibration`, `confidence`, `expected_volume` and `errors`,
        as in `metrics.json`, and `distance_unit`; of several regions these are of the first, and
        `regions` has them of each by its name. `std_dice` is the deviation of the given patients
        (divided by their number). `mean_hd95` and `mean_nsd` are over `hd95_patients` of them:
        those of whom neither mask is empty, or both are. Where some of these are measured in mm and
        others in pixels, unit and means are None, as is what cannot be computed.
        `confidence`: `stated`, the mean probability of what is marked, `precision`, the share of it
        that is tumour, and `mean_gap`, the distance of the two, mean over patients.
        `expected_volume`, in voxels: `expected`, the sum of all probabilities, what is `found` and
        what is `true`, and `mean_error`, the distance of the first to the last as a share of it,
        mean over patients with tumour.

    Raises:
        InputError: There is no patient.

    Example:

    >>> from agd_keras.evaluation.patients import score_patient
    >>> truth = np.array([[[True, False]]])
    >>> summary = summarize({"a": score_patient(truth, truth * 0.9)})
    >>> summary["pooled"]["iou"], summary["slice"]["empty_false_positive_rate"]
    (1.0, None)
    """
    if not subjects:
        raise InputError("evaluation: expected at least one patient, got none")
    entries = list(subjects.values())
    names = entries[0].get("regions", ())
    regions = {
        name: summarize({who: entry["regions"][name] for who, entry in subjects.items()})
        for name in names
    }

    def total(key: str) -> Any:
        return sum(entry[key] for entry in entries)

    counts = scores.Counts(*map(total, ("tp", "fp", "fn", "tn")))
    dices = np.array([entry["dice"] for entry in entries])
    sums = reliability.add_calibration([entry["calibration"] for entry in entries])
    measured = [entry for entry in entries if entry["hd95"] is not None]
    units = {entry.get("unit", PIXELS) for entry in measured or entries}
    alike = measured if len(units) == 1 else []
    return {
        "pooled": {
            "accuracy": scores.accuracy(counts),
            "precision": scores.precision(counts),
            "recall": scores.recall(counts),
            "f1": scores.dice(counts),
            "iou": scores.iou(counts),
            "specificity": scores.specificity(counts),
            "bce": total("bce_sum") / total("pixels"),
        },
        "subject": {
            "mean_dice": float(dices.mean()),
            "median_dice": float(np.median(dices)),
            "std_dice": float(dices.std()),
            "min_dice": float(dices.min()),
            "mean_iou": _mean(entry["iou"] for entry in entries),
            "ci95_dice": list(scores.bootstrap_ci(dices) or (None, None)),
            "mean_hd95": _mean(entry["hd95"] for entry in alike),
            "hd95_patients": len(measured),
            "mean_nsd": _mean(entry["nsd"] for entry in alike),
        },
        "slice": {
            "mean_dice": ratio(total("tumor_slice_dice_sum"), total("tumor_slices")),
            "empty_false_positive_rate": ratio(
                total("empty_false_positives"), total("empty_slices")
            ),
        },
        "calibration": {"brier": reliability.brier(sums), "ece": reliability.ece(sums)},
        "confidence": _confidence(entries, scores.precision(counts)),
        "expected_volume": _expected_volume(entries),
        "errors": summarize_errors(entries),
        "distance_unit": units.pop() if len(units) == 1 else None,
        **({"regions": regions} if regions else {}),
    }


def over_regions(metrics: Mapping[str, Any], group: str, figure: str) -> float:
    """Mean of a figure over the regions, of one region the figure itself.

    Args:
        metrics: What `summarize` returned.
        group: As `subject`.
        figure: As `mean_dice`.

    Example:

    >>> core, whole = ({"subject": {"mean_dice": dice}} for dice in (0.5, 0.75))
    >>> over_regions({**whole, "regions": {"whole": whole, "core": core}}, "subject", "mean_dice")
    0.625
    """
    parts = list(metrics.get("regions", {}).values()) or [metrics]
    return sum(part[group][figure] for part in parts) / len(parts)


def _confidence(entries: Sequence[Mapping[str, Any]], precision: float) -> dict[str, Any]:
    """Is what is marked right as often as its probability says?"""
    gaps = [
        abs(entry["confidence"] - entry["tp"] / entry["voxels_pred"])
        for entry in entries
        if entry.get("confidence") is not None
    ]
    stated = mean_confidence(entries)
    return {
        "stated": stated,
        "precision": None if stated is None else precision,
        "mean_gap": _mean(gaps),
    }


def _expected_volume(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Do the probabilities add up to as much tumour as there is, missed tumour included?"""
    known = [entry for entry in entries if entry.get("expected_volume") is not None]
    errors = [
        abs(entry["expected_volume"] / entry["voxels_true"] - 1)
        for entry in known
        if entry["voxels_true"]
    ]

    def total(key: str) -> Any:
        return sum(entry[key] for entry in known) if len(known) == len(entries) else None

    expected = total("expected_volume")
    return {
        "expected": None if expected is None else round(expected, 1),
        "found": total("voxels_pred"),
        "true": total("voxels_true"),
        "mean_error": _mean(errors),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
