"""``{mount}/switch-organization``: for a script with JSON, for a page with a form."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from wsgi_authkit.endpoints._answers import (
    invalid_request,
    report,
    settle,
    wait_of,
)
from wsgi_authkit.endpoints._body import (
    InvalidBody,
    is_form,
    is_identifier,
    read_fields,
)
from wsgi_authkit.endpoints._origin import cross_origin, may_change
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.responses import link, page, redirect
from wsgi_authkit.results import RefreshOutcome

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def switch_organization(context: RequestContext) -> WSGIApplication:
    """Switch the session to another organization; WorkOS decides whether it may."""
    by_form = is_form(context.environ)
    if not may_change(context):
        return _refuse_form(context) if by_form else cross_origin()
    try:
        fields = read_fields(context.environ)
    except InvalidBody as error:
        return _incomplete(context) if by_form else invalid_request(error)
    organization_id = fields.get("organization_id" if by_form else "organizationId")
    if not is_identifier(organization_id):
        if by_form:
            return _incomplete(context)
        return invalid_request("organizationId must name an organization")
    value = fields.get("return_to" if by_form else "returnTo")
    return_to = value if isinstance(value, str) else None
    settle(context)
    outcome = context.renew(organization_id, return_to=return_to)
    if by_form:
        return _lead_on(context, outcome, return_to)
    return report(context, outcome)


def _lead_on(
    context: RequestContext, outcome: RefreshOutcome, return_to: str | None
) -> WSGIApplication:
    """Answer a person: with the page they want, or the step that leads there."""
    if outcome.kind == "unavailable":
        return _come_back(context, outcome)
    if outcome.kind == "denied":
        location = context.site_url(context.links.start("sign-in", return_to, {}))
    elif outcome.kind == "reauthorize" and outcome.url is not None:
        location = outcome.url
    else:
        location = context.site_url(context.links.return_path(return_to))
    return redirect(location, see_other=True)


def _incomplete(context: RequestContext) -> WSGIApplication:
    return page(
        "This form is incomplete",
        ["Nothing has changed. Go back and choose an organization again."],
        actions=_home(context),
        status=HTTPStatus.BAD_REQUEST,
    )


def _come_back(context: RequestContext, outcome: RefreshOutcome) -> WSGIApplication:
    # It does not load itself again: that would be a GET.
    return page(
        "One moment, please",
        [
            "The sign-in service cannot be reached at the moment. You are still signed "
            "in and nothing has changed. Go back and try again in a moment."
        ],
        actions=_home(context),
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        headers=[("Retry-After", str(wait_of(outcome)))],
    )


def _refuse_form(context: RequestContext) -> WSGIApplication:
    return page(
        "This form comes from elsewhere",
        ["Only a page of this site can send it. Nothing has changed."],
        actions=_home(context),
        status=HTTPStatus.FORBIDDEN,
    )


def _home(context: RequestContext) -> str:
    home = context.site_url(context.links.return_path(None))
    return link("Back to the site", home)
