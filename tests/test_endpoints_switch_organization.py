"""``{mount}/switch-organization``."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.gateway import Response
from tests.harness import Harness
from tests.json_endpoints import (
    NO_ORGANIZATIONS,
    PROVEN,
    UNPROVEN,
    UNREADABLE,
    add_member,
    assert_cross_origin,
    assert_guarded,
    assert_invalid,
    assert_unauthenticated,
    assert_unavailable,
    assert_without_effect,
    expire,
    get,
    in_organization,
    post,
    post_raw,
    revoke,
    session_of,
    two_organizations,
)
from tests.sites import EXPIRED, EXPIRING, cookie_of, make_site
from wsgi_authkit.testing.faults import Status

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

PATH = "/auth/switch-organization"
LOOMS = {"organizationId": "org_looms"}
FORM = {"organization_id": "org_looms", "return_to": "/looms?tab=1"}


def submit(harness: Harness, form: dict[str, str], **options: Any) -> Response:
    """Have a person submit a form of the page."""
    return harness.client.post(PATH, form=form, **options)


def query_of(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


# By a script


@pytest.mark.parametrize(("seconds", "calls"), [(0, 1), (EXPIRING, 1), (EXPIRED, 2)])
def test_session_moves_to_the_organization(seconds: float, calls: int) -> None:
    harness = two_organizations()
    harness.clock.advance(seconds)
    response = post(harness, PATH, LOOMS)

    assert response.status == 200
    assert response.json()["organizationId"] == "org_looms"
    assert response.json() == session_of(harness).to_dict()
    assert response.json() == get(harness, "/auth/session").json()
    assert [cookie.partition("=")[0] for cookie in response.set_cookies] == [
        "wos-session"
    ]
    assert harness.workos.count("refresh") == calls
    assert_guarded(response)


def test_return_path_of_a_script_moves_nobody() -> None:
    harness = two_organizations()
    response = post(harness, PATH, {**LOOMS, "returnTo": "/looms"})

    assert response.status == 200
    assert response.header("Location") is None


@pytest.mark.parametrize("organization_id", ["org_nowhere", "org_rivals"])
def test_workos_decides_who_may_switch(organization_id: str) -> None:
    harness = two_organizations()
    harness.workos.add_organization("Rivals", id="org_rivals")
    response = post(harness, PATH, {"organizationId": organization_id})

    assert response.status == 403
    assert response.json()["error"]["code"] == "authorization_required"
    assert "Rivals" not in response.text
    assert session_of(harness).organization_id == "org_engines"
    assert response.set_cookies == []


def test_organization_that_asks_for_sso_leads_to_its_sign_in_and_back() -> None:
    harness = in_organization()
    add_member(harness, "org_vault", sso_required=True)
    response = post(
        harness, PATH, {"organizationId": "org_vault", "returnTo": "/vault?door=1"}
    )
    answer = response.json()

    assert response.status == 403
    assert answer["error"].keys() == {"code", "message", "reason"}
    assert answer["error"]["code"] == "authorization_required"
    assert answer["error"]["reason"] == "sso_required"
    assert session_of(harness).organization_id == "org_engines"
    start = harness.client.get(answer["signInUrl"]).header("Location") or ""
    assert query_of(start)["organization_id"] == ["org_vault"]
    callback = harness.workos.authorize(start, harness.ada)
    back = harness.client.get(callback, cross_site=True)
    assert (back.status, back.header("Location")) == (303, "/vault?door=1")
    assert session_of(harness).organization_id == "org_vault"


@pytest.mark.parametrize(
    "return_to", ["//evil.test", "https://evil.test/", "/\\evil.test", 7, ["/x"], None]
)
def test_return_path_that_leads_elsewhere_is_left_out(return_to: object) -> None:
    harness = in_organization()
    add_member(harness, "org_vault", sso_required=True)
    response = post(
        harness, PATH, {"organizationId": "org_vault", "returnTo": return_to}
    )

    assert query_of(response.json()["signInUrl"]).keys() == {"request"}


@pytest.mark.parametrize("by_form", [False, True])
def test_address_that_workos_names_is_where_to_go_on(by_form: bool) -> None:
    harness = two_organizations()
    url = "https://api.workos.com/authkit/continue?x=1"
    refusal = {
        "code": "organization_authentication_methods_required",
        "message": "Another method.",
        "authkit_redirect_url": url,
    }
    harness.workos.fail(Status(403, json=refusal), path="refresh")
    if by_form:
        assert submit(harness, FORM).header("Location") == url
    else:
        answer = post(harness, PATH, LOOMS).json()
        assert answer["signInUrl"] == url
        assert answer["error"]["reason"] == refusal["code"]


@pytest.mark.parametrize("cookie", [None, "wos-session=garbage"])
def test_signed_out_browser_gets_401(cookie: str | None) -> None:
    harness = make_site()
    response = post(harness, PATH, LOOMS, headers={"Cookie": cookie})

    assert_unauthenticated(response, "invalid_cookie" if cookie else "no_cookie")
    assert_without_effect(harness, response)


@pytest.mark.parametrize("seconds", [0, EXPIRED])
def test_session_that_workos_has_ended_is_over(seconds: float) -> None:
    harness = two_organizations()
    revoke(harness)
    harness.clock.advance(seconds)

    assert_unauthenticated(post(harness, PATH, LOOMS), "refresh_rejected")


@pytest.mark.parametrize("seconds", [0, EXPIRED])
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_outage_is_503_json_and_keeps_the_session(seconds: float, accept: str) -> None:
    harness = two_organizations()
    cookie = harness.session_cookie()
    harness.clock.advance(seconds)
    harness.workos.down()

    assert_unavailable(post(harness, PATH, LOOMS, headers={"Accept": accept}))
    assert harness.session_cookie() == cookie


@pytest.mark.parametrize("body", [b"", b"{}", *NO_ORGANIZATIONS])
def test_organization_has_to_be_named(body: bytes) -> None:
    harness = two_organizations()
    expire(harness)
    assert_invalid(harness, post_raw(harness, PATH, body))


@pytest.mark.parametrize("body", UNREADABLE)
def test_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    harness = two_organizations()
    expire(harness)
    assert_invalid(harness, post_raw(harness, PATH, body))


def test_names_of_the_form_are_not_those_of_json() -> None:
    harness = two_organizations()

    assert_invalid(harness, post(harness, PATH, {"organization_id": "org_looms"}))


@pytest.mark.parametrize("headers", PROVEN)
def test_page_of_this_site_may(headers: dict[str, Any]) -> None:
    harness = two_organizations()

    assert post(harness, PATH, LOOMS, headers=headers).status == 200


@pytest.mark.parametrize("headers", UNPROVEN)
def test_without_proof_nothing_is_switched(headers: dict[str, Any]) -> None:
    harness = two_organizations()
    expire(harness)
    response = post(harness, PATH, LOOMS, headers=headers)

    assert_cross_origin(response)
    assert_without_effect(harness, response)


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; a=b"])
def test_simple_request_of_another_site_switches_nothing(content_type: str) -> None:
    harness = two_organizations()
    headers = {"Cookie": cookie_of(harness), "Content-Type": content_type}
    response = post_raw(
        harness,
        PATH,
        b'{"organizationId":"org_looms"}',
        cross_site=True,
        headers=headers,
    )

    assert_cross_origin(response)
    assert_without_effect(harness, response)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_have_no_effect(method: str) -> None:
    harness = two_organizations()
    expire(harness)
    response = harness.client.request(
        method,
        f"{PATH}?organization_id=org_looms&organizationId=org_looms",
        headers={"X-HTTP-Method-Override": "POST"},
    )

    assert (response.status, response.header("Allow")) == (405, "POST")
    assert_without_effect(harness, response)


# By a form


@pytest.mark.parametrize("seconds", [0, EXPIRING, EXPIRED])
def test_form_switches_and_leads_on(seconds: float) -> None:
    harness = two_organizations()
    harness.clock.advance(seconds)
    response = submit(harness, FORM)

    assert (response.status, response.header("Location")) == (303, "/looms?tab=1")
    assert session_of(harness).organization_id == "org_looms"
    assert_guarded(response)


@pytest.mark.parametrize(
    "return_to",
    [
        "//evil.test",
        "https://evil.test/",
        "/\\evil.test",
        "/\t/evil.test",
        "/x\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "/auth/sign-out",
        "/auth/sign-in",
        "/callback",
        "",
        None,
    ],
)
def test_form_leads_to_safe_paths_only(return_to: str | None) -> None:
    harness = two_organizations(return_pathname="/home")
    form = {"organization_id": "org_looms"}
    if return_to is not None:
        form["return_to"] = return_to
    response = submit(harness, form)

    assert (response.status, response.header("Location")) == (303, "/home")
    assert session_of(harness).organization_id == "org_looms"


def test_form_leads_to_base_url() -> None:
    harness = two_organizations(base_url="http://localhost:8000")

    assert (
        submit(harness, FORM).header("Location") == "http://localhost:8000/looms?tab=1"
    )


@pytest.mark.parametrize("seconds", [0, EXPIRING])
def test_form_leads_to_the_sign_in_that_is_asked_for(seconds: float) -> None:
    harness = in_organization()
    add_member(harness, "org_vault", sso_required=True)
    harness.clock.advance(seconds)
    response = submit(harness, {"organization_id": "org_vault", "return_to": "/vault"})
    location = response.header("Location") or ""

    assert response.status == 303
    assert location.startswith("/auth/sign-in?return_to=%2Fvault&request=")
    start = harness.client.get(location).header("Location") or ""
    assert query_of(start)["organization_id"] == ["org_vault"]


@pytest.mark.parametrize("seconds", [0, EXPIRED])
def test_form_of_who_is_signed_out_by_now_leads_to_sign_in_and_back(
    seconds: float,
) -> None:
    harness = two_organizations()
    revoke(harness)
    harness.clock.advance(seconds)
    response = submit(harness, FORM)

    assert response.status == 303
    assert response.header("Location") == ("/auth/sign-in?return_to=%2Flooms%3Ftab%3D1")
    gone = submit(make_site(), {**FORM, "return_to": "//evil.test"})
    assert gone.header("Location") == "/auth/sign-in"


@pytest.mark.parametrize("seconds", [0, EXPIRING, EXPIRED])
def test_form_gets_a_page_during_an_outage(seconds: float) -> None:
    harness = two_organizations()
    cookie = harness.session_cookie()
    harness.clock.advance(seconds)
    harness.workos.down()
    response = submit(harness, FORM)

    assert response.status == 503
    assert int(response.header("Retry-After") or "0") >= 1
    assert "You are still signed in" in response.text
    # It would load itself again with GET, and be refused.
    assert "http-equiv" not in response.text
    assert harness.session_cookie() == cookie
    assert_guarded(response)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"organization_id": ""},
        {"organizationId": "org_looms"},
        {"organization_id": "org\r\nlooms"},
        {"organization_id": "o" * 201},
        {"organization_id": "org_looms", "x": "y" * 16384},
        {"organization_id": "org_looms", **{f"f{n}": "" for n in range(64)}},
    ],
)
def test_form_without_an_organization_is_incomplete(form: dict[str, str]) -> None:
    harness = two_organizations()
    expire(harness)
    response = submit(harness, form)

    assert response.status == 400
    assert response.header("Content-Type") == "text/html; charset=utf-8"
    assert "Nothing has changed" in response.text
    assert_guarded(response)
    assert_without_effect(harness, response)


@pytest.mark.parametrize("body", [b"organization_id=%ff", b"organization_id=\xff"])
def test_form_that_cannot_be_read_is_incomplete(body: bytes) -> None:
    harness = two_organizations()
    response = harness.client.post(
        PATH,
        body=body,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert response.status == 400
    assert_without_effect(harness, response)


@pytest.mark.parametrize("headers", PROVEN)
def test_form_of_this_site_may(headers: dict[str, Any]) -> None:
    assert submit(two_organizations(), FORM, headers=headers).status == 303


@pytest.mark.parametrize("headers", UNPROVEN)
def test_form_without_proof_switches_nothing(headers: dict[str, Any]) -> None:
    harness = two_organizations()
    expire(harness)
    response = submit(harness, FORM, headers=headers)

    assert response.status == 403
    assert response.header("Content-Type") == "text/html; charset=utf-8"
    assert "Nothing has changed" in response.text
    assert "looms" not in response.text
    assert_guarded(response)
    assert_without_effect(harness, response)


def test_form_of_another_site_switches_nothing() -> None:
    harness = two_organizations()
    headers = {"Cookie": cookie_of(harness)}
    response = submit(harness, FORM, cross_site=True, headers=headers)

    assert response.status == 403
    assert_without_effect(harness, response)
