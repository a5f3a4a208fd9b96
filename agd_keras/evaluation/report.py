"""What an evaluation leaves behind: metrics.json, report.html, a table on screen, a model card."""

import base64
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.table import Table

from agd_keras.evaluation.anchors import (
    ANCHORS,
    COLUMNS,
    WARNING,
    always_empty,
    own_row,
    rows,
    show,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUBJECT_KEYS = ("dice", "iou", "hd95", "nsd", "voxels_true", "voxels_pred")


def summary_table(metrics: Mapping[str, Any]) -> Table:
    """Makes the table of figures for the screen.

    Args:
        metrics: What `evaluate` returned.

    Returns:
        A `rich.table.Table` of group, figure and value.
    """
    table = Table(title=own_row(metrics)["protocol"] or "protocol not stated")
    if metrics["protocol"].get("split") == "record":
        table.caption = WARNING
    table.add_column("group")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for group, name, value in rows(metrics):
        table.add_row(group, name, show(value))
    return table


def _write(path: str | Path, text: str) -> Path:
    """Writes a whole file or none: under another name first, then renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_metrics(metrics: Mapping[str, Any], path: str | Path) -> Path:
    """Writes `metrics.json`, strict JSON in which a missing figure is null.

    Args:
        metrics: What `evaluate` returned.
        path: The file; an older one is replaced.

    Returns:
        The path.

    Raises:
        ValueError: A figure is NaN or infinite, which JSON does not have.
    """
    return _write(path, json.dumps(metrics, indent=1, allow_nan=False) + "\n")


def _render(template: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("agd_keras", "evaluation/templates"),
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["show"] = show
    return environment.get_template(template).render(**values)


def _png(figure: "Figure") -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def write_report(
    folder: str | Path,
    metrics: Mapping[str, Any],
    figures: Mapping[str, "Figure"],
    history: Mapping[str, Sequence[float]] | None = None,
    title: str = "Evaluation",
) -> Path:
    """Writes `report.html`: one file that needs no other and no network.

    Args:
        folder: Where the report goes; made if it does not exist.
        metrics: What `evaluate` returned.
        figures: Figures in the order of the report, by a name that stands in for the picture.
        history: Columns of `history.csv`, for the training curves; none without.
        title: Heading.

    Returns:
        Path of the report.
    """
    figures = dict(figures)
    if history:
        from agd_keras.evaluation.figures import training_curves

        figures["training curves"] = training_curves(history)
    subjects = sorted(metrics["subjects"].items(), key=lambda item: item[1]["dice"])
    empty = {"who": "always empty", "protocol": "the same patients", **always_empty(metrics)}
    text = _render(
        "report.html",
        title=title,
        warning=WARNING if metrics["protocol"].get("split") == "record" else None,
        metrics=metrics,
        protocol=metrics["protocol"],
        rows=rows(metrics),
        columns=COLUMNS,
        anchors=[own_row(metrics), empty, *ANCHORS],
        images={name: _png(figure) for name, figure in figures.items()},
        subject_keys=SUBJECT_KEYS,
        subjects=subjects,
    )
    return _write(Path(folder) / "report.html", text)


def write_model_card(
    path: str | Path,
    metrics: Mapping[str, Any],
    model: str,
    data: str,
    data_license: str,
    parameters: int | None = None,
) -> Path:
    """Writes `MODEL_CARD.md`: what the model is, for what, measured how, and where it ends.

    Args:
        path: The file; an older one is replaced.
        metrics: What `evaluate` returned.
        model: What the model is, in words: preset, input size, precision.
        data: What it was trained on, in words.
        data_license: Licence of that data.
        parameters: Number of the model's weights.

    Returns:
        The path.
    """
    text = _render(
        "MODEL_CARD.md",
        metrics=metrics,
        model=model,
        data=data,
        data_license=data_license,
        parameters=parameters,
        protocol=own_row(metrics)["protocol"],
        warning=WARNING if metrics["protocol"].get("split") == "record" else None,
        rows=rows(metrics),
    )
    return _write(path, text)
