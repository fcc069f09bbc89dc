"""The ``Fe26.2`` seal, shared with the JavaScript libraries of AuthKit.

iron-session and authkit-session write the session cookie and the sign-in state in
this form, so what is sealed here opens there and the reverse::

    Fe26.2*ID*ENC_SALT*IV*CIPHERTEXT*EXPIRATION*MAC_SALT*MAC~2

The content is JSON under AES-256-CBC. HMAC-SHA-256 covers everything in front of
``*MAC_SALT`` and is compared before anything is decrypted. Each key comes from the
password by PBKDF2-HMAC-SHA1 with one iteration, so the password has to be random:
nothing slows down guessing it. ``~2`` is iron-session's version and not covered.

:class:`IronEncryption` is what the library uses. :func:`seal` and :func:`unseal` do
the same for one call, and take a map of passwords by id as iron-session does.
"""

from __future__ import annotations

import hmac
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn, Protocol

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.padding import PKCS7

from wsgi_authkit import _base64url
from wsgi_authkit.errors import BadSeal, ConfigurationError, CookieTooLarge, SealExpired

#: Longest seal that is opened or written, in bytes: four cookies of 4 KB. Checked
#: before a key is derived, so that strangers cannot buy much CPU time with one request.
MAX_SEAL_LENGTH: Final = 16384
#: Shortest password, in UTF-16 code units, see :func:`password_length`.
MIN_PASSWORD_LENGTH: Final = 32

_PREFIX: Final = b"Fe26.2"
_VERSION: Final = "~2"
_DEFAULT_ID: Final = "1"
# Readers accept a seal for this long after its expiration: clocks differ.
_SKEW_MS: Final = 60_000

# What JavaScript's `parseInt` makes 2 of; the JavaScript readers use it.
_IS_VERSION_2: Final = re.compile(r"\s*\+?0*2(?![0-9])", re.ASCII)
_IS_EXPIRATION: Final = re.compile(rb"[1-9][0-9]*")
# Asterisks between the parts of a seal.
_SEPARATORS: Final = 7
_IS_SEALING_ID: Final = re.compile(r"0|[1-9][0-9]{0,8}")

_PADDING: Final = PKCS7(128)

_REFUSED: Final = "The seal is malformed, was changed, or has another password."


def looks_sealed(text: str) -> bool:
    """Say whether a text has the form of a seal. Costs nothing and proves nothing."""
    return text.startswith("Fe26.2*") and text.count("*") == _SEPARATORS


class Encryption(Protocol):
    """What seals the session cookie and the sign-in state; replaceable.

    Another implementation gives up reading the cookies of the JavaScript libraries.
    """

    def seal(self, value: Mapping[str, object], *, ttl: int = 0) -> str:
        """Return ``value`` encrypted and authenticated, as cookie and URL text.

        Its last 64 characters should be different each time: a process looks for the
        sessions that it keeps by them.

        :param ttl: Seconds until it expires, 0 for never.
        """
        ...

    def unseal(self, sealed: str) -> dict[str, Any]:
        """Return the value in ``sealed``.

        :raises BadSeal: Whatever is wrong with it.
        """
        ...


class IronEncryption:
    """Seals with one password, opens with that and the previous ones.

    Seals carry password id ``1``, as those of the JavaScript libraries do. To rotate
    the password, put the old one into ``previous`` until its seals are gone.

    :param password: At least 32 UTF-16 code units, random.
    :param previous: Passwords that still open seals, and write none.
    :param clock: Returns the time in Unix seconds.
    :raises ConfigurationError: A password is too short.
    """

    def __init__(
        self,
        password: str,
        previous: Sequence[str] = (),
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._passwords = tuple(_Password(text) for text in (password, *previous))
        self._clock = clock

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._passwords)} passwords)"

    def seal(self, value: Mapping[str, object], *, ttl: int = 0) -> str:
        """Return ``value`` sealed with the current password.

        :param ttl: Seconds until the seal expires, 0 for never.
        :raises CookieTooLarge: The seal would be over :data:`MAX_SEAL_LENGTH`.
        :raises TypeError: ``value`` is not JSON.
        :raises ValueError: ``value`` is not JSON, or ``ttl`` is negative.
        """
        expiration = _expiration(ttl, self._clock())
        return _seal(dict(value), _DEFAULT_ID, self._passwords[0], expiration)

    def unseal(self, sealed: str) -> dict[str, Any]:
        """Return the JSON object in ``sealed``.

        :raises BadSeal: The seal is malformed, was changed, was made with a password
            not known here, or holds something else. All look the same on purpose.
        :raises SealExpired: The seal is authentic and its time is over.
        """
        parts = _split(sealed)
        passwords = self._passwords if parts.password_id == _DEFAULT_ID.encode() else ()
        value = _open(parts, passwords, self._clock())
        if not isinstance(value, dict):
            raise BadSeal(_REFUSED)
        return value


