"""The calls to WorkOS, and what its refusals become."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness import make_config
from wsgi_authkit.api import (
    CALL_DEADLINE,
    CLAIM_NONCE_DEADLINE,
    REFRESH_DEADLINE,
    REVOKE_DEADLINE,
    WorkOSClient,
    parse_retry_after,
)
from wsgi_authkit.authentication import Authentication, ClientInfo
from wsgi_authkit.authorization import code_challenge
from wsgi_authkit.errors import (
    APIError,
    APIUnavailable,
    AuthorizationRequired,
    ClientRejected,
    InvalidGrant,
    RateLimited,
)
from wsgi_authkit.testing import Clock, FakeUser, FakeWorkOS
from wsgi_authkit.testing.faults import (
    ConnectionRefused,
    ConnectionReset,
    ConnectTimedOut,
    Fault,
    HugeBody,
    InvalidJSON,
    Latency,
    LostResponse,
    NameNotResolved,
    ReadTimedOut,
    SlowBody,
    Status,
    TruncatedBody,
)

VERIFIER = "v" * 43
CHALLENGE = code_challenge(VERIFIER)
BROWSER = ClientInfo(ip_address="203.0.113.7", user_agent="Browser/1.0")
MAGIC_AUTH = "urn:workos:oauth:grant-type:magic-auth:code"


class Site:
    """A client of WorkOS and the WorkOS that it calls, on one clock."""

    def __init__(self, config: Mapping[str, Any] | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.workos = FakeWorkOS(clock=self.clock, **options)
        self.ada = self.workos.add_user("ada@example.com", first_name="Ada")
        self.api = WorkOSClient(
            make_config(**(config or {})),
            http=self.workos.session(),
            clock=self.clock,
            monotonic=self.clock,
        )

    def code(self, user: FakeUser | None = None) -> str:
        return self.workos.create_code(user or self.ada, code_challenge=CHALLENGE)

    def refresh_token(self, **options: Any) -> str:
        token: str = self.workos.create_session(self.ada, **options)["refresh_token"]
        return token

    def answer(self, status: int, body: object, **headers: str) -> None:
        """Have every call answered like this."""
        self.workos.fail(
            Status(
                status,
                json=body,
                headers={
                    name.replace("_", "-"): value for name, value in headers.items()
                },
            )
        )


@pytest.fixture
def site() -> Site:
    return Site()


def refresh(site: Site) -> Authentication:
    return site.api.refresh("refresh-canary", organization_id="org_1")


def exchange(site: Site) -> Authentication:
    return site.api.exchange_code("code-canary", "verifier-canary")


def magic_auth(site: Site) -> Authentication:
    return site.api.authenticate(
        MAGIC_AUTH, code="code-canary", email="ada-canary@example.com"
    )


def get(site: Site) -> Any:
    return site.api.get("/user_management/users/token-canary", params={"email": "a"})


def fetch_jwks(site: Site) -> bytes:
    return site.api.fetch_jwks()


Call = Callable[[Site], Any]

CALLS: list[Call] = [refresh, exchange, magic_auth, get, fetch_jwks]
each_call = pytest.mark.parametrize(
    "call", [pytest.param(call, id=call.__name__) for call in CALLS]
)
each_grant = pytest.mark.parametrize(
    "call", [pytest.param(call, id=call.__name__) for call in CALLS[:3]]
)


def error_of(call: Call, site: Site) -> APIError:
    with pytest.raises(APIError) as caught:
        call(site)
    return caught.value


# --- the table of errors -----------------------------------------------------

TERMINAL = ["invalid_grant"]
STEP_UP = [
    "application_consent_required",
    "authentication_method_not_allowed",
    "email_password_auth_disabled",
    "email_verification_required",
    "invalid_organization_id",
    "mfa_challenge",
    "mfa_enrollment",
    "organization_authentication_methods_required",
    "organization_membership_not_found",
    "organization_not_found",
    "organization_selection_required",
    "passkey_progressive_enrollment",
    "radar_challenge",
    "radar_sign_up_challenge",
    "radar_sms_sign_in_challenge",
    "sso_required",
]
OPERATOR = [
    "access_denied",
    "authorization_pending",
    "code_challenge_not_found",
    "expired_token",
    "extra_attributes_required",
    "invalid_client",
    "invalid_connection",
    "invalid_credentials",
    "invalid_link_authorization_code",
    "invalid_one_time_code",
    "invalid_pending_authentication_token",
    "invalid_profile",
    "invalid_request",
    "invalid_request_parameters",
    "invitation_cannot_be_used_for_email",
    "invitation_invalid",
    "one_time_code_expired",
    "one_time_code_previously_used",
    "one_time_code_too_many_attempts",
    "phone_number_required",
    "pkce_not_supported",
    "sign_up_not_allowed",
    "slow_down",
    "token_too_big",
    "unauthorized_client",
    "user_mismatch",
    "verification_id_required",
]
LIMITED = ["daily_quota_exceeded", "rate_limit_exceeded", "too_many_requests"]

IDENTIFIERS: list[tuple[str, type[APIError]]] = [
    *((name, InvalidGrant) for name in TERMINAL),
    *((name, AuthorizationRequired) for name in STEP_UP),
    *((name, ClientRejected) for name in OPERATOR),
    *((name, RateLimited) for name in LIMITED),
]
each_identifier = pytest.mark.parametrize(
    ("identifier", "expected"),
    [pytest.param(name, cls, id=name) for name, cls in IDENTIFIERS],
)

SENTENCE = "The code 'code-canary' of ada-canary@example.com has expired."


def oauth(identifier: str) -> dict[str, Any]:
    return {"error": identifier, "error_description": SENTENCE}


def api(identifier: str) -> dict[str, Any]:
    return {"code": identifier, "message": SENTENCE}


def both(identifier: str) -> dict[str, Any]:
    return {"error": identifier, "code": "another", "message": SENTENCE}


def nested(identifier: str) -> dict[str, Any]:
    return {"error": {"code": "another"}, "code": identifier, "message": SENTENCE}


@each_identifier
@pytest.mark.parametrize("envelope", [oauth, api, both, nested])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_identifier_decides_whatever_the_status(
    site: Site,
    identifier: str,
    expected: type[APIError],
    envelope: Callable[[str], dict[str, Any]],
    status: int,
) -> None:
    site.answer(status, envelope(identifier))
    error = error_of(refresh, site)
    assert type(error) is expected
    assert (error.status_code, error.error) == (status, identifier)
    assert error.error_description == SENTENCE
    assert identifier in str(error)
    assert site.workos.count("refresh") == 1


@each_call
@each_identifier
def test_identifier_means_the_same_for_every_call(
    site: Site, call: Call, identifier: str, expected: type[APIError]
) -> None:
    site.answer(400, oauth(identifier))
    assert type(error_of(call, site)) is expected


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(oauth("invalid_grant"), id="invalid_grant"),
        pytest.param(api("sso_required"), id="sso_required"),
        pytest.param(oauth("invalid_client"), id="invalid_client"),
        pytest.param({"message": "Internal Server Error"}, id="bare"),
        pytest.param("down", id="string"),
        pytest.param(None, id="WorkOS's own"),
    ],
)
@pytest.mark.parametrize("status", [408, 500, 501, 502, 503, 504, 520, 599])
@each_call
def test_status_of_an_outage_is_transient_whatever_the_body(
    site: Site, call: Call, status: int, body: object
) -> None:
    """A proxy that echoes an old body must not sign anybody out."""
    site.answer(status, body)
    error = error_of(call, site)
    assert type(error) is APIUnavailable
    assert error.request_sent is True
    assert error.status_code == status


@pytest.mark.parametrize(
    "body", [oauth("invalid_grant"), api("too_many_requests"), "Slow down.", None]
)
@each_call
def test_429_is_a_rate_limit_whatever_the_body(
    site: Site, call: Call, body: object
) -> None:
    site.answer(429, body)
    assert type(error_of(call, site)) is RateLimited


BARE = {"message": "Must use SSO for selected organization"}


def test_bare_400_of_a_refresh_asks_for_a_new_authorization(site: Site) -> None:
    site.answer(400, BARE)
    error = error_of(refresh, site)
    assert isinstance(error, AuthorizationRequired)
    assert (error.error, error.organization_id) == (None, "org_1")


@pytest.mark.parametrize("call", [exchange, magic_auth, get, fetch_jwks])
def test_bare_400_of_another_call_is_a_rejection(site: Site, call: Call) -> None:
    site.answer(400, BARE)
    assert type(error_of(call, site)) is ClientRejected


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_bare_message_with_another_status_is_a_rejection(
    site: Site, status: int
) -> None:
    """A wrong API key must end no session and send nobody to sign in."""
    site.answer(status, BARE)
    assert type(error_of(refresh, site)) is ClientRejected


@each_call
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 422])
@pytest.mark.parametrize("envelope", [oauth, api])
def test_unknown_identifier_ends_no_session(
    site: Site, call: Call, status: int, envelope: Callable[[str], dict[str, Any]]
) -> None:
    site.answer(status, envelope("brand-new-canary"))
    error = error_of(call, site)
    assert type(error) is ClientRejected
    assert error.error == "brand-new-canary"
    # It may be anything: only WorkOS's own words get into a message.
    assert "canary" not in str(error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@each_call
def test_redirect_is_a_rejection(site: Site, call: Call, status: int) -> None:
    site.answer(status, oauth("moved"), Location="https://mallory.example/")
    assert type(error_of(call, site)) is ClientRejected
    assert len(site.workos.calls) == 1


@pytest.mark.parametrize("status", [201, 202, 204, 205])
@each_grant
def test_other_success_than_200_is_no_authentication(
    site: Site, call: Call, status: int
) -> None:
    site.answer(status, {} if status != 204 else None)
    expected = ClientRejected if status != 204 else APIUnavailable
    assert type(error_of(call, site)) is expected


def deep(levels: int) -> Any:
    value: Any = "invalid_grant"
    for _ in range(levels):
        value = {"error": value}
    return value


HOSTILE = [
    pytest.param([], id="array"),
    pytest.param([{"error": "invalid_grant"}], id="array of an error"),
    pytest.param("invalid_grant", id="string"),
    pytest.param(17, id="number"),
    pytest.param(True, id="boolean"),
    pytest.param({}, id="empty object"),
    pytest.param({"error": None, "code": None}, id="nulls"),
    pytest.param({"error": 17, "code": []}, id="numbers and arrays"),
    pytest.param({"error": ["invalid_grant"]}, id="identifier in an array"),
    pytest.param({"error": {"error": "invalid_grant"}}, id="identifier in an object"),
    pytest.param(deep(200), id="nested"),
    pytest.param({"error": "INVALID_GRANT"}, id="upper case"),
    pytest.param({"error": " invalid_grant"}, id="blank"),
    pytest.param({"error": "invalid_grant\x00"}, id="null byte"),
    pytest.param({"error": "a" * 500_000}, id="long identifier"),
    pytest.param({"message": ["invalid_grant"]}, id="message is an array"),
    pytest.param({"message": {"error": "invalid_grant"}}, id="message is an object"),
    pytest.param({"connection_ids": 1, "error": "x"}, id="connection ids"),
]


@pytest.mark.parametrize("body", HOSTILE)
@pytest.mark.parametrize("status", [400, 401, 403])
@each_call
def test_hostile_error_body_ends_no_session(
    site: Site, call: Call, status: int, body: object
) -> None:
    site.answer(status, body)
    error = error_of(call, site)
    assert not isinstance(error, InvalidGrant)
    assert len(str(error)) < 300


@pytest.mark.parametrize("body", ["html", "empty", "string"])
@each_call
def test_body_that_is_no_object_ends_no_session(
    site: Site, call: Call, body: Any
) -> None:
    """WorkOS speaks JSON: it was something on the way that answered."""
    site.workos.fail(Status(400, body=body))
    assert type(error_of(call, site)) is APIUnavailable
    site.workos.recover()
    site.workos.fail(Status(401, body=body))
    assert type(error_of(call, site)) is ClientRejected


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param({"connection_ids": ["conn_1", "conn_2"]}, id="connection_ids"),
        pytest.param(
            {"sso_connection_ids": ["conn_1", "conn_2"]}, id="sso_connection_ids"
        ),
        pytest.param({"connection_ids": ["conn_1", 5, None, "conn_2"]}, id="hostile"),
    ],
)
def test_step_up_names_organization_and_connections(
    site: Site, ids: dict[str, Any]
) -> None:
    site.answer(400, {**oauth("sso_required"), **ids})
    error = error_of(refresh, site)
    assert isinstance(error, AuthorizationRequired)
    assert error.organization_id == "org_1"
    assert error.connection_ids == ("conn_1", "conn_2")


@pytest.mark.parametrize("ids", [None, 5, "conn_1", {"a": 1}])
def test_connections_of_another_form_are_none(site: Site, ids: object) -> None:
    site.answer(400, {**oauth("sso_required"), "connection_ids": ids})
    error = error_of(refresh, site)
    assert isinstance(error, AuthorizationRequired)
    assert error.connection_ids == ()


def test_step_up_of_a_sign_in_page_tells_how_to_go_on(site: Site) -> None:
    body = {
        "code": "organization_selection_required",
        "pending_authentication_token": "pending-canary",
        "organizations": [{"id": "org_1", "name": "Acme"}],
    }
    site.answer(403, body)
    error = error_of(magic_auth, site)
    assert isinstance(error, AuthorizationRequired)
    assert error.pending_authentication_token == "pending-canary"
    assert error.details == body
    assert error.redirect_url is None
    assert "canary" not in f"{error}{error!r}{error.args}"


@pytest.mark.parametrize("token", [None, 5, ["pending"]])
def test_pending_token_of_another_form_is_none(site: Site, token: object) -> None:
    site.answer(403, {"code": "mfa_challenge", "pending_authentication_token": token})
    error = error_of(magic_auth, site)
    assert isinstance(error, AuthorizationRequired)
    assert error.pending_authentication_token is None


def test_request_id_is_told_to_the_operator(site: Site) -> None:
    site.answer(400, oauth("invalid_client"))
    error = error_of(refresh, site)
    assert error.request_id is not None
    assert error.request_id in str(error)


# --- Retry-After -------------------------------------------------------------

NOW = 1_750_000_000.0  # Sun, 15 Jun 2025 15:06:40 GMT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, 1.0, id="absent"),
        pytest.param("", 1.0, id="empty"),
        pytest.param("0", 1.0, id="zero"),
        pytest.param("3", 3.0, id="seconds"),
        pytest.param(" 3 ", 3.0, id="blanks"),
        pytest.param("10", 10.0, id="the most"),
        pytest.param("11", 10.0, id="over the most"),
        pytest.param("86400", 10.0, id="a day"),
        pytest.param("9" * 20, 10.0, id="huge"),
        pytest.param("9" * 5000, 10.0, id="beyond every float"),
        pytest.param("-5", 1.0, id="negative"),
        pytest.param("1.5", 1.0, id="fraction"),
        pytest.param("1e300", 1.0, id="exponent"),
        pytest.param("soon", 1.0, id="nonsense"),
        pytest.param("NaN", 1.0, id="not a number"),
        pytest.param("\u0663", 1.0, id="digit of another script"),
        pytest.param("\xb2", 1.0, id="superscript"),
        pytest.param("Sun, 15 Jun 2025 15:06:44 GMT", 4.0, id="date"),
        pytest.param("Sunday, 15-Jun-25 15:06:44 GMT", 4.0, id="RFC 850 date"),
        pytest.param("Sun, 15 Jun 2025 15:06:00 GMT", 1.0, id="date in the past"),
        pytest.param("Mon, 15 Jun 2026 15:06:44 GMT", 10.0, id="date in a year"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 -2359", 10.0, id="last date"),
        pytest.param("Sun, 15 Jun 20250 15:06:44 GMT", 1.0, id="year of five digits"),
        pytest.param("Sun, 99 Jun 2025 15:06:44 GMT", 1.0, id="no such day"),
        pytest.param(",", 1.0, id="comma"),
    ],
)
def test_retry_after_is_read(value: str | None, expected: float) -> None:
    assert parse_retry_after(value, NOW) == expected


@given(st.text() | st.text("0123456789 ,:-+JunSatGMT"), st.floats(0, 4e9))
def test_retry_after_is_always_one_to_ten_seconds(value: str, now: float) -> None:
    assert 1 <= parse_retry_after(value, now) <= 10


@pytest.mark.parametrize("status", [429, 503])
@each_call
def test_retry_after_is_passed_on(site: Site, call: Call, status: int) -> None:
    site.answer(status, {}, Retry_After="4")
    error = error_of(call, site)
    assert isinstance(error, APIUnavailable)
    assert error.retry_after == 4


# --- secrets -----------------------------------------------------------------

REFUSALS: list[Any] = [
    pytest.param(Status(400, json=oauth("invalid_grant")), id="terminal"),
    pytest.param(Status(400, json=api("sso_required")), id="step-up"),
    pytest.param(Status(400, json=oauth("invalid_client")), id="operator"),
    pytest.param(Status(400, json=oauth("refresh-canary")), id="identifier"),
    pytest.param(Status(400, json={"message": SENTENCE}), id="bare"),
    pytest.param(Status(400, json=SENTENCE), id="string"),
    pytest.param(Status(429, json=oauth("too_many_requests")), id="rate limit"),
    pytest.param(Status(500, json={"message": SENTENCE}), id="outage"),
    pytest.param(Status(302, headers={"Location": "/?code=code-canary"}), id="moved"),
]
OUTAGES: list[Any] = [
    pytest.param(ConnectionRefused(), id="refused"),
    pytest.param(NameNotResolved(), id="name"),
    pytest.param(ConnectTimedOut(), id="connect"),
    pytest.param(ConnectionReset(), id="reset"),
    pytest.param(ReadTimedOut(), id="read"),
    pytest.param(HugeBody(), id="huge"),
    pytest.param(Status(200, body="html"), id="no JSON"),
]
TOKENS_MISSING = Status(200, json={"refresh_token": "refresh-canary"})
FAULTS = [*REFUSALS, *OUTAGES, pytest.param(TOKENS_MISSING, id="tokens missing")]


def texts_of(error: BaseException | None) -> list[str]:
    """All that a log or a report says of an error and of what led to it."""
    texts: list[str] = []
    while error is not None:
        texts.extend((str(error), repr(error), repr(error.args)))
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or context
    return texts


@pytest.mark.parametrize("fault", FAULTS)
@each_grant
def test_no_secret_is_in_any_text_of_an_error(
    site: Site, call: Call, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors are logged with their causes, pickled for queues, shown by Sentry."""
    caplog.set_level(logging.DEBUG, "wsgi_authkit")
    site.workos.fail(fault)
    error = error_of(call, site)
    texts = [*texts_of(error), *texts_of(pickle.loads(pickle.dumps(error)))]
    texts.append(caplog.text)
    for secret in ("canary", "sk_test_fake", "ada", "has expired"):
        assert not [text for text in texts if secret in text]


