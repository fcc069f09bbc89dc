"""A Flask app whose users sign in through WorkOS AuthKit.

The settings come from the ``WORKOS_*`` environment variables; see the README for how
to get them. Serve it with any WSGI server::

    gunicorn --bind localhost:8000 flask_app:app
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask, render_template_string, request
from flask.typing import ResponseReturnValue

from wsgi_authkit import AnonymousSession, Auth, AuthKitMiddleware, Session

app = Flask(__name__)
app.wsgi_app = AuthKitMiddleware(  # type: ignore[method-assign]
    app.wsgi_app,
    # Allow http://localhost:8000/ as a sign-out redirect in the WorkOS dashboard.
    sign_out_return_to="/",
)


def current_session() -> Session | AnonymousSession:
    """Return the session of this request; it is false when nobody is signed in."""
    session: Session | AnonymousSession = request.environ["authkit.session"]
    return session


def signed_in(
    view: Callable[..., ResponseReturnValue],
) -> Callable[..., ResponseReturnValue]:
    """Let only signed-in people see a view; others are asked to sign in."""

    @wraps(view)
    def protected(*args: Any, **kwargs: Any) -> ResponseReturnValue:
        if not current_session():
            # A WSGI app: to sign-in and back for a person, 401 for a script.
            auth: Auth = request.environ["authkit"]
            return auth.challenge()
        return view(*args, **kwargs)

    return protected


@app.get("/")
def home() -> ResponseReturnValue:
    session = current_session()
    if session.user:
        name = session.user.first_name or session.user.email
        return page(f"Hello {name}", "The protected page and your claims are open now.")
    if session.status == "unavailable":
        return page("Hello", "WorkOS cannot be reached just now. You stay signed in.")
    return page("Hello", "Sign in to see the protected page and your claims.")


@app.get("/protected")
@signed_in
def protected() -> ResponseReturnValue:
    return page("Protected page", "Only people who are signed in can read this.")


@app.get("/claims")
@signed_in
def claims() -> ResponseReturnValue:
    explanation = "What WorkOS says about you in the access token of this request."
    return page("Your claims", explanation, current_session().claims)


def page(title: str, text: str, table: Any = None) -> str:
    """Return a page; Jinja escapes what is put into it."""
    return render_template_string(
        PAGE, title=title, text=text, table=table, auth=request.environ["authkit"]
    )


PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --text: #1c2024; --soft: #60646c; --page: #f6f6f8;
  --card: #fff; --line: #d9d9e0; --accent: #5147c7; --on-accent: #fff }
@media (prefers-color-scheme: dark) { :root { --text: #edeef0; --soft: #b0b4ba;
  --page: #111113; --card: #19191b; --line: #43484e; --accent: #b1a9ff;
  --on-accent: #1c1a33 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
header, main { max-width: 48rem; margin: 0 auto; padding: 1rem }
header { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1.25rem }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; flex: 1 1 20rem }
nav a { color: var(--soft); padding: .375rem 0; text-decoration: none }
nav a:hover, nav a[aria-current] { color: var(--text); text-decoration: underline;
  text-underline-offset: .375rem; text-decoration-thickness: 2px }
.who { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .75rem }
.button { display: inline-block; padding: .375rem .875rem;
  border: 1px solid var(--line); border-radius: .5rem; background: var(--card);
  color: inherit; font: inherit; font-weight: 600; text-decoration: none;
  cursor: pointer }
.primary { border-color: var(--accent); background: var(--accent);
  color: var(--on-accent) }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
.card { padding: 2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem }
h1 { margin: 0 0 .5rem; font-size: 1.5rem; line-height: 1.25 }
p { margin: 0; color: var(--soft) }
.notice { margin: 0 0 1rem; padding: .75rem 1rem; border: 1px solid var(--accent);
  border-radius: .75rem; color: inherit }
dl { margin: 1.5rem 0 0; border-top: 1px solid var(--line) }
dl div { display: flex; flex-wrap: wrap; gap: 0 1rem; padding: .5rem 0;
  border-bottom: 1px solid var(--line) }
dt { flex: 0 0 9rem; color: var(--soft) }
dd { flex: 1 1 16rem; min-width: 0; margin: 0; overflow-wrap: anywhere }
@media (max-width: 30rem) { .card { padding: 1.25rem } }
</style>
</head>
<body>
{% set user = auth.session.user %}
<header>
<nav aria-label="Pages">
{% for path, name in [("/", "Home"), ("/protected", "Protected page"),
                      ("/claims", "Your claims")] %}
<a href="{{ request.script_root }}{{ path }}"
{%- if path == request.path %} aria-current="page"{% endif %}>{{ name }}</a>
{% endfor %}
</nav>
<div class="who">
{% if user %}
<span>{{ user.name or user.email }}</span>
<form method="post" action="{{ auth.sign_out_url() }}">
<button class="button">Sign out</button>
</form>
{% elif auth.session.status == "anonymous" %}
<a class="button" href="{{ auth.sign_up_url() }}">Sign up</a>
<a class="button primary" href="{{ auth.sign_in_url() }}">Sign in</a>
{% endif %}
</div>
</header>
<main>
{% if auth.session.impersonator %}
<p class="notice">{{ auth.session.impersonator.email }} is signed in as this person.</p>
{% endif %}
<div class="card">
<h1>{{ title }}</h1>
<p>{{ text }}</p>
{% if table %}
<dl>
{% for name, value in table.items() %}
{% set is_list = value is sequence and value is not string and value is not mapping %}
<div><dt>{{ name }}</dt><dd>{{ value | join(", ") if is_list else value }}</dd></div>
{% endfor %}
</dl>
{% endif %}
</div>
</main>
</body>
</html>
"""
