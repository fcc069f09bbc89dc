from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsgi_authkit.authorization import (
    CLOCK_SKEW,
    FLOW_LIFETIME,
    MAX_CUSTOM_STATE,
    MAX_VERIFIER_COOKIE,
    AuthorizationOptions,
    Flow,
    authorization_parameters,
    code_challenge,
    is_verifier_cookie,
    new_flow,
    open_flow,
    seal_flow,
    surplus_flows,
    verifier_cookie_name,
    verifier_path,
    verify_state,
)
from wsgi_authkit.errors import CookieTooLarge, StateMismatch, VerifierMissing
from wsgi_authkit.seal import IronEncryption

VECTORS = json.loads(
    (Path(__file__).parent / "vectors" / "pkce.json").read_text("utf-8")
)
NOW = 1_800_000_000.0
PASSWORD = "a cookie password for the tests, long enough"


def encryption(now: float = NOW, password: str = PASSWORD) -> IronEncryption:
    return IronEncryption(password, (), clock=lambda: now)


def sealed(payload: dict[str, object], now: float = NOW) -> str:
    return encryption(now).seal(payload, ttl=FLOW_LIFETIME)


def state_of(flow: Flow, now: float = NOW) -> str:
    return seal_flow(encryption(now), flow)


def changed(state: str) -> str:
    other = "A" if state[-10] != "A" else "B"
    return f"{state[:-10]}{other}{state[-9:]}"


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


def issued_ms(vector: dict[str, Any]) -> int:
    # authkit-nextjs writes no issuedAt; its seal ends 600 s after it was made.
    payload: dict[str, Any] = vector["payload"]
    issued_at: int = payload.get("issuedAt", vector["seal_expiration_ms"] - 600_000)
    return issued_at


def accepted(vector: dict[str, Any], after: float) -> bool:
    now = issued_ms(vector) / 1000 + after
    try:
        open_flow(encryption(now, vector["password"]), vector["state"], now)
    except VerifierMissing:
        return False
    return True


# PKCE


