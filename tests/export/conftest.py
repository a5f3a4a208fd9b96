"""A small network whose answers vary over an image, and its exports."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from agd_keras.inference.familiarity import Familiarity, write_familiarity
from agd_keras.models import agd_autoencoder


def lively_model(seed: int = 0) -> keras.Model:
    """An untrained network with statistics as of training and probabilities from near 0 to 1."""
    keras.utils.set_random_seed(seed)
    options = {"skips": (1, 2), "attention_at": (2,), "activation": "relu"}
    model = agd_autoencoder((32, 32, 3), filters=(4, 8), **options)
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.5, 1.5, shape))
            layer.beta.assign(rng.normal(0, 0.3, shape))
            layer.moving_mean.assign(rng.normal(0, 0.3, shape))
            layer.moving_variance.assign(rng.uniform(0.3, 2, shape))
    head = model.get_layer("head")
    head.kernel.assign(2 * head.kernel)
    return model


@pytest.fixture(scope="session")
def make_model() -> Callable[[int], keras.Model]:
    return lively_model


@pytest.fixture(scope="session")
def model() -> keras.Model:
    return lively_model()


@pytest.fixture(scope="session")
def model_file(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "model.keras"
    model.save(path)
    write_familiarity(path, Familiarity(9, {"slices": (20, 30)}, {}, ("T1c",)))
    return path


@pytest.fixture(scope="session")
def saved_model(model_file, small_phantom, tmp_path_factory) -> Path:
    """The folder of the served model, with its version 1."""
    from agd_keras.export.saved_model import export_saved_model

    out = tmp_path_factory.mktemp("served") / "agd"
    assert export_saved_model(model_file, out, small_phantom) == out / "1"
    return out


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Slices of one patient: a dark surround, tissue of some texture, a bright spot."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:256, :256] / 255 - 0.5
    stack = np.zeros((5, 256, 256, 3))
    for place, one in enumerate(stack):
        head = x**2 + y**2 < 0.16 - 0.01 * place
        for channel in range(3):
            one[..., channel] = head * (90 + 40 * np.sin((9 + channel) * x + place))
        one[..., 1] += 90 * ((x - 0.1) ** 2 + (y + 0.1) ** 2 < 0.01)
    return np.clip(stack + rng.normal(3, 3, stack.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def run_script(tmp_path):
    """Runs Python code in a process of its own, in an empty folder, and returns what it printed."""

    def run(code: str, *arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run
