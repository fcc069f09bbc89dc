"""Late responses, hooks and excluded paths: what else a changed session touches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import pytest

from tests.harness import path_of
from tests.sites import CACHE_CONTROL, EXPIRED, TEXT, answer, make_site
from tests.test_request_session import Site, set_cookies
from wsgi_authkit import Auth, AuthKitError, Session, SignInEvent

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


def test_browser_leaves_a_session_for_a_minute(site: Site) -> None:
    """No response takes longer than results are kept."""
    kept: list[Session] = []
    service = site.harness.middleware.service

    def clear(auth: Auth) -> None:
        assert isinstance(auth.session, Session)
        kept.append(auth.session)
        auth.clear_session()

    site.do(clear)
    outcome = service.refresh_session(kept[0])
    within = service.latest_headers(outcome, "")
    site.harness.clock.advance(61)

    assert within == []
    assert service.latest_headers(outcome, "") == outcome.headers


# What hooks change on an endpoint


def test_on_success_that_clears_the_session_signs_nobody_in() -> None:
    def refuse(event: SignInEvent) -> None:
        event.environ["authkit"].clear_session()

    harness = make_site(on_success=refuse)
    response = harness.sign_in()

    assert len([c for c in response.set_cookies if c.startswith("wos-session=")]) == 1
    assert harness.who()["user"] is None


def test_on_success_that_saves_another_session_has_the_last_word() -> None:
    def replace_it(event: SignInEvent) -> None:
        event.environ["authkit"].save_session(
            harness.workos.create_session(harness.workos.add_user(BOB))
        )

    harness = make_site(on_success=replace_it)
    harness.sign_in()

    assert harness.who()["user"] == BOB


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
