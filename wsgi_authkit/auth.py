"""The request's handle, ``environ["authkit"]``: the service bound to one request."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from wsgi_authkit._wsgi import Header, path_and_query
from wsgi_authkit.access import client_info
from wsgi_authkit.api import WorkOSClient
from wsgi_authkit.api_keys import APIKey, parse_bearer
from wsgi_authkit.authentication import Authentication, ClientInfo
from wsgi_authkit.authorization import AuthorizationOptions, Flow
from wsgi_authkit.challenge import Challenge
from wsgi_authkit.eager import EAGER_COOKIE
from wsgi_authkit.errors import AuthorizationError, HeadersSent
from wsgi_authkit.links import Links
from wsgi_authkit.marker import count_start, marker_headers
from wsgi_authkit.options import Options
from wsgi_authkit.pending_flows import PendingFlow, PendingFlows
from wsgi_authkit.redirect_uris import Choice, RedirectURIs
from wsgi_authkit.request_session import RequestSession
from wsgi_authkit.results import AuthorizationResult, AuthResult, RefreshOutcome
from wsgi_authkit.service import AuthKitService
from wsgi_authkit.session import AnonymousSession, Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from wsgiref.types import WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

#: Seconds that the clock of WorkOS may be ahead of ours.
CLOCK_SKEW: Final = 60


class Auth:
    """What an app can ask and do about sign-in within one request.

    For apps are ``session``, ``sign_in_url``, ``sign_up_url``, ``sign_out_url``,
    ``authorization_url``, ``challenge``, ``refresh``, ``switch_organization``,
    ``save_session``, ``clear_session``, ``sign_out``, ``validate_api_key``,
    ``check_recent_auth`` and ``api``. All other members are what the middleware and
    its endpoints share, and may change.

    The URL functions return paths on this site and set no cookie: a sign-in starts
    when the person follows one, not when the page is made.
    """

    __slots__ = (
        "_choice",
        "_current",
        "_environ",
        "_excluded",
        "_flows",
        "_leads_to_workos",
        "_options",
        "_redirect_uris",
    )

    def __init__(
        self,
        service: AuthKitService,
        options: Options,
        environ: WSGIEnvironment,
        result: AuthResult,
        redirect_uris: RedirectURIs,
        choice: Choice,
    ) -> None:
        self._options = options
        self._environ = environ
        self._current = RequestSession(service, options, environ, result)
        self._redirect_uris = redirect_uris
        self._choice = choice
        self._flows: PendingFlows | None = None
        self._leads_to_workos = False
        # Kept: a session that the app makes there does not end the exclusion.
        self._excluded = result.session.reason == "excluded"

    def __repr__(self) -> str:
        return f"<Auth {self._result.session!r}>"

    @property
    def session(self) -> Session | AnonymousSession:
        """The same as ``environ["authkit.session"]``."""
        return self._result.session

    @property
    def _result(self) -> AuthResult:
        return self._current.result

    @property
    def _service(self) -> AuthKitService:
        return self._current.service

    def sign_in_url(self, return_to: str | None = None, **options: Any) -> str:
        """Return the path on this site that starts a sign-in.

        :param return_to: The path to come back to, with the prefix that the app is
            mounted at, ``return_pathname`` by default. A path that could lead off this
            site is dropped.
        :param options: The fields of
            :class:`~wsgi_authkit.authorization.AuthorizationOptions`, such as
            ``organization_id``, ``login_hint`` or ``state``. They travel sealed.
        :raises ValueError: An option is not of the form that WorkOS takes, or
            ``redirect_uri`` is none of ours.
        :raises CookieTooLarge: ``state`` has more than 2048 bytes.
        """
        return self._links.start("sign-in", return_to, options)

    def sign_up_url(self, return_to: str | None = None, **options: Any) -> str:
        """Return the path on this site that starts a sign-up.

        See :meth:`sign_in_url`.
        """
        return self._links.start("sign-up", return_to, options)

    def sign_out_url(self, return_to: str | None = None) -> str:
        """Return the path on this site that signs out.

        A form that posts to it signs out at once; a link leads to a page that asks.

        :param return_to: A path on this site, or one of the URLs in
            ``sign_out_return_to`` and ``allowed_return_urls``.
        :raises ValueError: It is neither.
        """
        return self._links.sign_out(return_to)

    def authorization_url(
        self, return_to: str | None = None, *, start: bool = False, **options: Any
    ) -> str:
        """Return the URL of WorkOS itself, for an app that redirects there by itself.

        :meth:`sign_in_url` is the better link: it starts a flow when somebody follows
        it. Here the flow is made at once, and its verifier cookie goes out when this
        response is a redirect to exactly this URL that a person follows; where no
        response of this request does, no cookie is set. Asking the same again gives
        the same URL.

        Where no sign-in can start, at an address that is not listed or in a loop of
        sign-ins, it is the sign-in path of this site, which says so to the person.

        :param return_to: As for :meth:`sign_in_url`.
        :param start: Send the verifier cookie with this response whatever it is, for a
            page or a script that sends the browser on. Five flows can be pending, so
            not for a URL that may never be followed.
        :param options: As for :meth:`sign_in_url`; on one of ``sign_up_paths``,
            ``screen_hint`` is ``"sign-up"`` unless it is given.
        :raises HeadersSent: The app has called ``start_response``.
        :raises ValueError: An option is not of the form that WorkOS takes, or
            ``redirect_uri`` is none of ours.
        :raises CookieTooLarge: ``state`` and ``return_to`` are too long.
        """
        if self._options.rules.is_sign_up(self._environ.get("PATH_INFO", "")):
            options.setdefault("screen_hint", "sign-up")
        asked = (return_to, AuthorizationOptions(**options))
        flows = self._flows = self._flows or PendingFlows()
        flow = flows.find(asked)
        if self._current.headers_sent and not (flow and flow.started):
            raise HeadersSent(
                "no sign-in can start any more: its cookie belongs into headers that "
                "the app has sent; ask for the URL before start_response is called"
            )
        if flow is None:
            flow = self._pending_flow(return_to, options, flows)
        if flow is None:
            return self.site_url(self.sign_in_url(return_to, **options))
        flows.add(asked, flow)
        flow.started = flow.started or start
        return flow.url

    def _pending_flow(
        self, return_to: str | None, options: dict[str, Any], flows: PendingFlows
    ) -> PendingFlow | None:
        """Return a flow that is not started yet, ``None`` where none can start."""
        marker = count_start(self._service, self.cookies)
        if marker is not None and marker.is_loop:
            return None
        try:
            cookies = flows.cookies(self.cookies)
            made = self.start_flow(return_to, options, cookies=cookies)
        except AuthorizationError:
            return None
        counted = []
        if marker is not None:
            counted = marker_headers(self._service, self.sign_in_path, marker)
        return PendingFlow(made.url, [*made.headers, *counted])

    def challenge(self) -> WSGIApplication:
        """Return a WSGI app that asks the person to sign in.

        A navigation is redirected to sign-in and comes back to this URL. Anything else,
        and what is in ``api_paths``, gets 401 and JSON. While nobody can say whether
        the person is signed in, the answer is 503.
        """
        return self._challenge.answer()

    def refresh(
        self, organization_id: str | None = None, *, return_to: str | None = None
    ) -> RefreshOutcome:
        """Refresh the session now, for new roles, permissions or user data.

        Expected answers of WorkOS are outcomes and never raised; see
        :class:`~wsgi_authkit.RefreshOutcome`. A new session is in
        ``environ["authkit.session"]`` at once and its cookie goes out with this
        response. Of ``reauthorize``, ``url`` is the path on this site that starts the
        sign-in that is asked for, fit for a page and for a redirect; or, where WorkOS
        says itself where to go on and that is WorkOS, the configured API or one of the
        configured issuers, that URL.

        For somebody who is not signed in nothing is asked: the outcome is ``denied``
        with the session's reason, ``unavailable`` while nobody can say, and
        ``reauthorize`` where WorkOS has just asked for that.

        :param organization_id: Switch to this organization. WorkOS decides whether the
            person may; it need not be checked before.
        :param return_to: The path that a new authorization comes back to. By default it
            is this URL for GET, ``return_pathname`` otherwise.
        :raises HeadersSent: The app has called ``start_response``; WorkOS was not asked
            and the refresh token is as good as before.
        :raises ValueError: ``organization_id`` is not a string.
        """
        outcome = self._current.refresh(organization_id)
        if outcome.kind != "reauthorize" or outcome.url is not None:
            return outcome
        if return_to is None and self._environ["REQUEST_METHOD"] == "GET":
            return_to = path_and_query(self._environ)
        url = self.sign_in_url(return_to, organization_id=outcome.organization_id)
        return replace(outcome, url=self.site_url(url))

    def switch_organization(
        self, organization_id: str, *, return_to: str | None = None
    ) -> RefreshOutcome:
        """Switch the session to another organization, as :meth:`refresh` does.

        The kind is ``switched``, or ``reauthorize`` where the organization asks for
        SSO or MFA, or the person is not a member of it; ``reason`` says which.

        :raises HeadersSent: The app has called ``start_response``; WorkOS was not
            asked.
        :raises ValueError: ``organization_id`` is empty or not a string.
        """
        if not organization_id:
            raise ValueError("organization_id must name an organization")
        return self.refresh(organization_id, return_to=return_to)

    def save_session(self, value: Session | Authentication | Mapping[str, Any]) -> None:
        """Sign somebody in whom the app has authenticated itself.

        The token and that it is this user's are verified first. Where the request
        that leads here is not proven to come from this site, anybody can sign a visitor
        in as somebody of their own choice: check its origin or a CSRF token.

        :param value: A session, an answer of ``api.authenticate``, or a mapping with
            access token, refresh token, ``user`` and ``impersonator`` in snake_case or
            camelCase.
        :raises HeadersSent: The app has called ``start_response``.
        :raises InvalidToken: The access token is not good, or not this user's, or the
            session was signed out here since. Nothing is set.
        :raises KeySetUnavailable: Nobody can say at present. Nothing is set.
        :raises CookieTooLarge: The session does not fit into cookies. Nothing is set.
        """
        self._current.save(value)

    def clear_session(self) -> None:
        """Forget the session in this browser; it goes on at WorkOS.

        To sign somebody out use :meth:`sign_out`.

        :raises HeadersSent: The app has called ``start_response``.
        """
        self._current.clear()

    def sign_out(self, return_to: str | None = None) -> str:
        """End the session and return the URL to send the browser to.

        It leads through WorkOS, where the session ends too; it has to be visited as a
        top-level navigation, so redirect there. Works with an expired token and while
        WorkOS is down. The request must be proven to come from this site, as with
        every change; :meth:`sign_out_url` has an endpoint that sees to it.

        :param return_to: Where to end: a path on this site, or one of the URLs in
            ``sign_out_return_to`` and ``allowed_return_urls``. ``None`` is
            ``sign_out_return_to``. WorkOS knows it as a sign-out redirect.
        :raises HeadersSent: The app has called ``start_response``.
        :raises ValueError: ``return_to`` is neither.
        """
        target = (
            self.absolute_return_url(self._options.sign_out_return_to)
            if return_to is None
            else self._links.allowed_return_url(return_to)
        )
        url = self._current.end(target, self.sign_in_path)
        return url or target or self.site_url(self.return_path(None))

    def validate_api_key(self) -> APIKey | None:
        """Return the API key that a program sent as its Bearer token.

        ``None`` without a valid one: no ``Authorization`` header, one of another form
        (RFC 6750 2.1), or a key that WorkOS does not know. WorkOS's answer is
        remembered for 60 seconds, "invalid" for 10, so that a revoked key lives on for
        a minute at most. The session of the request has nothing to do with it.

        :raises APIUnavailable: WorkOS cannot be asked: answer 503, the key may be good.
        :raises ClientRejected: WorkOS refused this app's own API key.
        """
        value = parse_bearer(self._environ.get("HTTP_AUTHORIZATION", ""))
        return None if value is None else self._service.validate_api_key(value)

    def check_recent_auth(self, max_age: float) -> bool:
        """Say whether the person has proven who they are within ``max_age`` seconds.

        For what a stolen session must not be enough for. If not, send the person to
        ``sign_in_url(return_to, max_age=max_age)``. It is the claim ``auth_time`` that
        counts, which a refresh does not renew; without it, and for nobody, the answer
        is ``False``.

        :param max_age: Seconds, 0 or more; exactly so many are recent.
        :raises ValueError: ``max_age`` is not such a number.
        """
        if isinstance(max_age, bool) or not (
            isinstance(max_age, int | float) and 0 <= max_age < math.inf
        ):
            raise ValueError("max_age must be seconds, 0 or more")
        auth_time = self.session.claims.get("auth_time")
        if auth_time is None:
            return False
        age: float = self._service.clock() - auth_time
        return -CLOCK_SKEW <= age <= max_age

    @property
    def api(self) -> WorkOSClient:
        """The WorkOS API with this app's credentials.

        They may do anything: check what a request asks for before passing it on.
        """
        return self._service.api

    # For the middleware

    @property
    def is_excluded(self) -> bool:
        """Whether the request is for a path that the middleware leaves alone."""
        return self._excluded

    @property
    def is_private(self) -> bool:
        """Whether the response depends on who asks, so that no cache may keep it.

        It does not on excluded paths: there the app's own cache headers stand.
        """
        return not self._excluded and (
            self._leads_to_workos
            or self.session.reason != "no_cookie"
            or "HTTP_AUTHORIZATION" in self._environ
            # Also one that cannot be a session: a cache that does not know it must not
            # learn from it what everybody gets.
            or self._service.config.cookie_name in self.cookies
            or EAGER_COOKIE in self.cookies
        )

    def start_response(
        self, status: str = "", headers: Iterable[Header] = ()
    ) -> list[Header]:
        """Return the headers to add to the app's; no change is possible afterwards.

        :param status: Of the response, which may lead into a flow.
        """
        extra = self._current.start_response()
        if self._flows is None:
            return extra
        self._leads_to_workos = self._flows.is_used(status, headers)
        return [*extra, *self._flows.headers(self._environ, status, headers)]

    def rewrite(self, status: str, headers: list[Header]) -> tuple[str, list[Header]]:
        """Return status and headers of the app, with ``challenge_401`` applied."""
        return self._challenge.rewrite(status, headers)

    @property
    def _challenge(self) -> Challenge:
        return Challenge(
            environ=self._environ,
            result=self._result,
            options=self._options,
            origin=self.origin,
            framed=self._service.config.is_framed,
            start_url=self._links.start,
        )

    def change(self, result: AuthResult) -> None:
        """Replace who makes the request, from now on and in the response.

        :raises HeadersSent: It is too late.
        """
        self._current.change(result)

    def publish(self) -> None:
        """Set what the app reads of ``environ`` to who makes the request."""
        self._current.publish()

    # For the endpoints

    @property
    def environ(self) -> WSGIEnvironment:
        """The request."""
        return self._environ

    @property
    def service(self) -> AuthKitService:
        """The service."""
        return self._service

    @property
    def options(self) -> Options:
        """The options of the middleware."""
        return self._options

    @property
    def cookies(self) -> str:
        """The ``Cookie`` header, empty where there is none."""
        return str(self._environ.get("HTTP_COOKIE", ""))

    @property
    def client(self) -> ClientInfo:
        """Whom the request comes from."""
        return client_info(self._environ)

    @property
    def redirect_uris(self) -> RedirectURIs:
        """The redirect URIs of this site."""
        return self._redirect_uris

    @property
    def _links(self) -> Links:
        return Links(self._service, self._options, self._environ, self._redirect_uris)

    @property
    def origin(self) -> str:
        """The public origin of this site for this request, from the configuration."""
        return self._links.origin

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins that pages of this site can have."""
        return self._links.origins

    @property
    def sign_in_path(self) -> str:
        """The public path of the sign-in endpoint."""
        return self.endpoint_url("sign-in")

    def endpoint_url(self, name: str) -> str:
        """Return the public path of one of the mounted endpoints."""
        return self._links.endpoint(name)

    def return_path(self, value: str | None) -> str:
        """Return where a sign-in ends: a safe path, ``return_pathname`` otherwise."""
        return self._links.return_path(value)

    def site_url(self, path: str) -> str:
        """Return a path on this site as redirects have it: absolute on ``base_url``."""
        return self._links.on_site(path)

    def absolute_return_url(self, value: str | None) -> str | None:
        """Return where a sign-out may lead as an absolute URL, ``None`` otherwise."""
        return self._links.absolute_return_url(value)

    def open_request(self, sealed: str) -> dict[str, Any]:
        """Return the options that :meth:`sign_in_url` sealed into a link.

        :raises BadSeal: The parameter was changed, or made with another password.
        """
        return self._links.open_request(sealed)

    def use_redirect_uri(self, redirect_uri: str) -> None:
        """Go on with the redirect URI that a link asks for.

        :raises ValueError: It is none of ours.
        """
        self._links.check_redirect_uri(redirect_uri)
        self._current.service = self._service.with_redirect_uri(redirect_uri)
        self._choice = Choice(redirect_uri)

    def follow_flow(self, flow: Flow | None) -> None:
        """Go on with the redirect URI of a flow that is answered here.

        Where the app says which one each request uses, that stands: a flow that was
        started for another host is started again for this one.
        """
        if flow is None or self._redirect_uris.is_chosen_by_app:
            return
        answering = self._redirect_uris.answering(self._environ)
        if flow.redirect_uri is not None and flow.redirect_uri in answering:
            self.use_redirect_uri(flow.redirect_uri)

    def start_flow(
        self,
        return_to: str | None,
        options: dict[str, Any],
        *,
        cookies: str | None = None,
        restarted: bool = False,
    ) -> AuthorizationResult:
        """Start a flow for the redirect URI of this request, or the one of ``options``.

        :raises AuthorizationError: This request has no redirect URI.
        :raises ValueError: An option is not of the form that WorkOS takes, or
            ``redirect_uri`` is none of ours.
        :raises CookieTooLarge: ``state`` and ``return_to`` are too long.
        """
        redirect_uri = options.get("redirect_uri")
        self._links.check_redirect_uri(redirect_uri)
        service = self._service
        if redirect_uri is not None:
            service = service.with_redirect_uri(redirect_uri)
        elif self._choice.error is not None:
            self._redirect_uris.warn(self._choice.error)
            raise self._choice.error
        return service.create_authorization(
            return_to=self.return_path(return_to),
            cookies=self.cookies if cookies is None else cookies,
            sign_in_path=self.sign_in_path,
            restarted=restarted,
            **options,
        )
