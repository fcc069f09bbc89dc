from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import hmac
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from wsgi_authkit import seal as seal_module
from wsgi_authkit.errors import BadSeal, ConfigurationError, CookieTooLarge, SealExpired
from wsgi_authkit.seal import (
    MAX_SEAL_LENGTH,
    MIN_PASSWORD_LENGTH,
    Encryption,
    IronEncryption,
    password_length,
    seal,
    unseal,
)

VECTORS = Path(__file__).with_name("vectors")
SEALS = json.loads((VECTORS / "seals.json").read_text("utf-8"))
PKCE = json.loads((VECTORS / "pkce.json").read_text("utf-8"))
COOKIE_WIRE = json.loads((VECTORS / "cookies.json").read_text("utf-8"))["cookie_wire"]

NOW = 1_800_000_000.0
PASSWORD = "abcdefghijklmnopqrstuvwxyz012345"
OLD_PASSWORD = "ZYXWVUTSRQPONMLKJIHGFEDCBA543210"
OLDER_PASSWORD = "0123456789-0123456789-0123456789"
EMOJI = "🔑🦊🌍🚀🎉🔥💧🌱🧭🧩🪁🥁🎻🎺🎸🎷"


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


def at(vector: Mapping[str, Any]) -> Callable[[], float]:
    at_ms = vector["at_ms"]
    return lambda: NOW if at_ms is None else at_ms / 1000


def encryption_at(now: float, *passwords: str) -> IronEncryption:
    current, *previous = passwords or (PASSWORD,)
    return IronEncryption(current, previous, clock=lambda: now)


# A second implementation, on hashlib, that writes what no library would.


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def pkcs7(data: bytes) -> bytes:
    length = 16 - len(data) % 16
    return data + bytes([length]) * length


def pbkdf2(salt: str, password: str = PASSWORD) -> bytes:
    return hashlib.pbkdf2_hmac("sha1", password.encode(), salt.encode(), 1, 32)


def craft(
    padded: bytes,
    *,
    prefix: str = "Fe26.2",
    password_id: str = "1",
    iv: bytes = bytes(16),
    iv_text: str | None = None,
    ciphertext: str | None = None,
    expiration: str = "",
    good_mac: bool = True,
) -> str:
    """Return a seal of ``padded`` with a right MAC, or with a wrong one."""
    if ciphertext is None:
        encryptor = Cipher(AES(pbkdf2("5a" * 32)), CBC(bytes(16))).encryptor()
        ciphertext = base64url(encryptor.update(padded) + encryptor.finalize())
    iv_text = base64url(iv) if iv_text is None else iv_text
    parts = [prefix, password_id, "5a" * 32, iv_text, ciphertext, expiration]
    signed = "*".join(parts)
    mac = hmac.digest(pbkdf2("c3" * 32), signed.encode(), "sha256")
    if not good_mac:
        mac = bytes(byte ^ 1 for byte in mac)
    return f"{signed}*{'c3' * 32}*{base64url(mac)}~2"


def outcome(sealed: str) -> tuple[type[BaseException], str]:
    with pytest.raises(BadSeal) as caught:
        encryption_at(NOW).unseal(sealed)
    return type(caught.value), str(caught.value)


# The vectors of the JavaScript libraries.


@pytest.mark.parametrize(
    "vector", named([v for v in SEALS["seals"] if v["expect"] == "accept"])
)
def test_accepted_vector_opens_to_its_value(vector: dict[str, Any]) -> None:
    opened = unseal(vector["seal"], vector["password"], now=at(vector))

    assert opened == vector["expect_value"]


@pytest.mark.parametrize(
    "vector", named([v for v in SEALS["seals"] if v["expect"] == "reject"])
)
def test_rejected_vector_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(BadSeal):
        unseal(vector["seal"], vector["password"], now=at(vector))


@pytest.mark.parametrize(
    "vector",
    named([v for v in SEALS["seals"] if isinstance(v["password"], str)]),
)
def test_iron_encryption_agrees_with_the_vectors_on_sessions(
    vector: dict[str, Any],
) -> None:
    encryption = IronEncryption(vector["password"], clock=at(vector))
    opened: object = None

    with contextlib.suppress(BadSeal):
        opened = encryption.unseal(vector["seal"])

    expected = vector.get("expect_value")
    assert opened == (expected if isinstance(expected, dict) else None)


