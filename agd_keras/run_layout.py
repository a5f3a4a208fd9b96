"""The files of a run that prediction and training know; all others `runs.run_folder` alone does.

The rooms below `runs` may not import it: training writes a network and its history into the folder
that it is given, prediction looks for the networks of all folds and for those that are missing.
"""

import re
from pathlib import Path

CONFIG, FOLDS = "config.yaml", "folds.json"
MODEL, HISTORY = "model.keras", "history.csv"  # of a fold


def fold_name(index: int) -> str:
    """Returns the name of a fold's folder.

    Args:
        index: Index of the fold, from 0.

    Example:

    >>> fold_name(2)
    'fold-2'
    """
    return f"fold-{index}"


def fold_index(folder: Path) -> int | None:
    """Returns the index of the fold whose folder this is by its name, None if it is none.

    Args:
        folder: Any path; it need not exist.

    Example:

    >>> fold_index(Path("runs/first/fold-2")), fold_index(Path("runs/first"))
    (2, None)
    """
    match = re.fullmatch(r"fold-(\d+)", folder.name)
    return int(match[1]) if match else None


def fold_models(path: Path) -> list[Path]:
    """Returns the networks of a run's folds, sorted by name; none where this is no run folder.

    Args:
        path: Any path; it need not exist.

    Example:

    >>> fold_models(Path("no/such/folder"))
    []
    """
    return sorted(path.glob(f"fold-*/{MODEL}"))
