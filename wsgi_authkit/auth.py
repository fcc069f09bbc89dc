"""The request's handle, ``environ["authkit"]``: the service bound to one request."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from wsgi_authkit._wsgi import ExcInfo, Header, path_and_query, rewriting
from wsgi_authkit.access import has_same_origin_proof
from wsgi_authkit.api import WorkOSClient
from wsgi_authkit.api_keys import APIKey, parse_bearer
from wsgi_authkit.app_responses import AppResponses
from wsgi_authkit.authentication import Authentication, ClientInfo
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.responses import HARMLESS, PRIVATE_AND_VARY, private
from wsgi_authkit.results import RefreshOutcome
from wsgi_authkit.session import AnonymousSession, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: Seconds that the clock of WorkOS may be ahead of ours.
CLOCK_SKEW: Final = 60


class Auth:
    """What an app can ask and do about sign-in within one request.

    The URL functions return paths on this site and set no cookie: a sign-in starts
    when the person follows one, not when the page is made.
    """

    __slots__ = (
        "_as_it_came",
        "_at",
        "_environ",
        "_is_private",
        "_made",
        "_responses",
        "_session",
        "_start_response",
    )

    _environ: WSGIEnvironment
    # From before this was in it. What goes by the request reads it; and once the app
    # can change nothing any more, the other is let go of, see `RequestSession.let_go`.
    _as_it_came: WSGIEnvironment
    _start_response: StartResponse
    _session: Session | AnonymousSession
    _at: float
    _responses: AppResponses
    _is_private: bool
    _made: RequestContext | None

    def __repr__(self) -> str:
        return f"<Auth {self.session!r}>"

    @property
    def session(self) -> Session | AnonymousSession:
        """The same as ``environ["authkit.session"]``."""
        made = self._made
        return self._session if made is None else made.session

    @property
    def _context(self) -> RequestContext:
        """What belongs to the request, made when something of it is asked for."""
        if self._made is None:
            self._made = self._responses.make_context(
                self._environ, self._as_it_came, self._session, self._at
            )
            self._made.headers_sent = self._environ is self._as_it_came
        return self._made

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
        return self._context.links.start("sign-in", return_to, options)

    def sign_up_url(self, return_to: str | None = None, **options: Any) -> str:
        """Return the path on this site that starts a sign-up.

        See :meth:`sign_in_url`.
        """
        return self._context.links.start("sign-up", return_to, options)

    def sign_out_url(self, return_to: str | None = None) -> str:
        """Return the path on this site that signs out.

        A form that posts to it signs out at once; a link leads to a page that asks.

        :param return_to: A path on this site, or one of the URLs in
            ``sign_out_return_to`` and ``allowed_return_urls``.
        :raises ValueError: It is neither.
        """
        return self._context.links.sign_out(return_to)

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
        return self._context.authorization_url(return_to, options, start=start)

    def challenge(self) -> WSGIApplication:
        """Return a WSGI app that asks the person to sign in.

        A navigation is redirected to sign-in and comes back to this URL. Anything else,
        and what is in ``api_paths``, gets 401 and JSON. While nobody can say whether
        the person is signed in, the answer is 503.
        """
        return self._context.ask_to_sign_in()

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
        environ = self._context.environ
        if return_to is None and environ["REQUEST_METHOD"] == "GET":
            return_to = path_and_query(environ)
        return self._context.renew(organization_id, return_to)

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
        self._context.save(value)

    def clear_session(self) -> None:
        """Forget the session in this browser; it goes on at WorkOS.

        To sign somebody out use :meth:`sign_out`.

        :raises HeadersSent: The app has called ``start_response``.
        """
        self._context.clear()

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
        return self._context.sign_out(return_to)

    def validate_api_key(self) -> APIKey | None:
        """Return the API key that a program sent as its Bearer token.

        ``None`` without a valid one: no ``Authorization`` header, one of another form
        (RFC 6750 2.1), or a key that WorkOS does not know. WorkOS's answer is
        remembered for 60 seconds, "invalid" for 10, so that a revoked key lives on for
        a minute at most. The session of the request has nothing to do with it.

        :raises APIUnavailable: WorkOS cannot be asked: answer 503, the key may be good.
        :raises ClientRejected: WorkOS refused this app's own API key.
        """
        value = parse_bearer(self._context.environ.get("HTTP_AUTHORIZATION", ""))
        return None if value is None else self._context.service.validate_api_key(value)

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
        age: float = self._context.service.clock() - auth_time
        return -CLOCK_SKEW <= age <= max_age

    def has_same_origin_proof(self) -> bool:
        """Say whether the request comes from a page of this site.

        For what a request changes, such as signing somebody in with
        :meth:`save_session`: the browser proves it by ``Sec-Fetch-Site:
        same-origin``, or without that header by an ``Origin`` of this site. Neither
        can be set by a page of another.
        """
        context = self._context
        return has_same_origin_proof(context.environ, *context.links.origins)

    @property
    def client(self) -> ClientInfo:
        """Whom the request comes from, for ``api.authenticate(client=...)``.

        Without it WorkOS takes this server's address for the person's.
        """
        return self._context.client

    @property
    def api(self) -> WorkOSClient:
        """The WorkOS API with this app's credentials.

        They may do anything: check what a request asks for before passing it on.
        """
        return self._context.service.api

    def _begin_response(
        self,
        status: str,
        headers: list[Header],
        exc_info: ExcInfo | tuple[None, None, None] | None = None,
        /,
    ) -> Callable[[bytes], object]:
        """Begin the response: the ``start_response`` that the app is given.

        Where nothing has happened, the headers of one that belongs to a person are
        completed, and of any other they are the app's own list.
        """
        if exc_info is None and self._made is None and "401" not in status:
            self._environ = self._as_it_came
            if self._is_private:
                headers = [*headers]
                for header in headers:
                    if header[0] not in HARMLESS:
                        headers = private(headers, self._responses.log_public)
                        break
                else:
                    headers += PRIVATE_AND_VARY
            # Python 3.11 is slow to call an attribute that is no method.
            start_response = self._start_response
            return start_response(status, headers)
        context = self._context
        rewrite = partial(self._responses.rewrite, context)
        try:
            return rewriting(self._start_response, rewrite)(status, headers, exc_info)
        finally:
            exc_info = None  # a traceback must not keep its own frame alive
            self._environ = self._as_it_came
            context.let_go()


def bind(
    environ: WSGIEnvironment,
    as_it_came: WSGIEnvironment,
    start_response: StartResponse,
    session: Session | AnonymousSession,
    at: float,
    responses: AppResponses,
    is_private: bool,
    made: RequestContext | None = None,
) -> Auth:
    """Return the handle of a request.

    A function, and no ``__init__``, which Python 3.11 calls through C and 3.13 no more.

    :param as_it_came: A copy of ``environ`` from before there was a handle in it.
    :param at: When the request came, in Unix seconds; 0 where nobody is signed in.
    :param is_private: Nobody but who makes the request may be shown the response.
    """
    auth = _new(Auth)
    auth._environ = environ
    auth._as_it_came = as_it_came
    auth._start_response = start_response
    auth._session = session
    auth._at = at
    auth._responses = responses
    auth._is_private = is_private
    auth._made = made
    return auth


_new: Final = object.__new__
