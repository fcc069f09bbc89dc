"""A shared cache in front of a site (RFC 9111), as greedy as a CDN may be.

It keeps everything that it is allowed to keep, ``Set-Cookie`` included, makes up a
lifetime where none is given, revalidates what is stale, and goes by the headers that
are for a CDN only before it looks at ``Cache-Control`` (RFC 9213 2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from tests.gateway import Header, Response, run

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: Seconds that a response without an expiry is kept (RFC 9111 4.2.2).
HEURISTIC: Final = 60
_HEURISTIC_STATUSES: Final = (200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501)
#: Headers that are for this cache, the first that is there decides.
TARGETED: Final = (
    "CDN-Cache-Control",
    "Example-CDN-Cache-Control",
    "Surrogate-Control",
    "Edge-Control",
)


@dataclass(frozen=True)
class Stored:
    """A response that is kept."""

    response: Response
    #: The request headers that it was selected by, with their values.
    varies: Mapping[str, str | None]
    stored_at: float


class SharedCache:
    """A WSGI app that answers from memory where it may."""

    def __init__(self, app: WSGIApplication, clock: Callable[[], float]) -> None:
        self._app = app
        self._clock = clock
        self._stored: dict[tuple[str, ...], list[Stored]] = {}
        #: How many requests were answered without asking the site.
        self.hits = 0

    @property
    def stored(self) -> list[Response]:
        """Everything that is kept."""
        return [one.response for kept in self._stored.values() for one in kept]

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        response = self._answer(environ)
        start_response(f"{response.status} {response.reason}", list(response.headers))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else response.blocks

    def _answer(self, environ: WSGIEnvironment) -> Response:
        if environ["REQUEST_METHOD"] != "GET":
            return self._ask(environ)
        key = _key(environ)
        found = self._select(key, environ)
        if found is not None and self._is_fresh(found):
            self.hits += 1
            age = ("Age", str(int(self._clock() - found.stored_at)))
            return replace(found.response, headers=[*found.response.headers, age])
        if found is not None and found.response.header("ETag"):
            return self._revalidate(key, environ, found)
        response = self._ask(environ)
        self._keep(key, environ, response)
        return response

    def _ask(self, environ: WSGIEnvironment) -> Response:
        kept = ("gateway.bodies", "HTTP_IF_NONE_MATCH")
        return run(self._app, {k: v for k, v in environ.items() if k not in kept})

    def _revalidate(
        self, key: tuple[str, ...], environ: WSGIEnvironment, found: Stored
    ) -> Response:
        conditional = {k: v for k, v in environ.items() if k != "gateway.bodies"}
        conditional["HTTP_IF_NONE_MATCH"] = found.response.header("ETag")
        answer = run(self._app, conditional)
        self._stored[key].remove(found)
        if answer.status != 304:
            self._keep(key, environ, answer)
            return answer
        # RFC 9111 4.3.4: what the 304 says replaces what was stored.
        names = {name.lower() for name, _ in answer.headers}
        old = [h for h in found.response.headers if h[0].lower() not in names]
        updated = replace(found.response, headers=[*old, *answer.headers])
        self._keep(key, environ, updated)
        return updated

    def _select(self, key: tuple[str, ...], environ: WSGIEnvironment) -> Stored | None:
        for one in self._stored.get(key, []):
            if one.varies == _selecting(one.response, environ):
                return one
        return None

    def _is_fresh(self, one: Stored) -> bool:
        rules = _rules(one.response)
        lifetime = _lifetime(one.response, rules, one.stored_at)
        return "no-cache" not in rules and self._clock() - one.stored_at < lifetime

    def _keep(
        self, key: tuple[str, ...], environ: WSGIEnvironment, response: Response
    ) -> None:
        """Store a response unless RFC 9111 3 forbids it."""
        rules = _rules(response)
        varies = _selecting(response, environ)
        forbidden = not {"no-store", "private"}.isdisjoint(rules) or "*" in varies
        shareable = not {"public", "s-maxage", "must-revalidate"}.isdisjoint(rules)
        if forbidden or ("HTTP_AUTHORIZATION" in environ and not shareable):
            return
        now = self._clock()
        if response.header("ETag") or _lifetime(response, rules, now) > 0:
            kept = [o for o in self._stored.get(key, []) if o.varies != varies]
            self._stored[key] = [*kept, Stored(response, varies, now)]


def _key(environ: WSGIEnvironment) -> tuple[str, ...]:
    names = ("wsgi.url_scheme", "HTTP_HOST", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING")
    return tuple(environ.get(name, "") for name in names)


def _selecting(response: Response, environ: WSGIEnvironment) -> dict[str, str | None]:
    fields = ",".join(response.headers_all("Vary")).lower().split(",")
    names = sorted({field.strip() for field in fields} - {""})
    return {n: environ.get(f"HTTP_{n.upper().replace('-', '_')}") for n in names}


def _rules(response: Response) -> dict[str, str]:
    """Return the directives that rule this cache; nginx's own header is one of them."""
    accelerated = response.headers_all("X-Accel-Expires")
    if accelerated:
        return {"max-age": accelerated[0]}
    targeted: list[list[Any]] = [response.headers_all(name) for name in TARGETED]
    texts = next(filter(None, targeted), response.headers_all("Cache-Control"))
    directives = [one.strip().partition("=") for one in ",".join(texts).split(",")]
    return {name.lower(): value.strip('"') for name, _, value in directives if name}


def _lifetime(response: Response, rules: Mapping[str, str], stored_at: float) -> float:
    seconds = [rules.get("s-maxage"), rules.get("max-age")]
    given = next((value for value in seconds if value is not None), None)
    if given is not None:
        return float(given)
    expires = response.headers_all("Expires")
    if expires:
        return _parse_date(expires[0]) - stored_at
    return HEURISTIC if response.status in _HEURISTIC_STATUSES else 0


def _parse_date(value: str) -> float:
    try:
        return parsedate_to_datetime(value).timestamp()
    except ValueError:
        return 0  # RFC 9111 5.3: long ago


def is_from_cache(headers: Iterable[Header]) -> bool:
    """Say whether a response was answered from memory."""
    return any(name == "Age" for name, _ in headers)
