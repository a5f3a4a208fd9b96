"""How far apart the surfaces of two masks lie; the rules for empty masks stand in `scores`.

Of our own, since no light, maintained package has both: surface-distance 0.1 calls names that NumPy
2 dropped and SciPy 2 will, panoptica 2.1.7 refuses NumPy 2.3, grand-challenge-metrics takes an
order statistic for the percentile, and MONAI needs PyTorch.
"""

import numpy as np
from scipy import ndimage


def _crop(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts both masks to the bounding box of their union; no distance changes by that."""
    box = ndimage.find_objects((truth | prediction).astype(np.uint8))[0]
    return truth[box], prediction[box]


def _distances(
    truth: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...] | None
) -> list[np.ndarray]:
    """From each surface voxel of one mask to the nearest of the other one, both ways."""
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in _crop(truth, prediction)]
    return [
        ndimage.distance_transform_edt(~there, sampling=spacing)[here]
        for here, there in (surfaces, surfaces[::-1])
    ]


def surface_figures(
    truth: np.ndarray,
    prediction: np.ndarray,
    tolerance: float = 2.0,
    spacing: tuple[float, ...] | None = None,
) -> tuple[float | None, float | None]:
    """Computes HD95 and NSD, the normalised surface Dice, from one distance map of each surface.

    HD95: from each surface voxel of one mask the distance to the nearest of the other one; of these
    the 95th percentile as `numpy.percentile` has it, interpolated linearly between order
    statistics; and of the two directions the larger, as in MONAI. NSD: the share of both surfaces
    that lies close to the other one, following Nikolov et al. 2018
    (https://arxiv.org/abs/1809.04430) with surface voxels counted, as MONAI does, in place of
    surface areas. A surface voxel is one with a face neighbour outside of the mask or of the stack.

    Args:
        truth: Boolean array of shape `(slices, height, width)`, or of any other rank.
        prediction: Boolean array of the same shape.
        tolerance: Distance that still counts as close, in the unit of `spacing`.
        spacing: Size of a voxel along each axis, in mm; 1 along each if not given.

    Returns:
        HD95 in the unit of `spacing`, in pixels without it, and NSD, 0 to 1; 0 and 1 if both masks
        are empty, None if one is.

    Example:

    >>> surface_figures(np.array([True, True, False]), np.array([False, True, True]), tolerance=0)
    (0.95, 0.5)
    >>> truth = np.zeros(26, bool)
    >>> truth[[0, 25]] = True
    >>> surface_figures(truth, np.arange(26) == 0)[0]
    23.75
    """
    if not (truth.any() and prediction.any()):
        return (None, None) if truth.any() or prediction.any() else (0.0, 1.0)
    distances = _distances(truth, prediction, spacing)
    farthest = max(float(np.percentile(one, 95)) for one in distances)
    return farthest, float((np.concatenate(distances) <= tolerance).mean())
