"""Access tokens and key sets: vectors, hostile tokens, outages, rotation, time."""

from __future__ import annotations

import base64
import inspect
import json
import logging
import math
import random
import string
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any, NoReturn

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    generate_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgi_authkit import tokens
from wsgi_authkit.errors import (
    APIUnavailable,
    AuthKitError,
    ClientRejected,
    InvalidClaim,
    InvalidToken,
    KeySetUnavailable,
    TokenExpired,
    TokenNotYetValid,
    UnknownKey,
)
from wsgi_authkit.key_set import ALGORITHMS, MAX_DOCUMENT, KeySet
from wsgi_authkit.tokens import (
    MAX_TOKEN,
    TokenVerifier,
    is_token_expiring,
    read_unverified_claims,
    refresh_buffer,
)

NOW = 1_767_229_200.0
DAY = 86400.0
VECTORS = json.loads(
    Path(__file__).with_name("vectors").joinpath("tokens.json").read_text("utf-8")
)

Jwk = dict[str, Any]


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Endpoint:
    """The JWKS endpoint: counts requests, serves ``keys`` or raises ``error``."""

    keys: list[Jwk] = field(default_factory=list)
    error: Exception | None = None
    body: bytes | None = None
    requests: int = 0

    def __call__(self) -> bytes:
        self.requests += 1
        if self.error is not None:
            raise self.error
        return document(self.keys) if self.body is None else self.body


