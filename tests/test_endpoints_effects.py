"""What the JSON endpoints have in common with every other path of the app."""

from __future__ import annotations

import threading
from typing import Any, Final

import pytest

from tests.gateway import Response, run
from tests.harness import Harness
from tests.json_endpoints import (
    assert_unauthenticated,
    assert_without_effect,
    expire,
    get,
    post,
    revoke,
    session_of,
    signed_in,
    two_organizations,
)
from tests.sites import EXPIRED, answer, cookie_of, navigation
from wsgi_authkit.testing.faults import LostResponse

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

PAGE: Final = ("Content-Type", "text/html; charset=utf-8")
EAGER: Final = "workos-access-token"
LOOMS: Final = {"organizationId": "org_looms"}
READS: Final = ["/auth/session", "/auth/token"]
CHANGES: Final = ["/auth/refresh", "/auth/switch-organization"]


def ask(harness: Harness, path: str, **options: Any) -> Response:
    if path in CHANGES:
        return post(harness, path, LOOMS, **options)
    return get(harness, path, **options)


def names_of(response: Response) -> list[str]:
    return [cookie.partition("=")[0] for cookie in response.set_cookies]


# The eager cookie


def eager_site(**options: Any) -> Harness:
    """Return a site whose page has just brought the token for its scripts."""
    harness = two_organizations(app=answer([PAGE]), eager_auth=True, **options)
    harness.client.get("/")
    assert harness.client.jar.get(EAGER) is not None
    return harness


@pytest.mark.parametrize("path", READS)
def test_eager_token_stays_while_it_is_the_session_s(path: str) -> None:
    harness = eager_site()

    assert ask(harness, path).set_cookies == []
    assert harness.client.jar.get(EAGER) is not None


@pytest.mark.parametrize("path", [*READS, *CHANGES])
def test_eager_token_goes_when_the_session_changes(path: str) -> None:
    harness = eager_site()
    cookie = harness.client.jar.header("http://localhost:8000/")
    if path in READS:
        expire(harness)
    response = ask(harness, path, headers={"Cookie": cookie})

    assert response.status == 200
    assert sorted(names_of(response)) == ["workos-access-token", "wos-session"]
    assert harness.client.jar.get(EAGER) is None


@pytest.mark.parametrize("path", [*READS, *CHANGES])
def test_answer_for_scripts_hands_out_no_eager_token(path: str) -> None:
    harness = two_organizations(eager_auth=True)
    expire(harness)

    assert names_of(ask(harness, path)) == ["wos-session"]


# REMOTE_USER


@pytest.mark.parametrize("path", [*READS, *CHANGES])
@pytest.mark.parametrize("seconds", [0, EXPIRED])
def test_server_below_learns_who_asked(path: str, seconds: float) -> None:
    harness = two_organizations(remote_user="email")
    harness.clock.advance(seconds)
    request = environ_of(harness, path)
    request["REMOTE_USER"] = "mallory"
    response = run(harness.middleware, request)

    assert response.status == 200
    assert request["REMOTE_USER"] == "ada@example.com"


def test_who_is_signed_out_is_nobody_whatever_the_server_said() -> None:
    harness = two_organizations(remote_user="email")
    revoke(harness)
    expire(harness)
    request = environ_of(harness, "/auth/token")
    request["REMOTE_USER"] = "mallory"
    response = run(harness.middleware, request)

    assert response.status == 401
    assert "REMOTE_USER" not in request


def environ_of(harness: Harness, path: str) -> dict[str, Any]:
    is_post = path in CHANGES
    body = b'{"organizationId": "org_looms"}' if is_post else b""
    request = navigation(
        cookie_of(harness),
        "POST" if is_post else "GET",
        path=path,
        body=body,
    )
    request["HTTP_SEC_FETCH_SITE"] = "same-origin"
    request["CONTENT_TYPE"] = "application/json"
    return request


# Who goes on, and who does not


def test_hooks_are_told_of_what_went_wrong() -> None:
    told: list[tuple[str, bool]] = []
    harness = two_organizations(
        on_refresh_error=lambda error, environ, transient: told.append(
            (environ["PATH_INFO"], transient)
        )
    )
    harness.workos.down()
    post(harness, "/auth/refresh")
    harness.workos.recover()
    harness.clock.advance(120)
    revoke(harness)
    post(harness, "/auth/switch-organization", LOOMS)

    assert told == [("/auth/refresh", True), ("/auth/switch-organization", False)]


@pytest.mark.parametrize("path", ["/auth/session", "/auth/token", "/auth/refresh"])
def test_script_never_deletes_the_cookie_of_a_session_that_is_over(path: str) -> None:
    # Another tab may be bringing the next one.
    harness = signed_in()
    revoke(harness)
    expire(harness)
    response = ask(harness, path)

    assert response.status in (200, 401)
    assert response.set_cookies == []


def test_session_over_is_forgotten_by_the_next_navigation() -> None:
    harness = signed_in()
    revoke(harness)
    expire(harness)
    get(harness, "/auth/session")
    harness.who()

    assert harness.session_cookie() is None


def test_answer_that_was_lost_is_made_up_for() -> None:
    harness = signed_in()
    expire(harness)
    harness.workos.fail(LostResponse(), path="refresh", times=1)

    assert get(harness, "/auth/token").status == 200
    assert session_of(harness).user.id == harness.ada.id


def test_many_tabs_around_one_expiry_refresh_once() -> None:
    harness = signed_in()
    expire(harness)
    cookie = cookie_of(harness)
    ready = threading.Barrier(16)
    answers: list[Response] = []

    def tab(path: str) -> None:
        client = harness.new_client()
        ready.wait(10)
        answers.append(client.get(path, fetch=True, headers={"Cookie": cookie}))

    threads = [threading.Thread(target=tab, args=(READS[n % 2],)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [each.status for each in answers] == [200] * 16
    assert harness.workos.count("refresh") == 1
    tokens = {each.json().get("accessToken") for each in answers} - {None}
    assert len(tokens) == 1


@pytest.mark.parametrize("path", [*READS, *CHANGES])
def test_endpoints_come_before_every_rule_of_paths(path: str) -> None:
    harness = two_organizations(
        require_auth=True,
        protected_paths=["/auth/:path*"],
        exclude_paths=["/auth/:path*"],
    )

    assert ask(harness, path).status == 200


@pytest.mark.parametrize("path", [*READS, *CHANGES])
def test_path_is_taken_exactly(path: str) -> None:
    harness = two_organizations()

    for other in (f"{path}/", f"{path}.json", path.upper(), f"/x{path}"):
        assert "status" in ask(harness, other).json(), other


@pytest.mark.parametrize("path", [*READS, *CHANGES])
def test_cookie_of_another_app_is_nobody(path: str) -> None:
    harness = two_organizations()
    stranger = signed_in(settings={"cookie_password": "of another app" * 3})
    response = ask(harness, path, headers={"Cookie": cookie_of(stranger)})

    if path == "/auth/session":
        assert response.json()["user"] is None
    else:
        assert_unauthenticated(response, "invalid_cookie")
    assert_without_effect(harness, response)


def test_each_browser_is_told_about_its_own_session() -> None:
    harness = signed_in()
    other = harness.new_client()
    grace = harness.workos.add_user("grace@example.com")
    harness.sign_in(grace, client=other)

    for _ in range(2):
        assert get(harness, "/auth/session").json()["user"]["id"] == harness.ada.id
        theirs = other.get("/auth/session", fetch=True).json()
        assert theirs["user"]["id"] == grace.id
