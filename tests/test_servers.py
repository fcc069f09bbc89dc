"""The middleware under real servers: forks, threads, greenlets and a loaded app.

Every server has the site of :mod:`benchmarks.race.app` and a WorkOS of its own; with
gevent WorkOS speaks https, which is where a patch that comes too late shows.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.race.barrage import barrage, visit
from benchmarks.race.workos import ServedWorkOS
from tests.servers import (
    Server,
    ServerFailed,
    free_port,
    gunicorn,
    missing,
    running,
    until,
    uwsgi,
    waitress,
)
from wsgi_authkit.testing import self_signed_certificate


@dataclass(frozen=True)
class Setup:
    """A server and how it is run."""

    #: What has to be installed.
    needs: str
    options: tuple[str, ...] = ()
    https: bool = False

    def command(self, port: int) -> list[str]:
        """Return the command that serves the site."""
        make = {"uwsgi": uwsgi, "waitress": waitress}.get(self.needs, gunicorn)
        return make(port, *self.options)

    @property
    def stop_signal(self) -> int:
        """What stops it in an orderly way: Waitress knows Ctrl-C only."""
        return signal.SIGINT if self.needs == "waitress" else signal.SIGTERM


_SYNC = ("--workers=4", "-k", "sync")
_GTHREAD = ("--workers=2", "-k", "gthread", "--threads=8")
_GEVENT = ("--workers=2", "-k", "gevent")

SETUPS = [
    pytest.param(Setup("gunicorn", _SYNC), id="gunicorn sync"),
    pytest.param(Setup("gunicorn", (*_SYNC, "--preload")), id="gunicorn sync preload"),
    pytest.param(Setup("gunicorn", _GTHREAD), id="gunicorn gthread"),
    pytest.param(
        Setup("gunicorn", (*_GTHREAD, "--preload")), id="gunicorn gthread preload"
    ),
    pytest.param(Setup("gevent", _GEVENT, https=True), id="gunicorn gevent"),
    pytest.param(
        Setup("gevent", (*_GEVENT, "--preload"), https=True),
        id="gunicorn gevent preload",
    ),
    pytest.param(Setup("uwsgi", ("--workers=4",)), id="uwsgi without threads"),
    pytest.param(
        Setup("uwsgi", ("--workers=2", "--threads=8", "--enable-threads")),
        id="uwsgi with threads",
    ),
    pytest.param(Setup("waitress", ("--threads=16",)), id="waitress"),
]


@dataclass
class Site:
    """A running site."""

    server: Server
    workos: ServedWorkOS

    def sign_in(self) -> requests.Session:
        """Return a browser in which somebody has signed in."""
        browser = requests.Session()
        browser.trust_env = False
        browser.headers.update({"Accept": "text/html", "Sec-Fetch-Mode": "navigate"})
        start = self.get(browser, "/auth/sign-in")
        assert start.status_code == 302, start.text
        callback = self.workos.fake.authorize(start.headers["Location"], USER_EMAIL)
        assert self.get(browser, callback).status_code == 303
        return browser

    def get(self, browser: requests.Session, url: str) -> requests.Response:
        """Open a path of the site or a URL."""
        address = url if url.startswith("http") else self.server.url + url
        # uWSGI closes connections without saying so: none is used again.
        browser.close()
        return browser.get(address, timeout=30, allow_redirects=False)

    def who(self, browser: requests.Session) -> dict[str, Any]:
        """Return what the app says about who is signed in."""
        answer: dict[str, Any] = self.get(browser, "/").json()
        return answer


USER_EMAIL = "ada@example.com"
COMPLAINT = re.compile("Traceback|Exception|Error|ERROR|CRITICAL|Warning")
#: With --preload gevent patches after Gunicorn and PyJWT have imported ssl, and warns.
LATE_PATCH = re.compile("MonkeyPatchWarning: Monkey-patching ssl after ssl|issues/1016")


@contextmanager
def served(setup: Setup, folder: Path) -> Iterator[Site]:
    """Run a server in front of a strict WorkOS."""
    certificate = (
        self_signed_certificate(folder / "workos.pem") if setup.https else None
    )
    workos = ServedWorkOS(certificate)
    workos.start()
    workos.set_grace(0)
    port = free_port()
    settings = workos.settings(f"http://127.0.0.1:{port}/callback")
    private = {**settings, "XDG_RUNTIME_DIR": str(folder)}
    try:
        with running(
            setup.command(port),
            port,
            folder,
            private,
            stop_signal=setup.stop_signal,
        ) as server:
            yield Site(server, workos)
    finally:
        workos.stop()


def need(name: str) -> None:
    """Skip where a server is missing, unless a machine checks everything."""
    reason = missing(name)
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set")
    pytest.skip(reason)


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """The site under one of the servers."""
    need(request.param.needs)
    with served(request.param, tmp_path) as running_site:
        yield running_site


def stop_cleanly(server: Server) -> None:
    """Stop a server; it must not complain and leave nobody behind."""
    status = server.stop()

    assert status == 0, server.log
    complaints = [line for line in server.log.splitlines() if COMPLAINT.search(line)]
    assert [line for line in complaints if not LATE_PATCH.search(line)] == []
    # What has a connection to make must have been imported after the patch.
    for line in complaints:
        assert not re.search("urllib3|requests|redis|wsgi_authkit", line)


def _reason(site: Site, cookie: str) -> Any:
    return visit(site.server.port, f"wos-session={cookie}").body["reason"]


@pytest.mark.parametrize("site", SETUPS, indirect=True)
def test_person_signs_in_and_out_and_is_refreshed_once(site: Site) -> None:
    browser = site.sign_in()
    assert site.who(browser)["user"] == USER_EMAIL
    assert site.workos.count() == 0

    expired = site.workos.new_cookie()
    answers = barrage([site.server.port], expired, 50)
    assert [answer.status for answer in answers] == [200] * 50
    assert all(answer.signed_in for answer in answers), answers
    assert site.workos.count() == 1
    assert len({answer.cookie for answer in answers}) == 1
    again = visit(site.server.port, f"wos-session={answers[0].cookie}")
    assert again.signed_in
    assert again.cookie is None

    old = browser.cookies["wos-session"]
    browser.close()
    sign_out = browser.post(
        f"{site.server.url}/auth/sign-out",
        headers={"Sec-Fetch-Site": "same-origin"},
        timeout=30,
        allow_redirects=False,
    )
    assert sign_out.status_code in (302, 303), sign_out.text
    assert "wos-session" not in browser.cookies
    assert site.who(browser)["user"] is None
    # Another worker may have kept it, and asks about it again after a second.
    assert until(lambda: _reason(site, old) == "revoked", 5)

    stop_cleanly(site.server)
    assert site.workos.count() == 1


@pytest.mark.parametrize("site", SETUPS, indirect=True)
def test_first_request_of_a_process_can_be_one_that_refreshes(site: Site) -> None:
    cookies = [site.workos.new_cookie() for _ in range(8)]

    answers = [visit(site.server.port, cookie) for cookie in cookies]

    assert all(answer.signed_in for answer in answers)
    assert site.workos.count() == 8
    stop_cleanly(site.server)


def test_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    need("waitress")
    port = free_port()
    half = running(waitress(port), port, tmp_path, {"WORKOS_CLIENT_ID": "client_test"})

    with pytest.raises(ServerFailed, match="WORKOS_API_KEY"), half:
        pytest.fail("it runs without its settings")
