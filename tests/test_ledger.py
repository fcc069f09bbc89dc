from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from tests.demos import until
from wsgi_authkit.envelope import Envelope
from wsgi_authkit.errors import StoreError
from wsgi_authkit.session_ends import SessionEnds
from wsgi_authkit.stores import MemoryStore, Store
from wsgi_authkit.stores.ledger import MAX_OWED, PAUSE, REPAID_AT_ONCE, Ledger
from wsgi_authkit.testing import Clock

PASSWORD = "a cookie password for the tests, long enough"
OTHER_PASSWORD = "another cookie password, just as long as it"

SECRET = "refresh-token-in-clear"


class RecordingStore(MemoryStore):
    """Remembers every key and value that reached it, as who reads the store would."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.written: dict[str, bytes] = {}
        self.calls = 0

    def get(self, key: str) -> bytes | None:
        self.calls += 1
        return super().get(key)

    def set(self, key: str, value: bytes, ttl: float) -> None:
        self.calls += 1
        self.written[key] = value
        super().set(key, value, ttl)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        self.calls += 1
        self.written.setdefault(key, value)
        return super().add(key, value, ttl)


class BrokenStore:
    """Refuses the verbs it is told to; the others work."""

    def __init__(self, inner: Store, *verbs: str) -> None:
        self.inner = inner
        self.verbs = verbs
        self.calls: list[str] = []
        self.before_set: Callable[[], None] = lambda: None

    def _try(self, verb: str) -> None:
        self.calls.append(verb)
        if verb in self.verbs:
            raise StoreError("the connection was refused", operation=verb)

    def get(self, key: str) -> bytes | None:
        self._try("get")
        return self.inner.get(key)

    def set(self, key: str, value: bytes, ttl: float) -> None:
        self._try("set")
        self.before_set()
        self.inner.set(key, value, ttl)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        self._try("add")
        return self.inner.add(key, value, ttl)

    def delete(self, key: str, expected: bytes | None = None) -> bool:
        self._try("delete")
        return self.inner.delete(key, expected)

    def close(self) -> None:
        self._try("close")
        self.inner.close()


ALL_VERBS = ("get", "set", "add", "delete", "close")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> RecordingStore:
    return RecordingStore(clock)


def make_ledger(
    store: Store,
    clock: Clock,
    *passwords: str,
    namespace: str = "client_test",
) -> Ledger:
    envelope = Envelope(passwords or (PASSWORD,))
    return Ledger(store, envelope, namespace, monotonic=clock)


def test_what_is_written_is_read_by_another_process(
    store: RecordingStore, clock: Clock
) -> None:
    make_ledger(store, clock).set("refresh", "token", {"sealed": "abc", "at": 1.5}, 60)

    found = make_ledger(store, clock).get("refresh", "token")
    assert found == {"sealed": "abc", "at": 1.5}


def test_what_was_never_written_is_none(store: RecordingStore, clock: Clock) -> None:
    assert make_ledger(store, clock).get("refresh", "token") is None


def test_entry_ends_with_its_ttl(store: RecordingStore, clock: Clock) -> None:
    ledger = make_ledger(store, clock)
    ledger.set("refresh", "token", {}, 60)
    clock.advance(60)

    assert ledger.get("refresh", "token") is None


def test_add_keeps_the_first_value(store: RecordingStore, clock: Clock) -> None:
    ledger = make_ledger(store, clock)

    assert ledger.add("refresh", "token", {"n": 1}, 60)
    assert not ledger.add("refresh", "token", {"n": 2}, 60)
    assert ledger.get("refresh", "token") == {"n": 1}


def test_set_replaces_the_value(store: RecordingStore, clock: Clock) -> None:
    ledger = make_ledger(store, clock)
    ledger.add("refresh", "token", {"n": 1}, 60)
    ledger.set("refresh", "token", {"n": 2}, 60)

    assert ledger.get("refresh", "token") == {"n": 2}


def test_lease_admits_one_owner_until_it_is_released(
    store: RecordingStore, clock: Clock
) -> None:
    ledger, other = make_ledger(store, clock), make_ledger(store, clock)

    assert ledger.acquire("lease", "token", "mine", 8)
    assert not other.acquire("lease", "token", "theirs", 8)
    ledger.release("lease", "token", "mine")
    assert other.acquire("lease", "token", "theirs", 8)


def test_lease_of_a_dead_owner_runs_out(store: RecordingStore, clock: Clock) -> None:
    ledger = make_ledger(store, clock)
    ledger.acquire("lease", "token", "dead", 8)
    clock.advance(8)

    assert ledger.acquire("lease", "token", "mine", 8)


def test_late_owner_does_not_release_its_successors_lease(
    store: RecordingStore, clock: Clock
) -> None:
    late, successor = make_ledger(store, clock), make_ledger(store, clock)
    late.acquire("lease", "token", "late", 8)
    clock.advance(8)
    successor.acquire("lease", "token", "successor", 8)
    late.release("lease", "token", "late")

    assert not late.acquire("lease", "token", "third", 8)


@pytest.mark.parametrize(
    ("kind", "identifier", "namespace"),
    [
        pytest.param("recent", "token", "client_test", id="other kind"),
        pytest.param("refresh", "tokem", "client_test", id="other identifier"),
        pytest.param("refresh", "token", "client_other", id="other client"),
        pytest.param("refresh", "client_test\0token", "", id="shifted border"),
    ],
)
def test_kind_identifier_and_client_keep_entries_apart(
    store: RecordingStore, clock: Clock, kind: str, identifier: str, namespace: str
) -> None:
    make_ledger(store, clock).set("refresh", "token", {}, 60)

    other = make_ledger(store, clock, namespace=namespace)
    assert other.get(kind, identifier) is None


def test_store_sees_neither_tokens_nor_values(
    store: RecordingStore, clock: Clock
) -> None:
    ledger = make_ledger(store, clock)
    ledger.set("refresh", SECRET, {"sealed": SECRET}, 60)
    ledger.add("recent", SECRET, {"sealed": SECRET}, 60)
    ledger.acquire("lease", SECRET, "owner", 8)

    assert len(store.written) == 3
    for key, value in store.written.items():
        assert re.fullmatch(r"[0-9a-f]{64}", key)
        assert SECRET.encode() not in value
        assert b"sealed" not in value


def test_hostile_identifier_is_a_key_like_any_other(
    store: RecordingStore, clock: Clock
) -> None:
    ledger = make_ledger(store, clock)
    ledger.set("ended", "\ud800\0ü" * 1000, {}, 60)

    assert ledger.get("ended", "\ud800\0ü" * 1000) == {}


def test_value_moved_to_another_key_is_ignored(
    store: RecordingStore, clock: Clock
) -> None:
    """Who writes a store could otherwise hand one person's session to another."""
    ledger = make_ledger(store, clock)
    ledger.set("refresh", "attacker", {"who": "attacker"}, 60)
    ledger.set("refresh", "victim", {"who": "victim"}, 60)
    attackers, victims = store.written
    store.set(victims, store.written[attackers], 60)

    assert ledger.get("refresh", "victim") is None
    assert ledger.get("refresh", "attacker") == {"who": "attacker"}


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"kind": "refreshed"}', id="plain JSON"),
        pytest.param(b"\x01" + bytes(40), id="form of an envelope"),
        pytest.param(b"\xff" * 1000, id="noise"),
    ],
)
def test_planted_value_is_ignored(
    store: RecordingStore, clock: Clock, planted: bytes
) -> None:
    ledger = make_ledger(store, clock)
    ledger.set("refresh", "token", {"n": 1}, 60)
    (key,) = store.written
    store.set(key, planted, 60)

    assert ledger.get("refresh", "token") is None


