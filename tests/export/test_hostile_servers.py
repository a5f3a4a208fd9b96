"""Servers that answer too much, too slowly, or something else: one line, in time, in little memory.

All of them listen on 127.0.0.1, for one test.
"""

import gzip
import json
import random
import socket
import threading
import time
import tracemalloc
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from agd_keras.errors import InputError
from agd_keras.inference import http
from agd_keras.inference.client_rest import RestClient, read_answer, without_password
from agd_keras.inference.http import exchange
from agd_keras.inference.serving import ServingClient, connect

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT, SECONDS = 2**18, 0.4


@contextmanager
def serve(answer):
    """Answers each connection by a function of it and its request; yields address and requests."""
    seen = []

    def talk(connection):
        with connection, suppress(OSError):
            head = connection.recv(2**16)
            seen.append(head)
            answer(connection)

    def accept():
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        listener.shutdown(socket.SHUT_RDWR)


def always(start, more):
    def answer(connection):
        connection.sendall(start)
        while True:
            connection.sendall(more)

    return answer


def drip(start, more=b"1"):
    def answer(connection):
        connection.sendall(start)
        while True:
            connection.sendall(more)
            time.sleep(0.02)

    return answer


def once(content):
    return lambda connection: connection.sendall(content)


LATE, LARGE, NONE = "no answer within 0.4 s", "more than 262,144 bytes", "no server"
SERVERS = {
    "endless body": (always(OK + b"\r\n", b"0" * 2**16), LARGE),
    "endless chunks": (always(CHUNKED, b"1000\r\n" + b"0" * 4096 + b"\r\n"), LARGE),
    "endless trailers": (always(CHUNKED + b"2\r\n[]\r\n0\r\n", b"A: b\r\n" * 99), LATE),
    "endless chunk size": (always(CHUNKED, b"1" * 2**16), NONE),
    "endless headers": (always(OK, b"A: b\r\n" * 99), NONE),
    "endless header": (always(OK, b"A" * 2**16), NONE),
    "endless continue": (always(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99), LATE),
    "endless refusal": (always(b"HTTP/1.1 503 Busy\r\n\r\n", b"0" * 2**16), LARGE),
    "header drip": (drip(OK + b"A: "), LATE),
    "body drip": (drip(OK + b"Content-Length: 9000\r\n\r\n"), LATE),
    "body drip without length": (drip(OK + b"\r\n"), LATE),
    "chunk drip": (drip(CHUNKED, b"1\r\n1\r\n"), LATE),
    "silence": (lambda connection: time.sleep(1), LATE),
    "gzip": (once(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"0" * 9)), "compression"),
    "deflate in gzip": (once(OK + b"Content-Encoding: deflate, gzip\r\n\r\nx"), "compression"),
    "short": (once(OK + b"Content-Length: 100\r\n\r\n[]"), NONE),
    "noise": (once(b"\x00\xff\x1b[31m" * 99), NONE),
    "nothing": (once(b""), NONE),
}


@pytest.mark.parametrize("name", SERVERS)
def test_limits_hold(name, monkeypatch):
    monkeypatch.setattr(http, "WAIT", 0)
    answer, line = SERVERS[name]
    tracemalloc.start()
    with serve(answer) as (url, _):
        start = time.monotonic()
        limits = {"timeout": SECONDS, "retries": 1, "most": LIMIT}
        with pytest.raises(InputError) as raised:
            exchange("POST", url, "{}" * 999, shown="it", **limits)
        assert time.monotonic() - start < SECONDS + 0.6
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20
    shown = str(raised.value)
    assert line in shown and "\n" not in shown and "\x1b" not in shown and len(shown) < 450


def test_what_follows_an_answer_is_not_the_next(monkeypatch):
    body = OK + b"Content-Length: 2\r\nConnection: keep-alive\r\n\r\n[]"
    with serve(once(body + OK + b"Content-Length: 4\r\n\r\nevil")) as (url, seen):
        for _ in range(2):
            assert exchange("GET", url, shown="it") == (200, b"[]")
    assert len(seen) == 2


