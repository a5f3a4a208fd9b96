"""Temperature and calibration by region against closed forms and a search by hand."""

import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from agd_keras.errors import InputError
from agd_keras.evaluation.reliability import (
    brier,
    calibration_sums,
    ece,
    fit_temperature,
    near_boundary,
    near_tumor,
    scale_logits,
    scale_temperature,
)
from agd_keras.inference.calibration import Calibration, read_calibration


def scaled_by_hand(z, temperature):
    """Above 1 a logit between z / temperature at 0 and z at 10, by the square of its way there."""
    way = np.minimum(np.abs(z) / 10, 1) * (temperature > 1)
    return (1 - way**2) * z / temperature + way**2 * z


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30), st.floats(0.05, 20))
@settings(deadline=None, max_examples=100)
def test_scaling_fades_and_keeps_the_mask(values, temperature):
    p = np.array(values, np.float32)
    scaled = scale_temperature(p, temperature)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled >= 0.5, p >= 0.5)
    inside = p if temperature == 1 else np.clip(p.astype(float), 1e-7, 1 - 1e-7)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(inside % 1, expit(scaled_by_hand(logit(inside), temperature)), inside)
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


@given(st.floats(0.05, 20))
@settings(deadline=None)
def test_order_of_logits_stays(temperature):
    scaled = scale_logits(np.linspace(-16, 16, 4001), temperature)
    assert (np.diff(scaled) > 0).all()
    np.testing.assert_allclose(scaled, -scaled[::-1], atol=1e-12)


def test_mask_stays_just_below_the_threshold():
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert scale_temperature(np.array([below, 0.5], np.float32), 10).tolist() == [below, 0.5]


def test_both_ends_are_1e_7_away_unless_nothing_is_scaled():
    ends = np.array([-1e-6, 0, 1, 1 + 1e-6])
    expected = [1e-7, 1e-7, 1 - 1e-7, 1 - 1e-7]  # of logits beyond 10, which stay
    np.testing.assert_allclose(scale_temperature(ends, 2.0), expected, rtol=1e-6)
    assert scale_temperature(np.array([0, 1]), 1.0).tolist() == [0, 1]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_fit_finds_the_temperature_that_was_applied(temperature):
    rng = np.random.default_rng(0)
    # Logits whose honest values are those of the rule.
    z = rng.normal(0, 3, 500_000)
    truth = rng.random(z.size) < expit(scaled_by_hand(z, temperature))
    found = fit_temperature(truth, expit(z))
    assert found == pytest.approx(temperature, rel=0.02)


def test_fit_equals_a_search():
    rng = np.random.default_rng(1)
    p = rng.random(500).astype(np.float32)
    truth = rng.random(500) < 0.3 + 0.4 * p

    def loss(temperature):
        q = expit(scaled_by_hand(logit(p.astype(float)), temperature))
        return -np.mean(np.where(truth, np.log(q), np.log(1 - q)))

    found = fit_temperature(truth, p)
    grid = np.geomspace(0.2, 20, 2001)
    best = grid[np.argmin([loss(one) for one in grid])]
    assert found == pytest.approx(best, rel=0.005)


def test_fit_at_the_ends():
    assert fit_temperature(np.empty(0, bool), np.empty(0)) == 1
    assert fit_temperature(np.array([True, False]), np.array([0.9, 0.1])) < 0.06
    assert fit_temperature(np.array([True, False]), np.array([0.1, 0.9])) > 19


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


def archive(path, content=b'{"temperature": 2}', method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("calibration.json", content)
    return bytearray(path.read_bytes())


def encrypt(content):
    central = content.index(b"PK\1\2")
    content[6] |= 1
    content[central + 8] |= 1


def unknown_method(content):
    central = content.index(b"PK\1\2")
    content[8] = content[central + 10] = 99


def damage(content):
    start = 30 + len("calibration.json")
    content[start : start + 8] = b"\xff" * 8


@pytest.mark.parametrize(
    ("spoil", "method"),
    [
        (encrypt, zipfile.ZIP_STORED),
        (unknown_method, zipfile.ZIP_STORED),
        (damage, zipfile.ZIP_STORED),
        (damage, zipfile.ZIP_DEFLATED),
        (damage, zipfile.ZIP_BZIP2),
        (damage, zipfile.ZIP_LZMA),
    ],
)
def test_a_damaged_member_ends_in_one_line(tmp_path, spoil, method):
    path = tmp_path / "model.keras"
    content = archive(path, method=method)
    assert read_calibration(path).temperature == 2
    spoil(content)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model.keras: expected a calibration in calib") as raised:
        read_calibration(path)
    assert "\n" not in str(raised.value)


def test_json_without_bottom_ends_in_one_line(tmp_path):
    archive(tmp_path / "model.keras", b"[" * 100_000)
    with pytest.raises(InputError, match=r"model.keras: expected a calibration in calibration"):
        read_calibration(tmp_path / "model.keras")


def test_without_a_member_nothing_is_scaled(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as file:
        file.writestr("config.json", "{}")
    (tmp_path / "other.keras").write_text("no archive")
    for name in ("model.keras", "other.keras", "missing.keras", "missing.tflite"):
        assert read_calibration(tmp_path / name) == Calibration(1.0, 0.5)
