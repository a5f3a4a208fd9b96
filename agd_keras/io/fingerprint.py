"""What a data set contains, as digests: size and time of a file may stay as its content changes."""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agd_keras.errors import InputError
from agd_keras.files import naming
from agd_keras.io.case_ref import CaseRef

_DIGITS = 64  # of a SHA-256


def digest_cases(cases: Iterable[CaseRef]) -> dict[str, str]:
    """Digests the content of every file.

    Args:
        cases: What `find_data_set` found, in any order.

    Returns:
        By name of the case, or of the slice where the source numbers them, and in order: the
        SHA-256 of each of its files one behind the other, images first.

    Raises:
        InputError: A file cannot be read.
    """

    parts = _parts(cases)
    with ThreadPoolExecutor() as threads:
        return dict(zip(parts, threads.map(_digest, parts.values()), strict=True))


def _digest(files: tuple[Path, ...]) -> str:
    try:
        return "".join([_digest_file(path) for path in files])
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _digest_file(path: Path) -> str:
    """Digests a file of any size piece by piece, without holding it in memory."""
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_of(digests: Mapping[str, str]) -> str:
    """Digests what `digest_cases` returned.

    Args:
        digests: By name, in its order.

    Returns:
        16 hexadecimal digits.
    """
    total = hashlib.sha256()
    for name, digest in digests.items():
        total.update(name.encode("utf-8", "surrogateescape") + bytes.fromhex(digest))
    return total.hexdigest()[:16]


def data_fingerprint(cases: Iterable[CaseRef]) -> str:
    """Digests the contents of a data set: the same for every copy of it, in any folder.

    Args:
        cases: What `find_data_set` found, in any order.

    Returns:
        16 hexadecimal digits.

    Raises:
        InputError: A file cannot be read.
    """
    return fingerprint_of(digest_cases(cases))


def changed_files(
    before: Mapping[str, str], cases: Iterable[CaseRef], now: Mapping[str, str]
) -> list[str]:
    """Names what changed in a data set.

    Args:
        before: What `digest_cases` returned then.
        cases: The cases as they are.
        now: What `digest_cases` returns of them.

    Returns:
        The path of each file with other content, of each new one, and the name of each case or
        slice that is gone.

    Example:

    >>> case = CaseRef("a", "nifti", (Path("a.nii"),), label=(Path("a_seg.nii"),))
    >>> changed_files({"a": "0" * 128}, [case], {"a": "0" * 127 + "1"})
    ['a_seg.nii']
    """
    changed = []
    for name, files in _parts(cases).items():
        if name not in before:
            changed.append(f"{files[0]} (new)")
            continue
        for place, path in enumerate(files):
            piece = slice(place * _DIGITS, (place + 1) * _DIGITS)
            if before[name][piece] != now[name][piece]:
                changed.append(str(path))
    return changed + [f"{name} (gone)" for name in before if name not in now]


def _parts(cases: Iterable[CaseRef]) -> dict[str, tuple[Path, ...]]:
    """Names and files that belong together: slice by slice where the source numbers them."""
    parts: dict[str, tuple[Path, ...]] = {}
    for case in sorted(cases):
        if not case.numbers:
            parts[case.case_id] = (*case.files, *case.label)
            continue
        stacks = [case.files, case.label] if case.label else [case.files]
        names = [f"{case.case_id}_{number}" for number in case.numbers]
        parts |= dict(zip(names, zip(*stacks, strict=True), strict=True))
    return parts
