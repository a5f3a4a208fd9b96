"""The preprocessor of a model: stored with it, so that it decides what the model predicts."""

from pathlib import Path
from typing import Any

from agd_keras.data.preprocessor import Preprocessor, preprocessor_for
from agd_keras.errors import InputError
from agd_keras.inference.calibration import MEMBER as CALIBRATION
from agd_keras.inference.stored import read_stored, write_stored
from agd_keras.run_layout import fold_models

MEMBER = "preprocessor.json"


def write_preprocessor(model: str | Path, preprocessor: Preprocessor) -> Path:
    """Stores a preprocessor with a model, see `write_stored`.

    Args:
        model: A `.keras` file or an export.
        preprocessor: What to store; an older one is replaced.

    Returns:
        The file that was written.
    """
    return write_stored(model, MEMBER, preprocessor.to_values())


def read_preprocessor(model: str | Path, input_shape: tuple[Any, ...]) -> Preprocessor:
    """Reads the preprocessor that is stored with a model.

    Args:
        model: A `.keras` file; a run folder, whose folds must have the same; or an export.
        input_shape: `(batch, height, width, channels)` of its network. Of a graph that resizes by
            itself, only the channels are a number.

    Returns:
        The `Preprocessor`. Of a model of before there was one: version 3, with the normalisation
        that is named in its calibration, if any.

    Raises:
        InputError: What is stored is none, of a version that is not known here, or for another
            network.

    Example:

    >>> read_preprocessor("no/such/model.keras", (None, 64, 64, 3)).normalization
    'tissue'
    """
    model = Path(model)
    folds = fold_models(model)
    if folds:
        first, *others = [read_preprocessor(fold, input_shape) for fold in folds]
        for fold, other in zip(folds[1:], others, strict=True):
            own, wanted = other.to_values(), first.to_values()
            differ = [name for name in own if own[name] != wanted[name]]
            if differ:
                name = differ[0]
                raise InputError(
                    f"{fold}: expected {name} {wanted[name]}, as {folds[0]}, found {own[name]}"
                )
        return first
    try:
        if values := read_stored(model, MEMBER, "preprocessor"):
            found = Preprocessor.from_values(values)
        else:
            stored = read_stored(model, CALIBRATION, "calibration")
            found = preprocessor_for(input_shape, stored.get("normalization", "tissue"))
        found.check_network(input_shape)
    except InputError as error:
        told = str(error).startswith(f"{model}: ")
        raise error if told else InputError(f"{model}: {error}") from None
    return found
