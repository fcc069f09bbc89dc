"""An integration of one's own on ``AuthKitService``, without WSGI.

``http.server`` stands for whatever serves: an ASGI app, a WebSocket server, a proxy.
It has to do four things:

1. Give the service the request's ``Cookie`` header, all of them if there are several.
2. Send every header that a result brings, each ``Set-Cookie`` as a header of its own.
   Who drops one loses the session: its refresh token has been used.
3. Start sign-ins only for a person who is sent on at once, never for a prefetch.
4. Take what changes something, sign-out above all, only from its own pages.

One command serves it with a fake WorkOS::

    make example NAME=own_integration

In an async server call the service in a thread (``asyncio.to_thread``): it waits for
WorkOS when a session is refreshed.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from wsgi_authkit import AuthKitConfig, AuthKitService, AuthorizationError
from wsgi_authkit.authentication import ClientInfo
from wsgi_authkit.results import AuthResult
from wsgi_authkit.testing import FakeWorkOS, serve

Headers = list[tuple[str, str]]

LAYOUT = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>An integration of your own</title>
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 2rem auto;
  padding: 0 1rem }
button { font: inherit; padding: .375rem .75rem }
</style>
"""


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    kit: AuthKitService

    def do_GET(self) -> None:
        """Answer a page, or a step of a sign-in."""
        pages = {
            "/": self.home,
            "/account": self.account,
            "/sign-in": self.sign_in,
            "/callback": self.callback,
        }
        pages.get(urlsplit(self.path).path, self.not_found)()

    def do_POST(self) -> None:
        """Answer a form."""
        if not self.is_same_origin:
            self.answer(403, "<h1>This form is not of this site</h1>")
        elif self.path == "/sign-out":
            self.sign_out()
        else:
            self.not_found()

    def home(self) -> None:
        """Greet everybody."""
        result = self.who()
        if result.session.user:
            name = escape(result.session.user.first_name or "you")
            body = (
                f'<h1>Hello {name}</h1><p><a href="/account">Account</a></p>'
                '<form method="post" action="/sign-out">'
                "<button>Sign out</button></form>"
            )
        else:
            body = '<h1>Hello</h1><p><a href="/sign-in">Sign in</a></p>'
        self.answer(200, body, result)

    def account(self) -> None:
        """Greet who is signed in, and ask everybody else to sign in."""
        result = self.who()
        if result.session.user:
            self.answer(200, f"<h1>{escape(result.session.user.email)}</h1>", result)
        elif result.session.status == "unavailable":
            self.answer(503, "<h1>One moment, please</h1>", result)
        else:
            self.redirect("/sign-in?return_to=/account", result.headers)

    def sign_in(self) -> None:
        """Start a sign-in, for a person who is sent to WorkOS at this moment."""
        if "prefetch" in self.headers.get("Sec-Purpose", ""):
            self.answer(204)
            return
        start = self.kit.create_sign_in(
            return_to=self.query("return_to"), cookies=self.cookies
        )
        self.redirect(start.url, start.headers)

    def callback(self) -> None:
        """Finish a sign-in; ``return_to`` is a path on this site or ``None``."""
        try:
            result = self.kit.handle_callback(
                self.cookies,
                self.query("code"),
                self.query("state"),
                client=self.person,
            )
        except AuthorizationError as error:
            # Its message may be shown, and its headers end the flow.
            body = f'<h1>{escape(str(error))}</h1><a href="/sign-in">Sign in again</a>'
            self.send(503 if error.retryable else 400, body, error.headers)
            return
        # Responses that are still on their way do not bring an earlier session back.
        self.kit.leave_sessions(self.cookies, session_id=result.session.session_id)
        self.redirect(result.return_to or "/", result.headers)

    def sign_out(self) -> None:
        """End the session here, and send the browser on to end it at WorkOS."""
        headers: Headers = self.kit.clear_session(cookies=self.cookies).headers
        url = "/"
        # The ids come out of the sealed cookie, so it works with an expired token, too.
        for session_id in self.kit.session_ids(self.cookies):
            ended = self.kit.sign_out(session_id, self.site, cookies=self.cookies)
            url, headers = ended.logout_url, ended.headers
        self.redirect(url, headers)

    def not_found(self) -> None:
        """Answer for everything else."""
        self.answer(404, "<h1>Not found</h1>")

    # What the service is given

    @property
    def cookies(self) -> str:
        """All cookies of the request; HTTP/2 may bring them in several headers."""
        return "; ".join(self.headers.get_all("Cookie", []))

    @property
    def person(self) -> ClientInfo:
        """Whom calls to WorkOS are made for."""
        return ClientInfo(
            ip_address=self.client_address[0], user_agent=self.headers.get("User-Agent")
        )

    @property
    def site(self) -> str:
        """This site's address; it is configured, and never taken from ``Host``."""
        return f"{self.kit.config.redirect_origin}/"

    @property
    def is_same_origin(self) -> bool:
        """Whether the browser proves that a page of this site sent the request."""
        site = self.headers.get("Sec-Fetch-Site")
        if site is not None:
            return site == "same-origin"
        return self.headers.get("Origin") == self.kit.config.redirect_origin

    def who(self) -> AuthResult:
        """Return who makes the request, refreshed if need be."""
        return self.kit.with_auth(
            self.cookies,
            client=self.person,
            navigation=self.headers.get("Sec-Fetch-Mode", "navigate") == "navigate",
        )

    def query(self, name: str) -> str | None:
        """Return a query parameter that is there once."""
        values = parse_qs(urlsplit(self.path).query).get(name, [])
        return values[0] if len(values) == 1 else None

    # What goes out

    def answer(
        self, status: int, body: str = "", result: AuthResult | None = None
    ) -> None:
        """Send a page with the headers that a result has by now."""
        latest = self.kit.latest_headers(result, self.cookies) if result else []
        self.send(status, LAYOUT + body, latest)

    def redirect(self, location: str, headers: Headers) -> None:
        """Send the browser somewhere else, by GET."""
        self.send(303, "", [("Location", location), *headers])

    def send(self, status: int, body: str, headers: Headers) -> None:
        """Send a response; what knows the person is never cached."""
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Cache-Control", "private, no-store")
        self.send_header("Content-Type", "text/html; charset=utf-8")
        if status != 204:
            self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing: the path of a callback has a code in it."""


def make_server(port: int, kit: AuthKitService) -> ThreadingHTTPServer:
    """Return a server of the integration."""
    handler = type("BoundHandler", (Handler,), {"kit": kit})
    return ThreadingHTTPServer(("localhost", port), handler)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve it, and a fake WorkOS, until Ctrl-C."""
    parser = argparse.ArgumentParser(
        description="An integration of one's own, with a fake WorkOS."
    )
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workos-port", type=int, default=8001)
    options = parser.parse_args(arguments)
    fake = FakeWorkOS.with_demo_data()
    with serve(fake, "localhost", options.workos_port) as workos:
        config = AuthKitConfig(
            client_id="client_test",
            api_key="sk_test_fake",
            redirect_uri=f"http://localhost:{options.port}/callback",
            cookie_password=secrets.token_urlsafe(32),
            api_hostname="localhost",
            api_https=False,
            api_port=workos.port,
        )
        with make_server(options.port, AuthKitService(config)) as server:
            print(f"Open http://localhost:{options.port}; Ctrl-C stops.", flush=True)
            server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
    except OSError as error:  # somebody listens there already
        sys.exit(f"{error}; choose other ports with --port and --workos-port")
