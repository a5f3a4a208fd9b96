"""The unit of training: one axial slice of a case that lies in the cache."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, order=True)
class Slice:
    """One axial slice of one scan of one person.

    Args:
        patient: The person, the unit of splitting.
        case: The scan.
        number: What the source calls the slice; without a number of its own, 1 is the lowest.
        place: Slice index in the stack of its case, 0 is the lowest.

    Example:

    >>> Slice("TCGA_CS_4941", "TCGA_CS_4941", 7, 6).name
    'TCGA_CS_4941_7'
    """

    patient: str
    case: str
    number: int
    place: int = field(compare=False)

    @property
    def name(self) -> str:
        """The key of the slice, unique in its data set."""
        return f"{self.case}_{self.number}"


def by_case(slices: Iterable[Slice]) -> dict[str, list[Slice]]:
    """Groups slices by case, in the order of patient, case and number.

    Example:

    >>> slices = [Slice("a", "a", 2, 1), Slice("a", "a", 1, 0)]
    >>> [one.number for one in by_case(slices)["a"]]
    [1, 2]
    """
    grouped: dict[str, list[Slice]] = {}
    for one in sorted(slices):
        grouped.setdefault(one.case, []).append(one)
    return grouped


def places(slices: Iterable[Slice]) -> dict[str, list[int]]:
    """Says which slice indices of each case's stack they are, as `evaluate` takes them.

    Example:

    >>> places([Slice("a", "a", 9, 4), Slice("a", "a", 3, 1)])
    {'a': [1, 4]}
    """
    return {case: [one.place for one in own] for case, own in by_case(slices).items()}
