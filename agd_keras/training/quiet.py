"""Keras without the lines that say nothing to a user."""

import logging
import os
import warnings

from agd_keras.errors import InputError
from agd_keras.quiet import silence


def load_keras() -> None:
    """Imports Keras and its backend without what their libraries write while they load.

    Raises:
        InputError: The backend that `KERAS_BACKEND` names is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Python raises what matters
    # The training stream is shuffled by its own rule.
    warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
    try:
        with silence():
            import keras  # noqa: F401
    except (ImportError, ValueError) as error:  # the latter of a backend that there is not
        chosen = os.environ.get("KERAS_BACKEND")
        where = f"KERAS_BACKEND={chosen}" if chosen else "Keras"
        raise InputError(f"{where}: cannot be loaded ({error})") from error
    for noisy in ("absl", "tensorflow"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