@pytest.mark.parametrize(
    "purpose", [pytest.param("request", id="request"), pytest.param("", id="none")]
)
def test_envelope_of_another_purpose_is_ignored(
    store: RecordingStore, clock: Clock, purpose: str
) -> None:
    ledger = make_ledger(store, clock)
    ledger.set("refresh", "token", {"n": 1}, 60)
    (key,) = store.written
    other = Envelope((PASSWORD,)).seal(b'{"n":2}', purpose=purpose, context=key)
    store.set(key, other, 60)

    assert ledger.get("refresh", "token") is None


def test_enveloped_value_that_is_no_object_is_ignored(
    store: RecordingStore, clock: Clock
) -> None:
    ledger = make_ledger(store, clock)
    ledger.set("refresh", "token", {}, 60)
    (key,) = store.written
    envelope = Envelope((PASSWORD,))
    for plaintext in (b"[]", b"not JSON", b"\xff"):
        store.set(key, envelope.seal(plaintext, purpose="store", context=key), 60)
        assert ledger.get("refresh", "token") is None


def test_value_of_another_password_is_ignored(
    store: RecordingStore, clock: Clock
) -> None:
    make_ledger(store, clock, OTHER_PASSWORD).set("refresh", "token", {}, 60)

    assert make_ledger(store, clock).get("refresh", "token") is None


