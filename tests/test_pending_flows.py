"""``authorization_url``: its cookie goes out with a response that leads there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import pytest
from flask import Flask, redirect, request
from webob.exc import HTTPFound

from tests.gateway import Client, Response, environ, run
from tests.harness import Harness, path_of
from tests.sites import CACHE_CONTROL, EXPIRED, TEXT, make_site, navigation
from wsgi_authkit import Auth, CookieTooLarge, HeadersSent, SignInEvent

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

WORKOS: Final = "https://api.workos.com/user_management/authorize?"


def redirecting(
    make: Callable[[Auth], str] = lambda auth: auth.authorization_url(),
    status: str = "302 Found",
    name: str = "Location",
) -> WSGIApplication:
    """Return an app that sends who is not signed in to the URL that it makes."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        if auth.session:
            start_response("200 OK", [TEXT])
            return [auth.session.user.email.encode()]
        start_response(status, [TEXT, (name, make(auth))])
        return []

    return app


def telling(make: Callable[[Auth], object]) -> WSGIApplication:
    """Return an app that answers with the URLs that it makes."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        text = str(make(environ["authkit"]))
        start_response("200 OK", [TEXT])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [text.encode()]

    return app


def verifiers(response: Response) -> list[str]:
    """Return the verifier cookies that a response sets."""
    return [
        cookie
        for cookie in response.set_cookies
        if cookie.startswith("wos-auth-verifier") and "Max-Age=0" not in cookie
    ]


def finish(harness: Harness, url: str, client: Client | None = None) -> Response:
    """Sign in at WorkOS and return the callback's response."""
    callback = harness.workos.authorize(url, harness.ada)
    return (client or harness.client).get(path_of(callback), cross_site=True)


def location(response: Response) -> str:
    found = response.header("Location")
    assert found is not None, response
    return found


# A redirect that starts the flow


@pytest.mark.parametrize(
    "status",
    [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ],
)
@pytest.mark.parametrize("name", ["Location", "location"])
def test_redirect_to_workos_signs_in(status: str, name: str) -> None:
    app = redirecting(lambda auth: auth.authorization_url("/there"), status, name)
    harness = make_site(app)
    start = harness.client.get("/account")

    assert location(start).startswith(WORKOS)
    assert len(verifiers(start)) == 1
    assert start.headers_all("Cache-Control") == [CACHE_CONTROL]
    assert start.header("Vary") == "Cookie"
    finished = finish(harness, location(start))
    assert finished.header("Location") == "/there"
    assert harness.client.get("/account").text == "ada@example.com"


def test_flow_from_a_sign_up_path_shows_the_sign_up_screen() -> None:
    site = make_site(redirecting(), sign_up_paths=["/join"])
    asked = [location(site.client.get(path)) for path in ("/join", "/reports")]
    chosen = make_site(
        redirecting(lambda auth: auth.authorization_url(screen_hint="sign-in")),
        sign_up_paths=["/join"],
    )

    assert ["screen_hint=sign-up" in url for url in asked] == [True, False]
    assert "screen_hint=sign-in" in location(chosen.client.get("/join"))


def test_verifier_is_that_of_the_sign_in_endpoint() -> None:
    harness = make_site(redirecting())
    ours = verifiers(harness.client.get("/"))[0].split("; ")[1:]
    theirs = verifiers(harness.client.get("/auth/sign-in"))[0].split("; ")[1:]

    assert ours == theirs


def test_without_a_return_path_it_ends_where_sign_in_does() -> None:
    harness = make_site(redirecting(), return_pathname="/home")

    assert finish(harness, location(harness.client.get("/a"))).header("Location") == (
        "/home"
    )


@pytest.mark.parametrize(
    "return_to", ["//evil.example", "https://evil.example/", "/auth/sign-in"]
)
def test_return_path_that_leads_away_or_round_is_dropped(return_to: str) -> None:
    harness = make_site(redirecting(lambda auth: auth.authorization_url(return_to)))

    assert finish(harness, location(harness.client.get("/a"))).header("Location") == "/"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("organization_id", "org_1"),
        ("connection_id", "conn_1"),
        ("provider", "GoogleOAuth"),
        ("login_hint", "ada@example.com"),
        ("domain_hint", "example.com"),
        ("prompt", "login"),
        ("max_age", 0),
        ("screen_hint", "sign-up"),
        ("invitation_token", "token"),
    ],
)
def test_option_reaches_workos(option: str, value: Any) -> None:
    app = redirecting(lambda auth: auth.authorization_url(**{option: value}))
    url = location(make_site(app).client.get("/"))

    assert url.startswith(WORKOS)
    assert f"&{option}=" in url or f"?{option}=" in url


