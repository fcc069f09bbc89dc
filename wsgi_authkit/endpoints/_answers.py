"""What the JSON endpoints answer about a session, in the browser client's words."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from wsgi_authkit.challenge import unavailable_json
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.responses import Response, json_error, json_response
from wsgi_authkit.results import RefreshOutcome


def describe(context: RequestContext, **details: Any) -> Response:
    """Return who is signed in, without tokens; 503 while nobody can say."""
    session = context.session
    if session.status == "unavailable":
        return context.challenge.answer_script()
    if not session:
        url = context.challenge.sign_in_url()
        return json_response({**session.to_dict(), "signInUrl": url})
    return json_response({**session.to_dict(), **details})


def settle(context: RequestContext) -> bool:
    """Find out who makes a request that refreshes; say whether that has done so.

    Only of a session that has expired, which nobody can vouch for otherwise.
    """
    context.read_session(refresh=False)
    if context.session:
        return False
    context.read_session(refresh=True)
    return True


def report(context: RequestContext, outcome: RefreshOutcome) -> Response:
    """Return what a refresh, or a switch of the organization, came to."""
    if outcome.kind == "reauthorize":
        error = {
            "code": "authorization_required",
            "message": "WorkOS asks for another step.",
            "reason": outcome.reason,
        }
        return json_response(
            {"error": error, "signInUrl": outcome.url}, HTTPStatus.FORBIDDEN
        )
    if outcome.kind == "unavailable":
        return unavailable_json(wait_of(outcome))
    if outcome.kind == "denied":
        return context.challenge.answer_script()
    return describe(context)


def wait_of(outcome: RefreshOutcome) -> int:
    """Return the whole seconds after which trying again may help."""
    return math.ceil(outcome.retry_after or 1)


def invalid_request(problem: Exception | str) -> Response:
    """Return a 400 that says what is wrong with the request."""
    return json_error("invalid_request", str(problem), HTTPStatus.BAD_REQUEST)
