from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from tests.gateway import environ
from wsgi_authkit.access import (
    AccessRules,
    client_info,
    has_same_origin_proof,
    is_navigation,
    is_person,
    is_prefetch,
    is_preflight,
    prefers_html,
    prefers_json,
)
from wsgi_authkit.errors import ConfigurationError

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

NAVIGATE = {"Sec-Fetch-Mode": "navigate"}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
ORIGIN = "https://app.example.test"

NAVIGATIONS = [
    pytest.param({**NAVIGATE, "Sec-Fetch-Dest": "document"}, id="tab"),
    pytest.param(NAVIGATE, id="mode without destination"),
    pytest.param({"Accept": BROWSER}, id="Accept of a browser without Fetch Metadata"),
    pytest.param({"Accept": "text/html"}, id="Accept of HTML alone"),
    pytest.param(
        {**NAVIGATE, "Upgrade-Insecure-Requests": "1"}, id="upgrade of the scheme only"
    ),
]

NOT_A_PERSON = [
    pytest.param({"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, id="fetch"),
    pytest.param({"Sec-Fetch-Mode": "same-origin"}, id="fetch of the same origin"),
    pytest.param({"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, id="image"),
    pytest.param(
        {"Sec-Fetch-Mode": "cors", "Accept": BROWSER}, id="fetch that asks for HTML"
    ),
    pytest.param({"Sec-Fetch-Mode": ""}, id="empty mode"),
    pytest.param({**NAVIGATE, "Sec-Fetch-Dest": "embed"}, id="embed"),
    pytest.param({**NAVIGATE, "Sec-Fetch-Dest": "object"}, id="object"),
    pytest.param(
        {"X-Requested-With": "XMLHttpRequest", "Accept": BROWSER}, id="XMLHttpRequest"
    ),
    pytest.param({"HX-Request": "true", "Accept": BROWSER}, id="htmx"),
    pytest.param({"X-Turbo-Request-Id": "1", "Accept": BROWSER}, id="Turbo"),
    pytest.param({"Turbo-Frame": "menu", "Accept": BROWSER}, id="frame of Turbo"),
    pytest.param({**NAVIGATE, "Upgrade": "websocket"}, id="WebSocket"),
    pytest.param({**NAVIGATE, "Sec-Purpose": "prefetch"}, id="prefetch"),
    pytest.param({"Accept": BROWSER, "Purpose": "prefetch"}, id="old prefetch"),
]

PREFETCHES = [
    pytest.param({"Sec-Purpose": "prefetch"}, id="Sec-Purpose"),
    pytest.param({"Sec-Purpose": "prefetch;prerender"}, id="prerender"),
    pytest.param({"Sec-Purpose": "prefetch;anonymous-client-ip"}, id="proxied"),
    pytest.param({"Purpose": "prefetch"}, id="Purpose"),
    pytest.param({"X-Purpose": "Prefetch"}, id="X-Purpose in another case"),
    pytest.param({"X-Moz": "prefetch"}, id="X-Moz"),
]


@pytest.mark.parametrize("headers", NAVIGATIONS)
def test_navigation_is_recognised(headers: dict[str, str]) -> None:
    assert is_navigation(environ(headers=headers))
    assert is_person(environ(headers=headers))


@pytest.mark.parametrize("destination", ["iframe", "frame"])
def test_frame_is_a_navigation_only_where_sessions_go_into_frames(
    destination: str,
) -> None:
    framed = environ(headers={**NAVIGATE, "Sec-Fetch-Dest": destination})

    assert not is_navigation(framed)
    assert is_navigation(framed, framed=True)
    assert is_person(framed)


PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}


def test_preflight_is_recognised() -> None:
    assert is_preflight(environ("OPTIONS", headers=PREFLIGHT))


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        pytest.param("OPTIONS", {}, id="no headers"),
        pytest.param("OPTIONS", {"Origin": ORIGIN}, id="no method asked for"),
        pytest.param(
            "OPTIONS", {"Access-Control-Request-Method": "PUT"}, id="no origin"
        ),
        pytest.param("GET", PREFLIGHT, id="GET"),
        pytest.param("options", PREFLIGHT, id="method in lower case"),
        pytest.param("POST", PREFLIGHT, id="POST"),
        pytest.param(
            "GET", {**PREFLIGHT, "X-HTTP-Method-Override": "OPTIONS"}, id="override"
        ),
        *(
            pytest.param("OPTIONS", {**PREFLIGHT, name: "GET"}, id=f"{name} of GET")
            for name in (
                *("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"),
            )
        ),
    ],
)
def test_other_request_is_no_preflight(method: str, headers: dict[str, str]) -> None:
    """What passes as one reaches the app without a session."""
    assert not is_preflight(environ(method, headers=headers))


@pytest.mark.parametrize("headers", NOT_A_PERSON)
def test_request_of_a_program_is_no_navigation(headers: dict[str, str]) -> None:
    assert not is_navigation(environ(headers=headers))
    assert not is_person(environ(headers=headers))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no headers at all"),
        pytest.param({"Accept": "*/*"}, id="curl"),
        pytest.param({"Accept": "application/json"}, id="asks for JSON"),
        pytest.param({"Accept": "text/html;q=0.1,application/json"}, id="rather JSON"),
    ],
)
def test_client_that_says_nothing_is_a_person_and_no_navigation(
    headers: dict[str, str],
) -> None:
    assert is_person(environ(headers=headers))
    assert not is_navigation(environ(headers=headers))


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "OPTIONS", "get"])
def test_only_get_is_a_navigation(method: str) -> None:
    headers = {**NAVIGATE, "Accept": BROWSER}

    assert not is_navigation(environ(method, headers=headers))


