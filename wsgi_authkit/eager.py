"""Eager auth: a page's scripts find the access token while the page loads.

authkit-nextjs calls it so and reads the same cookie. It is short-lived and it is not
``HttpOnly``, for scripts are whom it is for; any script on the page can read it. A
script deletes it when it has read it.

It has no ``Domain``, whatever the session cookie has: no other host's scripts get the
token, and scripts of this one can delete the cookie without knowing its domain.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from wsgi_authkit._logs import OnceAMinute
from wsgi_authkit._wsgi import Header, set_cookie_headers
from wsgi_authkit.access import is_navigation
from wsgi_authkit.cookies import (
    COOKIE_BUDGET,
    MAX_CHUNKS,
    CookieAttributes,
    cookie_values,
    delete_cookie,
    dump_cookie,
)
from wsgi_authkit.errors import CookieTooLarge
from wsgi_authkit.session import AnonymousSession, Session

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

log = logging.getLogger(__name__)

#: The cookie's name in the JavaScript libraries.
EAGER_COOKIE: Final = "workos-access-token"
#: Seconds that a script has to read it.
EAGER_LIFETIME: Final = 30

# Bytes of the Cookie header that a session in the most chunks takes, so that the token
# is not what makes a server refuse it.
_HEADER_BUDGET: Final = MAX_CHUNKS * COOKIE_BUDGET


class EagerAuth:
    """Hands out the token, and takes it back."""

    def __init__(self) -> None:
        self._time_to_log_size = OnceAMinute()

    def headers(
        self,
        environ: WSGIEnvironment,
        status: str,
        session: Session | AnonymousSession,
        *,
        changed: bool,
        secure: bool,
    ) -> list[Header]:
        """Return the header that hands a page its token, or takes back an older one.

        :param status: The status of the response.
        :param session: Who makes the request, by now.
        :param changed: Whether the response stores or deletes the session.
        :param secure: Whether the session cookie is ``Secure``.
        """
        if session.status == "unavailable":
            return []
        present = cookie_values(environ.get("HTTP_COOKIE", ""), EAGER_COOKIE)
        if isinstance(session, Session):
            if session.access_token in present:
                return []
            if _is_page(environ, status) and not session.is_expiring(0):
                return self._hand_over(environ, session.access_token, secure=secure)
        # As with the session cookie: the late answer to a script must not take away
        # what another response has brought meanwhile.
        stale = changed or (not session and is_navigation(environ))
        return take_back(secure=secure) if present and stale else []

    def _hand_over(
        self, environ: WSGIEnvironment, token: str, *, secure: bool
    ) -> list[Header]:
        try:
            cookie = dump_cookie(EAGER_COOKIE, token, _attributes(secure=secure))
        except CookieTooLarge:
            fits = False
        else:
            present = len(environ.get("HTTP_COOKIE", ""))
            fits = present + len(cookie) <= _HEADER_BUDGET
        if fits:
            return set_cookie_headers([cookie])
        if self._time_to_log_size:
            log.warning(
                "an access token of %d bytes is too large for eager_auth beside the "
                "session; scripts have to ask for it",
                len(token),
            )
        return []


def take_back(*, secure: bool) -> list[Header]:
    """Return the header that deletes the cookie.

    :param secure: Whether the session cookie is ``Secure``.
    """
    return set_cookie_headers([delete_cookie(EAGER_COOKIE, _attributes(secure=secure))])


def _is_page(environ: WSGIEnvironment, status: str) -> bool:
    """Say whether a response is a page whose scripts can read the token.

    A redirect may lead to another site. A 304 brings no page either, and a cache
    updates what it has stored with the headers of one (RFC 9111 4.3.4).
    """
    return (
        is_navigation(environ)
        and status[:1] in ("2", "4", "5")
        and status[:3] not in ("204", "205")
    )


def _attributes(*, secure: bool) -> CookieAttributes:
    return CookieAttributes(
        max_age=EAGER_LIFETIME, secure=secure, httponly=False, samesite="Lax"
    )
