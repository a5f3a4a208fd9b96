"""The fused batch normalisation trains as Keras' own does, and is not saved."""

import keras
import numpy as np
import pytest

from agd_keras.config import make_config
from agd_keras.training.build import build_model, compile_model


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 2e-2)])
def test_fused_normalization_trains_as_keras(precision, tolerance, tmp_path):
    config = make_config({"model": {"filters": [4, 8], "skips": [1, 2], "attention_at": [1]}})
    random = np.random.default_rng(0)
    images = random.normal(size=(4, 32, 32, 3)).astype("float32")
    mask = (random.random((4, 32, 32, 1)) > 0.9).astype("float32")

    def train(fused):
        keras.utils.set_random_seed(0)
        model = build_model(config.model, 32, precision)
        compile_model(model, config.training, steps=100)
        if not fused:
            for layer in model._flatten_layers():
                if isinstance(layer, keras.layers.BatchNormalization):
                    del layer.call
        targets = dict.fromkeys(model.output_names, mask)
        losses = [float(model.train_on_batch(images, targets)[0]) for _ in range(5)]
        return model, losses

    (fused, losses), (keras_own, expected) = train(True), train(False)
    np.testing.assert_allclose(losses, expected, rtol=tolerance)
    for one, other in zip(fused.variables, keras_own.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=tolerance, err_msg=one.path)
    fused.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not any("call" in vars(layer) for layer in loaded._flatten_layers())
    np.testing.assert_allclose(
        loaded.predict_on_batch(images)["mask"],
        fused.predict_on_batch(images)["mask"],
        atol=tolerance,
    )
