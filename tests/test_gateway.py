"""The tools of the tests: each fault that they must see, they see."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway import (
    CROSS_SITE_ORIGIN,
    Client,
    CookieJar,
    Fault,
    RequestOptions,
    Response,
    checked,
    environ,
    run,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

TEXT = ("Content-Type", "text/plain")


def answer(
    *headers: Any, status: Any = "200 OK", blocks: Iterable[Any] = (b"ok",)
) -> WSGIApplication:
    """Return an app that sends this, with a ``Content-Type`` where one belongs."""
    implied = [] if str(status)[:3] in ("204", "304") else [TEXT]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, [*implied, *headers])
        return blocks

    return app


class Body:
    """An iterable that counts ``close()``, and fails after its blocks if told to."""

    def __init__(self, *blocks: bytes, error: Exception | None = None) -> None:
        self.blocks = blocks
        self.error = error
        self.closes = 0

    def __iter__(self) -> Iterator[bytes]:
        yield from self.blocks
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closes += 1


def test_response_is_what_the_app_sent() -> None:
    app = answer(("X-A", "1"), status="201 Made it", blocks=[b"one", b"", b"two"])

    response = run(app, environ())

    assert (response.status, response.reason) == (201, "Made it")
    assert response.headers == [TEXT, ("X-A", "1")]
    assert response.blocks == [b"one", b"", b"two"]
    assert response.body == b"onetwo"


def test_generator_app_may_start_the_response_late() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        yield b"late"

    assert run(app, environ()).body == b"late"


def test_written_blocks_come_before_the_iterable() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [TEXT])
        write(b"first ")
        write(b"second ")
        return [b"last"]

    assert run(app, environ()).text == "first second last"


def test_list_of_headers_is_emptied_once_it_was_handed_over() -> None:
    headers = [TEXT]

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return [b""]

    response = run(app, environ())

    assert headers == []
    assert response.headers == [TEXT]


def test_second_call_with_exc_info_replaces_the_first() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT, ("X-A", "1")])
        try:
            int("x")
        except ValueError:
            start_response("500 Oops", [TEXT], sys.exc_info())
        return [b"sorry"]

    response = run(app, environ())

    assert response.status == 500
    assert response.headers == [TEXT]


@pytest.mark.parametrize("use_write", [False, True], ids=["iterable", "write"])
def test_exc_info_after_the_first_block_is_raised(use_write: bool) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [TEXT])
        if use_write:
            write(b"half")
            return restart(start_response)
        return (
            block for part in ([b"half"], restart(start_response)) for block in part
        )

    def restart(start_response: StartResponse) -> Iterator[bytes]:
        try:
            int("x")
        except ValueError:
            start_response("500 Oops", [TEXT], sys.exc_info())
        yield b""

    with pytest.raises(ValueError, match="invalid literal"):
        run(app, environ())


def test_exc_info_after_an_empty_block_is_not_raised() -> None:
    """PEP 3333: headers leave with the first block that is not empty."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        yield b""
        try:
            int("x")
        except ValueError:
            start_response("500 Oops", [TEXT], sys.exc_info())
        yield b"sorry"

    assert run(app, environ()).status == 500


def test_body_is_closed_once() -> None:
    body = Body(b"ok")

    run(answer(blocks=body), environ())

    assert body.closes == 1


def test_body_is_closed_once_after_an_error_in_the_stream() -> None:
    body = Body(b"half", error=OSError("disk"))

    with pytest.raises(OSError, match="disk"):
        run(answer(blocks=body), environ())

    assert body.closes == 1


def test_error_of_the_app_passes_through() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise LookupError("of the app")

    with pytest.raises(LookupError, match="of the app"):
        run(app, environ())


