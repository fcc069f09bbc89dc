"""API keys of customers: the header, WorkOS's answer, and how long that holds."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Barrier, BrokenBarrierError
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway import Response, environ, run
from tests.harness import Harness
from tests.processes import switching, together
from tests.sites import CACHE_CONTROL, EXPIRED, TEXT, answer, cookie_of, make_site
from wsgi_authkit import (
    APIError,
    APIKey,
    APIUnavailable,
    Auth,
    ClientRejected,
    RateLimited,
)
from wsgi_authkit.api_keys import (
    INVALID_LIFETIME,
    MAX_KEY,
    MAX_REMEMBERED,
    VALID_LIFETIME,
    parse_api_key,
    parse_bearer,
)
from wsgi_authkit.testing import ConnectionRefused, Fault, InvalidJSON, Status

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

VALIDATION: Final = "api_key_validation"
KEY: Final = "sk_customer_canary-key"


class Site:
    """A site that answers to API keys."""

    def __init__(self) -> None:
        self.harness: Harness = make_site(self._app)
        self.workos = self.harness.workos
        self.acme = self.workos.add_organization("Acme")
        self.fake_key = self.workos.add_api_key(
            KEY, self.acme, name="CI", permissions=["reports:read"]
        )

    def _app(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        self.key = auth.validate_api_key()
        start_response("200 OK" if self.key else "401 No", [TEXT])
        return [b"ok"]

    def send(self, authorization: str | None) -> Response:
        headers = {} if authorization is None else {"Authorization": authorization}
        return run(self.harness.middleware, environ(headers=headers))

    def ask(self, value: str = KEY) -> APIKey | None:
        """Return what the app learns of a key."""
        self.send(f"Bearer {value}")
        return self.key

    @property
    def calls(self) -> int:
        return self.workos.count(VALIDATION)


@pytest.fixture
def site() -> Site:
    return Site()


# The header


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("BEARER abc", "abc"),
        ("Bearer   abc", "abc"),
        ("Bearer a-b.c_d~e+f/g==", "a-b.c_d~e+f/g=="),
        ("Bearer 0", "0"),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearerabc", None),
        ("Bearer\tabc", None),
        ("Bearer abc ", None),
        (" Bearer abc", None),
        ("Bearer abc\n", None),
        ("Bearer abc def", None),
        ("Bearer abc,def", None),
        ("Bearer abc, Bearer def", None),
        ('Bearer "abc"', None),
        ("Bearer token=abc", None),
        ("Bearer =", None),
        ("Bearer a=b", None),
        ("Bearer \xe4", None),
        ("Bearer \u212aey", None),
        ("Basic abc", None),
        ("Digest abc", None),
        ("abc", None),
        ("Bear\u0435r abc", None),
    ],
)
def test_bearer_token_is_exactly_one_token(header: str, token: str | None) -> None:
    assert parse_bearer(header) == token


@given(st.text())
def test_no_header_is_an_error(header: str) -> None:
    token = parse_bearer(header)

    assert token is None or header.endswith(f" {token}")


@pytest.mark.parametrize(
    "header",
    [None, "", "Basic c2tfY3VzdG9tZXI=", f"Bearer {KEY}, Bearer {KEY}", "Bearer"],
)
def test_without_a_bearer_token_workos_is_not_asked(
    site: Site, header: str | None
) -> None:
    assert site.send(header).status == 401
    assert site.calls == 0


def test_key_longer_than_any_is_invalid_without_asking(site: Site) -> None:
    assert site.ask("a" * (MAX_KEY + 1)) is None
    assert site.calls == 0
    assert site.ask("a" * MAX_KEY) is None
    assert site.calls == 1


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("a" * (MAX_KEY + 1), id="too long"),
        pytest.param("sk test", id="space"),
        pytest.param("sk_test\n", id="line end"),
        pytest.param("sk_\0", id="NUL"),
        pytest.param("sk_\u0661", id="not ASCII"),
        pytest.param("sk_\ud800", id="lone surrogate"),
        pytest.param("=sk", id="padding in front"),
        pytest.param('{"sk":1}', id="JSON"),
    ],
)
def test_service_refuses_what_cannot_be_a_key(site: Site, value: str) -> None:
    assert site.harness.middleware.service.validate_api_key(value) is None
    assert site.calls == 0


# The answer


def test_key_of_an_organization_is_described(site: Site) -> None:
    response = site.send(f"Bearer {KEY}")
    key = site.key

    assert response.status == 200
    assert response.header("Cache-Control") == CACHE_CONTROL
    assert key is not None
    assert (key.id, key.name) == (site.fake_key.id, "CI")
    assert (key.owner.type, key.owner.id) == ("organization", site.acme.id)
    assert key.organization_id == site.acme.id
    assert key.permissions == ("reports:read",)
    assert key.has_permission("reports:read")
    assert not key.has_permission("reports:write")
    assert not key.has_permission("reports")
    assert key.obfuscated_value is not None
    assert key.created_at is not None
    assert key.expires_at is None


def test_key_of_a_user_acts_in_its_organization(site: Site) -> None:
    site.workos.add_api_key("sk_user", site.harness.ada, organization_id=site.acme.id)
    key = site.ask("sk_user")

    assert key is not None
    assert (key.owner.type, key.owner.id) == ("user", site.harness.ada.id)
    assert key.organization_id == key.owner.organization_id == site.acme.id


def test_key_of_a_user_without_an_organization_acts_in_none(site: Site) -> None:
    site.workos.add_api_key("sk_user", site.harness.ada)
    key = site.ask("sk_user")

    assert key is not None
    assert key.organization_id is None


def test_key_does_not_sign_anybody_in(site: Site) -> None:
    response = site.send(f"Bearer {KEY}")

    assert response.set_cookies == []
    assert site.harness.workos.count("refresh") == 0


@pytest.mark.parametrize("is_due", [False, True])
@pytest.mark.parametrize("value", [KEY, "sk_made_up"])
def test_session_and_key_of_one_request_say_nothing_of_each_other(
    site: Site, value: str, is_due: bool
) -> None:
    """The cookie is a user's of no organization, the key an organization's."""
    site.harness.sign_in()
    if is_due:
        site.harness.clock.advance(EXPIRED)
    headers = {
        "Cookie": cookie_of(site.harness),
        "Authorization": f"Bearer {value}",
        "Sec-Fetch-Mode": "cors",
    }
    request = environ(headers=headers)
    response = run(site.harness.middleware, request)

    assert request["authkit.session"].user.email == "ada@example.com"
    assert request["authkit.session"].organization_id is None
    assert (site.key and site.key.organization_id) == (
        site.acme.id if value == KEY else None
    )
    # The pair of a refreshed session would be lost without its cookie.
    names = [cookie.partition("=")[0] for cookie in response.set_cookies]
    assert names == ["wos-session"] * is_due
    assert site.workos.count("refresh") == is_due
    assert response.header("Cache-Control") == CACHE_CONTROL


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_response_to_a_key_is_private_whatever_the_app_says(scheme: str) -> None:
    harness = make_site(answer([TEXT, ("Cache-Control", "public, max-age=60")]))
    headers = {"Authorization": f"{scheme} {KEY}"}
    response = run(harness.middleware, environ(headers=headers))

    assert response.header("Cache-Control") == CACHE_CONTROL


def test_access_token_of_a_session_is_no_session_as_a_bearer_token(site: Site) -> None:
    site.harness.sign_in()
    request = environ(headers={"Cookie": cookie_of(site.harness)})
    run(site.harness.middleware, request)
    token = request["authkit.session"].access_token
    request = environ(headers={"Authorization": f"Bearer {token}"})
    run(site.harness.middleware, request)

    assert request["authkit.session"].reason == "no_cookie"
    assert site.key is None


def test_unknown_key_is_none(site: Site) -> None:
    assert site.ask("sk_nobody") is None


WIRE: Final[dict[str, Any]] = {
    "id": "api_key_1",
    "name": "CI",
    "owner": {"type": "organization", "id": "org_1"},
    "permissions": ["a", 5, "b"],
}


def test_answer_with_more_or_less_than_expected_is_read() -> None:
    key = parse_api_key(
        {"api_key": {**WIRE, "new": 1, "name": None}, "agent_registration_id": "agent"}
    )

    assert key is not None
    assert (key.name, key.permissions) == ("", ("a", "b"))
    assert key.agent_registration_id == "agent"
    assert key.last_used_at is None


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "api_key",
        {},
        {"api_key": {}},
        {"api_key": True},
        {"api_key": "sk"},
        {"api_key": {**WIRE, "id": ""}},
        {"api_key": {**WIRE, "id": None}},
        {"api_key": {**WIRE, "owner": None}},
        {"api_key": {**WIRE, "owner": {"type": "organization"}}},
        {"api_key": {**WIRE, "owner": {"id": "org_1"}}},
        WIRE,
    ],
    ids=repr,
)
def test_answer_that_says_nothing_is_an_outage(site: Site, answer: object) -> None:
    site.workos.fail(Status(200, json=answer), path=VALIDATION)
    with pytest.raises(APIUnavailable):
        site.ask()
    site.workos.recover()
    assert site.ask()


# Outages


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(Status(500), APIUnavailable, id="500"),
        pytest.param(Status(503), APIUnavailable, id="503"),
        pytest.param(Status(429), RateLimited, id="429"),
        pytest.param(ConnectionRefused(), APIUnavailable, id="refused"),
        pytest.param(InvalidJSON(), APIUnavailable, id="no JSON"),
        pytest.param(Status(200, body="empty"), APIUnavailable, id="empty"),
        pytest.param(Status(401), ClientRejected, id="401"),
        pytest.param(Status(401, body="empty"), ClientRejected, id="401, empty"),
        pytest.param(Status(422), ClientRejected, id="422"),
    ],
)
def test_failure_is_an_error_and_not_an_invalid_key(
    site: Site, fault: Fault, error: type[APIError]
) -> None:
    site.workos.fail(fault, path=VALIDATION)
    with pytest.raises(error) as caught:
        site.ask()
    assert KEY not in f"{caught.value!r}"
    site.workos.recover()

    assert site.ask()


def test_wrong_api_key_of_our_own_is_the_operators_matter(site: Site) -> None:
    site.workos.settings.api_key = "sk_test_another"

    with pytest.raises(ClientRejected) as caught:
        site.ask()
    assert caught.value.status_code == 401


def test_outage_does_not_hold_up_one_worker_after_another(site: Site) -> None:
    site.workos.fail(Status(503), path=VALIDATION)
    for _ in range(20):
        with pytest.raises(APIUnavailable):
            site.ask()
    assert site.calls == 5
    site.workos.recover()
    site.harness.clock.advance(5)
    assert site.ask()


# Made-up keys, which anybody can send


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Status(429), id="429"),
        pytest.param(Status(429, body="html"), id="429 of a proxy"),
        pytest.param(Status(403, body="html"), id="refused by a firewall"),
        pytest.param(Status(422), id="422"),
    ],
)
def test_refusals_of_made_up_keys_take_no_good_key_down(
    site: Site, fault: Fault
) -> None:
    site.workos.fail(fault, path=VALIDATION)
    for number in range(20):
        with pytest.raises(APIError):
            site.ask(f"sk_made_up_{number}")
    assert site.calls == 20
    site.workos.recover()

    assert site.ask()


def test_retry_after_of_workos_is_passed_on(site: Site) -> None:
    site.workos.fail(Status(429, headers={"Retry-After": "7"}), path=VALIDATION)
    for _ in range(6):
        with pytest.raises(RateLimited) as caught:
            site.ask()

        assert (caught.value.retry_after, caught.value.status_code) == (7, 429)


def test_outage_after_refusals_still_opens_the_circuit(site: Site) -> None:
    site.workos.fail(Status(429), times=3, path=VALIDATION)
    site.workos.fail(Status(503), path=VALIDATION)
    for _ in range(20):
        with pytest.raises(APIUnavailable):
            site.ask()

    assert site.calls == 8


@dataclass(frozen=True)
class Late(Fault):
    """WorkOS answers when two calls have come, or when no second one seems to come."""

    processed: ClassVar[bool] = True

    both: Barrier = field(default_factory=lambda: Barrier(2))

    def answer(self, answer: Any, wait: object) -> Any:
        with suppress(BrokenBarrierError):
            self.both.wait(0.3)
        return answer


@pytest.mark.parametrize(("value", "name"), [(KEY, "CI"), ("sk_made_up", None)])
def test_threads_with_the_same_new_key_make_one_call(
    site: Site, value: str, name: str | None
) -> None:
    site.workos.fail(Late(), path=VALIDATION)
    service = site.harness.middleware.service
    found = together([lambda: service.validate_api_key(value)] * 30)

    assert {key and key.name for key in found} == {name}
    assert site.calls == 1


def test_thread_that_comes_when_the_call_ends_makes_no_other(site: Site) -> None:
    service = site.harness.middleware.service
    with switching():
        for number in range(60):
            together([lambda n=number: service.validate_api_key(f"sk_{n}")] * 4)  # type: ignore[misc]

    assert site.calls == 60


def test_known_key_goes_on_working_in_an_outage_for_a_while(site: Site) -> None:
    site.ask()
    site.workos.down()
    site.harness.clock.advance(VALID_LIFETIME - 1)

    assert site.ask()


# How long an answer holds


def test_valid_key_is_believed_for_a_minute(site: Site) -> None:
    first = site.ask()
    site.workos.delete_api_key(site.fake_key)
    site.harness.clock.advance(59)
    assert site.ask() == first
    assert site.calls == 1
    site.harness.clock.advance(1)
    assert site.ask() is None
    assert site.calls == 2


def test_invalid_key_is_refused_for_ten_seconds(site: Site) -> None:
    assert site.ask("sk_new") is None
    site.workos.add_api_key("sk_new", site.acme)
    site.harness.clock.advance(INVALID_LIFETIME - 1)
    assert site.ask("sk_new") is None
    assert site.calls == 1
    site.harness.clock.advance(1)
    assert site.ask("sk_new")


@pytest.mark.parametrize("left", [0.5, 5, 30])
def test_key_is_not_believed_beyond_its_expiry(site: Site, left: float) -> None:
    expires_at = site.harness.clock() + left
    site.workos.add_api_key("sk_short", site.acme, expires_at=expires_at)
    assert site.ask("sk_short")
    site.harness.clock.advance(left)

    assert site.ask("sk_short") is None


@pytest.mark.parametrize(
    "expires_at",
    [
        "no time",
        "9999-99-99T00:00:00Z",
        "2001-01-01T00:00:00.000Z",
        # Without an offset it is nobody's time.
        "9999-01-01T00:00:00",
    ],
)
def test_key_whose_expiry_says_nothing_is_asked_for_each_time(
    site: Site, expires_at: str
) -> None:
    body = {"api_key": {**WIRE, "expires_at": expires_at}}
    site.workos.fail(Status(200, json=body), path=VALIDATION)

    assert site.ask()
    assert site.ask()
    assert site.calls == 2


def test_keys_are_told_apart(site: Site) -> None:
    site.workos.add_api_key("sk_other", site.acme, name="other")
    names = [key.name for key in (site.ask(), site.ask("sk_other"), site.ask()) if key]

    assert names == ["CI", "other", "CI"]
    assert site.calls == 2


def test_flood_of_made_up_keys_does_not_drive_out_a_good_one(site: Site) -> None:
    site.ask()
    for number in range(MAX_REMEMBERED + 10):
        site.ask(f"sk_made_up_{number}")
    before = site.calls
    assert site.ask()

    assert site.calls == before
    state = site.harness.middleware.service._state
    assert len(state.api_keys._invalid) <= MAX_REMEMBERED


def test_key_itself_is_kept_nowhere(site: Site) -> None:
    site.ask()
    site.ask("sk_unknown-canary")
    keys = site.harness.middleware.service._state.api_keys
    remembered = repr(
        [(store._entries, store._expiries) for store in (keys._valid, keys._invalid)]
    )

    assert "canary" not in remembered
    assert "canary" not in f"{site.key!r}{keys!r}"


def test_repr_shows_ids_only(site: Site) -> None:
    shown = repr(site.ask())

    assert site.fake_key.id in shown
    assert "CI" not in shown
    assert "..." not in shown


def test_processes_remember_for_themselves(site: Site) -> None:
    other = site.harness.new_middleware()
    run(site.harness.middleware, environ(headers={"Authorization": f"Bearer {KEY}"}))
    run(other, environ(headers={"Authorization": f"Bearer {KEY}"}))

    assert site.calls == 2


def test_threads_with_different_keys_get_their_own(site: Site) -> None:
    for number in range(8):
        site.workos.add_api_key(f"sk_{number}", site.acme, name=f"{number}")
    service = site.harness.middleware.service

    def names(number: int) -> set[str]:
        found = [service.validate_api_key(f"sk_{number}") for _ in range(50)]
        return {key.name for key in found if key}

    with switching():
        seen = together([lambda n=n: names(n) for n in range(8)])  # type: ignore[misc]

    assert seen == [{f"{number}"} for number in range(8)]
