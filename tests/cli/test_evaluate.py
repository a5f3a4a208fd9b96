"""The command: which options go together, and that they reach the figures."""

import json

import numpy as np
import pytest

from agd_keras.cli import evaluate
from agd_keras.evaluation.evaluate import predict_labelled
from agd_keras.inference.postprocess import make_mask
from agd_keras.inference.predict_case import predict_case
from agd_keras.inference.predictor import load_predictor
from agd_keras.io.data_set import find_data_set
from agd_keras.models import agd_autoencoder

SCORED = ["--model", "m", "--data", "d", "--out", "o"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Of untrained weights, which mark something everywhere and unevenly."""
    import keras

    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    agd_autoencoder((32, 32, 3), filters=(4, 8)).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --model --compare is required"),
        (["--model", "m"], "--model: expected --data and --out with it"),
        (["--model", "m", "--data", "d"], "--model: expected --data and --out with it"),
        (["--compare"], "argument --compare: expected at least one argument"),
        (["--compare", "a", "--data", "d"], "--compare: not together with --data"),
        (["--compare", "a", "--flips"], "--compare: not together with --flips"),
        (["--compare", "a", "--min-size", "3"], "--compare: not together with --min-size"),
        ([*SCORED, "--compare", "a"], "argument --compare: not allowed with argument --model"),
        ([*SCORED, "--threshold", "0"], "expected a number above 0 and at most 1, received '0'"),
        ([*SCORED, "--min-size", "x"], "expected a whole number at least 0, received 'x'"),
        ([*SCORED, "--flips", "--uncertainty", "tta"], "not allowed with argument"),
    ],
)
def test_options_that_do_not_go_together(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        evaluate.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_options_of_prediction_reach_the_figures_and_compare_reads_them(
    small_phantom, tmp_path, model, capsys
):
    predictor = load_predictor(model)
    cases = find_data_set(small_phantom)
    every = [predict_labelled(lambda case: predict_case(predictor, case), ref) for ref in cases]
    threshold = float(np.quantile(np.concatenate([p.ravel() for _, p in every]), 0.8))
    command = ["--model", model, "--data", str(small_phantom)]
    chosen = ["--threshold", repr(threshold), "--largest-component", "--min-size", "3", "--flips"]
    plain, changed = str(tmp_path / "plain"), str(tmp_path / "changed")
    assert evaluate.main([*command, "--out", plain]) == 0
    assert evaluate.main([*command, *chosen, "--out", changed]) == 0
    capsys.readouterr()
    metrics = json.loads((tmp_path / "changed" / "metrics.json").read_text())
    assert metrics["threshold"] == threshold
    assert metrics["protocol"]["postprocessing"] == {
        **{"threshold": threshold, "flips": True, "largest_component": True, "min_size": 3},
    }
    for ref in cases:
        truth, p = predict_labelled(lambda case: predict_case(predictor, case, flips=True), ref)
        mask = make_mask(p, threshold, largest_component=True, min_size=3)
        dice = 2 * (truth & mask).sum() / max(truth.sum() + mask.sum(), 1)
        assert metrics["subjects"][ref.case_id]["dice"] == pytest.approx(dice)
    before = json.loads((tmp_path / "plain" / "metrics.json").read_text())
    assert "postprocessing" not in before["protocol"]

    assert evaluate.main(["--compare", f"plain={plain}", f"changed={changed}"]) == 0
    shown = capsys.readouterr().out
    assert "changed − plain" in shown and f"{metrics['subject']['mean_dice']:.3f}" in shown
    assert evaluate.main(["--compare", plain, str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/none: expected results of")


def test_the_threshold_of_the_model_stays_with_other_options(small_phantom, tmp_path, model):
    from agd_keras.inference.calibration import Calibration
    from agd_keras.inference.postprocess import Postprocessing
    from agd_keras.runs.evaluate_model import assess

    predictor = load_predictor(model)
    predictor.calibration = Calibration(threshold=0.37)
    cases = find_data_set(small_phantom)[:1]
    metrics = assess(predictor, cases, tmp_path, {}, "A try", postprocessing=Postprocessing(None))
    assert metrics["threshold"] == 0.37
    chosen = Postprocessing(min_size=2).settle(0.37)
    assert (chosen.threshold, chosen.settle(0.5).threshold) == (0.37, 0.37)
