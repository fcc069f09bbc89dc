"""The circuit breaker, alone and in front of WorkOS."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from itertools import islice

import pytest

from tests.harness import make_config
from wsgi_authkit.api import WorkOSClient
from wsgi_authkit.breaker import HANGING, MAX_FAILURES, MAX_HANGING, PAUSE, Breaker
from wsgi_authkit.errors import (
    APIError,
    APIUnavailable,
    AuthorizationRequired,
    ClientRejected,
    InvalidGrant,
    RateLimited,
)
from wsgi_authkit.testing import Clock, FakeWorkOS
from wsgi_authkit.testing.faults import (
    ConnectionRefused,
    ConnectionReset,
    Fault,
    InvalidJSON,
    LostResponse,
    ReadTimedOut,
    Status,
)


class Guarded:
    """Calls through a breaker, of which those that arrive are counted."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.breaker = Breaker(self.clock)
        self.calls = 0

    def __call__(self, error: BaseException | None = None) -> None:
        with self.breaker.guard():
            self.calls += 1
            if error is not None:
                raise error

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            with pytest.raises(APIUnavailable, match="down"):
                self(down())

    def refused(self) -> APIUnavailable:
        """Return the error of a call that is not let through."""
        calls = self.calls
        with pytest.raises(APIUnavailable, match="left alone") as raised:
            self()
        assert self.calls == calls
        return raised.value


def down() -> APIUnavailable:
    return APIUnavailable("down", request_sent=True)


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


ANSWERS = [
    pytest.param(InvalidGrant("over"), id="terminal"),
    pytest.param(AuthorizationRequired("step up"), id="step-up"),
    pytest.param(ClientRejected("bad key"), id="operator"),
]


def test_circuit_opens_after_some_failures_in_a_row(guarded: Guarded) -> None:
    guarded.fail(MAX_FAILURES - 1)
    guarded.fail()
    guarded.refused()


def test_error_of_an_open_circuit_says_what_is_known(guarded: Guarded) -> None:
    guarded.fail(MAX_FAILURES)
    guarded.clock.advance(2)
    error = guarded.refused()

    assert error.request_sent is False
    assert error.retry_after == PAUSE - 2


def test_retry_after_is_never_less_than_a_second(guarded: Guarded) -> None:
    guarded.fail(MAX_FAILURES)
    guarded.clock.advance(PAUSE - 0.5)

    assert guarded.refused().retry_after == 1


def test_one_call_goes_through_after_a_pause(guarded: Guarded) -> None:
    guarded.fail(MAX_FAILURES)
    for _ in range(5):
        guarded.clock.advance(PAUSE)
        guarded.fail()
        guarded.refused()

    assert guarded.calls == MAX_FAILURES + 5


def test_open_circuit_stays_open_for_the_whole_pause(guarded: Guarded) -> None:
    guarded.fail(MAX_FAILURES)
    guarded.clock.advance(PAUSE - 0.01)
    guarded.refused()


def test_success_closes_the_circuit(guarded: Guarded) -> None:
    guarded.fail(MAX_FAILURES)
    guarded.clock.advance(PAUSE)
    guarded()
    guarded()
    guarded.fail(MAX_FAILURES)

    assert guarded.calls == 2 * MAX_FAILURES + 2


@pytest.mark.parametrize("answer", ANSWERS)
def test_refusal_closes_the_circuit(guarded: Guarded, answer: APIError) -> None:
    """It shows that WorkOS is there."""
    guarded.fail(MAX_FAILURES)
    guarded.clock.advance(PAUSE)
    with pytest.raises(type(answer)):
        guarded(answer)
    guarded()


@pytest.mark.parametrize("answer", [None, *(one.values[0] for one in ANSWERS)])
def test_only_failures_in_a_row_count(
    guarded: Guarded, answer: APIError | None
) -> None:
    for _ in range(3):
        guarded.fail(MAX_FAILURES - 1)
        with suppress(APIError):
            guarded(answer)


def test_rate_limit_counts_as_a_failure(guarded: Guarded) -> None:
    for _ in range(MAX_FAILURES):
        with pytest.raises(RateLimited):
            guarded(RateLimited("slow down", request_sent=True))
    guarded.refused()


