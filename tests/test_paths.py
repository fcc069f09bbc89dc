from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsgi_authkit.paths import MAX_RETURN_PATH, safe_return_path

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "vectors" / "return_paths.json").read_text("utf-8")
)["return_paths"]
ORIGIN = "https://app.example.test"
BASE = f"{ORIGIN}/x"
DEFAULT = "/default"

# --- two readers of a Location, independent of the code under test -----------


def whatwg_resolve(location: str) -> tuple[str, str]:
    """Resolve ``location`` against :data:`BASE` as a browser does.

    The part of the URL standard that decides about the origin, in its own steps.

    :return: The origin, or the scheme where it has none, and the path.
    """
    text = location.strip("".join(map(chr, range(0x21))))
    text = re.sub(r"[\t\n\r]", "", text)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.\-]*):", text)
    if scheme and scheme[1].lower() != "https":
        return scheme[1].lower(), text[scheme.end() :]
    if scheme:
        text = text[scheme.end() :]
        if not text.startswith("//"):
            return whatwg_relative(text)
        return whatwg_authority(text)
    return whatwg_relative(text)


def whatwg_relative(text: str) -> tuple[str, str]:
    if text[:1] in ("/", "\\") and text[1:2] in ("/", "\\"):
        return whatwg_authority(text)
    path = re.split(r"[?#]", text)[0].replace("\\", "/")
    return ORIGIN, whatwg_path(path if path.startswith("/") else f"/{path}")


def whatwg_authority(text: str) -> tuple[str, str]:
    rest = text.lstrip("/\\")  # "special authority ignore slashes state"
    authority = re.split(r"[/\\?#]", rest)[0]
    path = re.split(r"[?#]", rest[len(authority) :])[0].replace("\\", "/")
    host = authority.rpartition("@")[2].lower()
    return f"https://{host}", whatwg_path(path or "/")


def whatwg_path(path: str) -> str:
    segments: list[str] = []
    parts = path.split("/")[1:]
    for index, part in enumerate(parts):
        plain = part.lower().replace("%2e", ".")
        last = index == len(parts) - 1
        if plain == "..":
            segments = segments[:-1]
        if plain in (".", ".."):
            segments += [""] if last else []
        else:
            segments.append(part)
    return "/" + "/".join(segments)


def origin_of(location: str) -> str:
    parts = urlsplit(urljoin(BASE, location))
    return f"{parts.scheme}://{parts.netloc}"


def leaves_the_site(location: str) -> bool:
    try:
        by_urllib = origin_of(location)
    except ValueError:
        return True
    origin, path = whatwg_resolve(location)
    return by_urllib != ORIGIN or origin != ORIGIN or path.startswith("//")


def check(value: str) -> str:
    """Check what holds for every result, and return it."""
    result = safe_return_path(value, default=DEFAULT)
    if result == DEFAULT:
        return result
    assert re.fullmatch(r"/(?![/\\])[\x21-\x7E]*", result)
    assert "\\" not in result
    assert len(result) <= MAX_RETURN_PATH
    assert not leaves_the_site(result)
    path = re.split(r"[?#]", result)[0]
    assert whatwg_resolve(result) == (ORIGIN, path)  # nothing to normalise
    assert urlsplit(urljoin(BASE, result)).path.startswith(path.partition(";")[0])
    once = unquote(path, errors="strict")
    for decoded in (once, unquote(once, errors="strict")):
        assert not leaves_the_site(decoded)  # an app or a proxy that decodes it again
    assert safe_return_path(result, default=DEFAULT) == result
    return result


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/a?b#c", (ORIGIN, "/a")),
        ("a", (ORIGIN, "/a")),
        ("https:a", (ORIGIN, "/a")),
        ("//evil.test/a", ("https://evil.test", "/a")),
        ("\\/evil.test", ("https://evil.test", "/")),
        (" \x01/\t/evil.test", ("https://evil.test", "/")),
        ("https:/x@evil.test", (ORIGIN, "/x@evil.test")),
        ("https:/\\x@evil.test", ("https://evil.test", "/")),
        ("https://x@evil.test", ("https://evil.test", "/")),
        ("/////evil.test", ("https://evil.test", "/")),
        ("javascript:alert(1)", ("javascript", "alert(1)")),
        ("/.//evil.test", (ORIGIN, "//evil.test")),
        ("/x/%2E./\\evil.test", (ORIGIN, "//evil.test")),
        ("/a/./b/..", (ORIGIN, "/a/")),
    ],
)
def test_checker_reads_as_a_browser_does(
    location: str, expected: tuple[str, str]
) -> None:
    assert whatwg_resolve(location) == expected


