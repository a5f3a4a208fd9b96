"""`agd-export` as a user meets it."""

import json

import pytest

from agd_keras.cli import export
from agd_keras.cli.export import main
from agd_keras.models import agd_autoencoder


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "model.keras"
    agd_autoencoder((32, 32, 3), filters=(4, 8)).save(path)
    return str(path)


def test_tflite(model_file, small_phantom, tmp_path, capsys):
    options = ["--model", model_file, "--format", "tflite", "--data", str(small_phantom)]
    out = str(tmp_path / "out")
    assert main([*options, "--quantize", "float16", "--out", out]) == 0
    assert "model.tflite" in capsys.readouterr().out
    parity = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert parity["quantize"] == "float16"
    assert main([*options, "--out", out]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "--overwrite" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "pickle"], "--format: invalid choice"),
        (["--format", "onnx", "--quantize", "int8"], "--quantize: only with --format tflite"),
        (["--format", "tflite", "--model-version", "2"], "--model-version: only with --format"),
        (["--format", "saved_model", "--overwrite"], "--overwrite: only with --format tflite or"),
    ],
)
def test_bad_usage(options, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as raised:
        main(["--model", "m.keras", "--out", str(tmp_path / "out"), *options])
    assert raised.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["saved_model", "tflite", "onnx"])
def test_a_missing_model_is_one_line(kind, tmp_path, capsys):
    options = ["--model", "none.keras", "--format", kind, "--out", str(tmp_path / "out")]
    assert main(options) == 1
    assert "none.keras: expected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(export, "find_spec", lambda module: None)
    assert export.main(["--model", "m", "--format", "onnx", "--out", "o"]) == 1
    assert "pip install -e .[export]" in capsys.readouterr().err
