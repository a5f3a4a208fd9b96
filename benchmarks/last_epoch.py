"""The network of the last epoch beside that of the epoch that validation picked, as Markdown.

    python benchmarks/last_epoch.py --run runs/agd_small-5fold --fold 0 1 2 3 4

Few patients validate, so that the best of many epochs is in part the luckiest. A finished fold
still holds the state of its last epoch: its averaged weights are scored here on the same patients.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from agd_keras.config import load_config, make_config
from agd_keras.data.cache import build_cache
from agd_keras.data.datasets import find_data
from agd_keras.data.splits import load_folds, select
from agd_keras.errors import InputError
from agd_keras.training.quiet import load_keras


def score_fold(run: Path, index: int) -> dict[str, dict[str, Any]]:
    """Scores both networks of a fold on its test patients: sums by patient, by network."""
    from agd_keras.data.dataset import make_dataset
    from agd_keras.evaluation.evaluate import evaluate
    from agd_keras.inference.predictor import Predictor, load_model
    from agd_keras.training.build import build_model, compile_model
    from agd_keras.training.fit import CALIBRATION

    config = make_config(load_config(run / "config.yaml"))
    options, folder = config.training, run / f"fold-{index}"
    states = list((folder / "resume").glob("epoch-*-step-0.weights.h5"))
    if len(states) != 1:
        raise InputError(f"{folder}/resume: expected the state of an epoch, found {len(states)}")
    slices = find_data(config.data.path)
    fold = load_folds(run / "folds.json")[index]
    train, test = (select(slices, part, config.data.split) for part in (fold.train, fold.test))

    last = build_model(config.model, config.data.image_size, "float32")
    compile_model(last, options, max(1, len(train) // options.batch_size))
    last.optimizer.build(last.trainable_variables)
    last.load_weights(states[0])
    last.optimizer.finalize_variable_values(last.trainable_variables)
    if options.ema:  # the statistics are those of the weights that were not averaged
        cache = build_cache(slices, config.data.image_size)
        batches = make_dataset(
            *(cache, train, options.batch_size, config.data.augment, options.seed, True),
            config.data.tumor_sampling,
        )
        for images, _ in batches.take(CALIBRATION):
            last(images, training=True)
    picked = load_model(folder / "model.keras", compiled=False)
    return {
        name: evaluate(Predictor([model]).predict_patient, test, among=slices, surface=False)[
            "subjects"
        ]
        for name, model in (("picked", picked), ("last", last))
    }


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    parser.add_argument("--fold", type=int, nargs="+", default=[0], help="default: 0")
    options = parser.parse_args()
    load_keras()
    from agd_keras.evaluation.patients import summarize

    subjects: dict[str, dict[str, Any]] = {"picked": {}, "last": {}}
    print("| fold | epoch | test patients | mean Dice | median | pooled IoU |")
    print("|---|---|---:|---:|---:|---:|")
    try:
        for index in options.fold:
            for name, own in score_fold(options.run, index).items():
                subjects[name] |= own
                print(row(str(index), name, len(own), summarize(own)), flush=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, own in subjects.items():
        print(row("all", name, len(own), summarize(own)))
    return 0


def row(fold: str, epoch: str, patients: int, metrics: dict[str, Any]) -> str:
    """Formats a line of the table."""
    subject = metrics["subject"]
    figures = (subject["mean_dice"], subject["median_dice"], metrics["pooled"]["iou"])
    cells = (fold, epoch, str(patients), *(f"{figure:.4f}" for figure in figures))
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
