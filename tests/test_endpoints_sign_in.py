"""``{mount}/sign-in`` and ``{mount}/sign-up``, with the loop breaker."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from tests.gateway import Client, Response, environ, run
from tests.harness import PASSWORD, Harness, make_config, path_of
from tests.sites import EXPIRED, EXPIRING, cookie_of, expired
from wsgi_authkit import AuthKitError, AuthorizationError, CookieTooLarge
from wsgi_authkit.authorization import (
    MAX_VERIFIERS,
    code_challenge,
    open_flow,
    verifier_cookie_name,
)
from wsgi_authkit.envelope import Envelope
from wsgi_authkit.loop import MARKER_COOKIE, Marker, dump_marker
from wsgi_authkit.responses import CACHE_CONTROL
from wsgi_authkit.session_storage import CookieSessionStorage
from wsgi_authkit.stores import MemoryStore

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

ENVELOPE = Envelope([PASSWORD])
PREFIX = "wos-auth-verifier"


def query_of(response: Response) -> dict[str, str]:
    """Return the authorization request that the browser is sent to WorkOS with."""
    location = response.header("Location") or ""
    assert response.status == 302, response
    assert location.startswith("https://api.workos.com/user_management/authorize?")
    return {
        name: values[0] for name, values in parse_qs(urlsplit(location).query).items()
    }


def payload_of(harness: Harness, response: Response) -> dict[str, Any]:
    state = query_of(response)["state"]
    payload: dict[str, Any] = harness.middleware.service.encryption.unseal(state)
    return payload


def flows(client: Client) -> dict[str, str]:
    """Return the browser's pending flows, wherever their cookies are sent to."""
    return {c.name: c.value for c in client.jar if c.name.startswith(PREFIX)}


def link(
    harness: Harness, name: str = "sign_in_url", *args: Any, **options: Any
) -> str:
    """Return what ``Auth.sign_in_url`` gives an app."""
    made: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        made.append(getattr(environ["authkit"], name)(*args, **options))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []

    run(harness.new_middleware(app), environ())
    return made[0]


def get(harness: Harness, path: str, **options: Any) -> Response:
    return harness.client.get(path, **options)


# Starting a flow


@pytest.mark.parametrize("name", ["sign-in", "sign-up"])
def test_browser_is_sent_to_workos_with_pkce_and_its_own_state(
    harness: Harness, name: str
) -> None:
    response = get(harness, f"/auth/{name}?return_to=/dash%3Fx%3D1")
    query = query_of(response)
    flow = open_flow(
        harness.middleware.service.encryption, query["state"], harness.clock()
    )

    assert query == {
        "client_id": "client_test",
        "code_challenge": code_challenge(flow.code_verifier),
        "code_challenge_method": "S256",
        "provider": "authkit",
        "redirect_uri": "http://localhost:8000/callback",
        "response_type": "code",
        "screen_hint": name,
        "state": query["state"],
    }
    assert flow.return_path == "/dash?x=1"
    assert flow.issued_at == harness.clock()
    assert flows(harness.client) == {
        verifier_cookie_name(query["state"]): query["state"]
    }
    assert response.header("Cache-Control") == CACHE_CONTROL


def test_workos_is_not_called_to_start_a_flow(harness: Harness) -> None:
    harness.workos.down()

    query_of(get(harness, "/auth/sign-in"))

    assert harness.workos.count() == 0


def test_unclaimed_environment_sends_a_nonce_and_goes_on_without_one() -> None:
    harness = Harness(
        config=make_config(claim_token="claim"), workos_options={"claim_token": "claim"}
    )
    claimed = query_of(get(harness, "/auth/sign-in"))
    harness.workos.down()
    unreachable = query_of(get(harness, "/auth/sign-in"))

    assert claimed["claim_nonce"]
    assert "claim_nonce" not in unreachable


