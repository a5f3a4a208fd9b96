"""Phantom heads: tissues as the three contrasts show them, with one lesion each.

Borders are smooth functions of space, tissues are painted over one another from the scalp inwards.
Any number of slices and pixels samples the same heads.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

# Grey levels on pre-contrast T1, FLAIR and post-contrast T1, where fat is near 1.
TISSUES = {
    "fat": (0.90, 0.75, 0.85),
    "muscle": (0.42, 0.38, 0.52),
    "bone": (0.10, 0.08, 0.10),
    "fluid": (0.14, 0.08, 0.14),
    "grey matter": (0.40, 0.44, 0.43),
    "white matter": (0.53, 0.37, 0.55),
    "caps": (0.42, 0.75, 0.44),
    "vessel": (0.20, 0.15, 0.90),
    "lesion": (0.44, 0.38, 0.45),  # on FLAIR as white matter; its conspicuity is added
    "rim": (0.45, 0.60, 0.80),
    "core": (0.22, 0.20, 0.24),
}

Levels = dict[str, np.ndarray]
Grid = Sequence[np.ndarray]  # x to the left, y to the back, z upwards; broadcast together


def _field(rng: np.random.Generator, grid: Grid, wavelength: float, waves: int = 12) -> np.ndarray:
    """Smooth random function of space, mean 0 and deviation 1: a sum of waves of any direction."""
    directions = rng.normal(size=(waves, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions *= 2 * np.pi / (wavelength * rng.uniform(0.6, 1.5, (waves, 1)))
    phases = rng.uniform(0, 2 * np.pi, waves)
    total = np.zeros((), np.float32)
    for (kx, ky, kz), phase in zip(directions.tolist(), phases.tolist(), strict=True):
        total = total + np.cos(kx * grid[0] + (ky * grid[1] + (kz * grid[2] + phase)))
    return total * float(np.sqrt(2 / waves))


def _ellipsoid(grid: Grid, center: Sequence[float], axes: Sequence[float]) -> np.ndarray:
    """Margin to the surface, positive within, measured along the shortest half axis."""
    scaled = (((g - c) / a) ** 2 for g, c, a in zip(grid, center, axes, strict=True))
    return (1 - np.sqrt(sum(scaled))) * min(axes)


def _inside(margin: np.ndarray) -> np.ndarray:
    """Share of each pixel within a border, of margins in half fields of view, positive inside."""
    return np.clip(margin * (margin.shape[-1] / 2) + 0.5, 0, 1)


def _paint(images: np.ndarray, level: np.ndarray, share: np.ndarray) -> None:
    for channel, grey in enumerate(level.tolist()):
        images[..., channel] += share * (grey - images[..., channel])


def _paint_head(
    images: np.ndarray, levels: Levels, rng: np.random.Generator, grid: Grid
) -> np.ndarray:
    """Paints a healthy head; returns the share of brain tissue in each pixel."""
    x, y, z = grid
    left_right = np.abs(x)
    mirrored = (left_right, y, z)
    # A dome above the ears and a column below; the brain ends lower at the back than in front.
    width, depth = rng.uniform(0.64, 0.7), rng.uniform(0.8, 0.86)
    outline = np.hypot(x / (width * (1 + 0.12 * y)), y / depth)
    above, below = np.maximum(z, 0), np.minimum(z, 0)
    head = np.hypot(outline, above) * (1 - 0.08 * below)
    brain = np.hypot(np.hypot(outline, above / 0.98), below / (0.6 + 0.25 * y))
    _paint(images, levels["fat"], _inside((1 - head) * width))
    face = _inside((0.95 - head) * width) * (below < 0)
    texture = _field(rng, mirrored, 0.5) + _field(rng, mirrored, 0.2)
    _paint(images, levels["muscle"], face)
    _paint(images, levels["fat"], face * _inside((texture - 0.8) * 0.04))
    _paint(images, levels["bone"], face * _inside((-0.7 - texture) * 0.04))
    _paint(images, levels["fluid"], _inside(_ellipsoid(mirrored, (0.3, -0.6, -0.4), [0.13] * 3)))
    _paint(images, levels["bone"], _inside((0.94 - np.maximum(head, brain - 0.04)) * width))
    _paint(images, levels["fluid"], _inside((0.90 - brain) * width))

    cortex = _inside((0.88 - brain) * width)
    folds, sulci = _field(rng, grid, 0.25, 20), np.abs(_field(rng, grid, 0.4, 20))
    _paint(images, levels["grey matter"], cortex)
    _paint(images, levels["white matter"], _inside((0.77 + 0.05 * folds - brain) * width))
    sulci = _inside(0.018 - 0.07 * sulci) * _inside((brain - 0.68) * width)
    fissure = _inside(0.012 - left_right) * _inside(np.abs(y) - 0.3 + np.maximum(z - 0.35, 0))
    _paint(images, levels["fluid"], cortex * np.maximum(sulci, fissure * (z > -0.2)))
    vessel = _inside(_ellipsoid(grid, (0, 0.87 * depth, 0), (0.035, 0.045, 0.6)))
    _paint(images, levels["vessel"], vessel * _inside((0.94 - head) * width))

    nuclei = _ellipsoid(mirrored, (0.2, 0.05, 0.05), (0.09, 0.2, 0.2))
    _paint(images, levels["grey matter"], _inside(nuclei))
    # Bright caps on the horns of the ventricles are healthy; on FLAIR alone they look like lesions.
    front = _ellipsoid(mirrored, (0.13, -0.33, 0.14), (0.06, 0.07, 0.16))
    back = _ellipsoid(mirrored, (0.15, 0.37, 0.14), (0.05, 0.09, 0.14))
    _paint(images, levels["caps"], _inside(np.maximum(front, back)) * rng.uniform(0.4, 1))
    curved = (left_right - 0.06 - 0.5 * y**2, y, z - 0.2 + 0.35 * y**2)
    thickness = rng.uniform(0.035, 0.065)
    ventricles = _inside(_ellipsoid(curved, (0, 0.02, 0), (thickness, 0.34, 0.2)))
    _paint(images, levels["fluid"], ventricles)
    return cortex * (1 - ventricles)


def _paint_lesion(
    images: np.ndarray, levels: Levels, rng: np.random.Generator, grid: Grid, brain: np.ndarray
) -> np.ndarray:
    """Paints a ragged ellipsoid into the brain; returns its share of each pixel."""
    center = (rng.choice([-1, 1]) * rng.uniform(0.18, 0.36), *rng.uniform((-0.42, 0), (0.42, 0.5)))
    axes = rng.uniform(0.18, 0.34) * rng.uniform(0.8, 1.25, 3) * (1, 1, 1.2)
    margin = _ellipsoid(grid, center, axes.tolist())
    margin += axes.min() * (0.16 * _field(rng, grid, 0.5) + 0.05 * _field(rng, grid, 0.2))
    lesion = _inside(margin) * brain
    _paint(images, levels["lesion"], lesion)
    if rng.uniform() < 0.4:  # a dark core, with a rim that takes up contrast agent
        core = margin - axes.min() * rng.uniform(0.4, 0.6)
        _paint(images, levels["rim"], _inside(core + 0.02) * brain)
        _paint(images, levels["core"], _inside(core) * brain)
    return lesion


def _scan(images: np.ndarray, rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """What the scanner adds: partial volume, bias field, its own scale, Rician noise, 8 bits."""
    images = gaussian_filter(images, (0.3, images.shape[1] / 320, images.shape[2] / 320, 0))
    for channel in range(3):
        images[..., channel] *= np.exp(0.1 * _field(rng, grid, 2.5))
    images *= rng.uniform(110, 240, 3).astype(np.float32)
    noise = rng.uniform(2, 5) * rng.standard_normal((2, *images.shape), dtype=np.float32)
    return np.clip(np.hypot(images + noise[0], noise[1]), 0, 255).astype(np.uint8)


def make_patient(
    seed: int, number: int, slices: int, size: int
) -> tuple[np.ndarray, np.ndarray, dict[str, str | int]]:
    """Makes the slices of one phantom patient, from the neck to above the head.

    Args:
        seed: Seed of the data set.
        number: Number of the patient; the two together decide everything.
        slices: Number of slices.
        size: Height and width in pixels.

    Returns:
        Uint8 images of shape `(slices, size, size, 3)` (pre-contrast T1, FLAIR, post-contrast T1),
        boolean masks of shape `(slices, size, size)`, and the patient's row of the table.

    Example:

    >>> images, masks, row = make_patient(seed=0, number=1, slices=4, size=32)
    >>> images.shape, masks.shape, sorted(row)
    ((4, 32, 32, 3), (4, 32, 32), ['age', 'faint', 'sex'])
    """
    rng = np.random.Generator(np.random.PCG64([seed, number]))
    steps = ((np.arange(size) + 0.5) * (2 / size) - 1).astype(np.float32)
    turn, scale = rng.normal(0, 0.08), rng.uniform(0.93, 1.08)
    column, row = steps - rng.normal(0, 0.03), steps[:, None] - rng.normal(0, 0.03)
    x = (np.cos(turn) * column - np.sin(turn) * row) / scale
    y = (np.sin(turn) * column + np.cos(turn) * row) / scale
    z = np.linspace(-0.85, 1.08, slices)[:, None, None] + rng.uniform(-0.04, 0.04)
    grid = tuple(axis.astype(np.float32) for axis in (x[None], y[None], z))
    bent = tuple(axis + 0.02 * _field(rng, grid, 1.5) for axis in grid[:2]) + grid[2:]

    levels = {tissue: np.array(grey) * rng.normal(1, 0.04, 3) for tissue, grey in TISSUES.items()}
    faint = rng.uniform() < 0.25
    conspicuity = rng.uniform(0.17, 0.22) if faint else rng.uniform(0.25, 0.45)
    levels["lesion"][1] += conspicuity
    levels["fat"] *= rng.uniform(0.55, 1.1, 3)  # as suppressed as the sequence has it
    images = np.zeros((slices, size, size, 3), np.float32)
    brain = _paint_head(images, levels, rng, bent)
    masks = _paint_lesion(images, levels, rng, bent, brain) > 0.5
    images = _scan(images, rng, grid)
    facts: dict[str, str | int] = {
        "age": int(rng.integers(20, 76)),
        "sex": "FM"[rng.integers(2)],
        "faint": int(faint),
    }
    return images, masks, facts
