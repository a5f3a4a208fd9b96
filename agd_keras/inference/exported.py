"""Exported networks as something that a `Predictor` can call as it calls a Keras model."""

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from agd_keras.errors import InputError
from agd_keras.files import without_patterns
from agd_keras.region_masks import drop_axis
from agd_keras.run_layout import CONFIG, fold_models
from agd_keras.text import clean

SIGNATURE = "model"
CALIBRATION = "calibration"  # the signature that tells how to read the probability
PROBABILITY = "probability"  # the output of what takes images, as against network input
PREPROCESSOR, RECORD = "preprocessor", "json"  # how to make the network's input, and its output
NORMALIZATION = "normalization"  # the one that told of exports made before
SUFFIXES = (".tflite", ".onnx")
Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Artefact:
    """A network in a file of another kind than `.keras`.

    Args:
        input_shape: `(None, image_size, image_size, channels)`.
        predict_on_batch: Function of the network's input that returns its outputs by name.
    """

    input_shape: tuple[int | None, ...]
    predict_on_batch: Callable[[np.ndarray], Outputs]


def is_artefact(path: str | Path) -> bool:
    """Tells whether a path names a `.tflite` or `.onnx` file or a SavedModel folder.

    Example:

    >>> is_artefact("model.tflite"), is_artefact("model.keras")
    (True, False)
    """
    path = Path(path)
    return path.suffix.lower() in SUFFIXES or find_version(path) is not None


def find_version(folder: str | Path) -> Path | None:
    """Returns the SavedModel that a folder is, or the one of its highest version, or None.

    A run folder is none, whatever else lies in it: a SavedModel is a program, and only the one that
    was named is to run. Nor is a version that is a link to somewhere else.
    """
    folder = Path(folder)
    if (folder / CONFIG).exists() or fold_models(folder):
        return None
    if (folder / "saved_model.pb").is_file():
        return folder
    versions = [
        file.parent
        for file in folder.glob("*/saved_model.pb")
        if re.fullmatch(r"[0-9]{1,18}", file.parent.name) and not file.parent.is_symlink()
    ]
    return max(versions, key=lambda version: int(version.name), default=None)


def load_artefact(path: str | Path) -> Artefact:
    """Loads what `agd-export` wrote.

    Args:
        path: A `.tflite` or `.onnx` file, a SavedModel folder, or the folder of its versions, of
            which the highest is taken, as the server does.

    Returns:
        The network, averaged over the folds if it was made of several. The folder of a SavedModel
        can hold operations that read and write files: load only one that you trust.

    Raises:
        InputError: The file is missing, damaged, or was not made by `agd-export`.

    Example:

    >>> network = load_artefact("export/model.tflite")  # doctest: +SKIP
    """
    path = Path(path)
    loaders = {".tflite": _load_tflite, ".onnx": _load_onnx}
    loader = loaders.get(path.suffix.lower(), _load_saved_model)
    with _reading(path):
        return loader(path)


def is_patient(path: str | Path) -> bool:
    """Tells whether a path names an ONNX file that takes the images of a patient as they are.

    Raises:
        InputError: The file is missing or damaged.

    Example:

    >>> is_patient("model.tflite")
    False
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        return False
    with _reading(path):
        return PROBABILITY in {output.name for output in _open_onnx(path).get_outputs()}


def load_patient(
    path: str | Path,
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[int | None, ...]]:
    """Loads an ONNX file that holds the whole way from a patient's images to the probability.

    Args:
        path: The `patient.onnx` that `agd-export` wrote.

    Returns:
        Function of images `(slices, height, width, channels)`, all slices of one patient, that
        returns calibrated probabilities, float32 `(slices, height, width)`, with an axis for the
        regions at the end where there are several; and the shape of those images, None for any
        size.

    Raises:
        InputError: The file is missing or damaged.

    Example:

    >>> predict, shape = load_patient("export/patient.onnx")  # doctest: +SKIP
    """
    path = Path(path)
    with _reading(path):
        session = _open_onnx(path)

    def predict(images: np.ndarray) -> np.ndarray:
        (answer,) = session.run([PROBABILITY], {"image": np.asarray(images, np.float32)})
        return drop_axis(answer)

    (image,) = session.get_inputs()
    shape = tuple(side if isinstance(side, int) else None for side in image.shape)
    return predict, shape


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever a reader of model files raises into one line."""
    if not path.exists():
        raise InputError(f"{path}: expected a file or folder made by agd-export, found nothing")
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # whatever the file holds, the reader of it must not show through
        raise InputError(f"{path}: expected what agd-export writes ({clean(error)})") from None


def _load_saved_model(path: Path) -> Artefact:
    version = find_version(path)
    if version is None:
        raise InputError(f"{path}: expected a SavedModel folder with saved_model.pb")
    with without_patterns(version) as plain:
        layer = keras.layers.TFSMLayer(str(plain), call_endpoint=SIGNATURE)
    serve = layer.call_endpoint_fn
    (image,) = serve.structured_input_signature[1].values()

    def predict(batch: np.ndarray) -> Outputs:
        return {name: output.numpy() for name, output in layer(batch).items()}

    return _artefact(image.shape, serve.structured_outputs, predict)


def _load_tflite(path: Path) -> Artefact:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    runner = interpreter.get_signature_runner(SIGNATURE)
    shape = runner.get_input_details()["image"]["shape_signature"].tolist()
    turn = threading.Lock()  # an interpreter holds the tensors of one call; it has threads itself

    def predict(batch: np.ndarray) -> Outputs:
        with turn:
            return runner(image=batch)

    return _artefact(shape, runner.get_output_details(), predict)


def _open_onnx(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _load_onnx(path: Path) -> Artefact:
    session = _open_onnx(path)
    (image,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]

    def predict(batch: np.ndarray) -> Outputs:
        return dict(zip(names, session.run(names, {image.name: batch}), strict=True))

    return _artefact(image.shape, names, predict)


def _artefact(
    shape: Iterable[Any], outputs: Iterable[str], predict: Callable[[np.ndarray], Outputs]
) -> Artefact:
    _, *sizes = shape
    if "mask" not in outputs or not takes_slices((None, *sizes)):
        raise ValueError(
            "expected one input (batch, side, side, channels) of fixed size and an output "
            f"'mask', found an input (batch, {', '.join(map(str, sizes))}) and the outputs "
            f"{', '.join(sorted(outputs))}"
        )
    return Artefact((None, *sizes), predict)


def takes_slices(shape: Any) -> bool:
    """Tells whether a network's input is a batch of square slices.

    Example:

    >>> takes_slices((None, 128, 128, 3)), takes_slices((None, None, None, 3))
    (True, False)
    """
    # What any size would do for is -1, None or a name; of several inputs there is a list.
    if not isinstance(shape, tuple) or len(shape) != 4:
        return False
    _, height, width, channels = shape
    return isinstance(height, int) and 0 < height == width and isinstance(channels, int)
