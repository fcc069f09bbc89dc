"""Authorization requests, checked parameter by parameter.

WorkOS shows a page of its own for a bad request, never the callback, so everything
wrong with a request is told in one :exc:`ValueError`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from wsgi_authkit.testing.directory import Directory, FakeOrganization
from wsgi_authkit.testing.settings import Settings

#: Path of the authorization endpoint.
AUTHORIZE_PATH: Final = "/user_management/authorize"

_PROVIDERS: Final = frozenset(
    (
        "authkit",
        "AppleOAuth",
        "BitbucketOAuth",
        "GitHubOAuth",
        "GitLabOAuth",
        "GoogleOAuth",
        "IntuitOAuth",
        "LinkedInOAuth",
        "MicrosoftOAuth",
        "SalesforceOAuth",
        "SlackOAuth",
        "VercelMarketplaceOAuth",
        "VercelOAuth",
        "XeroOAuth",
    )
)
_PARAMETERS: Final = frozenset(
    (
        "client_id",
        "redirect_uri",
        "response_type",
        "state",
        "provider",
        "connection_id",
        "organization_id",
        "code_challenge",
        "code_challenge_method",
        "screen_hint",
        "login_hint",
        "domain_hint",
        "prompt",
        "max_age",
        "invitation_token",
        "provider_scopes",
        "claim_nonce",
    )
)
# base64url of a SHA-256, without padding (RFC 7636 4.2).
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """A valid authorization request (RFC 6749 4.1.1)."""

    redirect_uri: str
    state: str | None
    provider: str | None
    #: Named by ``organization_id`` or through ``connection_id``.
    organization: FakeOrganization | None
    connection_id: str | None
    code_challenge: str | None
    sign_up: bool
    login_hint: str | None
    prompt: str | None
    max_age: int | None

    @property
    def by_sso(self) -> bool:
        """Whether the person comes through an SSO connection."""
        if self.connection_id is not None or self.provider is None:
            return True
        return self.organization is not None and self.organization.sso_required

    @property
    def authentication_method(self) -> str:
        """How the person signs in, as the token response calls it."""
        if self.by_sso:
            return "SSO"
        if self.provider in (None, "authkit"):
            return "Password"
        return str(self.provider)

    def success(self, code: str) -> str:
        """Return the callback URL with ``code`` and ``state`` (RFC 6749 4.1.2)."""
        return callback_url(self.redirect_uri, code=code, state=self.state)

    def failure(self, error: str, description: str) -> str:
        """Return the callback URL with ``error`` (RFC 6749 4.1.2.1)."""
        return callback_url(
            self.redirect_uri,
            error=error,
            error_description=description,
            state=self.state,
        )


def parse_authorization_request(
    query: Sequence[tuple[str, str]], settings: Settings, directory: Directory
) -> AuthorizationRequest:
    """Return the request of a query string.

    :raises ValueError: It is not valid; the message names every reason.
    """
    params = dict(query)
    problems = [
        *_name_problems(query),
        *_client_problems(params, settings),
        *_selector_problems(params, directory),
        *_challenge_problems(params),
        *_hint_problems(params),
    ]
    if problems:
        raise ValueError(" ".join(problems))
    return AuthorizationRequest(
        redirect_uri=params["redirect_uri"],
        state=params.get("state"),
        provider=params.get("provider"),
        organization=_organization(params, directory),
        connection_id=params.get("connection_id"),
        code_challenge=params.get("code_challenge"),
        sign_up=params.get("screen_hint") == "sign-up",
        login_hint=params.get("login_hint"),
        prompt=params.get("prompt"),
        max_age=int(params["max_age"]) if "max_age" in params else None,
    )


def callback_url(redirect_uri: str, **params: str | None) -> str:
    """Return ``redirect_uri`` with the parameters that are not ``None`` added."""
    present = {name: value for name, value in params.items() if value is not None}
    parts = urlsplit(redirect_uri)
    query = "&".join(filter(None, (parts.query, urlencode(present))))
    return urlunsplit(parts._replace(query=query))


def _name_problems(query: Sequence[tuple[str, str]]) -> Iterator[str]:
    names = [name for name, _ in query]
    for name in sorted(set(names)):
        if name not in _PARAMETERS and not name.startswith("provider_query_params["):
            yield f"Unknown parameter {name}."
        elif names.count(name) > 1:
            yield f"Parameter {name} is there more than once."


def _client_problems(params: Mapping[str, str], settings: Settings) -> Iterator[str]:
    if params.get("client_id") != settings.client_id:
        yield "The client_id is missing or not the one of this environment."
    if params.get("response_type") != "code":
        yield "The response_type has to be code."
    redirect_uri = params.get("redirect_uri", "")
    if not _is_absolute(redirect_uri):
        yield "The redirect_uri is missing or not an absolute http or https URL."
    elif settings.redirect_uris and redirect_uri not in settings.redirect_uris:
        yield "The redirect_uri is not among the configured ones."


def _is_absolute(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    # RFC 6749 3.1.2: absolute, without a fragment.
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "#" not in url


def _selector_problems(
    params: Mapping[str, str], directory: Directory
) -> Iterator[str]:
    names = ("provider", "connection_id", "organization_id")
    selectors = {name for name in names if name in params}
    pre_selected = selectors == {"provider", "organization_id"}
    if pre_selected and params["provider"] == "authkit":
        selectors.remove("organization_id")
    if len(selectors) != 1:
        yield "Exactly one of provider, connection_id and organization_id is needed."
    if params.get("provider", "authkit") not in _PROVIDERS:
        yield "The provider is not known."
    named = "connection_id" in params or "organization_id" in params
    if named and _organization(params, directory) is None:
        yield "The organization or connection is not known."


def _challenge_problems(params: Mapping[str, str]) -> Iterator[str]:
    challenge = params.get("code_challenge")
    method = params.get("code_challenge_method")
    if (challenge is None) != (method is None):
        yield "code_challenge and code_challenge_method belong together."
    if method not in (None, "S256"):
        yield "The code_challenge_method has to be S256."
    if challenge is not None and not _CHALLENGE.fullmatch(challenge):
        yield "The code_challenge is not base64url of a SHA-256."


def _hint_problems(params: Mapping[str, str]) -> Iterator[str]:
    if params.get("screen_hint", "sign-in") not in ("sign-in", "sign-up"):
        yield "The screen_hint has to be sign-in or sign-up."
    max_age = params.get("max_age", "0")
    if not (max_age.isascii() and max_age.isdecimal() and len(max_age) < 12):
        yield "The max_age has to be a whole number of seconds."
    for name in ("screen_hint", "max_age"):
        if name in params and params.get("provider") != "authkit":
            yield f"The {name} needs provider=authkit."


def _organization(
    params: Mapping[str, str], directory: Directory
) -> FakeOrganization | None:
    if "connection_id" in params:
        return directory.organization_by_connection(params["connection_id"])
    return directory.organizations.get(params.get("organization_id", ""))
