"""What one process has of a service: connections, keys, coordination, kept sessions.

Nothing of it exists before it is needed, and a fork begins with nothing: a connection
or a lock that two processes have is good for neither.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias
from weakref import WeakSet

from wsgi_authkit.api import WorkOSClient
from wsgi_authkit.api_keys import APIKeyValidator
from wsgi_authkit.key_set import KeySet
from wsgi_authkit.refresh import RefreshCoordinator
from wsgi_authkit.session_cache import MAX_AGE, SessionCache
from wsgi_authkit.session_details import SessionDetails
from wsgi_authkit.session_reader import SessionReader
from wsgi_authkit.session_refresher import SessionRefresher
from wsgi_authkit.sessions import Sessions
from wsgi_authkit.stores import Store, open_store
from wsgi_authkit.stores.key_archive import LedgerKeyArchive
from wsgi_authkit.stores.ledger import Ledger
from wsgi_authkit.tokens import TokenVerifier

if TYPE_CHECKING:
    import requests

    from wsgi_authkit.config import AuthKitConfig
    from wsgi_authkit.envelope import Envelope
    from wsgi_authkit.seal import Encryption
    from wsgi_authkit.session import Session
    from wsgi_authkit.session_storage import SessionStorage


class State:
    """All of it, made from the settings of an :class:`~wsgi_authkit.AuthKitService`."""

    def __init__(
        self,
        config: AuthKitConfig,
        *,
        encryption: Encryption,
        envelope: Envelope,
        storage: SessionStorage,
        store: str | Store,
        http: requests.Session | None,
        clock: Callable[[], float],
        refresh_buffer: float | None,
        session_cache_size: int,
        revocation_check: float | None,
    ) -> None:
        # Who brings a clock of their own moves all the time there is with it.
        monotonic = time.monotonic if clock is time.time else clock
        self.api = WorkOSClient(config, http=http, clock=clock, monotonic=monotonic)
        self.ledger = Ledger(
            open_store(store, clock=clock),
            envelope,
            config.client_id,
            monotonic=monotonic,
        )
        self.details = SessionDetails(self.api, self.ledger, monotonic=monotonic)
        self.api_keys = APIKeyValidator(self.api, clock=clock, monotonic=monotonic)
        self.cache = SessionCache(
            config.cookie_name,
            session_cache_size,
            max_age=MAX_AGE if revocation_check is None else revocation_check,
            clock=clock,
            monotonic=monotonic,
        )
        self.verifier = TokenVerifier(
            key_set=KeySet(
                self.api.fetch_jwks,
                archive=LedgerKeyArchive(self.ledger),
                on_withdrawal=self.cache.clear,
                clock=clock,
            ),
            clock=clock,
            issuers=config.issuers,
            client_id=config.client_id,
        )
        self.coordinator = RefreshCoordinator(self.ledger, clock=clock)
        self.reader = SessionReader(
            storage,
            encryption,
            self.verifier,
            self.coordinator.ends.has_ended,
            cookie_name=config.cookie_name,
            clock=clock,
        )
        self.refresher = SessionRefresher(
            self.api,
            self.verifier,
            encryption,
            self.coordinator,
            self.reader,
            clock=clock,
        )
        self.sessions = Sessions(
            storage,
            self.coordinator,
            self.reader,
            self.refresher,
            self.cache,
            buffer=refresh_buffer,
            clock=clock,
        )


#: Returns the session of a ``Cookie`` header at a time, in Unix seconds, if it is kept.
Recall: TypeAlias = "Callable[[str, float], Session | None]"


def recall_nothing(_cookies: str, _now: float) -> None:
    """Know of no session."""


class Process:
    """What this process has of a service.

    :param make: Makes it.
    :param recalls: Sessions can be kept by what the ``Cookie`` header says.
    """

    def __init__(self, make: Callable[[], State], *, recalls: bool) -> None:
        self._make = make
        self._recalls = recalls
        self._states: dict[int, State] = {}
        #: :meth:`SessionCache.recall` of the state that was asked for last. To ask for
        #: the process each time would be a system call for each request. Where a server
        #: forks without Python knowing, a child goes on with what it was born with, for
        #: 5 minutes at most, until anything has to be verified, refreshed or ended.
        self.recall: Recall = recall_nothing
        _processes.add(self)

    @property
    def state(self) -> State:
        """What there is, made now if this process has nothing yet."""
        pid = os.getpid()
        state = self._states.get(pid)
        if state is None:
            # `setdefault` is atomic: all threads go on with the same object.
            state = self._states.setdefault(pid, self._make())
        # Also of a state from before: the system gives process ids out again.
        if self._recalls:
            self.recall = state.cache.recall
        return state


_processes: Final[WeakSet[Process]] = WeakSet()


def _forget_sessions() -> None:
    for process in _processes:
        process.recall = recall_nothing


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_forget_sessions)
