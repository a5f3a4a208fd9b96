"""What makes a model's input is kept with it, and decides what it predicts."""

import json
import zipfile

import numpy as np
import pytest

from agd_keras.data import preprocessor as preprocessors
from agd_keras.data.anatomy import make_patient
from agd_keras.data.preprocess import measure_scales
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.inference.calibration import Calibration, read_calibration, write_calibration
from agd_keras.inference.predictor import load_predictor
from agd_keras.inference.stored_preprocessor import read_preprocessor, write_preprocessor
from agd_keras.models import agd_autoencoder

SHAPE = (None, 32, 32, 3)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    agd_autoencoder((32, 32, 3), filters=(4, 8)).save(path)
    return path.read_bytes()


@pytest.fixture
def model(saved, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(saved)
    return path


def put(model, name, values):
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr(name, json.dumps(values))


@pytest.mark.parametrize("name", ["model.keras", "model.tflite"])
def test_it_comes_back_as_it_was_stored(saved, tmp_path, name):
    model = tmp_path / name
    model.write_bytes(saved)
    for kept in (
        Preprocessor(32, normalization="brain"),
        Preprocessor(32, ("FLAIR", "T2", "T1"), missing="error"),
    ):
        write_preprocessor(model, kept)
        assert read_preprocessor(model, SHAPE) == kept
    write_calibration(model, Calibration(2.0))  # neither replaces the other
    assert read_preprocessor(model, SHAPE) == kept
    assert read_calibration(model).temperature == 2


def test_files_of_before_are_read_as_they_were(model):
    assert read_preprocessor(model, SHAPE) == Preprocessor(32, version=3)
    put(model, "calibration.json", {"temperature": 2.0, "normalization": "brain"})
    assert read_preprocessor(model, SHAPE) == Preprocessor(32, normalization="brain", version=3)
    assert read_calibration(model) == Calibration(2.0)
    assert load_predictor(model).preprocessor.normalization == "brain"


def test_the_version_decides_what_a_model_predicts(model, monkeypatch):
    images = np.stack(make_patient(1, 0, 4, 48)[0])
    before = load_predictor(model).predict_patient(images)

    def halved(images, normalization, flair):
        for scale in measure_scales(images, normalization, flair):
            yield lambda part, scale=scale: scale(part) / 2

    monkeypatch.setitem(preprocessors.VERSIONS, 4, halved)
    monkeypatch.setattr(preprocessors, "PREPROCESS_VERSION", 4)
    np.testing.assert_array_equal(load_predictor(model).predict_patient(images), before)
    write_preprocessor(model, Preprocessor(32, version=3))
    np.testing.assert_array_equal(load_predictor(model).predict_patient(images), before)
    write_preprocessor(model, Preprocessor(32, version=4))
    later = load_predictor(model)
    expected = Preprocessor(32, version=3).prepare(images) / 2
    np.testing.assert_array_equal(later.prepare(images), expected)
    assert np.abs(later.predict_patient(images) - before).max() > 1e-3


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"version": 4, "unheard_of": 1}, "preprocessing of version 4: this version of agd_keras"),
        ({"version": None}, "preprocessing of version None"),
        ({}, "expected the values of a preprocessor"),
        ({"image_size": 0}, "image_size 0: expected 1 to 1024"),
        ({"normalization": "skull"}, "normalization 'skull': expected one of tissue, brain"),
        ({"channels": []}, "channels .*: expected FLAIR among them"),
        ({"channels": ["T1", "T1", "T1c"]}, "channels .*: expected some of T1, FLAIR, T1c, T2"),
        ({"missing": "guess"}, "missing 'guess': expected one of fill, error"),
        ({"channels": 3}, "expected the values of a preprocessor"),
        ({"image_size": 64}, "expected a network of 64×64 pixels and 3 channels .* 32×32×3"),
        ({"channels": ["FLAIR"]}, r"expected a network of 32×32 pixels and 1 channels \(FLAIR\)"),
    ],
)
def test_what_does_not_fit_ends_in_one_line(model, values, line):
    whole = {**Preprocessor(32).to_values(), **values} if values else {"version": 3}
    put(model, "preprocessor.json", whole)
    with pytest.raises(InputError, match=f"model.keras: {line}") as raised:
        load_predictor(model)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["[]", "3", "{", "[" * 100_000])
def test_what_is_no_record_ends_in_one_line(model, content):
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr("preprocessor.json", content)
    with pytest.raises(InputError, match="model.keras: expected a preprocessor in preprocessor"):
        read_preprocessor(model, SHAPE)


def test_folds_of_a_run_have_the_same(saved, tmp_path):
    kept = Preprocessor(32, normalization="brain")
    for fold in range(2):
        folder = tmp_path / f"fold-{fold}"
        folder.mkdir()
        (folder / "model.keras").write_bytes(saved)
        write_preprocessor(folder / "model.keras", kept)
    assert load_predictor(tmp_path).preprocessor == kept
    write_preprocessor(folder / "model.keras", Preprocessor(32))
    with pytest.raises(InputError, match=r"fold-1.*normalization brain, as .*fold-0.*found tissue"):
        load_predictor(tmp_path)
