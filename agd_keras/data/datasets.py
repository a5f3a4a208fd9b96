"""A data set by the name that a user gives it."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from agd_keras.config import DataConfig
from agd_keras.data.phantom import ensure_phantom
from agd_keras.errors import InputError
from agd_keras.io.case import AXIAL, CHANNELS, FILL
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.data_set import find_data_set, recognise_layout
from agd_keras.io.dataset_spec import FILE, read_spec
from agd_keras.regions import FROM_DATA, Regions, names_of, parse_regions
from agd_keras.wording import counted

logger = logging.getLogger(__name__)

PHANTOM, AUTO = "phantom", "auto"


def find_data(
    data: str | Path,
    layout: str = AUTO,
    persons: str | None = None,
    channels: Sequence[str] = CHANNELS,
    missing: str = FILL,
    regions: Regions | str = MappingProxyType({}),
    plane: str = AXIAL,
) -> list[CaseRef]:
    """Finds the cases of a data set, with their labels, and logs what was recognised.

    Args:
        data: `phantom`, the embedded data set, which is made on first use; a folder of scans, or a
            table of cases.
        layout: A name of `io.data_set.LAYOUTS`, or `auto`.
        persons: See `name_persons`. Default: as the layout says.
        channels: Names of the channels to read, and
        missing: what becomes of those that a case lacks, see `stack_channels`.
        regions: See `resolve_regions` and `choose_regions`. Default: one of all labels.
        plane: In which slices are to lie, see `choose_plane`; pictures are taken as they are.

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
    cases = choose_regions(cases, resolve_regions(data, regions))
    _tell(root, layout, len(cases), len({case.patient_id for case in cases}))
    return [replace(case, plane=plane) for case in cases]


def cases_of(options: DataConfig) -> list[CaseRef]:
    """Finds the cases that the options of a run name, see `find_data`.

    Args:
        options: Section `data` of a config.

    Returns:
        The cases, by name.

    Raises:
        InputError: As `find_data`.
    """
    return find_data(
        options.path,
        options.layout,
        options.persons,
        options.channels,
        options.missing,
        options.regions,
        options.plane,
    )


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


def choose_regions(cases: Iterable[CaseRef], regions: Regions) -> list[CaseRef]:
    """Says what of the labels of cases is wanted.

    Args:
        cases: The cases.
        regions: Labels by name of the region; none for one region of all labels. Of DICOM
            segmentations a region is the segment of its name, else those of its numbers; of
            pictures a single one is their mask.

    Returns:
        The cases, each with the regions.

    Raises:
        InputError: There are several regions but masks in pictures, which have one label, or the
            data set says that it has no label of one.

    Example:

    >>> case = CaseRef("a", "nifti", (Path("a.nii"),), values=(1, 2))
    >>> choose_regions([case], {"core": (4,)})
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: data.regions core: expected label 4 in some case, found 1, 2
    """
    chosen = []
    for case in cases:
        if case.kind == "picture" and names_of(regions):
            raise InputError(
                f"regions {', '.join(regions)}: expected label maps as NIfTI or DICOM "
                f"segmentations, the masks of {case.case_id} are pictures of one label"
            )
        for name, values in regions.items():
            if case.values and not set(values) & set(case.values):
                wanted, found = (", ".join(map(str, labels)) for labels in (values, case.values))
                raise InputError(
                    f"data.regions {name}: expected label {wanted} in some case, found {found}"
                )
        chosen.append(replace(case, regions=dict(regions)))
    return chosen


def resolve_regions(data: str | Path, regions: Regions | str) -> dict[str, tuple[int, ...]]:
    """Returns the regions that a config means.

    Args:
        data: The data set.
        regions: Labels by name, or `dataset` for those that its `dataset.json` names.

    Raises:
        InputError: There is no such file, or it names no label.

    Example:

    >>> resolve_regions("phantom", {"core": (1, 4)})
    {'core': (1, 4)}
    """
    if not isinstance(regions, str):
        return dict(regions)
    path = data_root(data) / FILE
    if not path.is_file():
        raise InputError(f"--regions {FROM_DATA}: expected {path}, found nothing")
    labels = {name.replace(" ", "_"): values for name, values in read_spec(path).labels.items()}
    if not labels:
        raise InputError(f"{path}: expected labels, found none")
    try:
        return parse_regions(labels)
    except InputError as error:
        raise InputError(f"{path}: labels: {error}") from None
