"""Requests over sockets, as many as a server answers, from a process of its own."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from multiprocessing import get_context
from typing import Final, Protocol

#: What the body of every answer is.
BODY: Final = b"hello"
#: Connections at a time.
CONNECTIONS: Final = 8

_OK: Final = (b"HTTP/1.1 200", b"HTTP/1.0 200")


@dataclass(frozen=True, slots=True)
class Load:
    """What a server has done; latencies are in milliseconds."""

    rate: float
    count: int
    p50: float
    p99: float
    #: Of the generator's time, the part in which it computed: at 1 it is the limit.
    busy: float
    #: The first answer, to look at.
    answer: bytes


class Generator(Protocol):
    """Loads a server for some seconds, with ``Cookie`` headers by turns."""

    def __call__(self, port: int, cookies: Sequence[bytes], seconds: float) -> Load: ...


@contextmanager
def generator(core: int | None) -> Iterator[Generator]:
    """Yield what makes load, in another process.

    :param core: Where that process stays, if anywhere.
    """
    pool = ProcessPoolExecutor(
        1, get_context("spawn"), initializer=stay_on, initargs=(core,)
    )
    with pool:
        yield partial(_ask, pool)


def stay_on(core: int | None) -> None:
    """Keep this process, and those that it starts, on a core."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def _ask(
    pool: ProcessPoolExecutor, port: int, cookies: Sequence[bytes], seconds: float
) -> Load:
    return pool.submit(_load, port, cookies, seconds).result(timeout=seconds + 60)


class _Connection:
    """A browser: one request after the other, on one connection where it stays."""

    def __init__(self, port: int, requests: Iterator[bytes]) -> None:
        self._port = port
        self._requests = requests
        self.socket = self._connect()
        self._received = b""
        self._start = 0.0

    def send(self) -> None:
        """Send the next request."""
        self._received = b""
        self._start = time.perf_counter()
        self.socket.sendall(next(self._requests))

    def receive(self) -> tuple[bytes, float] | None:
        """Return the answer and its seconds, ``None`` where more is to come.

        :raises ConnectionError: It broke, or was another answer.
        """
        block = self.socket.recv(65536)
        self._received += block
        if not self._received.endswith(BODY):
            if not block:
                raise ConnectionError("the server closed a connection too early")
            return None
        if not self._received.startswith(_OK):
            raise ConnectionError(f"not 200: {self._received[:80]!r}")
        return self._received, time.perf_counter() - self._start

    def is_over(self) -> bool:
        """Say whether the server closes the connection after this answer."""
        return b"\r\nConnection: close" in self._received

    def reconnect(self) -> None:
        """Make a new connection in place of one that is over."""
        self.socket.close()
        # Part of what the next request takes, for whoever is not let stay.
        self.socket = self._connect()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), 30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def _load(port: int, cookies: Sequence[bytes], seconds: float) -> Load:
    requests = cycle([_request(cookie) for cookie in cookies])
    by_number: dict[int, _Connection] = {}
    poll = select.poll()
    for _ in range(CONNECTIONS):
        connection = _Connection(port, requests)
        by_number[connection.socket.fileno()] = connection
        poll.register(connection.socket, select.POLLIN)
        connection.send()
    times: list[float] = []
    first = b""
    start, cpu = time.perf_counter(), time.process_time()
    end = start + seconds
    while time.perf_counter() < end:
        for number, _ in poll.poll(1000):
            connection = by_number[number]
            answer = connection.receive()
            if answer is None:
                continue
            first = first or answer[0]
            times.append(answer[1])
            if connection.is_over():
                poll.unregister(connection.socket)
                del by_number[number]
                connection.reconnect()
                by_number[connection.socket.fileno()] = connection
                poll.register(connection.socket, select.POLLIN)
            connection.send()
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    for connection in by_number.values():
        connection.socket.close()
    times.sort()
    count = len(times)
    return Load(
        rate=count / took,
        count=count,
        p50=times[count // 2] * 1000,
        p99=times[count * 99 // 100] * 1000,
        busy=cpu / took,
        answer=first,
    )


def _request(cookie: bytes) -> bytes:
    return (
        b"GET / HTTP/1.1\r\nHost: localhost:8000\r\nAccept: text/html\r\n"
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nSec-Fetch-Mode: navigate\r\n"
        b"Sec-Fetch-Dest: document\r\nCookie: " + cookie + b"\r\n\r\n"
    )
