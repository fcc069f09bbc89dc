"""The errors that wsgi_authkit raises.

A class exists where a caller reacts differently; everything else is said by the
message. No message contains a token, a cookie, a password, a code, a state or an
e-mail address, so an error may be logged and shown as it is.

.. code-block:: text

    AuthKitError
    ├── ConfigurationError (also ValueError)   every problem at once
    ├── BadSeal                                malformed, changed, unknown password
    │   └── SealExpired
    ├── InvalidToken                           this token will never be good
    │   ├── TokenExpired                       the only one that leads to a refresh
    │   ├── TokenNotYetValid
    │   ├── UnknownKey
    │   └── InvalidClaim
    ├── KeySetUnavailable                      our side is down: never "bad token"
    ├── CookieTooLarge (also ValueError)
    ├── AuthorizationError                     the callback cannot be accepted
    │   ├── StateMismatch
    │   ├── VerifierMissing
    │   └── AuthorizationDenied
    ├── APIError                               WorkOS, or the way to it
    │   ├── APIUnavailable                     transient: network, 408, 5xx
    │   │   └── RateLimited                    transient: 429
    │   ├── InvalidGrant                       code or refresh token is finished
    │   ├── AuthorizationRequired              step-up: SSO, MFA, organization
    │   └── ClientRejected                     the operator must act
    ├── RefreshError                           what a failed refresh means
    │   ├── RefreshRejected                    terminal: the session is over
    │   ├── RefreshNeedsAuthorization          a new sign-in for that organization
    │   └── RefreshUnavailable                 transient or operator: keep the cookie
    ├── StoreError
    └── HeadersSent                            too late to change the session
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class AuthKitError(Exception):
    """Base of every error of this library."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default rebuilds from `args` and so cannot pass keyword arguments:
        # an error must survive multiprocessing, Celery and Sentry.
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(
    cls: type[AuthKitError], args: tuple[Any, ...], state: dict[str, Any]
) -> AuthKitError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(AuthKitError, ValueError):
    """The configuration cannot work; the message lists every problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        #: Every problem found, one sentence or two each: option, environment name, fix.
        self.problems: tuple[str, ...] = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"AuthKit is not configured correctly:{lines}")


class BadSeal(AuthKitError):
    """A sealed value is malformed, was changed, or names an unknown password.

    All three look the same on purpose: whoever sent it learns nothing from it.
    """


class SealExpired(BadSeal):
    """The seal is authentic and too old."""

    def __init__(self, message: str, *, expired_at: float) -> None:
        super().__init__(message)
        #: When the seal expired, in Unix seconds.
        self.expired_at = expired_at


class InvalidToken(AuthKitError):
    """An access token that will never be good: malformed, forged or foreign."""


class TokenExpired(InvalidToken):
    """The token's signature is good and its time is over: the reason to refresh."""

    def __init__(self, message: str, *, claims: Mapping[str, Any]) -> None:
        super().__init__(message)
        #: The verified claims. They are not part of the message or the ``repr``.
        self.claims = claims


class TokenNotYetValid(InvalidToken):
    """The token's ``nbf`` lies in the future: one of the two clocks is wrong."""


class UnknownKey(InvalidToken):
    """The key set was asked for and does not hold the key that the token names."""


class InvalidClaim(InvalidToken):
    """A claim is missing, of the wrong type, or not the value required."""

    def __init__(self, message: str, *, claim: str) -> None:
        super().__init__(message)
        #: The name of the claim, such as ``"sid"`` or ``"iss"``.
        self.claim = claim


