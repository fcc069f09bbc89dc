"""``{mount}/sign-in`` and ``{mount}/sign-up``: where a flow starts.

The only places that set a verifier cookie, and only for a person who is sent on to
WorkOS at that moment. Fit to be the *Sign-in URL* of the WorkOS dashboard.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from wsgi_authkit._wsgi import Header
from wsgi_authkit.access import is_person, is_prefetch
from wsgi_authkit.authorization import OPEN_OPTIONS
from wsgi_authkit.endpoints._failure import fail
from wsgi_authkit.endpoints._query import parse_query
from wsgi_authkit.errors import AuthorizationError, BadSeal
from wsgi_authkit.marker import count_start, marker_headers, no_marker_headers
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.responses import Response, redirect

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def sign_in(context: RequestContext) -> WSGIApplication:
    """Start a sign-in."""
    return _start(context, "sign-in")


def sign_up(context: RequestContext) -> WSGIApplication:
    """Start a sign-up."""
    return _start(context, "sign-up")


def _start(context: RequestContext, screen_hint: str) -> WSGIApplication:
    if is_prefetch(context.environ):
        return Response(HTTPStatus.NO_CONTENT)
    if context.environ["REQUEST_METHOD"] == "HEAD":
        return redirect(context.service.api.authorization_url({}))
    if not is_person(context.environ):
        return context.ask_to_sign_in()
    try:
        return_to, options = _read(context)
        marker = count_start(context.service, context.environ, context.cookies)
        if marker is not None and marker.is_loop:
            gone = no_marker_headers(context.service, context.sign_in_path)
            again = context.links.start("sign-in", return_to, {})
            return fail(context, _loop(), gone, again=again)
        result = context.start_flow(return_to, {"screen_hint": screen_hint, **options})
    except AuthorizationError as error:
        return fail(context, error)
    except (TypeError, ValueError) as error:
        return fail(context, _bad_option(error))
    headers: list[Header] = list(result.headers)
    if marker is not None:
        headers += marker_headers(context.service, context.sign_in_path, marker)
    return redirect(result.url, headers)


def _read(context: RequestContext) -> tuple[str | None, dict[str, Any]]:
    """Return the return path, unchecked, and the options of the query string.

    The redirect URI that a link asks for becomes the request's.

    :raises AuthorizationError: The query string or its ``request`` cannot be read.
    :raises ValueError: The redirect URI is none of ours.
    """
    query = parse_query(context.environ, ("request",))
    options: dict[str, Any] = {
        name: query[name] for name in OPEN_OPTIONS if query.get(name)
    }
    if "request" in query:
        try:
            options.update(context.links.open_request(query["request"]))
        except BadSeal as error:
            raise AuthorizationError("the request parameter does not open") from error
    redirect_uri = options.pop("redirect_uri", None)
    if redirect_uri is not None:
        context.use_redirect_uri(redirect_uri)
    return query.get("return_to"), options


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
