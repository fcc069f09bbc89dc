"""``{mount}/authkit.js``: the browser client, the same for everybody."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.responses import Response

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


class _Script(NamedTuple):
    body: bytes
    etag: str


@cache
def _script() -> _Script:
    from importlib.resources import files  # as long as all endpoints to import

    body = files("wsgi_authkit").joinpath("static", "authkit.js").read_bytes()
    return _Script(body, f'"{sha256(body).hexdigest()[:32]}"')


def script(context: RequestContext) -> WSGIApplication:
    """Answer with the module, or with 304 to who has it (RFC 9110 13.1.2)."""
    body, etag = _script()
    headers = [("ETag", etag)]
    if _knows(context.environ.get("HTTP_IF_NONE_MATCH", ""), etag):
        return Response(HTTPStatus.NOT_MODIFIED, headers)
    headers.append(("Content-Type", "text/javascript; charset=utf-8"))
    return Response(HTTPStatus.OK, headers, body)


def _knows(if_none_match: str, etag: str) -> bool:
    known = (value.strip() for value in if_none_match.split(","))
    return any(value in ("*", etag, f"W/{etag}") for value in known)
