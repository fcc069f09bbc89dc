"""``{mount}/token``."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.harness import Harness
from tests.json_endpoints import (
    READERS,
    STRANGERS,
    assert_cross_origin,
    assert_guarded,
    assert_unauthenticated,
    assert_unavailable,
    assert_without_effect,
    expire,
    get,
    refresh_token_of,
    session_of,
    signed_in,
)
from tests.sites import EXPIRED, EXPIRING, make_site

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

PATH = "/auth/token"


def test_token_is_that_of_the_session_and_nothing_else_is_said() -> None:
    harness = signed_in()
    response = get(harness, PATH)
    session = session_of(harness)

    assert response.status == 200
    assert response.header("Content-Type") == "application/json"
    assert response.json() == {
        "accessToken": session.access_token,
        "expiresAt": int(session.expires_at.timestamp()),
    }
    assert_guarded(response)
    assert_without_effect(harness, response)


def test_expiry_is_in_whole_unix_seconds() -> None:
    harness = signed_in()
    expires_at = get(harness, PATH).json()["expiresAt"]

    assert isinstance(expires_at, int)
    assert expires_at == pytest.approx(harness.clock() + 300, abs=1)


def test_refresh_token_is_nowhere() -> None:
    harness = signed_in()
    old = refresh_token_of(harness)
    expire(harness)
    response = get(harness, PATH)

    assert response.status == 200
    assert refresh_token_of(harness) != old
    for secret in (old, refresh_token_of(harness)):
        assert secret not in response.text
        assert secret not in str(response.headers)


@pytest.mark.parametrize("seconds", [EXPIRING, EXPIRED])
def test_token_that_is_due_is_renewed_and_the_cookie_goes_out(seconds: float) -> None:
    harness = signed_in()
    old = session_of(harness).access_token
    harness.clock.advance(seconds)
    response = get(harness, PATH)

    assert harness.workos.count("refresh") == 1
    assert [cookie.partition("=")[0] for cookie in response.set_cookies] == [
        "wos-session"
    ]
    assert response.json()["accessToken"] == session_of(harness).access_token != old
    assert get(harness, PATH).set_cookies == []
    assert harness.workos.count("refresh") == 1


@pytest.mark.parametrize(
    ("cookie", "reason"),
    [(None, "no_cookie"), ("wos-session=garbage", "invalid_cookie")],
)
def test_signed_out_browser_gets_401_and_where_to_sign_in(
    cookie: str | None, reason: str
) -> None:
    harness = make_site()
    response = get(harness, PATH, headers={"Cookie": cookie})

    assert_unauthenticated(response, reason)
    assert_without_effect(harness, response)


def test_navigation_gets_401_and_no_redirect() -> None:
    assert_unauthenticated(make_site().client.get(PATH), "no_cookie")


def test_session_that_workos_has_ended_is_over() -> None:
    harness = signed_in()
    for session_id in harness.workos.sessions:
        harness.workos.revoke_session(session_id)
    expire(harness)

    assert_unauthenticated(get(harness, PATH), "refresh_rejected")


def test_signed_out_session_gives_no_token() -> None:
    harness = signed_in()
    cookie = f"wos-session={harness.session_cookie()}"
    harness.client.post("/auth/sign-out")
    response = get(harness, PATH, headers={"Cookie": cookie})

    assert_unauthenticated(response, "revoked")


def test_outage_is_503_and_keeps_the_session() -> None:
    harness = signed_in()
    cookie = harness.session_cookie()
    expire(harness)
    harness.workos.down()
    response = get(harness, PATH)

    assert_unavailable(response)
    assert harness.session_cookie() == cookie


def test_token_that_is_still_good_is_given_out_during_an_outage() -> None:
    harness = signed_in()
    token = session_of(harness).access_token
    harness.clock.advance(EXPIRING)
    harness.workos.down()

    assert get(harness, PATH).json()["accessToken"] == token


def test_head_has_no_effect() -> None:
    harness = signed_in()
    good = harness.client.request("HEAD", PATH, fetch=True)
    expire(harness)
    due = harness.client.request("HEAD", PATH, fetch=True)

    assert (good.status, due.status) == (200, 401)
    for response in (good, due):
        assert response.header("Content-Type") == "application/json"
        assert_guarded(response)
        assert_without_effect(harness, response)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(method: str) -> None:
    harness = signed_in()
    expire(harness)
    response = harness.client.request(
        method, PATH, fetch=True, headers={"X-HTTP-Method-Override": "GET"}
    )

    assert (response.status, response.header("Allow")) == (405, "GET, HEAD")
    assert has_no_token(response.text)
    assert_without_effect(harness, response)


def has_no_token(text: str) -> bool:
    return "accessToken" not in text and "eyJ" not in text


@pytest.mark.parametrize("headers", READERS)
def test_page_of_this_site_and_programs_may_ask(headers: dict[str, Any]) -> None:
    assert get(signed_in(), PATH, headers=headers).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", STRANGERS)
def test_page_of_another_site_gets_no_token_and_no_refresh(
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
    assert has_no_token(response.text)
    assert "Access-Control-Allow-Origin" not in dict(response.headers)
    assert_without_effect(harness, response)


def test_no_token_is_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    harness = signed_in(debug=True)
    tokens = [session_of(harness).access_token, refresh_token_of(harness)]
    expire(harness)
    get(harness, PATH)
    tokens += [session_of(harness).access_token, refresh_token_of(harness)]

    assert PATH in caplog.text
    assert not any(token in caplog.text for token in tokens)


@pytest.mark.parametrize("path", ["session", "refresh", "switch-organization"])
def test_access_token_is_in_the_answer_of_no_other_endpoint(path: str) -> None:
    harness = signed_in()
    organization = harness.workos.add_organization("Engines")
    harness.workos.add_membership(harness.ada, organization)
    before = _secrets(harness)
    if path == "session":
        expire(harness)
        response = get(harness, f"/auth/{path}")
    else:
        response = harness.client.post(
            f"/auth/{path}", fetch=True, json={"organizationId": organization.id}
        )

    assert response.status == 200
    for secret in (*before, *_secrets(harness)):
        assert secret not in response.text
        assert secret not in str(response.headers)
    assert has_no_token(response.text)


def _secrets(harness: Harness) -> tuple[str, str]:
    return session_of(harness).access_token, refresh_token_of(harness)
