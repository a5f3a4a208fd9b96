"""Which series of a study is which contrast, and what is said of it."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    generate_uid,
)

from agd_keras.errors import InputError
from agd_keras.io.dicom_candidate import read_candidates
from agd_keras.io.discovery import find_cases, read_case

SHAPE = (4, 6, 8)  # planes, rows, columns
STUDY, FRAME = generate_uid(), generate_uid()
SAGITTAL = [0, 1, 0, 0, 0, -1]
AXIAL = [1, 0, 0, 0, 1, 0]


def _volume(seed: int, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1000, shape).astype("<i2")


def _write(folder: Path, seed=0, description="", planes=None, axes=AXIAL, gap=5.0, **attributes):
    """A series of a file a plane."""
    planes = _volume(seed) if planes is None else planes
    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid()
    for place, plane in enumerate(planes):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = MRImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, series, FRAME
        ds.PatientID, ds.Modality, ds.SeriesNumber = "p", "MR", seed
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        if description:
            ds.SeriesDescription = description
        ds.Rows, ds.Columns = plane.shape
        ds.PixelSpacing, ds.SliceThickness, ds.ImageOrientationPatient = [1, 1], gap, axes
        normal = np.cross(axes[:3], axes[3:])
        ds.ImagePositionPatient = (place * gap * normal).tolist()
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = (
            1,
            "MONOCHROME2",
            1,
        )
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelData = plane.tobytes()
        for name, value in attributes.items():
            setattr(ds, name, value)
        ds.save_as(folder / f"{series[-6:]}_{place}.dcm", enforce_file_format=True)


def _study(root: Path, *series: dict) -> Path:
    for number, one in enumerate(series, start=1):
        _write(root / f"s{number}", number, **one)
    return root


def _taken(root: Path) -> dict[str, int]:
    """Number of the series that each channel holds, by its pixels."""
    [source] = find_cases([root])
    images = read_case(source).images
    volumes = {number: _volume(number) for number in range(1, 7)}
    return {
        name: next((n for n, v in volumes.items() if np.array_equal(images[..., place], v)), 0)
        for place, name in enumerate(("T1", "FLAIR", "T1c"))
    }


PHYSICS = {
    "FLAIR": {"EchoTime": 90, "RepetitionTime": 9000, "InversionTime": 2500},
    "T1": {"EchoTime": 12, "RepetitionTime": 500, "ScanningSequence": "SE"},
    "T2": {"EchoTime": 90, "RepetitionTime": 4000, "ScanningSequence": "SE"},
    "MPRAGE": {"EchoTime": 3, "RepetitionTime": 2000, "InversionTime": 900},
    "TOF": {"EchoTime": 6, "RepetitionTime": 24, "ScanningSequence": "GR"},
    "EPI": {"EchoTime": 90, "RepetitionTime": 5000, "ScanningSequence": "EP"},
}

STUDIES = {
    "English, with others beside": (
        [
            {"description": "AX T1"},
            {"description": "AX T2 FLAIR"},
            {"description": "AX T1 POST GD"},
            {"description": "AX DWI"},
            {"description": "AX T2"},
            {"description": "3-plane loc"},
        ],
        {"T1": 1, "FLAIR": 2, "T1c": 3},
    ),
    "Siemens": (
        [
            {"description": "t1_se_tra"},
            {"description": "t2_tirm_tra_dark-fluid"},
            {"description": "t1_se_tra_KM"},
        ],
        {"T1": 1, "FLAIR": 2, "T1c": 3},
    ),
    "about an operation": (
        [
            {"description": "POST-OP AX T1", "ContrastBolusAgent": "NONE"},
            {"description": "POST-OP AX FLAIR"},
            {"description": "POST-OP AX T1", "ContrastBolusAgent": "Gadovist"},
        ],
        {"T1": 1, "FLAIR": 2, "T1c": 3},
    ),
    "times where descriptions are silent": (
        [
            {"description": "one", **PHYSICS["T1"]},
            {**PHYSICS["FLAIR"]},
            {"ContrastBolusAgent": "GD", **PHYSICS["MPRAGE"]},
            {**PHYSICS["T2"]},
            {**PHYSICS["EPI"]},
            {**PHYSICS["TOF"]},
        ],
        {"T1": 1, "FLAIR": 2, "T1c": 3},
    ),
    "tirm by its inversion time": (
        [{"description": "t2_tirm_tra", **PHYSICS["FLAIR"]}, {"description": "t2_tse_tra"}],
        {"T1": 1, "FLAIR": 1, "T1c": 1},
    ),
    "a FLAIR weighted by T1": (
        [{"description": "AX FLAIR", **PHYSICS["MPRAGE"]}, {"description": "AX T2 FLAIR"}],
        {"T1": 1, "FLAIR": 2, "T1c": 2},
    ),
    "the protocol where the description is silent": (
        [{"ProtocolName": "t2_flair_tra"}, {"ProtocolName": "t1_se_tra"}],
        {"T1": 2, "FLAIR": 1, "T1c": 1},
    ),
    "sagittal ones beside": (
        [
            {"description": "AX T1"},
            {"description": "AX FLAIR"},
            {"description": "SAG T1", "axes": SAGITTAL},
            {"description": "SAG FLAIR", "axes": SAGITTAL},
        ],
        {"T1": 1, "FLAIR": 2, "T1c": 2},
    ),
    "derived ones and maps beside": (
        [
            {"description": "AX T1"},
            {"description": "AX FLAIR"},
            {"description": "AX FLAIR", "ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]},
            {"description": "AX T1 C+", "ImageType": ["DERIVED", "PRIMARY", "SUBTRACT"]},
            {"description": "AX FLAIR", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        ],
        {"T1": 1, "FLAIR": 2, "T1c": 2},
    ),
    "a part of the head beside": (
        [{"description": "FLAIR", "planes": _volume(1)}, {"description": "FLAIR", "gap": 1.0}],
        {"T1": 1, "FLAIR": 1, "T1c": 1},
    ),
    "a second FLAIR after contrast agent": (
        [{"description": "AX FLAIR"}, {"description": "AX FLAIR +C"}],
        {"T1": 1, "FLAIR": 1, "T1c": 1},
    ),
    "other modalities beside": (
        [{"description": "AX FLAIR"}, {"description": "AX T1", "Modality": "CT"}],
        {"T1": 1, "FLAIR": 1, "T1c": 1},
    ),
}


@pytest.mark.parametrize("study", STUDIES)
def test_studies(tmp_path, study):
    series, expected = STUDIES[study]
    assert _taken(_study(tmp_path, *series)) == expected


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        (["AX FLAIR", "AX FLAIR"], "2 series for FLAIR: series 1 'AX FLAIR' (s1/"),
        (["AX T1", "AX FLAIR", "AX T1"], "2 series for T1: series 1 'AX T1' (s1/"),
        (["AX T1", "AX T1 GD"], "expected a FLAIR, found only T1 and T1c: series 1 'AX T1'"),
        (["AX T2"], "expected a FLAIR, found only T2: series 1 'AX T2'"),
        (["one", "two"], "expected a FLAIR, found only other contrasts: series 1 'one'"),
        ([f"FLAIR{chr(27)}[2J\n{'x' * 90}", "FLAIR"], "FLAIR [2J xxx"),
    ],
)
def test_what_nothing_settles_lists_the_series(tmp_path, series, reason):
    [source] = find_cases([_study(tmp_path, *({"description": name} for name in series))])
    with pytest.raises(InputError) as caught:
        read_case(source)
    line = str(caught.value)
    assert (
        reason in line and "--flair, --t1 and --t1c with the folder or a file of a series" in line
    )
    assert line.isprintable() and "x" * 60 not in line


def test_notes_hold_no_free_text_unless_asked(tmp_path):
    _study(
        tmp_path,
        {"description": "AX T1 Mr Miller"},
        {"description": "AX FLAIR born 1950"},
        {"description": "AX T2 Miller"},
    )
    [source] = find_cases([tmp_path])
    assert read_case(source).notes[:3] == (
        *("T1: series 1, FLAIR: series 2", "left out: series 3", "T1c filled by FLAIR"),
    )
    assert read_case(source, descriptions=True).notes[:2] == (
        "T1: series 1 (AX T1 Mr Miller), FLAIR: series 2 (AX FLAIR born 1950)",
        "left out: series 3 (AX T2 Miller)",
    )


def test_a_single_series_that_nothing_tells(tmp_path):
    [source] = find_cases([_study(tmp_path, {})])
    expected = "FLAIR: series 1, taken as FLAIR, since nothing tells"
    assert read_case(source).notes[0] == expected
    _write(tmp_path / "b", 1, **PHYSICS["T1"], StudyInstanceUID="1.2")
    [source] = find_cases([tmp_path / "b"])
    with pytest.raises(InputError, match="expected a FLAIR, found only T1"):
        read_case(source)


def test_series_that_the_user_names(tmp_path):
    """By its folder, or by one of its files in a folder of several."""
    _study(tmp_path, {"description": "AX FLAIR"}, {"description": "AX FLAIR"})
    for path in sorted((tmp_path / "s2").iterdir()):
        path.rename(tmp_path / "s1" / f"b{path.name}")
    files = {"FLAIR": tmp_path / "s1" / next((tmp_path / "s1").glob("b*"))}
    [source] = find_cases([], contrasts=files)
    np.testing.assert_array_equal(read_case(source).images[..., 1], _volume(2))
    with pytest.raises(InputError, match="expected one DICOM series, found 2; name a file of it"):
        find_cases([], contrasts={"FLAIR": tmp_path / "s1"})
    _write(tmp_path / "s3", 3, "AX T2")
    [source] = find_cases([], contrasts={"T1": tmp_path / "s3", **files})
    images = read_case(source).images
    np.testing.assert_array_equal(images[..., 0], _volume(3))
    np.testing.assert_array_equal(images[..., 1], _volume(2))


def test_a_study_in_folders_of_any_depth(tmp_path):
    for number, description in enumerate(("AX T1", "AX FLAIR"), start=1):
        _write(tmp_path / "S" / "scans" / f"{number}" / "DICOM" / "files", number, description)
    _write(tmp_path / "T" / "DICOM", 3, "AX FLAIR", StudyInstanceUID="1.2.3")
    found = {source.case_id: read_case(source) for source in find_cases([tmp_path])}
    assert list(found) == ["S/scans", "T/DICOM"]
    np.testing.assert_array_equal(found["S/scans"].images[..., 0], _volume(1))


def test_a_dicomdir_is_no_case(tmp_path):
    _write(tmp_path / "IMAGES", 1, "AX FLAIR")
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.FileSetID = "DISC"
    ds.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    for given in (tmp_path, tmp_path / "DICOMDIR"):
        [source] = find_cases([given])
        assert source.case_id == "IMAGES"
        np.testing.assert_array_equal(read_case(source).images[..., 1], _volume(1))


def test_another_frame_of_reference(tmp_path):
    other = {"description": "AX T1", "planes": _volume(1, (3, 6, 8)), "FrameOfReferenceUID": "1.2"}
    [source] = find_cases([_study(tmp_path, other, {"description": "AX FLAIR"})])
    case = read_case(source)
    assert "warning: T1 in another frame of reference than FLAIR, not used" in case.notes
    assert "T1 and T1c filled by FLAIR" in case.notes
    np.testing.assert_array_equal(case.images[..., 0], _volume(2))


def test_a_sagittal_t1_beside_an_axial_flair(tmp_path):
    """Both of one field that is linear in space: on the FLAIR's grid they are equal."""

    def field(planes, rows, columns, axes, gap, origin):
        k, i, j = np.meshgrid(*map(np.arange, (planes, rows, columns)), indexing="ij")
        row, column = np.array(axes[:3]), np.array(axes[3:])
        steps = [gap * np.cross(row, column), column, row]
        world = sum(n[..., None] * step for n, step in zip((k, i, j), steps, strict=True)) + origin
        return (world @ [1, 2, -3] + 500).astype("<i2")

    origin = np.array([20, -10, 20])  # planes run to the right, rows downwards
    t1 = field(40, 40, 40, SAGITTAL, 1, origin)
    _write(tmp_path / "t", 1, "t1_mprage_sag_KM", t1, SAGITTAL, 1.0)
    for path in (tmp_path / "t").iterdir():
        ds = dcmread(path)
        ds.ImagePositionPatient = (np.array(ds.ImagePositionPatient) + origin).tolist()
        ds.save_as(path)
    _write(tmp_path / "f", 2, "t2_flair_tra", field(*SHAPE, AXIAL, 5, np.zeros(3)))
    case = read_case(*find_cases([tmp_path]))
    assert case.notes[1:] == ("T1c resampled to the FLAIR's grid", "T1 filled by FLAIR")
    np.testing.assert_allclose(case.images[..., 2], case.images[..., 1], atol=1e-3)


