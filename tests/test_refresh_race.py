"""The cases of ``benchmarks/refresh_race.py`` on small numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import pytest

from benchmarks import refresh_race
from benchmarks.race.barrage import Answer
from benchmarks.refresh_race import REDIS_FAULTS, Row
from tests.servers import missing

ALONE = [
    pytest.param(
        partial(refresh_race.threads_of_one_process, rounds=10), id="64 threads"
    ),
    pytest.param(refresh_race.old_cookie_again, id="old cookie again"),
    pytest.param(
        partial(refresh_race.first_cookie_after_second_refresh, rounds=2),
        id="first cookie after a second refresh",
    ),
    pytest.param(
        partial(refresh_race.refresh_and_switch, rounds=16), id="refresh and switch"
    ),
]
SERVED = [
    pytest.param(partial(refresh_race.one_host, rounds=5), id="one host"),
    pytest.param(
        partial(refresh_race.holder_killed, grace=True, rounds=2, every=2),
        id="holder killed with a grace",
    ),
    pytest.param(
        partial(refresh_race.holder_killed, grace=False, rounds=2, every=2),
        id="holder killed without a grace",
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
