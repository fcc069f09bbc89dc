"""An app whose pages run ``authkit.js``, as strict about scripts as an app can be.

Gunicorn loads it as ``tests.page_app:make_app()``; the settings are WorkOS's own
environment variables, :data:`OPTIONS` and :data:`LOG`.

``/`` is the page, ``/top`` has the impersonation's bar on the other side, and
``/api/who`` answers whose access token it was sent. In the page's query, ``idle`` has
it not subscribe and ``reload`` has it do what it does by default when the session is
over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wsgi_authkit import AuthKitMiddleware
from wsgi_authkit.errors import InvalidToken
from wsgi_authkit.key_set import KeySet
from wsgi_authkit.tokens import TokenVerifier

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: The environment variable with options of the middleware, a JSON object.
OPTIONS: Final = "PAGE_APP_OPTIONS"
#: Of a file that gets a line for every response, before that is sent: method, path,
#: status, and whether a session cookie came with the request.
LOG: Final = "PAGE_APP_LOG"

POLICY: Final = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'"
)

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Page</title>
<link rel="stylesheet" href="/page.css">
<script type="module" src="/page.js"></script>
<button id="first">First</button>
<main><h1>Page</h1><a href="#here">Link</a></main>
<button id="last">Last</button>
<authkit-impersonation></authkit-impersonation>
</html>
"""

_STYLE: Final = """
body { margin: 0; font: 1rem sans-serif; }
button { display: block; width: 100%; height: 3rem; }
main { min-height: 110vh; }
@media (prefers-color-scheme: dark) { :root { background: #111; color: #eee; } }
"""

_SCRIPT: Final = """
import * as authkit from "/auth/authkit.js";

const query = new URLSearchParams(location.search);
Object.assign(window, {
  authkit,
  first: { state: authkit.getState(), cookie: document.cookie },
  states: [],
  expired: 0,
  clicks: [],
  async callApi() {
    const token = await authkit.getAccessToken();
    const headers = { Authorization: `Bearer ${token}` };
    const response = await fetch("/api/who", { headers });
    return [response.status, await response.json()];
  },
});
if (!query.has("reload")) {
  authkit.configure({ onSessionExpired: () => { window.expired += 1; } });
}
if (!query.has("idle")) {
  authkit.subscribe((state) => { window.states.push(state); });
}
document.addEventListener("click", ({ target }) => { window.clicks.push(target.id); });
"""

_FILES: Final = {
    "/": ("text/html; charset=utf-8", _PAGE),
    "/top": (
        "text/html; charset=utf-8",
        _PAGE.replace("<authkit-impersonation>", '<authkit-impersonation side="top">'),
    ),
    "/page.css": ("text/css", _STYLE),
    "/page.js": ("text/javascript", _SCRIPT),
}


def make_app() -> WSGIApplication:
    """Return the app behind the middleware, configured by the environment."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path == "/api/who":
            return _answer_who(verifier, environ, start_response)
        media_type, content = _FILES.get(path, ("text/plain", ""))
        headers = [("Content-Type", media_type), ("Content-Security-Policy", POLICY)]
        start_response("200 OK" if path in _FILES else "404 Not Found", headers)
        return [content.encode()]

    options = json.loads(os.environ[OPTIONS])
    # Chromium asks for the icon of whatever it shows, a refusal to another site too.
    excluded = ["/api/:path*", "/favicon.ico"]
    middleware = AuthKitMiddleware(app, **{"exclude_paths": excluded, **options})
    # As an API elsewhere would, which knows no session and has a clock that is right.
    key_set = KeySet(lambda: middleware.api.fetch_jwks())
    verifier = TokenVerifier(key_set=key_set, leeway=0)
    return _logging(middleware, Path(os.environ[LOG]))


def _logging(app: WSGIApplication, log: Path) -> WSGIApplication:
    def application(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        def logged(status: str, headers: list[tuple[str, str]], /, *exc: Any) -> Any:
            with log.open("a", encoding="utf-8") as stream:
                has_session = "wos-session=" in environ.get("HTTP_COOKIE", "")
                what = environ["REQUEST_METHOD"], environ["PATH_INFO"], status[:3]
                stream.write(json.dumps([*what, has_session]) + "\n")
            return start_response(status, headers, *exc)

        return app(environ, logged)

    return application


def _answer_who(
    verifier: TokenVerifier, environ: WSGIEnvironment, start_response: StartResponse
) -> list[bytes]:
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    try:
        claims = verifier.verify(token if scheme == "Bearer" else "")
    except InvalidToken as error:
        status, answer = "401 Unauthorized", {"error": type(error).__name__}
    else:
        status, answer = "200 OK", {"user": claims["sub"], "exp": claims["exp"]}
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
