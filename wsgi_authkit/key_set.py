"""The keys that sign access tokens: one JSON Web Key Set (RFC 7517), kept fresh.

A :class:`KeySet` fetches the set when a key is needed and goes on with the old one
while fetching fails, so an outage signs nobody out. :exc:`KeySetUnavailable` says
nothing about a token at all; :exc:`UnknownKey` says that the set was asked and does not
hold its key.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import exceptions as pyjwt

from wsgi_authkit.errors import (
    APIError,
    AuthKitError,
    InvalidToken,
    KeySetUnavailable,
    UnknownKey,
)

log = logging.getLogger(__name__)

#: The signature algorithms that are accepted. A tuple, for PyJWT looks for
#: substrings when it is given a string.
ALGORITHMS: Final = ("RS256",)

#: Bytes that a key set document may have.
MAX_DOCUMENT: Final = 256 * 1024

_MIN_KEY_SIZE: Final = 2048
_MAX_ABSENT: Final = 128

# Seconds between two fetches while there is no key to work with.
_RETRY_AFTER: Final = 5.0
# Seconds between two log lines about the same outage.
_WARN_EVERY: Final = 60.0


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
