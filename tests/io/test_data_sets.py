"""The same patients in every layout: the same cases, the same split, the same network input."""

import csv
import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import MRImageStorage, generate_uid

from agd_keras.config import make_config, merge
from agd_keras.data.cache import build_cache
from agd_keras.data.phantom import make_phantom
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.data.splits import make_folds
from agd_keras.errors import InputError
from agd_keras.io.data_set import LAYOUTS, check_cases, find_data_set, recognise_layout
from agd_keras.io.labels import read_labelled
from agd_keras.presets import preset_values
from agd_keras.runs.train import train

LGG = Path(os.environ.get("AGD_KERAS_LGG", Path(__file__).parents[2] / "data" / "kaggle_3m"))
CONTRASTS = ("t1", "flair", "t1ce")
AFFINE = np.diag([-1.0, -1.0, 5.0, 1.0])  # columns to the left, rows to the back, slices up


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """The phantom, and of each of its patients images and mask."""
    root = make_phantom(tmp_path_factory.mktemp("kaggle") / "d", patients=4, slices=5, size=32)
    return root, read_stacks(root)


def read_stacks(root):
    """Images and mask of each patient of a `kaggle_3m` folder, by Pillow alone."""
    stacks = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        count = len(list(folder.glob("*_mask.tif")))
        names = [folder / f"{folder.name}_{number}" for number in range(1, count + 1)]
        images, masks = (
            np.stack([np.asarray(Image.open(f"{name}{end}.tif")) for name in names])
            for end in ("", "_mask")
        )
        stacks[folder.name] = images, masks > 0
    return stacks


