"""Who is signed in: the sealed payload, and the session that an app is given."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsgi_authkit.errors import BadSeal, InvalidClaim, InvalidToken
from wsgi_authkit.seal import IronEncryption, unseal
from wsgi_authkit.session import (
    MAX_SEALED_METADATA,
    AnonymousSession,
    Impersonator,
    Reason,
    Session,
    SessionPayload,
    User,
    dump_payload,
    make_session,
    parse_impersonator,
    parse_payload,
    parse_user,
)
from wsgi_authkit.testing import Clock

VECTORS = json.loads(
    Path(__file__).parent.joinpath("vectors", "seals.json").read_text("utf-8")
)
NOW = 1_750_000_000.0

#: The user as the JavaScript libraries seal it, every member set.
USER: dict[str, Any] = {
    "object": "user",
    "id": "user_1",
    "email": "ada@example.com",
    "emailVerified": True,
    "name": "Ada Lovelace",
    "firstName": "Ada",
    "profilePictureUrl": "https://example.com/ada.png",
    "lastName": "Lovelace",
    "lastSignInAt": "2026-01-15T12:00:00.000Z",
    "locale": "en-GB",
    "createdAt": "2026-01-14T12:00:00.000Z",
    "updatedAt": "2026-01-16T12:00:00.000Z",
    "externalId": "42",
    "metadata": {"plan": "pro"},
}
SEALED: dict[str, Any] = {
    "accessToken": "access-canary",
    "refreshToken": "refresh-canary",
    "user": USER,
    "impersonator": {"email": "admin@example.com", "reason": "support"},
    "authenticationMethod": "Impersonation",
}
CLAIMS: dict[str, Any] = {
    "sub": "user_1",
    "sid": "session_1",
    "iat": NOW,
    "exp": NOW + 300,
    "org_id": "org_1",
    "role": "admin",
    "roles": ["admin", "member"],
    "permissions": ["reports:read"],
    "entitlements": ["audit-logs"],
    "feature_flags": ["beta"],
    "auth_time": NOW - 60,
    "custom": {"list": [{"a": "claim-canary"}]},
}
MINIMAL = {"sub": "user_1", "sid": "session_1", "iat": NOW, "exp": NOW + 300}


def snake_case(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with names as WorkOS's API writes them."""

    def name(key: str) -> str:
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in key)

    return {
        name(key): snake_case(item)
        if isinstance(item, dict) and key != "metadata"
        else item
        for key, item in value.items()
    }


def session_of(
    claims: Mapping[str, Any] = CLAIMS,
    sealed: Mapping[str, Any] = SEALED,
    clock: Clock | None = None,
) -> Session:
    return make_session(parse_payload(sealed), claims, clock=clock or Clock(NOW))


# --- the payload of the JavaScript libraries ---------------------------------


def session_vectors(name: str = "") -> list[Any]:
    return [
        pytest.param(vector, id=vector["name"])
        for vector in VECTORS["seals"]
        if vector["expect"] == "accept"
        and isinstance(vector["expect_value"], dict)
        and "refreshToken" in vector["expect_value"]
        and name in vector["name"]
    ]


def unsealed(vector: dict[str, Any]) -> dict[str, Any]:
    at = None if vector["at_ms"] is None else vector["at_ms"] / 1000
    now = 1_790_000_000.0 if at is None else at
    value = unseal(vector["seal"], vector["password"], now=lambda: now)
    assert isinstance(value, dict)
    return value


def test_vectors_come_from_all_javascript_libraries() -> None:
    producers = {param.values[0]["producer"] for param in session_vectors()}
    assert {"iron-session", "authkit-session", "iron-webcrypto"} <= producers
    assert len(session_vectors()) >= 12


