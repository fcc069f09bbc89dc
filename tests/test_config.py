from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from wsgi_authkit.config import (
    ENVIRON_NAMES,
    AuthKitConfig,
    url_origin,
    validate_redirect_uri,
)
from wsgi_authkit.errors import ConfigurationError

PASSWORD = "abcdefghijklmnopqrstuvwxyz012345"
OLD_PASSWORD = "ZYXWVUTSRQPONMLKJIHGFEDCBA543210"
REQUIRED: dict[str, Any] = {
    "client_id": "client_123",
    "api_key": "sk_test_123",
    "redirect_uri": "https://app.example.com/callback",
    "cookie_password": PASSWORD,
}
ENVIRON = {
    "WORKOS_CLIENT_ID": "client_123",
    "WORKOS_API_KEY": "sk_test_123",
    "WORKOS_REDIRECT_URI": "https://app.example.com/callback",
    "WORKOS_COOKIE_PASSWORD": PASSWORD,
}


def make(**settings: Any) -> AuthKitConfig:
    return AuthKitConfig(**{**REQUIRED, **settings})


def problems_of(**settings: Any) -> tuple[str, ...]:
    """Return what is wrong with the settings; the required ones are given."""
    try:
        make(**settings)
    except ConfigurationError as error:
        return error.problems
    return ()


def environ_problems(environ: dict[str, str], **settings: Any) -> tuple[str, ...]:
    try:
        AuthKitConfig.from_environ({**ENVIRON, **environ}, **settings)
    except ConfigurationError as error:
        return error.problems
    return ()


def test_defaults_are_those_of_the_javascript_libraries() -> None:
    config = make()

    assert config.cookie_name == "wos-session"
    assert config.cookie_max_age == 400 * 24 * 3600
    assert config.cookie_domain is None
    assert config.cookie_same_site == "lax"
    assert config.base_url == "https://api.workos.com"
    assert config.issuers == ()
    assert config.cookie_passwords == (PASSWORD,)
    assert config.claim_token is None
    assert config.webhook_secret is None
    assert config.allow_insecure is False


def test_constructor_does_not_read_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKOS_COOKIE_NAME", "from-environ")

    assert make().cookie_name == "wos-session"


def test_every_missing_setting_is_reported_in_one_error() -> None:
    with pytest.raises(ConfigurationError) as caught:
        AuthKitConfig()

    required = ["client_id", "api_key", "redirect_uri", "cookie_password"]
    assert len(caught.value.problems) == len(required)
    for option, problem in zip(required, caught.value.problems, strict=True):
        assert problem.startswith(f"{option} ({ENVIRON_NAMES[option][0]}) is missing;")


@pytest.mark.parametrize(
    "name", ["wos-auth-verifier", "wos-auth-marker", "workos-access-token"]
)
def test_cookie_name_of_another_cookie_of_ours_is_refused(name: str) -> None:
    (problem,) = problems_of(cookie_name=name)

    assert "another cookie of ours" in problem


@pytest.mark.parametrize("option", list(REQUIRED))
@pytest.mark.parametrize("value", [pytest.param("", id="empty"), None])
def test_required_setting_cannot_be_empty(option: str, value: object) -> None:
    (problem,) = problems_of(**{option: value})

    assert "is missing" in problem
    assert ENVIRON_NAMES[option][0] in problem


def test_problems_of_all_settings_are_reported_together() -> None:
    problems = problems_of(
        client_id="client 123",
        api_key="sk_test_123\n",
        redirect_uri="/callback",
        cookie_password="short",
        previous_cookie_passwords=["shorter"],
        cookie_name="a b",
        cookie_max_age=0,
        cookie_domain="https://example.com",
        cookie_same_site="loose",
        api_hostname="https://api.workos.com",
        api_https="yes",
        api_port=0,
        issuer="",
        claim_token="",
        webhook_secret="",
    )

    reported = {problem.split(" ")[0] for problem in problems}
    assert reported == set(ENVIRON_NAMES)
    for problem in problems:
        assert f"({ENVIRON_NAMES[problem.split(' ')[0]][0]})" in problem


def test_error_lists_every_problem_on_a_line_of_its_own() -> None:
    with pytest.raises(ConfigurationError) as caught:
        AuthKitConfig()

    assert str(caught.value).count("\n") == len(caught.value.problems)


def test_unknown_setting_of_the_constructor_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="cookie_pasword"):
        make(cookie_pasword=PASSWORD)


def test_configuration_cannot_be_changed() -> None:
    config = make()

    with pytest.raises(dataclasses.FrozenInstanceError):
        config.client_id = "other"  # type: ignore[misc]


def test_replaced_setting_is_checked() -> None:
    config = make()

    with pytest.raises(ConfigurationError, match="cookie_name"):
        dataclasses.replace(config, cookie_name="a b")


