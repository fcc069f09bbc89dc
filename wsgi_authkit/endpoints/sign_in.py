"""``{mount}/sign-in`` and ``{mount}/sign-up``: where a flow starts.

The only places that set a verifier cookie, and only for a person who is sent on to
WorkOS at that moment. Fit to be the *Sign-in URL* of the WorkOS dashboard.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from wsgi_authkit._wsgi import Header
from wsgi_authkit.access import is_person, is_prefetch
from wsgi_authkit.auth import Auth
from wsgi_authkit.endpoints._failure import fail
from wsgi_authkit.endpoints._marker import find_marker, marker_headers
from wsgi_authkit.endpoints._query import parse_query
from wsgi_authkit.errors import AuthorizationError, BadSeal
from wsgi_authkit.loop import Marker
from wsgi_authkit.request_session import no_marker_headers
from wsgi_authkit.responses import Response, redirect

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

# What a link may ask for in the clear; WorkOS adds some of them to the Sign-in URL.
_OPEN_OPTIONS: Final = (
    "organization_id",
    "login_hint",
    "screen_hint",
    "invitation_token",
)


def sign_in(auth: Auth) -> WSGIApplication:
    """Start a sign-in."""
    return _start(auth, "sign-in")


def sign_up(auth: Auth) -> WSGIApplication:
    """Start a sign-up."""
    return _start(auth, "sign-up")


def _start(auth: Auth, screen_hint: str) -> WSGIApplication:
    if is_prefetch(auth.environ):
        return Response(HTTPStatus.NO_CONTENT)
    if auth.environ["REQUEST_METHOD"] == "HEAD":
        return redirect(auth.service.api.authorization_url({}))
    if not is_person(auth.environ):
        return auth.challenge()
    try:
        return_to, options = _read(auth)
        marker = _count(auth)
        if marker is not None and marker.is_loop:
            return fail(
                auth, _loop(), no_marker_headers(auth.service, auth.sign_in_path)
            )
        result = auth.service.create_authorization(
            return_to=return_to,
            cookies=auth.cookies,
            sign_in_path=auth.sign_in_path,
            **{"screen_hint": screen_hint, **options},
        )
    except AuthorizationError as error:
        return fail(auth, error)
    except (TypeError, ValueError) as error:
        return fail(auth, _bad_option(error))
    headers: list[Header] = list(result.headers)
    if marker is not None:
        headers += marker_headers(auth, marker)
    return redirect(result.url, headers)


def _read(auth: Auth) -> tuple[str | None, dict[str, Any]]:
    """Return the return path and the options of the query string."""
    query = parse_query(auth.environ, ("request",))
    options: dict[str, Any] = {
        name: query[name] for name in _OPEN_OPTIONS if query.get(name)
    }
    if "request" in query:
        try:
            options.update(auth.open_request(query["request"]))
        except BadSeal as error:
            raise AuthorizationError("the request parameter does not open") from error
    auth.check_redirect_uri(options.get("redirect_uri"))
    return_to = auth.return_path(query.get("return_to"))
    return return_to, options


def _count(auth: Auth) -> Marker | None:
    """Return the marker with this start counted, ``None`` if it does not count."""
    marker = find_marker(auth)
    if marker is None or not marker.finished:
        return None
    found = auth.service.get_session(auth.cookies)
    # A cookie that is there and gives no session, a planted one perhaps, loops too.
    if found or found.reason in ("expired", "unavailable"):
        return None
    return replace(marker, starts=marker.starts + 1)


def _loop() -> AuthorizationError:
    return AuthorizationError(
        "a browser signs in again and again and never sends a good session cookie; "
        "likely causes: cookies blocked, cookie_domain not of this site, https in the "
        "redirect URI and http in the browser, a cookie planted by a sibling site, or "
        "processes with different cookie passwords",
        code="sign_in_loop",
    )


def _bad_option(error: Exception) -> AuthorizationError:
    failure = AuthorizationError(f"an option of the sign-in is not allowed: {error}")
    failure.__cause__ = error
    return failure
