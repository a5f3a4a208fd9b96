"""The server of `agd-view`: for this machine, behind its token, of nothing but the cases."""

import gzip
import http.client
import json
import threading
import time
from functools import partial

import nibabel
import numpy as np
import pytest

from agd_keras.errors import InputError
from agd_keras.view.case import Entry, Listing, Shown
from agd_keras.view.server import KEPT, Viewer

HOSTILE = "<img src=x onerror=alert(1)>"


def make_shown(value: float) -> Shown:
    scan = np.full((3, 4, 5), value)
    mask = np.zeros(scan.shape, bool)
    mask[2, 1, 3] = True
    layers = {"prediction": ("prediction", mask)}
    return Shown(scan, (5.0, 1.0, 2.0), layers, {"Dice": "0.5"}, (HOSTILE,))


def refuse() -> Shown:
    raise InputError("a.nii: truncated")


def crash() -> Shown:
    raise ZeroDivisionError("of all things")


@pytest.fixture
def server(page):
    entries = [Entry(f"case {number}", partial(make_shown, number), 0.5) for number in range(4)]
    entries += [Entry("bad", refuse), Entry("worse", crash), Entry(HOSTILE, partial(make_shown, 9))]
    with Viewer(page, Listing("a run", entries, "Dice", card="# A card")) as made:
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        yield made
        made.shutdown()


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def get(server, name, **headers):
    return ask(server, f"/{server.token}/{name}", **headers)


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/{server.token}/"
    assert len(server.token) >= 32


def test_the_page_and_its_list(server):
    answer, body = get(server, "")
    assert answer.status == 200 and b'<meta name="agd-cases" content="cases.json">' in body
    policy = answer.headers["Content-Security-Policy"]
    assert "connect-src 'self'" in policy and "default-src 'none'" in policy
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert answer.headers["Cache-Control"] == "no-store"
    listing = json.loads(get(server, "cases.json")[1])
    assert (listing["title"], listing["figure"]) == ("a run", "Dice")
    first = {"name": "case 0", "url": "cases/0.json", "figure": 0.5}
    assert listing["cases"][0] == first and listing["cases"][-1]["name"] == HOSTILE
    assert get(server, "page.js")[1] == b"script"
    assert get(server, "MODEL_CARD.md")[1] == b"# A card"


def test_a_case_and_its_layers(server):
    case = json.loads(get(server, "cases/1.json")[1])
    assert [layer["name"] for layer in case["layers"]] == ["scan", "prediction"]
    assert case["facts"] == [["Dice", "0.5"]] and case["notes"] == [HOSTILE]
    for layer, expected in zip(case["layers"], (np.ones((3, 4, 5)), None), strict=True):
        answer, body = get(server, layer["url"])
        image = nibabel.Nifti1Image.from_bytes(body)
        assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
        assert image.header.get_zooms() == (2.0, 1.0, 5.0)
        values = np.asarray(image.dataobj).transpose(2, 1, 0)
        if expected is not None:
            np.testing.assert_array_equal(values, expected)
        else:
            assert np.argwhere(values).tolist() == [[2, 1, 3]]
            # The page goes to where the mask is.
            np.testing.assert_allclose(image.affine @ [3, 1, 2, 1], [*case["place"], 1])
    answer, body = get(server, case["layers"][0]["url"], **{"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip" and len(gzip.decompress(body)) == 352 + 240


def test_few_cases_stay_in_memory(server):
    for number in range(4):
        get(server, f"cases/{number}.json")
    assert list(server._shown) == [2, 3] and KEPT == 2


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/index.html",
        "/{other}/",
        "/{other}/cases.json",
        "/{token}",
        "/x/{token}/",
    ],
)
def test_without_the_token_nothing(server, path):
    answer, body = ask(server, path.format(token=server.token, other="a" * len(server.token)))
    assert answer.status == 403 and server.token.encode() not in body


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1", "127.0.0.1:1", "", "localhost.org"])
def test_under_another_name_nothing(server, host):
    assert get(server, "cases.json", Host=host)[0].status == 403


def test_localhost_is_this_machine_too(server):
    assert get(server, "cases.json", Host=f"localhost:{server.server_port}")[0].status == 200


@pytest.mark.parametrize(
    "name",
    [
        *("../index.html", "..%2f..%2fetc/passwd", "/etc/passwd", "page.js/..", "./page.js"),
        *("%2e%2e/page.js", "..\\page.js", "page.js%00", "PAGE.JS", "index.html", "cases"),
        *(
            "cases/7.json",
            "cases/-1.json",
            "cases/0/9.nii",
            "cases/0/-1.nii",
            "cases/99999999.json",
        ),
        *("cases/0.json/../../page.js", "cases/%D9%A3.json", "cases/0/1.nii/x"),
    ],
)
def test_other_addresses_are_nothing(server, name):
    answer, body = get(server, name)
    assert answer.status == 404 and body == b"nothing of that name"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_it_only_reads(server, method):
    assert ask(server, f"/{server.token}/cases.json", method)[0].status == 501


def test_what_cannot_be_read_is_told_and_the_rest_goes_on(server):
    answer, body = get(server, "cases/4.json")
    assert (answer.status, body) == (422, b"a.nii: truncated")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert get(server, "cases/5.json")[0].status == 500
    assert get(server, "cases/0.json")[0].status == 200


def test_one_prediction_at_a_time(page):
    running, most = [], []

    def slow(number: int) -> Shown:
        running.append(number)
        most.append(len(running))
        time.sleep(0.01)
        running.remove(number)
        return make_shown(number)

    entries = [Entry(str(number), partial(slow, number)) for number in range(4)]
    with Viewer(page, Listing("scans", entries)) as made:
        threads = [threading.Thread(target=made.open_case, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert max(most) == 1
