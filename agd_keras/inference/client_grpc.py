"""TensorFlow Serving's gRPC protocol, which sends arrays as they lie in memory."""

import json
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from agd_keras.errors import InputError
from agd_keras.inference.client_rest import MOST, check_numbers, without_password
from agd_keras.text import clean

# The library repeats what was refused for now, five tries at most; waits double.
RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.5s",
                "maxBackoff": "10s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}


class GrpcClient:
    """Speaks to one served model over gRPC; needs the extra `[serving]`.

    Args:
        host: `HOST:PORT`.
        name: Name of the model.
        version: Its version; the highest if not given.
        timeout: Seconds to wait for each answer, retries included.

    Raises:
        InputError: The extra is not installed.

    Reference:
        https://github.com/tensorflow/serving/blob/master/tensorflow_serving/apis/predict.proto

    Example:

    >>> client = GrpcClient("localhost:8500", "agd")  # doctest: +SKIP
    """

    def __init__(self, host: str, name: str, version: int | None = None, timeout: float = 60):
        try:
            import grpc
            from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
        except ImportError:
            raise InputError(
                "--server grpc://…: expected grpcio and tensorflow-serving-api to be installed, "
                "in a clone `pip install -e .[serving]`"
            ) from None
        self.url = without_password(f"grpc://{host}/{name}")
        self.name, self.version, self.timeout = name, version, timeout
        options = [
            ("grpc.service_config", json.dumps(RETRIES)),
            ("grpc.max_receive_message_length", MOST),  # 4 MB otherwise
            ("grpc.enable_http_proxy", 0),  # images go to the host that was named
            ("grpc.max_send_message_length", -1),
        ]
        self._stub = PredictionServiceStub(grpc.insecure_channel(host, options))

    def signatures(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Asks what the model takes.

        Returns:
            Shapes of the inputs by name, by signature; -1 where any size is taken.

        Raises:
            InputError: There is no such server or model.
        """
        from tensorflow_serving.apis.get_model_metadata_pb2 import (
            GetModelMetadataRequest,
            SignatureDefMap,
        )

        request = GetModelMetadataRequest(metadata_field=["signature_def"])
        self._name_model(request)
        answer = self._call(self._stub.GetModelMetadata, request)
        signatures = SignatureDefMap()
        try:
            answer.metadata["signature_def"].Unpack(signatures)
        except Exception:  # DecodeError, of the protocol's own library
            raise InputError(f"{self.url}: expected metadata of a served model") from None
        return {
            name: {
                key: tuple(dim.size for dim in info.tensor_shape.dim)
                for key, info in signature.inputs.items()
            }
            for name, signature in signatures.signature_def.items()
            if signature.inputs
        }

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        output: str,
        shape: tuple[int, ...] | None = None,
    ) -> np.ndarray:
        """Sends one batch and asks for one output only.

        Args:
            signature: Name of the signature.
            inputs: Batches by name of the input; bytes as an array of objects.
            output: Name of the output that is wanted.
            shape: Its shape, where that is known: an answer of another is refused.

        Returns:
            That output, an array whose first axis is the batch.

        Raises:
            InputError: The server is out of reach, refuses the request or answers something else.
        """
        import tensorflow as tf
        from tensorflow_serving.apis.predict_pb2 import PredictRequest

        request = PredictRequest(output_filter=[output])
        self._name_model(request)
        request.model_spec.signature_name = signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        answer = self._call(self._stub.Predict, request)
        if output not in answer.outputs:
            raise InputError(f"{self.url}: expected an answer with the output {output!r}")
        return check_numbers(self._read(answer.outputs[output], output, shape), output, self.url)

    def _read(self, tensor: Any, output: str, shape: tuple[int, ...] | None) -> np.ndarray:
        """Makes an array of what was sent, which a single value can claim to fill."""
        import tensorflow as tf

        found = tuple(dim.size for dim in tensor.tensor_shape.dim)
        if shape is not None and found != shape:
            raise InputError(f"{self.url}: expected {output!r} of shape {shape}, got {found}")
        try:
            kind = tf.as_dtype(tensor.dtype)
            numeric = kind.is_floating or kind.is_integer or kind.is_bool
            if not numeric or min(found, default=0) < 0 or prod(found) * kind.size > MOST:
                raise ValueError
            return tf.make_ndarray(tensor)
        except (TypeError, ValueError, AttributeError):
            raise InputError(
                f"{self.url}: expected finite numbers in the output {output!r}"
            ) from None

    def _name_model(self, request: Any) -> None:
        request.model_spec.name = self.name
        if self.version is not None:
            request.model_spec.version.value = self.version

    def _call(self, method: Any, request: Any) -> Any:
        import grpc

        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            reason = clean(error.details())
            known = {
                grpc.StatusCode.NOT_FOUND: "no such model on the server",
                grpc.StatusCode.UNAVAILABLE: "no server",
                grpc.StatusCode.DEADLINE_EXCEEDED: f"no answer within {self.timeout:g} s",
            }
            said = known.get(error.code(), error.code().name)
            raise InputError(f"{self.url}: {said} ({reason})") from None
