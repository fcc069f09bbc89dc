"""What a person, or a script, is told when a sign-in fails."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from wsgi_authkit._wsgi import Header, add_headers
from wsgi_authkit.access import prefers_json
from wsgi_authkit.challenge import RETRY_AFTER
from wsgi_authkit.errors import AuthorizationError
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.responses import json_error, link, page, private

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)


class _Text(NamedTuple):
    status: HTTPStatus
    title: str
    advice: str


_BAD, _UNAVAILABLE = HTTPStatus.BAD_REQUEST, HTTPStatus.SERVICE_UNAVAILABLE
_OURS = HTTPStatus.INTERNAL_SERVER_ERROR

_AGAIN: Final = "Please start the sign-in again."
_OPERATOR: Final = (
    "This is not your fault. Please tell the people who run this site; their log names "
    "the cause. Until they have seen to it, starting again will not help."
)
# It may be a mistake in the settings, and nothing else logs it.
_WARNED: Final = frozenset({"sign_in_loop", "state_missing"})

_TEXTS: Final[dict[str, _Text]] = {
    "invalid_request": _Text(
        _BAD, "This link does not work", f"The address is damaged. {_AGAIN}"
    ),
    "code_missing": _Text(
        _BAD, "The sign-in is incomplete", f"The address is damaged. {_AGAIN}"
    ),
    "state_missing": _Text(
        _BAD,
        "The sign-in did not start here",
        f"It cannot be finished for your safety. {_AGAIN}",
    ),
    "state_mismatch": _Text(
        _BAD,
        "The sign-in belongs to another browser",
        f"It cannot be finished for your safety. {_AGAIN}",
    ),
    "verifier_missing": _Text(
        _BAD,
        "The sign-in could not be matched",
        "Your browser did not send the cookie that this site set when you started. "
        "Allow cookies for this site, use the same browser and address for the whole "
        "sign-in, and start again.",
    ),
    "flow_expired": _Text(
        _BAD, "The sign-in took too long", f"It is valid for ten minutes. {_AGAIN}"
    ),
    "flow_used": _Text(
        _BAD, "This sign-in is finished already", f"It works once only. {_AGAIN}"
    ),
    "provider_error": _Text(
        HTTPStatus.FORBIDDEN,
        "You were not signed in",
        "The sign-in was cancelled or refused. You can start it again; if it is "
        "refused again, ask the people who run this site for access.",
    ),
    "exchange_rejected": _Text(
        _BAD,
        "The sign-in has expired",
        f"It was used or took too long. {_AGAIN}",
    ),
    "exchange_unavailable": _Text(
        _UNAVAILABLE,
        "One moment, please",
        "The sign-in service cannot be reached at the moment.",
    ),
    "exchange_misconfigured": _Text(
        _UNAVAILABLE, "Signing in does not work at the moment", _OPERATOR
    ),
    "authorization_required": _Text(
        HTTPStatus.FORBIDDEN,
        "One more step is needed",
        "Your organization asks for another way of signing in. Please start again.",
    ),
    "tokens_missing": _Text(
        _UNAVAILABLE, "Signing in does not work at the moment", _OPERATOR
    ),
    "token_invalid": _Text(
        _UNAVAILABLE, "Signing in does not work at the moment", _OPERATOR
    ),
    "session_too_large": _Text(
        _OURS, "Your session is too large for a browser", _OPERATOR
    ),
    "hook_failed": _Text(_OURS, "Signing in does not work at the moment", _OPERATOR),
    "redirect_uri_refused": _Text(
        _BAD,
        "Signing in does not work at this address",
        "Open this site by its usual address and start again. If that does not help, "
        "tell the people who run this site; their log names the cause.",
    ),
    "sign_in_loop": _Text(
        _BAD,
        "You are signed in again and again",
        "Your browser does not keep this site's session cookie. Allow cookies for this "
        "site, check that the address begins with https if it usually does, and that "
        "your computer's clock is right.",
    ),
}


def fail(
    context: RequestContext,
    error: AuthorizationError,
    headers: Iterable[Header] = (),
    *,
    again: str | None = None,
) -> WSGIApplication:
    """Return the answer to a failed sign-in: the app's own, a page, or JSON.

    The headers of the error and the further ones go out with it in any case.

    :param again: As for :func:`explain`.
    """
    error.headers += headers
    return ask_app(context, error) or explain(context, error, again=again)


def ask_app(
    context: RequestContext, error: AuthorizationError
) -> WSGIApplication | None:
    """Return what ``on_error`` answers, ``None`` when it leaves that to us."""
    level = logging.WARNING if error.code in _WARNED else logging.INFO
    log.log(level, "a sign-in failed (%s): %s", error.code, error)
    hook = context.options.on_error
    answer = None if hook is None else hook(error, context.app_environ)
    return None if answer is None else with_headers(answer, error.headers)


def explain(
    context: RequestContext, error: AuthorizationError, *, again: str | None = None
) -> WSGIApplication:
    """Return our own answer to a failed sign-in.

    :param again: The path that starts the sign-in again, by default one that does not
        know where the person wanted to go.
    """
    text = _TEXTS[error.code]
    headers = list(error.headers)
    seconds = max(RETRY_AFTER, math.ceil(error.retry_after or 1))
    as_json = prefers_json(context.environ)
    reloads = error.retryable and not as_json
    if text.status is _UNAVAILABLE and not reloads:
        headers.append(("Retry-After", str(seconds)))
    if as_json:
        return json_error(error.code, text.title, text.status, headers)
    advice = [text.advice]
    if error.retryable:
        advice.append("This page tries again by itself.")
    actions = link("Start again", again or context.sign_in_path)
    if error.code == "provider_error":
        # Who has cancelled a sign-in may not want to start another.
        home = context.site_url(context.links.return_path(None))
        actions += link("Back to the site", home, quiet=True)
    return page(
        text.title,
        advice,
        actions=actions,
        status=text.status,
        headers=headers,
        retry_after=seconds if reloads else None,
    )


def with_headers(app: WSGIApplication, extra: list[Header]) -> WSGIApplication:
    """Return the app with further headers on its response, which no cache may keep."""

    def answer(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        merged = add_headers(
            start_response, lambda headers: private([*headers, *extra])
        )
        return app(environ, merged)

    return answer
