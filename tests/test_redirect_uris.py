"""Several redirect URIs: which are ours, which one a request uses, what follows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.gateway import Client, Response, environ, run
from tests.harness import PASSWORD, Harness, make_config, path_of, show_session
from tests.sites import EXPIRED, answer, make_site, navigation
from wsgi_authkit import (
    Auth,
    AuthKitMiddleware,
    AuthKitService,
    ConfigurationError,
    SignInEvent,
)
from wsgi_authkit.authorization import (
    code_challenge,
    new_flow,
    seal_flow,
    verifier_cookie_name,
)
from wsgi_authkit.endpoints import MOUNTED
from wsgi_authkit.redirect_uris import RedirectURIs

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

ONE: Final = "https://pr-1.preview.example/callback"
TWO: Final = "https://pr-2.preview.example/callback"
LOCAL: Final = "http://localhost:8000/callback"
EVIL: Final = "https://evil.example/callback"


def by_host(environ: WSGIEnvironment) -> str:
    """Answer as an app for previews does, without a check of its own."""
    scheme = "http" if environ["HTTP_HOST"].startswith("localhost") else "https"
    return f"{scheme}://{environ['HTTP_HOST']}/callback"


def broken(environ: WSGIEnvironment) -> str:
    raise LookupError("canary")


def previews(app: Any = show_session, **options: Any) -> Harness:
    """Return a site with two previews; the configured redirect URI is the first."""
    settings = {"redirect_uri": ONE, **options.pop("settings", {})}
    defaults = {"redirect_uri": by_host, "allowed_redirect_uris": [ONE, TWO]}
    return make_site(app, settings=settings, **{**defaults, **options})


def browser(harness: Harness, redirect_uri: str) -> Client:
    """Return another browser, at the address of a redirect URI."""
    parts = urlsplit(redirect_uri)
    return Client(
        harness.middleware, base=f"{parts.scheme}://{parts.netloc}", clock=harness.clock
    )


def query_of(url: str | None) -> dict[str, str]:
    query = parse_qs(urlsplit(url or "").query, strict_parsing=True)
    return {name: values[0] for name, values in query.items()}


def sent_to(response: Response) -> str:
    """Return the redirect URI that WorkOS is asked to come back to."""
    assert response.status == 302, response
    return query_of(response.header("Location"))["redirect_uri"]


def approve(harness: Harness, start: Response) -> str:
    """Return the callback URL of somebody who has signed in at WorkOS."""
    return harness.workos.authorize(start.header("Location") or "", harness.ada)


def attributes(response: Response, name: str) -> list[str]:
    """Return the attributes of the one cookie that is set under a name."""
    [cookie] = [
        cookie
        for cookie in response.set_cookies
        if cookie.startswith(name) and "Max-Age=0" not in cookie
    ]
    return cookie.split("; ")[1:]


# Options


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of an app, without a redirect URI."""
    for name in ("WORKOS_REDIRECT_URI", "NEXT_PUBLIC_WORKOS_REDIRECT_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORKOS_CLIENT_ID", "client_test")
    monkeypatch.setenv("WORKOS_API_KEY", "sk_test_fake")
    monkeypatch.setenv("WORKOS_COOKIE_PASSWORD", PASSWORD)


def problems(config: Any = None, **options: Any) -> tuple[str, ...]:
    """Return what is wrong with the options of a middleware."""
    with pytest.raises(ConfigurationError) as raised:
        AuthKitMiddleware(show_session, config, **options)
    return raised.value.problems


@pytest.mark.usefixtures("settings")
def test_redirect_uri_of_the_code_makes_the_setting_optional() -> None:
    middleware = AuthKitMiddleware(show_session, redirect_uri=ONE)

    assert middleware.service.config.redirect_uri == ONE


@pytest.mark.usefixtures("settings")
def test_first_of_the_list_is_the_one_of_no_request() -> None:
    middleware = AuthKitMiddleware(
        show_session, redirect_uri=by_host, allowed_redirect_uris=[TWO, ONE]
    )

    assert middleware.service.config.redirect_uri == TWO