@pytest.mark.parametrize("vector", session_vectors())
def test_session_of_a_javascript_library_is_dumped_as_it_was(
    vector: dict[str, Any],
) -> None:
    value = unsealed(vector)
    expected = json.loads(json.dumps(value))
    if expected.get("impersonator", True) is None:
        del expected["impersonator"]
    if "metadata-nested" in vector["name"]:
        # WorkOS's metadata is an object of strings.
        expected["user"]["metadata"] = {}
    dumped = dump_payload(parse_payload(value))
    assert dumped == expected
    assert list(dumped["user"]) == list(value["user"])
    # And what is sealed of it opens to the same.
    encryption = IronEncryption("a cookie password that is long enough")
    assert encryption.unseal(encryption.seal(dumped)) == expected


@pytest.mark.parametrize("name", ["payload-empty-object", "payload-proto-key"])
def test_object_that_is_no_session_is_refused(name: str) -> None:
    (vector,) = (one for one in VECTORS["seals"] if one["name"].endswith(name))
    value = unsealed(vector)
    with pytest.raises(BadSeal):
        parse_payload(value)


def test_every_member_is_read_and_written() -> None:
    payload = parse_payload(SEALED)
    assert payload == SessionPayload(
        access_token="access-canary",
        refresh_token="refresh-canary",
        user=User(
            id="user_1",
            email="ada@example.com",
            email_verified=True,
            first_name="Ada",
            last_name="Lovelace",
            name="Ada Lovelace",
            profile_picture_url="https://example.com/ada.png",
            external_id="42",
            locale="en-GB",
            metadata={"plan": "pro"},
            last_sign_in_at="2026-01-15T12:00:00.000Z",
            created_at="2026-01-14T12:00:00.000Z",
            updated_at="2026-01-16T12:00:00.000Z",
        ),
        impersonator=Impersonator(email="admin@example.com", reason="support"),
        authentication_method="Impersonation",
    )
    assert dump_payload(payload) == SEALED


def test_both_spellings_are_read() -> None:
    assert parse_payload(snake_case(SEALED)) == parse_payload(SEALED)
    assert "first_name" in snake_case(SEALED)["user"]


@pytest.mark.parametrize(
    "user",
    [
        {"first_name": "Ada", "firstName": "Bob"},
        {"firstName": "Bob", "first_name": "Ada"},
    ],
)
def test_of_both_spellings_one_counts_whatever_the_order(user: dict[str, str]) -> None:
    assert parse_user({"id": "user_1", **user}).first_name == "Ada"


def test_absent_members_are_sealed_as_null_but_never_left_out() -> None:
    """The JavaScript libraries' types say that these keys are there."""
    sealed = dump_payload(
        SessionPayload(access_token="a", refresh_token="r", user=User(id="user_1"))
    )
    assert set(sealed) == {"accessToken", "refreshToken", "user"}
    assert set(sealed["user"]) == set(USER)
    assert sealed["user"]["metadata"] == {}


def test_unknown_members_are_dropped() -> None:
    sealed = {
        **SEALED,
        "sealedSession": "x",
        "organizationId": "org_2",
        "user": {**USER, "isAdmin": True},
    }
    assert dump_payload(parse_payload(sealed)) == SEALED


@pytest.mark.parametrize("name", ["accessToken", "refreshToken"])
@pytest.mark.parametrize("value", [None, "", 17, True, ["refresh-canary"], {}])
def test_session_without_a_token_is_refused(name: str, value: object) -> None:
    with pytest.raises(BadSeal) as caught:
        parse_payload({**SEALED, name: value})
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "user", [None, "user_1", [], {}, {"id": ""}, {"id": None}, {"id": 17}, {"id": {}}]
)
def test_session_without_a_user_is_refused(user: object) -> None:
    with pytest.raises(BadSeal):
        parse_payload({**SEALED, "user": user})


@pytest.mark.parametrize("name", ["accessToken", "refreshToken", "user"])
def test_session_that_lacks_a_member_is_refused(name: str) -> None:
    sealed = {key: value for key, value in SEALED.items() if key != name}
    with pytest.raises(BadSeal):
        parse_payload(sealed)


