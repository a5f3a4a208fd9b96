"""A training that starts from the weights of another model, of which a part may stay as it is."""

from collections.abc import Collection, Sequence
from itertools import zip_longest

import keras
import numpy as np

from agd_keras.errors import InputError
from agd_keras.inference.calibration import read_calibration
from agd_keras.inference.model_file import load_model
from agd_keras.inference.stored_preprocessor import read_preprocessor
from agd_keras.io.case import CHANNELS
from agd_keras.layers import EdgeAttention
from agd_keras.regions import Regions
from agd_keras.weights import find_model

# Up to the bottleneck, by how their names begin; and the edge detector ahead of them.
ENCODER = ("stem", "encoder")
HEAD = "head"  # the layer that makes the mask


def layers_anew(init: str, regions: Regions) -> tuple[str, ...]:
    """Names the layers that do not start from a model: the head, if that finds other regions.

    Args:
        init: A preset with weights, a `.keras` file or a run folder.
        regions: What is to be found.

    Example:

    >>> layers_anew("agd_tiny", {}), layers_anew("agd_tiny", {"core": (1, 4)})
    ((), ('head',))
    """
    own = read_calibration(find_model(init)).regions
    return () if list(own.items()) == list(regions.items()) else (HEAD,)


def load_start(init: str) -> tuple[keras.Model, tuple[str, ...]]:
    """Loads a model to start from.

    Args:
        init: As for `load_model`.

    Returns:
        The network and the names of its channels.

    Raises:
        InputError: There is no such model, or what is stored with it does not fit it.
    """
    model = load_model(init, compiled=False)
    return model, read_preprocessor(find_model(init), model.input_shape).channels


def copy_weights(
    model: keras.Model,
    source: keras.Model,
    name: str,
    channels: Sequence[str] = CHANNELS,
    given: Sequence[str] = CHANNELS,
    anew: Collection[str] = (),
) -> None:
    """Copies all weights, layer by layer; the size of the image may be another.

    Kernels on the image are matched by the names of its channels. Those of a channel that the
    source does not know start from the mean of all of its own.

    Args:
        model: The network that will be trained.
        source: A network of the same architecture.
        name: What to call the source in an error.
        channels: Names of the channels of the network.
        given: Names of the channels of the source.
        anew: Names of layers that stay as they are, see `layers_anew`.

    Raises:
        InputError: A network takes another number of channels than are named, or a layer does not
            fit; nothing is copied.

    Example:

    >>> one, other = (keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]) for _ in "ab")
    >>> copy_weights(one, other, "other", "abcd", "abcd")
    >>> bool((one.get_weights()[0] == other.get_weights()[0]).all())
    True
    """
    for one, names in ((model, channels), (source, given)):
        if one.input_shape[-1] != len(names):
            found, expected = one.input_shape[-1], f"{len(names)} as the data has"
            raise InputError(f"--init {name}: takes {found} channels, expected {expected}")
    own, theirs = (
        [layer for layer in one.layers if layer.weights and layer.name not in anew]
        for one in (model, source)
    )
    copied = [layer.get_weights() for layer in theirs]
    if tuple(channels) != tuple(given):
        for layer, weights in zip(theirs, copied, strict=True):
            if _takes_image(layer, source):
                weights[0] = match_channels(weights[0], channels, given)
    for mine, layer, weights in zip(own, theirs, copied, strict=False):
        shapes = [[one.shape for one in weights], [tuple(one.shape) for one in mine.weights]]
        if shapes[0] != shapes[1]:
            other = next(pair for pair in zip_longest(*shapes) if pair[0] != pair[1])
            raise InputError(
                f"--init {name}: another architecture, its layer {layer.name} has weights of "
                f"{_size(other[0])}, expected {_size(other[1])} for {mine.name}"
            )
    if len(own) != len(theirs):
        raise InputError(
            f"--init {name}: another architecture, of {len(theirs)} layers with weights, "
            f"expected {len(own)}"
        )
    for mine, weights in zip(own, copied, strict=True):
        mine.set_weights(weights)


def match_channels(kernel: np.ndarray, channels: Sequence[str], given: Sequence[str]) -> np.ndarray:
    """Makes a kernel on other channels of one on given channels.

    Args:
        kernel: Array of shape `(height, width, channels, filters)`; channels beyond those given,
            as of the edge beside the image, stay as they are.
        channels: Names of the channels of the result.
        given: Names of those of the kernel.

    Returns:
        A kernel of the other channels; a new one has the mean over all given ones.

    Example:

    >>> kernel = np.array([1.0, 5.0]).reshape(1, 1, 2, 1)
    >>> match_channels(kernel, ["FLAIR", "T2", "T1"], ["T1", "FLAIR"]).ravel().tolist()
    [5.0, 3.0, 1.0]
    """
    known, others = np.split(kernel, [len(given)], axis=-2)
    mean = known.mean(axis=-2)
    own = [known[..., given.index(one), :] if one in given else mean for one in channels]
    return np.concatenate([np.stack(own, axis=-2), others], axis=-2)


def _takes_image(layer: keras.layers.Layer, model: keras.Model) -> bool:
    """Whether a layer sees the image itself, or what the edge detector made of it."""
    images = [model.inputs[0]]
    for one in model.layers:
        if isinstance(one, EdgeAttention):
            images.append(one.output[0])
    return any(given is image for given in keras.tree.flatten(layer.input) for image in images)


def _size(shape: tuple | None) -> str:
    return "nothing" if shape is None else "x".join(map(str, shape))


def freeze(model: keras.Model, part: str) -> None:
    """Keeps a part of a network as it is: its weights, and its statistics of batches.

    Args:
        model: A network that is not compiled.
        part: `none`, or `encoder`: edge detector, stem and encoder blocks, by the names of layers.

    Raises:
        InputError: The network has no layer of that part, or no other.

    Example:

    >>> from agd_keras.models import agd_autoencoder
    >>> model = agd_autoencoder((32, 32, 3), filters=(4, 8))
    >>> freeze(model, "encoder")
    >>> model.get_layer("encoder_1").trainable, model.get_layer("decoder_1").trainable
    (False, True)
    """
    if part == "none":
        return
    frozen = [
        layer
        for layer in model.layers
        if layer.name.startswith(ENCODER) or isinstance(layer, EdgeAttention)
    ]
    if not any(layer.weights for layer in frozen):
        raise InputError(
            f"training.freeze {part}: expected layers called {' and '.join(ENCODER)}…, found none"
        )
    for layer in frozen:
        layer.trainable = False
    if not model.trainable_variables:
        raise InputError(f"training.freeze {part}: nothing is left to train")
