"""Overlap, cross-entropy and intervals against scikit-learn and closed forms."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk

from agd_keras.evaluation import scores
from agd_keras.evaluation.scores import Counts

masks = arrays(bool, 24)


def test_counts_by_hand():
    truth = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], dtype=bool)
    prediction = np.array([1, 1, 0, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
    counts = scores.count(truth, prediction)
    assert counts == Counts(tp=2, fp=2, fn=1, tn=5)
    assert scores.dice(counts) == 4 / 7
    assert scores.iou(counts) == 2 / 5
    assert scores.precision(counts) == 1 / 2
    assert scores.recall(counts) == 2 / 3
    assert scores.specificity(counts) == 5 / 7
    assert scores.accuracy(counts) == 7 / 10


def test_counts_do_not_overflow():
    many = Counts(tp=2**62, tn=2**62)
    assert scores.dice(many + many) == 1.0
    assert (many + many).tp == 2**63


def test_counts_of_two_stacks_add_up():
    assert Counts(1, 20, 300, 4000) + Counts(5, 60, 700, 8000) == Counts(6, 80, 1000, 12000)


def test_counts_of_nothing():
    assert Counts() == Counts(0, 0, 0, 0)
    assert scores.accuracy(Counts()) == scores.specificity(Counts()) == 1.0
    with pytest.raises(FrozenInstanceError):
        Counts().tp = 1


OVERLAPS = (scores.dice, scores.iou, scores.precision, scores.recall)


@pytest.mark.parametrize("figure", OVERLAPS)
@pytest.mark.parametrize(
    ("counts", "expected"),
    [(Counts(tn=9), 1.0), (Counts(fp=2, tn=7), 0.0), (Counts(fn=2, tn=7), 0.0)],
    ids=["both empty", "truth empty", "prediction empty"],
)
def test_empty_masks(figure, counts, expected):
    assert figure(counts) == expected


def test_specificity_without_background():
    assert scores.specificity(Counts(tp=3, fn=1)) == 1.0


@given(masks, masks)
@settings(deadline=None, max_examples=50)
def test_overlaps_equal_scikit_learn(truth, prediction):
    counts = scores.count(truth, prediction)
    if truth.any() or prediction.any():
        pair = (truth, prediction)
        assert scores.dice(counts) == pytest.approx(sk.f1_score(*pair, zero_division=0))
        assert scores.iou(counts) == pytest.approx(sk.jaccard_score(*pair, zero_division=0))
        assert scores.precision(counts) == pytest.approx(sk.precision_score(*pair, zero_division=0))
        assert scores.recall(counts) == pytest.approx(sk.recall_score(*pair, zero_division=0))
    assert scores.accuracy(counts) == pytest.approx(sk.accuracy_score(truth, prediction))
    assert scores.specificity(counts) == pytest.approx(
        sk.recall_score(~truth, ~prediction, zero_division=1)
    )


@given(masks, masks)
@settings(deadline=None, max_examples=50)
def test_dice_and_iou_say_the_same(truth, prediction):
    counts = scores.count(truth, prediction)
    iou = scores.iou(counts)
    assert scores.dice(counts) == pytest.approx(2 * iou / (1 + iou))
    assert scores.dice(counts) == scores.dice(scores.count(prediction, truth))
    assert 0 <= iou <= scores.dice(counts) <= 1


@given(masks, arrays(np.float32, 24, elements=st.floats(0, 1, width=32)))
@settings(deadline=None, max_examples=50)
def test_bce_equals_scikit_learn(truth, probability):
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    expected = sk.log_loss(truth, np.stack([1 - p, p], axis=1), labels=[False, True])
    assert scores.bce_sum(truth, probability) / 24 == pytest.approx(expected, rel=1e-6)


def test_bce_of_certainty_is_clipped():
    truth = np.array([True, False, True])
    sure = np.array([1, 0, 0], dtype=np.float32)  # right, right, wrong
    expected = -2 * np.log1p(-1e-7) - np.log(1e-7)
    assert scores.bce_sum(truth, sure) == pytest.approx(expected, rel=1e-12)


def test_bce_is_summed_in_float64():
    truth = np.zeros(2_000_000, dtype=bool)
    probability = np.full(truth.shape, 0.1, dtype=np.float32)
    expected = -np.log1p(-np.float64(np.float32(0.1))) * truth.size
    assert scores.bce_sum(truth, probability) == pytest.approx(expected, rel=1e-10)


def test_interval_of_the_mean_as_theory_says():
    values = np.random.default_rng(3).normal(0.8, 0.1, 200)
    low, high = scores.bootstrap_ci(values)
    margin = 1.96 * values.std() / np.sqrt(values.size)
    assert low == pytest.approx(values.mean() - margin, abs=0.05 * margin)
    assert high == pytest.approx(values.mean() + margin, abs=0.05 * margin)


def test_interval_of_two_values_is_exact():
    # Means of two draws from {0, 1}: 0, 1/2, 1 with chances 1/4, 1/2, 1/4.
    assert scores.bootstrap_ci(np.array([0.0, 1.0])) == (0.0, 1.0)


def test_interval_is_reproducible():
    values = np.random.default_rng(0).random(15)
    assert scores.bootstrap_ci(values) == scores.bootstrap_ci(values)


def test_interval_of_equal_and_of_too_few_values():
    assert scores.bootstrap_ci(np.full(5, 0.25)) == (0.25, 0.25)
    assert scores.bootstrap_ci(np.array([0.7])) is None
    assert scores.bootstrap_ci(np.array([])) is None


@pytest.mark.parametrize("size", [2, 1000, 3_000_000])
def test_resampling_is_bounded_in_memory(size, monkeypatch):
    """A draw holds its whole sample: two million numbers at a time, or one draw."""
    batches = []

    def bootstrap(data, statistic, batch, **options):
        batches.append(batch)
        raise StopIteration

    monkeypatch.setattr(scores.stats, "bootstrap", bootstrap)
    with pytest.raises(StopIteration):
        scores.bootstrap_ci(np.zeros(size))
    assert batches == [max(1, 2_000_000 // size)]
