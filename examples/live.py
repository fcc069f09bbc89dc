"""The page that is kept up to date by its script, ``live.js``: the browser's side.

What is known when it is loaded is in its HTML, and its forms work as they are. Without
the script it is a page like the others, that says so.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

import pages

PATH = "/live"
#: An ES module, to be served as ``text/javascript`` at ``SCRIPT_PATH``.
SCRIPT = Path(__file__).with_name("live.js")
SCRIPT_PATH = "/live.js"

_STYLE_HASH = b64encode(sha256(pages.STYLE.encode()).digest()).decode()
#: Of the page: scripts and requests of this site alone, and nothing inline but the one
#: style sheet. ``form-action`` would have to name all that a sign-out leads through.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:; "
        f"style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"
    )
}

UNAVAILABLE = "WorkOS cannot be reached just now. You stay signed in."


def page(environ: Mapping[str, Any]) -> str:
    """Return the page; it goes out with :data:`HEADERS`."""
    session = environ["authkit.session"]
    is_unknown = session.status == "unavailable"
    user = session.user
    return pages.document(
        environ,
        "Live",
        f"""\
<div class="card" id="live" data-user="{escape(user.id if user else "")}">
<h1>Live</h1>
<p>What the browser's side knows. It follows what happens here, in other tabs and at
WorkOS, without a reload. So that there is something to see, the fake WorkOS of the demo
lets an access token live for one minute and a session for ten.</p>
<p class="late">To be live, this page needs JavaScript and its script. What you see is
how things were when it was loaded.</p>
<p class="notice" id="problem" role="alert"{hidden(is_unknown)}>{UNAVAILABLE}</p>
<p class="notice" id="expiring" role="status" hidden></p>
</div>
<div class="grid">
{who(environ)}{token(environ)}{organizations(environ)}{end(environ)}\
{recent(environ)}{impersonation(environ)}{tabs()}</div>
<authkit-impersonation></authkit-impersonation>
<script type="module" src="{escape(pages.link(environ, SCRIPT_PATH))}"></script>
""",
    )


def who(environ: Mapping[str, Any]) -> str:
    session = environ["authkit.session"]
    sign_in = escape(environ["authkit"].sign_in_url(pages.link(environ, PATH)))
    known = {
        "Name": ("name", session.user.name if session else ""),
        "E-mail": ("email", session.user.email if session else ""),
        "Organization": ("organization", session.organization_id),
        "Role": ("role", session.role),
        "Permissions": ("permissions", pages.plain(session.permissions)),
    }
    return card(
        "Who is signed in",
        f"""\
<div data-when="out"{hidden(session.status == "anonymous")}>
<p>Nobody.</p>
<p class="actions"><a class="button primary" href="{sign_in}">Sign in</a></p>
</div>
<div data-when="in"{hidden(bool(session))}>
{facts(known)}</div>
""",
    )


def token(environ: Mapping[str, Any]) -> str:
    known = {
        "Begins with": ("token", ""),
        "Issued": ("issued", ""),
        "Expires": ("expires", ""),
        "Renewed": ("renewed", ""),
    }
    return signed_in_card(
        environ,
        "Access token",
        "For calls to an API. It is in the memory of the page alone, and is renewed "
        "before it expires.",
        f"""\
<progress id="life" value="0" aria-label="Time until the token expires"></progress>
{facts(known)}\
<p class="actions"><button class="button" disabled id="refresh">Refresh now</button></p>
""",
    )


def organizations(environ: Mapping[str, Any]) -> str:
    text = "Role, permissions and token change at once, in all tabs."
    if not environ["authkit.session"]:
        here = escape(pages.link(environ, PATH))
        return signed_in_card(
            environ, "Organizations", "", f'<p><a href="{here}">Show them</a></p>\n'
        )
    found = pages.memberships(environ)
    if found is None:
        text = "WorkOS cannot be asked for them. Try again soon."
    elif not found:
        text = "You are not a member of any."
    rows = "".join(organization(environ, entry) for entry in found or ())
    listed = f'<ul class="rows" id="organizations">\n{rows}</ul>\n' if rows else ""
    return signed_in_card(environ, "Organizations", text, listed)


def organization(environ: Mapping[str, Any], entry: pages.Membership) -> str:
    is_current = entry["organization_id"] == environ["authkit.session"].organization_id
    name, id_ = escape(entry["organization_name"]), escape(entry["organization_id"])
    # The middleware takes it, and sees itself to where the form comes from.
    action = escape(pages.link(environ, "/auth/switch-organization"))
    return f"""\
