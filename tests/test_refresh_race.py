"""The cases of ``benchmarks/refresh_race.py`` on small numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from benchmarks import refresh_race
from benchmarks.race.barrage import Answer
from benchmarks.race.clock import FileClock
from benchmarks.race.redis import StoreLog
from benchmarks.race.row import Row
from benchmarks.refresh_race import REDIS_FAULTS
from tests.servers import missing

ALONE = [
    pytest.param(
        partial(refresh_race.threads_of_one_process, rounds=10), id="64 threads"
    ),
]
SERVED = [
    pytest.param(partial(refresh_race.one_host, rounds=5), id="one host"),
    pytest.param(refresh_race.old_cookie_again, id="old cookie again"),
    pytest.param(
        partial(refresh_race.first_cookie_after_second_refresh, rounds=2),
        id="first cookie after a second refresh",
    ),
    pytest.param(
        partial(refresh_race.refresh_and_switch, rounds=16), id="refresh and switch"
    ),
    *(
        pytest.param(
            partial(
                refresh_race.holder_killed,
                grace=grace,
                rounds=2,
                every=2,
                requests=64,
            ),
            id=f"holder killed {'with' if grace else 'without'} a grace",
        )
        for grace in (True, False)
    ),
    pytest.param(partial(refresh_race.response_lost, rounds=3), id="response lost"),
]
WITH_REDIS = [
    pytest.param(partial(refresh_race.two_hosts, rounds=5), id="two hosts"),
    *(
        pytest.param(
            partial(refresh_race.redis_fails, fault, broken=1.5, seconds=5.5),
            id=f"Redis {fault}",
        )
        for fault in REDIS_FAULTS
    ),
]


def need(*names: str) -> None:
    """Skip where a program is missing, unless a machine checks everything."""
    reasons = [reason for name in names if (reason := missing(name))]
    if reasons and os.environ.get("CI"):
        pytest.fail(f"{reasons[0]}, and CI is set")
    if reasons:
        pytest.skip(reasons[0])


def check(case: Callable[[], Row]) -> None:
    """Play a case."""
    row = case()

    assert row.passed, str(row)
    assert row.signed_out == 0


@pytest.mark.parametrize("case", ALONE)
def test_race_in_one_process(case: Callable[[], Row]) -> None:
    check(case)


@pytest.mark.parametrize("case", SERVED)
def test_race_of_processes(case: Callable[[], Row]) -> None:
    need("gunicorn")
    check(case)


@pytest.mark.parametrize("case", WITH_REDIS)
def test_race_of_hosts(case: Callable[[], Row]) -> None:
    need("gunicorn", "redis", "redis-server")
    check(case)


def test_row_without_a_round_has_not_passed() -> None:
    assert not Row("S", "nothing happened").passed


def test_row_with_a_second_call_has_not_passed() -> None:
    row = Row("S", "two calls")
    answers = [Answer(200, {"status": "active"}, "cookie")] * 2

    row.add_exact(2, answers, 2)

    assert row.problems == ["2 calls in a round"]


def test_row_with_somebody_signed_out_has_not_passed() -> None:
    row = Row("S", "signed out")
    good = Answer(200, {"status": "active"}, "cookie")
    bad = Answer(200, {"status": "anonymous"}, "")

    row.add_exact(1, [good, bad], 2)

    assert row.signed_out == 1
    assert row.problems == ["not all signed in", "not one new cookie"]


def store_log(folder: Path, *operations: tuple[object, ...]) -> StoreLog:
    """Return what a store's operations show: thread, start, seconds, queued, failed."""
    log = folder / "store.log"
    lines = [
        json.dumps([1, thread, "get", start, seconds, queued, failed])
        for thread, start, seconds, queued, failed in operations
    ]
    log.write_text("\n".join(lines), "utf-8")
    return StoreLog(log)


def test_operation_takes_what_other_programs_leave_it(tmp_path: Path) -> None:
    starved, slow = (1, 0.0, 0.5, 0.4, False), (1, 1.0, 0.2, 0.0, False)

    log = store_log(tmp_path, starved, slow)

    assert log.slowest.seconds == 0.2
    assert "slowest 200 ms and 0 ms waiting for a CPU" in str(log)


@pytest.mark.parametrize(
    ("operation", "too_early"),
    [
        pytest.param((1, 0.5, 0.1, 0.0, False), True, id="the thread that failed"),
        pytest.param((2, 0.5, 0.1, 0.0, False), False, id="one on its way"),
        pytest.param((3, 0.6, 0.1, 0.0, False), True, id="one that came before"),
        pytest.param((1, 5.3, 0.1, 0.0, False), False, id="after the pause"),
    ],
)
def test_operation_within_the_pause_is_found(
    tmp_path: Path, operation: tuple[object, ...], too_early: bool
) -> None:
    failure, other = (1, 0.0, 0.2, 0.0, True), (3, 0.3, 0.01, 0.0, False)

    log = store_log(tmp_path, failure, other, operation)

    assert bool(log.too_early()) == too_early


def test_clock_is_the_same_in_all_that_read_its_file(tmp_path: Path) -> None:
    one, other = (FileClock(tmp_path / "clock") for _ in range(2))
    before = other()
    one.advance(1000)
    one.advance(100)

    assert 1100 <= other() - before < 1200
