"""What the service answers: frozen values with the headers to send."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wsgi_authkit._wsgi import Header
from wsgi_authkit.authentication import Authentication, OAuthTokens
from wsgi_authkit.errors import RefreshError
from wsgi_authkit.session import AnonymousSession, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthResult:
    """Who makes a request, from now on, and the headers that make it so."""

    session: Session | AnonymousSession
    headers: list[Header] = field(default_factory=list, repr=False)
    #: Why a refresh that was tried gave nothing, ``None`` otherwise.
    error: RefreshError | None = None
    #: The refresh token that :attr:`headers` store, or delete as finished.
    refresh_token: str | None = field(default=None, repr=False)
    #: The session of that token.
    session_id: str | None = None
    #: When the request came, in Unix seconds.
    at: float = 0.0


def as_result(found: Session | AnonymousSession | AuthResult, at: float) -> AuthResult:
    """Return a result, also of a session that there is nothing else to tell about.

    :param at: When the request came, in Unix seconds.
    """
    return found if isinstance(found, AuthResult) else AuthResult(session=found, at=at)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadersResult:
    """Headers to send."""

    headers: list[Header] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationResult:
    """A sign-in that starts when the browser is sent to ``url`` with ``headers``."""

    url: str = field(repr=False)
    headers: list[Header] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackResult:
    """A finished sign-in."""

    session: Session
    #: A path on this site, ``None`` where the flow had none.
    return_to: str | None
    #: The app's own state, as it was passed in.
    state: str | None = field(repr=False)
    oauth_tokens: OAuthTokens | None = field(repr=False)
    authentication_method: str | None
    headers: list[Header] = field(repr=False)
    #: Everything that WorkOS answered.
    authentication: Authentication = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOutResult:
    """A session that has ended here; ``logout_url`` ends it at WorkOS."""

    #: Where to send the browser, as a top-level navigation.
    logout_url: str
    headers: list[Header] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshOutcome:
    """What an explicit refresh or a switch of organization came to.

    :attr:`kind` is one of:

    ``refreshed``, ``switched``
        :attr:`session` is the new one.
    ``reauthorize``
        Send the browser to :attr:`url`: WorkOS asks for SSO, MFA or another choice of
        organization, which :attr:`reason` names. The session is as it was.
    ``denied``
        The session is over, or there is none; :attr:`reason` says why, in the words of
        :attr:`AnonymousSession.reason`.
    ``unavailable``
        Nobody can say. The session is as it was; try again in :attr:`retry_after`
        seconds.
    """

    kind: Literal["refreshed", "switched", "reauthorize", "denied", "unavailable"]
    session: Session | None = None
    #: Where to send the browser, as a top-level navigation.
    url: str | None = field(default=None, repr=False)
    #: For ``reauthorize`` WorkOS's identifier, such as ``"sso_required"``.
    reason: str | None = None
    #: For ``reauthorize``, the organization to sign in to; ``None`` where the person
    #: cannot sign in to the one that was asked for.
    organization_id: str | None = None
    #: Seconds, for ``unavailable``.
    retry_after: float | None = None
    headers: list[Header] = field(default_factory=list, repr=False)
    #: The refresh token that :attr:`headers` store, or delete as finished.
    refresh_token: str | None = field(default=None, repr=False)
    #: The session of that token.
    session_id: str | None = None
    #: When the request came, or else when the refresh was asked for, in Unix seconds.
    at: float = 0.0
