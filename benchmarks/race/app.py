"""The site: what an app needs to be behind the middleware, and no more.

Servers load it as ``benchmarks.race.app:make_app()``, or ``application``. It must not
import requests, not even by way of another module: gevent patches a worker's sockets
after ``--preload`` has loaded the app.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from benchmarks.race.clock import FileClock
from wsgi_authkit import AuthKitMiddleware
from wsgi_authkit.errors import StoreError
from wsgi_authkit.stores import Store, open_store

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from wsgi_authkit import AuthKitService

#: The store's name, ``"auto"`` by default.
STORE: Final = "RACE_STORE"
#: A file that gets a line for every operation of the store.
STORE_LOG: Final = "RACE_STORE_LOG"
#: The file of a :class:`~benchmarks.race.clock.FileClock`; without it time is real.
CLOCK: Final = "RACE_CLOCK"
#: The certificate of WorkOS; empty for http. Set: workers tell WorkOS who they are.
CERTIFICATE: Final = "RACE_CERTIFICATE"
#: The header in which they do.
WORKER: Final = "X-Worker"

_Result = TypeVar("_Result")


def make_app() -> WSGIApplication:
    """Return the app behind the middleware, configured by the environment."""
    path = os.environ.get(CLOCK)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        return answer(middleware.service, environ, start_response)

    middleware = AuthKitMiddleware(
        app,
        http=_http(),
        store=_store(),
        clock=time.time if path is None else FileClock(path),
        # What has ended in one process is over in all of them a second later.
        revocation_check=1,
    )
    return middleware


def answer(
    service: AuthKitService, environ: WSGIEnvironment, start_response: StartResponse
) -> list[bytes]:
    """Answer who is signed in, after a refresh or a switch where the path says so."""
    session = environ["authkit.session"]
    content: dict[str, Any] = {"worker": os.getpid()}
    headers = [("Content-Type", "application/json")]
    action, _, organization_id = environ["PATH_INFO"][1:].partition("/")
    if action in ("refresh", "switch") and session:
        outcome = service.refresh_session(session, organization_id)
        content["outcome"] = outcome.kind
        headers += outcome.headers
        session = outcome.session or session
    content |= {
        "user": session.user.email if session else None,
        "organization": session.organization_id,
        "status": session.status,
        "reason": session.reason,
    }
    body = json.dumps(content).encode()
    start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
    return [body]


class WorkerSession:
    """A ``requests.Session`` that each worker makes when it first calls WorkOS.

    :param certificate: A file with the certificate to trust, or nothing.
    """

    def __init__(self, certificate: str) -> None:
        self._certificate = certificate
        self._session: Any = None

    def request(self, method: str, url: str, **options: Any) -> Any:
        """Make a request, as a ``requests.Session`` does."""
        if self._session is None:
            self._session = self._make()
        return self._session.request(method, url, **options)

    def _make(self) -> Any:
        import requests

        session = requests.Session()
        session.trust_env = False
        session.verify = self._certificate or True
        session.headers[WORKER] = str(os.getpid())
        return session


class TimedStore:
    """A store whose operations are written down, a line of JSON each.

    The process, the thread, what it was, when it began in monotonic seconds, how long
    it took, for how much of that the thread was ready and had no CPU, and whether it
    failed.
    """

    def __init__(self, inner: Store, path: str) -> None:
        self._inner = inner
        self._path = Path(path)
        self._lines: deque[bytes] = deque()

    def get(self, key: str) -> bytes | None:
        """Return the value of ``key``, or ``None``."""
        return self._timed("get", lambda: self._inner.get(key))

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep ``value`` in place of any earlier one."""
        self._timed("set", lambda: self._inner.set(key, value, ttl))

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep ``value`` only if ``key`` has none."""
        return self._timed("add", lambda: self._inner.add(key, value, ttl))

    def delete(self, key: str, expected: bytes | None = None) -> bool:
        """Forget ``key``, if ``expected`` is its value."""
        return self._timed("delete", lambda: self._inner.delete(key, expected))

    def close(self) -> None:
        """Let go of what the store holds."""
        self._inner.close()

    def _timed(self, name: str, operation: Callable[[], _Result]) -> _Result:
        self._write_down()
        queued = _seconds_in_queue()
        start = time.monotonic()
        failed = False
        try:
            return operation()
        except StoreError:
            failed = True
            raise
        finally:
            seconds = time.monotonic() - start
            queued = _seconds_in_queue() - queued
            who = os.getpid(), threading.get_native_id()
            entry = (*who, name, start, seconds, queued, failed)
            self._lines.append(json.dumps(entry).encode() + b"\n")

    def _write_down(self) -> None:
        # Before the next operation. After this one another thread would get its turn
        # between a failure and what follows from it.
        with self._path.open("ab", buffering=0) as log, suppress(IndexError):
            while True:
                log.write(self._lines.popleft())


def _seconds_in_queue() -> float:
    """Return for how long this thread has been ready and had no CPU, 0 off Linux."""
    try:
        schedstat = Path("/proc/thread-self/schedstat").read_bytes()
    except OSError:
        return 0.0
    return int(schedstat.split()[1]) / 1e9


def _http() -> Any:
    certificate = os.environ.get(CERTIFICATE)
    return None if certificate is None else WorkerSession(certificate)


def _store() -> str | Store:
    name, log = os.environ.get(STORE, "auto"), os.environ.get(STORE_LOG)
    return name if log is None else TimedStore(open_store(name), log)


def __getattr__(name: str) -> Any:
    """Make the app for servers that ask for an object instead of a factory."""
    if name == "application":
        return make_app()
    raise AttributeError(name)
