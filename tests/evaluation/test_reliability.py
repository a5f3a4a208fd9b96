"""Calibration against scikit-learn and a calculation pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from agd_keras.evaluation.reliability import (
    add_calibration,
    brier,
    calibration_sums,
    ece,
    near_tumor,
    reliability,
)


def stack(seed, shape=(3, 16, 20)):
    rng = np.random.default_rng(seed)
    truth = rng.random(shape) < 0.02
    truth[1] = False
    probability = np.clip(0.6 * truth + 0.45 * rng.random(shape), 0, 1).astype(np.float32)
    return truth, probability, probability >= 0.5


def near_one_by_one(truth, prediction):
    """A pixel is near if a tumour pixel of its slice is at most 5 rows and 5 columns away."""
    region = np.zeros(truth.shape, dtype=bool)
    for z, y, x in np.argwhere(truth | prediction):
        region[z, max(y - 5, 0) : y + 6, max(x - 5, 0) : x + 6] = True
    return region


@pytest.mark.parametrize("seed", range(3))
def test_region_equals_one_by_one(seed):
    truth, _, prediction = stack(seed)
    expected = near_one_by_one(truth, prediction)
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(near_tumor(truth, prediction), expected)


def test_region_stays_in_its_slice():
    truth = np.zeros((3, 9, 9), dtype=bool)
    truth[1, 4, 4] = True
    assert near_tumor(truth, truth).any(axis=(1, 2)).tolist() == [False, True, False]


@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_scikit_learn(seed):
    truth, probability, prediction = stack(seed)
    region = near_one_by_one(truth, prediction)
    y, p = truth[region], probability[region]
    sums = calibration_sums(truth, probability, prediction)
    assert brier(sums) == pytest.approx(brier_score_loss(y, p), rel=1e-6)
    share, mean = calibration_curve(y, p, n_bins=15)
    found_mean, found_share, pixels = reliability(sums)
    np.testing.assert_allclose(found_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found_share, share, rtol=1e-6)
    assert pixels.sum() == region.sum()
    assert ece(sums) == pytest.approx(np.average(np.abs(share - mean), weights=pixels))


def test_ece_by_hand():
    truth = np.array([[[True, False, False, True]]])
    probability = np.array([[[0.9, 0.9, 0.1, 0.1]]])  # half of each bin is tumour
    sums = calibration_sums(truth, probability, probability >= 0.5)
    assert ece(sums) == pytest.approx(0.4)
    assert brier(sums) == pytest.approx((0.01 + 0.81 + 0.01 + 0.81) / 4)


def test_ends_of_the_scale_have_bins():
    truth = np.array([[[True, False]]])
    sums = calibration_sums(truth, truth.astype(np.float32), truth)
    assert (sums["pixels"][0], sums["pixels"][-1]) == (1, 1)
    assert (brier(sums), ece(sums)) == (0.0, 0.0)


def test_nothing_near():
    blank = np.zeros((2, 4, 4), dtype=bool)
    for sums in (calibration_sums(blank, blank * 0.1, blank), add_calibration([])):
        assert (brier(sums), ece(sums)) == (None, None)
        assert reliability(sums)[0].size == 0


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_sums_of_patients_add_up(seed):
    one, two = stack(seed), stack(seed + 1)
    both = [np.concatenate(pair) for pair in zip(one, two, strict=True)]
    added = add_calibration([calibration_sums(*one), calibration_sums(*two)])
    whole = calibration_sums(*both)
    assert added["pixels"] == whole["pixels"]
    assert added["truth"] == whole["truth"]
    assert brier(added) == pytest.approx(brier(whole))
    assert ece(added) == pytest.approx(ece(whole))
