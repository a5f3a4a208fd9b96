"""The folder of a data set, and the table of its patients."""

import csv
import io
from bisect import bisect_left
from itertools import zip_longest
from pathlib import Path

from agd_keras.errors import InputError

TABLE = "data.csv"
MAX_BYTES = 2**24  # a hundred thousand patients
LAYOUT = "expected folders <case>/ with <case>_<n>.tif and <case>_<n>_mask.tif"


def dataset_root(root: str | Path) -> Path:
    """Finds the folder of the patients.

    Args:
        root: That folder, or the one above it that the download unpacks to.

    Returns:
        The folder that holds one folder for each patient.

    Raises:
        InputError: There is no such folder.

    Example:

    >>> dataset_root("nowhere")
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: nowhere: no such folder, expected a data set
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder, expected a data set")
    return root / "kaggle_3m" if (root / "kaggle_3m").is_dir() else root


def read_table(root: str | Path) -> dict[str, dict[str, str]]:
    """Reads what `data.csv` says of the patients, separated by commas or semicolons.

    Args:
        root: Folder of the data set.

    Returns:
        For each patient its row as column name to text. The key is the name of the patient's
        folder, which in LGG is the identifier of the table followed by a date; `{}` without a
        table.

    Raises:
        InputError: The table cannot be read.

    Example:

    >>> from agd_keras.data.phantom import ensure_phantom
    >>> read_table(ensure_phantom(patients=3, slices=2, size=32))["phantom_002"]["patient"]
    'phantom_002'
    """
    root = dataset_root(root)
    path = root / TABLE
    if not path.is_file():
        return {}
    columns, rows = _read_rows(path)
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    table = {}
    for row in rows:
        identifier, prefix = row[0], f"{row[0]}_"
        cases = [identifier] * (identifier in folders)
        for name in folders[bisect_left(folders, prefix) :]:
            if not name.startswith(prefix):
                break
            cases.append(name)
        for case in cases or [identifier]:
            table[case] = dict(zip_longest(columns, row[: len(columns)], fillvalue=""))
    return table


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """The columns of a table, and its rows that are not empty."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        text = content.decode("utf-8-sig")
        header = text.partition("\n")[0]
        delimiter = ";" if header.count(";") > header.count(",") else ","
        columns, *rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) or [
            []
        ]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: expected a table as UTF-8 text ({error})") from error
    return columns, [row for row in rows if row]