def test_unavailability_may_be_an_answer(guarded: Guarded) -> None:
    guarded.breaker = Breaker(
        guarded.clock, is_failure=lambda error: not isinstance(error, RateLimited)
    )
    for _ in range(2):
        guarded.fail(MAX_FAILURES - 1)
        with pytest.raises(RateLimited):
            guarded(RateLimited("slow down", request_sent=True))
    guarded.fail(MAX_FAILURES)
    guarded.refused()


def test_other_error_says_nothing_about_workos(guarded: Guarded) -> None:
    guarded.fail(MAX_FAILURES - 1)
    with pytest.raises(KeyboardInterrupt):
        guarded(KeyboardInterrupt())
    guarded.fail()
    guarded.refused()


class SlowTime(float):
    """A time whose reader waits for another one, if the breaker lets both in."""

    def __new__(cls, value: float, together: threading.Barrier) -> SlowTime:
        made = super().__new__(cls, value)
        made.together = together
        return made

    together: threading.Barrier

    def __rsub__(self, other: float) -> float:
        difference = other - float(self)
        with suppress(threading.BrokenBarrierError):
            self.together.wait(0.1)
        return difference


def hang(guarded: Guarded, calls: ExitStack, count: int) -> None:
    """Begin calls that do not end before ``calls`` does."""
    for _ in range(count):
        calls.enter_context(guarded.breaker.guard())


def test_no_call_joins_a_number_of_hanging_ones(guarded: Guarded) -> None:
    """Otherwise all workers hang until the first calls have failed."""
    with ExitStack() as calls:
        hang(guarded, calls, MAX_HANGING)
        guarded.clock.advance(HANGING + 0.01)
        with pytest.raises(APIUnavailable, match="hang") as raised:
            guarded()

    assert guarded.calls == 0
    assert raised.value.request_sent is False


def test_burst_of_calls_is_not_held_up(guarded: Guarded) -> None:
    with ExitStack() as calls:
        hang(guarded, calls, 100)
        guarded.clock.advance(HANGING)
        guarded()

    assert guarded.calls == 1


def test_few_hanging_calls_hold_nobody_up(guarded: Guarded) -> None:
    with ExitStack() as calls:
        hang(guarded, calls, MAX_HANGING - 1)
        guarded.clock.advance(60)
        guarded()

    assert guarded.calls == 1


@pytest.mark.parametrize("error", [None, ValueError("not ours"), down()])
def test_call_that_ends_makes_room(guarded: Guarded, error: Exception | None) -> None:
    with ExitStack() as calls:
        hang(guarded, calls, MAX_HANGING - 1)
        with suppress(Exception), guarded.breaker.guard():
            guarded.clock.advance(60)
            if error is not None:
                raise error
        guarded()

    assert guarded.calls == 1


def test_calls_that_are_not_let_through_open_no_circuit(guarded: Guarded) -> None:
    with ExitStack() as calls:
        hang(guarded, calls, MAX_HANGING)
        guarded.clock.advance(60)
        for _ in range(MAX_FAILURES):
            with pytest.raises(APIUnavailable, match="hang"):
                guarded()
    guarded()

    assert guarded.calls == 1


def test_one_of_many_threads_finds_out() -> None:
    clock, together, let_go = Clock(), threading.Barrier(2), threading.Event()
    breaker = Breaker(lambda: SlowTime(clock(), together))
    passed = []

    def call() -> None:
        with breaker.guard():
            passed.append(1)
            let_go.wait(10)

    for _ in range(MAX_FAILURES):
        with pytest.raises(APIUnavailable), breaker.guard():
            raise down()
    clock.advance(PAUSE)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(call) for _ in range(8)]
        try:
            refused = list(islice(as_completed(calls, timeout=5), 7))
        finally:
            let_go.set()

    assert len(passed) == 1
    assert {type(one.exception()) for one in refused} == {APIUnavailable}


# In front of WorkOS


