"""The fake's pages: plain HTML and CSS, no script, for light and dark, large and small.

Everything that comes from outside goes through :func:`html.escape`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final
from urllib.parse import urlsplit

from wsgi_authkit.testing.directory import FakeOrganization, FakeUser
from wsgi_authkit.testing.sessions import SignIn

Person = tuple[FakeUser, Sequence[FakeOrganization]]

_STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: #f3f4f8; --card: #ffffff; --text: #1c1f2b; --soft: #5b6072;
  --line: #d9dce6; --field: #868ca0; --accent: #4f46e5; --accent-text: #ffffff;
  --tint: #eef0ff;
  --danger: #b42318; --danger-tint: #fef1f0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #11131a; --card: #1b1e28; --text: #eceef5; --soft: #a3a9bb;
    --line: #363b4b; --field: #767d94; --accent: #a5b4fc; --accent-text: #14172a;
    --tint: #262b45;
    --danger: #ffb4ab; --danger-tint: #3b1d1b;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; min-height: 100vh; display: flex; flex-direction: column;
  align-items: center; justify-content: center; gap: 1rem; padding: 2rem 1rem;
  background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main {
  width: 100%; max-width: 27rem; padding: 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 1rem;
  box-shadow: 0 1px 2px rgb(0 0 0 / 5%), 0 12px 32px rgb(0 0 0 / 7%);
}
main.wide { max-width: 48rem; }
h1 { margin: 0; font-size: 1.5rem; line-height: 1.25; letter-spacing: -.01em; }
h2 { margin: 2rem 0 .5rem; font-size: 1.05rem; }
p { margin: .25rem 0 0; }
.soft { color: var(--soft); overflow-wrap: anywhere; }
.badge {
  display: inline-block; margin: 0 0 1rem; padding: .125rem .625rem;
  border-radius: 1rem; background: var(--tint); color: var(--accent);
  font-size: .8125rem; font-weight: 600;
}
form { margin-top: 1.5rem; }
fieldset { margin: 0; padding: 0; border: 0; min-width: 0; }
legend { padding: 0; margin-bottom: .5rem; font-weight: 600; }
.person { border: 1px solid var(--line); border-radius: .75rem; margin-bottom: .5rem; }
.person > label {
  display: flex; align-items: center; gap: .75rem; padding: .625rem .875rem;
  cursor: pointer; border-radius: .75rem;
}
.person > label:hover { background: var(--tint); }
.person:has(> label input:checked) {
  border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent);
}
.person strong { display: block; font-weight: 600; line-height: 1.35; }
.person .soft { display: block; font-size: .875rem; line-height: 1.35; }
.person input[type=radio] {
  flex: none; width: 1.125rem; height: 1.125rem; margin: 0;
  accent-color: var(--accent);
}
.details { padding: 0 .875rem .875rem 2.75rem; }
@supports selector(:has(*)) {
  .details { display: none; }
  .person:has(> label input:checked) .details { display: block; }
}
.field { margin-top: .75rem; }
.details .field { margin-top: 0; }
.field label { display: block; font-size: .875rem; font-weight: 600; }
.field input, select {
  width: 100%; min-height: 2.75rem; margin-top: .25rem; padding: .5rem .75rem;
  border: 1px solid var(--field); border-radius: .5rem;
  background: var(--card); color: inherit; font: inherit;
}
.field input[aria-invalid] { border-color: var(--danger); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
summary { margin-top: 1rem; padding: .25rem 0; cursor: pointer; color: var(--soft); }
.actions { display: flex; flex-direction: column; gap: .625rem; margin-top: 1.5rem; }
button {
  min-height: 2.75rem; padding: .5rem 1rem; border-radius: .625rem; cursor: pointer;
  border: 1px solid var(--line); background: transparent; color: inherit;
  font: inherit; font-weight: 600;
}
button:hover { background: var(--tint); }
button.main {
  background: var(--accent); border-color: var(--accent); color: var(--accent-text);
}
button.main:hover { filter: brightness(1.08); }
a { color: var(--accent); }
.other { margin-top: 1.25rem; text-align: center; }
.problem {
  margin-top: 1rem; padding: .75rem .875rem; border-radius: .625rem;
  background: var(--danger-tint); color: var(--danger);
}
.status { margin-top: 1rem; padding: .875rem 1rem; border-radius: .75rem;
  background: var(--tint); }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .5rem .75rem .5rem 0; border-bottom: 1px solid var(--line);
  text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { overflow-wrap: normal; }
th { font-size: .875rem; color: var(--soft); font-weight: 600; }
@media (max-width: 30rem) {
  body { justify-content: flex-start; padding: 1rem .75rem; }
  main { padding: 1.5rem 1.125rem; }
  td { font-size: .875rem; }
}
"""


