"""Does the stated confidence mean what it says, at home, without skull and elsewhere? As Markdown.

    python benchmarks/confidence.py --run runs/mine --fold 0 --data data/kaggle_3m \
        --elsewhere DIR --mask GT_W.nii.gz

The temperatures are fitted on the validation patients of the fold, from whom all but the brain was
taken as the augmentation `scanners` does it: `one` for all pixels, `two` for those that are marked
and those that are not. They are then read on the test patients, and on the cases of DIR, as for
`elsewhere.py`, on which nothing is fitted. Of each group: mean confidence of what is marked, its
precision, the distance of the two, mean over patients; the sum of all probabilities as a share of
the true volume, and its distance to 1, mean over patients.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from elsewhere import read_cases
from scipy import special

from agd_keras.data.brain import brain_mask, strip_skull
from agd_keras.data.datasets import find_data
from agd_keras.errors import InputError
from agd_keras.evaluation.reliability import fit_temperature, scale_logits
from agd_keras.io.labels import read_labelled
from agd_keras.runs.run_folder import RunFolder
from agd_keras.training.quiet import load_keras
from agd_keras.weights import find_model

LOGITS = np.linspace(-16.2, 16.2, 3241)
MARKED = LOGITS > -0.005
Read = Callable[[np.ndarray], np.ndarray]


def count(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Pixels without and with tumour by logit: all that any reading of them needs."""
    logit = special.logit(np.clip(probability, 1e-7, 1 - 1e-7, dtype=np.float64))
    index = np.rint((logit - LOGITS[0]) / (LOGITS[1] - LOGITS[0])).astype(int)
    return np.stack([np.bincount(index[truth == one], minlength=len(LOGITS)) for one in (0, 1)])


def fit(counts: Iterable[np.ndarray], part: np.ndarray) -> float:
    """The temperature of some of the pixels."""
    weights = np.sum(list(counts), axis=0)[:, part]
    probabilities = np.tile(special.expit(LOGITS[part]), 2)
    return fit_temperature(np.repeat([False, True], part.sum()), probabilities, weights.ravel())


def print_row(name: str, reading: str, counts: list[np.ndarray], read: Read) -> None:
    """Prints a line of the table."""
    probability = special.expit(read(LOGITS))
    whole = np.sum(counts, axis=0)
    gaps, errors = [], []
    for patient in counts:
        expected = patient.sum(axis=0) @ probability / patient[1].sum()
        errors.append(abs(expected - 1))
        if patient[:, MARKED].any():
            stated, right = states(patient, probability)
            gaps.append(abs(stated - right))
    stated, right = states(whole, probability)
    expected = whole.sum(axis=0) @ probability / whole[1].sum()
    figures = (stated, right, np.mean(gaps), expected, np.mean(errors))
    cells = " | ".join(f"{figure:.3f}" for figure in figures)
    print(f"| {name} | {reading} | {cells} |", flush=True)


def states(counts: np.ndarray, probability: np.ndarray) -> tuple[float, float]:
    """Confidence and precision of what is marked."""
    marked = counts[:, MARKED]
    total = marked.sum()
    return marked.sum(axis=0) @ probability[MARKED] / total, marked[1].sum() / total


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", required=True, help="a run folder, or a preset with weights")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--data", type=Path, required=True, help="what it was trained on")
    parser.add_argument("--elsewhere", type=Path, help="folder of folders")
    parser.add_argument("--mask", default="mask.nii.gz", help="name of the mask in each folder")
    options = parser.parse_args()
    load_keras()
    from agd_keras.inference.predictor import load_predictor

    try:
        run = find_model(options.run)
        [fold] = [one for one in RunFolder(run).read_folds() if one.index == options.fold]
        predictor = load_predictor(RunFolder(run).fold(options.fold).model)
        stored = predictor.calibration.temperature
        predictor.calibration = replace(predictor.calibration, temperature=1.0)
        found: dict[str, list[np.ndarray]] = {}

        def predict(name: str, images: np.ndarray, truth: np.ndarray) -> None:
            found.setdefault(name, []).append(count(truth, predictor.predict_patient(images)))

        refs = {ref.case_id: ref for ref in find_data(options.data)}
        for part in ("validation", "test"):
            for case_id in getattr(fold, part):
                case, tumor = read_labelled(refs[case_id])
                predict(part, case.images, tumor)
                brain = brain_mask(case.images) | tumor
                predict(f"{part}, no skull", strip_skull(case.images, brain), tumor)
        if options.elsewhere:
            for name, case, truth in read_cases(options.elsewhere, options.mask):
                predict("elsewhere", case.images, truth)
                found[name] = found["elsewhere"][-1:]
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    fitted = found["validation, no skull"]
    one, above, below = (fit(fitted, part) for part in (MARKED | True, MARKED, ~MARKED))
    readings: dict[str, Read] = {
        f"as stored, T {stored:.2f}": lambda logit: scale_logits(logit, stored),
        "as it comes, T 1": lambda logit: logit,
        f"one, T {one:.2f}": lambda logit: scale_logits(logit, one),
        f"two, T {above:.2f} and {below:.2f}": lambda logit: np.where(
            MARKED, scale_logits(logit, above), scale_logits(logit, below)
        ),
    }
    print("| patients | temperature | confidence | precision | mean gap | expected | mean error |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for name, counts in found.items():
        for reading, read in readings.items():
            print_row(name, reading, counts, read)
    return 0


if __name__ == "__main__":
    sys.exit(main())
