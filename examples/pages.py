"""The pages of all the examples: small HTML that works on a phone and in the dark.

A page is made of the WSGI ``environ``, which every framework has. What comes from a
person, or from WorkOS, is escaped where it is put in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from wsgi_authkit import APIError, Auth

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

#: The permission that one page asks for; it is given to roles in the WorkOS dashboard.
MANAGE_MEMBERS = "members:manage"

PAGES = (
    ("/", "Home", "For everybody."),
    ("/protected", "Protected", "For people who are signed in."),
    ("/members", "Members", f"For people with the permission {MANAGE_MEMBERS}."),
    (
        "/organizations",
        "Organizations",
        "Switch to another one: role and permissions change with it.",
    ),
    ("/claims", "Who am I", "What WorkOS says about you in the access token."),
    ("/live", "Live", "What the browser's side knows, as it happens."),
)

# A membership as WorkOS answers it.
Membership = Mapping[str, Any]


def home(environ: Mapping[str, Any]) -> str:
    session = environ["authkit.session"]
    if session:
        title = f"Hello {session.user.first_name or session.user.email}"
        text = "What you may see depends on your permissions in your organization."
    elif session.status == "unavailable":
        title, text = "Hello", "WorkOS cannot be reached just now. You stay signed in."
    else:
        title, text = "Hello", "Sign in to see what this app has for you."
    listed = "".join(
        f'<li class="fact"><a href="{escape(link(environ, path))}">{escape(name)}</a>'
        f"<span>{escape(explanation)}</span></li>\n"
        for path, name, explanation in PAGES[1:]
    )
    return page(environ, title, text, f'<ul class="rows">\n{listed}</ul>')


def protected(environ: Mapping[str, Any]) -> str:
    return page(
        environ, "Protected page", "Only people who are signed in can read this."
    )


def members(environ: Mapping[str, Any]) -> str:
    return page(
        environ,
        "Members",
        f"You can read this because you have the permission {MANAGE_MEMBERS} in your "
        "current organization.",
    )


def claims(environ: Mapping[str, Any]) -> str:
    session = environ["authkit.session"]
    about = {
        "name": session.user.name or "",
        "email": session.user.email,
        "signed in with": session.authentication_method or "",
    }
    return page(
        environ,
        "Who am I",
        "You, and what WorkOS says about you in the access token of this request.",
        facts({**about, **session.claims}),
    )


def organizations(
    environ: Mapping[str, Any], csrf: tuple[str, str] | None = None
) -> str:
    """Return the page on which somebody switches to another organization.

    :param csrf: Name and value of the form field that the framework's protection
        against cross-site request forgery wants to see.
    """
    found = memberships(environ)
    title = "Organizations"
    if found is None:
        return page(environ, title, "WorkOS cannot be asked for them. Try again soon.")
    if not found:
        return page(environ, title, "You are not a member of any.")
    rows = "".join(organization(environ, entry, csrf) for entry in found)
    return page(
        environ,
        title,
        "Role and permissions are those of the current organization.",
        f'<ul class="rows">\n{rows}</ul>',
    )


def memberships(environ: Mapping[str, Any]) -> Sequence[Membership] | None:
    """Return in what organizations somebody is, ``None`` while nobody can say.

    Whose they are comes from the session and never from the request: the API key could
    read those of anybody.
    """
    auth: Auth = environ["authkit"]
    user = auth.session.user
    assert user is not None
    try:
        answer: Any = auth.api.get(
            "/user_management/organization_memberships",
            params={"user_id": user.id, "limit": "100", "order": "asc"},
        )
    except APIError:
        return None
    entries: Sequence[Membership] = answer["data"]
    return entries


def organization(
    environ: Mapping[str, Any], entry: Membership, csrf: tuple[str, str] | None
) -> str:
    about = (
        f"<span><strong>{escape(entry['organization_name'])}</strong> "
        f'<span class="soft">{escape(entry["role"]["slug"])}</span></span>'
    )
    if entry["organization_id"] == environ["authkit.session"].organization_id:
        return f'<li class="choice">{about}<span class="soft">current</span></li>\n'
    fields = [("organization_id", entry["organization_id"])] + ([csrf] if csrf else [])
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in fields
    )
    name = escape(f"Switch to {entry['organization_name']}")
    return (
        f'<li class="choice">{about}'
        f'<form method="post" action="{escape(link(environ, "/organizations"))}">'
        f'{hidden}<button class="button" aria-label="{name}">Switch</button>'
        "</form></li>\n"
    )


def is_own_form(environ: WSGIEnvironment) -> bool:
    """Say whether a form was posted by a page of this site, and not for somebody.

    ``SameSite`` of the session cookie is not enough: to a browser every subdomain of
    one's domain is the same site. Frameworks with tokens against cross-site request
    forgery do not need it.
    """
    auth: Auth = environ["authkit"]
    return auth.has_same_origin_proof()


def refused(environ: Mapping[str, Any]) -> str:
    return page(
        environ,
        "This form comes from elsewhere",
        "Only a page of this site can send it. Nothing has changed; try it from there.",
    )


def forbidden(environ: Mapping[str, Any]) -> str:
    return page(
        environ,
        "You have no access to this page",
        "It needs a permission that you do not have in your current organization. Ask "
        "an administrator for it, or switch to another organization.",
        f'<p class="onward"><a href="{escape(link(environ, "/organizations"))}">'
        "Your organizations</a></p>\n",
    )


def unavailable(environ: Mapping[str, Any]) -> str:
    return page(
        environ,
        "One moment, please",
        "WorkOS cannot be reached just now. You stay signed in; try again soon.",
    )


def page(environ: Mapping[str, Any], title: str, text: str, content: str = "") -> str:
    """Return a whole page.

    :param content: HTML; everything else is text.
    """
    return document(
        environ,
        title,
        f"""\
{impersonation(environ)}<div class="card">
<h1>{escape(title)}</h1>
<p>{escape(text)}</p>
{content}</div>
""",
    )


def document(environ: Mapping[str, Any], title: str, content: str) -> str:
    """Return a whole page, whose content is HTML."""
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<header>
<nav aria-label="Pages">
{navigation(environ)}</nav>
<div class="who">
{who(environ)}</div>
</header>
<main>
{content}</main>
</body>
</html>
"""