def sign_in(
    *,
    sign_up: bool,
    action: str,
    other_action: str,
    offers_other: bool,
    application: str,
    provider: str,
    people: Sequence[Person],
    organization: FakeOrganization | None,
    values: Mapping[str, str],
    problem: str | None,
) -> str:
    """Return the sign-in or sign-up page.

    :param other_action: Where the other of the two pages is.
    :param application: The redirect URI, whose origin is shown.
    :param provider: How the person is going to be signed in.
    :param organization: The one that the app asks for.
    :param values: What the fields hold.
    :param problem: Why the form was not accepted.
    """
    title = "Create your account" if sign_up else "Sign in"
    fields = (
        _new_account(values, problem)
        if sign_up
        else _chooser(people, organization, values, problem)
    )
    content = f"""
{_badge()}
<h1>{title}</h1>
<p class="soft">{_purpose(application, provider, organization)}</p>
{_alert(problem)}
<form method="post" action="{escape(action)}" novalidate>
{fields}
{"" if sign_up else _impersonation(values)}
<div class="actions">
<button class="main" name="action" value="continue">Continue</button>
<button name="action" value="cancel">Cancel</button>
</div>
</form>
{_other_page(sign_up, other_action) if offers_other else ""}"""
    return _document(title, content)


def signed_out() -> str:
    """Return the page after a sign-out without ``return_to``."""
    content = f"""
{_badge()}
<h1>You are signed out</h1>
<p class="soft">You can close this window.</p>"""
    return _document("Signed out", content)


def error(message: str) -> str:
    """Return the page for a request that WorkOS does not send back to the app."""
    content = f"""
{_badge()}
<h1>This request cannot be completed</h1>
<p class="problem">{escape(message)}</p>
<p class="other soft">Go back to the app and try again. If you run it, check its
settings against those of the fake.</p>"""
    return _document("Error", content)


def index(
    *,
    hosted: SignIn | None,
    organizations: Mapping[str, FakeOrganization],
    people: Sequence[Person],
    counters: Mapping[str, int],
    active_sessions: int,
) -> str:
    """Return the page that tells who is signed in at the fake and what was asked."""
    known = [(_name(user), user.email, _names(member_of)) for user, member_of in people]
    calls = [(name, str(number)) for name, number in sorted(counters.items())]
    content = f"""
{_badge()}
<h1>Who is signed in</h1>
<p class="status">{_hosted_status(hosted, organizations)}</p>
<h2>Requests</h2>
<p class="soft">Active sessions: {active_sessions}</p>
{_table(("Request", "Number"), calls)}
<h2>People</h2>
{_table(("Name", "E-mail", "Member of"), known)}"""
    return _document("Fake WorkOS", content, wide=True)


def _document(title: str, content: str, *, wide: bool = False) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - Fake WorkOS</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<main{' class="wide"' if wide else ""}>{content}
</main>
</body>
</html>
"""


def _badge() -> str:
    return '<p class="badge">Fake WorkOS, for tests and demos</p>'


def _purpose(
    application: str, provider: str, organization: FakeOrganization | None
) -> str:
    parts = urlsplit(application)
    origin = escape(f"{parts.scheme}://{parts.netloc}")
    to = f" of <strong>{escape(organization.name)}</strong>" if organization else ""
    by = "" if provider == "Password" else f" with {escape(provider)}"
    return f"to continue to {origin}{to}{by}"


def _alert(problem: str | None) -> str:
    if problem is None:
        return ""
    return f'<p class="problem" id="problem" role="alert">{escape(problem)}</p>'


def _chooser(
    people: Sequence[Person],
    organization: FakeOrganization | None,
    values: Mapping[str, str],
    problem: str | None,
) -> str:
    known = "".join(
        _person(user, member_of, organization, values) for user, member_of in people
    )
    typed = values.get("user") == "new"
    email = _email(values, problem if typed else None)
    return f"""<fieldset>
