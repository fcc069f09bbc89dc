"""Who makes a request, and what they may see.

``request.META`` is the ``environ`` of WSGI, so both keys of the middleware are there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

View = Callable[..., HttpResponse]


def authkit(get_response: View) -> View:
    """Set ``request.authkit`` for the views; a middleware of Django.

    A site with users of its own looks them up here, by ``session.user.id``.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        request.authkit = request.META["authkit"]
        return get_response(request)

    return middleware


def signed_in(view: View) -> View:
    """Let only signed-in people see a view."""

    @wraps(view)
    def protected(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.authkit.session:
            # The middleware turns it into a redirect to sign-in, for a person.
            return HttpResponse("Sign in first.", status=401)
        return view(request, *args, **kwargs)

    return protected


def permission_required(permission: str) -> Callable[[View], View]:
    """Let only people with a permission of WorkOS see a view."""

    def decorate(view: View) -> View:
        @wraps(view)
        def permitted(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.authkit.session.has_permission(permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return signed_in(permitted)

    return decorate
