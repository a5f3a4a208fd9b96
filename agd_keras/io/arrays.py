"""Reading NumPy archives that cannot grow in memory beyond what a patient takes."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from agd_keras.errors import InputError
from agd_keras.io.case import MAX_VOXELS, check_file, one_line

_MAX_BYTES = 8 * MAX_VOXELS


@contextmanager
def open_arrays(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """Opens an archive whose arrays are not too large, unpacked.

    Args:
        path: File of `np.savez` or `np.savez_compressed`, of numbers only.

    Yields:
        The archive; arrays are read as they are used.

    Raises:
        InputError: It is no such file, damaged, or too large; also whatever goes wrong within.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.npz"
    >>> np.savez(path, mask=np.zeros(3))
    >>> with open_arrays(path) as arrays:
    ...     arrays["mask"].shape
    (3,)
    """
    check_file(path)
    with one_line(path, "NumPy archive"):
        if not zipfile.is_zipfile(path):
            raise InputError(f"{path}: expected a NumPy archive")
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MAX_BYTES:
            raise InputError(f"{path}: {size} bytes unpacked, expected at most {_MAX_BYTES}")
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