# --- what is kept ------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "/",
        "/dash",
        "/dash/",
        "/a//b",
        "/a.b/..c/.d/e../...",
        "/dash?x=1&y=2",
        "/dash?",
        "/dash#frag",
        "/dash?a#b?c#d",
        "/#//evil.test",
        "/?next=//evil.test",
        "/?next=https://evil.test/../x",
        "/?q=a%0Ab&next=https%3A%2F%2Fx",
        "/?q=%5C%00%2F%2e%2e%E9%zz%",
        "/?q=it's+(a)*b|c[d]{e}`^~",
        "/%zz",
        "/100%",
        "/a%20b",
        "/caf%C3%A9",
        "/@evil.test",
        "/evil.test:80",
        "/user:pw@evil.test",
        "/javascript:alert(1)",
        "/;x=1",
        "/a;b/c;d",
        "/a%3Fb%23c",
        "/!$&'()*+,;=:@-._~|[]^",
        "/%E3%80%B1evil.test",
    ],
)
def test_path_on_this_site_is_kept(value: str) -> None:
    assert check(value) == value.removesuffix("?")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("/ünï", "/%C3%BCn%C3%AF", id="path"),
        pytest.param("/a?q=ü", "/a?q=%C3%BC", id="query"),
        pytest.param("/a#ü", "/a#%C3%BC", id="fragment"),
        pytest.param("/\U0001f600", "/%F0%9F%98%80", id="astral"),
        pytest.param("/\u2028x", "/%E2%80%A8x", id="line separator"),
        pytest.param("/ü%2a?é%2a", "/%C3%BC%2a?%C3%A9%2a", id="escapes stay"),
        pytest.param("/a b?c d#e f", "/a%20b?c%20d#e%20f", id="space"),
        pytest.param('/"<>`{}', "/%22%3C%3E%60%7B%7D", id="path delimiters"),
        pytest.param('/?"<>', "/?%22%3C%3E", id="query delimiters"),
        pytest.param('/#"<>`', "/#%22%3C%3E%60", id="fragment delimiters"),
        pytest.param("/a?#", "/a", id="empty query and fragment"),
        pytest.param("/a?#b", "/a#b", id="empty query"),
        pytest.param("/½", "/%C2%BD", id="look-alike that leads nowhere"),
        pytest.param("/…", "/%E2%80%A6", id="three dots"),
    ],
)
def test_characters_that_a_url_cannot_hold_are_encoded_as_browsers_do(
    value: str, expected: str
) -> None:
    assert check(value) == expected


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: ascii(v["input"])[:40])
def test_result_is_that_of_authkit_session_or_the_default(
    vector: dict[str, Any],
) -> None:
    result = safe_return_path(vector["input"], default=DEFAULT)
    assert result in (vector["authkit_session"], DEFAULT)


def test_harmless_vectors_are_not_refused() -> None:
    """The rule above would also hold for a function that refuses everything."""
    for value in ("/", "/dash?x=1&y=2", "/dash#frag", "/@evil.test", "/%zz", "/ünï"):
        vector = next(v for v in VECTORS if v["input"] == value)
        result = safe_return_path(value, default=DEFAULT)
        assert result == vector["authkit_session"]


# --- what is refused ---------------------------------------------------------


@pytest.mark.parametrize("value", [None, "", 5, b"/dash", ["/dash"]])
def test_what_is_no_text_gives_the_default(value: Any) -> None:
    assert safe_return_path(value, default=DEFAULT) == DEFAULT


