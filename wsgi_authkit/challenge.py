"""What somebody is told who has to sign in first: a redirect, 401, or 503.

A navigation is redirected to sign-in and comes back to the same URL. Anything else
gets 401 and JSON, because a script cannot follow a redirect to another origin. While
nobody can say whether the person is signed in the answer is 503, for a redirect would
lead to a WorkOS that is down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from wsgi_authkit._wsgi import Header, path_and_query
from wsgi_authkit.access import (
    is_cross_site,
    is_htmx,
    is_navigation,
    is_turbo,
    prefers_html,
)
from wsgi_authkit.config import url_origin
from wsgi_authkit.errors import RefreshNeedsAuthorization, RefreshUnavailable
from wsgi_authkit.options import Options
from wsgi_authkit.paths import safe_return_path
from wsgi_authkit.responses import (
    Response,
    json_error,
    json_response,
    onward_page,
    page,
    private,
    redirect,
)
from wsgi_authkit.results import AuthResult
from wsgi_authkit.sessions import organization_to_authorize

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

#: Seconds that a browser waits before it tries an unavailable page again.
RETRY_AFTER: Final = 3

_ONWARD: Final = "One moment, please"


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """How one request is asked to sign in."""

    environ: WSGIEnvironment = field(repr=False)
    result: AuthResult
    options: Options
    #: The public origin of this site.
    origin: str
    #: Whether the app is meant to run in another site's frame.
    framed: bool
    #: Whether sessions stay away where another site has sent the browser here.
    strict: bool
    #: Whether the middleware leaves the path alone.
    excluded: bool
    #: ``start_url(endpoint, return_to, options)`` is the path that starts a flow.
    start_url: Callable[[str, str | None, dict[str, Any]], str]

    def answer(self) -> Response:
        """Return the response to a request that needs a session and has none."""
        if self._is_unavailable:
            return self._unavailable(self._retry_after)
        if self._is_navigation and not self._is_api:
            here = path_and_query(self.environ)
            # Not to what a browser may take for another host, such as `//evil.example`.
            if self._is_cut_off and safe_return_path(here) == here:
                return onward_page(f"{self.options.base_url or ''}{here}", _ONWARD)
            return redirect(self._location(here))
        return self._unauthorized()

    @property
    def _is_cut_off(self) -> bool:
        """Whether the session may be there once a page of this site asks for it."""
        return (
            self.strict
            and self.result.session.reason == "no_cookie"
            and is_cross_site(self.environ)
        )

    def answer_script(self) -> Response:
        """Return the JSON for a script that needs a session and has none."""
        if self._is_unavailable:
            return unavailable_json(self._retry_after)
        return self._unauthorized()

    def rewrite(self, status: str, headers: list[Header]) -> tuple[str, list[Header]]:
        """Return status and headers of an app's response, a 401 as a challenge.

        Only that of a navigation whose person is signed out: a script knows what to do
        with a 401, and who is signed in would come back to the same one. With a
        ``WWW-Authenticate`` of its own it asks for something else (RFC 9110 11.6.1).
        The app's body goes out with it, so the headers that describe it stay.
        """
        if not self._is_to_rewrite(status, headers):
            return status, headers
        if self._is_unavailable:
            changed = HTTPStatus.SERVICE_UNAVAILABLE
            header = ("Retry-After", str(self._retry_after))
        elif not self._is_api:
            changed = HTTPStatus.FOUND
            header = ("Location", self._location(path_and_query(self.environ)))
        else:
            return status, headers
        kept = [each for each in headers if each[0].lower() != header[0].lower()]
        return f"{changed.value} {changed.phrase}", private([*kept, header])

    def _is_to_rewrite(self, status: str, headers: Iterable[Header]) -> bool:
        session = self.result.session
        return (
            status.startswith("401")
            and self.options.challenge_401
            and not session
            and not self.excluded
            and not any(name.lower() == "www-authenticate" for name, _ in headers)
            and self._is_navigation
        )

    @property
    def _is_unavailable(self) -> bool:
        return self.result.session.status == "unavailable"

    @property
    def _is_navigation(self) -> bool:
        return is_navigation(self.environ, framed=self.framed)

    @property
    def _path_info(self) -> str:
        return str(self.environ.get("PATH_INFO", ""))

    @property
    def _is_api(self) -> bool:
        return self.options.rules.is_api(self._path_info)

    def _location(self, return_to: str | None) -> str:
        return f"{self.options.base_url or ''}{self.sign_in_url(return_to)}"

    def sign_in_url(self, return_to: str | None = None) -> str:
        """Return the path of the sign-in that the request needs."""
        name = (
            "sign-up" if self.options.rules.is_sign_up(self._path_info) else "sign-in"
        )
        return self.start_url(name, return_to, self._step_up())

    def _step_up(self) -> dict[str, Any]:
        """Return the options of a sign-in that takes the step WorkOS asked for."""
        error = self.result.error
        if not isinstance(error, RefreshNeedsAuthorization):
            return {}
        return {"organization_id": organization_to_authorize(error)}

    def _unauthorized(self) -> Response:
        # Where a script runs is no place to come back to, so there is no return path.
        return json_response(
            {
                "error": {
                    "code": "unauthenticated",
                    "message": "Sign in first.",
                    "reason": self.result.session.reason,
                },
                "signInUrl": self.sign_in_url(),
            },
            HTTPStatus.UNAUTHORIZED,
            self._page_headers(),
        )

    def _page_headers(self) -> list[Header]:
        """Return what makes a page whose script asked navigate to sign-in.

        htmx follows ``HX-Redirect`` whatever the status is. Turbo loads a page anew
        that was not answered with HTML, and its events show this header too.
        """
        if is_htmx(self.environ):
            return [("HX-Redirect", self._location(self._current_page()))]
        if is_turbo(self.environ):
            return [("HX-Redirect", self._location(None))]
        return []

    def _current_page(self) -> str | None:
        """Return the page that htmx runs in, ``None`` unless it is one of this site."""
        url = self.environ.get("HTTP_HX_CURRENT_URL", "")
        try:
            if url_origin(url) != self.origin:
                return None
        except ValueError:
            return None
        parts = urlsplit(url)
        return parts._replace(scheme="", netloc="").geturl() or "/"

    @property
    def _retry_after(self) -> int:
        error = self.result.error
        wait = error.retry_after if isinstance(error, RefreshUnavailable) else 1
        return max(RETRY_AFTER, math.ceil(wait))

    def _unavailable(self, seconds: int) -> Response:
        if not prefers_html(self.environ):
            return unavailable_json(seconds)
        return page(
            "One moment, please",
            [
                "The sign-in service cannot be reached at the moment. You are still "
                "signed in; this page tries again by itself."
            ],
            status=HTTPStatus.SERVICE_UNAVAILABLE,
            retry_after=seconds,
        )


def unavailable_json(seconds: int) -> Response:
    """Return the 503 for a script that has to wait so long until somebody can say."""
    return json_error(
        "unavailable",
        "The sign-in service cannot be reached at the moment.",
        HTTPStatus.SERVICE_UNAVAILABLE,
        [("Retry-After", str(seconds))],
    )
