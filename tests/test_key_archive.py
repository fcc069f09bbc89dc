from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from wsgi_authkit.envelope import Envelope
from wsgi_authkit.errors import APIUnavailable, KeySetUnavailable
from wsgi_authkit.key_set import KeySet
from wsgi_authkit.stores import MemoryStore, Store
from wsgi_authkit.stores.key_archive import LIFETIME, LedgerKeyArchive
from wsgi_authkit.stores.ledger import Ledger
from wsgi_authkit.testing import Clock, FakeWorkOS

CLIENT_ID = "client_test"
PASSWORD = "a cookie password for the tests, long enough"
OTHER_PASSWORD = "another cookie password, just as long as it"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def document() -> bytes:
    workos = FakeWorkOS()
    response = workos.session().get(f"https://api.workos.com/sso/jwks/{CLIENT_ID}")
    assert response.status_code == 200
    return response.content


def ledger(store: Store, clock: Clock, password: str = PASSWORD) -> Ledger:
    return Ledger(store, Envelope((password,)), CLIENT_ID, monotonic=clock)


def archive(store: Store, clock: Clock, password: str = PASSWORD) -> LedgerKeyArchive:
    return LedgerKeyArchive(ledger(store, clock, password))


def down() -> bytes:
    raise APIUnavailable("WorkOS does not answer", request_sent=True)


def key_id(document: bytes) -> str:
    kid: str = json.loads(document)["keys"][0]["kid"]
    return kid


def other_document(document: bytes) -> bytes:
    """Return the same key under another name."""
    return document.replace(key_id(document).encode(), b"another_kid")


def test_worker_that_starts_during_an_outage_verifies_with_the_keys_of_others(
    store: MemoryStore, clock: Clock, document: bytes
) -> None:
    running = KeySet(lambda: document, archive=archive(store, clock), clock=clock)
    running.find_key(key_id(document))
    clock.advance(24 * 3600)
    starting = KeySet(down, archive=archive(store, clock), clock=clock)

    assert starting.find_key(key_id(document)) is not None


def test_worker_that_starts_takes_the_keys_of_others_without_a_call(
    store: MemoryStore, clock: Clock, document: bytes
) -> None:
    """An endpoint that hangs would hold up every worker of a deploy."""
    running = KeySet(lambda: document, archive=archive(store, clock), clock=clock)
    running.find_key(key_id(document))
    clock.advance(60)
    fetches: list[int] = []

    def fetch() -> bytes:
        fetches.append(1)
        return document

    starting = KeySet(fetch, archive=archive(store, clock), clock=clock)

    assert starting.find_key(key_id(document)) is not None
    assert fetches == []
    clock.advance(3600)
    starting.find_key(key_id(document))
    assert fetches == [1]


def test_worker_without_an_archived_set_has_no_keys(
    store: MemoryStore, clock: Clock, document: bytes
) -> None:
    starting = KeySet(down, archive=archive(store, clock), clock=clock)
    with pytest.raises(KeySetUnavailable):
        starting.find_key(key_id(document))


def test_archived_set_ends_with_its_lifetime(
    store: MemoryStore, clock: Clock, document: bytes
) -> None:
    archive(store, clock).save(document, clock())
    clock.advance(LIFETIME - 1)
    before = archive(store, clock).load()
    clock.advance(1)

    assert before is not None
    assert archive(store, clock).load() is None


@pytest.mark.parametrize(
    ("second", "kept"),
    [
        pytest.param(99.0, b"first", id="older"),
        pytest.param(100.0, b"first", id="of the same time"),
        pytest.param(101.0, b"second", id="newer"),
    ],
)
def test_older_document_never_replaces_a_newer_one(
    store: MemoryStore, clock: Clock, second: float, kept: bytes
) -> None:
    """Two workers fetch at once, and the one that began first ends last."""
    archive(store, clock).save(b"first", 100.0)
    archive(store, clock).save(b"second", second)
    found = archive(store, clock).load()

    assert found is not None
    assert found[0] == kept


def test_key_set_in_use_is_not_replaced_by_an_older_archived_one(
    store: MemoryStore, clock: Clock, document: bytes
) -> None:
    kept = LedgerKeyArchive(ledger(store, clock))
    kept.save(other_document(document), clock() - 100)
    answers = [document]
    key_set = KeySet(
        lambda: answers.pop() if answers else down(),
        archive=NothingSaved(kept),
        clock=clock,
    )
    key_set.find_key(key_id(document))
    clock.advance(3601)

    assert key_set.find_key(key_id(document)) is not None
    assert key_set.snapshot() == (document, clock() - 3601)


class NothingSaved:
    """An archive whose writer always came too late."""

    def __init__(self, inner: LedgerKeyArchive) -> None:
        self._inner = inner

    def save(self, document: bytes, fetched_at: float) -> None:
        """Come too late."""

    def load(self) -> tuple[bytes, float] | None:
        return self._inner.load()


def test_bytes_come_back_as_they_were(store: MemoryStore, clock: Clock) -> None:
    archive(store, clock).save(bytes(range(256)), 1.5)

    assert archive(store, clock).load() == (bytes(range(256)), 1.5)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({}, id="empty"),
        pytest.param({"document": "{}"}, id="no time"),
        pytest.param({"fetched_at": 1.0}, id="no document"),
        pytest.param({"document": 1, "fetched_at": 1.0}, id="number"),
        pytest.param({"document": None, "fetched_at": 1.0}, id="null"),
        pytest.param({"document": "\u20ac", "fetched_at": 1.0}, id="not latin-1"),
        pytest.param({"document": "{}", "fetched_at": "soon"}, id="time in words"),
        pytest.param({"document": "{}", "fetched_at": None}, id="time null"),
    ],
)
def test_entry_of_another_release_is_ignored(
    store: MemoryStore, clock: Clock, value: Mapping[str, Any]
) -> None:
    ledger(store, clock).set("keys", "", value, 60)

    assert archive(store, clock).load() is None


@pytest.mark.parametrize(
    "junk", [b"", b"no JSON", b"[]", b'{"keys": []}', b'{"keys": [{"kty": "RSA"}]}']
)
def test_archived_document_without_keys_is_ignored(
    store: MemoryStore, clock: Clock, document: bytes, junk: bytes
) -> None:
    archive(store, clock).save(junk, clock())
    starting = KeySet(down, archive=archive(store, clock), clock=clock)
    with pytest.raises(KeySetUnavailable):
        starting.find_key(key_id(document))


def test_who_writes_the_store_cannot_plant_a_key(
    store: MemoryStore, clock: Clock, document: bytes
) -> None:
    archive(store, clock, OTHER_PASSWORD).save(document, clock())

    assert archive(store, clock).load() is None
