"""Networks by name: found, checked against their signature, and with what they are trained on."""

import inspect
import sys

import keras
import numpy as np
import pytest
from keras import layers

from agd_keras.config import ModelConfig, make_config
from agd_keras.errors import InputError
from agd_keras.models import registry
from agd_keras.models.agd_autoencoder import agd_autoencoder
from agd_keras.models.registry import BUILDERS, Head, build_network, check_arguments, find_builder

SHAPE = (16, 16, 3)


def unet(image_shape, filters: tuple[int, ...] = (4, 8), *, rate: float = 0.1, kind=None):
    """Stands for a user's builder."""
    return keras.Sequential([keras.Input(image_shape), layers.Conv2D(1, 1, activation="sigmoid")])


def two(image_shape):
    image = keras.Input(image_shape)
    mask = layers.Conv2D(1, 1, activation="sigmoid", name="mask")(image)
    size = layers.GlobalAveragePooling2D(name="size")(mask)
    return {"image": image, "mask": mask, "size": size}


@pytest.fixture
def builders(monkeypatch):
    """Registers functions for the time of a test."""

    def add(**functions):
        for name, function in functions.items():
            monkeypatch.setitem(BUILDERS, name, function)

    add(unet=unet)
    return add


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of the user's into the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text, name="users_net"):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    yield write
    sys.modules.pop("users_net", None)


def test_config_has_the_arguments_of_the_builder_and_their_defaults_fit():
    parameters = dict(inspect.signature(agd_autoencoder).parameters)
    for parameter in ("image_shape", "regions", "name"):
        del parameters[parameter]
    assert list(ModelConfig.model_fields) == ["name", *parameters]
    for preset in ("agd_tiny", "agd_small", "agd_paper"):
        values = make_config({"preset": preset}).model.model_dump(exclude={"name"})
        assert check_arguments("agd_autoencoder", values) == values


