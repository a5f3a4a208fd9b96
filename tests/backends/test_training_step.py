"""Two training steps give the same numbers under the TensorFlow, JAX and PyTorch backends.

`tests/backends/run.sh` runs this file under the last two. The numbers in training_step.json are
those of the TensorFlow backend, written by `python tests/backends/test_training_step.py`.
"""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from agd_keras.losses import EdgeCrossEntropy, make_loss
from agd_keras.metrics import Dice, IoU
from agd_keras.models import agd_autoencoder, attention_model

GOLDEN = Path(__file__).with_name("training_step.json")


def training_steps():
    """Logs of two steps and what the network then says, from weights and data made by NumPy."""
    rng = np.random.default_rng(0)
    model = agd_autoencoder(
        (32, 32, 3), (4, 6), depth=2, stem_stride=2, skips=(1, 2), attention_at=(1, 2), l2=1e-3
    )
    weights = []
    for weight in model.weights:
        fan_in = np.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 100
        values = rng.normal(size=weight.shape) / np.sqrt(fan_in)
        positive = weight.name in ("gamma", "moving_variance")
        weights.append((np.abs(values) + 0.5 if positive else values).astype("float32"))
    model.set_weights(weights)
    model.compile(
        keras.optimizers.Adam(1e-3),
        {"mask": make_loss("focal_dice"), "edge": EdgeCrossEntropy()},
        metrics={"mask": [Dice(), IoU()]},
    )
    mask = np.zeros((8, 32, 32, 1), "float32")
    mask[2:5, 8:20, 6:24] = 1.0
    image = (rng.normal(size=(8, 32, 32, 3)) + mask).astype("float32")
    figures = {}
    for step, part in enumerate((slice(0, 4), slice(4, 8))):
        targets = {"mask": mask[part], "edge": mask[part]}
        logs = model.train_on_batch(image[part], targets, return_dict=True)
        figures |= {f"step {step}: {name}": float(value) for name, value in logs.items()}
    for name, values in {**model(image), **attention_model(model)(image)}.items():
        figures[f"mean {name}"] = float(keras.ops.mean(values))
    return figures


def test_two_steps_give_the_same_numbers():
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert training_steps() == pytest.approx(expected, abs=1e-4)


if __name__ == "__main__":
    assert keras.backend.backend() == "tensorflow"
    text = json.dumps(training_steps(), indent=1, sort_keys=True)
    GOLDEN.write_text(text + "\n", encoding="utf-8")
