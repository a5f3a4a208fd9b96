"""DICOM in any legal encoding against the plain array, and masks as other readers place them.

The network's stand-in is a threshold.
"""

import io
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import highdicom as hd
import jpeg_ls
import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.config import RAISE, disable_value_validation
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.multival import MultiValue
from pydicom.pixels import get_encoder
from pydicom.tag import Tag
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)
from pydicom.valuerep import validate_value

from agd_keras.errors import InputError
from agd_keras.io.dicom_decode import _measure_jpeg2000
from agd_keras.io.dicom_header import COPIED
from agd_keras.io.dicom_seg import write_segmentation
from agd_keras.io.dicom_series import read_series
from agd_keras.io.discovery import find_cases, read_case

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
    with disable_value_validation():
        for name, value in layout.more.items():
            header.pop(name, None)
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
    values[:, ::2, 3:] = low  # nor noise alone: codecs expect images
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
    shape = (planes, draw(st.integers(12, 20)), draw(st.integers(12, 20)))
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
    assert ("SpacingBetweenSlices" in measures) == even
    if even:
        assert measures.SpacingBetweenSlices == pytest.approx(gaps.sum() / counts.sum())
    steps = np.diff(layout.positions, axis=0)
    if even and np.allclose(np.cross(steps, np.cross(layout.row, layout.column)), 0, atol=1e-3):
        volume = mask.get_volume(combine_segments=True)
        assert volume.array.sum() == (true > threshold).sum()


SLOWLY = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


@settings(max_examples=25, **SLOWLY)
@given(phantom=_phantoms())
def test_any_encoding_is_the_plain_array(tmp_path_factory, phantom):
    _check_phantom(tmp_path_factory.mktemp("phantom"), *phantom)


@pytest.mark.nightly
@settings(max_examples=700, **SLOWLY)
@given(phantom=_phantoms())
def test_many_encodings_are_the_plain_array(tmp_path_factory, phantom):
    _check_phantom(tmp_path_factory.mktemp("phantom"), *phantom)


def _phantom(planes=5) -> np.ndarray:
    """A tumour of 900 in slices that are no neighbours, at no place of symmetry.

    Frames are of whole bytes: of others GDCM, in SimpleITK, reads the last few bits at random.
    """
    values = np.random.default_rng(1).integers(0, 100, (planes, 8, 10))
    values[1, 2:4, 3:6] = values[3, 6:8, 1:5] = 900
    return values


def _places(layout: Layout, inside: np.ndarray) -> np.ndarray:
    """Where the voxels of a mask are, in mm, sorted."""
    plane, row, column = np.nonzero(inside)
    along = column[:, None] * layout.spacing[1] * layout.row
    down = row[:, None] * layout.spacing[0] * layout.column
    return _sorted(layout.positions[plane] + along + down)


def _sorted(places: np.ndarray) -> np.ndarray:
    places = np.round(places, 2) + 0.0
    return places[np.lexsort(places.T)]


@pytest.mark.parametrize("write", [_write_classic, _write_enhanced])
@pytest.mark.parametrize("axes", PLANES)
@pytest.mark.parametrize("missing", [[], [2]])
def test_other_readers_place_every_voxel(tmp_path, write, axes, missing):
    layout, values = _straight(6, axes), np.delete(_phantom(6), missing, axis=0)
    layout.positions = np.delete(layout.positions, missing, axis=0)
    write(tmp_path / "series", values, layout, order=np.arange(len(values))[::-1])
    _, path, notes = _predict(tmp_path / "series", 500)
    assert any("4 to 8 mm apart" in note for note in notes) == bool(missing)
    right = _places(layout, values > 500)

    image = SimpleITK.ReadImage(str(path))
    found = np.argwhere(SimpleITK.GetArrayFromImage(image) > 0)[:, ::-1].tolist()
    places = np.array([image.TransformIndexToPhysicalPoint(index) for index in found])
    np.testing.assert_allclose(_sorted(places), right, atol=0.011)
    volume = hd.seg.segread(path).get_volume(combine_segments=True)
    places = volume.map_indices_to_reference(np.argwhere(volume.array > 0))
    np.testing.assert_allclose(_sorted(places), right, atol=0.011)


