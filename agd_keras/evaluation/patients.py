"""The figures of one patient: over the whole stack, by region, and added up from parts of it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from agd_keras.evaluation import reliability, scores
from agd_keras.evaluation.errors import add_errors, count_errors
from agd_keras.evaluation.surface import surface_figures

TOLERANCE = 2.0  # of `nsd`, in the unit of distances
MILLIMETRES, PIXELS = "mm", "px"
NO_SUMS = (
    *("dice", "iou", "hd95", "nsd", "unit", "confidence", "unlike"),
    *("calibration", "errors", "regions"),
)


def score_patient(
    truth: np.ndarray,
    probability: np.ndarray,
    threshold: float = 0.5,
    surface: bool = True,
    prediction: np.ndarray | None = None,
    spacing: tuple[float, float, float] | None = None,
) -> dict[str, Any]:
    """Scores the whole stack of one patient.

    Args:
        truth: Boolean array of shape `(slices, height, width)`.
        probability: Float array of the same shape, values 0 to 1.
        threshold: A pixel is predicted as tumour at or above this probability.
        surface: Whether to compute `hd95`, `nsd` and `errors`, which take most of the time.
        prediction: The mask, boolean, where more than the threshold decides on it.
        spacing: Between slices, rows and columns in mm, as `Case.spacing`; None if unknown.

    Returns:
        `dice`, `iou`, `hd95` and `nsd` with their `unit`, `mm` or, of unknown spacing, `px` of a
        stack of unit spacing, `voxels_true`, `voxels_pred`, `confidence`, the mean probability in
        the mask, `expected_volume`, the sum of all probabilities, and `errors`, as `count_errors`
        has them; and the sums from which `summarize` makes the figures over patients.

    Example:

    >>> truth = np.array([[[True, True, False, False]]])
    >>> entry = score_patient(truth, np.array([[[0.9, 0.2, 0.6, 0.1]]]))
    >>> entry["dice"], entry["voxels_pred"], entry["fp"]
    (0.5, 2, 1)
    """
    if prediction is None:
        prediction = probability >= threshold
    per_slice = [scores.count(*pair) for pair in zip(truth, prediction, strict=True)]
    tumor = [counts for counts in per_slice if counts.tp + counts.fn]
    empty = [counts for counts in per_slice if not counts.tp + counts.fn]
    total = sum(per_slice, scores.Counts())
    known = _known_spacing(spacing, len(truth))
    figures = surface_figures(truth, prediction, TOLERANCE, known) if surface else (None, None)
    return {
        "dice": scores.dice(total),
        "iou": scores.iou(total),
        "hd95": figures[0],
        "nsd": figures[1],
        "unit": MILLIMETRES if known else PIXELS,
        "voxels_true": total.tp + total.fn,
        "voxels_pred": total.tp + total.fp,
        "confidence": ratio(
            float(probability[prediction].sum(dtype=np.float64)), total.tp + total.fp
        ),
        "expected_volume": float(probability.sum(dtype=np.float64)),
        "tp": total.tp,
        "fp": total.fp,
        "fn": total.fn,
        "tn": total.tn,
        "pixels": truth.size,
        "bce_sum": scores.bce_sum(truth, probability),
        "slices": len(per_slice),
        "tumor_slices": len(tumor),
        "tumor_slice_dice_sum": sum(map(scores.dice, tumor)),
        "empty_slices": len(empty),
        "empty_false_positives": sum(counts.fp > 0 for counts in empty),
        "calibration": reliability.calibration_sums(truth, probability, prediction),
        "errors": count_errors(truth, prediction) if surface else None,
    }


def score_regions(
    truth: np.ndarray,
    probability: np.ndarray,
    regions: Sequence[str] = (),
    threshold: float = 0.5,
    surface: bool = True,
    prediction: np.ndarray | None = None,
    spacing: tuple[float, float, float] | None = None,
) -> dict[str, Any]:
    """Scores the whole stack of one patient, region by region.

    Args:
        truth: As for `score_patient`, like all others; of several regions with an axis for them.
        probability: Of the shape of `truth`.
        regions: Names of several regions; none for one.
        threshold: That of all regions.
        surface: Whether to compute what takes most of the time.
        prediction: The masks.
        spacing: Between slices, rows and columns in mm.

    Returns:
        The entry of the first region, as of a model of it alone, and of several `regions`: the
        entry of each by its name.

    Example:

    >>> truth = np.array([[[[True, False], [True, True]]]])
    >>> entry = score_regions(truth, truth * [0.9, 0.1], ["whole", "core"])
    >>> entry["dice"], entry["regions"]["core"]["dice"]
    (1.0, 0.0)
    """
    if not regions:
        return score_patient(truth, probability, threshold, surface, prediction, spacing)
    masks = probability >= threshold if prediction is None else prediction
    entries = {}
    for place, name in enumerate(regions):
        arrays = (np.ascontiguousarray(one[..., place]) for one in (truth, probability, masks))
        own, found, mask = arrays
        entries[name] = score_patient(own, found, threshold, surface, mask, spacing)
    return {**entries[regions[0]], "regions": entries}


def _known_spacing(
    spacing: tuple[float, float, float] | None, slices: int
) -> tuple[float, float, float] | None:
    """The spacing to measure by; a single slice has no distance to others."""
    if spacing is not None and slices == 1:
        spacing = (1.0, *spacing[1:])
    return spacing if spacing is not None and np.isfinite(spacing).all() else None


def add_entries(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Adds up the entries of one patient whose slices were scored in several parts.

    Args:
        entries: Results of `score_patient` on parts of one patient's stack.

    Returns:
        The entry of the whole; `hd95` and `nsd` are None, since distances do not add.

    Example:

    >>> truth = np.array([[[True, True, False, False]]])
    >>> parts = [score_patient(truth, probability) for probability in (truth * 0.9, truth * 0.1)]
    >>> round(add_entries(parts)["dice"], 3)
    0.667
    """
    if len(entries) == 1:
        return dict(entries[0])
    whole: dict[str, Any] = {
        key: sum(entry[key] for entry in entries) for key in entries[0] if key not in NO_SUMS
    }
    parts = [entry["regions"] for entry in entries if "regions" in entry]
    names = parts[0] if parts else ()
    counts = scores.Counts(*(whole[key] for key in ("tp", "fp", "fn", "tn")))
    return {
        "dice": scores.dice(counts),
        "iou": scores.iou(counts),
        "hd95": None,
        "nsd": None,
        "unit": entries[0].get("unit", PIXELS),
        **{key: entries[0][key] for key in ("unlike",) if key in entries[0]},
        "confidence": mean_confidence(entries),
        **whole,
        "calibration": reliability.add_calibration([entry["calibration"] for entry in entries]),
        "errors": add_errors([entry.get("errors") for entry in entries]),
        **(
            {"regions": {name: add_entries([part[name] for part in parts]) for name in names}}
            if names
            else {}
        ),
    }


def mean_confidence(entries: Iterable[Mapping[str, Any]]) -> float | None:
    """The mean probability in the masks of several stacks.

    Args:
        entries: Results of `score_patient`.

    Returns:
        The mean over their pixels; None where nothing is marked, or of an earlier version that did
        not say.

    Example:

    >>> parts = [{"confidence": 0.9, "voxels_pred": 3}, {"confidence": 0.5, "voxels_pred": 1}]
    >>> mean_confidence([*parts, {"confidence": None, "voxels_pred": 0}])
    0.8
    """
    marked = [entry for entry in entries if entry["voxels_pred"]]
    if not marked or any(entry.get("confidence") is None for entry in marked):
        return None
    sums = sum(entry["confidence"] * entry["voxels_pred"] for entry in marked)
    return float(sums / sum(entry["voxels_pred"] for entry in marked))


def ratio(part: float, whole: int) -> float | None:
    """A share, or None where there is nothing to share.

    Example:

    >>> ratio(3, 4), ratio(0, 0)
    (0.75, None)
    """
    return part / whole if whole else None
