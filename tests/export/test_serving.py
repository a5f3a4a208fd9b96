"""The client against a server with TensorFlow Serving's protocol, and that protocol row by row."""

import base64
import importlib.util
import io
import math
import os
import shutil
import socket
import subprocess
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import requests
import tensorflow as tf
import urllib3
import yaml
from PIL import Image

from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.export.saved_model import make_signatures, write_saved_model
from agd_keras.inference import http, serving
from agd_keras.inference.calibration import Calibration
from agd_keras.inference.client_rest import RestClient, read_answer
from agd_keras.inference.predictor import Predictor
from agd_keras.inference.serving import ServingClient, connect
from agd_keras.inference.uncertainty import UncertaintyPredictor

REAL = os.environ.get("TF_MODEL_SERVER") or shutil.which("tensorflow_model_server")
COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"


@pytest.fixture
def grpc():
    return pytest.importorskip("grpc", reason="gRPC DID NOT RUN: pip install -e .[serving]")


def load_protocol():
    path = Path(__file__).with_name("serving_protocol.py")
    spec = importlib.util.spec_from_file_location("serving_protocol", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def spec(name, *shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype, name)


def write_toy(folder, factor, default=True):
    """Signatures with one and two inputs and outputs, and with bytes."""

    @tf.function(input_signature=[spec("x", None, 2)])
    def times(x):
        return {"y": factor * x}

    @tf.function(input_signature=[spec("a", None), spec("b", None)])
    def pair(a, b):
        return {"sum": a + b, "difference": a - b}

    @tf.function(input_signature=[spec("data_bytes", None, dtype=tf.string)])
    def echo(data_bytes):
        return {"data_bytes": data_bytes}

    signatures = {"pair": pair, "echo": echo, **({"serving_default": times} if default else {})}
    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)


@pytest.fixture(scope="module")
def base(model, request, tmp_path_factory):
    reason = "SERVING DID NOT RUN: pip install -e .[serving]"
    pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason=reason)
    saved_model = request.getfixturevalue("saved_model")
    base = tmp_path_factory.mktemp("models")
    warm = make_signatures(model, threshold=0.3, temperature=2.0)
    warm = {name: warm[name] for name in ("serving_default", "encoded", "model", "calibration")}
    write_saved_model(base / "warm" / "1", warm)
    write_saved_model(base / "plain" / "1", {"model": warm["model"]})
    shutil.copytree(saved_model / "1", base / "agd" / "1")
    write_toy(base / "toy" / "1", 1.0)
    write_toy(base / "toy" / "2", 2.0)
    write_toy(base / "nameless" / "1", 1.0, default=False)
    return base


class RealServer:
    """`tensorflow_model_server` itself over the same models."""

    def __init__(self, base):
        self.ports = []
        for _ in range(2):
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))
                self.ports.append(one.getsockname()[1])
        self.grpc, self.rest = (
            f"grpc://127.0.0.1:{self.ports[0]}",
            (f"http://127.0.0.1:{self.ports[1]}"),
        )
        models = "".join(
            f'config {{ name: "{one.name}" base_path: "{one}" model_platform: "tensorflow" '
            "model_version_policy { all {} } }\n"
            for one in base.iterdir()
            if one.is_dir()
        )
        config = base / "models.config"
        config.write_text(f"model_config_list {{ {models} }}")
        self.command = [
            *(REAL, f"--port={self.ports[0]}", f"--rest_api_port={self.ports[1]}"),
            f"--model_config_file={config}",
        ]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stderr=subprocess.DEVNULL)
        for _ in range(120):
            try:
                if requests.get(f"{self.rest}/v1/models/agd/metadata", timeout=5).ok:
                    return self
            except requests.ConnectionError:
                pass
            time.sleep(0.5)
        raise RuntimeError("tensorflow_model_server did not come up within a minute")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def shared(base):
    with load_protocol().ModelServer(base) as running:
        yield running


@pytest.fixture(scope="module", params=["minimal", "tensorflow_model_server"])
def server(request, base, shared):
    if request.param == "minimal":
        yield shared
    elif REAL:
        with RealServer(base) as running:
            yield running
    else:
        pytest.skip(
            "DID NOT RUN AGAINST THE REAL SERVER: no tensorflow_model_server on the PATH "
            "nor in TF_MODEL_SERVER"
        )


