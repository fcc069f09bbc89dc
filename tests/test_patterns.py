"""Path patterns, against path-to-regexp, and the path of a request."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_authkit import patterns
from wsgi_authkit.patterns import PathPatterns, readings, request_path

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "path_patterns.json").read_text("utf-8")
)


@pytest.mark.parametrize(
    "row", VECTORS["patterns"], ids=lambda row: str(row["pattern"])
)
@pytest.mark.parametrize("column", ["exact", "lenient"])
def test_pattern_matches_what_path_to_regexp_matches(
    row: dict[str, str], column: str
) -> None:
    patterns = PathPatterns([row["pattern"]], lenient=column == "lenient")
    found = ["01"[path in patterns] for path in VECTORS["paths"]]

    assert "".join(found) == row[column]


@pytest.mark.parametrize("pattern", VECTORS["refused_here"])
def test_pattern_beyond_the_part_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"^(?!$)"):
        PathPatterns([pattern])


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("", "begin with a slash"),
        ("admin", "begin with a slash"),
        ("https://app.example/admin", "begin with a slash"),
        ("//admin", "two slashes"),
        ("/a//b", "two slashes"),
        ("/a/../b", "dot segment"),
        ("/a/..;/b", "dot segment"),
        ("/.", "dot segment"),
        ("/a\\b", "backslash"),
        ("/a\nb", "control character"),
        ("/a\x00", "control character"),
        ("/a%20b", "percent-encoded"),
        ("/caf%C3%A9/:name", "percent-encoded"),
        ("/a?b=c", "'\\?' at 2"),
        ("/a/*", "'\\*' at 3"),
        ("/:a/(b|c)", "'\\(' at 4"),
        ("/a/<id>", "'<' at 3.*:name for a segment"),
        ("/a/<int:id>/pdf", "'<' at 3"),
        ("/a/[id]", r"'\[' at 3"),
        ("/^a", r"'\^' at 1"),
        ("/admin$", r"'\$' at 6"),
        ("/a|/b", r"'\|' at 2"),
        ("/a#b", "'#' at 2"),
        ("/:", "':' at 1"),
        ("/:a:b", "text between"),
        ("/:a(.*)(.*)", "text between"),
        ("/(.*)*", r"\(\.\*\) takes no \*"),
        ("/a-:b+", "needs a slash"),
    ],
)
def test_refusal_says_what_to_change(pattern: str, reason: str) -> None:
    """A pattern that can match no path would leave open what it is to protect."""
    with pytest.raises(ValueError, match=reason):
        PathPatterns([pattern])


@pytest.mark.parametrize("path", ["/admin", "/ADMIN", "/Admin/", "/aDmIn"])
def test_lenient_pattern_ignores_case_and_a_slash_at_the_end(path: str) -> None:
    for pattern in ("/admin", "/admin/", "/Admin"):
        assert path in PathPatterns([pattern], lenient=True)


@pytest.mark.parametrize(
    "path", ["/Admin", "/admin/", "/admin.", "/admin;x", "/admins"]
)
def test_exact_pattern_matches_its_path_only(path: str) -> None:
    assert "/admin" in PathPatterns(["/admin"])
    assert path not in PathPatterns(["/admin"])


def test_case_outside_ascii_is_ignored_too() -> None:
    assert "/CAF\u00c9" in PathPatterns(["/caf\u00e9"], lenient=True)
    assert "/stra\u00dfe/1" in PathPatterns(["/STRASSE/:n"], lenient=True)


@pytest.mark.parametrize("character", ["?", "#", "\u2028", "\n", "\r", "%", ";", " "])
def test_parameter_takes_anything_but_a_slash(character: str) -> None:
    path = f"/docs/a{character}b"

    assert path in PathPatterns(["/docs/:page"])
    assert path in PathPatterns(["/docs/:path*"])
    assert path in PathPatterns(["/docs/(.*)"])
    assert f"{path}/c" not in PathPatterns(["/docs/:page"])


@pytest.mark.parametrize("path", ["/a//b", "//a", "//", "/a//"])
def test_segment_is_never_empty(path: str) -> None:
    assert path not in PathPatterns(["/:one*", "/:one/:two/:three", "/a/:path+"])


@given(path=st.from_regex(patterns._SIMPLE, fullmatch=True))
def test_simple_path_is_read_as_with_care(path: str) -> None:
    found = request_path(path), readings(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patterns, "_SIMPLE", re.compile("(?!)"))
        careful = request_path(path), readings(path)

    assert found == careful == (path, frozenset((path,)))


def test_any_of_the_patterns_may_match() -> None:
    patterns = PathPatterns(["/", "/about", "/docs/:path*"])

    assert all(path in patterns for path in ("/", "/about", "/docs", "/docs/a/b"))
    assert all(path not in patterns for path in ("", "/docsx", "/about/", "/x", None))
    assert patterns
    assert not PathPatterns([])


@pytest.mark.parametrize(
    "pattern",
    [
        "/:a*/x/:b*/x/:c*/x/:d*/y",
        "/:a*/:b*/:c*/:d*/:e*/y",
        "/(.*)x(.*)x(.*)x(.*)y",
        "/:a-:b-:c-:d-:e/y",
        "/:a?/:b?/:c?/:d?/:e?/y",
        "/x:a.:b.:c.:d/y",
    ],
)
@pytest.mark.parametrize("unit", ["/x", "/x-", "x-", "x.", "/x.x"])
def test_long_path_takes_no_longer_than_it_is(pattern: str, unit: str) -> None:
    path = "/" + unit.lstrip("/") + unit * 16_000
    patterns = PathPatterns([pattern])

    start = time.perf_counter()
    assert path not in patterns
    assert time.perf_counter() - start < 1  # trying every division takes years


def test_long_pattern_is_found_in_a_long_path() -> None:
    assert "/x" * 5_000 in PathPatterns(["/:a*/x/:b*/x/:c+"])


SEGMENTS = st.lists(st.text("aB.-?\u00e9 ", min_size=1, max_size=4), max_size=5)


@given(SEGMENTS)
def test_text_matches_itself(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    if request_path(path.encode().decode("latin-1")) and "?" not in path:
        assert path in PathPatterns([path])


@given(SEGMENTS)
def test_stars_match_any_number_of_segments(segments: list[str]) -> None:
    path = "/a" + "".join(f"/{segment}" for segment in segments)

    assert path in PathPatterns(["/a/:path*"])
    assert (path in PathPatterns(["/a/:path+"])) is bool(segments)
    assert (path in PathPatterns(["/a/:one"])) is (len(segments) == 1)
    assert (path in PathPatterns(["/a/:one?"])) is (len(segments) <= 1)
    assert (path in PathPatterns(["/a/(.*)"])) is bool(segments)


# The path of a request


@pytest.mark.parametrize(
    ("path_info", "path"),
    [
        ("", "/"),
        ("/", "/"),
        ("/admin", "/admin"),
        ("/Admin/", "/Admin/"),
        ("/caf\xc3\xa9", "/caf\u00e9"),
        ("/...", "/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/a.", "/a."),
        ("/a..b", "/a..b"),
        ("/a;b=c", "/a;b=c"),
        ("/a%2e%2e", "/a%2e%2e"),
        ("/a?b#c", "/a?b#c"),
        ("/%61dmin", "/%61dmin"),
        ("/admin%2f", "/admin%2f"),
        ("/from/https%3A%2F%2Fa.example%2F", "/from/https%3A%2F%2Fa.example%2F"),
        ("/100%", "/100%"),
    ],
)
def test_path_is_decoded(path_info: str, path: str) -> None:
    assert request_path(path_info) == path


AMBIGUOUS = [
    pytest.param("//admin", id="two slashes in front"),
    pytest.param("/a//admin", id="two slashes within"),
    pytest.param("/admin//", id="two slashes at the end"),
    pytest.param("/.", id="dot"),
    pytest.param("/./admin", id="dot in front"),
    pytest.param("/a/../admin", id="dots"),
    pytest.param("/admin/..", id="dots at the end"),
    pytest.param("/admin/..;/", id="dots with a parameter"),
    pytest.param("/admin/.;x", id="dot with a parameter"),
    pytest.param("/a/%2e%2e/admin", id="dots, encoded twice"),
    pytest.param("/a/..%2fadmin", id="dots with a slash that was encoded twice"),
    pytest.param("/a%5cadmin", id="backslash, encoded twice"),
    pytest.param("/admin%00", id="NUL, encoded twice"),
    pytest.param("/a%c0%afadmin", id="overlong slash, encoded twice"),
    pytest.param("/\\admin", id="backslash"),
    pytest.param("/admin\x00", id="NUL"),
    pytest.param("/admin\n", id="line end"),
    pytest.param("/admin\x7f", id="DEL"),
    pytest.param("/admin\xc2\x85", id="C1 control"),
    pytest.param("/adm\xff", id="no UTF-8"),
    pytest.param("/\xc0\xafadmin", id="overlong slash"),
    pytest.param("/\xc0\xae\xc0\xae/admin", id="overlong dots"),
    pytest.param("/\xed\xa0\x80", id="surrogate"),
    pytest.param("/\u0430", id="no bytes in disguise"),
    pytest.param("admin", id="no slash in front"),
    pytest.param("*", id="asterisk form"),
    pytest.param("http://localhost/admin", id="absolute form"),
]


@pytest.mark.parametrize("path_info", AMBIGUOUS)
def test_path_that_can_be_read_differently_is_none(path_info: str) -> None:
    assert request_path(path_info) is None
    assert request_path(path_info) not in PathPatterns(["/(.*)"])


# What an app may take it for


@pytest.mark.parametrize(
    ("path", "others"),
    [
        ("/", set()),
        ("/admin", set()),
        ("/admin/", set()),
        ("/.well-known/x", set()),
        ("/100%", set()),
        ("/%61dmin", {"/admin"}),
        ("/admin%2fx", {"/admin/x"}),
        ("/admin%2f", {"/admin/"}),
        ("/admin%2f%2fx", {"/admin/x"}),
        ("/%2561dmin", {"/%61dmin"}),
        ("/admin;x", {"/admin"}),
        ("/a;x/b;y=z", {"/a/b"}),
        ("/admin/;x", {"/admin/"}),
        ("/;x/admin", {"/admin"}),
        ("/admin%3bx", {"/admin;x", "/admin"}),
        ("/%61;%2fb", {"/a;/b", "/%61", "/a", "/a/b"}),
        ("/admin.", {"/admin"}),
        ("/admin. ./x ", {"/admin/x"}),
        ("/...", {"/"}),
        ("/;x", {"/"}),
        ("/admin?x/y", {"/admin"}),
        ("/admin#x", {"/admin"}),
        ("/?x", {"/"}),
        ("/admin%3fx", {"/admin?x", "/admin"}),
        ("/admin;.css", {"/admin"}),
    ],
)
def test_path_has_all_the_readings_of_an_app(path: str, others: set[str]) -> None:
    assert readings(path) == {path, *others}


@pytest.mark.parametrize(
    "unit", ["x/", "%61", ";a", ".", " ", "..x", "?", "%2f", "%3b"]
)
def test_readings_of_a_long_path_take_no_longer_than_it_is(unit: str) -> None:
    start = time.perf_counter()
    assert readings("/" + unit * 16_000)
    assert time.perf_counter() - start < 1
