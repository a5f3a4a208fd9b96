"""Our losses, metrics and moves beside those of tensorflow-addons 0.23.0 (make_tfa_golden.py)."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from agd_keras.data.augment import Recipe, random_affine, warp
from agd_keras.losses import make_loss
from agd_keras.metrics import Dice, IoU, Precision, Recall

GOLDEN = dict(np.load(Path(__file__).with_name("tfa.npz")))
SHAPE = (31, 51)


def test_focal_loss():
    pair = GOLDEN["truth"], GOLDEN["probability"]
    assert float(make_loss("focal")(*pair)) == pytest.approx(GOLDEN["focal_0.75"].mean(), rel=1e-5)
    for alpha in (0.25, 0.75):
        loss = keras.losses.BinaryFocalCrossentropy(True, alpha, reduction="none")
        np.testing.assert_allclose(loss(*pair), GOLDEN[f"focal_{alpha}"], rtol=1e-5, atol=1e-6)


def test_metrics():
    (_, false_alarm), (miss, hit) = GOLDEN["confusion"]
    expected = {
        Dice: GOLDEN["f1"].item(),
        IoU: hit / (hit + false_alarm + miss),
        Precision: hit / (hit + false_alarm),
        Recall: hit / (hit + miss),
    }
    for cls, value in expected.items():
        metric = cls(threshold=0.45)
        for truth, probability in zip(GOLDEN["truth"], GOLDEN["probability"], strict=True):
            metric.update_state(
                truth.reshape(4, 10, 5, 1), tf.constant(probability.reshape(4, 10, 5, 1))
            )
        assert float(metric.result()) == pytest.approx(float(value), abs=1e-6)


def about_centre(matrix):
    """Row of eight from a 2 × 2 matrix, x before y, that leaves the centre where it is."""
    centre = np.array([(SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2])
    moved = np.column_stack([matrix, centre - matrix @ centre])
    return np.append(moved.ravel(), [0.0, 0.0])


def rotation(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def draw(**ranges):
    return np.asarray(random_affine((16,), SHAPE, (0, 1), Recipe(probability=1.0, **ranges)))


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_warp_rotates(method):
    images = np.stack([GOLDEN["image"][..., :1]] * 2)
    got = warp(tf.constant(images), tf.constant(GOLDEN["rotation_matrices"]), method.upper())
    np.testing.assert_allclose(got, GOLDEN[f"rotated_{method}"], atol=1e-3)


def test_drawn_rotations():
    expected = [about_centre(rotation(angle)) for angle in GOLDEN["angles"]]
    np.testing.assert_allclose(GOLDEN["rotation_matrices"], expected, atol=1e-5)
    matrices = draw(rotation=40.0)
    angles = np.arctan2(matrices[:, 3], matrices[:, 0])
    assert len(np.unique(angles)) == 16
    assert np.degrees(np.abs(angles)).max() <= 40
    np.testing.assert_allclose(matrices, [about_centre(rotation(a)) for a in angles], atol=1e-4)


# tensorflow-addons shears about the first pixel, we about the centre: the result is the same but
# for a shift of `level` times the centre, a whole number of pixels here.


def test_drawn_width_shears():
    level = float(GOLDEN["shear"])
    matrix = about_centre(np.array([[1.0, level], [0.0, 1.0]]))
    got = warp(GOLDEN["image"][None], tf.constant(matrix[None], tf.float32), "NEAREST")[0]
    shift = round(level * 15)
    np.testing.assert_array_equal(got[:, shift:], GOLDEN["sheared_x"][:, :-shift])
    matrices = draw(width_shear=0.3)
    levels = matrices[:, 1]
    assert len(np.unique(levels)) == 16
    assert np.abs(levels).max() <= 0.3
    expected = [about_centre(np.array([[1.0, s], [0.0, 1.0]])) for s in levels]
    np.testing.assert_allclose(matrices, expected, atol=1e-5)


def test_drawn_height_shears():
    level = float(GOLDEN["shear"])
    matrix = about_centre(np.array([[1.0, 0.0], [level, 1.0]]))
    got = warp(GOLDEN["image"][None], tf.constant(matrix[None], tf.float32), "NEAREST")[0]
    shift = round(level * 25)
    np.testing.assert_array_equal(got[shift:], GOLDEN["sheared_y"][:-shift])
    matrices = draw(height_shear=0.3)
    levels = matrices[:, 3]
    assert len(np.unique(levels)) == 16
    assert np.abs(levels).max() <= 0.3
    expected = [about_centre(np.array([[1.0, 0.0], [s, 1.0]])) for s in levels]
    np.testing.assert_allclose(matrices, expected, atol=1e-5)
