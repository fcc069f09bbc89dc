"""Requests a second and latency under Gunicorn, with the middleware and without.

All servers run at the same time and are loaded by turns, in an order that is drawn anew
in each round. Where the system can, the servers stay on one core and the generator of
the load on another. Each app is compared with the same one unwrapped, with the same
``Cookie`` headers; somebody signed in is one of 100 people. *The minimum* is that of
``per_request``: written by hand, it adds two headers where the middleware adds four.

Run it with ``make bench BENCH=server``; ``--quick`` takes few and short rounds.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cost.load import CONNECTIONS, Generator, Load, generator, stay_on
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
APPS: Final = ("bare", "least", "wrapped", "flask", "flask_least", "flask_wrapped")
PEOPLE: Final = 100


@dataclass(frozen=True, slots=True)
class Case:
    """An app and who visits it."""

    name: str
    app: str
    signed_in: bool
    #: The case that it is compared with.
    unwrapped: str


CASES: Final = (
    Case("bare app", "bare", True, "bare app"),
    Case("the minimum, signed in", "least", True, "bare app"),
    Case("wrapped, signed in", "wrapped", True, "bare app"),
    Case("bare app, other cookies only", "bare", False, "bare app, other cookies only"),
    Case("wrapped, anonymous", "wrapped", False, "bare app, other cookies only"),
    Case("Flask", "flask", True, "Flask"),
    Case("Flask in the minimum, signed in", "flask_least", True, "Flask"),
    Case("Flask wrapped, signed in", "flask_wrapped", True, "Flask"),
)


class Site:
    """The servers of one kind of worker, and the loads that they had."""

    def __init__(self, worker: str, servers: Mapping[str, Server]) -> None:
        self.worker = worker
        self._servers = servers
        self.loads: dict[str, list[Load]] = {case.name: [] for case in CASES}
        #: Microseconds of CPU for a request; empty where nobody says.
        self.cpu: dict[str, list[float]] = {case.name: [] for case in CASES}

    def load(
        self, case: Case, generate: Generator, cookies: Sequence[bytes], seconds: float
    ) -> None:
        """Load the server of a case."""
        server = self._servers[case.app]
        before = _cpu_nanoseconds(server.process.pid)
        load = generate(server.port, cookies, seconds)
        if before is not None:
            used = (_cpu_nanoseconds(server.process.pid) or 0) - before
            self.cpu[case.name].append(used / 1000 / load.count)
        is_private = b"no-store" in load.answer
        looks = case.app not in ("bare", "flask")
        assert is_private is (case.signed_in and looks), case.name
        self.loads[case.name].append(load)

    def rate(self, name: str) -> float:
        """Return the requests a second."""
        return statistics.median(load.rate for load in self.loads[name])

    def ratio(self, case: Case) -> float:
        """Return the requests a second of a case, of the same app unwrapped."""
        return self.rate(case.name) / self.rate(case.unwrapped)

    def row(self, case: Case) -> list[str]:
        """Return the row of a case in the table."""
        loads, others = self.loads[case.name], self.loads[case.unwrapped]
        ratios = [
            one.rate / other.rate for one, other in zip(loads, others, strict=True)
        ]
        cpu = self.cpu[case.name]
        return [
            f"{self.worker}: {case.name}",
            f"{self.rate(case.name):.0f}",
            f"{self.ratio(case):.3f}",
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
def sites(settings: Mapping[str, str]) -> Iterator[list[Site]]:
    """Run a Gunicorn for every app and kind of worker."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))

        def serve(app: str, options: Sequence[str]) -> Server:
            port = free_port()
            command = [
                *(sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}"),
                *("--worker-tmp-dir", str(folder), *options),
                f"benchmarks.cost.site:{app}()",
            ]
            private = {**settings, "XDG_RUNTIME_DIR": str(folder)}
            return stack.enter_context(running(command, port, folder, private))

        yield [
            Site(worker, {app: serve(app, options) for app in APPS})
            for worker, options in WORKERS.items()
        ]


def bars(by_worker: Mapping[str, Site]) -> list[Bar]:
    """Return what has to be reached."""
    wanted = [
        ("sync", "wrapped, signed in", 0.93, 0.96),
        ("gthread", "wrapped, signed in", 0.90, 0.94),
        ("gthread", "Flask wrapped, signed in", 0.95, 0.97),
    ]
    cases = {case.name: case for case in CASES}
    return [
        Bar(
            f"{worker}: {name} / {cases[name].unwrapped}",
            by_worker[worker].ratio(cases[name]),
            bar,
            aim,
            at_least=True,
            digits=3,
        )
        for worker, name, bar, aim in wanted
    ]


def measure(rounds: int, seconds: float, cores: Sequence[int]) -> int:
    """Load all servers by turns, print the table, and return the exit status."""
    maker = SessionMaker()
    cookies = {True: maker.headers(maker.make(PEOPLE)), False: [WITHOUT_SESSION]}
    with ExitStack() as stack:
        settings = dict(stack.enter_context(maker.served()))
        settings[ISSUER] = maker.workos.settings.issuer
        own, other = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
        generate = stack.enter_context(generator(other))
        # Servers inherit it.
        stay_on(own)
        found = stack.enter_context(sites(settings))
        turns = [(site, case) for site in found for case in CASES]
        for site, case in turns:
            site.load(case, generate, cookies[case.signed_in], 0.5)
        for site, case in turns:
            site.loads[case.name].clear()
            site.cpu[case.name].clear()
        for _ in range(rounds):
            random.shuffle(turns)
            for site, case in turns:
                site.load(case, generate, cookies[case.signed_in], seconds)
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
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.3 s")
    options = parser.parse_args(arguments)
    for name in ("gunicorn", "flask"):
        if missing(name):
            parser.exit(2, f"{name} is not installed; make bench installs it\n")
    rounds, seconds = (3, 0.3) if options.quick else (options.rounds, options.seconds)
    affinity = getattr(os, "sched_getaffinity", None)
    cores = sorted(affinity(0)) if affinity else []
    print("Requests a second under Gunicorn, one worker\n")
    print(machine())
    print(versions("wsgi-authkit", "gunicorn", "flask", "cryptography", "pyjwt"))
    print(f"{CONNECTIONS} connections, {rounds} rounds of {seconds} s for each app;")
    where = "each on a core of its own" if len(cores) > 1 else "on any core"
    print(f"servers and generator {where}\n")
    return measure(rounds, seconds, cores)


if __name__ == "__main__":
    sys.exit(main())
