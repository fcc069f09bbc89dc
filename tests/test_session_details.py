"""What WorkOS is asked about a session beyond its token."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.harness import Harness
from tests.json_endpoints import add_member, in_organization, session_of, signed_in
from wsgi_authkit import Session
from wsgi_authkit.session_details import (
    END_LIFETIME,
    NAME_LIFETIME,
    UNKNOWN_LIFETIME,
    Organization,
)
from wsgi_authkit.testing._http import Response, Wait
from wsgi_authkit.testing.faults import (
    ConnectTimedOut,
    Fault,
    HugeBody,
    InvalidJSON,
    Status,
    TruncatedBody,
)

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

ENGINES = Organization("org_engines", "Analytical Engines")


def end_of(harness: Harness, session: Session | None = None) -> float | None:
    service = harness.middleware.service
    return service.session_expires_at(session or session_of(harness))


def organization_of(
    harness: Harness, session: Session | None = None
) -> Organization | None:
    return harness.middleware.service.organization_of(session or session_of(harness))


def answer_sessions(harness: Harness, value: object) -> None:
    harness.workos.fail(Status(200, json=value), path="user_sessions")


def answer_organization(harness: Harness, value: object) -> None:
    harness.workos.fail(Status(200, json=value), path="organization")


# The end


def test_end_is_that_of_the_session_object() -> None:
    harness = signed_in()
    (session,) = harness.workos.sessions.values()

    assert end_of(harness) == pytest.approx(session.expires_at, abs=1)


def test_end_is_that_of_this_session_among_those_of_its_user() -> None:
    harness = signed_in()
    session = session_of(harness)
    later = harness.new_client()
    harness.clock.advance(100)
    harness.sign_in(client=later)
    harness.clock.advance(-100)
    ends = {each.id: each.expires_at for each in harness.workos.sessions.values()}

    assert len(set(ends.values())) == 2
    assert end_of(harness, session) == pytest.approx(ends[session.session_id], abs=1)


def test_end_is_looked_for_on_further_pages() -> None:
    harness = signed_in()
    for _ in range(250):
        harness.workos.create_session(harness.ada)

    assert end_of(harness) is not None
    assert harness.workos.count("user_sessions") == 3


def test_search_for_the_end_is_bounded() -> None:
    harness = signed_in()
    for _ in range(320):
        harness.workos.create_session(harness.ada)

    assert end_of(harness) is None
    assert harness.workos.count("user_sessions") == 3


def test_user_of_the_session_is_whose_sessions_are_read() -> None:
    harness = signed_in()
    end_of(harness)
    (call,) = [each for each in harness.workos.calls if "sessions" in each.path]

    assert call.path == f"/user_management/users/{harness.ada.id}/sessions"


def test_end_is_asked_for_once_a_day_and_by_all_processes() -> None:
    harness = signed_in()
    session = session_of(harness)
    other = harness.new_middleware().service
    ends = {end_of(harness, session), other.session_expires_at(session)}
    harness.clock.advance(END_LIFETIME - 1)
    ends.add(end_of(harness, session))

    assert len(ends) == 1
    assert harness.workos.count("user_sessions") == 1
    harness.clock.advance(2)
    end_of(harness, session)
    assert harness.workos.count("user_sessions") == 2


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        True,
        [],
        "tomorrow",
        "",
        "2030-01-01T00:00:00",
        "2030-01-01",
        "9" * 5000,
        "2030-01-01T00:00:00+99:00",
    ],
)
def test_end_that_is_no_instant_is_unknown(value: object) -> None:
    harness = signed_in()
    session = session_of(harness)
    entry = {"id": session.session_id, "expires_at": value}
    answer_sessions(harness, {"data": [entry]})

    assert end_of(harness, session) is None


@pytest.mark.parametrize(
    "text", ["2030-01-01T00:00:00Z", "2030-01-01T01:00:00.000+01:00"]
)
def test_end_is_in_unix_seconds_whatever_its_offset(text: str) -> None:
    harness = signed_in()
    session = session_of(harness)
    entry = {"id": session.session_id, "expires_at": text}
    answer_sessions(harness, {"data": [{"id": "session_other"}, entry]})

    assert end_of(harness, session) == datetime(2030, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "value",
    [
        [],
        "text",
        {},
        {"data": None},
        {"data": {}},
        {"data": [None, 7, [], {}]},
        {"data": [], "list_metadata": None},
        {"data": [], "list_metadata": {"after": 7}},
    ],
)
def test_answer_of_another_form_is_unknown(value: object) -> None:
    harness = signed_in()
    answer_sessions(harness, value)

    assert end_of(harness) is None
    assert harness.workos.count("user_sessions") == 1


def test_cursor_that_never_ends_is_not_followed_for_ever() -> None:
    harness = signed_in()
    answer_sessions(harness, {"data": [], "list_metadata": {"after": "again"}})

    assert end_of(harness) is None
    assert harness.workos.count("user_sessions") == 3


# The organization


def test_organization_has_id_and_name() -> None:
    harness = in_organization()

    assert organization_of(harness) == ENGINES
    assert ENGINES.to_dict() == {"id": "org_engines", "name": "Analytical Engines"}


def test_name_is_not_in_a_repr() -> None:
    assert "Analytical" not in repr(ENGINES)


def test_without_an_organization_nobody_is_asked() -> None:
    harness = signed_in()

    assert organization_of(harness) is None
    assert harness.workos.count() == 0


def test_name_is_kept_for_five_minutes_for_all_of_its_members() -> None:
    harness = in_organization()
    session = session_of(harness)
    grace = harness.workos.add_user("grace@example.com")
    engines = harness.workos.organizations["org_engines"]
    harness.workos.add_membership(grace, engines)
    browser = harness.new_client()
    harness.sign_in(grace, client=browser, organization_id="org_engines")
    cookie = f"wos-session={harness.session_cookie(browser)}"
    other = harness.new_middleware().service.get_session(cookie)
    assert isinstance(other, Session)

    assert organization_of(harness, session) == ENGINES
    assert organization_of(harness, other) == ENGINES
    assert harness.workos.count("organization") == 1
    harness.clock.advance(NAME_LIFETIME + 1)
    engines.name = "Difference Engines"
    changed = organization_of(harness, session)
    assert changed is not None
    assert changed.name == "Difference Engines"
    assert harness.workos.count("organization") == 2


def test_name_is_that_of_the_organization_after_a_switch() -> None:
    harness = in_organization()
    add_member(harness, "org_looms")
    organization_of(harness)
    harness.client.post(
        "/auth/refresh", fetch=True, json={"organizationId": "org_looms"}
    )

    assert organization_of(harness) == Organization("org_looms", "Looms")


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"id": "org_engines"},
        {"id": "org_engines", "name": None},
        {"id": "org_engines", "name": {"a": 1}},
        {"id": "org_rivals", "name": "Rivals"},
        {"name": "Nameless"},
    ],
)
def test_answer_about_another_organization_is_unknown(value: object) -> None:
    harness = in_organization()
    answer_organization(harness, value)

    assert organization_of(harness) is None


@pytest.mark.parametrize("organization_id", ["a?b=c", "a#b", "a/b", "\u00e9"])
def test_id_cannot_lead_to_another_path(organization_id: str) -> None:
    harness = in_organization()
    harness.workos.extra_claims["org_id"] = organization_id
    harness.client.post("/auth/refresh", fetch=True)
    session = session_of(harness)
    assert session.organization_id == organization_id
    organization_of(harness, session)
    (call,) = [each for each in harness.workos.calls if each.method == "GET"]

    assert call.path == f"/organizations/{organization_id}"
    assert call.query == {}


# When WorkOS does not answer


FAULTS: list[Any] = [
    Status(500),
    Status(404),
    Status(401),
    Status(403),
    Status(429),
    Status(200, body="html"),
    ConnectTimedOut(),
    TruncatedBody(),
    InvalidJSON(),
    HugeBody(),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_failure_is_unknown_logged_without_names_and_asked_again_in_a_minute(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    harness = in_organization()
    session = session_of(harness)
    harness.workos.fail(fault)

    for _ in range(3):
        assert organization_of(harness, session) is None
        assert end_of(harness, session) is None
    calls = harness.workos.count()
    assert caplog.text.count("WorkOS cannot be asked") == 1
    for secret in ("ada@example.com", "Analytical", "sk_test_fake"):
        assert secret not in caplog.text
    harness.workos.recover()
    assert organization_of(harness, session) is None
    assert harness.workos.count() == calls
    harness.clock.advance(UNKNOWN_LIFETIME + 10)
    assert organization_of(harness, session) == ENGINES
    assert end_of(harness, session) is not None


def test_what_is_known_is_told_during_an_outage() -> None:
    harness = in_organization()
    session = session_of(harness)
    end = end_of(harness, session)
    organization_of(harness, session)
    harness.workos.down()

    assert end_of(harness, session) == end
    assert organization_of(harness, session) == ENGINES


@dataclass(frozen=True)
class Held(Fault):
    """WorkOS waits a moment for another call before it answers one."""

    processed = True
    second: threading.Barrier

    def answer(self, answer: Response | None, wait: Wait) -> Response:
        with suppress(threading.BrokenBarrierError):
            self.second.wait(0.3)
        assert answer is not None
        return answer


def test_many_threads_ask_once() -> None:
    harness = in_organization()
    session = session_of(harness)
    harness.workos.fail(Held(threading.Barrier(2)), path="organization")
    found: list[Organization | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(organization_of(harness, session)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert found == [ENGINES] * 8
    assert harness.workos.count("organization") == 1


def test_workos_that_is_down_is_soon_not_asked_any_more() -> None:
    harness = signed_in()
    session = session_of(harness)
    harness.workos.down()
    for number in range(20):
        other = replace(session, session_id=f"session_{number}")
        assert end_of(harness, other) is None

    assert harness.workos.count("user_sessions") < 10
