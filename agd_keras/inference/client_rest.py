"""TensorFlow Serving's REST protocol: what a request and an answer look like as JSON."""

import base64
import json
import re
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from agd_keras.errors import InputError
from agd_keras.inference.http import exchange
from agd_keras.text import clean

# Bytes of an answer: for each number that is asked for, of up to four outputs, in JSON with
# indentation; and some for the names. What nobody can foresee stays within `MOST`.
PER_NUMBER, SPARE, MOST = 128, 2**20, 2**27


class RestClient:
    """Speaks to one served model over HTTP.

    Args:
        url: `http://HOST:PORT/v1/models/NAME`; `/versions/NUMBER` or `/labels/LABEL` may follow,
            and `NAME:PASSWORD@` may stand ahead of the host.
        timeout: Seconds to wait for each answer, tries again included.
        retries: Further tries where the server is out of reach or busy; waits double, from half a
            second.

    Its `url` is what messages name: without the password.

    Reference:
        https://www.tensorflow.org/tfx/serving/api_rest

    Example:

    >>> client = RestClient("http://localhost:8501/v1/models/agd")  # doctest: +SKIP
    """

    def __init__(self, url: str, timeout: float = 60, retries: int = 4):
        self.url = without_password(url.rstrip("/"))
        self.timeout, self.retries = timeout, retries
        self._address = url.rstrip("/")

    def signatures(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Asks what the model takes.

        Returns:
            Shapes of the inputs by name, by signature; -1 where any size is taken.

        Raises:
            InputError: There is no such server or model.
        """
        answer = self._send("GET", "/metadata", most=SPARE)
        try:
            signatures = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: {key: _shape(info) for key, info in signature["inputs"].items()}
                for name, signature in signatures.items()
                if signature["inputs"]
            }
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise InputError(f"{self.url}: expected metadata of a served model") from None

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        output: str,
        shape: tuple[int, ...] | None = None,
    ) -> np.ndarray:
        """Sends one batch.

        The request is in rows, since in columns the server puts each number of its answer on a line
        of its own. It always sends every output.

        Args:
            signature: Name of the signature.
            inputs: Batches by name of the input; bytes as an array of objects.
            output: Name of the output that is wanted.
            shape: Its shape, where that is known: answers of others, or far larger, are refused.

        Returns:
            That output, an array whose first axis is the batch.

        Raises:
            InputError: The server is out of reach, refuses the request or answers something else.
        """
        names = list(inputs)
        rows = [
            {name: _to_json(value) for name, value in zip(names, row, strict=True)}
            for row in zip(*inputs.values(), strict=True)
        ]
        body = json.dumps({"signature_name": signature, "instances": rows})
        most = MOST if shape is None else SPARE + PER_NUMBER * prod(shape)
        return read_answer(self._send("POST", ":predict", body, most), output, self.url, shape)

    def _send(self, method: str, path: str, body: str | None = None, most: int = MOST) -> Any:
        limits: dict[str, Any] = {"timeout": self.timeout, "retries": self.retries, "most": most}
        address = f"{self._address}{path}"
        status, answer = exchange(method, address, body, shown=self.url, **limits)
        try:
            content = json.loads(answer)
        except (ValueError, RecursionError):
            raise InputError(
                f"{self.url}: expected TensorFlow Serving, got status {status} and no JSON"
            ) from None
        if status == 404:
            raise InputError(f"{self.url}: no such model on the server ({_error(content)})")
        if status != 200:
            raise InputError(f"{self.url}: status {status} ({_error(content)})")
        return content


def without_password(url: str) -> str:
    """Leaves out of an address what is nobody's business: name and password, and a query.

    Example:

    >>> without_password("http://me:secret@host:8501/v1/models/agd")
    'http://host:8501/v1/models/agd'
    """
    return re.sub(r"^(\w+://)?.*@", r"\1", re.split(r"[?#]", url)[0], flags=re.DOTALL)


def read_answer(
    content: Any, output: str, url: str = "answer", shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """Takes one output out of an answer in rows (`predictions`) or columns (`outputs`).

    Args:
        content: The answer's JSON, parsed.
        output: Name of the output; the server leaves it out where there is but one.
        url: Names the server in an error.
        shape: The shape that it must have, if that is known.

    Returns:
        The output as an array, whose first axis is the batch.

    Raises:
        InputError: The answer has another form or lacks the output.

    Example:

    >>> read_answer({"predictions": [{"mask": [1, 0], "edge": [0, 0]}]}, "mask").tolist()
    [[1.0, 0.0]]
    >>> read_answer({"outputs": [[1, 0]]}, "mask").tolist()
    [[1.0, 0.0]]
    """
    try:
        if "predictions" in content:
            rows = content["predictions"]
            values = [row[output] if isinstance(row, dict) else row for row in rows]
        else:
            values = content["outputs"]
            values = values[output] if isinstance(values, dict) else values
        # As float64: of texts and numbers NumPy would make an array of the longest text's size.
        array = np.asarray(values, np.float64)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise InputError(f"{url}: expected an answer with the output {output!r}") from None
    return check_numbers(array, output, url, shape)


def check_numbers(
    array: np.ndarray, output: str, url: str, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """Returns an output as it is; `InputError` for what is no number, or of another shape."""
    if shape is not None and array.shape != shape:
        raise InputError(f"{url}: expected {output!r} of shape {shape}, got {array.shape}")
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise InputError(f"{url}: expected finite numbers in the output {output!r}")
    return array


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    if value.dtype == np.float32:
        # Text of a float32 needs no more digits, and four suffice for deviations of the tissue.
        return np.round(value.astype(np.float64), 4).tolist()
    return value.tolist()


def _shape(info: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(dim["size"]) for dim in info["tensor_shape"].get("dim", []))


def _error(content: Any) -> str:
    message = content.get("error", content) if isinstance(content, dict) else content
    return clean(message)
