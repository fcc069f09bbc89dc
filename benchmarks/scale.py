"""What many sessions, many hostile cookies and many threads cost a process.

Every part runs in a process of its own. Memory is what the process has more than before
(its resident set), after garbage was collected.

Run it with ``make bench BENCH=scale``; ``--quick`` takes small numbers.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cost import ours
from benchmarks.cost.interpreter_lock import Latencies, Releases, latencies, releases
from benchmarks.cost.process import MIB, in_own_process, resident
from benchmarks.cost.report import Bar, machine, print_table, print_verdict, versions
from benchmarks.cost.requests import visit, visits
from benchmarks.cost.sessions import SessionMaker, cookie_header, cookies_header
from wsgi_authkit import AuthKitMiddleware
from wsgi_authkit.seal import IronEncryption

#: Entries of the cache by default.
DEFAULT_SIZE: Final = 1024
#: Sessions that are served at a time, fewer than the cache holds.
BATCH: Final = 1000
#: Sessions that are served before anything counts.
FIRST: Final = 250


def fresh_headers(maker: SessionMaker) -> Iterator[bytes]:
    """Yield ``Cookie`` headers, each with a session that nobody has seen."""
    [session] = maker.make(1)
    while True:
        yield cookie_header(maker.seal(maker.another(session)))


def used(app: AuthKitMiddleware, headers: Iterator[bytes]) -> AuthKitMiddleware:
    """Return an app that has fetched its keys and made what it makes once."""
    for header in islice(headers, FIRST):
        assert visit(app, header)[ours.KEY]
    return app


# Memory


def bytes_for_each(count: int) -> float:
    """Return the bytes that each of so many cached sessions takes."""
    maker = SessionMaker()
    headers = fresh_headers(maker)
    # Another one first, so that what any first use allocates is there already.
    used(ours.wrapped(maker, session_cache_size=1), headers)
    app = ours.wrapped(maker, session_cache_size=count)
    visit(app, None)
    before = resident()
    for header in islice(headers, count):
        visit(app, header)
    return (resident() - before) / count


@dataclass(frozen=True, slots=True)
class Stage:
    """A process that has served so many sessions, or so many hostile cookies."""

    seen: int
    #: Microseconds of the last ones when they were new, and now.
    new: float
    warm: float
    #: Bytes more than before the first one.
    growth: int


def many_sessions(counts: Sequence[int]) -> list[Stage]:
    """Return how a process fares that meets more and more sessions."""
    maker = SessionMaker()
    headers = fresh_headers(maker)
    app = used(ours.wrapped(maker), headers)
    before, seen, stages = resident(), 0, []
    for count in counts:
        times: list[float] = []
        while seen < count:
            batch = list(islice(headers, BATCH))
            times.append(visits(app, batch)(BATCH))
            seen += BATCH
        warm = statistics.median(visits(app, batch)(BATCH) for _ in range(9))
        new = statistics.median(times[-9:])
        del batch
        stages.append(Stage(seen, new, warm, resident() - before))
    return stages


def hostile_headers(maker: SessionMaker) -> Iterator[bytes]:
    """Yield ``Cookie`` headers that hold no session, each another one."""
    [session] = maker.make(1)
    good = maker.seal(session)
    foreign = IronEncryption(secrets.token_urlsafe(32))
    signed, _, mac = good.rpartition("*")
    while True:
        for _ in range(9):
            text = secrets.token_urlsafe(12)
            # A MAC of nobody's, a seal that is none, chunks, and two at once.
            yield cookie_header(f"{signed}*{text}{mac[len(text) :]}")
            yield cookie_header(f"{good[:-20]}{text}")
            yield cookies_header(
                f"wos-session.0=2.{good[:1200]}", f"wos-session.1={text}{good[1200:]}"
            )
            yield cookies_header(f"wos-session={text}", f"wos-session={text}{good}")
        yield cookie_header(foreign.seal(session.payload))


def hostile_cookies(counts: Sequence[int]) -> list[Stage]:
    """Return how a process fares that has its cache full and is attacked."""
    maker = SessionMaker()
    headers = fresh_headers(maker)
    app = used(ours.wrapped(maker), headers)
    good = list(islice(headers, BATCH))
    visits(app, good)(BATCH)
    hostile = hostile_headers(maker)
    # What any first attack allocates, which is no growth.
    visits(app, list(islice(hostile, BATCH)))(BATCH)
    before, seen, stages = resident(), 0, []
    for count in counts:
        times: list[float] = []
        while seen < count:
            times.append(visits(app, list(islice(hostile, BATCH)))(BATCH))
            seen += BATCH
        warm = statistics.median(visits(app, good)(BATCH) for _ in range(9))
        stages.append(Stage(seen, statistics.median(times), warm, resident() - before))
    return stages


# Threads


def threads_together(counts: Sequence[int], rounds: int) -> dict[int, float]:
    """Return the warm requests a second of so many threads, medians of rounds."""
    maker = SessionMaker()
    headers = list(islice(fresh_headers(maker), BATCH))
    app = ours.wrapped(maker)
    visits(app, headers)(2 * BATCH)
    rates: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count in counts:
            rates[count].append(_rate(app, headers, count))
    return {count: statistics.median(values) for count, values in rates.items()}


def _rate(app: AuthKitMiddleware, headers: Sequence[bytes], threads: int) -> float:
    each = 64 * BATCH // threads
    barrier = threading.Barrier(threads + 1)

    def work() -> None:
        run = visits(app, headers)
        barrier.wait()
        run(each)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    return each * threads / (time.perf_counter() - start)


@dataclass(frozen=True, slots=True)
class Beside:
    """Requests beside a busy thread."""

    releases: Releases
    latencies: Latencies


def beside_a_busy_thread(warm_count: int, cold_count: int) -> tuple[Beside, Beside]:
    """Return what happens to warm and to cold requests."""
    maker = SessionMaker()
    headers = list(islice(fresh_headers(maker), BATCH))
    warm, cold = (
        visits(ours.wrapped(maker, session_cache_size=size), headers)
        for size in (DEFAULT_SIZE, 1)
    )
    warm(2 * BATCH)
    cold(BATCH)
    return (
        Beside(releases(warm, warm_count), latencies(warm, warm_count)),
        # Each of these waits.
        Beside(releases(cold, cold_count), latencies(cold, 10 * cold_count)),
    )


# The tables


def memory_part(counts: Sequence[int]) -> list[Bar]:
    """Print what a cached session takes."""
    sizes = {count: in_own_process(bytes_for_each, count) for count in counts}
    rows = [
        [f"{count:,}", f"{size / 1000:.2f}", f"{size * count / 1e6:.1f}"]
        for count, size in sizes.items()
    ]
    print_table(["cached sessions", "KB each", "MB in all"], rows)
    return [
        Bar("KB for each cached session", max(sizes.values()) / 1000, 10, 7.5),
        Bar("MB of a full default cache", sizes[DEFAULT_SIZE] * DEFAULT_SIZE / 1e6, 11),
    ]


def sessions_part(counts: Sequence[int]) -> list[Bar]:
    """Print what many live sessions cost."""
    stages = in_own_process(many_sessions, counts)
    _print_stages("live sessions", stages)
    first, last = stages[0], stages[-1]
    full = next(stage for stage in stages if stage.seen > DEFAULT_SIZE)
    return [
        Bar("warm, with most sessions / with fewest", last.warm / first.warm, 1.25, 1),
        Bar("cold, with most sessions / with fewest", last.new / first.new, 1.25, 1),
        Bar("MiB more once the cache is full", (last.growth - full.growth) / MIB, 2, 0),
    ]


def hostile_part(counts: Sequence[int]) -> list[Bar]:
    """Print what hostile cookies cost."""
    stages = in_own_process(hostile_cookies, counts)
    _print_stages("hostile cookies", stages)
    first, last = stages[0], stages[-1]
    return [
        Bar("MiB more under hostile cookies", last.growth / MIB, 16, 1),
        Bar("warm, after all of them / after few", last.warm / first.warm, 1.25, 1),
        Bar("a hostile cookie, last / first", last.new / first.new, 1.25, 1),
    ]


def _print_stages(what: str, stages: Sequence[Stage]) -> None:
    rows = [
        [
            f"{stage.seen:,}",
            f"{stage.new:.1f}",
            f"{stage.warm:.2f}",
            f"{stage.growth / MIB:.1f}",
        ]
        for stage in stages
    ]
    print_table([what, "us when new", "us warm", "MiB more"], rows)


def threads_part(counts: Sequence[int], rounds: int) -> list[Bar]:
    """Print what threads get done together."""
    rates = in_own_process(threads_together, counts, rounds)
    alone = rates[counts[0]]
    rows = [
        [str(count), f"{rate:,.0f}", f"{rate / alone:.2f}"]
        for count, rate in rates.items()
    ]
    print_table(["threads", "warm requests/s", "of one thread"], rows)
    return [
        Bar("32 threads / 1 thread, warm", rates[counts[-1]] / alone, 0.8, 1, True),
    ]


def lock_part(warm_count: int, cold_count: int) -> list[Bar]:
    """Print what happens beside a busy thread."""
    warm, cold = in_own_process(beside_a_busy_thread, warm_count, cold_count)
    rows = [
        [
            name,
            str(one.releases),
            f"{one.latencies.median:.1f}",
            f"{one.latencies.p99:.1f}",
            f"{one.latencies.waited:.1%}",
        ]
        for name, one in (("warm", warm), ("cold", cold))
    ]
    header = ("beside a busy thread", "lost the lock", "median us", "p99 us")
    print_table([*header, "took 1 ms or more"], rows)
    return [
        Bar("warm requests that lost the lock", warm.releases.lost, 0, digits=0),
        Bar("p99 of warm requests beside a busy thread, us", warm.latencies.p99, 1000),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables and return 0 if every bar is reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="take small numbers")
    quick = parser.parse_args(arguments).quick
    print("Many sessions, hostile cookies, threads\n")
    print(machine())
    print(f"{versions('wsgi-authkit', 'cryptography', 'pyjwt')}\n")
    thousands = (1_000, 10_000, 20_000) if quick else (1_000, 10_000, 100_000)
    attacks = (1_000, 20_000) if quick else (10_000, 100_000, 1_000_000)
    bars = [
        *memory_part((DEFAULT_SIZE,) if quick else (DEFAULT_SIZE, 10_000)),
        *sessions_part(thousands),
        *hostile_part(attacks),
        *threads_part((1, 2, 4, 8, 16, 32), 3 if quick else 9),
        *lock_part(5_000 if quick else 50_000, 20 if quick else 50),
    ]
    return print_verdict(bars)


if __name__ == "__main__":
    sys.exit(main())
