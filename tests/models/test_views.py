import numpy as np
import pytest

from agd_keras.models import agd_autoencoder, attention_model, inference_model
from agd_keras.models.views import explain_model

SMALL = {"image_shape": (32, 32, 3), "filters": (4, 6, 8)}
IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")


def test_inference_model_is_the_mask_of_the_same_weights():
    model = agd_autoencoder(**SMALL)
    view = inference_model(model)
    assert view.output_names == ["mask"]
    assert [tensor.name for tensor in view.inputs] == ["image"]
    np.testing.assert_array_equal(view(IMAGES)["mask"], model(IMAGES)["mask"])
    head = model.get_layer("head")
    head.bias.assign(head.bias + 5.0)
    np.testing.assert_array_equal(view(IMAGES)["mask"], model(IMAGES)["mask"])


def test_attention_model_shows_every_gate():
    model = agd_autoencoder(skips=(1, 2), attention_at=(1, 2), **SMALL)
    maps = attention_model(model)(IMAGES)
    assert {name: tuple(alpha.shape) for name, alpha in maps.items()} == {
        "gate_1": (2, 32, 32, 1),
        "gate_2": (2, 16, 16, 1),
    }
    for name, alpha in maps.items():
        alpha = np.asarray(alpha)
        assert alpha.dtype == np.float32
        assert ((alpha >= 0) & (alpha <= 1)).all()
        # What the gate itself says for what reaches it.
        inputs = type(model)(model.input, model.get_layer(name).input)(IMAGES)
        np.testing.assert_allclose(alpha, model.get_layer(name)(inputs)[1], atol=1e-6)


def test_attention_decides_what_passes_the_skip():
    # With a closed gate the mask does not depend on what the skip connection carries.
    model = agd_autoencoder(edge=False, **SMALL)
    gate = model.get_layer("gate_2")
    gate.psi.kernel.assign(gate.psi.kernel * 0)
    gate.psi.bias.assign([-100.0])
    assert float(np.max(attention_model(model)(IMAGES)["gate_2"])) < 1e-6
    before = np.asarray(model(IMAGES)["mask"])
    gate.transform.kernel.assign(gate.transform.kernel * 7.0)
    np.testing.assert_allclose(model(IMAGES)["mask"], before, atol=1e-6)


def test_attention_model_without_gate():
    with pytest.raises(ValueError, match="no attention gate.*'plain'"):
        attention_model(agd_autoencoder(attention=False, name="plain", **SMALL))


@pytest.mark.parametrize("parts", [{}, {"edge": False}, {"attention": False, "edge": False}])
def test_explain_model_has_all_there_is(parts):
    model = agd_autoencoder(**SMALL, **parts)
    shown = explain_model(model)(IMAGES)
    expected = dict(model(IMAGES))
    if parts.get("attention", True):
        expected |= attention_model(model)(IMAGES)
    assert set(shown) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(shown[name], values)
