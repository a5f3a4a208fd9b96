"""Masks and measures against hand-made and brute-force ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agd_keras.inference.postprocess import (
    Postprocessing,
    make_mask,
    measure,
    measure_regions,
)


def test_threshold_includes_its_value():
    probability = np.array([[[0.49, 0.5, 0.51]]], np.float32)
    assert make_mask(probability).tolist() == [[[False, True, True]]]
    assert make_mask(probability, 0.51).tolist() == [[[False, False, True]]]


def _components(mask) -> list[set]:
    """Components over all 26 neighbours, by a flood fill."""
    left, found = set(map(tuple, np.argwhere(mask))), []
    while left:
        component, front = set(), [min(left)]
        left.discard(front[0])
        while front:
            voxel = front.pop()
            component.add(voxel)
            near = {one for one in left if max(np.abs(np.subtract(one, voxel))) <= 1}
            left -= near
            front += near
        found.append(component)
    return found


def test_components_hang_together_over_corners():
    """Two voxels that share a face, an edge or a corner are one component; farther ones are two."""
    for step in np.ndindex(3, 3, 3):
        if any(step):
            pair = np.zeros((3, 3, 3), bool)
            pair[0, 0, 0] = pair[step] = True
            together = max(step) == 1
            assert make_mask(pair.astype(float), min_size=2).sum() == (2 if together else 0), step


# A few voxels in a larger volume: dense ones hang together in any case.
sparse = st.sets(st.tuples(*(st.integers(0, side - 1) for side in (3, 4, 5))), max_size=12)


def as_mask(voxels):
    mask = np.zeros((3, 4, 5), bool)
    mask[tuple(np.transpose(list(voxels)))] = True
    return mask


@settings(max_examples=60, deadline=None)
@given(
    mask=sparse.filter(bool).map(as_mask) | arrays(bool, (3, 4, 5), elements=st.booleans()),
    min_size=st.integers(0, 6),
    largest=st.booleans(),
)
def test_components_against_flood_fill(mask, min_size, largest):
    components = [one for one in _components(mask) if len(one) >= min_size]
    if largest:
        components = [one for one in components if len(one) == max(map(len, components))][:1]
    found = make_mask(mask.astype(np.float32), 0.5, largest, min_size)
    assert set(map(tuple, np.argwhere(found))) == set().union(*components)


def test_largest_but_too_small_leaves_nothing():
    assert not make_mask(np.ones((1, 2, 2)), largest_component=True, min_size=5).any()


def test_measures_by_hand():
    mask = np.zeros((3, 4, 4), bool)
    mask[0, 0, 0] = mask[2, :2, :3] = True
    probability = np.where(mask, 0.6, 0.1)
    probability[0, 0, 0] = 0.95
    found = measure(mask, probability, (5.0, 0.5, 2.0))
    assert found == {
        "slices": 3,
        "slices_with_tumour": 2,
        "voxels": 7,
        "area_mm2": pytest.approx(6.0),
        "volume_mm3": pytest.approx(35.0),
        "confidence": pytest.approx((6 * 0.6 + 0.95) / 7),
    }
    assert measure(mask, probability, None)["area_mm2"] is None
    thin = measure(mask, probability, (float("nan"), 0.5, 2.0))
    assert (thin["area_mm2"], thin["volume_mm3"]) == (pytest.approx(6.0), None)
    empty = measure(np.zeros_like(mask), probability, (5.0, 0.5, 2.0))
    assert (empty["voxels"], empty["confidence"], empty["volume_mm3"]) == (0, None, 0.0)


def test_regions_are_cleaned_one_by_one_and_then_closed():
    whole = np.zeros((1, 5, 9))
    whole[0, :3, :4] = 0.9
    whole[0, 4, 8] = 0.9  # too small
    core = np.zeros_like(whole)
    core[0, 1:4, 2:5] = 0.8  # beyond the whole
    found = Postprocessing(min_size=2).mask(
        np.stack([whole, core], axis=-1), {"whole": (1, 2), "core": (1,)}
    )
    np.testing.assert_array_equal(found[..., 1], core > 0)
    expected = (core > 0) | (whole > 0)
    expected[0, 4, 8] = False
    np.testing.assert_array_equal(found[..., 0], expected)
    apart = Postprocessing(min_size=2).mask(
        np.stack([whole, core], axis=-1), {"left": (1,), "right": (2,)}
    )
    assert apart[..., 0].sum() == 12


def test_regions_are_measured_by_name():
    masks = np.zeros((2, 3, 4, 2), bool)
    masks[0, 0, :3, 0] = masks[1, 1, 1, 1] = True
    regions = {"whole": (1, 2), "core": (1,)}
    assert measure_regions(masks, (5.0, 1.0, 0.5), regions) == {
        **{"voxels_whole": 3, "volume_mm3_whole": 7.5},
        **{"voxels_core": 1, "volume_mm3_core": 2.5},
    }
    assert measure_regions(masks, None, regions)["volume_mm3_core"] is None
    assert measure_regions(masks[..., :1], None, {"core": (1,)}) == {}