def test_challenge_is_that_of_the_rfc() -> None:
    """RFC 7636, Appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

    assert code_challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_verifier_has_the_form_and_strength_of_the_rfc() -> None:
    """RFC 7636 4.1 and 7.1: 43 to 128 unreserved characters, 256 bits."""
    verifiers = {new_flow(NOW).code_verifier for _ in range(100)}

    assert len(verifiers) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", verifier) for verifier in verifiers)


def test_flows_have_nothing_in_common() -> None:
    one, other = new_flow(NOW), new_flow(NOW)

    assert one.nonce != other.nonce
    assert one.code_verifier != other.code_verifier
    assert state_of(one) != state_of(other)


@pytest.mark.parametrize("vector", named(VECTORS["pkce"]))
def test_challenge_is_that_of_the_javascript_libraries(vector: dict[str, Any]) -> None:
    verifier = vector["payload"]["codeVerifier"]

    assert code_challenge(verifier) == vector["query"]["code_challenge"]


# The state


def test_payload_has_the_keys_and_types_of_the_javascript_libraries() -> None:
    flow = new_flow(
        NOW + 0.1234,
        return_path="/dash",
        custom_state="context",
        redirect_uri="https://other.example.test/callback",
    )
    payload = encryption().unseal(state_of(flow))

    assert payload == {
        "nonce": flow.nonce,
        "codeVerifier": flow.code_verifier,
        "returnPathname": "/dash",
        "customState": "context",
        "redirectUri": "https://other.example.test/callback",
        "issuedAt": 1_800_000_000_123,
    }
    assert type(payload["issuedAt"]) is int


def test_payload_holds_nothing_that_is_not_set() -> None:
    payload = encryption().unseal(state_of(new_flow(NOW)))

    assert set(payload) == {"nonce", "codeVerifier", "issuedAt"}


@pytest.mark.parametrize("vector", named(VECTORS["pkce"]))
def test_state_of_a_javascript_library_opens(vector: dict[str, Any]) -> None:
    now = issued_ms(vector) / 1000 + 1
    payload = vector["payload"]
    flow = open_flow(encryption(now, vector["password"]), vector["state"], now)

    issued_at = payload.get("issuedAt")
    assert flow == Flow(
        nonce=payload["nonce"],
        code_verifier=payload["codeVerifier"],
        issued_at=None if issued_at is None else issued_at / 1000,
        return_path=payload.get("returnPathname"),
        custom_state=payload.get("customState"),
        redirect_uri=payload.get("redirectUri"),
    )


@pytest.mark.parametrize("vector", named(VECTORS["pkce"]))
def test_our_state_of_the_same_flow_has_the_payload_of_theirs(
    vector: dict[str, Any],
) -> None:
    now = issued_ms(vector) / 1000
    theirs = encryption(now, vector["password"])
    flow = open_flow(theirs, vector["state"], now)

    assert theirs.unseal(seal_flow(theirs, flow)) == vector["payload"]


@pytest.mark.parametrize("vector", named(VECTORS["pkce"]))
def test_our_seal_ends_when_theirs_does(vector: dict[str, Any]) -> None:
    now = issued_ms(vector) / 1000
    ours = encryption(now, vector["password"])
    flow = open_flow(ours, vector["state"], now)
    expiration = int(seal_flow(ours, flow).split("*")[5])

    assert abs(expiration - vector["seal_expiration_ms"]) <= 10


@pytest.mark.parametrize(
    "vector", named([v for v in VECTORS["pkce"] if "issuedAt" in v["payload"]])
)
def test_state_is_good_for_ten_minutes(vector: dict[str, Any]) -> None:
    ages = (-CLOCK_SKEW, 1, 599, 600, 600.5, 601, 659, 661)

    assert [accepted(vector, age) for age in ages] == [True] * 4 + [False] * 4


def test_state_from_the_future_is_refused_beyond_the_skew() -> None:
    state = state_of(new_flow(NOW + CLOCK_SKEW + 1), NOW)

    with pytest.raises(VerifierMissing):
        open_flow(encryption(), state, NOW)


@pytest.mark.parametrize(
    "vector", named([v for v in VECTORS["pkce"] if "issuedAt" not in v["payload"]])
)
def test_state_without_time_is_aged_by_its_seal(vector: dict[str, Any]) -> None:
    """The seal forgives a minute of clock skew, as iron-session does."""
    ages = (1, 599, 601, 659, 661)

    assert [accepted(vector, age) for age in ages] == [True] * 4 + [False]


def test_state_that_took_too_long_says_so() -> None:
    with pytest.raises(VerifierMissing) as caught:
        open_flow(encryption(), state_of(new_flow(NOW)), NOW + 601)

    assert caught.value.code == "flow_expired"


def test_seal_that_ended_says_that_it_took_too_long() -> None:
    state = state_of(new_flow(NOW))
    later = NOW + FLOW_LIFETIME + 61

    with pytest.raises(VerifierMissing) as caught:
        open_flow(encryption(later), state, later)

    assert caught.value.code == "flow_expired"


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("", id="empty"),
        pytest.param("null", id="null"),
        pytest.param("Fe26.2*1*~2", id="prefix alone"),
        pytest.param("\udcff", id="bytes"),
        pytest.param(changed(state_of(new_flow(NOW))), id="changed"),
        pytest.param(
            seal_flow(encryption(password=PASSWORD[::-1]), new_flow(NOW)),
            id="another password",
        ),
        pytest.param(sealed({"codeVerifier": "v"}), id="no nonce"),
        pytest.param(sealed({"nonce": "n"}), id="no verifier"),
        pytest.param(sealed({"nonce": "n", "codeVerifier": ""}), id="empty verifier"),
        pytest.param(sealed({"nonce": 1, "codeVerifier": "v"}), id="nonce a number"),
        pytest.param(
            sealed({"accessToken": "a", "refreshToken": "r", "user": {}}),
            id="a session",
        ),
    ],
)
def test_other_text_is_no_state(state: str) -> None:
    with pytest.raises(VerifierMissing) as caught:
        open_flow(encryption(), state, NOW)

    assert caught.value.code == "verifier_missing"


def test_fields_of_another_type_are_as_if_absent() -> None:
    payload: dict[str, object] = {
        "nonce": "n",
        "codeVerifier": "v",
        "returnPathname": ["/x"],
        "customState": 1,
        "redirectUri": {},
        "issuedAt": True,
        "restarted": "yes",
        "options": ["organization_id"],
    }
    flow = open_flow(encryption(), sealed(payload), NOW)

    assert flow == Flow(nonce="n", code_verifier="v", issued_at=None)


def test_restart_is_remembered_and_written_only_then() -> None:
    state = state_of(new_flow(NOW, restarted=True))

    assert encryption().unseal(state)["restarted"] is True
    assert open_flow(encryption(), state, NOW).restarted


def test_options_are_remembered_that_the_flow_has_no_member_for() -> None:
    options = AuthorizationOptions(
        screen_hint="sign-up", max_age=0, state="s", redirect_uri="https://x.test/c"
    ).to_keep()
    flow = open_flow(encryption(), state_of(new_flow(NOW, options=options)), NOW)

    assert flow.options == {"screen_hint": "sign-up", "max_age": 0}
    assert AuthorizationOptions(screen_hint="sign-in").to_keep() == {}


def test_long_options_are_not_remembered() -> None:
    assert AuthorizationOptions(login_hint="a" * 400).to_keep()
    assert AuthorizationOptions(login_hint="a" * 600).to_keep() == {}


@pytest.mark.parametrize(
    "options", [{"of_another_release": "x"}, {"max_age": "soon"}, {"screen_hint": "x"}]
)
def test_options_that_are_not_known_are_forgotten(options: dict[str, object]) -> None:
    payload = {"nonce": "n", "codeVerifier": "v"}
    state = sealed({**payload, "options": options})

    assert open_flow(encryption(), state, NOW).options == {}


def test_flow_shows_no_secret() -> None:
    flow = new_flow(NOW, custom_state="context", options={"login_hint": "ada@x.test"})

    assert "ada@x.test" not in repr(flow)
    assert flow.code_verifier not in repr(flow)
    assert "context" not in repr(flow)


# Limits


def test_custom_state_may_have_2048_bytes() -> None:
    options = AuthorizationOptions(state="ü" * (MAX_CUSTOM_STATE // 2))

    assert seal_flow(encryption(), new_flow(NOW, custom_state=options.state))


def test_longer_custom_state_is_refused_with_its_size() -> None:
    with pytest.raises(CookieTooLarge, match="2049 bytes, at most 2048") as caught:
        AuthorizationOptions(state="ü" * (MAX_CUSTOM_STATE // 2) + "x")

    assert (caught.value.size, caught.value.limit) == (2049, 2048)


def test_verifier_cookie_may_have_3800_bytes() -> None:
    lengths = []
    for size in range(2048, 4096, 12):
        try:
            state = state_of(new_flow(NOW, return_path="/" + "x" * size))
        except CookieTooLarge:
            break
        lengths.append(len(verifier_cookie_name(state)) + len(state))

    assert MAX_VERIFIER_COOKIE - 32 < max(lengths) <= MAX_VERIFIER_COOKIE == 3800


def test_longer_verifier_cookie_is_refused_and_says_what_to_do() -> None:
    flow = new_flow(NOW, return_path="/" + "x" * 1999, custom_state="secret" * 300)

    with pytest.raises(CookieTooLarge, match="over 3800; shorten") as caught:
        state_of(flow)

    assert caught.value.limit == 3800
    assert caught.value.size > 3800
    assert "secret" not in str(caught.value)


# Options


@pytest.mark.parametrize(
    "option",
    [
        pytest.param({"max_age": -1}, id="negative age"),
        pytest.param({"max_age": 1.5}, id="fraction"),
        pytest.param({"max_age": True}, id="boolean"),
        pytest.param({"max_age": "60"}, id="age as text"),
        pytest.param({"organization_id": 1}, id="number"),
        pytest.param({"state": b"bytes"}, id="bytes"),
        pytest.param({"state": {"a": 1}}, id="mapping"),
        pytest.param({"screen_hint": "login"}, id="unknown screen"),
    ],
)
def test_option_of_another_form_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        AuthorizationOptions(**option)


def test_options_show_no_secret() -> None:
    options = AuthorizationOptions(state="context", invitation_token="invitation")

    assert "context" not in repr(options)
    assert "invitation'" not in repr(options)


def parameters(**options: Any) -> dict[str, str]:
    return authorization_parameters(
        client_id="client_test",
        redirect_uri="https://app.example.test/callback",
        state="the state",
        challenge="the challenge",
        options=AuthorizationOptions(**options),
    )


BASE = {
    "client_id": "client_test",
    "code_challenge": "the challenge",
    "code_challenge_method": "S256",
    "redirect_uri": "https://app.example.test/callback",
    "response_type": "code",
    "state": "the state",
}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(
            {}, {"provider": "authkit", "screen_hint": "sign-in"}, id="nothing"
        ),
        pytest.param(
            {
                "organization_id": "org_1",
                "login_hint": "a+b@acme.test",
                "domain_hint": "acme.test",
                "prompt": "login",
                "max_age": 0,
                "screen_hint": "sign-up",
                "invitation_token": "t",
            },
            {
                "provider": "authkit",
                "organization_id": "org_1",
                "login_hint": "a+b@acme.test",
                "domain_hint": "acme.test",
                "prompt": "login",
                "max_age": "0",
                "screen_hint": "sign-up",
                "invitation_token": "t",
            },
            id="everything for AuthKit",
        ),
        pytest.param(
            {"connection_id": "conn_1", "screen_hint": "sign-in", "max_age": 5},
            {"connection_id": "conn_1"},
            id="a connection has no page of AuthKit",
        ),
        pytest.param(
            {"provider": "GoogleOAuth", "screen_hint": "sign-up", "max_age": 5},
            {"provider": "GoogleOAuth"},
            id="a provider has no page of AuthKit",
        ),
        pytest.param(
            {"state": "context", "redirect_uri": "https://x.example.test/callback"},
            {"provider": "authkit", "screen_hint": "sign-in"},
            id="state and redirect URI are not passed as options",
        ),
        pytest.param(
            {"login_hint": "", "prompt": ""},
            {"provider": "authkit", "screen_hint": "sign-in"},
            id="empty texts are left out",
        ),
    ],
)
def test_parameters_are_those_of_the_contract(
    options: dict[str, Any], expected: dict[str, str]
) -> None:
    assert parameters(**options) == {**BASE, **expected}


@pytest.mark.parametrize("vector", named(VECTORS["pkce"]))
def test_parameters_are_those_of_the_javascript_libraries(
    vector: dict[str, Any],
) -> None:
    theirs = vector["query"]
    options = AuthorizationOptions(
        screen_hint=theirs.get("screen_hint"),
        organization_id=theirs.get("organization_id"),
        login_hint=theirs.get("login_hint"),
        prompt=theirs.get("prompt"),
    )
    ours = authorization_parameters(
        client_id=theirs["client_id"],
        redirect_uri=theirs["redirect_uri"],
        state=vector["state"],
        challenge=code_challenge(vector["payload"]["codeVerifier"]),
        options=options,
    )

    # authkit-nextjs names the screen only where it is asked to; it is the default.
    assert ours == {"screen_hint": "sign-in", **theirs}


# The cookie


@pytest.mark.parametrize("vector", VECTORS["fnv1a"], ids=lambda v: v["cookie_name"])
def test_cookie_is_named_after_the_hash_of_the_state(vector: dict[str, str]) -> None:
    expected = f"wos-auth-verifier-{vector['fnv1a32']}"

    assert verifier_cookie_name(vector["input"]) == vector["cookie_name"] == expected


@pytest.mark.parametrize("vector", named(VECTORS["pkce"]))
def test_cookie_has_the_name_that_the_javascript_libraries_gave_it(
    vector: dict[str, Any],
) -> None:
    assert verifier_cookie_name(vector["state"]) == vector["cookie_name"]


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        pytest.param("wos-auth-verifier", True, id="older releases"),
        pytest.param("wos-auth-verifier-0123abcd", True, id="a flow"),
        pytest.param("wos-auth-verifier-0123ABCD", False, id="capitals"),
        pytest.param("wos-auth-verifier-0123abc", False, id="too short"),
        pytest.param("wos-auth-verifier-0123abcde", False, id="too long"),
        pytest.param("wos-auth-verifier-0123abcg", False, id="not hex"),
        pytest.param("x-wos-auth-verifier-0123abcd", False, id="prefix"),
        pytest.param("wos-auth-verifier-wos-auth-verifier-0123abcd", False, id="twice"),
        pytest.param("wos-session", False, id="session"),
        pytest.param("", False, id="empty"),
    ],
)
def test_verifier_cookies_are_told_by_their_names(name: str, ours: bool) -> None:
    assert is_verifier_cookie(name) is ours


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(["the state"], id="alone"),
        pytest.param(["planted", "the state"], id="after a planted one"),
        pytest.param(["the state", "planted"], id="before a planted one"),
    ],
)
def test_state_of_this_browser_is_believed(values: list[str]) -> None:
    verify_state("the state", values)


def test_state_without_cookie_is_not_believed() -> None:
    with pytest.raises(VerifierMissing):
        verify_state("the state", [])


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("the stat", id="prefix"),
        pytest.param("the state ", id="longer"),
        pytest.param("", id="empty"),
        pytest.param("THE STATE", id="capitals"),
        pytest.param("\udcff", id="bytes"),
    ],
)
def test_state_of_another_browser_is_not_believed(value: str) -> None:
    with pytest.raises(StateMismatch):
        verify_state("the state", [value])


# Pending flows


def pending(*ages: float | str) -> list[tuple[str, str]]:
    """Return cookies named by their position; a text is a value that does not open."""
    cookies = []
    for number, age in enumerate(ages):
        value = age if isinstance(age, str) else state_of(new_flow(NOW - age))
        cookies.append((f"wos-auth-verifier-{number:08x}", value))
    return cookies


@pytest.mark.parametrize(
    ("cookies", "evicted"),
    [
        pytest.param(lambda: pending(), [], id="none"),
        pytest.param(lambda: pending(10, 20, 30, 40), [], id="room for one more"),
        pytest.param(lambda: pending(10, 50, 30, 40, 20), [1], id="the oldest"),
        pytest.param(
            lambda: pending(10, 50, 30, 40, 20, 60, 5), [5, 1, 3], id="all too many"
        ),
        pytest.param(lambda: pending(1, 2, 3, 4, "planted"), [4], id="planted"),
        pytest.param(
            lambda: pending(1, 599, "planted", 3, 4, 5), [2, 1], id="planted first"
        ),
        pytest.param(lambda: pending(601, 1, 2, 3, 4), [0], id="over"),
        pytest.param(lambda: pending(1, 2, 3, 4, -600), [4], id="from the future"),
    ],
)
def test_five_flows_are_pending_at_most(
    cookies: Callable[[], list[tuple[str, str]]], evicted: list[int]
) -> None:
    names = surplus_flows(encryption(), cookies(), NOW)

    assert names == [f"wos-auth-verifier-{number:08x}" for number in evicted]


def test_flow_without_time_counts_as_half_way_through() -> None:
    theirs = sealed({"nonce": "n", "codeVerifier": "v"})
    cookies = [*pending(1, 2, 299), ("wos-auth-verifier", theirs)]

    fresh = surplus_flows(encryption(), [*cookies, *pending(1, 2, 3, 298)[3:]], NOW)
    older = surplus_flows(encryption(), [*cookies, *pending(1, 2, 3, 301)[3:]], NOW)

    assert fresh == ["wos-auth-verifier"]
    assert older == ["wos-auth-verifier-00000003"]


def test_planted_value_of_the_same_name_does_not_end_the_flow() -> None:
    cookies = [*pending(1, 2, 3, 4, 5), ("wos-auth-verifier-00000000", "planted")]

    names = surplus_flows(encryption(), cookies, NOW)

    assert names == ["wos-auth-verifier-00000004"]


@pytest.mark.parametrize(
    ("sign_in", "callback", "path"),
    [
        pytest.param("/auth/sign-in", "/callback", "/", id="nothing in common"),
        pytest.param("/auth/sign-in", "/auth/callback", "/auth", id="mount"),
        pytest.param("/app/auth/sign-in", "/app/callback", "/app", id="SCRIPT_NAME"),
        pytest.param("/app/auth/sign-in", "/callback", "/", id="not below it"),
        pytest.param("/app/auth/sign-in", "/application/cb", "/", id="whole segments"),
        pytest.param("/auth/sign-in", "/authentic/callback", "/", id="same beginning"),
        pytest.param("/auth/sign-in", "/auth", "/auth", id="the mount itself"),
        pytest.param("/auth/sign-in", "/auth/", "/auth", id="the mount with a slash"),
        pytest.param("/auth/sign-in", "/auth/sign-in/cb", "/auth", id="not narrower"),
        pytest.param("/a/b/auth/sign-in", "/a/b/c", "/a/b", id="several segments"),
        pytest.param("/auth/sign-in", "", "/", id="no path"),
        pytest.param("/auth/sign-in", "/auth/cb?x=/auth/y", "/auth", id="query"),
    ],
)
def test_verifier_path_is_what_sign_in_and_callback_have_in_common(
    sign_in: str, callback: str, path: str
) -> None:
    assert verifier_path(sign_in, f"https://app.example.test{callback}") == path


def test_challenge_is_the_hash_of_the_verifier() -> None:
    verifier = new_flow(NOW).code_verifier
    digest = hashlib.sha256(verifier.encode("ascii")).digest()

    assert base64.urlsafe_b64decode(code_challenge(verifier) + "=") == digest