@pytest.fixture
def minimal(shared):
    yield shared
    shared.refusals.clear()
    shared.delay = 0.0


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(http, "WAIT", 0)


@pytest.fixture(params=["rest", "grpc"])
def address(request, server):
    """Function from a model's name, and version, to its address."""
    if request.param == "grpc":
        request.getfixturevalue("grpc")
        return lambda name, version=None: f"{server.grpc}/{name}" + (f"/{version}" * bool(version))
    return lambda name, version=None: (
        f"{server.rest}/v1/models/{name}" + (f"/versions/{version}" * bool(version))
    )


@pytest.fixture
def url(address):
    return address("agd")


def post(server, path, **body):
    answer = requests.post(f"{server.rest}/v1/models/{path}:predict", json=body, timeout=60)
    return answer.status_code, answer.json()


def grpc_code(server, model, signature, inputs, output_filter=()):
    import grpc
    from tensorflow_serving.apis.predict_pb2 import PredictRequest
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

    request = PredictRequest(output_filter=output_filter)
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        try:
            answer = PredictionServiceStub(channel).Predict(request, timeout=60)
        except grpc.RpcError as error:
            return error.code()
    return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}


# The protocol, in the order of the table of what the server needs or promises.


def test_highest_version_is_served_and_others_by_number(server):
    assert post(server, "toy", instances=[[1, 2]])[1] == {"predictions": [[2, 4]]}
    assert post(server, "toy/versions/1", instances=[[1, 2]])[1] == {"predictions": [[1, 2]]}
    status, answer = post(server, "toy/versions/3", instances=[[1, 2]])
    assert status == 404 and "Specific(toy, 3)" in answer["error"]


def test_default_signature_and_its_absence(server, grpc):
    named = post(server, "toy", signature_name="serving_default", instances=[[1, 2]])
    assert named == post(server, "toy", instances=[[1, 2]])
    x = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(grpc_code(server, "toy", "", {"x": x})["y"], 2 * x)
    assert post(server, "nameless", instances=[[1, 2]])[0] == 400
    code = grpc_code(server, "nameless", "", {"x": x})
    assert code == grpc.StatusCode.FAILED_PRECONDITION


def test_extra_and_missing_keys_are_invalid(server, grpc):
    one = np.ones(1, np.float32)
    for inputs in ({"a": one}, {"a": one, "b": one, "c": one}):
        code = grpc_code(server, "toy", "pair", inputs)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        row = dict.fromkeys(inputs, 1.0)
        status, answer = post(server, "toy", signature_name="pair", instances=[row])
        assert status == 400 and "error" in answer
    columns = post(server, "toy", signature_name="pair", inputs={"a": [1.0]})
    assert columns[0] == 400 and "Missing named input" in columns[1]["error"]


def test_rows_of_a_batch_do_not_depend_on_each_other(url, images):
    client = connect(url)
    batch = {"image": images[:3, ::4, ::4].astype(np.float32)}
    together = client.predict("serving_default", batch, "probability")
    assert together.std() > 0.01
    for place in range(3):
        alone = {"image": batch["image"][place : place + 1]}
        found = client.predict("serving_default", alone, "probability")
        np.testing.assert_allclose(found[0], together[place], atol=1e-5)


def test_warmup_records_replay(minimal, base, grpc):
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    path = base / "agd" / "1" / "assets.extra" / "tf_serving_warmup_requests"
    records = [PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(path))]
    requests_ = [record.predict_log.request for record in records]
    declared = connect(f"{minimal.rest}/v1/models/agd").signatures()
    assert sorted(r.model_spec.signature_name for r in requests_) == sorted(declared)
    for request in requests_:
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        answer = grpc_code(minimal, "agd", request.model_spec.signature_name, inputs)
        assert {len(value) for value in answer.values()} == {1}


