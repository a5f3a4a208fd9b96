"""The command: exit statuses, one line each, options that reach the prediction."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from agd_keras.cli import predict
from agd_keras.models import agd_autoencoder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    agd_autoencoder((32, 32, 3), filters=(4, 8)).save(path)
    return str(path)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)).save(path)
    return str(path)


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys; from agd_keras.cli import predict\n"
        "try: predict.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'nibabel', 'pydicom', 'highdicom', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--largest-component" in result.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["a.png"], ["a.png", "--model", "m", "--out", "o", "--batch-size", "0"]]
)
def test_bad_usage(arguments):
    with pytest.raises(SystemExit) as caught:
        predict.main(arguments)
    assert caught.value.code == 2


def test_uncertainty_reaches_the_prediction(tmp_path, picture, model, capsys):
    out = tmp_path / "out"
    arguments = [picture, "--model", model, "--out", str(out), "--uncertainty"]
    assert predict.main([*arguments, "ensemble"]) == 1
    assert "ensemble" in capsys.readouterr().err  # of a single network
    assert predict.main([*arguments, "tta"]) == 0
    assert (out / "a_uncertainty.npz").is_file()


def test_server_that_is_not_there(tmp_path, picture, capsys):
    url = "http://127.0.0.1:9/v1/models/agd"
    assert predict.main([picture, "--server", url, "--out", str(tmp_path / "out")]) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_predicts_a_picture(tmp_path, picture, model, capsys):
    out = tmp_path / "out"
    arguments = ["--model", model, "--out", str(out), "--flips", "--batch-size", "2"]
    assert predict.main([picture, *arguments]) == 0
    assert {path.name for path in out.iterdir()} == {
        *("a_mask.png", "a_overlay.png", "predictions.csv"),
    }
    mask = np.asarray(Image.open(out / "a_mask.png"))
    assert mask.shape == (40, 30) and set(np.unique(mask)) <= {0, 255}
    assert "cases: 1, slices: 1" in capsys.readouterr().out


def test_bad_input_is_one_line(tmp_path, picture, model, capsys):
    out = str(tmp_path / "out")
    (tmp_path / "b.nii.gz").write_bytes(b"no gzip")
    for path, options, reason in (
        (str(tmp_path / "none.png"), [], "found nothing"),
        (str(tmp_path / "b.nii.gz"), [], "damaged NIfTI file"),
        (picture, ["--threshold", "2"], "--threshold 2.0"),
        (picture, ["--min-size", "-3"], "--min-size -3"),
    ):
        assert predict.main([path, "--model", model, "--out", out, *options]) == 1
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ") and reason in error and "\n" not in error
