"""The request's handle, ``environ["authkit"]``: the service bound to one request."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlencode

from wsgi_authkit._wsgi import SESSION_KEY, Header, quoted_path
from wsgi_authkit.access import client_info, is_navigation
from wsgi_authkit.authentication import ClientInfo
from wsgi_authkit.authorization import AuthorizationOptions
from wsgi_authkit.challenge import Challenge
from wsgi_authkit.config import url_origin
from wsgi_authkit.errors import BadSeal, HeadersSent
from wsgi_authkit.options import Options, callback_path
from wsgi_authkit.paths import safe_return_path
from wsgi_authkit.results import AuthResult
from wsgi_authkit.service import AuthKitService
from wsgi_authkit.session import AnonymousSession, Session

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

_REQUEST: Final = "request"


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

    __slots__ = ("_environ", "_headers_sent", "_options", "_result", "_service")

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
        self._result = result
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
        if self.absolute_return_url(return_to) is None:
            raise ValueError(
                "return_to must be a path on this site or one of allowed_return_urls"
            )
        return f"{self.endpoint_url('sign-out')}?{urlencode({'return_to': return_to})}"

    def challenge(self) -> WSGIApplication:
        """Return a WSGI app that asks the person to sign in.

        A navigation is redirected to sign-in and comes back to this URL. Anything else,
        and what is in ``api_paths``, gets 401 and JSON. While nobody can say whether
        the person is signed in, the answer is 503.
        """
        return self._challenge.answer()

    # For the middleware

    @property
    def is_private(self) -> bool:
        """Whether the response depends on who asks, so that no cache may keep it."""
        if self.session.reason == "excluded":
            return bool(self._result.headers)
        return (
            bool(self._result.headers)
            or self.session.reason != "no_cookie"
            or "HTTP_AUTHORIZATION" in self._environ
            # Also one that cannot be a session: a cache that does not know it must not
            # learn from it what everybody gets.
            or self._service.config.cookie_name in self.cookies
        )

    def start_response(self) -> list[Header]:
        """Return the headers to add to the app's; no change is possible afterwards."""
        self._headers_sent = True
        return self._service.latest_headers(self._result, self.cookies)

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
            start_url=self._start_url,
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
        self._environ[SESSION_KEY] = result.session

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
