"""The request's handle: URLs of sign-in, sign-up and sign-out, and the challenge."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from tests.gateway import Client, Response, environ, run
from tests.harness import Harness, path_of
from tests.sites import (
    CACHE_CONTROL,
    cookie_of,
    expired,
    make_site,
    navigation,
)
from wsgi_authkit import (
    AnonymousSession,
    Auth,
    CookieTooLarge,
    HeadersSent,
    Session,
    SignInEvent,
)
from wsgi_authkit._wsgi import Header
from wsgi_authkit.testing import Clock, Status

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

ORIGIN: Final = "http://localhost:8000"


def protected(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Greet who is signed in and challenge everybody else."""
    auth: Auth = environ["authkit"]
    if not auth.session:
        return auth.challenge()(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def auth_of(
    harness: Harness | None = None, *, request: WSGIEnvironment | None = None
) -> Auth:
    """Return the handle of a request."""
    request = request or environ()
    run((harness or make_site()).middleware, request)
    auth: Auth = request["authkit"]
    return auth


def query_of(url: str | None) -> dict[str, str]:
    """Return the query parameters of a URL; each may be there once."""
    query = parse_qs(urlsplit(url or "").query, strict_parsing=True)
    assert all(len(values) == 1 for values in query.values())
    return {name: values[0] for name, values in query.items()}


# URLs


@pytest.mark.parametrize(
    ("script_name", "prefix"),
    [
        pytest.param("", "", id="root"),
        pytest.param("/app", "/app", id="mounted"),
        pytest.param("/a b/büro", "/a%20b/b%C3%BCro", id="mounted outside ASCII"),
    ],
)
@pytest.mark.parametrize("mount", ["/auth", "/x/login"])
def test_urls_are_paths_below_the_mount_point(
    script_name: str, prefix: str, mount: str
) -> None:
    auth = auth_of(make_site(mount=mount), request=environ(script_name=script_name))

    assert auth.sign_in_url() == f"{prefix}{mount}/sign-in"
    assert auth.sign_up_url() == f"{prefix}{mount}/sign-up"
    assert auth.sign_out_url() == f"{prefix}{mount}/sign-out"


def test_urls_are_paths_whatever_the_client_says_its_host_is() -> None:
    lies = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    auth = auth_of(
        make_site(base_url="https://app.example.com"), request=environ(headers=lies)
    )

    assert auth.sign_in_url("/a") == "/auth/sign-in?return_to=%2Fa"


@pytest.mark.parametrize(
    ("return_to", "kept"),
    [
        ("/", "/"),
        ("/a/b?c=d&e=%20f#g", "/a/b?c=d&e=%20f#g"),
        ("/zurück", "/zur%C3%BCck"),
        ("/a b", "/a%20b"),
        ("/authentic/sign-in", "/authentic/sign-in"),
        ("/auth/profile", "/auth/profile"),
        ("/?next=https://elsewhere.example", "/?next=https://elsewhere.example"),
    ],
)
def test_return_path_is_kept(return_to: str, kept: str) -> None:
    auth = auth_of()

    assert query_of(auth.sign_in_url(return_to)) == {"return_to": kept}
    assert query_of(auth.sign_up_url(return_to)) == {"return_to": kept}


@pytest.mark.parametrize(
    "return_to",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/%09/evil.example",
        "/%5cevil.example",
        "/%252f%252fevil.example",
        "/..//evil.example",
        "/a\r\nSet-Cookie: a=1",
        "relative",
        "",
        " /",
        "/auth/sign-in",
        "/auth/sign-in?again",
        "/auth/sign-up/",
        "/auth/%73ign-out",
        "/callback?code=1",
        "/" + "a" * 2000,
    ],
)
def test_return_path_that_leads_away_or_round_is_dropped(return_to: str) -> None:
    auth = auth_of()

    assert auth.sign_in_url(return_to) == "/auth/sign-in"
    assert auth.sign_up_url(return_to) == "/auth/sign-up"


