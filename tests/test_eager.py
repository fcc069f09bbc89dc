"""Eager auth: the access token in a cookie for the scripts of a page that loads."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.gateway import Client, Response, environ, run
from tests.harness import Harness, path_of
from tests.sites import EXPIRED, EXPIRING, TEXT, answer, cookie_of, make_site
from wsgi_authkit import Auth

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

NAME: Final = "workos-access-token"
PAGE: Final = ("Content-Type", "text/html; charset=utf-8")
DELETED: Final = f"{NAME}=; Path=/; Max-Age=0; SameSite=Lax"
HTTPS: Final = "https://app.example.test"


def eager_site(app: WSGIApplication | None = None, **options: Any) -> Harness:
    return make_site(app or answer([PAGE]), eager_auth=True, **options)


def signed_in(app: WSGIApplication | None = None, **options: Any) -> Harness:
    harness = eager_site(app, **options)
    harness.sign_in()
    return harness


def eager_cookies(response: Response) -> list[str]:
    return [c for c in response.set_cookies if c.startswith(f"{NAME}=")]


def token_of(harness: Harness, client: Client | None = None) -> str:
    """Return the access token in the session of a browser."""
    jar = (client or harness.client).jar
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)
    return str(harness.middleware.service.get_session(cookies).access_token)


def readable(harness: Harness) -> str:
    """Return what a script on the page reads."""
    return harness.client.jar.script_cookies("http://localhost:8000/page")


# Handing it out


def test_page_gets_the_token_of_its_session_for_thirty_seconds() -> None:
    harness = signed_in()
    token = token_of(harness)
    response = harness.client.get("/")

    assert eager_cookies(response) == [
        f"{NAME}={token}; Path=/; Max-Age=30; SameSite=Lax"
    ]
    assert readable(harness) == f"{NAME}={token}"
    harness.clock.advance(30)
    assert readable(harness) == ""


def test_token_is_not_handed_out_unless_asked_for() -> None:
    harness = make_site(answer([PAGE]))
    harness.sign_in()

    assert eager_cookies(harness.client.get("/")) == []
    assert readable(harness) == ""


@pytest.mark.parametrize(
    ("settings", "attributes"),
    [
        pytest.param({}, "Path=/; Max-Age=30; SameSite=Lax", id="http"),
        pytest.param(
            {"redirect_uri": f"{HTTPS}/callback"},
            "Path=/; Max-Age=30; Secure; SameSite=Lax",
            id="https",
        ),
        pytest.param(
            {"redirect_uri": f"{HTTPS}/callback", "cookie_domain": "example.test"},
            "Path=/; Max-Age=30; Secure; SameSite=Lax",
            id="domain",
        ),
        pytest.param(
            {"redirect_uri": f"{HTTPS}/callback", "cookie_same_site": "none"},
            "Path=/; Max-Age=30; Secure; SameSite=Lax",
            id="SameSite=None",
        ),
        pytest.param(
            {"redirect_uri": f"{HTTPS}/callback", "cookie_name": "__Host-s"},
            "Path=/; Max-Age=30; Secure; SameSite=Lax",
            id="another session cookie",
        ),
    ],
)
def test_attributes_are_the_same_whatever_the_session_cookie_has(
    settings: dict[str, str], attributes: str
) -> None:
    """Without ``Domain``: no sibling's scripts get it, and any script can delete it."""
    harness = eager_site(settings=settings)
    if "redirect_uri" in settings:
        harness.client.base = HTTPS
    harness.sign_in()
    [cookie] = eager_cookies(harness.client.get("/"))

    assert cookie.partition("; ")[2] == attributes


@pytest.mark.parametrize(
    ("method", "options"),
    [
        pytest.param("GET", {"fetch": True}, id="fetch"),
        pytest.param("GET", {"navigate": False}, id="program"),
        pytest.param("HEAD", {}, id="HEAD"),
        pytest.param("POST", {}, id="form"),
        pytest.param("POST", {"fetch": True, "json": {}}, id="JSON"),
        pytest.param("GET", {"headers": {"Sec-Purpose": "prefetch"}}, id="prefetch"),
        pytest.param(
            "GET",
            {"headers": {"Sec-Purpose": "prefetch;prerender"}},
            id="prerender",
        ),
        pytest.param("GET", {"headers": {"Sec-Fetch-Dest": "image"}}, id="image"),
        pytest.param("GET", {"headers": {"Sec-Fetch-Dest": "script"}}, id="script"),
        pytest.param("GET", {"headers": {"Upgrade": "websocket"}}, id="WebSocket"),
        pytest.param(
            "GET",
            {"headers": {"Sec-Fetch-Mode": None, "Accept": "application/json"}},
            id="JSON client",
        ),
    ],
)
def test_only_a_navigation_gets_the_token(method: str, options: dict[str, Any]) -> None:
    harness = signed_in()
    response = harness.client.request(method, "/", **options)

    assert response.status == 200
    assert eager_cookies(response) == []


