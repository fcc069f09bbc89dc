"""A middleware of one's own that decides what to do without a session.

:class:`AccountPages` stands between ``AuthKitMiddleware`` and the app: it sees who
makes a request, and sends people from the account pages to WorkOS at once, without the
stop at ``/auth/sign-in``. Any framework's app can be the app.

Run it with a fake WorkOS, and without any account::

    make example NAME=composed_middleware

or, with the settings of the README in the environment, under any WSGI server::

    gunicorn --bind localhost:8000 'composed_middleware:make_app()'
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from wsgi_authkit import Auth, AuthKitConfig, AuthKitMiddleware, Session
from wsgi_authkit.access import AccessRules
from wsgi_authkit.testing import FakeWorkOS, serve

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


# A comparison of one's own would let through what an app takes for such a path.
RULES = AccessRules(protected_paths=["/account/:path*"])


class AccountPages:
    """Lets only signed-in people see what is below ``/account``."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        if auth.session or RULES.judge(environ.get("PATH_INFO", "")) == "public":
            return self._app(environ, start_response)
        if auth.session.status == "unavailable" or not is_page_visit(environ):
            # WorkOS is down: 503. A script cannot follow a redirect: 401.
            return auth.challenge()(environ, start_response)
        url = auth.authorization_url(here(environ), screen_hint="sign-in")
        # The flow's cookie is added to this response, because it leads to this URL.
        start_response("302 Found", [("Location", url), ("Content-Type", "text/plain")])
        return []


def is_page_visit(environ: WSGIEnvironment) -> bool:
    """Say whether a person visits a page, so that a redirect makes sense."""
    mode: str = environ.get("HTTP_SEC_FETCH_MODE", "navigate")
    return mode == "navigate" and environ["REQUEST_METHOD"] == "GET"


def here(environ: WSGIEnvironment) -> str:
    """Return path and query of the request, to come back to."""
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING", "")
    return quote(path, encoding="latin-1") + (f"?{query}" if query else "")


def pages(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with two pages; an app that knows nothing of protection."""
    auth: Auth = environ["authkit"]
    titles = {"/": "Home", "/account": "Your account"}
    title = titles.get(environ.get("PATH_INFO", ""))
    if title is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"There is no such page."]
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [page(title, auth).encode()]


def page(title: str, auth: Auth) -> str:
    """Return a page that says who is signed in."""
    who = "<p>Nobody is signed in.</p>"
    if isinstance(auth.session, Session):
        who = (
            f"<p>Signed in as {escape(auth.session.user.email)}.</p>"
            f'<form method="post" action="{escape(auth.sign_out_url())}">'
            "<button>Sign out</button></form>"
        )
    return (
        f"{LAYOUT}<title>{escape(title)}</title><h1>{escape(title)}</h1>{who}"
        '<p><a href="/">Home</a> <a href="/account">Your account</a></p>'
    )


LAYOUT = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 2rem auto;
  padding: 0 1rem }
button { font: inherit; padding: .375rem .75rem }
</style>
"""


def make_app(config: AuthKitConfig | None = None) -> AuthKitMiddleware:
    """Return the whole app; the settings come from the environment by default."""
    return AuthKitMiddleware(AccountPages(pages), config, sign_out_return_to="/")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the app and a fake WorkOS until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve a composed middleware.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workos-port", type=int, default=8001)
    options = parser.parse_args(arguments)
    fake = FakeWorkOS.with_demo_data()
    with serve(fake, "localhost", options.workos_port) as workos:
        config = AuthKitConfig(
            client_id=fake.settings.client_id,
            api_key=fake.settings.api_key,
            redirect_uri=f"http://localhost:{options.port}/callback",
            cookie_password=secrets.token_urlsafe(32),
            api_hostname="localhost",
            api_port=workos.port,
            api_https=False,
        )
        with serve(make_app(config), "localhost", options.port) as site:
            print(f"Open {site.url}/account, and stop with Ctrl-C.", flush=True)
            while True:
                time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
    except OSError as error:  # somebody listens there already
        sys.exit(f"{error}; choose other ports with --port and --workos-port")
