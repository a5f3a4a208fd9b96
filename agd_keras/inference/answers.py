"""What a network may answer, wherever it runs: here, in an exported file, on a server."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from agd_keras.errors import InputError
from agd_keras.text import clean

_ROUNDING = 1e-5  # by which averages and interpolation may pass 0 and 1


def check_answer(
    outputs: Mapping[str, Any], shape: tuple[int, ...], where: str, output: str = "mask"
) -> dict[str, np.ndarray]:
    """Returns what a network answered, if it is what its outputs mean: probabilities.

    Args:
        outputs: Arrays by name.
        shape: The shape that `output` must have.
        where: The model, for the error.
        output: The one that must be there.

    Returns:
        All of them as arrays.

    Raises:
        InputError: That output is missing, of another shape or outside of 0 to 1, or any has values
            that are no numbers.

    Example:

    >>> check_answer({"mask": [[0.5, 1.5]]}, (1, 2), "model.onnx")
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: model.onnx: expected 'mask' from 0 to 1, got 0.5 to 1.5
    """
    if not isinstance(outputs, Mapping) or output not in outputs:
        raise InputError(f"{where}: expected an answer with the output {output!r}")
    arrays = {str(name): np.asarray(values) for name, values in outputs.items()}
    found = arrays[output].shape
    if found != tuple(shape):
        raise InputError(f"{where}: expected {output!r} of shape {tuple(shape)}, got {found}")
    for name, values in arrays.items():
        if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise InputError(f"{where}: expected finite numbers in the output {name!r}")
    low, high = (f(arrays[output], initial=0) for f in (np.min, np.max))
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        low, high = arrays[output].min(), arrays[output].max()
        raise InputError(f"{where}: expected {output!r} from 0 to 1, got {low:.4g} to {high:.4g}")
    return arrays


def ask(network: Any, batch: np.ndarray, where: str, regions: int = 1) -> dict[str, np.ndarray]:
    """Sends a batch through a network.

    Args:
        network: A Keras model, an `Artefact`, or anything with `predict_on_batch`.
        batch: Its input, float32, `(batch, height, width, channels)`.
        where: The model, for the error.
        regions: Channels of the mask.

    Returns:
        Its outputs by name; `mask` is `(batch, height, width, regions)`.

    Raises:
        InputError: It fails, or answers something else than probabilities.

    Example:

    >>> from agd_keras.models import agd_autoencoder
    >>> network = agd_autoencoder((32, 32, 3), filters=(4, 8))
    >>> ask(network, np.zeros((2, 32, 32, 3), "float32"), "mine")["mask"].shape
    (2, 32, 32, 1)
    """
    try:
        outputs = network.predict_on_batch(batch)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever runs it has errors of its own
        reason = clean(error) or type(error).__name__
        raise InputError(f"{where}: the network fails ({reason})") from error
    return check_answer(outputs, (*batch.shape[:3], regions), where)
