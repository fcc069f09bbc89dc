"""``X-Authkit-Session``: a page of one person never acts as the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import Harness
from tests.json_endpoints import (
    assert_guarded,
    assert_without_effect,
    expire,
    post,
    session_of,
    signed_in,
    two_organizations,
)
from tests.sites import CACHE_CONTROL, EXPIRED, answer, cookie_of, make_site
from wsgi_authkit.stores import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

HEADER = "X-Authkit-Session"
OTHER = {HEADER: "session_of_somebody_else"}
LOOMS = {"organizationId": "org_looms"}
ENDPOINTS = [
    ("GET", "/auth/session"),
    ("HEAD", "/auth/session"),
    ("GET", "/auth/token"),
    ("POST", "/auth/refresh"),
    ("POST", "/auth/switch-organization"),
    ("POST", "/auth/sign-out"),
]


def ask(
    harness: Harness, method: str, path: str, headers: dict[str, str], **options: Any
) -> Any:
    json = LOOMS if method == "POST" and path.startswith("/auth/") else None
    return harness.client.request(
        method, path, fetch=True, headers=headers, json=json, **options
    )


@pytest.mark.parametrize("seconds", [0, EXPIRED])
@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_endpoint_refuses_before_any_effect(
    method: str, path: str, seconds: float
) -> None:
    harness = two_organizations()
    harness.clock.advance(seconds)
    cookie = harness.session_cookie()
    response = ask(harness, method, path, OTHER)

    assert response.status == 409
    if method != "HEAD":
        assert response.json()["error"]["code"] == "session_changed"
        assert response.json()["error"].keys() == {"code", "message"}
    assert_guarded(response)
    assert_without_effect(harness, response)
    assert harness.session_cookie() == cookie
    assert harness.who()["user"] == "ada@example.com"


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_endpoint_serves_the_session_that_is_named(method: str, path: str) -> None:
    harness = two_organizations()
    expire(harness)
    named = {HEADER: harness.middleware.service.session_ids(cookie_of(harness))[0]}
    response = ask(harness, method, path, named)

    assert response.status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
@pytest.mark.parametrize("require_auth", [False, True])
@pytest.mark.parametrize("seconds", [0, EXPIRED])
def test_app_is_not_called(method: str, require_auth: bool, seconds: float) -> None:
    called: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        called.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    harness = signed_in(app=app, require_auth=require_auth, eager_auth=True)
    harness.clock.advance(seconds)
    response = ask(harness, method, "/orders", OTHER)

    assert response.status == 409
    assert called == []
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert_without_effect(harness, response)


def test_app_is_called_for_the_session_that_is_named() -> None:
    harness = signed_in()
    session_id = session_of(harness).session_id
    response = ask(harness, "POST", "/orders", {HEADER: session_id})

    assert (response.status, response.json()["session_id"]) == (200, session_id)


def test_page_of_one_person_does_not_post_as_the_next() -> None:
    harness = signed_in()
    page = {HEADER: session_of(harness).session_id}
    harness.sign_in(harness.workos.add_user("grace@example.com"))

    assert ask(harness, "POST", "/orders", page).status == 409
    assert ask(harness, "POST", "/auth/sign-out", page).status == 409
    assert harness.who()["user"] == "grace@example.com"


def test_session_that_was_refreshed_or_switched_is_the_same() -> None:
    harness = two_organizations()
    page = {HEADER: session_of(harness).session_id}
    post(harness, "/auth/refresh", LOOMS, headers=page)

    assert harness.who()["organization_id"] == "org_looms"
    assert ask(harness, "POST", "/orders", page).status == 200


@pytest.mark.parametrize("value", ["", None])
def test_request_without_it_is_not_concerned(value: str | None) -> None:
    harness = signed_in()

    assert harness.client.post("/orders", headers={HEADER: value}).status == 200


@pytest.mark.parametrize("value", ["\xff\xfe", "x" * 9000, ",", "*", "null"])
def test_no_value_matches_by_chance(value: str) -> None:
    harness = signed_in()

    assert ask(harness, "POST", "/orders", {HEADER: value}).status == 409


def test_part_of_the_id_or_several_do_not_match() -> None:
    harness = signed_in()
    session_id = session_of(harness).session_id

    for value in (session_id[:-1], f"{session_id},other", session_id.lower()):
        assert ask(harness, "POST", "/orders", {HEADER: value}).status == 409


@pytest.mark.parametrize("cookie", [None, "wos-session=garbage"])
def test_who_is_signed_out_is_told_that_instead(cookie: str | None) -> None:
    harness = make_site(require_auth=True)
    headers: Any = {**OTHER, "Cookie": cookie}

    assert ask(harness, "GET", "/auth/token", headers).status == 401
    assert ask(harness, "POST", "/auth/refresh", headers).status == 401
    assert ask(harness, "GET", "/auth/session", headers).json()["user"] is None
    assert ask(harness, "POST", "/orders", headers).status == 401
    assert ask(harness, "POST", "/auth/sign-out", headers).status == 200


def test_excluded_paths_are_left_alone() -> None:
    harness = signed_in(app=answer(), exclude_paths=["/static/:path*"])
    response = ask(harness, "GET", "/static/a.css", OTHER)

    assert (response.status, response.body) == (200, b"the app")
    assert response.header("Cache-Control") is None


def test_app_learns_nobody_from_a_refused_request() -> None:
    harness = signed_in(remote_user="email")
    environ = {"REMOTE_USER": "mallory"}
    response = ask(harness, "GET", "/orders", OTHER, extra=environ)

    assert response.status == 409
    assert "ada@example.com" not in response.text


def test_session_that_is_kept_in_memory_is_compared_as_well() -> None:
    harness = signed_in()
    for _ in range(2):
        assert harness.who()["user"] == "ada@example.com"

    assert harness.client.get("/", headers=OTHER).status == 409


def test_cookie_of_an_ended_session_does_not_vouch_for_the_next_person() -> None:
    """One that is left beside the new one, as after a change of ``cookie_domain``."""
    harness = signed_in()
    earlier = session_of(harness)
    cookie = harness.session_cookie()
    harness.middleware.service.sign_out(earlier.session_id)
    grace = harness.workos.add_user("grace@example.com")
    harness.sign_in(grace)
    both = f"wos-session={cookie}; {cookie_of(harness)}"
    assert harness.middleware.service.get_session(both).user == session_of(harness).user

    client = harness.new_client()
    named = {"Cookie": both, HEADER: earlier.session_id}
    assert client.get("/", headers=named).status == 409
    current = session_of(harness).session_id
    assert client.get("/", headers={**named, HEADER: current}).status == 200


def test_who_has_no_session_has_no_id_of_one() -> None:
    service = signed_in().middleware.service

    assert service.live_session_ids(None) == []
    assert service.live_session_ids("wos-session=junk") == []


@pytest.mark.parametrize("path", ["/auth/sign-out", "/orders"])
def test_session_that_cannot_be_verified_now_is_compared_as_well(path: str) -> None:
    """It may be a moment later; and a sign-out asks for no key."""
    harness = signed_in()
    worker = harness.new_middleware(store=MemoryStore(harness.clock))
    harness.workos.down()
    client = harness.new_client(worker)
    headers = {"Cookie": cookie_of(harness), **OTHER}
    response = client.request("POST", path, fetch=True, json={}, headers=headers)

    assert response.status == 409
    own = {**headers, HEADER: session_of(harness).session_id}
    assert client.request("POST", path, fetch=True, json={}, headers=own).status == 200


def test_session_that_is_remembered_is_compared_while_its_keys_are_away() -> None:
    harness = signed_in()
    harness.who()
    harness.who()
    harness.workos.rotate_keys(keep_old=False)
    harness.workos.down()

    assert ask(harness, "POST", "/orders", OTHER).status == 409


def test_cookies_of_two_people_do_not_hide_whom_a_page_was_made_for() -> None:
    harness = signed_in()
    cookie = harness.session_cookie()
    harness.sign_in(harness.workos.add_user("grace@example.com"))
    headers = {"Cookie": f"wos-session={cookie}; {cookie_of(harness)}", **OTHER}
    response = harness.new_client().request(
        "POST", "/auth/sign-out", fetch=True, json={}, headers=headers
    )

    assert response.status == 409
    assert harness.who()["user"] == "grace@example.com"


def test_ended_session_is_nobodys_and_not_somebody_elses() -> None:
    harness = signed_in()
    cookie = cookie_of(harness)
    harness.middleware.service.sign_out(session_of(harness).session_id)
    client = harness.new_client()
    response = client.get("/", fetch=True, headers={"Cookie": cookie, **OTHER})

    assert (response.status, response.json()["reason"]) == (200, "revoked")