@dataclass(frozen=True)
class Signer:
    """An RSA key of WorkOS: makes tokens and its own JWK."""

    private: RSAPrivateKey
    kid: str

    def jwk(self, **members: object) -> Jwk:
        public: Jwk = jwt.algorithms.RSAAlgorithm.to_jwk(
            self.private.public_key(), as_dict=True
        )
        del public["key_ops"]
        jwk = {**public, "kid": self.kid, "alg": "RS256", "use": "sig", **members}
        return {name: value for name, value in jwk.items() if value is not ...}

    def sign(self, claims: object, **header: object) -> str:
        """Return a token, made by hand so that nothing is too odd for it."""
        fields = {"alg": "RS256", "typ": "JWT", "kid": self.kid, **header}
        fields = {name: value for name, value in fields.items() if value is not ...}
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        signing_input = f"{b64(json.dumps(fields).encode())}.{b64(payload)}"
        signature = self.private.sign(
            signing_input.encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        return f"{signing_input}.{b64(signature)}"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def document(keys: list[Jwk]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def good_claims(**changes: object) -> dict[str, Any]:
    """Return the claims of a good token; ``...`` leaves a claim out."""
    claims = {
        "iss": "https://api.workos.com",
        "sub": "user_01",
        "sid": "session_01",
        "jti": "01HQ",
        "iat": NOW - 10,
        "exp": NOW + 290,
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not ...}


def unavailable() -> APIUnavailable:
    return APIUnavailable("WorkOS did not answer.", request_sent=True)


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer(generate_private_key(65537, 2048), "key-1")


@pytest.fixture(scope="session")
def other() -> Signer:
    return Signer(generate_private_key(65537, 2048), "key-2")


@pytest.fixture(scope="session")
def weak() -> Signer:
    return Signer(generate_private_key(65537, 1024), "key-weak")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint(signer: Signer) -> Endpoint:
    return Endpoint([signer.jwk()])


@pytest.fixture
def key_set(endpoint: Endpoint, clock: Clock) -> KeySet:
    return KeySet(endpoint, clock=clock)


@pytest.fixture
def verifier(key_set: KeySet, clock: Clock) -> TokenVerifier:
    return TokenVerifier(key_set=key_set, clock=clock)


UNUSABLE_SETS = {"jwks-use-enc", "jwks-empty", "jwks-alg-rs512"}


def vector_verifier(vector: dict[str, Any]) -> TokenVerifier:
    body = json.dumps(VECTORS["jwks"][vector["jwks"]]).encode()
    clock = Clock(vector["at_ms"] / 1000)
    return TokenVerifier(key_set=KeySet(lambda: body, clock=clock), clock=clock)


def vectors(expect: str) -> list[Any]:
    chosen = [v for v in VECTORS["tokens"] if v["expect"] == expect]
    return [pytest.param(vector, id=vector["name"]) for vector in chosen]


def test_every_vector_is_expected_to_be_accepted_or_rejected() -> None:
    assert {vector["expect"] for vector in VECTORS["tokens"]} == {"accept", "reject"}


@pytest.mark.parametrize("vector", vectors("accept"))
def test_good_vector_gives_its_claims(vector: dict[str, Any]) -> None:
    claims = vector_verifier(vector).verify(vector["token"])

    payload = vector["token"].split(".")[1]
    assert claims == json.loads(base64.urlsafe_b64decode(payload + "=="))


@pytest.mark.parametrize("vector", vectors("reject"))
def test_bad_vector_is_refused(vector: dict[str, Any]) -> None:
    verifier = vector_verifier(vector)
    error = KeySetUnavailable if vector["name"] in UNUSABLE_SETS else InvalidToken

    with pytest.raises(error) as refusal:
        verifier.verify(vector["token"])

    assert not isinstance(refusal.value, TokenExpired)


def pyjwt_exceptions() -> list[type[Exception]]:
    return [
        value
        for value in vars(jwt.exceptions).values()
        if inspect.isclass(value) and issubclass(value, Exception)
    ]


MEANINGS: dict[str, type[AuthKitError]] = {
    "DecodeError": InvalidToken,
    "ExpiredSignatureError": InvalidToken,
    "ImmatureSignatureError": InvalidToken,
    "InvalidAlgorithmError": InvalidToken,
    "InvalidAudienceError": InvalidToken,
    "InvalidIssuedAtError": InvalidToken,
    "InvalidIssuerError": InvalidToken,
    "InvalidJTIError": InvalidToken,
    "InvalidKeyError": KeySetUnavailable,
    "InvalidSignatureError": InvalidToken,
    "InvalidSubjectError": InvalidToken,
    "InvalidTokenError": InvalidToken,
    "MissingCryptographyError": KeySetUnavailable,
    "MissingRequiredClaimError": InvalidToken,
    "PyJWKClientConnectionError": KeySetUnavailable,
    "PyJWKClientError": KeySetUnavailable,
    "PyJWKError": KeySetUnavailable,
    "PyJWKSetError": KeySetUnavailable,
    "PyJWTError": KeySetUnavailable,
}


@pytest.mark.parametrize("kind", pyjwt_exceptions(), ids=lambda kind: kind.__name__)
def test_every_exception_of_pyjwt_has_its_meaning(kind: type[Exception]) -> None:
    assert type(tokens._translate(kind("x"))) is MEANINGS[kind.__name__]


@pytest.mark.parametrize(
    "error",
    [OverflowError(), RecursionError(), TypeError(), UnicodeError(), ValueError()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("step", ["decode", "get_unverified_header"])
def test_foreign_exception_inside_pyjwt_means_an_invalid_token(
    error: Exception,
    step: str,
    verifier: TokenVerifier,
    signer: Signer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> NoReturn:
        raise error

    where = jwt if step == "get_unverified_header" else tokens._JWS
    monkeypatch.setattr(where, step, fail)
    with pytest.raises(InvalidToken) as refusal:
        verifier.verify(signer.sign(good_claims()))

    assert refusal.value.__cause__ is error


def test_algorithms_cannot_match_by_substring() -> None:
    assert ALGORITHMS == ("RS256",)


def test_good_token_gives_its_claims(verifier: TokenVerifier, signer: Signer) -> None:
    claims = good_claims(org_id="org_1", roles=["admin"], act={"sub": "a@b.example"})

    assert verifier.verify(signer.sign(claims)) == claims


HOSTILE_HEADERS = [
    pytest.param({"alg": "none"}, id="alg none"),
    pytest.param({"alg": "HS256"}, id="alg HS256"),
    pytest.param({"alg": "rs256"}, id="alg in lower case"),
    pytest.param({"alg": "RS512"}, id="alg RS512"),
    pytest.param({"alg": "PS256"}, id="alg PS256"),
    pytest.param({"alg": ["RS256"]}, id="alg a list"),
    pytest.param({"alg": {"RS256": 1}}, id="alg an object"),
    pytest.param({"alg": None}, id="alg null"),
    pytest.param({"alg": ...}, id="alg absent"),
    pytest.param({"crit": ["exp"]}, id="crit unknown"),
    pytest.param({"crit": ["b64"], "b64": True}, id="crit that PyJWT knows"),
    pytest.param({"crit": []}, id="crit empty"),
    pytest.param({"crit": None}, id="crit null"),
    pytest.param({"kid": None}, id="kid null"),
    pytest.param({"kid": ["key-1"]}, id="kid a list"),
    pytest.param({"kid": 1}, id="kid a number"),
    pytest.param({"kid": "k" * 257}, id="kid of 257 characters"),
    pytest.param({"kid": "k" * 11_000}, id="kid of 11 KB"),
]


@pytest.mark.parametrize("header", HOSTILE_HEADERS)
def test_hostile_header_is_refused_without_a_fetch(
    verifier: TokenVerifier,
    endpoint: Endpoint,
    signer: Signer,
    header: dict[str, Any],
) -> None:
    token = signer.sign(good_claims(), **header)

    with pytest.raises(InvalidToken) as refusal:
        verifier.verify(token)

    assert not isinstance(refusal.value, UnknownKey)
    assert endpoint.requests == 0


def test_unencoded_payload_without_crit_is_refused(
    verifier: TokenVerifier, signer: Signer
) -> None:
    token = signer.sign(good_claims(), b64=False)

    with pytest.raises(InvalidToken):
        verifier.verify(token)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"jku": "https://evil.example/jwks"}, id="jku"),
        pytest.param({"x5u": "https://evil.example/x5u"}, id="x5u"),
        pytest.param({"x5c": ["AAAA"]}, id="x5c"),
        pytest.param({"jwk": {"kty": "RSA", "n": "AA", "e": "AQAB"}}, id="jwk"),
    ],
)
def test_key_in_the_header_is_ignored(
    verifier: TokenVerifier,
    endpoint: Endpoint,
    signer: Signer,
    other: Signer,
    header: dict[str, Any],
) -> None:
    forged = other.sign(good_claims(), kid="key-1", **header)
    verifier.verify(signer.sign(good_claims(), **header))

    with pytest.raises(InvalidToken, match="signature"):
        verifier.verify(forged)

    assert endpoint.requests == 1


def test_token_with_embedded_key_of_the_attacker_is_refused(
    verifier: TokenVerifier, other: Signer
) -> None:
    token = other.sign(good_claims(), kid="key-1", jwk=other.jwk())

    with pytest.raises(InvalidToken, match="signature"):
        verifier.verify(token)


def test_public_key_does_not_work_as_hmac_secret(
    verifier: TokenVerifier, signer: Signer
) -> None:
    header = b64(json.dumps({"alg": "HS256", "kid": "key-1"}).encode())
    signing_input = f"{header}.{b64(json.dumps(good_claims()).encode())}"
    secret = json.dumps(signer.jwk()).encode()
    mac = jwt.get_algorithm_by_name("HS256").sign(signing_input.encode(), secret)

    with pytest.raises(InvalidToken):
        verifier.verify(f"{signing_input}.{b64(mac)}")


SPOILERS: list[Any] = [
    pytest.param(lambda t: "", id="empty"),
    pytest.param(lambda t: t.encode(), id="bytes"),
    pytest.param(lambda t: None, id="None"),
    pytest.param(lambda t: t + "\n", id="line end"),
    pytest.param(lambda t: " " + t, id="leading space"),
    pytest.param(lambda t: t + ".", id="trailing dot"),
    pytest.param(lambda t: t + ".AAAA", id="four parts"),
    pytest.param(lambda t: t.rpartition(".")[0], id="two parts"),
    pytest.param(lambda t: t.rpartition(".")[0] + ".", id="no signature"),
    pytest.param(lambda t: t + "==", id="padding"),
    pytest.param(lambda t: t + "AAAA", id="longer signature"),
    pytest.param(lambda t: t[:-4], id="shorter signature"),
    pytest.param(lambda t: t.replace(".", ". ", 1), id="space inside"),
    pytest.param(lambda t: t[:-1] + "é", id="letter beyond ASCII"),
    pytest.param(lambda t: t[:-1] + "\udc80", id="lone surrogate"),
    pytest.param(lambda t: t[:-1] + "\uff21", id="full width letter"),
    pytest.param(lambda t: t[:-1] + "\0", id="null byte"),
    pytest.param(lambda t: "A" * MAX_TOKEN + t, id="too long"),
    pytest.param(lambda t: "AAAA." + t.partition(".")[2], id="header not JSON"),
    pytest.param(lambda t: "W10." + t.partition(".")[2], id="header a list"),
    pytest.param(
        lambda t: b64(b"[" * 5000) + "." + t.partition(".")[2], id="header nested"
    ),
]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_spoilt_token_is_refused(
    verifier: TokenVerifier, signer: Signer, spoil: Callable[[str], str]
) -> None:
    token = spoil(signer.sign(good_claims()))

    with pytest.raises(InvalidToken):
        verifier.verify(token)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"x"', id="string"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b"\xff\xfe{}", id="not UTF-8"),
        pytest.param(b"[" * 5000, id="nested 5000 deep"),
        pytest.param(b'{"exp": ' + b"9" * 5000 + b"}", id="number of 5000 digits"),
    ],
)
def test_signed_payload_that_is_no_object_is_refused(
    verifier: TokenVerifier, signer: Signer, payload: bytes
) -> None:
    token = signer.sign(payload)

    with pytest.raises(InvalidToken):
        verifier.verify(token)