def test_default_is_the_root_unless_given() -> None:
    assert safe_return_path(None) == "/"
    assert safe_return_path("//evil.test") == "/"


# Each leads to evil.test, or runs a script, for some reader: as it stands, after a
# decoding, or after dot segments are removed.
HOSTILE = [
    "//evil.test",
    "///evil.test",
    "////evil.test/x",
    "//evil.test:80",
    "//user:pw@evil.test",
    "//app.example.test@evil.test",
    "//app.example.test.evil.test",
    "//[::1]/x",
    "//0x7f000001",
    "//evil。test",
    "//evil%E3%80%82test",
    "//evil.test%00.app.example.test",
    "/\\evil.test",
    "/\\/evil.test",
    "//\\evil.test",
    "\\\\evil.test",
    "\\/evil.test",
    "\\evil.test",
    "/\t/evil.test",
    "/\n/evil.test",
    "/\r\n/evil.test",
    "/\r\nSet-Cookie: a=b",
    "/\x00/evil.test",
    "/\x0b/evil.test",
    "/\x0c/evil.test",
    "/\x7f/evil.test",
    "/\x85/evil.test",
    "/\t\\evil.test",
    "\t//evil.test",
    " //evil.test",
    "\x01//evil.test",
    "\u00a0//evil.test",
    "\ufeff//evil.test",
    "/.//evil.test",
    "/./\\evil.test",
    "/..//evil.test",
    "/x/..//evil.test",
    "/x/y/../..//evil.test",
    "/x/.././/evil.test",
    "/..;//evil.test",
    "/.;x=1//evil.test",
    "/;/..//evil.test",
    ".//evil.test",
    "..//evil.test",
    "https://evil.test/x?y#z",
    "HTTPS://evil.test",
    "https:evil.test",
    "https:/evil.test",
    "https:///evil.test",
    "https:\\\\evil.test",
    "https://app.example.test@evil.test",
    "https://app.example.test\\@evil.test",
    "http://[",
    "ht\ntp://evil.test",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "java\tscript:alert(1)",
    "javascript://app.example.test/%0aalert(1)",
    "data:text/html,x",
    "vbscript:x",
    "?next=/",
    "#/",
    ";//evil.test",
    "@evil.test",
    ".evil.test",
    ":80",
    "evil.test",
    "/\u2044evil.test",
    "/\u2215evil.test",
    "/\uff0fevil.test",
    "/\u29f8evil.test",
    "/\u27cbevil.test",
    "/\uff3cevil.test",
    "/\ufe68evil.test",
    "/\u29f5evil.test",
    "/\u2216evil.test",
    "/\u29f9evil.test",
    "/\u27cdevil.test",
    "\uff0f\uff0fevil.test",
    "/\uff0e/\uff0fevil.test",
    "/x/\uff0e\uff0e//evil.test",
    "/x/\u2025//evil.test",
    "/x/\u2024\u2024//evil.test",
    "/\u3002/\uff0fevil.test",
    "/x/\uff61\uff61//evil.test",
    "/\uff052f/evil.test",
    "/%\uff12f/evil.test",
    "/%2f\u0307/evil.test",
    "/%c0%af/evil.test",
    "/%e0%80%af/evil.test",
    "/%c0%ae%c0%ae/evil.test",
    "/%E9",
    "/%25E9",
    "/\ud800",
    "/x\udfff?y",
    "/?\ud800",
    "/#\ud800",
    "/x ",
    "/x?y\\z",
    "/x#y\\z",
    "/x?y\nz",
    "/x#y\rz",
    "/x\\",
    "/x/../y",
    "/..",
    "/.",
    "/x/.",
    "/x/..?y",
    "/x/..#y",
    "/x/..;y",
]


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_hostile_path_gives_the_default(value: str) -> None:
    assert safe_return_path(value, default=DEFAULT) == DEFAULT


def encode_all(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))


def encode_marks(text: str) -> str:
    return re.sub(
        r"[^A-Za-z0-9%]", lambda mark: quote(mark[0], safe="", errors="replace"), text
    )