@pytest.mark.parametrize(
    ("redirect_uri", "attributes"),
    [
        pytest.param(
            "http://localhost:8000/callback",
            "Path=/; HttpOnly; SameSite=Lax; Max-Age=600",
            id="http",
        ),
        pytest.param(
            "https://app.example.test/auth/callback",
            "Path=/auth; HttpOnly; SameSite=Lax; Max-Age=600; Secure",
            id="https below the mount",
        ),
    ],
)
def test_verifier_cookie_has_the_attributes_of_the_vectors(
    redirect_uri: str, attributes: str
) -> None:
    harness = Harness(config=make_config(redirect_uri=redirect_uri))
    response = get(harness, "/auth/sign-in")
    (cookie,) = response.set_cookies
    pair, _, rest = cookie.partition("; ")

    assert pair.startswith(f"{PREFIX}-")
    assert sorted(rest.split("; ")) == sorted(attributes.split("; "))


def test_verifier_cookie_comes_back_where_the_session_is_strict() -> None:
    harness = Harness(config=make_config(cookie_same_site="strict"))
    (cookie,) = get(harness, "/auth/sign-in").set_cookies

    assert "SameSite=Lax" in cookie


def test_flow_without_return_path_ends_at_return_pathname() -> None:
    harness = Harness(options={"return_pathname": "/dashboard"})

    response = get(harness, "/auth/sign-in")

    assert payload_of(harness, response)["returnPathname"] == "/dashboard"


@pytest.mark.parametrize(
    "return_to",
    [
        pytest.param("https://evil.example/", id="URL"),
        pytest.param("//evil.example/", id="scheme-relative"),
        pytest.param("///evil.example/", id="three slashes"),
        pytest.param("/\\evil.example/", id="backslash"),
        pytest.param("\\\\evil.example/", id="two backslashes"),
        pytest.param("/\t/evil.example/", id="tab"),
        pytest.param("/\n/evil.example/", id="line end"),
        pytest.param(" //evil.example/", id="leading space"),
        pytest.param("/%2f/evil.example/", id="encoded slash"),
        pytest.param("/%252f/evil.example/", id="encoded twice"),
        pytest.param("/%5cevil.example/", id="encoded backslash"),
        pytest.param("/\u2044/evil.example/", id="fraction slash"),
        pytest.param("/\uff0fevil.example/", id="fullwidth slash"),
        pytest.param("/../..//evil.example/", id="dot segments"),
        pytest.param("javascript:alert(1)", id="javascript"),
        pytest.param("evil.example", id="relative"),
        pytest.param("@evil.example", id="userinfo"),
        pytest.param("/\r\nSet-Cookie: a=b", id="header"),
        pytest.param("/x\0", id="NUL"),
        pytest.param("", id="empty"),
        pytest.param("/" + "x" * 3000, id="long"),
        pytest.param("/auth/sign-in", id="own sign-in"),
        pytest.param("/auth/sign-out?x=1", id="own sign-out"),
        pytest.param("/callback?code=x", id="own callback"),
    ],
)
def test_unsafe_return_path_is_dropped(return_to: str) -> None:
    harness = Harness(options={"return_pathname": "/home"})

    response = get(harness, f"/auth/sign-in?return_to={quote(return_to, safe='')}")

    assert payload_of(harness, response)["returnPathname"] == "/home"


def test_service_drops_an_unsafe_return_path_too(harness: Harness) -> None:
    service = harness.middleware.service
    result = service.create_authorization(return_to="//evil.example/")
    state = parse_qs(urlsplit(result.url).query)["state"][0]

    assert "returnPathname" not in service.encryption.unseal(state)


def test_first_of_two_return_paths_counts(harness: Harness) -> None:
    response = get(harness, "/auth/sign-in?return_to=/a&return_to=/b")

    assert payload_of(harness, response)["returnPathname"] == "/a"


def test_return_path_in_raw_utf8_is_read_as_it_was_written(harness: Harness) -> None:
    raw = "return_to=/\u00fc\u4e16".encode().decode("latin-1")

    response = get(harness, "/auth/sign-in", extra={"QUERY_STRING": raw})

    assert payload_of(harness, response)["returnPathname"] == "/%C3%BC%E4%B8%96"


