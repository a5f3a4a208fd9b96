"""Writing files so that nobody ever sees half of one."""

import os
from pathlib import Path


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
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