@pytest.mark.parametrize("value", [None, 17, True, ["x"], {"x": 1}])
@pytest.mark.parametrize("name", sorted(set(USER) - {"id", "object"}))
def test_member_of_another_type_is_absent(name: str, value: object) -> None:
    """WorkOS may add null anywhere; nobody is signed out for a name."""
    if name == "emailVerified" and value is True:
        value = "true"
    if name == "metadata" and isinstance(value, dict):
        value = 17
    user = parse_user({**USER, name: value})
    rest = {key: item for key, item in USER.items() if key != name}
    assert user == parse_user(rest)


@pytest.mark.parametrize("value", [1, "true", "yes", [True], None])
def test_email_is_verified_only_by_true(value: object) -> None:
    assert parse_user({**USER, "emailVerified": value}).email_verified is False


@pytest.mark.parametrize("value", [None, "admin", [], {}, {"email": ""}, {"email": 1}])
def test_impersonator_of_another_form_is_none(value: object) -> None:
    assert parse_impersonator(value) is None


@pytest.mark.parametrize("reason", [None, 17, ["x"]])
def test_impersonator_may_have_no_reason(reason: object) -> None:
    value = {"email": "admin@example.com", "reason": reason, "more": 1}
    assert parse_impersonator(value) == Impersonator(email="admin@example.com")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*SEALED, "access_token", "x"]), JSON))
def test_any_object_is_a_session_or_refused(value: dict[str, Any]) -> None:
    try:
        payload = parse_payload(value)
    except BadSeal:
        return
    assert parse_payload(dump_payload(payload)) == payload


@given(st.dictionaries(st.sampled_from([*USER, "first_name"]), JSON))
def test_any_user_is_a_user_or_refused(value: dict[str, Any]) -> None:
    try:
        user = parse_user(value)
    except BadSeal:
        return
    assert parse_user(user.to_dict()) == user


# --- metadata ----------------------------------------------------------------


def metadata_of(size: int, character: str = "a") -> dict[str, str]:
    """Return metadata of so many bytes of JSON."""
    room = size - len('{"k":""}')
    width = len(character.encode())
    filler = "a" * (room % width)
    return {"k": filler + character * (room // width)}


def sealed_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    payload = parse_payload({**SEALED, "user": {**USER, "metadata": metadata}})
    sealed: dict[str, str] = dump_payload(payload)["user"]["metadata"]
    return sealed


@pytest.mark.parametrize("character", ["a", "é", "日", "🗝"])
def test_metadata_of_one_kilobyte_is_sealed(
    character: str, caplog: pytest.LogCaptureFixture
) -> None:
    metadata = metadata_of(MAX_SEALED_METADATA, character)
    assert sealed_metadata(metadata) == metadata
    assert caplog.records == []


@pytest.mark.parametrize("character", ["a", "é", "日", "🗝"])
def test_larger_metadata_is_sealed_empty_with_one_warning(
    character: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert sealed_metadata(metadata_of(MAX_SEALED_METADATA + 1, character)) == {}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(MAX_SEALED_METADATA + 1) in record.getMessage()
    assert character * 3 not in record.getMessage()


def test_large_metadata_stays_with_the_user_of_this_request() -> None:
    metadata = metadata_of(5000)
    payload = parse_payload({**SEALED, "user": {**USER, "metadata": metadata}})
    assert payload.user.metadata == metadata
    dump_payload(payload)
    assert payload.user.metadata == metadata


def test_metadata_holds_strings_only() -> None:
    metadata: dict[Any, Any] = {"a": "b", "n": 1, "d": {}, "none": None, 5: "x"}
    assert parse_user({**USER, "metadata": metadata}).metadata == {"a": "b"}


def test_metadata_with_a_lone_surrogate_is_sealed() -> None:
    metadata = {"k": "\ud83d" * 10}
    assert sealed_metadata(metadata) == metadata


# --- the session of payload and claims ---------------------------------------


def test_session_is_made_of_payload_and_claims() -> None:
    session = session_of()
    assert session.user.id == "user_1"
    assert session.access_token == "access-canary"
    assert session.session_id == "session_1"
    assert session.organization_id == "org_1"
    assert session.role == "admin"
    assert session.roles == ("admin", "member")
    assert session.permissions == ("reports:read",)
    assert session.entitlements == ("audit-logs",)
    assert session.feature_flags == ("beta",)
    assert session.impersonator == Impersonator(
        email="admin@example.com", reason="support"
    )
    assert session.authentication_method == "Impersonation"
    assert session.expires_at == datetime.fromtimestamp(NOW + 300, UTC)
    assert session.authenticated_at == datetime.fromtimestamp(NOW - 60, UTC)
    assert session.claims["custom"]["list"][0] == {"a": "claim-canary"}
    assert (session.status, session.reason) == ("active", None)
    assert session.is_authenticated is True
    assert bool(session) is True


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param(MINIMAL, id="absent"),
        pytest.param({**dict.fromkeys(CLAIMS), **MINIMAL}, id="null"),
    ],
)
def test_claims_that_are_absent_or_null_grant_nothing(claims: dict[str, Any]) -> None:
    session = session_of(claims)
    lists = (
        session.roles,
        session.permissions,
        session.entitlements,
        session.feature_flags,
    )
    assert lists == ((), (), (), ())
    assert session.organization_id is None
    assert session.role is None
    assert session.authenticated_at is None


@pytest.mark.parametrize("subject", ["user_2", "", "user_1 ", "USER_1"])
def test_user_who_is_not_the_subject_is_refused(subject: str) -> None:
    """Else one's own token would open with somebody else's name on it."""
    with pytest.raises(InvalidClaim) as caught:
        session_of({**CLAIMS, "sub": subject})
    assert caught.value.claim == "sub"
    assert "user_" not in str(caught.value)


ADMIN = Impersonator(email="admin@example.com")


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        pytest.param({"sub": "admin@example.com"}, ADMIN, id="impersonated"),
        pytest.param({"sub": "admin@example.com", "x": 1}, ADMIN, id="more members"),
        pytest.param({"sub": 5}, None, id="number"),
        pytest.param({"sub": None}, None, id="null subject"),
        pytest.param({}, None, id="empty"),
        pytest.param(None, None, id="null"),
        pytest.param("admin@example.com", None, id="string"),
        pytest.param(["admin@example.com"], None, id="list"),
    ],
)
def test_actor_of_the_token_is_the_impersonator(
    act: object, expected: Impersonator | None
) -> None:
    sealed = {**SEALED, "impersonator": None}
    assert session_of({**MINIMAL, "act": act}, sealed).impersonator == expected


