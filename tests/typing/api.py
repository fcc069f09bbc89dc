"""An app as users write it, for ``mypy --strict``. Nothing here is run.

It follows the README and the docstrings; what does not type-check here does not
type-check in the code of users either.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, assert_type

import requests

from wsgi_authkit import (
    AnonymousSession,
    APIError,
    APIKey,
    APIKeyOwner,
    Auth,
    Authentication,
    AuthKitConfig,
    AuthKitError,
    AuthKitMiddleware,
    AuthKitService,
    AuthorizationRequired,
    ConfigurationError,
    CookieSessionStorage,
    Impersonator,
    InvalidToken,
    RateLimited,
    RefreshOutcome,
    Session,
    SessionStorage,
    SignInEvent,
    User,
)
from wsgi_authkit.api import WorkOSClient
from wsgi_authkit.stores import MemoryStore, Store
from wsgi_authkit.testing import Clock, FakeWorkOS, LostResponse

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def application(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    session: Session | AnonymousSession = environ["authkit.session"]
    auth: Auth = environ["authkit"]
    if not session.has_permission("reports:read"):
        if session:
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"Ask an administrator for access to the reports."]
        return auth.challenge()(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/html")])
    return [page(auth).encode()]


def page(auth: Auth) -> str:
    session = auth.session
    if session.user:
        return f"Hello {session.user.first_name or session.user.email}"
    if session.status == "unavailable":
        return "WorkOS cannot be reached just now."
    link = auth.sign_in_url("/reports", organization_id="org_1", max_age=300)
    return f'<a href="{link}">Sign in</a> <a href="{auth.sign_up_url()}">Sign up</a>'


def changes(auth: Auth) -> str:
    assert_type(auth.api, WorkOSClient)
    assert_type(auth.check_recent_auth(300), bool)
    assert_type(auth.validate_api_key(), APIKey | None)
    auth.save_session({"accessToken": "…", "refreshToken": "…", "user": {"id": "…"}})
    auth.save_session(auth.api.authenticate("password", email="a@b.c", password="pw"))
    if auth.session:
        auth.save_session(auth.session)
    auth.clear_session()
    outcome = auth.refresh()
    assert_type(outcome, RefreshOutcome)
    assert_type(auth.switch_organization("org_1", return_to="/"), RefreshOutcome)
    assert_type(outcome.session, Session | None)
    if outcome.kind == "reauthorize":
        return outcome.url or ""
    return auth.sign_out("/bye")


def for_programs(auth: Auth) -> str:
    key = auth.validate_api_key()
    if key is None or not key.has_permission("reports:read"):
        return "401"
    assert_type(key.owner, APIKeyOwner)
    assert_type(key.organization_id, str | None)
    return key.owner.id


def next_step(error: AuthorizationRequired) -> str | None:
    return error.pending_authentication_token or error.details.get("organizations")


def attributes(session: Session | AnonymousSession) -> dict[str, Any]:
    assert_type(session.user, User | None)
    assert_type(session.session_id, str | None)
    assert_type(session.organization_id, str | None)
    assert_type(session.roles, tuple[str, ...])
    assert_type(session.claims, Mapping[str, Any])
    assert_type(session.impersonator, Impersonator | None)
    assert_type(session.expires_at, datetime | None)
    assert_type(session.is_authenticated, bool)
    if isinstance(session, Session):
        assert_type(session.user, User)
        assert_type(session.access_token, str)
        assert_type(session.expires_at, datetime)
    return session.to_dict()


def union(session: Session | AnonymousSession) -> tuple[str, str]:
    """Who is somebody has everything; no attribute has to be asked for by itself."""
    if not session:
        assert_type(session, AnonymousSession)
        return session.reason, ""
    assert_type(session, Session)
    assert_type(session.user, User)
    assert_type(session.session_id, str)
    return session.session_id, session.access_token


def on_success(sign_in: SignInEvent) -> None:
    remember(sign_in.user.id, sign_in.refresh_token, sign_in.state)


def replacing(sign_in: SignInEvent) -> Mapping[str, Any]:
    return {"access_token": sign_in.access_token, "user": sign_in.user.to_dict()}


def remember(user_id: str, refresh_token: str, state: str | None) -> None: ...


def on_error(error: AuthKitError, environ: WSGIEnvironment) -> WSGIApplication | None:
    return application if isinstance(error, APIError) else None


class Settings:
    """A framework's settings, which exist later than the app."""

    @staticmethod
    def authkit() -> AuthKitConfig:
        return AuthKitConfig.from_environ(os.environ, cookie_name="session")


