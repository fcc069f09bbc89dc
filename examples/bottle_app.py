"""Bottle: a plugin, and routes that say who may see them.

The settings come from the ``WORKOS_*`` environment variables; see the README for how
to get them. Serve it with any WSGI server::

    gunicorn --bind localhost:8000 bottle_app:application

or try it with a fake WorkOS: ``make demo APP=bottle``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from bottle import (
    Bottle,
    HTTPError,
    HTTPResponse,
    abort,
    redirect,
    request,
    response,
    static_file,
)

import live
import pages
from wsgi_authkit import AuthKitMiddleware


class AccessPlugin:
    """Gives routes the options ``signed_in`` and ``permission``."""

    name = "access"
    api = 2

    def apply(self, callback: Callable[..., Any], route: Any) -> Callable[..., Any]:
        """Return the callback of a route, behind what the route asks for."""
        permission = route.config.get("permission")
        if not (permission or route.config.get("signed_in")):
            return callback

        @wraps(callback)
        def protected(*args: Any, **kwargs: Any) -> Any:
            session = request.environ["authkit.session"]
            if not session:
                # The middleware turns it into a redirect to sign-in, for a person.
                abort(401)
            if permission and not session.has_permission(permission):
                abort(403)
            return callback(*args, **kwargs)

        return protected


app = Bottle()
app.install(AccessPlugin())


@app.get("/")
def home() -> str:
    return pages.home(request.environ)


@app.get("/protected", signed_in=True)
def protected() -> str:
    return pages.protected(request.environ)


@app.get("/members", permission=pages.MANAGE_MEMBERS)
def members() -> str:
    return pages.members(request.environ)


@app.get("/claims", signed_in=True)
def claims() -> str:
    return pages.claims(request.environ)


@app.get("/organizations", signed_in=True)
def organizations() -> str:
    return pages.organizations(request.environ)


@app.post("/organizations", signed_in=True)
def switch_organization() -> Any:
    if not pages.is_own_form(request.environ):
        response.status = 403
        return pages.refused(request.environ)
    organization_id = request.forms.get("organization_id") or abort(400)
    here = pages.link(request.environ, "/organizations")
    auth = request.environ["authkit"]
    outcome = auth.switch_organization(organization_id, return_to=here)
    if outcome.kind == "reauthorize":  # the organization asks for SSO, for instance
        redirect(outcome.url, 303)
    if outcome.kind == "denied":  # the session is over
        redirect(auth.sign_in_url(here), 303)
    if outcome.kind == "unavailable":
        response.status = 503
        return pages.unavailable(request.environ)
    return redirect(here, 303)


@app.get(live.PATH)
def live_page() -> str:
    response.headers.update(live.HEADERS)
    return live.page(request.environ)


@app.get(live.SCRIPT_PATH)
def live_script() -> HTTPResponse:
    script = live.SCRIPT
    return static_file(script.name, root=script.parent, mimetype="text/javascript")


@app.error(403)
def forbidden(error: HTTPError) -> str:
    return pages.forbidden(request.environ)


application = AuthKitMiddleware(
    app,
    # Allow http://localhost:8000/ as a sign-out redirect in the WorkOS dashboard.
    sign_out_return_to="/",
)
