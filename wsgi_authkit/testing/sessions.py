"""What a sign-in leaves behind: codes, sessions and refresh tokens."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from wsgi_authkit.testing.directory import (
    FakeUser,
    Impersonator,
    iso,
    iso_or_none,
    new_id,
)
from wsgi_authkit.testing.settings import Settings

#: Seconds for which a code can be exchanged.
CODE_LIFETIME: Final = 600

_AUTH_METHODS: Final = {
    "SSO": "sso",
    "Password": "password",
    "MagicAuth": "magic_code",
    "Impersonation": "impersonation",
    "Passkey": "passkey",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """Who signed in, how, when, and to which organization."""

    user: FakeUser
    authentication_method: str
    authenticated_at: float
    organization_id: str | None = None
    impersonator: Impersonator | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTimeCode:
    """An authorization code, or one that was sent by e-mail."""

    sign_in: SignIn
    created_at: float
    code_challenge: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentCode:
    """Six digits that were sent by e-mail, as the API tells them to the server."""

    id: str
    #: ``magic_auth`` or ``email_verification``.
    kind: str
    user: FakeUser
    code: str = field(repr=False)
    created_at: float

    def to_wire(self) -> dict[str, Any]:
        """Return it as WorkOS sends it."""
        return {
            "object": self.kind,
            "id": self.id,
            "user_id": self.user.id,
            "email": self.user.email,
            "code": self.code,
            "expires_at": iso(self.created_at + CODE_LIFETIME),
            "created_at": iso(self.created_at),
            "updated_at": iso(self.created_at),
        }


@dataclass(slots=True, kw_only=True, eq=False)
class FakeSession:
    """A session at WorkOS; instants are Unix seconds."""

    id: str
    user_id: str
    organization_id: str | None
    authentication_method: str
    #: Of the last active authentication; a refresh does not change it.
    authenticated_at: float
    impersonator: Impersonator | None
    created_at: float
    updated_at: float
    expires_at: float
    #: What the app passed on about the browser.
    ip_address: str | None = None
    user_agent: str | None = None
    revoked_at: float | None = None
    #: Made by a client without a secret, which then needs none to refresh.
    public: bool = False

    def status(self, now: float) -> str:
        """Return ``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if now >= self.expires_at else "active"

    def to_wire(self, now: float) -> dict[str, Any]:
        """Return the session object of WorkOS's responses."""
        status = self.status(now)
        ended_at = self.expires_at if status == "expired" else self.revoked_at
        body: dict[str, Any] = {
            "object": "session",
            "id": self.id,
            "user_id": self.user_id,
            "ip_address": self.ip_address,
            "user_agent": self.user_agent,
            "auth_method": _AUTH_METHODS.get(self.authentication_method, "oauth"),
            "status": status,
            "expires_at": iso(self.expires_at),
            "ended_at": iso_or_none(ended_at),
            "created_at": iso(self.created_at),
            "updated_at": iso(self.updated_at),
        }
        if self.organization_id is not None:
            body["organization_id"] = self.organization_id
        if self.impersonator is not None:
            body["impersonator"] = self.impersonator.to_wire()
        return body


@dataclass(slots=True, kw_only=True, eq=False)
class RefreshToken:
    """A refresh token and, once it is retired, what it was rotated to."""

    session: FakeSession
    retired_at: float | None = None
    successor: dict[str, Any] = field(default_factory=dict, repr=False)


