"""The one measure: a predictor on cases in, every figure out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from agd_keras.evaluation.patients import score_regions
from agd_keras.evaluation.summary import summarize
from agd_keras.io.case import Case
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.labels import read_labelled
from agd_keras.regions import names_of

PROTOCOL = ("split", "folds", "augmentation", "seed", "model", "data_fingerprint")

Predict = Callable[[Case], np.ndarray]


def check_probability(probability: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns what a predictor gave, if it is a probability for each pixel of the stack.

    Args:
        probability: What `predict` returned.
        shape: The shape it must have, `(slices, height, width)`, and of several their number.

    Raises:
        ValueError: The shape is another or a value lies outside of 0 to 1.
    """
    probability = np.asarray(probability)
    if probability.shape != shape:
        raise ValueError(
            f"predict: expected probabilities of shape {shape}, got {probability.shape}"
        )
    # NaN fails this too; interpolation may pass the ends by rounding.
    if not (probability.min() >= -1e-5 and probability.max() <= 1 + 1e-5):
        raise ValueError(
            "predict: expected probabilities from 0 to 1, "
            f"got {probability.min()} to {probability.max()}"
        )
    return probability


def evaluate(
    predict: Predict,
    cases: Iterable[CaseRef],
    threshold: float = 0.5,
    surface: bool = True,
    protocol: dict[str, Any] | None = None,
    on_case: Callable[[str, dict[str, Any]], None] | None = None,
    scored: Mapping[str, Sequence[int]] | None = None,
    make_mask: Callable[[np.ndarray], np.ndarray] | None = None,
    judge: Callable[[Case], Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Measures a predictor at the original resolution, one case in memory at a time.

    Args:
        predict: Function of a `Case` that returns the float probabilities of tumour, 0 to 1, of
            shape `(slices, height, width)`, such as `predict_case` of a predictor; with an axis for
            the regions at its end where the cases have several.
        cases: Cases with labels, in any order, all of the same regions.
        threshold: A pixel is predicted as tumour at or above this probability. One other than 0.5
            belongs to the model and was chosen on validation data, never on these cases.
        surface: Whether to compute `hd95`, `nsd` and the kinds of error, which take most of the
            time; None without.
        protocol: How the model came about and what it is measured on: the keys of `PROTOCOL` and
            any further ones. A key not given is None.
        on_case: Called with name and entry of each case as it is done.
        scored: By case the indices of the slices to score, where they are only some of them, as in
            a split by slice: `predict` sees the whole case, over which intensities are normalised.
        make_mask: Function of the probabilities of a whole case that returns its mask, boolean.
            Default: what is at or above the threshold.
        judge: Function of a case that tells in which ways it is unlike what the predictor was
            trained on: `unlike` of each subject.

    Returns:
        Everything that `metrics.json` holds: `protocol`, `threshold`, `pooled`, `subject`, `slice`,
        `calibration`, `errors`, `distance_unit` and `subjects` by case. Where there are several
        regions, these are of the first, and `regions` has them of each, as has each of the
        `subjects`. Distances are in mm where
        the spacing is known, else in pixels of a stack with unit spacing, since LGG states none; a
        case of which only some slices are scored is measured in pixels, as the stack of those.
        What cannot be computed is None.

    Raises:
        InputError: There is no case, one has no label, or sizes do not fit.
        ValueError: `predict` returned something else than probabilities of the stack's shape.

    Example:

    >>> import tempfile
    >>> from agd_keras.data.phantom import make_phantom
    >>> from agd_keras.io.data_set import find_data_set
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cases = find_data_set(make_phantom(f"{folder}/phantom", patients=2, slices=8, size=64))
    ...     metrics = evaluate(lambda case: np.zeros(case.images.shape[:3]), cases)
    >>> metrics["pooled"]["recall"]
    0.0
    """
    subjects: dict[str, dict[str, Any]] = {}
    for ref in sorted(cases):
        case, truth = read_labelled(ref)
        spacing = case.spacing
        probability = check_probability(predict(case), truth.shape)
        unlike = {"unlike": list(judge(case))} if judge else {}
        del case  # its images are the most of what is in memory
        mask = make_mask(probability) if make_mask else probability >= threshold
        if scored is not None:
            places = list(scored[ref.case_id])
            # Slices that are no neighbours have no spacing.
            spacing = spacing if len(places) == len(truth) else None
            truth, probability, mask = truth[places], probability[places], mask[places]
        entry = score_regions(
            *(truth, probability, names_of(ref.regions), threshold, surface, mask, spacing)
        )
        subjects[ref.case_id] = entry | unlike
        if on_case:
            on_case(ref.case_id, subjects[ref.case_id])
    return {
        "protocol": dict.fromkeys(PROTOCOL) | (protocol or {}),
        "threshold": threshold,
        **summarize(subjects),
        "subjects": subjects,
    }


def predict_labelled(predict: Predict, ref: CaseRef) -> tuple[np.ndarray, np.ndarray]:
    """Reads a case and predicts it.

    Args:
        predict: As for `evaluate`.
        ref: A case with a label.

    Returns:
        Truth, boolean, and probabilities, both of shape `(slices, height, width)`, with an axis for
        the regions where there are several.

    Raises:
        InputError: The case cannot be read.
        ValueError: `predict` returned something else than probabilities of the stack's shape.
    """
    case, truth = read_labelled(ref)
    return truth, check_probability(predict(case), truth.shape)
