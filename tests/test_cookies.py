from __future__ import annotations

import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_authkit.cookies import (
    COOKIE_BUDGET,
    MAX_CHUNKS,
    CookieAttributes,
    SameSite,
    cookie_values,
    delete_cookie,
    delete_session_cookies,
    dump_cookie,
    dump_session_cookies,
    parse_cookie_header,
    session_candidates,
    split_value,
)
from wsgi_authkit.errors import CookieTooLarge

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "cookies.json").read_text("utf-8")
)
NAME = "wos-session"
ATTRIBUTES = CookieAttributes(max_age=34560000, secure=True)
SEAL = "Fe26.2*1*SEAL-_~2"
COOKIE_OCTETS = "".join(
    character
    for character in string.digits + string.ascii_letters + string.punctuation
    if character not in '",;\\'
)
SIZES = st.integers(min_value=1, max_value=16000)


def is_seal(value: str) -> bool:
    return value.startswith("Fe26.2*") and value.endswith("~2")


def value_of(size: int) -> str:
    """A value in which every position can be told from its neighbours."""
    return "".join(COOKIE_OCTETS[at % len(COOKIE_OCTETS)] for at in range(size))


def header(*pairs: tuple[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in pairs)


def keep(jar: dict[str, str], set_cookies: list[str]) -> None:
    """Do with ``Set-Cookie`` values what a browser does."""
    for set_cookie in set_cookies:
        assert len(set_cookie) <= COOKIE_BUDGET
        name, _, rest = set_cookie.partition("=")
        value, _, attributes = rest.partition("; ")
        if "Max-Age=0" in attributes.split("; "):
            jar.pop(name, None)
        else:
            jar[name] = value


# --- reading ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("cookie_header", "expected"),
    [
        pytest.param("", [], id="empty"),
        pytest.param(";;; ; ", [], id="only separators"),
        pytest.param("a=1; b=2", [("a", "1"), ("b", "2")], id="two"),
        pytest.param("a=1;b=2", [("a", "1"), ("b", "2")], id="no space"),
        pytest.param(" \ta\t=\t1 \t", [("a", "1")], id="blanks around"),
        pytest.param("a=1; a=2; a=1", [("a", v) for v in "121"], id="duplicates"),
        pytest.param("a; b=2", [("b", "2")], id="no equals sign"),
        pytest.param("=a; b=2", [("b", "2")], id="no name"),
        pytest.param("a=; b=2", [("a", ""), ("b", "2")], id="no value"),
        pytest.param("a=b=c==", [("a", "b=c==")], id="equals signs in value"),
        pytest.param('a="x"; b=2', [("a", '"x"'), ("b", "2")], id="quotes kept"),
        pytest.param('a="x;b=2', [("a", '"x'), ("b", "2")], id="open quote"),
        pytest.param(
            'a="x; b=2"', [("a", '"x'), ("b", '2"')], id="semicolon in quotes ends"
        ),
        pytest.param(
            'prefs={"a":1}; b=2', [("prefs", '{"a":1}'), ("b", "2")], id="json"
        ),
        pytest.param("q=a b=2", [("q", "a b=2")], id="a space separates nothing"),
        pytest.param("q=a,b=2", [("q", "a,b=2")], id="a comma separates nothing"),
        pytest.param(
            "$Version=1; a=1; $Path=/",
            [("$Version", "1"), ("a", "1"), ("$Path", "/")],
            id="RFC 2965",
        ),
        pytest.param("a=\xff\xfe; b=2", [("a", "\xff\xfe"), ("b", "2")], id="latin-1"),
        pytest.param("a=\x00\x07; b=2", [("a", "\x00\x07"), ("b", "2")], id="controls"),
        pytest.param("a=\ud800; b=2", [("a", "\ud800"), ("b", "2")], id="surrogate"),
        pytest.param("a\x0b=1", [("a\x0b", "1")], id="vertical tab is no blank"),
        pytest.param("a=%ZZ%2A", [("a", "%ZZ%2A")], id="nothing is decoded"),
    ],
)
def test_header_is_split_into_names_and_values(
    cookie_header: str, expected: list[tuple[str, str]]
) -> None:
    assert parse_cookie_header(cookie_header) == expected


