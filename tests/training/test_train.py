"""Whole runs on a small phantom, in this process and killed in another."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from agd_keras.cli import evaluate as evaluate_command
from agd_keras.cli import train as train_command
from agd_keras.config import load_config, make_config, merge
from agd_keras.data.cache import build_cache
from agd_keras.data.folds import load_folds, select
from agd_keras.data.slices import find_slices
from agd_keras.errors import InputError
from agd_keras.evaluation.evaluate import evaluate
from agd_keras.inference.predictor import load_predictor
from agd_keras.training import fit_fold as fit_fold_module
from agd_keras.training.train import resolve, train

TINY = {
    "data": {"image_size": 32, "portions": 6},
    "model": {"filters": [4, 8], "skips": [1, 2], "attention_at": [2], "edge_filters": 4},
    "training": {"epochs": 2, "batch_size": 4, "precision": "float32", "ema": 0.5},
}


def tiny(path, **values):
    return make_config(merge(TINY, {"data": {"path": str(path)}}, values))


@pytest.fixture(scope="module")
def finished(small_phantom, tmp_path_factory):
    """A run folder, its config and the metrics that `train` returned."""
    os.environ["AGD_KERAS_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    out = tmp_path_factory.mktemp("runs") / "run"
    config = tiny(small_phantom)
    return out, config, train(config, out)


def rows(folder):
    with open(folder / "history.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_run_folder_holds_what_is_promised(finished):
    out, config, metrics = finished
    assert make_config(load_config(out / "config.yaml")) == resolve(config)
    fold = out / "fold-0"
    written = json.loads((fold / "metrics.json").read_text())
    for group in ("protocol", "threshold", "pooled", "subject", "slice", "calibration"):
        assert written[group] == metrics[group]
    assert len(rows(fold)) == 2
    assert (fold / "report.html").is_file()
    assert {path.stem for path in (fold / "figures").glob("*.png")} >= {"cases", "training"}
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


def test_kept_model_gives_the_best_figure_of_the_history(finished):
    out, config, _ = finished
    slices = find_slices(config.data.path)
    fold = load_folds(out / "folds.json")[0]
    validation = select(slices, fold.validation, "subject")
    predict = load_predictor(out / "fold-0" / "model.keras").predict_patient
    dice = evaluate(predict, validation, surface=False)["subject"]["mean_dice"]
    best = max(float(row["val_dice"]) for row in rows(out / "fold-0"))
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


def test_same_config_gives_the_same_run(finished, tmp_path):
    out, config, metrics = finished
    again = train(config, tmp_path / "again")
    assert again["subjects"] == metrics["subjects"]
    assert rows(tmp_path / "again" / "fold-0") == rows(out / "fold-0")


def test_existing_folder_is_refused_replaced_or_gone_on_with(finished, small_phantom, tmp_path):
    out, config, metrics = finished
    before = (out / "fold-0" / "model.keras").stat().st_mtime_ns
    with pytest.raises(InputError, match="--resume or --overwrite"):
        train(config, out)
    other = tiny(small_phantom, training={"seed": 1})
    with pytest.raises(InputError, match=r"not other training.seed"):
        train(other, out, resume=True)
    assert train(config, out, resume=True)["subjects"] == metrics["subjects"]  # nothing left to do
    assert (out / "fold-0" / "model.keras").stat().st_mtime_ns == before
    assert len(json.loads((out / "environment.json").read_text())) == 2  # starts
    with pytest.raises(InputError, match="--resume expected the folder of a run"):
        train(config, tmp_path / "none", resume=True)


def test_what_is_not_a_run_is_never_replaced(small_phantom, tmp_path):
    config = tiny(small_phantom)
    for name in ("thesis.txt", "config.yaml"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="something else than a run"):
        train(config, tmp_path, overwrite=True)
    with pytest.raises(InputError, match="something else than a run"):
        train(config, tmp_path / "thesis.txt", overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_overwrite_replaces_a_run(small_phantom, tmp_path):
    config = tiny(small_phantom, training={"epochs": 1})
    train(config, tmp_path / "run")
    marked = tmp_path / "run" / "fold-0" / "mine"
    marked.touch()
    train(config, tmp_path / "run", overwrite=True)
    assert not marked.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


RECIPES = {
    "average": {"training": {"epochs": 4}},
    # Scored as never getting better: the rate is halved after epoch 6, training stops after 9.
    "plateau": {
        "training": {"epochs": 12, "schedule": "plateau", "learning_rate": 1e-3, "patience": 8}
    },
    "dropout": {"model": {"dropout": 0.3}, "training": {"epochs": 3, "optimizer": "adam"}},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_interrupted_and_resumed_is_bit_identical(recipe, small_phantom, tmp_path, monkeypatch):
    config = tiny(small_phantom, **RECIPES[recipe])
    stop_after = 7 * 4 + 2 if recipe == "plateau" else 4 + 2  # steps: in the middle of an epoch
    if recipe == "plateau":
        same = {"subject": {"mean_dice": 0.5}, "pooled": {"iou": 0.4, "bce": 0.3}}
        monkeypatch.setattr(fit_fold_module, "score_cached", lambda *_: same)
    train(config, tmp_path / "whole")

    class StopError(Exception):
        pass

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations.numpy() == stop_after:
                raise StopError

    original = fit_fold_module.fit_fold

    def interrupted(*arguments, **options):
        return original(*arguments, callbacks=[Interrupt()], **options)

    monkeypatch.setattr(fit_fold_module, "fit_fold", interrupted)
    with pytest.raises(StopError):
        train(config, tmp_path / "parts")
    monkeypatch.setattr(fit_fold_module, "fit_fold", original)
    train(config, tmp_path / "parts", resume=True)

    first, second = (tmp_path / name / "fold-0" for name in ("whole", "parts"))
    assert rows(first) == rows(second)
    if recipe == "plateau":
        rates = [float(row["learning_rate"]) for row in rows(first)]
        np.testing.assert_allclose(rates, [1e-3] * 6 + [5e-4] * 3)
    weights = [keras.saving.load_model(f / "model.keras").get_weights() for f in (first, second)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch(small_phantom, tmp_path):
    arguments = [sys.executable, "-m", "agd_keras.cli.train", "--data", str(small_phantom)]
    settings = merge(TINY, {"training": {"epochs": 6}})
    for section, options in settings.items():
        for option, value in options.items():
            arguments += ["--set", f"{section}.{option}={value}"]
    out = tmp_path / "run"
    process = subprocess.Popen([*arguments, "--out", str(out)], stderr=subprocess.DEVNULL)
    history = out / "fold-0" / "history.csv"
    while not history.exists() or len(rows(out / "fold-0")) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = rows(out / "fold-0")
    subprocess.run([*arguments, "--out", str(out), "--resume"], check=True)
    after = rows(out / "fold-0")
    assert len(after) == 6
    assert after[: len(before)] == before
    assert (out / "fold-0" / "metrics.json").is_file()


@pytest.mark.parametrize("option", ["edge", "attention"])
def test_ablations_train(option, small_phantom, tmp_path):
    config = tiny(small_phantom, model={option: False}, training={"epochs": 1})
    assert train(config, tmp_path / "run")["subjects"]


def test_diverged_training_says_so(small_phantom, tmp_path):
    config = tiny(small_phantom, training={"learning_rate": 1e30, "clip_norm": 0.0})
    with pytest.raises(InputError, match=r"epoch 1: the .* expected finite ones"):
        train(config, tmp_path / "run")


def test_record_wise_split_sees_whole_patients(small_phantom, tmp_path):
    config = tiny(small_phantom, data={"split": "record"}, training={"epochs": 1})
    metrics = train(config, tmp_path / "run")
    fold = load_folds(tmp_path / "run" / "folds.json")[0]
    assert sum(entry["slices"] for entry in metrics["subjects"].values()) == len(fold.test)
    assert metrics["protocol"]["split"] == "record"


def test_cache_holds_what_the_predictor_sees(small_phantom):
    from agd_keras.data.preprocess import prepare_patient
    from agd_keras.evaluation.evaluate import read_patient

    slices = find_slices(small_phantom)
    cache = build_cache(slices, 32)
    stack = [one for one in slices if one.patient == slices[0].patient]
    images, _ = read_patient(stack)
    cached = np.stack([cache.read(one)[0] for one in stack])
    np.testing.assert_allclose(cached, prepare_patient(images, 32), atol=2e-3)


# --- the commands, as a user calls them


def test_commands_train_and_evaluate(small_phantom, tmp_path, capsys):
    out = str(tmp_path / "run")
    arguments = ["--data", str(small_phantom), "--image-size", "32", "--epochs", "1", "--out", out]
    for option in ("data.portions=6", "model.filters=[4, 8]", "model.skips=[2]"):
        arguments += ["--set", option]
    arguments += ["--set", "model.attention_at=[2]", "--folds", "2"]
    assert train_command.main([*arguments, "--fold", "1"]) == 0
    shown = capsys.readouterr().out
    assert "to go on: agd-train --out" in shown
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
        (["--learning-rate", "-1"], 1, "training.learning_rate"),
        (["--learning-rate", "fast"], 2, "--learning-rate"),
        (["--augment", "wild"], 2, "--augment"),
        (["--set", "training.lr=1"], 1, "training.lr"),
        (["--config", "{tmp}/none.yaml"], 1, "none.yaml"),
        (["--resume", "--overwrite"], 2, "not allowed with"),
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


@pytest.mark.parametrize("module", ["train", "evaluate"])
def test_help_loads_neither_tensorflow_nor_keras(module):
    code = f"""
import sys
from agd_keras.cli import {module}
try:
    {module}.main(["--help"])
except SystemExit:
    pass
heavy = {{"tensorflow", "keras", "matplotlib", "sklearn", "scipy"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
