"""DICOM series in any order and plane, enhanced files, and segmentations that refer to them."""

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from agd_keras.io.case_ref import CaseRef
from agd_keras.io.discovery import find_cases, read_case
from agd_keras.io.labels import count_labels, read_labelled

SHAPE = (5, 6, 8)  # planes, rows, columns
AXIAL = ((1, 0, 0), (0, 1, 0))
TILTED = ((0.96, 0.28, 0), (-0.28, 0.96, 0))
SAGITTAL = ((0, 1, 0), (0, 0, -1))
CORONAL = ((1, 0, 0), (0, 0, -1))


def _template() -> pydicom.Dataset:
    return pydicom.dcmread(get_testdata_file("MR_small.dcm"))


def _volume(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1000, SHAPE).astype(np.int16)


def _write_series(folder: Path, volume, axes=AXIAL, seed=0, study="1.2.3", **attributes) -> str:
    """One file a plane, names in random order; returns the series' UID."""
    folder.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(seed).permutation(len(volume))
    uid = hd.UID()
    row, column = map(np.array, axes)
    for place, plane in enumerate(volume):
        header = _template()
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = hd.UID()
        header.StudyInstanceUID, header.SeriesInstanceUID = study, uid
        header.FrameOfReferenceUID = "1.2.3.4"
        header.Rows, header.Columns = plane.shape
        header.PixelSpacing, header.SliceThickness = [1.5, 0.5], 4
        header.ImageOrientationPatient = [*map(float, row), *map(float, column)]
        position = np.array([-50.0, -60, -70]) + 4.0 * place * np.cross(row, column)
        header.ImagePositionPatient = [float(f"{value:.6g}") for value in position]
        header.InstanceNumber = int(names[place]) + 1
        header.PixelData = plane.astype("<i2").tobytes()
        for name, value in attributes.items():
            setattr(header, name, value)
        header.save_as(folder / f"{names[place]:03}{'.dcm' if place % 2 else ''}")
    return uid


def _lps_slices(volume, axes) -> np.ndarray:
    """Slices upwards, rows backwards, columns leftwards, by plain NumPy for these planes."""
    if axes in (AXIAL, TILTED):
        return volume
    if axes == SAGITTAL:  # planes run rightwards, rows downwards, columns backwards
        return volume[::-1, ::-1].transpose(1, 2, 0)
    return volume[:, ::-1].transpose(1, 0, 2)  # coronal planes run backwards


@pytest.mark.parametrize("axes", [AXIAL, TILTED, SAGITTAL, CORONAL])
def test_series_and_its_segmentation(tmp_path, axes, read_paths):
    volume = _volume()
    uid = _write_series(tmp_path / "series", volume, axes, SeriesDescription="AX FLAIR")
    case = read_paths(tmp_path / "series")
    expected = _lps_slices(volume, axes)
    np.testing.assert_array_equal(case.images[..., 1], expected)
    spacing = {AXIAL: (4, 1.5, 0.5), TILTED: (4, 1.5, 0.5), SAGITTAL: (1.5, 0.5, 4)}
    assert case.spacing == pytest.approx(spacing.get(axes, (1.5, 4, 0.5)))
    assert case.masks == ("series_mask.dcm",)

    case.write_masks(case.images[..., 1] > 800, [tmp_path / "mask.dcm"])
    segmentation = hd.seg.segread(tmp_path / "mask.dcm")
    assert segmentation.StudyInstanceUID == "1.2.3"
    assert segmentation.FrameOfReferenceUID == "1.2.3.4"
    assert segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID == uid
    by_instance = {
        header.SOPInstanceUID: header.pixel_array
        for header in map(pydicom.dcmread, (tmp_path / "series").iterdir())
    }
    uids = list(by_instance)
    masks = segmentation.get_pixels_by_source_instance(
        uids,
        combine_segments=True,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
    )
    for one, mask in zip(uids, masks, strict=True):
        np.testing.assert_array_equal(mask, by_instance[one] > 800)


@pytest.mark.parametrize("axes", [AXIAL, CORONAL])
def test_regions_are_segments_that_may_overlap(tmp_path, axes, read_paths):
    _write_series(tmp_path / "series", _volume(), axes, SeriesDescription="AX FLAIR")
    case = read_paths(tmp_path / "series")
    flair = case.images[..., 1]
    masks = np.stack([flair > 300, flair > 800, np.zeros_like(flair, bool)], axis=-1)
    paths = [tmp_path / "mask.dcm"]
    case.write_masks(masks, paths, regions=("whole", "core", "enhancing"))
    segmentation = hd.seg.segread(paths[0])
    labels = [one.SegmentLabel for one in segmentation.SegmentSequence]
    assert labels == ["whole", "core", "enhancing"]
    files = tuple(sorted((tmp_path / "series").iterdir()))
    ref = CaseRef("a", "dicom", files, label=tuple(paths))
    numbered = {"inner": (2,), "all": (1, 2), "none": (9,)}
    named = {"core": (1,), "whole": (4,)}  # by what the segments are called
    for regions, places in ((numbered, (1, 0, 2)), (named, (1, 0))):
        _, found = read_labelled(replace(ref, regions=regions))
        np.testing.assert_array_equal(found, masks[..., places])
    assert count_labels(ref) == {1: (flair > 300).sum(), 2: (flair > 800).sum(), 3: 0}
    np.testing.assert_array_equal(read_labelled(ref)[1], masks[..., 0])


