"""DICOM in any legal encoding against the plain array, and masks as other readers place them.

The network's stand-in is a threshold.
"""

import io
from dataclasses import dataclass, field
from pathlib import Path

import highdicom as hd
import jpeg_ls
import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from agd_keras.data.dicom_series import read_series
from agd_keras.data.volumes import find_cases, read_case

CLASSIC, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
PLANES = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "axial from above": ((1, 0, 0), (0, -1, 0)),
    "feet first": ((-1, 0, 0), (0, 1, 0)),
    "oblique": ((0.96, 0.28, 0), (-0.224, 0.768, 0.6)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
}
SYNTAXES = (
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian),
    *(RLELossless, JPEGLSLossless, JPEG2000Lossless),
)
GROUPS = ("PlanePosition", "PlaneOrientation", "PixelMeasures", "PixelValueTransformation")


@dataclass
class Layout:
    """Where planes lie, in mm along DICOM's axes, and how they are encoded."""

    positions: np.ndarray
    row: np.ndarray
    column: np.ndarray
    spacing: tuple[float, float] = (1.5, 0.5)
    thickness: float | None = 4
    syntax: str = ExplicitVRLittleEndian
    allocated: int = 16
    stored: int = 16
    signed: bool = True
    slope: float | None = None
    intercept: float | None = None
    per_frame: frozenset[str] = frozenset(GROUPS)
    dirt: int = 0  # what lies in the bits that are not stored
    more: dict[str, object] = field(default_factory=dict)


def _straight(planes: int, axes="axial", gap=4.0, **more) -> Layout:
    row, column = (np.array(axis, float) for axis in PLANES[axes])
    steps = gap * np.arange(planes)[:, None] * np.cross(row, column)
    return Layout(np.array([-50.0, -60, -70]) + steps, row, column, **more)


def _stream(plane: np.ndarray, layout: Layout) -> bytes:
    """One frame, encoded."""
    mask, whole = 2**layout.stored - 1, 2**layout.allocated - 1
    words = (plane.astype(np.int64) & mask) | (layout.dirt & whole & ~mask)
    words = words.astype(f"<u{layout.allocated // 8}")
    if layout.syntax == JPEGLSLossless:
        data = words.astype("u1" if layout.stored <= 8 else "<u2").tobytes()
        return bytes(jpeg_ls.encode_buffer(data, *plane.shape, 1, layout.stored))
    if layout.syntax == JPEG2000Lossless:
        content = io.BytesIO()
        Image.fromarray(words).save(content, "JPEG2000", irreversible=False, no_jp2=True)
        return content.getvalue()
    if layout.syntax == RLELossless:
        return get_encoder(RLELossless).encode(
            words.tobytes(),
            **{"rows": plane.shape[0], "columns": plane.shape[1], "samples_per_pixel": 1},
            **{"bits_allocated": layout.allocated, "bits_stored": layout.stored},
            **{"pixel_representation": 0, "photometric_interpretation": "MONOCHROME2"},
            number_of_frames=1,
        )
    if layout.syntax == ExplicitVRBigEndian:
        words = words.astype(words.dtype.newbyteorder(">"))
    return words.tobytes()


def _header(planes: np.ndarray, layout: Layout, sop_class: str, series: str) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = layout.syntax
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = sop_class
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.3", series
    header.FrameOfReferenceUID, header.Modality = "1.2.3.4", "MR"
    header.PatientID, header.PatientName = "7", "Phantom^A"
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = planes.shape[1:]
    header.BitsAllocated, header.BitsStored = layout.allocated, layout.stored
    header.HighBit, header.PixelRepresentation = layout.stored - 1, int(layout.signed)
    streams = [_stream(plane, layout) for plane in planes]
    if layout.syntax.is_encapsulated:
        header.PixelData = encapsulate(streams)
        header["PixelData"].VR = "OB"
    else:
        data = b"".join(streams)
        header.PixelData = data + bytes(len(data) % 2)
        header["PixelData"].VR = "OB" if layout.allocated == 8 else "OW"
    return header


def _describe(header: Dataset, layout: Layout, place: int, group: str) -> None:
    """Puts the attributes of one functional group into a data set."""
    if group == "PlanePosition":
        header.ImagePositionPatient = [float(f"{x:.9g}") for x in layout.positions[place]]
    elif group == "PlaneOrientation":
        both = [*layout.row, *layout.column]
        header.ImageOrientationPatient = [float(f"{x:.9f}") for x in both]
    elif group == "PixelMeasures":
        header.PixelSpacing = list(layout.spacing)
        if layout.thickness is not None:
            header.SliceThickness = layout.thickness or None
    elif layout.slope is not None:
        header.RescaleSlope, header.RescaleIntercept = layout.slope, layout.intercept
        header.RescaleType = "US"


