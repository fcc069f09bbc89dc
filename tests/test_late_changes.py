"""Late responses, hooks and excluded paths: what else a changed session touches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import pytest

from tests.gateway import run
from tests.harness import path_of
from tests.sites import (
    CACHE_CONTROL,
    EXPIRED,
    TEXT,
    answer,
    cookie_of,
    make_site,
    navigation,
)
from tests.test_request_session import Site, set_cookies
from wsgi_authkit import (
    Auth,
    AuthKitError,
    RefreshOutcome,
    Session,
    SignInEvent,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

BOB: Final = "bob@example.com"


@pytest.fixture
def site() -> Site:
    """A site on which Ada is signed in, in Acme."""
    site = Site()
    site.harness.sign_in(organization_id=site.acme.id)
    return site


# Responses that come late


def bob_signs_in(site: Site) -> None:
    bob = site.workos.add_user(BOB)
    site.harness.sign_in(bob)


def ada_signs_out(site: Site) -> None:
    site.harness.client.post("/auth/sign-out")


def bob_follows_ada(site: Site) -> None:
    ada_signs_out(site)
    bob_signs_in(site)


def app_clears(site: Site) -> None:
    site.do(lambda auth: auth.clear_session())


def app_signs_bob_in(site: Site) -> None:
    bob = site.workos.add_user(BOB)
    value = site.workos.create_session(bob)
    site.do(lambda auth: auth.save_session(value))


@pytest.mark.parametrize("fetch", [True, False], ids=["fetch", "navigation"])
@pytest.mark.parametrize("over", [True, False], ids=["rejected", "refreshed"])
@pytest.mark.parametrize(
    ("meanwhile", "who"),
    [
        (bob_signs_in, BOB),
        (ada_signs_out, None),
        (bob_follows_ada, BOB),
        (app_clears, None),
        (app_signs_bob_in, BOB),
    ],
)
def test_late_response_undoes_nothing(
    site: Site,
    meanwhile: Callable[[Site], None],
    who: str | None,
    *,
    fetch: bool,
    over: bool,
) -> None:
    """Its request came with an expired session; the browser has another by now."""
    if over:
        site.workos.revoke_session(site.harness.who()["session_id"])
    site.harness.clock.advance(EXPIRED)
    site.do(lambda auth: meanwhile(site), fetch=fetch)

    assert site.harness.who()["user"] == who


@pytest.mark.parametrize(
    ("meanwhile", "who"), [(bob_signs_in, BOB), (ada_signs_out, None)]
)
def test_late_refresh_by_the_app_undoes_nothing(
    site: Site, meanwhile: Callable[[Site], None], who: str | None
) -> None:
    def act(auth: Auth) -> None:
        auth.refresh()
        meanwhile(site)

    site.do(act)

    assert site.harness.who()["user"] == who


def test_late_response_of_a_session_that_stays_brings_its_cookie(site: Site) -> None:
    """Or its refreshed pair would be lost."""
    site.harness.clock.advance(EXPIRED)
    response = site.do(lambda auth: None)

    assert list(set_cookies(response)) == ["wos-session"]


def test_session_that_is_saved_again_after_it_was_cleared_is_set(site: Site) -> None:
    kept: list[Session] = []

    def clear(auth: Auth) -> None:
        assert isinstance(auth.session, Session)
        kept.append(auth.session)
        auth.clear_session()

    site.do(clear)
    response = site.do(lambda auth: auth.save_session(kept[0]))

    assert set_cookies(response)["wos-session"]
    assert site.harness.who()["user"] == "ada@example.com"


def test_session_that_is_signed_in_to_again_after_it_was_cleared_is_kept_fresh(
    site: Site,
) -> None:
    """WorkOS may bring back the session that the browser has left."""
    site.workos.extra_claims["sid"] = "session_kept"
    site.harness.sign_in()
    app_clears(site)
    site.harness.sign_in()
    response = site.do(lambda auth: auth.refresh())

    assert set_cookies(response)["wos-session"]


def test_session_that_is_signed_in_to_once_more_is_not_left(site: Site) -> None:
    """As after a step-up, where WorkOS keeps the session."""
    site.workos.extra_claims["sid"] = "session_kept"
    site.harness.sign_in()
    site.harness.sign_in()
    response = site.do(lambda auth: auth.refresh())

    assert set_cookies(response)["wos-session"]


def test_late_response_undoes_nothing_within_ten_minutes(site: Site) -> None:
    def act(auth: Auth) -> None:
        auth.refresh()
        bob_signs_in(site)
        site.harness.clock.advance(599)

    site.do(act)

    assert site.harness.who()["user"] == BOB


@pytest.mark.parametrize("fetch", [True, False], ids=["fetch", "navigation"])
@pytest.mark.parametrize("meanwhile", [bob_signs_in, bob_follows_ada])
def test_late_request_to_refresh_undoes_nothing(
    site: Site, meanwhile: Callable[[Site], None], *, fetch: bool
) -> None:
    """The app of the earlier session refreshes after the browser has another."""

    def act(auth: Auth) -> RefreshOutcome:
        meanwhile(site)
        # Longer than clocks may differ: what counts is when the request came.
        site.harness.clock.advance(20)
        return auth.refresh()

    response = site.do(act, fetch=fetch)

    assert not response.set_cookies
    assert site.harness.who()["user"] == BOB


def test_session_whose_id_changes_in_a_refresh_is_left_all_the_same(
    site: Site,
) -> None:
    site.harness.clock.advance(EXPIRED)
    site.workos.extra_claims["sid"] = "session_other"

    def act(auth: Auth) -> None:
        del site.workos.extra_claims["sid"]
        bob_signs_in(site)

    site.do(act, fetch=True)

    assert site.harness.who()["user"] == BOB


@pytest.mark.parametrize("saves", [True, False], ids=["save", "clear"])
def test_change_that_never_goes_out_costs_nothing(site: Site, *, saves: bool) -> None:
    """The browser goes on with the session that it has, and gets it refreshed."""

    def act(auth: Auth) -> None:
        if saves:
            bob = site.workos.add_user(BOB)
            auth.save_session(site.workos.create_session(bob))
        else:
            auth.clear_session()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        site.do(act)
    response = site.do(lambda auth: auth.refresh())

    assert set_cookies(response)["wos-session"]
    assert site.harness.who()["user"] == "ada@example.com"


def test_change_that_never_arrives_costs_nothing(site: Site) -> None:
    """It was sent, and the connection broke."""
    before = cookie_of(site.harness)
    app_clears(site)
    site.harness.clock.advance(6)
    site.act = lambda auth: auth.refresh()
    response = run(site.harness.middleware, navigation(before))

    assert set_cookies(response)["wos-session"]


# What hooks change on an endpoint


LARGE: Final = {"blob": "x" * 2600}
"""Claims whose session needs several cookies."""


@pytest.mark.parametrize("claims", [{}, LARGE], ids=["one-cookie", "chunks"])
@pytest.mark.parametrize("name", ["clear_session", "sign_out"])
def test_on_success_that_ends_the_session_signs_nobody_in(
    name: str, claims: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(event: SignInEvent) -> None:
        getattr(event.environ["authkit"], name)()

    harness = make_site(on_success=refuse)
    harness.workos.extra_claims.update(claims)
    with caplog.at_level(logging.INFO):
        response = harness.sign_in()

    assert set_cookies(response)["wos-session"] == ""
    assert not [c for c in response.set_cookies if c.startswith("wos-session.")]
    assert harness.who()["user"] is None
    assert "signed in, session" not in caplog.text


@pytest.mark.parametrize("claims", [{}, LARGE], ids=["one-cookie", "chunks"])
def test_on_success_that_saves_another_session_has_the_last_word(
    claims: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    def replace_it(event: SignInEvent) -> None:
        harness.workos.extra_claims.clear()
        event.environ["authkit"].save_session(harness.workos.create_session(bob))

    harness = make_site(on_success=replace_it)
    bob = harness.workos.add_user(BOB)
    harness.workos.extra_claims.update(claims)
    with caplog.at_level(logging.INFO):
        harness.sign_in()

    assert harness.who()["user"] == BOB
    assert f"user {bob.id} signed in" in caplog.text


@pytest.mark.parametrize("claims", [{}, LARGE], ids=["one-cookie", "chunks"])
@pytest.mark.parametrize("earlier", [True, False])
def test_on_success_that_saves_a_session_and_fails_signs_nobody_in(
    claims: dict[str, str], *, earlier: bool
) -> None:
    def fail(event: SignInEvent) -> None:
        if failing:
            event.environ["authkit"].save_session(harness.workos.create_session(bob))
            raise ValueError

    failing: list[bool] = []
    harness = make_site(on_success=fail)
    if earlier:
        harness.sign_in()
    bob = harness.workos.add_user(BOB)
    harness.workos.extra_claims.update(claims)
    failing.append(True)
    response = harness.sign_in(bob)

    assert response.status == 500
    assert not [c for c in response.set_cookies if c.startswith("wos-session")]
    assert harness.who()["user"] == ("ada@example.com" if earlier else None)


@pytest.mark.parametrize("returned", [True, False])
def test_on_success_that_keeps_the_browsers_session_does_not_leave_it(
    *, returned: bool
) -> None:
    """Its refreshed cookie would not be written any more."""
    kept: list[Session] = []

    def keep(event: SignInEvent) -> Session | None:
        if not kept:
            return None
        if returned:
            return kept[0]
        event.environ["authkit"].save_session(kept[0])
        return None

    harness = make_site(on_success=keep)
    harness.sign_in()
    session = harness.middleware.service.get_session(cookie_of(harness))
    assert isinstance(session, Session)
    kept.append(session)
    harness.sign_in(harness.workos.add_user(BOB))
    harness.clock.advance(EXPIRED)
    response = harness.client.get("/")

    assert response.json()["user"] == "ada@example.com"
    assert set_cookies(response)["wos-session"]


def test_sign_in_takes_the_eager_token_of_another_person_back() -> None:
    site = Site(eager_auth=True)
    site.harness.sign_in()
    site.harness.who()
    response = site.harness.sign_in(site.workos.add_user(BOB))

    assert set_cookies(response)["workos-access-token"] == ""


def test_on_error_can_start_another_sign_in() -> None:
    """With its verifier cookie, so that the person comes back to a session."""

    def again(error: AuthKitError, environ: WSGIEnvironment) -> WSGIApplication:
        url = environ["authkit"].authorization_url(prompt="login")
        return answer([TEXT, ("Location", url)], "302 Found")

    harness = make_site(on_error=again)
    response = harness.client.get("/callback?error=access_denied", cross_site=True)
    callback = harness.workos.authorize(response.header("Location") or "", harness.ada)
    harness.client.get(path_of(callback), cross_site=True)

    assert "prompt=login" in (response.header("Location") or "")
    assert harness.who()["user"] == "ada@example.com"


def test_on_error_can_clear_the_session() -> None:
    def clear(error: AuthKitError, environ: WSGIEnvironment) -> None:
        environ["authkit"].clear_session()

    harness = make_site(on_error=clear)
    harness.sign_in()
    harness.client.get("/callback?error=access_denied", cross_site=True)

    assert harness.who()["reason"] == "no_cookie"


# What excluded paths and cleared sessions leave behind


def test_sign_out_on_an_excluded_path_takes_the_eager_token_back() -> None:
    site = Site(eager_auth=True, exclude_paths=["/free"])
    site.harness.sign_in()
    site.harness.who()
    names = {cookie.name for cookie in site.harness.client.jar}
    site.do(lambda auth: auth.sign_out(), "/free")

    assert "workos-access-token" in names
    assert "workos-access-token" not in {c.name for c in site.harness.client.jar}


def test_change_of_the_session_does_not_end_an_exclusion() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["authkit"].clear_session()
        start_response("401 Unauthorized", [("Content-Type", "text/plain")])
        return [b"the app's own"]

    harness = make_site(app, exclude_paths=["/free"])

    assert harness.client.get("/free").status == 401


def test_redirect_into_a_flow_is_private_on_an_excluded_path_too() -> None:
    """The next visitor must not be sent into somebody's flow."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        url = environ["authkit"].authorization_url()
        headers = [TEXT, ("Location", url), ("Cache-Control", "public, max-age=60")]
        start_response("302 Found", headers)
        return []

    harness = make_site(app, exclude_paths=["/free"])
    response = harness.client.get("/free", fetch=True)

    assert response.header("Cache-Control") == CACHE_CONTROL


