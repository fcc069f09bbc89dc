from __future__ import annotations

import ast
import base64
import hashlib
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit
from wsgiref.util import setup_testing_defaults

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from urllib3 import Timeout
from urllib3.exceptions import (
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

from wsgi_authkit import testing
from wsgi_authkit.testing import (
    Clock,
    ConnectionRefused,
    ConnectionReset,
    ConnectTimedOut,
    FakeMembership,
    FakeUser,
    FakeWorkOS,
    Fault,
    HugeBody,
    Impersonator,
    InvalidJSON,
    Latency,
    LostResponse,
    NameNotResolved,
    NetworkFault,
    ReadTimedOut,
    SlowBody,
    Status,
    TruncatedBody,
    WSGIAdapter,
    self_signed_certificate,
    serve,
)

BASE = "https://api.workos.com"
REDIRECT_URI = "https://app.example/callback?tenant=1"
VERIFIER = "v" * 43
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest())
    .rstrip(b"=")
    .decode()
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake(clock: Clock) -> FakeWorkOS:
    return FakeWorkOS.with_demo_data(clock=clock)


@pytest.fixture
def ada(fake: FakeWorkOS) -> FakeUser:
    return find(fake, "ada@example.com")


@pytest.fixture
def http(fake: FakeWorkOS) -> Iterator[requests.Session]:
    with fake.session() as session:
        yield session


def find(fake: FakeWorkOS, email: str) -> FakeUser:
    return next(user for user in fake.users.values() if user.email == email)


def membership(fake: FakeWorkOS, user_id: str, organization_id: str) -> FakeMembership:
    wanted = (user_id, organization_id)
    return next(
        entry
        for entry in fake.memberships
        if (entry.user_id, entry.organization_id) == wanted
    )


def authorization_url(base: str = BASE, /, **changes: str | None) -> str:
    params: dict[str, str | None] = {
        "client_id": "client_test",
        "redirect_uri": REDIRECT_URI,
        "response_type": "code",
        "provider": "authkit",
        "state": "a state",
        **changes,
    }
    present = {name: value for name, value in params.items() if value is not None}
    return f"{base}/user_management/authorize?{urlencode(present)}"


def params_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def get(http: requests.Session, path: str, **options: Any) -> requests.Response:
    url = path if path.startswith("http") else f"{BASE}{path}"
    options.setdefault("timeout", 5)
    return http.get(url, allow_redirects=False, **options)


def authenticate(
    http: requests.Session, base: str = BASE, **fields: Any
) -> requests.Response:
    body = {"client_id": "client_test", "client_secret": "sk_test_fake", **fields}
    present = {name: value for name, value in body.items() if value is not None}
    url = f"{base}/user_management/authenticate"
    return http.post(url, json=present, timeout=5)


def exchange(http: requests.Session, code: str, **fields: Any) -> requests.Response:
    return authenticate(http, grant_type="authorization_code", code=code, **fields)


def refresh(http: requests.Session, token: str, **fields: Any) -> requests.Response:
    return authenticate(http, grant_type="refresh_token", refresh_token=token, **fields)


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def error_of(response: requests.Response) -> tuple[int, str]:
    body = response.json()
    return response.status_code, body.get("error") or body.get("code")


# Package


def test_testing_imports_nothing_else_of_the_package() -> None:
    folder = Path(testing.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            modules = []
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
                if node.module == "wsgi_authkit.testing":
                    continue
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                inside = module.startswith("wsgi_authkit.testing.")
                assert inside or not module.startswith("wsgi_authkit"), path


def test_exported_names_are_sorted_and_there() -> None:
    assert testing.__all__ == sorted(testing.__all__)
    assert all(hasattr(testing, name) for name in testing.__all__)


def test_construction_makes_no_key_and_calls_nothing() -> None:
    fake = FakeWorkOS()
    assert fake._keys._published == []
    assert fake.calls == []


# Clock


def test_clock_stands_still_until_told() -> None:
    clock = Clock(100)
    assert clock() == clock() == 100.0
    clock.advance(2.5)
    assert clock() == 102.5
    clock.set(7)
    assert clock() == 7.0
    assert "7.0" in repr(clock)


# Authorization page


def test_sign_in_page_names_people_and_their_organizations(
    http: requests.Session,
) -> None:
    response = get(http, authorization_url())
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<h1>Sign in</h1>" in response.text
    assert "Ada Lovelace" in response.text
    assert 'name="organization_user_ada"' in response.text
    assert 'name="organization_user_alan"' not in response.text


def test_sign_up_page_is_another_one(http: requests.Session) -> None:
    response = get(http, authorization_url(screen_hint="sign-up"))
    assert "<h1>Create your account</h1>" in response.text
    assert 'name="first_name"' in response.text


def test_login_hint_chooses_a_known_person(http: requests.Session) -> None:
    response = get(http, authorization_url(login_hint="GRACE@example.com"))
    assert 'value="user_grace" checked' in response.text


def test_unknown_login_hint_is_filled_in_and_escaped(http: requests.Session) -> None:
    response = get(http, authorization_url(login_hint='"><script>@x.example'))
    assert 'value="new" checked' in response.text
    assert "<script>" not in response.text
    assert "&quot;&gt;&lt;script&gt;@x.example" in response.text


def test_page_without_people_asks_for_an_address() -> None:
    with FakeWorkOS().session() as http:
        assert 'value="new" checked' in get(http, authorization_url()).text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"client_id": "client_other"}, "client_id", id="client"),
        pytest.param({"client_id": None}, "client_id", id="no-client"),
        pytest.param({"response_type": "token"}, "response_type", id="response-type"),
        pytest.param({"redirect_uri": None}, "redirect_uri", id="no-redirect-uri"),
        pytest.param({"redirect_uri": "/callback"}, "redirect_uri", id="relative"),
        pytest.param({"redirect_uri": "http://["}, "redirect_uri", id="not-a-url"),
        pytest.param({"redirect_uri": "https://a.b/#x"}, "redirect_uri", id="fragment"),
        pytest.param({"provider": None}, "Exactly one", id="no-selector"),
        pytest.param(
            {"provider": "GoogleOAuth", "organization_id": "org_acme"},
            "Exactly one",
            id="two-selectors",
        ),
        pytest.param({"provider": "MySpaceOAuth"}, "provider", id="provider"),
        pytest.param({"organization_id": "org_none"}, "organization", id="org"),
        pytest.param(
            {"provider": None, "connection_id": "conn_none"},
            "connection",
            id="connection",
        ),
        pytest.param({"code_challenge": CHALLENGE}, "belong together", id="no-method"),
        pytest.param(
            {"code_challenge_method": "S256"}, "belong together", id="no-challenge"
        ),
        pytest.param(
            {"code_challenge": CHALLENGE, "code_challenge_method": "plain"},
            "S256",
            id="plain",
        ),
        pytest.param(
            {"code_challenge": "short", "code_challenge_method": "S256"},
            "base64url",
            id="challenge",
        ),
        pytest.param({"screen_hint": "log-in"}, "screen_hint", id="screen-hint"),
        pytest.param({"max_age": "-1"}, "max_age", id="max-age"),
        pytest.param(
            {"provider": "GoogleOAuth", "screen_hint": "sign-up"},
            "needs provider=authkit",
            id="screen-hint-provider",
        ),
        pytest.param({"organisation_id": "org_acme"}, "Unknown", id="unknown"),
    ],
)
def test_bad_authorization_request_ends_on_a_page_of_workos(
    fake: FakeWorkOS,
    http: requests.Session,
    changes: dict[str, str | None],
    message: str,
) -> None:
    url = authorization_url(**changes)
    response = get(http, url)
    assert response.status_code == 400
    assert "Location" not in response.headers
    assert message in response.text
    with pytest.raises(ValueError, match=message):
        fake.authorize(url, "ada@example.com")


def test_repeated_parameter_is_refused(http: requests.Session) -> None:
    response = get(http, authorization_url() + "&state=another")
    assert response.status_code == 400
    assert "more than once" in response.text


def test_redirect_uri_has_to_be_configured(fake: FakeWorkOS) -> None:
    fake.settings.redirect_uris = ("https://app.example/other",)
    with pytest.raises(ValueError, match="redirect_uri"):
        fake.authorize(authorization_url(), "ada@example.com")
    fake.settings.redirect_uris = (REDIRECT_URI,)
    assert fake.authorize(authorization_url(), "ada@example.com")


