"""A data set with labels, in whatever layout: found and checked by content."""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from agd_keras.errors import InputError
from agd_keras.io.case import CHANNELS, FILL
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.labels import check_pictures, check_volumes
from agd_keras.io.layouts import bids_labels, decathlon, kaggle_3m, named, nnunet, table
from agd_keras.io.layouts.found import Found

logger = logging.getLogger(__name__)


# The name of each layout, whether a path is in it, and what finds its cases; asked in this order.
LAYOUTS: dict[str, tuple[Callable[[Path], bool], Callable[[Path, bool, Sequence[str]], Found]]] = {
    "table": (table.matches, table.find),
    "nnunet": (nnunet.matches, nnunet.find),
    "decathlon": (decathlon.matches, decathlon.find),
    "bids": (bids_labels.matches, bids_labels.find),
    "kaggle_3m": (kaggle_3m.matches, kaggle_3m.find),
    "named": (lambda root: root.is_dir(), named.find),
}


def recognise_layout(root: str | Path) -> str:
    """Says in which layout a data set is.

    Args:
        root: Its folder, or its table.

    Returns:
        A name of `LAYOUTS`.

    Raises:
        InputError: There is nothing.

    Example:

    >>> from agd_keras.data.phantom import ensure_phantom
    >>> recognise_layout(ensure_phantom(patients=3, slices=2, size=32))
    'kaggle_3m'
    """
    root = Path(root)
    for name, (matches, _) in LAYOUTS.items():
        if matches(root):
            return name
    raise InputError(f"{root}: expected a folder of scans or a table as CSV, found nothing")


def scan_data_set(
    root: str | Path,
    labelled: bool = True,
    layout: str | None = None,
    channels: Sequence[str] = CHANNELS,
    missing: str = FILL,
) -> tuple[str, Found]:
    """Finds what a data set holds, sound or not.

    Args:
        root: Its folder, or its table.
        labelled: Whether an image without a label is a problem.
        layout: A name of `LAYOUTS`. Default: what `recognise_layout` says.
        channels: Names of the channels to read, and
        missing: what becomes of those that a case lacks, see `stack_channels`.

    Returns:
        The layout, and what was `Found`.

    Raises:
        InputError: The folder is no data set, or what describes it cannot be used.

    Example:

    >>> from agd_keras.data.phantom import ensure_phantom
    >>> layout, found = scan_data_set(ensure_phantom(patients=3, slices=2, size=32))
    >>> layout, len(found.cases)
    ('kaggle_3m', 3)
    """
    root = Path(root)
    layout = layout or recognise_layout(root)
    if layout not in LAYOUTS:
        raise InputError(f"--layout {layout}: expected one of {', '.join(LAYOUTS)}")
    if not root.exists():
        raise InputError(f"{root}: expected a folder of scans or a table as CSV, found nothing")
    if root.is_dir() == (layout == "table"):
        expected = "a table as CSV" if layout == "table" else "a folder of scans"
        raise InputError(f"--layout {layout}: expected {expected}, found {root}")
    found = LAYOUTS[layout][1](root, labelled, channels)
    cases = [replace(case, channels=tuple(channels), missing=missing) for case in found.cases]
    return layout, replace(found, cases=tuple(cases))


def find_data_set(
    root: str | Path,
    labelled: bool = True,
    layout: str | None = None,
    channels: Sequence[str] = CHANNELS,
    missing: str = FILL,
) -> list[CaseRef]:
    """Finds the cases of a data set, with their labels.

    Files and folders that belong to no case are ignored, which a logged line mentions.

    Args:
        root: Its folder, or its table.
        labelled: Whether an image without a label is a problem.
        layout: A name of `LAYOUTS`. Default: what `recognise_layout` says.
        channels: Names of the channels to read, and
        missing: what becomes of those that a case lacks, see `stack_channels`.

    Returns:
        The cases, in order.

    Raises:
        InputError: The folder is no data set, or something is wrong with it: all, one a line.

    Example:

    >>> from agd_keras.data.phantom import ensure_phantom
    >>> len(find_data_set(ensure_phantom(patients=3, slices=2, size=32)))
    3
    """
    root = Path(root)
    layout, found = scan_data_set(root, labelled, layout, channels, missing)
    if found.problems:  # all of them at once, also those within the files
        sound = [case for case in found.cases if case.label and not case.problem]
        raise problems_error(root, [*found.problems, *check_cases(sound)])
    if not found.cases:
        raise InputError(f"{root}: expected a data set in the layout {layout}, found no case")
    if found.ignored:
        names = ", ".join(str(path.relative_to(root)) for path in found.ignored[:5])
        more = f" and {len(found.ignored) - 5} more" if len(found.ignored) > 5 else ""
        logger.warning("%s: ignored what is no case: %s%s", root, names, more)
    return sorted(found.cases)


def problems_error(root: str | Path, problems: list[str]) -> InputError:
    """One clear line, then every problem on a line of its own.

    Args:
        root: The data set, named in the first line.
        problems: Lines that name a file and what is wrong with it.

    Returns:
        The error to raise.

    Example:

    >>> print(problems_error("data", ["a_1.tif: has no mask"]))
    data: 1 problem in the data set
      a_1.tif: has no mask
    """
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return InputError(f"{root}: {count} in the data set", *problems)


def check_cases(cases: Iterable[CaseRef]) -> list[str]:
    """Reads every case and reports all that is wrong, in one pass.

    Args:
        cases: What `find_data_set` found; of one without a label, only the images are read.

    Returns:
        One line for each problem, naming the file. Empty if all is well.

    Example:

    >>> check_cases([CaseRef("a", "picture", (Path("a/a_1.tif"),))])
    ['a/a_1.tif: expected a file, found nothing']
    """

    with ThreadPoolExecutor(max_workers=4) as threads:
        return [line for found in threads.map(_check_case, sorted(cases)) for line in found]


def _check_case(case: CaseRef) -> list[str]:
    return check_pictures(case) if case.kind == "picture" else check_volumes(case)
