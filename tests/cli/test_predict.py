"""The command: exit statuses, one line each, options that reach the prediction."""

import socket

import nibabel
import numpy as np
import pytest
from PIL import Image

from agd_keras.cli import evaluate, predict
from agd_keras.data.profile import ScanProfile
from agd_keras.inference.familiarity import fit_familiarity, write_familiarity
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


def test_contrasts_and_channels_that_the_user_names(tmp_path, model, capsys):
    volume = np.random.default_rng(0).integers(0, 256, (16, 16, 2, 4)).astype(np.int16)
    affine = np.diag([-1.0, -1, 5, 1])
    nibabel.Nifti1Image(volume, affine).to_filename(tmp_path / "all.nii.gz")
    for place, name in enumerate(("x", "y", "z")):
        image = nibabel.Nifti1Image(volume[..., place], affine)
        image.to_filename(tmp_path / f"{name}.nii.gz")
    said = ["--t1", "x", "--t1c", "y", "--flair", "z"]
    said = [f"{tmp_path / part}.nii.gz" if len(part) == 1 else part for part in said]
    options = ["--model", model, "--no-overlays", "--out"]
    assert predict.main([*said, *options, str(tmp_path / "a")]) == 0
    together = [str(tmp_path / "all.nii.gz"), "--channels", "t1,t1c,flair,adc"]
    assert predict.main([*together, *options, str(tmp_path / "b")]) == 0
    assert "channels taken as T1, T1c, FLAIR, other" in capsys.readouterr().out
    masks = [tmp_path / "a" / "z_mask.nii.gz", tmp_path / "b" / "all_mask.nii.gz"]
    first, second = (np.asarray(nibabel.load(path).dataobj) for path in masks)
    np.testing.assert_array_equal(first, second)
    for given, reason in (
        (["--channels", "t1,t2"], "--channels t1,t2: expected flair among them"),
        (["--channels", "t1,tlc,t2,flair"], "expected t1, flair, t1c, t2 or other, found 'tlc'"),
        (["--channels", "t1,t1w,t2,flair"], "--channels t1,t1w,t2,flair: expected T1 once"),
        (["--channels", "t1,flair"], "4 channels, but 2 are named: T1, FLAIR"),
        ([], "4 channels; --channels t1,t1c,t2,flair"),
    ):
        arguments = [together[0], *given, *options, str(tmp_path / "c")]
        assert predict.main(arguments) == 1
        assert reason in capsys.readouterr().err


def test_scans_unlike_the_training_data_are_told_at_the_end(tmp_path, small_phantom, capsys):
    """Six slices each, of a model that has seen twenty and more."""
    model = tmp_path / "model" / "tiny.keras"
    model.parent.mkdir()
    agd_autoencoder((32, 32, 3), filters=(4, 8)).save(model)
    write_familiarity(model, fit_familiarity(ScanProfile(count) for count in range(20, 26)))
    arguments = ["--model", str(model), "--no-overlays", "--out"]
    one = str(small_phantom / "phantom_001")
    assert predict.main([one, *arguments, str(tmp_path / "one")]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith(
        "cases: 1, slices: 6; unlike the training data: 6 slices (20 to 25); took"
    )
    assert predict.main([str(small_phantom), *arguments, str(tmp_path / "all")]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("cases: 6, slices: 36; unlike the training data: 6; took")
    data = ["--data", str(small_phantom), "--out", str(tmp_path / "scored")]
    assert evaluate.main(["--model", str(model), *data]) == 0
    out = capsys.readouterr().out
    assert "unlike the training data: 6 of 6 cases; took" in out
    assert "6 of 6 patients are of a kind that the model never saw: 6 slices (6)." in " ".join(
        out.split()
    )
