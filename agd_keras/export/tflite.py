"""TFLite files for the LiteRT interpreter: phones, browsers, and the quickest on a CPU."""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import keras
import numpy as np
import tensorflow as tf

from agd_keras.data.preprocessor import Preprocessor, preprocessor_for
from agd_keras.errors import InputError
from agd_keras.export.card import network_usage
from agd_keras.export.parity import PARITY, measure_parity
from agd_keras.export.release import (
    CARD,
    RECORDS,
    check_out,
    describe,
    load_source,
    staging,
    write_records,
)
from agd_keras.export.samples import read_prepared
from agd_keras.export.saved_model import make_signatures, write_saved_model
from agd_keras.files import write_bytes
from agd_keras.inference.exported import SIGNATURE, load_artefact
from agd_keras.io.case_ref import CaseRef
from agd_keras.region_masks import drop_axis
from agd_keras.text import clean

Quantize = Literal["float32", "float16", "int8"]
FILE = "model.tflite"
IMAGES = "serving_default"
CALIBRATION_SLICES = 128
USAGE = """
Signature `serving_default`, for single images: input `image`, float32 `(batch, height, width,
{channels})` of any size and any positive scale; outputs `probability`, float32, and `mask`, uint8 0
or 1, of `(batch, height, width, 1)`. Each image is normalised by itself.

Signature `model`, for a patient's slices normalised together, which finds more of the tumour:
"""


def export_tflite(
    model: str | Path,
    out: str | Path,
    quantize: Quantize = "float32",
    data: str | Path | None = None,
    threshold: float | None = None,
    max_drop: float = 0.005,
    overwrite: bool = False,
) -> Path:
    """Exports a trained model as a TFLite file of built-in operators only.

    The file has the signature `model`, the network's input and outputs, always in float32, so that
    the caller has nothing to scale. In `float32` and `float16` it has also `serving_default`, which
    takes single images of any size: normalisation does not survive in 8 bits.

    Args:
        model: A `.keras` file, or a run folder, whose folds are averaged.
        out: New folder, gets `model.tflite`, `calibration.json`, `preprocessor.json`, `parity.json`
            and `MODEL_CARD.md`.
        quantize: `"float32"`; `"float16"`, weights of half the size; `"int8"`, weights and
            arithmetic in 8-bit integers whose ranges are taken from slices of training patients;
            activations that have no integer form, such as `elu`, stay in float32.
        data: Data for ranges and for the comparison with the Keras model; by default the run's.
        threshold: A pixel is tumour at or above this probability, 0 to 1. Default: the model's.
        max_drop: Largest loss of Dice against the Keras model, 0 to 1.
        overwrite: Replace an earlier export in that folder.

    Returns:
        The TFLite file.

    Raises:
        InputError: Model, data or folder cannot be used, the model needs an operator that is not
            built in, or too much Dice is lost.

    Example:

    >>> export_tflite("runs/first", "phone", quantize="int8")  # doctest: +SKIP
    PosixPath('phone/model.tflite')
    """
    out = Path(out)
    ours = (FILE, PARITY, CARD, *RECORDS)
    check_out(out, ours, overwrite)
    source = load_source(model, data)
    cases = source.samples.representative
    calibration = source.calibrate(threshold)
    reading = (calibration.threshold, calibration.temperature, source.preprocessor)
    content = convert(source.model, quantize, cases, *reading)
    check_operators(content)
    with staging(out, ours, overwrite) as work:
        file = work / FILE
        write_bytes(file, content)
        write_records(file, calibration, source.preprocessor)
        served = {} if quantize == "int8" else served_signatures(file)
        parity = measure_parity(
            *(source.model, load_artefact(file), source.samples, file), *reading, served=served
        )
        parity = {"artefact": FILE, "format": "tflite", "quantize": quantize, **parity}
        usage = network_usage(source.model, source.preprocessor)
        images = USAGE.format(channels=len(source.preprocessor.channels))
        usage = usage if quantize == "int8" else images + usage
        describe(work, source, parity, max_drop, f"{out}/{FILE} ({quantize})", usage)
    return out / FILE


def convert(
    model: keras.Model,
    quantize: Quantize,
    cases: Sequence[CaseRef],
    threshold: float = 0.5,
    temperature: float = 1.0,
    preprocessor: Preprocessor | None = None,
) -> bytes:
    """Converts a model to a TFLite file.

    Args:
        model: A float32 model made by `agd_autoencoder`.
        quantize: See `export_tflite`.
        cases: Representative cases; used for `"int8"`.
        threshold: A pixel is tumour at or above this probability, 0 to 1.
        temperature: What the logits of the probability are scaled by, above 0.
        preprocessor: What makes the network's input. Default: that of a model without one.

    Returns:
        The content of the file.

    Raises:
        InputError: `quantize` is unknown, or an operator is not built in.
    """
    if quantize not in get_args(Quantize):
        raise InputError(f"--quantize {quantize}: expected one of {', '.join(get_args(Quantize))}")
    names = [SIGNATURE] if quantize == "int8" else [IMAGES, SIGNATURE]
    preprocessor = preprocessor or preprocessor_for(model.input_shape)
    made = make_signatures(model, threshold, temperature, preprocessor)
    signatures = {name: made[name] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        # Not from the Keras model or with its exporter: they need operators of TensorFlow.
        write_saved_model(Path(folder), signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=names)
        if quantize != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize == "int8":
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            inputs = list(_calibration(cases, preprocessor))
            converter.representative_dataset = lambda: inputs
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=r"\s*Warning: tf.lite.Interpreter is")
                return converter.convert()
        except Exception as error:  # the converter has no errors of its own
            raise InputError(f"the model cannot be converted to TFLite ({clean(error)})") from error


def _calibration(
    cases: Sequence[CaseRef], preprocessor: Preprocessor
) -> Iterator[dict[str, np.ndarray]]:
    """Slices at even distances, one a batch."""
    stacks = [stack for _, stack, _ in read_prepared(list(cases), preprocessor)]
    prepared = np.concatenate(stacks)
    for one in prepared[:: max(1, len(prepared) // CALIBRATION_SLICES)]:
        yield {"image": one[None]}


def served_signatures(file: Path) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Loads the signature for single images, as that of the same name for a SavedModel does.

    Args:
        file: A TFLite file with signatures: not one of int8.

    Returns:
        By name of the signature a function of images, `(batch, height, width, 3)`, 0 to 255, that
        returns probabilities, float32 `(batch, height, width)`, with an axis for the regions at the
        end where there are several.
    """
    from ai_edge_litert.interpreter import Interpreter

    serve = Interpreter(str(file), num_threads=os.cpu_count()).get_signature_runner(IMAGES)

    def single_images(images: np.ndarray) -> np.ndarray:
        answers = [serve(image=one[None].astype(np.float32)) for one in images]
        return np.concatenate([drop_axis(answer["probability"]) for answer in answers])

    return {IMAGES: single_images}


def check_operators(content: bytes) -> None:
    """Refuses a TFLite file that needs more than a plain interpreter.

    Args:
        content: The file.

    Raises:
        InputError: It has custom operators, such as those of TensorFlow ("Flex").
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.Model.GetRootAs(content)
    codes = [graph.OperatorCodes(index) for index in range(graph.OperatorCodesLength())]
    custom = [c.CustomCode() for c in codes if c.BuiltinCode() == schema.BuiltinOperator.CUSTOM]
    if custom:
        names = ", ".join(sorted(name.decode() for name in custom))
        raise InputError(f"the model needs operators that LiteRT has not built in: {names}")
