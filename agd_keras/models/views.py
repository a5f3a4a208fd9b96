"""Other models over the same weights: for inference, and to look inside."""

import keras

from agd_keras.errors import InputError
from agd_keras.layers import AttentionGate


def as_network(
    model: keras.Model, name: str = "the model", any_size: bool = False, regions: int = 1
) -> keras.Model:
    """Returns any model that outlines something with an output called `mask`, sharing all weights.

    Args:
        model: A Functional or Sequential model of images, of one square size, with one output of
            probabilities, whatever it is called, or several of which one is called `mask`.
        name: What to call it in an error.
        any_size: Whether its input may be of any size.
        regions: Channels of the mask.

    Returns:
        The model itself if its outputs are a dict with a `mask`, else a `keras.Model` from its
        input to such a dict.

    Raises:
        InputError: It is no such model; says what was expected and found.

    Example:

    >>> image = keras.Input((32, 32, 3))
    >>> tumour = keras.layers.Conv2D(1, 1, activation="sigmoid", name="tumour")(image)
    >>> as_network(keras.Model(image, tumour)).output_names
    ['mask']
    """
    if not isinstance(model, keras.Model):
        raise InputError(f"{name}: expected a keras.Model, found {type(model).__name__}")
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise InputError(
            f"{name}: expected a Functional model, or a Sequential one that begins with an Input"
        )
    if isinstance(model, keras.Sequential):  # which has no names of outputs
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if isinstance(model.output, dict):
        outputs = dict(model.output)
    else:
        outputs = dict(zip(model.output_names, model.outputs, strict=True))
    if "mask" not in outputs and len(outputs) > 1:
        raise InputError(
            f"{name}: expected one output, or one of several called mask, "
            f"found {', '.join(outputs)}"
        )
    mask = outputs.get("mask", model.outputs[0])
    images = [tuple(one.shape) for one in model.inputs]
    _check_shapes(name, images, tuple(mask.shape), any_size, regions)
    if isinstance(model.output, dict) and "mask" in outputs:
        return model
    if "mask" not in outputs:
        free = all(layer.name != "mask" for layer in model.layers)
        own = {"name": "mask"} if free else {}
        outputs = {"mask": keras.layers.Activation("linear", dtype="float32", **own)(mask)}
    return keras.Model(model.inputs[0], outputs, name=model.name)


def _check_shapes(
    name: str, images: list[tuple], mask: tuple, any_size: bool, regions: int
) -> None:
    """Refuses what is not from square images of one size to a mask of that size."""
    if len(images) != 1:
        raise InputError(f"{name}: expected one input, found {len(images)}")
    (image,) = images
    unknown = None in image[3 if any_size else 1 :]
    if len(image) != 4 or unknown or image[1] != image[2]:
        raise InputError(
            f"{name}: expected an input of one square size, as (None, 128, 128, 3), found {image}"
        )
    expected = (*image[:3], regions)
    if len(mask) != 4 or any(m not in (e, None) for m, e in zip(mask, expected, strict=True)):
        raise InputError(f"{name}: expected a mask of the input's size, {expected}, found {mask}")


def inference_model(model: keras.Model) -> keras.Model:
    """Returns the model with the output `mask` alone, sharing all weights.

    Args:
        model: A model made by `agd_autoencoder`.

    Returns:
        A `keras.Model` from `image` to `{"mask": ...}`, probabilities, float32, `(batch, height,
        width, regions)`.

    Example:

    >>> from agd_keras.models import agd_autoencoder
    >>> inference_model(agd_autoencoder((32, 32, 3), filters=(4, 8))).output_names
    ['mask']
    """
    return keras.Model(model.input, {"mask": model.output["mask"]}, name=model.name)


def attention_model(model: keras.Model) -> keras.Model:
    """Returns a model whose outputs are the attention coefficients of every gate.

    Args:
        model: A model made by `agd_autoencoder` with at least one gate.

    Returns:
        A `keras.Model` from `image` to a dict of gate name to α, float32, `(batch, height / n,
        width / n, 1)`, values 0 to 1, at the resolution of the gate's level.

    Raises:
        ValueError: If the model has no attention gate.

    Example:

    >>> from agd_keras.models import agd_autoencoder
    >>> attention_model(agd_autoencoder((32, 32, 3), filters=(4, 8))).output_names
    ['gate_2']
    """
    outputs = _attention(model)
    if not outputs:
        raise ValueError(f"The model has no attention gate. Received: model={model.name!r}")
    return keras.Model(model.input, outputs)


def explain_model(model: keras.Model) -> keras.Model:
    """Returns a model whose outputs are all that there is to look at: masks, edge and attention.

    Args:
        model: A model made by `agd_autoencoder`, with or without edge detector and gates.

    Returns:
        A `keras.Model` from `image` to the outputs of the model and, by name of the gate, those of
        `attention_model`: all float32, `(batch, height / n, width / n, 1)`, values 0 to 1, the mask
        with a channel for each region.

    Example:

    >>> from agd_keras.models import agd_autoencoder
    >>> sorted(explain_model(agd_autoencoder((32, 32, 3), filters=(4, 8))).output_names)
    ['edge', 'gate_2', 'mask']
    """
    return keras.Model(model.input, {**model.output, **_attention(model)})


def _attention(model: keras.Model) -> dict[str, keras.KerasTensor]:
    gates = [layer for layer in model.layers if isinstance(layer, AttentionGate)]
    return {gate.name: gate.output[1] for gate in gates}