@pytest.mark.parametrize(
    "return_to",
    ["/büro/auth/sign-in", "/b%C3%BCro/auth/sign-in", "/b%c3%bcro/auth/sign-out"],
)
def test_own_endpoints_below_a_mount_are_no_return_paths(return_to: str) -> None:
    auth = auth_of(request=environ(script_name="/büro"))

    assert auth.sign_in_url(return_to) == "/b%C3%BCro/auth/sign-in"


OPTIONS: Final[dict[str, Any]] = {
    "organization_id": "org_1",
    "connection_id": "conn_1",
    "provider": "GoogleOAuth",
    "login_hint": "ada@example.com",
    "domain_hint": "example.com",
    "prompt": "login",
    "max_age": 0,
    "screen_hint": "sign-up",
    "state": "context",
    "invitation_token": "invitation",
}


def test_options_travel_in_one_sealed_parameter() -> None:
    url = auth_of().sign_in_url("/a", **OPTIONS)

    assert set(query_of(url)) == {"return_to", "request"}
    shown = [value for value in OPTIONS.values() if isinstance(value, str)]
    assert [value for value in shown if value in url] == []


def started_with(harness: Harness, url: str) -> dict[str, str]:
    """Follow a sign-in link and return the parameters that WorkOS gets."""
    response = harness.client.get(url)
    assert response.status == 302, response
    return query_of(response.header("Location"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"organization_id": "org_1"}, {"organization_id": "org_1"}),
        ({"connection_id": "conn_1"}, {"connection_id": "conn_1"}),
        ({"provider": "GoogleOAuth"}, {"provider": "GoogleOAuth"}),
        ({"login_hint": "a+b@example.com"}, {"login_hint": "a+b@example.com"}),
        ({"domain_hint": "example.com"}, {"domain_hint": "example.com"}),
        ({"prompt": "login"}, {"prompt": "login"}),
        ({"max_age": 0}, {"max_age": "0"}),
        ({"screen_hint": "sign-up"}, {"screen_hint": "sign-up"}),
        ({"invitation_token": "token"}, {"invitation_token": "token"}),
    ],
    ids=lambda value: "-".join(value),
)
def test_options_reach_workos(
    options: dict[str, Any], expected: dict[str, str]
) -> None:
    harness = make_site()
    sent = started_with(harness, auth_of(harness).sign_in_url("/a", **options))

    assert expected.items() <= sent.items()


def test_sign_up_url_starts_at_the_sign_up_screen() -> None:
    harness = make_site()
    auth = auth_of(harness)

    assert started_with(harness, auth.sign_up_url())["screen_hint"] == "sign-up"
    assert started_with(harness, auth.sign_in_url())["screen_hint"] == "sign-in"


def finish(harness: Harness, url: str, client: Client | None = None) -> Response:
    """Follow a sign-in link to its end and return the callback's response."""
    browser = client or harness.client
    location = browser.get(url).header("Location") or ""
    callback = harness.workos.authorize(location, harness.ada)
    return browser.get(path_of(callback), cross_site=True)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("plain", id="plain"),
        pytest.param('{"cart": [1, 2]}&x=%20', id="JSON"),
        pytest.param("ё" * 600, id="Cyrillic"),
        pytest.param("語🎉", id="beyond the basic plane"),
    ],
)
def test_state_is_handed_back_to_on_success(state: str) -> None:
    events: list[SignInEvent] = []
    harness = make_site(on_success=events.append)

    finished = finish(harness, auth_of(harness).sign_in_url("/there", state=state))

    assert finished.header("Location") == "/there"
    assert [event.state for event in events] == [state]
    assert events[0].user.email == "ada@example.com"


@pytest.mark.parametrize(
    "state", [pytest.param("ё" * 1024, id="Cyrillic"), pytest.param("a" * 2048, id="a")]
)
def test_longest_state_fits_into_the_query_that_the_endpoint_reads(state: str) -> None:
    """The endpoints read 8 KB of a query string."""
    harness = make_site()

    assert harness.client.get(auth_of(harness).sign_in_url(state=state)).status == 302


