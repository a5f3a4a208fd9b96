"""Regions: read from configs and command lines, made of label maps and written back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from agd_keras.config import make_config
from agd_keras.errors import InputError
from agd_keras.region_masks import close_masks, first, label_map, masks_of, union
from agd_keras.regions import names_of, nesting, parse_regions

BRATS = {"whole": (1, 2, 4), "core": (1, 4), "enhancing": (4,)}
LABELS = arrays.arrays(np.uint8, (2, 3, 4), elements=st.sampled_from([0, 1, 2, 4]))
MASKS = arrays.arrays(bool, (2, 3, 4, 3))


@pytest.mark.parametrize(
    "given_as",
    [["whole=1,2,4", "core=4,1", "enhancing=4"], {"whole": [4, 2, 1], "core": "1,4"} | BRATS],
)
def test_regions_of_the_command_line_and_of_files(given_as):
    assert list(parse_regions(given_as).items()) == list(BRATS.items())
    assert make_config({"data": {"regions": given_as}}).data.regions == BRATS


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (["core"], "core: expected labels from 1 to 255, as core=1,4, received ''"),
        (["core=1,x"], "core: expected labels"),
        (["core=0"], "core: expected labels"),
        (["core=256"], "core: expected labels"),
        ({"core": [1.5]}, "core: expected labels"),
        ({"core": True}, "core: expected labels"),
        ({"core": []}, "core: expected labels"),
        (["../core=1"], "expected a name of letters"),
        (["core=1", "core=2"], "core: stands twice"),
        (["core=1,2", "whole=2,1"], "whole: the same labels as core"),
        ([f"r{n}={n + 1}" for n in range(8)], "8 regions, expected at most 7"),
        (3, "3: expected NAME=LABEL"),
    ],
)
def test_bad_regions_are_refused_in_one_line(regions, message):
    with pytest.raises(InputError, match=f"^data.regions: .*{message}") as error:
        make_config({"data": {"regions": regions}})
    assert "\n" not in str(error.value)


def test_names_are_those_of_several():
    assert names_of(BRATS) == ("whole", "core", "enhancing")
    assert names_of({}) == names_of({"core": (1,)}) == ()


@given(LABELS)
def test_masks_of_a_label_map_and_back(labels):
    masks = masks_of(labels, BRATS)
    for place, values in enumerate(BRATS.values()):
        expected = np.array([value in values for value in labels.ravel().tolist()])
        np.testing.assert_array_equal(masks[..., place].ravel(), expected)
    np.testing.assert_array_equal(label_map(masks, BRATS, nesting(BRATS)), labels)
    np.testing.assert_array_equal(union(masks), labels > 0)
    np.testing.assert_array_equal(first(masks), labels > 0)
    np.testing.assert_array_equal(masks_of(labels, {"core": (1, 4)}), masks[..., 1])
    np.testing.assert_array_equal(masks_of(labels, {}), labels > 0)
    np.testing.assert_array_equal(close_masks(masks, BRATS), masks)


@given(MASKS)
def test_a_label_map_tells_the_closed_masks(masks):
    closed = close_masks(masks, BRATS)
    whole, core, enhancing = np.moveaxis(masks, -1, 0)
    expected = [whole | core | enhancing, core | enhancing, enhancing]
    np.testing.assert_array_equal(closed, np.stack(expected, axis=-1))
    for stack in (masks, closed):
        np.testing.assert_array_equal(
            masks_of(label_map(stack, BRATS, nesting(BRATS)), BRATS), closed
        )


def test_regions_side_by_side_are_not_nested():
    assert nesting({"core": (1, 4), "whole": (1, 2, 4)}) == (1, 0)
    for regions in (
        {},
        {"a": (1,)},
        {"a": (1,), "b": (2,)},
        {"a": (1, 2, 4), "b": (1,), "c": (4,)},
    ):
        assert nesting(regions) == ()
    masks = np.zeros((1, 1, 2, 2), bool)
    masks[..., 0, 0] = True
    apart = {"a": (1,), "b": (2,)}
    np.testing.assert_array_equal(close_masks(masks, apart), masks)
