"""What the scan of a person looks like, in numbers that outlive renaming and conversion."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import find_objects

from agd_keras.io.case import Case
from agd_keras.io.geometry import turn

GRID = 8  # cells each way: a slice is 64 bits, of which no picture can be made
LEVELS = 256  # of brightness, before cells are compared
SAMPLE = 100_000  # voxels that tell the levels
SIDE = 96  # pixels that are enough for the cells
# Below, scans tell too little: at the top all heads look alike, and so may slices of one region.
FEWEST, SHARE = 8, 0.6
# By `benchmarks/likeness.py`: of all pairs of the 75 LGG patients the most alike have 0.81; a scan
# has 1 under another scale, mostly 0.92 and more under a gamma or without its end slices.
SAME = 0.88


def describe_likeness(case: Case) -> list[str]:
    """Describes the FLAIR of a case coarsely, by what no change of format or contrast touches.

    Each axial slice with much tissue is cut to its tissue and laid into 8x8 cells, of which the
    brighter half are ones. Brightness counts by rank alone. Other slices, what lies around the
    head, names and numeric types do not matter, and the orientation is settled as a case is read.

    Args:
        case: What `read_case` returned.

    Returns:
        16 hexadecimal digits a slice, from the lowest on; none of a scan without contrast.

    Example:

    >>> from agd_keras.data.phantom import ensure_phantom
    >>> from agd_keras.io.discovery import find_cases, read_case
    >>> source = find_cases([ensure_phantom(patients=2, slices=2, size=32)])[0]
    >>> {len(one) for one in describe_likeness(read_case(source))}
    {16}
    """
    flair = _cut(np.asarray(turn(case.flair, case.plane), np.float32))
    if not flair.size:
        return []
    sample = flair.ravel()[:: max(1, flair.size // SAMPLE)]
    levels = np.quantile(sample, np.linspace(0, 1, LEVELS + 1))
    ranks = np.searchsorted(levels, flair).astype(np.float32)
    tissue = flair > flair.mean(dtype=np.float64)
    areas = tissue.sum(axis=(1, 2))
    described = []
    for place in np.flatnonzero(areas >= areas.max() / 2):
        cells = _cells(ranks[place][_window(tissue[place])])
        described.append(np.packbits(cells > np.median(cells)).tobytes().hex())
    return described


def _cut(flair: np.ndarray) -> np.ndarray:
    """The stack without what is empty around it, which would move its mean, and coarser."""
    low, high = float(flair.min()), float(flair.max())
    if not low < high:
        return flair[:0]
    [window] = find_objects((flair > low + 0.01 * (high - low)).astype(np.uint8))
    flair = flair[window]
    step = max(1, min(flair.shape[1:]) // SIDE)
    return flair[:, ::step, ::step]


def _window(tissue: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns with tissue, but for single pixels outside of the head."""
    found = []
    for axis in (1, 0):
        counts = tissue.sum(axis=axis)
        inside = np.flatnonzero(counts >= counts.max() / 10)
        found.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return found[0], found[1]


def _cells(plane: np.ndarray) -> np.ndarray:
    """Sums over a grid of cells; a pixel on the edge of two counts by its shares."""
    for _ in range(2):  # rows, then columns
        edges = np.linspace(0, len(plane), GRID + 1)
        sums = np.vstack([np.zeros(plane.shape[1]), np.cumsum(plane, axis=0, dtype=np.float64)])
        whole = np.minimum(edges.astype(int), len(plane) - 1)
        at = sums[whole] + (edges - whole)[:, None] * (sums[whole + 1] - sums[whole])
        plane = np.diff(at, axis=0).T
    return plane


def similarity(one: Sequence[str], other: Sequence[str]) -> float:
    """Compares two scans by what `describe_likeness` says of them.

    Args:
        one: A scan.
        other: Another.

    Returns:
        Share of bits that agree, in the best pairing of slices that keeps their order, from -1
        (none) over 0 (half, as chance has it) to 1 (all); `SAME` and more is one scan. -1 where
        one has too few slices to tell.

    Example:

    >>> scan = [f"{2**place:016x}" for place in range(20)]
    >>> similarity(scan, scan[2:-2]), similarity(scan, scan[:4])
    (1.0, -1.0)
    """
    short, long = sorted((_signs(one), _signs(other)), key=len)
    if len(short) < max(FEWEST, SHARE * len(long)):
        return -1.0
    total = np.zeros(len(long) + 1)
    for agreement in short @ long.T / GRID**2:
        # Each slice goes with one behind that of the slice before.
        total = np.append(-np.inf, np.maximum.accumulate(total[:-1] + agreement))
    return float(total.max() / len(short))


def _signs(described: Sequence[str]) -> np.ndarray:
    bits = np.frombuffer(bytes.fromhex("".join(described)), np.uint8).reshape(-1, GRID)
    return np.unpackbits(bits, axis=1).astype(np.float32) * 2 - 1