def test_state_is_handed_back_to_on_success() -> None:
    events: list[SignInEvent] = []
    app = redirecting(lambda auth: auth.authorization_url(state='{"cart": 17}'))
    harness = make_site(app, on_success=events.append)
    finish(harness, location(harness.client.get("/")))

    assert [event.state for event in events] == ['{"cart": 17}']


def test_redirects_of_frameworks_leave_the_url_as_it_is() -> None:
    """The ``Location`` is compared as a whole, and some would quote it once more."""
    flask_app = Flask("tests")
    pages: list[WSGIApplication] = [flask_app]

    @flask_app.get("/")
    def home() -> Any:
        return redirect(request.environ["authkit"].authorization_url("/büro?a=b&c"))

    @pages.append
    def webob(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        url = environ["authkit"].authorization_url("/büro?a=b&c")
        return HTTPFound(location=url)(environ, start_response)

    for app in pages:
        assert len(verifiers(make_site(app).client.get("/"))) == 1


def test_form_of_a_page_may_lead_to_workos() -> None:
    harness = make_site(redirecting(status="303 See Other"))

    assert len(verifiers(harness.client.post("/", form={}))) == 1


def test_program_without_fetch_metadata_starts_the_flow() -> None:
    assert len(verifiers(run(make_site(redirecting()).middleware, environ()))) == 1


# What starts none


def test_page_that_does_not_redirect_there_sets_nothing() -> None:
    harness = make_site(telling(lambda auth: auth.authorization_url()))
    response = harness.client.get("/")

    assert response.text.startswith(WORKOS)
    assert response.headers == [TEXT]


@pytest.mark.parametrize(
    ("make", "status"),
    [
        pytest.param(lambda url: f"{url}&x=y", "302 Found", id="a parameter more"),
        pytest.param(lambda url: url[:-1], "302 Found", id="cut"),
        pytest.param(lambda url: "/elsewhere", "302 Found", id="elsewhere"),
        pytest.param(lambda url: f"https://evil.example/?{url}", "302 Found", id="in"),
        pytest.param(lambda url: url, "201 Created", id="no redirect"),
        pytest.param(lambda url: url, "200 OK", id="a page"),
        pytest.param(lambda url: url, "300 Multiple Choices", id="choices"),
        pytest.param(lambda url: url, "404 Not Found", id="an error"),
    ],
)
def test_response_that_leads_elsewhere_starts_nothing(
    make: Callable[[str], str], status: str
) -> None:
    app = redirecting(lambda auth: make(auth.authorization_url()), status)
    response = run(make_site(app).middleware, navigation())

    assert response.set_cookies == []
    assert response.headers_all("Cache-Control") == []


def test_two_locations_start_nothing() -> None:
    """Browsers differ in which one they follow."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        url = environ["authkit"].authorization_url()
        start_response("302 Found", [TEXT, ("Location", url), ("Location", "/b")])
        return []

    assert make_site(app).client.get("/").set_cookies == []


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, id="fetch"),
        pytest.param({"Sec-Purpose": "prefetch"}, id="prefetch"),
        pytest.param({"Purpose": "prefetch"}, id="older prefetch"),
        pytest.param({"Sec-Purpose": "prefetch;prerender"}, id="prerender"),
        pytest.param(
            {"Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors"}, id="img"
        ),
        pytest.param(
            {"X-Requested-With": "XMLHttpRequest", "Sec-Fetch-Mode": None}, id="jQuery"
        ),
        pytest.param({"Upgrade": "websocket"}, id="WebSocket"),
    ],
)
def test_who_does_not_follow_gets_the_redirect_and_no_cookie(
    headers: dict[str, str | None],
) -> None:
    response = make_site(redirecting()).client.get("/", headers=headers)

    assert location(response).startswith(WORKOS)
    assert response.set_cookies == []
    # Somebody else's flow is of no use to who finds it in a cache.
    assert response.headers_all("Cache-Control") == [CACHE_CONTROL]


def test_head_has_no_effect() -> None:
    response = make_site(redirecting()).client.request("HEAD", "/")

    assert response.set_cookies == []


def test_error_page_in_place_of_the_redirect_starts_nothing() -> None:
    """PEP 3333 lets an app replace its headers until the first block is sent."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        url = environ["authkit"].authorization_url()
        start_response("302 Found", [TEXT, ("Location", url)])
        try:
            int("no number")
        except ValueError:
            start_response("500 Internal Server Error", [TEXT], sys.exc_info())
        return [b"sorry"]

    response = make_site(app).client.get("/")

    assert response.status == 500
    assert response.headers == [TEXT]


# Several


def test_only_the_flow_that_is_led_to_starts() -> None:
    urls: list[str] = []

    def make(auth: Auth) -> str:
        urls.extend(
            auth.authorization_url(provider=provider)
            for provider in ("GoogleOAuth", "GitHubOAuth", "AppleOAuth")
        )
        return urls[1]

    harness = make_site(redirecting(make))
    start = harness.client.get("/")

    assert len(set(urls)) == 3
    assert len(verifiers(start)) == 1
    assert finish(harness, urls[1]).status == 303


def test_same_question_has_the_same_answer_within_a_request() -> None:
    def make(auth: Auth) -> list[bool]:
        first = auth.authorization_url("/a", state="x")
        return [
            auth.authorization_url("/a", state="x") == first,
            auth.authorization_url("/b", state="x") == first,
            auth.authorization_url("/a", state="y") == first,
        ]

    harness = make_site(telling(make))

    assert harness.client.get("/").text == "[True, False, False]"


def test_requests_have_flows_of_their_own() -> None:
    harness = make_site(redirecting())

    assert location(harness.client.get("/")) != location(harness.client.get("/"))


def test_five_flows_are_pending_at_most() -> None:
    harness = make_site(redirecting())
    for _ in range(8):
        harness.client.get("/")
        harness.clock.advance(1)

    assert len(list(harness.client.jar)) == 5


def test_pages_that_only_ask_leave_nothing() -> None:
    harness = make_site(telling(lambda auth: auth.authorization_url()))
    for _ in range(20):
        harness.client.get("/")

    assert list(harness.client.jar) == []


# start=True


@pytest.mark.parametrize("fetch", [False, True], ids=["page", "script"])
def test_start_sends_the_cookie_with_any_response(*, fetch: bool) -> None:
    app = telling(lambda auth: auth.authorization_url("/there", start=True))
    harness = make_site(app)
    response = harness.client.get("/", fetch=fetch)

    assert len(verifiers(response)) == 1
    assert response.headers_all("Cache-Control") == [CACHE_CONTROL]
    assert finish(harness, response.text).header("Location") == "/there"


def test_flow_that_was_asked_for_can_be_started_later() -> None:
    def make(auth: Auth) -> str:
        first = auth.authorization_url()
        assert auth.authorization_url(start=True) == first
        return auth.authorization_url()  # does not take it back

    response = make_site(telling(make)).client.get("/")

    assert len(verifiers(response)) == 1


def test_started_flow_is_sent_once_although_the_response_leads_there() -> None:
    app = redirecting(lambda auth: auth.authorization_url(start=True))

    assert len(verifiers(make_site(app).client.get("/"))) == 1


def test_flows_of_one_page_count_towards_those_that_may_be_pending() -> None:
    def make(auth: Auth) -> str:
        urls = [auth.authorization_url(state=str(n), start=True) for n in range(9)]
        return urls[-1]

    harness = make_site(telling(make))
    last = harness.client.get("/").text

    assert len(list(harness.client.jar)) <= 5
    assert finish(harness, last).status == 303


# Too late, and what cannot be


def late(make: Callable[[Auth], str]) -> WSGIApplication:
    """Return an app that asks once its headers are sent."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        yield make(environ["authkit"]).encode()

    return app


@pytest.mark.parametrize("start", [False, True])
def test_after_start_response_nothing_can_start(*, start: bool) -> None:
    harness = make_site(late(lambda auth: auth.authorization_url(start=start)))

    with pytest.raises(HeadersSent, match="before start_response"):
        harness.client.get("/")


def test_flow_that_has_started_can_be_asked_for_after_start_response() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        url = auth.authorization_url(start=True)
        start_response("200 OK", [TEXT])
        assert auth.authorization_url() == url
        with pytest.raises(HeadersSent):
            auth.authorization_url("/another")
        return [url.encode()]

    assert make_site(app).client.get("/").text.startswith(WORKOS)


def test_flow_that_did_not_start_cannot_be_asked_for_after_start_response() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        auth.authorization_url()
        start_response("200 OK", [TEXT])
        with pytest.raises(HeadersSent):
            auth.authorization_url(start=True)
        return [b""]

    assert make_site(app).client.get("/").set_cookies == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_age": -1}, ValueError),
        ({"screen_hint": "sign-out"}, ValueError),
        ({"state": "a" * 2049}, CookieTooLarge),
        ({"colour": "blue"}, TypeError),
        ({"organization_id": ["org_1"]}, ValueError),
    ],
)
def test_option_that_workos_does_not_take_is_refused(
    options: dict[str, Any], error: type[Exception]
) -> None:
    def make(auth: Auth) -> str:
        with pytest.raises(error):
            auth.authorization_url(**options)
        return "refused"

    response = make_site(telling(make)).client.get("/")

    assert response.text == "refused"
    assert response.headers == [TEXT]


# With sessions, prefixes, other addresses


def test_cookies_of_session_and_flow_go_out_together() -> None:
    """Somebody signed in is sent to sign in once more, by another provider."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        url = environ["authkit"].authorization_url(provider="GoogleOAuth")
        start_response("302 Found", [TEXT, ("Location", url)])
        return []

    harness = make_site(app)
    harness.sign_in()
    harness.clock.advance(EXPIRED)
    names = [c.partition("=")[0] for c in harness.client.get("/").set_cookies]

    assert names[0] == "wos-session"
    assert names[1].startswith("wos-auth-verifier-")


def test_app_below_a_prefix_signs_in() -> None:
    harness = make_site(
        redirecting(lambda auth: auth.authorization_url("/app/there")),
        settings={"redirect_uri": "http://localhost:8000/app/callback"},
    )
    client = Client(harness.middleware, script_name="/app", clock=harness.clock)
    start = client.get("/app/account")

    assert "Path=/app" in verifiers(start)[0].split("; ")
    assert finish(harness, location(start), client).header("Location") == "/app/there"


def go_round(harness: Harness) -> Response:
    """Sign in and lose the session; return the last response."""
    start = harness.client.get("/account")
    if not location(start).startswith(WORKOS):
        return harness.client.get(location(start))
    finished = finish(harness, location(start))
    lost = "wos-session=; Path=/; Max-Age=0"
    harness.client.jar.store("http://localhost:8000/", lost)
    return finished


def test_loop_is_broken_at_the_third_start_after_a_sign_in() -> None:
    """A browser that keeps no session would go round for ever, without a question."""
    errors: list[str] = []
    harness = make_site(
        redirecting(), on_error=lambda error, environ: errors.append(error.code)
    )

    assert [go_round(harness).status for _ in range(3)] == [303, 303, 303]
    assert go_round(harness).status == 400
    assert errors == ["sign_in_loop"]
    assert harness.workos.count("exchange") == 3
    assert go_round(harness).status == 303  # the person may try again


def test_flows_that_do_not_start_do_not_count() -> None:
    harness = make_site(telling(lambda auth: auth.authorization_url()))
    harness.sign_in()
    harness.client.jar.store(
        "http://localhost:8000/", "wos-session=; Path=/; Max-Age=0"
    )

    for _ in range(10):
        assert harness.client.get("/").text.startswith(WORKOS)


@pytest.mark.parametrize("base_url", [None, "https://app.example"])
def test_where_no_flow_can_start_it_leads_to_the_page_that_says_so(
    base_url: str | None,
) -> None:
    errors: list[str] = []
    harness = make_site(
        redirecting(lambda auth: auth.authorization_url("/there", state="x")),
        redirect_uri=lambda environ: f"https://{environ['HTTP_HOST']}/callback",
        allowed_redirect_uris=["https://app.example/callback"],
        base_url=base_url,
        on_error=lambda error, environ: errors.append(error.code),
    )
    client = Client(harness.middleware, base="https://evil.example")
    start = client.get("/account")
    page = client.get(location(start).removeprefix(base_url or ""))

    assert location(start).startswith(f"{base_url or ''}/auth/sign-in?return_to=")
    assert start.set_cookies == []
    assert page.status == 400
    assert errors == ["redirect_uri_refused"]


def test_flows_that_start_together_set_each_cookie_once() -> None:
    """RFC 6265 4.1.1. Both bring the marker that counts sign-ins."""

    def start_two(auth: Auth) -> None:
        auth.authorization_url("/a", start=True)
        auth.authorization_url("/b", start=True)

    harness = make_site(telling(start_two))
    harness.sign_in()
    [marker] = [one for one in harness.client.jar if one.name == "wos-auth-marker"]
    response = run(harness.middleware, navigation(f"{marker.name}={marker.value}"))
    names = [value.partition("=")[0] for value in response.set_cookies]

    assert "wos-auth-marker" in names
    assert len(names) == len(set(names)) == 3
