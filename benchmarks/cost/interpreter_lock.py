"""Whether requests lose the interpreter lock, and what that costs them.

Who lets go of it beside a busy thread, which cryptography does for a signature, may
have lost it for a *switch interval*, 5 ms by default.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.cost.rounds import Run

#: Seconds after which the busy thread takes the lock in any case: so long that what
#: changes hands within ``_BATCH`` was let go of.
_INTERVAL: Final = 0.2
#: Seconds for which requests run before the other thread has its turn.
_BATCH: Final = 0.01


class BusyThread:
    """A thread that computes whenever it gets the interpreter lock."""

    def __init__(self) -> None:
        #: Moves whenever it had the lock.
        self.turns = 0
        self._stopped = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let it compute while the block runs."""
        thread = threading.Thread(target=self._compute, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped = True
            thread.join()

    def _compute(self) -> None:
        while not self._stopped:
            self.turns += 1


@dataclass(frozen=True, slots=True)
class Latencies:
    """Microseconds that single requests took."""

    median: float
    p99: float
    #: The part of them that took a millisecond or more.
    waited: float


def latencies(run: Run, count: int) -> Latencies:
    """Time single requests beside a busy thread."""
    with BusyThread().running():
        times = sorted(run(1) for _ in range(count))
    return Latencies(
        median=times[count // 2],
        p99=times[count * 99 // 100],
        waited=sum(one >= 1000 for one in times) / count,
    )


@dataclass(frozen=True, slots=True)
class Releases:
    """How many requests lost the interpreter lock."""

    lost: int
    requests: int

    def __str__(self) -> str:
        return f"{self.lost} of {self.requests}"


def releases(run: Run, count: int, *, within: float = 20.0) -> Releases:
    """Count the requests that lost the interpreter lock.

    :param count: Requests at most.
    :param within: Seconds, for each that loses it waits long.
    """
    busy = BusyThread()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_INTERVAL)
    try:
        with busy.running():
            return _count_releases(run, count, busy, time.monotonic() + within)
    finally:
        sys.setswitchinterval(interval)


def _count_releases(run: Run, count: int, busy: BusyThread, end: float) -> Releases:
    lost = requests = 0
    turn_ends = 0.0
    while requests < count and time.monotonic() < end:
        if time.monotonic() > turn_ends:
            # The other one's turn; it has just had it when this returns.
            time.sleep(0)
            turn_ends = time.monotonic() + _BATCH
        turns = busy.turns
        run(1)
        requests += 1
        if busy.turns != turns:
            lost += 1
            turn_ends = time.monotonic() + _BATCH
    return Releases(lost, requests)
