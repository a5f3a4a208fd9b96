"""Where the Dice of patients never seen is lost, patient by patient.

Every wrong pixel of a test patient is of one of four kinds, in this order:

- outline: within two pixels of the true outline in its slice, where two readers differ as well
- missed: tumour in a slice in which nothing was found
- invented: marked in a slice without tumour
- region: the rest, parts of the tumour left out or of its surround taken in

Beside them stand the Dice if that kind were repaired, the tumour's size, and how much brighter than
its surround it is in FLAIR, the sequence that its outline was drawn on.

    python benchmarks/failures.py --run runs/agd_small-5fold
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage, stats

from agd_keras.config import load_config
from agd_keras.data.datasets import find_data
from agd_keras.data.preprocess import normalize_patient
from agd_keras.data.splits import load_folds, select
from agd_keras.evaluation import scores
from agd_keras.evaluation.evaluate import by_patient, read_patient
from agd_keras.evaluation.reliability import near_boundary
from agd_keras.inference.predictor import load_predictor
from agd_keras.io.image_files import FLAIR
from agd_keras.training.quiet import load_keras

KINDS = ("outline", "missed", "invented", "region")
MARGIN = 2  # pixels
RING = 8  # pixels around the tumour that it stands out from


class Patient(NamedTuple):
    """What is known of a test patient."""

    name: str
    fold: int
    dice: float
    voxels: int
    marked: int
    contrast: float
    errors: dict[str, int]
    repaired: dict[str, float]


def kinds_of_error(truth: np.ndarray, found: np.ndarray) -> dict[str, np.ndarray]:
    """Shares out the wrong pixels of masks `(slices, height, width)` among the kinds."""
    left = truth != found
    kinds = {}
    for kind, where in {
        "outline": near_boundary(truth, truth, MARGIN),
        "missed": ~found.any(axis=(1, 2), keepdims=True),
        "invented": ~truth.any(axis=(1, 2), keepdims=True),
        "region": np.True_,
    }.items():
        kinds[kind] = left & where
        left = left & ~kinds[kind]
    return kinds


def flair_contrast(images: np.ndarray, truth: np.ndarray) -> float:
    """Mean FLAIR of the tumour less that of the tissue around it, in deviations of the tissue."""
    flair = normalize_patient(images)[..., FLAIR]
    size = (1, 2 * RING + 1, 2 * RING + 1)
    around = ndimage.maximum_filter(truth, size=size) & ~truth & (flair > -3)  # no air
    return float(flair[truth].mean() - flair[around].mean())


def look_at(
    name: str, fold: int, images: np.ndarray, truth: np.ndarray, found: np.ndarray
) -> Patient:
    """Takes one patient apart."""
    kinds = kinds_of_error(truth, found)

    def dice(mask: np.ndarray) -> float:
        return scores.dice(scores.count(truth, mask))

    return Patient(
        name,
        fold,
        dice(found),
        int(truth.sum()),
        int(found.sum()),
        flair_contrast(images, truth),
        {kind: int(wrong.sum()) for kind, wrong in kinds.items()},
        {kind: dice(found ^ wrong) for kind, wrong in kinds.items()},
    )


def table(patients: list[Patient], worst: int) -> str:
    """Makes the tables: all patients, what Dice goes with, and the worst of them."""
    wrong = sum(sum(one.errors.values()) for one in patients)
    dices = [one.dice for one in patients]
    lines = [
        f"{len(patients)} test patients, mean Dice {np.mean(dices):.3f}\n",
        "| kind of error | share of wrong pixels | mean Dice if repaired |",
        "|---|---:|---:|",
    ]
    for kind in KINDS:
        share = sum(one.errors[kind] for one in patients) / wrong
        repaired = np.mean([one.repaired[kind] for one in patients])
        lines.append(f"| {kind} | {100 * share:.0f} % | {repaired:.3f} |")
    lines += ["\n| Dice goes with | rank correlation | p |", "|---|---:|---:|"]
    for what, values in {
        "size of the tumour": [one.voxels for one in patients],
        "contrast in FLAIR": [one.contrast for one in patients],
    }.items():
        found = stats.spearmanr(values, dices)
        lines.append(f"| {what} | {found.statistic:+.2f} | {found.pvalue:.2g} |")
    heads = ("patient", "fold", "Dice", "voxels", "marked / true", "contrast", *KINDS)
    lines += [f"\n| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for one in sorted(patients, key=lambda one: one.dice)[:worst]:
        cells = [one.name, str(one.fold), f"{one.dice:.3f}", f"{one.voxels:,}"]
        cells += [f"{one.marked / one.voxels:.2f}", f"{one.contrast:.1f}"]
        cells += [f"{100 * n / sum(one.errors.values()):.0f} %" for n in one.errors.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the tables of a run's test patients."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    parser.add_argument("--worst", type=int, default=20, help="patients listed, default: 20")
    options = parser.parse_args()
    load_keras()
    data = load_config(options.run / "config.yaml")["data"]
    slices = find_data(data["path"])
    patients = []
    for index, fold in enumerate(load_folds(options.run / "folds.json")):
        model = options.run / f"fold-{index}" / "model.keras"
        if not model.is_file():
            continue
        predictor = load_predictor(model)
        for name, own in by_patient(select(slices, fold.test, data["split"])).items():
            images, truth = read_patient(own)
            if truth.any():
                found = predictor.predict_patient(images) >= predictor.calibration.threshold
                patients.append(look_at(name, index, images, truth, found))
    print(table(patients, options.worst))


if __name__ == "__main__":
    main()