class Sessions:
    """All codes, sessions and refresh tokens."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._codes: dict[str, OneTimeCode] = {}
        self._digits: dict[str, OneTimeCode] = {}
        self._spent_digits: set[str] = set()
        #: By id.
        self.sent_codes: dict[str, SentCode] = {}
        self._refresh_tokens: dict[str, RefreshToken] = {}
        #: By session id.
        self.by_id: dict[str, FakeSession] = {}

    def create_code(self, sign_in: SignIn, code_challenge: str | None = None) -> str:
        """Return a new single-use authorization code."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = self._one_time_code(sign_in, code_challenge)
        return code

    def look_up_code(self, code: str) -> OneTimeCode | None:
        """Return what a code stands for, unless it is unknown or too old."""
        return self._fresh(self._codes.get(code))

    def spend_code(self, code: str) -> None:
        """Make a code unusable."""
        self._codes.pop(code, None)

    def create_digits(self, sign_in: SignIn) -> str:
        """Return a new single-use code of six digits, as e-mails carry."""
        digits = f"{secrets.randbelow(1_000_000):06}"
        self._digits[digits] = self._one_time_code(sign_in, None)
        self._spent_digits.discard(digits)
        return digits

    def send_digits(self, kind: str, user: FakeUser) -> SentCode:
        """Send a code of six digits to a person."""
        now = self._clock()
        sign_in = SignIn(
            user=user, authentication_method="MagicAuth", authenticated_at=now
        )
        sent = SentCode(
            id=new_id(kind),
            kind=kind,
            user=user,
            code=self.create_digits(sign_in),
            created_at=now,
        )
        self.sent_codes[sent.id] = sent
        return sent

    def spend_digits(self, digits: str, user: FakeUser) -> str | None:
        """Make a code unusable; return WorkOS's identifier where it was not good."""
        entry = self._digits.get(digits)
        if entry is None or entry.sign_in.user is not user:
            return "invalid_one_time_code"
        if digits in self._spent_digits:
            return "one_time_code_previously_used"
        if self._fresh(entry) is None:
            return "one_time_code_expired"
        self._spent_digits.add(digits)
        return None

    def create(
        self,
        sign_in: SignIn,
        *,
        ip_address: str | None = None,
        user_agent: str | None = None,
        public: bool = False,
    ) -> FakeSession:
        """Return a new session of a sign-in."""
        now = self._clock()
        sign_in.user.last_sign_in_at = now
        session = FakeSession(
            id=new_id("session"),
            user_id=sign_in.user.id,
            organization_id=sign_in.organization_id,
            authentication_method=sign_in.authentication_method,
            authenticated_at=sign_in.authenticated_at,
            impersonator=sign_in.impersonator,
            created_at=now,
            updated_at=now,
            expires_at=now + self._settings.session_lifetime,
            ip_address=ip_address,
            user_agent=user_agent,
            public=public,
        )
        self.by_id[session.id] = session
        return session

    def of_user(self, user_id: str) -> Sequence[FakeSession]:
        """Return a user's sessions, in the order they were created."""
        return [entry for entry in self.by_id.values() if entry.user_id == user_id]

    def revoke(self, session_id: str) -> bool:
        """End a session for good; return whether it was known."""
        session = self.by_id.get(session_id)
        if session is None:
            return False
        if session.revoked_at is None:
            session.revoked_at = self._clock()
        return True

    def create_refresh_token(self, session: FakeSession) -> str:
        """Return a new refresh token of a session."""
        value = secrets.token_urlsafe(24)
        self._refresh_tokens[value] = RefreshToken(session=session)
        return value

    def look_up_refresh_token(self, value: str) -> RefreshToken | None:
        """Return what a refresh token stands for, retired or not."""
        return self._refresh_tokens.get(value)

    def active(self) -> int:
        """Return how many sessions are active."""
        now = self._clock()
        return sum(entry.status(now) == "active" for entry in self.by_id.values())

    def _one_time_code(
        self, sign_in: SignIn, code_challenge: str | None
    ) -> OneTimeCode:
        return OneTimeCode(
            sign_in=sign_in, created_at=self._clock(), code_challenge=code_challenge
        )

    def _fresh(self, entry: OneTimeCode | None) -> OneTimeCode | None:
        if entry is None or self._clock() - entry.created_at >= CODE_LIFETIME:
            return None
        return entry
