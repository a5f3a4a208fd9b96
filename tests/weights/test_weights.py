"""The weights that come with the package, and what a damaged or missing one says."""

import hashlib
import shutil

import pytest

from agd_keras import weights
from agd_keras.config import differences, load_config, make_config
from agd_keras.data.splits import load_folds
from agd_keras.errors import InputError
from agd_keras.inference.predictor import load_model, load_predictor
from agd_keras.weights import find_model, shipped


@pytest.mark.parametrize("preset", shipped())
def test_shipped_network_is_the_preset_of_this_version(preset):
    folder = find_model(preset)
    config = make_config(load_config(folder / "config.yaml"))
    expected = make_config({"preset": preset})
    only_for_all_patients = {"data.path", "data.folds", "data.portions", "training.precision"}
    assert set(differences(config, expected)) <= only_for_all_patients
    model = load_model(preset)
    assert model.input_shape == (None, expected.data.image_size, expected.data.image_size, 3)
    assert model.count_params() <= 2_000_000
    assert (folder / weights.MODEL).stat().st_size <= 8_000_000
    (fold,) = load_folds(folder / "folds.json")
    assert (len(fold.train), len(fold.validation), fold.test) == (70, 5, ())
    predictor = load_predictor(preset)
    calibration, familiarity = predictor.calibration, predictor.familiarity
    assert familiarity.scans == 70
    # Only one recipe takes skulls away.
    assert (familiarity.ranges["skull"][0] == 0) == (preset == "agd_scanners")
    assert calibration.temperature > 1  # overlap makes too sure
    fitted = calibration.fitted_on  # of all folds of the tested run, or of the one there is
    of_folds = fitted.get("fold-0", fitted)
    folds = [of_folds] if "patients" in of_folds else of_folds.values()
    patients = [patient for one in folds for patient in one["patients"]]
    # Each validates in one of the five folds.
    assert len(patients) == len(set(patients)) == (8 if preset == "agd_scanners" else 38)
    assert set(patients) <= {*fold.train, *fold.validation}


def test_a_path_stays_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agd_small").mkdir()
    assert find_model("./agd_small").resolve() == tmp_path / "agd_small"
    assert find_model("agd_small").parent == weights.FOLDER


def test_preset_without_weights():
    with pytest.raises(InputError, match=r"agd_paper: expected a preset .*agd_small.*or a path"):
        load_predictor("agd_paper")


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    shutil.copytree(weights.FOLDER / "agd_tiny", tmp_path / "agd_tiny")
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    model = tmp_path / "agd_tiny" / weights.MODEL
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged, expected SHA-256 .*install the package again"):
        find_model("agd_tiny")


def test_checksum_is_that_of_the_file():
    for preset in shipped():
        line = (weights.FOLDER / preset / weights.CHECKSUM).read_text().split()
        assert line == [
            hashlib.sha256((weights.FOLDER / preset / line[1]).read_bytes()).hexdigest(),
            line[1],
        ]
