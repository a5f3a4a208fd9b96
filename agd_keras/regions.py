"""Regions: what a network finds, each the union of some labels of a label map.

They may overlap, as whole tumour, core and enhancing tumour of BraTS do. Masks and probabilities of
one region have the shape `(slices, height, width)`; those of several one axis more, a channel each.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

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
