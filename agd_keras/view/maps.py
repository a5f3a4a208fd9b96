"""All that a network has to say about a case, as layers for the page."""

import keras
import numpy as np

from agd_keras.data.preprocess import resize_probability
from agd_keras.inference.predictor import Predictor
from agd_keras.inference.uncertainty import UncertaintyPredictor
from agd_keras.io.geometry import square_view
from agd_keras.models import explain_model
from agd_keras.region_masks import first
from agd_keras.view.case import Spacing

Layers = dict[str, tuple[str, np.ndarray]]


def predict_layers(predictor: Predictor, images: np.ndarray, spacing: Spacing) -> Layers:
    """Predicts a case and looks into the network.

    Args:
        predictor: What predicts.
        images: Array of shape `(slices, height, width, 3)`.
        spacing: Between slices, rows and columns in mm, or None.

    Returns:
        `prediction`, `probability`, `uncertainty` (entropy of the mean with the mirrored head, in
        bits), and of a Keras model `edge` and the attention of each gate, all of shape `(slices,
        height, width)`. Of several regions, the first.

    Raises:
        InputError: The field of view cannot be one of a head.

    Example:

    >>> from agd_keras.models import agd_autoencoder
    >>> predictor = Predictor([agd_autoencoder((32, 32, 3), filters=(4, 8))])
    >>> list(predict_layers(predictor, np.ones((2, 40, 40, 3)), None))
    ['prediction', 'probability', 'uncertainty', 'edge', 'attention, level 2']
    """
    square, where = square_view(images, spacing)
    threshold = predictor.calibration.threshold
    probability = predictor.predict_patient(square)
    doubt = UncertaintyPredictor(predictor, samples=2, threshold=threshold).predict(square)
    layers: Layers = {
        "prediction": ("prediction", first(probability) >= threshold),
        "probability": ("probability", first(probability)),
        "uncertainty": ("uncertainty", first(doubt.entropy) / np.float32(np.log(2))),
        **_look_inside(predictor, square),
    }
    return {name: (look, values[where]) for name, (look, values) in layers.items()}


def _look_inside(predictor: Predictor, images: np.ndarray) -> Layers:
    model = predictor.models[0] if predictor.models else None
    if not isinstance(model, keras.Model):  # into an exported one nobody can look
        return {}
    inside = explain_model(model)
    prepared = predictor.prepare(images)
    found: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(prepared), predictor.batch_size):
        outputs = inside.predict_on_batch(prepared[start : start + predictor.batch_size])
        for name, values in outputs.items():
            planes = [resize_probability(one[..., 0], images.shape[1:3]) for one in values]
            found.setdefault(name, []).extend(planes)
    layers: Layers = {}
    for name, planes in found.items():
        if name == "edge":
            layers[name] = (name, np.stack(planes))
        elif name.startswith("gate_"):
            level = name.removeprefix("gate_")
            layers[f"attention, level {level}"] = ("attention", np.stack(planes))
    return layers