@pytest.mark.parametrize("fault", [*REFUSALS, *OUTAGES])
def test_path_and_query_are_in_no_text_of_an_error(site: Site, fault: Fault) -> None:
    """WorkOS has tokens in paths and e-mail addresses in queries."""
    site.workos.fail(fault)
    with pytest.raises(APIError) as caught:
        site.api.get("/invitations/by_token/canary", params={"email": "a-canary"})
    assert not [text for text in texts_of(caught.value) if "canary" in text]


# --- code exchange -----------------------------------------------------------


def test_code_is_exchanged(site: Site) -> None:
    answer = site.api.exchange_code(site.code(), VERIFIER)
    assert answer.user.id == site.ada.id
    assert answer.authentication_method == "Password"
    body = site.workos.calls[-1].body
    assert set(body) == {
        "client_id",
        "client_secret",
        "code",
        "code_verifier",
        "grant_type",
    }


@pytest.mark.parametrize("call", [exchange, magic_auth])
@pytest.mark.parametrize(
    "fault",
    [
        ConnectionRefused(),
        ConnectionReset(),
        LostResponse(),
        ReadTimedOut(),
        TruncatedBody(),
        InvalidJSON(),
        Status(503),
        Status(429),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_single_use_code_is_sent_once(site: Site, call: Call, fault: Fault) -> None:
    """A second try with a spent code may end the session of the first one."""
    site.workos.fail(fault, times=1)
    error_of(call, site)
    assert len(site.workos.calls) == 1


def test_spent_code_is_an_invalid_grant(site: Site) -> None:
    code = site.code()
    site.api.exchange_code(code, VERIFIER)
    with pytest.raises(InvalidGrant):
        site.api.exchange_code(code, VERIFIER)


# --- refresh -----------------------------------------------------------------


def test_refresh_returns_the_new_pair(site: Site) -> None:
    old = site.refresh_token()
    answer = site.api.refresh(old)
    assert answer.refresh_token != old
    assert answer.user.email == "ada@example.com"
    assert "organization_id" not in site.workos.calls[-1].body


def test_refresh_sends_the_organization(site: Site) -> None:
    acme = site.workos.add_organization("Acme")
    site.workos.add_membership(site.ada, acme)
    token = site.refresh_token(organization_id=acme.id)
    answer = site.api.refresh(token, organization_id=acme.id)
    assert answer.organization_id == acme.id
    assert site.workos.calls[-1].body["organization_id"] == acme.id


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(ConnectionReset(), id="reset"),
        pytest.param(LostResponse(), id="lost"),
        pytest.param(ReadTimedOut(), id="silence"),
        pytest.param(TruncatedBody(), id="truncated"),
        pytest.param(Latency(60), id="late"),
        pytest.param(SlowBody(), id="slow"),
        pytest.param(HugeBody(), id="huge"),
    ],
)
def test_refresh_that_is_not_answered_is_repeated_once(
    site: Site, fault: Fault
) -> None:
    token = site.refresh_token()
    site.workos.fail(fault, times=1)
    started = site.clock()
    answer = site.api.refresh(token)
    assert site.workos.count("refresh") == 2
    assert site.clock() - started <= REFRESH_DEADLINE
    # Within the grace both attempts are given the same pair.
    again = site.api.refresh(token)
    assert (again.access_token, again.refresh_token) == (
        answer.access_token,
        answer.refresh_token,
    )


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(ConnectionReset(), id="reset"),
        pytest.param(LostResponse(), id="lost"),
        pytest.param(ReadTimedOut(), id="silence"),
        pytest.param(TruncatedBody(), id="truncated"),
        pytest.param(Latency(60), id="late"),
        pytest.param(SlowBody(), id="slow"),
    ],
)
def test_refresh_is_tried_twice_within_its_deadline(site: Site, fault: Fault) -> None:
    token = site.refresh_token()
    site.workos.fail(fault)
    started = site.clock()
    with pytest.raises(APIUnavailable) as caught:
        site.api.refresh(token)
    assert caught.value.request_sent is True
    assert site.workos.count("refresh") == 2
    assert site.clock() - started <= REFRESH_DEADLINE


