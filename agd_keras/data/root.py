"""Where what can be made again is kept."""

import os
from pathlib import Path

from agd_keras.errors import InputError


def cache_root(given: str | Path | None = None) -> Path:
    """Returns the folder for caches, which need not exist.

    Args:
        given: The folder. Default: `$AGD_KERAS_CACHE`, or `~/.cache/agd_keras`.

    Raises:
        InputError: None is given, and the user has no home.

    Example:

    >>> cache_root("/scratch/me")
    PosixPath('/scratch/me')
    """
    chosen = Path(given or os.environ.get("AGD_KERAS_CACHE") or "~/.cache/agd_keras")
    try:
        return chosen.expanduser()
    except RuntimeError:
        raise InputError(
            f"{chosen}: no home folder of this user is known; AGD_KERAS_CACHE names a folder for "
            "what is kept, or HOME the home"
        ) from None