MUTATIONS = [
    pytest.param(encode_marks, id="marks encoded"),
    pytest.param(lambda text: encode_marks(encode_marks(text)), id="idempotent"),
    pytest.param(encode_all, id="all encoded"),
    pytest.param(lambda text: encode_all(text).upper(), id="capitals"),
    pytest.param(lambda text: encode_all(encode_all(text)), id="all encoded twice"),
    pytest.param(
        lambda text: encode_marks(text).replace("%", "%25"), id="marks encoded twice"
    ),
    pytest.param(lambda text: text.replace(".", "%2e"), id="dots"),
    pytest.param(lambda text: text.replace(".", "%252E"), id="dots twice"),
    pytest.param(lambda text: text.replace("/", "%2f"), id="slashes"),
    pytest.param(lambda text: text.replace("\\", "%5c"), id="backslashes"),
    pytest.param(lambda text: text.replace("/", "\\"), id="slashes turned"),
    pytest.param(lambda text: text.replace("/", "\uff0f"), id="wide slashes"),
    pytest.param(lambda text: text.replace("/", "/\t"), id="tabs in between"),
    pytest.param(lambda text: f"/{text}", id="slash in front"),
    pytest.param(lambda text: f"/%2f{text}", id="encoded slash in front"),
    pytest.param(lambda text: f"/.{text}", id="dot in front"),
    pytest.param(lambda text: f"/x/..{text}", id="dot segments in front"),
    pytest.param(lambda text: f"/%09{text}", id="encoded tab in front"),
    pytest.param(lambda text: f"/{text.lstrip('/')}", id="one slash in front"),
]


@pytest.mark.parametrize("mutate", MUTATIONS)
def test_mutation_of_a_hostile_path_stays_on_this_site(mutate: Any) -> None:
    for value in HOSTILE:
        check(mutate(value))


@pytest.mark.parametrize("mutate", MUTATIONS)
@pytest.mark.parametrize(
    "value",
    ["/evil.test", "\\evil.test", "\t/evil.test", ".//evil.test", "x/..//evil.test"],
)
def test_encoding_behind_the_first_slash_does_not_help(value: str, mutate: Any) -> None:
    assert leaves_the_site("/" + value)
    assert safe_return_path("/" + mutate(value), default=DEFAULT) == DEFAULT


@pytest.mark.parametrize(
    "value",
    [
        "/%2f/evil.test",
        "/%2F%2Fevil.test",
        "/%5cevil.test",
        "/%5C%5Cevil.test",
        "/%09/evil.test",
        "/%0d%0a/evil.test",
        "/%00",
        "/%7F",
        "/%C2%85/evil.test",
        "/%252fevil.test",
        "/%252f%252fevil.test",
        "/%255cevil.test",
        "/%2509/evil.test",
        "/%2e//evil.test",
        "/x/%2e%2E//evil.test",
        "/x/.%2e//evil.test",
        "/x/%252e%252e//evil.test",
        "/x/%25%32%65%25%32%65//evil.test",
        "/x%2f..%2f/evil.test",
        "/%EF%BC%8Fevil.test",
        "/%25EF%25BC%258Fevil.test",
        "/%E2%88%95evil.test",
        "/x/%EF%BC%8E%EF%BC%8E//evil.test",
        "/x%5c",
    ],
)
def test_encoded_path_is_judged_by_what_it_decodes_to(value: str) -> None:
    assert safe_return_path(value, default=DEFAULT) == DEFAULT
    assert safe_return_path(f"{value}?x#y", default=DEFAULT) == DEFAULT


@pytest.mark.parametrize(
    "number", [*range(0x20), *range(0x7F, 0xA0), ord("\\")], ids=hex
)
def test_control_character_or_backslash_is_refused_everywhere(number: int) -> None:
    character = chr(number)
    for value in (f"/a{character}b", f"/a?b{character}", f"/a#b{character}c"):
        assert safe_return_path(value, default=DEFAULT) == DEFAULT
    encoded = quote(character)
    assert safe_return_path(f"/a{encoded}b", default=DEFAULT) == DEFAULT
    assert check(f"/a?b={encoded}#c{encoded}") == f"/a?b={encoded}#c{encoded}"


