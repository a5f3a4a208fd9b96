"""A SavedModel that takes images as they are, for TensorFlow Serving and everything like it."""

import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from agd_keras.data.preprocessor import Preprocessor, preprocessor_for
from agd_keras.export.bundle import (
    BATCHING,
    BATCHING_FILE,
    find_versions,
    next_version,
    write_warmup,
)
from agd_keras.export.graph import OVER_IMAGE, OVER_PATIENT, segment
from agd_keras.export.network import freeze
from agd_keras.export.parity import measure_parity
from agd_keras.export.release import check_out, describe, load_source, staging, write_records
from agd_keras.files import without_patterns, write_text
from agd_keras.inference.exported import (
    CALIBRATION,
    PREPROCESSOR,
    RECORD,
    SIGNATURE,
    load_artefact,
)
from agd_keras.region_masks import drop_axis

PICTURES = (1, 3)  # channels that a PNG or JPEG has, grey or in colour
Function = Callable[..., dict[str, tf.Tensor]]
USAGE = """
| signature | input | outputs |
|---|---|---|
| `serving_default` | `image` float32 `(batch, height, width, {channels})` | `probability` float32, `mask` uint8 0 or 1: `(batch, height, width, 1)` |
| `uint8` | `image` uint8, the same shape | the same |
| `encoded` | `image_bytes` string `(batch,)`: PNG or JPEG, all of one size; of 1 or 3 channels only | the same |
| `patient` | `image` float32 `(patients, slices, height, width, {channels})` | the same, `(patients, slices, height, width, 1)` |
| `model` | `image` float32 `(batch, {size}, {size}, {channels})`, normalised | {outputs}: float32 `(batch, {size}, {size}, 1)` |
| `calibration` | `x` float32 `(batch,)`, any values | `temperature` and `threshold`, float32 `(batch,)`: how the probability of `model` is to be read |
| `preprocessor` | the same | `json`, uint8 `(batch, length)`: the bytes of `preprocessor.json`, which tells how the input of `model` is made |

Images have any size and any positive scale: they are normalised, resized and brought back within
the graph. **`patient` gives what the model was trained for**: intensities are normalised over all
slices of a patient, sent together. The signatures of single images have but the image to go by,
which finds less of the tumour: see `patient` and `serving_default` in the table of Dice below.
"""  # noqa: E501


def make_signatures(
    model: keras.Model,
    threshold: float = 0.5,
    temperature: float = 1.0,
    preprocessor: Preprocessor | None = None,
) -> dict[str, Function]:
    """Makes the functions that a SavedModel answers with.

    Args:
        model: A float32 model made by `agd_autoencoder`.
        threshold: A pixel is tumour at or above this probability, 0 to 1.
        temperature: What the logits of the probability are scaled by, above 0.
        preprocessor: What makes the network's input. Default: that of a model without one.

    Returns:
        `tf.function` by name of the signature: `serving_default`, `uint8` and `encoded` for single
        images, `patient` for stacks, `model` for network input, `calibration` for the temperature
        and threshold that `model` leaves to the client, `preprocessor` for what makes its input.
        The first dimension is the batch, and no row of it depends on another, so that a server may
        batch requests as it likes.

    Example:

    >>> from agd_keras.models import agd_autoencoder
    >>> signatures = make_signatures(agd_autoencoder((32, 32, 3), filters=(4, 8)))
    >>> signatures["uint8"](tf.zeros((1, 50, 40, 3), tf.uint8))["mask"].shape
    TensorShape([1, 50, 40, 1])
    """
    preprocessor = preprocessor or preprocessor_for(model.input_shape)
    record = tf.io.decode_raw(json.dumps(preprocessor.to_values()), tf.uint8)
    size, channels = preprocessor.image_size, len(preprocessor.channels)

    def signature(function: Function, name: str, *shape: int | None, dtype=tf.float32) -> Function:
        return tf.function(function, input_signature=[tf.TensorSpec(shape, dtype, name)])

    network = signature(freeze(model), "image", None, size, size, channels)

    def image(image):
        return segment(network, preprocessor, image, threshold, OVER_IMAGE, temperature)

    def decode(content):
        # Takes PNG and JPEG alike, and has a fixed rank, unlike `decode_image`.
        return tf.io.decode_png(content, channels)

    def encoded(image_bytes):
        spec = tf.TensorSpec((None, None, channels), tf.uint8)
        return image(tf.map_fn(decode, image_bytes, fn_output_signature=spec))

    def patient(image):
        return segment(network, preprocessor, image, threshold, OVER_PATIENT, temperature)

    def calibration(x):
        zero = tf.zeros_like(x)
        return {"temperature": zero + temperature, "threshold": zero + threshold}

    def prepared_by(x):
        return {RECORD: tf.tile(record[None], (tf.shape(x)[0], 1))}

    made = {
        "serving_default": signature(image, "image", None, None, None, channels),
        "uint8": signature(image, "image", None, None, None, channels, dtype=tf.uint8),
        "patient": signature(patient, "image", None, None, None, None, channels),
        SIGNATURE: network,
        CALIBRATION: signature(calibration, "x", None),
        PREPROCESSOR: signature(prepared_by, "x", None),
    }
    if channels in PICTURES:
        made["encoded"] = signature(encoded, "image_bytes", None, dtype=tf.string)
    return made