def test_uneven_and_shifted_slices_keep_their_places(tmp_path):
    for name, moves in {
        "uneven": np.outer([0, 3, 4, 9, 11], [0, 0, 1]),
        "shifted": np.outer(np.arange(5), [1.5, 0, 4]),
    }.items():
        layout, values = _straight(5), _phantom()
        layout.positions = layout.positions[0] + moves
        names = _write_classic(tmp_path / name / "series", values, layout)
        _, path, notes = _predict(tmp_path / name / "series", 500)
        assert any("even, straight stack" in note for note in notes)
        found = _frames(path)
        for uid, plane, position in zip(names, values, layout.positions, strict=True):
            np.testing.assert_array_equal(found[uid][0], plane > 500)
            np.testing.assert_allclose(found[uid][1], position)
    assert any("shifted against each other, by up to 21°" in note for note in notes)


@pytest.mark.parametrize("write", [_write_classic, _write_enhanced])
@pytest.mark.parametrize("thickness", [None, 4])
def test_a_slice_alone(tmp_path, write, thickness):
    values = _phantom()[1:2]
    names = write(tmp_path / "series", values, _straight(1, thickness=thickness))
    case, path, _ = _predict(tmp_path / "series", 500)
    assert np.isnan(case.spacing[0]) if thickness is None else case.spacing[0] == 4
    assert list(_frames(path)) == names
    volume = hd.seg.segread(path).get_volume(combine_segments=True)
    np.testing.assert_array_equal(volume.array, values > 500)


def test_images_of_a_private_class(tmp_path):
    private = "1.3.46.670589.11.0.0.12.1"
    layout = _straight(5, more={"SOPClassUID": private})
    names = _write_classic(tmp_path / "series", _phantom(), layout)
    _, path, _ = _predict(tmp_path / "series", 500)
    assert set(_frames(path)) == set(names)
    mask = hd.seg.segread(path)
    assert {image.ReferencedSOPClassUID for image in mask.SourceImageSequence} == {private}


def test_a_table_of_offsets_of_its_own(tmp_path):
    layout = _straight(5, syntax=RLELossless)
    _write_enhanced(tmp_path / "series", _phantom(), layout)
    [path] = (tmp_path / "series").iterdir()
    header = dcmread(path)
    streams = list(generate_frames(header.PixelData, number_of_frames=5))
    header.PixelData, *tables = encapsulate_extended(streams)
    header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths = tables
    header.save_as(path)
    case, _, _ = _predict(tmp_path / "series", 500)
    np.testing.assert_array_equal(case.images[..., 1], _phantom())


