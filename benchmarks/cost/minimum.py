"""The least that a session cookie can cost: written by hand, for this one purpose.

It is what the rest is compared with, and nothing to use: it takes one cookie of one
form, keeps what it has seen without a bound, and neither refreshes nor ends a session.
"""

from __future__ import annotations

import hmac
import json
import time
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.hmac import HMAC

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: The key in ``environ`` under which an app finds the session.
KEY: Final = "minimum.session"

_NAME: Final = "wos-session="
#: The least that keeps a response to somebody out of the caches of others.
PRIVATE: Final = (("Cache-Control", "private, no-store"), ("Vary", "Cookie"))
_ALPHABET: Final = bytes.maketrans(b"-_", b"+/")


@dataclass(slots=True)
class MinimalSession:
    """What is in a cookie."""

    user: Mapping[str, Any]
    claims: Mapping[str, Any]
    expires_at: float


def minimum(
    app: WSGIApplication,
    read: Callable[[str], MinimalSession | None],
    *,
    keep: bool,
    private: Sequence[tuple[str, str]] = PRIVATE,
) -> WSGIApplication:
    """Return an app wrapped in the least.

    :param read: Returns the session of a cookie, ``None`` if it is not good.
    :param keep: Read each cookie once (*warm*), or every time (*cold*).
    :param private: The headers that it adds for who is signed in.
    """
    seen: dict[str, MinimalSession] = {}

    def find(header: str) -> MinimalSession | None:
        start = header.find(_NAME)
        if start < 0 or (start and header[start - 1] not in " ;"):
            return None
        end = header.find(";", start)
        start += len(_NAME)
        value = header[start:] if end < 0 else header[start:end]
        session = seen.get(value)
        if session is None:
            session = read(value)
            if keep and session is not None:
                seen[value] = session
        if session is None or session.expires_at <= time.time():
            return None
        return session

    def wrapper(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        header = environ.get("HTTP_COOKIE")
        session = environ[KEY] = None if header is None else find(header)

        # Also for who is not signed in, who may be by the time of the answer.
        def start(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Any:
            if session is not None:
                headers = [*headers, *private]
            return start_response(status, headers, exc_info)

        return app(environ, start)

    return wrapper


#: Returns the claims of a token, ``None`` if it is not good.
Verify: TypeAlias = "Callable[[str], dict[str, Any] | None]"


def reader(password: str, verify: Verify) -> Callable[[str], MinimalSession | None]:
    """Return what opens a cookie, verifies the token in it, and returns the session.

    :param verify: What :func:`verifier` or :func:`pyjwt_verifier` returns.
    """
    unseal = _unsealer(password)

    def read(sealed: str) -> MinimalSession | None:
        plaintext = unseal(sealed)
        if plaintext is None:
            return None
        payload = json.loads(plaintext)
        claims = verify(payload["accessToken"])
        user = payload["user"]
        if claims is None or claims["sub"] != user["id"]:
            return None
        return MinimalSession(user, claims, claims["exp"])

    return read


def _unsealer(password: str) -> Callable[[str], bytes | None]:
    prf = HMAC(password.encode(), SHA1())

    def derive_key(salt: bytes) -> bytes:
        first, second = prf.copy(), prf.copy()
        first.update(salt + b"\x00\x00\x00\x01")
        second.update(salt + b"\x00\x00\x00\x02")
        return first.finalize() + second.finalize()[:12]

    def unseal(sealed: str) -> bytes | None:
        text, _, version = sealed.encode().partition(b"~")
        text, _, mac_text = text.rpartition(b"*")
        signed, _, salt = text.rpartition(b"*")
        parts = signed.split(b"*")
        if len(parts) != 6 or parts[0] != b"Fe26.2" or version != b"2":
            return None
        mac = HMAC(derive_key(salt), SHA256())
        mac.update(signed)
        if not hmac.compare_digest(mac.finalize(), _decode(mac_text)):
            return None
        cipher = Cipher(AES(derive_key(parts[2])), CBC(_decode(parts[3])))
        decryptor = cipher.decryptor()
        padded = decryptor.update(_decode(parts[4])) + decryptor.finalize()
        return padded[: -padded[-1]]

    return unseal


def verifier(keys: Mapping[str, RSAPublicKey], issuer: str) -> Verify:
    """Return what verifies tokens by hand.

    :param keys: By ``kid``.
    """
    padding, digest = PKCS1v15(), SHA256()
    #: By the first segment of a token that was good.
    known: dict[str, RSAPublicKey] = {}

    def key_of(segment: str) -> RSAPublicKey | None:
        header = json.loads(_decode(segment.encode()))
        return keys.get(header.get("kid")) if header.get("alg") == "RS256" else None

    def verify(token: str) -> dict[str, Any] | None:
        signed, _, signature = token.rpartition(".")
        segment, _, content = signed.partition(".")
        key = known.get(segment) or key_of(segment)
        if key is None:
            return None
        try:
            key.verify(_decode(signature.encode()), signed.encode(), padding, digest)
        except InvalidSignature:
            return None
        known[segment] = key
        claims: dict[str, Any] = json.loads(_decode(content.encode()))
        good = claims["iss"] == issuer and claims["exp"] > time.time()
        return claims if good else None

    return verify


def pyjwt_verifier(keys: Mapping[str, RSAPublicKey], issuer: str) -> Verify:
    """Return what has PyJWT verify them; each header is read once.

    :param keys: By ``kid``.
    """
    known: dict[str, RSAPublicKey] = {}

    def verify(token: str) -> dict[str, Any] | None:
        segment = token.partition(".")[0]
        try:
            key = known.get(segment) or keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(token, key, ["RS256"], issuer=issuer)
        except (KeyError, jwt.InvalidTokenError):
            return None
        known[segment] = key
        return claims

    return verify


def _decode(text: bytes) -> bytes:
    return a2b_base64(text.translate(_ALPHABET) + b"=" * (-len(text) % 4))
