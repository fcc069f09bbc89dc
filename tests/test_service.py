"""The service: its contract, one refresh for many, and what must never be told."""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests import gateway
from tests.harness import Harness, make_config
from tests.processes import (
    EXPIRED,
    EXPIRING,
    URL,
    Browser,
    Site,
    SteppedStore,
    switching,
    together,
)
from wsgi_authkit import (
    AnonymousSession,
    AuthKitService,
    AuthorizationError,
    CookieSessionStorage,
    CookieTooLarge,
    InvalidToken,
    KeySetUnavailable,
    Session,
    StateMismatch,
    VerifierMissing,
)
from wsgi_authkit.authentication import ClientInfo, parse_authentication
from wsgi_authkit.errors import BadSeal, ConfigurationError, StoreError
from wsgi_authkit.results import AuthResult
from wsgi_authkit.stores import MemoryStore
from wsgi_authkit.testing import (
    FakeUser,
    FakeWorkOS,
    InvalidJSON,
    LostResponse,
    Status,
    WSGIAdapter,
)

THREADS = 64
REQUESTS = 100
ROUNDS = 8


@pytest.fixture
def site() -> Site:
    return Site()


def set_cookies(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the cookies that headers set, by name; a deleted one is empty."""
    assert all(name == "Set-Cookie" for name, _ in headers)
    pairs = [value.partition(";")[0].partition("=") for _, value in headers]
    return {name: value for name, _, value in pairs}


def active(result: AuthResult) -> Session:
    """Return the session of a signed-in result."""
    assert isinstance(result.session, Session), result
    return result.session


# One refresh for many


@pytest.mark.parametrize("grace", [0, 30], ids=["strict", "grace"])
def test_threads_with_one_expired_session_make_one_call(grace: float) -> None:
    site = Site(refresh_grace=grace)
    browser = Browser(site)
    with switching():
        for number in range(1, ROUNDS + 1):
            site.clock.advance(EXPIRED)
            visit = partial(site.visit, browser.cookies, navigation=number % 2 == 0)
            results = together([visit] * THREADS)

            assert all(result.session for result in results)
            assert len({str(result.headers) for result in results}) == 1
            assert site.refreshes == number
            browser.receive(results[-1].headers)


@pytest.mark.parametrize("grace", [0, 30], ids=["strict", "grace"])
def test_parallel_requests_with_one_expired_session_make_one_call(grace: float) -> None:
    harness = Harness(workos_options={"refresh_grace": grace})
    store = MemoryStore(harness.clock)
    harness.middleware = harness.new_middleware(store=store)
    harness.client = harness.new_client()
    harness.sign_in()
    for number in range(1, 5):
        harness.clock.advance(EXPIRED)
        header = harness.client.jar.header(URL)

        def ask(header: str = header) -> gateway.Response:
            environ = gateway.environ(headers={"Cookie": header, "Accept": "*/*"})
            return gateway.run(harness.middleware, environ)

        with switching():
            responses = together([ask] * REQUESTS)

        assert {response.status for response in responses} == {200}
        assert {response.json()["user"] for response in responses} == {
            "ada@example.com"
        }
        cookies = {tuple(response.set_cookies) for response in responses}
        assert len(cookies) == 1
        assert harness.workos.count("refresh") == number
        (written,) = cookies.pop()
        harness.client.jar.store(URL, written)


def test_processes_that_share_a_store_make_one_call() -> None:
    site = Site(refresh_grace=0)
    cookies = site.cookie()
    site.clock.advance(EXPIRED)
    processes = [site.new_process() for _ in range(4)]
    results = [site.visit(cookies, service=process) for process in processes * 3]

    assert all(result.session for result in results)
    assert len({str(result.headers) for result in results}) == 1
    assert site.refreshes == 1


def test_expiring_session_is_refreshed_by_one_and_served_to_all(site: Site) -> None:
    cookies = site.cookie()
    site.visit(cookies)
    site.clock.advance(EXPIRING)
    with switching():
        results = together([partial(site.visit, cookies)] * THREADS)

    assert all(result.session for result in results)
    assert len({str(result.headers) for result in results if result.headers}) == 1
    assert site.refreshes == 1


def test_expiring_session_does_not_wait_for_another_process(site: Site) -> None:
    cookies = site.cookie()
    site.visit(cookies)
    waited: list[float] = []
    results: list[AuthResult] = []

    def visit_meanwhile() -> None:
        started = time.monotonic()
        results.append(site.visit(cookies))
        waited.append(time.monotonic() - started)

    during = DuringRefresh(site.workos, visit_meanwhile)
    refreshing = site.new_process(http=during.session())
    site.clock.advance(EXPIRING)
    site.visit(cookies, service=refreshing)

    assert active(results[0])
    assert results[0].headers == []
    assert waited[0] < 1
    assert site.refreshes == 1


def test_old_cookie_later_gets_the_same_new_session() -> None:
    site = Site(refresh_grace=0)
    old = site.cookie()
    site.clock.advance(EXPIRED)
    first = site.visit(old)
    site.clock.advance(30)
    again = site.visit(old)

    assert again.session == first.session
    assert again.headers == first.headers
    assert site.refreshes == 1


def test_first_cookie_after_a_second_refresh_gets_the_newest_session() -> None:
    """A late answer would otherwise put an older session over the newer one."""
    site = Site(refresh_grace=0, access_token_lifetime=30)
    browser = Browser(site)
    first = browser.cookies
    site.clock.advance(36)
    browser.visit()
    site.clock.advance(36)
    newest = browser.visit()
    late = site.visit(first)

    assert late.session == newest.session
    assert late.headers == newest.headers
    assert site.refreshes == 2


def test_late_cookie_whose_newest_session_is_over_is_refreshed_on() -> None:
    site = Site(refresh_grace=0, access_token_lifetime=20)
    old = site.cookie()
    site.clock.advance(26)
    site.visit(old)
    site.clock.advance(26)
    late = site.visit(old)

    assert not active(late).is_expiring(0)
    assert site.refreshes == 2
    assert site.visit(cookie_header(late.headers)).headers == []


def test_late_cookie_in_an_outage_is_replaced_by_the_newest() -> None:
    """Its own refresh token will be refused when the outage is over."""
    site = Site(refresh_grace=0, access_token_lifetime=20)
    old = site.cookie()
    site.clock.advance(26)
    first = site.visit(old)
    site.workos.down()
    site.clock.advance(26)
    late = site.visit(old)

    assert late.session.reason == "unavailable"
    assert late.headers == first.headers


def test_cookie_that_did_not_change_is_not_written_again(site: Site) -> None:
    browser = Browser(site)
    site.clock.advance(EXPIRED)

    assert browser.visit().headers != []
    assert browser.visit().headers == []


def test_client_is_passed_on_to_workos(site: Site) -> None:
    cookies = site.cookie()
    site.clock.advance(EXPIRED)
    client = ClientInfo(ip_address="203.0.113.9", user_agent="Firefox")
    site.service.with_auth(cookies, client=client)
    (call,) = [call for call in site.workos.calls if call.endpoint == "authenticate"]

    assert (call.ip_address, call.user_agent) == ("203.0.113.9", "Firefox")


# A store that fails


class FailingStore:
    """A store whose every verb fails."""

    def get(self, key: str) -> bytes | None:
        raise StoreError("down", operation="get")

    def set(self, key: str, value: bytes, ttl: float) -> None:
        raise StoreError("down", operation="set")

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        raise StoreError("down", operation="add")

    def delete(self, key: str, expected: bytes | None = None) -> bool:
        raise StoreError("down", operation="delete")

    def close(self) -> None:
        raise StoreError("down", operation="close")


def test_store_that_fails_signs_nobody_out(site: Site) -> None:
    service = site.new_process(store=FailingStore())
    browser = Browser(site)
    before = browser.visit(service=service)
    site.clock.advance(EXPIRED)
    refreshed = browser.visit(service=service)

    assert before.session
    assert refreshed.session
    assert browser.visit(service=service).headers == []
    assert site.refreshes == 1


def test_sign_out_works_without_a_store(site: Site) -> None:
    service = site.new_process(store=FailingStore())
    cookies = site.cookie()
    session_id = active(site.visit(cookies, service=service)).session_id
    result = service.sign_out(session_id, cookies=cookies)

    assert set_cookies(result.headers)["wos-session"] == ""
    assert site.visit(cookies, service=service).session.reason == "revoked"


def test_store_holds_no_token() -> None:
    """Who reads it has no session."""

    class Recording(MemoryStore):
        written = b""

        def set(self, key: str, value: bytes, ttl: float) -> None:
            self.written += key.encode() + value
            super().set(key, value, ttl)

        def add(self, key: str, value: bytes, ttl: float) -> bool:
            self.written += key.encode() + value
            return super().add(key, value, ttl)

    site = Site()
    store = Recording(site.clock)
    service = site.new_process(store=store)
    browser = Browser(site)
    secrets = [browser.cookies]
    site.clock.advance(EXPIRED)
    session = active(browser.visit(service=service))
    service.sign_out(session.session_id)
    secrets += [
        browser.cookies,
        session.access_token,
        session._payload.refresh_token,
        session.session_id,
        "Fe26.2",
        "refreshed",
    ]

    assert len(store) > 2
    assert [one for one in secrets if one.encode() in store.written] == []


# Sign-out


def test_sign_out_ends_the_session_here_and_names_the_url(site: Site) -> None:
    browser = Browser(site)
    session = active(browser.visit())
    stolen = browser.cookies
    result = site.service.sign_out(
        session.session_id, "https://example.com/bye", cookies=browser.cookies
    )
    browser.receive(result.headers)
    query = parse_qs(urlsplit(result.logout_url).query)

    assert urlsplit(result.logout_url).hostname == "api.workos.com"
    assert query["session_id"] == [session.session_id]
    assert query["return_to"] == ["https://example.com/bye"]
    assert browser.cookies == ""
    assert site.visit(stolen).session.reason == "revoked"


def test_revoked_cookie_is_deleted_on_a_navigation_only(site: Site) -> None:
    cookies = site.cookie()
    site.service.sign_out(active(site.visit(cookies)).session_id)

    assert site.visit(cookies, navigation=False).headers == []
    assert set_cookies(site.visit(cookies).headers) == {"wos-session": ""}


def test_contested_rejection_leaves_the_cookie_alone() -> None:
    """The answer that brings the next session may be on its way to the browser."""
    site = Site(refresh_grace=0)
    cookies = site.cookie()
    session = active(site.visit(cookies))
    site.clock.advance(EXPIRED)
    winner = site.visit(cookies)
    unaware = [site.new_process(store=FailingStore()) for _ in range(2)]
    loser = site.visit(cookies, service=unaware[0])
    outcome = unaware[1].refresh_session(session, navigation=True)

    assert winner.session
    assert loser.session.reason == outcome.reason == "refresh_rejected"
    assert loser.headers == outcome.headers == []


def test_sign_out_ends_pending_sign_ins(site: Site) -> None:
    start = site.service.create_sign_in()
    (name,) = set_cookies(start.headers)
    cookies = f"{name}=x; {site.cookie()}"
    result = site.service.sign_out("session_1", cookies=cookies)

    assert set_cookies(result.headers) == {"wos-session": "", name: ""}


@pytest.mark.parametrize("step", range(1, 19))
def test_sign_out_during_a_refresh_wins_in_every_order(step: int) -> None:
    """Another process signs out before any operation of the refresh's store."""
    site = Site()
    store = SteppedStore(site.store)
    refreshing = site.new_process(store=store)
    browsers = [Browser(site, site.start())]
    cookies = browsers[0].cookies
    session_id = active(site.visit(cookies)).session_id
    signed_out: list[Sequence[tuple[str, str]]] = []
    site.clock.advance(EXPIRED)
    refreshing.session_ids(cookies)

    def sign_out() -> None:
        signed_out.append(site.service.sign_out(session_id).headers)

    store.before(step, sign_out)
    refreshed = site.visit(cookies, service=refreshing)
    if not signed_out:
        sign_out()

    assert site.refreshes <= 1
    for order in (
        (refreshed.headers, signed_out[0]),
        (signed_out[0], refreshed.headers),
    ):
        browser = Browser(site)
        browser.receive([("Set-Cookie", f"{cookies}; Path=/")])
        for headers in order:
            browser.receive(headers)
        for service in (refreshing, site.service, site.new_process()):
            result = site.visit(browser.cookies, service=service)
            assert result.session.reason in ("no_cookie", "revoked")
            assert site.visit(cookies, service=service).session.reason == "revoked"


class DuringRefresh:
    """WorkOS, where something else happens while it answers a refresh."""

    def __init__(self, workos: FakeWorkOS, action: Callable[[], object]) -> None:
        self.workos = workos
        self.action = action

    def __call__(self, environ: Any, start_response: Any) -> Any:
        answer = self.workos(environ, start_response)
        if environ["PATH_INFO"].endswith("/authenticate"):
            self.action()
        return answer

    def session(self) -> requests.Session:
        http = requests.Session()
        http.mount("https://api.workos.com/", WSGIAdapter(self))
        return http


def test_what_a_refresh_brings_after_sign_out_is_discarded(site: Site) -> None:
    cookies = site.cookie()
    session_id = active(site.visit(cookies)).session_id
    during = DuringRefresh(site.workos, lambda: site.service.sign_out(session_id))
    refreshing = site.new_process(http=during.session())
    site.clock.advance(EXPIRED)
    result = site.visit(cookies, service=refreshing, navigation=False)

    assert result.session.reason == "revoked"
    assert result.headers == []
    assert site.refreshes == 1


# with_auth and get_session


def test_anonymous_request_costs_no_call(site: Site) -> None:
    result = site.visit("")

    assert result.session == AnonymousSession("no_cookie")
    assert result.headers == []
    assert site.workos.calls == []


def test_results_are_frozen(site: Site) -> None:
    result = site.visit(site.cookie())

    with pytest.raises(dataclasses.FrozenInstanceError):
        result.session = AnonymousSession()  # type: ignore[misc]


def test_get_session_never_refreshes(site: Site) -> None:
    cookies = site.cookie()
    valid = site.service.get_session(cookies)
    site.clock.advance(EXPIRING)
    expiring = site.service.get_session(cookies)
    site.clock.advance(EXPIRED)
    expired = site.service.get_session(cookies)

    assert isinstance(valid, Session)
    assert expiring == valid
    assert expired == AnonymousSession("expired")
    assert site.service.get_session(None) == AnonymousSession("no_cookie")
    assert site.refreshes == 0


def test_ids_of_a_requests_sessions_are_told(site: Site) -> None:
    cookies = site.cookie()
    session_id = active(site.visit(cookies)).session_id
    site.clock.advance(EXPIRED)

    assert site.service.session_ids(cookies) == [session_id]


# save_session and clear_session

FORMS: dict[str, Callable[[Site, dict[str, Any]], Any]] = {
    "snake_case": lambda site, answer: answer,
    "camelCase": lambda site, answer: {
        "accessToken": answer["access_token"],
        "refreshToken": answer["refresh_token"],
        "user": {
            "id": answer["user"]["id"],
            "email": answer["user"]["email"],
            "firstName": answer["user"]["first_name"],
        },
    },
    "answer": lambda site, answer: parse_authentication(answer),
    "session": lambda site, answer: active(site.visit(site.cookie(answer))),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_session_is_saved_in_every_form(
    site: Site, form: Callable[[Site, dict[str, Any]], Any]
) -> None:
    answer = site.start()
    result = site.service.save_session(form(site, answer))
    browser = Browser(site)
    browser.receive(result.headers)
    session = active(browser.visit())

    assert session.access_token == answer["access_token"]
    assert session.user.first_name == "Ada"
    site.clock.advance(EXPIRED)
    assert browser.visit().session


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"access_token": None}, id="no access token"),
        pytest.param({"access_token": "a.b.c"}, id="no token"),
        pytest.param({"refresh_token": ""}, id="no refresh token"),
        pytest.param({"user": None}, id="no user"),
        pytest.param({"user": {"id": "user_other"}}, id="another user"),
    ],
)
def test_session_that_is_not_good_is_not_saved(
    site: Site, changes: Mapping[str, Any]
) -> None:
    value = {**site.start(), **changes}

    with pytest.raises(InvalidToken):
        site.service.save_session(value)


