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

from tests.chromium import PROGRAM
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
        # Due a second after the sign-in at the earliest: `iat` counts whole seconds.
        visit.sign_in(lifetime=4, return_to="/page.css")
        site.workos.reset_calls()
        due = time.time() + 2
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


def answers(visit: Visit, line: str) -> tuple[set[int], set[bool]]:
    """Return how requests were answered, and whether they had the session cookie."""
    found = [request for request in visit.site.requests if request.line == line]
    return {each.status for each in found}, {each.has_session for each in found}


def comes_along(setting: tuple[str, str]) -> bool:
    """Return whether the session cookie does, with what the attacker's page sends."""
    return setting != ("127.0.0.1", "lax")


def test_page_of_another_origin_reads_nothing(
    visit: Visit, attacker: str, setting: tuple[str, str]
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

    for line in ("GET /auth/session", "GET /auth/token"):
        statuses, had_session = answers(visit, line)
        assert statuses == {403}
        # A module is asked for without cookies.
        assert (True in had_session) == comes_along(setting)

    for path in ("/auth/session", "/auth/token"):
        visit.browser.open(attacker)
        visit.site.log.write_bytes(b"")
        # A link brings the cookie, of whatever SameSite but strict.
        visit.browser.follow_script(f"(location.href = '{visit.site.url}{path}')")
        assert visit.browser.url == visit.site.url + path
        assert "cross_origin" in visit.browser.text
        assert "ada@example.com" not in visit.browser.text
        assert answers(visit, f"GET {path}") == ({403}, {True})


def test_page_of_another_origin_sets_nothing_off(
    visit: Visit, attacker: str, setting: tuple[str, str]
) -> None:
    for path in ("/auth/refresh", "/auth/switch-organization", "/auth/sign-out"):
        arguments = f"{json.dumps(visit.site.url + path)}, {json.dumps(FIELDS)}"
        visit.browser.open(attacker)
        for attack in SENDS.values():
            visit.browser.evaluate(f"({attack})({arguments}).catch(() => null)")
        # With a page that shows what comes of it.
        visit.browser.follow_script(f"submit({arguments}, '', '_top')")

        assert visit.browser.url == visit.site.url + path
        assert answers(visit, f"POST {path}") == ({403}, {comes_along(setting)})


@pytest.fixture(scope="module")
def friend() -> Iterator[str]:
    """An origin that is listed."""
    with serve(attacking_page, "localhost") as served:
        yield served.url


@pytest.fixture(scope="module")
def allowing_site(
    friend: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    options = {"allowed_origins": [friend]}
    with running_site(tmp_path_factory.mktemp("allowing"), options) as site:
        yield site


def test_page_of_an_origin_that_is_listed_does_all_of_it(
    allowing_site: Site, friend: str, tmp_path: Path
) -> None:
    with visiting(allowing_site, tmp_path) as visit:
        visit.sign_in(return_to="/page.css")
        tab = visit.browser
        tab.open(friend)
        tab.evaluate(
            f"import('{allowing_site.url}/auth/authkit.js')"
            ".then((authkit) => { window.authkit = authkit })"
        )

        assert tab.evaluate("authkit.getAuth()")["user"]["id"] == "user_ada"
        assert tab.evaluate("authkit.getAccessToken()").count(".") == 2
        switched = tab.evaluate("authkit.switchToOrganization('org_globex')")
        assert switched["organizationId"] == "org_globex"
        tab.evaluate("void authkit.signOut()")
        assert until(lambda: allowing_site.workos.count("logout") == 1)
        assert visit.problems == []


def test_page_of_an_origin_beside_it_does_none(
    allowing_site: Site, tmp_path: Path
) -> None:
    with (
        visiting(allowing_site, tmp_path) as visit,
        serve(attacking_page, "localhost") as stranger,
    ):
        visit.sign_in(return_to="/page.css")
        visit.browser.open(stranger.url)
        url = f"{allowing_site.url}/auth/session"

        assert visit.browser.evaluate(f"({READS['fetch']})('{url}')") is None
        assert allowing_site.count("GET /auth/session") == 1
