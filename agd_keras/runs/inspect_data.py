"""What a data set holds, and all that is wrong with it, in one pass over its files."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from math import isfinite, prod
from pathlib import Path

import numpy as np

from agd_keras.data.datasets import AUTO, data_root, name_persons
from agd_keras.errors import InputError
from agd_keras.io.case import AXIAL, CHANNELS, REFERENCE, Case
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.contrasts import CONTRASTS
from agd_keras.io.data_set import check_cases, scan_data_set
from agd_keras.io.dicom_choice import choose_series
from agd_keras.io.discovery import read_case
from agd_keras.io.labels import count_labels, read_labelled
from agd_keras.viz.contact_sheet import Thumbnail

NO_LABELS = "no case has a label: fit to predict on, not to train on"


@dataclass(frozen=True)
class CaseReport:
    """What one case holds, as far as it can be read.

    Args:
        ref: Where it lies.
        channels: The contrasts that it has, not those that are filled by another.
        shape: Slices, rows and columns; empty for what cannot be read, like all that follows.
        spacing: In mm, of the same; None where the source does not tell.
        orientation: Where the axes of the source run to, as `LPS`; empty for pictures.
        ranges: Least and largest value of each of those that were read, the first ones.
        voxels: Of the tumour; None without a label.
        labels: Voxels of each value of the label.
        notes: How it was read.
        thumbnail: The slice with most tumour, or the middle one.
        problems: What is wrong, a line each.
    """

    ref: CaseRef
    channels: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    spacing: tuple[float, float, float] | None = None
    orientation: str = ""
    ranges: tuple[tuple[float, float], ...] = ()
    voxels: int | None = None
    labels: Mapping[int, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    thumbnail: Thumbnail | None = None
    problems: tuple[str, ...] = ()

    @property
    def voxel(self) -> float | None:
        """Volume of a voxel in ml, where spacing is known."""
        known = self.spacing and all(map(isfinite, self.spacing))
        return prod(self.spacing) / 1000 if self.spacing and known else None

    @property
    def volume(self) -> float | None:
        """Of the tumour in ml, where spacing is known."""
        return None if self.voxels is None or self.voxel is None else self.voxels * self.voxel


@dataclass(frozen=True)
class DataReport:
    """What a data set holds.

    Args:
        root: Its folder, or its table.
        layout: A name of `io.data_set.LAYOUTS`.
        cases: A report of each case, in order.
        problems: All that is wrong, a line each.
        ignored: Files and folders that belong to no case.
        notes: What is to be said of it as a whole.
    """

    root: Path
    layout: str
    cases: tuple[CaseReport, ...]
    problems: tuple[str, ...] = ()
    ignored: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def persons(self) -> dict[str, list[str]]:
        """The cases of each person."""
        persons: dict[str, list[str]] = defaultdict(list)
        for case in self.cases:
            persons[case.ref.patient_id].append(case.ref.case_id)
        return dict(persons)

    @property
    def told(self) -> dict[str, list[str]]:
        """The cases of each note; of a case's own name stands `<case>` in it."""
        told: dict[str, list[str]] = defaultdict(list)
        for case in self.cases:
            folder = case.ref.files[0].parent.name
            for note in case.notes:
                for name in filter(None, (case.ref.case_id, folder)):
                    note = re.sub(rf"\b{re.escape(name)}(?=[-_.])", "<case>", note)
                told[note].append(case.ref.case_id)
        return dict(told)


