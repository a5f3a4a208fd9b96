"""Where Dice is lost: every wrong pixel of a case is of one of four kinds.

In this order, each within its own slice:

- outline: within two pixels of the true outline, where two readers differ as well
- missed: tumour in a slice in which nothing was marked
- invented: marked in a slice without tumour
- region: all others: parts of the tumour left out, or surroundings included
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agd_keras.evaluation import scores
from agd_keras.evaluation.reliability import near_boundary

KINDS = ("outline", "missed", "invented", "region")
MARGIN = 2  # pixels

ErrorCounts = Mapping[str, Mapping[str, int]]


def kinds_of_error(truth: np.ndarray, prediction: np.ndarray) -> dict[str, np.ndarray]:
    """Shares out the wrong pixels among the kinds.

    Args:
        truth: Boolean array of shape `(slices, height, width)`.
        prediction: Boolean array of the same shape.

    Returns:
        By kind a boolean array of the same shape; each wrong pixel is in exactly one.

    Example:

    >>> truth = np.arange(9)[None, None] < 3
    >>> kinds = kinds_of_error(truth, np.arange(9)[None, None] < 6)
    >>> np.flatnonzero(kinds["outline"]).tolist(), np.flatnonzero(kinds["region"]).tolist()
    ([3, 4], [5])
    """
    left = truth != prediction
    kinds = {}
    for kind, where in {
        "outline": near_boundary(truth, np.zeros_like(truth), MARGIN),
        "missed": ~prediction.any(axis=(1, 2), keepdims=True),
        "invented": ~truth.any(axis=(1, 2), keepdims=True),
        "region": np.True_,
    }.items():
        kinds[kind] = left & where
        left = left & ~kinds[kind]
    return kinds


def count_errors(truth: np.ndarray, prediction: np.ndarray) -> dict[str, dict[str, int]]:
    """Counts the wrong pixels of a stack by kind; counts of stacks add up.

    Args:
        truth: Boolean array of shape `(slices, height, width)`.
        prediction: Boolean array of the same shape.

    Returns:
        By kind `fp`, pixels marked wrongly, and `fn`, pixels left out.

    Example:

    >>> count_errors(np.ones((1, 1, 2), bool), np.zeros((1, 1, 2), bool))["missed"]
    {'fp': 0, 'fn': 2}
    """
    counts = {}
    for kind, wrong in kinds_of_error(truth, prediction).items():
        left_out = int(np.count_nonzero(wrong & truth))
        counts[kind] = {"fp": int(np.count_nonzero(wrong)) - left_out, "fn": left_out}
    return counts


def add_errors(parts: Sequence[ErrorCounts | None]) -> dict[str, dict[str, int]] | None:
    """Adds the counts of several stacks.

    Args:
        parts: Results of `count_errors`.

    Returns:
        A dict of the same form; None if the counts of a part are unknown.

    Example:

    >>> one = dict.fromkeys(KINDS, {"fp": 1, "fn": 2})
    >>> add_errors([one, one])["region"], add_errors([one, None])
    ({'fp': 2, 'fn': 4}, None)
    """
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return {
        kind: {key: sum(part[kind][key] for part in known) for key in ("fp", "fn")}
        for kind in KINDS
    }


def error_shares(errors: ErrorCounts | None) -> dict[str, float | None]:
    """Tells which share of the wrong pixels is of each kind.

    Args:
        errors: Result of `count_errors`, None if unknown.

    Returns:
        By kind 0 to 1; None where nothing is wrong, or nothing is known.

    Example:

    >>> error_shares(dict.fromkeys(KINDS, {"fp": 1, "fn": 0}))["outline"]
    0.25
    """
    if errors is None:
        return dict.fromkeys(KINDS)
    wrong = {kind: errors[kind]["fp"] + errors[kind]["fn"] for kind in KINDS}
    total = sum(wrong.values())
    return {kind: wrong[kind] / total if total else None for kind in KINDS}


def summarize_errors(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Makes the group `errors` of `metrics.json` from the entries of single patients.

    Args:
        entries: Results of `score_patient`; those of earlier versions know of no errors.

    Returns:
        By kind `share`, of all wrong pixels, and `dice_if_repaired`, the mean Dice over patients if
        all pixels of that kind were right. None where there is nothing wrong, or where the errors
        of a patient are unknown.

    Example:

    >>> truth = np.arange(9)[None, None] < 3
    >>> entry = {"tp": 3, "fp": 3, "fn": 0, "errors": count_errors(truth, ~(~truth & truth))}
    >>> summarize_errors([entry])["region"]["share"]
    0.6666666666666666
    """
    errors = [entry.get("errors") for entry in entries]
    shares = error_shares(add_errors(errors))
    return {
        kind: {
            "share": share,
            "dice_if_repaired": None
            if share is None
            else float(np.mean([_repaired(entry, kind) for entry in entries])),
        }
        for kind, share in shares.items()
    }


def _repaired(entry: Mapping[str, Any], kind: str) -> float:
    """Dice of a patient if the errors of one kind were none."""
    fp, fn = (entry["errors"][kind][key] for key in ("fp", "fn"))
    return scores.dice(scores.Counts(entry["tp"] + fn, entry["fp"] - fp, entry["fn"] - fn))
