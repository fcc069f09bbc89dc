"""A strict WSGI gateway and a browser-like client on it.

:func:`run` calls an app as the strictest server would and raises :class:`Fault`, or an
``AssertionError`` of :mod:`wsgiref.validate`, where a server somewhere would break.
:func:`checked` does the same from the inside, for the app that a middleware wraps.
:class:`Client` keeps cookies and sends the headers that a browser sends.
"""

from __future__ import annotations

import ipaddress
import json as jsonlib
import re
import string
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypedDict, Unpack
from urllib.parse import quote, unquote_to_bytes, urlencode, urljoin, urlsplit
from wsgiref.util import FileWrapper, is_hop_by_hop
from wsgiref.validate import validator

if TYPE_CHECKING:
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType]
    OptExcInfo = ExcInfo | tuple[None, None, None]

Header = tuple[str, str]

_BODIES_KEY: Final = "gateway.bodies"
_STATUS: Final = re.compile(r"[1-9][0-9]{2} [^\x00-\x1f\x7f]*")


class Fault(AssertionError):
    """The app broke a rule of PEP 3333 or RFC 9110."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """What went over the wire."""

    status: int
    reason: str
    headers: list[Header]
    #: The body as the app cut it, blocks of ``write()`` first.
    blocks: list[bytes]
    #: The URL that answered; empty without a :class:`Client`.
    url: str = ""

    @property
    def body(self) -> bytes:
        return b"".join(self.blocks)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def json(self) -> Any:
        return jsonlib.loads(self.body)

    def headers_all(self, name: str) -> list[str]:
        """Return the values of every header of that name, in order."""
        wanted = name.lower()
        return [value for name, value in self.headers if name.lower() == wanted]

    def header(self, name: str) -> str | None:
        """Return the value of the header, ``None`` without one.

        :raises Fault: The header stands there more than once.
        """
        values = self.headers_all(name)
        if len(values) > 1:
            raise Fault(f"{name} was sent {len(values)} times: {values}")
        return values[0] if values else None

    @property
    def set_cookies(self) -> list[str]:
        return self.headers_all("Set-Cookie")


class StrictGateway:
    """The server's side of one request."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.environ = environ
        self.status: str | None = None
        self.headers: list[Header] = []
        self.headers_sent = False
        self.iterating = False
        self.blocks: list[bytes] = []
        self.fault: Fault | None = None
        self.bodies: list[_TrackedBody] = []
        environ[_BODIES_KEY] = self.bodies

    def run(self, app: WSGIApplication) -> Response:
        """Call ``app``, send its body, close it; its errors pass through."""
        try:
            self._send_all(app)
        finally:
            self._check_bodies()
        if self.fault is not None:
            raise self.fault  # it was raised before, and the app swallowed it
        return self._response()

    def start_response(
        self, status: str, headers: list[Header], exc_info: OptExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        try:
            self._check_repeat(exc_info)
        finally:
            exc_info = None  # a traceback must not keep its own frame alive
        self._check_status(status)
        for name, value in headers:
            self._check_header(name, value)
        self.status = status
        self.headers = list(headers)
        headers.clear()  # the list is the server's now: PEP 3333 lets it be changed
        return self.write

    def write(self, block: bytes) -> None:
        if self.iterating:
            self._refuse("write() was called while the iterable was read")
        self._send(block)

    def _send_all(self, app: WSGIApplication) -> None:
        iterable: Any = validator(app)(self.environ, self.start_response)
        self.iterating = True
        try:
            for block in iterable:
                self._send(block)
        finally:
            iterable.close()

    def _send(self, block: bytes) -> None:
        if block:
            self.headers_sent = True
            if not self._may_have_body():
                self._refuse(
                    f"{self.environ['REQUEST_METHOD']} {self.status} has a body"
                )
        self.blocks.append(block)

    def _may_have_body(self) -> bool:
        is_head = self.environ["REQUEST_METHOD"] == "HEAD"
        return not is_head and (self.status or "")[:3] not in ("204", "304")

    def _check_repeat(self, exc_info: OptExcInfo | None) -> None:
        try:
            if exc_info is None:
                if self.status is not None:
                    self._refuse("start_response was called again without exc_info")
            elif exc_info[1] is None:
                self._refuse("exc_info is empty")
            elif self.headers_sent:
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            exc_info = None

    def _check_status(self, status: str) -> None:
        if not _STATUS.fullmatch(status) or not _is_latin1(status):
            self._refuse(f"the status {status!r} is not '200 OK' in latin-1")

    def _check_header(self, name: str, value: str) -> None:
        if is_hop_by_hop(name) or name.lower() == "trailer":
            self._refuse(f"{name} is hop-by-hop: the server's, not the app's")
        if not _is_latin1(value):
            self._refuse(f"the value of {name} is not latin-1")
        if re.search(r"[\x00-\x1f\x7f]", value):
            self._refuse(f"the value of {name} has a control character")

    def _check_bodies(self) -> None:
        counts = [body.closes for body in self.bodies]
        for body in self.bodies:
            body.ensure_closed()
        if any(count != 1 for count in counts):
            raise Fault(f"close() was not called once on each iterable: {counts}")

    def _response(self) -> Response:
        if self.status is None:
            raise Fault("start_response was not called")
        code, _, reason = self.status.partition(" ")
        response = Response(
            status=int(code), reason=reason, headers=self.headers, blocks=self.blocks
        )
        length = response.header("Content-Length")
        if length is not None and self._may_have_body():
            self._check_length(length, len(response.body))
        return response

    def _check_length(self, declared: str, actual: int) -> None:
        if declared != str(actual):
            self._refuse(f"Content-Length is {declared}, the body has {actual} bytes")

    def _refuse(self, message: str) -> NoReturn:
        self.fault = Fault(message)
        raise self.fault


def run(app: WSGIApplication, environ: WSGIEnvironment) -> Response:
    """Return what ``app`` answers to ``environ``.

    :raises AssertionError: The app broke a rule; :class:`Fault` is one of these.
    """
    return StrictGateway(environ).run(app)


class _TrackedBody:
    """An iterable that counts the calls of its ``close()``."""

    def __init__(self, iterable: Any) -> None:
        self.iterable = iterable
        self.closes = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.iterable)

    def close(self) -> None:
        self.closes += 1
        self.iterable.close()

    def ensure_closed(self) -> None:
        if not self.closes:
            self.iterable.close()