def test_token_of_the_longest_length_is_accepted(
    verifier: TokenVerifier, signer: Signer
) -> None:
    missing = MAX_TOKEN - len(signer.sign(good_claims(x="")))
    filler = "x" * (missing * 3 // 4)

    token = signer.sign(good_claims(x=filler))

    assert MAX_TOKEN - 4 < len(token) <= MAX_TOKEN
    assert verifier.verify(token)["x"] == filler


def test_one_changed_character_anywhere_is_refused(
    verifier: TokenVerifier, signer: Signer
) -> None:
    token = signer.sign(good_claims())

    for at, character in enumerate(token):
        if character != ".":
            changed = token[:at] + ("A" if character != "A" else "B") + token[at + 1 :]
            with pytest.raises((InvalidToken, KeySetUnavailable)):
                verifier.verify(changed)


def test_wrong_signature_under_a_known_kid_never_fetches(
    verifier: TokenVerifier,
    endpoint: Endpoint,
    clock: Clock,
    signer: Signer,
    other: Signer,
) -> None:
    verifier.verify(signer.sign(good_claims()))
    forged = other.sign(good_claims(), kid="key-1")

    for _ in range(10):
        clock.advance(61)
        with pytest.raises(InvalidToken, match="signature"):
            verifier.verify(forged)

    assert endpoint.requests == 1


def test_error_does_not_show_the_token(verifier: TokenVerifier, signer: Signer) -> None:
    token = signer.sign(good_claims(exp=NOW - 60))

    with pytest.raises(TokenExpired) as refusal:
        verifier.verify(token)

    assert "user_01" not in f"{refusal.value!r} {refusal.value}"


@pytest.mark.parametrize("claim", ["exp", "iat", "sub", "sid"])
@pytest.mark.parametrize("value", [..., None], ids=["absent", "null"])
def test_required_claim_that_is_missing_is_refused(
    verifier: TokenVerifier, signer: Signer, claim: str, value: object
) -> None:
    token = signer.sign(good_claims(**{claim: value}))

    with pytest.raises(InvalidClaim) as refusal:
        verifier.verify(token)

    assert refusal.value.claim == claim


NOT_A_NUMBER: list[object] = [
    "4102444800",
    True,
    [4102444800],
    {"at": 1},
    math.inf,
    -math.inf,
    math.nan,
    10**400,
]
NOT_A_STRING: list[object] = [1, True, ["x"], {"x": 1}]
NOT_STRINGS: list[object] = ["admin", {"admin": True}, [1], ["admin", None], True, 1]

WRONG_TYPES: list[Any] = [
    *[(claim, v) for claim in ("exp", "iat", "nbf", "auth_time") for v in NOT_A_NUMBER],
    *[(claim, v) for claim in ("sub", "sid") for v in (*NOT_A_STRING, "")],
    *[(claim, v) for claim in ("org_id", "role", "jti") for v in NOT_A_STRING],
    *[
        (claim, v)
        for claim in ("roles", "permissions", "entitlements", "feature_flags")
        for v in NOT_STRINGS
    ],
    *[("act", v) for v in ("admin@example.com", ["x"], 1, True)],
    ("nbf", None),
]


@pytest.mark.parametrize(("claim", "value"), WRONG_TYPES)
def test_claim_of_a_wrong_type_is_refused(
    verifier: TokenVerifier, signer: Signer, claim: str, value: object
) -> None:
    token = signer.sign(good_claims(**{claim: value}))

    with pytest.raises(InvalidClaim) as refusal:
        verifier.verify(token)

    assert refusal.value.claim == claim


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"exp": NOW + 0.5}, id="exp with a fraction"),
        pytest.param({"exp": 2**31 + 5}, id="exp after 2038"),
        pytest.param({"exp": 1e300}, id="exp far away"),
        pytest.param({"iat": NOW + DAY}, id="iat in the future"),
        pytest.param({"iat": -1}, id="iat before 1970"),
        pytest.param({"nbf": NOW}, id="nbf now"),
        pytest.param({"aud": "somebody"}, id="aud of somebody else"),
        pytest.param({"aud": ["a", 1]}, id="aud of a wrong type"),
        pytest.param({"iss": ...}, id="no iss"),
        pytest.param({"iss": 1}, id="iss a number"),
        pytest.param({"jti": ...}, id="no jti"),
        pytest.param({"client_id": "client_other"}, id="client_id of somebody else"),
        pytest.param({"roles": []}, id="empty list"),
        pytest.param(
            {
                "org_id": None,
                "role": None,
                "roles": None,
                "permissions": None,
                "entitlements": None,
                "feature_flags": None,
                "act": None,
                "auth_time": None,
            },
            id="null for what is absent",
        ),
        pytest.param({"x": {"deep": [1, None, {"y": "z"}]}}, id="claim of a template"),
    ],
)
def test_claim_that_is_odd_but_harmless_is_accepted(
    verifier: TokenVerifier, signer: Signer, changes: dict[str, Any]
) -> None:
    claims = good_claims(**changes)

    assert verifier.verify(signer.sign(claims)) == claims


ISSUERS = ("https://api.workos.com", "https://auth.example.com")


@pytest.mark.parametrize("issuer", ISSUERS)
def test_each_configured_issuer_is_accepted(
    key_set: KeySet, clock: Clock, signer: Signer, issuer: str
) -> None:
    verifier = TokenVerifier(key_set=key_set, clock=clock, issuers=ISSUERS)

    assert verifier.verify(signer.sign(good_claims(iss=issuer)))["iss"] == issuer


@pytest.mark.parametrize(
    "issuer",
    [
        pytest.param("https://api.workos.com/", id="trailing slash"),
        pytest.param("https://api.workos.co", id="prefix"),
        pytest.param("", id="empty"),
        pytest.param(None, id="null"),
        pytest.param(..., id="absent"),
        pytest.param(["https://api.workos.com"], id="list"),
    ],
)
def test_issuer_that_is_not_configured_is_refused(
    key_set: KeySet, clock: Clock, signer: Signer, issuer: object
) -> None:
    verifier = TokenVerifier(key_set=key_set, clock=clock, issuers=ISSUERS)
    token = signer.sign(good_claims(iss=issuer))

    with pytest.raises(InvalidClaim, match="WORKOS_ISSUER") as refusal:
        verifier.verify(token)

    assert refusal.value.claim == "iss"


def test_one_string_as_issuers_is_refused_at_once(key_set: KeySet) -> None:
    one_string: Any = "https://api.workos.com"

    with pytest.raises(TypeError):
        TokenVerifier(key_set=key_set, issuers=one_string)


@pytest.mark.parametrize("value", ["client_1", ...], ids=["equal", "absent"])
def test_own_client_id_or_none_is_accepted(
    key_set: KeySet, clock: Clock, signer: Signer, value: object
) -> None:
    verifier = TokenVerifier(key_set=key_set, clock=clock, client_id="client_1")

    assert verifier.verify(signer.sign(good_claims(client_id=value)))


@pytest.mark.parametrize("value", ["client_2", "", None, ["client_1"]])
def test_token_of_another_client_is_refused(
    key_set: KeySet, clock: Clock, signer: Signer, value: object
) -> None:
    verifier = TokenVerifier(key_set=key_set, clock=clock, client_id="client_1")
    token = signer.sign(good_claims(client_id=value))

    with pytest.raises(InvalidClaim) as refusal:
        verifier.verify(token)

    assert refusal.value.claim == "client_id"


def test_token_is_good_until_leeway_after_exp(
    verifier: TokenVerifier, signer: Signer
) -> None:
    claims = good_claims(exp=NOW - 4.5)

    assert verifier.verify(signer.sign(claims)) == claims


@pytest.mark.parametrize("exp", [NOW - 5, NOW - DAY, 0, -1, -1e300])
def test_expired_token_carries_its_claims(
    verifier: TokenVerifier, signer: Signer, exp: float
) -> None:
    claims = good_claims(exp=exp)
    token = signer.sign(claims)

    with pytest.raises(TokenExpired) as refusal:
        verifier.verify(token)

    assert refusal.value.claims == claims


