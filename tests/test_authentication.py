"""WorkOS's answer to a successful authentication: what of it is kept."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from wsgi_authkit.authentication import (
    Authentication,
    OAuthTokens,
    parse_authentication,
    text,
    texts,
)
from wsgi_authkit.errors import APIUnavailable
from wsgi_authkit.session import Impersonator, SessionPayload, User, dump_payload
from wsgi_authkit.testing import FakeWorkOS

USER = {
    "object": "user",
    "id": "user_1",
    "email": "ada@example.com",
    "email_verified": True,
    "first_name": "Ada",
    "last_name": "Lovelace",
    "name": "Ada Lovelace",
    "profile_picture_url": "https://example.com/ada.png",
    "external_id": "42",
    "locale": "en-GB",
    "metadata": {"plan": "pro"},
    "last_sign_in_at": "2026-01-15T12:00:00.000Z",
    "created_at": "2026-01-14T12:00:00.000Z",
    "updated_at": "2026-01-15T12:00:00.000Z",
}
BODY: dict[str, Any] = {
    "user": USER,
    "access_token": "access-canary",
    "refresh_token": "refresh-canary",
}


NO_TOKENS: list[Any] = [None, "", 17, ["refresh-canary"], {}]
NO_USERS: list[Any] = [None, "user_1", [], {}, {"id": ""}, {"id": 1}, {"id": None}]


def parse(**members: Any) -> Authentication:
    return parse_authentication({**BODY, **members})


def test_every_field_of_the_contract_is_kept() -> None:
    answer = parse(
        organization_id="org_1",
        authentication_method="GoogleOAuth",
        impersonator={"email": "admin@example.com", "reason": "support"},
        oauth_tokens={
            "provider": "GoogleOAuth",
            "access_token": "oauth-canary",
            "refresh_token": "oauth-refresh-canary",
            "expires_at": 1_750_000_000,
            "scopes": ["email", "profile"],
        },
    )
    assert answer == Authentication(
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
            updated_at="2026-01-15T12:00:00.000Z",
        ),
        access_token="access-canary",
        refresh_token="refresh-canary",
        organization_id="org_1",
        authentication_method="GoogleOAuth",
        impersonator=Impersonator(email="admin@example.com", reason="support"),
        oauth_tokens=OAuthTokens(
            provider="GoogleOAuth",
            access_token="oauth-canary",
            refresh_token="oauth-refresh-canary",
            expires_at=1_750_000_000,
            scopes=("email", "profile"),
        ),
    )


def test_optional_fields_may_be_absent() -> None:
    answer = parse_authentication(BODY)
    assert answer.organization_id is None
    assert answer.authentication_method is None
    assert answer.impersonator is None
    assert answer.oauth_tokens is None


def test_answer_of_the_fake_is_understood() -> None:
    fake = FakeWorkOS.with_demo_data()
    ada = fake.users["user_ada"]
    answer = parse_authentication(fake.create_session(ada, organization_id="org_acme"))
    assert (answer.user.id, answer.organization_id) == ("user_ada", "org_acme")


@pytest.mark.parametrize("name", ["sealed_session", "authkit_authorization_code", "x"])
def test_unknown_field_is_dropped(name: str) -> None:
    """Kept blindly, ``sealed_session`` doubled cookies beyond what browsers take."""
    answer = parse(**{name: "unknown-canary" * 100})
    assert answer == parse_authentication(BODY)
    assert "unknown-canary" not in str(dump_payload(answer.to_payload()))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(None, id="null"),
        pytest.param([], id="array"),
        pytest.param("refresh-canary", id="string"),
        pytest.param(17, id="number"),
        pytest.param({}, id="empty object"),
        *({**BODY, "access_token": value} for value in NO_TOKENS),
        *({**BODY, "refresh_token": value} for value in NO_TOKENS),
        *({**BODY, "user": value} for value in NO_USERS),
    ],
)
def test_answer_without_user_or_tokens_is_an_outage(body: object) -> None:
    """Nothing says that the grant is finished, so nobody is signed out for it."""
    with pytest.raises(APIUnavailable) as caught:
        parse_authentication(body)
    assert caught.value.request_sent is True
    assert caught.value.error == "tokens_missing"
    assert caught.value.status_code == 200
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 17, True, ["org_1"], {"id": "org_1"}])
@pytest.mark.parametrize("name", ["organization_id", "authentication_method"])
def test_optional_field_of_another_type_is_absent(name: str, value: object) -> None:
    assert parse(**{name: value}) == parse_authentication(BODY)


@pytest.mark.parametrize("value", [None, "admin", 17, [], {}, {"email": 5}])
def test_impersonator_of_another_form_is_none(value: object) -> None:
    assert parse(impersonator=value).impersonator is None


@pytest.mark.parametrize("value", [None, "token", 17, []])
def test_oauth_tokens_of_another_form_are_none(value: object) -> None:
    assert parse(oauth_tokens=value).oauth_tokens is None


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({}, id="empty"),
        pytest.param({"expires_at": "soon", "scopes": "email"}, id="strings"),
        pytest.param({"expires_at": True, "scopes": {"a": 1}}, id="boolean"),
        pytest.param({"expires_at": 1.5, "provider": 5}, id="fraction"),
        pytest.param({"access_token": ["a"], "refresh_token": {}}, id="arrays"),
    ],
)
def test_oauth_tokens_with_members_of_other_types_are_empty(
    value: dict[str, Any],
) -> None:
    assert parse(oauth_tokens=value).oauth_tokens == OAuthTokens()


def test_scopes_that_are_no_strings_are_dropped() -> None:
    tokens = parse(oauth_tokens={"scopes": ["email", 5, None, "profile"]}).oauth_tokens
    assert tokens is not None
    assert tokens.scopes == ("email", "profile")


def test_payload_is_what_the_session_keeps() -> None:
    answer = parse(
        authentication_method="SSO",
        impersonator={"email": "admin@example.com"},
        oauth_tokens={"access_token": "oauth-canary"},
        organization_id="org_1",
    )
    assert answer.to_payload() == SessionPayload(
        access_token="access-canary",
        refresh_token="refresh-canary",
        user=answer.user,
        impersonator=Impersonator(email="admin@example.com"),
        authentication_method="SSO",
    )
    assert "oauth-canary" not in str(dump_payload(answer.to_payload()))


def test_no_token_is_shown() -> None:
    answer = parse(
        oauth_tokens={"access_token": "oauth-canary", "refresh_token": "more-canary"}
    )
    for shown in (repr(answer), str(answer), f"{answer}", repr(answer.oauth_tokens)):
        assert "canary" not in shown


@pytest.mark.parametrize("value", [parse_authentication(BODY), OAuthTokens()])
def test_answer_cannot_be_changed(value: Any) -> None:
    for member in fields(value):
        with pytest.raises(FrozenInstanceError):
            setattr(value, member.name, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "a"), ("", ""), (None, None), (5, None), (["a"], None), ({}, None)],
)
def test_text_is_a_string_or_none(value: object, expected: str | None) -> None:
    assert text({"name": value}, "name") == expected
    assert text({}, "name") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", "b"], ("a", "b")),
        (["a", 5, None, ["b"]], ("a",)),
        ([], ()),
        ("ab", ()),
        (None, ()),
        ({"a": "b"}, ()),
    ],
)
def test_texts_are_the_strings_of_a_list(
    value: object, expected: tuple[str, ...]
) -> None:
    assert texts(value) == expected