@pytest.mark.usefixtures("settings")
def test_environment_names_the_one_of_no_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKOS_REDIRECT_URI", ONE)
    middleware = AuthKitMiddleware(
        show_session, redirect_uri=by_host, allowed_redirect_uris=[TWO]
    )

    assert middleware.service.config.redirect_uri == ONE


@pytest.mark.usefixtures("settings")
def test_list_alone_does_not_make_the_setting_optional() -> None:
    [problem] = problems(allowed_redirect_uris=[ONE])

    assert problem.startswith("redirect_uri (WORKOS_REDIRECT_URI) is missing")


def test_callable_without_a_list_is_refused() -> None:
    [problem] = problems(make_config(), redirect_uri=by_host)

    assert "allowed_redirect_uris" in problem
    assert "Host" in problem


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"redirect_uri": 5}, "must be a URL", id="number"),
        pytest.param(
            {"allowed_redirect_uris": ONE}, "must be a list", id="string for a list"
        ),
        pytest.param({"allowed_redirect_uris": 5}, "must be a list", id="no list"),
        pytest.param(
            {"allowed_redirect_uris": [ONE, "/callback"]},
            "entry 2, must be an absolute",
            id="path",
        ),
        pytest.param(
            {"allowed_redirect_uris": ["https://*.example/callback"]},
            "entry 1, must be an absolute",
            id="wildcard",
        ),
        pytest.param(
            {"allowed_redirect_uris": [f"{ONE}#top"]}, "has a fragment", id="fragment"
        ),
        pytest.param(
            {"allowed_redirect_uris": ["http://app.example/callback"]},
            "allow_insecure",
            id="http off this machine",
        ),
        pytest.param(
            {"allowed_redirect_uris": ["https://app.example"]}, "has no path", id="home"
        ),
        pytest.param(
            {"allowed_redirect_uris": ["https://app.example/x/sign-in"], "mount": "/x"},
            "endpoints below mount",
            id="endpoint",
        ),
        pytest.param({"allowed_redirect_uris": [5]}, "must be a URL", id="entry"),
        pytest.param({"allowed_redirect_uris": [""]}, "must be a URL", id="empty"),
    ],
)
@pytest.mark.parametrize("lazily", [False, True], ids=["now", "at the first request"])
def test_option_that_cannot_work_is_refused(
    options: dict[str, Any], words: str, *, lazily: bool
) -> None:
    def make() -> Any:
        config: Any = make_config if lazily else make_config()
        return AuthKitMiddleware(show_session, config, **options).service

    with pytest.raises(ConfigurationError, match=words) as raised:
        make()
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cookie_domain": "preview.example"}, "cookie_domain"),
        ({"cookie_name": "__Host-wos-session"}, "https only"),
    ],
)
def test_listed_uri_has_to_go_with_the_cookies(
    settings: dict[str, Any], words: str
) -> None:
    config = make_config(redirect_uri=ONE, **settings)
    [problem] = problems(config, allowed_redirect_uris=[TWO, LOCAL])

    assert problem.startswith("allowed_redirect_uris, entry 2, does not go with")
    assert words in problem


@pytest.mark.usefixtures("settings")
def test_problems_of_list_and_settings_are_in_one_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WORKOS_API_KEY")
    found = problems(
        redirect_uri=by_host,
        allowed_redirect_uris=["http://app.example/callback", "/path"],
        mount="auth",
    )

    assert [problem.split()[0] for problem in found] == [
        "mount",
        "allowed_redirect_uris,",
        "allowed_redirect_uris,",
        "api_key",
        "redirect_uri",
    ]


@pytest.mark.parametrize("by_config", [False, True])
def test_http_off_this_machine_can_be_allowed(*, by_config: bool) -> None:
    uri = "http://app.internal/callback"
    AuthKitMiddleware(
        show_session,
        make_config(allow_insecure=by_config),
        allowed_redirect_uris=[uri],
        allow_insecure=not by_config,
    )


