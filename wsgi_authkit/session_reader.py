"""From the cookies of a request to the session they hold, read-only.

The way of a request: cookie, seal, codec, token, :class:`Session`. Several session
cookies can arrive, from a sibling domain or an old path; the one that opens and
verifies is the session.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wsgi_authkit._logs import OnceAMinute
from wsgi_authkit.cookies import has_cookie
from wsgi_authkit.errors import (
    BadSeal,
    InvalidClaim,
    InvalidToken,
    KeySetUnavailable,
    TokenExpired,
    UnknownKey,
)
from wsgi_authkit.seal import Encryption
from wsgi_authkit.session import (
    INVALID_COOKIE,
    NO_COOKIE,
    AnonymousSession,
    Reason,
    Session,
    SessionPayload,
    make_session,
    parse_payload,
)
from wsgi_authkit.session_storage import Cookies, SessionStorage
from wsgi_authkit.tokens import TokenVerifier, is_token_expiring, read_unverified_claims

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSession:
    """A session that came out of a cookie or a result."""

    sealed: str = field(repr=False)
    payload: SessionPayload = field(repr=False)
    #: Verified, or, where ``session`` is ``None``, only vouched for by the seal.
    claims: Mapping[str, Any] = field(repr=False)
    #: ``None`` where the token's key is withdrawn and its time is over.
    session: Session | None
    expired: bool


class SessionReader:
    """Reads sessions. Never raises for what a cookie holds.

    :param cookie_name: The name of the session cookie.
    :param has_ended: Says whether the session of this id was signed out.
    """

    def __init__(
        self,
        storage: SessionStorage,
        encryption: Encryption,
        verifier: TokenVerifier,
        has_ended: Callable[[str], bool],
        *,
        cookie_name: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._encryption = encryption
        self._verifier = verifier
        #: Says whether the session of an id was signed out.
        self.has_ended = has_ended
        self._cookie_names = (cookie_name, f"{cookie_name}.0")
        self._clock = clock
        self._time_to_log_conflict = OnceAMinute()

    def candidates(self, cookies: Cookies) -> list[str]:
        """Return the values that may be the session."""
        return self._storage.load_session(cookies)

    def find(
        self, cookies: Cookies, candidates: Sequence[str] | None = None
    ) -> SealedSession | AnonymousSession:
        """Return the one session of the cookies, or why there is none.

        :param candidates: What :meth:`candidates` returns, where it is known already.
        """
        if candidates is None:
            candidates = self.candidates(cookies)
        if not candidates:
            # A response to a cookie of ours is private, whatever the cookie holds.
            return INVALID_COOKIE if self._has_cookie(cookies) else NO_COOKIE
        reasons: list[Reason] = []
        found = []
        for sealed in candidates:
            opened = self.open(sealed)
            if not isinstance(opened, SealedSession):
                reasons.append(opened)
            elif self.has_ended(str(opened.claims.get("sid"))):
                reasons.append("revoked")
            else:
                found.append(opened)
        if not found:
            reason = _strongest(reasons)
            shared = reason == "invalid_cookie"
            return INVALID_COOKIE if shared else AnonymousSession(reason)
        if len(found) == 1:
            return found[0]
        chosen = _newest_of_one_user(found)
        if chosen is None:
            if self._time_to_log_conflict:
                log.warning(
                    "a browser sent sessions of different users in one request; none "
                    "is believed, for a sibling site may have planted one. A "
                    "cookie_name that begins with __Host-, or no cookie_domain, "
                    "prevents it"
                )
            return INVALID_COOKIE
        return chosen

    def _has_cookie(self, cookies: Cookies) -> bool:
        names, storage = self._cookie_names, self._storage
        if not isinstance(cookies, str) or not getattr(storage, "reads_header", False):
            return any(any(storage.load(cookies, one)) for one in names)
        return has_cookie(cookies, names)

    def open(self, sealed: str) -> SealedSession | Reason:
        """Return the session of a sealed text, or why there is none."""
        try:
            payload = parse_payload(self._encryption.unseal(sealed))
        except BadSeal:
            return "invalid_cookie"
        try:
            return self._verified(sealed, payload)
        except KeySetUnavailable:
            return "unavailable"
        except InvalidToken as error:
            log.info("a session's access token is not accepted: %s", error)
            return "invalid_token"

    def _verified(self, sealed: str, payload: SessionPayload) -> SealedSession:
        session: Session | None
        try:
            claims: Mapping[str, Any] = self._verifier.verify(payload.access_token)
            expired = False
        except TokenExpired as error:
            claims, expired = error.claims, True
        except UnknownKey:
            if not is_token_expiring(payload.access_token, 0, now=self._clock()):
                raise
            # The person was away for longer than WorkOS keeps its keys. What counts
            # is the new token, which is verified.
            return SealedSession(
                sealed=sealed,
                payload=payload,
                claims=_vouched_claims(payload),
                session=None,
                expired=True,
            )
        session = make_session(payload, claims, clock=self._clock)
        return SealedSession(
            sealed=sealed,
            payload=payload,
            claims=claims,
            session=session,
            expired=expired,
        )

    def session_ids(self, cookies: Cookies) -> list[str]:
        """Return the ids of the sessions in a request's cookies, expired ones too.

        For ending them; the tokens are not verified, the seal vouches for the ids.
        """
        ids: dict[str, None] = {}
        storage = self._storage
        to_end = getattr(storage, "sessions_to_end", storage.load_session)
        for sealed in to_end(cookies):
            try:
                payload = parse_payload(self._encryption.unseal(sealed))
                session_id = read_unverified_claims(payload.access_token).get("sid")
            except (BadSeal, InvalidToken):
                continue
            if isinstance(session_id, str) and session_id:
                ids[session_id] = None
        return list(ids)


def _vouched_claims(payload: SessionPayload) -> Mapping[str, Any]:
    claims = read_unverified_claims(payload.access_token)
    if claims.get("sub") != payload.user.id:
        raise InvalidClaim(
            "the sealed user is not the subject (sub) of the access token", claim="sub"
        )
    return claims


def _newest_of_one_user(found: list[SealedSession]) -> SealedSession | None:
    if len({one.payload.user.id for one in found}) > 1:
        return None
    return max(found, key=_issued_at)


def _issued_at(found: SealedSession) -> float:
    issued_at = found.claims.get("iat")
    # Claims that were not verified can be of any type.
    return issued_at if isinstance(issued_at, int | float) else 0


def _strongest(reasons: list[Reason]) -> Reason:
    """Return what is said where every cookie has a reason of its own.

    One that cannot be judged at present may be the good one.
    """
    if len(reasons) == 1:
        return reasons[0]
    order: tuple[Reason, ...] = ("unavailable", "revoked", "invalid_token")
    return next((one for one in order if one in reasons), "invalid_cookie")
