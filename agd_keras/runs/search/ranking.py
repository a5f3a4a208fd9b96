"""The trials of a search in their order, as a table for the screen, Markdown and CSV."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agd_keras.files import write_csv, write_text
from agd_keras.run_layout import CONFIG
from agd_keras.runs.render import render
from agd_keras.text import clean, printable

if TYPE_CHECKING:
    from rich.table import Table

ORDER = ("complete", "pruned", "failed", "unfinished")
FIGURES = {"bce": "validation BCE", "dice": "validation Dice"}


@dataclass(frozen=True)
class Ranking:
    """The trials of a search, the best first.

    Args:
        title: What they are ranked by.
        rows: Values by column, in full precision, the same columns in all.
        notes: What must be known to read the table.
    """

    title: str
    rows: list[dict[str, Any]]
    notes: list[str]


def rank_trials(
    settings: Mapping[str, Any],
    options: Mapping[int, Mapping[str, Any]],
    results: Mapping[int, Mapping[str, Any] | None],
) -> Ranking:
    """Ranks trials: complete ones by their figure, then pruned ones, then those that failed.

    Args:
        settings: Of the search, as in its `search.yaml`.
        options: By trial, its values by `SECTION.OPTION`.
        results: By trial, what it gave; None while it is not finished.

    Returns:
        A row for each trial: the options in which trials differ, what its round printed, figures.
    """
    shared, monitor = settings["config"], settings["config"]["training"]["monitor"]

    def value(number: int, name: str) -> Any:
        section, option = name.split(".")
        return options[number].get(name, shared[section][option])

    names = dict.fromkeys(name for one in options.values() for name in one)
    varied = [name for name in names if len({str(value(one, name)) for one in options}) > 1]
    rows = []
    for number in options:
        result = results[number] or {"state": "unfinished"}
        printed = settings["printed"][number] if settings["printed"] else {}
        rows.append(
            {
                "trial": number,
                **{name: value(number, name) for name in varied},
                **printed,
                **{f"val_{name}": result.get(name) for name in FIGURES},
                "epochs": result.get("epochs"),
                "state": result["state"],
            }
        )

    def place(row: dict[str, Any]) -> tuple[int, float]:
        figure = row[f"val_{monitor}"]
        sign = -1 if monitor == "dice" else 1
        return ORDER.index(row["state"]), sign * figure if figure is not None else 0

    folds, data = settings["folds"], shared["data"]
    which = "all folds" if folds is None else f"fold {', '.join(map(str, folds))}"
    units = {"subject": "patients", "record": "slices"}[data["split"]]
    title = f"{FIGURES[monitor]} of the best epoch, {which} of a {data['split']}-wise split"
    notes = [
        f"Figures are over the validation {units}"
        + (", mean over folds" if folds is None or len(folds) > 1 else "")
        + "; test data had no part in the search. Dice is the mean over patients, BCE that of all "
        "pixels.",
        *settings["notes"],
        *(
            f"Trial {number} failed: {result['reason']}"
            for number, result in results.items()
            if result and result["state"] == "failed"
        ),
    ]
    return Ranking(title, sorted(rows, key=place), notes)


def write_ranking(ranking: Ranking, out: str | Path) -> None:
    """Writes `table.md`, `trials.csv` and, of the best trial, `config.yaml`.

    Args:
        ranking: What `rank_trials` returned.
        out: Folder of the search.
    """
    out = Path(out)
    if not ranking.rows:
        return
    write_csv(out / "trials.csv", ranking.rows, list(ranking.rows[0]))
    title = f"{ranking.title[0].upper()}{ranking.title[1:]}"
    header, *rows = _cells(ranking)
    text = render("search.md", title=title, header=header, rows=rows, notes=ranking.notes)
    write_text(out / "table.md", text)
    best = ranking.rows[0]
    if best["state"] == "complete":
        config = out / f"trial-{best['trial']}" / CONFIG
        write_text(out / CONFIG, config.read_text(encoding="utf-8"))


def ranking_table(ranking: Ranking) -> "Table":
    """Makes the table for the screen."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    # Narrow: there may be many options.
    title = Text(printable(ranking.title), "table.title")
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    notes = "\n".join(map(printable, ranking.notes))
    table.caption, table.caption_justify = Text(notes, "table.caption"), "left"
    header, *rows = _cells(ranking)
    for name in header:
        table.add_column(Text(clean(name)), justify="right")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    return table


def _cells(ranking: Ranking) -> list[list[str]]:
    """The header and the rows as a reader wants them; what is the same in all says nothing."""
    dull = [name for name in ("epochs", "state") if len({r[name] for r in ranking.rows}) == 1]
    columns = [name for name in ranking.rows[0] if name not in dull]
    header = [name.rpartition(".")[2] for name in columns]
    return [header, *([_show(row[name]) for name in columns] for row in ranking.rows)]


def _show(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