def navigation(environ: Mapping[str, Any]) -> str:
    current = {environ.get("PATH_INFO"): ' aria-current="page"'}
    return "".join(
        f'<a href="{escape(link(environ, path))}"{current.get(path, "")}>'
        f"{escape(name)}</a>\n"
        for path, name, _ in PAGES
    )


def who(environ: Mapping[str, Any]) -> str:
    auth: Auth = environ["authkit"]
    user = auth.session.user
    if user is not None:
        # A form, so that no link and no prefetch signs anybody out.
        return (
            f"<span>{escape(user.name or user.email)}</span>\n"
            f'<form method="post" action="{escape(auth.sign_out_url())}">'
            '<button class="button">Sign out</button></form>\n'
        )
    if auth.session.status == "unavailable":
        return ""
    return (
        f'<a class="button" href="{escape(auth.sign_up_url())}">Sign up</a>\n'
        f'<a class="button primary" href="{escape(auth.sign_in_url())}">Sign in</a>\n'
    )


def impersonation(environ: Mapping[str, Any]) -> str:
    impersonator = environ["authkit.session"].impersonator
    if impersonator is None:
        return ""
    text = f"{impersonator.email} is signed in as this person."
    return f'<p class="notice">{escape(text)}</p>\n'


def facts(table: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<div class="fact"><dt>{escape(name)}</dt>'
        f"<dd>{escape(plain(value))}</dd></div>\n"
        for name, value in table.items()
    )
    return f"<dl>\n{rows}</dl>\n"


def plain(value: Any) -> str:
    listed = isinstance(value, Iterable) and not isinstance(value, str | Mapping)
    return ", ".join(map(str, value)) if listed else str(value)


