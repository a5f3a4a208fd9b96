"""Other models over the same weights: for inference, and to look inside."""

import keras

from agd_keras.layers import AttentionGate


def inference_model(model: keras.Model) -> keras.Model:
    """Returns the model with the output `mask` alone, sharing all weights.

    Args:
        model: A model made by `agd_autoencoder`.

    Returns:
        A `keras.Model` from `image` to `{"mask": ...}`, probabilities, float32, `(batch, height,
        width, 1)`.

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
        `attention_model`: all float32, `(batch, height / n, width / n, 1)`, values 0 to 1.

    Example:

    >>> from agd_keras.models import agd_autoencoder
    >>> sorted(explain_model(agd_autoencoder((32, 32, 3), filters=(4, 8))).output_names)
    ['edge', 'gate_2', 'mask']
    """
    return keras.Model(model.input, {**model.output, **_attention(model)})


def _attention(model: keras.Model) -> dict[str, keras.KerasTensor]:
    gates = [layer for layer in model.layers if isinstance(layer, AttentionGate)]
    return {gate.name: gate.output[1] for gate in gates}
