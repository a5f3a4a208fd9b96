"""A `.keras` file: refused for its size before anything of it is made, then loaded."""

import json
import re
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import keras
import numpy as np

from agd_keras import layers, losses, metrics  # noqa: F401 (registers what model files refer to)
from agd_keras.errors import InputError
from agd_keras.inference.calibration import read_calibration
from agd_keras.models import as_network
from agd_keras.optimizers import spare
from agd_keras.run_layout import fold_models
from agd_keras.text import clean
from agd_keras.weights import find_model

# agd_paper has 9 million weights and 33 million values after its largest layer.
MAX_CONFIG_BYTES, MAX_BYTES = 2**22, 2**30
MAX_WEIGHTS, MAX_VALUES, MAX_SIDE = 2**27, 2**27, 1024
MAX_CHANNELS = 16
_CONFIG = "config.json"


def check_model_file(path: Path) -> None:
    """Refuses a file whose network could not be one of this package, for its size.

    Args:
        path: A `.keras` file.

    Raises:
        ValueError: It is no such archive, or it or its network is too large; says which and why.
        Exception: Whatever Keras raises on a network that it cannot make.

    Example:

    >>> from agd_keras.weights import find_model
    >>> check_model_file(find_model("agd_tiny") / "fold-0" / "model.keras")
    """
    if not zipfile.is_zipfile(path):
        raise ValueError("no archive")
    with zipfile.ZipFile(path) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        if _CONFIG not in sizes:
            raise ValueError(f"no {_CONFIG} in it")
        if sizes[_CONFIG] > MAX_CONFIG_BYTES:
            raise ValueError(f"a {_CONFIG} of {sizes[_CONFIG]:,} bytes")
        if sum(sizes.values()) > MAX_BYTES:
            raise ValueError(f"{sum(sizes.values()):,} bytes, unpacked")
        config = json.loads(archive.read(_CONFIG))
    if not isinstance(config, dict):
        raise ValueError(f"no network in {_CONFIG}")
    # How it was compiled and built matters to nothing here.
    config = {key: value for key, value in config.items() if not key.endswith("_config")}
    # What Keras keeps of a scope belongs to the thread, and goes with it.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_check_network, config).result()


def load_model(path: str | Path, compiled: bool = True, regions: int | None = None) -> keras.Model:
    """Loads one trained network, without running code from its file.

    Args:
        path: The file, a run folder of one fold, or a preset with weights.
        compiled: Whether to compile it as it was trained; its optimiser starts anew. A model from
            elsewhere is not compiled where its output has to be renamed.
        regions: Channels of its mask. Default: as is stored with it, else one.

    Returns:
        The `keras.Model`, with the output `mask`.

    Raises:
        InputError: The file is missing, damaged, or holds something else.

    Example:

    >>> load_model("agd_small").input_shape
    (None, 128, 128, 3)
    """
    path = find_model(path)
    if len(folds := fold_models(path)) == 1:
        path = folds[0]
    if not path.is_file():
        raise InputError(f"{path}: expected a .keras file or a run folder, found nothing")
    try:
        check_model_file(path)
        with warnings.catch_warnings():
            # The optimiser's state is with the run, for --resume, not in the model.
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            model = keras.saving.load_model(path, safe_mode=True, compile=compiled)
            if isinstance(getattr(model, "optimizer", None), keras.optimizers.Optimizer):
                spare(model)
    except Exception as error:  # whatever the file holds, the reader of it must not show through
        # Keras tells the reason at the end of a long tale.
        reason = clean(" ".join(str(error).split()).rpartition("Exception encountered: ")[2])
        unknown = re.search("Could not locate class '(.+?)'", str(error))
        if unknown:
            raise InputError(
                f"{path}: has a {clean(unknown[1])}, which is not known here; "
                "--model-fn PACKAGE.MODULE:FUNCTION, or import its module first"
            ) from None
        raise InputError(f"{path}: expected a .keras file made by agd-train ({reason})") from None
    if regions is None:
        regions = len(read_calibration(path).regions) or 1
    network = as_network(model, str(path), regions=regions)
    for variable in model.variables:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise InputError(f"{path}: expected finite weights, {variable.path} has others")
    return network


def _check_network(config: dict[str, Any]) -> None:
    """Makes the network without any number in it: in this scope, weights are but shapes."""
    with keras.StatelessScope(initialize_variables=False):
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        if not isinstance(model, keras.Model):
            raise ValueError("no model")
        weights = sum(prod(one.shape) for one in model.weights)
        if weights > MAX_WEIGHTS:
            raise ValueError(f"{weights:,} weights, expected at most {MAX_WEIGHTS:,}")
        shapes = [
            tuple(t.shape) for layer in model.layers for t in keras.tree.flatten(layer.output)
        ]
    largest = max(shapes, key=_values, default=())
    if _values(largest) > MAX_VALUES:
        raise ValueError(f"a layer that returns {largest}, expected at most {MAX_VALUES:,} values")
    shape = model.input_shape
    if (
        len(shape) != 4
        or shape[1] != shape[2]
        or not 1 <= (shape[3] or 0) <= MAX_CHANNELS
        or (shape[1] or 0) > MAX_SIDE
    ):
        raise ValueError(
            f"an input of {shape}, expected the same height and width, at most {MAX_SIDE}, "
            f"and 1 to {MAX_CHANNELS} channels"
        )


def _values(shape: tuple[int | None, ...]) -> int:
    return prod(size or 1 for size in shape[1:])
