"""Finds the cases that files and folders hold, and reads them, whatever their format."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from posixpath import commonpath

import numpy as np

from agd_keras.errors import InputError
from agd_keras.io import dicom, nifti, pictures
from agd_keras.io.case import AXIAL, CHANNELS, FILL, Case, check_file
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.image_files import SUFFIXES as PICTURES
from agd_keras.io.label_names import is_label, is_label_folder
from agd_keras.io.layouts import kaggle
from agd_keras.io.layouts.groups import HOW, group_files, list_files
from agd_keras.io.layouts.names import read_name, stem_of


def _kind(path: Path) -> str | None:
    """Which reader takes a file, by its name, or by its content for DICOM."""
    name = path.name.lower()
    if name.endswith(PICTURES):
        return "picture"
    if name.endswith(nifti.SUFFIXES):
        return "nifti"
    return "dicom" if name.endswith(".dcm") or dicom.is_dicom(path) else None


def _scan(folder: Path, place: str, files: dict[str, list[tuple[Path, str]]]) -> None:
    """Gathers the files of a folder by kind, each with its folder relative to the input."""
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))
        folders = [path for path in entries if path.is_dir() and not path.is_symlink()]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from None
    for path in entries:
        kind = _kind(path) if path.is_file() else None
        if kind == "dicom":
            if not dicom.is_directory(path):
                files[kind].append((path, place))
        elif kind:
            files["label" if is_label(stem_of(path)) else kind].append((path, place))
    for path in folders:
        if not is_label_folder(path.name):
            _scan(path, str(PurePosixPath(place) / path.name), files)


def _find_in(folder: Path, channels: Sequence[str], wanted: Sequence[str]) -> list[CaseRef]:
    """Cases of a folder, in the order of their folders."""
    name = folder.resolve().name or "case"
    files: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    _scan(folder, ".", files)
    found: list[CaseRef] = []
    pictures_in: dict[str, list[Path]] = defaultdict(list)
    for path, place in files["picture"]:
        pictures_in[place].append(path)
    for place, paths in pictures_in.items():
        slices = kaggle.slices_of(paths[0].parent, paths)
        if slices:
            found.append(CaseRef(name if place == "." else place, "picture", tuple(slices)))
        found += [
            CaseRef(str(PurePosixPath(place) / path.stem), "picture", (path,))
            for path in paths
            if path not in slices
        ]
    labels = [(path, place) for path, place in files["label"] if _kind(path) == "nifti"]
    found += group_files(files["nifti"], labels, channels, wanted=wanted)
    found += _join_studies(files["dicom"], name)
    if found:
        return sorted(found, key=lambda source: PurePosixPath(source.case_id).parts[:-1])
    others = list_files([path for path, _ in files["nifti"] + labels])
    if others:
        raise InputError(f"{folder}: expected a FLAIR, found only {others}; {HOW}")
    raise InputError(f"{folder}: expected TIFF, PNG, NIfTI or DICOM, found none in it")


def _join_studies(files: Sequence[tuple[Path, str]], name: str) -> list[CaseRef]:
    """Makes a case of the DICOM files of a folder, and of a study in folders of their own."""
    folders: dict[str, list[Path]] = defaultdict(list)
    for path, place in files:
        folders[place].append(path)
    studies: dict[str, list[str]] = defaultdict(list)
    for place, paths in folders.items():
        studies[dicom.study_of(paths) or place].append(place)
    found = []
    for places in studies.values():
        others = [PurePosixPath(place) for place in folders if place not in places]
        place = commonpath(places) or "."
        if any(place == "." or other.is_relative_to(place) for other in others):
            place = places[0]  # not the folder in which another study lies as well
        own = tuple(path for one in places for path in folders[one])
        found.append(CaseRef(name if place == "." else place, "dicom", own))
    return found


def find_cases(
    inputs: Sequence[str | Path],
    channels: Sequence[str] = (),
    contrasts: Mapping[str, str | Path] | None = None,
    wanted: Sequence[str] = CHANNELS,
    missing: str = FILL,
    plane: str = AXIAL,
) -> list[CaseRef]:
    """Finds the cases that files and folders hold, by name; of DICOM, by a look at the header.

    A picture is a case. So is a NIfTI file whose name says no contrast; those whose names do, as in
    BraTS, BIDS or nnU-Net with its `dataset.json`, are a case together. The DICOM files of a study
    are one, in a folder or in one a series, and so are the pictures `<folder>_<number>`, as in a
    patient of `kaggle_3m`. Links to folders, hidden files, label maps and what is no image are
    passed over. A case whose contrasts cannot be told is found as well; reading it says why.

    Args:
        inputs: Files and folders, which are searched to any depth.
        channels: Contrasts in the order of channels, as `("T1", "T1c", "T2", "FLAIR")`, for NIfTI
            files of several channels or of names that end in `_0000` and so on.
        contrasts: A file, or a folder with a DICOM series, for each of `FLAIR`, `T1`, `T1c` and
            `T2`: one more case, as the user says.
        wanted: Names of the channels to read, and
        missing: what becomes of those that a case lacks, see `stack_channels`.
        plane: In which the slices are to lie, see `choose_plane`; pictures are taken as they are.

    Returns:
        The cases, each with a name of its own that is a relative path.

    Raises:
        InputError: An input is missing, cannot be read, or holds no case.

    Example:

    >>> from agd_keras.data.phantom import ensure_phantom
    >>> [case.case_id for case in find_cases([ensure_phantom(patients=2, slices=2, size=32)])]
    ['phantom_001', 'phantom_002']
    """
    found: list[CaseRef] = []
    given: dict[str, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(map(Path, inputs)):
        if path.is_dir():
            try:
                found += _find_in(path, channels, wanted)
            except RecursionError:
                raise InputError(f"{path}: folders nested too deep") from None
            continue
        check_file(path)
        kind = _kind(path)
        if kind is None:
            raise InputError(f"{path}: expected a TIFF, PNG, NIfTI or DICOM file")
        if kind == "dicom" and dicom.is_directory(path):
            found += _find_in(path.parent, channels, wanted)
            continue
        given[kind].append(path)
    for kind, paths in given.items():
        if kind == "nifti":
            by_folder: dict[Path, list[tuple[Path, str]]] = defaultdict(list)
            for path in paths:
                by_folder[path.parent].append((path, "."))
            for files in by_folder.values():
                found += group_files(files, (), channels, given=True, wanted=wanted)
        else:
            found += [CaseRef(path.stem, kind, (path,)) for path in paths]
    if contrasts:
        found.append(_as_told(contrasts, wanted))
    names = tuple(wanted)
    return [replace(one, channels=names, missing=missing, plane=plane) for one in _unique(found)]


def _as_told(contrasts: Mapping[str, str | Path], wanted: Sequence[str]) -> CaseRef:
    """The case whose contrasts the user names."""
    files: list[Path] = []
    names: list[str] = []
    kinds: set[str] = set()
    for contrast, given in contrasts.items():
        path = Path(given)
        option = f"--{contrast.lower()} {path}"
        if not path.is_dir():
            check_file(path)
        kind = "dicom" if path.is_dir() else _kind(path)
        if kind not in ("nifti", "dicom"):
            raise InputError(f"{option}: expected a NIfTI file or a DICOM series")
        kinds.add(kind)
        if contrast not in wanted:
            continue
        own = dicom.series_at(path) if kind == "dicom" else [path]
        files += own
        names += [contrast] * len(own)
    if len(kinds) > 1:
        raise InputError("--flair, --t1, --t1c, --t2: expected all of NIfTI or all of DICOM")
    if "FLAIR" not in contrasts:
        raise InputError(f"--flair: expected one beside {' and '.join(contrasts)}")
    path = Path(contrasts["FLAIR"])
    name = path.resolve().name if path.is_dir() else stem_of(path)
    if kinds == {"nifti"}:
        said = read_name(path, ".")
        name = (said.case if said.contrast else name) or path.resolve().parent.name or name
    left = [contrast for contrast in contrasts if contrast not in wanted]
    notes = (f"left out: {', '.join(left)}",) if left else ()
    return CaseRef(name or "case", kinds.pop(), tuple(files), tuple(names), notes=notes)


def _unique(sources: list[CaseRef]) -> list[CaseRef]:
    """Numbers names that would fall together, also where a file system ignores case."""
    taken: set[str] = set()
    named = []
    for source in sources:
        name, number = source.case_id, 1
        while name.lower() in taken:
            number += 1
            name = f"{source.case_id}-{number}"
        taken.add(name.lower())
        named.append(replace(source, case_id=name, patient_id=name))
    return named


def read_case(source: CaseRef, descriptions: bool = False) -> Case:
    """Reads one case.

    Args:
        source: One of what `find_cases` found.
        descriptions: Whether notes may hold descriptions of DICOM series, which are typed by hand.

    Returns:
        The `Case`.

    Raises:
        InputError: A file is damaged, hostile or of an unknown kind, or nothing tells which
            contrast is which; one line says which and why.

    Example:

    >>> from agd_keras.data.phantom import ensure_phantom
    >>> source = find_cases([ensure_phantom(patients=2, slices=2, size=32)])[0]
    >>> read_case(source).images.shape
    (2, 32, 32, 3)
    """
    if source.problem:
        raise InputError(source.problem)
    name, files = source.case_id, source.files
    wanted = (source.channels, source.missing)
    if source.kind == "dicom":
        told = (source.contrasts, descriptions)
        case = dicom.read_dicom(name, files, *told, *wanted, source.plane)
    elif source.kind == "nifti":
        case = nifti.read_nifti(name, files, source.contrasts, *wanted, source.plane)
    else:
        if len(files) == 1 and not source.contrasts:
            _check_grey(files[0])
        case = pictures.read_pictures(name, files, *wanted)
    return replace(case, notes=(*source.notes, *case.notes))


def _check_grey(path: Path) -> None:
    """Refuses a picture of one contrast whose name says that it is no FLAIR, and a mask."""
    images = pictures.read_pictures(path.stem, [path]).images
    if not all(np.array_equal(images[..., 0], images[..., place]) for place in (1, 2)):
        return
    said = read_name(path, ".").contrast
    if said not in (None, "FLAIR"):
        raise InputError(
            f"{path}: expected a FLAIR or all three contrasts as colours, found {said}"
        )
    if len(np.unique(images)) == 2:
        raise InputError(f"{path}: expected a scan, found two values only, as in a mask")
