"""Scans for the tests of the page, and what the package finds in them: `cases.py MODEL FOLDER`.

Each case is a folder of files as a person would drop them; `expected/CASE.nii` holds the package's
mask (values 0 and 1) and `expected/CASE_probability.nii` its probability, `cases.json` the rest.
"""

import gzip
import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from agd_keras.data.anatomy import make_patient
from agd_keras.inference.postprocess import measure
from agd_keras.inference.predict_case import predict_case, predict_maps
from agd_keras.inference.predict_files import predict_files
from agd_keras.inference.predictor import Predictor, load_predictor
from agd_keras.inference.uncertainty import UncertaintyPredictor
from agd_keras.io.case import CHANNELS, Case
from agd_keras.io.dicom_series import read_series
from agd_keras.io.discovery import find_cases, read_case
from agd_keras.io.geometry import from_slices

SPACING = (1.9, 1.9, 5.0)  # columns, rows, slices in mm
DESCRIPTIONS = {"T1": "AX T1", "FLAIR": "AX T2 FLAIR", "T1c": "AX T1 POST"}


def oblique_axes() -> np.ndarray:
    """Unit vectors to the left, back and up, as columns, of a head that is turned and nods."""
    x, z = 0.21, -0.13
    nod = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    turn = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return nod @ turn


def ras_affine(axes: np.ndarray, spacing: tuple[float, ...] = SPACING) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1, -1, 1]) @ axes @ np.diag(spacing)
    affine[:3, 3] = 110, 95, -60
    return affine


def turned(image: nibabel.Nifti1Image, axes: str) -> nibabel.Nifti1Image:
    start, end = nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(axes)
    return image.as_reoriented(nibabel.orientations.ornt_transform(start, end))


def write_dicom(folder: Path, volume: np.ndarray, description: str, study: str, space: str) -> None:
    """One file a slice, in random order, without suffix."""
    folder.mkdir(parents=True)
    across, down, up = oblique_axes().T
    series = generate_uid()
    order = np.random.default_rng(len(description)).permutation(len(volume))
    for place, (number, plane) in enumerate(zip(order, volume, strict=True)):
        header = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        header.StudyInstanceUID, header.SeriesInstanceUID = study, series
        header.FrameOfReferenceUID, header.SeriesDescription = space, description
        header.SeriesNumber = len(description)
        header.PatientName = "<img src=x onerror=alert(1)>"
        header.Rows, header.Columns = plane.shape
        header.PixelSpacing, header.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        header.ImageOrientationPatient = [float(f"{x:.12f}") for x in (*across, *down)]
        position = np.array([-110, -95, -60]) + SPACING[2] * place * up
        header.ImagePositionPatient = [float(f"{x:.10f}") for x in position]
        header.InstanceNumber = int(number) + 1
        header.SmallestImagePixelValue, header.LargestImagePixelValue = 0, 255
        header.PixelData = plane.astype("<i2").tobytes()
        header.save_as(folder / f"IM{number:04}")


