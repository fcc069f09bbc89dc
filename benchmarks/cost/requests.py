"""A request in this process, as a server would make it of what a browser sends."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from benchmarks.cost.rounds import Run

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: What a browser's GET of a page has, without its cookies.
ENVIRON: Final[dict[str, Any]] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/reports/2026",
    "QUERY_STRING": "page=2",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "localhost:8000",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/145.0",
    "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "HTTP_ACCEPT_LANGUAGE": "en-GB,en;q=0.5",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate, br",
    "HTTP_CONNECTION": "keep-alive",
    "HTTP_SEC_FETCH_DEST": "document",
    "HTTP_SEC_FETCH_MODE": "navigate",
    "HTTP_SEC_FETCH_SITE": "same-origin",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}

_TYPE, _LENGTH = ("Content-Type", "text/plain"), ("Content-Length", "5")
_BODY: Final = [b"hello"]


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer as an app that does nothing."""
    # A new list: there is middleware that adds to it.
    start_response("200 OK", [_TYPE, _LENGTH])
    return _BODY


def identity(app: WSGIApplication) -> WSGIApplication:
    """Return what any middleware costs: it calls the app."""

    def wrapper(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return app(environ, start_response)

    return wrapper


def visit(app: WSGIApplication, header: bytes | None) -> WSGIEnvironment:
    """Make one request and return what the app has seen of it."""
    environ = dict(ENVIRON)
    if header is not None:
        environ["HTTP_COOKIE"] = header.decode("latin-1")
    for _ in app(environ, _start_response):
        pass
    return environ


def visits(app: WSGIApplication, headers: Sequence[bytes | None]) -> Run:
    """Return what makes requests and times them.

    Each has an environ and a ``Cookie`` text of its own, as it has in a server: the
    hash of a text that was used before is known, and a look-up by it would look ten
    times as cheap as it is.

    :param headers: The ``Cookie`` headers that take turns, for ever.
    """
    turns = cycle(headers)

    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            environ = ENVIRON.copy()
            header = next(turns)
            if header is not None:
                environ["HTTP_COOKIE"] = header.decode("latin-1")
            for _ in app(environ, _start_response):
                pass
        return (time.perf_counter() - start) / count * 1e6

    return run


def _start_response(
    status: str, headers: list[tuple[str, str]], exc_info: Any = None
) -> Any:
    """Take the headers, and return no ``write`` that anybody uses."""