def test_replace_keeps_the_other_settings() -> None:
    config = make(
        issuer="https://issuer.example",
        previous_cookie_passwords=[OLD_PASSWORD],
        cookie_same_site="None",
    )
    other = dataclasses.replace(config, redirect_uri="https://b.example.com/callback")

    assert dataclasses.replace(other, redirect_uri=config.redirect_uri) == config


@pytest.mark.parametrize(
    "clone",
    [
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda config: pickle.loads(pickle.dumps(config)), id="pickle"),
    ],
)
def test_configuration_can_be_copied(clone: Any) -> None:
    config = make(issuer=["a", "b"], previous_cookie_passwords=[OLD_PASSWORD])

    assert clone(config) == config


def test_lists_given_are_kept_as_tuples() -> None:
    """A list would let the caller change a checked configuration afterwards."""
    issuers, passwords = ["https://a.example"], [OLD_PASSWORD]
    config = make(issuer=issuers, previous_cookie_passwords=passwords)
    issuers.append("https://evil.example")
    passwords.append("short")

    assert config.issuer == ("https://a.example",)
    assert config.previous_cookie_passwords == (OLD_PASSWORD,)
    assert isinstance(hash(config), int)


def test_repr_shows_no_secret() -> None:
    secrets = {
        "api_key": "sk_test_canary",
        "cookie_password": "canary-" + PASSWORD,
        "claim_token": "token-canary",
        "webhook_secret": "whsec-canary",
    }
    config = make(**secrets, previous_cookie_passwords=["canary-" + OLD_PASSWORD])

    assert "canary" not in repr(config)
    assert "client_123" in repr(config)


def test_error_describes_secrets_by_their_length_only() -> None:
    problems = problems_of(
        api_key="canary key",
        cookie_password="canary-canary",
        previous_cookie_passwords=["canary", "canary\ud800" + PASSWORD],
        claim_token="canary\n",
        webhook_secret="canary\x00",
        redirect_uri="https://user:canary@example.com/callback",
    )

    assert len(problems) == 7
    assert "canary" not in " ".join(problems)
    assert any("has 10 characters" in problem for problem in problems)


@pytest.mark.parametrize(
    "option", ["client_id", "api_key", "claim_token", "webhook_secret"]
)
@pytest.mark.parametrize(
    "value",
    [
        pytest.param("sk_test 123", id="space"),
        pytest.param(" sk_test_123", id="leading space"),
        pytest.param("sk_test_123\n", id="line end"),
        pytest.param("sk_test\r\nX-Evil: 1", id="header injection"),
        pytest.param("sk_test\x00", id="NUL"),
        pytest.param("sk_test\x7f", id="DEL"),
        pytest.param("sk_tést", id="not ASCII"),
        pytest.param("sk_test\u200b", id="invisible"),
        pytest.param("\udcff", id="lone surrogate"),
    ],
)
def test_credential_with_stray_characters_is_refused(option: str, value: str) -> None:
    (problem,) = problems_of(**{option: value})

    assert problem.startswith(f"{option} (WORKOS_")
    assert f"has {len(value)} characters" in problem


def test_api_key_in_the_place_of_the_client_id_is_refused() -> None:
    """The client ID is in the URL of every sign-in."""
    (problem,) = problems_of(client_id="sk_live_secret")

    assert problem.startswith("client_id (WORKOS_CLIENT_ID) is an API key")
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("client_id", '"client_123"'),
        ("api_key", "'sk_test'"),
        ("cookie_password", '"a password of at least 32 characters"'),
    ],
)
def test_quotes_that_came_along_are_refused(option: str, value: str) -> None:
    """``docker run --env-file`` keeps them, and another app has another password."""
    (problem,) = problems_of(**{option: value})

    assert problem.startswith(f"{option} (WORKOS_")
    assert "in quotes" in problem
    assert "at least 32" not in problem


def test_client_id_in_the_place_of_the_api_key_is_refused() -> None:
    (problem,) = problems_of(api_key="client_123")

    assert problem.startswith("api_key (WORKOS_API_KEY) is a client ID")


@pytest.mark.parametrize(
    ("option", "value"), [("client_id", "client_..."), ("api_key", "sk_...")]
)
def test_placeholder_of_the_documentation_is_refused(option: str, value: str) -> None:
    (problem,) = problems_of(**{option: value})

    assert problem.startswith(f"{option} (WORKOS_")
    assert "ends in '...'" in problem


@pytest.mark.parametrize("option", ["claim_token", "webhook_secret"])
def test_empty_optional_secret_is_refused(option: str) -> None:
    """An empty webhook secret would let anybody sign webhooks."""
    (problem,) = problems_of(**{option: ""})

    assert "is empty" in problem


