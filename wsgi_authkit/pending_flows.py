"""The flows whose URLs an app was given in one request, and which of them start.

Asking for a URL sets no cookie: an app may ask for one on every page and use it on
none. A flow starts, and its verifier cookie goes out, when the response leads there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from wsgi_authkit._wsgi import Header, override_cookies
from wsgi_authkit.access import is_person

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

_REDIRECTS: Final = ("301", "302", "303", "307", "308")


@dataclass(slots=True)
class PendingFlow:
    """A flow that WorkOS is asked for at ``url``."""

    url: str = field(repr=False)
    #: What has to go out with the response that starts it, the verifier cookie first.
    headers: list[Header] = field(repr=False)
    #: Its headers go out whatever the response is.
    started: bool = False


class PendingFlows:
    """The flows of one request, each with what was asked for."""

    __slots__ = ("_flows",)

    def __init__(self) -> None:
        self._flows: dict[object, PendingFlow] = {}

    def find(self, asked: object) -> PendingFlow | None:
        """Return the flow that the same was asked for before."""
        return self._flows.get(asked)

    def add(self, asked: object, flow: PendingFlow) -> None:
        """Remember a flow."""
        self._flows[asked] = flow

    def cookies(self, cookies: str) -> str:
        """Return a ``Cookie`` header as it will be once the started flows have theirs.

        So that the flows of one response count towards those that may be pending.
        """
        pairs = [
            flow.headers[0][1].partition(";")[0]
            for flow in self._flows.values()
            if flow.started
        ]
        return "; ".join(filter(None, [cookies, *pairs]))

    def is_used(self, status: str, headers: Iterable[Header]) -> bool:
        """Say whether a response has to do with one of the flows.

        A cache that kept it would send the next visitor into a flow that is not theirs.
        """
        return self._target(status, headers) is not None or any(
            flow.started for flow in self._flows.values()
        )

    def headers(
        self, environ: WSGIEnvironment, status: str, headers: Iterable[Header]
    ) -> list[Header]:
        """Return what goes out with a response, for the flows that it starts.

        A redirect starts one only where a person follows it: a script cannot, and a
        prefetch may be for nothing.
        """
        target = self._target(status, headers)
        follows = environ["REQUEST_METHOD"] != "HEAD" and is_person(environ)
        started: list[Header] = []
        for flow in self._flows.values():
            if flow.started or (flow is target and follows):
                # Each brings the marker of the browser.
                started = override_cookies(started, flow.headers)
        return started

    def _target(self, status: str, headers: Iterable[Header]) -> PendingFlow | None:
        if status[:3] not in _REDIRECTS:
            return None
        locations = [value for name, value in headers if name.lower() == "location"]
        return next(
            (flow for flow in self._flows.values() if [flow.url] == locations), None
        )
