"""The Python in the guides runs, commands are known, and the trees of files are recognised."""

import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import MRImageStorage, generate_uid

from agd_keras.cli import common
from agd_keras.data.anatomy import make_patient
from agd_keras.io.data_set import check_cases, find_data_set, recognise_layout
from agd_keras.io.discovery import find_cases, read_case
from agd_keras.io.labels import read_labelled

GUIDES = sorted((Path(__file__).resolve().parents[1] / "docs").glob("*.md"))
OWN_SCANS = next(guide for guide in GUIDES if guide.stem == "own_scans").read_text()
MASKS = ("labelsTr", "outlines")  # folders of the trees
# Of each tree of files in the guide to one's own scans: the layout, and the person of each case.
TREES = {
    "A table": ("table", {"001": "anna", "002": "bert"}),
    "kaggle_3m": ("kaggle_3m", {"patient_a": "patient_a", "patient_b": "patient_b"}),
    "nnU-Net": ("nnunet", {"case_001": "case_001", "case_002": "case_002"}),
    "Medical Segmentation Decathlon": (
        "decathlon",
        {"BRATS_001": "BRATS_001", "BRATS_002": "BRATS_002"},
    ),
    "BraTS": (
        "named",
        {
            "BraTS-GLI-00001-000": "BraTS-GLI-00001",
            "BraTS20_Training_001": "BraTS20_Training_001",
        },
    ),
    "Plain folders": ("named", {"patient_a": "patient_a", "patient_b": "patient_b"}),
    "BIDS": ("bids", {"sub-01_ses-1": "sub-01", "sub-01_ses-2": "sub-01"}),
    "DICOM": ("named", {"patient_a": "patient_a"}),
}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_python_blocks_run(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    defined = {}
    for block in re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL):
        exec(compile(block, guide.name, "exec"), defined)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_commands_take_the_options_they_are_given(guide, monkeypatch):
    monkeypatch.setattr(common, "run", lambda function, arguments: 0)
    blocks = re.findall(r"```sh\n(.*?)```", guide.read_text(), re.DOTALL)
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line, comments=True) or [""]
        command = program.rpartition("/")[2]
        if command.startswith("agd-"):
            module = import_module(f"agd_keras.cli.{command.removeprefix('agd-')}")
            assert module.main(arguments) == 0


def section(title):
    """Blocks of a section of the guide to one's own scans, by their language."""
    text = re.search(rf"^### {re.escape(title)}\n(.*?)^##", OWN_SCANS, re.DOTALL | re.MULTILINE)[1]
    return dict(re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL))


def paths_of(tree):
    """Files of a tree that is drawn by indentation, what follows two spaces being a remark."""
    folders, paths = [], []
    for line in tree.splitlines():
        name = re.split(r"\s{2,}", line.strip())[0]
        folders = folders[: (len(line) - len(line.lstrip())) // 2]
        if name.endswith("/"):
            folders.append(name)
        else:
            paths.append(Path("".join([*folders, name])))
    return paths


def write_volume(path, volume):
    """Axes run to the left, posterior and superior, as those of slices do."""
    axes = (2, 1, 0, *range(3, volume.ndim))
    affine = np.diag([-1.0, -1.0, 5.0, 1.0])
    nibabel.Nifti1Image(np.ascontiguousarray(volume.transpose(axes)), affine).to_filename(path)


def write_dicom(path, plane, number, series, study):
    header = pydicom.dcmread(pydicom.data.get_testdata_file("MR_small.dcm"))
    for keyword in ("RescaleSlope", "RescaleIntercept", "SpacingBetweenSlices"):
        if keyword in header:
            delattr(header, keyword)
    header.SOPClassUID, header.SOPInstanceUID = MRImageStorage, generate_uid()
    header.StudyInstanceUID = header.FrameOfReferenceUID = study
    header.SeriesInstanceUID, header.SeriesDescription = series
    header.Rows, header.Columns = plane.shape
    header.PixelSpacing, header.SliceThickness = [1, 1], 5
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.ImagePositionPatient = [0, 0, 5 * number]
    header.PixelData = plane.astype("<i2").tobytes()
    header.save_as(path)


def write_tree(root, paths, blocks, images, mask):
    """Fills the files of a tree with one made-up patient."""
    spec = json.loads(blocks.get("json", "{}"))
    channels = len(spec["modality"]) if "modality" in spec else 0
    study, series = generate_uid(), {}
    for path in (root / path for path in paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_mask = re.search(r"seg\.|mask|GT_", path.name) or path.parent.name in MASKS
        if path.suffix in (".json", ".csv"):
            path.write_text(blocks.get(path.suffix[1:], "{}"))
        elif path.suffix == ".tif":
            place = int(re.search(r"_(\d+)", path.stem)[1]) % len(images)
            Image.fromarray(mask[place] * np.uint8(255) if is_mask else images[place]).save(path)
        elif path.name.startswith("IM"):
            number = int(path.stem[2:]) - 1
            own = series.setdefault(path.parent, (generate_uid(), path.parent.name))
            channel = 1 if "flair" in own[1] else 2
            write_dicom(path, images[number, ..., channel], number, own, study)
        elif path.suffix == ".dcm":
            [case] = find_cases([path.parent])
            read_case(case).write_masks(mask, [path])
        elif is_mask:
            write_volume(path, mask.astype(np.uint8))
        else:
            write_volume(path, images[..., [0, 1, 2, 0][:channels]] if channels else images[..., 1])


def test_every_tree_of_the_guide_is_tested():
    assert len(re.findall("^```tree$", OWN_SCANS, re.MULTILINE)) == len(TREES)


@pytest.mark.parametrize("title", TREES)
def test_trees_of_the_guide_are_recognised(title, tmp_path):
    layout, persons = TREES[title]
    images, mask = (stack[4:6] for stack in make_patient(seed=0, number=1, slices=10, size=32)[:2])
    blocks = section(title)
    write_tree(tmp_path, paths_of(blocks["tree"]), blocks, images, mask)
    root = tmp_path / "data" / "mine" / ("cases.csv" if layout == "table" else "")
    assert recognise_layout(root) == layout
    cases = find_data_set(root)
    assert {case.case_id: case.patient_id for case in cases} == persons
    assert check_cases(cases) == []
    if layout != "kaggle_3m":
        for case in cases:
            np.testing.assert_array_equal(read_labelled(case)[1], mask)


def test_messages_of_the_troubleshooting_are_those_of_the_code():
    """Three words in a row of each message stand in the sources, whatever is filled in between."""
    root = Path(__file__).resolve().parents[1]
    sources = [*sorted((root / "agd_keras").rglob("*.py")), root / "Makefile"]
    code = " ".join(path.read_text() for path in sources)
    code = re.sub(r'"\s*f?"', "", code)  # a message over several lines
    guide = next(guide for guide in GUIDES if guide.stem == "troubleshooting").read_text()
    messages = re.findall(r"^\| (?:note )?`([^`]*expected[^`]*|[^`]*filled by[^`]*)`", guide, re.M)
    assert len(messages) >= 19
    for message in messages:
        words = message.split()
        runs = (" ".join(words[start : start + 3]) for start in range(max(1, len(words) - 2)))
        assert any(run in code for run in runs), message
