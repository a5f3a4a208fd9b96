"""What the size of the network's input costs at most, and what cropping to the head could give.

The masks themselves go down to the input's size and back as a perfect network's would: their Dice
is the best that can be reached there. The head is what is tissue by `normalize_patient` in at least
two of a hundred pixels of a row or column, over all slices of a patient.

    python benchmarks/limits.py --data data/kaggle_3m
"""

import argparse
from pathlib import Path

import numpy as np

from agd_keras.data.datasets import find_data
from agd_keras.data.preprocess import normalize_patient, resize_mask, resize_probability
from agd_keras.evaluation import scores
from agd_keras.evaluation.evaluate import by_patient, read_patient
from agd_keras.io.image_files import FLAIR

SIZES = (64, 96, 128, 160, 192)


def ceiling(truth: np.ndarray, size: int) -> float:
    """Dice of masks `(slices, height, width)` that were brought to `size` and back."""
    small = (resize_mask(mask, size).astype(np.float32) for mask in truth)
    back = np.stack([resize_probability(mask, truth.shape[1:]) >= 0.5 for mask in small])
    return scores.dice(scores.count(truth, back))


def head(images: np.ndarray) -> tuple[int, int]:
    """Height and width in pixels of what is not air in images `(slices, height, width, 3)`."""
    tissue = (normalize_patient(images)[..., FLAIR] > -1.5).any(axis=0)
    spans = (np.flatnonzero(tissue.mean(axis=axis) > 0.02) for axis in (1, 0))
    height, width = (int(span[-1] - span[0] + 1) if span.size else 0 for span in spans)
    return height, width


def main() -> None:
    """Prints both."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="data/kaggle_3m", help="default: %(default)s")
    data = parser.parse_args().data
    best: dict[int, list[float]] = {size: [] for size in SIZES}
    heads = []
    for slices in by_patient(find_data(data)).values():
        images, truth = read_patient(slices)
        heads.append(head(images))
        for size in SIZES if truth.any() else ():
            best[size].append(ceiling(truth, size))
    print(f"{Path(data).name}, {len(heads)} patients\n")
    print("| input | mean of the best Dice | worst patient |\n|---|---:|---:|")
    for size, dices in best.items():
        print(f"| {size}×{size} | {np.mean(dices):.3f} | {np.min(dices):.3f} |")
    low, middle, high = (np.percentile(heads, share, axis=0) for share in (25, 50, 75))
    print("\n| head, pixels | quarter | half | three quarters |\n|---|---:|---:|---:|")
    for name, *values in zip(("height", "width"), low, middle, high, strict=True):
        print(f"| {name} | {' | '.join(f'{value:.0f}' for value in values)} |")


if __name__ == "__main__":
    main()
