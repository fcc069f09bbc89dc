"""What a refresh costs the store, and what that makes of a large site.

Sessions expire one by one; every operation of a store in memory is counted, with the
bytes of its key and value. The rest is arithmetic: each live session is refreshed once
in the life of an access token, and its cookie is met for the first time after that, and
again by a process that does not keep it, or has kept it for 5 minutes.

Run it with ``make bench BENCH=store_cost``.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cost import ours
from benchmarks.cost.report import Bar, machine, print_table, print_verdict, versions
from benchmarks.cost.requests import visit
from benchmarks.cost.sessions import SessionMaker
from wsgi_authkit.session_cache import MAX_AGE
from wsgi_authkit.stores import MemoryStore
from wsgi_authkit.testing import Clock
from wsgi_authkit.tokens import refresh_buffer

#: Seconds that an access token lives by default at WorkOS, and a refresh comes early.
TOKEN_LIFE, EARLY = 300, 30
#: Seconds between two page views of somebody who is there.
BETWEEN_VIEWS: Final = 30
#: Bytes of an operation of Redis beside key and value, about: protocol, key prefix.
OVERHEAD: Final = 60
#: Bytes that Redis needs for an entry beside its key and value, about.
ENTRY: Final = 120


@dataclass
class CountingStore:
    """A store in memory that counts."""

    inner: MemoryStore = field(default_factory=MemoryStore)
    operations: Counter[str] = field(default_factory=Counter)
    #: Of keys and values, in both directions.
    transferred: int = 0
    #: Bytes written, times the seconds for which they are kept.
    byte_seconds: float = 0.0

    def get(self, key: str) -> bytes | None:
        """Return the value of ``key``, or ``None``."""
        value = self.inner.get(key)
        self._count("get", key, value)
        return value

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep ``value`` in place of any earlier one."""
        self._count("set", key, value)
        self._keep(key, value, ttl)
        self.inner.set(key, value, ttl)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Keep ``value`` only if ``key`` has none."""
        self._count("add", key, value)
        added = self.inner.add(key, value, ttl)
        if added:
            self._keep(key, value, ttl)
        return added

    def delete(self, key: str, expected: bytes | None = None) -> bool:
        """Forget ``key``, if ``expected`` is its value."""
        self._count("delete", key, expected)
        return self.inner.delete(key, expected)

    def close(self) -> None:
        """Let go of what the store holds."""
        self.inner.close()

    def reset(self) -> None:
        """Count from nothing."""
        self.operations.clear()
        self.transferred = 0
        self.byte_seconds = 0.0

    def _keep(self, key: str, value: bytes, ttl: float) -> None:
        self.byte_seconds += (ENTRY + len(key) + len(value)) * ttl

    def _count(self, operation: str, key: str, value: bytes | None) -> None:
        self.operations[operation] += 1
        self.transferred += OVERHEAD + len(key) + len(value or b"")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request costs the store."""

    name: str
    operations: Counter[str]
    transferred: int
    byte_seconds: float

    @property
    def row(self) -> list[str]:
        """Its row in the table."""
        kinds = ("get", "set", "add", "delete")
        counts = [str(self.operations[kind]) for kind in kinds]
        total = str(self.operations.total())
        return [self.name, *counts, total, str(self.transferred)]


def costs() -> tuple[list[Cost], int]:
    """Return the cost of each kind of request, and the bytes of a session cookie."""
    clock, store = Clock(), CountingStore()
    maker = SessionMaker(lifetime=TOKEN_LIFE, clock=clock)
    app = ours.wrapped(maker, store=store, clock=clock)
    made, other = maker.make(2)
    header, [warm] = maker.headers([made])[0], maker.headers([other])
    visit(app, warm)
    found: list[Cost] = []

    def count(name: str, sent: bytes) -> None:
        store.reset()
        environ = visit(app, sent)
        assert environ[ours.KEY], name
        found.append(
            Cost(name, Counter(store.operations), store.transferred, store.byte_seconds)
        )

    count("cookie seen before", warm)
    count("cookie met for the first time", header)
    clock.advance(TOKEN_LIFE - EARLY + 5)
    count("refreshed before expiry", header)
    clock.advance(EARLY)
    count("refreshed after expiry", warm)
    return found, len(maker.seal(made))


@dataclass(frozen=True, slots=True)
class Site:
    """What a site needs."""

    live: int
    #: Of access tokens, in seconds.
    life: float
    refresh: Cost
    first: Cost

    @property
    def refreshes(self) -> float:
        """Sessions that are refreshed in a second."""
        return self.live / self._fresh

    @property
    def requests(self) -> float:
        """Requests in a second."""
        return self.live / BETWEEN_VIEWS

    @property
    def looks(self) -> float:
        """Cookies that are met for the first time in a second, where all are kept."""
        return self.live / min(self._fresh, MAX_AGE)

    def operations(self, looks: float) -> float:
        """Return the operations of the store in a second."""
        refreshed = self.refreshes * self.refresh.operations.total()
        return refreshed + looks * self.first.operations.total()

    def transferred(self, looks: float) -> float:
        """Return the bytes to and from the store in a second."""
        refreshed = self.refreshes * self.refresh.transferred
        return refreshed + looks * self.first.transferred

    @property
    def _fresh(self) -> float:
        claims = {"iat": 0, "exp": self.life}
        return self.life - refresh_buffer(claims)


def print_sites(refresh: Cost, first: Cost, cookie: int) -> None:
    """Print what large sites need."""
    sizes = (10_000, 1_000_000, 100_000_000)
    sites = [Site(live, TOKEN_LIFE, refresh, first) for live in sizes]
    rows = [
        [
            f"{site.live:,}",
            f"{site.refreshes:,.0f}",
            f"{site.operations(site.looks):,.0f}",
            f"{site.operations(site.requests):,.0f}",
            f"{site.transferred(site.requests) * 8 / 1e6:,.1f}",
            f"{site.refreshes * refresh.byte_seconds / 1e6:,.0f}",
            f"{site.requests:,.0f}",
            f"{site.requests * cookie * 8 / 1e6:,.1f}",
        ]
        for site in sites
    ]
    store = ("store op/s, all kept", "none kept", "Mbit/s", "MB")
    header = ("live sessions", "refreshes/s", *store, "requests/s", "cookies Mbit/s")
    print_table(header, rows)
    lives = (TOKEN_LIFE, 900, 3600)
    rows = [
        [
            f"{site.life:.0f} s",
            f"{site.refreshes:,.0f}",
            f"{site.operations(site.looks):,.0f}",
            f"{site.operations(site.requests):,.0f}",
        ]
        for site in (Site(1_000_000, life, refresh, first) for life in lives)
    ]
    print_table(("1,000,000, tokens of", "refreshes/s", *store[:2]), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables and return 0 if every bar is reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.parse_args(arguments)
    print("What a refresh costs the store, and what large sites need\n")
    print(machine())
    print(f"{versions('wsgi-authkit')}; tokens live {TOKEN_LIFE} s and are refreshed")
    print(f"{EARLY} s early; a request every {BETWEEN_VIEWS} s for each session\n")
    found, cookie = costs()
    header = ("request", "get", "set", "add", "delete", "in all", "bytes")
    print_table(header, (cost.row for cost in found))
    warm, first, early, late = found
    print_sites(early, first, cookie)
    return print_verdict(
        [
            Bar("operations for a cookie seen before", warm.operations.total(), 0),
            Bar(
                "operations for a refresh",
                max(early.operations.total(), late.operations.total()),
                24,
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
