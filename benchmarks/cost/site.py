"""The apps that are served: ``benchmarks.cost.site:wrapped()`` and its like.

The middleware is configured by the environment and has its default options.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from jwt import PyJWK

from benchmarks.cost.minimum import PRIVATE, minimum, reader, verifier
from benchmarks.cost.requests import hello
from wsgi_authkit import AuthKitConfig, AuthKitMiddleware
from wsgi_authkit.responses import PRIVATE_AND_VARY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from wsgiref.types import WSGIApplication


#: The variable with the issuer of the tokens, for the minimum.
ISSUER: Final = "BENCHMARK_ISSUER"


def bare() -> WSGIApplication:
    """Return an app that does nothing."""
    return hello


def wrapped() -> WSGIApplication:
    """Return the app that does nothing in the middleware."""
    return AuthKitMiddleware(hello)


def least() -> WSGIApplication:
    """Return the app that does nothing in the minimum."""
    return _in_least(hello, PRIVATE)


def least_alike() -> WSGIApplication:
    """Return the same with the headers of the middleware."""
    return _in_least(hello, PRIVATE_AND_VARY)


def flask() -> WSGIApplication:
    """Return a Flask app with one page."""
    from flask import Flask

    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "hello")
    return app


def flask_wrapped() -> WSGIApplication:
    """Return the Flask app in the middleware."""
    return AuthKitMiddleware(flask())


def flask_least_alike() -> WSGIApplication:
    """Return the Flask app in the minimum with the headers of the middleware."""
    return _in_least(flask(), PRIVATE_AND_VARY)


def _in_least(
    app: WSGIApplication, private: Sequence[tuple[str, str]]
) -> WSGIApplication:
    config = AuthKitConfig.from_environ()
    document = json.loads(AuthKitMiddleware(app, config).api.fetch_jwks())
    keys = [PyJWK(jwk) for jwk in document["keys"]]
    by_kid = {str(key.key_id): key.key for key in keys}
    read = reader(config.cookie_password, verifier(by_kid, os.environ[ISSUER]))
    return minimum(app, read, keep=True, private=private)
