"""A training followed by MLflow, of which a stand-in takes notes, and by callbacks of one's own."""

import sys
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

import keras
import pytest

from agd_keras.config import make_config
from agd_keras.errors import InputError
from agd_keras.runs.follow import check_tracker, followed
from agd_keras.runs.train import train


@pytest.fixture
def notes(monkeypatch):
    """What the stand-in was told."""
    told = []
    mlflow = ModuleType("mlflow")
    mlflow.__spec__ = ModuleSpec("mlflow", None)

    @contextmanager
    def start_run(run_name):
        told.append(("start", run_name))
        try:
            yield
            told.append(("end", "FINISHED"))
        except BaseException:
            told.append(("end", "FAILED"))
            raise

    mlflow.start_run = start_run
    mlflow.log_params = lambda values: told.append(("params", values))
    mlflow.log_metrics = lambda values, step: told.append(("metrics", step, values))
    mlflow.log_artifact = lambda path: told.append(("artifact", path))
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    return told


def test_options_figures_and_files_are_logged(notes, tmp_path):
    (tmp_path / "model.keras").touch()
    config = make_config({"training": {"epochs": 3}})
    with followed("mlflow", config, tmp_path, "first, fold 0") as [callback]:
        for epoch in range(2):
            callback.on_epoch_end(epoch, {"loss": 0.5, "val_dice": epoch})
    kinds = [note[0] for note in notes]
    assert kinds == ["start", "params", "metrics", "metrics", "artifact", "end"]
    assert notes[0][1] == "first, fold 0"
    assert notes[1][1]["training.epochs"] == "3" and notes[1][1]["preset"] == "agd_tiny"
    assert notes[3][1:] == (2, {"loss": 0.5, "val_dice": 1.0})
    assert notes[4][1] == str(tmp_path / "model.keras")


def test_a_training_that_fails_ends_its_run(notes, tmp_path):
    with pytest.raises(InputError), followed("mlflow", make_config({}), tmp_path, "a"):
        raise InputError("diverged")
    assert notes[-1] == ("end", "FAILED")


def test_without_mlflow_there_is_one_line_and_nothing_is_made(monkeypatch, tmp_path):
    monkeypatch.setattr("agd_keras.runs.follow.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"--track mlflow: expected MLflow to be installed"):
        train(make_config({}), tmp_path / "run", track="mlflow")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="--track wandb: expected mlflow"):
        check_tracker("wandb")


def test_callbacks_need_this_process(tmp_path):
    options = {"executor": "ray", "callbacks": [keras.callbacks.Callback()]}
    with pytest.raises(InputError, match="callbacks: not together with the executor ray"):
        train(make_config({}), tmp_path / "run", **options)
