"""Models on whole scans of another source, as Markdown.

    python benchmarks/elsewhere.py --model agd_small runs/mine --cases DIR --mask GT_W.nii.gz

A folder below DIR is a case: NIfTI files named by their contrast, as `agd-predict` takes them, and
the mask, whose labels above 0 are tumour. Confidence is the mean probability of what is marked: of
it, precision is the share that is right. Expected is the sum of all probabilities, as a share of
the true volume: 1 where they mean what they say, missed tumour included.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from agd_keras.errors import InputError
from agd_keras.evaluation import scores
from agd_keras.io.case import Case
from agd_keras.io.discovery import find_cases, read_case
from agd_keras.io.nifti import read_nifti
from agd_keras.training.quiet import load_keras


def read_cases(root: Path, mask: str) -> Iterator[tuple[str, Case, np.ndarray]]:
    """Names, scans and true masks of all cases."""
    for folder in sorted(path.parent for path in root.glob(f"*/{mask}")):
        contrasts = [path for path in sorted(folder.glob("*.nii*")) if path.name != mask]
        sources = find_cases(contrasts)
        if len(sources) != 1:
            raise InputError(f"{folder}: expected contrasts of one case, found {len(sources)}")
        truth = read_nifti(mask, [folder / mask], ("FLAIR",)).images[..., 0] > 0
        yield folder.name, read_case(sources[0]), truth


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", nargs="+", required=True, help="as for agd-predict")
    parser.add_argument("--cases", type=Path, required=True, help="folder of folders")
    parser.add_argument("--mask", default="mask.nii.gz", help="name of the mask in each folder")
    options = parser.parse_args()
    load_keras()
    from agd_keras.inference.predictor import load_predictor

    print("| model | case | Dice | precision | recall | confidence | expected |")
    print("|---|---|---:|---:|---:|---:|---:|")
    try:
        for model in options.model:
            predictor = load_predictor(model)
            rows = []
            for name, case, truth in read_cases(options.cases, options.mask):
                probability = predictor.predict_patient(case.images)
                marked = probability >= predictor.calibration.threshold
                counts = scores.count(truth, marked)
                sure = float(probability[marked].mean()) if marked.any() else np.nan
                quality = (scores.precision(counts), scores.recall(counts))
                expected = float(probability.sum(dtype=np.float64) / truth.sum())
                rows.append((scores.dice(counts), *quality, sure, expected))
                print_row(model, name, rows[-1])
            if not rows:
                raise InputError(f"{options.cases}: expected folders with {options.mask}")
            print_row(model, "mean", np.nanmean(rows, axis=0))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def print_row(model: str, case: str, figures: "tuple[float, ...] | np.ndarray") -> None:
    """Prints a line of the table."""
    print(f"| {model} | {case} | {' | '.join(f'{figure:.3f}' for figure in figures)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
