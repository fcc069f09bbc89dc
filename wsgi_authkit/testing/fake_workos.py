"""WorkOS as a WSGI app."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import requests

from wsgi_authkit.testing import pages
from wsgi_authkit.testing._http import (
    WAIT_KEY,
    Refusal,
    Request,
    Response,
    Wait,
    html_response,
    json_response,
    message_error,
)
from wsgi_authkit.testing.authorization import (
    AUTHORIZE_PATH,
    AuthorizationRequest,
    callback_url,
    parse_authorization_request,
)
from wsgi_authkit.testing.calls import (
    GRANT_WORDS,
    Call,
    body_fields,
    grant_type_of,
    record_call,
)
from wsgi_authkit.testing.clock import Clock
from wsgi_authkit.testing.directory import (
    Directory,
    FakeAPIKey,
    FakeMembership,
    FakeOrganization,
    FakeUser,
    Impersonator,
    new_id,
)
from wsgi_authkit.testing.faults import (
    ConnectionRefused,
    Fault,
    FaultPlan,
    NetworkFault,
    Status,
)
from wsgi_authkit.testing.grants import Grants
from wsgi_authkit.testing.hosted import HostedAuthKit
from wsgi_authkit.testing.resources import Resources
from wsgi_authkit.testing.sessions import FakeSession, Sessions, SignIn
from wsgi_authkit.testing.settings import Settings
from wsgi_authkit.testing.signing import SigningKeys
from wsgi_authkit.testing.tokens import TokenIssuer
from wsgi_authkit.testing.transport import WSGIAdapter

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

# Name, method and path of every endpoint.
_ENDPOINTS: Final = (
    ("index", "GET", re.compile(r"/")),
    ("authorize", "GET", re.compile(AUTHORIZE_PATH)),
    ("authorize_form", "POST", re.compile(AUTHORIZE_PATH)),
    ("logout", "GET", re.compile(r"/user_management/sessions/logout")),
    ("authenticate", "POST", re.compile(r"/user_management/authenticate")),
    ("magic_auth", "POST", re.compile(r"/user_management/magic_auth")),
    (
        "email_verification",
        "GET",
        re.compile(r"/user_management/email_verification/([^/]+)"),
    ),
    ("revoke_session", "POST", re.compile(r"/user_management/sessions/revoke")),
    ("user_sessions", "GET", re.compile(r"/user_management/users/([^/]+)/sessions")),
    ("user", "GET", re.compile(r"/user_management/users/([^/]+)")),
    ("memberships", "GET", re.compile(r"/user_management/organization_memberships")),
    ("organization", "GET", re.compile(r"/organizations/([^/]+)")),
    ("jwks", "GET", re.compile(r"/sso/jwks/([^/]+)")),
    ("api_key_validation", "POST", re.compile(r"/api_keys/validations")),
    ("claim_nonce", "POST", re.compile(r"/x/one-shot-environments/claim-nonces")),
)
_UNKNOWN: Final = "unknown"


class FakeWorkOS:
    """WorkOS for tests and demos: strict, in memory, thread-safe.

    :param client_id: The environment's client id.
    :param api_key: The environment's API key, which is also the ``client_secret``.
    :param clock: Returns Unix seconds; a :class:`Clock` lets a test move time.
    :param sleep: Lets time pass for the faults that take time, when the app is served
        on a port by something else than :func:`serve`.
    :param access_token_lifetime: Seconds.
    :param refresh_grace: Seconds for which a retired refresh token returns the pair
        that it was rotated to; 0 refuses it at once.
    :param session_lifetime: Seconds.
    :param issuer: The ``iss`` of access tokens; ``None`` is
        ``https://api.workos.com/user_management/<client_id>``.
    :param base_url: Where :meth:`session` finds the fake.
    :param redirect_uris: Allowed redirect URIs, compared as a whole; empty allows any.
    :param logout_uris: Allowed sign-out redirects, likewise.
    :param claim_token: Makes it an unclaimed environment.
    :param private_keys: RSA keys to sign with before any is generated.
    """

    def __init__(
        self,
        *,
        client_id: str = "client_test",
        api_key: str = "sk_test_fake",
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        access_token_lifetime: float = 300,
        refresh_grace: float = 30,
        session_lifetime: float = 34_560_000,
        issuer: str | None = None,
        base_url: str = "https://api.workos.com",
        redirect_uris: Sequence[str] = (),
        logout_uris: Sequence[str] = (),
        claim_token: str | None = None,
        private_keys: Sequence[RSAPrivateKey] = (),
    ) -> None:
        default_issuer = f"https://api.workos.com/user_management/{client_id}"
        #: Everything that the dashboard configures; change it at any time.
        self.settings = Settings(
            client_id=client_id,
            api_key=api_key,
            issuer=default_issuer if issuer is None else issuer,
            redirect_uris=tuple(redirect_uris),
            logout_uris=tuple(logout_uris),
            access_token_lifetime=access_token_lifetime,
            refresh_grace=refresh_grace,
            session_lifetime=session_lifetime,
            claim_token=claim_token,
        )
        #: Where :meth:`session` finds the fake.
        self.base_url = base_url.rstrip("/")
        #: Every request so far, oldest first.
        self.calls: list[Call] = []
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.RLock()
        self._faults = FaultPlan()
        self._directory = Directory()
        self._keys = SigningKeys(private_keys)
        self._sessions = Sessions(self.settings, clock)
        self._tokens = TokenIssuer(self.settings, self._directory, self._keys, clock)
        parts = (self.settings, self._directory, self._sessions)
        self._grants = Grants(*parts, self._tokens, clock)
        self._hosted = HostedAuthKit(*parts, clock, self.add_user)
        self._resources = Resources(*parts, clock, self.add_user)

    @classmethod
    def with_demo_data(cls, **options: Any) -> Self:
        """Return a fake that knows three people and three organizations.

        Ada administers Acme and is a member of Globex and of Initech, which asks for
        SSO. Grace is a member of Acme, and Alan belongs to no organization.

        :param options: What the constructor takes.
        """
        fake = cls(**options)
        ada = fake.add_user(
            "ada@example.com", id="user_ada", first_name="Ada", last_name="Lovelace"
        )
        grace = fake.add_user(
            "grace@example.com", id="user_grace", first_name="Grace", last_name="Hopper"
        )
        fake.add_user(
            "alan@example.com", id="user_alan", first_name="Alan", last_name="Turing"
        )
        acme = fake.add_organization(
            "Acme", id="org_acme", domains=["acme.example"], entitlements=["audit-logs"]
        )
        globex = fake.add_organization(
            "Globex", id="org_globex", domains=["globex.example"]
        )
        initech = fake.add_organization(
            "Initech", id="org_initech", domains=["initech.example"], sso_required=True
        )
        manage = ("reports:read", "reports:write", "members:manage")
        fake.add_membership(ada, acme, role="admin", permissions=manage)
        fake.add_membership(ada, globex, permissions=["reports:read"])
        fake.add_membership(ada, initech, permissions=["reports:read"])
        fake.add_membership(grace, acme, permissions=["reports:read"])
        return fake

    # The directory

    def add_user(
        self,
        email: str,
        *,
        id: str | None = None,  # noqa: A002 - WorkOS's name of the field
        first_name: str | None = None,
        last_name: str | None = None,
        email_verified: bool = True,
        profile_picture_url: str | None = None,
        external_id: str | None = None,
        locale: str | None = None,
        metadata: Mapping[str, str] | None = None,
        feature_flags: Sequence[str] = (),
        oauth_tokens: Mapping[str, Any] | None = None,
        password: str | None = None,
    ) -> FakeUser:
        """Add a user and return it.

        :param oauth_tokens: What a code exchange returns under this name.
        :param password: For the password grant.
        :raises ValueError: The e-mail address or the id is taken.
        """
        now = self._clock()
        user = FakeUser(
            id=id or new_id("user"),
            email=email,
            created_at=now,
            updated_at=now,
            email_verified=email_verified,
            first_name=first_name,
            last_name=last_name,
            profile_picture_url=profile_picture_url,
            external_id=external_id,
            locale=locale,
            metadata=dict(metadata or {}),
            feature_flags=tuple(feature_flags),
            oauth_tokens=oauth_tokens,
            password=password,
        )
        with self._lock:
            users = self._directory.users
            if user.id in users or self._directory.user_by_email(email) is not None:
                raise ValueError("a user with this address or id exists already")
            users[user.id] = user
        return user

    def add_organization(
        self,
        name: str,
        *,
        id: str | None = None,  # noqa: A002 - WorkOS's name of the field
        domains: Sequence[str] = (),
        external_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        entitlements: Sequence[str] = (),
        feature_flags: Sequence[str] = (),
        sso_required: bool = False,
        mfa_required: bool = False,
        connection_ids: Sequence[str] = (),
    ) -> FakeOrganization:
        """Add an organization and return it.

        :param sso_required: Switching to it answers ``sso_required``. It has an SSO
            connection, a made-up one unless ``connection_ids`` names some.
        :param mfa_required: Switching to it answers ``mfa_enrollment``.
        """
        now = self._clock()
        if sso_required and not connection_ids:
            connection_ids = [new_id("conn")]
        organization = FakeOrganization(
            id=id or new_id("org"),
            name=name,
            created_at=now,
            updated_at=now,
            domains=tuple(domains),
            external_id=external_id,
            metadata=dict(metadata or {}),
            entitlements=tuple(entitlements),
            feature_flags=tuple(feature_flags),
            sso_required=sso_required,
            mfa_required=mfa_required,
            connection_ids=tuple(connection_ids),
        )
        with self._lock:
            self._directory.organizations[organization.id] = organization
        return organization

    def add_membership(
        self,
        user: FakeUser,
        organization: FakeOrganization,
        *,
        role: str = "member",
        roles: Sequence[str] = (),
        permissions: Sequence[str] = (),
    ) -> FakeMembership:
        """Make a user a member and return the membership.

        :param role: The primary role's slug.
        :param roles: All slugs; empty is the primary one alone.
        """
        membership = FakeMembership(
            id=new_id("om"),
            user_id=user.id,
            organization_id=organization.id,
            created_at=self._clock(),
            role=role,
            roles=tuple(roles),
            permissions=tuple(permissions),
        )
        with self._lock:
            self._directory.memberships.append(membership)
        return membership

    def add_api_key(
        self,
        value: str,
        owner: FakeOrganization | FakeUser,
        *,
        organization_id: str | None = None,
        name: str = "API key",
        permissions: Sequence[str] = (),
        expires_at: float | None = None,
    ) -> FakeAPIKey:
        """Add an API key of a customer and return it.

        :param organization_id: For a key that a user owns, the organization it is for.
        :param expires_at: Unix seconds.
        """
        if isinstance(owner, FakeOrganization):
            described = {"type": "organization", "id": owner.id}
        else:
            described = {"type": "user", "id": owner.id}
            described["organization_id"] = organization_id or ""
        key = FakeAPIKey(
            id=new_id("api_key"),
            value=value,
            owner=described,
            name=name,
            created_at=self._clock(),
            permissions=tuple(permissions),
            expires_at=expires_at,
        )
        with self._lock:
            self._directory.api_keys[value] = key
        return key

    def delete_user(self, user: FakeUser) -> None:
        """Delete a user: the sessions are over."""
        with self._lock:
            del self._directory.users[user.id]

    def delete_membership(self, membership: FakeMembership) -> None:
        """End a membership: the organization cannot be refreshed into any more."""
        with self._lock:
            self._directory.memberships.remove(membership)

    def delete_api_key(self, key: FakeAPIKey) -> None:
        """Delete an API key of a customer."""
        with self._lock:
            del self._directory.api_keys[key.value]

    def revoke_session(self, session_id: str) -> None:
        """End a session, as the dashboard does.

        :raises KeyError: There is no such session.
        """
        with self._lock:
            if not self._sessions.revoke(session_id):
                raise KeyError(session_id)

    @property
    def users(self) -> Mapping[str, FakeUser]:
        """All users by id."""
        return self._directory.users

    @property
    def organizations(self) -> Mapping[str, FakeOrganization]:
        """All organizations by id."""
        return self._directory.organizations

    @property
    def memberships(self) -> Sequence[FakeMembership]:
        """All memberships, in the order they were added."""
        return self._directory.memberships

    @property
    def sessions(self) -> Mapping[str, FakeSession]:
        """All sessions by id, ended ones too."""
        return self._sessions.by_id

    # Signing in without the page

    def authorize(
        self,
        url: str,
        user: FakeUser | str,
        *,
        organization_id: str | None = None,
        impersonator: Impersonator | None = None,
    ) -> str:
        """Do what a person does on the sign-in page; return the callback URL.

        :param url: The authorization URL that the app redirected to.
        :param user: Who signs in; an unknown e-mail address creates a user.
        :param organization_id: What to choose, where the URL does not name one.
        :raises ValueError: WorkOS would not accept the URL, or the user is not a
            member of the organization.
        """
        with self._lock:
            authorization = self._parse(url)
            if isinstance(user, str):
                user = self._hosted.user(user)
            sign_in = self._hosted.sign_in(
                authorization, user, organization_id, impersonator
            )
            return self._hosted.complete(authorization, sign_in)

    def deny(
        self,
        url: str,
        error: str = "access_denied",
        error_description: str = "The person refused to sign in.",
    ) -> str:
        """Return the callback URL of a sign-in that failed.

        :param url: The authorization URL that the app redirected to.
        :raises ValueError: WorkOS would not accept the URL.
        """
        with self._lock:
            return self._parse(url).failure(error, error_description)

    def create_code(
        self,
        user: FakeUser,
        *,
        organization_id: str | None = None,
        impersonator: Impersonator | None = None,
        code_challenge: str | None = None,
        authentication_method: str = "Password",
    ) -> str:
        """Return an authorization code, good for one exchange and 10 minutes."""
        with self._lock:
            sign_in = self._sign_in(
                user, organization_id, impersonator, authentication_method
            )
            return self._sessions.create_code(sign_in, code_challenge)

    def start_at_workos(
        self,
        redirect_uri: str,
        user: FakeUser,
        *,
        organization_id: str | None = None,
        impersonator: Impersonator | None = None,
    ) -> str:
        """Return the callback URL of a sign-in that WorkOS started: it has no state.

        Impersonation from the dashboard arrives like this.
        """
        code = self.create_code(
            user, organization_id=organization_id, impersonator=impersonator
        )
        return callback_url(redirect_uri, code=code)

    def create_magic_auth_code(self, user: FakeUser) -> str:
        """Return the six digits that WorkOS sends to a person by e-mail.

        They serve the magic-auth and the email-verification grant.
        """
        with self._lock:
            return self._sessions.create_digits(
                self._sign_in(user, None, None, "MagicAuth")
            )

    def create_session(
        self,
        user: FakeUser,
        *,
        organization_id: str | None = None,
        impersonator: Impersonator | None = None,
        authentication_method: str = "Password",
    ) -> dict[str, Any]:
        """Start a session; return the response of ``authenticate`` without a call."""
        with self._lock:
            sign_in = self._sign_in(
                user, organization_id, impersonator, authentication_method
            )
            return self._grants.issue(self._sessions.create(sign_in))

    # Tokens and keys

    @property
    def extra_claims(self) -> dict[str, Any]:
        """Claims that every new access token gets, in place of WorkOS's own too.

        ``None`` leaves a claim out.
        """
        return self._tokens.extra_claims

    def sign(
        self, claims: Mapping[str, Any], headers: Mapping[str, Any] | None = None
    ) -> str:
        """Return a JWT with exactly these claims, signed with the current key."""
        with self._lock:
            return self._keys.current.sign(claims, headers)

    def jwk_set(self) -> dict[str, Any]:
        """Return what the JWKS endpoint publishes."""
        with self._lock:
            return self._keys.jwk_set()

    def rotate_keys(self, *, keep_old: bool = True) -> None:
        """Sign with a new key from now on.

        :param keep_old: Whether the old keys are still published.
        """
        with self._lock:
            self._keys.rotate(keep_old=keep_old)

    # Faults and calls

    def fail(
        self,
        fault: Fault | int,
        *,
        path: str | None = None,
        grant_type: str | None = None,
        times: int | None = None,
    ) -> None:
        """Have requests fail; the fault that was added first strikes first.

        :param fault: One of :mod:`wsgi_authkit.testing.faults`, or a status code.
        :param path: A path, or an endpoint's name: ``authorize``,
            ``authorize_form``, ``authenticate``, ``logout``, ``jwks``,
            ``revoke_session``, ``user``, ``user_sessions``, ``memberships``,
            ``organization``, ``magic_auth``, ``email_verification``,
            ``api_key_validation``, ``claim_nonce``, ``index``.
            ``None`` is every path. ``refresh`` and ``exchange`` name the grants.
        :param grant_type: Only token requests of this grant.
        :param times: How many requests fail; ``None`` is all, until :meth:`recover`.
        """
        if isinstance(fault, int):
            fault = Status(fault)
        if path in GRANT_WORDS:
            path, grant_type = "authenticate", GRANT_WORDS[path]
        with self._lock:
            self._faults.add(fault, path, grant_type, times)

    def down(self) -> None:
        """Have every connection refused, until :meth:`recover`."""
        self.fail(ConnectionRefused())

    def recover(self) -> None:
        """Have nothing fail any more."""
        with self._lock:
            self._faults.clear()

    def count(self, kind: str | None = None, *, grant_type: str | None = None) -> int:
        """Return how many calls there were.

        :param kind: ``"refresh"``, ``"exchange"``, an endpoint's name as for
            :meth:`fail`, or a path; ``None`` counts all.
        """
        with self._lock:
            return sum(call.matches(kind, grant_type) for call in self.calls)

    def reset_calls(self) -> None:
        """Forget the calls so far."""
        with self._lock:
            self.calls.clear()

    # HTTP

    def session(self) -> requests.Session:
        """Return a session that reaches the fake at :attr:`base_url`, and nothing else.

        No socket is opened. Faults that take time advance the clock, if it is a
        :class:`Clock`; nobody sleeps.
        """
        session = requests.Session()
        session.trust_env = False
        session.adapters.clear()
        sleep = self._clock.advance if isinstance(self._clock, Clock) else None
        session.mount(f"{self.base_url}/", WSGIAdapter(self, sleep=sleep))
        return session

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer a WSGI request."""
        request = Request.from_environ(environ)
        answer = self._answer(request, environ.get(WAIT_KEY, self._sleep))
        headers = [*answer.headers, ("X-Request-ID", new_id("req"))]
        start_response(answer.status_line, headers)
        return [] if request.method == "HEAD" else answer.body

    def _answer(self, request: Request, wait: Wait) -> Response:
        endpoint, arguments = _route(request)
        grant_type = grant_type_of(body_fields(request))
        with self._lock:
            fault = self._faults.take(endpoint, request.path, grant_type)
        if fault is not None and not fault.processed:
            return self._strike_down(request, endpoint, fault, wait)
        with self._lock:
            answer = self._handle(request, endpoint, arguments)
            self._record(request, endpoint, answer.status, fault)
        # Outside the lock: a slow answer must not hold up the others.
        return answer if fault is None else fault.answer(answer, wait)

    def _strike_down(
        self, request: Request, endpoint: str, fault: Fault, wait: Wait
    ) -> Response:
        try:
            answer = fault.answer(None, wait)
        except NetworkFault:
            self._record(request, endpoint, None, fault)
            raise
        self._record(request, endpoint, answer.status, fault)
        return answer

    def _handle(
        self, request: Request, endpoint: str, arguments: Sequence[str]
    ) -> Response:
        handlers: Mapping[str, Callable[..., Response]] = {
            "index": self._index,
            "authorize": self._hosted.show,
            "authorize_form": self._hosted.submit,
            "logout": self._hosted.log_out,
            "authenticate": self._grants.authenticate,
            "magic_auth": self._resources.magic_auth,
            "email_verification": self._resources.email_verification,
            "revoke_session": self._resources.revoke_session,
            "user_sessions": self._resources.user_sessions,
            "user": self._resources.user,
            "memberships": self._resources.memberships,
            "organization": self._resources.organization,
            "jwks": self._jwks,
            "api_key_validation": self._resources.validate_api_key,
            "claim_nonce": self._resources.claim_nonce,
            _UNKNOWN: _not_found,
        }
        try:
            return handlers[endpoint](request, *arguments)
        except Refusal as refusal:
            return refusal.response

    def _record(
        self, request: Request, endpoint: str, status: int | None, fault: Fault | None
    ) -> None:
        name = None if fault is None else type(fault).__name__
        call = record_call(request, endpoint, status, name)
        with self._lock:
            self.calls.append(call)

    def _jwks(self, request: Request, client_id: str) -> Response:
        if client_id != self.settings.client_id:
            raise message_error(404, "Client not found.")
        return json_response(200, self._keys.jwk_set())

    def _index(self, request: Request) -> Response:
        users = self._directory.users.values()
        page = pages.index(
            hosted=self._hosted.signed_in(request),
            organizations=self._directory.organizations,
            people=[
                (user, self._directory.organizations_of(user.id)) for user in users
            ],
            counters=self._counters(),
            active_sessions=self._sessions.active(),
        )
        return html_response(200, page)

    def _counters(self) -> dict[str, int]:
        counters: dict[str, int] = {}
        for call in self.calls:
            name = call.grant_type or call.endpoint
            counters[name] = counters.get(name, 0) + 1
        return counters

    def _parse(self, url: str) -> AuthorizationRequest:
        parts = urlsplit(url)
        if parts.path != AUTHORIZE_PATH:
            raise ValueError(
                f"this is not an authorization URL: its path is {parts.path}"
            )
        query = parse_qsl(parts.query, keep_blank_values=True)
        return parse_authorization_request(query, self.settings, self._directory)

    def _sign_in(
        self,
        user: FakeUser,
        organization_id: str | None,
        impersonator: Impersonator | None,
        authentication_method: str,
    ) -> SignIn:
        return SignIn(
            user=user,
            authentication_method=(
                "Impersonation" if impersonator else authentication_method
            ),
            authenticated_at=self._clock(),
            organization_id=organization_id,
            impersonator=impersonator,
        )


def _route(request: Request) -> tuple[str, Sequence[str]]:
    method = "GET" if request.method == "HEAD" else request.method
    for name, allowed, pattern in _ENDPOINTS:
        match = pattern.fullmatch(request.path)
        if match and method == allowed:
            return name, match.groups()
    return _UNKNOWN, ()


def _not_found(request: Request) -> Response:
    allowed = [method for _, method, path in _ENDPOINTS if path.fullmatch(request.path)]
    if not allowed:
        raise message_error(404, "Not Found")
    headers = [
        ("Allow", ", ".join([*allowed, *(["HEAD"] if "GET" in allowed else [])]))
    ]
    return json_response(405, {"message": "Method Not Allowed"}, headers)
