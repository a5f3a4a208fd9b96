"""A real patient as NIfTI and DICOM, predicted: the mask lies on the same places in space."""

import os
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from agd_keras.inference.postprocess import Postprocessing
from agd_keras.inference.predict_files import predict_files
from agd_keras.inference.predictor import Predictor
from agd_keras.io.case import CHANNELS
from agd_keras.io.image_files import read_image, read_mask

LGG = Path(os.environ.get("AGD_KERAS_LGG", Path(__file__).parents[2] / "data" / "kaggle_3m"))
PATIENT = "TCGA_CS_5393_19990606"  # of few slices, and a tumour that stands out on FLAIR
OPTIONS = {"postprocessing": Postprocessing(largest_component=True), "overlays": False}
SPACING = (0.9, 0.9, 5.0)  # columns, rows, slices, in mm


@pytest.fixture(scope="module")
def predictor():
    """Takes what is bright on FLAIR for tumour, by the way through a network of 128 pixels."""

    def predict(batch):
        return {"mask": 1 / (1 + np.exp(3 - 2 * batch[..., 1:2]))}

    network = SimpleNamespace(input_shape=(None, 128, 128, 3), predict_on_batch=predict)
    return Predictor([network])


@pytest.fixture(scope="module")
def patient(predictor, tmp_path_factory):
    """Images and predicted mask of the patient as it lies in the data set, lowest slice first."""
    folder = LGG / PATIENT
    if not folder.is_dir():
        pytest.skip(f"NO REAL PATIENT WAS READ: no {folder} (AGD_KERAS_LGG names the data set)")
    out = tmp_path_factory.mktemp("pictures")
    predict_files(predictor, [folder], out, **OPTIONS)
    count = len(list(folder.glob("*_mask.tif")))
    names = [f"{folder.name}_{place + 1}" for place in range(count)]
    images = np.stack([read_image(folder / f"{name}.tif") for name in names])
    truth = np.stack([read_mask(folder / f"{name}_mask.tif") for name in names])
    masks = [np.asarray(Image.open(out / folder.name / f"{name}_mask.tif")) for name in names]
    mask = np.stack(masks) > 0
    assert 2 * (truth & mask).sum() > 0.4 * (truth.sum() + mask.sum())  # lies on the tumour
    return images, mask


def oblique_axes() -> np.ndarray:
    """Unit vectors to the left, back and up, as columns, of a head that is turned and nods."""
    x, z = 0.21, -0.13
    nod = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    turn = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return nod @ turn


