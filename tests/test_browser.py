"""Signing in and out in a real browser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.chromium import PROGRAM, Chromium, chromium
from tests.harness import make_config
from tests.servers import free_port
from wsgi_authkit import AuthKitMiddleware
from wsgi_authkit.stores import MemoryStore
from wsgi_authkit.testing import FakeWorkOS, serve

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed"),
    # WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
    pytest.mark.filterwarnings("ignore:'cgi' is deprecated"),
]

OURS: Final = ("wos-", "workos-")


@dataclass
class Visit:
    """A browser on a site whose people sign in at WorkOS."""

    browser: Chromium
    workos: FakeWorkOS
    #: Origins.
    site: str
    workos_url: str
    #: The ``Content-Security-Policy`` of the app's pages.
    policy: str = "default-src 'self'"

    def app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        session, auth = environ["authkit.session"], environ["authkit"]
        name = session.user.email if session else "nobody"
        headers = [
            ("Content-Type", "text/html"),
            ("Content-Security-Policy", self.policy),
        ]
        start_response("200 OK", headers)
        page = (
            f"<!doctype html><title>Home</title><p>Hello {name}</p>"
            f'<form method="post" action="{auth.sign_out_url()}">'
            '<button id="out">Sign out</button></form>'
        )
        return [page.encode()]

    def open(self, path: str) -> None:
        self.browser.open(self.site + path)

    def sign_in(self) -> None:
        self.open("/auth/sign-in")
        self.browser.follow("button[value=continue]")
        assert "Hello ada@example.com" in self.browser.text

    @property
    def our_cookies(self) -> set[str]:
        return {name for name in self.browser.cookies if name.startswith(OURS)}


@pytest.fixture
def visit(tmp_path: Path) -> Iterator[Visit]:
    workos = FakeWorkOS.with_demo_data()
    port = free_port()
    site = f"http://localhost:{port}"
    # Another host: cookies do not care about ports.
    with serve(workos) as served, chromium(tmp_path) as browser:
        visit = Visit(browser, workos, site, served.url)
        config = make_config(
            redirect_uri=f"{site}/callback",
            api_hostname="127.0.0.1",
            api_port=served.port,
            api_https=False,
        )
        options: dict[str, Any] = {"eager_auth": True, "sign_out_return_to": "/"}
        app = AuthKitMiddleware(visit.app, config, store=MemoryStore(), **options)
        with serve(app, "localhost", port):
            yield visit


def test_person_signs_out_by_the_page_that_asks(visit: Visit) -> None:
    visit.sign_in()
    assert {"wos-session", "workos-access-token"} <= visit.our_cookies
    visit.open("/auth/sign-out")
    assert visit.browser.text.startswith("Sign out?")
    assert "wos-session" in visit.our_cookies

    visit.browser.follow("button")

    assert visit.browser.url == f"{visit.site}/"
    assert "Hello nobody" in visit.browser.text
    assert visit.our_cookies == set()
    [session] = visit.workos.sessions.values()
    assert session.revoked_at is not None


def test_person_signs_out_without_scripts(visit: Visit) -> None:
    visit.sign_in()
    visit.browser.send("Emulation.setScriptExecutionDisabled", value=True)
    visit.open("/auth/sign-out?return_to=/")
    visit.browser.follow("button")

    assert "Hello nobody" in visit.browser.text
    assert visit.our_cookies == set()


def test_person_signs_in_again_after_a_sign_out(visit: Visit) -> None:
    visit.sign_in()
    visit.browser.follow("#out")
    visit.open("/auth/sign-in")
    # The hosted session is over as well: WorkOS asks.
    assert visit.browser.url.startswith(visit.workos_url)
    visit.browser.follow("button[value=continue]")

    assert "Hello ada@example.com" in visit.browser.text


def test_script_reads_the_token_of_eager_auth_and_no_other_cookie(
    visit: Visit,
) -> None:
    visit.sign_in()
    name, _, token = visit.browser.evaluate("document.cookie").partition("=")

    assert (name, token.count(".")) == ("workos-access-token", 2)
    cookie = visit.browser.cookies[name]
    assert not cookie["httpOnly"]
    assert (cookie["path"], cookie["sameSite"]) == ("/", "Lax")
    visit.browser.evaluate(f"document.cookie = '{name}=; Max-Age=0; Path=/'")
    assert visit.our_cookies == {"wos-session", "wos-auth-marker"}


def test_link_of_another_site_signs_nobody_out(visit: Visit) -> None:
    visit.sign_in()
    form = f"<form method=post action={visit.site}/auth/sign-out><button>x</button>"
    visit.browser.open("data:text/html," + form)
    visit.browser.follow("button")

    assert "You are still signed in" in visit.browser.text
    assert "wos-session" in visit.our_cookies


def test_form_action_self_blocks_the_way_through_workos(visit: Visit) -> None:
    """Chromium applies it to every redirect that follows the form."""
    visit.policy = "form-action 'self'"
    visit.sign_in()
    visit.browser.send("Log.enable")
    visit.browser.click("#out")
    visit.browser.wait_for("Log.entryAdded", "form-action")

    # Over here and not at WorkOS, where the next sign-in asks for nothing.
    assert visit.workos.count("logout") == 0
    assert visit.our_cookies == set()


def test_form_action_with_the_origin_of_workos_lets_it_through(visit: Visit) -> None:
    visit.policy = f"form-action 'self' {visit.workos_url}"
    visit.sign_in()
    visit.browser.follow("#out")

    assert "Hello nobody" in visit.browser.text
    assert visit.workos.count("logout") == 1
