"""The figures of parity.json against a transcription, and the rule that refuses."""

import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.export.parity import measure_parity, refuse_drop
from agd_keras.export.samples import Samples
from agd_keras.io.data_set import find_data_set
from agd_keras.io.labels import read_labelled


def network(scale):
    def predict(batch):
        mask = 1 / (1 + np.exp(-scale * batch[..., 1:2]))
        return {"mask": mask, "edge": mask / 2}

    return SimpleNamespace(input_shape=(None, 16, 16, 3), predict_on_batch=predict)


def test_figures_are_their_definitions(small_phantom, tmp_path):
    cases = find_data_set(small_phantom)
    samples = Samples("phantom", "patients", cases, [])
    (tmp_path / "file").write_bytes(b"12345")
    one, other = network(2), network(0.5)
    served = {"bright": lambda images: images[..., 1] / 255}
    parity = measure_parity(one, other, samples, tmp_path / "file", 0.7, served=served)

    differences, masks = [], {"keras": [], "artefact": [], "bright": []}
    truths = []
    for ref in cases:
        case, truth = read_labelled(ref)
        images = case.images
        prepared = Preprocessor(16).prepare(images)
        truths.append(truth)
        maps = {"keras": one, "artefact": other}
        maps = {name: each.predict_on_batch(prepared)["mask"] for name, each in maps.items()}
        differences.append(np.abs(maps["keras"] - maps["artefact"]))
        for name, stack in maps.items():
            large = [
                np.asarray(Image.fromarray(plane[..., 0]).resize((32, 32), Image.BILINEAR))
                for plane in stack
            ]
            masks[name].append(np.stack(large) >= 0.7)
        masks["bright"].append(images[..., 1] / 255 >= 0.7)

    def dice(truth, mask):
        return 2 * np.sum(truth & mask) / (np.sum(truth) + np.sum(mask))

    assert parity["difference"]["mask"]["max"] == pytest.approx(np.max(differences))
    assert parity["difference"]["mask"]["mean"] == pytest.approx(np.mean(differences))
    assert parity["difference"]["edge"]["max"] == pytest.approx(np.max(differences) / 2)
    for name, stacks in masks.items():
        assert parity["dice"][name] == pytest.approx(dice(np.stack(truths), np.stack(stacks)))
        each = [dice(truth, mask) for truth, mask in zip(truths, stacks, strict=True)]
        assert parity["patient_dice"][name] == pytest.approx(np.mean(each))
    assert parity["bytes"] == 5
    assert (parity["patients"], parity["slices"], parity["threshold"]) == (6, 36, 0.7)
    assert all(value > 0 for value in parity["latency_ms"].values())


@pytest.mark.parametrize(
    ("pooled", "patients", "allowed"),
    [(0.80, 0.7, True), (0.796, 0.7, True), (0.79, 0.7, False), (0.80, 0.69, False)],
)
def test_a_drop_of_either_measure_is_refused(pooled, patients, allowed):
    parity = {
        "slices": 9,
        "dice": {"keras": 0.8, "artefact": pooled},
        "patient_dice": {"keras": 0.7, "artefact": patients},
    }
    if allowed:
        refuse_drop(parity, 0.005, "int8")
    else:
        with pytest.raises(InputError, match=r"int8: .* at most 0\.005"):
            refuse_drop(parity, 0.005, "int8")


def test_not_a_number_is_refused():
    dice = {"keras": 0.8, "artefact": math.nan}
    with pytest.raises(InputError):
        refuse_drop({"slices": 1, "dice": dice, "patient_dice": dice}, 1.0, "int8")


def answer(change):
    """A network whose answer is changed."""

    def predict(batch):
        return change(network(2).predict_on_batch(batch))

    return SimpleNamespace(input_shape=(None, 16, 16, 3), predict_on_batch=predict)


def first_nan(outputs):
    outputs["mask"][0, 0, 0, 0] = np.nan
    return outputs


WRONG = {
    "not a number": (first_nan, "expected finite numbers in the output 'mask'"),
    "too large": (lambda out: {**out, "mask": 3 * out["mask"]}, "expected 'mask' from 0 to 1"),
    "smaller": (lambda out: {"mask": out["mask"][:, ::2]}, r"expected 'mask' of shape \(6, 16"),
    "none": (lambda out: {"edge": out["edge"]}, "expected an answer with the output 'mask'"),
    "one less": (lambda out: {"mask": out["mask"]}, "expected the output 'edge'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_that_is_no_probability_is_refused(wrong, small_phantom, tmp_path):
    change, message = WRONG[wrong]
    samples = Samples("phantom", "patients", find_data_set(small_phantom), [])
    with pytest.raises(InputError, match=f"^the exported model: {message}"):
        measure_parity(network(2), answer(change), samples, tmp_path)
    if wrong != "one less":
        with pytest.raises(InputError, match=f"^the Keras model: {message}"):
            measure_parity(answer(change), network(2), samples, tmp_path)


def test_a_served_answer_that_is_no_probability_is_refused(small_phantom, tmp_path):
    samples = Samples("phantom", "patients", find_data_set(small_phantom), [])
    served = {"patient": lambda images: np.full(images.shape[:3], np.nan)}
    with pytest.raises(InputError, match="signature patient: expected finite numbers"):
        measure_parity(network(2), network(2), samples, tmp_path, served=served)


@pytest.mark.parametrize("empty", [False, True])
def test_an_original_that_finds_nothing_is_no_measure(small_phantom, tmp_path, empty):
    """Both would agree in Dice, at 0, or at 1 where there is nothing to be found either."""
    data = shutil.copytree(small_phantom, tmp_path / "data")
    for path in data.glob("*/*_mask.tif") if empty else ():
        Image.new("L", (32, 32)).save(path)
    blind = answer(lambda outputs: {name: 0 * values for name, values in outputs.items()})
    samples = Samples("some data", "patients", find_data_set(data), [])
    with pytest.raises(InputError, match="finds no tumour in 36 slices of some data"):
        measure_parity(blind, blind, samples, tmp_path)
