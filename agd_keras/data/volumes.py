"""Finds the cases that files and folders hold, and reads them, whatever their format."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from agd_keras.data import dicom, nifti, pictures
from agd_keras.data.case import Case, check_file
from agd_keras.data.formats import SUFFIXES as PICTURES
from agd_keras.errors import InputError

_READERS = {
    "picture": pictures.read_pictures,
    "nifti": nifti.read_nifti,
    "dicom": dicom.read_dicom,
}

# In a folder these are no input: truth, earlier predictions, the pictures made of them.
_NO_INPUT = re.compile(
    r"(.*[-_])?(mask|seg|label|overlay|uncertainty)|labels(Tr|Ts)?", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True)
class Source:
    """Where one case lies, nothing decoded.

    Args:
        name: Path of the case below the input that it was found in, without suffix, or the name of
            that input; unique among those that `find_cases` returns.
        kind: `picture`, `nifti` or `dicom`.
        files: Its files, lowest slice first where the names tell.

    Example:

    >>> Source("head", "nifti", (Path("head.nii.gz"),)).name
    'head'
    """

    name: str
    kind: str
    files: tuple[Path, ...]


def _kind(path: Path) -> str | None:
    """Which reader takes a file, by its name, or by its content for DICOM."""
    name = path.name.lower()
    if name.endswith(PICTURES):
        return "picture"
    if name.endswith(nifti.SUFFIXES):
        return "nifti"
    return "dicom" if name.endswith(".dcm") or dicom.is_dicom(path) else None


def _stem(path: Path) -> str:
    return nifti.split_name(path)[0] if _kind(path) == "nifti" else path.stem


def _group(files: Iterable[tuple[str, Path]], kind: str) -> list[Source]:
    """Cases of files that stand for themselves, but for the contrasts of one NIfTI case."""
    cases: dict[tuple[str, str, str], list[Path]] = defaultdict(list)
    for number, (folder, path) in enumerate(files):
        own = "" if kind == "nifti" and nifti.split_name(path)[1] else str(number)
        cases[str(PurePosixPath(folder) / _stem(path)), str(path.parent), own].append(path)
    return [Source(name, kind, tuple(paths)) for (name, *_), paths in cases.items()]


def _scan(folder: Path, name: str, below: str) -> list[Source]:
    """Cases of a folder: `name` if it is one itself, else below the path `below`."""
    try:
        entries = sorted(
            path
            for path in folder.iterdir()
            if not path.name.startswith((".", "_")) and not _NO_INPUT.fullmatch(_plain(path))
        )
        folders = [path for path in entries if path.is_dir() and not path.is_symlink()]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from None
    files: dict[str, list[Path]] = defaultdict(list)
    for path in entries:
        kind = _kind(path) if path.is_file() else None
        if kind:
            files[kind].append(path)
    number = re.compile(re.escape(folder.resolve().name) + r"_(\d+)")
    numbered = {path: match for path in files["picture"] if (match := number.fullmatch(path.stem))}
    slices = sorted(numbered, key=lambda path: (int(numbered[path][1]), path.name))
    found = [Source(name, "picture", tuple(slices))] if slices else []
    if files["dicom"]:
        found.append(Source(name, "dicom", tuple(files["dicom"])))
    for kind in ("picture", "nifti"):
        found += _group(((below, path) for path in files[kind] if path not in numbered), kind)
    for path in folders:
        inner = str(PurePosixPath(below) / path.name)
        found += _scan(path, inner, inner)
    return _join_studies(folder, name, found)


def _plain(path: Path) -> str:
    return re.sub(r"\.nii$", "", path.stem, flags=re.IGNORECASE)


def _join_studies(folder: Path, name: str, found: list[Source]) -> list[Source]:
    """Makes one case of the series of a study that lie in folders of their own in this one."""
    studies: dict[str, list[Source]] = defaultdict(list)
    for source in found:
        if source.kind == "dicom" and source.files[0].parent.parent == folder:
            study = dicom.study_of(source.files[0])
            if study:
                studies[study].append(source)
    for series in studies.values():
        if len(series) > 1:
            files = tuple(path for source in series for path in source.files)
            found = [source for source in found if source not in series]
            found.append(Source(name, "dicom", files))
    return found


def find_cases(inputs: Sequence[str | Path]) -> list[Source]:
    """Finds the cases that files and folders hold, by name; of DICOM, by a look at the header.

    A picture is a case. So is a NIfTI file, unless its name ends in a contrast such as `_flair`, or
    is one: then all contrasts of that name in the folder are one. The DICOM files of a folder are
    one, also if each series of a study has a folder of its own in it, and so are the pictures
    `<folder>_<number>`, as in a patient of `kaggle_3m`. Links to folders, hidden files, masks and
    what is no image are passed over.

    Args:
        inputs: Files and folders, which are searched to any depth.

    Returns:
        The cases, each with a name of its own that is a relative path.

    Raises:
        InputError: An input is missing, cannot be read, or holds no case.

    Example:

    >>> from agd_keras.data.phantom import ensure_phantom
    >>> [case.name for case in find_cases([ensure_phantom(patients=2, slices=2, size=32)])]
    ['phantom_001', 'phantom_002']
    """
    found: list[Source] = []
    given: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for path in dict.fromkeys(map(Path, inputs)):
        if path.is_dir():
            try:
                cases = _scan(path, path.resolve().name or "case", "")
            except RecursionError:
                raise InputError(f"{path}: folders nested too deep") from None
            if not cases:
                raise InputError(f"{path}: expected TIFF, PNG, NIfTI or DICOM, found none in it")
            found += cases
            continue
        check_file(path)
        kind = _kind(path)
        if kind is None:
            raise InputError(f"{path}: expected a TIFF, PNG, NIfTI or DICOM file")
        given[kind].append(("", path))
    for kind, paths in given.items():
        found += _group(paths, kind)
    return _unique(found)


def _unique(sources: list[Source]) -> list[Source]:
    """Numbers names that would fall together, also where a file system ignores case."""
    taken: set[str] = set()
    named = []
    for source in sources:
        name, number = source.name, 1
        while name.lower() in taken:
            number += 1
            name = f"{source.name}-{number}"
        taken.add(name.lower())
        named.append(replace(source, name=name))
    return named


def read_case(source: Source) -> Case:
    """Reads one case.

    Args:
        source: One of what `find_cases` found.

    Returns:
        The `Case`.

    Raises:
        InputError: A file is damaged, hostile or of an unknown kind; one line says which and why.

    Example:

    >>> from agd_keras.data.phantom import ensure_phantom
    >>> source = find_cases([ensure_phantom(patients=2, slices=2, size=32)])[0]
    >>> read_case(source).images.shape
    (2, 32, 32, 3)
    """
    return _READERS[source.kind](source.name, source.files)
