"""Encryption of everything that only this library reads.

Store values, the ``request`` parameter of the sign-in page and marker cookies are
sealed here; the two formats shared with the JavaScript libraries are in
:mod:`wsgi_authkit.seal`. AES-256-GCM runs under a key that HKDF-SHA-256 (RFC 5869)
derives from the cookie password for each purpose, so nothing sealed for one purpose
opens for another, and nothing from here opens as a session cookie or the reverse.
The context, such as a store key, is authenticated too: a value that was moved to
another key does not open.

An envelope is a version byte, a nonce of 12 bytes, the ciphertext, a tag of 16 bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wsgi_authkit import _base64url
from wsgi_authkit.errors import BadSeal, ConfigurationError

#: Longest envelope that is opened or written, in bytes.
MAX_LENGTH: Final = 1024 * 1024
#: Longest envelope as text, in bytes: it travels in a cookie or a URL.
MAX_TEXT_LENGTH: Final = 16 * 1024

_VERSION: Final = b"\x01"
_NONCE_LENGTH: Final = 12
_HEADER_LENGTH: Final = len(_VERSION) + _NONCE_LENGTH
# Any password that the configuration accepts has at least as many.
_MIN_PASSWORD_BYTES: Final = 32
_LABEL: Final = b"wsgi_authkit "

_REFUSED: Final = "The envelope is malformed, was changed, moved, or has another key."


class Envelope:
    """Seals with the first password, opens with each of them.

    Shared by threads without a lock: all it does after construction is to keep derived
    keys, and two threads that derive the same key keep the same key.

    :param passwords: The cookie password, then the previous ones.
    :raises ConfigurationError: There is no password, or one is too short.
    """

    def __init__(self, passwords: Sequence[str]) -> None:
        self._passwords = tuple(_password_bytes(password) for password in passwords)
        if not self._passwords:
            raise ConfigurationError(["An envelope needs at least one password."])
        self._keys: dict[str, tuple[AESGCM, ...]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._passwords)} passwords)"

    def seal(self, plaintext: bytes, *, purpose: str, context: str = "") -> bytes:
        """Return ``plaintext`` encrypted and authenticated.

        :param purpose: What it is for: a constant of the program, never taken from a
            request, because a key for each is kept.
        :param context: What it belongs to, such as the key in a store.
        :raises ValueError: The envelope would be over :data:`MAX_LENGTH`.
        """
        nonce = os.urandom(_NONCE_LENGTH)
        key = self._keys_for(purpose)[0]
        ciphertext = key.encrypt(nonce, plaintext, _associated_data(purpose, context))
        return _limited(_VERSION + nonce + ciphertext, MAX_LENGTH)

    def open(self, sealed: bytes, *, purpose: str, context: str = "") -> bytes:
        """Return what was sealed for this ``purpose`` and ``context``.

        :raises BadSeal: Anything is wrong with it. All looks the same on purpose.
        """
        if len(sealed) > MAX_LENGTH or not sealed.startswith(_VERSION):
            raise BadSeal(_REFUSED)
        nonce, ciphertext = sealed[1:_HEADER_LENGTH], sealed[_HEADER_LENGTH:]
        associated_data = _associated_data(purpose, context)
        for key in self._keys_for(purpose):
            try:
                return key.decrypt(nonce, ciphertext, associated_data)
            except (InvalidTag, ValueError):  # ValueError: the nonce is cut short
                continue
        raise BadSeal(_REFUSED)

    def seal_text(self, plaintext: bytes, *, purpose: str, context: str = "") -> str:
        """Return :meth:`seal`'s result as base64url text without padding.

        :raises ValueError: The text would be over :data:`MAX_TEXT_LENGTH`.
        """
        sealed = self.seal(plaintext, purpose=purpose, context=context)
        return _limited(_base64url.encode(sealed), MAX_TEXT_LENGTH).decode()

    def open_text(self, sealed: str, *, purpose: str, context: str = "") -> bytes:
        """Return what :meth:`seal_text` sealed for this ``purpose`` and ``context``.

        :raises BadSeal: Anything is wrong with it. All looks the same on purpose.
        """
        if len(sealed) > MAX_TEXT_LENGTH or not sealed.isascii():
            raise BadSeal(_REFUSED)
        try:
            # One envelope has one text, too.
            data = _base64url.decode_exactly(sealed.encode())
        except ValueError:
            raise BadSeal(_REFUSED) from None
        return self.open(data, purpose=purpose, context=context)

    def _keys_for(self, purpose: str) -> tuple[AESGCM, ...]:
        keys = self._keys.get(purpose)
        if keys is None:
            keys = tuple(_derive_key(password, purpose) for password in self._passwords)
            self._keys[purpose] = keys
        return keys


def _password_bytes(password: str) -> bytes:
    try:
        data = password.encode()
    except UnicodeEncodeError:
        # `from None`: the foreign error holds the password.
        problem = "The cookie password holds characters that are not valid Unicode."
        raise ConfigurationError([problem]) from None
    if len(data) < _MIN_PASSWORD_BYTES:
        problem = (
            f"The cookie password has {len(data)} bytes, it needs "
            f"{_MIN_PASSWORD_BYTES}: make one with `openssl rand -base64 32`."
        )
        raise ConfigurationError([problem])
    return data


def _derive_key(password: bytes, purpose: str) -> AESGCM:
    hkdf = HKDF(SHA256(), length=32, salt=None, info=_LABEL + purpose.encode())
    return AESGCM(hkdf.derive(password))


def _associated_data(purpose: str, context: str) -> bytes:
    if "\0" in purpose:
        raise ValueError("A purpose cannot hold NUL, which ends it.")
    # `surrogatepass`, so that a context from a request cannot raise.
    return b"\0".join(
        (_VERSION, purpose.encode(), context.encode(errors="surrogatepass"))
    )


def _limited(sealed: bytes, limit: int) -> bytes:
    if len(sealed) > limit:
        raise ValueError(f"The envelope has {len(sealed)} bytes, {limit} are allowed.")
    return sealed