def seal(
    value: object,
    password: str | Mapping[str, str],
    *,
    ttl: int = 0,
    now: Callable[[], float] = time.time,
) -> str:
    """Return ``value`` sealed, as iron-session's ``sealData`` does.

    :param value: Any JSON value but ``None``.
    :param password: A password, for id ``1``, or passwords by decimal id; of these
        the one with the largest id is used.
    :param ttl: Seconds until the seal expires, 0 for never.
    :param now: Returns the time in Unix seconds.
    :raises ConfigurationError: The password is too short, or there is none.
    :raises CookieTooLarge: The seal would be over :data:`MAX_SEAL_LENGTH`.
    :raises TypeError: ``value`` is not JSON.
    :raises ValueError: ``value`` is not JSON, or ``ttl`` is negative.
    """
    password_id, text = _sealing_password(password)
    return _seal(value, password_id, _Password(text), _expiration(ttl, now()))


def unseal(
    sealed: str,
    password: str | Mapping[str, str],
    *,
    now: Callable[[], float] = time.time,
) -> Any:
    """Return the JSON value in ``sealed``, as iron-session's ``unsealData`` does.

    A seal names the password it was made with; other passwords are not tried.

    :param password: A password, for id ``1``, or passwords by id; a seal with an
        empty id is looked up as ``default``.
    :param now: Returns the time in Unix seconds.
    :raises BadSeal: The seal is malformed, was changed, or names a password that is
        not there. All look the same on purpose.
    :raises SealExpired: The seal is authentic and its time is over.
    :raises ConfigurationError: The password is too short.
    """
    parts = _split(sealed)
    passwords = {_DEFAULT_ID: password} if isinstance(password, str) else password
    text = passwords.get(parts.password_id.decode() or "default")
    if text is None:
        raise BadSeal(_REFUSED)
    return _open(parts, (_Password(text),), now())


def password_length(password: str) -> int:
    """Return the length of ``password`` in UTF-16 code units, JavaScript's ``length``.

    Counted otherwise, a password that the JavaScript libraries take could be refused.
    """
    return len(password.encode("utf-16-le", "surrogatepass")) // 2


class _Password:
    """A password, keyed once for all the keys that are derived from it."""

    __slots__ = ("_prf",)

    def __init__(self, text: str) -> None:
        self._prf = HMAC(_password_bytes(text), SHA1())  # noqa: S303 - the format's

    def derive_key(self, salt: bytes) -> bytes:
        """Return the 32 bytes of PBKDF2-HMAC-SHA1 with one iteration (RFC 8018 5.2).

        One iteration makes each block one HMAC, and a copy of a keyed HMAC costs a
        third less than a key derivation from the start.
        """
        first, second = self._prf.copy(), self._prf.copy()
        first.update(salt + b"\x00\x00\x00\x01")
        second.update(salt + b"\x00\x00\x00\x02")
        return first.finalize() + second.finalize()[:12]

    def sign(self, salt: bytes, text: bytes) -> bytes:
        """Return the MAC of ``text`` as it stands in a seal."""
        mac = HMAC(self.derive_key(salt), SHA256())
        mac.update(text)
        return _base64url.encode(mac.finalize())

    def cipher(self, salt: bytes, iv: bytes) -> Cipher[CBC]:
        """Return the cipher of one seal.

        :raises ValueError: ``iv`` has not 16 bytes.
        """
        return Cipher(AES(self.derive_key(salt)), CBC(iv))


def _password_bytes(text: str) -> bytes:
    length = password_length(text)
    if length < MIN_PASSWORD_LENGTH:
        problem = (
            f"The cookie password has {length} UTF-16 code units, it needs "
            f"{MIN_PASSWORD_LENGTH}: make one with `openssl rand -base64 32`."
        )
        raise ConfigurationError([problem])
    try:
        return text.encode()
    except UnicodeEncodeError:
        # `from None` here and below: the foreign error holds the secret text.
        problem = "The cookie password holds characters that are not valid Unicode."
        raise ConfigurationError([problem]) from None


def _sealing_password(password: str | Mapping[str, str]) -> tuple[str, str]:
    if isinstance(password, str):
        return _DEFAULT_ID, password
    if not password or not all(map(_IS_SEALING_ID.fullmatch, password)):
        problem = "Passwords to seal with need decimal ids such as '1', at least one."
        raise ConfigurationError([problem])
    password_id = max(password, key=int)
    return password_id, password[password_id]


class _Parts(NamedTuple):
    """A seal taken apart, nothing of it verified."""

    #: What the MAC covers: what stands in front of its salt.
    signed: bytes
    password_id: bytes
    encryption_salt: bytes
    iv: bytes
    ciphertext: bytes
    expiration: bytes
    mac_salt: bytes
    mac: bytes


