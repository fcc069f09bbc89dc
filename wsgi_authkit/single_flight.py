"""One call for all threads of a process that want the same answer at the same moment.

The answer is not kept: who comes when the call is over makes another. Remembering is
its maker's matter, and so is looking whether something is remembered by now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from copy import copy
from typing import Generic, TypeVar

from wsgi_authkit.errors import APIError, APIUnavailable

_Answer = TypeVar("_Answer")


class SingleFlight(Generic[_Answer]):
    """Lets one thread ask for each name; the others wait for what it is told.

    :param max_wait: Seconds that anybody waits: as long as the call can take.
    """

    def __init__(self, max_wait: float) -> None:
        self._max_wait = max_wait
        self._under_way: dict[str, Future[_Answer]] = {}
        self._lock = threading.Lock()

    def ask(self, name: str, call: Callable[[], _Answer]) -> _Answer:
        """Return the answer of ``call``, or of the one for this name that is under way.

        :raises APIUnavailable: The call of another thread took too long, or ended
            without an answer.
        :raises APIError: What the call raised, whoever made it.
        """
        own: Future[_Answer] = Future()
        # All of it: a thread can be stopped between any two statements, and nobody else
        # would take its flight out.
        try:
            with self._lock:
                flight = self._under_way.setdefault(name, own)
            return self._make(own, call) if flight is own else self._wait(flight)
        finally:
            with self._lock:
                if self._under_way.get(name) is own:
                    del self._under_way[name]

    @staticmethod
    def _make(flight: Future[_Answer], call: Callable[[], _Answer]) -> _Answer:
        try:
            answer = call()
        except APIError as error:
            flight.set_exception(error)
            raise
        except BaseException:
            # It is this thread that is stopped, perhaps; the others are not.
            flight.set_exception(_no_answer())
            raise
        else:
            flight.set_result(answer)
            return answer

    def _wait(self, flight: Future[_Answer]) -> _Answer:
        try:
            error = flight.exception(self._max_wait)
        except TimeoutError:
            raise _no_answer() from None
        if error is None:
            return flight.result()
        # A copy: an error shows the frames it passed, and those of one request are not
        # for the error report of another.
        raise copy(error)


def _no_answer() -> APIUnavailable:
    return APIUnavailable(
        "the call of another request for the same did not end with an answer",
        request_sent=False,
    )
