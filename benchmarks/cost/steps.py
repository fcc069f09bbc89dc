"""The steps of a cold request, each alone, on the layers that the package exports."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from jwt import PyJWK
from jwt.utils import base64url_decode

from benchmarks.cost.rounds import Run
from benchmarks.cost.sessions import PASSWORD, MadeSession, SessionMaker
from wsgi_authkit.key_set import KeySet
from wsgi_authkit.seal import IronEncryption
from wsgi_authkit.session import make_session, parse_payload
from wsgi_authkit.tokens import TokenVerifier


def steps(maker: SessionMaker, sessions: Sequence[MadeSession]) -> dict[str, Run]:
    """Return what times each step."""
    encryption = IronEncryption(PASSWORD)
    sealed = [maker.seal(session) for session in sessions]
    payloads = [parse_payload(session.payload) for session in sessions]
    verifier = _verifier(maker)
    claims = [verifier.verify(session.token) for session in sessions]
    pairs = list(zip(payloads, claims, strict=True))
    return {
        "unseal: MAC, decryption, JSON": _each(encryption.unseal, sealed),
        "payload: user and tokens": _each(
            parse_payload, [session.payload for session in sessions]
        ),
        "token: signature and claims": _each(
            verifier.verify, [session.token for session in sessions]
        ),
        "  of it the RSA operation": _rsa(maker, sessions),
        "session: frozen, of claims": _each(lambda pair: make_session(*pair), pairs),
    }


def _verifier(maker: SessionMaker) -> TokenVerifier:
    with maker.workos.session() as session:
        url = f"{maker.workos.base_url}/sso/jwks/{maker.workos.settings.client_id}"
        document = session.get(url).content
    return TokenVerifier(key_set=KeySet(lambda: document))


def _rsa(maker: SessionMaker, sessions: Sequence[MadeSession]) -> Run:
    padding, digest = PKCS1v15(), SHA256()
    # The key that signs is published first.
    key: Any = PyJWK(maker.workos.jwk_set()["keys"][0]).key

    def signed(token: str) -> tuple[bytes, bytes]:
        text, _, signature = token.rpartition(".")
        return base64url_decode(signature), text.encode()

    return _each(
        lambda pair: key.verify(*pair, padding, digest),
        [signed(session.token) for session in sessions],
    )


def _each(work: Callable[[Any], object], values: Sequence[Any]) -> Run:
    turns = cycle(values)

    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            work(next(turns))
        return (time.perf_counter() - start) / count * 1e6

    return run