def test_slow_drip_is_cut_at_the_deadline(site: Site) -> None:
    token = site.refresh_token()
    site.workos.fail(SlowBody(interval=0.5, size=1))
    started = site.clock()
    with pytest.raises(APIUnavailable):
        site.api.refresh(token)
    assert REFRESH_DEADLINE <= site.clock() - started <= REFRESH_DEADLINE + 0.5


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param(ConnectionRefused(), APIUnavailable, id="refused"),
        pytest.param(NameNotResolved(), APIUnavailable, id="name"),
        pytest.param(ConnectTimedOut(), APIUnavailable, id="connect"),
    ],
)
def test_refresh_that_was_not_sent_is_not_repeated(
    site: Site, fault: Fault, expected: type[APIUnavailable]
) -> None:
    token = site.refresh_token()
    site.workos.fail(fault, times=1)
    with pytest.raises(expected) as caught:
        site.api.refresh(token)
    assert caught.value.request_sent is False
    assert site.workos.count("refresh") == 1


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Status(400, json=oauth("invalid_grant")), id="invalid_grant"),
        pytest.param(Status(401), id="401"),
        pytest.param(Status(408), id="408"),
        pytest.param(Status(429), id="429"),
        pytest.param(Status(500), id="500"),
        pytest.param(Status(503, body="html"), id="503"),
        pytest.param(Status(200, json={}), id="tokens missing"),
        pytest.param(InvalidJSON(), id="no JSON"),
    ],
)
def test_refresh_that_was_answered_is_not_repeated(site: Site, fault: Fault) -> None:
    token = site.refresh_token()
    site.workos.fail(fault, times=1)
    with pytest.raises(APIError):
        site.api.refresh(token)
    assert site.workos.count("refresh") == 1