def test_value_of_a_previous_password_is_read(
    store: RecordingStore, clock: Clock
) -> None:
    make_ledger(store, clock, PASSWORD).set("refresh", "token", {"n": 1}, 60)

    rotated = make_ledger(store, clock, OTHER_PASSWORD, PASSWORD)
    assert rotated.get("refresh", "token") == {"n": 1}


def use(ledger: Ledger) -> dict[str, Any]:
    """Use every method once and return what they answer."""
    answers: dict[str, Any] = {"add": ledger.add("refresh", "added", {"n": 1}, 60)}
    ledger.set("refresh", "set", {"n": 2}, 60)
    answers["acquire"] = ledger.acquire("lease", "token", "mine", 8)
    answers["acquire again"] = ledger.acquire("lease", "token", "theirs", 8)
    ledger.release("lease", "token", "mine")
    answers["after release"] = ledger.acquire("lease", "token", "theirs", 8)
    answers["read"] = [ledger.get("refresh", key) for key in ("added", "set", "none")]
    return answers


WORKING = {
    "add": True,
    "acquire": True,
    "acquire again": False,
    "after release": True,
    "read": [{"n": 1}, {"n": 2}, None],
}


def test_ledger_works_with_a_store(store: RecordingStore, clock: Clock) -> None:
    assert use(make_ledger(store, clock)) == WORKING


def test_process_coordinates_by_itself_while_the_store_fails(
    store: RecordingStore, clock: Clock
) -> None:
    assert use(make_ledger(BrokenStore(store, *ALL_VERBS), clock)) == WORKING


@pytest.mark.parametrize("verb", ["get", "set", "add", "delete"])
def test_failure_of_one_verb_raises_nothing(
    store: RecordingStore, clock: Clock, verb: str
) -> None:
    ledger = make_ledger(BrokenStore(store, verb), clock)
    answers = use(ledger)

    assert answers["add"] is answers["acquire"] is True
    if verb != "delete":  # who cannot release waits until the lease runs out
        assert answers == WORKING


def test_closing_a_failing_store_raises_nothing(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store, *ALL_VERBS)
    make_ledger(broken, clock).close()

    assert broken.calls == ["close"]


def test_close_closes_the_store(store: RecordingStore, clock: Clock) -> None:
    ledger = make_ledger(store, clock)
    ledger.set("refresh", "token", {}, 60)
    ledger.close()

    assert len(store) == 0


def test_failing_store_is_left_alone_for_the_pause(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store, *ALL_VERBS)
    ledger = make_ledger(broken, clock)
    ledger.get("refresh", "token")
    clock.advance(PAUSE - 0.1)
    use(ledger)
    tried = list(broken.calls)
    clock.advance(0.1)
    ledger.get("refresh", "token")

    assert PAUSE == 5
    assert tried == ["get"]
    assert len(broken.calls) == 2


def test_store_is_used_again_after_the_pause(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store, *ALL_VERBS)
    ledger = make_ledger(broken, clock)
    ledger.get("refresh", "token")
    broken.verbs = ()
    clock.advance(PAUSE)
    ledger.set("refresh", "token", {"n": 1}, 60)

    assert make_ledger(store, clock).get("refresh", "token") == {"n": 1}


def test_what_was_written_in_a_pause_is_not_forgotten_after_it(
    store: RecordingStore, clock: Clock
) -> None:
    """A session refreshed meanwhile would otherwise be refreshed again."""
    broken = BrokenStore(store, *ALL_VERBS)
    ledger = make_ledger(broken, clock)
    ledger.set("refresh", "token", {"n": 1}, 60)
    broken.verbs = ()
    clock.advance(PAUSE)

    assert ledger.get("refresh", "token") == {"n": 1}


