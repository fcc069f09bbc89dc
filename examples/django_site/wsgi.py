"""The WSGI app: the site behind the middleware."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from wsgi_authkit import AuthKitMiddleware

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_site.settings")

application = AuthKitMiddleware(
    get_wsgi_application(),
    # Allow http://localhost:8000/ as a sign-out redirect in the WorkOS dashboard.
    sign_out_return_to="/",
)
