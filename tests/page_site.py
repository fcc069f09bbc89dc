"""The site of :mod:`tests.page_app` under Gunicorn, and who visits it in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chromium import Chromium, chromium
from tests.harness import PASSWORD
from tests.page_app import LOG, OPTIONS
from tests.servers import free_port, gunicorn, running
from wsgi_authkit.testing import FakeSession, FakeWorkOS, serve

_FACTORY: Final = "tests.page_app:make_app"
_GTHREAD: Final = ("--workers=2", "-k", "gthread", "--threads=8")


@dataclass(frozen=True)
class Request:
    """A request that the site has answered."""

    #: Method and path.
    line: str
    status: int
    #: Whether a session cookie came with it.
    has_session: bool


@dataclass
class Site:
    """The running site and its WorkOS."""

    workos: FakeWorkOS
    #: Origins.
    url: str
    workos_url: str
    log: Path

    @property
    def requests(self) -> list[Request]:
        """Every request that was answered since the visit began."""
        found = []
        for line in self.log.read_text("utf-8").splitlines():
            method, path, status, has_session = json.loads(line)
            found.append(Request(f"{method} {path}", int(status), has_session))
        return found

    def count(self, line: str) -> int:
        """Return how many requests there were, such as ``"GET /auth/token"``."""
        return sum(request.line == line for request in self.requests)

    @property
    def refreshes(self) -> int:
        """How often WorkOS was asked to refresh since the visit began."""
        return self.workos.count("refresh")


@contextmanager
def running_site(
    folder: Path,
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Site]:
    """Run the site while the block runs.

    :param options: Of the middleware.
    :param settings: More of WorkOS's environment variables.
    """
    port = free_port()
    log = folder / "requests.log"
    # Another host than the site's: cookies do not care about ports.
    workos = FakeWorkOS.with_demo_data()
    with serve(workos) as served:
        environ = {
            "WORKOS_CLIENT_ID": workos.settings.client_id,
            "WORKOS_API_KEY": workos.settings.api_key,
            "WORKOS_REDIRECT_URI": f"http://localhost:{port}/callback",
            "WORKOS_COOKIE_PASSWORD": PASSWORD,
            "WORKOS_API_HOSTNAME": "127.0.0.1",
            "WORKOS_API_PORT": str(served.port),
            "WORKOS_API_HTTPS": "false",
            OPTIONS: json.dumps({"sign_out_return_to": "/", **(options or {})}),
            LOG: str(log),
        }
        server = gunicorn(port, *_GTHREAD, factory=_FACTORY)
        with running(server, port, folder, {**environ, **(settings or {})}):
            yield Site(workos, f"http://localhost:{port}", served.url, log)


@dataclass
class Visit:
    """A person with a browser on the site."""

    site: Site
    browser: Chromium
    #: All tabs, the first one first.
    tabs: list[Chromium] = field(init=False)

    def __post_init__(self) -> None:
        self.tabs = [self.browser]

    @property
    def problems(self) -> list[str]:
        """What the pages of all tabs complained about."""
        return [problem for tab in self.tabs for problem in tab.problems]

    def open(self, path: str = "/", tab: Chromium | None = None) -> Chromium:
        """Open a page, in the first tab unless in another one, and return the tab."""
        tab = tab or self.browser
        tab.open(self.site.url + path)
        return tab

    def open_tab(self, path: str = "/", *, background: bool = False) -> Chromium:
        """Open a page in a tab of its own and return that."""
        tab = self.browser.new_tab(background=background)
        self.tabs.append(tab)
        return self.open(path, tab)

    def sign_in(
        self,
        user: str = "user_ada",
        *,
        lifetime: float = 300,
        return_to: str = "/",
        **fields: str,
    ) -> FakeSession:
        """Sign somebody in, in the first tab, and return the session at WorkOS.

        :param lifetime: Seconds that every access token lives from now on.
        :param return_to: The page that the tab is on then.
        :param fields: Of the form at WorkOS, such as ``impersonator_email``.
        """
        workos = self.site.workos
        workos.settings.access_token_lifetime = lifetime
        known = set(workos.sessions)
        self.open(f"/auth/sign-in?return_to={return_to}")
        for name, value in fields.items():
            self.browser.evaluate(
                f"document.querySelector('[name={name}]').value = {json.dumps(value)}"
            )
        self.browser.evaluate(f"document.querySelector('[value={user}]').click()")
        self.browser.follow("button[value=continue]")
        [session] = (each for each in workos.sessions.values() if each.id not in known)
        return session


@contextmanager
def visiting(site: Site, folder: Path) -> Iterator[Visit]:
    """Visit the site with a new browser while the block runs."""
    site.workos.recover()
    site.workos.reset_calls()
    site.workos.settings.access_token_lifetime = 300
    site.log.write_bytes(b"")
    with chromium(folder) as browser:
        yield Visit(site, browser)
