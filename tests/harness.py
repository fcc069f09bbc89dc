"""An app behind the middleware, WorkOS and a browser, in one process and by hand.

The seam is WorkOS: :class:`~wsgi_authkit.testing.FakeWorkOS` is mounted in the
``requests`` session that the middleware is given. Everything else is the real thing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.gateway import Client, Response
from wsgi_authkit import AuthKitConfig, AuthKitMiddleware
from wsgi_authkit.testing import Clock, FakeUser, FakeWorkOS

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PASSWORD = "a cookie password for the tests, long enough"
REDIRECT_URI = "http://localhost:8000/callback"


def make_config(**settings: Any) -> AuthKitConfig:
    """Return a configuration for :class:`FakeWorkOS`, with other settings if given."""
    defaults: dict[str, Any] = {
        "client_id": "client_test",
        "api_key": "sk_test_fake",
        "redirect_uri": REDIRECT_URI,
        "cookie_password": PASSWORD,
    }
    return AuthKitConfig(**{**defaults, **settings})


def show_session(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Answer who is signed in; an app that does not know the library's headers."""
    session = environ["authkit.session"]
    body = {
        "user": session.user.email if session else None,
        "status": session.status,
        "reason": session.reason,
        "session_id": session.session_id,
        "organization_id": session.organization_id,
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]


@dataclass
class Harness:
    """One site, one WorkOS, one browser and a clock that all three share."""

    app: Any = show_session
    config: AuthKitConfig = field(default_factory=make_config)
    options: dict[str, Any] = field(default_factory=dict)
    workos_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.workos = FakeWorkOS(clock=self.clock, **self.workos_options)
        self.ada = self.workos.add_user(
            "ada@example.com", first_name="Ada", last_name="Lovelace"
        )
        self.middleware = self.new_middleware()
        self.client = self.new_client()

    def new_middleware(self, app: Any = None, **options: Any) -> AuthKitMiddleware:
        """Return another process's middleware: same settings, nothing shared."""
        return AuthKitMiddleware(
            app or self.app,
            self.config,
            http=self.workos.session(),
            clock=self.clock,
            **{**self.options, **options},
        )

    def new_client(self, middleware: AuthKitMiddleware | None = None) -> Client:
        """Return another browser."""
        return Client(middleware or self.middleware, clock=self.clock)

    def sign_in(
        self,
        user: FakeUser | None = None,
        *,
        client: Client | None = None,
        return_to: str = "/",
        **options: Any,
    ) -> Response:
        """Sign in through WorkOS and return the callback's response.

        :param options: Further arguments of ``FakeWorkOS.authorize``.
        """
        browser = client or self.client
        start = browser.get(f"/auth/sign-in?return_to={return_to}")
        location = start.header("Location")
        assert location is not None, start
        callback = self.workos.authorize(location, user or self.ada, **options)
        return browser.get(path_of(callback), cross_site=True)

    def who(self, client: Client | None = None, **options: Any) -> dict[str, Any]:
        """Return what ``show_session`` says to a navigation."""
        response = (client or self.client).get("/", **options)
        assert response.status == 200, response
        answer: dict[str, Any] = response.json()
        return answer

    def session_cookie(self, client: Client | None = None) -> str | None:
        """Return the value of the browser's session cookie."""
        cookie = (client or self.client).jar.get(self.config.cookie_name)
        return None if cookie is None else cookie.value


def path_of(url: str) -> str:
    """Return path and query of a URL, as the browser asks this site for them."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