@pytest.mark.parametrize(
    "option", ["client_id", "api_key", "claim_token", "webhook_secret"]
)
def test_credential_that_is_no_string_is_refused(option: str) -> None:
    (problem,) = problems_of(**{option: b"sk_test_123"})

    assert "must be a string" in problem


@pytest.mark.parametrize(
    "password",
    [
        pytest.param(PASSWORD, id="32 characters"),
        pytest.param("z8Vdk1Qw7Lr4Tz1Bn6Ym3Cp8Hd5Gs0Fa" * 4, id="longer"),
        pytest.param("🔑🦊🌍🚀🎉🔥💧🌱🧭🧩🪁🥁🎻🎺🎸🎷", id="32 UTF-16 code units"),
        pytest.param("café-" * 7, id="five different characters"),
        pytest.param("0123456789abcdef" * 2, id="hexadecimal"),
        pytest.param('p@ss "quoted" \\back\\slash/ %41 ~*$\t;', id="any characters"),
    ],
)
def test_cookie_password_that_the_javascript_libraries_take_is_accepted(
    password: str,
) -> None:
    config = make(cookie_password=password, previous_cookie_passwords=[password])

    assert config.cookie_passwords == (password, password)


def test_short_cookie_password_is_described_by_its_length() -> None:
    (problem,) = problems_of(cookie_password="twelve chars")

    assert problem == (
        "cookie_password (WORKOS_COOKIE_PASSWORD) has 12 characters, at least 32 are "
        "needed; make one with: openssl rand -base64 24"
    )


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        pytest.param(PASSWORD[:31], "has 31 characters", id="31 characters"),
        pytest.param(
            "🔑🦊🌍🚀🎉🔥💧🌱🧭🧩🪁🥁🎻🎺🎸", "has 30 characters", id="30 code units"
        ),
        pytest.param("x" * 64, "hardly differ", id="one character"),
        pytest.param("1234" * 16, "hardly differ", id="four characters"),
        pytest.param(
            "must-be-at-least-32-characters-long-secret",
            "README",
            id="authkit-session README",
        ),
        pytest.param(
            "complex_password_at_least_32_characters_long",
            "README",
            id="iron-session README",
        ),
        pytest.param(
            PASSWORD + "\ud83d", "not valid Unicode", id="lone high surrogate"
        ),
        pytest.param(PASSWORD + "\udcff", "not valid Unicode", id="undecodable byte"),
        pytest.param(PASSWORD.encode(), "must be a string", id="bytes"),
    ],
)
def test_unfit_password_is_refused(password: str, reason: str) -> None:
    (problem,) = problems_of(cookie_password=password)
    (previous,) = problems_of(previous_cookie_passwords=[OLD_PASSWORD, password])

    assert reason in problem
    assert reason in previous
    assert "openssl rand -base64 24" in problem
    assert previous.startswith(
        "previous_cookie_passwords (WORKOS_COOKIE_PASSWORD_PREVIOUS), entry 2, "
    )


def test_empty_previous_password_is_refused() -> None:
    (problem,) = problems_of(previous_cookie_passwords=[""])

    assert "has 0 characters" in problem


def test_cookie_passwords_begin_with_the_current_one() -> None:
    config = make(previous_cookie_passwords=[OLD_PASSWORD, OLD_PASSWORD[::-1]])

    assert config.cookie_passwords == (PASSWORD, OLD_PASSWORD, OLD_PASSWORD[::-1])


