from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from agd_keras.data.augment import _noise, augment, random_affine, random_intensity, warp
from agd_keras.data.recipes import RECIPES, Recipe, get_recipe
from agd_keras.errors import InputError

MANY = 4000
SEED = tf.constant([3, 1], tf.int64)


def smooth(batch, size, channels=3, seed=0):
    """Images without hard edges, shape (batch, size, size, channels)."""
    noise = np.random.default_rng(seed).normal(size=(batch, size, size, channels))
    return ndimage.gaussian_filter(noise, (0, 2, 2, 0)).astype(np.float32) * 8


def blobs(batch, size, seed=0):
    """One ellipse an image, of radii from a fifth to a third of the side."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size - 0.5
    height, width = random.uniform(0.2, 0.3, (2, batch, 1, 1))
    return ((x / width) ** 2 + (y / height) ** 2 < 1).astype(np.float32)[..., None]


def matrices(recipe, count=MANY, size=64, seed=SEED):
    """Matrices as NumPy, shape (count, 2, 3)."""
    rows = random_affine((count,), (size, size), seed, recipe).numpy()
    assert not rows[:, 6:].any()
    return rows[:, :6].reshape(-1, 2, 3).astype(np.float64)


def source_places(matrix, size):
    """Row and column in the source of each pixel, from the definition."""
    y, x = np.mgrid[:size, :size].astype(np.float64)
    column, row = np.tensordot(matrix, np.stack([x, y, np.ones_like(x)]), axes=1)
    return np.stack([row, column])


def test_warp_is_that_of_scipy():
    size = 40
    images, masks = smooth(6, size), blobs(6, size)
    drawn = random_affine((6,), (size, size), SEED, replace(RECIPES["strong"], probability=1.0))
    moved = warp(images, drawn, "BILINEAR").numpy()
    moved_masks = warp(masks.astype(np.uint8), drawn, "NEAREST").numpy()
    for i, matrix in enumerate(drawn.numpy()[:, :6].reshape(-1, 2, 3).astype(np.float64)):
        places = source_places(matrix, size)
        inside = ((places > 0) & (places < size - 1)).all(axis=0)
        assert inside.mean() > 0.3
        for channel in range(3):
            expected = ndimage.map_coordinates(images[i, ..., channel], places, order=1)
            np.testing.assert_allclose(moved[i, ..., channel][inside], expected[inside], atol=1e-3)
        expected = ndimage.map_coordinates(masks[i, ..., 0], places, order=0)
        clear = inside & (np.abs(places % 1 - 0.5) > 1e-3).all(axis=0)  # no tie of two pixels
        np.testing.assert_array_equal(moved_masks[i, ..., 0][clear], expected[clear])


@pytest.mark.parametrize("name", ["strong", "heavy"])
def test_moves_compose_as_3x3_matrices_do(name):
    recipe = replace(RECIPES[name], probability=0.5)
    height, width, count = 30, 50, 64
    result = random_affine((count,), (height, width), SEED, recipe).numpy()
    u = tf.random.stateless_uniform((16, count), SEED).numpy().astype(np.float64)
    signed, happens = 2 * u - 1, u < 0.5
    for i in range(count):
        angle = np.radians(recipe.rotation) * signed[1, i] * happens[0, i]
        wide = recipe.width_shear * signed[2, i] * happens[0, i]
        high = recipe.height_shear * signed[4, i] * happens[3, i]
        low, top = np.log(recipe.zoom)
        zoom = np.exp((low + (top - low) * u[6, i]) * happens[5, i])
        kept = 1 - (1 - recipe.crop) * u[8, i] * happens[7, i]
        shift = recipe.translation * happens[9, i]
        right = width * (shift * signed[10, i] + signed[11, i] * (1 - kept) / 2)
        down = height * (shift * signed[12, i] + signed[13, i] * (1 - kept) / 2)
        flip = -1 if u[14, i] < recipe.flip else 1
        turn_over = -1 if u[15, i] < recipe.turn_over else 1
        x, y = (width - 1) / 2, (height - 1) / 2
        cosine, sine = np.cos(angle), np.sin(angle)
        expected = (
            np.array([[1, 0, x + right], [0, 1, y + down], [0, 0, 1]])
            @ np.diag([kept / zoom, kept / zoom, 1])
            @ np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
            @ np.array([[1, wide, 0], [0, 1, 0], [0, 0, 1]])
            @ np.array([[1, 0, 0], [high, 1, 0], [0, 0, 1]])
            @ np.diag([flip, turn_over, 1])
            @ np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]])
        )
        np.testing.assert_allclose(result[i], expected.ravel()[:8], rtol=1e-4, atol=1e-4)


def linear(recipe):
    return matrices(recipe)[:, :, :2]


def spans(values, low, high):
    """Whether values fill a range and keep to it."""
    margin = 0.01 * (high - low)
    return low - 1e-5 <= values.min() < low + margin and high - margin < values.max() <= high + 1e-5


def test_rotation_alone():
    turned = linear(Recipe(probability=1, rotation=20))
    np.testing.assert_allclose(turned @ turned.transpose(0, 2, 1), [np.eye(2)] * MANY, atol=1e-5)
    assert spans(np.degrees(np.arctan2(turned[:, 1, 0], turned[:, 0, 0])), -20, 20)


def test_shear_alone():
    for recipe, place in (
        (Recipe(probability=1, width_shear=0.3), (0, 1)),
        (Recipe(probability=1, height_shear=0.3), (1, 0)),
    ):
        sheared = linear(recipe)
        assert spans(sheared[:, *place], -0.3, 0.3)
        sheared[:, *place] = 0
        np.testing.assert_allclose(sheared, [np.eye(2)] * MANY, atol=1e-6)


def test_zoom_alone():
    zoomed = linear(Recipe(probability=1, zoom=(0.5, 2.0)))
    np.testing.assert_allclose(zoomed, zoomed[:, :1, :1] * np.eye(2), atol=1e-6)
    magnification = 1 / zoomed[:, 0, 0]
    assert spans(magnification, 0.5, 2.0)
    assert abs(np.log(magnification).mean()) < 4 * np.log(4) / np.sqrt(12 * MANY)


def test_crop_lies_within_the_image():
    size = 64
    cropped = matrices(Recipe(probability=1, crop=0.6), size=size)
    assert spans(cropped[:, 0, 0], 0.6, 1.0)
    corner = np.array([-0.5, -0.5, 1.0])
    upper_left = cropped @ corner
    lower_right = cropped @ (corner + np.array([size, size, 0]))
    assert upper_left.min() > -0.5 - 1e-3 and lower_right.max() < size - 0.5 + 1e-3
    assert upper_left.min() < 0 and lower_right.max() > size - 1  # reaches every side


def test_translation_alone():
    moved = matrices(Recipe(probability=1, translation=0.25), size=64)
    np.testing.assert_allclose(moved[:, :, :2], [np.eye(2)] * MANY, atol=1e-6)
    assert spans(moved[:, 0, 2], -16, 16) and spans(moved[:, 1, 2], -16, 16)


@pytest.mark.parametrize(("moves", "axis"), [({"flip": 1.0}, 2), ({"turn_over": 1.0}, 1)])
def test_flip_is_exact(moves, axis):
    images, masks = smooth(4, 16), blobs(4, 16)
    flipped, flipped_masks = augment(images, masks, SEED, Recipe(**moves))
    np.testing.assert_allclose(flipped, np.flip(images, axis), atol=1e-5)
    np.testing.assert_array_equal(flipped_masks, np.flip(masks, axis))


def test_a_fifth_of_the_slices_stays_with_the_recipe_of_the_paper():
    unmoved = np.abs(matrices(RECIPES["paper"]) - np.eye(2, 3)).max(axis=(1, 2)) < 1e-4
    expected = (2 / 3) ** 4
    assert abs(unmoved.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / MANY)


def test_none_returns_its_input():
    images, masks = tf.constant(smooth(2, 16)), tf.constant(blobs(2, 16))
    moved = augment(images, masks, SEED, RECIPES["none"])
    assert moved[0] is images and moved[1] is masks


def test_a_recipe_in_which_nothing_happens_changes_nothing():
    images, masks = smooth(3, 16).clip(-5, 5), blobs(3, 16)
    recipe = replace(RECIPES["strong"], probability=0, flip=0, replacement=0)
    moved, moved_masks = augment(images, masks, SEED, recipe)
    np.testing.assert_allclose(moved, images, atol=1e-5)
    np.testing.assert_array_equal(moved_masks, masks)


@pytest.mark.parametrize("name", ["paper", "strong", "heavy"])
def test_mask_goes_where_the_image_goes(name):
    masks = blobs(32, 128)
    recipe = replace(RECIPES[name], gain=0, offset=0, contrast=0, noise=0)
    moved, moved_masks = augment(np.repeat(masks, 3, axis=-1), masks, SEED, recipe)
    seen, moved_masks = moved.numpy()[..., 1] > 0.5, moved_masks.numpy()[..., 0] > 0
    both, either = (f(seen, moved_masks).sum(axis=(1, 2)) for f in (np.logical_and, np.logical_or))
    assert (both / either).min() > 0.98
    assert np.abs(moved_masks - masks[..., 0]).any(axis=(1, 2)).mean() > 0.7  # and it does go


def test_rotation_keeps_the_area():
    masks = blobs(16, 128)
    recipe = Recipe(probability=1, rotation=45)
    moved = augment(np.repeat(masks, 3, axis=-1), masks, SEED, recipe)[1].numpy()
    np.testing.assert_allclose(moved.sum(axis=(1, 2)), masks.sum(axis=(1, 2)), rtol=0.01)


def test_zoom_scales_the_area_by_its_square():
    masks = blobs(16, 128)
    recipe = Recipe(probability=1, zoom=(0.6, 1.2))
    moved = augment(np.repeat(masks, 3, axis=-1), masks, SEED, recipe)[1].numpy()
    seeds = tf.random.split(SEED, 3)
    zoom = 1 / matrices(recipe, 16, 128, seeds[0])[:, 0, 0]
    ratio = moved.sum(axis=(1, 2, 3)) / masks.sum(axis=(1, 2, 3))
    np.testing.assert_allclose(ratio, zoom**2, rtol=0.04)


def test_background_comes_in_from_outside():
    images = np.random.default_rng(0).uniform(1, 4, (8, 32, 32, 3)).astype(np.float32)
    images += [0, -3, 0.5]
    moved = augment(images, blobs(8, 32), SEED, Recipe(probability=1, zoom=(0.5, 0.5)))[0].numpy()
    least = images.min(axis=(1, 2))
    np.testing.assert_allclose(moved.min(axis=(1, 2)), least, atol=1e-5)
    np.testing.assert_allclose(moved[:, :7], np.broadcast_to(least[:, None, None], (8, 7, 32, 3)))


def intensity(recipe, images, background=0.0):
    shape = (len(images), 1, 1, 3)
    seeds = tf.random.split(SEED, 2)
    return random_intensity(images, tf.fill(shape, background), seeds, recipe).numpy()


def ramp(batch):
    """Values from 0 to 4, shape (batch, 8, 8, 3)."""
    plane = np.linspace(0, 4, 64, dtype=np.float32).reshape(1, 8, 8, 1)
    return np.tile(plane, (batch, 1, 1, 3))


def test_gain_keeps_the_background():
    images = ramp(500)
    changed = intensity(Recipe(probability=1, gain=0.2), images, background=-1.0) + 1
    ratio = changed[:, -1, -1] / images[:, -1, -1]
    np.testing.assert_allclose(changed, images * ratio[:, None, None], atol=1e-5)
    assert spans(ratio, 0.8, 1.2) and abs(np.corrcoef(ratio.T)[0, 1]) < 0.2  # apart by channel


def test_offset_moves_all():
    moved = intensity(Recipe(probability=1, offset=0.3), ramp(500)) - ramp(500)
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :1, :1], moved.shape), atol=1e-5)
    assert spans(moved, -0.3, 0.3)


def test_contrast_bends_between_fixed_ends():
    bent = intensity(Recipe(probability=1, contrast=0.5), ramp(500))
    np.testing.assert_allclose(bent[:, 0, 0], 0, atol=1e-6)
    np.testing.assert_allclose(bent[:, -1, -1], 4, atol=1e-5)
    assert (np.diff(bent.reshape(500, 64, 3), axis=1) > 0).all()
    slope = bent.reshape(500, 64, 3)[:, 1] / ramp(1).ravel()[3]
    assert spans(slope, 1 - 0.5 * 63 / 64, 1 + 0.5 * 63 / 64)


def test_contrast_of_a_constant_channel_is_itself():
    assert not intensity(Recipe(probability=1, contrast=0.5, gain=0.2), ramp(4) * 0).any()


def test_noise_has_the_deviation_it_says():
    noise = _noise(tf.constant([1, 100, 100, 3]), SEED).numpy()
    assert noise.shape == (1, 100, 100, 3)
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size) and abs(noise.std() - 1) < 0.01
    neighbours = np.corrcoef(noise.ravel()[1:], noise.ravel()[:-1])[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(noise.size)
    added = intensity(Recipe(probability=1, noise=0.2), np.zeros((300, 16, 16, 3), np.float32))
    deviation = added.std(axis=(1, 2))
    assert deviation.min() < 0.01 and 0.19 < deviation.max() < 0.22


def test_flair_stands_in():
    images = smooth(2000, 4)
    images -= images.min()
    changed = intensity(Recipe(replacement=0.25), images, background=-5.0)
    flair = np.isclose(changed, changed[..., 1:2]).all(axis=(1, 2))
    assert flair[:, 1].all()
    for channel in (0, 2):
        assert abs(flair[:, channel].mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 2000)
    expected = np.where(flair[:, None, None], images[..., 1:2], images) - 5
    np.testing.assert_allclose(changed, expected.clip(-5, 5), atol=1e-5)


def test_seed_decides():
    images, masks = smooth(4, 32), blobs(4, 32)
    first, second, other = (
        augment(images, masks, seed, RECIPES["strong"])
        for seed in (SEED, SEED, SEED + np.array([0, 1]))
    )
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert (np.abs(first[0] - other[0]).max(axis=(1, 2, 3)) > 0.1).all()
    assert (
        len(
            {
                image.numpy().tobytes()
                for image in augment(
                    np.repeat(images[:1], 8, axis=0),
                    np.repeat(masks[:1], 8, axis=0),
                    SEED,
                    RECIPES["strong"],
                )[0]
            }
        )
        == 8
    )  # each slice of a batch draws for itself


@settings(deadline=None, max_examples=25)
@given(
    st.integers(-(2**62), 2**62),
    st.integers(0, 2**40),
    st.sampled_from(["paper", "strong", "heavy"]),
)
def test_ranges_hold_for_any_seed(seed, batch, name):
    images = np.concatenate([smooth(3, 24).clip(-5, 5), np.zeros((1, 24, 24, 3), np.float32)])
    masks = np.round(blobs(4, 24)).astype(np.uint8)
    moved, moved_masks = augment(images, masks, (seed, batch), RECIPES[name])
    assert moved.shape == images.shape and moved_masks.shape == masks.shape
    assert moved_masks.dtype == tf.uint8 and set(np.unique(moved_masks)) <= {0, 1}
    assert np.isfinite(moved).all() and np.abs(moved).max() <= 5


def test_unknown_recipe_lists_the_known():
    with pytest.raises(InputError, match="'harsh': expected one of none, paper, strong"):
        get_recipe("harsh")


def test_a_smaller_result_is_that_of_averaged_pixels():
    """At half the size, without a move, each pixel is the mean of four."""
    images, masks = smooth(3, 16), blobs(3, 16)
    half, half_masks = augment(images, masks, SEED, RECIPES["none"], size=8)
    expected = images.reshape(3, 8, 2, 8, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(half, expected, atol=1e-5)
    assert half_masks.shape == (3, 8, 8, 1)
    assert set(np.unique(half_masks)) <= {0, 1}


def test_moves_are_the_same_at_every_size():
    size = 64
    images, masks = smooth(4, size), blobs(4, size)
    recipe = replace(RECIPES["strong"], gain=0, offset=0, contrast=0, noise=0, replacement=0)
    whole, whole_masks = augment(images, masks, SEED, recipe)
    half, half_masks = augment(images, masks, SEED, recipe, size=size // 2)
    averaged = whole.numpy().reshape(4, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.corrcoef(averaged.ravel(), half.numpy().ravel())[0, 1] > 0.99
    area, half_area = (mask.numpy().sum(axis=(1, 2, 3)) for mask in (whole_masks, half_masks))
    np.testing.assert_allclose(4 * half_area, area, rtol=0.05)


def test_all_but_the_brain_is_taken_away_from_some():
    images = smooth(200, 8) + 1
    brains = np.zeros((200, 8, 8, 1), np.uint8)
    brains[:, 2:6, 3:7] = 1
    stripped, _ = augment(images, brains, SEED, Recipe(stripped=0.4), brains)
    least = images.min(axis=(1, 2), keepdims=True)
    expected = np.where(brains, images, least)
    gone = np.abs(stripped.numpy() - expected).max(axis=(1, 2, 3)) < 1e-5
    kept = np.abs(stripped.numpy() - images).max(axis=(1, 2, 3)) < 1e-5
    assert (gone ^ kept).all()
    assert 0.25 < gone.mean() < 0.55


def test_field_and_sharpness_keep_range_and_mean():
    images, masks = smooth(64, 16), blobs(64, 16)
    recipe = Recipe(probability=1, sharpness=1.0, field=0.2)
    changed, _ = augment(images, masks, SEED, recipe)
    assert np.isfinite(changed).all()
    assert np.abs(changed).max() <= 5
    assert 0.01 < np.abs(changed - np.clip(images, -5, 5)).mean() < 1
