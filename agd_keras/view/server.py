"""A server of the page for this machine alone: read-only, behind a token, of nothing but cases.

No address names a file: those of the page are a fixed list, cases are numbers. What a case may be
read from is decided before the server starts (`view.find`).
"""

import json
import re
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from agd_keras.errors import InputError
from agd_keras.text import clean
from agd_keras.view.case import Listing, Shown, describe, layer_bytes, pack
from agd_keras.web import INDEX

HOST = "127.0.0.1"
KEPT = 2  # cases in memory
_TYPES = {
    **{".html": "text/html; charset=utf-8", ".css": "text/css", ".svg": "image/svg+xml"},
    **{".js": "text/javascript", ".mjs": "text/javascript", ".txt": "text/plain; charset=utf-8"},
    **{".wasm": "application/wasm", ".md": "text/plain; charset=utf-8"},
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "
    "worker-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_MARK = '<meta name="referrer" content="no-referrer">'
_CASE = re.compile(r"cases/(\d{1,6})(?:/(\d{1,2})\.nii|\.json)", re.ASCII)


class Viewer(ThreadingHTTPServer):
    """Serves the page with a list of cases, on a free port of 127.0.0.1.

    Args:
        page: Folder of the built page.
        listing: The cases.

    `url` is the address of the page, with the token that every request has to have.

    Example:

    >>> server = Viewer(find_page(), listing)  # doctest: +SKIP
    >>> server.serve_forever()  # doctest: +SKIP
    """

    daemon_threads = True

    def __init__(self, page: Path, listing: Listing):
        super().__init__((HOST, 0), _Handler)
        self.token = secrets.token_urlsafe(24)
        self.url = f"http://{HOST}:{self.server_port}/{self.token}/"
        self.page, self.listing = page, listing
        self.assets = {path.name for path in page.iterdir() if path.is_file()} - {INDEX}
        self._shown: dict[int, Shown] = {}
        self._lock = threading.Lock()  # one prediction at a time

    def open_case(self, number: int) -> Shown:
        """Returns a case, made when it is first asked for; raises `InputError`."""
        with self._lock:
            if number not in self._shown:
                if not 0 <= number < len(self.listing.entries):
                    raise KeyError(number)
                while len(self._shown) >= KEPT:
                    del self._shown[next(iter(self._shown))]
                self._shown[number] = self.listing.entries[number].load()
            return self._shown[number]

    def list_cases(self) -> bytes:
        """Makes the list that the page asks for first."""
        cases = [
            {"name": one.name, "url": f"cases/{number}.json"}
            | ({} if one.figure is None else {"figure": round(one.figure, 4)})
            for number, one in enumerate(self.listing.entries)
        ]
        listing = {"title": self.listing.title, "figure": self.listing.figure}
        return _json({**listing, "cases": cases})

    def index(self) -> bytes:
        """Makes the page that asks for the list."""
        text = (self.page / INDEX).read_text(encoding="utf-8")
        return text.replace(
            _MARK, f'{_MARK}\n<meta name="agd-cases" content="cases.json">'
        ).encode()


class _Handler(BaseHTTPRequestHandler):
    server: Viewer
    server_version, sys_version = "agd-view", ""
    timeout = 30  # seconds of silence

    def do_GET(self) -> None:
        own = f"{HOST}:{self.server.server_port}"
        # The name that a browser asks under is not ours if a foreign page found its way here.
        if self.headers.get("Host") not in (own, own.replace(HOST, "localhost")):
            return self._refuse(HTTPStatus.FORBIDDEN, "another host")
        _, _, rest = urlsplit(self.path).path.partition("/")
        token, slash, name = rest.partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()) or not slash:
            return self._refuse(HTTPStatus.FORBIDDEN, "the address lacks its token")
        try:
            answer = self._find(name)
        except InputError as error:
            return self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        except (KeyError, IndexError):
            answer = None
        except Exception as error:  # whatever a damaged file made of itself, the page is told
            reason = clean(error) or type(error).__name__
            return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, reason)
        if answer is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "nothing of that name")
        return self._send(HTTPStatus.OK, *answer)

    def _find(self, name: str) -> tuple[str, bytes] | None:
        """Type and content of what an address below the token names."""
        fixed: dict[str, tuple[str, Callable[[], bytes]]] = {
            "": (_TYPES[".html"], self.server.index),
            "cases.json": ("application/json", self.server.list_cases),
            "MODEL_CARD.md": (_TYPES[".md"], lambda: self.server.listing.card.encode()),
        }
        if name in fixed:
            kind, make = fixed[name]
            return kind, make()
        if name in self.server.assets:
            path = self.server.page / name
            return _TYPES.get(path.suffix, "application/octet-stream"), path.read_bytes()
        match = _CASE.fullmatch(name)
        if not match:
            return None
        number = int(match[1])
        shown = self.server.open_case(number)
        if match[2] is None:
            entry = self.server.listing.entries[number]
            return "application/json", _json(describe(shown, entry.name, number))
        return "application/octet-stream", layer_bytes(shown, int(match[2]))

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._send(status, "text/plain; charset=utf-8", reason.encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        packed = kind == "application/octet-stream" and "gzip" in (
            self.headers.get("Accept-Encoding") or ""
        )
        content = pack(content) if packed else content
        self.send_response(status)
        encoding = {"Content-Encoding": "gzip"} if packed else {}
        length = {"Content-Type": kind, "Content-Length": str(len(content))}
        for name, value in (_HEADERS | length | encoding).items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # another case was chosen meanwhile

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing: the addresses hold the token."""


def _json(value: object) -> bytes:
    return json.dumps(value, allow_nan=False).encode()
