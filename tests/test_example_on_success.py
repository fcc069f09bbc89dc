"""The hook of ``examples/on_success.py``."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from on_success import Accounts, chosen_plan, make_app
from tests.browser import Browser
from tests.examples import running
from tests.gateway import Client
from tests.harness import make_config, path_of
from wsgi_authkit.stores import MemoryStore
from wsgi_authkit.testing import Clock, FakeUser, FakeWorkOS

TOKENS = {
    "provider": "GoogleOAuth",
    "access_token": "access-canary",
    "refresh_token": "refresh-canary",
    "expires_at": 2_000_000_000,
    "scopes": ["calendar.readonly", "email"],
}


class Site:
    """The example and a browser."""

    def __init__(self) -> None:
        clock = Clock()
        self.workos = FakeWorkOS.with_demo_data(clock=clock)
        self.ada = self.workos.users["user_ada"]
        self.ada.oauth_tokens = TOKENS
        self.accounts = Accounts()
        app = make_app(
            make_config(),
            self.accounts,
            http=self.workos.session(),
            clock=clock,
            store=MemoryStore(clock),
        )
        self.client = Client(app, clock=clock)

    def sign_in(self, plan: str, user: FakeUser | None = None) -> int:
        """Follow the link of a plan and sign in; return the callback's status."""
        home = self.client.get("/").text
        link = unescape(
            re.findall(rf'href="([^"]*)">Sign in for the plan {plan}', home)[0]
        )
        location = self.client.get(link).header("Location") or ""
        callback = self.workos.authorize(location, user or self.ada)
        return self.client.get(path_of(callback), cross_site=True).status


@pytest.fixture
def site() -> Site:
    return Site()


def test_tokens_of_the_provider_are_kept_and_used(site: Site) -> None:
    assert site.sign_in("team") == 303
    page = site.client.get("/").text

    assert "GoogleOAuth, calendar.readonly, email" in page
    assert site.accounts.calendars["user_ada"].refresh_token == "refresh-canary"
    assert "canary" not in page


def test_state_brings_the_plan_over(site: Site) -> None:
    site.sign_in("team")

    assert "Your plan: team" in site.client.get("/").text


def test_second_sign_in_changes_no_plan(site: Site) -> None:
    site.sign_in("team")
    site.client.jar = type(site.client.jar)()
    site.sign_in("free")

    assert site.accounts.plans == {"user_ada": "team"}


def test_provider_without_tokens_connects_nothing(site: Site) -> None:
    site.sign_in("free", site.workos.users["user_grace"])

    assert "No calendar is connected" in site.client.get("/").text
    assert site.accounts.calendars == {}


def test_hook_that_raises_signs_nobody_in(site: Site) -> None:
    site.ada.email_verified = False

    assert site.sign_in("team") >= 400
    assert "Choose a plan" in site.client.get("/").text
    assert site.accounts.calendars == {}


@pytest.mark.parametrize(
    "state",
    [None, "", "text", "[]", "5", '{"plan": "gold"}', '{"plan": ["team"]}', "{}"],
)
def test_state_of_another_form_is_no_plan(state: str | None) -> None:
    assert chosen_plan(state) is None


def test_example_runs_by_one_command(tmp_path: Path) -> None:
    with running(tmp_path, "on_success.py") as example:
        browser = Browser()
        home = browser.open(example.url)
        (link, _) = re.findall('href="(/auth/sign-in[^"]*)"', home.text)
        page = browser.sign_in(f"{example.url}{unescape(link)}")

        assert "Your plan: free" in page.text
        assert "GoogleOAuth, calendar.readonly" in page.text
