"""WorkOS access tokens and their verification (RFC 7515, RFC 7519).

PyJWT decides which header a token may have; of one that it has accepted before, the
signature is verified here. So are the claims, because time comes from an injected clock
and apps decide by the types that WorkOS documents. The keys are those of a
:class:`~wsgi_authkit.key_set.KeySet`.

Only one verdict is a reason to refresh a session: :exc:`TokenExpired`, raised when
everything else about the token is good. :exc:`KeySetUnavailable` says nothing about
the token at all.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from jwt import exceptions as pyjwt

from wsgi_authkit import _base64url
from wsgi_authkit.errors import (
    AuthKitError,
    InvalidClaim,
    InvalidToken,
    KeySetUnavailable,
    TokenExpired,
    TokenNotYetValid,
)
from wsgi_authkit.key_set import ALGORITHMS, KeySet

#: Characters that a token may have.
MAX_TOKEN: Final = 16 * 1024

_MAX_KID: Final = 256
_MAX_HEADERS: Final = 16
_UNKNOWN: Final = object()

# Without the checks of claims, which are made here.
_JWS: Final = jwt.PyJWS(algorithms=ALGORITHMS)
# Claims are UTF-8 (RFC 7519 7.2), and nobody has to find out.
_JSON: Final = json.JSONDecoder()
# What RS256 is (RFC 7518 3.3).
_PADDING: Final = PKCS1v15()
_DIGEST: Final = SHA256()


# What the errors of PyJWT mean, each class by itself. These are about the token ...
_TOKEN_ERRORS: Final[Mapping[type[Exception], str]] = {
    pyjwt.InvalidTokenError: "The header of the access token is not allowed.",
    pyjwt.DecodeError: "The access token is not a JSON Web Token.",
    pyjwt.InvalidSignatureError: "The signature of the access token is wrong.",
    pyjwt.InvalidAlgorithmError: "The access token is not signed with RS256.",
}
# ... and these about the keys, whatever the token may be.
_KEY_ERRORS: Final[frozenset[type[Exception]]] = frozenset(
    {
        pyjwt.InvalidKeyError,
        pyjwt.MissingCryptographyError,
        pyjwt.PyJWKClientConnectionError,
        pyjwt.PyJWKClientError,
        pyjwt.PyJWKError,
        pyjwt.PyJWKSetError,
        pyjwt.PyJWTError,
    }
)


def _translate(error: Exception) -> AuthKitError:
    kind = type(error)
    if kind in _KEY_ERRORS:
        return KeySetUnavailable("A key of the key set cannot be used.")
    message = "The access token cannot be decoded."
    return InvalidToken(_TOKEN_ERRORS.get(kind, message))


def _decode(token: str, key: jwt.PyJWK) -> dict[str, Any]:
    """Return the claims of a token that this key has signed.

    ``Exception``, wherever PyJWT is called, because it has let others than its own
    escape from hostile tokens: ``OverflowError``, ``RecursionError``, ``TypeError``,
    ``UnicodeError``.
    """
    try:
        claims = _JSON.decode(_JWS.decode(token, key, ALGORITHMS).decode())
    except Exception as error:
        raise _translate(error) from error
    return _checked_object(claims)


def _decode_known(token: str, key: jwt.PyJWK) -> dict[str, Any]:
    """Return what :func:`_decode` does, for a token whose very header it has accepted.

    The header says how a token is to be read, and is the same; what is left is to check
    the signature and to read the claims (RFC 7515 5.2, steps 6 to 8). PyJWT loops over
    the characters of a token in Python, which takes longer than all of this.
    """
    signed, _, signature = token.rpartition(".")
    _, _, payload = signed.partition(".")
    try:
        key.key.verify(
            _base64url.decode_exactly(signature.encode()),
            signed.encode(),
            _PADDING,
            _DIGEST,
        )
        claims = _JSON.decode(_base64url.decode_exactly(payload.encode()).decode())
    except InvalidSignature:
        raise InvalidToken(_TOKEN_ERRORS[pyjwt.InvalidSignatureError]) from None
    except (ValueError, RecursionError) as error:
        raise InvalidToken(_TOKEN_ERRORS[pyjwt.DecodeError]) from error
    return _checked_object(claims)


def _checked_object(claims: Any) -> dict[str, Any]:
    if not isinstance(claims, dict):
        raise InvalidToken("The access token holds no claims (RFC 7519 7.2).")
    return claims


def _check_compact(token: str) -> None:
    if not isinstance(token, str) or len(token) > MAX_TOKEN:
        message = f"The access token is not a string of at most {MAX_TOKEN} characters."
        raise InvalidToken(message)
    if "=" in token:
        # PyJWT takes the padding of base64 as well.
        raise InvalidToken("The access token has padding, against RFC 7515 2.")


def _read_kid(token: str) -> str | None:
    """Return the ``kid`` of a token whose header is one that we accept."""
    try:
        # Only the header: decoding the rest twice would double the cost.
        header = jwt.get_unverified_header(token.partition(".")[0] + "..")
    except Exception as error:
        raise _translate(error) from error
    # Before any key is looked for, so that such tokens cannot cause a fetch.
    if header.get("alg") not in ALGORITHMS:
        raise InvalidToken("The access token is not signed with RS256.")
    if "crit" in header:
        # PyJWT knows the extension "b64" (RFC 7797), which RFC 7519 forbids in JWTs.
        raise InvalidToken("The access token has critical header parameters.")
    kid: str | None = header.get("kid")
    if kid is not None and len(kid) > _MAX_KID:
        raise InvalidToken(f'The "kid" is longer than {_MAX_KID} characters.')
    return kid


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _has_strings_only(value: list[object]) -> bool:
    return set(map(type, value)) <= {str}


class _Rule(NamedTuple):
    """What a claim may be."""

    #: Types, as JSON gives them.
    types: frozenset[type]
    expected: str
    #: What a value that is not null has to pass besides.
    check: Callable[[Any], bool] | None = None


_REQUIRED_CLAIMS: Final = ("exp", "iat", "sub", "sid")

_NULL: Final = type(None)
_NUMBER: Final = _Rule(frozenset({int, float}), "a finite number", _is_number)
_TEXT: Final = _Rule(frozenset({str}), "a string with content", bool)
# A JWT template of the customer can set most claims to anything. Apps decide by them,
# so a wrong type is refused here and not met in the app: `"admin" in roles` is true of
# the string "not-admin", too. Null is what a template makes of an absent value; it
# grants nothing.
_STRING: Final = _Rule(frozenset({str, _NULL}), "a string")
_STRINGS: Final = _Rule(
    frozenset({list, _NULL}), "a list of strings", _has_strings_only
)

_RULES: Final[Mapping[str, _Rule]] = {
    "exp": _NUMBER,
    "iat": _NUMBER,
    "nbf": _NUMBER,
    "sub": _TEXT,
    "sid": _TEXT,
    "jti": _Rule(frozenset({str}), "a string"),
    "auth_time": _NUMBER._replace(types=_NUMBER.types | {_NULL}),
    "org_id": _STRING,
    "role": _STRING,
    "roles": _STRINGS,
    "permissions": _STRINGS,
    "entitlements": _STRINGS,
    "feature_flags": _STRINGS,
    "act": _Rule(frozenset({dict, _NULL}), "an object"),
}


def _validate_types(claims: Mapping[str, Any]) -> None:
    for claim in _REQUIRED_CLAIMS:
        if claims.get(claim) is None:
            message = f'The claim "{claim}" of the access token is missing.'
            raise InvalidClaim(message, claim=claim)
    for claim, value in claims.items():
        rule = _RULES.get(claim)
        if rule is None:
            continue
        types, expected, check = rule
        if type(value) in types and (check is None or value is None or check(value)):
            continue
        message = f'The claim "{claim}" of the access token is not {expected}.'
        raise InvalidClaim(message, claim=claim)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVerifier:
    """Verifies access tokens of one WorkOS client."""

    #: The keys of the client.
    key_set: KeySet
    #: Returns the time in Unix seconds.
    clock: Callable[[], float] = time.time
    #: The accepted values of ``iss``; empty means that it is not checked. WorkOS uses
    #: several forms, and the key set already belongs to one client.
    issuers: tuple[str, ...] = ()
    #: The expected ``client_id``, compared when a token has that claim.
    client_id: str | None = None
    #: Seconds by which the clock may differ from WorkOS's, for ``exp`` and ``nbf``.
    leeway: float = 5
    # The `kid` of each header that PyJWT has read and accepted, by its text: the same
    # one stands in front of every token of a key.
    _headers: dict[str, Any] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        # A string would be searched for substrings, and "h" be an accepted issuer.
        if isinstance(self.issuers, str):
            raise TypeError("issuers has to be a tuple of strings, not one string")

    def verify(self, token: str, *, may_fetch: bool = True) -> dict[str, Any]:
        """Return the claims of a good access token.

        ``exp``, ``iat``, ``sub`` and ``sid`` are required. An ``iat`` in the future is
        accepted, since a clock that is behind is common; ``aud`` is not looked at. The
        claims that apps decide by have the types that WorkOS documents, or are null.

        :param may_fetch: ``False`` for who must not wait for keys that are not at hand.
        :raises TokenExpired: The time of a token that is otherwise good is over.
        :raises TokenNotYetValid: ``nbf`` lies in the future.
        :raises InvalidClaim: A claim is missing, of a wrong type or not as configured.
        :raises UnknownKey: The key set does not hold the token's key.
        :raises InvalidToken: The token is malformed, forged, or not signed with RS256.
        :raises KeySetUnavailable: There is no key to say anything about the token.
        """
        _check_compact(token)
        header = token.partition(".")[0]
        known = self._headers.get(header, _UNKNOWN)
        kid = _read_kid(token) if known is _UNKNOWN else known
        key = self.key_set.find_key(kid, may_fetch=may_fetch)
        claims = _decode(token, key) if known is _UNKNOWN else _decode_known(token, key)
        # Only of a token that was verified, so strangers can put nothing there.
        if known is _UNKNOWN:
            if len(self._headers) >= _MAX_HEADERS:
                self._headers.clear()
            self._headers[header] = kid
        _validate_types(claims)
        self._validate_origin(claims)
        self._validate_time(claims)
        return claims

    def _validate_origin(self, claims: Mapping[str, Any]) -> None:
        issuer = claims.get("iss")
        if self.issuers and issuer not in self.issuers:
            message = (
                f'The claim "iss" is {issuer!r} and the configured issuers are '
                f'{self.issuers!r}: correct the option "issuer" (WORKOS_ISSUER).'
            )
            raise InvalidClaim(message, claim="iss")
        client_id = claims.get("client_id", self.client_id)
        if self.client_id is not None and client_id != self.client_id:
            message = (
                f'The claim "client_id" is {client_id!r}, not {self.client_id!r}: the '
                "token was made for another client than WORKOS_CLIENT_ID."
            )
            raise InvalidClaim(message, claim="client_id")

    def _validate_time(self, claims: dict[str, Any]) -> None:
        now = self.clock()
        if "nbf" in claims and now + self.leeway < claims["nbf"]:
            raise TokenNotYetValid('The "nbf" of the access token lies in the future.')
        if now - self.leeway >= claims["exp"]:
            raise TokenExpired("The access token has expired.", claims=claims)


def read_unverified_claims(token: str) -> dict[str, Any]:
    """Return the claims of a token **without verifying anything**.

    Anybody can write such claims. Use it only on a token that comes out of our own
    sealed cookie, where the seal vouches for it: to sign out with a token that is
    expired or whose key is gone, for instance. Never decide by it what a person may do.

    :raises InvalidToken: The token is not a JSON Web Token.
    """
    _check_compact(token)
    try:
        return jwt.decode(token, options={"verify_signature": False})
    except Exception as error:
        raise _translate(error) from error


def is_token_expiring(
    token: str | Mapping[str, Any], buffer: float, *, now: float
) -> bool:
    """Tell whether a token expires within ``buffer`` seconds, or has expired.

    The signature is not verified. A token without a readable ``exp`` is expiring.

    :param token: An access token, or its claims.
    :param buffer: Seconds before ``exp`` from which on the answer is yes.
    :param now: The time in Unix seconds.
    """
    try:
        claims = read_unverified_claims(token) if isinstance(token, str) else token
    except InvalidToken:
        return True
    expires_at: Any = claims.get("exp")
    return not (_is_number(expires_at) and expires_at - buffer > now)


def refresh_buffer(claims: Mapping[str, Any], configured: float | None = None) -> float:
    """Return how many seconds before ``exp`` a token should be refreshed.

    Never more than half of the token's life: a buffer as long as the life would
    refresh on every request.

    :param claims: The claims of a verified token.
    :param configured: The wanted seconds; 0 refreshes after expiry only. ``None`` is
        60, or 30 for tokens that live 5 minutes or less.
    """
    lifetime: float = max(claims["exp"] - claims["iat"], 0)
    if configured is None:
        configured = 30 if lifetime <= 300 else 60
    return min(configured, lifetime / 2)
