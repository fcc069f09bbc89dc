"""The keys that sign access tokens, and their JWK set (RFC 7517)."""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

ALGORITHM: Final = "RS256"

_NOT_BEFORE: Final = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER: Final = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An RSA key with its ``kid`` and public JWK."""

    private_key: rsa.RSAPrivateKey
    kid: str
    jwk: Mapping[str, Any]

    def sign(
        self, claims: Mapping[str, Any], headers: Mapping[str, Any] | None = None
    ) -> str:
        """Return ``claims`` as a JWT of this key."""
        header = {"kid": self.kid, **(headers or {})}
        return jwt.encode(
            dict(claims), self.private_key, algorithm=ALGORITHM, headers=header
        )


class SigningKeys:
    """The current key and the published ones, made when first needed.

    :param private_keys: Used before keys are generated, in this order.
    """

    def __init__(self, private_keys: Sequence[rsa.RSAPrivateKey] = ()) -> None:
        self._private_keys = tuple(private_keys)
        self._made = 0
        self._published: list[SigningKey] = []

    @property
    def current(self) -> SigningKey:
        """The key that signs now."""
        return self._keys()[0]

    def jwk_set(self) -> dict[str, Any]:
        """Return the published keys, the current one first."""
        return {"keys": [dict(key.jwk) for key in self._keys()]}

    def rotate(self, *, keep_old: bool) -> None:
        """Sign with a new key; publish the old ones along with it or not."""
        old = self._keys() if keep_old else []
        self._keys()
        self._published = [self._next(), *old]

    def _keys(self) -> list[SigningKey]:
        if not self._published:
            self._published = [self._next()]
        return self._published

    def _next(self) -> SigningKey:
        index, self._made = self._made, self._made + 1
        if index < len(self._private_keys):
            return _signing_key(self._private_keys[index])
        return _pooled_key(index)


@functools.cache
def _pooled_key(index: int) -> SigningKey:
    # Making an RSA key takes about 0.1 s; all fakes of a test run share these.
    return _signing_key(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def _signing_key(private_key: rsa.RSAPrivateKey) -> SigningKey:
    numbers = private_key.public_key().public_numbers()
    required = {"e": _integer(numbers.e), "kty": "RSA", "n": _integer(numbers.n)}
    kid = _base64url(hashlib.sha256(_canonical(required)).digest())  # RFC 7638
    certificate = _certificate(private_key)
    jwk = {
        **required,
        "alg": ALGORITHM,
        "use": "sig",
        "kid": kid,
        "x5c": [base64.b64encode(certificate).decode()],
        "x5t#S256": _base64url(hashlib.sha256(certificate).digest()),
    }
    return SigningKey(private_key, kid, jwk)


def _certificate(private_key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fake WorkOS")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(1)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .sign(private_key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.DER)


def _canonical(required: Mapping[str, str]) -> bytes:
    return json.dumps(required, separators=(",", ":"), sort_keys=True).encode()


def _integer(number: int) -> str:
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
