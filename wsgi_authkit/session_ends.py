"""Sessions that are over, and sessions that a browser has left for another one.

It is written down before a cookie is deleted: a refresh on its way, or a response that
takes its time, could otherwise bring the session back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from wsgi_authkit.stores.ledger import Ledger

#: Seconds that the end of a session is kept: longer than any refresh of it can take,
#: and than access tokens live.
ENDED_LIFETIME: Final = 24 * 3600.0
#: Seconds that it is kept that a browser has left a session: longer than servers let a
#: response take.
LEFT_LIFETIME: Final = 600.0
#: Seconds that the clocks of two hosts may differ, where it is asked whether a request
#: came before its browser left a session.
CLOCK_SKEW: Final = 5.0

_ENDED: Final = "ended"
_LEFT: Final = "left"


class SessionEnds:
    """What the ledger knows of sessions that are not to come back.

    :param clock: In Unix seconds.
    """

    def __init__(
        self, ledger: Ledger, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._ledger = ledger
        self._clock = clock

    def end(self, session_id: str) -> None:
        """Write down that a session is over, before its cookie is deleted."""
        self._ledger.set(_ENDED, session_id, {}, ENDED_LIFETIME)

    def revive(self, session_id: str) -> None:
        """Have a session live again: its person has signed in to it anew.

        A browser that never arrived at WorkOS after signing out here can come back
        with the session that it left.
        """
        if self.has_ended(session_id):
            # Not written late: somebody may have ended it again by then.
            self._ledger.set(
                _ENDED, session_id, {"over": False}, ENDED_LIFETIME, late=False
            )

    def leave(self, session_id: str) -> None:
        """Write down that the browser has another session from now on, or none.

        The response to an earlier request must not write the cookie of this one any
        more, nor delete that of the next. A later request with this one says that the
        change never arrived.
        """
        self._ledger.set(_LEFT, session_id, {"at": self._clock()}, LEFT_LIFETIME)

    def stay(self, session_id: str) -> None:
        """Take :meth:`leave` back, for a session that a browser is given again."""
        if self._ledger.get(_LEFT, session_id) is not None:
            self._ledger.set(_LEFT, session_id, {"at": None}, LEFT_LIFETIME)

    def is_gone(self, session_id: str, since: float) -> bool:
        """Say whether a session is over, or the browser has left it.

        :param since: When the request came, in Unix seconds.
        """
        left = self._ledger.get(_LEFT, session_id) or {}
        at = left.get("at")
        return (at is not None and since < at + CLOCK_SKEW) or self.has_ended(
            session_id
        )

    def has_ended(self, session_id: str) -> bool:
        """Say whether a session is over; a store that does not answer says no."""
        ended = self._ledger.get(_ENDED, session_id)
        return ended is not None and ended.get("over") is not False