def test_every_path_of_a_mounted_endpoint_is_taken() -> None:
    for endpoint in MOUNTED:
        uri = f"https://app.example/auth{endpoint}"
        [problem] = problems(make_config(), allowed_redirect_uris=[uri])
        assert "endpoints below mount" in problem


# The one of a request


def test_callable_is_asked_once_a_request() -> None:
    asked: list[WSGIEnvironment] = []

    def choose(environ: WSGIEnvironment) -> str:
        asked.append(environ)
        return ONE

    harness = previews(redirect_uri=choose)
    for path in ("/", "/auth/sign-in", "/callback", "/auth/sign-out"):
        asked.clear()
        request = navigation(path=path, query="code=x&state=y")
        run(harness.middleware, request)
        assert [environ["PATH_INFO"] for environ in asked] == [path]
        assert asked[0] is request


def test_nobody_is_asked_where_the_redirect_uri_is_a_string() -> None:
    uris = RedirectURIs(ONE, [TWO])

    assert uris.choice({}) is uris.choice({})
    assert uris.choice({}) == (ONE, None)


@pytest.mark.parametrize(
    "answer",
    [
        EVIL,
        "http://pr-1.preview.example/callback",
        "https://pr-1.preview.example/callback/",
        "https://pr-1.preview.example/callback?x",
        "https://PR-1.preview.example/callback",
        "https://pr-1.preview.example:443/callback",
        "https://pr-1.preview.example@evil.example/callback",
        "https://pr-1.preview.example",
        "",
        None,
        5,
        [ONE],
    ],
)
def test_answer_that_is_not_listed_exactly_is_refused(answer: Any) -> None:
    choice = RedirectURIs(ONE, [TWO], lambda environ: answer).choice({})

    assert choice.uri == ONE
    assert choice.error is not None
    assert choice.error.code == "redirect_uri_refused"


def test_configured_one_need_not_be_listed() -> None:
    assert RedirectURIs(ONE, [TWO], lambda environ: ONE).choice({}) == (ONE, None)


@pytest.mark.parametrize(
    ("script_name", "path", "found"),
    [
        ("", "/callback", [ONE, TWO]),
        ("/app", "/callback", ["https://a.example/app/callback"]),
        ("", "/app/callback", ["https://a.example/app/callback"]),
        ("/other", "/callback", [ONE, TWO]),
        ("", "/b\xc3\xbcro", ["https://a.example/b%C3%BCro"]),
        ("", "/callback/", []),
        ("", "/Callback", []),
        ("/call", "back", [ONE, TWO]),
        ("", "", []),
    ],
)
def test_callbacks_answer_on_the_path_of_every_uri(
    script_name: str, path: str, found: list[str]
) -> None:
    uris = RedirectURIs(
        ONE, [TWO, "https://a.example/app/callback", "https://a.example/b%C3%BCro"]
    )
    request = {"SCRIPT_NAME": script_name, "PATH_INFO": path}

    assert list(uris.answering(request)) == found


# Round trips


def test_previews_sign_in_each_with_their_own_cookies() -> None:
    harness = previews()
    one, two = browser(harness, ONE), browser(harness, TWO)
    one.jar = two.jar  # one browser, two tabs
    starts = {uri: tab.get("/auth/sign-in") for uri, tab in ((ONE, one), (TWO, two))}
    assert {uri: sent_to(start) for uri, start in starts.items()} == {
        ONE: ONE,
        TWO: TWO,
    }

    callback = approve(harness, starts[ONE])
    assert callback.startswith(f"{ONE}?")
    assert one.get(callback, cross_site=True).status == 303
    assert harness.who(one)["user"] == "ada@example.com"
    assert harness.who(two)["user"] is None

    callback = approve(harness, starts[TWO])
    assert callback.startswith(f"{TWO}?")
    finished = two.get(callback, cross_site=True)
    assert finished.header("Location") == "/"
    assert "Secure" in attributes(finished, "wos-session")
    assert harness.who(two)["user"] == "ada@example.com"
    hosts = {c.domain for c in two.jar if c.name == "wos-session"}
    assert hosts == {urlsplit(uri).hostname for uri in (ONE, TWO)}
    assert [c.name for c in two.jar if c.name.startswith("wos-auth-verifier")] == []


