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

logging.getLogger(__name__).addHandler(logging.NullHandler())
