"""From a session to a newer one: the call to WorkOS and what its answer means."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from wsgi_authkit._logs import OnceAMinute
from wsgi_authkit.api import WorkOSClient
from wsgi_authkit.authentication import ClientInfo
from wsgi_authkit.errors import (
    APIError,
    APIUnavailable,
    AuthorizationRequired,
    CookieTooLarge,
    InvalidGrant,
    InvalidToken,
    KeySetUnavailable,
    RefreshError,
    RefreshNeedsAuthorization,
    RefreshRejected,
    RefreshUnavailable,
    TokenExpired,
)
from wsgi_authkit.refresh import (
    RefreshCoordinator,
    RefreshRequest,
    RefreshResult,
    describe,
)
from wsgi_authkit.seal import Encryption
from wsgi_authkit.session import (
    Session,
    SessionPayload,
    dump_payload,
    largest_claim,
)
from wsgi_authkit.session_reader import SealedSession, SessionReader
from wsgi_authkit.tokens import TokenVerifier, read_unverified_claims

log = logging.getLogger(__name__)


#: Gets the new session.
OnRefreshed: TypeAlias = Callable[[Session], object]
#: Gets the error, and whether trying again can help.
OnNotRefreshed: TypeAlias = Callable[[RefreshError, bool], object]


def ignore(*_: object) -> None:
    """Do nothing about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshContext:
    """For whom a session is refreshed, and who is told about it.

    The hooks run once a call to WorkOS, not once a waiter. What they raise is logged
    and ignored.
    """

    client: ClientInfo | None = None
    on_refresh: OnRefreshed = ignore
    on_refresh_error: OnNotRefreshed = ignore


