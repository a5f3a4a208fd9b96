"""Finding, pairing and checking the files of a data set."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agd_keras.data.phantom import make_phantom
from agd_keras.errors import InputError
from agd_keras.io.data_set import check_cases, find_data_set
from agd_keras.io.fingerprint import data_fingerprint
from agd_keras.io.image_files import read_mask
from agd_keras.io.table import read_table

LGG = Path(os.environ.get("AGD_KERAS_LGG", Path(__file__).parents[2] / "data" / "kaggle_3m"))


def _write(path: Path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    """Two patients of slices 1, 2, 10."""
    for case in ("TCGA_B_2", "TCGA_A_1"):
        for index in (10, 1, 2):
            _write(tmp_path / case / f"{case}_{index}.tif", np.full((6, 8, 3), index))
            _write(
                tmp_path / case / f"{case}_{index}_mask.tif", np.full((6, 8), 255 * (index == 2))
            )
    return tmp_path


def _problems(root: Path, **options) -> list[str]:
    with pytest.raises(InputError) as caught:
        find_data_set(root, **options)
    return str(caught.value).splitlines()


def test_numeric_order_and_pairs_by_stem(root):
    cases = find_data_set(str(root))
    assert [(case.patient_id, case.case_id) for case in cases] == [
        (name, name) for name in ("TCGA_A_1", "TCGA_B_2")
    ]
    for case in cases:
        assert case.numbers == (1, 2, 10) and case.contrasts == ("T1", "FLAIR", "T1c")
        assert [path.stem for path in case.files] == [f"{case.case_id}_{n}" for n in case.numbers]
        assert [path.stem for path in case.label] == [f"{path.stem}_mask" for path in case.files]
    assert check_cases(cases) == []


def test_one_level_too_high(root):
    (root / "kaggle_3m").mkdir()
    (root / "TCGA_A_1").rename(root / "kaggle_3m" / "TCGA_A_1")
    assert [case.case_id for case in find_data_set(root)] == ["TCGA_A_1"]


def test_other_spellings_of_the_suffix(root):
    folder = root / "TCGA_A_1"
    (folder / "TCGA_A_1_1.tif").rename(folder / "TCGA_A_1_1.TIFF")
    (folder / "TCGA_A_1_2_mask.tif").rename(folder / "TCGA_A_1_2_mask.Tif")
    _write(folder / "TCGA_A_1_3.PNG", np.zeros((6, 8, 3)))
    _write(folder / "TCGA_A_1_3_mask.png", np.zeros((6, 8)))
    cases = find_data_set(root)
    assert cases[0].numbers == (1, 2, 3, 10)
    assert check_cases(cases) == []


def test_strays_are_ignored_with_a_note(root, caplog):
    before = find_data_set(root)
    assert not caplog.records
    (root / "notes.txt").write_text("")
    (root / "__MACOSX" / "TCGA_A_1").mkdir(parents=True)
    (root / "figures").mkdir()
    (root / "TCGA_A_1" / "Thumbs.db").write_bytes(b"")
    (root / "TCGA_A_1" / "._TCGA_A_1_1.tif").write_bytes(b"")
    (root / "TCGA_A_1" / "TCGA_B_2_7.tif").write_bytes(b"")
    (root / "TCGA_A_1" / "TCGA_A_1_3.tif").mkdir()
    (root / "data.csv").write_text("Patient,age\n")
    (root / "README.md").write_text("")
    with caplog.at_level(logging.INFO):
        assert find_data_set(root) == before
    (record,) = caplog.records
    note = record.getMessage()
    assert str(root) in note and "Thumbs.db" in note and note.endswith("and 2 more")
    assert "README" not in note and "data.csv" not in note


def test_every_problem_of_the_layout_in_one_pass(root):
    (root / "TCGA_A_1" / "TCGA_A_1_2_mask.tif").unlink()
    (root / "TCGA_B_2" / "TCGA_B_2_10.tif").unlink()
    _write(root / "TCGA_B_2" / "TCGA_B_2_02.tif", np.zeros((6, 8, 3)))
    (root / "TCGA_C_3").mkdir()
    (root / "listed").mkdir()
    (root / "data.csv").write_text("Patient,age\nlisted,50\n")
    first, *problems = _problems(root)
    assert first == f"{root}: 5 problems in the data set"
    expected = {
        "TCGA_A_1_2.tif": "has no mask",
        "TCGA_B_2_10_mask.tif": "mask without image",
        "TCGA_B_2_2.tif": "the same slice as",
        "TCGA_C_3": "patient without slices",
        "listed": "patient without slices",
    }
    for name, what in expected.items():
        assert sum(f"{name}: " in line and what in line for line in problems) == 1, name
    assert len(problems) == 5


def test_masks_may_be_missing_if_none_are_required(root):
    (root / "TCGA_A_1" / "TCGA_A_1_2_mask.tif").unlink()
    cases = find_data_set(root, labelled=False)
    assert [len(case.label) for case in cases] == [0, 3]
    assert check_cases(cases) == []
    (root / "TCGA_A_1" / "TCGA_A_1_1.tif").unlink()
    assert "mask without image" in _problems(root, labelled=False)[1]


@pytest.mark.parametrize("make", [None, "folder", "file", "stray"])
def test_not_a_data_set(tmp_path, make):
    root = tmp_path / "data"
    if make == "file":
        root.write_text("")
    elif make:
        root.mkdir()
        if make == "stray":
            _write(root / "pictures" / "cat.png", np.zeros((2, 2, 3)))
    line, *others = _problems(root)
    assert str(root) in line
    # Pictures of anything could be scans, but have no labels.
    assert others == [f"  {root}/pictures/cat.png: has no label beside it"] * (make == "stray")
    assert others or "expected" in line


def test_check_reports_every_problem_in_one_pass(root):
    folder = root / "TCGA_A_1"
    whole = (folder / "TCGA_A_1_1.tif").read_bytes()
    (folder / "TCGA_A_1_1.tif").write_bytes(whole[: len(whole) // 2])
    _write(folder / "TCGA_A_1_1_mask.tif", np.full((6, 8), 1))
    _write(folder / "TCGA_A_1_2.tif", np.zeros((6, 8)))
    _write(folder / "TCGA_A_1_10_mask.tif", np.zeros((8, 6)))
    _write(root / "TCGA_B_2" / "TCGA_B_2_2.tif", np.zeros((7, 8, 3)))
    _write(root / "TCGA_B_2" / "TCGA_B_2_2_mask.tif", np.zeros((7, 8)))
    (root / "TCGA_B_2" / "TCGA_B_2_10_mask.tif").write_text("no image")
    problems = check_cases(find_data_set(root))
    expected = [
        ("TCGA_A_1_1.tif", "truncated"),
        ("TCGA_A_1_1_mask.tif", "0 and 255 only"),
        ("TCGA_A_1_2.tif", "mode L"),
        ("TCGA_A_1_10_mask.tif", "6x8 and 8x6"),
        ("TCGA_B_2_10_mask.tif", "not a readable"),
        ("TCGA_B_2", "2 of 6x8, 1 of 7x8"),
    ]
    assert len(problems) == len(expected)
    for line, (name, what) in zip(problems, expected, strict=True):
        assert f"{name}: " in line and what in line
    assert not any("\n" in line for line in problems)


def test_fingerprint_is_of_the_contents_alone(root, tmp_path_factory):
    first = data_fingerprint(find_data_set(root))
    copy = tmp_path_factory.mktemp("copy") / "elsewhere"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)  # with times of its own
    assert data_fingerprint(reversed(find_data_set(copy))) == first
    assert len(first) == 16 and int(first, 16)
    _write(copy / "TCGA_A_1" / "TCGA_A_1_1_mask.tif", np.full((6, 8), 255))
    assert data_fingerprint(find_data_set(copy)) != first
    assert data_fingerprint(find_data_set(root)[1:]) != first


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_table(root, separator, encoding):
    (root / "TCGA_A_1").rename(root / "TCGA_A_1_19960909")
    rows = [["Patient", "age", "grade"], ["TCGA_A_1", "67", ""], ["TCGA_B_2", "44", "1"]]
    rows.append(["TCGA_Z_9", "30"])
    text = "\r\n".join(separator.join(row) for row in rows)
    (root / "data.csv").write_text(text + "\r\n", encoding=encoding)
    assert read_table(root) == {
        "TCGA_A_1_19960909": {"Patient": "TCGA_A_1", "age": "67", "grade": ""},
        "TCGA_B_2": {"Patient": "TCGA_B_2", "age": "44", "grade": "1"},
        "TCGA_Z_9": {"Patient": "TCGA_Z_9", "age": "30", "grade": ""},
    }


def test_table_missing_empty_or_not_text(root):
    assert read_table(root) == {}
    (root / "data.csv").write_text("")
    assert read_table(root) == {}
    (root / "data.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"data\.csv"):
        read_table(root)


@pytest.mark.skipif(not LGG.is_dir(), reason=f"no LGG data set: {LGG} (set AGD_KERAS_LGG)")
def test_published_counts_of_lgg():
    cases = find_data_set(LGG)
    slices = sum(len(case.files) for case in cases)
    tumor = sum(bool(read_mask(path).any()) for case in cases for path in case.label)
    assert (len(cases), slices, tumor) == (75, 2778, 947)
    assert set(read_table(LGG)) >= {case.patient_id for case in cases}


def test_problems_of_all_kinds_at_once(tmp_path):
    """A missing mask hides neither what is wrong within other files nor a table that is no text."""
    root = make_phantom(tmp_path / "data", patients=3, slices=3, size=32)
    (root / "phantom_001" / "phantom_001_1_mask.tif").unlink()
    os.truncate(root / "phantom_002" / "phantom_002_1.tif", 300)
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(
        root / "phantom_002" / "phantom_002_2_mask.tif"
    )
    Image.fromarray(np.zeros((32, 30), np.uint8)).save(
        root / "phantom_003" / "phantom_003_3_mask.tif"
    )
    (root / "data.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="5 problems in the data set") as error:
        find_data_set(root)
    for name in ("001_1.tif", "002_1.tif", "002_2_mask.tif", "003_3_mask.tif", "data.csv"):
        assert name in str(error.value)