def test_others_see_what_was_written_in_a_pause_when_it_is_over(
    store: RecordingStore, clock: Clock
) -> None:
    """The end of a session, for instance, which its old cookie must not outlive."""
    broken = BrokenStore(store, *ALL_VERBS)
    ledger, other = make_ledger(broken, clock), make_ledger(store, clock)
    ledger.set("ended", "session_1", {}, 60)
    ledger.add("refresh", "token", {"n": 1}, 60)
    while_down = [other.get("ended", "session_1"), other.get("refresh", "token")]
    broken.verbs = ()
    clock.advance(PAUSE)
    ledger.get("refresh", "another")

    assert while_down == [None, None]
    assert other.get("ended", "session_1") == {}
    assert other.get("refresh", "token") == {"n": 1}


def test_late_write_lives_no_longer_than_it_would_have(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store, *ALL_VERBS)
    ledger, other = make_ledger(broken, clock), make_ledger(store, clock)
    ledger.set("ended", "short", {}, PAUSE)
    ledger.set("ended", "long", {}, 60)
    broken.verbs = ()
    clock.advance(PAUSE)
    ledger.get("refresh", "another")

    assert other.get("ended", "short") is None
    clock.advance(60 - PAUSE)
    assert other.get("ended", "long") is None


def test_late_addition_never_replaces_what_is_there(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store, *ALL_VERBS)
    ledger, other = make_ledger(broken, clock), make_ledger(store, clock)
    ledger.add("refresh", "token", {"n": 1}, 60)
    other.set("refresh", "token", {"n": 2}, 60)
    broken.verbs = ()
    clock.advance(PAUSE)

    assert ledger.get("refresh", "token") == {"n": 2}


def test_late_write_replaces_what_was_there_before(
    store: RecordingStore, clock: Clock
) -> None:
    """A session that was signed in to again, and out again while the store is down."""
    broken = BrokenStore(store)
    ledger, other = make_ledger(broken, clock), make_ledger(store, clock)
    other.set("ended", "session_1", {"over": False}, 600)
    broken.verbs = ALL_VERBS
    ledger.set("ended", "session_1", {}, 600)
    seen = [ledger.get("ended", "session_1")]
    broken.verbs = ()
    clock.advance(PAUSE)
    seen.append(ledger.get("ended", "session_1"))
    ledger.get("refresh", "another")

    assert seen == [{}, {}]
    assert other.get("ended", "session_1") == {}


def test_write_that_succeeds_makes_an_older_late_one_void(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store, "set", "add")
    ledger, other = make_ledger(broken, clock), make_ledger(store, clock)
    ledger.set("refresh", "token", {"n": 1}, 60)
    clock.advance(PAUSE)
    broken.verbs = ("add",)
    ledger.set("refresh", "token", {"n": 2}, 60)
    broken.verbs = ()
    clock.advance(PAUSE)
    ledger.get("refresh", "another")

    assert other.get("refresh", "token") == {"n": 2}


def test_late_writes_survive_a_store_that_fails_again(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store, *ALL_VERBS)
    ledger, other = make_ledger(broken, clock), make_ledger(store, clock)
    for number in range(3):
        ledger.set("ended", str(number), {}, 60)
    for _ in range(2):
        clock.advance(PAUSE)
        ledger.get("refresh", "another")
    broken.verbs = ()
    clock.advance(PAUSE)
    ledger.get("refresh", "another")

    assert [other.get("ended", str(number)) for number in range(3)] == [{}] * 3


def test_write_that_must_not_be_late_is_not(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store, *ALL_VERBS)
    ledger, other = make_ledger(broken, clock), make_ledger(store, clock)
    ledger.set("ended", "session_1", {"over": False}, 600, late=False)
    here = ledger.get("ended", "session_1")
    broken.verbs = ()
    clock.advance(PAUSE)
    ledger.get("refresh", "another")

    assert here == {"over": False}
    assert other.get("ended", "session_1") is None


def test_addition_that_finds_something_in_a_pause_is_not_written_late(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store)
    ledger, other = make_ledger(broken, clock), make_ledger(store, clock)
    ledger.add("refresh", "token", {"n": 1}, 600)
    other.set("refresh", "token", {"n": 2}, 600)
    broken.verbs = ALL_VERBS
    again = ledger.add("refresh", "token", {"n": 3}, 600)
    broken.verbs = ()
    clock.advance(PAUSE)

    assert not again
    assert ledger.get("refresh", "token") == {"n": 2}


def test_lease_of_a_pause_is_not_written_late(
    store: RecordingStore, clock: Clock
) -> None:
    """Its holder may have worked beside another one for all that time."""
    broken = BrokenStore(store, *ALL_VERBS)
    ledger, other = make_ledger(broken, clock), make_ledger(store, clock)
    ledger.acquire("lease", "token", "mine", 60)
    broken.verbs = ()
    clock.advance(PAUSE)
    ledger.get("refresh", "another")

    assert other.acquire("lease", "token", "theirs", 60)


