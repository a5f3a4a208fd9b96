"""Slices of another plane than axial: where they lie, and where their masks do."""

from dataclasses import replace
from itertools import permutations, product

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel import orientations
from pydicom.uid import MRImageStorage, generate_uid

from agd_keras.cli.predict import main as predict_command
from agd_keras.config import DataConfig, make_config
from agd_keras.data.cache import build_cache
from agd_keras.data.phantom import make_phantom
from agd_keras.data.preprocessor import Preprocessor, preprocessor_of
from agd_keras.errors import InputError
from agd_keras.evaluation.readers import study_readers
from agd_keras.export.web import export_web
from agd_keras.inference.predict_case import predict_case
from agd_keras.inference.predict_files import predict_files
from agd_keras.inference.predictor import load_predictor
from agd_keras.inference.stored_preprocessor import write_preprocessor
from agd_keras.io.data_set import find_data_set
from agd_keras.io.discovery import find_cases, read_case
from agd_keras.io.geometry import AXES, choose_plane, slice_spacing
from agd_keras.io.labels import read_labelled
from agd_keras.io.likeness import describe_likeness
from agd_keras.io.nifti import read_nifti
from agd_keras.models import agd_autoencoder
from agd_keras.runs.evaluate_model import evaluate_model
from agd_keras.view.case import Shown, shown_axial

RAS = np.diag([1.0, 2.0, 5.0, 1.0])
ORIENTATIONS = [
    "".join(codes) for order in permutations(("LR", "PA", "IS")) for codes in product(*order)
]
# By plane, slices as this says of a volume whose axes run to the right, to the front and up.
SLICES = {
    "axial": lambda volume: volume[::-1, ::-1].transpose(2, 1, 0),
    "coronal": lambda volume: volume[::-1, ::-1, ::-1].transpose(1, 2, 0),
    "sagittal": lambda volume: volume[:, ::-1, ::-1].transpose(0, 2, 1),
}
STEPS = {"axial": (5.0, 2.0, 1.0), "coronal": (2.0, 5.0, 1.0), "sagittal": (1.0, 5.0, 2.0)}


def reformatted(volume, codes, affine=RAS):
    """The same volume with its axes in another order and direction, by nibabel."""
    image = nibabel.Nifti1Image(volume, affine)
    start = orientations.io_orientation(affine)
    return image.as_reoriented(
        orientations.ornt_transform(start, orientations.axcodes2ornt(tuple(codes)))
    )


def points(image):
    """Where the marked voxels of an image lie in mm."""
    voxels = np.argwhere(np.asarray(image.dataobj) > 0)
    return sorted(map(tuple, nibabel.affines.apply_affine(image.affine, voxels).round(6)))


@pytest.mark.parametrize("plane", AXES)
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_slices_lie_as_said_in_whatever_order_the_voxels_are(codes, plane, tmp_path):
    volume = np.random.default_rng(0).integers(1, 255, (4, 5, 6)).astype(np.uint8)
    reformatted(volume, codes).to_filename(tmp_path / "a.nii")
    case = read_nifti("a", [tmp_path / "a.nii"], plane=plane)
    np.testing.assert_array_equal(case.flair, SLICES[plane](volume))
    assert case.spacing == pytest.approx(STEPS[plane])
    assert (case.plane, case.sides) == (plane, "AP" if plane == "sagittal" else "RL")
    case.write_masks(case.flair > 128, [tmp_path / "mask.nii"])
    written = nibabel.load(tmp_path / "mask.nii")
    assert nibabel.aff2axcodes(written.affine) == tuple(codes)
    assert points(written) == points(nibabel.Nifti1Image((volume > 128).astype(np.uint8), RAS))