class KeySetUnavailable(AuthKitError):
    """The key set of WorkOS could not be had, so nothing is known of the token."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        #: Seconds after which another try makes sense.
        self.retry_after = retry_after


class CookieTooLarge(AuthKitError, ValueError):
    """A value does not fit into the cookies that browsers keep."""

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        #: Bytes needed and bytes allowed.
        self.size = size
        self.limit = limit


class AuthorizationError(AuthKitError):
    """A sign-in could not be finished; :attr:`code` says why.

    Codes: ``invalid_request``, ``code_missing``, ``state_missing``,
    ``state_mismatch``, ``verifier_missing``, ``flow_expired``, ``flow_used``,
    ``provider_error``,
    ``exchange_rejected``, ``exchange_unavailable``, ``exchange_misconfigured``,
    ``authorization_required``, ``tokens_missing``, ``token_invalid``,
    ``session_too_large``, ``hook_failed``, ``sign_in_loop``,
    ``redirect_uri_refused``.
    """

    default_code: ClassVar[str] = "invalid_request"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        retry_after: float | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        #: What went wrong, one of a closed set of words.
        self.code = code or self.default_code
        #: ``Set-Cookie`` pairs that have to go out with the answer.
        self.headers: list[tuple[str, str]] = list(headers)
        #: Seconds after which another try makes sense, for transient failures.
        self.retry_after = retry_after
        #: The same URL may work later: the code was not used up.
        self.retryable = retryable


class StateMismatch(AuthorizationError):
    """The ``state`` is not the one this browser was given: the code is not used."""

    default_code = "state_mismatch"


class VerifierMissing(AuthorizationError):
    """The browser sent no verifier cookie for this ``state``, or one too old or used.

    :attr:`code` is ``verifier_missing``, ``flow_expired`` or ``flow_used``.
    """

    default_code = "verifier_missing"


class AuthorizationDenied(AuthorizationError):
    """WorkOS or the identity provider answered with an error (RFC 6749 4.1.2.1)."""

    default_code = "provider_error"

    def __init__(
        self,
        message: str,
        *,
        error: str,
        error_description: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message, headers=headers)
        #: The ``error`` parameter, as received; escape it before showing it.
        self.error = error
        #: The ``error_description`` parameter; it may name a person, so it is not
        #: part of the message.
        self.error_description = error_description


class APIError(AuthKitError):
    """WorkOS refused a call, or did not answer it."""

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        error: str | None = None,
        error_description: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        #: The HTTP status, ``None`` without a response.
        self.status_code = status_code
        #: The protocol's identifier, such as ``"invalid_grant"``.
        self.error = error
        #: WorkOS's sentence about it. It can echo a code or an e-mail address, so it
        #: is not part of the message; do not log it.
        self.error_description = error_description
        #: The ``X-Request-ID`` of the response, for WorkOS's support.
        self.request_id = request_id


class APIUnavailable(APIError):
    """WorkOS could not be reached, or answered nothing usable. Try again later."""

    def __init__(
        self,
        message: str,
        *,
        request_sent: bool,
        retry_after: float = 1.0,
        status_code: int | None = None,
        error: str | None = None,
        error_description: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(
            message,
            status_code=status_code,
            error=error,
            error_description=error_description,
            request_id=request_id,
        )
        #: ``False``: WorkOS never saw the request, repeating it is safe. ``True``:
        #: the outcome is unknown, a single-use token may be spent.
        self.request_sent = request_sent
        #: Seconds after which another try makes sense, 1 to 10.
        self.retry_after = retry_after


class RateLimited(APIUnavailable):
    """WorkOS answered 429; :attr:`retry_after` says when to come back."""


class InvalidGrant(APIError):
    """The authorization code or refresh token is used, expired, revoked or unknown."""


class AuthorizationRequired(APIError):
    """The person has to pass through AuthKit again: SSO, MFA or an organization."""

    def __init__(
        self,
        message: str,
        *,
        organization_id: str | None = None,
        connection_ids: Sequence[str] = (),
        redirect_url: str | None = None,
        details: Mapping[str, Any] | None = None,
        status_code: int | None = None,
        error: str | None = None,
        error_description: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(
            message,
            status_code=status_code,
            error=error,
            error_description=error_description,
            request_id=request_id,
        )
        #: The organization that the call was made for.
        self.organization_id = organization_id
        #: The SSO connections that WorkOS names, for ``sso_required``.
        self.connection_ids: tuple[str, ...] = tuple(connection_ids)
        #: Where WorkOS wants the browser to go on (``authkit_redirect_url``). ``None``
        #: too where that is neither WorkOS nor a host that is configured.
        self.redirect_url = redirect_url
        #: All that WorkOS answered, such as ``organizations`` or
        #: ``authentication_factors``: for sign-in pages of one's own. It holds secrets
        #: and e-mail addresses; do not log it.
        self.details: Mapping[str, Any] = dict(details or {})

    @property
    def pending_authentication_token(self) -> str | None:
        """What the next grant of a sign-in page of one's own is asked with.

        It goes with the person who was asked, and is not to be logged.
        """
        found = self.details.get("pending_authentication_token")
        return found if isinstance(found, str) else None


class ClientRejected(APIError):
    """WorkOS refused our credentials or our request: the operator must act."""


class RefreshError(AuthKitError):
    """A session could not be refreshed; the subclass says what that means."""


class RefreshRejected(RefreshError):
    """WorkOS says that the grant is finished: the session is over."""


class RefreshNeedsAuthorization(RefreshError):
    """The session is good, what was asked for needs a new authorization."""

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        organization_id: str | None = None,
        connection_ids: Sequence[str] = (),
        redirect_url: str | None = None,
    ) -> None:
        super().__init__(message)
        #: WorkOS's identifier, such as ``"sso_required"``.
        self.reason = reason
        #: The organization to authorize for.
        self.organization_id = organization_id
        #: The SSO connections that WorkOS names.
        self.connection_ids: tuple[str, ...] = tuple(connection_ids)
        #: Where WorkOS wants this browser to go on, and no other one.
        self.redirect_url = redirect_url


class RefreshUnavailable(RefreshError):
    """Nobody can say whether the session is over: keep it and try again."""

    def __init__(
        self, message: str, *, retry_after: float = 1.0, transient: bool = True
    ) -> None:
        super().__init__(message)
        #: Seconds after which another try makes sense, 1 to 10.
        self.retry_after = retry_after
        #: ``False`` when the operator must act (bad API key, wrong client id).
        self.transient = transient


class StoreError(AuthKitError):
    """A store did not answer or refused; coordination is lost, sessions are not."""

    def __init__(self, message: str, *, operation: str) -> None:
        super().__init__(message)
        #: What failed: ``get``, ``set``, ``add``, ``delete``, ``open`` or ``close``.
        self.operation = operation


class HeadersSent(AuthKitError):
    """The session was to be changed after the app had called ``start_response``."""
