"""What WorkOS answers to a successful authentication, and for whom it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wsgi_authkit.errors import APIUnavailable, BadSeal
from wsgi_authkit.session import (
    Impersonator,
    SessionPayload,
    User,
    parse_impersonator,
    parse_user,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientInfo:
    """The browser a call is made for; WorkOS Radar and the session list show it."""

    ip_address: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthTokens:
    """Tokens of the identity provider, where WorkOS passes them on."""

    provider: str | None = None
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    #: Unix seconds.
    expires_at: int | None = None
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """A successful answer of ``POST /user_management/authenticate``.

    Only the fields of the contract are kept: an unknown one once made cookies of
    4.7 KB, which browsers drop without a word.
    """

    user: User
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    organization_id: str | None = None
    authentication_method: str | None = None
    impersonator: Impersonator | None = None
    oauth_tokens: OAuthTokens | None = None

    def to_payload(self) -> SessionPayload:
        """Return what of it is kept in the session."""
        return SessionPayload(
            access_token=self.access_token,
            refresh_token=self.refresh_token,
            user=self.user,
            impersonator=self.impersonator,
            authentication_method=self.authentication_method,
        )


def parse_authentication(value: object) -> Authentication:
    """Return the authentication of a response body.

    :raises APIUnavailable: A token or the user is missing; ``error`` is
        ``"tokens_missing"``.
    """
    body = value if isinstance(value, Mapping) else {}
    access_token, refresh_token = body.get("access_token"), body.get("refresh_token")
    try:
        user = parse_user(body.get("user"))
    except BadSeal:
        user = None
    if not (
        user
        and isinstance(access_token, str)
        and isinstance(refresh_token, str)
        and access_token
        and refresh_token
    ):
        raise APIUnavailable(
            "WorkOS's answer lacks the user, the access token or the refresh token",
            request_sent=True,
            status_code=200,
            error="tokens_missing",
        )
    return Authentication(
        user=user,
        access_token=access_token,
        refresh_token=refresh_token,
        organization_id=text(body, "organization_id"),
        authentication_method=text(body, "authentication_method"),
        impersonator=parse_impersonator(body.get("impersonator")),
        oauth_tokens=_parse_oauth_tokens(body.get("oauth_tokens")),
    )


def _parse_oauth_tokens(value: object) -> OAuthTokens | None:
    if not isinstance(value, Mapping):
        return None
    expires_at, scopes = value.get("expires_at"), value.get("scopes")
    return OAuthTokens(
        provider=text(value, "provider"),
        access_token=text(value, "access_token"),
        refresh_token=text(value, "refresh_token"),
        expires_at=expires_at if type(expires_at) is int else None,
        scopes=texts(scopes),
    )


def text(value: Mapping[str, Any], name: str) -> str | None:
    """Return a member that is a string, ``None`` for anything else."""
    found = value.get(name)
    return found if isinstance(found, str) else None


def texts(value: object) -> tuple[str, ...]:
    """Return the strings of a list, nothing for anything else."""
    if not isinstance(value, list):
        return ()
    return tuple(item for item in value if isinstance(item, str))
