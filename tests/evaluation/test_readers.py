"""Readers of known error, and the published formula by hand."""

import numpy as np
import pytest

from agd_keras.data.phantom import make_phantom
from agd_keras.errors import InputError
from agd_keras.evaluation.readers import (
    PAIRS,
    compare_masks,
    readers_table,
    staple,
    study_readers,
    summarize_readers,
)
from agd_keras.io.data_set import find_data_set
from agd_keras.io.labels import read_labelled
from agd_keras.viz.readers import readers_figure


def entry(readers, first, second):
    return dict.fromkeys(PAIRS) | {"readers": readers, "first": first, "second": second}


def test_williams_index_by_hand():
    """I = mean agreement with each reader over mean agreement of the readers."""
    subjects = {"a": entry(0.8, 0.9, 0.6), "b": entry(0.9, 0.7, 0.8)}
    found = summarize_readers(subjects)
    # (1 / 2) (0.8 + 0.7) over 0.85
    assert found["williams"]["value"] == pytest.approx(0.75 / 0.85)
    assert found["first"]["value"] == pytest.approx(0.8)
    low, high = found["williams"]["ci95"]
    # Two patients: a resample is one of them twice, or both.
    each = sorted([0.75 / 0.8, 0.75 / 0.9])
    assert (low, high) == pytest.approx(tuple(each))
    assert found["staple"] == {"value": None, "ci95": [None, None]}


def test_a_third_reader_of_the_same_error_has_an_index_of_one():
    """Three readers flip each pixel with the same chance, independently."""
    rng = np.random.default_rng(0)
    subjects = {}
    for number in range(40):
        truth = np.zeros((4, 40, 40), bool)
        truth[1:3, 10:30, 8 : 20 + number % 9] = True
        masks = [truth ^ (rng.random(truth.shape) < 0.02) for _ in range(3)]
        subjects[str(number)] = compare_masks(*masks)
    found = summarize_readers(subjects)
    assert found["williams"]["value"] == pytest.approx(1, abs=0.005)
    low, high = found["williams"]["ci95"]
    assert low < 1 < high
    assert found["union"]["value"] < found["first"]["value"]  # errors of both are in it


def test_a_better_model_is_above_one_and_a_worse_one_below():
    rng = np.random.default_rng(1)
    truth = np.zeros((6, 40, 40), bool)
    truth[1:5, 10:30, 8:25] = True

    def reader(error):
        return truth ^ (rng.random(truth.shape) < error)

    def index(model):
        subjects = {str(n): compare_masks(model, reader(0.05), reader(0.05)) for n in range(20)}
        return summarize_readers(subjects)["williams"]["ci95"]

    assert index(truth)[0] > 1
    assert index(reader(0.2))[1] < 1


def test_the_consensus_outvotes_the_reader_who_errs():
    pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(2)
    truth = np.zeros((4, 40, 40), bool)
    truth[1:3, 10:30, 8:25] = True
    masks = [truth ^ (rng.random(truth.shape) < error) for error in (0.01, 0.01, 0.2)]
    wrong = [(mask != truth).mean() for mask in masks]
    assert (staple(masks) != truth).mean() < min(wrong)


def test_nothing_marked_by_anyone_is_agreement():
    empty = np.zeros((2, 5, 5), bool)
    found = compare_masks(empty, empty, empty)
    assert all(value in (1.0, None) for value in found.values())
    assert summarize_readers({"a": found})["williams"]["value"] == 1.0


def test_readers_who_never_agree_have_no_index():
    found = summarize_readers({"a": entry(0.0, 0.5, 0.5), "b": entry(0.0, 0.4, 0.5)})
    assert found["williams"]["value"] is None
    assert readers_table({**found, "subjects": {}}).rows[-1] == ["Williams' index", "–", "–"]


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """Two of three patients with a second reader, who has marked a slice less at the top."""
    folder = tmp_path_factory.mktemp("readers")
    cases = find_data_set(make_phantom(folder / "data", patients=3, slices=6, size=48))
    (folder / "second").mkdir()
    for ref in cases[:2]:
        _, truth = read_labelled(ref)
        path = folder / "second" / f"{ref.case_id}.npz"
        np.savez(path, mask=truth[:-1], slices=ref.numbers[:-1])
    return cases, folder / "second"


def test_study_of_patients_who_have_two_readers(studied):
    cases, folder = studied
    study = study_readers(lambda case: case.images[..., 1] / 255.0, cases, folder, 0.4)
    assert sorted(study["subjects"]) == ["phantom_001", "phantom_002"]
    assert study["patients"] == 2
    assert study["readers"]["value"] == 1
    # The readers are one: the index is the model's own Dice.
    assert study["williams"]["value"] == pytest.approx(study["first"]["value"])
    table = readers_table(study)
    assert [len(row) for row in table.rows] == [3] * 7
    [axes] = readers_figure(study).axes
    assert [len(line.get_xdata()) for line in axes.lines] == [2, 2, 2]


def test_the_model_that_is_compared_is_the_one_with_its_mask(studied):
    cases, folder = studied

    def predict(case):
        return case.images[..., 1] / 255.0

    asked = []

    def nothing(probability):
        asked.append(probability.shape)
        return np.zeros(probability.shape, bool)

    study = study_readers(predict, cases, folder, 0.4, make_mask=nothing)
    assert asked == [(6, 48, 48)] * 2  # of whole cases, as their components are
    assert study["first"]["value"] < study_readers(predict, cases, folder, 0.4)["first"]["value"]
    assert study["readers"]["value"] == 1


def test_what_does_not_fit_is_told(studied, tmp_path):
    cases, _ = studied
    with pytest.raises(InputError, match="found none"):
        study_readers(lambda case: case.images[..., 1] / 255.0, cases, tmp_path)
    path = tmp_path / f"{cases[0].case_id}.npz"
    np.savez(path, mask=np.zeros((6, 8, 8)), slices=cases[0].numbers)
    with pytest.raises(InputError, match="8x8 and 48x48"):
        study_readers(lambda case: case.images[..., 1] / 255.0, cases, tmp_path)
