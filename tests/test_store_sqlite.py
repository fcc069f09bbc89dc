from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.test_stores import Clock, StoreContract
from wsgi_authkit.envelope import Envelope
from wsgi_authkit.errors import StoreError
from wsgi_authkit.stores import Store, open_store
from wsgi_authkit.stores.ledger import PAUSE, Ledger
from wsgi_authkit.stores.sqlite import (
    BUSY_TIMEOUT,
    OPEN_RETRY,
    PURGE_INTERVAL,
    REOPEN_INTERVAL,
    SQLiteStore,
    private_file,
)

if sys.platform == "win32":  # pragma: no cover
    pytest.skip("modes, owners and forks are those of POSIX", allow_module_level=True)

PROCESSES = 200
PASSWORD = "a cookie password for the tests, long enough"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def store(self, path: Path, clock: Clock) -> Iterator[Store]:
        store = SQLiteStore(path, clock=clock)
        yield store
        store.close()


@pytest.fixture
def stores(path: Path) -> Iterator[tuple[SQLiteStore, SQLiteStore]]:
    """Two stores of one file, as two processes have them."""
    both = SQLiteStore(path), SQLiteStore(path)
    yield both
    for store in both:
        store.close()


def add_leases(path: Path, number: int, barrier: Any, results: Any) -> None:
    """Open the file at the same moment as the others, and ask for leases."""
    store = SQLiteStore(path)
    barrier.wait(timeout=60)
    try:
        results.put([store.add(f"lease-{n}", b"%d" % number, 60) for n in range(5)])
    except StoreError as error:
        results.put([str(error)])
    finally:
        store.close()


def add_in_step(path: Path, barrier: Any, results: Any) -> None:
    """Ask for many leases, each at the same moment as the other processes."""
    store = SQLiteStore(path)
    store.get("open it")
    answers = []
    for number in range(300):
        barrier.wait(timeout=60)
        answers.append(store.add(f"lease-{number}", b"", 60))
    results.put(answers)
    store.close()


def test_exactly_one_of_several_processes_adds(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(4), context.Queue()
    processes = [
        context.Process(target=add_in_step, args=(path, barrier, results))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    answers = [results.get(timeout=100) for _ in processes]
    for process in processes:
        process.join(timeout=30)

    assert [sum(lease) for lease in zip(*answers, strict=True)] == [1] * 300


def test_two_hundred_open_a_new_file_at_once_and_one_gets_each_lease(
    path: Path,
) -> None:
    # Forked from a process that has imported this module, and has no threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    processes = [
        context.Process(target=add_leases, args=(path, number, barrier, results))
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    answers = [results.get(timeout=100) for _ in processes]
    for process in processes:
        process.join(timeout=30)

    assert [answer for answer in answers if len(answer) != 5] == []
    assert [sum(lease) for lease in zip(*answers, strict=True)] == [1] * 5


def renew_directory(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()


@pytest.mark.parametrize(
    "remove",
    [
        pytest.param(lambda path: path.unlink(), id="file"),
        pytest.param(
            lambda path: [file.unlink() for file in path.parent.iterdir()], id="all"
        ),
        pytest.param(
            renew_directory,
            id="directory",
        ),
        pytest.param(
            lambda path: path.replace(path.with_name("moved.db")), id="moved away"
        ),
    ],
)
def test_processes_meet_in_a_new_file_after_theirs_was_removed(
    stores: tuple[SQLiteStore, SQLiteStore],
    path: Path,
    remove: Callable[[Path], object],
) -> None:
    first, second = stores
    first.set("key", b"old", 60)
    second.get("key")
    remove(path)

    assert first.add("lease", b"first", 60) is True
    assert second.add("lease", b"second", 60) is False
    assert second.get("lease") == b"first"


def test_result_is_published_where_the_others_look(
    stores: tuple[SQLiteStore, SQLiteStore], path: Path
) -> None:
    """The file goes while a lease is held: the holder writes into the new one."""
    holder, other = stores
    holder.add("lease", b"holder", 60)
    path.unlink()
    other.add("lease", b"other", 60)
    holder.set("result", b"session", 60)

    assert other.get("result") == b"session"


def test_process_that_starts_after_the_removal_opens_the_file(path: Path) -> None:
    """What is left beside the removed file must not keep it from being opened."""
    running, starting = SQLiteStore(path), SQLiteStore(path)
    for number in range(50):
        running.set(f"key-{number}", bytes(1000), 60)
    path.unlink()

    assert starting.add("lease", b"starting", 60) is True
    assert running.add("lease", b"running", 60) is False
    running.close()
    starting.close()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(b""), id="emptied"),
        pytest.param(lambda path: path.write_bytes(b"x" * 8192), id="no database"),
        pytest.param(truncate, id="cut off"),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes()[:100] + bytes(9000)),
            id="zeros",
        ),
    ],
)
@pytest.mark.parametrize("when", ["running", "starting"])
def test_damaged_file_is_replaced(
    path: Path, damage: Callable[[Path], object], when: str
) -> None:
    running = SQLiteStore(path)
    for number in range(50):
        running.set(f"key-{number}", bytes(1000), 60)
    damage(path)
    store = running if when == "running" else SQLiteStore(path)
    for _ in range(3):
        try:
            store.add("probe", b"", 60)
        except StoreError:
            continue

    store.set("key", b"value", 60)
    assert store.get("key") == b"value"
    assert store.add("lease", b"mine", 60) is True
    running.close()
    store.close()


