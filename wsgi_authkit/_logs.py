"""How the package logs: the library's loggers, and what would flood them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

#: Seconds between two lines of one kind.
INTERVAL: Final = 60.0


class OnceAMinute:
    """Says whether it is time for another line of this kind.

    Two threads may both be told so; a line too many is no reason for a lock.
    """

    __slots__ = ("_last", "_monotonic")

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last = float("-inf")

    def __bool__(self) -> bool:
        now = self._monotonic()
        if now - self._last < INTERVAL:
            return False
        self._last = now
        return True


def show_debug_logs() -> None:
    """Let the decisions of the package through, to ``stderr`` if nobody else logs.

    For ``debug=True`` only: a library leaves logging to its app.
    """
    package = logging.getLogger("wsgi_authkit")
    package.setLevel(logging.DEBUG)
    if not logging.getLogger().handlers and not any(
        not isinstance(handler, logging.NullHandler) for handler in package.handlers
    ):
        package.addHandler(logging.StreamHandler())
