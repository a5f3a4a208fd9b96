"""A model on TensorFlow Serving, used as the one in a file."""

import io
import json
import re
from collections.abc import Collection

import numpy as np
from PIL import Image

from agd_keras.data.preprocess import CLIP, NORMALIZATIONS, resize_probability
from agd_keras.data.preprocessor import MAX_SIDE, Preprocessor, preprocessor_for
from agd_keras.errors import InputError
from agd_keras.evaluation.reliability import scale_temperature
from agd_keras.inference.answers import check_answer
from agd_keras.inference.calibration import Calibration
from agd_keras.inference.client_grpc import GrpcClient
from agd_keras.inference.client_rest import RestClient, without_password
from agd_keras.inference.exported import CALIBRATION, NORMALIZATION, PREPROCESSOR, RECORD
from agd_keras.io.case import CHANNELS
from agd_keras.text import clean

EXPECTED = "expected http://HOST:8501/v1/models/NAME or grpc://HOST:8500/NAME"
_REST = re.compile(r"https?://[^/?#\s]+/v1/models/[^/:?#\s]+(/versions/\d+|/labels/[^/:?#\s]+)?/?")
_GRPC = re.compile(r"grpc://(?P<host>[^/?#\s]+)/(?P<name>[^/:?#\s]+)(/(?P<version>\d{1,18}))?/?")
_ROW = {"x": np.zeros(1, np.float32)}  # what is asked for a record
_ROUNDED = 1e-4  # what digits left out can add to a probability
# By signature: the names of its input and of the output with the probability of tumour.
NAMES = {"model": ("image", "mask"), "encoded": ("image_bytes", "probability")}


def connect(url: str, timeout: float = 60) -> RestClient | GrpcClient:
    """Makes the client that an address asks for, without a word to the server yet.

    Args:
        url: `http://HOST:8501/v1/models/NAME` or `grpc://HOST:8500/NAME`. A version may follow:
            `/versions/3`, or `/3` with gRPC.
        timeout: Seconds to wait for each answer.

    Returns:
        Something with `signatures()` and `predict(signature, inputs, output)`.

    Raises:
        InputError: The address has another form, or its protocol is not installed.

    Example:

    >>> connect("http://localhost:8501/v1/models/agd").url
    'http://localhost:8501/v1/models/agd'
    """
    if _REST.fullmatch(url):
        return RestClient(url, timeout)
    if match := _GRPC.fullmatch(url):
        version = match["version"]
        return GrpcClient(match["host"], match["name"], int(version) if version else None, timeout)
    raise InputError(f"--server {without_password(url)}: {EXPECTED}")


