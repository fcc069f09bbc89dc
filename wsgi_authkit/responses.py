"""What the middleware itself answers: pages, JSON, redirects, and cache headers.

Responses are built here and not with WebOb, which makes a ``Location`` absolute from
the client's ``Host`` (CVE-2024-42353). Of a request, nothing is ever put into a page
but the path that a sign-in comes back to, in the link that starts it again.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from html import escape
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from wsgi_authkit._wsgi import Header

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

#: What keeps a response with a session out of every cache.
CACHE_CONTROL: Final = "private, no-cache, no-store, must-revalidate, max-age=0"

_PRIVATE: Final[tuple[Header, ...]] = (
    ("Cache-Control", CACHE_CONTROL),
    ("Pragma", "no-cache"),
    ("Expires", "0"),
)
# With these an app tells one kind of cache, a CDN or a proxy, to go by them instead of
# Cache-Control. Besides, RFC 9213 2 gives all that it defines the same ending.
_TARGETED: Final = frozenset({"edge-control", "surrogate-control", "x-accel-expires"})
_TARGETED_ENDING: Final = "-cache-control"
_VARY: Final[Header] = ("Vary", "Cookie")
#: What :func:`private` adds where nothing is replaced.
PRIVATE_AND_VARY: Final = (*_PRIVATE, _VARY)
# What is replaced or merged; most responses have nothing of it.
_RULED: Final = _TARGETED | {"cache-control", "pragma", "expires", "vary"}

#: Names of headers that :func:`private` has nothing to do with, as they are usually
#: spelled.
HARMLESS: Final = frozenset(
    {"Content-Type", "Content-Length", "Content-Encoding", "ETag", "Location"}
    | {"Last-Modified", "Set-Cookie", "Date", "Server", "X-Content-Type-Options"}
)

# On everything that the middleware itself answers.
_COMMON: Final[tuple[Header, ...]] = (
    *PRIVATE_AND_VARY,
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
# The URL of a callback holds a code.
_NO_REFERRER: Final = ("Referrer-Policy", "no-referrer")


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response, as a WSGI app. ``HEAD`` is answered without the body."""

    status: HTTPStatus
    headers: list[Header] = field(default_factory=list)
    body: bytes = b""

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        headers = [*self.headers, *_COMMON]
        if not any(name == _NO_REFERRER[0] for name, _ in self.headers):
            headers.append(_NO_REFERRER)
        if self.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            headers.append(("Content-Length", str(len(self.body))))
        start_response(f"{self.status.value} {self.status.phrase}", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self.body]


def redirect(
    location: str, headers: Iterable[Header] = (), *, see_other: bool = False
) -> Response:
    """Return a 302, or a 303 that makes a GET of a POST.

    :param location: An absolute URL, or a path on this site.
    :raises ValueError: It contains characters that a header or URL cannot hold.
    """
    if not location.isascii() or not location.isprintable() or " " in location:
        raise ValueError("a Location must be printable ASCII without spaces")
    return Response(
        HTTPStatus.SEE_OTHER if see_other else HTTPStatus.FOUND,
        [("Location", location), ("Content-Type", "text/plain"), *headers],
    )


def json_response(
    value: Mapping[str, Any],
    status: HTTPStatus = HTTPStatus.OK,
    headers: Iterable[Header] = (),
) -> Response:
    """Return a value as JSON."""
    return Response(
        status,
        [("Content-Type", "application/json"), *headers],
        json.dumps(value).encode(),
    )


def json_error(
    code: str, message: str, status: HTTPStatus, headers: Iterable[Header] = ()
) -> Response:
    """Return an error as JSON: ``{"error": {"code", "message"}}``."""
    return json_response({"error": {"code": code, "message": message}}, status, headers)


def session_changed() -> Response:
    """Return a 409 for a request made for a session that this one is not."""
    return json_error(
        "session_changed",
        "You have signed in anew since; load the page again.",
        HTTPStatus.CONFLICT,
    )


def method_not_allowed(allowed: str) -> Response:
    """Return a 405 that names the methods allowed (RFC 9110 15.5.6)."""
    return json_error(
        "method_not_allowed",
        f"use {allowed}",
        HTTPStatus.METHOD_NOT_ALLOWED,
        [("Allow", allowed)],
    )


def page(
    title: str,
    paragraphs: Iterable[str],
    *,
    actions: str = "",
    status: HTTPStatus = HTTPStatus.OK,
    headers: Iterable[Header] = (),
    retry_after: int | None = None,
) -> Response:
    """Return a small accessible HTML page.

    :param paragraphs: Text, escaped here.
    :param actions: HTML, made with :func:`link` or :func:`post_button`.
    :param retry_after: Seconds after which the page loads itself again.
    """
    extra = list(headers)
    refresh = ""
    if retry_after is not None:
        extra.append(("Retry-After", str(retry_after)))
        refresh = f'<meta http-equiv="refresh" content="{retry_after}">\n'
    return _page(title, paragraphs, refresh, actions, status, extra)


