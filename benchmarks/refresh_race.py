"""How often WorkOS is called, and who is signed out, when many requests race.

Every case lets requests with one expired session loose at the same moment, counts the
calls that a fake WorkOS gets, and looks at what the browsers got. In cases marked S a
refresh token is single use without any grace: one call too many signs somebody out. In
cases marked G a retired token works for 10 more seconds, as it does at WorkOS: without
that nobody could recover a pair that was issued and that nobody received.

Run it with ``make bench``; ``--quick`` takes small numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.race.app import CERTIFICATE, STORE, STORE_LOG
from benchmarks.race.barrage import Answer, barrage
from benchmarks.race.workos import (
    OTHER_ORGANIZATION,
    config_of,
    workos_process,
)
from tests.processes import Site, switching, together
from tests.servers import (
    Server,
    free_port,
    gunicorn,
    missing,
    redis_server,
    running,
    until,
)
from wsgi_authkit import AuthKitService
from wsgi_authkit.results import AuthResult
from wsgi_authkit.testing import Latency, LostResponse

#: Seconds of the grace in cases marked G.
GRACE: Final = 10.0
#: Seconds that anybody may wait.
LONGEST_WAIT: Final = 9.0
#: Seconds that an operation of Redis may take, and what a thread may have to wait for
#: its turn before it can read the clock.
STORE_TIMEOUT, TURN = 0.25, 0.1
#: Seconds for which Redis is left alone after a failure.
STORE_PAUSE: Final = 5.0
#: What can become of Redis.
REDIS_FAULTS: Final = ("stopped", "hung", "read-only", "restarted")


@dataclass
class Row:
    """What a case showed."""

    grace: str
    case: str
    calls: list[int] = field(default_factory=list)
    signed_out: int = 0
    #: The most session cookies that one round brought.
    cookies: int = 0
    problems: list[str] = field(default_factory=list)
    #: Of the slowest request, in seconds.
    slowest: float = 0.0
    remark: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything that was promised held."""
        return not self.problems and bool(self.calls)

    def add(self, calls: int, answers: Sequence[Answer]) -> None:
        """Add a round."""
        self.calls.append(calls)
        self.signed_out += sum(answer.signed_out for answer in answers)
        cookies = {answer.cookie for answer in answers if answer.cookie}
        self.cookies = max(self.cookies, len(cookies))
        self.slowest = max([self.slowest, *(answer.seconds for answer in answers)])
        self.expect(all(answer.status != 500 for answer in answers), "a 500")
        self.expect(not any(answer.hung for answer in answers), "a request hung")

    def add_exact(self, calls: int, answers: Sequence[Answer], expected: int) -> None:
        """Add a round in which one call has to serve everybody the same session."""
        self.add(calls, answers)
        got = [answer.cookie for answer in answers]
        self.expect(len(answers) == expected, f"{len(answers)} answers")
        self.expect(calls == 1, f"{calls} calls in a round")
        self.expect(all(answer.signed_in for answer in answers), "not all signed in")
        self.expect(None not in got and len(set(got)) == 1, "not one new cookie")

    def expect(self, condition: bool, problem: str) -> None:
        """Note a problem unless a condition holds."""
        if not condition and problem not in self.problems:
            self.problems.append(problem)

    def __str__(self) -> str:
        calls = f"{min(self.calls)}/{max(self.calls)}" if self.calls else "-"
        verdict = "ok" if self.passed else "FAILED: " + "; ".join(self.problems)
        return (
            f"{self.grace}  {self.case:<58} {len(self.calls):>5} {calls:>6} "
            f"{self.signed_out:>6} {self.cookies:>7} {self.slowest:>6.2f}  {verdict}"
            f"{'  ' + self.remark if self.remark else ''}"
        )


HEADER: Final = (
    f"{'':<3}{'case':<58} {'rounds':>6} {'calls':>5} {'out':>6} {'cookies':>7} "
    f"{'worst':>6}  verdict"
)


