"""``{mount}/refresh``: a new session now, for new roles, permissions or user data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_authkit.endpoints._answers import describe, invalid_request, report
from wsgi_authkit.endpoints._body import InvalidBody, read_fields
from wsgi_authkit.endpoints._origin import cross_origin, may_change
from wsgi_authkit.request_context import RequestContext

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def refresh(context: RequestContext) -> WSGIApplication:
    """Refresh the session, or switch it to an organization."""
    if not may_change(context):
        return cross_origin()
    try:
        organization_id = read_fields(context.environ).get("organizationId")
    except InvalidBody as error:
        return invalid_request(error)
    if organization_id is not None and not _is_text(organization_id):
        return invalid_request("organizationId must be a string, or left out")
    context.read_session(refresh=False)
    if not context.session and organization_id is None:
        # Of a session that is due, finding out who it is refreshes it.
        context.read_session(refresh=True)
        return describe(context) if context.session else _refused(context)
    if not context.session:
        context.read_session(refresh=True)
    return report(context, context.renew(organization_id, return_to=None))


def _refused(context: RequestContext) -> WSGIApplication:
    return report(context, context.renew(None, return_to=None))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""
