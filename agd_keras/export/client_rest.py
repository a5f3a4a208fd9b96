"""TensorFlow Serving's REST protocol: what a request and an answer look like as JSON."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import ReadTimeoutError

from agd_keras.errors import InputError

CONNECT = 5  # seconds; a host that drops packets never says no
REFUSED = (429, 503)  # too many requests, not ready: what a later try may get past


class RestClient:
    """Speaks to one served model over HTTP.

    Args:
        url: `http://HOST:PORT/v1/models/NAME`; `/versions/NUMBER` or `/labels/LABEL` may follow.
        timeout: Seconds to wait for each answer.
        retries: Further tries where the server is out of reach or busy; waits double, from half a
            second.

    Reference:
        https://www.tensorflow.org/tfx/serving/api_rest

    Example:

    >>> client = RestClient("http://localhost:8501/v1/models/agd")  # doctest: +SKIP
    """

    def __init__(self, url: str, timeout: float = 60, retries: int = 4):
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._session = requests.Session()
        again = _Again(
            retries,
            backoff_factor=0.5,
            status_forcelist=REFUSED,
            allowed_methods=None,  # POST too: a prediction changes nothing
            raise_on_status=False,
            respect_retry_after_header=False,  # which could be hours
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=again))

    def signatures(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Asks what the model takes.

        Returns:
            Shapes of the inputs by name, by signature; -1 where any size is taken.

        Raises:
            InputError: There is no such server or model.
        """
        answer = self._send("GET", f"{self.url}/metadata")
        try:
            signatures = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: {key: _shape(info) for key, info in signature["inputs"].items()}
                for name, signature in signatures.items()
                if signature["inputs"]
            }
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"{self.url}: expected metadata of a served model") from None

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray], output: str) -> np.ndarray:
        """Sends one batch.

        The request is in rows, since in columns the server puts each number of its answer on a line
        of its own. It always sends every output.

        Args:
            signature: Name of the signature.
            inputs: Batches by name of the input; bytes as an array of objects.
            output: Name of the output that is wanted.

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
        return read_answer(self._send("POST", f"{self.url}:predict", body), output, self.url)

    def _send(self, method: str, url: str, body: str | None = None) -> Any:
        try:
            limits = (CONNECT, self.timeout)
            answer = self._session.request(method, url, data=body, timeout=limits)
            content = answer.json()
        except requests.ReadTimeout:
            raise InputError(f"{self.url}: no answer within {self.timeout:g} s") from None
        except requests.exceptions.JSONDecodeError:
            raise InputError(
                f"{self.url}: expected TensorFlow Serving, got status {answer.status_code} "
                "and no JSON"
            ) from None
        except (requests.RequestException, ValueError) as error:
            raise InputError(f"{self.url}: no server ({_reason(error)})") from None
        if answer.status_code == 404:
            raise InputError(f"{self.url}: no such model on the server ({_error(content)})")
        if not answer.ok:
            raise InputError(f"{self.url}: status {answer.status_code} ({_error(content)})")
        return content


def read_answer(content: Any, output: str, url: str = "answer") -> np.ndarray:
    """Takes one output out of an answer in rows (`predictions`) or columns (`outputs`).

    Args:
        content: The answer's JSON, parsed.
        output: Name of the output; the server leaves it out where there is but one.
        url: Names the server in an error.

    Returns:
        The output as an array, whose first axis is the batch.

    Raises:
        InputError: The answer has another form or lacks the output.

    Example:

    >>> read_answer({"predictions": [{"mask": [1, 0], "edge": [0, 0]}]}, "mask").tolist()
    [[1, 0]]
    >>> read_answer({"outputs": [[1, 0]]}, "mask").tolist()
    [[1, 0]]
    """
    try:
        if "predictions" in content:
            rows = content["predictions"]
            values = [row[output] if isinstance(row, dict) else row for row in rows]
        else:
            values = content["outputs"]
            values = values[output] if isinstance(values, dict) else values
        array = np.asarray(values)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{url}: expected an answer with the output {output!r}") from None
    return check_numbers(array, output, url)


def check_numbers(array: np.ndarray, output: str, url: str) -> np.ndarray:
    """Returns an output as it is, or raises `InputError` if it holds anything but numbers."""
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise InputError(f"{url}: expected finite numbers in the output {output!r}")
    return array


class _Again(Retry):
    """Tries again, except where the server took too long: it would only have more to do."""

    def increment(self, *args: Any, **kwargs: Any) -> Any:
        error = kwargs.get("error")
        if isinstance(error, ReadTimeoutError):
            raise error
        return super().increment(*args, **kwargs)


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
    return " ".join(str(message).split())[:200]


def _reason(error: Exception) -> str:
    # The innermost says what happened; those around it repeat the address.
    reason = getattr(error.args[0] if error.args else error, "reason", error)
    return " ".join(str(reason).split()).rpartition(": ")[2][:200]
