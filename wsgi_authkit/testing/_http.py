"""Requests and responses as the fake's endpoints see them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

Header = tuple[str, str]

#: ``environ`` key of the callable with which a transport lets time pass.
WAIT_KEY: Final = "wsgi_authkit.testing.wait"

#: Lets some seconds pass, or raises what the client's timeout makes of them.
Wait = Callable[[float], None]

_BODY_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What arrived, decoded."""

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    #: Header values by lower-case name.
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    scheme: str = "http"

    @classmethod
    def from_environ(cls, environ: WSGIEnvironment) -> Request:
        """Return the request of a WSGI ``environ``, its body read."""
        return cls(
            method=environ["REQUEST_METHOD"],
            path=_text(environ.get("PATH_INFO", "")) or "/",
            query=tuple(
                parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
            ),
            headers=_headers(environ),
            body=_body(environ),
            scheme=environ["wsgi.url_scheme"],
        )

    @property
    def content_type(self) -> str:
        """The media type of the body, without parameters."""
        value = self.headers.get("content-type", "")
        return value.partition(";")[0].strip().lower()

    @property
    def bearer(self) -> str | None:
        """The bearer token, ``None`` without an ``Authorization`` header."""
        value = self.headers.get("authorization")
        return None if value is None else value.removeprefix("Bearer ")

    def cookie(self, name: str) -> str | None:
        """Return the first cookie of this name."""
        for pair in self.headers.get("cookie", "").split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name:
                return value
        return None

    def form(self) -> dict[str, str]:
        """Return the fields of a urlencoded body; the last of equal names wins."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), True))

    def fields(self) -> dict[str, Any]:
        """Return the fields of a JSON or urlencoded body.

        :raises ValueError: The body is neither.
        """
        if self.content_type == "application/x-www-form-urlencoded":
            return self.form()
        data = json.loads(self.body or b"null")
        if not isinstance(data, dict):
            raise ValueError("the body is not a JSON object")  # noqa: TRY004
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What goes back."""

    status: int
    headers: Sequence[Header] = ()
    body: Iterable[bytes] = ()

    @property
    def status_line(self) -> str:
        """The status with its phrase, as ``start_response`` wants it."""
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return f"{self.status} Unknown"


class Refusal(Exception):
    """Ends the handling of a request with an error response."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def response(
    status: int, content: bytes, media_type: str, headers: Iterable[Header] = ()
) -> Response:
    """Return a response whose whole body is known."""
    extra = [*headers, ("Content-Length", str(len(content)))]
    if status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        return Response(status=status, headers=tuple(headers))
    return Response(
        status=status, headers=(("Content-Type", media_type), *extra), body=[content]
    )


def json_response(
    status: int, data: object, headers: Iterable[Header] = ()
) -> Response:
    """Return ``data`` as JSON."""
    content = json.dumps(data).encode()
    return response(status, content, "application/json; charset=utf-8", headers)


def html_response(status: int, page: str, headers: Iterable[Header] = ()) -> Response:
    """Return an HTML page that may load nothing and be framed by nobody."""
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    security = (
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
    )
    content = page.encode()
    return response(status, content, "text/html; charset=utf-8", (*security, *headers))


def redirect(location: str, headers: Iterable[Header] = ()) -> Response:
    """Return a 302 to ``location``."""
    extra = (("Location", location), ("Cache-Control", "no-store"), *headers)
    return response(302, b"", "text/plain; charset=utf-8", extra)


def oauth_error(error: str, description: str, **extra: object) -> Refusal:
    """Return the OAuth envelope: standard grants and malformed requests."""
    body = {"error": error, "error_description": description, **extra}
    return Refusal(json_response(400, body))


def api_error(status: int, code: str, message: str, **extra: object) -> Refusal:
    """Return the API envelope: ``urn:workos:*`` grants and step-ups."""
    return Refusal(json_response(status, {"code": code, "message": message, **extra}))


def message_error(status: int, message: str) -> Refusal:
    """Return the bare envelope."""
    return Refusal(json_response(status, {"message": message}))


def _text(value: str) -> str:
    return value.encode("latin-1").decode("utf-8", "replace")


def _headers(environ: WSGIEnvironment) -> dict[str, str]:
    headers = {
        key[5:].replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            headers[key.replace("_", "-").lower()] = environ[key]
    return headers


def _body(environ: WSGIEnvironment) -> bytes:
    length = str(environ.get("CONTENT_LENGTH") or "0")
    if not (length.isascii() and length.isdecimal()):
        return b""
    remaining = min(int(length), _BODY_LIMIT)
    chunks: list[bytes] = []
    while remaining and (chunk := environ["wsgi.input"].read(remaining)):
        chunks.append(chunk)
        remaining -= len(chunk)
    return b"".join(chunks)
