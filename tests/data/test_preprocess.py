"""Preprocessing against transcriptions in NumPy and SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.ndimage import map_coordinates

from agd_keras.data.preprocess import (
    normalize_patient,
    resize_mask,
    resize_probability,
)
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.data.resize import resample
from agd_keras.io.background import settle_background

STACKS = arrays(
    np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.just(3))
)


def _normalize(images: np.ndarray) -> np.ndarray:
    """The definition in double precision, pixel by pixel."""
    result = np.full(images.shape, -5.0)
    for channel in range(images.shape[-1]):
        planes = images[..., channel].astype(float)
        values = settle_background(planes)[0].ravel()  # see test_background.py
        tissue = [v for v in values if v > values.mean()]
        if tissue:
            mean, deviation = np.mean(tissue), np.std(tissue)
            for i, v in enumerate(values):
                if deviation > 0:
                    scaled = (v - mean) / deviation
                else:
                    scaled = 0.0 if v > values.mean() else -5.0
                result[..., channel].flat[i] = min(max(scaled, -5), 5)
    return result


def resize_image(image, size):
    return np.stack([resample(one, size, size) for one in np.moveaxis(image, -1, 0)], axis=-1)


def _interpolate(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, pixel centres at half integers, edges repeated: for enlarging."""
    rows = (np.arange(height) + 0.5) * image.shape[0] / height - 0.5
    columns = (np.arange(width) + 0.5) * image.shape[1] / width - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    return map_coordinates(image.astype(float), grid, order=1, mode="nearest")


@settings(max_examples=60, deadline=None)
@given(STACKS)
def test_normalisation_is_its_definition(images):
    normalized = normalize_patient(images)
    assert normalized.dtype == np.float32 and normalized.shape == images.shape
    np.testing.assert_allclose(normalized, _normalize(images), atol=1e-4)


LEVELS = st.lists(st.integers(0, 255), min_size=1, max_size=4, unique=True)


