"""Slices to look at: outlines of truth and prediction, maps of probability and attention."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agd_keras.evaluation.evaluate import Predict, check_probability
from agd_keras.io.case import Case
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.labels import read_labelled
from agd_keras.region_masks import first
from agd_keras.text import clean, in_picture
from agd_keras.viz.animation import scroll
from agd_keras.viz.colors import OVERLAY, PREDICTION, TRUTH
from agd_keras.viz.montage import draw_outline, flair_of, show_slice, write_sides

RANKS = ("best", "median", "worst")


@dataclass(frozen=True)
class Shown:
    """One slice to look at.

    Args:
        title: Line above the picture.
        image: Array of shape `(height, width)`, or of the three contrasts.
        truth: Boolean array of shape `(height, width)`.
        prediction: Boolean array of the same shape.
        maps: Maps to lay over the slice, as `maps` takes them.
        rank: Which of `RANKS` its patient is, if any.
        film: All slices of its patient that were scored, as `scroll` shows them.
        number: Number of the slice.
        sides: `Case.sides`.
        aspect: `Case.aspect`.
    """

    title: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    rank: str | None = None
    film: bytes = b""
    number: int | None = None
    sides: str = ""
    aspect: float = 1.0


def pick_cases(
    predict: Predict,
    cases: Iterable[CaseRef],
    metrics: dict[str, Any],
    scored: Mapping[str, Sequence[int]] | None = None,
    explain: Callable[[Case, int], Mapping[str, np.ndarray]] | None = None,
    make_mask: Callable[[np.ndarray], np.ndarray] | None = None,
) -> list[Shown]:
    """Takes the best, the median and the worst patient, each at the slice with most tumour.

    Only these patients are predicted again, so that an evaluation need not keep any image.

    Args:
        predict: The function given to `evaluate`.
        cases: The cases given to `evaluate`.
        metrics: What `evaluate` returned.
        scored: The `scored` given to `evaluate`.
        explain: Function of a case and the place of one of its slices that returns the maps to lay
            over it.
        make_mask: The `make_mask` given to `evaluate`.

    Returns:
        Up to three cases, of patients that have tumour, best first; none if no patient has. Of
        several regions it is the first that counts and is shown.
    """
    entries = metrics["subjects"]
    ranked = sorted(
        (patient for patient in entries if entries[patient]["voxels_true"]),
        key=lambda patient: entries[patient]["dice"],
        reverse=True,
    )
    if not ranked:
        return []
    chosen = (ranked[0], ranked[len(ranked) // 2], ranked[-1])
    median = metrics["subject"]["median_dice"]
    refs = {ref.case_id: ref for ref in cases}
    shown: dict[str, Shown] = {}
    for rank, patient in zip(RANKS, chosen, strict=True):
        if patient in shown:
            continue
        case, truths = read_labelled(refs[patient])
        probability = check_probability(predict(case), truths.shape)
        masks = make_mask(probability) if make_mask else probability >= metrics["threshold"]
        truth, prediction = first(truths), first(masks)
        places = list(range(len(truth)) if scored is None else scored[patient])
        i = max(places, key=lambda place: truth[place].sum())
        numbers = refs[patient].numbers or range(1, len(truth) + 1)
        number, seen = numbers[i], (case.sides, case.aspect)
        dice, named = entries[patient]["dice"], clean(patient, 40)
        # Of an even number the median lies between two patients, of whom this is the lower one.
        apart = rank == "median" and f"{dice:.3f}" != f"{median:.3f}"
        beside = f", next to {median:.3f}" if apart else ""
        title = f"{rank.capitalize()}: Dice {dice:.3f}{beside}\n{named}, slice {number}"
        maps = explain(case, i) if explain else {}
        film = scroll(
            *(case.flair[places], truth[places], prediction[places]),
            numbers=[numbers[place] for place in places],
            sides=case.sides,
            aspect=case.aspect,
        )
        shown[patient] = Shown(
            *(title, case.flair[i], truth[i], prediction[i], maps, rank, film, number, *seen)
        )
    return list(shown.values())


def cases(chosen: Sequence[Shown]) -> Figure:
    """Shows cases side by side: FLAIR alone above, with the outlines of both masks below.

    Args:
        chosen: At least one case, such as `pick_cases` returns.

    Returns:
        The figure.

    Example:

    >>> blank = np.zeros((8, 8), dtype=bool)
    >>> len(cases([Shown("Empty", np.zeros((8, 8, 3), "uint8"), blank, blank)]).axes)
    2
    """
    figure = Figure(figsize=(3.2 * len(chosen), 7.0), layout="constrained")
    grid = figure.subplots(2, len(chosen), squeeze=False)
    for case, (plain, outlined) in zip(chosen, grid.T, strict=True):
        show_slice(plain, flair_of(case.image, 2), aspect=case.aspect)
        plain.set_title(case.title, fontsize=9, parse_math=False)
        show_slice(outlined, flair_of(case.image, 2), aspect=case.aspect)
        draw_outline(outlined, case.truth, TRUTH)
        draw_outline(outlined, case.prediction, PREDICTION, "dashed")
        write_sides(plain, case.sides)
        write_sides(outlined, case.sides)
    figure.legend(
        handles=[
            Line2D([], [], color=TRUTH, label="truth"),
            Line2D([], [], color=PREDICTION, linestyle="dashed", label="prediction"),
        ],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    return figure


def maps(
    image: np.ndarray,
    named: Mapping[str, np.ndarray],
    label: str = "probability or attention (0 to 1)",
    aspect: float = 1.0,
    number: int | None = None,
    sides: str = "",
) -> Figure:
    """Lays maps over the FLAIR slice: probability of tumour and edge, attention, uncertainty.

    Args:
        image: Array of shape `(height, width)`, or of the three contrasts.
        named: For each panel its title and a float array, values 0 to 1, of any height and width:
            it is stretched over the slice.
        label: What the values are, and their unit, for the colour bar.
        aspect: Height of a pixel over its width.
        number: Number of the slice.
        sides: `Case.sides`.

    Returns:
        The figure, with one colour bar from 0 to 1.

    Example:

    >>> figure = maps(np.zeros((8, 8, 3), "uint8"), {"edge": np.eye(4)})
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['FLAIR', 'edge']
    """
    height, width = image.shape[:2]
    figure = Figure(figsize=(2.2 * (len(named) + 1) + 0.6, 2.7), layout="constrained")
    panels = figure.subplots(1, len(named) + 1, squeeze=False)[0]
    plain = "FLAIR" if number is None else f"FLAIR, slice {number}"
    for axes, title in zip(panels, (plain, *named), strict=True):
        show_slice(axes, flair_of(image, 2), aspect=aspect)
        write_sides(axes, sides)
        axes.set_title(in_picture(title), fontsize=9)
    for axes, values in zip(panels[1:], named.values(), strict=True):
        drawn = axes.imshow(
            values,
            cmap=OVERLAY,
            vmin=0,
            vmax=1,
            alpha=0.6,
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            interpolation="nearest",
            aspect=aspect,
        )
    if named:
        bar = figure.colorbar(drawn, ax=list(panels), shrink=0.8)
        bar.set_label(label, fontsize=8)
        if bar.solids is not None:
            bar.solids.set_alpha(1)
    return figure
