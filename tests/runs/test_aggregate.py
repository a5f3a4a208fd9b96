"""Pooling of folds: the figures of the whole, and everything that must be refused."""

import json
import statistics

import numpy as np
import pytest

from agd_keras.config import make_config, save_config
from agd_keras.data.slices import Slice, places
from agd_keras.data.splits import make_folds, save_folds, select
from agd_keras.errors import InputError
from agd_keras.evaluation.evaluate import evaluate
from agd_keras.io.data_set import find_data_set
from agd_keras.runs.aggregate import gather, report_run
from agd_keras.runs.fold_folder import RECORD
from agd_keras.runs.report import write_report
from agd_keras.runs.result_files import write_metrics
from agd_keras.runs.run_folder import RunFolder

FOLDS = 3


def predict(case):
    """Some probability that is a function of the pixels."""
    return case.images[..., 1].astype("float32") / 255


@pytest.fixture(params=["subject", "record"])
def run(request, small_phantom, tmp_path):
    """A run folder as training leaves it, with its cases and config."""
    cases = find_data_set(small_phantom)
    slices = [
        Slice(case.patient_id, case.case_id, number, place)
        for case in cases
        for place, number in enumerate(case.numbers)
    ]
    data = {"path": str(small_phantom), "split": request.param, "folds": FOLDS, "portions": 6}
    config = make_config({"data": data})
    areas = {one.name: index for index, one in enumerate(slices)}
    folds = make_folds(slices, areas, folds=FOLDS, split=request.param, portions=6)
    save_config(config, tmp_path / "config.yaml")
    save_folds(folds, tmp_path / "folds.json", request.param, 0)
    for fold in folds:
        folder = tmp_path / f"fold-{fold.index}"
        folder.mkdir()
        scored = places(select(slices, fold.test, request.param))
        tested = [case for case in cases if case.case_id in scored]
        protocol = {"split": request.param}
        metrics = evaluate(predict, tested, protocol=protocol, scored=scored)
        write_metrics(metrics, folder / "metrics.json")
        write_report(folder, metrics, {})
        RunFolder(tmp_path).fold(fold.index).write_record(config, fold, "f" * 8, 1234)
    return tmp_path, cases, config, folds


def test_pooled_figures_are_those_of_the_whole(run):
    folder, cases, config, _ = run
    whole = evaluate(predict, cases)
    pooled = gather(folder)
    for name, value in whole["pooled"].items():
        assert pooled["pooled"][name] == pytest.approx(value, rel=1e-9), name
    for patient, entry in whole["subjects"].items():
        assert pooled["subjects"][patient]["dice"] == pytest.approx(entry["dice"], rel=1e-12)
    assert pooled["subject"]["ci95_dice"] == pytest.approx(whole["subject"]["ci95_dice"])
    assert pooled["slice"] == pytest.approx(whole["slice"])
    for name in ("brier", "ece"):  # of the same pixels, near tumour in their own slice
        assert pooled["calibration"][name] == pytest.approx(whole["calibration"][name], rel=1e-9)
    assert pooled["protocol"]["folds"] == FOLDS
    distances = {entry["hd95"] for entry in pooled["subjects"].values()}
    assert (distances == {None}) == (config.data.split == "record")


def test_spread_over_folds(run):
    folder = run[0]
    each = [
        json.loads((folder / f"fold-{index}" / "metrics.json").read_text())["pooled"]["iou"]
        for index in range(FOLDS)
    ]
    over = gather(folder)["folds"]["pooled"]["iou"]
    assert over["each"] == each
    assert over["mean"] == pytest.approx(statistics.mean(each))
    assert over["std"] == pytest.approx(statistics.stdev(each))


def test_missing_fold_is_refused(run):
    folder = run[0]
    (folder / "fold-1" / RECORD).unlink()
    assert RunFolder(folder).unfinished() == [1]
    with pytest.raises(InputError, match="expected all 3 folds, but 1 is not finished"):
        gather(folder)


def _edit(folder, **values):
    path = folder / RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_unit_tested_twice_is_refused(run):
    folder, _, _, folds = run
    _edit(folder / "fold-2", test=[*folds[2].test, folds[0].test[0]])
    with pytest.raises(InputError, match=f"{folds[0].test[0]} is tested here and in fold 0"):
        gather(folder)


def test_unit_that_is_not_tested_is_refused(run):
    folder, _, _, folds = run
    _edit(folder / "fold-2", test=folds[2].test[1:])
    with pytest.raises(
        InputError, match=rf"does not test what folds.json says, see {folds[2].test[0]}"
    ):
        gather(folder)


def test_other_config_is_refused(run):
    folder, _, config, _ = run
    other = config.model_dump(mode="json")
    other["training"]["epochs"] += 1
    _edit(folder / "fold-1", config=other)
    with pytest.raises(InputError, match=r"fold-1: trained with other training.epochs"):
        gather(folder)


def test_other_data_is_refused(run):
    folder = run[0]
    _edit(folder / "fold-1", data_fingerprint="0" * 8)
    with pytest.raises(InputError, match="fold-1: trained on other data than fold 0"):
        gather(folder)


def test_report_of_a_run(run):
    folder, _, config, _ = run
    metrics = report_run(folder)
    written = json.loads((folder / "metrics.json").read_text())
    assert written["pooled"] == metrics["pooled"]
    text = (folder / "report.html").read_text()
    assert all(f'href="fold-{index}/report.html"' in text for index in range(FOLDS))
    assert "mean" in text
    assert "1,234 parameters" in (folder / "MODEL_CARD.md").read_text()
    assert ("Record-wise." in text) == (config.data.split == "record")
    np.testing.assert_array_equal(
        sorted(path.stem for path in (folder / "figures").iterdir()),
        ["confusion_matrix", "dice_per_patient", "reliability"],
    )


def test_a_figure_that_an_earlier_version_did_not_have(run):
    folder, *_ = run
    path = folder / "fold-1" / "metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["subject"]["hd95_patients"]
    path.write_text(json.dumps(metrics))
    spread = gather(folder)["folds"]["subject"]["hd95_patients"]
    assert spread["each"][1] is None and spread["mean"] == np.mean(spread["each"][::2])
