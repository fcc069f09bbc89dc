"""The middleware: the rules of PEP 3333, the session of each request, cache headers.

``wsgiref.validate`` stands around the app (:func:`tests.sites.checked`) and around the
middleware (:func:`tests.gateway.run`). Where identity counts, or for what only a lax
app does, the middleware is called by hand.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import random
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import parse_qs, urlsplit
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from tests.gateway import Client, Response, environ, run
from tests.harness import (
    PASSWORD,
    REDIRECT_URI,
    Harness,
    make_config,
    path_of,
    show_session,
)
from tests.sites import (
    CACHE_CONTROL,
    EXPIRED,
    EXPIRING,
    TEXT,
    answer,
    checked,
    cookie_of,
    expired,
    make_site,
    navigation,
)
from wsgi_authkit import (
    AnonymousSession,
    Auth,
    AuthKitConfig,
    AuthKitError,
    AuthKitMiddleware,
    AuthKitService,
    ConfigurationError,
    CookieSessionStorage,
    InvalidToken,
    RefreshRejected,
    Session,
)
from wsgi_authkit.access import Access, AccessRules
from wsgi_authkit.testing import Clock, FakeWorkOS

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

ROOT: Final = Path(__file__).parents[1]


@pytest.fixture
def harness() -> Harness:
    return make_site()


class Server:
    """A server's ``start_response`` that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *args: Any) -> Callable[[bytes], object]:
        self.calls.append(args)
        return self.write

    def write(self, block: bytes) -> None: ...


def cookie_names(response: Response) -> list[str]:
    return [value.partition("=")[0] for value in response.set_cookies]


def test_signed_in_user_is_known_on_the_next_request(harness: Harness) -> None:
    assert harness.sign_in(return_to="/welcome").header("Location") == "/welcome"

    assert harness.who()["user"] == "ada@example.com"


# The app's response is its own


@pytest.mark.parametrize("kind", [list, tuple])
def test_headers_of_the_app_are_not_changed(kind: type[list[Any]]) -> None:
    """A cookie in a constant of the app would go to the next visitor."""
    constant = kind([TEXT, ("X-App", "1")])

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", constant)
        return [b"ok"]

    harness = Harness(app=app)
    first = run(harness.middleware, navigation(expired(harness)))

    assert cookie_names(first) == ["wos-session"]
    assert constant == kind([TEXT, ("X-App", "1")])


def test_second_visitor_does_not_get_the_cookie_of_the_first() -> None:
    constant = [TEXT]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", constant)
        return [b"ok"]

    harness = make_site(app)
    first = run(harness.middleware, navigation(expired(harness)))
    second = run(harness.middleware, environ())

    assert cookie_names(first) == ["wos-session"]
    assert second.headers == [TEXT]


def called_by_hand(
    harness: Harness, app: WSGIApplication, request: WSGIEnvironment
) -> Any:
    return harness.new_middleware(app)(request, Server())


@pytest.mark.parametrize(
    "make_body",
    [
        pytest.param(lambda: [b"list"], id="list"),
        pytest.param(lambda: (b for b in (b"a", b"b")), id="generator"),
        pytest.param(lambda: FileWrapper(BytesIO(b"file")), id="file_wrapper"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_iterable_of_the_app_is_returned_itself(
    make_body: Callable[[], Iterable[bytes]], *, wrapped: bool
) -> None:
    """Servers recognise ``wsgi.file_wrapper`` by identity, and then use sendfile."""
    body = make_body()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        return body

    harness = Harness()
    request = navigation(expired(harness)) if wrapped else environ()

    assert called_by_hand(harness, app, request) is body


@pytest.mark.parametrize(
    "cookie",
    [
        pytest.param(None, id="no cookie"),
        pytest.param("theme=dark; other=1", id="other cookies only"),
    ],
)
def test_nothing_is_added_for_strangers(cookie: str | None) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        return []

    server = Server()
    request = environ(headers={"Cookie": cookie} if cookie else {})
    list(Harness(app=app).middleware(request, server))

    assert server.calls == [("200 OK", [TEXT])]


def test_blocks_of_the_app_keep_their_boundaries() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [TEXT])
        write(b"written, ")
        return [b"one, ", b"", b"two"]

    harness = make_site(app)
    response = run(harness.middleware, navigation(expired(harness)))

    assert response.blocks == [b"written, ", b"one, ", b"", b"two"]
    assert cookie_names(response) == ["wos-session"]


def test_start_response_may_be_called_late() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        yield b"late"

    harness = make_site(app)
    response = run(harness.middleware, navigation(expired(harness)))

    assert response.blocks == [b"late"]
    assert cookie_names(response) == ["wos-session"]


def test_file_wrapper_is_sent() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        body: Iterable[bytes] = environ["wsgi.file_wrapper"](BytesIO(b"file"))
        return body

    harness = make_site(app)

    assert run(harness.middleware, navigation(expired(harness))).body == b"file"


def fail() -> NoReturn:
    raise LookupError("the first response failed")


def test_headers_replaced_with_exc_info_carry_the_cookie_once() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT, ("Set-Cookie", "first=1")])
        try:
            fail()
        except LookupError:
            start_response("500 Oops", [TEXT], sys.exc_info())
        return [b"sorry"]

    harness = make_site(app)
    response = run(harness.middleware, navigation(expired(harness)))

    assert response.status == 500
    assert cookie_names(response) == ["wos-session"]
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert response.header("Vary") == "Cookie"


@pytest.mark.parametrize("age", [0, EXPIRED])
def test_third_argument_is_passed_on_only_if_there_is_one(age: float) -> None:
    """Some servers and test clients take two arguments only."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        try:
            fail()
        except LookupError:
            start_response("500 Oops", [TEXT], sys.exc_info())
        return []

    harness, server = Harness(app=app), Server()
    list(harness.middleware(navigation(expired(harness, age)), server))

    assert [len(call) for call in server.calls] == [2, 3]
    assert server.calls[1][2][0] is LookupError


@pytest.mark.parametrize("age", [0, EXPIRED])
def test_error_after_the_headers_are_sent_is_the_one_of_the_app(age: float) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        yield b"sent"
        try:
            fail()
        except LookupError:
            start_response("500 Oops", [TEXT], sys.exc_info())

    harness = make_site(app)
    request = navigation(expired(harness, age))

    with pytest.raises(LookupError, match="the first response failed"):
        run(harness.middleware, request)


class Body:
    """A body that breaks at its second block and counts calls of ``close``."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.breaks = breaks
        self.closes = 0

    def __iter__(self) -> Iterator[bytes]:
        yield b"one"
        if self.breaks:
            fail()
        yield b"two"

    def close(self) -> None:
        self.closes += 1


def body_app(body: Body) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        return body

    return app


def test_close_is_called_once() -> None:
    body = Body()
    harness = make_site(body_app(body))
    run(harness.middleware, navigation(expired(harness)))

    assert body.closes == 1


def test_close_is_called_once_after_an_error_in_the_body() -> None:
    body = Body(breaks=True)
    harness = make_site(body_app(body))
    request = navigation(expired(harness))

    with pytest.raises(LookupError):
        run(harness.middleware, request)

    assert body.closes == 1


