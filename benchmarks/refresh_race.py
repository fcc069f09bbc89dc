"""How often WorkOS is called, and who is signed out, when many requests race.

Every case lets requests with one expired session loose at the same moment, counts the
calls that a fake WorkOS gets, and looks at what the browsers got. In cases marked S a
refresh token is single use without any grace: one call too many signs somebody out. In
cases marked G a retired token works for 10 more seconds, as it does at WorkOS: without
that nobody could recover a pair that was issued and that nobody received.

Servers are real, each worker a process of its own. Where time passes, all of them read
the clock in one file, as does WorkOS.

Run it with ``make bench``; ``--quick`` takes small numbers.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.race.barrage import Answer, barrage
from benchmarks.race.hosts import Hosts, hosts
from benchmarks.race.redis import TIMEOUT
from benchmarks.race.row import HEADER, Row, listed
from benchmarks.race.workos import (
    OTHER_ORGANIZATION,
    config_of,
    workos_process,
)
from tests.processes import switching, together
from tests.servers import missing, until
from wsgi_authkit import AuthKitService
from wsgi_authkit.results import AuthResult
from wsgi_authkit.testing import Latency, LostResponse

#: Seconds of the grace in cases marked G.
GRACE: Final = 10.0
#: Seconds that anybody may wait.
LONGEST_WAIT: Final = 9.0
#: Workers of a Gunicorn, and threads of each.
WORKERS, THREADS = 4, 8
#: What can become of Redis.
REDIS_FAULTS: Final = ("stopped", "hung", "read-only", "restarted")


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


def _answer(result: AuthResult, seconds: float) -> Answer:
    session = result.session
    body = {"status": session.status, "reason": session.reason}
    cookie = None
    for _, value in result.headers:
        if value.startswith("wos-session="):
            cookie = value.partition(";")[0].partition("=")[2]
    return Answer(200, body, cookie, seconds)


# Processes of one host and of two


def one_host(
    *,
    rounds: int = 50,
    requests: int = 200,
    workers: int = WORKERS,
    threads: int = THREADS,
) -> Row:
    """Let requests meet one expired session on one Gunicorn with the default store."""
    case = f"gunicorn {workers} workers x {threads} threads, {requests} requests"
    row = Row("S", case)
    with hosts(workers=workers, threads=threads) as site:
        for _ in range(rounds):
            row.add_exact(*site.race(requests), requests)
    return row


def two_hosts(
    *,
    rounds: int = 50,
    requests: int = 200,
    workers: int = WORKERS,
    threads: int = THREADS,
) -> Row:
    """Let requests meet one expired session on two Gunicorns that share a Redis."""
    row = Row("S", f"two gunicorns with one Redis, {requests} requests")
    with hosts(count=2, workers=workers, threads=threads, with_redis=True) as site:
        for _ in range(rounds):
            row.add_exact(*site.race(requests), requests)
        log = site.operations()
        row.remark = str(log)
        row.expect(not log.failures, "Redis failed")
    return row


def old_cookie_again(*, delays: Sequence[float] = (1, 10, 30)) -> Row:
    """Bring the old cookie again, to all processes."""
    row = Row("S", f"the old cookie again {listed(delays)} s later, any process")
    with hosts(with_clock=True) as site:
        for delay in delays:
            cookie = site.workos.new_cookie()
            site.workos.reset()
            first = site.visit(cookie)
            site.clock.advance(delay)
            again = _of_all_workers(site, cookie)
            row.add_exact(site.workos.count(), [first, *again], 1 + len(again))
            row.expect(_workers(again) == WORKERS, "not all processes were asked")
    return row


def first_cookie_after_second_refresh(*, rounds: int = 10) -> Row:
    """Bring the first cookie when its session has been refreshed twice."""
    row = Row("S", "the first cookie again after a second refresh")
    with hosts(with_clock=True) as site:
        site.workos.set_lifetime(20)
        for _ in range(rounds):
            cookies = [site.workos.new_cookie(expired=False)]
            site.workos.reset()
            for _ in range(2):
                site.clock.advance(26)
                cookies.append(_cookie_header(site.visit(cookies[-1])))
            answers = _of_all_workers(site, cookies[0])
            calls = site.workos.count()
            row.add(calls, answers)
            row.expect(calls == 2, f"{calls} calls in a round")
            row.expect(all(one.signed_in for one in answers), "not signed in")
            newest = {_cookie_header(one) for one in answers}
            row.expect(newest == {cookies[2]}, "not the newest session")
            row.expect(_workers(answers) == WORKERS, "not all processes were asked")
    return row


def refresh_and_switch(*, rounds: int = 64) -> Row:
    """Let one process refresh a session and another switch its organization."""
    row = Row("S", "refresh and organization switch at once, two processes")
    paths = ("/refresh", f"/switch/{OTHER_ORGANIZATION}")
    with hosts(count=2, workers=1, with_file=True) as site:
        for _ in range(rounds):
            cookie = site.workos.new_cookie(expired=False)
            calls, answers = site.race(2, cookie, paths=paths)
            row.add(calls, answers)
            row.expect(calls == 2, f"{calls} calls in a round")
            row.expect(_workers(answers) == 2, "one process did both")
            outcomes = {str(one.body.get("outcome")): one for one in answers}
            row.expect(
                outcomes.keys() == {"refreshed", "switched"},
                f"outcomes: {listed(outcomes)}",
            )
            switched = outcomes.get("switched", Answer(0))
            row.expect(
                switched.body.get("organization") == OTHER_ORGANIZATION,
                "switched to another organization",
            )
    return row


def _of_all_workers(site: Hosts, cookie: str) -> list[Answer]:
    """Send requests with one cookie until each worker has answered one."""
    answers: list[Answer] = []
    for _ in range(50):
        answers += barrage(site.ports, cookie, 16, gap=0.002)
        if _workers(answers) == WORKERS:
            break
    return answers


def _workers(answers: Sequence[Answer]) -> int:
    return len({answer.body.get("worker") for answer in answers})


def _cookie_header(answer: Answer) -> str:
    return f"wos-session={answer.cookie}"


def holder_killed(
    *, grace: bool, rounds: int = 50, every: int = 10, requests: int = 200
) -> Row:
    """Kill the worker that has called WorkOS and waits for the answer."""
    case = f"holder killed in one round of {every}, {requests} requests"
    row = Row("G" if grace else "S", case)
    with hosts(grace=GRACE if grace else 0) as site:
        for number in range(rounds):
            if number % every:
                row.add_exact(*site.race(requests), requests)
            else:
                _kill_holder(site, row, requests, grace=grace)
    row.expect(row.slowest <= LONGEST_WAIT, f"somebody waited {row.slowest:.1f} s")
    return row


def _kill_holder(site: Hosts, row: Row, requests: int, *, grace: bool) -> None:
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

    _, answers = site.race(requests, cookie, kill, gap=0.002)
    visitor.join()
    # What the worker was busy with broke; a browser or a person sends it again.
    broken = sum(answer.status == 0 for answer in answers)
    again = barrage(site.ports, cookie, broken)
    calls = site.workos.count() - 1  # the bystander's
    row.expect(0 < broken < requests, f"{broken} connections broke")
    row.expect(all(one.signed_in for one in others), "another session suffered")
    seen = [answer for answer in [*answers, *again] if answer.status]
    row.expect(len(seen) == requests, f"{len(seen)} answers in the end")
    row.expect(calls <= 2, f"{calls} calls in a round")
    if grace:
        row.add(calls, [*seen, *others])
        row.expect(all(one.signed_in for one in seen), "not signed in")
    else:
        reasons = {str(one.body.get("reason")) for one in seen}
        row.expect(reasons == {"refresh_rejected"}, f"reasons: {listed(reasons)}")
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
        log = site.operations()
        row.expect(fault == "restarted" or bool(log.failures), "Redis never failed")
        row.expect(log.slowest.own_seconds <= TIMEOUT, "an operation took too long")
        row.expect(not log.too_early(), "Redis was tried within 5 s of a failure")
        row.remark = str(log)
    return row


def _soon(action: Callable[[], object]) -> Callable[[], object]:
    """Return what does something a moment later, while answers are being read."""
    return threading.Timer(0.02, action).start


# The table


def cases(*, quick: bool) -> list[Callable[[], Row]]:
    """Return all cases, in the order of the table."""
    few = {"rounds": 5} if quick else {}
    killed = {"rounds": 2, "every": 2} if quick else {}
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