# --- length ------------------------------------------------------------------


def test_path_is_at_most_2000_bytes_long() -> None:
    longest = "/" + "x" * 1999
    assert safe_return_path(longest, default=DEFAULT) == longest
    assert safe_return_path(longest + "x", default=DEFAULT) == DEFAULT
    assert safe_return_path("/?" + "x" * 1999, default=DEFAULT) == DEFAULT


def test_length_counts_what_is_sent() -> None:
    longest = "/a" + "ü" * 333
    assert len(check(longest)) == MAX_RETURN_PATH
    assert safe_return_path(longest + "x", default=DEFAULT) == DEFAULT


# --- forbidden ---------------------------------------------------------------

FORBIDDEN = {"/auth/sign-in", "/auth/sign-out/", "/callback", "/caf\u00e9"}


@pytest.mark.parametrize(
    "value",
    [
        "/auth/sign-in",
        "/auth/sign-in/",
        "/auth/sign-in//",
        "/auth//sign-in",
        "/auth/sign-in?return_to=/auth/sign-in",
        "/auth/sign-in#x",
        "/auth/sign%2Din",
        "/%61uth/sign-in",
        "/%2561uth/sign-in",
        "/auth%2fsign-in",
        "/\uff41uth/sign-in",
        "/auth/sign-out",
        "/callback?code=x&state=y",
        "/caf\u00e9",
        "/caf%C3%A9",
    ],
)
def test_forbidden_path_gives_the_default(value: str) -> None:
    assert check(value) != DEFAULT
    result = safe_return_path(value, default=DEFAULT, forbidden=FORBIDDEN)
    assert result == DEFAULT


@pytest.mark.parametrize(
    "value",
    ["/", "/auth", "/auth/", "/auth/sign-in/x", "/callbacks", "/x?/callback", "/Auth"],
)
def test_path_beside_a_forbidden_one_is_kept(value: str) -> None:
    assert safe_return_path(value, default=DEFAULT, forbidden=FORBIDDEN) == value


def test_root_can_be_forbidden() -> None:
    assert safe_return_path("/?x", default=DEFAULT, forbidden=["/"]) == DEFAULT
    assert safe_return_path("/x", default=DEFAULT, forbidden=["/"]) == "/x"


def test_default_is_returned_unjudged() -> None:
    assert safe_return_path(None, default="/callback", forbidden=FORBIDDEN) == (
        "/callback"
    )


# --- properties --------------------------------------------------------------

PIECES = [
    *"/\\.;:@?#%&=[]| \t\r\n\x00\x0b\x7f\x85",
    *["..", "//", "%2f", "%2F", "%5c", "%2e", "%09", "%0a", "%00", "%25", "%252f"],
    *["%", "%2", "%c0%af", "%E9", "%EF%BC%8F", "x", "evil.test", "https:", "http://"],
    *["javascript:", "user@", "\u2044", "\u2215", "\uff0f", "\u29f8", "\uff3c"],
    *["\uff0e", "\u3002", "\u2025", "\uff05", "\u0307", "\u200b", "\u00ad", "\ud800"],
]


@given(st.text())
def test_any_text_stays_on_this_site(text: str) -> None:
    check(text)
    check(f"/{text}")


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@example("%2f\u0307/evil.test")
@example("\uff052f/evil.test")
def test_any_url_made_of_hostile_pieces_stays_on_this_site(text: str) -> None:
    check(text)
    check(f"/{text}")
    check(f"/x/{text}")


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E)))
def test_query_is_kept_byte_for_byte(query: str) -> None:
    query = re.sub(r'[\\"<>#]', "", query)
    expected = f"/x?{query}" if query else "/x"
    assert check(f"/x?{query}") == expected


@given(st.text(alphabet="abc/-_~", max_size=30).map(lambda text: f"/a{text}"))
def test_harmless_path_is_never_refused(path: str) -> None:
    assert check(path) == path