def write_scans(root: Path) -> None:
    """Writes a folder for each case."""
    images = np.stack(make_patient(seed=3, number=2, slices=20, size=96)[0])  # uint8
    volume = images.transpose(2, 1, 0, 3)
    affine = ras_affine(oblique_axes())
    plain = nibabel.Nifti1Image(volume, affine)

    def save(case: str, image: nibabel.Nifti1Image, name: str = "scan.nii.gz") -> None:
        (root / case).mkdir(parents=True, exist_ok=True)
        image.to_filename(root / case / name)

    for axes in ("LPS", "RAS", "PIR", "SLA", "ILP"):
        save(f"axes_{axes}", turned(plain, axes))
    flair = volume[..., 1]
    save("flair_alone", nibabel.Nifti1Image(flair, affine), "head_flair.nii")
    save("one_volume", nibabel.Nifti1Image(flair[..., None], affine))
    save("nifti2", nibabel.Nifti2Image(volume, affine))
    scaled = nibabel.Nifti1Image(flair.astype(np.int16) * 7 - 300, affine)
    scaled.header.set_slope_inter(0.37, 11.5)
    save("scaled", scaled)
    big = nibabel.Nifti1Header(endianness=">")
    big.set_data_dtype(">f4")
    save("big_endian", nibabel.Nifti1Image(flair.astype(np.float32) / 3, affine, big), "scan.nii")
    # The qform first by its code, and elsewhere: readers differ in which of the two they take.
    both = nibabel.Nifti1Image(flair, affine)
    both.set_sform(affine, 1)
    both.set_qform(ras_affine(np.eye(3)[:, [1, 0, 2]]), 2)
    save("two_forms", both)
    one = nibabel.Nifti1Image(flair, affine)
    one.set_sform(None, 0)
    one.set_qform(affine, 1)
    save("qform", one)
    none = nibabel.Nifti1Image(flair, np.diag([*SPACING, 1]))
    none.set_sform(None, 0)
    none.set_qform(None, 0)
    none.header.set_zooms(SPACING)
    save("no_form", none)
    cut = volume[8:88, :, 1:19]  # no square any more
    save("narrow", turned(nibabel.Nifti1Image(cut, affine), "ASR"))
    for index, name in enumerate(("t1", "flair", "t1ce")):
        save("brats", nibabel.Nifti1Image(volume[..., index], affine), f"BraTS_007_{name}.nii.gz")
    holed = flair.astype(np.float32)
    holed[3, 4, 5], holed[40, 40, 10] = np.nan, np.inf
    save("not_finite", nibabel.Nifti1Image(holed, affine))
    study, space = generate_uid(), generate_uid()
    for channel, name in enumerate(CHANNELS):
        folder = root / "dicom" / name
        write_dicom(folder, images[..., channel], DESCRIPTIONS[name], study, space)


