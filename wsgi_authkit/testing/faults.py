"""What can go wrong between an app and WorkOS.

A fault is a value given to :meth:`FakeWorkOS.fail`. In a mounted session each becomes
the exception of requests that real sockets give; over a port the server really breaks
the connection, as far as a listening socket can:

========================== =============================== ====================
fault                      mounted, in requests            served on a port
========================== =============================== ====================
:class:`ConnectionRefused` ``ConnectionError``, not sent   reset
:class:`NameNotResolved`   ``ConnectionError``, not sent   reset
:class:`ConnectTimedOut`   ``ConnectTimeout``              reset
:class:`ConnectionReset`   ``ConnectionError``             reset
:class:`LostResponse`      ``ConnectionError``             reset
:class:`ReadTimedOut`      ``ReadTimeout``                 held open, no answer
:class:`Latency`           ``ReadTimeout`` if too long     really waits
:class:`TruncatedBody`     ``ChunkedEncodingError``        closed in the body
:class:`SlowBody`          ``ConnectionError`` if too long really waits
========================== =============================== ====================

"Not sent" is the cause that requests reports: urllib3's ``NewConnectionError``, or its
``NameResolutionError``; a reset has ``ProtocolError``. A port that listens cannot
refuse a connection or hide its name: for that, use a port where nobody listens.
"""

from __future__ import annotations

import json as json_module
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from wsgi_authkit.testing._http import Response, Wait, json_response, response

#: How a connection ends without a complete response.
Breakage = Literal["refused", "dns", "connect_timeout", "reset", "read_timeout"]

_JSON: Final = "application/json; charset=utf-8"
_PIECE: Final = 1 << 16

_ENVELOPES: Final[dict[int, dict[str, str]]] = {
    401: {"message": "Unauthorized"},
    404: {"message": "Not Found"},
    429: {"error": "too_many_requests", "error_description": "Too many requests."},
    500: {"message": "Internal Server Error"},
    502: {"message": "Bad Gateway"},
    503: {"message": "Service Unavailable"},
    504: {"message": "Gateway Timeout"},
}


class NetworkFault(ConnectionResetError):
    """Raised through the WSGI interface where the connection breaks.

    It is a :exc:`ConnectionResetError`, so a gateway that knows nothing of it treats
    it as what it is: a connection that went away.
    """

    def __init__(self, kind: Breakage, *, waited: bool = False) -> None:
        super().__init__(kind)
        self.kind: Breakage = kind
        #: Whether the time that the client waits has passed already.
        self.waited = waited


class Fault(ABC):
    """Base of all faults."""

    #: Whether the request takes effect before the fault shows.
    processed: ClassVar[bool] = False

    @abstractmethod
    def answer(self, answer: Response | None, wait: Wait) -> Response:
        """Return the response that the client gets, or raise :exc:`NetworkFault`.

        :param answer: WorkOS's own response, ``None`` if the request was not
            processed.
        :param wait: Lets some seconds pass.
        """


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """WorkOS, or a proxy in front of it, answers with a status of its own.

    :param status: The status code.
    :param body: ``"workos"`` is the JSON that WorkOS sends with this status,
        ``"html"`` a proxy's page, ``"empty"`` nothing, ``"string"`` a bare JSON string.
    :param json: Send this as JSON instead.
    :param headers: Sent as well, such as ``{"Retry-After": "2"}``.
    """

    status: int
    body: Literal["workos", "html", "empty", "string"] = "workos"
    json: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self, answer: Response | None, wait: Wait) -> Response:
        """Return the response; the request is not processed."""
        return response(
            self.status, self._content(), self._media_type(), self.headers.items()
        )

    def _content(self) -> bytes:
        if self.json is not None:
            return json_module.dumps(self.json).encode()
        if self.body == "workos":
            default = {"message": "The request could not be processed."}
            return json_module.dumps(_ENVELOPES.get(self.status, default)).encode()
        return {
            "html": b"<!doctype html><title>Error</title><h1>Error</h1>",
            "empty": b"",
            "string": b'"Something went wrong."',
        }[self.body]

    def _media_type(self) -> str:
        if self.json is not None or self.body in ("workos", "string"):
            return _JSON
        return "text/html; charset=utf-8" if self.body == "html" else "text/plain"


@dataclass(frozen=True, slots=True)
class Latency(Fault):
    """The request is processed and the response starts after some seconds."""

    seconds: float
    processed: ClassVar[bool] = True

    def answer(self, answer: Response | None, wait: Wait) -> Response:
        """Wait, then return WorkOS's response."""
        wait(self.seconds)
        return _processed(answer)


class ConnectionRefused(Fault):
    """Nobody listens: the request is not sent."""

    def answer(self, answer: Response | None, wait: Wait) -> Response:
        """Raise :exc:`NetworkFault`."""
        raise NetworkFault("refused")


