"""Do probabilities mean what they say? Brier score, expected calibration error, reliability."""

from typing import Any

import numpy as np
from scipy import ndimage

BINS = 15
MARGIN = 5


def near_tumor(truth: np.ndarray, prediction: np.ndarray, margin: int = MARGIN) -> np.ndarray:
    """Marks the pixels on which calibration is judged: tumour, predicted or true, and its surround.

    Nearly all pixels of a head are easy background; over all of them every model looks calibrated.

    Args:
        truth: Boolean array of shape `(slices, height, width)`.
        prediction: Boolean array of the same shape: probability at or above the threshold.
        margin: Half side of the square around each such pixel, in pixels, within its own slice.

    Returns:
        Boolean array of the same shape.

    Example:

    >>> point = np.zeros((1, 1, 15), dtype=bool)
    >>> point[0, 0, 7] = True
    >>> int(near_tumor(point, ~point & point).sum())
    11
    """
    region: np.ndarray = truth | prediction
    for index in np.flatnonzero(region.any(axis=(1, 2))):
        region[index] = ndimage.maximum_filter(region[index], size=2 * margin + 1, mode="constant")
    return region


def calibration_sums(
    truth: np.ndarray, probability: np.ndarray, prediction: np.ndarray
) -> dict[str, Any]:
    """Sums of one stack from which Brier score and ECE follow; sums of stacks add up.

    Args:
        truth: Boolean array of shape `(slices, height, width)`.
        probability: Float array of the same shape, values 0 to 1.
        prediction: Boolean array of the same shape: probability at or above the threshold.

    Returns:
        `pixels`, `probability`, `truth`: lists of 15 sums, one per equal-width bin of probability
        (the number of pixels, of their probabilities, of tumour pixels among them), over the pixels
        of `near_tumor`; and `squared_error`, the sum of `(probability - truth)²` over the same.

    Example:

    >>> truth = np.array([[[True, False]]])
    >>> sums = calibration_sums(truth, np.array([[[0.75, 0.25]]]), truth)
    >>> sum(sums["pixels"]), sums["squared_error"]
    (2, 0.125)
    """
    region = near_tumor(truth, prediction)
    probability = probability[region].astype(np.float64)
    truth = truth[region]
    index = np.clip((probability * BINS).astype(np.int64), 0, BINS - 1)

    def per_bin(weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(index, weights=weights, minlength=BINS)

    return {
        "pixels": per_bin().tolist(),
        "probability": per_bin(probability).tolist(),
        "truth": per_bin(truth).astype(int).tolist(),
        "squared_error": float(np.square(probability - truth).sum()),
    }


def add_calibration(stacks: list[dict[str, Any]]) -> dict[str, Any]:
    """Adds the sums of several stacks.

    Args:
        stacks: Results of `calibration_sums`.

    Returns:
        A dict of the same form; zeros for no stack.

    Example:

    >>> sum(add_calibration([])["pixels"])
    0
    """
    total: dict[str, Any] = {
        key: np.sum([stack[key] for stack in stacks] or [[0] * BINS], axis=0).tolist()
        for key in ("pixels", "probability", "truth")
    }
    return total | {"squared_error": float(sum(stack["squared_error"] for stack in stacks))}


def brier(sums: dict[str, Any]) -> float | None:
    """Brier score: mean squared error of the probability, 0 (best) to 1; None without pixels."""
    pixels = sum(sums["pixels"])
    return sums["squared_error"] / pixels if pixels else None


def reliability(sums: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of the reliability curve.

    Args:
        sums: Result of `calibration_sums` or `add_calibration`.

    Returns:
        Mean probability, share of tumour, and number of pixels of each bin that is not empty.

    Example:

    >>> truth = np.array([[[True, False]]])
    >>> sums = calibration_sums(truth, np.array([[[0.75, 0.25]]]), truth)
    >>> [column.tolist() for column in reliability(sums)]
    [[0.25, 0.75], [0.0, 1.0], [1, 1]]
    """
    pixels = np.asarray(sums["pixels"])
    used = pixels > 0
    pixels = pixels[used]
    return (
        np.asarray(sums["probability"])[used] / pixels,
        np.asarray(sums["truth"])[used] / pixels,
        pixels,
    )


def ece(sums: dict[str, Any]) -> float | None:
    """Expected calibration error, 0 (best) to 1: |probability - share of tumour|, mean over pixels.

    Bins of probability of equal width, as Guo et al. 2017 (https://arxiv.org/abs/1706.04599) but
    for the probability of tumour, over the pixels of `near_tumor`; None without pixels.
    """
    probability, share, pixels = reliability(sums)
    return float(np.average(np.abs(probability - share), weights=pixels)) if pixels.size else None
