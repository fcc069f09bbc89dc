"""The callback: where WorkOS sends the browser back to, with a code or an error."""

from __future__ import annotations

import logging
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from wsgi_authkit._wsgi import Header
from wsgi_authkit.access import is_person, is_prefetch
from wsgi_authkit.authorization import OPEN_OPTIONS, Flow
from wsgi_authkit.endpoints._failure import ask_app, explain, fail, with_headers
from wsgi_authkit.endpoints._query import parse_query
from wsgi_authkit.errors import (
    AuthorizationDenied,
    AuthorizationError,
    CookieTooLarge,
    VerifierMissing,
)
from wsgi_authkit.loop import Marker
from wsgi_authkit.marker import find_marker, marker_headers
from wsgi_authkit.options import OnSuccess, SignInEvent
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.request_session import identify
from wsgi_authkit.responses import Response, onward_page, redirect
from wsgi_authkit.results import AuthResult, CallbackResult
from wsgi_authkit.session import Session

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

log = logging.getLogger(__name__)

# The words that are fit to be logged (RFC 6749 4.1.2.1, OpenID Connect Core 3.1.2.6).
_ERRORS: Final = frozenset(
    {
        "access_denied",
        "account_selection_required",
        "consent_required",
        "interaction_required",
        "invalid_request",
        "invalid_scope",
        "login_required",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_response_type",
    }
)

_SINGLE: Final = ("code", "state", "error", "error_description", "iss")


def callback(context: RequestContext) -> WSGIApplication:
    """Finish a sign-in and send the browser to where it started."""
    if is_prefetch(context.environ):
        return Response(HTTPStatus.NO_CONTENT)
    if context.environ["REQUEST_METHOD"] == "HEAD":
        return redirect(
            context.site_url(context.links.return_path(None)), see_other=True
        )
    try:
        query = parse_query(context.environ, _SINGLE)
        _check_issuer(context, query.get("iss"))
    except AuthorizationError as error:
        return fail(context, error)
    # WorkOS has been seen to send back the text "null" for no state.
    state = query.get("state") if query.get("state") != "null" else None
    flow = context.service.peek_flow(state)
    context.follow_flow(flow)
    if "error" in query:
        return _denied(context, query, state, flow)
    if query.get("code") and not state:
        return _without_state(context)
    return _finish(context, query.get("code"), state, flow)


def _check_issuer(context: RequestContext, issuer: str | None) -> None:
    """Refuse the answer of another authorization server (RFC 9207 2.4)."""
    issuers = context.service.config.issuers
    if issuer is not None and issuers and issuer not in issuers:
        raise AuthorizationError("the iss parameter is not one of the issuers")


def _again(
    context: RequestContext, flow: Flow | None, **options: str | None
) -> str | None:
    """Return the path that starts a flow again, for the page of a failed sign-in.

    :param options: What it is started with besides.
    """
    if flow is None:
        return None
    chosen = {**flow.restart_options(), **options}
    try:
        return context.links.start("sign-in", flow.return_path, chosen)
    except ValueError:
        # A state of a JavaScript library may be longer than ours.
        return context.links.start("sign-in", flow.return_path, options)


def _finish(
    context: RequestContext, code: str | None, state: str | None, flow: Flow | None
) -> WSGIApplication:
    try:
        result = context.service.handle_callback(
            context.cookies,
            code,
            state,
            client=context.client,
            sign_in_path=context.sign_in_path,
            redirect_uris=context.redirect_uris.answering(context.environ),
            accept=False,
        )
        headers = _set_session(context, result, state, flow)
    except VerifierMissing as error:
        return _without_verifier(context, flow, error)
    except AuthorizationDenied as error:
        # Another person may get in, and WorkOS would sign this one in again unasked.
        other: dict[str, str | None] = {"prompt": "login", "login_hint": None}
        if error.error == "invitation_invalid":
            other["invitation_token"] = None
        return fail(context, error, again=_again(context, flow, **other))
    except AuthorizationError as error:
        return fail(context, error, again=_again(context, flow))
    marker = find_marker(context.service, context.cookies) or Marker(at=0)
    finished = replace(marker, finished=True, stateless=False)
    headers = [
        *headers,
        *marker_headers(context.service, context.sign_in_path, finished),
    ]
    location = context.site_url(context.links.return_path(result.return_to))
    if context.service.config.is_strict:
        return onward_page(location, "You are signed in", headers)
    return redirect(location, headers, see_other=True)


