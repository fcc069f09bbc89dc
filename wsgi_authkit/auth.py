"""The request's handle, ``environ["authkit"]``: the service bound to one request."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlencode

from wsgi_authkit._wsgi import Header, path_and_query, quoted_path
from wsgi_authkit.access import client_info, is_navigation, prefers_html
from wsgi_authkit.api import WorkOSClient
from wsgi_authkit.api_keys import APIKey, parse_bearer
from wsgi_authkit.authentication import Authentication, ClientInfo
from wsgi_authkit.authorization import AuthorizationOptions
from wsgi_authkit.config import url_origin
from wsgi_authkit.eager import EAGER_COOKIE
from wsgi_authkit.errors import (
    BadSeal,
    RefreshNeedsAuthorization,
    RefreshUnavailable,
)
from wsgi_authkit.options import Options, callback_path
from wsgi_authkit.paths import safe_return_path
from wsgi_authkit.request_session import RequestSession
from wsgi_authkit.responses import Response, json_error, json_response, page, redirect
from wsgi_authkit.results import AuthResult, RefreshOutcome
from wsgi_authkit.service import AuthKitService, organization_to_authorize
from wsgi_authkit.session import AnonymousSession, Session

if TYPE_CHECKING:
    from collections.abc import Mapping
    from wsgiref.types import WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

_REQUEST: Final = "request"
#: Seconds that a browser waits before it tries an unavailable page again.
RETRY_AFTER: Final = 3

#: Seconds that the clock of WorkOS may be ahead of ours.
CLOCK_SKEW: Final = 60


class Auth:
    """What an app can ask and do about sign-in within one request.

    The URL functions return paths on this site and set no cookie: a sign-in starts
    when the person follows one, not when the page is made.
    """

    __slots__ = ("_current", "_environ", "_excluded", "_options", "_service")

    def __init__(
        self,
        service: AuthKitService,
        options: Options,
        environ: WSGIEnvironment,
        result: AuthResult,
    ) -> None:
        self._service = service
        self._options = options
        self._environ = environ
        self._current = RequestSession(service, options, environ, result)
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

    def sign_in_url(self, return_to: str | None = None, **options: Any) -> str:
        """Return the path on this site that starts a sign-in.

        :param return_to: The path to come back to, with the prefix that the app is
            mounted at, ``return_pathname`` by default. A path that could lead off this
            site is dropped.
        :param options: The fields of
            :class:`~wsgi_authkit.authorization.AuthorizationOptions`, such as
            ``organization_id``, ``login_hint`` or ``state``. They travel sealed.
        :raises ValueError: An option is not of the form that WorkOS takes.
        :raises CookieTooLarge: ``state`` has more than 2048 bytes.
        """
        return self._start_url("sign-in", return_to, options)

    def sign_up_url(self, return_to: str | None = None, **options: Any) -> str:
        """Return the path on this site that starts a sign-up.

        See :meth:`sign_in_url`.
        """
        return self._start_url("sign-up", return_to, options)

    def sign_out_url(self, return_to: str | None = None) -> str:
        """Return the path on this site that signs out.

        A form that posts to it signs out at once; a link leads to a page that asks.

        :param return_to: A path on this site, or one of the URLs in
            ``sign_out_return_to`` and ``allowed_return_urls``.
        :raises ValueError: It is neither.
        """
        if return_to is None:
            return self.endpoint_url("sign-out")
        self._allowed_return_url(return_to)
        return f"{self.endpoint_url('sign-out')}?{urlencode({'return_to': return_to})}"

    def challenge(self) -> WSGIApplication:
        """Return a WSGI app that asks the person to sign in.

        A navigation is redirected to sign-in and comes back to this URL. Anything else
        gets 401 and JSON, because a script cannot follow a redirect to another origin.
        While nobody can say whether the person is signed in, the answer is 503.
        """
        if self.session.status == "unavailable":
            return self._unavailable()
        return_to = path_and_query(self._environ)
        if is_navigation(self._environ):
            url = self.sign_in_url(return_to, **self._step_up())
            return redirect(self.site_url(url))
        return json_response(
            {
                "error": {
                    "code": "unauthenticated",
                    "message": "Sign in first.",
                    "reason": self.session.reason,
                },
                "signInUrl": self.sign_in_url(**self._step_up()),
            },
            HTTPStatus.UNAUTHORIZED,
        )

    def _step_up(self) -> dict[str, Any]:
        """Return the options of a sign-in that takes the step WorkOS asked for."""
        error = self._result.error
        if not isinstance(error, RefreshNeedsAuthorization):
            return {}
        return {"organization_id": organization_to_authorize(error)}

    def _unavailable(self) -> Response:
        error = self._result.error
        wait = error.retry_after if isinstance(error, RefreshUnavailable) else 1
        seconds = max(RETRY_AFTER, math.ceil(wait))
        if not prefers_html(self._environ):
            return json_error(
                "unavailable",
                "The sign-in service cannot be reached at the moment.",
                HTTPStatus.SERVICE_UNAVAILABLE,
                [("Retry-After", str(seconds))],
            )
        return page(
            "One moment, please",
            [
                "The sign-in service cannot be reached at the moment. You are still "
                "signed in; this page tries again by itself."
            ],
            status=HTTPStatus.SERVICE_UNAVAILABLE,
            retry_after=seconds,
        )

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
            else self._allowed_return_url(return_to)
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
            self.session.reason != "no_cookie"
            or "HTTP_AUTHORIZATION" in self._environ
            # Also one that cannot be a session: a cache that does not know it must not
            # learn from it what everybody gets.
            or self._service.config.cookie_name in self.cookies
            or EAGER_COOKIE in self.cookies
        )

    def start_response(self) -> list[Header]:
        """Return the headers to add to the app's; no change is possible afterwards."""
        return self._current.start_response()

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
    def origin(self) -> str:
        """The public origin of this site, from the configuration."""
        return url_origin(self._options.base_url or self._service.config.redirect_uri)

    @property
    def sign_in_path(self) -> str:
        """The public path of the sign-in endpoint."""
        return self.endpoint_url("sign-in")

    def endpoint_url(self, name: str) -> str:
        """Return the public path of one of the mounted endpoints."""
        return f"{self._prefix}{self._options.mount}/{name}"

    @property
    def _prefix(self) -> str:
        """Where the app is mounted; a server that takes it from a header may lie."""
        prefix = quoted_path({"SCRIPT_NAME": self._environ.get("SCRIPT_NAME", "")})
        return safe_return_path(prefix, default="")

    def return_path(self, value: str | None) -> str:
        """Return where a sign-in ends: a safe path, ``return_pathname`` otherwise."""
        return safe_return_path(
            value, default=self._default_return_path, forbidden=self._own_paths
        )

    @property
    def _default_return_path(self) -> str:
        path = safe_return_path(self._options.return_pathname)
        prefix = self._prefix
        if not prefix or path == prefix or path.startswith(f"{prefix}/"):
            return path
        return prefix + path

    @property
    def _own_paths(self) -> list[str]:
        # Who came back to one of these would sign in, or be signed out, again.
        names = ("sign-in", "sign-up", "sign-out")
        callback = callback_path(self._service.config.redirect_uri)
        return [
            *(unquote(self.endpoint_url(name)) for name in names),
            callback,
            unquote(self._prefix) + callback,
        ]

    def site_url(self, path: str) -> str:
        """Return a path on this site as redirects have it: absolute on ``base_url``."""
        return f"{self._options.base_url or ''}{path}"

    def _allowed_return_url(self, value: str) -> str:
        url = self.absolute_return_url(value)
        if url is None:
            raise ValueError(
                "return_to must be a path on this site or one of allowed_return_urls"
            )
        return url

    def absolute_return_url(self, value: str | None) -> str | None:
        """Return where a sign-out may lead as an absolute URL, ``None`` otherwise."""
        if value is None:
            return None
        allowed = (self._options.sign_out_return_to, *self._options.allowed_return_urls)
        path = safe_return_path(value, default="")
        if path:
            return f"{self.origin}{path}"
        return value if value in allowed else None

    def _start_url(
        self, name: str, return_to: str | None, options: dict[str, Any]
    ) -> str:
        parameters: dict[str, str] = {}
        path = safe_return_path(return_to, default="", forbidden=self._own_paths)
        if path:
            parameters["return_to"] = path
        chosen = AuthorizationOptions(**options).to_dict()
        self.check_redirect_uri(chosen.get("redirect_uri"))
        if chosen:
            # As UTF-8, or a state in Cyrillic takes three times its room in the URL.
            text = json.dumps(chosen, ensure_ascii=False, separators=(",", ":"))
            parameters[_REQUEST] = self._service.envelope.seal_text(
                text.encode(), purpose=_REQUEST
            )
        url = self.endpoint_url(name)
        return f"{url}?{urlencode(parameters)}" if parameters else url

    def check_redirect_uri(self, redirect_uri: str | None) -> None:
        """Refuse a redirect URI on which no callback answers.

        :raises ValueError: It is not the configured one.
        """
        if redirect_uri not in (None, self._service.config.redirect_uri):
            raise ValueError("redirect_uri must be the configured one")

    def open_request(self, sealed: str) -> dict[str, Any]:
        """Return the options that :meth:`sign_in_url` sealed into a link.

        :raises BadSeal: The parameter was changed, or made with another password.
        """
        opened = self._service.envelope.open_text(sealed, purpose=_REQUEST)
        try:
            options: dict[str, Any] = json.loads(opened)
        except ValueError as error:
            raise BadSeal("the request parameter holds no options") from error
        return options
