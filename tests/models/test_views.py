import keras
import numpy as np
import pytest
from keras import layers

from agd_keras.errors import InputError
from agd_keras.models import agd_autoencoder, as_network, attention_model, inference_model
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


IMAGE = (32, 32, 3)


def outline(image, name=None, channels=1, **options):
    return layers.Conv2D(channels, 1, activation="sigmoid", name=name, **options)(image)


def functional(outputs, shape=IMAGE):
    image = keras.Input(shape)
    return keras.Model(image, outputs(image))


def named_mask_inside(image):
    return layers.Activation("relu", name="relu_2")(layers.Conv2D(1, 1, name="mask")(image))


@pytest.mark.parametrize(
    "outputs",
    [
        lambda image: outline(image),
        lambda image: outline(image, "mask"),
        lambda image: [outline(image, "tumour")],
        lambda image: {"tumour": outline(image, "other")},
        lambda image: [outline(image, "aside"), outline(image, "mask")],
        named_mask_inside,
    ],
)
def test_any_model_of_a_mask_becomes_a_network_of_the_same_weights(outputs):
    model = functional(outputs)
    network = as_network(model)
    expected = model.predict_on_batch(IMAGES)
    if isinstance(expected, dict):
        expected = list(expected.values())
    if isinstance(expected, list):
        expected = expected[-1]
    np.testing.assert_array_equal(network.predict_on_batch(IMAGES)["mask"], expected)
    assert [one.path for one in network.weights] == [one.path for one in model.weights]
    assert network.name == model.name
    assert as_network(network) is network


def test_what_has_a_mask_already_stays_itself():
    for model in (
        agd_autoencoder(**SMALL),
        functional(lambda image: {"mask": outline(image, "head"), "size": outline(image, "x", 7)}),
    ):
        assert as_network(model) is model


def test_sequential_and_half_precision_models_are_networks():
    model = keras.Sequential([keras.Input(IMAGE), layers.Conv2D(1, 1, dtype="mixed_bfloat16")])
    mask = as_network(model)(IMAGES)["mask"]
    assert mask.dtype == "float32"
    np.testing.assert_array_equal(mask, keras.ops.cast(model(IMAGES), "float32"))


class Subclassed(keras.Model):
    def call(self, image):
        return image[..., :1]


def two_inputs():
    images = [keras.Input(IMAGE), keras.Input(IMAGE)]
    return keras.Model(images, outline(layers.Add()(images)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: outline, "net: expected a keras.Model, found function"),
        (Subclassed, "net: expected a Functional model, or a Sequential one"),
        (lambda: keras.Sequential([layers.Conv2D(1, 1)]), "or a Sequential one that begins with"),
        (two_inputs, "net: expected one input, found 2"),
        (
            lambda: functional(lambda image: [outline(image, "a"), outline(image, "b")]),
            "net: expected one output, or one of several called mask, found a, b",
        ),
        (lambda: functional(outline, (32, 48, 3)), r"one square size.*\(None, 32, 48, 3\)"),
        (lambda: functional(outline, (None, None, 3)), r"found \(None, None, None, 3\)"),
        (lambda: functional(layers.Flatten(), IMAGE), r"\(None, 32, 32, 1\), found \(None, 3072\)"),
        (lambda: functional(layers.Dense(1), (32,)), r"one square size.*found \(None, 32\)"),
        (
            lambda: functional(lambda image: outline(image, channels=2)),
            r"found \(None, 32, 32, 2\)",
        ),
        (lambda: functional(lambda image: outline(image, strides=2)), r"found \(.*16, 1\)"),
    ],
)
def test_what_is_no_network_is_one_line(make, message):
    with pytest.raises(InputError, match=message) as caught:
        as_network(make(), "net")
    assert "\n" not in str(caught.value)
