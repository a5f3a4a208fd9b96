"""Where the scans of one case lie, and which of them is which contrast."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """Where one case lies, nothing decoded.

    Args:
        name: Path of the case below the input that it was found in, without suffix, or the name of
            that input; unique among those that `find_cases` returns.
        kind: `picture`, `nifti` or `dicom`.
        files: Its files, lowest slice first where the names tell.
        contrasts: Contrast of each file, or of each channel of a single file; empty where reading
            must tell.
        notes: What a user should know about how the files were chosen.
        problem: Why the case cannot be read, in one line; empty if it can.

    Example:

    >>> Source("head", "nifti", (Path("head.nii.gz"),)).name
    'head'
    """

    name: str
    kind: str
    files: tuple[Path, ...]
    contrasts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""