def test_expired_session_is_not_saved(site: Site) -> None:
    value = site.start()
    site.clock.advance(EXPIRED)

    with pytest.raises(InvalidToken):
        site.service.save_session(value)


def test_session_that_cannot_be_judged_is_not_saved(site: Site) -> None:
    value = site.start()
    site.workos.down()

    with pytest.raises(KeySetUnavailable):
        site.service.save_session(value)


def test_session_of_a_forged_token_is_not_saved(site: Site) -> None:
    other = Site()
    other.workos.rotate_keys(keep_old=False)
    forged = {**site.start(), "access_token": other.start()["access_token"]}

    with pytest.raises(InvalidToken):
        site.service.save_session(forged)


def test_saved_session_is_secure_by_the_redirect_uri(site: Site) -> None:
    value = site.start()
    plain = site.service.save_session(value).headers[0][1]
    secure = site.service.save_session(
        value, redirect_uri="https://example.com/callback"
    ).headers[0][1]

    assert "; Secure" not in plain
    assert "; Secure" in secure
    assert "; HttpOnly" in plain


def big_session(site: Site, permissions: int) -> dict[str, Any]:
    acme = site.workos.add_organization(f"Acme {permissions}")
    names = [f"permission:{number:08}" for number in range(permissions)]
    site.workos.add_membership(site.ada, acme, permissions=names)
    return site.start(organization_id=acme.id)


