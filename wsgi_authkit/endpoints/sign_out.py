"""``{mount}/sign-out``: ends the session here, and sends the browser on to end it at
WorkOS.

Only a POST that comes from a page of this site signs out; a link, an image or a
prefetch does not. It works with an expired token and while WorkOS is down: the id of
the session comes out of our own sealed cookie.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from wsgi_authkit.access import is_prefetch, prefers_json
from wsgi_authkit.endpoints._body import (
    InvalidBody,
    content_type,
    is_form,
    read_fields,
)
from wsgi_authkit.endpoints._origin import cross_origin, may_change
from wsgi_authkit.endpoints._query import parse_query
from wsgi_authkit.errors import AuthorizationError
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.responses import (
    Response,
    json_response,
    link,
    page,
    post_button,
    redirect,
)

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

log = logging.getLogger(__name__)

# With "no-referrer" browsers post the form with `Origin: null`, and where they send no
# Fetch Metadata nothing would prove that it comes from this site.
_SAME_ORIGIN: Final = ("Referrer-Policy", "same-origin")


def sign_out(context: RequestContext) -> WSGIApplication:
    """Ask on GET, sign out on POST."""
    if is_prefetch(context.environ):
        return Response(HTTPStatus.NO_CONTENT)
    if context.environ["REQUEST_METHOD"] != "POST":
        return _confirm(context)
    if not may_change(context):
        return _forbidden(context)
    return _sign_out(context, _posted_return_to(context))


def _confirm(context: RequestContext) -> WSGIApplication:
    links = context.links
    return_to = _query_return_to(context)
    fields = {}
    if return_to and links.absolute_return_url(return_to) is not None:
        fields["return_to"] = return_to
    home = context.site_url(links.return_path(None))
    return page(
        "Sign out?",
        ["You will be signed out of this site."],
        actions=post_button("Sign out", links.endpoint("sign-out"), fields)
        + link("Cancel", home, quiet=True),
        headers=[_SAME_ORIGIN],
    )


def _forbidden(context: RequestContext) -> WSGIApplication:
    if prefers_json(context.environ):
        return cross_origin()
    log.info("a sign-out without a same-origin proof was refused")
    return page(
        "You are still signed in",
        ["The request to sign out did not come from this site."],
        actions=link("Sign out here", context.links.endpoint("sign-out")),
        headers=[_SAME_ORIGIN],
        status=HTTPStatus.FORBIDDEN,
    )


def _sign_out(context: RequestContext, return_to: str | None) -> WSGIApplication:
    if return_to and context.links.absolute_return_url(return_to) is None:
        log.warning(
            "a sign-out's return_to was ignored: it is neither a path on this site nor "
            "one of sign_out_return_to and allowed_return_urls"
        )
        return_to = None
    url = context.sign_out(return_to or None)
    if prefers_json(context.environ):
        return json_response({"logoutUrl": url})
    return redirect(url, see_other=True)


def _query_return_to(context: RequestContext) -> str | None:
    try:
        return parse_query(context.environ, ()).get("return_to")
    except AuthorizationError:
        return None


def _posted_return_to(context: RequestContext) -> str | None:
    """Return where to go, out of a form, JSON, or the query."""
    environ = context.environ
    if not is_form(environ) and content_type(environ) != "application/json":
        return _query_return_to(context)
    try:
        value = read_fields(environ).get(
            "return_to" if is_form(environ) else "returnTo"
        )
    except InvalidBody:
        # Who wants to leave is not kept by a bad address.
        value = None
    return value if isinstance(value, str) else _query_return_to(context)
