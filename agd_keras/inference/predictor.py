"""From a patient's slices to tumour probabilities, as every figure and every mask is made."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from agd_keras.data.preprocess import resize_probability
from agd_keras.data.preprocessor import Preprocessor, preprocessor_for
from agd_keras.data.splits import load_folds
from agd_keras.errors import InputError
from agd_keras.evaluation.reliability import scale_temperature
from agd_keras.inference.answers import ask
from agd_keras.inference.calibration import Calibration, read_calibration
from agd_keras.inference.exported import (
    Artefact,
    is_artefact,
    is_patient,
    load_artefact,
    load_patient,
)
from agd_keras.inference.familiarity import Familiarity, read_familiarity
from agd_keras.inference.model_file import load_model
from agd_keras.inference.stored_preprocessor import read_preprocessor
from agd_keras.models import as_network, explain_model
from agd_keras.region_masks import by_region
from agd_keras.regions import Regions, names_of
from agd_keras.run_layout import FOLDS, MODEL, fold_models, fold_name
from agd_keras.weights import find_model
from agd_keras.wording import counted

logger = logging.getLogger(__name__)


class Predictor:
    """Predicts the tumour in all slices of a patient.

    Args:
        models: Keras models of one input shape with one output of probabilities, called anything,
            or several of which one is called `mask`; or exported ones. Their masks are averaged.
        batch_size: Slices that go through the network at a time.
        calibration: How the probabilities are to be read. Default: as they come.
        name: What the models are called in an error.
        preprocessor: What makes their input. Default: that of models with which none is stored.
        familiarity: What the scans looked like that they were trained on; None if unknown.

    Raises:
        InputError: A model is of another kind, they differ in the shape of their input, or it is
            not what the preprocessor makes.

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
        name: str = "the model",
        preprocessor: Preprocessor | None = None,
        familiarity: Familiarity | None = None,
    ):
        self.calibration = calibration or Calibration()
        count = len(self.calibration.regions) or 1
        # Exported ones answer as Keras models do.
        self.models: list[Any] = [
            as_network(model, regions=count) if isinstance(model, keras.Model) else model
            for model in models
        ]
        shapes = sorted({tuple(model.input_shape[1:]) for model in self.models})
        if len(shapes) != 1:
            raise InputError(f"{name}: expected one shape of input, found {shapes or 'no model'}")
        self.batch_size = batch_size
        self.name = name
        shape = self.models[0].input_shape
        self.preprocessor = preprocessor or preprocessor_for(shape)
        self.preprocessor.check_network(shape)
        self.familiarity = familiarity

    @property
    def regions(self) -> Regions:
        """What is found, by name the labels of each region; empty for one of all labels."""
        return self.calibration.regions

    def predict_patient(self, images: np.ndarray) -> np.ndarray:
        """Predicts the probability of tumour at every pixel of a patient's slices.

        Args:
            images: Array of shape `(slices, height, width, channels)`, in the order of the model,
                all slices of one patient since intensities are normalised over the patient.

        Returns:
            Float32 array of shape `(slices, height, width)`, values 0 to 1, with an axis for the
            regions at its end where there are several.

        Raises:
            InputError: A network answers something else than probabilities.
        """
        return self.predict_prepared(self.prepare(images), images.shape[1:3])

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Makes network input of a patient's slices, see `Preprocessor.prepare`."""
        return self.preprocessor.prepare(images)

    def predict_prepared(self, prepared: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Predicts slices that are network input already.

        Args:
            prepared: Float32 array of shape `(slices, image_size, image_size, channels)`,
                normalised over the whole patient, as `Preprocessor` makes it or a `Cache` holds it.
            shape: Height and width of the original slices in pixels.

        Returns:
            Float32 array of shape `(slices, *shape)`, values 0 to 1, with an axis for the regions
            at its end where there are several.

        Raises:
            InputError: The slices have another number of channels than the network takes.
        """
        self._check_channels(prepared)
        count = len(self.regions) or 1
        probabilities = np.empty((count, len(prepared), *shape), np.float32)
        for start in range(0, len(prepared), self.batch_size):
            batch = prepared[start : start + self.batch_size]
            answers = [self._ask(model, batch)["mask"] for model in self.models]
            for offset, masks in enumerate(np.stack(answers).mean(axis=0)):
                for region in range(count):
                    probability = resize_probability(masks[..., region], shape)
                    probabilities[region, start + offset] = scale_temperature(
                        probability, self.calibration.temperature
                    )
        return np.moveaxis(probabilities, 0, -1) if count > 1 else probabilities[0]

    def explain(self, images: np.ndarray, place: int) -> dict[str, np.ndarray]:
        """Returns what the first network sees in one slice.

        Args:
            images: All slices of a patient, as for `predict_patient`.
            place: Index of the slice, from 0.

        Returns:
            By name of output or attention gate: tumour probability `mask`, edge probability
            `edge`, attention coefficients. Float32, `(height, width)` at the network's resolution
            or less, values 0 to 1. Of several regions there is a `mask` for each, with its name.

        Raises:
            InputError: The slices have another number of channels than the network takes.
        """
        self._check_channels(images)
        slice_ = self.prepare(images)[place : place + 1]
        model = self.models[0]
        if isinstance(model, keras.Model):  # into an exported one nobody can look
            model = explain_model(model)
        outputs = self._ask(model, slice_)
        maps: dict[str, np.ndarray] = {}
        for name, out in outputs.items():
            regions = names_of(self.regions) if name == "mask" else ()
            if out.ndim == 4:
                named = [f"{name} {region}" for region in regions] or [name]
                maps |= {own: out[0, ..., place] for place, own in enumerate(named)}
        return maps

    def _check_channels(self, images: np.ndarray) -> None:
        channels = self.models[0].input_shape[-1]
        if images.shape[-1] != channels:
            raise InputError(
                f"slices of {images.shape[-1]} channels: the model takes {channels} channels"
            )

    def _ask(self, model: Any, batch: np.ndarray) -> dict[str, np.ndarray]:
        return ask(model, batch, self.name, len(self.regions) or 1)


class WholePredictor(Predictor):
    """Predicts with a graph that normalises, resizes and calibrates by itself: `patient.onnx`.

    Args:
        predict: What `load_patient` returned.
        calibration: Of which the threshold counts; the temperature is in the graph.
        preprocessor: Of which the channels count; the rest is in the graph.
        familiarity: As for `Predictor`.
    """

    def __init__(
        self,
        predict: Callable[[np.ndarray], np.ndarray],
        calibration: Calibration,
        preprocessor: Preprocessor,
        familiarity: Familiarity | None = None,
    ):
        self.models: list[Any] = []  # none that could be taken apart
        self.batch_size = 0
        self.calibration, self.preprocessor = calibration, preprocessor
        self.name = "patient.onnx"
        self.familiarity = familiarity
        self._predict = predict

    def predict_patient(self, images: np.ndarray) -> np.ndarray:
        """See `Predictor`."""
        return self._predict(images)

    def explain(self, images: np.ndarray, place: int) -> dict[str, np.ndarray]:
        """Returns the probability in one slice, the one thing that the graph tells."""
        planes = np.moveaxis(by_region(self._predict(images))[place], -1, 0)
        named = [f"mask {name}" for name in names_of(self.regions)] or ["mask"]
        return dict(zip(named, planes, strict=True))


def load_predictor(model: str | Path) -> Predictor:
    """Loads what `--model` names.

    Args:
        model: A preset with weights, a `.keras` file, a run folder, whose folds are then averaged,
            or what `agd-export` wrote: a SavedModel folder, a `.tflite` or an `.onnx` file.

    Returns:
        The `Predictor`. Of a run folder with folds that have no model it says so in the log.

    Raises:
        InputError: There is nothing of that name, or it is not a model of this package.
    """
    path = find_model(model)
    if is_artefact(path):
        if path.is_dir():
            logger.warning("%s: a SavedModel is a program that runs as you; trust its maker", path)
        if is_patient(path):
            patient, shape = load_patient(path)
            preprocessor = read_preprocessor(path, shape)
            return WholePredictor(
                *(patient, read_calibration(path), preprocessor, read_familiarity(path))
            )
        network = load_artefact(path)
        return _predictor([network], path, str(model))
    files = fold_models(path) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: expected a run folder with fold-*/model.keras")
    if missing := _missing_folds(path):
        logger.warning(
            "%s: averages %s of %d; without a model: fold %s",
            *(path, counted(len(files), "fold"), len(files) + len(missing)),
            ", ".join(map(str, missing)),
        )
    models = [load_model(file, compiled=False) for file in files]
    return _predictor(models, path, str(model))


def _predictor(models: Sequence[keras.Model | Artefact], path: Path, name: str) -> Predictor:
    """A predictor of networks and of what is stored with them."""
    return Predictor(
        models,
        calibration=read_calibration(path),
        name=name,
        preprocessor=read_preprocessor(path, models[0].input_shape),
        familiarity=read_familiarity(path),
    )


def _missing_folds(run: Path) -> list[int]:
    """The folds of a run without a model: not trained yet, or left out of a copy."""
    if not (run / FOLDS).is_file():
        return []
    folds = [fold.index for fold in load_folds(run / FOLDS)]
    return [index for index in folds if not (run / fold_name(index) / MODEL).is_file()]