class Site:
    """A client of WorkOS."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.workos = FakeWorkOS(clock=self.clock)
        self.user = self.workos.add_user("ada@example.com")
        self.api = WorkOSClient(
            make_config(),
            http=self.workos.session(),
            clock=self.clock,
            monotonic=self.clock,
        )

    def token(self) -> str:
        session = self.workos.create_session(self.user)
        return str(session["refresh_token"])

    def refresh(self, token: str = "any") -> type[APIError] | None:
        try:
            self.api.refresh(token)
        except APIError as error:
            return type(error)
        return None


@pytest.fixture
def site() -> Site:
    return Site()


def test_workos_is_left_alone_while_it_is_down(site: Site) -> None:
    site.workos.down()
    for _ in range(50):
        assert site.refresh() is APIUnavailable

    assert site.workos.count("refresh") == MAX_FAILURES


def test_calls_during_a_long_outage_are_one_in_a_pause(site: Site) -> None:
    site.workos.fail(503)
    for _ in range(600):
        site.refresh()
        site.clock.advance(0.1)

    assert site.workos.count("refresh") <= MAX_FAILURES + 60 / PAUSE


def test_sign_in_and_refresh_share_the_circuit(site: Site) -> None:
    site.workos.down()
    for _ in range(MAX_FAILURES):
        site.refresh()
    with pytest.raises(APIUnavailable):
        site.api.exchange_code("code", "verifier")

    assert site.workos.count("exchange") == 0


def test_circuit_says_nothing_about_keys_and_other_calls(site: Site) -> None:
    """What is down for one endpoint is not for another."""
    site.workos.fail(503, path="authenticate")
    for _ in range(MAX_FAILURES + 1):
        site.refresh()

    assert site.api.fetch_jwks()


def test_session_is_refreshed_after_an_outage(site: Site) -> None:
    token = site.token()
    site.workos.down()
    for _ in range(MAX_FAILURES):
        site.refresh(token)
    site.workos.recover()
    assert site.refresh(token) is APIUnavailable

    site.clock.advance(PAUSE)
    assert site.refresh(token) is None


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [
        pytest.param(ConnectionReset(), 2, id="reset"),
        pytest.param(LostResponse(), 2, id="lost response"),
        pytest.param(ReadTimedOut(), 2, id="read timed out"),
        pytest.param(ConnectionRefused(), 1, id="refused"),
        pytest.param(InvalidJSON(), 1, id="invalid JSON"),
        pytest.param(Status(503), 1, id="503"),
        pytest.param(Status(429), 1, id="429"),
        pytest.param(Status(401), 1, id="401"),
    ],
)
def test_only_what_was_sent_and_not_answered_is_repeated(
    site: Site, fault: Fault, attempts: int
) -> None:
    started = site.clock()
    site.workos.fail(fault)
    site.refresh(site.token())

    assert site.workos.count("refresh") == attempts
    assert site.clock() - started <= 6


@pytest.mark.parametrize("failures", [MAX_FAILURES - 1, MAX_FAILURES])
def test_lost_answer_is_fetched_however_the_circuit_stands(
    site: Site, failures: int
) -> None:
    """Whether it opens the circuit or is the one that finds out: the pair is there."""
    token = site.token()
    site.workos.fail(ConnectionRefused(), times=failures)
    for _ in range(failures):
        site.refresh()
    site.clock.advance(PAUSE)
    site.workos.fail(LostResponse(), times=1)

    assert site.refresh(token) is None
    assert site.workos.count("refresh") == failures + 2


def test_two_attempts_of_a_refresh_are_one_failure(site: Site) -> None:
    site.workos.fail(ConnectionReset())
    for _ in range(MAX_FAILURES + 3):
        site.refresh()

    assert site.workos.count("refresh") == 2 * MAX_FAILURES


def test_many_threads_cost_few_calls_in_an_outage(site: Site) -> None:
    site.workos.fail(503)
    for _ in range(MAX_FAILURES):
        site.refresh()
    site.clock.advance(PAUSE)
    with ThreadPoolExecutor(32) as pool:
        errors = set(pool.map(lambda _: site.refresh(), range(64)))

    assert errors == {APIUnavailable}
    assert site.workos.count("refresh") == MAX_FAILURES + 1


def test_wrong_api_key_opens_no_circuit(site: Site) -> None:
    site.workos.fail(401)
    for _ in range(3 * MAX_FAILURES):
        assert site.refresh() is ClientRejected

    assert site.workos.count("refresh") == 3 * MAX_FAILURES