@pytest.mark.parametrize(
    "neighbour",
    [
        pytest.param('prefs={"a":1}', id="json"),
        pytest.param('a="x', id="open quote"),
        pytest.param("a=\xff", id="latin-1"),
        pytest.param("a=\x00", id="null"),
        pytest.param("a", id="no equals sign"),
        pytest.param("=", id="only an equals sign"),
        pytest.param("", id="nothing"),
        pytest.param("a=" + "x" * 65536, id="64 KiB"),
        pytest.param("wos-session", id="our name without a value"),
        pytest.param("xwos-session=evil", id="our name with a prefix"),
        pytest.param("wos-sessionx=evil", id="our name with a suffix"),
        pytest.param("Wos-Session=evil", id="our name in another case"),
        pytest.param("q=foo wos-session=evil", id="our name in a value"),
        pytest.param("q=wos-session=evil", id="our name as a value"),
        pytest.param("q=foo, wos-session=evil", id="our name after a comma"),
        pytest.param("\xa0wos-session=evil", id="our name after a no-break space"),
    ],
)
def test_our_cookie_is_found_beside_hostile_ones(neighbour: str) -> None:
    ours = f"{NAME}={SEAL}"
    assert cookie_values(f"{neighbour}; {ours}", NAME) == [SEAL]
    assert cookie_values(f"{ours}; {neighbour}", NAME) == [SEAL]
    assert session_candidates(f"{neighbour}; {ours}; {neighbour}", NAME) == [SEAL]


@given(st.text())
def test_reader_never_raises(text: str) -> None:
    parse_cookie_header(text)
    cookie_values(text, NAME)
    session_candidates(f"{text};{NAME}={text};{NAME}.0={text};{NAME}.1={text}", NAME)


@given(st.binary(max_size=200))
def test_reader_takes_any_bytes_of_a_gateway(data: bytes) -> None:
    ours = f"{NAME}={SEAL}"
    cookie_header = f"{data.decode('latin-1')};{ours}"
    assert cookie_values(cookie_header, NAME)[-1] == SEAL


def test_values_of_one_name_come_in_order_with_duplicates() -> None:
    assert cookie_values("a=1; b=x; a=2; a=1", "a") == ["1", "2", "1"]


def test_values_of_a_name_that_is_not_there_are_none() -> None:
    assert cookie_values("ab=1; ba=2", "a") == []


@pytest.mark.parametrize("encoded", VECTORS["cookie_wire"]["percent_encoded_variants"])
def test_percent_encoded_seal_is_read(encoded: str) -> None:
    seal = VECTORS["cookie_wire"]["seal"]
    assert cookie_values(f"{NAME}={encoded}", NAME) == [seal]
    assert session_candidates(f"{NAME}={encoded}", NAME) == [seal]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("a%2Ab%7e", "a*b~", id="both cases"),
        pytest.param("%41", "A", id="letter"),
        pytest.param("%2541", "%41", id="decoded once"),
        pytest.param("%E9", "%E9", id="not ASCII"),
        pytest.param("%2A%C3%A9", "%2A%C3%A9", id="all or nothing"),
        pytest.param("%2A%", "%2A%", id="cut off"),
        pytest.param("%2A%4", "%2A%4", id="one digit"),
        pytest.param("%2A%4G", "%2A%4G", id="no hex digit"),
        pytest.param("%2A%+4", "%2A%+4", id="sign"),
        pytest.param("%2A%٣٣", "%2A%٣٣", id="digits of another script"),
        pytest.param("%0D%0A", "%0D%0A", id="line end"),
        pytest.param("a%3Bb", "a%3Bb", id="semicolon"),
        pytest.param("a+b", "a+b", id="plus is a plus"),
        pytest.param('"abc"', "abc", id="quotes"),
        pytest.param('"a%2Ab"', "a*b", id="quotes and encoding"),
        pytest.param('"abc', '"abc', id="open quote"),
        pytest.param('"', '"', id="one quote"),
        pytest.param('""abc""', '"abc"', id="one pair of quotes"),
    ],
)
def test_what_others_did_to_our_value_is_undone(value: str, expected: str) -> None:
    assert cookie_values(f"{NAME}={value}", NAME) == [expected]


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param("a" * 65536 + "%", id="one escape cut off"),
        pytest.param("%41" * 20000 + "%4", id="many escapes and one cut off"),
        pytest.param("a%" * 30000, id="no escape is whole"),
        pytest.param("%" * 65536, id="only percent signs"),
    ],
)
def test_long_value_that_is_not_properly_encoded_is_refused_quickly(value: str) -> None:
    assert cookie_values(f"{NAME}={value}", NAME) == [value]