def test_sealed_impersonator_knows_the_reason() -> None:
    session = session_of({**MINIMAL, "act": {"sub": "admin@example.com"}})
    assert session.impersonator == replace(ADMIN, reason="support")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param(0, datetime(1970, 1, 1, tzinfo=UTC), id="zero"),
        pytest.param(-1e300, datetime(1970, 1, 1, tzinfo=UTC), id="negative"),
        pytest.param(0.5, datetime(1970, 1, 1, 0, 0, 0, 500000, UTC), id="fraction"),
        pytest.param(1e300, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), id="huge"),
        pytest.param(
            10**400, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), id="integer"
        ),
    ],
)
def test_any_number_is_an_instant(seconds: float, expected: datetime) -> None:
    session = session_of({**MINIMAL, "exp": seconds, "auth_time": seconds})
    assert session.expires_at == session.authenticated_at == expected
    assert session.expires_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("passed", "buffer", "expected"),
    [
        pytest.param(0, 60, False, id="fresh"),
        pytest.param(239, 60, False, id="before the buffer"),
        pytest.param(240, 60, True, id="in the buffer"),
        pytest.param(299, 0, False, id="last second"),
        pytest.param(300, 0, True, id="over"),
        pytest.param(0, 300, True, id="buffer of a life"),
        pytest.param(0, 1e9, True, id="huge buffer"),
    ],
)
def test_expiry_is_seen_by_the_clock_given(
    passed: float, buffer: float, expected: bool
) -> None:
    clock = Clock(NOW)
    session = session_of(clock=clock)
    clock.advance(passed)
    assert session.is_expiring(buffer) is expected


def test_expiry_has_a_buffer_of_a_minute() -> None:
    clock = Clock(NOW + 240)
    assert session_of(clock=clock).is_expiring()
    clock.advance(-1)
    assert not session_of(clock=clock).is_expiring()


