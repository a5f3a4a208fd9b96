"""Stops of every kind: asked for, killed, out of disk. Nothing is lost."""

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from agd_keras.cli import common
from agd_keras.errors import InputError, Interrupted
from agd_keras.runs.train import train

pytestmark = pytest.mark.usefixtures("no_pictures")
OPTIONS = {"training": {"epochs": 3}, "model": {"dropout": 0.3}}


@pytest.fixture
def whole(finished, tiny):
    """A run that nothing stopped."""
    out, config, _ = finished
    assert config == tiny(**OPTIONS)
    return out


class Signal(keras.callbacks.Callback):
    """Sends a signal to this process after so many steps of the whole training."""

    def __init__(self, signum, step):
        super().__init__()
        self.signum, self.step = signum, step

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations.numpy() == self.step:
            signal.raise_signal(self.signum)


@pytest.mark.parametrize(
    ("signum", "step", "place"),
    [(signal.SIGTERM, 7, (1, 2)), (signal.SIGINT, 5, (1, 0))],  # of six steps an epoch
)
def test_asked_to_stop_saves_the_step(
    signum, step, place, tiny, whole, tmp_path, assert_same_result
):
    config = tiny(**OPTIONS)
    with pytest.raises(Interrupted) as stopped:
        train(config, tmp_path / "parts", callbacks=[Signal(signum, step)])
    assert stopped.value.signum == signum
    state = json.loads((tmp_path / "parts" / "fold-0" / "resume" / "state.json").read_text())
    assert (len(state["rows"]), state["step"]) == place
    train(config, tmp_path / "parts", resume=True)
    assert_same_result(whole / "fold-0", tmp_path / "parts" / "fold-0")


@pytest.mark.parametrize(("signum", "status"), [(2, 130), (15, 143)])
def test_exit_status(signum, status):
    def stopped(_):
        raise Interrupted(signum)

    before = signal.getsignal(signal.SIGTERM)
    assert common.run(stopped, None) == status
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("kind", "code"),
    [("epoch-2-step-0.npz", errno.EDQUOT), ("model", errno.ENOSPC)],
)
def test_full_disk_leaves_the_state_before(
    kind, code, tiny, whole, tmp_path, monkeypatch, assert_same_result
):
    config = tiny(**OPTIONS)
    calls = []

    def fails_at_second(original):
        def full(self, *arguments, **options):
            path = arguments[0] if isinstance(self, keras.Model) else self
            if kind == "model" or path.name.startswith(kind):
                calls.append(path)
                if len(calls) == 2 or "epoch-2" in path.name:
                    with open(path, "wb") as file:
                        file.write(b"half of it")
                    raise OSError(code, os.strerror(code))
            return original(self, *arguments, **options)

        return full

    with monkeypatch.context() as patch:
        where, name = (keras.Model, "save") if kind == "model" else (Path, "write_bytes")
        patch.setattr(where, name, fails_at_second(getattr(where, name)))
        named = "best-[0-9].keras" if kind == "model" else kind
        line = f"{named}: cannot save the .*{os.strerror(code)}.*--resume"
        with pytest.raises(InputError, match=line):
            train(config, tmp_path / "parts")
    keras.saving.load_model(tmp_path / "parts" / "fold-0" / "model.keras")  # whole
    train(config, tmp_path / "parts", resume=True)
    assert_same_result(whole / "fold-0", tmp_path / "parts" / "fold-0")


def test_killed_between_state_and_history(tiny, whole, tmp_path, assert_same_result):
    shutil.copytree(whole, tmp_path / "parts")
    fold = tmp_path / "parts" / "fold-0"
    for name in ("history.csv", "fold.json"):
        (fold / name).unlink()
    # What `write_text` leaves when it is killed is no reason to refuse the run.
    (tmp_path / "parts" / "environment.json.tmp-12").touch()
    train(tiny(**OPTIONS), tmp_path / "parts", resume=True)
    assert_same_result(whole / "fold-0", fold)


@pytest.fixture
def own_data(small_phantom, tmp_path):
    """A copy of the phantom that a test may change."""
    return Path(shutil.copytree(small_phantom, tmp_path / "data"))


def edit(path):
    """Gives a picture other content of the same size and time."""
    before = path.stat()
    with Image.open(path) as image:
        image.load()
    Image.fromarray(255 - np.asarray(image)).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