def _save(header: Dataset, path: Path, layout: Layout) -> None:
    for name, value in layout.more.items():
        setattr(header, name, value)
    header.save_as(path, enforce_file_format=True)


def _write_classic(folder: Path, values: np.ndarray, layout: Layout, order=None) -> list[str]:
    """A file a plane; returns the UIDs of the instances."""
    folder.mkdir(parents=True, exist_ok=True)
    series, uids = generate_uid(), []
    for place, plane in enumerate(values):
        header = _header(plane[None], layout, CLASSIC, series)
        for group in GROUPS:
            _describe(header, layout, place, group)
        number = place if order is None else order[place]
        header.InstanceNumber = number + 1
        uids.append(header.SOPInstanceUID)
        _save(header, folder / f"{number:03}.dcm", layout)
    return uids


def _write_enhanced(folder: Path, values: np.ndarray, layout: Layout, order=None) -> list[str]:
    """All planes in one file, frames in an order."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.arange(len(values)) if order is None else np.asarray(order)
    frames = np.argsort(order)  # which plane each frame is
    header = _header(values[frames], layout, ENHANCED, generate_uid())
    header.NumberOfFrames = len(values)

    def groups(place: int, names) -> Dataset:
        made = Dataset()
        for name in names:
            inner = Dataset()
            _describe(inner, layout, place, name)
            if len(inner):
                setattr(made, f"{name}Sequence", [inner])
        return made

    own = {*layout.per_frame, "PlanePosition"}
    header.SharedFunctionalGroupsSequence = [groups(0, set(GROUPS) - own)]
    header.PerFrameFunctionalGroupsSequence = [groups(place, own) for place in frames]
    _save(header, folder / "enhanced.dcm", layout)
    return [f"{header.SOPInstanceUID} {order[place] + 1}" for place in range(len(values))]


def _values(shape, layout: Layout, seed=0) -> np.ndarray:
    low = -(2 ** (layout.stored - 1)) if layout.signed else 0
    values = np.random.default_rng(seed).integers(low, low + 2**layout.stored, shape)
    values[:, ::2, 3:] = low + 5  # nor noise alone: codecs expect images
    values[0, 0, 0], values[-1, -1, -1] = low, low + 2**layout.stored - 1
    return values


def _affine(layout: Layout) -> np.ndarray:
    """Columns, rows, planes to mm to the right, front and top; the step is the mean one."""
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = layout.row * layout.spacing[1], layout.column * layout.spacing[0]
    steps = np.diff(layout.positions, axis=0)
    affine[:3, 2] = steps.mean(axis=0) if len(steps) else np.cross(layout.row, layout.column)
    affine[:3, 3] = layout.positions[0]
    return np.diag([-1, -1, 1, 1]) @ affine


def _as_in_lgg(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Slices upwards, rows backwards, columns leftwards, by nibabel."""
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.transpose(2, 1, 0), affine))
    return image.get_fdata()[::-1, ::-1].transpose(2, 1, 0)


def _predict(folder: Path, threshold: float):
    """The case, the file of its mask, and the notes of both."""
    [source] = find_cases([folder])
    case = read_case(source)
    path = folder.parent / "mask.dcm"
    notes = case.write_masks(case.images[..., 1] > threshold, [path])
    return case, path, (*case.notes, *notes)


