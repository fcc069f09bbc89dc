"""API keys of the app's own customers: parsing, asking WorkOS, remembering briefly.

WorkOS keeps API keys for organizations and users of an app. Programs send one as a
Bearer token (RFC 6750), and WorkOS says whose it is and what it may do.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from wsgi_authkit.api import CALL_DEADLINE, WorkOSClient
from wsgi_authkit.authentication import text, texts
from wsgi_authkit.breaker import Breaker
from wsgi_authkit.errors import APIUnavailable, RateLimited
from wsgi_authkit.single_flight import SingleFlight
from wsgi_authkit.stores.memory import MemoryStore

#: Seconds that a valid key is believed without asking WorkOS again, and so lives on
#: after it was revoked.
VALID_LIFETIME: Final = 60.0
#: Seconds that an invalid key is refused without asking.
INVALID_LIFETIME: Final = 10.0
#: Keys of each kind that a process remembers.
MAX_REMEMBERED: Final = 1024
#: Characters of the longest key that WorkOS is asked about.
MAX_KEY: Final = 1024

# RFC 9110 11.2: what follows a scheme that takes no parameters.
_TOKEN68: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)
# RFC 9110 11.4 and RFC 6750 2.1: the scheme in any case, and exactly one token68.
_BEARER: Final = re.compile(
    rf"bearer +(?P<token>{_TOKEN68.pattern})", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class APIKeyOwner:
    """Whose an API key is: an organization's, or a user's within an organization."""

    #: ``"organization"`` or ``"user"``.
    type: str
    #: The organization's or the user's id.
    id: str
    #: The organization that the key acts in.
    organization_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class APIKey:
    """An API key that WorkOS says is valid. The key itself is not kept."""

    id: str
    #: What its owner calls it.
    name: str = field(repr=False)
    owner: APIKeyOwner
    #: Slugs of what it may do; there are no wildcards.
    permissions: tuple[str, ...] = field(default=(), repr=False)
    #: Its first and last characters, for lists.
    obfuscated_value: str | None = field(default=None, repr=False)
    #: Set where the key belongs to an agent's registration.
    agent_registration_id: str | None = None
    #: ISO 8601, as WorkOS sends it; the same for the three below.
    created_at: str | None = None
    updated_at: str | None = None
    last_used_at: str | None = None
    expires_at: str | None = None

    @property
    def organization_id(self) -> str | None:
        """The organization that the key acts in."""
        return self.owner.organization_id

    def has_permission(self, permission: str) -> bool:
        """Say whether the key has this permission."""
        return permission in self.permissions


def parse_bearer(authorization: str) -> str | None:
    """Return the Bearer token of an ``Authorization`` header, ``None`` without one.

    Anything but the scheme, spaces and one token is no Bearer token: two of them, a
    parameter, a comma, a quote.
    """
    match = _BEARER.fullmatch(authorization)
    return match["token"] if match else None


def parse_api_key(value: object) -> APIKey | None:
    """Return the API key of WorkOS's answer, ``None`` for an invalid one.

    :raises APIUnavailable: The answer says neither.
    """
    body = value if isinstance(value, Mapping) else {}
    found = body.get("api_key", {})
    if found is None:
        return None
    key = found if isinstance(found, Mapping) else {}
    owner = _parse_owner(key.get("owner"))
    key_id = text(key, "id")
    if not key_id or owner is None:
        raise APIUnavailable(
            "WorkOS's answer does not say whether the API key is valid",
            request_sent=True,
            status_code=200,
            error="api_key_missing",
        )
    return APIKey(
        id=key_id,
        name=text(key, "name") or "",
        owner=owner,
        permissions=texts(key.get("permissions")),
        obfuscated_value=text(key, "obfuscated_value"),
        agent_registration_id=text(body, "agent_registration_id"),
        created_at=text(key, "created_at"),
        updated_at=text(key, "updated_at"),
        last_used_at=text(key, "last_used_at"),
        expires_at=text(key, "expires_at"),
    )


def _parse_owner(value: object) -> APIKeyOwner | None:
    owner = value if isinstance(value, Mapping) else {}
    kind, owner_id = text(owner, "type"), text(owner, "id")
    if not kind or not owner_id:
        return None
    is_organization = kind == "organization"
    return APIKeyOwner(
        type=kind,
        id=owner_id,
        organization_id=(
            owner_id if is_organization else text(owner, "organization_id") or None
        ),
    )


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What WorkOS said of a key."""

    #: ``None`` for an invalid one.
    key: APIKey | None


