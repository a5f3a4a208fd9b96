"""One DICOM series as a volume: files checked before they are decoded, planes sorted in space."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agd_keras.data.case import check_file, check_voxels, one_line
from agd_keras.data.orientation import check_affine
from agd_keras.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

_DEFLATED = "1.2.840.10008.1.2.1.99"
_EXPECTED = {
    "Modality": ("MR",),
    "PhotometricInterpretation": ("MONOCHROME2",),
    "SamplesPerPixel": (1,),
    "BitsAllocated": (8, 16, 32),
}
_IDENTITY = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    "FrameOfReferenceUID",
)


def read_header(path: Path, **options: Any) -> "Dataset":
    """Reads a data set that cannot grow in memory beyond its file."""
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    check_file(path)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # it tells of every oddity
    with one_line(path, "DICOM file"):
        if read_file_meta_info(path).get("TransferSyntaxUID") == _DEFLATED:
            raise InputError(f"{path}: expected a transfer syntax other than deflated")
        return dcmread(path, **options)


@dataclass(frozen=True)
class Series:
    """A volume of shape `(columns, rows, planes)`, planes along the normal.

    `sources` are headers without pixels, of the planes or of the one file with frames, whose place
    among the planes is in `order`.
    """

    volume: np.ndarray
    affine: np.ndarray
    thickness: float
    sources: list["Dataset"]
    order: np.ndarray
    notes: tuple[str, ...]


def _group(header: "Dataset", frame: int, name: str) -> "Dataset | None":
    """Where a frame's attributes of one kind are: in a classic file among all others."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        return header
    own = header.PerFrameFunctionalGroupsSequence[frame]
    group = own if name in own else header.SharedFunctionalGroupsSequence[0]
    return group[name][0] if name in group else None


def _plane(header: "Dataset", frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Position, orientation, spacing and thickness of a frame, in mm."""
    position = _group(header, frame, "PlanePositionSequence")
    orientation = _group(header, frame, "PlaneOrientationSequence")
    measures = _group(header, frame, "PixelMeasuresSequence")
    if position is None or orientation is None or measures is None:
        raise ValueError("expected a position, orientation and spacing for each frame")
    return (
        np.array(position.ImagePositionPatient, float).reshape(3),
        np.array(orientation.ImageOrientationPatient, float).reshape(6),
        np.array(measures.PixelSpacing, float).reshape(2),
        float(measures.get("SliceThickness") or np.nan),
    )


def _check_header(path: Path, header: "Dataset") -> int:
    """Refuses what is no grey MR image; returns the number of bytes that its voxels take."""
    for name, values in _EXPECTED.items():
        if header.get(name) not in values:
            wanted = " or ".join(map(str, values))
            raise InputError(f"{path}: {name} is {header.get(name)}, expected {wanted}")
    for name in _IDENTITY:
        if not header.get(name):
            raise InputError(f"{path}: expected the attribute {name}, which masks refer to")
    if "PixelData" not in header:
        raise InputError(f"{path}: expected an image, found a DICOM file without PixelData")
    shape = (header.get("NumberOfFrames") or 1, header.Rows, header.Columns)
    check_voxels(path, shape)
    return prod(map(int, shape)) * header.BitsAllocated // 8


def _read_frames(path: Path) -> tuple["Dataset", np.ndarray]:
    """Reads a file: the header alone, and float32 frames `(frames, rows, columns)`."""
    from pydicom.pixels import get_decoder, pixel_array

    with one_line(path, "DICOM file"):
        header = read_header(path)
        size = _check_header(path, header)
        syntax = header.file_meta.TransferSyntaxUID
        decoder = get_decoder(syntax)
        if not decoder.is_available:
            needs = [need.rpartition("requires ")[2] for need in decoder.missing_dependencies]
            raise InputError(
                f"{path}: transfer syntax {syntax.name} needs {' or '.join(needs)}, not installed"
            )
        # Run-length coding could grow to far more than the image that the header tells of.
        if len(header.PixelData) > 2 * size + 2**16:
            raise InputError(f"{path}: {len(header.PixelData)} bytes of pixels, expected {size}")
        frames = pixel_array(header).reshape(-1, header.Rows, header.Columns).astype(np.float32)
        del header.PixelData
        for place, frame in enumerate(frames):
            scale = _group(header, place, "PixelValueTransformationSequence")
            if scale is not None:
                frame *= float(scale.get("RescaleSlope", 1))
                frame += float(scale.get("RescaleIntercept", 0))
    return header, frames


def read_series(files: Sequence[Path]) -> Series:
    """Reads the files of one series and sorts its planes."""
    sources: list[Dataset] = []
    planes: list[tuple[np.ndarray, np.ndarray, np.ndarray, float]] = []
    frames: list[np.ndarray] = []
    for path in files:
        header, pixels = _read_frames(path)
        if len(files) > 1 and len(pixels) > 1:
            raise InputError(f"{path}: several frames, and the series has other files")
        if frames and frames[0].shape[1:] != pixels.shape[1:]:
            raise InputError(f"{path}: slices of different sizes in one series")
        check_voxels(path, (len(planes) + len(pixels), *pixels.shape[1:]))
        with one_line(path, "DICOM file"):
            planes += [_plane(header, frame) for frame in range(len(pixels))]
        sources.append(header)
        frames.append(pixels)
    path = files[0] if len(files) == 1 else files[0].parent
    positions, orientations, spacings, thicknesses = map(np.array, zip(*planes, strict=True))
    row, column = orientations[0, :3], orientations[0, 3:]
    if not (_close(orientations, orientations[0]) and _close(spacings, spacings[0])):
        raise InputError(f"{path}: slices of different orientation or spacing in one series")
    if not _close([row @ row, column @ column, row @ column], [1, 1, 0]):
        raise InputError(f"{path}: expected ImageOrientationPatient with two unit vectors")
    normal = np.cross(row, column)
    order = np.argsort(positions @ normal, kind="stable")
    gaps = np.diff((positions @ normal)[order])
    notes: tuple[str, ...] = ()
    step = normal
    if len(gaps):
        if not gaps.min() > 1e-3:
            raise InputError(f"{path}: two slices at one place, expected one each")
        if gaps.max() > 1.05 * gaps.min():
            notes = (f"slices {gaps.min():.4g} to {gaps.max():.4g} mm apart",)
        step = (positions[order[-1]] - positions[order[0]]) / len(gaps)
    affine = np.eye(4)
    affine[:3] = np.column_stack(
        [row * spacings[0, 1], column * spacings[0, 0], step, positions[order[0]]]
    )
    affine[:2] *= -1  # DICOM's axes run to the left and back, NIfTI's to the right and front
    check_affine(path, affine)
    volume = np.concatenate(frames)[order].transpose(2, 1, 0)
    if len(files) > 1:
        sources = [sources[place] for place in order]
    return Series(volume, affine, float(thicknesses[0]), sources, order, notes)


def _close(left: np.ndarray | list[float], right: np.ndarray | list[float]) -> bool:
    return bool(np.allclose(left, right, rtol=0, atol=1e-3))
