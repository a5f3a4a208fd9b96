"""TensorFlow Serving's gRPC protocol, which sends arrays as they lie in memory."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from agd_keras.errors import InputError
from agd_keras.export.client_rest import check_numbers

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
                "--server grpc://…: expected `pip install agd_keras[serving]` to have been run"
            ) from None
        self.url = f"grpc://{host}/{name}"
        self.name, self.version, self.timeout = name, version, timeout
        options = [
            ("grpc.service_config", json.dumps(RETRIES)),
            ("grpc.max_receive_message_length", -1),  # 4 MB otherwise
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
        answer.metadata["signature_def"].Unpack(signatures)
        return {
            name: {
                key: tuple(dim.size for dim in info.tensor_shape.dim)
                for key, info in signature.inputs.items()
            }
            for name, signature in signatures.signature_def.items()
            if signature.inputs
        }

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray], output: str) -> np.ndarray:
        """Sends one batch and asks for one output only.

        Args:
            signature: Name of the signature.
            inputs: Batches by name of the input; bytes as an array of objects.
            output: Name of the output that is wanted.

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
        return check_numbers(tf.make_ndarray(answer.outputs[output]), output, self.url)

    def _name_model(self, request: Any) -> None:
        request.model_spec.name = self.name
        if self.version is not None:
            request.model_spec.version.value = self.version

    def _call(self, method: Any, request: Any) -> Any:
        import grpc

        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            reason = " ".join(str(error.details()).split())[:200]
            known = {
                grpc.StatusCode.NOT_FOUND: "no such model on the server",
                grpc.StatusCode.UNAVAILABLE: "no server",
                grpc.StatusCode.DEADLINE_EXCEEDED: f"no answer within {self.timeout:g} s",
            }
            said = known.get(error.code(), error.code().name)
            raise InputError(f"{self.url}: {said} ({reason})") from None