@pytest.mark.parametrize(
    "app",
    [
        pytest.param(answer(status="200"), id="no space"),
        pytest.param(answer(status="200 OK\r\nX: 1"), id="line end"),
        pytest.param(answer(status="200 €"), id="not latin-1"),
        pytest.param(answer(status="OK"), id="no number"),
        pytest.param(answer(status="099 Low"), id="too low"),
        pytest.param(answer(status=200), id="number"),
        pytest.param(answer(status=b"200 OK"), id="bytes"),
    ],
)
@pytest.mark.filterwarnings("ignore::wsgiref.validate.WSGIWarning")
def test_malformed_status_is_refused(app: WSGIApplication) -> None:
    with pytest.raises((AssertionError, ValueError)):
        run(app, environ())


class Text(str):
    """A ``str`` that is not a native one."""

    __slots__ = ()


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(("X-A", "a\r\nSet-Cookie: b=1"), id="CR LF"),
        pytest.param(("X-A", "a\nb"), id="LF"),
        pytest.param(("X-A", "a\rb"), id="CR"),
        pytest.param(("X-A", "a\0b"), id="NUL"),
        pytest.param(("X-A", "a\x7fb"), id="DEL"),
        pytest.param(("X-A", "€"), id="not latin-1"),
        pytest.param(("X-A", b"a"), id="bytes"),
        pytest.param(("X-A", 1), id="number"),
        pytest.param(("X-A", None), id="none"),
        pytest.param(("X-A", Text("a")), id="subclass of str"),
        pytest.param(("X-Ä", "a"), id="name not ascii"),
        pytest.param(("X:A", "a"), id="colon in the name"),
        pytest.param((b"X-A", "a"), id="name in bytes"),
        pytest.param(["X-A", "a"], id="list for a tuple"),
        pytest.param(("X-A", "a", "b"), id="three of a tuple"),
        pytest.param(("Status", "200"), id="status as a header"),
        pytest.param(("Connection", "close"), id="Connection"),
        pytest.param(("keep-alive", "timeout=5"), id="Keep-Alive"),
        pytest.param(("Transfer-Encoding", "chunked"), id="Transfer-Encoding"),
        pytest.param(("Upgrade", "h2c"), id="Upgrade"),
        pytest.param(("TE", "trailers"), id="TE"),
        pytest.param(("Trailer", "X-A"), id="Trailer"),
        pytest.param(("Proxy-Authenticate", "Basic"), id="Proxy-Authenticate"),
    ],
)
def test_malformed_header_is_refused(header: Any) -> None:
    with pytest.raises(AssertionError):
        run(answer(header), environ())


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((TEXT,), id="tuple"),
        pytest.param({"Content-Type": "text/plain"}, id="dict"),
        pytest.param(iter([TEXT]), id="iterator"),
        pytest.param(None, id="none"),
    ],
)
def test_headers_that_are_no_list_are_refused(headers: Any) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return [b""]

    with pytest.raises(AssertionError, match="must be of type list"):
        run(app, environ())


def test_keyword_arguments_are_refused() -> None:
    def app(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [TEXT], exc_info=None)
        return [b""]

    with pytest.raises(AssertionError, match="No keyword arguments"):
        run(app, environ())


def test_second_call_without_exc_info_is_refused() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        start_response("500 Oops", [TEXT])
        return [b""]

    with pytest.raises(Fault, match="again without exc_info"):
        run(app, environ())


def test_exc_info_without_an_error_is_refused() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT], (None, None, None))
        return [b""]

    with pytest.raises(Fault, match="exc_info is empty"):
        run(app, environ())


def test_fault_that_the_app_swallows_is_raised_at_the_end() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        try:
            start_response("500 Oops", [TEXT])
        except AssertionError:
            return [b"nothing happened"]
        return [b""]

    with pytest.raises(Fault, match="again without exc_info"):
        run(app, environ())


@pytest.mark.parametrize("use_write", [False, True], ids=["iterable", "write"])
@pytest.mark.parametrize(
    ("method", "status"),
    [
        pytest.param("HEAD", "200 OK", id="HEAD"),
        pytest.param("GET", "204 No Content", id="204"),
        pytest.param("GET", "304 Not Modified", id="304"),
    ],
)
def test_body_where_none_belongs_is_refused(
    method: str, status: str, use_write: bool
) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response(status, [TEXT] if status == "200 OK" else [])
        if use_write:
            write(b"body")
            return []
        return [b"body"]

    with pytest.raises(Fault, match="has a body"):
        run(app, environ(method))


