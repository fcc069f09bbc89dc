from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import (
    Server,
    free_port,
    listens_at,
    missing,
    redis_server,
    running,
    until,
)
from tests.test_stores import StoreContract
from wsgi_authkit.envelope import Envelope
from wsgi_authkit.errors import ConfigurationError, StoreError
from wsgi_authkit.stores import Store, open_store
from wsgi_authkit.stores.ledger import PAUSE, Ledger
from wsgi_authkit.stores.redis import RedisStore
from wsgi_authkit.testing import Clock

reason = missing("redis-server")
if reason and not os.environ.get("CI"):
    pytest.skip(reason, allow_module_level=True)

PASSWORD = "a cookie password for the tests, long enough"
VERBS = ("get", "set", "add", "delete", "delete expected")

#: Seconds that one operation may take.
BOUND = 0.25


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Redis that all tests share."""
    port = free_port()
    with running(redis_server(port), port, tmp_path_factory.mktemp("redis")):
        yield port


@pytest.fixture
def client(port: int) -> Iterator[Any]:
    """A client of an empty Redis."""
    with redis.Redis(port=port) as client:
        client.flushall()
        yield client


class Aging:
    """A clock for a server that has its own: what passes is taken off the entries."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def now(self) -> float:
        return 0.0

    @now.setter
    def now(self, seconds: float) -> None:
        for key in self._client.scan_iter():
            self._client.pexpire(key, self._client.pttl(key) - round(seconds * 1000))


class TestRedisStore(StoreContract):
    @pytest.fixture
    def clock(self, client: Any) -> Aging:
        return Aging(client)

    @pytest.fixture
    def store(self, port: int, client: Any) -> Iterator[Store]:
        store = open_store(f"redis://127.0.0.1:{port}/0")
        yield store
        store.close()


class TestRedisStoreWithAClient(StoreContract):
    @pytest.fixture
    def clock(self, client: Any) -> Aging:
        return Aging(client)

    @pytest.fixture
    def store(self, client: Any) -> Store:
        return RedisStore(client, prefix="other:")


@pytest.mark.parametrize("verb", ["set", "add"])
def test_entry_expires_by_itself(port: int, client: Any, verb: str) -> None:
    store = open_store(f"redis://127.0.0.1:{port}/0")
    getattr(store, verb)("key", b"value", 0.05)
    found = store.get("key")

    assert found in (b"value", None)
    assert until(lambda: store.get("key") is None, within=5)
    assert client.dbsize() == 0
    store.close()


def test_no_entry_is_kept_without_an_end(port: int, client: Any) -> None:
    store = open_store(f"redis://127.0.0.1:{port}/0")
    store.set("set", b"", 60)
    store.add("add", b"", 0.0001)
    store.set("longest", b"", 7 * 86400.0)
    lives = [client.pttl(key) for key in client.scan_iter()]
    store.close()

    assert all(life == -2 or 0 <= life <= 7 * 86_400_000 for life in lives)


def test_keys_carry_the_prefix(client: Any) -> None:
    RedisStore(client).set("key", b"1", 60)
    RedisStore(client, prefix="other:").set("key", b"2", 60)

    assert sorted(client.keys()) == [b"other:key", b"wsgi_authkit:key"]


def test_unix_socket_is_reached(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("s")
    socket, port = folder / "r.sock", free_port()
    command = redis_server(port, "--unixsocket", str(socket))
    with running(command, port, folder):
        assert until(lambda: listens_at(socket))
        store = open_store(f"unix://{socket}")
        store.set("key", b"value", 60)

        assert store.get("key") == b"value"
        store.close()


def test_client_that_decodes_is_refused(port: int) -> None:
    with (
        redis.Redis(port=port, decode_responses=True) as client,
        pytest.raises(ConfigurationError, match="decode_responses"),
    ):
        RedisStore(client)


def test_url_in_place_of_a_client_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="from_url"):
        RedisStore("redis://localhost")


def test_client_behind_sentinel_is_taken_without_connecting() -> None:
    retry = Retry(NoBackoff(), 0)
    nobody = [("127.0.0.1", free_port())]
    sentinel_class: Any = redis.Sentinel  # it has no types
    sentinel = sentinel_class(nobody, sentinel_kwargs={"retry": retry})
    store = RedisStore(sentinel.master_for("main", retry=retry))
    with pytest.raises(StoreError, match="MasterNotFoundError"):
        store.get("key")


class ClusterDouble:
    """A client with the methods of ``RedisCluster`` whose cluster is gone."""

    def get(self, name: str) -> bytes:
        raise redis.exceptions.RedisClusterException("no node answers")

    def set(self, name: str, value: bytes, **options: Any) -> bool:
        raise redis.exceptions.SlotNotCoveredError("slot 1 is not covered")

    def delete(self, *names: str) -> int:
        raise redis.exceptions.ClusterDownError("CLUSTERDOWN")

    def eval(self, script: str, keys: int, *arguments: Any) -> int:
        raise OSError("the network is unreachable")

    def close(self) -> None:
        raise redis.exceptions.RedisClusterException("no node answers")


def use(store: Store, verb: str) -> None:
    """Use one verb."""
    uses: dict[str, Callable[[], object]] = {
        "get": lambda: store.get("key"),
        "set": lambda: store.set("key", b"value", 60),
        "add": lambda: store.add("key", b"value", 60),
        "delete": lambda: store.delete("key"),
        "delete expected": lambda: store.delete("key", b"value"),
        "close": store.close,
    }
    uses[verb]()


@pytest.mark.parametrize("verb", [*VERBS, "close"])
def test_errors_of_a_cluster_are_store_errors(verb: str) -> None:
    store = RedisStore(ClusterDouble())
    with pytest.raises(StoreError) as caught:
        use(store, verb)

    assert caught.value.operation == verb.partition(" ")[0]


