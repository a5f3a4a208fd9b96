"""Slices side by side: the contrasts of one, or many in one contrast, with outlines of masks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agd_keras.io.image_files import FLAIR
from agd_keras.text import in_picture
from agd_keras.viz.colors import TRUTH

CONTRASTS = ("T1 before contrast", "FLAIR", "T1 after contrast")


def grey_range(plane: np.ndarray) -> tuple[float, float]:
    """Returns the values to draw as black and as white.

    Args:
        plane: Array of any shape: a slice, or several that are to be compared.

    Returns:
        The least value, and one that few pixels exceed: skull and vessels would darken the rest.

    Example:

    >>> grey_range(np.arange(201))
    (0.0, 199.0)
    """
    black, white = float(plane.min()), float(np.percentile(plane, 99.5, method="higher"))
    return black, white if white > black else black + 1


def show_slice(
    axes: Axes, plane: np.ndarray, grey: tuple[float, float] | None = None, aspect: float = 1.0
) -> None:
    """Draws one contrast of a slice in grey, without axes.

    Args:
        axes: Where to.
        plane: Array of shape `(height, width)`.
        grey: Values of black and white. Default: those of `grey_range`.
        aspect: Height of a pixel over its width.
    """
    black, white = grey or grey_range(plane)
    axes.imshow(plane, cmap="gray", vmin=black, vmax=white, interpolation="nearest", aspect=aspect)
    axes.set_axis_off()
    axes.autoscale(False)  # an outline along the rim does not widen the picture


def write_sides(axes: Axes, sides: str) -> None:
    """Writes what is on the left of a slice and on its right.

    Args:
        axes: Where the slice is drawn.
        sides: `Case.sides`; empty where they are not known, and nothing is written.
    """
    if not sides:
        return
    style: dict[str, Any] = {"va": "center", "color": "white", "fontsize": 8}
    axes.text(0.02, 0.5, sides[0], ha="left", transform=axes.transAxes, **style)
    axes.text(0.98, 0.5, sides[1], ha="right", transform=axes.transAxes, **style)


def flair_of(images: np.ndarray, dimensions: int) -> np.ndarray:
    """Returns what to show of images: FLAIR of the three contrasts, or the one that is given.

    Args:
        images: Array of so many dimensions, or of one more for the contrasts.
        dimensions: 2 for a slice, 3 for a stack of them.

    Example:

    >>> flair_of(np.zeros((8, 8, 3)), 2).shape, flair_of(np.zeros((8, 8)), 2).shape
    ((8, 8), (8, 8))
    """
    return images if images.ndim == dimensions else images[..., FLAIR]


def draw_outline(axes: Axes, mask: np.ndarray, color: str, style: str = "solid") -> None:
    """Draws the outline of a mask, along the borders of its pixels' centres.

    Args:
        axes: Where the slice is drawn.
        mask: Boolean array of shape `(height, width)`; nothing is drawn for an empty one.
        color: Its colour.
        style: Its line style.
    """
    if mask.any():  # the frame of background closes the outline of a mask that meets the border
        frame = np.pad(mask.astype(float), 1)
        grid = (np.arange(size) - 1 for size in frame.shape[::-1])
        axes.contour(*grid, frame, levels=[0.5], colors=[color], linewidths=1.3, linestyles=style)


def contrasts(image: np.ndarray, mask: np.ndarray) -> Figure:
    """Shows the three contrasts of a slice, and FLAIR again with the outline of the mask.

    Args:
        image: Array of shape `(height, width, 3)`, in grey levels or normalised.
        mask: Boolean array of shape `(height, width)`.

    Returns:
        The figure; each contrast has its own black and white.

    Example:

    >>> figure = contrasts(np.zeros((8, 8, 3), "uint8"), np.eye(8, dtype=bool))
    >>> [axes.get_title() for axes in figure.axes]
    ['T1 before contrast', 'FLAIR', 'T1 after contrast', 'FLAIR, outlined']
    """
    figure = Figure(figsize=(10.0, 2.9), layout="constrained")
    panels = figure.subplots(1, len(CONTRASTS) + 1)
    places = (*range(len(CONTRASTS)), FLAIR)
    for axes, place, title in zip(panels, places, (*CONTRASTS, "FLAIR, outlined"), strict=True):
        show_slice(axes, image[..., place])
        axes.set_title(title, fontsize=9)
    draw_outline(panels[-1], mask, TRUTH)
    return figure


def montage(
    images: np.ndarray,
    masks: np.ndarray,
    titles: Sequence[str] = (),
    columns: int = 6,
    channel: int = FLAIR,
) -> Figure:
    """Shows many slices in one contrast, with the outlines of their masks.

    Args:
        images: Array of shape `(slices, height, width, 3)`, in grey levels or normalised.
        masks: Boolean array of shape `(slices, height, width)`.
        titles: One for each slice. Default: none.
        columns: Slices in a row.
        channel: The contrast, from 0.

    Returns:
        The figure. Black and white are the same for all, so that their intensities compare.

    Example:

    >>> figure = montage(np.zeros((3, 8, 8, 3)), np.zeros((3, 8, 8), bool), columns=2)
    >>> sum(axes.get_visible() for axes in figure.axes)
    3
    """
    planes = images[..., channel]
    grey = grey_range(planes)
    rows = -(-len(planes) // columns)
    # Without `layout`: constrained layouts of many panels take seconds.
    figure = Figure(figsize=(1.7 * columns, (1.7 + 0.3 * bool(titles)) * rows))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(planes) :]:
        axes.set_visible(False)
    for place, (axes, plane, mask) in enumerate(zip(panels, planes, masks, strict=False)):
        show_slice(axes, plane, grey)
        draw_outline(axes, mask, TRUTH)
        if titles:
            axes.set_title(in_picture(titles[place]), fontsize=8)
    figure.subplots_adjust(0, 0, 1, 0.9 if titles else 1, wspace=0.03, hspace=0.18 * bool(titles))
    return figure
