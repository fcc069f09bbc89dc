"""The benchmarks of cost, on the smallest numbers: that they measure what they say."""

from __future__ import annotations

import random

import pytest

from benchmarks import per_request, store_cost, to_docs
from benchmarks.cost import minimum, ours
from benchmarks.cost.report import Bar, print_verdict
from benchmarks.cost.requests import visit
from benchmarks.cost.rounds import Timings, alternate
from benchmarks.cost.sessions import SessionMaker
from benchmarks.scale import hostile_headers


def test_per_request_prints_a_row_for_every_case(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = per_request.main(["--rounds=2", "--sessions=5", "--without-peers"])

    printed = capsys.readouterr().out
    assert status in (0, 1)
    for kind in ("warm", "cold", "forged cookie", "no Cookie header"):
        assert f"\nthe minimum, {kind} " in printed
        assert f"\nwsgi_authkit, {kind} " in printed
    assert "\nwarm / the minimum " in printed
    assert "not measured" in printed
    assert "missed\n" in printed


def test_store_cost_prints_operations_of_a_refresh(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert store_cost.main([]) == 0
    assert "refreshed after expiry" in capsys.readouterr().out


def test_minimum_opens_what_the_middleware_opens() -> None:
    maker = SessionMaker()
    [session] = maker.make(1)
    [header] = maker.headers([session])

    least = visit(ours.least(maker, keep=False), header)[minimum.KEY]
    own = visit(ours.wrapped(maker), header)[ours.KEY]

    assert least.user["email"] == own.user.email
    assert dict(least.claims)["sid"] == own.session_id


def test_hostile_cookies_are_different_and_sign_nobody_in() -> None:
    maker = SessionMaker()
    hostile = hostile_headers(maker)
    headers = [next(hostile) for _ in range(74)]
    app = ours.wrapped(maker)

    assert len(set(headers)) == len(headers)
    assert not any(visit(app, header)[ours.KEY] for header in headers)


def test_difference_is_taken_within_a_round() -> None:
    timings = Timings({"one": [1.0, 10.0, 3.0], "other": [0.5, 9.5, 1.0]})

    assert timings.median("one") == 3.0
    assert timings.over("one", "other") == 0.5


def test_every_case_gets_every_round() -> None:
    cases = {name: lambda count: random.random() for name in ("one", "other")}

    timings = alternate(cases, rounds=3, seconds=0.0, warm_up=1)

    assert all(0 <= timings.median(name) < 1 for name in cases)


@pytest.mark.parametrize(
    ("bar", "status"),
    [
        pytest.param(Bar("figure", 2.0, 2.5), 0, id="small enough"),
        pytest.param(Bar("figure", 2.6, 2.5), 1, id="too large"),
        pytest.param(Bar("figure", 0.9, 0.95, at_least=True), 1, id="too small"),
        pytest.param(Bar("figure", None, 2.5), 0, id="not measured"),
    ],
)
def test_missed_bar_is_a_failure(bar: Bar, status: int) -> None:
    assert print_verdict([bar]) == status


def test_every_table_of_the_document_is_of_a_benchmark() -> None:
    names = set(to_docs.blocks(to_docs.DOCUMENT.read_text("utf-8")))

    assert names >= {"per_request", "import_time", "server", "scale", "store_cost"}
    assert all((to_docs.FOLDER / f"{name}.py").is_file() for name in names)


def test_new_table_replaces_its_own_alone() -> None:
    text = to_docs.DOCUMENT.read_text("utf-8")

    replaced = to_docs.replace(text, "server", "new\n\n  table\\1\n")

    before, after = to_docs.blocks(text), to_docs.blocks(replaced)
    assert after.pop("server").strip() == "new\n\n      table\\1"
    assert before.pop("server").count("\n") > 5
    assert after == before
