"""How sure a prediction is: maps of entropy and mutual information, and a score per patient."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import keras
import numpy as np

from agd_keras.errors import InputError
from agd_keras.evaluation.uncertainty import entropy, patient_uncertainty
from agd_keras.region_masks import by_region

METHODS = ("tta", "ensemble", "mc_dropout")
SHIFT = 0.04  # largest shift along each axis, as a share of the side


class PatientPredictor(Protocol):
    """What predicts all slices of a patient, as `Predictor` does."""

    def predict_patient(self, images: np.ndarray) -> np.ndarray:
        """Maps images `(slices, height, width, 3)` to probabilities `(slices, height, width)`.

        Of several regions, those that its attribute `regions` names, with an axis for them.
        """


@dataclass(frozen=True)
class UncertaintyMaps:
    """What several predictions of one patient say together.

    Args:
        probability: Mean probability of tumour, float32, `(slices, height, width)`, 0 to 1.
        entropy: Entropy of that mean, in nats, 0 to ln 2: the whole uncertainty. Float32.
        mutual_information: What of it comes from the predictions contradicting each other, in nats,
            0 to ln 2; the rest is the doubt that all share. Float32.
        score: How uncertain the mask is, 0 (certain) to 1, see `patient_uncertainty`; the mean over
            the regions.
    """

    probability: np.ndarray
    entropy: np.ndarray
    mutual_information: np.ndarray
    score: float


def combine(predictions: Iterable[np.ndarray], threshold: float = 0.5) -> UncertaintyMaps:
    """Combines predictions of one patient; they are taken one at a time.

    Args:
        predictions: At least one array of probabilities, `(slices, height, width)`.
        threshold: A pixel is tumour at or above this mean probability.

    Returns:
        The maps: with p the mean of the pₖ and H the entropy, H(p) and H(p) - mean H(pₖ).

    Reference:
        Houlsby et al. 2011, https://arxiv.org/abs/1112.5745; for images of uncertainty, Smith &
        Gal 2018, https://arxiv.org/abs/1803.08533.

    Example:

    >>> maps = combine([np.zeros((1, 1, 1)), np.ones((1, 1, 1))])
    >>> maps.probability.item(), round(maps.mutual_information.item(), 3)
    (0.5, 0.693)
    """
    probability = own = np.zeros(())
    count = 0
    for count, prediction in enumerate(predictions, start=1):  # noqa: B007 (their number)
        exact = np.asarray(prediction, np.float64)
        probability = probability + exact
        own = own + entropy(exact)
    if not count:
        raise ValueError("`predictions` must hold at least one array. Received none")
    probability /= count
    whole = entropy(probability)
    stacks = np.moveaxis(by_region(probability), -1, 0)
    return UncertaintyMaps(
        probability.astype(np.float32),
        whole.astype(np.float32),
        np.maximum(whole - own / count, 0).astype(np.float32),
        float(np.mean([patient_uncertainty(one, threshold) for one in stacks])),
    )


class UncertaintyPredictor:
    """Predicts a patient several times over, and how far the predictions can be trusted.

    Args:
        predictor: What predicts; for `tta` anything with `predict_patient`.
        method: `tta` moves the image in ways that a scanner might have (Wang et al. 2019,
            https://arxiv.org/abs/1807.07356): mirrored left to right, every second one, and
            shifted; both are undone exactly. `ensemble` takes the networks of the predictor apart,
            such as the folds of a run (Lakshminarayanan et al. 2017,
            https://arxiv.org/abs/1612.01474). `mc_dropout` leaves dropout on, and nothing else as
            in training (Gal & Ghahramani 2016, https://arxiv.org/abs/1506.02142).
        samples: Number of predictions, for `mc_dropout` by each network; an ensemble has its own.
        seed: Shifts and dropped channels follow from it, for each patient anew.
        threshold: A pixel is tumour at or above this mean probability.

    Raises:
        InputError: The method is none of these, or the model does not allow it.

    Example:

    >>> from agd_keras.inference.predictor import Predictor
    >>> from agd_keras.models import agd_autoencoder
    >>> predictor = Predictor([agd_autoencoder((32, 32, 3), filters=(4, 8))])
    >>> maps = UncertaintyPredictor(predictor, samples=4).predict(np.zeros((2, 40, 50, 3)))
    >>> maps.entropy.shape
    (2, 40, 50)
    """

    def __init__(
        self,
        predictor: PatientPredictor,
        method: str = "tta",
        samples: int = 8,
        seed: int = 0,
        threshold: float = 0.5,
    ):
        if method not in METHODS:
            raise InputError(f"--uncertainty {method}: expected one of {', '.join(METHODS)}")
        if samples < 2:
            raise InputError(f"--samples {samples}: expected at least 2")
        self.method, self.samples, self.seed, self.threshold = method, samples, seed, threshold
        self.members: list[PatientPredictor] = [predictor]
        if method == "tta":
            return
        models = getattr(predictor, "models", [])
        if method == "ensemble" and len(models) < 2:
            raise InputError(
                f"--uncertainty ensemble: expected a run folder of several folds, got {len(models)}"
            )
        if method == "mc_dropout":
            if not models:  # such as on a server
                raise InputError("--uncertainty mc_dropout: expected a Keras model")
            models = [_keep_dropout(model) for model in models]
        self.members = [_with_models(predictor, [model]) for model in models]

    def predict(self, images: np.ndarray) -> UncertaintyMaps:
        """Predicts one patient.

        Args:
            images: Array of shape `(slices, height, width, 3)`: all slices of the patient.

        Returns:
            The `UncertaintyMaps`.
        """
        return combine(self._predictions(images), self.threshold)

    def _predictions(self, images: np.ndarray) -> Iterator[np.ndarray]:
        if self.method == "ensemble":
            for member in self.members:
                yield member.predict_patient(images)
        elif self.method == "mc_dropout":
            for member in self.members:
                for layer in member.models[0].layers:  # type: ignore[attr-defined]
                    if isinstance(layer, _KeptDropout):
                        layer.seed_generator.state.assign([self.seed, 0])
                for _ in range(self.samples):
                    yield member.predict_patient(images)
        else:
            yield from self._moved(images)

    def _moved(self, images: np.ndarray) -> Iterator[np.ndarray]:
        random = np.random.default_rng(self.seed)
        reach = [round(SHIFT * side) for side in images.shape[1:3]]
        for sample in range(self.samples):
            # First as it is and mirrored in place. Rolling loses no pixel; what wraps is air
            # unless the picture is cut close to the head.
            shift = random.integers(-np.array(reach), reach, endpoint=True) * (sample > 1)
            side = slice(None, None, -1 if sample % 2 else 1)
            moved = np.roll(images, shift, axis=(1, 2))[:, :, side]
            prediction = self.members[0].predict_patient(moved)[:, :, side]
            yield np.roll(prediction, -shift, axis=(1, 2))


def _with_models(predictor: PatientPredictor, models: list[keras.Model]) -> PatientPredictor:
    other = copy.copy(predictor)
    other.models = models  # type: ignore[attr-defined]
    return other


class _KeptDropout(keras.layers.SpatialDropout2D):
    """Dropout that is on at inference too."""

    def call(self, inputs):
        return super().call(inputs, training=True)


def _keep_dropout(model: keras.Model) -> keras.Model:
    """Returns a copy of the model, weights included, with dropout on and all else at inference."""

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not isinstance(layer, keras.layers.SpatialDropout2D):
            return layer.__class__.from_config(layer.get_config())
        # With a seed: without one, Keras shares a generator that cannot be set back.
        return _KeptDropout.from_config({**layer.get_config(), "seed": 0})

    layers = getattr(model, "layers", ())
    if not any(isinstance(layer, keras.layers.SpatialDropout2D) for layer in layers):
        raise InputError(
            "--uncertainty mc_dropout: expected a Keras model trained with model.dropout above 0"
        )
    copied = keras.models.clone_model(model, clone_function=clone)
    copied.set_weights(model.get_weights())
    return copied
