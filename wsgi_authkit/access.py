"""What kind of request this is: a person navigating, a script, a prefetch.

Only a person who navigates can be sent to another origin. A ``fetch`` that is answered
with such a redirect fails with an error that its author cannot read, and leaves a
pending sign-in behind; a prefetch signs nobody in and must not sign anybody out.

The decisions rest on Fetch Metadata (W3C), which every current browser sends and no
page can forge, and on ``Accept`` where it is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wsgi_authkit.authentication import ClientInfo

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

_DOCUMENTS: Final = ("document", "iframe", "frame", "")


def is_navigation(environ: WSGIEnvironment) -> bool:
    """Say whether a person is navigating to this page, so that a redirect is seen."""
    if environ["REQUEST_METHOD"] != "GET" or not is_person(environ):
        return False
    if "HTTP_SEC_FETCH_MODE" in environ:
        return True
    return prefers_html(environ)


def is_person(environ: WSGIEnvironment) -> bool:
    """Say whether nothing speaks against a person at the other end.

    The weaker question, for pages that only a person has a reason to visit: a client
    without Fetch Metadata and ``Accept`` passes.
    """
    if is_prefetch(environ) or "HTTP_UPGRADE" in environ:
        return False
    if "HTTP_SEC_FETCH_MODE" in environ:
        return (
            environ["HTTP_SEC_FETCH_MODE"] == "navigate"
            and environ.get("HTTP_SEC_FETCH_DEST", "") in _DOCUMENTS
        )
    return "HTTP_X_REQUESTED_WITH" not in environ


def is_prefetch(environ: WSGIEnvironment) -> bool:
    """Say whether the browser fetches ahead of a navigation that may never come."""
    purposes = (
        environ.get("HTTP_SEC_PURPOSE", ""),
        environ.get("HTTP_PURPOSE", ""),
        environ.get("HTTP_X_PURPOSE", ""),
        environ.get("HTTP_X_MOZ", ""),
    )
    return any(
        "prefetch" in purpose.lower() or "preview" in purpose.lower()
        for purpose in purposes
    )


def prefers_html(environ: WSGIEnvironment) -> bool:
    """Say whether ``Accept`` asks for HTML rather than JSON; ``*/*`` does not."""
    accept = environ.get("HTTP_ACCEPT", "")
    if "text/html" not in accept.lower():
        return False
    return _acceptable(accept, "application/json", "text/html") == "text/html"


def prefers_json(environ: WSGIEnvironment) -> bool:
    """Say whether an answer should be JSON: for scripts, and who asks for it."""
    accept = environ.get("HTTP_ACCEPT", "")
    if "json" in accept.lower():
        return _acceptable(accept, "text/html", "application/json") != "text/html"
    return not is_person(environ) and not prefers_html(environ)


def _acceptable(accept: str, *offers: str) -> str | None:
    from webob.acceptparse import create_accept_header

    found = create_accept_header(accept).acceptable_offers(offers)
    return str(found[0][0]) if found else None


def has_same_origin_proof(environ: WSGIEnvironment, *origins: str) -> bool:
    """Say whether a request comes from a page of this site.

    ``Sec-Fetch-Site`` decides where it is there, else ``Origin``; without both, nothing
    proves it. Neither can be set by a page.

    :param origins: The public origins of this site. They are configured and never
        taken from ``Host``, which the client writes.
    """
    site: str | None = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        return site == "same-origin"
    sent: str | None = environ.get("HTTP_ORIGIN")
    return sent in origins


def client_info(environ: WSGIEnvironment) -> ClientInfo:
    """Return whom a call is made for, as the server below presents it.

    ``X-Forwarded-For`` is not read: who stands behind a proxy puts a middleware that
    knows its proxies, such as Werkzeug's ``ProxyFix``, outside of this one.
    """
    return ClientInfo(
        ip_address=environ.get("REMOTE_ADDR") or None,
        user_agent=environ.get("HTTP_USER_AGENT", "")[:500] or None,
    )
