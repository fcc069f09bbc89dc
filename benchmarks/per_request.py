"""What a request costs in a WSGI app, in microseconds, beside what is used today.

Everything runs in one process and by turns: in each of many rounds every case once, in
an order that is drawn anew; a fresh environ and a fresh text of the ``Cookie`` header
for each request. *over* is the median of what a case takes more than a middleware that
only calls the app, with the same header. *warm*: 1000 sessions by turns that were seen
before. *cold*: each is opened and verified anew.

Run it with ``make bench BENCH=per_request``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cost import minimum, ours, peers
from benchmarks.cost.node import NODE_PACKAGES, NodeCases, node_cases
from benchmarks.cost.report import Bar, machine, print_table, print_verdict, versions
from benchmarks.cost.requests import hello, identity, visit, visits
from benchmarks.cost.rounds import Run, Timings, alternate
from benchmarks.cost.sessions import (
    COOKIE_NAME,
    WITHOUT_SESSION,
    MadeSession,
    SessionMaker,
    cookie_header,
    cookies_header,
    describe,
)
from benchmarks.cost.steps import steps

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

#: Seconds that a case gets of a round.
SLICE: Final = 0.03

# Names of cases that figures are made of.
LEAST: Final = "the minimum, "
OURS: Final = "wsgi_authkit, "
IDENTITY: Final = "identity wrapper, "


@dataclass(frozen=True, slots=True)
class Case:
    """An app and the ``Cookie`` headers that it is sent by turns."""

    name: str
    app: WSGIApplication
    headers: Sequence[bytes | None]
    #: What it costs more than.
    baseline: str
    #: Finds the session in ``environ``; ``None`` for who looks for none.
    key: str | None = None
    signed_in: bool = True

    def check(self) -> None:
        """See that it does what its name says.

        :raises AssertionError: It does not.
        """
        for header in self.headers[:3]:
            environ = visit(self.app, header)
            if self.key is not None:
                assert bool(environ[self.key]) is self.signed_in, self.name


class Cookies:
    """``Cookie`` headers of all kinds."""

    def __init__(self, maker: SessionMaker, sessions: Sequence[MadeSession]) -> None:
        values = [maker.seal(session) for session in sessions]
        self.session = [cookie_header(value) for value in values]
        # PyJWT reads and verifies a token whose header was not accepted before.
        changed = [maker.with_new_header(session) for session in sessions]
        self.new_header = [cookie_header(maker.seal(session)) for session in changed]
        self.chunked = [_in_chunks(value) for value in values]
        # As long as a good one, with a MAC that is none.
        self.forged = [cookie_header(_forged(value)) for value in values]
        self.junk = [cookie_header(value[::-1]) for value in values]
        # As many as are tried, and as many as fit into what servers take.
        self.three_forged = [
            cookies_header(*(f"{COOKIE_NAME}={_forged(value, n)}" for n in range(3)))
            for value in values[:100]
        ]
        self.many = [cookies_header(*[f"{COOKIE_NAME}=a"] * 560)]


def _forged(value: str, number: int = 0) -> str:
    signed, _, mac = value.rpartition("*")
    return f"{signed}*{number}{mac[-4::-1]}~2"


def _in_chunks(value: str, size: int = 1200) -> bytes:
    parts = [value[start : start + size] for start in range(0, len(value), size)]
    parts[0] = f"{len(parts)}.{parts[0]}"
    return cookies_header(*(f"wos-session.{i}={part}" for i, part in enumerate(parts)))


def cases_of(maker: SessionMaker, cookies: Cookies) -> list[Case]:
    """Return the app alone, the minimum, and ours."""
    kinds: dict[str, Sequence[bytes | None]] = {
        "session cookie": cookies.session,
        "no Cookie header": [None],
        "other cookies only": [WITHOUT_SESSION],
    }
    alone = [
        Case(f"{IDENTITY}{kind}", identity(hello), headers, f"{IDENTITY}{kind}")
        for kind, headers in kinds.items()
    ]
    bare = Case("bare app, session cookie", hello, cookies.session, alone[0].name)
    return [bare, *alone, *_least(maker, cookies), *_ours(maker, cookies)]


def _least(maker: SessionMaker, cookies: Cookies) -> list[Case]:
    warm, cold = (ours.least(maker, keep=keep) for keep in (True, False))
    by_pyjwt = ours.least(maker, keep=False, make_verifier=minimum.pyjwt_verifier)
    return _cases(
        LEAST,
        minimum.KEY,
        ("warm", warm, cookies.session, True),
        ("cold", cold, cookies.session, True),
        ("cold, by PyJWT's decode", by_pyjwt, cookies.session, True),
        ("no Cookie header", warm, [None], False),
        ("other cookies only", warm, [WITHOUT_SESSION], False),
        ("forged cookie", warm, cookies.forged, False),
        ("junk cookie", warm, cookies.junk, False),
    )


def _ours(maker: SessionMaker, cookies: Cookies) -> list[Case]:
    warm = ours.wrapped(maker)
    cold = ours.wrapped(maker, session_cache_size=1)
    with_store = ours.wrapped(maker, session_cache_size=1, store="auto")
    return _cases(
        OURS,
        ours.KEY,
        ("warm", warm, cookies.session, True),
        ("warm, in two chunks", ours.wrapped(maker), cookies.chunked, True),
        ("cold", cold, cookies.session, True),
        ("cold, by PyJWT's decode", cold, cookies.new_header, True),
        ("cold, the default store asked", with_store, cookies.session, True),
        ("no Cookie header", warm, [None], False),
        ("other cookies only", warm, [WITHOUT_SESSION], False),
        ("forged cookie", warm, cookies.forged, False),
        ("three forged cookies", warm, cookies.three_forged, False),
        ("junk cookie", warm, cookies.junk, False),
        ("8 KB of junk cookies", warm, cookies.many, False),
    )


def _cases(
    prefix: str,
    key: str,
    *rows: tuple[str, WSGIApplication, Sequence[bytes | None], bool],
) -> list[Case]:
    anonymous = ("no Cookie header", "other cookies only")
    return [
        Case(
            f"{prefix}{kind}",
            app,
            headers,
            IDENTITY + (kind if kind in anonymous else "session cookie"),
            key,
            signed_in,
        )
        for kind, app, headers, signed_in in rows
    ]


def peer_cases(found: Sequence[peers.Peer]) -> list[Case]:
    """Return what other libraries make of a session of theirs."""
    return [
        Case(peer.name, peer.app, peer.headers, f"{IDENTITY}session cookie", peers.KEY)
        for peer in found
    ]


def print_timings(timings: Timings, cases: Sequence[Case], node: NodeCases) -> None:
    """Print a row for every case."""
    warm = over(timings, cases, f"{LEAST}warm")
    cold = over(timings, cases, f"{LEAST}cold")
    rows = []
    for name in [*(case.name for case in cases), *node]:
        cost = over(timings, cases, name)
        is_alone = name.startswith((IDENTITY, "bare app"))
        rows.append(
            [
                name,
                f"{timings.median(name):.2f}",
                f"{timings.spread(name):.0%}",
                "" if name in node else f"{cost:.2f}",
                "" if is_alone else f"{cost / warm:.2f}",
                "" if is_alone else f"{cost / cold:.3f}",
            ]
        )
    header = ("case", "us", "spread", "over", "/ min. warm", "/ min. cold")
    print_table(header, rows)


def over(timings: Timings, cases: Sequence[Case], name: str) -> float:
    """Return what a case costs: over the app, or, outside of Python, all of it."""
    for case in cases:
        if case.name == name:
            return timings.over(name, case.baseline)
    return timings.median(name)


def bars(cost: Callable[[str], float | None]) -> list[Bar]:
    """Return what has to be reached.

    :param cost: Of the case with a name, ``None`` where it was not measured.
    """

    def ratio(name: str, other: str) -> float | None:
        one, least = cost(name), cost(other)
        return None if one is None or least is None else one / least

    sdk, node = "workos (Python SDK), WebOb's cookies", "authkit-session, 16 in flight"
    compared = [
        ("warm / the minimum", "warm", "warm", 2.5, 1.8),
        ("cold / the minimum", "cold", "cold", 2.4, 2.2),
        ("no Cookie header / the minimum", *("no Cookie header",) * 2, 4.2, 2.1),
        ("other cookies only / the minimum", *("other cookies only",) * 2, 2.9, 2.0),
        ("forged cookie / the minimum's cold", "forged cookie", "cold", 0.25, 0.2),
        ("junk cookie / the minimum's cold", "junk cookie", "cold", 0.25, 0.2),
    ]
    beaten = [
        ("Python SDK / warm", sdk, "warm", 70, 95),
        ("Python SDK / cold", sdk, "cold", 2.2, 2.4),
        ("authkit-session in Node / warm", node, "warm", 100, 140),
        ("authkit-session in Node / cold", node, "cold", 3, 3.3),
    ]
    return [
        *(
            Bar(figure, ratio(f"{OURS}{kind}", f"{LEAST}{least}"), bar, aim)
            for figure, kind, least, bar, aim in compared
        ),
        *(
            Bar(figure, ratio(peer, f"{OURS}{kind}"), bar, aim, at_least=True)
            for figure, peer, kind, bar, aim in beaten
        ),
    ]


def measure(options: argparse.Namespace) -> int:
    """Measure everything, print it, and return the exit status."""
    maker = SessionMaker()
    sessions = maker.make(options.sessions)
    print(f"{len(sessions)} sessions: {describe(maker, sessions[0])}")
    with ExitStack() as stack:
        found: list[peers.Peer] = []
        node: NodeCases = {}
        if not options.without_peers:
            found = stack.enter_context(peers.peers(maker, sessions))
            node = stack.enter_context(node_cases(maker, sessions))
        cases = [*cases_of(maker, Cookies(maker, sessions)), *peer_cases(found)]
        for case in cases:
            case.check()
        runs: dict[str, Run] = {
            case.name: visits(case.app, case.headers) for case in cases
        }
        parts = steps(maker, sessions)
        timings = alternate(
            {**runs, **node, **parts},
            rounds=options.rounds,
            seconds=SLICE,
            # Each session once, and the JIT of Node.
            warm_up=2 * len(sessions),
        )
    print(f"medians of {options.rounds} rounds, spread: the middle half of them\n")
    print_timings(timings, cases, node)
    rows = [[name, f"{timings.median(name):.2f}"] for name in parts]
    print_table(("steps of a cold request, each alone", "us"), rows)

    def cost(name: str) -> float | None:
        return over(timings, cases, name) if name in timings else None

    return print_verdict(bars(cost))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and return 0 if every bar is reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--sessions", type=int, default=1000, help="by turns")
    parser.add_argument("--without-peers", action="store_true", help="ours alone")
    options: Any = parser.parse_args(arguments)
    print("What a request costs in one process\n")
    print(machine())
    print(versions("wsgi-authkit", "cryptography", "pyjwt", "webob", *peers.PACKAGES))
    print(NODE_PACKAGES.describe())
    return measure(options)


if __name__ == "__main__":
    sys.exit(main())