def save(path, volume, affine=AFFINE):
    """Writes slices `(slices, rows, columns, …)` as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = (2, 1, 0, *range(3, volume.ndim))
    nibabel.Nifti1Image(np.ascontiguousarray(volume.transpose(axes)), affine).to_filename(path)


def write_decathlon(root, stacks):
    for name, (images, mask) in stacks.items():
        save(root / "imagesTr" / f"{name}.nii.gz", images[..., [1, 0, 2]])
        save(root / "labelsTr" / f"{name}.nii.gz", mask.astype(np.uint8))
    spec = {"modality": {"0": "FLAIR", "1": "T1w", "2": "T1gd"}}
    spec["labels"] = {"0": "background", "1": "edema"}
    (root / "dataset.json").write_text(json.dumps(spec))


def write_nnunet(root, stacks):
    for name, (images, mask) in stacks.items():
        for number, channel in enumerate((0, 2, 1, 1)):
            save(root / "imagesTr" / f"{name}_{number:04}.nii.gz", images[..., channel])
        save(root / "labelsTr" / f"{name}.nii.gz", mask.astype(np.int16) * 2)
    names = {"0": "T1", "1": "T1ce", "2": "T2", "3": "Flair"}
    labels = {"background": 0, "whole tumor": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    spec = {"channel_names": names, "labels": labels, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(spec))


def write_brats(root, stacks, names=CONTRASTS, mark="_"):
    for name, (images, mask) in stacks.items():
        for channel, contrast in enumerate(names):
            save(root / name / f"{name}{mark}{contrast}.nii.gz", images[..., channel])
        save(root / name / f"{name}{mark}seg.nii.gz", mask.astype(np.uint8) * 4)


def write_brats_2023(root, stacks):
    write_brats(root, stacks, ("t1n", "t2f", "t1c"), "-")


def write_bids(root, stacks):
    root.mkdir()
    (root / "dataset_description.json").write_text("{}")
    for name, (images, mask) in stacks.items():
        who = f"sub-{name.replace('_', '')}"
        for channel, suffix in enumerate(("T1w", "FLAIR", "ce-gadolinium_T1w")):
            save(root / who / "anat" / f"{who}_{suffix}.nii.gz", images[..., channel])
        folder = root / "derivatives" / "readers" / who / "anat"
        save(folder / f"{who}_label-tumor_mask.nii.gz", mask.astype(np.uint8))
        save(folder / f"{who}_desc-brain_mask.nii.gz", np.ones_like(mask, np.uint8))


def write_table(root, stacks):
    rows = []
    for number, (name, (images, mask)) in enumerate(stacks.items()):
        row = {"case": name, "person": name, "label": f"masks/{number}.nii"}
        for channel, contrast in enumerate(("t1", "flair", "t1c")):
            row[contrast] = f"x{number}/{channel}.nii"
            save(root / row[contrast], images[..., channel])
        save(root / row["label"], mask.astype(np.uint8))
        rows.append(row)
    with (root / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_dicom(root, stacks):
    """Series in folders of their own, and the segmentation that `agd-predict` would write."""
    from agd_keras.io.discovery import find_cases, read_case

    base = pydicom.dcmread(pydicom.data.get_testdata_file("MR_small.dcm"))
    for name, (images, mask) in stacks.items():
        study, space = generate_uid(), generate_uid()
        for channel, description in enumerate(("AX T1", "AX FLAIR", "AX T1 POST GD")):
            folder = root / name / str(channel)
            folder.mkdir(parents=True)
            series = generate_uid()
            for number, plane in enumerate(images[..., channel]):
                header = base.copy()
                header.file_meta = base.file_meta
                header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, generate_uid()
                header.StudyInstanceUID, header.SeriesInstanceUID = study, series
                header.FrameOfReferenceUID, header.SeriesDescription = space, description
                header.SeriesNumber, header.InstanceNumber = channel + 1, number + 1
                header.PatientID = name
                header.Rows, header.Columns = plane.shape
                header.PixelSpacing, header.SliceThickness = [1, 1], 5
                header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
                header.ImagePositionPatient = [0, 0, 5 * number]
                for keyword in ("RescaleSlope", "RescaleIntercept", "SpacingBetweenSlices"):
                    if keyword in header:
                        delattr(header, keyword)
                header.PixelData = plane.astype("<i2").tobytes()
                header.save_as(folder / f"{number}.dcm")
        [case] = find_cases([root / name])
        (root / name / "masks").mkdir()
        read_case(case).write_masks(mask, [root / name / "masks" / "tumour.dcm"])


WRITERS = {
    "decathlon": (write_decathlon, "decathlon"),
    "nnunet": (write_nnunet, "nnunet"),
    "brats": (write_brats, "named"),
    "brats-2023": (write_brats_2023, "named"),
    "bids": (write_bids, "bids"),
    "table": (write_table, "table"),
    "dicom": (write_dicom, "named"),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_layout_gives_the_same_network_input_and_split(kind, patients, tmp_path):
    kaggle, stacks = patients
    write, layout = WRITERS[kind]
    root = tmp_path / "data"
    write(root, stacks)
    root = root / "cases.csv" if kind == "table" else root
    assert recognise_layout(root) == layout
    cases = find_data_set(root)
    assert check_cases(cases) == []
    expected = build_cache(find_data_set(kaggle), Preprocessor(16), tmp_path / "a")
    found = build_cache(cases, Preprocessor(16), tmp_path / "b")
    assert len(expected.slices) == 20
    check_caches(found, expected, folds=2, portions=4)


def check_caches(found, expected, **options):
    """The same network input, masks and folds, whatever the cases are called."""
    assert len(found.slices) == len(expected.slices)
    order = {}
    for one, other in zip(found.slices, expected.slices, strict=True):
        assert found.path(one).read_bytes() == expected.path(other).read_bytes()
        if one.case not in order:
            mask, truth = found.read_mask(one.case), expected.read_mask(other.case)
            np.testing.assert_array_equal(mask, truth)
        order[one.case] = order[one.patient] = other.patient
    splits = [make_folds(c.slices, c.areas, **options) for c in (found, expected)]
    for one, other in zip(*splits, strict=True):
        for side in ("test", "train", "validation"):
            assert [order[patient] for patient in getattr(one, side)] == list(getattr(other, side))


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Cache, history and patients' Dice of two epochs on `kaggle_3m`."""
    if not LGG.is_dir():
        pytest.skip(f"no LGG data set: {LGG} (set AGD_KERAS_LGG)")
    return two_epochs(LGG, tmp_path_factory.mktemp("real"))


