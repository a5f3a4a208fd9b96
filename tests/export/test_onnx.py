"""The ONNX file in a process without TensorFlow."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from agd_keras.data.anatomy import make_patient
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.export.onnx import export_onnx
from agd_keras.inference.predictor import Predictor, load_predictor
from agd_keras.inference.stored_preprocessor import write_preprocessor


@pytest.fixture(scope="module")
def file(model_file, small_phantom, tmp_path_factory):
    return export_onnx(model_file, tmp_path_factory.mktemp("web") / "onnx", small_phantom)


FRESH = """
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
(image,) = session.get_inputs()
assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(float)", [32, 32, 3])
assert sorted(output.name for output in session.get_outputs()) == ["edge", "mask"]
cases = np.load(sys.argv[2])
for count in (1, 3, 32):
    for name in ("mask", "edge"):
        (output,) = session.run([name], {"image": cases[f"in_{count}"]})
        expected = cases[f"{name}_{count}"]
        assert output.dtype == np.float32 and output.shape == expected.shape
        assert np.abs(output - expected).max() < 1e-5, (count, name)
assert not any(one.split(".")[0] in ("tensorflow", "keras", "agd_keras") for one in sys.modules)
print("same")
"""


def test_round_trip_in_a_fresh_process(file, model, run_script, tmp_path):
    rng = np.random.default_rng(0)
    cases = {}
    for count in (1, 3, 32):
        cases[f"in_{count}"] = rng.normal(size=(count, 32, 32, 3)).astype(np.float32)
        outputs = model.predict_on_batch(cases[f"in_{count}"])
        cases |= {f"{name}_{count}": output for name, output in outputs.items()}
    np.savez(tmp_path / "cases.npz", **cases)
    assert run_script(FRESH, file, tmp_path / "cases.npz").strip() == "same"


def test_parity_and_predictor(file, model, images):
    parity = json.loads((file.parent / "parity.json").read_text())
    assert (parity["format"], parity["artefact"]) == ("onnx", "model.onnx")
    assert max(one["max"] for one in parity["difference"].values()) < 1e-5
    found = load_predictor(file).predict_patient(images)
    np.testing.assert_allclose(found, Predictor([model]).predict_patient(images), atol=1e-5)


def test_patient_file_is_the_way_of_the_keras_model(file, model, images):
    """Other sizes and numbers of slices than those it was traced with, and of any scale."""
    whole = load_predictor(file.with_name("patient.onnx"))
    keras = load_predictor(file.parent / "model.onnx")
    for stack in (images, images[:1, :100, :70], 1000.0 * images[1:4, ::2, ::3]):
        expected = Predictor([model], calibration=keras.calibration).predict_patient(stack)
        np.testing.assert_allclose(whole.predict_patient(stack), expected, atol=1e-5)
    parity = json.loads((file.parent / "parity.json").read_text())
    assert parity["difference"]["patient"]["max"] < 1e-5
    assert parity["dice"]["patient"] == pytest.approx(parity["dice"]["keras"], abs=1e-4)


def test_patient_file_names_where_the_network_begins(file, model, images):
    """The page cuts the graph there: what goes through must be the network's own input."""
    graph = onnx.load(file.with_name("patient.onnx"))
    [prepared] = [one for one in graph.graph.value_info if one.name == "prepared"]
    shape = [one.dim_value for one in prepared.type.tensor_type.shape.dim]
    assert shape == [0, 3, 32, 32]
    del graph.graph.output[:]
    graph.graph.output.append(prepared)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (found,) = session.run(["prepared"], {"image": images.astype(np.float32)})
    expected = Preprocessor(32).prepare(images).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_run_folder_becomes_one_averaging_file(make_model, small_phantom, images, tmp_path):
    models = [make_model(seed) for seed in range(2)]
    for fold, model in enumerate(models):
        (tmp_path / "run" / f"fold-{fold}").mkdir(parents=True)
        model.save(tmp_path / "run" / f"fold-{fold}" / "model.keras")
    file = export_onnx(tmp_path / "run", tmp_path / "onnx", small_phantom)
    expected = Predictor(models).predict_patient(images)
    np.testing.assert_allclose(load_predictor(file).predict_patient(images), expected, atol=1e-5)


def test_a_model_of_another_normalisation_is_exported_with_it(model_file, model, tmp_path):
    brain = Preprocessor(32, normalization="brain")
    path = tmp_path / "model.keras"
    path.write_bytes(model_file.read_bytes())
    write_preprocessor(path, brain)
    file = export_onnx(path, tmp_path / "onnx", "phantom")
    assert "normal brain at 0" in file.with_name("MODEL_CARD.md").read_text()
    parity = json.loads(file.with_name("parity.json").read_text())
    assert parity["difference"]["patient"]["mean"] < 1e-5
    stack = np.stack(make_patient(1, 0, 8, 48)[0])
    expected = Predictor([model], preprocessor=brain).predict_patient(stack)
    assert np.abs(expected - Predictor([model]).predict_patient(stack)).max() > 0.1
    for name in ("model.onnx", "patient.onnx"):
        found = load_predictor(file.with_name(name)).predict_patient(stack)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_an_export_is_kept_unless_told(file, model_file):
    with pytest.raises(InputError, match="--overwrite"):
        export_onnx(model_file, file.parent)