# What a query may say


def test_bare_parameters_of_the_allow_list_are_passed_on(harness: Harness) -> None:
    asked = {
        "organization_id": "org_1",
        "login_hint": "a+b@acme.test",
        "screen_hint": "sign-up",
        "invitation_token": "token",
    }
    query = query_of(get(harness, f"/auth/sign-in?{urlencode(asked)}"))

    assert {name: query[name] for name in asked} == asked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("redirect_uri", "https://evil.example/callback", id="redirect"),
        pytest.param("prompt", "none", id="prompt"),
        pytest.param("state", "attacker", id="state"),
        pytest.param("provider", "GoogleOAuth", id="provider"),
        pytest.param("connection_id", "conn_1", id="connection"),
        pytest.param("domain_hint", "evil.example", id="domain"),
        pytest.param("max_age", "0", id="age"),
        pytest.param("client_id", "client_evil", id="client"),
        pytest.param("code_challenge", "x" * 43, id="challenge"),
        pytest.param("code_challenge_method", "plain", id="method"),
        pytest.param("response_type", "token", id="response type"),
        pytest.param("restarted", "true", id="restarted"),
        pytest.param("sign_in_path", "/x", id="argument of ours"),
        pytest.param("cookies", "x", id="another argument of ours"),
    ],
)
def test_other_bare_parameters_are_ignored(
    harness: Harness, name: str, value: str
) -> None:
    response = get(harness, f"/auth/sign-in?{urlencode({name: value})}")
    query, payload = query_of(response), payload_of(harness, response)

    assert query.get(name) != value
    assert set(query) == set(query_of(get(harness, "/auth/sign-in")))
    assert set(payload) == {"nonce", "codeVerifier", "issuedAt", "returnPathname"}


def test_empty_parameters_are_as_if_absent(harness: Harness) -> None:
    query = query_of(get(harness, "/auth/sign-in?organization_id=&screen_hint="))

    assert "organization_id" not in query
    assert query["screen_hint"] == "sign-in"


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("screen_hint=evil", id="unknown screen"),
        pytest.param("return_to=%ff", id="percent-encoded, not UTF-8"),
        pytest.param("return_to=\xff", id="raw, not UTF-8"),
        pytest.param("return_to=/\u0430", id="raw, no bytes in disguise"),
        pytest.param("return_to=%ed%a0%80", id="surrogate"),
        pytest.param("x=" + "y" * 8191, id="long"),
        pytest.param("&".join(["a=b"] * 65), id="many fields"),
        pytest.param("request=", id="empty sealed request"),
        pytest.param("request=damaged", id="damaged sealed request"),
    ],
)
def test_query_that_cannot_be_read_is_400_and_starts_nothing(
    harness: Harness, query: str
) -> None:
    response = get(harness, "/auth/sign-in", extra={"QUERY_STRING": query})

    assert response.status == 400
    assert "This link does not work" in response.text
    assert response.set_cookies == []


# The sealed parameter


def test_options_of_the_url_functions_arrive_at_workos(harness: Harness) -> None:
    options: dict[str, Any] = {
        "organization_id": "org_1",
        "login_hint": "a@acme.test",
        "domain_hint": "acme.test",
        "prompt": "login",
        "max_age": 0,
        "invitation_token": "token",
    }
    url = link(harness, "sign_in_url", "/dash", **options)
    query = query_of(get(harness, url))

    assert set(parse_qs(urlsplit(url).query)) == {"return_to", "request"}
    assert {name: query[name] for name in options} == {**options, "max_age": "0"}


def test_state_of_the_app_travels_sealed_and_reaches_on_success() -> None:
    states: list[str | None] = []
    harness = Harness(options={"on_success": lambda event: states.append(event.state)})
    url = link(harness, "sign_in_url", state='{"plan": "größer"}')
    location = get(harness, url).header("Location") or ""

    assert "plan" not in url + location
    get(harness, path_of(harness.workos.authorize(location, harness.ada)))
    assert states == ['{"plan": "größer"}']


