"""HTTP with a deadline and a size cap: the one module that knows ``requests``.

``requests`` has a time-out for each read, none for the whole call, and neither a limit
for the body nor a default for any of it. :class:`Transport` adds what a call out of a
web server's worker needs, and turns every failure on the way into
:class:`~wsgi_authkit.errors.APIUnavailable`.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING, Any, Final

from wsgi_authkit.errors import APIUnavailable

if TYPE_CHECKING:
    import requests

#: Seconds to connect, for every call.
CONNECT_TIMEOUT: Final = 2.0
#: Bytes of a response that are read at most.
MAX_RESPONSE: Final = 1024 * 1024


class Deadline:
    """A number of seconds that several steps share."""

    def __init__(
        self, seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left.

        :raises TimeoutError: There are none.
        """
        left = self._end - self._monotonic()
        if left <= 0:
            raise TimeoutError
        return left


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response, whatever its status."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def request_id(self) -> str | None:
        """WorkOS's ``X-Request-ID``."""
        return self.headers.get("X-Request-ID")

    def json(self) -> Any:
        """Return the parsed body.

        :raises APIUnavailable: It is not JSON, as behind a proxy that answers itself.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            # The parser's error would carry the whole body, tokens included.
            raise APIUnavailable(
                f"WorkOS answered {self.status_code} with a body that is not JSON",
                request_sent=True,
                status_code=self.status_code,
                request_id=self.request_id,
            ) from None


class Transport:
    """Sends requests and returns whole answers. Opens nothing before the first.

    Redirects are not followed: a refresh token would be sent on to wherever they
    point. ``.netrc`` and the environment's proxies are not read, unless the session
    given does so.
    """

    def __init__(self, http: requests.Session | None = None) -> None:
        self._http = http

    def send(
        self,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        json_body: Any = None,
        bearer: str | None = None,
        limit: int = MAX_RESPONSE,
    ) -> Answer:
        """Send one request and return its answer.

        :param limit: Bytes of the body that are accepted at most.
        :raises APIUnavailable: There was no answer in time, or too large a one.
        """
        headers = {
            # An encoded body could be a thousand times larger than it looks.
            "Accept-Encoding": "identity",
            "Accept": "application/json",
            "User-Agent": "wsgi-authkit",
        }
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        data = None
        if json_body is not None:
            data = json.dumps(json_body).encode()
            headers["Content-Type"] = "application/json"
        with _translated():
            return self._send(method, url, headers, data, deadline, limit)

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | None,
        deadline: Deadline,
        limit: int,
    ) -> Answer:
        from urllib3 import Timeout

        left = deadline.left()
        response = self._session().request(
            method,
            url,
            headers=dict(headers),
            data=data,
            auth=_as_it_is,
            allow_redirects=False,
            stream=True,
            timeout=Timeout(connect=min(CONNECT_TIMEOUT, left), total=left),  # type: ignore[arg-type]
        )
        try:
            body = b"".join(_read(response, deadline, limit))
        finally:
            # A body that was read to its end has given its connection back.
            response.close()
        return Answer(response.status_code, response.headers, body)

    def _session(self) -> requests.Session:
        if self._http is None:
            self._http = _new_session()
        return self._http


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # Without an `auth` of its own a request takes one from `.netrc`, which replaces
    # the Authorization header (CVE-2024-47081).
    request.register_hook("response", _drop_location)  # type: ignore[no-untyped-call]
    return request


def _drop_location(response: requests.Response, **_: Any) -> None:
    # Although it follows no redirect, requests prepares the next request, and reads
    # the whole body for it: without a deadline and without a limit.
    response.headers.pop("Location", None)


def _new_session() -> requests.Session:
    from http.cookiejar import DefaultCookiePolicy

    import requests

    session = requests.Session()
    adapter = _deadline_adapter()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


class _TimedReader(io.RawIOBase):
    """A socket's stream of which all reads together have until a deadline.

    http.client reads a status line, a header or the length of a chunk with as many
    reads as it takes, each with the socket's whole time-out: a server that sends a
    byte a second would hold a worker, and outlast the lease of a refresh.
    """

    def __init__(self, stream: io.RawIOBase, sock: socket.socket, end: float) -> None:
        self._stream = stream
        self._sock = sock
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """A response that has been read to its end by a deadline, or never."""

    def __init__(
        self, sock: socket.socket, *args: Any, end: float, **options: Any
    ) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_TimedReader(self.fp.detach(), sock, end))


def _deadline_adapter() -> requests.adapters.HTTPAdapter:
    """Return an adapter for which the read time-out is that of the whole response."""
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool

    def timed(connection_class: Any) -> Any:
        class TimedConnection(connection_class):  # type: ignore[misc]
            def getresponse(self) -> Any:
                if self.timeout is not None:
                    end = time.monotonic() + self.timeout
                    self.response_class = partial(_TimedResponse, end=end)
                return super().getresponse()

        return TimedConnection

    class TimedHTTPPool(HTTPConnectionPool):
        ConnectionCls = timed(HTTPConnectionPool.ConnectionCls)

    class TimedHTTPSPool(HTTPSConnectionPool):
        ConnectionCls = timed(HTTPSConnectionPool.ConnectionCls)

    adapter = HTTPAdapter()
    adapter.poolmanager.pool_classes_by_scheme = {
        "http": TimedHTTPPool,
        "https": TimedHTTPSPool,
    }
    return adapter


def _read(
    response: requests.Response, deadline: Deadline, limit: int
) -> Iterator[bytes]:
    """Yield the body, block by block, as far as time and size allow."""
    raw, size = response.raw, 0
    # Of urllib3 before 2.2, which requests still allows, a block is a whole body.
    read = raw.read1 if hasattr(raw, "read1") else raw.read
    while True:
        _limit_next_read(raw, deadline.left())
        block = read(65536)
        if not block:
            return
        size += len(block)
        if size > limit:
            raise OverflowError
        yield block


def _limit_next_read(raw: Any, seconds: float) -> None:
    """Let the next read of the socket take at most so long.

    The time-out of requests starts again with every block, so that a server that
    sends a byte every second would hold a worker for ever.
    """
    # The connection has no socket any more where the answer says `Connection: close`.
    reader = getattr(getattr(raw, "_fp", None), "fp", None)
    sock = getattr(getattr(reader, "raw", None), "_sock", None)
    if sock is not None:
        sock.settimeout(seconds)


@contextmanager
def _translated() -> Iterator[None]:
    """Raise every failure on the way as :class:`APIUnavailable`."""
    import requests
    from urllib3.exceptions import HTTPError, ProxySchemeUnsupported

    try:
        yield
    except requests.RequestException as error:
        reason = _reason(error)
        sent = not _never_sent(error, reason)
        what = "did not answer" if sent else "could not be reached"
        raise APIUnavailable(
            f"WorkOS {what}: {type(error).__name__}", request_sent=sent
        ) from reason
    except OverflowError as error:
        raise APIUnavailable(
            "WorkOS's answer is larger than any it gives", request_sent=True
        ) from error
    except (HTTPError, ProxySchemeUnsupported, OSError) as error:
        raise APIUnavailable(
            f"WorkOS's answer broke off: {type(error).__name__}", request_sent=True
        ) from error


def _reason(error: requests.RequestException) -> BaseException | None:
    """Return what urllib3 says of a failure.

    Requests tells the URL with it, which can hold an e-mail address.
    """
    from urllib3.exceptions import MaxRetryError

    reason = error.args[0] if error.args else None
    if isinstance(reason, MaxRetryError):
        reason = reason.reason
    return reason if isinstance(reason, BaseException) else None


def _never_sent(error: requests.RequestException, reason: BaseException | None) -> bool:
    """Say whether the connection was never made, so that repeating is safe."""
    import requests
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, SSLError

    if isinstance(error, requests.ConnectTimeout | requests.exceptions.ProxyError):
        return True
    if isinstance(reason, SSLError):
        # Other errors of TLS can come after the request, too.
        return any(isinstance(arg, SSLCertVerificationError) for arg in reason.args)
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)
