"""The marker cookie that tells a loop of sign-ins from a sign-in, see ``loop``."""

from __future__ import annotations

from dataclasses import replace

from wsgi_authkit._wsgi import Header, set_cookie_headers
from wsgi_authkit.auth import Auth
from wsgi_authkit.authorization import verifier_path
from wsgi_authkit.loop import (
    MARKER_COOKIE,
    MARKER_LIFETIME,
    Marker,
    dump_marker,
    read_marker,
)


def find_marker(auth: Auth) -> Marker | None:
    """Return the browser's marker."""
    service = auth.service
    values = service.storage.load(auth.cookies, MARKER_COOKIE)
    return read_marker(service.envelope, values, service.clock())


def marker_headers(auth: Auth, marker: Marker) -> list[Header]:
    """Return the headers that leave a marker, as old as this moment."""
    service = auth.service
    value = dump_marker(service.envelope, replace(marker, at=service.clock()))
    cookie = service.storage.save_flow_cookie(
        MARKER_COOKIE,
        value,
        path=_path(auth),
        max_age=MARKER_LIFETIME,
        secure=service.config.secure_cookies(),
    )
    return set_cookie_headers([cookie])


def _path(auth: Auth) -> str:
    return verifier_path(auth.sign_in_path, auth.service.config.redirect_uri)