def _set_session(
    context: RequestContext,
    result: CallbackResult,
    state: str | None,
    flow: Flow | None,
) -> list[Header]:
    """Make the new session the request's, and return what else is to be sent.

    :raises AuthorizationError: ``on_success`` raised; no session is set.
    """
    before = context.result
    replacement: AuthResult | None = None
    headers: list[Header] = []
    if context.options.on_success is not None:
        headers = context.service.clear_pending_verifier(
            state, cookies=context.cookies, sign_in_path=context.sign_in_path
        ).headers
        try:
            replacement = _run_hook(context, context.options.on_success, result, flow)
        except Exception as error:
            if context.session:
                # What the hook has saved before it failed.
                context.revert(before)
            # Whatever the app raises means that this person is not to be signed in.
            if isinstance(error, AuthorizationDenied):
                # Another one: this is the app's, which may raise it again.
                raise AuthorizationDenied(
                    str(error),
                    error=error.error,
                    error_description=error.error_description,
                    headers=[*error.headers, *headers],
                ) from error
            log.exception("on_success stopped a sign-in")
            raise AuthorizationError(
                "on_success stopped the sign-in", code="hook_failed", headers=headers
            ) from error
    # Else the hook has made a session, or none, by the request's handle.
    if context.result is before:
        if replacement is None:
            context.service.accept_sign_in(result)
            replacement = AuthResult(session=result.session, headers=result.headers)
        context.change(replacement, leaves=True)
    session = context.session
    if isinstance(session, Session):
        log.info("user %s signed in, session %s", session.user.id, session.session_id)
    else:
        log.info("on_success left nobody signed in")
    return headers


def _run_hook(
    context: RequestContext,
    hook: OnSuccess,
    result: CallbackResult,
    flow: Flow | None,
) -> AuthResult | None:
    """Return the session that ``on_success`` puts in place of the new one, if any."""
    answer = result.authentication
    event = SignInEvent(
        user=answer.user,
        access_token=answer.access_token,
        refresh_token=answer.refresh_token,
        impersonator=answer.impersonator,
        oauth_tokens=answer.oauth_tokens,
        authentication_method=answer.authentication_method,
        organization_id=answer.organization_id,
        state=result.state,
        environ=context.app_environ,
    )
    replacement = hook(event)
    if replacement is None:
        return None
    return context.service.save_session(
        replacement,
        cookies=context.cookies,
        redirect_uri=flow.redirect_uri if flow else None,
    )


def _denied(
    context: RequestContext, query: dict[str, str], state: str | None, flow: Flow | None
) -> WSGIApplication:
    known = query["error"] in _ERRORS
    error = AuthorizationDenied(
        "WorkOS sent the browser back with an error"
        + (f": {query['error']}" if known else " that is not named here"),
        error=query["error"][:200],
        error_description=query.get("error_description", "")[:1000] or None,
    )
    if state:
        error.headers = context.service.clear_pending_verifier(
            state, cookies=context.cookies, sign_in_path=context.sign_in_path
        ).headers
    return fail(context, error, again=_again(context, flow))


def _without_state(context: RequestContext) -> WSGIApplication:
    """Answer a flow that was started at WorkOS, such as an impersonation.

    Its code is never exchanged: nothing ties it to this browser, so a link to it could
    sign anybody in as somebody else. Sign-in starts anew, once.
    """
    error = AuthorizationError(
        "a callback came with a code and without state; set the Sign-in URL of the "
        "WorkOS dashboard to this site's sign-in endpoint",
        code="state_missing",
    )
    answer = ask_app(context, error)
    if answer is not None:
        return answer
    marker = find_marker(context.service, context.cookies) or Marker(at=0)
    if marker.stateless:
        return explain(context, error)
    stateless = replace(marker, stateless=True)
    left = marker_headers(context.service, context.sign_in_path, stateless)
    return redirect(context.site_url(context.sign_in_path), left)


def _without_verifier(
    context: RequestContext, flow: Flow | None, error: VerifierMissing
) -> WSGIApplication:
    """Answer a callback that this browser has no flow for: back button, slow person.

    Who is signed in goes on to where the flow wanted to. Otherwise sign-in starts anew,
    once.
    """
    found = identify(context.service, context.options, context.app_environ)
    context.change(found)
    return_to = context.links.return_path(flow.return_path if flow else None)
    if found.session:
        return redirect(context.site_url(return_to), error.headers, see_other=True)
    answer = ask_app(context, error)
    if answer is not None:
        return answer
    if found.session.status == "unavailable":
        return with_headers(context.ask_to_sign_in(), error.headers)
    restarted = flow is not None and flow.restarted
    if restarted or error.code == "flow_used" or not is_person(context.environ):
        return explain(context, error, again=_again(context, flow))
    return _restart(context, flow, return_to, error)


def _restart(
    context: RequestContext, flow: Flow | None, return_to: str, error: VerifierMissing
) -> WSGIApplication:
    try:
        start = context.start_flow(
            return_to,
            flow.restart_options(OPEN_OPTIONS) if flow else {},
            restarted=True,
        )
    except CookieTooLarge:
        # The flow filled its cookie, and this one says in addition that it is the last.
        return explain(context, error)
    except AuthorizationError as refused:
        return fail(context, refused, error.headers)
    return redirect(start.url, [*error.headers, *start.headers])
