"""The page that segments scans in a browser, as `make web` built it from `web/`."""

from pathlib import Path

from agd_keras.errors import InputError

INDEX = "index.html"
_BUILT = Path(__file__).parent / "dist"


def find_page(folder: str | Path = _BUILT) -> Path:
    """Returns the folder of the built page, which is part of every wheel.

    Args:
        folder: Where it is.

    Raises:
        InputError: It has not been built.

    Example:

    >>> find_page("no/such/folder")
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: the page is not built: `make web` (node 20), or install the wheel
    """
    folder = Path(folder)
    if not (folder / INDEX).is_file():
        raise InputError("the page is not built: `make web` (node 20), or install the wheel")
    return folder
