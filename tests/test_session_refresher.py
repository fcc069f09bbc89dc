"""What WorkOS's answers to a refresh mean, seen through the service."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.processes import EXPIRED, EXPIRING, Browser, Site
from wsgi_authkit._logs import INTERVAL, OnceAMinute
from wsgi_authkit.errors import (
    RefreshNeedsAuthorization,
    RefreshRejected,
    RefreshUnavailable,
)
from wsgi_authkit.refresh import LEASE
from wsgi_authkit.session import Impersonator
from wsgi_authkit.stores import MemoryStore
from wsgi_authkit.testing import (
    Clock,
    ConnectionRefused,
    ConnectionReset,
    ConnectTimedOut,
    Fault,
    HugeBody,
    InvalidJSON,
    LostResponse,
    NameNotResolved,
    ReadTimedOut,
    Status,
    TruncatedBody,
)
from wsgi_authkit.testing import Impersonator as FakeImpersonator

TRANSIENT = [
    pytest.param(ConnectionRefused(), id="refused"),
    pytest.param(NameNotResolved(), id="DNS"),
    pytest.param(ConnectTimedOut(), id="connect timeout"),
    pytest.param(ConnectionReset(), id="reset"),
    pytest.param(ReadTimedOut(), id="read timeout"),
    pytest.param(LostResponse(), id="lost response"),
    pytest.param(TruncatedBody(), id="truncated"),
    pytest.param(InvalidJSON(), id="invalid JSON"),
    pytest.param(HugeBody(), id="huge body"),
    pytest.param(Status(200, "html"), id="200 HTML"),
    pytest.param(Status(200, "empty"), id="200 empty"),
    pytest.param(Status(200, "string"), id="200 string"),
    pytest.param(Status(200, json={"user": None}), id="200 without tokens"),
    pytest.param(Status(502, "html"), id="502 HTML"),
    *(
        pytest.param(Status(status), id=str(status))
        for status in (408, 429, 500, 502, 503, 504)
    ),
]
OPERATOR = [
    pytest.param(Status(401), id="401"),
    pytest.param(Status(403), id="403"),
    pytest.param(Status(404), id="404"),
    pytest.param(Status(302, headers={"Location": "https://x.example/"}), id="302"),
    pytest.param(Status(400, json={"error": "invalid_client"}), id="invalid_client"),
    pytest.param(
        Status(400, json={"error": "unauthorized_client"}), id="unauthorized_client"
    ),
    pytest.param(Status(400, json={"error": "invalid_request"}), id="invalid_request"),
    pytest.param(
        Status(422, json={"code": "invalid_request_parameters", "message": "No."}),
        id="422",
    ),
]
STEP_UP = [
    "sso_required",
    "mfa_enrollment",
    "mfa_challenge",
    "email_verification_required",
    "organization_selection_required",
    "organization_authentication_methods_required",
    "organization_membership_not_found",
    "organization_not_found",
]


@pytest.fixture
def site() -> Site:
    return Site()


# Outages


@pytest.mark.parametrize("fault", [*TRANSIENT, *OPERATOR])
def test_valid_session_needs_nobody(site: Site, fault: Fault) -> None:
    browser = Browser(site)
    browser.visit()
    site.workos.fail(fault)
    result = browser.visit()

    assert result.session
    assert result.headers == []
    assert site.refreshes == 0


@pytest.mark.parametrize("fault", [*TRANSIENT, *OPERATOR])
def test_expiring_session_goes_on_without_workos(site: Site, fault: Fault) -> None:
    browser = Browser(site)
    browser.visit()
    site.workos.fail(fault)
    site.clock.advance(EXPIRING)
    result = browser.visit()

    assert result.session
    assert result.headers == []
    assert isinstance(result.error, RefreshUnavailable)


@pytest.mark.parametrize("fault", [*TRANSIENT, *OPERATOR])
@pytest.mark.parametrize("navigation", [True, False], ids=["navigation", "script"])
def test_expired_session_is_unavailable_and_kept(
    site: Site, fault: Fault, navigation: bool
) -> None:
    browser = Browser(site)
    browser.visit()
    site.workos.fail(fault, path="refresh")
    site.clock.advance(EXPIRED)
    result = browser.visit(navigation=navigation)

    assert result.session.reason == "unavailable"
    assert result.session.status == "unavailable"
    assert result.headers == []
    assert isinstance(result.error, RefreshUnavailable)
    assert 1 <= result.error.retry_after <= 10


@pytest.mark.parametrize("fault", [*TRANSIENT, *OPERATOR])
@pytest.mark.parametrize(
    "seconds", [pytest.param(EXPIRING, id="expiring"), pytest.param(EXPIRED, id="over")]
)
def test_session_is_back_after_an_outage(
    site: Site, fault: Fault, seconds: float
) -> None:
    browser = Browser(site)
    browser.visit()
    site.clock.advance(seconds)
    site.workos.fail(fault)
    for _ in range(3):
        browser.visit()
        site.clock.advance(1)
    site.workos.recover()
    site.clock.advance(6)
    result = browser.visit()

    assert result.session
    assert result.error is None
    assert result.headers != []


@pytest.mark.parametrize(
    ("faults", "transient"),
    [
        pytest.param([fault.values[0] for fault in TRANSIENT], True, id="transient"),
        pytest.param([fault.values[0] for fault in OPERATOR], False, id="operator"),
    ],
)
def test_outage_and_wrong_configuration_are_told_apart(
    faults: list[Fault], transient: bool
) -> None:
    for fault in faults:
        site = Site()
        cookies = site.cookie()
        site.visit(cookies)
        site.workos.fail(fault, path="refresh")
        site.clock.advance(EXPIRED)
        error = site.visit(cookies).error

        assert isinstance(error, RefreshUnavailable)
        assert error.transient is transient, fault


def test_workos_says_when_to_come_back(site: Site) -> None:
    cookies = site.cookie()
    site.visit(cookies)
    site.workos.fail(Status(429, headers={"Retry-After": "4"}), path="refresh")
    site.clock.advance(EXPIRED)
    error = site.visit(cookies).error

    assert isinstance(error, RefreshUnavailable)
    assert error.retry_after == 4


def test_waiting_tabs_do_not_hammer_workos_in_an_outage(site: Site) -> None:
    cookies = site.cookie()
    site.visit(cookies)
    site.workos.fail(503, path="refresh")
    site.clock.advance(EXPIRED)
    for _ in range(100):
        site.visit(cookies)

    assert site.refreshes == 1


def test_wrong_configuration_is_logged_once_and_names_no_secret(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    answer = site.start()
    cookies = site.cookie(answer)
    site.visit(cookies)
    site.workos.fail(401, path="refresh")
    for _ in range(5):
        site.clock.advance(EXPIRED)
        site.visit(cookies)

    errors = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert site.refreshes == 5
    assert len(errors) == 1
    assert "operator" in errors[0].getMessage()
    assert answer["refresh_token"] not in caplog.text


def test_line_is_due_once_a_minute() -> None:
    clock = Clock()
    due = OnceAMinute(clock)
    said = [bool(due), bool(due)]
    clock.advance(INTERVAL - 0.1)
    said.append(bool(due))
    clock.advance(0.1)
    said.append(bool(due))

    assert said == [True, False, False, True]


# Lost answers


def test_lost_answer_is_asked_for_again_at_once(site: Site) -> None:
    browser = Browser(site)
    browser.visit()
    site.clock.advance(EXPIRED)
    site.workos.fail(LostResponse(), path="refresh", times=1)
    first = browser.visit()
    site.clock.advance(EXPIRED)
    second = browser.visit()

    assert first.session
    assert second.session
    assert site.refreshes == 3


def test_session_is_over_where_the_repeated_request_is_refused() -> None:
    site = Site(refresh_grace=0)
    browser = Browser(site)
    browser.visit()
    site.clock.advance(EXPIRED)
    site.workos.fail(LostResponse(), path="refresh", times=1)

    assert browser.visit().session.reason == "refresh_rejected"
    assert site.refreshes == 2


def test_request_that_was_not_sent_is_not_repeated(site: Site) -> None:
    cookies = site.cookie()
    site.visit(cookies)
    site.clock.advance(EXPIRED)
    site.workos.fail(ConnectionRefused(), path="refresh")
    site.visit(cookies)

    assert site.refreshes == 1


# The end of a session


def test_revoked_session_is_cleared_on_a_navigation_only(site: Site) -> None:
    browser = Browser(site)
    session_id = browser.visit().session.session_id
    assert session_id is not None
    site.workos.revoke_session(session_id)
    site.clock.advance(EXPIRED)
    script = browser.visit(navigation=False)
    kept = browser.cookies
    navigation = browser.visit()

    assert script.session.reason == navigation.session.reason == "refresh_rejected"
    assert isinstance(script.error, RefreshRejected)
    assert script.headers == []
    assert kept
    assert len(navigation.headers) == 1
    assert browser.cookies == ""
    assert site.refreshes == 1


def test_revoked_session_goes_on_until_its_token_ends(site: Site) -> None:
    """A proactive refresh that is refused signs nobody out early."""
    browser = Browser(site)
    session_id = browser.visit().session.session_id
    assert session_id is not None
    site.workos.revoke_session(session_id)
    site.clock.advance(EXPIRING)
    result = browser.visit()

    assert result.session
    assert result.headers == []
    assert isinstance(result.error, RefreshRejected)
    browser.visit()
    assert site.refreshes == 1


def test_end_of_a_session_is_logged_by_its_id(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="wsgi_authkit")
    browser = Browser(site)
    session_id = browser.visit().session.session_id
    assert session_id is not None
    site.workos.revoke_session(session_id)
    site.clock.advance(EXPIRED)
    browser.visit()

    assert session_id in caplog.text


@pytest.mark.parametrize("identifier", STEP_UP)
def test_session_that_needs_a_new_sign_in_is_expired_and_kept(
    site: Site, identifier: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    browser = Browser(site)
    browser.visit()
    site.clock.advance(EXPIRED)
    body = {
        "error": identifier,
        "error_description": "No.",
        "email": "ada@example.com",
        "connection_ids": ["conn_1"],
    }
    site.workos.fail(Status(400, json=body), path="refresh")
    result = browser.visit()

    assert (result.session.reason, result.session.status) == ("expired", "anonymous")
    assert result.headers == []
    assert isinstance(result.error, RefreshNeedsAuthorization)
    assert result.error.reason == identifier
    assert result.error.connection_ids == ("conn_1",)
    assert f"needs a new sign-in: WorkOS answered 400 ({identifier})" in caplog.text


def test_lost_membership_needs_a_new_sign_in(site: Site) -> None:
    acme = site.workos.add_organization("Acme")
    membership = site.workos.add_membership(site.ada, acme)
    browser = Browser(site, site.start(organization_id=acme.id))
    browser.visit()
    site.workos.delete_membership(membership)
    site.clock.advance(EXPIRED)
    error = browser.visit().error

    assert isinstance(error, RefreshNeedsAuthorization)
    assert error.organization_id == acme.id


def test_session_of_another_user_ends_it(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    grace = site.workos.add_user("grace@example.com")
    browser = Browser(site)
    browser.visit()
    site.clock.advance(EXPIRED)
    site.workos.fail(Status(200, json=site.start(grace)), path="refresh")
    result = browser.visit()

    assert result.session.reason == "refresh_rejected"
    assert isinstance(result.error, RefreshRejected)
    assert "another user" in caplog.text
    assert "grace@example.com" not in caplog.text


@pytest.mark.parametrize("foreign", ["user", "access_token"])
def test_answer_about_two_users_ends_the_session(site: Site, foreign: str) -> None:
    grace = site.workos.add_user("grace@example.com")
    browser = Browser(site)
    browser.visit()
    site.clock.advance(EXPIRED)
    answer = {**site.start(), foreign: site.start(grace)[foreign]}
    site.workos.fail(Status(200, json=answer), path="refresh")

    assert browser.visit().session.reason == "refresh_rejected"


def test_another_session_id_is_logged_and_goes_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A JWT template can override ``sid``."""
    browser = Browser(site)
    old = browser.visit().session.session_id
    site.clock.advance(EXPIRED)
    site.workos.fail(Status(200, json=site.start()), path="refresh")
    new = browser.visit().session.session_id

    assert new not in (None, old)
    assert f"from {old} to {new}" in caplog.text


