"""WorkOS access tokens: the keys that sign them, and their verification.

A :class:`KeySet` holds the JSON Web Key Set of one client (RFC 7517) and a
:class:`TokenVerifier` checks access tokens with it (RFC 7515, RFC 7519). PyJWT
decides which header a token may have; of one that it has accepted before, the signature
is verified here. So are the claims, because time comes from an injected clock and apps
decide by the types that WorkOS documents.

Only one verdict is a reason to refresh a session: :exc:`TokenExpired`, raised when
everything else about the token is good. :exc:`KeySetUnavailable` says nothing about
the token at all.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Protocol

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from jwt import exceptions as pyjwt

from wsgi_authkit import _base64url
from wsgi_authkit.errors import (
    APIError,
    AuthKitError,
    InvalidClaim,
    InvalidToken,
    KeySetUnavailable,
    TokenExpired,
    TokenNotYetValid,
    UnknownKey,
)

log = logging.getLogger(__name__)

#: The signature algorithms that are accepted. A tuple, for PyJWT looks for
#: substrings when it is given a string.
ALGORITHMS: Final = ("RS256",)

#: Bytes that a key set document may have.
MAX_DOCUMENT: Final = 256 * 1024
#: Characters that a token may have.
MAX_TOKEN: Final = 16 * 1024

_MAX_KID: Final = 256
_MAX_HEADERS: Final = 16
_UNKNOWN: Final = object()
_MIN_KEY_SIZE: Final = 2048
_MAX_ABSENT: Final = 128

# Seconds between two fetches while there is no key to work with.
_RETRY_AFTER: Final = 5.0
# Seconds between two log lines about the same outage.
_WARN_EVERY: Final = 60.0

# Without the checks of claims, which are made here.
_JWS: Final = jwt.PyJWS(algorithms=ALGORITHMS)
# What RS256 is (RFC 7518 3.3).
_PADDING: Final = PKCS1v15()
_DIGEST: Final = SHA256()


@dataclass(frozen=True, slots=True)
class _JWKSet:
    """The usable keys of one document, never none."""

    keys: tuple[jwt.PyJWK, ...]
    document: bytes
    fetched_at: float

    def matching(self, kid: str | None) -> list[jwt.PyJWK]:
        """Return the keys that a token with this ``kid`` may be signed with."""
        return [key for key in self.keys if kid in (None, key.key_id)]


def _parse_document(document: bytes, fetched_at: float) -> _JWKSet:
    if len(document) > MAX_DOCUMENT:
        message = f"The key set is longer than {MAX_DOCUMENT} bytes."
        raise KeySetUnavailable(message, retry_after=_RETRY_AFTER)
    try:
        jwk_set = json.loads(document)
    except (ValueError, RecursionError):
        jwk_set = None
    jwks = jwk_set.get("keys") if isinstance(jwk_set, dict) else None
    keys = [_parse_key(jwk) for jwk in jwks] if isinstance(jwks, list) else []
    usable = tuple(key for key in keys if key is not None)
    if not usable:
        message = "The key set is not a JWK Set with an RSA signature key."
        raise KeySetUnavailable(message, retry_after=_RETRY_AFTER)
    return _JWKSet(usable, document, fetched_at)


def _parse_key(jwk: object) -> jwt.PyJWK | None:
    """Return the key, or ``None`` for one that must not verify access tokens.

    Such keys are passed over, for RFC 7517 5 lets a set hold keys of any kind.
    """
    if not isinstance(jwk, dict) or not _is_for_rs256(jwk):
        return None
    try:
        key = jwt.PyJWK(jwk, algorithm=ALGORITHMS[0])
    except pyjwt.PyJWTError:
        return None
    # Not a private key either: one that is published signs for everybody.
    if not isinstance(key.key, RSAPublicKey) or key.key.key_size < _MIN_KEY_SIZE:
        return None
    return key


def _is_for_rs256(jwk: Mapping[str, object]) -> bool:
    return (
        jwk.get("use", "sig") == "sig"
        and jwk.get("alg", ALGORITHMS[0]) in ALGORITHMS
        and isinstance(jwk.get("kid", ""), str)
    )


def _drops_key(old: _JWKSet, new: _JWKSet) -> bool:
    """Tell whether a key that ``old`` verified tokens with is withdrawn or replaced."""
    return any(
        [key.key for key in old.matching(kid)] != [key.key for key in new.matching(kid)]
        for kid in {key.key_id for key in old.keys}
    )


def _passed(seconds: float, since: float, now: float) -> bool:
    """Tell whether ``seconds`` have passed.

    A clock that was set back counts as passed: nobody knows how long it really was,
    and waiting for it to catch up could take years.
    """
    return not 0 <= now - since < seconds


class KeyArchive(Protocol):
    """Where key sets outlive the process that fetched them."""

    def save(self, document: bytes, fetched_at: float) -> None:
        """Keep a document that was fetched at this time, in Unix seconds."""

    def load(self) -> tuple[bytes, float] | None:
        """Return the document kept last, and when it was fetched."""


class KeySet:
    """The keys of one WorkOS client, fetched when they are needed.

    Nothing is fetched before the first key is asked for. Keys older than ``ttl`` are
    fetched anew by one thread, while the others go on with the old ones. When that
    fails, the old keys serve until they are ``max_age`` old, so an outage of WorkOS
    signs nobody out. A key that the set does not hold has it fetched at once, so that
    a rotation is seen, but once in ``cooldown`` only: the ``kid`` of a token is
    chosen by whoever sends it.

    The object belongs to one process; make it after a fork.

    :param fetch: Returns the body of the JWK Set document. It may raise any
        :exc:`APIError`, has to end in bounded time and has to bound the body's
        size.
    :param archive: Gets every good document, and is asked for one when there is none
        and when fetching fails: a worker that starts, also during an outage, verifies
        with the keys of the others.
    :param on_withdrawal: Called when a key is withdrawn or replaced: what it has
        verified, and a cache keeps, is good no more.
    :param clock: Returns the time in Unix seconds.
    :param ttl: Seconds after which the keys are fetched anew.
    :param max_age: Seconds for which keys are used while fetching fails.
    :param cooldown: Seconds between two fetches for unknown keys, and between two
        attempts while fetching fails and the old keys serve.
    :param wait: Seconds for which a thread without a key waits for the thread that
        is fetching.
    """

    def __init__(
        self,
        fetch: Callable[[], bytes],
        *,
        archive: KeyArchive | None = None,
        on_withdrawal: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.time,
        ttl: float = 3600,
        max_age: float = 7 * 86400,
        cooldown: float = 60,
        wait: float = 8,
    ) -> None:
        self._fetch_document = fetch
        self._archive = archive
        self._on_withdrawal = on_withdrawal
        self._clock = clock
        self._ttl = ttl
        self._max_age = max_age
        self._fresh = min(ttl, max_age)
        self._cooldown = cooldown
        self._wait = wait
        # Held while fetching. Reentrant, for `load` takes it too.
        self._flight = threading.RLock()
        self._jwk_set: _JWKSet | None = None
        self._fetches = 0
        self._failed_at = self._forced_at = self._warned_at = -math.inf
        self._absent: dict[str | None, None] = {}

    def find_key(self, kid: str | None, *, may_fetch: bool = True) -> jwt.PyJWK:
        """Return the key with this ``kid``; fetch the set when that is needed.

        :param kid: The ``kid`` of the token's header, ``None`` when it has none; then
            the set must hold exactly one key.
        :param may_fetch: ``False`` for who must not wait: only keys at hand are used.
        :raises UnknownKey: The set was asked for and does not hold the key.
        :raises InvalidToken: The ``kid`` does not name exactly one key.
        :raises KeySetUnavailable: There are no keys, or it is too early to ask for
            this one.
        """
        fetches = self._fetches
        if may_fetch:
            keys = self._current_set().matching(kid) or self._ask_for(kid, fetches)
        else:
            keys = self._held_keys(kid)
        if not keys:
            raise UnknownKey("The key set does not hold the key of the access token.")
        if len(keys) > 1:
            message = "The access token does not name exactly one key of the key set."
            raise InvalidToken(message)
        return keys[0]

    def _held_keys(self, kid: str | None) -> list[jwt.PyJWK]:
        jwk_set = self._usable_set()
        keys = [] if jwk_set is None else jwk_set.matching(kid)
        if not keys:
            message = "The key of the access token is not at hand."
            raise KeySetUnavailable(message, retry_after=_RETRY_AFTER)
        return keys

    def ensure_loaded(self) -> None:
        """Fetch the keys unless there are some.

        :raises KeySetUnavailable: There are none to be had.
        """
        self._current_set()

    def load(self, document: bytes, fetched_at: float) -> None:
        """Take over a document that was fetched earlier, unless a newer one is held.

        :param document: The first part of a :meth:`snapshot`.
        :param fetched_at: The second: when it was fetched, in Unix seconds.
        :raises KeySetUnavailable: The document holds no usable key.
        """
        with self._flight:
            held = self._jwk_set
            # A host whose clock is ahead may have fetched it; nothing is from later.
            fetched_at = min(fetched_at, self._clock())
            if held is None or held.fetched_at < fetched_at:
                self._install(_parse_document(document, fetched_at))

    def snapshot(self) -> tuple[bytes, float] | None:
        """Return the document in use and when it was fetched, for :meth:`load`."""
        jwk_set = self._jwk_set
        return None if jwk_set is None else (jwk_set.document, jwk_set.fetched_at)

    def _current_set(self) -> _JWKSet:
        jwk_set = self._jwk_set
        if jwk_set and 0 <= self._clock() - jwk_set.fetched_at < self._fresh:
            return jwk_set
        if self._is_due():
            self._refresh()
        jwk_set = self._usable_set()
        if jwk_set is None:
            message = "There are no keys to verify access tokens with."
            raise KeySetUnavailable(message, retry_after=_RETRY_AFTER)
        return jwk_set

    def _usable_set(self) -> _JWKSet | None:
        jwk_set = self._jwk_set
        if jwk_set and self._clock() - jwk_set.fetched_at < self._max_age:
            return jwk_set
        return None

    def _is_due(self) -> bool:
        jwk_set, now = self._usable_set(), self._clock()
        if jwk_set and not _passed(self._ttl, jwk_set.fetched_at, now):
            return False
        # With good keys there is no hurry, and an endpoint that hangs must not hold
        # up a request every few seconds.
        pause = self._cooldown if jwk_set else _RETRY_AFTER
        return _passed(pause, self._failed_at, now)

    def _refresh(self) -> None:
        wait = 0 if self._usable_set() else self._wait
        if not self._flight.acquire(timeout=wait):
            return
        try:
            if self._usable_set() is None:
                # What others have fetched is there at once, also in an outage.
                self._restore()
            if self._is_due():  # not when the thread waited for has fetched
                self._fetch()
        finally:
            self._flight.release()

    def _ask_for(self, kid: str | None, fetches: int) -> list[jwt.PyJWK]:
        """Look for an unknown key in a set that is newer than the question.

        :param fetches: How many fetches there had been when the key was asked for.
        """
        if not self._flight.acquire(timeout=self._wait):
            message = "The key set is still being fetched."
            raise KeySetUnavailable(message, retry_after=_RETRY_AFTER)
        try:
            if self._fetches == fetches:
                self._force_fetch(kid)
            keys = self._current_set().matching(kid)
            if not keys:
                self._remember_absent(kid)
            return keys
        finally:
            self._flight.release()

    def _force_fetch(self, kid: str | None) -> None:
        now = self._clock()
        if not _passed(self._cooldown, self._forced_at, now):
            if kid in self._absent:
                return
            # The key may be new: "unknown" would sign its owner out.
            message = "The key of the access token cannot be looked for so soon again."
            remaining = self._forced_at + self._cooldown - now
            raise KeySetUnavailable(message, retry_after=remaining)
        self._forced_at = now
        if not self._fetch():
            message = "The key of the access token could not be looked for."
            raise KeySetUnavailable(message, retry_after=self._cooldown)

    def _remember_absent(self, kid: str | None) -> None:
        self._absent[kid] = None
        if len(self._absent) > _MAX_ABSENT:
            del self._absent[next(iter(self._absent))]

    def _fetch(self) -> bool:
        """Fetch the set; return whether that succeeded."""
        now = self._clock()
        try:
            document = self._fetch_document()
            self._install(_parse_document(document, now))
        except (APIError, KeySetUnavailable) as error:
            self._note_failure(error, now)
            self._restore()
            return False
        self._fetches += 1
        if self._archive is not None:
            self._archive.save(document, now)
        return True

    def _restore(self) -> None:
        """Take over the archived document if it is newer than the one in use."""
        kept = None if self._archive is None else self._archive.load()
        if kept is not None:
            with suppress(KeySetUnavailable):
                self.load(*kept)

    def _install(self, new: _JWKSet) -> None:
        old, self._jwk_set = self._jwk_set, new
        # After the assignment: what is verified from here on has the new keys.
        if old and _drops_key(old, new):
            self._on_withdrawal()

    def _note_failure(self, error: AuthKitError, now: float) -> None:
        self._failed_at = now
        if self._jwk_set and self._jwk_set.fetched_at > now:
            # The clock was set back. Until it caught up the keys would not age.
            self._jwk_set = replace(self._jwk_set, fetched_at=now - self._ttl)
        if _passed(_WARN_EVERY, self._warned_at, now):
            self._warned_at = now
            log.warning("The key set could not be fetched: %s", error)


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
        claims = json.loads(_JWS.decode(token, key, ALGORITHMS))
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
        claims = json.loads(_base64url.decode_exactly(payload.encode()))
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
