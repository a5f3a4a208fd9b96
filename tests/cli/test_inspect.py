"""`agd-inspect`: what it says, all that is wrong at once, the contact sheet, and the table."""

import re
import shutil

import nibabel
import numpy as np
import pytest
from PIL import Image

from agd_keras.cli import inspect
from agd_keras.data.cache import build_cache
from agd_keras.data.phantom import make_phantom
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.io.data_set import find_data_set
from agd_keras.io.layouts import table
from agd_keras.runs.inspect_data import NO_LABELS, inspect_data

AFFINE = np.diag([-2.0, -1.5, 5.0, 1.0])  # columns to the left, rows to the back, slices up


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    return make_phantom(tmp_path_factory.mktemp("kaggle") / "d", patients=3, slices=4, size=32)


@pytest.fixture
def brats(phantom, tmp_path):
    """The phantom as NIfTI of BraTS, and the tumour of each case."""
    masks = {}
    for source in sorted(path for path in phantom.iterdir() if path.is_dir()):
        name = source.name
        images, mask = (
            np.stack([np.asarray(Image.open(source / f"{name}_{n}{end}.tif")) for n in range(1, 5)])
            for end in ("", "_mask")
        )
        folder = tmp_path / "brats" / name
        folder.mkdir(parents=True)
        for channel, contrast in enumerate(("t1", "flair", "t1ce")):
            save(images[..., channel], folder / f"{name}_{contrast}.nii.gz")
        save(images[..., 0], folder / f"{name}_t2.nii.gz")
        save((mask > 0).astype(np.uint8), folder / f"{name}_seg.nii.gz")
        masks[name] = mask > 0
    return tmp_path / "brats", masks


def save(slices, path, affine=AFFINE):
    nibabel.Nifti1Image(np.ascontiguousarray(slices.transpose(2, 1, 0)), affine).to_filename(path)


def test_what_a_data_set_holds(brats):
    root, masks = brats
    report = inspect_data(root)
    assert (report.layout, report.problems, report.ignored) == ("named", (), ())
    assert len(report.cases) == 3
    for case, (name, mask) in zip(report.cases, masks.items(), strict=True):
        assert case.ref.case_id.startswith(name)
        assert case.channels == ("T1", "FLAIR", "T1c", "T2")
        assert (case.shape, case.spacing, case.orientation) == ((4, 32, 32), (5, 1.5, 2), "LPS")
        assert (case.voxels, case.labels) == (mask.sum(), {1: mask.sum()})
        assert case.volume == pytest.approx(mask.sum() * 5 * 1.5 * 2 / 1000)
        flair = nibabel.load(root / name / f"{name}_flair.nii.gz").get_fdata()
        assert case.ranges[1] == (flair.min(), flair.max())
        place = mask.sum(axis=(1, 2)).argmax()
        np.testing.assert_array_equal(case.thumbnail.mask, mask[place])
        np.testing.assert_array_equal(case.thumbnail.plane, flair.transpose(2, 1, 0)[place])
        assert case.thumbnail.lines[1] == f"slice {place + 1}, {mask[place].sum()} pixels"
        assert (case.thumbnail.aspect, case.thumbnail.sides) == (0.75, "RL")
    [note] = report.told
    assert note == "left out: <case>_seg.nii.gz (the label)"


def test_labels_by_value_and_the_fourth_contrast_in_a_hundred_columns(brats, capsys):
    root, masks = brats
    expected = {}
    for name, mask in masks.items():
        values = mask.astype(np.uint8)
        values[mask & (np.arange(32) % 2 == 0)] = 2
        values[mask & (np.arange(32) % 4 == 3)] = 4
        save(values, root / name / f"{name}_seg.nii.gz")
        save(
            np.asarray(np.arange(4 * 32 * 32).reshape(4, 32, 32), np.int16),
            root / name / f"{name}_t2.nii.gz",
        )
        expected[name] = {value: int((values == value).sum()) for value in (1, 2, 4)}
    report = inspect_data(root)
    assert {case.ref.case_id: case.labels for case in report.cases} == expected
    assert {case.ranges[3] for case in report.cases} == {(0, 4095)}
    assert inspect.main([str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[1:])) <= 100  # below the path
    text = "\n".join(lines)
    for counts in expected.values():
        total = sum(counts.values())
        for value, voxels in {"all": total, **counts}.items():
            row = rf"│ +{value} │ +{voxels:,} │ +{voxels * 0.015:.1f} │"
            assert re.search(row, text), row


