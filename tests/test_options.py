"""The options of the middleware."""

from __future__ import annotations

import math
import pickle
import time
from typing import Any

import pytest

from tests.harness import show_session
from wsgi_authkit import (
    AnonymousSession,
    AuthKitMiddleware,
    ConfigurationError,
    SignInEvent,
    User,
)
from wsgi_authkit.challenge import Challenge
from wsgi_authkit.options import Options
from wsgi_authkit.pending_flows import PendingFlow
from wsgi_authkit.redirect_uris import callback_path
from wsgi_authkit.results import AuthResult
from wsgi_authkit.site import ServiceOptions


def problems(**options: Any) -> tuple[str, ...]:
    """Return what is wrong with some options; an error names each once."""
    try:
        Options(**options)
    except ConfigurationError as error:
        return error.problems
    return ()


def test_defaults_are_those_of_the_documentation() -> None:
    options = Options()

    assert options.base_url is None
    assert options.return_pathname == "/"
    assert options.mount == "/auth"
    assert options.require_auth is False
    assert options.challenge_401 is True
    assert options.rules.judge("//") == "public"
    assert options.sign_out_return_to is None
    assert options.allowed_return_urls == ()
    assert options.allowed_origins == ()
    assert options.refresh_buffer is None
    assert options.session_storage == "cookie"
    assert options.eager_auth is False
    assert options.remote_user is None
    assert options.revoke_on_sign_out is False
    assert options.debug is False


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("base_url", "https://app.example.com"),
        ("base_url", "https://App.Example.com"),
        ("base_url", "http://localhost:8000"),
        ("base_url", "http://[::1]:8000"),
        ("return_pathname", "/"),
        ("return_pathname", "/dashboard?tab=1#top"),
        ("mount", "/auth"),
        ("mount", "/a/b-c/~d.e_f"),
        ("mount", "/.well-known/..."),
        ("sign_out_return_to", "/bye"),
        ("sign_out_return_to", "https://elsewhere.example/bye"),
        ("sign_out_return_to", None),
        ("allowed_return_urls", ()),
        ("allowed_return_urls", ("https://a.example/", "http://b.example/x?y")),
        ("allowed_origins", ()),
        ("allowed_origins", ["https://shop.example.com"]),
        ("allowed_origins", ("https://a.example:8443", "https://b.example")),
        ("allowed_origins", ["https://xn--bcher-kva.example"]),
        ("allowed_origins", ["http://localhost:5173", "http://shop.localhost"]),
        ("allowed_origins", ["http://127.0.0.1:5173", "http://[::1]:5173"]),
        ("on_success", print),
        ("on_error", None),
        ("require_auth", True),
        ("challenge_401", False),
        ("public_paths", ["/", "/about"]),
        ("protected_paths", ("/admin/:path*",)),
        ("exclude_paths", {"/static/:path*"}),
        ("sign_up_paths", []),
        ("api_paths", ["/api/(.*)"]),
        ("refresh_buffer", None),
        ("session_cache_size", 0),
        ("session_cache_size", 50_000),
        ("revocation_check", None),
        ("revocation_check", 0),
        ("revocation_check", 2.5),
        ("refresh_buffer", 0),
        ("refresh_buffer", 0.5),
        ("session_storage", "cookie"),
        ("session_storage", dict),
        ("eager_auth", True),
        ("revoke_on_sign_out", True),
        ("remote_user", None),
        ("remote_user", "sub"),
        ("remote_user", "email"),
        ("remote_user", str),
    ],
)
def test_option_is_accepted(option: str, value: object) -> None:
    assert problems(**{option: value}) == ()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("allowed_origins", "https://shop.example.com"),
        *(
            ("allowed_origins", ["https://ok.example", origin])
            for origin in (
                "*",
                "null",
                "",
                None,
                7,
                b"https://shop.example.com",
                "shop.example.com",
                "http://shop.example.com",
                "http://localhost.example.com",
                "https://*.example.com",
                "https://shop.example.com/",
                "https://shop.example.com/path",
                "https://shop.example.com:443",
                "https://Shop.example.com",
                "https://user@shop.example.com",
                "https://b\u00fccher.example",
                "https://a.example, https://b.example",
                "https://shop.example.com\r\nX: y",
                "file://",
                "https://",
            )
        ),
        ("base_url", ""),
        ("base_url", "app.example.com"),
        ("base_url", "//app.example.com"),
        ("base_url", "https://app.example.com/"),
        ("base_url", "https://app.example.com/path"),
        ("base_url", "https://app.example.com?a"),
        ("base_url", "https://app.example.com#a"),
        ("base_url", "https://user@app.example.com"),
        ("base_url", "https://app.example.com:443"),
        ("base_url", "https://app.example.com\r\nX: y"),
        ("base_url", "ftp://app.example.com"),
        ("base_url", "javascript:alert(1)"),
        ("base_url", 5),
        ("return_pathname", ""),
        ("return_pathname", "dashboard"),
        ("return_pathname", "//evil.example"),
        ("return_pathname", "https://app.example.com/"),
        ("return_pathname", None),
        ("mount", ""),
        ("mount", "/"),
        ("mount", "auth"),
        ("mount", "/auth/"),
        ("mount", "//auth"),
        ("mount", "/a//b"),
        ("mount", "/a b"),
        ("mount", "/.."),
        ("mount", "/a/./b"),
        ("mount", "/a?b"),
        ("mount", "/auth\n"),
        ("mount", "/büro"),
        ("mount", "/a%20b"),
        ("mount", None),
        ("sign_out_return_to", ""),
        ("sign_out_return_to", "bye"),
        ("sign_out_return_to", "//evil.example"),
        ("sign_out_return_to", "javascript:alert(1)"),
        ("sign_out_return_to", 5),
        ("allowed_return_urls", "https://a.example/"),
        ("allowed_return_urls", ("https://a.example/", "/path")),
        ("allowed_return_urls", ("https://*.example/*\\",)),
        ("allowed_return_urls", (None,)),
        ("allowed_return_urls", None),
        ("allowed_origins", None),
        ("allowed_origins", 5),
        ("on_success", "module.function"),
        ("on_error", 5),
        ("require_auth", "false"),
        ("require_auth", 1),
        ("challenge_401", None),
        ("public_paths", "/about"),
        ("protected_paths", ["admin"]),
        ("exclude_paths", ["/static/*"]),
        ("sign_up_paths", None),
        ("api_paths", ["/api/{v1}"]),
        ("refresh_buffer", -1),
        ("session_cache_size", -1),
        ("session_cache_size", 1.5),
        ("session_cache_size", True),
        ("session_cache_size", "1024"),
        ("revocation_check", -1),
        ("revocation_check", True),
        ("revocation_check", "60"),
        ("refresh_buffer", "60"),
        ("refresh_buffer", True),
        ("refresh_buffer", math.nan),
        ("refresh_buffer", math.inf),
        ("session_storage", "disk"),
        ("session_storage", None),
        ("eager_auth", "false"),
        ("eager_auth", None),
        ("eager_auth", 1),
        ("revoke_on_sign_out", "yes"),
        ("debug", "false"),
        ("remote_user", "id"),
        ("remote_user", ""),
        ("remote_user", True),
        ("remote_user", ["sub"]),
    ],
)
def test_option_that_cannot_work_is_the_one_problem(option: str, value: object) -> None:
    found = problems(**{option: value})

    assert [problem.split()[0] for problem in found] == [option]


