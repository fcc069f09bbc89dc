"""Connections of redis-py that have one deadline for everything an operation does.

redis-py counts from zero for connecting, for each command with which a connection
begins, and for each block of an answer. A server that accepts and then hangs, or sends
a byte now and then, would hold up a request for a multiple of the time-out.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

#: Seconds that an operation has, once, when it comes to a step with its time up: a
#: thread may have got its turn late, which Redis is not to blame for.
LAST_CHANCE: Final = 0.025


class _Deadline:
    """When an operation is over."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._last = False

    def left(self) -> float:
        """Return the seconds left, 0 when there are none."""
        now = time.monotonic()
        if now >= self._end and not self._last:
            self._last = True
            self._end = now + LAST_CHANCE
        return max(0.0, self._end - now)


# Not an attribute of a connection, for the pool connects before it hands one out. Each
# thread has its own, and each greenlet.
_deadline: Final[ContextVar[_Deadline | None]] = ContextVar("deadline", default=None)


def _left() -> float:
    """Return the seconds that the operation of this thread has left, 0 without one."""
    deadline = _deadline.get()
    return deadline.left() if deadline else 0.0


def _timeout() -> float:
    """Return the seconds left for a socket, to which 0 means not to wait."""
    return max(0.001, _left())


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Have everything that timed connections do in the block end in time."""
    token = _deadline.set(_Deadline(seconds))
    try:
        yield
    finally:
        _deadline.reset(token)


def timed(connection_class: Any) -> Any:
    """Return a subclass of one of redis-py's connections that keeps the deadline.

    Resolving a host name is not bounded: nothing in Python can interrupt it.
    """
    from redis import Connection, SSLConnection

    if connection_class is not SSLConnection:
        return _timed(connection_class)

    class TimedSSLConnection(SSLConnection, _timed(Connection)):  # type: ignore[misc]
        # What SSLConnection wraps is a timed socket, as this class comes after it:
        # making a context takes a tenth of a second, before TLS begins.
        def _connect(self) -> _TimedSocket:
            return _TimedSocket(super()._connect())  # type: ignore[no-untyped-call]

    return TimedSSLConnection


def _timed(connection_class: Any) -> Any:
    class TimedConnection(connection_class):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            # Two commands less at the beginning: redis-py tells its name and version,
            # which these hold, the one or the other as its release has it.
            self.lib_name = self.lib_version = self.driver_info = None

        @property
        def socket_connect_timeout(self) -> float:
            # Asked for anew for each address of a name.
            return _timeout()

        @socket_connect_timeout.setter
        def socket_connect_timeout(self, _: object) -> None:
            pass

        socket_timeout = socket_connect_timeout

        def _connect(self) -> _TimedSocket:
            return _TimedSocket(super()._connect())

    return TimedConnection


class _TimedSocket:
    """A socket on which everything together has until the deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._waits = True

    def settimeout(self, seconds: float | None) -> None:
        """Wait until the deadline, or with 0 not at all."""
        self._waits = seconds != 0

    def gettimeout(self) -> float:
        """Return the seconds that TLS has to begin."""
        # To raise here would lose the socket.
        return _timeout()

    def recv(self, *arguments: int) -> bytes:
        """Return what comes in time."""
        self._limit()
        return self._sock.recv(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        """Read what comes in time, for the parser of hiredis."""
        self._limit()
        return self._sock.recv_into(*arguments)

    def sendall(self, data: bytes) -> None:
        """Send all of it in time."""
        self._limit()
        self._sock.sendall(data)

    def _limit(self) -> None:
        seconds = _left() if self._waits else 0.0
        if self._waits and not seconds:
            raise TimeoutError("timed out")
        self._sock.settimeout(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)
