"""Properties that every split must have, whatever the data set."""

import json
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agd_keras.data.slices import Slice
from agd_keras.data.splits import load_folds, make_folds, save_folds, select
from agd_keras.errors import InputError


def _dataset(seed: int, patients: int) -> tuple[list[Slice], dict[str, int]]:
    """Slices without files, and areas that are mostly 0 and else of any magnitude."""
    rng = np.random.default_rng(seed)
    slices = [
        Slice(f"case_{patient}", f"case_{patient}", index, index - 1)
        for patient in range(patients)
        for index in range(1, rng.integers(2, 9))
    ]
    areas = {one.name: int(rng.lognormal(4) * (rng.random() < 0.4)) for one in slices}
    return slices, areas


def _units(slices, split):
    return {one.patient if split == "subject" else one.name for one in slices}


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    patients=st.integers(6, 60),
    folds=st.integers(3, 6),
    turns=st.integers(1, 3),
    split=st.sampled_from(["subject", "record"]),
)
def test_every_unit_is_tested_once_and_stands_on_one_side(seed, patients, folds, turns, split):
    slices, areas = _dataset(seed, patients)
    units = _units(slices, split)
    made = make_folds(slices, areas, folds, split, seed, portions=folds * turns)
    assert [fold.index for fold in made] == list(range(folds))
    assert sorted(sum((fold.test for fold in made), ())) == sorted(units)
    for fold in made:
        sides = fold.train, fold.validation, fold.test
        assert set().union(*sides) == units
        assert sum(map(len, sides)) == len(units)
        assert all(side and list(side) == sorted(side) for side in sides)
        chosen = [select(slices, side, split) for side in sides]
        assert sorted(chain.from_iterable(chosen)) == sorted(slices)
    tested = [len(fold.test) for fold in made]
    portions = min(folds * turns, len(units) // folds * folds)
    assert max(tested) - min(tested) <= portions // folds


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), split=st.sampled_from(["subject", "record"]))
def test_order_of_files_does_not_matter_and_the_seed_does(seed, split):
    slices, areas = _dataset(seed, 30)
    shuffled = [slices[i] for i in np.random.default_rng(seed).permutation(len(slices))]
    turned = dict(reversed(areas.items()))
    made = make_folds(slices, areas, split=split, seed=seed)
    assert made == make_folds(shuffled, turned, split=split, seed=seed)
    assert made != make_folds(slices, areas, split=split, seed=seed + 1)


@pytest.mark.parametrize("split", ["subject", "record"])
def test_balanced_by_tumour_area(split):
    slices, areas = _dataset(3, 100)
    total = sum(areas.values())
    for seed in range(5):
        made = make_folds(slices, areas, 5, split, seed)
        shares = [sum(areas[s.name] for s in select(slices, f.test, split)) / total for f in made]
        assert max(abs(share - 0.2) for share in shares) < (0.06 if split == "subject" else 0.03)
        tested = [len(fold.test) for fold in made]
        assert max(tested) - min(tested) <= (0 if split == "subject" else 2)


def test_published_portions():
    slices, areas = _dataset(0, 100)
    for fold in make_folds(slices, areas, folds=5, portions=10, validation_portions=2):
        assert (len(fold.train), len(fold.validation), len(fold.test)) == (60, 20, 20)
    made = make_folds(slices, areas, folds=5, portions=10, validation_portions=2)
    assert [fold.validation for fold in made] == [fold.test for fold in made[1:] + made[:1]]


def test_record_split_has_patients_on_both_sides():
    slices, areas = _dataset(0, 30)
    fold = make_folds(slices, areas, split="record")[0]
    sides = [{s.patient for s in select(slices, u, "record")} for u in (fold.train, fold.test)]
    assert sides[0] & sides[1]


