"""`agd-inspect`: say what a data set holds, and all that is wrong with it."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agd_keras.cli import common, options
from agd_keras.errors import InputError
from agd_keras.text import MESSAGE, clean
from agd_keras.wording import counted

if TYPE_CHECKING:
    from agd_keras.runs.inspect_data import CaseReport, DataReport

DESCRIPTION = """List what a data set contains and everything that is wrong with it.

Exit status 1 where anything is wrong. agd-train makes the same checks before it trains."""
_PAGE = re.compile(r"cases_\d+\.png")
_LISTED, _NOTES = 5, 20


def main(argv: list[str] | None = None) -> int:
    """Runs `agd-inspect` and returns its exit status."""
    parser = common.parser("agd-inspect", DESCRIPTION)
    options.add_data_options(parser, "data", metavar="DATA")
    options.add_plane_option(parser, "axial", "axial")
    parser.add_argument(
        "--pictures",
        metavar="DIR",
        help="write contact sheets: for each case the slice with most tumour and its outline",
    )
    parser.add_argument(
        "--write-table",
        metavar="FILE",
        help="write the cases as a table (CSV), to be corrected and given as --data",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier sheets and table")
    return common.run(_inspect, parser.parse_args(argv))


def _inspect(arguments: argparse.Namespace) -> None:
    pictures = Path(arguments.pictures) if arguments.pictures else None
    table = Path(arguments.write_table) if arguments.write_table else None
    _refuse_existing(pictures, table, arguments.overwrite)
    from agd_keras.io.data_set import problems_error
    from agd_keras.io.layouts.table import write
    from agd_keras.runs.inspect_data import inspect_data

    report = inspect_data(
        *(arguments.data, arguments.layout, arguments.persons),
        common.progress_bar("reading"),
        arguments.plane,
    )
    _print(report)
    if pictures:
        _draw(report.cases, pictures, arguments.overwrite)
        print(f"pictures: {pictures}")
    problems = list(report.problems)
    if table:
        try:
            print(f"table: {write([case.ref for case in report.cases], table)}")
        except InputError as error:
            if not problems:
                raise
            problems.append(str(error))
    if problems:
        raise problems_error(report.root, problems)


def _refuse_existing(pictures: Path | None, table: Path | None, overwrite: bool) -> None:
    """Before anything is read: what would be replaced may have been corrected by hand."""
    from agd_keras.files import content

    if table:
        if table.suffix.lower() != ".csv" or not table.parent.is_dir():
            raise InputError(f"--write-table {table}: expected a name .csv in a folder that exists")
        if table.exists() and not (overwrite and table.is_file()):
            raise InputError(f"{table}: expected a new file, found one; --overwrite replaces")
    if pictures and pictures.exists():
        found = content(pictures) if pictures.is_dir() else [pictures]
        if not all(_PAGE.fullmatch(path.name) for path in found):
            raise InputError(f"{pictures}: expected a new folder, found something else")
        if found and not overwrite:
            raise InputError(f"{pictures}: expected a new folder; --overwrite replaces pictures")


def _print(report: "DataReport") -> None:
    from rich.table import Table

    several = {person: cases for person, cases in report.persons.items() if len(cases) > 1}
    found = f"{counted(len(report.cases), 'case')} of {counted(len(report.persons), 'person')}"
    print(f"{clean(report.root, MESSAGE)}: layout {report.layout}, {found}")
    table = Table()
    for column in ("case", "channels", "size", "mm", "axes", "range"):
        table.add_column(column, overflow="fold", no_wrap=column in ("size", "axes"))
    for column in ("label", "voxels", "ml"):
        table.add_column(column, justify="right", no_wrap=True)
    for case in report.cases:
        table.add_row(*_cells(case))
    common.print_table(table)
    print("size and mm: of slices, rows, columns; axes: where those of the file run to; range: by")
    print("channel; label: values of the mask, all: those that are tumour")
    for person, cases in several.items():
        print(f"several scans of {clean(person)}: {_listed(cases)}")
    told = [f"{note} ({_listed(cases)})" for note, cases in report.told.items()]
    more = [f"{len(told) - _NOTES} more"] if len(told) > _NOTES else []
    for note in (*report.notes, *told[:_NOTES], *more):
        print(f"note: {clean(note, MESSAGE)}")
    if report.ignored:
        print(f"ignored, as no case: {_listed([str(path) for path in report.ignored])}")


def _cells(case: "CaseReport") -> list[str]:
    spacing = [f"{step:.4g}" for step in case.spacing] if case.spacing else []
    labels = {str(value): voxels for value, voxels in sorted(case.labels.items())}
    if case.voxels is not None and list(labels.values()) != [case.voxels]:
        labels = {"all": case.voxels, **labels}
    unlabelled = "no label" if case.shape else "cannot be read"
    return [
        clean(case.ref.case_id),
        " ".join(case.channels),
        "x".join(map(str, case.shape)),
        "x".join(spacing),
        case.orientation,
        ", ".join(f"{low:.4g}..{high:.4g}" for low, high in case.ranges),
        "\n".join(labels) or unlabelled,
        "\n".join(f"{voxels:,}" for voxels in labels.values()),
        "\n".join(f"{voxels * (case.voxel or 0):.1f}" for voxels in labels.values() if case.voxel),
    ]


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return clean(", ".join([*names[:_LISTED], *more]), MESSAGE)


def _draw(cases: Sequence["CaseReport"], folder: Path, overwrite: bool) -> None:
    from agd_keras.files import filled
    from agd_keras.locks import locked
    from agd_keras.viz.contact_sheet import COLUMNS, ROWS, contact_sheet

    shown = [case.thumbnail for case in cases if case.thumbnail]
    pages = [shown[at : at + COLUMNS * ROWS] for at in range(0, len(shown), COLUMNS * ROWS)]
    with locked(folder, tidy=True), filled(folder, overwrite) as made:
        for number, page in enumerate(pages, start=1):
            contact_sheet(page).savefig(made / f"cases_{number}.png", dpi=110)


if __name__ == "__main__":
    sys.exit(main())