def write_bad(root: Path) -> None:
    """Writes what is no scan; `empty_names` of them would crash a careless reader."""
    root.mkdir()
    whole = nibabel.Nifti1Image(np.ones((64, 64, 20), np.int16), np.eye(4))
    whole.to_filename(root / "whole.nii.gz")
    packed = (root / "whole.nii.gz").read_bytes()
    (root / "cut.nii.gz").write_bytes(packed[: len(packed) // 2])
    (root / "whole.nii.gz").unlink()
    whole.to_filename(root / "whole.nii")
    (root / "short.nii").write_bytes((root / "whole.nii").read_bytes()[:5000])
    (root / "whole.nii").unlink()
    (root / "text.nii.gz").write_text("this is no scan")
    (root / "empty.nii").write_bytes(b"")
    (root / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float32)
    for name, shape in {"huge": (2000, 2000, 2000), "endless": (30000, 30000, 30000)}.items():
        header["dim"] = [3, *shape, 1, 1, 1, 1]
        content = header.binaryblock + bytes(4) + bytes(2**20)
        (root / f"{name}.nii.gz").write_bytes(gzip.compress(content))
    header["dim"] = [4, 64, 64, 20, 30, 1, 1, 1]
    (root / "film.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(2**16)))
    flat = nibabel.Nifti1Header()
    flat["dim"] = [2, 64, 64, 1, 1, 1, 1, 1]
    flat.set_data_dtype(np.uint8)
    (root / "flat.nii").write_bytes(flat.binaryblock + bytes(4 + 64 * 64))
    singular = nibabel.Nifti1Image(np.ones((64, 64, 20), np.int16), np.eye(4))
    singular.header["sform_code"] = 1
    singular.header["srow_x"] = singular.header["srow_y"] = [1, 0, 0, 0]
    singular.header["qform_code"] = 0
    content = singular.header.binaryblock + bytes(4) + bytes(2 * 64 * 64 * 20)
    (root / "nowhere.nii").write_bytes(content)
    (root / "damaged").write_bytes(bytes(128) + b"DICM" + b"\xff" * 4000)


def write_viewed(root: Path, predictor: Predictor) -> None:
    """Writes what `agd-view` is tested on: predictions, and scans of which two have a truth."""
    for number, name in enumerate(("good", "<b onclick=alert(1)>bad<b>", "alone")):
        images, masks, _ = make_patient(seed=5, number=number + 1, slices=20, size=64)
        affine = np.diag([-2.5, -2.5, 5, 1])
        volume, truth = (np.array(one) for one in (images, masks))
        (root / "scans").mkdir(parents=True, exist_ok=True)
        flair = nibabel.Nifti1Image(volume[..., 1].transpose(2, 1, 0), affine)
        flair.to_filename(root / "scans" / f"{name}.nii.gz")
        if name != "alone":
            shifted = np.roll(truth, 12 * number, axis=2)
            mask = nibabel.Nifti1Image(shifted.transpose(2, 1, 0).astype(np.uint8), affine)
            mask.to_filename(root / "scans" / f"{name}_seg.nii.gz")
    predict_files(predictor, [root / "scans"], root / "predictions", overlays=False)


def grid_of(folder: Path, case: Case) -> tuple[np.ndarray, type, bool]:
    """Affine in which `from_slices` undoes the reading, and the class of the files."""
    series = folder / "FLAIR"
    if series.is_dir():
        return read_series(sorted(series.iterdir())).affine, nibabel.Nifti1Image, True
    source = next(path for path in sorted(folder.iterdir()) if "t1" not in path.name)
    image = nibabel.load(source)
    return image.affine, type(image), False


def orientations() -> list[dict]:
    """Affines of all kinds, sheared ones too, with nibabel's orientation of each."""
    random = np.random.default_rng(0)
    found = []
    for number in range(300):
        matrix = np.linalg.qr(random.normal(size=(3, 3)))[0]
        if number % 3 == 1:  # close to where two axes are as near
            matrix = np.eye(3)[:, random.permutation(3)] + random.normal(0, 0.02, (3, 3))
        if number % 3 == 2:  # slices shifted against their normal
            matrix = matrix @ (np.eye(3) + np.triu(random.normal(0, 0.4, (3, 3)), 1))
        affine = np.eye(4)
        affine[:3, :3] = matrix * random.uniform(0.3, 8, 3)
        affine[:3, 3] = random.normal(0, 100, 3)
        world, sign = nibabel.io_orientation(affine).astype(int).T.tolist()
        found.append({"affine": affine[:3].tolist(), "world": world, "sign": sign})
    return found


def main(model: str, root: Path) -> None:
    predictor = load_predictor(model)
    threshold = predictor.calibration.threshold
    write_scans(root / "scans")
    write_bad(root / "bad")
    write_viewed(root / "viewed", predictor)
    (root / "expected").mkdir()
    listed = {}
    for folder in sorted((root / "scans").iterdir()):
        [source] = find_cases([folder])
        case = read_case(source)
        probability = predict_case(predictor, case)
        affine, _, dicom = grid_of(folder, case)
        mask = probability >= threshold
        for name, values in {"": mask, "_probability": probability}.items():
            made = nibabel.Nifti1Image(
                from_slices(values, affine).astype("u1" if not name else "f4"), affine
            )
            made.to_filename(root / "expected" / f"{folder.name}{name}.nii")
        files = sorted(str(path.relative_to(root)) for path in folder.rglob("*") if path.is_file())
        found = measure(mask, probability, case.spacing)
        listed[folder.name] = {"files": files, "dicom": dicom, "notes": case.notes, **found}
        assert found["voxels"] > 100, folder.name
        if folder.name == "axes_RAS":
            maps = predict_maps(
                UncertaintyPredictor(predictor, samples=2, threshold=threshold), case
            )
            doubt = from_slices(maps.entropy, affine) / np.log(2)
            out = root / "expected" / f"{folder.name}_doubt.nii"
            nibabel.Nifti1Image(doubt.astype("f4"), affine).to_filename(out)
            listed[folder.name]["score"] = maps.score
    kept = {"threshold": threshold, "cases": listed, "orientations": orientations()}
    text = json.dumps(kept, indent=1)
    (root / "cases.json").write_text(text)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
