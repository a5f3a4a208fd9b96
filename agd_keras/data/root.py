"""Where what can be made again is kept."""

import os
from pathlib import Path


def cache_root(given: str | Path | None = None) -> Path:
    """Returns the folder for caches: the one given, `$AGD_KERAS_CACHE`, or `~/.cache/agd_keras`.

    Example:

    >>> cache_root("/scratch/me")
    PosixPath('/scratch/me')
    """
    default = os.environ.get("AGD_KERAS_CACHE") or Path.home() / ".cache" / "agd_keras"
    return Path(given or default).expanduser()
