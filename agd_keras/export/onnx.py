"""An ONNX file, for ONNX Runtime, OpenVINO, browsers and the like."""

import warnings
from pathlib import Path

import keras

from agd_keras.export.card import network_usage
from agd_keras.export.parity import PARITY, measure_parity
from agd_keras.export.release import CARD, check_out, describe, load_source, staging
from agd_keras.inference.calibration import MEMBER, write_calibration
from agd_keras.inference.exported import load_artefact

FILE = "model.onnx"


def export_onnx(
    model: str | Path,
    out: str | Path,
    data: str | Path | None = None,
    threshold: float | None = None,
    max_drop: float = 0.005,
    overwrite: bool = False,
) -> Path:
    """Exports a trained model as a float32 ONNX file with the network's input and outputs.

    Args:
        model: A `.keras` file, or a run folder, whose folds are averaged.
        out: New folder, gets `model.onnx`, `calibration.json`, `parity.json` and `MODEL_CARD.md`.
        data: Data for the comparison with the Keras model; by default that of the run.
        threshold: A pixel is tumour at or above this probability, 0 to 1. Default: the model's.
        max_drop: Largest loss of Dice against the Keras model, 0 to 1.
        overwrite: Replace an earlier export in that folder.

    Returns:
        The ONNX file.

    Raises:
        InputError: Model, data or folder cannot be used, or too much Dice is lost.

    Example:

    >>> export_onnx("runs/first", "onnx")  # doctest: +SKIP
    PosixPath('onnx/model.onnx')
    """
    out = Path(out)
    ours = (FILE, PARITY, CARD, MEMBER)
    check_out(out, ours, overwrite)
    source = load_source(model, data)
    with staging(out, ours, overwrite) as work:
        file = work / FILE
        source.model(keras.ops.zeros((1, *source.model.input_shape[1:])))  # or it cannot be traced
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="In the future `np.object`")
            source.model.export(file, format="onnx", verbose=False)
        calibration = source.calibrate(threshold)
        write_calibration(file, calibration)
        reading = (calibration.threshold, calibration.temperature)
        parity = measure_parity(source.model, load_artefact(file), source.samples, file, *reading)
        parity = {"artefact": FILE, "format": "onnx", **parity}
        usage = network_usage(source.model)
        describe(work, source, parity, max_drop, f"{out}/{FILE}", usage)
    return out / FILE
