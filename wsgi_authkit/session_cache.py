"""Verified sessions by cookie value, for one process.

Who sends the same cookie again is told the same, without a signature to check or a
store to ask: one look into a dict, and the whole value is compared. What is in it was
verified here, so a stranger can put nothing into it; it is dropped when something
happens in this process that a look at the cookie alone would not show.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from wsgi_authkit.cookies import FRONTS
from wsgi_authkit.session import Session

#: Seconds that a session is kept, at most.
MAX_AGE: Final = 300.0
#: Characters of cookie values that are kept for each entry, on average: that of the
#: longest cookie that browsers take. What is made of a value grows with it.
VALUE_BUDGET: Final = 4096
#: Values of one session that are kept. A browser has one at a time; but a seal has many
#: texts, for readers pass over what stands behind its version, so whoever is signed in
#: could fill the cache with one session.
VALUES_OF_ONE: Final = 4

# What a value is looked for by: its end, where a seal has its MAC. To hash 2 KB of
# text, which is new with each request, takes as long as all the rest. Who appends
# something to a seal can choose its end; then the last one is kept, and the other is
# verified again.
_END: Final = slice(-64, None)

#: When somebody began to verify a cookie, in changes since the process started.
Ticket: TypeAlias = int

# The value and its session; from when to when it is valid, in Unix seconds, of which
# the first ends it where the clock is set back; and when it ends in any case, on the
# monotonic clock. A plain tuple: one with names takes twice as long to take apart.
_Entry: TypeAlias = tuple[str, Session, float, float, float]


class SessionCache:
    """The sessions seen last; the oldest goes first.

    A hit takes no lock. The object belongs to one process; make it after a fork.

    :param cookie_name: The name of the session cookie.
    :param size: The most entries; 0 keeps none.
    :param max_age: Seconds that a session is kept, at most; 0 keeps none.
    :param clock: In Unix seconds.
    :param monotonic: In seconds; does not jump.
    """

    def __init__(
        self,
        cookie_name: str,
        size: int,
        *,
        max_age: float = MAX_AGE,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._start = cookie_name, f"{cookie_name}="
        self._size = size if max_age > 0 else 0
        self._max_age = min(max_age, MAX_AGE)
        self._clock = clock
        self._monotonic = monotonic
        self._entries: dict[str, _Entry] = {}
        # Keys by session, so that one is dropped without looking at all.
        self._keys: dict[str, tuple[str, ...]] = {}
        self._characters = 0
        self._changes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def recall(self, cookies: str, now: float) -> Session | None:
        """Return the session of a ``Cookie`` header, if it was verified and counts.

        What it reads is what :func:`~wsgi_authkit.cookies.sole_cookie` reads, to the
        letter: a name that stands anywhere else too is nothing for it. It does so by
        itself, since every signed-in request comes here: a function more costs a server
        nearly a microsecond, four times what it costs in a loop.

        :param now: The time, in Unix seconds.
        """
        before, _, after = cookies.partition(self._start)
        value, _, rest = after.partition(";")
        entry = self._entries.get(value[_END])
        if (
            entry is None
            or entry[0] != value
            or (before and (before[-2:] not in FRONTS or self._name in before))
            or self._name in rest
        ):
            return None
        _, session, since, until, deadline = entry
        # Python 3.11 is slow to call an attribute that is no method.
        monotonic = self._monotonic
        if since <= now and now < until and monotonic() < deadline:
            return session
        return None

    def get(self, value: str) -> Session | None:
        """Return the session of a cookie value that was verified, if it still counts.

        :param value: The whole value; all of it is compared, not only its end.
        """
        entry = self._entries.get(value[_END])
        if entry is None or entry[0] != value:
            return None
        _, session, since, until, deadline = entry
        is_good = since <= self._clock() < until and self._monotonic() < deadline
        return session if is_good else None

    def ticket(self) -> Ticket:
        """Return what :meth:`put` asks for, to be taken before anything is verified."""
        return self._changes

    def put(self, ticket: Ticket, value: str, session: Session, until: float) -> None:
        """Keep a session, unless something has changed since the ticket was taken.

        :param until: When it is to be looked at again, in Unix seconds.
        """
        now = self._clock()
        left = min(until - now, self._max_age)
        if not self._size or left <= 0:
            return
        # A float as the clock's: an integer takes several times as long to compare.
        entry = (value, session, now, float(until), self._monotonic() + left)
        with self._lock:
            if ticket != self._changes:
                return
            key, session_id = value[_END], session.session_id
            if key in self._entries:
                self._remove(key)
            if len(keys := self._keys.get(session_id, ())) >= VALUES_OF_ONE:
                self._remove(keys[0])
            while self._is_full(len(value)):
                if not self._entries:
                    return
                self._remove(next(iter(self._entries)))
            self._entries[key] = entry
            self._characters += len(value)
            self._keys[session_id] = (*self._keys.get(session_id, ()), key)

    def drop(self, session_id: str) -> None:
        """Forget a session, also one that somebody is verifying at this moment."""
        with self._lock:
            self._changes += 1
            for key in self._keys.get(session_id, ()):
                self._remove(key)

    def clear(self) -> None:
        """Forget all sessions, also those that somebody is verifying at this moment."""
        with self._lock:
            self._changes += 1
            self._entries.clear()
            self._keys.clear()
            self._characters = 0

    def _is_full(self, more: int) -> bool:
        return (
            len(self._entries) >= self._size
            or self._characters + more > self._size * VALUE_BUDGET
        )

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        value, session, *_ = entry
        self._characters -= len(value)
        keys = self._keys.pop(session.session_id)
        if len(keys) > 1:
            self._keys[session.session_id] = tuple(one for one in keys if one != key)
