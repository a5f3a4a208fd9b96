"""What can be had after training: threshold, flips, smoothing over slices, largest component.

And what is lost where slices come one by one, each normalised by itself, as to `serving_default`.

    python benchmarks/post_processing.py --run runs/agd_small-5fold --part validation

The patients of all folds asked for count alike: in validation, some of them more than once. Choose
by validation patients; `--part test` then tells whether the choice was worth anything. Several runs
of the same folds are averaged: what an ensemble of their networks would give.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from agd_keras.config import load_config
from agd_keras.data.datasets import find_data
from agd_keras.data.splits import load_folds, select
from agd_keras.errors import InputError
from agd_keras.evaluation import scores
from agd_keras.evaluation.evaluate import by_patient, read_patient
from agd_keras.inference.postprocess import make_mask
from agd_keras.training.quiet import load_keras


class Probabilities(NamedTuple):
    """Of one patient, `(slices, height, width)` each: as ever, with flips, slices by themselves."""

    plain: np.ndarray
    flips: np.ndarray
    single: np.ndarray


def smooth(probability: np.ndarray, weight: float) -> np.ndarray:
    """Averages each slice with its neighbours, which weigh `weight` each."""
    kernel = [weight, 1 - 2 * weight, weight]
    return ndimage.convolve1d(probability, kernel, axis=0, mode="nearest")


ROWS: dict[str, Callable[[Probabilities], np.ndarray]] = {
    **{f"from {p}": (lambda of, p=p: of.plain >= p) for p in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)},
    "each slice by itself": lambda of: of.single >= 0.5,
    **{f"flips, from {p}": (lambda of, p=p: of.flips >= p) for p in (0.4, 0.5, 0.6)},
    **{
        f"flips, neighbours {w}": (lambda of, w=w: smooth(of.flips, w) >= 0.5)
        for w in (0.1, 0.2, 0.3)
    },
    **{
        f"{name}largest component": (lambda of, i=i: make_mask(of[i], largest_component=True))
        for i, name in enumerate(("", "flips, "))
    },
}


def count_fold(
    runs: Sequence[Path], index: int, part: str, counts: dict[str, list[scores.Counts]]
) -> None:
    """Adds the counts of the patients of a fold to those of each row."""
    from agd_keras.inference.predictor import load_predictor

    dealt = [load_folds(run / "folds.json")[index] for run in runs]
    if any(fold != dealt[0] for fold in dealt):
        raise InputError(f"--run: fold {index} has other patients in one run than in another")
    data = load_config(runs[0] / "config.yaml")["data"]
    slices = select(find_data(data["path"]), getattr(dealt[0], part), data["split"])
    predictors = [load_predictor(run / f"fold-{index}" / "model.keras") for run in runs]

    def predict(images: np.ndarray) -> np.ndarray:
        return np.mean([one.predict_patient(images) for one in predictors], axis=0)

    for own in by_patient(slices).values():
        images, truth = read_patient(own)
        plain = predict(images)
        turned = predict(images[:, :, ::-1])[:, :, ::-1]
        single = np.concatenate([predict(image[None]) for image in images])
        found = Probabilities(plain, (plain + turned) / 2, single)
        for name, row in ROWS.items():
            counts[name].append(scores.count(truth, row(found)))


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, nargs="+", required=True, help="run folders")
    parser.add_argument("--fold", type=int, nargs="+", default=[0], help="default: 0")
    parser.add_argument("--part", choices=("validation", "test"), default="validation")
    options = parser.parse_args()
    load_keras()
    counts: dict[str, list[scores.Counts]] = {name: [] for name in ROWS}
    try:
        for index in options.fold:
            count_fold(options.run, index, options.part, counts)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    many = f", mean of {len(options.run)} networks" if len(options.run) > 1 else ""
    patients = len(next(iter(counts.values())))
    print(f"folds {options.fold}, {patients} {options.part} patients{many}\n")
    print("| tumour is | mean Dice | median | worst | pooled IoU |\n|---|---:|---:|---:|---:|")
    for name, each in counts.items():
        dices = [scores.dice(one) for one in each]
        figures = (
            np.mean(dices),
            np.median(dices),
            min(dices),
            scores.iou(sum(each, scores.Counts())),
        )
        print(f"| {name} | {' | '.join(f'{figure:.4f}' for figure in figures)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
