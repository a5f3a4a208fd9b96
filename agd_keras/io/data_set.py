"""A data set with labels, in whatever layout: found and checked by content."""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agd_keras.errors import InputError
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.labels import check_pictures, read_labelled
from agd_keras.io.layouts import kaggle_3m

logger = logging.getLogger(__name__)


def find_data_set(root: str | Path, labelled: bool = True) -> list[CaseRef]:
    """Finds the cases of a data set, with their labels.

    Files and folders that belong to no case are ignored, which a logged line mentions.

    Args:
        root: Its folder.
        labelled: Whether an image without a label is a problem.

    Returns:
        The cases, in order.

    Raises:
        InputError: The folder is no data set, or something is wrong with it: all, one a line.

    Example:

    >>> from agd_keras.data.phantom import ensure_phantom
    >>> len(find_data_set(ensure_phantom(patients=3, slices=2, size=32)))
    3
    """
    found = kaggle_3m.find(Path(root), labelled)
    if found.problems:  # all of them at once, also those within the files
        raise problems_error(root, [*found.problems, *check_cases(found.cases)])
    if found.ignored:
        names = ", ".join(str(path.relative_to(root)) for path in found.ignored[:5])
        more = f" and {len(found.ignored) - 5} more" if len(found.ignored) > 5 else ""
        logger.warning("%s: ignored what is no slice: %s%s", root, names, more)
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
        cases: What `find_data_set` found.

    Returns:
        One line for each problem, naming the file. Empty if all is well.

    Example:

    >>> check_cases([CaseRef("a", "picture", (Path("a/a_1.tif"),))])
    ['a/a_1.tif: expected a file, found nothing']
    """

    with ThreadPoolExecutor(max_workers=4) as threads:
        return [line for found in threads.map(_check_case, sorted(cases)) for line in found]


def _check_case(case: CaseRef) -> list[str]:
    if case.kind == "picture":
        return check_pictures(case)
    try:
        read_labelled(case)
    except InputError as error:
        return [str(error)]
    return []