def two_epochs(data, folder):
    cache = build_cache(find_data_set(data), Preprocessor(64), folder / "cache")
    options = {"data": {"path": str(data), "image_size": 64, "folds": 5}, "training": {"epochs": 2}}
    train(make_config(merge(preset_values("agd_tiny"), options)), folder / "run", only=[0])
    metrics = json.loads((folder / "run" / "fold-0" / "metrics.json").read_text())
    dice = [subject["dice"] for subject in metrics["subjects"].values()]
    return cache, (folder / "run" / "fold-0" / "history.csv").read_text(), dice


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITERS)
def test_real_patients_give_the_same_figures_in_every_layout(kind, real, tmp_path):
    expected, history, dice = real
    root = tmp_path / "data"
    WRITERS[kind][0](root, read_stacks(LGG))
    found = two_epochs(root / "cases.csv" if kind == "table" else root, tmp_path)
    check_caches(found[0], expected, folds=5)
    assert found[1] == history
    assert len(dice) == 16
    assert found[2] == dice
    shutil.rmtree(root)


def test_persons_with_several_scans_stay_together(patients, tmp_path):
    _, stacks = patients
    images, mask = stacks["phantom_001"]
    for scan in ("BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "BraTS-GLI-00002-000"):
        write_brats_2023(tmp_path, {scan: (images, mask)})
    found = {case.case_id: case.patient_id for case in find_data_set(tmp_path)}
    assert found == {
        "BraTS-GLI-00001-000": "BraTS-GLI-00001",
        "BraTS-GLI-00001-001": "BraTS-GLI-00001",
        "BraTS-GLI-00002-000": "BraTS-GLI-00002",
    }


def test_folders_as_the_deepvoxnet_demos_have_them(patients, tmp_path):
    """FLAIR, T1 and the whole tumour, each in its case's folder under one name."""
    _, stacks = patients
    for name, (images, mask) in stacks.items():
        save(tmp_path / name / "FLAIR.nii.gz", images[..., 1])
        save(tmp_path / name / "T1.nii.gz", images[..., 0])
        save(tmp_path / name / "GT_W.nii.gz", mask.astype(np.uint8))
    cases = find_data_set(tmp_path)
    assert [case.case_id for case in cases] == list(stacks)
    case, label = read_labelled(cases[1])
    images, mask = stacks[cases[1].case_id]
    np.testing.assert_array_equal(label, mask)
    np.testing.assert_array_equal(case.images, images[..., [0, 1, 1]])


def break_json(root):
    (root / "dataset.json").write_text("{")


def break_channels(root):
    spec = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(spec | {"channel_names": {"0": "T1"}}))


def break_numbers(root):
    spec = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(spec | {"channel_names": {"0": "T1", "2": "T2"}}))


def break_names(root):
    spec = json.loads((root / "dataset.json").read_text())
    names = spec["channel_names"] | {"2": "T1w"}
    (root / "dataset.json").write_text(json.dumps(spec | {"channel_names": names}))


def break_count(root):
    spec = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(spec | {"numTraining": 484}))


def break_labels(root):
    spec = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(spec | {"labels": {"background": 0, "core": 1}}))


def break_missing(root):
    (root / "imagesTr" / "phantom_002_0001.nii.gz").unlink()
    (root / "labelsTr" / "phantom_003.nii.gz").unlink()