def write_saved_model(folder: Path, signatures: dict[str, Function]) -> None:
    """Writes a SavedModel with tag `serve` that has these signatures and nothing else.

    Raises:
        OSError: It cannot be written; names the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with without_patterns(folder) as plain:
            tf.saved_model.save(tf.Module(), str(plain), signatures=signatures)
    except tf.errors.OpError as error:  # such as of a full disk
        reason = error.message.rpartition("; ")[2]
        raise OSError(None, reason, str(folder)) from error


def export_saved_model(
    model: str | Path,
    out: str | Path,
    data: str | Path | None = None,
    version: int | None = None,
    threshold: float | None = None,
    max_drop: float = 0.005,
) -> Path:
    """Exports a trained model for TensorFlow Serving.

    Normalisation, resizing and the way back to the input's size are in the graph, see
    `make_signatures`. Single images are normalised by themselves. A patient's slices normalised
    together, as in training, are what the signature `patient` is for; `parity.json` has the Dice
    of either.

    Args:
        model: A `.keras` file, or a run folder, whose folds are averaged.
        out: The served model's folder, whose name is the model's name on the server. Gets
            `<version>/` with graph, weights, warm-up records, `MODEL_CARD.md` and `parity.json`,
            and beside the versions `batching.txt`.
        data: Data for the comparison with the Keras model; by default that of the run.
        version: A number that is not taken; by default the one after the highest.
        threshold: A pixel is tumour at or above this probability, 0 to 1. Default: the model's.
        max_drop: Largest loss of Dice against the Keras model, 0 to 1.

    Returns:
        The version's folder.

    Raises:
        InputError: Model, data or folder cannot be used, or too much Dice is lost.

    Example:

    >>> export_saved_model("runs/first", "served/agd")  # doctest: +SKIP
    PosixPath('served/agd/1')
    """
    out = Path(out)
    check_out(out, (BATCHING_FILE, *map(str, find_versions(out))), overwrite=True)
    number = next_version(out, version)
    source = load_source(model, data)
    size, _, channels = source.preprocessor.input_shape
    calibration = source.calibrate(threshold)
    reading = (calibration.threshold, calibration.temperature, source.preprocessor)
    signatures = make_signatures(source.model, *reading)
    with staging(out) as work:
        folder = work / str(number)
        write_saved_model(folder, signatures)
        write_warmup(folder, out.absolute().name, warmup_requests(source.preprocessor))
        write_records(folder, calibration, source.preprocessor)
        write_text(work / BATCHING_FILE, BATCHING)
        parity = measure_parity(
            source.model,
            load_artefact(folder),
            source.samples,
            folder,
            *reading,
            served=served_signatures(folder),
        )
        parity = {"artefact": f"{out.absolute().name}/{number}", "format": "saved_model", **parity}
        outputs = " and ".join(f"`{name}`" for name in sorted(source.model.output))
        usage = USAGE.format(size=size, outputs=outputs, channels=channels)
        describe(folder, source, parity, max_drop, f"{out}/{number}", usage)
    return out / str(number)


def warmup_requests(preprocessor: Preprocessor) -> dict[str, dict[str, np.ndarray]]:
    """Makes a small request for each signature, of one row.

    Args:
        preprocessor: What makes the network's input.

    Returns:
        Inputs by name, by signature.
    """
    image = np.zeros((1, *preprocessor.input_shape), np.uint8)
    requests: dict[str, dict[str, np.ndarray]] = {
        "serving_default": {"image": image.astype(np.float32)},
        "uint8": {"image": image},
        "patient": {"image": image[None].astype(np.float32)},
        SIGNATURE: {"image": image.astype(np.float32)},
        CALIBRATION: {"x": np.zeros(1, np.float32)},
        PREPROCESSOR: {"x": np.zeros(1, np.float32)},
    }
    if image.shape[-1] in PICTURES:
        picture = tf.io.encode_png(image[0]).numpy()
        requests["encoded"] = {"image_bytes": np.array([picture], object)}
    return requests


def served_signatures(folder: Path) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Loads the signatures for images as functions for `measure_parity`.

    Args:
        folder: The version's folder.

    Returns:
        By name of the signature, functions of a patient's images,
        `(slices, height, width, channels)`, that return the probabilities,
        `(slices, height, width)`, with an axis for the regions at the end where there are several.
    """
    with without_patterns(folder) as plain:
        loaded = tf.saved_model.load(str(plain))

    def single_images(images: np.ndarray) -> np.ndarray:
        serve = loaded.signatures["serving_default"]
        answers = [serve(image=tf.cast(one[None], tf.float32)) for one in images]
        return np.concatenate([drop_axis(answer["probability"].numpy()) for answer in answers])

    def patient(images: np.ndarray) -> np.ndarray:
        answer = loaded.signatures["patient"](image=tf.cast(images[None], tf.float32))
        return drop_axis(answer["probability"][0].numpy())

    return {"serving_default": single_images, "patient": patient}