# Threads of one process


def threads_of_one_process(*, rounds: int = 200, threads: int = 64) -> Row:
    """Let threads meet one expired session in one process."""
    row = Row("S", f"{threads} threads of one process")
    with workos_process() as workos:
        service = AuthKitService(config_of(workos.settings()))
        for _ in range(rounds):
            cookie = workos.new_cookie()
            workos.reset()

            def work(cookie: str = cookie) -> Answer:
                start = time.monotonic()
                result = service.with_auth(cookie, navigation=True)
                return _answer(result, time.monotonic() - start)

            with switching():
                answers = together([work] * threads)
            row.add_exact(workos.count(), answers, threads)
    return row


def refresh_and_switch(*, rounds: int = 64) -> Row:
    """Let one process refresh a session and another switch its organization."""
    row = Row("S", "refresh and organization switch at once")
    with workos_process() as workos, tempfile.TemporaryDirectory() as folder:
        config = config_of(workos.settings())
        store = f"sqlite://{folder}/store.sqlite3"
        one, other = (AuthKitService(config, store=store) for _ in range(2))
        for _ in range(rounds):
            session: Any = one.get_session(workos.new_cookie(expired=False))
            workos.reset()
            refreshed, switched = together(
                [
                    partial(one.refresh_session, session),
                    partial(other.switch_organization, session, OTHER_ORGANIZATION),
                ]
            )
            calls = workos.count()
            row.add(calls, [])
            row.expect(calls == 2, f"{calls} calls in a round")
            row.expect(refreshed.kind == "refreshed", f"refresh: {refreshed.kind}")
            row.expect(switched.kind == "switched", f"switch: {switched.kind}")
            row.expect(
                switched.session is not None
                and switched.session.organization_id == OTHER_ORGANIZATION,
                "switched to another organization",
            )
    return row


def old_cookie_again(*, delays: Sequence[float] = (1, 10, 30)) -> Row:
    """Bring the old cookie again, to the same process and to another."""
    row = Row("S", f"the old cookie again {_list(delays)} s later, any process")
    for delay in delays:
        site = Site(refresh_grace=0)
        other = site.new_process()
        cookie = site.cookie()
        site.clock.advance(310)
        first = _answer(site.visit(cookie))
        site.clock.advance(delay)
        again = [
            _answer(site.visit(cookie, service=service))
            for service in (site.service, other, site.new_process())
        ]
        row.add_exact(site.refreshes, [first, *again], 4)
    return row


def first_cookie_after_second_refresh(*, rounds: int = 10) -> Row:
    """Bring the first cookie when its session has been refreshed twice."""
    row = Row("S", "the first cookie again after a second refresh")
    for _ in range(rounds):
        site = Site(refresh_grace=0, access_token_lifetime=20)
        cookies = [site.cookie()]
        for _ in range(2):
            site.clock.advance(26)
            cookies.append(_cookie_header(_answer(site.visit(cookies[-1]))))
        answers = [
            _answer(site.visit(cookies[0], service=service))
            for service in (site.service, site.new_process())
        ]
        row.add(site.refreshes, answers)
        row.expect(site.refreshes == 2, f"{site.refreshes} calls in a round")
        row.expect(all(one.signed_in for one in answers), "not signed in")
        newest = {_cookie_header(one) for one in answers}
        row.expect(newest == {cookies[2]}, "not the newest session")
    return row


# Processes of one host and of two


@dataclass
class Hosts:
    """Gunicorns in front of one WorkOS; each has temporary files of its own."""

    workos: Any
    servers: list[Server]
    redis: Redis | None = None
    store_log: Path = Path()

    @property
    def ports(self) -> list[int]:
        """Where the servers listen."""
        return [server.port for server in self.servers]

    def race(
        self,
        count: int,
        cookie: str | None = None,
        meanwhile: Callable[[], object] | None = None,
        **options: Any,
    ) -> tuple[int, list[Answer]]:
        """Return how many calls a barrage costs, and its answers."""
        cookie = cookie or self.workos.new_cookie()
        self.workos.reset()
        answers = barrage(self.ports, cookie, count, meanwhile=meanwhile, **options)
        return self.workos.count(), answers


