"""``{mount}/sign-out``."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.gateway import Client, Response
from tests.harness import Harness, make_config
from tests.test_responses import Page
from wsgi_authkit.api import REVOKE_DEADLINE
from wsgi_authkit.authorization import VERIFIER_COOKIE
from wsgi_authkit.loop import MARKER_COOKIE
from wsgi_authkit.responses import CACHE_CONTROL
from wsgi_authkit.testing.faults import (
    ConnectionRefused,
    ConnectionReset,
    ConnectTimedOut,
    Fault,
    Latency,
    LostResponse,
    ReadTimedOut,
    SlowBody,
    Status,
)

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

SITE = "http://localhost:8000/"
LOGOUT = "https://api.workos.com/user_management/sessions/logout"
GOODBYE = "https://www.example.test/goodbye?x=1"
ALLOWED = {"allowed_return_urls": [GOODBYE]}


def post(harness: Harness, path: str = "/auth/sign-out", **options: Any) -> Response:
    return harness.client.post(path, **options)


def signed_in(**arguments: Any) -> Harness:
    harness = Harness(**arguments)
    harness.sign_in()
    return harness


def return_to_of(response: Response) -> str | None:
    """Return where WorkOS is asked to send the browser afterwards."""
    location = response.header("Location") or ""
    assert location.startswith(f"{LOGOUT}?"), response
    return parse_qs(urlsplit(location).query).get("return_to", [None])[0]


def is_signed_in(harness: Harness) -> bool:
    return bool(harness.who()["user"])


def names(harness: Harness) -> set[str]:
    return {cookie.name for cookie in harness.client.jar}


# Signing out


def test_sign_out_ends_the_session_here_and_leads_to_workos(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "wsgi_authkit")
    harness = signed_in()
    session_id = harness.who()["session_id"]
    response = post(harness)

    assert response.status == 303
    assert response.header("Location") == f"{LOGOUT}?session_id={session_id}"
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert not is_signed_in(harness)
    assert f"session {session_id} signed out" in caplog.text


def test_old_cookie_is_dead_afterwards() -> None:
    harness = signed_in()
    cookie = f"wos-session={harness.session_cookie()}"
    post(harness)
    stolen = harness.new_client().get("/", headers={"Cookie": cookie})

    assert stolen.json()["user"] is None
    assert stolen.json()["reason"] == "revoked"


def test_session_of_another_browser_goes_on() -> None:
    harness = signed_in()
    other = harness.new_client()
    harness.sign_in(client=other)
    post(harness)

    assert harness.who(other)["user"] == "ada@example.com"


def test_refresh_on_its_way_does_not_bring_the_session_back() -> None:
    harness = signed_in()
    cookie = f"wos-session={harness.session_cookie()}"
    harness.clock.advance(400)
    post(harness)
    late = harness.new_client().get("/", headers={"Cookie": cookie})

    assert late.json()["reason"] == "revoked"
    assert harness.workos.count("refresh") == 0


def test_every_session_that_the_browser_sent_is_ended() -> None:
    harness = signed_in()
    other = harness.new_client()
    harness.sign_in(client=other)
    cookies = [
        f"wos-session={harness.session_cookie(client)}"
        for client in (harness.client, other)
    ]
    post(harness, headers={"Cookie": "; ".join(cookies)})
    reasons = [
        harness.new_client().get("/", headers={"Cookie": cookie}).json()["reason"]
        for cookie in cookies
    ]

    assert reasons == ["revoked", "revoked"]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="http"),
        pytest.param(
            {"redirect_uri": "https://app.example.test/auth/callback"}, id="https"
        ),
        pytest.param(
            {
                "redirect_uri": "https://app.example.test/auth/callback",
                "cookie_domain": "example.test",
                "cookie_same_site": "none",
                "cookie_name": "__Secure-s",
            },
            id="everything",
        ),
    ],
)
def test_cookies_are_deleted_with_the_attributes_that_they_were_set_with(
    settings: dict[str, Any],
) -> None:
    harness = Harness(config=make_config(**settings))
    parts = urlsplit(harness.config.redirect_uri)
    harness.client.base = f"{parts.scheme}://{parts.netloc}"
    start = harness.client.get("/auth/sign-in")
    url = harness.workos.authorize(start.header("Location") or "", harness.ada)
    signed_in = harness.client.get(url, cross_site=True)
    pending = harness.client.get("/auth/sign-in")
    set_cookies = [*signed_in.set_cookies, *pending.set_cookies]
    response = post(harness)

    for cookie in set_cookies:
        name, _, attributes = cookie.partition("=")
        if "Max-Age=0" in cookie:
            continue
        expected = sorted(attributes.split("; ")[1:])
        expected = [a for a in expected if not a.startswith(("Max-Age", "Expires"))]
        deletions = [c for c in response.set_cookies if c.startswith(f"{name}=")]
        assert any(
            "Max-Age=0" in deletion and set(expected) <= set(deletion.split("; "))
            for deletion in deletions
        ), (cookie, deletions)
    assert {cookie.partition("=")[0][:17] for cookie in set_cookies} == {
        harness.config.cookie_name,
        VERIFIER_COOKIE,
        MARKER_COOKIE,
    }
    assert names(harness) == set()


def test_session_in_chunks_is_deleted_whole() -> None:
    harness = Harness()
    harness.workos.extra_claims["permissions"] = [f"permission-{n}" for n in range(150)]
    harness.sign_in()
    chunks = {name for name in names(harness) if name.startswith("wos-session.")}
    assert len(chunks) >= 2
    assert is_signed_in(harness)
    response = post(harness)

    assert (response.header("Location") or "").startswith(LOGOUT)
    assert names(harness) == set()


def test_pending_flows_and_the_marker_are_deleted() -> None:
    harness = signed_in()
    for _ in range(3):
        harness.client.get("/auth/sign-in")
    harness.client.jar.store(SITE, f"{VERIFIER_COOKIE}=of an older release; Path=/")
    before = names(harness)
    post(harness)

    assert len([name for name in before if name.startswith(VERIFIER_COOKIE)]) == 4
    assert MARKER_COOKIE in before
    assert names(harness) == set()


# Whatever the state of the session


def test_sign_out_works_with_an_expired_token() -> None:
    harness = signed_in()
    session_id = harness.who()["session_id"]
    harness.clock.advance(100_000)
    response = post(harness)

    assert response.header("Location") == f"{LOGOUT}?session_id={session_id}"
    assert names(harness) == set()


def test_sign_out_works_while_workos_is_down() -> None:
    harness = signed_in()
    harness.clock.advance(400)
    harness.workos.down()
    harness.workos.reset_calls()
    response = post(harness)

    assert (response.header("Location") or "").startswith(f"{LOGOUT}?session_id=")
    assert harness.workos.count() == 0
    assert names(harness) == set()


def test_sign_out_works_with_a_token_that_does_not_verify() -> None:
    harness = signed_in()
    session_id = harness.who()["session_id"]
    harness.workos.rotate_keys(keep_old=False)
    harness.client.app = harness.new_middleware(store="memory:")
    assert not is_signed_in(harness)
    response = post(harness)

    assert response.header("Location") == f"{LOGOUT}?session_id={session_id}"
    assert harness.session_cookie() is None


@pytest.mark.parametrize(
    "cookie",
    [
        pytest.param(None, id="no cookie"),
        pytest.param("wos-session=garbage", id="garbage"),
        pytest.param("wos-session=Fe26.2*1*" + "0" * 64 + "*a*b**c*d~2", id="forged"),
        pytest.param("wos-session=\xff\xfe", id="bytes"),
    ],
)
def test_sign_out_without_a_session_goes_home_and_cleans_up(
    harness: Harness, cookie: str | None
) -> None:
    harness = Harness(options={"return_pathname": "/home"})
    response = post(harness, headers={"Cookie": cookie})

    assert (response.status, response.header("Location")) == (303, "/home")
    assert any(c.startswith("wos-session=;") for c in response.set_cookies)


# The proof of origin


PROOFS = [
    pytest.param({"Sec-Fetch-Site": "same-origin"}, True, id="same-origin"),
    pytest.param({"Sec-Fetch-Site": "same-site"}, False, id="sibling site"),
    pytest.param({"Sec-Fetch-Site": "cross-site"}, False, id="cross-site"),
    pytest.param({"Sec-Fetch-Site": "none"}, False, id="none"),
    pytest.param(
        {"Sec-Fetch-Site": None, "Origin": "http://localhost:8000"}, True, id="Origin"
    ),
    pytest.param({"Sec-Fetch-Site": None, "Origin": "null"}, False, id="opaque"),
    pytest.param(
        {"Sec-Fetch-Site": None, "Origin": "https://evil.example"}, False, id="other"
    ),
    pytest.param({"Sec-Fetch-Site": None, "Origin": None}, False, id="neither"),
    pytest.param(
        {
            "Sec-Fetch-Site": None,
            "Origin": "http://evil.example",
            "Host": "evil.example",
        },
        False,
        id="Origin of the Host header",
    ),
]


@pytest.mark.parametrize(("headers", "proof"), PROOFS)
def test_only_a_page_of_this_site_signs_out(
    headers: dict[str, str | None], proof: bool
) -> None:
    harness = signed_in()
    response = post(harness, headers=headers)

    assert response.status == (303 if proof else 403)
    assert is_signed_in(harness) is not proof
    if not proof:
        assert response.set_cookies == []
        assert "You are still signed in" in response.text
        assert 'href="/auth/sign-out"' in response.text


@pytest.mark.parametrize(
    "base_url", ["https://app.example.test", "https://App.Example.test"]
)
def test_origin_is_that_of_base_url(base_url: str) -> None:
    harness = signed_in(options={"base_url": base_url})
    without = {"Sec-Fetch-Site": None}
    old = post(harness, headers={**without, "Origin": "http://localhost:8000"})
    new = post(harness, headers={**without, "Origin": "https://app.example.test"})

    assert (old.status, new.status) == (403, 303)


def test_form_of_another_site_signs_nobody_out() -> None:
    harness = signed_in()
    response = post(harness, cross_site=True, form={"return_to": "/"})

    assert response.status == 403
    assert is_signed_in(harness)


def test_refusal_is_told_to_scripts_in_json() -> None:
    harness = signed_in()
    response = post(harness, fetch=True, cross_site=True)

    assert response.status == 403
    assert response.json()["error"]["code"] == "cross_origin"
    assert response.header("Cache-Control") == CACHE_CONTROL


# GET, HEAD and the others


def test_get_asks_and_has_no_effect() -> None:
    harness = signed_in()
    response = harness.client.get("/auth/sign-out?return_to=/bye%3Fx%3D1")
    html = Page(response.text)

    assert response.status == 200
    assert response.set_cookies == []
    assert html.texts["h1"].strip() == "Sign out?"
    assert html.all("form") == [{"method": "post", "action": "/auth/sign-out"}]
    assert [link["href"] for link in html.all("a")] == ["/"]
    assert html.all("input") == [
        {"type": "hidden", "name": "return_to", "value": "/bye?x=1"}
    ]
    assert "frame-ancestors 'none'" in (
        response.header("Content-Security-Policy") or ""
    )
    assert response.header("X-Frame-Options") == "DENY"
    assert is_signed_in(harness)


def test_form_of_the_page_signs_out() -> None:
    harness = signed_in(options=ALLOWED)
    page = harness.client.get(f"/auth/sign-out?return_to={quote(GOODBYE, safe='')}")
    html = Page(page.text)
    fields = {str(i["name"]): str(i["value"]) for i in html.all("input")}
    response = post(harness, str(html.all("form")[0]["action"]), form=fields)

    assert return_to_of(response) == GOODBYE


@pytest.mark.parametrize(
    "return_to",
    [
        pytest.param("https://evil.example/", id="another site"),
        pytest.param("\"'><script>alert(1)</script>", id="HTML"),
        pytest.param("javascript:alert(1)", id="script"),
    ],
)
def test_page_shows_no_return_path_that_is_not_allowed(
    harness: Harness, return_to: str
) -> None:
    response = harness.client.get(
        f"/auth/sign-out?return_to={quote(return_to, safe='')}"
    )

    assert response.status == 200
    assert "evil" not in response.text
    assert "alert" not in response.text


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("return_to=%ff", id="not UTF-8"),
        pytest.param("return_to=\xff", id="raw bytes"),
        pytest.param("return_to=/\u0430", id="no bytes in disguise"),
        pytest.param("return_to=/" + "x" * 9000, id="long"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_query_that_cannot_be_read_is_as_if_absent(query: str, method: str) -> None:
    harness = signed_in()
    extra = {"QUERY_STRING": query}
    response = harness.client.request(method, "/auth/sign-out", extra=extra)

    assert response.status == (200 if method == "GET" else 303)
    if method == "POST":
        assert return_to_of(response) is None


@pytest.mark.parametrize(
    ("method", "options"),
    [
        pytest.param("HEAD", {}, id="HEAD"),
        pytest.param("GET", {"fetch": True}, id="fetch"),
        pytest.param("GET", {"cross_site": True}, id="link of another site"),
        pytest.param(
            "GET", {"headers": {"Sec-Fetch-Dest": "image"}}, id="image of another site"
        ),
    ],
)
def test_nothing_but_post_signs_out(method: str, options: dict[str, Any]) -> None:
    harness = signed_in()
    response = harness.client.request(method, "/auth/sign-out", **options)

    assert response.status == 200
    assert response.set_cookies == []
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert is_signed_in(harness)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("header", ["Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"])
def test_prefetch_has_no_effect(method: str, header: str) -> None:
    harness = signed_in()
    response = harness.client.request(
        method, "/auth/sign-out", headers={header: "prefetch"}
    )

    assert (response.status, response.set_cookies) == (204, [])
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert is_signed_in(harness)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_405(method: str) -> None:
    harness = signed_in()
    response = harness.client.request(method, "/auth/sign-out")

    assert (response.status, response.header("Allow")) == (405, "GET, HEAD, POST")
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert is_signed_in(harness)


# Where it ends


SENT = [
    pytest.param(lambda value: {"form": {"return_to": value}}, id="form"),
    pytest.param(lambda value: {"json": {"returnTo": value}}, id="JSON"),
    pytest.param(
        lambda value: {"path": f"/auth/sign-out?return_to={quote(value, safe='')}"},
        id="query",
    ),
]


@pytest.mark.parametrize("sent", SENT)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("/bye?x=1", f"{SITE}bye?x=1", id="path"),
        pytest.param(GOODBYE, GOODBYE, id="allowed URL"),
        pytest.param("https://evil.example/", None, id="other URL"),
        pytest.param(f"{GOODBYE}&y=2", None, id="longer URL"),
        pytest.param(GOODBYE[:-1], None, id="shorter URL"),
        pytest.param("https://www.example.test/", None, id="host of an allowed URL"),
        pytest.param("//evil.example", None, id="scheme-relative"),
        pytest.param("/\\evil.example", None, id="backslash"),
        pytest.param("/\t/evil.example", None, id="tab"),
        pytest.param("/%2f/evil.example", None, id="encoded"),
        pytest.param("\u2044\u2044evil.example", None, id="fraction slashes"),
        pytest.param("javascript:alert(1)", None, id="script"),
        pytest.param("/x\r\nSet-Cookie: a=b", None, id="header"),
        pytest.param("", None, id="empty"),
    ],
)
def test_return_to_is_a_path_or_an_allowed_url(
    sent: Any, value: str, expected: str | None
) -> None:
    harness = signed_in(options=ALLOWED)

    assert return_to_of(post(harness, **sent(value))) == expected


@pytest.mark.parametrize("sent", SENT)
def test_refused_return_to_ends_at_the_default_and_is_logged(
    sent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    harness = signed_in(options={**ALLOWED, "sign_out_return_to": "/bye"})

    response = post(harness, **sent("https://evil.example/"))

    assert return_to_of(response) == f"{SITE}bye"
    assert "return_to was ignored" in caplog.text
    assert "evil" not in caplog.text


@pytest.mark.parametrize("sent", SENT)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("/bye", f"{SITE}bye", id="path"),
        pytest.param(GOODBYE, GOODBYE, id="allowed URL"),
        pytest.param("https://evil.example/", "/", id="other URL"),
        pytest.param("//evil.example", "/", id="scheme-relative"),
    ],
)
def test_return_to_is_checked_without_a_session_too(
    sent: Any, value: str, expected: str
) -> None:
    harness = Harness(options=ALLOWED)

    assert post(harness, **sent(value)).header("Location") == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, None, id="WorkOS's default"),
        pytest.param({"sign_out_return_to": "/bye"}, f"{SITE}bye", id="path"),
        pytest.param({"sign_out_return_to": GOODBYE}, GOODBYE, id="URL"),
        pytest.param(
            {"sign_out_return_to": "/bye", "base_url": "https://app.example.test"},
            "https://app.example.test/bye",
            id="path on base_url",
        ),
    ],
)
def test_sign_out_return_to_is_the_default(
    options: dict[str, Any], expected: str | None
) -> None:
    assert return_to_of(post(signed_in(options=options))) == expected


def test_form_wins_over_the_query() -> None:
    harness = signed_in()
    response = post(harness, "/auth/sign-out?return_to=/a", form={"return_to": "/b"})

    assert return_to_of(response) == f"{SITE}b"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(b"{", "application/json", id="broken JSON"),
        pytest.param(b"[" * 10_000, "application/json", id="deep JSON"),
        pytest.param(b'["/x"]', "application/json", id="list"),
        pytest.param(b'{"returnTo": 1}', "application/json", id="number"),
        pytest.param(b"\xff", "application/json", id="JSON, not UTF-8"),
        pytest.param(
            b"return_to=\xff", "application/x-www-form-urlencoded", id="form, bytes"
        ),
        pytest.param(
            b"return_to=%ff", "application/x-www-form-urlencoded", id="not UTF-8"
        ),
        pytest.param(
            b"return_to=/x&y=" + b"z" * 16_384,
            "application/x-www-form-urlencoded",
            id="long form",
        ),
        pytest.param(b"return_to=/x", "text/plain", id="another type"),
        pytest.param(b"return_to=/x", "multipart/form-data", id="multipart"),
    ],
)
def test_body_that_cannot_be_read_signs_out_all_the_same(
    body: bytes, content_type: str
) -> None:
    harness = signed_in()
    response = post(harness, body=body, headers={"Content-Type": content_type})

    assert return_to_of(response) is None
    assert not is_signed_in(harness)


def test_script_gets_the_url_in_json() -> None:
    """It has to be visited as a top-level navigation, which a fetch is not."""
    harness = signed_in()
    session_id = harness.who()["session_id"]
    response = post(harness, fetch=True, json={"returnTo": "/bye"})

    assert response.status == 200
    assert response.header("Cache-Control") == CACHE_CONTROL
    url = response.json()["logoutUrl"]
    assert parse_qs(urlsplit(url).query) == {
        "session_id": [session_id],
        "return_to": [f"{SITE}bye"],
    }
    assert set(response.json()) == {"logoutUrl"}
    assert not is_signed_in(harness)


def test_script_without_a_session_gets_the_return_path(harness: Harness) -> None:
    response = post(harness, fetch=True, json={})

    assert response.json() == {"logoutUrl": "/"}


@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host", "X-Original-Host"])
def test_host_never_reaches_a_location(header: str) -> None:
    harness = signed_in()
    headers = {header: "evil.example", "Sec-Fetch-Site": "same-origin"}
    response = post(harness, headers=headers, form={"return_to": "/bye"})
    again = post(harness, headers=headers, form={"return_to": "/bye"})

    assert return_to_of(response) == f"{SITE}bye"
    assert "evil" not in str([*response.headers, *again.headers])


def test_sign_out_answers_below_script_name_and_mount() -> None:
    config = make_config(redirect_uri="http://localhost:8000/app/callback")
    harness = Harness(config=config, options={"mount": "/login"})
    client = Client(harness.middleware, script_name="/app", clock=harness.clock)
    location = client.get("/app/login/sign-in").header("Location") or ""
    client.get(harness.workos.authorize(location, harness.ada), cross_site=True)
    page = client.get("/app/login/sign-out")
    response = client.post("/app/login/sign-out")

    assert 'action="/app/login/sign-out"' in page.text
    assert (response.header("Location") or "").startswith(LOGOUT)
    assert list(client.jar) == []


def test_hosted_session_is_over_when_the_browser_has_followed() -> None:
    harness = signed_in(workos_options={"logout_uris": [SITE]})
    session_id = harness.who()["session_id"]
    location = post(harness, form={"return_to": "/"}).header("Location") or ""
    answer = harness.workos.session().get(location, allow_redirects=False, timeout=5)

    assert answer.headers["Location"] == SITE
    session = harness.workos.sessions[session_id]
    assert session.status(harness.clock()) == "revoked"


def test_pages_with_a_form_let_the_browser_send_the_origin(harness: Harness) -> None:
    """With ``no-referrer`` a browser without Fetch Metadata posts ``Origin: null``."""
    confirm = harness.client.get("/auth/sign-out")
    refused = harness.client.post("/auth/sign-out", cross_site=True)

    assert confirm.header("Referrer-Policy") == "same-origin"
    assert (refused.status, refused.header("Referrer-Policy")) == (403, "same-origin")


# All cookies, whatever their attributes

HTTPS = "https://app.example.test"


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunks"])
@pytest.mark.parametrize("same_site", ["lax", "strict", "none"])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"redirect_uri": f"{HTTPS}/callback"}, id="host"),
        pytest.param({"redirect_uri": f"{HTTPS}/auth/callback"}, id="verifier path"),
        pytest.param(
            {"redirect_uri": f"{HTTPS}/callback", "cookie_domain": "example.test"},
            id="domain",
        ),
        pytest.param(
            {
                "redirect_uri": f"{HTTPS}/auth/callback",
                "cookie_domain": ".example.test",
                "cookie_name": "__Secure-sid",
            },
            id="dotted domain, another name",
        ),
        pytest.param(
            {"redirect_uri": f"{HTTPS}/callback", "cookie_name": "__Host-sid"},
            id="host prefix",
        ),
        pytest.param({"redirect_uri": f"{SITE}callback"}, id="http"),
    ],
)
def test_no_cookie_of_ours_is_left(
    settings: dict[str, str], same_site: str, chunked: bool
) -> None:
    config = make_config(**settings, cookie_same_site=same_site)
    harness = Harness(config=config, options={"eager_auth": True})
    harness.client.base = config.redirect_origin
    if chunked:
        permissions = [f"permission-{n}" for n in range(120)]
        harness.workos.extra_claims["permissions"] = permissions
    harness.sign_in()
    harness.client.get("/")
    harness.client.get("/auth/sign-in")
    before = names(harness)
    response = post(harness)

    assert (response.header("Location") or "").startswith(LOGOUT)
    kinds = (config.cookie_name, VERIFIER_COOKIE, MARKER_COOKIE, "workos-access-token")
    for kind in kinds:
        assert [name for name in before if name.startswith(kind)], kind
    assert (f"{config.cookie_name}.0" in before) is chunked
    assert names(harness) == set()


def test_session_from_before_cookie_domain_was_set_is_deleted_too() -> None:
    """It has the host for its domain, and its browser would send it for ever."""
    harness = Harness(config=make_config(redirect_uri=f"{HTTPS}/callback"))
    harness.client.base = HTTPS
    harness.sign_in()
    harness.config = make_config(
        redirect_uri=f"{HTTPS}/callback", cookie_domain="example.test"
    )
    harness.client.app = harness.new_middleware()
    harness.sign_in()
    assert [cookie.name for cookie in harness.client.jar].count("wos-session") == 2
    post(harness)

    assert "wos-session" not in names(harness)


def test_host_only_cookie_is_not_deleted_where_there_is_none() -> None:
    config = make_config(redirect_uri=f"{HTTPS}/callback", cookie_domain="example.test")
    harness = Harness(config=config)
    harness.client.base = HTTPS

    assert all("Domain=example.test" in c for c in post(harness).set_cookies)


# Revocation

REVOKE = {"revoke_on_sign_out": True}


def status_at_workos(harness: Harness, session_id: str) -> str:
    return harness.workos.sessions[session_id].status(harness.clock())


def test_session_is_left_to_the_redirect_unless_asked_for() -> None:
    harness = signed_in()
    session_id = harness.who()["session_id"]
    post(harness)

    assert harness.workos.count("revoke_session") == 0
    assert status_at_workos(harness, session_id) == "active"


@pytest.mark.parametrize(
    "options", [pytest.param({}, id="form"), pytest.param({"fetch": True}, id="script")]
)
def test_session_is_revoked_before_the_browser_follows(options: dict[str, Any]) -> None:
    harness = signed_in(options=REVOKE)
    session_id = harness.who()["session_id"]
    response = post(harness, **options)
    location = response.header("Location") or response.json()["logoutUrl"]

    assert status_at_workos(harness, session_id) == "revoked"
    assert harness.workos.count("revoke_session") == 1
    # The hosted session's cookie is WorkOS's: the browser has to go there all the same.
    assert location == f"{LOGOUT}?session_id={session_id}"
    assert not is_signed_in(harness)


def test_every_session_that_the_browser_sent_is_revoked() -> None:
    harness = signed_in(options=REVOKE)
    first = harness.session_cookie()
    other = harness.new_client()
    harness.sign_in(client=other)
    cookies = f"wos-session={first}; wos-session={harness.session_cookie(other)}"
    post(harness, headers={"Cookie": cookies})

    now = harness.clock()
    statuses = [session.status(now) for session in harness.workos.sessions.values()]
    assert statuses == ["revoked", "revoked"]


def test_nothing_is_revoked_without_a_session() -> None:
    harness = Harness(options=REVOKE)
    post(harness, headers={"Cookie": "wos-session=forged"})

    assert harness.workos.count() == 0


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"cross_site": True}, id="another site"),
        pytest.param({"headers": {"Sec-Purpose": "prefetch"}}, id="prefetch"),
    ],
)
def test_nothing_is_revoked_without_a_proof(options: dict[str, Any]) -> None:
    harness = signed_in(options=REVOKE)
    post(harness, **options)
    harness.client.get("/auth/sign-out")

    assert harness.workos.count("revoke_session") == 0


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(ConnectionRefused(), id="refused"),
        pytest.param(ConnectTimedOut(), id="connect timed out"),
        pytest.param(ReadTimedOut(), id="silence"),
        pytest.param(Latency(60), id="slow"),
        pytest.param(SlowBody(interval=9, size=1), id="slow body"),
        pytest.param(ConnectionReset(), id="reset"),
        pytest.param(LostResponse(), id="lost response"),
        pytest.param(Status(500), id="500"),
        pytest.param(Status(429, headers={"Retry-After": "60"}), id="429"),
        pytest.param(Status(401), id="wrong API key"),
        pytest.param(Status(400, json={"message": "No session."}), id="unknown"),
        pytest.param(Status(302, headers={"Location": "https://x.test/"}), id="302"),
    ],
)
def test_failed_revocation_holds_no_sign_out_up(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    harness = signed_in(options=REVOKE)
    session_id = harness.who()["session_id"]
    cookie = f"wos-session={harness.session_cookie()}"
    harness.workos.fail(fault, path="revoke_session")
    before = harness.clock()
    response = post(harness)

    assert harness.clock() - before <= REVOKE_DEADLINE
    assert response.header("Location") == f"{LOGOUT}?session_id={session_id}"
    assert names(harness) == set()
    stolen = harness.new_client().get("/", headers={"Cookie": cookie})
    assert stolen.json()["reason"] == "revoked"
    [record] = [r for r in caplog.records if "was not revoked" in r.message]
    assert (record.levelname, session_id in record.message) == ("WARNING", True)
    assert "sk_test" not in caplog.text
