"""The apps that are served: ``benchmarks.cost.site:wrapped()`` and its like.

The middleware is configured by the environment and has its default options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.cost.requests import hello
from wsgi_authkit import AuthKitMiddleware

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def bare() -> WSGIApplication:
    """Return an app that does nothing."""
    return hello


def wrapped() -> WSGIApplication:
    """Return the app that does nothing in the middleware."""
    return AuthKitMiddleware(hello)


def flask() -> WSGIApplication:
    """Return a Flask app with one page."""
    from flask import Flask

    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "hello")
    return app


def flask_wrapped() -> WSGIApplication:
    """Return the Flask app in the middleware."""
    return AuthKitMiddleware(flask())
