"""The WorkOS API, and the one place where its refusals become typed errors.

Every call has a deadline over connecting, the first byte and the body. Name resolution
is the operating system's and can exceed it.

Failures are classified by the protocol's identifier (``error``, then ``code``), never
by the text of a message:

============ ============================== ======================================
class        what it means                  raised for
============ ============================== ======================================
transient    nobody can say; try later      :class:`APIUnavailable`: network
                                            errors, 408, 5xx, broken bodies;
                                            :class:`RateLimited`: 429
terminal     the grant is finished          :class:`InvalidGrant`
step-up      AuthKit has to be passed again :class:`AuthorizationRequired`
operator     our credentials or request     :class:`ClientRejected`: the rest
============ ============================== ======================================
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urlencode, urlsplit

from wsgi_authkit.authentication import (
    Authentication,
    ClientInfo,
    parse_authentication,
    text,
    texts,
)
from wsgi_authkit.breaker import LONGEST_CALL, Breaker
from wsgi_authkit.config import AuthKitConfig, url_origin
from wsgi_authkit.errors import (
    APIError,
    APIUnavailable,
    AuthorizationRequired,
    ClientRejected,
    InvalidGrant,
    RateLimited,
)
from wsgi_authkit.transport import Answer, Deadline, Transport

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

JSON = Any

#: Seconds for all attempts of a refresh: shorter than the lease that guards it.
REFRESH_DEADLINE: Final = 6.0
#: The share of the first attempt in the time of a refresh.
FIRST_ATTEMPT: Final = 2 / 3
#: Seconds for any other call.
CALL_DEADLINE: Final = LONGEST_CALL
#: Seconds for the revocation of a session, which a person who signs out waits for.
REVOKE_DEADLINE: Final = 2.0
#: Seconds for the claim nonce, which must never hold up a sign-in.
CLAIM_NONCE_DEADLINE: Final = 1.0

#: Bytes of a key set that are read at most.
MAX_KEY_SET: Final = 256 * 1024

#: Seconds that WorkOS is taken to ask for when it asks for less or more.
MIN_RETRY_AFTER, MAX_RETRY_AFTER = 1.0, 10.0

_TERMINAL: Final = frozenset({"invalid_grant"})

_STEP_UP: Final = frozenset(
    {
        "application_consent_required",
        "authentication_method_not_allowed",
        "email_password_auth_disabled",
        "email_verification_required",
        "invalid_organization_id",
        "mfa_challenge",
        "mfa_enrollment",
        "organization_authentication_methods_required",
        "organization_membership_not_found",
        "organization_not_found",
        "organization_selection_required",
        "passkey_progressive_enrollment",
        "radar_challenge",
        "radar_sign_up_challenge",
        "radar_sms_sign_in_challenge",
        "sso_required",
    }
)

#: Step-ups for an organization that the person cannot sign in to: it is gone, or no
#: longer theirs.
ORGANIZATION_LOST: Final = frozenset(
    {
        "invalid_organization_id",
        "organization_membership_not_found",
        "organization_not_found",
    }
)

#: WorkOS lets this person not in; another one, or an invitation, may get in.
REFUSED: Final = frozenset(
    {
        "access_denied",
        "extra_attributes_required",
        "invalid_connection",
        "invalid_link_authorization_code",
        "invalid_profile",
        "invitation_cannot_be_used_for_email",
        "invitation_invalid",
        "sign_up_not_allowed",
    }
)

# Where AuthKit lives that has no domain of the customer's own.
_WORKOS_DOMAINS: Final = (".workos.com", ".authkit.app")

_RATE_LIMIT: Final = frozenset(
    {"daily_quota_exceeded", "rate_limit_exceeded", "too_many_requests"}
)


class WorkOSClient:
    """The WorkOS API with the app's credentials.

    Nothing is opened before the first call. One object serves all threads of a
    process.

    :param http: A ``requests.Session`` to use instead of one of its own, for a
        corporate proxy or a private certificate authority. Its adapters, proxies and
        ``verify`` are used as they are; deadlines, the size cap and the ban on
        redirects stay.
    :param monotonic: The clock of the deadlines, in seconds.
    """

    def __init__(
        self,
        config: AuthKitConfig,
        *,
        http: requests.Session | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._transport = Transport(http)
        self._clock = clock
        self._monotonic = monotonic
        self._claimed = config.claim_token is None
        self._breaker = Breaker(monotonic)

    @property
    def jwks_url(self) -> str:
        """The URL of the key set that signs this client's access tokens."""
        return self._url(f"/sso/jwks/{quote(self._config.client_id, safe='')}")

    def authorization_url(self, parameters: Mapping[str, str]) -> str:
        """Return the URL that starts a sign-in, with its parameters sorted by name."""
        query = urlencode(sorted(parameters.items()), quote_via=quote)
        return f"{self._url('/user_management/authorize')}?{query}"

    def logout_url(self, session_id: str, return_to: str | None = None) -> str:
        """Return the URL that ends the session at WorkOS.

        The browser has to visit it as a top-level navigation: the session's cookie
        lives on WorkOS's domain. ``return_to`` must be among the *Sign-out redirects*
        of the WorkOS dashboard.
        """
        parameters = {"session_id": session_id}
        if return_to is not None:
            parameters["return_to"] = return_to
        query = urlencode(parameters, quote_via=quote)
        return f"{self._url('/user_management/sessions/logout')}?{query}"

    def fetch_jwks(self) -> bytes:
        """Return the JSON Web Key Set of this client, as received.

        :raises APIError: It could not be had.
        """
        deadline = Deadline(CALL_DEADLINE, self._monotonic)
        answer = self._transport.send(
            "GET", self.jwks_url, deadline=deadline, limit=MAX_KEY_SET
        )
        if answer.status_code != 200:
            raise self._error(answer, "the key set of client_id (WORKOS_CLIENT_ID)")
        return answer.body

    def exchange_code(
        self,
        code: str,
        code_verifier: str,
        *,
        client: ClientInfo | None = None,
    ) -> Authentication:
        """Exchange an authorization code (RFC 6749 4.1.3, RFC 7636 4.5).

        It is never repeated: a code is good for one use.

        :raises InvalidGrant: The code is used, expired or unknown.
        :raises AuthorizationRequired: A step-up is asked for.
        :raises APIUnavailable: WorkOS did not answer; the code may still be good.
        :raises ClientRejected: Our credentials are bad.
        """
        return self.authenticate(
            "authorization_code",
            client=client,
            code=code,
            code_verifier=code_verifier,
        )

    def refresh(
        self,
        refresh_token: str,
        *,
        organization_id: str | None = None,
        client: ClientInfo | None = None,
        within: float = REFRESH_DEADLINE,
    ) -> Authentication:
        """Exchange a refresh token (RFC 6749 6), for an organization if one is named.

        A request that was sent and not answered is repeated once, at once: the token
        is single use, and only within WorkOS's replay grace does the repetition give
        the pair that was lost. All attempts together take :data:`REFRESH_DEADLINE`.

        :param within: Fewer seconds than that.
        :raises InvalidGrant: The token is used, expired or revoked.
        :raises AuthorizationRequired: The organization needs a new sign-in.
        :raises APIUnavailable: WorkOS did not answer.
        :raises ClientRejected: Our credentials are bad.
        """
        fields = {"refresh_token": refresh_token}
        if organization_id is not None:
            fields["organization_id"] = organization_id
        # Both attempts are one call: a circuit that the first one opens must not keep
        # the second from fetching the pair.
        with self._breaker.guard():
            return self._refresh(fields, client, min(within, REFRESH_DEADLINE))

    def _refresh(
        self, fields: Mapping[str, Any], client: ClientInfo | None, seconds: float
    ) -> Authentication:
        deadline = Deadline(seconds, self._monotonic)
        # Silence leaves time for the second attempt.
        first = Deadline(seconds * FIRST_ATTEMPT, self._monotonic)
        try:
            return self._ask_for_tokens("refresh_token", fields, client, first)
        except APIUnavailable as error:
            if not error.request_sent or error.status_code is not None:
                raise
            log.info("a refresh was sent and not answered, it is repeated once")
        try:
            return self._ask_for_tokens("refresh_token", fields, client, deadline)
        except APIUnavailable as error:
            # The first one was, whatever became of the second.
            error.request_sent = True
            raise

    def authenticate(
        self,
        grant_type: str,
        *,
        client: ClientInfo | None = None,
        **fields: Any,
    ) -> Authentication:
        """Authenticate with any grant of WorkOS and return its answer.

        ``client_id`` and ``client_secret`` are added. Example::

            service.api.authenticate(
                "urn:workos:oauth:grant-type:magic-auth:code", code=code, email=email
            )

        :raises InvalidGrant: The code or token is finished.
        :raises AuthorizationRequired: A step-up is asked for.
        :raises APIUnavailable: WorkOS did not answer.
        :raises ClientRejected: The credentials or the fields are bad; ``error`` has
            WorkOS's identifier, such as ``"invalid_one_time_code"``.
        """
        deadline = Deadline(CALL_DEADLINE, self._monotonic)
        with self._breaker.guard():
            return self._ask_for_tokens(grant_type, fields, client, deadline)

    def _ask_for_tokens(
        self,
        grant_type: str,
        fields: Mapping[str, Any],
        client: ClientInfo | None,
        deadline: Deadline,
    ) -> Authentication:
        body: dict[str, Any] = {
            "grant_type": grant_type,
            "client_id": self._config.client_id,
            "client_secret": self._config.api_key,
            **fields,
        }
        if client is not None:
            context = {
                "ip_address": client.ip_address,
                "user_agent": client.user_agent,
            }
            body.update({key: value for key, value in context.items() if value})
        url = self._url("/user_management/authenticate")
        answer = self._transport.send("POST", url, deadline=deadline, json_body=body)
        if answer.status_code != 200:
            raise self._error(
                answer,
                f"grant {grant_type}",
                organization_id=fields.get("organization_id"),
                step_up_if_unnamed=grant_type == "refresh_token",
            )
        return parse_authentication(answer.json())

    def revoke_session(self, session_id: str) -> None:
        """End a session at WorkOS: it is never refreshed again.

        Access tokens stay valid until they expire. It takes :data:`REVOKE_DEADLINE` at
        most.

        :raises ClientRejected: WorkOS does not know the session, or not our API key.
        :raises APIUnavailable: WorkOS did not answer.
        """
        answer = self._transport.send(
            "POST",
            self._url("/user_management/sessions/revoke"),
            deadline=Deadline(REVOKE_DEADLINE, self._monotonic),
            json_body={"session_id": session_id},
            bearer=self._config.api_key,
        )
        if not 200 <= answer.status_code < 300:
            raise self._error(answer, "the revocation of a session")

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: JSON = None,
    ) -> JSON:
        """Call any endpoint of WorkOS with the API key and return its JSON.

        :param path: The path below the API's host, such as ``"/organizations"``. What
            comes from a request must be quoted before it is put into it.
        :returns: The parsed body, ``None`` when it is empty.
        :raises ValueError: The path does not begin with a single slash, or has dot
            segments, which would lead to another endpoint.
        :raises APIUnavailable: WorkOS did not answer.
        :raises APIError: WorkOS refused; ``status_code`` and ``error`` say why.
        """
        if not path.startswith("/") or path.startswith("//"):
            raise ValueError("path must begin with a single slash")
        # Quoting does not help against them: requests undoes it.
        segments = unquote(path.partition("?")[0]).split("/")
        if not {".", ".."}.isdisjoint(segments):
            raise ValueError("path must not have dot segments")
        url = self._url(path)
        if params:
            url = f"{url}?{urlencode(params, quote_via=quote)}"
        deadline = Deadline(CALL_DEADLINE, self._monotonic)
        answer = self._transport.send(
            method,
            url,
            deadline=deadline,
            json_body=json,
            bearer=self._config.api_key,
        )
        if not 200 <= answer.status_code < 300:
            raise self._error(answer, f"a {method} request")
        return answer.json() if answer.body else None

    def get(self, path: str, *, params: Mapping[str, str] | None = None) -> JSON:
        """``GET`` an endpoint of WorkOS, see :meth:`request`."""
        return self.request("GET", path, params=params)

    def post(self, path: str, *, json: JSON = None) -> JSON:
        """``POST`` to an endpoint of WorkOS, see :meth:`request`."""
        return self.request("POST", path, json=json)

    def put(self, path: str, *, json: JSON = None) -> JSON:
        """``PUT`` to an endpoint of WorkOS, see :meth:`request`."""
        return self.request("PUT", path, json=json)

    def delete(self, path: str, *, params: Mapping[str, str] | None = None) -> JSON:
        """``DELETE`` an endpoint of WorkOS, see :meth:`request`."""
        return self.request("DELETE", path, params=params)

    def claim_nonce(self) -> str | None:
        """Return a nonce for an unclaimed environment, ``None`` where there is none.

        Best effort, within :data:`CLAIM_NONCE_DEADLINE`: a sign-in never fails for it,
        and nothing is asked any more once the environment is claimed.
        """
        if self._claimed:
            return None
        try:
            answer = self._transport.send(
                "POST",
                self._url("/x/one-shot-environments/claim-nonces"),
                deadline=Deadline(CLAIM_NONCE_DEADLINE, self._monotonic),
                json_body={
                    "client_id": self._config.client_id,
                    "claim_token": self._config.claim_token,
                },
            )
            return self._parse_claim_nonce(answer)
        except APIError as error:
            log.warning("no claim nonce for this environment: %s", error)
            return None

    def _parse_claim_nonce(self, answer: Answer) -> str | None:
        if answer.status_code == 409:
            self._claimed = True
            return None
        if not 200 <= answer.status_code < 300:
            raise self._error(answer, "the claim nonce")
        body = answer.json()
        if not isinstance(body, Mapping):
            return None
        if body.get("alreadyClaimed") or body.get("already_claimed"):
            self._claimed = True
        return text(body, "nonce")

    def _url(self, path: str) -> str:
        return f"{self._config.base_url}{path}"

    def _error(
        self,
        answer: Answer,
        what: str,
        *,
        organization_id: str | None = None,
        step_up_if_unnamed: bool = False,
    ) -> APIError:
        """Return the error of an answer that is not a success."""
        found = _error_body(answer)
        body = found or {}
        identifier = text(body, "error") or text(body, "code")
        status = answer.status_code
        # The identifier goes into the message, WorkOS's sentence does not: it echoes
        # codes and e-mail addresses.
        name = identifier if identifier in _known_identifiers else "unnamed error"
        message = f"WorkOS answered {status} ({name}) to {what}"
        if answer.request_id:
            message += f", X-Request-ID {answer.request_id[:64]!r}"
        common: dict[str, Any] = {
            "status_code": status,
            "error": identifier,
            "error_description": text(body, "error_description")
            or text(body, "message"),
            "request_id": answer.request_id,
        }
        if status == 429 or identifier in _RATE_LIMIT:
            return RateLimited(
                message, request_sent=True, retry_after=self._wait(answer), **common
            )
        # WorkOS speaks JSON, but perhaps where it does not know the API key. Anything
        # else is something on the way: a proxy, a firewall, a captive portal.
        foreign = found is None and status != 401
        if status == 408 or status >= 500 or foreign:
            return APIUnavailable(
                message, request_sent=True, retry_after=self._wait(answer), **common
            )
        if identifier in _TERMINAL:
            return InvalidGrant(message, **common)
        # The one documented answer without an identifier is a refresh for an
        # organization that has begun to demand SSO.
        unnamed = identifier is None and status == 400 and "message" in body
        redirect_url = self._redirect_url(body)
        if (
            identifier in _STEP_UP
            or redirect_url is not None
            or (step_up_if_unnamed and unnamed)
        ):
            return AuthorizationRequired(
                message,
                organization_id=organization_id,
                connection_ids=texts(
                    body.get("connection_ids") or body.get("sso_connection_ids")
                ),
                redirect_url=redirect_url,
                details=body,
                **common,
            )
        return ClientRejected(message, **common)

    def _redirect_url(self, body: Mapping[str, Any]) -> str | None:
        """Return where WorkOS wants the browser to go on, if that can be believed.

        A person's browser would be sent there, so it has to be WorkOS, the configured
        API or, as the custom domain of AuthKit, one of the configured issuers.
        """
        found = text(body, "authkit_redirect_url")
        if found is None:
            return None
        origin = _origin(found)
        known = {_origin(url) for url in (self._config.base_url, *self._config.issuers)}
        if origin and (_is_workos(origin) or origin in known):
            return found
        log.warning(
            "WorkOS asked to send a browser to a host that is neither its own nor "
            "configured (issuer, api_hostname); sign-in starts at this site instead"
        )
        return None

    def _wait(self, answer: Answer) -> float:
        return parse_retry_after(answer.headers.get("Retry-After"), self._clock())


