"""The paper's figures as its text prints them, and ours beside them."""

import numpy as np
import pytest

from agd_keras.errors import InputError
from agd_keras.evaluation.evaluate import evaluate
from agd_keras.runs.aggregate import spread
from agd_keras.runs.baselines import always_empty
from agd_keras.runs.paper import (
    TABLE_2,
    beside_paper,
    confusion_matrices,
    paper_tables,
    read_one_test,
)
from agd_keras.runs.render import render
from agd_keras.runs.result_files import write_metrics

# As printed: accuracy, precision, recall, F1-score in percent, final BCE.
PRINTED = """
Dataset 81.4 77.1 86.0 82.1 0.12
4- kind augmented dataset 82.1 89.3 93.1 88.0 0.08
"""


@pytest.fixture(scope="module")
def tests(dataset, make_predictor):
    """Four tests: one fold alone and two pooled, plain and augmented."""
    made = {}
    for augment, shift in (("none", 2), ("paper", 1)):
        predict = make_predictor(lambda truth, shift=shift: 0.9 * np.roll(truth, shift, axis=1))
        protocol = {"split": "subject", "augmentation": augment, "folds": "fold 1 of 2"}
        part = evaluate(predict, [one for one in dataset if one.case_id == "a"], protocol=protocol)
        rest = evaluate(predict, [one for one in dataset if one.case_id != "a"], protocol=protocol)
        whole = evaluate(predict, dataset, protocol=protocol | {"folds": 2})
        made[f"{augment}, 2-fold"] = whole | {"folds": spread([part, rest])}
        made[f"{augment}, one test"] = part
    return made


def test_the_papers_figures_are_those_it_prints():
    for augment, line in zip(("none", "paper"), PRINTED.strip().splitlines(), strict=True):
        *shares, bce = map(float, line.split()[-5:])
        names = ("accuracy", "precision", "recall", "f1")
        printed = {name: share / 100 for name, share in zip(names, shares, strict=True)}
        expected = printed | {"bce": bce, "iou": {"none": None, "paper": 0.81}[augment]}
        assert TABLE_2[augment] == pytest.approx(expected)


def test_the_note_on_f1_and_iou_follows_from_precision_and_recall():
    text = " ".join(render("study.md", results=_results(), tables=[]).split())
    for augment, where in (("none", "on the data set as it is"), ("paper", "with augmentation")):
        precision, recall = TABLE_2[augment]["precision"], TABLE_2[augment]["recall"]
        # From counts per true tumour pixel: tp = recall, fp + fn by definition.
        fp, fn = recall / precision - recall, 1 - recall
        f1, iou = recall / (recall + (fp + fn) / 2), recall / (recall + fp + fn)
        f1_printed = TABLE_2[augment]["f1"]
        expected = f"F1 {f1:.3f} and IoU {iou:.3f} {where}, where it prints F1 {f1_printed:.3f}"
        assert expected in text


def _results():
    protocol = dict.fromkeys(("folds", "patients", "data", "data_fingerprint"), 1)
    protocol |= {"portions": [6, 2, 2], "preset": "agd_paper", "image_size": 128, "seed": 0}
    words = {"study": "paper", "title": "Paper", "command": "agd-train", "seconds": 37_000}
    return words | {"protocol": protocol, "hardware": ["gpu"], "software": ["keras"]}


def test_study_text_has_its_protocol_and_time():
    text = render("study.md", results=_results(), tables=[])
    assert "train, validate and test 6 / 2 / 2, rotated" in text
    assert "- time: 10:16 hours" in text
    assert "Wilcoxon" not in text


def test_tables_have_ours_beside_the_papers(tests):
    results = beside_paper(tests)
    plain, augmented = paper_tables(results)
    heads = ["subject-wise, 2-fold", "subject-wise, one test"]
    assert plain.header == ["figure", "paper, Table 2", *heads, "always empty"]
    pooled, single = tests["paper, 2-fold"], tests["paper, one test"]["pooled"]
    folds = [one["pooled"]["recall"] for one in (tests["paper, one test"], _rest(pooled))]
    empty = always_empty(pooled)
    rows = {row[0]: row[1:] for row in augmented.rows}
    assert rows["recall"] == [
        "0.931",
        f"{pooled['pooled']['recall']:.3f} ({np.mean(folds):.3f} ± {np.std(folds, ddof=1):.3f})",
        f"{single['recall']:.3f}",
        "0.000",
    ]
    assert [rows["accuracy"][0], rows["accuracy"][-1]] == ["0.821", f"{empty['accuracy']:.3f}"]
    assert rows["IoU"][0] == "0.810"
    assert rows["mean Dice of patients"] == [
        "-",
        f"{pooled['subject']['mean_dice']:.3f}",
        f"{tests['paper, one test']['subject']['mean_dice']:.3f}",
        f"{empty['mean dice']:.3f}",
    ]
    assert {row[0]: row[1] for row in plain.rows}["IoU"] == "-"


def _rest(pooled):
    """Recall of the patients other than `a`, from their counts."""
    entries = [entry for name, entry in pooled["subjects"].items() if name != "a"]
    tp, fn = (sum(entry[key] for entry in entries) for key in ("tp", "fn"))
    return {"pooled": {"recall": tp / (tp + fn)}}


def test_one_test_is_read_from_the_first_fold(tests, tmp_path):
    metrics = tests["none, one test"]
    (tmp_path / "fold-0").mkdir()
    write_metrics(metrics, tmp_path / "fold-0" / "metrics.json")
    assert read_one_test(tmp_path) == metrics
    with pytest.raises(InputError, match="fold-0/metrics.json: expected a file of a finished fold"):
        read_one_test(tmp_path / "none")


def test_confusion_matrices_stand_in_rows_of_four(tests):
    five = {f"{name} {turn}": metrics for turn in (1, 2) for name, metrics in tests.items()}
    five.popitem(), five.popitem(), five.popitem()
    row = np.asarray(confusion_matrices(dict([next(iter(five.items()))])))
    height, width, channels = row.shape[0], row.shape[1] // 4, row.shape[2]
    one = row[:, :width]
    picture = np.asarray(confusion_matrices(five))
    assert picture.shape == (2 * height, 4 * width, channels)
    np.testing.assert_array_equal(picture[:height, :width], one)
    assert (picture[height:, width:] == 255).all()
    assert (picture[height:, :width] != 255).any()