@pytest.mark.parametrize("suffix", ["", "_mask"])
@pytest.mark.parametrize("kept", ["data.json", "environment.json"])  # as earlier versions had
def test_data_that_changed_is_refused_at_once(suffix, kept, tiny, own_data, tmp_path):
    config, out = tiny(data={"path": str(own_data)}), tmp_path / "run"
    train(config, out, only=())
    changed = own_data / "phantom_003" / f"phantom_003_4{suffix}.tif"
    edit(changed)
    if kept != "data.json":
        (out / "data.json").unlink()
    named = changed.name if kept == "data.json" else "of fingerprint"
    with pytest.raises(InputError, match=f"expected the data it was started with.*{named}"):
        train(config, out, resume=True)
    assert not (out / "fold-0").exists()
    edit(changed)
    train(config, out, resume=True, only=())


class Disturb(keras.callbacks.Callback):
    """Does something once, at the end of the first epoch."""

    def __init__(self, disturb):
        super().__init__()
        self.disturb = disturb

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.disturb()


def test_a_file_that_goes_or_changes_in_the_middle(
    tiny, whole, own_data, tmp_path, assert_same_result
):
    config, out = tiny(**OPTIONS, data={"path": str(own_data)}), tmp_path / "run"
    train(config, out, only=())
    validation = json.loads((out / "folds.json").read_text())["folds"][0]["validation"][0]
    mask = own_data / validation / f"{validation}_2_mask.tif"
    disturb = Disturb(lambda: mask.rename(tmp_path / "away"))
    with pytest.raises(InputError, match=f"{mask.name}: expected a file, found nothing"):
        train(config, out, resume=True, callbacks=[disturb])
    (tmp_path / "away").rename(mask)
    train(config, out, resume=True)
    for name in ("model.keras", "history.csv"):
        assert (out / "fold-0" / name).is_file()
    assert_same_result(whole / "fold-0", out / "fold-0")

    other = tmp_path / "other"
    with pytest.raises(InputError, match=f"changed since: .*{mask.name}"):
        train(config, other, callbacks=[Disturb(lambda: edit(mask))])
    assert not (other / "fold-0" / "fold.json").exists()


def test_folder_that_cannot_be_made(tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/run: cannot write the run folder"):
        train(tiny(), tmp_path / "file" / "run")


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_command_says_how_to_go_on(signum, status, tiny_command, tmp_path):
    command = tiny_command(tmp_path / "run", training={"epochs": 500})
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("epoch 1/"):
            process.send_signal(signum)
            break
    rest = process.stderr.read()
    assert process.wait(60) == status
    assert f"agd-train --out {tmp_path / 'run'} --resume" in rest
    assert "Traceback" not in rest


@pytest.mark.slow
def test_files_that_cannot_grow_end_with_one_line(tiny_command, tmp_path, assert_same_result):
    """A real refusal by the operating system, in the middle of a file."""
    subprocess.run(tiny_command(tmp_path / "whole"), check=True, capture_output=True)
    command = tiny_command(tmp_path / "run")

    def limit():  # above what is written ahead of the state
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    result = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, timeout=600)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "cannot save the" in last
    assert "--resume" in last
    subprocess.run([*command, "--resume"], check=True, capture_output=True)
    assert_same_result(tmp_path / "whole" / "fold-0", tmp_path / "run" / "fold-0")


def _wait_for(process, start):
    """Reads the lines of a command until one begins so; returns when it did."""
    for line in process.stderr:
        if line.startswith(start):
            break
    return time.monotonic()


@pytest.mark.nightly
def test_twenty_kills(tiny_command, tmp_path, assert_same_result, capfd):
    """SIGKILL at twenty random moments: of starting, training, saving, scoring."""
    options = {"training": {"epochs": 60, "deterministic": True, "schedule": "plateau"}}
    begun = time.monotonic()
    command = tiny_command(tmp_path / "whole", **options)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    starting = (trained := _wait_for(process, "first training step")) - begun
    training = _wait_for(process, "scoring the test patients") - trained
    process.stderr.read()
    assert process.wait() == 0

    draw = random.Random(0)
    run = tmp_path / "parts"
    resume: tuple[str, ...] = ()
    epochs = []
    for kill in range(20):
        command = tiny_command(run, *resume, **options)
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        if kill % 5:  # while it trains; in all about half of the training is done then
            _wait_for(process, "first training step")
            time.sleep(draw.uniform(0, training / 16))
        else:
            time.sleep(draw.uniform(0, starting))
        assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        resume = ("--resume",) if run.exists() else ()
        state = run / "fold-0" / "resume" / "state.json"
        epochs.append(len(json.loads(state.read_text())["rows"]) if state.exists() else 0)
    subprocess.run(tiny_command(run, *resume, **options), check=True, capture_output=True)
    assert_same_result(tmp_path / "whole" / "fold-0", run / "fold-0")
    with capfd.disabled():
        print(f"\n20 kills, after epochs {epochs}; then the same bits as the whole run")
