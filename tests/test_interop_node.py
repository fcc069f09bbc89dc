"""Seals between this library and the JavaScript libraries themselves.

Runs where Node.js and npm are installed; the vectors cover the same ground elsewhere.
With ``CI`` in the environment a missing Node.js is a failure, not a skip.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from wsgi_authkit.seal import IronEncryption, seal, unseal

pytestmark = pytest.mark.timeout(300)  # `npm install` is part of the first test

INTEROP = Path(__file__).with_name("interop")
INSTALL_OPTIONS = ["--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]

PASSWORD = "a-password-of-more-than-32-characters"
OTHER_PASSWORD = "another-password-of-over-32-characters"
LIBRARIES = ["iron-session", "authkit-session"]
PASSWORDS = [
    pytest.param(PASSWORD, id="ascii password"),
    pytest.param("пароль-для-сессии-длиной-32-знак", id="cyrillic password"),
    pytest.param("🔑🦊🌍🚀🎉🔥💧🌱🧭🧩🪁🥁🎻🎺🎸🎷", id="16 emoji"),
]
VALUES: list[dict[str, Any]] = [
    {},
    {
        "accessToken": "header.payload.signature",
        "refreshToken": "refresh",
        "user": {"id": "user_1", "firstName": "Žofia 👩🏽‍💻", "name": None},
        "impersonator": {"email": "admin@example.test", "reason": None},
    },
    {"control": '\x00\x1f"\\/\x7f\u2028', "lone surrogate": "\ud83d|", "\udc00": 1},
    {"numbers": [0, -1, 0.1, 5e-324, 1e21, 2**53 - 1], "nested": [[[{"a": []}]]]},
    {"block edge": "x" * 100, "long": "y" * 8000},
]


@pytest.fixture(scope="session")
def interop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the script and the libraries it needs."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        skip("Node.js and npm are not installed")
    directory = tmp_path_factory.mktemp("interop") / "copy"
    shutil.copytree(INTEROP, directory, ignore=shutil.ignore_patterns("node_modules"))
    try:
        subprocess.run(
            [npm, "install", *INSTALL_OPTIONS],
            cwd=directory,
            check=True,
            capture_output=True,
            timeout=240,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as exc:
        skip(f"npm could not install the JavaScript libraries: {exc}")
    return directory


def skip(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def run(interop: Path, jobs: list[tuple[str, str, Any, dict[str, Any]]]) -> list[Any]:
    """Return what the JavaScript libraries answered to each job."""
    finished = subprocess.run(
        ["node", "interop.mjs"],
        cwd=interop,
        input=json.dumps(jobs),
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    answers: list[Any] = json.loads(finished.stdout)
    return answers


@pytest.mark.parametrize("ttl", [0, 600])
@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_sealed_here_opens_there(
    interop: Path, library: str, password: str, ttl: int
) -> None:
    encryption = IronEncryption(password)
    options = {"password": password, "ttl": ttl}

    answers = run(
        interop,
        [
            (library, "unseal", encryption.seal(value, ttl=ttl), options)
            for value in VALUES
        ],
    )

    assert answers == [{"ok": value} for value in VALUES]


@pytest.mark.parametrize("ttl", [0, 600])
@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_sealed_there_opens_here(
    interop: Path, library: str, password: str, ttl: int
) -> None:
    encryption = IronEncryption(password)
    options = {"password": password, "ttl": ttl}

    answers = run(interop, [(library, "seal", value, options) for value in VALUES])

    assert [encryption.unseal(answer["ok"]) for answer in answers] == VALUES


def test_passwords_by_id_are_rotated_as_in_iron_session(interop: Path) -> None:
    old, both = {"9": PASSWORD}, {"9": PASSWORD, "10": OTHER_PASSWORD}
    value = {"a": 1}

    sealed_there, opened_there, opened_there_by_old = run(
        interop,
        [
            ("iron-session", "seal", value, {"password": both, "ttl": 0}),
            ("iron-session", "unseal", seal(value, old), {"password": both}),
            ("iron-session", "unseal", seal(value, both), {"password": old}),
        ],
    )

    assert unseal(sealed_there["ok"], {"10": OTHER_PASSWORD}) == value
    assert opened_there == {"ok": value}
    assert opened_there_by_old == {"ok": {}}


def test_seal_with_another_password_does_not_open_there(interop: Path) -> None:
    sealed = IronEncryption(OTHER_PASSWORD).seal({"a": 1})
    options = {"password": PASSWORD}

    iron, authkit = run(
        interop, [(library, "unseal", sealed, options) for library in LIBRARIES]
    )

    assert iron == {"ok": {}}
    assert "error" in authkit


def test_seal_whose_ttl_is_over_does_not_open_there(interop: Path) -> None:
    long_ago = IronEncryption(PASSWORD, clock=lambda: 1_000_000_000.0)
    sealed = long_ago.seal({"a": 1}, ttl=600)
    options = {"password": PASSWORD}

    iron, authkit = run(
        interop, [(library, "unseal", sealed, options) for library in LIBRARIES]
    )

    assert iron == {"ok": {}}
    assert "error" in authkit
