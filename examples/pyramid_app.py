"""Pyramid: a security policy, and the middleware as a filter in the ini file.

The settings come from the ``WORKOS_*`` environment variables; see the README for how
to get them. Serve it with any server that reads ini files, such as ``pserve``::

    gunicorn --bind localhost:8000 --paste pyramid_app.ini

or try it with a fake WorkOS: ``make demo APP=pyramid``.
"""

from __future__ import annotations

from typing import Any

from pyramid.config import Configurator
from pyramid.csrf import CookieCSRFStoragePolicy, get_csrf_token
from pyramid.httpexceptions import HTTPBadRequest, HTTPSeeOther, HTTPUnauthorized
from pyramid.request import Request
from pyramid.response import FileResponse, Response
from pyramid.security import Allowed, Denied
from pyramid.view import forbidden_view_config, view_config

import live
import pages
from wsgi_authkit import Session

#: A permission of everybody who is signed in; all others are those of WorkOS.
SIGNED_IN = "signed in"


class AuthKitSecurityPolicy:
    """Tells Pyramid who makes a request and what they may do."""

    def identity(self, request: Request) -> Session | None:
        """Return the session, as ``request.identity``."""
        return request.environ["authkit.session"] or None

    def authenticated_userid(self, request: Request) -> str | None:
        """Return WorkOS's id of the user."""
        session = self.identity(request)
        return None if session is None else session.user.id

    def permits(
        self, request: Request, context: object, permission: str
    ) -> Allowed | Denied:
        """Say whether somebody has a permission, in the current organization."""
        session = self.identity(request)
        if session is None:
            return Denied("Nobody is signed in.")
        if permission == SIGNED_IN or session.has_permission(permission):
            return Allowed("They have the permission %s.", permission)
        return Denied("They do not have the permission %s.", permission)

    # The cookies are the middleware's.

    def remember(self, request: Request, userid: str, **kw: Any) -> list[Any]:
        """Return no headers."""
        return []

    def forget(self, request: Request, **kw: Any) -> list[Any]:
        """Return no headers."""
        return []


@view_config(route_name="home")
def home(request: Request) -> Response:
    return Response(pages.home(request.environ))


@view_config(route_name="protected", permission=SIGNED_IN)
def protected(request: Request) -> Response:
    return Response(pages.protected(request.environ))


@view_config(route_name="members", permission=pages.MANAGE_MEMBERS)
def members(request: Request) -> Response:
    return Response(pages.members(request.environ))


@view_config(route_name="claims", permission=SIGNED_IN)
def claims(request: Request) -> Response:
    return Response(pages.claims(request.environ))


@view_config(
    route_name="organizations", permission=SIGNED_IN, request_method=("GET", "HEAD")
)
def organizations(request: Request) -> Response:
    csrf = ("csrf_token", get_csrf_token(request))
    return Response(pages.organizations(request.environ, csrf))


@view_config(route_name="organizations", permission=SIGNED_IN, request_method="POST")
def switch_organization(request: Request) -> Response:
    organization_id = request.POST.get("organization_id")
    if not organization_id:
        return HTTPBadRequest()
    here = request.route_path("organizations")
    auth = request.environ["authkit"]
    outcome = auth.switch_organization(organization_id, return_to=here)
    if outcome.kind == "reauthorize":  # the organization asks for SSO, for instance
        return HTTPSeeOther(outcome.url)
    if outcome.kind == "denied":  # the session is over
        return HTTPSeeOther(auth.sign_in_url(here))
    if outcome.kind == "unavailable":
        return Response(pages.unavailable(request.environ), status=503)
    return HTTPSeeOther(here)


@view_config(route_name="live")
def live_page(request: Request) -> Response:
    response = Response(live.page(request.environ))
    response.headers.update(live.HEADERS)
    return response


@view_config(route_name="live_script")
def live_script(request: Request) -> Response:
    return FileResponse(live.SCRIPT, request, content_type="text/javascript")


@forbidden_view_config()
def forbidden(request: Request) -> Response:
    if request.identity is None:
        # The middleware turns it into a redirect to sign-in, for a person.
        return HTTPUnauthorized()
    return Response(pages.forbidden(request.environ), status=403)


def main(global_config: dict[str, str], **settings: str) -> Any:
    """Return the WSGI app; PasteDeploy calls it as the ini file says."""
    with Configurator(settings=settings) as config:
        config.set_security_policy(AuthKitSecurityPolicy())
        config.set_csrf_storage_policy(CookieCSRFStoragePolicy(samesite="Lax"))
        config.set_default_csrf_options(require_csrf=True)
        config.add_route("home", "/")
        for name in ("protected", "members", "claims", "organizations"):
            config.add_route(name, f"/{name}")
        config.add_route("live", live.PATH)
        config.add_route("live_script", live.SCRIPT_PATH)
        config.scan(__name__)
        return config.make_wsgi_app()
