from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from wsgi_authkit.envelope import MAX_LENGTH, MAX_TEXT_LENGTH, Envelope
from wsgi_authkit.errors import BadSeal, ConfigurationError
from wsgi_authkit.seal import IronEncryption

PASSWORD = "abcdefghijklmnopqrstuvwxyz012345"
OLD_PASSWORD = "ZYXWVUTSRQPONMLKJIHGFEDCBA543210"
OVERHEAD = 1 + 12 + 16


@pytest.fixture
def envelope() -> Envelope:
    return Envelope([PASSWORD])


@given(plaintext=st.binary(), context=st.text(st.characters(), max_size=20))
def test_what_is_sealed_opens(plaintext: bytes, context: str) -> None:
    envelope = Envelope([PASSWORD])

    sealed = envelope.seal(plaintext, purpose="test", context=context)

    assert envelope.open(sealed, purpose="test", context=context) == plaintext


@given(st.binary())
def test_text_opens_and_needs_no_quoting(plaintext: bytes) -> None:
    envelope = Envelope([PASSWORD])

    sealed = envelope.seal_text(plaintext, purpose="test")

    assert set(sealed) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )
    assert envelope.open_text(sealed, purpose="test") == plaintext


def test_format_is_version_nonce_and_aes_gcm_under_hkdf(envelope: Envelope) -> None:
    """Workers of two releases share a store: the format is kept or gets a version."""
    sealed = envelope.seal(b"text", purpose="result", context="key")

    info = b"wsgi_authkit result"
    key = HKDF(SHA256(), length=32, salt=None, info=info).derive(PASSWORD.encode())
    opened = AESGCM(key).decrypt(sealed[1:13], sealed[13:], b"\x01\0result\0key")
    assert sealed[:1] == b"\x01"
    assert len(sealed) == OVERHEAD + len(b"text")
    assert opened == b"text"


def test_nonce_is_new_each_time(envelope: Envelope) -> None:
    nonces = {envelope.seal(b"", purpose="test")[1:13] for _ in range(1000)}

    assert len(nonces) == 1000


# What does not open.


def test_value_sealed_for_another_purpose_is_refused(envelope: Envelope) -> None:
    sealed = envelope.seal(b"text", purpose="lease")

    with pytest.raises(BadSeal):
        envelope.open(sealed, purpose="result")


def test_value_moved_to_another_context_is_refused(envelope: Envelope) -> None:
    sealed = envelope.seal(b"text", purpose="test", context="session:one")

    with pytest.raises(BadSeal):
        envelope.open(sealed, purpose="test", context="session:two")
    with pytest.raises(BadSeal):
        envelope.open(sealed, purpose="test")


def test_purpose_and_context_cannot_run_into_each_other(envelope: Envelope) -> None:
    sealed = envelope.seal(b"text", purpose="a", context="b\0c")

    with pytest.raises(ValueError, match="NUL"):
        envelope.open(sealed, purpose="a\0b", context="c")
    with pytest.raises(ValueError, match="NUL"):
        envelope.seal(b"text", purpose="a\0b", context="c")


def test_every_flipped_bit_is_refused(envelope: Envelope) -> None:
    sealed = envelope.seal(b"text", purpose="test")

    for position in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(BadSeal):
            envelope.open(bytes(flipped), purpose="test")


def test_every_cut_is_refused(envelope: Envelope) -> None:
    sealed = envelope.seal(b"", purpose="test")

    for length in range(len(sealed)):
        with pytest.raises(BadSeal):
            envelope.open(sealed[:length], purpose="test")


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(data: bytes) -> None:
    envelope = Envelope([PASSWORD])

    for candidate in (data, b"\x01" + data):
        with pytest.raises(BadSeal):
            envelope.open(candidate, purpose="test")


@given(st.text(max_size=60))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(BadSeal):
        Envelope([PASSWORD]).open_text(text, purpose="test")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text + "=", id="padded"),
        pytest.param(lambda text: text + "\n", id="newline"),
        pytest.param(lambda text: " " + text, id="space in front"),
        pytest.param(lambda text: text[:9] + "!" + text[9:], id="character outside"),
        pytest.param(lambda text: text + "é", id="not ASCII"),
        pytest.param(lambda text: text + "\udcff", id="lone surrogate"),
        pytest.param(lambda text: text[:-1], id="cut"),
        pytest.param(lambda text: text + "A", id="one character more"),
        pytest.param(lambda text: "", id="empty"),
        pytest.param(lambda text: "%41" + text[1:], id="percent-encoded"),
    ],
)
def test_text_has_one_spelling(
    envelope: Envelope, change: Callable[[str], str]
) -> None:
    sealed = envelope.seal_text(b"text", purpose="test")

    with pytest.raises(BadSeal):
        envelope.open_text(change(sealed), purpose="test")


def test_spare_bits_of_the_last_character_are_refused(envelope: Envelope) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    sealed = envelope.seal_text(b"12", purpose="test")  # 31 bytes: 4 spare bits
    spare = alphabet[alphabet.index(sealed[-1]) ^ 1]

    with pytest.raises(BadSeal):
        envelope.open_text(sealed[:-1] + spare, purpose="test")


