"""A data set by the name that a user gives it."""

from pathlib import Path

from agd_keras.data.phantom import ensure_phantom
from agd_keras.io.slices import Slice, find_slices


def find_data(data: str | Path) -> list[Slice]:
    """Finds the slices of a data set, with their masks.

    Args:
        data: `phantom`, the embedded data set, which is made on first use; or a folder in the
            `kaggle_3m` layout.

    Returns:
        The slices, by patient and number.

    Raises:
        InputError: The folder is not a data set.

    Example:

    >>> slices = find_data("phantom")
    >>> len({one.patient for one in slices})
    24
    """
    return find_slices(ensure_phantom() if str(data) == "phantom" else data)
