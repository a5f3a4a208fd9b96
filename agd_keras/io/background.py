"""Where the air of a volume lies, if not at its lowest values, and how it is brought there.

Tissue is told from air by being brighter (see `preprocess`). Pipelines that scale a brain to mean 0
and cut it out leave around it what may lie anywhere: not-a-number, infinity, or a constant such as
0, in the middle of the tissue. Both are taken for air here, and get the lowest value of all else.
"""

import numpy as np

# A power of two, so that exported graphs can have it too. Beyond, sums overflow in float32.
LIMIT = 2.0**60
BORDER = (9, 10)  # the share of the border that air has. In 8 bits, noise around one grey has less
SHARE = 4  # air is at least one voxel in so many,
DARKER = 1000  # one in so many others is darker,
MUCH = 20  # of a border that is dark, at most one voxel in so many is darker
SAMPLE = 2**17  # voxels that tell
AWAY = 8  # and away from it by at least one in so many parts of what brighter ones are


def finite(values: np.ndarray) -> np.ndarray:
    """Tells which values are numbers that can be reckoned with.

    Args:
        values: Array of any shape and real type.

    Returns:
        Boolean array of that shape: finite, and below `LIMIT`.

    Example:

    >>> finite(np.array([1, np.nan, -np.inf, 3e38])).tolist()
    [True, False, False, False]
    """
    if values.dtype.kind != "f":
        return np.ones(values.shape, bool)
    with np.errstate(invalid="ignore"):
        return np.abs(values) < LIMIT


def border(planes: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray:
    """Returns the outermost pixels of slices, corners twice.

    Args:
        planes: Array of shape `(slices, height, width)`.
        inside: Of the same shape, of the smallest box whose border is wanted; the whole slices if
            not given.

    Example:

    >>> border(np.arange(9).reshape(1, 3, 3)).tolist()
    [0, 1, 2, 6, 7, 8, 0, 3, 6, 2, 5, 8]
    """
    top, bottom = _ends(inside, (0, 2))
    left, right = _ends(inside, (0, 1))
    sides = (planes[:, top], planes[:, bottom], planes[:, :, left], planes[:, :, right])
    return np.concatenate(sides, axis=1).ravel()


def _ends(inside: np.ndarray | None, axes: tuple[int, int]) -> tuple[int, int]:
    places = np.flatnonzero(inside.any(axis=axes)) if inside is not None else np.empty(0)
    return (int(places[0]), int(places[-1])) if len(places) else (0, -1)


def find_air(planes: np.ndarray, known: np.ndarray) -> float | None:
    """Finds the one value of the air that lies among those of the tissue, if there is one.

    What is at the lowest value already, such as a frame, is left out. Of the border of the rest,
    nine tenths have that value; so has at least a quarter of all; and some of what is not air is
    darker, by a distance that counts beside the distance to what is brighter, unlike noise in dark
    air and the undershoot of a resampled edge.

    Args:
        planes: One channel, `(slices, height, width)`.
        known: Its finite values, at least one.

    Returns:
        The value; None if the air is at the lowest values, or cannot be told.

    Example:

    >>> planes = np.zeros((1, 5, 5))
    >>> planes[0, 2, 1:4] = -1, 2, 1
    >>> find_air(planes, planes.ravel())
    0.0
    """
    lowest = known.min()
    usable = finite(planes)
    usable &= planes > lowest
    edge = border(planes, usable)
    edge = edge[finite(edge) & (edge > lowest)]
    if not edge.size:
        return None
    middle = (edge.size - 1) // 2
    air = np.partition(edge, middle)[middle]  # the median is what more than half have
    if BORDER[1] * np.count_nonzero(edge == air) < BORDER[0] * edge.size:
        return None
    rest = known[known != air]
    if SHARE * (known.size - rest.size) < known.size or rest.min() == rest.max():
        return None
    away = rest.astype(np.float64) - float(air)
    darker, brighter = np.count_nonzero(away < 0), np.count_nonzero(away > 0)
    below, above = -away[away < 0].sum(), away[away > 0].sum()
    among = DARKER * darker >= rest.size and AWAY * below * brighter >= above * darker
    return float(air) if among else None


def settle_background(planes: np.ndarray) -> tuple[np.ndarray, float | None]:
    """Brings what is no tissue to the lowest value of a channel.

    Args:
        planes: One channel of all slices of a patient, `(slices, height, width)`.

    Returns:
        The same array if nothing is to be done, as in all images whose air is dark; else a copy in
        which the air, and what is not finite, have the lowest of the other values (0 where there
        are none). And the value that the air had, if it was one among those of the tissue.

    Example:

    >>> planes, air = settle_background(np.array([[[np.nan, -2, 3]]], "float32"))
    >>> planes.ravel().tolist(), air
    ([-2.0, -2.0, 3.0], None)
    """
    usable = finite(planes)
    whole = usable.all()
    known = planes.ravel() if whole else planes[usable]
    if not known.size:
        return np.zeros_like(planes), None
    air = find_air(planes, known)
    if whole and air is None:
        return planes, None
    if air is not None:
        usable &= planes != air
    return np.where(usable, planes, planes[usable].min()), air


def is_dark_around(planes: np.ndarray) -> bool:
    """Tells whether the border of the slices is dark, as it is around a head.

    It is not darker than the mean; nor, where it is nearly of one value, is much else darker than
    it, by what counts beside the brightest: so lies air that is noise amid the values of tissue.

    Args:
        planes: One channel whose background is settled, `(slices, height, width)`.

    Returns:
        True also for a constant, which has neither air nor tissue.

    Example:

    >>> is_dark_around(np.pad(np.ones((1, 2, 2)), 1))
    True
    """
    low, level, high = np.quantile(border(planes), (0.25, 0.5, 0.75)).tolist()
    if level > planes.mean(dtype=np.float64):
        return False
    sample = planes.ravel()[:: max(1, planes.size // SAMPLE)]
    away = (float(np.quantile(sample, 0.99)) - level) / AWAY
    amid = high - low < away and np.count_nonzero(sample < level - away) * MUCH > sample.size
    return not amid