def test_refresh_whose_repetition_is_refused_was_sent_all_the_same(site: Site) -> None:
    """Who believed ``request_sent=False`` would send a token that may be spent."""
    token = site.refresh_token()
    site.workos.fail(LostResponse(), times=1)
    site.workos.fail(ConnectionRefused(), times=1)
    with pytest.raises(APIUnavailable) as caught:
        site.api.refresh(token)
    assert caught.value.request_sent is True
    assert site.workos.count("refresh") == 2


def test_refresh_whose_repetition_comes_after_the_grace_is_over() -> None:
    site = Site(refresh_grace=0)
    token = site.refresh_token()
    site.workos.fail(LostResponse(), times=1)
    with pytest.raises(InvalidGrant):
        site.api.refresh(token)


def test_refresh_of_a_revoked_session_is_over(site: Site) -> None:
    token = site.refresh_token()
    (session_id,) = site.workos.sessions
    site.workos.revoke_session(session_id)
    with pytest.raises(InvalidGrant):
        site.api.refresh(token)


def test_refresh_for_an_organization_with_sso_asks_for_it(site: Site) -> None:
    acme = site.workos.add_organization(
        "Acme", sso_required=True, connection_ids=["conn_1"]
    )
    site.workos.add_membership(site.ada, acme)
    with pytest.raises(AuthorizationRequired) as caught:
        site.api.refresh(site.refresh_token(), organization_id=acme.id)
    assert caught.value.error == "sso_required"
    assert caught.value.organization_id == acme.id
    assert caught.value.connection_ids == ("conn_1",)


