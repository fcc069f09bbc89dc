"""Who is signed in: :class:`Session`, :class:`User`, and what is sealed of them.

WorkOS's API and Python write ``first_name``, the session cookie that is shared with
the JavaScript libraries writes ``firstName``. This module is the one that knows both
spellings.

The sealed session holds the tokens, the user, the impersonator and the authentication
method; organization, role, permissions, entitlements and feature flags are claims of
the access token.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, Protocol

from wsgi_authkit.errors import BadSeal, InvalidClaim, InvalidToken

log = logging.getLogger(__name__)

#: Why nobody is signed in, see :attr:`AnonymousSession.reason`.
Reason = Literal[
    "no_cookie",
    "invalid_cookie",
    "invalid_token",
    "expired",
    "revoked",
    "refresh_rejected",
    "unavailable",
    "excluded",
]

#: WorkOS allows 32 KB of metadata, a browser 4 KB of cookie.
MAX_SEALED_METADATA: Final = 1024

# Nearly all of them are the first; to ask an abstract class takes ten times as long.
_MAPPINGS: Final = (dict, Mapping)

# The last second that `datetime` can hold, for an `exp` beyond the year 9999.
_LAST_INSTANT: Final = 253402300799.0


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The signed-in person, as WorkOS has it. A frozen value.

    The ``repr`` names nobody: it ends up in logs.
    """

    #: WorkOS's identifier, ``user_…``. The key to use in an app's own tables.
    id: str
    email: str = field(default="", repr=False)
    email_verified: bool = False
    first_name: str | None = field(default=None, repr=False)
    last_name: str | None = field(default=None, repr=False)
    #: The full name, where WorkOS has one.
    name: str | None = field(default=None, repr=False)
    profile_picture_url: str | None = field(default=None, repr=False)
    #: The app's own identifier for this user, where it was given to WorkOS.
    external_id: str | None = None
    locale: str | None = None
    #: Free key-value pairs. Over 1 KB of JSON they are not kept in the session.
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    #: ISO 8601, as WorkOS sends it; the same for the two below.
    last_sign_in_at: str | None = None
    created_at: str | None = None
    updated_at: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the user as the JavaScript libraries have it, ready for JSON."""
        return {
            "object": "user",
            "id": self.id,
            "email": self.email,
            "emailVerified": self.email_verified,
            "name": self.name,
            "firstName": self.first_name,
            "profilePictureUrl": self.profile_picture_url,
            "lastName": self.last_name,
            "lastSignInAt": self.last_sign_in_at,
            "locale": self.locale,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
            "externalId": self.external_id,
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Impersonator:
    """The member of the team who is signed in as somebody else."""

    email: str = field(repr=False)
    reason: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPayload:
    """What the session cookie holds. Not verified: only the seal vouches for it."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    user: User
    impersonator: Impersonator | None = None
    authentication_method: str | None = None


# The members of a user that are text or absent, in both spellings, and what they are
# called here.
_TEXTS_OF_USER: Final[Mapping[str, str]] = {
    "first_name": "first_name",
    "firstName": "first_name",
    "last_name": "last_name",
    "lastName": "last_name",
    "name": "name",
    "profile_picture_url": "profile_picture_url",
    "profilePictureUrl": "profile_picture_url",
    "external_id": "external_id",
    "externalId": "external_id",
    "locale": "locale",
    "last_sign_in_at": "last_sign_in_at",
    "lastSignInAt": "last_sign_in_at",
    "created_at": "created_at",
    "createdAt": "created_at",
    "updated_at": "updated_at",
    "updatedAt": "updated_at",
}


def parse_user(value: object) -> User:
    """Return the user of a mapping in either spelling; unknown members are dropped.

    :raises BadSeal: The value is not a mapping or has no ``id``.
    """
    if not isinstance(value, _MAPPINGS) or not _text(value, "id"):
        raise BadSeal("the session's user has no id")
    texts = {
        name: item
        for key, item in value.items()
        # Of both spellings, Python's counts, whichever comes last.
        if (name := _TEXTS_OF_USER.get(key)) is not None
        and isinstance(item, str)
        and (name == key or name not in value)
    }
    return User(
        id=value["id"],
        email=_text(value, "email") or "",
        email_verified=value.get("email_verified", value.get("emailVerified")) is True,
        metadata=MappingProxyType(_strings(value.get("metadata"))),
        **texts,
    )


def parse_impersonator(value: object) -> Impersonator | None:
    """Return the impersonator of a mapping, or ``None`` when there is none."""
    if value is None:
        return None
    if not isinstance(value, _MAPPINGS) or not _text(value, "email"):
        return None
    return Impersonator(email=value["email"], reason=_text(value, "reason"))


def parse_payload(value: Mapping[str, Any]) -> SessionPayload:
    """Return the session of a mapping in either spelling.

    :raises BadSeal: A token or the user is missing.
    """
    access_token = _text(value, "access_token", "accessToken")
    refresh_token = _text(value, "refresh_token", "refreshToken")
    if not access_token or not refresh_token:
        raise BadSeal("the session has no access token or no refresh token")
    return SessionPayload(
        access_token=access_token,
        refresh_token=refresh_token,
        user=parse_user(value.get("user")),
        impersonator=parse_impersonator(value.get("impersonator")),
        authentication_method=_text(
            value, "authentication_method", "authenticationMethod"
        ),
    )