def test_one_previous_password_may_stand_alone() -> None:
    config = make(previous_cookie_passwords=OLD_PASSWORD)

    assert config.cookie_passwords == (PASSWORD, OLD_PASSWORD)


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example.com/callback",
        "https://app.example.com:8443/auth/callback?tenant=a%20b",
        "https://xn--bcher-kva.example/callback",
        "https://192.0.2.7/callback",
        "https://[2001:db8::1]:8443/callback",
        "HTTPS://App.Example.COM/callback",
        "http://localhost/callback",
        "http://LOCALHOST:3000/callback",
        "http://app.localhost:3000/callback",
        "http://127.0.0.1:5000/callback",
        "http://[::1]:5000/callback",
    ],
)
def test_redirect_uri_is_accepted(uri: str) -> None:
    assert validate_redirect_uri(uri) == []
    assert make(redirect_uri=uri).redirect_uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("/callback", id="path"),
        pytest.param("//app.example.com/callback", id="no scheme"),
        pytest.param("app.example.com/callback", id="host and path"),
        pytest.param("localhost:3000/callback", id="host as scheme"),
        pytest.param("ftp://app.example.com/callback", id="ftp"),
        pytest.param("javascript://app.example.com/%0aalert(1)", id="javascript"),
        pytest.param("myapp://callback", id="app scheme"),
        pytest.param("https:///callback", id="no host"),
        pytest.param("https:app.example.com/callback", id="no slashes"),
        pytest.param("https://:443/callback", id="port without host"),
        pytest.param("https://user@app.example.com/callback", id="user"),
        pytest.param(
            "https://user:pw@app.example.com/callback", id="user and password"
        ),
        pytest.param("https://@app.example.com/callback", id="empty user"),
        pytest.param("https://app.example.com:0/callback", id="port 0"),
        pytest.param("https://app.example.com:65536/callback", id="port too high"),
        pytest.param("https://app.example.com:/callback", id="empty port"),
        pytest.param("https://app.example.com:8a/callback", id="port no number"),
        pytest.param("https://[::1/callback", id="bracket open"),
        pytest.param("https://[::1]evil.example/callback", id="text after bracket"),
        pytest.param("https://[evil.example]/callback", id="name in brackets"),
        pytest.param("https://*.example.com/callback", id="wildcard"),
        pytest.param("https://app..example.com/callback", id="empty label"),
        pytest.param("https://-app.example.com/callback", id="label begins with -"),
        pytest.param("https://app%2eexample.com/callback", id="escaped host"),
    ],
)
def test_redirect_uri_that_is_no_absolute_url_is_refused(uri: str) -> None:
    (problem,) = problems_of(redirect_uri=uri)

    assert problem.startswith("redirect_uri (WORKOS_REDIRECT_URI) must be an absolute")
    assert validate_redirect_uri(uri) == [problem]
    assert validate_redirect_uri(uri, allow_insecure=True) == [problem]


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("https://app.example.com/call back", id="space"),
        pytest.param(" https://app.example.com/callback", id="leading space"),
        pytest.param("https://app.example.com/callback\n", id="line end"),
        pytest.param("https://app.example.com/\r\nSet-Cookie:a=b", id="CRLF"),
        pytest.param("https://app.exa\tmple.com/callback", id="tab"),
        pytest.param("https://app.example.com/\x00", id="NUL"),
        pytest.param("https://app.example.com\\@evil.example/", id="backslash"),
        pytest.param("https://bücher.example/callback", id="host not ASCII"),
        pytest.param("https://app.example.com/rückruf", id="path not ASCII"),
        pytest.param("https://app。example.com/callback", id="IDNA dot"),
        pytest.param('https://app.example.com/"callback"', id="quotes"),
        pytest.param("", id="empty"),
        pytest.param(b"https://app.example.com/callback", id="bytes"),
        pytest.param(None, id="None"),
    ],
)
def test_text_that_is_no_uri_is_refused(uri: str) -> None:
    (problem,) = validate_redirect_uri(uri)

    assert "must be a URL in ASCII" in problem
    assert len(problems_of(redirect_uri=uri)) == 1


@pytest.mark.parametrize("fragment", ["#", "#section"])
def test_redirect_uri_with_a_fragment_is_refused(fragment: str) -> None:
    (problem,) = problems_of(redirect_uri="https://app.example.com/cb" + fragment)

    assert "has a fragment" in problem


@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example.com/callback",
        "HTTP://app.example.com/callback",
        "http://localhost.example.com/callback",
        "http://evil-localhost/callback",
        "http://127.0.0.1.example.com/callback",
        "http://127.0.0.2/callback",
        "http://0.0.0.0:3000/callback",
        "http://192.168.1.5/callback",
        "http://[::2]/callback",
    ],
)
def test_http_off_localhost_needs_allow_insecure(uri: str) -> None:
    (problem,) = problems_of(redirect_uri=uri)

    assert "uses http off localhost" in problem
    assert "allow_insecure=True" in problem
    assert validate_redirect_uri(uri) == [problem]
    assert validate_redirect_uri(uri, allow_insecure=True) == []
    assert make(redirect_uri=uri, allow_insecure=True).redirect_uri == uri


def test_text_for_allow_insecure_allows_nothing() -> None:
    """The text ``"false"`` is true in Python."""
    problems = problems_of(
        redirect_uri="http://app.example.com/callback", allow_insecure="false"
    )

    assert [problem.split(" ")[0] for problem in problems] == [
        "redirect_uri",
        "allow_insecure",
    ]


def test_problem_of_another_redirect_uri_names_its_option() -> None:
    (problem,) = validate_redirect_uri("/cb", option="allowed_redirect_uris, entry 1,")

    assert problem.startswith("allowed_redirect_uris, entry 1, must be an absolute")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://app.example.com/callback?a=b", "https://app.example.com"),
        ("https://app.example.com:8443/callback", "https://app.example.com:8443"),
        ("HTTPS://App.Example.COM:443/callback", "https://app.example.com"),
        ("http://localhost:80/callback", "http://localhost"),
        ("http://localhost:443/callback", "http://localhost:443"),
        ("https://[2001:DB8::1]:8443/callback", "https://[2001:db8::1]:8443"),
    ],
)
def test_origin_is_written_as_browsers_write_it(url: str, origin: str) -> None:
    assert url_origin(url) == origin
    assert make(redirect_uri=url).redirect_origin == origin


