"""Reading ``Cookie`` and writing ``Set-Cookie`` (RFC 6265 and its successor, 6265bis).

Reader and writer are our own. The common ones lose every cookie when one of them is
odd, decode bytes that are not UTF-8 with an exception, let ``q=a wos-session=b`` set a
session cookie, or quote a value that a cookie cannot hold instead of refusing it.

A value that fits into one cookie is written byte for byte under the plain name, as the
JavaScript libraries read it. A longer one goes into *chunks*, ``<name>.0`` to
``<name>.3``, of which the first begins with their number and a dot. The chunks carry no
proof of their own: what is joined from them has to be authentic as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from typing import Final, Literal
from urllib.parse import unquote

from wsgi_authkit.errors import CookieTooLarge

#: Values of the ``SameSite`` attribute.
SameSite = Literal["Lax", "Strict", "None"]

#: Bytes of a whole ``Set-Cookie`` value. 6265bis asks browsers for 4096 of name and
#: value; some count the attributes too, and all drop a longer cookie silently.
COOKIE_BUDGET: Final = 4096
#: The most chunks a value is cut into: four are 16 KB, what servers take in a header.
MAX_CHUNKS: Final = 4

# Session cookies of a header that are looked at: to turn more away has to cost less
# than a session does.
_MAX_LOOKED_AT: Final = 64
# Chunks of one name that are tried, and joins of them: two whole sessions in three
# chunks each, which are there when ``cookie_domain`` was set, are eight.
_MAX_CHUNKS_OF_A_NAME: Final = 2
_MAX_JOINS: Final = 8
_CHUNK_SUFFIXES: Final = tuple(f".{index}" for index in range(MAX_CHUNKS))
_SUFFIXES: Final = ("", *_CHUNK_SUFFIXES)
_CHUNK_COUNTS: Final = frozenset(str(count) for count in range(1, MAX_CHUNKS + 1))

# What is taken off the ends of a value before it is looked at.
_ODD: Final = frozenset(' \t"')

#: What a ``Cookie`` header has in front of a cookie, its last two characters: nothing,
#: or what separates cookies (RFC 6265 4.2.1).
FRONTS: Final = ("", "; ")

# RFC 6265 4.1.1: `token` and `cookie-octet`.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_COOKIE_OCTETS: Final = re.compile(r"[\x21\x23-\x2B\x2D-\x3A\x3C-\x5B\x5D-\x7E]*")
_DOMAIN: Final = re.compile(r"(?=.{1,254}\Z)\.?[\w-]+(?:\.[\w-]+)*", re.ASCII)
# Browsers ignore an attribute of more than 1024 bytes (6265bis 5.6).
_PATH: Final = re.compile(r"/[\x21-\x3A\x3C-\x7E]{0,1023}")
# One way only to match any text: with two, a long value takes for ever to be refused.
_PERCENT_ENCODED: Final = re.compile(r"[^%]*(?:%[0-9A-Fa-f]{2}[^%]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class CookieAttributes:
    """The attributes of a cookie. Deletion has to repeat those of writing.

    :raises ValueError: ``path``, ``domain``, ``max_age`` or ``samesite`` is not one
        that a browser takes, or would inject another attribute.
    """

    #: Lifetime in seconds; ``None`` ends with the browser.
    max_age: int | None
    #: Send over https only. ``SameSite=None`` requires it.
    secure: bool
    #: Where the cookie is sent; starts with ``/``.
    path: str = "/"
    #: ``None`` is this host only; a domain includes its subdomains.
    domain: str | None = None
    #: Out of reach for scripts.
    httponly: bool = True
    #: ``"Lax"``, ``"Strict"`` or ``"None"``.
    samesite: SameSite = "Lax"

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise ValueError(
                "A cookie's path must start with '/' and be printable ASCII without "
                "';', at most 1024 bytes."
            )
        if self.domain is not None and not _DOMAIN.fullmatch(self.domain):
            raise ValueError("A cookie's domain must be a host name in ASCII.")
        if self.max_age is not None and not _is_whole_number(self.max_age):
            raise ValueError("A cookie's max_age must be whole seconds, 0 or more.")
        if self.samesite not in ("Lax", "Strict", "None"):
            raise ValueError("A cookie's samesite must be 'Lax', 'Strict' or 'None'.")
        if self.samesite == "None" and not self.secure:
            raise ValueError("Browsers refuse SameSite=None without Secure.")


def _is_whole_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def parse_cookie_header(header: str) -> list[tuple[str, str]]:
    """Return the names and values of a ``Cookie`` header, in order.

    Nothing is dropped or decoded but pairs without ``=`` or without a name. Equal names
    are all there, because a sibling site can add one on either side of ours. It never
    raises: whatever else is in the header, our cookie stays readable.
    """
    return _parse(header.split(";"))


def _parse(pairs: Iterable[str]) -> list[tuple[str, str]]:
    parsed = []
    for pair in pairs:
        name, separator, value = pair.partition("=")
        name = name.strip(" \t")
        if separator and name:
            parsed.append((name, value.strip(" \t")))
    return parsed


def cookie_values(header: str, name: str) -> list[str]:
    """Return all values of one of our cookies, in the order of the header.

    Quotes around a value and percent-encoding in it are undone. We write neither, but
    RFC 6265 4.1.1 allows the quotes, and adapters of other languages encode ``*`` and
    ``~`` of a seal. A value that is not properly encoded, or that decodes to something
    that no cookie of ours can hold, stays as it came.
    """
    return [
        _written_value(value) for key, value in _mentioning(header, name) if key == name
    ]


def has_cookie(header: str, names: Collection[str]) -> bool:
    """Say whether one of these cookies is in a header, and has a value."""
    return any(
        value
        for pair in header.split(";")
        for key, value in _parse([pair])
        if key in names
    )


def sole_cookie(header: str, name: str) -> str | None:
    """Return the value of a cookie that stands once and alone in a header, as it came.

    ``""`` where the name is nowhere. ``None`` where one look is not enough to know: the
    name is somewhere else too, in that of a chunk for instance, or nothing is its
    value. Where :func:`is_written_plainly`, :func:`session_candidates` has the same
    answer, at a multiple of the cost.
    """
    before, found, after = header.partition(name)
    if not found:
        return ""
    value, _, rest = after.partition(";")
    if before[-2:] not in FRONTS or value[:1] != "=" or name in rest:
        return None
    return value[1:] or None


def is_written_plainly(value: str) -> bool:
    """Say whether a value of :func:`sole_cookie` is written as we write it.

    Otherwise something has to be undone, or it is too long for a cookie.
    """
    return not (
        len(value) > COOKIE_BUDGET
        or value[0] in _ODD
        or value[-1] in _ODD
        or "%" in value
    )


def _mentioning(header: str, name: str) -> list[tuple[str, str]]:
    if name not in header:
        return []
    # Most requests carry cookies of others too; those are not taken apart.
    return _parse([pair for pair in header.split(";") if name in pair])


def _beginning(header: str, name: str) -> list[tuple[str, str]]:
    """Return the cookies whose names begin with a name, none where they are many."""
    if name not in header:
        return []
    pairs = [pair for pair in header.split(";") if pair.lstrip(" \t").startswith(name)]
    return _parse(pairs) if len(pairs) <= _MAX_LOOKED_AT else []


def _written_value(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if (
        "%" in value
        and len(value) <= COOKIE_BUDGET
        and _PERCENT_ENCODED.fullmatch(value)
    ):
        decoded = unquote(value, encoding="latin-1")
        if _COOKIE_OCTETS.fullmatch(decoded):
            return decoded
    return value


def dump_cookie(name: str, value: str, attributes: CookieAttributes) -> str:
    """Return the value of a ``Set-Cookie`` header.

    :raises ValueError: The name is not a token, the value has other characters than
        cookie-octets, or the name's prefix asks for attributes that are not there.
    :raises CookieTooLarge: It is over :data:`COOKIE_BUDGET` bytes.
    """
    _check_name(name, attributes)
    if not _COOKIE_OCTETS.fullmatch(value):
        raise ValueError(
            f"The value of the cookie {name!r} has characters that no cookie can hold "
            "(RFC 6265 4.1.1); encode it first."
        )
    cookie = f"{name}={value}{_dump_attributes(attributes)}"
    if len(cookie) > COOKIE_BUDGET:
        raise CookieTooLarge(
            f"The cookie {name!r} needs {len(cookie)} bytes with its attributes; "
            f"browsers drop one of more than {COOKIE_BUDGET}. Store less in it.",
            size=len(cookie),
            limit=COOKIE_BUDGET,
        )
    return cookie


def delete_cookie(name: str, attributes: CookieAttributes) -> str:
    """Return the ``Set-Cookie`` value that deletes a cookie.

    :param attributes: Those that it was written with: a browser finds the cookie by
        name, domain and path, and keeps prefixed and ``Secure`` ones from others.
    :raises ValueError: As for :func:`dump_cookie`.
    """
    return dump_cookie(name, "", replace(attributes, max_age=0))


def _check_name(name: str, attributes: CookieAttributes) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"The cookie name {name!r} is not a token (RFC 6265 4.1.1).")
    prefix = name.lower()  # browsers ignore the case of a prefix (6265bis 5.7)
    if prefix.startswith(("__secure-", "__host-")) and not attributes.secure:
        raise ValueError(f"Browsers refuse the cookie {name!r} without Secure.")
    if prefix.startswith("__host-") and (attributes.domain or attributes.path != "/"):
        raise ValueError(
            f"Browsers refuse the cookie {name!r} with a domain or with a path other "
            "than '/'."
        )


def _dump_attributes(attributes: CookieAttributes) -> str:
    parts = ["", f"Path={attributes.path}"]
    if attributes.domain is not None:
        parts.append(f"Domain={attributes.domain}")
    if attributes.max_age is not None:
        parts.append(f"Max-Age={attributes.max_age}")
    if attributes.httponly:
        parts.append("HttpOnly")
    if attributes.secure:
        parts.append("Secure")
    parts.append(f"SameSite={attributes.samesite}")
    return "; ".join(parts)


def split_value(
    name: str, value: str, attributes: CookieAttributes
) -> list[tuple[str, str]]:
    """Return the names and values of the cookies that hold ``value``.

    One under the plain name where that is within :data:`COOKIE_BUDGET`, otherwise as
    many chunks as needed.

    :raises CookieTooLarge: :data:`MAX_CHUNKS` chunks do not hold it.
    """
    overhead = len(name) + len("=") + len(_dump_attributes(attributes))
    if overhead + len(value) <= COOKIE_BUDGET:
        return [(name, value)]
    capacity = COOKIE_BUDGET - overhead - len(_CHUNK_SUFFIXES[0])
    limit = max(0, MAX_CHUNKS * capacity - len("4."))
    if len(value) > limit:
        raise CookieTooLarge(
            f"The session needs {len(value)} bytes in the cookie {name!r}; its "
            f"{MAX_CHUNKS} chunks hold {limit}. Put fewer permissions and custom "
            "claims into the access token (JWT template in the WorkOS dashboard), or "
            "keep sessions on the server with a session_storage of your own.",
            size=len(value),
            limit=limit,
        )
    count = -(-(len(value) + len("4.")) // capacity)
    text = f"{count}.{value}"
    chunks = [text[at : at + capacity] for at in range(0, len(text), capacity)]
    return [(f"{name}.{index}", chunk) for index, chunk in enumerate(chunks)]


def dump_session_cookies(
    name: str,
    value: str,
    attributes: CookieAttributes,
    present: Collection[str] | None,
) -> list[str]:
    """Return the ``Set-Cookie`` values that store ``value``, whole or in chunks.

    They are followed by deletions of what an earlier, longer or shorter value left
    behind, so that it is never read again.

    :param present: Names of the cookies that the request carried. ``None`` where there
        is no request; then only the name that could still be read is deleted: chunks
        without the first are dead.
    :raises ValueError: As for :func:`dump_cookie`.
    :raises CookieTooLarge: As for :func:`split_value`.
    """
    cookies = split_value(name, value, attributes)
    written = [key for key, _ in cookies]
    if present is None:
        present = (name, name + _CHUNK_SUFFIXES[0])
    stale = [
        key for key in _session_names(name) if key in present and key not in written
    ]
    return [
        *(dump_cookie(key, chunk, attributes) for key, chunk in cookies),
        *(delete_cookie(key, attributes) for key in stale),
    ]


def delete_session_cookies(
    name: str, attributes: CookieAttributes, present: Collection[str] | None
) -> list[str]:
    """Return the ``Set-Cookie`` values that delete a session, whole or in chunks.

    :param present: As for :func:`dump_session_cookies`. The plain name is deleted
        whether it is present or not.
    :raises ValueError: As for :func:`dump_cookie`.
    """
    if present is None:
        present = (name + _CHUNK_SUFFIXES[0],)
    chunks = [key for key in _session_names(name)[1:] if key in present]
    return [delete_cookie(key, attributes) for key in (name, *chunks)]


def _session_names(name: str) -> list[str]:
    return [name + suffix for suffix in _SUFFIXES]


def session_candidates(
    cookies: str | Sequence[tuple[str, str]],
    name: str,
    *,
    limit: int = 3,
    max_length: int = 16384,
    plausible: Callable[[str], bool] | None = None,
    some: bool = False,
) -> list[str]:
    """Return the values that may be the session, each once.

    A sibling site can plant cookies of our name, before and behind ours, and each try
    costs a MAC, so the tries are few. Of more values than can be tried none is
    returned: those that are left out may be the person's own, and a session that was
    planted, in as many texts as it takes, would be believed in its place.

    Chunks are joined as they were cut or not at all: the first begins with a number
    from 1 to 4 and a dot, and that many are there; further ones are ignored. Where
    names come twice, every join is tried, for chunks can be planted on either side;
    three of one name, and more than eight joins, are more than can be tried.

    :param cookies: The ``Cookie`` header, or what :func:`parse_cookie_header` returns.
    :param limit: The most values that are tried; the joins of one first chunk are one.
    :param max_length: Longer values, in characters, are ignored.
    :param plausible: Whether a value has the form of a session. Others do not count
        towards ``limit``, so whoever plants cookies has to imitate the form at least.
    :param some: Where there are more, return those at the ends of the header, of chunks
        too: for who wants to end sessions and believes none.
    """

    def acceptable(values: Iterable[str]) -> list[str]:
        fitting = [value for value in dict.fromkeys(values) if len(value) <= max_length]
        return fitting if plausible is None else list(filter(plausible, fitting))

    values = _session_values(cookies, name)
    whole = acceptable(values.get("", []))
    joins: list[list[str]] = []
    if _CHUNK_SUFFIXES[0] in values:
        chunks = [list(dict.fromkeys(values.get(one, ()))) for one in _CHUNK_SUFFIXES]
        if some:
            chunks = [[*each[:1], *each[1:][-1:]] for each in chunks]
        if max(map(len, chunks)) > _MAX_CHUNKS_OF_A_NAME:
            return []
        joins = [found for first in chunks[0] if (found := _joins(first, chunks))]
        if sum(map(len, joins)) > _MAX_JOINS and not some:
            return []
        joins = [kept for found in joins if (kept := acceptable(found))]
    joined = list(chain.from_iterable(joins))
    if len(whole) + len(joins) > limit:
        if not some:
            return []
        half = limit // 2
        whole = [*whole[:half], *whole[half:][-half:]]
    return list(dict.fromkeys((*whole, *joined)))


def _session_values(
    cookies: str | Sequence[tuple[str, str]], name: str
) -> dict[str, list[str]]:
    """Return the values of the session's cookies by suffix, without empty ones."""
    pairs = _beginning(cookies, name) if isinstance(cookies, str) else cookies
    values: dict[str, list[str]] = {}
    for key, value in pairs:
        suffix = key[len(name) :]
        if key.startswith(name) and suffix in _SUFFIXES:
            written = _written_value(value)
            if written:
                values.setdefault(suffix, []).append(written)
    return values


def _joins(first: str, chunks: list[list[str]]) -> list[str]:
    """Return what the chunks come to that begin with one; nothing if any is missing."""
    count, dot, start = first.partition(".")
    if not dot or count not in _CHUNK_COUNTS:
        return []
    return [start + "".join(rest) for rest in product(*chunks[1 : int(count)])]
