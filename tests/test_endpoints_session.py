"""``{mount}/session``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness import Harness
from tests.json_endpoints import (
    READERS,
    STRANGERS,
    assert_cross_origin,
    assert_guarded,
    assert_unavailable,
    assert_without_effect,
    expire,
    get,
    in_organization,
    refresh_token_of,
    session_of,
    signed_in,
)
from tests.sites import EXPIRING, make_site
from wsgi_authkit.testing import Impersonator
from wsgi_authkit.testing.faults import Status

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

PATH = "/auth/session"
SIGNED_OUT = {"user": None, "signInUrl": "/auth/sign-in"}


# What it says


def test_session_is_that_of_the_javascript_libraries() -> None:
    harness = signed_in()
    response = get(harness, PATH)
    session = session_of(harness)

    assert response.status == 200
    assert response.header("Content-Type") == "application/json"
    assert response.json() == session.to_dict()
    assert response.json() == {
        "user": session.user.to_dict(),
        "sessionId": session.session_id,
        "roles": [],
        "permissions": [],
        "entitlements": [],
        "featureFlags": [],
    }
    assert response.json()["user"]["email"] == "ada@example.com"
    assert_guarded(response)
    assert_without_effect(harness, response)


def test_session_of_a_member_says_role_permissions_and_flags() -> None:
    harness = make_site()
    organization = harness.workos.add_organization(
        "Engines", id="org_engines", entitlements=["audit"], feature_flags=["looms"]
    )
    harness.workos.add_membership(
        harness.ada, organization, role="admin", permissions=["cards:punch"]
    )
    harness.sign_in(organization_id=organization.id)
    answer = get(harness, PATH).json()

    assert answer["organizationId"] == "org_engines"
    assert (answer["role"], answer["roles"]) == ("admin", ["admin"])
    assert answer["permissions"] == ["cards:punch"]
    assert answer["entitlements"] == ["audit"]
    assert answer["featureFlags"] == ["looms"]


def test_impersonator_is_named() -> None:
    impersonator = Impersonator(email="charles@example.com", reason="support")
    harness = signed_in(sign_in={"impersonator": impersonator})

    assert get(harness, PATH).json()["impersonator"] == {
        "email": "charles@example.com",
        "reason": "support",
    }


@pytest.mark.parametrize(
    "cookie", [None, "wos-session=garbage", "wos-session=\xff\xfe"]
)
def test_signed_out_browser_is_told_where_to_sign_in(cookie: str | None) -> None:
    harness = make_site()
    response = get(harness, PATH, headers={"Cookie": cookie})

    assert response.status == 200
    assert response.json() == SIGNED_OUT
    assert_guarded(response)
    assert_without_effect(harness, response)


def test_address_of_the_sign_in_has_the_prefix_of_the_app() -> None:
    harness = make_site(mount="/login")
    harness.client.script_name = "/shop"
    response = get(harness, "/shop/login/session")

    assert response.json()["signInUrl"] == "/shop/login/sign-in"


def test_session_that_workos_has_ended_is_signed_out() -> None:
    harness = signed_in()
    expire(harness)
    harness.workos.revoke_session(_session_id(harness))

    assert get(harness, PATH).json() == SIGNED_OUT


def test_session_that_needs_sso_is_led_to_its_organization() -> None:
    harness = in_organization()
    expire(harness)
    harness.workos.fail(
        Status(400, json={"error": "sso_required", "error_description": "SSO"}),
        path="refresh",
    )
    answer = get(harness, PATH).json()
    start = harness.client.get(answer["signInUrl"]).header("Location") or ""

    assert answer["user"] is None
    assert "organization_id=org_engines" in start


def _session_id(harness: Harness) -> str:
    (session_id,) = harness.workos.sessions
    return session_id


def test_answer_has_no_token() -> None:
    harness = in_organization()
    tokens = []
    for _ in range(3):
        tokens += [session_of(harness).access_token, refresh_token_of(harness)]
        harness.clock.advance(EXPIRING)
        response = get(harness, f"{PATH}?include=organization,expiry")
        tokens += [session_of(harness).access_token, refresh_token_of(harness)]
        assert response.status == 200
        assert not any(token in str(response) for token in tokens)
        assert not any(token in response.text for token in tokens)


# Refresh on the way


@pytest.mark.parametrize("seconds", [EXPIRING, 310])
def test_session_that_is_due_is_refreshed_and_its_cookie_goes_out(
    seconds: float,
) -> None:
    harness = signed_in()
    before = harness.session_cookie()
    harness.clock.advance(seconds)
    response = get(harness, PATH)

    assert response.json()["user"]["email"] == "ada@example.com"
    assert harness.workos.count("refresh") == 1
    assert [cookie.partition("=")[0] for cookie in response.set_cookies] == [
        "wos-session"
    ]
    assert harness.session_cookie() != before
    assert get(harness, PATH).set_cookies == []
    assert harness.workos.count("refresh") == 1


def test_new_roles_are_there_after_the_refresh() -> None:
    harness = in_organization()
    harness.workos.extra_claims["permissions"] = ["cards:punch"]
    expire(harness)

    assert get(harness, PATH).json()["permissions"] == ["cards:punch"]


def test_hook_is_told_of_the_refresh() -> None:
    told: list[str] = []
    harness = signed_in(
        on_refresh=lambda session, environ: told.append(environ["PATH_INFO"])
    )
    expire(harness)
    get(harness, PATH)

    assert told == [PATH]


def test_outage_is_503_and_signs_nobody_out() -> None:
    harness = signed_in()
    cookie = harness.session_cookie()
    expire(harness)
    harness.workos.down()
    response = get(harness, PATH)

    assert_unavailable(response)
    assert harness.session_cookie() == cookie
    harness.workos.recover()
    harness.clock.advance(120)
    assert get(harness, PATH).json()["user"]["email"] == "ada@example.com"


def test_outage_does_not_matter_to_a_token_that_is_good() -> None:
    harness = signed_in()
    harness.workos.down()

    assert get(harness, PATH).status == 200


def test_person_who_opens_it_gets_json_too() -> None:
    harness = signed_in()
    assert harness.client.get(PATH).json()["user"]["email"] == "ada@example.com"
    expire(harness)
    harness.workos.down()
    assert_unavailable(harness.client.get(PATH))


def test_head_has_no_effect() -> None:
    harness = in_organization()
    good = harness.client.request("HEAD", f"{PATH}?include=organization,expiry")
    expire(harness)
    due = harness.client.request("HEAD", f"{PATH}?include=organization,expiry")

    for response in (good, due):
        assert response.status == 200
        assert response.header("Content-Type") == "application/json"
        assert_guarded(response)
        assert_without_effect(harness, response)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(method: str) -> None:
    harness = signed_in()
    expire(harness)
    response = harness.client.request(method, PATH, fetch=True)

    assert response.status == 405
    assert response.header("Allow") == "GET, HEAD"
    assert_guarded(response)
    assert_without_effect(harness, response)


# Whose pages may ask


@pytest.mark.parametrize("headers", READERS)
def test_page_of_this_site_and_programs_may_ask(headers: dict[str, Any]) -> None:
    harness = signed_in()

    assert get(harness, PATH, headers=headers).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", STRANGERS)
def test_page_of_another_site_is_refused_before_any_refresh(
    method: str, headers: dict[str, Any]
) -> None:
    harness = signed_in()
    expire(harness)
    cookie = f"wos-session={harness.session_cookie()}"
    response = harness.client.request(
        method, PATH, fetch=True, headers={"Cookie": cookie, **headers}
    )

    assert response.status == 403
    if method == "GET":
        assert_cross_origin(response)
    assert "Access-Control-Allow-Origin" not in dict(response.headers)
    assert_without_effect(harness, response)


def test_top_level_link_of_another_site_is_refused() -> None:
    harness = signed_in()
    expire(harness)
    response = harness.client.get(PATH, cross_site=True)

    assert_cross_origin(response)
    assert_without_effect(harness, response)


# What WorkOS is asked for


def test_nothing_is_asked_of_workos_unless_a_page_wants_to_know() -> None:
    harness = in_organization()
    for query in ("", "?include=", "?include=user,tokens", "?include=Organization"):
        answer = get(harness, f"{PATH}{query}").json()
        assert not {"organization", "sessionExpiresAt"} & answer.keys()

    assert harness.workos.count() == 0


def test_organization_is_named_and_asked_for_once() -> None:
    harness = in_organization()
    answers = [get(harness, f"{PATH}?include=organization").json() for _ in range(3)]

    for answer in answers:
        assert answer["organization"] == {
            "id": "org_engines",
            "name": "Analytical Engines",
        }
        assert "sessionExpiresAt" not in answer
    assert harness.workos.count() == harness.workos.count("organization") == 1


def test_end_of_the_session_is_told_and_asked_for_once() -> None:
    harness = signed_in()
    answers = [get(harness, f"{PATH}?include=expiry").json() for _ in range(3)]
    (session,) = harness.workos.sessions.values()

    for answer in answers:
        assert answer["sessionExpiresAt"] == pytest.approx(session.expires_at, abs=1)
        assert "organization" not in answer
    assert harness.workos.count() == harness.workos.count("user_sessions") == 1


def test_both_are_told_with_words_that_nobody_knows() -> None:
    harness = in_organization()
    answer = get(harness, f"{PATH}?include=future,expiry,organization").json()

    assert answer["organization"]["name"] == "Analytical Engines"
    assert isinstance(answer["sessionExpiresAt"], float)


def test_session_without_an_organization_has_none() -> None:
    harness = signed_in()
    answer = get(harness, f"{PATH}?include=organization").json()

    assert answer["organization"] is None
    assert harness.workos.count() == 0


@pytest.mark.parametrize("fault", [500, 404, 401, 429])
def test_what_workos_does_not_say_is_null(fault: int) -> None:
    harness = in_organization()
    harness.workos.fail(fault, path="organization")
    harness.workos.fail(fault, path="user_sessions")
    response = get(harness, f"{PATH}?include=organization,expiry")

    assert response.status == 200
    assert response.json()["organization"] is None
    assert response.json()["sessionExpiresAt"] is None
    assert response.json()["user"]["email"] == "ada@example.com"


def test_organization_is_that_of_the_session_whatever_is_asked_for() -> None:
    harness = in_organization()
    harness.workos.add_organization("Secret Rivals", id="org_rivals")
    response = get(
        harness,
        f"{PATH}?include=organization&organization_id=org_rivals"
        "&organizationId=org_rivals&organization=org_rivals",
        headers={"X-Organization-Id": "org_rivals"},
    )

    assert response.json()["organization"]["id"] == "org_engines"
    assert "Rivals" not in response.text


def test_signed_out_browser_learns_nothing_of_workos() -> None:
    harness = make_site()
    response = get(harness, f"{PATH}?include=organization,expiry")

    assert response.json() == SIGNED_OUT
    assert harness.workos.count() == 0


@pytest.mark.parametrize(
    "query",
    ["include=expiry&include=organization", "include=%ff", "include=" + "x" * 9000],
)
def test_query_that_cannot_be_read_is_refused(query: str) -> None:
    harness = signed_in()
    expire(harness)
    response = get(harness, f"{PATH}?{query}")

    assert response.status == 400
    assert response.json()["error"]["code"] == "invalid_request"
    assert_guarded(response)
    assert_without_effect(harness, response)
