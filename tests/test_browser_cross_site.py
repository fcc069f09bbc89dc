"""Pages of other origins, in a real browser: nothing to read, nothing to set off.

One attacks from another site, the other from another port of the same one, to which
every cookie goes. With ``SameSite=None`` it comes along from everywhere.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.chromium import PROGRAM, Chromium
from tests.page_site import Site, Visit, running_site, visiting
from tests.servers import until
from wsgi_authkit.testing import serve

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")

#: Each is given a URL and returns what it could read, ``null`` if that was nothing.
READS: Final = {
    "fetch": """async (url) => {
      const response = await fetch(url, { credentials: "include" }).catch(() => null);
      return response && [response.status, await response.text()];
    }""",
    "no-cors fetch": """async (url) => {
      const options = { mode: "no-cors", credentials: "include" };
      const response = await fetch(url, options).catch(() => null);
      return await response?.text() || null;
    }""",
    "module": """async (url) => import(url).then(Object.keys, () => null)""",
    "script": """async (url) => new Promise((then) => {
      const script = document.createElement("script");
      script.onload = () => then("it ran");
      script.onerror = () => then(null);
      script.src = url;
      document.body.append(script);
    })""",
    "image": """async (url) => new Promise((then) => {
      const image = new Image();
      image.onload = () => then("it was shown");
      image.onerror = () => then(null);
      image.src = url;
    })""",
    "style": """async (url) => new Promise((then) => {
      const link = document.createElement("link");
      link.rel = "stylesheet";
      link.onload = () => then("it was applied");
      link.onerror = () => then(null);
      link.href = url;
      document.body.append(link);
    })""",
    "frame": """async (url) => new Promise((then) => {
      const frame = document.createElement("iframe");
      frame.onload = () => then(frame.contentDocument?.body?.innerText ?? null);
      frame.src = url;
      document.body.append(frame);
    })""",
}

#: Each is given a URL and has the browser send something there.
SENDS: Final = {
    "form": """async (url, fields) => submit(url, fields, "")""",
    "text form": """async (url, fields) =>
      submit(url, { [JSON.stringify(fields).slice(0, -1) + ',"x":"']: '"}' },
        "text/plain")""",
    "multipart form": """async (url, fields) =>
      submit(url, fields, "multipart/form-data")""",
    "fetch of JSON": """async (url, fields) => fetch(url, {
      method: "POST", credentials: "include", body: JSON.stringify(fields),
      headers: { "Content-Type": "application/json", "X-Authkit-Session": "" },
    })""",
    "no-cors fetch of JSON": """async (url, fields) => fetch(url, {
      method: "POST", mode: "no-cors", credentials: "include",
      body: JSON.stringify(fields),
    })""",
    "no-cors fetch of a form": """async (url, fields) => fetch(url, {
      method: "POST", mode: "no-cors", credentials: "include",
      body: new URLSearchParams(fields),
    })""",
    "empty post": """async (url) => fetch(url, {
      method: "POST", mode: "no-cors", credentials: "include",
    })""",
    "beacon": """async (url, fields) => {
      navigator.sendBeacon(url, new URLSearchParams(fields));
    }""",
    "image": """async (url) => new Promise((then) => {
      const image = new Image();
      image.onload = image.onerror = () => then();
      image.src = url;
    })""",
}

_TOOLS: Final = """
window.submit = (url, fields, enctype, target = "sink") => new Promise((then) => {
  const frame = document.querySelector("iframe[name=sink]");
  frame.onload = () => then();
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action: url, target });
  if (enctype) form.enctype = enctype;
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement("input");
    Object.assign(input, { type: "hidden", name, value });
    form.append(input);
  }
  document.body.append(form);
  form.submit();
});
"""

FIELDS: Final = {"organization_id": "org_globex", "organizationId": "org_globex"}


def attacking_page(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/html")])
    page = f"<!doctype html><body><iframe name=sink></iframe><script>{_TOOLS}</script>"
    return [page.encode()]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("127.0.0.1", "lax"), id="another site"),
        pytest.param(("127.0.0.1", "none"), id="another site, SameSite=None"),
        pytest.param(("localhost", "lax"), id="another port"),
    ],
)
def setting(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The attacker's host, and ``SameSite`` of the session cookie."""
    host, same_site = request.param
    return host, same_site


@pytest.fixture(scope="module")
def attacker(setting: tuple[str, str]) -> Iterator[str]:
    """The origin of the page that attacks."""
    with serve(attacking_page, setting[0]) as served:
        yield served.url


