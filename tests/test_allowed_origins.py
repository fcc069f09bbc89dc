"""``allowed_origins``: other origins whose pages may use the JSON endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway import Response
from tests.harness import Harness
from tests.json_endpoints import (
    SHOP,
    assert_cross_origin,
    assert_without_effect,
    expire,
    in_organization,
    session_of,
    two_organizations,
)
from tests.sites import answer, cookie_of, make_site
from wsgi_authkit import ConfigurationError

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

OPTION: dict[str, Any] = {"allowed_origins": [SHOP, "http://localhost:5173"]}
EVIL = "https://evil.test"
LOOMS = {"organizationId": "org_looms"}
READS = ["/auth/session", "/auth/token", "/auth/authkit.js"]
CHANGES = ["/auth/refresh", "/auth/switch-organization", "/auth/sign-out"]
METHODS = {
    "/auth/session": "GET, HEAD",
    "/auth/token": "GET, HEAD",
    "/auth/authkit.js": "GET, HEAD",
    "/auth/refresh": "POST",
    "/auth/switch-organization": "POST",
    "/auth/sign-out": "GET, HEAD, POST",
}
# Of hosts that look like the allowed one to a careless comparison.
NOT_ALLOWED = [
    EVIL,
    "null",
    "",
    "https://shop.example.test.evil.test",
    "https://evilshop.example.test",
    "https://sub.shop.example.test",
    "http://shop.example.test",
    "https://shop.example.test:8443",
    "https://shop.example.test/",
    "HTTPS://SHOP.EXAMPLE.TEST",
    f"{SHOP} {EVIL}",
    f"{SHOP}, {EVIL}",
    "*",
]


def ask(
    harness: Harness, path: str, origin: str | None = SHOP, **headers: str | None
) -> Response:
    """Have a page of another origin ask, with the person's cookie."""
    method = "POST" if path in CHANGES else "GET"
    sent = {
        "Cookie": cookie_of(harness),
        "Origin": origin,
        "Sec-Fetch-Site": "cross-site",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    json = LOOMS if method == "POST" else None
    return harness.client.request(
        method, path, fetch=True, cross_site=True, headers=sent, json=json
    )


def cors_headers(response: Response) -> dict[str, str]:
    return {
        name: value
        for name, value in response.headers
        if name.lower().startswith("access-control-")
    }


def vary(response: Response) -> set[str]:
    return {
        field.strip()
        for value in response.headers_all("Vary")
        for field in value.split(",")
    }


SHARED = {
    "Access-Control-Allow-Origin": SHOP,
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": "Date, Retry-After",
}


def test_one_origin_without_a_list_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="allowed_origins must be a list"):
        make_site(allowed_origins=SHOP)


# For them


@pytest.mark.parametrize("path", [*READS, *CHANGES])
@pytest.mark.parametrize("metadata", ["cross-site", "same-site", None])
def test_page_of_an_allowed_origin_is_served(path: str, metadata: str | None) -> None:
    harness = two_organizations(**OPTION)
    response = ask(harness, path, Sec_Fetch_Site=metadata)

    assert response.status == 200
    assert cors_headers(response) == SHARED
    assert vary(response) == {"Origin", "Cookie"}


def test_what_it_asks_for_is_done() -> None:
    harness = two_organizations(**OPTION)
    token = ask(harness, "/auth/token").json()["accessToken"]
    assert token == session_of(harness).access_token
    cookies = ask(harness, "/auth/switch-organization").set_cookies
    assert cookies
    assert ask(harness, "/auth/sign-out").json()["logoutUrl"]
    response = ask(harness, "/auth/token")

    assert response.status == 401
    assert response.json()["error"]["reason"] == "revoked"


def test_each_gets_its_own_origin_and_no_other() -> None:
    harness = two_organizations(**OPTION)

    for origin in OPTION["allowed_origins"]:
        response = ask(harness, "/auth/session", origin)
        assert response.headers_all("Access-Control-Allow-Origin") == [origin]


def test_errors_can_be_read() -> None:
    harness = two_organizations(**OPTION)
    expire(harness)
    conflict = ask(harness, "/auth/token", X_Authkit_Session="session_other")
    harness.workos.down()
    down = ask(harness, "/auth/token")
    signed_out = ask(harness, "/auth/token", Cookie="")
    bad = ask(harness, "/auth/session?include=a&include=b")
    method = harness.client.request(
        "DELETE", "/auth/token", fetch=True, headers={"Origin": SHOP}
    )
    responses = [conflict, down, signed_out, bad, method]

    assert [each.status for each in responses] == [409, 503, 401, 400, 405]
    for response in responses:
        assert cors_headers(response) == SHARED
        assert vary(response) == {"Origin", "Cookie"}


def test_module_that_it_has_is_not_sent_again() -> None:
    harness = two_organizations(**OPTION)
    etag = ask(harness, "/auth/authkit.js").header("ETag")
    response = ask(harness, "/auth/authkit.js", If_None_Match=etag)

    assert response.status == 304
    assert cors_headers(response) == SHARED
    assert vary(response) == {"Origin", "Cookie"}


# For nobody else


