"""A circuit breaker: one counter and one time.

While WorkOS is down, every refresh would hold a worker for its whole deadline. After a
few failures in a row calls fail at once, and one in a while goes through to see.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from wsgi_authkit.errors import APIError, APIUnavailable

#: Failures in a row that open the circuit.
MAX_FAILURES: Final = 5
#: Seconds between two calls that are let through an open circuit.
PAUSE: Final = 5.0
#: Seconds that such a call can take: no second one is let through meanwhile.
LONGEST_CALL: Final = 8.0


class Breaker:
    """Counts transient failures in a row. One object for each process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failures = 0
        self._next_call_at = float("-inf")
        self._lock = threading.Lock()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Let the call in the block through, and note how it ended.

        A refusal is an answer: it shows that WorkOS is there.

        :raises APIUnavailable: The circuit is open; ``retry_after`` says for how long.
        """
        self._check()
        try:
            yield
        except APIUnavailable:
            self._note_failure()
            raise
        except APIError:
            self._failures = 0
            raise
        self._failures = 0

    def _check(self) -> None:
        if self._failures < MAX_FAILURES:
            return
        with self._lock:
            now = self._monotonic()
            wait = self._next_call_at - now
            if wait <= 0:
                # This call finds out; the others wait for what it finds.
                self._next_call_at = now + LONGEST_CALL
                return
        raise APIUnavailable(
            "WorkOS failed several times in a row, it is left alone for a moment",
            request_sent=False,
            retry_after=max(1.0, wait),
        )

    def _note_failure(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                self._next_call_at = self._monotonic() + PAUSE
