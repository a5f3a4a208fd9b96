"""What an evaluation leaves behind: its files, a table on screen, a model card."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich.table import Table
from rich.text import Text

from agd_keras.errors import InputError
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
from agd_keras.text import clean, markdown, markdown_code, printable
from agd_keras.wording import name_channels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUMS = "sums.json"
SUBJECT_KEYS = ("dice", "iou", "hd95", "nsd", "voxels_true", "voxels_pred")
NOTED_KEYS = (
    "unit",
    "errors",
    "confidence",
    "expected_volume",
    "unlike",
)  # in `metrics.json` too; entries of earlier versions lack them


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


def _write(path: str | Path, text: str) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return write_text(path, text)


def write_metrics(metrics: Mapping[str, Any], path: str | Path) -> Path:
    """Writes `metrics.json`, strict JSON in which a missing figure is null, and `sums.json`.

    `metrics.json` has only the figures of each patient. `sums.json`, beside it, has all of their
    entries, from which `summarize` makes figures over the patients of several evaluations.

    Args:
        metrics: What `evaluate` returned.
        path: The `metrics.json`; an older one is replaced, and the `sums.json` beside it.

    Returns:
        The path.

    Raises:
        ValueError: A figure is NaN or infinite, which JSON does not have.
    """
    entries = metrics["subjects"]
    subjects = {name: _short(entry) for name, entry in entries.items()}
    text = json.dumps({**metrics, "subjects": subjects}, indent=1, allow_nan=False)
    _write(Path(path).with_name(SUMS), json.dumps(entries, allow_nan=False) + "\n")
    return _write(path, text + "\n")


def _short(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a patient without the sums, and of each of several regions likewise."""
    noted = {key: entry[key] for key in NOTED_KEYS if key in entry}
    regions = {name: _short(own) for name, own in entry.get("regions", {}).items()}
    several = {"regions": regions} if regions else {}
    return {key: entry[key] for key in SUBJECT_KEYS} | noted | several


def read_sums(path: str | Path) -> dict[str, dict[str, Any]]:
    """Reads a `sums.json`: the `subjects` that `evaluate` returned, to give to `summarize`.

    Args:
        path: The file.

    Returns:
        For each patient the result of `score_patient`.

    Raises:
        InputError: The file is missing or is no such JSON.

    Example:

    >>> from agd_keras.evaluation.summary import summarize
    >>> files = Path("runs/first").glob("fold-*/sums.json")
    >>> sums = [read_sums(file) for file in files]
    >>> summarize({name: one for part in sums for name, one in part.items()})  # doctest: +SKIP
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a {SUMS} of an evaluation ({error})") from None
    if not isinstance(entries, dict) or not all(isinstance(one, dict) for one in entries.values()):
        raise InputError(f"{path}: expected a {SUMS} of an evaluation, with an entry per patient")
    return entries


def render(template: str, **values: Any) -> str:
    """Fills in a template of this package; what is filled in is text, no HTML or Markdown.

    Args:
        template: Name of a file in `runs/templates`.
        **values: What it names; a text among them stands there as it is.

    Returns:
        The page.
    """
    in_html = template.endswith(".html")
    written = printable if in_html else markdown
    environment = Environment(
        loader=PackageLoader("agd_keras", "runs/templates"),
        autoescape=in_html,
        finalize=lambda value: written(value) if type(value) is str else value,  # Markup is made
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["show"] = show
    environment.filters["percent"] = lambda share: "-" if share is None else f"{100 * share:.0f} %"
    environment.filters["code"] = lambda text: Markup(markdown_code(text))
    environment.filters["cells"] = lambda row: Markup(" | ".join(map(markdown, row)))
    return environment.get_template(template).render(**values)


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
    return _write(Path(folder) / "report.html", text)


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
    return _write(path, text)