# --- every grant -------------------------------------------------------------


def test_browser_is_told_to_workos(site: Site) -> None:
    site.api.exchange_code(site.code(), VERIFIER, client=BROWSER)
    site.api.refresh(site.refresh_token(), client=BROWSER)
    assert len(site.workos.calls) == 2
    for call in site.workos.calls:
        assert call.ip_address == BROWSER.ip_address
        assert call.user_agent == BROWSER.user_agent


def test_what_is_not_known_of_the_browser_is_left_out(site: Site) -> None:
    client = ClientInfo(ip_address=None, user_agent="")
    site.api.refresh(site.refresh_token(), client=client)
    assert not {"ip_address", "user_agent"} & set(site.workos.calls[-1].body)


def test_any_grant_can_be_asked_for(site: Site) -> None:
    digits = site.workos.create_magic_auth_code(site.ada)
    answer = site.api.authenticate(MAGIC_AUTH, code=digits, email=site.ada.email)
    assert answer.user.id == site.ada.id
    assert answer.authentication_method == "MagicAuth"


@each_grant
def test_wrong_credentials_are_the_operators_matter(call: Call) -> None:
    site = Site({"api_key": "sk_test_wrong"})
    assert type(error_of(call, site)) is ClientRejected


def test_call_takes_its_deadline_at_most(site: Site) -> None:
    site.workos.fail(SlowBody(interval=0.5, size=1))
    started = site.clock()
    with pytest.raises(APIUnavailable):
        site.api.exchange_code(site.code(), VERIFIER)
    assert CALL_DEADLINE <= site.clock() - started <= CALL_DEADLINE + 0.5


