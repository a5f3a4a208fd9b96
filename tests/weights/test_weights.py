"""The weights that come with the package, and what a damaged or missing one says."""

import hashlib
import shutil

import numpy as np
import pytest

from agd_keras import weights
from agd_keras.config import differences, make_config
from agd_keras.data.phantom import make_phantom
from agd_keras.data.splits import load_folds
from agd_keras.errors import InputError
from agd_keras.inference.model_file import load_model
from agd_keras.inference.predict_case import predict_case
from agd_keras.inference.predictor import load_predictor
from agd_keras.io.data_set import find_data_set
from agd_keras.io.labels import read_labelled
from agd_keras.values import load_config
from agd_keras.weights import find_model, shipped

# SHA-256 of the masks, uint8, of some phantoms, as these weights predicted them when they were
# released. No probability there is within 1e-4 of the threshold, which is far more than machines
# differ by.
MASKS = {
    "agd_tiny": {
        "phantom_004": "e2f27b1ebf14113985720cca155c6d9d0529931914e68ad904976467f1843114",
        "phantom_006": "4bf2bb265a0de6b80e9f8ff87acbb488ecb1eef44118059be4b1992da3ce5356",
        "phantom_007": "adddec7c3cd13540874634e136cb45240f3d3bcd53fcfc637e242b9c1130bd03",
    },
    "agd_small": {
        "phantom_004": "063d00856db61549c1d258ad23ff83df520ade448860a79ff4df143218285bab",
        "phantom_006": "e4a5bf5774ccb015080f414ccc51242f7d9f2856c8aa4b40e99acb23c722403d",
        "phantom_001": "b1ff1a30270c6a8749c07b17f809e5b7a726b93056565674f70d5b01ffe5f6ce",
    },
}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    root = make_phantom(tmp_path_factory.mktemp("data") / "p", patients=7, slices=8, size=96)
    return {ref.case_id: read_labelled(ref)[0] for ref in find_data_set(root)}


@pytest.mark.parametrize("preset", shipped())
def test_shipped_weights_predict_the_masks_of_their_release(preset, phantoms):
    predictor = load_predictor(preset)
    threshold = predictor.calibration.threshold
    for name, expected in MASKS[preset].items():
        probability = predict_case(predictor, phantoms[name])
        assert np.abs(probability - threshold).min() > 1e-4
        mask = (probability >= threshold).astype(np.uint8)
        assert hashlib.sha256(mask.tobytes()).hexdigest() == expected


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
    assert (familiarity.ranges["skull"][0] == 0) == (preset == "agd_small")
    assert calibration.temperature > 1  # overlap makes too sure
    fitted = calibration.fitted_on  # of all folds of the tested run, or of the one there is
    of_folds = fitted.get("fold-0", fitted)
    folds = [of_folds] if "patients" in of_folds else of_folds.values()
    patients = [patient for one in folds for patient in one["patients"]]
    # Each validates in one of the five folds.
    assert len(patients) == len(set(patients)) == 38
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
