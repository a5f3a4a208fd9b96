"""The folder of a data set, and the table of its patients."""

import csv
from pathlib import Path

from agd_keras.errors import InputError

TABLE = "data.csv"
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
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a table as UTF-8 text ({error})") from error
    header = lines[0] if lines else ""
    rows = csv.DictReader(lines, delimiter=";" if header.count(";") > header.count(",") else ",")
    folders = [entry.name for entry in root.iterdir() if entry.is_dir()]
    table = {}
    for row in rows:
        identifier = next(iter(row.values())) or ""
        cases = [
            name for name in folders if name == identifier or name.startswith(identifier + "_")
        ]
        for case in cases or [identifier]:
            table[case] = {str(key): str(value or "") for key, value in row.items()}
    return table
