"""The way to WorkOS: deadlines, limits and failures, over real sockets."""

from __future__ import annotations

import inspect
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import requests.exceptions
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
)

from wsgi_authkit.errors import APIUnavailable
from wsgi_authkit.testing import Clock, FakeWorkOS, self_signed_certificate
from wsgi_authkit.testing.faults import NameNotResolved
from wsgi_authkit.transport import MAX_RESPONSE, Answer, Deadline, Transport

#: Seconds of a test that is cut by its deadline, and seconds that it never takes.
SHORT, LONG = 0.3, 5.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Wire:
    """A server of one test, and what it was sent."""

    port: int
    scheme: str = "http"
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/path"

    def headers(self, index: int = -1) -> dict[str, str]:
        lines = self.requests[index].partition(b"\r\n\r\n")[0].decode().split("\r\n")
        pairs = [line.partition(": ") for line in lines[1:]]
        return {name.lower(): value for name, _, value in pairs}

    def drip(self, connection: socket.socket, content: bytes) -> None:
        """Send a byte at a time, for as long as the test goes on."""
        for byte in content:
            connection.sendall(bytes([byte]))
            if self.stopped.wait(0.02):
                return


Handler = Callable[[Wire, socket.socket], None]


@contextmanager
def listening(handler: Handler, certfile: Path | None = None) -> Iterator[Wire]:
    """Serve each connection by a thread; ``handler`` answers one request."""
    listener = socket.create_server(("127.0.0.1", 0))
    wire = Wire(listener.getsockname()[1], "http" if certfile is None else "https")
    context = None
    if certfile is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certfile)
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), ExitStack() as stack:
            stack.enter_context(connection)
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
                stack.enter_context(connection)
            while (request := read_request(connection)) is not None:
                wire.requests.append(request)
                handler(wire, connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(LONG)
                wire.connections += 1
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield wire
    finally:
        wire.stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join()
        # The clients keep their connections until they are collected.
        for thread in threads:
            thread.join(0)


def read_request(connection: socket.socket) -> bytes | None:
    received = b""
    while b"\r\n\r\n" not in received:
        block = connection.recv(65536)
        if not block:
            return None
        received += block
    head, _, body = received.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answering(*parts: bytes) -> Handler:
    def handler(wire: Wire, connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return handler


def closing(*parts: bytes) -> Handler:
    def handler(wire: Wire, connection: socket.socket) -> None:
        answering(*parts)(wire, connection)
        connection.shutdown(socket.SHUT_RDWR)

    return handler


def silent(wire: Wire, connection: socket.socket) -> None:
    wire.stopped.wait(LONG * 2)


def post(
    transport: Transport, wire: Wire, seconds: float = LONG, **options: Any
) -> Answer:
    return transport.send(
        "POST", wire.url, deadline=Deadline(seconds), json_body={"a": 1}, **options
    )


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


class Failing(HTTPAdapter):
    """Raises instead of sending."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        raise self.error


class Raising:
    """A body whose reading raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def read1(self, amount: int) -> bytes:
        raise self.error


class FailingBody(HTTPAdapter):
    """Answers with a body that cannot be read."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        response = self.build_response(request, HTTPResponse(body=b"", status=200))
        response.raw = Raising(self.error)
        response.close = lambda: None  # type: ignore[method-assign]
        return response


def trusting(certfile: Path) -> requests.Session:
    session = requests.Session()
    # Variables of the environment would be stronger than `verify`.
    session.trust_env = False
    session.verify = str(certfile)
    return session


def failing(adapter: HTTPAdapter) -> Transport:
    session = requests.Session()
    session.mount("https://", adapter)
    return Transport(session)


def send(
    transport: Transport,
    *,
    seconds: float = LONG,
    monotonic: Callable[[], float] = time.monotonic,
) -> Answer:
    deadline = Deadline(seconds, monotonic)
    return transport.send("GET", "https://api.workos.com/path", deadline=deadline)


# --- deadlines ---------------------------------------------------------------


def test_deadline_counts_down_and_ends_in_a_time_out() -> None:
    clock = Clock(100.0)
    deadline = Deadline(6, clock)
    clock.advance(4)
    assert deadline.left() == 2
    clock.advance(2)
    with pytest.raises(TimeoutError):
        deadline.left()


def test_connecting_is_cut_at_the_deadline() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.listen(0)
        address = listener.getsockname()
        # Nobody accepts, so that further connections get no answer.
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        with within(LONG), pytest.raises(APIUnavailable) as caught:
            post(Transport(), Wire(address[1]), SHORT)
    assert caught.value.request_sent is False


@pytest.mark.parametrize(("seconds", "connect"), [(8, 2), (2, 2), (1, 1)])
def test_connecting_may_take_two_seconds_of_the_time(
    seconds: float, connect: float
) -> None:
    given = []

    class Recording(HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> requests.Response:
            given.append(kwargs["timeout"])
            raise requests.ConnectionError

    with pytest.raises(APIUnavailable):
        send(failing(Recording()), seconds=seconds, monotonic=Clock())
    (timeout,) = given
    assert (timeout.connect_timeout, timeout.total) == (connect, seconds)


def test_waiting_for_the_first_byte_is_cut_at_the_deadline() -> None:
    with (
        listening(silent) as wire,
        within(LONG),
        pytest.raises(APIUnavailable) as caught,
    ):
        post(Transport(), wire, SHORT)
    assert caught.value.request_sent is True
    assert caught.value.status_code is None


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"Content-Length: 9999\r\n\r\n", id="keep-alive"),
        pytest.param(b"Content-Length: 9999\r\nConnection: close\r\n\r\n", id="close"),
        pytest.param(b"Connection: close\r\n\r\n", id="until the end"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n2328\r\n", id="chunked"),
        pytest.param(
            b"Location: http://127.0.0.1/\r\nContent-Length: 9999\r\n\r\n",
            id="location",
        ),
    ],
)
@pytest.mark.parametrize("status", [b"200 OK", b"302 Found", b"500 Error"])
def test_dripping_body_is_cut_at_the_deadline(head: bytes, status: bytes) -> None:
    """Each byte comes in time: only a limit for the whole stops the server."""

    def handler(wire: Wire, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 " + status + b"\r\n" + head)
        wire.drip(connection, b"a" * 9000)

    with (
        listening(handler) as wire,
        within(LONG),
        pytest.raises(APIUnavailable) as caught,
    ):
        post(Transport(), wire, SHORT)
    assert caught.value.request_sent is True


@pytest.mark.parametrize(
    ("sent", "dripped"),
    [
        pytest.param(b"", b"HTTP/1.1 200 OK" + b" " * 9000, id="status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"a" * 9000, id="header"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 400, id="continue"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"0" * 9000,
            id="length of a chunk",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
            b"X-A: " + b"a" * 9000,
            id="trailer",
        ),
    ],
)
def test_dripping_head_is_cut_at_the_deadline(sent: bytes, dripped: bytes) -> None:
    """http.client takes as many reads for it as the server pleases."""

    def handler(wire: Wire, connection: socket.socket) -> None:
        connection.sendall(sent)
        wire.drip(connection, dripped)

    with listening(handler) as wire, within(LONG), pytest.raises(APIUnavailable):
        post(Transport(), wire, SHORT)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"Content-Length: 9999\r\n\r\n", id="keep-alive"),
        pytest.param(b"Content-Length: 9999\r\nConnection: close\r\n\r\n", id="close"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n2328\r\n", id="chunked"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_every_read_gets_only_the_time_that_is_left(
    head: bytes, scheme: str, tmp_path: Path
) -> None:
    """A silence at the very end must not last as long as the whole call may."""
    clock = Clock()
    certfile = self_signed_certificate(tmp_path / "server.pem")

    def handler(wire: Wire, connection: socket.socket) -> None:
        clock.advance(4 * LONG - 0.1)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"a")
        wire.stopped.wait(4 * LONG)

    with listening(handler, certfile if scheme == "https" else None) as wire:
        transport = Transport(trusting(certfile))
        deadline = Deadline(4 * LONG, clock)
        with within(LONG), pytest.raises(APIUnavailable):
            transport.send("GET", wire.url, deadline=deadline)
        assert len(wire.requests) == 1


def test_no_request_is_sent_after_the_deadline() -> None:
    clock = Clock()
    deadline = Deadline(1, clock)
    clock.advance(1)
    with listening(answering(OK)) as wire:
        with pytest.raises(APIUnavailable):
            Transport().send("GET", wire.url, deadline=deadline)
        assert wire.connections == 0


# --- size --------------------------------------------------------------------


def sized(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size


def test_body_of_the_limit_is_accepted() -> None:
    with listening(answering(sized(1000))) as wire:
        answer = post(Transport(), wire, limit=1000)
    assert answer.body == b"a" * 1000


def test_body_over_the_limit_is_refused() -> None:
    with (
        listening(answering(sized(1001))) as wire,
        pytest.raises(APIUnavailable, match="larger") as caught,
    ):
        post(Transport(), wire, limit=1000)
    assert caught.value.request_sent is True


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="no length"),
        pytest.param(
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /\r\n\r\n", id="redirect"
        ),
    ],
)
def test_endless_body_is_given_up_at_the_limit(head: bytes) -> None:
    sent = []

    def handler(wire: Wire, connection: socket.socket) -> None:
        connection.sendall(head)
        while not wire.stopped.is_set():
            connection.sendall(b"a" * 65536)
            sent.append(65536)

    with (
        listening(handler) as wire,
        within(LONG),
        pytest.raises(APIUnavailable, match="larger"),
    ):
        post(Transport(), wire)
    # What the kernel's buffers take is sent and not read.
    assert sum(sent) < 32 * MAX_RESPONSE


def test_compressed_body_is_not_asked_for_and_not_expanded() -> None:
    bomb = b"\x1f\x8b" + b"a" * 100
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 102\r\n\r\n"
    with listening(answering(head + bomb)) as wire:
        answer = post(Transport(), wire)
    assert wire.headers()["accept-encoding"] == "identity"
    assert answer.body == bomb


# --- what is sent ------------------------------------------------------------


def test_request_is_json_with_the_bearer_given() -> None:
    with listening(answering(OK)) as wire:
        answer = post(Transport(), wire, bearer="sk_test")
    headers = wire.headers()
    assert json.loads(wire.requests[0].partition(b"\r\n\r\n")[2]) == {"a": 1}
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer sk_test"
    assert headers["user-agent"] == "wsgi-authkit"
    assert (answer.status_code, answer.json()) == (200, {})


def test_request_without_bearer_has_no_authorization() -> None:
    with listening(answering(OK)) as wire:
        post(Transport(), wire)
    assert "authorization" not in wire.headers()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("given", [False, True], ids=["own session", "session given"])
def test_redirect_is_not_followed(code: int, given: bool) -> None:
    """Otherwise a 307 sends the refresh token on to wherever it points."""
    with listening(answering(OK)) as other:
        head = f"HTTP/1.1 {code} Moved\r\nLocation: {other.url}\r\n"
        redirect = head.encode() + b"Content-Length: 0\r\n\r\n"
        with listening(answering(redirect)) as wire:
            answer = post(Transport(requests.Session() if given else None), wire)
    assert answer.status_code == code
    assert len(wire.requests) == 1
    assert other.connections == 0


@pytest.mark.parametrize("location", [b"http://[", b"https://\xff/", b"//", b"ftp://a"])
def test_location_that_is_no_url_is_left_alone(location: bytes) -> None:
    head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location
    with listening(answering(head + b"\r\n\r\n")) as wire:
        assert post(Transport(), wire).status_code == 302


@pytest.mark.parametrize("bearer", ["sk_test", None])
def test_netrc_gives_no_credentials(
    bearer: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2024-47081: ``.netrc`` replaces the header of a request without ``auth``."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1\nlogin mallory\npassword secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    session = requests.Session()
    assert session.trust_env
    with listening(answering(OK)) as wire:
        requests.get(wire.url, timeout=LONG)
        assert wire.headers()["authorization"].startswith("Basic ")
        for transport in (Transport(session), Transport()):
            post(transport, wire, bearer=bearer)
            expected = f"Bearer {bearer}" if bearer else None
            assert wire.headers().get("authorization") == expected


def test_proxies_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with listening(answering(OK)) as proxy, listening(answering(OK)) as wire:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        post(Transport(), wire)
        assert (wire.connections, proxy.connections) == (1, 0)
        # A session that is given is used as it is.
        post(Transport(requests.Session()), wire)
        assert (wire.connections, proxy.connections) == (1, 1)


def test_cookies_of_workos_are_not_kept() -> None:
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    transport = Transport()
    with listening(answering(cookie)) as wire:
        post(transport, wire)
        post(transport, wire)
    assert len(wire.requests) == 2
    assert "cookie" not in wire.headers()


# --- connections -------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(OK, id="length"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", id="no body"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
            id="chunked",
        ),
        pytest.param(
            b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 2\r\n\r\n{}",
            id="redirect",
        ),
        pytest.param(
            b"HTTP/1.1 500 Error\r\nContent-Length: 2\r\n\r\n{}", id="error status"
        ),
    ],
)
def test_connection_is_used_again_after_a_whole_body(content: bytes) -> None:
    transport = Transport()
    with listening(answering(content)) as wire:
        for _ in range(3):
            post(transport, wire)
    assert len(wire.requests) == 3
    assert wire.connections == 1


def test_connection_is_not_used_again_after_a_part_of_a_body() -> None:
    """The rest of one person's answer would be the beginning of the next one's."""
    transport = Transport()
    with listening(answering(sized(500_000))) as wire:
        with pytest.raises(APIUnavailable):
            post(transport, wire, limit=10)
        assert len(post(transport, wire).body) == 500_000
    assert wire.connections == 2


def test_connection_that_the_server_closed_is_replaced() -> None:
    transport, closed = Transport(), threading.Event()

    def handler(wire: Wire, connection: socket.socket) -> None:
        closing(OK)(wire, connection)
        closed.set()

    with listening(handler) as wire:
        post(transport, wire)
        assert closed.wait(LONG)
        assert post(transport, wire).json() == {}
    assert wire.connections == 2


def test_session_given_is_used(tmp_path: Path) -> None:
    certfile = self_signed_certificate(tmp_path / "server.pem")
    session = trusting(certfile)
    session.headers["X-Tenant"] = "acme"
    seen: list[str | None] = []
    session.hooks["response"].append(lambda response, **_: seen.append(response.url))
    with listening(answering(OK), certfile) as wire:
        assert post(Transport(session), wire).json() == {}
        assert seen == [wire.url]
    assert wire.headers()["x-tenant"] == "acme"


def test_construction_opens_nothing_and_imports_no_http_library() -> None:
    program = """
import sys
opened = []
sys.addaudithook(lambda event, args: event == "socket.__new__" and opened.append(event))
from wsgi_authkit.api import WorkOSClient
from wsgi_authkit.config import AuthKitConfig
from wsgi_authkit.transport import Transport
Transport()
config = AuthKitConfig(
    client_id="client_1",
    api_key="sk_test",
    redirect_uri="http://localhost/callback",
    cookie_password="a cookie password that is long enough",
    claim_token="claim",
)
client = WorkOSClient(config)
client.jwks_url, client.logout_url("session_1"), client.authorization_url({})
assert not opened
assert not {"requests", "urllib3"} & set(sys.modules)
"""
    root = Path(__file__).parent.parent
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=60,
    )


# --- failures ----------------------------------------------------------------


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_refused_connection_sent_nothing() -> None:
    with pytest.raises(APIUnavailable) as caught:
        post(Transport(), Wire(unused_port()))
    assert caught.value.request_sent is False


def test_unresolved_name_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(APIUnavailable) as caught:
        send(Transport())
    assert caught.value.request_sent is False


def test_unresolved_name_of_the_fake_sent_nothing() -> None:
    fake = FakeWorkOS()
    fake.fail(NameNotResolved())
    with pytest.raises(APIUnavailable) as caught:
        send(Transport(fake.session()))
    assert caught.value.request_sent is False


def test_refused_connection_to_a_proxy_sent_nothing() -> None:
    session = requests.Session()
    session.proxies = {"http": f"http://127.0.0.1:{unused_port()}"}
    with pytest.raises(APIUnavailable) as caught:
        post(Transport(session), Wire(unused_port()))
    assert caught.value.request_sent is False


def test_certificate_that_is_not_trusted_sent_nothing(tmp_path: Path) -> None:
    certfile = self_signed_certificate(tmp_path / "server.pem")
    with listening(answering(OK), certfile) as wire:
        with pytest.raises(APIUnavailable) as caught:
            post(Transport(), wire)
        assert wire.requests == []
    assert caught.value.request_sent is False
    assert "certificate" in str(caught.value.__cause__)


def test_other_error_of_tls_leaves_it_open_what_was_sent() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def speak_no_tls() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=speak_no_tls)
    thread.start()
    with listener, pytest.raises(APIUnavailable) as caught:
        post(Transport(), Wire(port, "https"))
    thread.join()
    assert caught.value.request_sent is True


def resetting(wire: Wire, connection: socket.socket) -> None:
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # close() resets the connection
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close()


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(resetting, id="reset"),
        pytest.param(closing(), id="closed without an answer"),
        pytest.param(closing(b"HTTP/1.1 2"), id="closed in the status line"),
        pytest.param(
            closing(HEAD + b"Content-Length: 9\r\n\r\n{}"), id="truncated body"
        ),
        pytest.param(
            closing(HEAD + b"Connection: close\r\nContent-Length: 9\r\n\r\n{}"),
            id="truncated body, connection: close",
        ),
        pytest.param(
            closing(HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\n{}"),
            id="truncated chunk",
        ),
        pytest.param(
            closing(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"),
            id="no last chunk",
        ),
        pytest.param(
            closing(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
            id="chunk size is no number",
        ),
        pytest.param(
            closing(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n"),
            id="negative chunk size",
        ),
        pytest.param(closing(b"\x15\x03\x01\x00\x02"), id="not HTTP"),
        pytest.param(closing(b"HTTP/1.1 abc OK\r\n\r\n"), id="status is no number"),
        pytest.param(
            closing(HEAD + b"X: " + b"a" * 70000 + b"\r\n\r\n"), id="long header"
        ),
        pytest.param(closing(HEAD + b"X: a\r\n" * 200 + b"\r\n"), id="many headers"),
        pytest.param(
            closing(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
            id="two lengths",
        ),
    ],
)
def test_answer_that_breaks_off_leaves_it_open_what_happened(handler: Handler) -> None:
    with listening(handler) as wire:
        with within(LONG), pytest.raises(APIUnavailable) as caught:
            post(Transport(), wire, 2 * LONG)
        assert len(wire.requests) == 1
    assert caught.value.request_sent is True
    assert caught.value.status_code is None


def error_classes() -> list[type[Exception]]:
    return [
        found
        for module in (requests.exceptions, urllib3.exceptions)
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, Exception)
        and not issubclass(found, Warning)
        and found.__module__ in (module.__name__, "requests.exceptions")
    ]


def instance_of(cls: type[Exception]) -> Exception:
    try:
        return cls()
    except TypeError:
        return cls.__new__(cls)


each_error_class = pytest.mark.parametrize(
    "cls",
    [
        pytest.param(cls, id=f"{cls.__module__}.{cls.__name__}")
        for cls in error_classes()
    ],
)


def test_the_errors_of_both_libraries_are_found() -> None:
    assert {requests.Timeout, ReadTimeoutError} <= set(error_classes())
    assert len(error_classes()) > 40


@each_error_class
@pytest.mark.parametrize("adapter", [Failing, FailingBody])
def test_every_error_of_the_libraries_is_translated(
    cls: type[Exception], adapter: Callable[[Exception], HTTPAdapter]
) -> None:
    with pytest.raises(APIUnavailable):
        send(failing(adapter(instance_of(cls))))


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(TimeoutError("timed out"), id="timeout"),
        pytest.param(ConnectionResetError(104, "reset"), id="reset"),
        pytest.param(ssl.SSLError(1, "bad record mac"), id="tls"),
        pytest.param(OSError(28, "no space"), id="os"),
    ],
)
@pytest.mark.parametrize("adapter", [Failing, FailingBody])
def test_every_error_of_the_system_is_translated(
    error: Exception, adapter: Callable[[Exception], HTTPAdapter]
) -> None:
    with pytest.raises(APIUnavailable) as caught:
        send(failing(adapter(error)))
    assert caught.value.request_sent is True


def test_error_of_our_own_is_not_taken_for_an_outage() -> None:
    with pytest.raises(ZeroDivisionError):
        send(failing(Failing(ZeroDivisionError())))


POOL = HTTPConnectionPool("api.workos.com", 443)
URL = "/users?email=canary"
REFUSED = NewConnectionError(HTTPConnection("api.workos.com"), "refused")


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        pytest.param(
            requests.ConnectionError(MaxRetryError(POOL, URL, REFUSED)),
            False,
            id="refused",
        ),
        pytest.param(
            requests.exceptions.ProxyError(
                MaxRetryError(POOL, URL, ProxyError("no proxy", REFUSED))
            ),
            False,
            id="proxy",
        ),
        pytest.param(
            requests.ReadTimeout(ReadTimeoutError(POOL, URL, "timed out")),
            True,
            id="read timeout",
        ),
        pytest.param(
            requests.ConnectionError(
                ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))
            ),
            True,
            id="reset",
        ),
        pytest.param(
            requests.exceptions.InvalidURL(f"Invalid URL {URL!r}"), True, id="url"
        ),
    ],
)
def test_url_is_in_no_text_of_a_failure(error: Exception, sent: bool) -> None:
    """Its query can name a person; a traceback is logged with all its causes."""
    with pytest.raises(APIUnavailable) as caught:
        send(failing(Failing(error)))
    assert caught.value.request_sent is sent
    assert "canary" not in "".join(traceback.format_exception(caught.value))


# --- answers -----------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="html"),
        pytest.param(b'{"refresh_token": "canary', id="cut"),
        pytest.param(b'{"refresh_token": "canary\xff"}', id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="nested too deeply"),
    ],
)
def test_body_that_is_not_json_is_an_outage(body: bytes) -> None:
    answer = Answer(200, {"X-Request-ID": "req_1"}, body)
    with pytest.raises(APIUnavailable) as caught:
        answer.json()
    assert caught.value.request_sent is True
    assert (caught.value.status_code, caught.value.request_id) == (200, "req_1")
    # An error of the parser has the whole body among its arguments.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_answer_does_not_show_its_body() -> None:
    assert "canary" not in repr(Answer(200, {}, b"canary"))


def test_request_id_is_found_in_any_spelling() -> None:
    head = b"HTTP/1.1 200 OK\r\nx-request-id: req_1\r\nContent-Length: 2\r\n\r\n{}"
    with listening(answering(head)) as wire:
        assert post(Transport(), wire).request_id == "req_1"