def test_empty_prediction_is_a_segmentation_too(tmp_path, read_paths):
    _write_series(tmp_path / "a", _volume())
    case = read_paths(tmp_path / "a")
    case.write_masks(np.zeros(case.images.shape[:3], bool), [tmp_path / "mask.dcm"])
    assert not pydicom.dcmread(tmp_path / "mask.dcm").pixel_array.any()


def test_enhanced_file_with_frames_in_any_order(tmp_path, read_paths):
    volume = _volume()
    _write_series(tmp_path / "a", volume)
    headers = [pydicom.dcmread(path) for path in sorted((tmp_path / "a").iterdir())]
    for header in headers:
        header.PatientBirthDate, header.AccessionNumber = "", ""
    enhanced = hd.legacy.LegacyConvertedEnhancedMRImage(headers, hd.UID(), 1, hd.UID(), 1)
    enhanced.save_as(tmp_path / "enhanced.dcm")
    case = read_paths(tmp_path / "enhanced.dcm")
    np.testing.assert_array_equal(case.images[..., 0], volume)
    assert case.spacing == pytest.approx((4, 1.5, 0.5))
    case.write_masks(case.images[..., 1] > 800, [tmp_path / "mask.dcm"])
    segmentation = hd.seg.segread(tmp_path / "mask.dcm")
    frames = enhanced.pixel_array
    masks = segmentation.get_pixels_by_source_frame(
        enhanced.SOPInstanceUID,
        list(range(1, len(frames) + 1)),
        combine_segments=True,
        assert_missing_frames_are_empty=True,
        ignore_spatial_locations=True,
    )
    np.testing.assert_array_equal(masks, frames > 800)


def test_rescaled_per_slice(tmp_path, read_paths):
    _write_series(tmp_path / "a", _volume(), RescaleSlope=2, RescaleIntercept=-7)
    np.testing.assert_array_equal(read_paths(tmp_path / "a").images[..., 1], _volume() * 2.0 - 7)


@pytest.mark.parametrize(
    "kind", ["RLE", "implicit", "bigendian", "jp2klossless", "jpeg_ls_lossless"]
)
def test_transfer_syntaxes(kind, read_paths):
    case = read_paths(get_testdata_file(f"MR_small_{kind}.dcm"))
    np.testing.assert_array_equal(case.images[0, ..., 1], _template().pixel_array)


def test_what_cannot_be_decoded_is_one_line(tmp_path, error_of):
    assert "damaged DICOM file" in error_of(get_testdata_file("MR_truncated.dcm"))
    header = pydicom.dcmread(get_testdata_file("MR_small_RLE.dcm"))
    header.file_meta.TransferSyntaxUID = pydicom.uid.MPEG4HP41
    header.save_as(tmp_path / "video.dcm")
    assert "MPEG-4" in error_of(tmp_path / "video.dcm")
    header = _template()
    header.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    header.save_as(tmp_path / "deflated.dcm")
    assert "other than deflated" in error_of(tmp_path / "deflated.dcm")


def test_missing_decoders_are_named(tmp_path, monkeypatch, error_of):
    syntax = pydicom.uid.JPEGLosslessSV1
    decoder = pydicom.pixels.get_decoder(syntax)
    monkeypatch.setattr(decoder, "_available", {})  # whatever is installed here
    header = pydicom.dcmread(get_testdata_file("MR_small_RLE.dcm"))
    header.file_meta.TransferSyntaxUID = syntax
    header.save_as(tmp_path / "a.dcm")
    message = error_of(tmp_path / "a.dcm")
    assert message.startswith(f"{tmp_path / 'a.dcm'}: transfer syntax JPEG Lossless, Non-Hier")
    assert "pylibjpeg-libjpeg" in message and message.endswith(", not installed")
    assert "damaged" not in message


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Rows": 60000, "Columns": 60000}, "1x60000x60000 voxels"),
        ({"NumberOfFrames": 2**31 - 1}, "voxels"),
        ({"Rows": 0}, "0x64 voxels"),
        ({"Rows": 65}, "damaged DICOM file"),
        ({"Modality": "CT"}, "Modality is CT, expected MR"),
        ({"PhotometricInterpretation": "RGB"}, "PhotometricInterpretation is RGB"),
        ({"BitsAllocated": 1}, "BitsAllocated is 1"),
        ({"SOPInstanceUID": None}, "SOPInstanceUID"),
        ({"SeriesInstanceUID": ["1.2", "3.4"]}, "SeriesInstanceUID"),
        ({"RescaleSlope": 0}, "RescaleSlope is 0"),
        ({"ImagePositionPatient": ["nan", 0, 0]}, "finite numbers"),
        ({"ImagePositionPatient": None}, "damaged DICOM file"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "two unit vectors"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "expected an axial slice"),
        ({"PixelSpacing": [0, 1]}, "three independent axes"),
        ({"SeriesDescription": "T1 post Gd"}, "expected a FLAIR, found only T1c"),
    ],
)
def test_hostile_headers(tmp_path, attributes, reason, error_of):
    header = _template()
    for name, value in attributes.items():
        setattr(header, name, value)
    header.save_as(tmp_path / "a.dcm")
    assert reason in error_of(tmp_path / "a.dcm")