@pytest.mark.parametrize(
    "vector", named([v for v in SEALS["seals"] if v["expect"] == "accept"])
)
def test_value_of_accepted_vector_survives_sealing_here(vector: dict[str, Any]) -> None:
    password = vector["password"]
    if isinstance(password, dict) and not all(map(str.isdecimal, password)):
        password = next(iter(password.values()))

    sealed = seal(vector["expect_value"], password)

    assert unseal(sealed, password) == vector["expect_value"]


@pytest.mark.parametrize("vector", named(SEALS["known_answers"]))
def test_keys_of_known_answer_are_derived(vector: dict[str, Any]) -> None:
    password = seal_module._Password(vector["password"])

    encryption_key = password.derive_key(vector["encryption_salt"].encode())
    mac_key = password.derive_key(vector["hmac_salt"].encode())

    assert encryption_key.hex() == vector["encryption_key_hex"]
    assert mac_key.hex() == vector["hmac_key_hex"]


@pytest.mark.parametrize("vector", named(SEALS["known_answers"]))
def test_mac_of_known_answer_is_computed(vector: dict[str, Any]) -> None:
    password = seal_module._Password(vector["password"])

    mac = password.sign(
        vector["hmac_salt"].encode(), vector["mac_base_string"].encode()
    )

    assert mac.decode() == base64url(bytes.fromhex(vector["hmac_hex"]))


@pytest.mark.parametrize("vector", named(SEALS["known_answers"]))
def test_json_of_known_answer_is_written_byte_for_byte(vector: dict[str, Any]) -> None:
    written = seal_module._dump(json.loads(vector["plaintext_json"]))

    assert written.hex() == vector["plaintext_utf8_hex"]


@pytest.mark.parametrize("vector", named(SEALS["known_answers"]))
def test_seal_of_known_answer_is_written_byte_for_byte(vector: dict[str, Any]) -> None:
    sealed = seal_module._write(
        bytes.fromhex(vector["plaintext_utf8_hex"]),
        password_id=vector["id"],
        password=seal_module._Password(vector["password"]),
        expiration=vector["expiration"],
        encryption_salt=vector["encryption_salt"],
        iv=bytes.fromhex(vector["iv_hex"]),
        mac_salt=vector["hmac_salt"],
    )

    assert sealed == vector["seal"]


@pytest.mark.parametrize("vector", named(SEALS["known_answers"]))
def test_known_answer_opens(vector: dict[str, Any]) -> None:
    opened = unseal(vector["seal"], {vector["id"]: vector["password"]})

    assert opened == json.loads(vector["plaintext_json"])


@pytest.mark.parametrize("vector", named(PKCE["pkce"]))
def test_sign_in_state_of_the_javascript_libraries_opens(
    vector: dict[str, Any],
) -> None:
    encryption = encryption_at(vector["seal_expiration_ms"] / 1000, vector["password"])

    assert encryption.unseal(vector["state"]) == vector["payload"]


#: What this library does with each of ``sealing_errors``; ``None`` where Python has no
#: such value.
SEALING_ERRORS: dict[str, tuple[object, type[Exception]] | None] = {
    "password-31": ({"a": 1}, ConfigurationError),
    "password-empty": ({"a": 1}, ConfigurationError),
    "password-emoji15": ({"a": 1}, ConfigurationError),
    "password-31-map": ({"a": 1}, ConfigurationError),
    "map-non-numeric-id": ({"a": 1}, ConfigurationError),
    "map-empty": ({"a": 1}, ConfigurationError),
    "value-undefined": (None, ValueError),
    "value-bigint": None,
    "value-date": (
        {"a": datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)},
        TypeError,
    ),
    "value-nan": ({"a": math.nan}, ValueError),
    "value-undefined-member": None,
}


def test_every_sealing_error_of_the_vectors_has_a_counterpart() -> None:
    assert {vector["name"] for vector in SEALS["sealing_errors"]} == set(SEALING_ERRORS)