class ServingClient:
    """Predicts the tumour in all slices of a patient, on a server.

    Args:
        url: As for `connect`.
        signature: `model` sends slices that were normalised over the patient and resized here, as
            `Predictor` does it, applies the served model's temperature here, and gives the same
            probabilities. `encoded` sends each slice as a PNG, from which the server knows nothing
            of the patient's other slices, and applies the temperature there. `model` is also the
            smaller of the two, answer included.
        batch_size: Slices in a request.
        timeout: Seconds to wait for each answer.

    Its `calibration` and `preprocessor` are those of the served model; temperature 1 and threshold
    0.5 if it has none.

    Raises:
        InputError: There is no such server or model, or the model lacks the signature.

    Example:

    >>> client = ServingClient("grpc://localhost:8500/agd")  # doctest: +SKIP
    >>> client.predict_patient(images).shape  # doctest: +SKIP
    (34, 256, 256)
    """

    def __init__(
        self, url: str, signature: str = "model", batch_size: int = 8, timeout: float = 60
    ):
        if signature not in NAMES:
            raise InputError(f"signature {signature!r}: expected one of {', '.join(NAMES)}")
        self.client = connect(url, timeout)
        self.signature, self.batch_size = signature, batch_size
        self.input, self.output = NAMES[signature]
        offered = self.client.signatures()
        shape = offered.get(signature, {}).get(self.input)
        if shape is None:
            raise InputError(
                f"{self.client.url}: expected a model exported by agd-export, with the signature "
                f"{signature!r} and its input {self.input!r}; found {', '.join(sorted(offered))}"
            )
        self.image_size = None
        if signature == "model":
            _, height, width, channels = shape if len(shape) == 4 else (0, 0, 0, 0)
            if height != width or channels != 3 or not 1 <= height <= MAX_SIDE:
                raise InputError(
                    f"{self.client.url}: expected an input of 3 channels and the same height and "
                    f"width, at most {MAX_SIDE}, found {clean(shape)}"
                )
            self.image_size = height
        self.calibration = self._read_calibration() if CALIBRATION in offered else Calibration()
        self.preprocessor = self._read_preprocessor(offered)

    def predict_patient(self, images: np.ndarray) -> np.ndarray:
        """Predicts the probability of tumour at every pixel of a patient's slices.

        Args:
            images: Array of shape `(slices, height, width, 3)`: pre-contrast, FLAIR, post-contrast,
                all slices of one patient, any real type.

        Returns:
            Float32 array of shape `(slices, height, width)`, values 0 to 1.

        Raises:
            InputError: The server is out of reach, refuses a request, or answers something else
                than probabilities.
        """
        shape = images.shape[1:3]
        if self.image_size:
            rows = self.preprocessor.prepare(images)
        else:
            pictures = _bytes_of(images, self.preprocessor)
            rows = np.array([*map(_png, pictures)], dtype=object)
        probability = np.empty(images.shape[:3], np.float32)
        for start in range(0, len(images), self.batch_size):
            batch = {self.input: rows[start : start + self.batch_size]}
            size = (self.image_size,) * 2 if self.image_size else shape
            expected = (len(batch[self.input]), *size, 1)
            answer = self.client.predict(self.signature, batch, self.output, expected)
            check_answer({self.output: answer}, expected, self.client.url, self.output)
            answer = answer.clip(0, 1)  # averages may pass the ends by rounding
            for offset, plane in enumerate(answer[..., 0]):
                resized = resize_probability(plane, shape)
                if self.image_size:  # otherwise the server did it
                    resized = scale_temperature(resized, self.calibration.temperature)
                probability[start + offset] = resized
        return probability

    def _read_calibration(self) -> Calibration:
        try:
            temperature = self._read(CALIBRATION, "temperature")
            return Calibration(temperature, self._read(CALIBRATION, "threshold"))
        except ValueError as error:
            raise InputError(f"{self.client.url}: expected a calibration ({error})") from None

    def _read_preprocessor(self, offered: Collection[str]) -> Preprocessor:
        shape = (None, self.image_size, self.image_size, len(CHANNELS))
        try:
            if PREPROCESSOR in offered:
                codes = self.client.predict(PREPROCESSOR, _ROW, RECORD)
                found = Preprocessor.from_values(json.loads(bytes(codes[0].astype(np.uint8))))
            else:
                number = self._read(NORMALIZATION, NORMALIZATION) if NORMALIZATION in offered else 0
                if number not in range(len(NORMALIZATIONS)):
                    raise InputError(f"unknown normalization {number:g}")
                found = preprocessor_for(shape, NORMALIZATIONS[int(number)])
            found.check_network(shape)
        except InputError as error:
            told = str(error).startswith(self.client.url)
            raise error if told else InputError(f"{self.client.url}: {error}") from None
        except (ValueError, AttributeError, IndexError, RecursionError) as error:
            line = f"{self.client.url}: expected a preprocessor ({clean(error)})"
            raise InputError(line) from None
        return found

    def _read(self, signature: str, name: str) -> float:
        return float(self.client.predict(signature, _ROW, name, (1,)).item())


def _bytes_of(images: np.ndarray, preprocessor: Preprocessor) -> np.ndarray:
    """Images of any type as 8 bits, losing no more than normalisation does."""
    if images.dtype == np.uint8:
        return images
    normalized = preprocessor.normalize(images)
    return np.round((normalized + CLIP) * (255 / (2 * CLIP))).astype(np.uint8)


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()
