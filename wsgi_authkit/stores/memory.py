"""A store in the memory of one process."""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from wsgi_authkit.errors import ConfigurationError


class MemoryStore:
    """A :class:`~wsgi_authkit.stores.Store` that one process's threads share.

    It is bounded: when it is full, expired entries go first and then the oldest
    written, whatever it is. A lease dropped that way costs a second refresh, a
    marker of an ended session lets that session live until its token expires; so
    ``max_entries`` should exceed the entries written in the longest ``ttl`` used.

    Make one per process: a fork copies the entries and, if another thread is just
    using the store, a lock that nobody releases.

    :param clock: Seconds that never run backwards.
    :param max_entries: The most entries held at one time.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        max_entries: int = 30_000,
    ) -> None:
        if max_entries < 1:
            raise ConfigurationError(["max_entries of MemoryStore must be 1 or more"])
        self._clock = clock
        self._max_entries = max_entries
        self._lock = threading.Lock()
        # Oldest written first. A plain dict would walk over the gaps that eviction
        # leaves at its front.
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        # A heap of what expires when; it can name entries that were replaced since.
        self._expiries: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """Return how many entries are held, expired ones included."""
        return len(self._entries)

    def get(self, key: str) -> bytes | None:
        """Return the value of ``key``, or ``None``."""
        with self._lock:
            return self._live(key, self._clock())

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep ``value`` for ``ttl`` seconds in place of any earlier one."""
        check_ttl(ttl)
        with self._lock:
            self._write(key, value, ttl, self._clock())

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep ``value`` only if ``key`` has none, and return whether it was kept."""
        check_ttl(ttl)
        with self._lock:
            now = self._clock()
            if self._live(key, now) is not None:
                return False
            self._write(key, value, ttl, now)
            return True

    def delete(self, key: str, expected: bytes | None = None) -> bool:
        """Forget ``key``, if ``expected`` is its value, and return whether it was."""
        with self._lock:
            value = self._live(key, self._clock())
            if value is None or expected not in (None, value):
                return False
            del self._entries[key]
            return True

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._expiries.clear()

    def _live(self, key: str, now: float) -> bytes | None:
        value, expires_at = self._entries.get(key, (None, now))
        return value if expires_at > now else None

    def _write(self, key: str, value: bytes, ttl: float, now: float) -> None:
        self._drop_expired(now)
        self._entries.pop(key, None)
        if len(self._entries) >= self._max_entries:
            self._entries.popitem(last=False)
        self._entries[key] = (value, now + ttl)
        self._note_expiry(key, now + ttl)

    def _drop_expired(self, now: float) -> None:
        while self._expiries and self._expiries[0][0] <= now:
            _, key = heapq.heappop(self._expiries)
            if key in self._entries and self._live(key, now) is None:
                del self._entries[key]

    def _note_expiry(self, key: str, expires_at: float) -> None:
        heapq.heappush(self._expiries, (expires_at, key))
        # One key written over and over must not make the heap grow without end.
        if len(self._expiries) > 2 * self._max_entries:
            self._expiries = [(at, name) for name, (_, at) in self._entries.items()]
            heapq.heapify(self._expiries)


def check_ttl(ttl: float) -> None:
    """Refuse a lifetime that no store can keep.

    :raises ValueError: ``ttl`` is not a finite number of seconds above 0.
    """
    if not 0 < ttl < math.inf:
        raise ValueError("ttl must be a finite number of seconds above 0")
