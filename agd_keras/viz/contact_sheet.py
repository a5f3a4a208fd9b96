"""One slice of each case of a data set, to see at a glance whether it is what it should be."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from agd_keras.text import in_picture
from agd_keras.viz.colors import TRUTH
from agd_keras.viz.montage import draw_outline, show_slice

COLUMNS, ROWS = 6, 5


@dataclass(frozen=True)
class Thumbnail:
    """One slice of a case.

    Args:
        lines: What stands above it.
        plane: Array of shape `(height, width)`.
        mask: Boolean array of the same shape.
        aspect: Height of a pixel over its width.
        sides: `Case.sides`.
    """

    lines: tuple[str, ...]
    plane: np.ndarray
    mask: np.ndarray
    aspect: float = 1.0
    sides: str = "RL"


def contact_sheet(thumbnails: Sequence[Thumbnail]) -> Figure:
    """Draws slices of cases side by side, each with its outline and its sides marked.

    Args:
        thumbnails: At most `COLUMNS * ROWS`. Each has its own black and white.

    Returns:
        The figure. R and L are the patient's, with a question mark where the source is silent.

    Example:

    >>> blank = Thumbnail(("case a",), np.zeros((8, 8)), np.eye(8, dtype=bool))
    >>> figure = contact_sheet([blank, blank])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['R', 'L']
    """
    columns = min(COLUMNS, len(thumbnails))
    rows = -(-len(thumbnails) // columns)
    figure = Figure(figsize=(2.2 * columns, 2.6 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(thumbnails) :]:
        axes.set_visible(False)
    for axes, one in zip(panels, thumbnails, strict=False):
        show_slice(axes, one.plane, aspect=one.aspect)
        draw_outline(axes, one.mask, TRUTH)
        axes.set_title("\n".join(map(in_picture, one.lines)), fontsize=7)
        for place, side, letter in ((0.02, "left", 0), (0.98, "right", 1)):
            axes.text(
                *(place, 0.5, one.sides[letter] if one.sides else ("R?", "L?")[letter]),
                transform=axes.transAxes,
                color="white",
                fontsize=8,
                ha=side,
                va="center",
            )
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.4 / (2.6 * rows), wspace=0.04, hspace=0.2)
    return figure
