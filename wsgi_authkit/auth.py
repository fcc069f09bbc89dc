"""The request's handle, ``environ["authkit"]``: the service bound to one request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from wsgi_authkit._wsgi import Header
from wsgi_authkit.access import client_info, is_navigation
from wsgi_authkit.authentication import ClientInfo
from wsgi_authkit.authorization import AuthorizationOptions, Flow
from wsgi_authkit.challenge import Challenge
from wsgi_authkit.eager import EAGER_COOKIE
from wsgi_authkit.errors import AuthorizationError, HeadersSent
from wsgi_authkit.identity import publish
from wsgi_authkit.links import Links
from wsgi_authkit.marker import count_start, marker_headers
from wsgi_authkit.options import Options
from wsgi_authkit.pending_flows import PendingFlow, PendingFlows
from wsgi_authkit.redirect_uris import Choice, RedirectURIs
from wsgi_authkit.results import AuthorizationResult, AuthResult
from wsgi_authkit.service import AuthKitService
from wsgi_authkit.session import AnonymousSession, Session

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)


def identify(
    service: AuthKitService, options: Options, environ: WSGIEnvironment
) -> AuthResult:
    """Return who makes a request; a refresh on the way is told to the app's hooks."""
    hooks: dict[str, Any] = {}
    on_refresh, on_refresh_error = options.on_refresh, options.on_refresh_error
    if on_refresh is not None:
        hooks["on_refresh"] = lambda session: on_refresh(session, environ)
    if on_refresh_error is not None:
        hooks["on_refresh_error"] = lambda error, transient: on_refresh_error(
            error, environ, transient
        )
    return service.with_auth(
        environ.get("HTTP_COOKIE", ""),
        client=client_info(environ),
        navigation=is_navigation(environ, framed=_is_framed(service)),
        **hooks,
    )


def _is_framed(service: AuthKitService) -> bool:
    """Say whether the session is meant to work in another site's frame."""
    return service.config.cookie_same_site == "none"


class Auth:
    """What an app can ask and do about sign-in within one request.

    The URL functions return paths on this site and set no cookie: a sign-in starts
    when the person follows one, not when the page is made.
    """

    __slots__ = (
        "_choice",
        "_environ",
        "_excluded",
        "_flows",
        "_headers_sent",
        "_leads_to_workos",
        "_options",
        "_redirect_uris",
        "_result",
        "_service",
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
        self._service = service
        self._options = options
        self._environ = environ
        self._result = result
        self._redirect_uris = redirect_uris
        self._choice = choice
        self._flows: PendingFlows | None = None
        self._leads_to_workos = False
        # Kept: a session that the app makes there does not end the exclusion.
        self._excluded = result.session.reason == "excluded"
        self._headers_sent = False

    def __repr__(self) -> str:
        return f"<Auth {self._result.session!r}>"

    @property
    def session(self) -> Session | AnonymousSession:
        """The same as ``environ["authkit.session"]``."""
        return self._result.session

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
        if self._headers_sent and not (flow and flow.started):
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
        self._headers_sent = True
        latest = self._service.latest_headers(self._result, self.cookies)
        if self._flows is None:
            return latest
        self._leads_to_workos = self._flows.is_used(status, headers)
        return [*latest, *self._flows.headers(self._environ, status, headers)]

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
            framed=_is_framed(self._service),
            start_url=self._links.start,
        )

    def check_headers_unsent(self) -> None:
        """Refuse a change that could not reach the browser any more.

        :raises HeadersSent: The app has called ``start_response``.
        """
        if self._headers_sent:
            raise HeadersSent(
                "the session cannot change any more: its cookie belongs into headers "
                "that the app has sent; change it before start_response is called"
            )

    def change(self, result: AuthResult) -> None:
        """Replace who makes the request, from now on and in the response.

        :raises HeadersSent: It is too late.
        """
        self.check_headers_unsent()
        self._result = result
        self.publish()

    def publish(self) -> None:
        """Set what the app reads of ``environ`` to who makes the request."""
        publish(self._environ, self.session, self._options.remote_user)

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
        self._service = self._service.with_redirect_uri(redirect_uri)
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