@pytest.mark.parametrize(("patients", "folds"), [(3, 3), (4, 2), (5, 5), (7, 5)])
def test_fewer_patients_than_portions(patients, folds):
    slices, areas = _dataset(1, patients)
    made = make_folds(slices, areas, folds, portions=10 // folds * folds, validation_portions=1)
    assert sorted(sum((f.test for f in made), ())) == sorted(_units(slices, "subject"))
    assert all(f.train and f.validation and f.test for f in made)


@pytest.mark.parametrize(
    ("patients", "options", "message"),
    [
        (1, {}, "a data set of one patient"),
        (2, {}, "2 patients: expected at least 3"),
        (4, {"folds": 5}, "folds 5: expected 0 to 4"),
        (3, {"folds": 2}, "nothing left to train on"),
        (12, {"folds": -1}, "folds -1"),
        (12, {"folds": 5, "portions": 12}, "portions 12: expected a multiple of the 5 folds"),
        (12, {"portions": 0}, "portions 0"),
        (12, {"validation_portions": 0}, "validation portions 0"),
        (12, {"validation_portions": 8}, "nothing left to train on"),
        (12, {"validation_portions": 9}, "nothing left to train on"),
        (12, {"split": "slice"}, "split 'slice': expected one of subject, record"),
    ],
)
def test_impossible_splits(patients, options, message):
    slices, areas = _dataset(0, patients)
    with pytest.raises(InputError, match="^[^\n]*" + message):
        make_folds(slices, areas, **options)


@pytest.mark.parametrize("split", ["subject", "record"])
@pytest.mark.parametrize("validation", [1, 2])
def test_single_test_is_the_first_of_five_folds(split, validation):
    slices, areas = _dataset(3, 31)
    options = {"split": split, "seed": 7, "validation_portions": validation}
    (single,) = make_folds(slices, areas, **options)
    assert single == make_folds(slices, areas, folds=5, **options)[0]
    units = len(single.test) + len(single.validation) + len(single.train)
    assert len(single.test) == pytest.approx(units / 5, abs=2)


def test_single_test_is_one_fifth_of_any_number_of_portions():
    slices, areas = _dataset(0, 40)
    (single,) = make_folds(slices, areas, portions=20)
    assert [len(side) for side in (single.train, single.validation, single.test)] == [30, 2, 8]


def test_single_test_of_few_patients():
    slices, areas = _dataset(0, 3)
    (single,) = make_folds(slices, areas)
    assert [len(side) for side in (single.train, single.validation, single.test)] == [1, 1, 1]


def test_saved_and_loaded(tmp_path):
    slices, areas = _dataset(0, 20)
    made = make_folds(slices, areas, folds=5, seed=4)
    save_folds(made, tmp_path / "folds.json", split="subject", seed=4)
    assert load_folds(tmp_path / "folds.json") == made
    content = json.loads((tmp_path / "folds.json").read_text())
    assert (content["split"], content["seed"], len(content["folds"])) == ("subject", 4, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["folds.json"]


def test_unusable_files(tmp_path):
    path = tmp_path / "folds.json"
    twice = {"index": 0, "train": ["a"], "validation": ["b"], "test": ["a"]}
    for content in (None, "{", "[]", "{}", '{"folds": [{}]}', json.dumps({"folds": [twice]})):
        if content is not None:
            path.write_text(content)
        with pytest.raises(InputError, match=r"^[^\n]*folds\.json"):
            load_folds(path)


def test_select_refuses_what_the_data_lack():
    slices, _ = _dataset(0, 3)
    with pytest.raises(InputError, match="case_9"):
        select(slices, ["case_0", "case_9"], "subject")


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), patients=st.integers(3, 40), validation=st.integers(1, 3))
def test_without_a_test_all_others_train(seed, patients, validation):
    slices, areas = _dataset(seed, patients)
    (fold,) = make_folds(slices, areas, 0, seed=seed, validation_portions=validation)
    assert fold.test == ()
    assert sorted(fold.train + fold.validation) == sorted(_units(slices, "subject"))
    assert 1 <= len(fold.validation) <= max(1, -(-patients * validation // 10) + validation)
