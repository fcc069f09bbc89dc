from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser
from http import HTTPStatus

import pytest

from tests.gateway import Response as Answer
from tests.gateway import environ, run
from wsgi_authkit.responses import (
    CACHE_CONTROL,
    Response,
    is_public,
    json_error,
    json_response,
    link,
    method_not_allowed,
    page,
    post_button,
    private,
    redirect,
)

HOSTILE = "\"'><script>alert(1)</script>&amp;"


class Page(HTMLParser):
    """What a browser finds in a page: elements, their attributes, and texts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]], /) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        self.texts[self._open] = self.texts.get(self._open, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def answer(response: Response, method: str = "GET") -> Answer:
    return run(response, environ(method))


RESPONSES = [
    pytest.param(Response(HTTPStatus.NO_CONTENT), id="nothing"),
    pytest.param(redirect("/x"), id="redirect"),
    pytest.param(redirect("/x", see_other=True), id="see other"),
    pytest.param(json_response({"a": 1}), id="JSON"),
    pytest.param(json_error("code", "Text.", HTTPStatus.FORBIDDEN), id="JSON error"),
    pytest.param(method_not_allowed("GET, HEAD"), id="method not allowed"),
    pytest.param(page("Title", ["Text."]), id="page"),
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("response", RESPONSES)
def test_no_cache_keeps_what_we_answer(response: Response, method: str) -> None:
    given = answer(response, method)

    assert given.header("Cache-Control") == CACHE_CONTROL
    assert "no-store" in CACHE_CONTROL
    assert given.header("Pragma") == "no-cache"
    assert given.header("Expires") == "0"
    assert given.header("Vary") == "Cookie"
    assert given.header("X-Content-Type-Options") == "nosniff"
    assert given.header("Referrer-Policy") == "no-referrer"


@pytest.mark.parametrize("response", RESPONSES)
def test_head_has_the_headers_of_get_and_no_body(response: Response) -> None:
    head, get = answer(response, "HEAD"), answer(response)

    assert (head.status, head.headers) == (get.status, get.headers)
    assert head.body == b""


@pytest.mark.parametrize("response", RESPONSES)
def test_response_can_be_given_twice(response: Response) -> None:
    """The gateway empties the header list that it is given, as a server may."""
    assert answer(response).headers == answer(response).headers


def test_redirect_is_302_or_303() -> None:
    assert answer(redirect("/x?y=1")).status == 302
    assert answer(redirect("/x?y=1", see_other=True)).status == 303
    assert answer(redirect("/x?y=1")).header("Location") == "/x?y=1"


@pytest.mark.parametrize(
    "location",
    [
        pytest.param("/x\r\nSet-Cookie: a=b", id="line end"),
        pytest.param("/x\ny", id="line feed"),
        pytest.param("/x\0", id="NUL"),
        pytest.param("/x y", id="space"),
        pytest.param("/\xfc", id="latin-1"),
        pytest.param("/\u2044", id="look-alike"),
        pytest.param("/\x7f", id="DEL"),
    ],
)
def test_location_with_other_than_printable_ascii_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match="Location"):
        redirect(location)


def test_json_error_has_code_and_message() -> None:
    given = answer(json_error("code", "Text.", HTTPStatus.FORBIDDEN, [("X-A", "b")]))

    assert given.status == 403
    assert given.header("Content-Type") == "application/json"
    assert given.header("X-A") == "b"
    assert given.json() == {"error": {"code": "code", "message": "Text."}}


def test_method_not_allowed_names_the_methods() -> None:
    given = answer(method_not_allowed("GET, HEAD"), "DELETE")

    assert (given.status, given.header("Allow")) == (405, "GET, HEAD")


def test_page_is_accessible() -> None:
    given = answer(page("The title", ["First.", "Second."], status=HTTPStatus.GONE))
    html = Page(given.text)

    assert given.status == 410
    assert given.header("Content-Type") == "text/html; charset=utf-8"
    assert given.text.startswith("<!doctype html>")
    assert html.all("html") == [{"lang": "en"}]
    assert html.texts["title"].strip() == "The title"
    assert html.texts["h1"].strip() == "The title"
    assert len(html.all("main")) == len(html.all("h1")) == 1
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in (
        html.all("meta")
    )
    assert [text in given.text for text in ("<p>First.</p>", "<p>Second.</p>")] == [
        True,
        True,
    ]


def test_page_runs_no_script_and_loads_nothing() -> None:
    given = answer(page("Title", ["Text."], actions=link("Go", "/x")))
    html = Page(given.text)
    policy = given.header("Content-Security-Policy") or ""

    names = {tag for tag, _ in html.elements}
    assert not names & {"script", "img", "iframe", "object", "embed", "link", "base"}
    assert not any(
        name.startswith("on") or name == "style"
        for _, attributes in html.elements
        for name in attributes
    )
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "script-src" not in policy


def test_policy_admits_the_style_of_the_page_and_no_framing() -> None:
    given = answer(page("Title", ["Text."]))
    policy = given.header("Content-Security-Policy") or ""
    (style,) = re.findall("<style>(.*?)</style>", given.text, re.DOTALL)
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert f"style-src 'sha256-{digest}'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert given.header("X-Frame-Options") == "DENY"


def test_texts_of_a_page_are_escaped() -> None:
    actions = link(HOSTILE, f"/x?{HOSTILE}") + post_button(
        HOSTILE, f"/y?{HOSTILE}", {HOSTILE: HOSTILE}
    )
    given = answer(page(HOSTILE, [HOSTILE], actions=actions))
    html = Page(given.text)

    assert "<script" not in given.text
    assert html.texts["h1"].strip() == HOSTILE
    assert html.texts["a"].strip() == HOSTILE
    assert html.all("a")[0]["href"] == f"/x?{HOSTILE}"
    assert html.all("form") == [{"method": "post", "action": f"/y?{HOSTILE}"}]
    assert html.all("input") == [{"type": "hidden", "name": HOSTILE, "value": HOSTILE}]


def test_page_that_waits_says_so_to_browsers_and_programs() -> None:
    given = answer(page("Title", ["Text."], retry_after=7))

    assert given.header("Retry-After") == "7"
    assert {"http-equiv": "refresh", "content": "7"} in Page(given.text).all("meta")


def test_page_that_does_not_wait_does_not_reload() -> None:
    given = answer(page("Title", ["Text."]))

    assert given.header("Retry-After") is None
    assert "refresh" not in given.text


@pytest.mark.parametrize(
    ("vary", "expected"),
    [
        pytest.param([], "Cookie", id="none"),
        pytest.param(["Accept"], "Accept, Cookie", id="another"),
        pytest.param(["cookie"], "cookie", id="there already"),
        pytest.param(["Accept", "Origin , Cookie"], "Accept, Origin, Cookie", id="two"),
        pytest.param(["*"], "*", id="everything"),
        pytest.param([" , "], "Cookie", id="empty"),
        pytest.param(["Cookie2"], "Cookie2, Cookie", id="longer name"),
    ],
)
def test_cookie_is_merged_into_vary(vary: list[str], expected: str) -> None:
    headers = private([("vary", value) for value in vary])

    assert [value for name, value in headers if name == "Vary"] == [expected]


def test_cache_headers_of_the_app_are_replaced_and_others_kept() -> None:
    app = [
        ("cache-control", "public, max-age=60"),
        ("PRAGMA", "x"),
        ("Expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("ETag", '"e"'),
    ]
    before = list(app)
    headers = private(app)

    assert headers == [
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("ETag", '"e"'),
        ("Cache-Control", CACHE_CONTROL),
        ("Pragma", "no-cache"),
        ("Expires", "0"),
        ("Vary", "Cookie"),
    ]
    assert app == before


@pytest.mark.parametrize(
    "name",
    [
        "CDN-Cache-Control",
        "cdn-cache-control",
        "Cloudflare-CDN-Cache-Control",
        "Akamai-Cache-Control",
        "Surrogate-Control",
        "Edge-Control",
        "X-Accel-Expires",
    ],
)
def test_headers_that_overrule_cache_control_are_left_out(name: str) -> None:
    assert private([(name, "max-age=600")]) == private([])


def test_headers_that_resemble_those_are_kept() -> None:
    kept = [("Surrogate-Key", "a"), ("X-Cache-Control-Seen", "1"), ("Age", "0")]

    assert private(list(kept))[:3] == kept


@pytest.mark.parametrize(
    ("headers", "public"),
    [
        pytest.param([("cache-control", "Public, max-age=1")], True, id="public"),
        pytest.param([("Cache-Control", "private")], False, id="private"),
        pytest.param([("X-Other", "public")], False, id="another header"),
        pytest.param([("Cache-Control", "s-maxage=60")], True, id="s-maxage"),
        pytest.param([("CDN-Cache-Control", "max-age=60")], True, id="for CDNs"),
        pytest.param([("Surrogate-Control", "no-store")], False, id="not for CDNs"),
        pytest.param([], False, id="none"),
    ],
)
def test_public_response_is_recognised(
    headers: list[tuple[str, str]], public: bool
) -> None:
    assert is_public(headers) is public
