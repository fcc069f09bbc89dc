"""A circuit breaker, one counter and one time, and a bulkhead before it.

While WorkOS is down, every refresh would hold a worker for its whole deadline. After a
few failures in a row calls fail at once, and one in a while goes through to see. Until
those few have failed, calls that hang are counted: with some of them under way, no
further worker is risked. A burst of calls that are answered is never held up.
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
#: Seconds that any call can take: no second one is let through an open circuit
#: meanwhile.
LONGEST_CALL: Final = 8.0
#: Seconds after which a call that is under way counts as hanging: more than a WorkOS
#: that is slow and works takes, and less than an attempt may.
HANGING: Final = 3.0
#: Hanging calls with which no further one is let through.
MAX_HANGING: Final = 4


class Breaker:
    """Counts transient failures in a row. One object for each process.

    :param monotonic: Seconds that never run backwards.
    :param is_failure: Says of an error whether it counts. By default all do.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        is_failure: Callable[[APIUnavailable], bool] = lambda error: True,
    ) -> None:
        self._monotonic = monotonic
        self._is_failure = is_failure
        self._failures = 0
        self._next_call_at = float("-inf")
        # When each call that is under way began.
        self._under_way: dict[object, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Let the call in the block through, and note how it ended.

        A refusal is an answer: it shows that WorkOS is there.

        :raises APIUnavailable: The circuit is open, ``retry_after`` says for how long,
            or other calls hang.
        """
        call = object()
        self._admit(call)
        try:
            yield
        except APIError as error:
            if isinstance(error, APIUnavailable) and self._is_failure(error):
                self._note_failure()
            else:
                self._failures = 0
            raise
        else:
            self._failures = 0
        finally:
            with self._lock:
                del self._under_way[call]

    def _admit(self, call: object) -> None:
        with self._lock:
            now = self._monotonic()
            self._check_circuit(now)
            self._check_bulkhead(now)
            if self._failures >= MAX_FAILURES:
                # This call finds out; the others wait for what it finds.
                self._next_call_at = now + LONGEST_CALL
            self._under_way[call] = now

    def _check_circuit(self, now: float) -> None:
        if self._failures >= MAX_FAILURES and now < self._next_call_at:
            raise APIUnavailable(
                "WorkOS failed several times in a row, it is left alone for a moment",
                request_sent=False,
                retry_after=max(1.0, self._next_call_at - now),
            )

    def _check_bulkhead(self, now: float) -> None:
        began = self._under_way.values()
        if sum(now - at > HANGING for at in began) >= MAX_HANGING:
            raise APIUnavailable(
                f"{MAX_HANGING} calls to WorkOS hang, no further one is made",
                request_sent=False,
            )

    def _note_failure(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                self._next_call_at = self._monotonic() + PAUSE
