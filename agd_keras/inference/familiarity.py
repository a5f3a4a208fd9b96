"""Whether a scan is like those a model was trained on: their ranges, kept with the model."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from agd_keras.data.cache import Cache
from agd_keras.data.profile import QUANTILES, ScanProfile, describe_scan
from agd_keras.data.recipes import get_recipe
from agd_keras.errors import InputError
from agd_keras.files import write_text
from agd_keras.inference.exported import find_version
from agd_keras.io.case import REFERENCE, Case
from agd_keras.io.contrasts import CONTRASTS
from agd_keras.run_layout import fold_models
from agd_keras.text import clean
from agd_keras.weights import find_model

MEMBER = "familiarity.json"
FEWEST = 5  # scans: of fewer nobody knows how much they differ
LIMIT = 2**20  # bytes that are read of a record
# What a record that somebody else wrote can end in.
DAMAGED = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
GAPS = 6  # by so many mean distances between neighbouring scans their range is widened
BARE = 0.03  # a thinner rim is no skull
UNLIKE = "unlike the training data: "


@dataclass(frozen=True)
class _Measure:
    """On which scale a measure is compared, and by how much at least its range is widened."""

    scale: Callable[[float], float]
    least: float


_SHARE = _Measure(float, 0.03)
_RATIO = _Measure(math.log, math.log(1.25))
# A skull may be missing: its thickness is 0 then.
_DEPTH = _Measure(lambda depth: math.log(depth + 0.01), 0.1)
_DISTANCE = _Measure(lambda distance: math.log(distance + 0.001), math.log(2))
MEASURES = {
    **{"skull": _DEPTH, "extent": _SHARE, "slices": _RATIO, "slice_mm": _RATIO, "pixel_mm": _RATIO},
    **dict.fromkeys(CONTRASTS, _DISTANCE),
}
Range = tuple[float, float]


@dataclass(frozen=True)
class Familiarity:
    """What the scans looked like that a model was trained on.

    Args:
        scans: Their number.
        ranges: By measure of `ScanProfile`, or contrast, the least and greatest value; of a
            contrast that of the mean difference to `grey`. A measure that is known of fewer than
            five scans is left out.
        grey: By contrast, the median of the quantiles of all scans, see `ScanProfile`.
        filled: Contrasts that FLAIR stood in for in any of them.

    Example:

    >>> scans = [ScanProfile(slices) for slices in (20, 20, 22, 24, 26, 30)]
    >>> fit_familiarity(scans).differences(ScanProfile(155, 1.0))
    ['155 slices of 1 mm (20 to 30)']
    """

    scans: int
    ranges: dict[str, Range]
    grey: dict[str, list[float]]
    filled: tuple[str, ...]

    def differences(self, scan: ScanProfile) -> list[str]:
        """Tells in which ways a scan is unlike all of them.

        A range is widened on both sides by six times the mean distance between neighbouring scans,
        on a logarithmic scale but for shares: the fewer there are, the less is told.

        Args:
            scan: What `describe_scan` returned.

        Returns:
            In a few words each; none of a scan like those, or if there are fewer than five.
        """
        if self.scans < FEWEST:
            return []
        found = [
            self._words(name, value, scan)
            for name, value in _measure(scan, self.grey).items()
            if not self._contains(name, value)
        ]
        if self.grey and not scan.grey:
            found.append("no brain found")
        missing = [name for name in scan.filled if name not in self.filled]
        return [*found, *[f"no {name}" for name in missing]]

    def describe(self) -> list[str]:
        """Tells what all of them looked like, in a line for each measure that is no grey value."""
        words = {
            "skull": "{0:.1%} to {1:.1%} of the head's size from its outline to the brain",
            "extent": "head in {0:.0%} to {1:.0%} of the field of view",
            "slices": "{0} to {1} slices",
            "slice_mm": "{0:.3g} to {1:.3g} mm between slices",
            "pixel_mm": "pixels of {0:.3g} to {1:.3g} mm",
        }
        told = [
            line.format(*self.ranges[name]) for name, line in words.items() if name in self.ranges
        ]
        missing = f"{' and '.join(self.filled)} missing in some" if self.filled else "all contrasts"
        return [*told, missing]

    def judge(self, case: Case) -> list[str]:
        """Tells in which ways a case is unlike all that the model was trained on, see above."""
        return self.differences(describe_scan(case.images, case.spacing, case.channels))

    def _contains(self, name: str, value: float) -> bool:
        if name not in self.ranges:
            return True
        measure = MEASURES[name]
        low, high = map(measure.scale, self.ranges[name])
        margin = max(measure.least, GAPS * (high - low) / self.scans)
        return low - margin <= measure.scale(value) <= high + margin

    def _words(self, name: str, value: float, scan: ScanProfile) -> str:
        low, high = self.ranges[name]
        if name in CONTRASTS:
            return f"other grey values in {name}"
        if name == "skull":
            if value > high:
                return "a skull" if high < BARE else "much around the brain"
            return "no skull" if value < BARE else "little around the brain"
        style = {"extent": ".0%", "slices": ".0f"}.get(name, ".3g")
        known = " to ".join(dict.fromkeys(format(end, style) for end in (low, high)))
        shown = format(value, style)
        thick = f" of {scan.slice_mm:.3g} mm" if scan.slice_mm else ""
        size = "small" if value < low else "large"
        return {
            "extent": f"{size} head in the field of view ({shown}, {known})",
            "slices": f"{shown} slice{'s' * (value != 1)}{thick} ({known})",
            "slice_mm": f"{shown} mm slices ({known})",
            "pixel_mm": f"{shown} mm pixels ({known})",
        }[name]


def fit_familiarity(scans: Iterable[ScanProfile]) -> Familiarity:
    """Takes the ranges of what scans look like.

    Args:
        scans: What `describe_scan` returned of each that a model is trained on.

    Returns:
        The `Familiarity`.
    """
    scans = list(scans)
    grey = {}
    for name in CONTRASTS:
        known = [scan.grey[name] for scan in scans if name in scan.grey]
        if len(known) >= FEWEST:
            grey[name] = np.median(known, axis=0).round(4).tolist()
    measured = [_measure(scan, grey) for scan in scans]
    ranges = {}
    for name in MEASURES:
        values = [one[name] for one in measured if name in one]
        if len(values) >= FEWEST:
            ranges[name] = (min(values), max(values))
    filled = tuple(name for name in CONTRASTS if any(name in scan.filled for scan in scans))
    return Familiarity(len(scans), ranges, grey, filled)


def familiar_with(cache: Cache, cases: Iterable[str], augment: str) -> Familiarity:
    """Takes the ranges of what a model sees in training.

    Args:
        cache: The prepared data.
        cases: Those that it is trained on.
        augment: Name of the augmentation recipe. One that takes skulls away makes heads without
            them familiar, one that replaces contrasts makes missing ones so.

    Returns:
        The `Familiarity`.
    """
    recipe = get_recipe(augment)
    chosen = [cache.cases[case] for case in sorted(cases)]
    kinds = ("scan", "stripped") if recipe.stripped else ("scan",)
    entries = [case[kind] for kind in kinds for case in chosen]
    scans = [ScanProfile(**entry | {"filled": tuple(entry["filled"])}) for entry in entries]
    found = replace(fit_familiarity(scans), scans=len(chosen))
    others = tuple(name for name in cache.preprocessor.channels if name != REFERENCE)
    return replace(found, filled=others) if recipe.replacement else found


def _measure(scan: ScanProfile, grey: dict[str, list[float]]) -> dict[str, float]:
    """All that is known of a scan, in the order of `MEASURES`."""
    known = asdict(scan)
    for name in CONTRASTS:
        both = name in scan.grey and name in grey
        distance = np.abs(np.subtract(scan.grey[name], grey[name])).mean() if both else None
        known[name] = None if distance is None else round(float(distance), 4)
    return {name: known[name] for name in MEASURES if known[name] is not None}


def write_familiarity(model: str | Path, familiarity: Familiarity) -> Path:
    """Stores what a model knows in a file beside it.

    Args:
        model: A `.keras` file or an exported one, or the version folder of a SavedModel.
        familiarity: What `fit_familiarity` returned.

    Returns:
        The file.
    """
    text = json.dumps(asdict(familiarity), allow_nan=False)
    return write_text(_beside(Path(model)), text.replace('], "', '],\n "') + "\n")


def read_familiarity(model: str | Path) -> Familiarity | None:
    """Reads what is stored beside a model.

    Args:
        model: A preset with weights, a `.keras` file, a run folder, or what `agd-export` wrote.

    Returns:
        The `Familiarity`, of a run folder that of all folds together; None if there is none, or
        none of a fold.

    Raises:
        InputError: The file is damaged.

    Example:

    >>> read_familiarity("agd_small").scans
    70
    """
    model = find_model(model)
    folds = fold_models(model)
    parts = [_read(_beside(path)) for path in folds or [model]]
    known = [part for part in parts if part]
    return _join(known) if len(known) == len(parts) else None


def _beside(model: Path) -> Path:
    return (find_version(model) or model.parent) / MEMBER


def _read(path: Path) -> Familiarity | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return _checked(**json.loads(file.read(LIMIT)))
    except (*DAMAGED, OSError) as error:
        raise InputError(f"{path}: damaged ({clean(error) or type(error).__name__})") from None


def _checked(scans: Any, ranges: Any, grey: Any, filled: Any) -> Familiarity:
    """What a file holds, if it is what `write_familiarity` writes."""
    if not isinstance(scans, int) or not set(filled) <= set(CONTRASTS):
        raise ValueError("expected a number of scans, and names of contrasts")
    if not set(ranges) <= set(MEASURES) or not set(grey) <= set(CONTRASTS):
        raise ValueError("unknown measure")
    for values, count in [(one, 2) for one in ranges.values()] + [
        (one, len(QUANTILES)) for one in grey.values()
    ]:
        numbers = all(isinstance(value, int | float) for value in values)
        if len(values) != count or not numbers or not np.isfinite(np.array(values, float)).all():
            raise ValueError(f"expected {count} numbers")
    for name, (low, high) in ranges.items():
        MEASURES[name].scale(low)  # has a logarithm
        if low > high:
            raise ValueError(f"the range of {name} ends before it begins")
    return Familiarity(
        scans, {name: (low, high) for name, (low, high) in ranges.items()}, grey, tuple(filled)
    )


def _join(parts: Sequence[Familiarity]) -> Familiarity:
    """That of the mean of several networks: what any of them has seen is known."""
    shared = [name for name in MEASURES if all(name in part.ranges for part in parts)]
    ranges = {}
    for name in shared:
        lows, highs = zip(*(part.ranges[name] for part in parts), strict=True)
        ranges[name] = (min(lows), max(highs))
    grey = {
        name: np.mean([part.grey[name] for part in parts], axis=0).tolist()
        for name in CONTRASTS
        if all(name in part.grey for part in parts)
    }
    filled = tuple(name for name in CONTRASTS if any(name in part.filled for part in parts))
    return Familiarity(max(part.scans for part in parts), ranges, grey, filled)