def test_link_of_one_site_does_not_open_at_another() -> None:
    url = auth_of().sign_in_url(state="context")
    other = make_site(settings={"cookie_password": "another password, long enough too"})

    response = other.client.get(url)

    assert response.status == 400
    assert response.set_cookies == []


def test_changed_link_is_refused() -> None:
    harness = make_site()
    url = auth_of(harness).sign_in_url(organization_id="org_1")
    other = "A" if url[-1] != "A" else "B"

    assert harness.client.get(url[:-1] + other).status == 400


def test_link_that_holds_no_options_is_refused() -> None:
    harness = make_site()
    sealed = harness.middleware.service.envelope.seal_text(b"[", purpose="request")

    assert harness.client.get(f"/auth/sign-in?request={sealed}").status == 400


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_age": -1}, "max_age"),
        ({"max_age": "60"}, "max_age"),
        ({"max_age": True}, "max_age"),
        ({"max_age": 1.5}, "max_age"),
        ({"screen_hint": "sign-out"}, "screen_hint"),
        ({"state": 5}, "state"),
        ({"state": "\ud800"}, "surrogates"),
        ({"organization_id": ["org_1"]}, "organization_id"),
        ({"login_hint": b"ada"}, "login_hint"),
    ],
)
def test_option_that_workos_does_not_take_is_a_value_error(
    options: dict[str, Any], message: str
) -> None:
    auth = auth_of()

    with pytest.raises(ValueError, match=message):
        auth.sign_in_url(**options)
    with pytest.raises(ValueError, match=message):
        auth.sign_up_url(**options)


def test_state_over_its_limit_is_refused_where_the_link_is_made() -> None:
    auth = auth_of()

    with pytest.raises(CookieTooLarge, match="2048"):
        auth.sign_in_url(state="a" * 2049)


def test_unknown_option_is_a_type_error() -> None:
    auth = auth_of()

    with pytest.raises(TypeError, match="colour"):
        auth.sign_in_url(colour="blue")


def test_making_urls_sets_no_cookie_and_calls_nobody() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        urls = [auth.sign_in_url("/a", state="s"), auth.sign_up_url()]
        start_response("200 OK", [("Content-Type", "text/plain")])
        return ["\n".join(urls).encode()]

    harness = make_site(app)
    response = harness.client.get("/")

    assert response.headers == [("Content-Type", "text/plain")]
    assert harness.workos.calls == []


# Signing out


@pytest.mark.parametrize(
    "return_to",
    ["/", "/bye?a=b", "https://elsewhere.example/bye", "https://home.example/"],
)
def test_sign_out_url_takes_paths_and_allowed_urls(return_to: str) -> None:
    harness = make_site(
        allowed_return_urls=["https://elsewhere.example/bye"],
        sign_out_return_to="https://home.example/",
    )
    url = auth_of(harness).sign_out_url(return_to)

    assert url.startswith("/auth/sign-out?")
    assert query_of(url) == {"return_to": return_to}


@pytest.mark.parametrize(
    "return_to",
    [
        "https://evil.example/",
        "https://elsewhere.example/bye/",
        "https://elsewhere.example/bye?x",
        "https://elsewhere.example",
        "HTTPS://elsewhere.example/bye",
        "//elsewhere.example/bye",
        "/\\evil.example",
        "javascript:alert(1)",
        "bye",
        "",
    ],
)
def test_sign_out_url_to_anywhere_else_is_a_value_error(return_to: str) -> None:
    auth = auth_of(make_site(allowed_return_urls=["https://elsewhere.example/bye"]))

    with pytest.raises(ValueError, match="allowed_return_urls"):
        auth.sign_out_url(return_to)


def test_sign_out_url_leads_through_workos_to_its_return_path() -> None:
    harness = make_site()
    harness.workos.settings.logout_uris = (f"{ORIGIN}/bye",)
    harness.sign_in()
    url = auth_of(harness).sign_out_url("/bye")
    response = harness.client.post(url, form={})

    assert query_of(response.header("Location"))["return_to"] == f"{ORIGIN}/bye"
    assert harness.who()["user"] is None