@pytest.mark.parametrize(
    ("weighting", "taken"), [("FLUID_ATTENUATED", "FLAIR"), ("T1", "T1"), ("DIFFUSION", "other")]
)
def test_enhanced_files_name_their_contrast(tmp_path, weighting, taken):
    """Also the times of such files lie in groups of their frames."""
    _write(tmp_path, 1, AcquisitionContrast=weighting)
    assert read_candidates(tmp_path, list(tmp_path.iterdir()))[0].contrast == taken
    group, timing, echo, modifier = (Dataset() for _ in range(4))
    timing.RepetitionTime, echo.EffectiveEchoTime, modifier.InversionTimes = 9000.0, 90.0, [2500.0]
    group.MRTimingAndRelatedParametersSequence = [timing]
    group.MREchoSequence, group.MRModifierSequence = [echo], [modifier]
    _write(tmp_path / "b", 2, SharedFunctionalGroupsSequence=[group])
    [one] = read_candidates(tmp_path, list((tmp_path / "b").iterdir()))
    assert one.contrast == "FLAIR"


@pytest.mark.parametrize(
    "told",
    [
        {"ContrastBolusVolume": "10"},
        {"ContrastBolusTotalDose": "5"},
        {"ContrastBolusStartTime": "101010"},
        {"ContrastBolusAgent": "Gadovist", "ContrastBolusVolume": "0"},
    ],
)
def test_an_agent_is_told_by_its_amount_where_it_has_no_name(tmp_path, told):
    _write(tmp_path / "a", 1, "FLAIR")
    _write(tmp_path / "b", 2, "t1_mprage", **told)
    assert read_case(find_cases([tmp_path])[0]).notes[0] == "FLAIR: series 1, T1c: series 2"
    _write(tmp_path / "c", 3, "t1_mprage", ContrastBolusAgent="NONE", ContrastBolusVolume="0")
    notes = read_case(find_cases([tmp_path])[0]).notes
    assert notes[0] == "T1: series 3, FLAIR: series 1, T1c: series 2"
