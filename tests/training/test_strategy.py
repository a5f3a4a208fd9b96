"""Devices: what each strategy takes, and that several train as one does."""

import os
import subprocess
import sys

import numpy as np
import pytest

from agd_keras.errors import InputError
from agd_keras.training import devices
from agd_keras.training.fit import fit_fold
from agd_keras.training.precision import cpu_info, resolve_precision

FIGURES = ("loss", "edge_loss", "mask_loss", "mask_dice", "val_dice", "val_bce")
# Two logical CPUs stand in for two GPUs.
TWO_CPUS = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from agd_keras.cli.train import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("found", "name", "taken"),
    [
        (["cpu:0", "cpu:1"], "auto", ["cpu:0"]),
        (["gpu:0", "gpu:1"], "auto", ["gpu:0", "gpu:1"]),
        (["gpu:0", "gpu:1"], "gpu", ["gpu:0"]),
        (["cpu:0", "cpu:1"], "mirrored", ["cpu:0", "cpu:1"]),
        (["tpu:0", "tpu:1"], "tpu", ["tpu:0", "tpu:1"]),
    ],
)
def test_strategy_takes(found, name, taken, monkeypatch):
    monkeypatch.setattr(devices, "find_devices", lambda: found)
    assert devices._pick(name)[1] == taken


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "--strategy gpu: expected a GPU, found cpu:0"),
        ("tpu", "--strategy tpu: expected a TPU, found"),
        ("mirrored", "--strategy mirrored: expected several devices, found cpu:0"),
        ("multiworker", "KERAS_BACKEND=jax"),
    ],
)
def test_missing_devices_are_named(name, message, monkeypatch):
    monkeypatch.setattr(devices, "find_devices", lambda: ["cpu:0"])
    with pytest.raises(InputError, match=message):
        devices.open_devices(name)


def test_automatic_precision():
    assert resolve_precision("auto", "gpu") == "mixed_float16"
    assert resolve_precision("auto", "tpu") == "mixed_bfloat16"
    bf16 = {"avx512_bf16", "amx_bf16"} & set(cpu_info("flags").split())
    assert resolve_precision("auto", "cpu") == ("mixed_bfloat16" if bf16 else "float32")
    assert resolve_precision("mixed_float16", "cpu") == "mixed_float16"


@pytest.mark.parametrize("option", ["study", "executor", "search"])
def test_several_hosts_train_one_run_only(option, tiny, tmp_path):
    from agd_keras.runs.search.search import search
    from agd_keras.runs.study import run_study
    from agd_keras.runs.train import train

    config = tiny(training={"strategy": "multiworker"})
    start = {
        "study": lambda out: run_study("leak", config, out),
        "executor": lambda out: train(config, out, executor="ray"),
        "search": lambda out: search(config, out),
    }[option]
    with pytest.raises(InputError, match="--strategy multiworker: not together with"):
        start(tmp_path / "run")


def test_batch_that_devices_cannot_share(tiny, tmp_path, monkeypatch):
    import agd_keras.training.fit as module

    monkeypatch.setattr(module, "open_devices", lambda _: devices.Devices(replicas=3))
    with pytest.raises(InputError, match=r"training.batch_size 4: expected a multiple of the 3"):
        fit_fold(tiny(), None, [None] * 8, [], tmp_path)


def _run(command, **environment):
    return subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(*processes):
    for process in processes:
        _, error = process.communicate(timeout=600)
        assert process.returncode == 0, error


def _assert_equal(read_history, one, other):
    histories = [read_history(run / "fold-0") for run in (one, other)]
    for first, second in zip(*histories, strict=True):
        for name in FIGURES:
            # One device takes the fused batch normalisation, two take Keras' own: validation has
            # the rounding of all steps, and a pixel at the threshold may fall to either side.
            near = {"rtol": 1e-4, "atol": 1e-4} if name.startswith("val_") else {"rtol": 1e-5}
            if name == "mask_dice":
                near = {"atol": 5e-4}  # one pixel of a batch of these small images is 2e-4
            np.testing.assert_allclose(first[name], second[name], err_msg=name, **near)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("adam", marks=pytest.mark.nightly)])
def test_two_devices_train_as_one(optimizer, tiny_command, read_history, tmp_path):
    # With clipping, sums over the batch in the loss, batch normalisation, averaged weights.
    training = {"training": {"epochs": 3, "optimizer": optimizer, "clip_norm": 0.1}}
    one = tiny_command(tmp_path / "one", **training)
    two = tiny_command(tmp_path / "two", "--strategy", "mirrored", **training)
    _finish(_run(one))
    _finish(_run([sys.executable, "-c", TWO_CPUS, *two[3:]]))
    _assert_equal(read_history, tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_two_processes_train_as_one(tiny_command, read_history, tmp_path):
    pytest.importorskip("jax", reason="several hosts need JAX")
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    backend = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    training = {"training": {"epochs": 3}}
    _finish(_run(tiny_command(tmp_path / "one", **training), **backend))
    command = tiny_command(tmp_path / "two", "--strategy", "multiworker", **training)
    hosts = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    processes = [
        _run(command, **backend, **hosts, KERAS_DISTRIBUTION_PROCESS_ID=str(index))
        for index in range(2)
    ]
    _finish(*processes)
    _assert_equal(read_history, tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "metrics.json").is_file()


@pytest.mark.nightly
def test_every_precision_trains_to_the_same_dice(read_history, tmp_path):
    from agd_keras.config import make_config
    from agd_keras.data.phantom import make_phantom
    from agd_keras.runs.train import train

    data = make_phantom(tmp_path / "phantom", patients=60, slices=8, size=32)
    dice = {}
    for precision in ("float32", "mixed_bfloat16", "mixed_float16"):
        config = make_config(
            {
                "data": {
                    **{"path": str(data), "image_size": 32, "augment": "none"},
                    "tumor_sampling": 0.0,
                },
                "model": {
                    **{"filters": [8, 16, 24], "skips": [1, 2, 3], "attention_at": [2]},
                    **{"edge_filters": 8, "stem_stride": 1},
                },
                "training": {
                    **{"epochs": 30, "batch_size": 8, "learning_rate": 4e-3},
                    **{"ema": 0.99, "precision": precision},
                },
            }
        )
        dice[precision] = train(config, tmp_path / precision)["subject"]["mean_dice"]
    print(dice)  # for docs/reliability.md
    assert dice["float32"] > 0.85
    # At first they agree closely. Then rounding grows: by the number of threads alone it moves
    # the Dice by 0.02.
    first = [read_history(tmp_path / precision / "fold-0")[0]["loss"] for precision in dice]
    np.testing.assert_allclose(first[1:], first[0], rtol=5e-3)
    assert max(dice.values()) - min(dice.values()) < 0.05, dice