class NameNotResolved(Fault):
    """The host name is not found: the request is not sent."""

    def answer(self, answer: Response | None, wait: Wait) -> Response:
        """Raise :exc:`NetworkFault`."""
        raise NetworkFault("dns")


class ConnectTimedOut(Fault):
    """The host does not answer to connecting: the request is not sent."""

    def answer(self, answer: Response | None, wait: Wait) -> Response:
        """Raise :exc:`NetworkFault`."""
        raise NetworkFault("connect_timeout")


class ConnectionReset(Fault):
    """The request is sent, not processed, and the connection breaks."""

    def answer(self, answer: Response | None, wait: Wait) -> Response:
        """Raise :exc:`NetworkFault`."""
        raise NetworkFault("reset")


class LostResponse(Fault):
    """The request is processed and the connection breaks before the response.

    The refresh token is rotated, the code is spent, and the client does not know.
    """

    processed: ClassVar[bool] = True

    def answer(self, answer: Response | None, wait: Wait) -> Response:
        """Raise :exc:`NetworkFault`."""
        raise NetworkFault("reset")


class ReadTimedOut(Fault):
    """The request is sent, not processed, and never answered."""

    def answer(self, answer: Response | None, wait: Wait) -> Response:
        """Raise :exc:`NetworkFault`."""
        raise NetworkFault("read_timeout")


class TruncatedBody(Fault):
    """The request is processed and half of the response arrives."""

    processed: ClassVar[bool] = True

    def answer(self, answer: Response | None, wait: Wait) -> Response:
        """Return the response with half of its body."""
        whole = _processed(answer)
        content = b"".join(whole.body)
        return Response(
            status=whole.status,
            headers=whole.headers,
            body=[content[: len(content) // 2]],
        )


class InvalidJSON(Fault):
    """The request is processed and the response is not JSON, though it says so."""

    processed: ClassVar[bool] = True

    def answer(self, answer: Response | None, wait: Wait) -> Response:
        """Return broken JSON with WorkOS's status."""
        return response(_processed(answer).status, b'{"user": {', _JSON)


@dataclass(frozen=True, slots=True)
class HugeBody(Fault):
    """An endless JSON string; the request is not processed.

    :param size: Bytes.
    :param declared: Whether a ``Content-Length`` says so beforehand.
    """

    size: int = 64 << 20
    declared: bool = False

    def answer(self, answer: Response | None, wait: Wait) -> Response:
        """Return the response; its body is made as it is read."""
        headers = [("Content-Type", _JSON)]
        if self.declared:
            headers.append(("Content-Length", str(self.size)))
        return Response(status=200, headers=headers, body=self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        yield b'"'
        remaining = self.size - 1
        while remaining > 0:
            yield b"a" * min(remaining, _PIECE)
            remaining -= _PIECE


@dataclass(frozen=True, slots=True)
class SlowBody(Fault):
    """The request is processed and the body arrives a few bytes at a time.

    :param interval: Seconds between two pieces.
    :param size: Bytes of a piece.
    """

    interval: float = 1.0
    size: int = 16
    processed: ClassVar[bool] = True

    def answer(self, answer: Response | None, wait: Wait) -> Response:
        """Return the response; its body lets time pass as it is read."""
        whole = _processed(answer)
        content = b"".join(whole.body)
        return Response(
            status=whole.status, headers=whole.headers, body=self._drip(content, wait)
        )

    def _drip(self, content: bytes, wait: Wait) -> Iterator[bytes]:
        for start in range(0, len(content), self.size):
            if start:
                wait(self.interval)
            yield content[start : start + self.size]


@dataclass(slots=True)
class _Rule:
    fault: Fault
    path: str | None
    grant_type: str | None
    times: int | None

    def matches(self, endpoint: str, path: str, grant_type: str | None) -> bool:
        return (
            self.times != 0
            and self.path in (None, endpoint, path)
            and self.grant_type in (None, grant_type)
        )


class FaultPlan:
    """The faults to come, in the order in which they were added."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def add(
        self, fault: Fault, path: str | None, grant_type: str | None, times: int | None
    ) -> None:
        """Have matching requests fail, ``times`` of them or all."""
        self._rules.append(_Rule(fault, path, grant_type, times))

    def clear(self) -> None:
        """Have nothing fail."""
        self._rules.clear()

    def take(self, endpoint: str, path: str, grant_type: str | None) -> Fault | None:
        """Return the fault of this request, if it has one, and count it."""
        for rule in self._rules:
            if rule.matches(endpoint, path, grant_type):
                if rule.times is not None:
                    rule.times -= 1
                return rule.fault
        return None


def _processed(answer: Response | None) -> Response:
    return json_response(200, {}) if answer is None else answer
