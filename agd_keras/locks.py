"""Folders that one process at a time may write, on all machines that share them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from agd_keras.errors import InputError
from agd_keras.files import LOCK


@contextmanager
def locked(
    folder: Path,
    doing: str = "writing here",
    kind: str = "folder",
    wait: float = 0,
    tidy: bool = False,
) -> Iterator[Path]:
    """Keeps other processes out of a folder, made here; a killed one leaves no lock behind.

    A folder that was made here and is left without content is removed again.

    Args:
        folder: The folder.
        doing: What another process that is in there does, for the error.
        kind: What the folder is, for the error.
        wait: How long to wait for another process, in seconds.
        tidy: Whether the file of the lock is removed in the end.

    Yields:
        The folder.

    Raises:
        InputError: Another process is in there, or the folder cannot be written.

    Example:

    >>> import tempfile
    >>> with locked(Path(tempfile.mkdtemp())) as folder:
    ...     busy(folder)
    True
    """
    made = not folder.exists()
    lock = FileLock(folder / LOCK, timeout=wait)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(f"{folder}: another process is {doing}") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot write the {kind}: {error.strerror}") from None
    try:
        yield folder
    finally:
        with suppress(OSError):
            empty = made and [entry.name for entry in folder.iterdir()] == [LOCK]
            # Still held: who opened the file meanwhile sees that it has no name any more.
            if tidy or empty:
                (folder / LOCK).unlink()
            if empty:
                folder.rmdir()
        lock.release()


def busy(folder: Path) -> bool:
    """Whether a process, on any machine, is within `locked(folder)`.

    Args:
        folder: A folder, which may be missing.

    Returns:
        False also where there is no lock.

    Raises:
        InputError: That cannot be told.

    Example:

    >>> busy(Path("no/such/folder"))
    False
    """
    if not (folder / LOCK).is_file():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError as error:
        raise InputError(f"{folder / LOCK}: cannot be locked: {error.strerror}") from None