def test_file_that_is_no_database_is_kept_aside(path: Path) -> None:
    """Somebody may have named the wrong file."""
    path.write_bytes(b"precious" * 1000)
    store = SQLiteStore(path)
    store.set("key", b"value", 60)
    store.close()

    assert path.with_name("store.db.damaged").read_bytes() == b"precious" * 1000


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_file_is_for_its_owner_alone(path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        store = SQLiteStore(path)
        store.set("key", b"value", 60)
    finally:
        os.umask(before)
    store.close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_opening_ends_no_lock_of_another_store_of_the_process(path: Path) -> None:
    """Closing any descriptor of a file ends the locks a process has on it (POSIX)."""
    holder = sqlite3.connect(path, isolation_level=None)
    SQLiteStore(path).get("key")
    holder.execute("BEGIN EXCLUSIVE")
    probe = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], timeout=0)\n"
        "try: c.execute('BEGIN IMMEDIATE')\n"
        "except sqlite3.OperationalError: print('locked')\n"
    )
    with pytest.raises(StoreError, match="locked"):
        SQLiteStore(path, monotonic=Ticking(), sleep=lambda _: None).get("key")
    output = run_python(probe, str(path))
    holder.close()

    assert output == "locked"


class Ticking:
    """A clock on which every look takes longer than opening is retried."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += OPEN_RETRY
        return self.now


def run_python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.strip()


def test_expired_entries_are_deleted_once_in_a_while(path: Path, clock: Clock) -> None:
    store = SQLiteStore(path, clock=clock)
    store.set("brief", b"", 1)
    clock.now += 1
    for _ in range(PURGE_INTERVAL):
        store.set("key", b"", 60)
    store.close()
    with sqlite3.connect(path) as connection:
        (count,) = connection.execute("SELECT count(*) FROM shared").fetchone()
    connection.close()

    assert count == 1


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param("sqlite://{path}", id="three slashes"),
        pytest.param("sqlite:///{path}", id="four slashes"),
    ],
)
@pytest.mark.parametrize("name", ["store.db", "a b?c#d%20é.db"])
def test_url_names_an_absolute_path(tmp_path: Path, spec: str, name: str) -> None:
    store = open_store(spec.format(path=tmp_path / name))
    store.set("key", b"value", 60)
    store.close()

    assert [file.name for file in tmp_path.iterdir()] == [name]


def in_child(work: Callable[[], bool]) -> bool:
    """Fork, run ``work`` in the child and return whether it returned true."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(20)
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def test_store_used_before_a_fork_works_on_both_sides(path: Path) -> None:
    store = SQLiteStore(path)
    store.set("before", b"value", 60)

    def child() -> bool:
        read = store.get("before") == b"value"
        added = store.add("lease", b"child", 60)
        store.close()
        return read and added

    assert in_child(child)
    assert store.add("lease", b"parent", 60) is False
    assert store.get("lease") == b"child"
    assert store.delete("lease", b"child") is True
    store.close()


def test_fork_while_another_thread_uses_the_store_locks_nobody_out(path: Path) -> None:
    """The child does not wait for a lock whose owner it does not have."""
    entered, leave = threading.Event(), threading.Event()

    def slow_clock() -> float:
        if threading.current_thread().name == "slow":
            entered.set()
            leave.wait(timeout=30)
        return 1000.0

    store = SQLiteStore(path, clock=slow_clock)
    store.set("key", b"value", 60)
    thread = threading.Thread(
        target=store.set, args=("slow", b"", 60), name="slow", daemon=True
    )
    thread.start()
    assert entered.wait(timeout=30)

    answered = in_child(lambda: store.get("key") == b"value")
    leave.set()
    thread.join(timeout=30)
    store.close()

    assert answered


