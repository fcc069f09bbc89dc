"""``{mount}/refresh``."""

from __future__ import annotations

from typing import Any

import pytest

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
    refresh_token_of,
    revoke,
    session_of,
    signed_in,
    two_organizations,
)
from tests.sites import EXPIRED, EXPIRING, cookie_of, make_site
from wsgi_authkit.testing.faults import Status

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

PATH = "/auth/refresh"


# Refreshing


@pytest.mark.parametrize("value", [None, {}, {"organizationId": None}, {"other": [1]}])
@pytest.mark.parametrize("seconds", [0, EXPIRING, EXPIRED])
def test_session_is_renewed_with_one_call_and_answered(
    seconds: float, value: object
) -> None:
    harness = signed_in()
    token = session_of(harness).access_token
    harness.clock.advance(seconds)
    response = post(harness, PATH, value)

    assert response.status == 200
    assert harness.workos.count("refresh") == 1
    assert [cookie.partition("=")[0] for cookie in response.set_cookies] == [
        "wos-session"
    ]
    assert response.json() == session_of(harness).to_dict()
    assert response.json() == get(harness, "/auth/session").json()
    assert session_of(harness).access_token != token
    assert_guarded(response)


def test_answer_has_no_token() -> None:
    harness = two_organizations()
    secrets = {session_of(harness).access_token, refresh_token_of(harness)}
    response = post(harness, PATH, {"organizationId": "org_looms"})
    secrets |= {session_of(harness).access_token, refresh_token_of(harness)}

    assert len(secrets) == 4
    assert not any(secret in response.text for secret in secrets)
    assert not any(secret in str(response.headers) for secret in secrets)


def test_new_permissions_are_there_at_once() -> None:
    harness = in_organization()
    harness.workos.extra_claims["permissions"] = ["cards:punch"]

    assert post(harness, PATH).json()["permissions"] == ["cards:punch"]


def test_body_without_a_length_is_no_body() -> None:
    harness = two_organizations()
    response = post_raw(
        harness,
        PATH,
        b'{"organizationId":"org_looms"}',
        extra={"CONTENT_LENGTH": ""},
    )

    assert response.json()["organizationId"] == "org_engines"


def test_hook_is_told_of_the_refresh() -> None:
    told: list[str] = []
    harness = signed_in(
        on_refresh=lambda session, environ: told.append(environ["PATH_INFO"])
    )
    post(harness, PATH)

    assert told == [PATH]


@pytest.mark.parametrize("seconds", [0, EXPIRING, EXPIRED])
def test_session_moves_to_the_organization_that_is_named(seconds: float) -> None:
    harness = two_organizations()
    harness.clock.advance(seconds)
    response = post(harness, PATH, {"organizationId": "org_looms"})

    assert response.status == 200
    assert response.json()["organizationId"] == "org_looms"
    assert session_of(harness).organization_id == "org_looms"


def test_organization_in_the_query_is_not_looked_at() -> None:
    harness = two_organizations()
    answer = post(harness, f"{PATH}?organizationId=org_looms").json()

    assert answer["organizationId"] == "org_engines"


# What else can come of it


@pytest.mark.parametrize("cookie", [None, "wos-session=garbage"])
@pytest.mark.parametrize("value", [None, {"organizationId": "org_looms"}])
def test_signed_out_browser_gets_401(cookie: str | None, value: object) -> None:
    harness = make_site()
    response = post(harness, PATH, value, headers={"Cookie": cookie})

    assert_unauthenticated(response, "invalid_cookie" if cookie else "no_cookie")
    assert_without_effect(harness, response)


@pytest.mark.parametrize("seconds", [0, EXPIRING, EXPIRED])
def test_session_that_workos_has_ended_is_over(seconds: float) -> None:
    harness = signed_in()
    revoke(harness)
    harness.clock.advance(seconds)

    assert_unauthenticated(post(harness, PATH), "refresh_rejected")


def test_signed_out_session_is_not_renewed() -> None:
    harness = signed_in()
    cookie = f"wos-session={harness.session_cookie()}"
    harness.client.post("/auth/sign-out")
    response = post(harness, PATH, headers={"Cookie": cookie})

    assert_unauthenticated(response, "revoked")
    assert_without_effect(harness, response)


