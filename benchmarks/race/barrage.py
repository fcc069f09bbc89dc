"""Requests that arrive at once, without a thread each."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Final

#: Seconds after which a request counts as hanging.
HANGING: Final = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a browser got; without a status the connection broke."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    #: The session cookie that it sets, empty where it is deleted.
    cookie: str | None = None
    #: From the moment at which all requests were sent.
    seconds: float = 0.0

    @property
    def signed_in(self) -> bool:
        """Whether the app saw a person."""
        return self.status == 200 and self.body.get("status") == "active"

    @property
    def signed_out(self) -> bool:
        """Whether the session is over, as far as this browser can tell."""
        return self.cookie == "" or self.body.get("status") == "anonymous"

    @property
    def hung(self) -> bool:
        """Whether there was no end to it."""
        return self.status == 0 and self.seconds >= HANGING


def barrage(
    ports: Sequence[int],
    cookie: str,
    count: int,
    *,
    paths: Sequence[str] = ("/",),
    meanwhile: Callable[[], object] | None = None,
    gap: float = 0.0,
) -> list[Answer]:
    """Send requests with one cookie at the same moment and return all answers.

    :param ports: Of the servers that take turns.
    :param paths: Of the pages that take turns.
    :param meanwhile: Runs when all are sent, before anything is read.
    :param gap: Seconds between two connections, for one worker not to take them all.
    """
    requests = [
        f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n"
        "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n"
        "Sec-Fetch-Dest: document\r\n\r\n"
        for path in paths
    ]
    sockets = []
    for index in range(count):
        address = ("127.0.0.1", ports[index % len(ports)])
        sockets.append(socket.create_connection(address, HANGING))
        time.sleep(gap)
    start = time.monotonic()
    for connection, request in zip(sockets, cycle(requests), strict=False):
        connection.sendall(request.encode())
    if meanwhile is not None:
        meanwhile()
    return _read_all(sockets, start)


def visit(port: int, cookie: str) -> Answer:
    """Return the answer to one request."""
    [answer] = barrage([port], cookie, 1)
    return answer


def _read_all(sockets: Sequence[socket.socket], start: float) -> list[Answer]:
    received = {connection: bytearray() for connection in sockets}
    answers: list[Answer] = []
    with selectors.DefaultSelector() as selector:
        for connection in sockets:
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map() and time.monotonic() - start < HANGING:
            for key, _ in selector.select(0.5):
                connection = key.fileobj  # type: ignore[assignment]
                block = _receive(connection)
                received[connection] += block
                if not block:
                    selector.unregister(connection)
                    # Gunicorn's thread waits for it.
                    connection.close()
                    seconds = time.monotonic() - start
                    answers.append(_parse(bytes(received[connection]), seconds))
        answers += [Answer(0, seconds=HANGING)] * len(selector.get_map())
    for connection in sockets:
        connection.close()
    return answers


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def _parse(raw: bytes, seconds: float) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    if not body:
        return Answer(0, seconds=seconds)
    status_line, *lines = head.decode("latin-1").split("\r\n")
    cookie = None
    for line in lines:
        name, _, value = line.partition(": ")
        if name.lower() == "set-cookie" and value.startswith("wos-session="):
            cookie = value.partition(";")[0].partition("=")[2]
    status = int(status_line.split()[1])
    try:
        content = json.loads(body)
    except ValueError:
        content = {}
    return Answer(status, content, cookie, seconds)
