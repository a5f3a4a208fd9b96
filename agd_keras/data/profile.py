"""What a scan looks like in a few numbers: enough to tell one of a kind that was never seen."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from agd_keras.data.brain import brain_levels, brain_mask
from agd_keras.io.case import CHANNELS, REFERENCE
from agd_keras.io.geometry import square_view

SIDE, SLICES = 128, 32  # of a larger scan every second voxel, or third, tells as much
QUANTILES = np.linspace(0.05, 0.95, 19)
TISSUE = 0.15  # of the way from air to brain in FLAIR: what is darker is air
_CROSS = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True)
class ScanProfile:
    """What a scan looks like.

    Args:
        slices: Their number.
        slice_mm: Distance between slices in mm; None if unknown.
        pixel_mm: Side of a pixel in mm, the geometric mean of both; None if unknown.
        filled: Contrasts that FLAIR stands in for.
        skull: How far the brain lies within the outline of the head, as a share of the head's size
            (the root of its area): 0 without a skull. None, like what follows, without a brain.
        extent: Share of the side of the square field of view that the head takes.
        grey: By contrast that is not filled, quantiles of the brain's values, 5 % to 95 %, where
            air is 0 and normal brain 1.
    """

    slices: int
    slice_mm: float | None = None
    pixel_mm: float | None = None
    filled: tuple[str, ...] = ()
    skull: float | None = None
    extent: float | None = None
    grey: dict[str, list[float]] = field(default_factory=dict)


def describe_scan(
    images: np.ndarray,
    spacing: tuple[float, float, float] | None = None,
    channels: Sequence[str] = CHANNELS,
) -> ScanProfile:
    """Measures what a scan looks like, on a part of its voxels.

    Head and brain are measured in the slices that have at least half as much brain as the one with
    most, so that neither neck nor crown counts.

    Args:
        images: Array of shape `(slices, height, width, channels)`, as in `Case`.
        spacing: Between slices, rows and columns in mm, as in `Case`; None if unknown.
        channels: Contrast of each channel, FLAIR among them.

    Returns:
        The `ScanProfile`.

    Example:

    >>> y, x = np.mgrid[-64:64, -64:64]
    >>> radius = np.hypot(x, y)
    >>> head = 9 * (radius < 45) + 20 * ((radius > 50) & (radius < 58))  # brain, and scalp
    >>> profile = describe_scan(np.repeat(head[None, ..., None], 3, axis=3))
    >>> profile.filled, round(profile.skull, 2), round(profile.extent, 2)
    (('T1', 'T1c'), 0.12, 0.9)
    """
    between, *sides = spacing or (np.nan, np.nan, np.nan)
    plain = ScanProfile(
        slices=len(images),
        slice_mm=float(between) if np.isfinite(between) else None,
        pixel_mm=float(np.sqrt(np.prod(sides))) if spacing else None,
        filled=_find_filled(images, channels),
    )
    images = _coarse(square_view(images, spacing)[0])
    flair = channels.index(REFERENCE)
    airs, levels = brain_levels(images, flair)
    brain = brain_mask(images, flair, channels.index("T1") if "T1" in channels else None)
    areas = brain.sum(axis=(1, 2))
    if not areas.any() or levels[flair] <= airs[flair]:
        return plain
    places = np.flatnonzero(2 * areas >= areas.max())
    grey = {}
    for channel, name in enumerate(channels):
        if name not in plain.filled:
            scale = levels[channel] - airs[channel] or 1.0
            values = (images[places, ..., channel][brain[places]] - airs[channel]) / scale
            grey[name] = np.quantile(values, QUANTILES).round(4).tolist()
    limit = airs[flair] + TISSUE * (levels[flair] - airs[flair])
    depths, extents = [], []
    for place in places:
        head = _find_head((images[place, ..., flair] > limit) | brain[place])
        outline = head & ~ndimage.binary_erosion(head, _CROSS)
        depth = ndimage.distance_transform_edt(~brain[place])[outline]
        depths.append(depth / np.sqrt(head.sum()))
        extents.append(max(np.ptp(side) + 1 for side in np.nonzero(head)) / max(head.shape))
    skull = round(float(np.median(np.concatenate(depths))), 4)
    extent = round(float(np.median(extents)), 4)
    return replace(plain, skull=skull, extent=extent, grey=grey)


def _find_filled(images: np.ndarray, channels: Sequence[str]) -> tuple[str, ...]:
    flair = images[..., channels.index(REFERENCE)]
    others = [(place, name) for place, name in enumerate(channels) if name != REFERENCE]
    return tuple(name for place, name in others if np.array_equal(images[..., place], flair))


def _coarse(images: np.ndarray) -> np.ndarray:
    step = -(-max(images.shape[1:3]) // SIDE)
    return images[:: -(-len(images) // SLICES), ::step, ::step]


def _find_head(tissue: np.ndarray) -> np.ndarray:
    """The largest part of what is no air, without noise and holes."""
    head = ndimage.binary_fill_holes(ndimage.binary_opening(tissue, _CROSS))
    parts, count = ndimage.label(head)
    if count == 0:
        return tissue
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return parts == sizes.argmax()
