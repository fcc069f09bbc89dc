"""Who has to sign in first: what the middleware answers, and an app's own 401."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from html import unescape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask, abort
from webob.dec import wsgify
from webob.exc import HTTPUnauthorized

from tests.gateway import Client, Response, environ, run
from tests.harness import Harness, path_of, show_session
from tests.sites import (
    CACHE_CONTROL,
    EXPIRED,
    TEXT,
    answer,
    cookie_of,
    expired,
    make_site,
    navigation,
)
from wsgi_authkit.testing.faults import Status

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

ORIGIN: Final = "http://localhost:8000"


def unreachable(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    raise AssertionError("the app was called")


def protected_site(**options: Any) -> Harness:
    """Return a site whose app must not be called."""
    return make_site(unreachable, **{"require_auth": True, **options})


def location(response: Response) -> str:
    found = response.header("Location")
    assert found is not None, response
    return found


# The middleware's own answer


def test_protected_page_leads_to_sign_in_and_back() -> None:
    site = make_site(show_session, require_auth=True)
    start = site.client.get("/reports?year=2026")

    assert start.status == 302
    assert start.header("Cache-Control") == CACHE_CONTROL
    to_workos = location(site.client.get(location(start)))
    back = path_of(site.workos.authorize(to_workos, site.ada))
    finished = site.client.get(back, cross_site=True)
    assert finished.header("Location") == "/reports?year=2026"
    assert site.client.get("/reports?year=2026").json()["user"] == "ada@example.com"


def test_body_of_a_protected_post_is_not_read() -> None:
    site = protected_site()
    request = environ("POST", headers={"Content-Type": "application/json"}, body=b"{}")

    assert run(site.middleware, request).status == 401
    assert request["wsgi.input"].read(2) == b"{}"


def test_protected_page_deletes_the_cookie_of_a_session_that_is_over() -> None:
    site = protected_site()
    cookie = expired(site)
    [session_id] = site.workos.sessions
    site.workos.revoke_session(session_id)
    response = run(site.middleware, navigation(cookie, path="/a"))

    assert response.status == 302
    assert [c.partition(";")[0] for c in response.set_cookies] == ["wos-session="]


def test_new_pair_that_cannot_be_verified_yet_goes_out_with_the_503() -> None:
    """Its refresh token is the only good one, and the old one is used up."""
    site = protected_site()
    cookie = expired(site)
    site.workos.rotate_keys(keep_old=False)
    site.workos.fail(503, path="jwks")
    response = run(site.middleware, navigation(cookie))

    assert response.status == 503
    assert [c.partition("=")[0] for c in response.set_cookies] == ["wos-session"]
    assert response.header("Cache-Control") == CACHE_CONTROL


def test_session_in_another_state_is_named_to_a_script() -> None:
    site = protected_site()
    response = run(site.middleware, environ(headers={"Cookie": "wos-session=x"}))

    assert response.status == 401
    body = response.json()
    assert body["error"].pop("message")
    assert body == {
        "error": {"code": "unauthenticated", "reason": "invalid_cookie"},
        "signInUrl": "/auth/sign-in",
    }


@pytest.mark.parametrize("same_site", ["lax", "strict", "none"])
def test_frame_is_redirected_only_where_sessions_go_into_frames(same_site: str) -> None:
    site = protected_site(
        settings={
            "cookie_same_site": same_site,
            "redirect_uri": "https://app.example.com/callback",
        }
    )
    request = environ(
        headers={"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    )

    response = run(site.middleware, request)
    assert response.status == (302 if same_site == "none" else 401)


def strict_site(**options: Any) -> Harness:
    settings = {"cookie_same_site": "strict"}
    return make_site(show_session, settings=settings, **options)


def onward(response: Response) -> str:
    """Return where a page leads on to by itself."""
    [found] = re.findall(r'http-equiv="refresh" content="0;url=(.*?)"', response.text)
    return unescape(str(found))


def test_link_of_another_site_finds_the_session_although_it_is_strict() -> None:
    """The browser sends it to what a page of this site leads to."""
    site = strict_site(require_auth=True)
    site.sign_in()
    arrived = site.client.get("/reports?year=2026&all", cross_site=True)

    assert arrived.status == 200
    assert arrived.header("Cache-Control") == CACHE_CONTROL
    assert onward(arrived) == "/reports?year=2026&all"
    assert site.client.get(onward(arrived)).json()["user"] == "ada@example.com"


def test_who_has_no_strict_session_is_led_on_once() -> None:
    site = strict_site(require_auth=True)
    arrived = site.client.get("/reports", cross_site=True)

    assert arrived.status == 200
    assert site.client.get(onward(arrived)).status == 302


def test_strict_session_that_came_along_is_judged_at_once() -> None:
    site = strict_site(require_auth=True)
    request = navigation("wos-session=x")
    request["HTTP_SEC_FETCH_SITE"] = "cross-site"

    assert run(site.middleware, request).status == 302


@pytest.mark.parametrize("path", ["//evil.example/", "/%5Cevil.example", "/a%0Ab"])
def test_nobody_is_led_on_to_what_may_be_another_host(path: str) -> None:
    arrived = strict_site(require_auth=True).client.get(path, cross_site=True)

    assert (arrived.status, location(arrived)[:13]) == (302, "/auth/sign-in")


def test_links_of_another_site_are_no_loop_of_sign_ins() -> None:
    """An app that answers 401 itself sends the person to sign in each time."""
    site = strict_site()
    for _ in range(5):
        site.sign_in()
        start = site.client.get("/auth/sign-in", cross_site=True)
        assert start.status == 302, start.text


@pytest.mark.parametrize(
    ("same_site", "cross_site"), [("strict", False), ("lax", True)]
)
def test_session_that_is_not_kept_is_a_loop_of_sign_ins(
    same_site: str, cross_site: bool
) -> None:
    site = make_site(show_session, settings={"cookie_same_site": same_site})
    statuses = []
    for _ in range(4):
        site.sign_in()
        site.client.jar.store(ORIGIN, "wos-session=; Path=/; Max-Age=0")
        start = site.client.get("/auth/sign-in", cross_site=cross_site)
        statuses.append(start.status)

    assert 400 in statuses


def test_link_of_another_site_leads_to_sign_in_where_sessions_come_along() -> None:
    site = protected_site()

    assert site.client.get("/reports", cross_site=True).status == 302


def test_frame_does_not_delete_the_cookie_of_a_session_that_is_over() -> None:
    site = protected_site()
    cookie = expired(site)
    [session_id] = site.workos.sessions
    site.workos.revoke_session(session_id)
    headers = {
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "iframe",
        "Cookie": cookie,
    }
    response = run(site.middleware, environ(headers=headers))

    assert (response.status, response.set_cookies) == (401, [])


def test_api_path_is_told_401_on_a_navigation() -> None:
    site = protected_site(api_paths=["/api/:path*"])

    assert run(site.middleware, navigation(path="/api/users")).status == 401
    assert run(site.middleware, navigation(path="/API/")).status == 401
    assert run(site.middleware, navigation(path="/users")).status == 302


def test_api_path_is_not_protected_by_being_one() -> None:
    site = make_site(answer(), api_paths=["/api"])

    assert run(site.middleware, navigation(path="/api")).status == 200


def test_sign_up_path_leads_to_the_sign_up_screen() -> None:
    site = protected_site(sign_up_paths=["/join/:path*"])
    start = run(site.middleware, navigation(path="/Join/team", query="t=1"))

    assert location(start) == "/auth/sign-up?return_to=%2FJoin%2Fteam%3Ft%3D1"
    to_workos = location(site.client.get(location(start)))
    assert parse_qs(urlsplit(to_workos).query)["screen_hint"] == ["sign-up"]
    script = run(site.middleware, environ(path="/join"))
    assert script.json()["signInUrl"] == "/auth/sign-up"


@pytest.mark.parametrize(
    ("path", "screen"),
    [
        ("/account/sign-up", "sign-up"),
        ("/dashboard", "sign-up"),
        ("/dashboard/teams/7", "sign-up"),
        ("/account", "sign-in"),
        ("/account/sign-up/now", "sign-in"),
    ],
)
def test_only_what_a_sign_up_pattern_matches_leads_to_that_screen(
    path: str, screen: str
) -> None:
    site = protected_site(sign_up_paths=["/account/sign-up", "/dashboard/:path*"])
    start = location(site.client.get(path))
    to_workos = location(site.client.get(start))

    assert start.partition("?")[0] == f"/auth/{screen}"
    assert parse_qs(urlsplit(to_workos).query)["screen_hint"] == [screen]


def test_sign_up_path_is_not_protected_by_being_one() -> None:
    site = make_site(answer(), sign_up_paths=["/join"])

    assert run(site.middleware, navigation(path="/join")).status == 200


# htmx and Turbo

HTMX: Final = {"HX-Request": "true", "Accept": "text/html"}


def htmx_redirect(site: Harness, current: str | None) -> str | None:
    headers = {} if current is None else {"HX-Current-URL": current}
    request = environ(path="/part", headers={**HTMX, **headers})
    response = run(site.middleware, request)
    assert response.status == 401
    assert response.json()["signInUrl"] == "/auth/sign-in"
    return response.header("HX-Redirect")


def test_htmx_is_told_to_load_sign_in_and_comes_back_to_its_page() -> None:
    redirected = htmx_redirect(protected_site(), f"{ORIGIN}/list?page=2#end")

    assert redirected == "/auth/sign-in?return_to=%2Flist%3Fpage%3D2%23end"


def test_htmx_redirect_is_absolute_on_base_url() -> None:
    site = protected_site(base_url="https://app.example.com")
    redirected = htmx_redirect(site, "https://app.example.com/list")

    assert redirected == "https://app.example.com/auth/sign-in?return_to=%2Flist"


@pytest.mark.parametrize(
    "current",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("https://evil.example/list", id="another site"),
        pytest.param("https://localhost:8000/list", id="another scheme"),
        pytest.param("http://localhost:8001/list", id="another port"),
        pytest.param("http://localhost:port/list", id="no port"),
        pytest.param("http://localhost:8000.evil.example/list", id="longer host"),
        pytest.param("http://localhost:8000@evil.example/list", id="user name"),
        pytest.param("/list", id="path"),
        pytest.param("//localhost:8000/list", id="no scheme"),
        pytest.param("javascript:alert(1)", id="script"),
        pytest.param(f"{ORIGIN}//evil.example/", id="two slashes"),
        pytest.param(f"{ORIGIN}/\\evil.example/", id="backslash"),
        pytest.param(f"{ORIGIN}/a/../../b", id="dot segments"),
        pytest.param(f"{ORIGIN}/auth/sign-out", id="endpoint"),
        pytest.param("http://[::1/list", id="broken"),
        pytest.param("\xff", id="not a URL"),
    ],
)
def test_htmx_page_that_is_not_of_this_site_is_dropped(current: str | None) -> None:
    assert htmx_redirect(protected_site(), current) == "/auth/sign-in"


def test_htmx_home_page_without_a_path_is_come_back_to() -> None:
    assert htmx_redirect(protected_site(), ORIGIN) == "/auth/sign-in?return_to=%2F"


@pytest.mark.parametrize("header", ["X-Turbo-Request-Id", "Turbo-Frame"])
def test_turbo_is_told_the_path_of_sign_in(header: str) -> None:
    request = environ(path="/part", headers={header: "menu", "Accept": "text/html"})
    response = run(protected_site().middleware, request)

    assert response.status == 401
    assert response.header("HX-Redirect") == "/auth/sign-in"
    # Turbo loads anew, as a navigation, what was not answered with HTML.
    assert response.header("Content-Type") == "application/json"


def test_other_scripts_get_no_header_of_htmx() -> None:
    response = run(protected_site().middleware, environ())

    assert (response.status, response.header("HX-Redirect")) == (401, None)


# Excluded paths


def test_excluded_path_has_an_anonymous_session_and_nothing_is_read() -> None:
    site = make_site(show_session, require_auth=True, exclude_paths=["/static/:path*"])
    cookie = expired(site)
    site.workos.reset_calls()
    headers = {"Cookie": cookie, "Authorization": "Bearer x"}
    response = run(site.middleware, environ(path="/static/x", headers=headers))

    assert response.json()["reason"] == "excluded"
    assert response.json()["status"] == "anonymous"
    assert response.headers == [("Content-Type", "application/json")]
    assert site.workos.calls == []


def test_excluded_path_can_still_be_challenged_by_the_app() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        challenge: Iterable[bytes] = environ["authkit"].challenge()(
            environ, start_response
        )
        return challenge

    site = make_site(app, exclude_paths=["/static"])

    assert run(site.middleware, navigation(path="/static")).status == 302


# A 401 of the app

BODY: Final = b"please sign in"
APP_HEADERS: Final = [TEXT, ("Content-Length", str(len(BODY)))]


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("401 Unauthorized", list(APP_HEADERS))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [BODY]


def generator(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    start_response("401 Unauthorized", list(APP_HEADERS))
    yield BODY[:6]
    yield BODY[6:]


def writer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("401 Unauthorized", list(APP_HEADERS))
    write(BODY)
    return []


def replaced(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    try:
        int("not a number")
    except ValueError:
        start_response("401 Unauthorized", list(APP_HEADERS), sys.exc_info())
    return [BODY]


@wsgify
def webob_app(request: object) -> None:
    raise HTTPUnauthorized(body=BODY, content_type="text/plain", charset=None)


def flask_app() -> WSGIApplication:
    app = Flask(__name__)

    def home(path: str = "") -> str:
        abort(401)

    app.add_url_rule("/", view_func=home)
    app.add_url_rule("/<path:path>", "path", view_func=home)
    app.register_error_handler(
        401, lambda _: (BODY, 401, {"Content-Type": "text/plain"})
    )
    return app.wsgi_app


each_app = pytest.mark.parametrize(
    "app",
    [
        pytest.param(plain, id="list"),
        pytest.param(generator, id="generator"),
        pytest.param(writer, id="write()"),
        pytest.param(replaced, id="exc_info"),
        pytest.param(webob_app, id="HTTPUnauthorized"),
        pytest.param(flask_app(), id="abort(401)"),
    ],
)


@each_app
def test_401_to_a_navigation_leads_to_sign_in_and_back(app: WSGIApplication) -> None:
    site = make_site(app)
    response = run(site.middleware, navigation(path="/a", query="b=c"))

    assert (response.status, response.reason) == (302, "Found")
    assert location(response) == "/auth/sign-in?return_to=%2Fa%3Fb%3Dc"
    assert response.body == BODY
    assert response.header("Content-Type") == "text/plain"
    assert response.header("Content-Length") == str(len(BODY))
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert response.set_cookies == []


@each_app
def test_401_to_a_script_stays(app: WSGIApplication) -> None:
    site = make_site(app)
    response = run(site.middleware, environ(headers={"Accept": "application/json"}))

    assert (response.status, response.body) == (401, BODY)
    assert response.header("Location") is None
    assert response.header("Cache-Control") is None


@each_app
def test_401_during_an_outage_becomes_503(app: WSGIApplication) -> None:
    site = make_site(app)
    cookie = expired(site)
    site.workos.fail(Status(429, headers={"Retry-After": "4"}))
    response = run(site.middleware, navigation(cookie))

    assert (response.status, response.reason) == (503, "Service Unavailable")
    assert response.header("Retry-After") == "4"
    assert response.header("Location") is None
    assert response.body == BODY
    assert response.set_cookies == []


def test_401_to_a_script_stays_during_an_outage() -> None:
    """The app's answer to its own scripts is its own."""
    site = make_site(plain)
    cookie = expired(site)
    site.workos.down()
    response = run(site.middleware, environ(headers={"Cookie": cookie}))

    assert (response.status, response.header("Retry-After")) == (401, None)


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
def test_401_to_another_method_stays(method: str) -> None:
    request = navigation(method=method)

    assert run(make_site(plain).middleware, request).status == 401


