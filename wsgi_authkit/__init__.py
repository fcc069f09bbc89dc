"""WorkOS AuthKit sign-in for any WSGI app, as PEP 3333 middleware.

.. code-block:: python

    from flask import Flask, request
    from markupsafe import escape
    from wsgi_authkit import AuthKitMiddleware

    app = Flask(__name__)
    app.wsgi_app = AuthKitMiddleware(app.wsgi_app)  # reads the environment's WORKOS_*


    @app.get("/")
    def home():
        session = request.environ["authkit.session"]
        if not session:
            return f'<a href="{request.environ["authkit"].sign_in_url()}">Sign in</a>'
        return f"Hello {escape(session.user.email)}"
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from wsgi_authkit.api_keys import APIKey, APIKeyOwner
    from wsgi_authkit.auth import Auth
    from wsgi_authkit.authentication import Authentication, OAuthTokens
    from wsgi_authkit.config import AuthKitConfig
    from wsgi_authkit.errors import (
        APIError,
        APIUnavailable,
        AuthKitError,
        AuthorizationDenied,
        AuthorizationError,
        AuthorizationRequired,
        BadSeal,
        ClientRejected,
        ConfigurationError,
        CookieTooLarge,
        HeadersSent,
        InvalidClaim,
        InvalidGrant,
        InvalidToken,
        KeySetUnavailable,
        RateLimited,
        RefreshError,
        RefreshNeedsAuthorization,
        RefreshRejected,
        RefreshUnavailable,
        SealExpired,
        StateMismatch,
        StoreError,
        TokenExpired,
        TokenNotYetValid,
        UnknownKey,
        VerifierMissing,
    )
    from wsgi_authkit.middleware import AuthKitMiddleware
    from wsgi_authkit.options import SignInEvent
    from wsgi_authkit.results import RefreshOutcome
    from wsgi_authkit.service import AuthKitService
    from wsgi_authkit.session import AnonymousSession, Impersonator, Session, User
    from wsgi_authkit.session_storage import CookieSessionStorage, SessionStorage

__all__ = [
    "APIError",
    "APIKey",
    "APIKeyOwner",
    "APIUnavailable",
    "AnonymousSession",
    "Auth",
    "AuthKitConfig",
    "AuthKitError",
    "AuthKitMiddleware",
    "AuthKitService",
    "Authentication",
    "AuthorizationDenied",
    "AuthorizationError",
    "AuthorizationRequired",
    "BadSeal",
    "ClientRejected",
    "ConfigurationError",
    "CookieSessionStorage",
    "CookieTooLarge",
    "HeadersSent",
    "Impersonator",
    "InvalidClaim",
    "InvalidGrant",
    "InvalidToken",
    "KeySetUnavailable",
    "OAuthTokens",
    "RateLimited",
    "RefreshError",
    "RefreshNeedsAuthorization",
    "RefreshOutcome",
    "RefreshRejected",
    "RefreshUnavailable",
    "SealExpired",
    "Session",
    "SessionStorage",
    "SignInEvent",
    "StateMismatch",
    "StoreError",
    "TokenExpired",
    "TokenNotYetValid",
    "UnknownKey",
    "User",
    "VerifierMissing",
]

# Where each of them is. A program that only wants an error to catch or a class to name,
# a job or a script, need not load all that signs people in; docs/performance.rst has
# what that takes.
_HOMES: Final = {
    "APIError": "errors",
    "APIKey": "api_keys",
    "APIKeyOwner": "api_keys",
    "APIUnavailable": "errors",
    "AnonymousSession": "session",
    "Auth": "auth",
    "AuthKitConfig": "config",
    "AuthKitError": "errors",
    "AuthKitMiddleware": "middleware",
    "AuthKitService": "service",
    "Authentication": "authentication",
    "AuthorizationDenied": "errors",
    "AuthorizationError": "errors",
    "AuthorizationRequired": "errors",
    "BadSeal": "errors",
    "ClientRejected": "errors",
    "ConfigurationError": "errors",
    "CookieSessionStorage": "session_storage",
    "CookieTooLarge": "errors",
    "HeadersSent": "errors",
    "Impersonator": "session",
    "InvalidClaim": "errors",
    "InvalidGrant": "errors",
    "InvalidToken": "errors",
    "KeySetUnavailable": "errors",
    "OAuthTokens": "authentication",
    "RateLimited": "errors",
    "RefreshError": "errors",
    "RefreshNeedsAuthorization": "errors",
    "RefreshOutcome": "results",
    "RefreshRejected": "errors",
    "RefreshUnavailable": "errors",
    "SealExpired": "errors",
    "Session": "session",
    "SessionStorage": "session_storage",
    "SignInEvent": "options",
    "StateMismatch": "errors",
    "StoreError": "errors",
    "TokenExpired": "errors",
    "TokenNotYetValid": "errors",
    "UnknownKey": "errors",
    "User": "session",
    "VerifierMissing": "errors",
}

# ``wsgi_authkit.errors`` after a mere ``import wsgi_authkit``.
_MODULES: Final = frozenset(_HOMES.values()) | {"stores"}

logging.getLogger(__name__).addHandler(logging.NullHandler())


# Type checkers would take any name for a good one.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Return a public name, or a module, when it is first used (PEP 562)."""
        home = _HOMES.get(name)
        if home is not None:
            value = getattr(import_module(f"{__name__}.{home}"), name)
        elif name in _MODULES:
            value = import_module(f"{__name__}.{name}")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # The next one finds it here.
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