@given(st.text(alphabet=COOKIE_OCTETS.replace("%", "")))
def test_what_was_dumped_is_read(value: str) -> None:
    pair = dump_cookie(NAME, value, ATTRIBUTES).partition(";")[0]
    assert parse_cookie_header(f"a=1; {pair}; b=2")[1] == (NAME, value)
    assert cookie_values(f"a=1; {pair}; b=2", NAME) == [value]


# --- writing ----------------------------------------------------------------


def attributes_of(config: dict[str, Any], *, verifier: bool) -> CookieAttributes:
    samesite: SameSite = {"strict": "Strict", "none": "None"}.get(
        config.get("cookieSameSite", "lax"), "Lax"
    )  # type: ignore[assignment]
    plain_http = config["redirectUri"].startswith("http:")
    return CookieAttributes(
        max_age=600 if verifier else config["cookieMaxAge"],
        secure=not plain_http or samesite == "None",
        domain=config.get("cookieDomain"),
        samesite="Lax" if verifier and samesite == "Strict" else samesite,
    )


@pytest.mark.parametrize("vector", VECTORS["set_cookie"], ids=lambda v: v["name"])
def test_set_cookie_lines_are_those_of_the_javascript_libraries(
    vector: dict[str, Any],
) -> None:
    session = attributes_of(vector["config"], verifier=False)
    verifier = attributes_of(vector["config"], verifier=True)
    name = vector["config"]["cookieName"]
    flow = "wos-auth-verifier-00000000"
    assert dump_cookie(name, SEAL, session) == vector["set_session"]
    assert delete_cookie(name, session) == vector["clear_session"]
    assert dump_cookie(flow, SEAL, verifier) == vector["set_verifier"]
    assert delete_cookie(flow, verifier) == vector["clear_verifier"]


def test_seal_of_the_javascript_libraries_needs_no_encoding() -> None:
    seal = VECTORS["cookie_wire"]["seal"]
    assert dump_cookie(NAME, seal, ATTRIBUTES).startswith(f"{NAME}={seal}; ")


def test_cookie_of_the_browser_session_has_no_max_age() -> None:
    attributes = CookieAttributes(max_age=None, secure=False, httponly=False)
    assert dump_cookie("a", "b", attributes) == "a=b; Path=/; SameSite=Lax"


def test_deletion_differs_from_writing_in_value_and_max_age_only() -> None:
    attributes = CookieAttributes(
        max_age=5, secure=True, path="/x", domain=".example.test", samesite="None"
    )
    written = dump_cookie("a", "b", attributes)
    expected = written.replace("a=b;", "a=;").replace("Max-Age=5", "Max-Age=0")
    assert delete_cookie("a", attributes) == expected


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "a=b",
        "a;b",
        "a,b",
        'a"b',
        "a/b",
        "a\n",
        "a\r\nb",
        "é",
        "a\x7f",
        "(a)",
    ],
)
def test_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a token"):
        dump_cookie(name, "b", ATTRIBUTES)


