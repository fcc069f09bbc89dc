"""The live page of the examples in a real browser, as the demo serves it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

import live
from tests.chromium import PROGRAM, Chromium, chromium
from tests.demos import Demo, started, until
from tests.gateway import Client
from tests.sites import make_site

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

in_chromium = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")


class Page:
    """The live page in a tab."""

    def __init__(self, demo: Demo, tab: Chromium) -> None:
        self.demo = demo
        self.tab = tab

    def open(self) -> None:
        self.tab.open(f"{self.demo.app}/live")

    def sign_in(self, **fields: str) -> None:
        """Sign Ada in and wait until the script has shown her token.

        :param fields: Of the form at WorkOS.
        """
        self.tab.open(f"{self.demo.app}/auth/sign-in?return_to=/live")
        for name, value in fields.items():
            self.tab.evaluate(
                f"document.querySelector('[name={name}]').value = '{value}'"
            )
        self.tab.follow("button[value=continue]")
        self.until("token", "eyJ")

    def open_another(self) -> Page:
        other = Page(self.demo, self.tab.new_tab())
        other.open()
        other.until("token", "eyJ")
        return other

    def fact(self, name: str) -> str:
        """Return what the page says of something."""
        return str(self.tab.evaluate(f"{_place(name)}.textContent"))

    def until(self, name: str, text: str) -> None:
        """Wait until what the page says of something begins with a text."""
        self.tab.until(f"{_place(name)}.textContent.startsWith('{text}')")

    def until_text(self, text: str) -> None:
        """Wait until a text can be seen somewhere on the page."""
        self.tab.until(f"document.body?.innerText.includes('{text}')")


def _place(fact: str) -> str:
    return f"document.querySelector('[data-fact={fact}]')"


@contextmanager
def opened(folder: Path, *options: str) -> Iterator[Page]:
    """Run the demo and a browser while the block runs."""
    with (
        started(folder, *options) as demo,
        chromium(folder) as browser,
    ):
        until(demo.is_ready)
        yield Page(demo, browser)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with opened(tmp_path) as page:
        yield page
        assert page.tab.problems == []


@in_chromium
def test_page_shows_who_is_signed_in_and_no_whole_token(page: Page) -> None:
    page.open()
    page.until_text("Nobody.")
    page.sign_in()
    page.until("organization", "Acme")

    assert page.fact("email") == "ada@example.com"
    assert page.fact("expires").startswith("in ")
    assert page.fact("left").startswith(("9 min", "10 min"))
    assert "needs JavaScript" not in page.tab.text
    html = page.tab.evaluate("document.documentElement.outerHTML")
    assert "eyJ" in html
    assert not page.tab.evaluate(
        r"/eyJ[\w.-]{20}/.test(document.documentElement.outerHTML)"
    )


@in_chromium
def test_page_follows_what_another_tab_does(page: Page) -> None:
    page.sign_in()
    other = page.open_another()
    page.until("others", "Tab")

    other.tab.click("#refresh")
    page.until("renewed", "Once")
    page.until_text("refreshes the token.")
    other.tab.click("[data-organization=org_globex] button")
    page.until("organization", "Globex")
    page.until("role", "member")
    other.tab.follow(".who form button")
    page.until_text("Nobody.")

    assert other.tab.problems == []
    assert urlsplit(other.tab.url).path == "/"
    assert "Sign out" not in page.tab.text


@in_chromium
def test_organization_that_asks_for_sso_comes_back_to_the_page(page: Page) -> None:
    page.sign_in()

    page.tab.follow("[data-organization=org_initech] button")
    assert page.tab.url.startswith(page.demo.workos)
    page.tab.follow("button[value=continue]")

    assert page.tab.url == f"{page.demo.app}/live"
    page.until("organization", "Initech")


@in_chromium
def test_recent_sign_in_is_told(page: Page) -> None:
    page.sign_in()

    page.tab.click("#check")

    page.until_text("Yes, at ")


@in_chromium
def test_impersonation_is_framed(page: Page) -> None:
    page.sign_in(impersonator_email="support@example.com", impersonator_reason="a test")
    page.tab.until("!document.querySelector('authkit-impersonation').hidden")

    assert page.fact("impersonator") == "support@example.com"
    assert page.fact("reason") == "a test"
    assert ("region", "Impersonation") in page.tab.accessible


@in_chromium
def test_page_says_that_it_needs_its_script(page: Page) -> None:
    page.tab.send("Emulation.setScriptExecutionDisabled", value=True)
    page.open()

    page.until_text("needs JavaScript")


@in_chromium
def test_page_is_told_of_the_coming_end_and_of_the_end(tmp_path: Path) -> None:
    lifetimes = ("--session-lifetime=8", "--access-token-lifetime=4")
    with opened(tmp_path, *lifetimes) as page:
        page.sign_in()

        page.until_text("Your session ends at ")
        page.until_text("Nobody.")

        assert page.tab.problems == []


def test_page_works_below_a_prefix() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [live.page(environ).encode()]

    site = make_site(app)
    client = Client(site.middleware, clock=site.clock, script_name="/shop")

    page = client.get("/shop/live").body.decode()

    assert '<script type="module" src="/shop/live.js">' in page
    assert 'href="/shop/auth/sign-in?return_to=%2Fshop%2Flive"' in page