def test_more_pixels_than_the_header_tells(tmp_path, error_of):
    header = pydicom.dcmread(get_testdata_file("MR_small_RLE.dcm"))
    run = bytes([129, 0]) * 2**17  # each pair becomes 128 pixels
    header.PixelData = pydicom.encaps.encapsulate([bytes(64) + run])
    header.save_as(tmp_path / "a.dcm")
    assert "bytes of pixels, expected 8192" in error_of(tmp_path / "a.dcm")


def test_series_that_is_no_volume(tmp_path, read_paths, error_of):
    volume = _volume()
    _write_series(tmp_path / "a", volume)
    path = sorted((tmp_path / "a").iterdir())[0]
    header = pydicom.dcmread(path)
    original = header.ImagePositionPatient
    other = pydicom.dcmread(sorted((tmp_path / "a").iterdir())[1]).ImagePositionPatient
    header.ImagePositionPatient = other
    header.save_as(path)
    assert "two slices at one place" in error_of(tmp_path / "a")
    header.ImagePositionPatient = original
    for number, path in enumerate(sorted((tmp_path / "a").iterdir())[:2]):
        header = pydicom.dcmread(path)
        header.ImagePositionPatient = [*original[:2], 100 + number]
        header.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]
        header.save_as(path)
    assert "different size, orientation" in error_of(tmp_path / "a")
    path.unlink()
    case = read_paths(tmp_path / "a")
    assert len(case.images) == 3
    assert "left out 1 slice of other size, orientation or spacing" in case.notes


def test_missing_slice_is_noted(tmp_path, read_paths):
    _write_series(tmp_path / "a", _volume())
    gone = min(
        (tmp_path / "a").iterdir(),
        key=lambda path: abs(pydicom.dcmread(path).ImagePositionPatient[2] + 62),
    )
    gone.unlink()
    case = read_paths(tmp_path / "a")
    assert "slices 4 to 8 mm apart; the volume takes each for 5.333 mm" in case.notes
    np.testing.assert_array_equal(case.images[..., 1], np.delete(_volume(), 2, axis=0))


def test_series_of_a_study_by_their_descriptions(tmp_path, read_paths, error_of):
    descriptions = {"t": ("Ax T1", 0), "f": ("Ax T2 FLAIR", 1), "c": ("AX T1 POST", 2)}
    for name, (description, seed) in descriptions.items():
        _write_series(
            tmp_path / "p" / name, _volume(seed), seed=seed, SeriesDescription=description
        )
    for name, (description, seed) in descriptions.items():  # the same in one folder
        _write_series(
            tmp_path / "q", _volume(seed), seed=seed, study="9.9", SeriesDescription=description
        )
        for path in list((tmp_path / "q").iterdir()):
            if len(path.stem) == 3:
                path.rename(path.with_name(f"{name}{path.stem}"))
    sources = find_cases([tmp_path])
    assert [source.case_id for source in sources] == ["p", "q"]
    for source in sources:
        case = read_case(source)
        for place in range(3):
            np.testing.assert_array_equal(case.images[..., place], _volume(place))
        assert len(case.notes) == 1 and case.notes[0].startswith("T1: series ")
    _write_series(tmp_path / "p" / "x", _volume(3), SeriesDescription="ADC")
    assert read_paths(tmp_path / "p").notes[1].startswith("left out: series …")


def test_mixed_series_of_unknown_contrast(tmp_path, error_of):
    for name in ("a", "b"):
        _write_series(tmp_path / "p" / name, _volume(), SeriesDescription=name)
    assert "expected a FLAIR, found only other contrasts: series " in error_of(tmp_path / "p")


@pytest.mark.parametrize("other", [{"study": "9.9"}, {"PatientID": "another"}])
def test_patients_and_studies_are_not_mixed(tmp_path, other, error_of):
    _write_series(tmp_path / "f", _volume(), SeriesDescription="FLAIR")
    _write_series(tmp_path / "t", _volume(1), SeriesDescription="T1", **other)
    for folder in ("f", "t"):
        for path in list((tmp_path / folder).iterdir()):
            (tmp_path / "p").mkdir(exist_ok=True)
            path.rename(tmp_path / "p" / f"{folder}{path.name}")
    expected = f"{tmp_path / 'p'}: files of 2 patients or studies, expected one in a folder"
    assert error_of(tmp_path / "p") == expected


def test_several_patients_are_several_cases(tmp_path):
    for name in ("a", "b"):
        _write_series(tmp_path / name, _volume(), study=hd.UID())
    assert [source.case_id for source in find_cases([tmp_path])] == ["a", "b"]
