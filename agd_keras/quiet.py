"""Libraries kept from saying what means nothing to a user."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silence() -> Iterator[None]:
    """Drops what is written to the standard error, also by libraries in C++ past Python.

    Example:

    >>> with silence():
    ...     _ = os.write(2, b"nobody reads this")
    """
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
