"""Who asks, how, and for what: each answer is the one that ``docs/requests.rst`` says.

The tables there are read by this test, so neither can change without the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from tests.gateway import Client, Response
from tests.harness import Harness, path_of
from tests.sites import CACHE_CONTROL, EXPIRED, TEXT, answer, make_site
from wsgi_authkit.loop import MARKER_COOKIE

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "requests.rst"
CACHEABLE: Final = "public, max-age=60"
ORIGIN: Final = "http://localhost:8000"

#: The headings of the tables, and the paths that they are about.
PATHS: Final = {
    "A public page": "/public",
    "A protected page": "/protected",
    "A protected path in api_paths": "/api",
    "An excluded path": "/excluded",
    "The callback": "/callback",
    "The sign-in endpoint": "/auth/sign-in",
    "The sign-out endpoint": "/auth/sign-out",
}

#: The columns.
PEOPLE: Final = ("signed in", "signed out", "expired", "unavailable", "over")

Send = Callable[[Client, str], Response]

#: The rows.
REQUESTS: Final[dict[str, Send]] = {
    "navigation": lambda client, url: client.get(url),
    "fetch": lambda client, url: client.get(url, fetch=True),
    "HEAD": lambda client, url: client.request("HEAD", url),
    "form post": lambda client, url: client.post(url, form={"a": "b"}),
    "JSON post": lambda client, url: client.post(
        url, json={}, fetch=True, headers={"Accept": "application/json"}
    ),
    # No browser sends cookies with it; here the jar's go along, and change nothing.
    "preflight": lambda client, url: client.request(
        "OPTIONS",
        url,
        fetch=True,
        headers={"Access-Control-Request-Method": "PUT"},
    ),
    "prefetch": lambda client, url: client.get(
        url, headers={"Sec-Purpose": "prefetch"}
    ),
    "WebSocket": lambda client, url: client.get(
        url,
        fetch=True,
        headers={"Upgrade": "websocket", "Sec-Fetch-Mode": "websocket"},
    ),
    "htmx": lambda client, url: client.get(
        url,
        fetch=True,
        headers={"HX-Request": "true", "HX-Current-URL": f"{ORIGIN}/page?x=1"},
    ),
}


def make_person(person: str) -> Harness:
    """Return a site, and the browser of somebody in that state on it."""
    harness = make_site(
        answer([TEXT, ("Cache-Control", CACHEABLE)]),
        protected_paths=["/protected", "/api"],
        api_paths=["/api"],
        exclude_paths=["/excluded"],
    )
    if person != "signed out":
        harness.sign_in()
    if person in ("expired", "unavailable", "over"):
        harness.clock.advance(EXPIRED)
    if person == "over":
        [session_id] = harness.workos.sessions
        harness.workos.revoke_session(session_id)
    return harness


def respond(heading: str, request: str, person: str) -> Response:
    harness = make_person(person)
    url = PATHS[heading]
    if url == "/callback":
        location = harness.client.get("/auth/sign-in").header("Location") or ""
        url = path_of(harness.workos.authorize(location, harness.ada))
    if person == "unavailable":
        harness.workos.down()
    return REQUESTS[request](harness.client, url)


def describe(response: Response, path: str) -> str:
    """Return a response in the words of the document."""
    words = [str(response.status)]
    for header in ("Location", "HX-Redirect"):
        target = response.header(header)
        if target is not None:
            words += [{"Location": "to", "HX-Redirect": "htmx to"}[header]]
            words += [place(target, path)]
    words += sorted({cookie(value) for value in response.set_cookies})
    words += [caching(response)]
    return " ".join(words)


def place(target: str, path: str) -> str:
    if target.startswith("https://api.workos.com/user_management/authorize?"):
        return "WorkOS"
    if target.startswith("https://api.workos.com/user_management/sessions/logout?"):
        return "WorkOS"
    back = {path: "sign-in", "/page?x=1": "sign-in"}
    for return_to, word in back.items():
        if target == f"/auth/sign-in?return_to={quote(return_to, safe='')}":
            return word
    return target


def cookie(header: str) -> str:
    name, _, rest = header.partition("=")
    sign = "-" if "Max-Age=0" in rest else "+"
    if name.startswith("wos-auth-verifier"):
        return f"{sign}verifier"
    return sign + {"wos-session": "session", MARKER_COOKIE: "marker"}[name]


def caching(response: Response) -> str:
    names = ("Cache-Control", "Pragma", "Expires", "Vary")
    found = [response.header(name) for name in names]
    if found == [CACHEABLE, None, None, None]:
        return "cacheable"
    assert found == [CACHE_CONTROL, "no-cache", "0", "Cookie"]
    return "no-store"


def cells() -> Iterator[tuple[str, str, str, str]]:
    """Yield what the tables of the document say: heading, request, person, answer."""
    text = DOCUMENT.read_text("utf-8")
    parts = re.split(r"^(\S.*)\n[-~]{3,}\n", text, flags=re.MULTILINE)
    for heading, section in zip(parts[1::2], parts[2::2], strict=True):
        tables = re.findall(
            r"^=[= ]+\n(.+)\n=[= ]+\n((?:.+\n)+?)=[= ]+$", section, re.M
        )
        for head, body in tables:
            _, *people = re.split(" {2,}", head.strip())
            for line in body.splitlines():
                request, *answers = re.split(" {2,}", line.strip())
                for person, said in zip(people, answers, strict=True):
                    yield heading, request, person, said


CELLS: Final = list(cells())


@pytest.mark.parametrize(("heading", "request_", "person", "said"), CELLS)
def test_answer_is_the_one_of_the_document(
    heading: str, request_: str, person: str, said: str
) -> None:
    path = PATHS[heading]

    assert describe(respond(heading, request_, person), path) == said


def test_document_has_every_case() -> None:
    documented = [cell[:3] for cell in CELLS]

    assert sorted(documented) == sorted(
        (heading, request, person)
        for heading in PATHS
        for request in REQUESTS
        for person in PEOPLE
    )


@pytest.mark.parametrize("heading", ["A public page", "An excluded path"])
@pytest.mark.parametrize("request_", REQUESTS)
def test_nothing_is_asked_of_workos_where_nobody_needs_it(
    heading: str, request_: str
) -> None:
    harness = make_person("expired")
    harness.workos.reset_calls()
    REQUESTS[request_](harness.client, PATHS[heading])

    refreshes = heading == "A public page" and request_ != "preflight"
    assert harness.workos.count("refresh") == refreshes
