"""Slices side by side: the right contrast, one grey scale, outlines where masks are."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from agd_keras.viz.montage import contrasts, grey_range, montage


def stack(count):
    """Slices whose channels and slices can be told apart, with a square of tumour in each."""
    images = np.arange(count * 20 * 30 * 3, dtype=np.float32).reshape(count, 20, 30, 3)
    masks = np.zeros((count, 20, 30), dtype=bool)
    masks[:, 5:9, 10:20] = True
    return images, masks


def outline_of(axes):
    (contour,) = axes.collections
    points = contour.get_paths()[0].vertices
    return (*points.min(axis=0), *points.max(axis=0))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(1001), (0, 995)),  # one in two hundred is brighter than white
        (np.r_[np.zeros(999), 7], (0, 1)),
        (np.full(4, -2.5), (-2.5, -1.5)),
    ],
)
def test_grey_range(values, expected):
    assert grey_range(values) == expected


def test_contrasts_show_each_channel_in_its_own_grey():
    images, masks = stack(1)
    figure = contrasts(images[0], masks[0])
    for axes, channel in zip(figure.axes, (0, 1, 2, 1), strict=True):
        (shown,) = axes.images
        np.testing.assert_array_equal(shown.get_array(), images[0, ..., channel])
        assert shown.get_clim() == grey_range(images[0, ..., channel])
        assert axes.get_aspect() == 1.0
    assert [len(axes.collections) for axes in figure.axes] == [0, 0, 0, 1]
    assert outline_of(figure.axes[-1]) == (9.5, 4.5, 19.5, 8.5)
    FigureCanvasAgg(figure).draw()


def test_montage_has_one_grey_scale():
    images, masks = stack(5)
    masks[2] = False
    figure = montage(images, masks, [f"slice {n}" for n in range(5)], columns=3, channel=2)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(figure.axes) == 6
    assert len(panels) == 5
    assert {axes.images[0].get_clim() for axes in panels} == {grey_range(images[..., 2])}
    for place, axes in enumerate(panels):
        np.testing.assert_array_equal(axes.images[0].get_array(), images[place, ..., 2])
        assert axes.get_title() == f"slice {place}"
        assert len(axes.collections) == masks[place].any()
    FigureCanvasAgg(figure).draw()


def test_montage_keeps_proportions():
    images, masks = stack(2)
    figure = montage(images, masks)
    FigureCanvasAgg(figure).draw()
    box = figure.axes[0].get_window_extent()
    assert box.width / box.height == pytest.approx(30 / 20, rel=1e-3)
