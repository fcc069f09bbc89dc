"""The endpoints that the middleware mounts, one module each.

An endpoint is a function from the request's
:class:`~wsgi_authkit.request_context.RequestContext` to the WSGI app that answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from wsgi_authkit.access import is_preflight
from wsgi_authkit.endpoints._origin import preflight, share
from wsgi_authkit.endpoints.callback import callback
from wsgi_authkit.endpoints.refresh import refresh
from wsgi_authkit.endpoints.script import script
from wsgi_authkit.endpoints.session import session
from wsgi_authkit.endpoints.sign_in import sign_in, sign_up
from wsgi_authkit.endpoints.sign_out import sign_out
from wsgi_authkit.endpoints.switch_organization import switch_organization
from wsgi_authkit.endpoints.token import token
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.request_session import is_for_another_session
from wsgi_authkit.responses import method_not_allowed, session_changed

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

__all__ = ["CALLBACK", "MOUNTED", "Endpoint"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A function and the methods that it answers."""

    answer: Callable[[RequestContext], WSGIApplication]
    methods: tuple[str, ...]
    #: Whether pages of ``allowed_origins`` may use it.
    shared: bool = False

    def __call__(self, context: RequestContext) -> WSGIApplication:
        return (
            share(context, self._answer(context))
            if self.shared
            else self._answer(context)
        )

    def _answer(self, context: RequestContext) -> WSGIApplication:
        environ = context.environ
        if self.shared and context.options.allowed_origins and is_preflight(environ):
            return preflight(self.methods)
        if environ["REQUEST_METHOD"] not in self.methods:
            return method_not_allowed(", ".join(self.methods))
        if is_for_another_session(context.service, environ):
            return session_changed()
        return self.answer(context)


#: The endpoint on the path of a redirect URI.
CALLBACK: Final = Endpoint(callback, ("GET", "HEAD"))

#: The endpoints below the mount path, by the rest of the path.
MOUNTED: Final[Mapping[str, Endpoint]] = {
    "/sign-in": Endpoint(sign_in, ("GET", "HEAD")),
    "/sign-up": Endpoint(sign_up, ("GET", "HEAD")),
    "/sign-out": Endpoint(sign_out, ("GET", "HEAD", "POST"), shared=True),
    "/session": Endpoint(session, ("GET", "HEAD"), shared=True),
    "/token": Endpoint(token, ("GET", "HEAD"), shared=True),
    "/refresh": Endpoint(refresh, ("POST",), shared=True),
    "/switch-organization": Endpoint(switch_organization, ("POST",), shared=True),
    "/authkit.js": Endpoint(script, ("GET", "HEAD"), shared=True),
}
