"""The model among people, as a picture: its Dice with each reader against that of the readers."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from agd_keras.evaluation.readers import PAIRS
from agd_keras.viz.colors import ACCENT, DOTS


def readers_figure(study: Mapping[str, Any]) -> Figure:
    """Draws the model's Dice with each reader against that of the readers, a dot a patient.

    Args:
        study: What `study_readers` returned.

    Returns:
        The figure.
    """
    entries = list(study["subjects"].values())
    between = [entry["readers"] for entry in entries]
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", ls="dashed", lw=1, label="as the readers")
    for key, color, marker in (("first", DOTS, "o"), ("second", ACCENT, "^")):
        own = [entry[key] for entry in entries]
        label = f"{PAIRS[key]}, mean {study[key]['value']:.3f}"
        axes.plot(between, own, marker, color=color, mec="black", mew=0.5, ms=5, label=label)
    value = study["williams"]["value"]
    axes.set(
        title="Model and readers" + ("" if value is None else f": Williams' index {value:.3f}"),
        xlabel=f"Dice of {PAIRS['readers']}, mean {study['readers']['value']:.3f}",
        ylabel="Dice of the model",
        xlim=(0, 1),
        ylim=(0, 1),
        box_aspect=1,
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    return figure
