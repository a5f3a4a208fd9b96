"""Which series of a study is FLAIR, T1 and T1 with contrast agent."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from agd_keras.errors import InputError
from agd_keras.io.case import AUTO, AXIAL, CHANNELS, REFERENCE, one_line
from agd_keras.io.contrasts import OTHER, enhancement, words_of
from agd_keras.io.dicom_candidate import Candidate, read_candidates

HOW = "--flair, --t1 and --t1c with the folder or a file of a series say which is which"

_SHOWN = 20  # series left out
_COVERS = 0.9  # of the largest: as good


def _numbers(found: Sequence[Candidate]) -> list[str]:
    """A word for each series: its number where that tells them apart, else the end of its UID."""
    numbers = [one.text("SeriesNumber") for one in found]
    unique = len(set(numbers)) == len(numbers) and all(map(str.isdecimal, numbers))
    return numbers if unique else [f"…{one.text('SeriesInstanceUID')[-6:]}" for one in found]


def _list(found: Sequence[Candidate], numbers: dict[int, str]) -> str:
    shown = [
        f"series {numbers[id(one)]} {one.description or 'without description'!r} "
        f"({one.files[0].parent.name}/{one.files[0].name})"
        for one in found[:6]
    ]
    return ", ".join(shown + ([f"{len(found) - 6} more"] if len(found) > 6 else []))


def _best(
    contrast: str, found: list[Candidate], flair: Candidate | None, plane: str
) -> list[Candidate]:
    """Those of the series of one contrast that are as good as the best of them."""

    def rank(one: Candidate) -> tuple[bool, ...]:
        late = contrast == "FLAIR" and bool(one.agent or enhancement(words_of(one.raw)))
        return one.plane == plane, one.original, not late

    best = [one for one in found if rank(one) == max(map(rank, found))]
    best = [one for one in best if one.extent >= _COVERS * max(other.extent for other in best)]
    if flair:
        same = [one for one in best if one.grid == flair.grid]
        if same:
            return same
        nearest = min(abs(one.slices - flair.slices) for one in best)
        return [one for one in best if abs(one.slices - flair.slices) == nearest]
    return [one for one in best if one.slices == max(other.slices for other in best)]


def choose_series(
    path: Path,
    files: Sequence[Path],
    descriptions: bool = False,
    channels: Sequence[str] = CHANNELS,
    plane: str = AXIAL,
) -> tuple[dict[str, list[Path]], list[str]]:
    """Chooses the series of each contrast.

    Axial ones, or those of another plane that is wanted, are preferred to others, original to
    derived, those that cover more of the head to those that cover less, a FLAIR before contrast
    agent to one after it.

    Args:
        path: The file or folder, for the error.
        files: DICOM files in any order.
        descriptions: Whether notes may hold SeriesDescriptions, which are typed by hand.
        channels: The contrasts wanted.
        plane: In which the slices are to lie; of `auto`, axial ones are preferred as well.

    Returns:
        Files by contrast, and notes on what was taken for what.

    Raises:
        InputError: A file is damaged; there is no image, no FLAIR, or nothing tells which of
            several it is; series are of several patients or studies.
    """
    found = read_candidates(path, files)
    with one_line(path, "DICOM headers"):
        numbers = {id(one): number for one, number in zip(found, _numbers(found), strict=True)}
        by_contrast: dict[str | None, list[Candidate]] = defaultdict(list)
        for one in found:
            by_contrast[one.contrast].append(one)
        silent = len(found) == 1 and None in by_contrast
        if silent:
            by_contrast["FLAIR"] = found
        if "FLAIR" not in by_contrast:
            kinds = " and ".join(str(key) for key in by_contrast if key not in (None, OTHER))
            raise InputError(
                f"{path}: expected a FLAIR, found only {kinds or 'other contrasts'}: "
                f"{_list(found, numbers)}; {HOW}"
            )
        chosen: dict[str, Candidate] = {}
        preferred = AXIAL if plane == AUTO else plane
        for contrast in sorted(channels, key=lambda name: (name != REFERENCE, name)):
            if by_contrast[contrast]:
                best = _best(contrast, by_contrast[contrast], chosen.get("FLAIR"), preferred)
                if len(best) > 1:
                    raise InputError(
                        f"{path}: {len(best)} series for {contrast}: {_list(best, numbers)}; {HOW}"
                    )
                chosen[contrast] = best[0]
        studies = set().union(*(one.study for one in chosen.values()))
    if len(studies) > 1:
        raise InputError(
            f"{path}: files of {len(studies)} patients or studies, expected one in a folder"
        )

    def say(one: Candidate) -> str:
        return f"{numbers[id(one)]} ({one.description})" if descriptions else numbers[id(one)]

    taken = [f"{key}: series {say(chosen[key])}" for key in channels if key in chosen]
    notes = [", ".join(taken) + (", taken as FLAIR, since nothing tells" if silent else "")]
    left = [one for one in found if one not in chosen.values()]
    if left:
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        notes.append(f"left out: series {', '.join(map(say, left[:_SHOWN]))}{more}")
    return {key: chosen[key].files for key in channels if key in chosen}, notes
