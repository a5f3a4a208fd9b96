"""A model file runs no code and writes nothing outside of where it lies."""

import json
import zipfile
from contextlib import suppress

import keras
import pytest

from agd_keras.errors import InputError
from agd_keras.export.onnx import export_onnx
from agd_keras.inference.model_file import load_model


def change_layer(source, path, changes):
    """Copies a model file with other entries of its first layer."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            if entry == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1] |= changes
                content = json.dumps(config).encode()
            new.writestr(entry, content)


def refused(path, out):
    with pytest.raises(InputError) as raised:
        export_onnx(path, out, "phantom")
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    assert not out.exists()
    return str(raised.value)


def test_a_lambda_is_refused_with_the_reason(tmp_path):
    image = keras.Input((8, 8, 3), name="image")
    outputs = {"mask": keras.layers.Lambda(lambda x: x[..., :1])(image)}
    keras.Model(image, outputs).save(tmp_path / "model.keras")
    assert "ambda" in refused(tmp_path / "model.keras", tmp_path / "out")


def test_a_foreign_class_is_refused_with_the_reason(model_file, tmp_path):
    path = tmp_path / "model.keras"
    foreign = {"module": "others.layers", "class_name": "Foreign", "registered_name": "Foreign"}
    change_layer(model_file, path, foreign)
    assert "Foreign" in refused(path, tmp_path / "out")


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "builtins.eval"])
def test_a_function_of_python_is_refused_with_the_reason(model_file, tmp_path, name):
    path = tmp_path / "model.keras"
    marker = tmp_path / "ran"
    module, _, attribute = name.rpartition(".")
    call = {"module": module, "class_name": attribute, "registered_name": None}
    change_layer(model_file, path, call | {"config": {"args": f"touch {marker}", "shell": True}})
    assert attribute in refused(path, tmp_path / "out")
    assert not marker.exists()


def test_an_archive_cannot_write_outside_its_folder(model_file, tmp_path):
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    path = home / "model.keras"
    path.write_bytes(model_file.read_bytes())
    outside = tmp_path / "absolute.txt"
    with zipfile.ZipFile(path, "a") as archive:
        for entry in ("../evil.txt", "assets/../../evil.txt", "../../evil.txt", str(outside)):
            archive.writestr(entry, "evil")
    before = sorted(tmp_path.rglob("*"))
    with suppress(InputError):  # either answer will do
        load_model(path, compiled=False)
    assert sorted(tmp_path.rglob("*")) == before