def _frames(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pixels and position of each frame of a mask, by the image that it refers to."""
    mask = hd.seg.segread(path)
    pixels = mask.pixel_array.reshape(-1, mask.Rows, mask.Columns)
    found = {}
    for frame, group in zip(pixels, mask.PerFrameFunctionalGroupsSequence, strict=True):
        if "DerivationImageSequence" not in group:  # in place of a slice that is missing
            assert not frame.any()
            continue
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        number = source.get("ReferencedFrameNumber")
        name = source.ReferencedSOPInstanceUID + (f" {number}" if number else "")
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        found[name] = frame, position
    return found


@st.composite
def _phantoms(draw):
    """Values, their layout, whether they lie in one file, and an order."""
    planes = draw(st.integers(2, 6))
    shape = (planes, draw(st.integers(5, 12)), draw(st.integers(5, 12)))
    syntax = draw(st.sampled_from(SYNTAXES))
    allocated = draw(st.sampled_from([8, 16]))
    stored = allocated
    if syntax != JPEG2000Lossless:  # Pillow writes whole bytes without sign only
        stored = draw(st.integers(allocated - 6, allocated))
    signed = syntax != JPEG2000Lossless and draw(st.booleans())
    dirty = syntax not in (JPEG2000Lossless, JPEGLSLossless) and draw(st.booleans())
    axes = np.array(PLANES[draw(st.sampled_from(sorted(PLANES)))], float)
    turn = draw(st.sampled_from([0.0, 0.1, -0.3]))
    around = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    row, column = axes @ around.T
    shear = np.array([draw(st.sampled_from([0.0, 0.2, -0.4])) for _ in range(2)])
    gap = draw(st.floats(0.8, 8).map(lambda x: round(x, 2)))
    gaps = gap * np.ones(planes - 1)
    if draw(st.booleans()):
        gaps *= [draw(st.sampled_from([1, 1, 2, 1.5])) for _ in gaps]
    heights = np.concatenate([[0], np.cumsum(gaps)])[:, None]
    step = np.cross(row, column) + shear @ [row, column]
    layout = Layout(
        positions=np.array([-50.0, 20, -70]) + heights * step,
        **{"row": row, "column": column, "syntax": syntax, "allocated": allocated},
        **{"stored": stored, "signed": signed, "dirt": 0xA5A5 if dirty else 0},
        spacing=(draw(st.sampled_from([0.5, 0.9375, 1.2])), draw(st.sampled_from([0.5, 0.9375]))),
        thickness=draw(st.sampled_from([4, 0, None])),
        slope=draw(st.sampled_from([None, 1.0, 0.25, 3.5])),
        intercept=draw(st.sampled_from([-1024.0, 0.0, 7.0])),
        per_frame=frozenset(draw(st.sets(st.sampled_from(GROUPS)))),
    )
    order = draw(st.permutations(range(planes)))
    return _values(shape, layout, draw(st.integers(0, 99))), layout, draw(st.booleans()), order


def _check_phantom(folder: Path, values, layout: Layout, enhanced: bool, order) -> None:
    write = _write_enhanced if enhanced else _write_classic
    names = write(folder / "series", values, layout, order)
    true = values.astype(float)
    if layout.slope is not None:
        true = true * layout.slope + layout.intercept
    threshold = float(np.median(true))
    case, path, _ = _predict(folder / "series", threshold)
    affine = _affine(layout)
    np.testing.assert_allclose(case.images[..., 1], _as_in_lgg(true, affine), rtol=1e-6)

    series = read_series(sorted((folder / "series").iterdir()))
    voxel = abs(np.linalg.det(series.affine[:3, :3]))
    heights = layout.positions @ np.cross(layout.row, layout.column)
    area = layout.spacing[0] * layout.spacing[1]
    assert voxel == pytest.approx(area * np.ptp(heights) / (len(values) - 1), rel=1e-3)

    found = _frames(path)
    assert set(found) == set(names)
    for name, plane, position in zip(names, true, layout.positions, strict=True):
        mask, where = found[name]
        np.testing.assert_array_equal(mask, plane > threshold)
        np.testing.assert_allclose(where, position, atol=1e-3)
    mask = hd.seg.segread(path)
    measures = mask.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness > 0
    gaps = np.diff(heights)
    counts = (gaps / gaps.min()).round()
    even = np.allclose(gaps, counts * gaps.min(), rtol=0.01) and counts.sum() <= 2 * len(counts)
    assert mask.NumberOfFrames == (counts.sum() if even else len(counts)) + 1
    assert measures.SpacingBetweenSlices * (mask.NumberOfFrames - 1) == pytest.approx(gaps.sum())
    steps = np.diff(layout.positions, axis=0)
    if even and np.allclose(np.cross(steps, np.cross(layout.row, layout.column)), 0, atol=1e-3):
        volume = mask.get_volume(combine_segments=True)
        assert volume.array.sum() == (true > threshold).sum()


SLOWLY = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


@settings(max_examples=25, **SLOWLY)
@given(phantom=_phantoms())
def test_any_encoding_is_the_plain_array(tmp_path_factory, phantom):
    _check_phantom(tmp_path_factory.mktemp("phantom"), *phantom)


@pytest.mark.slow
@settings(max_examples=700, **SLOWLY)
@given(phantom=_phantoms())
def test_many_encodings_are_the_plain_array(tmp_path_factory, phantom):
    _check_phantom(tmp_path_factory.mktemp("phantom"), *phantom)
