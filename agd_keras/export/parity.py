"""How far an exported model is from the Keras model that it was made of."""

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from agd_keras.data.preprocess import resize_probability
from agd_keras.data.preprocessor import Preprocessor, preprocessor_for
from agd_keras.errors import InputError
from agd_keras.evaluation import scores
from agd_keras.evaluation.reliability import scale_temperature
from agd_keras.export.samples import Samples, read_prepared
from agd_keras.inference.answers import ask, check_answer
from agd_keras.inference.exported import find_version
from agd_keras.wording import counted

PARITY = "parity.json"
PATIENT = "patient"  # the signature for all slices of a patient
BATCH = 32
RUNS = 31  # odd, so that the median is one of them
NAMES = {"keras": "the Keras model", "artefact": "the exported model"}
PACKAGES = ("agd_keras", "keras", "tensorflow", "ai-edge-litert", "onnxruntime")


class Network(Protocol):
    """What a Keras model and an `Artefact` have in common."""

    @property
    def input_shape(self) -> tuple: ...

    @property
    def predict_on_batch(self) -> Callable[[np.ndarray], Mapping[str, np.ndarray]]: ...


def measure_parity(
    model: Network,
    artefact: Network,
    samples: Samples,
    file: str | Path,
    threshold: float = 0.5,
    temperature: float = 1.0,
    preprocessor: Preprocessor | None = None,
    served: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
) -> dict[str, Any]:
    """Compares an exported network with its original, slice by slice.

    Args:
        model: The Keras model.
        artefact: The exported network.
        samples: The data; each patient is normalised as a whole for both networks.
        file: File or folder whose bytes are counted.
        threshold: A pixel is tumour at or above this probability, 0 to 1.
        temperature: What the logits of the probability are scaled by, above 0.
        preprocessor: What makes the network's input. Default: that of a model without one.
        served: Further ways to the probabilities, by name: functions of a patient's uint8 images,
            `(slices, height, width, 3)`, that return `(slices, height, width)`.

    Returns:
        What `parity.json` holds. `difference`: largest and mean absolute difference of each output
        of the network, and of the probabilities of `patient` if it is served. `dice`:
        2·TP / (2·TP + FP + FN) over all pixels of all slices at their original size;
        `patient_dice`: its mean over patients; both for `keras`, `artefact` and each name of
        `served`. `latency_ms`: median of the network alone for a batch of one slice.

    Raises:
        InputError: A network answers something else than probabilities, outputs differ, or the
            original finds nothing of the tumour, which any artefact would do as well.
    """
    candidates = {"keras": model, "artefact": artefact}
    served = served or {}
    counts: dict[str, list[scores.Counts]] = {name: [] for name in (*candidates, *served)}
    largest: dict[str, float] = {}
    total: dict[str, float] = {}
    slices = 0
    preprocessor = preprocessor or preprocessor_for(model.input_shape)
    pixels: dict[str, int] = {}

    def compare(name: str, expected: np.ndarray, answer: np.ndarray) -> None:
        difference = np.abs(expected - answer)
        # NaN must not get lost in a comparison.
        largest[name] = float(np.maximum(largest.get(name, 0.0), difference.max()))
        total[name] = total.get(name, 0.0) + float(difference.sum(dtype=np.float64))
        pixels[name] = pixels.get(name, 0) + difference.size

    for images, prepared, truth in read_prepared(samples.scored, preprocessor):
        one = prepared[:1]
        outputs = {
            name: _predict(network, prepared, NAMES[name]) for name, network in candidates.items()
        }
        for name, probability in outputs["keras"].items():
            if name not in outputs["artefact"]:
                raise InputError(f"{NAMES['artefact']}: expected the output {name!r}")
            compare(name, probability, outputs["artefact"][name])
        slices += len(truth)
        found: dict[str, np.ndarray] = {}
        for name, output in outputs.items():
            mask = [resize_probability(one[..., 0], truth.shape[1:]) for one in output["mask"]]
            found[name] = scale_temperature(np.stack(mask), temperature)
        for name, predict in served.items():
            where = f"{NAMES['artefact']}, signature {name}"
            answer = {"probability": predict(images)}
            found[name] = check_answer(answer, truth.shape, where, "probability")["probability"]
        for name, probability in found.items():
            counts[name].append(scores.count(truth, probability >= threshold))
        if PATIENT in served:  # which normalises as Keras' way does; single images do not
            compare(PATIENT, found["keras"], found[PATIENT])
    dice = {name: scores.dice(sum(own, scores.Counts())) for name, own in counts.items()}
    if not sum(own.tp for own in counts["keras"]):
        raise InputError(
            f"{NAMES['keras']} finds no tumour in {slices} slices of {samples.data}: "
            "nothing to compare by; expected a trained model, and --data of the kind it is for"
        )
    return {
        "data": samples.data,
        "scored": samples.side,
        "patients": len(counts["keras"]),
        "slices": slices,
        "threshold": threshold,
        "temperature": temperature,
        "difference": {
            name: {"max": largest[name], "mean": total[name] / pixels[name]} for name in largest
        },
        "dice": dice,
        "patient_dice": {
            name: float(np.mean([scores.dice(one) for one in own])) for name, own in counts.items()
        },
        "bytes": _size(Path(file)),
        "latency_ms": {name: _latency(network, one) for name, network in candidates.items()},
        "cores": os.cpu_count(),
        "versions": _versions(),
    }


