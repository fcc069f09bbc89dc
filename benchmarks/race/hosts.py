"""Gunicorns in front of one WorkOS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.race.app import CERTIFICATE, CLOCK, STORE, STORE_LOG
from benchmarks.race.barrage import Answer, barrage
from benchmarks.race.clock import FileClock
from benchmarks.race.redis import Redis, StoreLog
from benchmarks.race.workos import workos_process
from tests.servers import Server, free_port, gunicorn, running


@dataclass
class Hosts:
    """Gunicorns with temporary files of their own, and what they share."""

    workos: Any
    servers: list[Server]
    #: The clock of all processes.
    clock: FileClock
    redis: Redis | None
    store_log: Path

    @property
    def ports(self) -> list[int]:
        """Where the servers listen."""
        return [server.port for server in self.servers]

    def operations(self) -> StoreLog:
        """Return what was written down of the store."""
        return StoreLog(self.store_log)

    def visit(self, cookie: str) -> Answer:
        """Return the answer to one request."""
        [answer] = barrage(self.ports, cookie, 1)
        return answer

    def race(
        self,
        count: int,
        cookie: str | None = None,
        meanwhile: Callable[[], object] | None = None,
        **options: Any,
    ) -> tuple[int, list[Answer]]:
        """Return how many calls a barrage costs, and its answers."""
        cookie = cookie or self.workos.new_cookie()
        self.workos.reset()
        answers = barrage(self.ports, cookie, count, meanwhile=meanwhile, **options)
        return self.workos.count(), answers


@contextmanager
def hosts(
    *,
    grace: float = 0.0,
    count: int = 1,
    workers: int = 4,
    threads: int = 8,
    with_redis: bool = False,
    with_clock: bool = False,
    with_file: bool = False,
) -> Iterator[Hosts]:
    """Run WorkOS and Gunicorns.

    :param with_redis: They share a Redis, instead of a store of each one's own.
    :param with_file: They share a file.
    :param with_clock: Time passes when the case says so. Implies a shared file.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        clock = FileClock(folder / "clock")
        now = clock if with_clock else time.time
        workos = stack.enter_context(workos_process(grace=grace, clock=now))
        environ = {**workos.settings(), CERTIFICATE: ""}
        log, redis = folder / "store.log", None
        if with_clock:
            environ[CLOCK] = str(folder / "clock")
        if with_clock or with_file:
            environ[STORE] = f"sqlite://{folder}/store.sqlite3"
        if with_redis:
            redis = Redis(folder / "redis")
            stack.callback(redis.stop)
            redis.start()
            environ |= {STORE: redis.url, STORE_LOG: str(log)}
        options = ["-k", "gthread", f"--workers={workers}", f"--threads={threads}"]
        servers = []
        for number in range(count):
            own = folder / f"host{number}"
            port = free_port()
            private = {**environ, "XDG_RUNTIME_DIR": str(own)}
            command = gunicorn(port, *options)
            servers.append(stack.enter_context(running(command, port, own, private)))
        # Every worker has loaded the app, and the keys.
        warm = workos.new_cookie(expired=False)
        barrage([server.port for server in servers], warm, 8 * workers * count)
        yield Hosts(workos, servers, clock, redis, log)
        for server in servers:
            server.stop()
