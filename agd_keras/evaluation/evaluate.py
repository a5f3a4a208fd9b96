"""The one measure: a predictor on patients in, every figure out."""

from collections.abc import Callable, Iterable
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np

from agd_keras.errors import InputError
from agd_keras.evaluation.patients import score_patient, summarize
from agd_keras.io.image_files import read_image, read_mask
from agd_keras.io.slices import Slice

PROTOCOL = ("split", "folds", "augmentation", "seed", "model", "data_fingerprint")

Predict = Callable[[np.ndarray], np.ndarray]


def read_patient(slices: list[Slice]) -> tuple[np.ndarray, np.ndarray]:
    """Reads all slices of one patient at their original size.

    Args:
        slices: Slices of one patient, in order.

    Returns:
        Images, uint8 of shape `(slices, height, width, 3)`, and masks, boolean of shape
        `(slices, height, width)`.

    Raises:
        InputError: A slice has no mask, a mask has another size than its image, or the slices
            differ in size.
    """
    images: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for item in slices:
        if item.mask is None:
            raise InputError(f"{item.image}: expected a mask beside the image to evaluate on")
        image, mask = read_image(item.image), read_mask(item.mask)
        if mask.shape != image.shape[:2]:
            raise InputError(
                f"{item.mask}: expected the size of its image {image.shape[:2]}, got {mask.shape}"
            )
        if images and image.shape != images[0].shape:
            raise InputError(
                f"{item.image}: expected the size of the patient's first slice "
                f"{images[0].shape[:2]}, got {image.shape[:2]}"
            )
        images.append(image)
        masks.append(mask)
    return np.stack(images), np.stack(masks).astype(bool, copy=False)


def check_probability(probability: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns what a predictor gave, if it is a probability for each pixel of the stack.

    Args:
        probability: What `predict` returned.
        shape: The shape it must have, `(slices, height, width)`.

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


def by_patient(slices: Iterable[Slice]) -> dict[str, list[Slice]]:
    """Groups slices by patient, in order."""
    return {name: list(own) for name, own in groupby(sorted(slices), key=attrgetter("patient"))}


def evaluate(
    predict: Predict,
    slices: Iterable[Slice],
    threshold: float = 0.5,
    surface: bool = True,
    protocol: dict[str, Any] | None = None,
    on_patient: Callable[[str, dict[str, Any]], None] | None = None,
    among: Iterable[Slice] | None = None,
) -> dict[str, Any]:
    """Measures a predictor at the original resolution, one patient in memory at a time.

    Args:
        predict: Function of the uint8 images of one patient, `(slices, height, width, 3)`, that
            returns the float probabilities of tumour, `(slices, height, width)`, 0 to 1.
        slices: Slices with masks, of any number of patients and in any order.
        threshold: A pixel is predicted as tumour at or above this probability. One other than 0.5
            belongs to the model and was chosen on validation data, never on these slices.
        surface: Whether to compute `hd95` and `nsd`, which take most of the time; None without.
        protocol: How the model came about and what it is measured on: the keys of `PROTOCOL` and
            any further ones. A key not given is None.
        on_patient: Called with name and entry of each patient as it is done.
        among: All slices of the patients, where `slices` are only some of them, as in a record-wise
            split: `predict` then sees the whole patient, over whom intensities are normalised.

    Returns:
        Everything that `metrics.json` holds: `protocol`, `threshold`, `pooled`, `subject`, `slice`,
        `calibration`, and `subjects` by patient. Distances are in pixels of a stack with unit
        spacing, since LGG states none; a patient of whom only some slices are given, as in a
        record-wise split, is measured as the stack of those. What cannot be computed is None.

    Raises:
        InputError: There is no slice, one has no mask, or sizes do not fit.
        ValueError: `predict` returned something else than probabilities of the stack's shape.

    Example:

    >>> import tempfile
    >>> from agd_keras.data.phantom import make_phantom
    >>> from agd_keras.io.slices import find_slices
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     slices = find_slices(make_phantom(f"{folder}/phantom", patients=2, slices=8, size=64))
    ...     metrics = evaluate(lambda images: np.zeros(images.shape[:3]), slices)
    >>> metrics["pooled"]["recall"]
    0.0
    """
    slices = list(slices)
    whole = by_patient(slices if among is None else among)
    subjects: dict[str, dict[str, Any]] = {}
    for patient, scored in by_patient(slices).items():
        images, truth = read_patient(whole[patient])
        probability = check_probability(predict(images), truth.shape)
        places = [whole[patient].index(one) for one in scored]
        subjects[patient] = score_patient(truth[places], probability[places], threshold, surface)
        if on_patient:
            on_patient(patient, subjects[patient])
    return {
        "protocol": dict.fromkeys(PROTOCOL) | (protocol or {}),
        "threshold": threshold,
        **summarize(subjects),
        "subjects": subjects,
    }
