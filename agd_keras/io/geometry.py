"""Between a scanner's array of voxels and slices of a plane; axial ones lie as in LGG.

The slices of LGG go from the lowest to the highest, with the nose up: rows run from anterior to
posterior. Left and right cannot be told in a symmetric head; they are DICOM slices as they were
stored, whose columns run to the patient's left (radiological convention). In the words of NIfTI,
columns, rows and slices run to L, P and S. Coronal and sagittal slices have the top of the head up.

An oblique volume is not resampled: each axis is taken for the anatomical one closest to it, so that
the way back is exact, voxel for voxel.
"""

from math import prod
from pathlib import Path

import numpy as np

from agd_keras.errors import InputError
from agd_keras.io.case import AUTO, AXIAL, MAX_VOXELS

# By plane, where columns, rows and slices run to.
AXES = {AXIAL: ("L", "P", "S"), "coronal": ("L", "I", "P"), "sagittal": ("P", "I", "R")}
_THICKER = 1.01  # less is rounding
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


def choose_plane(plane: str, affine: np.ndarray, shape: tuple[int, ...]) -> str:
    """Says in which plane the slices of a volume are to lie.

    Args:
        plane: One of `PLANES`; `auto` is the plane that was acquired: across the axis with a single
            voxel, else across that with the largest spacing, and axial where none is larger.
        affine: Array of shape `(4, 4)`, voxel indices to mm to the right, anterior and superior.
        shape: Of the volume, `(i, j, k)`.

    Returns:
        A key of `AXES`.

    Example:

    >>> choose_plane("auto", np.diag([1.0, 6.0, 1.0, 1.0]), (256, 20, 256))
    'coronal'
    """
    if plane != AUTO:
        return plane
    counts = {name: shape[_voxel_axes(affine, name)[2]] for name in AXES}
    if single := [name for name in AXES if counts[name] == 1]:
        return single[0]
    spacing = {name: slice_spacing(affine, name)[0] for name in AXES}
    thickest = max(spacing, key=lambda name: spacing[name])
    return thickest if spacing[thickest] > _THICKER * spacing[AXIAL] else AXIAL


def turn(slices: np.ndarray, plane: str, wanted: str = AXIAL) -> np.ndarray:
    """Views slices of one plane as those of another.

    Args:
        slices: Array of shape `(slices, height, width)`, and any axes behind.
        plane: In which they lie, a key of `AXES`.
        wanted: In which they are to lie.

    Example:

    >>> turn(np.zeros((20, 256, 200, 3)), "coronal").shape
    (256, 20, 200, 3)
    """
    from nibabel import orientations

    transform = orientations.ornt_transform(
        *(orientations.axcodes2ornt(AXES[name][::-1]) for name in (plane, wanted))
    )
    return orientations.apply_orientation(slices, transform)


def to_slices(volume: np.ndarray, affine: np.ndarray, plane: str = AXIAL) -> np.ndarray:
    """Views a volume as slices; axial ones lie as in LGG.

    Args:
        volume: Array of shape `(i, j, k)`.
        affine: Array of shape `(4, 4)`, voxel indices to mm to the right, anterior and superior.
        plane: In which the slices lie, a key of `AXES`.

    Returns:
        View of shape `(slices, height, width)`.

    Example:

    >>> volume = np.zeros((7, 8, 9))
    >>> volume[0, 0, 0] = 1  # of a RAS volume: left, posterior, inferior
    >>> slices = to_slices(volume, np.eye(4))
    >>> slices.shape, slices[0, 7, 6].item()
    ((9, 8, 7), 1.0)
    """
    from nibabel import orientations

    axes = orientations.io_orientation(affine)
    transform = orientations.ornt_transform(axes, orientations.axcodes2ornt(AXES[plane]))
    return orientations.apply_orientation(volume, transform).transpose(2, 1, 0)


def from_slices(slices: np.ndarray, affine: np.ndarray, plane: str = AXIAL) -> np.ndarray:
    """Undoes `to_slices`.

    Args:
        slices: Array of shape `(slices, height, width)`.
        affine: The affine that `to_slices` was given, and
        plane: the plane.

    Returns:
        View of shape `(i, j, k)`.

    Example:

    >>> volume = np.arange(24).reshape(2, 3, 4)
    >>> affine = np.array([[0, 0, -1, 0], [1, 0, 0, 0], [0, -2, 0, 0], [0, 0, 0, 1]])
    >>> slices = to_slices(volume, affine, "coronal")
    >>> bool((from_slices(slices, affine, "coronal") == volume).all())
    True
    """
    from nibabel import orientations

    axes = orientations.io_orientation(affine)
    transform = orientations.ornt_transform(orientations.axcodes2ornt(AXES[plane]), axes)
    return orientations.apply_orientation(slices.transpose(2, 1, 0), transform)


def slice_spacing(affine: np.ndarray, plane: str = AXIAL) -> tuple[float, float, float]:
    """Returns the distances between slices, rows and columns.

    They are those of parallel planes and lines: of slices shifted against each other, as by a
    tilted gantry, the product of all three is still the volume of a voxel, and that of the last two
    the area of a pixel.

    Args:
        affine: As for `to_slices`, like
        plane: the plane.

    Returns:
        Three distances in the unit of the affine.

    Example:

    >>> sheared = np.diag([1.0, 2.0, 5.0, 1.0])
    >>> sheared[1, 2] = 3
    >>> slice_spacing(sheared)
    (5.0, 2.0, 1.0)
    """
    column, row, slice_ = (affine[:3, axis] for axis in _voxel_axes(affine, plane))
    normal = np.cross(column, row)
    columns, area = np.linalg.norm(column), np.linalg.norm(normal)
    return float(abs(normal @ slice_) / area), float(area / columns), float(columns)


def _voxel_axes(affine: np.ndarray, plane: str) -> list[int]:
    """The axes of a volume along which columns, rows and slices are counted."""
    from nibabel import orientations

    world = orientations.io_orientation(affine)[:, 0].tolist()
    return [world.index(axis) for axis in orientations.axcodes2ornt(AXES[plane])[:, 0]]


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
        raise InputError(f"slices of {found} mm, expected a view of a whole head")
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
