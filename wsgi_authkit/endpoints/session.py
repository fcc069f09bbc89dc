"""``{mount}/session``: who is signed in, for the scripts of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsgi_authkit.endpoints._answers import describe, invalid_request
from wsgi_authkit.endpoints._origin import cross_origin, may_read
from wsgi_authkit.endpoints._query import parse_query
from wsgi_authkit.errors import AuthorizationError
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.session import Session

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def session(context: RequestContext) -> WSGIApplication:
    """Answer who is signed in; a session that is due is refreshed on the way."""
    if not may_read(context):
        return cross_origin()
    try:
        query = parse_query(context.environ, ("include",))
    except AuthorizationError as error:
        return invalid_request(error)
    context.read_session(refresh=context.environ["REQUEST_METHOD"] != "HEAD")
    return describe(context, **_details(context, query.get("include", "").split(",")))


def _details(context: RequestContext, wanted: list[str]) -> dict[str, Any]:
    """Return what WorkOS has to be asked for, for who asks for it.

    About the session alone: an id that came with the request could be anybody's, and
    the API key reads all of them (GHSA-ph3g-6p57-jfm5).
    """
    found: dict[str, Any] = {}
    current = context.session
    if not isinstance(current, Session) or context.environ["REQUEST_METHOD"] == "HEAD":
        return found
    if "organization" in wanted:
        organization = context.service.organization_of(current)
        found["organization"] = organization and organization.to_dict()
    if "expiry" in wanted:
        found["sessionExpiresAt"] = context.service.session_expires_at(current)
    return found
