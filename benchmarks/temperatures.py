"""Whose temperature a network should have: its own fold's, or that of all folds.

    python benchmarks/temperatures.py --run runs/agd_small-5fold

Each fold of a run has a temperature fitted on its few validation patients. Here the test patients
of each fold are read by it, by the geometric mean of all folds' temperatures, and by the network as
it is, and their calibration error is measured on the pixels near tumour. A network that was trained
without a test has to take one of these.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from agd_keras.config import load_config
from agd_keras.data.datasets import find_data
from agd_keras.data.folds import load_folds, select
from agd_keras.errors import InputError
from agd_keras.evaluation.calibration import (
    add_calibration,
    calibration_sums,
    ece,
    scale_temperature,
)
from agd_keras.evaluation.evaluate import by_patient, read_patient
from agd_keras.inference.predictor import Predictor, load_model
from agd_keras.inference.temperature import read_calibration
from agd_keras.training.quiet import load_keras


def measure(run: Path) -> dict[str, list[tuple[float, float | None]]]:
    """Temperature and calibration error of each fold, the last entry over all folds, by choice."""
    data = load_config(run / "config.yaml")["data"]
    slices = find_data(data["path"])
    common = read_calibration(run).temperature
    choices = ("the fold's own", "mean of all folds", "none")
    sums: dict[str, list[list[dict[str, Any]]]] = {choice: [] for choice in choices}
    used: dict[str, list[float]] = {choice: [] for choice in choices}
    for index, fold in enumerate(load_folds(run / "folds.json")):
        model = run / f"fold-{index}" / "model.keras"
        predictor = Predictor([load_model(model)])
        own = read_calibration(model).temperature
        for choice, temperature in zip(choices, (own, common, 1.0), strict=True):
            used[choice].append(temperature)
            sums[choice].append([])
        for stack in by_patient(select(slices, fold.test, data["split"])).values():
            images, truth = read_patient(stack)
            probability = predictor.predict_patient(images)
            for choice in choices:
                scaled = scale_temperature(probability, used[choice][-1])
                sums[choice][-1].append(calibration_sums(truth, scaled, scaled >= 0.5))
    return {
        choice: [
            *((t, ece(add_calibration(own))) for t, own in zip(used[choice], folds, strict=True)),
            (np.nan, ece(add_calibration([one for own in folds for one in own]))),
        ]
        for choice, folds in sums.items()
    }


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="run folder with all its folds")
    options = parser.parse_args()
    load_keras()
    try:
        found = measure(options.run)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    folds = len(next(iter(found.values()))) - 1
    print(f"| temperature | {' | '.join(f'fold {i}' for i in range(folds))} | all |")
    print("|---|" + "---:|" * (folds + 1))
    for choice, row in found.items():
        cells = [f"{error:.4f} (T {t:.2f})" for t, error in row[:-1]]
        print(f"| {choice} | {' | '.join(cells)} | {row[-1][1]:.4f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
