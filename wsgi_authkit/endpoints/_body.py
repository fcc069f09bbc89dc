"""Reading what is posted to one of our endpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from wsgi_authkit._wsgi import read_body
from wsgi_authkit.endpoints._query import parse_fields
from wsgi_authkit.errors import AuthorizationError

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

#: Bytes of a form or JSON body that are read.
MAX_BODY: Final = 16 * 1024
# Those of WorkOS have 30 characters.
_MAX_IDENTIFIER: Final = 200


class InvalidBody(Exception):
    """What was posted cannot be read; the message says why."""


def content_type(environ: WSGIEnvironment) -> str:
    """Return the media type of a request's body, in lower case."""
    media_type: str = environ.get("CONTENT_TYPE", "").partition(";")[0]
    return media_type.strip().lower()


def is_form(environ: WSGIEnvironment) -> bool:
    """Say whether a form is posted, by a page without a script."""
    return content_type(environ) == "application/x-www-form-urlencoded"


def read_fields(environ: WSGIEnvironment) -> dict[str, Any]:
    """Return the fields of a form or the members of a JSON object; of nothing, none.

    :raises InvalidBody: It is too long, or neither.
    """
    body = read_body(environ, MAX_BODY)
    if body is None:
        raise InvalidBody(f"the body has more than {MAX_BODY} bytes")
    if is_form(environ):
        try:
            return dict(parse_fields(body.decode("ascii")))
        except (AuthorizationError, UnicodeDecodeError) as error:
            raise InvalidBody("the form cannot be read") from error
    return _parse_json(body) if body else {}


def _parse_json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, object_pairs_hook=_members)
    except (ValueError, RecursionError) as error:
        raise InvalidBody("the body is not JSON") from error
    if not isinstance(value, dict):
        raise InvalidBody("the body is not a JSON object")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two of one name are an attempt to have two readers see different values.
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name is there twice")
    return members


def is_identifier(value: object) -> bool:
    """Say whether a value can name something at WorkOS: printable ASCII, and short."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= _MAX_IDENTIFIER
        and value.isascii()
        and value.isprintable()
    )