class APIKeyValidator:
    """Asks WorkOS about API keys and remembers the answers. One for each process.

    Anybody can send made-up keys, and none of what they cause may take a good key down.
    Keys are remembered by their hash; valid and invalid ones have rooms of their own,
    so that made-up keys do not drive out the good ones. Threads with the same new key
    share one call. A refusal, which a flood of keys or an odd one can bring about, is
    passed on to who got it and opens no circuit.

    :param clock: The time, in Unix seconds, for the expiry of keys.
    :param monotonic: The clock of the memory, in seconds.
    """

    def __init__(
        self,
        api: WorkOSClient,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._clock = clock
        self._breaker = Breaker(monotonic, is_failure=_is_outage)
        self._questions = SingleFlight[_Verdict](CALL_DEADLINE)
        self._valid = MemoryStore(monotonic, MAX_REMEMBERED)
        self._invalid = MemoryStore(monotonic, MAX_REMEMBERED)

    def validate(self, value: str) -> APIKey | None:
        """Return the key of a value, see ``AuthKitService.validate_api_key``.

        :raises APIUnavailable: WorkOS cannot be asked.
        :raises ClientRejected: WorkOS refused the app's own API key.
        """
        # Nothing else fits into a Bearer header, so WorkOS makes no such key.
        if not value or len(value) > MAX_KEY or not _TOKEN68.fullmatch(value):
            return None
        name = hashlib.sha256(value.encode("ascii")).hexdigest()
        verdict = self._recall(name) or self._questions.ask(
            name, lambda: self._recall(name) or self._ask(name, value)
        )
        return verdict.key

    def _recall(self, name: str) -> _Verdict | None:
        remembered = self._valid.get(name)
        if remembered is not None:
            return _Verdict(parse_api_key(json.loads(remembered)))
        return None if self._invalid.get(name) is None else _Verdict(None)

    def _ask(self, name: str, value: str) -> _Verdict:
        with self._breaker.guard():
            answer = self._api.post("/api_keys/validations", json={"value": value})
            key = parse_api_key(answer)
        if key is None:
            self._invalid.set(name, b"", INVALID_LIFETIME)
        else:
            self._remember(name, key, answer)
        return _Verdict(key)

    def _remember(self, name: str, key: APIKey, answer: Any) -> None:
        lifetime = min(VALID_LIFETIME, _seconds_left(key.expires_at, self._clock()))
        if lifetime > 0:
            self._valid.set(name, json.dumps(answer).encode(), lifetime)


def _is_outage(error: APIUnavailable) -> bool:
    """Say whether an error is more than the refusal of one value.

    WorkOS answers 429 to too many of them, and a firewall before it may refuse one that
    looks like an attack.
    """
    status = error.status_code or 0
    return not (isinstance(error, RateLimited) or 400 <= status < 500)


def _seconds_left(expires_at: str | None, now: float) -> float:
    """Return for how long a key is valid; nothing where its expiry is unreadable."""
    if expires_at is None:
        return VALID_LIFETIME
    try:
        expiry = datetime.fromisoformat(expires_at)
    except (ValueError, OverflowError):
        return 0.0
    # Without an offset it would be taken for this host's local time.
    return expiry.timestamp() - now if expiry.tzinfo else 0.0