def test_previews_sign_out_to_their_own_address() -> None:
    harness = previews()
    client = browser(harness, TWO)
    start = client.get("/auth/sign-in")
    client.get(approve(harness, start), cross_site=True)
    response = client.post("/auth/sign-out", form={"return_to": "/bye"})

    location = query_of(response.header("Location"))
    assert location["return_to"] == "https://pr-2.preview.example/bye"
    assert harness.who(client)["user"] is None


def test_challenge_and_url_functions_of_a_preview_lead_to_its_callback() -> None:
    def app(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        return auth.challenge()(environ, start_response)

    harness = previews(app)
    client = browser(harness, TWO)
    location = client.get("/page").header("Location") or ""

    assert location.startswith("/auth/sign-in?")
    assert sent_to(client.get(location)) == TWO


def test_link_asks_for_one_of_the_list() -> None:
    """Without a callable: one process, two addresses, links between them."""
    harness = make_site(
        settings={"redirect_uri": LOCAL},
        allowed_redirect_uris=[ONE, "https://pr-1.preview.example/x/callback"],
    )
    request = environ()
    run(harness.middleware, request)
    auth: Auth = request["authkit"]
    link = auth.sign_in_url("/there", redirect_uri=ONE)
    client = browser(harness, ONE)
    start = client.get(link)

    assert sent_to(start) == ONE
    assert "Secure" in attributes(start, "wos-auth-verifier")
    finished = client.get(approve(harness, start), cross_site=True)
    assert finished.header("Location") == "/there"
    for name in ("wos-session", "wos-auth-marker"):
        assert "Secure" in attributes(finished, name)
    assert harness.who(client)["user"] == "ada@example.com"


def test_composed_middleware_asks_for_one_of_the_list() -> None:
    def app(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
        url = environ["authkit"].authorization_url(redirect_uri=ONE)
        headers = [("Location", url), ("Content-Type", "text/plain")]
        start_response("302 Found", headers)
        return []

    harness = make_site(
        app, settings={"redirect_uri": LOCAL}, allowed_redirect_uris=[ONE]
    )
    start = browser(harness, ONE).get("/")

    assert sent_to(start) == ONE
    assert "Secure" in attributes(start, "wos-auth-verifier")


@pytest.mark.parametrize("name", ["sign_in_url", "sign_up_url", "authorization_url"])
@pytest.mark.parametrize("uri", [EVIL, "/callback", f"{ONE}/", ""])
def test_link_asks_for_no_other(name: str, uri: str) -> None:
    def app(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
        with pytest.raises(ValueError, match="allowed_redirect_uris"):
            getattr(environ["authkit"], name)(redirect_uri=uri)
        return answer()(environ, start_response)

    assert browser(previews(app), ONE).get("/").status == 200


def test_callback_paths_may_differ() -> None:
    other = "https://pr-2.preview.example/x/finish"
    harness = previews(
        redirect_uri=lambda environ: (
            other if environ["HTTP_HOST"].startswith("pr-2") else ONE
        ),
        allowed_redirect_uris=[ONE, other],
        mount="/x",
    )
    client = browser(harness, other)
    start = client.get("/x/sign-in")

    assert "Path=/x" in attributes(start, "wos-auth-verifier")
    finished = client.get(approve(harness, start), cross_site=True)
    assert finished.status == 303
    assert "Path=/x" in attributes(finished, "wos-auth-marker")
    assert {c.name for c in client.jar} == {"wos-session", "wos-auth-marker"}


def test_every_callback_is_no_return_path() -> None:
    other = "https://pr-2.preview.example/x/finish"
    request = environ(host="pr-1.preview.example", script_name="/app")
    run(previews(allowed_redirect_uris=[ONE, other]).middleware, request)

    for path in ("/callback", "/x/finish", "/app/x/finish", "/x/%66inish/"):
        assert request["authkit"].sign_in_url(path) == "/app/auth/sign-in"


# https and http


def mixed() -> Harness:
    return previews(allowed_redirect_uris=[ONE, LOCAL])


@pytest.mark.parametrize(("uri", "secure"), [(ONE, True), (LOCAL, False)])
def test_secure_follows_the_redirect_uri_in_use(uri: str, *, secure: bool) -> None:
    harness = mixed()
    client = browser(harness, uri)
    start = client.get("/auth/sign-in")
    finished = client.get(approve(harness, start), cross_site=True)
    harness.clock.advance(EXPIRED)
    refreshed = client.get("/")
    signed_out = client.post("/auth/sign-out", form={})

    found = {
        "verifier": attributes(start, "wos-auth-verifier"),
        "session": attributes(finished, "wos-session"),
        "marker": attributes(finished, "wos-auth-marker"),
        "refreshed": attributes(refreshed, "wos-session"),
    }
    assert {name: "Secure" in kept for name, kept in found.items()} == dict.fromkeys(
        found, secure
    )
    for cookie in signed_out.set_cookies:
        assert ("Secure" in cookie.split("; ")) is secure
    assert harness.who(client)["user"] is None


def test_cookies_of_an_unknown_address_are_secure() -> None:
    """A refreshed session does not go out in clear text for a Host nobody listed."""
    harness = previews(
        settings={"redirect_uri": LOCAL}, allowed_redirect_uris=[LOCAL, ONE]
    )
    client = browser(harness, LOCAL)
    client.get(approve(harness, client.get("/auth/sign-in")), cross_site=True)
    cookie = f"wos-session={harness.session_cookie(client)}"
    harness.clock.advance(EXPIRED)
    refreshed = run(harness.middleware, navigation(cookie, host="other.example"))

    assert refreshed.status == 200
    assert "Secure" in attributes(refreshed, "wos-session")


# Where the app's answer is of no use


@pytest.mark.parametrize(
    ("choose", "status", "code", "words"),
    [
        pytest.param(
            by_host,
            400,
            "redirect_uri_refused",
            ["https://evil.example/callback", "allowed_redirect_uris", "dashboard"],
            id="not listed",
        ),
        pytest.param(broken, 500, "hook_failed", ["redirect_uri raised"], id="raises"),
        pytest.param(
            lambda environ: None,
            400,
            "redirect_uri_refused",
            ["answered with NoneType"],
            id="no string",
        ),
    ],
)
def test_sign_in_shows_a_page_and_the_log_says_what_to_do(
    choose: Callable[[WSGIEnvironment], Any],
    status: int,
    code: str,
    words: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors: list[Any] = []
    harness = previews(
        redirect_uri=choose, on_error=lambda error, environ: errors.append(error)
    )
    response = browser(harness, EVIL).get("/auth/sign-in")

    assert response.status == status
    assert response.header("Location") is None
    assert response.set_cookies == []
    assert "evil.example" not in response.text
    assert [error.code for error in errors] == [code]
    logged = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(logged) == 1
    assert all(word in logged[0].getMessage() for word in words)


def test_on_error_may_answer_for_an_unknown_address() -> None:
    harness = previews(on_error=lambda error, environ: answer(body=b"use the other"))
    response = browser(harness, EVIL).get("/auth/sign-in")

    assert response.body == b"use the other"


def test_flood_of_unknown_addresses_is_one_line_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = previews()
    for number in range(5):
        browser(harness, f"https://{number}.evil.example/").get("/auth/sign-in")

    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1


def test_log_shows_no_query_of_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    harness = previews(redirect_uri=lambda environ: f"{EVIL}?token=canary\n")
    browser(harness, ONE).get("/auth/sign-in")

    assert "canary" not in caplog.text
    assert EVIL in caplog.text


@pytest.mark.parametrize("choose", [by_host, broken], ids=["not listed", "raises"])
def test_other_pages_are_served_at_an_unknown_address(
    choose: Callable[[WSGIEnvironment], str],
) -> None:
    """Health checks come to addresses of their own."""
    harness = previews(redirect_uri=choose)
    client = browser(harness, "https://10.0.0.7:8000/")

    assert client.get("/").json()["reason"] == "no_cookie"
    assert client.get("/auth/sign-out").status == 200


def test_link_that_asks_for_its_own_works_where_the_app_has_no_answer() -> None:
    harness = previews()
    request = environ(host="unknown.example")
    run(harness.middleware, request)
    link = request["authkit"].sign_in_url(redirect_uri=ONE)

    assert sent_to(browser(harness, EVIL).get(link)) == ONE


def test_restart_at_an_unknown_address_shows_the_page() -> None:
    harness = previews()
    callback = approve(harness, browser(harness, ONE).get("/auth/sign-in"))
    stranger = Client(
        harness.middleware, base="https://unknown.example", clock=harness.clock
    )
    response = stranger.get(path_of(callback), cross_site=True)

    assert response.status == 400
    assert response.header("Location") is None
    assert "does not work at this address" in response.text
    assert [
        cookie for cookie in response.set_cookies if "Max-Age=0" not in cookie
    ] == []


# Flows of elsewhere


def test_flow_of_one_host_is_started_again_on_the_other() -> None:
    """The cookie stayed at the first host; its code is not exchanged at the second."""
    harness = previews()
    callback = approve(harness, browser(harness, ONE).get("/auth/sign-in?return_to=/a"))
    client = browser(harness, TWO)
    again = client.get(path_of(callback), cross_site=True)

    assert harness.workos.count() == 0
    assert sent_to(again) == TWO
    finished = client.get(approve(harness, again), cross_site=True)
    assert finished.header("Location") == "/a"
    assert harness.who(client)["user"] == "ada@example.com"


def test_flow_of_a_listed_host_is_started_again_for_it() -> None:
    """Without a callable the flow itself says where it is finished."""
    harness = make_site(settings={"redirect_uri": LOCAL}, allowed_redirect_uris=[ONE])
    request = environ()
    run(harness.middleware, request)
    link = request["authkit"].sign_in_url(redirect_uri=ONE)
    callback = approve(harness, harness.client.get(link))
    client = browser(harness, ONE)  # the verifier cookie stayed at localhost
    again = client.get(callback, cross_site=True)

    assert sent_to(again) == ONE
    assert "Secure" in attributes(again, "wos-auth-verifier")
    assert client.get(approve(harness, again), cross_site=True).status == 303


def test_hosts_of_one_domain_may_share_flows_and_sessions() -> None:
    """Where the cookie is sent to both, the second host may finish what is its own."""
    harness = previews(settings={"cookie_domain": "preview.example"})
    one, two = browser(harness, ONE), browser(harness, TWO)
    two.jar = one.jar
    callback = approve(harness, one.get("/auth/sign-in"))
    finished = two.get(path_of(callback), cross_site=True)

    assert finished.status == 303
    assert "Domain=preview.example" in attributes(finished, "wos-session")
    assert [harness.who(tab)["user"] for tab in (one, two)] == ["ada@example.com"] * 2


def forged(harness: Harness, redirect_uri: str | None) -> tuple[Client, str]:
    """Return a browser with a flow of another app that knows the password.

    Also the query of its callback, whose code WorkOS would exchange.
    """
    service = harness.middleware.service
    flow = new_flow(harness.clock(), redirect_uri=redirect_uri)
    state = seal_flow(service.encryption, flow)
    client = browser(harness, ONE)
    cookie = f"{verifier_cookie_name(state)}={state}; Path=/; Secure"
    client.jar.store(ONE, cookie)
    url = service.api.authorization_url(
        {
            "client_id": "client_test",
            "redirect_uri": redirect_uri or ONE,
            "response_type": "code",
            "provider": "authkit",
            "state": state,
            "code_challenge": code_challenge(flow.code_verifier),
            "code_challenge_method": "S256",
        }
    )
    return client, urlsplit(harness.workos.authorize(url, harness.ada)).query


@pytest.mark.parametrize(
    "redirect_uri",
    [
        pytest.param(EVIL, id="another site"),
        pytest.param("https://pr-1.preview.example/next/callback", id="another app"),
        pytest.param("https://pr-2.preview.example/other", id="another of our paths"),
    ],
)
def test_flow_of_another_redirect_uri_is_not_finished_here(redirect_uri: str) -> None:
    harness = previews(
        allowed_redirect_uris=[ONE, TWO, "https://pr-2.preview.example/other"]
    )
    client, query = forged(harness, redirect_uri)
    response = client.get(f"/callback?{query}", cross_site=True)

    assert response.status == 400
    assert "does not work at this address" in response.text
    assert harness.workos.count() == 0
    assert harness.session_cookie(client) is None
    assert [c for c in client.jar if c.name.startswith("wos-auth-verifier")] == []


@pytest.mark.parametrize("redirect_uri", [None, ONE, TWO])
def test_flow_of_a_redirect_uri_that_is_answered_here_is_finished(
    redirect_uri: str | None,
) -> None:
    harness = previews()
    client, query = forged(harness, redirect_uri)

    assert client.get(f"/callback?{query}", cross_site=True).status == 303


@pytest.mark.parametrize(
    ("chosen", "started_for", "secure"), [(LOCAL, ONE, True), (ONE, LOCAL, False)]
)
@pytest.mark.parametrize("replaces", [False, True])
def test_session_of_a_flow_is_as_secure_as_the_flows_redirect_uri(
    chosen: str, started_for: str, secure: bool, replaces: bool
) -> None:
    """The app says another one of the same path; also where on_success replaces it."""

    def on_success(event: SignInEvent) -> Any:
        user = {"id": event.user.id, "email": event.user.email}
        tokens = {
            "access_token": event.access_token,
            "refresh_token": event.refresh_token,
        }
        return {**tokens, "user": user} if replaces else None

    harness = previews(
        redirect_uri=lambda environ: chosen,
        allowed_redirect_uris=[ONE, LOCAL],
        on_success=on_success,
    )
    client, query = forged(harness, started_for)
    finished = client.get(f"/callback?{query}", cross_site=True)

    assert finished.status == 303
    assert ("Secure" in attributes(finished, "wos-session")) is secure


def test_flow_without_a_redirect_uri_is_that_of_the_configured_one() -> None:
    """It is not finished on the path of another one."""
    harness = previews(
        settings={"redirect_uri": "https://pr-1.preview.example/first"},
        redirect_uri="https://pr-1.preview.example/first",
    )
    client, query = forged(harness, None)

    assert client.get(f"/callback?{query}", cross_site=True).status == 400
    assert harness.workos.count() == 0


def test_restart_never_takes_the_redirect_uri_of_a_foreign_state() -> None:
    harness = make_site(settings={"redirect_uri": ONE})
    client, query = forged(harness, EVIL)
    client.jar = Client(harness.middleware).jar  # without the verifier cookie
    response = client.get(f"/callback?{query}", cross_site=True)

    assert sent_to(response) == ONE


# Lies


@pytest.mark.parametrize("path", ["/", "/auth/sign-in", "/auth/sign-up", "/callback"])
@pytest.mark.parametrize("choose", [by_host, ONE], ids=["callable", "string"])
def test_lies_about_the_host_reach_no_url(path: str, choose: Any) -> None:
    def app(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        urls = [auth.sign_in_url("/a"), auth.sign_out_url("/")]
        urls += [auth.authorization_url(), auth.sign_out("/")]
        start_response("200 OK", [("Content-Type", "text/plain")])
        return ["\n".join(urls).encode()]

    harness = previews(app, redirect_uri=choose)
    lies = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "Forwarded": "host=evil.example",
        "X-Original-Host": "evil.example",
    }
    for host in ("evil.example", "pr-1.preview.example"):
        request = navigation(path=path, query="code=x&state=y", host=host)
        for name, value in lies.items():
            request[f"HTTP_{name.upper().replace('-', '_')}"] = value
        response = run(harness.middleware, request)
        assert "evil.example" not in str(response.headers)
        assert "evil.example" not in response.text


# Same-origin proof


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://pr-1.preview.example", 303),
        ("https://pr-2.preview.example", 303),
        ("http://pr-1.preview.example", 403),
        ("https://preview.example", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
        (None, 403),
    ],
)
def test_origin_of_any_redirect_uri_proves_this_site(
    origin: str | None, status: int
) -> None:
    """For browsers without Fetch Metadata."""
    client = browser(previews(), TWO)
    headers = {"Sec-Fetch-Site": None, "Origin": origin}

    assert client.post("/auth/sign-out", form={}, headers=headers).status == status


def test_base_url_is_the_only_origin_where_there_is_one() -> None:
    harness = previews(base_url="https://app.example")
    for origin, status in (("https://app.example", 303), ("https://pr-1.example", 403)):
        headers = {"Sec-Fetch-Site": None, "Origin": origin}
        client = browser(harness, ONE)
        answered = client.post("/auth/sign-out", form={}, headers=headers)
        assert answered.status == status


# The service


def test_service_of_another_redirect_uri_shares_all_but_what_follows_from_it() -> None:
    service = AuthKitService(make_config(redirect_uri=LOCAL))
    other = service.with_redirect_uri(ONE)

    assert other.config.redirect_uri == ONE
    assert other.api is service.api
    assert other.with_redirect_uri(ONE) is other
    assert other.with_redirect_uri(LOCAL).config == service.config
    assert other.with_redirect_uri(LOCAL).api is service.api
    assert service.with_redirect_uri(LOCAL) is service
    assert service.with_redirect_uri(ONE) is other
    start = other.create_sign_in()
    assert query_of(start.url)["redirect_uri"] == ONE
    state = query_of(start.url)["state"]
    assert "; Secure" in start.headers[0][1]
    for asked in (service, other):
        flow = asked.peek_flow(state)
        assert flow is not None
        assert flow.redirect_uri == ONE
    with pytest.raises(ConfigurationError):
        service.with_redirect_uri("/callback")


def test_state_names_the_redirect_uri_where_it_is_not_the_configured_one() -> None:
    """States stay as short as those of the JavaScript libraries."""
    service = AuthKitService(make_config(redirect_uri=LOCAL))
    for asked, named in ((service, None), (service.with_redirect_uri(ONE), ONE)):
        state = query_of(asked.create_sign_in().url)["state"]
        payload = service.encryption.unseal(state)
        assert payload.get("redirectUri") == named


# What a sign-out finds


DEEP: Final = "http://localhost:8000/auth/callback"


def two_paths() -> Harness:
    """Return a site whose flows have cookies at two paths, by redirect URI."""
    return make_site(allowed_redirect_uris=[DEEP])


def link(harness: Harness, redirect_uri: str) -> str:
    """Return a link to sign in with a redirect URI."""
    found: list[str] = []

    def app(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
        found.append(environ["authkit"].sign_in_url(redirect_uri=redirect_uri))
        return answer()(environ, start_response)

    run(harness.new_middleware(app), navigation())
    return found[0]


def test_sign_out_ends_flows_of_every_redirect_uri() -> None:
    harness = two_paths()
    for uri in (LOCAL, DEEP):
        harness.client.get(link(harness, uri))
    pending = {cookie.path for cookie in harness.client.jar}
    harness.client.post("/auth/sign-out")

    assert pending == {"/", "/auth"}
    assert [cookie.name for cookie in harness.client.jar] == []


def test_five_flows_are_pending_at_most_whichever_redirect_uris_they_have() -> None:
    harness = two_paths()
    for number in range(12):
        harness.clock.advance(1)
        harness.client.get(link(harness, (LOCAL, DEEP)[number % 2]))

    assert len(list(harness.client.jar)) == 5


def test_sign_out_removes_the_marker_of_every_redirect_uri() -> None:
    """Or the fourth sign-in within a minute would pass for a loop."""
    harness = two_paths()
    for _ in range(5):
        start = harness.client.get(link(harness, DEEP))
        callback = path_of(approve(harness, start))
        signed_in = harness.client.get(callback, cross_site=True)
        harness.client.post("/auth/sign-out")

        assert signed_in.status == 303
    assert [cookie.name for cookie in harness.client.jar] == []
