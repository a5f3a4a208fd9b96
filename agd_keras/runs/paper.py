"""Table 2 of Cvetko 2021 (https://arxiv.org/abs/2107.03323), with our figures beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from agd_keras.evaluation.compare import TextTable
from agd_keras.runs.baselines import ANCHORS, always_empty
from agd_keras.runs.run_folder import RunFolder
from agd_keras.text import in_picture
from agd_keras.viz import charts

NAMES = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "bce": "final BCE",
    "iou": "IoU",
}
DATA = {"none": "the data set as it is", "paper": "with four kinds of augmentation"}
# The text's IoU; the abstract's 0.78 names neither data nor protocol.
TABLE_2: dict[str, dict[str, float | None]] = {
    "none": {figure: ANCHORS[0].get(figure) for figure in NAMES},
    "paper": {figure: ANCHORS[1].get(figure) for figure in NAMES} | {"iou": 0.81},
}
COLUMNS = 4  # confusion matrices in a row


def read_one_test(run: str | Path) -> dict[str, Any]:
    """Reads the test of a run's first fold, which is the run without rotation.

    Args:
        run: A run folder.

    Returns:
        What `evaluate` returned for that fold.

    Raises:
        InputError: The fold is not finished.
    """
    fold = RunFolder(run).fold(0)
    return fold.read_metrics() | {"subjects": fold.read_sums()}


def beside_paper(tests: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Puts runs of the paper's protocols beside its figures.

    Args:
        tests: By name what `gather` returned for a cross-validation, or `read_one_test`.

    Returns:
        `paper`, its figures by augmentation; `tests`, by name the `split`, `augmentation` and
        `folds` (1 for one test), `pooled`, `subject`, and `over_folds`, mean and deviation of the
        pooled figures; and `always_empty`, the figures of an empty prediction on all patients.
    """
    widest = max(tests.values(), key=lambda metrics: len(metrics["subjects"]))
    return {
        "paper": TABLE_2,
        "always_empty": always_empty(widest),
        "tests": {
            name: {
                "split": metrics["protocol"]["split"],
                "augmentation": metrics["protocol"]["augmentation"],
                "folds": metrics["protocol"]["folds"] if "folds" in metrics else 1,
                "pooled": metrics["pooled"],
                "subject": metrics["subject"],
                "over_folds": metrics["folds"]["pooled"] if "folds" in metrics else {},
            }
            for name, metrics in tests.items()
        },
    }


def paper_tables(results: Mapping[str, Any]) -> list[TextTable]:
    """Makes a table for the plain and one for the augmented data, the paper's column first.

    Args:
        results: What `beside_paper` returned.

    Returns:
        The tables.
    """
    tables = []
    for augment, title in DATA.items():
        tests = [one for one in results["tests"].values() if one["augmentation"] == augment]
        ways = [f"{one['folds']}-fold" if one["folds"] > 1 else "one test" for one in tests]
        heads = [f"{one['split']}-wise, {way}" for one, way in zip(tests, ways, strict=True)]
        rows = [
            [
                name,
                _show(results["paper"][augment][figure]),
                *(_with_folds(one, figure) for one in tests),
                _show(results["always_empty"][figure]),
            ]
            for figure, name in NAMES.items()
        ]
        for statistic in ("mean", "median"):
            values = [one["subject"][f"{statistic}_dice"] for one in tests]
            empty = results["always_empty"][f"{statistic} dice"]
            rows.append([f"{statistic} Dice of patients", *map(_show, [None, *values, empty])])
        header = ["figure", "paper, Table 2", *heads, "always empty"]
        tables.append(TextTable(f"Table 2: {title}", header, rows))
    return tables


def _with_folds(test: Mapping[str, Any], figure: str) -> str:
    over = test["over_folds"].get(figure)
    pooled = _show(test["pooled"][figure])
    return f"{pooled} ({_show(over['mean'])} ± {_show(over['std'])})" if over else pooled


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def confusion_matrices(tests: Mapping[str, Mapping[str, Any]]) -> Image.Image:
    """Draws the confusion matrices of several tests in one picture.

    Args:
        tests: By title what `gather` or `read_one_test` returned.

    Returns:
        The picture, RGB.
    """
    panels = []
    for title, metrics in tests.items():
        figure = charts.confusion_matrix(dict(metrics))
        figure.axes[0].set_title(in_picture(title))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        panels.append(np.asarray(canvas.buffer_rgba())[..., :3])
    blank = np.full_like(panels[0], 255)
    panels += [blank] * (-len(panels) % COLUMNS)
    starts = range(0, len(panels), COLUMNS)
    rows = [np.hstack(panels[start : start + COLUMNS]) for start in starts]
    return Image.fromarray(np.vstack(rows))
