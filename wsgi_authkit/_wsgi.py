"""The parts of PEP 3333 that the package needs, each once.

``environ`` strings are bytes in disguise: every character stands for one byte
(latin-1). :func:`decode` is the one place that turns them into text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote

if TYPE_CHECKING:
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIEnvironment

#: What ``sys.exc_info()`` returns while an exception is handled.
ExcInfo: TypeAlias = "tuple[type[BaseException], BaseException, TracebackType]"

#: One response header, name and value.
Header = tuple[str, str]

#: ``environ`` key of the :class:`~wsgi_authkit.Session` of the request.
SESSION_KEY: Final = "authkit.session"
#: ``environ`` key of the :class:`~wsgi_authkit.Auth` handle of the request.
AUTH_KEY: Final = "authkit"

# What may stand in the path of a URL unquoted: `pchar` and "/" of RFC 3986 3.3.
_PATH_SAFE: Final = "/:@!$&'()*+,;=~-._"
# In a query what is encoded already stays so, and browsers leave some more as it is.
_QUERY_SAFE: Final = _PATH_SAFE + "%?[]^`{|}"


def rewriting(
    start_response: StartResponse,
    rewrite: Callable[[str, list[Header]], tuple[str, list[Header]]],
) -> StartResponse:
    """Return a ``start_response`` that sends what ``rewrite(status, headers)`` returns.

    ``rewrite`` gets a copy of the headers, because the list is the app's: an app that
    keeps its headers in a module constant would otherwise hand the first visitor's
    cookie to the second. It runs at every call, because PEP 3333 lets an app replace
    its headers with a second call that carries ``exc_info``.
    """

    def wrapped(
        status: str,
        headers: list[Header],
        exc_info: ExcInfo | tuple[None, None, None] | None = None,
        /,
    ) -> Callable[[bytes], object]:
        status, headers = rewrite(status, list(headers))
        if exc_info is None:
            # Some servers and test clients take two arguments only.
            return start_response(status, headers)
        try:
            return start_response(status, headers, exc_info)
        finally:
            exc_info = None  # a traceback must not keep its own frame alive

    return wrapped


def add_headers(
    start_response: StartResponse,
    merge: Callable[[list[Header]], list[Header]],
) -> StartResponse:
    """Return :func:`rewriting` where only the headers change."""
    return rewriting(start_response, lambda status, headers: (status, merge(headers)))


def decode(value: str) -> str:
    """Return the text of an ``environ`` string.

    :raises UnicodeError: The bytes are not UTF-8, or the string is not one of bytes.
    """
    return value.encode("latin-1").decode("utf-8")


def quoted_path(environ: WSGIEnvironment) -> str:
    """Return the request's path as it stands in a URL, with ``SCRIPT_NAME``."""
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return quote(_octets(path), safe=_PATH_SAFE)


def path_and_query(environ: WSGIEnvironment) -> str:
    """Return the request's path and query as they stand in a URL.

    Not checked: a path of two slashes leads to another host when it becomes a
    ``Location``. :func:`~wsgi_authkit.paths.safe_return_path` decides about that.
    """
    # Servers pass on what browsers do not encode (a backslash) or what is not ASCII.
    query = quote(_octets(environ.get("QUERY_STRING", "")), safe=_QUERY_SAFE)
    path = quoted_path(environ) or "/"
    return f"{path}?{query}" if query else path


def _octets(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        # A server that does not keep to PEP 3333 has decoded it.
        return value.encode("utf-8", "replace")


def read_body(environ: WSGIEnvironment, limit: int) -> bytes | None:
    """Return the request's body, or ``None`` when it is longer than ``limit`` bytes.

    Without a valid ``CONTENT_LENGTH`` there is no body: reading on would block for
    ever on servers that do not end ``wsgi.input``.
    """
    length: Any = environ.get("CONTENT_LENGTH") or "0"
    if not (isinstance(length, str) and length.isascii() and length.isdecimal()):
        return b""
    if len(length) > 10 or int(length) > limit:
        return None
    chunks = []
    remaining = int(length)
    while remaining:
        chunk = environ["wsgi.input"].read(remaining)
        if not chunk:
            break
        chunks.append(chunk)
        remaining -= len(chunk)
    return b"".join(chunks)


def set_cookie_headers(values: Iterable[str]) -> list[Header]:
    """Return one ``Set-Cookie`` header for each value (RFC 6265 3: never folded)."""
    return [("Set-Cookie", value) for value in values]


def override_cookies(headers: list[Header], extra: list[Header]) -> list[Header]:
    """Return headers with further ones, whose cookies replace those of the same name.

    Both are ours. A browser would take the last of two cookies, and a response must
    not set one twice (RFC 6265 4.1.1).
    """
    names = {_cookie_name(header) for header in extra} - {None}
    kept = [header for header in headers if _cookie_name(header) not in names]
    return [*kept, *extra]


def _cookie_name(header: Header) -> str | None:
    is_cookie = header[0].lower() == "set-cookie"
    return header[1].partition("=")[0] if is_cookie else None
