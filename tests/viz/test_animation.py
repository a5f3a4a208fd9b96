"""The film of a patient's slices shows what the masks say, and stays small."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from agd_keras.viz.animation import BAR, MARGIN, PIXELS, scroll
from agd_keras.viz.colors import PREDICTION, TRUTH

BLUE, ORANGE = ([round(255 * value) for value in to_rgb(color)] for color in (TRUTH, PREDICTION))


def frames_of(content):
    film = Image.open(io.BytesIO(content))
    frames = []
    for place in range(film.n_frames):
        film.seek(place)
        frames.append(np.asarray(film.convert("RGB")))
    return film, np.stack(frames)


def where(frame, color):
    return (frame == color).all(axis=-1)


def head(slices=5, side=64):
    """A bright square head in dark air, of which no pixel is as bright as another nearby."""
    images = np.zeros((slices, side, side, 3), np.uint8)
    images[:, 12:52, 8:56] = np.random.default_rng(0).integers(90, 200, (slices, 40, 48, 1))
    return images, *np.zeros((2, slices, side, side), bool)


def test_a_frame_for_each_slice_cut_to_the_head():
    images, truth, prediction = head()
    film, frames = frames_of(scroll(images, truth, prediction, milliseconds=200))
    assert film.info["duration"] == 200
    assert film.info["loop"] == 0
    factor = round(256 / (48 + 2 * MARGIN))
    assert frames.shape == (
        *(5, factor * (40 + 2 * MARGIN) + BAR),
        *(factor * (48 + 2 * MARGIN), 3),
    )
    assert not where(frames, BLUE).any()
    assert not where(frames, ORANGE).any()
    # 32 levels of grey: a difference of at most half a step of the range that is shown.
    shown = frames[2, :-BAR:factor, ::factor, 0][MARGIN:-MARGIN, MARGIN:-MARGIN].astype(float)
    white = np.percentile(images, 99.5, method="higher")
    expected = np.clip(images[2, 12:52, 8:56, 1] / white, 0, 1) * 255
    np.testing.assert_allclose(shown, expected, atol=255 / 31 / 2 + 1)


def test_outlines_are_the_borders_of_the_masks():
    images, truth, prediction = head()
    truth[1, 20:30, 20:30] = True
    prediction[1, 35:40, 40:50] = True
    _, frames = frames_of(scroll(images, truth, prediction))
    factor = round(256 / (48 + 2 * MARGIN))
    top, left = 12 - MARGIN, 8 - MARGIN
    for mask, color in ((truth[1], BLUE), (prediction[1], ORANGE)):
        large = np.kron(mask, np.ones((factor, factor), bool))[top * factor :, left * factor :]
        shrunk = large.copy()
        for axis in (0, 1):
            for step in (-1, 1):
                shrunk &= np.roll(large, step, axis)
        drawn = where(frames[1][:-BAR], color)
        np.testing.assert_array_equal(drawn, (large & ~shrunk)[: drawn.shape[0], : drawn.shape[1]])
    assert not where(frames[0][:-BAR], BLUE).any()


def test_outlines_that_coincide_show_both():
    images, truth, _ = head()
    truth[1, 20:40, 20:40] = True
    _, frames = frames_of(scroll(images, truth, truth))
    counts = [where(frames[1][:-BAR], color).sum() for color in (BLUE, ORANGE)]
    assert min(counts) > 0.4 * sum(counts)


def test_strip_tells_the_slices_with_tumour():
    images, truth, prediction = head()
    truth[1:4, 20:30, 20:30] = True
    prediction[3, 20:30, 20:30] = True
    _, frames = frames_of(scroll(images, truth, prediction))
    strip = frames[0, -BAR:]
    width = strip.shape[1]
    for color, slices in ((BLUE, {1, 2, 3}), (ORANGE, {3})):
        columns = np.flatnonzero(where(strip, color).any(axis=0))
        assert set((columns + 0.5) * 5 // width) == slices


@pytest.mark.parametrize("slices", [20, 155])
def test_noise_stays_below_a_megabyte(slices):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (slices, 256, 256, 1), np.uint8).repeat(3, axis=-1)
    masks = np.zeros(images.shape[:3], bool)
    content = scroll(images, masks, masks)
    assert len(content) < 1.1 * PIXELS
    real = np.cumsum(images, axis=2, dtype=np.float32)  # as smooth as tissue is
    assert len(scroll(real, masks, masks)) < 1e6


def test_a_blank_patient_of_one_slice():
    blank = np.zeros((1, 20, 30, 3), np.uint8)
    mask = np.zeros((1, 20, 30), bool)
    film, _ = frames_of(scroll(blank, mask, mask))
    assert film.n_frames == 1


def test_slices_are_numbered_and_sides_written_where_they_are_known():
    plain, numbered, sided = (
        frames_of(scroll(*head(), **options))[1].astype(int)
        for options in ({}, {"numbers": [11, 12, 13, 14, 15]}, {"sides": "RL"})
    )
    height, width = plain.shape[1] - BAR, plain.shape[2]
    changed = np.argwhere((plain != numbered).any(axis=(0, 3)))
    assert len(changed) and changed.max(axis=0)[0] < 15 and changed.max(axis=0)[1] < 20
    changed = np.argwhere((plain != sided).any(axis=(0, 3)))
    assert (abs(changed[:, 0] - height / 2) < 8).all()
    columns = changed[:, 1]
    assert ((columns < 12) | (columns > width - 12)).all()
    assert (columns < 12).any() and (columns > width - 12).any()
    # The patient's right is at the left of the picture: an R has more to draw than an L.
    assert (columns < 12).sum() > (columns > width - 12).sum()