def test_token_of_the_far_future_is_not_expiring() -> None:
    assert not session_of({**MINIMAL, "exp": 1e300}).is_expiring(1e6)


def test_grants_are_asked_for() -> None:
    session = session_of()
    assert session.has_role("admin")
    assert session.has_role("member")
    assert not session.has_role("adm")
    assert session.has_permission("reports:read")
    assert not session.has_permission("reports")
    assert session.has_any_permission(["x", "reports:read"])
    assert not session.has_any_permission(["x", "y"])
    assert not session.has_any_permission([])
    assert session.has_entitlement("audit-logs")
    assert not session.has_entitlement("audit")
    assert session.has_feature("beta")
    assert not session.has_feature("bet")


def test_primary_role_counts_without_a_list_of_roles() -> None:
    session = session_of({**MINIMAL, "role": "admin"})
    assert session.has_role("admin")
    assert not session.has_role("member")


# --- to_dict -----------------------------------------------------------------


def test_dictionary_has_the_keys_of_javascript_and_no_token() -> None:
    value = session_of().to_dict()
    assert value == {
        "user": USER,
        "sessionId": "session_1",
        "organizationId": "org_1",
        "role": "admin",
        "roles": ["admin", "member"],
        "permissions": ["reports:read"],
        "entitlements": ["audit-logs"],
        "featureFlags": ["beta"],
        "impersonator": {"email": "admin@example.com", "reason": "support"},
    }
    assert "canary" not in json.dumps(value)


def test_dictionary_leaves_out_what_is_absent() -> None:
    value = session_of(MINIMAL, {**SEALED, "impersonator": None}).to_dict()
    assert set(value) == {
        "user",
        "sessionId",
        "roles",
        "permissions",
        "entitlements",
        "featureFlags",
    }
    assert json.loads(json.dumps(value)) == value


def test_dictionary_is_the_callers_own() -> None:
    session = session_of()
    value = session.to_dict()
    value["user"]["metadata"]["plan"] = "free"
    value["roles"].append("owner")
    assert session.user.metadata == {"plan": "pro"}
    assert session.roles == ("admin", "member")


# --- the anonymous session ---------------------------------------------------


@pytest.mark.parametrize("reason", get_args(Reason))
def test_anonymous_session_is_empty(reason: Reason) -> None:
    session = AnonymousSession(reason)
    assert not session
    assert session.user is None
    assert session.reason == reason
    assert session.status == ("unavailable" if reason == "unavailable" else "anonymous")
    assert session.is_authenticated is False
    assert session.to_dict() == {"user": None}
    assert session.claims == {}
    assert (session.roles, session.permissions) == ((), ())
    assert (session.entitlements, session.feature_flags) == ((), ())
    assert not session.is_expiring()
    assert not session.is_expiring(1e9)
    assert not session.has_role("admin")
    assert not session.has_permission("x")
    assert not session.has_any_permission(["x"])
    assert not session.has_entitlement("x")
    assert not session.has_feature("x")


def public_names(value: object) -> set[str]:
    return {name for name in dir(value) if not name.startswith("_")}


def test_both_sessions_have_the_same_attributes() -> None:
    """An app must not fail with ``AttributeError`` where nobody is signed in."""
    names = public_names(session_of())
    assert names == public_names(AnonymousSession())
    assert {"user", "reason", "status", "has_role", "to_dict", "claims"} <= names
    assert "refresh_token" not in names


def test_methods_of_both_sessions_take_the_same() -> None:
    anonymous, session = AnonymousSession(), session_of()
    for name in public_names(session):
        method = getattr(session, name)
        if inspect.ismethod(method):
            signatures = [
                list(inspect.signature(getattr(one, name)).parameters.values())
                for one in (session, anonymous)
            ]
            assert signatures[0] == signatures[1], name


