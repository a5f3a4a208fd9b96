"""Uncertainty in closed form, by predictors whose answers are known; and what is kept of it."""

import json
import zipfile

import keras
import numpy as np
import pytest

from agd_keras.errors import InputError
from agd_keras.evaluation.reliability import fit_temperature, scale_temperature
from agd_keras.inference import calibration
from agd_keras.inference.calibration import (
    Calibration,
    fit_calibration,
    read_calibration,
    write_calibration,
)
from agd_keras.inference.model_file import load_model
from agd_keras.inference.predictor import Predictor
from agd_keras.inference.uncertainty import (
    UncertaintyPredictor,
    combine,
)
from agd_keras.io.data_set import find_data_set
from agd_keras.io.labels import read_labelled
from agd_keras.models import agd_autoencoder

LN2 = np.log(2)


def network(dropout=0.0, seed=0):
    keras.utils.set_random_seed(seed)
    model = agd_autoencoder((32, 32, 3), filters=(4, 8), dropout=dropout)
    rng = np.random.default_rng(seed)
    for weight in model.weights:  # statistics that differ from those of any batch
        if "moving" in weight.path or "gamma" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 255, (3, 40, 48, 3)).astype(np.uint8)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_identical_predictions(count):
    p = np.random.default_rng(0).random((2, 4, 5)).astype(np.float32)
    maps = combine([p] * count)
    np.testing.assert_allclose(maps.probability, p, rtol=1e-6)
    assert maps.mutual_information.max() < 1e-7
    expected = -p * np.log(p) - (1 - p) * np.log(1 - p)
    np.testing.assert_allclose(maps.entropy, expected, rtol=1e-5)


def test_contradiction():
    maps = combine([np.zeros((1, 2, 2)), np.ones((1, 2, 2))])
    assert maps.probability.tolist() == [[[0.5, 0.5], [0.5, 0.5]]]
    np.testing.assert_allclose(maps.entropy, LN2, rtol=1e-6)
    np.testing.assert_allclose(maps.mutual_information, LN2, rtol=1e-6)
    assert maps.score == pytest.approx(1)


def test_shared_doubt_is_no_contradiction():
    maps = combine([np.full((1, 1, 1), 0.5)] * 2)
    assert maps.entropy.item() == pytest.approx(LN2)
    assert maps.mutual_information.item() == 0
    with pytest.raises(ValueError, match="at least one"):
        combine([])


def test_moves_are_undone_exactly(images):
    class Bright:
        """A prediction that follows the image pixel by pixel."""

        seen: list[np.ndarray] = []  # noqa: RUF012

        def predict_patient(self, images):
            self.seen.append(images)
            return images[..., 1] / np.float32(255)

    maps = UncertaintyPredictor(Bright(), "tta", samples=6, seed=1).predict(images)
    np.testing.assert_allclose(maps.probability, images[..., 1] / 255, rtol=1e-6)
    assert maps.mutual_information.max() < 1e-7
    first, second, *others = Bright.seen
    np.testing.assert_array_equal(first, images)
    np.testing.assert_array_equal(second, images[:, :, ::-1])
    assert len({one.tobytes() for one in Bright.seen}) == 6
    assert all(np.array_equal(np.sort(o, None), np.sort(images, None)) for o in others)


def test_tta_is_the_mean_over_moved_images(images):
    predictor = Predictor([network()])
    maps = UncertaintyPredictor(predictor, "tta", samples=2).predict(images)
    mirrored = predictor.predict_patient(images[:, :, ::-1])[:, :, ::-1]
    expected = (predictor.predict_patient(images) + mirrored) / 2
    np.testing.assert_allclose(maps.probability, expected, atol=1e-6)
    again = UncertaintyPredictor(predictor, "tta", samples=5, seed=3).predict(images)
    same = UncertaintyPredictor(predictor, "tta", samples=5, seed=3).predict(images)
    other = UncertaintyPredictor(predictor, "tta", samples=5, seed=4).predict(images)
    np.testing.assert_array_equal(again.mutual_information, same.mutual_information)
    assert not np.array_equal(again.probability, other.probability)


def test_ensemble_takes_the_networks_apart(images):
    models = [network(seed=seed) for seed in range(3)]
    predictor = Predictor(models, batch_size=2)
    maps = UncertaintyPredictor(predictor, "ensemble").predict(images)
    single = np.stack([Predictor([model]).predict_patient(images) for model in models])
    np.testing.assert_allclose(maps.probability, predictor.predict_patient(images), atol=1e-6)

    def entropy(p):
        p = p.astype(float)
        return -p * np.log(p) - (1 - p) * np.log(1 - p)

    expected = entropy(single.astype(float).mean(axis=0)) - entropy(single).mean(axis=0)
    np.testing.assert_allclose(maps.mutual_information, expected, atol=1e-6)
    assert maps.mutual_information.max() > 1e-3
    assert predictor.models == models


