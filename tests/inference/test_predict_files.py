"""Files in, files out: what is written where, what is refused, and what one bad case does."""

import csv
import errno
import logging
import os
import resource
import shutil
import tracemalloc

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from agd_keras.errors import InputError
from agd_keras.evaluation.uncertainty import patient_uncertainty
from agd_keras.inference.outputs import replacing
from agd_keras.inference.overlay import STRIP, add_title, draw_overlay
from agd_keras.inference.postprocess import Postprocessing
from agd_keras.inference.predict_case import predict_case
from agd_keras.inference.predict_files import COLUMNS, predict_files
from agd_keras.io.case import Case
from agd_keras.io.discovery import find_cases


class Bright:
    """Takes what is bright on FLAIR for tumour."""

    def __init__(self):
        self.seen = []

    def predict_patient(self, images):
        self.seen.append(images)
        return np.clip(images[..., 1] / 255, 0, 1).astype(np.float32)


def _picture(path, value=200, size=(6, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((*size, 3), np.uint8)
    array[1:4, 2:5, 1] = value
    Image.fromarray(array).save(path)
    return array


def _table(out) -> list[dict[str, str]]:
    with (out / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def test_masks_overlays_and_table(tmp_path):
    array = _picture(tmp_path / "in" / "a.tif")
    volume = array[..., 1].T[..., None].repeat(3, axis=2).astype(np.int16)
    volume[volume == 0] = np.arange((volume == 0).sum()) % 50  # a scan, no label map
    nibabel.Nifti1Image(volume, np.diag([-0.5, -2, 3, 1])).to_filename(tmp_path / "in" / "b.nii.gz")
    (tmp_path / "in" / "c").mkdir()
    shutil.copy(get_testdata_file("MR_small.dcm"), tmp_path / "in" / "c" / "d.dcm")
    out = tmp_path / "out"
    rows = predict_files(Bright(), [tmp_path / "in"], out)
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [
        *("a_mask.tif", "a_overlay.png", "b_mask.nii.gz", "b_overlay.png"),
        *("c_mask.dcm", "c_overlay.png", "predictions.csv"),
    ]
    np.testing.assert_array_equal(
        np.asarray(Image.open(out / "a_mask.tif")), (array[..., 1] >= 127.5) * np.uint8(255)
    )
    mask = np.asarray(nibabel.load(out / "b_mask.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, volume >= 127.5)
    pixels = pydicom.dcmread(tmp_path / "in" / "c" / "d.dcm").pixel_array
    np.testing.assert_array_equal(pydicom.dcmread(out / "c_mask.dcm").pixel_array, pixels >= 127.5)

    table = {row["case"]: row for row in _table(out)}
    assert list(table) == [row["case"] for row in rows] and tuple(_table(out)[0]) == COLUMNS
    assert table["a"]["voxels"] == "9" and table["a"]["area_mm2"] == table["a"]["volume_mm3"] == ""
    assert float(table["a"]["confidence"]) == pytest.approx(200 / 255)
    assert float(table["b"]["area_mm2"]) == 9.0 and float(table["b"]["volume_mm3"]) == 81.0
    assert table["b"]["slices"] == table["b"]["slices_with_tumour"] == "3"
    told = "taken as FLAIR, since its name tells no contrast; T1 and T1c filled by FLAIR"
    assert table["b"]["notes"] == told
    assert float(table["c"]["area_mm2"]) == pytest.approx((pixels >= 127.5).sum() * 0.3125**2)


def test_options_reach_the_mask(tmp_path):
    array = np.zeros((6, 9, 3), np.uint8)
    array[1:3, 1:3, 1], array[4, 4, 1], array[1:4, 6:8, 1] = 150, 250, 200
    Image.fromarray(array).save(tmp_path / "a.png")

    def predict(**options):
        chosen = Postprocessing(**options)
        predict_files(
            Bright(), [tmp_path / "a.png"], tmp_path / "o", postprocessing=chosen, overwrite=True
        )
        return np.asarray(Image.open(tmp_path / "o" / "a_mask.png")) > 0

    flair = array[..., 1]
    np.testing.assert_array_equal(predict(), flair > 0)
    np.testing.assert_array_equal(predict(threshold=0.7), flair >= 200)
    np.testing.assert_array_equal(predict(largest_component=True), flair == 200)
    np.testing.assert_array_equal(predict(min_size=2), (flair == 200) | (flair == 150))
    for options in ({"threshold": 0}, {"threshold": 1.5}, {"min_size": -1}):
        with pytest.raises(InputError, match="expected"):
            predict(**options)


def test_flips_average_with_the_mirrored_head():
    class Lopsided:
        def predict_patient(self, images):
            return images[..., 1] * np.linspace(0, 1, images.shape[2])

    images = np.random.default_rng(0).random((2, 4, 5, 3))
    case = Case(images, None, (), lambda mask, paths: None)
    weights = np.linspace(0, 1, 5)
    expected = images[..., 1] * (weights + weights[::-1]) / 2
    np.testing.assert_allclose(predict_case(Lopsided(), case, flips=True), expected)


def test_network_sees_a_square_field_of_view():
    images = np.random.default_rng(0).integers(10, 256, (2, 4, 10, 3), dtype=np.uint8)
    case = Case(images, (5.0, 1.5, 0.5), (), lambda mask, paths: None)  # 6 x 5 mm
    predictor = Bright()
    probability = predict_case(predictor, case)
    assert predictor.seen[0].shape == (2, 4, 12, 3)
    np.testing.assert_allclose(probability, images[..., 1] / np.float32(255), rtol=1e-6)


def test_one_bad_case_among_good_ones(tmp_path, caplog):
    for name in ("a", "c"):
        _picture(tmp_path / "in" / f"{name}.png")
    (tmp_path / "in" / "b.png").write_bytes(b"\x89PNG damaged")
    with caplog.at_level(logging.INFO), pytest.raises(InputError, match="1 of 3 cases could not"):
        predict_files(Bright(), [tmp_path / "in"], tmp_path / "out")
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        f"{tmp_path / 'in' / 'b.png'}: not a readable TIFF or PNG image"
    ]
    rows = _table(tmp_path / "out")
    assert [row["case"] for row in rows] == ["a", "b", "c"]
    assert rows[1]["notes"].startswith("not predicted: ") and rows[1]["voxels"] == ""
    assert (tmp_path / "out" / "c_mask.png").exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "not enough memory"),
        (PermissionError(errno.EACCES, "Permission denied"), "(Permission denied)"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), "(File name too long)"),
        (InputError("no head"), "no head"),
    ],
)
def test_whatever_one_case_raises_the_others_are_predicted(tmp_path, error, reason):
    for name, width in (("a", 8), ("b", 9), ("c", 8)):
        _picture(tmp_path / "in" / f"{name}.png", size=(6, width))

    class Fails(Bright):
        def predict_patient(self, images):
            if images.shape[2] == 9:
                raise error
            return super().predict_patient(images)

    with pytest.raises(InputError, match="1 of 3 cases could not"):
        predict_files(Fails(), [tmp_path / "in"], tmp_path / "out")
    rows = _table(tmp_path / "out")
    assert [row["voxels"] for row in rows] == ["9", "", "9"]
    assert rows[1]["notes"].startswith(f"not predicted: {tmp_path / 'in' / 'b.png'}: ")
    assert rows[1]["notes"].endswith(reason)


