"""The settings of the site; those of WorkOS are in the environment."""

from __future__ import annotations

import secrets

# Nothing of this site is signed with it. One that is kept belongs into the environment.
SECRET_KEY = secrets.token_urlsafe(50)

ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "django_site.urls"
# ``runserver`` reads it too, so that it serves the site behind the middleware.
WSGI_APPLICATION = "django_site.wsgi.application"

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_site.auth.authkit",
]
