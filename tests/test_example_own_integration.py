"""The integration of ``examples/own_integration.py``, over real HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from own_integration import make_server
from tests.browser import Browser
from tests.examples import running
from tests.harness import make_config
from tests.servers import free_port
from wsgi_authkit import AuthKitService
from wsgi_authkit.stores import MemoryStore
from wsgi_authkit.testing import Clock, FakeWorkOS


@dataclass
class Site:
    """The example on a port, with a WorkOS in memory and a clock."""

    url: str
    workos: FakeWorkOS
    clock: Clock

    def browser(self) -> requests.Session:
        http = requests.Session()
        http.trust_env = False
        return http

    def get(
        self, http: requests.Session, path: str, **headers: str
    ) -> requests.Response:
        return http.get(
            self.url + path, headers=headers, allow_redirects=False, timeout=30
        )

    def post(
        self, http: requests.Session, path: str, **headers: str
    ) -> requests.Response:
        return http.post(
            self.url + path, headers=headers, allow_redirects=False, timeout=30
        )

    def sign_in(self, path: str = "/sign-in") -> requests.Session:
        """Sign Ada in, in a new browser."""
        http = self.browser()
        start = self.get(http, path)
        callback = self.workos.authorize(start.headers["Location"], "ada@example.com")
        parts = urlsplit(callback)
        done = self.get(http, f"{parts.path}?{parts.query}")
        assert done.status_code == 303
        return http


@contextmanager
def serving() -> Iterator[Site]:
    port, clock = free_port(), Clock()
    workos = FakeWorkOS.with_demo_data(clock=clock)
    kit = AuthKitService(
        make_config(redirect_uri=f"http://localhost:{port}/callback"),
        http=workos.session(),
        clock=clock,
        store=MemoryStore(clock),
    )
    with make_server(port, kit) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Site(f"http://localhost:{port}", workos, clock)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


def test_person_signs_in_and_is_greeted(site: Site) -> None:
    http = site.sign_in()
    page = site.get(http, "/")

    assert "Hello Ada" in page.text
    assert page.headers["Cache-Control"] == "private, no-store"
    assert "ada@example.com" in site.get(http, "/account").text


def test_each_cookie_has_a_header_of_its_own(site: Site) -> None:
    http = site.browser()
    start = site.get(http, "/sign-in")
    callback = site.workos.authorize(start.headers["Location"], "ada@example.com")
    parts = urlsplit(callback)
    done = site.get(http, f"{parts.path}?{parts.query}")
    cookies = done.raw.headers.getlist("Set-Cookie")

    assert len(cookies) >= 2
    assert all(cookie.count("Path=") == 1 for cookie in cookies)


def test_protected_page_asks_to_sign_in_and_comes_back(site: Site) -> None:
    asked = site.get(site.browser(), "/account")
    assert asked.status_code == 303
    http = site.browser()
    start = site.get(http, asked.headers["Location"])
    callback = site.workos.authorize(start.headers["Location"], "ada@example.com")
    parts = urlsplit(callback)
    done = site.get(http, f"{parts.path}?{parts.query}")

    assert done.headers["Location"] == "/account"


@pytest.mark.parametrize("return_to", ["https://evil.example/", "//evil.example"])
def test_sign_in_never_ends_on_another_site(site: Site, return_to: str) -> None:
    http = site.browser()
    start = site.get(http, f"/sign-in?return_to={return_to}")
    callback = site.workos.authorize(start.headers["Location"], "ada@example.com")
    parts = urlsplit(callback)

    done = site.get(http, f"{parts.path}?{parts.query}")
    assert done.headers["Location"] == "/"


def test_expired_session_is_refreshed_and_its_cookie_sent(site: Site) -> None:
    http = site.sign_in()
    site.workos.settings.refresh_grace = 0
    for number in range(1, 4):
        site.clock.advance(310)
        page = site.get(http, "/")
        assert "Hello Ada" in page.text
        assert "wos-session" in page.headers["Set-Cookie"]
        assert site.workos.count("refresh") == number


def test_outage_signs_nobody_out(site: Site) -> None:
    http = site.sign_in()
    site.clock.advance(310)
    site.workos.down()
    assert site.get(http, "/account").status_code == 503
    site.workos.recover()
    site.clock.advance(5)
    assert site.get(http, "/account").status_code == 200


def test_callback_of_another_browser_is_refused(site: Site) -> None:
    start = site.get(site.browser(), "/sign-in")
    callback = site.workos.authorize(start.headers["Location"], "ada@example.com")
    parts = urlsplit(callback)
    http = site.browser()
    refused = site.get(http, f"{parts.path}?{parts.query}")

    assert refused.status_code == 400
    assert "wos-session" not in http.cookies
    assert site.workos.count("exchange") == 0


def test_callback_in_an_outage_can_be_loaded_again(site: Site) -> None:
    http = site.browser()
    start = site.get(http, "/sign-in")
    callback = site.workos.authorize(start.headers["Location"], "ada@example.com")
    parts = urlsplit(callback)
    path = f"{parts.path}?{parts.query}"
    site.workos.fail(503, path="exchange", times=1)

    assert site.get(http, path).status_code == 503
    assert site.get(http, path).status_code == 303


def test_prefetch_starts_no_sign_in(site: Site) -> None:
    answer = site.get(site.browser(), "/sign-in", **{"Sec-Purpose": "prefetch"})

    assert answer.status_code == 204
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "own"}, id="Origin"),
        pytest.param({"Sec-Fetch-Site": "same-origin"}, id="Fetch Metadata"),
    ],
)
@pytest.mark.parametrize("age", [0, 310], ids=["valid", "expired"])
def test_person_signs_out(site: Site, headers: dict[str, str], age: int) -> None:
    http = site.sign_in()
    cookies = http.cookies.get_dict()
    site.clock.advance(age)
    sent = {k: site.url if v == "own" else v for k, v in headers.items()}
    answer = site.post(http, "/sign-out", **sent)
    parts = urlsplit(answer.headers["Location"])

    assert answer.status_code == 303
    assert parts.path == "/user_management/sessions/logout"
    assert parse_qs(parts.query)["return_to"] == [f"{site.url}/"]
    assert http.cookies.get_dict() == {}
    old = site.browser()
    old.cookies.update(cookies)
    assert "Sign in" in site.get(old, "/").text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_no_other_site_can_sign_out(site: Site, headers: dict[str, str]) -> None:
    http = site.sign_in()

    assert site.post(http, "/sign-out", **headers).status_code == 403
    assert "Hello Ada" in site.get(http, "/").text


def test_sign_out_of_nobody_goes_home(site: Site) -> None:
    answer = site.post(site.browser(), "/sign-out", Origin=site.url)

    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_unknown_path_is_not_found(site: Site) -> None:
    assert site.get(site.browser(), "/nothing").status_code == 404
    assert site.post(site.browser(), "/nothing", Origin=site.url).status_code == 404


def test_name_of_a_person_is_escaped(site: Site) -> None:
    site.workos.users["user_ada"].first_name = "<b>Ada</b>"

    assert "<b>Ada" not in site.get(site.sign_in(), "/").text


def test_example_runs_by_one_command(tmp_path: Path) -> None:
    with running(tmp_path, "own_integration.py") as example:
        browser = Browser()
        page = browser.sign_in(f"{example.url}/sign-in")
        assert "Hello Ada" in page.text
        assert "Sign in" in browser.submit(page).text
