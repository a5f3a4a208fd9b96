"""What a training step takes under different settings, and what limits it.

Each row is a process of its own, which trains a preset on one batch in memory as `agd-train` does
but for what the row's name says:

- `float32`, `mixed_bfloat16`: precision policies; `auto` picks one of them on a CPU.
- `graph bfloat16`: float32 variables, and TensorFlow's graph optimiser picks what runs in bfloat16.
- `separate`: batch normalisation by Keras' single operations, not by TensorFlow's fused kernel.
- `XLA`, `oneDNN off`: compiled by XLA; TensorFlow's own kernels.
- `one core`: kept to one core; `two at once`, where there are two, are two such trainings side by
  side, a core each.

The rows take turns, round after round, so that other work on the machine meets all of them; wall
and processor time of a step are medians over all rounds. The share of the peak is three times the
network's multiply-adds (forth, back to the input, back to the weights) over wall time, beside a
product of matrices in the row's arithmetic on as many cores. Then where the time of a step goes, by
kind of operation and by layer, as TensorFlow's profiler tells.

    python benchmarks/training_speed.py --preset agd_small
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
BFLOAT = {"precision": "mixed_bfloat16"}
GRAPH = {"precision": "float32", "graph_bfloat16": True}
ROWS: dict[str, dict[str, Any]] = {
    "float32": {"precision": "float32"},
    "mixed_bfloat16": BFLOAT,
    "graph bfloat16": GRAPH,
    "float32, separate": {"precision": "float32", "separate": True},
    "mixed_bfloat16, separate": {**BFLOAT, "separate": True},
    "graph bfloat16, separate": {**GRAPH, "separate": True},
    "float32, XLA": {"precision": "float32", "xla": True},
    "mixed_bfloat16, XLA": {**BFLOAT, "xla": True},
    "float32, oneDNN off": {"precision": "float32", "onednn": False},
    "mixed_bfloat16, one core": {**BFLOAT, "cores": 1},
}


def separate_normalization(model: Any) -> None:
    """Gives the batch normalisation of a compiled model back to Keras."""
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            del layer.call


def matrix_peak(precision: str, side: int = 2048, runs: int = 7) -> float:
    """Multiply-adds a second of a product of matrices: the median of some."""
    import tensorflow as tf

    one = tf.cast(tf.random.normal((side, side)), precision.removeprefix("mixed_"))
    product = tf.function(tf.linalg.matmul)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        product(one, one).numpy()
        times.append(time.perf_counter() - start)
    return side**3 / median(times[1:])


def profile(run: Any) -> list[tuple[str, float]]:
    """Milliseconds of each operation, `layer/…/name:Kind`, while a function runs."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        run()
        tf.profiler.experimental.stop()
        (path,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    return [
        (name, event.duration_ps / 1e9)
        for plane in space.planes
        for line in plane.lines
        if line.name.startswith("tf_")
        for event in line.events
        # Others are functions of the runtime: `ExecutorState::Process`.
        if ":" in (name := plane.event_metadata[event.metadata_id].name) and "::" not in name
    ]


def serve(settings: dict[str, Any], preset: str, batch: int) -> None:
    """Answers commands from the standard input, each with a line of JSON.

    `steps N` gives wall and processor milliseconds of each step, `profile N` those of each
    operation, `macs` the multiply-adds of a slice, `peak` those a second of the machine.
    """
    if settings.get("cores") == 1:
        os.sched_setaffinity(0, {CORES[settings.get("core", 0)]})
    import keras
    import tensorflow as tf
    from peers_keras import count_macs

    from agd_keras.config import make_config
    from agd_keras.training.build import build_model, compile_model, make_variables

    precision = settings["precision"]
    half = settings.get("graph_bfloat16", False)
    if half:
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
    config = make_config({"preset": preset})
    size = config.data.image_size
    keras.utils.set_random_seed(0)
    model = build_model(config.model, size, precision)
    compile_model(model, config.training, steps=100)
    model.jit_compile = settings.get("xla", False)
    if settings.get("separate"):
        separate_normalization(model)
    make_variables(model)
    random = np.random.default_rng(0)
    image = tf.constant(random.normal(size=(batch, size, size, 3)), tf.float32)
    mask = tf.constant(random.random((batch, size, size, 1)) > 0.99)
    targets = dict.fromkeys(model.output_names, tf.cast(mask, tf.float32))

    def step() -> tuple[float, float]:
        wall, processor = time.perf_counter(), time.process_time()
        model.train_on_batch(image, targets)
        return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)

    def answer(what: Any) -> None:
        print(json.dumps(what), flush=True)

    try:
        [step() for _ in range(3)]  # which trace and tune
    except tf.errors.OpError as error:
        answer(f"{type(error).__name__}: {error.message[:150]}")
        return
    answer("ready")
    for command in sys.stdin:
        kind, _, count = command.strip().partition(" ")
        if kind == "steps":
            answer([step() for _ in range(int(count))])
        elif kind == "profile":
            answer(profile(lambda count=int(count): [step() for _ in range(count)]))
        elif kind == "macs":
            answer(count_macs(build_model(config.model, size, "float32")))
        else:
            answer(matrix_peak("bfloat16" if half else precision))


