"""A site to test the middleware on: checked apps, and the requests of one person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from tests import gateway
from tests.harness import Harness, make_config, show_session
from wsgi_authkit.stores import MemoryStore

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

TEXT: Final = ("Content-Type", "text/plain")
CACHE_CONTROL: Final = "private, no-cache, no-store, must-revalidate, max-age=0"

#: Seconds after which an access token of the harness is expiring, and expired with
#: the leeway.
EXPIRING, EXPIRED = 280, 310


def checked(app: WSGIApplication) -> WSGIApplication:
    """Return an app with :func:`tests.gateway.checked` around it.

    ``wsgiref.validate`` wants every key without a dot to be a string, which
    ``environ["authkit"]`` is not: it is taken out of its sight.
    """

    def restoring(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        environ["authkit"] = environ.pop("tests.authkit")
        return app(environ, start_response)

    inner = gateway.checked(restoring)

    def hiding(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        environ["tests.authkit"] = environ.pop("authkit")
        return inner(environ, start_response)

    return hiding


def make_site(app: WSGIApplication = show_session, **options: Any) -> Harness:
    """Return a harness around a checked app, whose store has the harness's clock.

    :param options: Options of the middleware; ``settings`` are those of the config.
    """
    settings = options.pop("settings", {})
    harness = Harness(app=checked(app), config=make_config(**settings), options=options)
    harness.options = {"store": MemoryStore(harness.clock), **options}
    harness.middleware = harness.new_middleware()
    harness.client = harness.new_client()
    return harness


def answer(
    headers: Iterable[tuple[str, str]] = (TEXT,),
    status: str = "200 OK",
    body: bytes = b"the app",
) -> WSGIApplication:
    """Return an app with one answer."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, list(headers))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return app


def expired(harness: Harness, seconds: float = EXPIRED) -> str:
    """Sign in, let the access token expire, and return the ``Cookie`` header."""
    harness.sign_in()
    harness.clock.advance(seconds)
    return cookie_of(harness)


def cookie_of(harness: Harness) -> str:
    """Return the ``Cookie`` header of the person who is signed in."""
    return f"wos-session={harness.session_cookie()}"


def navigation(cookie: str = "", method: str = "GET", **extra: Any) -> WSGIEnvironment:
    """Return the ``environ`` of a navigation with a ``Cookie`` header."""
    headers = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    if cookie:
        headers["Cookie"] = cookie
    return gateway.environ(method, headers=headers, **extra)
