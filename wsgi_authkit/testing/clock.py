"""A clock that stands still until it is told otherwise."""

from __future__ import annotations

import threading


class Clock:
    """A callable that returns Unix seconds, for every ``clock=`` parameter.

    .. code-block:: python

        clock = Clock()
        fake = FakeWorkOS(clock=clock)
        clock.advance(301)      # the access token is over now

    :param now: Where it stands at first, in Unix seconds.
    """

    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self._now = float(now)
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Put the clock forward; a negative number puts it back."""
        with self._lock:
            self._now += seconds

    def set(self, now: float) -> None:
        """Put the clock to ``now``, in Unix seconds."""
        with self._lock:
            self._now = float(now)

    def __repr__(self) -> str:
        return f"<Clock {self._now}>"