@pytest.mark.parametrize("url", ["", "/callback", "ftp://a.example/", "https://a@b/"])
def test_origin_of_what_is_no_absolute_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="absolute"):
        url_origin(url)


@pytest.mark.parametrize(
    ("configured", "given", "same_site", "secure"),
    [
        pytest.param("https://a.example/cb", None, "lax", True, id="https"),
        pytest.param("http://localhost/cb", None, "lax", False, id="http"),
        pytest.param("http://localhost/cb", None, "none", True, id="none forces it"),
        pytest.param(
            "https://a.example/cb", "http://localhost/cb", "lax", False, id="given http"
        ),
        pytest.param(
            "http://localhost/cb", "https://a.example/cb", "lax", True, id="given https"
        ),
        pytest.param("http://localhost/cb", "not a url", "lax", True, id="no URL"),
        pytest.param("http://localhost/cb", "", "lax", True, id="empty"),
        pytest.param("http://localhost/cb", "http://[::1", "lax", True, id="broken"),
    ],
)
def test_secure_follows_the_scheme_of_the_redirect_uri(
    configured: str, given: str | None, same_site: str, secure: bool
) -> None:
    config = make(redirect_uri=configured, cookie_same_site=same_site)

    assert config.secure_cookies(given) is secure


@pytest.mark.parametrize("name", ["wos-session", "my_auth.cookie", "!#$%&'*+-.^_`|~09"])
def test_cookie_name_is_any_token(name: str) -> None:
    assert make(cookie_name=name).cookie_name == name


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("my session", id="space"),
        pytest.param("a=b", id="equals sign"),
        pytest.param("a;b", id="semicolon"),
        pytest.param("a,b", id="comma"),
        pytest.param('"a"', id="quotes"),
        pytest.param("a\r\nSet-Cookie: b", id="CRLF"),
        pytest.param("session\n", id="line end"),
        pytest.param("sitzung-ä", id="not ASCII"),
        pytest.param(None, id="None"),
    ],
)
def test_cookie_name_that_is_no_token_is_refused(name: str) -> None:
    (problem,) = problems_of(cookie_name=name)

    assert problem.startswith("cookie_name (WORKOS_COOKIE_NAME) must be a cookie name")


@pytest.mark.parametrize("name", ["__Host-wos", "__Secure-wos", "__HOST-wos"])
def test_cookie_name_prefix_is_fine_over_https(name: str) -> None:
    assert problems_of(cookie_name=name) == ()


@pytest.mark.parametrize("name", ["__Host-wos", "__Secure-wos", "__hOST-wos"])
def test_cookie_name_prefix_needs_https(name: str) -> None:
    (problem,) = problems_of(cookie_name=name, redirect_uri="http://localhost/cb")

    assert "over https only" in problem


@pytest.mark.parametrize("name", ["__Host-wos", "__host-wos"])
def test_host_prefix_refuses_a_domain(name: str) -> None:
    (problem,) = problems_of(cookie_name=name, cookie_domain="example.com")

    assert "begins with __Host-" in problem
    assert "WORKOS_COOKIE_DOMAIN" in problem


def test_secure_prefix_allows_a_domain() -> None:
    assert problems_of(cookie_name="__Secure-wos", cookie_domain="example.com") == ()


@pytest.mark.parametrize(
    "domain",
    ["app.example.com", "example.com", ".example.com", ".App.Example.com", None],
)
def test_cookie_domain_is_kept_as_it_is(domain: str | None) -> None:
    assert make(cookie_domain=domain).cookie_domain == domain


@pytest.mark.parametrize(
    "domain",
    [
        pytest.param("", id="empty"),
        pytest.param(".", id="dot"),
        pytest.param("..example.com", id="two dots"),
        pytest.param("example.com.", id="dot at the end"),
        pytest.param("example.com; Path=/admin", id="attribute"),
        pytest.param("example.com\r\nX: y", id="CRLF"),
        pytest.param("example.com\n", id="line end"),
        pytest.param("https://example.com", id="scheme"),
        pytest.param("example.com:443", id="port"),
        pytest.param("example.com/app", id="path"),
        pytest.param("*.example.com", id="wildcard"),
        pytest.param("exämple.com", id="not ASCII"),
        pytest.param(["example.com"], id="list"),
    ],
)
def test_text_that_is_no_domain_is_refused(domain: str) -> None:
    (problem,) = problems_of(cookie_domain=domain)

    assert "must be a bare domain" in problem


