"""One request: its session, the flows that it starts, and what goes out with it.

The middleware and the endpoints work with it; the app has
:class:`~wsgi_authkit.Auth` in front of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wsgi_authkit._wsgi import Header, override_cookies
from wsgi_authkit.access import client_info
from wsgi_authkit.authorization import AuthorizationOptions
from wsgi_authkit.challenge import Challenge
from wsgi_authkit.eager import EAGER_COOKIE
from wsgi_authkit.errors import AuthorizationError, HeadersSent
from wsgi_authkit.marker import count_start, marker_headers
from wsgi_authkit.pending_flows import PendingFlow, PendingFlows
from wsgi_authkit.redirect_uris import Choice, RedirectURIs
from wsgi_authkit.request_session import RequestSession

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import WSGIApplication, WSGIEnvironment

    from wsgi_authkit.authentication import ClientInfo
    from wsgi_authkit.authorization import Flow
    from wsgi_authkit.options import Options
    from wsgi_authkit.results import (
        AuthorizationResult,
        AuthResult,
        RefreshOutcome,
    )
    from wsgi_authkit.service import AuthKitService


class RequestContext(RequestSession):
    """A request and all that belongs to it.

    :param environ: What the app has.
    :param as_it_came: A copy of it from before the app had it.
    :param choice: The redirect URI of the request.
    """

    __slots__ = ("_choice", "_flows", "_leads_to_workos", "is_excluded")

    def __init__(
        self,
        service: AuthKitService,
        options: Options,
        environ: WSGIEnvironment,
        as_it_came: WSGIEnvironment,
        result: AuthResult,
        redirect_uris: RedirectURIs,
        choice: Choice,
    ) -> None:
        super().__init__(service, options, environ, as_it_came, result, redirect_uris)
        self._choice = choice
        self._flows: PendingFlows | None = None
        self._leads_to_workos = False
        #: Whether the middleware leaves the path alone. A session that the app makes
        #: there does not end that.
        self.is_excluded = result.session.reason == "excluded"

    @property
    def client(self) -> ClientInfo:
        """Whom the request comes from."""
        return client_info(self.environ)

    def site_url(self, path: str) -> str:
        """Return a path on this site as redirects have it: absolute on ``base_url``."""
        return self.links.on_site(path)

    def sign_out(self, return_to: str | None) -> str:
        """See :meth:`~wsgi_authkit.Auth.sign_out`."""
        links = self.links
        target = (
            links.absolute_return_url(self.options.sign_out_return_to)
            if return_to is None
            else links.allowed_return_url(return_to)
        )
        return self.end(target) or target or links.on_site(links.return_path(None))

    def renew(
        self, organization_id: str | None, return_to: str | None
    ) -> RefreshOutcome:
        """See :meth:`~wsgi_authkit.Auth.refresh`.

        :raises HeadersSent: It is too late; WorkOS was not asked.
        """
        outcome = self.refresh(organization_id)
        if outcome.kind != "reauthorize" or outcome.url is not None:
            return outcome
        options = {"organization_id": outcome.organization_id}
        url = self.links.start("sign-in", return_to, options)
        return replace(outcome, url=self.site_url(url))

    # The response

    @property
    def challenge(self) -> Challenge:
        """How the request is asked to sign in."""
        return Challenge(
            environ=self.environ,
            result=self.result,
            options=self.options,
            origin=self.links.origin,
            framed=self.service.config.is_framed,
            strict=self.service.config.is_strict,
            excluded=self.is_excluded,
            start_url=self.links.start,
        )

    def ask_to_sign_in(self) -> WSGIApplication:
        """See :meth:`~wsgi_authkit.Auth.challenge`."""
        return self.challenge.answer()

    @property
    def is_private(self) -> bool:
        """Whether the response depends on who asks, so that no cache may keep it.

        On excluded paths the app's own cache headers stand, but for a redirect into
        somebody's flow.
        """
        return self._leads_to_workos or (
            not self.is_excluded
            and (
                self.session.reason != "no_cookie"
                or "HTTP_AUTHORIZATION" in self.environ
                # Also one that cannot be a session: a cache that does not know it must
                # not learn from it what everybody gets.
                or self.service.config.cookie_name in self.cookies
                or EAGER_COOKIE in self.cookies
            )
        )

    def headers_to_add(self, status: str, headers: Iterable[Header]) -> list[Header]:
        """Return what goes out with a response; no change is possible afterwards.

        :param status: Of the response, which may lead into a flow.
        """
        extra = self.session_headers()
        if self._flows is None:
            return extra
        self._leads_to_workos = self._flows.is_used(status, headers)
        started = self._flows.headers(self.environ, status, headers)
        return override_cookies(extra, started)

    # Flows

    def authorization_url(
        self, return_to: str | None, options: dict[str, Any], *, start: bool
    ) -> str:
        """See :meth:`~wsgi_authkit.Auth.authorization_url`."""
        if self.options.rules.is_sign_up(self.environ.get("PATH_INFO", "")):
            options.setdefault("screen_hint", "sign-up")
        asked = (return_to, AuthorizationOptions(**options))
        flows = self._flows = self._flows or PendingFlows()
        flow = flows.find(asked)
        if self.headers_sent and not (flow and flow.started):
            raise HeadersSent(
                "no sign-in can start any more: its cookie belongs into headers that "
                "the app has sent; ask for the URL before start_response is called"
            )
        if flow is None:
            flow = self._pending_flow(return_to, options, flows)
        if flow is None:
            return self.site_url(self.links.start("sign-in", return_to, options))
        flows.add(asked, flow)
        flow.started = flow.started or start
        return flow.url

    def _pending_flow(
        self, return_to: str | None, options: dict[str, Any], flows: PendingFlows
    ) -> PendingFlow | None:
        """Return a flow that is not started yet, ``None`` where none can start."""
        marker = count_start(self.service, self.environ, self.cookies)
        if marker is not None and marker.is_loop:
            return None
        try:
            cookies = flows.cookies(self.cookies)
            made = self.start_flow(return_to, options, cookies=cookies)
        except AuthorizationError:
            return None
        counted = []
        if marker is not None:
            counted = marker_headers(self.service, self.sign_in_path, marker)
        return PendingFlow(made.url, [*made.headers, *counted])

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
        self.links.check_redirect_uri(redirect_uri)
        service = self.service
        if redirect_uri is not None:
            service = service.with_redirect_uri(redirect_uri)
        elif self._choice.error is not None:
            self.redirect_uris.warn(self._choice.error)
            raise self._choice.error
        self.redirect_uris.warn_of_prefix(
            service.config.redirect_uri, self.environ.get("SCRIPT_NAME", "")
        )
        return service.create_authorization(
            return_to=self.links.return_path(return_to),
            cookies=self.cookies if cookies is None else cookies,
            sign_in_path=self.sign_in_path,
            restarted=restarted,
            **options,
        )

    def use_redirect_uri(self, redirect_uri: str) -> None:
        """Go on with the redirect URI that a link asks for.

        :raises ValueError: It is none of ours.
        """
        self.links.check_redirect_uri(redirect_uri)
        self.service = self.service.with_redirect_uri(redirect_uri)
        self._choice = Choice(redirect_uri)

    def follow_flow(self, flow: Flow | None) -> None:
        """Go on with the redirect URI of a flow that is answered here.

        Where the app says which one each request uses, that stands: a flow that was
        started for another host is started again for this one.
        """
        if flow is None or self.redirect_uris.is_chosen_by_app:
            return
        answering = self.redirect_uris.answering(self.environ)
        if flow.redirect_uri is not None and flow.redirect_uri in answering:
            self.use_redirect_uri(flow.redirect_uri)
