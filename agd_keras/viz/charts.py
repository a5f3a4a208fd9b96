"""Charts of an evaluation. Each function returns a `matplotlib.figure.Figure`; none shows it."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from agd_keras.errors import InputError
from agd_keras.evaluation import reliability
from agd_keras.files import naming, write_bytes
from agd_keras.text import in_picture
from agd_keras.viz.colors import ACCENT, DOTS, SERIES, SHARES
from agd_keras.wording import counted

BEST = {"val_dice": np.nanargmax, "val_bce": np.nanargmin}  # each may pick the epoch that is kept
SCORES = ("dice", "iou", "precision", "recall", "accuracy", "specificity")


def dice_per_patient(metrics: dict[str, Any]) -> Figure:
    """Draws one dot per patient, worst to best, with mean, its interval, and median.

    Args:
        metrics: What `evaluate` returned.

    Returns:
        The figure.
    """
    subject = metrics["subject"]
    ranked = sorted(metrics["subjects"].items(), key=lambda item: item[1]["dice"])
    values = [entry["dice"] for _, entry in ranked]
    figure = Figure(figsize=(8.0, 4.2), layout="constrained")
    axes = figure.subplots()
    low, high = subject["ci95_dice"]
    if low is not None:
        axes.axhspan(low, high, color=ACCENT, alpha=0.12, lw=0, label="95 % interval of the mean")
    for name, style in (("mean", "solid"), ("median", "dashed")):
        value = subject[f"{name}_dice"]
        axes.axhline(value, color=ACCENT, ls=style, lw=1.2, label=f"{name} {value:.3f}")
    axes.plot(values, "o", color=DOTS, mec="black", mew=0.5, ms=5, clip_on=False, zorder=3)
    if len(ranked) <= 40:
        names = [in_picture(patient) for patient, _ in ranked]
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    axes.set(
        title=f"Dice of {counted(len(ranked), 'patient')}",
        xlabel="patient, worst to best",
        ylabel="Dice of the whole stack",
        xlim=(-0.7, len(ranked) - 0.3),
        ylim=(0, 1),
    )
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    return figure


def confusion_matrix(metrics: dict[str, Any]) -> Figure:
    """Draws the confusion matrix over all pixels: counts, and shares of each row.

    Args:
        metrics: What `evaluate` returned.

    Returns:
        The figure.
    """
    total = {
        key: sum(entry[key] for entry in metrics["subjects"].values())
        for key in ("tp", "fp", "fn", "tn")
    }
    matrix = np.array([[total["tp"], total["fn"]], [total["fp"], total["tn"]]])
    share = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(share, cmap=SHARES, vmin=0, vmax=100)
    for (row, column), count in np.ndenumerate(matrix):
        percent = share[row, column]
        text = f"{count:,}\n{percent:.2f} %"
        color = "black" if percent > 50 else "white"
        axes.text(column, row, text, ha="center", va="center", color=color)
    axes.set_xticks([0, 1], ["tumour", "no tumour"])
    axes.set_yticks([0, 1], ["tumour", "no tumour"], rotation=90, va="center")
    axes.set(title="Pixels of all slices", xlabel="prediction", ylabel="truth")
    figure.colorbar(drawn, label="share of the row (%)", shrink=0.9)
    return figure


def reliability_diagram(metrics: dict[str, Any]) -> Figure:
    """Draws the share of tumour against the predicted probability, and how many pixels had it.

    Args:
        metrics: What `evaluate` returned.

    Returns:
        The figure.
    """
    entries = metrics["subjects"].values()
    sums = reliability.add_calibration([entry["calibration"] for entry in entries])
    probability, share, _ = reliability.reliability(sums)
    figure = Figure(figsize=(4.6, 6.4), layout="constrained")
    curve, histogram = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    curve.plot([0, 1], [0, 1], color="grey", ls="dashed", lw=1, label="perfect")
    curve.plot(probability, share, "o-", color=ACCENT, ms=4, clip_on=False, label="model")
    figures = metrics["calibration"]
    if figures["ece"] is not None:
        label = f"ECE {figures['ece']:.3f}\nBrier {figures['brier']:.3f}"
        curve.text(0.97, 0.05, label, ha="right", transform=curve.transAxes)
    curve.set(
        title=f"Calibration within {reliability.MARGIN} px of tumour",
        ylabel="share of tumour",
        ylim=(0, 1),
        box_aspect=1,
    )
    curve.legend(loc="upper left", frameon=False)
    edges = np.linspace(0, 1, reliability.BINS + 1)
    histogram.bar(edges[:-1], sums["pixels"], np.diff(edges), align="edge", color=ACCENT, ec="w")
    histogram.set(xlabel="predicted probability of tumour", ylabel="pixels", xlim=(0, 1))
    histogram.set_box_aspect(0.3)
    if any(sums["pixels"]):
        histogram.set_yscale("log")
        histogram.yaxis.set_minor_formatter(NullFormatter())  # in so low a panel they overlap
    return figure


def filtering_curves(uncertainty: dict[str, Any]) -> Figure:
    """Draws what leaving out uncertain pixels does to Dice and to what was right.

    Args:
        uncertainty: What `evaluate_uncertainty` returned.

    Returns:
        The figure.
    """
    curves = uncertainty["qu_brats"]
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, label, color, style in (
        ("dice", "Dice of the rest", ACCENT, "solid"),
        ("filtered_tp", "true positives left out", DOTS, "dashed"),
        ("filtered_tn", "true negatives left out", "grey", "dotted"),
    ):
        axes.plot(curves["threshold"], curves[name], color=color, ls=style, label=label)
    axes.set(
        title=f"Pixels by uncertainty: QU-BraTS score {curves['score']:.3f}",
        xlabel="largest entropy that is kept (share of ln 2)",
        ylabel="mean of the patients",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="center right", frameon=False)
    return figure


def risk_coverage(uncertainty: dict[str, Any]) -> Figure:
    """Draws the mean of 1 - Dice over the patients that are kept, most certain first.

    Args:
        uncertainty: What `evaluate_uncertainty` returned.

    Returns:
        The figure.
    """
    curve = uncertainty["risk_coverage"]
    risks = np.sort([1 - entry["dice"] for entry in uncertainty["subjects"].values()])
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axes = figure.subplots()
    best = np.cumsum(risks) / np.arange(1, risks.size + 1)
    axes.axhline(risks.mean(), color="grey", ls="dashed", lw=1, label="by chance")
    axes.plot(curve["coverage"], best, color="grey", ls="dotted", label="by Dice itself")
    axes.plot(
        curve["coverage"], curve["risk"], "o-", color=ACCENT, ms=4, clip_on=False, label="by score"
    )
    axes.set(
        title=f"{counted(risks.size, 'patient')} by uncertainty: AURC {curve['aurc']:.3f}",
        xlabel="share of patients kept, most certain first",
        ylabel="mean of 1 - Dice",
        xlim=(0, 1),
        ylim=(0, None),
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    return figure


def summary_figures(metrics: dict[str, Any]) -> dict[str, Figure]:
    """Draws what every report has.

    Args:
        metrics: What `evaluate` or `gather` returned.

    Returns:
        The figures by name, in the order of the report.
    """
    return {
        "dice_per_patient": dice_per_patient(metrics),
        "confusion_matrix": confusion_matrix(metrics),
        "reliability": reliability_diagram(metrics),
    }


def save_figures(drawn: Mapping[str, Figure | bytes], folder: str | Path) -> None:
    """Saves figures as PNG files, and animations as GIF files.

    Args:
        drawn: Figures, or what `scroll` returned, by the name of their file.
        folder: Where they go; made if it does not exist.
    """
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    for name, figure in drawn.items():
        if isinstance(figure, bytes):
            write_bytes(folder / f"{name}.gif", figure)
        else:
            with naming(folder / f"{name}.png"):
                figure.savefig(folder / f"{name}.png", dpi=150)


def read_history(path: str | Path) -> dict[str, list[float]]:
    """Reads the columns of a Keras `history.csv`.

    Args:
        path: The file: a header, and a row of numbers per epoch.

    Returns:
        For each column its values, NaN where one is missing.

    Raises:
        InputError: The file is missing or is not such a table.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        columns = [name for name in (rows[0] if rows else {}) if name is not None]
        return {name: [float(row[name] or "nan") for row in rows] for name in columns}
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: expected a history.csv of numbers ({error})") from error


