"""What holds for every test: no network but loopback, and a clean environment."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import Harness


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Let servers be stopped with Ctrl-C also where the tests cannot be.

    A shell has what it starts in the background ignore SIGINT, and so would all that
    the tests start: none of it would stop.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Fail the test that connects to, or resolves, anything but this machine.

    ``pytest.fail`` raises a ``BaseException``, so code that treats every error of the
    network as an outage cannot hide it.
    """
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _refuse_unless_local(address)
        connect(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_unless_local((host,))
        return resolve(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


@pytest.fixture(autouse=True)
def _clean_environ() -> Iterator[None]:
    """Hide the developer's own WorkOS settings, and undo what the test sets."""
    saved = dict(os.environ)
    for name in saved:
        if "WORKOS_" in name:
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(saved)


def _refuse_unless_local(address: Any) -> None:
    if not isinstance(address, tuple):
        return  # the path of a Unix socket
    host = address[0].decode() if isinstance(address[0], bytes) else address[0]
    if not _is_local(host or "localhost"):
        pytest.fail(f"a test reaches for {host}: only loopback is allowed")


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture
def harness() -> Harness:
    """A site that signs in through a fake WorkOS, see :mod:`tests.harness`."""
    return Harness()