def test_few_late_writes_go_with_one_operation_and_not_without_end(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store, *ALL_VERBS)
    ledger = make_ledger(broken, clock)
    for number in range(MAX_OWED + 10):
        ledger.set("ended", str(number), {}, 3600)
    broken.verbs = ()
    broken.calls.clear()
    clock.advance(PAUSE)
    ledger.get("refresh", "another")
    with_one = broken.calls.count("set")
    for _ in range(MAX_OWED):
        ledger.get("refresh", "another")

    assert with_one == REPAID_AT_ONCE
    assert broken.calls.count("set") == MAX_OWED


def test_end_of_a_session_is_owed_before_what_matters_less(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store, *ALL_VERBS)
    ledger, other = make_ledger(broken, clock), make_ledger(store, clock)
    ledger.set("ended", "session_1", {}, 24 * 3600)
    for number in range(MAX_OWED + 10):
        ledger.set("refresh", str(number), {}, 60)
    ledger.set("ended", "session_2", {}, 24 * 3600)
    broken.verbs = ()
    clock.advance(PAUSE)
    for _ in range(MAX_OWED):
        ledger.get("refresh", "another")

    assert other.get("ended", "session_1") == other.get("ended", "session_2") == {}


def test_value_that_is_not_bytes_is_a_failure_of_the_store(
    store: RecordingStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Confused(RecordingStore):
        def get(self, key: str) -> Any:
            return True

    ledger = make_ledger(Confused(clock), clock)

    assert ledger.get("refresh", "token") is None
    assert not ledger.is_shared
    assert "get" in caplog.text


def test_what_is_remembered_is_there_when_the_store_fails(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store)
    ledger, other = make_ledger(broken, clock), make_ledger(store, clock)
    ledger.remember("refresh", "token", {"n": 1}, 60)
    seen_by_others = other.get("refresh", "token")
    broken.verbs = ALL_VERBS

    assert seen_by_others is None
    assert ledger.get("refresh", "token") == {"n": 1}
    clock.advance(60)
    assert ledger.get("refresh", "token") is None


def test_what_is_remembered_replaces_nothing(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store)
    ledger = make_ledger(broken, clock)
    ledger.set("refresh", "token", {"n": 1}, 60)
    ledger.remember("refresh", "token", {"n": 2}, 60)
    broken.verbs = ALL_VERBS

    assert ledger.get("refresh", "token") == {"n": 1}


def test_what_is_not_to_be_written_late_takes_back_what_is(
    store: RecordingStore, clock: Clock
) -> None:
    """A person who signs out and in again while the store is down is signed in."""
    broken = BrokenStore(store, *ALL_VERBS)
    ends = SessionEnds(make_ledger(broken, clock))
    ends.end("session_1")
    ends.revive("session_1")
    meanwhile = ends.has_ended("session_1")
    broken.verbs = ()
    clock.advance(PAUSE)

    assert not meanwhile
    assert not ends.has_ended("session_1")


def test_revival_is_not_written_over_a_later_end(
    store: RecordingStore, clock: Clock
) -> None:
    """The person signs out elsewhere while the store of this process is down."""
    broken = BrokenStore(store)
    ends = SessionEnds(make_ledger(broken, clock))
    others = SessionEnds(make_ledger(store, clock))
    ends.end("session_1")
    broken.verbs = ALL_VERBS
    ends.revive("session_1")
    others.end("session_1")
    broken.verbs = ()
    clock.advance(PAUSE)

    assert ends.has_ended("session_1")
    assert others.has_ended("session_1")


class LateWrite:
    """A process that writes down, late, what a store did not take, and is halted."""

    def __init__(self, store: RecordingStore, clock: Clock) -> None:
        self._broken = BrokenStore(store, *ALL_VERBS)
        self._clock = clock
        self._started, self._let_go = threading.Event(), threading.Event()
        self.ledger = make_ledger(self._broken, clock)
        self.ledger.set("ended", "session_1", {"n": 1}, 600)

    @contextmanager
    def under_way(self) -> Iterator[ThreadPoolExecutor]:
        """Halt in the middle of the late write, which goes on at the end."""
        self._broken.verbs = ()
        self._broken.before_set = self._halt
        self._clock.advance(PAUSE)
        with ThreadPoolExecutor() as pool:
            writing = pool.submit(self.ledger.get, "refresh", "another")
            assert self._started.wait(30)
            self._broken.before_set = lambda: None
            yield pool
            self._let_go.set()
            writing.result()

    def _halt(self) -> None:
        self._started.set()
        assert self._let_go.wait(30)


def test_value_is_seen_while_it_is_written_late(
    store: RecordingStore, clock: Clock
) -> None:
    make_ledger(store, clock).set("ended", "session_1", {"n": 0}, 600)
    late = LateWrite(store, clock)
    with late.under_way():
        seen = late.ledger.get("ended", "session_1")

    assert seen == {"n": 1}


def test_newer_value_is_written_after_an_older_one_that_is_late(
    store: RecordingStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = LateWrite(store, clock)
    waiting = threading.Event()

    class Announced:
        """The lock of late writes, which says that somebody waits for it."""

        def __init__(self, lock: threading.Lock) -> None:
            self._lock = lock

        def __enter__(self) -> None:
            waiting.set()
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

        acquire = property(lambda self: self._lock.acquire)
        release = property(lambda self: self._lock.release)

    with late.under_way() as pool:
        monkeypatch.setattr(late.ledger, "_late", Announced(late.ledger._late))
        newer = pool.submit(late.ledger.set, "ended", "session_1", {"n": 2}, 600)
        until(lambda: waiting.is_set() or newer.done())
    newer.result()

    assert make_ledger(store, clock).get("ended", "session_1") == {"n": 2}


def test_ledger_knows_whether_others_see_it(
    store: RecordingStore, clock: Clock
) -> None:
    broken = BrokenStore(store, *ALL_VERBS)
    ledger = make_ledger(broken, clock)
    before = ledger.is_shared
    ledger.get("refresh", "token")

    assert before
    assert not ledger.is_shared
    clock.advance(PAUSE)
    assert ledger.is_shared


def test_what_the_process_wrote_outlives_its_store(
    store: RecordingStore, clock: Clock
) -> None:
    """A late request would otherwise send a refresh token a second time."""
    broken = BrokenStore(store)
    ledger = make_ledger(broken, clock)
    ledger.set("refresh", "set", {"n": 1}, 60)
    ledger.add("refresh", "added", {"n": 2}, 60)
    broken.verbs = ALL_VERBS

    assert ledger.get("refresh", "set") == {"n": 1}
    assert ledger.get("refresh", "added") == {"n": 2}
    clock.advance(60)
    assert ledger.get("refresh", "set") is None


def test_value_of_the_store_counts_more_than_the_copy(
    store: RecordingStore, clock: Clock
) -> None:
    ledger = make_ledger(BrokenStore(store), clock)
    ledger.add("refresh", "token", {"n": 1}, 60)
    make_ledger(store, clock).set("refresh", "token", {"n": 2}, 60)

    assert ledger.get("refresh", "token") == {"n": 2}


def test_refused_add_leaves_the_copy_alone(store: RecordingStore, clock: Clock) -> None:
    broken = BrokenStore(store)
    ledger = make_ledger(broken, clock)
    make_ledger(store, clock).add("refresh", "token", {"n": 1}, 60)

    assert not ledger.add("refresh", "token", {"n": 2}, 60)
    broken.verbs = ALL_VERBS
    assert ledger.get("refresh", "token") is None


def test_failing_store_is_logged_once_a_minute(
    store: RecordingStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = make_ledger(BrokenStore(store, *ALL_VERBS), clock)
    for _ in range(12):
        ledger.get("refresh", SECRET)
        clock.advance(PAUSE)
    within_a_minute = len(caplog.records)
    ledger.get("refresh", SECRET)

    assert within_a_minute == 1
    assert len(caplog.records) == 2
    assert caplog.records[0].levelno == logging.WARNING
    assert "get" in caplog.text
    assert SECRET not in caplog.text


def test_memory_of_a_failing_store_is_bounded(
    store: RecordingStore, clock: Clock
) -> None:
    ledger = make_ledger(BrokenStore(store, *ALL_VERBS), clock)
    for number in range(31_000):
        ledger.acquire("flow", str(number), "", 600)

    # The oldest gave way: it is free again.
    assert ledger.acquire("flow", "0", "", 600)
    assert not ledger.acquire("flow", "30999", "", 600)
