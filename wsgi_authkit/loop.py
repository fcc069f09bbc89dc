"""Breaking a loop of sign-ins, and only a loop.

A browser that does not keep the session cookie is sent to sign in, signs in without a
question because it is known at WorkOS, comes back, and is sent to sign in again. A
finished sign-in leaves a marker cookie for a minute; a sign-in that starts with the
marker and without a session cookie counts up in it, and the third is not started.
Starts without a marker never count, so who opens the sign-in page ten times sees it ten
times.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from wsgi_authkit.envelope import Envelope
from wsgi_authkit.errors import BadSeal

#: Name of the marker cookie.
MARKER_COOKIE: Final = "wos-auth-marker"
#: Seconds that a marker counts for.
MARKER_LIFETIME: Final = 60
#: Starts with the marker and without a session of which the last is refused.
MAX_STARTS: Final = 3

_PURPOSE: Final = "marker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What the last minute has seen of a browser."""

    #: Unix seconds.
    at: float
    #: A sign-in was finished; before that, no start counts.
    finished: bool = False
    #: Sign-ins started since one was finished, without a session coming back.
    starts: int = 0
    #: A callback without ``state`` was sent to sign in; it is not done twice.
    stateless: bool = False

    @property
    def is_loop(self) -> bool:
        """Whether the sign-in that was just counted must not be started."""
        return self.starts >= MAX_STARTS


def read_marker(envelope: Envelope, values: list[str], now: float) -> Marker | None:
    """Return the marker of a browser's marker cookies, ``None`` if there is none."""
    for value in values[:2]:
        try:
            fields = json.loads(envelope.open_text(value, purpose=_PURPOSE))
            marker = Marker(
                at=float(fields["at"]),
                finished=fields["finished"] is True,
                starts=int(fields["starts"]),
                stateless=fields["stateless"] is True,
            )
        except (BadSeal, ValueError, TypeError, KeyError):
            continue
        if 0 <= now - marker.at <= MARKER_LIFETIME:
            return marker
    return None


def dump_marker(envelope: Envelope, marker: Marker) -> str:
    """Return the value of a marker cookie."""
    fields = {
        "at": marker.at,
        "finished": marker.finished,
        "starts": marker.starts,
        "stateless": marker.stateless,
    }
    return envelope.seal_text(json.dumps(fields).encode(), purpose=_PURPOSE)
