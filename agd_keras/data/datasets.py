"""A data set by the name that a user gives it."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from agd_keras.data.phantom import ensure_phantom
from agd_keras.errors import InputError
from agd_keras.io.case import CHANNELS, FILL
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.data_set import find_data_set, recognise_layout
from agd_keras.wording import counted

logger = logging.getLogger(__name__)

PHANTOM, AUTO = "phantom", "auto"


def find_data(
    data: str | Path,
    layout: str = AUTO,
    persons: str | None = None,
    channels: Sequence[str] = CHANNELS,
    missing: str = FILL,
) -> list[CaseRef]:
    """Finds the cases of a data set, with their labels, and logs what was recognised.

    Args:
        data: `phantom`, the embedded data set, which is made on first use; a folder of scans, or a
            table of cases.
        layout: A name of `io.data_set.LAYOUTS`, or `auto`.
        persons: See `name_persons`. Default: as the layout says.
        channels: Names of the channels to read, and
        missing: what becomes of those that a case lacks, see `stack_channels`.

    Returns:
        The cases, by name.

    Raises:
        InputError: There is no data set, or something is wrong with it: all, one a line.

    Example:

    >>> len(find_data("phantom"))
    24
    """
    root = data_root(data)
    layout = recognise_layout(root) if layout == AUTO else layout
    cases = name_persons(find_data_set(root, True, layout, channels, missing), persons)
    _tell(root, layout, len(cases), len({case.patient_id for case in cases}))
    return cases


def data_root(data: str | Path) -> Path:
    """Returns the folder, or the table, that a user means; makes the phantom if need be.

    Args:
        data: `phantom`, a folder or a table, which need not exist.

    Raises:
        InputError: The phantom cannot be written.

    Example:

    >>> data_root("data/mine").name
    'mine'
    """
    return ensure_phantom() if str(data) == PHANTOM else Path(data)


@cache  # each fold finds its data again
def _tell(root: Path, layout: str, cases: int, persons: int) -> None:
    found = f"{counted(cases, 'case')} of {counted(persons, 'person')}"
    logger.info("%s: layout %s, %s", root, layout, found)


def name_persons(cases: Iterable[CaseRef], pattern: str | None) -> list[CaseRef]:
    """Says whose scan each case is, by its name.

    Args:
        cases: The cases.
        pattern: Regular expression; what its first group finds in the name of a case is the person.
            None leaves persons as they are.

    Returns:
        The cases, each with its person.

    Raises:
        InputError: It is no regular expression, has no group, or does not fit a case.

    Example:

    >>> cases = [CaseRef(f"P1_{day}", "nifti", (Path("a.nii"),)) for day in (1, 2)]
    >>> [case.patient_id for case in name_persons(cases, r"(P\\d+)_")]
    ['P1', 'P1']
    """
    if pattern is None:
        return list(cases)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--persons {pattern}: no regular expression ({error})") from None
    if not compiled.groups:
        raise InputError(f"--persons {pattern}: expected a group, as (sub-[0-9]+)_.*")
    named = []
    for case in cases:
        found = compiled.search(case.case_id)
        if not found or not found[1]:
            raise InputError(f"--persons {pattern}: finds no person in case {case.case_id}")
        named.append(replace(case, patient_id=found[1]))
    return named