def test_sign_up_url_leads_to_the_sign_up_screen(harness: Harness) -> None:
    url = link(harness, "sign_up_url", login_hint="a@acme.test")

    assert query_of(get(harness, url))["screen_hint"] == "sign-up"


def test_sealed_options_win_over_bare_ones(harness: Harness) -> None:
    url = link(harness, organization_id="org_1")

    query = query_of(get(harness, f"{url}&organization_id=org_evil"))

    assert query["organization_id"] == "org_1"


@pytest.mark.parametrize(
    "sealed",
    [
        pytest.param(
            ENVELOPE.seal_text(b'{"prompt": "none"}', purpose="marker"), id="a marker"
        ),
        pytest.param(
            ENVELOPE.seal_text(
                b'{"prompt": "none"}', purpose="request", context="elsewhere"
            ),
            id="another context",
        ),
        pytest.param(
            Envelope(["another password, that is long enough"]).seal_text(
                b'{"prompt": "none"}', purpose="request"
            ),
            id="another password",
        ),
    ],
)
def test_envelope_from_elsewhere_is_no_request(harness: Harness, sealed: str) -> None:
    response = get(harness, f"/auth/sign-in?request={sealed}")

    assert response.status == 400
    assert response.set_cookies == []


def test_changed_request_is_refused(harness: Harness) -> None:
    url = link(harness, prompt="login")
    position = url.index("request=") + 40
    other = "A" if url[position] != "A" else "B"

    response = get(harness, f"{url[:position]}{other}{url[position + 1 :]}")

    assert response.status == 400
    assert response.set_cookies == []


def test_two_sealed_requests_are_refused(harness: Harness) -> None:
    sealed = ENVELOPE.seal_text(b'{"prompt": "none"}', purpose="request")

    response = get(harness, f"/auth/sign-in?request={sealed}&request={sealed}")

    assert response.status == 400
    assert response.set_cookies == []


def test_request_that_was_not_changed_is_accepted(harness: Harness) -> None:
    """What the refused ones above differ from."""
    sealed = ENVELOPE.seal_text(b'{"prompt": "none"}', purpose="request")

    query = query_of(get(harness, f"/auth/sign-in?request={sealed}"))

    assert query["prompt"] == "none"


def test_state_and_return_path_that_do_not_fit_are_400_and_say_why() -> None:
    errors: list[AuthKitError] = []

    def on_error(error: AuthKitError, environ: WSGIEnvironment) -> None:
        errors.append(error)

    harness = Harness(options={"on_error": on_error})
    url = link(harness, "sign_in_url", "/" + "x" * 1900, state="y" * 2000)

    assert get(harness, url).status == 400
    (error,) = errors
    assert isinstance(error, AuthorizationError)
    assert error.code == "invalid_request"
    assert isinstance(error.__cause__, CookieTooLarge)
    assert "over 3800" in str(error)
    assert flows(harness.client) == {}


# Who is sent to WorkOS


@pytest.mark.parametrize("name", ["sign-in", "sign-up"])
@pytest.mark.parametrize(
    "header", ["Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"], ids=str.lower
)
def test_prefetch_starts_nothing(harness: Harness, name: str, header: str) -> None:
    response = get(harness, f"/auth/{name}", headers={header: "prefetch"})

    assert (response.status, response.body) == (204, b"")
    assert response.set_cookies == []
    assert response.header("Location") is None
    assert response.header("Cache-Control") == CACHE_CONTROL


