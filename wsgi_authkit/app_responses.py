"""The app's responses on their way out: who they belong to, and what has changed.

Nearly all of them need one thing, that no cache keeps somebody's page; the rest, a 401
that becomes a sign-in or a session that is stored, is asked of the request's context.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

from wsgi_authkit._wsgi import Header, override_cookies
from wsgi_authkit.eager import EAGER_COOKIE, EagerAuth, take_back
from wsgi_authkit.request_context import RequestContext
from wsgi_authkit.responses import private

if TYPE_CHECKING:
    from collections.abc import Callable
    from wsgiref.types import WSGIEnvironment

    from wsgi_authkit.options import Options
    from wsgi_authkit.session import AnonymousSession, Session

log = logging.getLogger(__name__)


#: Makes the context of a request: of what the app has, a copy from before it had that,
#: who makes the request, and when it came, in Unix seconds.
MakeContext: TypeAlias = (
    "Callable[[WSGIEnvironment, WSGIEnvironment, Session | AnonymousSession, float], "
    "RequestContext]"
)


class AppResponses:
    """Completes responses, for one middleware.

    :param make_context: Called for the few requests that ask for something of theirs.
    """

    def __init__(self, options: Options, make_context: MakeContext) -> None:
        #: See :data:`MakeContext`.
        self.make_context = make_context
        self._eager = EagerAuth() if options.eager_auth else None
        self._public_logged = False

    def rewrite(
        self, context: RequestContext, status: str, headers: list[Header]
    ) -> tuple[str, list[Header]]:
        """Return status and headers of the app's response as they go out."""
        extra = context.headers_to_add(status, headers)
        if status.startswith("401"):
            status, headers = context.challenge.rewrite(status, headers)
        if self._eager is not None and not context.is_excluded:
            extra = [
                *extra,
                *self._eager.headers(
                    context.environ,
                    status,
                    context.session,
                    changed=bool(extra),
                    secure=context.service.config.secure_cookies(),
                ),
            ]
        if not extra and not context.is_private:
            return status, headers
        return status, private([*headers, *dict.fromkeys(extra)], self.log_public)

    def rewrite_own(
        self, context: RequestContext, status: str, headers: list[Header]
    ) -> tuple[str, list[Header]]:
        """Return an endpoint's response with what has become of the session in it.

        What hooks have done has the last word.
        """
        changed = bool(context.result.headers)
        extra = context.headers_to_add(status, headers)
        if changed and self._eager is not None and EAGER_COOKIE in context.cookies:
            # The next page gets its own.
            secure = context.service.config.secure_cookies()
            extra = [*extra, *take_back(secure=secure)]
        return status, override_cookies(headers, list(dict.fromkeys(extra)))

    def log_public(self) -> None:
        """Say once that shared caches were asked to keep somebody's page."""
        if self._public_logged:
            return
        self._public_logged = True
        log.warning(
            "the app asked shared caches to keep a response to somebody who is "
            "signed in; its Cache-Control was replaced"
        )
