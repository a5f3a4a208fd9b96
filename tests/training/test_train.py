"""Whole runs on a small phantom, also broken off, and the commands for them."""

import json
import shutil
import subprocess
import sys
from functools import partial

import keras
import numpy as np
import pytest

from agd_keras.cli import evaluate as evaluate_command
from agd_keras.cli import train as train_command
from agd_keras.config import make_config
from agd_keras.data.cache import build_cache
from agd_keras.data.slices import by_case
from agd_keras.data.splits import load_folds
from agd_keras.errors import InputError
from agd_keras.evaluation.evaluate import evaluate
from agd_keras.inference.familiarity import read_familiarity
from agd_keras.inference.predict_case import predict_case
from agd_keras.inference.predictor import Predictor, load_predictor
from agd_keras.io.data_set import find_data_set
from agd_keras.io.labels import read_labelled
from agd_keras.runs.train import resolve, train
from agd_keras.training import fit as fit_fold_module
from agd_keras.values import load_config

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_run_folder_holds_what_is_promised(finished, read_history):
    out, config, metrics = finished
    assert make_config(load_config(out / "config.yaml")) == resolve(config)
    fold = out / "fold-0"
    written = json.loads((fold / "metrics.json").read_text())
    familiarity = read_familiarity(out)
    assert familiarity.scans == len(load_folds(out / "folds.json")[0].train)
    assert familiarity.filled == ("T1", "T1c")  # which the augmentation of the preset makes
    for group in ("protocol", "threshold", "pooled", "subject", "slice", "calibration"):
        assert written[group] == metrics[group]
    assert len(read_history(fold)) == 3
    assert (fold / "report.html").is_file()
    assert {path.stem for path in (fold / "figures").glob("*.png")} >= {"cases", "training"}
    assert 0 < json.loads((fold / "fold.json").read_text())["seconds"] < 600
    assert list((fold / "logs").rglob("events*"))
    assert "Not a medical device" in (out / "MODEL_CARD.md").read_text()
    (environment,) = json.loads((out / "environment.json").read_text())
    assert environment["packages"]["keras"] == keras.__version__
    assert environment["precision"] == "float32"
    assert metrics["protocol"]["data_fingerprint"] == environment["data_fingerprint"]
    assert not list(out.rglob("*tmp*"))


def test_no_test_patient_was_trained_on(finished):
    out, _, metrics = finished
    fold = load_folds(out / "folds.json")[0]
    assert set(metrics["subjects"]) == set(fold.test)
    assert not set(fold.test) & (set(fold.train) | set(fold.validation))


def test_kept_model_gives_the_best_figure_of_the_history(finished, read_history):
    out, config, _ = finished
    fold = load_folds(out / "folds.json")[0]
    cases = find_data_set(config.data.path)
    validation = [case for case in cases if case.patient_id in fold.validation]
    predict = partial(predict_case, load_predictor(out / "fold-0" / "model.keras"))
    dice = evaluate(predict, validation, surface=False)["subject"]["mean_dice"]
    best = max(row["val_dice"] for row in read_history(out / "fold-0"))
    assert dice == pytest.approx(best, abs=2e-3)  # the cache rounds its images to float16


