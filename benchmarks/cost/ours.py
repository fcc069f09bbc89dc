"""The middleware as it is measured, and the minimum beside it, on one key set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jwt import PyJWK

from benchmarks.cost.minimum import (
    MinimalSession,
    Verify,
    minimum,
    reader,
    verifier,
)
from benchmarks.cost.requests import hello
from benchmarks.cost.sessions import PASSWORD, SessionMaker
from wsgi_authkit import AuthKitMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias
    from wsgiref.types import WSGIApplication

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    MakeVerifier: TypeAlias = Callable[[Mapping[str, RSAPublicKey], str], Verify]

#: Where the app finds the session.
KEY = "authkit.session"


def wrapped(maker: SessionMaker, **options: Any) -> AuthKitMiddleware:
    """Return the app that does nothing in the middleware, without a network.

    :param options: Of the middleware. ``session_cache_size=1``, with several sessions
        by turns, is what *cold* means here: each is verified, kept, and pushed out.
    """
    defaults = {"http": maker.workos.session(), "store": "memory:"}
    return AuthKitMiddleware(hello, maker.config(), **{**defaults, **options})


def least(
    maker: SessionMaker, *, keep: bool, make_verifier: MakeVerifier = verifier
) -> WSGIApplication:
    """Return the app that does nothing in the minimum."""
    return minimum(hello, minimal_reader(maker, make_verifier), keep=keep)


def minimal_reader(
    maker: SessionMaker, make_verifier: MakeVerifier = verifier
) -> Callable[[str], MinimalSession | None]:
    """Return the minimum's reader of cookies."""
    keys = [PyJWK(jwk) for jwk in maker.workos.jwk_set()["keys"]]
    by_kid = {str(key.key_id): key.key for key in keys}
    return reader(PASSWORD, make_verifier(by_kid, maker.workos.settings.issuer))
