"""Curves of uncertainty: over the pixels of a patient as QU-BraTS has them, and over patients."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from agd_keras.evaluation import scores

LEVELS = 41  # thresholds of the QU-BraTS curves, as its evaluation program has them


def filtering_curves(
    truth: np.ndarray, prediction: np.ndarray, uncertainty: np.ndarray
) -> dict[str, list[float]]:
    """What remains of a patient's prediction as the uncertain pixels are left out.

    Good uncertainty leaves out what is wrong: Dice rises, few true pixels go.

    Args:
        truth: Boolean array of shape `(slices, height, width)`.
        prediction: Boolean array of the same shape.
        uncertainty: Float array of the same shape, 0 to 1, such as entropy divided by ln 2.

    Returns:
        `threshold`, 0 to 1 in 41 steps: pixels above it are left out; and at each `dice` of the
        others, `filtered_tp` and `filtered_tn`, the shares of the true positives and negatives
        that went, 0 of none. All pixels of the stack count as negatives, not those of the brain
        alone.

    Reference:
        Mehta et al. 2022, QU-BraTS, https://arxiv.org/abs/2112.10074.

    Example:

    >>> truth, prediction = np.array([[[1, 1, 0, 0]], [[1, 0, 1, 0]]], dtype=bool)
    >>> curves = filtering_curves(truth, prediction, np.array([[0.0, 0.9, 0.9, 0.0]]))
    >>> curves["dice"][0], curves["dice"][-1], curves["filtered_tp"][0]
    (1.0, 0.5, 0.0)
    """
    thresholds = np.linspace(0, 1, LEVELS)
    level = np.searchsorted(thresholds, np.clip(uncertainty, 0, 1))  # the first that keeps a pixel
    kinds = 2 * truth.astype(np.int64) + prediction  # tn, fp, fn, tp
    table = np.bincount((kinds * LEVELS + level).ravel(), minlength=4 * LEVELS)
    tn, fp, fn, tp = table.reshape(4, LEVELS).cumsum(axis=1)

    def gone(kept: np.ndarray) -> list[float]:
        return (1 - kept / kept[-1]).tolist() if kept[-1] else [0.0] * LEVELS

    counts = [scores.Counts(*map(int, row)) for row in zip(tp, fp, fn, tn, strict=True)]
    return {
        "threshold": thresholds.tolist(),
        "dice": [scores.dice(one) for one in counts],
        "filtered_tp": gone(tp),
        "filtered_tn": gone(tn),
    }


def filtering_score(curves: dict[str, list[float]]) -> float:
    """The QU-BraTS score of a patient: mean of the areas that should be large.

    Args:
        curves: What `filtering_curves` returned.

    Returns:
        0 to 1 (best).

    Reference:
        Mehta et al. 2022, QU-BraTS, https://arxiv.org/abs/2112.10074.

    Example:

    >>> truth = np.array([[True, False]])
    >>> filtering_score(filtering_curves(truth, truth, np.zeros((1, 2))))
    1.0
    """
    area = {name: np.trapezoid(curves[name], curves["threshold"]) for name in curves}
    return float((area["dice"] + (1 - area["filtered_tp"]) + (1 - area["filtered_tn"])) / 3)


def mean_curves(patients: Sequence[dict[str, list[float]]]) -> dict[str, list[float]]:
    """Averages curves over patients.

    Args:
        patients: For each what `filtering_curves` returned, at least one.

    Returns:
        A dict of the same form.
    """
    return {
        name: np.mean([curves[name] for curves in patients], axis=0).tolist()
        for name in patients[0]
    }


def risk_coverage(uncertainty: Sequence[float], dice: Sequence[float]) -> dict[str, Any]:
    """How good the rest is if the most uncertain patients are handed to a reader.

    Args:
        uncertainty: A score for each patient, higher is less certain.
        dice: The Dice of each patient, 0 to 1.

    Returns:
        `coverage`, the shares of patients kept, most certain first; `risk`, the mean of 1 - Dice
        over them; `aurc`, the mean of that over coverages; `aurc_best` and `aurc_random`, the same
        with patients ordered by Dice and by chance; `spearman`, the rank correlation of uncertainty
        and 1 - Dice, None where one of them is the same for all. Patients of one score count as a
        mean of their orders.

    Raises:
        ValueError: There is no patient, or not one score for each.

    Reference:
        Geifman & El-Yaniv 2017, https://arxiv.org/abs/1705.08500.

    Example:

    >>> curve = risk_coverage([0.1, 0.9], [0.75, 0.25])
    >>> curve["coverage"], curve["risk"], curve["aurc"]
    ([0.5, 1.0], [0.25, 0.5], 0.375)
    """
    score, loss = np.asarray(uncertainty, np.float64), 1 - np.asarray(dice, np.float64)
    if not score.size or score.shape != loss.shape:
        raise ValueError(
            "`uncertainty` and `dice` must hold one number per patient. "
            f"Received: {score.size} and {loss.size} numbers"
        )
    kept = np.arange(1, score.size + 1)
    risk = np.cumsum(_ordered(loss, score)) / kept
    varied = np.ptp(score) > 0 and np.ptp(loss) > 0
    return {
        "coverage": (kept / score.size).tolist(),
        "risk": risk.tolist(),
        "aurc": float(risk.mean()),
        "aurc_best": float((np.cumsum(np.sort(loss)) / kept).mean()),
        "aurc_random": float(loss.mean()),
        "spearman": float(stats.spearmanr(score, loss).statistic) if varied else None,
    }


def _ordered(loss: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Losses from the lowest score to the highest, averaged over those of equal score."""
    _, group = np.unique(score, return_inverse=True)
    means = np.bincount(group, loss) / np.bincount(group)
    return means[np.sort(group)]
