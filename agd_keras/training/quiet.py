"""Keras without the lines that say nothing to a user."""

import logging
import os
import warnings

from agd_keras.quiet import silence


def load_keras() -> None:
    """Imports Keras and its backend without what their libraries write while they load."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Python raises what matters
    # The training stream is shuffled by its own rule.
    warnings.filterwarnings("ignore", message="`shuffle=True` was passed")
    with silence():
        import keras  # noqa: F401
    for noisy in ("absl", "tensorflow"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
