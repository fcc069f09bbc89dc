"""A Redis that can be broken and mended, and what an app saw of it."""

from __future__ import annotations

import json
import signal
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.servers import Server, free_port, redis_server, running

#: Seconds that an operation of Redis may take.
TIMEOUT: Final = 0.25
#: Seconds for which Redis is left alone after a failure.
PAUSE: Final = 5.0


class Redis:
    """A Redis that can be stopped, hung up, made read-only and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._server: Server | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """What an app's ``store`` is."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, empty."""
        command = redis_server(self.port)
        self._server = self._stack.enter_context(
            running(command, self.port, self._folder)
        )

    def stop(self) -> None:
        """Kill it."""
        self._stack.close()

    def restart(self) -> None:
        """Kill it and start it, empty."""
        self.stop()
        self.start()

    def hang(self) -> None:
        """Let it answer nothing, though the host still accepts connections."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        self._send(signal.SIGCONT)

    def make_read_only(self) -> None:
        """Make it the replica of a Redis that cannot be reached."""
        self._command("REPLICAOF", "127.0.0.1", "1")

    def make_writable(self) -> None:
        """Undo :meth:`make_read_only`."""
        self._command("REPLICAOF", "NO", "ONE")

    def _send(self, number: int) -> None:
        assert self._server is not None
        self._server.process.send_signal(number)

    def _command(self, *words: str) -> None:
        import redis

        with redis.Redis(port=self.port) as client:
            client.execute_command(*words)


@dataclass(frozen=True, slots=True)
class Operation:
    """What :class:`benchmarks.race.app.TimedStore` wrote down. Times are seconds."""

    process: int
    thread: int
    name: str
    start: float
    seconds: float
    #: Of these, for how long the thread was ready and had no CPU.
    queued: float
    failed: bool

    @property
    def end(self) -> float:
        """When it was over."""
        return self.start + self.seconds

    @property
    def own_seconds(self) -> float:
        """What it took, less what other programs had the CPUs for."""
        return self.seconds - self.queued


class StoreLog:
    """All operations of a store."""

    def __init__(self, log: Path) -> None:
        lines = log.read_text("utf-8").splitlines()
        operations = [Operation(*json.loads(line)) for line in lines]
        self.operations = sorted(operations, key=lambda one: one.start)
        self.failures = [one for one in self.operations if one.failed]

    @property
    def slowest(self) -> Operation:
        """The operation that took longest."""
        return max(self.operations, key=lambda one: one.own_seconds)

    def too_early(self) -> list[Operation]:
        """Return the operations that began although a failure was known.

        Who failed knows of it. Another thread of the process may have been on its way
        to the store when the failure came out, once.
        """
        return [
            operation for failure in self.failures for operation in self._after(failure)
        ]

    def _after(self, failure: Operation) -> list[Operation]:
        seen = Counter([failure.thread])
        early = []
        for one in self.operations:
            if (
                one.process == failure.process
                and failure.end < one.start < failure.end + PAUSE
            ):
                if seen[one.thread]:
                    early.append(one)
                seen[one.thread] += 1
        return early

    def __str__(self) -> str:
        slowest = self.slowest
        return (
            f"store: {len(self.operations)} operations, {len(self.failures)} failed, "
            f"slowest {slowest.own_seconds * 1000:.0f} ms and "
            f"{slowest.queued * 1000:.0f} ms waiting for a CPU"
        )