class Worker:
    """A process that serves one row.

    Raises:
        RuntimeError: The row does not run on this machine; says why.
    """

    def __init__(self, settings: dict[str, Any], options: argparse.Namespace):
        command = [sys.executable, __file__, "--serve", json.dumps(settings)]
        command += ["--preset", options.preset, "--batch", str(options.batch)]
        onednn = "1" if settings.get("onednn", True) else "0"
        self.process = subprocess.Popen(
            command,
            env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        state = self.receive()
        if state != "ready":
            self.end()
            raise RuntimeError(state)

    def send(self, command: str) -> None:
        """Gives a command."""
        print(command, file=self.process.stdin, flush=True)

    def receive(self) -> Any:
        """Waits for the answer."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise RuntimeError(f"ended with status {self.process.wait()}: {self.process.args}")
        return json.loads(line)

    def ask(self, command: str) -> Any:
        """Gives a command and waits for the answer."""
        self.send(command)
        return self.receive()

    def end(self) -> None:
        """Ends the process."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()


def print_speeds(options: argparse.Namespace) -> None:
    """Prints the table of the rows, and that of two trainings at once."""
    workers: dict[str, Worker] = {}
    failures: dict[str, str] = {}
    for row in options.rows:
        try:
            workers[row] = Worker(ROWS[row], options)
        except RuntimeError as error:
            failures[row] = str(error)
    cores = range(2) if len(CORES) > 1 else ()
    pair = [Worker({**BFLOAT, "cores": 1, "core": core}, options) for core in cores]
    times: dict[str, list[list[float]]] = {row: [] for row in workers}
    peaks: dict[str, list[float]] = {row: [] for row in workers}
    both: list[list[float]] = []
    for _ in range(options.rounds):
        for row, worker in workers.items():
            times[row] += worker.ask(f"steps {options.steps}")
            peaks[row].append(worker.ask("peak"))
        for worker in pair:
            worker.send(f"steps {options.steps}")
        for worker in pair:
            both += worker.receive()
    print(
        "| | ms a step | processor ms | slices/s | G multiply-adds/s | machine's peak | share |\n"
        "|---|---:|---:|---:|---:|---:|---:|"
    )
    macs = next(iter(workers.values())).ask("macs")
    for row in workers:
        peak = median(peaks[row])
        wall, busy = np.median(times[row], axis=0)
        rate = 3 * macs * options.batch / wall / 1e6
        print(
            f"| {row} | {wall:.0f} | {busy:.0f} | {1e3 * options.batch / wall:.1f} | {rate:.0f} | "
            f"{peak / 1e9:.0f} | {1e9 * rate / peak:.0%} |"
        )
    if both:
        wall, busy = np.median(both, axis=0)
        slices = 2e3 * options.batch / wall
        print(f"| mixed_bfloat16, two at once | {wall:.0f} | {busy:.0f} | {slices:.1f} | | | |")
    print(f"\n{macs / 1e9:.2f} G multiply-adds a slice forth")
    for row, failure in failures.items():
        print(f"{row} does not run here: {failure}")
    for worker in (*workers.values(), *pair):
        worker.end()


def print_profile(row: str, options: argparse.Namespace) -> None:
    """Prints where a step's time goes, on one core: there operations do not overlap."""
    worker = Worker({**ROWS[row], "cores": 1}, options)
    events = worker.ask(f"profile {options.steps}")
    worker.end()
    kinds: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    layers: Counter[str] = Counter()
    for name, milliseconds in events:
        path, _, kind = name.rpartition(":")
        kinds[kind] += milliseconds
        counts[kind] += 1
        parts = path.removeprefix("gradient_tape/").split("/")
        inside = len(parts) > 1 and parts[0].startswith("agd_autoencoder")
        layers[parts[1] if inside else parts[0].rstrip("0123456789_")] += milliseconds
    total = sum(kinds.values())
    for title, table in (("kind of operation", kinds), ("layer, forth and back", layers)):
        print(f"\n{row}, one core\n\n| {title} | share of the step | a step |\n|---|---:|---:|")
        for name, milliseconds in table.most_common(options.top):
            count = counts[name] // options.steps if table is kinds else ""
            print(f"| {name} | {milliseconds / total:.1%} | {count} |")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="agd_small")
    parser.add_argument("--batch", type=int, help="slices in a batch; default: the preset's")
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--profile", nargs="*", choices=list(ROWS), default=["mixed_bfloat16"])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each row")
    parser.add_argument("--steps", type=int, default=5, help="steps in a turn")
    parser.add_argument("--top", type=int, default=12, help="operations and layers to list")
    parser.add_argument("--serve", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.preset, options.batch)
        return
    from agd_keras.config import make_config
    from agd_keras.runs.environment import describe_environment
    from agd_keras.training.precision import resolve_precision

    options.batch = options.batch or make_config({"preset": options.preset}).training.batch_size
    where = describe_environment(resolve_precision("auto"))
    versions = ", ".join(f"{name} {where['packages'][name]}" for name in ("tensorflow", "keras"))
    print(f"{options.preset}, batch {options.batch}; {where['processor']}, {where['cores']} cores;")
    print(f"`auto` is {where['precision']}; ", end="")
    print(f"{versions}; commit {where['commit']}; medians of {options.rounds * options.steps}\n")
    if options.rows:
        print_speeds(options)
    for row in options.profile:
        print_profile(row, options)


if __name__ == "__main__":
    main()
