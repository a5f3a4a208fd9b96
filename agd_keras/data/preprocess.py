"""The arithmetic between the pixels in the files and what the network sees, and back."""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from agd_keras.data.brain import brain_levels
from agd_keras.data.resize import resample
from agd_keras.io.background import settle_background
from agd_keras.io.image_files import FLAIR

# Counts up whenever the numbers below change; `data.preprocessor` keeps what models of earlier
# versions were trained with.
PREPROCESS_VERSION = 3
CLIP = 5.0
# Air lies so far below brain. Tissue spreads about as far as with `tissue`, whose unit is its
# deviation.
BRAIN_SCALE = 2.5
NORMALIZATIONS = ("tissue", "brain")
# For each channel of a patient a function that normalises any part of it to float32.
Scales = Iterator[Callable[[np.ndarray], np.ndarray]]


def normalize_patient(images: np.ndarray, normalization: str = "tissue") -> np.ndarray:
    """Scales each channel of a patient's stack by its tissue, or by air and brain.

    Scanner intensities have no unit, so each patient is measured against itself. What is not
    finite, and a constant background among the values of the tissue, is air, see
    `settle_background`.

    `"tissue"`: to zero mean and unit deviation of the tissue, which is what is brighter than the
    mean of the channel: air makes up more than half of every stack, which puts that mean between
    the two. The rule has no parameter and gives the same result for an image multiplied by any
    positive number.

    `"brain"`: normal brain lies at 0 and air at -2.5, as `brain_levels` finds them. A head has the
    same numbers in its brain with its skull and without.

    Args:
        images: Array of shape `(slices, height, width, channels)`, any real type: all slices of
            one patient.
        normalization: `"tissue"` or `"brain"`.

    Returns:
        Float32 array of the same shape, clipped to -5 to 5 (in standard deviations of the tissue).
        A channel that is constant has no tissue and comes back as air does, -5 or -2.5.

    Example:

    >>> stack = np.array([0, 0, 0, 8, 12], "uint8").reshape(1, 1, 5, 1)
    >>> normalize_patient(stack).ravel().tolist()
    [-5.0, -5.0, -5.0, -1.0, 1.0]
    """
    images = np.asarray(images)
    return scale_channels(images, measure_scales(images, normalization))


def scale_channels(images: np.ndarray, scales: Scales) -> np.ndarray:
    """Normalises all of a patient's images by what `measure_scales` measured of them."""
    normalized = np.empty(images.shape, np.float32)
    for channel, scale in enumerate(scales):
        normalized[..., channel] = scale(channel_of(images, channel))
    return normalized


def measure_scales(images: np.ndarray, normalization: str, flair: int = FLAIR) -> Scales:
    """Measures a patient by the rules of `normalize_patient`.

    Args:
        images: Array of shape `(slices, height, width, channels)`: all slices of one patient.
        normalization: `"tissue"` or `"brain"`.
        flair: Index of the channel of FLAIR, for `"brain"`.

    Yields:
        For each channel a function that normalises any part of it to float32, -5 to 5.
    """
    if normalization == "tissue":
        for channel in range(images.shape[-1]):
            yield _scale_of(channel_of(images, channel))
        return
    if images.dtype != np.uint8:
        images = np.stack([channel_of(images, c) for c in range(images.shape[-1])], axis=-1)
    for air, brain in zip(*brain_levels(images, flair), strict=True):
        gain = BRAIN_SCALE / (brain - air) if brain > air else 0.0

        def scale(part: np.ndarray, air: float = air, gain: float = gain) -> np.ndarray:
            return np.clip((part - air) * gain - BRAIN_SCALE, -CLIP, CLIP).astype(np.float32)

        yield scale(np.arange(256)).take if images.dtype == np.uint8 else scale


def channel_of(images: np.ndarray, channel: int) -> np.ndarray:
    """One channel as it lies best in memory, `(slices, height, width)`, uint8 or float32."""
    dtype = np.uint8 if images.dtype == np.uint8 else np.float32
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is background
        values = np.ascontiguousarray(images[..., channel], dtype)
    return settle_background(values)[0]


def _scale_of(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Measures a channel; returns the function that normalises any part of it to float32."""
    average, mean, deviation = _measure_tissue(values)

    def scale(part: np.ndarray) -> np.ndarray:
        if deviation > 0:
            return np.clip((part - mean) / deviation, -CLIP, CLIP).astype(np.float32)
        # One or two grey levels: tissue has no spread to scale by.
        return np.where(part <= average, np.float32(-CLIP), np.float32(0))

    # Of 256 grey levels each is scaled once and then looked up, to the same numbers.
    return scale(np.arange(256)).take if values.dtype == np.uint8 else scale


def _measure_tissue(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of a channel, then mean and deviation of its tissue: what is above that mean."""
    if values.dtype == np.uint8:
        counts = np.array(Image.fromarray(values.reshape(len(values), -1)).histogram())
        levels = np.arange(256.0)
        average = counts @ levels / counts.sum()
        counts = np.where(levels > average, counts, 0)
        if not counts.any():
            return average, 0.0, 0.0  # constant
        mean = counts @ levels / counts.sum()
        return average, mean, np.sqrt(counts @ (levels - mean) ** 2 / counts.sum())
    average = values.mean(dtype=np.float64)
    tissue = values[values > average]
    if not tissue.size:
        return average, 0.0, 0.0
    return average, tissue.mean(dtype=np.float64), tissue.std(dtype=np.float64)


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Resizes a mask to a square: a pixel is tumour where at least half of its area is.

    Args:
        mask: Boolean array of shape `(height, width)`.
        size: Side of the result in pixels.

    Returns:
        Boolean array of shape `(size, size)`.

    Example:

    >>> resize_mask(np.eye(4, dtype=bool), 2).tolist()
    [[True, False], [False, True]]
    """
    share = Image.fromarray(mask.astype(np.float32)).resize((size, size), Image.Resampling.BOX)
    return np.asarray(share) >= 0.5


def resize_probability(probability: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Brings a probability map back to the size of the original slice, bilinear.

    Args:
        probability: Float32 array of shape `(height, width)`, values 0 to 1.
        shape: Height and width of the result in pixels.

    Returns:
        Float32 array of that shape, values 0 to 1.

    Example:

    >>> resize_probability(np.full((2, 2), 0.25, "float32"), (3, 5)).shape
    (3, 5)
    """
    # Weights that are rounded may add up to a little more than 1.
    return np.minimum(resample(np.asarray(probability, np.float32), *shape), np.float32(1))