def test_head_may_declare_the_length_of_the_body_it_leaves_out() -> None:
    app = answer(("Content-Length", "5"), blocks=[b""])

    assert run(app, environ("HEAD")).body == b""


def test_right_content_length_is_accepted() -> None:
    assert run(answer(("Content-Length", "2")), environ()).text == "ok"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("Content-Length", "1")], id="too short"),
        pytest.param([("Content-Length", "3")], id="too long"),
        pytest.param([("Content-Length", "two")], id="no number"),
        pytest.param([("Content-Length", "2")] * 2, id="twice"),
    ],
)
def test_wrong_content_length_is_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(Fault, match="Content-Length"):
        run(answer(*headers), environ())


def test_body_without_start_response_is_refused() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return [b"ok"]

    with pytest.raises(AssertionError, match="start_response has not yet been called"):
        run(app, environ())


def test_no_body_and_no_start_response_is_refused() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return []

    with pytest.raises(Fault, match="start_response was not called"):
        run(app, environ())


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(b"ok", id="bytes for an iterable"),
        pytest.param("ok", id="str for an iterable"),
        pytest.param(None, id="none"),
        pytest.param(["ok"], id="str in the iterable"),
        pytest.param([bytearray(b"ok")], id="bytearray in the iterable"),
    ],
)
def test_malformed_body_is_refused(blocks: Any) -> None:
    with pytest.raises(AssertionError):
        run(answer(blocks=blocks), environ())


def test_write_inside_the_iterable_is_refused() -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        write = start_response("200 OK", [TEXT])
        write(b"mixed ")
        yield b"up"

    with pytest.raises(Fault, match="while the iterable was read"):
        run(app, environ())


