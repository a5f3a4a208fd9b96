"""Does uncertainty tell where and for whom a prediction fails? Measured over cases with labels."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from scipy import special

from agd_keras.errors import InputError
from agd_keras.evaluation import reliability, scores
from agd_keras.evaluation.evaluate import check_probability
from agd_keras.evaluation.reliability import near_tumor
from agd_keras.evaluation.uncertainty_curves import (
    filtering_curves,
    filtering_score,
    mean_curves,
    risk_coverage,
)
from agd_keras.io.case import Case
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.labels import read_labelled
from agd_keras.region_masks import by_region
from agd_keras.regions import names_of


class Maps(Protocol):
    """What a prediction with uncertainty consists of, see `UncertaintyMaps`."""

    @property
    def probability(self) -> np.ndarray: ...
    @property
    def entropy(self) -> np.ndarray: ...
    @property
    def score(self) -> float: ...


def entropy(probability: np.ndarray) -> np.ndarray:
    """Entropy of a prediction for two classes, in nats: 0 at 0 and 1, ln 2 at 0.5.

    Args:
        probability: Float array of any shape, values 0 to 1.

    Returns:
        Float array of the same shape, values 0 to 0.693.

    Example:

    >>> entropy(np.array([0.0, 0.5, 1.0])).round(3).tolist()
    [0.0, 0.693, 0.0]
    """
    probability = np.clip(probability, 0, 1)
    return special.entr(probability) + special.entr(1 - probability)


def patient_uncertainty(probability: np.ndarray, threshold: float = 0.5) -> float:
    """Scores how uncertain a patient's mask is: the mean entropy at the predicted tumour.

    Over the whole stack the score would mostly tell how large the tumour is, since the rest is easy
    (Kahl et al. 2024). Where the mask is empty, the least certain pixel stands in: that of a
    tumour having been missed.

    Args:
        probability: Float array of shape `(slices, height, width)`, values 0 to 1: all slices of a
            patient.
        threshold: A pixel is predicted as tumour at or above this probability.

    Returns:
        0 (certain) to 1: the entropy as a share of its largest value ln 2, over the pixels at most
        5 rows and columns away from predicted tumour.

    Reference:
        Jungo et al. 2020, https://doi.org/10.3389/fnins.2020.00282; Kahl et al. 2024, ValUES,
        https://arxiv.org/abs/2401.08501.

    Example:

    >>> patient_uncertainty(np.array([[[0.5, 1.0, 1.0, 0.0]]]))
    0.25
    """
    mask = probability >= threshold
    if not mask.any():
        return float(entropy(probability).max(initial=0) / np.log(2))
    return float(entropy(probability[near_tumor(mask, mask)]).mean() / np.log(2))


def evaluate_uncertainty(
    predict: Callable[[Case], Maps],
    cases: Iterable[CaseRef],
    threshold: float = 0.5,
    on_case: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Measures uncertainty at the original resolution, one case in memory at a time.

    Args:
        predict: Function of a `Case`, as for `evaluate`, that returns the mean probability, its
            entropy in nats, and a score.
        cases: Cases with labels.
        threshold: A pixel is predicted as tumour at or above this probability.
        on_case: Called with the name of each case as it is done.

    Returns:
        Everything that `uncertainty.json` holds: `subjects`, Dice and score by patient;
        `risk_coverage`; `qu_brats`, the means over patients of `filtering_curves` by entropy, and
        of the `score`; `calibration`, Brier score and ECE by part of the stack: `image`, all
        pixels, `near_tumor`, as in `metrics.json`, and `boundary`. Where there are several regions,
        these are of the first, and `regions` has them of each. What cannot be computed is None.

    Raises:
        InputError: There is no case, one has no label, or sizes do not fit.

    Example:

    >>> evaluate_uncertainty(predict, cases)  # doctest: +SKIP
    {'subjects': {'TCGA_CS_4941': {'dice': 0.87, 'score': 0.41}}, ...}
    """
    studies: dict[str, _Study] = {}
    for ref in sorted(cases):
        case, truth = read_labelled(ref)
        maps = predict(case)
        probability = check_probability(maps.probability, truth.shape)
        regions = names_of(ref.regions)
        for place, name in enumerate(regions or [""]):
            own, found, doubt = (
                by_region(one)[..., place] for one in (truth, probability, maps.entropy)
            )
            score = patient_uncertainty(found, threshold) if regions else maps.score
            study = studies.setdefault(name, _Study(threshold))
            study.add(ref.case_id, own, found, doubt, score)
        if on_case:
            on_case(ref.case_id)
    if not studies:
        raise InputError("evaluation: expected at least one patient, got none")
    results = {name: study.result() for name, study in studies.items()}
    several = {"regions": results} if "" not in results else {}
    return {**next(iter(results.values())), **several}


class _Study:
    """What is gathered of one region, a case at a time."""

    def __init__(self, threshold: float):
        self.threshold = threshold
        self.subjects: dict[str, dict[str, float]] = {}
        self.curves: list[dict[str, list[float]]] = []
        self.sums: dict[str, list[dict[str, Any]]] = {}

    def add(
        self,
        case: str,
        truth: np.ndarray,
        probability: np.ndarray,
        entropy: np.ndarray,
        score: float,
    ) -> None:
        """Scores a case."""
        prediction = probability >= self.threshold
        dice = scores.dice(scores.count(truth, prediction))
        self.subjects[case] = {"dice": dice, "score": score}
        self.curves.append(filtering_curves(truth, prediction, entropy / np.log(2)))
        parts = {
            "image": np.ones_like(truth),
            "near_tumor": near_tumor(truth, prediction),
            "boundary": reliability.near_boundary(truth, prediction),
        }
        for name, part in parts.items():
            sums = reliability.calibration_sums(truth, probability, prediction, part)
            self.sums.setdefault(name, []).append(sums)

    def result(self) -> dict[str, Any]:
        """Returns what `evaluate_uncertainty` returns of one region."""
        own = self.subjects.values()
        total = {name: reliability.add_calibration(stacks) for name, stacks in self.sums.items()}
        return {
            "threshold": self.threshold,
            "subjects": self.subjects,
            "risk_coverage": risk_coverage(
                [one["score"] for one in own], [one["dice"] for one in own]
            ),
            "qu_brats": {
                **mean_curves(self.curves),
                "score": float(np.mean([filtering_score(one) for one in self.curves])),
            },
            "calibration": {
                name: {"brier": reliability.brier(one), "ece": reliability.ece(one)}
                for name, one in total.items()
            },
        }