def test_nbf_within_leeway_is_accepted(verifier: TokenVerifier, signer: Signer) -> None:
    assert verifier.verify(signer.sign(good_claims(nbf=NOW + 5)))


def test_nbf_beyond_leeway_is_refused(verifier: TokenVerifier, signer: Signer) -> None:
    token = signer.sign(good_claims(nbf=NOW + 5.5))

    with pytest.raises(TokenNotYetValid):
        verifier.verify(token)


def test_leeway_is_configurable(key_set: KeySet, clock: Clock, signer: Signer) -> None:
    verifier = TokenVerifier(key_set=key_set, clock=clock, leeway=0)
    token = signer.sign(good_claims(exp=NOW))

    with pytest.raises(TokenExpired):
        verifier.verify(token)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"iss": "https://evil.example"}, id="iss"),
        pytest.param({"client_id": "client_2"}, id="client_id"),
        pytest.param({"nbf": NOW + 60}, id="nbf"),
        pytest.param({"sid": ...}, id="sid"),
        pytest.param({"iat": "x"}, id="iat"),
        pytest.param({"roles": "admin"}, id="roles"),
    ],
)
def test_expired_token_that_is_bad_otherwise_is_not_called_expired(
    key_set: KeySet, clock: Clock, signer: Signer, changes: dict[str, Any]
) -> None:
    """A refresh would not make it good, it would be tried for ever."""
    verifier = TokenVerifier(
        key_set=key_set, clock=clock, issuers=ISSUERS, client_id="client_1"
    )
    token = signer.sign(good_claims(exp=NOW - 60, **changes))

    with pytest.raises((InvalidClaim, TokenNotYetValid)):
        verifier.verify(token)


def test_expired_token_with_wrong_signature_is_not_called_expired(
    verifier: TokenVerifier, other: Signer
) -> None:
    token = other.sign(good_claims(exp=NOW - 60), kid="key-1")

    with pytest.raises(InvalidToken) as refusal:
        verifier.verify(token)

    assert not isinstance(refusal.value, TokenExpired)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(
    exp=st.integers(int(NOW) - 20, int(NOW) + 20),
    nbf=st.integers(int(NOW) - 20, int(NOW) + 20),
    permissions=st.lists(st.text(max_size=12), max_size=4),
    extra=JSON_VALUES,
)
def test_verdict_on_random_tokens_is_that_of_pyjwt(
    signer: Signer, exp: int, nbf: int, permissions: list[str], extra: object
) -> None:
    """PyJWT's clock is the system's, so time is compared by moving the claims."""
    clock = Clock(math.floor(NOW))
    key_set = KeySet(lambda: document([signer.jwk()]), clock=clock)
    verifier = TokenVerifier(key_set=key_set, clock=clock)
    claims = good_claims(exp=exp, nbf=nbf, permissions=permissions, extra=extra)
    token = signer.sign(claims)

    expected = jwt.decode(
        token,
        signer.private.public_key(),
        algorithms=["RS256"],
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )

    if nbf > NOW + 5:
        with pytest.raises(TokenNotYetValid):
            verifier.verify(token)
    elif exp <= NOW - 5:
        with pytest.raises(TokenExpired):
            verifier.verify(token)
    else:
        assert verifier.verify(token) == expected == claims


def mutants(token: str, count: int) -> Iterator[str]:
    """Yield a token with characters changed, taken away or put in."""
    draw = random.Random(7)
    alphabet = string.ascii_letters + string.digits + "-_"
    odd = "+/=.~ \n\x00\xe9\ud800"
    start, end = token.index(".") + 1, token.rindex(".")
    # Where an encoding can differ without what it says: the ends of the parts.
    ends = [start - 2, end - 1, end + 1, len(token) - 1]
    for _ in range(count):
        changed = list(token)
        for _ in range(draw.choice((0, 1, 1, 1, 2, 5))):
            at = (
                draw.choice(ends)
                if draw.random() < 0.3
                else draw.randrange(start, 1500)
            )
            at = min(at, len(changed) - 1)
            character = draw.choice(odd if draw.random() < 0.3 else alphabet)
            match draw.randrange(4):
                case 0:
                    changed.insert(at, character)
                case 1:
                    del changed[at]
                case _:
                    changed[at] = character
        yield "".join(changed)


def test_known_header_makes_no_difference(signer: Signer) -> None:
    """Ten thousand tokens: who has seen the header says what PyJWT says in full."""
    clock = Clock(NOW)
    key_set = KeySet(lambda: document([signer.jwk()]), clock=clock)
    verifier = TokenVerifier(key_set=key_set, clock=clock)
    token = signer.sign(good_claims(permissions=["posts:view"]))
    verifier.verify(token)
    accepted = 0
    for mutant in mutants(token, 10_000):
        fresh = TokenVerifier(key_set=key_set, clock=clock)
        expected = verdict(fresh, mutant)
        assert verdict(verifier, mutant) == expected, ascii(mutant)
        accepted += isinstance(expected, dict)

    assert 1000 < accepted < 5000
    assert len(verifier._headers) == 1


def test_headers_that_are_known_are_bounded(signer: Signer) -> None:
    clock = Clock(NOW)
    key_set = KeySet(lambda: document([signer.jwk()]), clock=clock)
    verifier = TokenVerifier(key_set=key_set, clock=clock)
    for number in range(50):
        token = signer.sign(good_claims(), number=number)
        verifier.verify(token)
        assert token.partition(".")[0] in verifier._headers
        assert len(verifier._headers) <= 16


def verdict(verifier: TokenVerifier, token: str) -> dict[str, Any] | type[Exception]:
    try:
        return verifier.verify(token)
    except AuthKitError as error:
        return type(error)


@pytest.mark.parametrize("payload", [b"[]", b"1", b"not JSON", b"\xff", b"[" * 9_000])
def test_known_header_before_no_claims(signer: Signer, payload: bytes) -> None:
    clock = Clock(NOW)
    key_set = KeySet(lambda: document([signer.jwk()]), clock=clock)
    verifier = TokenVerifier(key_set=key_set, clock=clock)
    verifier.verify(signer.sign(good_claims()))
    token = signer.sign(payload)
    with pytest.raises(InvalidToken):
        verifier.verify(token)


def test_known_header_before_claims_that_are_not_written_as_base64url_is(
    signer: Signer,
) -> None:
    """The last character has bits that say nothing; several texts decode alike."""
    clock = Clock(NOW)
    key_set = KeySet(lambda: document([signer.jwk()]), clock=clock)
    verifier = TokenVerifier(key_set=key_set, clock=clock)
    tokens = [signer.sign(good_claims(sid="s" * length)) for length in (1, 2, 3)]
    verifier.verify(tokens[0])
    parts = [token.split(".") for token in tokens]
    [(header, payload)] = [each[:2] for each in parts if len(each[1]) % 4 == 2]
    alphabet = ascii_uppercase + ascii_lowercase + digits + "-_"
    other = payload[:-1] + alphabet[alphabet.index(payload[-1]) + 1]
    signed = f"{header}.{other}".encode()
    signature = b64(signer.private.sign(signed, padding.PKCS1v15(), hashes.SHA256()))

    assert base64.urlsafe_b64decode(f"{other}==") == base64.urlsafe_b64decode(
        f"{payload}=="
    )
    with pytest.raises(InvalidToken):
        verifier.verify(f"{header}.{other}.{signature}")


