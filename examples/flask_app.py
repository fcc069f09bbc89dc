"""Flask: a decorator that asks people to sign in, and an error page of your own.

The settings come from the ``WORKOS_*`` environment variables; see the README for how
to get them. Serve it with any WSGI server::

    gunicorn --bind localhost:8000 flask_app:app

or try it with a fake WorkOS: ``make demo``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask, abort, redirect, request, send_file, url_for
from flask.typing import ResponseReturnValue

import live
import pages
from wsgi_authkit import AnonymousSession, Auth, AuthKitMiddleware, Session

app = Flask(__name__)
app.wsgi_app = AuthKitMiddleware(  # type: ignore[method-assign]
    app.wsgi_app,
    # Allow http://localhost:8000/ as a sign-out redirect in the WorkOS dashboard.
    sign_out_return_to="/",
)

View = Callable[..., ResponseReturnValue]


def current_session() -> Session | AnonymousSession:
    """Return the session of this request; it is false when nobody is signed in."""
    session: Session | AnonymousSession = request.environ["authkit.session"]
    return session


def current_auth() -> Auth:
    """Return what can be done about sign-in in this request."""
    auth: Auth = request.environ["authkit"]
    return auth


def signed_in(view: View) -> View:
    """Let only signed-in people see a view; it goes below ``@app.get``."""

    @wraps(view)
    def protected(*args: Any, **kwargs: Any) -> ResponseReturnValue:
        if not current_session():
            # A WSGI app: to sign-in and back for a person, 401 for a script.
            return current_auth().challenge()
        return view(*args, **kwargs)

    return protected


def permission_required(permission: str) -> Callable[[View], View]:
    """Let only people with a permission see a view."""

    def decorate(view: View) -> View:
        @wraps(view)
        def permitted(*args: Any, **kwargs: Any) -> ResponseReturnValue:
            if not current_session().has_permission(permission):
                abort(403)
            return view(*args, **kwargs)

        return signed_in(permitted)

    return decorate


@app.get("/")
def home() -> ResponseReturnValue:
    return pages.home(request.environ)


@app.get("/protected")
@signed_in
def protected() -> ResponseReturnValue:
    return pages.protected(request.environ)


@app.get("/members")
@permission_required(pages.MANAGE_MEMBERS)
def members() -> ResponseReturnValue:
    return pages.members(request.environ)


@app.get("/claims")
@signed_in
def claims() -> ResponseReturnValue:
    return pages.claims(request.environ)


@app.get("/organizations")
@signed_in
def organizations() -> ResponseReturnValue:
    return pages.organizations(request.environ)


@app.post("/organizations")
@signed_in
def switch_organization() -> ResponseReturnValue:
    if not pages.is_own_form(request.environ):
        return pages.refused(request.environ), 403
    here = url_for("organizations")
    auth = current_auth()
    outcome = auth.switch_organization(request.form["organization_id"], return_to=here)
    if outcome.kind == "reauthorize":  # the organization asks for SSO, for instance
        return redirect(str(outcome.url), 303)
    if outcome.kind == "denied":  # the session is over
        return redirect(auth.sign_in_url(here), 303)
    if outcome.kind == "unavailable":
        return pages.unavailable(request.environ), 503
    return redirect(here, 303)


@app.get(live.PATH)
def live_page() -> ResponseReturnValue:
    return live.page(request.environ), live.HEADERS


@app.get(live.SCRIPT_PATH)
def live_script() -> ResponseReturnValue:
    return send_file(live.SCRIPT, mimetype="text/javascript")


@app.errorhandler(403)
def forbidden(error: Exception) -> ResponseReturnValue:
    return pages.forbidden(request.environ), 403
