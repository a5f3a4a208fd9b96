"""TFLite files in a process without TensorFlow, their operators, and what is refused."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.export import tflite
from agd_keras.export.graph import segment
from agd_keras.export.parity import read_parity
from agd_keras.export.samples import read_prepared
from agd_keras.export.tflite import check_operators, convert, export_tflite, served_signatures
from agd_keras.inference.predictor import Predictor, load_predictor
from agd_keras.io.data_set import find_data_set
from agd_keras.io.image_files import read_image, read_mask
from agd_keras.models import agd_autoencoder

QUANTIZED = ("float32", "float16", "int8")


@pytest.fixture(scope="module")
def files(model_file, small_phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("phone")
    return {
        quantize: export_tflite(
            model_file, folder / quantize, quantize, small_phantom, max_drop=0.05
        )
        for quantize in QUANTIZED
    }


FRESH = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
cases = np.load(sys.argv[1])
for path, tolerance in zip(sys.argv[2::2], map(float, sys.argv[3::2])):
    interpreter = Interpreter(path)
    for name in [key for key in cases if key.startswith("in_")]:
        signature = name.split("-")[1]
        if signature not in interpreter.get_signature_list():
            assert "int8" in path
            continue
        runner = interpreter.get_signature_runner(signature)
        assert list(runner.get_input_details()) == ["image"]
        answer = runner(image=cases[name])
        for key, output in answer.items():
            expected = cases[name.replace("in_", "out_") + "-" + key]
            assert output.dtype == expected.dtype and output.shape == expected.shape, key
            difference = np.abs(output.astype(float) - expected)
            if key == "mask" and signature != "model":
                assert difference.mean() < 1e-3  # a pixel at the threshold may fall either way
            else:  # int8 by its mean, a single pixel may be far off
                found = difference.mean() if "int8" in path else difference.max()
                assert found <= tolerance, (path, name, key, found)
assert not any(one.split(".")[0] in ("tensorflow", "keras", "agd_keras") for one in sys.modules)
print("same")
"""


def test_round_trip_in_a_fresh_process(files, model, images, run_script, tmp_path):
    cases = {}
    rng = np.random.default_rng(0)
    for count in (1, 3, 32):
        batch = rng.normal(size=(count, 32, 32, 3)).astype(np.float32)
        cases[f"in_{count}-model"] = batch
        for key, output in model.predict_on_batch(batch).items():
            cases[f"out_{count}-model-{key}"] = output
    for height, width, count in ((128, 128, 3), (200, 180, 1), (256, 256, 1), (512, 512, 1)):
        batch = tf.image.resize(images[:count].astype(np.float32), (height, width)).numpy()
        cases[f"in_{height}-serving_default"] = batch
        for key, output in segment(model, Preprocessor(32), tf.constant(batch)).items():
            cases[f"out_{height}-serving_default-{key}"] = output.numpy()
    np.savez(tmp_path / "cases.npz", **cases)
    tolerances = {"float32": 1e-5, "float16": 1e-2, "int8": 2e-2}
    arguments = [x for name, limit in tolerances.items() for x in (files[name], limit)]
    assert run_script(FRESH, tmp_path / "cases.npz", *arguments).strip() == "same"


@pytest.mark.parametrize("quantize", ["float32", "float16"])
def test_channels_without_spread(files, model, images, quantize):
    """Nothing at all, as FLAIR in some slices of LGG; one grey level; two of them."""
    from ai_edge_litert.interpreter import Interpreter

    serve = Interpreter(str(files[quantize])).get_signature_runner("serving_default")
    for levels in ((0, 0), (77.7, 77.7), (3, 40)):
        image = images[:1].astype(np.float32)
        image[..., 1] = np.where(image[..., 0] > 90, *levels)
        found = serve(image=image)["probability"]
        expected = segment(model, Preprocessor(32), tf.constant(image))["probability"]
        np.testing.assert_allclose(found, expected, atol=1e-2)


def test_sizes_and_dice_follow_the_numbers(files):
    parity = {
        name: json.loads((file.parent / "parity.json").read_text()) for name, file in files.items()
    }
    assert parity["float32"]["difference"]["mask"]["max"] < 1e-5
    assert parity["float16"]["difference"]["mask"]["max"] < 1e-2
    for name, one in parity.items():
        assert one["quantize"] == name
        assert one["bytes"] == files[name].stat().st_size
        assert one["dice"]["keras"] - one["dice"]["artefact"] <= 0.05
        assert ("serving_default" in one["dice"]) == (name != "int8")


def test_dice_of_single_images_is_that_of_the_graph(files, model, small_phantom):
    """Over all pixels, each image normalised by itself."""
    counts = np.zeros(2)
    pairs = [
        pair
        for ref in find_data_set(small_phantom)
        for pair in zip(ref.files, ref.label, strict=True)
    ]
    for image, mask in pairs:
        picture = tf.constant(read_image(image)[None])
        found = segment(model, Preprocessor(32), picture)["mask"].numpy() == 1
        truth = read_mask(mask)[None, ..., None]
        counts += 2 * (found & truth).sum(), found.sum() + truth.sum()
    parity = read_parity(files["float32"])
    assert parity["dice"]["serving_default"] == pytest.approx(counts[0] / counts[1], abs=1e-3)
    assert parity["dice"]["serving_default"] != parity["dice"]["artefact"]


