"""One DICOM series as a volume: its planes sorted in space, what does not belong left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agd_keras.errors import InputError
from agd_keras.io.case import check_voxels, one_line
from agd_keras.io.dicom_decode import functional_group, identifier, read_frames
from agd_keras.io.geometry import check_affine

if TYPE_CHECKING:
    from pydicom import Dataset

_TOLERANCE = 1e-3  # between planes, in mm or of a unit vector: archives round
_ROUNDED = 0.02  # products of unit vectors of two decimals
_EVEN = 0.02  # how much distances may differ, of their mean: what highdicom takes for even, too
_MOST_LEFT_OUT = 1 / 3


@dataclass(frozen=True)
class Series:
    """A volume of shape `(columns, rows, planes)`, planes along the normal.

    Args:
        volume: Float32 array.
        affine: Array of shape `(4, 4)`, voxel indices to mm to the right, front and top; with the
            mean step from plane to plane, along the normal or not.
        thickness: Of a slice in mm, NaN if unknown.
        positions: DICOM's, of each plane, shape `(planes, 3)`.
        orientation: DICOM's, two unit vectors, shape `(6,)`.
        spacing: DICOM's, between rows and between columns.
        gap: Between planes of an even stack in mm, NaN if they are uneven or one.
        places: Of each plane in an even stack, from 0: higher numbers are left out where slices
            are missing, none where distances are uneven.
        frame_of_reference: Its UID, empty if unknown.
        sources: SOPClassUID, SOPInstanceUID and number of the frame, from 1, of each plane; None
            for the frame in files of one.
        header: That of the first file.
        notes: What a user should know.
    """

    volume: np.ndarray
    affine: np.ndarray
    thickness: float
    positions: np.ndarray
    orientation: np.ndarray
    spacing: np.ndarray
    gap: float
    places: np.ndarray
    frame_of_reference: str
    sources: list[tuple[str, str, int | None]]
    header: "Dataset"
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Plane:
    pixels: np.ndarray
    position: np.ndarray
    orientation: np.ndarray
    spacing: np.ndarray
    thickness: float
    source: tuple[str, str, int | None]

    @property
    def kind(self) -> np.ndarray:
        """Size, orientation and spacing: what all planes of a volume share."""
        return np.concatenate([self.pixels.shape, self.orientation, self.spacing])


def _thickness(measures: "Dataset") -> float:
    try:
        value = float(measures.SliceThickness)
    except Exception:  # absent, empty, no number: no mask depends on it
        return np.nan
    return value if 0 < value < np.inf else np.nan


def _plane(header: "Dataset", frame: int, pixels: np.ndarray, several: bool) -> _Plane:
    position = functional_group(header, frame, "PlanePositionSequence")
    orientation = functional_group(header, frame, "PlaneOrientationSequence")
    measures = functional_group(header, frame, "PixelMeasuresSequence")
    if position is None or orientation is None or measures is None:
        raise ValueError("expected a position, orientation and spacing for each frame")
    source = (str(header.SOPClassUID), str(header.SOPInstanceUID), frame + 1 if several else None)
    return _Plane(
        pixels,
        np.array(position.ImagePositionPatient, float).reshape(3),
        np.array(orientation.ImageOrientationPatient, float).reshape(6),
        np.array(measures.PixelSpacing, float).reshape(2),
        _thickness(measures),
        source,
    )


def _of_one_kind(path: Path, planes: list[_Plane]) -> tuple[list[_Plane], tuple[str, ...]]:
    """Leaves out the few that are no part of the volume, such as scouts."""
    kinds = np.array([plane.kind for plane in planes])
    # The median is that of the many, to the last digit.
    alike = np.abs(kinds - np.median(kinds, axis=0)).max(axis=1) <= _TOLERANCE
    others = len(planes) - int(alike.sum())
    if others > _MOST_LEFT_OUT * len(planes):
        raise InputError(f"{path}: slices of different size, orientation or spacing in one series")
    notes = (f"left out {_count(others)} of other size, orientation or spacing",) if others else ()
    return [plane for plane, same in zip(planes, alike, strict=True) if same], notes


def _once(path: Path, planes: list[_Plane]) -> tuple[list[_Plane], tuple[str, ...]]:
    """Leaves out planes that repeat the one before."""
    kept = planes[:1]
    normal = _normal(planes[0].orientation)
    for plane in planes[1:]:
        last = kept[-1]
        if (plane.position - last.position) @ normal > _TOLERANCE:
            kept.append(plane)
        elif not (
            np.allclose(plane.position, last.position, rtol=0, atol=_TOLERANCE)
            and np.array_equal(plane.pixels, last.pixels)
        ):
            raise InputError(
                f"{path}: two slices at one place that differ, expected one each: "
                "several echoes, times or kinds of image in one series?"
            )
    twice = len(planes) - len(kept)
    return kept, (f"left out {_count(twice)} equal to others",) if twice else ()


def _count(slices: int) -> str:
    return f"{slices} slice{'s' if slices > 1 else ''}"


def _normal(orientation: np.ndarray) -> np.ndarray:
    return np.cross(orientation[:3], orientation[3:])


def _orthonormal(path: Path, orientation: np.ndarray) -> np.ndarray:
    """The two axes without what rounding made of them."""
    row, column = orientation[:3], orientation[3:]
    if not np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=_ROUNDED):
        raise InputError(f"{path}: expected ImageOrientationPatient with two unit vectors")
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    return np.concatenate([row, column / np.linalg.norm(column)])


def _stacking(
    positions: np.ndarray, normal: np.ndarray
) -> tuple[float, np.ndarray, tuple[str, ...]]:
    """The distance in an even stack, each plane's place in it, and what is unusual about it."""
    places, notes = np.arange(len(positions)), []
    if len(positions) == 1:
        return np.nan, places, ()
    gaps = np.diff(positions @ normal)
    steps = (gaps / gaps.min()).round()
    uneven = np.ptp(gaps / steps) > _EVEN * gaps.min() or steps.sum() > 2 * len(steps)
    if not uneven:
        places[1:] = np.cumsum(steps)
    if uneven or steps.max() > 1:
        notes.append(
            f"slices {gaps.min():.4g} to {gaps.max():.4g} mm apart; "
            f"the volume takes each for {gaps.mean():.4g} mm"
        )
    shifts = np.diff(positions, axis=0) / gaps[:, None] - normal
    lean = np.degrees(np.arctan(np.linalg.norm(shifts, axis=1).max()))
    if lean > 1:
        notes.append(f"slices shifted against each other, by up to {lean:.0f}° to their normal")
    if uneven or lean > 1:
        notes.append("readers that assume an even, straight stack misplace the mask")
    return np.nan if uneven else float(gaps.sum() / places[-1]), places, tuple(notes)