@pytest.mark.parametrize("headers", PREFETCHES)
def test_prefetch_is_recognised(headers: dict[str, str]) -> None:
    assert is_prefetch(environ(headers=headers))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"Sec-Purpose": "", "Purpose": ""}, id="empty"),
        pytest.param({"Purpose": "navigate"}, id="another purpose"),
        pytest.param({"Sec-Fetch-Mode": "navigate"}, id="navigation"),
    ],
)
def test_request_without_that_purpose_is_no_prefetch(headers: dict[str, str]) -> None:
    assert not is_prefetch(environ(headers=headers))


@pytest.mark.parametrize(
    ("accept", "html", "json"),
    [
        pytest.param(BROWSER, True, False, id="browser"),
        pytest.param("text/html", True, False, id="HTML"),
        pytest.param("TEXT/HTML", True, False, id="HTML in capitals"),
        pytest.param("application/json", False, True, id="JSON"),
        pytest.param("APPLICATION/JSON", False, True, id="JSON in capitals"),
        pytest.param("application/json, */*;q=0.5", False, True, id="JSON first"),
        pytest.param(
            "text/html, application/json;q=0.9", True, False, id="HTML, JSON second"
        ),
        pytest.param(
            "text/html;q=0.5, application/json", False, True, id="JSON, HTML second"
        ),
        pytest.param("application/vnd.api+json", False, True, id="a kind of JSON"),
        pytest.param("*/*", False, False, id="anything"),
        pytest.param("", False, False, id="empty"),
        pytest.param("text/html;q=0", False, False, id="no HTML"),
        pytest.param("image/png", False, False, id="image"),
        pytest.param("text/html;;;q=x,,,", False, False, id="broken"),
        pytest.param("text/html\xff", False, False, id="not ASCII"),
    ],
)
def test_accept_chooses_html_or_json(accept: str, html: bool, json: bool) -> None:
    request = environ(headers={"Accept": accept})

    assert (prefers_html(request), prefers_json(request)) == (html, json)


def test_request_without_accept_prefers_nothing() -> None:
    assert not prefers_html(environ())
    assert not prefers_json(environ())


def test_script_gets_json_without_asking() -> None:
    request = environ(headers={"Sec-Fetch-Mode": "cors", "Accept": "*/*"})

    assert prefers_json(request)


def test_script_that_asks_for_html_does_not_get_json() -> None:
    request = environ(headers={"Sec-Fetch-Mode": "cors", "Accept": "text/html"})

    assert not prefers_json(request)


