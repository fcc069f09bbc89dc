"""One call for all threads that want the same, and what the others are told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

import pytest

from tests.demos import until
from wsgi_authkit.errors import APIError, APIUnavailable, ClientRejected, RateLimited
from wsgi_authkit.single_flight import SingleFlight

THREADS = 8


class Herd:
    """Threads that want the same answer, all there before the call ends."""

    def __init__(self, outcome: Callable[[], str], max_wait: float = 30) -> None:
        self.flight = SingleFlight[str](max_wait)
        self.calls = 0
        self._outcome = outcome

    def ask(self) -> list[Future[str]]:
        """Return what each of them is told; the first is the one that calls."""
        called, let_go = threading.Event(), threading.Event()

        def call() -> str:
            self.calls += 1
            called.set()
            assert let_go.wait(30)
            return self._outcome()

        with ThreadPoolExecutor(THREADS) as pool:
            told = [pool.submit(self.flight.ask, "name", call)]
            assert called.wait(30)
            [under_way] = self.flight._under_way.values()
            told += [
                pool.submit(self.flight.ask, "name", call) for _ in range(1, THREADS)
            ]
            until(lambda: len(under_way._condition._waiters) == THREADS - 1)  # type: ignore[attr-defined]
            let_go.set()
        return told


def fail(error: BaseException) -> Callable[[], str]:
    def outcome() -> str:
        raise error

    return outcome


def test_threads_with_the_same_name_share_one_call() -> None:
    herd = Herd(lambda: "answer")
    told = herd.ask()

    assert [one.result() for one in told] == ["answer"] * THREADS
    assert herd.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        APIUnavailable("down", request_sent=True, status_code=503, retry_after=7),
        RateLimited("slow down", request_sent=True, status_code=429, retry_after=7),
        ClientRejected("bad key", status_code=401),
    ],
)
def test_threads_are_told_the_same_error_in_a_copy_each(error: APIError) -> None:
    """With the frames of its own request only: error reports show what is in them."""
    herd = Herd(fail(error))
    told = [one.exception() for one in herd.ask()]

    assert herd.calls == 1
    assert told[0] is error
    assert {type(one) for one in told} == {type(error)}
    assert {str(vars(one)) for one in told} == {str(vars(error))}
    assert len({id(one) for one in told}) == THREADS


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), ValueError("x")])
def test_error_that_is_no_answer_is_its_threads_own(error: BaseException) -> None:
    herd = Herd(fail(error))
    first, *others = [one.exception() for one in herd.ask()]

    assert first is error
    assert {type(one) for one in others} == {APIUnavailable}


def test_nobody_waits_longer_than_a_call_can_take() -> None:
    flight, called, let_go = (
        SingleFlight[str](0.01),
        threading.Event(),
        threading.Event(),
    )

    def call() -> str:
        called.set()
        assert let_go.wait(30)
        return "late"

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(flight.ask, "name", call)
        assert called.wait(30)
        with pytest.raises(APIUnavailable, match="another request") as raised:
            flight.ask("name", lambda: "never called")
        let_go.set()

        assert raised.value.request_sent is False
        assert raised.value.__cause__ is None
        assert first.result() == "late"


def test_different_names_do_not_wait_for_each_other() -> None:
    flight = SingleFlight[str](0)

    def call() -> str:
        return flight.ask("other", lambda: "other answer")

    assert flight.ask("name", call) == "other answer"


@pytest.mark.parametrize("outcome", [lambda: "answer", fail(ValueError("x"))])
def test_nothing_is_left_of_a_call_that_is_over(outcome: Callable[[], str]) -> None:
    herd = Herd(outcome)
    herd.ask()
    calls = count()

    assert not herd.flight._under_way
    assert [herd.flight.ask("name", lambda: f"{next(calls)}") for _ in range(2)] == [
        "0",
        "1",
    ]
