"""Whose pages may use an endpoint: those of this site, and of ``allowed_origins``.

Fetch Metadata and ``Origin`` are the browser's word (Fetch 3.2, W3C Fetch Metadata); no
page can forge them. Cookies prove nothing: of a sibling subdomain's request they come
along whatever ``SameSite`` says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from wsgi_authkit._wsgi import Header, add_headers
from wsgi_authkit.access import has_same_origin_proof
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.request_session import SESSION_HEADER
from wsgi_authkit.responses import Response, json_error

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

#: Seconds that a browser may remember the answer to a preflight.
_PREFLIGHT_AGE: Final = 600


def may_change(context: RequestContext) -> bool:
    """Say whether a request that changes something comes from a page that may."""
    if _allowed_origin(context) is not None:
        return True
    return has_same_origin_proof(context.environ, *context.links.origins)


def may_read(context: RequestContext) -> bool:
    """Say whether nothing speaks against whoever asks.

    The weaker question, for GET: a program sends neither header. Another site could not
    read the answer, but asking refreshes a session that is due.
    """
    environ = context.environ
    if _allowed_origin(context) is not None:
        return True
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        # "none" is a person at the address bar.
        return site in ("same-origin", "none")
    return environ.get("HTTP_ORIGIN") in (None, *context.links.origins)


def cross_origin() -> Response:
    """Return the answer to a request of a page that may not."""
    log.info("a request that another site's page made was refused")
    return json_error(
        "cross_origin",
        "The request does not come from this site.",
        HTTPStatus.FORBIDDEN,
    )


def preflight(methods: Iterable[str]) -> Response:
    """Return what a browser is told that asks for a page of another origin."""
    return Response(
        HTTPStatus.NO_CONTENT,
        [
            ("Access-Control-Allow-Methods", ", ".join(methods)),
            ("Access-Control-Allow-Headers", f"Content-Type, {SESSION_HEADER}"),
            ("Access-Control-Max-Age", str(_PREFLIGHT_AGE)),
        ],
    )


def share(context: RequestContext, app: WSGIApplication) -> WSGIApplication:
    """Return the app with the headers that let ``allowed_origins`` read its response.

    Without the option there is no such header at all.
    """
    if not context.options.allowed_origins:
        return app
    headers: list[Header] = [("Vary", "Origin")]
    origin = _allowed_origin(context)
    if origin is not None:
        headers += [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Expose-Headers", "Date, Retry-After"),
        ]

    def answer(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        shared = add_headers(start_response, lambda known: [*known, *headers])
        return app(environ, shared)

    return answer


def _allowed_origin(context: RequestContext) -> str | None:
    origin = context.environ.get("HTTP_ORIGIN")
    return origin if origin in context.options.allowed_origins else None
