"""The session of one request, from its cookie to the headers that go out.

An app may change it until it calls ``start_response``. The last change wins: each
brings the whole of its headers, so no cookie is set twice.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from wsgi_authkit._wsgi import Header, set_cookie_headers
from wsgi_authkit.access import client_info, is_navigation
from wsgi_authkit.eager import EAGER_COOKIE, take_back
from wsgi_authkit.errors import (
    HeadersSent,
    RefreshNeedsAuthorization,
    RefreshUnavailable,
)
from wsgi_authkit.identity import publish
from wsgi_authkit.links import Links
from wsgi_authkit.marker import no_marker_headers
from wsgi_authkit.options import Options
from wsgi_authkit.redirect_uris import RedirectURIs
from wsgi_authkit.results import AuthResult, RefreshOutcome, as_result
from wsgi_authkit.service import AuthKitService
from wsgi_authkit.session import AnonymousSession, Reason
from wsgi_authkit.session_storage import CookieSessionStorage
from wsgi_authkit.sessions import organization_to_authorize

if TYPE_CHECKING:
    from collections.abc import Mapping
    from wsgiref.types import WSGIEnvironment

    from wsgi_authkit.authentication import Authentication
    from wsgi_authkit.session import Session

log = logging.getLogger(__name__)

#: In which a page names the session that it was made for.
SESSION_HEADER: Final = "X-Authkit-Session"
#: Its key in ``environ``.
SESSION_EXPECTED: Final = "HTTP_X_AUTHKIT_SESSION"


def find_session(
    service: AuthKitService, options: Options, environ: WSGIEnvironment, at: float
) -> Session | AnonymousSession | AuthResult:
    """Return who makes a request whose session is not kept.

    A refresh on the way is told to the app's hooks. See
    :meth:`AuthKitService.identify`.
    """
    cookies = environ.get("HTTP_COOKIE", "")
    session, values = service.glance(cookies)
    if session is not None:
        return session
    return service.identify(
        cookies, lambda: _refresh_options(service, options, environ), at, values
    )


def identify(
    service: AuthKitService, options: Options, environ: WSGIEnvironment
) -> AuthResult:
    """Return who makes a request, also one whose session is kept."""
    at = service.clock()
    kept = service.process.recall(environ.get("HTTP_COOKIE", ""), at)
    found = kept or find_session(service, options, environ, at)
    return as_result(found, at)


def is_for_another_session(service: AuthKitService, environ: WSGIEnvironment) -> bool:
    """Say whether a page made the request when somebody else was signed in.

    It says so in :data:`SESSION_HEADER`. What one person has begun must not be done in
    the name of the next. Who is signed out by now is told that instead.
    """
    expected = environ.get(SESSION_EXPECTED)
    if not expected:
        return False
    known = service.live_session_ids(environ.get("HTTP_COOKIE", ""))
    return bool(known) and expected not in known


class RequestSession:
    """Who makes a request, and what about that changes in it."""

    __slots__ = (
        "_cleared",
        "_leaves",
        "app_environ",
        "environ",
        "headers_sent",
        "options",
        "redirect_uris",
        "result",
        "service",
    )

    def __init__(
        self,
        service: AuthKitService,
        options: Options,
        environ: WSGIEnvironment,
        as_it_came: WSGIEnvironment,
        result: AuthResult,
        redirect_uris: RedirectURIs,
    ) -> None:
        #: What the app and its hooks have, and are told in who makes the request.
        self.app_environ = environ
        #: The request, as it came. What stands between the middleware and the app may
        #: change ``SCRIPT_NAME`` and ``PATH_INFO``; the endpoints stay where they are.
        self.environ = as_it_came
        #: The options of the middleware.
        self.options = options
        #: The redirect URIs of this site.
        self.redirect_uris = redirect_uris
        #: The service, for the redirect URI of the request.
        self.service = service
        #: Whether the app has called ``start_response``.
        self.headers_sent = False
        #: The session, and the headers that make it so.
        self.result = result
        self._leaves = False
        # The last change to nobody.
        self._cleared: AuthResult | None = None

    @property
    def session(self) -> Session | AnonymousSession:
        """Who makes the request, by now."""
        return self.result.session

    @property
    def cookies(self) -> str:
        """The ``Cookie`` header, empty where there is none."""
        return str(self.environ.get("HTTP_COOKIE", ""))

    @property
    def links(self) -> Links:
        """The addresses of this site, for the redirect URI of the request."""
        return Links(self.service, self.options, self.environ, self.redirect_uris)

    @property
    def sign_in_path(self) -> str:
        """The public path of the sign-in endpoint."""
        return self.links.endpoint("sign-in")

    def session_headers(self) -> list[Header]:
        """Return the headers that are to go out; no change is possible afterwards."""
        self.headers_sent = True
        headers = self.service.latest_headers(self.result, self.cookies)
        if self._leaves and headers:
            # Not sooner: a change that never goes out would cost the session that the
            # browser goes on with its next cookie.
            self.service.leave_sessions(
                self.cookies, session_id=self.session.session_id or ""
            )
        return headers

    def check_headers_unsent(self) -> None:
        """Refuse a change that could not reach the browser any more.

        :raises HeadersSent: The app has called ``start_response``.
        """
        if self.headers_sent:
            raise HeadersSent(
                "the session cannot change any more: its cookie belongs into headers "
                "that the app has sent; change it before start_response is called"
            )

    def change(self, result: AuthResult, *, leaves: bool = False) -> None:
        """Replace who makes the request, from now on and in the response.

        :param leaves: The browser leaves the sessions that it came with.
        :raises HeadersSent: It is too late.
        """
        self.check_headers_unsent()
        self.result = result
        self._leaves = self._leaves or leaves
        self.publish()

    def revert(self, result: AuthResult) -> None:
        """Return to an earlier result, as if nobody had been signed in since."""
        self._leaves = self._cleared is not None
        self.change(self._cleared or result)

    def read_session(self, *, refresh: bool) -> None:
        """Find out who makes the request, where that has been left to us.

        :param refresh: Refresh a session that is due. Otherwise one that has expired
            is anonymous, nothing is asked of WorkOS and no cookie is set.
        """
        if refresh:
            result = identify(self.service, self.options, self.app_environ)
        else:
            session = self.service.get_session(self.cookies)
            result = AuthResult(session=session, at=self.service.clock())
        self.change(result)

    def publish(self) -> None:
        """Set what the app reads of ``environ`` to who makes the request."""
        publish(self.app_environ, self.result.session, self.options.remote_user)

    def let_go(self) -> None:
        """Tell the app nothing any more, which can change nothing any more.

        The handle is in the app's ``environ`` and has this. Objects that have each
        other would wait for the garbage collector, with the body and the socket of the
        request, and that costs a server more than all that is done for it here.
        """
        self.app_environ = self.environ

    def refresh(self, organization_id: str | None) -> RefreshOutcome:
        """See :meth:`~wsgi_authkit.Auth.refresh`; ``url`` may be missing.

        :raises HeadersSent: It is too late; WorkOS was not asked.
        """
        self.check_headers_unsent()
        session = self.result.session
        if isinstance(session, AnonymousSession):
            return self._not_signed_in(session, organization_id)
        outcome = self.service.renew_session(
            session,
            organization_id,
            cookies=self.cookies,
            **_refresh_options(self.service, self.options, self.app_environ),
        )
        changed = self._changed(outcome)
        if changed is not None:
            self.change(changed)
        return outcome

    def save(self, value: Session | Authentication | Mapping[str, Any]) -> None:
        """See :meth:`~wsgi_authkit.Auth.save_session`.

        :raises HeadersSent: It is too late.
        """
        self.check_headers_unsent()
        saved = self.service.save_session(value, cookies=self.cookies)
        self.change(saved, leaves=True)

    def clear(self) -> None:
        """See :meth:`~wsgi_authkit.Auth.clear_session`.

        :raises HeadersSent: It is too late.
        """
        self.check_headers_unsent()
        cleared = self.service.clear_session(cookies=self.cookies)
        # Who is cleared and signs in again is no loop.
        unmarked = no_marker_headers(self.service, self.sign_in_path)
        self._cleared = replace(cleared, headers=[*cleared.headers, *unmarked])
        self.change(self._cleared, leaves=True)

    def end(self, return_to: str | None) -> str | None:
        """End the session, see :meth:`~wsgi_authkit.Auth.sign_out`.

        :param return_to: The absolute URL to end at.
        :returns: The URL that ends the session at WorkOS, ``None`` without a session.
        :raises HeadersSent: It is too late.
        """
        self.check_headers_unsent()
        service, cookies = self.service, self.cookies
        # Several at once only when a sibling site planted some: the likeliest is first,
        # and it is the one whose hosted session is ended too.
        ids = dict.fromkeys(
            [self.result.session.session_id or "", *service.session_ids(cookies)]
        )
        ids.pop("", None)
        url = None
        for session_id in reversed(ids):
            url = service.sign_out(
                session_id, return_to, revoke=self.options.revoke_on_sign_out
            ).logout_url
            log.info("session %s signed out", session_id)
        self._cleared = AuthResult(
            session=AnonymousSession("revoked" if ids else "no_cookie"),
            headers=self._sign_out_headers(),
        )
        self.change(self._cleared)
        return url

    def _sign_out_headers(self) -> list[Header]:
        """Return the headers that leave nothing of a person in the browser."""
        service, cookies, sign_in_path = self.service, self.cookies, self.sign_in_path
        pending = service.clear_pending_verifier(
            cookies=cookies, sign_in_path=sign_in_path
        )
        headers = [
            *service.clear_session(cookies=cookies).headers,
            *self._host_only_headers(),
            *pending.headers,
            *no_marker_headers(service, sign_in_path),
        ]
        # Without the option it is that of a JavaScript library on this host.
        if self.options.eager_auth or EAGER_COOKIE in cookies:
            headers += take_back(secure=service.config.secure_cookies())
        return headers

    def _host_only_headers(self) -> list[Header]:
        """Return the headers that delete a session from before ``cookie_domain``.

        It has this host for its domain and would come back with every request.
        """
        config = self.service.config
        if config.cookie_domain is None or config.cookie_name not in self.cookies:
            return []
        earlier = CookieSessionStorage(replace(config, cookie_domain=None))
        return set_cookie_headers(
            earlier.clear_session(self.cookies, secure=config.secure_cookies())
        )

    def _not_signed_in(
        self, session: AnonymousSession, organization_id: str | None
    ) -> RefreshOutcome:
        error = self.result.error
        if session.status == "unavailable":
            wait = error.retry_after if isinstance(error, RefreshUnavailable) else 1.0
            return RefreshOutcome(kind="unavailable", retry_after=wait)
        if isinstance(error, RefreshNeedsAuthorization):
            # The refresh on the way was answered like this, and would be again.
            return RefreshOutcome(
                kind="reauthorize",
                reason=error.reason,
                organization_id=organization_id or organization_to_authorize(error),
            )
        return RefreshOutcome(kind="denied", reason=session.reason)

    def _changed(self, outcome: RefreshOutcome) -> AuthResult | None:
        """Return who makes the request after a refresh, ``None`` for no change."""
        session: Session | AnonymousSession = self.result.session
        if outcome.session is not None:
            session = outcome.session
        elif outcome.kind == "denied":
            reason: Reason = (
                "revoked" if outcome.reason == "revoked" else "refresh_rejected"
            )
            session = AnonymousSession(reason)
        elif not outcome.headers:
            return None
        return AuthResult(
            session=session,
            headers=outcome.headers,
            refresh_token=outcome.refresh_token,
            session_id=outcome.session_id,
            at=self.result.at,
        )


def _refresh_options(
    service: AuthKitService, options: Options, environ: WSGIEnvironment
) -> dict[str, Any]:
    """Return for whom a session is refreshed, and who is told about it."""
    chosen: dict[str, Any] = {
        "client": client_info(environ),
        "navigation": is_navigation(environ, framed=service.config.is_framed),
    }
    on_refresh, on_refresh_error = options.on_refresh, options.on_refresh_error
    if on_refresh is not None:
        chosen["on_refresh"] = lambda session: on_refresh(session, environ)
    if on_refresh_error is not None:
        chosen["on_refresh_error"] = lambda error, transient: on_refresh_error(
            error, environ, transient
        )
    return chosen
