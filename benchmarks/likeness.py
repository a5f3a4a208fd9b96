"""How alike scans are by their fingerprints, other scans and one scan in other forms, as Markdown.

    python benchmarks/likeness.py --data data/kaggle_3m --others phantom DIR

The table of docs/finetune.md. `agd-evaluate` takes two scans for one where they are as alike as
`agd_keras.io.likeness.SAME`. Untold are pairs of which one has too few slices with tissue.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np

from agd_keras.data.datasets import find_data
from agd_keras.errors import InputError
from agd_keras.io.case import Case
from agd_keras.io.discovery import read_case
from agd_keras.io.likeness import SAME, describe_likeness, similarity

NOISE = np.random.default_rng(0)


def without_ends(flair: np.ndarray) -> np.ndarray:
    """Leaves out a fifth of the slices at each end."""
    end = round(len(flair) / 5)
    return flair[end : len(flair) - end]


FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "another scale and numeric type": lambda flair: np.round(117.3 * flair + 3),
    "padding": lambda flair: np.pad(flair, ((0, 0), (20, 7), (0, 40))),
    "without a fifth of its slices at each end": without_ends,
    "a gamma of 0.7": lambda flair: 255 * (flair / 255) ** 0.7,
    "a gamma of 1.5": lambda flair: 255 * (flair / 255) ** 1.5,
    "noise of 4 grey levels": lambda flair: flair + NOISE.normal(0, 4, flair.shape),
}


def described(case: Case, change: Callable[[np.ndarray], np.ndarray] | None = None) -> list[str]:
    """The fingerprint of a case whose FLAIR was changed."""
    if change is None:
        return describe_likeness(case)
    flair = change(case.images[..., 1].astype(np.float32))
    return describe_likeness(replace(case, images=np.stack([flair] * 3, axis=-1)))


def print_row(compared: str, found: list[float]) -> None:
    """Prints a line of the table: quantiles of the pairs that tell enough, and how many do not."""
    told = [one for one in found if one > -1]
    same = sum(one >= SAME for one in told)
    cells = (*np.quantile(told, (0, 0.5, 0.999)), max(told)) if told else ()
    row = " | ".join(f"{cell:.2f}" for cell in cells) or "| | |"
    print(f"| {compared} | {len(found)} | {len(found) - len(told)} | {row} | {same} |", flush=True)


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="as for agd-train")
    parser.add_argument("--others", nargs="*", default=[], help="data sets of other persons")
    options = parser.parse_args()
    try:
        cases = [read_case(ref) for ref in find_data(options.data)]
        known = [described(case) for case in cases]
        print(f"{len(cases)} scans of {options.data}; one scan from {SAME} on\n")
        print(
            "| compared | pairs | untold | least | half below | 99.9 % below | highest | one scan |"
        )
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        print_row("two scans", [similarity(*pair) for pair in combinations(known, 2)])
        parts = [scan[: round(len(scan) * 2 / 3)] for scan in known]
        pairs = [(part, scan) for part in parts for scan in known if part != scan[: len(part)]]
        print_row("lower two thirds of a scan, another", [similarity(*pair) for pair in pairs])
        for name in options.others:
            others = [describe_likeness(read_case(ref)) for ref in find_data(name)]
            found = [similarity(other, scan) for other in others for scan in known]
            print_row(f"{len(others)} scans of {name}", found)
        for form, change in FORMS.items():
            found = [
                similarity(scan, described(case, change))
                for case, scan in zip(cases, known, strict=True)
            ]
            print_row(f"one scan: {form}", found)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