def test_a_fourth_contrast_that_is_no_use_is_no_problem(brats):
    root, masks = brats
    one, two, _ = masks
    (root / one / f"{one}_t2.nii.gz").write_bytes(b"damaged")
    shutil.copy(root / two / f"{two}_t2.nii.gz", root / two / f"{two}_t2w.nii.gz")
    report = inspect_data(root)
    assert report.problems == ()
    shown = [case.channels[:3] for case in report.cases]
    assert shown == [("T1", "FLAIR", "T1c")] * 3
    assert [len(case.ranges) for case in report.cases] == [3, 3, 4]
    assert any("_t2.nii.gz: damaged" in note for note in report.cases[0].notes)


def test_pictures_tell_neither_spacing_nor_sides(phantom):
    report = inspect_data(phantom)
    assert report.layout == "kaggle_3m"
    for case in report.cases:
        assert (case.spacing, case.orientation, case.volume) == (None, "", None)
        assert not case.thumbnail.sides
        files = [np.asarray(Image.open(path)) for path in case.ref.label]
        assert case.voxels == sum((mask > 0).sum() for mask in files)


def test_contrasts_that_another_fills_are_not_listed(brats):
    root, masks = brats
    for name in masks:
        (root / name / f"{name}_t1.nii.gz").unlink()
    report = inspect_data(root)
    assert {case.channels for case in report.cases} == {("FLAIR", "T1c", "T2")}
    assert {len(case.ranges) for case in report.cases} == {3}


def test_every_problem_in_one_pass(brats, capsys):
    root, _ = brats
    one, two, three = (f"phantom_00{number}" for number in (1, 2, 3))
    (root / one / f"{one}_t1.nii.gz").write_bytes(b"damaged")
    (root / one / f"{one}_t1ce.nii.gz").write_bytes(b"damaged")
    moved = AFFINE.copy()
    moved[0, 3] = 7
    label = nibabel.load(root / one / f"{one}_seg.nii.gz")
    nibabel.Nifti1Image(np.asarray(label.dataobj), moved).to_filename(label.get_filename())
    (root / two / f"{two}_seg.nii.gz").unlink()
    shutil.copy(root / three / f"{three}_seg.nii.gz", root / three / f"{three}_roi.nii.gz")
    assert inspect.main([str(root)]) == 1
    shown = capsys.readouterr()
    first, *lines = shown.err.splitlines()
    assert first == f"error: {root}: 5 problems in the data set"
    text = "\n".join(lines)
    for expected in (
        f"{one}_t1.nii.gz: damaged NIfTI",
        f"{one}_t1ce.nii.gz: damaged NIfTI",
        f"{one}_seg.nii.gz: label on another grid",
        f"{two}_flair.nii.gz: has no label|{two}_t1.nii.gz: has no label",
        f"{three}: several labels",
    ):
        assert re.search(expected, text), expected
    assert "cannot be read" in shown.out and "no label" in shown.out


def test_a_folder_without_any_label_is_said_to_be_one(brats, capsys):
    root, masks = brats
    for name in masks:
        (root / name / f"{name}_seg.nii.gz").unlink()
    assert inspect.main([str(root), "--write-table", str(root / "cases.csv")]) == 0
    assert f"note: {NO_LABELS}" in capsys.readouterr().out
    lines = (root / "cases.csv").read_text().splitlines()
    assert lines[0] == "case,person,t1,flair,t1c,t2,label"
    assert all(line.endswith("_t2.nii.gz,") for line in lines[1:])
    with pytest.raises(InputError, match="line 2: case .* has no label"):
        find_data_set(root / "cases.csv")


def test_persons_with_several_scans(brats, capsys):
    root, _ = brats
    assert inspect.main([str(root), "--persons", "(phantom)_"]) == 0
    shown = capsys.readouterr().out
    assert "3 cases of 1 person" in shown
    assert re.search(r"scans of phantom: phantom_001\w*, phantom_002\w*, phantom_003", shown)


