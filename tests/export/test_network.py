"""The exported function against the Keras model."""

import numpy as np
import pytest
import tensorflow as tf

from agd_keras.errors import InputError
from agd_keras.export.network import ensemble_model, freeze
from agd_keras.models import agd_autoencoder


def test_frozen_network_is_the_network(model):
    batch = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    expected = model.predict_on_batch(batch)
    assert np.ptp(expected["mask"]) > 0.3
    found = tf.function(freeze(model))(tf.constant(batch))
    assert found.keys() == {"mask", "edge"}
    for name, output in found.items():
        np.testing.assert_allclose(output, expected[name], atol=1e-5)


def test_ensemble_is_the_mean():
    models = [agd_autoencoder((32, 32, 3), filters=(4, 8)) for _ in range(3)]
    batch = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    found = ensemble_model(models).predict_on_batch(batch)
    for name in ("mask", "edge"):
        expected = np.mean([model.predict_on_batch(batch)[name] for model in models], axis=0)
        np.testing.assert_allclose(found[name], expected, atol=1e-6)
    assert ensemble_model(models[:1]) is models[0]


def test_folds_that_differ_are_refused():
    sizes = [agd_autoencoder((size, size, 3), filters=(4, 8)) for size in (32, 64)]
    with pytest.raises(InputError, match="different input size"):
        ensemble_model(sizes)
