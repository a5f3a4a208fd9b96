"""Curves of uncertainty against the QU-BraTS evaluation program and sums patient by patient."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc

from agd_keras.data.datasets import find_data
from agd_keras.errors import InputError
from agd_keras.evaluation.uncertainty import (
    entropy,
    evaluate_uncertainty,
    patient_uncertainty,
)
from agd_keras.evaluation.uncertainty_curves import (
    filtering_curves,
    filtering_score,
    mean_curves,
    risk_coverage,
)
from agd_keras.inference.uncertainty import combine
from agd_keras.viz import charts


def test_entropy_in_closed_form():
    p = np.array([0.0, 0.25, 0.5, 1.0])
    quarter = -0.25 * np.log(0.25) - 0.75 * np.log(0.75)
    np.testing.assert_allclose(entropy(p), [0, quarter, np.log(2), 0], atol=1e-15)
    assert entropy(np.float32([-1e-6, 1 + 1e-6])).tolist() == [0, 0]


def test_patient_score_is_the_mean_entropy_near_the_mask():
    probability = np.full((2, 20, 20), 0.1)
    probability[0, 10, 10] = 0.9
    near = np.zeros((2, 20, 20), bool)
    near[0, 5:16, 5:16] = True
    expected = np.mean(entropy(probability[near])) / np.log(2)
    assert patient_uncertainty(probability) == pytest.approx(expected)
    assert patient_uncertainty(probability, 0.95) == pytest.approx(entropy(0.1) / np.log(2))
    assert patient_uncertainty(np.zeros((1, 4, 4))) == 0
    assert patient_uncertainty(np.eye(12)[None]) == 0


def stack(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random((3, 12, 12)) < 0.3
    probability = np.clip(0.5 * truth + 0.6 * rng.random(truth.shape), 0, 1)
    return truth, probability >= 0.5, entropy(probability) / np.log(2)


def qu_brats(truth, prediction, uncertainty):
    """What `make` of BraTS_Seg_Uncertainty.py (RagMeh11/QU-BraTS) computes, in 0 to 1."""
    eps = float(np.finfo(np.float32).eps)
    thresholds = np.arange(0.0, 100.0 + eps, 100.0 / 40)
    dice, ftp, ftn = [], [], []
    for threshold in thresholds:
        kept = np.ones_like(uncertainty)
        kept[uncertainty * 100 > threshold] = 0
        t, p = truth * kept, prediction * kept
        both, size = (t * p).sum(), t.sum() + p.sum()
        dice.append(1.0 if size == 0 else 2 * both / size)
        for values, kind in ((ftp, truth * prediction), (ftn, (1 - truth) * (1 - prediction))):
            values.append((kind.sum() - (kind * kept).sum()) / (kind.sum() + eps))
    areas = [auc(thresholds, values) / 100 for values in (dice, ftp, ftn)]
    return dice, ftp, ftn, (areas[0] + (1 - areas[1]) + (1 - areas[2])) / 3


@pytest.mark.parametrize("seed", range(3))
def test_curves_equal_the_challenge_program(seed):
    truth, prediction, uncertainty = stack(seed)
    curves = filtering_curves(truth, prediction, uncertainty)
    expected = qu_brats(truth.astype(float), prediction.astype(float), uncertainty)
    for name, values in zip(("dice", "filtered_tp", "filtered_tn"), expected, strict=False):
        np.testing.assert_allclose(curves[name], values, atol=1e-6)
    assert filtering_score(curves) == pytest.approx(expected[3], abs=1e-6)


def test_pixels_at_a_threshold_are_kept():
    truth = np.ones((1, 1, 41), bool)
    curves = filtering_curves(truth, truth, np.linspace(0, 1, 41)[None, None])
    np.testing.assert_allclose(curves["filtered_tp"], 1 - np.arange(1, 42) / 41)
    assert curves["filtered_tn"] == [0.0] * 41


def test_perfect_uncertainty_leaves_out_only_errors():
    truth, prediction, _ = stack(0)
    curves = filtering_curves(truth, prediction, (truth != prediction).astype(float))
    assert curves["dice"][0] == 1 and not any(curves["filtered_tp"] + curves["filtered_tn"])
    assert mean_curves([curves, curves]) == curves


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=12))
@settings(deadline=None, max_examples=50)
def test_risk_by_patient(patients):
    score, dice = map(list, zip(*patients, strict=True))
    curve = risk_coverage(score, dice)
    loss = 1 - np.array(dice)
    # The mean over all orders that ties allow gives each patient the mean loss of its score.
    tied = [np.mean([d for s, d in zip(score, loss, strict=True) if s == own]) for own in score]
    order = sorted(range(len(score)), key=score.__getitem__)
    expected = [np.mean([tied[one] for one in order[: k + 1]]) for k in range(len(score))]
    np.testing.assert_allclose(curve["risk"], expected, atol=1e-12)
    assert curve["aurc"] == pytest.approx(np.mean(curve["risk"]))
    assert curve["aurc_best"] <= curve["aurc"] + 1e-12
    assert curve["aurc_random"] == pytest.approx(curve["risk"][-1])


def test_risk_by_hand():
    curve = risk_coverage([0.3, 0.1, 0.2], [0.5, 0.9, 0.8])
    np.testing.assert_allclose(curve["risk"], [0.1, 0.15, 0.8 / 3])
    assert curve["aurc"] == pytest.approx(curve["aurc_best"])
    assert curve["spearman"] == pytest.approx(1)
    assert risk_coverage([1, 1], [0.5, 0.7])["spearman"] is None
    with pytest.raises(ValueError, match="one number per patient"):
        risk_coverage([], [])


class Maps:
    def __init__(self, probability):
        self.probability = probability
        self.entropy = entropy(probability)
        self.score = patient_uncertainty(probability)


def test_evaluation_over_patients(dataset, shifted, patients, metrics):
    done = []
    found = evaluate_uncertainty(lambda case: Maps(shifted(case)), dataset, 0.5, done.append)
    assert done == ["a", "b", "c"]
    for name, (case, _) in patients.items():
        assert found["subjects"][name]["dice"] == metrics["subjects"][name]["dice"]
        assert found["subjects"][name]["score"] == patient_uncertainty(shifted(case))
    near = found["calibration"]["near_tumor"]
    assert near == pytest.approx(metrics["calibration"])
    # All pixels: 0.05 or 0.9, off by 0.05 where right and by 0.9 or 0.95 where not.
    truth = np.concatenate([truth for _, truth in patients.values()])
    probability = np.concatenate([shifted(case) for case, _ in patients.values()])
    brier = np.mean((probability - truth) ** 2)
    assert found["calibration"]["image"]["brier"] == pytest.approx(brier, rel=1e-5)
    expected = [
        qu_brats(t * 1.0, (p >= 0.5) * 1.0, entropy(p) / np.log(2))[3]
        for t, p in ((truth, shifted(case)) for case, truth in patients.values())
    ]
    assert found["qu_brats"]["score"] == pytest.approx(np.mean(expected), abs=1e-5)
    with pytest.raises(InputError, match="at least one patient"):
        evaluate_uncertainty(lambda case: Maps(shifted(case)), [])


def test_figures(dataset, shifted):
    found = evaluate_uncertainty(lambda case: Maps(shifted(case)), dataset)
    (axes,) = charts.filtering_curves(found).axes
    drawn = [line.get_ydata().tolist() for line in axes.lines]
    assert drawn == [found["qu_brats"][name] for name in ("dice", "filtered_tp", "filtered_tn")]
    (axes,) = charts.risk_coverage(found).axes
    assert axes.lines[2].get_ydata().tolist() == found["risk_coverage"]["risk"]
    best = axes.lines[1].get_ydata()
    assert np.mean(best) == pytest.approx(found["risk_coverage"]["aurc_best"])


def test_regions_are_studied_one_by_one(labelled):
    regions = {"whole": (1, 2, 4), "core": (1, 4)}

    def guess(case):
        rng = np.random.default_rng(int(case.images.sum()))
        return rng.random((*case.images.shape[:3], 2)).astype("float32")

    cases = find_data(labelled, regions=regions)
    several = evaluate_uncertainty(lambda case: combine([guess(case)]), cases)
    for place, (name, values) in enumerate(regions.items()):
        cases = find_data(labelled, regions={name: values})
        own = evaluate_uncertainty(
            lambda case, place=place: combine([guess(case)[..., place]]), cases
        )
        found = several["regions"][name]
        for part in ("threshold", "qu_brats", "calibration"):
            assert found[part] == own[part]
        for case, entry in own["subjects"].items():  # scores of float32 and of float64
            assert found["subjects"][case] == pytest.approx(entry, abs=1e-6)
    assert several == {**several["regions"]["whole"], "regions": several["regions"]}
