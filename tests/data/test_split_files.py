"""Splits that others made are used as they are, or refused."""

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agd_keras.data.slices import Slice
from agd_keras.data.split_files import count_folds, read_split, save_nnunet
from agd_keras.data.splits import Fold, make_folds, save_folds
from agd_keras.errors import InputError

# Ten persons A to J, of whom A has two scans; two slices each.
PERSONS = {"A1": "A", "A2": "A", **{name: name for name in "BCDEFGHIJ"}}
SLICES = [Slice(person, case, n, n - 1) for case, person in PERSONS.items() for n in (1, 2)]
AREAS = {one.name: 10 * place for place, one in enumerate(SLICES)}


def nnunet(path, *folds):
    """Writes training and validation cases of each fold."""
    path.write_text(json.dumps([{"train": t, "val": v} for t, v in folds]))
    return path


def test_validation_of_nnunet_is_the_test_and_ours_comes_from_its_training(tmp_path):
    train = [case for case in PERSONS if case not in ("I", "J")]
    path = nnunet(tmp_path / "s.json", (train, ["J", "I"]), (["A1", "A2", *"FGHIJ"], ["B"]))
    first, second = read_split(path, SLICES, AREAS, seed=3)
    assert (first.index, first.test) == (0, ("I", "J"))
    assert sorted(first.train + first.validation) == list("ABCDEFGH")
    assert len(first.validation) == 1
    # By the rule of make_folds: among the training patients alone, without a test.
    own = [one for one in SLICES if one.patient not in "IJ"]
    [dealt] = make_folds(own, AREAS, 0, seed=3)
    assert (first.train, first.validation) == (dealt.train, dealt.validation)
    assert second.test == ("B",)
    assert sorted(second.train + second.validation) == list("AFGHIJ")
    assert read_split(path, SLICES[::-1], AREAS, seed=3) == [first, second]
    assert count_folds(path) == 2


def test_cases_without_a_part_are_told(tmp_path, caplog):
    path = nnunet(tmp_path / "s.json", (list("BCDE"), ["F"]))
    with caplog.at_level(logging.INFO):
        read_split(path, SLICES, AREAS)
    assert "without a part in any fold: 5 units" in caplog.text  # A, G, H, I and J


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), folds=st.integers(2, 5), count=st.integers(10, 30))
def test_tests_survive_the_way_to_nnunet_and_back(tmp_path_factory, seed, folds, count):
    slices = [Slice(f"p{n // 2}", f"c{n}", 1, 0) for n in range(2 * count)]
    areas = {one.name: seed * n % 7 for n, one in enumerate(slices)}
    made = make_folds(slices, areas, folds, seed=seed, portions=2 * folds)
    path = tmp_path_factory.mktemp("split") / "splits_final.json"
    save_nnunet(made, {one.case: one.patient for one in slices}, path)
    for before, after in zip(made, read_split(path, slices, areas, seed=seed), strict=True):
        assert after.test == before.test
        assert set(after.train + after.validation) == {*before.train, *before.validation}
    written = json.loads(path.read_text())
    assert all(len(fold["train"]) + len(fold["val"]) == 2 * count for fold in written)


def test_without_a_test_nnunet_is_given_what_picks_the_epoch(tmp_path):
    save_nnunet([Fold(0, ("A", "B"), ("C",), ())], PERSONS, tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text()) == [
        {"train": ["A1", "A2", "B"], "val": ["C"]}
    ]


@pytest.mark.parametrize("split", ["subject", "record"])
def test_folds_of_a_run_come_back_as_they_are(split, tmp_path):
    made = make_folds(SLICES, AREAS, 2, split, portions=4)
    save_folds(made, tmp_path / "folds.json", split, 0)
    assert read_split(tmp_path / "folds.json", SLICES, AREAS, split) == made
    assert count_folds(tmp_path / "folds.json") == 2
    [fold] = make_folds(SLICES, AREAS, 0, split)
    save_folds([fold], tmp_path / "all.json", split, 0)
    assert read_split(tmp_path / "all.json", SLICES, AREAS, split) == [fold]
    assert count_folds(tmp_path / "all.json") == 0
    other = {"subject": "record", "record": "subject"}[split]
    with pytest.raises(InputError, match=f"split by {split}, expected --split {other}"):
        read_split(tmp_path / "folds.json", SLICES, AREAS, other)


REST = ["B", "C", "D"]
WRONG = {
    "unknown case": ([(REST, ["X"])], "fold 0: case X is not in the data"),
    "two sides": ([(REST, ["B"])], "fold 0: case B stands 2 times"),
    "twice on a side": ([([*REST, "B"], ["E"])], "fold 0: case B stands 2 times"),
    "a person on two sides": ([(["A1", *REST], ["A2"])], "person A has scans on both sides"),
    "half a person": ([(["A1", *REST], ["E"])], "case A2 is not named, but others of its person"),
    "tested twice": ([(REST, ["E"]), (REST, ["E"])], "E is tested in folds 0 and 1"),
    "too few": ([(["B"], ["E"])], "fold 0: 1 person to train on, expected at least 3"),
    "an empty side": ([(REST, [])], "fold 0: expected lists of cases"),
    "no names": ([(REST, [1])], "fold 0: expected lists of cases"),
    "no lists": ([(REST, "E")], "fold 0: expected lists of cases"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_splits_that_cannot_be_used(kind, tmp_path):
    folds, message = WRONG[kind]
    path = nnunet(tmp_path / "splits_final.json", *folds)
    with pytest.raises(InputError, match=message) as caught:
        read_split(path, SLICES, AREAS)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


OURS = {
    "unknown": (Fold(0, ("A",), ("B",), ("X",)), "fold 0: X is not in the data"),
    "two sides": (Fold(0, ("A",), ("B",), ("A",)), "A stands 2 times in fold 0"),
    "no training": (Fold(0, (), ("B",), ("A",)), "fold 0: a side without cases"),
    "a gap": (Fold(1, ("A",), ("B",), ("C",)), "fold 1, expected 0 in its place"),
}


@pytest.mark.parametrize("kind", OURS)
def test_edited_folds_that_cannot_be_used(kind, tmp_path):
    fold, message = OURS[kind]
    save_folds([fold], tmp_path / "folds.json", "subject", 0)
    with pytest.raises(InputError, match=message):
        read_split(tmp_path / "folds.json", SLICES, AREAS)


@pytest.mark.parametrize(
    "content", [None, b"{", b"[]", b"{}", b"3", b'"a"', b"\xff", b"[" * 10**5, b'[["a"], ["b"]]']
)
def test_what_is_no_split(content, tmp_path):
    path = tmp_path / "splits_final.json"
    if content is not None:
        path.write_bytes(content)
    for read in (count_folds, lambda path: read_split(path, SLICES, AREAS)):
        with pytest.raises(InputError, match=r"^[^\n]*splits_final\.json[^\n]*expected[^\n]*$"):
            read(path)


def test_slices_are_no_cases(tmp_path):
    path = nnunet(tmp_path / "splits_final.json", (REST, ["E"]))
    with pytest.raises(InputError, match="of whole cases, expected --split subject"):
        read_split(path, SLICES, AREAS, "record")
