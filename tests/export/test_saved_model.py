"""The SavedModel as others meet it: in a fresh process, over TensorFlow's C API, as a protocol."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from agd_keras.data.preprocess import resize_probability
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.export import saved_model as module
from agd_keras.export.bundle import WARMUP
from agd_keras.export.parity import read_parity
from agd_keras.export.saved_model import export_saved_model, make_signatures, write_saved_model
from agd_keras.inference.exported import load_artefact
from agd_keras.inference.familiarity import read_familiarity
from agd_keras.inference.predictor import Predictor, load_predictor

SIZES = [(128, 128), (200, 180), (256, 256), (512, 512)]
ANY, ANY4 = (None, None, None, 3), (None, None, None, 1)
ANSWER = {"probability": (tf.float32, ANY4), "mask": (tf.uint8, ANY4)}
STACK = {name: (dtype, (None, *shape)) for name, (dtype, shape) in ANSWER.items()}
NETWORK = (tf.float32, (None, 32, 32, 1))
RECORD_BYTES = len(json.dumps(Preprocessor(32).to_values()))
DECLARED = {
    "serving_default": ({"image": (tf.float32, ANY)}, ANSWER),
    "uint8": ({"image": (tf.uint8, ANY)}, ANSWER),
    "encoded": ({"image_bytes": (tf.string, (None,))}, ANSWER),
    "patient": ({"image": (tf.float32, (None, *ANY))}, STACK),
    "model": ({"image": (tf.float32, (None, 32, 32, 3))}, {"mask": NETWORK, "edge": NETWORK}),
    "calibration": (
        {"x": (tf.float32, (None,))},
        dict.fromkeys(("temperature", "threshold"), (tf.float32, (None,))),
    ),
    "preprocessor": ({"x": (tf.float32, (None,))}, {"json": (tf.uint8, (None, RECORD_BYTES))}),
}


@pytest.fixture(scope="module")
def loaded(saved_model):
    return tf.saved_model.load(str(saved_model / "1"))


@pytest.fixture(scope="module")
def graph(saved_model):
    """The graph as it lies in the file."""
    proto = SavedModel.FromString((saved_model / "1" / "saved_model.pb").read_bytes())
    (graph,) = proto.meta_graphs
    return graph


def resized(images, height, width):
    """Slices of another size, of which the last rows are dark."""
    size = (width, height)
    return np.stack([np.asarray(Image.fromarray(one).resize(size)) for one in images])


def by_hand(model, images):
    """What serving_default promises, by Pillow and the Python code: each image by itself."""
    size = model.input_shape[1]
    prepared = [Preprocessor(size).prepare(one[None])[0] for one in images]
    masks = model.predict_on_batch(np.stack(prepared))["mask"][..., 0]
    return np.stack([resize_probability(one, images.shape[1:3]) for one in masks])[..., None]


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_protocol_of_the_server(graph):
    assert list(graph.meta_info_def.tags) == ["serve"]
    signatures = {k: v for k, v in graph.signature_def.items() if k != "__saved_model_init_op"}
    assert signatures.keys() == DECLARED.keys()
    for name, signature in signatures.items():
        assert signature.method_name == "tensorflow/serving/predict"
        for found, declared in zip(
            (signature.inputs, signature.outputs), DECLARED[name], strict=True
        ):
            assert {
                key: (
                    tf.as_dtype(info.dtype),
                    tuple(None if d.size < 0 else d.size for d in info.tensor_shape.dim),
                )
                for key, info in found.items()
            } == declared


def test_what_scans_the_model_knows_goes_with_it(saved_model, model_file):
    known = read_familiarity(model_file)
    assert known is not None
    for path in (saved_model, saved_model / "1"):
        assert read_familiarity(path) == known
    card = (saved_model / "1" / "MODEL_CARD.md").read_text()
    assert "9 scans that look like this" in card and "- 20 to 30 slices" in card


def test_layout_of_the_served_folder(saved_model):
    names = {path.name for path in saved_model.iterdir()}
    assert names == {"1", "batching.txt"}
    inside = {path.name for path in (saved_model / "1").iterdir()}
    assert {"saved_model.pb", "variables", "assets.extra", "MODEL_CARD.md", "parity.json"} <= inside
    assert [path.name for path in saved_model.parent.iterdir()] == ["agd"]  # nothing temporary


FRESH = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
cases = np.load(sys.argv[2])
for name in [key for key in cases if key.startswith("image")]:
    image, expected = cases[name], cases[name.replace("image", "expected")]
    answers = {}
    for signature, value in {"uint8": image, "serving_default": image.astype("float32")}.items():
        answer = loaded.signatures[signature](image=tf.constant(value))
        assert sorted(answer) == ["mask", "probability"], sorted(answer)
        assert answer["probability"].dtype == tf.float32 and answer["mask"].dtype == tf.uint8
        assert answer["probability"].shape == answer["mask"].shape == expected.shape
        worst = np.abs(answer["probability"] - expected).max()
        assert worst < 1e-5, (name, signature, worst)
        assert ((answer["probability"] >= 0.5) == (answer["mask"] == 1)).numpy().all()
assert not any(one.startswith("agd_keras") for one in sys.modules)
print("same")
"""


