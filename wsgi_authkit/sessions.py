"""The sessions of requests: found, renewed when they are due, stored and deleted.

What comes out is a frozen result with the headers to send. A session is renewed by the
coordinator, so that of many requests one calls WorkOS; what that brought, for this
request or for another, is opened like a cookie that came with it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from wsgi_authkit._wsgi import Header, set_cookie_headers
from wsgi_authkit.api import ORGANIZATION_LOST
from wsgi_authkit.errors import (
    CookieTooLarge,
    RefreshError,
    RefreshNeedsAuthorization,
    RefreshUnavailable,
)
from wsgi_authkit.refresh import RefreshCoordinator, RefreshResult, describe
from wsgi_authkit.results import AuthResult, RefreshOutcome
from wsgi_authkit.session import AnonymousSession, Reason, Session, largest_claim
from wsgi_authkit.session_cache import SessionCache
from wsgi_authkit.session_reader import SealedSession, SessionReader
from wsgi_authkit.session_refresher import RefreshContext, SessionRefresher
from wsgi_authkit.session_storage import Cookies, SessionStorage
from wsgi_authkit.tokens import refresh_buffer

log = logging.getLogger(__name__)

# Refreshes in a row within one request: a result can be expired itself when access
# tokens live for seconds.
_MAX_REFRESHES: Final = 5

_OVER: Final[Mapping[str, Reason]] = {
    "ended": "revoked",
    "rejected": "refresh_rejected",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a request brings, as far as its session is concerned."""

    cookies: Cookies = field(repr=False)
    #: Whether cookies that are set are ``Secure``.
    secure: bool
    #: When it came, in Unix seconds.
    at: float
    #: Whether it is a top-level navigation: only then is a cookie deleted, since the
    #: late answer of a background request could delete the new one that another brings.
    navigation: bool = False


#: Returns what a request brings, and for whom a session is refreshed.
Ask: TypeAlias = Callable[[], tuple[Visit, RefreshContext]]