<li class="choice" data-organization="{id_}"><strong>{name}</strong>
<span class="soft"{hidden(is_current)}>current</span>
<form method="post" action="{action}"{hidden(not is_current)}>
<input type="hidden" name="organization_id" value="{id_}">
<input type="hidden" name="return_to" value="{escape(pages.link(environ, PATH))}">
<button class="button" aria-label="Switch to {name}">Switch</button></form></li>
"""


def end(environ: Mapping[str, Any]) -> str:
    return signed_in_card(
        environ,
        "End of the session",
        "A session ends one day, however often its token is renewed. The page is told "
        "five minutes before.",
        facts({"Ends": ("end", ""), "Left": ("left", "")}),
    )


def recent(environ: Mapping[str, Any]) -> str:
    again = environ["authkit"].sign_in_url(pages.link(environ, PATH), prompt="login")
    return signed_in_card(
        environ,
        "Recent sign-in",
        "Before something delicate a page can ask for a proof that is not older than, "
        "here, two minutes.",
        f"""\
{facts({"Signed in": ("authenticated", "")})}\
<p class="actions"><button class="button" disabled id="check">Is it recent?</button>
<a class="button" id="again" href="{escape(again)}">Sign in again</a></p>
<p><output id="checked"></output></p>
""",
    )


def impersonation(environ: Mapping[str, Any]) -> str:
    impersonator = environ["authkit.session"].impersonator
    by = impersonator.email if impersonator else "Nobody"
    reason = impersonator.reason if impersonator else ""
    again = environ["authkit"].sign_in_url(pages.link(environ, PATH), prompt="login")
    known = {"Impersonator": ("impersonator", by), "Reason": ("reason", reason)}
    return signed_in_card(
        environ,
        "Impersonation",
        "Support staff can use the app as somebody else, in a frame that says so. It "
        "starts in the dashboard of WorkOS; at the fake one, below the people who can "
        "sign in.",
        f"""\
{facts(known)}\
<p class="actions"><a class="button" href="{escape(again)}">Impersonate somebody</a></p>
""",
    )


def tabs() -> str:
    return card(
        "Tabs",
        f"""\
<p>Open a second one, beside this: refresh, switch or sign out in one of them, and see
what the other does. Whatever is due, one tab does it for all.</p>
{facts({"This tab": ("tab", ""), "Others": ("others", "")})}\
<p class="actions"><a class="button" href="" target="_blank">Open another tab</a></p>
<div class="log" role="region" aria-label="What tabs have done" tabindex="0">
<ol id="log"></ol></div>
""",
    )


def signed_in_card(
    environ: Mapping[str, Any], title: str, text: str, content: str
) -> str:
    shown = hidden(bool(environ["authkit.session"]))
    return card(title, f"<p>{escape(text)}</p>\n{content}", f' data-when="in"{shown}')


def card(title: str, content: str, attributes: str = "") -> str:
    return (
        f'<section class="card"{attributes}>\n<h2>{title}</h2>\n{content}</section>\n'
    )


def facts(table: Mapping[str, tuple[str, str | None]]) -> str:
    """Return a table of what the script keeps up to date.

    :param table: The name by which the script knows each fact, and what it is now.
    """
    rows = "".join(
        f'<div class="fact"><dt>{label}</dt>'
        f'<dd data-fact="{name}">{escape(value or "")}</dd></div>\n'
        for label, (name, value) in table.items()
    )
    return f"<dl>\n{rows}</dl>\n"


def hidden(is_shown: bool) -> str:
    return "" if is_shown else " hidden"