def _affine(positions: np.ndarray, orientation: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    row, column = orientation[:3] * spacing[1], orientation[3:] * spacing[0]
    step = _normal(orientation)
    if len(positions) > 1:  # not along the normal where slices are shifted
        step = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine = np.eye(4)
    affine[:3] = np.column_stack([row, column, step, positions[0]])
    affine[:2] *= -1  # DICOM's axes run to the left and back, NIfTI's to the right and front
    return affine


def read_series(files: Sequence[Path]) -> Series:
    """Reads the files of one series and sorts its planes.

    Args:
        files: Files of one frame or of several, in any order.

    Returns:
        The `Series`.

    Raises:
        InputError: A file is damaged, too large or of an unknown kind, or they are no volume.
    """
    planes: list[_Plane] = []
    spaces: set[str] = set()
    headers: list[Dataset] = []
    for path in files:
        header, frames = read_frames(path)
        check_voxels(path, (len(planes) + len(frames), *frames.shape[1:]))
        with one_line(path, "DICOM file"):
            several = "NumberOfFrames" in header and "PerFrameFunctionalGroupsSequence" in header
            planes += [_plane(header, *numbered, several) for numbered in enumerate(frames)]
            spaces.add(_frame_of_reference(header))
        headers = headers or [header]
    path = files[0] if len(files) == 1 else files[0].parent
    planes, foreign = _of_one_kind(path, planes)
    orientation = _orthonormal(path, planes[0].orientation)
    normal = _normal(orientation)
    if not all(np.isfinite(plane.position).all() for plane in planes):
        raise InputError(f"{path}: expected ImagePositionPatient of finite numbers")
    planes, repeated = _once(path, sorted(planes, key=lambda plane: plane.position @ normal))
    positions = np.array([plane.position for plane in planes])
    gap, places, unusual = _stacking(positions, normal)
    affine = _affine(positions, orientation, planes[0].spacing)
    check_affine(path, affine)
    if len(spaces) > 1:  # anonymisers may take it away, or change it by file
        unusual += ("several FrameOfReferenceUIDs in one series, taken for one",)
    volume = np.stack([plane.pixels for plane in planes]).transpose(2, 1, 0)
    padding = np.isnan(volume)
    if padding.any() and not padding.all():
        volume[padding] = volume[~padding].min()
        unusual += (f"{padding.sum()} voxels of padding taken as background",)
    return Series(
        volume=volume,
        affine=affine,
        thickness=planes[0].thickness,
        positions=positions,
        orientation=orientation,
        spacing=planes[0].spacing,
        gap=gap,
        places=places,
        frame_of_reference=max(spaces),
        sources=[plane.source for plane in planes],
        header=headers[0],
        notes=(*foreign, *repeated, *unusual),
    )


def _frame_of_reference(header: "Dataset") -> str:
    """The coordinate system of the positions, empty where a mask can only have one of its own."""
    try:
        return identifier(header, "FrameOfReferenceUID")
    except Exception:  # it is only passed on
        return ""
