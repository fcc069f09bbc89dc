"""What the coordination of sign-ins and refreshes writes down: enveloped, never fatal.

A :class:`Ledger` keeps small JSON objects in a :class:`~wsgi_authkit.stores.Store`.
Keys are hashes and values are encrypted and bound to their key, so who reads a store
has no session, and who writes one can plant neither a session nor a verification key.

A store that fails costs coordination and nothing else: for a pause the ledger keeps to
the memory of its own process, which has a copy of what the process wrote, and says so
once a minute in the log. What was set meanwhile, the end of a session above all, is
written when the store is back.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Final, NamedTuple, TypeVar

from wsgi_authkit._logs import OnceAMinute
from wsgi_authkit.envelope import Envelope
from wsgi_authkit.errors import BadSeal, StoreError
from wsgi_authkit.stores import Store
from wsgi_authkit.stores.memory import MemoryStore

log = logging.getLogger(__name__)

#: Seconds that a store is left alone after it failed.
PAUSE: Final = 5.0

#: Entries that a process keeps for itself, at about 3 KB each, beside a store.
MAX_LOCAL_ENTRIES: Final = 4096

#: Entries that a store did not take, and that are written when it is back.
MAX_OWED: Final = 1024
#: How many of them with each operation, so that no request waits for all.
REPAID_AT_ONCE: Final = 4

_PURPOSE: Final = "store"

_Result = TypeVar("_Result")


class _Owed(NamedTuple):
    """What is to be written when the store is back."""

    value: bytes
    #: On the monotonic clock.
    expires_at: float
    #: Whether it replaces what is there.
    replaces: bool = False


class Ledger:
    """JSON objects by kind and identifier, shared by whoever shares the store.

    :param namespace: The client id: two apps may share a store.
    :param monotonic: The clock of the pauses, in seconds.
    """

    def __init__(
        self,
        store: Store,
        envelope: Envelope,
        namespace: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._envelope = envelope
        self._namespace = namespace
        self._monotonic = monotonic
        self._local = (
            store
            if isinstance(store, MemoryStore)
            else MemoryStore(clock=monotonic, max_entries=MAX_LOCAL_ENTRIES)
        )
        self._paused_until = float("-inf")
        self._time_to_log = OnceAMinute(monotonic)
        # By key, what a store did not take.
        self._owed: dict[str, _Owed] = {}
        self._late = threading.Lock()

    @property
    def is_shared(self) -> bool:
        """Whether others see what is written, as far as is known at this moment."""
        return self._monotonic() >= self._paused_until

    def get(self, kind: str, identifier: str) -> dict[str, Any] | None:
        """Return what is written there; ``None`` too where it does not open."""
        key = self._key(kind, identifier)
        if self._owed:
            owed = self._owed.get(key)
            if owed and owed.replaces and self._monotonic() < owed.expires_at:
                # Newer than what the store has, which did not take it yet.
                return self._open(key, owed.value)
            self._repay()
        value = None
        # As in `_attempt`, without its calls: each new cookie waits for it twice.
        if self.is_shared:
            try:
                value = _checked(self._store.get(key))
            except Exception as error:  # noqa: BLE001 - as in `_attempt`
                self._pause(error)
        if value is None and self._local is not self._store:
            value = self._local.get(key)
        return None if value is None else self._open(key, value)

    def remember(
        self, kind: str, identifier: str, value: Mapping[str, Any], ttl: float
    ) -> None:
        """Keep what another process wrote, for when the store fails."""
        key = self._key(kind, identifier)
        if self._local is not self._store and self._local.get(key) is None:
            self._local.set(key, self._seal(key, value), ttl)

    def set(
        self,
        kind: str,
        identifier: str,
        value: Mapping[str, Any],
        ttl: float,
        *,
        late: bool = True,
    ) -> None:
        """Write it down for ``ttl`` seconds.

        :param late: Where the store is down, write it when it is back.
        """
        key = self._key(kind, identifier)
        sealed = self._seal(key, value)

        def write(store: Store) -> bool:
            store.set(key, sealed, ttl)
            return True

        # What is written late at this moment may be an older value of this key.
        with self._late if self._owed else nullcontext():
            if self._shared(write, False) or not late:
                self._owed.pop(key, None)
            else:
                self._owe(key, _Owed(sealed, self._monotonic() + ttl, replaces=True))
        self._keep(key, sealed, ttl)

    def add(
        self, kind: str, identifier: str, value: Mapping[str, Any], ttl: float
    ) -> bool:
        """Write it down unless something is there; say whether it was written.

        While the store is down, what others have written is not seen.
        """
        key = self._key(kind, identifier)
        sealed = self._seal(key, value)
        added = self._shared(lambda store: store.add(key, sealed, ttl), None)
        if added is None:
            added = self._local.add(key, sealed, ttl)
            if added:
                self._owe(key, _Owed(sealed, self._monotonic() + ttl))
        elif added:
            self._keep(key, sealed, ttl)
        return added

    def acquire(self, kind: str, identifier: str, owner: str, ttl: float) -> bool:
        """Take a lease for ``ttl`` seconds; say whether it was free."""
        key = self._key(kind, identifier)
        value = owner.encode()
        taken = self._shared(lambda store: store.add(key, value, ttl), None)
        return self._local.add(key, value, ttl) if taken is None else taken

    def release(self, kind: str, identifier: str, owner: str) -> None:
        """Give a lease back, unless it ran out and is somebody else's by now."""
        key = self._key(kind, identifier)
        value = owner.encode()
        self._shared(lambda store: store.delete(key, value), False)
        self._local.delete(key, value)

    def close(self) -> None:
        """Close the store."""
        self._local.close()
        self._shared(lambda store: store.close(), None)

    def _key(self, kind: str, identifier: str) -> str:
        text = "\0".join((kind, self._namespace, identifier))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def _seal(self, key: str, value: Mapping[str, Any]) -> bytes:
        return self._envelope.seal(
            json.dumps(value, separators=(",", ":")).encode(),
            purpose=_PURPOSE,
            context=key,
        )

    def _open(self, key: str, sealed: bytes) -> dict[str, Any] | None:
        try:
            plaintext = self._envelope.open(sealed, purpose=_PURPOSE, context=key)
            value = json.loads(plaintext)
        except (BadSeal, ValueError):
            # Planted, moved, or written under a password that is configured no more.
            return None
        return value if isinstance(value, dict) else None

    def _keep(self, key: str, sealed: bytes, ttl: float) -> None:
        if self._local is not self._store:
            self._local.set(key, sealed, ttl)

    def _shared(
        self, operation: Callable[[Store], _Result], otherwise: _Result
    ) -> _Result:
        """Return ``operation(store)``, or ``otherwise`` while the store fails."""
        if self._owed:
            self._repay()
        return self._attempt(operation, otherwise)

    def _attempt(
        self, operation: Callable[[Store], _Result], otherwise: _Result
    ) -> _Result:
        if not self.is_shared:
            return otherwise
        try:
            return operation(self._store)
        except Exception as error:  # noqa: BLE001 - a store of one's own raises anything
            self._pause(error)
            return otherwise

    def _owe(self, key: str, owed: _Owed) -> None:
        self._owed[key] = owed
        if len(self._owed) > MAX_OWED:
            # What matters longest stays: the ends of sessions.
            entries = list(self._owed.items())
            shortest = min(entries, key=lambda entry: entry[1].expires_at)[0]
            self._owed.pop(shortest, None)

    def _repay(self) -> None:
        """Write down some of the entries that the store did not take."""
        # One thread is enough, and nobody waits for it.
        if not (self._owed and self.is_shared and self._late.acquire(blocking=False)):
            return
        try:
            for key in list(self._owed)[:REPAID_AT_ONCE]:
                self._write_late(key)
        finally:
            self._late.release()

    def _write_late(self, key: str) -> None:
        owed = self._owed.get(key)
        if owed is None:
            return
        left = owed.expires_at - self._monotonic()

        def write(store: Store) -> bool:
            if owed.replaces:
                store.set(key, owed.value, left)
            else:
                store.add(key, owed.value, left)
            return True

        # Only then: who reads it meanwhile is not to see the store's older value.
        done = left <= 0 or self._attempt(write, False)
        if done and self._owed.get(key) is owed:
            self._owed.pop(key, None)

    def _pause(self, error: Exception) -> None:
        self._paused_until = self._monotonic() + PAUSE
        if self._time_to_log:
            # The text of a foreign error is not known to be free of secrets.
            reason = type(error).__name__
            if isinstance(error, StoreError):
                reason = f"{error.operation}: {error}"
            log.warning(
                "the store fails (%s); refreshes are coordinated inside each process "
                "only",
                reason,
            )


def _checked(value: object) -> bytes | None:
    """Return what a store has, if it is what a store may have.

    :raises StoreError: It is not; a store of one's own may mix something up.
    """
    if value is None or isinstance(value, bytes):
        return value
    raise StoreError("a value is not bytes", operation="get")
