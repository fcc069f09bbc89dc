"""Sign-in pages of your own: password, e-mail verification, magic link, token exchange.

AuthKit's hosted page needs none of this. Who draws the pages themselves asks WorkOS
with ``auth.api.authenticate(grant_type, ...)`` and stores its answer with
``auth.save_session(...)``; from there on everything is as after any other sign-in.

One command serves it with a fake WorkOS, whose e-mails appear in the terminal::

    make example NAME=custom_flows

With a WorkOS account, set the ``WORKOS_*`` variables and ``FLASK_SECRET_KEY``, and
serve it with any WSGI server::

    gunicorn --bind localhost:8000 "custom_flows:make_app()"

=============================== ==================================================
endpoint                        what it does
=============================== ==================================================
``POST /login/password``        form: ``email``, ``password``
``POST /login/verify``          form: ``code``, after a password whose address is
                                not verified yet
``POST /login/magic``           form: ``email``; sends a code
``GET /login/magic?code=``      where a link in the e-mail leads; signs nobody in
``POST /login/magic/code``      form: ``code``
``POST /login/exchange``        JSON: ``exchangeToken``, of another app of yours
``POST /login/tokens``          JSON: ``accessToken``, ``refreshToken``, ``user`` and
                                ``impersonator``, of an AuthKit that you host
``POST /sign-out``              signs out
=============================== ==================================================

What signs somebody in must not be started by another site: a page there could sign a
visitor in as somebody of its own choice, who then types secrets into a foreign account
(login CSRF). So every POST needs a proof that it comes from this site. A link in an
e-mail cannot have one, and an attacker can send a link with a code of their own; so the
link only fills in the code, and the address that it is good for is the one that this
browser has asked for, never one of the link.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from flask import Flask, abort, redirect, render_template_string, request, session
from flask.typing import ResponseReturnValue

from wsgi_authkit import (
    APIUnavailable,
    Auth,
    AuthKitConfig,
    AuthKitMiddleware,
    AuthorizationRequired,
    ClientRejected,
    InvalidGrant,
    InvalidToken,
    KeySetUnavailable,
)
from wsgi_authkit.testing import FakeWorkOS, serve

MAGIC_AUTH = "urn:workos:oauth:grant-type:magic-auth:code"
EMAIL_VERIFICATION = "urn:workos:oauth:grant-type:email-verification:code"

#: What the person can put right. Everything else that WorkOS refuses is our mistake.
MISTAKES = {
    "invalid_credentials": "Address and password do not match.",
    "invalid_one_time_code": "This is not the code of the e-mail.",
    "one_time_code_expired": "The code is too old. Ask for a new one.",
    "one_time_code_previously_used": "The code has been used. Ask for a new one.",
    "one_time_code_too_many_attempts": "Too many attempts. Ask for a new code.",
    "invalid_pending_authentication_token": "That took too long. Start again.",
}

#: Sends a code to an address, where WorkOS is configured not to do it itself.
Deliver = Callable[[str, str], object]


def make_app(
    config: AuthKitConfig | None = None,
    *,
    deliver: Deliver | None = None,
    **options: Any,
) -> Flask:
    """Return the app.

    :param deliver: Called with an address and the code for it.
    :param options: Those of the middleware.
    """
    app = Flask(__name__)
    # Flask's own session holds what a half-finished sign-in needs, in this browser.
    app.secret_key = os.environ.get("FLASK_SECRET_KEY") or secrets.token_bytes(32)
    app.config.update(SESSION_COOKIE_NAME="sign-in", SESSION_COOKIE_SAMESITE="Lax")
    app.wsgi_app = AuthKitMiddleware(  # type: ignore[method-assign]
        app.wsgi_app, config, sign_out_return_to="/", **options
    )
    app.before_request(refuse_other_sites)
    add_pages(app)
    add_password(app, deliver)
    add_magic_link(app, deliver)
    add_tokens(app)
    add_errors(app)
    return app


def handle() -> Auth:
    """Return the handle of this request."""
    auth: Auth = request.environ["authkit"]
    return auth


def refuse_other_sites() -> None:
    """Refuse a POST that is not proven to come from a page of this site."""
    if request.method == "POST" and not handle().has_same_origin_proof():
        abort(403)


def finish(grant_type: str, **fields: str) -> ResponseReturnValue:
    """Ask WorkOS, sign in whom it names, and go to the home page."""
    auth = handle()
    # `client` tells WorkOS the person's address instead of this server's.
    answer = auth.api.authenticate(grant_type, client=auth.client, **fields)
    auth.save_session(answer)
    session.clear()
    return redirect("/", 303)


def add_pages(app: Flask) -> None:
    """Add the home page and sign-out."""

    @app.get("/")
    def home() -> ResponseReturnValue:
        return render_template_string(HOME, user=handle().session.user)

    @app.post("/sign-out")
    def sign_out() -> ResponseReturnValue:
        return redirect(handle().sign_out(), 303)


def add_password(app: Flask, deliver: Deliver | None) -> None:
    """Add the password and, for addresses not verified yet, the code that follows."""

    @app.post("/login/password")
    def password() -> ResponseReturnValue:
        form = request.form
        try:
            return finish("password", email=form["email"], password=form["password"])
        except AuthorizationRequired as error:
            if error.error != "email_verification_required":
                raise
            # It names no code and belongs to whoever typed the password just now.
            session["pending"] = error.pending_authentication_token
            if deliver is not None:
                path = "/user_management/email_verification/"
                sent = handle().api.get(path + error.details["email_verification_id"])
                deliver(sent["email"], sent["code"])
        return render_template_string(CODE, action="/login/verify")

    @app.post("/login/verify")
    def verify() -> ResponseReturnValue:
        return finish(
            EMAIL_VERIFICATION,
            code=request.form["code"],
            pending_authentication_token=session.get("pending") or abort(400),
        )


def add_magic_link(app: Flask, deliver: Deliver | None) -> None:
    """Add the code that is sent to an address, typed or filled in by a link."""

    @app.post("/login/magic")
    def magic() -> ResponseReturnValue:
        email = request.form["email"]
        path = "/user_management/magic_auth"
        sent = handle().api.post(path, json={"email": email})
        session["email"] = email
        if deliver is not None:
            deliver(email, sent["code"])
        return render_template_string(CODE, action="/login/magic/code")

    @app.get("/login/magic")
    def magic_link() -> ResponseReturnValue:
        if "email" not in session:
            # Another browser than the one that asked: perhaps another person, too.
            return render_template_string(ELSEWHERE), 400
        code = request.args.get("code", "")
        return render_template_string(CODE, action="/login/magic/code", code=code)

    @app.post("/login/magic/code")
    def magic_code() -> ResponseReturnValue:
        email = session.get("email") or abort(400)
        return finish(MAGIC_AUTH, code=request.form["code"], email=email)


def add_tokens(app: Flask) -> None:
    """Add what scripts of this site bring: an exchange token, or a whole session."""

    @app.post("/login/exchange")
    def exchange() -> ResponseReturnValue:
        # Any grant of WorkOS goes like this. Here it is the one that another app of
        # yours is given a code for, as `authkit_authorization_code` of its sign-ins.
        return finish("authorization_code", code=member("exchangeToken"))

    @app.post("/login/tokens")
    def tokens() -> ResponseReturnValue:
        # Signature, expiry and that the user is the token's are checked first.
        handle().save_session(request.get_json())
        return {"success": True}

    def member(name: str) -> str:
        body = request.get_json()
        value = body.get(name) if isinstance(body, dict) else None
        return value if isinstance(value, str) and value else abort(400)


def add_errors(app: Flask) -> None:
    """Add the answers to what goes wrong."""

    @app.errorhandler(ClientRejected)
    def refused(error: ClientRejected) -> ResponseReturnValue:
        text = MISTAKES.get(error.error or "")
        if text is None:
            raise error
        return render_template_string(ERROR, text=text), 400

    @app.errorhandler(InvalidGrant)
    @app.errorhandler(InvalidToken)
    def finished(_: Exception) -> ResponseReturnValue:
        return render_template_string(ERROR, text="This cannot be used any more."), 400

    @app.errorhandler(AuthorizationRequired)
    def step_up(_: AuthorizationRequired) -> ResponseReturnValue:
        # SSO, MFA or a choice of organization: AuthKit's own pages know how.
        return redirect(handle().sign_in_url(), 303)

    @app.errorhandler(APIUnavailable)
    @app.errorhandler(KeySetUnavailable)
    def unavailable(
        error: APIUnavailable | KeySetUnavailable,
    ) -> ResponseReturnValue:
        page = render_template_string(ERROR, text="Please try again in a moment.")
        return page, 503, {"Retry-After": f"{error.retry_after:.0f}"}


LAYOUT = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign-in pages of your own</title>
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 2rem auto;
  padding: 0 1rem }
form { display: grid; gap: .5rem; margin: 0 0 2rem }
input, button { font: inherit; padding: .375rem .5rem }
</style>
"""
HOME = f"""{LAYOUT}
{{% if user %}}
<h1>Hello {{{{ user.first_name or user.email }}}}</h1>
<form method="post" action="/sign-out"><button>Sign out</button></form>
{{% else %}}
<h1>Sign in</h1>
<form method="post" action="/login/password">
<label for="email">E-mail address</label>
<input id="email" name="email" type="email" autocomplete="username" required>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"
  required>
<button>Sign in</button>
</form>
<h2>Or by a code</h2>
<form method="post" action="/login/magic">
<label for="magic">E-mail address</label>
<input id="magic" name="email" type="email" autocomplete="username" required>
<button>Send me a code</button>
</form>
{{% endif %}}
"""
CODE = f"""{LAYOUT}
<h1>Check your e-mail</h1>
<form method="post" action="{{{{ action }}}}">
<label for="code">Code</label>
<input id="code" name="code" value="{{{{ code }}}}" inputmode="numeric"
  autocomplete="one-time-code" required>
<button>Continue</button>
</form>
"""
ERROR = f"""{LAYOUT}
<h1>That did not work</h1>
<p>{{{{ text }}}}</p>
<p><a href="/">Back</a></p>
"""
ELSEWHERE = f"""{LAYOUT}
<h1>Open the link where you asked for it</h1>
<p>This browser has not asked for a code. Type it there, or
<a href="/">start again here</a>.</p>
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the app and a fake WorkOS until Ctrl-C."""
    parser = argparse.ArgumentParser(
        description="Sign-in pages of one's own, with a fake WorkOS."
    )
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workos-port", type=int, default=8001)
    options = parser.parse_args(arguments)
    fake = FakeWorkOS.with_demo_data()
    fake.users["user_ada"].password = "lovelace"
    fake.users["user_grace"].password = "hopper"
    fake.users["user_grace"].email_verified = False
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

        def deliver(email: str, code: str) -> None:
            link = f"http://localhost:{options.port}/login/magic?code={code}"
            print(f"E-mail to {email}: your code is {code}; or {link}", flush=True)

        with serve(make_app(config, deliver=deliver), "localhost", options.port) as app:
            print(f"Open {app.url}; Ctrl-C stops.")
            print("Passwords: ada@example.com lovelace, grace@example.com hopper")
            print("Grace's address is not verified yet.", flush=True)
            while True:
                time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
    except OSError as error:  # somebody listens there already
        sys.exit(f"{error}; choose other ports with --port and --workos-port")