class Host:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def obstacle(path: Path) -> Path:
    """A file that cannot be used, and what keeps it from being put aside."""
    path.write_bytes(b"no database" * 1000)
    obstacle = path.with_name("store.db.damaged")
    (obstacle / "in the way").mkdir(parents=True)
    return obstacle


@pytest.mark.usefixtures("obstacle")
def test_opening_is_retried_for_two_seconds_then_every_minute(
    path: Path, host: Host
) -> None:
    store = SQLiteStore(path, monotonic=host, sleep=host.sleep)
    with pytest.raises(StoreError) as caught:
        store.get("key")
    tried = sum(host.slept)
    host.now += REOPEN_INTERVAL - 1
    with pytest.raises(StoreError):
        store.get("key")
    at_once = sum(host.slept)
    host.now += 1
    with pytest.raises(StoreError):
        store.get("key")

    assert (OPEN_RETRY, REOPEN_INTERVAL) == (2, 60)
    assert caught.value.operation == "open"
    assert tried == at_once == pytest.approx(2, abs=0.1)
    assert sum(host.slept) == pytest.approx(4, abs=0.2)


def test_opening_succeeds_once_nothing_is_in_the_way(
    path: Path, host: Host, obstacle: Path
) -> None:
    def sleep(seconds: float) -> None:
        host.sleep(seconds)
        if host.now > 1001:
            shutil.rmtree(obstacle, ignore_errors=True)

    store = SQLiteStore(path, monotonic=host, sleep=sleep)
    store.set("key", b"value", 60)
    store.close()

    assert host.now < 1002


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process's connection to the file."""
    SQLiteStore(path).set("key", b"value", 60)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@pytest.mark.parametrize("lock", ["IMMEDIATE", "EXCLUSIVE"])
def test_statement_waits_for_the_lock_of_another(
    path: Path, host: Host, other: sqlite3.Connection, lock: str
) -> None:
    def sleep(seconds: float) -> None:
        host.sleep(seconds)
        if len(host.slept) == 5:
            other.execute("COMMIT")

    store = SQLiteStore(path, monotonic=host, sleep=sleep)
    other.execute(f"BEGIN {lock}")
    store.set("key", b"new", 60)

    assert store.get("key") == b"new"
    assert len(host.slept) == 5
    store.close()


def test_statement_gives_up_after_two_seconds_of_short_pauses(
    path: Path, host: Host, other: sqlite3.Connection
) -> None:
    """Pauses that grow would leave whoever waits longest the smallest chance."""
    store = SQLiteStore(path, monotonic=host, sleep=host.sleep)
    store.get("key")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.set("key", b"new", 60)

    assert BUSY_TIMEOUT == 2
    assert sum(host.slept) == pytest.approx(2, abs=0.05)
    assert max(host.slept) <= 0.04
    assert len(set(host.slept)) > 1
    store.close()


def test_other_errors_of_a_statement_are_not_waited_for(
    path: Path, host: Host, other: sqlite3.Connection
) -> None:
    store = SQLiteStore(path, monotonic=host, sleep=host.sleep)
    store.get("key")
    other.execute("DROP TABLE shared")
    with pytest.raises(StoreError, match="no such table"):
        store.get("key")

    assert host.slept == []
    store.close()


def device(tmp_path: Path) -> Path:
    return Path("/dev/null")


def missing_directory(tmp_path: Path) -> Path:
    return tmp_path / "missing" / "store.db"


def directory_in_the_way(tmp_path: Path) -> Path:
    return tmp_path


def link(tmp_path: Path) -> Path:
    path = tmp_path / "link.db"
    path.symlink_to(tmp_path / "target.db")
    return path


@pytest.mark.parametrize(
    "place", [device, missing_directory, directory_in_the_way, link]
)
def test_ledger_goes_on_in_memory_where_no_file_can_be(
    tmp_path: Path,
    host: Host,
    caplog: pytest.LogCaptureFixture,
    place: Callable[[Path], Path],
) -> None:
    store = SQLiteStore(place(tmp_path), monotonic=host, sleep=host.sleep)
    ledger = Ledger(store, Envelope((PASSWORD,)), "client_test", monotonic=host)
    answers = []
    for _ in range(11):
        ledger.set("refresh", "token", {"n": 1}, 60)
        answers.append(ledger.get("refresh", "token"))
        host.now += PAUSE

    assert answers == [{"n": 1}] * 11
    assert ledger.acquire("lease", "token", "mine", 8)
    assert not ledger.acquire("lease", "token", "theirs", 8)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert host.slept == []


