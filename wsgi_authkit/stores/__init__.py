"""Where what several requests share is kept: the :class:`Store` protocol.

One protocol serves the coordination of refreshes, ended sessions, key sets,
server-side sessions and the de-duplication of webhooks. Keys are hashes and values
are encrypted by whoever uses the store, so a store sees neither tokens nor persons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

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


def open_store(spec: str | Store) -> Store:
    """Return the store that ``spec`` names; an object is returned as it is.

    :param spec: ``"auto"`` or ``"memory:"`` for the memory of each process, or an
        object with the methods of :class:`Store`.
    :raises ConfigurationError: It is none of these.
    """
    check_store(spec)
    return _opener(spec)() if isinstance(spec, str) else spec


def _opener(spec: str) -> Callable[[], Store]:
    try:
        return _OPENERS[spec]
    except KeyError:
        # The value is not repeated, for the URL of a store can hold a password.
        allowed = ", ".join(f'"{name}"' for name in _OPENERS)
        raise ConfigurationError(
            [f"store must be {allowed} or an object with the methods of Store"]
        ) from None


def _check_methods(store: Store) -> None:
    methods = ("get", "set", "add", "delete", "close")
    missing = [name for name in methods if not callable(getattr(store, name, None))]
    if missing:
        raise ConfigurationError(
            [
                f"store is a {type(store).__name__} without {', '.join(missing)}(); "
                "give it the methods of Store"
            ]
        )


_OPENERS: Final[Mapping[str, Callable[[], Store]]] = {
    "auto": MemoryStore,
    "memory:": MemoryStore,
}
