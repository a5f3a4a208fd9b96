"""The graph's preprocessing against the Python code and Pillow."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from agd_keras.data.anatomy import make_patient
from agd_keras.data.preprocess import normalize_patient
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.export.graph import (
    OVER_IMAGE,
    OVER_PATIENT,
    normalize,
    normalize_by_brain,
    resize,
    segment,
    to_planes,
)

BACKGROUNDS = [-3.0, -1.0, 0.0, 1.0, 2.0, 50.0, np.nan, np.inf, -np.inf, -3e38]
# The mean is 2, and its sum over rows is rounded.
AT_THE_MEAN = np.repeat(
    np.float32([[2, -3, -3, -3, 50, -3], [-1] + 5 * [-3]])[None, ..., None], 3, -1
)
STACKS = arrays(
    np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.just(3))
)


def normalized(images, *axes):
    planes = normalize(to_planes(tf.constant(images)), *axes).numpy()
    return np.moveaxis(planes, -3, -1)


@settings(max_examples=60, deadline=None)
@given(STACKS)
def test_each_image_is_normalised_by_itself(stack):
    expected = np.concatenate([normalize_patient(image[None]) for image in stack])
    np.testing.assert_allclose(normalized(stack), expected, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(STACKS)
def test_a_patient_is_normalised_as_a_whole(stack):
    found = normalized(stack[None], OVER_PATIENT)[0]
    np.testing.assert_allclose(found, normalize_patient(stack), atol=1e-5)


def test_large_stacks_lose_no_digits(images):
    stack = np.tile(images, (6, 1, 1, 1))
    found = normalized(stack[None], OVER_PATIENT)[0]
    np.testing.assert_allclose(found, normalize_patient(stack), atol=2e-5)


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e4])
def test_scale_does_not_matter(images, scale):
    scaled = images.astype(np.float32) * np.float32(scale)
    np.testing.assert_allclose(normalized(scaled), normalized(images), atol=1e-4)


@settings(max_examples=200, deadline=None)
@given(*[st.integers(1, 12)] * 2, st.integers(1, 255), st.integers(1, 255), st.integers(0, 99))
def test_one_and_two_grey_levels(height, width, low, high, seed):
    """Whose tissue has no spread but what rounding makes."""
    bright = np.random.default_rng(seed).random((1, height, width, 3)) < seed / 99
    stack = np.where(bright, high, low).astype(np.uint8)
    np.testing.assert_array_equal(normalized(stack), normalize_patient(stack))


@pytest.mark.parametrize("value", [0.0, 0.1, 77.7, 1e6])
def test_a_constant_is_air(value):
    assert (normalized(np.full((2, 19, 23, 3), value, np.float32)) == -5).all()


@settings(max_examples=40, deadline=None)
@given(*[st.integers(1, 70)] * 4, st.integers(0, 99))
def test_resizing_is_pillows(height, width, new_height, new_width, seed):
    plane = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    size = (new_width, new_height)
    expected = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))
    found = resize(tf.constant(plane[None]), new_height, new_width)[0]
    # Places are in float32: of 70 pixels to 4e-6, times the step from a pixel to the next.
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_mask_is_at_or_above_the_threshold(threshold):
    values = tf.constant([0.1, 0.2, 0.5, 0.9])

    def network(image):
        return {"mask": tf.zeros_like(image[..., :1]) + values[:, None, None, None]}

    found = segment(network, Preprocessor(8), tf.ones((4, 8, 8, 3)), threshold)
    probability = found["probability"].numpy()
    np.testing.assert_array_equal(found["mask"], probability >= np.float32(threshold))
    np.testing.assert_allclose(probability[:, 0, 0, 0], values, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.6, 1.47, 4.0])
def test_temperature_is_that_of_the_predictor(temperature):
    from agd_keras.evaluation.reliability import scale_temperature as expected
    from agd_keras.export.graph import scale_temperature

    p = np.random.default_rng(0).random((50, 40)).astype("float32")
    p[0, :4] = 0, 1, 0.5, np.nextafter(np.float32(0.5), np.float32(0))
    p[1, :6] = 1e-9, 1e-7, 1e-6, 1 - 2**-24, 1 - 2**-23, 1 - 1e-6  # around where both end
    found = scale_temperature(tf.constant(p), temperature).numpy()
    np.testing.assert_allclose(found, expected(p, temperature), atol=1e-6)
    np.testing.assert_array_equal(found >= 0.5, p >= 0.5)


@settings(max_examples=60, deadline=None)
@example(AT_THE_MEAN)
@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.just(3)),
        elements=st.sampled_from(BACKGROUNDS),
        fill=st.sampled_from(BACKGROUNDS),
    )
)
def test_background_is_that_of_the_reader(stack):
    expected = np.concatenate([normalize_patient(image[None]) for image in stack])
    np.testing.assert_allclose(normalized(stack), expected, atol=1e-5)
    found = normalized(stack[None], OVER_PATIENT)[0]
    np.testing.assert_allclose(found, normalize_patient(stack), atol=1e-5)


@pytest.mark.parametrize("background", [np.nan, -np.inf, 0.0, -1.0, 9.0, -3.4e38])
def test_a_scored_head_in_any_background(images, background):
    head = images >= 60
    scored = ((images - 120.0) / 40).astype(np.float32)
    scored[~head] = background
    scored[0, 0, 0, 0] = np.nan
    found = normalized(scored[None], OVER_PATIENT)[0]
    np.testing.assert_allclose(found, normalize_patient(scored), atol=1e-4)
    for channel in range(3):
        inside = head[..., channel]
        assert found[~inside, channel].max() <= found[inside, channel].min() + 1e-4


def by_brain(images, axes):
    return np.moveaxis(normalize_by_brain(to_planes(tf.constant(images)), axes).numpy(), -3, -1)


@pytest.mark.parametrize("factor", [None, 0.37, 40.0])
@pytest.mark.parametrize("number", range(4))
def test_brain_is_found_as_in_python(number, factor):
    stack = make_patient(1, number, 8, 48)[0]
    if factor:
        stack = stack.astype(np.float32) * np.float32(factor)
    found = by_brain(stack[None], OVER_PATIENT)[0]
    np.testing.assert_allclose(found, normalize_patient(stack, "brain"), atol=5e-4)


def test_brain_is_found_in_single_images():
    stack = make_patient(1, 0, 8, 48)[0]
    expected = np.concatenate([normalize_patient(image[None], "brain") for image in stack])
    np.testing.assert_allclose(by_brain(stack, OVER_IMAGE), expected, atol=5e-4)


def test_several_patients_of_one_slice():
    stack = make_patient(1, 0, 8, 48)[0]
    found = by_brain(stack[:, None], OVER_PATIENT)[:, 0]
    np.testing.assert_allclose(found, by_brain(stack, OVER_IMAGE), atol=1e-5)


def test_a_constant_has_no_brain():
    np.testing.assert_array_equal(by_brain(np.full((1, 6, 5, 3), 7.0, "float32"), OVER_IMAGE), -2.5)