@pytest.mark.parametrize(
    "accept",
    [
        pytest.param("text/html," * 2000 + "application/json", id="long list"),
        pytest.param("text/html;a=" + '"' * 8000 + "json", id="quotes"),
        pytest.param("json text/html;" + " ;" * 4000, id="empty parameters"),
        pytest.param("json text/html" + "," * 8000 + "x", id="commas"),
    ],
)
def test_hostile_accept_is_read_in_no_time(accept: str) -> None:
    start = time.process_time()

    prefers_html(environ(headers={"Accept": accept}))
    prefers_json(environ(headers={"Accept": accept}))

    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("headers", "proof"),
    [
        pytest.param({"Sec-Fetch-Site": "same-origin"}, True, id="same-origin"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, False, id="sibling site"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, False, id="cross-site"),
        pytest.param({"Sec-Fetch-Site": "none"}, False, id="typed or reloaded"),
        pytest.param({"Sec-Fetch-Site": ""}, False, id="empty"),
        pytest.param({"Sec-Fetch-Site": "Same-Origin"}, False, id="not the token"),
        pytest.param(
            {"Sec-Fetch-Site": "same-origin, cross-site"}, False, id="two values"
        ),
        pytest.param(
            {"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN},
            False,
            id="Sec-Fetch-Site decides against",
        ),
        pytest.param(
            {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
            True,
            id="Sec-Fetch-Site decides for",
        ),
        pytest.param({"Origin": ORIGIN}, True, id="Origin"),
        pytest.param({"Origin": "null"}, False, id="opaque origin"),
        pytest.param({"Origin": ""}, False, id="empty Origin"),
        pytest.param({"Origin": "https://evil.example"}, False, id="other host"),
        pytest.param({"Origin": "http://app.example.test"}, False, id="other scheme"),
        pytest.param({"Origin": f"{ORIGIN}:8443"}, False, id="other port"),
        pytest.param({"Origin": f"{ORIGIN}.evil.example"}, False, id="prefix"),
        pytest.param({"Origin": f"https://evil.example {ORIGIN}"}, False, id="list"),
        pytest.param({"Host": "app.example.test"}, False, id="Host alone"),
        pytest.param({"Referer": f"{ORIGIN}/page"}, False, id="Referer alone"),
        pytest.param({}, False, id="nothing"),
    ],
)
def test_same_origin_is_proven_by_the_browser(
    headers: dict[str, str], proof: bool
) -> None:
    assert has_same_origin_proof(environ("POST", headers=headers), ORIGIN) is proof


@pytest.mark.parametrize("origin", ["", "null"])
def test_nothing_is_not_equal_to_an_empty_origin(origin: str) -> None:
    assert not has_same_origin_proof(environ("POST"), origin)


def test_client_is_the_peer_and_not_what_it_says() -> None:
    headers = {"X-Forwarded-For": "203.0.113.9", "User-Agent": "Firefox" + "x" * 1000}
    client = client_info(environ(headers=headers, remote_addr="198.51.100.7"))

    assert client.ip_address == "198.51.100.7"
    assert client.user_agent is not None
    assert client.user_agent.startswith("Firefox")
    assert len(client.user_agent) == 500


def test_client_without_address_and_agent_is_unknown() -> None:
    client = client_info(environ(remote_addr=""))

    assert (client.ip_address, client.user_agent) == (None, None)


# The rules


def judge(path_info: str, **options: Any) -> str:
    return AccessRules(**options).judge(path_info)


def test_without_rules_every_path_is_public() -> None:
    for path in ("/", "/admin", "//admin", "/\xff", ""):
        assert judge(path) == "public"
        assert judge(path, api_paths=["/(.*)"], sign_up_paths=["/(.*)"]) == "public"
        assert judge(path, public_paths=["/a"]) == "public"


EVERYTHING = {
    "require_auth": True,
    "protected_paths": ["/p/:path*"],
    "exclude_paths": ["/p/excluded", "/static/:path*"],
    "public_paths": ["/p/public", "/static/public", "/about"],
}


@pytest.mark.parametrize(
    ("path", "access"),
    [
        pytest.param("/p/public", "protected", id="protected before public"),
        pytest.param("/p/excluded", "protected", id="protected before excluded"),
        pytest.param("/static/public", "excluded", id="excluded before public"),
        pytest.param("/static/x/y.css", "excluded", id="excluded"),
        pytest.param("/about", "public", id="public before require_auth"),
        pytest.param("/", "protected", id="require_auth"),
        pytest.param("/P/x", "protected", id="protected in another case"),
        pytest.param("/p/", "protected", id="protected with a slash"),
        pytest.param("/About", "protected", id="public in another case"),
        pytest.param("/about/", "protected", id="public with a slash"),
        pytest.param("/Static/x", "protected", id="excluded in another case"),
        pytest.param("/static/", "protected", id="excluded with a slash"),
        pytest.param("/static/../about", "protected", id="dots in an excluded path"),
        pytest.param("/static//x", "protected", id="two slashes"),
        pytest.param("/static/\xff", "protected", id="not UTF-8"),
        pytest.param("/about?x", "protected", id="question mark in the path"),
    ],
)
def test_first_rule_that_matches_decides(path: str, access: str) -> None:
    assert judge(path, **EVERYTHING) == access


@pytest.mark.parametrize("path", ["//x", "/a/../x", "/a/..;/x", "/\xff", "/x\x00"])
def test_path_that_can_be_read_differently_is_protected_where_anything_is(
    path: str,
) -> None:
    free: dict[str, Any] = {"public_paths": ["/(.*)"], "exclude_paths": ["/(.*)"]}

    assert judge(path, **free, require_auth=True) == "protected"
    assert judge(path, **free, protected_paths=["/admin"]) == "protected"
    assert judge(path, exclude_paths=["/(.*)"]) == "public"


#: Paths that one app or another takes for /admin or for what is below it.
TAKEN_FOR_ADMIN = [
    *("/%61dmin", "/%41DMIN", "/admin%2fx", "/admin%2f", "/admin%2f%2f"),
    *("/admin;", "/admin;x", "/admin;x=y/z", "/admin/;", "/;x/admin"),
    *("/admin%3bx", "/%61dmin;x", "/%61dmin;%2fx", "/Admin.", "/admin ", "/admin. /x"),
    *("/admin?x", "/admin#x", "/admin%3fx", "/admin%23x", "/admin;.css", "/admin?.css"),
]


@pytest.mark.parametrize("path", TAKEN_FOR_ADMIN)
def test_path_that_can_be_taken_for_a_protected_one_is_protected(path: str) -> None:
    protected = ["/admin/:path*"]
    free = {"public_paths": ["/(.*)"], "exclude_paths": ["/(.*)"]}

    assert judge(path, protected_paths=protected) == "protected"
    assert judge(path, protected_paths=protected, **free) == "protected"
    assert judge(path, protected_paths=["/other"]) == "public"


@pytest.mark.parametrize("path", TAKEN_FOR_ADMIN)
@pytest.mark.parametrize("option", ["public_paths", "exclude_paths"])
def test_protected_path_below_a_free_one_is_protected_however_it_is_read(
    path: str, option: str
) -> None:
    rules = AccessRules(
        require_auth=True,
        protected_paths=["/pub/admin/:path*"],
        **{option: ["/pub/:path*"]},
    )

    assert rules.judge(f"/pub{path}") == "protected"
    assert rules.judge("/pub/other%2fx;y") == option.removesuffix("_paths").replace(
        "exclude", "excluded"
    )


@pytest.mark.parametrize("option", ["public_paths", "exclude_paths"])
@pytest.mark.parametrize(
    ("pattern", "path", "is_free"),
    [
        ("/(.*).css", "/site.css", True),
        ("/(.*).css", "/a/site;v=1.css", False),
        ("/(.*).css", "/admin;.css", False),
        ("/(.*).css", "/admin?.css", False),
        ("/(.*).css", "/admin%3b.css", False),
        ("/(.*).css", "/admin#.css", False),
        ("/:page", "/admin%2fusers", False),
        ("/:page", "/about%20us", True),
        ("/:page", "/about;x", True),
        ("/:page", "/...", False),
        ("/docs/", "/docs/", True),
        ("/docs/:path*", "/docs/a;b/c?d", True),
        ("/about", "/about%2f", False),
        ("/from/:url*", "/from/https%3A%2F%2Fa.example", True),
        ("/from/(.*)", "/from/https%3A%2F%2Fa.example%2F", True),
    ],
)
def test_path_is_free_only_if_it_is_however_it_is_read(
    option: str, pattern: str, path: str, is_free: bool
) -> None:
    found = judge(path, require_auth=True, **{option: [pattern]})

    assert (found != "protected") is is_free


def test_without_require_auth_only_protected_paths_are() -> None:
    rules = AccessRules(protected_paths=["/admin/:path*"], exclude_paths=["/static"])

    assert rules.judge("/admin/users") == "protected"
    assert rules.judge("/static") == "excluded"
    assert rules.judge("/") == "public"


def test_api_and_sign_up_paths_ignore_case_and_a_slash_at_the_end() -> None:
    rules = AccessRules(api_paths=["/api/:path*"], sign_up_paths=["/join"])

    assert all(rules.is_api(path) for path in ("/api", "/API/x", "/api/x/"))
    assert not any(rules.is_api(path) for path in ("/", "/apis", "//api", "/join"))
    assert all(rules.is_sign_up(path) for path in ("/join", "/Join/"))
    assert not any(rules.is_sign_up(path) for path in ("/", "/join/x", "/api"))


LISTS = [
    *("public_paths", "protected_paths", "exclude_paths", "sign_up_paths"),
    "api_paths",
]


@pytest.mark.parametrize("option", LISTS)
@pytest.mark.parametrize("value", ["/admin", b"/admin", None, 5, [None], [b"/a"], [5]])
def test_what_is_no_list_of_patterns_is_refused(option: str, value: object) -> None:
    """A plain string is a list of its characters, which protects nothing."""
    with pytest.raises(ConfigurationError, match=f"{option} must be a list") as caught:
        AccessRules(**{option: value})  # type: ignore[arg-type]

    assert len(caught.value.problems) == 1


def test_every_bad_pattern_is_named() -> None:
    with pytest.raises(ConfigurationError) as caught:
        AccessRules(
            public_paths=["/ok", "about", "/a{b}"], api_paths=["/api/:id(\\d+)"]
        )

    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [
        "public_paths cannot have 'about'",
        "public_paths cannot have '/a{b}'",
        "api_paths cannot have '/api/:id(\\\\d+)'",
    ]


def test_rules_of_a_nextjs_site_can_be_written_in_two_ways() -> None:
    """There, a matcher of "/", "/admin/:path*" and "/about" with two of them free."""
    listed = AccessRules(protected_paths=["/admin/:path*"])
    by_default = AccessRules(
        require_auth=True,
        public_paths=["/", "/about"],
        exclude_paths=["/static/:path*", "/favicon.ico"],
    )

    for rules in (listed, by_default):
        for path in ("/admin", "/admin/users", "/admin/users/1"):
            assert rules.judge(path) == "protected"
        assert rules.judge("/") == rules.judge("/about") == "public"
    assert by_default.judge("/static/site.css") == "excluded"
    assert by_default.judge("/favicon.ico") == "excluded"
    # What nobody thought of: each way has its own answer.
    assert listed.judge("/new") == "public"
    assert by_default.judge("/new") == "protected"


def test_patterns_may_come_from_an_iterator() -> None:
    rules = AccessRules(protected_paths=iter(["/a", "/b"]))

    assert rules.judge("/b") == "protected"


def test_decision_is_the_same_the_second_time_and_for_a_long_path() -> None:
    rules = AccessRules(require_auth=True, public_paths=["/docs/:path*"])
    long = f"/docs/{'x' * 5000}"

    for _ in range(2):
        assert rules.judge("/docs/a") == rules.judge(long) == "public"
        assert rules.judge("/a") == rules.judge(f"/{long}") == "protected"


def test_paths_of_strangers_do_not_fill_the_memory() -> None:
    rules = AccessRules(require_auth=True)
    tracemalloc.start()
    for number in range(5000):
        rules.judge(f"/{number:0200}")
    before, _ = tracemalloc.get_traced_memory()
    for number in range(5000, 20_000):
        rules.judge(f"/{number:0200}")
        rules.judge(f"/{number:01000}")
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after - before < 100_000
