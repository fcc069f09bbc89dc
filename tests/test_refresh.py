"""The coordinator: threads, processes on one store, and what may happen in between.

A process is a coordinator of its own on a store that is shared. Nothing here waits:
``sleep`` puts the clock forward, and what another process does meanwhile is written
down where it happens.
"""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest

from tests.processes import Killed, SteppedStore, switching, together
from wsgi_authkit.api import REFRESH_DEADLINE
from wsgi_authkit.envelope import Envelope
from wsgi_authkit.errors import (
    RefreshNeedsAuthorization,
    RefreshRejected,
    RefreshUnavailable,
    StoreError,
)
from wsgi_authkit.refresh import (
    LEASE,
    MAX_WAIT,
    RESULT_LIFETIME,
    RefreshCoordinator,
    RefreshRequest,
    RefreshResult,
    describe,
)
from wsgi_authkit.stores import MemoryStore, Store
from wsgi_authkit.stores.ledger import PAUSE, Ledger
from wsgi_authkit.testing import Clock

THREADS = 64
ROUNDS = 25


class TokenEndpoint:
    """WorkOS's: a refresh token is good for one use, and for ``grace`` seconds more.

    :param rotates: ``False`` returns the token that was sent.
    """

    def __init__(
        self, clock: Clock, *, grace: float = 0.0, rotates: bool = True
    ) -> None:
        self.clock = clock
        self.grace = grace
        self.rotates = rotates
        self.calls: list[tuple[str, str | None]] = []
        #: The seconds that the last call was given.
        self.within = 0.0
        self.errors: list[Exception] = []
        self.answers: dict[str, RefreshResult] = {}
        #: Run once, before a call is answered and when its answer is on its way.
        self.before: Callable[[], object] | None = None
        self.during: Callable[[], object] | None = None
        self._lock = threading.Lock()

    def __call__(
        self, refresh_token: str, organization_id: str | None, within: float
    ) -> RefreshResult:
        self.within = within
        before, self.before = self.before, None
        if before is not None:
            before()
        with self._lock:
            self.calls.append((refresh_token, organization_id))
            answer = self._answer(refresh_token, organization_id)
        during, self.during = self.during, None
        if during is not None:
            during()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _answer(
        self, token: str, organization_id: str | None
    ) -> RefreshResult | Exception:
        if self.errors:
            return self.errors.pop(0)
        now, earlier = self.clock(), self.answers.get(token)
        if earlier is not None and self.rotates:
            if now - earlier.at < self.grace:
                # The same pair; every process seals it anew.
                return replace(earlier, sealed=f"{earlier.sealed}, again")
            return RefreshRejected("the token was used")
        new = f"{token}+" if self.rotates else token
        answer = RefreshResult(
            kind="refreshed",
            sealed=f"{new} sealed by call {len(self.calls)}",
            refresh_token=new,
            organization_id=organization_id,
            at=now,
        )
        self.answers[token] = answer
        return answer