def test_function_of_a_module_in_the_current_directory(module):
    module("def build(image_shape): return image_shape\nversion = 3")
    assert find_builder("users_net:build")(SHAPE) == SHAPE
    for name, message in {
        "users_net:other": "users_net:other: expected a function other in users_net, found none",
        "users_net:version": "expected a function version",
        "users_net.part:build": "cannot import users_net.part",
        "no_such_net:build": "no_such_net:build: cannot import no_such_net .*No module named",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            find_builder(name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["def build(", "import no_such_thing", "1 / 0", "raise SystemError"]
)
def test_module_that_cannot_be_imported_is_one_line(text, module):
    module(text)
    with pytest.raises(InputError, match=r"^users_net:build: cannot import users_net \(.*\)$"):
        find_builder("users_net:build")


@pytest.mark.parametrize("name", ["unknown", "", ":", "a:", ":b", "a b:c", "a:b.c", "../a:b"])
def test_what_is_no_name(name):
    with pytest.raises(InputError, match=r"expected agd_autoencoder or package.module:function"):
        find_builder(name)


@pytest.mark.parametrize(
    ("arguments", "checked"),
    [
        ({}, {}),
        ({"filters": [8, 16]}, {"filters": (8, 16)}),
        ({"rate": 1, "kind": [1]}, {"rate": 1.0, "kind": [1]}),
    ],
)
def test_arguments_as_they_are_annotated(arguments, checked, builders):
    assert check_arguments("unet", arguments) == checked


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filtres": [8]}, "model.filtres: no such argument of unet, expected some of filters, ra"),
        ({"filters": "many"}, "model.filters: Input should be a valid tuple, received 'many'"),
        ({"filters": ["x"]}, r"model.filters: .*integer.*, received \['x'\]"),
        ({"rate": None}, "model.rate: .*number, received None"),
        ({"image_shape": [1]}, "model.image_shape: no such argument"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, message, builders):
    with pytest.raises(InputError, match=message) as caught:
        check_arguments("unet", arguments)
    assert "\n" not in str(caught.value)


def test_signatures_of_all_kinds(builders, module):
    module("from __future__ import annotations\ndef build(shape, a: Unknown, b: int = 1): pass")
    assert check_arguments("users_net:build", {"a": [1], "b": 2}) == {"a": [1], "b": 2}
    builders(
        anything=lambda image_shape, **options: None,
        needs=lambda image_shape, width: None,
        nothing=lambda: None,
        keyword=lambda *, image_shape: None,
        listed=lambda *arguments: None,
    )
    assert check_arguments("anything", {"x": [1], "name_": 2}) == {"x": [1], "name_": 2}
    assert check_arguments("listed", {}) == {}
    with pytest.raises(InputError, match="model.width: expected a value, as needs has no default"):
        check_arguments("needs", {})
    with pytest.raises(InputError, match="model.x: no such argument of listed, expected none"):
        check_arguments("listed", {"x": 1})
    for name in ("nothing", "keyword"):
        with pytest.raises(InputError, match=f"{name}: expected a function of the image's shape"):
            check_arguments(name, {})


def test_one_output_called_anything_is_the_mask(builders):
    network = build_network("unet", {"filters": [4]}, SHAPE)
    assert network.heads == {"mask": Head(target=Head().target)}
    assert network.model.output_names == ["mask"]
    assert list(network.model.output) == ["mask"]


def test_heads_are_as_declared(builders):
    def build(image_shape, weight: float = 0.5):
        made = two(image_shape)
        model = keras.Model(made["image"], [made["mask"], made["size"]])
        return model, {"size": Head("mse", weight, lambda mask: mask[:, 0, 0])}

    builders(two=build)
    model, heads = build_network("two", {"weight": 0.25}, SHAPE)
    assert list(model.output) == ["mask", "size"]
    assert heads["mask"].loss is None and heads["mask"].weight is None
    assert callable(heads["size"].loss) and heads["size"].weight == 0.25
    mask = np.arange(2 * 16 * 16).reshape(2, 16, 16, 1)
    np.testing.assert_array_equal(heads["size"].target(mask), [[0], [256]])
    assert heads["mask"].target(mask) is mask


def test_a_single_declared_head_is_that_of_the_mask(builders):
    builders(own=lambda shape: (unet(shape), {"whatever": Head("mse", 2.0)}))
    (head,) = build_network("own", {}, SHAPE).heads.values()
    assert head.weight == 2.0
    assert head.loss is keras.losses.get("mse")


def other_input(shape):
    return unet((32, 32, 3))


def fails(shape):
    raise ValueError("too\ndeep")


def declares(*heads):
    def build(shape):
        made = two(shape)
        model = keras.Model(made["image"], {"mask": made["mask"], "size": made["size"]})
        return model, dict(heads)

    return build


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        (fails, "own: ValueError: too deep"),
        (lambda shape: None, "own: expected a keras.Model, found NoneType"),
        (lambda shape: (1, 2, 3), "own: expected a keras.Model, found tuple"),
        (lambda shape: (unet(shape), 3), "own: expected a model, or a model and a dict of Head"),
        (other_input, r"own: expected an input of \(16, 16, 3\), found \(32, 32, 3\)"),
        (declares(), "own: output 'size': expected a Head with a loss"),
        (declares(("size", Head())), "own: output 'size': expected a Head with a loss"),
        (declares(("size", Head("no_loss"))), "own: output 'size': no loss 'no_loss'"),
        (declares(("size", "mse")), "own: output 'size': expected a Head, found 'mse'"),
        (declares(("sise", Head("mse"))), "own: no output 'sise', expected of mask, size"),
    ],
)
def test_what_cannot_be_trained_is_one_line(builder, message, builders):
    builders(own=builder)
    with pytest.raises(InputError, match=message) as caught:
        build_network("own", {}, SHAPE)
    assert "\n" not in str(caught.value)


def test_half_precision_masks_are_noticed(builders, caplog):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = build_network("unet", {}, SHAPE)
    finally:
        keras.config.set_dtype_policy("float32")
    assert 'dtype="float32"' in caplog.text
    assert network.model.output["mask"].dtype == "float32"
    caplog.clear()
    registry.build_network("unet", {}, SHAPE)
    assert not caplog.text
