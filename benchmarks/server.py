"""Requests a second and latency under Gunicorn, with the middleware and without.

An app and what it is compared with are served at the same time and loaded by turns, in
an order that is drawn anew in each round. Their servers are started anew as well: where
a process happens to lie in memory makes up to 2 % for as long as it lives. Where the
system can, the servers stay on one core and the generator of the load on another.

Each app is compared with the same one unwrapped, with the same ``Cookie`` headers: of
one person, or of a hundred by turns, *many people*. *The minimum* is that of
``per_request``, written by hand: with the two headers that it has there, or with *our
headers*, the four of the middleware. Nothing that adds those can be faster; with many
people, whose sessions are cold for both, the middleware is measured by that.

Run it with ``make bench BENCH=server``; ``--quick`` takes few and short rounds.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cost.load import CONNECTIONS, Load, generator, stay_on
from benchmarks.cost.report import Bar, machine, print_table, print_verdict, versions
from benchmarks.cost.rounds import spread
from benchmarks.cost.sessions import WITHOUT_SESSION, SessionMaker
from benchmarks.cost.site import ISSUER
from tests.servers import Server, free_port, missing, running

#: Options of Gunicorn by the kind of worker.
WORKERS: Final[Mapping[str, Sequence[str]]] = {
    "sync": ("-k", "sync"),
    "gthread": ("-k", "gthread", "--threads=4", "--keep-alive=60"),
}
#: People who visit by turns, where there are many.
MANY: Final = 100
#: Seconds of load, after its start, in which a server is not measured.
WARMING: Final = 0.3
#: Times that each server of a round is loaded.
TURNS: Final = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """An app and who visits it."""

    name: str
    app: str
    #: How many people; nobody is signed in where there is none.
    people: int
    #: The case that it is compared with.
    unwrapped: str


#: The minimum with the headers of the middleware.
ALIKE: Final = "the minimum, our headers"

CASES: Final = (
    Case("bare app", "bare", 1, "bare app"),
    Case("the minimum, signed in", "least", 1, "bare app"),
    Case(f"{ALIKE}, signed in", "least_alike", 1, "bare app"),
    Case("wrapped, signed in", "wrapped", 1, "bare app"),
    Case("bare app, many people", "bare", MANY, "bare app, many people"),
    Case(f"{ALIKE}, many people", "least_alike", MANY, "bare app, many people"),
    Case("wrapped, many people", "wrapped", MANY, "bare app, many people"),
    Case("bare app, other cookies only", "bare", 0, "bare app, other cookies only"),
    Case("wrapped, anonymous", "wrapped", 0, "bare app, other cookies only"),
    Case("Flask", "flask", 1, "Flask"),
    Case(f"Flask in {ALIKE}, signed in", "flask_least_alike", 1, "Flask"),
    Case("Flask wrapped, signed in", "flask_wrapped", 1, "Flask"),
    Case("Flask, many people", "flask", MANY, "Flask, many people"),
    Case(
        f"Flask in {ALIKE}, many people",
        "flask_least_alike",
        MANY,
        "Flask, many people",
    ),
    Case("Flask wrapped, many people", "flask_wrapped", MANY, "Flask, many people"),
)


def compared() -> list[list[Case]]:
    """Return the cases by what they are compared with."""
    by_unwrapped: dict[str, list[Case]] = {}
    for case in CASES:
        by_unwrapped.setdefault(case.unwrapped, []).append(case)
    return list(by_unwrapped.values())


def _shuffled(values: Sequence[T]) -> list[T]:
    return random.sample(values, len(values))


class Site:
    """What the servers of one kind of worker have done, round after round."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.loads: dict[str, list[Load]] = {case.name: [] for case in CASES}
        #: Microseconds of CPU for a request; empty where nobody says.
        self.cpu: dict[str, list[float]] = {case.name: [] for case in CASES}

    def load(self, server: Server, case: Case, generate: Callable[[int], Load]) -> None:
        """Load the server of a case.

        :param generate: Loads what is served on a port.
        """
        before = _cpu_nanoseconds(server.process.pid)
        load = generate(server.port)
        if before is not None:
            used = (_cpu_nanoseconds(server.process.pid) or 0) - before
            self.cpu[case.name].append(used / 1000 / load.count)
        is_private = b"no-store" in load.answer
        looks = case.app not in ("bare", "flask")
        assert is_private is (case.people > 0 and looks), case.name
        self.loads[case.name].append(load)

    def rate(self, name: str) -> float:
        """Return the requests a second."""
        return statistics.median(load.rate for load in self.loads[name])

    def ratios(self, name: str, other: str) -> list[float]:
        """Return the requests a second of a case, of another one that it runs beside.

        One for each turn, in which both were loaded within a second or two: what a
        machine does meanwhile changes more from minute to minute.
        """
        loads, others = self.loads[name], self.loads[other]
        return [one.rate / two.rate for one, two in zip(loads, others, strict=True)]

    def ratio(self, name: str, other: str) -> float:
        """Return the median of :meth:`ratios`."""
        return statistics.median(self.ratios(name, other))

    def row(self, case: Case) -> list[str]:
        """Return the row of a case in the table."""
        loads = self.loads[case.name]
        ratios = self.ratios(case.name, case.unwrapped)
        cpu = self.cpu[case.name]
        return [
            f"{self.worker}: {case.name}",
            f"{self.rate(case.name):.0f}",
            f"{statistics.median(ratios):.3f}",
            f"{spread(ratios):.1%}",
            f"{statistics.median(load.p50 for load in loads):.2f}",
            f"{statistics.median(load.p99 for load in loads):.2f}",
            f"{statistics.median(cpu):.1f}" if cpu else "-",
        ]


