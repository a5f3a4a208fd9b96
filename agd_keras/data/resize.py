"""Bilinear resizing of a plane, as a product with few numbers."""

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array


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


def resample(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a plane, bilinear, averaging where it shrinks.

    Args:
        plane: Float32 array of two dimensions.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        Float32 array of shape `(height, width)`; the plane itself if it has that shape.

    Example:

    >>> resample(np.array([[0, 2], [4, 6]], "float32"), 1, 1).tolist()
    [[3.0]]
    """
    if plane.shape == (height, width):
        return plane
    rows = _triangles(plane.shape[0], height) @ plane
    return (_triangles(plane.shape[1], width) @ rows.T).T