@pytest.mark.parametrize("name", ["sign-in", "sign-up"])
def test_head_starts_nothing(harness: Harness, name: str) -> None:
    response = harness.client.request("HEAD", f"/auth/{name}")

    assert (response.status, response.body) == (302, b"")
    assert (response.header("Location") or "").startswith("https://api.workos.com/")
    assert "state=" not in (response.header("Location") or "")
    assert response.set_cookies == []


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"fetch": True}, id="fetch"),
        pytest.param({"fetch": True, "cross_site": True}, id="fetch of another site"),
        pytest.param(
            {"navigate": False, "headers": {"X-Requested-With": "XMLHttpRequest"}},
            id="XMLHttpRequest",
        ),
        pytest.param({"headers": {"Sec-Fetch-Dest": "image"}}, id="image"),
    ],
)
def test_script_gets_401_and_starts_nothing(
    harness: Harness, options: dict[str, Any]
) -> None:
    response = get(harness, "/auth/sign-in?return_to=/x", **options)

    assert response.status == 401
    assert response.json()["error"]["code"] == "unauthenticated"
    assert response.json()["signInUrl"] == "/auth/sign-in"
    assert response.set_cookies == []
    assert response.header("Cache-Control") == CACHE_CONTROL


def test_client_without_fetch_metadata_is_sent_to_workos(harness: Harness) -> None:
    query_of(get(harness, "/auth/sign-in", navigate=False))


def test_link_of_another_site_starts_a_flow(harness: Harness) -> None:
    """The endpoint is the *Sign-in URL* of the WorkOS dashboard."""
    query_of(get(harness, "/auth/sign-in", cross_site=True))

    assert len(flows(harness.client)) == 1


@pytest.mark.parametrize("name", ["sign-in", "sign-up"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_405(harness: Harness, name: str, method: str) -> None:
    response = harness.client.request(method, f"/auth/{name}")

    assert (response.status, response.header("Allow")) == (405, "GET, HEAD")
    assert response.set_cookies == []
    assert response.header("Cache-Control") == CACHE_CONTROL


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Host": "evil.example"}, id="Host"),
        pytest.param({"X-Forwarded-Host": "evil.example"}, id="X-Forwarded-Host"),
        pytest.param({"Forwarded": "host=evil.example"}, id="Forwarded"),
        pytest.param({"X-Forwarded-Proto": "https"}, id="X-Forwarded-Proto"),
        pytest.param({"X-Forwarded-Prefix": "//evil.example"}, id="prefix"),
    ],
)
def test_headers_of_the_client_do_not_choose_where_workos_sends_it(
    harness: Harness, headers: dict[str, str]
) -> None:
    response = get(harness, "/auth/sign-in", headers=headers)

    assert query_of(response)["redirect_uri"] == "http://localhost:8000/callback"
    assert "evil" not in str(response.headers)


def test_endpoints_answer_below_script_name_and_mount() -> None:
    harness = Harness(
        config=make_config(redirect_uri="http://localhost:8000/app/login/callback"),
        options={"mount": "/login"},
    )
    client = Client(harness.middleware, script_name="/app", clock=harness.clock)
    response = client.get("/app/login/sign-in")

    assert payload_of(harness, response)["returnPathname"] == "/app/"
    assert "Path=/app/login;" in response.set_cookies[0] + ";"
    assert client.get("/app/auth/sign-in").status == 200


# Pending flows


def test_sixth_flow_ends_the_oldest(harness: Harness) -> None:
    states = []
    for _ in range(6):
        states.append(query_of(get(harness, "/auth/sign-in"))["state"])
        harness.clock.advance(1)

    assert list(flows(harness.client).values()) == states[1:]


def test_flow_that_does_not_open_is_ended_before_the_oldest(harness: Harness) -> None:
    states = [query_of(get(harness, "/auth/sign-in"))["state"] for _ in range(4)]
    harness.client.jar.store(
        "http://localhost:8000/", f"{PREFIX}-00000000=planted; Path=/"
    )
    states.append(query_of(get(harness, "/auth/sign-in"))["state"])

    assert set(flows(harness.client).values()) == set(states)


