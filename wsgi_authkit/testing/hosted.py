"""Hosted AuthKit: what the browser sees of WorkOS.

A sign-in leaves a hosted session behind, in a cookie of the fake's own site. While it
lives, the next authorization completes without a page, and only a browser that visits
the logout URL ends it. This is how an app that forgets that hop is found out.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlencode

from wsgi_authkit.testing import pages
from wsgi_authkit.testing._http import (
    Header,
    Refusal,
    Request,
    Response,
    html_response,
    message_error,
    redirect,
)
from wsgi_authkit.testing.authorization import (
    AUTHORIZE_PATH,
    AuthorizationRequest,
    parse_authorization_request,
)
from wsgi_authkit.testing.directory import Directory, FakeUser, Impersonator
from wsgi_authkit.testing.sessions import Sessions, SignIn
from wsgi_authkit.testing.settings import Settings

#: Name of the cookie with the hosted session.
COOKIE: Final = "fake-workos-session"

_DENIED: Final = ("access_denied", "The person refused to sign in.")


class FormProblem(ValueError):
    """The sign-in form cannot be accepted; the page is shown again."""


class HostedAuthKit:
    """The sign-in page, the hosted session and its end."""

    def __init__(
        self,
        settings: Settings,
        directory: Directory,
        sessions: Sessions,
        clock: Callable[[], float],
        add_user: Callable[..., FakeUser],
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._sessions = sessions
        self._clock = clock
        self._add_user = add_user
        self._hosted: dict[str, SignIn] = {}

    def show(self, request: Request) -> Response:
        """Answer an authorization request."""
        authorization = self._parse(request)
        hosted = self.signed_in(request)
        if hosted is not None and self._is_enough(hosted, authorization):
            return redirect(self.complete(authorization, hosted))
        return self._page(request, authorization)

    def submit(self, request: Request) -> Response:
        """Take the sign-in form."""
        authorization = self._parse(request)
        form = request.form()
        if form.get("action") == "cancel":
            return redirect(authorization.failure(*_DENIED))
        try:
            sign_in = self._read_form(form, authorization)
        except FormProblem as problem:
            return self._page(request, authorization, form, str(problem))
        cookie = self._remember(request, sign_in)
        return redirect(self.complete(authorization, sign_in), [cookie])

    def log_out(self, request: Request) -> Response:
        """End the session named and the hosted session of this browser."""
        params = dict(request.query)
        if not self._sessions.revoke(params.get("session_id", "")):
            raise message_error(422, "The session_id is missing or not known.")
        self._hosted.pop(request.cookie(COOKIE) or "", None)
        forget = [_cookie(request, "", max_age=0)]
        return_to = params.get("return_to")
        if return_to is None:
            return html_response(200, pages.signed_out(), forget)
        allowed = self._settings.logout_uris
        if allowed and return_to not in allowed:
            page = pages.error("The return_to is not among the sign-out redirects.")
            return html_response(400, page, forget)
        return redirect(return_to, forget)

    def signed_in(self, request: Request) -> SignIn | None:
        """Return the hosted session of the browser."""
        hosted = self._hosted.get(request.cookie(COOKIE) or "")
        if hosted is None or hosted.user.id not in self._directory.users:
            return None
        return hosted

    def sign_in(
        self,
        authorization: AuthorizationRequest,
        user: FakeUser,
        organization_id: str | None,
        impersonator: Impersonator | None,
    ) -> SignIn:
        """Return the sign-in of a user as the request wants it.

        :raises FormProblem: The user is not a member of the organization.
        """
        if authorization.organization is not None:
            organization_id = authorization.organization.id
        if organization_id is not None:
            self._check_member(user, organization_id)
        method = authorization.authentication_method
        return SignIn(
            user=user,
            authentication_method="Impersonation" if impersonator else method,
            authenticated_at=self._clock(),
            organization_id=organization_id,
            impersonator=impersonator,
        )

    def complete(self, authorization: AuthorizationRequest, sign_in: SignIn) -> str:
        """Return the callback URL of a sign-in."""
        code = self._sessions.create_code(sign_in, authorization.code_challenge)
        return authorization.success(code)

    def user(self, email: str, names: Mapping[str, str] | None = None) -> FakeUser:
        """Return the user with this address, a new one if it is unknown.

        :raises FormProblem: It is not an address.
        """
        known = self._directory.user_by_email(email)
        if known is not None:
            return known
        local, _, domain = email.partition("@")
        if not (local and domain and email.isprintable()) or " " in email:
            raise FormProblem("Enter an e-mail address, such as ada@example.com.")
        names = {key: value for key, value in (names or {}).items() if value}
        return self._add_user(email, **names)

    def _parse(self, request: Request) -> AuthorizationRequest:
        try:
            return parse_authorization_request(
                request.query, self._settings, self._directory
            )
        except ValueError as error:
            raise Refusal(html_response(400, pages.error(str(error)))) from None

    def _is_enough(self, hosted: SignIn, authorization: AuthorizationRequest) -> bool:
        if authorization.prompt == "login":
            return False
        age = self._clock() - hosted.authenticated_at
        max_age = authorization.max_age
        if max_age is not None and (max_age == 0 or age > max_age):
            return False
        wanted, chosen = authorization.organization, hosted.organization_id
        if chosen and self._directory.membership(hosted.user.id, chosen) is None:
            return False
        return wanted is None or wanted.id == chosen

    def _page(
        self,
        request: Request,
        authorization: AuthorizationRequest,
        form: Mapping[str, str] | None = None,
        problem: str | None = None,
    ) -> Response:
        hint = authorization.login_hint or ""
        known = self._directory.user_by_email(hint)
        users = list(self._directory.users.values())
        defaults = {
            "user": known.id if known else "new" if hint or not users else users[0].id,
            "email": "" if known else hint,
        }
        page = pages.sign_in(
            sign_up=authorization.sign_up,
            action=_action(request),
            other_action=_action(request, sign_up=not authorization.sign_up),
            offers_other=authorization.provider == "authkit",
            application=authorization.redirect_uri,
            provider=authorization.authentication_method,
            people=[
                (user, self._directory.organizations_of(user.id)) for user in users
            ],
            organization=authorization.organization,
            values=form or defaults,
            problem=problem,
        )
        return html_response(400 if problem else 200, page)

    def _read_form(
        self, form: Mapping[str, str], authorization: AuthorizationRequest
    ) -> SignIn:
        if authorization.sign_up:
            user = self._new_user(form)
        elif form.get("user") == "new":
            user = self.user(form.get("email", "").strip())
        else:
            user = self._chosen_user(form)
        organization_id = form.get(f"organization_{user.id}") or None
        impersonator = _impersonator(form)
        return self.sign_in(authorization, user, organization_id, impersonator)

    def _new_user(self, form: Mapping[str, str]) -> FakeUser:
        email = form.get("email", "").strip()
        if self._directory.user_by_email(email) is not None:
            raise FormProblem("There is an account with this address. Sign in instead.")
        names = {key: form.get(key, "").strip() for key in ("first_name", "last_name")}
        return self.user(email, names)

    def _chosen_user(self, form: Mapping[str, str]) -> FakeUser:
        user = self._directory.users.get(form.get("user", ""))
        if user is None:
            raise FormProblem("Choose who signs in.")
        return user

    def _check_member(self, user: FakeUser, organization_id: str) -> None:
        if self._directory.membership(user.id, organization_id) is None:
            raise FormProblem("This person is not a member of the organization.")

    def _remember(self, request: Request, sign_in: SignIn) -> Header:
        self._hosted.pop(request.cookie(COOKIE) or "", None)
        value = secrets.token_urlsafe(24)
        self._hosted[value] = sign_in
        return _cookie(request, value)


def _impersonator(form: Mapping[str, str]) -> Impersonator | None:
    email = form.get("impersonator_email", "").strip()
    reason = form.get("impersonator_reason", "").strip()
    return Impersonator(email=email, reason=reason or None) if email else None


def _action(request: Request, *, sign_up: bool | None = None) -> str:
    params = [pair for pair in request.query if pair[0] != "screen_hint"]
    if sign_up is None:
        params = list(request.query)
    elif sign_up:
        params.append(("screen_hint", "sign-up"))
    return f"{AUTHORIZE_PATH}?{urlencode(params)}"


def _cookie(request: Request, value: str, *, max_age: int | None = None) -> Header:
    parts = [f"{COOKIE}={value}", "Path=/", "HttpOnly", "SameSite=Lax"]
    if request.scheme == "https":
        parts.append("Secure")
    if max_age is not None:
        parts.append(f"Max-Age={max_age}")
    return ("Set-Cookie", "; ".join(parts))