@pytest.mark.parametrize(
    "value",
    [
        *["a b", "a;b", "a; Path=/x", "a,b", 'a"b', "a\\b", "a\n", "a\t"],
        *["a\r\nSet-Cookie: b=c", "é", "\x00", "\x7f", "\ud800"],
    ],
)
def test_value_that_no_cookie_can_hold_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ValueError, match="no cookie can hold") as caught:
        dump_cookie("name", "secret" + value, ATTRIBUTES)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        pytest.param("path", "", "path", id="empty path"),
        pytest.param("path", "x", "path", id="relative path"),
        pytest.param("path", "/; Domain=evil.test", "path", id="attribute in path"),
        pytest.param("path", "/\r\nX: y", "path", id="line end in path"),
        pytest.param("path", "/\n", "path", id="line end after path"),
        pytest.param("path", "/a b", "path", id="space in path"),
        pytest.param("path", "/é", "path", id="path not ASCII"),
        pytest.param("path", "/\x7f", "path", id="DEL in path"),
        pytest.param("path", "/" + "x" * 1024, "path", id="path browsers ignore"),
        pytest.param("domain", "", "domain", id="empty domain"),
        pytest.param("domain", ".", "domain", id="dot as domain"),
        pytest.param("domain", "a..b", "domain", id="empty label"),
        pytest.param("domain", "a.test; Path=/x", "domain", id="attribute in domain"),
        pytest.param("domain", "a.test\n", "domain", id="line end after domain"),
        pytest.param("domain", "https://a.test", "domain", id="URL as domain"),
        pytest.param("domain", "a.test:443", "domain", id="port in domain"),
        pytest.param("domain", "bücher.test", "domain", id="domain not ASCII"),
        pytest.param("domain", "a" * 300, "domain", id="long domain"),
        pytest.param("max_age", -1, "max_age", id="negative"),
        pytest.param("max_age", 1.5, "max_age", id="fraction"),
        pytest.param("max_age", True, "max_age", id="boolean"),
        pytest.param("max_age", "1; Secure", "max_age", id="text"),
        pytest.param("samesite", "lax", "samesite", id="lower case"),
        pytest.param("samesite", "Lax; Domain=x", "samesite", id="attribute"),
        pytest.param("samesite", None, "samesite", id="None object"),
    ],
)
def test_attribute_that_browsers_would_not_take_is_refused(
    option: str, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ATTRIBUTES, **{option: value})


def test_samesite_none_without_secure_is_refused() -> None:
    with pytest.raises(ValueError, match="SameSite=None without Secure"):
        CookieAttributes(max_age=None, secure=False, samesite="None")


@pytest.mark.parametrize("domain", ["example.test", ".example.test", "localhost"])
def test_domain_is_written_as_given(domain: str) -> None:
    cookie = dump_cookie("a", "b", replace(ATTRIBUTES, domain=domain))
    assert f"; Domain={domain}; " in cookie


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param("__Host-a", {"secure": False}, id="host without Secure"),
        pytest.param("__Host-a", {"domain": "example.test"}, id="host with domain"),
        pytest.param("__Host-a", {"path": "/x"}, id="host with path"),
        pytest.param("__HOST-a", {"path": "/x"}, id="host in capitals"),
        pytest.param("__Secure-a", {"secure": False}, id="secure without Secure"),
        pytest.param("__secure-a", {"secure": False}, id="secure in small letters"),
    ],
)
def test_prefix_without_its_attributes_is_refused(
    name: str, changes: dict[str, Any]
) -> None:
    attributes = replace(ATTRIBUTES, **changes)
    with pytest.raises(ValueError, match="Browsers refuse the cookie"):
        dump_cookie(name, "b", attributes)
    with pytest.raises(ValueError, match="Browsers refuse the cookie"):
        delete_cookie(name, attributes)


def test_prefix_with_its_attributes_is_written() -> None:
    scoped = replace(ATTRIBUTES, domain="example.test", path="/x")
    assert dump_cookie("__Host-a", "b", ATTRIBUTES).startswith("__Host-a=b; Path=/; ")
    assert dump_cookie("__Secure-a", "b", scoped).startswith("__Secure-a=b; Path=/x; ")


def test_cookie_is_refused_from_one_byte_over_the_budget() -> None:
    room = COOKIE_BUDGET - len(dump_cookie(NAME, "", ATTRIBUTES))
    assert len(dump_cookie(NAME, "x" * room, ATTRIBUTES)) == COOKIE_BUDGET
    with pytest.raises(CookieTooLarge) as caught:
        dump_cookie(NAME, "x" * (room + 1), ATTRIBUTES)
    assert (caught.value.size, caught.value.limit) == (COOKIE_BUDGET + 1, COOKIE_BUDGET)
    assert "xxx" not in str(caught.value)


# --- chunks -----------------------------------------------------------------


def test_value_that_fits_is_written_whole_under_the_plain_name() -> None:
    room = COOKIE_BUDGET - len(dump_cookie(NAME, "", ATTRIBUTES))
    assert split_value(NAME, "x" * room, ATTRIBUTES) == [(NAME, "x" * room)]