def test_evicted_flow_is_deleted_at_its_path_and_the_root() -> None:
    harness = Harness(
        config=make_config(redirect_uri="http://localhost:8000/auth/callback")
    )
    for _ in range(5):
        get(harness, "/auth/sign-in")
    harness.clock.advance(1)
    _, *deletions = get(harness, "/auth/sign-in").set_cookies

    assert len({cookie.partition("=")[0] for cookie in deletions}) == 1
    paths = [part for c in deletions for part in c.split("; ") if "Path=" in part]
    assert sorted(paths) == ["Path=/", "Path=/auth"]
    assert all("Max-Age=0" in cookie for cookie in deletions)
    assert len(flows(harness.client)) == 5


def test_ordinary_requests_do_not_carry_verifier_cookies() -> None:
    harness = Harness(
        config=make_config(redirect_uri="http://localhost:8000/auth/callback")
    )
    get(harness, "/auth/sign-in")

    assert harness.client.jar.header("http://localhost:8000/") == ""
    assert PREFIX in harness.client.jar.header("http://localhost:8000/auth/callback")


# The loop breaker


def lose_session(harness: Harness) -> None:
    """Have the browser drop the session cookie, as one that refuses it does."""
    harness.client.jar.store(
        "http://localhost:8000/", f"{harness.config.cookie_name}=; Path=/; Max-Age=0"
    )


def go_round(harness: Harness) -> Response:
    """Sign in and lose the session; return the last response."""
    start = get(harness, "/auth/sign-in")
    if start.status != 302:
        return start
    url = harness.workos.authorize(start.header("Location") or "", harness.ada)
    response = get(harness, path_of(url), cross_site=True)
    lose_session(harness)
    return response


