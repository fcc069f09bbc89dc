"""The PEP 3333 helpers of ``wsgi_authkit._wsgi``."""

from __future__ import annotations

import contextlib
import gc
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.gateway import environ, run
from wsgi_authkit._wsgi import (
    Header,
    add_headers,
    decode,
    path_and_query,
    quoted_path,
    read_body,
    set_cookie_headers,
)

if TYPE_CHECKING:
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType]
    OptExcInfo = ExcInfo | tuple[None, None, None]

COOKIE: Header = ("Set-Cookie", "a=1")
TEXT: Header = ("Content-Type", "text/plain")


class Server:
    """A server's ``start_response`` that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *args: Any) -> Callable[[bytes], object]:
        self.calls.append(args)
        return self.write

    def write(self, block: bytes) -> None: ...


def with_cookie(headers: list[Header]) -> list[Header]:
    return [*headers, COOKIE]


def append_cookie(headers: list[Header]) -> list[Header]:
    headers.append(COOKIE)
    return headers


def cookie_middleware(app: WSGIApplication) -> WSGIApplication:
    def middleware(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return app(environ, add_headers(start_response, append_cookie))

    return middleware


def fail() -> NoReturn:
    raise LookupError("the first response failed")


def raised() -> OptExcInfo:
    try:
        fail()
    except LookupError:
        return sys.exc_info()


def test_added_headers_follow_those_of_the_app() -> None:
    server = Server()

    add_headers(server, with_cookie)("200 OK", [TEXT])

    assert server.calls == [("200 OK", [TEXT, COOKIE])]


def test_list_of_the_app_is_never_changed() -> None:
    """An app may keep its headers in a constant: the next visitor would get ours."""
    constant = [TEXT]

    add_headers(Server(), append_cookie)("200 OK", constant)

    assert constant == [TEXT]


def test_list_of_the_app_survives_a_server_that_empties_it() -> None:
    constant = [TEXT]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", constant)
        return [b""]

    answers = [run(cookie_middleware(app), environ()) for _ in range(2)]

    assert [answer.headers for answer in answers] == [[TEXT, COOKIE]] * 2


def test_server_gets_two_arguments_without_exc_info() -> None:
    """Some servers and test clients take no third argument."""
    server = Server()
    start_response = add_headers(server, with_cookie)

    start_response("200 OK", [])
    start_response("200 OK", [], None)

    assert [len(call) for call in server.calls] == [2, 2]


def test_server_gets_the_exc_info_of_the_app() -> None:
    server = Server()
    exc_info = raised()

    add_headers(server, with_cookie)("500 Oops", [], exc_info)

    assert server.calls == [("500 Oops", [COOKIE], exc_info)]


def test_second_call_with_exc_info_carries_the_headers_again() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        start_response("500 Oops", [TEXT], raised())
        return [b"sorry"]

    response = run(cookie_middleware(app), environ())

    assert response.status == 500
    assert response.headers == [TEXT, COOKIE]


def test_exc_info_after_the_headers_is_raised_by_the_server() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        yield b"half"
        start_response("500 Oops", [TEXT], raised())

    with pytest.raises(LookupError, match="the first response failed"):
        run(cookie_middleware(app), environ())


def test_write_of_the_server_is_handed_to_the_app() -> None:
    server = Server()

    assert add_headers(server, with_cookie)("200 OK", []) == server.write


def test_arguments_are_positional_only() -> None:
    start_response: Any = add_headers(Server(), with_cookie)

    with pytest.raises(TypeError, match="positional-only"):
        start_response(status="200 OK", headers=[])


def test_traceback_does_not_keep_its_own_frames_alive() -> None:
    """A cycle would hold every object of the failed request until the next GC run."""

    def reraise(
        status: str, headers: list[Header], exc_info: Any = None, /
    ) -> NoReturn:
        try:
            raise exc_info[1].with_traceback(exc_info[2])
        finally:
            exc_info = None

    def failing_request() -> weakref.ref[Server]:
        held = Server()
        with contextlib.suppress(LookupError):
            answer_error(held, add_headers(reraise, with_cookie))
        return weakref.ref(held)

    def answer_error(held: Server, start_response: StartResponse) -> None:
        try:
            fail()
        except LookupError:
            start_response("500 Oops", [], sys.exc_info())

    gc.disable()
    try:
        reference = failing_request()
        is_alive = reference() is not None
    finally:
        gc.enable()

    assert not is_alive


def test_each_cookie_is_a_header_of_its_own() -> None:
    headers = set_cookie_headers(["a=1; Path=/", "b=2"])

    assert headers == [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("/plain", "/plain", id="ascii"),
        pytest.param("/\xc3\xa4", "/ä", id="two bytes"),
        pytest.param("\xe2\x82\xac", "€", id="three bytes"),
        pytest.param("", "", id="empty"),
    ],
)
def test_environ_string_is_decoded_as_utf8(value: str, text: str) -> None:
    assert decode(value) == text


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("/\xff", id="no such byte"),
        pytest.param("/\xc3", id="cut off"),
        pytest.param("/\xc0\xaf", id="overlong slash"),
        pytest.param("/\xed\xa0\x80", id="surrogate"),
    ],
)
def test_bytes_that_are_not_utf8_are_refused(value: str) -> None:
    with pytest.raises(UnicodeDecodeError):
        decode(value)


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        pytest.param("/a/b", "/a/b", id="plain"),
        pytest.param("/ä", "/%C3%A4", id="utf-8"),
        pytest.param("/a b", "/a%20b", id="space"),
        pytest.param("/a?b", "/a%3Fb", id="question mark"),
        pytest.param("/a#b", "/a%23b", id="hash"),
        pytest.param("/100%", "/100%25", id="percent"),
        pytest.param("/\\host", "/%5Chost", id="backslash"),
        pytest.param("/a\r\nb", "/a%0D%0Ab", id="line end"),
        pytest.param("/a;v=1:@!$&'()*+,=~-._", "/a;v=1:@!$&'()*+,=~-._", id="pchar"),
    ],
)
def test_path_is_quoted_as_in_a_url(path: str, quoted: str) -> None:
    assert quoted_path(environ(path=path)) == quoted


def test_quoted_path_keeps_bytes_that_are_not_utf8() -> None:
    assert quoted_path(environ(PATH_INFO="/\xff")) == "/%FF"


@pytest.mark.parametrize(
    ("text", "quoted"),
    [("/\u0430", "/%D0%B0"), ("/\xe4\u0430\ud800", "/%C3%A4%D0%B0%3F")],
)
def test_text_that_a_server_has_decoded_is_quoted_as_utf8(
    text: str, quoted: str
) -> None:
    assert quoted_path({"PATH_INFO": text}) == quoted


def test_quoted_path_begins_with_the_mount_point() -> None:
    assert quoted_path(environ(path="/in", script_name="/åpp")) == "/%C3%A5pp/in"


@pytest.mark.parametrize(
    ("request_environ", "expected"),
    [
        pytest.param(environ(path="/a"), "/a", id="no query"),
        pytest.param(environ(path="/a", query="b=c%20d"), "/a?b=c%20d", id="query"),
        pytest.param(environ(path="", script_name="/app"), "/app", id="mount point"),
        pytest.param(environ(path="", query="x"), "/?x", id="empty path"),
        pytest.param({"QUERY_STRING": "a=\u0430"}, "/?a=%D0%B0", id="decoded query"),
        pytest.param({}, "/", id="nothing at all"),
    ],
)
def test_path_and_query_are_those_of_the_request(
    request_environ: WSGIEnvironment, expected: str
) -> None:
    assert path_and_query(request_environ) == expected


class Socket:
    """A ``wsgi.input`` that would block for ever after the body."""

    def __init__(self, body: bytes, *, largest_read: int = 1 << 20) -> None:
        self._body = BytesIO(body)
        self._left = len(body)
        self._largest_read = largest_read

    def read(self, size: int, /) -> bytes:
        if size < 0 or not self._left:
            raise AssertionError("this read would never return")
        chunk = self._body.read(min(size, self._largest_read))
        self._left -= len(chunk)
        return chunk


def body_environ(length: object, source: object) -> WSGIEnvironment:
    return {"CONTENT_LENGTH": length, "wsgi.input": source}


def test_body_is_read_up_to_its_length() -> None:
    assert read_body(body_environ("5", Socket(b"hello")), 100) == b"hello"


def test_body_stops_at_its_length() -> None:
    """What follows on a kept-alive connection is the next request."""
    assert read_body(body_environ("5", Socket(b"helloGET /")), 100) == b"hello"


def test_body_is_put_together_from_short_reads() -> None:
    source = Socket(b"hello world", largest_read=3)

    assert read_body(body_environ("11", source), 100) == b"hello world"


def test_body_as_long_as_the_limit_is_read() -> None:
    assert read_body(body_environ("5", Socket(b"hello")), 5) == b"hello"


@pytest.mark.parametrize(
    "length",
    [
        pytest.param("6", id="one more"),
        pytest.param("99999999999999999999", id="huge"),
        pytest.param("9" * 5000, id="too long for int()"),
    ],
)
def test_body_over_the_limit_is_not_read(length: str) -> None:
    assert read_body(body_environ(length, Socket(b"")), 5) is None


def test_body_that_breaks_off_is_what_came() -> None:
    assert read_body(body_environ("10", BytesIO(b"half")), 100) == b"half"


@pytest.mark.parametrize(
    "length",
    [
        pytest.param("", id="empty"),
        pytest.param("0", id="zero"),
        pytest.param("-1", id="negative"),
        pytest.param("+5", id="plus sign"),
        pytest.param("5, 5", id="twice"),
        pytest.param("1_0", id="underscore"),
        pytest.param("five", id="word"),
        pytest.param(" 5", id="space"),
        pytest.param("\xb2", id="superscript"),
        pytest.param("\u0665", id="arabic digit"),
        pytest.param(None, id="none"),
        pytest.param(5, id="not a string"),
    ],
)
def test_body_without_a_valid_length_is_empty(length: object) -> None:
    assert read_body(body_environ(length, Socket(b"")), 100) == b""


def test_body_without_a_length_is_empty() -> None:
    assert read_body({"wsgi.input": Socket(b"")}, 100) == b""
