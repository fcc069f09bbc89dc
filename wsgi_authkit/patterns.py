"""Path patterns: which paths a rule is about.

Patterns are the part of path-to-regexp 6 that the ``matcher`` of a Next.js middleware
is mostly written in:

* text stands for itself;
* ``:name`` is one segment, or a part of one: one character or more, anything but a
  slash;
* ``:name?`` may be missing, ``:name*`` is any number of segments, ``:name+`` one or
  more. The slash, or dot, in front belongs to it: ``/docs/:path*`` matches ``/docs``;
* ``(.*)`` is anything, slashes too.

What other routers and regular expressions write, ``<id>``, ``[id]``, ``^`` or a ``$``
at the end, is refused: taken for text, it would match no path and protect nothing.

They match a whole path, decoded, below the point that the app is mounted at. Matching
takes time in proportion to the path, whatever the pattern: the path is an attacker's,
and a regular expression made of ``/:a*/x/:b*`` would try every way to divide it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final
from urllib.parse import unquote

from wsgi_authkit._wsgi import decode
from wsgi_authkit.paths import is_plain

_TOKEN: Final = re.compile(
    r"""
      (?P<prefix>[/.]?)
      (?: : (?P<name>[A-Za-z0-9_]+) (?P<custom>\(\.\*\))? | (?P<any>\(\.\*\)) )
      (?P<modifier>[?*+]?)
    | (?!\$\Z) (?P<text>[^:(){}\\?*+<>\[\]^|#])
    """,
    re.VERBOSE,
)
_URL_DELIMITER: Final = re.compile("[?#]")
# Most paths, which nobody reads differently; most rules are asked about nothing else.
_SIMPLE: Final = re.compile(r"/|(?:/[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*)+/?")
_SLASHES: Final = re.compile("/{2,}")
_ENCODED: Final = re.compile("%[0-9A-Fa-f]{2}")

# From the positions in a path that are reached, in order, to those reached next.
_Step = Callable[[str, Sequence[int]], Sequence[int]]


def request_path(path_info: str) -> str | None:
    """Return the path of a request as text, ``None`` where it can be read differently.

    Not UTF-8, a dot segment (also ``..;``), two slashes in a row, a backslash, a
    control character: servers, proxies, frameworks and file systems do not agree on
    what such a path means, so no rule that frees a path may rest on it. Nor on one
    that an app makes such a path of when it decodes it once more.
    """
    if _SIMPLE.fullmatch(path_info):
        return path_info
    try:
        path = decode(path_info) or "/"
        return path if _is_unambiguous(path) else None
    except UnicodeError:
        return None


def readings(path: str) -> frozenset[str]:
    """Return what an app may take a path of :func:`request_path` for, itself included.

    Some decode it once more, and some leave out the parameters of a segment
    (``;name=value``), dots and spaces at its end, what follows ``?`` or ``#``, and
    empty segments. A rule that protects a reading holds for the path, and a path is
    free only where all of its readings are: ``/admin;.css`` is no style sheet to all.
    """
    if _SIMPLE.fullmatch(path):
        return frozenset((path,))
    bare = _bare(path)
    decoded = [_SLASHES.sub("/", unquote(reading)) for reading in (path, bare)]
    return frozenset((path, bare, *decoded, *map(_bare, decoded)))


def _bare(path: str) -> str:
    before = _URL_DELIMITER.split(path, maxsplit=1)[0]
    segments = [part.partition(";")[0].rstrip(". ") for part in before.split("/")]
    kept = "".join(f"/{segment}" for segment in segments if segment)
    return kept if kept and segments[-1] else f"{kept}/"


def _is_unambiguous(path: str) -> bool:
    # A URL within a path (`http%3A%2F%2F`) is common, so more slashes may appear.
    return (
        "//" not in path
        and is_plain(path)
        and ("%" not in path or is_plain(unquote(path, errors="strict")))
    )


class PathPatterns:
    """A list of path patterns.

    :param patterns: The patterns, compiled here.
    :param lenient: Ignore case and one slash at the end of a path: for rules that
        protect, since the router behind may ignore them too.
    :raises ValueError: A pattern is not of the form above.
    """

    __slots__ = ("_beginnings", "_compiled", "_lenient", "_texts")

    def __init__(self, patterns: Iterable[str], *, lenient: bool = False) -> None:
        self._lenient = lenient
        texts = set()
        compiled = []
        for pattern in patterns:
            found = _compile(pattern.casefold() if lenient else pattern)
            if isinstance(found, str):
                texts.add(found)
            else:
                compiled.append(found)
        self._texts = frozenset(texts)
        self._compiled = tuple(compiled)
        # One look tells most paths that no pattern is for.
        self._beginnings = tuple(beginning for beginning, _ in compiled)

    def __bool__(self) -> bool:
        return bool(self._texts or self._compiled)

    def __contains__(self, path: str | None) -> bool:
        """Say whether one of the patterns matches a path of :func:`request_path`."""
        if path is None:
            return False
        if not self._lenient:
            return self._has(path)
        path = path.casefold().removesuffix("/")
        return self._has(path) or self._has(f"{path}/")

    def _has(self, path: str) -> bool:
        return path in self._texts or (
            path.startswith(self._beginnings)
            and any(
                path.startswith(beginning) and _matches(steps, path)
                for beginning, steps in self._compiled
            )
        )


def _matches(steps: Sequence[_Step], path: str) -> bool:
    positions: Sequence[int] = (0,)
    for step in steps:
        positions = step(path, positions)
        if not positions:
            return False
    return positions[-1] == len(path)


def _compile(pattern: str) -> str | tuple[str, tuple[_Step, ...]]:
    """Return how a path begins that matches, and the steps of the pattern.

    A pattern that is text and nothing else is returned as it is.

    :raises ValueError: It is not of the form that is understood, or matches no path.
    """
    _check_text(pattern)
    steps: list[_Step] = []
    beginning = text = ""
    for token in _tokens(pattern):
        if token["text"]:
            text += token["text"]
            continue
        if not steps:
            beginning = text
        if text:
            steps.append(_text_step(text))
        elif steps and not token["prefix"]:
            raise ValueError("there must be text between two parameters")
        text = ""
        steps.append(_parameter_step(token))
    if text and steps:
        steps.append(_text_step(text))
    return (beginning, tuple(steps)) if steps else pattern


def _check_text(pattern: str) -> None:
    if not pattern.startswith("/"):
        raise ValueError("it must begin with a slash")
    if _ENCODED.search(pattern):
        raise ValueError("it is percent-encoded; paths are compared decoded")
    if not _is_unambiguous(pattern):
        raise ValueError(
            "it has a dot segment, two slashes in a row, a backslash or a control "
            "character; a path with one is in no list"
        )


def _tokens(pattern: str) -> Iterator[re.Match[str]]:
    position = 0
    while position < len(pattern):
        token = _TOKEN.match(pattern, position)
        if token is None:
            raise ValueError(
                f"{pattern[position]!r} at {position} is not understood; there are "
                "text, :name for a segment, :name?, :name*, :name+ and (.*)"
            )
        position = token.end()
        yield token


def _parameter_step(token: re.Match[str]) -> _Step:
    prefix, modifier = token["prefix"], token["modifier"]
    if token["any"] or token["custom"]:
        if modifier:
            raise ValueError(f"(.*) takes no {modifier}")
        return _anything_step(prefix)
    if modifier in ("*", "+") and not prefix:
        raise ValueError(f"a parameter with {modifier} needs a slash in front of it")
    step = _segment_step(prefix, repeats=modifier in ("*", "+"))
    return _optional(step) if modifier in ("?", "*") else step


def _text_step(text: str) -> _Step:
    def step(path: str, starts: Sequence[int]) -> Sequence[int]:
        return [start + len(text) for start in starts if path.startswith(text, start)]

    return step


def _segment_step(prefix: str, *, repeats: bool) -> _Step:
    def step(path: str, starts: Sequence[int]) -> Sequence[int]:
        ends: list[int] = []
        reached = 0  # all ends up to here are known
        for start in starts:
            begin = start
            while path.startswith(prefix, begin):
                begin += len(prefix)
                if begin < reached:
                    break
                stop = path.find("/", begin)
                stop = len(path) if stop < 0 else stop
                if stop == begin:
                    break
                ends += range(begin + 1, stop + 1)
                begin = reached = stop
                if not repeats:
                    break
        return ends

    return step


def _anything_step(prefix: str) -> _Step:
    def step(path: str, starts: Sequence[int]) -> Sequence[int]:
        for start in starts:
            if path.startswith(prefix, start):
                return range(start + len(prefix), len(path) + 1)
        return ()

    return step


def _optional(step: _Step) -> _Step:
    def optional(path: str, starts: Sequence[int]) -> Sequence[int]:
        return sorted({*starts, *step(path, starts)})

    return optional