def test_loop_is_broken_at_the_third_start_after_a_sign_in(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    statuses = [go_round(harness).status for _ in range(3)]
    response = go_round(harness)

    assert statuses == [303, 303, 303]
    assert response.status == 400
    assert "does not keep this site" in response.text
    assert "cookies blocked" in caplog.text
    assert flows(harness.client) == {}
    assert harness.workos.count("exchange") == 3


def test_loop_page_lets_the_person_try_again(harness: Harness) -> None:
    for _ in range(4):
        response = go_round(harness)

    assert 'href="/auth/sign-in"' in response.text
    assert go_round(harness).status == 303


def test_loop_page_knows_where_the_person_wanted_to_go(harness: Harness) -> None:
    for _ in range(3):
        go_round(harness)
    response = get(harness, "/auth/sign-in?return_to=/reports")

    assert 'href="/auth/sign-in?return_to=%2Freports"' in response.text


def test_loop_is_a_warning_for_the_operator(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(4):
        go_round(harness)

    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert ["sign_in_loop" in record.getMessage() for record in warnings] == [True]


def test_loop_is_told_to_programs_in_json(harness: Harness) -> None:
    for _ in range(3):
        go_round(harness)
    response = get(harness, "/auth/sign-in", headers={"Accept": "application/json"})

    assert response.status == 400
    assert response.json()["error"]["code"] == "sign_in_loop"


def test_loop_slower_than_a_minute_a_round_is_none(harness: Harness) -> None:
    for _ in range(6):
        assert go_round(harness).status == 303
        harness.clock.advance(61)


def test_starts_alone_never_count(harness: Harness) -> None:
    assert [get(harness, "/auth/sign-in").status for _ in range(10)] == [302] * 10


def test_starts_after_a_callback_without_state_never_count(harness: Harness) -> None:
    url = harness.workos.start_at_workos(harness.config.redirect_uri, harness.ada)
    get(harness, path_of(url), cross_site=True)

    assert [get(harness, "/auth/sign-in").status for _ in range(10)] == [302] * 10


def test_starts_with_the_session_never_count(harness: Harness) -> None:
    harness.sign_in()

    assert [get(harness, "/auth/sign-in").status for _ in range(10)] == [302] * 10


@pytest.mark.parametrize("seconds", [EXPIRING, EXPIRED])
def test_starts_with_a_session_that_is_due_never_count(
    harness: Harness, seconds: float
) -> None:
    """Its cookie came back, and that is what a loop lacks."""
    expired(harness, seconds)
    harness.workos.down()
    cookie = marker_cookie(harness, starts=2)

    for _ in range(5):
        start = get(harness, "/auth/sign-in", headers={"Cookie": cookie})
        assert start.status == 302
        assert MARKER_COOKIE not in str(start.set_cookies)


def test_starts_with_a_session_that_nobody_can_judge_never_count(
    harness: Harness,
) -> None:
    """A process that starts while WorkOS is down has no keys to judge it by."""
    harness.sign_in()
    cookie = marker_cookie(harness, starts=2)
    harness.workos.down()
    harness.middleware = harness.new_middleware(store=MemoryStore(harness.clock))
    client = harness.new_client()

    for _ in range(5):
        start = client.get("/auth/sign-in", headers={"Cookie": cookie})
        assert start.status == 302
        assert MARKER_COOKIE not in str(start.set_cookies)


def marker_cookie(harness: Harness, starts: int) -> str:
    """Return the ``Cookie`` header of who is signed in, with a fresh marker."""
    marker = Marker(at=harness.clock(), finished=True, starts=starts)
    return f"{cookie_of(harness)}; {MARKER_COOKIE}={dump_marker(ENVELOPE, marker)}"


def test_sign_out_removes_the_marker(harness: Harness) -> None:
    for _ in range(3):
        harness.sign_in()
        assert harness.client.jar.get(MARKER_COOKIE) is not None
        harness.client.post("/auth/sign-out")
        assert harness.client.jar.get(MARKER_COOKIE) is None

    assert [get(harness, "/auth/sign-in").status for _ in range(5)] == [302] * 5


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda now: "forged", id="forged"),
        pytest.param(
            lambda now: json.dumps({"at": now, "finished": True, "starts": 9}),
            id="clear text",
        ),
        pytest.param(
            lambda now: dump_marker(
                ENVELOPE, Marker(at=now - 61, finished=True, starts=9)
            ),
            id="old",
        ),
        pytest.param(
            lambda now: dump_marker(
                Envelope(["another password, that is long enough"]),
                Marker(at=now, finished=True, starts=9),
            ),
            id="another password",
        ),
    ],
)
def test_marker_that_is_not_ours_or_old_is_ignored(harness: Harness, make: Any) -> None:
    cookie = f"{MARKER_COOKIE}={make(harness.clock())}"

    assert get(harness, "/auth/sign-in", headers={"Cookie": cookie}).status == 302


def test_marker_of_a_loop_is_not_ignored(harness: Harness) -> None:
    """What the ignored ones above differ from."""
    marker = Marker(at=harness.clock(), finished=True, starts=9)
    cookie = f"{MARKER_COOKIE}={dump_marker(ENVELOPE, marker)}"

    assert get(harness, "/auth/sign-in", headers={"Cookie": cookie}).status == 400


def test_markers_attributes_are_those_of_a_verifier(harness: Harness) -> None:
    response = harness.sign_in()
    (marker,) = [c for c in response.set_cookies if c.startswith(MARKER_COOKIE)]

    assert sorted(marker.split("; ")[1:]) == sorted(
        ["Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=60"]
    )
    assert "ada" not in marker


# on_error


def test_on_error_answers_in_place_of_the_loop_page() -> None:
    codes: list[str] = []

    def on_error(error: AuthKitError, environ: WSGIEnvironment) -> WSGIApplication:
        assert isinstance(error, AuthorizationError)
        codes.append(error.code)
        return app

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        headers = [("Content-Type", "text/plain"), ("Cache-Control", "public")]
        start_response("418 I'm a teapot", headers)
        return [b"no"]

    harness = Harness(options={"on_error": on_error})
    for _ in range(3):
        go_round(harness)
    response = get(harness, "/auth/sign-in")

    assert (response.status, response.body) == (418, b"no")
    assert codes == ["sign_in_loop"]
    assert harness.client.jar.get(MARKER_COOKIE) is None
    assert response.header("Cache-Control") == CACHE_CONTROL


