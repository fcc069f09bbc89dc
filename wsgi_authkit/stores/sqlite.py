"""A store in a file, shared by one user's processes that see one file system.

Every verb is one autocommitted statement, so a process that is killed leaves no
transaction behind. What is kept may be lost at any time: a cleaner of temporary files
deletes it under running processes, which find that out before they use it.

The file has a rollback journal, SQLite's default, and not a write-ahead log: a log and
its index are files of their own, and a cleaner that takes only some of the three leaves
a database that nobody can open.
"""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from wsgi_authkit.errors import StoreError
from wsgi_authkit.stores.memory import check_ttl

#: Seconds for which opening is retried: many processes start at the same moment.
OPEN_RETRY: Final = 2.0
#: Seconds after which a file that could not be opened is tried again.
REOPEN_INTERVAL: Final = 60.0
#: Seconds that a statement waits for other processes, of which there can be hundreds.
BUSY_TIMEOUT: Final = 2.0
#: Of these, seconds that SQLite waits by itself, while it keeps new readers out: a
#: statement that writes would else never come between them.
BUSY_STEP: Final = 0.01
#: Seconds, at most, until it is tried again, at random. SQLite's own pauses grow, and
#: whoever waits longest has the smallest chance.
BUSY_PAUSE: Final = 0.04
#: Seconds that a thread waits for the others of its process.
LOCK_TIMEOUT: Final = 3.0
#: Writes after which what has expired is deleted.
PURGE_INTERVAL: Final = 256

_Inode = tuple[int, int]

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS shared (key TEXT PRIMARY KEY, value BLOB NOT NULL, "
    "written_at REAL NOT NULL, expires_at REAL NOT NULL) WITHOUT ROWID"
)
# An entry lives from when it was written to when it expires: after a clock was set
# back, a lease or the news of an outage would otherwise last for hours.
_ALIVE: Final = "(shared.expires_at > :now AND shared.written_at <= :now + 1)"
_GET: Final = f"SELECT value FROM shared WHERE key = :key AND {_ALIVE}"
_SET: Final = (
    "INSERT INTO shared VALUES (:key, :value, :now, :now + :ttl) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, "
    "written_at = excluded.written_at, expires_at = excluded.expires_at"
)
_ADD: Final = f"{_SET} WHERE NOT {_ALIVE}"
_DELETE: Final = f"DELETE FROM shared WHERE key = :key AND {_ALIVE}"
_DELETE_EXPECTED: Final = f"{_DELETE} AND value = :expected"
_PURGE: Final = f"DELETE FROM shared WHERE NOT {_ALIVE}"


def _sleep(seconds: float) -> None:
    # Looked up at the call: gevent may replace it after this module was imported.
    time.sleep(seconds)