KANJI = "Yamada^Tarou=山田^太郎=やまだ^たろう"
REPAIRED = {
    "date with dashes": ({"StudyDate": "2001-02-03"}, {"StudyDate": "20010203"}),
    "date with slashes": ({"PatientBirthDate": "1950/2/3"}, {"PatientBirthDate": "19500203"}),
    "time with colons": ({"StudyTime": "9:08:07.5"}, {"StudyTime": "090807.5"}),
    "too fine a time": ({"StudyTime": "101112.1234567"}, {"StudyTime": "101112.123456"}),
    "sex in a word": ({"PatientSex": "female"}, {"PatientSex": "F"}),
}
LEFT_OUT = {
    "sex U": {"PatientSex": "U"},
    "two sexes": {"PatientSex": ["M", "F"]},
    "year only": {"StudyDate": "2001"},
    "month that is none": {"StudyDate": "20011301"},
    "day first": {"PatientBirthDate": "13/02/1950"},
    "zeros": {"PatientBirthDate": "00000000"},
    "a word": {"StudyTime": "ANONYMIZED"},
    "hour that is none": {"StudyTime": "251112"},
    "long number": {"AccessionNumber": "9" * 40},
    "long identifier": {"PatientID": "x" * 65},
    "long name": {"PatientName": "x" * 70},
    "four names": {"ReferringPhysicianName": "a=b=c=d"},
    "line break": {"StudyDescription": "head\nneck"},
    "two descriptions": {"StudyDescription": ["head", "neck"]},
    "age without unit": {"PatientAge": "45"},
}
KEPT = {
    "kanji": {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": KANJI},
    "latin": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürgen"},
    "cyrillic": {"SpecificCharacterSet": "ISO_IR 144", "PatientName": "Люкceмбypг"},
    "unicode": {"SpecificCharacterSet": "ISO_IR 192", "PatientID": "Ω-1"},
    "one name": {"PatientName": "CASE"},
    "two methods": {"PatientIdentityRemoved": "YES", "DeidentificationMethod": ["a", "b"]},
    "empty": {"PatientID": "", "PatientName": None, "StudyDate": ""},
}


@pytest.mark.parametrize("write", [_write_classic, _write_enhanced])
def test_values_outside_the_standard_lose_no_mask(tmp_path, write):
    cases = {name: (more, dict.fromkeys(more), "without") for name, more in LEFT_OUT.items()}
    cases |= {name: (more, right, "repaired") for name, (more, right) in REPAIRED.items()}
    cases |= {name: (more, more, None) for name, more in KEPT.items()}
    for name, (more, right, how) in cases.items():
        write(tmp_path / name / "series", _phantom(), _straight(5, more=more))
        _, path, notes = _predict(tmp_path / name / "series", 500)
        mask = hd.seg.segread(path)
        assert mask.get_volume(combine_segments=True).array.sum() == 14, name
        for keyword, value in right.items():
            if keyword != "SpecificCharacterSet":
                assert (mask.get(keyword) or None) == (value or None), name
                about = [note for note in notes if keyword in note]
                assert bool(about) == bool(how) and all(how in note for note in about), name
        about = [note for note in notes if any(keyword in note for keyword in more)]
        assert not any(str(value) in note for value in more.values() if value for note in about)


@pytest.mark.parametrize(
    ("named", "found", "right"),
    [
        (b"ISO-IR 100", "Müller^J", "Müller^J"),  # a usual misspelling
        (b"ISO_XX 100", "Müller^J", None),  # which of many sets?
        (b"ISO_XX 100", "Muller^J", "Muller^J"),
    ],
)
def test_character_sets_that_are_not_known(tmp_path, named, found, right):
    more = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": found}
    _write_classic(tmp_path / "series", _phantom(), _straight(5, more=more))
    _replace(tmp_path / "series", b"ISO_IR 100", named)
    _, path, notes = _predict(tmp_path / "series", 500)
    assert (hd.seg.segread(path).PatientName or None) == right
    assert any("PatientName" in note for note in notes) == (right is None)


def _replace(folder: Path, old: bytes, new: bytes) -> None:
    for path in folder.iterdir():
        content = path.read_bytes()
        assert content.count(old) == 1 and len(old) == len(new)
        path.write_bytes(content.replace(old, new))


def test_names_in_utf_8_without_a_character_set(tmp_path):
    more = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^J"}
    _write_classic(tmp_path / "series", _phantom(), _straight(5, more=more))
    _replace(tmp_path / "series", b"ISO_IR 192", b"ISO_IR 6  ")
    _, path, notes = _predict(tmp_path / "series", 500)
    assert hd.seg.segread(path).PatientName == "Müller^J"
    assert "mask with a repaired PatientName" in notes


@pytest.mark.parametrize("thickness", [b"", b"abc ", b"-4", b"0 ", b"inf ", b"4\\5 "])
def test_thickness_that_is_none(tmp_path, thickness):
    layout = _straight(5, thickness=None)
    _write_classic(tmp_path / "series", _phantom(), layout)
    for path in (tmp_path / "series").iterdir():
        header = dcmread(path)
        header[0x00180050] = RawDataElement(
            Tag(0x00180050), "DS", len(thickness), thickness, 0, False, True
        )
        header.save_as(path)
    _, path, _ = _predict(tmp_path / "series", 500)
    measures = hd.seg.segread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (4, 4)


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"])
@pytest.mark.parametrize("uid", ["1." + "2" * 80, "1.02.x"])
def test_odd_identifiers_are_referred_to_as_they_are(tmp_path, name, uid):
    _write_classic(tmp_path / "series", _phantom(), _straight(5, more={name: uid}))
    _, path, _ = _predict(tmp_path / "series", 500)
    mask = hd.seg.segread(path)
    assert mask.get_volume(combine_segments=True).array.sum() == 14
    held = mask.ReferencedSeriesSequence[0] if name.startswith("Series") else mask
    assert held[name].value == uid


def test_a_frame_of_reference_that_is_gone_or_changes(tmp_path):
    _write_classic(tmp_path / "a" / "s", _phantom(), _straight(5, more={"FrameOfReferenceUID": ""}))
    _, path, notes = _predict(tmp_path / "a" / "s", 500)
    assert hd.seg.segread(path).FrameOfReferenceUID
    assert "no FrameOfReferenceUID; the mask has one of its own" in notes
    _write_classic(tmp_path / "b" / "s", _phantom(), _straight(5))
    for number, file in enumerate(sorted((tmp_path / "b" / "s").iterdir())):
        header = dcmread(file)
        header.FrameOfReferenceUID = f"1.{number}"
        header.save_as(file)
    _, path, notes = _predict(tmp_path / "b" / "s", 500)
    assert hd.seg.segread(path).FrameOfReferenceUID == "1.4"
    assert any("several FrameOfReferenceUIDs" in note for note in notes)


def test_what_no_one_thought_of_costs_no_mask(tmp_path, monkeypatch):
    _write_classic(tmp_path / "series", _phantom(), _straight(5))
    odd = {"StudyDate": "never", "PatientSex": "?"}, ()
    monkeypatch.setattr("agd_keras.io.dicom_seg.copied_values", lambda header: odd)
    _, path, notes = _predict(tmp_path / "series", 500)
    mask = hd.seg.segread(path)
    assert mask.get_volume(combine_segments=True).array.sum() == 14
    assert mask.StudyInstanceUID == "1.2.3" and not mask.PatientID
    assert any("could not be written" in note for note in notes)


NAMES = ["", "ISO_IR 100", "ISO_IR 192", "ISO 2022 IR 87", "\\\\ISO 2022 IR 149", "GB18030", "odd"]


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    _write_classic(folder, _phantom(), _straight(5))
    return read_series(sorted(folder.iterdir()))


@settings(max_examples=60, **SLOWLY)
@given(
    contents=st.dictionaries(
        st.sampled_from(COPIED), st.binary(max_size=90) | st.text(), min_size=3
    ),
    charset=st.sampled_from(NAMES) | st.text(),
    vr=st.sampled_from(["", "", "UN", "ZZ", "DS", "SQ"]),
)
def test_any_bytes_in_the_header_lose_no_mask(series, tmp_path_factory, contents, charset, vr):
    header = Dataset()
    header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.3", "1.2.4"
    for keyword, content in {**contents, "SpecificCharacterSet": charset}.items():
        raw = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
        tag = Tag(keyword)
        kind = vr if vr and keyword != "SpecificCharacterSet" else dictionary_VR(tag)
        header[tag] = RawDataElement(tag, kind, len(raw), raw, 0, False, True)
    path = tmp_path_factory.mktemp("mask") / "mask.dcm"
    inside = series.volume.transpose(2, 1, 0) > 500
    notes = write_segmentation(inside, [path], path, replace(series, header=header))
    assert not any("could not be written" in note for note in notes)
    mask = hd.seg.segread(path)
    assert mask.get_volume(combine_segments=True).array.sum() == 14
    for keyword in COPIED:
        value = mask.get(keyword)
        for text in value if isinstance(value, MultiValue) else [value or ""]:
            validate_value(dictionary_VR(keyword), str(text), RAISE)


def test_notes_of_writing_reach_the_table(tmp_path):
    from agd_keras.inference.predict_files import predict_files

    class Bright:
        def predict_patient(self, images):
            return (images[..., 1] > 500).astype("float32")

    more = {"PatientSex": "U"}
    _write_classic(tmp_path / "series", _phantom(), _straight(5, more=more))
    [row] = predict_files(Bright(), [tmp_path / "series"], tmp_path / "out", overlays=False)
    assert "mask without PatientSex" in row["notes"]
    assert "PatientSex" in (tmp_path / "out" / "predictions.csv").read_text()


def test_nothing_reaches_the_terminal(tmp_path, caplog, recwarn, capfd):
    more = {"PatientName": "CASE", "StudyDate": "2001/02/03", "PatientSex": "U"}
    more |= {
        "StudyInstanceUID": "1.02.x",
        "FrameOfReferenceUID": "x.y",
        "SpecificCharacterSet": "ISO_XX",
    }
    with caplog.at_level("DEBUG"):
        _write_classic(tmp_path / "series", _phantom(), _straight(5, more=more))
        caplog.clear()
        recwarn.clear()
        _predict(tmp_path / "series", 500)
    assert [record for record in caplog.records if "dicom" in record.name] == []
    assert not recwarn.list and capfd.readouterr() == ("", "")


VR_OF = {"PatientName": b"\x10\x00\x10\x00PN", "StudyInstanceUID": b"\x20\x00\x0d\x00UI"}
VR_OF |= {"Rows": b"\x28\x00\x10\x00US", "SliceThickness": b"\x18\x00\x50\x00DS"}
VR_OF |= {"FrameOfReferenceUID": b"\x20\x00\x52\x00UI"}


@pytest.mark.parametrize("name", VR_OF)
def test_an_element_that_cannot_be_decoded_ends_one_case_at_most(tmp_path, name):
    for case in ("odd", "sound"):
        _write_classic(tmp_path / "in" / case, _phantom(), _straight(5))
    _replace(tmp_path / "in" / "odd", VR_OF[name], VR_OF[name][:4] + b"ZZ")
    odd, sound = find_cases([tmp_path / "in" / "odd", tmp_path / "in" / "sound"])
    assert read_case(sound).images.shape[0] == 5
    if name not in ("Rows", "StudyInstanceUID"):
        assert read_case(odd).images.shape[0] == 5
        _, path, notes = _predict(tmp_path / "in" / "odd", 500)
        assert hd.seg.segread(path).get_volume(combine_segments=True).array.sum() == 14
        assert any(name in note for note in notes) == (name != "SliceThickness")
    else:
        with pytest.raises(InputError) as caught:
            read_case(odd)
        assert "\n" not in str(caught.value) and str(tmp_path / "in" / "odd") in str(caught.value)


def test_equal_files_are_used_once(tmp_path):
    folder = tmp_path / "series"
    _write_classic(folder, _phantom(), _straight(5))
    (folder / "copy.dcm").write_bytes((folder / "001.dcm").read_bytes())
    again = dcmread(folder / "003.dcm")
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    again.save_as(folder / "again.dcm")
    case, path, _ = _predict(folder, 500)
    assert "left out 2 slices equal to others" in case.notes
    np.testing.assert_array_equal(case.images[..., 1], _phantom())
    assert len(_frames(path)) == 5
    again.PixelData = bytes(len(again.PixelData))
    again.save_as(folder / "again.dcm")
    with pytest.raises(InputError, match="two slices at one place that differ"):
        _predict(folder, 500)


@pytest.mark.parametrize(
    "scout",
    [
        {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
        {"PixelSpacing": [3, 3]},
        {"Rows": 10, "Columns": 8},
    ],
)
def test_scouts_within_a_series_are_left_out(tmp_path, scout):
    folder = tmp_path / "series"
    _write_classic(folder, _phantom(), _straight(5))
    header = dcmread(folder / "001.dcm")
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for name, value in scout.items():
        setattr(header, name, value)
    header.save_as(folder / "000-scout.dcm")
    case, path, _ = _predict(folder, 500)
    assert "left out 1 slice of other size, orientation or spacing" in case.notes
    np.testing.assert_array_equal(case.images[..., 1], _phantom())
    assert len(_frames(path)) == 5


def test_two_stacks_in_a_series_are_refused(tmp_path):
    for axes in ("axial", "sagittal"):
        _write_classic(
            tmp_path / axes, _phantom(), _straight(5, axes, more={"SeriesInstanceUID": "1.9"})
        )
    for path in (tmp_path / "sagittal").iterdir():
        path.rename(tmp_path / "axial" / f"s{path.name}")
    with pytest.raises(InputError, match="different size, orientation or spacing"):
        _predict(tmp_path / "axial", 500)


def _jpeg(size, **options) -> bytes:
    content = io.BytesIO()
    Image.new("L", size).save(content, "JPEG", **options)
    return content.getvalue()


def _jpeg2000(size, **options) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.zeros(size, np.uint8)).save(content, "JPEG2000", no_jp2=True, **options)
    return content.getvalue()


LARGE = (2000, 2000)


@pytest.mark.parametrize(
    ("syntax", "stream", "reason"),
    [
        (JPEGLSLossless, jpeg_ls.encode_array(np.zeros(LARGE, np.uint8)), "2000x2000 pixels"),
        (JPEG2000Lossless, _jpeg2000(LARGE), "2000x2000 pixels"),
        (JPEGBaseline8Bit, _jpeg(LARGE), "2000x2000 pixels"),
        (JPEGBaseline8Bit, _jpeg((10, 9), progressive=True), "of a kind that DICOM has"),
        (JPEG2000Lossless, _jpeg2000((9, 10))[:30], "unpack"),
        (JPEG2000Lossless, _jpeg((10, 9)), "expected a JPEG 2000 codestream"),
        (JPEGLSLossless, _jpeg2000((9, 10)), "expected a JPEG or JPEG-LS stream"),
        (JPEGLSLossless, bytes(2), "expected a JPEG or JPEG-LS stream"),
        (
            RLELossless,
            bytes([1, 0, 0, 0, 64]) + bytes(59) + bytes([129, 0] * 99),
            "of more than 90",
        ),
    ],
)
def test_streams_of_another_size_are_not_decoded(tmp_path, syntax, stream, reason, monkeypatch):
    layout = _straight(1, allocated=8, stored=8, signed=False)
    _write_classic(tmp_path / "series", np.zeros((1, 9, 10), int), layout)
    header = dcmread(tmp_path / "series" / "000.dcm")
    header.file_meta.TransferSyntaxUID = syntax
    header.PixelData = encapsulate([bytes(stream)])
    header["PixelData"].VR = "OB"
    header.save_as(tmp_path / "series" / "000.dcm")
    monkeypatch.setattr("pydicom.pixels.pixel_array", None)  # which decodes
    with pytest.raises(InputError, match=reason):
        _predict(tmp_path / "series", 500)


def test_many_small_tiles_are_not_decoded():
    stream = bytearray(_jpeg2000((64, 64)))
    assert _measure_jpeg2000(bytes(stream)) == (64, 64, 1, 8)
    stream[24:32] = (1).to_bytes(4) * 2
    with pytest.raises(ValueError, match="4096 tiles"):
        _measure_jpeg2000(bytes(stream))


@pytest.mark.parametrize("name", ["jpeg_ls_lossless", "jp2klossless"])
def test_damaged_streams_take_no_time(tmp_path, name):
    header = dcmread(get_testdata_file(f"MR_small_{name}.dcm"))
    [sound] = generate_frames(header.PixelData, number_of_frames=1)
    chance, slowest = random.Random(0), 0.0
    for _ in range(150):
        stream = bytearray(sound)
        for _ in range(chance.choice((1, 2, 4))):
            place = chance.randrange(chance.choice((60, 120, len(stream) - 2)))
            stream[place] = chance.choice((0, 1, 255, chance.randrange(256)))
        header.PixelData = encapsulate([bytes(stream)])
        header.save_as(tmp_path / "a.dcm")
        start = time.process_time()
        with suppress(InputError):
            read_series([tmp_path / "a.dcm"])
        slowest = max(slowest, time.process_time() - start)
    assert slowest < 0.5


def _stack(tmp_path, planes, **more):
    """Reads words as they are, 16 bits a pixel."""
    layout = _straight(len(planes), allocated=16, stored=16, signed=False, more=more)
    _write_classic(tmp_path / "s", planes, layout)
    return _predict(tmp_path / "s", 500)


@pytest.mark.parametrize("stored", [10, 12])
def test_values_in_the_upper_bits_of_their_words(tmp_path, stored):
    """HighBit says where they lie, dark slices among bright ones too."""
    planes = np.random.default_rng(0).integers(0, 2**stored, (4, 12, 14))
    planes[1] //= 200
    more = {"BitsStored": stored, "HighBit": 15}
    case, _, _ = _stack(tmp_path, planes << (16 - stored), **more)
    np.testing.assert_array_equal(case.flair, planes)


def test_a_high_bit_that_is_merely_wrong_changes_nothing(tmp_path):
    planes = np.random.default_rng(0).integers(0, 2**12, (4, 12, 14))
    case, _, _ = _stack(tmp_path, planes, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(case.flair, planes)


@pytest.mark.parametrize(("padding", "limit"), [(65535, None), (63000, 63536), (30000, 30000)])
def test_padding_is_background(tmp_path, padding, limit):
    planes = np.random.default_rng(0).integers(0, 1000, (4, 12, 14))
    padded = planes.copy()
    padded[:, :2] = padding
    more = {"PixelPaddingValue": padding, "PixelRepresentation": 0}
    if limit:
        more["PixelPaddingRangeLimit"] = limit
    case, _, notes = _stack(tmp_path, padded, **more)
    planes[:, :2] = planes[:, 2:].min()
    np.testing.assert_array_equal(case.flair, planes)
    assert "112 voxels of padding taken as background" in notes


@pytest.mark.parametrize(("slope", "intercept"), [("inf", "0"), ("nan", "0"), ("1", "inf")])
def test_a_scale_that_is_no_number_is_refused(tmp_path, slope, intercept):
    planes = np.random.default_rng(0).integers(0, 1000, (4, 12, 14))
    with pytest.raises(InputError, match="RescaleSlope is .* expected finite numbers"):
        _stack(tmp_path, planes, RescaleSlope=slope, RescaleIntercept=intercept)


def test_a_table_of_values_is_refused(tmp_path):
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "US"
    table.LUTData = bytes(8)
    planes = np.random.default_rng(0).integers(0, 1000, (4, 12, 14))
    with pytest.raises(InputError, match="expected RescaleSlope, found a table"):
        _stack(tmp_path, planes, ModalityLUTSequence=[table])
