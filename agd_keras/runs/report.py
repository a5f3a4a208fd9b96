"""What an evaluation leaves behind: its files, a table on screen, a model card."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from agd_keras.evaluation.compare import TextTable
from agd_keras.evaluation.errors import error_shares
from agd_keras.evaluation.subgroups import subgroups
from agd_keras.files import write_text
from agd_keras.io.case import CHANNELS
from agd_keras.runs.baselines import (
    ANCHORS,
    COLUMNS,
    always_empty,
    distance_note,
    error_rows,
    fold_rows,
    own_row,
    rows,
    show,
    warnings,
)
from agd_keras.runs.headline import headline, main_metrics
from agd_keras.runs.render import render
from agd_keras.runs.result_files import REPORT, SUBJECT_KEYS
from agd_keras.text import clean
from agd_keras.wording import name_channels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def summary_table(metrics: Mapping[str, Any]) -> Table:
    """Makes the table of figures for the screen.

    Args:
        metrics: What `evaluate` returned.

    Returns:
        A `rich.table.Table` of group, figure and value, or of the values of several regions. What
        is said over folds is of the first region.
    """
    title = clean(own_row(metrics)["protocol"] or "protocol not stated")
    regions = metrics.get("regions", {})
    table = Table(title=Text(title, "table.title"))  # a split of another maker is no markup
    table.caption = "\n".join(" ".join(warning) for warning in warnings(metrics)) or None
    table.add_column("group")
    table.add_column("figure")
    for name in regions or ("value",):
        table.add_column(name, justify="right")
    over_folds = {(group, name): (mean, std) for group, name, _, mean, std in fold_rows(metrics)}
    if over_folds:
        table.add_column("mean ± std of folds", justify="right")
    for group, name, value in rows(metrics):
        mean_std = over_folds.get((group, name))
        values = [region[group].get(name) for region in regions.values()] or [value]
        table.add_row(
            *(group, name, *map(show, values)),
            *([" ± ".join(map(show, mean_std))] if mean_std else []),
        )
    return table


def _base64(figure: "Figure | Path | bytes") -> str:
    buffer = io.BytesIO()
    if isinstance(figure, bytes):
        buffer.write(figure)
    elif isinstance(figure, Path):
        buffer.write(figure.read_bytes())
    else:
        figure.savefig(buffer, format="png", dpi=100)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def region_tables(metrics: Mapping[str, Any]) -> list[TextTable]:
    """Makes the tables of a report by region: all figures, and the patients, worst first.

    Args:
        metrics: What `evaluate` returned.

    Returns:
        The tables; none of one region.

    Example:

    >>> region_tables({"subjects": {}})
    []
    """
    regions = metrics.get("regions", {})
    if not regions:
        return []
    figures = [
        [group, name, *(show(region[group].get(name)) for region in regions.values())]
        for group, name, _ in rows(metrics)
    ]
    ranked = sorted(metrics["subjects"].items(), key=lambda item: item[1]["dice"])
    keys = [key for key in SUBJECT_KEYS if key != "iou"]
    patients = [
        [patient, name, *(show(entry["regions"][name][key]) for key in keys)]
        for patient, entry in ranked
        for name in regions
    ]
    named = [key.replace("_", " ") for key in keys]
    return [
        TextTable("Figures by region", ["group", "figure", *regions], figures),
        TextTable("Patients by region", ["patient", "region", *named], patients),
    ]


def write_report(
    folder: str | Path,
    metrics: Mapping[str, Any],
    figures: "Mapping[str, Figure | Path | bytes]",
    title: str = "Evaluation",
    parts: Sequence[str] = (),
    tables: Sequence[TextTable] = (),
) -> Path:
    """Writes `report.html`: one file that needs no other and no network.

    Args:
        folder: Where the report goes; made if it does not exist.
        metrics: What `evaluate` returned; of several regions all is of the first, but for the
            `region_tables`.
        figures: Figures, PNG files, or films as `scroll` returns them, in the order of the report,
            by a name that stands in for the picture; that of a film is `scroll_` and a rank.
        title: Heading.
        tables: Further tables, below the figures.
        parts: Folders beside the report that hold the reports of the folds.

    Returns:
        Path of the report.
    """
    subjects = sorted(metrics["subjects"].items(), key=lambda item: item[1]["dice"])
    empty = {"who": "always empty", "protocol": "the same patients", **always_empty(metrics)}
    drawn = {name: _base64(figure) for name, figure in figures.items()}
    text = render(
        "report.html",
        title=title,
        parts=parts,
        fold_rows=fold_rows(metrics),
        tables=[*region_tables(metrics), *tables],
        first=next(iter(metrics.get("regions", ())), ""),
        warnings=warnings(metrics),
        metrics=metrics,
        protocol=metrics["protocol"],
        rows=rows(metrics),
        columns=COLUMNS,
        anchors=[own_row(metrics), empty, *ANCHORS],
        headline=headline(metrics),
        main=main_metrics(metrics),
        pictures={name: image for name, image in drawn.items() if name.endswith("cases")},
        films={name: image for name, image in drawn.items() if name.startswith("scroll_")},
        charts={
            name: image
            for name, image in drawn.items()
            if not name.endswith("cases") and not name.startswith("scroll_")
        },
        subject_keys=SUBJECT_KEYS,
        subjects=subjects,
        distances=distance_note(metrics),
        errors=error_rows(metrics),
        case_errors=[(name, error_shares(entry.get("errors"))) for name, entry in subjects],
    )
    Path(folder).mkdir(parents=True, exist_ok=True)
    return write_text(Path(folder) / REPORT, text)


def write_model_card(
    path: str | Path,
    metrics: Mapping[str, Any],
    model: str,
    data: str,
    data_license: str,
    parameters: int | None = None,
    channels: Sequence[str] = CHANNELS,
) -> Path:
    """Writes `MODEL_CARD.md`: what the model is, for what, measured how, and where it ends.

    Args:
        path: The file; an older one is replaced.
        metrics: What `evaluate` returned.
        model: What the model is, in words: preset, input size, precision.
        data: What it was trained on, in words.
        data_license: Licence of that data.
        parameters: Number of the model's weights.
        channels: Names of the channels of its input.

    Returns:
        The path.
    """
    text = render(
        "MODEL_CARD.md",
        channels=name_channels(channels),
        metrics=metrics,
        model=model,
        data=data,
        data_license=data_license,
        parameters=parameters,
        headline=headline(metrics),
        regions=metrics.get("regions", {}),
        protocol=own_row(metrics)["protocol"],
        warnings=warnings(metrics),
        rows=rows(metrics),
        distances=distance_note(metrics),
        groups=subgroups(metrics["subjects"]),
        worst=sorted(metrics["subjects"].items(), key=lambda item: item[1]["dice"])[:5],
    )
    return write_text(path, text)
