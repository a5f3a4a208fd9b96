"""Masks and probabilities by region, see `regions`: apart from it, as only these need NumPy."""

from collections.abc import Sequence

import numpy as np

from agd_keras.regions import Regions


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

    Args:
        array: Array of shape `(slices, height, width)` or `(slices, height, width, regions)`.

    Returns:
        Array of shape `(slices, height, width, regions)`, of the same type.

    Example:

    >>> by_region(np.zeros((5, 4, 3))).shape, by_region(np.zeros((5, 4, 3, 2))).shape
    ((5, 4, 3, 1), (5, 4, 3, 2))
    """
    return array if array.ndim == 4 else array[..., None]


def drop_axis(array: np.ndarray) -> np.ndarray:
    """Takes the axis of the regions, the last one, from an array of a single one.

    Args:
        array: Array of shape `(slices, height, width, regions)`.

    Returns:
        Array of shape `(slices, height, width)` of one region, the same array of several.

    Example:

    >>> drop_axis(np.zeros((5, 4, 3, 1))).shape, drop_axis(np.zeros((5, 4, 3, 2))).shape
    ((5, 4, 3), (5, 4, 3, 2))
    """
    return array[..., 0] if array.shape[-1] == 1 else array


def first(array: np.ndarray) -> np.ndarray:
    """Returns the masks or probabilities of the first region.

    Args:
        array: Array of shape `(slices, height, width)` or `(slices, height, width, regions)`.

    Returns:
        Array of shape `(slices, height, width)`, of the same type.

    Example:

    >>> first(np.array([[[[1, 0], [0, 1]]]])).tolist()
    [[[1, 0]]]
    """
    return by_region(array)[..., 0]


def union(array: np.ndarray) -> np.ndarray:
    """Returns where any region is, or the highest of their probabilities.

    Args:
        array: Boolean masks or probabilities from 0 to 1, of shape `(slices, height, width)` or
            `(slices, height, width, regions)`.

    Returns:
        Array of shape `(slices, height, width)`, of the same type.

    Example:

    >>> union(np.array([[[[True, False], [False, False]]]])).tolist()
    [[[True, False]]]
    """
    return array.max(axis=-1) if array.ndim == 4 else array


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

    >>> from agd_keras.regions import nesting
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