@contextmanager
def hosts(
    *,
    grace: float = 0.0,
    count: int = 1,
    workers: int = 4,
    threads: int = 8,
    with_redis: bool = False,
) -> Iterator[Hosts]:
    """Run WorkOS and Gunicorns, with a Redis that they share or without."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workos = stack.enter_context(workos_process(grace=grace))
        environ = {**workos.settings(), CERTIFICATE: ""}
        log, redis = folder / "store.log", None
        if with_redis:
            redis = Redis(folder / "redis")
            stack.callback(redis.stop)
            redis.start()
            environ |= {STORE: redis.url, STORE_LOG: str(log)}
        options = ["-k", "gthread", f"--workers={workers}", f"--threads={threads}"]
        servers = []
        for number in range(count):
            own = folder / f"host{number}"
            port = free_port()
            private = {**environ, "XDG_RUNTIME_DIR": str(own)}
            command = gunicorn(port, *options)
            servers.append(stack.enter_context(running(command, port, own, private)))
        # Every worker has loaded the app, and the keys.
        warm = workos.new_cookie(expired=False)
        barrage([server.port for server in servers], warm, 8 * workers * count)
        yield Hosts(workos, servers, redis, log)
        for server in servers:
            server.stop()


def one_host(
    *, rounds: int = 50, requests: int = 200, workers: int = 4, threads: int = 8
) -> Row:
    """Let requests meet one expired session on one Gunicorn with the default store."""
    case = f"gunicorn {workers} workers x {threads} threads, {requests} requests"
    row = Row("S", case)
    with hosts(workers=workers, threads=threads) as site:
        for _ in range(rounds):
            row.add_exact(*site.race(requests), requests)
    return row


def two_hosts(
    *, rounds: int = 50, requests: int = 200, workers: int = 4, threads: int = 8
) -> Row:
    """Let requests meet one expired session on two Gunicorns that share a Redis."""
    row = Row("S", f"two gunicorns with one Redis, {requests} requests")
    with hosts(count=2, workers=workers, threads=threads, with_redis=True) as site:
        for _ in range(rounds):
            row.add_exact(*site.race(requests), requests)
        times = _StoreTimes(site.store_log)
        row.remark = times.remark()
        row.expect(not times.failures, "Redis failed")
    return row


def holder_killed(*, grace: bool, rounds: int = 10, every: int = 10) -> Row:
    """Kill the worker that has called WorkOS and waits for the answer."""
    row = Row("G" if grace else "S", f"holder killed in one round of {every}")
    with hosts(grace=GRACE if grace else 0) as site:
        for number in range(rounds):
            if number % every:
                row.add_exact(*site.race(24), 24)
            else:
                _kill_holder(site, row, grace=grace)
    row.expect(row.slowest <= LONGEST_WAIT, f"somebody waited {row.slowest:.1f} s")
    return row


def _kill_holder(site: Hosts, row: Row, *, grace: bool) -> None:
    """Play the round in which a worker dies between the rotation and the answer."""
    site.workos.fail(Latency(3))
    cookie, bystander = site.workos.new_cookie(), site.workos.new_cookie()
    others: list[Answer] = []

    def visit_meanwhile() -> None:
        others.extend(barrage(site.ports, bystander, 4))

    # Of its own: who does not read what he is sent holds up a thread of Gunicorn's.
    visitor = threading.Thread(target=visit_meanwhile)

    def kill() -> None:
        assert until(lambda: bool(site.workos.workers()), 5)
        os.kill(site.workos.workers()[0], signal.SIGKILL)
        visitor.start()

    _, answers = site.race(24, cookie, kill, gap=0.005)
    visitor.join()
    # What the worker was busy with broke; a browser or a person sends it again.
    broken = sum(answer.status == 0 for answer in answers)
    again = barrage(site.ports, cookie, broken)
    calls = site.workos.count() - 1  # the bystander's
    row.expect(0 < broken < 24, f"{broken} of 24 connections broke")
    row.expect(all(one.signed_in for one in others), "another session suffered")
    seen = [answer for answer in [*answers, *again] if answer.status]
    row.expect(len(seen) == 24, f"{len(seen)} of 24 answers in the end")
    row.expect(calls <= 2, f"{calls} calls in a round")
    if grace:
        row.add(calls, [*seen, *others])
        row.expect(all(one.signed_in for one in seen), "not signed in")
    else:
        reasons = {str(one.body.get("reason")) for one in seen}
        row.expect(reasons == {"refresh_rejected"}, f"reasons: {_list(reasons)}")
        # That this one session ends is what nobody can help here.
        row.add(calls, [replace(one, cookie=None, body={}) for one in seen] + others)


def response_lost(*, rounds: int = 20) -> Row:
    """Lose WorkOS's answer after it has rotated the token."""
    row = Row("G", "response lost after rotation")
    with hosts(grace=GRACE) as site:
        for _ in range(rounds):
            cookie = site.workos.new_cookie()
            site.workos.fail(LostResponse())
            calls, answers = site.race(24, cookie)
            row.add(calls, answers)
            row.expect(all(one.signed_in for one in answers), "not signed in")
            row.expect(calls == 2, f"{calls} calls in a round")
    return row