def test_clearing_the_session_time_and_again_is_no_loop(site: Site) -> None:
    for _ in range(5):
        app_clears(site)

        assert site.harness.sign_in().status == 303


def test_sign_in_that_the_app_refuses_brings_no_session_back() -> None:
    """WorkOS answers with the session that was signed out; a late response waits."""

    def refuse(event: SignInEvent) -> None:
        if refusing:
            raise ValueError

    refusing: list[bool] = []
    site = Site(on_success=refuse)
    site.workos.extra_claims["sid"] = "session_kept"
    site.harness.sign_in()
    site.harness.clock.advance(EXPIRED)

    def act(auth: Auth) -> None:
        ada_signs_out(site)
        refusing.append(True)
        site.harness.sign_in()

    site.do(act)

    assert site.harness.who()["user"] is None


def test_save_that_never_goes_out_brings_no_earlier_session_back(site: Site) -> None:
    def save_and_fail(auth: Auth) -> None:
        auth.save_session(kept[0])
        raise ZeroDivisionError

    def act(auth: Auth) -> None:
        assert isinstance(auth.session, Session)
        kept.append(auth.session)
        auth.refresh()
        bob_signs_in(site)
        with pytest.raises(ZeroDivisionError):
            site.do(save_and_fail)

    kept: list[Session] = []
    site.do(act)

    assert site.harness.who()["user"] == BOB


