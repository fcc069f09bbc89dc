"""A record of what the fake was asked, without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from wsgi_authkit.testing._http import Request

_SECRET_FIELDS: Final = frozenset(
    (
        "claim_token",
        "client_secret",
        "code",
        "code_verifier",
        "password",
        "pending_authentication_token",
        "refresh_token",
        "state",
        "value",
    )
)
_SECRET_HEADERS: Final = frozenset(("authorization", "cookie"))
_REDACTED: Final = "[redacted]"

#: Words for :meth:`FakeWorkOS.count` that stand for a grant.
GRANT_WORDS: Final = {"refresh": "refresh_token", "exchange": "authorization_code"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to the fake.

    Attempts that a fault kept from arriving are calls, too: the app made them.
    """

    method: str
    path: str
    #: The endpoint's short name, such as ``"authenticate"`` or ``"jwks"``.
    endpoint: str
    grant_type: str | None = None
    #: The status of the response, ``None`` if the connection broke without processing.
    status: int | None = None
    #: The name of the fault that struck, such as ``"LostResponse"``.
    fault: str | None = None
    #: Query parameters and body fields; secret ones say ``"[redacted]"``.
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    #: By lower-case name, without ``Authorization`` and ``Cookie``.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Whether an ``Authorization`` header was sent.
    authorization_sent: bool = False

    @property
    def ip_address(self) -> str | None:
        """The browser's address, as the app passed it on."""
        return self.body.get("ip_address")

    @property
    def user_agent(self) -> str | None:
        """The browser's user agent, as the app passed it on."""
        return self.body.get("user_agent")

    def matches(self, kind: str | None, grant_type: str | None) -> bool:
        """Return whether the call is of a kind and a grant; ``None`` is any."""
        if kind in GRANT_WORDS:
            kind, grant_type = "authenticate", GRANT_WORDS[kind]
        return kind in (None, self.endpoint, self.path) and grant_type in (
            None,
            self.grant_type,
        )


def record_call(
    request: Request, endpoint: str, status: int | None, fault: str | None
) -> Call:
    """Return the record of a request."""
    fields = body_fields(request)
    return Call(
        method=request.method,
        path=request.path,
        endpoint=endpoint,
        grant_type=grant_type_of(fields),
        status=status,
        fault=fault,
        query=_redact(dict(request.query)),
        body=_redact(fields),
        headers={
            name: value
            for name, value in request.headers.items()
            if name not in _SECRET_HEADERS
        },
        authorization_sent="authorization" in request.headers,
    )


def body_fields(request: Request) -> dict[str, Any]:
    """Return the fields of the body, none if it is not readable."""
    try:
        return request.fields() if request.body else {}
    except ValueError:
        return {}


def grant_type_of(fields: Mapping[str, Any]) -> str | None:
    """Return the grant type asked for."""
    value = fields.get("grant_type")
    return value if isinstance(value, str) else None


def _redact(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _REDACTED if name in _SECRET_FIELDS else value
        for name, value in fields.items()
    }