# What the new session holds


def test_returned_user_replaces_the_old_one(site: Site) -> None:
    browser = Browser(site)
    browser.visit()
    site.ada.first_name = "Augusta"
    site.clock.advance(EXPIRED)
    refreshed = browser.visit().session
    later = browser.visit().session

    assert refreshed.user is not None
    assert later.user is not None
    assert refreshed.user.first_name == later.user.first_name == "Augusta"


def test_changed_roles_and_flags_show_after_a_refresh(site: Site) -> None:
    acme = site.workos.add_organization("Acme")
    membership = site.workos.add_membership(
        site.ada, acme, role="admin", permissions=["reports:read", "reports:write"]
    )
    browser = Browser(site, site.start(organization_id=acme.id))
    before = browser.visit().session
    membership.role, membership.roles = "member", ()
    membership.permissions = ("reports:read",)
    site.ada.feature_flags = ("new-reports",)
    site.clock.advance(EXPIRED)
    after = browser.visit().session

    assert before.has_role("admin")
    assert not before.has_feature("new-reports")
    assert (after.role, after.roles) == ("member", ("member",))
    assert after.permissions == ("reports:read",)
    assert after.has_feature("new-reports")


def test_session_of_a_deleted_user_ends_at_the_next_refresh(site: Site) -> None:
    browser = Browser(site)
    browser.visit()
    site.workos.delete_user(site.ada)
    site.clock.advance(EXPIRED)
    session = browser.visit().session

    assert session.reason == "refresh_rejected"
    assert browser.cookies == ""