@pytest.mark.parametrize(
    ("domain", "host"),
    [
        pytest.param("example.org", "app.example.com", id="another domain"),
        pytest.param("ample.com", "app.example.com", id="end of a label"),
        pytest.param("www.app.example.com", "app.example.com", id="subdomain"),
        pytest.param("com", "app.example.com", id="public suffix"),
        pytest.param("2.7", "192.0.2.7", id="end of an address"),
    ],
)
def test_cookie_domain_must_cover_the_redirect_uri(domain: str, host: str) -> None:
    """Browsers drop such a cookie without a word, and sign-in would loop."""
    (problem,) = problems_of(
        cookie_domain=domain, redirect_uri=f"https://{host}/callback"
    )

    assert "does not cover the host of redirect_uri (WORKOS_REDIRECT_URI)" in problem


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_cookie_domain_may_be_the_host_itself(host: str) -> None:
    assert problems_of(cookie_domain=host, redirect_uri=f"http://{host}:3000/cb") == ()


def test_broken_redirect_uri_is_not_reported_as_a_wrong_domain_too() -> None:
    problems = problems_of(
        redirect_uri="/callback", cookie_domain="example.com", cookie_name="__Secure-a"
    )

    assert [problem.split(" ")[0] for problem in problems] == ["redirect_uri"]


@pytest.mark.parametrize("max_age", [1, 600, 34_560_000])
def test_cookie_max_age_is_in_seconds(max_age: int) -> None:
    assert make(cookie_max_age=max_age).cookie_max_age == max_age


@pytest.mark.parametrize("max_age", [0, -1, True, 600.0, "600", None])
def test_cookie_max_age_that_is_no_positive_integer_is_refused(max_age: int) -> None:
    (problem,) = problems_of(cookie_max_age=max_age)

    assert problem.startswith("cookie_max_age (WORKOS_COOKIE_MAX_AGE) must be a whole")


@pytest.mark.parametrize(
    ("given", "kept"), [("lax", "lax"), ("Strict", "strict"), ("NONE", "none")]
)
def test_cookie_same_site_ignores_case(given: str, kept: str) -> None:
    assert make(cookie_same_site=given).cookie_same_site == kept


@pytest.mark.parametrize("same_site", ["", "laxx", "lax; Domain=x", None, True])
def test_unknown_cookie_same_site_is_refused(same_site: str) -> None:
    (problem,) = problems_of(cookie_same_site=same_site)

    assert "must be lax, strict or none" in problem


def test_same_site_none_is_accepted_on_http_localhost() -> None:
    assert problems_of(cookie_same_site="none", redirect_uri="http://localhost/") == ()


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"api_hostname": "auth.example.com"}, "https://auth.example.com"),
        ({"api_port": 8443}, "https://api.workos.com:8443"),
        (
            {"api_hostname": "localhost", "api_https": False, "api_port": 4100},
            "http://localhost:4100",
        ),
        ({"api_hostname": "[::1]", "api_https": False}, "http://[::1]"),
        ({"api_hostname": "LOCALHOST", "api_https": False}, "http://LOCALHOST"),
        (
            {"api_hostname": "work_os", "api_https": False, "allow_insecure": True},
            "http://work_os",
        ),
    ],
)
def test_base_url_is_that_of_the_api(settings: dict[str, Any], url: str) -> None:
    assert make(**settings).base_url == url


@pytest.mark.parametrize(
    "hostname",
    [
        "",
        "https://api.workos.com",
        "api.workos.com:443",
        "api.workos.com/",
        "api.workos.com?x",
        "api.workos.com#x",
        "user@api.workos.com",
        "api.workos.com\n",
        "api workos com",
        "::1",
        None,
    ],
)
def test_api_hostname_that_is_no_bare_host_name_is_refused(hostname: str) -> None:
    """The API key goes to that host: nothing may be read into it."""
    (problem,) = problems_of(api_hostname=hostname)

    assert "must be a bare host name" in problem


@pytest.mark.parametrize("hostname", ["api.workos.com", "emulator", "localhost.evil"])
def test_http_api_off_localhost_needs_allow_insecure(hostname: str) -> None:
    (problem,) = problems_of(api_hostname=hostname, api_https=False)

    assert "api_https (WORKOS_API_HTTPS) is false, so the API key" in problem


@pytest.mark.parametrize("port", [0, -1, 65536, True, "443", 443.0])
def test_api_port_out_of_range_is_refused(port: int) -> None:
    (problem,) = problems_of(api_port=port)

    assert problem.startswith("api_port (WORKOS_API_PORT) must be a whole number from")


@pytest.mark.parametrize("port", [1, 65535])
def test_api_port_in_range_is_accepted(port: int) -> None:
    assert make(api_port=port).api_port == port


@pytest.mark.parametrize("value", ["false", 0, None])
def test_api_https_that_is_no_boolean_is_refused(value: bool) -> None:
    (problem,) = problems_of(api_https=value)

    assert "api_https (WORKOS_API_HTTPS) must be True or False" in problem