def test_change_without_a_cookie_leaves_no_session(site: Site) -> None:
    """Another request has refreshed it, and its response is still on its way."""

    def inner(auth: Auth) -> RefreshOutcome:
        bob = site.workos.create_session(site.workos.add_user(BOB))
        auth.save_session(bob)
        site.workos.revoke_session(str(auth.session.session_id))
        return auth.refresh()

    site.harness.clock.advance(EXPIRED)
    response = site.do(lambda auth: site.do(inner, fetch=True))

    assert set_cookies(response)["wos-session"]
    assert site.harness.who()["user"] == "ada@example.com"


@pytest.mark.parametrize("name", ["clear_session", "sign_out"])
def test_on_success_that_ends_a_session_and_fails_has_ended_it(name: str) -> None:
    def fail(event: SignInEvent) -> None:
        if failing:
            auth = event.environ["authkit"]
            getattr(auth, name)()
            auth.save_session(harness.workos.create_session(bob))
            raise ValueError

    failing: list[bool] = []
    harness = make_site(on_success=fail)
    harness.sign_in()
    bob = harness.workos.add_user(BOB)
    failing.append(True)
    response = harness.sign_in(bob)

    assert response.status == 500
    assert set_cookies(response)["wos-session"] == ""
    assert harness.who()["user"] is None


def test_sign_out_and_a_new_flow_set_each_cookie_once() -> None:
    def again(error: AuthKitError, environ: WSGIEnvironment) -> WSGIApplication:
        environ["authkit"].sign_out()
        url = environ["authkit"].authorization_url(prompt="login")
        return answer([TEXT, ("Location", url)], "302 Found")

    harness = make_site(on_error=again)
    harness.sign_in()
    response = harness.client.get("/callback?error=access_denied", cross_site=True)
    names = [value.partition("=")[0] for value in response.set_cookies]

    assert "wos-auth-marker" in names
    assert len(names) == len(set(names))