@pytest.mark.slow
def test_int8_keeps_the_dice_of_a_trained_network(small_phantom, tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    options = {"skips": (1, 2), "attention_at": (2,), "activation": "relu", "edge": False}
    model = agd_autoencoder((32, 32, 3), filters=(8, 16), **options)
    patients = list(read_prepared(find_data_set(small_phantom), Preprocessor(32)))
    inputs = np.concatenate([prepared for _, prepared, _ in patients])
    masks = np.concatenate([truth for *_, truth in patients])[..., None]
    model.compile(keras.optimizers.Adam(0.01), {"mask": "binary_crossentropy"})
    model.fit(inputs, {"mask": masks.astype(np.float32)}, batch_size=9, epochs=40, verbose=0)
    model.save(tmp_path / "model.keras")
    file = export_tflite(tmp_path / "model.keras", tmp_path / "phone", "int8", small_phantom)
    dice = read_parity(file)["dice"]
    assert dice["keras"] > 0.6 and dice["artefact"] >= dice["keras"] - 0.005

    # Ranges of values that never occur: the integers saturate, and the rule says so.
    nothing = [{"image": np.zeros((1, 32, 32, 3), np.float32)}]
    monkeypatch.setattr(tflite, "_calibration", lambda *_: nothing)
    with pytest.raises(InputError, match=r"\(int8\): .*dice of artefact falls from 0\.[6-9]"):
        export_tflite(tmp_path / "model.keras", tmp_path / "bad", "int8", small_phantom)
    assert not (tmp_path / "bad").exists()


def test_int8_computes_in_integers(files):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(files["int8"]))
    assert list(interpreter.get_signature_list()) == ["model"]
    tensors = [t for t in interpreter.get_tensor_details() if t["shape"].size == 4]
    # All activations but the input and the outputs, which are float32 for the caller.
    floats = [t["name"] for t in tensors if t["dtype"] == np.float32]
    assert len(floats) <= 3 < len([t for t in tensors if t["dtype"] == np.int8])


def test_operators_are_built_in(files):
    for file in files.values():
        check_operators(file.read_bytes())


def test_operators_that_are_not_built_in_are_refused():
    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32)])
    def function(x):
        return tf.image.resize(x, (4, 4), antialias=True)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.allow_custom_ops = True
    with pytest.raises(InputError, match="not built in: ScaleAndTranslate"):
        check_operators(converter.convert())


def test_unknown_numbers_are_refused(model, small_phantom):
    with pytest.raises(InputError, match="--quantize int4"):
        convert(model, "int4", find_data_set(small_phantom))


def test_nothing_is_left_of_a_refused_export(model_file, small_phantom, tmp_path):
    with pytest.raises(InputError, match=r"float16.*nothing was written"):
        export_tflite(model_file, tmp_path / "phone", "float16", small_phantom, max_drop=-1)
    assert not list(tmp_path.iterdir())


def test_an_export_is_kept_unless_told(files, model_file, small_phantom, tmp_path):
    out = shutil.copytree(files["float16"].parent, tmp_path / "phone")
    before = (out / "model.tflite").read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        export_tflite(model_file, out, "float32", small_phantom)
    assert (out / "model.tflite").read_bytes() == before
    export_tflite(model_file, out, "float32", small_phantom, overwrite=True)
    assert len((out / "model.tflite").read_bytes()) > len(before)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt"):
        export_tflite(model_file, out, "float32", small_phantom, overwrite=True)


def test_the_predictor_takes_the_file(files, model, images):
    expected = Predictor([model]).predict_patient(images)
    for name, tolerance in {"float32": 1e-5, "float16": 1e-2}.items():
        found = load_predictor(files[name]).predict_patient(images)
        np.testing.assert_allclose(found, expected, atol=tolerance)
    assert np.abs(load_predictor(files["int8"]).predict_patient(images) - expected).mean() < 2e-2
    assert load_predictor(files["float32"]).explain(images, 0).keys() == {"mask", "edge"}


def test_a_damaged_file_is_one_line(files, tmp_path):
    content = files["float32"].read_bytes()
    for place, damaged in enumerate((b"", content[:100], b"\0" * 64)):
        path = tmp_path / f"{place}.tflite"
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="expected what agd-export writes") as raised:
            load_predictor(path)
        assert "\n" not in str(raised.value)


def test_one_predictor_in_several_threads(files, images):
    """As a web server calls it: each gets the answer to its own question."""
    predictor = load_predictor(files["float32"])
    stacks = [np.roll(images, shift, axis=2) for shift in range(0, 240, 20)]
    expected = [predictor.predict_patient(stack) for stack in stacks]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(predictor.predict_patient, stacks * 3))
    for one, right in zip(found, expected * 3, strict=True):
        np.testing.assert_array_equal(one, right)


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_not_a_number_in_the_air_is_air(files, model, images, kind):
    broken = images.astype(np.float32)
    broken[:, 3, 4, 1], broken[:, 9, 9, 2] = np.nan, np.inf
    scored = np.where(images < 40, 0, (images - 100.0) / 30).astype(np.float32)
    [serve] = served_signatures(files[kind]).values()
    for stack in (broken, scored):
        expected = [Predictor([model]).predict_patient(one[None])[0] for one in stack]
        assert np.max(expected) > 0.5
        tolerance = 1e-4 if kind == "float32" else 2e-2
        np.testing.assert_allclose(serve(stack), expected, atol=tolerance)
