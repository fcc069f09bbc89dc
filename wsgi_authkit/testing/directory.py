"""People, organizations, memberships and API keys of the fake.

The records are plain and mutable: change one, and the next refresh shows it, as WorkOS
re-resolves role, permissions and flags whenever it issues a token.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Impersonator:
    """Who acts as a user, and why."""

    email: str
    reason: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return it as WorkOS sends it."""
        return {"email": self.email, "reason": self.reason}


@dataclass(slots=True, kw_only=True, eq=False)
class FakeUser:
    """A user; instants are Unix seconds."""

    id: str
    email: str
    created_at: float
    updated_at: float
    email_verified: bool = True
    first_name: str | None = None
    last_name: str | None = None
    profile_picture_url: str | None = None
    external_id: str | None = None
    locale: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    last_sign_in_at: float | None = None
    #: Flags of the user alone; those of the organization come on top.
    feature_flags: tuple[str, ...] = ()
    #: What the upstream provider returns, as ``oauth_tokens`` of a sign-in.
    oauth_tokens: Mapping[str, Any] | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str | None:
        """First and last name, ``None`` without either."""
        return " ".join(filter(None, (self.first_name, self.last_name))) or None

    def to_wire(self) -> dict[str, Any]:
        """Return the user object of WorkOS's responses."""
        return {
            "object": "user",
            "id": self.id,
            "email": self.email,
            "email_verified": self.email_verified,
            "first_name": self.first_name,
            "last_name": self.last_name,
            "name": self.name,
            "profile_picture_url": self.profile_picture_url,
            "external_id": self.external_id,
            "locale": self.locale,
            "metadata": dict(self.metadata),
            "last_sign_in_at": iso_or_none(self.last_sign_in_at),
            "created_at": iso(self.created_at),
            "updated_at": iso(self.updated_at),
        }


@dataclass(slots=True, kw_only=True, eq=False)
class FakeOrganization:
    """An organization."""

    id: str
    name: str
    created_at: float
    updated_at: float
    domains: tuple[str, ...] = ()
    external_id: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    entitlements: tuple[str, ...] = ()
    feature_flags: tuple[str, ...] = ()
    #: Switching to it answers ``sso_required``; signing in to it is by SSO.
    sso_required: bool = False
    #: Switching to it answers ``mfa_enrollment``.
    mfa_required: bool = False
    connection_ids: tuple[str, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """Return the organization object of WorkOS's responses."""
        return {
            "object": "organization",
            "id": self.id,
            "name": self.name,
            "domains": [self._domain(domain) for domain in self.domains],
            "metadata": dict(self.metadata),
            "external_id": self.external_id,
            "allow_profiles_outside_organization": False,
            "created_at": iso(self.created_at),
            "updated_at": iso(self.updated_at),
        }

    def _domain(self, domain: str) -> dict[str, Any]:
        return {
            "object": "organization_domain",
            "id": f"org_domain_{domain}",
            "organization_id": self.id,
            "domain": domain,
            "state": "verified",
        }


@dataclass(slots=True, kw_only=True, eq=False)
class FakeMembership:
    """What a user is in an organization."""

    id: str
    user_id: str
    organization_id: str
    created_at: float
    role: str = "member"
    roles: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()

    def to_wire(self, organization: FakeOrganization) -> dict[str, Any]:
        """Return the membership object of WorkOS's responses.

        :param organization: Which it is a membership of.
        """
        return {
            "object": "organization_membership",
            "id": self.id,
            "user_id": self.user_id,
            "organization_id": self.organization_id,
            "organization_name": organization.name,
            "status": "active",
            "directory_managed": False,
            "custom_attributes": {},
            "role": {"slug": self.role},
            "roles": [{"slug": slug} for slug in self.roles or (self.role,)],
            "created_at": iso(self.created_at),
            "updated_at": iso(self.created_at),
        }


@dataclass(slots=True, kw_only=True, eq=False)
class FakeAPIKey:
    """An API key of a customer, for ``/api_keys/validations``."""

    id: str
    value: str = field(repr=False)
    owner: Mapping[str, str]
    name: str
    created_at: float
    permissions: tuple[str, ...] = ()
    expires_at: float | None = None
    last_used_at: float | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return the API key object of WorkOS's responses."""
        return {
            "object": "api_key",
            "id": self.id,
            "owner": dict(self.owner),
            "name": self.name,
            "obfuscated_value": f"{self.value[:3]}...{self.value[-4:]}",
            "last_used_at": iso_or_none(self.last_used_at),
            "expires_at": iso_or_none(self.expires_at),
            "permissions": list(self.permissions),
            "created_at": iso(self.created_at),
            "updated_at": iso(self.created_at),
        }


class Directory:
    """Everything known beforehand, by id."""

    def __init__(self) -> None:
        self.users: dict[str, FakeUser] = {}
        self.organizations: dict[str, FakeOrganization] = {}
        self.memberships: list[FakeMembership] = []
        self.api_keys: dict[str, FakeAPIKey] = {}

    def user_by_email(self, email: str) -> FakeUser | None:
        """Return the user with this address; case does not matter."""
        wanted = email.casefold()
        users = self.users.values()
        return next((user for user in users if user.email.casefold() == wanted), None)

    def membership(self, user_id: str, organization_id: str) -> FakeMembership | None:
        """Return what the user is in the organization."""
        for membership in self.memberships_of(user_id):
            if membership.organization_id == organization_id:
                return membership
        return None

    def memberships_of(self, user_id: str) -> Sequence[FakeMembership]:
        """Return the user's memberships, in the order they were added."""
        return [entry for entry in self.memberships if entry.user_id == user_id]

    def organizations_of(self, user_id: str) -> Sequence[FakeOrganization]:
        """Return the organizations that the user is a member of."""
        entries = self.memberships_of(user_id)
        return [self.organizations[entry.organization_id] for entry in entries]

    def organization_by_connection(self, connection_id: str) -> FakeOrganization | None:
        """Return the organization that an SSO connection belongs to."""
        for organization in self.organizations.values():
            if connection_id in organization.connection_ids:
                return organization
        return None


def new_id(prefix: str) -> str:
    """Return an id in WorkOS's form."""
    return f"{prefix}_{secrets.token_hex(13).upper()}"


def iso(instant: float) -> str:
    """Return Unix seconds as WorkOS writes times: ISO 8601, milliseconds, ``Z``."""
    moment = datetime.datetime.fromtimestamp(instant, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_or_none(instant: float | None) -> str | None:
    """Return :func:`iso` of an instant that may be unknown."""
    return None if instant is None else iso(instant)
