"""How far apart the surfaces of two masks lie; the rules for empty masks stand in `scores`.

The Hausdorff distance comes from grand-challenge-metrics. The surface Dice is ours because no
light, maintained package has it: surface-distance 0.1 calls names that NumPy 2 dropped and SciPy 2
will, panoptica 2.1.7 refuses NumPy 2.3, and MONAI needs PyTorch.
"""

import numpy as np
from grand_challenge_metrics.stats import percentile_hausdorff_distance
from scipy import ndimage


def _crop(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts both masks to the bounding box of their union; no distance changes by that."""
    box = ndimage.find_objects((truth | prediction).astype(np.uint8))[0]
    return truth[box], prediction[box]


def hd95(
    truth: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...] | None = None
) -> float | None:
    """Hausdorff distance at the 95th percentile between the surfaces of two masks.

    The larger of the two directed 95th percentiles, as grand-challenge-metrics computes it. A
    surface voxel is one with a face neighbour outside of the mask or of the stack.

    Args:
        truth: Boolean array of shape `(slices, height, width)`, or of any other rank.
        prediction: Boolean array of the same shape.
        spacing: Size of a voxel along each axis, in mm; 1 along each if not given.

    Returns:
        Distance in the unit of `spacing`, in pixels without it; 0 if both masks are empty, None if
        one is.

    Example:

    >>> hd95(np.array([[True, False, False]]), np.array([[False, False, True]]))
    2.0
    """
    if not (truth.any() and prediction.any()):
        return None if truth.any() or prediction.any() else 0.0
    truth, prediction = _crop(truth, prediction)
    return float(percentile_hausdorff_distance(truth, prediction, 0.95, spacing))


def nsd(
    truth: np.ndarray,
    prediction: np.ndarray,
    tolerance: float = 2.0,
    spacing: tuple[float, ...] | None = None,
) -> float | None:
    """Normalised surface Dice: the share of both surfaces that lies close to the other one.

    Follows Nikolov et al. 2018 (https://arxiv.org/abs/1809.04430) with surface voxels counted, as
    MONAI does, in place of surface areas. The surface is that of `hd95`.

    Args:
        truth: Boolean array of shape `(slices, height, width)`, or of any other rank.
        prediction: Boolean array of the same shape.
        tolerance: Distance that still counts as close, in the unit of `spacing`.
        spacing: Size of a voxel along each axis, in mm; 1 along each if not given.

    Returns:
        0 to 1; 1 if both masks are empty, None if one is.

    Example:

    >>> nsd(np.array([[True, True, False]]), np.array([[False, True, True]]), tolerance=0)
    0.5
    """
    if not (truth.any() and prediction.any()):
        return None if truth.any() or prediction.any() else 1.0
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in _crop(truth, prediction)]
    close = []
    for here, there in (surfaces, surfaces[::-1]):
        distance = ndimage.distance_transform_edt(~there, sampling=spacing)
        close.append(distance[here] <= tolerance)
    return float(np.concatenate(close).mean())