def test_all_refusals_look_the_same(envelope: Envelope) -> None:
    sealed = envelope.seal(b"text", purpose="test", context="here")
    other = Envelope([OLD_PASSWORD]).seal(b"text", purpose="test", context="here")
    messages = set()

    for candidate in (b"", b"\x02" + sealed[1:], sealed[:5], sealed[:-1], other):
        with pytest.raises(BadSeal) as caught:
            envelope.open(candidate, purpose="test", context="here")
        messages.add(str(caught.value))

    assert len(messages) == 1


# Envelopes and seals.


def test_envelope_does_not_open_as_a_seal(envelope: Envelope) -> None:
    sealed = envelope.seal_text(b'{"a":1}', purpose="session")

    with pytest.raises(BadSeal):
        IronEncryption(PASSWORD).unseal(sealed)


def test_seal_does_not_open_as_an_envelope(envelope: Envelope) -> None:
    sealed = IronEncryption(PASSWORD).seal({"a": 1})

    with pytest.raises(BadSeal):
        envelope.open_text(sealed, purpose="session")
    with pytest.raises(BadSeal):
        envelope.open(sealed.encode(), purpose="session")


# Passwords.


@pytest.mark.parametrize("written_with", [PASSWORD, OLD_PASSWORD])
def test_every_password_opens(written_with: str) -> None:
    sealed = Envelope([written_with]).seal(b"text", purpose="test")

    opened = Envelope([PASSWORD, OLD_PASSWORD]).open(sealed, purpose="test")

    assert opened == b"text"


def test_the_first_password_writes() -> None:
    sealed = Envelope([PASSWORD, OLD_PASSWORD]).seal(b"text", purpose="test")

    assert Envelope([PASSWORD]).open(sealed, purpose="test") == b"text"
    with pytest.raises(BadSeal):
        Envelope([OLD_PASSWORD]).open(sealed, purpose="test")


@pytest.mark.parametrize(
    "passwords",
    [
        pytest.param([], id="none"),
        pytest.param([PASSWORD[:31]], id="too short"),
        pytest.param([PASSWORD, ""], id="empty beside a good one"),
        pytest.param(["secret" * 6 + "\udcff"], id="not Unicode"),
    ],
)
def test_password_that_cannot_work_is_refused(passwords: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Envelope(passwords)

    assert PASSWORD[:31] not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_shortest_password_of_a_seal_serves_an_envelope() -> None:
    emoji = "🔑🦊🌍🚀🎉🔥💧🌱🧭🧩🪁🥁🎻🎺🎸🎷"
    IronEncryption(emoji)

    sealed = Envelope([emoji]).seal(b"text", purpose="test")

    assert Envelope([emoji]).open(sealed, purpose="test") == b"text"


def test_repr_holds_no_password(envelope: Envelope) -> None:
    assert repr(envelope) == "Envelope(1 passwords)"


# Sizes.


def test_longest_envelope_opens(envelope: Envelope) -> None:
    plaintext = bytes(MAX_LENGTH - OVERHEAD)

    sealed = envelope.seal(plaintext, purpose="test")

    assert len(sealed) == MAX_LENGTH
    assert envelope.open(sealed, purpose="test") == plaintext


def test_longer_envelope_is_not_written(envelope: Envelope) -> None:
    plaintext = bytes(MAX_LENGTH - OVERHEAD + 1)

    with pytest.raises(ValueError, match=str(MAX_LENGTH)):
        envelope.seal(plaintext, purpose="test")


def test_longer_envelope_is_refused_though_it_is_authentic(envelope: Envelope) -> None:
    info = b"wsgi_authkit test"
    key = HKDF(SHA256(), length=32, salt=None, info=info).derive(PASSWORD.encode())
    nonce = bytes(12)
    plaintext = bytes(MAX_LENGTH - OVERHEAD + 1)
    sealed = b"\x01" + nonce + AESGCM(key).encrypt(nonce, plaintext, b"\x01\0test\0")

    with pytest.raises(BadSeal):
        envelope.open(sealed, purpose="test")


def test_longest_text_opens(envelope: Envelope) -> None:
    plaintext = bytes(MAX_TEXT_LENGTH // 4 * 3 - OVERHEAD)

    sealed = envelope.seal_text(plaintext, purpose="test")

    assert len(sealed) == MAX_TEXT_LENGTH
    assert envelope.open_text(sealed, purpose="test") == plaintext


def test_longer_text_is_not_written(envelope: Envelope) -> None:
    plaintext = bytes(MAX_TEXT_LENGTH // 4 * 3 - OVERHEAD + 1)

    with pytest.raises(ValueError, match=str(MAX_TEXT_LENGTH)):
        envelope.seal_text(plaintext, purpose="test")


def test_longer_text_is_refused_though_it_is_authentic(envelope: Envelope) -> None:
    plaintext = bytes(MAX_TEXT_LENGTH // 4 * 3 - OVERHEAD + 1)
    sealed = envelope.seal(plaintext, purpose="test")
    text = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    with pytest.raises(BadSeal):
        envelope.open_text(text, purpose="test")


def test_one_object_serves_many_threads(envelope: Envelope) -> None:
    def round_trip(number: int) -> bool:
        plaintext = str(number).encode() * 50
        purpose = f"purpose {number % 5}"
        sealed = envelope.seal(plaintext, purpose=purpose, context=str(number))
        return envelope.open(sealed, purpose=purpose, context=str(number)) == plaintext

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(round_trip, range(400)))

    assert all(results)