def test_rows_and_columns(server):
    rows = post(server, "toy", signature_name="pair", instances=[{"a": 3, "b": 1}])
    assert rows == (200, {"predictions": [{"sum": 4.0, "difference": 2.0}]})
    columns = post(server, "toy", signature_name="pair", inputs={"a": [3], "b": [1]})
    assert columns == (200, {"outputs": {"sum": [4.0], "difference": [2.0]}})
    assert post(server, "toy", inputs=[[1, 2]])[1] == {"outputs": [[2, 4]]}
    assert post(server, "toy", inputs={"x": [[1, 2]]})[1] == {"outputs": [[2, 4]]}
    assert post(server, "toy", instances=[[1, 2]], inputs=[[1, 2]])[0] == 400
    assert post(server, "toy")[0] == 400


def test_bytes_travel_as_base64(server):
    data = {"b64": base64.b64encode(b"\x00\xff").decode()}
    for rows in ([data], [{"data_bytes": data}]):
        answer = post(server, "toy", signature_name="echo", instances=rows)
        assert answer == (200, {"predictions": [data]})
    bad = post(server, "toy", signature_name="echo", instances=[{"b64": "%%%"}])
    assert bad[0] == 400 and "base64" in bad[1]["error"]


def test_wrong_requests_have_their_status(server, grpc):
    status, answer = post(server, "nobody", instances=[[1, 2]])
    assert status == 404 and "Servable not found" in answer["error"]
    status, answer = post(server, "toy", signature_name="none", instances=[[1, 2]])
    assert status == 400 and "not found in signature def" in answer["error"]
    assert post(server, "toy", instances=[["one", "two"]])[0] == 400
    assert post(server, "toy", instances=[[1, 2], [3]])[0] == 400
    assert grpc_code(server, "nobody", "", {}) == grpc.StatusCode.NOT_FOUND


def test_status_and_metadata_are_what_the_export_declares(server, address, base):
    status = requests.get(f"{server.rest}/v1/models/toy", timeout=60).json()
    states = {one["version"]: one["state"] for one in status["model_version_status"]}
    assert states["2"] == "AVAILABLE"
    assert requests.get(f"{server.rest}/v1/models/nobody", timeout=60).status_code == 404
    loaded = tf.saved_model.load(str(base / "agd" / "1"))
    declared = {
        name: {
            key: tuple(-1 if size is None else size for size in value.shape)
            for key, value in signature.structured_input_signature[1].items()
        }
        for name, signature in loaded.signatures.items()
    }
    assert connect(address("agd")).signatures() == declared


def test_output_filter(server, grpc):
    one = {"a": np.ones(1, np.float32), "b": np.ones(1, np.float32)}
    assert list(grpc_code(server, "toy", "pair", one, ["sum"])) == ["sum"]
    code = grpc_code(server, "toy", "pair", one, ["product"])
    assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_compose_file_serves_an_export():
    service = yaml.safe_load(COMPOSE.read_text())["services"]["serving"]
    assert service["image"].startswith("tensorflow/serving:")
    assert [port.rpartition(":")[2] for port in service["ports"]] == ["8500", "8501"]
    command = " ".join(service["command"])
    assert "batching" not in command  # which `patient` and several sizes would not survive
    (monitoring,) = [c for c in service["configs"] if c["source"] == "monitoring"]
    assert f"--monitoring_config_file={monitoring['target']}" in command


# The client.


def test_client_equals_local_predictor(url, model, images):
    expected = Predictor([model]).predict_patient(images)
    assert expected.std() > 0.01
    found = ServingClient(url, batch_size=2).predict_patient(images)
    # With REST, four decimals of the input.
    np.testing.assert_allclose(found, expected, atol=1e-4 if url.startswith("http") else 1e-5)


def test_temperature_and_threshold_are_those_of_the_served_model(address, model, images):
    client = ServingClient(address("warm"))
    assert client.calibration.temperature == 2
    assert client.calibration.threshold == pytest.approx(0.3, abs=1e-7)
    expected = Predictor([model], calibration=Calibration(2.0)).predict_patient(images)
    assert np.abs(expected - Predictor([model]).predict_patient(images)).max() > 0.05
    np.testing.assert_allclose(client.predict_patient(images), expected, atol=1e-4)


def test_the_server_scales_encoded_images_itself(address, base, images):
    serve = tf.saved_model.load(str(base / "warm" / "1")).signatures["serving_default"]
    expected = serve(image=tf.constant(images[:2].astype(np.float32)))["probability"]
    client = ServingClient(address("warm"), "encoded")
    assert client.calibration.temperature == 2
    np.testing.assert_allclose(client.predict_patient(images[:2]), expected[..., 0], atol=1e-5)