def test_url_of_another_path_is_not_authorized(fake: FakeWorkOS) -> None:
    with pytest.raises(ValueError, match="not an authorization URL"):
        fake.authorize("https://api.workos.com/authorize?x=1", "ada@example.com")


def test_provider_query_params_are_accepted(fake: FakeWorkOS, ada: FakeUser) -> None:
    url = authorization_url() + "&provider_query_params[hd]=example.com"
    assert params_of(fake.authorize(url, ada))["state"] == "a state"


def submit(http: requests.Session, url: str, **form: str) -> requests.Response:
    return http.post(url, data=form, allow_redirects=False, timeout=5)


def test_form_goes_back_with_code_and_state(
    fake: FakeWorkOS, http: requests.Session
) -> None:
    response = submit(
        http, authorization_url(), user="user_ada", organization_user_ada="org_globex"
    )
    assert response.status_code == 302
    callback = params_of(response.headers["Location"])
    assert set(callback) == {"tenant", "code", "state"}
    assert callback["state"] == "a state"
    body = exchange(http, callback["code"]).json()
    assert body["user"]["id"] == "user_ada"
    assert body["organization_id"] == "org_globex"


def test_form_can_choose_no_organization(http: requests.Session) -> None:
    response = submit(
        http, authorization_url(), user="user_ada", organization_user_ada=""
    )
    code = params_of(response.headers["Location"])["code"]
    assert "organization_id" not in exchange(http, code).json()


def test_form_with_a_new_address_makes_a_user(
    fake: FakeWorkOS, http: requests.Session
) -> None:
    response = submit(http, authorization_url(), user="new", email="new@example.com")
    assert response.status_code == 302
    assert find(fake, "new@example.com").first_name is None


def test_sign_up_form_makes_a_user_with_names(
    fake: FakeWorkOS, http: requests.Session
) -> None:
    url = authorization_url(screen_hint="sign-up")
    fields = {"email": "kay@example.com", "first_name": "Kay", "last_name": ""}
    assert submit(http, url, **fields).status_code == 302
    user = find(fake, "kay@example.com")
    assert (user.first_name, user.last_name) == ("Kay", None)


@pytest.mark.parametrize(
    ("changes", "form", "message"),
    [
        pytest.param({}, {}, "Choose who", id="nobody"),
        pytest.param({}, {"user": "user_none"}, "Choose who", id="unknown"),
        pytest.param({}, {"user": "new", "email": "x"}, "e-mail", id="no-address"),
        pytest.param({}, {"user": "new", "email": "a@b\n.c"}, "e-mail", id="control"),
        pytest.param(
            {},
            {"user": "user_alan", "organization_user_alan": "org_acme"},
            "not a member",
            id="not-a-member",
        ),
        pytest.param(
            {"organization_id": "org_acme"},
            {"user": "user_alan"},
            "not a member",
            id="not-a-member-of-the-wanted",
        ),
        pytest.param(
            {"screen_hint": "sign-up"},
            {"email": "ada@example.com"},
            "Sign in instead",
            id="known-address",
        ),
    ],
)
def test_bad_form_shows_the_page_again(
    fake: FakeWorkOS,
    http: requests.Session,
    changes: dict[str, str],
    form: dict[str, str],
    message: str,
) -> None:
    users = len(fake.users)
    response = submit(http, authorization_url(**changes), **form)
    assert response.status_code == 400
    assert message in response.text
    assert 'role="alert"' in response.text
    assert len(fake.users) == users


def test_cancel_goes_back_with_access_denied(http: requests.Session) -> None:
    response = submit(http, authorization_url(), action="cancel", user="user_ada")
    callback = params_of(response.headers["Location"])
    assert callback["error"] == "access_denied"
    assert callback["error_description"]
    assert callback["state"] == "a state"
    assert "code" not in callback
    assert not http.cookies


def test_deny_is_cancel_without_the_page(fake: FakeWorkOS) -> None:
    callback = params_of(fake.deny(authorization_url(state=None), "server_error"))
    assert callback["error"] == "server_error"
    assert "state" not in callback


def test_impersonation_through_the_form(http: requests.Session) -> None:
    response = submit(
        http,
        authorization_url(),
        user="user_ada",
        impersonator_email="support@workos.example",
        impersonator_reason="",
    )
    code = params_of(response.headers["Location"])["code"]
    body = exchange(http, code).json()
    assert body["impersonator"] == {"email": "support@workos.example", "reason": None}
    assert body["authentication_method"] == "Impersonation"
    assert claims_of(body["access_token"])["act"] == {"sub": "support@workos.example"}


# Hosted session


def test_second_authorization_completes_silently(http: requests.Session) -> None:
    submit(http, authorization_url(), user="user_grace")
    response = get(http, authorization_url())
    assert response.status_code == 302
    code = params_of(response.headers["Location"])["code"]
    assert exchange(http, code).json()["user"]["id"] == "user_grace"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"prompt": "login"}, id="prompt"),
        pytest.param({"max_age": "0"}, id="max-age-0"),
        pytest.param({"max_age": "59"}, id="max-age-passed"),
        pytest.param({"organization_id": "org_globex"}, id="other-organization"),
    ],
)
def test_hosted_session_is_not_enough(
    clock: Clock, http: requests.Session, changes: dict[str, str]
) -> None:
    submit(http, authorization_url(), user="user_grace")
    clock.advance(60)
    assert get(http, authorization_url(**changes)).status_code == 200


def test_hosted_session_within_max_age_is_enough(
    clock: Clock, http: requests.Session
) -> None:
    submit(http, authorization_url(), user="user_grace")
    clock.advance(60)
    assert get(http, authorization_url(max_age="60")).status_code == 302


def test_hosted_session_ends_with_user_and_membership(
    fake: FakeWorkOS, http: requests.Session
) -> None:
    grace = find(fake, "grace@example.com")
    form = {"user": "user_grace", "organization_user_grace": "org_acme"}
    submit(http, authorization_url(), **form)
    fake.delete_membership(membership(fake, grace.id, "org_acme"))
    assert get(http, authorization_url()).status_code == 200
    submit(http, authorization_url(), user="user_grace")
    fake.delete_user(grace)
    assert get(http, authorization_url()).status_code == 200


def test_logout_ends_session_and_hosted_session(
    fake: FakeWorkOS, http: requests.Session
) -> None:
    response = submit(http, authorization_url(), user="user_ada")
    body = exchange(http, params_of(response.headers["Location"])["code"]).json()
    sid = claims_of(body["access_token"])["sid"]
    query = urlencode({"session_id": sid, "return_to": "https://app.example/bye"})
    cookies = http.cookies.get_dict()
    gone = get(http, f"/user_management/sessions/logout?{query}")
    assert gone.status_code == 302
    assert gone.headers["Location"] == "https://app.example/bye"
    assert not http.cookies
    assert get(http, authorization_url(), cookies=cookies).status_code == 200
    assert error_of(refresh(http, body["refresh_token"])) == (400, "invalid_grant")


def test_revoking_leaves_the_hosted_session(
    fake: FakeWorkOS, http: requests.Session
) -> None:
    """An app that ends the session from its server has not signed the browser out."""
    response = submit(http, authorization_url(), user="user_ada")
    body = exchange(http, params_of(response.headers["Location"])["code"]).json()
    fake.revoke_session(claims_of(body["access_token"])["sid"])
    assert get(http, authorization_url()).status_code == 302


