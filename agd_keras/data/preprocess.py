"""From the pixels in the files to what the network sees, and back: the same code everywhere."""

import numpy as np
from PIL import Image

# Counts up whenever the numbers below change, so that cached data sets are made anew.
PREPROCESS_VERSION = 1
CLIP = 5.0


def normalize_patient(images: np.ndarray) -> np.ndarray:
    """Scales each channel of a patient's stack to zero mean and unit deviation of the tissue.

    Scanner intensities have no unit, so each patient is measured against itself. Tissue is what is
    brighter than the mean of the channel: air makes up more than half of every stack, which puts
    that mean between the two. The rule has no parameter and gives the same result for an image
    multiplied by any positive number.

    Args:
        images: Array of shape `(slices, height, width, channels)`, any real type: all slices of
            one patient.

    Returns:
        Float32 array of the same shape, clipped to -5 to 5 (in standard deviations of the tissue).
        A channel that is constant comes back as zeros.

    Example:

    >>> stack = np.array([0, 0, 0, 8, 12], "uint8").reshape(1, 1, 5, 1)
    >>> normalize_patient(stack).ravel().tolist()
    [-5.0, -5.0, -5.0, -1.0, 1.0]
    """
    images = np.asarray(images, dtype=np.float32)
    normalized = np.zeros_like(images)
    for channel in range(images.shape[-1]):
        values = images[..., channel]
        tissue = values[values > values.mean(dtype=np.float64)]
        deviation = tissue.std(dtype=np.float64) if tissue.size else 0.0
        if deviation > 0:
            scaled = (values - tissue.mean(dtype=np.float64)) / deviation
            normalized[..., channel] = np.clip(scaled, -CLIP, CLIP)
        elif tissue.size:  # two grey levels: tissue has no spread to scale by
            normalized[..., channel] = np.where(values > values.mean(), 0.0, -CLIP)
    return normalized


def _resize(plane: np.ndarray, height: int, width: int, method: Image.Resampling) -> np.ndarray:
    if plane.shape == (height, width):
        return plane
    return np.asarray(Image.fromarray(plane).resize((width, height), method))


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
    channels = [
        _resize(np.ascontiguousarray(image[..., c]), size, size, Image.Resampling.BILINEAR)
        for c in range(image.shape[-1])
    ]
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
    share = _resize(mask.astype(np.float32), size, size, Image.Resampling.BOX)
    return share >= 0.5


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
    plane = np.ascontiguousarray(probability, dtype=np.float32)
    return _resize(plane, *shape, Image.Resampling.BILINEAR)


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
    return np.stack([resize_image(image, image_size) for image in normalize_patient(images)])
