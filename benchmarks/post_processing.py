"""What can be had after training: threshold, flips, smoothing over slices, largest component.

    python benchmarks/post_processing.py --run runs/kaggle_3m-agd_small --part validation

Choose by validation patients; `--part test` then tells whether the choice was worth anything.
Several runs of the same folds are averaged: what an ensemble of their networks would give.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from agd_keras.config import load_config
from agd_keras.data.datasets import find_data
from agd_keras.data.folds import load_folds, select
from agd_keras.evaluation import scores
from agd_keras.evaluation.evaluate import by_patient, read_patient
from agd_keras.inference.postprocess import make_mask
from agd_keras.inference.predictor import load_predictor
from agd_keras.training.quiet import load_keras

Pair = tuple[np.ndarray, np.ndarray]


def smooth(probability: np.ndarray, weight: float) -> np.ndarray:
    """Averages each slice with its neighbours, which weigh `weight` each."""
    kernel = [weight, 1 - 2 * weight, weight]
    return ndimage.convolve1d(probability, kernel, axis=0, mode="nearest")


ROWS: dict[str, Callable[[Pair], np.ndarray]] = {
    **{f"from {p}": (lambda pair, p=p: pair[0] >= p) for p in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)},
    **{f"flips, from {p}": (lambda pair, p=p: pair[1] >= p) for p in (0.4, 0.5, 0.6)},
    **{
        f"flips, neighbours {w}": (lambda pair, w=w: smooth(pair[1], w) >= 0.5)
        for w in (0.1, 0.2, 0.3)
    },
    "flips, largest component": lambda pair: make_mask(pair[1], largest_component=True),
}


def main() -> None:
    """Prints the table of one fold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, nargs="+", required=True, help="run folders")
    parser.add_argument("--fold", type=int, default=0, help="default: 0")
    parser.add_argument("--part", choices=("validation", "test"), default="validation")
    options = parser.parse_args()
    load_keras()
    dealt = [load_folds(run / "folds.json")[options.fold] for run in options.run]
    fold = dealt[0]
    if any(other != fold for other in dealt):
        parser.error(f"--run: fold {options.fold} has other patients in one run than in another")
    data = load_config(options.run[0] / "config.yaml")["data"]
    slices = select(find_data(data["path"]), getattr(fold, options.part), data["split"])
    models = (run / f"fold-{options.fold}" / "model.keras" for run in options.run)
    predictors = [load_predictor(model) for model in models]

    def predict(images: np.ndarray) -> np.ndarray:
        return np.mean([one.predict_patient(images) for one in predictors], axis=0)

    counts: dict[str, list[scores.Counts]] = {name: [] for name in ROWS}
    patients = by_patient(slices)
    for own in patients.values():
        images, truth = read_patient(own)
        plain = predict(images)
        turned = predict(images[:, :, ::-1])[:, :, ::-1]
        for name, row in ROWS.items():
            counts[name].append(scores.count(truth, row((plain, (plain + turned) / 2))))
    count = f", mean of {len(predictors)} networks" if len(predictors) > 1 else ""
    print(f"fold {options.fold}, {len(patients)} {options.part} patients{count}\n")
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


if __name__ == "__main__":
    main()