def test_logout_without_return_to_shows_a_page(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    sid = claims_of(fake.create_session(ada)["access_token"])["sid"]
    response = get(http, f"/user_management/sessions/logout?session_id={sid}")
    assert response.status_code == 200
    assert "signed out" in response.text


def test_logout_to_a_foreign_place_is_an_error_page(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    fake.settings.logout_uris = ("https://app.example/",)
    sid = claims_of(fake.create_session(ada)["access_token"])["sid"]
    query = urlencode({"session_id": sid, "return_to": "https://evil.example/"})
    response = get(http, f"/user_management/sessions/logout?{query}")
    assert response.status_code == 400
    assert "Location" not in response.headers
    assert fake.sessions[sid].revoked_at is not None


@pytest.mark.parametrize("query", ["", "?session_id=session_none"])
def test_logout_of_no_session_is_422(http: requests.Session, query: str) -> None:
    response = get(http, f"/user_management/sessions/logout{query}")
    assert response.status_code == 422
    assert set(response.json()) == {"message"}


def test_index_shows_who_is_signed_in_and_escapes(
    fake: FakeWorkOS, http: requests.Session
) -> None:
    fake.add_user("x@example.com", first_name="<b>Eve</b>", id="user_eve")
    assert "Nobody is signed in" in get(http, "/").text
    submit(
        http,
        authorization_url(),
        user="user_eve",
        impersonator_email="<i>@example.com",
    )
    page = get(http, "/").text
    assert "<strong>&lt;b&gt;Eve&lt;/b&gt;</strong>" in page
    assert "impersonated by &lt;i&gt;@example.com" in page
    assert "<b>" not in page
    assert "<td>authorize_form</td><td>1</td>" in page


# Authorization code


def pkce_code(fake: FakeWorkOS, user: FakeUser) -> str:
    url = authorization_url(code_challenge=CHALLENGE, code_challenge_method="S256")
    return params_of(fake.authorize(url, user))["code"]


def test_code_exchange_has_the_fields_of_the_contract(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser, clock: Clock
) -> None:
    ada.metadata["plan"] = "gold"
    response = exchange(http, pkce_code(fake, ada), code_verifier=VERIFIER)
    body = response.json()
    assert response.status_code == 200
    assert set(body) == {
        "user",
        "access_token",
        "refresh_token",
        "authentication_method",
    }
    assert body["user"] == {
        "object": "user",
        "id": "user_ada",
        "email": "ada@example.com",
        "email_verified": True,
        "first_name": "Ada",
        "last_name": "Lovelace",
        "name": "Ada Lovelace",
        "profile_picture_url": None,
        "external_id": None,
        "locale": None,
        "metadata": {"plan": "gold"},
        "last_sign_in_at": "2025-06-15T15:06:40.000Z",
        "created_at": "2025-06-15T15:06:40.000Z",
        "updated_at": "2025-06-15T15:06:40.000Z",
    }
    assert response.headers["X-Request-ID"].startswith("req_")


def test_optional_fields_of_the_exchange(
    fake: FakeWorkOS, http: requests.Session
) -> None:
    tokens = {"provider": "GoogleOAuth", "access_token": "ya29", "scopes": ["email"]}
    user = fake.add_user("g@example.com", oauth_tokens=tokens)
    fake.settings.authkit_authorization_code = True
    callback = fake.authorize(authorization_url(provider="GoogleOAuth"), user)
    body = exchange(http, params_of(callback)["code"]).json()
    assert body["authentication_method"] == "GoogleOAuth"
    assert body["oauth_tokens"] == tokens
    assert exchange(http, body["authkit_authorization_code"]).ok
    assert "oauth_tokens" not in refresh(http, body["refresh_token"]).json()


def test_code_is_good_once(fake: FakeWorkOS, http: requests.Session) -> None:
    code = fake.create_code(find(fake, "ada@example.com"))
    assert exchange(http, code).ok
    response = exchange(http, code)
    assert error_of(response) == (400, "invalid_grant")
    expected = f"The code '{code}' has expired or is invalid."
    assert response.json()["error_description"] == expected


def test_code_lives_ten_minutes(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser, clock: Clock
) -> None:
    early, late = fake.create_code(ada), fake.create_code(ada)
    clock.advance(599)
    assert exchange(http, early).ok
    clock.advance(1)
    assert error_of(exchange(http, late)) == (400, "invalid_grant")


@pytest.mark.parametrize("verifier", ["w" * 43, "v" * 42, "v" * 42 + "é"])
def test_wrong_verifier_is_refused_and_spends_the_code(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser, verifier: str
) -> None:
    code = pkce_code(fake, ada)
    wrong = exchange(http, code, code_verifier=verifier)
    assert error_of(wrong) == (400, "invalid_grant")
    again = exchange(http, code, code_verifier=VERIFIER)
    assert error_of(again) == (400, "invalid_grant")


def test_missing_verifier_is_an_invalid_request(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    response = exchange(http, pkce_code(fake, ada))
    assert error_of(response) == (400, "invalid_request")


def test_verifier_without_challenge_is_refused(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    response = exchange(http, fake.create_code(ada), code_verifier=VERIFIER)
    assert error_of(response) == (400, "invalid_grant")


def test_public_client_needs_pkce_and_no_secret(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    response = exchange(http, fake.create_code(ada), client_secret=None)
    assert error_of(response) == (400, "invalid_client")
    code = pkce_code(fake, ada)
    body = exchange(http, code, client_secret=None, code_verifier=VERIFIER).json()
    assert refresh(http, body["refresh_token"], client_secret=None).ok


def test_confidential_session_needs_the_secret_to_refresh(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    token = fake.create_session(ada)["refresh_token"]
    response = refresh(http, token, client_secret=None)
    assert error_of(response) == (400, "invalid_client")


def test_code_of_a_deleted_user_is_refused(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    code = fake.create_code(ada)
    fake.delete_user(ada)
    assert error_of(exchange(http, code)) == (400, "invalid_grant")


def test_start_at_workos_has_a_code_and_no_state(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    boss = Impersonator(email="boss@example.com", reason="support")
    callback = fake.start_at_workos(REDIRECT_URI, ada, impersonator=boss)
    assert set(params_of(callback)) == {"tenant", "code"}
    body = exchange(http, params_of(callback)["code"]).json()
    assert body["impersonator"] == {"email": "boss@example.com", "reason": "support"}


def test_authorize_knows_who_is_not_a_member(fake: FakeWorkOS) -> None:
    alan = find(fake, "alan@example.com")
    with pytest.raises(ValueError, match="not a member"):
        fake.authorize(authorization_url(), alan, organization_id="org_acme")


def test_connection_signs_in_to_its_organization_by_sso(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    bank = fake.add_organization("Bank", sso_required=True, connection_ids=["conn_1"])
    fake.add_membership(ada, bank)
    url = authorization_url(provider=None, connection_id="conn_1")
    body = exchange(http, params_of(fake.authorize(url, ada))["code"]).json()
    assert body["organization_id"] == bank.id
    assert body["authentication_method"] == "SSO"
    assert refresh(http, body["refresh_token"], organization_id=bank.id).ok


# Token requests


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, (400, "invalid_request"), id="no-grant-type"),
        pytest.param(
            {"grant_type": "client_credentials"},
            (400, "invalid_request"),
            id="grant-type",
        ),
        pytest.param(
            {"grant_type": ["refresh_token"]}, (400, "invalid_request"), id="list"
        ),
        pytest.param(
            {"grant_type": "authorization_code"}, (400, "invalid_request"), id="no-code"
        ),
        pytest.param(
            {"grant_type": "refresh_token"}, (400, "invalid_request"), id="no-token"
        ),
        pytest.param(
            {"grant_type": "refresh_token", "refresh_token": "x", "client_id": None},
            (400, "invalid_request"),
            id="no-client",
        ),
        pytest.param(
            {"grant_type": "refresh_token", "refresh_token": 7},
            (400, "invalid_request"),
            id="number",
        ),
        pytest.param(
            {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "c"},
            (400, "invalid_client"),
            id="client",
        ),
        pytest.param(
            {"grant_type": "refresh_token", "refresh_token": "x", "client_secret": "s"},
            (400, "invalid_client"),
            id="secret",
        ),
        pytest.param(
            {"grant_type": "refresh_token", "refresh_token": "x", "code": "y"},
            (422, "invalid_request_parameters"),
            id="unknown-field",
        ),
        pytest.param(
            {"grant_type": "refresh_token", "refresh_token": "x"},
            (400, "invalid_grant"),
            id="unknown-token",
        ),
    ],
)
def test_bad_token_request(
    http: requests.Session, fields: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert error_of(authenticate(http, **fields)) == expected


@pytest.mark.parametrize("content", [b"{", b"[]", b"", b"\xff"])
def test_body_that_is_not_json_is_an_invalid_request(
    http: requests.Session, content: bytes
) -> None:
    response = http.post(f"{BASE}/user_management/authenticate", content, timeout=5)
    assert error_of(response) == (400, "invalid_request")


def test_form_body_serves_as_well(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    form = {
        "grant_type": "authorization_code",
        "client_id": "client_test",
        "client_secret": "sk_test_fake",
        "code": fake.create_code(ada),
    }
    assert http.post(f"{BASE}/user_management/authenticate", form, timeout=5).ok


def test_wrong_bearer_is_401_on_the_token_endpoint(http: requests.Session) -> None:
    http.headers["Authorization"] = "Bearer sk_wrong"
    response = authenticate(http, grant_type="refresh_token", refresh_token="x")
    assert response.status_code == 401
    assert response.json() == {"message": "Unauthorized"}


# Refresh


def test_refresh_rotates_and_keeps_the_session(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser, clock: Clock
) -> None:
    first = fake.create_session(ada, organization_id="org_acme")
    signed_in_at = int(clock())
    clock.advance(400)
    second = refresh(http, first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    before, after = claims_of(first["access_token"]), claims_of(second["access_token"])
    assert after["sid"] == before["sid"]
    assert after["auth_time"] == signed_in_at
    assert after["iat"] == signed_in_at + 400
    assert after["org_id"] == "org_acme"


def test_retired_token_returns_the_same_pair_within_the_grace(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser, clock: Clock
) -> None:
    old = fake.create_session(ada)["refresh_token"]
    pair = refresh(http, old).json()
    clock.advance(29)
    assert refresh(http, old).json() == pair
    clock.advance(1)
    response = refresh(http, old)
    assert error_of(response) == (400, "invalid_grant")
    assert "already exchanged" in response.json()["error_description"]
    assert refresh(http, pair["refresh_token"]).ok


def test_without_grace_the_retired_token_is_refused_at_once(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    fake.settings.refresh_grace = 0
    old = fake.create_session(ada)["refresh_token"]
    assert refresh(http, old).ok
    assert error_of(refresh(http, old)) == (400, "invalid_grant")


def test_ended_session_is_not_refreshed_not_even_within_the_grace(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser, clock: Clock
) -> None:
    first = fake.create_session(ada)
    refresh(http, first["refresh_token"])
    sid = claims_of(first["access_token"])["sid"]
    fake.revoke_session(sid)
    revoked_at = fake.sessions[sid].revoked_at
    clock.advance(1)
    fake.revoke_session(sid)
    assert fake.sessions[sid].revoked_at == revoked_at
    response = refresh(http, first["refresh_token"])
    assert error_of(response) == (400, "invalid_grant")


def test_revoking_an_unknown_session_is_an_error(fake: FakeWorkOS) -> None:
    with pytest.raises(KeyError):
        fake.revoke_session("session_none")


def test_expired_session_and_deleted_user_are_not_refreshed(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser, clock: Clock
) -> None:
    fake.settings.session_lifetime = 1000
    expired = fake.create_session(ada)["refresh_token"]
    clock.advance(1000)
    assert error_of(refresh(http, expired)) == (400, "invalid_grant")
    deleted = fake.create_session(ada)["refresh_token"]
    fake.delete_user(ada)
    assert error_of(refresh(http, deleted)) == (400, "invalid_grant")


def test_refresh_resolves_user_role_and_flags_anew(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    token = fake.create_session(ada, organization_id="org_globex")["refresh_token"]
    entry = membership(fake, "user_ada", "org_globex")
    entry.role, entry.roles = "owner", ("owner", "member")
    ada.first_name = "Augusta"
    ada.feature_flags = ("beta",)
    body = refresh(http, token).json()
    claims = claims_of(body["access_token"])
    assert body["user"]["first_name"] == "Augusta"
    assert (claims["role"], claims["roles"]) == ("owner", ["owner", "member"])
    assert claims["feature_flags"] == ["beta"]


def test_organization_id_switches(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    token = fake.create_session(ada, organization_id="org_acme")["refresh_token"]
    body = refresh(http, token, organization_id="org_globex").json()
    assert body["organization_id"] == "org_globex"
    assert claims_of(body["access_token"])["org_id"] == "org_globex"
    body = refresh(http, body["refresh_token"]).json()
    assert body["organization_id"] == "org_globex"


def test_refused_switch_spends_nothing(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    bank = fake.add_organization("Bank", sso_required=True)
    vault = fake.add_organization("Vault", mfa_required=True)
    fake.add_membership(ada, bank)
    fake.add_membership(ada, vault)
    stranger = fake.add_organization("Stranger")
    token = fake.create_session(ada)["refresh_token"]
    answers = {
        name: refresh(http, token, organization_id=name)
        for name in (bank.id, vault.id, stranger.id, "org_none")
    }
    assert [error_of(answer) for answer in answers.values()] == [
        (400, "sso_required"),
        (400, "mfa_enrollment"),
        (400, "organization_membership_not_found"),
        (400, "organization_not_found"),
    ]
    body = answers[bank.id].json()
    assert body["connection_ids"] == list(bank.connection_ids) != []
    assert body["email"] == "ada@example.com"
    assert "organization_id" not in refresh(http, token).json()


def test_lost_membership_ends_the_organization(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    token = fake.create_session(ada, organization_id="org_acme")["refresh_token"]
    fake.delete_membership(membership(fake, "user_ada", "org_acme"))
    response = refresh(http, token, organization_id="org_acme")
    assert error_of(response) == (400, "organization_membership_not_found")


def test_threads_that_refresh_one_token_get_one_pair(
    fake: FakeWorkOS, ada: FakeUser
) -> None:
    token = fake.create_session(ada)["refresh_token"]

    def run(_: int) -> str:
        with fake.session() as http:
            return str(refresh(http, token).json()["refresh_token"])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(run, range(24)))) == 1
    assert fake.count("refresh") == 24


# Other grants

MAGIC_AUTH = "urn:workos:oauth:grant-type:magic-auth:code"
EMAIL_VERIFICATION = "urn:workos:oauth:grant-type:email-verification:code"


def test_password_grant(fake: FakeWorkOS, http: requests.Session) -> None:
    fake.add_user("p@example.com", password="open sesame")
    fields = {"grant_type": "password", "email": "p@example.com"}
    body = authenticate(http, **fields, password="open sesame").json()
    assert body["authentication_method"] == "Password"
    wrong = authenticate(http, **fields, password="wrong")
    assert error_of(wrong) == (400, "invalid_credentials")


def test_magic_auth_code_is_good_once_and_for_its_person(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    code = fake.create_magic_auth_code(ada)
    refused = (400, "invalid_one_time_code")
    for email in ("grace@example.com", "nobody@example.com"):
        other = authenticate(http, grant_type=MAGIC_AUTH, code=code, email=email)
        assert error_of(other) == refused
    assert error_of(exchange(http, code)) == (400, "invalid_grant")
    fields = {"grant_type": MAGIC_AUTH, "code": code, "email": "ada@example.com"}
    body = authenticate(http, **fields).json()
    assert body["authentication_method"] == "MagicAuth"
    used = (400, "one_time_code_previously_used")
    assert error_of(authenticate(http, **fields)) == used


def test_magic_auth_code_lives_ten_minutes(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser, clock: Clock
) -> None:
    code = fake.create_magic_auth_code(ada)
    clock.advance(600)
    fields = {"grant_type": MAGIC_AUTH, "code": code, "email": "ada@example.com"}
    refused = (400, "one_time_code_expired")
    assert error_of(authenticate(http, **fields)) == refused


def test_server_is_told_the_code_that_was_sent(
    fake: FakeWorkOS, server: requests.Session
) -> None:
    url = f"{BASE}/user_management/magic_auth"
    sent = server.post(url, json={"email": "new@example.com"}, timeout=5)
    assert sent.status_code == 201
    body = sent.json()
    assert (body["object"], body["email"]) == ("magic_auth", "new@example.com")
    assert body["user_id"] in fake.users
    fields = {"grant_type": MAGIC_AUTH, "code": body["code"], "email": body["email"]}
    assert authenticate(server, **fields).json()["user"]["id"] == body["user_id"]
    assert server.post(url, json={}, timeout=5).status_code == 422


def test_server_is_told_the_code_of_a_verification(
    fake: FakeWorkOS, server: requests.Session
) -> None:
    fake.add_user("p@example.com", password="pw", email_verified=False)
    fields = {"grant_type": "password", "email": "p@example.com", "password": "pw"}
    started = authenticate(server, **fields).json()
    path = "/user_management/email_verification"
    sent = get(server, f"{path}/{started['email_verification_id']}").json()
    assert sent["object"] == "email_verification"
    body = authenticate(
        server,
        grant_type=EMAIL_VERIFICATION,
        code=sent["code"],
        pending_authentication_token=started["pending_authentication_token"],
    ).json()
    assert body["user"]["id"] == sent["user_id"]
    assert get(server, f"{path}/email_verification_none").status_code == 404


def test_email_verification_continues_a_password_sign_in(
    fake: FakeWorkOS, http: requests.Session
) -> None:
    user = fake.add_user("p@example.com", password="pw", email_verified=False)
    started = authenticate(
        http, grant_type="password", email="p@example.com", password="pw"
    )
    assert error_of(started) == (403, "email_verification_required")
    fields = {
        "grant_type": EMAIL_VERIFICATION,
        "pending_authentication_token": started.json()["pending_authentication_token"],
    }
    wrong = authenticate(http, **fields, code="none")
    assert error_of(wrong) == (400, "invalid_one_time_code")
    body = authenticate(http, **fields, code=fake.create_magic_auth_code(user)).json()
    assert body["user"]["email_verified"] is True
    again = authenticate(http, **fields, code=fake.create_magic_auth_code(user))
    assert error_of(again) == (400, "invalid_pending_authentication_token")


# Access tokens and keys


def verify(http: requests.Session, token: str) -> dict[str, Any]:
    keys = {
        jwk["kid"]: jwt.PyJWK(jwk)
        for jwk in get(http, "/sso/jwks/client_test").json()["keys"]
    }
    key = keys[jwt.get_unverified_header(token)["kid"]]
    options: Any = {"verify_exp": False, "verify_iat": False}
    claims: dict[str, Any] = jwt.decode(token, key, ["RS256"], options=options)
    return claims


def test_access_token_verifies_and_has_the_claims_of_the_contract(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser, clock: Clock
) -> None:
    token = fake.create_session(ada, organization_id="org_acme")["access_token"]
    claims = verify(http, token)
    now = int(clock())
    assert claims.pop("sid").startswith("session_")
    assert claims.pop("jti")
    assert claims == {
        "iss": "https://api.workos.com/user_management/client_test",
        "sub": "user_ada",
        "iat": now,
        "exp": now + 300,
        "auth_time": now,
        "client_id": "client_test",
        "org_id": "org_acme",
        "role": "admin",
        "roles": ["admin"],
        "permissions": ["reports:read", "reports:write", "members:manage"],
        "entitlements": ["audit-logs"],
    }


def test_without_organization_there_are_no_organization_claims(
    fake: FakeWorkOS, ada: FakeUser
) -> None:
    claims = claims_of(fake.create_session(ada)["access_token"])
    absent = {"org_id", "role", "roles", "permissions", "entitlements", "act"}
    assert not absent & set(claims)


def test_organization_without_membership_has_no_role(
    fake: FakeWorkOS, ada: FakeUser
) -> None:
    empty = fake.add_organization("Empty", feature_flags=["beta"])
    session = fake.create_session(ada, organization_id=empty.id)
    claims = claims_of(session["access_token"])
    assert (claims["org_id"], claims["feature_flags"]) == (empty.id, ["beta"])
    assert "role" not in claims


def test_issuer_lifetime_and_client_are_configurable(clock: Clock) -> None:
    fake = FakeWorkOS(
        client_id="client_2",
        issuer="https://auth.example",
        access_token_lifetime=60,
        clock=clock,
    )
    claims = claims_of(fake.create_session(fake.add_user("a@b.c"))["access_token"])
    assert claims["iss"] == "https://auth.example"
    assert claims["exp"] - claims["iat"] == 60
    assert claims["client_id"] == "client_2"


def test_extra_claims_add_replace_and_remove(fake: FakeWorkOS, ada: FakeUser) -> None:
    fake.extra_claims.update(aud="app", role="king", auth_time=None)
    claims = claims_of(fake.create_session(ada)["access_token"])
    assert (claims["aud"], claims["role"]) == ("app", "king")
    assert "auth_time" not in claims


def test_too_many_extra_claims_are_too_big(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    token = fake.create_session(ada)["refresh_token"]
    fake.extra_claims["long"] = "x" * 3072
    assert error_of(refresh(http, token)) == (400, "token_too_big")


def test_jwk_set_has_the_fields_of_the_contract(http: requests.Session) -> None:
    (jwk,) = get(http, "/sso/jwks/client_test").json()["keys"]
    assert set(jwk) == {"alg", "kty", "use", "kid", "n", "e", "x5c", "x5t#S256"}
    assert (jwk["alg"], jwk["kty"], jwk["use"]) == ("RS256", "RSA", "sig")


def test_jwk_set_of_another_client_is_404(http: requests.Session) -> None:
    response = get(http, "/sso/jwks/client_other")
    assert response.status_code == 404
    assert set(response.json()) == {"message"}


def test_rotation_publishes_new_and_old_key(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    old = fake.create_session(ada)["access_token"]
    fake.rotate_keys()
    new = fake.create_session(ada)["access_token"]
    assert verify(http, old)["sub"] == verify(http, new)["sub"] == "user_ada"
    header = jwt.get_unverified_header(new)
    assert header["kid"] != jwt.get_unverified_header(old)["kid"]


def test_rotation_can_drop_the_old_key(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    old = fake.create_session(ada)["access_token"]
    fake.rotate_keys(keep_old=False)
    with pytest.raises(KeyError):
        verify(http, old)
    assert verify(http, fake.create_session(ada)["access_token"])


def test_given_keys_sign_first() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    fake = FakeWorkOS(private_keys=[key])
    token = fake.sign({"sub": "x"}, {"typ": "at+jwt"})
    assert jwt.decode(token, key.public_key(), ["RS256"]) == {"sub": "x"}
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    fake.rotate_keys()
    assert len(fake.jwk_set()["keys"]) == 2


# REST


@pytest.fixture
def server(http: requests.Session) -> requests.Session:
    http.headers["Authorization"] = "Bearer sk_test_fake"
    return http


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/user_management/users/user_ada"),
        ("GET", "/user_management/users/user_ada/sessions"),
        ("GET", "/user_management/organization_memberships?user_id=user_ada"),
        ("GET", "/organizations/org_acme"),
        ("POST", "/user_management/magic_auth"),
        ("GET", "/user_management/email_verification/email_verification_1"),
        ("POST", "/user_management/sessions/revoke"),
        ("POST", "/api_keys/validations"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
def test_api_key_is_needed(
    http: requests.Session, method: str, path: str, headers: dict[str, str]
) -> None:
    response = http.request(method, BASE + path, headers=headers, timeout=5)
    assert response.status_code == 401
    assert response.json() == {"message": "Unauthorized"}


def test_user_and_organization(server: requests.Session) -> None:
    assert get(server, "/user_management/users/user_ada").json()["object"] == "user"
    organization = get(server, "/organizations/org_acme").json()
    assert organization["name"] == "Acme"
    assert organization["domains"][0]["domain"] == "acme.example"
    assert get(server, "/user_management/users/none").status_code == 404
    assert get(server, "/user_management/users/none/sessions").status_code == 404
    assert get(server, "/organizations/none").status_code == 404


def test_memberships_of_a_user(server: requests.Session) -> None:
    path = "/user_management/organization_memberships?user_id=user_ada"
    body = get(server, f"{path}&order=asc").json()

    assert body["object"] == "list"
    entries = body["data"]
    assert [entry["organization_name"] for entry in entries] == [
        *("Acme", "Globex", "Initech")
    ]
    first = entries[0]
    assert (first["user_id"], first["organization_id"]) == ("user_ada", "org_acme")
    assert (first["role"], first["roles"]) == ({"slug": "admin"}, [{"slug": "admin"}])
    assert first["status"] == "active"
    assert first["created_at"].endswith("Z")
    assert len(get(server, f"{path}&limit=2").json()["data"]) == 2


def test_members_of_an_organization(server: requests.Session) -> None:
    path = "/user_management/organization_memberships"
    members = get(server, f"{path}?organization_id=org_acme&order=asc").json()["data"]
    both = get(server, f"{path}?organization_id=org_acme&user_id=user_grace").json()

    assert [entry["user_id"] for entry in members] == ["user_ada", "user_grace"]
    assert [entry["user_id"] for entry in both["data"]] == ["user_grace"]
    assert get(server, path).status_code == 422


def test_sessions_of_a_user(
    fake: FakeWorkOS, server: requests.Session, ada: FakeUser, clock: Clock
) -> None:
    boss = Impersonator(email="boss@example.com")
    code = fake.create_code(ada, organization_id="org_acme", impersonator=boss)
    agent = {"ip_address": "203.0.113.7", "user_agent": "Firefox"}
    body = exchange(server, code, **agent).json()
    sid = claims_of(body["access_token"])["sid"]
    url = "/user_management/users/user_ada/sessions"
    listed = get(server, url).json()
    assert listed["object"] == "list"
    (session,) = listed["data"]
    assert session["id"] == sid
    assert session["status"] == "active"
    assert session["ended_at"] is None
    assert session["auth_method"] == "impersonation"
    assert session["organization_id"] == "org_acme"
    assert session["impersonator"] == {"email": "boss@example.com", "reason": None}
    assert (session["ip_address"], session["user_agent"]) == ("203.0.113.7", "Firefox")
    revoke = f"{BASE}/user_management/sessions/revoke"
    assert server.post(revoke, json={"session_id": sid}, timeout=5).ok
    assert get(server, url).json()["data"][0]["status"] == "revoked"


@pytest.mark.parametrize("body", [{}, {"session_id": "none"}])
def test_revoking_no_session_is_400(
    server: requests.Session, body: dict[str, str]
) -> None:
    url = f"{BASE}/user_management/sessions/revoke"
    assert server.post(url, json=body, timeout=5).status_code == 400


def test_session_list_has_pages(
    fake: FakeWorkOS, server: requests.Session, ada: FakeUser
) -> None:
    tokens = [fake.create_session(ada)["access_token"] for _ in range(5)]
    ids = [claims_of(token)["sid"] for token in reversed(tokens)]
    url = "/user_management/users/user_ada/sessions"

    def page(**query: Any) -> tuple[list[str], dict[str, Any]]:
        body = get(server, url, params=query).json()
        return [entry["id"] for entry in body["data"]], body["list_metadata"]

    assert page(limit=2) == (ids[:2], {"before": None, "after": ids[1]})
    assert page(limit=2, after=ids[1]) == (
        ids[2:4],
        {"before": ids[2], "after": ids[3]},
    )
    assert page(limit=2, before=ids[4])[0] == ids[2:4]
    assert page(order="asc")[0] == ids[::-1]
    for bad in ({"limit": 0}, {"order": "up"}, {"after": "session_none"}):
        assert get(server, url, params=bad).status_code == 422


def test_api_key_validation(
    fake: FakeWorkOS, server: requests.Session, ada: FakeUser, clock: Clock
) -> None:
    acme = fake.organizations["org_acme"]
    key = fake.add_api_key("sk_customer_1", acme, permissions=["reports:read"])
    fake.add_api_key("sk_customer_2", ada, organization_id="org_acme")
    fake.add_api_key("sk_customer_3", acme, expires_at=clock() + 10)

    def validate(value: str) -> Any:
        url = f"{BASE}/api_keys/validations"
        return server.post(url, json={"value": value}, timeout=5).json()["api_key"]

    assert validate("sk_customer_1")["permissions"] == ["reports:read"]
    assert validate("sk_customer_1")["owner"] == {
        "type": "organization",
        "id": "org_acme",
    }
    assert validate("sk_customer_2")["owner"]["organization_id"] == "org_acme"
    assert validate("sk_customer_3")["expires_at"]
    clock.advance(10)
    assert validate("sk_customer_3") is None
    fake.delete_api_key(key)
    assert validate("sk_customer_1") is None
    url = f"{BASE}/api_keys/validations"
    assert server.post(url, json={}, timeout=5).status_code == 422
    assert server.post(url, data=b"{", timeout=5).status_code == 400


def test_claim_nonce(fake: FakeWorkOS, http: requests.Session) -> None:
    def claim(**changes: str) -> requests.Response:
        url = f"{BASE}/x/one-shot-environments/claim-nonces"
        body = {"client_id": "client_test", "claim_token": "ct", **changes}
        return http.post(url, json=body, timeout=5)

    assert claim().status_code == 404
    fake.settings.claim_token = "ct"
    assert claim().json()["nonce"]
    assert claim(claim_token="wrong").status_code == 401
    assert claim(client_id="client_other").status_code == 404
    fake.settings.claimed = True
    assert claim().status_code == 409


def test_unknown_path_method_and_head(http: requests.Session) -> None:
    assert get(http, "/nowhere").status_code == 404
    wrong = http.delete(authorization_url(), timeout=5)
    assert wrong.status_code == 405
    assert wrong.headers["Allow"] == "GET, POST, HEAD"
    head = http.head(f"{BASE}/sso/jwks/client_test", timeout=5)
    assert head.ok
    assert int(head.headers["Content-Length"]) > 0
    assert head.content == b""


def test_user_is_known_by_address_and_id(fake: FakeWorkOS) -> None:
    with pytest.raises(ValueError, match="exists already"):
        fake.add_user("ADA@example.com")
    with pytest.raises(ValueError, match="exists already"):
        fake.add_user("other@example.com", id="user_ada")


# Calls


def test_calls_are_recorded_without_secrets(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    secrets = ["sk_test_fake", VERIFIER, "very-secret-state"]
    url = authorization_url(state="very-secret-state")
    get(http, url)
    code = pkce_code(fake, ada)
    http.headers["Authorization"] = "Bearer sk_test_fake"
    http.headers["User-Agent"] = "wsgi_authkit/1"
    agent = {"ip_address": "203.0.113.7", "user_agent": "Firefox"}
    body = exchange(http, code, code_verifier=VERIFIER, **agent).json()
    refresh(http, body["refresh_token"])
    get(http, "/sso/jwks/client_test")
    authorize, exchanged, refreshed, _ = fake.calls
    assert authorize.query["client_id"] == "client_test"
    assert exchanged.grant_type == "authorization_code"
    assert exchanged.path == "/user_management/authenticate"
    assert exchanged.status == 200
    assert exchanged.body["code_verifier"] == "[redacted]"
    assert (exchanged.ip_address, exchanged.user_agent) == ("203.0.113.7", "Firefox")
    assert exchanged.headers["user-agent"] == "wsgi_authkit/1"
    assert exchanged.authorization_sent
    assert refreshed.grant_type == "refresh_token"
    for secret in [*secrets, code, body["refresh_token"]]:
        assert secret not in repr(fake.calls)


def test_calls_are_counted(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    body = exchange(http, fake.create_code(ada)).json()
    refresh(http, body["refresh_token"])
    refresh(http, body["refresh_token"])
    get(http, "/sso/jwks/client_test")
    assert fake.count() == 4
    assert fake.count("exchange") == 1
    assert fake.count("refresh") == fake.count(grant_type="refresh_token") == 2
    assert fake.count("authenticate") == 3
    assert fake.count("/sso/jwks/client_test") == fake.count("jwks") == 1
    fake.reset_calls()
    assert fake.count() == 0


# Faults in a mounted session


def test_number_is_a_status(fake: FakeWorkOS, http: requests.Session) -> None:
    fake.fail(503)
    response = get(http, "/sso/jwks/client_test")
    assert response.status_code == 503
    assert response.json() == {"message": "Service Unavailable"}
    assert (fake.calls[0].status, fake.calls[0].fault) == (503, "Status")


@pytest.mark.parametrize(
    ("fault", "content_type", "content"),
    [
        pytest.param(
            Status(429),
            "application/json; charset=utf-8",
            b'{"error": "too_many_requests", '
            b'"error_description": "Too many requests."}',
            id="workos",
        ),
        pytest.param(
            Status(418),
            "application/json; charset=utf-8",
            b'{"message": "The request could not be processed."}',
            id="other",
        ),
        pytest.param(
            Status(502, body="html"),
            "text/html; charset=utf-8",
            b"<!doctype html><title>Error</title><h1>Error</h1>",
            id="html",
        ),
        pytest.param(Status(500, body="empty"), "text/plain", b"", id="empty"),
        pytest.param(Status(204, body="empty"), None, b"", id="no-content"),
        pytest.param(
            Status(599, body="string"),
            "application/json; charset=utf-8",
            b'"Something went wrong."',
            id="string",
        ),
        pytest.param(
            Status(403, json={"code": "mfa_challenge"}),
            "application/json; charset=utf-8",
            b'{"code": "mfa_challenge"}',
            id="json",
        ),
    ],
)
def test_status_has_kinds_of_bodies(
    fake: FakeWorkOS,
    http: requests.Session,
    fault: Status,
    content_type: str | None,
    content: bytes,
) -> None:
    fake.fail(fault)
    response = get(http, "/sso/jwks/client_test")
    assert response.status_code == fault.status
    assert response.headers.get("Content-Type") == content_type
    assert response.content == content


def test_status_has_headers(fake: FakeWorkOS, http: requests.Session) -> None:
    fake.fail(Status(429, headers={"Retry-After": "2"}))
    assert get(http, "/sso/jwks/client_test").headers["Retry-After"] == "2"


def cause(error: requests.RequestException) -> BaseException:
    reason: BaseException = error.args[0]
    return reason.reason or reason if isinstance(reason, MaxRetryError) else reason


@pytest.mark.parametrize(
    ("fault", "expected", "reason"),
    [
        (ConnectionRefused(), requests.ConnectionError, NewConnectionError),
        (NameNotResolved(), requests.ConnectionError, NameResolutionError),
        (ConnectTimedOut(), requests.ConnectTimeout, Exception),
        (ConnectionReset(), requests.ConnectionError, ProtocolError),
        (LostResponse(), requests.ConnectionError, ProtocolError),
        (ReadTimedOut(), requests.ReadTimeout, ReadTimeoutError),
        (Latency(5.1), requests.ReadTimeout, ReadTimeoutError),
        (TruncatedBody(), requests.exceptions.ChunkedEncodingError, ProtocolError),
        (SlowBody(interval=5.1), requests.ConnectionError, ReadTimeoutError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Fault) else None,
)
def test_fault_is_the_exception_that_sockets_give(
    fake: FakeWorkOS,
    http: requests.Session,
    fault: Fault,
    expected: type[requests.RequestException],
    reason: type[Exception],
) -> None:
    fake.fail(fault)
    with pytest.raises(expected) as caught:
        get(http, "/sso/jwks/client_test")
    assert type(caught.value) is expected
    assert isinstance(cause(caught.value), reason)
    assert fake.calls[0].fault == type(fault).__name__


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        pytest.param(ConnectTimedOut(), 2, id="connect"),
        pytest.param(ReadTimedOut(), 7, id="read"),
        pytest.param(Latency(60), 7, id="latency"),
        pytest.param(ConnectionReset(), 0, id="reset"),
    ],
)
def test_time_passes_up_to_the_timeout(
    fake: FakeWorkOS,
    http: requests.Session,
    clock: Clock,
    fault: Fault,
    seconds: float,
) -> None:
    start = clock()
    fake.fail(fault)
    with pytest.raises(requests.RequestException):
        get(http, "/sso/jwks/client_test", timeout=(2, 7))
    assert clock() - start == seconds


def test_latency_below_the_timeout_only_takes_time(
    fake: FakeWorkOS, http: requests.Session, clock: Clock
) -> None:
    start = clock()
    fake.fail(Latency(4))
    assert get(http, "/sso/jwks/client_test").ok
    assert clock() - start == 4


def test_waiting_without_a_timeout_is_found_out(
    fake: FakeWorkOS, http: requests.Session
) -> None:
    fake.fail(ReadTimedOut())
    with pytest.raises(AssertionError, match="for ever"):
        get(http, "/sso/jwks/client_test", timeout=None)


def test_latency_longer_than_the_timeout_has_rotated(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    fake.settings.refresh_grace = 0
    token = fake.create_session(ada)["refresh_token"]
    fake.fail(Latency(60), times=1)
    with pytest.raises(requests.ReadTimeout):
        refresh(http, token)
    assert error_of(refresh(http, token)) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("fault", "rotated"),
    [
        pytest.param(LostResponse(), True, id="lost-response"),
        pytest.param(TruncatedBody(), True, id="truncated"),
        pytest.param(ConnectionReset(), False, id="reset"),
        pytest.param(ReadTimedOut(), False, id="read-timeout"),
        pytest.param(ConnectionRefused(), False, id="refused"),
    ],
)
def test_lost_response_rotates_and_unprocessed_does_not(
    fake: FakeWorkOS,
    http: requests.Session,
    ada: FakeUser,
    fault: Fault,
    rotated: bool,
) -> None:
    fake.settings.refresh_grace = 0
    token = fake.create_session(ada)["refresh_token"]
    fake.fail(fault, times=1)
    with pytest.raises(requests.RequestException):
        refresh(http, token)
    assert fake.calls[0].status == (200 if rotated else None)
    assert refresh(http, token).ok is not rotated


def test_invalid_json_says_it_is_json(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    fake.fail(InvalidJSON())
    response = refresh(http, fake.create_session(ada)["refresh_token"])
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/json")
    with pytest.raises(requests.JSONDecodeError):
        response.json()


@pytest.mark.parametrize("declared", [True, False])
def test_huge_body_is_streamed(
    fake: FakeWorkOS, http: requests.Session, declared: bool
) -> None:
    fake.fail(HugeBody(size=1 << 40, declared=declared))
    response = get(http, "/sso/jwks/client_test", stream=True)
    assert ("Content-Length" in response.headers) is declared
    assert len(response.raw.read(1000)) == 1000
    assert len(next(response.iter_content(5000))) == 5000
    response.close()


def test_huge_body_has_its_size(fake: FakeWorkOS, http: requests.Session) -> None:
    fake.fail(HugeBody(size=200_000))
    assert len(get(http, "/sso/jwks/client_test").content) == 200_000


def test_slow_body_arrives_in_pieces(
    fake: FakeWorkOS, http: requests.Session, clock: Clock
) -> None:
    whole = get(http, "/sso/jwks/client_test").content
    fake.fail(SlowBody(interval=1, size=10))
    start = clock()
    response = get(http, "/sso/jwks/client_test", stream=True)
    assert response.raw.read1(10) == whole[:10]
    assert clock() - start == 0
    assert whole[10:] == b"".join(response.iter_content(64))
    assert clock() - start == (len(whole) - 1) // 10


def test_fault_of_one_path_and_grant_leaves_the_rest(
    fake: FakeWorkOS, http: requests.Session, ada: FakeUser
) -> None:
    fake.fail(500, path="authenticate", grant_type="refresh_token")
    assert exchange(http, fake.create_code(ada)).ok
    assert get(http, "/sso/jwks/client_test").ok
    token = fake.create_session(ada)["refresh_token"]
    assert refresh(http, token).status_code == 500
    fake.recover()
    fake.fail(500, path="refresh")
    assert refresh(http, token).status_code == 500
    assert exchange(http, fake.create_code(ada)).ok


def test_faults_strike_in_order_and_as_often_as_told(
    fake: FakeWorkOS, http: requests.Session
) -> None:
    fake.fail(503, times=2)
    fake.fail(429, times=1)
    seen = [get(http, "/sso/jwks/client_test").status_code for _ in range(4)]
    assert seen == [503, 503, 429, 200]


def test_down_refuses_everything_until_recover(
    fake: FakeWorkOS, http: requests.Session
) -> None:
    fake.down()
    for path in ("/", "/sso/jwks/client_test"):
        with pytest.raises(requests.ConnectionError):
            get(http, path)
    fake.recover()
    assert get(http, "/").ok


def test_slow_answer_does_not_hold_up_others(fake: FakeWorkOS) -> None:
    entered, release = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        entered.set()
        assert release.wait(10)

    fake.fail(Latency(1), times=1)
    slow = requests.Session()
    slow.mount(BASE, WSGIAdapter(fake, sleep=sleep))
    with ThreadPoolExecutor(1) as pool, slow, fake.session() as http:
        waiting = pool.submit(get, slow, "/sso/jwks/client_test")
        assert entered.wait(10)
        assert get(http, "/sso/jwks/client_test").ok
        release.set()
        assert waiting.result().ok


# Transport


def test_session_reaches_nothing_but_the_fake(http: requests.Session) -> None:
    assert http.trust_env is False
    with pytest.raises(requests.exceptions.InvalidSchema):
        get(http, "https://api.workos.com.evil.example/")


def test_base_url_is_configurable() -> None:
    fake = FakeWorkOS(base_url="http://localhost:8001/")
    with fake.session() as http:
        assert get(http, "http://localhost:8001/sso/jwks/client_test").ok


def test_adapter_gives_the_app_what_was_sent() -> None:
    seen: dict[str, Any] = {}

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.update(environ, body=environ["wsgi.input"].read(100))
        start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"caf\xc3\xa9"]

    with requests.Session() as session:
        session.mount("http://app.example", WSGIAdapter(app))
        url = "http://app.example:8080/a%20b/%C3%A9?x=%26"
        response = session.put(url, data=iter([b"ab", b"c"]), timeout=(1, None))
    assert response.text == "café"
    assert response.encoding == "utf-8"
    assert seen["PATH_INFO"] == "/a b/\xc3\xa9"
    assert seen["QUERY_STRING"] == "x=%26"
    assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("app.example", "8080")
    assert seen["HTTP_HOST"] == "app.example:8080"
    assert seen["CONTENT_LENGTH"] == "3"
    assert seen["body"] == b"abc"


def test_adapter_takes_late_start_response_write_and_close() -> None:
    closed: list[bool] = []

    class Body:
        def __init__(self, start_response: Any) -> None:
            self._steps = self._run(start_response)

        def _run(self, start_response: Any) -> Iterator[bytes]:
            write = start_response("201 Created", [("Content-Type", "text/plain")])
            write(b"written ")
            yield b"and yielded"

        def __iter__(self) -> Iterator[bytes]:
            return self._steps

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Callable[..., Any]) -> Body:
        return Body(start_response)

    adapter = WSGIAdapter(app)
    # wsgiref.validate wants start_response before the iterable: an app of its own.
    adapter._app = app
    with requests.Session() as session:
        session.mount("http://app.example", adapter)
        response = session.get("http://app.example/", timeout=1)
    assert (response.status_code, response.text) == (201, "written and yielded")
    assert closed == [True]


def test_adapter_passes_the_exceptions_of_the_app_on() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        raise RuntimeError("the app is broken")

    with requests.Session() as session:
        session.mount("http://app.example", WSGIAdapter(app))
        with pytest.raises(RuntimeError, match="the app is broken"):
            session.get("http://app.example/", timeout=1)


def test_connection_that_breaks_in_the_body_is_a_protocol_error() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body()

    def body() -> Iterator[bytes]:
        yield b"first"
        raise NetworkFault("reset")

    with requests.Session() as session:
        session.mount("http://app.example", WSGIAdapter(app))
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            session.get("http://app.example/", timeout=1)


def test_adapter_closes_what_failed_before_start_response() -> None:
    closed: list[bool] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            raise RuntimeError("the app is broken")

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> Body:
        return Body()

    adapter = WSGIAdapter(app)
    adapter._app = app
    with requests.Session() as session:
        session.mount("http://app.example", adapter)
        with pytest.raises(RuntimeError, match="the app is broken"):
            session.get("http://app.example/", timeout=1)
    assert closed == [True]


@pytest.mark.parametrize("content", ["caf\xe9", "caf\xe9".encode()])
def test_adapter_takes_text_bytes_and_a_timeout_object(
    http: requests.Session, fake: FakeWorkOS, content: str | bytes
) -> None:
    fake.fail(Latency(6))
    url = f"{BASE}/sso/jwks/client_test"
    timeout: Any = Timeout(connect=1, read=5)
    with pytest.raises(requests.ReadTimeout):
        http.post(url, content, headers={"X-Bytes": b"1"}, timeout=timeout)
    assert fake.calls[0].headers["x-bytes"] == "1"
    assert fake.calls[0].headers["content-length"] == "5"


def test_body_without_a_valid_length_is_empty(fake: FakeWorkOS) -> None:
    environ: dict[str, Any] = {"CONTENT_LENGTH": "many"}
    setup_testing_defaults(environ)
    environ |= {"REQUEST_METHOD": "POST", "PATH_INFO": "/user_management/authenticate"}
    seen: list[str] = []
    fake(environ, lambda status, headers: seen.append(status))  # type: ignore[arg-type]
    assert seen == ["400 Bad Request"]


def test_head_has_no_body(fake: FakeWorkOS) -> None:
    environ: dict[str, Any] = {"REQUEST_METHOD": "HEAD"}
    setup_testing_defaults(environ)
    assert list(fake(environ, lambda *_: lambda data: None)) == []


def test_fault_of_ones_own_says_what_to_answer() -> None:
    class Silent(Fault):
        pass

    with pytest.raises(TypeError, match="answer"):
        Silent()  # type: ignore[abstract]


def test_adapter_validates_the_app() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Connection", "close")])
        return []

    with requests.Session() as session:
        session.mount("http://app.example", WSGIAdapter(app))
        with pytest.raises(AssertionError):
            session.get("http://app.example/", timeout=1)


# On a port


@pytest.fixture
def url(fake: FakeWorkOS) -> Iterator[str]:
    with serve(fake) as served:
        yield served.url


@pytest.fixture
def browser() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def test_html_flow_over_http(
    fake: FakeWorkOS, url: str, browser: requests.Session
) -> None:
    page = get(browser, authorization_url(url))
    assert "Ada Lovelace" in page.text
    sent = submit(browser, authorization_url(url), user="user_ada")
    callback = parse_qs(urlsplit(sent.headers["Location"]).query)
    response = authenticate(
        browser, url, grant_type="authorization_code", code=callback["code"][0]
    )
    assert response.json()["user"]["email"] == "ada@example.com"
    assert "Ada Lovelace" in get(browser, f"{url}/").text
    assert get(browser, authorization_url(url)).status_code == 302


@pytest.mark.parametrize(
    ("fault", "timeout", "expected"),
    [
        pytest.param(ConnectionReset(), 9, requests.ConnectionError, id="reset"),
        pytest.param(LostResponse(), 9, requests.ConnectionError, id="lost-response"),
        pytest.param(ConnectionRefused(), 9, requests.ConnectionError, id="refused"),
        pytest.param(ReadTimedOut(), 0.2, requests.ReadTimeout, id="read-timeout"),
        pytest.param(Latency(30), 0.2, requests.ReadTimeout, id="latency"),
        pytest.param(
            TruncatedBody(),
            9,
            requests.exceptions.ChunkedEncodingError,
            id="truncated",
        ),
        pytest.param(SlowBody(30), 1, requests.ConnectionError, id="slow-body"),
    ],
)
def test_faults_break_real_connections(
    fake: FakeWorkOS,
    url: str,
    browser: requests.Session,
    fault: Fault,
    timeout: float,
    expected: type[requests.RequestException],
) -> None:
    fake.jwk_set()
    fake.fail(fault, times=1)
    with pytest.raises(expected) as caught:
        get(browser, f"{url}/sso/jwks/client_test", timeout=timeout)
    assert type(caught.value) is expected
    assert get(browser, f"{url}/sso/jwks/client_test").ok


def test_connection_reset_sends_a_reset(fake: FakeWorkOS, url: str) -> None:
    fake.fail(ConnectionReset())
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), 5) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_server_is_threaded_and_says_so(browser: requests.Session) -> None:
    meeting = threading.Barrier(2)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        meeting.wait(10)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(environ["wsgi.multithread"]).encode()]

    with serve(app) as served, ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda _: requests.get(served.url, timeout=10), range(2))
        assert [answer.text for answer in answers] == ["True", "True"]


def test_leaving_the_block_ends_every_thread_and_frees_the_port(
    browser: requests.Session,
) -> None:
    before = threading.active_count()
    with serve(FakeWorkOS()) as served:
        idle = socket.create_connection(("127.0.0.1", served.port), 5)
        # Answered after the idle connection was accepted.
        get(browser, served.url)
    with idle:
        assert idle.recv(1) == b""
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", served.port), 5)


@pytest.mark.parametrize(
    "fault",
    [pytest.param(ReadTimedOut(), id="held"), pytest.param(Latency(300), id="slow")],
)
def test_leaving_the_block_ends_requests_that_are_kept_waiting(fault: Fault) -> None:
    fake = FakeWorkOS()
    fake.fail(fault)
    with serve(fake) as served:
        waiting = socket.create_connection(("127.0.0.1", served.port), 5)
        waiting.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while not fake.calls:
            pass
    with waiting, suppress(ConnectionResetError):
        assert waiting.recv(1) == b""


def test_https_with_a_certificate_of_its_own(
    tmp_path: Path, browser: requests.Session
) -> None:
    certfile = self_signed_certificate(tmp_path / "server.pem")
    assert certfile.stat().st_mode & 0o777 == 0o600
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certfile)
    with serve(FakeWorkOS(), ssl_context=context) as served:
        assert served.url.startswith("https://")
        with pytest.raises(requests.exceptions.SSLError):
            get(browser, f"{served.url}/")
        sent = browser.post(
            authorization_url(served.url),
            data={"user": "new", "email": "a@example.com"},
            allow_redirects=False,
            verify=str(certfile),
            timeout=5,
        )
    assert "; Secure" in sent.headers["Set-Cookie"]


# Command line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_and_stops_cleanly(
    number: signal.Signals, browser: requests.Session
) -> None:
    arguments = ["--port", "0", "--client-id", "client_x", "--access-token-lifetime=9"]
    arguments += ["--session-lifetime=90"]
    command = [sys.executable, "-m", "wsgi_authkit.testing", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().split()[-1]
        assert "Grace Hopper" in get(browser, f"{url}/").text
        assert get(browser, f"{url}/sso/jwks/client_x").ok
        process.send_signal(number)
        process.wait(20)
        output, errors = process.stdout.read(), process.stderr.read()
    assert process.returncode == 0
    assert "WORKOS_CLIENT_ID=client_x" in output
    assert errors == ""