# --- URLs --------------------------------------------------------------------


def test_authorization_url_sorts_and_quotes_its_parameters(site: Site) -> None:
    url = site.api.authorization_url(
        {"state": "a b&c=d/é", "client_id": "client_1", "prompt": "login"}
    )
    assert url == (
        "https://api.workos.com/user_management/authorize"
        "?client_id=client_1&prompt=login&state=a%20b%26c%3Dd%2F%C3%A9"
    )


def test_logout_url_quotes_its_parameters(site: Site) -> None:
    url = site.api.logout_url("session_1&x=y", "https://app.example/?a=b&c=d#e")
    assert urlsplit(url)._replace(query="").geturl() == (
        "https://api.workos.com/user_management/sessions/logout"
    )
    assert parse_qsl(urlsplit(url).query, strict_parsing=True) == [
        ("session_id", "session_1&x=y"),
        ("return_to", "https://app.example/?a=b&c=d#e"),
    ]


def test_logout_url_needs_no_return_address(site: Site) -> None:
    assert site.api.logout_url("session_1").endswith("/logout?session_id=session_1")


def test_urls_follow_the_configured_host() -> None:
    site = Site(
        {"api_hostname": "localhost", "api_https": False, "api_port": 8001},
        base_url="http://localhost:8001",
    )
    assert site.api.jwks_url == "http://localhost:8001/sso/jwks/client_test"
    assert site.api.logout_url("s").startswith("http://localhost:8001/user_management/")
    assert site.api.authorization_url({}).startswith("http://localhost:8001/")
    assert site.api.refresh(site.refresh_token()).user.id == site.ada.id


