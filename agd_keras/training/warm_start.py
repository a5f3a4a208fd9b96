"""A training that starts from the weights of another model, of which a part may stay as it is."""

from collections.abc import Collection
from itertools import zip_longest

import keras

from agd_keras.errors import InputError
from agd_keras.inference.calibration import read_calibration
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


def copy_weights(
    model: keras.Model, source: keras.Model, name: str, anew: Collection[str] = ()
) -> None:
    """Copies all weights, layer by layer; the size of the image may be another.

    Args:
        model: The network that will be trained.
        source: A network of the same architecture.
        name: What to call the source in an error.
        anew: Names of layers that stay as they are, see `layers_anew`.

    Raises:
        InputError: The networks take different numbers of channels, or a layer does not fit;
            nothing is copied.

    Example:

    >>> one, other = (keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]) for _ in "ab")
    >>> copy_weights(one, other, "other")
    >>> bool((one.get_weights()[0] == other.get_weights()[0]).all())
    True
    """
    takes, has = (one.input_shape[-1] for one in (model, source))
    if takes != has:
        raise InputError(f"--init {name}: takes {has} channels, expected {takes} as the data has")
    own, given = (
        [layer for layer in one.layers if layer.weights and layer.name not in anew]
        for one in (model, source)
    )
    for mine, theirs in zip(own, given, strict=False):
        shapes = [[tuple(one.shape) for one in layer.weights] for layer in (theirs, mine)]
        if shapes[0] != shapes[1]:
            other = next(pair for pair in zip_longest(*shapes) if pair[0] != pair[1])
            raise InputError(
                f"--init {name}: another architecture, its layer {theirs.name} has weights of "
                f"{_size(other[0])}, expected {_size(other[1])} for {mine.name}"
            )
    if len(own) != len(given):
        raise InputError(
            f"--init {name}: another architecture, of {len(given)} layers with weights, "
            f"expected {len(own)}"
        )
    for mine, theirs in zip(own, given, strict=True):
        mine.set_weights(theirs.get_weights())


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