def test_value_one_byte_longer_is_cut_into_two() -> None:
    value = value_of(COOKIE_BUDGET - len(dump_cookie(NAME, "", ATTRIBUTES)) + 1)
    (first, start), (second, end) = split_value(NAME, value, ATTRIBUTES)
    assert (first, second) == (f"{NAME}.0", f"{NAME}.1")
    assert start + end == f"2.{value}"
    assert len(dump_cookie(first, start, ATTRIBUTES)) == COOKIE_BUDGET


def test_longest_value_fills_four_chunks_and_one_byte_more_is_refused() -> None:
    with pytest.raises(CookieTooLarge) as caught:
        split_value(NAME, "x" * 20000, ATTRIBUTES)
    error = caught.value
    assert error.size == 20000
    assert "session_storage" in str(error)
    assert "xxx" not in str(error)
    cookies = dump_session_cookies(NAME, "x" * error.limit, ATTRIBUTES, ())
    assert [len(cookie) for cookie in cookies] == [COOKIE_BUDGET] * MAX_CHUNKS
    with pytest.raises(CookieTooLarge):
        split_value(NAME, "x" * (error.limit + 1), ATTRIBUTES)


def test_attributes_that_leave_no_room_are_too_large() -> None:
    name = "n" * 4094
    with pytest.raises(CookieTooLarge) as caught:
        split_value(name, "x", ATTRIBUTES)
    assert caught.value.limit == 0


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param(ATTRIBUTES, id="usual"),
        pytest.param(
            CookieAttributes(max_age=None, secure=False, httponly=False), id="shortest"
        ),
    ],
)
def test_longest_value_that_is_written_is_within_the_default_max_length(
    attributes: CookieAttributes,
) -> None:
    with pytest.raises(CookieTooLarge) as caught:
        split_value("s", "x" * 20000, attributes)
    jar: dict[str, str] = {}
    value = value_of(caught.value.limit)
    keep(jar, dump_session_cookies("s", value, attributes, ()))
    assert session_candidates(header(*jar.items()), "s") == [value]


@given(SIZES)
def test_what_was_split_is_joined(size: int) -> None:
    cookies = split_value(NAME, value_of(size), ATTRIBUTES)
    assert len(cookies) <= MAX_CHUNKS
    assert all(len(dump_cookie(*c, ATTRIBUTES)) <= COOKIE_BUDGET for c in cookies)
    assert session_candidates(header(*cookies), NAME) == [value_of(size)]


@given(SIZES, st.randoms())
def test_order_of_chunks_in_the_header_does_not_matter(size: int, random: Any) -> None:
    cookies = split_value(NAME, value_of(size), ATTRIBUTES)
    random.shuffle(cookies)
    assert session_candidates(header(*cookies), NAME) == [value_of(size)]


@given(st.lists(st.tuples(SIZES, st.booleans()), min_size=1, max_size=5))
def test_browser_never_sends_anything_but_the_last_value(
    writes: list[tuple[int, bool]],
) -> None:
    jar: dict[str, str] = {}
    for size, request_known in writes:
        value = value_of(size)
        present = set(jar) if request_known else None
        keep(jar, dump_session_cookies(NAME, value, ATTRIBUTES, present))
        assert session_candidates(header(*jar.items()), NAME) == [value]


@given(st.lists(SIZES, min_size=1, max_size=4))
def test_browser_keeps_no_stale_chunk_when_the_request_is_known(
    sizes: list[int],
) -> None:
    jar: dict[str, str] = {}
    for size in sizes:
        keep(jar, dump_session_cookies(NAME, value_of(size), ATTRIBUTES, set(jar)))
        written = split_value(NAME, value_of(size), ATTRIBUTES)
        assert set(jar) == {name for name, _ in written}


@given(SIZES, st.booleans())
def test_deleted_session_is_not_read_again(size: int, request_known: bool) -> None:
    jar: dict[str, str] = {}
    keep(jar, dump_session_cookies(NAME, value_of(size), ATTRIBUTES, ()))
    present = set(jar) if request_known else None
    keep(jar, delete_session_cookies(NAME, ATTRIBUTES, present))
    assert session_candidates(header(*jar.items()), NAME) == []
    assert not (request_known and jar)


def names(set_cookies: list[str]) -> list[str]:
    return [cookie.partition("=")[0] for cookie in set_cookies]