def indices_at(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Voxels of a grid at places in space, `(points, 3)`; none may lie between two of them."""
    exact = (points - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    assert np.abs(exact - exact.round()).max() < 0.01
    return exact.round().astype(int)


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR", "SLA", "ILP"])
def test_nifti_of_another_orientation_has_the_mask_at_the_same_places(
    axes, patient, predictor, tmp_path
):
    images, expected = patient
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1, -1, 1]) @ oblique_axes() @ np.diag(SPACING)  # to RAS
    affine[:3, 3] = 110, 95, -60
    plain = nibabel.Nifti1Image(images.transpose(2, 1, 0, 3), affine)
    to_axes = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(axes)
    )
    turned = plain.as_reoriented(to_axes)
    assert nibabel.aff2axcodes(turned.affine) == tuple(axes)
    turned.to_filename(tmp_path / "scan.nii.gz")

    [row] = predict_files(predictor, [tmp_path / "scan.nii.gz"], tmp_path / "out", **OPTIONS)
    mask = nibabel.load(tmp_path / "out" / row["masks"])
    assert mask.shape == turned.shape[:3]
    np.testing.assert_allclose(mask.affine, turned.affine, atol=1e-4)
    voxels = np.argwhere(np.asarray(mask.dataobj))
    points = nibabel.affines.apply_affine(mask.affine, voxels)
    found = np.zeros(expected.shape, bool)
    found[tuple(indices_at(points, affine)[:, ::-1].T)] = True
    assert len(voxels) == found.sum()
    np.testing.assert_array_equal(found, expected)
    assert row["voxels"] == expected.sum()
    assert row["volume_mm3"] == pytest.approx(expected.sum() * np.prod(SPACING), rel=1e-4)
    assert row["notes"] == "channels taken as T1, FLAIR, T1c"


def write_series(folder, volume, name, places, study, space):
    """One file a slice at `places` along the normal, in mm, in random order and numbering."""
    folder.mkdir(parents=True)
    across, down, up = oblique_axes().T
    series = generate_uid()
    order = np.random.default_rng(len(name)).permutation(len(volume))
    for number, plane, place in zip(order, volume, places, strict=True):
        header = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        header.StudyInstanceUID, header.SeriesInstanceUID = study, series
        header.FrameOfReferenceUID, header.SeriesDescription = space, name
        header.Rows, header.Columns = plane.shape
        header.PixelSpacing, header.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        header.ImageOrientationPatient = [float(f"{x:.12f}") for x in (*across, *down)]
        position = np.array([-110, -95, -60]) + place * up
        header.ImagePositionPatient = [float(f"{x:.10f}") for x in position]
        header.InstanceNumber = int(number) + 1
        header.SmallestImagePixelValue, header.LargestImagePixelValue = 0, 255
        header.PixelData = plane.astype("<i2").tobytes()
        header.save_as(folder / f"IM{number:04}")


def read_segmentation(path: Path) -> tuple[np.ndarray, list[str], pydicom.Dataset]:
    """Places of the mask's pixels, the images its frames were made from, and the data set."""
    segmentation = pydicom.dcmread(path)
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    spacing = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    points, sources = [], []
    for frame, group in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        rows, columns = np.nonzero(frame)
        points.append(
            corner
            + columns[:, None] * spacing[1] * cosines[:3]
            + rows[:, None] * spacing[0] * cosines[3:]
        )
        if "DerivationImageSequence" in group:  # not where a slice is missing
            [image] = group.DerivationImageSequence[0].SourceImageSequence
            sources.append(image.ReferencedSOPInstanceUID)
    return np.concatenate(points), sources, segmentation


@pytest.mark.parametrize("missing", [(), (4, 5)])
def test_dicom_in_any_order_and_back_from_its_segmentation(patient, predictor, tmp_path, missing):
    """Also of a series in which slices are missing: each frame stays at its own place."""
    images, expected = patient
    kept = [place for place in range(len(images)) if place not in missing]
    study, space = generate_uid(), generate_uid()
    places = SPACING[2] * np.arange(len(images))[kept]
    for channel, name in enumerate(CHANNELS):
        description = {"T1": "AX T1", "FLAIR": "AX T2 FLAIR", "T1c": "AX T1 POST"}[name]
        folder = tmp_path / "study" / name
        write_series(folder, images[kept][..., channel], description, places, study, space)
    if missing:  # intensities are those of the slices that are there
        pictures = tmp_path / "case"
        pictures.mkdir()
        for place, image in enumerate(images[kept]):
            Image.fromarray(image).save(pictures / f"case_{place}.tif")
        predict_files(predictor, [pictures], tmp_path / "pictures", **OPTIONS)
        files = [tmp_path / "pictures" / "case" / f"case_{i}_mask.tif" for i in range(len(kept))]
        expected = np.zeros(expected.shape, bool)
        expected[kept] = np.stack([read_mask(path) for path in files])

    [row] = predict_files(predictor, [tmp_path / "study"], tmp_path / "out", **OPTIONS)
    gap = SPACING[2] * (len(missing) + 1)
    mean = np.ptp(places) / (len(kept) - 1)
    note = f"slices 5 to {gap:g} mm apart; the volume takes each for {mean:.4g} mm"
    chosen, *others = row["notes"].split("; ", 1)
    assert chosen.startswith("T1: series ")
    assert others == ([note] if missing else [])
    points, sources, segmentation = read_segmentation(tmp_path / "out" / row["masks"])
    affine = np.eye(4)
    affine[:3, :3] = oblique_axes() @ np.diag(SPACING)
    affine[:3, 3] = -110, -95, -60
    found = np.zeros(expected.shape, bool)
    found[tuple(indices_at(points, affine)[:, ::-1].T)] = True
    assert len(points) == found.sum()
    np.testing.assert_array_equal(found, expected)

    headers = [pydicom.dcmread(path) for path in (tmp_path / "study" / "FLAIR").iterdir()]
    flair = {header.SOPInstanceUID: header for header in headers}
    assert len(set(sources)) == len(sources) and set(sources) == flair.keys()
    groups = segmentation.PerFrameFunctionalGroupsSequence
    assert len(groups) == len(images)
    assert segmentation.StudyInstanceUID == study
    assert segmentation.FrameOfReferenceUID == space
    [referenced] = segmentation.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == headers[0].SeriesInstanceUID
    listed = {image.ReferencedSOPInstanceUID for image in referenced.ReferencedInstanceSequence}
    assert listed == set(flair)
    made = [group for group in groups if "DerivationImageSequence" in group]
    for source, group in zip(sources, made, strict=True):
        corner = group.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(corner, flair[source].ImagePositionPatient, atol=1e-6)