@pytest.mark.parametrize(
    "base_url", ["https://app.example.com", "https://App.Example.com"]
)
def test_origin_of_the_site_is_that_of_base_url(base_url: str) -> None:
    """As browsers write it, or no ``Origin`` header would ever be equal to it."""
    harness = make_site(base_url=base_url)
    harness.sign_in()
    headers: dict[str, str | None] = {
        "Origin": "https://app.example.com",
        "Sec-Fetch-Site": None,
    }
    response = harness.client.post("/auth/sign-out", form={}, headers=headers)

    assert response.status == 303


# The challenge


def challenge_site(**options: Any) -> Harness:
    return make_site(protected, **options)


@pytest.mark.parametrize(
    ("path", "query", "return_to"),
    [
        pytest.param("/", "", "/", id="home"),
        pytest.param("/a/b", "c=d&e=f", "/a/b?c=d&e=f", id="query"),
        pytest.param("/a", "next=%2Fx%3Fy%26z", "/a?next=%2Fx%3Fy%26z", id="encoded"),
        pytest.param("/a b/ü", "", "/a%20b/%C3%BC", id="path outside ASCII"),
        pytest.param("/a", "q=\xc3\xbc", "/a?q=%C3%BC", id="raw UTF-8 in the query"),
        pytest.param("/a", "q=\xff", "/a?q=%FF", id="a raw byte in the query"),
        pytest.param("/a", "q=c:\\d", "/a?q=c:%5Cd", id="a backslash in the query"),
        pytest.param("/a", "q=<\"'>", "/a?q=%3C%22'%3E", id="quotes in the query"),
        pytest.param("/a", "q=[1]{2}|^", "/a?q=[1]{2}|^", id="brackets"),
        pytest.param("/a?b", "", "/a%3Fb", id="question mark in the path"),
        pytest.param("/a#b", "", "/a%23b", id="hash in the path"),
    ],
)
def test_navigation_is_sent_to_sign_in_and_back(
    path: str, query: str, return_to: str
) -> None:
    harness = challenge_site()
    response = run(harness.middleware, navigation(path=path, query=query))

    assert response.status == 302
    location = response.header("Location")
    assert location is not None
    assert location.startswith("/auth/sign-in?")
    assert query_of(location)["return_to"] == return_to
    assert response.set_cookies == []
    assert finish(harness, location).header("Location") == return_to


def test_challenge_below_a_mount_point_comes_back_there() -> None:
    harness = challenge_site(settings={"redirect_uri": f"{ORIGIN}/app/callback"})
    client = Client(harness.middleware, script_name="/app", clock=harness.clock)
    location = client.get("/app/page?x=1").header("Location") or ""

    assert location == "/app/auth/sign-in?return_to=%2Fapp%2Fpage%3Fx%3D1"
    assert finish(harness, location, client).header("Location") == "/app/page?x=1"


