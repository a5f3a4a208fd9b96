"""Brain has the same numbers with its skull and without, whatever scanner it comes from."""

import numpy as np
import pytest

from agd_keras.data import anatomy
from agd_keras.data.brain import brain_levels, brain_mask
from agd_keras.data.preprocess import BRAIN_SCALE, normalize_patient
from agd_keras.data.preprocessor import Preprocessor


@pytest.fixture(scope="module")
def heads():
    """Phantom patients and where their brain is, by the anatomy they were painted from."""
    found, paint = {}, anatomy._paint_head

    def keep(*arguments):
        found["brain"] = paint(*arguments)
        return found["brain"]

    patch = pytest.MonkeyPatch()
    patch.setattr(anatomy, "_paint_head", keep)
    made = []
    for number in range(5):
        images, masks, _ = anatomy.make_patient(0, number, 16, 128)
        made.append((images, (found["brain"] > 0.5) | masks))
    patch.undo()
    return made


def test_brain_is_the_same_without_skull(heads):
    differences = []
    for images, brain in heads:
        whole = normalize_patient(images, "brain")
        alone = normalize_patient(images * brain[..., None], "brain")
        differences.append(np.abs(whole - alone)[brain])
        assert np.median(np.abs(whole[brain])) < 0.6
        np.testing.assert_array_equal(alone[~brain], np.float32(-BRAIN_SCALE))
    differences = np.concatenate(differences)
    # Of the voxels at 0, where brain is; the difference grows with the distance from air.
    assert np.quantile(differences, 0.99) < 0.1


def test_the_network_sees_the_same_brain(heads):
    images, brain = heads[0]
    inside = np.stack(
        [Preprocessor(32).prepare(b[None, ..., None] * 1.0)[0, ..., 0] for b in brain]
    )
    whole = Preprocessor(32, normalization="brain").prepare(images)
    alone = Preprocessor(32, normalization="brain").prepare(images * brain[..., None])
    clear = inside == inside.max()
    assert clear.sum() > 1000
    assert np.abs(whole - alone)[clear].max() < 0.1


def test_levels_are_those_of_a_head_of_known_levels():
    """Brain of 100, 120, 80 with some noise, and more scalp than brain, of all greys."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-48:48, -48:48]
    radius = np.hypot(x, y)
    brain, scalp = radius < 28, (radius > 32) & (radius < 45)
    levels = np.array([100.0, 120.0, 80.0])
    tissue = rng.uniform(50, 400, (4, 96, 96, 3)) * scalp[..., None]
    noise = rng.normal(0, 4, tissue.shape) * brain[..., None]
    images = brain[..., None] * levels + noise + tissue
    airs, found = brain_levels(images.astype(np.float32))
    assert scalp.sum() > brain.sum()
    np.testing.assert_allclose(found, levels, rtol=0.01)
    np.testing.assert_array_equal(airs, 0)


@pytest.mark.parametrize(("gain", "offset"), [(0.013, 0.0), (7.0, 0.0), (3.0, -1000.0)])
def test_scale_and_offset_do_not_matter(heads, gain, offset):
    images = heads[0][0]
    changed = images.astype(np.float32) * gain + offset
    expected = normalize_patient(images, "brain")
    np.testing.assert_allclose(normalize_patient(changed, "brain"), expected, atol=5e-3)


def test_eight_bits_and_floats_agree(heads):
    images = heads[1][0]
    expected = normalize_patient(images.astype(np.float32), "brain")
    np.testing.assert_allclose(normalize_patient(images, "brain"), expected, atol=2e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_is_air(dtype, value):
    images = np.full((2, 9, 7, 3), value, dtype)
    np.testing.assert_array_equal(normalize_patient(images, "brain"), -BRAIN_SCALE)
    assert not brain_mask(images).any()


def test_mask_is_brain_and_leaves_the_scalp(heads):
    for images, brain in heads:
        found = brain_mask(images)
        upper = slice(8, 14)  # above the face
        overlap = 2 * (found & brain)[upper].sum() / (found[upper].sum() + brain[upper].sum())
        assert overlap > 0.9


def test_tissue_stays_what_it_was(heads):
    images = heads[0][0]
    np.testing.assert_array_equal(normalize_patient(images), normalize_patient(images, "tissue"))