def test_token_of_a_withdrawn_key_is_not_accepted_for_its_header(
    signer: Signer, other: Signer
) -> None:
    keys = [signer.jwk()]
    clock = Clock(NOW)
    key_set = KeySet(lambda: document(keys), clock=clock)
    verifier = TokenVerifier(key_set=key_set, clock=clock)
    token = signer.sign(good_claims())
    verifier.verify(token)
    keys[:] = [other.jwk(kid="key-1")]
    key_set._fetch()
    with pytest.raises(InvalidToken, match="signature"):
        verifier.verify(token)


def test_nothing_is_fetched_before_the_first_key(
    key_set: KeySet, endpoint: Endpoint
) -> None:
    assert key_set.snapshot() is None
    assert endpoint.requests == 0


UNUSABLE_KEYS: list[Any] = [
    pytest.param(lambda s, w: s.jwk(use="enc"), id="use enc"),
    pytest.param(lambda s, w: s.jwk(alg="RS512"), id="alg RS512"),
    pytest.param(lambda s, w: s.jwk(alg="HS256"), id="alg HS256"),
    pytest.param(lambda s, w: s.jwk(kid=["key-1"]), id="kid a list"),
    pytest.param(lambda s, w: s.jwk(kty="EC"), id="kty EC"),
    pytest.param(lambda s, w: s.jwk(n=...), id="no modulus"),
    pytest.param(lambda s, w: s.jwk(n="!!!!"), id="modulus not base64"),
    pytest.param(lambda s, w: s.jwk(n=5), id="modulus a number"),
    pytest.param(lambda s, w: s.jwk(e="AA"), id="exponent zero"),
    pytest.param(lambda s, w: s.jwk(d="AQAB"), id="private member"),
    pytest.param(
        lambda s, w: {
            **jwt.algorithms.RSAAlgorithm.to_jwk(s.private, as_dict=True),
            "kid": "key-1",
        },
        id="whole private key",
    ),
    pytest.param(lambda s, w: w.jwk(kid="key-1"), id="1024 bits"),
    pytest.param(
        lambda s, w: {"kty": "oct", "k": "AAAA", "kid": "key-1"}, id="symmetric"
    ),
    pytest.param(lambda s, w: {"kty": "XYZ", "kid": "key-1"}, id="unknown kty"),
    pytest.param(lambda s, w: "key-1", id="not an object"),
    pytest.param(lambda s, w: None, id="null"),
]


@pytest.mark.parametrize("make", UNUSABLE_KEYS)
def test_unusable_key_is_passed_over_and_its_neighbour_works(
    make: Callable[[Signer, Signer], Any],
    endpoint: Endpoint,
    verifier: TokenVerifier,
    signer: Signer,
    other: Signer,
    weak: Signer,
) -> None:
    endpoint.keys = [make(signer, weak), other.jwk()]
    token = signer.sign(good_claims())
    verifier.verify(other.sign(good_claims()))

    with pytest.raises(UnknownKey):
        verifier.verify(token)


def test_weak_key_does_not_verify_what_it_signed(
    endpoint: Endpoint, verifier: TokenVerifier, other: Signer, weak: Signer
) -> None:
    endpoint.keys = [weak.jwk(), other.jwk()]
    token = weak.sign(good_claims())

    with pytest.raises(UnknownKey):
        verifier.verify(token)


@pytest.mark.parametrize("member", ["use", "alg", "x5c"])
def test_key_without_an_optional_member_is_used(
    endpoint: Endpoint, verifier: TokenVerifier, signer: Signer, member: str
) -> None:
    endpoint.keys = [signer.jwk(**{member: ...})]

    assert verifier.verify(signer.sign(good_claims()))


def test_kid_that_stands_twice_is_refused_and_the_set_stays(
    endpoint: Endpoint, verifier: TokenVerifier, signer: Signer, other: Signer
) -> None:
    third = Signer(other.private, "key-3")
    endpoint.keys = [signer.jwk(), other.jwk(kid="key-1"), third.jwk()]
    token = signer.sign(good_claims())

    with pytest.raises(InvalidToken, match="exactly one key"):
        verifier.verify(token)

    assert verifier.verify(third.sign(good_claims()))


def test_token_without_kid_needs_a_set_of_one_key(
    endpoint: Endpoint, clock: Clock, verifier: TokenVerifier, signer: Signer
) -> None:
    token = signer.sign(good_claims(exp=NOW + DAY), kid=...)
    assert verifier.verify(token)
    endpoint.keys = [signer.jwk(), signer.jwk(kid="key-2")]
    clock.advance(3601)

    with pytest.raises(InvalidToken, match="exactly one key"):
        verifier.verify(token)


@pytest.mark.parametrize(
    "kid",
    ["../../etc/passwd", "' OR 1=1 --", "key-1\n", "KEY-1", "", "k" * 256, "key-1\0"],
)
def test_kid_is_compared_exactly(
    verifier: TokenVerifier, signer: Signer, kid: str
) -> None:
    token = signer.sign(good_claims(), kid=kid)

    with pytest.raises(UnknownKey):
        verifier.verify(token)


BROKEN_DOCUMENTS = [
    pytest.param(b"", id="empty"),
    pytest.param(b"<html>502 Bad Gateway</html>", id="HTML"),
    pytest.param(b"\xff\xfe", id="not UTF-8"),
    pytest.param(b"[]", id="list"),
    pytest.param(b"null", id="null"),
    pytest.param(b"{}", id="no keys"),
    pytest.param(b'{"keys": {}}', id="keys an object"),
    pytest.param(b'{"keys": null}', id="keys null"),
    pytest.param(b'{"keys": []}', id="empty set"),
    pytest.param(b'{"keys": [{"kty": "oct", "k": "AAAA"}]}', id="nothing usable"),
    pytest.param(b"[" * 100_000, id="nested"),
    pytest.param(b'{"keys": ' + b"9" * 5000 + b"}", id="number of 5000 digits"),
]


@pytest.mark.parametrize("body", BROKEN_DOCUMENTS)
def test_broken_document_keeps_the_old_keys(
    key_set: KeySet, endpoint: Endpoint, clock: Clock, body: bytes
) -> None:
    held = key_set.find_key("key-1")
    endpoint.body = body
    clock.advance(3601)

    assert key_set.find_key("key-1") is held
    assert endpoint.requests == 2


@pytest.mark.parametrize("body", BROKEN_DOCUMENTS)
def test_broken_document_without_old_keys_is_no_verdict_on_the_token(
    key_set: KeySet, endpoint: Endpoint, body: bytes
) -> None:
    endpoint.body = body

    with pytest.raises(KeySetUnavailable):
        key_set.find_key("key-1")


@pytest.mark.parametrize(("size", "works"), [(MAX_DOCUMENT, 1), (MAX_DOCUMENT + 1, 0)])
def test_size_of_the_document_is_bounded(
    key_set: KeySet, endpoint: Endpoint, signer: Signer, size: int, works: int
) -> None:
    endpoint.body = document([signer.jwk()]).ljust(size)

    if works:
        assert key_set.find_key("key-1")
    else:
        with pytest.raises(KeySetUnavailable):
            key_set.find_key("key-1")


