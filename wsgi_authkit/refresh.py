"""One refresh for each expiry, however many requests see it.

A refresh token is single use: of two requests that send the same one, the second is
told ``invalid_grant`` and, where nobody coordinates, its user is signed out. Here one
thread of a process works for a token and the others wait on it; between processes and
hosts a lease in the store does the same. What comes out is kept for a minute, because a
request with the old cookie can arrive after everything is over.

1. There is a result: use it.
2. Take the lease. Who does not get it serves the token that is still valid, or waits
   for the result, within a bound.
3. Got it: look for a result, and for the session's end, once more. Then call.
4. Publish the result: a success adopts an earlier success and replaces a rejection; a
   rejection never replaces a success; other failures are kept for seconds.
5. Give the lease back.

A lease cannot fence WorkOS. A holder that is stopped for longer than its lease costs a
second call; WorkOS's replay grace and rule 4 make that harmless. Without a grace the
second call is rejected, and its answer can reach the browser after the first one's: the
deletion of a cookie would then wipe out the new one. So everybody who is about to call
says so in the ledger, and a rejection is *contested*, which deletes nothing, where
somebody else has said so too, or where nobody could read it.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, Protocol

from wsgi_authkit.errors import (
    RefreshError,
    RefreshNeedsAuthorization,
    RefreshRejected,
    RefreshUnavailable,
)
from wsgi_authkit.session_ends import SessionEnds
from wsgi_authkit.stores.ledger import Ledger

log = logging.getLogger(__name__)

#: Seconds that a lease lasts: longer than all attempts of a call, shorter than the
#: shortest replay grace of WorkOS.
LEASE: Final = 8.0
#: Seconds in which a refresh comes to an end, waiting and calling together.
MAX_WAIT: Final = 9.0
#: Seconds that a call has in any case.
SHORTEST_CALL: Final = 1.0
#: Seconds between two looks at the store while waiting; the last one goes on.
POLL_INTERVALS: Final = (0.02, 0.04, 0.08, 0.1)
#: Seconds that a success or a rejection is kept.
RESULT_LIFETIME: Final = 60.0
#: Seconds that any other failure is kept, at most.
FAILURE_LIFETIME: Final = 5.0

#: Seconds in which a session is not refreshed again unless the app asks for it: with a
#: clock that is ahead of WorkOS's, every new token looks expired.
RECENT: Final = 10.0

_RESULT: Final = "refresh"
_RECENT: Final = "recent"
_LEASE: Final = "lease"
_CALLED: Final = "called"

Kind = Literal["refreshed", "rejected", "reauthorize", "unavailable", "ended", "busy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult:
    """What came out of a refresh token, as it is published.

    ``refreshed``: there is a new session. ``rejected``: the grant is finished.
    ``reauthorize``: the organization needs a new sign-in. ``unavailable``: nobody can
    say. ``ended``: the person signed out meanwhile. ``busy``: somebody else is at it
    and the caller's token is still good.
    """

    kind: Kind
    #: The new session as it goes into the cookie: all who share it write the same.
    sealed: str = field(default="", repr=False)
    #: The new refresh token: a result is followed to its end by it.
    refresh_token: str = field(default="", repr=False)
    #: The organization of the new session, or the one that was asked for.
    organization_id: str | None = None
    #: When it was made, in Unix seconds of the host that made it.
    at: float = 0.0
    #: For ``rejected``: somebody else may have been given the next session, so the
    #: browser's cookie must stay as it is.
    contested: bool = False
    #: WorkOS's identifier, for ``reauthorize``.
    reason: str | None = None
    connection_ids: tuple[str, ...] = ()
    #: For ``unavailable``: seconds until another try, and whether trying can help.
    retry_after: float = 1.0
    transient: bool = True

    def leads_on(self, refresh_token: str) -> bool:
        """Say whether there is a new session, with another token than this one.

        WorkOS does not promise to rotate. A result that leads back to its own token
        gives way to any later one.
        """
        return self.kind == "refreshed" and self.refresh_token != refresh_token

    def to_dict(self) -> dict[str, Any]:
        """Return what is written into the store."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> RefreshResult | None:
        """Return the result of a store's value, ``None`` if it has another form."""
        try:
            connection_ids = tuple(value.pop("connection_ids", ()))
            return cls(**value, connection_ids=connection_ids)
        except TypeError:
            return None