def training_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """Draws losses, scores, cross-entropy and learning rate over the epochs.

    Args:
        history: Columns of `history.csv`; `epoch` counts from 1, and those of the validation begin
            with `val_`.

    Returns:
        The figure: training dashed, validation solid, the best validation Dice and binary
        cross-entropy marked.

    Example:

    >>> figure = training_curves({"epoch": [1, 2], "loss": [0.9, 0.4], "val_dice": [0.5, 0.7]})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss', 'score (0 to 1)']
    """
    labels = ("loss", "score (0 to 1)", "cross-entropy", "learning rate")
    groups: dict[str, list[str]] = {label: [] for label in labels}
    for name in history:
        if name in ("learning_rate", "lr"):
            groups["learning rate"].append(name)
        elif "loss" in name:
            groups["loss"].append(name)
        elif name.endswith("bce"):
            groups["cross-entropy"].append(name)
        elif name.endswith(SCORES):
            groups["score (0 to 1)"].append(name)
    groups = {label: names for label, names in groups.items() if names}
    length = max((len(values) for values in history.values()), default=0)
    epochs = np.asarray(history.get("epoch", range(1, length + 1)))
    figure = Figure(figsize=(4.4 * max(len(groups), 1), 3.6), layout="constrained")
    panels = figure.subplots(1, max(len(groups), 1), squeeze=False)[0]
    for axes, (label, names) in zip(panels, groups.items(), strict=False):
        bases = list(dict.fromkeys(name.removeprefix("val_") for name in names))
        for name in names:
            solid = name.startswith("val_") or label == "learning rate"
            color = SERIES[bases.index(name.removeprefix("val_")) % len(SERIES)]
            axes.plot(
                epochs, history[name], color, ls="-" if solid else "--", label=in_picture(name)
            )
            pick = BEST.get(name)
            if pick and np.isfinite(history[name]).any():
                best = int(pick(history[name]))
                axes.plot(epochs[best], history[name][best], "*", color=color, ms=11, mec="black")
                axes.set_title(f"best {name}: {history[name][best]:.3f} at {epochs[best]:g}")
        if label == "learning rate":
            axes.set_yscale("log")
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, frameon=False)
    figure.suptitle("Training")
    return figure