def test_401_to_somebody_signed_in_stays() -> None:
    """They would sign in, come back, and get the same."""
    site = make_site(plain)
    site.sign_in()

    assert run(site.middleware, navigation(cookie_of(site))).status == 401


def test_401_on_an_excluded_path_stays() -> None:
    site = make_site(plain, exclude_paths=["/static"])
    response = run(site.middleware, navigation(path="/static"))

    assert (response.status, response.headers) == (401, APP_HEADERS)


def test_401_on_an_api_path_stays() -> None:
    site = make_site(plain, api_paths=["/api"])

    assert run(site.middleware, navigation(path="/api")).status == 401


def test_401_on_an_api_path_becomes_503_during_an_outage() -> None:
    """api_paths chooses 401 over a redirect, which a 503 is not."""
    site = make_site(plain, api_paths=["/api"])
    cookie = expired(site)
    site.workos.down()

    assert run(site.middleware, navigation(cookie, path="/api")).status == 503


@pytest.mark.parametrize("name", ["WWW-Authenticate", "www-authenticate"])
def test_401_with_a_challenge_of_its_own_stays(name: str) -> None:
    headers = [TEXT, (name, 'Basic realm="backup"')]
    site = make_site(answer(headers, "401 Unauthorized"))
    response = run(site.middleware, navigation())

    assert (response.status, response.headers) == (401, headers)


