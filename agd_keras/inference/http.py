"""One HTTP exchange within limits that hold: of time, of bytes, and of where it may lead."""

import os
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, LocationParseError, ReadTimeoutError
from urllib3.util import Timeout, Url, make_headers, parse_url

from agd_keras.errors import InputError
from agd_keras.text import clean

WAIT = 0.5  # seconds before the second try, doubled before each further one
CONNECT = 5  # seconds; a host that drops packets never says no
REFUSED = (429, 503)  # too many requests, not ready: what a later try may get past
_PIECE = 2**16


def exchange(
    method: str,
    url: str,
    body: str | None = None,
    *,
    shown: str,
    timeout: float = 60,
    retries: int = 4,
    most: int = 2**27,
) -> tuple[int, bytes]:
    """Sends one request and reads the answer, and talks to nobody but the host that was named.

    Redirects are not followed, and neither proxies of the environment nor `.netrc` nor cookies are
    used: the body may be a patient's images. Each try has a connection of its own.

    Args:
        method: `GET` or `POST`.
        url: The address; a name and password in it are sent as basic authentication.
        body: JSON to send.
        shown: What names the address in an error.
        timeout: Seconds for everything together, tries again included.
        retries: Further tries where the server is out of reach or busy; waits double, from half a
            second.
        most: Largest answer that is read, in bytes.

    Returns:
        The status and the body.

    Raises:
        InputError: There is no server, or its answer is late, too large, compressed or a redirect.

    Example:

    >>> exchange("GET", "http://localhost:1/v1", shown="it", retries=0)
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: it: no server (Connection refused)
    """
    try:
        address = parse_url(url)
    except LocationParseError:  # whose text repeats a password
        raise InputError(f"{shown}: expected an address of host and port") from None
    deadline = time.monotonic() + timeout
    wait = WAIT
    for left in reversed(range(retries + 1)):
        last = not left or time.monotonic() + wait >= deadline
        try:
            status, content = _exchange(method, address, body, shown, deadline, most)
            if last or status not in REFUSED:
                return status, content
        except _UnreachableError as error:
            if last:
                raise InputError(*error.args) from None
        except TimeoutError:  # not again: the server had more to do then
            raise InputError(f"{shown}: no answer within {timeout:g} s") from None
        time.sleep(wait)
        wait *= 2
    raise AssertionError("the last try returns or raises")


class _UnreachableError(Exception):
    """What a later try may get past."""


def _exchange(
    method: str, url: Url, body: str | None, shown: str, deadline: float, most: int
) -> tuple[int, bytes]:
    left = max(deadline - time.monotonic(), 0.001)
    try:
        with _Guard(deadline) as guard, _pool(url, guard) as pool:
            answer = pool.urlopen(
                method,
                url.request_uri,
                body=body,
                headers=_headers(url),
                retries=False,  # its own would read what is refused to the end
                timeout=Timeout(connect=min(CONNECT, left), read=left),
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                _check_headers(answer, shown)
                content = bytearray()
                while piece := answer.read(_PIECE):
                    content += piece
                    if len(content) > most:
                        raise InputError(f"{shown}: an answer of more than {most:,} bytes")
            finally:
                answer.close()
    except InputError:
        raise
    except (HTTPError, OSError, ValueError) as error:
        if time.monotonic() >= deadline or isinstance(error, ReadTimeoutError):
            raise TimeoutError from None
        raise _UnreachableError(f"{shown}: no server ({_reason(error)})") from None
    if time.monotonic() >= deadline:  # a body without a length only ends sooner
        raise TimeoutError
    return answer.status, bytes(content)


def _headers(url: Url) -> dict[str, str]:
    # Compressed answers could be a thousand times their size, and save nothing in a hospital's net.
    headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
    return headers | make_headers(basic_auth=unquote(url.auth)) if url.auth else headers


def _check_headers(answer: Any, shown: str) -> None:
    if 300 <= answer.status < 400:
        where = clean(answer.headers.get("Location", "nowhere"))
        raise InputError(f"{shown}: redirects to {where}, which is not followed")
    coding = answer.headers.get("Content-Encoding", "identity")
    if coding.strip().lower() not in ("identity", ""):
        raise InputError(f"{shown}: expected an answer without compression, got {clean(coding)}")


class _Guard:
    """Ends connections at the deadline, however slowly bytes drip in or out."""

    def __init__(self, deadline: float):
        self._deadline = deadline
        self._timers: list[threading.Timer] = []

    def watch(self, connected: socket.socket) -> None:
        left = max(self._deadline - time.monotonic(), 0)
        timer = threading.Timer(left, _end, (connected,))
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def __enter__(self) -> "_Guard":
        return self

    def __exit__(self, *_: object) -> None:
        for timer in self._timers:
            timer.cancel()


def _end(connected: socket.socket) -> None:
    # That of the class: an SSL socket's own would also take away what another thread reads.
    with suppress(OSError):  # closed already
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


class _Guarded:
    def __init__(self, *args: Any, guard: _Guard, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._guard = guard

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._guard.watch(self.sock)  # type: ignore[attr-defined]


class _Connection(_Guarded, HTTPConnection):
    pass


class _SecureConnection(_Guarded, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection  # type: ignore[assignment]


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection  # type: ignore[assignment]


def _pool(url: Url, guard: _Guard) -> HTTPConnectionPool:
    kinds = {"http": _Pool, "https": _SecurePool}
    if url.scheme not in kinds or not url.host:
        raise ValueError("expected an address with http or https and a host")
    options: dict[str, Any] = {"guard": guard}
    if url.scheme == "https":  # a hospital's own authority
        options["ca_certs"] = os.environ.get("REQUESTS_CA_BUNDLE") or None
        options["ssl_context"] = ssl.create_default_context(cafile=options["ca_certs"])
    return kinds[url.scheme](url.host, url.port, **options)


def _reason(error: Exception) -> str:
    # The innermost says what happened; those around it repeat the address.
    while isinstance(inner := (error.__cause__ or error.__context__), Exception):
        error = inner
    return clean(error.strerror if isinstance(error, OSError) and error.strerror else error)
