"""A hook that keeps the identity provider's tokens and reads ``state``.

``on_success`` runs when somebody has signed in, before the session is set. It is the
one place where the tokens of the identity provider are seen, here a calendar's: they
are stored by the user's id, on the server. ``state`` is what the link to sign in was
given. It brings context over, here the plan that somebody had chosen, and grants
nothing: whoever has a link can follow it.

One command serves it with a fake WorkOS::

    make example NAME=on_success

With a WorkOS account (*Return OAuth tokens* switched on for the provider), set the
``WORKOS_*`` variables and serve it with any WSGI server::

    gunicorn --bind localhost:8000 "on_success:make_app()"
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from collections.abc import Sequence
from typing import Any

from flask import Flask, render_template_string, request
from flask.typing import ResponseReturnValue

from wsgi_authkit import (
    Auth,
    AuthKitConfig,
    AuthKitMiddleware,
    OAuthTokens,
    SignInEvent,
)
from wsgi_authkit.testing import FakeWorkOS, serve

PLANS = ("free", "team")


class Accounts:
    """What the app keeps of its users; a table of a database in a real one."""

    def __init__(self) -> None:
        # The provider's tokens are secrets: encrypt them in a database.
        self.calendars: dict[str, OAuthTokens] = {}
        self.plans: dict[str, str] = {}

    def on_success(self, sign_in: SignInEvent) -> None:
        """Remember what only the sign-in tells. What it raises stops the sign-in."""
        if not sign_in.user.email_verified:
            raise PermissionError("only verified addresses may sign in")
        if sign_in.oauth_tokens is not None:
            self.calendars[sign_in.user.id] = sign_in.oauth_tokens
        plan = chosen_plan(sign_in.state)
        if plan is not None:
            # A wish: what a plan costs is settled on a page of its own.
            self.plans.setdefault(sign_in.user.id, plan)


def chosen_plan(state: str | None) -> str | None:
    """Return the plan of a ``state`` of ours, ``None`` for any other."""
    try:
        value = json.loads(state or "null")
    except ValueError:
        return None
    plan = value.get("plan") if isinstance(value, dict) else None
    return plan if plan in PLANS else None


def make_app(
    config: AuthKitConfig | None = None,
    accounts: Accounts | None = None,
    **options: Any,
) -> Flask:
    """Return the app.

    :param options: Those of the middleware.
    """
    accounts = accounts or Accounts()
    app = Flask(__name__)
    app.wsgi_app = AuthKitMiddleware(  # type: ignore[method-assign]
        app.wsgi_app,
        config,
        on_success=accounts.on_success,
        sign_out_return_to="/",
        **options,
    )

    @app.get("/")
    def home() -> ResponseReturnValue:
        auth: Auth = request.environ["authkit"]
        user = auth.session.user
        links = {
            plan: auth.sign_in_url("/", state=json.dumps({"plan": plan}))
            for plan in PLANS
        }
        return render_template_string(
            HOME,
            auth=auth,
            links=links,
            plan=accounts.plans.get(user.id) if user else None,
            calendar=accounts.calendars.get(user.id) if user else None,
        )

    return app


HOME = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>A hook at sign-in</title>
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 2rem auto;
  padding: 0 1rem }
button { font: inherit; padding: .375rem .75rem }
</style>
{% if auth.session.user %}
<h1>Hello {{ auth.session.user.first_name or auth.session.user.email }}</h1>
<p>Your plan: {{ plan or "none" }}</p>
{% if calendar %}
<p>Connected: {{ calendar.provider }}, {{ calendar.scopes | join(", ") }}</p>
{% else %}
<p>No calendar is connected.</p>
{% endif %}
<form method="post" action="{{ auth.sign_out_url() }}"><button>Sign out</button></form>
{% else %}
<h1>Choose a plan</h1>
{% for plan, link in links.items() %}
<p><a href="{{ link }}">Sign in for the plan {{ plan }}</a></p>
{% endfor %}
{% endif %}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the app and a fake WorkOS until Ctrl-C."""
    parser = argparse.ArgumentParser(
        description="A hook at sign-in, with a fake WorkOS."
    )
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workos-port", type=int, default=8001)
    options = parser.parse_args(arguments)
    fake = FakeWorkOS.with_demo_data()
    fake.users["user_ada"].oauth_tokens = {
        "provider": "GoogleOAuth",
        "access_token": "the provider's access token",
        "refresh_token": "the provider's refresh token",
        "expires_at": int(time.time()) + 3600,
        "scopes": ["calendar.readonly"],
    }
    with serve(fake, "localhost", options.workos_port) as workos:
        config = AuthKitConfig(
            client_id="client_test",
            api_key="sk_test_fake",
            redirect_uri=f"http://localhost:{options.port}/callback",
            cookie_password=secrets.token_urlsafe(32),
            api_hostname="localhost",
            api_https=False,
            api_port=workos.port,
        )
        with serve(make_app(config), "localhost", options.port) as app:
            print(f"Open {app.url} and sign in as Ada; Ctrl-C stops.", flush=True)
            while True:
                time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
    except OSError as error:  # somebody listens there already
        sys.exit(f"{error}; choose other ports with --port and --workos-port")