def test_keys_are_fetched_once_while_they_are_fresh(
    key_set: KeySet, endpoint: Endpoint, clock: Clock
) -> None:
    first = key_set.find_key("key-1")
    clock.advance(3599)

    assert key_set.find_key("key-1") is first
    assert endpoint.requests == 1


def test_keys_are_fetched_anew_after_ttl(
    key_set: KeySet, endpoint: Endpoint, clock: Clock
) -> None:
    key_set.find_key("key-1")
    clock.advance(3600)
    key_set.find_key("key-1")

    assert endpoint.requests == 2


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(unavailable(), id="unavailable"),
        pytest.param(ClientRejected("404", status_code=404), id="rejected"),
        pytest.param(KeySetUnavailable("no"), id="key set unavailable"),
    ],
)
def test_old_keys_serve_for_seven_days_of_outage(
    key_set: KeySet, endpoint: Endpoint, clock: Clock, error: Exception
) -> None:
    held = key_set.find_key("key-1")
    endpoint.error = error

    for _ in range(7 * 24 - 1):
        clock.advance(3600)
        assert key_set.find_key("key-1") is held
    clock.advance(3600)

    with pytest.raises(KeySetUnavailable):
        key_set.find_key("key-1")


def test_keys_come_back_after_the_outage(
    key_set: KeySet, endpoint: Endpoint, clock: Clock
) -> None:
    key_set.find_key("key-1")
    endpoint.error = unavailable()
    clock.advance(8 * DAY)
    with pytest.raises(KeySetUnavailable):
        key_set.find_key("key-1")
    endpoint.error = None
    clock.advance(5)

    assert key_set.find_key("key-1")


def test_first_fetch_that_failed_is_not_repeated_for_five_seconds(
    key_set: KeySet, endpoint: Endpoint, clock: Clock
) -> None:
    endpoint.error = unavailable()
    for _ in range(20):
        with pytest.raises(KeySetUnavailable) as refusal:
            key_set.find_key("key-1")
    clock.advance(4.9)
    with pytest.raises(KeySetUnavailable):
        key_set.find_key("key-1")
    before = endpoint.requests
    endpoint.error = None
    clock.advance(0.1)

    assert key_set.find_key("key-1")
    assert before == 1
    assert refusal.value.retry_after == 5


def test_failed_fetch_is_repeated_once_a_minute_while_old_keys_serve(
    key_set: KeySet, endpoint: Endpoint, clock: Clock
) -> None:
    key_set.find_key("key-1")
    endpoint.error = unavailable()
    clock.advance(3600)

    for _ in range(120):
        key_set.find_key("key-1")
        clock.advance(1)

    assert endpoint.requests == 3


