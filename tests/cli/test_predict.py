"""The command: exit statuses, one line each, options that reach the prediction."""

import socket

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


@pytest.mark.parametrize("arguments", [[], ["a.png"], ["a.png", "--model", "m"]])
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


def test_server_that_is_not_there(tmp_path, picture, capsys, monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)  # between its tries
    with socket.socket() as bound:  # so that nothing else listens there
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        arguments = ["--server", f"http://{address}/v1/models/agd", "--out", str(tmp_path / "out")]
        assert predict.main([picture, *arguments]) == 1
    assert f"error: http://{address}/v1/models/agd: no server" in capsys.readouterr().err
    assert waits == [0.5, 1, 2, 4]


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


def test_bad_input_is_one_line(tmp_path, model, capsys):
    out = str(tmp_path / "out")
    (tmp_path / "b.nii.gz").write_bytes(b"no gzip")
    for name, reason in (("none.png", "found nothing"), ("b.nii.gz", "damaged NIfTI file")):
        assert predict.main([str(tmp_path / name), "--model", model, "--out", out]) == 1
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ") and reason in error and "\n" not in error
