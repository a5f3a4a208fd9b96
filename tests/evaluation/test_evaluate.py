"""Known predictors through the whole evaluation, against figures made from the files at once."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sk

from agd_keras.errors import InputError
from agd_keras.evaluation.evaluate import evaluate
from agd_keras.evaluation.patients import add_entries
from agd_keras.evaluation.summary import summarize
from agd_keras.evaluation.surface import surface_figures
from agd_keras.io.data_set import find_data_set
from agd_keras.runs.baselines import warnings

KEYS = {
    "pooled": {"accuracy", "precision", "recall", "f1", "iou", "specificity", "bce"},
    "subject": {
        *("mean_dice", "median_dice", "std_dice", "min_dice", "mean_iou", "ci95_dice"),
        *("mean_hd95", "hd95_patients", "mean_nsd"),
    },
    "slice": {"mean_dice", "empty_false_positive_rate"},
    "calibration": {"brier", "ece"},
    "confidence": {"stated", "precision", "mean_gap"},
    "expected_volume": {"expected", "found", "true", "mean_error"},
}


def empty(truth):
    return np.zeros(truth.shape)


def test_keys(metrics):
    others = {"protocol", "threshold", "subjects", "errors", "distance_unit"}
    assert set(metrics) == {*others, *KEYS}
    assert {group: set(metrics[group]) for group in KEYS} == KEYS
    assert metrics["protocol"] == {
        **{"split": "subject", "folds": 5, "seed": 0, "model": "agd_tiny"},
        **{"augmentation": None, "data_fingerprint": None},
    }
    entry = {"dice", "iou", "hd95", "nsd", "unit", "voxels_true", "voxels_pred", "errors"}
    assert all(entry <= set(values) for values in metrics["subjects"].values())
    json.dumps(metrics, allow_nan=False)


def test_pooled_figures_equal_scikit_learn(metrics, patients, shifted):
    truth = np.concatenate([masks.ravel() for _, masks in patients.values()])
    stacks = [shifted(case).ravel() for case, _ in patients.values()]
    probability = np.concatenate(stacks).astype(np.float64)
    prediction = probability >= 0.5
    expected = {
        "accuracy": sk.accuracy_score(truth, prediction),
        "precision": sk.precision_score(truth, prediction),
        "recall": sk.recall_score(truth, prediction),
        "f1": sk.f1_score(truth, prediction),
        "iou": sk.jaccard_score(truth, prediction),
        "specificity": sk.recall_score(~truth, ~prediction),
        "bce": sk.log_loss(truth, probability),
    }
    assert metrics["pooled"] == pytest.approx(expected)
    assert 0.5 < metrics["pooled"]["iou"] < 0.9


def test_subject_figures_equal_scikit_learn(metrics, patients, shifted):
    dices, ious, surfaces = {}, [], []
    for name, (case, truth) in patients.items():
        prediction = shifted(case) >= 0.5
        entry = metrics["subjects"][name]
        assert (entry["voxels_true"], entry["voxels_pred"]) == (truth.sum(), prediction.sum())
        pair = (truth.ravel(), prediction.ravel())
        dices[name] = sk.f1_score(*pair, zero_division=1)
        ious.append(sk.jaccard_score(*pair, zero_division=1))
        surfaces.append(surface_figures(truth, prediction))
        assert (entry["hd95"], entry["nsd"]) == surfaces[-1]
    assert {name: entry["dice"] for name, entry in metrics["subjects"].items()} == pytest.approx(
        dices
    )
    values = np.array(list(dices.values()))
    subject = metrics["subject"]
    assert subject["mean_dice"] == pytest.approx(values.mean())
    assert subject["median_dice"] == pytest.approx(np.median(values))
    assert subject["std_dice"] == pytest.approx(values.std())
    assert subject["min_dice"] == pytest.approx(values.min())
    assert subject["mean_iou"] == pytest.approx(np.mean(ious))
    assert (subject["mean_hd95"], subject["mean_nsd"]) == pytest.approx(np.mean(surfaces, axis=0))
    assert subject["hd95_patients"] == len(patients)
    low, high = subject["ci95_dice"]
    assert values.min() - 1e-12 <= low < values.mean() < high <= values.max() + 1e-12


def test_slice_figures(metrics, patients, shifted):
    dices = [
        sk.f1_score(mask.ravel(), (probability >= 0.5).ravel())
        for case, truth in patients.values()
        for mask, probability in zip(truth, shifted(case), strict=True)
        if mask.any()
    ]
    assert len(dices) == 10
    assert metrics["slice"]["mean_dice"] == pytest.approx(np.mean(dices))
    assert metrics["slice"]["empty_false_positive_rate"] == 0.0


def test_perfect_predictor(dataset, make_predictor):
    metrics = evaluate(make_predictor(lambda truth: truth), dataset)
    for name in ("accuracy", "precision", "recall", "f1", "iou", "specificity"):
        assert metrics["pooled"][name] == 1.0
    assert metrics["pooled"]["bce"] == pytest.approx(1e-7, rel=1e-3)
    subject = metrics["subject"]
    assert (subject["mean_dice"], subject["min_dice"], subject["std_dice"]) == (1.0, 1.0, 0.0)
    assert (subject["ci95_dice"], subject["mean_hd95"], subject["mean_nsd"]) == ([1, 1], 0.0, 1.0)
    assert metrics["slice"] == {"mean_dice": 1.0, "empty_false_positive_rate": 0.0}
    assert metrics["calibration"] == {"brier": 0.0, "ece": 0.0}


def test_empty_predictor(dataset, truths, make_predictor):
    metrics = evaluate(make_predictor(empty), dataset)
    prevalence = np.mean(list(truths.values()))
    assert metrics["pooled"]["accuracy"] == pytest.approx(1 - prevalence)
    assert [metrics["pooled"][name] for name in ("precision", "recall", "f1")] == [0, 0, 0]
    assert metrics["pooled"]["specificity"] == 1.0
    # Patient c has no tumour: nothing predicted is right there, and undefined in a and b.
    assert {name: entry["dice"] for name, entry in metrics["subjects"].items()} == {
        **{"a": 0.0, "b": 0.0, "c": 1.0}
    }
    assert {name: entry["hd95"] for name, entry in metrics["subjects"].items()} == {
        **{"a": None, "b": None, "c": 0.0}
    }
    assert metrics["subject"]["mean_nsd"] == 1.0
    assert metrics["subject"]["hd95_patients"] == 1  # of three: the two missed ones are left out
    assert metrics["slice"]["mean_dice"] == 0.0


def test_false_positives_on_empty_slices(dataset, make_predictor):
    def one_pixel(truth):
        return (np.arange(truth.size) == 40).reshape(truth.shape)

    metrics = evaluate(make_predictor(one_pixel), dataset)
    assert metrics["slice"]["empty_false_positive_rate"] == 1.0
    assert metrics["subjects"]["c"]["dice"] == 0.0
    assert metrics["subjects"]["c"]["nsd"] is None


def test_threshold_is_inclusive_and_kept(dataset, make_predictor):
    predict = make_predictor(lambda truth: np.where(truth, 0.25, 0.0))
    assert evaluate(predict, dataset)["pooled"]["recall"] == 0.0
    metrics = evaluate(predict, dataset, threshold=0.25)
    assert (metrics["threshold"], metrics["pooled"]["iou"]) == (0.25, 1.0)


def test_confidence_and_expected_volume_by_hand(metrics, patients, shifted):
    """Oracle: the definitions, over the voxels of each patient, the last without tumour."""
    marked, gaps, errors, expected = [], [], [], 0.0
    for case, truth in patients.values():
        probability = shifted(case).astype(np.float64)
        mask = probability >= 0.5
        expected += probability.sum()
        if mask.any():
            marked += [*zip(probability[mask], truth[mask], strict=True)]
            gaps.append(abs(probability[mask].mean() - truth[mask].mean()))
        if truth.any():
            errors.append(abs(probability.sum() / truth.sum() - 1))
    stated, right = np.mean(marked, axis=0)
    assert metrics["confidence"] == pytest.approx(
        {"stated": stated, "precision": right, "mean_gap": np.mean(gaps)}
    )
    assert len(gaps) == len(errors) == 2
    truths = sum(int(truth.sum()) for _, truth in patients.values())
    assert metrics["expected_volume"] == pytest.approx(
        {
            **{"expected": expected, "found": len(marked), "true": truths},
            "mean_error": np.mean(errors),
        },
        abs=0.05,
    )


def test_sums_of_an_earlier_version_have_no_confidence(metrics):
    older = {
        patient: {k: v for k, v in entry.items() if k not in ("confidence", "expected_volume")}
        for patient, entry in metrics["subjects"].items()
    }
    summary = summarize(older)
    for group in ("confidence", "expected_volume"):
        assert set(summary[group].values()) == {None}
    assert summary["pooled"] == metrics["pooled"]


def test_parts_of_a_patient_add_up(dataset, metrics, shifted):
    """Oracle: slices scored in two parts, as in a split by slice, and the whole."""
    ref = dataset[0]
    halves = [
        evaluate(shifted, [ref], scored={ref.case_id: places}, judge=lambda case: ["dark"])
        for places in (range(5), range(5, 12))
    ]
    whole = add_entries([half["subjects"][ref.case_id] for half in halves])
    for key in ("confidence", "expected_volume"):
        assert whole[key] == pytest.approx(metrics["subjects"][ref.case_id][key])
    assert whole["unlike"] == ["dark"]


def test_cases_are_judged(dataset, metrics, shifted):
    judged = evaluate(
        shifted, dataset, judge=lambda case: [f"{len(case.images)} slices"] * (len(case.images) < 5)
    )
    found = [entry["unlike"] for entry in judged["subjects"].values()]
    assert found == [[], ["3 slices"], ["4 slices"]]
    [(heading, text)] = warnings(judged)
    assert heading == "Unlike the training data."
    assert text == (
        "2 of 3 patients are of a kind that the model never saw: 3 slices (1), 4 slices (1)."
    )
    assert warnings(metrics) == []


def test_without_surface_nothing_else_changes(dataset, metrics, shifted):
    quick = evaluate(shifted, dataset, surface=False, protocol=metrics["protocol"])
    assert quick["subject"] == metrics["subject"] | {
        **{"mean_hd95": None, "hd95_patients": 0, "mean_nsd": None}
    }
    for group in ("protocol", "pooled", "slice", "calibration"):
        assert quick[group] == metrics[group]
    assert all(entry["hd95"] is None for entry in quick["subjects"].values())


def test_order_of_cases_does_not_matter(dataset, metrics, shifted):
    assert evaluate(shifted, dataset[::-1], protocol=metrics["protocol"]) == metrics


def test_any_iterable_of_cases_will_do(dataset, metrics, shifted):
    assert evaluate(shifted, iter(dataset), protocol=metrics["protocol"]) == metrics


def test_slices_are_stacked_in_numeric_order(patients, truths):
    np.testing.assert_array_equal(patients["a"][1], [truths[0, index] for index in range(1, 13)])


def test_some_slices_are_scored_of_a_case_that_is_predicted_whole(dataset, patients, shifted):
    seen = []

    def predict(case):
        seen.append(len(case.images))
        return shifted(case)

    case, truth = patients["a"]
    metrics = evaluate(predict, dataset[:1], scored={"a": [2, 5]})
    assert seen == [12]
    expected = sk.f1_score(truth[[2, 5]].ravel(), (shifted(case)[[2, 5]] >= 0.5).ravel())
    assert metrics["subjects"]["a"]["dice"] == pytest.approx(expected)
    assert metrics["subjects"]["a"]["voxels_true"] == truth[[2, 5]].sum()


def test_folds_gather_to_the_whole(dataset, metrics, shifted):
    """Out-of-fold entries are enough to make the figures over all patients."""
    gathered = {}
    for names in ("ac", "b"):
        part = [item for item in dataset if item.case_id in names]
        gathered |= json.loads(json.dumps(evaluate(shifted, part)["subjects"]))
    whole = summarize({name: gathered[name] for name in sorted(gathered)})
    assert whole == {group: metrics[group] for group in (*KEYS, "errors", "distance_unit")}


def test_one_patient_has_no_interval(dataset, shifted):
    metrics = evaluate(shifted, [item for item in dataset if item.case_id == "c"])
    assert metrics["subject"]["ci95_dice"] == [None, None]
    assert metrics["slice"]["mean_dice"] is None
    assert metrics["calibration"] == {"brier": None, "ece": None}


def test_patients_come_one_by_one(dataset, make_predictor):
    seen = []

    def predict(case):
        seen.append(case.images.shape)
        assert case.images.dtype == np.uint8
        return np.zeros(case.images.shape[:3])

    done = []
    metrics = evaluate(predict, dataset, on_case=lambda name, entry: done.append((name, entry)))
    assert seen == [(12, 32, 32, 3), (3, 32, 32, 3), (4, 32, 32, 3)]
    assert dict(done) == metrics["subjects"]


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        (lambda case: np.zeros((*case.images.shape[:3], 1)), "expected probabilities of shape"),
        (lambda case: np.full(case.images.shape[:3], 1.5), "from 0 to 1, got 1.5 to 1.5"),
        (lambda case: np.full(case.images.shape[:3], -0.1), "from 0 to 1"),
        (lambda case: np.full(case.images.shape[:3], np.nan), "from 0 to 1, got nan"),
    ],
    ids=["shape", "above", "below", "nan"],
)
def test_what_is_no_probability_is_refused(dataset, predict, message):
    with pytest.raises(ValueError, match=message):
        evaluate(predict, dataset)


def test_nothing_to_evaluate(shifted):
    with pytest.raises(InputError, match="at least one patient"):
        evaluate(shifted, [])


def test_case_without_label(dataset, shifted):
    with pytest.raises(InputError, match=r"a_1\.tif: expected a mask"):
        evaluate(shifted, [replace(dataset[0], label=())])


@pytest.mark.parametrize("kind", ["mask", "image"])
def test_sizes_that_do_not_fit(tmp_path, shifted, kind):
    (tmp_path / "p").mkdir()
    for index, size in ((1, (8, 8)), (2, (8, 6))):
        stem = tmp_path / "p" / f"p_{index}"
        Image.new("RGB", size if kind == "image" else (8, 8)).save(f"{stem}.tif")
        Image.new("L", size if kind == "mask" else (8, 8)).save(f"{stem}_mask.tif")
    message = "mask of another size" if kind == "mask" else "slices of different sizes"
    with pytest.raises(InputError, match=message):
        evaluate(shifted, find_data_set(tmp_path))
