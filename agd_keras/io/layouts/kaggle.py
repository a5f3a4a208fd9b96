"""`kaggle_3m`: a folder a patient, whose pictures `<folder>_<number>` are its slices."""

import re
from collections.abc import Sequence
from pathlib import Path


def slices_of(folder: Path, pictures: Sequence[Path]) -> list[Path]:
    """Picks the slices of the patient that a folder is, lowest first.

    Args:
        folder: The folder.
        pictures: Pictures in it, without masks.

    Returns:
        Those called `<folder>_<number>`.

    Example:

    >>> slices_of(Path("P"), [Path("P/P_10.tif"), Path("P/P_2.tif"), Path("P/other.tif")])
    [PosixPath('P/P_2.tif'), PosixPath('P/P_10.tif')]
    """
    name = re.compile(re.escape(folder.resolve().name) + r"_(\d+)")
    numbered = {path: match for path in pictures if (match := name.fullmatch(path.stem))}
    return sorted(numbered, key=lambda path: (int(numbered[path][1]), path.name))
