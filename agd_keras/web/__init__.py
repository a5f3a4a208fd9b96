"""The page that segments scans in a browser, as `make web` built it from `web/`."""

from pathlib import Path

from agd_keras.errors import InputError

INDEX = "index.html"
BUILT = Path(__file__).parent / "dist"


def find_page() -> Path:
    """Returns the folder of the built page, which is part of every wheel.

    Raises:
        InputError: It has not been built.

    Example:

    >>> page = find_page()  # doctest: +SKIP
    """
    if not (BUILT / INDEX).is_file():
        raise InputError("the page is not built: `make web` (node 20), or install the wheel")
    return BUILT