def refuse_drop(parity: Mapping[str, Any], max_drop: float, where: str) -> None:
    """Refuses an artefact that finds less of the tumour than its original.

    Its network must keep up, and its way from a patient's images, `patient`, where it has one.

    Args:
        parity: What `measure_parity` returned.
        max_drop: Largest loss of Dice, of all pixels or of the mean over patients, 0 to 1.
        where: The artefact, for the message.

    Raises:
        InputError: It loses more.

    Example:

    >>> dice = {"keras": 0.81, "artefact": 0.80}
    >>> refuse_drop({"dice": dice, "patient_dice": dice}, 0.02, "int8")
    """
    for measure in ("dice", "patient_dice"):
        dice = parity[measure]
        for name in ("artefact", PATIENT):
            # So that NaN is refused too.
            if name in dice and not dice["keras"] - dice[name] <= max_drop:
                raise InputError(
                    f"{where}: {measure} of {name} falls from {dice['keras']:.4f} to "
                    f"{dice[name]:.4f} on {parity['slices']} slices, expected a drop of at most "
                    f"{max_drop:g} (--max-drop); nothing was written"
                )


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # not every format needs each of them
            versions[name] = version(name)
    return versions


def _predict(network: Network, prepared: np.ndarray, where: str) -> dict[str, np.ndarray]:
    starts = range(0, len(prepared), BATCH)
    batches = [ask(network, prepared[start : start + BATCH], where) for start in starts]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _latency(network: Network, one: np.ndarray) -> float:
    """Median milliseconds of a batch, after a few for warming up."""
    times = []
    for _ in range(RUNS + 3):
        start = time.perf_counter()
        network.predict_on_batch(one)
        times.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(times[3:]), 3)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def read_parity(made: str | Path) -> dict[str, Any]:
    """Reads the `parity.json` of an export.

    Args:
        made: The file or the version's folder that was exported, or the folder it lies in: of
            several versions, the highest.

    Returns:
        Its content.
    """
    made = Path(made)
    folder = find_version(made) or (made if made.is_dir() else made.parent)
    return json.loads((folder / PARITY).read_text(encoding="utf-8"))


def parity_table(parity: Mapping[str, Any]) -> Any:
    """Makes a rich table of what `measure_parity` returned."""
    from rich.table import Table

    patients = counted(parity["patients"], parity["scored"].removesuffix("s"))
    compared = f"{counted(parity['slices'], 'slice')} of {patients}"
    table = Table(title=f"{compared} of {parity['data']}")
    for column in ("", "Dice", "mean Dice of patients", "ms a slice"):
        table.add_column(column, justify="right" if column else "left")
    for name, dice in parity["dice"].items():
        latency = parity["latency_ms"].get(name)
        figures = (f"{dice:.4f}", f"{parity['patient_dice'][name]:.4f}")
        table.add_row(name, *figures, "" if latency is None else f"{latency:.1f}")
    differences = (f"{name} {one['max']:.1e}" for name, one in parity["difference"].items())
    table.caption = f"largest difference: {', '.join(differences)}; {parity['bytes']:,} bytes"
    return table
