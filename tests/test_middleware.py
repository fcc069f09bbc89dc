"""The middleware end to end."""

from __future__ import annotations

from tests.harness import Harness


def test_signed_in_user_is_known_on_the_next_request(harness: Harness) -> None:
    assert harness.sign_in(return_to="/welcome").header("Location") == "/welcome"

    assert harness.who()["user"] == "ada@example.com"