def test_the_table_gives_the_same_network_input(brats, tmp_path):
    root, _ = brats
    link = tmp_path / "elsewhere" / "link"  # relative paths are from where the table really lies
    link.parent.mkdir()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    link.symlink_to(tmp_path / "deep" / "er")
    path = link / "cases.csv"
    assert inspect.main([str(root), "--write-table", str(path), "--persons", "(.*)"]) == 0
    assert "../../brats/phantom_001/phantom_001_t1.nii.gz" in path.read_text()
    before, after = find_data_set(root), find_data_set(path)
    assert [(a.case_id, a.patient_id) for a in after] == [(b.case_id, b.patient_id) for b in before]
    first, second = (
        build_cache(cases, Preprocessor(16), tmp_path / "cache") for cases in (before, after)
    )
    assert first.slices == second.slices and first.areas == second.areas
    for one in first.slices:
        for read, expected in zip(second.read(one), first.read(one), strict=True):
            np.testing.assert_array_equal(read, expected)


def test_what_nothing_settles_stays_empty_in_the_table(brats, tmp_path):
    root, _ = brats
    folder = root / "phantom_002"
    shutil.copy(folder / "phantom_002_t1.nii.gz", folder / "phantom_002_t1w.nii.gz")
    assert inspect.main([str(root), "--write-table", str(tmp_path / "cases.csv")]) == 1
    row = (tmp_path / "cases.csv").read_text().splitlines()[2]
    assert re.fullmatch(r"phantom_002\w*,phantom_002\w*,,,,,brats/phantom_002/.*_seg.nii.gz", row)


def test_pictures_are_not_for_a_table(phantom, tmp_path, capsys):
    path = tmp_path / "cases.csv"
    assert inspect.main([str(phantom), "--write-table", str(path)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"error: {path}: a table names NIfTI files, case phantom_001 has pictures"
    assert not path.exists()


@pytest.mark.parametrize("name", ["=1.nii", "a\tb.nii", "b.nii "])
def test_names_that_a_table_cannot_hold(name, tmp_path):
    ref = table.CaseRef("a", "nifti", (tmp_path / name,), ("FLAIR",))
    with pytest.raises(InputError, match="a table cannot hold the name"):
        table.write([ref], tmp_path / "cases.csv")


def test_several_contrasts_in_a_file_are_not_for_a_table(tmp_path):
    ref = table.CaseRef("a", "nifti", (tmp_path / "a.nii",), ("FLAIR", "T1"))
    with pytest.raises(InputError, match=r"a file a contrast, .*a\.nii has FLAIR, T1"):
        table.write([ref], tmp_path / "cases.csv")


def test_contact_sheets_and_what_they_replace(brats, tmp_path, capsys):
    root, _ = brats
    sheets, path = tmp_path / "sheets", tmp_path / "cases.csv"
    command = [str(root), "--pictures", str(sheets), "--write-table", str(path)]
    assert inspect.main(command) == 0
    assert [page.name for page in sheets.iterdir()] == ["cases_1.png"]
    assert Image.open(sheets / "cases_1.png").size == (726, 286)  # three of 2.2 x 2.6 inches
    path.write_text("corrected by hand")
    assert inspect.main(command) == 1
    assert "cases.csv: expected a new file, found one; --overwrite" in capsys.readouterr().err
    assert path.read_text() == "corrected by hand"
    path.unlink()
    assert inspect.main(command) == 1
    assert "sheets: expected a new folder; --overwrite" in capsys.readouterr().err
    assert inspect.main([*command, "--overwrite"]) == 0
    (sheets / "notes.txt").write_text("mine")
    assert inspect.main([*command, "--overwrite"]) == 1
    assert "found something else" in capsys.readouterr().err
    assert (sheets / "notes.txt").read_text() == "mine"
    for wrong in ("cases.txt", "none/cases.csv"):
        assert inspect.main([str(root), "--write-table", str(tmp_path / wrong)]) == 1
        assert "expected a name .csv in a folder that exists" in capsys.readouterr().err


def test_problems_are_told_also_where_no_table_can_be_written(phantom, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(phantom, root)
    (root / "phantom_002" / "phantom_002_1_mask.tif").unlink()
    assert inspect.main([str(root), "--write-table", str(tmp_path / "cases.csv")]) == 1
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == f"error: {root}: 2 problems in the data set"
    assert "phantom_002_1.tif: has no mask" in lines[0]
    assert "a table names NIfTI files, case phantom_001 has pictures" in lines[1]