@pytest.mark.parametrize(
    "vector",
    named([v for v in SEALS["sealing_errors"] if SEALING_ERRORS.get(v["name"])]),
)
def test_what_cannot_be_sealed_in_javascript_is_refused(vector: dict[str, Any]) -> None:
    case = SEALING_ERRORS[vector["name"]]
    assert case is not None
    value, error = case

    with pytest.raises(error):
        seal(value, vector["password"])


# Keys and passwords.


@given(
    password=st.text(st.characters(codec="utf-8"), min_size=32, max_size=150),
    salt=st.binary(max_size=80),
)
def test_derived_key_is_pbkdf2_of_hashlib(password: str, salt: bytes) -> None:
    expected = hashlib.pbkdf2_hmac("sha1", password.encode(), salt, 1, 32)

    assert seal_module._Password(password).derive_key(salt) == expected


@pytest.mark.parametrize(
    ("password", "length"),
    [
        pytest.param("", 0, id="empty"),
        pytest.param("a" * 31, 31, id="ascii"),
        pytest.param("ж" * 32, 32, id="two bytes of UTF-8 each"),
        pytest.param(EMOJI, 32, id="two code units each"),
        pytest.param("\ud83d" * 32, 32, id="lone surrogates"),
    ],
)
def test_password_length_counts_utf16_code_units(password: str, length: int) -> None:
    assert password_length(password) == length


@pytest.mark.parametrize("name", ["p31", "emoji15"])
def test_password_under_32_code_units_is_refused(name: str) -> None:
    password = {"p31": PASSWORD[:31], "emoji15": EMOJI[:15]}[name]
    sealed = seal({"a": 1}, PASSWORD)

    with pytest.raises(ConfigurationError) as unsealing:
        unseal(sealed, password)
    with pytest.raises(ConfigurationError) as constructing:
        IronEncryption(PASSWORD, [password])

    for caught in (unsealing, constructing):
        assert str(password_length(password)) in str(caught.value)
        assert str(MIN_PASSWORD_LENGTH) in str(caught.value)
        assert password not in str(caught.value)


def test_password_that_is_not_unicode_is_refused_without_being_shown() -> None:
    password = "secret-" * 5 + "\udcff"

    with pytest.raises(ConfigurationError) as caught:
        IronEncryption(password)

    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_seal_names_the_numerically_largest_id() -> None:
    sealed = seal({"a": 1}, {"9": OLD_PASSWORD, "10": PASSWORD})

    assert sealed.split("*")[1] == "10"
    assert unseal(sealed, {"10": PASSWORD}) == {"a": 1}


