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
from agd_keras.region_masks import by_region
from agd_keras.regions import names_of
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
            `(slices, height, width, 3)`, that return `(slices, height, width)`, with an axis for
            the regions at its end where there are several.

    Returns:
        What `parity.json` holds. `difference`: largest and mean absolute difference of each output
        of the network, and of the probabilities of `patient` if it is served. `dice`:
        2·TP / (2·TP + FP + FN) over all pixels of all slices at their original size;
        `patient_dice`: its mean over patients; both for `keras`, `artefact` and each name of
        `served`. Of several regions both are of the first, and `regions` has them of each.
        `latency_ms`: median of the network alone for a batch of one slice.

    Raises:
        InputError: A network answers something else than probabilities, outputs differ, or the
            original finds nothing of the tumour, which any artefact would do as well.
    """
    candidates = {"keras": model, "artefact": artefact}
    served = served or {}
    regions = names_of(samples.scored[0].regions)
    # By way and case those of each region.
    counts: dict[str, list[list[scores.Counts]]] = {name: [] for name in (*candidates, *served)}
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
            name: _predict(network, prepared, NAMES[name], len(regions) or 1)
            for name, network in candidates.items()
        }
        for name, probability in outputs["keras"].items():
            if name not in outputs["artefact"]:
                raise InputError(f"{NAMES['artefact']}: expected the output {name!r}")
            compare(name, probability, outputs["artefact"][name])
        slices += len(truth)
        found: dict[str, np.ndarray] = {}
        for name, output in outputs.items():
            masks = [
                np.stack([resize_probability(one, truth.shape[1:3]) for one in planes])
                for planes in np.moveaxis(output["mask"], -1, 0)
            ]
            whole = np.stack(masks, axis=-1) if regions else masks[0]
            found[name] = scale_temperature(whole, temperature)
        for name, predict in served.items():
            where = f"{NAMES['artefact']}, signature {name}"
            answer = {"probability": predict(images)}
            found[name] = check_answer(answer, truth.shape, where, "probability")["probability"]
        for name, probability in found.items():
            pairs = zip(
                *(np.moveaxis(by_region(one), -1, 0) for one in (truth, probability)), strict=True
            )
            counts[name].append([scores.count(own, one >= threshold) for own, one in pairs])
        if PATIENT in served:  # which normalises as Keras' way does; single images do not
            compare(PATIENT, found["keras"], found[PATIENT])
    if not sum(own.tp for case in counts["keras"] for own in case):
        raise InputError(
            f"{NAMES['keras']} finds no tumour in {slices} slices of {samples.data}: "
            "nothing to compare by; expected a trained model, and --data of the kind it is for"
        )
    by_name = {name: _dice(counts, place) for place, name in enumerate(regions)}
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
        **_dice(counts, 0),
        **({"regions": by_name} if by_name else {}),
        "bytes": _size(Path(file)),
        "latency_ms": {name: _latency(network, one) for name, network in candidates.items()},
        "cores": os.cpu_count(),
        "versions": _versions(),
    }


def _dice(
    counts: Mapping[str, list[list[scores.Counts]]], region: int
) -> dict[str, dict[str, float]]:
    """Dice over all pixels, and its mean over patients, of each way to the mask of one region."""
    own = {name: [case[region] for case in cases] for name, cases in counts.items()}
    return {
        "dice": {name: scores.dice(sum(cases, scores.Counts())) for name, cases in own.items()},
        "patient_dice": {
            name: float(np.mean([scores.dice(one) for one in cases])) for name, cases in own.items()
        },
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
    parts = {f" for {region}": part for region, part in parity.get("regions", {}).items()}
    measures = [
        (region, measure, part[measure])
        for region, part in (parts or {"": parity}).items()
        for measure in ("dice", "patient_dice")
    ]
    for region, measure, dice in measures:
        for name in ("artefact", PATIENT):
            # So that NaN is refused too.
            if name in dice and not dice["keras"] - dice[name] <= max_drop:
                raise InputError(
                    f"{where}: {measure} of {name}{region} falls from {dice['keras']:.4f} to "
                    f"{dice[name]:.4f} on {parity['slices']} slices, expected a drop of at most "
                    f"{max_drop:g} (--max-drop); nothing was written"
                )


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # not every format needs each of them
            versions[name] = version(name)
    return versions


def _predict(
    network: Network, prepared: np.ndarray, where: str, regions: int
) -> dict[str, np.ndarray]:
    starts = range(0, len(prepared), BATCH)
    batches = [ask(network, prepared[start : start + BATCH], where, regions) for start in starts]
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


def dice_rows(parity: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Lists Dice over all pixels and mean Dice of patients of each way, of several regions by each.

    Args:
        parity: What `measure_parity` returned.

    Example:

    >>> both = {"dice": {"keras": 0.8}, "patient_dice": {"keras": 0.7}}
    >>> dice_rows(both), dice_rows({**both, "regions": {"core": both}})
    ([('keras', 0.8, 0.7)], [('keras, core', 0.8, 0.7)])
    """
    parts = {f", {name}": part for name, part in parity.get("regions", {}).items()}
    return [
        (f"{name}{region}", dice, part["patient_dice"][name])
        for region, part in (parts or {"": parity}).items()
        for name, dice in part["dice"].items()
    ]


def parity_table(parity: Mapping[str, Any]) -> Any:
    """Makes a rich table of what `measure_parity` returned."""
    from rich.table import Table

    patients = counted(parity["patients"], parity["scored"].removesuffix("s"))
    compared = f"{counted(parity['slices'], 'slice')} of {patients}"
    table = Table(title=f"{compared} of {parity['data']}")
    for column in ("", "Dice", "mean Dice of patients", "ms a slice"):
        table.add_column(column, justify="right" if column else "left")
    for name, dice, patient_dice in dice_rows(parity):
        latency = parity["latency_ms"].get(name.partition(",")[0])
        figures = (f"{dice:.4f}", f"{patient_dice:.4f}")
        table.add_row(name, *figures, "" if latency is None else f"{latency:.1f}")
    differences = (f"{name} {one['max']:.1e}" for name, one in parity["difference"].items())
    table.caption = f"largest difference: {', '.join(differences)}; {parity['bytes']:,} bytes"
    return table
