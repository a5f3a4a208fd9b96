"""What is measured: overlap from pixel counts, cross-entropy, intervals.

Empty masks have one rule each, stated here and used everywhere:

| truth | prediction | dice, iou, precision, recall, f1 | hd95 | nsd |
|---|---|---|---|---|
| empty | empty | 1 | 0 | 1 |
| empty | not empty | 0 | None | None |
| not empty | empty | 0 | None | None |

None means undefined: it is written as null and left out of means. `surface` has `hd95` and `nsd`.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

CLIP = 1e-7


@dataclass(frozen=True)
class Counts:
    """Numbers of true and false positive and negative pixels; counts of two stacks add up.

    Args:
        tp: Pixels that are tumour in truth and prediction.
        fp: Pixels that are tumour in the prediction only.
        fn: Pixels that are tumour in the truth only.
        tn: Pixels that are tumour in neither.

    Example:

    >>> Counts(tp=1, fp=2, fn=0, tn=7) + Counts(tp=1, fp=0, fn=0, tn=9)
    Counts(tp=2, fp=2, fn=0, tn=16)
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn
        )


def count(truth: np.ndarray, prediction: np.ndarray) -> Counts:
    """Counts the four kinds of pixels.

    Args:
        truth: Boolean array of any shape, True on tumour.
        prediction: Boolean array of the same shape.

    Returns:
        `Counts`, of Python integers, which do not overflow.

    Example:

    >>> count(np.array([True, True, False]), np.array([True, False, False]))
    Counts(tp=1, fp=0, fn=1, tn=1)
    """
    tp = int(np.count_nonzero(truth & prediction))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Counts(tp, fp, fn, truth.size - tp - fp - fn)


def _share(part: int, whole: int, empty: float) -> float:
    return part / whole if whole else empty


def _if_undefined(counts: Counts) -> float:
    """Value of a ratio without denominator: right when there was nothing to find, else wrong."""
    return 0.0 if counts.fp or counts.fn else 1.0


def dice(counts: Counts) -> float:
    """Dice coefficient 2·TP / (2·TP + FP + FN), 0 to 1; the same figure as F1."""
    return _share(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, empty=1.0)


def iou(counts: Counts) -> float:
    """Intersection over union TP / (TP + FP + FN), 0 to 1."""
    return _share(counts.tp, counts.tp + counts.fp + counts.fn, empty=1.0)


def precision(counts: Counts) -> float:
    """Share of the predicted pixels that are tumour, 0 to 1."""
    return _share(counts.tp, counts.tp + counts.fp, _if_undefined(counts))


def recall(counts: Counts) -> float:
    """Share of the tumour pixels that are predicted, 0 to 1."""
    return _share(counts.tp, counts.tp + counts.fn, _if_undefined(counts))


def specificity(counts: Counts) -> float:
    """Share of the pixels without tumour that are predicted so, 0 to 1; 1 where there are none."""
    return _share(counts.tn, counts.tn + counts.fp, empty=1.0)


def accuracy(counts: Counts) -> float:
    """Share of all pixels that are predicted right, 0 to 1."""
    total = counts.tp + counts.fp + counts.fn + counts.tn
    return _share(counts.tp + counts.tn, total, empty=1.0)


def bce_sum(truth: np.ndarray, probability: np.ndarray) -> float:
    """Sums the binary cross-entropy over pixels, in nats.

    Args:
        truth: Boolean array of any shape.
        probability: Float array of the same shape: probability of tumour, 0 to 1; kept `CLIP` away
            from both ends.

    Returns:
        Sum over all pixels, computed in float64. Divided by their number it is the mean BCE.

    Example:

    >>> round(bce_sum(np.array([True, False]), np.array([0.5, 0.5])), 4)
    1.3863
    """
    right = np.where(truth, probability, 1.0 - probability.astype(np.float64))
    np.clip(right, CLIP, 1.0 - CLIP, out=right)
    return -float(np.log(right, out=right).sum())


def bootstrap_ci(values: np.ndarray) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean, over patients: 95 %, of 10,000 resamples.

    The same values always get the same interval.

    Args:
        values: One figure per patient.

    Returns:
        Lower and upper end, or None for fewer than two patients, of which none can be drawn.

    Example:

    >>> low, high = bootstrap_ci(np.linspace(0.7, 0.9, 11))
    >>> 0.75 < low < 0.8 < high < 0.85
    True
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size < 2:
        return None
    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=10_000,
        batch=max(1, 2_000_000 // values.size),  # bounds memory; a draw does not depend on it
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)
