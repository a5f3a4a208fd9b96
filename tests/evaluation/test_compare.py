"""Comparisons against closed forms, enumerated sign tests and loops written anew."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from agd_keras.errors import InputError
from agd_keras.evaluation.compare import compare, comparison_tables, holm, to_rich
from agd_keras.evaluation.scores import bootstrap_ci


def run(dices, counts=None, **protocol):
    """Metrics of patients with these Dice values and (tp, fp, fn)."""
    counts = [(1, 1, 1)] * len(dices) if counts is None else counts
    subjects = {
        f"p{index:02}": {"dice": float(dice), **dict(zip(("tp", "fp", "fn"), three, strict=True))}
        for index, (dice, three) in enumerate(zip(dices, counts, strict=True))
    }
    return {"protocol": protocol, "subjects": subjects}


def draws(patients, resamples=10_000):
    """The patients of each resample, as the seed 0 draws them."""
    return np.random.default_rng(0).integers(0, patients, (resamples, patients))


def pooled(counts, chosen):
    tp, fp, fn = (np.array(counts, dtype=float)[chosen].sum(axis=-2)[..., i] for i in range(3))
    return 2 * tp / (2 * tp + fp + fn), tp / (tp + fp + fn)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_holm_is_the_closed_testing_of_bonferroni(p_values):
    # Adjusted p of a hypothesis: the largest Bonferroni p over all sets of hypotheses it is in.
    n = len(p_values)
    for index, adjusted in enumerate(holm(p_values)):
        sets = (s for k in range(1, n + 1) for s in itertools.combinations(range(n), k))
        worst = max(len(s) * min(p_values[i] for i in s) for s in sets if index in s)
        assert adjusted == pytest.approx(min(1.0, worst))


def test_holm_of_the_textbook():
    # Holm's procedure by hand: 4 * 0.005, 3 * 0.01, max(2 * 0.03, 0.04).
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_difference_and_its_interval_are_those_of_paired_patients():
    rng = np.random.default_rng(1)
    first = rng.uniform(0.2, 0.9, 30)
    other = first + 0.05 + rng.normal(0, 0.01, 30)  # paired: far less spread than either
    difference = compare({"a": run(first), "b": run(other)}, "a")["differences"]["b"]["dice"]
    assert difference["value"] == pytest.approx((other - first).mean())
    means = (other - first)[draws(30)].mean(axis=1)
    np.testing.assert_allclose(difference["ci95"], np.quantile(means, [0.025, 0.975]))
    low, high = difference["ci95"]
    assert high - low < 0.01 < np.diff(bootstrap_ci(first))[0]


def test_figures_of_a_run_have_the_intervals_of_patients_drawn_together():
    rng = np.random.default_rng(2)
    dices = rng.uniform(0, 1, 12)
    counts = [tuple(map(int, three)) for three in rng.integers(1, 1000, (12, 3))]
    figures = compare({"a": run(dices, counts)}, "a")["runs"]["a"]
    chosen = draws(12)
    f1, iou = pooled(counts, chosen)
    expected = {
        "f1": (pooled(counts, np.arange(12))[0], f1),
        "iou": (pooled(counts, np.arange(12))[1], iou),
        "mean_dice": (dices.mean(), dices[chosen].mean(axis=1)),
        "median_dice": (np.median(dices), np.median(dices[chosen], axis=1)),
    }
    for name, (value, drawn) in expected.items():
        assert figures[name]["value"] == pytest.approx(value)
        np.testing.assert_allclose(figures[name]["ci95"], np.quantile(drawn, [0.025, 0.975]))
    np.testing.assert_allclose(figures["mean_dice"]["ci95"], bootstrap_ci(dices))


def test_difference_of_pooled_figures_draws_both_runs_of_a_patient_together():
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 1000, (10, 3))
    changed = counts + rng.integers(0, 9, (10, 3))
    runs = {"a": run([0.5] * 10, counts), "b": run([0.6] * 10, changed)}
    difference = compare(runs, "a")["differences"]["b"]
    for index, name in enumerate(("f1", "iou")):
        drawn = pooled(changed, draws(10))[index] - pooled(counts, draws(10))[index]
        np.testing.assert_allclose(
            difference[name]["ci95"], np.quantile(drawn, [0.025, 0.975]), atol=1e-12
        )


def test_p_is_that_of_all_signs_enumerated():
    differences = np.array([0.01, -0.02, 0.03, 0.04, 0.05, 0.06, -0.07, 0.08])
    ranks = np.arange(1, 9)  # of the absolute values, which ascend
    observed = ranks[differences > 0].sum()
    sums = np.array([np.dot(signs, ranks) for signs in itertools.product((0, 1), repeat=8)])
    expected = 2 * min((sums <= observed).mean(), (sums >= observed).mean())
    runs = {"a": run(np.full(8, 0.5)), "b": run(0.5 + differences)}
    one = compare(runs, "a")["differences"]["b"]
    assert one["p"] == pytest.approx(expected)
    assert (one["better"], one["worse"], one["patients"]) == (6, 2, 8)


def test_p_of_many_patients_is_that_of_the_normal_approximation():
    rng = np.random.default_rng(4)
    differences = rng.normal(0.01, 0.05, 75)
    one = compare({"a": run(np.zeros(75)), "b": run(differences)}, "a")["differences"]["b"]
    ranks = stats.rankdata(abs(differences))
    z = (ranks[differences > 0].sum() - 75 * 76 / 4) / np.sqrt(75 * 76 * 151 / 24)
    assert one["p"] == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-6)


def test_p_values_are_corrected_for_the_runs_compared():
    rng = np.random.default_rng(5)
    runs = {name: run(rng.uniform(0, 1, 9)) for name in "abcd"}
    differences = compare(runs, "b")["differences"]
    assert list(differences) == ["a", "c", "d"]
    p = sorted((one["p"], one["p_holm"]) for one in differences.values())
    expected = np.minimum(1, np.maximum.accumulate(np.array([3, 2, 1]) * [one for one, _ in p]))
    np.testing.assert_allclose([adjusted for _, adjusted in p], expected)


def test_equal_runs_do_not_differ():
    one = compare({"a": run([0.5, 0.7]), "b": run([0.5, 0.7])}, "a")["differences"]["b"]
    assert one["dice"] == {"value": 0.0, "ci95": [0.0, 0.0]}
    assert (one["better"], one["worse"], one["p"], one["p_holm"]) == (0, 0, 1.0, 1.0)


def test_one_patient_has_no_interval_and_nothing_found_is_a_figure():
    compared = compare({"a": run([1.0], [(0, 0, 0)]), "b": run([0.0], [(0, 3, 0)])}, "a")
    assert compared["runs"]["a"]["f1"] == {"value": 1.0, "ci95": [None, None]}
    assert compared["runs"]["b"]["iou"]["value"] == 0.0
    json.dumps(compared, allow_nan=False)
    assert comparison_tables(compared)[0].rows[0][1] == "1.000"


def test_order_of_patients_does_not_matter():
    first, other = run([0.1, 0.5, 0.9]), run([0.2, 0.5, 0.7])
    turned = other | {"subjects": dict(reversed(other["subjects"].items()))}
    assert compare({"a": first, "b": turned}, "a") == compare({"a": first, "b": other}, "a")


def test_other_patients_and_other_data_are_refused():
    with pytest.raises(InputError, match="b: expected the patients of a, see p02"):
        compare({"a": run([0.5, 0.5]), "b": run([0.5, 0.5, 0.5])}, "a")
    with pytest.raises(InputError, match="b: expected the data of a"):
        compare({"a": run([0.5], data_fingerprint="x"), "b": run([0.5])}, "a")


def test_tables_say_what_was_compared():
    runs = {"a": run([0.5] * 20), "b": run([0.6] * 20), "c": run([0.5] * 19 + [0.4])}
    folds = {"pooled": {"f1": {"each": [0.4, 0.6], "mean": 0.5, "std": 0.1}}}
    compared = compare(runs | {"a": runs["a"] | {"folds": folds}}, "a")
    assert compared["runs"]["a"]["folds"]["f1"]["mean"] == 0.5
    figures, differences = comparison_tables(compared | {"parameters": dict.fromkeys("abc", 1234)})
    assert figures.rows[1] == [
        "b",
        "1,234",
        "0.500 [0.500, 0.500]",
        "0.333 [0.333, 0.333]",
        "0.600 [0.600, 0.600]",
        "0.600 [0.600, 0.600]",
    ]
    assert differences.header[-2:] == ["p", "p, Holm"]
    assert differences.rows[0][:2] == ["b − a", "+0.100 [+0.100, +0.100]"]
    assert differences.rows[0][-3:] == ["20 / 0 of 20", "< 0.001", "< 0.001"]
    assert differences.rows[1][-3:] == ["0 / 1 of 20", "1.000", "1.000"]
    assert len({len(row) for row in [differences.header, *differences.rows]}) == 1
    two = comparison_tables(compare({name: runs[name] for name in "ab"}, "a"))[1]
    assert two.header[-1] == "p"
    assert to_rich(differences).row_count == 2