@pytest.mark.parametrize(
    ("size", "present", "deleted"),
    [
        pytest.param(10, [], [], id="whole, first sign-in"),
        pytest.param(10, [NAME], [], id="whole over whole"),
        pytest.param(
            10, [f"{NAME}.1", f"{NAME}.0"], [f"{NAME}.0", f"{NAME}.1"], id="shrunk"
        ),
        pytest.param(10, [f"{NAME}.3"], [f"{NAME}.3"], id="whole over a leftover"),
        pytest.param(10, ["x", f"{NAME}.4", f"{NAME}.00"], [], id="not ours"),
        pytest.param(10, None, [f"{NAME}.0"], id="whole, request unknown"),
        pytest.param(5000, [NAME], [NAME], id="grown"),
        pytest.param(
            5000, [f"{NAME}.{i}" for i in range(3)], [f"{NAME}.2"], id="fewer chunks"
        ),
        pytest.param(5000, None, [NAME], id="chunked, request unknown"),
    ],
)
def test_writing_deletes_the_names_that_the_new_layout_does_not_use(
    size: int, present: list[str] | None, deleted: list[str]
) -> None:
    cookies = dump_session_cookies(NAME, "x" * size, ATTRIBUTES, present)
    written = [name for name, _ in split_value(NAME, "x" * size, ATTRIBUTES)]
    assert names(cookies) == [*written, *deleted]
    assert cookies[len(written) :] == [delete_cookie(n, ATTRIBUTES) for n in deleted]


@pytest.mark.parametrize(
    ("present", "deleted"),
    [
        pytest.param([], [NAME], id="nothing present"),
        pytest.param([NAME], [NAME], id="whole"),
        pytest.param([f"{NAME}.2", "x"], [NAME, f"{NAME}.2"], id="leftover"),
        pytest.param(None, [NAME, f"{NAME}.0"], id="request unknown"),
    ],
)
def test_deletion_names_the_plain_cookie_and_the_chunks_that_are_there(
    present: list[str] | None, deleted: list[str]
) -> None:
    cookies = delete_session_cookies(NAME, ATTRIBUTES, present)
    assert cookies == [delete_cookie(name, ATTRIBUTES) for name in deleted]


CHUNKS = {f"{NAME}.0": "3.aaa", f"{NAME}.1": "bbb", f"{NAME}.2": "ccc"}


def test_whole_chunks_are_joined() -> None:
    assert session_candidates(header(*CHUNKS.items()), NAME) == ["aaabbbccc"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({".0": None}, [], id="first missing"),
        pytest.param({".1": None}, [], id="middle missing"),
        pytest.param({".2": None}, [], id="last missing"),
        pytest.param({".1": ""}, [], id="middle empty"),
        pytest.param({".1": '""'}, [], id="middle empty in quotes"),
        pytest.param({".0": ""}, [], id="first empty"),
        pytest.param({".3": "ddd"}, ["aaabbbccc"], id="stale chunk behind ignored"),
        pytest.param({".4": "eee"}, ["aaabbbccc"], id="fifth chunk ignored"),
        pytest.param({".01": "eee"}, ["aaabbbccc"], id="index with zero ignored"),
        pytest.param({".x": "eee"}, ["aaabbbccc"], id="index no number ignored"),
        pytest.param({".0": "2.aaa"}, ["aaabbb"], id="count lowered cuts off"),
        pytest.param({".0": "4.aaa"}, [], id="count raised"),
        pytest.param({".0": "1.aaa"}, ["aaa"], id="count one"),
        pytest.param({".0": "0.aaa"}, [], id="count zero"),
        pytest.param({".0": "5.aaa", ".3": "d", ".4": "e"}, [], id="count five"),
        pytest.param({".0": "03.aaa"}, [], id="count with zero"),
        pytest.param({".0": "+3.aaa"}, [], id="count with sign"),
        pytest.param({".0": "-3.aaa"}, [], id="count negative"),
        pytest.param({".0": " 3.aaa"}, ["aaabbbccc"], id="blank before is trimmed"),
        pytest.param({".0": "3 .aaa"}, [], id="count with blank"),
        pytest.param({".0": "3_.aaa"}, [], id="count with underscore"),
        pytest.param({".0": "٣.aaa"}, [], id="count in another script"),
        pytest.param({".0": "³.aaa"}, [], id="count superscript"),
        pytest.param({".0": "9" * 5000 + ".aaa"}, [], id="count huge"),
        pytest.param({".0": ".aaa"}, [], id="count empty"),
        pytest.param({".0": "3aaa"}, [], id="no dot"),
        pytest.param({".0": "3"}, [], id="only a count"),
        pytest.param({".0": "3.aaa.x"}, ["aaa.xbbbccc"], id="first dot counts"),
        pytest.param({".0": "3%2Eaaa"}, ["aaabbbccc"], id="encoded by an adapter"),
    ],
)
def test_chunks_are_joined_as_they_were_cut_or_not_at_all(
    changes: dict[str, str | None], expected: list[str]
) -> None:
    changed = CHUNKS | {NAME + key: value for key, value in changes.items()}
    pairs = [(name, value) for name, value in changed.items() if value is not None]
    assert session_candidates(header(*pairs), NAME) == expected