def inspect_data(
    data: str | Path,
    layout: str = AUTO,
    persons: str | None = None,
    progress: Callable[[int, int], object] | None = None,
    plane: str = AXIAL,
) -> DataReport:
    """Reads all of a data set and says what it holds.

    Args:
        data: As for `find_data`, like `layout` and `persons`. Of a data set without any label, that
            is a note; where only some lack theirs, each is a problem.
        layout: How its files lie.
        persons: Whose scan a case is.
        progress: Called as `progress(done, total)`, in cases.
        plane: In which slices are to lie, see `choose_plane`.

    Returns:
        The `DataReport`.

    Raises:
        InputError: There is no data set.

    Example:

    >>> report = inspect_data("phantom")
    >>> report.layout, len(report.cases), report.problems
    ('kaggle_3m', 24, ())
    """
    root = data_root(data)
    wanted = None if layout == AUTO else layout
    layout, found = scan_data_set(root, layout=wanted)
    notes: tuple[str, ...] = ()
    labelled = not found.cases or any(case.label for case in found.cases)
    if not labelled:
        found, notes = scan_data_set(root, False, layout)[1], (NO_LABELS,)
    cases = [replace(case, plane=plane) for case in sorted(name_persons(found.cases, persons))]
    if not cases and not found.problems:
        raise InputError(f"{root}: expected a data set in the layout {layout}, found no case")
    wider = scan_data_set(root, labelled, layout, CONTRASTS)[1]
    more = {case.case_id: case for case in wider.cases}
    cases = [_with_more(case, more) for case in cases]
    reports = []
    with ThreadPoolExecutor(max_workers=4) as threads:
        for report in threads.map(inspect_case, cases):
            reports.append(report)
            if progress:
                progress(len(reports), len(cases))
    problems = [*found.problems, *(line for report in reports for line in report.problems)]
    distinct = tuple(dict.fromkeys(problems))
    return DataReport(root, layout, tuple(reports), distinct, found.ignored, notes)


def _with_more(case: CaseRef, more: Mapping[str, CaseRef]) -> CaseRef:
    """A case with the contrasts beside the usual ones that it has for sure."""
    other = more.get(case.case_id, case)
    if case.problem or other.problem or other.kind == "picture":
        return case
    names = other.contrasts
    if other.kind == "dicom":
        try:
            names = tuple(choose_series(other.files[0].parent, other.files, channels=CONTRASTS)[0])
        except InputError:  # several of a contrast that may not be wanted
            return case
    own = [name for name in CONTRASTS if name in names and name not in CHANNELS]
    return replace(other, patient_id=case.patient_id, plane=case.plane, channels=(*CHANNELS, *own))


def inspect_case(ref: CaseRef) -> CaseReport:
    """Reads a case, with its label if it has one, and says what it holds.

    Args:
        ref: The case.

    Returns:
        The `CaseReport`.

    Example:

    >>> inspect_case(CaseRef("a", "picture", (Path("a/a_1.tif"),))).problems
    ('a/a_1.tif: expected a file, found nothing',)
    """
    try:
        case, label = read_labelled(ref) if ref.label else (read_case(ref), None)
        labels = count_labels(ref, case) if ref.label else {}
    except InputError as error:
        if set(ref.channels) > set(CHANNELS):  # what a network takes unless told otherwise counts
            report = inspect_case(replace(ref, channels=CHANNELS))
            return report if report.problems else replace(report, notes=(*report.notes, str(error)))
        return CaseReport(ref, problems=tuple(check_cases([ref])) or (str(error),))
    own = [
        place
        for place, name in enumerate(case.channels)
        if name == REFERENCE or not np.array_equal(case.images[..., place], case.flair)
    ]
    others = [name for name in ref.contrasts if name not in case.channels]
    return CaseReport(
        ref,
        (*(case.channels[place] for place in own), *dict.fromkeys(others)),
        case.images.shape[:3],
        case.spacing,
        _orientation(case),
        tuple(
            (float(case.images[..., place].min()), float(case.images[..., place].max()))
            for place in own
        ),
        None if label is None else int(label.sum()),
        labels,
        case.notes,
        _thumbnail(ref, case, label),
    )


def _orientation(case: Case) -> str:
    import nibabel

    return "" if case.affine is None else "".join(nibabel.aff2axcodes(case.affine))


def _thumbnail(ref: CaseRef, case: Case, label: np.ndarray | None) -> Thumbnail:
    areas: Sequence[int] = [] if label is None else label.sum(axis=(1, 2)).tolist()
    place = int(np.argmax(areas)) if any(areas) else len(case.images) // 2
    plane = case.flair[place].copy()  # not a view, which would keep all of it
    mask = np.zeros(plane.shape, bool) if label is None else label[place].copy()
    number = ref.numbers[place] if ref.numbers else place + 1
    size = "no label" if label is None else f"{int(mask.sum()):,} pixels"
    lines = (ref.case_id, f"slice {number}, {size}")
    return Thumbnail(lines, plane, mask, case.aspect, case.sides)