class Redis:
    """A Redis of the test's own, that can be stopped and started again."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.port = free_port()
        self._folder = folder
        self._stack = stack
        self.server = self.start()

    def start(self, *options: str) -> Server:
        command = redis_server(self.port, *options)
        self.server = self._stack.enter_context(
            running(command, self.port, self._folder)
        )
        return self.server

    def hang(self) -> None:
        self.server.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.server.process.send_signal(signal.SIGCONT)

    def open(self) -> Store:
        return open_store(f"redis://:hunter2@127.0.0.1:{self.port}/0")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Redis]:
    with ExitStack() as stack:
        own = Redis(tmp_path, stack)
        # Any password is right, so that a URL can have one.
        with redis.Redis(port=own.port) as client:
            client.config_set("requirepass", "hunter2")
        yield own


def timed_error(store: Store, verb: str) -> tuple[StoreError, float]:
    """Use one verb and return the error, and the seconds it takes.

    It is tried again where it took longer: what else the machine does only adds.
    """
    for _ in range(3):
        start = time.monotonic()
        with pytest.raises(StoreError) as caught:
            use(store, verb)
        seconds = time.monotonic() - start
        if seconds <= BOUND:
            break
    return caught.value, seconds


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "new"])
@pytest.mark.parametrize("how", ["stopped", "hung"])
def test_redis_that_does_not_answer_costs_a_quarter_of_a_second(
    own: Redis, how: str, connected: bool
) -> None:
    store = own.open()
    if connected:
        store.set("key", b"value", 60)
    if how == "hung":
        own.hang()
    else:
        own.server.kill()
    for verb in VERBS:
        error, seconds = timed_error(store, verb)

        assert error.operation == verb.partition(" ")[0]
        assert "hunter2" not in str(error)
        assert seconds <= BOUND
    store.close()


def test_read_only_replica_refuses_what_writes(own: Redis) -> None:
    store = own.open()
    store.set("key", b"value", 60)
    with redis.Redis(port=own.port, password="hunter2") as client:
        client.replicaof("127.0.0.1", free_port())

    assert store.get("key") == b"value"
    for verb in VERBS[1:]:
        error, seconds = timed_error(store, verb)
        assert (error.operation, seconds <= BOUND) == (verb.partition(" ")[0], True)
    store.close()


def test_redis_out_of_memory_refuses_what_writes(own: Redis) -> None:
    store = own.open()
    with redis.Redis(port=own.port, password="hunter2") as client:
        client.config_set("maxmemory", "1")
    error, _ = timed_error(store, "set")
    store.close()

    assert error.operation == "set"


def test_wrong_password_is_a_store_error_that_does_not_repeat_it(own: Redis) -> None:
    store = open_store(f"redis://:hunter3@127.0.0.1:{own.port}/0")
    error, _ = timed_error(store, "get")

    assert "hunter3" not in str(error)


def test_restarted_redis_is_used_again(own: Redis) -> None:
    store = own.open()
    store.set("key", b"value", 60)
    own.server.kill()
    own.start("--requirepass", "hunter2")

    assert store.get("key") is None
    assert store.add("key", b"new", 60) is True
    store.close()


def test_redis_that_hung_is_used_again_and_answers_are_not_mixed_up(own: Redis) -> None:
    """The answer to a question given up on must not come to the next one."""
    store = own.open()
    store.set("a", b"1", 60)
    store.set("b", b"2", 60)
    own.hang()
    with pytest.raises(StoreError):
        store.get("a")
    own.go_on()

    assert store.get("b") == b"2"
    store.close()


class CountingStore:
    """Counts what reaches a store."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        self.calls += 1
        return getattr(self.inner, name)


def test_ledger_leaves_a_hung_redis_alone_and_returns_to_it(
    own: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    clock, envelope = Clock(), Envelope((PASSWORD,))
    store: Any = CountingStore(own.open())
    ledger = Ledger(store, envelope, "client_test", monotonic=clock)
    own.hang()
    start = time.monotonic()
    ledger.set("refresh", "token", {"n": 1}, 60)
    for _ in range(100):
        assert ledger.get("refresh", "token") == {"n": 1}
    assert ledger.acquire("lease", "token", "mine", 8)
    seconds, calls = time.monotonic() - start, store.calls
    own.go_on()
    clock.advance(PAUSE)
    ledger.set("refresh", "token", {"n": 2}, 60)
    other = Ledger(own.open(), envelope, "client_test", monotonic=clock)

    # Nobody waited for it twice.
    assert (calls, seconds < 2 * BOUND) == (1, True)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "hunter2" not in caplog.text
    assert other.get("refresh", "token") == {"n": 2}
    ledger.close()
    other.close()


def test_value_moved_or_of_another_password_does_not_open(
    port: int, client: Any
) -> None:
    clock = Clock()

    def ledger(password: str) -> Ledger:
        return Ledger(
            RedisStore(client), Envelope((password,)), "client_test", monotonic=clock
        )

    ledger(PASSWORD).set("refresh", "attacker", {"who": "attacker"}, 60)
    (attackers,) = client.keys()
    ledger(PASSWORD).set("refresh", "victim", {"who": "victim"}, 60)
    (victims,) = set(client.keys()) - {attackers}
    client.copy(attackers, victims, replace=True)

    assert ledger(PASSWORD).get("refresh", "victim") is None
    assert ledger(PASSWORD).get("refresh", "attacker") == {"who": "attacker"}
    assert ledger(PASSWORD[::-1]).get("refresh", "attacker") is None
