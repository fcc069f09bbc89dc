"""Where what several requests share is kept: the :class:`Store` protocol.

One protocol serves the coordination of refreshes, ended sessions, key sets,
server-side sessions and the de-duplication of webhooks. Keys are hashes and values
are encrypted by whoever uses the store, so a store sees neither tokens nor persons.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Final, Protocol
from urllib.parse import urlsplit

from wsgi_authkit.errors import ConfigurationError
from wsgi_authkit.stores.memory import MemoryStore

__all__ = ["MemoryStore", "Store", "check_store", "open_store"]


class Store(Protocol):
    """Bytes by key, each for a limited time; safe to use from several threads.

    ``ttl`` is in seconds, finite and above 0, otherwise ``ValueError`` is raised; an
    entry is gone when it has passed. Every method but :meth:`close` may raise
    :class:`~wsgi_authkit.errors.StoreError`, with the ``operation`` that failed.
    """

    def get(self, key: str) -> bytes | None:
        """Return the value of ``key``, or ``None``."""
        ...

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep ``value`` for ``ttl`` seconds in place of any earlier one."""
        ...

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep ``value`` only if ``key`` has none, and return whether it was kept.

        Atomic: of any number of callers at one moment exactly one gets ``True``.
        """
        ...

    def delete(self, key: str, expected: bytes | None = None) -> bool:
        """Forget ``key`` and return whether there was something to forget.

        :param expected: Forget it only if this is its value. Comparing and deleting
            are one atomic step, so that the holder of an expired lease cannot delete
            its successor's.
        """
        ...

    def close(self) -> None:
        """Let go of what the store holds; closing again does nothing."""
        ...


def check_store(spec: str | Store) -> None:
    """Refuse what :func:`open_store` cannot open, without opening anything.

    :raises ConfigurationError: ``spec`` names no store and is none.
    """
    if isinstance(spec, str):
        _opener(spec)
    else:
        _check_methods(spec)


def open_store(spec: str | Store, *, clock: Callable[[], float] = time.time) -> Store:
    """Return the store that ``spec`` names; an object is returned as it is.

    Nothing is opened before the first use.

    :param spec: ``"auto"``, ``"memory:"``, ``"sqlite:///path"``, ``"redis://…"``,
        ``"rediss://…"``, ``"unix://…"``, or an object with the methods of
        :class:`Store`. ``auto`` is a private SQLite file that one user's processes on
        one file system share; memory on Windows, and under a clock of one's own, which
        other processes do not have.
    :param clock: Unix seconds.
    :raises ConfigurationError: It is none of these.
    """
    check_store(spec)
    return _opener(spec)(spec, clock) if isinstance(spec, str) else spec


def _open_memory(_: str, clock: Callable[[], float]) -> Store:
    return MemoryStore(time.monotonic if clock is time.time else clock)


def _open_auto(spec: str, clock: Callable[[], float]) -> Store:
    if os.name != "posix" or clock is not time.time:
        return _open_memory(spec, clock)
    from wsgi_authkit.stores.sqlite import SQLiteStore, private_file

    return SQLiteStore(private_file)


def _open_sqlite(spec: str, clock: Callable[[], float]) -> Store:
    from wsgi_authkit.stores.sqlite import SQLiteStore

    return SQLiteStore(spec.removeprefix("sqlite://"), clock=clock)


def _open_redis(spec: str, _: Callable[[], float]) -> Store:
    from wsgi_authkit.stores.redis import RedisStore

    return RedisStore.from_url(spec)


_Opener = Callable[[str, Callable[[], float]], Store]

_NAMED: Final[Mapping[str, _Opener]] = {"auto": _open_auto, "memory:": _open_memory}
_URLS: Final[Mapping[str, _Opener]] = {
    "sqlite:///": _open_sqlite,
    "redis://": _open_redis,
    "rediss://": _open_redis,
    "unix://": _open_redis,
}


def _opener(spec: str) -> _Opener:
    opener = _NAMED.get(spec)
    for prefix, opens in _URLS.items():
        if spec.startswith(prefix) and spec != prefix:
            opener = opens
    if opener is None:
        # The value is not repeated, for the URL of a store can hold a password.
        allowed = ", ".join(f'"{name}"' for name in [*_NAMED, *_URLS])
        raise ConfigurationError(
            [f"store must be {allowed} or an object with the methods of Store"]
        )
    if opener is _open_redis and not _has_valid_port(spec):
        raise ConfigurationError(
            ["store is a Redis URL whose port is no number from 1 to 65535"]
        )
    if opener is _open_redis and find_spec("redis") is None:
        raise ConfigurationError(
            ["store names Redis: install wsgi-authkit with its extra, [redis]"]
        )
    return opener


def _has_valid_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _check_methods(store: Store) -> None:
    methods = ("get", "set", "add", "delete", "close")
    missing = [name for name in methods if not callable(getattr(store, name, None))]
    if missing:
        raise ConfigurationError(
            [
                f"store ({type(store).__name__}) has no {', '.join(missing)}(); "
                "give it the methods of Store"
            ]
        )
