"""``POST /user_management/authenticate``: the grants of a hosted-login server.

Not offered, because hosted AuthKit does these steps itself: organization selection,
MFA, Radar challenges and the device flow. They are answered with ``invalid_request``.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from wsgi_authkit.testing._http import (
    Refusal,
    Request,
    Response,
    api_error,
    json_response,
    message_error,
    oauth_error,
)
from wsgi_authkit.testing.directory import Directory, FakeUser, new_id
from wsgi_authkit.testing.sessions import (
    FakeSession,
    OneTimeCode,
    RefreshToken,
    Sessions,
    SignIn,
)
from wsgi_authkit.testing.settings import Settings
from wsgi_authkit.testing.tokens import TokenIssuer

MAGIC_AUTH: Final = "urn:workos:oauth:grant-type:magic-auth:code"
EMAIL_VERIFICATION: Final = "urn:workos:oauth:grant-type:email-verification:code"

_COMMON: Final = frozenset(
    ("client_id", "grant_type", "ip_address", "user_agent", "device_id")
)
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "authorization_code": ("code",),
    "refresh_token": ("refresh_token",),
    "password": ("client_secret", "email", "password"),
    MAGIC_AUTH: ("client_secret", "code", "email"),
    EMAIL_VERIFICATION: ("client_secret", "code", "pending_authentication_token"),
}
_OPTIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "authorization_code": (
        "client_secret",
        "code_verifier",
        "invitation_token",
        "signals_id",
    ),
    "refresh_token": ("client_secret", "organization_id"),
    "password": ("invitation_token", "signals_id", "radar_auth_attempt_id"),
    MAGIC_AUTH: ("invitation_token", "radar_auth_attempt_id"),
    EMAIL_VERIFICATION: (),
}
# RFC 7636 4.1.
_VERIFIER: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}", re.ASCII)

Fields = Mapping[str, str]


class Grants:
    """Answers token requests."""

    def __init__(
        self,
        settings: Settings,
        directory: Directory,
        sessions: Sessions,
        tokens: TokenIssuer,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._sessions = sessions
        self._tokens = tokens
        self._clock = clock
        self._pending: dict[str, FakeUser] = {}
        self._grants: dict[str, Callable[[Fields], dict[str, Any]]] = {
            "authorization_code": self._authorization_code,
            "refresh_token": self._refresh_token,
            "password": self._password,
            MAGIC_AUTH: self._magic_auth,
            EMAIL_VERIFICATION: self._email_verification,
        }

    def authenticate(self, request: Request) -> Response:
        """Answer a token request."""
        if request.bearer not in (None, self._settings.api_key):
            raise message_error(401, "Unauthorized")
        try:
            fields = request.fields()
        except ValueError:
            raise oauth_error("invalid_request", "The body is not JSON.") from None
        grant = self._validate(fields)
        self._check_client(fields)
        return json_response(200, grant(fields))

    def issue(self, session: FakeSession) -> dict[str, Any]:
        """Return the response of a new token pair of the session."""
        user = self._directory.users[session.user_id]
        body: dict[str, Any] = {
            "user": user.to_wire(),
            "access_token": self._tokens.access_token(session),
            "refresh_token": self._sessions.create_refresh_token(session),
            "authentication_method": session.authentication_method,
        }
        if session.organization_id is not None:
            body["organization_id"] = session.organization_id
        if session.impersonator is not None:
            body["impersonator"] = session.impersonator.to_wire()
        return body

    def _validate(self, fields: Mapping[str, Any]) -> Callable[[Fields], Any]:
        grant_type = fields.get("grant_type")
        if not isinstance(grant_type, str) or grant_type not in self._grants:
            raise oauth_error("invalid_request", "The grant_type is not supported.")
        required = ("client_id", *_REQUIRED[grant_type])
        for name in required:
            if not fields.get(name):
                raise oauth_error("invalid_request", f"The {name} is required.")
        for name, value in fields.items():
            if not isinstance(value, str):
                raise oauth_error("invalid_request", f"The {name} must be a string.")
        self._refuse_unknown(fields, {*_COMMON, *required, *_OPTIONAL[grant_type]})
        return self._grants[grant_type]

    def _refuse_unknown(self, fields: Fields, known: set[str]) -> None:
        unknown = sorted(set(fields) - known)
        if unknown:
            errors = [
                {"field": name, "code": f"property {name} should not exist"}
                for name in unknown
            ]
            raise api_error(
                422, "invalid_request_parameters", "Validation failed.", errors=errors
            )

    def _check_client(self, fields: Fields) -> None:
        if fields["client_id"] != self._settings.client_id:
            raise oauth_error("invalid_client", "Invalid client ID.")
        secret = fields.get("client_secret")
        if secret is not None and secret != self._settings.api_key:
            raise oauth_error("invalid_client", "Invalid client secret.")

    def _authorization_code(self, fields: Fields) -> dict[str, Any]:
        code = fields["code"]
        entry = self._sessions.look_up_code(code)
        if entry is None:
            raise _invalid_code(code)
        public = self._check_public(fields, allowed=entry.code_challenge is not None)
        if entry.code_challenge is not None and "code_verifier" not in fields:
            raise oauth_error("invalid_request", "The code_verifier is required.")
        self._sessions.spend_code(code)
        if not _verifies(entry, fields.get("code_verifier")):
            raise _invalid_code(code)
        body = self._sign_in(entry.sign_in, fields, public=public)
        return {**body, **self._exchange_extras(entry.sign_in)}

    def _exchange_extras(self, sign_in: SignIn) -> dict[str, Any]:
        extras: dict[str, Any] = {}
        if sign_in.user.oauth_tokens is not None:
            extras["oauth_tokens"] = dict(sign_in.user.oauth_tokens)
        if self._settings.authkit_authorization_code:
            code = self._sessions.create_code(sign_in)
            extras["authkit_authorization_code"] = code
        return extras

    def _check_public(self, fields: Fields, *, allowed: bool) -> bool:
        public = "client_secret" not in fields
        if public and not allowed:
            raise oauth_error("invalid_client", "The client_secret is required.")
        return public

    def _sign_in(
        self, sign_in: SignIn, fields: Fields, *, public: bool = False
    ) -> dict[str, Any]:
        self._check_user(sign_in.user.id)
        session = self._sessions.create(
            sign_in,
            ip_address=fields.get("ip_address"),
            user_agent=fields.get("user_agent"),
            public=public,
        )
        return self.issue(session)

    def _refresh_token(self, fields: Fields) -> dict[str, Any]:
        token = self._sessions.look_up_refresh_token(fields["refresh_token"])
        if token is None:
            raise oauth_error("invalid_grant", "Invalid refresh token.")
        self._check_public(fields, allowed=token.session.public)
        self._check_session(token.session)
        if token.retired_at is not None:
            return self._replay(token)
        self._select_organization(token.session, fields.get("organization_id"))
        body = self.issue(token.session)
        token.session.updated_at = token.retired_at = self._clock()
        token.successor = copy.deepcopy(body)
        return body

    def _replay(self, token: RefreshToken) -> dict[str, Any]:
        retired_at = token.retired_at or 0.0
        if self._clock() - retired_at >= self._settings.refresh_grace:
            raise oauth_error("invalid_grant", "Refresh token already exchanged.")
        return copy.deepcopy(token.successor)

    def _check_session(self, session: FakeSession) -> None:
        self._check_user(session.user_id)
        if session.status(self._clock()) != "active":
            raise oauth_error("invalid_grant", "Session has already ended.")

    def _check_user(self, user_id: str) -> None:
        if user_id not in self._directory.users:
            raise oauth_error("invalid_grant", "The user does not exist.")

    def _select_organization(
        self, session: FakeSession, organization_id: str | None
    ) -> None:
        wanted = organization_id or session.organization_id
        if wanted is None:
            return
        self._check_organization(session, wanted)
        session.organization_id = wanted

    def _check_organization(self, session: FakeSession, organization_id: str) -> None:
        organization = self._directory.organizations.get(organization_id)
        if organization is None:
            raise oauth_error("organization_not_found", "Organization not found.")
        if self._directory.membership(session.user_id, organization_id) is None:
            raise oauth_error(
                "organization_membership_not_found",
                "The user is not a member of the organization.",
            )
        if session.organization_id == organization_id:
            return
        user = self._directory.users[session.user_id]
        if organization.sso_required:
            raise oauth_error(
                "sso_required",
                "User must authenticate using one of the matching connections.",
                email=user.email,
                connection_ids=list(organization.connection_ids),
            )
        if organization.mfa_required:
            raise oauth_error("mfa_enrollment", "The user must enroll in MFA.")

    def _password(self, fields: Fields) -> dict[str, Any]:
        user = self._directory.user_by_email(fields["email"])
        if user is None or user.password != fields["password"]:
            raise api_error(400, "invalid_credentials", "Invalid credentials.")
        if not user.email_verified:
            raise self._verification_required(user)
        return self._sign_in(self._by(user, "Password"), fields)

    def _verification_required(self, user: FakeUser) -> Refusal:
        pending = new_id("pending")
        self._pending[pending] = user
        sent = self._sessions.send_digits("email_verification", user)
        return api_error(
            403,
            "email_verification_required",
            "Email ownership must be verified before authentication.",
            pending_authentication_token=pending,
            email=user.email,
            email_verification_id=sent.id,
        )

    def _magic_auth(self, fields: Fields) -> dict[str, Any]:
        user = self._directory.user_by_email(fields["email"])
        if user is None:
            raise _bad_digits("invalid_one_time_code")
        self._spend_digits(fields, user)
        # Who reads the mails of an address owns it.
        user.email_verified = True
        return self._sign_in(self._by(user, "MagicAuth"), fields)

    def _spend_digits(self, fields: Fields, user: FakeUser) -> None:
        problem = self._sessions.spend_digits(fields["code"], user)
        if problem is not None:
            raise _bad_digits(problem)

    def _email_verification(self, fields: Fields) -> dict[str, Any]:
        pending = fields["pending_authentication_token"]
        user = self._pending.get(pending)
        if user is None:
            raise api_error(
                400,
                "invalid_pending_authentication_token",
                "The pending authentication token is invalid or has expired.",
            )
        self._spend_digits(fields, user)
        del self._pending[pending]
        user.email_verified = True
        return self._sign_in(self._by(user, "Password"), fields)

    def _by(self, user: FakeUser, authentication_method: str) -> SignIn:
        return SignIn(
            user=user,
            authentication_method=authentication_method,
            authenticated_at=self._clock(),
        )


def _invalid_code(code: str) -> Refusal:
    # WorkOS echoes the code, and so an app that logs the sentence logs the code.
    return oauth_error("invalid_grant", f"The code '{code}' has expired or is invalid.")


def _bad_digits(problem: str) -> Refusal:
    return api_error(400, problem, "The one-time code cannot be used.")


def _verifies(entry: OneTimeCode, code_verifier: str | None) -> bool:
    if entry.code_challenge is None:
        # RFC 9700 4.8.2: a verifier without a challenge is a downgrade.
        return code_verifier is None
    if code_verifier is None or not _VERIFIER.fullmatch(code_verifier):
        return False
    digest = hashlib.sha256(code_verifier.encode("ascii")).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return hmac.compare_digest(challenge, entry.code_challenge)
