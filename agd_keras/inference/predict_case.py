"""A case through a predictor, in the square field of view that a network sees, and back."""

from dataclasses import replace

import numpy as np

from agd_keras.inference.outputs import MAPS
from agd_keras.inference.uncertainty import (
    PatientPredictor,
    UncertaintyMaps,
    UncertaintyPredictor,
)
from agd_keras.io.case import Case
from agd_keras.io.geometry import square_view


def predict_case(predictor: PatientPredictor, case: Case, flips: bool = False) -> np.ndarray:
    """Predicts the probability of tumour at every pixel of a case.

    Args:
        predictor: What predicts.
        case: What `read_case` returned.
        flips: Average with the prediction of the mirrored head (test-time augmentation).

    Returns:
        Float32 array of shape `(slices, height, width)`, values 0 to 1.

    Raises:
        InputError: The field of view cannot be one of a head.

    Example:

    >>> from agd_keras.inference.predictor import Predictor
    >>> from agd_keras.models import agd_autoencoder
    >>> predictor = Predictor([agd_autoencoder((32, 32, 3), filters=(4, 8))])
    >>> case = Case(np.zeros((2, 50, 40, 3)), (5.0, 1.0, 1.0), (), print)
    >>> predict_case(predictor, case).shape
    (2, 50, 40)
    """
    images, where = square_view(case.images, case.spacing)
    probability = predictor.predict_patient(images)
    if flips:
        mirrored = predictor.predict_patient(images[:, :, ::-1])
        probability = (probability + mirrored[:, :, ::-1]) / 2
    return probability[where]


def predict_maps(predictor: UncertaintyPredictor, case: Case) -> UncertaintyMaps:
    """Predicts the probability of tumour at every pixel of a case, and how sure it is.

    Args:
        predictor: What predicts several times over.
        case: What `read_case` returned.

    Returns:
        The maps, each of shape `(slices, height, width)`, and the score of the case.

    Raises:
        InputError: The field of view cannot be one of a head.
    """
    images, where = square_view(case.images, case.spacing)
    maps = predictor.predict(images)
    cut = {name: getattr(maps, name)[where] for name in MAPS}
    return replace(maps, **cut)
