"""The marker cookie of a browser that has just signed in, see ``loop``.

Every start of a sign-in counts in it, whoever redirects to WorkOS.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wsgi_authkit._wsgi import Header, set_cookie_headers
from wsgi_authkit.access import is_cross_site
from wsgi_authkit.authorization import flow_paths, verifier_path
from wsgi_authkit.loop import (
    MARKER_COOKIE,
    MARKER_LIFETIME,
    Marker,
    dump_marker,
    read_marker,
)
from wsgi_authkit.service import AuthKitService

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment


def find_marker(service: AuthKitService, cookies: str) -> Marker | None:
    """Return the browser's marker."""
    values = service.storage.load(cookies, MARKER_COOKIE)
    return read_marker(service.envelope, values, service.clock())


def count_start(
    service: AuthKitService, environ: WSGIEnvironment, cookies: str
) -> Marker | None:
    """Return the marker with one more start, ``None`` if this one does not count."""
    if service.config.is_strict and is_cross_site(environ):
        # The browser keeps the session for itself. A loop of it comes by this site's
        # own page at the end of a sign-in, and counts there.
        return None
    marker = find_marker(service, cookies)
    if marker is None or not marker.finished:
        return None
    found = service.get_session(cookies)
    # A cookie that is there and gives no session, a planted one perhaps, loops too.
    if found or found.reason in ("expired", "unavailable"):
        return None
    return replace(marker, starts=marker.starts + 1)


def marker_headers(
    service: AuthKitService, sign_in_path: str, marker: Marker
) -> list[Header]:
    """Return the headers that leave a marker, as old as this moment."""
    value = dump_marker(service.envelope, replace(marker, at=service.clock()))
    cookie = service.storage.save_flow_cookie(
        MARKER_COOKIE,
        value,
        path=verifier_path(sign_in_path, service.config.redirect_uri),
        max_age=MARKER_LIFETIME,
        secure=service.config.secure_cookies(),
    )
    return set_cookie_headers([cookie])


def no_marker_headers(service: AuthKitService, sign_in_path: str) -> list[Header]:
    """Return the headers that remove the marker."""
    secure = service.config.secure_cookies()
    deletions = [
        cookie
        for path in flow_paths(sign_in_path, service.redirect_uris)
        for cookie in service.storage.clear_flow_cookie(
            [MARKER_COOKIE], path=path, secure=secure
        )
    ]
    return set_cookie_headers(dict.fromkeys(deletions))