def link(environ: Mapping[str, Any], path: str) -> str:
    """Return a path of this app as the browser has it, wherever the app is mounted."""
    return quote(environ.get("SCRIPT_NAME", ""), encoding="latin-1") + path


STYLE = r"""
:root { color-scheme: light dark; --text: #1c2024; --soft: #60646c; --page: #f6f6f8;
  --card: #fff; --line: #d9d9e0; --accent: #5147c7; --on-accent: #fff }
@media (prefers-color-scheme: dark) { :root { --text: #edeef0; --soft: #b0b4ba;
  --page: #111113; --card: #19191b; --line: #43484e; --accent: #b1a9ff;
  --on-accent: #1c1a33 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
header, main { max-width: 52rem; margin: 0 auto; padding: 1rem }
header { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1.25rem }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; flex: 1 1 22rem }
nav a { color: var(--soft); padding: .375rem 0; text-decoration: none }
nav a:hover, nav a[aria-current] { color: var(--text); text-decoration: underline;
  text-underline-offset: .375rem; text-decoration-thickness: 2px }
.who { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem .75rem }
.button { display: inline-block; padding: .375rem .875rem;
  border: 1px solid var(--line); border-radius: .5rem; background: var(--card);
  color: var(--text); font: inherit; font-weight: 600; text-decoration: none;
  cursor: pointer }
.primary { border-color: var(--accent); background: var(--accent);
  color: var(--on-accent) }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
main a { color: var(--accent) }
.card { padding: 2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem }
h1 { margin: 0 0 .5rem; font-size: 1.5rem; line-height: 1.25 }
p { margin: 0 }
p, .soft, .rows { color: var(--soft) }
.notice { margin: 0 0 1rem; padding: .75rem 1rem; border: 1px solid var(--accent);
  border-radius: .75rem; color: inherit }
.onward { margin-top: 1rem }
.rows, dl { margin: 1.5rem 0 0; padding: 0; border-top: 1px solid var(--line);
  list-style: none }
.rows li, dl div { padding: .625rem 0; border-bottom: 1px solid var(--line) }
.rows li:last-child, dl div:last-child { padding-bottom: 0; border-bottom: 0 }
.rows strong { color: var(--text) }
.choice { display: flex; flex-wrap: wrap; align-items: center; min-height: 3.75rem;
  justify-content: space-between; gap: .5rem 1rem }
.fact { display: flex; flex-wrap: wrap; gap: 0 1rem }
.fact > :first-child { flex: 0 0 11rem }
.fact > :last-child { flex: 1 1 16rem; min-width: 0; overflow-wrap: anywhere }
dt { color: var(--soft) }
dd { margin: 0 }
dd:empty::before { content: "\2013" }
[hidden] { display: none !important }
h2 { margin: 0 0 .25rem; font-size: 1.125rem; line-height: 1.25 }
.grid { display: grid; gap: 1rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)) }
#live, .grid .card { padding: 1.5rem }
.grid > :last-child { grid-column: 1 / -1 }
.grid dl, .grid .rows { margin-top: 1rem }
.grid .fact > :first-child { flex-basis: 7rem }
.grid .fact > :last-child { flex-basis: 9rem; font-variant-numeric: tabular-nums }
.actions { display: flex; flex-wrap: wrap; gap: .5rem; margin-top: 1rem }
.button:disabled { opacity: .6; cursor: default }
progress { display: block; width: 100%; margin-top: 1rem; accent-color: var(--accent) }
output { display: block; margin-top: .75rem; color: var(--text) }
.log { max-height: 12rem; margin-top: 1rem; overflow-y: auto; font-size: .875rem;
  color: var(--soft) }
.log ol { margin: 0; padding: 0; list-style: none }
.log:not(:has(li)) { display: none }
#live .notice { margin: 1rem 0 0 }
/* A script that comes needs no such time. */
.late { margin-top: .5rem; animation: late 2s step-end backwards }
@keyframes late { from { visibility: hidden } }
@media (max-width: 30rem) { .card { padding: 1.25rem } }
"""
