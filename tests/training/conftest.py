"""A run so small that it takes seconds, for all tests of training."""

import csv
import json
import sys

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure

from agd_keras.config import make_config
from agd_keras.runs.train import train
from agd_keras.training import fit
from agd_keras.values import merge

TINY = {
    "data": {"image_size": 32, "portions": 6},
    "model": {"filters": [4, 8], "skips": [1, 2], "attention_at": [2], "edge_filters": 4},
    "training": {"epochs": 2, "batch_size": 4, "precision": "float32", "ema": 0.5},
}


# Of the one run that is trained whole, for all tests that need such a one.
WHOLE = {"training": {"epochs": 3}, "model": {"dropout": 0.3}}


@pytest.fixture(autouse=True)
def few_batches(monkeypatch):
    """Lets averaged weights get their statistics from two batches, as twenty take seconds."""
    monkeypatch.setattr(fit, "CALIBRATION", 2)


@pytest.fixture(scope="session")
def tiny(small_phantom):
    """Makes the config of a tiny run on the small phantom."""

    def make(**values):
        return make_config(merge(TINY, {"data": {"path": str(small_phantom)}}, values))

    return make


@pytest.fixture(scope="session")
def finished(tiny, made_once, tmp_path_factory):
    """A run folder, its config and the metrics that `train` returned; nobody may change it."""
    config = tiny(**WHOLE)

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AGD_KERAS_CACHE", str(tmp_path_factory.mktemp("cache")))
            patch.setattr(fit, "CALIBRATION", 2)
            metrics = train(config, folder / "run")
        (folder / "returned.json").write_text(json.dumps(metrics))

    folder = made_once("trained", make)
    return folder / "run", config, json.loads((folder / "returned.json").read_text())


@pytest.fixture(scope="session")
def tiny_command(small_phantom):
    """Makes the command line of a tiny run: interpreter, module, options."""

    def make(out, *options, **values):
        command = [sys.executable, "-m", "agd_keras.cli.train", "--data", str(small_phantom)]
        for section, settings in merge(TINY, values).items():
            for option, value in settings.items():
                command += ["--set", f"{section}.{option}={value}"]
        return [*command, "--out", str(out), *options]

    return make


@pytest.fixture
def no_pictures(monkeypatch):
    """Leaves out the charts of reports, which take a third of a tiny run."""
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)


@pytest.fixture(scope="session")
def read_history():
    """Reads the `history.csv` of a fold."""

    def read(fold):
        with open(fold / "history.csv", encoding="utf-8") as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]

    return read


@pytest.fixture(scope="session")
def assert_same_result(read_history):
    """Checks that two folds ended with the same bits: history, weights and metrics."""

    def check(one, other):
        np.testing.assert_equal(read_history(one), read_history(other))  # NaN is NaN
        weights = [keras.saving.load_model(f / "model.keras").get_weights() for f in (one, other)]
        for first, second in zip(*weights, strict=True):
            np.testing.assert_array_equal(first, second)
        assert (one / "metrics.json").read_bytes() == (other / "metrics.json").read_bytes()

    return check
