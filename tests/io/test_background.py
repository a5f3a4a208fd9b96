"""Air wherever it lies: found by a transcription, and put where the network wants it."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agd_keras.data.preprocess import normalize_patient
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.io.background import LIMIT, is_dark_around, settle_background
from agd_keras.io.case import settle_channels, stack_channels


def head(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A brain in raw intensities, three channels, cut out to 0; and where it is."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :40] - 19.5
    inside = np.stack([x**2 + y**2 < (15 - place) ** 2 for place in range(4)])
    inside = np.repeat(inside[..., None], 3, axis=-1)
    raw = random.normal(120, 25, inside.shape).clip(12, 250).astype(np.float32)
    return np.where(inside, raw, 0).astype(np.float32), inside


def scored(raw: np.ndarray, inside: np.ndarray, background: float | None) -> np.ndarray:
    """The brain at mean 0 and deviation 1, each channel by itself."""
    result = np.empty_like(raw)
    for channel in range(3):
        brain = raw[..., channel][inside[..., channel]].astype(np.float64)
        values = (raw[..., channel] - brain.mean()) / brain.std()
        air = values[inside[..., channel]].min() if background is None else background
        result[..., channel] = np.where(inside[..., channel], values, air)
    return result


BACKGROUNDS = [np.nan, np.inf, -np.inf, 0.0, -1.0, 0.7, 20.0, 1e9, -3.4e38, 9.97e36]


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_the_network_sees_the_brain_as_if_its_surround_were_dark(background):
    raw, inside = head()
    expected = normalize_patient(scored(raw, inside, None))
    np.testing.assert_array_equal(normalize_patient(scored(raw, inside, background)), expected)
    # And nearly as in raw intensities, where a few more of the darkest are not counted as tissue.
    plain = normalize_patient(raw)
    np.testing.assert_allclose(expected[inside], plain[inside], atol=0.25)
    for channel in range(3):
        brain = inside[..., channel]
        assert expected[~brain, channel].max() <= expected[brain, channel].min()


@pytest.mark.parametrize("background", [np.nan, 0.0, 7.0])
def test_only_the_channel_concerned_is_touched(background):
    raw, inside = head()
    mixed = raw.copy()
    mixed[..., 1] = scored(raw, inside, background)[..., 1]
    expected = normalize_patient(raw)
    found = normalize_patient(mixed)
    np.testing.assert_array_equal(found[..., [0, 2]], expected[..., [0, 2]])
    np.testing.assert_allclose(found[inside], expected[inside], atol=0.25)


def test_a_dark_frame_around_the_constant():
    """As if the volume had been padded with its minimum after its brain was scaled."""
    raw, inside = head()
    values = scored(raw, inside, 0.0)
    padded = np.full((4, 48, 48, 3), values.min(axis=(0, 1, 2)))
    padded[:, 4:44, 4:44] = values
    expected = normalize_patient(np.where(padded == 0, values.min(axis=(0, 1, 2)), padded))
    np.testing.assert_array_equal(normalize_patient(padded), expected)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float64"])
def test_scaled_to_integers(dtype):
    raw, inside = head()
    steps = (1000 * scored(raw, inside, 0.0)).astype(dtype)
    found = normalize_patient(steps)
    changed = np.abs(found - normalize_patient(scored(raw, inside, None))) > 0.01
    assert changed.mean() < 1e-3  # where tissue has the very value of the air


def ordinary() -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    raw, inside = head()
    noise = np.abs(random.normal(0, 3, raw.shape)).astype(np.float32)
    few = random.choice([0, 1, 2], raw.shape, p=[0.2, 0.6, 0.2])
    ringing = raw.copy()
    ringing[:, 3:5, 3:30] = -4
    grey = np.where(inside, raw, 76 + random.choice([-1, 0, 1], raw.shape, p=[0.1, 0.8, 0.1]))
    return {
        "cut out": raw,
        "with a noisy surround": np.where(inside, raw, noise),
        "noise of few grey levels": np.where(inside, raw, few),
        "undershoot of resampling": ringing,
        "offset": raw - 1024,
        "noise around one grey, in a slice of 8 bits": grey,
        "tissue at the border": np.pad(raw[:, 12:28, 12:28], ((0, 0), (0, 8), (0, 0), (0, 0))),
        "one damaged voxel": np.where(np.arange(raw.size).reshape(raw.shape) == 9, -900, raw),
        "standing alone": random.normal(size=raw.shape),
        "two grey levels": np.where(inside, 3, 9),
    }


@pytest.mark.parametrize("name", ordinary())
def test_ordinary_images_are_not_touched(name):
    for channel in range(3):
        planes = ordinary()[name][..., channel].astype(np.float32)
        settled, air = settle_background(planes)
        assert settled is planes and air is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, LIMIT])
def test_one_voxel_that_is_no_number_is_air(value):
    raw, _ = head()
    broken = raw.copy()
    broken[2, 1, 1, 1] = value
    np.testing.assert_array_equal(Preprocessor(16).prepare(broken), Preprocessor(16).prepare(raw))
    shifted = broken - 5000  # also where air is not 0
    np.testing.assert_allclose(normalize_patient(shifted), normalize_patient(raw), atol=1e-3)


def test_a_slice_or_all_that_is_no_number():
    raw, _ = head()
    broken = raw.copy()
    broken[3] = np.nan
    expected = raw.copy()
    expected[3] = 0
    np.testing.assert_array_equal(normalize_patient(broken), normalize_patient(expected))
    assert (normalize_patient(np.full(raw.shape, np.nan)) == -5).all()


def transcription(planes: np.ndarray) -> np.ndarray:
    """The rule in exact numbers, voxel by voxel."""
    slices, height, width = planes.shape
    places = list(np.ndindex(planes.shape))
    known = {p: Fraction(float(planes[p])) for p in places if abs(planes[p]) < 2.0**60}
    if not known:
        return np.zeros_like(planes)
    lowest = min(known.values())
    used = [p for p in places if p in known and known[p] > lowest] or [(0, 0, 0)]
    (top, bottom), (left, right) = ([f(p[i] for p in used) for f in (min, max)] for i in (1, 2))
    frame = [(s, y, x) for s in range(slices) for y in (top, bottom) for x in range(width)]
    frame += [(s, y, x) for s in range(slices) for x in (left, right) for y in range(height)]
    edge = sorted(known[p] for p in frame if p in known and known[p] > lowest)
    air = edge[(len(edge) - 1) // 2] if edge else None
    rest = [value for value in known.values() if value != air]
    below = [air - value for value in rest if edge and value < air]
    above = [value - air for value in rest if edge and value > air]
    found = (
        bool(edge)
        and edge.count(air) >= Fraction(9, 10) * len(edge)
        and 4 * (len(known) - len(rest)) >= len(known)
        and len(set(rest)) > 1
        and 1000 * len(below) >= len(rest)
        and 8 * sum(below) * len(above) >= sum(above) * len(below)
    )
    result = planes.copy()
    for p in places:
        if p not in known or (found and known[p] == air):
            result[p] = float(min(rest) if found else lowest)
    return result


VALUES = [float(value) for value in (-3, -2, -1, 0, 1, 2, 50)] + [np.nan, np.inf, -np.inf, 1e20]


@settings(max_examples=150, deadline=None)
@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 6)),
        elements=st.sampled_from(VALUES),
        fill=st.sampled_from(VALUES),
    )
)
def test_the_rule_is_its_transcription(planes):
    settled, _ = settle_background(planes)
    np.testing.assert_array_equal(settled, transcription(planes))
    assert np.isfinite(settled).all()


def test_notes_say_what_was_taken_for_background():
    raw, inside = head()
    values = scored(raw, inside, 0.0)
    values[0, 0, 0, 1] = np.nan
    volumes = dict(zip(("T1", "FLAIR", "T1c"), np.moveaxis(values, -1, 0), strict=True))
    images, notes = stack_channels("a.nii", volumes)
    assert notes == (
        "1 voxel not finite, taken as background",
        "0 taken as background in T1 and FLAIR and T1c",
    )
    assert (images == scored(raw, inside, None)).all()
    _, notes = stack_channels("a.nii", {"FLAIR": volumes["FLAIR"]})
    assert notes[0] == "T1 and T1c filled by FLAIR"
    assert notes[2] == "0 taken as background in FLAIR"
    assert settle_channels(np.array(raw)) == []


@pytest.mark.parametrize("noise", [1e-6, 1e-3, 0.02])
def test_air_that_is_noise_among_the_values_of_tissue_is_told(noise):
    """As interpolation by splines and 16-bit floats leave the 0 around z-scored brains."""
    raw, inside = head()
    air = np.random.default_rng(2).normal(0, noise, raw.shape).astype(np.float32)
    for moved in (0, 10):
        images = scored(raw, inside, 0)
        images = np.where(images == 0, air, images) + np.float32(moved)
        [note] = settle_channels(images)
        assert note == "no dark background found in T1 and FLAIR and T1c, the mask may be wrong"
    dark = np.where(inside, raw, np.abs(air))
    assert settle_channels(np.asarray(dark, np.float32)) == []


def test_a_bright_surround_that_varies_is_told():
    raw, inside = head()
    random = np.random.default_rng(2)
    inverted = np.where(inside, 255 - raw, 255 - np.abs(random.normal(0, 4, raw.shape)))
    [note] = settle_channels(inverted.astype(np.float32))
    assert note == "no dark background found in T1 and FLAIR and T1c, the mask may be wrong"
    assert is_dark_around(np.zeros((2, 3, 3)))
    with pytest.raises(InputError):
        stack_channels("a.nii", {"T1": raw[..., 0]})