def test_challenge_is_absolute_on_base_url() -> None:
    harness = challenge_site(base_url="https://app.example.com")
    lies = {"Host": "evil.example", "Accept": "text/html"}
    response = run(harness.middleware, environ(path="/a", headers=lies))

    expected = "https://app.example.com/auth/sign-in?return_to=%2Fa"
    assert response.header("Location") == expected


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example", "/a/../b"])
def test_challenge_of_a_path_that_could_lead_away_comes_back_to_the_start(
    path: str,
) -> None:
    response = run(challenge_site().middleware, navigation(path=path))

    assert response.header("Location") == "/auth/sign-in"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        pytest.param("GET", {"Sec-Fetch-Mode": "cors"}, id="fetch"),
        pytest.param(
            "GET",
            {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "image"},
            id="image",
        ),
        pytest.param("GET", {"Accept": "application/json"}, id="JSON client"),
        pytest.param("GET", {"Accept": "*/*"}, id="curl"),
        pytest.param("GET", {}, id="nothing"),
        pytest.param(
            "GET",
            {"Accept": "text/html", "X-Requested-With": "XMLHttpRequest"},
            id="XMLHttpRequest",
        ),
        pytest.param(
            "GET", {"Accept": "text/html", "Sec-Purpose": "prefetch"}, id="prefetch"
        ),
        pytest.param(
            "GET", {"Accept": "text/html", "Upgrade": "websocket"}, id="WebSocket"
        ),
        pytest.param("POST", {"Accept": "text/html"}, id="form"),
        pytest.param("PUT", {"Accept": "text/html"}, id="PUT"),
    ],
)
def test_anything_but_a_navigation_is_told_401(
    method: str, headers: dict[str, str]
) -> None:
    """A script cannot follow a redirect to WorkOS, and cannot see why it failed."""
    request = environ(method, "/a", query="b=c", headers=headers)
    response = run(challenge_site().middleware, request)

    assert response.status == 401
    assert response.header("Content-Type") == "application/json"
    body = response.json()
    assert isinstance(body["error"].pop("message"), str)
    assert body == {
        "error": {"code": "unauthenticated", "reason": "no_cookie"},
        "signInUrl": "/auth/sign-in",
    }
    assert response.header("Location") is None
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert response.set_cookies == []


def test_challenge_to_head_has_no_body() -> None:
    response = run(challenge_site().middleware, navigation(method="HEAD"))

    assert response.status == 401
    assert response.body == b""
    assert response.header("Content-Type") == "application/json"


def test_challenge_says_why_nobody_is_signed_in() -> None:
    harness = challenge_site()
    harness.sign_in()
    cookie = cookie_of(harness)
    # Whatever the last character of the MAC is, another one.
    cookie = f"{cookie[:-3]}{'E' if cookie[-3] == 'A' else 'A'}~2"
    response = run(harness.middleware, environ(headers={"Cookie": cookie}))

    assert response.json()["error"]["reason"] == "invalid_cookie"


def unavailable(**headers: str) -> Response:
    harness = challenge_site()
    cookie = expired(harness)
    harness.workos.fail(Status(429, headers={"Retry-After": "4"}))
    request = environ(path="/a", headers={**headers, "Cookie": cookie})
    response = run(harness.middleware, request)
    assert response.set_cookies == []
    return response


def test_challenge_during_an_outage_is_a_page_that_loads_itself_again() -> None:
    """A redirect to sign in would end at a WorkOS that does not answer."""
    response = unavailable(Accept="text/html")

    assert response.status == 503
    assert response.header("Retry-After") == "4"
    assert response.header("Content-Type") == "text/html; charset=utf-8"
    assert '<meta http-equiv="refresh" content="4">' in response.text
    assert response.header("Cache-Control") == CACHE_CONTROL


def test_challenge_during_an_outage_is_json_for_a_script() -> None:
    response = unavailable(Accept="application/json")

    assert response.status == 503
    assert response.header("Retry-After") == "4"
    assert response.json()["error"]["code"] == "unavailable"
    assert response.header("Cache-Control") == CACHE_CONTROL


def test_who_is_signed_in_is_not_challenged() -> None:
    harness = challenge_site()
    harness.sign_in()

    assert run(harness.middleware, navigation(cookie_of(harness))).text == "hello"


def test_expired_session_is_refreshed_and_not_challenged() -> None:
    harness = challenge_site()
    response = run(harness.middleware, navigation(expired(harness)))

    assert response.text == "hello"
    assert len(response.set_cookies) == 1


def test_challenge_deletes_the_cookie_of_a_session_that_is_over() -> None:
    harness = challenge_site()
    cookie = expired(harness)
    session = auth_of(harness, request=navigation(cookie)).session
    harness.workos.revoke_session(session.session_id or "")
    advance_past_results(harness.clock)
    response = run(harness.middleware, navigation(cookie))

    assert response.status == 302
    assert [c.partition(";")[0] for c in response.set_cookies] == ["wos-session="]


def advance_past_results(clock: Clock) -> None:
    """Let the tokens expire, and what is remembered of the last refresh."""
    clock.advance(1000)


