"""What tells brain from the rest of a head: its grey level, and where it lies."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from agd_keras.data.resize import resample
from agd_keras.io.image_files import FLAIR

# Widths of the window in which the grey level is looked for, as shares of the level: from one that
# sees all tissue, whatever it starts from, to one that sees the brain's only.
NARROW = (0.25,) * 5
WIDTHS = (*np.geomspace(1.0, 0.25, 9), *NARROW)
LIKE_WIDTH = 0.3  # within which FLAIR is like that of brain
GRID, LIKE_SHARE = 24, 0.4  # squares a side, of which more than that share is like brain
REACH = 4.0  # times the mean of the tissue: brighter voxels are in no window
# What may be brain, as shares of its level: from this in FLAIR, to that in T1.
DARKEST, BRIGHTEST = 0.5, 1.7
_CROSS = ndimage.generate_binary_structure(2, 1)
_STEPS = 4096


def brain_levels(images: np.ndarray, flair: int = FLAIR) -> tuple[np.ndarray, np.ndarray]:
    """Measures the grey levels of air and of normal brain in each channel of a patient.

    Normal brain is the commonest tissue in a head, and nearly all of what is left of one whose
    skull was removed. Its level is the peak of the grey levels, found by a window that follows the
    mean of what it sees, and narrows. That is done in FLAIR, where grey and white matter are one
    peak, and then once more in each channel, where voxels count by how close their FLAIR and that
    around them is to its level: muscle, fat, the brain's own border and most tumours do not.

    Args:
        images: Array of shape `(slices, height, width, channels)`, finite.
        flair: Index of the channel of FLAIR; of a single channel, that is it.

    Returns:
        The levels of air, the least values, and those of brain: float64, one a channel. They are
        equal in a channel that is constant.

    Reference:
        Fukunaga and Hostetler 1975, mean shift, doi 10.1109/TIT.1975.1055330.

    Example:

    >>> stack = np.array([0] * 40 + [10] * 30 + [11] * 30 + [40] * 9).reshape(1, 1, -1, 1)
    >>> [levels.round(1).tolist() for levels in brain_levels(stack)]
    [[0.0], [10.5]]
    """
    planes = [np.ascontiguousarray(images[..., c]) for c in range(images.shape[-1])]
    reference = planes[min(flair, len(planes) - 1)]
    air, level = _peak(reference)
    likeness = None
    if level > air:
        distance = (reference - np.float32(air)) / np.float32(level - air) - np.float32(1)
        likeness = _window(distance / np.float32(LIKE_WIDTH))
        likeness *= np.stack([_like_around(plane) for plane in likeness])
    pairs = [
        _peak(one, likeness, NARROW, level - air) if one is reference else _peak(one, likeness)
        for one in planes
    ]
    airs, levels = np.transpose(pairs)
    return airs, levels


def _window(distance: np.ndarray) -> np.ndarray:
    """Weight of what lies so many widths away: 1 at the centre, smoothly 0 from one width on."""
    return np.square(np.clip(1 - np.square(distance), 0, None))


def _like_around(likeness: np.ndarray) -> np.ndarray:
    """By how much more than the least share the surround of each pixel is like brain."""
    around = resample(resample(likeness, GRID, GRID), *likeness.shape)
    return np.clip(around - np.float32(LIKE_SHARE), 0, None)


def _peak(
    values: np.ndarray,
    weights: np.ndarray | None = None,
    widths: Sequence[float] = WIDTHS,
    start: float | None = None,
) -> tuple[float, float]:
    """Least value and peak of the others, of voxels with weights, from a start above the least."""
    air = float(values.min())
    average = values.mean(dtype=np.float64)
    tissue = values[values > average]
    if not tissue.size:
        return air, air
    mean = tissue.mean(dtype=np.float64) - air
    # All that follows is of the counts and means of so many steps, and not of the voxels.
    if values.dtype == np.uint8:
        grey = np.arange(256.0) - air
        weights = None if weights is None else weights.ravel()
        counts = np.bincount(values.ravel(), weights, 256) * (grey < REACH * mean)
    else:
        above = values - np.float32(air)
        near = above < REACH * mean
        above = above[near]
        place = (above * np.float32(_STEPS / (REACH * mean))).astype(np.int32)
        weights = None if weights is None else weights[near]
        counts = np.bincount(place, weights).astype(np.float64)
        sums = np.bincount(place, above if weights is None else above * weights)
        grey = np.divide(sums, counts, out=np.zeros_like(counts), where=counts > 0)
    level = start or mean
    for width in widths:
        seen = counts * _window((grey / level - 1) / width)
        if not seen.any():
            break
        level = float(seen @ grey / seen.sum())
    return air, air + level


def brain_mask(images: np.ndarray, flair: int = FLAIR, t1: int | None = 0) -> np.ndarray:
    """Finds the brain of a patient, roughly: good enough to take skulls away in training.

    Of what is as bright as brain in FLAIR, and not as bright as fat in T1, bridges are broken by
    erosion, the largest part is kept and grown back, and its holes are filled. A bright tumour at
    its border may be left out.

    Args:
        images: Array of shape `(slices, height, width, channels)`, see `brain_levels`.
        flair: Index of the channel of FLAIR, and
        t1: of T1; None where there is none, and no fat is told from brain.

    Returns:
        Boolean array of shape `(slices, height, width)`.

    Example:

    >>> y, x = np.mgrid[-64:64, -64:64]
    >>> radius = np.hypot(x, y)
    >>> head = 9 * (radius < 45) + 20 * ((radius > 52) & (radius < 58))  # brain, and scalp
    >>> mask = brain_mask(head[None, ..., None])
    >>> bool(mask[0, 64, 64]), bool(mask[0, 64, 64 + 55])
    (True, False)
    """
    airs, levels = brain_levels(images, flair)
    flair = min(flair, images.shape[-1] - 1)

    def limit(channel: int, share: float) -> float:
        return airs[channel] + share * (levels[channel] - airs[channel])

    tissue = images[..., flair] > limit(flair, DARKEST)
    if t1 is not None and levels[t1] > airs[t1]:
        tissue &= images[..., t1] < limit(t1, BRIGHTEST)
    reach = max(1, round(min(tissue.shape[1:]) / 43))  # 6 of 256 pixels
    core = ndimage.binary_erosion(_opened(tissue), _CROSS[None], iterations=reach)
    parts, count = ndimage.label(core)
    if not count:
        return np.zeros(tissue.shape, bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    brain = ndimage.binary_dilation(parts == sizes.argmax(), _CROSS[None], iterations=reach + 1)
    return np.stack([_fill(plane, reach) for plane in brain])


def strip_skull(images: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Takes away all but the brain, as many data sets have it.

    Args:
        images: Array of shape `(slices, height, width, channels)`.
        brain: Boolean array of shape `(slices, height, width)`, see `brain_mask`.

    Returns:
        Array of the shape and type of the images, with the least value of each channel around.

    Example:

    >>> strip_skull(np.array([[[[1], [5], [9]]]]), np.array([[[False, True, False]]])).ravel()
    array([1, 5, 1])
    """
    return np.where(brain[..., None], images, images.min(axis=(0, 1, 2)))


def _opened(tissue: np.ndarray) -> np.ndarray:
    return ndimage.binary_opening(tissue, _CROSS[None])


def _fill(plane: np.ndarray, reach: int) -> np.ndarray:
    padded = np.pad(plane, 2 * reach)  # closing erodes from the border, too
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(padded, _CROSS, iterations=reach))
    return filled[2 * reach : -2 * reach, 2 * reach : -2 * reach]
