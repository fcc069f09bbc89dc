"""``examples/composed_middleware.py`` from end to end: a process, HTTP, a browser."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.browser import Browser
from tests.demos import ROOT, until
from tests.servers import free_port

EXAMPLE = ROOT / "examples" / "composed_middleware.py"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The origin of the running example."""
    port = free_port()
    output = tmp_path / "output.txt"
    with (
        output.open("wb") as stream,
        subprocess.Popen(
            [
                *(sys.executable, str(EXAMPLE)),
                *(f"--port={port}", f"--workos-port={free_port()}"),
            ],
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process,
    ):
        try:
            until(lambda: has_started(process, output))
            yield f"http://localhost:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(30)
    assert status == 0, output.read_text("utf-8")


def has_started(process: subprocess.Popen[bytes], output: Path) -> bool:
    """Say whether the example serves; one that has ended fails the test."""
    text = output.read_text("utf-8")
    assert process.poll() is None, text
    return "Open http://" in text


def test_person_signs_in_through_the_composed_middleware(site: str) -> None:
    browser = Browser()
    assert "Nobody is signed in." in browser.open(f"{site}/").text
    assert browser.http.cookies.get_dict() == {}

    page = browser.sign_in(f"{site}/account?tab=1")

    assert page.url == f"{site}/account?tab=1"
    assert "Your account" in page.text
    assert "Signed in as ada@" in page.text
    hops = [urlsplit(answer.url).path for answer in page.history]
    assert "/auth/sign-in" not in hops

    home = browser.submit(page)
    assert "Nobody is signed in." in home.text


@pytest.mark.parametrize(
    "path", ["/Account/", "/%2561ccount", "/account;x", "//account"]
)
def test_page_is_protected_however_its_path_is_read(site: str, path: str) -> None:
    answer = requests.get(f"{site}{path}", allow_redirects=False, timeout=30)

    assert answer.status_code == 302
    assert "/user_management/authorize" in answer.headers["Location"]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}),
        ("POST", {"Accept": "application/json"}),
    ],
)
def test_script_gets_401_and_no_flow(
    site: str, method: str, headers: dict[str, str]
) -> None:
    answer = requests.request(
        method, f"{site}/account", headers=headers, allow_redirects=False, timeout=30
    )

    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