def test_big_session_is_saved_in_chunks_and_shrinks_again(site: Site) -> None:
    browser = Browser(site)
    browser.receive(
        site.service.save_session(
            big_session(site, 150), cookies=browser.cookies
        ).headers
    )
    chunks = sorted(cookie.name for cookie in browser.jar)
    big = browser.visit()
    browser.receive(
        site.service.save_session(site.start(), cookies=browser.cookies).headers
    )

    assert chunks[:2] == ["wos-session.0", "wos-session.1"]
    assert len(active(big).permissions) == 150
    assert [cookie.name for cookie in browser.jar] == ["wos-session"]
    assert browser.visit().session


def test_session_that_fits_no_cookies_is_refused(site: Site) -> None:
    value = big_session(site, 440)

    with pytest.raises(CookieTooLarge):
        site.service.save_session(value)


def test_refreshed_session_that_fits_no_cookies_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It fits a seal, and a long name leaves too little room for the cookies."""
    site = Site(config=make_config(cookie_name="n" * 800))
    acme = site.workos.add_organization("Acme")
    membership = site.workos.add_membership(site.ada, acme)
    browser = Browser(site, site.start(organization_id=acme.id))
    membership.permissions = tuple(f"permission:{n:08}" for n in range(300))
    site.clock.advance(EXPIRED)
    result = browser.visit()

    assert len(active(result).permissions) == 300
    assert result.headers == []
    assert "cannot be stored" in caplog.text
    assert "the largest claim of its access token is 'permissions'" in caplog.text
    assert browser.visit().session
    assert site.refreshes == 1


def test_session_is_cleared_with_the_attributes_of_setting(site: Site) -> None:
    written = site.service.save_session(site.start()).headers[0][1]
    (_, cleared), *_ = site.service.clear_session().headers

    def attributes(header: str) -> set[str]:
        _, *rest = header.split("; ")
        return {one for one in rest if not one.startswith("Max-Age")}

    assert cleared.startswith("wos-session=; ")
    assert "; Max-Age=0" in cleared
    assert attributes(cleared) == attributes(written)


def test_cleared_session_goes_on_at_workos(site: Site) -> None:
    cookies = site.cookie()
    browser = Browser(site)
    browser.receive(site.service.clear_session(cookies=browser.cookies).headers)

    assert browser.cookies == ""
    assert site.visit(cookies).session


# Refreshes and switches that the app asks for


def test_refresh_brings_a_new_session(site: Site) -> None:
    browser = Browser(site)
    session = active(browser.visit())
    outcome = site.service.refresh_session(session, cookies=browser.cookies)
    browser.receive(outcome.headers)

    assert (outcome.kind, outcome.reason, outcome.url) == ("refreshed", None, None)
    assert outcome.session is not None
    assert outcome.session.session_id == session.session_id
    assert active(browser.visit()) == outcome.session
    assert site.refreshes == 1


def test_switch_brings_a_session_of_the_organization(site: Site) -> None:
    acme = site.workos.add_organization("Acme")
    site.workos.add_membership(site.ada, acme, role="admin")
    browser = Browser(site)
    outcome = site.service.switch_organization(
        active(browser.visit()), acme.id, cookies=browser.cookies
    )
    browser.receive(outcome.headers)

    assert outcome.kind == "switched"
    assert outcome.session is not None
    assert outcome.session.organization_id == acme.id
    assert active(browser.visit()).has_role("admin")


def test_refresh_and_switch_at_once_both_succeed() -> None:
    site = Site(refresh_grace=0)
    acme = site.workos.add_organization("Acme")
    site.workos.add_membership(site.ada, acme)
    for number in range(1, 11):
        session = active(site.visit(site.cookie()))
        refresh = partial(site.service.refresh_session, session)
        switch = partial(site.service.switch_organization, session, acme.id)
        with switching():
            refreshed, switched = together([refresh, switch])

        assert (refreshed.kind, switched.kind) == ("refreshed", "switched")
        assert switched.session is not None
        assert switched.session.organization_id == acme.id
        assert site.refreshes == 2 * number


def test_switch_asked_for_twice_is_made_once() -> None:
    site = Site(refresh_grace=0)
    acme = site.workos.add_organization("Acme")
    site.workos.add_membership(site.ada, acme)
    session = active(site.visit(site.cookie()))
    outcomes = [site.service.switch_organization(session, acme.id) for _ in range(2)]

    assert [outcome.kind for outcome in outcomes] == ["switched", "switched"]
    assert outcomes[0].headers == outcomes[1].headers
    assert site.refreshes == 1


def test_switch_that_needs_authorization_names_the_url(site: Site) -> None:
    acme = site.workos.add_organization("Acme", sso_required=True)
    site.workos.add_membership(site.ada, acme)
    cookies = site.cookie()
    outcome = site.service.switch_organization(
        active(site.visit(cookies)), acme.id, cookies=cookies
    )

    assert (outcome.kind, outcome.reason) == ("reauthorize", "sso_required")
    assert outcome.url is not None
    query = parse_qs(urlsplit(outcome.url).query)
    assert query["organization_id"] == [acme.id]
    (name,) = set_cookies(outcome.headers)
    assert name.startswith("wos-auth-verifier-")
    assert site.visit(cookies).session


def test_switch_that_needs_authorization_comes_back_to_its_place(site: Site) -> None:
    acme = site.workos.add_organization("Acme", sso_required=True)
    site.workos.add_membership(site.ada, acme)
    cookies = site.cookie()
    outcome = site.service.switch_organization(
        active(site.visit(cookies)),
        acme.id,
        cookies=cookies,
        return_to="/reports",
        sign_in_path="/auth/sign-in",
    )
    code, state = callback(site, outcome.url or "")
    result = site.service.handle_callback(cookie_header(outcome.headers), code, state)

    assert result.return_to == "/reports"
    assert result.session.organization_id == acme.id


def test_renewal_starts_no_sign_in(site: Site) -> None:
    acme = site.workos.add_organization("Acme", sso_required=True)
    site.workos.add_membership(site.ada, acme)
    cookies = site.cookie()
    outcome = site.service.renew_session(
        active(site.visit(cookies)), acme.id, cookies=cookies
    )

    assert (outcome.kind, outcome.url) == ("reauthorize", None)
    assert outcome.organization_id == acme.id
    assert outcome.headers == []


def test_switch_to_an_organization_of_others_lets_the_person_choose(
    site: Site,
) -> None:
    foreign = site.workos.add_organization("Foreign")
    outcome = site.service.switch_organization(
        active(site.visit(site.cookie())), foreign.id
    )
    query = parse_qs(urlsplit(outcome.url or "").query)

    assert outcome.reason == "organization_membership_not_found"
    assert "organization_id" not in query


@pytest.mark.parametrize("organization_id", ["", None, 5])
def test_switch_needs_an_organization(site: Site, organization_id: Any) -> None:
    session = active(site.visit(site.cookie()))

    with pytest.raises(ValueError, match="organization_id"):
        site.service.switch_organization(session, organization_id)
    assert site.refreshes == 0


def test_outcome_is_sent_as_it_is_by_then(site: Site) -> None:
    """The answer takes its time, and another request refreshes the session further."""
    cookies = site.cookie()
    outcome = site.service.refresh_session(active(site.visit(cookies)), cookies=cookies)
    assert outcome.session is not None
    newer = site.service.refresh_session(outcome.session, cookies=cookies)

    assert site.service.latest_headers(outcome, cookies) == newer.headers
    assert site.service.latest_headers(newer, cookies) == newer.headers


def test_denied_outcome_deletes_no_newer_session(site: Site) -> None:
    """A request that lost the race must not delete what the winner has brought."""
    site.workos.settings.refresh_grace = 0
    cookies = site.cookie()
    session = active(site.visit(cookies))
    other = site.new_process(store="memory:")
    newer = site.service.refresh_session(session, cookies=cookies)
    lost = other.refresh_session(session, cookies=cookies, navigation=True)

    assert (newer.kind, lost.kind) == ("refreshed", "denied")
    assert site.service.latest_headers(lost, cookies) == newer.headers
    assert set_cookies(other.latest_headers(lost, cookies)) == {"wos-session": ""}


@pytest.mark.parametrize("navigation", [True, False], ids=["navigation", "script"])
def test_refresh_of_a_session_that_is_over_is_denied(
    site: Site, navigation: bool
) -> None:
    browser = Browser(site)
    session = active(browser.visit())
    site.workos.revoke_session(session.session_id)
    outcome = site.service.refresh_session(
        session, cookies=browser.cookies, navigation=navigation
    )

    assert (outcome.kind, outcome.reason) == ("denied", "refresh_rejected")
    assert outcome.session is None
    cleared = set_cookies(outcome.headers)
    assert cleared == ({"wos-session": ""} if navigation else {})


def test_switch_of_a_session_that_was_signed_out_is_denied(site: Site) -> None:
    session = active(site.visit(site.cookie()))
    site.service.sign_out(session.session_id)
    outcome = site.service.switch_organization(session, "org_1", navigation=True)

    assert (outcome.kind, outcome.reason) == ("denied", "revoked")
    assert set_cookies(outcome.headers)["wos-session"] == ""
    assert site.refreshes == 0


@pytest.mark.parametrize(
    "fault", [pytest.param(503, id="503"), pytest.param(401, id="401")]
)
def test_refresh_in_an_outage_is_unavailable(site: Site, fault: int) -> None:
    cookies = site.cookie()
    session = active(site.visit(cookies))
    site.workos.fail(Status(fault, headers={"Retry-After": "1"}))
    outcome = site.service.refresh_session(session, cookies=cookies)

    assert outcome.kind == "unavailable"
    assert outcome.retry_after == 1
    assert outcome.headers == []
    assert site.visit(cookies).session


def test_explicit_refresh_without_keys_keeps_the_pair() -> None:
    site = Site(refresh_grace=0)
    browser = Browser(site)
    session = active(browser.visit())
    site.workos.rotate_keys()
    site.workos.fail(503, path="jwks")
    outcome = site.service.refresh_session(session, cookies=browser.cookies)
    browser.receive(outcome.headers)
    site.workos.recover()
    site.clock.advance(EXPIRED)

    assert outcome.kind == "unavailable"
    assert outcome.session is None
    assert browser.visit().session
    assert site.refreshes == 2


def test_explicit_refresh_is_made_however_new_the_session_is(site: Site) -> None:
    session = active(site.visit(site.cookie()))
    for number in range(1, 4):
        outcome = site.service.refresh_session(session)
        assert outcome.session is not None
        session = outcome.session
        assert site.refreshes == number


# Sign-in


def callback(site: Site, url: str) -> tuple[str, str]:
    """Sign Ada in at WorkOS and return code and state of the callback."""
    query = parse_qs(urlsplit(site.workos.authorize(url, site.ada)).query)
    return query["code"][0], query["state"][0]


def cookie_header(headers: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{k}={v}" for k, v in set_cookies(headers).items() if v)


def test_sign_in_starts_at_workos_and_ends_with_a_session(site: Site) -> None:
    start = site.service.create_authorization(return_to="/reports", state="cart=7")
    cookies = cookie_header(start.headers)
    code, state = callback(site, start.url)
    result = site.service.handle_callback(cookies, code, state)

    assert result.session.user.id == site.ada.id
    assert (result.return_to, result.state) == ("/reports", "cart=7")
    assert result.oauth_tokens is None
    assert result.authentication_method is not None
    written = set_cookies(result.headers)
    assert site.visit(f"wos-session={written['wos-session']}").session
    assert [value for name, value in written.items() if name != "wos-session"] == [""]


@pytest.mark.parametrize(
    ("method", "hint"), [("create_sign_in", "sign-in"), ("create_sign_up", "sign-up")]
)
def test_sign_in_and_sign_up_choose_the_screen(
    site: Site, method: str, hint: str
) -> None:
    result = getattr(site.service, method)(login_hint="ada@example.com")
    query = parse_qs(urlsplit(result.url).query)

    assert query["screen_hint"] == [hint]
    assert query["login_hint"] == ["ada@example.com"]
    assert query["code_challenge_method"] == ["S256"]


def test_errors_of_the_callback_carry_headers(site: Site) -> None:
    start = site.service.create_sign_in()
    other = site.service.create_sign_in()
    code, state = callback(site, start.url)
    (name,) = set_cookies(start.headers)
    foreign = f"{name}={set_cookies(other.headers).popitem()[1]}"

    with pytest.raises(StateMismatch) as mismatch:
        site.service.handle_callback(foreign, code, state)
    with pytest.raises(VerifierMissing) as missing:
        site.service.handle_callback("", code, state)
    assert set_cookies(mismatch.value.headers) == {name: ""}
    assert set_cookies(missing.value.headers) == {name: ""}
    assert site.workos.count("exchange") == 0


def test_callback_in_an_outage_works_when_it_is_repeated(site: Site) -> None:
    start = site.service.create_sign_in()
    code, state = callback(site, start.url)
    cookies = cookie_header(start.headers)
    site.workos.fail(503, path="exchange", times=1)

    with pytest.raises(AuthorizationError) as caught:
        site.service.handle_callback(cookies, code, state)
    assert caught.value.headers == []
    assert caught.value.retryable
    assert site.service.handle_callback(cookies, code, state).session


def test_pending_verifiers_are_cleared(site: Site) -> None:
    starts = [site.service.create_sign_in() for _ in range(2)]
    cookies = "; ".join(cookie_header(start.headers) for start in starts)
    names = [next(iter(set_cookies(start.headers))) for start in starts]
    state = set_cookies(starts[0].headers)[names[0]]
    service = site.service

    one = service.clear_pending_verifier(state)
    every = service.clear_pending_verifier(cookies=cookies)
    blind = service.clear_pending_verifier()
    assert set_cookies(one.headers) == {names[0]: ""}
    assert set_cookies(every.headers) == dict.fromkeys(names, "")
    assert set_cookies(blind.headers) == {"wos-auth-verifier": ""}


def test_verifier_is_cleared_with_the_scheme_of_its_redirect_uri(site: Site) -> None:
    service = site.service
    (_, plain), *_ = service.clear_pending_verifier().headers
    (_, secure), *_ = service.clear_pending_verifier(
        redirect_uri="https://example.com/callback"
    ).headers

    assert "; Secure" not in plain
    assert "; Secure" in secure


# Parts that can be replaced


class DictStorage(CookieSessionStorage):
    """Reads a framework's cookies, which are a dict."""

    def get_cookie(self, cookies: Any, name: str) -> str | None:
        value: str | None = cookies.get(name)
        return value


