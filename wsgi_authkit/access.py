"""What a path asks for, and what kind of request this is: a person or a script.

Only a person who navigates can be sent to another origin. A ``fetch`` that is answered
with such a redirect fails with an error that its author cannot read, and leaves a
pending sign-in behind; a prefetch signs nobody in and must not sign anybody out.

The decisions rest on Fetch Metadata (W3C), which every current browser sends and no
page can forge, and on ``Accept`` where it is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal

from wsgi_authkit.authentication import ClientInfo
from wsgi_authkit.errors import ConfigurationError
from wsgi_authkit.patterns import PathPatterns, readings, request_path

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

#: What the rules make of a path.
Access = Literal["protected", "excluded", "public"]

_LIST: Final = 'must be a list of path patterns, such as ["/about", "/docs/:path*"]'


class AccessRules:
    """Which paths need a session; compiled once.

    The first that matches decides: ``protected_paths``, ``exclude_paths``,
    ``public_paths``, then ``require_auth``. The lists that protect ignore case and a
    slash at the end, those that free a path do not.

    :raises ConfigurationError: Patterns are not understood; it lists all of them.
    """

    def __init__(
        self,
        *,
        require_auth: bool = False,
        public_paths: Iterable[str] = (),
        protected_paths: Iterable[str] = (),
        exclude_paths: Iterable[str] = (),
        sign_up_paths: Iterable[str] = (),
        api_paths: Iterable[str] = (),
    ) -> None:
        problems: list[str] = []
        self._require_auth = require_auth
        self._public = _compile("public_paths", public_paths, problems)
        self._excluded = _compile("exclude_paths", exclude_paths, problems)
        self._protected = _compile(
            "protected_paths", protected_paths, problems, lenient=True
        )
        self._sign_up = _compile("sign_up_paths", sign_up_paths, problems, lenient=True)
        self._api = _compile("api_paths", api_paths, problems, lenient=True)
        if problems:
            raise ConfigurationError(problems)
        self._protects = require_auth or bool(self._protected)

    def judge(self, path_info: str) -> Access:
        """Return what a request's ``PATH_INFO`` asks for.

        Where servers do not agree on what a path means it is protected as soon as
        anything is. Where an app may take it for another one
        (:func:`~wsgi_authkit.patterns.readings`), it is protected if one of them is in
        ``protected_paths``, and free only if all of them are.
        """
        if not (self._protects or self._excluded):
            return "public"
        return self._decide(path_info)

    def _decide(self, path_info: str) -> Access:
        path = request_path(path_info)
        if path is None:
            return "protected" if self._protects else "public"
        paths = readings(path)
        if any(reading in self._protected for reading in paths):
            return "protected"
        if all(reading in self._excluded for reading in paths):
            return "excluded"
        if not self._require_auth or all(reading in self._public for reading in paths):
            return "public"
        return "protected"

    def is_api(self, path_info: str) -> bool:
        """Say whether a path is answered with 401 where others get a redirect."""
        return request_path(path_info) in self._api

    def is_sign_up(self, path_info: str) -> bool:
        """Say whether who has to sign in on a path is shown the sign-up screen."""
        return request_path(path_info) in self._sign_up


def _compile(
    option: str, patterns: object, problems: list[str], *, lenient: bool = False
) -> PathPatterns:
    if isinstance(patterns, str | bytes) or not isinstance(patterns, Iterable):
        problems.append(f"{option} {_LIST}")
        return PathPatterns(())
    good = []
    for pattern in patterns:
        try:
            PathPatterns([pattern])
        except (AttributeError, TypeError):
            problems.append(f"{option} {_LIST}")
        except ValueError as error:
            problems.append(f"{option} cannot have {pattern!r}: {error}")
        else:
            good.append(pattern)
    return PathPatterns(good, lenient=lenient)


_DOCUMENTS: Final = ("document", "")
_FRAMES: Final = ("iframe", "frame")


def is_navigation(environ: WSGIEnvironment, *, framed: bool = False) -> bool:
    """Say whether a person is navigating to this page, so that a redirect is seen.

    :param framed: Also within a frame of a page. Only with ``SameSite=None`` does a
        session come along there, and AuthKit refuses to be framed elsewhere.
    """
    if environ["REQUEST_METHOD"] != "GET" or not is_person(environ):
        return False
    if "HTTP_SEC_FETCH_MODE" in environ:
        return framed or environ.get("HTTP_SEC_FETCH_DEST", "") not in _FRAMES
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
            and environ.get("HTTP_SEC_FETCH_DEST", "") in _DOCUMENTS + _FRAMES
        )
    is_script = "HTTP_X_REQUESTED_WITH" in environ
    return not (is_script or is_htmx(environ) or is_turbo(environ))


def is_cross_site(environ: WSGIEnvironment) -> bool:
    """Say whether a page of another site has made the browser come here.

    Redirects on the way do not change that, and nobody says so without Fetch Metadata.
    """
    return environ.get("HTTP_SEC_FETCH_SITE") == "cross-site"


def is_htmx(environ: WSGIEnvironment) -> bool:
    """Say whether htmx makes the request: a script that asks for HTML."""
    return "HTTP_HX_REQUEST" in environ


def is_turbo(environ: WSGIEnvironment) -> bool:
    """Say whether Turbo makes the request: a script that asks for HTML."""
    return "HTTP_X_TURBO_REQUEST_ID" in environ or "HTTP_TURBO_FRAME" in environ


def is_preflight(environ: WSGIEnvironment) -> bool:
    """Say whether a browser asks what a page of another origin may do (Fetch 4.8).

    It asks without cookies and must be answered without; the request that follows is
    judged for itself. A method override would make a GET of it behind our back, and no
    browser sends one here.
    """
    return (
        environ["REQUEST_METHOD"] == "OPTIONS"
        and "HTTP_ORIGIN" in environ
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
        and not any(header in environ for header in _METHOD_OVERRIDES)
    )


_METHOD_OVERRIDES: Final = (
    "HTTP_X_HTTP_METHOD_OVERRIDE",
    "HTTP_X_HTTP_METHOD",
    "HTTP_X_METHOD_OVERRIDE",
)


def is_prefetch(environ: WSGIEnvironment) -> bool:
    """Say whether the browser fetches ahead of a navigation that may never come."""
    for header in _PURPOSES:
        # Nearly no request has one of them.
        if header in environ:
            purpose = environ[header].lower()
            if "prefetch" in purpose or "preview" in purpose:
                return True
    return False


_PURPOSES: Final = (
    "HTTP_SEC_PURPOSE",
    "HTTP_PURPOSE",
    "HTTP_X_PURPOSE",
    "HTTP_X_MOZ",
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