@pytest.mark.parametrize("origin", NOT_ALLOWED)
@pytest.mark.parametrize("path", [*READS, *CHANGES])
def test_page_of_any_other_origin_is_refused(path: str, origin: str) -> None:
    harness = two_organizations(**OPTION)
    expire(harness)
    response = ask(harness, path, origin)

    if path == "/auth/authkit.js":
        assert response.status == 200
    else:
        assert_cross_origin(response)
    assert cors_headers(response) == {}
    assert vary(response) == {"Origin", "Cookie"}
    assert_without_effect(harness, response)


@pytest.mark.parametrize("path", [*READS, *CHANGES])
def test_there_is_no_such_header_without_the_option(path: str) -> None:
    harness = two_organizations()
    responses = [
        ask(harness, path),
        ask(harness, path, "http://localhost:8000", Sec_Fetch_Site="same-origin"),
    ]

    for response in responses:
        assert cors_headers(response) == {}
        assert vary(response) == {"Cookie"}
    if path != "/auth/authkit.js":
        assert_cross_origin(responses[0])


@pytest.mark.parametrize("path", [*READS, *CHANGES])
def test_page_of_this_site_needs_no_such_header(path: str) -> None:
    harness = two_organizations(**OPTION)
    response = ask(harness, path, "http://localhost:8000", Sec_Fetch_Site="same-origin")

    assert response.status == 200
    assert cors_headers(response) == {}
    assert vary(response) == {"Origin", "Cookie"}


@pytest.mark.parametrize("path", ["/auth/session", "/auth/token"])
def test_image_of_an_allowed_origin_is_not_its_script(path: str) -> None:
    # Without CORS there is no Origin, and no script that could read the answer.
    harness = in_organization(**OPTION)
    expire(harness)
    response = ask(harness, path, None)

    assert_cross_origin(response)
    assert_without_effect(harness, response)


@pytest.mark.parametrize("path", ["/auth/sign-in", "/callback", "/"])
def test_other_paths_are_shared_with_nobody(path: str) -> None:
    harness = make_site(app=answer(), **OPTION)
    response = harness.client.get(
        path, fetch=True, cross_site=True, headers={"Origin": SHOP}
    )

    assert cors_headers(response) == {}
    assert "Origin" not in vary(response)


# The browser's question before it


def preflight(
    harness: Harness, path: str, origin: str = SHOP, method: str = "POST", **more: str
) -> Response:
    return harness.client.request(
        "OPTIONS",
        path,
        fetch=True,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "content-type,x-authkit-session",
            **{name.replace("_", "-"): value for name, value in more.items()},
        },
    )


@pytest.mark.parametrize("path", [*READS, *CHANGES])
def test_preflight_is_answered(path: str) -> None:
    harness = in_organization(**OPTION)
    expire(harness)
    response = preflight(harness, path, Cookie=cookie_of(harness))

    assert (response.status, response.body) == (204, b"")
    assert cors_headers(response) == {
        **SHARED,
        "Access-Control-Allow-Methods": METHODS[path],
        "Access-Control-Allow-Headers": "Content-Type, X-Authkit-Session",
        "Access-Control-Max-Age": "600",
    }
    assert vary(response) == {"Origin", "Cookie"}
    assert_without_effect(harness, response)


def test_preflight_does_no_work_on_a_session() -> None:
    harness = in_organization(**OPTION)
    response = preflight(
        harness,
        "/auth/refresh",
        Cookie=cookie_of(harness),
        X_Authkit_Session="session_other",
    )

    assert response.status == 204


@pytest.mark.parametrize("origin", NOT_ALLOWED)
def test_preflight_of_any_other_origin_is_not_allowed(origin: str) -> None:
    response = preflight(make_site(**OPTION), "/auth/refresh", origin)

    assert "Access-Control-Allow-Origin" not in cors_headers(response)
    assert "Access-Control-Allow-Credentials" not in cors_headers(response)
    assert vary(response) == {"Origin", "Cookie"}


@pytest.mark.parametrize("path", [*READS, *CHANGES])
def test_preflight_is_another_method_without_the_option(path: str) -> None:
    response = preflight(make_site(), path)

    assert (response.status, response.header("Allow")) == (405, METHODS[path])
    assert cors_headers(response) == {}


def test_preflight_that_overrides_its_method_is_none() -> None:
    response = preflight(
        make_site(**OPTION), "/auth/session", X_HTTP_Method_Override="GET"
    )

    assert response.status == 405


@pytest.mark.parametrize("path", ["/auth/sign-in", "/callback"])
def test_preflight_of_other_endpoints_is_refused(path: str) -> None:
    response = preflight(make_site(**OPTION), path)

    assert response.status == 405
    assert cors_headers(response) == {}


# What is no proof


def test_allowed_origin_is_compared_exactly_with_one_header() -> None:
    harness = two_organizations(**OPTION)
    expire(harness)
    response = ask(harness, "/auth/token", EVIL, Referer=f"{SHOP}/", Host=SHOP[8:])

    assert_cross_origin(response)
    assert_without_effect(harness, response)


def test_form_of_an_allowed_origin_may_sign_out() -> None:
    harness = in_organization(**OPTION)
    response = harness.client.post(
        "/auth/sign-out",
        form={},
        cross_site=True,
        headers={"Origin": SHOP, "Cookie": cookie_of(harness)},
    )

    assert response.status == 303
