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
    """Who makes a request."""

    session: Session | AnonymousSession
    headers: list[Header] = field(default_factory=list, repr=False)
    #: Why a refresh that was tried gave nothing, ``None`` otherwise.
    error: RefreshError | None = None
    #: The refresh token that :attr:`headers` store, or delete as finished.
    refresh_token: str | None = field(default=None, repr=False)


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

    ``refreshed``, ``switched``: :attr:`session` is the new one. ``reauthorize``: send
    the browser to :attr:`url`. ``denied``: the session is over, :attr:`reason` says
    why. ``unavailable``: the session is as it was, try again in :attr:`retry_after`
    seconds.
    """

    kind: Literal["refreshed", "switched", "reauthorize", "denied", "unavailable"]
    session: Session | None = None
    url: str | None = field(default=None, repr=False)
    reason: str | None = None
    retry_after: float | None = None
    headers: list[Header] = field(default_factory=list, repr=False)
