"""Temperature and calibration by region against closed forms and a search by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from agd_keras.evaluation.calibration import (
    brier,
    calibration_sums,
    ece,
    fit_temperature,
    near_boundary,
    near_tumor,
    scale_temperature,
)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), st.floats(0.05, 20))
@settings(deadline=None, max_examples=100)
def test_scaling_divides_logits_and_keeps_the_mask(values, temperature):
    p = np.array(values, np.float32)
    scaled = scale_temperature(p, temperature)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled >= 0.5, p >= 0.5)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(scaled, expit(logit(p.astype(float)) / temperature), atol=1e-6)


def test_mask_stays_just_below_the_threshold():
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert scale_temperature(np.array([below, 0.5], np.float32), 10).tolist() == [below, 0.5]
    assert scale_temperature(np.array([-1e-6, 1 + 1e-6]), 2.0).tolist() == [0, 1]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_fit_finds_the_temperature_that_was_applied(temperature):
    rng = np.random.default_rng(0)
    honest = expit(rng.normal(0, 2, 200_000))
    truth = rng.random(honest.size) < honest
    found = fit_temperature(truth, expit(logit(honest) * temperature))
    assert found == pytest.approx(temperature, rel=0.02)


def test_fit_equals_a_search():
    rng = np.random.default_rng(1)
    p = rng.random(500).astype(np.float32)
    truth = rng.random(500) < 0.3 + 0.4 * p

    def loss(temperature):
        q = expit(logit(p.astype(float)) / temperature)
        return -np.mean(np.where(truth, np.log(q), np.log(1 - q)))

    found = fit_temperature(truth, p)
    grid = np.geomspace(0.2, 20, 2001)
    best = grid[np.argmin([loss(one) for one in grid])]
    assert found == pytest.approx(best, rel=0.005)


def test_fit_at_the_ends():
    assert fit_temperature(np.empty(0, bool), np.empty(0)) == 1
    assert fit_temperature(np.array([True, False]), np.array([0.9, 0.1])) < 0.06
    assert fit_temperature(np.array([True, False]), np.array([0.0, 1.0])) > 19


def band_one_by_one(truth, prediction, margin):
    """A pixel whose window of one of the masks holds both values."""
    band = np.zeros(truth.shape, bool)
    for z, y, x in np.ndindex(truth.shape):
        rows = slice(max(y - margin, 0), y + margin + 1)
        columns = slice(max(x - margin, 0), x + margin + 1)
        band[z, y, x] = any(np.ptp(m[z, rows, columns].astype(int)) for m in (truth, prediction))
    return band


@pytest.mark.parametrize("seed", range(3))
def test_boundary_equals_one_by_one(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:30, :34]
    truth, prediction = (
        np.stack([(y - a) ** 2 + (x - b) ** 2 < r**2 for a, b, r in rng.integers(4, 20, (3, 3))])
        for _ in range(2)
    )
    prediction[2] = truth[1] = False
    band = near_boundary(truth, prediction, 3)
    np.testing.assert_array_equal(band, band_one_by_one(truth, prediction, 3))
    assert 0 < band.sum() < near_tumor(truth, prediction, 3).sum()
    assert not (band & ~near_tumor(truth, prediction, 3)).any()


def test_sums_over_a_region():
    truth = np.array([[[True, False, False, True]]])
    probability = np.array([[[0.9, 0.9, 0.1, 0.1]]])
    region = np.array([[[True, False, True, False]]])
    sums = calibration_sums(truth, probability, probability >= 0.5, region)
    assert sum(sums["pixels"]) == 2
    assert ece(sums) == pytest.approx(0.1)
    assert brier(sums) == pytest.approx(0.01)
