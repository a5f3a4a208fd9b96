"""The colours of the figures differ for people with any colour vision."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb

from agd_keras.viz.colors import OVERLAY, PREDICTION, SERIES, SHARES, TRUTH

# Machado, Oliveira & Fernandes 2009, https://doi.org/10.1109/TVCG.2009.113, severity 1.
VISION = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def to_lab(colors, seen_by="all cones"):
    """CIE L*a*b* of sRGB colours, `(n, 3)`, as somebody sees them."""
    rgb = np.asarray([to_rgb(color) for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ VISION[seen_by].T, 0, 1)
    ratio = seen @ TO_XYZ.T / TO_XYZ.sum(axis=1)
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )


def test_white_and_black_are_where_they_should_be():
    np.testing.assert_allclose(to_lab(["white", "black"])[:, 0], [100, 0], atol=0.01)


@pytest.mark.parametrize("seen_by", VISION)
def test_outlines_differ(seen_by):
    truth, prediction = to_lab([TRUTH, PREDICTION], seen_by)
    assert np.linalg.norm(truth - prediction) > 40


@pytest.mark.parametrize("seen_by", VISION)
def test_series_differ(seen_by):
    lab = to_lab(SERIES, seen_by)
    # 2.3 is a difference that is just noticed; the first ones are those that figures use.
    assert min(np.linalg.norm(a - b) for a, b in combinations(lab, 2)) > 7
    assert min(np.linalg.norm(a - b) for a, b in combinations(lab[:4], 2)) > 11


@pytest.mark.parametrize("name", [SHARES, OVERLAY])
@pytest.mark.parametrize("seen_by", VISION)
def test_colour_maps_rise_in_lightness(name, seen_by):
    lightness = to_lab(colormaps[name](np.linspace(0, 1, 17)), seen_by)[:, 0]
    assert (np.diff(lightness) > 0).all()
