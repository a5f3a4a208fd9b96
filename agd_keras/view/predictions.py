"""A folder of `agd-predict`, with the scans it was made of, and their truth where there is one."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agd_keras.errors import InputError
from agd_keras.evaluation import scores
from agd_keras.io import nifti
from agd_keras.io.arrays import open_arrays
from agd_keras.io.case import AXIAL, Case, one_line
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.discovery import find_cases, read_case
from agd_keras.io.geometry import to_slices, turn
from agd_keras.view.case import Entry, Listing, Shown, Spacing, inside

TABLE = "predictions.csv"
# Names of a truth beside its scan: those of BraTS, BIDS, kaggle_3m, and what people write.
_TRUTH = ("_seg", "-seg", "_mask", "-mask", "_label", "_truth", "_gt", "_dseg")
_MAX_ROWS = 100_000


def list_predictions(folder: Path, scans: Sequence[Path] = ()) -> Listing:
    """Lists the rows of `predictions.csv`.

    Args:
        folder: What `agd-predict --out` named.
        scans: The scans it was given; without them the masks are shown alone.

    Returns:
        The cases, by Dice, worst first, if any has a truth beside its scan; else by volume,
        largest first.

    Raises:
        InputError: The table cannot be read, or a scan is none.
    """
    sources = {one.case_id: one for one in find_cases(scans)} if scans else {}
    roots = [folder, *scans]
    entries, known = [], False
    for row in _rows(folder / TABLE):
        if not row.get("masks"):
            continue  # could not be predicted
        case = _Predicted(row, folder, sources.get(row["case"]), roots)
        dice = case.dice()
        known |= dice is not None
        entries.append((case, dice))
    if not entries:
        raise InputError(f"{folder / TABLE}: expected at least one case with a mask")
    if known:
        entries.sort(key=lambda one: (one[1] is None, one[1] or 0, one[0].name))
        listed = [Entry(case.name, case.load, dice) for case, dice in entries]
    else:
        entries.sort(key=lambda one: (-(one[0].volume or 0), one[0].name))
        listed = [Entry(case.name, case.load, case.volume) for case, _ in entries]
    return Listing(f"{folder.resolve().name}: predictions", listed, "Dice" if known else "ml")


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for _, row in zip(range(_MAX_ROWS), csv.DictReader(file), strict=False)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: expected the table of agd-predict ({error})") from None
    if rows and not {"case", "masks"} <= rows[0].keys():
        raise InputError(f"{path}: expected the table of agd-predict, with `case` and `masks`")
    return rows


class _Predicted:
    """One row: where its mask, maps, scan and truth are, nothing read yet."""

    def __init__(
        self, row: dict[str, str], folder: Path, source: CaseRef | None, roots: Sequence[Path]
    ):
        self.name, self.row, self.folder, self.source, self.roots = (
            *(row["case"], row, folder),
            *(source, roots),
        )
        volume = row.get("volume_mm3") or ""
        self.volume = float(volume) / 1000 if re.fullmatch(r"[\d.]+(e[+-]?\d+)?", volume) else None

    def dice(self) -> float | None:
        """Dice with the truth beside the scan, None where there is none."""
        truth = self._truth_files()
        if not truth:
            return None
        mask = self._read_masks(self._mask_files())
        return scores.dice(scores.count(self._read_masks(truth), mask))

    def load(self) -> Shown:
        """Reads everything that there is of the case."""
        mask = self._read_masks(self._mask_files())
        layers: dict[str, tuple[str, np.ndarray]] = {}
        notes: tuple[str, ...] = ()
        case: Case | None = None
        if self.source is not None:
            case = read_case(self.source)
            scan, notes = case.flair, case.notes
            if truth := self._truth_files():
                layers["truth"] = ("truth", self._read_masks(truth))
        else:
            scan = np.zeros(mask.shape, np.float32)
            notes = ("Name the folder of the scans too, to see them under the masks.",)
        layers["prediction"] = ("prediction", mask)
        layers |= self._maps()
        for name, (_, values) in layers.items():
            if values.shape != scan.shape:
                raise InputError(f"{self.name}: {name} is of another size than its scan")
        facts = {}
        if "truth" in layers:
            dice = scores.dice(scores.count(layers["truth"][1], mask))
            facts["Dice"] = f"{dice:.3f}"
        if self.volume is not None:
            facts["Volume"] = f"{self.volume:.2f} ml"
        facts["Slices with tumour"] = f"{int(mask.any(axis=(1, 2)).sum())} of {len(mask)}"
        return Shown(scan, case.spacing if case else self._spacing(), layers, facts, notes)

    def _allowed(self, path: Path) -> Path:
        if not inside(path, self.roots):
            raise InputError(f"{path}: leads out of the folders that were given")
        return path

    def _mask_files(self) -> list[Path]:
        masks = self._allowed(self.folder / self.row["masks"])
        if masks.is_dir():
            numbered = [(_number(path), path) for path in masks.glob("*_mask.*")]
            return [self._allowed(path) for _, path in sorted(numbered)]
        return [masks]

    def _truth_files(self) -> list[Path]:
        """Files of the truth beside the scan, if there are any: one, or one for each picture."""
        if self.source is None:
            return []
        if self.source.kind == "picture":
            files = [path.with_name(f"{path.stem}_mask{path.suffix}") for path in self.source.files]
            return [self._allowed(path) for path in files] if all(map(Path.is_file, files)) else []
        if self.source.kind == "dicom":
            return []
        stem, first = Path(self.source.case_id).name, self.source.files[0]
        for ending in _TRUTH:
            for suffix in nifti.SUFFIXES:
                path = first.with_name(f"{stem}{ending}{suffix}")
                if path.is_file() and path not in self.source.files:
                    return [self._allowed(path)]
        return []

    def _read_masks(self, files: Sequence[Path]) -> np.ndarray:
        """Reads a mask as axial slices, `(slices, height, width)`, boolean."""
        if not files:
            raise InputError(f"{self.name}: its masks are gone")
        if files[0].suffix.lower() == ".dcm":
            with one_line(files[0], "DICOM segmentation"):
                return self._read_segmentation(files[0])
        return _read_as_scan(files).flair > 0

    def _read_segmentation(self, path: Path) -> np.ndarray:
        """Puts the frames of a DICOM segmentation, which leaves out empty ones, in their places."""
        from agd_keras.io.dicom_decode import read_header
        from agd_keras.io.dicom_series import read_series

        if self.source is None:
            raise InputError(f"{path}: name the folder of the DICOM series too")
        segmentation = read_header(path)
        wanted = segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID
        series = read_series(
            [
                file
                for file in self.source.files
                if read_header(file, stop_before_pixels=True).SeriesInstanceUID == wanted
            ]
        )
        volume = np.zeros(series.volume.shape, bool)
        frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
        inverse = np.linalg.inv(series.affine)
        for frame, group in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
            corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            place = inverse @ [-corner[0], -corner[1], corner[2], 1]
            volume[..., round(float(place[2]))] |= frame.T > 0
        return to_slices(volume, series.affine)

    def _maps(self) -> dict[str, tuple[str, np.ndarray]]:
        """Maps of uncertainty, where `--uncertainty` wrote them."""
        path = self._allowed(self.folder / f"{self.name}_uncertainty.npz")
        if not path.is_file():
            return {}
        with open_arrays(path) as arrays:
            plane = str(arrays["plane"]) if "plane" in arrays.files else AXIAL
            probability, entropy = (
                turn(arrays[name].astype("f4"), plane) for name in ("probability", "entropy")
            )
        return {
            "probability": ("probability", probability),
            "uncertainty": ("uncertainty", entropy / np.float32(np.log(2))),
        }

    def _spacing(self) -> Spacing:
        """Of the mask, where the scan is not at hand."""
        files = self._mask_files()
        return None if files[0].suffix.lower() == ".dcm" else _read_as_scan(files).spacing


def _read_as_scan(files: Sequence[Path]) -> Case:
    """Reads a mask with the checks that a scan is read with."""
    kind = "nifti" if files[0].name.lower().endswith(nifti.SUFFIXES) else "picture"
    return read_case(CaseRef(files[0].name, kind, tuple(files), ("FLAIR",)))


def _number(path: Path) -> tuple[int, str]:
    """By which the pictures of a patient are in order."""
    found = re.search(r"(\d+)_mask$", path.stem)
    return int(found[1]) if found else 0, path.name