def test_a_served_model_without_calibration(address, model, images):
    client = ServingClient(address("plain"))
    assert client.calibration == Calibration(1.0, 0.5)
    expected = Predictor([model]).predict_patient(images)
    np.testing.assert_allclose(client.predict_patient(images), expected, atol=1e-4)


@pytest.mark.parametrize("answer", [[0.0], [], [1.0, 2.0]])
def test_what_is_no_calibration_ends_in_one_line(minimal, monkeypatch, answer):
    monkeypatch.setattr(RestClient, "predict", lambda *_: np.array(answer))
    with pytest.raises(InputError, match=r"models/agd: expected a calibration \("):
        ServingClient(f"{minimal.rest}/v1/models/agd")


def test_dropout_on_a_server_is_refused(minimal):
    client = ServingClient(f"{minimal.rest}/v1/models/agd")
    with pytest.raises(InputError, match=r"^--uncertainty mc_dropout: expected a Keras model$"):
        UncertaintyPredictor(client, "mc_dropout")


def test_encoded_client_equals_the_export(url, base, images):
    images = images[:3, 40:200:2, ::2]
    exported = tf.saved_model.load(str(base / "agd" / "1"))
    expected = exported.signatures["uint8"](image=tf.constant(images))["probability"]
    found = ServingClient(url, "encoded", batch_size=2).predict_patient(images)
    np.testing.assert_allclose(found, expected.numpy()[..., 0], atol=1e-5)


def test_encoded_client_takes_any_type(url, images):
    images = images[:, ::2, ::2]
    client = ServingClient(url, "encoded")
    expected = client.predict_patient(images)
    found = client.predict_patient(images.astype(np.float64) * 1234.5 + 10)
    assert np.abs(found - expected).mean() < 0.01


def test_bytes_of_images_lose_no_more_than_half_a_step(images):
    wanted = Preprocessor(16).normalize(images.astype(np.float32))
    found = serving._bytes_of(images.astype(np.int16), Preprocessor(16)).astype(float) / 25.5 - 5
    assert np.abs(found - wanted).max() <= 0.5 / 25.5 + 1e-6


def test_png_is_lossless(images):
    decoded = np.asarray(Image.open(io.BytesIO(serving._png(images[0]))))
    np.testing.assert_array_equal(decoded, images[0])


@pytest.mark.parametrize("status", [429, 503])
def test_busy_server_is_asked_again(minimal, status):
    client = ServingClient(f"{minimal.rest}/v1/models/agd", batch_size=8)
    before = len(minimal.requests)
    minimal.refusals += [status, status]
    assert client.predict_patient(np.zeros((1, 32, 32, 3))).shape == (1, 32, 32)
    assert len(minimal.requests) == before + 3


def test_busy_server_is_asked_again_over_grpc(minimal, grpc):
    client = ServingClient(f"{minimal.grpc}/agd")
    before = len(minimal.requests)
    minimal.refusals += [503]
    assert client.predict_patient(np.zeros((1, 32, 32, 3))).shape == (1, 32, 32)
    assert len(minimal.requests) == before + 2


def test_server_that_stays_busy_ends_in_one_line(minimal):
    before = len(minimal.requests)
    minimal.refusals += [503] * 20
    with pytest.raises(InputError, match=r"agd: status 503 \(for a test\)"):
        ServingClient(f"{minimal.rest}/v1/models/agd")
    assert len(minimal.requests) == before + 5


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_no_server_ends_in_one_line():
    with pytest.raises(InputError, match=r"models/agd: no server \(.*refused"):
        ServingClient(f"http://127.0.0.1:{free_port()}/v1/models/agd")


def test_no_grpc_server_ends_in_one_line(grpc):
    with pytest.raises(InputError, match=r"grpc://.*/agd: no (server|answer)"):
        ServingClient(f"grpc://127.0.0.1:{free_port()}/agd", timeout=2)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_slow_server_ends_in_one_line(minimal, protocol, request):
    if protocol == "grpc":
        request.getfixturevalue("grpc")
    url = f"{minimal.rest}/v1/models/agd" if protocol == "rest" else f"{minimal.grpc}/agd"
    minimal.delay = 1.0
    with pytest.raises(InputError, match=r"no answer within 0.2 s"):
        ServingClient(url, timeout=0.2)