def test_storage_that_overrides_get_cookie_is_enough() -> None:
    site = Site()
    service = site.new_process(storage=DictStorage(site.config))
    start = service.create_sign_in()
    code, state = callback(site, start.url)
    jar = set_cookies(start.headers)
    jar |= set_cookies(service.handle_callback(jar, code, state).headers)
    session = active(service.with_auth(jar))
    site.clock.advance(EXPIRED)
    refreshed = service.with_auth(jar)
    jar |= set_cookies(refreshed.headers)
    site.clock.advance(1)

    assert refreshed.session
    assert service.with_auth(jar).headers == []
    assert service.session_ids(jar) == [session.session_id]
    assert set_cookies(service.sign_out(session.session_id, cookies=jar).headers)
    assert service.with_auth(jar).session.reason == "revoked"


def test_big_session_is_read_through_get_cookie() -> None:
    site = Site()
    service = site.new_process(storage=DictStorage(site.config))
    jar = set_cookies(service.save_session(big_session(site, 150), cookies={}).headers)

    assert len(jar) > 1
    assert len(active(service.with_auth(jar)).permissions) == 150


class ToyEncryption:
    """Hides nothing; tells what it does not know from what it wrote."""

    def seal(self, value: Mapping[str, object], *, ttl: int = 0) -> str:
        text = json.dumps(value, separators=(",", ":")).encode()
        return "toy." + base64.urlsafe_b64encode(text).rstrip(b"=").decode()

    def unseal(self, sealed: str) -> dict[str, Any]:
        prefix, _, text = sealed.partition(".")
        if prefix != "toy":
            raise BadSeal("not a toy")
        padded = text + "=" * (-len(text) % 4)
        value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(padded))
        return value


