"""The model among people: patients that a second reader has outlined, too."""

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from agd_keras.errors import InputError
from agd_keras.evaluation import scores
from agd_keras.evaluation.compare import RESAMPLES, SEED, TextTable, with_interval
from agd_keras.evaluation.evaluate import Predict, check_probability
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.labels import read_labelled
from agd_keras.io.second_reader import read_second
from agd_keras.wording import counted

# What is compared, by the key of the result.
PAIRS = {
    "readers": "reader 1 and reader 2",
    "first": "model and reader 1",
    "second": "model and reader 2",
    "union": "model and what either marked",
    "intersection": "model and what both marked",
    "staple": "model and STAPLE of both",
}


def study_readers(
    predict: Predict,
    cases: Iterable[CaseRef],
    folder: str | Path,
    threshold: float = 0.5,
    on_case: Callable[[str], object] | None = None,
    make_mask: Callable[[np.ndarray], np.ndarray] | None = None,
) -> dict[str, Any]:
    """Compares a model with two readers, on the patients that both have outlined.

    Args:
        predict: As for `evaluate`.
        cases: Cases with labels, which are those of reader 1.
        folder: Masks of reader 2, see `read_second`.
        threshold: A pixel is predicted as tumour at or above this probability.
        on_case: Called with the name of each case as it is done.
        make_mask: As for `evaluate`.

    Returns:
        `subjects`: for each patient with two readers the Dice of each pair of `PAIRS`, over the
        slices that both have seen; and what `summarize_readers` makes of them.

    Raises:
        InputError: No patient has a second reader, or a mask does not fit.

    Example:

    >>> study_readers(predict, cases, "second_reader")  # doctest: +SKIP
    {'williams': {'value': 0.985, 'ci95': [0.95, 1.02]}, ...}
    """
    subjects = {}
    for ref in sorted(cases):
        patient = ref.case_id
        case, truth = read_labelled(ref)
        numbers = ref.numbers or range(1, len(truth) + 1)  # volumes number no slices
        found = read_second(folder, patient, numbers, case.plane)
        if found is None:
            continue
        places, second = found
        probability = check_probability(predict(case), truth.shape)
        if second.shape[1:] != truth.shape[1:]:
            sizes = " and ".join(f"{mask.shape[1]}x{mask.shape[2]}" for mask in (second, truth))
            raise InputError(f"{folder}: {patient}: masks of two sizes ({sizes})")
        prediction = make_mask(probability) if make_mask else probability >= threshold
        subjects[patient] = compare_masks(prediction[places], truth[places], second)
        if on_case:
            on_case(patient)
    if not subjects:
        raise InputError(f"{folder}: expected masks of some of the patients, found none")
    return {**summarize_readers(subjects), "subjects": subjects}


def compare_masks(
    model: np.ndarray, first: np.ndarray, second: np.ndarray
) -> dict[str, float | None]:
    """Dice of a model and two readers with each other and with what the readers have in common.

    Args:
        model: Boolean array of shape `(slices, height, width)`.
        first: The same of reader 1.
        second: The same of reader 2.

    Returns:
        The Dice by the keys of `PAIRS`; that of STAPLE is None without SimpleITK.

    Example:

    >>> model, first, second = (np.array(m, bool).reshape(1, 1, 3) for m in
    ...                         ([1, 1, 0], [1, 0, 0], [1, 1, 1]))
    >>> found = compare_masks(model, first, second)
    >>> found["readers"], found["union"], round(found["first"], 3)
    (0.5, 0.8, 0.667)
    """

    def dice(one: np.ndarray, other: np.ndarray) -> float:
        return scores.dice(scores.count(one, other))

    consensus = staple([first, second]) if find_spec("SimpleITK") else None
    return {
        "readers": dice(first, second),
        "first": dice(first, model),
        "second": dice(second, model),
        "union": dice(first | second, model),
        "intersection": dice(first & second, model),
        "staple": None if consensus is None else dice(consensus, model),
    }


def staple(masks: list[np.ndarray]) -> np.ndarray:
    """The mask that the readers most probably mean, each weighed by how well it fits the others.

    Args:
        masks: Boolean arrays of one shape, three dimensions.

    Returns:
        Boolean array of that shape: where the probability is at least one half.

    Reference:
        Warfield et al. 2004, doi 10.1109/TMI.2004.828354, by SimpleITK.

    Example:

    >>> mask = np.arange(24).reshape(2, 3, 4) > 20
    >>> bool((staple([mask, mask, mask]) == mask).all())
    True
    """
    import SimpleITK

    if all((mask == masks[0]).all() for mask in masks):
        return masks[0]  # nothing to estimate: also of empty masks, where it divides by zero
    images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
    return SimpleITK.GetArrayFromImage(SimpleITK.STAPLE(images, 1.0)) >= 0.5


def summarize_readers(subjects: Mapping[str, Mapping[str, float | None]]) -> dict[str, Any]:
    """Means over patients, and Williams' index.

    The index is the agreement of the model with the readers over that of the readers with each
    other, here (mean of `first` + mean of `second`) / (2 · mean of `readers`). At 1 the model
    agrees with the readers as well as they do with each other.

    Args:
        subjects: By patient what `compare_masks` returned.

    Returns:
        `patients`, `williams` and by key of `PAIRS` the mean Dice, each as `value` and `ci95`, a
        bootstrap over patients; None for what cannot be computed.

    Reference:
        Williams 1976, Comparing the joint agreement of several raters with another rater,
        Biometrics 32, 619-627.

    Example:

    >>> entry = dict.fromkeys(PAIRS, 0.9) | {"readers": 0.8, "staple": None}
    >>> round(summarize_readers({"a": entry})["williams"]["value"], 3)
    1.125
    """
    columns = {key: np.array([entry[key] for entry in subjects.values()], float) for key in PAIRS}
    chosen = [columns[key] for key in ("first", "second", "readers")]
    undefined = {"value": None, "ci95": [None, None]}
    return {
        "patients": len(subjects),
        "resamples": RESAMPLES,
        "seed": SEED,
        "williams": with_interval(chosen, _williams) if chosen[2].all() else undefined,
        **{
            key: undefined if np.isnan(values).any() else with_interval([values], np.mean)
            for key, values in columns.items()
        },
    }


def _williams(
    first: np.ndarray, second: np.ndarray, readers: np.ndarray, axis: int = -1
) -> np.ndarray:
    return (first.mean(axis) + second.mean(axis)) / (2 * readers.mean(axis))


def readers_table(study: Mapping[str, Any]) -> TextTable:
    """Makes the table for report and screen.

    Args:
        study: What `study_readers` returned.

    Returns:
        A row for each pair of `PAIRS`, and one for Williams' index.
    """

    def row(name: str, figure: Mapping[str, Any]) -> list[str]:
        if figure["value"] is None:
            return [name, "–", "–"]
        low, high = figure["ci95"]
        interval = "–" if low is None else f"{low:.3f} to {high:.3f}"
        return [name, f"{figure['value']:.3f}", interval]

    rows = [row(f"Dice of {PAIRS[key]}", study[key]) for key in PAIRS]
    rows.append(row("Williams' index", study["williams"]))
    title = f"Two readers, {counted(study['patients'], 'patient')}"
    return TextTable(title, ["figure", "mean", "95 % interval over patients"], rows)