@pytest.mark.parametrize("place", ["http://127.0.0.1:1/x", "https://evil.example/", "/v1/other"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_images_go_nowhere_else(place, status):
    answer = f"HTTP/1.1 {status} Go\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()
    line = f"redirects to {place}, which is not followed"
    with serve(once(answer)) as (url, seen), pytest.raises(InputError, match=line):
        exchange("POST", url, "{}", shown="it", retries=0)
    assert len(seen) == 1


def test_neither_proxies_nor_cookies_nor_netrc(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    body = OK + b"Content-Length: 2\r\nSet-Cookie: a=b\r\n\r\n[]"
    with serve(once(body)) as (url, seen), serve(once(body)) as (proxy, passed):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        for _ in range(2):
            exchange("GET", url, shown="it")
    assert len(seen) == 2 and not passed
    assert not any(word in head for head in seen for word in (b"Cookie", b"Authorization"))


def test_passwords_are_sent_and_not_shown():
    with serve(once(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n{}")) as (url, seen):
        url = url.replace("://", "://me:se%63ret@")
        with pytest.raises(InputError) as raised:
            connect(f"{url}/v1/models/agd").signatures()
    assert "secret" not in str(raised.value) and "me" not in str(raised.value).split("/v1")[0]
    assert b"authorization: basic bwu6c2vjcmv0" in seen[0].lower()
    for address in (
        *("ftp://me:secret@host/a", "me:secret@host", "http://me:se/cret@host/v1/models/a"),
        *("http://host/v1/models/a?key=secret", "http://me:s@cret@host:99999/v1/models/agd"),
        *("http://me:secret@host:99999/v1/models/agd", "http://host/v1/models/a#secret"),
    ):
        with pytest.raises(InputError) as raised:
            connect(address).signatures()
        assert "cret" not in str(raised.value)
    assert without_password("grpc://host:8500/agd/3") == "grpc://host:8500/agd/3"


def metadata(*shape):
    dims = [{"size": str(size)} for size in shape]
    inputs = {"image": {"tensor_shape": {"dim": dims}}}
    return {"metadata": {"signature_def": {"signature_def": {"model": {"inputs": inputs}}}}}


@pytest.mark.parametrize(
    "shape", [(-1, 12_000, 12_000, 3), (-1, 64, 32, 3), (64, 64), (), (1,) * 5]
)
def test_sizes_of_no_network(shape, monkeypatch):
    monkeypatch.setattr(RestClient, "_send", lambda *_, **__: metadata(*shape))
    with pytest.raises(InputError, match="at most 1024, found"):
        ServingClient("http://host/v1/models/agd")


@pytest.mark.parametrize("number", [-1, 2, 0.4, 1e30])
def test_a_normalisation_that_is_none(number, monkeypatch):
    told = metadata(-1, 32, 32, 3)
    signatures = told["metadata"]["signature_def"]["signature_def"]
    signatures["normalization"] = {"inputs": {"x": {"tensor_shape": {"dim": [{"size": "-1"}]}}}}
    answers = iter([told, {"predictions": [{"normalization": number}]}])
    monkeypatch.setattr(RestClient, "_send", lambda *_, **__: next(answers))
    with pytest.raises(InputError, match="agd: unknown normalization"):
        ServingClient("http://host/v1/models/agd")


@pytest.mark.parametrize("value", [1.5, -0.2, 1e30])
def test_probabilities_outside_their_range(value, monkeypatch):
    monkeypatch.setattr(RestClient, "_send", lambda *_, **__: metadata(-1, 32, 32, 3))
    client = ServingClient("http://host/v1/models/agd")
    answer = {"predictions": [{"mask": np.full((32, 32, 1), value).tolist()}] * 2}
    monkeypatch.setattr(RestClient, "_send", lambda *_, **__: answer)
    with pytest.raises(InputError, match=r"agd: expected 'mask' from 0 to 1"):
        client.predict_patient(np.random.default_rng(0).integers(0, 255, (2, 40, 40, 3)))


ODD = [
    *(b"", b"[" * 10**5, b'{"a":' * 10**5, b'{"predictions": [1e999]}', b'{"predictions": [NaN]}'),
    *(b'{"predictions": [' + b"9" * 5000 + b"]}", b'{"predictions": [' + b"9" * 400 + b"]}"),
    *(b'{"predictions": ' + b"[" * 90 + b"1" + b"]" * 90 + b"}", b"\xff\xfe", b'"\\ud800"'),
    *(b'{"predictions": [null]}', b'{"predictions": {"a": 1}}', b'{"outputs": [["a"], [1]]}'),
    b'{"outputs": [' + b"1," * 10**4 + b'"' + b"x" * 10**5 + b'"]}',
]


@pytest.mark.parametrize("content", ODD)
def test_odd_json_is_one_line_in_little_memory(content):
    head = OK + b"Content-Length: %d\r\n\r\n" % len(content)
    with serve(once(head + content)) as (url, _):
        client = RestClient(f"{url}/v1/models/agd", retries=0)
        tracemalloc.start()
        with pytest.raises(InputError) as raised:
            client.predict("model", {"x": np.ones((1, 1), np.float32)}, "mask")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(str(raised.value)) < 450 and "\n" not in str(raised.value)
    assert peak < 30 * 2**20


def check_mutants(numbers):
    sound = json.dumps({"predictions": [{"mask": [[0.5, 1], [0, 0.25]], "edge": [[1]]}]})
    for number in numbers:
        chance = random.Random(f"answer {number}")
        content = bytearray(sound, "ascii")
        for _ in range(chance.choice((1, 1, 2, 4))):
            place, length = chance.randrange(len(content)), chance.randrange(1, 9)
            new = chance.choice(
                (b"", b"null", b"[", b"1e999", b'"', b"{}", bytes([chance.randrange(256)]))
            )
            content[place : place + length] = new
        try:
            answer = read_answer(json.loads(content), "mask", shape=(1, 2, 2))
        except InputError as error:
            assert len(str(error)) < 450 and "\n" not in str(error)
        except (ValueError, RecursionError):
            continue  # no JSON, which the client says in a line
        else:
            assert answer.shape == (1, 2, 2) and np.isfinite(answer).all()


def test_a_few_mutated_answers():
    check_mutants(range(300))


@pytest.mark.nightly
def test_many_mutated_answers():
    check_mutants(range(300, 60_000))


# gRPC.


@pytest.fixture
def client():
    pytest.importorskip("tensorflow_serving", reason="gRPC DID NOT RUN: no extra [serving]")
    return connect("grpc://127.0.0.1:1/agd")


def tensor(kind, shape, **values):
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    made = TensorProto(dtype=kind, **values)
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


@pytest.mark.parametrize(
    ("kind", "shape", "values"),
    [
        (1, (1_200_000_000,), {"float_val": [1.0]}),  # 4.8 GB of one value
        (1, (2**31, 2**31), {"float_val": [1.0]}),
        (1, (-1, 4), {"float_val": [1.0]}),
        (1, (4,), {"tensor_content": b"123"}),
        (7, (2,), {"string_val": [b"a", b"b"]}),
        (0, (), {}),
        (999, (1,), {"float_val": [1.0]}),
        (1, (1,), {"float_val": [float("nan")]}),
        (8, (10**9,), {"scomplex_val": [1.0, 1.0]}),
    ],
)
def test_values_are_not_expanded_before_they_are_counted(client, kind, shape, values, monkeypatch):
    from tensorflow_serving.apis.predict_pb2 import PredictResponse

    answer = PredictResponse()
    answer.outputs["mask"].CopyFrom(tensor(kind, shape, **values))
    monkeypatch.setattr(client, "_call", lambda *_: answer)
    tracemalloc.start()
    for wanted in (None, (2, 2)):
        with pytest.raises(InputError, match="127.0.0.1:1/agd: expected"):
            client.predict("model", {}, "mask", wanted)
    with pytest.raises(InputError, match="the output 'edge'"):
        client.predict("model", {}, "edge")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_metadata_of_another_kind(client, monkeypatch):
    from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse

    answer = GetModelMetadataResponse()
    answer.metadata["signature_def"].value = b"\xff" * 9
    answer.metadata[
        "signature_def"
    ].type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    monkeypatch.setattr(client, "_call", lambda *_: answer)
    with pytest.raises(InputError, match="expected metadata of a served model"):
        client.signatures()