@pytest.mark.parametrize(
    ("issuer", "issuers"),
    [
        pytest.param(None, (), id="None"),
        pytest.param([], (), id="none"),
        pytest.param("https://a.example", ("https://a.example",), id="one"),
        pytest.param(["a", "b"], ("a", "b"), id="several"),
    ],
)
def test_issuers_are_a_tuple(issuer: Any, issuers: tuple[str, ...]) -> None:
    config = make(issuer=issuer)

    assert config.issuers == issuers
    assert config.issuer == issuers


@pytest.mark.parametrize("issuer", ["", [""], ["a", ""], "a b", [1], 5, b"a"])
def test_empty_issuer_is_refused(issuer: Any) -> None:
    """Taken as "none", it would switch the check off."""
    (problem,) = problems_of(issuer=issuer)

    assert problem.startswith("issuer (WORKOS_ISSUER) must be one or several")


def test_from_environ_reads_every_variable() -> None:
    config = AuthKitConfig.from_environ(
        {
            **ENVIRON,
            "WORKOS_COOKIE_PASSWORD_PREVIOUS": f"{OLD_PASSWORD}\r\n\n{PASSWORD[::-1]}",
            "WORKOS_COOKIE_NAME": "my-auth-cookie",
            "WORKOS_COOKIE_MAX_AGE": "600",
            "WORKOS_COOKIE_DOMAIN": "example.com",
            "WORKOS_COOKIE_SAMESITE": "Strict",
            "WORKOS_API_HOSTNAME": "localhost",
            "WORKOS_API_HTTPS": "false",
            "WORKOS_API_PORT": "4100",
            "WORKOS_ISSUER": "https://a.example, https://b.example",
            "WORKOS_CLAIM_TOKEN": "claim",
            "WORKOS_WEBHOOK_SECRET": "whsec",
        }
    )

    assert config == AuthKitConfig(
        client_id="client_123",
        api_key="sk_test_123",
        redirect_uri="https://app.example.com/callback",
        cookie_password=PASSWORD,
        previous_cookie_passwords=(OLD_PASSWORD, PASSWORD[::-1]),
        cookie_name="my-auth-cookie",
        cookie_max_age=600,
        cookie_domain="example.com",
        cookie_same_site="strict",
        api_hostname="localhost",
        api_https=False,
        api_port=4100,
        issuer=("https://a.example", "https://b.example"),
        claim_token="claim",
        webhook_secret="whsec",
    )


def test_every_setting_but_allow_insecure_has_a_variable() -> None:
    """Leaving out the protection of cookies is for the code to say."""
    settings = {setting.name for setting in dataclasses.fields(AuthKitConfig)}

    assert settings - set(ENVIRON_NAMES) == {"allow_insecure"}


def test_from_environ_reads_the_process_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for names in ENVIRON_NAMES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)

    assert AuthKitConfig.from_environ() == make()


def test_environment_wins_over_defaults() -> None:
    config = AuthKitConfig.from_environ(
        ENVIRON, client_id="client_default", cookie_name="default"
    )

    assert (config.client_id, config.cookie_name) == ("client_123", "default")


def test_overrides_win_over_the_environment() -> None:
    config = AuthKitConfig.from_environ(
        ENVIRON,
        overrides={"redirect_uri": "https://override.example/callback"},
        redirect_uri="https://default.example/callback",
    )

    assert config.redirect_uri == "https://override.example/callback"


def test_override_makes_the_variable_optional() -> None:
    environ = {k: v for k, v in ENVIRON.items() if k != "WORKOS_REDIRECT_URI"}
    overrides = {"redirect_uri": "https://override.example/callback"}
    config = AuthKitConfig.from_environ(environ, overrides=overrides)

    assert config.redirect_uri == "https://override.example/callback"


def test_overridden_variable_is_not_even_read() -> None:
    problems = environ_problems(
        {"WORKOS_COOKIE_MAX_AGE": "soon"}, overrides={"cookie_max_age": 600}
    )

    assert problems == ()


@pytest.mark.parametrize("name", [n for names in ENVIRON_NAMES.values() for n in names])
def test_empty_variable_counts_as_unset(name: str) -> None:
    config = AuthKitConfig.from_environ(
        {name: ""}, **REQUIRED, cookie_name="default", cookie_max_age=600
    )

    assert config == make(cookie_name="default", cookie_max_age=600)


def test_redirect_uri_falls_back_to_the_variable_of_nextjs() -> None:
    nextjs = {"NEXT_PUBLIC_WORKOS_REDIRECT_URI": "https://next.example.com/callback"}
    both = AuthKitConfig.from_environ({**ENVIRON, **nextjs})
    alone = AuthKitConfig.from_environ({**ENVIRON, "WORKOS_REDIRECT_URI": "", **nextjs})

    assert both.redirect_uri == "https://app.example.com/callback"
    assert alone.redirect_uri == "https://next.example.com/callback"