def checked(app: WSGIApplication) -> WSGIApplication:
    """Return ``app``, to be wrapped by the middleware under test.

    The middleware must call it as a server has to, and :func:`run` raises
    :class:`Fault` unless ``close()`` was called exactly once on what it returned.
    """
    inner = validator(app)

    def tracked(
        environ: WSGIEnvironment, start_response: StartResponse, /
    ) -> _TrackedBody:
        body = _TrackedBody(inner(environ, start_response))
        environ[_BODIES_KEY].append(body)
        return body

    return tracked


def _is_latin1(value: str) -> bool:
    return all(ord(character) < 256 for character in value)


def environ(
    method: str = "GET",
    path: str = "/",
    *,
    query: str | Mapping[str, str] = "",
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    body: bytes = b"",
    script_name: str = "",
    scheme: str = "http",
    host: str = "localhost:8000",
    remote_addr: str = "127.0.0.1",
    **extra: Any,
) -> WSGIEnvironment:
    """Return the ``environ`` of a request, as a PEP 3333 server builds it.

    :param path: The decoded path below ``script_name``, as text; a ``?`` in it is part
        of the path. Bytes that are not UTF-8 go into ``PATH_INFO`` through ``extra``.
    :param extra: Entries that are set last, as they are.
    """
    server = urlsplit(f"//{host}")
    result: WSGIEnvironment = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": _as_bytes(script_name),
        "PATH_INFO": _as_bytes(path),
        "QUERY_STRING": query if isinstance(query, str) else urlencode(query),
        "SERVER_NAME": server.hostname or "localhost",
        "SERVER_PORT": str(server.port or (443 if scheme == "https" else 80)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": remote_addr,
        "HTTP_HOST": host,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.errors": StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }
    if body or method in ("POST", "PUT", "PATCH"):
        result["CONTENT_LENGTH"] = str(len(body))
    for name, value in (headers or {}).items():
        result[_environ_key(name)] = value
    if cookies:
        result["HTTP_COOKIE"] = "; ".join(f"{k}={v}" for k, v in cookies.items())
    return {**result, **extra}


def _as_bytes(text: str) -> str:
    """Return the UTF-8 bytes of ``text`` in the disguise of PEP 3333."""
    return text.encode("utf-8").decode("latin-1")


def _environ_key(name: str) -> str:
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


#: Chrome, Firefox and RFC 6265bis 5.6: bytes of name and value together.
MAX_COOKIE_SIZE: Final = 4096
#: RFC 6265bis 5.5: a browser forgets every cookie after 400 days, in seconds.
MAX_COOKIE_AGE: Final = 400 * 86400


@dataclass(frozen=True, kw_only=True)
class Cookie:
    """One cookie in the jar."""

    name: str
    value: str
    domain: str
    host_only: bool
    path: str
    secure: bool
    httponly: bool
    samesite: str
    #: Unix seconds; ``None`` is a session cookie.
    expires: float | None

    @property
    def key(self) -> tuple[str, str, bool, str]:
        return (self.name, self.domain, self.host_only, self.path)

    def is_sent_to(self, url: str) -> bool:
        """Return whether domain, path and scheme fit, whoever asks."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        domain_fits = (
            host == self.domain if self.host_only else _in_domain(host, self.domain)
        )
        scheme_fits = not self.secure or is_trustworthy(url)
        return domain_fits and scheme_fits and _in_path(parts.path or "/", self.path)


class CookieJar:
    """Keeps cookies as Chrome does (RFC 6265bis); what a browser drops, it drops."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._cookies: dict[tuple[str, str, bool, str], Cookie] = {}

    def __iter__(self) -> Iterator[Cookie]:
        now = self._clock()
        for cookie in list(self._cookies.values()):
            if cookie.expires is None or cookie.expires > now:
                yield cookie

    def get(self, name: str) -> Cookie | None:
        """Return the oldest live cookie of that name."""
        return next((cookie for cookie in self if cookie.name == name), None)

    def store(self, url: str, header: str, *, same_site_only: bool = True) -> None:
        """Take a ``Set-Cookie`` value that came from ``url``.

        :param same_site_only: Whether cookies with ``SameSite`` ``Lax`` or ``Strict``
            are accepted; they are not from the answer to a cross-site fetch.
        """
        cookie = self._parse(url, header)
        if cookie is None or not _is_acceptable(cookie, url):
            return
        if cookie.samesite != "none" and not same_site_only:
            return
        if not is_trustworthy(url) and self._shadows_secure(cookie):
            return
        if cookie.expires is not None and cookie.expires <= self._clock():
            self._cookies.pop(cookie.key, None)
        else:
            self._cookies[cookie.key] = cookie

    def header(
        self,
        url: str,
        *,
        method: str = "GET",
        navigation: bool = True,
        cross_site: bool = False,
    ) -> str:
        """Return the ``Cookie`` header for a request, ``""`` without cookies."""
        lax = not cross_site or (navigation and method in ("GET", "HEAD"))
        allowed = {"none"} | ({"lax"} if lax else set())
        allowed |= set() if cross_site else {"strict"}
        return _join(c for c in self._matching(url) if c.samesite in allowed)

    def script_cookies(self, url: str) -> str:
        """Return ``document.cookie`` of a page at ``url``: nothing ``HttpOnly``."""
        return _join(c for c in self._matching(url) if not c.httponly)

    def _matching(self, url: str) -> list[Cookie]:
        found = [cookie for cookie in self if cookie.is_sent_to(url)]
        # RFC 6265 5.4: longer paths first, then the older cookie.
        return sorted(found, key=lambda cookie: -len(cookie.path))

    def _parse(self, url: str, header: str) -> Cookie | None:
        pair, _, rest = header.partition(";")
        name, separator, value = (part.strip(" \t") for part in pair.partition("="))
        if not separator or not name:
            return None
        attributes = _parse_attributes(rest)
        host = urlsplit(url).hostname or ""
        domain = attributes.get("domain", "").removeprefix(".").lower()
        samesite = attributes.get("samesite", "").lower()
        return Cookie(
            name=name,
            value=value,
            domain=domain or host,
            host_only=not domain,
            path=_cookie_path(attributes.get("path", ""), url),
            secure="secure" in attributes,
            httponly="httponly" in attributes,
            samesite=samesite if samesite in ("strict", "none") else "lax",
            expires=self._expires(attributes),
        )

    def _expires(self, attributes: Mapping[str, str]) -> float | None:
        max_age = attributes.get("max-age", "")
        if re.fullmatch(r"-?[0-9]+", max_age):
            return self._clock() + min(int(max_age), MAX_COOKIE_AGE)
        try:
            return parsedate_to_datetime(attributes.get("expires", "")).timestamp()
        except ValueError:
            return None

    def _shadows_secure(self, cookie: Cookie) -> bool:
        """Return whether a page without TLS would hide a ``Secure`` cookie."""
        return any(
            other.secure
            and other.name == cookie.name
            and (
                _in_domain(cookie.domain, other.domain)
                or _in_domain(other.domain, cookie.domain)
            )
            and _in_path(cookie.path, other.path)
            for other in self
        )


def is_trustworthy(url: str) -> bool:
    """Return whether browsers treat ``url`` as secure: TLS, or this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_local = host == "localhost" or host.endswith(".localhost") or _is_loopback(host)
    return parts.scheme == "https" or is_local


def _is_loopback(host: str) -> bool:
    return _is_ip(host) and ipaddress.ip_address(host).is_loopback


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_acceptable(cookie: Cookie, url: str) -> bool:
    host = urlsplit(url).hostname or ""
    size = len(f"{cookie.name}{cookie.value}".encode("latin-1", "replace"))
    is_public_suffix = "." not in cookie.domain and cookie.domain != host
    return (
        size <= MAX_COOKIE_SIZE
        and _in_domain(host, cookie.domain)
        and not is_public_suffix
        and (not cookie.secure or is_trustworthy(url))
        and (cookie.secure or cookie.samesite != "none")
        and _keeps_prefix(cookie)
    )


def _keeps_prefix(cookie: Cookie) -> bool:
    """Return whether the promise of ``__Host-`` or ``__Secure-`` is kept."""
    name = cookie.name.lower()
    if name.startswith("__host-"):
        return cookie.secure and cookie.host_only and cookie.path == "/"
    return cookie.secure or not name.startswith("__secure-")


def _parse_attributes(rest: str) -> dict[str, str]:
    attributes = {}
    for attribute in rest.split(";"):
        name, _, value = attribute.partition("=")
        attributes[name.strip(" \t").lower()] = value.strip(" \t")
    return attributes


def _cookie_path(path: str, url: str) -> str:
    """Return the ``Path`` of a cookie, or its default (RFC 6265 5.1.4)."""
    if path.startswith("/"):
        return path
    return urlsplit(url).path.rpartition("/")[0] or "/"


def _in_domain(host: str, domain: str) -> bool:
    return host == domain or (host.endswith(f".{domain}") and not _is_ip(host))


def _in_path(path: str, cookie_path: str) -> bool:
    return path == cookie_path or path.startswith(f"{cookie_path.removesuffix('/')}/")


def _join(cookies: Iterator[Cookie]) -> str:
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in cookies)


Mode = Literal["navigate", "fetch", "plain"]

CROSS_SITE_ORIGIN: Final = "https://elsewhere.example"
_USER_AGENT: Final = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/140.0.0.0 Safari/537.36"
)
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MAX_REDIRECTS: Final = 20


class RequestOptions(TypedDict, total=False):
    """The keyword arguments of :meth:`Client.request`."""

    headers: Mapping[str, str | None]
    body: bytes
    form: Mapping[str, str]
    json: object
    navigate: bool
    fetch: bool
    cross_site: bool
    follow: bool
    extra: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Request:
    method: str
    url: str
    mode: Mode
    cross_site: bool
    headers: Mapping[str, str | None]
    body: bytes = b""
    content_type: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_cross_site_fetch(self) -> bool:
        return self.cross_site and self.mode == "fetch"

    def sent_headers(self) -> dict[str, str]:
        """Return the browser's headers with those of the caller over them."""
        merged: dict[str, str | None] = {
            "Content-Type": self.content_type,
            **_browser_headers(self),
        }
        by_key = {name.lower(): name for name in merged}
        for name, value in self.headers.items():
            merged[by_key.get(name.lower(), name)] = value
        return {name: value for name, value in merged.items() if value is not None}


class Client:
    """A browser with one tab open on ``app``.

    URLs are what the address bar shows: quoted, with ``script_name``, relative to
    ``base`` or absolute (every host is answered by ``app``). As in a browser, dot
    segments are resolved before anything is sent; use :func:`run` for raw paths.

    :param base: Where the tab is, scheme, host and port.
    :param script_name: The mount point; URLs that are not below it are an error.
    :param clock: Unix seconds, for the age of cookies.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        base: str = "http://localhost:8000",
        script_name: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.app = app
        self.base = base
        self.script_name = script_name
        self.jar = CookieJar(clock=clock)

    def get(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        return self.request("POST", url, **options)

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str | None] | None = None,
        body: bytes = b"",
        form: Mapping[str, str] | None = None,
        json: object = None,
        navigate: bool = True,
        fetch: bool = False,
        cross_site: bool = False,
        follow: bool = False,
        extra: Mapping[str, Any] | None = None,
    ) -> Response:
        """Send a request and keep the cookies of its answer.

        :param headers: Replace the browser's own; ``None`` as a value leaves one out.
        :param form: Sent as ``application/x-www-form-urlencoded``.
        :param json: Sent as ``application/json``.
        :param navigate: A navigation of the tab. ``False`` without ``fetch`` is a
            program such as curl, with the jar's cookies and none of these headers.
        :param fetch: A ``fetch()`` by a script of the page instead.
        :param cross_site: Another site's page starts it.
        :param follow: Follow redirects as long as they stay on the origin.
        :param extra: ``environ`` entries that are set last.
        """
        content_type = None
        if form is not None:
            body = urlencode(form).encode("ascii")
            content_type = "application/x-www-form-urlencoded"
        elif json is not None:
            body = jsonlib.dumps(json).encode("utf-8")
            content_type = "application/json"
        request = _Request(
            method=method,
            url=_resolve(self.base, url),
            mode="fetch" if fetch else "navigate" if navigate else "plain",
            cross_site=cross_site,
            headers=headers or {},
            body=body,
            content_type=content_type,
            extra=extra or {},
        )
        return self._follow(request) if follow else self._send(request)

    def _follow(self, request: _Request) -> Response:
        for _ in range(_MAX_REDIRECTS):
            response = self._send(request)
            next_request = _redirected(request, response)
            if next_request is None:
                return response
            request = next_request
        raise Fault(f"more than {_MAX_REDIRECTS} redirects, the last to {request.url}")

    def _send(self, request: _Request) -> Response:
        response = replace(run(self.app, self._environ(request)), url=request.url)
        for header in response.set_cookies:
            self.jar.store(
                request.url, header, same_site_only=not request.is_cross_site_fetch
            )
        return response

    def _environ(self, request: _Request) -> WSGIEnvironment:
        parts = urlsplit(request.url)
        headers = request.sent_headers()
        cookies = self.jar.header(
            request.url,
            method=request.method,
            navigation=request.mode == "navigate",
            cross_site=request.cross_site,
        )
        if cookies:
            headers = {"Cookie": cookies, **headers}
        return environ(
            request.method,
            query=quote(parts.query, safe=string.punctuation),
            headers=headers,
            body=request.body,
            script_name=self.script_name,
            scheme=parts.scheme,
            host=parts.netloc,
            **{"PATH_INFO": self._path_info(parts.path), **request.extra},
        )

    def _path_info(self, path: str) -> str:
        decoded = unquote_to_bytes(path or "/").decode("latin-1")
        mount = _as_bytes(self.script_name)
        if decoded != mount and not decoded.startswith(f"{mount}/"):
            raise Fault(f"{path} is not below the mount point {self.script_name}")
        return decoded.removeprefix(mount)


def _browser_headers(request: _Request) -> dict[str, str | None]:
    if request.mode == "plain":
        return {"Accept": "*/*"}
    headers: dict[str, str | None] = {
        "Accept": "*/*",
        "User-Agent": _USER_AGENT,
        "Origin": _sent_origin(request),
    }
    if request.mode == "navigate":
        headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9"
        headers["Upgrade-Insecure-Requests"] = "1"
    if is_trustworthy(request.url):  # Fetch Metadata 3: nowhere else are they sent
        headers |= _fetch_metadata(request)
    return headers


def _fetch_metadata(request: _Request) -> dict[str, str]:
    headers = {"Sec-Fetch-Site": _fetch_site(request)}
    if request.mode == "fetch":
        return headers | {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    return headers | {
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
        "Sec-Fetch-User": "?1",
    }


def _fetch_site(request: _Request) -> str:
    if request.cross_site:
        return "cross-site"
    # A GET is an address typed into the bar, a POST a form of this site.
    is_typed = request.mode == "navigate" and request.method in ("GET", "HEAD")
    return "none" if is_typed else "same-origin"


def _sent_origin(request: _Request) -> str | None:
    """Return the ``Origin`` header (Fetch 3.2): with CORS, and with other methods."""
    if request.method in ("GET", "HEAD") and not request.is_cross_site_fetch:
        return None
    return CROSS_SITE_ORIGIN if request.cross_site else _origin(request.url)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _resolve(base: str, url: str) -> str:
    """Return the URL that a browser makes of a link or a ``Location``."""
    path = re.split("[?#]", url, maxsplit=1)[0]
    rest = url.removeprefix(path)
    # WHATWG URL 4.4: a backslash is a slash and three slashes are two, so that
    # "/\\host" and "///host" leave the site.
    path = re.sub(r"\A/{2,}", "//", path.strip(" ").replace("\\", "/"))
    return urljoin(base, path + rest).partition("#")[0]


def _redirected(request: _Request, response: Response) -> _Request | None:
    """Return the request that a redirect asks for, if it stays on the origin."""
    location = response.header("Location")
    if response.status not in _REDIRECTS or location is None:
        return None
    url = _resolve(request.url, location)
    if _origin(url) != _origin(request.url):
        return None
    # Fetch 4.4: 303 always, 301 and 302 for history's sake, turn a POST into a GET.
    becomes_get = response.status == 303 or (
        response.status in (301, 302) and request.method == "POST"
    )
    if not becomes_get or request.method in ("GET", "HEAD"):
        return replace(request, url=url)
    return replace(request, url=url, method="GET", body=b"", content_type=None)
