"""Tasks run here, and on a Ray of this machine, one of whose workers is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from agd_keras.config import make_config
from agd_keras.data.cache import build_cache
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.data.splits import make_folds
from agd_keras.errors import InputError
from agd_keras.io.data_set import find_data_set
from agd_keras.runs.executor import run_tasks
from agd_keras.runs.open_run import open_run
from agd_keras.runs.train_fold import train_fold
from agd_keras.values import merge, parse_setting

CONFIG = {
    "data": {"image_size": 32, "folds": 2, "portions": 6},
    "model": {"filters": [4, 8], "skips": [1, 2], "attention_at": [2], "edge_filters": 4},
    "training": {"epochs": 6, "batch_size": 4, "precision": "float32", "deterministic": True},
}
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"
)


def test_results_come_in_the_order_of_the_arguments():
    assert run_tasks(pow, [(2, 3), (3, 2), (5, 1)]) == [8, 9, 5]


def test_arguments_are_drawn_when_their_task_can_start():
    seen = []

    def arguments():
        for number in range(3):
            assert seen == list(range(number))  # the tasks before are done
            yield (number,)

    run_tasks(seen.append, arguments())
    assert seen == [0, 1, 2]


def test_first_error_ends_it():
    with pytest.raises(InputError, match="--set oops"):
        run_tasks(parse_setting, iter([("a.b=1",), ("oops",), ("worse",)]))


def test_unknown_executor():
    with pytest.raises(InputError, match="executor 'slurm': expected one of local, ray"):
        run_tasks(pow, [(1, 2)], executor="slurm")


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install -e \.\[cluster\]"):
        run_tasks(pow, [(1, 2)], executor="ray")


@pytest.fixture(scope="module")
def ray_of_two_workers():
    ray = pytest.importorskip("ray", reason="Ray is not installed: the extra `cluster`")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_tasks_of_ray(ray_of_two_workers, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert run_tasks(pow, [(2, 3), (3, 2), (5, 1)], executor="ray") == [8, 9, 5]
    (threads,) = run_tasks(os.getenv, [("TF_NUM_INTRAOP_THREADS",)], executor="ray", cpus=2)
    assert threads == "2"
    assert run_tasks(os.getenv, [("KERAS_BACKEND",)], executor="ray") == ["tensorflow"]
    with pytest.raises(InputError, match="^--set oops: expected SECTION.OPTION=VALUE"):
        run_tasks(parse_setting, [("oops",), ("a.b=1",)], executor="ray")
    with pytest.raises(ZeroDivisionError):
        run_tasks(divmod, [(1, 0)], executor="ray")
    with pytest.raises(InputError, match="--cpus 64: expected 1 to 2"):
        run_tasks(pow, [(1, 2)], executor="ray", cpus=64)
    with pytest.raises(InputError, match="--gpus 8: expected 0 to"):
        run_tasks(pow, [(1, 2)], executor="ray", gpus=8)


def make_run(root: Path, data: Path) -> Path:
    config = make_config(merge(CONFIG, {"data": {"path": str(data)}}))
    cases = find_data_set(data)
    cache = build_cache(cases, Preprocessor(32))
    options = config.data
    folds = make_folds(cache.slices, cache.areas, options.folds, options.split, 0, options.portions)
    open_run(root, config, folds, cases, cache.digests, resume=False, overwrite=False)
    return root


def epochs(run: Path, index: int) -> int:
    history = run / f"fold-{index}" / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.is_file() else 0


def kill_worker_of(run: Path, index: int, killed: list[int]) -> None:
    """Waits until a fold has two epochs, and kills its worker."""
    while epochs(run, index) < 2:
        time.sleep(0.02)
    for process in psutil.Process().children(recursive=True):
        if f"fold {index}" in " ".join(process.cmdline()):
            process.send_signal(signal.SIGKILL)
            killed.append(epochs(run, index))


@pytest.mark.nightly
def test_fold_of_a_killed_worker_goes_on(ray_of_two_workers, small_phantom, tmp_path, capfd):
    run = make_run(tmp_path / "ray", small_phantom)
    killed: list[int] = []
    killer = threading.Thread(target=kill_worker_of, args=(run, 1, killed), daemon=True)
    killer.start()
    run_tasks(train_fold, [(run, index) for index in range(2)], executor="ray", name="fold")
    killer.join()
    assert len(killed) == 1 and killed[0] < 6
    log = capfd.readouterr()
    assert "(fold 0 pid=" in log.out + log.err

    here = make_run(tmp_path / "here", small_phantom)
    code = "from agd_keras.runs.train_fold import train_fold\n" + "".join(
        f"train_fold({str(here)!r}, {index})\n" for index in range(2)
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | ONE_THREAD)
    for index in range(2):
        folders = [one / f"fold-{index}" for one in (run, here)]
        histories = [(one / "history.csv").read_bytes() for one in folders]
        assert histories[0] == histories[1]
        metrics = [json.loads((one / "metrics.json").read_text()) for one in folders]
        assert metrics[0] == metrics[1]