def _split(sealed: str) -> _Parts:
    if len(sealed) > MAX_SEAL_LENGTH or not sealed.isascii():
        raise BadSeal(_REFUSED)
    text, tilde, version = sealed.partition("~")
    if tilde and version != "2" and not _IS_VERSION_2.match(version):
        raise BadSeal(_REFUSED)
    try:
        signed, mac_salt, mac = text.encode().rsplit(b"*", 2)
        prefix, password_id, salt, iv, ciphertext, expiration = signed.split(b"*")
    except ValueError:  # too few parts, or too many
        raise BadSeal(_REFUSED) from None
    if prefix != _PREFIX:
        raise BadSeal(_REFUSED)
    if expiration and not _IS_EXPIRATION.fullmatch(expiration):
        raise BadSeal(_REFUSED)
    return _Parts(signed, password_id, salt, iv, ciphertext, expiration, mac_salt, mac)


def _open(parts: _Parts, passwords: Iterable[_Password], now: float) -> Any:
    for password in passwords:
        # The text is compared, not what it decodes to: several texts decode alike.
        mac = password.sign(parts.mac_salt, parts.signed)
        if hmac.compare_digest(mac, parts.mac):
            _check_expiration(parts.expiration, now)
            return _load(_decrypt(parts, password))
    raise BadSeal(_REFUSED)


def _check_expiration(expiration: bytes, now: float) -> None:
    # `float` and not `int`, which refuses more than 4300 digits.
    if expiration and float(expiration) <= _milliseconds(now) - _SKEW_MS:
        raise SealExpired("The seal has expired.", expired_at=float(expiration) / 1000)


def _decrypt(parts: _Parts, password: _Password) -> bytes:
    try:
        iv = _base64url.decode(parts.iv)
        decryptor = password.cipher(parts.encryption_salt, iv).decryptor()
        padded = decryptor.update(_base64url.decode(parts.ciphertext))
        unpadder = _PADDING.unpadder()
        plaintext = unpadder.update(padded + decryptor.finalize())
        return plaintext + unpadder.finalize()
    except ValueError:
        raise BadSeal(_REFUSED) from None


def _seal(value: object, password_id: str, password: _Password, expiration: str) -> str:
    sealed = _write(
        _dump(value),
        password_id=password_id,
        password=password,
        expiration=expiration,
        encryption_salt=os.urandom(32).hex(),
        iv=os.urandom(16),
        mac_salt=os.urandom(32).hex(),
    )
    if len(sealed) > MAX_SEAL_LENGTH:
        raise CookieTooLarge(
            f"The value needs {len(sealed)} bytes as a seal, and no seal over "
            f"{MAX_SEAL_LENGTH} bytes is opened again. Put less into it; into a "
            "session, fewer permissions and custom claims (JWT template in the WorkOS "
            "dashboard).",
            size=len(sealed),
            limit=MAX_SEAL_LENGTH,
        )
    return sealed


def _write(
    plaintext: bytes,
    *,
    password_id: str,
    password: _Password,
    expiration: str,
    encryption_salt: str,
    iv: bytes,
    mac_salt: str,
) -> str:
    # The salts are used as the text they are, not as the bytes that the text spells.
    encryptor = password.cipher(encryption_salt.encode(), iv).encryptor()
    padder = _PADDING.padder()
    padded = padder.update(plaintext) + padder.finalize()
    ciphertext = _base64url.encode(encryptor.update(padded) + encryptor.finalize())
    signed = b"*".join(
        (
            _PREFIX,
            password_id.encode(),
            encryption_salt.encode(),
            _base64url.encode(iv),
            ciphertext,
            expiration.encode(),
        )
    )
    mac = password.sign(mac_salt.encode(), signed)
    return f"{signed.decode()}*{mac_salt}*{mac.decode()}{_VERSION}"


def _expiration(ttl: int, now: float) -> str:
    if ttl < 0:
        raise ValueError(f"ttl must be 0 or more seconds, not {ttl}")
    return str(_milliseconds(now + ttl)) if ttl else ""


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large to be sealed again")
    return number


_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
)
_DECODER: Final = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite_float
)


def _dump(value: object) -> bytes:
    if value is None:
        raise ValueError("None cannot be sealed: readers take null for no value")
    try:
        text = _ENCODER.encode(value)
    except RecursionError:
        raise ValueError("The value is nested too deeply to be sealed.") from None
    # Lone surrogates become `\udxxx`, as JSON.stringify writes them.
    return text.encode("utf-8", "backslashreplace")


def _load(plaintext: bytes) -> Any:
    try:
        value = _DECODER.decode(plaintext.decode())
    except (ValueError, RecursionError):
        raise BadSeal(_REFUSED) from None
    if value is None:
        raise BadSeal(_REFUSED)
    return value