@pytest.mark.parametrize("seconds", [0, EXPIRING, EXPIRED])
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_outage_is_503_json_and_keeps_the_session(seconds: float, accept: str) -> None:
    harness = two_organizations()
    cookie = harness.session_cookie()
    harness.clock.advance(seconds)
    harness.workos.down()

    assert_unavailable(post(harness, PATH, headers={"Accept": accept}))
    assert_unavailable(
        post(harness, PATH, {"organizationId": "org_looms"}, headers={"Accept": accept})
    )
    assert harness.session_cookie() == cookie


def test_wait_that_workos_asks_for_is_passed_on() -> None:
    harness = signed_in()
    harness.workos.fail(Status(429, headers={"Retry-After": "7"}), path="refresh")

    assert post(harness, PATH).header("Retry-After") == "7"


def test_organization_that_asks_for_sso_leads_to_its_sign_in() -> None:
    harness = in_organization()
    add_member(harness, "org_vault", sso_required=True)
    response = post(harness, PATH, {"organizationId": "org_vault"})

    assert response.status == 403
    answer = response.json()
    assert answer["error"]["code"] == "authorization_required"
    assert answer["error"]["reason"] == "sso_required"
    assert answer["error"].keys() == {"code", "message", "reason"}
    to_workos = harness.client.get(answer["signInUrl"]).header("Location") or ""
    assert "organization_id=org_vault" in to_workos
    assert response.set_cookies == []
    assert session_of(harness).organization_id == "org_engines"
    assert_guarded(response)


def test_session_that_has_expired_and_needs_sso_leads_there_too() -> None:
    harness = in_organization()
    expire(harness)
    harness.workos.fail(
        Status(400, json={"error": "sso_required", "error_description": "SSO"}),
        path="refresh",
    )
    response = post(harness, PATH)

    assert response.status == 403
    assert response.json()["error"]["reason"] == "sso_required"
    assert response.json()["signInUrl"].startswith("/auth/sign-in?request=")


def test_sign_in_is_on_base_url() -> None:
    harness = in_organization(base_url="http://localhost:8000")
    add_member(harness, "org_vault", sso_required=True)
    answer = post(harness, PATH, {"organizationId": "org_vault"}).json()

    assert answer["signInUrl"].startswith("http://localhost:8000/auth/sign-in?")


# Bodies


@pytest.mark.parametrize("body", UNREADABLE)
def test_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    harness = two_organizations()
    assert_invalid(harness, post_raw(harness, PATH, body))


@pytest.mark.parametrize("body", NO_ORGANIZATIONS)
def test_value_that_names_no_organization_is_refused(body: bytes) -> None:
    harness = two_organizations()
    assert_invalid(harness, post_raw(harness, PATH, body))


def test_largest_body_is_read_and_one_byte_more_is_not() -> None:
    harness = signed_in()
    largest = b"{" + b" " * (16 * 1024 - 2) + b"}"

    assert_invalid(harness, post_raw(harness, PATH, largest + b" "))
    assert post_raw(harness, PATH, largest).status == 200


def test_body_is_not_quoted_in_the_answer() -> None:
    harness = signed_in()
    response = post_raw(harness, PATH, b'{"organizationId": "<script>hunter2')

    assert "hunter2" not in response.text


# Whose pages may


@pytest.mark.parametrize("headers", PROVEN)
def test_page_of_this_site_may(headers: dict[str, Any]) -> None:
    assert post(signed_in(), PATH, headers=headers).status == 200


@pytest.mark.parametrize("headers", UNPROVEN)
@pytest.mark.parametrize("seconds", [0, EXPIRED])
def test_without_proof_nothing_is_refreshed(
    seconds: float, headers: dict[str, Any]
) -> None:
    harness = signed_in()
    harness.clock.advance(seconds)
    response = post(harness, PATH, headers=headers)

    assert_cross_origin(response)
    assert_without_effect(harness, response)


def test_form_of_another_site_refreshes_nothing() -> None:
    harness = signed_in()
    cookie = {"Cookie": cookie_of(harness)}
    response = harness.client.post(PATH, cross_site=True, form={}, headers=cookie)

    assert_cross_origin(response)
    assert_without_effect(harness, response)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_have_no_effect(method: str) -> None:
    harness = signed_in()
    expire(harness)
    response = harness.client.request(
        method, PATH, fetch=True, headers={"X-HTTP-Method-Override": "POST"}
    )

    assert (response.status, response.header("Allow")) == (405, "POST")
    assert_guarded(response)
    assert_without_effect(harness, response)