def test_a_full_disk_ends_the_batch(tmp_path):
    for name in ("a", "b"):
        _picture(tmp_path / "in" / f"{name}.png")

    class Full(Bright):
        def predict_patient(self, images):
            super().predict_patient(images)
            raise OSError(errno.ENOSPC, "No space left on device")

    predictor = Full()
    with pytest.raises(OSError, match="No space left"):
        predict_files(predictor, [tmp_path / "in"], tmp_path / "out")
    assert len(predictor.seen) == 1


@pytest.mark.parametrize("kind", ["a.nii", "a.nii.gz", "a.png", "a.tif"])
def test_a_file_that_cannot_grow_is_named(kind, tmp_path):
    """A real refusal by the operating system, in the middle of a file; ENOSPC is met the same."""
    file, out = tmp_path / "in" / kind, tmp_path / "out [1] {x} %s"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    file.parent.mkdir()
    if ".nii" in kind:
        nibabel.Nifti1Image(noise.astype(np.int16), np.eye(4)).to_filename(file)
    else:
        Image.fromarray(noise).save(file)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))
    try:
        with pytest.raises(InputError) as error:
            predict_files(Bright(), [file], out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"{out}/a_mask{kind[1:]}: File too large" in str(error.value)
    assert "damaged" not in str(error.value)
    assert list(out.iterdir()) == []


def test_a_full_disk_ends_the_batch_and_is_named(tmp_path, monkeypatch):
    def full(self, path, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    volume = nibabel.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4))
    for name in ("a", "b"):
        volume.to_filename(tmp_path / f"{name}.nii.gz")
    monkeypatch.setattr(nibabel.Nifti1Image, "to_filename", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        predict_files(Bright(), [tmp_path], tmp_path / "out")
    assert error.value.filename == str(tmp_path / "out" / "a_mask.nii.gz")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_second_of_two_predictions_is_refused(tmp_path):
    _picture(tmp_path / "a.png")

    class Slow(Bright):
        def predict_patient(self, images):
            with pytest.raises(InputError, match="out: another process is writing here"):
                predict_files(Bright(), [tmp_path / "a.png"], tmp_path / "out", overwrite=True)
            return super().predict_patient(images)

    predict_files(Slow(), [tmp_path / "a.png"], tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == [
        *("a_mask.png", "a_overlay.png", "predictions.csv"),
    ]


def test_a_name_too_long_for_its_outputs(tmp_path):
    for name in ("a", "b" * 250):
        _picture(tmp_path / "in" / f"{name}.png")
    with pytest.raises(InputError, match="1 of 2 cases could not"):
        predict_files(Bright(), [tmp_path / "in"], tmp_path / "out")
    rows = _table(tmp_path / "out")
    assert [row["voxels"] for row in rows] == ["9", ""]
    assert "the name is too long for outputs" in rows[1]["notes"]


def test_a_single_bad_case_is_its_own_error_and_leaves_nothing(tmp_path):
    (tmp_path / "b.png").write_bytes(b"damaged")
    with pytest.raises(InputError, match="not a readable TIFF or PNG"):
        predict_files(Bright(), [tmp_path / "b.png"], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_nothing_is_overwritten_unasked(tmp_path):
    _picture(tmp_path / "a.png")
    out = tmp_path / "out"
    predict_files(Bright(), [tmp_path / "a.png"], out)
    with pytest.raises(InputError, match=r"predictions\.csv: exists already; --overwrite"):
        predict_files(Bright(), [tmp_path / "a.png"], out)
    (out / "predictions.csv").unlink()
    with pytest.raises(InputError, match=r"a_mask\.png: exists already"):
        predict_files(Bright(), [tmp_path / "a.png"], out)
    before = (out / "a_mask.png").read_bytes()
    predict_files(
        Bright(), [tmp_path / "a.png"], out, postprocessing=Postprocessing(0.9), overwrite=True
    )
    assert (out / "a_mask.png").read_bytes() != before


def test_pictures_of_an_earlier_prediction_go(tmp_path):
    _picture(tmp_path / "a.png")
    out = tmp_path / "out"
    predict_files(Bright(), [tmp_path / "a.png"], out, uncertainty="tta")
    assert len(list(out.iterdir())) == 5
    (out / "b_overlay.png").write_text("of another case")
    predict_files(Bright(), [tmp_path / "a.png"], out, overlays=False, overwrite=True)
    left = sorted(path.name for path in out.iterdir())
    assert left == ["a_mask.png", "b_overlay.png", "predictions.csv"]


def test_truth_beside_the_input_is_never_replaced(tmp_path):
    folder = tmp_path / "data" / "P_1"
    _picture(folder / "P_1_1.tif")
    _picture(folder / "P_1_2.tif")
    Image.new("L", (8, 6), 255).save(folder / "P_1_1_mask.tif")
    truth = (folder / "P_1_1_mask.tif").read_bytes()
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"P_1_1_mask\.tif: exists"):
            predict_files(Bright(), [folder], tmp_path / "data", overwrite=overwrite)
    assert (folder / "P_1_1_mask.tif").read_bytes() == truth


def test_links_do_not_lead_out(tmp_path):
    _picture(tmp_path / "in" / "sub" / "a.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="leads out of"):
        predict_files(Bright(), [tmp_path / "in"], tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_output_folder_that_is_a_file(tmp_path):
    _picture(tmp_path / "a.png")
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        predict_files(Bright(), [tmp_path / "a.png"], tmp_path / "out")


def test_half_written_files_vanish(tmp_path):
    (tmp_path / "a").write_text("old")

    def fail():
        with replacing([tmp_path / "a", tmp_path / "b"]) as (first, _):
            first.write_text("new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_memory_is_flat(tmp_path):
    """One case at a time: four times the cases take no more memory."""

    def peak(count):
        folder = tmp_path / f"in{count}"
        for number in range(count):
            volume = np.full((64, 64, 8), number % 7, np.uint8)
            path = folder / f"v{number}.nii"
            folder.mkdir(exist_ok=True)
            nibabel.Nifti1Image(volume, np.eye(4)).to_filename(path)
        tracemalloc.start()
        shape = np.zeros(1)
        stub = Bright()
        stub.predict_patient = lambda images: np.zeros(images.shape[:3], np.float32) + shape
        predict_files(stub, [folder], tmp_path / f"out{count}", overlays=False)
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)  # loads what is loaded once
    few, many = peak(4), peak(16)
    assert many < 1.2 * few


def test_overlay_outlines_what_was_found():
    images = np.full((3, 32, 64), 100.0)
    mask = np.zeros((3, 32, 64), bool)
    mask[1, 8:24, 16:48] = True
    picture = np.asarray(draw_overlay(images, mask, (5.0, 2.0, 1.0), sides="RL"))  # 64 x 64 mm
    assert picture.shape == (256, 256, 3)
    found = (picture > 150).all(axis=-1)  # the letters: the number above, R and L at the sides
    assert found[:20, :20].any() and found[120:136, :16].any() and found[120:136, 240:].any()
    orange = (picture == (230, 159, 0)).all(axis=-1)
    expected = np.zeros((256, 256), bool)
    expected[64:192, 64:192] = True
    expected[65:191, 65:191] = False
    np.testing.assert_array_equal(orange, expected)
    blank = np.zeros((1, 4, 4))
    assert draw_overlay(blank, np.zeros((1, 4, 4), bool), None).size == (256, 256)


def test_maps_of_uncertainty(tmp_path):
    array = _picture(tmp_path / "in" / "a.png", value=102)  # probability 0.4, and 0 around
    out = tmp_path / "out"
    [row] = predict_files(
        *(Bright(), [tmp_path / "in"], out),
        postprocessing=Postprocessing(0.3),
        uncertainty="tta",
    )
    with np.load(out / "a_uncertainty.npz") as maps:
        assert {name: values.shape for name, values in maps.items()} == dict.fromkeys(
            ("probability", "entropy", "mutual_information"), (1, 6, 8)
        )
        # Every move of a function of single pixels is undone exactly: all predictions agree.
        expected = array[None, ..., 1] / 255
        np.testing.assert_allclose(maps["probability"], expected, atol=1e-3)
        inside = -(0.4 * np.log(0.4) + 0.6 * np.log(0.6))
        np.testing.assert_allclose(maps["entropy"], np.where(expected, inside, 0), atol=1e-3)
        np.testing.assert_allclose(maps["mutual_information"], 0, atol=1e-3)
    score = patient_uncertainty(expected, threshold=0.3)
    assert score != pytest.approx(patient_uncertainty(expected), abs=0.01)
    assert float(row["uncertainty"]) == pytest.approx(score, abs=5e-4)
    assert Image.open(out / "a_uncertainty.png").size[0] > 100
    with pytest.raises(InputError, match="--flips: not together with --uncertainty"):
        predict_files(
            *(Bright(), [tmp_path / "in"], out),
            postprocessing=Postprocessing(flips=True),
            uncertainty="tta",
        )


# --- what people open elsewhere


def _scan(path, affine, value=200):
    """A NIfTI scan whose voxels all differ, brightest in one corner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = np.random.default_rng(0).integers(0, 120, (5, 6, 4)).astype(np.int16)
    volume[:2, :3, :2] = value + np.arange(12).reshape(2, 3, 2)
    nibabel.Nifti1Image(volume, affine).to_filename(path)
    return volume


OBLIQUE = np.array([[0, -0.9, 0.3, 7], [1.1, 0, 0, -5], [0, 0.2, -4, 3], [0, 0, 0, 1]])


def test_probability_lies_where_the_voxels_of_the_scan_lie(tmp_path):
    volume = _scan(tmp_path / "in" / "a.nii", OBLIQUE)
    predict_files(Bright(), [tmp_path / "in"], tmp_path / "out", save_probability=True)
    written = nibabel.load(tmp_path / "out" / "a_probability.nii.gz")
    np.testing.assert_allclose(written.affine, OBLIQUE, rtol=1e-6)
    assert written.get_data_dtype() == np.float32
    # Voxel for voxel: square views and axial slices are undone.
    np.testing.assert_allclose(written.get_fdata(), np.clip(volume / 255, 0, 1), atol=1e-6)


def test_other_readers_place_the_probability_on_the_scan(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    _scan(tmp_path / "a.nii", np.diag([-1.0, -2, 3, 1]))
    predict_files(Bright(), [tmp_path / "a.nii"], tmp_path / "out", save_probability=True)
    scan, written = (
        sitk.ReadImage(str(path))
        for path in (tmp_path / "a.nii", tmp_path / "out" / "a_probability.nii.gz")
    )
    for of in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(written, of)(), getattr(scan, of)(), atol=1e-5)


def test_uncertainty_is_saved_with_the_probability(tmp_path):
    volume = _scan(tmp_path / "a.nii", np.diag([-1.0, -1, 3, 1]))
    options = {"uncertainty": "tta", "save_probability": True}
    predict_files(Bright(), [tmp_path / "a.nii"], tmp_path / "out", **options)
    assert len(find_cases([tmp_path])) == 1  # maps are no scans, should they be found as input
    maps = {
        name: nibabel.load(tmp_path / "out" / f"a_{name}.nii.gz").get_fdata()
        for name in ("probability", "entropy", "mutual_information")
    }
    p = np.clip(volume / 255, 1e-12, 1 - 1e-12)
    np.testing.assert_allclose(maps["probability"], volume / 255, atol=1e-5)
    expected = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    np.testing.assert_allclose(maps["entropy"], expected, atol=1e-4)
    predict_files(Bright(), [tmp_path / "a.nii"], tmp_path / "out", overwrite=True)
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["a_mask.nii", "a_overlay.png", "predictions.csv"]


def test_probability_of_pictures_and_of_dicom(tmp_path):
    array = _picture(tmp_path / "in" / "p.png")
    (tmp_path / "in" / "c").mkdir()
    shutil.copy(get_testdata_file("MR_small.dcm"), tmp_path / "in" / "c" / "d.dcm")
    predict_files(Bright(), [tmp_path / "in"], tmp_path / "out", save_probability=True)
    with np.load(tmp_path / "out" / "p_probability.npz") as maps:
        np.testing.assert_allclose(maps["probability"], array[None, ..., 1] / 255, atol=1e-6)
    header = pydicom.dcmread(tmp_path / "in" / "c" / "d.dcm")
    written = nibabel.load(tmp_path / "out" / "c_probability.nii.gz")
    # By the place in space of one pixel: DICOM runs to the left and the back.
    row, column = 10, 20
    x, y = (np.array(header.ImageOrientationPatient[i : i + 3], float) for i in (0, 3))
    spacing = [float(value) for value in header.PixelSpacing]
    place = np.array(header.ImagePositionPatient, float)
    place += x * spacing[1] * column + y * spacing[0] * row
    voxel = np.linalg.inv(written.affine) @ [-place[0], -place[1], place[2], 1]
    found = written.get_fdata()[tuple(np.rint(voxel[:3]).astype(int))]
    expected = np.clip(float(header.pixel_array[row, column]) / 255, 0, 1)
    assert found == pytest.approx(expected, abs=1e-5)


def test_masks_for_a_challenge(tmp_path):
    volume = _scan(tmp_path / "in" / "site" / "BRATS_001.nii", OBLIQUE)
    (tmp_path / "in" / "c").mkdir()
    shutil.copy(get_testdata_file("MR_small.dcm"), tmp_path / "in" / "c" / "d.dcm")
    options = {"mask_format": "nnunet", "overlays": False}
    rows = predict_files(Bright(), [tmp_path / "in"], tmp_path / "out", **options)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("BRATS_001.nii.gz", "c.nii.gz", "predictions.csv"),
    ]
    assert [row["masks"] for row in rows] == ["c.nii.gz", "BRATS_001.nii.gz"]
    mask = nibabel.load(tmp_path / "out" / "BRATS_001.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), volume / 255 >= 0.5)
    np.testing.assert_allclose(mask.affine, OBLIQUE, rtol=1e-6)
    assert mask.get_data_dtype() == np.uint8
    pixels = pydicom.dcmread(tmp_path / "in" / "c" / "d.dcm").pixel_array
    mask = np.asarray(nibabel.load(tmp_path / "out" / "c.nii.gz").dataobj)
    assert mask.sum() == (pixels / 255 >= 0.5).sum()


def test_what_cannot_be_flat(tmp_path):
    for folder in ("x", "y"):
        _scan(tmp_path / "in" / folder / "a.nii", OBLIQUE)
    with pytest.raises(InputError, match="--format nnunet: x/a and y/a would have one name"):
        predict_files(Bright(), [tmp_path / "in"], tmp_path / "out", mask_format="nnunet")
    assert not (tmp_path / "out").exists()
    _picture(tmp_path / "p.png")
    with pytest.raises(InputError, match=r"p\.png: --format nnunet: expected NIfTI or DICOM"):
        predict_files(Bright(), [tmp_path / "p.png"], tmp_path / "out", mask_format="nnunet")


def test_title_of_an_overlay(tmp_path):
    picture = Image.new("RGB", (256, 100), "white")
    named = np.asarray(add_title(picture, "head\x1b[31m" + "x" * 300, 12_345.0, 9))
    assert named.shape == (100 + STRIP, 256, 3)
    assert (named[STRIP:] == 255).all()
    letters = named[:STRIP].any(axis=(0, 2))
    assert letters[:20].any() and letters[-20:].any() and not letters[-3:].any()
    volume, voxels = (
        np.asarray(add_title(picture, "head", value, 12)) for value in (12_345.0, None)
    )
    assert not np.array_equal(volume, voxels)
    np.testing.assert_array_equal(volume, np.asarray(add_title(picture, "head", 12_340.0, 12)))
