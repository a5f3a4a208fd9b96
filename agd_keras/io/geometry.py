"""Between a scanner's array of voxels and axial slices that lie as in LGG.

The slices of LGG go from the lowest to the highest, with the nose up: rows run from anterior to
posterior. Left and right cannot be told in a symmetric head; they are DICOM slices as they were
stored, whose columns run to the patient's left (radiological convention). In the words of NIfTI,
columns, rows and slices run to L, P and S.

An oblique volume is not resampled: each axis is taken for the anatomical one closest to it, so that
the way back is exact, voxel for voxel.
"""

from math import prod
from pathlib import Path

import numpy as np

from agd_keras.errors import InputError
from agd_keras.io.case import MAX_VOXELS

AXIAL = ("L", "P", "S")
_MAX_ASPECT = 8.0  # a field of view longer than that is no head


def check_affine(path: Path, affine: np.ndarray) -> None:
    """Refuses an affine that does not place voxels in space.

    Args:
        path: The file, for the error.
        affine: Array of shape `(4, 4)`, voxel indices to mm.

    Raises:
        InputError: It is not finite or singular.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    usable = np.isfinite(affine).all() and (spacing > 1e-6).all() and (spacing < 1e6).all()
    if not usable or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise InputError(f"{path}: expected an affine with three independent axes")


def to_axial(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Views a volume as axial slices that lie as in LGG.

    Args:
        volume: Array of shape `(i, j, k)`.
        affine: Array of shape `(4, 4)`, voxel indices to mm to the right, anterior and superior.

    Returns:
        View of shape `(slices, height, width)`.

    Example:

    >>> volume = np.zeros((7, 8, 9))
    >>> volume[0, 0, 0] = 1  # of a RAS volume: right, posterior, inferior
    >>> slices = to_axial(volume, np.eye(4))
    >>> slices.shape, slices[0, 7, 0].item()
    ((9, 8, 7), 0.0)
    """
    from nibabel import orientations

    axes = orientations.io_orientation(affine)
    transform = orientations.ornt_transform(axes, orientations.axcodes2ornt(AXIAL))
    return orientations.apply_orientation(volume, transform).transpose(2, 1, 0)


def from_axial(slices: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Undoes `to_axial`.

    Args:
        slices: Array of shape `(slices, height, width)`.
        affine: The affine that `to_axial` was given.

    Returns:
        View of shape `(i, j, k)`.

    Example:

    >>> volume = np.arange(24).reshape(2, 3, 4)
    >>> sagittal = np.array([[0, 0, -1, 0], [1, 0, 0, 0], [0, -2, 0, 0], [0, 0, 0, 1]])
    >>> bool((from_axial(to_axial(volume, sagittal), sagittal) == volume).all())
    True
    """
    from nibabel import orientations

    axes = orientations.io_orientation(affine)
    transform = orientations.ornt_transform(orientations.axcodes2ornt(AXIAL), axes)
    return orientations.apply_orientation(slices.transpose(2, 1, 0), transform)


def axial_spacing(affine: np.ndarray) -> tuple[float, float, float]:
    """Returns the distances between axial slices, rows and columns.

    They are those of parallel planes and lines: of slices shifted against each other, as by a
    tilted gantry, the product of all three is still the volume of a voxel, and that of the last two
    the area of a pixel.

    Args:
        affine: As for `to_axial`.

    Returns:
        Three distances in the unit of the affine.

    Example:

    >>> sheared = np.diag([1.0, 2.0, 5.0, 1.0])
    >>> sheared[1, 2] = 3
    >>> axial_spacing(sheared)
    (5.0, 2.0, 1.0)
    """
    from nibabel import orientations

    world = list(orientations.io_orientation(affine)[:, 0].astype(int))
    column, row, slice_ = (affine[:3, world.index(axis)] for axis in range(3))
    normal = np.cross(column, row)
    columns, area = np.linalg.norm(column), np.linalg.norm(normal)
    return float(abs(normal @ slice_) / area), float(area / columns), float(columns)


def square_view(
    images: np.ndarray, spacing: tuple[float, float, float] | None
) -> tuple[np.ndarray, tuple[slice, slice, slice]]:
    """Pads slices so that a square network sees a head in its own proportions.

    The network's input is square, and in LGG so are the slices and their pixels. Slices of another
    shape get air around them, to a square field of view in mm. Pictures, whose spacing is unknown,
    stay as they are and are squeezed, as in training.

    Args:
        images: Array of shape `(slices, height, width, channels)`.
        spacing: Between slices, rows and columns in mm, or None.

    Returns:
        Array of shape `(slices, height + more, width + more, channels)`, and where in its first
        three axes the images are.

    Raises:
        InputError: The field of view is more than eight times as long as it is wide, or there
            would be more than `MAX_VOXELS`.

    Example:

    >>> padded, where = square_view(np.ones((20, 100, 80, 3)), (5.0, 1.0, 1.0))
    >>> padded.shape, padded[where].shape
    ((20, 100, 100, 3), (20, 100, 80, 3))
    """
    counts, steps = np.array(images.shape[1:3]), np.array((spacing or (1.0, 1.0, 1.0))[1:])
    extents = counts * steps
    if spacing is not None and extents.max() > _MAX_ASPECT * extents.min():
        found = " x ".join(f"{extent:.4g}" for extent in extents)
        raise InputError(f"axial slices of {found} mm, expected an axial view of a head")
    more = ((extents.max() - extents) / steps).round().astype(int)
    if spacing is None or not more.any():
        return images, (slice(None), slice(None), slice(None))
    padded_shape = (len(images), *(counts + more).tolist())
    if prod(padded_shape) > MAX_VOXELS:  # a few bytes of a compressed file could ask for a lot
        found = "x".join(map(str, padded_shape))
        raise InputError(f"{found} voxels in square slices, expected at most {MAX_VOXELS}")
    top, left = (more // 2).tolist()  # whole numbers that JSON knows
    height, width = images.shape[1:3]
    where = (slice(None), slice(top, top + height), slice(left, left + width))
    air = images.min(axis=(0, 1, 2))
    padded = np.tile(air, (*padded_shape, 1))
    padded[where] = images
    return padded, where