@settings(max_examples=200, deadline=None)
@given(LEVELS, st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 4))
def test_grey_levels_are_looked_up_to_the_same_numbers(levels, seed, side, channels):
    """Few levels too: with one or two of them the tissue has no spread."""
    random = np.random.default_rng(seed)
    images = random.choice(np.array(levels, np.uint8), (3, side, side + 1, channels))
    images[..., 0] = random.integers(0, 256, images.shape[:3])
    exact = images.astype(np.float32)
    np.testing.assert_allclose(normalize_patient(images), normalize_patient(exact), atol=1e-6)
    prepared = Preprocessor(16).prepare(images)
    np.testing.assert_allclose(prepared, Preprocessor(16).prepare(exact), atol=2e-6)
    turned = images.transpose(0, 2, 1, 3)  # lies in memory in another order
    expected = normalize_patient(images).transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(normalize_patient(turned), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_one_and_two_grey_levels(dtype):
    images = np.full((2, 3, 3, 3), 9, dtype)
    images[0, 0, 0, 1] = 7  # one dark pixel
    images[1, 2, 2, 2] = 200  # one bright pixel
    expected = np.full(images.shape, -5)
    expected[..., 1] = 0
    expected[0, 0, 0, 1] = -5
    expected[1, 2, 2, 2] = 0
    np.testing.assert_array_equal(normalize_patient(images), expected)


@settings(max_examples=40, deadline=None)
@given(STACKS, st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_normalisation_does_not_know_the_scale(images, factor):
    scaled = images.astype(np.float32) * factor  # powers of two: exact
    np.testing.assert_allclose(normalize_patient(scaled), normalize_patient(images), atol=1e-4)


def test_tissue_has_mean_0_and_deviation_1_and_channels_are_apart():
    rng = np.random.default_rng(0)
    images = np.zeros((4, 32, 32, 3), np.uint8)
    images[:, 8:24, 8:24] = rng.normal(100, 8, (4, 16, 16, 3)).clip(60, 140)
    normalized = normalize_patient(images)
    tissue = normalized[:, 8:24, 8:24].reshape(-1, 3)
    np.testing.assert_allclose(tissue.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(tissue.std(0), 1, atol=1e-2)
    assert (normalized[:, :8] == -5).all()
    images[..., 1] = 17
    np.testing.assert_array_equal(normalize_patient(images)[..., [0, 2]], normalized[..., [0, 2]])
    assert (normalize_patient(images)[..., 1] == -5).all()


def test_normalised_by_patient_not_by_slice():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 200, (3, 8, 8, 3), dtype=np.uint8)
    images[2] //= 4
    together = normalize_patient(images)
    assert together[2].mean() < together[0].mean()
    np.testing.assert_array_equal(together[::-1], normalize_patient(images[::-1]))


@pytest.mark.parametrize("shape", [(5, 7), (16, 16), (3, 16)])
def test_enlarging_is_bilinear(shape):
    image = np.random.default_rng(0).normal(size=(*shape, 3)).astype(np.float32)
    resized = resize_image(image, 16)
    assert resized.dtype == np.float32 and resized.shape == (16, 16, 3)
    for channel in range(3):
        expected = _interpolate(image[..., channel], 16, 16)
        np.testing.assert_allclose(resized[..., channel], expected, atol=1e-5)


def test_shrinking_averages_with_a_triangle():
    line = np.zeros((1, 16), np.float32)
    line[0, 6] = 1.0
    image = np.repeat(np.repeat(line, 16, axis=0)[..., None], 3, axis=-1)
    resized = resize_image(image, 8)
    # Output pixel i has its centre at 2 i + 0.5 and a triangle of half width 2 as its weights.
    centers = 2 * np.arange(8)[:, None] + 0.5
    weights = np.clip(1 - abs(np.arange(16) - centers) / 2, 0, None)
    expected = (weights / weights.sum(1, keepdims=True))[:, 6]
    np.testing.assert_allclose(resized[..., 0], np.tile(expected, (8, 1)), atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(*[st.integers(1, 70)] * 4, st.integers(0, 99))
def test_resizing_is_pillows(height, width, new_height, new_width, seed):
    plane = np.random.default_rng(seed).random((height, width), np.float32)
    size = (new_width, new_height)
    expected = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))
    found = resize_probability(plane, (new_height, new_width))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    image = resize_image(plane[..., None] * 10 - 5, new_height)[..., 0]
    size = (new_height, new_height)
    expected = Image.fromarray(plane * 10 - 5).resize(size, Image.Resampling.BILINEAR)
    np.testing.assert_allclose(image, np.asarray(expected), atol=5e-6)


@settings(max_examples=40, deadline=None)
@given(arrays(np.bool_, (12, 8)))
def test_mask_is_tumour_where_half_of_the_area_is(mask):
    assert resize_mask(mask, 4).dtype == np.bool_
    expected = mask.reshape(4, 3, 4, 2).mean((1, 3)) >= 0.5 - 1e-9
    np.testing.assert_array_equal(resize_mask(mask, 4), expected)
    square = mask[:8]
    np.testing.assert_array_equal(resize_mask(square, 8), square)
    np.testing.assert_array_equal(resize_mask(square, 16), square.repeat(2, 0).repeat(2, 1))


@settings(max_examples=30, deadline=None)
@given(arrays(np.float32, (6, 6), elements=st.floats(0, 1, width=32)))
def test_probabilities_come_back_bilinear_and_within_0_and_1(probability):
    resized = resize_probability(probability, (12, 9))
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, _interpolate(probability, 12, 9), atol=1e-5)
    assert resized.min() >= 0 and resized.max() <= 1
    np.testing.assert_array_equal(resize_probability(probability, (6, 6)), probability)


def test_prepared_is_normalised_first_and_resized_then():
    images = np.random.default_rng(2).integers(0, 256, (3, 10, 14, 3), dtype=np.uint8)
    prepared = Preprocessor(16).prepare(images)
    assert prepared.dtype == np.float32
    for image, normalized in zip(prepared, normalize_patient(images), strict=True):
        np.testing.assert_array_equal(image, resize_image(normalized, 16))