def test_encryption_can_be_replaced(site: Site) -> None:
    service = site.new_process(encryption=ToyEncryption())
    start = service.create_sign_in(state="x")
    code, state = callback(site, start.url)
    result = service.handle_callback(cookie_header(start.headers), code, state)
    cookies = cookie_header(result.headers)
    site.clock.advance(EXPIRED)
    refreshed = service.with_auth(cookies)

    assert state.startswith("toy.")
    assert cookies.startswith("wos-session=toy.")
    assert refreshed.session
    assert cookie_header(refreshed.headers).startswith("wos-session=toy.")
    assert not site.visit(cookies).session
    assert service.with_auth("wos-session=Fe26.2*1").session.reason == "invalid_cookie"


def test_http_is_the_one_that_was_given(site: Site) -> None:
    """Another session reaches nothing: it has no adapters."""
    nowhere = requests.Session()
    nowhere.adapters.clear()
    cookies = site.cookie()
    unreachable = site.new_process(http=nowhere)

    assert site.visit(cookies, service=unreachable).session.reason == "unavailable"
    assert site.visit(cookies).session


@pytest.mark.parametrize("store", ["sqlite", "memcached://host", object()])
def test_store_that_cannot_be_opened_is_refused_at_construction(store: Any) -> None:
    with pytest.raises(ConfigurationError, match="store"):
        AuthKitService(make_config(), store=store)


