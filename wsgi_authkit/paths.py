"""Return paths: where a person is sent after signing in, out or over.

A return path comes from a query, a form or a link, so it is an attacker's as long as
it is not checked. It goes out as a path-only ``Location``, which browsers read by the
URL standard of WHATWG and other programs by RFC 3986; it must stay on this site for
both, and also after a proxy or an app has decoded it once more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from typing import Final
from urllib.parse import quote, unquote

#: Bytes of the longest return path, as it is sent.
MAX_RETURN_PATH: Final = 2000

# C0, DEL and C1: browsers remove tab and line ends from a URL before they read it, and
# a line end would start a new header. They read a backslash as a slash.
_REFUSED: Final = re.compile(r"[\x00-\x1F\x7F-\x9F\\]")
# A segment is a dot segment also with parameters, as some servers and urllib drop them.
_DOT_SEGMENT: Final = re.compile(r"(?:^|/)\.{1,2}(?=[/;]|\Z)")
# Characters that look like a slash, a backslash or a dot and that NFKC keeps.
_LOOK_ALIKES: Final = str.maketrans(
    {
        "\u2044": "/",
        "\u2215": "/",
        "\u27cb": "/",
        "\u29f8": "/",
        "\u2216": "\\",
        "\u27cd": "\\",
        "\u29f5": "\\",
        "\u29f9": "\\",
        "\u3002": ".",
    }
)

# The ASCII characters that WHATWG leaves as they are; all others are percent-encoded.
# The apostrophe of a query is legal (RFC 3986 3.4) and left alone too.
_PATH_SAFE: Final = "!$%&'()*+,-./:;=@[]^_|~"
_QUERY_SAFE: Final = _PATH_SAFE + "?`{}"
_FRAGMENT_SAFE: Final = _PATH_SAFE + "?#{}"


def safe_return_path(
    value: str | None, *, default: str = "/", forbidden: Collection[str] = ()
) -> str:
    """Return ``value`` as a path on this site, or ``default`` where it may lead off it.

    The result is ASCII, has exactly one leading slash, and keeps query and fragment.
    Percent-encoded text stays as it is; characters that a URL cannot hold are encoded
    as browsers do. Nothing is repaired: a URL, a second leading slash, a backslash, a
    control character or a dot segment is refused, plain, percent-encoded up to twice,
    or as a Unicode look-alike. A query may hold anything that is percent-encoded.

    :param value: What the browser, or the app, asked for.
    :param default: Returned as it is.
    :param forbidden: Decoded paths not to return to, such as our own endpoints. They
        are compared with the decoded path; repeated and trailing slashes do not count.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MAX_RETURN_PATH:
        return default
    if _REFUSED.search(value) or value.endswith(" "):  # browsers drop a trailing space
        return default
    path, query, fragment = _split(value)
    if not _stays_here(path, {_without_slashes(entry) for entry in forbidden}):
        return default
    try:
        result = _encode(path, query, fragment)
    except UnicodeEncodeError:  # a lone surrogate is no character
        return default
    return result if len(result) <= MAX_RETURN_PATH else default


def _split(value: str) -> tuple[str, str, str]:
    before, _, fragment = value.partition("#")
    path, _, query = before.partition("?")
    return path, query, fragment


def _encode(path: str, query: str, fragment: str) -> str:
    result = quote(path, safe=_PATH_SAFE)
    if query:
        result += "?" + quote(query, safe=_QUERY_SAFE)
    if fragment:
        result += "#" + quote(fragment, safe=_FRAGMENT_SAFE)
    return result


def _stays_here(path: str, forbidden: Collection[str]) -> bool:
    try:
        readings = set(_readings(path))
    except UnicodeDecodeError:  # overlong UTF-8 (%C0%AF) is a slash to some
        return False
    return all(
        is_plain(reading) and _without_slashes(reading) not in forbidden
        for reading in readings
    )


def _readings(path: str) -> Iterator[str]:
    """Yield all that a server, a proxy or a browser may come to read in ``path``.

    A look-alike can hide a percent sign, and a combining character can hide behind one:
    so both orders of folding and decoding are there.
    """
    for reading in (path, _fold(path)):
        once = unquote(reading, errors="strict")
        for decoded in (reading, once, unquote(once, errors="strict")):
            yield decoded
            yield _fold(decoded)


def _fold(path: str) -> str:
    return unicodedata.normalize("NFKC", path).translate(_LOOK_ALIKES)


def is_plain(path: str) -> bool:
    """Say whether all programs read a decoded path as the same one on this site.

    It begins with exactly one slash and has no dot segment, also none with parameters
    (``..;``), no backslash and no control character.
    """
    return (
        path.startswith("/")
        and not path.startswith("//")
        and not _REFUSED.search(path)
        and not _DOT_SEGMENT.search(path)
    )


def _without_slashes(path: str) -> str:
    return re.sub("/+", "/", path).rstrip("/")
