"""No framework: a WSGI app that is told which paths are protected.

The settings come from the ``WORKOS_*`` environment variables; see the README for how
to get them. Serve it with any WSGI server::

    gunicorn --bind localhost:8000 wsgi_app:application

or try it with a fake WorkOS: ``make demo APP=wsgi``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import live
import pages
from wsgi_authkit import AuthKitMiddleware

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    View = Callable[[WSGIEnvironment], WSGIApplication]

MAX_FORM = 10_000  # bytes


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a request; who reaches a protected path is signed in."""
    method = "GET" if environ["REQUEST_METHOD"] == "HEAD" else environ["REQUEST_METHOD"]
    view = VIEWS.get((method, environ["PATH_INFO"]), not_found)
    return view(environ)(environ, start_response)


def home(environ: WSGIEnvironment) -> WSGIApplication:
    return html(pages.home(environ))


def protected(environ: WSGIEnvironment) -> WSGIApplication:
    return html(pages.protected(environ))


def members(environ: WSGIEnvironment) -> WSGIApplication:
    if not environ["authkit.session"].has_permission(pages.MANAGE_MEMBERS):
        return html(pages.forbidden(environ), HTTPStatus.FORBIDDEN)
    return html(pages.members(environ))


def claims(environ: WSGIEnvironment) -> WSGIApplication:
    return html(pages.claims(environ))


def organizations(environ: WSGIEnvironment) -> WSGIApplication:
    return html(pages.organizations(environ))


def switch_organization(environ: WSGIEnvironment) -> WSGIApplication:
    if not pages.is_own_form(environ):
        return html(pages.refused(environ), HTTPStatus.FORBIDDEN)
    organization_id = form(environ).get("organization_id")
    if organization_id is None:
        return html(pages.page(environ, "This form is incomplete", ""), HTTPStatus(400))
    here = pages.link(environ, "/organizations")
    auth = environ["authkit"]
    outcome = auth.switch_organization(organization_id, return_to=here)
    if outcome.kind == "reauthorize":  # the organization asks for SSO, for instance
        return see_other(outcome.url)
    if outcome.kind == "denied":  # the session is over
        return see_other(auth.sign_in_url(here))
    if outcome.kind == "unavailable":
        return html(pages.unavailable(environ), HTTPStatus.SERVICE_UNAVAILABLE)
    return see_other(here)


def live_page(environ: WSGIEnvironment) -> WSGIApplication:
    return html(live.page(environ), headers=live.HEADERS)


def live_script(environ: WSGIEnvironment) -> WSGIApplication:
    script = live.SCRIPT.read_text("utf-8")
    return text(script, {"Content-Type": "text/javascript; charset=utf-8"})


def not_found(environ: WSGIEnvironment) -> WSGIApplication:
    page = pages.page(environ, "There is no such page", "Choose one from above.")
    return html(page, HTTPStatus.NOT_FOUND)


VIEWS: dict[tuple[str, str], View] = {
    ("GET", "/"): home,
    ("GET", "/protected"): protected,
    ("GET", "/members"): members,
    ("GET", "/claims"): claims,
    ("GET", "/organizations"): organizations,
    ("POST", "/organizations"): switch_organization,
    ("GET", live.PATH): live_page,
    ("GET", live.SCRIPT_PATH): live_script,
}


def form(environ: WSGIEnvironment) -> dict[str, str]:
    """Return the fields of a form that was posted."""
    length = min(int(environ.get("CONTENT_LENGTH") or 0), MAX_FORM)
    body = environ["wsgi.input"].read(length).decode("utf-8", "replace")
    return {name: values[0] for name, values in parse_qs(body).items()}


def html(
    page: str,
    status: HTTPStatus = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> WSGIApplication:
    """Return a WSGI app that answers with a page."""
    content_type = {"Content-Type": "text/html; charset=utf-8"}
    return text(page, {**content_type, **(headers or {})}, status)


def text(
    content: str, headers: Mapping[str, str], status: HTTPStatus = HTTPStatus.OK
) -> WSGIApplication:
    """Return a WSGI app that answers with a text of any type."""

    def answer(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        body = content.encode()
        fields = [*headers.items(), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", fields)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    return answer


def see_other(url: str) -> WSGIApplication:
    """Return a WSGI app that sends the browser to another page."""

    def answer(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        start_response("303 See Other", [("Location", url), ("Content-Length", "0")])
        return []

    return answer


application = AuthKitMiddleware(
    app,
    # Here the middleware asks people to sign in. To protect everything but some paths,
    # there are require_auth=True and public_paths.
    protected_paths=["/protected", "/members", "/claims", "/organizations"],
    # Allow http://localhost:8000/ as a sign-out redirect in the WorkOS dashboard.
    sign_out_return_to="/",
)