# Processes and construction


def test_each_process_makes_its_own_state(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = site.new_process(store="memory:")
    parent = service.api
    monkeypatch.setattr(os, "getpid", lambda: 424242)
    child = service.api

    assert child is not parent
    assert child is service.api
    assert service.with_auth(site.cookie()).session
    monkeypatch.undo()
    assert service.api is parent


def test_threads_of_a_process_share_one_state(site: Site) -> None:
    for _ in range(20):
        service = site.new_process()
        with switching():
            apis = together([partial(getattr, service, "api")] * 16)

        assert len({id(api) for api in apis}) == 1


QUIET = """
    import socket, sys, threading

    class NoSocket(socket.socket):
        def __new__(cls, *args, **kwargs):
            raise AssertionError("a socket was made")

    socket.socket = NoSocket
    made = []
    original = threading.Thread.start
    threading.Thread.start = lambda self: made.append(self)

    from wsgi_authkit import AuthKitConfig, AuthKitMiddleware, AuthKitService
    from wsgi_authkit.process import recall_nothing

    config = AuthKitConfig(
        client_id="client_test",
        api_key="sk_test_fake",
        redirect_uri="http://localhost:8000/callback",
        cookie_password="a cookie password for the tests, long enough",
    )
    service = AuthKitService(config)
    AuthKitMiddleware(lambda environ, start_response: [], config)
    loaded = {"requests", "urllib3", "webob", "redis", "sqlite3"} & set(sys.modules)
    assert not loaded, loaded
    assert not made, made
    assert service.process._states == {}
    assert service.process.recall is recall_nothing
"""

DEBUGGED = """
    import logging, sys

    from tests.harness import make_config
    from wsgi_authkit import AuthKitMiddleware

    log = logging.getLogger("wsgi_authkit.anything")
    log.debug("before")
    for _ in range(2):
        AuthKitMiddleware(lambda environ, start_response: [], make_config(), debug=True)
    log.debug("after")
"""

FORKED = """
    import os, sys, threading
    from tests.processes import Site

    site = Site()
    service = site.new_process(store="memory:")
    cookies = site.cookie()
    assert service.with_auth(cookies).session
    site.clock.advance(310)
    # A thread of the parent is in the middle of a refresh when it forks.
    held, go = threading.Event(), threading.Event()
    call = service._state.refresher._call

    def stopping(*arguments):
        held.set()
        go.wait(30)
        return call(*arguments)

    service._state.refresher._call = stopping
    thread = threading.Thread(target=service.with_auth, args=(cookies,))
    thread.start()
    held.wait(30)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if service.with_auth(cookies).session else 1)
    _, status = os.waitpid(pid, 0)
    go.set()
    thread.join()
    sys.exit(os.waitstatus_to_exitcode(status))
"""


def run_python(code: str) -> str:
    """Run it in an interpreter of its own and return what it wrote to stderr."""
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            textwrap.dedent(code),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def test_nothing_happens_at_construction() -> None:
    run_python(QUIET)


def test_debug_shows_the_logs_of_the_package_once() -> None:
    assert run_python(DEBUGGED).split() == ["after"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_child_of_a_busy_process_is_not_locked() -> None:
    run_python(FORKED)


# Secrets


class Canaries:
    """What must stand in no log, ``repr`` or error text."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.secrets = {
            site.config.cookie_password,
            site.config.api_key,
            "ada@example.com",
            "canary-custom-state",
        }
        self.told: list[object] = []

    def tell(self, value: object) -> Any:
        """Remember what the service returned or raised, and the secrets in it."""
        self.told.append(value)
        self.keep(getattr(value, "headers", ()))
        session = getattr(value, "session", None)
        if isinstance(session, Session):
            self.secrets |= {session.access_token, session._payload.refresh_token}
        return value

    def keep(self, headers: Sequence[tuple[str, str]]) -> None:
        self.secrets |= set(filter(None, set_cookies(headers).values()))

    def answer(self, user: FakeUser | None = None) -> dict[str, Any]:
        answer = self.site.start(user)
        self.secrets |= {answer["access_token"], answer["refresh_token"]}
        return answer

    def attempt(self, work: Callable[[], object]) -> Any:
        try:
            return self.tell(work())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            return self.tell(error)

    def leaks(self, *texts: str) -> list[str]:
        told = [f"{value!r}\n{value}" for value in _with_causes(self.told)]
        everything = "\n".join([*texts, *told])
        return [secret for secret in self.secrets if secret in everything]


def _with_causes(values: Sequence[object]) -> Iterator[object]:
    for value in values:
        while value is not None:
            yield value
            value = getattr(value, "__cause__", None)


def start_sign_in(canaries: Canaries, **options: Any) -> tuple[str, str, str]:
    """Return cookies, code and state of a sign-in up to the callback."""
    site = canaries.site
    start = canaries.tell(site.service.create_authorization(**options))
    code, state = callback(site, start.url)
    flow = site.service.peek_flow(state)
    assert flow is not None
    canaries.tell(flow)
    canaries.secrets |= {code, state, flow.code_verifier}
    return cookie_header(start.headers), code, state


def sign_in_and_fail(canaries: Canaries) -> Session:
    """Sign in once, and fail in every other way; return the session."""
    site, handle = canaries.site, canaries.site.service.handle_callback
    for fault in (Status(503), Status(401), Status(200, "html"), InvalidJSON()):
        site.workos.fail(fault, path="exchange", times=1)
        canaries.attempt(partial(handle, *start_sign_in(canaries)))
    cookies, code, state = start_sign_in(canaries, state="canary-custom-state")
    finished = canaries.attempt(partial(handle, cookies, code, state))
    canaries.attempt(partial(handle, cookies, code, state))
    canaries.attempt(partial(handle, "", code, state))
    canaries.attempt(partial(handle, cookies, code, f"{state}x"))
    cookies, _, state = start_sign_in(canaries)
    canaries.secrets.add("canary-wrong-code")
    canaries.attempt(partial(handle, cookies, "canary-wrong-code", state))
    return active(finished)


def refresh_and_fail(canaries: Canaries) -> None:
    site = canaries.site
    browser = Browser(site, canaries.answer())
    canaries.tell(browser.visit())
    for fault in (
        Status(503),
        Status(401),
        Status(400, json={"error": "sso_required", "email": "ada@example.com"}),
        Status(200, json={"user": None}),
        Status(200, json=canaries.answer()),
        LostResponse(),
        Status(400, json={"error": "invalid_grant", "error_description": "Canary"}),
    ):
        site.clock.advance(EXPIRED)
        site.workos.recover()
        site.workos.fail(fault, path="refresh", times=1)
        canaries.tell(browser.visit())
    site.workos.recover()
    failing = site.new_process(store=FailingStore())
    cookies = site.cookie(canaries.answer())
    canaries.tell(failing.with_auth(cookies))


def change_and_fail(canaries: Canaries, session: Session) -> None:
    """Use the methods that change a session, well and badly."""
    site, service = canaries.site, canaries.site.service
    acme = site.workos.add_organization("Acme", sso_required=True)
    site.workos.add_membership(site.ada, acme)
    canaries.attempt(partial(service.switch_organization, session, acme.id))
    canaries.attempt(partial(service.refresh_session, session))
    for value in (
        canaries.answer(),
        {**canaries.answer(), "user": {"id": "user_other"}},
        {**canaries.answer(), "access_token": "canary.access.token"},
        big_session(site, 440),
    ):
        canaries.secrets.add(value["access_token"])
        canaries.attempt(partial(service.save_session, value))
    canaries.attempt(partial(service.sign_out, session.session_id))
    canaries.attempt(service.clear_session)


def read_and_refuse(canaries: Canaries) -> None:
    """Read what is not, or not clearly, a session."""
    site = canaries.site
    grace = site.workos.add_user("grace@example.com")
    canaries.secrets.add("grace@example.com")
    values = [site.cookie(canaries.answer()) for _ in range(2)]
    values.append(site.cookie(canaries.answer(user=grace)))
    for cookies in (*values, "; ".join(values), values[0][:-5], values[0] * 40):
        canaries.secrets |= {one.partition("=")[2] for one in cookies.split("; ")}
        canaries.tell(site.visit(cookies))


def test_no_secret_is_logged_or_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    site = Site()
    canaries = Canaries(site)
    session = sign_in_and_fail(canaries)
    refresh_and_fail(canaries)
    change_and_fail(canaries, session)
    read_and_refuse(canaries)
    canaries.told += [site.config, site.service, site.service.envelope]

    assert len(canaries.secrets) > 40
    assert len(canaries.told) > 40
    assert len(caplog.records) > 10
    assert canaries.leaks(caplog.text) == []


def test_no_secret_is_logged_by_the_middleware(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    harness = Harness(options={"debug": True})
    harness.sign_in(return_to="/?canary-query=1")
    first = harness.session_cookie()
    harness.clock.advance(EXPIRED)
    harness.client.get("/page?canary-query=1")
    second = harness.session_cookie()
    harness.workos.down()
    harness.clock.advance(EXPIRED)
    harness.client.get("/")
    harness.client.get("/callback?code=canary-code&state=canary-state")
    harness.client.post("/auth/sign-out", form={"return_to": "/canary-path"})

    assert first
    assert second
    assert first != second
    for secret in (
        first,
        second,
        "ada@example.com",
        "canary-code",
        "canary-state",
        "canary-query",
        harness.config.cookie_password,
        harness.config.api_key,
    ):
        assert secret not in caplog.text


@pytest.mark.parametrize("value", [None, ["accessToken"], "text"])
def test_what_is_no_session_is_refused_as_one(site: Site, value: Any) -> None:
    with pytest.raises(InvalidToken, match="neither a session nor a mapping"):
        site.service.save_session(value)


def test_state_that_is_no_text_is_a_state_of_nobody(site: Site) -> None:
    with pytest.raises(VerifierMissing):
        site.service.handle_callback("", "code", "\ud800")
    assert site.service.clear_pending_verifier("\udfff\ud800").headers
