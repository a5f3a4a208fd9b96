"""From NIfTI files to cases: which files belong together, and which is which contrast.

Where names settle it, they are used; where two files could be the same contrast, or none is a
FLAIR, the case is one that cannot be read, and its problem lists what was found and how to say it.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from agd_keras.errors import InputError
from agd_keras.io.case import CHANNELS
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.contrasts import OTHER
from agd_keras.io.label_names import is_label, is_label_folder
from agd_keras.io.layouts.dataset_json import read_channels, split_number
from agd_keras.io.layouts.names import FileName, is_of, read_name, stem_of
from agd_keras.io.layouts.sidecar import read_sidecar

HOW = "--flair FILE, --t1 FILE and --t1c FILE say which is which"
_HOW_NUMBERED = (
    "--channels t1,t1c,t2,flair (whatever their order is) says it, or the channel_names of a "
    "dataset.json; --channels flair if each is a patient"
)
_SERIES = re.compile(r"(?:(.*)[-_. ])?(?:(?:s|se|ser|series)[-_. ]?)?\d{1,4}[a-z]?", re.IGNORECASE)
_LISTED = 6

Groups = dict[tuple[str, str], list[FileName]]  # by place and case


def list_files(paths: Sequence[Path | str]) -> str:
    """Lists names of files for a line of text, not more than a few.

    Example:

    >>> list_files([Path("a/x.nii"), "y.nii (T2)"])
    'x.nii, y.nii (T2)'
    """
    names = [path.name if isinstance(path, Path) else path for path in paths]
    more = [f"{len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return ", ".join(names[:_LISTED] + more)


def group_files(
    files: Iterable[tuple[Path, str]],
    labels: Sequence[tuple[Path, str]] = (),
    channels: Sequence[str] = (),
    given: bool = False,
    wanted: Sequence[str] = CHANNELS,
) -> list[CaseRef]:
    """Makes cases of NIfTI files.

    Args:
        files: Files, each with its folder relative to the input.
        labels: Files in the same folders that are no scans.
        channels: Contrasts in the order of channels, for files that do not name theirs.
        given: Whether the user named each file, so that none may be passed over.
        wanted: The contrasts to take.

    Returns:
        The cases; those that cannot be read say why.

    Example:

    >>> files = [(Path(f"P_1_{name}.nii"), ".") for name in ("flair", "t1", "t1ce", "t2")]
    >>> [source] = group_files(files)
    >>> source.case_id, source.contrasts, source.notes
    ('P_1', ('T1', 'FLAIR', 'T1c'), ('left out: P_1_t2.nii (T2)',))
    """
    named: Groups = defaultdict(list)
    silent: list[FileName] = []
    numbered: dict[tuple[str, Path, str], dict[int, Path]] = defaultdict(dict)
    for path, place in files:
        name = read_name(path, place)
        if name.contrast is None:
            name = replace(name, contrast=read_sidecar(path))
        number = split_number(stem_of(path)) if name.contrast is None else None
        if number:
            numbered[place, path.parent, number[0]][number[1]] = path
        elif name.contrast is None:
            silent.append(name)
        else:
            named[name.place, name.case].append(name)
    named, merged = _merge_series(named)
    sources: list[CaseRef] = []
    for (place, folder, case), paths in numbered.items():
        sources += _of_numbers(place, folder, case, paths, channels)
    rest = [(name.path, name.place, "") for name in silent]
    rest += [(path, place, "label map") for path, place in labels]
    taken: set[Path] = set()
    for (place, case), group in named.items():
        if not given and all(name.contrast == OTHER for name in group):
            continue
        own = [
            (path, why)
            for path, where, why in rest
            if where == place and (not case or is_of(path, case))
        ]
        if case or any(name.contrast == "FLAIR" for name in group):
            taken |= {path for path, _ in own}
        left = [f"{path.name} ({why})" if why else path.name for path, why in own]
        sources.append(_choose(place, case, group, left, (place, case) in merged, wanted))
    for name in silent:
        if name.path not in taken:
            sources.append(_silent(name.place, name.path, channels))
    return sources


def _merge_series(groups: Groups) -> tuple[Groups, set[tuple[str, str]]]:
    """Makes one case of files whose names differ by the number of the series, as of dcm2niix.

    Numbers may be of patients as well. They are of series where each is of one file, the files are
    of different contrasts, and their names describe sequences, or three contrasts are there. Of
    numbers in front, two files may be of one contrast, which is then a case that cannot be read.
    """
    by_rest: dict[tuple[str, str], list[str]] = defaultdict(list)
    for place, case in groups:
        match = _SERIES.fullmatch(case)
        if match:
            by_rest[place, match[1] or ""].append(case)
    merged: set[tuple[str, str]] = set()
    for (place, rest), cases in by_rest.items():
        members = [name for case in cases for name in groups[place, case]]
        contrasts = [name.contrast for name in members if name.contrast != OTHER]
        kinds = len(set(contrasts))
        described = not all(name.plain for name in members)
        once = kinds == len(contrasts)
        of_series = (described and (not rest or once)) or (not rest and once and kinds > 2)
        if len(members) > len(cases) or kinds < 2 or not of_series or (place, rest) in groups:
            continue
        for case in cases:
            del groups[place, case]
        groups[place, rest] = members
        merged.add((place, rest))
    return groups, merged


def _name(place: str, case: str, path: Path) -> str:
    """Name of a case, which is that of its folder where files have no other."""
    own = PurePosixPath(place)
    if case:
        return str(own / case)
    if own.parts:
        return str(own / own.name) if path.parent.name == own.name else str(own)
    return path.absolute().resolve().parent.name or stem_of(path)


def _short(paths: Sequence[Path]) -> list[str]:
    """Names of files, with their folders where those alone tell them apart."""
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    above = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(above).as_posix() for path in paths]


def _choose(
    place: str,
    case: str,
    group: Sequence[FileName],
    left: Sequence[str],
    merged: bool,
    wanted: Sequence[str],
) -> CaseRef:
    """Takes one file for each contrast."""
    name = _name(place, case, group[0].path)
    folder = group[0].path if len(group) == 1 else group[0].path.parent
    spaces = {one.space for one in group if one.contrast == "FLAIR"}
    space = "" if "" in spaces else min(spaces, default="")
    taken: dict[str, FileName] = {}
    for contrast in wanted:
        found = [one for one in group if one.contrast == contrast and one.space == space]
        best = [one for one in found if one.plain] if len(found) > 1 else found
        if found and len(best) != 1:
            listed = list_files([one.path for one in best or found])
            problem = f"{folder}: {len(best or found)} files for {contrast}: {listed}; {HOW}"
            return CaseRef(name, "nifti", tuple(one.path for one in group), problem=problem)
        taken.update((contrast, one) for one in best)
    if "FLAIR" not in taken:
        kinds = " and ".join(dict.fromkeys(one.contrast or OTHER for one in group))
        listed = list_files([one.path for one in group])
        problem = f"{folder}: expected a FLAIR, found only {kinds}: {listed}; {HOW}"
        return CaseRef(name, "nifti", tuple(one.path for one in group), problem=problem)
    unused = [f"{one.path.name} ({one.contrast})" for one in group if one not in taken.values()]
    notes = []
    if merged or not all(one.plain for one in taken.values()):
        short = _short([one.path for one in taken.values()])
        notes.append(", ".join(f"{key}: {file}" for key, file in zip(taken, short, strict=True)))
    if unused or left:
        notes.append(f"left out: {list_files([*unused, *left])}")
    paths = tuple(one.path for one in taken.values())
    return CaseRef(name, "nifti", paths, tuple(taken), notes=tuple(notes))


def _of_numbers(
    place: str, folder: Path, case: str, paths: dict[int, Path], channels: Sequence[str]
) -> list[CaseRef]:
    """Cases of files that end in a number of four digits: channels of nnU-Net, or patients."""
    name, numbers = _name(place, case, folder / case), sorted(paths)
    files = tuple(paths[number] for number in numbers)
    try:
        order = tuple(channels) or read_channels(folder)
    except InputError as error:
        return [CaseRef(name, "nifti", files, problem=str(error))]
    if len(order) == 1:
        names = [name] if numbers == [0] else [_name(place, stem_of(path), path) for path in files]
        return [
            CaseRef(own, "nifti", (path,), order) for own, path in zip(names, files, strict=True)
        ]
    if order and numbers[-1] < len(order):
        contrasts = tuple(order[number] for number in numbers)
        notes = (f"channels taken as {', '.join(contrasts)}",)
        return [CaseRef(name, "nifti", files, contrasts, notes=notes)]
    if order:
        problem = f"{files[-1]}: channel {numbers[-1]}, but {len(order)} are named: "
        return [CaseRef(name, "nifti", files, problem=problem + ", ".join(order))]
    alone = numbers == [0] and stem_of(files[0]) != folder.resolve().name
    if alone or (numbers == list(range(len(numbers))) and 2 <= len(numbers) <= 4):
        where = files[0] if len(files) == 1 else folder
        problem = f"{where}: nothing says which channel is which: {list_files(files)}; "
        return [CaseRef(name, "nifti", files, problem=problem + _HOW_NUMBERED)]
    return [_silent(place, path, ()) for path in files]


def _silent(place: str, path: Path, channels: Sequence[str]) -> CaseRef:
    """A file whose name says no contrast: its channels may be told elsewhere."""
    name = _name(place, stem_of(path), path)
    try:
        # Labels lie beside images that the file is about.
        label = is_label_folder(path.absolute().parent.name) or is_label(stem_of(path))
        order = tuple(channels) or (() if label else read_channels(path.parent))
    except InputError as error:
        return CaseRef(name, "nifti", (path,), problem=str(error))
    return CaseRef(name, "nifti", (path,), order)