@pytest.mark.parametrize(
    "environ",
    [
        {"WORKOS_COOKIE_SAMESITE": "none"},
        {"WORKOS_COOKIE_SAME_SITE": "none"},
        {"WORKOS_COOKIE_SAMESITE": "none", "WORKOS_COOKIE_SAME_SITE": "None"},
        {"WORKOS_COOKIE_SAMESITE": "", "WORKOS_COOKIE_SAME_SITE": "none"},
    ],
)
def test_both_spellings_of_same_site_are_read(environ: dict[str, str]) -> None:
    config = AuthKitConfig.from_environ({**ENVIRON, **environ})

    assert config.cookie_same_site == "none"


def test_spellings_of_same_site_that_differ_are_a_problem() -> None:
    (problem,) = environ_problems(
        {"WORKOS_COOKIE_SAMESITE": "none", "WORKOS_COOKIE_SAME_SITE": "lax"}
    )

    assert problem == (
        "cookie_same_site (WORKOS_COOKIE_SAMESITE) differs from "
        "WORKOS_COOKIE_SAME_SITE; unset one of the two"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, True) for value in ("true", "True", "TRUE", "1", "yes", "On")),
        *((value, False) for value in ("false", "FALSE", "0", "no", "off")),
    ],
)
def test_boolean_variable_takes_the_usual_words(value: str, expected: bool) -> None:
    environ = {**ENVIRON, "WORKOS_API_HTTPS": value, "WORKOS_API_HOSTNAME": "localhost"}

    assert AuthKitConfig.from_environ(environ).api_https is expected


@pytest.mark.parametrize("value", ["2", "maybe", "t", " true", "false\n", "None"])
def test_other_words_for_a_boolean_are_refused(value: str) -> None:
    """Guessing could send the API key in clear text."""
    (problem,) = environ_problems({"WORKOS_API_HTTPS": value})

    assert problem.startswith("api_https (WORKOS_API_HTTPS) must be one of true, 1,")


@pytest.mark.parametrize(
    "value",
    ["6e2", "0x10", "1_000", "+5", "-5", " 5", "5\n", "5.0", "٣", "²", "9" * 5000],
)
@pytest.mark.parametrize("name", ["WORKOS_COOKIE_MAX_AGE", "WORKOS_API_PORT"])
def test_integer_variable_is_strictly_decimal(name: str, value: str) -> None:
    (problem,) = environ_problems({name: value})

    assert f"({name}) must be a whole number, in decimal digits only" in problem


@pytest.mark.parametrize("value", [",", "a,", ",a", "a,,b", " "])
def test_empty_issuer_in_the_environment_is_refused(value: str) -> None:
    (problem,) = environ_problems({"WORKOS_ISSUER": value})

    assert "WORKOS_ISSUER" in problem


def test_previous_password_may_hold_what_is_no_line_end() -> None:
    """``str.splitlines`` would split at a form feed or U+2028 too."""
    password = OLD_PASSWORD + "\x0c\u2028 , "
    environ = {**ENVIRON, "WORKOS_COOKIE_PASSWORD_PREVIOUS": password + "\n"}

    assert AuthKitConfig.from_environ(environ).cookie_passwords == (PASSWORD, password)


def test_problems_of_every_kind_are_reported_together() -> None:
    with pytest.raises(ConfigurationError) as caught:
        AuthKitConfig.from_environ(
            {
                "WORKOS_COOKIE_MAX_AGE": "soon",
                "WORKOS_API_HTTPS": "maybe",
                "WORKOS_COOKIE_PASSWORD": "short",
            },
            client_idd="client_123",
            api_key="sk_test_123",
        )

    reported = [problem.split(" ")[0] for problem in caught.value.problems]
    assert sorted(reported) == [
        "api_https",
        "client_id",
        "client_idd",
        "cookie_max_age",
        "cookie_password",
        "redirect_uri",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cookie_pasword", "cookie_password"),
        ("clientId", "client_id"),
        ("redirect_url", "redirect_uri"),
        ("WORKOS_CLIENT_ID", "client_id"),
    ],
)
def test_unknown_setting_gets_a_suggestion(name: str, meant: str) -> None:
    (default,) = environ_problems({}, **{name: "canary"})
    (override,) = environ_problems({}, overrides={name: "canary"})

    assert default == override == f"{name} is not a setting; did you mean {meant}?"


def test_unknown_setting_like_no_other_gets_the_list() -> None:
    (problem,) = environ_problems({}, zzz=1)

    assert problem.startswith("zzz is not a setting; there are client_id, api_key,")


def test_error_of_the_environment_has_no_cause_to_show() -> None:
    """A traceback with two errors would show half of the problems twice."""
    with pytest.raises(ConfigurationError) as caught:
        AuthKitConfig.from_environ({})

    assert caught.value.__suppress_context__
