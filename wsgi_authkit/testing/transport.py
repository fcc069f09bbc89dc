"""A requests adapter that calls a WSGI app instead of opening a socket.

The app's response is written down as HTTP and read back by :mod:`http.client` and
urllib3, so streaming, short bodies and time-outs behave as they do on a socket.
"""

from __future__ import annotations

import http.client
import io
import itertools
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote_to_bytes, urlsplit
from wsgiref.validate import validator

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPHeaderDict, HTTPResponse, Timeout
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

from wsgi_authkit.testing._http import WAIT_KEY, Wait
from wsgi_authkit.testing.faults import NetworkFault

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication, WSGIEnvironment

_PORTS: Final = {"http": 80, "https": 443}


class WSGIAdapter(HTTPAdapter):
    """Sends requests to a WSGI app, in the same thread.

    .. code-block:: python

        session = requests.Session()
        session.mount("https://api.workos.com/", WSGIAdapter(app))

    Both sides are checked by :mod:`wsgiref.validate`. ``verify``, ``cert`` and
    ``proxies`` have no meaning here.

    :param app: The WSGI app.
    :param sleep: Lets time pass for faults that take time. ``None`` lets none pass;
        time-outs are raised all the same.
    """

    def __init__(
        self, app: WSGIApplication, *, sleep: Callable[[float], None] | None = None
    ) -> None:
        super().__init__()
        self._app = validator(app)
        self._sleep = sleep or _no_sleep

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Return the app's response; its body is made as it is read."""
        connect_timeout, read_timeout = _timeouts(timeout)
        environ = _environ(request)
        environ[WAIT_KEY] = self._waiting(read_timeout)
        try:
            content = _run(self._app, environ)
        except NetworkFault as fault:
            self._let_time_pass(fault, connect_timeout, read_timeout)
            raise _as_requests_exception(fault, request) from None
        return self.build_response(request, _raw_response(request, content))

    def _waiting(self, read_timeout: float | None) -> Wait:
        def wait(seconds: float) -> None:
            if read_timeout is not None and seconds > read_timeout:
                self._sleep(read_timeout)
                raise NetworkFault("read_timeout", waited=True)
            self._sleep(seconds)

        return wait

    def _let_time_pass(
        self, fault: NetworkFault, connect: float | None, read: float | None
    ) -> None:
        silent = fault.kind in ("connect_timeout", "read_timeout")
        # A wait that ended in a time-out has let the time pass already.
        if not silent or fault.waited:
            return
        limit = connect if fault.kind == "connect_timeout" else read
        if limit is None:
            raise AssertionError("a request without a timeout would wait for ever")
        self._sleep(limit)


class _BodyReader(io.RawIOBase):
    """The bytes of a response, taken from the app one block at a time."""

    def __init__(self, blocks: Iterator[bytes], close: Callable[[], None]) -> None:
        self._blocks = blocks
        self._close = close
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            while not self._rest:
                self._rest = next(self._blocks)
        except StopIteration:
            return 0
        except NetworkFault as fault:
            if fault.kind == "read_timeout":
                raise TimeoutError("timed out") from None
            raise
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._close()
        super().close()


class _Socket:
    """As much of a socket as :class:`http.client.HTTPResponse` uses."""

    def __init__(self, content: _BodyReader) -> None:
        self._content = content

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._content)


def _run(app: WSGIApplication, environ: WSGIEnvironment) -> _BodyReader:
    started: list[tuple[str, list[tuple[str, str]]]] = []
    written: list[bytes] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        started[:] = [(status, headers)]
        return written.append

    iterable = app(environ, start_response)
    close = getattr(iterable, "close", _nothing)
    try:
        blocks = _first_pulled(iterable, started)
    except BaseException:
        close()
        raise
    head = _head(*started[0])
    return _BodyReader(itertools.chain([head], written, blocks), close)


def _first_pulled(iterable: Iterable[bytes], started: list[Any]) -> Iterator[bytes]:
    blocks = iter(iterable)
    if started:
        return blocks
    # PEP 3333: start_response may be called as late as for the first block.
    first = list(itertools.islice(blocks, 1))
    return itertools.chain(first, blocks)


def _head(status: str, headers: list[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


def _environ(request: requests.PreparedRequest) -> WSGIEnvironment:
    parts = urlsplit(request.url or "")
    body = _body(request)
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": request.method or "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(parts.path or "/").decode("latin-1"),
        "QUERY_STRING": parts.query,
        "SERVER_NAME": parts.hostname or "",
        "SERVER_PORT": str(parts.port or _PORTS[parts.scheme]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": parts.netloc.rpartition("@")[2],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": parts.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    environ.update(_header_variables(request.headers))
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    return environ


def _header_variables(headers: Mapping[str, Any]) -> dict[str, str]:
    variables = {}
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        variables[key] = value
    variables.pop("HTTP_TRANSFER_ENCODING", None)
    return variables


def _body(request: requests.PreparedRequest) -> bytes:
    body: Any = request.body
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    return b"".join(body)


def _timeouts(timeout: Any) -> tuple[float | None, float | None]:
    if isinstance(timeout, tuple):
        connect, read = timeout
        return connect, read
    if isinstance(timeout, Timeout):
        started = timeout.clone()
        started.start_connect()
        return _seconds(started.connect_timeout), _seconds(started.read_timeout)
    return timeout, timeout


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _raw_response(
    request: requests.PreparedRequest, content: _BodyReader
) -> HTTPResponse:
    fake_socket = cast(socket.socket, _Socket(content))
    original = http.client.HTTPResponse(fake_socket, method=request.method)
    original.begin()
    return HTTPResponse(
        body=original,
        headers=HTTPHeaderDict(original.msg.items()),
        status=original.status,
        version=original.version,
        reason=original.reason,
        preload_content=False,
        decode_content=False,
        original_response=original,
        request_method=request.method,
        request_url=request.url,
    )


def _as_requests_exception(
    fault: NetworkFault, request: requests.PreparedRequest
) -> requests.RequestException:
    parts = urlsplit(request.url or "")
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    pool = HTTPConnectionPool(host, port)
    connection = HTTPConnection(host, port)
    if fault.kind == "reset":
        reset = ConnectionResetError(104, "Connection reset by peer")
        aborted = ProtocolError("Connection aborted.", reset)
        return requests.ConnectionError(aborted, request=request)
    if fault.kind == "read_timeout":
        read = ReadTimeoutError(pool, parts.path, "Read timed out.")
        return requests.ReadTimeout(read, request=request)
    if fault.kind == "connect_timeout":
        late = ConnectTimeoutError(connection, "Connection timed out.")
        return requests.ConnectTimeout(
            MaxRetryError(pool, parts.path, late), request=request
        )
    new = _new_connection_error(fault, connection, host)
    return requests.ConnectionError(
        MaxRetryError(pool, parts.path, new), request=request
    )


def _new_connection_error(
    fault: NetworkFault, connection: HTTPConnection, host: str
) -> NewConnectionError:
    if fault.kind == "dns":
        reason = socket.gaierror(-2, "Name or service not known")
        return NameResolutionError(host, connection, reason)
    return NewConnectionError(connection, "[Errno 111] Connection refused")


def _no_sleep(seconds: float) -> None:
    """Let no time pass."""


def _nothing() -> None:
    """Close what needs no closing."""