def dump_payload(payload: SessionPayload) -> dict[str, Any]:
    """Return what is sealed into the cookie, in the JavaScript libraries' form."""
    user = payload.user.to_dict()
    user["metadata"] = _sealed_metadata(user["metadata"])
    sealed: dict[str, Any] = {
        "accessToken": payload.access_token,
        "refreshToken": payload.refresh_token,
        "user": user,
    }
    if payload.impersonator is not None:
        sealed["impersonator"] = {
            "email": payload.impersonator.email,
            "reason": payload.impersonator.reason,
        }
    if payload.authentication_method is not None:
        sealed["authenticationMethod"] = payload.authentication_method
    return sealed


def _sealed_metadata(metadata: dict[str, str]) -> dict[str, str]:
    text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode("utf-8", "backslashreplace"))
    if size <= MAX_SEALED_METADATA:
        return metadata
    log.warning(
        "a user's metadata is not kept in the session: %d bytes of JSON, at most %d "
        "fit; read it through the API instead",
        size,
        MAX_SEALED_METADATA,
    )
    return {}


def _text(value: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        if name in value:
            found = value[name]
            return found if isinstance(found, str) else None
    return None


def _strings(value: object) -> dict[str, str]:
    if not isinstance(value, _MAPPINGS):
        return {}
    return {
        key: item
        for key, item in value.items()
        if isinstance(key, str) and isinstance(item, str)
    }


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, 0), _LAST_INSTANT), UTC)


class _HoldsGrants(Protocol):
    @property
    def role(self) -> str | None: ...
    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def permissions(self) -> tuple[str, ...]: ...
    @property
    def entitlements(self) -> tuple[str, ...]: ...
    @property
    def feature_flags(self) -> tuple[str, ...]: ...


