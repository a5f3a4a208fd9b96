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

from agd_keras.config import load_config
from agd_keras.data.datasets import find_data
from agd_keras.data.splits import load_folds, select
from agd_keras.errors import InputError
from agd_keras.evaluation.evaluate import by_patient, read_patient
from agd_keras.evaluation.reliability import (
    add_calibration,
    calibration_sums,
    ece,
    scale_temperature,
)
from agd_keras.training.quiet import load_keras

CHOICES = ("the fold's own", "mean of all folds", "none")
Fold = dict[str, tuple[float, list[dict[str, Any]]]]


def measure(run: Path) -> list[Fold]:
    """Temperature and the patients' calibration sums by it, for each fold and choice."""
    from agd_keras.inference.calibration import read_calibration
    from agd_keras.inference.predictor import Predictor, load_model

    data = load_config(run / "config.yaml")["data"]
    slices = find_data(data["path"])
    common = read_calibration(run).temperature
    found = []
    for index, fold in enumerate(load_folds(run / "folds.json")):
        model = run / f"fold-{index}" / "model.keras"
        predictor = Predictor([load_model(model, compiled=False)])
        temperatures = (read_calibration(model).temperature, common, 1.0)
        own: Fold = {choice: (t, []) for choice, t in zip(CHOICES, temperatures, strict=True)}
        for stack in by_patient(select(slices, fold.test, data["split"])).values():
            images, truth = read_patient(stack)
            probability = predictor.predict_patient(images)
            for temperature, sums in own.values():
                scaled = scale_temperature(probability, temperature)
                sums.append(calibration_sums(truth, scaled, scaled >= 0.5))
        found.append(own)
    return found


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
    print(f"| temperature | {' | '.join(f'fold {i}' for i in range(len(found)))} | all |")
    print("|---|" + "---:|" * (len(found) + 1))
    for choice in CHOICES:
        folds = [fold[choice] for fold in found]
        cells = [f"{ece(add_calibration(sums)):.4f} (T {t:.2f})" for t, sums in folds]
        total = ece(add_calibration([one for _, sums in folds for one in sums]))
        print(f"| {choice} | {' | '.join(cells)} | {total:.4f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
