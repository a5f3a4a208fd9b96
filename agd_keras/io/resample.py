"""Contrasts of one case on the grid of one of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

_SAME = 0.1  # of a voxel: what rounding in headers may make of one grid
_LEAST = 0.5  # of the FLAIR's grid that a contrast must cover


@dataclass(frozen=True)
class Placed:
    """A volume in space.

    Args:
        voxels: Array of shape `(i, j, k)`.
        affine: Array of shape `(4, 4)`, voxel indices to mm.
        frame: Name of the coordinate system; volumes in others cannot be compared.
    """

    voxels: np.ndarray
    affine: np.ndarray
    frame: str


def _corners(shape: tuple[int, ...]) -> np.ndarray:
    corners = np.array(list(product(*((0, size - 1) for size in shape))), float)
    return np.column_stack([corners, np.ones(len(corners))]).T


def resample(
    voxels: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], target: np.ndarray
) -> tuple[np.ndarray, float]:
    """Resamples a volume to another grid, linearly; voxels that coincide are copied.

    Args:
        voxels: Array of shape `(i, j, k)`.
        affine: Array of shape `(4, 4)`, its voxel indices to mm.
        shape: Of the result.
        target: Array of shape `(4, 4)`, voxel indices of the result to mm.

    Returns:
        Float32 array, with the least value where the volume does not reach, and the share of its
        voxels that the volume covers.

    Example:

    >>> coarse, share = resample(np.arange(8.0).reshape(2, 2, 2), np.eye(4), (3, 2, 2), np.eye(4))
    >>> coarse[:, 0, 0].tolist(), round(share, 2)
    ([0.0, 4.0, 0.0], 0.67)
    """
    matrix = np.linalg.inv(affine) @ target
    near, corners = np.round(matrix), _corners(shape)
    if np.abs((near - matrix) @ corners).max() < _SAME:
        matrix = near  # another order of axes, or a part of the same grid
    values = np.asarray(voxels, np.float32)
    moved = ndimage.affine_transform(values, matrix, output_shape=shape, order=1, mode="nearest")
    inside = np.ones(shape, bool)
    for axis, size in enumerate(voxels.shape):
        steps = [matrix[axis, i] * np.arange(shape[i]) for i in range(3)]
        place = sum(np.ix_(*steps)) + matrix[axis, 3]
        inside &= (place > -0.5 - 1e-6) & (place < size - 0.5 + 1e-6)
    moved[~inside] = values.min(initial=np.inf, where=np.isfinite(values))
    return moved, float(inside.mean())


def match_grids(volumes: Mapping[str, Placed]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Brings the contrasts of a case to the grid of its FLAIR.

    Args:
        volumes: By name of the contrast, `FLAIR` among them.

    Returns:
        Arrays of the FLAIR's shape, without those that lie in another frame of reference or do not
        cover half of it, and notes.

    Example:

    >>> fine = Placed(np.ones((8, 8, 8)), np.diag([0.5, 0.5, 0.5, 1]), "a")
    >>> coarse = Placed(np.ones((4, 4, 4)), np.eye(4), "a")
    >>> matched, notes = match_grids({"FLAIR": coarse, "T1": fine})
    >>> matched["T1"].shape, notes
    ((4, 4, 4), ["T1 resampled to the FLAIR's grid"])
    """
    flair = volumes["FLAIR"]
    shape, matched, notes = flair.voxels.shape, {}, []
    for name, volume in volumes.items():
        away = np.inf
        if volume.voxels.shape == shape:
            away = np.abs(
                np.linalg.inv(flair.affine) @ volume.affine @ _corners(shape) - _corners(shape)
            ).max()
        if away < _SAME:
            matched[name] = volume.voxels
            continue
        if volume.frame != flair.frame:
            notes.append(f"warning: {name} in another frame of reference than FLAIR, not used")
            continue
        moved, covered = resample(volume.voxels, volume.affine, shape, flair.affine)
        if covered < _LEAST:
            notes.append(f"warning: {name} covers {covered:.0%} of the FLAIR, not used")
            continue
        matched[name] = moved
        part = f", of which it covers {covered:.0%}" if covered < 0.95 else ""
        notes.append(f"{name} resampled to the FLAIR's grid{part}")
    return matched, notes