def test_unknown_model_and_signature(address):
    with pytest.raises(InputError, match="no such model on the server"):
        ServingClient(address("nobody"))
    with pytest.raises(InputError, match=r"'model' and its input 'image'; found echo, pair"):
        ServingClient(address("toy"))


def test_refused_request_tells_the_reason(server, grpc):
    client = connect(f"{server.rest}/v1/models/toy")
    with pytest.raises(InputError, match=r"toy: status 400 \(.*keys must be equal"):
        client.predict("pair", {"a": np.ones(1)}, "sum")
    client = connect(f"{server.grpc}/toy")
    with pytest.raises(InputError, match=r"toy: INVALID_ARGUMENT \(.*Missing but required"):
        client.predict("pair", {"a": np.ones(1, np.float32)}, "sum")


def test_versions_in_the_address(address):
    x = {"x": np.ones((1, 2), np.float32)}
    for version, factor in ((None, 2), (1, 1)):
        client = connect(address("toy", version))
        np.testing.assert_array_equal(client.predict("serving_default", x, "y"), factor * x["x"])


@pytest.mark.parametrize(
    "url",
    ["localhost:8501", "http://host:8501", "http://host/v1/models/", "grpc://host", "ftp://host/a"],
)
def test_other_addresses_are_refused(url):
    with pytest.raises(InputError, match=r"--server .*: expected http://HOST"):
        connect(url)


def test_a_host_that_never_answers_is_given_up_soon(monkeypatch):
    limits = []

    def urlopen(self, *_, timeout=None, **__):
        limits.append((timeout.connect_timeout, round(timeout.read_timeout)))
        raise urllib3.exceptions.ConnectTimeoutError("Connection to host timed out")

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "urlopen", urlopen)
    with pytest.raises(InputError, match=r"agd: no server \(Connection to host timed out"):
        RestClient("http://host/v1/models/agd", timeout=60, retries=0).signatures()
    assert limits == [(5, 60)]


def test_the_server_does_not_say_how_long_to_wait(monkeypatch):
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)

    class Busy(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(503)
            self.send_header("Retry-After", "3600")
            self.end_headers()
            self.wfile.write(b'{"error": "busy"}')

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Busy) as busy:
        Thread(target=busy.serve_forever, daemon=True).start()
        with pytest.raises(InputError, match=r"status 503 \(busy\)"):
            RestClient(f"http://127.0.0.1:{busy.server_port}/v1/models/agd").signatures()
        busy.shutdown()
    assert 3600 not in waited


def test_signature_is_checked():
    with pytest.raises(InputError, match="expected one of model, encoded"):
        ServingClient("grpc://localhost:1/agd", "patient")


def test_something_else_that_answers():
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.page)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as page:
        Thread(target=page.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{page.server_port}/v1/models/agd"
        for content, line in (
            (b"<html>", "expected TensorFlow Serving, got status 200 and no JSON"),
            (b'{"metadata": 3}', "expected metadata of a served model"),
            (b"[]", "expected metadata of a served model"),
        ):
            page.page = content
            with pytest.raises(InputError, match=line):
                RestClient(url).signatures()
        page.shutdown()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"predictions": [{"mask": [1.0], "edge": [0.0]}]}, [[1.0]]),
        ({"predictions": [[1.0], [2.0]]}, [[1.0], [2.0]]),
        ({"outputs": {"mask": [[1.0]], "edge": [[0.0]]}}, [[1.0]]),
        ({"outputs": [[1.0]]}, [[1.0]]),
    ],
)
def test_both_forms_of_answers(content, expected):
    np.testing.assert_array_equal(read_answer(content, "mask"), expected)


@pytest.mark.parametrize(
    "content",
    [
        *({}, [], 3, None, {"outputs": ["one"]}, {"outputs": {"edge": 1}}),
        *({"outputs": [value]} for value in (math.nan, math.inf, [1.0, -math.inf])),
        *({"predictions": value} for value in (3, [{"edge": 1}], [[1], [1, 2]], [None])),
    ],
)
def test_other_answers_end_in_one_line(content):
    with pytest.raises(InputError, match="output 'mask'"):
        read_answer(content, "mask")