def break_grid(root):
    path = root / "labelsTr" / "phantom_001.nii.gz"
    image = nibabel.load(path)
    moved = image.affine.copy()
    moved[0, 3] += 3
    nibabel.Nifti1Image(np.asarray(image.dataobj), moved).to_filename(path)


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (break_json, ["dataset.json: expected JSON"]),
        (break_channels, ["a channel that dataset.json does not name"]),
        (break_numbers, ["expected a name for each channel 0, 1"]),
        (break_names, ["_0000.nii.gz: two channels are named T1: T1, T1c, T1, FLAIR"]),
        (break_count, ["dataset.json: numTraining 484, but imagesTr has 4 cases"]),
        (break_labels, ["phantom_001.nii.gz: label 2, expected 0, 1"]),
        (break_missing, ["phantom_002_0001.nii.gz: expected, found", "phantom_003: has no label"]),
        (break_grid, ["phantom_001.nii.gz: label on another grid"]),
    ],
)
def test_damaged_nnunet_folders(damage, messages, patients, tmp_path):
    write_nnunet(tmp_path / "data", patients[1])
    damage(tmp_path / "data")
    with pytest.raises(InputError) as error:
        build_cache(find_data_set(tmp_path / "data"), Preprocessor(16), tmp_path / "cache")
    for message in messages:
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("x0/1.nii", "x0/9.nii"), "line 2: .*9.nii: no such file"),
        (lambda text: text.replace("phantom_002", "phantom_001"), "case phantom_001 stands twice"),
        (lambda text: text.replace("phantom_002", "Phantom_001"), "case Phantom_001 stands twice"),
        (lambda text: text.replace("x2/1.nii", "x0/1.nii"), "line 4: .*x0/1.nii: stands in line 2"),
        (lambda text: text.replace("x2/0.nii", "x2/1.nii"), "line 4: .*x2/1.nii: stands in line 4"),
        (
            lambda text: text.replace("masks/2.nii", "x0/1.nii"),
            "line 2, and the label of phantom_003",
        ),
        (lambda text: text.replace("flair", "contrast", 1), "found 'contrast'"),
        (lambda text: text.replace("case", "name", 1), "expected the columns case"),
        (lambda text: text.replace("masks/2.nii", ""), "line 4: case phantom_003 has no label"),
        (lambda text: "", "expected the columns case"),
    ],
)
def test_damaged_tables(change, message, patients, tmp_path):
    write_table(tmp_path, patients[1])
    table = tmp_path / "cases.csv"
    table.write_text(change(table.read_text()))
    with pytest.raises(InputError, match=message):
        find_data_set(table)


def test_two_labels_of_a_case_are_not_guessed_between(patients, tmp_path):
    write_brats(tmp_path, patients[1])
    shutil.copy(
        tmp_path / "phantom_001" / "phantom_001_seg.nii.gz",
        tmp_path / "phantom_001" / "phantom_001_tumor.nii.gz",
    )
    with pytest.raises(InputError, match="several labels .* use a table"):
        find_data_set(tmp_path)


def test_two_cases_of_one_name_are_not_taken_for_one(patients, tmp_path):
    images, mask = patients[1]["phantom_001"]
    for place in ("site_1/P", "site/1_P", "site/2_P"):
        save(tmp_path / place / "flair.nii.gz", images[..., 1])
        save(tmp_path / place / "seg.nii.gz", mask.astype(np.uint8))
    with pytest.raises(InputError, match="1 problem(?s:.*)two cases of the name site_1_P"):
        find_data_set(tmp_path)


def test_a_session_that_lies_twice_is_refused(patients, tmp_path):
    write_bids(tmp_path / "data", patients[1])
    shutil.copytree(tmp_path / "data" / "sub-phantom001", tmp_path / "data" / "old" / "sub-1")
    with pytest.raises(InputError, match="two cases of the name sub-phantom001; use a table"):
        find_data_set(tmp_path / "data")


def test_a_layout_can_be_insisted_on(patients, tmp_path):
    write_brats(tmp_path, patients[1])
    with pytest.raises(InputError, match="not a data set"):
        find_data_set(tmp_path, layout="kaggle_3m")
    with pytest.raises(InputError, match=f"expected one of {', '.join(LAYOUTS)}"):
        find_data_set(tmp_path, layout="tarot")
