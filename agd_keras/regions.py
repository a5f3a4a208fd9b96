"""Regions: what a network finds, each the union of some labels of a label map.

They may overlap, as whole tumour, core and enhancing tumour of BraTS do. Masks and probabilities of
one region have the shape `(slices, height, width)`; those of several one axis more, a channel each.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from agd_keras.errors import InputError

# By name its labels, in the order of the channels; of no region that of all labels above 0.
Regions = Mapping[str, tuple[int, ...]]

FROM_DATA = "dataset"  # in place of regions: those that `dataset.json` names
LARGEST = 255  # label that an 8-bit label map can hold
MOST = 7  # beside the brain in the bits of a cached mask
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


def parse_regions(given: Any) -> dict[str, tuple[int, ...]]:
    """Reads regions as a config or a command line names them.

    Args:
        given: Labels by name, or texts such as `core=1,4`.

    Returns:
        The labels of each region, ascending, in the order given.

    Raises:
        InputError: A name or a label cannot be one, or two regions are the same.

    Example:

    >>> parse_regions(["whole=1,2,4", "core=4,1"])
    {'whole': (1, 2, 4), 'core': (1, 4)}
    """
    if isinstance(given, list | tuple) and all(isinstance(one, str) for one in given):
        pairs = [one.partition("=")[::2] for one in given]
    elif isinstance(given, Mapping):
        pairs = [(str(name), values) for name, values in given.items()]
    else:
        raise InputError(f"{given!r}: expected NAME=LABEL,… for each region, as core=1,4")
    regions: dict[str, tuple[int, ...]] = {}
    for name, values in pairs:
        labels = _labels(name, values)
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r}: expected a name of letters, digits, - and _, at most 40")
        if name in regions:
            raise InputError(f"{name}: stands twice")
        for other, own in regions.items():
            if own == labels:
                raise InputError(f"{name}: the same labels as {other}")
        regions[name] = labels
    if len(regions) > MOST:
        raise InputError(f"{len(regions)} regions, expected at most {MOST}")
    return regions


def _labels(name: str, values: Any) -> tuple[int, ...]:
    listed = values.split(",") if isinstance(values, str) else values
    listed = listed if isinstance(listed, list | tuple) else [listed]
    try:
        labels = {int(one) if isinstance(one, str) else one for one in listed}
    except ValueError:
        labels = set()
    whole = all(type(one) is int and 0 < one <= LARGEST for one in labels)
    if not labels or not whole:
        expected = f"labels from 1 to {LARGEST}, as core=1,4"
        raise InputError(f"{name}: expected {expected}, received {values!r}")
    return tuple(sorted(labels))


def names_of(regions: Regions) -> tuple[str, ...]:
    """Names the regions where there are several, and so an axis for them.

    Example:

    >>> names_of({"whole": (1, 2), "core": (1,)}), names_of({"core": (1,)}), names_of({})
    (('whole', 'core'), (), ())
    """
    return tuple(regions) if len(regions) > 1 else ()


def masks_of(labels: np.ndarray, regions: Regions) -> np.ndarray:
    """Makes masks of a label map.

    Args:
        labels: Integer array of shape `(slices, height, width)`.
        regions: Labels by name.

    Returns:
        Boolean array of that shape, with an axis for the regions where there are several.

    Example:

    >>> labels = np.array([[[0, 1, 2, 4]]])
    >>> masks_of(labels, {"whole": (1, 2, 4), "core": (1, 4)})[0, 0].astype(int).tolist()
    [[0, 0], [1, 1], [1, 0], [1, 1]]
    """
    masks = [np.isin(labels, values) for values in regions.values()]
    if len(masks) > 1:
        return np.stack(masks, axis=-1)
    return masks[0] if masks else labels > 0


def by_region(array: np.ndarray) -> np.ndarray:
    """Gives masks or probabilities of a case an axis for the regions if they have none.

    Example:

    >>> by_region(np.zeros((5, 4, 3))).shape, by_region(np.zeros((5, 4, 3, 2))).shape
    ((5, 4, 3, 1), (5, 4, 3, 2))
    """
    return array if array.ndim == 4 else array[..., None]


def drop_axis(array: np.ndarray) -> np.ndarray:
    """Takes the axis of the regions, the last one, from an array of a single one.

    Example:

    >>> drop_axis(np.zeros((5, 4, 3, 1))).shape, drop_axis(np.zeros((5, 4, 3, 2))).shape
    ((5, 4, 3), (5, 4, 3, 2))
    """
    return array[..., 0] if array.shape[-1] == 1 else array


def first(array: np.ndarray) -> np.ndarray:
    """Returns the masks or probabilities of the first region, `(slices, height, width)`."""
    return by_region(array)[..., 0]


def union(array: np.ndarray) -> np.ndarray:
    """Returns where any region is, or the highest of their probabilities.

    Example:

    >>> union(np.array([[[[True, False], [False, False]]]])).tolist()
    [[[True, False]]]
    """
    return array.max(axis=-1) if array.ndim == 4 else array


def nesting(regions: Regions) -> tuple[int, ...]:
    """Orders regions from the outermost to the innermost, if each holds the next one whole.

    Returns:
        Their places; none where there are fewer than two, or two of which neither holds the other.

    Example:

    >>> nesting({"core": (1, 4), "whole": (1, 2, 4)}), nesting({"edema": (2,), "core": (1,)})
    ((1, 0), ())
    """
    values = [set(own) for own in regions.values()]
    order = sorted(range(len(values)), key=lambda place: -len(values[place]))
    pairs = pairwise(order)
    if len(order) < 2 or not all(values[inner] < values[outer] for outer, inner in pairs):
        return ()
    return tuple(order)


def close_masks(masks: np.ndarray, regions: Regions) -> np.ndarray:
    """Adds to each region what was found of those that it holds by its labels.

    Args:
        masks: Boolean array of shape `(slices, height, width, regions)`.
        regions: Labels by name.

    Returns:
        The masks; the same ones where no region holds another.

    Example:

    >>> masks = np.array([[[[False, True], [True, False]]]])
    >>> close_masks(masks, {"whole": (1, 2), "core": (1,)})[0, 0].astype(int).tolist()
    [[1, 1], [1, 0]]
    """
    values = [set(own) for own in regions.values()]
    closed = [
        np.any([masks[..., inner] for inner, own in enumerate(values) if own <= outer], axis=0)
        for outer in values
    ]
    return np.stack(closed, axis=-1)


def label_map(masks: np.ndarray, regions: Regions, order: Sequence[int]) -> np.ndarray:
    """Makes one label map of nested masks: BraTS' own labels of BraTS' own regions.

    Args:
        masks: Boolean array of shape `(slices, height, width, regions)`.
        regions: Labels by name.
        order: What `nesting` returned.

    Returns:
        Uint8 array of shape `(slices, height, width)`: at each voxel the least label of the
        innermost region there that is in none further inwards.

    Example:

    >>> regions = {"whole": (1, 2, 4), "core": (1, 4), "enhancing": (4,)}
    >>> masks = np.array([[[[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]]], bool)
    >>> label_map(masks, regions, nesting(regions)).tolist()
    [[[0, 2, 1, 4]]]
    """
    values = [set(own) for own in regions.values()]
    labels = np.zeros(masks.shape[:3], np.uint8)
    inner = [*order[1:], None]
    for place, within in zip(order, inner, strict=True):
        own = values[place] - (values[within] if within is not None else set())
        labels[masks[..., place]] = min(own)
    return labels
