"""Weight decay spares biases and normalisations, also after saving and loading."""

import keras
import numpy as np
import pytest

from agd_keras.config import make_config
from agd_keras.inference.model_file import load_model
from agd_keras.optimizers import AdamW
from agd_keras.training.build import build_model, compile_model

CONFIG = make_config({"model": {"filters": [4, 8], "skips": [1, 2], "attention_at": [2]}})


def decayed(model):
    """Names of the variables that a step of zero gradients moves."""
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    zeros = [np.zeros(variable.shape, "float32") for variable in model.trainable_variables]
    model.optimizer.apply(zeros, model.trainable_variables)
    return {v.path for v in model.trainable_variables if not np.all(v.numpy() == 1)}


@pytest.mark.parametrize("saved_with", ["this version", "an earlier one"])
def test_a_loaded_model_decays_what_its_training_did(saved_with, tmp_path):
    model = build_model(CONFIG.model, 32)
    compile_model(model, CONFIG.training, steps=4)
    model.optimizer.build(model.trainable_variables)
    kernels = {v.path for v in model.trainable_variables if v.name == "kernel"}
    assert decayed(model) == kernels
    assert len(kernels) < len(model.trainable_variables) / 2
    if saved_with != "this version":
        options = model.optimizer.get_config()
        model.compile(keras.optimizers.AdamW.from_config(options), {"mask": "binary_crossentropy"})
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, AdamW)
    assert decayed(loaded) == kernels
    assert loaded.optimizer.get_config() == model.optimizer.get_config() | {
        "name": loaded.optimizer.name
    }