def test_unused_return_path_is_where_return_pathname_says() -> None:
    harness = make_site(return_pathname="/dashboard?tab=1")

    finished = finish(harness, auth_of(harness).sign_in_url())

    assert finished.header("Location") == "/dashboard?tab=1"


@pytest.mark.parametrize(
    ("return_pathname", "location"),
    [("/", "/app/"), ("/home", "/app/home"), ("/app/home", "/app/home")],
)
def test_return_pathname_is_below_the_mount_point(
    return_pathname: str, location: str
) -> None:
    harness = make_site(
        return_pathname=return_pathname,
        settings={"redirect_uri": f"{ORIGIN}/app/callback"},
    )
    client = Client(harness.middleware, script_name="/app", clock=harness.clock)

    assert finish(harness, "/app/auth/sign-in", client).header("Location") == location


def test_return_to_of_a_link_survives_the_browser() -> None:
    """What the link encodes, the endpoint decodes once and no more."""
    harness = make_site()
    return_to = "/a?" + urlencode({"q": "100% & more", "next": quote("/b?c=d", "")})

    finished = finish(harness, auth_of(harness).sign_in_url(return_to))

    assert finished.header("Location") == return_to


def test_repr_shows_no_secret() -> None:
    harness = make_site()
    harness.sign_in()
    auth = auth_of(harness, request=navigation(cookie_of(harness)))

    assert repr(auth) == f"<Auth {auth.session!r}>"
    assert isinstance(auth.session, Session)
    assert auth.session.session_id in repr(auth)
    assert auth.session.access_token not in repr(auth)


# The end of a request


class Socket:
    """Something that a server puts into environ, and that can be watched."""


def leftovers(app: WSGIApplication, cookie: str = "") -> int:
    """Return how much of a request is left when the server has let go of it."""
    request = navigation(cookie)
    socket = request["server.socket"] = Socket()
    watched = weakref.ref(socket)
    del socket
    gc.collect()
    gc.disable()
    try:
        body = app(request, lambda *_: lambda _: None)
        assert list(body) == [b"hello"]
        del body, request
        return int(watched() is not None)
    finally:
        gc.enable()