def test_all_problems_are_told_at_once() -> None:
    found = problems(mount="auth", base_url="x", refresh_buffer=-1, on_error=5)

    assert sorted(problem.split()[0] for problem in found) == [
        *("base_url", "mount", "on_error", "refresh_buffer"),
    ]


@pytest.mark.parametrize(
    ("redirect_uri", "path"),
    [
        ("https://app.example.com", "/"),
        ("https://app.example.com/", "/"),
        ("https://app.example.com/callback", "/callback"),
        ("https://app.example.com/callback/", "/callback/"),
        ("https://app.example.com/a;b=c/d", "/a;b=c/d"),
        ("https://app.example.com/callback?tenant=1", "/callback"),
        ("https://app.example.com?tenant=1", "/"),
        ("https://app.example.com/zur%C3%BCck", "/zurück"),
        ("https://app.example.com/a%20b%2Fc", "/a b/c"),
        ("https://app.example.com/%FF", "/\udcff"),
    ],
)
def test_callback_path_is_the_decoded_path_of_the_redirect_uri(
    redirect_uri: str, path: str
) -> None:
    assert callback_path(redirect_uri) == path


def sign_in_event() -> SignInEvent:
    return SignInEvent(
        user=User(id="user_1", email="ada@example.com"),
        access_token="canary-access",
        refresh_token="canary-refresh",
        impersonator=None,
        oauth_tokens=None,
        authentication_method="Password",
        organization_id="org_1",
        state="canary-state",
        environ={"HTTP_COOKIE": "canary-cookie"},
    )


def test_repr_of_a_sign_in_shows_no_secret() -> None:
    event = sign_in_event()

    assert repr(event) == str(event) == "SignInEvent(user.id='user_1')"


def test_sign_in_event_cannot_be_changed() -> None:
    event = sign_in_event()

    with pytest.raises(AttributeError):
        event.access_token = "another"  # type: ignore[misc]


def test_options_error_survives_pickling() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Options(mount="auth")

    copy = pickle.loads(pickle.dumps(raised.value))

    assert copy.problems == raised.value.problems


@pytest.mark.parametrize("value", ["false", 1, None])
def test_text_does_not_allow_http(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text is true, "false" out of a settings file as well."""
    for name, setting in {
        "WORKOS_CLIENT_ID": "client_1",
        "WORKOS_API_KEY": "sk_1",
        "WORKOS_COOKIE_PASSWORD": "p" * 32,
        "WORKOS_REDIRECT_URI": "http://app.example.com/callback",
    }.items():
        monkeypatch.setenv(name, setting)
    with pytest.raises(ConfigurationError) as raised:
        AuthKitMiddleware(show_session, allow_insecure=value)

    assert "allow_insecure must be True or False" in raised.value.problems
    assert any("redirect_uri" in problem for problem in raised.value.problems)


def test_reprs_show_no_secret() -> None:
    """Error reporters show those of local variables."""
    flow = PendingFlow(
        "https://x.example/?login_hint=SECRET", [("Set-Cookie", "SECRET")]
    )
    options = ServiceOptions(
        store="redis://:SECRET@x.example",
        session_storage="cookie",
        http=None,
        clock=time.time,
        refresh_buffer=None,
        session_cache_size=0,
        revocation_check=None,
    )
    challenge = Challenge(
        environ={"HTTP_COOKIE": "SECRET"},
        result=AuthResult(session=AnonymousSession()),
        options=Options(),
        origin="https://app.example.com",
        framed=False,
        strict=False,
        excluded=False,
        start_url=lambda *_: "/",
    )

    assert "SECRET" not in f"{flow!r}{options!r}{challenge!r}"