def test_current_organization_is_sent(site: Site) -> None:
    acme = site.workos.add_organization("Acme")
    site.workos.add_membership(site.ada, acme, permissions=["reports:read"])
    browser = Browser(site, site.start(organization_id=acme.id))
    site.clock.advance(EXPIRED)
    session = browser.visit().session

    (call,) = [call for call in site.workos.calls if call.endpoint == "authenticate"]
    assert call.body["organization_id"] == acme.id
    assert session.organization_id == acme.id
    assert session.has_permission("reports:read")


def test_no_organization_is_sent_where_there_is_none(site: Site) -> None:
    browser = Browser(site)
    site.clock.advance(EXPIRED)
    browser.visit()
    (call,) = [call for call in site.workos.calls if call.endpoint == "authenticate"]

    assert "organization_id" not in call.body


@pytest.mark.parametrize("repeated", [True, False], ids=["repeated", "left out"])
def test_impersonator_and_method_outlive_a_refresh(site: Site, repeated: bool) -> None:
    """Who is impersonated must not become an ordinary session."""
    admin = FakeImpersonator(email="admin@example.com", reason="support")
    answer = site.start(impersonator=admin)
    browser = Browser(site, answer)
    browser.visit()
    site.clock.advance(EXPIRED)
    if not repeated:
        fresh = site.start()
        bare = {key: fresh[key] for key in ("user", "access_token", "refresh_token")}
        site.workos.fail(Status(200, json=bare), path="refresh")
    session = browser.visit().session

    assert session
    assert session.impersonator == Impersonator(
        email="admin@example.com", reason="support"
    )
    assert session.authentication_method == "Impersonation"


