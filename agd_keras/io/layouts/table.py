"""A table with a row a case: the way out where names do not tell."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from agd_keras.errors import InputError
from agd_keras.files import write_csv
from agd_keras.io.case import CHANNELS
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.contrasts import CONTRASTS
from agd_keras.io.layouts.dataset_json import parse_channels
from agd_keras.io.layouts.found import Found
from agd_keras.text import in_cell

CASE, PERSON, LABEL = "case", "person", "label"
_MAX_BYTES = 2**26


def matches(root: Path) -> bool:
    """Says whether a path is a table.

    Example:

    >>> matches(Path("nowhere.csv"))
    False
    """
    return root.suffix.lower() in (".csv", ".tsv") and root.is_file()


def find(
    root: Path,
    labelled: bool = True,
    channels: Sequence[str] = CHANNELS,
) -> Found:
    """Reads the cases of a table.

    Args:
        root: CSV with the columns `case`, `person` (optional), `label`, and one a contrast such as
            `t1`, `flair`, `t1c`, whose cells are paths relative to the table. NIfTI only.
        labelled: Whether a row without a label is a problem.
        channels: Names of the channels wanted.

    Returns:
        What was `Found`, with a line for each row that cannot be used.

    Raises:
        InputError: The table cannot be read, or has a column of an unknown name.
    """
    try:
        if root.stat().st_size > _MAX_BYTES:
            raise InputError(f"{root}: more than {_MAX_BYTES} bytes, expected a table of cases")
        lines = root.read_text(encoding="utf-8-sig").splitlines()
        header = lines[0] if lines else ""
        separator = max(",;\t", key=header.count)
        reader = csv.DictReader(lines, delimiter=separator, restkey="", strict=True)
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{root}: expected a table as UTF-8 text ({error})") from None
    names = [name for name in columns if name not in (CASE, PERSON, LABEL)]
    contrasts = dict(zip(names, parse_channels(names), strict=True))
    unknown = [name for name, contrast in contrasts.items() if contrast == "other"]
    if CASE not in columns or not names or unknown or len(set(columns)) < len(columns):
        wrong = f"found {unknown[0]!r}" if unknown else f"found {', '.join(columns) or 'none'}"
        raise InputError(f"{root}: expected the columns case, person, label and contrasts, {wrong}")
    cases, problems = [], []
    taken: set[str] = set()
    images: dict[Path, int] = {}  # in which line each stands
    for number, row in enumerate(rows, start=2):
        case = (row[CASE] or "").strip()
        where = f"{root}, line {number}"
        if not case or "/" in case or "\\" in case:
            problems.append(f"{where}: expected a case without slashes, found {case!r}")
            continue
        if case.lower() in taken:  # not all file systems tell upper from lower case
            problems.append(f"{where}: case {case} stands twice")
        taken.add(case.lower())
        given = {
            contrasts[n]: root.parent / row[n].strip() for n in names if (row[n] or "").strip()
        }
        label = (row.get(LABEL) or "").strip()
        own = (root.parent / label,) if label else ()
        if not given:
            problems.append(f"{where}: case {case} has no image")
        if labelled and not label:
            problems.append(f"{where}: case {case} has no label")
        missing = [path for path in (*given.values(), *own) if not path.is_file()]
        problems += [f"{where}: {path}: no such file" for path in missing]
        for path in given.values():
            if path in images:
                problems.append(f"{where}: {path}: stands in line {images[path]} as well")
            images.setdefault(path, number)
        if missing:
            continue
        person = (row.get(PERSON) or "").strip()
        files = tuple(given.values())
        cases.append(CaseRef(case, "nifti", files, tuple(given), own, patient_id=person))
    problems += [
        f"{root}: {path}: an image in line {images[path]}, and the label of {case.case_id}"
        for case in cases
        for path in case.label
        if path in images
    ]
    return Found(tuple(cases), tuple(problems))


def write(cases: Sequence[CaseRef], path: Path) -> Path:
    """Writes cases as a table, to be corrected and used.

    Args:
        cases: Cases of NIfTI files. Those whose contrasts nothing settles get a row without images.
        path: CSV to write; its paths are relative to its folder.

    Returns:
        The path.

    Raises:
        InputError: A case is of pictures or DICOM, has several contrasts in a file, or a name that
            a table cannot hold.

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> case = CaseRef("a", "nifti", (folder / "x.nii",), ("FLAIR",), (folder / "y.nii",))
    >>> print(write([case], folder / "cases.csv").read_text(), end="")
    case,person,t1,flair,t1c,label
    a,a,,x.nii,,y.nii
    """
    base = path.absolute().parent.resolve()  # so that .. leads where it is meant to
    rows = []
    for case in cases:
        if case.kind != "nifti":
            kind = {"picture": "pictures", "dicom": "DICOM series"}[case.kind]
            raise InputError(f"{path}: a table names NIfTI files, case {case.case_id} has {kind}")
        contrasts = case.contrasts or ("FLAIR",) * (not case.problem)
        if case.contrasts and len(case.files) < len(contrasts):
            held = ", ".join(contrasts)
            raise InputError(f"{path}: a table names a file a contrast, {case.files[0]} has {held}")
        told = zip(contrasts, case.files, strict=not case.problem)
        files = {contrast.lower(): file for contrast, file in told if contrast in CONTRASTS}
        if case.label:
            files[LABEL] = case.label[0]
        row = {name: os.path.relpath(file.absolute(), base) for name, file in files.items()}
        row |= {CASE: case.case_id, PERSON: case.patient_id}
        for cell in row.values():
            if not in_cell(cell) == cell == cell.strip():
                raise InputError(f"{path}: a table cannot hold the name {cell!r}")
        rows.append(row)
    more = [name for name in CONTRASTS if name not in CHANNELS]
    images = [*CHANNELS, *(name for name in more if any(name.lower() in row for row in rows))]
    return write_csv(path, rows, [CASE, PERSON, *map(str.lower, images), LABEL])