def test_close_is_called_once_when_the_client_goes_away() -> None:
    body = Body()
    harness = Harness(app=body_app(body))
    iterable: Any = validator(harness.middleware)(
        navigation(expired(harness)), validated(Server())
    )
    next(iter(iterable))
    iterable.close()

    assert body.closes == 1


def validated(server: Server) -> StartResponse:
    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        return server(status, headers)

    return start_response


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
        ValueError("the app's own"),
        pytest.param(RefreshRejected("raised by the app"), id="RefreshRejected"),
        pytest.param(InvalidToken("raised by the app"), id="InvalidToken"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_app_raises_passes(error: BaseException) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise error

    harness = make_site(app)
    request = navigation(expired(harness))

    with pytest.raises(type(error)) as raised:
        run(harness.middleware, request)

    assert raised.value is error


def test_refreshed_session_is_not_lost_when_the_app_fails() -> None:
    """The refresh token is used up, and the response with its successor is gone."""
    failures = [LookupError("once")]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if failures:
            raise failures.pop()
        return show_session(environ, start_response)

    harness = make_site(app)
    harness.workos.settings.refresh_grace = 0
    cookie = expired(harness)
    request = navigation(cookie)
    with pytest.raises(LookupError):
        run(harness.middleware, request)
    response = run(harness.middleware, navigation(cookie))

    assert response.json()["user"] == "ada@example.com"
    assert cookie_names(response) == ["wos-session"]
    assert harness.workos.count("refresh") == 1


class Untouchable:
    """A ``wsgi.input`` that is the app's and nobody else's."""

    def read(self, size: int = -1, /) -> bytes:
        raise AssertionError("the body of the app's request was read")

    readline = readlines = __iter__ = read


@pytest.mark.parametrize("path", ["/", "/auth/profile", "/auth", "/callback/"])
def test_body_of_the_request_is_left_to_the_app(path: str) -> None:
    harness = make_site(answer())
    request = environ(
        "POST",
        path,
        headers={"Cookie": expired(harness), "Content-Type": "application/json"},
    )
    request |= {"CONTENT_LENGTH": "5", "wsgi.input": Untouchable()}

    assert run(harness.middleware, request).body == b"the app"


@pytest.mark.parametrize(
    ("method", "status"),
    [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")],
)
def test_response_without_a_body_has_the_headers_and_no_body(
    method: str, status: str
) -> None:
    headers = [] if status[0] != "2" or status.startswith("204") else [TEXT]
    harness = make_site(answer(headers, status, b"" if method == "GET" else b"body"))
    request = {**navigation(expired(harness)), "REQUEST_METHOD": method}
    response = run(harness.middleware, request)

    assert response.body == b""
    assert f"{response.status} {response.reason}" == status
    assert cookie_names(response) == ["wos-session"]
    assert response.header("Cache-Control") == CACHE_CONTROL


# The two keys


def keys_seen(harness: Harness, request: WSGIEnvironment) -> tuple[Any, Any]:
    run(harness.middleware, request)
    return request["authkit.session"], request["authkit"]


@pytest.mark.parametrize(
    "path",
    ["/", "/auth/sign-in", "/auth/sign-up", "/auth/sign-out", "/callback"],
)
def test_keys_are_set_over_outer_values(harness: Harness, path: str) -> None:
    """An outer middleware, or a hostile server, must not pass for a session."""
    outer = {"authkit.session": "somebody", "authkit": "something"}
    session, auth = keys_seen(harness, {**environ(path=path), **outer})

    assert isinstance(session, AnonymousSession)
    assert isinstance(auth, Auth)
    assert auth.session is session


def test_keys_of_a_signed_in_request_are_a_session_and_its_handle(
    harness: Harness,
) -> None:
    harness.sign_in()
    session, auth = keys_seen(harness, navigation(cookie_of(harness)))

    assert isinstance(session, Session)
    assert isinstance(auth, Auth)
    assert auth.session is session
    assert session.user.email == "ada@example.com"


def test_hooks_find_the_keys_in_their_environ() -> None:
    found: list[object] = []

    def on_error(error: AuthKitError, environ: WSGIEnvironment) -> None:
        found.extend((environ["authkit.session"], environ["authkit"]))

    harness = make_site(on_error=on_error)
    harness.client.get("/callback?error=access_denied")

    assert [type(value) for value in found] == [AnonymousSession, Auth]


def test_environ_can_be_printed_without_secrets(harness: Harness) -> None:
    """Debuggers, crash reports and access logs print it."""
    harness.sign_in()
    session, auth = keys_seen(harness, navigation(cookie_of(harness)))
    shown = f"{session!r} {auth!r} {session!s} {auth!s}"

    assert session.access_token not in shown
    assert "ada@example.com" not in shown
    assert PASSWORD not in shown
    assert session.session_id in shown


# The session of each request


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a request gets; ``set_cookie`` is one of nothing, ``new``, ``deleted``."""

    signed_in: bool = False
    status: str = "anonymous"
    reason: str | None = None
    set_cookie: str | None = None
    private: bool = True


ACTIVE: Final = Expected(signed_in=True, status="active")


def no_cookie(harness: Harness) -> str:
    return ""


def other_cookies_only(harness: Harness) -> str:
    return "theme=dark; session=wos; wos-auth-verifier-00000000=x"


def damaged(harness: Harness) -> str:
    harness.sign_in()
    cookie = cookie_of(harness)
    middle = len(cookie) // 2
    return (
        cookie[:middle] + ("A" if cookie[middle] != "A" else "B") + cookie[middle + 1 :]
    )


def valid(harness: Harness) -> str:
    harness.sign_in()
    return cookie_of(harness)


def valid_and_workos_down(harness: Harness) -> str:
    cookie = valid(harness)
    harness.workos.down()
    return cookie


def expiring(harness: Harness) -> str:
    return expired(harness, EXPIRING)


def expiring_and_workos_down(harness: Harness) -> str:
    cookie = expiring(harness)
    harness.workos.down()
    return cookie


def expired_and_workos_down(harness: Harness) -> str:
    cookie = expired(harness)
    harness.workos.down()
    return cookie


def expired_and_wrong_api_key(harness: Harness) -> str:
    cookie = expired(harness)
    harness.workos.settings.api_key = "sk_test_another"
    return cookie


def rejected(harness: Harness) -> str:
    harness.sign_in()
    harness.workos.revoke_session(harness.who()["session_id"])
    harness.clock.advance(EXPIRED)
    return cookie_of(harness)


def ended(harness: Harness) -> str:
    """A racing response can bring the cookie of an ended session back."""
    cookie = valid(harness)
    harness.client.post("/auth/sign-out", form={})
    return cookie


STATES: Final = [
    pytest.param(no_cookie, Expected(reason="no_cookie", private=False)),
    pytest.param(other_cookies_only, Expected(reason="no_cookie", private=False)),
    pytest.param(damaged, Expected(reason="invalid_cookie")),
    pytest.param(valid, ACTIVE),
    pytest.param(valid_and_workos_down, ACTIVE),
    pytest.param(expiring, Expected(signed_in=True, status="active", set_cookie="new")),
    pytest.param(expiring_and_workos_down, ACTIVE),
    pytest.param(expired, Expected(signed_in=True, status="active", set_cookie="new")),
    pytest.param(
        expired_and_workos_down, Expected(status="unavailable", reason="unavailable")
    ),
    pytest.param(
        expired_and_wrong_api_key, Expected(status="unavailable", reason="unavailable")
    ),
]


def check(response: Response, expected: Expected) -> None:
    session = response.json()
    assert response.status == 200
    assert (session["user"] == "ada@example.com") is expected.signed_in
    assert (session["status"], session["reason"]) == (expected.status, expected.reason)
    assert set_cookie_kind(response) == expected.set_cookie
    assert (response.header("Cache-Control") == CACHE_CONTROL) is expected.private
    assert (response.header("Vary") == "Cookie") is expected.private


def set_cookie_kind(response: Response) -> str | None:
    if not response.set_cookies:
        return None
    (cookie,) = response.set_cookies
    assert cookie.startswith("wos-session=")
    return "deleted" if cookie.startswith("wos-session=; ") else "new"


@pytest.mark.parametrize("fetch", [False, True])
@pytest.mark.parametrize(
    ("state", "expected"), STATES, ids=lambda value: getattr(value, "__name__", "")
)
def test_request_gets_the_session_of_its_cookie(
    harness: Harness,
    state: Callable[[Harness], str],
    expected: Expected,
    *,
    fetch: bool,
) -> None:
    cookie = state(harness)
    response = harness.new_client().get("/", fetch=fetch, headers={"Cookie": cookie})

    check(response, expected)


@pytest.mark.parametrize(
    ("state", "reason"), [(rejected, "refresh_rejected"), (ended, "revoked")]
)
@pytest.mark.parametrize(
    ("request_options", "set_cookie"),
    [
        pytest.param({}, "deleted", id="navigation"),
        pytest.param({"fetch": True}, None, id="fetch"),
        pytest.param({"navigate": False}, None, id="program"),
        pytest.param({"headers": {"Sec-Purpose": "prefetch"}}, None, id="prefetch"),
    ],
)
def test_session_that_is_over_is_deleted_by_a_navigation_only(
    harness: Harness,
    state: Callable[[Harness], str],
    reason: str,
    request_options: dict[str, Any],
    set_cookie: str | None,
) -> None:
    """The late answer of a script could delete the cookie of a new sign-in."""
    headers = {**request_options.get("headers", {}), "Cookie": state(harness)}
    options = {**request_options, "headers": headers}
    response = harness.new_client().get("/", **options)

    check(response, Expected(reason=reason, set_cookie=set_cookie))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("garbage", id="word"),
        pytest.param("", id="empty"),
        pytest.param("Fe26.2**", id="prefix"),
        pytest.param("\xff\xfe\x80", id="not UTF-8"),
        pytest.param("%00%ff", id="encoded"),
        pytest.param('"', id="quote"),
        pytest.param("A" * 65536, id="64 KiB"),
        pytest.param("Fe26.2*1*" + "a" * 65536, id="64 KiB of prefix"),
    ],
)
def test_junk_in_the_cookie_is_anonymous_and_not_cached(
    harness: Harness, value: str
) -> None:
    response = run(harness.middleware, navigation(f"wos-session={value}"))

    assert response.status == 200
    assert response.json()["user"] is None
    assert response.set_cookies == []
    assert response.header("Cache-Control") == CACHE_CONTROL


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("wos-session=garbage; {}", id="bad one before"),
        pytest.param("{}; wos-session=garbage", id="bad one after"),
        pytest.param('prefs={{"a":1}}; {}', id="JSON before"),
        pytest.param("\xff=\xfe; {}; =; ;;", id="bytes and empty pairs"),
        pytest.param('q="a; {}', id="open quote before"),
        pytest.param("$Version=1; {}", id="RFC 2109"),
    ],
)
def test_good_cookie_is_found_among_others(harness: Harness, header: str) -> None:
    harness.sign_in()
    response = run(harness.middleware, navigation(header.format(cookie_of(harness))))

    assert response.json()["user"] == "ada@example.com"


# Cache headers


def headers_behind(
    harness: Harness, headers: list[tuple[str, str]], cookie: str
) -> Response:
    """Return the response to a person with a cookie, of an app with some headers."""
    middleware = harness.new_middleware(checked(answer(headers)))
    return run(middleware, navigation(cookie) if cookie else environ())


def test_cache_headers_of_the_app_are_replaced(harness: Harness) -> None:
    headers = [
        TEXT,
        ("cache-control", "max-age=60"),
        ("Cache-Control", "public"),
        ("PRAGMA", "cache"),
        ("Expires", "Thu, 01 Jan 2037 00:00:00 GMT"),
        ("ETag", '"1"'),
    ]
    response = headers_behind(harness, headers, valid(harness))

    assert response.headers == [
        TEXT,
        ("ETag", '"1"'),
        ("Cache-Control", CACHE_CONTROL),
        ("Pragma", "no-cache"),
        ("Expires", "0"),
        ("Vary", "Cookie"),
    ]


@pytest.mark.parametrize(
    ("vary", "merged"),
    [
        pytest.param([], "Cookie", id="none"),
        pytest.param(["Accept"], "Accept, Cookie", id="another"),
        pytest.param(["Accept", "Origin"], "Accept, Origin, Cookie", id="two headers"),
        pytest.param(["Accept,Origin"], "Accept, Origin, Cookie", id="a list"),
        pytest.param(["cookie"], "cookie", id="lower case"),
        pytest.param(["Accept, COOKIE"], "Accept, COOKIE", id="upper case in a list"),
        pytest.param(["*"], "*", id="star"),
        pytest.param(["Accept", "*"], "Accept, *", id="star in the second"),
        pytest.param(["X-Cookie"], "X-Cookie, Cookie", id="a longer name"),
        pytest.param(["", " , "], "Cookie", id="empty"),
    ],
)
def test_vary_is_merged(harness: Harness, vary: list[str], merged: str) -> None:
    headers = [TEXT, *(("vaRy", value) for value in vary)]

    assert headers_behind(harness, headers, valid(harness)).header("Vary") == merged


def test_response_without_context_is_untouched(harness: Harness) -> None:
    headers = [TEXT, ("Cache-Control", "public, max-age=60"), ("vary", "Accept")]

    assert headers_behind(harness, headers, "").headers == headers
    assert headers_behind(harness, headers, "theme=dark").headers == headers


def test_response_to_an_authorization_header_is_private() -> None:
    harness = make_site(answer([TEXT, ("Cache-Control", "public")]))
    request = environ(headers={"Authorization": "Bearer somebody"})
    response = run(harness.middleware, request)

    assert response.header("Cache-Control") == CACHE_CONTROL
    assert response.header("Vary") == "Cookie"


def test_public_response_to_somebody_signed_in_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = make_site(answer([TEXT, ("Cache-Control", "Public, max-age=60")]))
    harness.sign_in()
    for _ in range(3):
        harness.client.get("/")

    assert [r.levelname for r in caplog.records if "shared caches" in r.message] == [
        "WARNING"
    ]


def test_cache_headers_without_public_are_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = make_site(answer([TEXT, ("Cache-Control", "private, max-age=60")]))
    harness.sign_in()
    harness.client.get("/")

    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


# Configuration


def test_config_may_be_a_callable_called_at_the_first_request() -> None:
    calls: list[int] = []

    def config() -> AuthKitConfig:
        calls.append(1)
        return make_config(cookie_name="late")

    middleware = AuthKitMiddleware(checked(show_session), config)
    assert calls == []
    for _ in range(3):
        run(middleware, environ())

    assert calls == [1]
    assert middleware.service.config.cookie_name == "late"


def test_config_is_called_once_by_two_threads() -> None:
    both_inside = threading.Barrier(2)
    calls: list[int] = []

    def config() -> AuthKitConfig:
        calls.append(1)
        with contextlib.suppress(threading.BrokenBarrierError):
            both_inside.wait(timeout=0.3)  # in vain: the other one waits outside
        return make_config()

    middleware = AuthKitMiddleware(checked(show_session), config)
    responses = in_threads(2, lambda: run(middleware, environ()))

    assert [response.status for response in responses] == [200, 200]
    assert calls == [1]


def in_threads(count: int, task: Callable[[], Response]) -> list[Response]:
    """Run ``task`` in threads that meet at a barrier first."""
    barrier = threading.Barrier(count)
    results: list[Response] = []

    def work() -> None:
        barrier.wait(timeout=10)
        results.append(task())

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return results


def test_callable_config_that_fails_says_so_and_is_asked_again() -> None:
    settings = iter([{"client_id": ""}, {}])
    middleware = AuthKitMiddleware(
        checked(show_session), lambda: make_config(**next(settings))
    )
    with pytest.raises(ConfigurationError, match="client_id"):
        run(middleware, environ())

    assert run(middleware, environ()).status == 200


def test_callable_config_that_returns_something_else_says_so() -> None:
    made: Any = lambda: {"client_id": "client_test"}  # noqa: E731
    middleware = AuthKitMiddleware(show_session, made)
    with pytest.raises(ConfigurationError, match="and returned dict"):
        run(middleware, environ())


def test_callable_config_is_checked_like_an_object() -> None:
    middleware = AuthKitMiddleware(
        checked(show_session), lambda: make_config(redirect_uri="http://localhost/")
    )

    with pytest.raises(ConfigurationError, match="no path"):
        run(middleware, environ())


def set_environ(**values: str) -> None:
    os.environ.update(
        {
            "WORKOS_CLIENT_ID": "client_environ",
            "WORKOS_API_KEY": "sk_environ",
            "WORKOS_REDIRECT_URI": "http://localhost:8000/from-environ",
            "WORKOS_COOKIE_PASSWORD": PASSWORD,
            **values,
        }
    )


def test_environment_is_read_at_construction() -> None:
    set_environ(WORKOS_COOKIE_NAME="before")
    middleware = AuthKitMiddleware(show_session)
    os.environ["WORKOS_COOKIE_NAME"] = "after"

    assert middleware.service.config.client_id == "client_environ"
    assert middleware.service.config.cookie_name == "before"


def test_cookie_settings_of_the_environment_reach_the_cookie() -> None:
    set_environ(
        WORKOS_REDIRECT_URI="https://app.example.com/callback",
        WORKOS_COOKIE_MAX_AGE="600",
        WORKOS_COOKIE_DOMAIN="example.com",
        WORKOS_COOKIE_NAME="my-auth-cookie",
        WORKOS_COOKIE_SAMESITE="none",
        WORKOS_API_HOSTNAME="workos.example.com",
        WORKOS_API_PORT="8443",
    )
    clock = Clock()
    workos = FakeWorkOS(
        client_id="client_environ",
        api_key="sk_environ",
        base_url="https://workos.example.com:8443",
        clock=clock,
    )
    middleware = AuthKitMiddleware(
        checked(show_session), http=workos.session(), clock=clock
    )
    client = Client(middleware, base="https://app.example.com", clock=clock)
    to_workos = client.get("/auth/sign-in").header("Location") or ""
    back = workos.authorize(to_workos, workos.add_user("ada@example.com"))
    finished = client.get(path_of(back), cross_site=True)

    assert to_workos.startswith("https://workos.example.com:8443/user_management/")
    [cookie] = [c for c in finished.set_cookies if c.startswith("my-auth-cookie=Fe26")]
    assert cookie.partition("; ")[2] == (
        "Path=/; Domain=example.com; Max-Age=600; HttpOnly; Secure; SameSite=None"
    )
    assert client.get("/").json()["user"] == "ada@example.com"
    clock.advance(600)
    assert client.get("/").json()["reason"] == "no_cookie"


def test_config_object_is_not_mixed_with_the_environment() -> None:
    set_environ(WORKOS_COOKIE_NAME="environ")
    middleware = AuthKitMiddleware(show_session, make_config())

    assert middleware.service.config == make_config()


def test_redirect_uri_wins_over_the_environment() -> None:
    set_environ()
    middleware = AuthKitMiddleware(
        checked(show_session), redirect_uri="http://localhost:8000/mine"
    )

    assert middleware.service.config.redirect_uri == "http://localhost:8000/mine"
    assert run(middleware, environ(path="/mine")).status == 400
    assert run(middleware, environ(path="/from-environ")).status == 200


def test_redirect_uri_replaces_the_setting_of_the_environment() -> None:
    set_environ()
    del os.environ["WORKOS_REDIRECT_URI"]
    middleware = AuthKitMiddleware(show_session, redirect_uri=REDIRECT_URI)

    assert middleware.service.config.redirect_uri == REDIRECT_URI


@pytest.mark.parametrize("as_callable", [False, True])
def test_redirect_uri_wins_over_the_config(*, as_callable: bool) -> None:
    config = make_config()
    middleware = AuthKitMiddleware(
        checked(show_session),
        (lambda: config) if as_callable else config,
        redirect_uri="https://app.example.com/mine",
    )
    start = run(middleware, environ(path="/auth/sign-in"))
    query = parse_qs(urlsplit(start.header("Location") or "").query)

    assert query["redirect_uri"] == ["https://app.example.com/mine"]
    assert "; Secure" in start.set_cookies[0]
    assert config.redirect_uri == REDIRECT_URI


def test_app_and_config_are_checked() -> None:
    neither: Any = {"client_id": "client_123"}

    with pytest.raises(ConfigurationError) as raised:
        AuthKitMiddleware(neither, neither)

    assert [problem.split()[0] for problem in raised.value.problems] == [
        "app",
        "config",
    ]


def test_every_problem_is_in_one_error() -> None:
    set_environ(WORKOS_COOKIE_PASSWORD="short", WORKOS_API_PORT="many")
    del os.environ["WORKOS_CLIENT_ID"]
    wrong: dict[str, Any] = {
        "redirect_uri": "ftp://localhost/callback",
        "base_url": "app.example.com",
        "return_pathname": "//evil.example",
        "mount": "auth/",
        "require_auth": "yes",
        "public_paths": ["about"],
        "protected_paths": "/admin",
        "exclude_paths": ["/static//:path*"],
        "sign_up_paths": 5,
        "api_paths": ["/api/*"],
        "challenge_401": 1,
        "sign_out_return_to": "elsewhere",
        "allowed_return_urls": ["/path"],
        "on_success": "a name",
        "on_error": 5,
        "refresh_buffer": -1,
        "store": "redys://localhost",
        "session_storage": "disk",
        "clock": 5,
        "http": "a proxy",
    }

    with pytest.raises(ConfigurationError) as raised:
        AuthKitMiddleware(show_session, **wrong)

    settings = ["client_id", "cookie_password", "api_port"]
    named = [problem.split()[0] for problem in raised.value.problems]
    assert sorted(named) == sorted([*wrong, *settings])
    assert "short" not in str(raised.value)


@pytest.mark.parametrize("uri", ["http://localhost:8000", "http://localhost:8000/"])
def test_home_page_as_the_callback_is_refused(uri: str) -> None:
    config = make_config(redirect_uri=uri)

    with pytest.raises(ConfigurationError, match=r"WORKOS_REDIRECT_URI.*no path"):
        AuthKitMiddleware(show_session, config)


def test_endpoint_as_the_callback_is_refused() -> None:
    """Who came back from WorkOS would be sent there again, for ever."""
    config = make_config(redirect_uri="http://localhost:8000/login/sign-in")

    with pytest.raises(ConfigurationError, match="endpoints below mount"):
        AuthKitMiddleware(show_session, config, mount="/login")


def test_public_paths_that_open_nothing_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who wrote them took the rest of the app for protected."""
    make_site(public_paths=["/"])
    assert "require_auth=True" in caplog.text

    caplog.clear()
    make_site(public_paths=["/"], require_auth=True)
    make_site(protected_paths=["/"])
    assert not caplog.text


def test_http_off_this_machine_needs_allow_insecure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    set_environ()
    uri = "http://app.example.com/callback"
    with pytest.raises(ConfigurationError, match="allow_insecure"):
        AuthKitMiddleware(show_session, redirect_uri=uri)
    AuthKitMiddleware(show_session, redirect_uri=uri, allow_insecure=True)

    assert "allow_insecure is on" in caplog.text


# Nothing at construction, fork, threads


def python(script: str) -> Any:
    """Run a script in a process of its own and return the JSON it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CONSTRUCTION: Final = f"""
import json, sys, threading

made = []
for name in ("Lock", "RLock", "Condition", "Event", "Semaphore"):
    def make(*args, _make=getattr(threading, name), _name=name, **kwargs):
        made.append(_name)
        return _make(*args, **kwargs)
    setattr(threading, name, make)

from wsgi_authkit import AuthKitMiddleware, AuthKitConfig

made.clear()
watched = ("open", "socket", "os.", "_thread", "sqlite3", "subprocess")

def watch(event, args):
    is_import = event == "open" and str(args[0]).endswith((".py", ".pyc"))
    if event.startswith(watched) and not is_import:
        made.append(event)

sys.addaudithook(watch)
settings = dict(client_id="client_test", api_key="sk", cookie_password={PASSWORD!r},
                redirect_uri={REDIRECT_URI!r})
AuthKitMiddleware(lambda e, s: [], AuthKitConfig(**settings))
AuthKitMiddleware(lambda e, s: [], lambda: AuthKitConfig(**settings))
events = list(made)
heavy = ("requests", "urllib3", "webob", "redis", "sqlite3", "flask")
print(json.dumps({{
    "events": events,
    "modules": [name for name in heavy if name in sys.modules],
    "threads": threading.active_count(),
}}))
"""


def test_construction_makes_no_thread_lock_socket_or_file() -> None:
    assert python(CONSTRUCTION) == {"events": [], "modules": [], "threads": 1}


FORK: Final = """
import json, os, threading
from requests.adapters import BaseAdapter
from tests.gateway import run
from tests.harness import Harness
from tests.sites import EXPIRED, cookie_of, navigation

class Gate(BaseAdapter):
    '''Holds every call to WorkOS while it is closed.'''
    def __init__(self, adapter):
        super().__init__()
        self.adapter = adapter
        self.open, self.waiting = threading.Event(), threading.Event()
    def send(self, *args, **kwargs):
        self.waiting.set()
        self.open.wait(20)
        return self.adapter.send(*args, **kwargs)
    def close(self):
        self.adapter.close()

def in_child(task):
    '''Return what the task returns in a forked process.'''
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writer, json.dumps(task()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    return json.loads(os.read(reader, 65536) or b'"the child died"')

harness = Harness(options={"store": "memory:"})
result = {}

def who():
    return run(harness.middleware, navigation(cookie_of(harness))).json()["user"]

early = harness.new_middleware()
result["after construction"] = in_child(
    lambda: run(early, navigation("")).json()["reason"])

harness.sign_in()
api = harness.middleware.api
result["after use"] = in_child(who)
result["own state"] = in_child(lambda: harness.middleware.api is not api)
result["parent keeps its state"] = harness.middleware.api is api

base = harness.workos.base_url + "/"
session = harness.middleware.api._transport._http
gate = Gate(session.get_adapter(base))
session.mount(base, gate)
harness.clock.advance(EXPIRED)
parent = []
thread = threading.Thread(target=lambda: parent.append(who()))
thread.start()
gate.waiting.wait(20)

def child():
    session.mount(base, gate.adapter)
    return who()

result["in the middle of a refresh"] = in_child(child)
gate.open.set()
thread.join(20)
result["parent"] = parent
print(json.dumps(result))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_forked_process_makes_its_own_state() -> None:
    """Locks that are held at a fork stay held in the child, for ever."""
    ada = "ada@example.com"
    assert python(FORK) == {
        "after construction": "no_cookie",
        "after use": ada,
        "own state": True,
        "parent keeps its state": True,
        "in the middle of a refresh": ada,
        "parent": [ada],
    }


def test_two_middlewares_share_nothing() -> None:
    first, second = make_site(), make_site(settings={"cookie_name": "another"})
    first.sign_in()
    second.sign_in()

    assert first.middleware.api is not second.middleware.api
    assert first.who()["user"] == second.who()["user"] == "ada@example.com"
    assert first.client.jar.get("another") is None


def test_hundred_parallel_requests_make_one_refresh() -> None:
    harness = make_site()
    harness.workos.settings.refresh_grace = 0
    harness.sign_in()
    for number in range(1, 4):
        harness.clock.advance(EXPIRED)
        cookie = cookie_of(harness)
        responses = in_threads(
            100, partial(lambda sent: run(harness.middleware, navigation(sent)), cookie)
        )

        assert {response.status for response in responses} == {200}
        assert [r.json()["user"] for r in responses] == ["ada@example.com"] * 100
        assert harness.workos.count("refresh") == number
        written = {tuple(response.set_cookies) for response in responses}
        assert len(written) == 1
        (cookies,) = written
        harness.client.jar.store("http://localhost:8000/", cookies[0])


# Which paths are ours


@pytest.mark.parametrize(
    "path",
    [
        "/auth",
        "/auth/",
        "/auth/profile",
        "/auth/sign-in/",
        "/auth/sign-in/x",
        "/auth//sign-in",
        "/auth/sign-inn",
        "/auth/Sign-In",
        "/AUTH/sign-in",
        "/auth/sign-in;x",
        "/auth/sign-in\x00",
        "/auth/sign-in?",
        "/auth/./sign-in",
        "/authx/sign-in",
        "//auth/sign-in",
        "/x/auth/sign-in",
        "/sign-in",
        "/callback/",
        "/callback/x",
        "/callbackx",
        "/Callback",
        "//callback",
        "/x/callback",
        "",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_paths_are_the_apps(method: str, path: str) -> None:
    harness = make_site(answer())
    request = environ(method, path, script_name="" if path else "/site")

    assert run(harness.middleware, request).body == b"the app"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/login/sign-in", 302),
        ("/login/sign-up", 302),
        ("/login/sign-out", 200),
        ("/callback", 400),
    ],
)
def test_endpoints_answer_below_mount(path: str, status: int) -> None:
    harness = make_site(answer(), mount="/login")
    response = run(harness.middleware, environ(path=path))

    assert response.status == status
    assert response.body != b"the app"
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert run(harness.middleware, environ(path="/auth/sign-in")).body == b"the app"


def sign_in_under(harness: Harness, client: Client, mounted_at: str) -> Response:
    start = client.get(f"{mounted_at}/auth/sign-in?return_to={mounted_at}/welcome")
    callback = harness.workos.authorize(start.header("Location") or "", harness.ada)
    return client.get(path_of(callback), cross_site=True)


@pytest.mark.parametrize(
    ("mounted_at", "path", "told"),
    [
        pytest.param("/app", "/callback", True, id="without the prefix"),
        pytest.param("/app", "/application/callback", True, id="same beginning"),
        pytest.param("/app", "/app/callback", False, id="with the prefix"),
        pytest.param("", "/callback", False, id="not mounted"),
        pytest.param("/app", "/app", False, id="the mount point"),
        pytest.param("/b\u00fcro", "/b%C3%BCro/callback", False, id="encoded"),
    ],
)
def test_callback_that_leads_past_the_mount_point_is_told_once(
    caplog: pytest.LogCaptureFixture, mounted_at: str, path: str, told: bool
) -> None:
    """Its 404 comes from another app, and nothing here would say why."""
    uri = f"http://localhost:8000{path}"
    harness = Harness(config=make_config(redirect_uri=uri))
    client = Client(harness.middleware, script_name=mounted_at, clock=harness.clock)
    starts = [client.get(f"{mounted_at}/auth/sign-in") for _ in range(2)]

    assert [start.status for start in starts] == [302, 302]
    assert caplog.text.count("may lead elsewhere") == told


def test_mounted_app_signs_in() -> None:
    """The redirect URI's path includes the prefix, ``PATH_INFO`` does not."""
    uri = "http://localhost:8000/app/callback"
    harness = make_site(settings={"redirect_uri": uri})
    client = Client(harness.middleware, script_name="/app", clock=harness.clock)

    finished = sign_in_under(harness, client, "/app")

    assert finished.header("Location") == "/app/welcome"
    assert client.get("/app/").json()["user"] == "ada@example.com"


def test_callback_is_found_behind_a_proxy_that_strips_the_prefix() -> None:
    uri = "http://localhost:8000/app/callback"
    harness = make_site(settings={"redirect_uri": uri})
    request = environ(path="/callback", script_name="/app")

    assert run(harness.middleware, request).status == 400


def test_callback_is_found_by_its_path_alone() -> None:
    harness = make_site(answer())

    found = run(harness.middleware, environ(path="/callback", script_name="/app"))
    other = run(harness.middleware, environ(path="/app/callback"))

    assert found.status == 400
    assert other.body == b"the app"


def test_percent_encoded_callback_is_found() -> None:
    uri = "http://localhost:8000/zur%C3%BCck/zu%20uns%FF"
    harness = make_site(settings={"redirect_uri": uri})

    assert harness.sign_in().header("Location") == "/"
    assert harness.who()["user"] == "ada@example.com"


def test_mount_point_outside_ascii_signs_in() -> None:
    uri = "http://localhost:8000/b%C3%BCro/callback"
    harness = make_site(settings={"redirect_uri": uri})
    client = Client(harness.middleware, script_name="/büro", clock=harness.clock)

    finished = sign_in_under(harness, client, "/b%C3%BCro")

    assert finished.header("Location") == "/b%C3%BCro/welcome"
    assert client.get("/b%C3%BCro/").json()["user"] == "ada@example.com"


def test_method_is_that_of_the_request_line(harness: Harness) -> None:
    """An override header must not turn a link into a sign-out."""
    harness.sign_in()
    headers: dict[str, str | None] = {
        "X-HTTP-Method-Override": "POST",
        "X-HTTP-Method": "POST",
        "Sec-Fetch-Site": "same-origin",
    }
    response = harness.client.get("/auth/sign-out?_method=POST", headers=headers)

    assert response.set_cookies == []
    assert harness.who()["user"] == "ada@example.com"


# Hostile and poor environs


def without(request: WSGIEnvironment, *keys: str) -> WSGIEnvironment:
    return {key: value for key, value in request.items() if key not in keys}


@pytest.mark.filterwarnings("ignore:QUERY_STRING")
@pytest.mark.parametrize("path", ["/", "/auth/sign-in", "/auth/sign-out", "/callback"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_keys_that_a_server_may_leave_out_are_not_needed(
    harness: Harness, method: str, path: str
) -> None:
    optional = (
        *("QUERY_STRING", "REMOTE_ADDR", "HTTP_HOST"),
        *("CONTENT_TYPE", "CONTENT_LENGTH", "wsgi.file_wrapper"),
    )
    response = run(
        middleware_for_head(harness), without(environ(method, path), *optional)
    )

    assert response.status < 500


def middleware_for_head(harness: Harness) -> AuthKitMiddleware:
    return harness.new_middleware(checked(answer()))


@pytest.mark.parametrize("cookie", ["", "wos-session=garbage"])
def test_empty_keys_may_be_missing(cookie: str) -> None:
    """PEP 3333 allows it; ``wsgiref.validate`` cannot do without them."""
    harness, server = Harness(app=answer()), Server()
    request = without(navigation(cookie), "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING")

    assert list(harness.middleware(request, server)) == [b"the app"]
    assert request["authkit"].sign_in_url() == "/auth/sign-in"


def test_refresh_without_an_address_works(harness: Harness) -> None:
    request = without(navigation(expired(harness)), "REMOTE_ADDR")

    assert run(harness.middleware, request).json()["user"] == "ada@example.com"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("PATH_INFO", "/\xff\xfe", id="path not UTF-8"),
        pytest.param("PATH_INFO", "/auth/\xff", id="path below mount not UTF-8"),
        pytest.param("PATH_INFO", "/\x00\r\n", id="path with control characters"),
        pytest.param("QUERY_STRING", "\xff&&==&%zz", id="query"),
        pytest.param("HTTP_COOKIE", "\xff\xfe=\x80; wos-session=\xff", id="cookie"),
        pytest.param("HTTP_ACCEPT", "text/html;q=\xff, ,,;", id="accept"),
        pytest.param("HTTP_USER_AGENT", "\xff" * 5000, id="user agent"),
        pytest.param("REMOTE_ADDR", "", id="no address"),
        pytest.param("HTTP_HOST", "evil.example\xff", id="host"),
        pytest.param("HTTP_SEC_FETCH_MODE", "\xff", id="fetch mode"),
        pytest.param("SCRIPT_NAME", "/\xff", id="mount not UTF-8"),
    ],
)
def test_hostile_bytes_are_no_error(harness: Harness, key: str, value: str) -> None:
    harness.sign_in()
    request = {**navigation(cookie_of(harness)), key: value}

    assert run(harness.middleware, request).status == 200


@pytest.mark.parametrize(
    "path", ["/auth/sign-in", "/auth/sign-up", "/auth/sign-out", "/callback"]
)
@pytest.mark.parametrize(
    "query",
    [
        "return_to=%ff",
        "return_to=\xff",
        "return_to=\u0430",
        "request=%ff&code=%ff&state=%ff",
        "code=1&code=2&state=3",
        "&".join(f"a{n}=1" for n in range(200)),
        "x" * 20000,
    ],
    ids=["encoded", "raw", "not latin-1", "in each", "twice", "many", "long"],
)
def test_hostile_query_to_an_endpoint_is_no_error(
    harness: Harness, path: str, query: str
) -> None:
    response = run(harness.middleware, environ(path=path, QUERY_STRING=query))

    assert response.status < 500


@pytest.mark.parametrize("key", ["PATH_INFO", "QUERY_STRING", "SCRIPT_NAME"])
def test_text_that_a_server_has_decoded_is_no_error(key: str) -> None:
    """PEP 3333 has bytes in disguise there, and not every server keeps to it."""
    site = make_site(require_auth=True)
    request = {**navigation(), key: "/\u0430"}

    assert run(site.middleware, request).status == 302


def test_host_of_the_request_is_not_believed(harness: Harness) -> None:
    """Whoever writes ``Host`` would write the links of other people (CWE-601)."""
    lies = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "host=evil.example;proto=https",
        "X-Original-URL": "/callback",
    }
    start = run(harness.middleware, environ(path="/auth/sign-in", headers=lies))
    query = parse_qs(urlsplit(start.header("Location") or "").query)

    assert query["redirect_uri"] == [REDIRECT_URI]
    assert "evil" not in str(start.headers)
    assert "Secure" not in start.set_cookies[0]


# Logging


@pytest.fixture
def package_logger() -> Iterator[logging.Logger]:
    """The package's logger, left as it was."""
    logger = logging.getLogger("wsgi_authkit")
    level, handlers = logger.level, list(logger.handlers)
    yield logger
    logger.setLevel(level)
    logger.handlers[:] = handlers


def test_logging_is_left_alone(package_logger: logging.Logger) -> None:
    level, handlers = package_logger.level, list(package_logger.handlers)
    make_site().sign_in()

    assert (package_logger.level, package_logger.handlers) == (level, handlers)


def test_debug_logs_each_decision_and_no_secret(
    package_logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    harness = make_site(debug=True)
    start = harness.client.get("/auth/sign-in?login_hint=ada%40example.com")
    location = start.header("Location") or ""
    callback = harness.workos.authorize(location, harness.ada)
    harness.client.get(path_of(callback), cross_site=True)
    first = harness.middleware.service.get_session(cookie_of(harness))
    cookies = [cookie_of(harness)]
    harness.clock.advance(EXPIRED)
    harness.who()
    second = harness.middleware.service.get_session(cookie_of(harness))
    cookies.append(cookie_of(harness))
    harness.workos.down()
    harness.clock.advance(EXPIRED)
    harness.who()
    harness.client.get(
        "/?secret_query=canary", headers={"Authorization": "Bearer canary"}
    )
    harness.client.post("/auth/sign-out", form={})
    assert isinstance(first, Session)
    assert isinstance(second, Session)

    for decision in ("/auth/sign-in", "/callback", "1 cookies", "'unavailable'"):
        assert decision in caplog.text
    query = parse_qs(urlsplit(callback).query)
    secrets = [
        *(cookie.partition("=")[2] for cookie in cookies),
        *(session.access_token for session in (first, second)),
        *(session._payload.refresh_token for session in (first, second)),
        *(query["code"] + query["state"]),
        *(PASSWORD, "sk_test_fake", "ada@example.com", "canary"),
    ]
    assert [secret for secret in secrets if secret in caplog.text] == []


DEBUG: Final = """
import json, logging, sys
from tests.gateway import environ, run
from tests.harness import Harness
{before}
harness = Harness(options={{"debug": True}})
run(harness.middleware, environ())
handlers = [type(h).__name__ for h in logging.getLogger("wsgi_authkit").handlers]
print(json.dumps([handlers, logging.getLogger("urllib3").level,
                  len(logging.getLogger().handlers)]))
"""


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param("", [["NullHandler", "StreamHandler"], 0, 0], id="nobody logs"),
        pytest.param(
            "logging.basicConfig(stream=sys.stderr)",
            [["NullHandler"], 0, 1],
            id="the app logs",
        ),
    ],
)
def test_debug_adds_a_handler_only_where_nobody_logs(
    before: str, expected: list[Any]
) -> None:
    assert python(DEBUG.format(before=before)) == expected


# Without a request


@pytest.mark.parametrize(
    ("url", "settings", "secure"),
    [
        ("https://app.example.com/", {}, True),
        ("HTTPS://app.example.com", {}, True),
        ("http://localhost:8000/", {}, False),
        ("http://app.example.com/any", {}, False),
        ("http://localhost/", {"cookie_same_site": "none"}, True),
    ],
)
def test_saved_session_is_secure_by_the_scheme_of_the_url(
    url: str, settings: dict[str, Any], *, secure: bool
) -> None:
    harness = make_site(settings=settings)
    headers = harness.middleware.save_session(
        harness.workos.create_session(harness.ada), url
    )

    assert {name for name, _ in headers} == {"Set-Cookie"}
    assert all(("; Secure" in value) is secure for _, value in headers)


def test_saved_session_signs_in(harness: Harness) -> None:
    value = harness.workos.create_session(harness.ada)
    for _, cookie in harness.middleware.save_session(value, REDIRECT_URI):
        harness.client.jar.store(REDIRECT_URI, cookie)

    assert harness.who()["user"] == "ada@example.com"


def test_session_of_another_user_than_the_tokens_is_not_saved(harness: Harness) -> None:
    eve = harness.workos.add_user("eve@example.com")
    value = harness.workos.create_session(eve)
    value["user"] = harness.workos.create_session(harness.ada)["user"]

    with pytest.raises(InvalidToken):
        harness.middleware.save_session(value, REDIRECT_URI)


@pytest.mark.parametrize("as_callable", [False, True])
def test_service_and_api_are_there_before_the_first_request(
    *, as_callable: bool
) -> None:
    config = make_config()
    middleware = AuthKitMiddleware(
        show_session, (lambda: config) if as_callable else config
    )

    assert isinstance(middleware.service, AuthKitService)
    assert middleware.service is middleware.service
    assert middleware.api is middleware.service.api
    assert middleware.api.jwks_url == "https://api.workos.com/sso/jwks/client_test"


def test_session_storage_may_be_a_factory(harness: Harness) -> None:
    made: list[AuthKitConfig] = []

    def factory(config: AuthKitConfig) -> CookieSessionStorage:
        made.append(config)
        return CookieSessionStorage(config)

    client = harness.new_client(harness.new_middleware(session_storage=factory))
    harness.sign_in(client=client)

    assert made == [harness.config]
    assert harness.who(client)["user"] == "ada@example.com"


def test_refresh_buffer_of_zero_refreshes_after_expiry_only() -> None:
    harness = make_site(refresh_buffer=0)
    run(harness.middleware, navigation(expired(harness, 299)))
    assert harness.workos.count("refresh") == 0
    harness.clock.advance(60)
    run(harness.middleware, navigation(cookie_of(harness)))

    assert harness.workos.count("refresh") == 1


def test_slow_response_does_not_bring_an_older_session_back() -> None:
    """Another request switches the organization while the app of this one works."""
    harness = Harness(options={"store": "memory:"})
    acme = harness.workos.add_organization("Acme")
    harness.workos.add_membership(harness.ada, acme)
    meanwhile: list[Any] = []

    def slow(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        session = environ["authkit.session"]
        if meanwhile:
            service, cookies = meanwhile.pop()
            outcome = service.switch_organization(session, acme.id, cookies=cookies)
            assert outcome.kind == "switched"
        return show_session(environ, start_response)

    middleware = harness.new_middleware(slow)
    client = harness.new_client(middleware)
    harness.sign_in(client=client)
    harness.clock.advance(400)
    meanwhile.append((middleware.service, client.jar.header("http://localhost:8000/")))
    client.get("/")

    brought = middleware.service.get_session(
        client.jar.header("http://localhost:8000/")
    )
    assert brought.organization_id == acme.id
    harness.clock.advance(400)
    assert harness.who(client)["user"] == "ada@example.com"


def test_older_cookie_that_is_still_valid_gives_way_to_the_newer_session() -> None:
    """A response that was overtaken has put it back into the browser."""
    harness = Harness(options={"store": "memory:"})
    acme = harness.workos.add_organization("Acme")
    harness.workos.add_membership(harness.ada, acme)
    harness.sign_in()
    service = harness.middleware.service
    cookies = harness.client.jar.header("http://localhost:8000/")
    session = service.get_session(cookies)
    assert session
    service.switch_organization(session, acme.id, cookies=cookies)

    answer = harness.who()
    assert answer["organization_id"] == acme.id
    assert harness.client.jar.header("http://localhost:8000/") != cookies


# A session that is over, and the browser's cookie


def test_session_that_a_browser_left_unfinished_at_workos_can_be_signed_in_to_again(
    harness: Harness,
) -> None:
    """WorkOS may bring back the session id that was signed out here."""
    harness.workos.extra_claims["sid"] = "session_kept"
    harness.sign_in()
    harness.client.post("/auth/sign-out")
    signed_out = harness.who()["user"]
    harness.sign_in()

    assert signed_out is None
    assert harness.who()["user"] == "ada@example.com"


# What is remembered of paths


def test_callback_of_one_mount_is_a_page_of_another() -> None:
    """The whole address decides, whatever was asked for before."""
    uri = "http://localhost:8000/app/callback"
    site = make_site(settings={"redirect_uri": uri})
    statuses = [
        run(site.middleware, environ("GET", "/callback", script_name=mount)).status
        for mount in ("", "/app", "", "/app")
    ]

    assert statuses == [200, 400, 200, 400]


def test_paths_that_are_remembered_are_bounded() -> None:
    site = make_site()
    for number in range(3000):
        run(site.middleware, environ("GET", f"/{number}"))
    remembered = len(site.middleware._routes)
    run(site.middleware, environ("GET", "/" + "a" * 300))

    assert 0 < remembered <= 1024
    assert len(site.middleware._routes) == remembered


def test_paths_of_a_stranger_do_not_push_out_those_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged: list[str] = []
    judge = AccessRules.judge

    def counted(rules: AccessRules, path: str) -> Access:
        judged.append(path)
        return judge(rules, path)

    monkeypatch.setattr(AccessRules, "judge", counted)
    site = make_site()
    for number in range(3000):
        run(site.middleware, environ("GET", f"/{number}"))
        if number % 300 == 0:
            run(site.middleware, environ("GET", "/home"))

    assert judged.count("/home") == 1


# The quick way and the careful one


def telling(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Do what the request says, and tell what environ says of who makes it."""
    do, status, headers, told = environ["tests.do"]
    auth: Auth = environ["authkit"]
    told += [
        environ["authkit.session"],
        *(environ.get(key) for key in ("REMOTE_USER", "HTTP_REMOTE_USER")),
        environ.get("HTTP_X_WORKOS_SESSION"),
    ]
    if do == "link":
        told.append(auth.sign_out_url())
    elif do == "clear":
        auth.clear_session()
    elif do == "replace":
        start_response("200 OK", [TEXT])
        try:
            fail()
        except LookupError:
            start_response(status, [TEXT, *headers], sys.exc_info())
        return []
    start_response(status, [TEXT, *headers])
    return []


def requests_of(cookie: str) -> Iterator[tuple[Callable[[], WSGIEnvironment], Any]]:
    """Yield made-up requests, and what the app is to do."""
    draw = random.Random(6)
    value = cookie.partition("=")[2]
    cookies = [
        *("", "a=b", cookie, cookie, f"a=b; {cookie}", f"{cookie}; {cookie}; a=b"),
        *("wos-session=", "wos-session=junk", f"wos-session={value[:-5]}AAA~2"),
        *(f"xwos-session={value}", f"wos-session.0=1.{value}", f"{cookie} "),
        *("workos-access-token=a", f'wos-session="{value}"'),
    ]
    odd = {
        "Authorization": "Bearer a",
        "X-WorkOS-Session": "forged",
        "Remote-User": "forged",
        "X-Authkit-Session": "session_of_another",
        "Origin": "https://elsewhere.example",
        "Access-Control-Request-Method": "POST",
    }
    headers: list[list[tuple[str, str]]] = [
        *([], [("Cache-Control", "public")], [("WWW-Authenticate", "Basic")]),
        *([("vary", "Accept")], [("Set-Cookie", "a=b")]),
    ]
    for _ in range(10_000):
        sent = {name: text for name, text in odd.items() if draw.random() < 0.2}
        at = draw.randrange(len(value))
        damaged = f"wos-session={value[:at]}{draw.choice('A*%~')}{value[at + 1 :]}"
        sent["Cookie"] = draw.choice((*cookies, damaged, damaged, damaged))
        sent["Sec-Fetch-Mode"] = "navigate"
        request = partial(
            environ,
            draw.choice(("GET", "GET", "GET", "POST", "HEAD", "OPTIONS")),
            draw.choice(("/", "/static/a", "/account", "/auth/nothing")),
            headers=sent,
            script_name=draw.choice(("", "/app")),
        )
        do = draw.choice(("", "", "link", "clear", "replace"))
        status = draw.choice(("200 OK", "200 OK", "401 Unauthorized"))
        yield request, (do, status, draw.choice(headers))


def test_quick_way_answers_as_the_careful_one_does() -> None:
    site = make_site(
        exclude_paths=["/static/:path*"],
        protected_paths=["/account"],
        remote_user="sub",
    )
    site.sign_in()
    quick = site.new_middleware(telling)
    careful = site.new_middleware(telling, session_cache_size=0)
    careful._looks_closer = True
    for request, do in requests_of(cookie_of(site)):
        answers: list[Any] = []
        for middleware in (quick, careful):
            told: list[Any] = []
            response = run(middleware, request(**{"tests.do": (*do, told)}))
            answers.append((response, told))

        assert answers[0] == answers[1], (request, do)


# The end of a middleware


def test_service_of_a_middleware_does_not_wait_for_the_garbage_collector() -> None:
    """Its connections are closed with it."""
    site = make_site()
    middleware = site.new_middleware()
    run(middleware, navigation())
    watched = weakref.ref(middleware.service)
    gc.collect()
    gc.disable()
    try:
        del middleware
        assert watched() is None
    finally:
        gc.enable()
