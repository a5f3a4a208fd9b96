"""What a layout finds in a folder."""

from dataclasses import dataclass
from pathlib import Path

from agd_keras.io.case_ref import CaseRef


@dataclass(frozen=True)
class Found:
    """The cases of a data set, nothing decoded.

    Args:
        cases: Them, in order.
        problems: A line for each thing that is wrong, naming the file.
        ignored: Files and folders that belong to no case.

    Example:

    >>> Found(()).problems
    ()
    """

    cases: tuple[CaseRef, ...]
    problems: tuple[str, ...] = ()
    ignored: tuple[Path, ...] = ()