def test_on_error_is_asked_about_a_damaged_link() -> None:
    codes: list[str] = []

    def on_error(error: AuthKitError, environ: WSGIEnvironment) -> None:
        assert isinstance(error, AuthorizationError)
        codes.append(error.code)

    harness = Harness(options={"on_error": on_error})
    response = get(harness, "/auth/sign-up?request=damaged")

    assert codes == ["invalid_request"]
    assert response.status == 400


def test_planted_cookie_that_gives_no_session_does_not_hide_a_loop(
    harness: Harness,
) -> None:
    """A sibling site adds another user's session to every request: nobody is one."""
    grace = harness.workos.add_user("grace@example.com")
    other = harness.new_client()
    harness.sign_in(grace, client=other)
    planted = harness.session_cookie(other)
    statuses = []
    for _ in range(3):
        harness.sign_in()
        cookies = harness.client.jar.header("http://localhost:8000/auth/sign-in")
        start = harness.client.get(
            "/auth/sign-in", headers={"Cookie": f"{cookies}; wos-session={planted}"}
        )
        statuses.append(start.status)

    assert statuses == [302, 302, 400]


def test_many_planted_verifiers_do_not_fill_the_response(harness: Harness) -> None:
    planted = "; ".join(f"wos-auth-verifier-{n:08x}=x" for n in range(170))
    start = harness.client.get("/auth/sign-in", headers={"Cookie": planted})

    assert start.status == 302
    assert len(start.set_cookies) <= 1 + 2 * MAX_VERIFIERS


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/auth/sign-in"),
        ("GET", "/callback?code=a&state=b"),
        ("GET", "/callback?error=a&state=b"),
        ("POST", "/auth/sign-out"),
    ],
)
def test_thousands_of_planted_verifiers_are_not_read_one_by_one(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    """Each reading goes through the whole header: 8 KB of it are 300 names."""
    reads = []
    storage = harness.middleware.service.storage
    assert isinstance(storage, CookieSessionStorage)
    read = storage.get_cookie

    def counted(cookies: str, name: str) -> Sequence[str] | str | None:
        reads.append(name)
        return read(cookies, name)

    monkeypatch.setattr(storage, "get_cookie", counted)
    planted = "; ".join(f"wos-auth-verifier-{n:08x}=x" for n in range(3000))
    headers = {"Cookie": planted, "Sec-Fetch-Site": "same-origin"}
    response = harness.client.request(method, path, headers=headers)

    assert response.status < 500
    assert len(reads) <= 3 * MAX_VERIFIERS
    assert len(response.set_cookies) <= 3 * MAX_VERIFIERS


@pytest.mark.parametrize(
    "redirect_uri",
    ["https://evil.example/cb", "javascript:alert(1)", "not a url", "http://[::1"],
)
def test_link_with_another_redirect_uri_starts_nothing(
    harness: Harness, redirect_uri: str
) -> None:
    """Sealed by this site or not: no callback of ours answers there."""
    envelope = harness.middleware.service.envelope
    text = json.dumps({"redirect_uri": redirect_uri}).encode()
    sealed = envelope.seal_text(text, purpose="request")
    start = harness.client.get(f"/auth/sign-in?request={sealed}")

    assert start.status == 400
    assert start.set_cookies == []


@pytest.mark.parametrize("path", ["/auth/sign-in", "/callback", "/auth/sign-out"])
def test_lying_script_name_leads_nowhere_else(harness: Harness, path: str) -> None:
    """Behind some proxies a client can name the prefix."""
    for method in ("GET", "HEAD", "POST"):
        answer = run(
            harness.middleware,
            environ(
                method,
                path,
                query="code=x",
                script_name="//evil.example",
                headers={"Sec-Fetch-Site": "same-origin"},
            ),
        )
        location = answer.header("Location") or ""
        assert not location.startswith("//")
        assert "evil.example" not in location