class Sessions:
    """Finds, renews, stores and deletes sessions. One object for each process.

    :param buffer: Seconds before a token's expiry from which it is refreshed, see
        :func:`~wsgi_authkit.tokens.refresh_buffer`.
    """

    def __init__(
        self,
        storage: SessionStorage,
        coordinator: RefreshCoordinator,
        reader: SessionReader,
        refresher: SessionRefresher,
        cache: SessionCache,
        *,
        buffer: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._coordinator = coordinator
        self._reader = reader
        self._refresher = refresher
        self._cache = cache
        self._buffer = buffer
        self._clock = clock

    def find(
        self,
        cookies: Cookies,
        at: float,
        ask: Ask,
        values: Sequence[str] | None = None,
    ) -> Session | AnonymousSession | AuthResult:
        """See :meth:`~wsgi_authkit.AuthKitService.identify`.

        :param at: When the request came, in Unix seconds.
        :param ask: Called if there is more to do than to open a cookie.
        """
        if values is None:
            values = self._reader.candidates(cookies)
            seen = self._cache.get(values[0]) if len(values) == 1 else None
            if seen is not None:
                return seen
        sole = values[0] if len(values) == 1 else None
        ticket = self._cache.ticket()
        found = self._reader.find(cookies, values)
        if isinstance(found, AnonymousSession):
            if found.reason in _OVER.values():
                return self._anonymous(found.reason, ask()[0])
            return found
        current = self._newest(found)
        due_at = self._due_at(current)
        if self._clock() < due_at:
            if current is not found or found.session is None:
                return self._renewed(current, found, ask()[0])
            if sole is not None:
                until = min(due_at, found.claims["exp"])
                self._cache.put(ticket, sole, found.session, until)
            return found.session
        return self._refreshed(current, found, *ask())

    def _refreshed(
        self,
        current: SealedSession,
        found: SealedSession,
        visit: Visit,
        context: RefreshContext,
    ) -> AuthResult:
        """Return what a session that is due has become."""
        for _ in range(_MAX_REFRESHES):
            if self._refresher.refreshed_recently(current):
                break
            result = self._refresher.refresh(current, context)
            self._cache.drop(_session_id(found))
            if result.kind != "refreshed":
                return self._not_refreshed(result, current, found, visit)
            opened = self._reader.open(result.sealed)
            if not isinstance(opened, SealedSession):
                return self._unverified(result, found, visit)
            current = opened
            if not current.expired:
                break
        return self._renewed(current, found, visit)

    def renew(
        self,
        session: Session,
        wanted: str | None,
        visit: Visit,
        context: RefreshContext,
    ) -> RefreshOutcome:
        """See :meth:`~wsgi_authkit.AuthKitService.renew_session`.

        :param wanted: The organization to switch to.
        """
        found = SealedSession(
            sealed="",
            payload=session._payload,
            claims=session.claims,
            session=session,
            expired=False,
        )
        redirect_urls: list[str | None] = []

        def note(error: RefreshError, transient: bool) -> None:
            if isinstance(error, RefreshNeedsAuthorization):
                redirect_urls.append(error.redirect_url)
            context.on_refresh_error(error, transient)

        result = self._refresher.refresh(
            found, replace(context, on_refresh_error=note), explicit=True, wanted=wanted
        )
        self._cache.drop(session.session_id)
        error = describe(result)
        if isinstance(error, RefreshNeedsAuthorization):
            return RefreshOutcome(
                kind="reauthorize",
                reason=error.reason,
                # Not in the result that others share: it belongs to one browser.
                url=next(iter(redirect_urls), None),
                organization_id=organization_to_authorize(error),
            )
        if result.kind in _OVER:
            return self._denied(result, session, visit)
        if result.kind != "refreshed":
            return RefreshOutcome(kind="unavailable", retry_after=result.retry_after)
        return self._succeeded(result, session.session_id, wanted, visit)

    def latest_headers(
        self, result: AuthResult | RefreshOutcome, visit: Visit
    ) -> list[Header]:
        """See :meth:`~wsgi_authkit.AuthKitService.latest_headers`."""
        if result.refresh_token is None:
            return result.headers
        if self._coordinator.ends.is_gone(result.session_id or "", result.at):
            return []
        newest = self._coordinator.newest(result.refresh_token)
        return result.headers if newest is None else self._store(newest.sealed, visit)

    def save(self, sealed: str, visit: Visit) -> list[Header]:
        """Return the headers that store a session.

        :raises CookieTooLarge: It does not fit into cookies.
        """
        return set_cookie_headers(
            self._storage.save_session(sealed, visit.cookies, secure=visit.secure)
        )

    def clear(self, visit: Visit) -> list[Header]:
        """Return the headers that delete a session."""
        return set_cookie_headers(
            self._storage.clear_session(visit.cookies, secure=visit.secure)
        )

    def _due_at(self, found: SealedSession) -> float:
        """Return when a session is to be refreshed, in Unix seconds."""
        if found.expired:
            return -math.inf
        buffer = refresh_buffer(found.claims, self._buffer)
        # Without a buffer it is over first, which takes a little longer: clocks differ.
        until: float = found.claims["exp"] - buffer
        return until if buffer > 0 else math.inf

    def _newest(self, found: SealedSession) -> SealedSession:
        """Return what a session has become, where another request has renewed it."""
        result = self._coordinator.newest(found.payload.refresh_token)
        opened = None if result is None else self._reader.open(result.sealed)
        return opened if isinstance(opened, SealedSession) else found

    def _renewed(
        self, current: SealedSession, found: SealedSession, visit: Visit
    ) -> AuthResult:
        """Return a session, with its cookie where it is not the one that came."""
        if current.sealed == found.sealed:
            return AuthResult(
                session=found.session or AnonymousSession("expired"), at=visit.at
            )
        return AuthResult(
            session=current.session or AnonymousSession("unavailable"),
            headers=self._store(current.sealed, visit),
            refresh_token=current.payload.refresh_token,
            # That of the cookie, should WorkOS have changed it.
            session_id=_session_id(found),
            at=visit.at,
        )

    def _unverified(
        self, result: RefreshResult, found: SealedSession, visit: Visit
    ) -> AuthResult:
        # Stored all the same: its refresh token is the only good one.
        return AuthResult(
            session=AnonymousSession("unavailable"),
            headers=self._store(result.sealed, visit),
            error=RefreshUnavailable("the new session cannot be verified yet"),
            refresh_token=result.refresh_token,
            session_id=_session_id(found),
            at=visit.at,
        )

    def _not_refreshed(
        self,
        result: RefreshResult,
        current: SealedSession,
        found: SealedSession,
        visit: Visit,
    ) -> AuthResult:
        error = describe(result)
        if result.kind == "ended" or (result.kind == "rejected" and current.expired):
            # Of a contested one somebody else may be bringing the next session.
            visit = replace(visit, navigation=visit.navigation and not result.contested)
            return replace(
                self._anonymous(_OVER[result.kind], visit),
                error=error,
                refresh_token=current.payload.refresh_token,
                session_id=_session_id(found),
            )
        renewed = self._renewed(current, found, visit)
        if not current.expired:
            return replace(renewed, error=error)
        reason: Reason = "expired" if result.kind == "reauthorize" else "unavailable"
        return replace(renewed, session=AnonymousSession(reason), error=error)

    def _denied(
        self, result: RefreshResult, session: Session, visit: Visit
    ) -> RefreshOutcome:
        is_to_clear = visit.navigation and not result.contested
        return RefreshOutcome(
            kind="denied",
            reason=_OVER[result.kind],
            headers=self.clear(visit) if is_to_clear else [],
            # A newer session than the refused one is not deleted.
            refresh_token=session._payload.refresh_token,
            session_id=session.session_id,
            at=visit.at,
        )

    def _succeeded(
        self, result: RefreshResult, session_id: str, wanted: str | None, visit: Visit
    ) -> RefreshOutcome:
        opened = self._reader.open(result.sealed)
        # Stored also if it cannot be verified yet: its refresh token is the only good
        # one.
        headers = self._store(result.sealed, visit)
        if not isinstance(opened, SealedSession) or opened.session is None:
            return RefreshOutcome(
                kind="unavailable",
                retry_after=result.retry_after,
                headers=headers,
                refresh_token=result.refresh_token,
                session_id=session_id,
                at=visit.at,
            )
        return RefreshOutcome(
            kind="switched" if wanted else "refreshed",
            session=opened.session,
            headers=headers,
            refresh_token=opened.payload.refresh_token,
            session_id=session_id,
            at=visit.at,
        )

    def _store(self, sealed: str, visit: Visit) -> list[Header]:
        try:
            return self.save(sealed, visit)
        except CookieTooLarge as error:
            # This request is served; the next ones are for a minute, from the result.
            opened = self._reader.open(sealed)
            claims = opened.claims if isinstance(opened, SealedSession) else {}
            hint = largest_claim(claims) if claims else "it cannot be verified either"
            log.error(  # noqa: TRY400
                "a refreshed session cannot be stored: %s; %s", error, hint
            )
            return []

    def _anonymous(self, reason: Reason, visit: Visit) -> AuthResult:
        over = reason in _OVER.values()
        return AuthResult(
            session=AnonymousSession(reason),
            headers=self.clear(visit) if over and visit.navigation else [],
            at=visit.at,
        )


def organization_to_authorize(error: RefreshNeedsAuthorization) -> str | None:
    """Return the organization to sign in to after a step-up was asked for.

    Whom an organization has lost cannot sign in to it: ``None`` lets AuthKit ask.
    """
    return None if error.reason in ORGANIZATION_LOST else error.organization_id


def _session_id(found: SealedSession) -> str:
    return str(found.claims.get("sid"))