def test_key_set_url_quotes_the_client_id() -> None:
    site = Site({"client_id": "client/../1?"})
    assert site.api.jwks_url == "https://api.workos.com/sso/jwks/client%2F..%2F1%3F"


def test_key_set_is_returned_as_received(site: Site) -> None:
    assert json.loads(site.api.fetch_jwks()) == site.workos.jwk_set()
    assert not site.workos.calls[-1].authorization_sent


def test_key_set_that_is_too_large_is_not_read(site: Site) -> None:
    site.workos.fail(HugeBody(size=256 * 1024 + 1))
    with pytest.raises(APIUnavailable, match="larger"):
        site.api.fetch_jwks()


# --- any endpoint ------------------------------------------------------------


def test_request_carries_the_api_key(site: Site) -> None:
    acme = site.workos.add_organization("Acme")
    assert site.api.get(f"/organizations/{acme.id}")["name"] == "Acme"
    assert site.workos.calls[-1].authorization_sent


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
def test_methods_call_any_path(site: Site, method: str) -> None:
    site.answer(200, {"ok": True})
    assert getattr(site.api, method)("/some/path") == {"ok": True}
    call = site.workos.calls[-1]
    assert (call.method, call.path) == (method.upper(), "/some/path")


def test_parameters_and_body_are_sent(site: Site) -> None:
    site.answer(200, {"ok": True})
    site.api.request("POST", "/some", params={"a b": "c&d"}, json={"x": [1]})
    call = site.workos.calls[-1]
    assert (call.query, call.body) == ({"a b": "c&d"}, {"x": [1]})


@pytest.mark.parametrize("body", [[], {}, 0, False, ""])
def test_json_body_that_is_falsy_is_sent(site: Site, body: object) -> None:
    site.answer(200, {"ok": True})
    site.api.post("/some", json=body)
    assert site.workos.calls[-1].headers["content-type"] == "application/json"


def test_answer_without_a_body_is_none(site: Site) -> None:
    site.workos.fail(Status(204, body="empty"))
    assert site.api.delete("/some/thing") is None


