"""Whose scan a case is, and what is said of a data set."""

import logging
from pathlib import Path

import pytest

from agd_keras.data.datasets import find_data, name_persons
from agd_keras.data.phantom import make_phantom
from agd_keras.errors import InputError
from agd_keras.io.case_ref import CaseRef

CASES = [CaseRef(name, "nifti", (Path("x.nii"),)) for name in ("UPENN-7_11", "UPENN-7_21", "b_1")]


def test_persons_by_a_pattern():
    named = name_persons(CASES, r"^(.+)_\d+$")
    assert [case.patient_id for case in named] == ["UPENN-7", "UPENN-7", "b"]
    assert name_persons(CASES, None) == CASES


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "--persons [(]: no regular expression"),
        ("UPENN", "--persons UPENN: expected a group"),
        ("(UPENN-[0-9]+)", "finds no person in case b_1"),
        ("x*()", "finds no person in case UPENN-7_11"),
    ],
)
def test_patterns_that_tell_no_person(pattern, message):
    with pytest.raises(InputError, match=message):
        name_persons(CASES, pattern)


def test_what_was_recognised_is_told_once(tmp_path, caplog):
    root = make_phantom(tmp_path / "d", patients=4, slices=2, size=32)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            cases = find_data(root, persons=r"(phantom_00)")
    assert {case.patient_id for case in cases} == {"phantom_00"}
    assert caplog.messages == [f"{root}: layout kaggle_3m, 4 cases of 1 person"]
    with pytest.raises(InputError, match="--layout table: expected a table as CSV, found"):
        find_data(root, layout="table")
    with pytest.raises(InputError, match="found nothing"):
        find_data(tmp_path / "none", layout="nnunet")
