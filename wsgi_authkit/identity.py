"""What ``environ`` says of who makes the request, beside the session itself.

Some of it is older than this library: ``REMOTE_USER`` and ``AUTH_TYPE`` (RFC 3875 4.1)
are what access logs and apps for any server read. All of it has to come from here, for
a request can bring its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from wsgi_authkit._logs import OnceAMinute
from wsgi_authkit._wsgi import SESSION_KEY
from wsgi_authkit.session import AnonymousSession, Session

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

log = logging.getLogger(__name__)

#: What names somebody in ``REMOTE_USER``: their id, their verified address, or what a
#: callable makes of the session.
RemoteUser: TypeAlias = "Literal['sub', 'email'] | Callable[[Session], str | None]"

#: The value of ``AUTH_TYPE``.
AUTH_TYPE: Final = "AuthKit"

# The JavaScript libraries pass the sealed session to their pages in the first, and in
# the second that it was looked at; a proxy in front of this app may pass both on. By
# key and not by header: servers fold X-WorkOS-Session and X_WorkOS_Session into one.

#: A claim that any request can make: a session.
SESSION_CLAIM: Final = "HTTP_X_WORKOS_SESSION"
#: Another one: that the session was looked at.
MIDDLEWARE_CLAIM: Final = "HTTP_X_WORKOS_MIDDLEWARE"

# An app that looks for its user in REMOTE_USER may look in the header as well.
_REMOTE_USER_CLAIMS: Final = (
    "REMOTE_USER",
    "AUTH_TYPE",
    "HTTP_REMOTE_USER",
    "HTTP_AUTH_TYPE",
)


def is_remote_user(value: Any) -> bool:
    """Say whether a value is a :data:`RemoteUser`."""
    return callable(value) or (isinstance(value, str) and value in ("sub", "email"))


class NameHook:
    """A callable of the app's that names people; what it raises names nobody.

    Like any other hook it is logged, once a minute at most: it is called for every
    request of everybody. Raising would take the page, and with it the cookie of a
    session that was refreshed on the way, whose refresh token is the only good one.
    """

    def __init__(self, hook: Callable[[Session], str | None]) -> None:
        self._hook = hook
        self._time_to_log = OnceAMinute()

    def __call__(self, session: Session) -> str | None:
        """Return the name that the app gives, if it gives one."""
        try:
            return self._hook(session)
        except Exception:
            if self._time_to_log:
                log.exception("remote_user raised: REMOTE_USER stays unset")
            return None


def remove_claims(environ: WSGIEnvironment, remote_user: RemoteUser | None) -> None:
    """Remove what a request claims about who makes it.

    :param remote_user: With it, ``REMOTE_USER`` and what resembles it is a claim too.
    """
    environ.pop(SESSION_CLAIM, None)
    environ.pop(MIDDLEWARE_CLAIM, None)
    if remote_user is not None:
        for claim in _REMOTE_USER_CLAIMS:
            environ.pop(claim, None)


def publish(
    environ: WSGIEnvironment,
    session: Session | AnonymousSession,
    remote_user: RemoteUser | None,
) -> None:
    """Set who makes a request, in place of anybody who was set before."""
    environ[SESSION_KEY] = session
    if remote_user is None:
        return
    environ.pop("REMOTE_USER", None)
    environ.pop("AUTH_TYPE", None)
    name = _name(session, remote_user) if isinstance(session, Session) else None
    if name is not None:
        # As PEP 3333 has every string of environ: its bytes, in disguise.
        environ["REMOTE_USER"] = name.encode("utf-8").decode("latin-1")
        environ["AUTH_TYPE"] = AUTH_TYPE


def _name(session: Session, remote_user: RemoteUser) -> str | None:
    user = session.user
    if callable(remote_user):
        name: Any = remote_user(session)
    elif remote_user == "sub":
        name = user.id
    else:
        # Who may enter any address may enter somebody else's.
        name = user.email if user.email_verified else None
    if name is None:
        return None
    # An empty name is nobody's, and one with a line end would be two lines of a log.
    if not isinstance(name, str) or not name or not name.isprintable():
        log.warning(
            "remote_user gave no printable text for user %s: REMOTE_USER stays unset",
            user.id,
        )
        return None
    return name