class HeaderStorage(CookieSessionStorage):
    def get_cookie(self, cookies: Mapping[str, str], name: str) -> str | None:
        return cookies.get(name)


class WerkzeugStorage(CookieSessionStorage):
    def get_cookie(self, cookies: Any, name: str) -> list[str]:
        values: list[str] = cookies.getlist(name)
        return values


class DictStore:
    """A store is recognised by its methods."""

    def get(self, key: str) -> bytes | None: ...
    def set(self, key: str, value: bytes, ttl: float) -> None: ...
    def add(self, key: str, value: bytes, ttl: float) -> bool:
        return True

    def delete(self, key: str, expected: bytes | None = None) -> bool:
        return True

    def close(self) -> None: ...


def stores() -> list[Store]:
    return [DictStore(), MemoryStore()]


def storage(config: AuthKitConfig) -> SessionStorage:
    return WerkzeugStorage(config)


def wrap() -> list[WSGIApplication]:
    config = AuthKitConfig(
        client_id="client_1",
        api_key="sk_1",
        redirect_uri="https://app.example.com/callback",
        cookie_password=os.environ["PASSWORD"],
        issuer=["https://auth.example.com", "https://api.workos.com"],
    )
    return [
        AuthKitMiddleware(application),
        AuthKitMiddleware(application, config),
        AuthKitMiddleware(application, Settings.authkit),
        AuthKitMiddleware(
            application,
            config,
            base_url="https://app.example.com",
            allowed_return_urls=["https://elsewhere.example/"],
            on_success=on_success,
            on_error=on_error,
            refresh_buffer=30,
            store=DictStore(),
            session_storage=storage,
            http=requests.Session(),
        ),
        AuthKitMiddleware(application, on_success=replacing, store="memory:"),
    ]


def without_a_request(middleware: AuthKitMiddleware) -> list[tuple[str, str]]:
    assert_type(middleware.service, AuthKitService)
    assert_type(middleware.api, WorkOSClient)
    answer = middleware.api.authenticate("password", email="a@b.c", password="secret")
    assert_type(answer, Authentication)
    try:
        return middleware.save_session(answer, "https://app.example.com/")
    except InvalidToken:
        return []


def service() -> str:
    kit = AuthKitService(AuthKitConfig.from_environ(), store="memory:")
    result = kit.with_auth("wos-session=…")
    headers: list[tuple[str, str]] = list(result.headers)
    if isinstance(result.session, Session):
        outcome = kit.switch_organization(result.session, "org_1")
        headers += outcome.headers
        return outcome.url or kit.sign_out(result.session.session_id).logout_url
    return kit.create_sign_in(return_to="/reports").url


def failures() -> float:
    try:
        AuthKitMiddleware(application)
    except ConfigurationError as error:
        return len(error.problems)
    except RateLimited as error:
        return error.retry_after
    return 0


def try_the_app() -> None:
    clock = Clock()
    fake = FakeWorkOS(clock=clock)
    ada = fake.add_user("ada@example.com", first_name="Ada")
    AuthKitMiddleware(application, http=fake.session(), clock=clock)
    fake.authorize("https://api.workos.com/user_management/authorize", ada)
    clock.advance(600)
    fake.fail(503, path="refresh")
    fake.fail(LostResponse(), path="refresh", times=1)
    assert_type(fake.count("refresh"), int)
