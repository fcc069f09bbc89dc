"""The middleware: PEP 3333 and nothing else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from wsgi_authkit._logs import show_debug_logs
from wsgi_authkit._wsgi import (
    AUTH_KEY,
    SESSION_KEY,
    Header,
    rewriting,
)
from wsgi_authkit.access import Access, is_preflight
from wsgi_authkit.api import WorkOSClient
from wsgi_authkit.app_responses import AppResponses
from wsgi_authkit.auth import bind
from wsgi_authkit.authentication import Authentication
from wsgi_authkit.config import AuthKitConfig
from wsgi_authkit.eager import EAGER_COOKIE
from wsgi_authkit.endpoints import CALLBACK, MOUNTED, Endpoint
from wsgi_authkit.errors import ConfigurationError
from wsgi_authkit.identity import (
    MIDDLEWARE_CLAIM,
    SESSION_CLAIM,
    RemoteUser,
    publish,
    remove_claims,
)
from wsgi_authkit.options import (
    OnError,
    OnRefresh,
    OnRefreshError,
    OnSuccess,
    Options,
)
from wsgi_authkit.redirect_uris import (
    ChooseRedirectURI,
    RedirectOptions,
)
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.request_session import (
    SESSION_EXPECTED,
    find_session,
    identify,
    is_for_another_session,
)
from wsgi_authkit.responses import session_changed
from wsgi_authkit.results import AuthResult
from wsgi_authkit.service import SESSION_CACHE_SIZE, AuthKitService
from wsgi_authkit.session import EXCLUDED, NO_COOKIE, AnonymousSession, Session
from wsgi_authkit.session_storage import SessionStorage
from wsgi_authkit.site import ServiceOptions, SiteMaker
from wsgi_authkit.stores import Store

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    import requests

log = logging.getLogger(__name__)

# Paths whose route is kept, and characters of the longest one to keep.
_REMEMBERED: Final = 512
_REMEMBERED_LENGTH: Final = 256

# Of a SCRIPT_NAME, which with the path makes the whole address; the service, where most
# requests for it need only a look; what answers it, and what it asks for.
_Route: TypeAlias = "tuple[str, AuthKitService | None, Endpoint | None, Access]"


class AuthKitMiddleware:
    """Signs people in to a WSGI app through WorkOS AuthKit.

    For every request that reaches the app, ``environ["authkit.session"]`` is a
    :class:`~wsgi_authkit.Session` or a falsy
    :class:`~wsgi_authkit.AnonymousSession`, and ``environ["authkit"]`` the request's
    :class:`~wsgi_authkit.Auth`. The path of the redirect URI, and ``sign-in``,
    ``sign-up``, ``sign-out`` and what ``authkit.js`` asks for below ``mount``, are
    answered here::

        app.wsgi_app = AuthKitMiddleware(app.wsgi_app)

    The app's body always stays its own, and for somebody without a session so do its
    headers. A response that belongs to a person is kept out of caches, and with
    ``challenge_401`` a 401 becomes a redirect to sign-in.

    Nothing happens at construction but reading and checking the configuration.

    :param app: The WSGI app.
    :param config: The configuration, read from the ``WORKOS_*`` environment variables
        by default. A callable is called once, at the first request, for apps whose
        settings do not exist yet when they are wrapped.
    :param redirect_uri: The callback URL; wins over the configured one, which may then
        be missing. Or a callable that is given ``environ`` and answers with the one of
        the request, for previews and several domains. It is called once a request, and
        its answer must be in ``allowed_redirect_uris`` or be the configured one; nobody
        can sign in where it is not.
    :param allowed_redirect_uris: All redirect URIs that are used besides the configured
        one, exactly as the WorkOS dashboard has them; a callback answers on the path of
        each. Without a configured one, the first is the one of no request.
    :param base_url: The public origin, such as ``https://app.example.com``: redirects
        to this site become absolute on it. Without it they are path-only, which no
        proxy and no ``Host`` header can lead astray. Needed in a container that is
        published under another name or port, where something wants absolute redirects.
    :param return_pathname: Where a sign-in without a return path of its own ends.
    :param mount: The path below which the endpoints answer.
    :param require_auth: Every path needs a session but those of ``public_paths``,
        ``exclude_paths`` and the endpoints.
    :param public_paths: Patterns of the paths that ``require_auth`` leaves open.
    :param protected_paths: Patterns of paths that need a session in any case. Case and
        a slash at the end do not count. Of the rules, the first that matches decides:
        ``protected_paths``, ``exclude_paths``, ``public_paths``, ``require_auth``.
    :param exclude_paths: Patterns of paths that sign-in has nothing to do with, such as
        ``"/static/:path*"``: no cookie is read, and their responses stay cacheable.
    :param sign_up_paths: Patterns of paths from which a redirect to AuthKit shows the
        sign-up screen. They protect nothing.
    :param api_paths: Patterns of paths that answer 401 where others redirect.
    :param challenge_401: Turn a 401 of the app without ``WWW-Authenticate``, to the
        navigation of somebody signed out, into a redirect to sign-in.
    :param sign_out_return_to: Where a sign-out ends: a path or a URL that is among the
        sign-out redirects of the WorkOS dashboard. ``None`` is WorkOS's default.
    :param allowed_return_urls: Other URLs where a sign-out may end, exactly.
    :param allowed_origins: Other origins, such as ``https://shop.example.com``, whose
        pages may use the JSON endpoints and the browser client with the person's
        cookies. **They can read access tokens and act as the person**, so name only
        those that are run with the same care as this one.
    :param on_success: Told of every finished sign-in before the session is set, see
        :class:`~wsgi_authkit.SignInEvent`. What it raises stops the sign-in; a session
        that it returns, in any form that ``save_session`` takes, replaces the new one.
    :param on_error: ``on_error(error, environ)`` gets every error of sign-in, sign-up
        and callback and may return a WSGI app that answers instead of our page. An
        error's ``error_description`` can name a person: do not log it.
    :param on_refresh: ``on_refresh(session, environ)`` is told of every refreshed
        session, once a call to WorkOS. What it raises is logged and ignored.
    :param on_refresh_error: ``on_refresh_error(error, environ, transient)`` is told of
        every call that gave no session; ``transient`` says whether trying again can
        help. What it raises is logged and ignored.
    :param refresh_buffer: Seconds before an access token's expiry from which it is
        refreshed. ``None`` is 60, 30 for tokens of 5 minutes or less, and never over
        half of a token's life; 0 refreshes after expiry only.
    :param eager_auth: Hand the access token to scripts of a page while it loads, in the
        cookie ``workos-access-token`` that lives for 30 seconds. **Every script on the
        page can read it**, third-party ones and injected ones too, and use it until the
        token expires: set a Content Security Policy, review what the pages load, and
        leave it off where scripts can ask for a token when they need one.
    :param remote_user: Also name who is signed in in ``REMOTE_USER``, with
        ``AUTH_TYPE``: ``"sub"`` is WorkOS's user id, ``"email"`` the address if WorkOS
        says that it is verified, a callable is given the session and returns the name
        or ``None``. Addresses change hands; an id does not. Whatever of the kind came
        with the request, ``Remote-User`` and ``Auth-Type`` headers too, is removed.
    :param revoke_on_sign_out: At a sign-out, also have WorkOS end the session with a
        call of 2 seconds at most, which may fail. Otherwise the session there ends when
        the browser follows the redirect.
    :param store: Where refreshes are coordinated and ended sessions are remembered:
        ``"auto"`` (a private SQLite file that this user's processes share),
        ``"memory:"``, ``"sqlite:///path"``, ``"redis://…"``, ``"rediss://…"``,
        ``"unix://…"``, or an object with the methods of
        :class:`~wsgi_authkit.stores.Store`. Processes that do not see one file system
        need Redis.
    :param session_cache_size: Verified sessions that each process keeps, by cookie
        value, for 5 minutes at most, at about 8 KB each. A request of one that is kept
        costs a look-up. 0 keeps none.
    :param revocation_check: Seconds after which the store is asked again whether a
        session that is kept was signed out, or refreshed, elsewhere; 0 asks at every
        request. ``None`` asks when it is verified again: a sign-out then reaches the
        other processes, and other middlewares, within 5 minutes, and this one at once.
    :param session_storage: ``"cookie"``, or a factory that is given the configuration
        and returns a :class:`~wsgi_authkit.SessionStorage`.
    :param allow_insecure: Accept a redirect URI with http off this machine: sessions
        then cross the network readable by anyone on the way.
    :param debug: Log each decision, never a secret.
    :param clock: The time, in Unix seconds.
    :param http: A ``requests.Session`` for the calls to WorkOS, for a corporate proxy
        or a private certificate authority.
    :raises ConfigurationError: Settings or options are missing or cannot work; it lists
        all of them.
    """

    def __init__(
        self,
        app: WSGIApplication,
        config: AuthKitConfig | Callable[[], AuthKitConfig] | None = None,
        *,
        redirect_uri: str | ChooseRedirectURI | None = None,
        allowed_redirect_uris: Sequence[str] = (),
        base_url: str | None = None,
        return_pathname: str = "/",
        mount: str = "/auth",
        require_auth: bool = False,
        public_paths: Iterable[str] = (),
        protected_paths: Iterable[str] = (),
        exclude_paths: Iterable[str] = (),
        sign_up_paths: Iterable[str] = (),
        api_paths: Iterable[str] = (),
        challenge_401: bool = True,
        sign_out_return_to: str | None = None,
        allowed_return_urls: Sequence[str] = (),
        allowed_origins: Sequence[str] = (),
        on_success: OnSuccess | None = None,
        on_error: OnError | None = None,
        on_refresh: OnRefresh | None = None,
        on_refresh_error: OnRefreshError | None = None,
        refresh_buffer: float | None = None,
        eager_auth: bool = False,
        remote_user: RemoteUser | None = None,
        revoke_on_sign_out: bool = False,
        store: str | Store = "auto",
        session_storage: str | Callable[[AuthKitConfig], SessionStorage] = "cookie",
        session_cache_size: int = SESSION_CACHE_SIZE,
        revocation_check: float | None = None,
        allow_insecure: bool = False,
        debug: bool = False,
        clock: Callable[[], float] = time.time,
        http: requests.Session | None = None,
    ) -> None:
        self._app = app
        problems: list[str] = (
            [] if callable(app) else ["app must be a WSGI app, a callable"]
        )
        if not isinstance(allow_insecure, bool):
            # Text is true, "false" out of a settings file as well.
            problems.append("allow_insecure must be True or False")
            allow_insecure = False
        redirects = RedirectOptions(
            redirect_uri,
            allowed_redirect_uris,
            # A configuration that is given can allow http too, and is asked later.
            allow_insecure=allow_insecure or config is not None,
        )
        service_options = ServiceOptions(
            store=store,
            session_storage=session_storage,
            http=http,
            clock=clock,
            refresh_buffer=refresh_buffer,
            session_cache_size=session_cache_size,
            revocation_check=revocation_check,
        )
        try:
            options = Options(
                base_url=base_url,
                return_pathname=return_pathname,
                mount=mount,
                require_auth=require_auth,
                public_paths=public_paths,
                protected_paths=protected_paths,
                exclude_paths=exclude_paths,
                sign_up_paths=sign_up_paths,
                api_paths=api_paths,
                challenge_401=challenge_401,
                sign_out_return_to=sign_out_return_to,
                allowed_return_urls=allowed_return_urls,
                allowed_origins=allowed_origins,
                on_success=on_success,
                on_error=on_error,
                on_refresh=on_refresh,
                on_refresh_error=on_refresh_error,
                refresh_buffer=refresh_buffer,
                eager_auth=eager_auth,
                remote_user=remote_user,
                revoke_on_sign_out=revoke_on_sign_out,
                session_storage=session_storage,
                session_cache_size=session_cache_size,
                revocation_check=revocation_check,
                debug=debug,
            )
        except ConfigurationError as error:
            problems += error.problems
        problems += [*service_options.problems(), *redirects.problems]
        self._sites = SiteMaker(
            config,
            redirects,
            service_options,
            [f"{mount}{endpoint}" for endpoint in MOUNTED],
            allow_insecure=allow_insecure,
        )
        problems += self._sites.prepare()
        if problems:
            raise ConfigurationError(list(dict.fromkeys(problems)))
        self._options = options
        self._mount_prefix = f"{options.mount}/"
        # Not a method: what has this middleware, and is in it, would keep its
        # connections open until the garbage collector comes.
        self._responses = AppResponses(
            options, partial(_make_context, self._sites, options)
        )
        self._routes: dict[str, _Route] = {}
        # Those of before, so that a stranger's paths do not push out everybody's.
        self._older_routes: dict[str, _Route] = {}
        # What each request is asked or told, besides who makes it.
        self._looks_closer = debug or eager_auth or redirects.choose is not None
        if debug:
            show_debug_logs()
        _warn(options, allow_insecure=allow_insecure)

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        # Between two requests these lines leave the processor's caches, so that each
        # operation counts, and each function still more; see docs/performance.rst.
        remote_user = self._options.remote_user
        if (
            SESSION_CLAIM in environ
            or MIDDLEWARE_CLAIM in environ
            or remote_user is not None
        ):
            remove_claims(environ, remote_user)
        path = environ.get("PATH_INFO", "")
        route = self._routes.get(path)
        if route is None or route[0] != environ.get("SCRIPT_NAME", ""):
            route = self._find_route(environ.get("SCRIPT_NAME", ""), path)
        _, service, endpoint, access = route
        if (
            service is None
            or environ["REQUEST_METHOD"] == "OPTIONS"
            or SESSION_EXPECTED in environ
        ):
            return self._answer(environ, start_response, endpoint, access)
        session: Session | AnonymousSession | None
        if access == "excluded":
            session, at, is_private = EXCLUDED, 0.0, False
        else:
            cookies = environ.get("HTTP_COOKIE", "")
            is_named = service.cookie_name in cookies
            if is_named:
                # Python 3.11 is slow to call an attribute that is no method.
                clock, recall = service.clock, service.process.recall
                at = clock()
                session = recall(cookies, at)
            else:
                # Of nobody, nothing is asked that time decides.
                at, session = 0.0, service.without_cookie
            if session is None:
                at = at or service.clock()
                found = find_session(service, self._options, environ, at)
                if isinstance(found, AuthResult):
                    return self._answer(environ, start_response, None, access, found)
                session = found
            if access == "protected" and not session:
                found = AuthResult(session=session, at=at)
                return self._answer(environ, start_response, None, access, found)
            is_private = (
                is_named
                or session is not NO_COOKIE
                or "HTTP_AUTHORIZATION" in environ
                or EAGER_COOKIE in cookies
            )
        as_it_came = environ.copy()
        # Both keys, so that no outer value shines through.
        environ[AUTH_KEY] = auth = bind(
            environ,
            as_it_came,
            start_response,
            session,
            at,
            self._responses,
            is_private,
        )
        environ[SESSION_KEY] = session
        if remote_user is not None:
            publish(environ, session, remote_user)
        app = self._app  # a variable as above
        return app(environ, auth._begin_response)

    def _answer(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        endpoint: Endpoint | None,
        access: Access,
        result: AuthResult | None = None,
    ) -> Iterable[bytes]:
        """Answer a request that one look is not enough for.

        :param result: Who makes it, where that is known; finding out once more could
            refresh a session twice.
        """
        site = self._sites.site
        choice = site.redirect_uris.choice(environ)
        service = site.service.with_redirect_uri(choice.uri)
        changed = False
        if access == "excluded":
            result = AuthResult(session=EXCLUDED)
        elif (
            endpoint is not None
            or is_preflight(environ)
            or (changed := is_for_another_session(service, environ))
        ):
            access, result = "public", AuthResult(session=NO_COOKIE)
        elif result is None:
            result = identify(service, self._options, environ)
        as_it_came, uris = environ.copy(), site.redirect_uris
        context = RequestContext(
            service, self._options, environ, as_it_came, result, uris, choice
        )
        responses = self._responses
        auth = bind(
            environ,
            as_it_came,
            start_response,
            result.session,
            result.at,
            responses,
            context.is_private,
            context,
        )
        environ[AUTH_KEY] = auth
        context.publish()
        if self._options.debug:
            self._log_request(context, access, answered_here=endpoint is not None)
        if endpoint is not None:
            rewrite = partial(responses.rewrite_own, context)
            return endpoint(context)(environ, rewriting(start_response, rewrite))
        is_let_in = access != "protected" or result.session
        app = self._app if is_let_in else context.ask_to_sign_in()
        if changed:
            app = session_changed()
        return app(environ, auth._begin_response)

    @staticmethod
    def _log_request(
        context: RequestContext, access: Access, *, answered_here: bool
    ) -> None:
        if answered_here:
            log.debug("answered here: %s", context.environ.get("PATH_INFO", ""))
            return
        result = context.result
        log.debug("%s, %r, %d cookies to set", access, result, len(result.headers))

    @property
    def service(self) -> AuthKitService:
        """The service that the middleware is built on."""
        return self._sites.site.service

    @property
    def api(self) -> WorkOSClient:
        """The WorkOS API with this app's credentials."""
        return self.service.api

    def save_session(
        self, value: Session | Authentication | Mapping[str, Any], url: str
    ) -> list[Header]:
        """Return the ``Set-Cookie`` headers that store a session, without a request.

        :param value: A session, an answer of ``api.authenticate``, or a mapping with
            access token, refresh token, ``user`` and ``impersonator``.
        :param url: Only its scheme counts: https makes the cookie ``Secure``.
        :raises InvalidToken: The access token is not good, or not this user's, or the
            session was signed out here.
        :raises KeySetUnavailable: Nobody can say at present.
        :raises CookieTooLarge: The session does not fit into cookies.
        """
        return self.service.save_session(value, redirect_uri=url).headers

    def _find_route(self, script: str, path: str) -> _Route:
        """Return which endpoint answers a request, or what its path asks for.

        Most requests are for few paths, and what is there never changes.
        """
        route = self._older_routes.get(path)
        if route is None or route[0] != script:
            endpoint, access = self._judge(script, path)
            is_asked_more = endpoint is not None or self._looks_closer
            service = None if is_asked_more else self._sites.site.service
            route = (script, service, endpoint, access)
        if len(script) + len(path) <= _REMEMBERED_LENGTH:
            if len(self._routes) >= _REMEMBERED:
                self._older_routes, self._routes = self._routes, {}
            self._routes[path] = route
        return route

    def _judge(self, script: str, path: str) -> tuple[Endpoint | None, Access]:
        if path.startswith(self._mount_prefix):
            endpoint = MOUNTED.get(path[len(self._options.mount) :])
            if endpoint is not None:
                return endpoint, "public"
        if self._sites.site.redirect_uris.answering_at(script, path):
            return CALLBACK, "public"
        return None, self._options.rules.judge(path)


def _make_context(
    sites: SiteMaker,
    options: Options,
    environ: WSGIEnvironment,
    as_it_came: WSGIEnvironment,
    session: Session | AnonymousSession,
    at: float,
) -> RequestContext:
    site = sites.site
    choice = site.redirect_uris.choice(as_it_came)
    return RequestContext(
        site.service.with_redirect_uri(choice.uri),
        options,
        environ,
        as_it_came,
        AuthResult(session=session, at=at),
        site.redirect_uris,
        choice,
    )


def _warn(options: Options, *, allow_insecure: bool) -> None:
    """Log what works and is hardly meant."""
    if allow_insecure:
        log.warning(
            "allow_insecure is on: sessions and the API key may cross the network "
            "readable by anyone on the way"
        )
    if options.public_paths and not options.require_auth:
        log.warning(
            "public_paths opens nothing without require_auth=True: every path is open "
            "but those of protected_paths"
        )
