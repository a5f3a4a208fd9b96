"""Speed of prediction: milliseconds from the files of slices to their masks, by kind of artefact.

Each row runs in a process of its own, which does for a batch what `Predictor` does for a patient:

- `before`: read the files, normalise them together and resize them (`Preprocessor`);
- `network`: the network alone, by `keras` (`Model.predict`), `keras batch` (`predict_on_batch`),
  the SavedModel's signature `model`, TFLite and ONNX Runtime;
- `after`: back to the original size, the model's temperature and threshold.

`saved_model uint8` has all but the reading of files in its graph. Rounds of the rows take turns, so
that other work on the machine meets all of them; figures are medians, p95 is of single batches.
`processor` is the time of all threads together, which other work hardly changes.
Peak memory is what loading and running added to the process, Keras and TensorFlow left out. The
share of the machine's peak is that of the network's multiply-adds, beside a product of matrices.
About four minutes on two cores with nothing else on them.

    python benchmarks/inference.py --model runs/first --data data/kaggle_3m
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from agd_keras.data.preprocess import resize_probability
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.evaluation.reliability import scale_temperature
from agd_keras.io.image_files import read_image
from agd_keras.training.quiet import load_keras

PATIENT = 34  # slices of a patient of LGG
ROWS = {
    "keras": "model.keras",
    "keras batch": "model.keras",
    "saved_model": "saved_model",
    "saved_model uint8": "saved_model",
    "tflite float32": "float32.tflite",
    "tflite float16": "float16.tflite",
    "tflite int8": "int8.tflite",
    "onnx": "model.onnx",
}


def make_artefacts(model: str, data: str | None, folder: Path) -> dict[str, float]:
    """Writes all artefacts; returns multiply-adds: of the network, and of the machine a second."""
    import tensorflow as tf

    from agd_keras.export.release import load_source
    from agd_keras.export.saved_model import make_signatures, write_saved_model
    from agd_keras.export.tflite import convert

    source = load_source(model, data)
    source.model.save(folder / "model.keras")
    source.model.predict_on_batch(np.zeros((1, *source.model.input_shape[1:]), np.float32))
    source.model.export(folder / "model.onnx", format="onnx", verbose=False)
    own = source.calibration
    reading = (own.threshold, own.temperature)
    signatures = make_signatures(source.model, *reading, source.preprocessor)
    write_saved_model(folder / "saved_model", signatures)
    for quantize in ("float32", "float16", "int8"):
        content = convert(source.model, quantize, source.samples.representative)
        (folder / f"{quantize}.tflite").write_bytes(content)
    files = [str(path) for case in source.samples.scored for path in case.files]
    case = {"files": files, "reading": reading, "preprocessor": source.preprocessor.to_values()}
    (folder / "case.json").write_text(json.dumps(case))

    shape = (1, *source.model.input_shape[1:])
    one = tf.function(signatures["model"].python_function).get_concrete_function(
        tf.TensorSpec(shape, tf.float32)
    )
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    kinds = ["Conv2D", "Conv2DBackpropInput", "MatMul"]
    counted = builder(builder.float_operation()).with_accounted_types(kinds).with_empty_output()
    profile = tf.compat.v1.profiler.profile(one.graph, options=counted.build())
    operations = profile.total_float_ops
    return {"macs": operations / 2, "peak": matrix_peak()}


def matrix_peak(side: int = 2048, runs: int = 9) -> float:
    """Multiply-adds a second of a float32 product of matrices: the median of some."""
    import tensorflow as tf

    one = tf.random.normal((side, side))
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        tf.linalg.matmul(one, one).numpy()
        times.append(time.perf_counter() - start)
    return side**3 / statistics.median(times)


def make_network(row: str, path: Path) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """Function from network input, or images for `uint8`, to probabilities; and the input's side.

    A side of 0: normalising and resizing are within.
    """
    if row == "saved_model uint8":
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))
        serve = loaded.signatures["uint8"]

        def whole(images: np.ndarray, loaded=loaded) -> np.ndarray:  # the object must stay
            return serve(image=tf.constant(images))["mask"].numpy()

        return whole, 0
    from agd_keras.inference.predictor import load_predictor

    (model,) = load_predictor(path).models
    if row == "keras":
        return lambda batch: model.predict(batch, verbose=0)["mask"], model.input_shape[1]
    return lambda batch: model.predict_on_batch(batch)["mask"], model.input_shape[1]


def peak_memory() -> float:
    """Highest resident memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # the other figure begins at that of the parent process
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure_row(row: str, folder: Path, seconds: float) -> None:
    """Prints, as JSON, the milliseconds of each batch in three parts, and the memory."""
    import tensorflow  # noqa: F401  # so that its memory is not counted

    import agd_keras.inference.predictor  # noqa: F401

    case = json.loads((folder / "case.json").read_text())
    files, (threshold, temperature) = case["files"], case["reading"]
    preprocessor = Preprocessor.from_values(case["preprocessor"])
    before = peak_memory()
    network, size = make_network(row, folder / ROWS[row])

    def run(paths: list[str]) -> tuple[float, ...]:
        start, busy = time.perf_counter(), time.process_time()
        images = np.stack([read_image(path) for path in paths])
        prepared = preprocessor.prepare(images) if size else images
        ready = time.perf_counter()
        output = network(prepared)
        done = time.perf_counter()
        if size:
            shape = images.shape[1:3]
            for one in output:
                large = resize_probability(one[..., 0], shape)
                _ = scale_temperature(large, temperature) >= threshold
        end, busy = time.perf_counter(), time.process_time() - busy
        return tuple(1e3 * part for part in (ready - start, done - ready, end - done, busy))

    found: dict[str, object] = {}
    for count in (1, 32, PATIENT):
        batches = [np.take(files, range(i, i + count), mode="wrap") for i in range(len(files))]
        for _ in range(3):  # the first ones trace and tune
            run(list(batches[0]))
        times: list[tuple[float, ...]] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 5:
            times.append(run(list(batches[len(times) % len(batches)])))
        found[str(count)] = times
    print(json.dumps(found | {"memory": peak_memory() - before}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, help="a .keras file or a run folder")
    parser.add_argument("--data", help="`phantom` or a kaggle_3m folder (that of the run)")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=2, help="processes for each row")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each batch size in a round")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # row, folder
    options = parser.parse_args()
    if options.measure:
        measure_row(options.measure[0], Path(options.measure[1]), options.seconds)
        return
    load_keras()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        machine = make_artefacts(options.model, options.data, folder)
        found: dict[str, list[dict]] = {row: [] for row in options.rows}
        for _ in range(options.rounds):
            for row in options.rows:
                command = [sys.executable, __file__, "--model", options.model]
                command += ["--seconds", str(options.seconds), "--measure", row, str(folder)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found[row].append(json.loads(done.stdout.splitlines()[-1]))
    print_tables(found, machine)


def print_tables(found: dict[str, list[dict]], machine: dict[str, float]) -> None:
    """Prints one table for each batch size, and the patient's."""
    from agd_keras.runs.environment import describe_environment

    where = describe_environment("float32")
    macs, peak = machine["macs"], machine["peak"]
    print(
        f"{where['processor']}, {where['cores']} cores; network: {macs / 1e9:.2f} G multiply-adds"
    )
    print(f"a slice; machine: {peak / 1e9:.0f} G a second")
    columns = ("p50", "p95", "network", "before", "after", "before + after", "processor")
    columns = (*columns, "of peak", "memory MB")
    for count in (1, 32, PATIENT):
        print(f"\nbatch {count}, ms a slice" + (" (a patient)" if count == PATIENT else "") + "\n")
        print(f"| | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
        for row, rounds in found.items():
            times = np.concatenate([one[str(count)] for one in rounds]) / count
            total = times[:, :3].sum(axis=1)
            before, network, after, busy = np.median(times, axis=0)
            share = (before + after) / (before + network + after)
            used = macs / (network / 1e3) / peak
            memory = statistics.median(one["memory"] for one in rounds)
            figures = f"{np.median(total):.1f} | {np.percentile(total, 95):.1f} | {network:.1f}"
            parts = f"{before:.2f} | {after:.2f} | {share:.0%} | {busy:.1f}"
            print(f"| {row} | {figures} | {parts} | {used:.0%} | {memory:.0f} |")
        if count == PATIENT:
            fastest = min(
                np.median(np.concatenate([one[str(count)] for one in rounds])[:, :3].sum(axis=1))
                for rounds in found.values()
            )
            print(f"\na patient of {PATIENT} slices with the fastest: {fastest / 1e3:.2f} s")


if __name__ == "__main__":
    main()