def test_token_that_is_not_rotated_refreshes_again_and_again(site: Site) -> None:
    answer = site.start()
    browser = Browser(site, answer)
    session_id = browser.visit().session.session_id
    for number in range(1, 4):
        site.clock.advance(EXPIRED)
        now = int(site.clock())
        claims = {"sub": site.ada.id, "sid": session_id, "iat": now, "exp": now + 300}
        fixed = {**answer, "access_token": site.workos.sign(claims)}
        site.workos.recover()
        site.workos.fail(Status(200, json=fixed), path="refresh")

        assert browser.visit().session
        assert browser.visit().session
        assert site.refreshes == number


# Tokens that do not verify


def test_new_token_that_does_not_verify_is_kept_and_not_served(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Its refresh token is the only good one: the old one ends the session."""
    browser = Browser(site)
    browser.visit()
    site.clock.advance(EXPIRED)
    site.workos.extra_claims["permissions"] = "admin"
    result = browser.visit()

    assert result.session.reason == "unavailable"
    assert len(result.headers) == 1
    assert isinstance(result.error, RefreshUnavailable)
    assert '"permissions"' in caplog.text
    site.clock.advance(60)
    assert browser.visit().session.reason == "invalid_token"
    assert site.refreshes == 1


def test_new_token_that_never_verifies_makes_no_storm(site: Site) -> None:
    browser = Browser(site)
    browser.visit()
    site.workos.extra_claims["permissions"] = "admin"
    site.clock.advance(EXPIRED)
    for _ in range(100):
        browser.visit()

    assert site.refreshes == 1


def test_broken_token_while_the_keys_are_missing_is_no_error(site: Site) -> None:
    """It has the header of a token and nothing else."""
    answer = site.start()
    browser = Browser(site, answer)
    browser.visit()
    site.workos.rotate_keys()
    head = site.start()["access_token"].partition(".")[0]
    broken = {**answer, "access_token": f"{head}.bm90IEpTT04.c2ln"}
    site.workos.fail(503, path="jwks")
    site.workos.fail(Status(200, json=broken), path="refresh")
    site.clock.advance(EXPIRED)

    assert browser.visit().session.reason == "unavailable"


def test_pair_is_not_lost_while_the_keys_are_out_of_reach(site: Site) -> None:
    """The new token has a new key, and the key set is down."""
    browser = Browser(site)
    browser.visit()
    site.workos.rotate_keys()
    site.workos.fail(503, path="jwks")
    site.clock.advance(EXPIRED)
    during = browser.visit()
    still = browser.visit()
    site.workos.recover()
    site.clock.advance(61)
    after = browser.visit()

    assert during.session.reason == still.session.reason == "unavailable"
    assert len(during.headers) == 1
    assert isinstance(during.error, RefreshUnavailable)
    assert after.session
    assert site.refreshes == 1


def test_pair_is_not_lost_while_the_key_set_lags_behind(site: Site) -> None:
    """The new token has a new key, and an old key set is still handed out."""
    browser = Browser(site)
    browser.visit()
    site.workos.fail(Status(200, json=site.workos.jwk_set()), path="jwks")
    site.workos.rotate_keys()
    site.clock.advance(EXPIRED)
    during = browser.visit()
    site.workos.recover()
    site.clock.advance(61)
    after = browser.visit()

    assert during.session.reason == "unavailable"
    assert len(during.headers) == 1
    assert after.session
    assert site.refreshes == 1


def test_session_too_large_for_a_seal_is_no_error(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    acme = site.workos.add_organization("Acme")
    membership = site.workos.add_membership(site.ada, acme)
    browser = Browser(site, site.start(organization_id=acme.id))
    browser.visit()
    membership.permissions = tuple(f"permission:{n:011}" for n in range(440))
    site.clock.advance(EXPIRED)
    result = browser.visit()

    assert result.session.reason == "unavailable"
    assert result.headers == []
    assert "as a seal" in caplog.text
    assert "the largest claim of its access token is 'permissions'" in caplog.text


def test_expired_token_of_a_withdrawn_key_is_refreshed(site: Site) -> None:
    browser = Browser(site)
    browser.visit()
    site.workos.rotate_keys(keep_old=False)
    site.clock.advance(EXPIRED)
    session = browser.visit().session

    assert session
    assert session.user is not None
    assert session.user.id == site.ada.id
    assert site.refreshes == 1


def test_new_key_costs_one_fetch_and_no_refresh(site: Site) -> None:
    site.visit(site.cookie())
    site.workos.rotate_keys()
    cookies = site.cookie()

    assert site.visit(cookies).session
    assert site.visit(cookies).session
    assert site.workos.count("jwks") == 2
    assert site.refreshes == 0


# Time


def test_clock_that_is_ahead_causes_no_storm(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Every token of WorkOS looks expired when it arrives, by ten minutes."""
    ahead = site.new_process(clock=lambda: site.clock() + 600)
    browser = Browser(site)
    for _ in range(60):
        assert browser.visit(service=ahead).session
        site.clock.advance(1)

    assert site.refreshes == 6
    warnings = [r.getMessage() for r in caplog.records if "clock" in r.getMessage()]
    assert len(warnings) == 1
    assert "600 seconds ahead" in warnings[0]


def test_clock_that_is_ahead_does_not_refresh_for_a_late_request(site: Site) -> None:
    ahead = site.new_process(clock=lambda: site.clock() + 600)
    old = site.cookie()
    new = site.visit(old, service=ahead).headers
    site.clock.advance(5)
    again = site.visit(old, service=ahead)

    assert again.session
    assert again.headers == new
    assert site.refreshes == 1


def test_session_that_is_served_again_is_not_written_again(site: Site) -> None:
    """A slow response would put an older session over a newer one."""
    ahead = site.new_process(clock=lambda: site.clock() + 600)
    browser = Browser(site)
    first = browser.visit(service=ahead)
    second = browser.visit(service=ahead)

    assert first.headers != []
    assert second.session == first.session
    assert second.headers == []


def test_clock_that_is_behind_refreshes_as_ever(site: Site) -> None:
    """A token from the future is good; WorkOS decides when it is over."""
    behind = site.new_process(clock=lambda: site.clock() - 600)
    browser = Browser(site)
    for _ in range(60):
        assert browser.visit(service=behind).session
        site.clock.advance(30)

    assert 0 < site.refreshes <= 60 * 30 / 270 + 1


@pytest.mark.parametrize("grace", [0, 30], ids=["strict", "grace"])
@pytest.mark.parametrize("step", [0.5, 3, 7, 20])
def test_pages_go_on_with_tokens_of_five_seconds(
    grace: float, step: float, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(access_token_lifetime=5, refresh_grace=grace)
    browser = Browser(site)
    visits = 40
    for _ in range(visits):
        assert browser.visit().session
        site.clock.advance(step)

    assert site.refreshes <= visits * min(step, 10) / 5 + 1
    assert "clock" not in caplog.text


@pytest.mark.parametrize("lifetime", [60, 300, 3600])
def test_session_is_refreshed_once_a_life(lifetime: int) -> None:
    site = Site(access_token_lifetime=lifetime)
    browser = Browser(site)
    for _ in range(100):
        assert browser.visit().session
        site.clock.advance(lifetime / 10)

    assert 9 <= site.refreshes <= 20


def test_no_refresh_before_expiry_where_the_buffer_is_0(site: Site) -> None:
    service = site.new_process(refresh_buffer=0)
    browser = Browser(site)
    site.clock.advance(304)
    assert browser.visit(service=service).session
    assert site.refreshes == 0
    site.clock.advance(1)

    assert browser.visit(service=service).session
    assert site.refreshes == 1


def test_answers_are_of_any_type_and_never_an_error(site: Site) -> None:
    bodies: list[Any] = [
        [],
        0,
        {"user": [], "access_token": 1, "refresh_token": {}},
        {**site.start(), "access_token": "a.b.c"},
        {**site.start(), "access_token": "x" * 20_000},
        {**site.start(), "user": {"id": 7}},
    ]
    cookies = site.cookie()
    site.visit(cookies)
    for body in bodies:
        site.clock.advance(EXPIRED)
        site.workos.recover()
        site.workos.fail(Status(200, json=body), path="refresh")

        assert site.visit(cookies).session.reason == "unavailable", body


def test_keys_are_not_fetched_while_others_wait_for_the_lease(site: Site) -> None:
    """Fetching them can take longer than the lease lasts."""
    cookies = site.cookie()
    site.visit(cookies)
    site.clock.advance(EXPIRED)
    asked: list[str] = []

    class Watched(MemoryStore):
        def add(self, key: str, value: bytes, ttl: float) -> bool:
            asked.append("acquire" if ttl == LEASE else "add")
            return super().add(key, value, ttl)

        def delete(self, key: str, expected: bytes | None = None) -> bool:
            asked.append(f"release after {site.workos.count('jwks')} fetches")
            return super().delete(key, expected)

    service = site.new_process(store=Watched(site.clock))
    service._state.verifier.key_set.ensure_loaded()
    site.workos.rotate_keys()
    site.workos.reset_calls()
    result = site.visit(cookies, service=service)

    assert result.session
    assert "acquire" in asked
    assert "release after 0 fetches" in asked
    assert site.workos.count("jwks") == 1