@pytest.mark.parametrize(
    ("steps", "shape", "plane"),
    [
        ((1.0, 1.0, 5.0), (9, 9, 9), "axial"),
        ((1.0, 6.0, 1.0), (9, 9, 9), "coronal"),
        ((4.0, 1.0, 1.0), (9, 9, 9), "sagittal"),
        ((1.0, 1.0, 1.0), (9, 9, 9), "axial"),
        ((1.004, 1.0, 1.0), (9, 9, 9), "axial"),  # rounding
        ((1.2, 1.0, 1.0), (9, 9, 9), "sagittal"),
        ((1.0, 0.5, 0.5), (9, 1, 9), "coronal"),  # a single slice
    ],
)
@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASR", "SLP"])
def test_the_plane_that_was_acquired(steps, shape, plane, codes):
    image = reformatted(np.zeros(shape, np.uint8), codes, np.diag([*steps, 1.0]))
    assert choose_plane("auto", image.affine, image.shape) == plane
    assert choose_plane("coronal", image.affine, image.shape) == "coronal"


def test_spacing_of_a_sheared_volume_keeps_its_voxels():
    sheared = np.diag([1.0, 2.0, 5.0, 1.0])
    sheared[1, 2] = 3
    for plane in AXES:
        spacing = slice_spacing(sheared, plane)
        assert np.prod(spacing) == pytest.approx(10)
    # Slices are 5 mm high along the axis that leans by 3 mm.
    assert slice_spacing(sheared, "coronal")[1] == pytest.approx(np.hypot(5, 3))


# An affine for slices `(slices, rows, columns)` saved as `(columns, rows, slices)`, 5 mm apart.
PLACED = {
    "axial": np.diag([-1.0, -1.0, 5.0, 1.0]),
    "coronal": np.array([[-1, 0, 0, 0], [0, 0, -5, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]]),
    "sagittal": np.array([[0, 0, 5, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]]),
}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return make_phantom(tmp_path_factory.mktemp("kaggle") / "d", patients=3, slices=5, size=32)


def write_volumes(root, phantom, planes, codes=None):
    """The slices of the phantom as if each patient had been scanned in a plane."""
    for ref, plane in zip(find_data_set(phantom), planes, strict=True):
        case, label = read_labelled(ref)
        t1, flair, t1c = np.moveaxis(case.images, -1, 0)
        folder = root / ref.case_id
        folder.mkdir(parents=True)
        for name, slices in (("t1", t1), ("flair", flair), ("t1ce", t1c), ("seg", label)):
            volume = np.ascontiguousarray(slices.transpose(2, 1, 0), np.uint8)
            image = nibabel.Nifti1Image(volume, PLACED[plane])
            if codes:
                image = reformatted(volume, codes, PLACED[plane])
            image.to_filename(folder / f"{ref.case_id}_{name}.nii.gz")


@pytest.mark.parametrize(
    ("plane", "planes", "codes"),
    [
        ("auto", ("axial", "coronal", "sagittal"), None),
        ("auto", ("sagittal", "axial", "coronal"), "SRA"),
        ("coronal", ("coronal",) * 3, "RAS"),
        ("sagittal", ("sagittal",) * 3, "PIR"),
    ],
)
def test_other_planes_give_the_very_network_input(plane, planes, codes, phantom, tmp_path):
    write_volumes(tmp_path / "d", phantom, planes, codes)
    expected = build_cache(find_data_set(phantom), Preprocessor(16), tmp_path / "a")
    preprocessor = preprocessor_of(DataConfig(image_size=16, plane=plane))
    found = build_cache(find_data_set(tmp_path / "d"), preprocessor, tmp_path / "b")
    for one, other in zip(found.slices, expected.slices, strict=True):
        assert found.path(one).read_bytes() == expected.path(other).read_bytes()
    for case in expected.cases:
        np.testing.assert_array_equal(found.read_mask(case), expected.read_mask(case))


def test_a_patient_is_recognised_whatever_the_plane(phantom, tmp_path):
    write_volumes(tmp_path, phantom, ("axial",) * 3)
    described = [
        describe_likeness(read_case(find_cases([tmp_path], plane=plane)[0])) for plane in AXES
    ]
    assert described[0] == described[1] == described[2]


# In DICOM's axes, which run to the left, back and up.
DIRECTIONS = {"L": (1, 0, 0), "P": (0, 1, 0), "S": (0, 0, 1), "R": (-1, 0, 0), "I": (0, 0, -1)}


def normal_of(plane):
    return DIRECTIONS[AXES[plane][2]]