def test_outage_is_logged_once_a_minute(
    key_set: KeySet,
    endpoint: Endpoint,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    endpoint.error = unavailable()

    with caplog.at_level(logging.WARNING, logger="wsgi_authkit.key_set"):
        for _ in range(12):
            with pytest.raises(KeySetUnavailable):
                key_set.find_key("key-1")
            clock.advance(10)

    assert endpoint.requests == 12
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def test_error_that_is_not_ours_passes_and_frees_the_next_fetch(
    key_set: KeySet, endpoint: Endpoint
) -> None:
    endpoint.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        key_set.find_key("key-1")
    endpoint.error = None

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(key_set.find_key, "key-1").result(5)


@pytest.mark.parametrize("jump", [-0.5, -60.0, -10 * 365 * DAY])
def test_clock_set_back_makes_the_keys_due_at_once(
    key_set: KeySet, endpoint: Endpoint, clock: Clock, jump: float
) -> None:
    key_set.find_key("key-1")
    clock.advance(jump)
    key_set.find_key("key-1")

    assert endpoint.requests == 2


@pytest.mark.parametrize("jump", [-0.5, -60.0, -10 * 365 * DAY])
def test_clock_set_back_in_an_outage_keeps_keys_but_not_for_ever(
    key_set: KeySet, endpoint: Endpoint, clock: Clock, jump: float
) -> None:
    key_set.find_key("key-1")
    endpoint.error = unavailable()
    clock.advance(jump)
    assert key_set.find_key("key-1")
    clock.advance(7 * DAY)

    with pytest.raises(KeySetUnavailable):
        key_set.find_key("key-1")


def test_clock_set_back_in_an_outage_leaves_the_keys_due(
    key_set: KeySet, endpoint: Endpoint, clock: Clock
) -> None:
    key_set.find_key("key-1")
    endpoint.error = unavailable()
    clock.advance(-DAY)
    key_set.find_key("key-1")
    clock.advance(60)
    key_set.find_key("key-1")

    assert endpoint.requests == 3


def test_clock_set_back_does_not_prolong_the_pause_after_a_failure(
    key_set: KeySet, endpoint: Endpoint, clock: Clock
) -> None:
    endpoint.error = unavailable()
    with pytest.raises(KeySetUnavailable):
        key_set.find_key("key-1")
    endpoint.error = None
    clock.advance(-365 * DAY)

    assert key_set.find_key("key-1")


def test_clock_set_back_does_not_prolong_the_cooldown(
    key_set: KeySet, endpoint: Endpoint, clock: Clock, other: Signer
) -> None:
    key_set.find_key("key-1")
    with pytest.raises(UnknownKey):
        key_set.find_key("nobody")
    clock.advance(-365 * DAY)
    key_set.find_key("key-1")
    endpoint.keys.append(other.jwk())

    assert key_set.find_key("key-2")


def test_rotation_is_found_by_one_fetch(
    verifier: TokenVerifier, endpoint: Endpoint, signer: Signer, other: Signer
) -> None:
    verifier.verify(signer.sign(good_claims()))
    endpoint.keys.append(other.jwk())

    for _ in range(5):
        assert verifier.verify(other.sign(good_claims()))

    assert endpoint.requests == 2


def test_first_fetch_answers_for_the_kid_it_was_made_for(
    key_set: KeySet, endpoint: Endpoint
) -> None:
    with pytest.raises(UnknownKey):
        key_set.find_key("nobody")

    assert endpoint.requests == 1


def test_absent_kid_is_asked_for_once_a_cooldown(
    key_set: KeySet, endpoint: Endpoint, clock: Clock
) -> None:
    key_set.find_key("key-1")
    for _ in range(120):
        with pytest.raises(UnknownKey):
            key_set.find_key("nobody")
        clock.advance(1)

    assert endpoint.requests == 3


def test_kid_that_could_not_be_asked_for_is_no_verdict(
    key_set: KeySet, clock: Clock
) -> None:
    key_set.find_key("key-1")
    with pytest.raises(UnknownKey):
        key_set.find_key("nobody")
    clock.advance(20)

    with pytest.raises(KeySetUnavailable) as refusal:
        key_set.find_key("key-2")

    assert refusal.value.retry_after == 40


def test_kid_that_appears_later_is_found_after_the_cooldown(
    key_set: KeySet, endpoint: Endpoint, clock: Clock, other: Signer
) -> None:
    """WorkOS may sign with a key before its key set shows it."""
    key_set.find_key("key-1")
    with pytest.raises(UnknownKey):
        key_set.find_key("key-2")
    endpoint.keys.append(other.jwk())
    clock.advance(60)

    assert key_set.find_key("key-2")


def test_flood_of_unknown_kids_fetches_once_a_minute_in_bounded_memory(
    key_set: KeySet, endpoint: Endpoint, clock: Clock
) -> None:
    key_set.find_key("key-1")
    for minute in range(1, 201):
        for index in range(5):
            with pytest.raises((UnknownKey, KeySetUnavailable)):
                key_set.find_key(f"flood-{minute}-{index}")
        clock.advance(60)
        key_set.find_key("key-1")
        hourly = minute // 60
        assert endpoint.requests <= 1 + minute + hourly

    assert len(key_set._absent) == 128


def test_thousand_kids_within_a_minute_cause_one_fetch(
    key_set: KeySet, endpoint: Endpoint
) -> None:
    key_set.find_key("key-1")
    for index in range(1000):
        with pytest.raises((UnknownKey, KeySetUnavailable)):
            key_set.find_key(f"flood-{index}")

    assert endpoint.requests == 2


def test_flood_in_an_outage_fetches_once_a_minute(
    key_set: KeySet, endpoint: Endpoint, clock: Clock
) -> None:
    key_set.find_key("key-1")
    endpoint.error = unavailable()
    for index in range(240):
        with pytest.raises(KeySetUnavailable):
            key_set.find_key(f"flood-{index}")
        clock.advance(0.25)

    assert endpoint.requests == 2


def test_unknown_kid_in_an_outage_is_no_verdict_and_keys_go_on_working(
    key_set: KeySet, endpoint: Endpoint
) -> None:
    held = key_set.find_key("key-1")
    endpoint.error = unavailable()
    with pytest.raises(KeySetUnavailable):
        key_set.find_key("nobody")

    assert key_set.find_key("key-1") is held


@pytest.fixture
def withdrawals(key_set: KeySet) -> list[str]:
    """What the key set tells of keys that are gone."""
    told: list[str] = []
    key_set._on_withdrawal = lambda: told.append("withdrawn")
    return told


def test_keys_that_are_added_withdraw_none(
    key_set: KeySet,
    withdrawals: list[str],
    endpoint: Endpoint,
    clock: Clock,
    other: Signer,
) -> None:
    key_set.find_key("key-1")
    endpoint.keys.insert(0, other.jwk())
    clock.advance(3600)
    key_set.find_key("key-2")

    assert withdrawals == []


@pytest.mark.parametrize("change", ["withdrawn", "replaced", "twice"])
def test_key_that_no_longer_verifies_is_told_of(
    key_set: KeySet,
    withdrawals: list[str],
    endpoint: Endpoint,
    clock: Clock,
    signer: Signer,
    other: Signer,
    change: str,
) -> None:
    key_set.find_key("key-1")
    endpoint.keys = {
        "withdrawn": [other.jwk()],
        "replaced": [other.jwk(kid="key-1"), other.jwk()],
        "twice": [signer.jwk(), other.jwk(kid="key-1"), other.jwk()],
    }[change]
    clock.advance(3600)
    key_set.find_key("key-2")

    assert withdrawals == ["withdrawn"]


def test_key_is_withdrawn_by_the_time_that_it_is_told_of(
    key_set: KeySet, endpoint: Endpoint, clock: Clock, other: Signer
) -> None:
    """Who drops what it has verified must not verify it once more with the old key."""
    seen: list[list[str | None]] = []

    def look() -> None:
        held = key_set._jwk_set
        assert held is not None
        seen.append([key.key_id for key in held.keys])

    key_set._on_withdrawal = look
    key_set.find_key("key-1")
    endpoint.keys = [other.jwk()]
    clock.advance(3600)
    key_set.find_key("key-2")

    assert seen == [["key-2"]]


def test_withdrawn_key_is_unknown(
    verifier: TokenVerifier,
    endpoint: Endpoint,
    clock: Clock,
    signer: Signer,
    other: Signer,
) -> None:
    token = signer.sign(good_claims(exp=NOW + DAY))
    verifier.verify(token)
    endpoint.keys = [other.jwk()]
    clock.advance(3600)

    with pytest.raises(UnknownKey):
        verifier.verify(token)


def test_snapshot_starts_another_process_in_an_outage(
    key_set: KeySet, endpoint: Endpoint, clock: Clock
) -> None:
    key_set.find_key("key-1")
    snapshot = key_set.snapshot()
    assert snapshot is not None
    assert snapshot == (document(endpoint.keys), NOW)
    clock.advance(7 * DAY - 1)
    endpoint.error = unavailable()
    newcomer = KeySet(endpoint, clock=clock)

    newcomer.load(*snapshot)

    assert newcomer.find_key("key-1")
    clock.advance(1)
    with pytest.raises(KeySetUnavailable):
        newcomer.find_key("key-1")


def test_fresh_document_that_was_loaded_saves_the_fetch(
    key_set: KeySet, endpoint: Endpoint, signer: Signer
) -> None:
    key_set.load(document([signer.jwk()]), NOW - 10)

    assert key_set.find_key("key-1")
    assert endpoint.requests == 0


def test_fetch_may_load_a_stored_document_before_it_fails(
    clock: Clock, signer: Signer
) -> None:
    def fetch() -> bytes:
        newcomer.load(document([signer.jwk()]), NOW - DAY)
        raise unavailable()

    newcomer = KeySet(fetch, clock=clock)

    assert newcomer.find_key("key-1")


def test_document_loaded_in_an_outage_does_not_make_a_kid_unknown(
    clock: Clock, signer: Signer
) -> None:
    def fetch() -> bytes:
        newcomer.load(document([signer.jwk()]), NOW - DAY)
        raise unavailable()

    newcomer = KeySet(fetch, clock=clock)

    with pytest.raises(KeySetUnavailable):
        newcomer.find_key("key-2")


def test_who_must_not_wait_gets_a_key_at_hand(
    key_set: KeySet, endpoint: Endpoint
) -> None:
    key_set.ensure_loaded()

    assert key_set.find_key("key-1", may_fetch=False)
    assert endpoint.requests == 1


@pytest.mark.parametrize("loaded", [True, False])
def test_who_must_not_wait_causes_no_fetch(
    key_set: KeySet, endpoint: Endpoint, *, loaded: bool
) -> None:
    if loaded:
        key_set.ensure_loaded()
    before = endpoint.requests
    with pytest.raises(KeySetUnavailable, match="at hand"):
        key_set.find_key("key-2", may_fetch=False)

    assert endpoint.requests == before


def test_older_document_is_not_loaded_over_a_newer_one(
    key_set: KeySet, other: Signer
) -> None:
    key_set.find_key("key-1")
    before = key_set.snapshot()
    key_set.load(document([other.jwk()]), NOW - 1)

    assert key_set.snapshot() == before


def test_document_that_cannot_be_used_is_not_loaded(key_set: KeySet) -> None:
    with pytest.raises(KeySetUnavailable):
        key_set.load(b'{"keys": []}', NOW)

    assert key_set.snapshot() is None


def test_loaded_document_from_the_future_is_not_immortal(
    key_set: KeySet, endpoint: Endpoint, clock: Clock, signer: Signer
) -> None:
    endpoint.error = unavailable()
    key_set.load(document([signer.jwk()]), NOW + 365 * DAY)
    assert key_set.find_key("key-1")
    clock.advance(7 * DAY)

    with pytest.raises(KeySetUnavailable):
        key_set.find_key("key-1")


class SlowEndpoint:
    """An endpoint that answers when the test opens the gate."""

    def __init__(self, keys: list[Jwk]) -> None:
        self.keys = keys
        self.requests = 0
        self.asked = threading.Event()
        self.gate = threading.Event()

    def __call__(self) -> bytes:
        self.requests += 1
        self.asked.set()
        assert self.gate.wait(30)
        return document(self.keys)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


@pytest.fixture
def slow(signer: Signer, pool: ThreadPoolExecutor) -> Iterator[SlowEndpoint]:
    """Depends on ``pool``, so that the gate opens before its threads are joined."""
    endpoint = SlowEndpoint([signer.jwk()])
    yield endpoint
    endpoint.gate.set()


def test_threads_that_start_together_share_one_fetch(
    signer: Signer, clock: Clock, pool: ThreadPoolExecutor
) -> None:
    requests = []
    start = threading.Barrier(8)
    second_request = threading.Event()

    def fetch() -> bytes:
        requests.append(1)
        if len(requests) > 1:
            second_request.set()
        # Long enough for a second thread to come, if it is let in.
        second_request.wait(0.2)
        return document([signer.jwk()])

    key_set = KeySet(fetch, clock=clock)

    def find() -> jwt.PyJWK:
        start.wait(10)
        return key_set.find_key("key-1")

    found = {id(task.result(10)) for task in [pool.submit(find) for _ in range(8)]}

    assert len(found) == 1
    assert len(requests) == 1


def test_thread_goes_on_with_the_old_keys_while_another_fetches(
    slow: SlowEndpoint, clock: Clock, pool: ThreadPoolExecutor
) -> None:
    key_set = KeySet(slow, clock=clock, wait=60)
    key_set.load(document(slow.keys), NOW - 3600)
    fetching = pool.submit(key_set.find_key, "key-1")
    assert slow.asked.wait(10)

    found = pool.submit(key_set.find_key, "key-1").result(10)

    assert found.key_id == "key-1"
    assert not fetching.done()
    assert slow.requests == 1


def test_wait_for_the_first_keys_is_bounded(
    slow: SlowEndpoint, clock: Clock, pool: ThreadPoolExecutor
) -> None:
    key_set = KeySet(slow, clock=clock, wait=0.01)
    fetching = pool.submit(key_set.find_key, "key-1")
    assert slow.asked.wait(10)

    with pytest.raises(KeySetUnavailable):
        key_set.find_key("key-1")

    slow.gate.set()
    assert fetching.result(10)


def test_thread_with_an_unknown_kid_waits_for_the_answer_of_another(
    slow: SlowEndpoint,
    clock: Clock,
    pool: ThreadPoolExecutor,
    signer: Signer,
    other: Signer,
) -> None:
    """Many requests bring the first token of a new key at once."""
    key_set = KeySet(slow, clock=clock)
    key_set.load(document([signer.jwk()]), NOW)
    slow.keys = [signer.jwk(), other.jwk()]
    tasks = [pool.submit(key_set.find_key, "key-2")]
    assert slow.asked.wait(10)
    tasks += [pool.submit(key_set.find_key, "key-2") for _ in range(7)]
    slow.gate.set()

    assert {task.result(10).key_id for task in tasks} == {"key-2"}
    assert slow.requests == 1


def test_wait_for_an_unknown_kid_is_bounded(
    slow: SlowEndpoint, clock: Clock, pool: ThreadPoolExecutor, signer: Signer
) -> None:
    key_set = KeySet(slow, clock=clock, wait=0.01)
    key_set.load(document([signer.jwk()]), NOW)
    fetching = pool.submit(key_set.find_key, "nobody")
    assert slow.asked.wait(10)

    with pytest.raises(KeySetUnavailable):
        key_set.find_key("somebody")

    slow.gate.set()
    with pytest.raises(UnknownKey):
        fetching.result(10)


def test_unverified_claims_are_read_from_an_expired_forged_token(
    other: Signer,
) -> None:
    claims = good_claims(exp=1, nbf=4_000_000_000, aud=["x"], sub=5)

    assert read_unverified_claims(other.sign(claims, kid="nobody")) == claims


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda t: "", id="empty"),
        pytest.param(lambda t: None, id="None"),
        pytest.param(lambda t: "a.b.c", id="not JSON"),
        pytest.param(lambda t: t + "==", id="padding"),
        pytest.param(lambda t: t.replace(".", ".W10.", 1), id="four parts"),
        pytest.param(lambda t: "\ud800" + t, id="lone surrogate"),
        pytest.param(lambda t: t + "A" * MAX_TOKEN, id="too long"),
    ],
)
def test_unverified_claims_of_no_token_are_refused(
    signer: Signer, spoil: Callable[[str], str]
) -> None:
    token = spoil(signer.sign(good_claims()))

    with pytest.raises(InvalidToken):
        read_unverified_claims(token)


