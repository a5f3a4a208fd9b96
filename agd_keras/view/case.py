"""What the page shows of one case: a scan and layers over it, all as axial slices."""

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from agd_keras.io.case import AXIAL, Case
from agd_keras.io.geometry import slice_spacing, turn

Spacing = tuple[float, float, float] | None
# Below which value a layer is transparent, by how it is drawn (`LOOKS` of the page).
BOTTOMS = {"truth": 0.5, "prediction": 0.5, "probability": 0.02, "uncertainty": 0.05, "edge": 0.05}
BOTTOMS["attention"] = 0.05
SCAN = "scan"


@dataclass(frozen=True)
class Shown:
    """A case with everything that there is to see of it.

    Args:
        scan: Real array of shape `(slices, height, width)`, lowest slice first, as in `Case`.
        spacing: Between slices, rows and columns in mm; None where nothing tells.
        layers: By name how it is drawn, a key of `BOTTOMS`, and an array of the scan's shape,
            values 0 to 1; in the order in which they lie over one another.
        facts: What else is known, by what it is.
        notes: What a user should know.
    """

    scan: np.ndarray
    spacing: Spacing
    layers: Mapping[str, tuple[str, np.ndarray]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A line in the list of cases.

    Args:
        name: What the case is called.
        load: Makes the `Shown`; raises `InputError`.
        figure: Dice or volume in ml, None if not known.
    """

    name: str
    load: Callable[[], Shown]
    figure: float | None = None


@dataclass(frozen=True)
class Listing:
    """The cases of a folder, in the order in which they are listed.

    Args:
        title: What they are of.
        entries: The cases.
        figure: What `Entry.figure` is: `Dice`, `ml` or nothing.
        card: The model card, Markdown, if there is one.
    """

    title: str
    entries: list[Entry]
    figure: str = ""
    card: str = ""


def inside(path: Path, roots: Sequence[Path]) -> bool:
    """Tells whether a path, links followed, lies below one of some folders, or is one of them.

    Example:

    >>> inside(Path("a/../../b"), [Path("a")])
    False
    """
    found = path.resolve()
    return any(found.is_relative_to(root.resolve()) for root in roots)


def shown_axial(shown: Shown, case: Case) -> Shown:
    """Turns what is seen of a case whose slices lie in another plane: the page shows axial ones.

    Args:
        shown: Made of the case, its slices and layers as the case has them.
        case: What was read.

    Example:

    >>> case = Case(np.zeros((20, 30, 40, 3)), (5, 1, 2), (), print, (), np.eye(4), plane="coronal")
    >>> shown_axial(Shown(case.flair, case.spacing), case).scan.shape
    (30, 20, 40)
    """
    if case.plane == AXIAL or case.affine is None:
        return shown
    layers = {
        name: (look, turn(values, case.plane)) for name, (look, values) in shown.layers.items()
    }
    scan = turn(shown.scan, case.plane)
    return replace(shown, scan=scan, spacing=slice_spacing(case.affine), layers=layers)


def volume_bytes(values: np.ndarray, spacing: Spacing) -> bytes:
    """Makes a NIfTI file of axial slices, the axes running to the left, to the back and up.

    An oblique scan is shown along its own axes, as the network saw it.

    Args:
        values: Array of shape `(slices, height, width)`.
        spacing: Between slices, rows and columns in mm; without, a head of usual proportions.

    Returns:
        The file, uint8 for booleans, else float32.

    Example:

    >>> len(volume_bytes(np.zeros((2, 3, 4), bool), (5.0, 1.0, 1.0)))
    376
    """
    from nibabel import Nifti1Image

    kind = np.uint8 if values.dtype == bool else np.float32
    volume = np.asarray(values, kind).transpose(2, 1, 0)
    image = Nifti1Image(volume, np.diag([*_steps(values.shape, spacing), 1.0]))
    # The page takes the window from the header, and does not look for it.
    image.header["cal_min"], image.header["cal_max"] = _window(values)
    return image.to_bytes()


def _window(values: np.ndarray) -> tuple[float, float]:
    """Black and white: layers go from 0 to 1, scans from the darkest to nearly the brightest."""
    values = np.asarray(values, np.float32)  # NumPy has no percentiles of booleans
    low, high = float(values.min()), float(np.percentile(values, 99.5))
    return (0.0, 1.0) if 0 <= low <= high <= 1 else (low, max(high, low + 1e-6))


def _steps(shape: tuple[int, ...], spacing: Spacing) -> tuple[float, float, float]:
    """Steps in mm to the right, to the front and up, as columns, rows and slices are counted."""
    slices, rows, columns = spacing or (max(1.0, 0.65 * shape[2] / shape[0]), 1.0, 1.0)
    return -columns, -rows, slices if np.isfinite(slices) else 1.0


def _place(shown: Shown) -> list[float]:
    """The middle of the slice with most of the truth, else of the prediction, in mm."""
    middle = [size // 2 for size in shown.scan.shape]
    for name in ("truth", "prediction"):
        if name in shown.layers and (mask := shown.layers[name][1]).any():
            number = int(mask.sum(axis=(1, 2)).argmax())
            middle = [number, *(int(where.mean()) for where in np.nonzero(mask[number]))]
            break
    steps = _steps(shown.scan.shape, shown.spacing)
    return [count * step for count, step in zip(reversed(middle), steps, strict=True)]


def describe(shown: Shown, name: str, number: int) -> dict[str, Any]:
    """Makes what the page asks of a case, with addresses relative to the page.

    Args:
        shown: The case.
        name: Its name.
        number: Its place in the list.

    Returns:
        A dict for JSON.
    """
    looks = {SCAN: (SCAN, shown.scan), **shown.layers}
    layers = [
        {
            "name": layer,
            "look": look,
            "url": f"cases/{number}/{place}.nii",
            "bottom": BOTTOMS.get(look, 0),
            "shown": look in ("truth", "prediction"),
        }
        for place, (layer, (look, _)) in enumerate(looks.items())
    ]
    facts = [[key, value] for key, value in shown.facts.items()]
    notes = list(shown.notes)
    return {"name": name, "layers": layers, "facts": facts, "notes": notes, "place": _place(shown)}


def layer_bytes(shown: Shown, place: int) -> bytes:
    """Makes the file of one layer, by its place in what `describe` returned: 0 is the scan."""
    arrays = [shown.scan, *(values for _, values in shown.layers.values())]
    return volume_bytes(arrays[place], shown.spacing)


def pack(content: bytes) -> bytes:
    """Packs quickly: a mask becomes a hundredth of its size."""
    return gzip.compress(content, compresslevel=1)
