"""A data set by the name that a user gives it."""

from pathlib import Path

from agd_keras.data.phantom import ensure_phantom
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.data_set import find_data_set


def find_data(data: str | Path) -> list[CaseRef]:
    """Finds the cases of a data set, with their labels.

    Args:
        data: `phantom`, the embedded data set, which is made on first use; or a folder in the
            `kaggle_3m` layout.

    Returns:
        The cases, by patient.

    Raises:
        InputError: The folder is not a data set.

    Example:

    >>> len(find_data("phantom"))
    24
    """
    return find_data_set(ensure_phantom() if str(data) == "phantom" else data)
