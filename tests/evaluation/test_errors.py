"""The kinds of error against masks whose errors are known, and against pixels looked at singly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agd_keras.evaluation.errors import (
    KINDS,
    add_errors,
    count_errors,
    error_shares,
    kinds_of_error,
    summarize_errors,
)
from agd_keras.evaluation.patients import add_entries, score_patient
from agd_keras.evaluation.summary import summarize


def masks():
    """Three slices: a square found too wide by 4 pixels, one not found, one where there is none."""
    truth = np.zeros((3, 40, 40), bool)
    truth[:2, 10:20, 10:20] = True
    found = np.zeros_like(truth)
    found[0, 10:20, 10:24] = True
    found[2, 30, 30:33] = True
    return truth, found


def score(truth, found):
    return score_patient(truth, found * 0.9)


def test_kinds_by_hand():
    truth, found = masks()
    # Of 4 columns beyond the square the first two are near its outline.
    assert count_errors(truth, found) == {
        "outline": {"fp": 20, "fn": 100 - 36},
        "missed": {"fp": 0, "fn": 36},
        "invented": {"fp": 3, "fn": 0},
        "region": {"fp": 20, "fn": 0},
    }


def kind_of_pixel(truth, found, where):
    """The definition, word by word."""
    place, row, column = where
    rows, columns = slice(max(row - 2, 0), row + 3), slice(max(column - 2, 0), column + 3)
    around = truth[place, rows, columns]
    if around.any() and not around.all():
        return "outline"
    if not found[place].any():
        return "missed"
    return "region" if truth[place].any() else "invented"


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_each_wrong_pixel_is_of_the_kind_that_its_definition_says(data):
    shape = (3, 9, 8)
    pair = []
    for _ in range(2):
        mask = np.zeros(shape, bool)
        for place in range(3):  # boxes, of which some fill a slice or are empty
            top, left, height, width = (data.draw(st.integers(0, 9)) for _ in range(4))
            mask[place, top : top + height, left : left + width] = True
        pair.append(mask)
    truth, found = pair
    kinds = kinds_of_error(truth, found)
    wrong = np.argwhere(truth != found)
    assert sum(int(kinds[kind].sum()) for kind in KINDS) == len(wrong)
    for where in map(tuple, wrong):
        assert kinds[kind_of_pixel(truth, found, where)][where]


def test_dice_if_repaired_is_that_of_the_repaired_mask():
    truth, found = masks()
    other = truth.copy()
    other[0, 5:8] = True
    errors = summarize({"a": score(truth, found), "b": score(truth, other)})["errors"]
    for kind in KINDS:
        dices = []
        for mask in (found, other):
            repaired = np.where(kinds_of_error(truth, mask)[kind], truth, mask)
            dices.append(2 * (truth & repaired).sum() / (truth.sum() + repaired.sum()))
        assert errors[kind]["dice_if_repaired"] == pytest.approx(np.mean(dices))
    wrong = (truth != found).sum() + (truth != other).sum()
    assert errors["missed"]["share"] == pytest.approx(36 / wrong)
    assert sum(one["share"] for one in errors.values()) == pytest.approx(1)


def test_parts_of_a_patient_add_up():
    """As the slices of a record-wise split do: each kind is one of a slice by itself."""
    truth, found = masks()
    parts = [score(truth[[place]], found[[place]]) for place in range(3)]
    assert add_entries(parts)["errors"] == score(truth, found)["errors"]


def test_nothing_wrong_and_nothing_known():
    truth, found = masks()
    none = {kind: {"share": None, "dice_if_repaired": None} for kind in KINDS}
    assert summarize_errors([score(truth, truth)]) == none
    before = score(truth, found)
    del before["errors"]  # of an earlier version
    assert summarize({"a": score(truth, found), "b": before})["errors"] == none
    assert add_entries([before, score(truth, found)])["errors"] is None
    assert add_errors([None]) is None
    assert set(error_shares(None).values()) == {None}
    assert score_patient(truth, found * 0.9, surface=False)["errors"] is None