def test_swapped_chunks_do_not_give_the_value() -> None:
    swapped = CHUNKS | {f"{NAME}.1": "ccc", f"{NAME}.2": "bbb"}
    assert session_candidates(header(*swapped.items()), NAME) == ["aaacccbbb"]


@pytest.mark.parametrize("planted_in_front", [True, False])
@pytest.mark.parametrize("chunk", list(CHUNKS))
def test_chunk_planted_on_one_side_does_not_hide_the_session(
    chunk: str, planted_in_front: bool
) -> None:
    ours, planted = list(CHUNKS.items()), [(chunk, "2.evil")]
    pairs = [*planted, *ours] if planted_in_front else [*ours, *planted]
    assert "aaabbbccc" in session_candidates(header(*pairs), NAME)


# --- candidates -------------------------------------------------------------


def test_candidates_are_distinct_and_not_empty() -> None:
    cookie_header = f'{NAME}=a; {NAME}=; {NAME}=a; {NAME}=""; {NAME}=b'
    assert sorted(session_candidates(cookie_header, NAME)) == ["a", "b"]


def test_candidates_are_read_from_pairs_too() -> None:
    pairs = [("x", "1"), (NAME, "%2Aa"), (f"{NAME}.0", "1.b"), (f"{NAME}x", "c")]
    assert session_candidates(pairs, NAME) == ["*a", "b"]
    assert session_candidates(header(*pairs), NAME) == ["*a", "b"]


def test_no_header_gives_no_candidate() -> None:
    assert session_candidates("", NAME) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_of_more_values_than_the_limit_none_is_a_candidate(limit: int) -> None:
    """The one that is left out could be the person's own, and all others planted."""
    values = [(NAME, f"v{index}") for index in range(limit)]

    assert len(session_candidates(header(*values), NAME, limit=limit)) == limit
    for one_more in [(NAME, "v"), (f"{NAME}.0", "1.v")]:
        assert session_candidates(header(*values, one_more), NAME, limit=limit) == []


@pytest.mark.parametrize("suffix", [".0", ".1"])
def test_of_three_chunks_of_one_name_none_is_a_candidate(suffix: str) -> None:
    """The first and the last of each are joined; between them can be the real one."""
    chunks = [(f"{NAME}.0", "2.a"), (f"{NAME}.1", "b")]
    second = [(f"{NAME}{suffix}", "2.x")]
    third = [(f"{NAME}{suffix}", "2.y")]

    assert session_candidates(header(*chunks), NAME) == ["ab"]
    assert "ab" in session_candidates(header(*second, *chunks), NAME)
    assert session_candidates(header(*second, *chunks, *third), NAME) == []


@pytest.mark.parametrize(("count", "found"), [(2, 4), (3, 8), (4, 0)])
def test_every_join_is_tried_and_none_of_more_than_eight(
    count: int, found: int
) -> None:
    chunks = [
        (f"{NAME}.{index}", f"{count}.{text}" if index == 0 else text)
        for text in "ab"
        for index in range(count)
    ]

    assert len(session_candidates(header(*chunks), NAME)) == found


def test_value_over_the_length_is_ignored_whole_and_joined() -> None:
    whole = [(NAME, "x" * 11)]
    chunks = [(f"{NAME}.0", "2.xxxxxx"), (f"{NAME}.1", "xxxxx")]
    assert session_candidates(header(*whole, *chunks), NAME, max_length=10) == []
    found = session_candidates(header(*whole, *chunks), NAME, max_length=11)
    assert found == ["x" * 11]