def write_series(folder, slices, plane, study):
    """A DICOM series of FLAIR, 5 mm from slice to slice."""
    base = pydicom.dcmread(pydicom.data.get_testdata_file("MR_small.dcm"))
    series, space = generate_uid(), generate_uid()
    column, row, normal = (DIRECTIONS[letter] for letter in AXES[plane])
    folder.mkdir(parents=True)
    for number, pixels in enumerate(slices):
        header = base.copy()
        header.file_meta = base.file_meta
        header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, generate_uid()
        header.StudyInstanceUID, header.SeriesInstanceUID = study, series
        header.FrameOfReferenceUID, header.SeriesDescription = space, f"{plane} FLAIR"
        header.SeriesNumber = list(AXES).index(plane) + 1
        header.Rows, header.Columns = pixels.shape
        header.PixelSpacing, header.SliceThickness = [1, 1], 5
        header.ImageOrientationPatient = [*column, *row]
        header.ImagePositionPatient = [5 * number * step for step in normal]
        for keyword in ("RescaleSlope", "RescaleIntercept", "SpacingBetweenSlices"):
            if keyword in header:
                delattr(header, keyword)
        header.PixelData = pixels.astype("<i2").tobytes()
        header.save_as(folder / f"{number}.dcm")


def test_dicom_in_another_plane_and_back(phantom, tmp_path):
    [ref, *_] = find_data_set(phantom)
    case, label = read_labelled(ref)
    study = generate_uid()
    for plane in AXES:  # in one study: the series of the plane is preferred
        write_series(tmp_path / "s" / plane, case.flair, plane, study)
    for plane in AXES:
        [found] = find_cases([tmp_path / "s"], wanted=("FLAIR",), plane=plane)
        read = read_case(found)
        np.testing.assert_array_equal(read.flair, case.flair)
        assert (read.plane, read.spacing) == (plane, pytest.approx((5.0, 1.0, 1.0)))
        read.write_masks(label, [tmp_path / f"{plane}.dcm"])
        segmentation = pydicom.dcmread(tmp_path / f"{plane}.dcm")
        places = [
            np.dot(frame.PlanePositionSequence[0].ImagePositionPatient, normal_of(plane)) / 5
            for frame in segmentation.PerFrameFunctionalGroupsSequence
        ]
        np.testing.assert_array_equal(segmentation.pixel_array, label[np.rint(places).astype(int)])
    write_series(tmp_path / "one", case.flair[:1], "coronal", study)
    [alone] = find_cases([tmp_path / "one"], wanted=("FLAIR",), plane="auto")
    assert read_case(alone).plane == "coronal"
    with pytest.raises(InputError, match="expected a sagittal slice, found one in another plane"):
        read_case(find_cases([tmp_path / "one"], wanted=("FLAIR",), plane="sagittal")[0])