def test_round_trip_in_a_fresh_process(saved_model, model, images, run_script, tmp_path):
    cases = {}
    for height, width in SIZES:
        for count in {128: (1, 3, 32), 512: (1,)}.get(height, (1, 3)):
            batch = np.resize(resized(images, height, width), (count, height, width, 3))
            cases[f"image_{height}_{count}"] = batch
            cases[f"expected_{height}_{count}"] = by_hand(model, batch)
    np.savez(tmp_path / "cases.npz", **cases)
    assert np.ptp(cases["expected_256_3"]) > 0.3
    printed = run_script(FRESH, saved_model / "1", tmp_path / "cases.npz")
    assert printed.strip() == "same"


@pytest.mark.nightly
@pytest.mark.parametrize("size", SIZES[1:])
def test_32_large_images(loaded, model, images, size):
    batch = np.resize(resized(images, *size), (32, *size, 3))
    found = loaded.signatures["uint8"](image=tf.constant(batch))["probability"]
    np.testing.assert_allclose(found, by_hand(model, batch), atol=1e-5)


def test_rows_do_not_depend_on_one_another(loaded, images):
    serve = loaded.signatures["uint8"]
    together = serve(image=tf.constant(images))
    for place, one in enumerate(images):
        alone = serve(image=tf.constant(one[None]))
        np.testing.assert_allclose(
            alone["probability"][0], together["probability"][place], atol=1e-6
        )


def test_encoded_images_are_the_same(loaded, images):
    encoded = loaded.signatures["encoded"](image_bytes=tf.constant([png(one) for one in images]))
    plain = loaded.signatures["uint8"](image=tf.constant(images))
    np.testing.assert_array_equal(encoded["probability"], plain["probability"])
    np.testing.assert_array_equal(encoded["mask"], plain["mask"])


def test_damaged_bytes_are_an_error(loaded, images):
    broken = tf.constant([png(images[0])[:300]])
    with pytest.raises(tf.errors.InvalidArgumentError):
        loaded.signatures["encoded"](image_bytes=broken)