@pytest.mark.parametrize("read_only", ["file", "directory", "both"])
def test_what_cannot_be_written_is_a_store_error(path: Path, read_only: str) -> None:
    SQLiteStore(path).set("key", b"value", 60)
    path.parent.chmod(0o555 if read_only != "file" else 0o777)
    path.chmod(0o666 if read_only == "directory" else 0o444)

    def child() -> bool:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        try:
            SQLiteStore(path).set("key", b"other", 60)
        except StoreError:
            return True
        return False

    make_reachable(path.parent)
    try:
        assert in_child(child)
    finally:
        path.parent.chmod(0o700)


def make_reachable(directory: Path) -> None:
    """Let other users pass through the directories of pytest."""
    for parent in directory.parents:
        if parent.owner() == directory.owner() and parent.name.startswith("pytest"):
            parent.chmod(0o711)


def test_full_disk_is_a_store_error(path: Path) -> None:
    """A limit on the size of files stands in for a full disk."""
    store = SQLiteStore(path)
    store.set("key", b"value", 60)

    def child() -> bool:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            store.set("big", bytes(1_000_000), 60)
        except StoreError as error:
            return error.operation == "set" and store.get("key") == b"value"
        return False

    assert in_child(child)
    assert store.get("key") == b"value"
    store.close()


def test_auto_keeps_its_file_in_a_private_directory(tmp_path: Path) -> None:
    os.environ["XDG_RUNTIME_DIR"] = str(tmp_path)
    os.environ.pop("RUNTIME_DIRECTORY", None)
    before = os.umask(0)
    try:
        first, second = open_store("auto"), open_store("auto")
        first.set("key", b"value", 60)
    finally:
        os.umask(before)

    directory = tmp_path / "wsgi_authkit"
    (file,) = directory.iterdir()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert second.get("key") == b"value"
    first.close()
    second.close()


@pytest.fixture
def bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Where a private directory can lie; each exists, none is configured."""
    found = {name: tmp_path / name for name in ("run", "run2", "xdg", "tmp")}
    for base in found.values():
        base.mkdir()
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(found["tmp"]))
    return found


@pytest.mark.parametrize(
    ("runtime", "xdg", "expected"),
    [
        pytest.param("{run}", "{xdg}", "{run}/wsgi_authkit", id="systemd"),
        pytest.param("{run}:{run2}", "", "{run}/wsgi_authkit", id="several"),
        pytest.param("", "{xdg}", "{xdg}/wsgi_authkit", id="session"),
        pytest.param("", "", "{tmp}/wsgi_authkit-{uid}", id="temporary"),
    ],
)
def test_private_directory_is_found(
    bases: dict[str, Path], runtime: str, xdg: str, expected: str
) -> None:
    os.environ["RUNTIME_DIRECTORY"] = runtime.format(**bases)
    os.environ["XDG_RUNTIME_DIR"] = xdg.format(**bases)

    path = private_file()
    assert str(path.parent) == expected.format(**bases, uid=os.geteuid())
    assert private_file() == path


def open_to_others(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o750)


def linked(directory: Path) -> None:
    target = directory.with_name("target")
    target.mkdir(mode=0o700)
    directory.symlink_to(target)


def dangling(directory: Path) -> None:
    directory.symlink_to(directory.with_name("nowhere"))


def of_another_user(directory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    directory.mkdir(mode=0o700)
    os.chown(directory, 65534, 65534)


@pytest.mark.parametrize(
    "prepare",
    [open_to_others, linked, dangling, of_another_user, Path.touch],
)
def test_directory_that_is_not_private_is_refused(
    bases: dict[str, Path], prepare: Callable[[Path], object]
) -> None:
    directory = bases["tmp"] / f"wsgi_authkit-{os.geteuid()}"
    prepare(directory)
    store = open_store("auto")
    with pytest.raises(StoreError, match="the directory of the store") as caught:
        store.set("key", b"value", 60)

    assert caught.value.operation == "open"
    assert not directory.is_dir() or list(directory.iterdir()) == []


def test_clock_that_is_set_back_makes_nothing_last_longer(
    path: Path, clock: Clock
) -> None:
    """A dead holder's lease, or the news of an outage, would last for hours."""
    store = SQLiteStore(path, clock=clock)
    store.set("news", b"outage", 1)
    store.set("lease", b"dead", 8)
    clock.now -= 3600

    assert store.get("news") is None
    assert store.add("lease", b"mine", 8)
    assert store.get("lease") == b"mine"
    assert not store.delete("news")


def test_sleep_is_looked_up_when_it_is_needed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under ``--preload`` gevent replaces it after the import."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    SQLiteStore(path)._sleep(0.5)

    assert slept == [0.5]
