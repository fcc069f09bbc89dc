"""Base64url without padding (RFC 4648 5), as JOSE and the seal of a session have it."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from typing import Final

_TO_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URLSAFE: Final = bytes.maketrans(b"-_", b"+/")


def encode(data: bytes) -> bytes:
    """Return the text of some bytes."""
    return b2a_base64(data, newline=False).translate(_TO_URLSAFE).rstrip(b"=")


def decode(text: bytes) -> bytes:
    """Return the bytes of a text; several texts can have the same.

    :raises ValueError: It is no base64url, nor base64.
    """
    padding = b"=" * (-len(text) % 4)
    return a2b_base64(text.translate(_FROM_URLSAFE) + padding, strict_mode=True)


def decode_exactly(text: bytes) -> bytes:
    """Return the bytes of the one text that :func:`encode` makes of them.

    :raises ValueError: It is another text.
    """
    data = decode(text)
    if encode(data) != text:
        raise ValueError("the text is not as base64url without padding is written")
    return data