@pytest.fixture(scope="module")
def site(
    setting: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    settings = {"WORKOS_COOKIE_SAMESITE": setting[1]}
    with running_site(tmp_path_factory.mktemp("site"), None, settings) as site:
        yield site


@pytest.fixture
def visit(site: Site, attacker: str, tmp_path: Path) -> Iterator[Visit]:
    """Ada, whose session is due, is on a page of the attacker."""
    with visiting(site, tmp_path) as visit:
        visit.sign_in(lifetime=2, return_to="/page.css")
        site.workos.reset_calls()
        due = time.time() + 1
        visit.browser.open(attacker)
        visit.browser.until(f"Date.now() / 1000 > {due}")
        cookie = visit.browser.cookies["wos-session"]

        yield visit

        assert site.workos.calls == []
        assert all(each.revoked_at is None for each in site.workos.sessions.values())
        assert visit.browser.cookies["wos-session"] == cookie
        # It could have been refreshed: her own page does it.
        visit.open().until("authkit.getState().accessToken")
        assert site.refreshes == 1
        assert visit.browser.evaluate("authkit.getState().organizationId") == "org_acme"


def arrived_with_session(visit: Visit, line: str) -> set[bool]:
    """Return whether such requests had the session cookie, empty for no request."""
    return {each.has_session for each in visit.site.requests if each.line == line}


def test_page_of_another_origin_reads_nothing(
    visit: Visit, setting: tuple[str, str]
) -> None:
    paths = (
        "/auth/session",
        "/auth/session?include=organization,expiry",
        "/auth/token",
        "/auth/authkit.js",
    )
    for path in paths:
        for name, attack in READS.items():
            url = json.dumps(visit.site.url + path)
            assert visit.browser.evaluate(f"({attack})({url})") is None, (name, path)

    comes_along = setting != ("127.0.0.1", "lax")
    assert arrived_with_session(visit, "GET /auth/token") == {comes_along}
    answers = [each for each in visit.site.requests if each.line == "GET /auth/token"]
    assert {each.status for each in answers} == {403}


def test_page_of_another_origin_sets_nothing_off(
    visit: Visit, setting: tuple[str, str]
) -> None:
    for path in ("refresh", "switch-organization", "sign-out"):
        for attack in SENDS.values():
            url = json.dumps(f"{visit.site.url}/auth/{path}")
            visit.browser.evaluate(
                f"({attack})({url}, {json.dumps(FIELDS)}).catch(() => null)"
            )
        posted = f"POST /auth/{path}"
        # Of a form too, whose cookies go along with the page that it brings.
        comes_along = setting != ("127.0.0.1", "lax")
        assert arrived_with_session(visit, posted) == {comes_along}
        answers = [each for each in visit.site.requests if each.line == posted]
        assert {each.status for each in answers} == {403}


@pytest.mark.parametrize("path", ["session", "token"])
def test_link_of_another_origin_shows_nothing(visit: Visit, path: str) -> None:
    visit.browser.follow_script(f"(location.href = '{visit.site.url}/auth/{path}')")

    assert visit.browser.url.startswith(visit.site.url)
    assert "cross_origin" in visit.browser.text
    assert "ada@example.com" not in visit.browser.text
    # This one does bring the cookie, of whatever SameSite but strict.
    assert arrived_with_session(visit, f"GET /auth/{path}") == {True}


@pytest.mark.parametrize("path", ["refresh", "switch-organization", "sign-out"])
def test_form_of_another_origin_that_brings_a_page_changes_nothing(
    visit: Visit, path: str
) -> None:
    url = json.dumps(f"{visit.site.url}/auth/{path}")
    visit.browser.follow_script(f"submit({url}, {json.dumps(FIELDS)}, '', '_top')")

    [request] = [
        each for each in visit.site.requests if each.line == f"POST /auth/{path}"
    ]
    assert request.status == 403


class TestAllowedOrigin:
    """A page of another origin that is listed may do all of it."""

    @pytest.fixture(scope="class")
    def friend(self) -> Iterator[str]:
        with serve(attacking_page, "localhost") as served:
            yield served.url

    @pytest.fixture(scope="class")
    def site(
        self, friend: str, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Site]:
        options = {"allowed_origins": [friend]}
        with running_site(tmp_path_factory.mktemp("allowed"), options) as site:
            yield site

    @pytest.fixture
    def tab(self, site: Site, friend: str, tmp_path: Path) -> Iterator[Chromium]:
        with visiting(site, tmp_path) as visit:
            visit.sign_in(return_to="/page.css")
            visit.browser.open(friend)
            yield visit.browser
            assert visit.problems == []

    def test_its_page_uses_the_module(self, tab: Chromium, site: Site) -> None:
        tab.evaluate(
            f"import('{site.url}/auth/authkit.js')"
            ".then((authkit) => { window.authkit = authkit })"
        )

        assert tab.evaluate("authkit.getAuth()")["user"]["id"] == "user_ada"
        assert tab.evaluate("authkit.getAccessToken()").count(".") == 2
        switched = tab.evaluate("authkit.switchToOrganization('org_globex')")
        assert switched["organizationId"] == "org_globex"
        tab.evaluate("void authkit.signOut()")
        assert until(lambda: site.workos.count("logout") == 1)

    def test_a_page_beside_it_reads_nothing(self, tab: Chromium, site: Site) -> None:
        with serve(attacking_page, "localhost") as stranger:
            tab.open(stranger.url)
            attack, url = READS["fetch"], f"{site.url}/auth/session"
            assert tab.evaluate(f"({attack})('{url}')") is None

        assert site.count("GET /auth/session") == 1
