"""AuthKit without WSGI: :class:`AuthKitService`.

The middleware is built on it, and so can other integrations be: a WebSocket server, an
ASGI app, a job. A ``Cookie`` header goes in and a frozen result comes out, whose
``headers`` are ``(name, value)`` pairs, one ``Set-Cookie`` each; they have to be sent,
each as a header of its own::

    service = AuthKitService(AuthKitConfig.from_environ())
    result = service.with_auth(request.headers.get("cookie"))
    if result.session:
        greet(result.session.user)
    response.headers.extend(result.headers)

Who does not send them loses the refreshed session: the refresh token in the old cookie
has been used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from wsgi_authkit._wsgi import Header
from wsgi_authkit.api import WorkOSClient
from wsgi_authkit.api_keys import APIKey
from wsgi_authkit.authentication import Authentication, ClientInfo
from wsgi_authkit.authorization import Flow
from wsgi_authkit.config import AuthKitConfig
from wsgi_authkit.cookies import is_written_plainly, sole_cookie
from wsgi_authkit.envelope import Envelope
from wsgi_authkit.errors import (
    APIError,
    BadSeal,
    InvalidToken,
)
from wsgi_authkit.process import Process, State
from wsgi_authkit.results import (
    AuthorizationResult,
    AuthResult,
    CallbackResult,
    HeadersResult,
    RefreshOutcome,
    SignOutResult,
    as_result,
)
from wsgi_authkit.seal import Encryption, IronEncryption, looks_sealed
from wsgi_authkit.session import (
    INVALID_COOKIE,
    NO_COOKIE,
    AnonymousSession,
    Session,
    SessionPayload,
    dump_payload,
    make_session,
    parse_payload,
)
from wsgi_authkit.session_details import Organization
from wsgi_authkit.session_ends import CLOCK_SKEW
from wsgi_authkit.session_refresher import (
    OnNotRefreshed,
    OnRefreshed,
    RefreshContext,
    ignore,
)
from wsgi_authkit.session_storage import Cookies, CookieSessionStorage, SessionStorage
from wsgi_authkit.sessions import Visit
from wsgi_authkit.sign_in import SignIn
from wsgi_authkit.stores import Store, check_store

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

#: Verified sessions that a process keeps unless it is told otherwise: about 8 MB.
SESSION_CACHE_SIZE: Final = 1024


class AuthKitService:
    """Sign-in, sessions and sign-out for one configuration. Shared by all threads.

    Nothing happens at construction: no network, file, lock or thread. Each process
    makes its own connections and keys at the first use, so it is safe under
    ``--preload`` and fork.

    :param encryption: Seals and opens sessions and sign-in states, in place of the
        ``Fe26.2`` seal that is shared with the JavaScript libraries.
    :param storage: Keeps sessions elsewhere than in the ``Cookie`` header.
    :param store: Where refreshes are coordinated, see :mod:`wsgi_authkit.stores`.
    :param http: A ``requests.Session`` for calls to WorkOS.
    :param clock: The time, in Unix seconds.
    :param refresh_buffer: Seconds before a token's expiry from which it is refreshed;
        ``None`` is 60, or 30 for tokens of 5 minutes or less; 0 only after expiry.
    :param session_cache_size: Verified sessions that a process keeps, by cookie value;
        0 keeps none.
    :param revocation_check: Seconds after which the store is asked again about a
        session that is kept; ``None`` asks when the session is verified again.
    """

    def __init__(
        self,
        config: AuthKitConfig,
        *,
        encryption: Encryption | None = None,
        storage: SessionStorage | None = None,
        store: str | Store = "memory:",
        http: requests.Session | None = None,
        clock: Callable[[], float] = time.time,
        refresh_buffer: float | None = None,
        session_cache_size: int = SESSION_CACHE_SIZE,
        revocation_check: float | None = None,
    ) -> None:
        check_store(store)
        self.config = config
        self.clock = clock
        #: Encrypts what is our own: store values, parameters, markers.
        self.envelope = Envelope(config.cookie_passwords)
        self.encryption: Encryption = encryption or IronEncryption(
            config.cookie_password,
            tuple(config.previous_cookie_passwords),
            clock=clock,
        )
        self.storage: SessionStorage = storage or CookieSessionStorage(
            config, plausible=None if encryption else looks_sealed
        )
        # Of other storages nobody knows where they read.
        self._plain_storage = (
            self.storage
            if isinstance(self.storage, CookieSessionStorage)
            and self.storage.reads_header
            else None
        )
        #: The name of the session cookie.
        self.cookie_name = config.cookie_name
        #: Whom :meth:`glance` finds in cookies that have that name nowhere.
        self.without_cookie = None if self._plain_storage is None else NO_COOKIE
        #: What this process has: connections, keys, kept sessions.
        self.process = Process(
            partial(
                State,
                config,
                encryption=self.encryption,
                envelope=self.envelope,
                storage=self.storage,
                store=store,
                http=http,
                clock=clock,
                refresh_buffer=refresh_buffer,
                session_cache_size=session_cache_size,
                revocation_check=revocation_check,
            ),
            recalls=self._plain_storage is not None,
        )
        # One for each other redirect URI. This one is not in it: a service of one URI
        # would refer to itself, and its connections close whenever the cycle is found.
        self._variants: dict[str, AuthKitService] = {}
        self._configured = config.redirect_uri
        self._secure = config.secure_cookies()

    @property
    def api(self) -> WorkOSClient:
        """The WorkOS API."""
        return self._state.api

    @property
    def _state(self) -> State:
        return self.process.state

    @property
    def _sign_in(self) -> SignIn:
        state = self._state
        return SignIn(
            self.config,
            state.api,
            self.encryption,
            self.storage,
            state.ledger,
            state.verifier,
            redirect_uris=self.redirect_uris,
            log_clock=state.refresher.log_clock,
            clock=self.clock,
        )

    @property
    def redirect_uris(self) -> tuple[str, ...]:
        """The configured redirect URI, and all that this service was asked for."""
        return (self._configured, *self._variants)

    def with_redirect_uri(self, redirect_uri: str) -> AuthKitService:
        """Return this service for another redirect URI of the same site.

        ``Secure``, the paths of the verifier cookies and where WorkOS sends the browser
        back to follow the redirect URI; connections, keys and sessions are shared. Kept
        for each URI, so never pass one that came with a request.

        :raises ConfigurationError: It cannot be a redirect URI of these settings.
        """
        if redirect_uri == self.config.redirect_uri:
            return self
        variant = self._variants.get(redirect_uri)
        if variant is None:
            variant = copy(self)
            variant.config = replace(self.config, redirect_uri=redirect_uri)
            variant._secure = variant.config.secure_cookies()
            variant = self._variants.setdefault(redirect_uri, variant)
        return variant

    def with_auth(
        self,
        cookies: Cookies,
        *,
        client: ClientInfo | None = None,
        navigation: bool = False,
        on_refresh: OnRefreshed = ignore,
        on_refresh_error: OnNotRefreshed = ignore,
    ) -> AuthResult:
        """Return who makes a request, with a session that is refreshed if need be.

        Never raises for what a cookie holds or WorkOS answers: the session is then an
        :class:`AnonymousSession` whose ``reason`` says why.

        :param navigation: The request is a top-level navigation. Only then is the
            cookie of a session that is over deleted: the late answer of a background
            request could otherwise delete the new one that another has brought.
        :param on_refresh: Gets the new session, once a call to WorkOS. What it raises
            is logged and ignored; so with the next.
        :param on_refresh_error: Gets the :class:`~wsgi_authkit.RefreshError` of a call
            that failed, and whether trying again can help.
        """
        at = self.clock()
        found = self.identify(
            cookies,
            lambda: {
                "client": client,
                "navigation": navigation,
                "on_refresh": on_refresh,
                "on_refresh_error": on_refresh_error,
            },
            at,
        )
        return as_result(found, at)

    def identify(
        self,
        cookies: Cookies,
        describe: Callable[[], Mapping[str, Any]],
        at: float,
        values: Sequence[str] | None = None,
    ) -> Session | AnonymousSession | AuthResult:
        """Return who makes a request, as :meth:`with_auth` does.

        It is a result only where there is more to it than the session.

        :param at: When the request came, in Unix seconds.
        :param describe: Returns the options of :meth:`with_auth`. Called only if there
            is more to do than to open a cookie: few requests bring a session that is
            due, or over.
        :param values: What :meth:`glance` has found.
        """

        def ask() -> tuple[Visit, RefreshContext]:
            options = dict(describe())
            navigation = options.pop("navigation", False)
            visit = self._visit(cookies, at=at, navigation=navigation)
            return visit, RefreshContext(**options)

        return self._state.sessions.find(cookies, at, ask, values)

    def recall(
        self, cookies: str, now: float | None = None
    ) -> tuple[Session | AnonymousSession | None, list[str] | None]:
        """Return who makes a request, where one look at the header is enough to know.

        Where it is not, ``None``, and :meth:`identify` has to say, which never
        contradicts this. It is told the second: the values that may be the session,
        ``None`` if those are to be found first.

        :param cookies: The ``Cookie`` header, which may be empty.
        :param now: The time, in Unix seconds, for who has just asked for it.
        """
        kept = self.process.recall(cookies, self.clock() if now is None else now)
        return self.glance(cookies) if kept is None else (kept, None)

    def glance(
        self, cookies: str
    ) -> tuple[Session | AnonymousSession | None, list[str] | None]:
        """Return the same as :meth:`recall`, of a request whose session is not kept."""
        storage = self._plain_storage
        if storage is None:
            return None, None
        value = sole_cookie(cookies, self.cookie_name)
        if not value:
            return (None if value is None else NO_COOKIE), None
        # Those that are kept were read with care: they are written plainly.
        if not is_written_plainly(value):
            return None, None
        # What anybody can send is turned away before anything is made for it.
        return (
            (None, [value]) if storage.is_plausible(value) else (INVALID_COOKIE, None)
        )

    def _visit(
        self,
        cookies: Cookies,
        redirect_uri: str | None = None,
        *,
        at: float | None = None,
        navigation: bool = False,
    ) -> Visit:
        secure = self._secure
        if redirect_uri is not None:
            secure = self.config.secure_cookies(redirect_uri)
        return Visit(
            cookies=cookies,
            secure=secure,
            at=self.clock() if at is None else at,
            navigation=navigation,
        )

    def latest_headers(
        self, result: AuthResult | RefreshOutcome, cookies: Cookies
    ) -> list[Header]:
        """Return the headers of a result as they have to be sent by now.

        A response can take its time. Meanwhile another request may have refreshed the
        session further, or switched its organization; an older cookie that arrives
        last would undo it, and a deletion would lose it. Of a session that was signed
        out meanwhile, or that the browser has left for another one, nothing is left to
        send. What :meth:`clear_session` and :meth:`sign_out` answer stays as it is.
        """
        if result.refresh_token is None or not result.headers:
            return result.headers
        return self._state.sessions.latest_headers(result, self._visit(cookies))

    def get_session(self, cookies: Cookies) -> Session | AnonymousSession:
        """Return the verified session of a request, without ever refreshing it."""
        found = self._state.reader.find(cookies)
        if isinstance(found, AnonymousSession):
            return found
        if found.expired or found.session is None:
            return AnonymousSession("expired")
        return found.session

    def session_expires_at(self, session: Session) -> float | None:
        """Return when WorkOS ends a session, in Unix seconds.

        WorkOS is asked once a session, in 12 seconds at most. ``None`` where it cannot
        be asked, or does not say.
        """
        return self._state.details.expires_at(session)

    def organization_of(self, session: Session) -> Organization | None:
        """Return id and name of a session's organization.

        WorkOS is asked, in 8 seconds at most, and its answer is kept for 5 minutes.
        ``None`` without an organization, and where WorkOS cannot be asked.
        """
        return self._state.details.organization(session)

    def live_session_ids(self, cookies: Cookies) -> list[str]:
        """Return the id of the session that a request is made with, expired or not.

        Where none is believed at the moment, the keys of WorkOS cannot be had for
        instance, all of them that were not signed out: one may be believed a moment
        later, and a sign-out ends them all. Empty where there is none.
        """
        reader = self._state.reader
        found = reader.find(cookies)
        if not isinstance(found, AnonymousSession):
            believed = found.claims.get("sid")
            if isinstance(believed, str):
                return [believed]
        ids = reader.session_ids(cookies)
        return [each for each in ids if not reader.has_ended(each)]

    def session_ids(self, cookies: Cookies) -> list[str]:
        """Return the ids of the sessions in a request's cookies, expired ones too."""
        return self._state.reader.session_ids(cookies)

    def save_session(
        self,
        value: Session | Authentication | Mapping[str, Any],
        *,
        cookies: Cookies = None,
        redirect_uri: str | None = None,
    ) -> AuthResult:
        """Return a session that was made elsewhere, and the headers that store it.

        An answer of ``api.authenticate`` is a new sign-in, also to a session that was
        signed out here. Any other value of such a session is refused.

        :param value: A session, an answer of ``api.authenticate``, or a mapping with
            access token, refresh token, ``user`` and ``impersonator`` in snake_case or
            camelCase.
        :param cookies: The request's cookies, so that what an earlier session left
            behind can be deleted.
        :param redirect_uri: Decides about ``Secure``, in place of the configured one.
        :raises InvalidToken: The access token is not good, or not this user's, or the
            session was signed out here.
        :raises KeySetUnavailable: Nobody can say at present.
        :raises CookieTooLarge: The session does not fit into cookies.
        """
        payload = to_payload(value)
        claims = self._state.verifier.verify(payload.access_token)
        session = make_session(payload, claims, clock=self.clock)
        headers = self._state.sessions.save(
            self.encryption.seal(dump_payload(payload)),
            self._visit(cookies, redirect_uri),
        )
        ends = self._state.coordinator.ends
        if isinstance(value, Authentication):
            ends.revive(session.session_id)
        elif ends.has_ended(session.session_id):
            raise InvalidToken("the session was signed out; it cannot be saved again")
        return AuthResult(
            session=session,
            headers=headers,
            refresh_token=payload.refresh_token,
            session_id=session.session_id,
            # Whoever has left it until now: it is given again.
            at=self.clock() + CLOCK_SKEW,
        )

    def leave_sessions(self, cookies: Cookies, *, session_id: str = "") -> None:
        """Say that a browser has another session from now on than those of its cookies.

        To be called when the headers that make it so go out. Responses on their way for
        the earlier ones then write no cookie any more, see :meth:`latest_headers`. The
        sessions themselves go on.

        :param cookies: The cookies of the request that changes the session.
        :param session_id: The new session, if there is one.
        """
        ends = self._state.coordinator.ends
        for earlier in self.session_ids(cookies):
            if earlier != session_id:
                ends.leave(earlier)
        if session_id:
            ends.stay(session_id)

    def clear_session(
        self, *, cookies: Cookies = None, redirect_uri: str | None = None
    ) -> AuthResult:
        """Return the headers that delete the session; it goes on at WorkOS."""
        visit = self._visit(cookies, redirect_uri)
        return AuthResult(
            session=AnonymousSession(), headers=self._state.sessions.clear(visit)
        )

    def sign_out(
        self,
        session_id: str,
        return_to: str | None = None,
        *,
        cookies: Cookies = None,
        sign_in_path: str | None = None,
        redirect_uri: str | None = None,
        revoke: bool = False,
    ) -> SignOutResult:
        """End a session here and return the URL that ends it at WorkOS.

        The end is written down first, so that a refresh on its way cannot bring the
        session back.

        :param return_to: Where WorkOS sends the browser afterwards; it must be among
            the sign-out redirects of the WorkOS dashboard. Not checked here: never
            pass what came with a request.
        :param revoke: Also have WorkOS end the session now, in 2 seconds at most. A
            failure is logged and holds nothing up. The browser has to visit the URL all
            the same, or the next sign-in asks for nothing.
        """
        self._state.coordinator.ends.end(session_id)
        self._state.cache.drop(session_id)
        if revoke:
            self._revoke(session_id)
        pending = self.clear_pending_verifier(
            cookies=cookies, redirect_uri=redirect_uri, sign_in_path=sign_in_path
        )
        return SignOutResult(
            logout_url=self.api.logout_url(session_id, return_to),
            headers=[
                *self._state.sessions.clear(self._visit(cookies, redirect_uri)),
                *pending.headers,
            ],
        )

    def refresh_session(
        self,
        session: Session,
        organization_id: str | None = None,
        *,
        cookies: Cookies = None,
        return_to: str | None = None,
        sign_in_path: str | None = None,
        **options: Any,
    ) -> RefreshOutcome:
        """Refresh a session now, and switch it to an organization if one is named.

        Expected answers of WorkOS are outcomes, never exceptions. The headers of the
        outcome have to be sent, whatever its kind: for ``reauthorize`` they carry the
        verifier cookie of the sign-in that has been started.

        :param cookies: The request's cookies.
        :param return_to: Where a new authorization comes back to.
        :param sign_in_path: As for :meth:`create_authorization`.
        :param options: Those of :meth:`renew_session`.
        :raises ValueError: ``organization_id`` is not a string.
        """
        outcome = self.renew_session(
            session, organization_id, cookies=cookies, **options
        )
        if outcome.kind != "reauthorize" or outcome.url is not None:
            return outcome
        start = self.create_authorization(
            return_to=return_to,
            cookies=cookies,
            sign_in_path=sign_in_path,
            organization_id=outcome.organization_id,
        )
        return replace(outcome, url=start.url, headers=start.headers)

    def renew_session(
        self,
        session: Session,
        organization_id: str | None = None,
        *,
        cookies: Cookies = None,
        client: ClientInfo | None = None,
        navigation: bool = False,
        on_refresh: OnRefreshed = ignore,
        on_refresh_error: OnNotRefreshed = ignore,
    ) -> RefreshOutcome:
        """Refresh a session as :meth:`refresh_session` does, and start no sign-in.

        For who has sign-in URLs of their own: of ``reauthorize``, ``url`` is ``None``
        unless WorkOS itself says where to go on, and ``organization_id`` is the
        organization to sign in to.

        :param client: Whom the call is made for.
        :param navigation: As for :meth:`with_auth`; the hooks too.
        :raises ValueError: ``organization_id`` is not a string.
        """
        if not isinstance(organization_id, str | None):
            raise ValueError("organization_id must be a string")  # noqa: TRY004
        context = RefreshContext(
            client=client, on_refresh=on_refresh, on_refresh_error=on_refresh_error
        )
        visit = self._visit(cookies, navigation=navigation)
        return self._state.sessions.renew(
            session, organization_id or None, visit, context
        )

    def switch_organization(
        self, session: Session, organization_id: str, **options: Any
    ) -> RefreshOutcome:
        """Switch a session to another organization.

        :param options: Those of :meth:`refresh_session`.
        :raises ValueError: ``organization_id`` is empty or not a string.
        """
        if not organization_id:
            raise ValueError("organization_id must name an organization")
        return self.refresh_session(session, organization_id, **options)

    def validate_api_key(self, value: str) -> APIKey | None:
        """Return an API key of the app's customers, ``None`` if it is not valid.

        WorkOS is asked, and its answer remembered by the key's hash in this process: 60
        seconds for a valid key, never beyond its expiry, and 10 for an invalid one.

        :raises APIUnavailable: WorkOS cannot be asked: nobody knows about the key.
        :raises ClientRejected: WorkOS refused the app's own API key.
        """
        return self._state.api_keys.validate(value)

    def create_sign_in(self, **options: Any) -> AuthorizationResult:
        """Start a sign-in, see :meth:`create_authorization`."""
        return self.create_authorization(**{**options, "screen_hint": "sign-in"})

    def create_sign_up(self, **options: Any) -> AuthorizationResult:
        """Start a sign-up, see :meth:`create_authorization`."""
        return self.create_authorization(**{**options, "screen_hint": "sign-up"})

    def create_authorization(
        self,
        *,
        return_to: str | None = None,
        cookies: Cookies = None,
        sign_in_path: str | None = None,
        restarted: bool = False,
        **options: Any,
    ) -> AuthorizationResult:
        """Start a flow and return the URL of WorkOS to send the browser to.

        Call it only when the browser is really sent there: each call leaves a cookie,
        and the sixth pending flow ends the oldest.

        :param return_to: The path on this site to come back to; an unsafe one is
            dropped.
        :param cookies: The request's cookies, to find pending flows.
        :param sign_in_path: The public path of the sign-in endpoints; narrows the
            ``Path`` of the verifier cookie.
        :param options: The fields of
            :class:`~wsgi_authkit.authorization.AuthorizationOptions`.
        :raises ValueError: An option is not of the form that WorkOS takes.
        :raises CookieTooLarge: ``state`` and ``return_to`` are too long.
        """
        return self._sign_in.start(
            return_to=return_to,
            cookies=cookies,
            sign_in_path=sign_in_path,
            restarted=restarted,
            **options,
        )

    def peek_flow(self, state: str | None) -> Flow | None:
        """Return the flow of a ``state`` that need not be this browser's.

        Only to start it again: nothing in it has been proven to belong here. It names
        its redirect URI also where the state does not.
        """
        return self._sign_in.peek(state)

    def clear_pending_verifier(
        self,
        state: str | None = None,
        redirect_uri: str | None = None,
        *,
        cookies: Cookies = None,
        sign_in_path: str | None = None,
    ) -> HeadersResult:
        """Return the headers that delete the verifier cookie of a flow.

        :param state: The flow's state; without it all flows of ``cookies`` are ended.
        """
        return self._sign_in.clear(
            state, redirect_uri, cookies=cookies, sign_in_path=sign_in_path
        )

    def handle_callback(
        self,
        cookies: Cookies,
        code: str | None,
        state: str | None,
        *,
        client: ClientInfo | None = None,
        sign_in_path: str | None = None,
        redirect_uris: Collection[str] | None = None,
        accept: bool = True,
    ) -> CallbackResult:
        """Finish a sign-in: check the state, exchange the code, make the session.

        The code is exchanged only for a state that this browser was given, and each
        state once.

        :param redirect_uris: The redirect URIs that are answered here. A flow that was
            started for another one is refused; ``None`` does not ask.
        :param accept: ``False`` where the app can still refuse the sign-in: a session
            that was signed out here stays so until :meth:`accept_sign_in`.
        :raises StateMismatch: The state is not this browser's.
        :raises VerifierMissing: The verifier cookie is missing, too old or used.
        :raises AuthorizationError: Anything else; ``code`` says what. All errors carry
            ``headers`` to send. While WorkOS cannot be reached they keep the verifier,
            so that reloading the page works.
        """
        result = self._sign_in.finish(
            cookies,
            code,
            state,
            client=client,
            sign_in_path=sign_in_path,
            redirect_uris=redirect_uris,
        )
        if accept:
            self.accept_sign_in(result)
        return result

    def accept_sign_in(self, result: CallbackResult) -> None:
        """Have a session that was signed out here live again by a new sign-in to it."""
        self._state.coordinator.ends.revive(result.session.session_id)

    def _revoke(self, session_id: str) -> None:
        try:
            self.api.revoke_session(session_id)
        except APIError as error:
            log.warning(
                "session %s was not revoked at WorkOS, it ends there when the browser "
                "follows the redirect: %s",
                session_id,
                error,
            )


def to_payload(
    value: Session | Authentication | Mapping[str, Any],
) -> SessionPayload:
    """Return what is sealed of a session in any form that ``save_session`` takes.

    :raises InvalidToken: A token or the user is missing.
    """
    if isinstance(value, Session):
        return value._payload
    if isinstance(value, Authentication):
        return value.to_payload()
    if not isinstance(value, Mapping):
        raise InvalidToken("the session is neither a session nor a mapping")
    try:
        return parse_payload(value)
    except BadSeal as error:
        raise InvalidToken(str(error)) from error
