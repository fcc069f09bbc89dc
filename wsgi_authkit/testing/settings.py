"""What the fake environment is configured with, as in the WorkOS dashboard."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Settings:
    """The environment's settings; change one at any time, it holds at once.

    Lifetimes are seconds.
    """

    client_id: str
    api_key: str = field(repr=False)
    #: The ``iss`` of access tokens.
    issuer: str
    #: Allowed redirect URIs, compared as a whole; empty allows any.
    redirect_uris: tuple[str, ...] = ()
    #: Allowed sign-out redirects, compared as a whole; empty allows any.
    logout_uris: tuple[str, ...] = ()
    access_token_lifetime: float = 300
    #: For how long a retired refresh token returns the pair it was rotated to.
    refresh_grace: float = 30
    session_lifetime: float = 34_560_000
    #: Set for an unclaimed environment.
    claim_token: str | None = field(default=None, repr=False)
    #: Whether the unclaimed environment has been claimed since.
    claimed: bool = False
    #: Whether code exchanges return an ``authkit_authorization_code``.
    authkit_authorization_code: bool = False