def test_answer_that_is_not_json_is_an_outage(site: Site) -> None:
    site.workos.fail(Status(200, body="html"))
    with pytest.raises(APIUnavailable):
        site.api.get("/some")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("", id="empty"),
        pytest.param("organizations", id="relative"),
        pytest.param("https://mallory.example/", id="url"),
        pytest.param("//mallory.example/", id="host"),
        pytest.param("@mallory.example/", id="userinfo"),
        pytest.param(".mallory.example/", id="longer host"),
        pytest.param(":81/", id="port"),
        pytest.param("/users/../organizations", id="dot segments"),
        pytest.param("/users/..", id="at the end"),
        pytest.param("/users/./a", id="one dot"),
        pytest.param("/users/%2e%2e/organizations", id="quoted"),
        pytest.param("/users/%2E./a", id="half quoted"),
        pytest.param("/users/..%2forganizations", id="quoted slash"),
        pytest.param("/users/..?a=b", id="before a query"),
    ],
)
def test_path_that_leads_elsewhere_is_refused(site: Site, path: str) -> None:
    with pytest.raises(ValueError, match="path must"):
        site.api.get(path)
    assert site.workos.calls == []


@pytest.mark.parametrize("path", ["/a..b/...", "/.well-known/x", "/a?next=/../b"])
def test_path_with_other_dots_is_accepted(site: Site, path: str) -> None:
    site.answer(200, {"ok": True})
    assert site.api.get(path) == {"ok": True}


# --- claim nonce -------------------------------------------------------------


def unclaimed() -> Site:
    return Site({"claim_token": "claim_1"}, claim_token="claim_1")


def test_unclaimed_environment_has_a_nonce() -> None:
    site = unclaimed()
    assert site.api.claim_nonce()
    assert site.workos.count("claim_nonce") == 1


def test_claimed_environment_is_not_asked(site: Site) -> None:
    assert site.api.claim_nonce() is None
    assert site.workos.calls == []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Status(409, json=api("already_claimed")), id="409"),
        pytest.param(Status(200, json={"alreadyClaimed": True}), id="camelCase"),
        pytest.param(Status(201, json={"already_claimed": True}), id="snake_case"),
    ],
)
def test_once_claimed_nothing_is_asked_any_more(fault: Fault) -> None:
    site = unclaimed()
    site.workos.fail(fault, times=1)
    assert [site.api.claim_nonce() for _ in range(3)] == [None] * 3
    assert site.workos.count("claim_nonce") == 1


@pytest.mark.parametrize(
    "fault",
    [
        *FAULTS,
        pytest.param(Status(200, json=[]), id="array"),
        pytest.param(Status(200, json={"nonce": 5}), id="nonce is a number"),
        pytest.param(Latency(60), id="late"),
        pytest.param(SlowBody(size=1), id="slow"),
    ],
)
def test_failure_gives_no_nonce_and_is_bounded(
    fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    site = unclaimed()
    site.workos.fail(fault, times=1)
    started = site.clock()
    assert site.api.claim_nonce() is None
    # The wait that goes over the deadline is the last.
    assert site.clock() - started <= CLAIM_NONCE_DEADLINE + 1
    assert "claim_1" not in caplog.text
    # The next sign-in asks again.
    assert site.api.claim_nonce()


# Revoking a session


def test_revoked_session_is_over_at_workos(site: Site) -> None:
    answer = site.workos.create_session(site.ada)
    session_id = next(iter(site.workos.sessions))
    site.api.revoke_session(session_id)

    assert site.workos.sessions[session_id].status(site.clock()) == "revoked"
    with pytest.raises(InvalidGrant):
        site.api.refresh(answer["refresh_token"])


def test_session_that_workos_does_not_know_is_not_revoked(site: Site) -> None:
    with pytest.raises(ClientRejected) as caught:
        site.api.revoke_session("session_of_another_environment")

    assert caught.value.status_code == 400


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Latency(60), id="slow"),
        pytest.param(ReadTimedOut(), id="silence"),
        pytest.param(SlowBody(interval=9, size=1), id="slow body"),
    ],
)
def test_revocation_has_two_seconds(site: Site, fault: Fault) -> None:
    site.workos.create_session(site.ada)
    site.workos.fail(fault)
    started = site.clock()
    with pytest.raises(APIUnavailable):
        site.api.revoke_session(next(iter(site.workos.sessions)))

    assert site.clock() - started <= REVOKE_DEADLINE == 2


def test_failed_revocations_open_no_circuit(site: Site) -> None:
    """They say little of the endpoint that refreshes depend on."""
    site.workos.fail(503, path="revoke_session")
    for _ in range(10):
        with pytest.raises(APIUnavailable):
            site.api.revoke_session("session_1")

    assert site.api.refresh(site.refresh_token()).user.email == "ada@example.com"