def onward_page(location: str, title: str, headers: Iterable[Header] = ()) -> Response:
    """Return a page that leads on at once, where a redirect would lose cookies.

    A browser sends no ``SameSite=Strict`` cookie to where another site's redirects
    lead; what this page leads to starts on this site.
    """
    return _page(
        title,
        ["This page goes on by itself."],
        f'<meta http-equiv="refresh" content="0;url={escape(location)}">\n',
        link("Continue", location),
        HTTPStatus.OK,
        headers,
    )


def _page(
    title: str,
    paragraphs: Iterable[str],
    refresh: str,
    actions: str,
    status: HTTPStatus,
    headers: Iterable[Header],
) -> Response:
    if actions:
        actions = f'<div class="actions">{actions}</div>'
    text = "\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs)
    body = _PAGE.format(
        title=escape(title), refresh=refresh, style=_STYLE, text=text, actions=actions
    )
    return Response(
        status,
        [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Security-Policy", _POLICY),
            ("X-Frame-Options", "DENY"),
            *headers,
        ],
        body.encode(),
    )


def link(text: str, href: str, *, quiet: bool = False) -> str:
    """Return a link for the actions of a page.

    :param quiet: Not the action that the page is about.
    """
    kind = "quiet" if quiet else "action"
    return f'<a class="{kind}" href="{escape(href)}">{escape(text)}</a>'


def post_button(text: str, action: str, fields: Mapping[str, str]) -> str:
    """Return a form of one button for the actions of a page."""
    inputs = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in fields.items()
    )
    return (
        f'<form method="post" action="{escape(action)}">{inputs}'
        f'<button class="action" type="submit">{escape(text)}</button></form>'
    )


_STYLE: Final = """\
:root { color-scheme: light dark; --text: #1c2024; --muted: #60646c; --page: #f6f6f8;
  --card: #fff; --line: #d9d9e0; --accent: #5147c7; --on-accent: #fff }
@media (prefers-color-scheme: dark) { :root { --text: #edeef0; --muted: #b0b4ba;
  --page: #111113; --card: #19191b; --line: #43484e; --accent: #b1a9ff;
  --on-accent: #1c1a33 } }
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
  background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
main { width: 100%; max-width: 28rem; padding: 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .75rem }
h1 { margin: 0 0 .75rem; font-size: 1.375rem; line-height: 1.3 }
p { margin: 0 0 .75rem; color: var(--muted) }
main > :last-child { margin-bottom: 0 }
.actions { display: flex; flex-wrap: wrap; align-items: center; gap: .75rem 1.25rem;
  margin-top: 1.25rem }
.quiet { padding: .625rem 0; color: var(--accent) }
.action { display: inline-block; padding: .625rem 1.125rem;
  border: 0; border-radius: .5rem; background: var(--accent); color: var(--on-accent);
  font: inherit; font-weight: 600; text-decoration: none; cursor: pointer }
:focus-visible { outline: 3px solid var(--text); outline-offset: 2px }
"""

_STYLE_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()

# No `form-action`: Chromium applies it to every redirect that follows a form, and
# signing out leads through WorkOS to wherever the app sends people afterwards.
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
{refresh}<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{text}
{actions}
</main>
</body>
</html>
"""


def private(
    headers: list[Header], on_public: Callable[[], object] | None = None
) -> list[Header]:
    """Return the headers of a response that no cache may keep.

    ``Cache-Control``, ``Pragma`` and ``Expires`` are replaced, ``Cookie`` is added to
    ``Vary``: a shared cache that keeps somebody's page, or their ``Set-Cookie``, hands
    their session to the next visitor. Headers by which an app tells a CDN to look past
    ``Cache-Control`` (RFC 9213 and its forerunners) are left out.

    :param on_public: Called where shared caches were asked to keep the response.
    """
    for header in headers:
        name = header[0].lower()
        if name in _RULED or name.endswith(_TARGETED_ENDING):
            if on_public is not None and is_public(headers):
                on_public()
            return _replaced(headers)
    return [*headers, *PRIVATE_AND_VARY]


def _replaced(headers: list[Header]) -> list[Header]:
    vary: list[str] = []
    kept = []
    for header in headers:
        name = header[0].lower()
        if name == "vary":
            vary.append(header[1])
        elif not _rules_caches(name):
            kept.append(header)
    return [*kept, *_PRIVATE, ("Vary", _with_cookie(vary))]


def _with_cookie(vary: list[str]) -> str:
    fields = [field.strip() for value in vary for field in value.split(",")]
    fields = [field for field in fields if field]
    if "*" in fields or "cookie" in [field.lower() for field in fields]:
        return ", ".join(fields)
    return ", ".join([*fields, "Cookie"])


def _rules_caches(name: str) -> bool:
    return name in ("cache-control", "pragma", "expires") or _is_targeted(name)


def _is_targeted(name: str) -> bool:
    return name in _TARGETED or name.endswith(_TARGETED_ENDING)


def is_public(headers: Iterable[Header]) -> bool:
    """Say whether an app asks shared caches to keep a response."""
    for header, text in headers:
        name, value = header.lower(), text.lower()
        if name == "cache-control" and ("public" in value or "s-maxage" in value):
            return True
        if _is_targeted(name) and "max-age" in value:
            return True
    return False
