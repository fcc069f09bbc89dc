"""Access tokens: real JWTs, with the claims that WorkOS puts in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from wsgi_authkit.testing._http import oauth_error
from wsgi_authkit.testing.directory import Directory, new_id
from wsgi_authkit.testing.sessions import FakeSession
from wsgi_authkit.testing.settings import Settings
from wsgi_authkit.testing.signing import SigningKeys

# WorkOS refuses a JWT template that renders to more.
_TEMPLATE_LIMIT: Final = 3072


class TokenIssuer:
    """Makes the access token of a session."""

    def __init__(
        self,
        settings: Settings,
        directory: Directory,
        keys: SigningKeys,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._keys = keys
        self._clock = clock
        #: What a JWT template adds. ``None`` leaves the claim out.
        self.extra_claims: dict[str, Any] = {}

    def access_token(self, session: FakeSession) -> str:
        """Return a token of the session as things are now."""
        if len(json.dumps(self.extra_claims)) > _TEMPLATE_LIMIT:
            raise oauth_error("token_too_big", "The JWT template renders too much.")
        claims = {**self._claims(session), **self.extra_claims}
        present = {name: value for name, value in claims.items() if value is not None}
        return self._keys.current.sign(present)

    def _claims(self, session: FakeSession) -> dict[str, Any]:
        now = int(self._clock())
        claims: dict[str, Any] = {
            "iss": self._settings.issuer,
            "sub": session.user_id,
            "sid": session.id,
            "jti": new_id("jti"),
            "iat": now,
            "exp": now + int(self._settings.access_token_lifetime),
            "auth_time": int(session.authenticated_at),
            "client_id": self._settings.client_id,
            **self._organization_claims(session),
        }
        flags = self._feature_flags(session)
        if flags:
            claims["feature_flags"] = flags
        if session.impersonator is not None:
            claims["act"] = {"sub": session.impersonator.email}
        return claims

    def _organization_claims(self, session: FakeSession) -> dict[str, Any]:
        if session.organization_id is None:
            return {}
        organization = self._directory.organizations[session.organization_id]
        membership = self._directory.membership(session.user_id, organization.id)
        claims: dict[str, Any] = {"org_id": organization.id}
        if membership is not None:
            claims["role"] = membership.role
            claims["roles"] = list(membership.roles or (membership.role,))
            claims["permissions"] = list(membership.permissions)
        claims["entitlements"] = list(organization.entitlements)
        # WorkOS leaves empty lists out.
        return {name: value for name, value in claims.items() if value}

    def _feature_flags(self, session: FakeSession) -> list[str]:
        flags = list(self._directory.users[session.user_id].feature_flags)
        if session.organization_id is not None:
            organization = self._directory.organizations[session.organization_id]
            flags += [flag for flag in organization.feature_flags if flag not in flags]
        return flags