def test_kept_model_is_compiled_float32_and_reloads_in_a_fresh_process(finished):
    path = finished[0] / "fold-0" / "model.keras"
    code = f"""
import numpy as np
import warnings
warnings.simplefilter("error", UserWarning)
import agd_keras
model = agd_keras.load_model({str(path)!r})
batch = np.zeros((2, 32, 32, 3), "float32")
assert model.compiled and model.dtype_policy.name == "float32", model.dtype_policy
mask = np.zeros((2, 32, 32, 1), "float32")
print(model.evaluate(batch, {{"mask": mask, "edge": mask}}, verbose=0, return_dict=True)["loss"])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    model = keras.saving.load_model(path)
    batch, mask = np.zeros((2, 32, 32, 3), "float32"), np.zeros((2, 32, 32, 1), "float32")
    here = model.evaluate(batch, {"mask": mask, "edge": mask}, verbose=0, return_dict=True)
    assert float(result.stdout.split()[-1]) == pytest.approx(here["loss"], rel=1e-4)


@pytest.mark.nightly  # what is resumed to the same bits has the same bits twice
def test_same_config_gives_the_same_run(finished, tmp_path, assert_same_result):
    out, config, _ = finished
    train(config, tmp_path / "again")
    assert_same_result(tmp_path / "again" / "fold-0", out / "fold-0")


def test_existing_folder_is_refused_replaced_or_gone_on_with(finished, tmp_path):
    original, config, metrics = finished
    out = shutil.copytree(original, tmp_path / "run")
    before = (out / "fold-0" / "model.keras").stat().st_mtime_ns
    with pytest.raises(InputError, match="--resume or --overwrite"):
        train(config, out)
    other = config.model_copy(update={"training": config.training.model_copy(update={"seed": 1})})
    with pytest.raises(InputError, match=r"not other training.seed"):
        train(other, out, resume=True)
    assert train(config, out, resume=True)["subjects"] == metrics["subjects"]  # nothing left to do
    assert (out / "fold-0" / "model.keras").stat().st_mtime_ns == before
    assert len(json.loads((out / "environment.json").read_text())) == 2  # starts
    with pytest.raises(InputError, match="--resume expected the folder of a run"):
        train(config, tmp_path / "none", resume=True)


def test_what_is_not_a_run_is_never_replaced(tiny, tmp_path):
    config = tiny()
    for name in ("thesis.txt", "config.yaml"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="something else than a run"):
        train(config, tmp_path, overwrite=True)
    with pytest.raises(InputError, match="something else than a run"):
        train(config, tmp_path / "thesis.txt", overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_overwrite_replaces_a_run(tiny, tmp_path):
    train(tiny(), tmp_path / "run", only=())
    (tmp_path / "run" / "fold-0").mkdir()
    train(tiny(training={"seed": 1}), tmp_path / "run", overwrite=True, only=())
    assert not (tmp_path / "run" / "fold-0").exists()
    assert load_config(tmp_path / "run" / "config.yaml")["training"]["seed"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


RECIPES = {
    "stages": {
        "data": {"normalization": "brain", "augment": "scanners"},
        "training": {"epochs": 3, "sizes": [16, 24]},
    },
    "average": {"model": {"dropout": 0.3}, "training": {"epochs": 3, "ema": 0.5}},
    # Scored as never getting better: the rate is halved after epoch 6, training stops after 8.
    "plateau": {
        "training": {
            **{"epochs": 12, "optimizer": "adam", "ema": 0.0, "learning_rate": 1e-3},
            **{"schedule": "plateau", "patience": 7},
        }
    },
}
STEPS = 6  # an epoch


@pytest.mark.parametrize(
    ("recipe", "stop"),
    [
        ("stages", STEPS + 2),
        # In `make test`, test_interrupt.py stops the same training at other steps.
        pytest.param("average", STEPS + 2, marks=pytest.mark.nightly),
        ("plateau", 6 * STEPS + 2),
    ],
)
def test_broken_off_and_resumed_is_bit_identical(
    recipe, stop, tiny, finished, tmp_path, monkeypatch, read_history, assert_same_result
):
    config = tiny(**RECIPES[recipe])
    if recipe == "plateau":
        same = {"subject": {"mean_dice": 0.5}, "pooled": {"iou": 0.4, "bce": 0.3}}
        monkeypatch.setattr(fit_fold_module, "score_cached", lambda *_: same)
    whole, parts = tmp_path / "whole" / "fold-0", tmp_path / "parts" / "fold-0"
    if config == finished[1]:
        whole = finished[0] / "fold-0"
    else:
        train(config, tmp_path / "whole")

    class StopError(Exception):
        pass

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations.numpy() == stop:
                raise StopError

    with pytest.raises(StopError):
        train(config, tmp_path / "parts", callbacks=[Interrupt()])
    assert len(read_history(parts)) == stop // STEPS
    train(config, tmp_path / "parts", resume=True)
    assert_same_result(whole, parts)
    assert json.loads((parts / "fold.json").read_text())["seconds"] is None  # not known
    if recipe == "plateau":
        rates = [row["learning_rate"] for row in read_history(whole)]
        np.testing.assert_allclose(rates, [1e-3] * 6 + [5e-4] * 2)


def test_diverged_training_says_so(tiny, tmp_path):
    config = tiny(training={"learning_rate": 1e30, "clip_norm": 0.0})
    with pytest.raises(InputError, match=r"epoch 1: the .* expected finite ones"):
        train(config, tmp_path / "run")


def test_ablation_trains_record_wise_with_whole_patients(tiny, tmp_path, monkeypatch):
    predicted = []
    predict = Predictor.predict_patient
    monkeypatch.setattr(
        Predictor, "predict_patient", lambda self, x: predicted.append(len(x)) or predict(self, x)
    )
    model = {"edge": False, "attention": False}
    config = tiny(data={"split": "record"}, model=model, training={"epochs": 1})
    metrics = train(config, tmp_path / "run")
    fold = load_folds(tmp_path / "run" / "folds.json")[0]
    assert sum(entry["slices"] for entry in metrics["subjects"].values()) == len(fold.test)
    assert metrics["protocol"]["split"] == "record"
    assert set(predicted) == {6}  # also to calibrate, and for the pictures
    assert load_predictor(tmp_path / "run").models[0].output_names == ["mask"]


def test_cache_holds_what_the_predictor_sees(small_phantom):
    from agd_keras.data.preprocessor import Preprocessor

    cases = find_data_set(small_phantom)
    cache = build_cache(cases, Preprocessor(32))
    case, label = read_labelled(cases[0])
    own = by_case(cache.slices)[cases[0].case_id]
    cached = np.stack([cache.read(one)[0] for one in own])
    np.testing.assert_allclose(cached, Preprocessor(32).prepare(case.images), atol=2e-3)
    np.testing.assert_array_equal(cache.read_mask(cases[0].case_id), label)


# --- the commands, as a user calls them


def test_commands_train_and_evaluate(small_phantom, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    out = str(tmp_path / "run")
    arguments = ["--data", str(small_phantom), "--image-size", "32", "--epochs", "1", "--out", out]
    for option in ("data.portions=6", "model.filters=[4, 8]", "model.skips=[2]"):
        arguments += ["--set", option]
    arguments += ["--set", "model.attention_at=[2]", "--folds", "2"]
    assert train_command.main([*arguments, "--fold", "1"]) == 0
    assert "run: still to do: --resume --fold 0" in caplog.messages
    shown = capsys.readouterr().out
    assert f"folder: {out}" in shown and "report" not in shown
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert train_command.main(["--out", out, "--resume"]) == 0
    shown = capsys.readouterr().out
    assert "mean ± std of folds" in shown
    assert f"{out}/report.html" in shown
    assert train_command.main(["--out", out, "--resume", "--fold", "2"]) == 1
    assert "--fold 2: expected 0 to 1" in capsys.readouterr().err
    results = tmp_path / "results"
    arguments = ["--model", out, "--data", str(small_phantom), "--out", str(results)]
    assert evaluate_command.main(arguments) == 0
    assert len(json.loads((results / "metrics.json").read_text())["subjects"]) == 6
    assert (results / "report.html").is_file()
    assert evaluate_command.main(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert evaluate_command.main([*arguments, "--overwrite"]) == 0


def _run(command, arguments, capsys):
    """Exit status and the lines on standard error of a command."""
    try:
        status = command(arguments)
    except SystemExit as error:
        status = error.code
    return status, capsys.readouterr().err.strip().splitlines()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--data", "{tmp}/none"], 1, "{tmp}/none"),
        (["--data", "{tmp}/empty"], 1, "{tmp}/empty"),
        (["--data", "{tmp}/single"], 1, "a data set of one patient"),
        (["--preset", "agd_huge"], 1, "agd_tiny, agd_small, agd_paper"),
        (["--set", "training.learning_rate=-1"], 1, "training.learning_rate"),
        (["--augment", "wild"], 2, "--augment"),
        (["--set", "training.lr=1"], 1, "training.lr"),
        (["--config", "{tmp}/none.yaml"], 1, "none.yaml"),
        (["--resume", "--overwrite"], 2, "not allowed with"),
        (["--recipe", "leak", "--one-test"], 2, "--recipe: expected --folds of 2 or more"),
    ],
)
def test_bad_input_gets_one_line(arguments, status, message, tmp_path, small_phantom, capsys):
    (tmp_path / "empty").mkdir()
    patient = sorted(path for path in small_phantom.iterdir() if path.is_dir())[0]
    (tmp_path / "single").mkdir()
    (tmp_path / "single" / patient.name).symlink_to(patient, target_is_directory=True)
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    out = tmp_path / "run"
    got, lines = _run(train_command.main, [*arguments, "--out", str(out)], capsys)
    assert got == status
    assert message.format(tmp=tmp_path) in lines[-1]
    assert len(lines) == 1 or status == 2  # argparse shows the usage too
    assert not out.exists()


@pytest.mark.parametrize("kind", ["missing", "text", "folder"])
def test_model_that_is_not_one(kind, tmp_path, small_phantom, capsys):
    path = tmp_path / "model.keras"
    if kind == "text":
        path.write_text("not a model")
    elif kind == "folder":
        path.mkdir()
    arguments = ["--model", str(path), "--data", str(small_phantom), "--out", str(tmp_path / "o")]
    status, lines = _run(evaluate_command.main, arguments, capsys)
    assert status == 1
    assert len(lines) == 1
    assert str(path) in lines[0]
    assert not (tmp_path / "o").exists()
