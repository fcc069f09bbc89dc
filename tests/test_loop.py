from __future__ import annotations

import json

import pytest

from wsgi_authkit.envelope import Envelope
from wsgi_authkit.loop import MARKER_LIFETIME, Marker, dump_marker, read_marker

NOW = 1_800_000_000.0
ENVELOPE = Envelope(["a cookie password for the tests, long enough"])


def sealed(fields: object, purpose: str = "marker") -> str:
    return ENVELOPE.seal_text(json.dumps(fields).encode(), purpose=purpose)


FIELDS = {"at": NOW, "finished": True, "starts": 2, "stateless": False}


@pytest.mark.parametrize(
    "marker",
    [
        pytest.param(Marker(at=NOW), id="plain"),
        pytest.param(Marker(at=NOW, finished=True), id="sign-in finished"),
        pytest.param(Marker(at=NOW, finished=True, starts=2), id="starts counted"),
        pytest.param(Marker(at=NOW, stateless=True), id="callback without state"),
    ],
)
def test_marker_comes_back_as_it_was_left(marker: Marker) -> None:
    value = dump_marker(ENVELOPE, marker)

    assert read_marker(ENVELOPE, [value], NOW) == marker


def test_third_start_is_a_loop() -> None:
    loops = [Marker(at=NOW, finished=True, starts=n).is_loop for n in range(5)]

    assert loops == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("age", "counts"),
    [
        pytest.param(0, True, id="new"),
        pytest.param(MARKER_LIFETIME, True, id="as old as it may be"),
        pytest.param(MARKER_LIFETIME + 1, False, id="too old"),
        pytest.param(-1, False, id="from the future"),
    ],
)
def test_marker_counts_for_a_minute(age: float, counts: bool) -> None:
    """The browser drops the cookie by its own clock, which may be anything."""
    value = dump_marker(ENVELOPE, Marker(at=NOW))

    assert (read_marker(ENVELOPE, [value], NOW + age) is not None) is counts


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param(json.dumps(FIELDS), id="clear text"),
        pytest.param("\udcff\udcfe", id="bytes"),
        pytest.param(sealed(FIELDS, "request"), id="sealed for another purpose"),
        pytest.param(
            Envelope(["another password, that is long enough"]).seal_text(
                json.dumps(FIELDS).encode(), purpose="marker"
            ),
            id="another password",
        ),
        pytest.param(sealed([]), id="a list"),
        pytest.param(sealed({"at": NOW}), id="fields missing"),
        pytest.param(sealed({**FIELDS, "at": "soon"}), id="no time"),
        pytest.param(sealed({**FIELDS, "at": float("nan")}), id="not a number"),
        pytest.param(sealed({**FIELDS, "starts": None}), id="no count"),
    ],
)
def test_other_value_is_no_marker(value: str) -> None:
    assert read_marker(ENVELOPE, [value], NOW) is None


def test_the_same_fields_sealed_as_a_marker_are_one() -> None:
    """What the refused values above differ from."""
    expected = Marker(at=NOW, finished=True, starts=2)

    assert read_marker(ENVELOPE, [sealed(FIELDS)], NOW) == expected


def test_planted_marker_does_not_hide_the_real_one() -> None:
    real = dump_marker(ENVELOPE, Marker(at=NOW))

    assert read_marker(ENVELOPE, ["planted", real], NOW) == Marker(at=NOW)