class SessionRefresher:
    """Refreshes sessions through the coordinator. One object for each process."""

    def __init__(
        self,
        api: WorkOSClient,
        verifier: TokenVerifier,
        encryption: Encryption,
        coordinator: RefreshCoordinator,
        reader: SessionReader,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._reader = reader
        self._verifier = verifier
        self._encryption = encryption
        self._coordinator = coordinator
        self._clock = clock
        self._time_to_log_operator_error = OnceAMinute()
        self._time_to_log_clock = OnceAMinute()

    def refresh(
        self,
        found: SealedSession,
        context: RefreshContext,
        *,
        explicit: bool = False,
        wanted: str | None = None,
    ) -> RefreshResult:
        """Return what comes out of a session's refresh token.

        :param explicit: The app asks for it: a result that is there is not enough.
        :param wanted: The organization to switch to.
        """

        made: list[RefreshResult | RefreshError] = []

        def call(
            refresh_token: str, organization_id: str | None, within: float
        ) -> RefreshResult:
            try:
                result = self._call(
                    found, refresh_token, organization_id, within, context.client
                )
            except RefreshError as error:
                made.append(error)
                raise
            made.append(result)
            return result

        result = self._coordinator.refresh(
            RefreshRequest(
                refresh_token=found.payload.refresh_token,
                session_id=str(found.claims.get("sid")),
                organization_id=_organization(found.claims),
                wanted_organization_id=wanted,
                usable=not explicit and not found.expired,
                explicit=explicit,
                call=call,
            )
        )
        # After publishing: a hook that takes its time holds up nobody but its caller.
        # Of a session that was signed out meanwhile an app must not keep anything.
        ended = describe(result) if result.kind == "ended" else None
        for outcome in made:
            self._tell(context, ended or outcome)
        return result

    def _tell(
        self, context: RefreshContext, outcome: RefreshResult | RefreshError
    ) -> None:
        try:
            if isinstance(outcome, RefreshError):
                transient = (
                    isinstance(outcome, RefreshUnavailable) and outcome.transient
                )
                context.on_refresh_error(outcome, transient)
                return
            opened = self._reader.open(outcome.sealed)
            if isinstance(opened, SealedSession) and opened.session is not None:
                context.on_refresh(opened.session)
        except Exception:
            # The session is refreshed, whatever the app does about it.
            log.exception("a refresh hook failed")

    def _call(
        self,
        found: SealedSession,
        refresh_token: str,
        organization_id: str | None,
        within: float,
        client: ClientInfo | None,
    ) -> RefreshResult:
        """Make the call to WorkOS.

        :raises RefreshError: It gave no new session.
        """
        try:
            answer = self._api.refresh(
                refresh_token,
                organization_id=organization_id,
                client=client,
                within=within,
            )
        except InvalidGrant as error:
            log.info("WorkOS ended the session %s", found.claims.get("sid"))
            raise RefreshRejected(str(error)) from error
        except AuthorizationRequired as error:
            session_id = found.claims.get("sid")
            log.info("the session %s needs a new sign-in: %s", session_id, error)
            raise RefreshNeedsAuthorization(
                str(error),
                reason=error.error or "authorization_required",
                organization_id=organization_id,
                connection_ids=error.connection_ids,
                redirect_url=error.redirect_url,
            ) from error
        except APIUnavailable as error:
            log.warning("a session could not be refreshed: %s", error)
            raise RefreshUnavailable(
                str(error), retry_after=error.retry_after
            ) from error
        except APIError as error:
            raise self._operator_error(error) from error
        payload = _carry_over(answer.to_payload(), found.payload)
        try:
            claims = self._refreshed_claims(payload, found.claims)
            sealed = self._encryption.seal(dump_payload(payload))
        except InvalidToken as error:
            raise self._operator_error(error) from error
        except CookieTooLarge as error:
            hint = largest_claim(claims)
            raise self._operator_error(f"{error} {hint}") from error
        return RefreshResult(
            kind="refreshed",
            sealed=sealed,
            refresh_token=payload.refresh_token,
            organization_id=_organization(claims),
            at=self._clock(),
        )

    def _refreshed_claims(
        self, payload: SessionPayload, old: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the claims of a new token, which must be the same person's.

        :raises RefreshRejected: It is somebody else's.
        :raises InvalidToken: It does not verify, whatever its age.
        """
        claims = self._new_claims(payload.access_token)
        if not (claims.get("sub") == old.get("sub") == payload.user.id):
            log.error("a refresh brought another user's session, it is ended")
            raise RefreshRejected("the refreshed session is another user's")
        if claims.get("sid") != old.get("sid"):
            log.warning(
                "the session id changed from %s to %s in a refresh",
                old.get("sid"),
                claims.get("sid"),
            )
        return claims

    def _new_claims(self, token: str) -> Mapping[str, Any]:
        try:
            # Others wait for the lease, and it is shorter than fetching keys may take.
            return self._verifier.verify(token, may_fetch=False)
        except TokenExpired as error:
            self.log_clock(error.claims)
            return error.claims
        except KeySetUnavailable:
            # It came from WorkOS over TLS and is verified before it is served. The
            # pair must not be lost because the keys are late.
            return read_unverified_claims(token)
        except InvalidToken as error:
            # Nor because an issuer or a JWT template was set wrong.
            self._operator_error(error)
            return read_unverified_claims(token)

    def _operator_error(self, error: object) -> RefreshUnavailable:
        if self._time_to_log_operator_error:
            log.error("sessions cannot be refreshed, the operator must act: %s", error)
        return RefreshUnavailable(str(error), transient=False)

    def refreshed_recently(self, found: SealedSession) -> bool:
        """Say whether a session is so new that it is served whatever the clock says."""
        return found.session is not None and self._coordinator.refreshed_recently(
            found.payload.refresh_token
        )

    def log_clock(self, claims: Mapping[str, Any]) -> None:
        """Warn that a token of WorkOS looked expired when it arrived."""
        if self._time_to_log_clock:
            log.warning(
                "access tokens look expired when they arrive: this host's clock is "
                "about %d seconds ahead of WorkOS's; synchronise it",
                self._clock() - claims["iat"],
            )


def _organization(claims: Mapping[str, Any]) -> str | None:
    organization_id = claims.get("org_id")
    return organization_id if isinstance(organization_id, str) else None


def _carry_over(new: SessionPayload, old: SessionPayload) -> SessionPayload:
    """Keep what only the sign-in itself tells, if the refresh does not tell it."""
    return replace(
        new,
        impersonator=new.impersonator or old.impersonator,
        authentication_method=new.authentication_method or old.authentication_method,
    )
