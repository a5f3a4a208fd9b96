"""Writing what was computed of a case as NIfTI, in the geometry of its scan."""

from pathlib import Path

import numpy as np

from agd_keras.io.case import AXIAL, one_line
from agd_keras.io.geometry import from_slices


def write_volume(path: Path, slices: np.ndarray, affine: np.ndarray, plane: str = AXIAL) -> None:
    """Writes slices as a NIfTI file, voxel for voxel where those of the scan lie.

    Args:
        path: The file, `.nii` or `.nii.gz`.
        slices: Array of shape `(slices, height, width)`, slices as in `Case.images`, of a type that
            NIfTI has.
        affine: `Case.affine` of the scan, and
        plane: its `Case.plane`.

    Raises:
        OSError: The file cannot be written.

    Example:

    >>> import tempfile, nibabel
    >>> path = Path(tempfile.mkdtemp()) / "probability.nii.gz"
    >>> write_volume(path, np.zeros((4, 3, 2), "float32"), np.diag([1.0, 1, 5, 1]))
    >>> nibabel.load(path).shape
    (2, 3, 4)
    """
    import nibabel

    volume = np.ascontiguousarray(from_slices(slices, affine, plane))
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    with one_line(path, "NIfTI header"):
        image.to_filename(path)
