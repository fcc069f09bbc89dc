"""The endpoints that the middleware mounts, one module each.

An endpoint is a function from the request's
:class:`~wsgi_authkit.request_context.RequestContext` to the WSGI app that answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wsgi_authkit.endpoints.callback import callback
from wsgi_authkit.endpoints.sign_in import sign_in, sign_up
from wsgi_authkit.endpoints.sign_out import sign_out
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.responses import method_not_allowed

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

__all__ = ["CALLBACK", "MOUNTED", "Endpoint"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A function and the methods that it answers."""

    answer: Callable[[RequestContext], WSGIApplication]
    methods: tuple[str, ...]

    def __call__(self, context: RequestContext) -> WSGIApplication:
        if context.environ["REQUEST_METHOD"] not in self.methods:
            return method_not_allowed(", ".join(self.methods))
        return self.answer(context)


#: The endpoint on the path of a redirect URI.
CALLBACK: Final = Endpoint(callback, ("GET", "HEAD"))

#: The endpoints below the mount path, by the rest of the path.
MOUNTED: Final[Mapping[str, Endpoint]] = {
    "/sign-in": Endpoint(sign_in, ("GET", "HEAD")),
    "/sign-up": Endpoint(sign_up, ("GET", "HEAD")),
    "/sign-out": Endpoint(sign_out, ("GET", "HEAD", "POST")),
}