def plain(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_nothing_of_a_request_waits_for_the_garbage_collector() -> None:
    site = make_site(plain)
    site.sign_in()
    site.middleware._app = plain  # without the validator, which keeps things itself

    assert leftovers(plain) == 0
    assert leftovers(site.middleware) == 0
    assert leftovers(site.middleware, cookie_of(site)) == 0


def linked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    environ["authkit"].sign_out_url()
    return plain(environ, start_response)


def linked_late(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    body = plain(environ, start_response)
    environ["authkit"].sign_out_url()
    return body


def generated(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    yield from plain(environ, start_response)


def denied(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("401 Unauthorized", [("Content-Type", "text/plain")])
    return [b"hello"]


@pytest.mark.parametrize("app", [linked, linked_late, generated, denied])
def test_nothing_waits_either_where_the_app_uses_its_handle(
    app: WSGIApplication,
) -> None:
    site = make_site(plain)
    site.sign_in()
    middleware = site.new_middleware(app)

    assert leftovers(middleware) == 0
    assert leftovers(middleware, cookie_of(site)) == 0


@pytest.mark.parametrize("option", ["debug", "eager_auth", "require_auth"])
def test_nothing_waits_either_where_more_is_asked_of_a_request(option: str) -> None:
    site = make_site(plain)
    site.sign_in()
    middleware = site.new_middleware(plain, **{option: True})

    assert leftovers(middleware, cookie_of(site)) == 0


def test_who_wraps_the_middleware_can_ask_after_the_app() -> None:
    site = make_site(plain)
    site.sign_in()
    request = navigation(cookie_of(site))
    run(site.middleware, request)
    auth: Auth = request["authkit"]

    assert auth.session is request["authkit.session"]
    assert auth.sign_out_url() == "/auth/sign-out"
    assert query_of(auth.sign_in_url("/projects"))["return_to"] == "/projects"


def test_change_after_the_app_is_refused() -> None:
    site = make_site(plain)
    site.sign_in()
    request = navigation(cookie_of(site))
    run(site.middleware, request)
    auth: Auth = request["authkit"]
    session = auth.session
    for change in (auth.clear_session, auth.refresh, auth.sign_out):
        with pytest.raises(HeadersSent):
            change()

    assert request["authkit.session"] is auth.session is session


def test_app_that_begins_late_changes_the_request_itself() -> None:
    """A generator calls ``start_response`` when its first part is asked for."""
    seen: list[object] = []

    def lazy(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterator[bytes]:
        environ["authkit"].clear_session()
        seen.append(environ["authkit.session"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"hello"

    site = make_site(lazy)
    site.sign_in()
    response = run(site.middleware, navigation(cookie_of(site)))

    assert seen == [AnonymousSession()]
    assert site.config.cookie_name in "".join(response.set_cookies)


def test_part_of_a_page_that_comes_late_has_the_handle() -> None:
    def streaming(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        auth: Auth = environ["authkit"]
        return (auth.sign_in_url(path).encode() for path in ("/one", "/two"))

    site = make_site(streaming)
    response = run(site.middleware, navigation(""))

    assert response.text.count("/auth/sign-in?return_to=") == 2


def test_response_to_nobody_has_the_very_headers_of_the_app() -> None:
    own = [("Content-Type", "text/plain")]
    seen: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", own)
        return []

    def note(status: str, headers: list[Header], *_: object) -> Any:
        seen.append(headers)

    site = make_site(app)
    site.middleware._app = app  # without the validator, which copies
    site.middleware(navigation(""), note)

    assert seen[0] is own


def dispatched(app: WSGIApplication) -> WSGIApplication:
    """Mount an app below ``/blog``, as dispatchers do: in the environ that they got."""

    def dispatch(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        environ["SCRIPT_NAME"] += "/blog"
        environ["PATH_INFO"] = path.removeprefix("/blog")
        return app(environ, start_response)

    return dispatch


def test_app_that_is_mounted_inside_has_the_addresses_of_the_middleware() -> None:
    seen: list[str] = []

    def blog(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        seen.append(auth.sign_in_url())
        start_response("200 OK", [("Content-Type", "text/plain")])
        seen.append(auth.sign_in_url())
        return []

    run(make_site(dispatched(blog)).middleware, environ(path="/blog/first"))

    assert seen == ["/auth/sign-in", "/auth/sign-in"]


def test_401_of_an_app_that_is_mounted_inside_is_judged_by_the_whole_path() -> None:
    def refuse(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        start_response("401 Unauthorized", [("Content-Type", "text/plain")])
        return []

    site = make_site(dispatched(refuse), api_paths=["/blog/api/:path*"])
    page = navigation("", path="/blog/first")
    api = navigation("", path="/blog/api/posts")

    assert run(site.middleware, page).status == 302
    assert run(site.middleware, api).status == 401


def test_change_in_an_app_that_is_mounted_inside_is_seen_by_it() -> None:
    seen: list[object] = []

    def blog(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        environ["authkit"].clear_session()
        seen.append(environ["authkit.session"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []

    site = make_site(dispatched(blog))
    site.sign_in()
    run(site.middleware, environ(path="/blog/", headers={"Cookie": cookie_of(site)}))

    assert seen == [AnonymousSession()]


def test_headers_that_are_no_list_are_not_lost() -> None:
    """Against PEP 3333, and servers take them."""
    own = ("Content-Type", "text/plain")
    seen: list[Header] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", (header for header in [own]))  # type: ignore[arg-type]
        return []

    def note(status: str, headers: list[Header], *_: object) -> Any:
        seen.extend(headers)

    site = make_site(app)
    site.sign_in()
    site.middleware._app = app  # without the validator, which refuses them
    site.middleware(navigation(cookie_of(site)), note)

    assert own in seen
    assert ("Cache-Control", CACHE_CONTROL) in seen