def test_64_kib_value_is_ignored() -> None:
    huge = "x" * 65536
    assert session_candidates(header((NAME, huge), (NAME, SEAL)), NAME) == [SEAL]


@pytest.mark.parametrize(
    ("in_front", "behind", "found"),
    [
        pytest.param(0, 2, True, id="two behind"),
        pytest.param(2, 0, True, id="two in front"),
        pytest.param(1, 1, True, id="one on each side"),
        pytest.param(40, 0, False, id="flood in front"),
        pytest.param(0, 40, False, id="flood behind"),
        pytest.param(2, 1, False, id="one too many"),
    ],
)
def test_planted_cookies_of_the_right_form_are_tried_with_the_session_or_not_at_all(
    in_front: int, behind: int, found: bool
) -> None:
    front = [(NAME, f"Fe26.2*f{index}~2") for index in range(in_front)]
    back = [(NAME, f"Fe26.2*b{index}~2") for index in range(behind)]
    cookie_header = header(*front, (NAME, SEAL), *back)
    candidates = session_candidates(cookie_header, NAME, plausible=is_seal)
    assert (SEAL in candidates) is bool(candidates) is found


@given(
    st.lists(st.text(alphabet=COOKIE_OCTETS, max_size=20), max_size=20),
    st.lists(st.text(alphabet=COOKIE_OCTETS, max_size=20), max_size=20),
)
def test_junk_of_another_form_never_crowds_out_the_session(
    front: list[str], back: list[str]
) -> None:
    junk_front = [(NAME, f"junk{value}") for value in front]
    junk_back = [(NAME, f"junk{value}") for value in back]
    cookie_header = header(*junk_front, (NAME, SEAL), *junk_back)
    assert session_candidates(cookie_header, NAME, plausible=is_seal) == [SEAL]


@pytest.mark.parametrize(("junk", "found"), [(63, [SEAL]), (64, [])])
def test_header_full_of_session_cookies_is_not_read(
    junk: int, found: list[str]
) -> None:
    """Whoever fills 8 KB with them must not make it dearer than a session is."""
    cookie_header = header(*[(NAME, f"{n}") for n in range(junk)], (NAME, SEAL))

    assert session_candidates(cookie_header, NAME, plausible=is_seal) == found


def test_many_cookies_of_others_do_not_count() -> None:
    others = [(f"a-{NAME}-{n}", NAME) for n in range(200)]

    assert session_candidates(header(*others, (NAME, SEAL)), NAME) == [SEAL]


def test_value_that_is_too_long_for_a_cookie_is_not_decoded() -> None:
    encoded = "%2A" * 1365  # 4095 bytes

    assert cookie_values(header((NAME, encoded)), NAME) == ["*" * 1365]
    assert cookie_values(header((NAME, f"{encoded}%2A")), NAME) == [f"{encoded}%2A"]


def test_planted_whole_cookies_are_tried_with_a_chunked_session() -> None:
    planted = [(NAME, f"Fe26.2*{index}~2") for index in range(2)]
    ours = [(f"{NAME}.0", "2.Fe26.2*1*SE"), (f"{NAME}.1", "AL-_~2")]
    for pairs in ([*planted, *ours], [*ours, *planted]):
        found = session_candidates(header(*pairs), NAME, plausible=is_seal)
        assert SEAL in found


def test_planted_chunks_are_tried_with_a_whole_session() -> None:
    planted = [(f"{NAME}.0", f"1.Fe26.2*{index}~2") for index in range(2)]
    for pairs in ([*planted, (NAME, SEAL)], [(NAME, SEAL), *planted]):
        found = session_candidates(header(*pairs), NAME, plausible=is_seal)
        assert SEAL in found


def test_form_is_asked_of_the_joined_value_not_of_its_chunks() -> None:
    ours = [(f"{NAME}.0", "2.Fe26.2*1*SE"), (f"{NAME}.1", "AL-_~2")]
    assert session_candidates(header(*ours), NAME, plausible=is_seal) == [SEAL]
    assert session_candidates(header(*CHUNKS.items()), NAME, plausible=is_seal) == []