class Lower:
    """Marks what is bright in the lower half of each slice: what is upside down shows."""

    preprocessor = Preprocessor(16, plane="coronal")

    def predict_patient(self, images):
        bright = (images[..., 1] > 100).astype("float32")
        bright[:, : images.shape[1] // 2] = 0
        return bright


def test_masks_maps_and_pictures_of_another_plane(tmp_path):
    volume = np.zeros((20, 22, 24), np.uint8)
    volume[3:9, 4:9, 2:20] = 200
    truth = np.where(np.arange(24) < 12, volume, 0)  # below: of the top rows nothing
    volume[volume == 0] = np.arange((volume == 0).sum()) % 50  # a scan, no label map
    for codes in ("RAS", "PSL", "AIR"):
        folder = tmp_path / codes
        folder.mkdir()
        reformatted(volume, codes).to_filename(folder / "a.nii.gz")
        out = tmp_path / f"{codes}-out"
        predict_files(Lower(), [folder], out, save_probability=True, uncertainty="tta")
        expected = points(nibabel.Nifti1Image(truth, RAS))
        assert points(nibabel.load(out / "a_mask.nii.gz")) == expected
        probability = nibabel.load(out / "a_probability.nii.gz")
        assert probability.shape == nibabel.load(folder / "a.nii.gz").shape
        with np.load(out / "a_uncertainty.npz") as maps:
            assert (str(maps["plane"]), maps["entropy"].shape) == ("coronal", (22, 24, 20))
    predict_files(Lower(), [folder], tmp_path / "axial", plane="axial")
    assert points(nibabel.load(tmp_path / "axial" / "a_mask.nii.gz")) != expected


def test_a_second_reader_of_volumes_in_any_plane(phantom, tmp_path):
    """One who has marked the same, in files whose voxels lie in another order."""
    write_volumes(tmp_path / "d", phantom, ("axial", "coronal", "sagittal"))
    (tmp_path / "second").mkdir()
    cases = [replace(ref, plane="auto") for ref in find_data_set(tmp_path / "d")]
    for ref, codes in zip(cases, ("RAS", "LIP", "PIR"), strict=True):
        label = nibabel.load(ref.label[0])
        axes = orientations.io_orientation(label.affine)
        turned = orientations.ornt_transform(axes, orientations.axcodes2ornt(tuple(codes)))
        label.as_reoriented(turned).to_filename(tmp_path / "second" / f"{ref.case_id}.nii.gz")
    found = study_readers(lambda case: np.zeros(case.images.shape[:3]), cases, tmp_path / "second")
    assert [found["subjects"][ref.case_id]["readers"] for ref in cases] == [1, 1, 1]


def test_the_page_shows_axial_slices_of_any_case(phantom, tmp_path):
    write_volumes(tmp_path, phantom, ("axial",) * 3)
    [axial, *_] = find_cases([tmp_path])
    whole = read_case(axial)
    for plane in ("coronal", "sagittal"):
        case = read_case(find_cases([tmp_path], plane=plane)[0])
        layers = {"prediction": ("prediction", case.flair > 100)}
        shown = shown_axial(Shown(case.flair, case.spacing, layers), case)
        np.testing.assert_array_equal(shown.scan, whole.flair)
        np.testing.assert_array_equal(shown.layers["prediction"][1], whole.flair > 100)
        assert shown.spacing == whole.spacing


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of coronal slices, as training stores it."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    agd_autoencoder((32, 32, 3), filters=(4, 8)).save(path)
    write_preprocessor(path, Preprocessor(32, plane="coronal"))
    return path


def test_a_model_decides_its_plane(model, phantom, tmp_path, monkeypatch):
    write_volumes(tmp_path / "d", phantom, ("coronal",) * 3, "LPS")
    scan = tmp_path / "d" / "phantom_001"
    predictor = load_predictor(model)
    predict_files(predictor, [scan], tmp_path / "coronal", overlays=False, save_probability=True)
    options = ["--model", str(model), "--plane", "axial", "--save-probability", "--no-overlays"]
    assert predict_command([str(scan), *options, "--out", str(tmp_path / "axial")]) == 0
    for plane in ("coronal", "axial"):
        saved = nibabel.load(tmp_path / plane / "phantom_001_probability.nii.gz")
        probability = predict_case(predictor, read_case(find_cases([scan], plane=plane)[0]))
        ras = np.asarray(nibabel.as_closest_canonical(saved).dataobj)
        np.testing.assert_allclose(SLICES[plane](ras), probability, atol=1e-6)

    scored = []
    monkeypatch.setattr(
        "agd_keras.runs.evaluate_model.assess",
        lambda predictor, cases, *_, **__: scored.append(cases),
    )
    evaluate_model(model, tmp_path / "d", tmp_path / "results")
    evaluate_model(model, tmp_path / "d", tmp_path / "other", plane="axial")
    assert [{case.plane for case in cases} for cases in scored] == [{"coronal"}, {"axial"}]

    monkeypatch.setattr("agd_keras.export.web.find_page", lambda: tmp_path)
    with pytest.raises(InputError, match="takes axial slices, .* plane coronal"):
        export_web(model, tmp_path / "page", "phantom")


def test_preprocessors_of_before_are_axial():
    values = Preprocessor(32).to_values()
    del values["plane"]
    assert Preprocessor.from_values(values) == Preprocessor(32)
    with pytest.raises(InputError, match="plane 'oblique': expected one of auto, axial"):
        Preprocessor.from_values({**values, "plane": "oblique"})
    with pytest.raises(InputError, match="data.plane.*received 'oblique'"):
        make_config({"data": {"plane": "oblique"}})
