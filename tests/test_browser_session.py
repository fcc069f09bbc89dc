"""``authkit.js`` in a real browser, against Gunicorn: session and tokens of pages.

Access tokens live for a few seconds here. Both sides renew one after half of its life.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import PROGRAM, Chromium
from tests.page_site import Site, Visit, running_site, visiting
from tests.servers import until

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")

STATE = "(window.authkit?.getState() ?? {})"
SIGNED_IN = f"{STATE}.user"
SIGNED_OUT = f"{STATE}.user === null"
TOKEN = f"{STATE}.accessToken"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def visit(site: Site, tmp_path: Path) -> Iterator[Visit]:
    with visiting(site, tmp_path) as visit:
        yield visit
        assert visit.problems == []


def expiry_of(tab: Chromium) -> Any:
    """Return the ``exp`` of the token that a page has, in Unix seconds."""
    return tab.evaluate(f"JSON.parse(atob({TOKEN}.split('.')[1])).exp")


def test_page_learns_who_is_signed_in_and_calls_an_api(visit: Visit) -> None:
    session = visit.sign_in()
    tab = visit.browser
    tab.until(TOKEN)

    auth = tab.evaluate("authkit.getAuth({ include: ['organization', 'expiry'] })")
    assert auth["user"]["email"] == "ada@example.com"
    assert auth["sessionId"] == session.id
    assert auth["organization"] == {"id": "org_acme", "name": "Acme"}
    assert auth["sessionExpiresAt"] == pytest.approx(session.expires_at, abs=1)
    assert tab.evaluate("callApi()")[0] == 200
    assert tab.evaluate("callApi()")[1]["user"] == "user_ada"
    claims = tab.evaluate("authkit.getTokenClaims()")
    assert (claims["sub"], claims["sid"]) == ("user_ada", session.id)
    assert tab.evaluate("authkit.recentAuth({ maxAge: 60 })")
    # One of each, however many have asked.
    assert visit.site.count("GET /auth/token") == 1


def test_page_learns_that_nobody_is_signed_in(visit: Visit) -> None:
    tab = visit.open()
    tab.until(SIGNED_OUT)

    assert tab.evaluate("authkit.getAuth()") == {
        "user": None,
        "signInUrl": "/auth/sign-in",
    }
    assert tab.evaluate("authkit.getAccessToken()") is None
    assert tab.evaluate("authkit.getTokenClaims()") == {}
    assert tab.evaluate("expired") == 0


def test_page_that_needs_somebody_comes_back_after_the_sign_in(visit: Visit) -> None:
    tab = visit.open("/?idle&page=7")
    tab.evaluate("void authkit.getAuth({ ensureSignedIn: true })")
    at_workos = f"location.origin === '{visit.site.workos_url}'"
    tab.until(f"{at_workos} && document.readyState === 'complete'")
    tab.follow("button[value=continue]")

    assert tab.url == f"{visit.site.url}/?idle&page=7"
    assert tab.evaluate("authkit.getAuth()")["user"]["id"] == "user_ada"


def test_token_is_renewed_before_its_expiry_and_no_request_fails(visit: Visit) -> None:
    visit.sign_in(lifetime=4)
    tab = visit.browser
    tab.until(TOKEN)
    first = expiry_of(tab)

    statuses = tab.evaluate(
        "(async () => { const statuses = [];"
        f"while (Date.now() / 1000 < {first} + 0.5) {{"
        "  statuses.push((await callApi())[0]);"
        "  await new Promise((then) => setTimeout(then, 50)); }"
        "return statuses })()"
    )

    assert set(statuses) == {200}
    assert expiry_of(tab) > first
    assert visit.site.refreshes == 1
    assert {request.status for request in visit.site.requests} <= {200, 302, 303}


def test_twenty_tabs_around_one_expiry_make_one_refresh_call(visit: Visit) -> None:
    # Due in ten seconds, within which twenty tabs can be opened on a busy machine.
    visit.sign_in(lifetime=20)
    visit.browser.until(TOKEN)
    first = expiry_of(visit.browser)
    for _ in range(19):
        visit.open_tab(background=True)
    for tab in visit.tabs:
        tab.until(TOKEN)
    assert visit.site.refreshes == 0

    for tab in visit.tabs:
        tab.until(f"JSON.parse(atob({TOKEN}.split('.')[1])).exp > {first}")

    assert visit.site.refreshes == 1
    assert len({tab.evaluate(TOKEN) for tab in visit.tabs}) == 1
    assert {request.status for request in visit.site.requests} <= {200, 302, 303}


def test_other_tabs_notice_a_sign_out_within_a_second(visit: Visit) -> None:
    session = visit.sign_in()
    others = [visit.open_tab(background=True) for _ in range(3)]
    for tab in others:
        tab.until(TOKEN)

    visit.browser.evaluate("void authkit.signOut()")
    for tab in others:
        tab.until(SIGNED_OUT, within=1)
        assert tab.evaluate(TOKEN) is None

    # Back here, by way of WorkOS.
    visit.browser.until(f"location.origin === '{visit.site.url}' && {SIGNED_OUT}")
    assert session.revoked_at is not None
    assert visit.site.workos.count("logout") == 1
    assert "wos-session" not in visit.browser.cookies
    # Nobody looks at them: a page that loaded now could sign in again.
    assert [tab.evaluate("expired") for tab in others] == [0, 0, 0]
    others[0].bring_to_front()
    others[0].until("expired")
    visit.browser.bring_to_front()
    others[0].bring_to_front()
    assert others[0].evaluate("authkit.getAuth().then(() => expired)") == 1


def test_session_that_ended_is_noticed_once_by_the_next_call(visit: Visit) -> None:
    session = visit.sign_in()
    tab = visit.browser
    tab.until(TOKEN)
    visit.site.workos.revoke_session(session.id)

    calls = "[authkit.refreshAuth(), authkit.refreshAuth(), authkit.getAccessToken()]"
    [refused, again, _] = tab.evaluate(f"Promise.all({calls})")

    assert "error" in refused
    assert "error" in again
    tab.until(SIGNED_OUT)
    assert tab.evaluate("expired") == 1
    assert tab.evaluate("authkit.getAccessToken()") is None
    assert tab.evaluate("authkit.refreshAuth().then(({ error }) => error.code)") == (
        "unauthenticated"
    )
    assert tab.evaluate("expired") == 1


def test_session_that_ended_is_noticed_once_when_the_page_is_looked_at(
    visit: Visit,
) -> None:
    # Long enough for nothing to be refreshed before the session ends.
    session = visit.sign_in(lifetime=4, return_to="/?idle%26reload")
    tab = visit.browser
    end = tab.evaluate("authkit.getTokenClaims()")["exp"] + 5
    tab.evaluate("authkit.getAuth()")
    tab.evaluate("window.isOld = true")
    visit.site.workos.revoke_session(session.id)
    other = visit.browser.new_tab()
    # A token that was good is so for five seconds more.
    tab.until(f"Date.now() / 1000 > {end}")
    assert tab.evaluate("isOld")

    tab.bring_to_front()
    tab.until("window.authkit && !window.isOld")
    assert tab.evaluate("authkit.getAuth()")["user"] is None
    seen = visit.site.count("GET /auth/session")
    other.bring_to_front()
    tab.bring_to_front()
    assert until(lambda: visit.site.count("GET /auth/session") > seen, 5)

    assert tab.evaluate("authkit.getAuth()")["user"] is None
    assert visit.site.count("GET /") == 2


def test_outage_across_an_expiry_signs_nobody_out(visit: Visit) -> None:
    # Due in two seconds at the latest, and in one at the earliest.
    visit.sign_in(lifetime=4)
    visit.site.workos.down()
    hidden = visit.open_tab(background=True)
    for tab in visit.tabs:
        tab.until(TOKEN)
    visit.site.workos.settings.access_token_lifetime = 300
    # A token that was good is so for five seconds more; and what was asked before that
    # has to be answered.
    visit.browser.until(
        f"Date.now() / 1000 > JSON.parse(atob({TOKEN}.split('.')[1])).exp + 6.5"
    )
    old = expiry_of(visit.browser)

    failed = visit.browser.evaluate(
        "authkit.getAccessToken().catch(({ code, status }) => ({ code, status }))"
    )
    assert failed == {"code": "unavailable", "status": 503}
    visit.site.workos.recover()
    for tab in (visit.browser, hidden):
        tab.until(f"JSON.parse(atob({TOKEN}.split('.')[1])).exp > {old}")
        assert tab.evaluate("states.every(({ user }) => user !== null)")
        assert tab.evaluate("expired") == 0
        assert tab.evaluate("authkit.getState().error") is None

    assert visit.browser.evaluate("callApi()")[0] == 200


def test_other_tabs_follow_a_switch_of_the_organization(visit: Visit) -> None:
    visit.sign_in()
    other = visit.open_tab(background=True)
    for tab in visit.tabs:
        tab.until(TOKEN)
    before = other.evaluate(TOKEN)

    auth = visit.browser.evaluate("authkit.switchToOrganization('org_globex')")

    assert auth["organizationId"] == "org_globex"
    other.until("authkit.getState().organizationId === 'org_globex'", within=1)
    other.until(f"{TOKEN} !== {before!r}", within=1)
    assert other.evaluate(TOKEN) == visit.browser.evaluate(TOKEN)
    assert visit.site.refreshes == 1


def test_organization_that_wants_sso_is_an_error_and_changes_nothing(
    visit: Visit,
) -> None:
    visit.sign_in()
    visit.browser.until(TOKEN)

    error = visit.browser.evaluate(
        "authkit.switchToOrganization('org_initech').then(({ error }) =>"
        "({ code: error.code, reason: error.reason, url: error.signInUrl }))"
    )

    assert (error["code"], error["reason"]) == (
        "authorization_required",
        "sso_required",
    )
    visit.browser.open(error["url"])
    assert visit.browser.url.startswith(visit.site.workos_url)
    assert visit.open().until(SIGNED_IN)
    assert visit.browser.evaluate("authkit.getState().organizationId") == "org_acme"


def test_page_of_one_person_does_nothing_as_another(visit: Visit) -> None:
    visit.sign_in()
    page = visit.open_tab()
    page.until(TOKEN)
    visit.browser.bring_to_front()
    visit.browser.follow_script("authkit.signOut()")
    visit.sign_in("user_grace")

    page.bring_to_front()
    page.until("expired")

    assert page.evaluate("authkit.getAuth()")["user"]["id"] == "user_grace"
    assert page.evaluate("expired") == 1


def test_end_of_the_session_is_announced(visit: Visit) -> None:
    visit.site.workos.settings.session_lifetime = 3
    visit.sign_in()
    visit.site.workos.settings.session_lifetime = 34_560_000
    tab = visit.browser
    tab.evaluate(
        "window.heard = [];"
        "for (const name of ['authkit:expiring', 'authkit:expired']) {"
        "  addEventListener(name, (event) => heard.push([name, event.detail])); }"
        "authkit.watchExpiry({ warnBefore: 2 }); 0"
    )

    tab.until("heard.length === 2")

    [expiring, expired] = tab.evaluate("heard")
    assert expiring[0] == "authkit:expiring"
    assert 1 <= expiring[1]["secondsLeft"] <= 2
    assert expired == ["authkit:expired", None]
    assert tab.evaluate("expired") == 1


def test_violation_of_the_policy_would_be_noticed(site: Site, tmp_path: Path) -> None:
    with visiting(site, tmp_path) as visit:
        tab = visit.open()
        assert tab.problems == []
        tab.evaluate("document.body.append(document.createElement('style'))")
        [reported, *_] = tab.problems

    assert "style-src 'self'" in reported


@pytest.fixture(scope="module", params=["lax", "none"])
def eager_site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    settings = {"WORKOS_COOKIE_SAMESITE": request.param}
    folder = tmp_path_factory.mktemp("eager")
    with running_site(folder, {"eager_auth": True}, settings) as site:
        yield site


def test_first_script_has_the_eager_token_and_its_cookie_is_gone(
    eager_site: Site, tmp_path: Path
) -> None:
    with visiting(eager_site, tmp_path) as visit:
        session = visit.sign_in()
        for _ in range(2):
            first = visit.browser.evaluate("first")
            assert first["state"]["accessToken"].count(".") == 2
            assert "workos-access-token" not in first["cookie"]
            visit.browser.until(SIGNED_IN)
            visit.browser.reload()

        assert visit.browser.evaluate("callApi()")[0] == 200
        claims = visit.browser.evaluate("authkit.getTokenClaims()")
        assert claims["sid"] == session.id
        assert "workos-access-token" not in visit.browser.cookies
        assert eager_site.count("GET /auth/token") == 0
        assert visit.problems == []