class RefreshCall(Protocol):
    """Makes the call to WorkOS, ``within`` so many seconds.

    It returns a ``refreshed`` result or raises a
    :class:`~wsgi_authkit.errors.RefreshError`.
    """

    def __call__(
        self, refresh_token: str, organization_id: str | None, within: float
    ) -> RefreshResult: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshRequest:
    """Somebody's wish for a newer session."""

    refresh_token: str = field(repr=False)
    session_id: str
    #: The organization that the session is in now.
    organization_id: str | None
    #: The organization to switch to.
    wanted_organization_id: str | None = None
    #: The access token is still valid: nobody waits for anybody.
    usable: bool = False
    #: Asked for by the app: a result that is there already is not enough.
    explicit: bool = False
    call: RefreshCall


def _sleep(seconds: float) -> None:
    # Looked up at the call: gevent may replace it after this module was imported.
    time.sleep(seconds)


class RefreshCoordinator:
    """Sees to it that a refresh token is used once. One object for each process.

    :param sleep: Waits between two looks at the store, in seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = _sleep,
    ) -> None:
        self._ledger = ledger
        #: Which sessions are over, for this browser or for all.
        self.ends = SessionEnds(ledger, clock=clock)
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._flights: dict[str, _Flight] = {}
        self._lock = threading.Lock()

    def refresh(self, request: RefreshRequest) -> RefreshResult:
        """Return the newest session there is, made by one call if need be."""
        token, organization_id = request.refresh_token, request.organization_id
        deadline = self._monotonic() + MAX_WAIT
        newest: RefreshResult | None = None
        called = False
        while True:
            further, result = self._follow(token)
            newest = further or newest
            if newest is not None:
                token, organization_id = newest.refresh_token, newest.organization_id
                if _is_enough(newest, request):
                    return newest
            wanted = request.wanted_organization_id or organization_id
            if result is not None and _applies(result, wanted):
                return result
            step = _Step(token, wanted, newest, deadline)
            result, own = self._settle(step, request)
            own = own and (called or _is_wanted(result, request))
            if own or result.kind != "refreshed":
                return result
            # Somebody else's: follow it, and decide again. So is the answer for another
            # organization, for WorkOS answers a token that is sent twice as at first;
            # but once only, since claims can be overridden.
            called = True
            # In hand, whatever becomes of the store before it is read again.
            newest, token = result, result.refresh_token

    def newest(self, refresh_token: str) -> RefreshResult | None:
        """Return the newest session that came out of a token by now."""
        return self._follow(refresh_token)[0]

    def refreshed_recently(self, refresh_token: str) -> bool:
        """Say whether this token came out of a refresh within :data:`RECENT`."""
        return self._ledger.get(_RECENT, refresh_token) is not None

    def _follow(self, token: str) -> tuple[RefreshResult | None, RefreshResult | None]:
        """Return the newest session that came out of a token, and what became of it.

        A late answer would otherwise put an older session over a newer one.
        """
        newest, seen = None, {token}
        while True:
            result = self._published(token)
            if result is None or result.kind != "refreshed":
                return newest, result
            newest, token = result, result.refresh_token
            if token in seen:
                # WorkOS does not promise that a new token differs from the old one.
                return newest, None
            seen.add(token)

    def _published(self, token: str) -> RefreshResult | None:
        value = self._ledger.get(_RESULT, token)
        result = None if value is None else RefreshResult.from_dict(value)
        if result is not None and result.leads_on(token):
            # Or a store that fails a moment later would have the token used again.
            self._ledger.remember(_RESULT, token, result.to_dict(), self._left(result))
        return result

    def _left(self, result: RefreshResult) -> float:
        """Return for how many seconds a result is kept yet, by the clock of its maker.

        At least a moment, for that clock may be slow.
        """
        left = result.at + RESULT_LIFETIME - self._clock()
        return min(max(left, 1.0), RESULT_LIFETIME)

    def _news(self, step: _Step) -> RefreshResult | None:
        """Return a result that answers a step, if there is one by now."""
        result = self._published(step.token)
        if result is None or not _applies(result, step.organization_id):
            return None
        # Where tokens are not rotated, the result that led here is found again.
        return None if result == step.newest else result

    def _settle(
        self, step: _Step, request: RefreshRequest
    ) -> tuple[RefreshResult, bool]:
        """Return what comes out of a token, and whether it was made here."""
        with self._flight(step, request) as boarded:
            if not boarded:
                return self._give_up(request), False
            result = self._news(step)
            if result is not None:
                return result, False
            owner = secrets.token_hex(16)
            result = self._take_lease(step, owner, request)
            if result is not None:
                return result, False
            try:
                settled = self._settle_alone(step, request)
            finally:
                self._ledger.release(_LEASE, step.token, owner)
            return settled

    def _settle_alone(
        self, step: _Step, request: RefreshRequest
    ) -> tuple[RefreshResult, bool]:
        result = self._news(step)
        if result is not None:
            return result, False
        alone = self._announce_call(step.token)
        if self.ends.has_ended(request.session_id):
            return RefreshResult(kind="ended"), False
        made = self._call(step, request)
        if made.kind == "refreshed" and self.ends.has_ended(request.session_id):
            # The person signed out during the call. WorkOS ends what it brought when
            # the browser arrives there.
            return RefreshResult(kind="ended"), False
        if made.kind == "rejected" and not (alone and self._still_alone(step.token)):
            made = replace(made, contested=True)
        result = self._publish(step.token, made)
        # A success that was adopted is as new as the one that it stands for.
        return result, result is made or made.kind == "refreshed"

    def _announce_call(self, token: str) -> bool:
        """Say that a call is about to be made; say whether nobody else has said so."""
        alone = self._ledger.add(_CALLED, token, {"others": False}, RESULT_LIFETIME)
        if not alone:
            self._ledger.set(_CALLED, token, {"others": True}, RESULT_LIFETIME)
        return alone and self._ledger.is_shared

    def _still_alone(self, token: str) -> bool:
        called = self._ledger.get(_CALLED, token)
        return (
            called is not None
            and called.get("others") is False
            and self._ledger.is_shared
        )

    def _take_lease(
        self, step: _Step, owner: str, request: RefreshRequest
    ) -> RefreshResult | None:
        """Return ``None`` with the lease, a result without it."""
        intervals = _intervals()
        while not self._ledger.acquire(_LEASE, step.token, owner, LEASE):
            interval = next(intervals)
            if request.usable or self._monotonic() + interval > step.deadline:
                return self._give_up(request)
            self._sleep(interval)
            result = self._news(step)
            if result is not None:
                return result
        return None

    @staticmethod
    def _give_up(request: RefreshRequest) -> RefreshResult:
        return RefreshResult(kind="busy" if request.usable else "unavailable")

    def _call(self, step: _Step, request: RefreshRequest) -> RefreshResult:
        now = self._clock()
        # Who had to wait for the lease of a dead holder has less left.
        within = max(SHORTEST_CALL, step.deadline - self._monotonic())
        try:
            return request.call(step.token, step.organization_id, within)
        except RefreshRejected:
            return RefreshResult(kind="rejected", at=now)
        except RefreshNeedsAuthorization as error:
            return RefreshResult(
                kind="reauthorize",
                at=now,
                organization_id=step.organization_id,
                reason=error.reason,
                connection_ids=error.connection_ids,
            )
        except RefreshUnavailable as error:
            return RefreshResult(
                kind="unavailable",
                at=now,
                retry_after=error.retry_after,
                transient=error.transient,
            )
        except Exception:
            # Encryption or HTTP of the app's own, perhaps. The token may be spent, and
            # everybody who waits would try again.
            log.exception("a refresh failed in a way that is not foreseen")
            return RefreshResult(kind="unavailable", at=now, transient=False)

    def _publish(self, token: str, result: RefreshResult) -> RefreshResult:
        """Publish a result and return the one that counts."""
        lifetime = _lifetime(token, result)
        if result.kind == "refreshed":
            self._ledger.set(_RECENT, result.refresh_token, {}, RECENT)
        value = result.to_dict()
        if self._ledger.add(_RESULT, token, value, lifetime):
            return result
        earlier = self._published(token)
        if earlier is not None and earlier.leads_on(token):
            return earlier
        if result.kind == "refreshed":
            self._ledger.set(_RESULT, token, value, lifetime)
        return result

    @contextmanager
    def _flight(self, step: _Step, request: RefreshRequest) -> Iterator[bool]:
        """Let one thread at a time work for a token; say whether it is this one."""
        with self._lock:
            flight = self._flights.setdefault(step.token, _Flight())
            flight.passengers += 1
        try:
            left = max(0.0, step.deadline - self._monotonic())
            wait = 0.0 if request.usable else left
            boarded = (
                flight.turn.acquire(timeout=wait)
                if wait
                else flight.turn.acquire(blocking=False)
            )
            try:
                yield boarded
            finally:
                if boarded:
                    flight.turn.release()
        finally:
            with self._lock:
                flight.passengers -= 1
                if not flight.passengers:
                    del self._flights[step.token]


@dataclass(frozen=True, slots=True)
class _Step:
    """A refresh token on the way to what is wanted."""

    token: str = field(repr=False)
    #: The organization to ask for.
    organization_id: str | None
    #: The result that led to this token, ``None`` for the request's own.
    newest: RefreshResult | None
    #: When waiting ends, on the monotonic clock.
    deadline: float


class _Flight:
    """Those of one process who want the same token."""

    __slots__ = ("passengers", "turn")

    def __init__(self) -> None:
        self.passengers = 0
        self.turn = threading.Lock()


def _is_wanted(result: RefreshResult, request: RefreshRequest) -> bool:
    return request.wanted_organization_id in (None, result.organization_id)


def _is_enough(result: RefreshResult, request: RefreshRequest) -> bool:
    if request.wanted_organization_id is None:
        return not request.explicit
    return _is_wanted(result, request)


def _applies(result: RefreshResult, wanted: str | None) -> bool:
    return result.kind != "reauthorize" or result.organization_id == wanted


def _lifetime(token: str, result: RefreshResult) -> float:
    if result.kind == "refreshed":
        # A token that stays the same must not hold up the next refresh.
        return RESULT_LIFETIME if result.leads_on(token) else RECENT
    if result.kind == "rejected":
        return RESULT_LIFETIME
    return min(max(result.retry_after, 1.0), FAILURE_LIFETIME)


def _intervals() -> Iterator[float]:
    yield from POLL_INTERVALS
    while True:
        yield POLL_INTERVALS[-1]


def describe(result: RefreshResult) -> RefreshError | None:
    """Return a result as the error that hooks are given, ``None`` for a success."""
    if result.kind in ("rejected", "ended"):
        return RefreshRejected("WorkOS says that the session is over")
    if result.kind == "reauthorize":
        return RefreshNeedsAuthorization(
            "the organization needs a new sign-in",
            reason=result.reason or "authorization_required",
            organization_id=result.organization_id,
            connection_ids=result.connection_ids,
        )
    if result.kind in ("unavailable", "busy"):
        return RefreshUnavailable(
            "the session could not be refreshed",
            retry_after=result.retry_after,
            transient=result.transient,
        )
    return None