def test_absent_values_of_a_session_are_those_of_the_anonymous() -> None:
    session = session_of(MINIMAL, {**SEALED, "impersonator": None})
    anonymous = AnonymousSession()
    for name in ("organization_id", "role", "roles", "permissions", "entitlements"):
        assert getattr(session, name) == getattr(anonymous, name)


# --- secrets -----------------------------------------------------------------


SHOWN = [
    pytest.param(session_of(), id="Session"),
    pytest.param(session_of().user, id="User"),
    pytest.param(AnonymousSession("expired"), id="AnonymousSession"),
    pytest.param(parse_payload(SEALED), id="SessionPayload"),
    pytest.param(Impersonator(email="a"), id="Impersonator"),
]


@pytest.mark.parametrize("value", SHOWN)
def test_no_secret_is_shown(value: object) -> None:
    for shown in (repr(value), str(value), f"{value}", f"{value!s:>5}", f"{[value]}"):
        assert "canary" not in shown


def test_session_shows_its_ids_and_no_person() -> None:
    shown = repr(session_of())
    assert "session_1" in shown
    assert "org_1" in shown
    assert "ada" not in shown.lower()
    assert "admin" not in shown


# --- immutability ------------------------------------------------------------


@pytest.mark.parametrize("value", SHOWN)
def test_no_attribute_can_be_set_or_deleted(value: Any) -> None:
    """A session is shared by the requests that carry the same cookie."""
    for member in fields(value):
        with pytest.raises(FrozenInstanceError):
            setattr(value, member.name, None)
        with pytest.raises(FrozenInstanceError):
            delattr(value, member.name)


@pytest.mark.parametrize("value", SHOWN)
@pytest.mark.parametrize("name", ["brand_new", "is_authenticated", "status", "user"])
def test_no_attribute_can_be_added(value: Any, name: str) -> None:
    # Frozen classes with slots raise TypeError here, before Python 3.12.
    with pytest.raises((AttributeError, TypeError)):
        setattr(value, name, "x")


def paths_into(value: Any) -> list[Any]:
    """Return every container inside a value, itself included."""
    if isinstance(value, Mapping):
        inner = list(value.values())
    elif isinstance(value, list | tuple):
        inner = list(value)
    else:
        return []
    return [value, *(found for item in inner for found in paths_into(item))]


def test_claims_cannot_be_changed_at_any_depth() -> None:
    containers = paths_into(session_of().claims)
    assert len(containers) > 6
    for container in containers:
        assert not hasattr(container, "__setitem__")
        assert not hasattr(container, "__delitem__")
        assert not hasattr(container, "append")
        assert not hasattr(container, "pop")


def test_claims_do_not_change_with_what_they_were_made_of() -> None:
    claims = json.loads(json.dumps(CLAIMS))
    session = session_of(claims)
    claims["permissions"].append("everything")
    claims["custom"]["list"][0]["a"] = "changed"
    claims["role"] = "owner"
    assert session.claims["permissions"] == ("reports:read",)
    assert session.claims["custom"]["list"][0]["a"] == "claim-canary"
    assert session.claims["role"] == "admin"


def test_metadata_cannot_be_changed() -> None:
    metadata = {"plan": "pro"}
    user = parse_user({**USER, "metadata": metadata})
    assert not hasattr(user.metadata, "__setitem__")
    metadata["plan"] = "free"
    assert user.metadata == {"plan": "pro"}


def test_anonymous_claims_cannot_be_changed() -> None:
    """They are one object for all requests."""
    assert not hasattr(AnonymousSession().claims, "__setitem__")


def test_claims_nested_too_deeply_are_refused() -> None:
    claims: Any = {}
    for _ in range(100_000):
        claims = {"a": claims}
    with pytest.raises(InvalidToken):
        session_of({**MINIMAL, "deep": claims})
    # Freeing it all at once would need as deep a stack.
    while claims:
        claims = claims.pop("a")


def test_equal_sessions_are_equal_and_hashable() -> None:
    one, other = session_of(), session_of()
    assert one == other
    assert hash(one) == hash(other)
    assert one != session_of({**CLAIMS, "sid": "session_2"})
    assert hash(parse_payload(SEALED)) == hash(parse_payload(SEALED))
