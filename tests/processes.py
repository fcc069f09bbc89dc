"""Processes that share a store, threads that start at once, and a browser's cookies."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from tests.gateway import CookieJar
from tests.harness import make_config
from wsgi_authkit import AuthKitConfig, AuthKitService
from wsgi_authkit.results import AuthResult
from wsgi_authkit.session import dump_payload, parse_payload
from wsgi_authkit.stores import MemoryStore, Store
from wsgi_authkit.testing import Clock, FakeUser, FakeWorkOS

URL: Final = "http://localhost:8000/"

#: Seconds after which an access token of 300 is expiring, and expired with the leeway.
EXPIRING, EXPIRED = 280, 310

_Result = TypeVar("_Result")


class Killed(BaseException):
    """The process is gone: not even its clean-up reaches the store."""


class SteppedStore:
    """One process's way to the store: something can happen before any operation."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.steps = 0
        self.alive = True
        self._plan: dict[int, Callable[[], object]] = {}

    def before(self, step: int, action: Callable[[], object]) -> None:
        """Do something right before an operation, counted from 1."""
        self._plan[step] = action

    def _step(self) -> None:
        self.steps += 1
        action = self._plan.pop(self.steps, None)
        if action is not None:
            action()
        if not self.alive:
            raise Killed

    def get(self, key: str) -> bytes | None:
        self._step()
        return self.inner.get(key)

    def set(self, key: str, value: bytes, ttl: float) -> None:
        self._step()
        self.inner.set(key, value, ttl)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        self._step()
        return self.inner.add(key, value, ttl)

    def delete(self, key: str, expected: bytes | None = None) -> bool:
        self._step()
        return self.inner.delete(key, expected)

    def close(self) -> None:
        self.inner.close()


def together(works: Sequence[Callable[[], _Result]]) -> list[_Result]:
    """Run each in a thread, all at the same moment, and return what each returned."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], _Result]) -> _Result:
        barrier.wait(timeout=30)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


@contextmanager
def switching() -> Iterator[None]:
    """Let threads take turns every few bytecodes, so that a race shows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


class Site:
    """Services in front of one fake WorkOS, with one clock."""

    def __init__(self, *, config: AuthKitConfig | None = None, **workos: Any) -> None:
        self.clock = Clock()
        self.workos = FakeWorkOS(clock=self.clock, **workos)
        self.ada = self.workos.add_user("ada@example.com", first_name="Ada")
        self.config = config or make_config()
        self.store = MemoryStore(self.clock)
        self.service = self.new_process()

    def new_process(self, **options: Any) -> AuthKitService:
        """Return another process's service: nothing is shared but the store."""
        defaults = {
            "http": self.workos.session(),
            "clock": self.clock,
            "store": self.store,
        }
        return AuthKitService(self.config, **{**defaults, **options})

    def start(self, user: FakeUser | None = None, **options: Any) -> dict[str, Any]:
        """Return a new session, as WorkOS answers it."""
        return self.workos.create_session(user or self.ada, **options)

    def cookie(self, answer: Mapping[str, Any] | None = None) -> str:
        """Return the ``Cookie`` header of a session, a new one unless given."""
        payload = parse_payload(answer or self.start())
        sealed = self.service.encryption.seal(dump_payload(payload))
        return f"{self.config.cookie_name}={sealed}"

    def visit(
        self,
        cookies: str,
        *,
        service: AuthKitService | None = None,
        navigation: bool = True,
    ) -> AuthResult:
        """Return what the service makes of a request."""
        return (service or self.service).with_auth(cookies, navigation=navigation)

    @property
    def refreshes(self) -> int:
        """How often WorkOS was asked to refresh."""
        return self.workos.count("refresh")


class Browser:
    """Keeps the cookies of one person and visits the site."""

    def __init__(self, site: Site, answer: Mapping[str, Any] | None = None) -> None:
        self.site = site
        self.jar = CookieJar(clock=site.clock)
        self.jar.store(URL, f"{site.cookie(answer)}; Path=/; Max-Age=9999999")

    @property
    def cookies(self) -> str:
        return self.jar.header(URL)

    def receive(self, headers: Sequence[tuple[str, str]]) -> None:
        """Store the cookies of a response."""
        for _, value in headers:
            self.jar.store(URL, value)

    def visit(self, **options: Any) -> AuthResult:
        """Visit the site and store what it answers."""
        result = self.site.visit(self.cookies, **options)
        self.receive(result.headers)
        return result
