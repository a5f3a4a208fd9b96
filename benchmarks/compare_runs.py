"""Runs of several recipes on the same test patients, side by side, as Markdown.

    python benchmarks/compare_runs.py plain=runs/a/fold-0 longer=runs/b/fold-0

The first is the one that the others are compared with, patient by patient.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from agd_keras.errors import InputError
from agd_keras.evaluation.compare import compare, comparison_tables
from agd_keras.runs.aggregate import gather, read_json


def read_figures(folder: Path) -> dict[str, Any]:
    """Reads what a fold was tested to, or gathers all folds of a run."""
    if (folder / "config.yaml").is_file():
        return gather(folder)
    metrics = read_json(folder / "metrics.json")
    sums = folder / "sums.json"  # the counts of each patient
    return metrics | ({"subjects": read_json(sums)} if sums.is_file() else {})


def main() -> int:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "runs", nargs="+", metavar="NAME=FOLDER", help="run folder, or a fold of one"
    )
    options = parser.parse_args()
    try:
        runs = {}
        for argument in options.runs:
            name, equals, folder = argument.partition("=")
            if not equals:
                raise InputError(f"{argument}: expected NAME=FOLDER")
            runs[name] = read_figures(Path(folder))
        tables = comparison_tables(compare(runs, next(iter(runs))))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for table in tables[: len(runs)]:  # one run has no differences
        print(f"**{table.title}**\n\n| {' | '.join(table.header)} |")
        print("|---" * len(table.header) + "|")
        print("\n".join(f"| {' | '.join(row)} |" for row in table.rows), "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