@pytest.mark.parametrize(
    "passwords",
    [
        pytest.param({"01": PASSWORD}, id="leading zero"),
        pytest.param({"-1": PASSWORD}, id="negative"),
        pytest.param({"１": PASSWORD}, id="fullwidth digit"),
        pytest.param({"1\n": PASSWORD}, id="newline"),
        pytest.param({"1*2": PASSWORD}, id="separator"),
        pytest.param({"1": PASSWORD, "": PASSWORD}, id="empty beside a good one"),
    ],
)
def test_id_that_is_not_decimal_cannot_seal(passwords: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        seal({"a": 1}, passwords)


def test_seal_with_another_id_does_not_open_with_the_right_secret() -> None:
    sealed = seal({"a": 1}, {"2": PASSWORD})

    with pytest.raises(BadSeal):
        unseal(sealed, PASSWORD)
    with pytest.raises(BadSeal):
        encryption_at(NOW).unseal(sealed)


def test_unknown_id_looks_like_a_wrong_password() -> None:
    unknown_id = outcome(seal({"a": 1}, {"2": PASSWORD}))
    wrong_password = outcome(seal({"a": 1}, OLD_PASSWORD))

    assert unknown_id == wrong_password


# Rotation.


@pytest.mark.parametrize("written_with", [PASSWORD, OLD_PASSWORD, OLDER_PASSWORD])
def test_current_and_previous_passwords_open(written_with: str) -> None:
    sealed = IronEncryption(written_with).seal({"a": 1})

    rotated = IronEncryption(PASSWORD, [OLD_PASSWORD, OLDER_PASSWORD])

    assert rotated.unseal(sealed) == {"a": 1}


def test_only_the_current_password_writes() -> None:
    sealed = IronEncryption(PASSWORD, [OLD_PASSWORD]).seal({"a": 1})

    assert IronEncryption(PASSWORD).unseal(sealed) == {"a": 1}
    with pytest.raises(BadSeal):
        IronEncryption(OLD_PASSWORD).unseal(sealed)


def test_password_that_was_removed_does_not_open() -> None:
    sealed = IronEncryption(OLDER_PASSWORD).seal({"a": 1})

    with pytest.raises(BadSeal):
        IronEncryption(PASSWORD, [OLD_PASSWORD]).unseal(sealed)


def test_expired_seal_of_a_previous_password_is_told_as_expired() -> None:
    sealed = encryption_at(NOW, OLD_PASSWORD).seal({"a": 1}, ttl=10)

    with pytest.raises(SealExpired):
        encryption_at(NOW + 70, PASSWORD, OLD_PASSWORD).unseal(sealed)


# Tampering.


def first_changed(text: str) -> str:
    return ("B" if text[0] == "A" else "A") + text[1:]


TAMPERINGS: dict[str, Callable[[str], str]] = {
    "first character changed": first_changed,
    "last character changed": lambda text: first_changed(text[::-1])[::-1],
    "character appended": lambda text: text + "0",
    "space appended": lambda text: text + " ",
    "padding appended": lambda text: text + "=",
    "separator appended": lambda text: text + "*",
    "last character dropped": lambda text: text[:-1],
    "emptied": lambda text: "",
    "doubled": lambda text: text + text,
}


@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS)
@pytest.mark.parametrize(
    "index", range(8), ids=("prefix", *seal_module._Parts._fields[1:])
)
def test_seal_with_a_changed_part_is_refused(
    index: int, tamper: Callable[[str], str]
) -> None:
    encryption = encryption_at(NOW)
    parts = encryption.seal({"a": 1}, ttl=600).removesuffix("~2").split("*")
    parts[index] = tamper(parts[index])

    with pytest.raises(BadSeal) as caught:
        encryption.unseal("*".join(parts) + "~2")

    assert type(caught.value) is BadSeal


@pytest.mark.parametrize(
    "suffix", ["~1", "~3", "~", "~22", "~x2", "~-2", "~0.2", "~~2", "*~2"]
)
def test_other_version_is_refused(suffix: str) -> None:
    sealed = seal({"a": 1}, PASSWORD).removesuffix("~2")

    with pytest.raises(BadSeal):
        unseal(sealed + suffix, PASSWORD)


@pytest.mark.parametrize("suffix", ["", "~2", "~02", "~2~1", "~ 2", "~+2", "~2x"])
def test_version_is_read_as_parse_int_reads_it(suffix: str) -> None:
    sealed = seal({"a": 1}, PASSWORD).removesuffix("~2")

    assert unseal(sealed + suffix, PASSWORD) == {"a": 1}


