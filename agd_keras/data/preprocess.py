"""From the pixels in the files to what the network sees, and back: the same code everywhere."""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from agd_keras.io.background import settle_background

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Counts up whenever the numbers below change, so that cached data sets are made anew.
PREPROCESS_VERSION = 2
CLIP = 5.0


def normalize_patient(images: np.ndarray) -> np.ndarray:
    """Scales each channel of a patient's stack to zero mean and unit deviation of the tissue.

    Scanner intensities have no unit, so each patient is measured against itself. Tissue is what is
    brighter than the mean of the channel: air makes up more than half of every stack, which puts
    that mean between the two. The rule has no parameter and gives the same result for an image
    multiplied by any positive number. What is not finite, and a constant background among the
    values of the tissue, is air too, see `settle_background`.

    Args:
        images: Array of shape `(slices, height, width, channels)`, any real type: all slices of
            one patient.

    Returns:
        Float32 array of the same shape, clipped to -5 to 5 (in standard deviations of the tissue).
        A channel that is constant has no tissue and comes back as -5, as air does.

    Example:

    >>> stack = np.array([0, 0, 0, 8, 12], "uint8").reshape(1, 1, 5, 1)
    >>> normalize_patient(stack).ravel().tolist()
    [-5.0, -5.0, -5.0, -1.0, 1.0]
    """
    images = np.asarray(images)
    normalized = np.empty(images.shape, np.float32)
    for channel in range(images.shape[-1]):
        values = _channel(images, channel)
        normalized[..., channel] = _scale_of(values)(values)
    return normalized


def _channel(images: np.ndarray, channel: int) -> np.ndarray:
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


@lru_cache(maxsize=32)
def _triangles(source: int, target: int) -> "csr_array":
    """Weights `(target, source)`: how much of each pixel of a row goes into each new one.

    A triangle as wide as the step between the pixels of the coarser of the two rows, as in Pillow's
    `BILINEAR`, several times faster: nearly all of them are zero.
    """
    from scipy.sparse import csr_array

    step = source / target
    centres = (np.arange(target) + 0.5) * step
    distance = np.abs(np.arange(source) + 0.5 - centres[:, None]) / max(step, 1)
    weights = np.clip(1 - distance, 0, None)
    return csr_array((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


def _resize(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    if plane.shape == (height, width):
        return plane
    rows = _triangles(plane.shape[0], height) @ plane
    return (_triangles(plane.shape[1], width) @ rows.T).T


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes an image to a square, bilinear, averaging where it shrinks.

    Args:
        image: Float32 array of shape `(height, width, channels)`.
        size: Side of the result in pixels.

    Returns:
        Float32 array of shape `(size, size, channels)`.

    Example:

    >>> resize_image(np.ones((4, 6, 3), "float32"), 2).shape
    (2, 2, 3)
    """
    channels = [_resize(image[..., c], size, size) for c in range(image.shape[-1])]
    return np.stack(channels, axis=-1)


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
    return np.minimum(_resize(np.asarray(probability, np.float32), *shape), np.float32(1))


def prepare_patient(images: np.ndarray, image_size: int) -> np.ndarray:
    """Makes network input of one patient's slices: per-patient normalisation, then resizing.

    Args:
        images: Array of shape `(slices, height, width, channels)`: all slices of one patient.
        image_size: Side of the network's square input in pixels.

    Returns:
        Float32 array of shape `(slices, image_size, image_size, channels)`.

    Example:

    >>> prepare_patient(np.zeros((2, 8, 6, 3), "uint8"), 4).shape
    (2, 4, 4, 3)
    """
    images = np.asarray(images)
    channels = images.shape[-1]
    prepared = np.empty((len(images), image_size, image_size, channels), np.float32)
    for channel in range(channels):
        values = _channel(images, channel)
        scale = _scale_of(values)
        for place, plane in enumerate(values):  # one at a time stays in the processor's cache
            prepared[place, ..., channel] = _resize(scale(plane), image_size, image_size)
    return prepared
