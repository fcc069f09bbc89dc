"""Reading the parameters of a request to one of our endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from wsgi_authkit._wsgi import decode
from wsgi_authkit.errors import AuthorizationError

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

#: Bytes of a query string that are looked at.
MAX_QUERY: Final = 8192
_MAX_FIELDS: Final = 64


def parse_query(environ: WSGIEnvironment, single: Iterable[str]) -> dict[str, str]:
    """Return the parameters of the query string, the first of equal names.

    :param single: Names that may stand there once only: two of them are an attempt to
        have two readers see different values.
    :raises AuthorizationError: The query is too long, not UTF-8, or has one of
        ``single`` twice; ``code`` is ``invalid_request``.
    """
    query = environ.get("QUERY_STRING", "")
    if len(query) > MAX_QUERY:
        raise AuthorizationError("the query string is too long")
    try:
        text = decode(query)
    except UnicodeError as error:
        raise AuthorizationError("the query string is not UTF-8") from error
    return parse_fields(text, single)


def parse_fields(text: str, single: Iterable[str] = ()) -> dict[str, str]:
    """Return the fields of a query string or form, the first of equal names.

    :param single: As for :func:`parse_query`.
    :raises AuthorizationError: There are too many, one is not UTF-8, or one of
        ``single`` is there twice; ``code`` is ``invalid_request``.
    """
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    except ValueError as error:
        raise AuthorizationError("the parameters cannot be read") from error
    names = [name for name, _ in pairs]
    for name in single:
        if names.count(name) > 1:
            raise AuthorizationError(f"the parameter {name} is there more than once")
    return dict(reversed(pairs))
