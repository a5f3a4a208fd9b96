"""A minimal server with the protocol of TensorFlow Serving over a SavedModel, for tests only.

It follows the server's own sources at 9d981c5c: `util/json_tensor.cc` (JSON),
`servables/tensorflow/predict_util.cc` (signatures, keys, output_filter),
`model_servers/http_rest_api_util.cc` (addresses) and `http_server.cc` (status codes).
"""

import base64
import contextlib
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

PREDICT = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict", re.IGNORECASE)
STATUS = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(/metadata)?", re.IGNORECASE)
HTTP = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503}


class ServingError(Exception):
    """A status other than OK."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Servable:
    """One version of a model."""

    def __init__(self, folder):
        import tensorflow as tf
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        proto = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        (graph,) = [g for g in proto.meta_graphs if "serve" in g.meta_info_def.tags]
        self.version = int(folder.name)
        self.signature_def = dict(graph.signature_def)
        self.loaded = tf.saved_model.load(str(folder), tags=["serve"])

    def predict(self, signature, inputs, output_filter=()):
        name = signature or "serving_default"
        if name not in self.signature_def:
            raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        wanted = set(self.signature_def[name].inputs)
        if set(inputs) != wanted:
            extra, missing = set(inputs) - wanted, wanted - set(inputs)
            raise ServingError(
                "INVALID_ARGUMENT",
                f"input size does not match signature. Sent extra: {extra}. "
                f"Missing but required: {missing}.",
            )
        for output in output_filter:
            if output not in self.signature_def[name].outputs:
                raise ServingError(
                    "INVALID_ARGUMENT", f"output tensor alias not found in signature: {output}"
                )
        try:
            outputs = self.loaded.signatures[name](**inputs)
        except Exception as error:  # as a session does: wrong shapes and types
            raise ServingError("INVALID_ARGUMENT", str(error)) from None
        return {key: outputs[key] for key in (output_filter or outputs)}


class ModelServer:
    """Serves `<base>/<name>/<version>` over REST and, where the protocol is installed, gRPC."""

    def __init__(self, base):
        self.models = {
            folder.name: {
                int(version.name): Servable(version)
                for version in folder.iterdir()
                if version.name.isdecimal()
            }
            for folder in Path(base).iterdir()
        }
        self.refusals = []  # HTTP status codes for the next requests
        self.delay = 0.0
        self.requests = []

    def __enter__(self):
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.rest = f"http://127.0.0.1:{self._http.server_port}"
        self._grpc, port = _start_grpc(self)
        self.grpc = f"grpc://127.0.0.1:{port}"
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()
        if self._grpc:
            self._grpc.stop(None)

    def find(self, name, version=None):
        versions = self.models.get(name, {})
        number = max(versions, default=0) if version is None else int(version)
        if number not in versions:
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {number})"
            raise ServingError("NOT_FOUND", f"Servable not found for request: {wanted}")
        return versions[number]

    def count_request(self, what):
        self.requests.append(what)
        time.sleep(self.delay)
        return self.refusals.pop(0) if self.refusals else None

    def get(self, path):
        match = STATUS.fullmatch(path)
        if not match:
            raise ServingError("INVALID_ARGUMENT", f"Malformed request: GET {path}")
        name, version, metadata = match.groups()
        if metadata:
            return self.metadata(name, version)
        try:
            found = [self.find(name, version)] if version else self.models[name].values()
        except KeyError:
            raise ServingError(
                "NOT_FOUND", f"Could not find any versions of model {name}"
            ) from None
        status = {"error_code": "OK", "error_message": ""}
        return {
            "model_version_status": [
                {"version": str(one.version), "state": "AVAILABLE", "status": status}
                for one in found
            ]
        }

    def metadata(self, name, version):
        from google.protobuf.json_format import MessageToDict

        servable = self.find(name, version)
        signatures = {
            key: MessageToDict(
                signature,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for key, signature in servable.signature_def.items()
        }
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(servable.version)},
            "metadata": {"signature_def": {"signature_def": signatures}},
        }

    def post(self, path, body):
        match = PREDICT.fullmatch(path)
        if not match:
            raise ServingError("INVALID_ARGUMENT", f"Malformed request: POST {path}")
        servable = self.find(*match.groups())
        try:
            request = json.loads(body)
        except ValueError as error:
            raise ServingError("INVALID_ARGUMENT", f"JSON Parse error: {error}") from None
        signature = request.get("signature_name", "") or "serving_default"
        if signature not in servable.signature_def:
            raise ServingError(
                "INVALID_ARGUMENT",
                f'Serving signature name: "{signature}" not found in signature def',
            )
        infos = servable.signature_def[signature].inputs
        if "instances" in request and "inputs" in request:
            raise ServingError(
                "INVALID_ARGUMENT",
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys",
            )
        if "instances" in request:
            outputs = servable.predict(signature, _rows(request["instances"], infos))
            return {"predictions": _to_rows(outputs)}
        if "inputs" in request:
            outputs = servable.predict(signature, _columns(request["inputs"], infos))
            named = {name: _to_json(name, value.numpy()) for name, value in outputs.items()}
            return {"outputs": _without_single_name(named)}
        raise ServingError("INVALID_ARGUMENT", "Missing 'inputs' or 'instances' key")


def _is_bytes(value):
    return isinstance(value, dict) and list(value) == ["b64"]


def _rows(rows, infos):
    if not isinstance(rows, list) or not rows:
        raise ServingError("INVALID_ARGUMENT", "Expecting 'instances' to be a list with values")
    named = isinstance(rows[0], dict) and not _is_bytes(rows[0])
    if not named and len(infos) > 1:
        raise ServingError("INVALID_ARGUMENT", "instances is a plain list, but expecting objects")
    if named:
        for number, row in enumerate(rows):
            if not isinstance(row, dict) or set(row) != set(infos):
                raise ServingError(
                    "INVALID_ARGUMENT",
                    f"Failed to process element: {number} of 'instances' list. "
                    f"keys must be equal to: {','.join(infos)}",
                )
    else:
        rows = [{next(iter(infos)): row} for row in rows]
    return {name: _tensor([row[name] for row in rows], info) for name, info in infos.items()}


def _columns(value, infos):
    if not isinstance(value, dict) or _is_bytes(value):
        if len(infos) > 1:
            raise ServingError("INVALID_ARGUMENT", "inputs is a plain value, expecting an object")
        value = {next(iter(infos)): value}
    missing = [name for name in infos if name not in value]
    if missing:  # what is too much goes unnoticed here, unlike in rows and with gRPC
        raise ServingError("INVALID_ARGUMENT", f"Missing named input: {missing[0]} in 'inputs'")
    return {name: _tensor(value[name], info) for name, info in infos.items()}


def _tensor(value, info):
    import tensorflow as tf

    dtype = tf.as_dtype(info.dtype)
    if dtype == tf.string:
        return tf.constant(_decode(value), tf.string)
    try:
        array = np.asarray(value)
    except ValueError:
        raise ServingError("INVALID_ARGUMENT", "Encountered list at unexpected size") from None
    if array.dtype.kind not in ("iuf" if dtype.is_floating else "iu"):
        raise ServingError("INVALID_ARGUMENT", f"JSON Value is not of expected type: {dtype.name}")
    return tf.constant(array, dtype)


def _decode(value):
    if isinstance(value, list):
        return [_decode(one) for one in value]
    if _is_bytes(value):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except ValueError:
            raise ServingError("INVALID_ARGUMENT", "Unable to base64 decode") from None
    if not isinstance(value, str):
        raise ServingError("INVALID_ARGUMENT", "JSON Value is not of expected type: string")
    return value.encode()


def _to_json(name, array):
    if array.dtype == object:
        flat = [
            {"b64": base64.b64encode(one).decode()} if name.endswith("_bytes") else one.decode()
            for one in array.ravel()
        ]
        return np.array(flat, object).reshape(array.shape).tolist()
    if array.dtype == np.float32:
        return np.round(array.astype(float), 9).tolist()  # about the digits of a float32
    return array.tolist()


def _to_rows(outputs):
    columns = {name: _to_json(name, value.numpy()) for name, value in outputs.items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [_without_single_name(row) for row in rows]


def _without_single_name(named):
    return next(iter(named.values())) if len(named) == 1 else named


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, function, *arguments):
            try:
                refusal = server.count_request(f"{self.command} {self.path}")
                if refusal:
                    status, content = refusal, {"error": "for a test"}
                else:
                    status, content = 200, function(*arguments)
            except ServingError as error:
                status, content = HTTP[error.code], {"error": str(error)}
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):  # of a client that waited long enough
                self.wfile.write(body)

        def do_GET(self):
            self.answer(server.get, self.path)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(server.post, self.path, body)

        def log_message(self, *_):
            pass

    return Handler


def _start_grpc(server):
    try:
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc as service
    except ImportError:
        return None, 0
    import tensorflow as tf
    from tensorflow_serving.apis.get_model_metadata_pb2 import (
        GetModelMetadataResponse,
        SignatureDefMap,
    )
    from tensorflow_serving.apis.predict_pb2 import PredictResponse

    class Servicer(service.PredictionServiceServicer):
        def find(self, request, context):
            if server.count_request(type(request).__name__):
                context.abort(grpc.StatusCode.UNAVAILABLE, "for a test")
            spec = request.model_spec
            version = spec.version.value if spec.HasField("version") else None
            return server.find(spec.name, version)

        def guarded(self, function, request, context):
            try:
                return function(self.find(request, context), request)
            except ServingError as error:
                context.abort(getattr(grpc.StatusCode, error.code), str(error))

        def Predict(self, request, context):  # noqa: N802
            def run(servable, request):
                inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
                name, wanted = request.model_spec.signature_name, request.output_filter
                response = PredictResponse()
                for key, value in servable.predict(name, inputs, wanted).items():
                    response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
                return response

            return self.guarded(run, request, context)

        def GetModelMetadata(self, request, context):  # noqa: N802
            def run(servable, request):
                signatures = SignatureDefMap(signature_def=servable.signature_def)
                response = GetModelMetadataResponse()
                response.model_spec.name = request.model_spec.name
                response.model_spec.version.value = servable.version
                response.metadata["signature_def"].Pack(signatures)
                return response

            return self.guarded(run, request, context)

    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    running = grpc.server(ThreadPoolExecutor(2), options=unlimited)
    service.add_PredictionServiceServicer_to_server(Servicer(), running)
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    return running, port
