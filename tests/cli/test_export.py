"""`agd-export` as a user meets it."""

import json
import subprocess
import sys
import time

import pytest

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
    "options",
    [
        ["--format", "pickle"],
        ["--format", "onnx", "--quantize", "int8"],
        ["--format", "tflite", "--version", "2"],
        ["--format", "saved_model", "--overwrite"],
        ["--format", "onnx", "--threshold", "1.5"],
        ["--format", "onnx", "--max-drop", "-1"],
        ["--format", "onnx", "--threshold", "nan"],
    ],
)
def test_bad_usage(options, tmp_path, capsys):
    with pytest.raises(SystemExit) as raised:
        main(["--model", "m.keras", "--out", str(tmp_path / "out"), *options])
    assert raised.value.code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["saved_model", "tflite", "onnx"])
def test_a_missing_model_is_one_line(kind, tmp_path, capsys):
    options = ["--model", "none.keras", "--format", kind, "--out", str(tmp_path / "out")]
    assert main(options) == 1
    assert "none.keras: expected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_help_is_quick():
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "agd_keras.cli.export", "--help"], capture_output=True, check=True
    )
    assert b"--quantize" in done.stdout
    assert time.perf_counter() - start < 1