def test_dropout_alone_is_left_on(images):
    model = network(dropout=0.5)
    before = [weight.copy() for weight in model.get_weights()]
    predictor = Predictor([model])
    uncertain = UncertaintyPredictor(predictor, "mc_dropout", samples=4, seed=1)
    maps, again = uncertain.predict(images), uncertain.predict(images)
    np.testing.assert_array_equal(maps.probability, again.probability)
    assert maps.mutual_information.max() > 1e-3
    other = UncertaintyPredictor(predictor, "mc_dropout", samples=4, seed=2).predict(images)
    assert not np.array_equal(maps.probability, other.probability)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    # Without anything dropped, all else is as at inference.
    (copied,) = uncertain.members[0].models
    copied.get_layer("dropout").rate = 0.0
    copied.make_predict_function(force=True)
    expected = predictor.predict_patient(images)
    found = Predictor([copied]).predict_patient(images)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_many_dropouts_come_near_the_expectation():
    """One dropped channel of two, with the weights that make the mask its mean."""
    model = network(dropout=0.5)
    uncertain = UncertaintyPredictor(Predictor([model]), "mc_dropout", samples=2)
    layer = uncertain.members[0].models[0].get_layer("dropout")
    dropped = np.stack([np.asarray(layer(np.ones((1, 2, 2, 1000), "float32"))) for _ in range(5)])
    assert set(np.unique(dropped)) == {0.0, 2.0}  # whole channels, scaled
    assert (dropped == dropped[:, :, :1, :1]).all()
    assert dropped.mean() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ("guess", "--uncertainty guess: expected one of tta, ensemble, mc_dropout"),
        ("ensemble", "expected a run folder of several folds, got 1"),
        ("mc_dropout", "expected a Keras model trained with model.dropout above 0"),
    ],
)
def test_what_a_model_does_not_allow(method, line):
    with pytest.raises(InputError, match=line):
        UncertaintyPredictor(Predictor([network()]), method)
    with pytest.raises(InputError, match="--samples 1: expected at least 2"):
        UncertaintyPredictor(Predictor([network()]), samples=1)


def test_calibration_stays_with_a_keras_file(tmp_path):
    model = network()
    path = tmp_path / "model.keras"
    model.save(path)
    assert read_calibration(path) == Calibration()
    for fitted in (Calibration(2.0, 0.4, {"patients": ["a"]}), Calibration(3.0)):
        write_calibration(path, fitted)
        assert read_calibration(path) == fitted
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist().count(calibration.MEMBER) == 1
    loaded = load_model(path, compiled=False)
    for old, new in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_calibration_of_a_run_and_of_exports(tmp_path):
    for fold, value in enumerate((2.0, 8.0)):
        path = tmp_path / f"run/fold-{fold}/model.keras"
        path.parent.mkdir(parents=True)
        network().save(path)
        write_calibration(path, Calibration(value))
    assert read_calibration(tmp_path / "run").temperature == pytest.approx(4)
    version = tmp_path / "served" / "1"
    version.mkdir(parents=True)
    for export in (version, tmp_path / "model.tflite"):
        write_calibration(export, Calibration(1.5))
        assert read_calibration(export).temperature == 1.5
    assert (version / "assets.extra" / "calibration.json").is_file()


@pytest.mark.parametrize(
    "text",
    ["{", "3", '{"heat": 1}', '{"temperature": 0}', '{"threshold": "a"}', '{"threshold": 1}'],
)
def test_what_is_no_calibration(tmp_path, text):
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(InputError, match=r"model.tflite: expected a calibration in calibration"):
        read_calibration(tmp_path / "model.tflite")


def test_fit_on_all_pixels(small_phantom):
    cases = find_data_set(small_phantom)

    def predict(case):
        bright = case.images[..., 1] / np.float32(255)
        return np.clip(1.5 * bright - 0.3, 0.01, 0.99)

    parts = [read_labelled(ref) for ref in cases]
    truth = np.concatenate([truth.ravel() for _, truth in parts])
    probability = np.concatenate([predict(case).ravel() for case, _ in parts])
    fitted = fit_calibration(predict, cases)
    assert fitted.temperature == pytest.approx(fit_temperature(truth, probability), rel=1e-3)
    assert fitted.fitted_on["pixels"] == truth.size > 0
    assert fitted.fitted_on["patients"] == sorted(ref.case_id for ref in cases)
    json.dumps(fitted.fitted_on)

    def cross_entropy(p):
        return -np.log(np.where(truth, p, 1 - p)).mean()

    before, after = (fitted.fitted_on[f"bce_{when}"] for when in ("before", "after"))
    assert before == pytest.approx(cross_entropy(probability), rel=1e-3)
    scaled = scale_temperature(probability, fitted.temperature)
    assert after == pytest.approx(cross_entropy(scaled), rel=1e-3)
    assert after <= before


def test_maps_of_several_regions_are_those_of_each():
    rng = np.random.default_rng(0)
    predictions = rng.random((3, 2, 6, 5, 2)) ** 2
    maps = combine(predictions)
    parts = [combine(predictions[..., place]) for place in range(2)]
    for name in ("probability", "entropy", "mutual_information"):
        expected = np.stack([getattr(part, name) for part in parts], axis=-1)
        np.testing.assert_array_equal(getattr(maps, name), expected)
    assert maps.score == pytest.approx(np.mean([part.score for part in parts]))
