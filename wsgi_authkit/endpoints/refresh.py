"""``{mount}/refresh``: a new session now, for new roles, permissions or user data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_authkit.endpoints._answers import describe, invalid_request, report, settle
from wsgi_authkit.endpoints._body import InvalidBody, is_identifier, read_fields
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
    if organization_id is not None and not is_identifier(organization_id):
        return invalid_request("organizationId must name an organization, or be absent")
    was_due = settle(context)
    if was_due and context.session and organization_id is None:
        return describe(context)
    return report(context, context.renew(organization_id, return_to=None))
