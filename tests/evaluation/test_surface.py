"""Surface distances against all pairs of surface voxels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from agd_keras.evaluation import surface
from agd_keras.evaluation.patients import score_patient
from agd_keras.evaluation.surface import surface_figures


def hd95(*pair, **options):
    return surface_figures(*pair, **options)[0]


def nsd(*pair, **options):
    return surface_figures(*pair, **options)[1]


def surface_points(mask):
    """Voxels of the mask with a face neighbour outside of it, found one by one."""
    points = []
    for point in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                near = point.copy()
                near[axis] += step
                inside = (near >= 0).all() and (near < mask.shape).all()
                if not (inside and mask[tuple(near)]):
                    points.append(point)
    return np.unique(points, axis=0)


def directed_distances(here, there, spacing):
    difference = (here[:, None, :] - there[None, :, :]) * spacing
    return np.sqrt((difference**2).sum(-1)).min(axis=1)


def percentile(values):
    """The 95th, linear between the two order statistics that it lies between."""
    place = 0.95 * (len(values) - 1)
    ranked, low = np.sort(values), int(place)
    high = min(low + 1, len(values) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])


def brute_force(truth, prediction, tolerance=2.0, spacing=(1, 1, 1)):
    a, b = surface_points(truth), surface_points(prediction)
    spacing = np.asarray(spacing)[: truth.ndim]
    there, back = directed_distances(a, b, spacing), directed_distances(b, a, spacing)
    ranked = [percentile(d) for d in (there, back)]
    close = ((there <= tolerance).sum() + (back <= tolerance).sum()) / (len(there) + len(back))
    return max(ranked), close


pairs = array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=6).flatmap(
    lambda shape: arrays(bool, (2, *shape))
)


def test_two_pixels_are_close_unless_said_otherwise():
    truth, prediction = np.zeros((2, 1, 1, 8), bool)
    truth[0, 0, 0] = True
    for distance, close in ((1, 1.0), (2, 1.0), (3, 0.0)):
        prediction[:] = False
        prediction[0, 0, distance] = True
        assert surface_figures(truth, prediction) == (distance, close)
        assert nsd(truth, prediction) == close


@given(pairs)
@settings(deadline=None, max_examples=60)
def test_any_stacks_equal_brute_force(pair):
    truth, prediction = pair
    if truth.any() and prediction.any():
        distance, close = brute_force(truth, prediction)
        assert hd95(truth, prediction) == pytest.approx(distance)
        assert nsd(truth, prediction) == pytest.approx(close)


def balls(offset):
    z, y, x = np.ogrid[:12, :24, :24]
    radius = 4 * (z - 6) ** 2 + (y - 11) ** 2
    return radius + (x - 10) ** 2 < 36, radius + (x - 10 - offset) ** 2 < 36


@pytest.mark.parametrize("spacing", [(1, 1, 1), (3.0, 0.5, 1.25)])
@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.0, 2.5])
def test_balls_equal_brute_force(spacing, tolerance):
    truth, prediction = balls(offset=4)
    distance, close = brute_force(truth, prediction, tolerance, spacing)
    assert hd95(truth, prediction, spacing=spacing) == pytest.approx(distance)
    assert nsd(truth, prediction, tolerance, spacing=spacing) == pytest.approx(close)
    assert 0 < close < 1


def test_points_by_hand():
    truth, prediction = np.zeros((2, 5, 9, 9), dtype=bool)
    truth[1, 2, 2] = True
    prediction[3, 4, 5] = True
    assert hd95(truth, prediction) == pytest.approx(np.sqrt(4 + 4 + 9))
    assert hd95(truth, prediction, spacing=(5, 1, 1)) == pytest.approx(np.sqrt(100 + 4 + 9))
    assert nsd(truth, prediction) == 0.0
    assert nsd(truth, prediction, tolerance=4.2) == 1.0


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [((1, 1, 1), 23.75), ((4.0, 0.5, 1.0), 23.75), ((1, 1, 0.5), 11.875)],
)
def test_half_of_a_small_truth_missed(spacing, expected):
    """Two voxels 25 pixels apart, of which one is found: 95 hundredths of the way to the other."""
    truth = np.zeros((3, 5, 40), bool)
    truth[1, 2, [5, 30]] = True
    prediction = truth.copy()
    prediction[1, 2, 30] = False
    for pair in ((truth, prediction), (prediction, truth)):
        assert hd95(*pair, spacing=spacing) == pytest.approx(expected)


@pytest.mark.parametrize(("offset", "expected"), [(0, (0.0, 1.0)), (1, (1.0, 1.0))])
def test_tolerance_of_two_pixels_is_the_default(offset, expected):
    truth, prediction = balls(offset)
    assert (hd95(truth, prediction), nsd(truth, prediction)) == expected


def test_empty_masks():
    some = np.zeros((3, 4, 4), dtype=bool)
    some[1, 1, 1] = True
    none = np.zeros_like(some)
    assert (hd95(none, none), nsd(none, none)) == (0.0, 1.0)
    assert (hd95(some, none), nsd(some, none)) == (None, None)
    assert (hd95(none, some), nsd(none, some)) == (None, None)


@given(pairs)
@settings(deadline=None, max_examples=30)
def test_order_and_surround_do_not_matter(pair):
    truth, prediction = pair
    wide = [np.pad(mask, 3) for mask in pair]
    for figure in (hd95, nsd):
        assert figure(truth, prediction) == figure(prediction, truth)
        assert figure(*wide) == figure(truth, prediction)


@given(pairs)
@settings(deadline=None, max_examples=30)
def test_both_figures_come_from_one_measurement(pair):
    spacing = (3.0, 0.5, 1.25)
    both = surface_figures(*pair, 1.5, spacing)
    assert both == (hd95(*pair, spacing=spacing), nsd(*pair, 1.5, spacing=spacing))


def test_each_surface_has_one_distance_map(monkeypatch):
    asked = []
    real = surface.ndimage.distance_transform_edt

    def counted(*arguments, **options):
        asked.append(arguments[0].shape)
        return real(*arguments, **options)

    monkeypatch.setattr(surface.ndimage, "distance_transform_edt", counted)
    score_patient(*balls(offset=4))
    assert len(asked) == 2
