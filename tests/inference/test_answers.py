"""Networks that answer something else than probabilities, and models with broken weights."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from agd_keras.errors import InputError
from agd_keras.inference.answers import check_answer
from agd_keras.inference.model_file import load_model
from agd_keras.inference.predictor import Predictor, load_predictor
from agd_keras.models import agd_autoencoder

IMAGES = np.zeros((3, 10, 12, 3), np.uint8)


def predictor(answer):
    network = SimpleNamespace(input_shape=(None, 8, 8, 3), predict_on_batch=answer)
    return Predictor([network], name="runs/mine")


def full(value, shape=(8, 8, 1)):
    return lambda batch: {"mask": np.full((len(batch), *shape), value, np.float32)}


def fail(batch):
    raise RuntimeError("out of\ntensors")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (full(np.nan), "expected finite numbers in the output 'mask'"),
        (full(np.inf), "expected finite numbers"),
        (full(1.5), "expected 'mask' from 0 to 1, got 1.5 to 1.5"),
        (full(-0.1), "expected 'mask' from 0 to 1"),
        (full(0.5, (8, 9, 1)), r"expected 'mask' of shape \(3, 8, 8, 1\), got \(3, 8, 9, 1\)"),
        (full(0.5, (8, 8)), "expected 'mask' of shape"),
        (full(0.5, (8, 8, 2)), "expected 'mask' of shape"),
        (lambda batch: full(0.5)(batch[:1]), "expected 'mask' of shape"),
        (lambda batch: {"logits": 0}, "expected an answer with the output 'mask'"),
        (lambda batch: [0.5], "expected an answer with the output 'mask'"),
        (lambda batch: {"mask": np.full((3, 8, 8, 1), "a")}, "expected finite numbers"),
        (fail, r"the network fails \(out of tensors\)"),
    ],
)
def test_another_answer_is_one_line_that_names_the_model(answer, message):
    with pytest.raises(InputError, match=f"^runs/mine: {message}") as caught:
        predictor(answer).predict_patient(IMAGES)
    assert "\n" not in str(caught.value)


def test_rounding_is_no_error():
    values = np.array([-1e-7, 0.5, 1 + 1e-7])
    assert check_answer({"mask": values}, (3,), "m")["mask"] is values
    assert predictor(full(1.0)).predict_patient(IMAGES).max() == 1


def test_networks_of_different_size_are_no_ensemble():
    networks = [SimpleNamespace(input_shape=(None, side, side, 3)) for side in (8, 16)]
    with pytest.raises(InputError, match=r"^runs/mine: .* one shape of input, found"):
        Predictor(networks, name="runs/mine")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_found_on_loading(tmp_path, value):
    model = agd_autoencoder((32, 32, 3), filters=(4, 8))
    kernel = model.get_layer("decoder_1").weights[0]
    values = np.array(kernel)
    values[0, 0, 0, 0] = value
    kernel.assign(values)
    model.save(tmp_path / "model.keras")
    for load in (load_model, load_predictor):
        with pytest.raises(InputError, match=r"model\.keras: expected finite weights, decoder_1"):
            load(tmp_path / "model.keras")


def test_a_model_of_another_input_is_refused(tmp_path):
    for shape in ((32, 32, 1), (32, 32, 17), (32, 16, 3), (None, None, 3)):
        image = keras.Input(shape)
        mask = keras.layers.Conv2D(1, 1, activation="sigmoid", name="mask")(image)
        keras.Model(image, {"mask": mask}).save(tmp_path / "model.keras")
        with pytest.raises(InputError, match=r"model\.keras: "):
            load_predictor(tmp_path / "model.keras")
