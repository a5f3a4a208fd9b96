"""ONNX files, for ONNX Runtime, OpenVINO, browsers and the like."""

import warnings
from pathlib import Path
from typing import Any

import keras

from agd_keras.export.card import network_usage
from agd_keras.export.parity import PARITY, PATIENT, measure_parity
from agd_keras.export.patient import FILE as PATIENT_FILE
from agd_keras.export.patient import USAGE as PATIENT_USAGE
from agd_keras.export.patient import write_patient
from agd_keras.export.release import (
    CARD,
    RECORDS,
    Source,
    check_out,
    describe,
    load_source,
    staging,
    write_records,
)
from agd_keras.inference.exported import load_artefact, load_patient

FILE = "model.onnx"
NETWORK_FILE = "\n`model.onnx` is the network alone:\n\n"


def export_onnx(
    model: str | Path,
    out: str | Path,
    data: str | Path | None = None,
    threshold: float | None = None,
    max_drop: float = 0.005,
    overwrite: bool = False,
) -> Path:
    """Exports a trained model as two float32 ONNX files.

    `model.onnx` has the network's input and outputs. `patient.onnx` takes the images of a patient
    as they are, see `write_patient`.

    Args:
        model: A `.keras` file, or a run folder, whose folds are averaged.
        out: New folder, gets `model.onnx`, `patient.onnx`, `calibration.json`,
            `preprocessor.json`, `parity.json` and `MODEL_CARD.md`.
        data: Data for the comparison with the Keras model; by default that of the run.
        threshold: A pixel is tumour at or above this probability, 0 to 1. Default: the model's.
        max_drop: Largest loss of Dice against the Keras model, 0 to 1.
        overwrite: Replace an earlier export in that folder.

    Returns:
        The ONNX file of the network.

    Raises:
        InputError: Model, data or folder cannot be used, or too much Dice is lost.

    Example:

    >>> export_onnx("runs/first", "onnx")  # doctest: +SKIP
    PosixPath('onnx/model.onnx')
    """
    out = Path(out)
    ours = (FILE, PATIENT_FILE, PARITY, CARD, *RECORDS)
    check_out(out, ours, overwrite)
    source = load_source(model, data)
    with staging(out, ours, overwrite) as work:
        parity = write_onnx(source, work, threshold)
        network = network_usage(source.model, source.preprocessor)
        usage = PATIENT_USAGE + NETWORK_FILE + network
        describe(work, source, parity, max_drop, f"{out}/{FILE}", usage)
    return out / FILE


def write_onnx(source: Source, folder: Path, threshold: float | None) -> dict[str, Any]:
    """Writes both files of a model and the records beside them, and measures them.

    Args:
        source: The model.
        folder: The folder to write into.
        threshold: A pixel is tumour at or above this probability, 0 to 1. Default: the model's.

    Returns:
        What `parity.json` is to hold.

    Raises:
        InputError: The model cannot be converted.
    """
    file, whole = folder / FILE, folder / PATIENT_FILE
    source.model(keras.ops.zeros((1, *source.model.input_shape[1:])))  # or it cannot be traced
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="In the future `np.object`")
        source.model.export(file, format="onnx", verbose=False)
    calibration = source.calibrate(threshold)
    write_records(file, calibration, source.preprocessor)
    reading = (calibration.threshold, calibration.temperature, source.preprocessor)
    write_patient(source.model, whole, *reading)
    served = {PATIENT: load_patient(whole)}
    parity = measure_parity(
        *(source.model, load_artefact(file), source.samples, file), *reading, served=served
    )
    return {"artefact": FILE, "format": "onnx", "patient_bytes": whole.stat().st_size, **parity}