def test_a_patient_is_what_the_predictor_predicts(loaded, model, images):
    stacks = np.stack([images, images[::-1] // 2])
    found = loaded.signatures["patient"](image=tf.constant(stacks.astype(np.float32)))
    for stack, probability in zip(stacks, found["probability"], strict=True):
        expected = Predictor([model]).predict_patient(stack)
        np.testing.assert_allclose(probability[..., 0], expected, atol=1e-5)
        assert np.abs(by_hand(model, stack)[..., 0] - expected).max() > 1e-3  # not the same rule


def test_other_inputs_are_refused(loaded, images):
    serve = loaded.signatures["serving_default"]
    image = tf.constant(images[:1].astype(np.float32))
    with pytest.raises(TypeError):
        serve()
    with pytest.raises(TypeError):
        serve(image=image, other=image)
    with pytest.raises((TypeError, tf.errors.InvalidArgumentError)):
        serve(image=tf.constant(images[:1, ..., :2].astype(np.float32)))


def test_warmup_records_replay(saved_model, loaded):
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    records = list(tf.data.TFRecordDataset(str(saved_model / "1" / WARMUP)).as_numpy_iterator())
    replayed = []
    for record in records:
        log = PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == "agd"
        inputs = {name: tf.constant(tf.make_ndarray(x)) for name, x in request.inputs.items()}
        answer = loaded.signatures[request.model_spec.signature_name](**inputs)
        assert all(np.isfinite(output).all() for output in answer.values())
        replayed.append(request.model_spec.signature_name)
    assert sorted(replayed) == sorted(DECLARED)


C_API = r"""
import ctypes, importlib.util, json, pathlib, sys
import numpy as np
folder, names, cases = sys.argv[1], json.loads(sys.argv[2]), np.load(sys.argv[3])
home = pathlib.Path(importlib.util.find_spec("tensorflow").submodule_search_locations[0])
tf = ctypes.CDLL(str(home / "libtensorflow_cc.so.2"), mode=ctypes.RTLD_LOCAL)
pointer = ctypes.c_void_p

class Output(ctypes.Structure):
    _fields_ = [("operation", pointer), ("index", ctypes.c_int)]

for name in ("NewStatus", "NewSessionOptions", "NewGraph", "LoadSessionFromSavedModel",
             "GraphOperationByName", "AllocateTensor", "TensorData"):
    getattr(tf, "TF_" + name).restype = pointer
tf.TF_Message.restype = ctypes.c_char_p
tf.TF_Dim.restype = ctypes.c_int64
status, graph = pointer(tf.TF_NewStatus()), pointer(tf.TF_NewGraph())
tags = (ctypes.c_char_p * 1)(b"serve")
session = pointer(tf.TF_LoadSessionFromSavedModel(
    pointer(tf.TF_NewSessionOptions()), None, folder.encode(), tags, 1, graph, None, status))
assert tf.TF_GetCode(status) == 0, tf.TF_Message(status)

def endpoint(name):
    operation, _, index = name.partition(":")
    found = tf.TF_GraphOperationByName(graph, operation.encode())
    assert found, name
    return Output(found, int(index))

def run(signature, array):
    array = np.ascontiguousarray(array)
    kind = {"float32": 1, "uint8": 4}[array.dtype.name]
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = pointer(tf.TF_AllocateTensor(kind, shape, array.ndim, ctypes.c_size_t(array.nbytes)))
    ctypes.memmove(tf.TF_TensorData(tensor), array.ctypes.data, array.nbytes)
    inputs = (Output * 1)(endpoint(names[signature]["inputs"]["image"]))
    keys = sorted(names[signature]["outputs"])
    outputs = (Output * len(keys))(*[endpoint(names[signature]["outputs"][key]) for key in keys])
    values = (pointer * len(keys))()
    tf.TF_SessionRun(session, None, inputs, (pointer * 1)(tensor), 1,
                     outputs, values, len(keys), None, 0, None, status)
    assert tf.TF_GetCode(status) == 0, tf.TF_Message(status)
    answer = {}
    for key, value in zip(keys, values):
        value = pointer(value)
        shape = [tf.TF_Dim(value, axis) for axis in range(tf.TF_NumDims(value))]
        dtype = {1: np.float32, 4: np.uint8}[tf.TF_TensorType(value)]
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        content = ctypes.string_at(tf.TF_TensorData(value), size)
        answer[key] = np.frombuffer(content, dtype).reshape(shape)
    return answer

for signature in names:
    answer = run(signature, cases["in_" + signature])
    for key, output in answer.items():
        expected = cases[f"out_{signature}_{key}"]
        assert output.dtype == expected.dtype and output.shape == expected.shape
        assert np.abs(output.astype(float) - expected).max() < 1e-6, (signature, key)
assert not any(name.split(".")[0] in ("tensorflow", "keras", "agd_keras") for name in sys.modules)
print("answered", *sorted(names))
"""


def test_c_api_answers_without_python_tensorflow(
    saved_model, loaded, graph, images, run_script, tmp_path
):
    inputs = {
        "serving_default": images[:2].astype(np.float32),
        "uint8": images[:3],
        "patient": images[None].astype(np.float32),
        "model": np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32),
    }
    cases = {f"in_{name}": value for name, value in inputs.items()}
    for name, value in inputs.items():
        answer = loaded.signatures[name](image=tf.constant(value))
        cases |= {f"out_{name}_{key}": output.numpy() for key, output in answer.items()}
    np.savez(tmp_path / "cases.npz", **cases)
    names = {
        name: {
            side: {key: info.name for key, info in getattr(graph.signature_def[name], side).items()}
            for side in ("inputs", "outputs")
        }
        for name in inputs
    }
    arguments = (saved_model / "1", json.dumps(names), tmp_path / "cases.npz")
    assert run_script(C_API, *arguments).split() == ["answered", *sorted(inputs)]


def test_parity_file(saved_model):
    parity = read_parity(saved_model)
    assert parity["artefact"] == "agd/1"
    assert parity["difference"].keys() == {"mask", "edge", "patient"}
    assert max(one["max"] for one in parity["difference"].values()) < 1e-5
    assert parity["dice"].keys() == {"keras", "artefact", "serving_default", "patient"}
    assert parity["dice"]["artefact"] == pytest.approx(parity["dice"]["keras"], abs=1e-3)
    assert parity["dice"]["patient"] == pytest.approx(parity["dice"]["keras"], abs=1e-3)
    assert (parity["slices"], parity["patients"]) == (36, 6)


def test_the_predictor_takes_the_folder(saved_model, model, images):
    expected = Predictor([model]).predict_patient(images)
    for folder in (saved_model, saved_model / "1"):
        predictor = load_predictor(folder)
        assert predictor.preprocessor.image_size == 32
        np.testing.assert_allclose(predictor.predict_patient(images), expected, atol=1e-5)


def test_versions_follow_one_another(model_file, small_phantom, tmp_path, monkeypatch):
    def write(folder, signatures):
        folder.mkdir()
        (folder / "saved_model.pb").write_text("")

    # Writing is tested above; here only numbers matter.
    monkeypatch.setattr(module, "write_saved_model", write)
    monkeypatch.setattr(module, "load_artefact", lambda folder: None)
    monkeypatch.setattr(module, "served_signatures", lambda folder: {})
    parity = {"versions": {"agd_keras": "0"}, "latency_ms": {"artefact": 1, "keras": 1}}
    parity |= dict.fromkeys(("threshold", "slices", "patients", "bytes", "cores"), 1)
    parity |= {"scored": "", "data": "", "difference": {}}
    parity |= {key: {"keras": 0.8, "artefact": 0.8} for key in ("dice", "patient_dice")}
    monkeypatch.setattr(module, "measure_parity", lambda *arguments, **options: parity)
    out = tmp_path / "agd"

    def export(**options):
        return export_saved_model(model_file, out, small_phantom, **options)

    assert export() == out / "1"
    assert export(version=7) == out / "7"
    assert export() == out / "8"
    served = read_parity(out)
    assert export(version=5) == out / "5"
    assert read_parity(out) == served and served["artefact"] == "agd/8"
    assert read_parity(out / "5")["artefact"] == "agd/5"
    assert "agd/8" in (out / "8" / "MODEL_CARD.md").read_text()
    with pytest.raises(InputError, match="version 7 is there already"):
        export(version=7)
    with pytest.raises(InputError, match="--model-version 0"):
        export(version=0)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt"):
        export()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agd"]


@pytest.mark.slow
def test_nothing_is_left_of_a_refused_export(model_file, small_phantom, tmp_path):
    with pytest.raises(InputError, match="nothing was written"):
        export_saved_model(model_file, tmp_path / "agd", small_phantom, max_drop=-1)
    assert not list(tmp_path.iterdir())


def test_an_export_is_not_exported_again(saved_model, tmp_path):
    with pytest.raises(InputError, match="found an export"):
        export_saved_model(saved_model, tmp_path / "again")


@pytest.mark.parametrize("name", ["[1]", "a*b?", "{x} 100 % ü"])
def test_a_folder_that_reads_as_a_pattern(name, tmp_path):
    spec = tf.TensorSpec((None, 8, 8, 3), tf.float32, "image")
    halve = tf.function(lambda image: {"mask": image[..., :1] / 2}, input_signature=[spec])
    folder = tmp_path / name / "1"
    write_saved_model(folder, {"model": halve})
    network = load_artefact(tmp_path / name)
    assert network.input_shape == (None, 8, 8, 3)
    mask = network.predict_on_batch(np.ones((2, 8, 8, 3), np.float32))["mask"]
    np.testing.assert_array_equal(mask, np.full((2, 8, 8, 1), 0.5))


def test_a_saved_model_that_cannot_be_written_names_its_folder(tmp_path, monkeypatch):
    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "a.index; No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        write_saved_model(tmp_path / "1", {})
    assert error.value.filename == str(tmp_path / "1")


def test_background_is_that_of_the_predictor(loaded, model, images):
    broken = images.astype(np.float32)
    broken[2, 3, 4, 1] = np.nan
    broken[1, 200:, :, 0] = -np.inf
    scored = np.where(images < 40, np.float32(0), (images - np.float32(100)) / 30)
    predictor = Predictor([model])
    for stack in (broken, scored, np.where(images < 40, np.nan, scored)):
        stack = stack.astype(np.float32)
        found = loaded.signatures["patient"](image=tf.constant(stack[None]))["probability"]
        expected = predictor.predict_patient(stack)
        np.testing.assert_allclose(found[0, ..., 0], expected, atol=1e-4)
        assert np.ptp(expected) > 0.5
    broken[0] = np.nan  # a slice of nothing, by itself
    found = loaded.signatures["serving_default"](image=tf.constant(broken))["probability"]
    expected = [predictor.predict_patient(one[None])[0] for one in broken]
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-4)


def test_a_model_of_another_normalisation_says_so_and_is_served_by_it(model, images):
    brain = Preprocessor(32, normalization="brain")
    made = make_signatures(model, preprocessor=brain)
    told = made["preprocessor"](tf.zeros(2))["json"].numpy()
    assert [Preprocessor.from_values(json.loads(bytes(row))) for row in told] == [brain] * 2
    own = Predictor([model], preprocessor=brain)
    served = made["patient"](tf.cast(images[None], tf.float32))["probability"][0, ..., 0]
    np.testing.assert_allclose(served, own.predict_patient(images), atol=1e-4)