# Identifiers are WorkOS's words and fit to be logged, anything else that stands in
# their place is not.
_known_identifiers: Final = (
    _TERMINAL
    | _STEP_UP
    | REFUSED
    | _RATE_LIMIT
    | {
        "authorization_pending",
        "code_challenge_not_found",
        "expired_token",
        "invalid_client",
        "invalid_credentials",
        "invalid_one_time_code",
        "invalid_pending_authentication_token",
        "invalid_request",
        "invalid_request_parameters",
        "one_time_code_expired",
        "one_time_code_previously_used",
        "one_time_code_too_many_attempts",
        "phone_number_required",
        "pkce_not_supported",
        "slow_down",
        "token_too_big",
        "unauthorized_client",
        "user_mismatch",
        "verification_id_required",
    }
)


def parse_retry_after(value: str | None, now: float) -> float:
    """Return the seconds of a ``Retry-After`` header (RFC 9110 10.2.3).

    1 when it is absent or unreadable, never under 1 or over 10.
    """
    seconds = MIN_RETRY_AFTER
    if value is not None:
        value = value.strip()
        if value.isascii() and value.isdecimal():
            seconds = float(value)
        else:
            with contextlib.suppress(ValueError, OverflowError, IndexError):
                seconds = parsedate_to_datetime(value).timestamp() - now
    return min(max(seconds, MIN_RETRY_AFTER), MAX_RETRY_AFTER)


def _origin(url: str) -> str:
    """Return the origin of a URL, nothing where it is none."""
    try:
        return url_origin(url)
    except ValueError:
        return ""


def _is_workos(origin: str) -> bool:
    parts = urlsplit(origin)
    return parts.scheme == "https" and f".{parts.hostname}".endswith(_WORKOS_DOMAINS)


def _error_body(answer: Answer) -> Mapping[str, Any] | None:
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, Mapping) else None
