"""Sign-in: starting a flow, and finishing it at the callback."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from wsgi_authkit._wsgi import Header, set_cookie_headers
from wsgi_authkit.api import REFUSED, WorkOSClient
from wsgi_authkit.authentication import Authentication, ClientInfo
from wsgi_authkit.authorization import (
    FLOW_LIFETIME,
    VERIFIER_COOKIE,
    AuthorizationOptions,
    Flow,
    authorization_parameters,
    code_challenge,
    flow_paths,
    new_flow,
    open_flow,
    seal_flow,
    surplus_flows,
    verifier_cookie_name,
    verify_state,
)
from wsgi_authkit.config import AuthKitConfig
from wsgi_authkit.errors import (
    APIError,
    APIUnavailable,
    AuthorizationDenied,
    AuthorizationError,
    AuthorizationRequired,
    CookieTooLarge,
    InvalidGrant,
    InvalidToken,
    KeySetUnavailable,
    TokenExpired,
    VerifierMissing,
)
from wsgi_authkit.paths import safe_return_path
from wsgi_authkit.results import AuthorizationResult, CallbackResult, HeadersResult
from wsgi_authkit.seal import Encryption
from wsgi_authkit.session import Session, dump_payload, largest_claim, make_session
from wsgi_authkit.session_storage import Cookies, SessionStorage
from wsgi_authkit.stores.ledger import Ledger
from wsgi_authkit.tokens import MAX_TOKEN, TokenVerifier

log = logging.getLogger(__name__)

#: Characters of a ``code`` and a ``state`` that are looked at.
MAX_CODE, MAX_STATE = 1024, 4096

_FLOW: Final = "flow"


class SignIn:
    """Starts and finishes flows.

    :param redirect_uris: All of the site. The first, which is configured, is that of a
        flow whose state names none, while ``config`` may have that of the request.
    :param log_clock: Told the claims of a token that looked expired when it arrived.
    """

    def __init__(
        self,
        config: AuthKitConfig,
        api: WorkOSClient,
        encryption: Encryption,
        storage: SessionStorage,
        ledger: Ledger,
        verifier: TokenVerifier,
        *,
        redirect_uris: Sequence[str],
        log_clock: Callable[[Mapping[str, Any]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._api = api
        self._encryption = encryption
        self._storage = storage
        self._ledger = ledger
        self._verifier = verifier
        self._redirect_uris = redirect_uris
        self._unnamed = redirect_uris[0]
        self._log_clock = log_clock
        self._clock = clock

    def start(
        self,
        *,
        return_to: str | None = None,
        cookies: Cookies = None,
        sign_in_path: str | None = None,
        restarted: bool = False,
        **options: Any,
    ) -> AuthorizationResult:
        """See :meth:`~wsgi_authkit.AuthKitService.create_authorization`."""
        chosen = AuthorizationOptions(**options)
        redirect_uri = chosen.redirect_uri or self._config.redirect_uri
        flow = new_flow(
            self._clock(),
            return_path=safe_return_path(return_to, default="") or None,
            custom_state=chosen.state,
            redirect_uri=None if redirect_uri == self._unnamed else redirect_uri,
            restarted=restarted,
            options=chosen.to_keep(),
        )
        try:
            state = seal_flow(self._encryption, flow)
        except CookieTooLarge:
            # Few flows are started again; better without these than none.
            flow = replace(flow, options={})
            state = seal_flow(self._encryption, flow)
        parameters = authorization_parameters(
            client_id=self._config.client_id,
            redirect_uri=redirect_uri,
            state=state,
            challenge=code_challenge(flow.code_verifier),
            options=chosen,
        )
        nonce = self._api.claim_nonce()
        if nonce is not None:
            parameters["claim_nonce"] = nonce
        return AuthorizationResult(
            url=self._api.authorization_url(parameters),
            headers=self._flow_headers(state, cookies, sign_in_path, redirect_uri),
        )

    def _flow_headers(
        self,
        state: str,
        cookies: Cookies,
        sign_in_path: str | None,
        redirect_uri: str,
    ) -> list[Header]:
        path = flow_paths(sign_in_path, [redirect_uri])[0]
        secure = self._config.secure_cookies(redirect_uri)
        surplus = surplus_flows(
            self._encryption, self._storage.pending_flows(cookies), self._clock()
        )
        cookie = self._storage.save_flow_cookie(
            verifier_cookie_name(state),
            state,
            path=path,
            max_age=FLOW_LIFETIME,
            secure=secure,
        )
        evicted = self._deletions(surplus, redirect_uri, sign_in_path)
        return set_cookie_headers([cookie, *evicted])

    def _deletions(
        self, names: Iterable[str], redirect_uri: str, sign_in_path: str | None
    ) -> list[str]:
        """Return the cookies that end flows, whichever redirect URI they are for."""
        uris = [redirect_uri, *self._redirect_uris]
        secure = self._config.secure_cookies(redirect_uri)
        cookies = [
            cookie
            for path in flow_paths(sign_in_path, uris)
            for cookie in self._storage.clear_flow_cookie(
                names, path=path, secure=secure
            )
        ]
        return list(dict.fromkeys(cookies))

    def peek(self, state: str | None) -> Flow | None:
        """See :meth:`~wsgi_authkit.AuthKitService.peek_flow`."""
        if not state or len(state) > MAX_STATE:
            return None
        try:
            return self._open(state)
        except VerifierMissing:
            return None

    def _open(self, state: str) -> Flow:
        """Return the flow of a state, with its redirect URI in any case."""
        flow = open_flow(self._encryption, state, self._clock())
        return replace(flow, redirect_uri=flow.redirect_uri or self._unnamed)

    def clear(
        self,
        state: str | None = None,
        redirect_uri: str | None = None,
        *,
        cookies: Cookies = None,
        sign_in_path: str | None = None,
    ) -> HeadersResult:
        """Return the headers that delete the verifier cookie of a flow.

        :param state: The flow's state; without it all flows of ``cookies`` are ended.
        :param redirect_uri: The flow's redirect URI, where the state does not tell.
        """
        uri = redirect_uri or self._redirect_uri(state)
        pending = {name for name, _ in self._storage.pending_flows(cookies)}
        if state is None:
            names = pending or {VERIFIER_COOKIE}
        else:
            # The cookie without a suffix belonged to all flows of older releases.
            names = {verifier_cookie_name(state), *(pending & {VERIFIER_COOKIE})}
        deletions = self._deletions(sorted(names), uri, sign_in_path)
        return HeadersResult(headers=set_cookie_headers(deletions))

    def _redirect_uri(self, state: str | None) -> str:
        flow = self.peek(state)
        return (flow.redirect_uri if flow else None) or self._config.redirect_uri

    def finish(
        self,
        cookies: Cookies,
        code: str | None,
        state: str | None,
        *,
        client: ClientInfo | None = None,
        sign_in_path: str | None = None,
        redirect_uris: Collection[str] | None = None,
    ) -> CallbackResult:
        """See :meth:`~wsgi_authkit.AuthKitService.handle_callback`."""
        if not state:
            missing = "state" if code else "code"
            raise AuthorizationError(
                f"the callback has no {missing} parameter", code=f"{missing}_missing"
            )
        try:
            code = _checked_code(code, state)
            flow = self._verified_flow(cookies, state)
            _check_redirect_uri(flow, redirect_uris)
            self._use_once(flow)
            return self._finish(flow, state, code, cookies, client, sign_in_path)
        except AuthorizationError as error:
            if not error.retryable:
                error.headers += self.clear(
                    state, cookies=cookies, sign_in_path=sign_in_path
                ).headers
            raise

    def _verified_flow(self, cookies: Cookies, state: str) -> Flow:
        values = self._storage.load(cookies, verifier_cookie_name(state))
        verify_state(state, values or self._storage.load(cookies, VERIFIER_COOKIE))
        return self._open(state)

    def _use_once(self, flow: Flow) -> None:
        # Not by the state: a seal has many texts, for what follows its version is
        # passed over.
        if not self._ledger.acquire(_FLOW, flow.nonce, "", FLOW_LIFETIME):
            raise VerifierMissing("this sign-in is finished already", code="flow_used")

    def _finish(
        self,
        flow: Flow,
        state: str,
        code: str,
        cookies: Cookies,
        client: ClientInfo | None,
        sign_in_path: str | None,
    ) -> CallbackResult:
        try:
            answer = self._exchange(code, flow, client)
        except AuthorizationError as error:
            if error.retryable:
                self._ledger.release(_FLOW, flow.nonce, "")
            raise
        session = self._first_session(answer)
        try:
            saved = self._storage.save_session(
                self._encryption.seal(dump_payload(session._payload)),
                cookies,
                secure=self._config.secure_cookies(flow.redirect_uri),
            )
        except CookieTooLarge as error:
            hint = largest_claim(session.claims)
            log.error("a session cannot be stored: %s; %s", error, hint)  # noqa: TRY400
            raise AuthorizationError(
                "the session does not fit into the browser's cookies",
                code="session_too_large",
            ) from error
        cleared = self.clear(state, cookies=cookies, sign_in_path=sign_in_path)
        return CallbackResult(
            session=session,
            return_to=safe_return_path(flow.return_path, default="") or None,
            state=flow.custom_state,
            oauth_tokens=answer.oauth_tokens,
            authentication_method=answer.authentication_method,
            headers=[*set_cookie_headers(saved), *cleared.headers],
            authentication=answer,
        )

    def _exchange(
        self, code: str, flow: Flow, client: ClientInfo | None
    ) -> Authentication:
        try:
            # A code that is used up while there are no keys would be lost.
            self._verifier.key_set.ensure_loaded()
            return self._api.exchange_code(code, flow.code_verifier, client=client)
        except KeySetUnavailable as error:
            raise AuthorizationError(
                "the keys to verify the sign-in with could not be had",
                code="exchange_unavailable",
                retry_after=error.retry_after,
                retryable=True,
            ) from error
        except InvalidGrant as error:
            raise AuthorizationError(
                "WorkOS refused the code: it is used or expired",
                code="exchange_rejected",
            ) from error
        except AuthorizationRequired as error:
            raise AuthorizationError(
                f"WorkOS asks for another step of authentication: {error}",
                code="authorization_required",
            ) from error
        except APIUnavailable as error:
            log.warning("a sign-in could not be finished: %s", error)
            if error.error == "tokens_missing":
                raise AuthorizationError(str(error), code="tokens_missing") from error
            raise AuthorizationError(
                "WorkOS could not be reached to finish the sign-in",
                code="exchange_unavailable",
                retry_after=error.retry_after,
                retryable=True,
            ) from error
        except APIError as error:
            raise _refusal(error) from error

    def _first_session(self, answer: Authentication) -> Session:
        """Return the verified session of a fresh sign-in."""
        payload = answer.to_payload()
        if len(payload.access_token) > MAX_TOKEN:
            log.error(
                "a session cannot be stored: its access token has over %d characters. "
                "Put fewer permissions and custom claims into it (JWT template in the "
                "WorkOS dashboard)",
                MAX_TOKEN,
            )
            raise AuthorizationError(
                "the access token is too large", code="session_too_large"
            )
        try:
            try:
                claims = self._verifier.verify(payload.access_token)
            except TokenExpired as error:
                # Fresh from WorkOS, so our clock is ahead.
                self._log_clock(error.claims)
                claims = dict(error.claims)
            return make_session(payload, claims, clock=self._clock)
        except KeySetUnavailable as error:
            raise AuthorizationError(
                "the keys to verify the sign-in with could not be had",
                code="exchange_unavailable",
                retry_after=error.retry_after,
            ) from error
        except InvalidToken as error:
            log.error(  # noqa: TRY400
                "a sign-in brought an access token that does not verify: %s", error
            )
            raise AuthorizationError(
                "the access token of the sign-in does not verify", code="token_invalid"
            ) from error


def _refusal(error: APIError) -> AuthorizationError:
    """Return what it means that WorkOS refused an exchange for good."""
    if error.error in REFUSED:
        return AuthorizationDenied(
            f"WorkOS refused the person: {error}",
            error=error.error or "",
            error_description=error.error_description,
        )
    if error.error == "token_too_big":
        log.error(
            "WorkOS cannot make an access token, put less into it (JWT template in the "
            "WorkOS dashboard): %s",
            error,
        )
        return AuthorizationError(
            "the access token would be too large", code="session_too_large"
        )
    log.error("no sign-in can be finished, check client id and API key: %s", error)
    return AuthorizationError(
        "WorkOS refused our client id, API key or request",
        code="exchange_misconfigured",
    )


def _checked_code(code: str | None, state: str) -> str:
    if not code:
        raise AuthorizationError(
            "the callback has no code parameter", code="code_missing"
        )
    if len(code) > MAX_CODE or len(state) > MAX_STATE:
        raise AuthorizationError("the code or state parameter is too long")
    return code


def _check_redirect_uri(flow: Flow, redirect_uris: Collection[str] | None) -> None:
    if redirect_uris is not None and flow.redirect_uri not in redirect_uris:
        raise AuthorizationError(
            "the sign-in was started for a redirect URI that is not answered here",
            code="redirect_uri_refused",
        )
