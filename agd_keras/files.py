"""Writing files and folders so that nobody ever sees half of one."""

import csv
import errno
import io
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agd_keras.text import in_cell

LOCK = ".lock"
# Disk full, quota used up: no other file can be written either.
FULL = (errno.ENOSPC, errno.EDQUOT)
# What is raised for a file that is written only, never for one that is read.
UNWRITABLE = (*FULL, errno.EFBIG, errno.EROFS)
# What is being made, or was when a kill struck.
_LEFT = re.compile(r"\.(tmp|old)-\d+")
# What else is no content of a folder: its lock, and what file systems and NFS keep in there.
_ASIDE = re.compile(rf"{_LEFT.pattern}|\.lock|\.nfs[0-9a-f]+|\.snapshot|lost\+found")


def unique_number() -> int:
    """Returns a number for a temporary name, which no thread, process or host gets twice.

    Example:

    >>> unique_number() == unique_number()
    False
    """
    return secrets.randbits(48)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Names the file in an error of the operating system, which says "no space left", not where.

    Args:
        path: The file that is being written.

    Raises:
        OSError: As it was raised, with the file's name.

    Example:

    >>> with naming("mask.nii.gz"):
    ...     raise OSError(errno.ENOSPC, "No space left on device")
    Traceback (most recent call last):
    ...
    OSError: [Errno 28] No space left on device: 'mask.nii.gz'
    """
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_bytes(path: str | Path, content: bytes | memoryview) -> Path:
    """Writes a file under another name and renames it into place.

    Args:
        path: The file; an older one is replaced.
        content: What it holds.

    Returns:
        The path.

    Raises:
        OSError: The folder is missing or cannot be written; names the file.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bytes(f"{folder}/one.bin", b"1").read_bytes()
    b'1'
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp-{unique_number()}")
    try:
        with naming(path):
            temporary.write_bytes(content)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Writes a text file in UTF-8 as `write_bytes` does.

    Args:
        path: The file; an older one is replaced.
        text: What it holds.

    Returns:
        The path.

    Raises:
        OSError: The folder is missing or cannot be written; names the file.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(f"{folder}/note.txt", "done").read_text()
    'done'
    """
    # A file's name that is not UTF-8 must not cost what else stands in the text.
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_csv(path: str | Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Path:
    """Writes a CSV file as `write_text` does; what a row lacks, or is None, stays empty.

    Text that a spreadsheet would take for a formula gets an apostrophe ahead of it.

    Args:
        path: The file; an older one is replaced.
        rows: Values by column.
        columns: The columns in order.

    Returns:
        The path.

    Raises:
        OSError: The folder is missing or cannot be written.
        ValueError: A row has a further column.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "areas.csv"
    >>> write_csv(path, [{"case": "a", "area": None}], ["case", "area"]).read_text().split()
    ['case,area', 'a,']
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: in_cell(value) for key, value in row.items()} for row in rows)
    return write_text(path, text.getvalue())


def content(folder: Path) -> list[Path]:
    """Returns what a folder holds, sorted, without its lock and what is being made in it.

    Nor does it count what a file system keeps at its root, where a folder is a mount point.

    Args:
        folder: An existing folder.

    Raises:
        OSError: It is missing or cannot be read.

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / LOCK).touch()
    >>> content(folder)
    []
    """
    return sorted(entry for entry in folder.iterdir() if not _ASIDE.fullmatch(entry.name))


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Gives a new folder within another for a while, thus on the same file system.

    The other one may be a mount point: nothing is made beside it.

    Args:
        folder: The other folder; made if need be.

    Yields:
        The new folder, which is removed in the end.

    Raises:
        OSError: It cannot be made.

    Example:

    >>> import tempfile
    >>> with work_folder(Path(tempfile.mkdtemp())) as work:
    ...     content(work.parent)
    []
    """
    work = folder / f".tmp-{unique_number()}"
    try:
        work.mkdir(parents=True)
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def filled(folder: Path, replace: bool) -> Iterator[Path]:
    """Gives a folder to fill, which becomes the content of another: all of it, or nothing.

    The other one itself is never renamed, as a mount point cannot be. Whoever calls this keeps
    other processes out, see `locks`.

    Args:
        folder: The folder whose content it becomes; made if need be.
        replace: Whether to replace what it holds. Otherwise it must hold nothing.

    Yields:
        The folder to fill.

    Raises:
        OSError: It cannot be written, or holds anything.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "run"
    >>> with filled(path, replace=False) as made:
    ...     note = write_text(made / "note.txt", "done")
    >>> (path / "note.txt").read_text()
    'done'
    """
    with work_folder(folder) as made:
        yield made
        before = content(folder)
        if before and not replace:
            raise FileExistsError(errno.EEXIST, "another process filled it", str(folder))
        # What says what the folder is, its config.yaml, goes first and comes last: a kill between
        # the two leaves what is refused.
        old = folder / f".old-{unique_number()}"
        old.mkdir()
        for entry in before:
            os.rename(entry, old / entry.name)
        for entry in reversed(content(made)):
            os.rename(entry, folder / entry.name)
        for left in folder.iterdir():
            if left != made and _LEFT.fullmatch(left.name):
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def without_patterns(path: Path) -> Iterator[Path]:
    """Gives another path to a folder for a while, for a library that takes `[1]` for a pattern.

    TensorFlow does, of the folder of a SavedModel.

    Args:
        path: An existing folder.

    Yields:
        The folder itself if its path holds no such letter, else a link to it.

    Raises:
        OSError: There is no room for a link.

    Example:

    >>> with without_patterns(Path("served/1")) as plain:
    ...     str(plain)
    'served/1'
    """
    patterns = set("*?[\\") - {os.sep}
    if not patterns & set(str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="agd-") as folder:
        link = Path(folder) / "link"
        link.symlink_to(path.absolute(), target_is_directory=True)
        yield link
