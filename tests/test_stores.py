from __future__ import annotations

import os
import re
import sys
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from traceback import format_exception
from typing import Any, TypeVar

import pytest

from wsgi_authkit.errors import ConfigurationError
from wsgi_authkit.stores import MemoryStore, Store, check_store, open_store

T = TypeVar("T")

THREADS = 16


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def together(work: Callable[[int], T]) -> list[T]:
    """Run ``work`` in all threads at the same moment and return what each returned."""
    barrier = threading.Barrier(THREADS)

    def run(number: int) -> T:
        barrier.wait(timeout=30)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


class YieldingKey(str):
    """A key that hands over to another thread whenever a dict looks at it."""

    __slots__ = ()

    def __hash__(self) -> int:
        os.sched_yield()
        return super().__hash__()


class StoreContract:
    """What every store does; a subclass gives the ``store`` fixture, on ``clock``."""

    @pytest.fixture
    def _switching(self) -> Iterator[None]:
        """Let threads take turns every few bytecodes, so that a race shows."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        yield
        sys.setswitchinterval(interval)

    @pytest.fixture
    def contended(self) -> type[str]:
        """The type of the keys that many threads fight over."""
        return str

    def test_key_never_written_has_no_value(self, store: Store) -> None:
        assert store.get("key") is None

    def test_set_replaces_the_value(self, store: Store) -> None:
        store.set("key", b"old", 60)
        store.set("key", b"new", 60)

        assert store.get("key") == b"new"

    def test_keys_are_apart(self, store: Store) -> None:
        store.set("a", b"1", 60)
        store.set("b", b"2", 60)
        store.delete("a")

        assert (store.get("a"), store.get("b")) == (None, b"2")

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(b"", id="empty"),
            pytest.param(bytes(range(256)), id="every byte"),
            pytest.param(b"\xff\x00\xc3\x28", id="not UTF-8"),
            pytest.param(b"x" * 1_000_000, id="1 MB"),
        ],
    )
    def test_value_comes_back_byte_for_byte(self, store: Store, value: bytes) -> None:
        store.set("key", value, 60)

        assert store.get("key") == value

    def test_entry_lives_up_to_its_ttl(self, store: Store, clock: Clock) -> None:
        store.set("key", b"value", 8.5)
        clock.now += 8

        assert store.get("key") == b"value"

    def test_entry_is_gone_when_its_ttl_has_passed(
        self, store: Store, clock: Clock
    ) -> None:
        store.set("key", b"value", 8.5)
        clock.now += 8.5

        assert store.get("key") is None

    def test_set_starts_the_ttl_anew(self, store: Store, clock: Clock) -> None:
        store.set("key", b"old", 10)
        clock.now += 9
        store.set("key", b"new", 10)
        clock.now += 9
        store.set("other", b"", 10)  # a write is when stores tidy up

        assert store.get("key") == b"new"

    def test_set_can_shorten_the_ttl(self, store: Store, clock: Clock) -> None:
        store.set("key", b"old", 60)
        store.set("key", b"new", 5)
        clock.now += 5

        assert store.get("key") is None

    def test_add_keeps_the_first_value(self, store: Store) -> None:
        answers = [store.add("key", b"first", 60), store.add("key", b"second", 60)]

        assert answers == [True, False]
        assert store.get("key") == b"first"

    def test_add_counts_an_empty_value_as_a_value(self, store: Store) -> None:
        store.set("key", b"", 60)

        assert store.add("key", b"value", 60) is False

    def test_refused_add_leaves_the_ttl_alone(self, store: Store, clock: Clock) -> None:
        store.add("key", b"first", 10)
        store.add("key", b"second", 60)
        clock.now += 10

        assert store.get("key") is None

    def test_add_takes_the_place_of_an_expired_entry(
        self, store: Store, clock: Clock
    ) -> None:
        store.add("lease", b"first", 8)
        clock.now += 8

        assert store.add("lease", b"second", 8) is True
        assert store.get("lease") == b"second"

    def test_added_entry_expires(self, store: Store, clock: Clock) -> None:
        store.add("key", b"value", 8)
        clock.now += 8

        assert store.get("key") is None

    def test_add_succeeds_after_delete(self, store: Store) -> None:
        store.add("lease", b"first", 60)
        store.delete("lease")

        assert store.add("lease", b"second", 60) is True

    def test_delete_tells_whether_there_was_something(self, store: Store) -> None:
        store.set("key", b"value", 60)

        assert [store.delete("key"), store.delete("key")] == [True, False]
        assert store.get("key") is None

    def test_delete_of_an_expired_entry_deletes_nothing(
        self, store: Store, clock: Clock
    ) -> None:
        store.set("key", b"value", 8)
        clock.now += 8

        assert store.delete("key") is False

    def test_delete_with_the_expected_value_deletes(self, store: Store) -> None:
        store.set("lease", b"mine", 60)

        assert store.delete("lease", b"mine") is True
        assert store.get("lease") is None

    @pytest.mark.parametrize(
        "expected",
        [
            pytest.param(b"theirs", id="another owner"),
            pytest.param(b"", id="empty is not 'any'"),
            pytest.param(b"min", id="prefix"),
            pytest.param(b"MINE", id="other case"),
        ],
    )
    def test_delete_with_another_value_keeps_the_entry(
        self, store: Store, expected: bytes
    ) -> None:
        store.set("lease", b"mine", 60)

        assert store.delete("lease", expected) is False
        assert store.get("lease") == b"mine"

    def test_holder_of_an_expired_lease_cannot_delete_its_successors(
        self, store: Store, clock: Clock
    ) -> None:
        store.add("lease", b"late", 8)
        clock.now += 8
        store.add("lease", b"successor", 8)

        assert store.delete("lease", b"late") is False
        assert store.get("lease") == b"successor"

    @pytest.mark.parametrize(
        "ttl",
        [
            pytest.param(0, id="zero"),
            pytest.param(-1, id="negative"),
            pytest.param(float("nan"), id="not a number"),
            pytest.param(float("inf"), id="infinite"),
        ],
    )
    def test_ttl_that_is_no_time_is_refused(self, store: Store, ttl: float) -> None:
        with pytest.raises(ValueError, match="ttl"):
            store.set("key", b"value", ttl)
        with pytest.raises(ValueError, match="ttl"):
            store.add("key", b"value", ttl)

        assert store.get("key") is None

    @pytest.mark.usefixtures("_switching")
    def test_exactly_one_of_many_threads_adds(
        self, store: Store, contended: type[str]
    ) -> None:
        keys = [contended(f"lease-{number}") for number in range(100)]

        def add_all(number: int) -> list[bool]:
            return [store.add(key, b"%d" % number, 60) for key in keys]

        answers = together(add_all)

        winners = [sum(column) for column in zip(*answers, strict=True)]
        assert winners == [1] * len(keys)
        for index, key in enumerate(keys):
            (winner,) = (n for n in range(THREADS) if answers[n][index])
            assert store.get(key) == b"%d" % winner

    @pytest.mark.usefixtures("_switching")
    def test_exactly_one_of_many_threads_deletes(
        self, store: Store, contended: type[str]
    ) -> None:
        keys = [contended(f"key-{number}") for number in range(100)]
        for key in keys:
            store.set(key, b"value", 60)

        answers = together(lambda _: [store.delete(key, b"value") for key in keys])

        assert [sum(column) for column in zip(*answers, strict=True)] == [1] * 100

    @pytest.mark.usefixtures("_switching")
    def test_lease_admits_one_thread_at_a_time(
        self, store: Store, contended: type[str]
    ) -> None:
        lease = contended("lease")
        inside = threading.Lock()
        counts: Counter[str] = Counter()

        def take_turns(number: int) -> None:
            owner = b"owner-%d" % number
            for _ in range(100):
                if not store.add(lease, owner, 60):
                    store.delete(lease, b"nobody")
                    continue
                if inside.acquire(blocking=False):
                    counts["alone"] += store.get(lease) == owner
                    inside.release()
                else:
                    counts["together"] += 1
                counts["lost"] += not store.delete(lease, owner)

        together(take_turns)

        assert counts["alone"] > 0
        assert (counts["together"], counts["lost"]) == (0, 0)
        assert store.get(lease) is None

    @pytest.mark.usefixtures("_switching")
    def test_values_stay_whole_under_many_threads(
        self, store: Store, contended: type[str]
    ) -> None:
        values = [bytes([number]) * 1000 for number in range(THREADS)]

        def hammer(number: int) -> set[bytes | None]:
            seen = set()
            for turn in range(50):
                key = contended(f"key-{turn % 5}")
                store.set(key, values[number], 60)
                store.add(key, values[number], 60)
                seen.add(store.get(key))
                store.delete(key, values[number])
            return seen

        assert set().union(*together(hammer)) <= {None, *values}

    def test_close_can_be_called_again(self, store: Store) -> None:
        store.set("key", b"value", 60)
        store.close()
        store.close()


def example_store() -> Callable[[Clock], Store]:
    """Return the class that the documentation shows."""
    text = (Path(__file__).parents[1] / "docs" / "stores.rst").read_text("utf-8")
    blocks = re.split(r"^\.\. code-block:: python\n", text, flags=re.MULTILINE)
    (block,) = (block for block in blocks if "class DictStore" in block)
    code = re.split(r"^\S", block, maxsplit=1, flags=re.MULTILINE)[0]
    names: dict[str, Any] = {}
    exec(compile(dedent(code), "stores.rst", "exec"), names)
    store: Callable[[Clock], Store] = names["DictStore"]
    return store


class TestStoreOfTheDocumentation(StoreContract):
    @pytest.fixture
    def store(self, clock: Clock) -> Store:
        return open_store(example_store()(clock))

    @pytest.fixture
    def contended(self) -> type[str]:
        return YieldingKey


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self, clock: Clock) -> Store:
        return MemoryStore(clock)

    @pytest.fixture
    def contended(self) -> type[str]:
        return YieldingKey


def test_memory_store_is_bounded_under_many_keys(clock: Clock) -> None:
    store = MemoryStore(clock, max_entries=1000)
    for number in range(100_000):
        store.add(f"key-{number}", b"value", 86_400)

    assert len(store) == 1000


def test_memory_store_is_bounded_under_many_writes_of_one_key(clock: Clock) -> None:
    """What expires when is remembered apart from the entries, and bounded too."""
    store = MemoryStore(clock, max_entries=10)
    tracemalloc.start()
    for number in range(20_000):
        store.set("key", b"%d" % number, 86_400 + number)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(store) == 1
    assert used < 100_000


def test_million_keys_of_an_attacker_cost_a_few_megabytes(clock: Clock) -> None:
    """A tenth of a million is far over the bound already."""
    store = MemoryStore(clock)
    tracemalloc.start()
    for number in range(100_000):
        store.add(f"{number:064x}", b"", 600)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert used < 16 * 1024 * 1024


def test_full_memory_store_drops_the_oldest_written(clock: Clock) -> None:
    store = MemoryStore(clock, max_entries=3)
    for key in ("a", "b", "c"):
        store.set(key, b"", 60)
    store.set("a", b"again", 60)
    store.set("d", b"", 60)

    assert [key for key in "abcd" if store.get(key) is not None] == ["a", "c", "d"]


def test_full_memory_store_drops_expired_entries_first(clock: Clock) -> None:
    store = MemoryStore(clock, max_entries=3)
    store.set("oldest", b"", 60)
    store.set("brief", b"", 1)
    store.set("newest", b"", 60)
    clock.now += 1
    store.set("next", b"", 60)

    assert store.get("oldest") == b""


def test_writing_a_key_again_in_a_full_memory_store_drops_nothing(clock: Clock) -> None:
    store = MemoryStore(clock, max_entries=2)
    store.set("a", b"", 60)
    store.set("b", b"", 60)
    store.set("b", b"again", 60)

    assert store.get("a") == b""


def test_memory_store_lets_go_of_expired_entries(clock: Clock) -> None:
    store = MemoryStore(clock)
    for number in range(100):
        store.set(f"key-{number}", b"", 1)
    clock.now += 1
    store.set("key", b"", 60)

    assert len(store) == 1


def test_memory_store_remembers_expiries_after_making_room(clock: Clock) -> None:
    """The list of expiries is rebuilt now and then and must not lose one."""
    store = MemoryStore(clock, max_entries=2)
    store.set("brief", b"", 5)
    for _ in range(10):
        store.set("long", b"", 60)
    clock.now += 5
    store.set("long", b"", 60)

    assert len(store) == 1


def test_closed_memory_store_is_empty(clock: Clock) -> None:
    store = MemoryStore(clock)
    store.set("key", b"value", 60)
    store.close()

    assert (store.get("key"), len(store)) == (None, 0)


def test_memory_store_without_room_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_entries"):
        MemoryStore(max_entries=0)


def test_memory_store_keeps_time_by_itself() -> None:
    store = MemoryStore()
    store.set("key", b"value", 3600)

    assert store.get("key") == b"value"


def test_open_store_opens_memory() -> None:
    first, second = open_store("memory:"), open_store("memory:")
    first.set("key", b"value", 60)

    assert isinstance(first, MemoryStore)
    assert second.get("key") is None


def test_open_store_returns_an_object_as_it_is() -> None:
    store = MemoryStore()

    assert open_store(store) is store


@pytest.mark.parametrize("check", [check_store, open_store])
@pytest.mark.parametrize(
    "spec",
    [
        pytest.param("", id="empty"),
        pytest.param("memory", id="no colon"),
        pytest.param("Memory:", id="other case"),
        pytest.param("memory:cache", id="memory takes no name"),
        pytest.param("memory://", id="memory is no URL"),
        pytest.param("memcached://host:11211", id="unknown scheme"),
        pytest.param("/var/lib/app/store.db", id="bare path"),
    ],
)
def test_store_that_does_not_exist_is_refused_with_those_that_do(
    check: Callable[[str], object], spec: str
) -> None:
    with pytest.raises(ConfigurationError, match=r'"auto", .*"memory:"'):
        check(spec)


@pytest.mark.parametrize("check", [check_store, open_store])
def test_refusal_does_not_repeat_the_password_of_a_url(
    check: Callable[[str], object],
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check("unknown://user:hunter2@host/0")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("spec", ["memory:", "auto", MemoryStore()])
def test_check_store_accepts_what_open_store_opens(spec: str | Store) -> None:
    check_store(spec)

    assert callable(open_store(spec).add)


@pytest.mark.parametrize("check", [check_store, open_store])
@pytest.mark.parametrize(
    ("spec", "missing"),
    [
        pytest.param({}, "set, add, delete, close", id="dict"),
        pytest.param(None, "get, set, add, delete, close", id="None"),
    ],
)
def test_object_that_lacks_methods_is_refused_with_their_names(
    check: Callable[[Store], object], spec: Store, missing: str
) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        check(spec)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        pytest.param("auto", "SQLiteStore", id="auto"),
        pytest.param("sqlite:///var/lib/app/store.db", "SQLiteStore", id="sqlite"),
        pytest.param("redis://:hunter2@localhost/0", "RedisStore", id="redis"),
        pytest.param("rediss://localhost/0", "RedisStore", id="rediss"),
        pytest.param("unix:///run/redis.sock", "RedisStore", id="unix"),
    ],
)
def test_open_store_opens_what_is_named_and_nothing_before_its_use(
    spec: str, kind: str, tmp_path: Path
) -> None:
    os.environ["XDG_RUNTIME_DIR"] = str(tmp_path)
    check_store(spec)

    assert type(open_store(spec)).__name__ == kind
    assert list(tmp_path.iterdir()) == []


def test_auto_under_a_clock_of_ones_own_is_memory(clock: Clock) -> None:
    store = open_store("auto", clock=clock)
    store.set("key", b"value", 60)
    clock.now += 60

    assert isinstance(store, MemoryStore)
    assert store.get("key") is None


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param("redis://:hunter2@host:port/0", id="port"),
        pytest.param("redis://:hunter2@host/0?hunter2=1", id="option"),
        pytest.param("redis://:hunter2@host/0?decode_responses=true", id="decodes"),
        pytest.param("redis://:hunter2@[host/0", id="brackets"),
    ],
)
def test_redis_url_that_cannot_work_is_refused_without_repeating_it(spec: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(spec)

    assert "hunter2" not in "".join(format_exception(caught.value))


@pytest.mark.parametrize("spec", ["sqlite:///", "redis://", "rediss://", "unix://"])
def test_url_that_names_no_place_is_refused(spec: str) -> None:
    with pytest.raises(ConfigurationError, match="store must be"):
        check_store(spec)