<legend>Who are you?</legend>
{known}<div class="person">
<label><input type="radio" name="user" value="new"{_checked(typed)}>
<span><strong>Somebody else</strong>
<span class="soft">A new address makes a new user</span></span></label>
<div class="details">{email}</div>
</div>
</fieldset>"""


def _person(
    user: FakeUser,
    member_of: Sequence[FakeOrganization],
    organization: FakeOrganization | None,
    values: Mapping[str, str],
) -> str:
    checked = _checked(values.get("user") == user.id)
    return f"""<div class="person">
<label><input type="radio" name="user" value="{escape(user.id)}"{checked}>
<span><strong>{escape(_name(user))}</strong>
<span class="soft">{escape(user.email)}</span></span></label>
{_organization_choice(user, member_of, organization, values)}</div>
"""


def _organization_choice(
    user: FakeUser,
    member_of: Sequence[FakeOrganization],
    organization: FakeOrganization | None,
    values: Mapping[str, str],
) -> str:
    # The app's own wish leaves nothing to choose.
    if not member_of or organization is not None:
        return ""
    name = f"organization_{user.id}"
    chosen = values.get(name, member_of[0].id)
    options = [(entry.id, entry.name) for entry in member_of]
    listed = "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>'
        f"{escape(label)}</option>"
        for value, label in [*options, ("", "No organization")]
    )
    return f"""<div class="details"><div class="field">
<label for="{escape(name)}">Organization</label>
<select id="{escape(name)}" name="{escape(name)}">{listed}</select>
</div></div>
"""


def _new_account(values: Mapping[str, str], problem: str | None) -> str:
    return "".join(
        (
            _field("first_name", "First name", values, autocomplete="given-name"),
            _field("last_name", "Last name", values, autocomplete="family-name"),
            _email(values, problem),
        )
    )


def _email(values: Mapping[str, str], problem: str | None) -> str:
    extra = ' aria-invalid="true" aria-describedby="problem"' if problem else ""
    return _field(
        "email", "E-mail", values, kind="email", autocomplete="username", extra=extra
    )


def _field(
    name: str,
    label: str,
    values: Mapping[str, str],
    *,
    kind: str = "text",
    autocomplete: str = "off",
    extra: str = "",
) -> str:
    value = escape(values.get(name, ""))
    return f"""<div class="field"><label for="{name}">{label}</label>
<input id="{name}" name="{name}" type="{kind}" value="{value}"
 autocomplete="{autocomplete}"{extra}></div>
"""


def _impersonation(values: Mapping[str, str]) -> str:
    opened = " open" if values.get("impersonator_email") else ""
    return f"""<details{opened}><summary>Impersonate this person</summary>
{_field("impersonator_email", "Your e-mail", values, kind="email")}
{_field("impersonator_reason", "Reason", values)}
</details>"""


def _other_page(sign_up: bool, action: str) -> str:
    question, link = (
        ("Do you have an account?", "Sign in")
        if sign_up
        else ("No account yet?", "Sign up")
    )
    return f"""<p class="other">{question} <a href="{escape(action)}">{link}</a></p>"""


def _hosted_status(
    hosted: SignIn | None, organizations: Mapping[str, FakeOrganization]
) -> str:
    if hosted is None:
        return "Nobody is signed in at WorkOS in this browser."
    organization = organizations.get(hosted.organization_id or "")
    of = f" of {escape(organization.name)}" if organization else ""
    who = f"<strong>{escape(_name(hosted.user))}</strong>{of}"
    by = hosted.impersonator
    instead = f", impersonated by {escape(by.email)}" if by else ""
    return f"Signed in at WorkOS in this browser: {who}{instead}."


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n"
        for row in rows
    )
    return (
        '<div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _name(user: FakeUser) -> str:
    return user.name or user.email


def _names(organizations: Sequence[FakeOrganization]) -> str:
    return ", ".join(entry.name for entry in organizations) or "none"


def _checked(condition: bool) -> str:
    return " checked" if condition else ""