def test_browser_without_fetch_metadata_gets_it_by_what_it_accepts() -> None:
    harness = signed_in()
    headers = dict.fromkeys(("Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-Site"))

    assert eager_cookies(harness.client.get("/", headers=headers))


@pytest.mark.parametrize(
    ("status", "handed"),
    [
        ("200 OK", True),
        ("404 Not Found", True),
        ("500 Internal Server Error", True),
        ("204 No Content", False),
        ("205 Reset Content", False),
        ("302 Found", False),
        ("303 See Other", False),
        ("304 Not Modified", False),
    ],
)
def test_only_what_brings_a_page_brings_the_token(status: str, handed: bool) -> None:
    """A redirect may lead away, and a cache updates what it has with those of a 304."""
    headers = [] if status[:3] in ("204", "304") else [TEXT]
    body = b"" if status[:3] in ("204", "205", "304") else b"x"
    harness = signed_in(answer(headers, status, body))

    assert bool(eager_cookies(harness.client.get("/"))) is handed


def test_token_that_the_request_carries_is_not_sent_again() -> None:
    harness = signed_in()
    harness.client.get("/")

    assert eager_cookies(harness.client.get("/")) == []
    harness.clock.advance(31)
    assert len(eager_cookies(harness.client.get("/"))) == 1


def test_older_token_is_replaced_by_that_of_the_refreshed_session() -> None:
    harness = signed_in()
    old = token_of(harness)
    harness.clock.advance(EXPIRING)
    harness.client.jar.store("http://localhost:8000/", f"{NAME}={old}; Path=/")
    response = harness.client.get("/")
    new = token_of(harness)

    assert new != old
    assert eager_cookies(response) == [
        f"{NAME}={new}; Path=/; Max-Age=30; SameSite=Lax"
    ]
    assert readable(harness) == f"{NAME}={new}"


def test_expired_session_that_is_refreshed_hands_out_the_new_token() -> None:
    harness = signed_in()
    harness.clock.advance(EXPIRED)
    response = harness.client.get("/")

    assert eager_cookies(response)
    assert readable(harness) == f"{NAME}={token_of(harness)}"


def test_nobody_gets_no_token() -> None:
    harness = eager_site()

    assert harness.client.get("/").set_cookies == []


def test_unavailable_session_neither_hands_out_a_token_nor_takes_one_back() -> None:
    harness = signed_in()
    harness.clock.advance(EXPIRED)
    harness.client.jar.store("http://localhost:8000/", f"{NAME}=older; Path=/")
    harness.workos.down()

    assert harness.client.get("/").set_cookies == []


