"""From a patient's slices to tumour probabilities, as every figure and every mask is made."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from agd_keras import layers, losses, metrics  # noqa: F401 (registers what model files refer to)
from agd_keras.data.preprocess import prepare_patient, resize_probability
from agd_keras.errors import InputError
from agd_keras.evaluation.calibration import scale_temperature
from agd_keras.inference.artefacts import Artefact, is_artefact, load_artefact
from agd_keras.inference.model_file import check_model_file
from agd_keras.inference.temperature import Calibration, read_calibration
from agd_keras.models import explain_model
from agd_keras.text import clean
from agd_keras.weights import find_model

logger = logging.getLogger(__name__)


class Predictor:
    """Predicts the tumour in all slices of a patient.

    Args:
        models: Models made by `agd_autoencoder` with one input size, or exported ones; their
            probabilities are averaged.
        batch_size: Slices that go through the network at a time.
        calibration: How the probabilities are to be read. Default: as they come.

    Example:

    >>> from agd_keras.models import agd_autoencoder
    >>> predictor = Predictor([agd_autoencoder((32, 32, 3), filters=(4, 8))])
    >>> predictor.predict_patient(np.zeros((2, 50, 40, 3), "uint8")).shape
    (2, 50, 40)
    """

    def __init__(
        self,
        models: Sequence[keras.Model | Artefact],
        batch_size: int = 32,
        calibration: Calibration | None = None,
    ):
        self.models: list[Any] = list(models)  # exported ones answer as Keras models do
        self.batch_size = batch_size
        self.calibration = calibration or Calibration()
        self.image_size: int = self.models[0].input_shape[1]

    def predict_patient(self, images: np.ndarray) -> np.ndarray:
        """Predicts the probability of tumour at every pixel of a patient's slices.

        Args:
            images: Array of shape `(slices, height, width, 3)`: pre-contrast, FLAIR, post-contrast,
                all slices of one patient since intensities are normalised over the patient.

        Returns:
            Float32 array of shape `(slices, height, width)`, values 0 to 1.
        """
        return self.predict_prepared(prepare_patient(images, self.image_size), images.shape[1:3])

    def predict_prepared(self, prepared: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Predicts slices that are network input already.

        Args:
            prepared: Float32 array of shape `(slices, image_size, image_size, 3)`, normalised over
                the whole patient, as `prepare_patient` makes it or a `Cache` holds it.
            shape: Height and width of the original slices in pixels.

        Returns:
            Float32 array of shape `(slices, *shape)`, values 0 to 1.
        """
        probabilities = np.empty((len(prepared), *shape), np.float32)
        for start in range(0, len(prepared), self.batch_size):
            batch = prepared[start : start + self.batch_size]
            masks = [model.predict_on_batch(batch)["mask"][..., 0] for model in self.models]
            for offset, mask in enumerate(np.stack(masks).mean(axis=0)):
                probability = resize_probability(mask, shape)
                probabilities[start + offset] = scale_temperature(
                    probability, self.calibration.temperature
                )
        return probabilities

    def explain(self, images: np.ndarray, place: int) -> dict[str, np.ndarray]:
        """Returns what the first network sees in one slice.

        Args:
            images: All slices of a patient, as for `predict_patient`.
            place: Which of them, from 0.

        Returns:
            By name of output or attention gate: tumour probability `mask`, edge probability
            `edge`, attention coefficients. Float32, `(height, width)` at the network's resolution
            or less, values 0 to 1.
        """
        slice_ = prepare_patient(images, self.image_size)[place : place + 1]
        model = self.models[0]
        if isinstance(model, keras.Model):  # into an exported one nobody can look
            model = explain_model(model)
        outputs = model.predict_on_batch(slice_)
        return {name: output[0, ..., 0] for name, output in outputs.items()}


def load_predictor(model: str | Path) -> Predictor:
    """Loads what `--model` names.

    Args:
        model: A preset with weights, a `.keras` file, a run folder, whose folds are then averaged,
            or what `agd-export` wrote: a SavedModel folder, a `.tflite` or an `.onnx` file.

    Returns:
        The `Predictor`.

    Raises:
        InputError: There is nothing of that name, or it is not a model of this package.
    """
    path = find_model(model)
    if is_artefact(path):
        if path.is_dir():
            logger.warning("%s: a SavedModel is a program that runs as you; trust its maker", path)
        return Predictor([load_artefact(path)], calibration=read_calibration(path))
    files = sorted(path.glob("fold-*/model.keras")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: expected a run folder with fold-*/model.keras")
    models = [load_model(file, compiled=False) for file in files]
    return Predictor(models, calibration=read_calibration(path))


def load_model(path: str | Path, compiled: bool = True) -> keras.Model:
    """Loads one trained network, without running code from its file.

    Args:
        path: The file, a run folder of one fold, or a preset with weights.
        compiled: Whether to compile it as it was trained; its optimiser starts anew.

    Returns:
        The float32 `keras.Model`.

    Raises:
        InputError: The file is missing, damaged, or holds something else.

    Example:

    >>> load_model("agd_small").input_shape
    (None, 128, 128, 3)
    """
    path = find_model(path)
    folds = sorted(path.glob("fold-*/model.keras"))
    if len(folds) == 1:
        path = folds[0]
    if not path.is_file():
        raise InputError(f"{path}: expected a .keras file or a run folder, found nothing")
    try:
        check_model_file(path)
        with warnings.catch_warnings():
            # The optimiser's state is with the run, for --resume, not in the model.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            model = keras.saving.load_model(path, safe_mode=True, compile=compiled)
    except Exception as error:  # whatever the file holds, the reader of it must not show through
        # Keras tells the reason at the end of a long tale.
        reason = clean(" ".join(str(error).split()).rpartition("Exception encountered: ")[2])
        raise InputError(f"{path}: expected a .keras file made by agd-train ({reason})") from None
    if not isinstance(model, keras.Model) or "mask" not in (model.output_names or ()):
        raise InputError(f"{path}: expected a model with the output 'mask'")
    return model