def _cpu_nanoseconds(master: int) -> int | None:
    """Return what the workers of a Gunicorn have computed, ``None`` off Linux."""
    process = Path("/proc", str(master))
    try:
        children = (process / "task" / str(master) / "children").read_text("ascii")
        return sum(
            int((task / "schedstat").read_text("ascii").split()[0])
            for child in children.split()
            for task in Path("/proc", child, "task").iterdir()
        )
    except OSError:
        return None


@contextmanager
def servers(
    worker: str, cases: Sequence[Case], settings: Mapping[str, str]
) -> Iterator[list[Server]]:
    """Run a Gunicorn for every case."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))

        def serve(app: str) -> Server:
            port = free_port()
            command = [
                *(sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}"),
                *("--worker-tmp-dir", str(folder), *WORKERS[worker]),
                f"benchmarks.cost.site:{app}()",
            ]
            private = {**settings, "XDG_RUNTIME_DIR": str(folder)}
            return stack.enter_context(running(command, port, folder, private))

        yield [serve(case.app) for case in cases]


def bars(by_worker: Mapping[str, Site]) -> list[Bar]:
    """Return what has to be reached."""
    one, many = ", signed in", ", many people"
    wanted = [
        ("sync", "wrapped", "bare app", one, "", 0.93, 0.96),
        ("gthread", "wrapped", "bare app", one, "", 0.90, 0.94),
        ("gthread", "Flask wrapped", "Flask", one, "", 0.95, 0.97),
    ]
    for worker in WORKERS:
        for app, least in (("wrapped", ALIKE), ("Flask wrapped", f"Flask in {ALIKE}")):
            wanted.append((worker, app, least, many, many, 0.95, 0.98))
    return [
        Bar(
            f"{worker}: {app} / {other}{who}",
            by_worker[worker].ratio(f"{app}{who}", f"{other}{others}"),
            bar,
            aim,
            at_least=True,
            digits=3,
        )
        for worker, app, other, who, others, bar, aim in wanted
    ]


def measure(rounds: int, seconds: float, cores: Sequence[int]) -> int:
    """Load all servers by turns, print the table, and return the exit status."""
    maker = SessionMaker()
    headers = maker.headers(maker.make(MANY))
    cookies = {0: [WITHOUT_SESSION], 1: headers[:1], MANY: headers}
    with ExitStack() as stack:
        settings = dict(stack.enter_context(maker.served()))
        settings[ISSUER] = maker.workos.settings.issuer
        own, other = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
        generate = stack.enter_context(generator(other))
        # Servers inherit it.
        stay_on(own)
        found = [Site(worker) for worker in WORKERS]
        for _ in range(rounds):
            for site, cases in _shuffled([(s, c) for s in found for c in compared()]):
                load = partial(generate, cookies=cookies[cases[0].people])
                with servers(site.worker, cases, settings) as started:
                    turns = [*zip(started, cases, strict=True)]
                    for server, _ in turns:
                        load(server.port, seconds=WARMING)
                    for _ in range(TURNS):
                        for server, case in _shuffled(turns):
                            site.load(server, case, partial(load, seconds=seconds))
    rows = [site.row(case) for site in found for case in CASES]
    header = ("app", "requests/s", "of unwrapped", "spread", "p50 ms", "p99 ms")
    print_table([*header, "CPU us"], rows)
    loads = [one for site in found for each in site.loads.values() for one in each]
    print(f"the generator computed {max(load.busy for load in loads):.0%} of the time")
    print("at most; at 100 % it would be the limit, and not the servers\n")
    return print_verdict(bars({site.worker: site for site in found}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and return 0 if every bar is reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.2 s")
    options = parser.parse_args(arguments)
    for name in ("gunicorn", "flask"):
        if missing(name):
            parser.exit(2, f"{name} is not installed; make bench installs it\n")
    rounds, seconds = (3, 0.2) if options.quick else (options.rounds, options.seconds)
    affinity = getattr(os, "sched_getaffinity", None)
    cores = sorted(affinity(0)) if affinity else []
    print("Requests a second under Gunicorn, one worker\n")
    print(machine())
    print(versions("wsgi-authkit", "gunicorn", "flask", "cryptography", "pyjwt"))
    print(
        f"{CONNECTIONS} connections; {rounds} rounds in which each app is served anew"
    )
    print(f"and loaded {TURNS} times for {seconds} s, by turns;")
    where = "each on a core of its own" if len(cores) > 1 else "on any core"
    print(f"servers and generator {where}\n")
    return measure(rounds, seconds, cores)


if __name__ == "__main__":
    sys.exit(main())