# Redis


class Redis:
    """A Redis that can be stopped, hung up, made read-only and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._server: Server | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """What an app's ``store`` is."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, empty."""
        command = redis_server(self.port)
        self._server = self._stack.enter_context(
            running(command, self.port, self._folder)
        )

    def stop(self) -> None:
        """Kill it."""
        self._stack.close()

    def restart(self) -> None:
        """Kill it and start it, empty."""
        self.stop()
        self.start()

    def hang(self) -> None:
        """Let it answer nothing, though the host still accepts connections."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        self._send(signal.SIGCONT)

    def make_read_only(self) -> None:
        """Make it the replica of a Redis that cannot be reached."""
        self._command("REPLICAOF", "127.0.0.1", "1")

    def make_writable(self) -> None:
        """Undo :meth:`make_read_only`."""
        self._command("REPLICAOF", "NO", "ONE")

    def _send(self, number: int) -> None:
        assert self._server is not None
        self._server.process.send_signal(number)

    def _command(self, *words: str) -> None:
        import redis

        with redis.Redis(port=self.port) as client:
            client.execute_command(*words)


def redis_fails(
    fault: str, *, broken: float = 8.0, seconds: float = 8.0, requests: int = 64
) -> Row:
    """Break Redis in the middle of a load and mend it.

    :param fault: One of :data:`REDIS_FAULTS`.
    :param broken: Seconds for which it is.
    :param seconds: For which the load goes on afterwards.
    """
    row = Row("G", f"Redis {fault} in mid-load")
    with hosts(grace=GRACE, count=2, with_redis=True) as site:
        assert site.redis is not None
        redis = site.redis
        break_it, mend = {
            "stopped": (redis.stop, redis.start),
            "hung": (redis.hang, redis.go_on),
            "read-only": (redis.make_read_only, redis.make_writable),
            "restarted": (redis.restart, lambda: None),
        }[fault]

        def race(meanwhile: Callable[[], object] | None = None) -> None:
            calls, answers = site.race(requests, meanwhile=meanwhile)
            row.add(calls, answers)
            row.expect(all(one.signed_in for one in answers), "not signed in")
            # Where they cannot be coordinated: one call a process.
            row.expect(calls <= 8, f"{calls} calls in a round")

        def load(first: Callable[[], object] | None, until_: float) -> None:
            race(first)
            while time.monotonic() < until_:
                race()

        try:
            load(None, time.monotonic() + 1)
            load(_soon(break_it), time.monotonic() + broken)
        finally:
            mend()
        load(None, time.monotonic() + seconds)
        # Everybody has come back to it by now.
        row.expect(row.calls[-1] == 1, f"{row.calls[-1]} calls after all")
        times = _StoreTimes(site.store_log)
        row.expect(fault == "restarted" or bool(times.failures), "Redis never failed")
        row.expect(times.slowest <= STORE_TIMEOUT + TURN, "an operation took too long")
        row.expect(not times.within_pause(), "Redis was tried within 5 s of a failure")
        row.remark = times.remark()
    return row


def _soon(action: Callable[[], object]) -> Callable[[], object]:
    """Return what does something a moment later, while answers are being read."""
    return threading.Timer(0.02, action).start


class _StoreTimes:
    """What :class:`benchmarks.race.app.TimedStore` wrote down."""

    def __init__(self, log: Path) -> None:
        lines = log.read_text("utf-8").splitlines()
        #: Process, start and end in monotonic seconds, and whether it failed.
        self.operations: list[tuple[int, float, float, bool]] = [
            (pid, start, start + seconds, failed)
            for pid, _, start, seconds, failed in map(json.loads, lines)
        ]
        self.failures = [one for one in self.operations if one[3]]

    @property
    def slowest(self) -> float:
        """Seconds of the slowest operation."""
        return max(end - start for _, start, end, _ in self.operations)

    def within_pause(self) -> int:
        """Return how many operations began too soon after one that failed."""
        return sum(
            pid == other and failed_at + TURN < start < failed_at + STORE_PAUSE - 0.01
            for other, _, failed_at, _ in self.failures
            for pid, start, _, _ in self.operations
        )

    def remark(self) -> str:
        """Return a summary."""
        return (
            f"store: {len(self.operations)} operations, {len(self.failures)} failed, "
            f"slowest {self.slowest * 1000:.0f} ms"
        )


# The table


def _answer(result: AuthResult, seconds: float = 0.0) -> Answer:
    session = result.session
    body = {"status": session.status, "reason": session.reason}
    cookie = None
    for _, value in result.headers:
        if value.startswith("wos-session="):
            cookie = value.partition(";")[0].partition("=")[2]
    return Answer(200, body, cookie, seconds)


def _cookie_header(answer: Answer) -> str:
    return f"wos-session={answer.cookie}"


def _list(values: Sequence[object] | set[str]) -> str:
    return ", ".join(str(value) for value in sorted(values, key=str))


def cases(*, quick: bool) -> list[Callable[[], Row]]:
    """Return all cases, in the order of the table."""
    few = {"rounds": 5} if quick else {}
    killed = {"rounds": 1 if quick else 20}
    seconds = 6.0 if quick else 8.0
    return [
        partial(threads_of_one_process, **few),
        partial(one_host, **few),
        partial(two_hosts, **few),
        old_cookie_again,
        first_cookie_after_second_refresh,
        partial(refresh_and_switch, **few),
        partial(holder_killed, grace=True, **killed),
        partial(holder_killed, grace=False, **killed),
        partial(response_lost, **few),
        *(partial(redis_fails, fault, seconds=seconds) for fault in REDIS_FAULTS),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and return 0 if everything holds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="take small numbers")
    options = parser.parse_args(arguments)
    # Or the servers would go on without us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for name in ("gunicorn", "redis", "redis-server"):
        reason = missing(name)
        if reason:
            parser.exit(2, f"{reason}; make bench and the package redis-server help\n")
    start = time.monotonic()
    print("S: refresh tokens are single use; G: with a grace of 10 s. calls: least and")
    print("most of a round; out: signed out; worst: the slowest request in seconds.\n")
    print(HEADER)
    failed = 0
    for case in cases(quick=options.quick):
        row = case()
        failed += not row.passed
        print(row, flush=True)
    print(f"\n{time.monotonic() - start:.0f} s, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