def test_input_that_is_read_without_a_size_is_refused() -> None:
    """``read()`` would block where the connection is kept alive."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        return []

    with pytest.raises(AssertionError):
        run(app, environ())


def drain(app: WSGIApplication) -> WSGIApplication:
    """Return a broken middleware: it reads the app's body and forgets ``close()``."""

    def middleware(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return [b"".join(app(environ, start_response))]

    return middleware


def close_too(app: WSGIApplication) -> WSGIApplication:
    """Return a broken middleware: it closes what the server is going to close."""

    def middleware(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        body: Any = app(environ, start_response)
        body.close()
        return body  # type: ignore[no-any-return]

    return middleware


def pass_through(app: WSGIApplication) -> WSGIApplication:
    def middleware(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        return app(environ, start_response)

    return middleware


def test_middleware_that_passes_the_body_through_is_good() -> None:
    body = Body(b"ok")

    response = run(pass_through(checked(answer(blocks=body))), environ())

    assert response.body == b"ok"
    assert body.closes == 1


@pytest.mark.parametrize(
    ("middleware", "blocks"),
    [
        pytest.param(drain, Body(b"ok"), id="never"),
        pytest.param(drain, Body(b"ok", error=OSError()), id="never, after an error"),
        pytest.param(close_too, Body(), id="twice"),
    ],
)
def test_middleware_that_does_not_close_the_body_once_is_refused(
    middleware: Callable[[WSGIApplication], WSGIApplication], blocks: Body
) -> None:
    with pytest.raises(Fault, match=r"close\(\) was not called once"):
        run(middleware(checked(answer(blocks=blocks))), environ())


def test_middleware_that_calls_the_app_wrongly_is_refused() -> None:
    def middleware(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        app: Any = checked(answer())
        return app(environ, start_response=start_response)  # type: ignore[no-any-return]

    with pytest.raises(TypeError, match="positional-only"):
        run(middleware, environ())


def test_text_of_a_path_becomes_bytes_in_disguise() -> None:
    result = environ(path="/ä", script_name="/åpp")

    assert result["PATH_INFO"] == "/\xc3\xa4"
    assert result["SCRIPT_NAME"] == "/\xc3\xa5pp"


def test_extra_entries_win_as_they_are() -> None:
    result = environ(path="/a", PATH_INFO="/\xff", REMOTE_USER="ada")

    assert result["PATH_INFO"] == "/\xff"
    assert result["REMOTE_USER"] == "ada"


def test_headers_get_their_environ_keys() -> None:
    headers = {"X-A": "1", "content-type": "text/plain", "Content-Length": "7"}
    result = environ(headers=headers, cookies={"a": "1", "b": "2"})

    assert result["HTTP_X_A"] == "1"
    assert result["CONTENT_TYPE"] == "text/plain"
    assert result["CONTENT_LENGTH"] == "7"
    assert result["HTTP_COOKIE"] == "a=1; b=2"


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        pytest.param("GET", b"", None, id="GET"),
        pytest.param("POST", b"", "0", id="empty POST"),
        pytest.param("POST", b"four", "4", id="POST"),
    ],
)
def test_length_of_the_body_is_declared(
    method: str, body: bytes, length: str | None
) -> None:
    assert environ(method, body=body).get("CONTENT_LENGTH") == length


@pytest.mark.parametrize(
    ("scheme", "host", "server"),
    [
        pytest.param("http", "localhost:8000", ("localhost", "8000"), id="port"),
        pytest.param("http", "app.example", ("app.example", "80"), id="http"),
        pytest.param("https", "app.example", ("app.example", "443"), id="https"),
        pytest.param("http", "[::1]:8000", ("::1", "8000"), id="IPv6"),
    ],
)
def test_server_is_named_by_the_host(
    scheme: str, host: str, server: tuple[str, str]
) -> None:
    result = environ(scheme=scheme, host=host)

    assert (result["SERVER_NAME"], result["SERVER_PORT"]) == server


def sent(*headers: tuple[str, str], blocks: Iterable[bytes] = ()) -> Response:
    return Response(status=200, reason="OK", headers=[*headers], blocks=[*blocks])


def test_header_is_found_whatever_its_case() -> None:
    assert sent(("content-TYPE", "text/plain")).header("Content-Type") == "text/plain"


def test_header_that_is_missing_is_none() -> None:
    assert sent().header("Location") is None


def test_header_that_stands_twice_is_a_fault() -> None:
    """Which of two ``Location`` headers wins is the browser's secret."""
    response = sent(("Location", "/a"), ("location", "/b"))

    with pytest.raises(Fault, match="2 times"):
        response.header("Location")


def test_every_cookie_of_a_response_is_listed() -> None:
    response = sent(("Set-Cookie", "a=1"), TEXT, ("set-cookie", "b=2"))

    assert response.set_cookies == ["a=1", "b=2"]


def test_body_is_read_as_json_and_as_text() -> None:
    response = sent(blocks=[b'{"a": "', "ä".encode(), b'"}'])

    assert response.json() == {"a": "ä"}
    assert response.text == '{"a": "ä"}'


class Clock:
    """Time that stands still until it is set."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


SECURE_SITE = "https://app.example/auth/callback"
PLAIN_SITE = "http://app.example/auth/callback"
LOCAL_SITE = "http://localhost:8000/auth/callback"


def jar_with(url: str, *headers: str, clock: Clock | None = None) -> CookieJar:
    jar = CookieJar(clock=clock or Clock())
    for header in headers:
        jar.store(url, header)
    return jar


@pytest.mark.parametrize(
    ("header", "url", "is_sent"),
    [
        pytest.param("a=1; Path=/", "https://app.example/", True, id="root"),
        pytest.param("a=1", "https://app.example/auth/x", True, id="default path"),
        pytest.param("a=1", "https://app.example/", False, id="above default path"),
        pytest.param("a=1; Path=x", "https://app.example/", False, id="bad path"),
        pytest.param(
            "a=1; Path=/auth", "https://app.example/auth", True, id="same path"
        ),
        pytest.param(
            "a=1; Path=/auth", "https://app.example/authz", False, id="prefix"
        ),
        pytest.param("a=1; Path=/x/", "https://app.example/x", False, id="slash"),
        pytest.param("a=1; Path=/", "https://www.app.example/", False, id="host only"),
        pytest.param("a=1; Path=/", "https://app.example:8/", True, id="any port"),
        pytest.param(
            "a=1; Path=/; Domain=.App.example",
            "https://x.app.example/",
            True,
            id="domain",
        ),
        pytest.param(
            "a=1; Path=/; Domain=app.example",
            "https://badapp.example/",
            False,
            id="suffix",
        ),
        pytest.param(
            "a=1; Path=/; Secure", "http://app.example/", False, id="secure over http"
        ),
        pytest.param("a=1; Path=/", "http://app.example/", True, id="not secure"),
    ],
)
def test_cookie_is_sent_where_it_belongs(header: str, url: str, is_sent: bool) -> None:
    assert bool(jar_with(SECURE_SITE, header).header(url)) is is_sent


@pytest.mark.parametrize(
    ("url", "header"),
    [
        pytest.param(PLAIN_SITE, "a=1; Secure", id="secure from http"),
        pytest.param(SECURE_SITE, "a=1; Domain=other.example", id="foreign domain"),
        pytest.param(SECURE_SITE, "a=1; Domain=x.app.example", id="subdomain"),
        pytest.param(SECURE_SITE, "a=1; Domain=example", id="public suffix"),
        pytest.param("http://127.0.0.1/", "a=1; Domain=0.0.1", id="part of an address"),
        pytest.param(SECURE_SITE, "a=1; SameSite=None", id="none without secure"),
        pytest.param(SECURE_SITE, "__Host-a=1; Path=/", id="host prefix, not secure"),
        pytest.param(SECURE_SITE, "__Host-a=1; Secure", id="host prefix, other path"),
        pytest.param(
            SECURE_SITE,
            "__Host-a=1; Secure; Path=/; Domain=app.example",
            id="host prefix, domain",
        ),
        pytest.param(SECURE_SITE, "__secure-a=1", id="secure prefix, not secure"),
        pytest.param(SECURE_SITE, "a", id="no equals sign"),
        pytest.param(SECURE_SITE, "=1", id="no name"),
        pytest.param(SECURE_SITE, "a=1; Max-Age=0", id="deleted"),
        pytest.param(SECURE_SITE, "a=" + "x" * 4096, id="4097 bytes"),
        pytest.param(
            SECURE_SITE, "a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", id="expired"
        ),
    ],
)
def test_cookie_that_browsers_drop_is_dropped(url: str, header: str) -> None:
    assert not list(jar_with(url, header))


@pytest.mark.parametrize(
    ("url", "header"),
    [
        pytest.param(LOCAL_SITE, "a=1; Secure; Path=/", id="secure on localhost"),
        pytest.param("http://127.0.0.1:5000/", "a=1; Secure; Path=/", id="loopback"),
        pytest.param("http://app.localhost/", "a=1; Secure; Path=/", id="*.localhost"),
        pytest.param(SECURE_SITE, "__Host-a=1; Secure; Path=/", id="host prefix"),
        pytest.param(SECURE_SITE, "a=1; Path=/; SameSite=None; Secure", id="none"),
        pytest.param(SECURE_SITE, "a=" + "x" * 4095 + "; Path=/", id="4096 bytes"),
        pytest.param(SECURE_SITE, "a=1; Path=/; Expires=never", id="unreadable date"),
        pytest.param(
            SECURE_SITE,
            "a=1; Path=/; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            id="max-age over expires",
        ),
    ],
)
def test_cookie_that_browsers_keep_is_kept(url: str, header: str) -> None:
    assert jar_with(url, header).header(url)


def test_cookie_lives_as_long_as_its_max_age() -> None:
    clock = Clock()
    jar = jar_with(SECURE_SITE, "a=1; Path=/; Max-Age=60", clock=clock)

    clock.now += 59
    before = jar.header(SECURE_SITE)
    clock.now += 1

    assert (before, jar.header(SECURE_SITE)) == ("a=1", "")


def test_cookie_is_forgotten_after_400_days() -> None:
    clock = Clock()
    jar = jar_with(SECURE_SITE, "a=1; Path=/; Max-Age=99999999", clock=clock)

    clock.now += 400 * 86400

    assert jar.get("a") is None


def test_cookie_is_replaced_by_one_of_the_same_path_and_domain() -> None:
    jar = jar_with(SECURE_SITE, "a=1; Path=/", "a=2; Path=/", "a=3; Path=/auth")

    assert jar.header(SECURE_SITE) == "a=3; a=2"


def test_deletion_with_another_path_deletes_nothing() -> None:
    jar = jar_with(SECURE_SITE, "a=1; Path=/", "a=; Path=/auth; Max-Age=0")

    assert jar.header(SECURE_SITE) == "a=1"


def test_deletion_with_a_domain_leaves_the_host_only_cookie() -> None:
    jar = jar_with(
        SECURE_SITE, "a=1; Path=/", "a=; Path=/; Domain=app.example; Max-Age=0"
    )

    assert jar.header(SECURE_SITE) == "a=1"


def test_longer_paths_are_sent_first_then_older_cookies() -> None:
    jar = jar_with(SECURE_SITE, "old=1; Path=/", "deep=1; Path=/auth", "new=1; Path=/")
    jar.store(SECURE_SITE, "old=2; Path=/")

    assert jar.header(SECURE_SITE) == "deep=1; old=2; new=1"


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("a=evil; Path=/", id="same cookie"),
        pytest.param("a=evil; Path=/auth", id="deeper path"),
        pytest.param("a=; Path=/; Max-Age=0", id="deletion"),
    ],
)
def test_page_without_tls_cannot_shadow_a_secure_cookie(header: str) -> None:
    jar = jar_with(SECURE_SITE, "a=1; Path=/; Secure")

    jar.store(PLAIN_SITE, header)

    assert jar.header(SECURE_SITE) == "a=1"


def test_scripts_do_not_see_http_only_cookies() -> None:
    jar = jar_with(SECURE_SITE, "a=1; Path=/; HttpOnly", "b=2; Path=/")

    assert jar.script_cookies(SECURE_SITE) == "b=2"
    assert jar.header(SECURE_SITE) == "a=1; b=2"


SAME_SITE_COOKIES = (
    "strict=1; Path=/; SameSite=Strict",
    "lax=1; Path=/; SameSite=Lax",
    "none=1; Path=/; SameSite=None; Secure",
    "unset=1; Path=/",
)


@pytest.mark.parametrize(
    ("options", "method", "names"),
    [
        pytest.param({}, "GET", {"strict", "lax", "none", "unset"}, id="own page"),
        pytest.param({}, "POST", {"strict", "lax", "none", "unset"}, id="own form"),
        pytest.param(
            {"cross_site": True}, "GET", {"lax", "none", "unset"}, id="foreign link"
        ),
        pytest.param({"cross_site": True}, "POST", {"none"}, id="foreign form"),
        pytest.param(
            {"cross_site": True, "fetch": True}, "GET", {"none"}, id="foreign fetch"
        ),
        pytest.param(
            {"fetch": True}, "GET", {"strict", "lax", "none", "unset"}, id="own fetch"
        ),
    ],
)
def test_same_site_decides_what_another_site_sends(
    options: RequestOptions, method: str, names: set[str]
) -> None:
    client = Client(echo, base="https://app.example")
    for header in SAME_SITE_COOKIES:
        client.jar.store("https://app.example/", header)

    request = client.request(method, "/", **options).json()

    cookies = request.get("HTTP_COOKIE", "").split("; ")
    assert {cookie.partition("=")[0] for cookie in cookies} == names


def test_answer_to_a_foreign_fetch_sets_cookies_for_any_site_only() -> None:
    headers = [("Set-Cookie", value) for value in SAME_SITE_COOKIES]
    client = Client(answer(*headers), base="https://app.example")

    client.get("/", fetch=True, cross_site=True)

    assert [cookie.name for cookie in client.jar] == ["none"]


def echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the strings of the ``environ`` and the body."""
    found = {key: value for key, value in environ.items() if isinstance(value, str)}
    found["body"] = environ["wsgi.input"].read(1000).decode("latin-1")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(found).encode()]


def browser_headers(request: dict[str, str]) -> dict[str, str]:
    prefixes = ("HTTP_SEC_", "HTTP_ORIGIN", "HTTP_ACCEPT")
    return {
        key.removeprefix("HTTP_"): value.partition(",")[0]
        for key, value in request.items()
        if key.startswith(prefixes)
    }


NAVIGATION = {
    "ACCEPT": "text/html",
    "SEC_FETCH_MODE": "navigate",
    "SEC_FETCH_DEST": "document",
    "SEC_FETCH_USER": "?1",
}
FETCH = {"ACCEPT": "*/*", "SEC_FETCH_MODE": "cors", "SEC_FETCH_DEST": "empty"}
HERE = "http://localhost:8000"


@pytest.mark.parametrize(
    ("method", "options", "headers"),
    [
        pytest.param(
            "GET", {}, NAVIGATION | {"SEC_FETCH_SITE": "none"}, id="address bar"
        ),
        pytest.param(
            "POST",
            {},
            NAVIGATION | {"SEC_FETCH_SITE": "same-origin", "ORIGIN": HERE},
            id="form",
        ),
        pytest.param(
            "GET",
            {"cross_site": True},
            NAVIGATION | {"SEC_FETCH_SITE": "cross-site"},
            id="foreign link",
        ),
        pytest.param(
            "POST",
            {"cross_site": True},
            NAVIGATION | {"SEC_FETCH_SITE": "cross-site", "ORIGIN": CROSS_SITE_ORIGIN},
            id="foreign form",
        ),
        pytest.param(
            "GET",
            {"fetch": True},
            FETCH | {"SEC_FETCH_SITE": "same-origin"},
            id="fetch",
        ),
        pytest.param(
            "POST",
            {"fetch": True},
            FETCH | {"SEC_FETCH_SITE": "same-origin", "ORIGIN": HERE},
            id="fetch by POST",
        ),
        pytest.param(
            "GET",
            {"fetch": True, "cross_site": True},
            FETCH | {"SEC_FETCH_SITE": "cross-site", "ORIGIN": CROSS_SITE_ORIGIN},
            id="foreign fetch",
        ),
        pytest.param("POST", {"navigate": False}, {"ACCEPT": "*/*"}, id="program"),
    ],
)
def test_client_sends_the_headers_of_a_browser(
    method: str, options: RequestOptions, headers: dict[str, str]
) -> None:
    request = Client(echo).request(method, "/", **options).json()

    assert browser_headers(request) == headers


def test_fetch_metadata_is_not_sent_in_the_clear() -> None:
    request = Client(echo, base="http://app.example").get("/").json()

    assert browser_headers(request) == {"ACCEPT": "text/html"}


def test_header_of_the_caller_replaces_the_one_of_the_browser() -> None:
    headers = {"accept": "text/plain", "Sec-Fetch-Site": None, "X-A": "1"}
    request = Client(echo).get("/", headers=headers).json()

    assert request["HTTP_ACCEPT"] == "text/plain"
    assert request["HTTP_X_A"] == "1"
    assert "HTTP_SEC_FETCH_SITE" not in request


def test_form_and_json_are_encoded_and_named() -> None:
    form = Client(echo).post("/", form={"a": "ä b"}).json()
    data = Client(echo).post("/", json={"a": None}).json()

    assert form["body"] == "a=%C3%A4+b"
    assert form["CONTENT_TYPE"] == "application/x-www-form-urlencoded"
    assert data["body"] == '{"a": null}'
    assert data["CONTENT_TYPE"] == "application/json"


def test_url_is_taken_apart_as_a_server_does() -> None:
    client = Client(echo, base="https://app.example", script_name="/åpp")
    request = client.get("/%C3%A5pp/%C3%A4%2F?q=ä%20b#part").json()

    assert request["SCRIPT_NAME"] == "/\xc3\xa5pp"
    assert request["PATH_INFO"] == "/\xc3\xa4/"
    assert request["QUERY_STRING"] == "q=%C3%A4%20b"
    assert request["wsgi.url_scheme"] == "https"
    assert request["HTTP_HOST"] == "app.example"


def test_url_outside_the_mount_point_is_a_fault() -> None:
    client = Client(echo, script_name="/app")

    with pytest.raises(Fault, match="not below the mount point"):
        client.get("/apple")


def test_extra_entries_reach_the_app() -> None:
    request = Client(echo).get("/", extra={"PATH_INFO": "/\xff"}).json()

    assert request["PATH_INFO"] == "/\xff"


def test_client_brings_back_the_cookies_it_was_given() -> None:
    setter = Client(
        answer(("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/"))
    )

    setter.get("/")
    setter.app = echo

    assert setter.get("/").json()["HTTP_COOKIE"] == "a=1; b=2"


def redirect(location: str, status: str = "302 Found") -> WSGIApplication:
    """Return an app that redirects its first request, and answers as ``echo`` then."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/start":
            return echo(environ, start_response)
        headers = [TEXT, ("Location", location), ("Set-Cookie", "a=1; Path=/")]
        start_response(status, headers)
        return [b""]

    return app


def test_redirects_are_not_followed_unless_asked() -> None:
    response = Client(redirect("/end")).get("/start")

    assert response.status == 302
    assert response.url == "http://localhost:8000/start"


def test_followed_redirect_carries_the_new_cookie() -> None:
    response = Client(redirect("/end?x#y")).get("/start", follow=True)

    assert response.url == "http://localhost:8000/end?x"
    assert response.json()["HTTP_COOKIE"] == "a=1"


@pytest.mark.parametrize(
    ("status", "method", "followed_by"),
    [
        pytest.param("301 Moved", "POST", "GET", id="301"),
        pytest.param("302 Found", "POST", "GET", id="302"),
        pytest.param("303 See Other", "POST", "GET", id="303"),
        pytest.param("307 Again", "POST", "POST", id="307"),
        pytest.param("308 Moved", "POST", "POST", id="308"),
        pytest.param("302 Found", "PUT", "PUT", id="302 to PUT"),
        pytest.param("303 See Other", "PUT", "GET", id="303 to PUT"),
    ],
)
def test_method_after_a_redirect_is_that_of_a_browser(
    status: str, method: str, followed_by: str
) -> None:
    client = Client(redirect("/end", status))

    request = client.request(method, "/start", form={"a": "1"}, follow=True).json()

    assert request["REQUEST_METHOD"] == followed_by
    assert request["body"] == ("" if followed_by == "GET" else "a=1")
    assert ("CONTENT_TYPE" in request) is (followed_by != "GET")


@pytest.mark.parametrize(
    "location",
    [
        pytest.param("https://localhost:8000/end", id="scheme"),
        pytest.param("http://localhost:8001/end", id="port"),
        pytest.param("//elsewhere.example/end", id="no scheme"),
        pytest.param("///elsewhere.example/end", id="three slashes"),
        pytest.param("/\\elsewhere.example/end", id="backslash"),
        pytest.param("\\\\elsewhere.example/end", id="two backslashes"),
    ],
)
def test_redirect_that_leaves_the_origin_is_not_followed(location: str) -> None:
    response = Client(redirect(location)).get("/start", follow=True)

    assert response.status == 302


def test_endless_redirects_are_a_fault() -> None:
    client = Client(redirect("/start"))

    with pytest.raises(Fault, match="more than 20 redirects"):
        client.get("/start", follow=True)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("192.0.2.1", id="address"),
        pytest.param("2001:db8::1", id="IPv6 address"),
        pytest.param("api.workos.com", id="name"),
    ],
)
def test_connection_that_leaves_this_machine_fails_the_test(host: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="only loopback is allowed"):
        socket.create_connection((host, 443), timeout=1)


def test_socket_that_leaves_this_machine_fails_the_test() -> None:
    with (
        socket.socket() as outward,
        pytest.raises(pytest.fail.Exception, match="only loopback is allowed"),
    ):
        outward.connect(("192.0.2.1", 443))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connection_on_this_machine_is_allowed(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((host, port), timeout=5) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)