@pytest.mark.parametrize(
    ("exp", "buffer", "expiring"),
    [
        pytest.param(NOW + 61, 60, False, id="before the buffer"),
        pytest.param(NOW + 60, 60, True, id="at the buffer"),
        pytest.param(NOW + 1, 0, False, id="no buffer, not expired"),
        pytest.param(NOW, 0, True, id="no buffer, expired"),
        pytest.param(NOW - DAY, 60, True, id="expired"),
        pytest.param("4102444800", 60, True, id="exp a string"),
        pytest.param(True, 60, True, id="exp a bool"),
        pytest.param(math.nan, 60, True, id="exp NaN"),
        pytest.param(..., 60, True, id="exp absent"),
    ],
)
def test_expiring_is_read_from_token_and_from_claims(
    other: Signer, exp: object, buffer: float, expiring: bool
) -> None:
    claims = good_claims(exp=exp)

    assert is_token_expiring(claims, buffer, now=NOW) is expiring
    assert is_token_expiring(other.sign(claims), buffer, now=NOW) is expiring


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_token_that_cannot_be_read_is_expiring(token: str) -> None:
    assert is_token_expiring(token, 60, now=NOW)


@pytest.mark.parametrize(
    ("lifetime", "configured", "buffer"),
    [
        pytest.param(3600, None, 60, id="default"),
        pytest.param(301, None, 60, id="more than 5 minutes"),
        pytest.param(300, None, 30, id="5 minutes"),
        pytest.param(60, None, 30, id="half of the life"),
        pytest.param(40, None, 20, id="shorter than the default"),
        pytest.param(3600, 120, 120, id="configured"),
        pytest.param(300, 120, 120, id="configured for a short life"),
        pytest.param(300, 600, 150, id="configured beyond half of the life"),
        pytest.param(3600, 0, 0, id="only after expiry"),
        pytest.param(0, None, 0, id="no life"),
        pytest.param(-100, None, 0, id="iat after exp"),
        pytest.param(-100, 60, 0, id="iat after exp, configured"),
    ],
)
def test_refresh_buffer_leaves_half_of_the_life(
    lifetime: float, configured: float | None, buffer: float
) -> None:
    claims = {"iat": NOW, "exp": NOW + lifetime}

    assert refresh_buffer(claims, configured) == buffer