def test_every_flipped_bit_is_refused() -> None:
    encryption = encryption_at(NOW)
    sealed = encryption.seal({"a": 1}, ttl=600).encode()

    opened = []
    for position in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[position // 8] ^= 1 << position % 8
        try:
            encryption.unseal(flipped.decode("latin-1"))
        except BadSeal:
            continue
        opened.append(position)

    assert opened == []


def test_every_cut_is_refused_up_to_the_version() -> None:
    encryption = encryption_at(NOW)
    sealed = encryption.seal({"a": 1})

    for length in range(len(sealed) - 2):
        with pytest.raises(BadSeal):
            encryption.unseal(sealed[:length])


@given(st.text(max_size=300))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(BadSeal):
        encryption_at(NOW).unseal(text)


@pytest.mark.parametrize(
    "encoded",
    [
        *COOKIE_WIRE["percent_encoded_variants"],
        COOKIE_WIRE["seal"].replace("~", "%7E"),
    ],
    ids=["%2A", "%2a", "%7E"],
)
def test_percent_encoded_seal_is_refused(encoded: str) -> None:
    assert encryption_at(NOW).unseal(COOKIE_WIRE["seal"])

    with pytest.raises(BadSeal):
        encryption_at(NOW).unseal(encoded)


def test_mac_with_other_bits_in_its_last_character_is_refused() -> None:
    """43 characters carry 258 bits; the two spare ones must not make a second MAC."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    sealed = seal({"a": 1}, PASSWORD)
    body, last = sealed[:-3], sealed[-3]
    spare = alphabet[alphabet.index(last) ^ 1]
    mac = sealed.removesuffix("~2").rsplit("*", 1)[1]
    assert base64.urlsafe_b64decode(mac + "=") == base64.urlsafe_b64decode(
        mac[:-1] + spare + "="
    )

    with pytest.raises(BadSeal):
        unseal(f"{body}{spare}~2", PASSWORD)


# The order of checks.


def test_crafted_seal_opens() -> None:
    assert encryption_at(NOW).unseal(craft(pkcs7(b'{"a":1}'))) == {"a": 1}


GOOD_CIPHERTEXT = craft(pkcs7(b'{"a":1}')).split("*")[4]
BROKEN: dict[str, str] = {
    "padding of zero": craft(b'{"a":1}'.ljust(15) + b"\x00"),
    "padding over a block": craft(b'{"a":1}'.ljust(15) + b"\x11"),
    "padding that differs": craft(b'{"a":1}'.ljust(14) + b"\x01\x02"),
    "no ciphertext": craft(b"", ciphertext=""),
    "half a block": craft(b"", ciphertext=base64url(b"12345678")),
    "ciphertext that is not base64": craft(b"", ciphertext="a"),
    "character outside base64url": craft(b"", ciphertext="AAAA!AAA"),
    "padding inside base64": craft(b"", ciphertext="AA=AAAAA"),
    "good but for characters inside": craft(b"", ciphertext=f"!!!!{GOOD_CIPHERTEXT}"),
    "IV of 15 bytes": craft(pkcs7(b"{}"), iv=bytes(15)),
    "IV of 17 bytes": craft(pkcs7(b"{}"), iv=bytes(17)),
    "no IV": craft(pkcs7(b"{}"), iv_text=""),
    "not UTF-8": craft(pkcs7(b'{"a":"\xff"}')),
    "UTF-8 of a surrogate": craft(pkcs7(b'{"a":"\xed\xa0\x80"}')),
    "byte order mark": craft(pkcs7(b"\xef\xbb\xbf{}")),
    "UTF-16": craft(pkcs7("{}".encode("utf-16"))),
    "nothing": craft(pkcs7(b"")),
    "not JSON": craft(pkcs7(b"not json")),
    "two values": craft(pkcs7(b"{}{}")),
    "NaN": craft(pkcs7(b'{"a":NaN}')),
    "Infinity": craft(pkcs7(b'{"a":Infinity}')),
    "negative Infinity": craft(pkcs7(b'{"a":-Infinity}')),
    "float over the range": craft(pkcs7(b'{"a":1e999}')),
    "integer of 5000 digits": craft(pkcs7(b'{"a":' + b"9" * 5000 + b"}")),
    "nested 5000 deep": craft(pkcs7(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}")),
    "unclosed nesting": craft(pkcs7(b"[" * 9000)),
    "null": craft(pkcs7(b"null")),
    "array": craft(pkcs7(b"[]")),
    "string": craft(pkcs7(b'"text"')),
    "number": craft(pkcs7(b"1")),
    "other prefix": craft(pkcs7(b"{}"), prefix="Fe26.1"),
    "other id": craft(pkcs7(b"{}"), password_id="2"),
    "empty id": craft(pkcs7(b"{}"), password_id=""),
    "expiration with a sign": craft(pkcs7(b"{}"), expiration="+4102444800000"),
    "expiration with a newline": craft(pkcs7(b"{}"), expiration="4102444800000\n"),
    "expiration of zero": craft(pkcs7(b"{}"), expiration="0"),
    "expiration with a fraction": craft(pkcs7(b"{}"), expiration="4102444800000.5"),
}


@pytest.mark.parametrize("sealed", BROKEN.values(), ids=BROKEN)
def test_broken_seal_with_a_right_mac_looks_like_one_with_a_wrong_mac(
    sealed: str,
) -> None:
    """Otherwise the answer would be an oracle, of the padding for one."""
    wrong_mac = outcome(craft(pkcs7(b"{}"), good_mac=False))

    assert outcome(sealed) == wrong_mac


@pytest.mark.parametrize("sealed", BROKEN.values(), ids=BROKEN)
def test_error_of_a_broken_seal_shows_no_plaintext(sealed: str) -> None:
    """A ``JSONDecodeError`` holds the document that it could not read."""
    with pytest.raises(BadSeal) as caught:
        encryption_at(NOW).unseal(sealed)

    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


class RecordingPasswords(Mapping[str, str]):
    """Passwords by id that remember which ids were asked for."""

    def __init__(self) -> None:
        self.looked_up: list[str] = []

    def __getitem__(self, password_id: str) -> str:
        self.looked_up.append(password_id)
        return {"1": PASSWORD}[password_id]

    def __iter__(self) -> Iterator[str]:
        return iter(["1"])

    def __len__(self) -> int:
        return 1


def padded_to(length: int) -> str:
    sealed = seal({"a": 1}, PASSWORD)
    # Everything behind the second "~" is ignored.
    return sealed + "~" + "x" * (length - len(sealed) - 1)


def test_seal_of_the_greatest_length_opens() -> None:
    passwords = RecordingPasswords()

    opened = unseal(padded_to(MAX_SEAL_LENGTH), passwords)

    assert opened == {"a": 1}
    assert passwords.looked_up == ["1"]


@pytest.mark.parametrize(
    "sealed",
    [
        pytest.param(padded_to(MAX_SEAL_LENGTH + 1), id="too long"),
        pytest.param("*" * 1_000_000, id="far too long"),
        pytest.param(padded_to(300) + "é", id="not ASCII"),
        pytest.param(padded_to(300) + "\udcff", id="lone surrogate"),
        pytest.param("Fe26.2*1*" + "*" * 4, id="too few parts"),
    ],
)
def test_text_that_cannot_be_a_seal_is_refused_before_a_password_is_read(
    sealed: str,
) -> None:
    passwords = RecordingPasswords()

    with pytest.raises(BadSeal):
        unseal(sealed, passwords)

    assert passwords.looked_up == []


def test_seal_that_would_not_open_again_is_not_written() -> None:
    with pytest.raises(CookieTooLarge) as caught:
        IronEncryption(PASSWORD).seal({"a": "x" * 12_200})

    assert caught.value.limit == MAX_SEAL_LENGTH
    assert caught.value.size > MAX_SEAL_LENGTH


def test_session_that_fills_four_cookies_is_written() -> None:
    value = {"a": "x" * 12_000}

    sealed = IronEncryption(PASSWORD).seal(value)

    assert len(sealed) <= MAX_SEAL_LENGTH
    assert IronEncryption(PASSWORD).unseal(sealed) == value


# Expiry.


def test_ttl_of_zero_never_expires() -> None:
    sealed = encryption_at(NOW).seal({"a": 1})

    assert sealed.split("*")[5] == ""
    assert encryption_at(NOW * 1000).unseal(sealed) == {"a": 1}


def test_expiration_is_written_in_milliseconds() -> None:
    sealed = encryption_at(NOW + 0.123).seal({"a": 1}, ttl=600)

    assert sealed.split("*")[5] == "1800000600123"


def test_seal_opens_for_60_seconds_after_its_expiration() -> None:
    sealed = encryption_at(NOW).seal({"a": 1}, ttl=600)

    assert encryption_at(NOW + 659.999).unseal(sealed) == {"a": 1}


def test_seal_60_seconds_after_its_expiration_is_expired() -> None:
    sealed = encryption_at(NOW).seal({"a": 1}, ttl=600)

    with pytest.raises(SealExpired) as caught:
        encryption_at(NOW + 660).unseal(sealed)

    assert caught.value.expired_at == NOW + 600


def test_expired_seal_with_a_wrong_mac_is_not_told_as_expired() -> None:
    padded = pkcs7(b"{}")

    assert outcome(craft(padded, expiration="1000"))[0] is SealExpired
    assert outcome(craft(padded, expiration="1000", good_mac=False))[0] is BadSeal


def test_expiration_of_very_many_digits_never_expires() -> None:
    sealed = craft(pkcs7(b"{}"), expiration="9" * 5000)

    assert encryption_at(NOW).unseal(sealed) == {}


def test_negative_ttl_is_refused() -> None:
    with pytest.raises(ValueError, match="ttl"):
        IronEncryption(PASSWORD).seal({"a": 1}, ttl=-1)


# JSON.

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda children: (
        st.lists(children, max_size=5)
        | st.dictionaries(st.text(st.characters()), children, max_size=5)
    ),
    max_leaves=20,
)
surrogates = st.characters(categories=["Cs"])
texts = st.text(st.characters() | surrogates, max_size=30)
objects = st.dictionaries(texts, json_values | texts, max_size=8)


@given(objects)
def test_any_json_object_comes_back(value: dict[str, Any]) -> None:
    encryption = IronEncryption(PASSWORD)

    opened = encryption.unseal(encryption.seal(value))

    # Two surrogates that make a pair come back as the one character they stand for.
    assert opened == json.loads(json.dumps(value))


def test_json_is_written_as_json_stringify_writes_it() -> None:
    value = {"é": ["👩🏽‍💻", "\ud800", '"\\/\n\x00\x7f\u2028', True, None, 0.1, 1]}

    written = seal_module._dump(value)

    assert (
        written
        == (
            '{"é":["👩🏽‍💻","\\ud800","\\"\\\\/\\n\\u0000\x7f\u2028",true,null,0.1,1]}'
        ).encode()
    )


def test_last_of_equal_keys_wins() -> None:
    sealed = craft(pkcs7(b'{"a":1,"a":2}'))

    assert encryption_at(NOW).unseal(sealed) == {"a": 2}


def test_read_only_mapping_is_sealed() -> None:
    encryption = IronEncryption(PASSWORD)

    assert encryption.unseal(encryption.seal(MappingProxyType({"a": 1}))) == {"a": 1}


def test_value_nested_too_deeply_is_a_value_error() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]

    with pytest.raises(ValueError, match="nested"):
        seal(value, PASSWORD)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_number_that_json_does_not_have_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        IronEncryption(PASSWORD).seal({"a": number})


# The object itself.


def test_two_seals_of_one_value_have_nothing_in_common() -> None:
    first, second = (seal({"a": 1}, PASSWORD).split("*") for _ in range(2))

    common = [index for index in range(8) if first[index] == second[index]]

    assert common == [0, 1, 5]
    assert first[2] != first[6]


def test_seal_needs_no_quoting_in_a_cookie_or_a_url() -> None:
    sealed = IronEncryption(PASSWORD).seal({"a": "ÿ" * 500}, ttl=600)

    assert re.fullmatch(r"[A-Za-z0-9_.*~-]+", sealed)


def test_repr_and_attributes_hold_no_password() -> None:
    encryption = IronEncryption(PASSWORD, [OLD_PASSWORD])

    for shown in (repr(encryption), str(vars(encryption))):
        assert PASSWORD not in shown
        assert OLD_PASSWORD not in shown
    assert repr(encryption) == "IronEncryption(2 passwords)"


def test_iron_encryption_is_an_encryption() -> None:
    encryption: Encryption = IronEncryption(PASSWORD)

    assert encryption.unseal(encryption.seal({"a": 1}, ttl=10)) == {"a": 1}


def test_one_object_serves_many_threads() -> None:
    encryption = IronEncryption(PASSWORD, [OLD_PASSWORD])

    def round_trip(number: int) -> bool:
        value = {"number": number, "text": str(number) * 200}
        return encryption.unseal(encryption.seal(value)) == value

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(round_trip, range(400)))

    assert all(results)
