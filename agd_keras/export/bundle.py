"""What TensorFlow Serving reads beside the graph: versions, warm-up records, batching."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from agd_keras.errors import InputError

WARMUP = "assets.extra/tf_serving_warmup_requests"
BATCHING_FILE = "batching.txt"
BATCHING = """\
# For --enable_batching --batching_parameters_file: requests that arrive within 5 ms go through the
# network together. A request then has at most 32 rows, and all requests images of one size:
# leave batching off for a server of several sizes, or of patients with `patient`.
max_batch_size { value: 32 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
allowed_batch_sizes: 1
allowed_batch_sizes: 4
allowed_batch_sizes: 8
allowed_batch_sizes: 16
allowed_batch_sizes: 32
"""


def next_version(folder: Path, version: int | None = None) -> int:
    """Returns the number of the next version of a served model.

    Args:
        folder: The model's folder, `<folder>/<version>/saved_model.pb`; it may be missing.
        version: The number that is wanted, if any.

    Returns:
        That number, or the one after the highest that is there, from 1.

    Raises:
        InputError: The number is not positive or is taken.

    Example:

    >>> next_version(Path("no/such/folder"))
    1
    """
    taken = find_versions(folder)
    if version is None:
        return max(taken, default=0) + 1
    if version < 1:
        raise InputError(f"--model-version {version}: expected a positive number")
    if version in taken:
        raise InputError(f"{folder}: version {version} is there already, and is never replaced")
    return version


def find_versions(folder: Path) -> list[int]:
    """Returns the numbers of the versions in a folder, in order."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(path.name) for path in found if path.name.isdecimal() and path.is_dir())


def write_warmup(
    folder: Path, name: str, requests: Mapping[str, Mapping[str, np.ndarray | tf.Tensor]]
) -> Path:
    """Writes requests that the server answers by itself before it takes those of clients.

    The first run of each signature is much slower than the others. A record that does not fit its
    signature keeps the server from loading the model.

    Args:
        folder: The version's folder.
        name: Name of the served model.
        requests: Inputs by name, by signature.

    Returns:
        The file.

    Reference:
        https://www.tensorflow.org/tfx/serving/saved_model_warmup
    """
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    path = folder / WARMUP
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())
    return path