def test_401_stays_without_challenge_401() -> None:
    site = make_site(plain, challenge_401=False)

    assert run(site.middleware, navigation()).status == 401


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "404 Not Found"])
def test_other_statuses_stay(status: str) -> None:
    site = make_site(answer(status=status))

    assert run(site.middleware, navigation()).status == int(status[:3])


def test_401_on_a_sign_up_path_leads_to_the_sign_up_screen() -> None:
    site = make_site(plain, sign_up_paths=["/join"])

    response = run(site.middleware, navigation(path="/join"))
    assert location(response) == "/auth/sign-up?return_to=%2Fjoin"


def test_headers_of_the_app_that_the_challenge_sets_are_replaced() -> None:
    headers = [
        TEXT,
        ("location", "https://elsewhere.example/"),
        ("Cache-Control", "public"),
        ("Set-Cookie", "flash=1"),
    ]
    site = make_site(answer(headers, "401 Unauthorized"), base_url=ORIGIN)
    response = run(site.middleware, navigation())

    assert location(response) == f"{ORIGIN}/auth/sign-in?return_to=%2F"
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert response.set_cookies == ["flash=1"]
    assert len(headers) == 4


def test_401_deletes_the_cookie_of_a_session_that_is_over() -> None:
    site = make_site(plain)
    cookie = expired(site, EXPIRED)
    [session_id] = site.workos.sessions
    site.workos.revoke_session(session_id)
    response = run(site.middleware, navigation(cookie))

    assert response.status == 302
    assert [c.partition(";")[0] for c in response.set_cookies] == ["wos-session="]


def test_iterable_of_a_rewritten_response_is_the_apps_own() -> None:
    class Body:
        closed = 0

        def __iter__(self) -> Any:
            return iter([BODY])

        def close(self) -> None:
            self.closed += 1

    body = Body()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("401 Unauthorized", [TEXT])
        return body

    middleware = make_site().new_middleware(app)
    request = navigation()
    assert middleware(request, lambda *_: lambda _: None) is body
    assert Client(middleware).get("/").status == 302
    assert body.closed == 1