class Process:
    """A coordinator with nothing but the store in common with others."""

    def __init__(self, store: Store, clock: Clock, endpoint: TokenEndpoint) -> None:
        self.store = SteppedStore(store)
        self.clock = clock
        self.endpoint = endpoint
        self.slept: list[float] = []
        self.while_asleep: dict[int, Callable[[], object]] = {}
        envelope = Envelope(("a cookie password for the tests, long enough",))
        self.coordinator = RefreshCoordinator(
            Ledger(self.store, envelope, "client_test", monotonic=clock),
            clock=clock,
            monotonic=clock,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        action = self.while_asleep.pop(len(self.slept), None)
        if action is not None:
            action()

    def refresh(
        self,
        token: str = "T",
        *,
        organization_id: str | None = None,
        wanted: str | None = None,
        usable: bool = False,
        explicit: bool = False,
    ) -> RefreshResult:
        request = RefreshRequest(
            refresh_token=token,
            session_id="session_1",
            organization_id=organization_id,
            wanted_organization_id=wanted,
            usable=usable,
            explicit=explicit or wanted is not None,
            call=self.endpoint,
        )
        return self.coordinator.refresh(request)

    def die_in_the_call(self) -> None:
        """Take the lease, call, and be killed before anything is published."""
        self.endpoint.during = self._die
        with pytest.raises(Killed):
            self.refresh()

    def _die(self) -> None:
        self.store.alive = False
        raise Killed


class InCall:
    """A refresh in a thread, stopped when WorkOS has answered and it does not know."""

    def __init__(self, process: Process) -> None:
        self._answered, self._go = threading.Event(), threading.Event()
        process.endpoint.during = self._stop
        self._pool = ThreadPoolExecutor(1)
        self._result = self._pool.submit(process.refresh)
        assert self._answered.wait(timeout=30)

    def _stop(self) -> None:
        self._answered.set()
        assert self._go.wait(timeout=30)

    def finish(self) -> RefreshResult:
        """Let it go on to its end."""
        self._go.set()
        with self._pool:
            return self._result.result(timeout=30)


def steps_to_the_call(clock: Clock) -> int:
    """Return how many operations of the store a refresh makes before its call."""
    probe = Process(MemoryStore(clock), clock, TokenEndpoint(clock))
    steps: list[int] = []
    probe.endpoint.during = lambda: steps.append(probe.store.steps)
    probe.refresh()
    return steps[0]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def endpoint(clock: Clock) -> TokenEndpoint:
    return TokenEndpoint(clock)


@pytest.fixture
def process(store: MemoryStore, clock: Clock, endpoint: TokenEndpoint) -> Process:
    return Process(store, clock, endpoint)


@pytest.fixture
def other(store: MemoryStore, clock: Clock, endpoint: TokenEndpoint) -> Process:
    return Process(store, clock, endpoint)


@pytest.fixture
def _switching() -> Iterator[None]:
    with switching():
        yield


# One call


def test_refresh_returns_the_new_session(
    process: Process, endpoint: TokenEndpoint
) -> None:
    result = process.refresh(organization_id="org_1")

    assert (result.kind, result.refresh_token) == ("refreshed", "T+")
    assert endpoint.calls == [("T", "org_1")]


@pytest.mark.usefixtures("_switching")
def test_many_threads_with_one_token_make_one_call(
    process: Process, endpoint: TokenEndpoint
) -> None:
    for number in range(ROUNDS):
        token = f"T{number}"
        results = together([partial(process.refresh, token)] * THREADS)

        assert {result.kind for result in results} == {"refreshed"}
        assert len({result.sealed for result in results}) == 1
        assert len(endpoint.calls) == number + 1


@pytest.mark.usefixtures("_switching")
def test_many_threads_of_two_processes_make_one_call(clock: Clock) -> None:
    """The other process looks at the store in real time here."""
    store, endpoint = MemoryStore(), TokenEndpoint(clock)
    envelope = Envelope(("a cookie password for the tests, long enough",))
    processes = [
        RefreshCoordinator(Ledger(store, envelope, "client_test"), clock=clock)
        for _ in range(2)
    ]

    for number in range(5):
        request = RefreshRequest(
            refresh_token=f"T{number}",
            session_id="session_1",
            organization_id=None,
            call=endpoint,
        )
        refreshes = [partial(process.refresh, request) for process in processes]
        results = together(refreshes * (THREADS // 2))

        assert {result.kind for result in results} == {"refreshed"}
        assert len({result.sealed for result in results}) == 1
        assert len(endpoint.calls) == number + 1


@pytest.mark.usefixtures("_switching")
def test_threads_with_a_valid_token_are_served_without_waiting(
    process: Process, endpoint: TokenEndpoint
) -> None:
    results = together([partial(process.refresh, usable=True)] * THREADS)

    assert {result.kind for result in results} <= {"refreshed", "busy"}
    assert len(endpoint.calls) == 1
    assert process.slept == []


def test_different_tokens_do_not_wait_for_each_other(process: Process) -> None:
    under_way = InCall(process)

    assert process.refresh("U").refresh_token == "U+"
    assert under_way.finish().refresh_token == "T+"


def test_valid_token_is_served_while_its_refresh_is_under_way(
    process: Process, endpoint: TokenEndpoint
) -> None:
    under_way = InCall(process)
    started = time.monotonic()
    result = process.refresh(usable=True)
    waited = time.monotonic() - started

    assert result.kind == "busy"
    assert waited < 0.5
    assert under_way.finish().kind == "refreshed"
    assert len(endpoint.calls) == 1


def test_error_that_nobody_expects_gives_the_lease_back(
    process: Process, other: Process, endpoint: TokenEndpoint
) -> None:
    """It may be the app's own encryption that fails; the token may be spent by then."""
    endpoint.errors = [KeyError("a bug")]
    result = process.refresh()

    assert (result.kind, result.transient) == ("unavailable", False)
    assert other.refresh() == result
    assert other.slept == []
    assert len(endpoint.calls) == 1


# Late requests


def test_late_request_gets_the_same_session_without_a_call(
    process: Process, other: Process, clock: Clock, endpoint: TokenEndpoint
) -> None:
    first = process.refresh()
    clock.advance(59)

    assert [process.refresh(), other.refresh()] == [first, first]
    assert len(endpoint.calls) == 1


def test_result_is_forgotten_after_a_minute(
    process: Process, other: Process, clock: Clock
) -> None:
    process.refresh()
    clock.advance(60)

    assert process.refresh().kind == "rejected"


def test_result_is_followed_to_its_end(
    process: Process, other: Process, endpoint: TokenEndpoint
) -> None:
    """A late answer would otherwise put an older session over a newer one."""
    first = process.refresh("T")
    second = process.refresh(first.refresh_token)

    assert process.refresh("T") == other.refresh("T") == second
    assert endpoint.calls == [("T", None), ("T+", None)]


def test_session_that_cannot_be_refreshed_again_is_still_the_newest(
    process: Process, endpoint: TokenEndpoint
) -> None:
    first = process.refresh("T")
    endpoint.errors = [RefreshUnavailable("down")]
    process.refresh(first.refresh_token)

    assert process.refresh("T") == first


# Waiting for another process


def test_waiting_looks_more_and_more_seldom(
    process: Process, other: Process, endpoint: TokenEndpoint
) -> None:
    others = InCall(other)
    process.while_asleep[6] = others.finish
    result = process.refresh()

    assert process.slept == [0.02, 0.04, 0.08, 0.1, 0.1, 0.1]
    assert result == others.finish()
    assert len(endpoint.calls) == 1


def test_result_that_comes_with_the_free_lease_is_used(
    process: Process, other: Process, clock: Clock, endpoint: TokenEndpoint
) -> None:
    """The holder publishes and lets go between a look and the next try."""
    others = InCall(other)
    look = steps_to_the_call(clock) - 2
    process.store.before(look + 1, others.finish)
    result = process.refresh()

    assert result == others.finish()
    assert len(endpoint.calls) == 1


def test_proactive_refresh_does_not_wait_for_another_process(
    process: Process, other: Process, endpoint: TokenEndpoint
) -> None:
    others = InCall(other)

    assert process.refresh(usable=True).kind == "busy"
    assert others.finish().kind == "refreshed"
    assert process.slept == []
    assert len(endpoint.calls) == 1


def test_result_that_was_seen_is_used_although_the_store_fails_right_then(
    process: Process, other: Process, clock: Clock, endpoint: TokenEndpoint
) -> None:
    """Its token was used: to call with it again would end the session."""
    others = InCall(other)

    def publish_and_fail() -> None:
        success = others.finish()
        look = process.store.steps
        process.store.before(look + 2, fail)
        assert success.kind == "refreshed"

    def fail() -> None:
        process.store.inner = FailingStore()

    process.while_asleep[1] = publish_and_fail
    result = process.refresh()

    assert isinstance(process.store.inner, FailingStore)
    assert result == others.finish()
    assert len(endpoint.calls) == 1


def test_result_of_another_process_is_kept_for_when_the_store_fails(
    process: Process, other: Process, clock: Clock, endpoint: TokenEndpoint
) -> None:
    result = other.refresh()
    process.refresh()
    process.store.inner = FailingStore()
    clock.advance(30)

    assert process.refresh() == result
    assert len(endpoint.calls) == 1


def test_explicit_refresh_that_adopts_a_success_is_done(
    process: Process, other: Process, clock: Clock
) -> None:
    endpoint = process.endpoint = other.endpoint = TokenEndpoint(clock, grace=30)
    others = InCall(other)
    clock.advance(LEASE)
    process.store.before(steps_to_the_call(clock) + 2, others.finish)
    result = process.refresh(explicit=True)

    assert result == others.finish()
    assert len(endpoint.calls) == 2


def test_dead_holder_costs_one_call(
    process: Process, other: Process, clock: Clock
) -> None:
    """The token was used by the dead process: the grace has the pair."""
    endpoint = process.endpoint = other.endpoint = TokenEndpoint(clock, grace=10)
    other.die_in_the_call()
    started = clock()
    result = process.refresh()

    assert result.kind == "refreshed"
    assert len(endpoint.calls) == 2
    assert LEASE <= clock() - started <= MAX_WAIT == 9


def test_who_waited_for_a_dead_holder_has_what_is_left_of_the_time(
    process: Process, other: Process, clock: Clock
) -> None:
    """Waiting and calling together take no longer than waiting may."""
    endpoint = process.endpoint = other.endpoint = TokenEndpoint(clock, grace=10)
    other.die_in_the_call()
    before = endpoint.within
    started = clock()
    process.refresh()

    assert before == MAX_WAIT
    assert endpoint.within == 1
    assert clock() - started < MAX_WAIT


def test_call_has_a_second_in_any_case(
    process: Process, clock: Clock, endpoint: TokenEndpoint
) -> None:
    """An answer that is used up in vain helps nobody."""
    process.store.before(steps_to_the_call(clock), lambda: clock.advance(30))
    process.refresh()

    assert endpoint.within == 1


def test_holder_that_dies_after_it_has_published_is_not_waited_for(
    process: Process, other: Process, clock: Clock, endpoint: TokenEndpoint
) -> None:
    others = InCall(other)

    def publish_and_die() -> None:
        with pytest.raises(Killed):
            others.finish()

    # Of its operations after the call the fourth gives the lease back.
    release = steps_to_the_call(clock) + 4
    other.store.before(release, lambda: setattr(other.store, "alive", False))
    process.while_asleep[3] = publish_and_die
    result = process.refresh()

    assert result.refresh_token == "T+"
    assert len(process.slept) == 3
    assert len(endpoint.calls) == 1


def test_lease_outlives_a_call_and_ends_within_the_grace_of_workos() -> None:
    assert REFRESH_DEADLINE < LEASE < 10
    assert LEASE < MAX_WAIT


def test_waiting_ends_where_the_lease_never_comes_free(
    process: Process, store: MemoryStore, clock: Clock
) -> None:
    class NeverFree(SteppedStore):
        def add(self, key: str, value: bytes, ttl: float) -> bool:
            return False

    waiting = Process(NeverFree(store), clock, process.endpoint)
    started = clock()
    result = waiting.refresh()

    assert (result.kind, result.transient) == ("unavailable", True)
    assert 8.8 < clock() - started <= 9
    assert process.endpoint.calls == []


def test_thread_whose_time_is_over_does_not_wait_for_another_one(
    process: Process, clock: Clock, endpoint: TokenEndpoint
) -> None:
    """The wait inside a process and the one for other processes have one end."""
    under_way = InCall(process)
    process.store.before(process.store.steps + 1, lambda: clock.advance(MAX_WAIT))
    late = process.refresh()

    assert late.kind == "unavailable"
    assert under_way.finish().kind == "refreshed"
    assert len(endpoint.calls) == 1


# Explicit refreshes and switches


def test_explicit_refresh_goes_on_from_the_results_own_token(
    process: Process, endpoint: TokenEndpoint
) -> None:
    process.refresh(organization_id="org_1")
    result = process.refresh(organization_id="org_0", explicit=True)

    assert result.refresh_token == "T++"
    assert endpoint.calls == [("T", "org_1"), ("T+", "org_1")]


def test_switch_asks_for_the_wanted_organization(
    process: Process, endpoint: TokenEndpoint
) -> None:
    result = process.refresh(organization_id="org_1", wanted="org_2")

    assert result.organization_id == "org_2"
    assert endpoint.calls == [("T", "org_2")]


def test_switch_goes_on_from_a_result_in_another_organization(
    process: Process, endpoint: TokenEndpoint
) -> None:
    process.refresh(organization_id="org_1")
    result = process.refresh(organization_id="org_1", wanted="org_2")

    assert result.organization_id == "org_2"
    assert endpoint.calls == [("T", "org_1"), ("T+", "org_2")]


def test_switch_is_satisfied_by_a_result_in_the_wanted_organization(
    process: Process, other: Process, endpoint: TokenEndpoint
) -> None:
    first = process.refresh(organization_id="org_1", wanted="org_2")

    assert other.refresh(organization_id="org_1", wanted="org_2") == first
    assert endpoint.calls == [("T", "org_2")]


def test_request_with_the_old_token_follows_a_switch(
    process: Process, other: Process
) -> None:
    switched = process.refresh(organization_id="org_1", wanted="org_2")

    assert other.refresh(organization_id="org_1") == switched


@pytest.mark.usefixtures("_switching")
def test_explicit_refresh_and_switch_at_once_both_succeed(
    process: Process, endpoint: TokenEndpoint
) -> None:
    refresh = partial(process.refresh, organization_id="org_1", explicit=True)
    switch = partial(process.refresh, organization_id="org_1", wanted="org_2")
    tokens = [f"T{number}" for number in range(THREADS // 2)]
    results = together([partial(one, t) for t in tokens for one in (refresh, switch)])

    assert {result.kind for result in results} == {"refreshed"}
    assert {result.organization_id for result in results[1::2]} == {"org_2"}
    used = [token for token, _ in endpoint.calls]
    assert len(used) == len(set(used)) == THREADS


def test_switch_answered_with_somebody_elses_pair_is_repeated_from_it(
    process: Process, clock: Clock
) -> None:
    """A JavaScript server has just refreshed the same cookie: WorkOS replays."""
    endpoint = process.endpoint = TokenEndpoint(clock, grace=30)
    endpoint("T", "org_1", 6)
    result = process.refresh(organization_id="org_1", wanted="org_2")

    assert result.organization_id == "org_2"
    assert endpoint.calls == [("T", "org_1"), ("T", "org_2"), ("T+", "org_2")]


def test_switch_where_claims_name_another_organization_ends(
    process: Process, endpoint: TokenEndpoint
) -> None:
    """A JWT template can override ``org_id``."""

    def call(
        refresh_token: str, organization_id: str | None, within: float
    ) -> RefreshResult:
        answer = endpoint(refresh_token, organization_id, within)
        return replace(answer, organization_id="acme")

    request = RefreshRequest(
        refresh_token="T",
        session_id="session_1",
        organization_id="acme",
        wanted_organization_id="org_2",
        explicit=True,
        call=call,
    )

    assert process.coordinator.refresh(request).kind == "refreshed"
    assert len(endpoint.calls) == 2


def test_organization_that_needs_authorization_does_not_stop_other_refreshes(
    process: Process, other: Process, endpoint: TokenEndpoint
) -> None:
    endpoint.errors = [
        RefreshNeedsAuthorization(
            "sso", reason="sso_required", connection_ids=("conn_1",)
        )
    ]
    refused = process.refresh(organization_id="org_1", wanted="org_2")
    again = other.refresh(organization_id="org_1", wanted="org_2")
    refreshed = other.refresh(organization_id="org_1")

    assert refused == again
    assert (refused.kind, refused.reason) == ("reauthorize", "sso_required")
    assert (refused.organization_id, refused.connection_ids) == ("org_2", ("conn_1",))
    assert refreshed.kind == "refreshed"
    assert endpoint.calls == [("T", "org_2"), ("T", "org_1")]


# Rejections


def test_rejection_is_published_and_adopted(
    process: Process, other: Process, clock: Clock, endpoint: TokenEndpoint
) -> None:
    endpoint.errors = [RefreshRejected("over")]
    process.refresh()
    clock.advance(59)

    assert other.refresh().kind == process.refresh().kind == "rejected"
    assert len(endpoint.calls) == 1


def test_every_success_replaces_a_rejection(
    process: Process, other: Process, clock: Clock, endpoint: TokenEndpoint
) -> None:
    """One process stops in its call for longer than its lease, the other is refused."""
    late: list[RefreshResult] = []
    endpoint.during = lambda: late.append(other.refresh())
    result = process.refresh()

    assert [one.kind for one in late] == ["rejected"]
    assert result.kind == "refreshed"
    assert other.refresh() == process.refresh() == result
    assert len(endpoint.calls) == 2


@pytest.mark.parametrize("step", range(1, 6))
def test_rejection_never_replaces_a_success(
    process: Process, other: Process, clock: Clock, step: int
) -> None:
    """The other process, late, publishes before any step that follows the refusal."""
    others = InCall(other)
    clock.advance(LEASE)
    process.store.before(steps_to_the_call(clock) + step, others.finish)
    result = process.refresh()
    success = others.finish()

    assert success.kind == "refreshed"
    assert result in (
        success,
        RefreshResult(kind="rejected", at=clock(), contested=True),
    )
    assert process.refresh() == other.refresh() == success


def test_rejection_adopts_a_success_that_is_there(
    process: Process, other: Process, clock: Clock
) -> None:
    others = InCall(other)
    clock.advance(LEASE)
    process.store.before(steps_to_the_call(clock) + 1, others.finish)

    assert process.refresh() == others.finish()


def test_rejection_does_not_replace_a_success_that_came_after_its_look(
    process: Process, other: Process, store: MemoryStore, clock: Clock
) -> None:
    """A failure stood there when the rejection was added, and ended right then."""
    endpoint, third = process.endpoint, Process(store, clock, process.endpoint)
    others = InCall(other)

    def fail_elsewhere() -> None:
        endpoint.errors = [RefreshUnavailable("down")]
        clock.advance(LEASE)
        third.refresh()

    clock.advance(LEASE)
    endpoint.during = fail_elsewhere
    add = steps_to_the_call(clock) + 2
    process.store.before(add + 1, lambda: clock.advance(1))
    process.store.before(add + 2, others.finish)
    process.refresh()

    assert process.store.steps >= add + 2
    assert third.refresh() == others.finish()


def test_rejection_of_the_only_caller_is_not_contested(
    process: Process, other: Process, endpoint: TokenEndpoint
) -> None:
    endpoint.errors = [RefreshRejected("over")]

    assert process.refresh().contested is False
    assert other.refresh().contested is False
    assert len(endpoint.calls) == 1


@pytest.mark.parametrize("holder_first", [True, False], ids=["holder", "other"])
def test_rejection_beside_another_call_is_contested(
    process: Process, other: Process, clock: Clock, *, holder_first: bool
) -> None:
    """Who was given the new session may still have to send its cookie."""
    first, second = (process, other) if holder_first else (other, process)
    stopped = InCall(first)
    clock.advance(LEASE)
    rejected = second.refresh()
    stopped.finish()

    assert rejected.kind == "rejected"
    assert rejected.contested


def test_call_that_begins_during_another_one_contests_its_rejection(
    process: Process, other: Process, clock: Clock
) -> None:
    """The first to say so is the one that is stopped before it sends, and loses."""
    others: list[InCall] = []

    def call_elsewhere() -> None:
        clock.advance(LEASE)
        others.append(InCall(other))

    process.endpoint.before = call_elsewhere
    rejected = process.refresh()
    others[0].finish()

    assert rejected.kind == "rejected"
    assert rejected.contested


def test_rejection_after_a_call_without_an_answer_is_contested(
    process: Process, clock: Clock, endpoint: TokenEndpoint
) -> None:
    endpoint.errors = [RefreshUnavailable("down")]
    process.refresh()
    clock.advance(5)
    endpoint.errors = [RefreshRejected("over")]

    assert process.refresh().contested


@pytest.mark.parametrize("step", range(1, 7))
def test_rejection_is_contested_where_the_store_fails_on_the_way(
    process: Process, clock: Clock, endpoint: TokenEndpoint, step: int
) -> None:
    """Nobody can say then who else has called."""
    endpoint.errors = [RefreshRejected("over")]

    def fail() -> None:
        process.store.inner = FailingStore()

    assert steps_to_the_call(clock) <= 6
    process.store.before(step, fail)

    assert process.refresh().contested


def test_rejection_is_contested_where_the_store_was_down_when_the_call_began(
    process: Process, store: MemoryStore, clock: Clock, endpoint: TokenEndpoint
) -> None:
    """Another process cannot have seen the note, and may have called."""
    endpoint.errors = [RefreshRejected("over")]

    def recover() -> None:
        process.store.inner = store
        clock.advance(PAUSE)

    process.store.inner = FailingStore()
    endpoint.during = recover

    assert process.refresh().contested


def test_rejection_is_contested_where_the_store_lost_the_note(
    process: Process, clock: Clock, endpoint: TokenEndpoint
) -> None:
    endpoint.errors = [RefreshRejected("over")]
    endpoint.during = lambda: clock.advance(RESULT_LIFETIME)

    assert process.refresh().contested


def test_second_success_adopts_the_first(
    process: Process, other: Process, clock: Clock
) -> None:
    """All who share a token write the same cookie value."""
    endpoint = process.endpoint = other.endpoint = TokenEndpoint(clock, grace=30)
    others: list[RefreshResult] = []
    endpoint.during = lambda: others.append(other.refresh())
    result = process.refresh()

    assert [result] == others
    assert len(endpoint.calls) == 2
    assert process.refresh() == other.refresh() == result


@pytest.mark.parametrize("grace", [0, 30], ids=["strict", "grace"])
@pytest.mark.parametrize("step", range(1, 13))
def test_wherever_a_process_stops_its_session_is_not_lost(
    process: Process, other: Process, clock: Clock, grace: float, step: int
) -> None:
    """Before any step, the other process refreshes the same token as a whole."""
    endpoint = process.endpoint = other.endpoint = TokenEndpoint(clock, grace=grace)
    others: list[RefreshResult] = []
    process.store.before(step, lambda: others.append(other.refresh()))
    result = process.refresh()
    final = other.refresh()

    assert result == final
    assert final.kind == "refreshed"
    assert len(endpoint.calls) <= 2
    if grace:
        assert all(one.refresh_token == "T+" for one in others)


# Failures


@pytest.mark.parametrize(
    ("retry_after", "kept"),
    [
        pytest.param(0.0, 1.0, id="at least 1 s"),
        pytest.param(3.0, 3.0, id="as WorkOS asks"),
        pytest.param(10.0, 5.0, id="at most 5 s"),
    ],
)
@pytest.mark.parametrize("transient", [True, False], ids=["transient", "operator"])
def test_failure_is_shared_for_seconds(
    process: Process,
    other: Process,
    clock: Clock,
    endpoint: TokenEndpoint,
    retry_after: float,
    kept: float,
    transient: bool,
) -> None:
    endpoint.errors = [
        RefreshUnavailable("down", retry_after=retry_after, transient=transient)
    ]
    result = process.refresh()
    clock.advance(kept - 0.01)
    shared = other.refresh()
    clock.advance(0.01)

    assert (result.kind, result.transient) == ("unavailable", transient)
    assert result.retry_after == retry_after
    assert shared == result
    assert other.refresh().kind == "refreshed"
    assert len(endpoint.calls) == 2


def test_failure_never_replaces_a_success(
    process: Process, other: Process, clock: Clock, endpoint: TokenEndpoint
) -> None:
    endpoint.errors = [RefreshUnavailable("down")]
    late: list[RefreshResult] = []
    endpoint.during = lambda: late.append(other.refresh())

    assert process.refresh() == late[0] == other.refresh()
    assert late[0].kind == "refreshed"


class FailingStore:
    """A store whose every verb fails."""

    def get(self, key: str) -> bytes | None:
        raise StoreError("down", operation="get")

    def set(self, key: str, value: bytes, ttl: float) -> None:
        raise StoreError("down", operation="set")

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        raise StoreError("down", operation="add")

    def delete(self, key: str, expected: bytes | None = None) -> bool:
        raise StoreError("down", operation="delete")

    def close(self) -> None:
        raise StoreError("down", operation="close")


@pytest.mark.usefixtures("_switching")
def test_threads_make_one_call_without_a_store(
    clock: Clock, endpoint: TokenEndpoint
) -> None:
    process = Process(FailingStore(), clock, endpoint)
    results = together([process.refresh] * THREADS)

    assert len({result.sealed for result in results}) == 1
    assert len(endpoint.calls) == 1


def test_each_process_makes_one_call_without_a_store(clock: Clock) -> None:
    endpoint = TokenEndpoint(clock, grace=10)
    processes = [Process(FailingStore(), clock, endpoint) for _ in range(3)]
    results = [process.refresh() for process in processes * 2]

    assert {result.refresh_token for result in results} == {"T+"}
    assert len(endpoint.calls) == 3


# Sign-out


@pytest.mark.parametrize("step", range(1, 12))
def test_session_that_is_signed_out_is_over_in_every_order(
    process: Process,
    other: Process,
    clock: Clock,
    endpoint: TokenEndpoint,
    step: int,
) -> None:
    """The other process signs out before any step of the refresh."""
    call = steps_to_the_call(clock)
    process.store.before(step, lambda: other.coordinator.ends.end("session_1"))
    result = process.refresh()

    assert process.store.steps >= step or step == 11
    assert endpoint.calls == ([] if step <= call else [("T", None)])
    # One look after the call. What is published by then is dead on arrival.
    assert result.kind == ("ended" if step <= call + 1 else "refreshed")


def test_sign_out_during_the_call_discards_what_it_brings(
    process: Process, other: Process, endpoint: TokenEndpoint
) -> None:
    endpoint.during = lambda: other.coordinator.ends.end("session_1")

    assert process.refresh().kind == "ended"
    assert other.refresh().kind == "ended"
    assert len(endpoint.calls) == 1


def test_session_that_is_signed_in_to_anew_lives_again_everywhere(
    process: Process, other: Process
) -> None:
    """A browser that never came to WorkOS finds the session there that it left."""
    process.coordinator.ends.end("session_1")
    ended = [one.coordinator.ends.has_ended("session_1") for one in (process, other)]
    other.coordinator.ends.revive("session_1")

    assert ended == [True, True]
    assert not process.coordinator.ends.has_ended("session_1")
    assert not other.coordinator.ends.has_ended("session_1")
    assert process.refresh().kind == "refreshed"


def test_sign_in_to_a_session_that_never_ended_writes_nothing(
    process: Process, store: MemoryStore
) -> None:
    process.coordinator.ends.revive("session_1")

    assert len(store) == 0


def test_session_ends_again_after_it_was_revived(
    process: Process, other: Process
) -> None:
    process.coordinator.ends.end("session_1")
    other.coordinator.ends.revive("session_1")
    process.coordinator.ends.end("session_1")

    assert other.coordinator.ends.has_ended("session_1")


def test_end_is_remembered_for_a_day(process: Process, clock: Clock) -> None:
    process.coordinator.ends.end("session_1")
    clock.advance(24 * 3600 - 1)
    before = process.coordinator.ends.has_ended("session_1")
    clock.advance(1)

    assert before
    assert not process.coordinator.ends.has_ended("session_1")


def test_end_of_one_session_leaves_others_alone(process: Process) -> None:
    process.coordinator.ends.end("session_2")

    assert not process.coordinator.ends.has_ended("session_1")
    assert process.refresh().kind == "refreshed"


# Time and rotation


def test_new_token_is_recent_for_ten_seconds(
    process: Process, other: Process, clock: Clock
) -> None:
    result = process.refresh()
    clock.advance(9.9)
    before = [
        one.coordinator.refreshed_recently(result.refresh_token)
        for one in (process, other)
    ]
    clock.advance(0.1)

    assert before == [True, True]
    assert not process.coordinator.refreshed_recently(result.refresh_token)
    assert not process.coordinator.refreshed_recently("T")


@pytest.fixture
def fixed(process: Process, other: Process, clock: Clock) -> TokenEndpoint:
    """A token endpoint that does not rotate."""
    process.endpoint = other.endpoint = TokenEndpoint(clock, rotates=False)
    return process.endpoint


def test_token_that_is_not_rotated_is_refreshed_again_later(
    process: Process, clock: Clock, fixed: TokenEndpoint
) -> None:
    first = process.refresh()
    again = process.refresh()
    clock.advance(10)
    second = process.refresh()

    assert first == again != second
    assert len(fixed.calls) == 2


def test_explicit_refresh_of_a_token_that_is_not_rotated_ends(
    process: Process, fixed: TokenEndpoint
) -> None:
    first = process.refresh()
    second = process.refresh(explicit=True)

    assert second != first
    assert process.refresh() == second
    assert len(fixed.calls) == 2


def test_switch_with_a_token_that_is_not_rotated_replaces_the_result(
    process: Process, other: Process, fixed: TokenEndpoint
) -> None:
    process.refresh(organization_id="org_1")
    switched = process.refresh(organization_id="org_1", wanted="org_2")

    assert switched.organization_id == "org_2"
    assert other.refresh(organization_id="org_1") == switched
    assert len(fixed.calls) == 2


def test_results_that_lead_in_a_circle_end(
    process: Process, clock: Clock, endpoint: TokenEndpoint
) -> None:
    def call(
        refresh_token: str, organization_id: str | None, within: float
    ) -> RefreshResult:
        answer = endpoint(refresh_token, organization_id, within)
        return replace(answer, refresh_token={"T": "U", "U": "T"}[refresh_token])

    for token in ("T", "U"):
        request = RefreshRequest(
            refresh_token=token, session_id="session_1", organization_id=None, call=call
        )
        process.coordinator.refresh(request)

    assert process.refresh("T").kind == "refreshed"
    assert len(endpoint.calls) == 2


# What is kept


def test_memory_does_not_grow_with_tokens(clock: Clock) -> None:
    endpoint = TokenEndpoint(clock)
    envelope = Envelope(("a cookie password for the tests, long enough",))
    ledger = Ledger(MemoryStore(clock, max_entries=100), envelope, "client_test")
    coordinator = RefreshCoordinator(ledger, clock=clock)

    def reject(numbers: range) -> None:
        for number in numbers:
            endpoint.errors = [RefreshRejected("over")]
            endpoint.calls.clear()
            coordinator.refresh(
                RefreshRequest(
                    refresh_token=f"T{number}",
                    session_id="session_1",
                    organization_id=None,
                    call=endpoint,
                )
            )

    tracemalloc.start()
    reject(range(500))
    gc.collect()
    early, _ = tracemalloc.get_traced_memory()
    reject(range(500, 2000))
    gc.collect()
    late, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert late - early < 30_000


def test_result_with_unknown_or_missing_fields_is_none() -> None:
    """Another release may have written it."""
    whole = RefreshResult(kind="rejected").to_dict()

    assert RefreshResult.from_dict(dict(whole)) == RefreshResult(kind="rejected")
    assert RefreshResult.from_dict({**whole, "later": 1}) is None
    assert RefreshResult.from_dict({}) is None
    assert RefreshResult.from_dict({**whole, "connection_ids": None}) is None


def test_repr_shows_no_token() -> None:
    result = RefreshResult(kind="refreshed", sealed="SEALED", refresh_token="SECRET")
    request = RefreshRequest(
        refresh_token="SECRET",
        session_id="session_1",
        organization_id=None,
        call=TokenEndpoint(Clock()),
    )

    assert "SE" not in repr(result).replace("SessionResult", "")
    assert "SECRET" not in repr(request)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        pytest.param(RefreshResult(kind="rejected"), RefreshRejected, id="rejected"),
        pytest.param(RefreshResult(kind="ended"), RefreshRejected, id="ended"),
        pytest.param(
            RefreshResult(kind="unavailable"), RefreshUnavailable, id="unavailable"
        ),
        pytest.param(RefreshResult(kind="busy"), RefreshUnavailable, id="busy"),
        pytest.param(
            RefreshResult(kind="reauthorize", reason="sso_required"),
            RefreshNeedsAuthorization,
            id="reauthorize",
        ),
        pytest.param(RefreshResult(kind="refreshed"), type(None), id="refreshed"),
    ],
)
def test_result_is_described_as_an_error(
    result: RefreshResult, expected: type[object]
) -> None:
    assert type(describe(result)) is expected


def test_description_keeps_what_the_app_needs() -> None:
    needs = describe(
        RefreshResult(
            kind="reauthorize",
            reason="sso_required",
            organization_id="org_1",
            connection_ids=("conn_1",),
        )
    )
    unavailable = describe(
        RefreshResult(kind="unavailable", retry_after=4.0, transient=False)
    )

    assert isinstance(needs, RefreshNeedsAuthorization)
    assert (needs.reason, needs.organization_id) == ("sso_required", "org_1")
    assert needs.connection_ids == ("conn_1",)
    assert isinstance(unavailable, RefreshUnavailable)
    assert (unavailable.retry_after, unavailable.transient) == (4.0, False)
