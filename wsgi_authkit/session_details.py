"""What WorkOS knows about a session and its access token does not say.

When the session ends, and what its organization is called. Asked for only where a page
wants to know; the answers are kept where all processes find them. Always about a
verified session: the API key could read those of anybody (GHSA-ph3g-6p57-jfm5).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from wsgi_authkit._logs import OnceAMinute
from wsgi_authkit.api import CALL_DEADLINE, WorkOSClient
from wsgi_authkit.breaker import Breaker
from wsgi_authkit.errors import APIError
from wsgi_authkit.session import Session
from wsgi_authkit.single_flight import SingleFlight
from wsgi_authkit.stores.ledger import Ledger

log = logging.getLogger(__name__)

#: Seconds for which an answer is kept: an end does not move, a name may change, and
#: what WorkOS could not say it may be able to say soon.
END_LIFETIME: Final = 24 * 3600.0
NAME_LIFETIME: Final = 300.0
UNKNOWN_LIFETIME: Final = 60.0

# Sessions of one user that are looked through, newest first, 100 at a time; and the
# seconds after which no further page is asked for.
_PAGES: Final = 3
_PATIENCE: Final = 4.0
#: Seconds that finding out can take.
LONGEST: Final = _PATIENCE + CALL_DEADLINE


@dataclass(frozen=True, slots=True)
class Organization:
    """The organization that somebody is signed in to."""

    id: str
    name: str = field(repr=False)

    def to_dict(self) -> dict[str, str]:
        """Return it ready for JSON."""
        return {"id": self.id, "name": self.name}


class SessionDetails:
    """Asks WorkOS, once for all who want to know. One object for each process."""

    def __init__(
        self,
        api: WorkOSClient,
        ledger: Ledger,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._ledger = ledger
        self._monotonic = monotonic
        # Its own: that a name cannot be had keeps nobody from being signed in.
        self._breaker = Breaker(monotonic)
        self._questions = SingleFlight[dict[str, Any]](LONGEST)
        self._time_to_log = OnceAMinute()

    def expires_at(self, session: Session) -> float | None:
        """Return when WorkOS ends a session, in Unix seconds; ``None`` if unknown."""
        answer = self._ask(
            "session_end",
            session.session_id,
            lambda: self._find_end(session),
            END_LIFETIME,
        )
        return answer.get("at")

    def organization(self, session: Session) -> Organization | None:
        """Return a session's organization, ``None`` without one or if unknown."""
        organization_id = session.organization_id
        if organization_id is None:
            return None
        answer = self._ask(
            "organization_name",
            organization_id,
            lambda: self._find_name(organization_id),
            NAME_LIFETIME,
        )
        name = answer.get("name")
        return None if name is None else Organization(organization_id, name)

    def _ask(
        self,
        kind: str,
        identifier: str,
        find: Callable[[], dict[str, Any]],
        lifetime: float,
    ) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            known = self._ledger.get(kind, identifier)
            if known is not None:
                return known
            try:
                with self._breaker.guard():
                    found = find()
            except APIError as error:
                if self._time_to_log:
                    log.warning("WorkOS cannot be asked (%s): %s", kind, error)
                found = {}
            kept_for = lifetime if found else UNKNOWN_LIFETIME
            self._ledger.set(kind, identifier, found, kept_for, late=False)
            return found

        try:
            return self._questions.ask(f"{kind} {identifier}", ask)
        except APIError:
            # Somebody else's call takes too long; its answer is for the next.
            return {}

    def _find_end(self, session: Session) -> dict[str, Any]:
        path = f"/user_management/users/{quote(session.user.id, safe='')}/sessions"
        params = {"limit": "100", "order": "desc"}
        started = self._monotonic()
        for _ in range(_PAGES):
            answer = _mapping(self._api.get(path, params=params))
            for entry in _list(answer.get("data")):
                if _mapping(entry).get("id") == session.session_id:
                    at = _unix_seconds(entry.get("expires_at"))
                    return {} if at is None else {"at": at}
            after = _mapping(answer.get("list_metadata")).get("after")
            if not isinstance(after, str) or self._monotonic() - started > _PATIENCE:
                break
            params["after"] = after
        return {}

    def _find_name(self, organization_id: str) -> dict[str, Any]:
        path = f"/organizations/{quote(organization_id, safe='')}"
        answer = _mapping(self._api.get(path))
        name = answer.get("name")
        known = answer.get("id") == organization_id and isinstance(name, str)
        return {"name": name} if known else {}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _unix_seconds(value: object) -> float | None:
    try:
        instant = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    # Without an offset it would be taken for this host's local time.
    return instant.timestamp() if instant.tzinfo else None