def test_slow_response_hands_out_no_token_that_has_expired_meanwhile() -> None:
    harness = signed_in()

    def slow(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        harness.clock.advance(EXPIRED)
        return answer([PAGE])(environ, start_response)

    harness.client.app = harness.new_middleware(slow)

    assert eager_cookies(harness.client.get("/")) == []


def test_headers_replaced_with_exc_info_carry_the_token_once() -> None:
    def failing(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        start_response("200 OK", [PAGE])
        error = ValueError("x")
        start_response("500 Oops", [PAGE], (ValueError, error, None))  # type: ignore[arg-type]
        return [b"error"]

    harness = signed_in(failing)

    assert len(eager_cookies(harness.client.get("/"))) == 1


# The session changes within the request


def test_session_that_the_app_starts_brings_its_token() -> None:
    harness = eager_site()
    harness.client.app = harness.new_middleware(_signing_in(harness))
    response = harness.client.get("/")

    assert readable(harness) == f"{NAME}={token_of(harness)}"
    assert len(eager_cookies(response)) == 1


def test_script_that_starts_a_session_loses_the_token_of_the_one_before() -> None:
    """Another person's, or another organization's: the next page brings the new one."""
    harness = signed_in()
    harness.client.get("/")
    harness.client.app = harness.new_middleware(_signing_in(harness))
    response = harness.client.post("/", fetch=True)

    assert eager_cookies(response) == [DELETED]
    assert readable(harness) == ""


def test_session_that_the_app_ends_takes_its_token_with_it() -> None:
    harness = signed_in()
    harness.client.get("/")
    harness.client.app = harness.new_middleware(_signing_out)
    response = harness.client.post("/", fetch=True)

    assert eager_cookies(response) == [DELETED]
    assert (response.header("Cache-Control") or "").startswith("private")
    assert readable(harness) == ""


def _signing_in(harness: Harness) -> WSGIApplication:
    grace = harness.workos.create_session(harness.workos.add_user("grace@example.com"))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        auth.save_session(grace)
        return answer([PAGE])(environ, start_response)

    return app


def _signing_out(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    auth: Auth = environ["authkit"]
    auth.clear_session()
    return answer([PAGE])(environ, start_response)


# Taking it back


def revoked(harness: Harness) -> None:
    cookies = cookie_of(harness)
    session = harness.middleware.service.get_session(cookies)
    harness.middleware.service.sign_out(str(session.session_id))


def rejected(harness: Harness) -> None:
    cookies = cookie_of(harness)
    session = harness.middleware.service.get_session(cookies)
    harness.workos.revoke_session(str(session.session_id))
    harness.clock.advance(EXPIRED)


@pytest.mark.parametrize("over", [revoked, rejected])
def test_end_of_the_session_takes_the_token_back_on_a_navigation_only(
    over: Any,
) -> None:
    harness = signed_in()
    token = token_of(harness)
    over(harness)
    harness.client.jar.store("http://localhost:8000/", f"{NAME}={token}; Path=/")
    by_script = harness.client.get("/", fetch=True)
    by_person = harness.client.get("/")

    assert by_script.set_cookies == []
    assert eager_cookies(by_person) == [DELETED]
    assert len(by_person.set_cookies) == 2


def test_token_without_a_session_is_taken_back_and_nothing_is_cached() -> None:
    """A JavaScript library on the same host may have signed out."""
    harness = eager_site(answer([PAGE, ("Cache-Control", "public, max-age=60")]))
    harness.client.jar.store("http://localhost:8000/", f"{NAME}=x; Path=/")
    by_script = harness.client.get("/", fetch=True)
    by_person = harness.client.get("/")

    assert (by_script.set_cookies, by_person.set_cookies) == ([], [DELETED])
    for response in (by_script, by_person):
        assert (response.header("Cache-Control") or "").startswith("private, no-cache")


# Size


def test_token_that_no_cookie_can_hold_is_left_out_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = eager_site()
    permissions = [f"permission-number-{n}" for n in range(125)]
    harness.workos.extra_claims["permissions"] = permissions
    harness.sign_in()
    responses = [harness.client.get("/") for _ in range(3)]

    assert len(token_of(harness)) > 4096
    assert [r.status for r in responses] == [200] * 3
    assert [eager_cookies(r) for r in responses] == [[]] * 3
    logged = [r for r in caplog.records if "eager_auth" in r.message]
    assert [r.levelname for r in logged] == ["WARNING"]
    assert token_of(harness) not in caplog.text


def test_token_never_makes_the_cookie_header_longer_than_a_session_may() -> None:
    harness = signed_in()
    [cookie] = eager_cookies(harness.client.get("/"))
    session = cookie_of(harness)

    def handed(length: int) -> bool:
        padding = "x" * (length - len(session) - len("; p="))
        headers = {
            "Sec-Fetch-Mode": "navigate",
            "Cookie": f"{session}; p={padding}",
        }
        return bool(eager_cookies(run(harness.middleware, environ(headers=headers))))

    assert handed(4 * 4096 - len(cookie))
    assert not handed(4 * 4096 - len(cookie) + 1)


def test_token_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "wsgi_authkit")
    harness = signed_in(debug=True)
    harness.client.get("/")

    assert token_of(harness) not in caplog.text


# Our own endpoints


def test_endpoints_hand_out_no_token() -> None:
    harness = eager_site()
    location = harness.client.get("/auth/sign-in").header("Location") or ""
    callback = path_of(harness.workos.authorize(location, harness.ada))
    responses = [
        harness.client.get(callback, cross_site=True),
        harness.client.get("/auth/sign-out"),
        harness.client.get("/auth/sign-in"),
    ]

    assert [eager_cookies(response) for response in responses] == [[], [], []]


def test_sign_out_takes_the_token_back_present_or_not() -> None:
    """A page that loads meanwhile may just be getting one."""
    harness = signed_in()
    response = harness.client.post("/auth/sign-out")

    assert eager_cookies(response) == [DELETED]


def test_sign_out_takes_back_the_token_of_a_javascript_library() -> None:
    harness = make_site()
    harness.sign_in()
    plain = harness.new_client().post("/auth/sign-out")
    harness.client.jar.store("http://localhost:8000/", f"{NAME}=x; Path=/")
    response = harness.client.post("/auth/sign-out")

    assert eager_cookies(plain) == []
    assert eager_cookies(response) == [DELETED]
    assert readable(harness) == ""


def test_excluded_path_is_left_alone() -> None:
    """Neither is a token handed out there, nor is an older one taken back."""
    harness = signed_in(exclude_paths=["/static/:path*"])
    fresh = harness.client.get("/static/app.html")
    harness.client.jar.store("http://localhost:8000/", f"{NAME}=x; Path=/")
    stale = harness.client.get("/static/app.html")

    assert fresh.set_cookies == stale.set_cookies == []
    assert fresh.header("Cache-Control") is None
