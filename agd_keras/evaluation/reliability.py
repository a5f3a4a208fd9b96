"""Do probabilities mean what they say? Brier score, calibration error, reliability, temperature."""

from typing import Any

import numpy as np
from scipy import ndimage, optimize, special

BINS = 15
MARGIN = 5
SURE = 10.0  # size of a logit from which on a temperature changes nothing: one in 20,000
# Temperatures are sought between the two: beyond them a model says nothing or always 0 or 1.
TEMPERATURES = (0.05, 20.0)


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


def near_boundary(truth: np.ndarray, prediction: np.ndarray, margin: int = MARGIN) -> np.ndarray:
    """Marks the band along the outlines of tumour, predicted and true, where readers differ too.

    Args:
        truth: Boolean array of shape `(slices, height, width)`.
        prediction: Boolean array of the same shape: probability at or above the threshold.
        margin: A pixel is in the band if the square of this half side around it holds both tumour
            and none, in pixels, within its own slice; the rim of the image is no outline.

    Returns:
        Boolean array of the same shape, a subset of `near_tumor`.

    Example:

    >>> half = np.arange(20)[None, None] >= 8
    >>> np.flatnonzero(near_boundary(half, half, margin=2)).tolist()
    [6, 7, 8, 9]
    """
    band = np.zeros(truth.shape, dtype=bool)
    for mask in (truth, prediction):
        for index in np.flatnonzero(mask.any(axis=(1, 2))):
            largest = ndimage.maximum_filter(mask[index], size=2 * margin + 1, mode="nearest")
            smallest = ndimage.minimum_filter(mask[index], size=2 * margin + 1, mode="nearest")
            band[index] |= largest != smallest
    return band


def calibration_sums(
    truth: np.ndarray,
    probability: np.ndarray,
    prediction: np.ndarray,
    region: np.ndarray | None = None,
) -> dict[str, Any]:
    """Sums of one stack from which Brier score and ECE follow; sums of stacks add up.

    Args:
        truth: Boolean array of shape `(slices, height, width)`.
        probability: Float array of the same shape, values 0 to 1.
        prediction: Boolean array of the same shape: probability at or above the threshold.
        region: Boolean array of the same shape: the pixels to sum over; those of `near_tumor`
            unless given.

    Returns:
        `pixels`, `probability`, `truth`: lists of 15 sums, one per equal-width bin of probability
        (the number of pixels, of their probabilities, of tumour pixels among them), over the pixels
        of the region; and `squared_error`, the sum of `(probability - truth)²` over the same.

    Example:

    >>> truth = np.array([[[True, False]]])
    >>> sums = calibration_sums(truth, np.array([[[0.75, 0.25]]]), truth)
    >>> sum(sums["pixels"]), sums["squared_error"]
    (2, 0.125)
    """
    region = near_tumor(truth, prediction) if region is None else region
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
    for the probability of tumour, over the pixels of the sums' region; None without pixels.
    """
    probability, share, pixels = reliability(sums)
    return float(np.average(np.abs(probability - share), weights=pixels)) if pixels.size else None


def scale_temperature(probability: np.ndarray, temperature: float) -> np.ndarray:
    """Divides the logits of probabilities by a temperature, less and less where they are sure.

    Networks that are trained on overlap are too sure along the outlines of tumour, and rightly sure
    of most of the background. One divisor for both either leaves the outlines as they are or raises
    probabilities all over the head. So a temperature above 1 depends on the logit (a rule of our
    own): z becomes z · (1/T + (1 - 1/T) · min(1, (z / 10)²)), which is z / T at the outline and z
    where it is 10 or more.

    Args:
        probability: Float array of any shape, values 0 to 1.
        temperature: T. Above 1 draws towards 0.5; below 1 away from it, by plain division.

    Returns:
        Float32 array of the same shape, in the same order as the probabilities, at or above 0.5
        exactly where they are, so that the mask stays as it is. Unless the temperature is 1, a
        probability is first brought to within 1e-7 of 0 and 1.

    Reference:
        Guo et al. 2017, https://arxiv.org/abs/1706.04599, whose temperature does not fade.

    Example:

    >>> scale_temperature(np.array([1e-5, 0.1, 0.5, 0.9]), 2.0).astype(float).round(5).tolist()
    [1e-05, 0.24019, 0.5, 0.75981]
    """
    probability = np.asarray(probability)
    if temperature == 1:
        return probability.astype(np.float32, copy=False)
    # As in `fit_temperature`: exactly 0 or 1 comes from rounding.
    logit = special.logit(np.clip(probability, 1e-7, 1 - 1e-7, dtype=np.float64))
    scaled = special.expit(scale_logits(logit, temperature)).astype(np.float32)
    # Just below 0.5 the rounding to float32 could lift a pixel into the mask.
    below = np.nextafter(np.float32(0.5), np.float32(0))
    return np.where(probability < 0.5, np.minimum(scaled, below), scaled)


def scale_logits(logit: np.ndarray, temperature: float) -> np.ndarray:
    """Scales logits by the rule of `scale_temperature`, which is odd and increasing.

    Args:
        logit: Float array of any shape, any values.
        temperature: T, above 0.

    Returns:
        Array of the same shape and type.

    Example:

    >>> scale_logits(np.array([-10.0, 0.1, 5.0]), 2.0).round(3).tolist()
    [-10.0, 0.05, 3.125]
    """
    sure = np.minimum(1, (logit / SURE) ** 2) if temperature > 1 else 0
    return logit * (sure + (1 - sure) / temperature)


def fit_temperature(
    truth: np.ndarray, probability: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Finds the temperature under which probabilities explain the truth best.

    The negative log likelihood is convex in 1 / temperature on either side of 1: each is searched.

    Args:
        truth: Boolean array of any shape.
        probability: Float array of the same shape, values 0 to 1.
        weights: Number of pixels that each entry stands for. Default: one.

    Returns:
        The temperature, 0.05 to 20; 1 without any pixel.

    Reference:
        Guo et al. 2017, https://arxiv.org/abs/1706.04599.

    Example: of pixels said to be tumour at 0.9, only three in four are.

    >>> truth = np.array([True, True, True, False])
    >>> round(fit_temperature(truth, np.full(4, 0.9)), 3)
    2.107
    """
    if not truth.size:
        return 1.0
    # A probability of exactly 0 or 1 comes from rounding, and its infinite logit would rule alone.
    logit = special.logit(np.clip(probability, 1e-7, 1 - 1e-7, dtype=np.float64))
    margin = np.where(truth, logit, -logit)

    def loss(logarithm: float) -> float:
        losses = np.logaddexp(0, -scale_logits(margin, np.exp(logarithm)))
        return float(np.average(losses, weights=weights))

    low, high = np.log(TEMPERATURES)
    found = (
        optimize.minimize_scalar(loss, bounds=side, method="bounded", options={"xatol": 1e-6})
        for side in ((low, 0), (0, high))
    )
    return float(np.exp(min(found, key=lambda one: one.fun).x))