class SQLiteStore:
    """A :class:`~wsgi_authkit.stores.Store` in an SQLite file.

    Opens it at the first use, and anew in each process after a fork. Not for a network
    file system, where locks are not to be relied on. A file that is damaged is renamed
    to end in ``.damaged``, and a new one is made.

    :param path: The file, made when it is missing; its directory has to exist. A
        callable is asked at every opening.
    :param clock: Unix seconds; the clock of the host, which all its processes share.
    :param monotonic: The clock of the retries, in seconds.
    :param sleep: Waits between two tries, in seconds.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Callable[[], Path],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = _sleep,
    ) -> None:
        self._path = path if callable(path) else (lambda: Path(path))
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._files: dict[int, _File] = {}

    def get(self, key: str) -> bytes | None:
        """Return the value of ``key``, or ``None``."""
        with self._using("get") as file:
            row = file.execute(_GET, key=key, now=self._clock()).fetchone()
        return None if row is None else bytes(row[0])

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep ``value`` for ``ttl`` seconds in place of any earlier one."""
        check_ttl(ttl)
        with self._using("set") as file:
            now = self._clock()
            file.purge(now)
            file.execute(_SET, key=key, value=value, now=now, ttl=ttl)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep ``value`` only if ``key`` has none, and return whether it was kept."""
        check_ttl(ttl)
        with self._using("add") as file:
            now = self._clock()
            file.purge(now)
            # Reading first keeps the many who come too late out of the writers' queue.
            if file.execute(_GET, key=key, now=now).fetchone() is not None:
                return False
            added = file.execute(_ADD, key=key, value=value, now=now, ttl=ttl)
            return added.rowcount == 1

    def delete(self, key: str, expected: bytes | None = None) -> bool:
        """Forget ``key``, if ``expected`` is its value, and return whether it was."""
        with self._using("delete") as file:
            now = self._clock()
            if expected is None:
                return file.execute(_DELETE, key=key, now=now).rowcount == 1
            deleted = file.execute(
                _DELETE_EXPECTED, key=key, now=now, expected=expected
            )
            return deleted.rowcount == 1

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        file = self._files.pop(os.getpid(), None)
        if file is not None:
            with file.lock:
                file.close()

    @contextmanager
    def _using(self, operation: str) -> Iterator[_File]:
        pid = os.getpid()
        file = self._files.get(pid)
        if file is None:
            # An SQLite connection must not be carried across a fork.
            file = self._files.setdefault(
                pid, _File(self._path, self._monotonic, self._sleep)
            )
        if not file.lock.acquire(timeout=LOCK_TIMEOUT):
            raise StoreError("the SQLite file is busy", operation=operation)
        try:
            file.ensure_open()
            yield file
        except sqlite3.Error as error:
            file.drop(error)
            raise StoreError(
                f"the SQLite file cannot be used: {error}", operation=operation
            ) from error
        finally:
            file.lock.release()


class _File:
    """One process's connection, used under its lock."""

    def __init__(
        self,
        path: Callable[[], Path],
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.lock = threading.Lock()
        self._find_path = path
        self._monotonic = monotonic
        self._sleep = sleep
        self._connection: sqlite3.Connection | None = None
        self._path = Path()
        self._inode: _Inode | None = None
        self._retry_at = float("-inf")
        self._writes = 0

    def execute(self, statement: str, **parameters: object) -> sqlite3.Cursor:
        assert self._connection is not None  # noqa: S101 - `ensure_open` came before
        deadline = self._monotonic() + BUSY_TIMEOUT
        while True:
            try:
                return self._connection.execute(statement, parameters)
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or self._monotonic() >= deadline:
                    raise
            self._sleep(random.uniform(0, BUSY_PAUSE))  # noqa: S311 - not a secret

    def ensure_open(self) -> None:
        """Open the file unless it is open, and still the one at its path.

        :raises StoreError: It cannot be opened; it is tried again after a minute.
        """
        # Whoever starts after a cleaner has deleted the file coordinates in a new one;
        # a lease in the old one would keep nobody out.
        if self._connection is not None and _inode(self._path) == self._inode:
            return
        self.close()
        if self._monotonic() < self._retry_at:
            raise StoreError("the SQLite file could not be opened", operation="open")
        self._open_in_time(self._monotonic() + OPEN_RETRY)

    def _open_in_time(self, deadline: float) -> None:
        while True:
            try:
                self._open()
                return
            except (sqlite3.Error, OSError) as error:
                self.drop(error)
                # Other processes get out of the way; a missing right does not come.
                if isinstance(error, OSError) or self._monotonic() >= deadline:
                    self._retry_at = self._monotonic() + REOPEN_INTERVAL
                    raise StoreError(
                        f"the SQLite file could not be opened: {_reason(error)}",
                        operation="open",
                    ) from error
            self._sleep(0.02)

    def purge(self, now: float) -> None:
        """Delete what has expired, once in a while."""
        self._writes += 1
        if self._writes % PURGE_INTERVAL == 0:
            self.execute(_PURGE, now=now)

    def drop(self, error: Exception) -> None:
        """Close the file after an error; out of the way with it if it is damaged."""
        self.close()
        # Another process may have replaced it already.
        if _is_damage(error) and _inode(self._path) == self._inode:
            with suppress(OSError):
                self._path.replace(f"{self._path}.damaged")

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> None:
        self._path = self._find_path()
        self._inode = _made_file(self._path)
        self._connection = sqlite3.connect(
            # Not to be made by SQLite, which would let others read it.
            f"{self._path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_STEP,
            isolation_level=None,
            check_same_thread=False,
        )
        # Nothing waits for the disk, for all of it may be lost.
        self.execute("PRAGMA synchronous = OFF")
        self.execute(_SCHEMA)


def _made_file(path: Path) -> _Inode:
    """Make the file, for its owner alone, unless it is there; return its inode."""
    if not os.path.lexists(path):
        _make_file(path)
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise PermissionError("the file of the store is a link, or no file")
    return found.st_dev, found.st_ino


def _make_file(path: Path) -> None:
    # Under another name first: closing a file ends all locks that this process has on
    # it, those of another store too (POSIX, fcntl). And whole, so that of the many who
    # open it at once none has to write.
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    os.close(descriptor)
    try:
        with closing(sqlite3.connect(name)) as connection:
            connection.execute(_SCHEMA)
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()


def _inode(path: Path) -> _Inode | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_damage(error: Exception) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _is_busy(error: Exception) -> bool:
    return _code(error) == sqlite3.SQLITE_BUSY


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF


def _reason(error: sqlite3.Error | OSError) -> str:
    return getattr(error, "strerror", None) or str(error)


def private_file() -> Path:
    """Return the path of the file that this user's processes share.

    It lies in a directory that nobody else can read or replace: below
    ``$RUNTIME_DIRECTORY`` or ``$XDG_RUNTIME_DIR``, else in the directory for temporary
    files.

    :raises OSError: The directory cannot be made, or is not private.
    """
    return _private_directory() / "coordination.sqlite3"


def _private_directory() -> Path:
    for variable in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        # systemd separates several runtime directories with colons.
        base = os.environ.get(variable, "").partition(":")[0]
        if base:
            return _made_private(Path(base) / "wsgi_authkit")
    return _made_private(Path(tempfile.gettempdir()) / f"wsgi_authkit-{os.geteuid()}")


def _made_private(directory: Path) -> Path:
    """Return a directory that is ours alone.

    In a directory for temporary files anybody can make it first, or put a link there.
    """
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise PermissionError("the directory of the store is a link or a file")
    if found.st_uid != os.geteuid():
        raise PermissionError("the directory of the store belongs to another user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError("the directory of the store is open to other users")
    return directory
