"""``{mount}/token``: the access token, for the scripts of a page. Nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsgi_authkit.endpoints._origin import cross_origin, may_read
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.responses import json_response
from wsgi_authkit.session import Session

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def token(context: RequestContext) -> WSGIApplication:
    """Answer with an access token that is good, renewed if it is due."""
    if not may_read(context):
        return cross_origin()
    context.read_session(refresh=context.environ["REQUEST_METHOD"] != "HEAD")
    session = context.session
    if not isinstance(session, Session):
        return context.challenge.answer_script()
    expires_at = int(session.expires_at.timestamp())
    return json_response({"accessToken": session.access_token, "expiresAt": expires_at})
