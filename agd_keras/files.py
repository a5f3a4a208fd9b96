"""Writing files and folders so that nobody ever sees half of one."""

import csv
import io
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agd_keras.text import in_cell


def unique_number() -> int:
    """Returns a number for a temporary name, which no thread, process or host gets twice.

    Example:

    >>> unique_number() == unique_number()
    False
    """
    return secrets.randbits(48)


def write_text(path: str | Path, text: str) -> Path:
    """Writes a text file under another name and renames it into place.

    Args:
        path: The file; an older one is replaced.
        text: What it holds.

    Returns:
        The path.

    Raises:
        OSError: The folder is missing or cannot be written.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text(f"{folder}/note.txt", "done").read_text()
    'done'
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp-{unique_number()}")
    try:
        # A file's name that is not UTF-8 must not cost what else stands in the text.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


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


@contextmanager
def new_folder(path: Path, replace: bool) -> Iterator[Path]:
    """Gives a folder to fill, which gets its name once it is: a folder of that name is whole.

    Args:
        path: The folder.
        replace: Whether to replace an older one. Otherwise one that holds anything stays.

    Yields:
        The folder to fill, beside it.

    Raises:
        OSError: It cannot be written, or another process made it meanwhile.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "run"
    >>> with new_folder(path, replace=False) as made:
    ...     note = write_text(made / "note.txt", "done")
    >>> (path / "note.txt").read_text()
    'done'
    """
    number = unique_number()
    made, old = (path.with_name(f"{path.name}.{what}-{number}") for what in ("tmp", "old"))
    try:
        made.mkdir(parents=True)
        yield made
        if replace and path.exists():
            path.rename(old)
        made.rename(path)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
