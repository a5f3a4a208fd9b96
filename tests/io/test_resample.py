"""Contrasts of one case on other grids than the FLAIR's."""

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.processing import resample_from_to

from agd_keras.io.discovery import find_cases, read_case
from agd_keras.io.resample import Placed, match_grids, resample

SHAPE = (9, 8, 5)
FLAIR = np.array([[-1.0, 0, 0, 9], [0, -1, 0, 8], [0, 0, 4, -10], [0, 0, 0, 1]])


def _ramp(shape, affine):
    """A field that is linear in space, which linear interpolation gives back exactly."""
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = places @ affine[:3, :3].T + affine[:3, 3]
    return world @ [1.0, 2.0, -3.0] + 200


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.floats(-0.3, 0.3)] * 3), st.floats(0.6, 2), st.permutations(range(3)))
def test_values_are_those_of_their_place(angles, spacing, axes):
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    shape = (50, 50, 50)
    affine = np.eye(4)
    affine[:3, :3] = (rotation * spacing)[:, axes]
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2 + [5, 4, -2]
    moved, covered = resample(_ramp(shape, affine), affine, SHAPE, FLAIR)
    assert covered == 1
    np.testing.assert_allclose(moved, _ramp(SHAPE, FLAIR), atol=1e-2)
    image = nibabel.Nifti1Image(_ramp(shape, affine), affine)
    expected = resample_from_to(image, (SHAPE, FLAIR), order=1).get_fdata()
    np.testing.assert_allclose(moved, expected, atol=1e-2)


def test_the_same_grid_in_another_order_of_axes_is_copied():
    volume = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    turned = volume[::-1].transpose(2, 0, 1)
    matrix = np.zeros((4, 4))
    matrix[[2, 0, 1, 3], [0, 1, 2, 3]] = 1, -1, 1, 1
    matrix[0, 3] = SHAPE[0] - 1
    moved, covered = resample(turned, FLAIR @ matrix, SHAPE, FLAIR)
    assert covered == 1
    np.testing.assert_array_equal(moved, volume)


def test_what_does_not_reach_is_air():
    part = Placed(np.full((9, 8, 3), 7.0), FLAIR, "a")
    part.voxels[0, 0, 0] = -1
    whole = Placed(np.ones(SHAPE), FLAIR, "a")
    matched, notes = match_grids({"FLAIR": whole, "T1": part})
    assert (matched["T1"][..., 3:] == -1).all() and (matched["T1"][1:, :, :3] == 7).all()
    assert notes == ["T1 resampled to the FLAIR's grid, of which it covers 60%"]


@pytest.mark.parametrize(
    ("shift", "frame", "note"),
    [
        (500.0, "a", "warning: T1c covers 0% of the FLAIR, not used"),
        (0.5, "b", "warning: T1c in another frame of reference than FLAIR, not used"),
        (0.02, "b", None),  # on one grid, whatever it is called
    ],
)
def test_what_cannot_be_brought_there_is_left(shift, frame, note):
    moved = FLAIR.copy()
    moved[0, 3] += shift
    volumes = {
        "T1c": Placed(np.ones(SHAPE), moved, frame),
        "FLAIR": Placed(np.ones(SHAPE), FLAIR, "a"),
    }
    matched, notes = match_grids(volumes)
    assert ("T1c" in matched, notes) == ((False, [note]) if note else (True, []))


def test_nifti_on_other_grids(tmp_path):
    """A fine sagittal T1 with contrast agent beside a thick axial FLAIR."""
    sagittal = np.array([[0, 0, -1.0, 25], [-1.0, 0, 0, 25], [0, -1.0, 0, 25], [0, 0, 0, 1]])
    nibabel.Nifti1Image(_ramp(SHAPE, FLAIR), FLAIR).to_filename(tmp_path / "a_flair.nii.gz")
    fine = _ramp((50, 50, 50), sagittal)
    nibabel.Nifti1Image(fine, sagittal).to_filename(tmp_path / "a_t1ce.nii.gz")
    [source] = find_cases([tmp_path])
    case = read_case(source)
    np.testing.assert_allclose(case.images[..., 2], case.images[..., 1], atol=1e-2)
    notes = ("T1c resampled to the FLAIR's grid", "T1 filled by FLAIR")
    assert case.notes == notes
    image = nibabel.Nifti1Image(fine, sagittal)
    image.set_sform(sagittal, 4)  # a standard head
    image.to_filename(tmp_path / "a_t1ce.nii.gz")
    notes = read_case(source).notes
    assert notes[0] == "warning: T1c in another frame of reference than FLAIR, not used"
