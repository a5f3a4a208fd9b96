"""How well scans of another kind are told, as Markdown.

    python benchmarks/familiarity.py --data data/kaggle_3m --elsewhere DIR --mask GT_W.nii.gz

False alarms: each scan of a data set against all of the others. True alarms: the same scans changed
in one way at a time, against all, and those of DIR, as for `elsewhere.py`.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from elsewhere import read_cases

from agd_keras.data.brain import brain_mask, strip_skull
from agd_keras.data.datasets import find_data
from agd_keras.data.profile import ScanProfile, describe_scan
from agd_keras.errors import InputError
from agd_keras.inference.familiarity import Familiarity, fit_familiarity
from agd_keras.io.image_files import FLAIR
from agd_keras.io.labels import read_labelled
from agd_keras.training.quiet import load_keras


def without_skull(images: np.ndarray, tumor: np.ndarray) -> np.ndarray:
    """All but the brain taken away, as the augmentation `scanners` does it."""
    return strip_skull(images, brain_mask(images) | tumor)


def inverted(images: np.ndarray, tumor: np.ndarray) -> np.ndarray:
    """Dark is bright, and air the brightest."""
    return images.max() - images


def wider(images: np.ndarray, tumor: np.ndarray) -> np.ndarray:
    """In a field of view of one and a half times the side."""
    more = [(side // 4, side // 4) for side in images.shape[1:3]]
    air = images.min(axis=(0, 1, 2))
    return np.stack(
        [
            np.pad(images[..., c], ((0, 0), *more), constant_values=air[c])
            for c in range(images.shape[-1])
        ],
        axis=-1,
    )


def thinner(images: np.ndarray, tumor: np.ndarray) -> np.ndarray:
    """Five slices in place of one."""
    return np.repeat(images, 5, axis=0)


def flair_only(images: np.ndarray, tumor: np.ndarray) -> np.ndarray:
    """FLAIR in place of both others."""
    return np.repeat(images[..., FLAIR : FLAIR + 1], images.shape[-1], axis=-1)


def shuffled(images: np.ndarray, tumor: np.ndarray) -> np.ndarray:
    """Contrasts in each other's place."""
    return images[..., [1, 2, 0]]


CHANGES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "without skull": without_skull,
    "inverted": inverted,
    "field of view 1.5 times as wide": wider,
    "five times as many slices": thinner,
    "FLAIR only": flair_only,
    "contrasts in each other's place": shuffled,
}


def print_row(name: str, told: Iterable[list[str]]) -> None:
    """Prints how many are told, and the commonest ways."""
    told = list(told)
    ways = Counter(
        re.sub(r"\d+ slices", "slices", way.partition(" (")[0]) for one in told for way in one
    )
    words = ", ".join(f"{way} {count}" for way, count in ways.most_common(3))
    print(f"| {name} | {sum(map(bool, told))} of {len(told)} | {words} |")


def leave_one_out(scans: dict[str, ScanProfile]) -> dict[str, list[str]]:
    """In which ways each scan is unlike all of the others."""
    return {
        case: fit_familiarity(other for name, other in scans.items() if name != case).differences(
            scan
        )
        for case, scan in scans.items()
    }


def judge_elsewhere(root: Path, mask: str, known: dict[str, Familiarity]) -> None:
    """Prints what is told of other scans."""
    for case_id, case, _ in read_cases(root, mask):
        scan = describe_scan(case.images, case.spacing)
        for name, familiarity in known.items():
            print(f"- {case_id}, {name}: {', '.join(familiarity.differences(scan)) or 'alike'}")


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a data set, as for agd-train")
    parser.add_argument("--elsewhere", type=Path, help="folder of other scans")
    parser.add_argument("--mask", default="mask.nii.gz", help="name of the mask in each folder")
    options = parser.parse_args()
    load_keras()
    scans: dict[str, dict[str, ScanProfile]] = {"as they are": {}, **{name: {} for name in CHANGES}}
    try:
        for ref in find_data(options.data):
            case, tumor = read_labelled(ref)
            scans["as they are"][ref.case_id] = describe_scan(case.images, case.spacing)
            for name, change in CHANGES.items():
                scans[name][ref.case_id] = describe_scan(change(case.images, tumor), case.spacing)
        own = list(scans["as they are"].values())
        known = fit_familiarity(own)
        left_out = leave_one_out(scans["as they are"])
        print("| scans | told | ways |\n|---|---:|---|")
        print_row("each against all others", left_out.values())
        for name in CHANGES:
            print_row(name, (known.differences(scan) for scan in scans[name].values()))
        print()
        for case, ways in left_out.items():
            if ways:
                print(f"- {case}, against all others: {', '.join(ways)}")
        if options.elsewhere:
            both = fit_familiarity([*own, *scans["without skull"].values()])
            trained = {"trained on them as they are": known, "and without skull": both}
            judge_elsewhere(options.elsewhere, options.mask, trained)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