class _Grants:
    """The questions that a session answers; an anonymous one says no to each."""

    __slots__ = ()

    def has_role(self: _HoldsGrants, role: str) -> bool:
        """Say whether the person has this role in the current organization."""
        return role in self.roles or role == self.role

    def has_permission(self: _HoldsGrants, permission: str) -> bool:
        """Say whether the person has this permission; there are no wildcards."""
        return permission in self.permissions

    def has_any_permission(self: _HoldsGrants, permissions: Iterable[str]) -> bool:
        """Say whether the person has at least one of these permissions."""
        return any(permission in self.permissions for permission in permissions)

    def has_entitlement(self: _HoldsGrants, entitlement: str) -> bool:
        """Say whether the organization is entitled to this."""
        return entitlement in self.entitlements

    def has_feature(self: _HoldsGrants, slug: str) -> bool:
        """Say whether this feature flag is on for the person."""
        return slug in self.feature_flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(_Grants):
    """A signed-in person's session: verified, immutable, truthy.

    The ``repr`` names the session's and the organization's id and nothing secret.
    """

    user: User = field(repr=False)
    #: The verified claims of the access token, read-only.
    claims: Mapping[str, Any] = field(repr=False, hash=False)
    #: The RS256 JWT, to call other services with. A secret.
    access_token: str = field(repr=False)
    #: Claim ``sid``.
    session_id: str
    #: Claim ``org_id``, ``None`` when no organization is selected.
    organization_id: str | None = None
    #: The primary role's slug.
    role: str | None = field(default=None, repr=False)
    roles: tuple[str, ...] = field(default=(), repr=False)
    permissions: tuple[str, ...] = field(default=(), repr=False)
    entitlements: tuple[str, ...] = field(default=(), repr=False)
    feature_flags: tuple[str, ...] = field(default=(), repr=False)
    impersonator: Impersonator | None = field(default=None, repr=False)
    #: How the person signed in, such as ``"Password"`` or ``"SSO"``.
    authentication_method: str | None = field(default=None, repr=False)
    #: When the access token expires. The session itself usually goes on.
    expires_at: datetime = field(repr=False)
    #: Claim ``auth_time``: when the person last proved who they are.
    authenticated_at: datetime | None = field(default=None, repr=False)
    _payload: SessionPayload = field(repr=False, compare=False)
    _clock: Callable[[], float] = field(default=time.time, repr=False, compare=False)

    is_authenticated: ClassVar[bool] = True
    status: ClassVar[Literal["active"]] = "active"
    reason: ClassVar[None] = None

    def __bool__(self) -> Literal[True]:
        return True

    def is_expiring(self, buffer: float = 60) -> bool:
        """Say whether the access token expires within ``buffer`` seconds."""
        return self.expires_at.timestamp() - self._clock() <= buffer

    def to_dict(self) -> dict[str, Any]:
        """Return the session without tokens, ready for JSON.

        The keys are those of the JavaScript libraries' ``UserInfo``; what is absent
        there is absent here.
        """
        optional = {
            "organizationId": self.organization_id,
            "role": self.role,
            "impersonator": self.impersonator
            and {
                "email": self.impersonator.email,
                "reason": self.impersonator.reason,
            },
        }
        return {
            "user": self.user.to_dict(),
            "sessionId": self.session_id,
            "roles": list(self.roles),
            "permissions": list(self.permissions),
            "entitlements": list(self.entitlements),
            "featureFlags": list(self.feature_flags),
            **{key: value for key, value in optional.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class AnonymousSession(_Grants):
    """Nobody is signed in, or nobody knows: falsy, with a session's attributes."""

    #: Why: a closed set of words, see :data:`Reason`.
    reason: Reason = "no_cookie"

    user: ClassVar[None] = None
    session_id: ClassVar[None] = None
    organization_id: ClassVar[None] = None
    role: ClassVar[None] = None
    roles: ClassVar[tuple[str, ...]] = ()
    permissions: ClassVar[tuple[str, ...]] = ()
    entitlements: ClassVar[tuple[str, ...]] = ()
    feature_flags: ClassVar[tuple[str, ...]] = ()
    impersonator: ClassVar[None] = None
    access_token: ClassVar[None] = None
    claims: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    authentication_method: ClassVar[None] = None
    expires_at: ClassVar[None] = None
    authenticated_at: ClassVar[None] = None
    is_authenticated: ClassVar[bool] = False

    def __bool__(self) -> Literal[False]:
        return False

    @property
    def status(self) -> Literal["anonymous", "unavailable"]:
        """``"unavailable"`` while nobody can say whether the person is signed in."""
        return "unavailable" if self.reason == "unavailable" else "anonymous"

    def is_expiring(self, buffer: float = 60) -> bool:
        """Return ``False``: there is nothing to expire."""
        return False

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"user": None}``."""
        return {"user": None}


#: Shared by all requests without a session cookie, and on excluded paths.
NO_COOKIE: Final = AnonymousSession("no_cookie")
EXCLUDED: Final = AnonymousSession("excluded")
#: Shared by all requests whose cookie has not even the form of a session.
INVALID_COOKIE: Final = AnonymousSession("invalid_cookie")


def make_session(
    payload: SessionPayload,
    claims: Mapping[str, Any],
    *,
    clock: Callable[[], float] = time.time,
) -> Session:
    """Return the session of a sealed payload and its token's verified claims.

    :raises InvalidClaim: The sealed user is not the token's subject. Whoever can seal
        could otherwise combine their own token with somebody else's user.
    :raises InvalidToken: The claims are nested too deeply.
    """
    if payload.user.id != claims["sub"]:
        raise InvalidClaim(
            "the sealed user is not the subject (sub) of the access token", claim="sub"
        )
    frozen = _frozen_claims(claims)
    auth_time = claims.get("auth_time")
    return Session(
        user=payload.user,
        claims=frozen,
        access_token=payload.access_token,
        session_id=claims["sid"],
        organization_id=claims.get("org_id"),
        role=claims.get("role"),
        roles=frozen.get("roles") or (),
        permissions=frozen.get("permissions") or (),
        entitlements=frozen.get("entitlements") or (),
        feature_flags=frozen.get("feature_flags") or (),
        impersonator=payload.impersonator or _actor(claims),
        authentication_method=payload.authentication_method,
        expires_at=_instant(claims["exp"]),
        authenticated_at=None if auth_time is None else _instant(auth_time),
        _payload=payload,
        _clock=clock,
    )


# Nearly all of a token's JSON; nothing is to be done about it.
_ATOMS: Final = (str, int, float)


def _frozen_claims(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return MappingProxyType(
            {
                # Many sessions are kept, and all have the same claims.
                sys.intern(key): item if isinstance(item, _ATOMS) else _frozen(item)
                for key, item in claims.items()
            }
        )
    except RecursionError:
        raise InvalidToken("the access token's claims are nested too deeply") from None


def largest_claim(claims: Mapping[str, Any]) -> str:
    """Return which claim makes a token large, for the log of who can shorten it."""
    sizes = {
        name: len(json.dumps(value, default=dict)) for name, value in claims.items()
    }
    name = max(sizes, key=lambda each: sizes[each])
    return f"the largest claim of its access token is {name!r} with {sizes[name]} bytes"


def _frozen(value: Any) -> Any:
    """Return JSON that nobody can change: a session is shared between requests."""
    if isinstance(value, dict):
        return MappingProxyType({key: _frozen(item) for key, item in value.items()})
    if isinstance(value, list):
        return tuple(
            [item if isinstance(item, _ATOMS) else _frozen(item) for item in value]
        )
    return value


def _actor(claims: Mapping[str, Any]) -> Impersonator | None:
    """Return the impersonator of claim ``act`` (RFC 8693 4.1); it has no reason."""
    actor = claims.get("act")
    if actor is None:
        return None
    if not isinstance(actor, _MAPPINGS) or not isinstance(actor.get("sub"), str):
        return None
    return Impersonator(email=actor["sub"])
