"""The demo from end to end: real processes, real HTTP, a real sign-in page.

``examples/demo.py`` runs as ``make demo`` runs it, on free ports. The browser is a
:class:`requests.Session` that fills in the forms it is shown.
"""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.browser import Browser
from tests.demos import Demo, started, until
from tests.servers import listens
from wsgi_authkit.testing import FakeWorkOS, serve

STOPS = [
    pytest.param(signal.SIGINT, id="Ctrl-C"),
    pytest.param(signal.SIGTERM, id="terminate"),
    pytest.param(signal.SIGHUP, id="closed terminal"),
]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """The demo, ready."""
    with started(tmp_path) as running:
        until(running.is_ready)
        yield running


def claims_of(page: requests.Response) -> dict[str, str]:
    assert urlsplit(page.url).path == "/claims", page.url
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page.text)
    return {unescape(name): unescape(value) for name, value in pairs}


def test_person_signs_in_looks_around_and_signs_out(demo: Demo) -> None:
    browser = Browser()
    home = browser.open(demo.app)
    assert "/auth/sign-in" in home.text
    assert "Ada" not in home.text

    home = browser.sign_in(f"{demo.app}/auth/sign-in")
    assert urlsplit(home.url).path == "/"
    assert "Hello Ada" in home.text
    assert "Ada Lovelace" in browser.open(demo.workos).text

    protected = browser.open(f"{demo.app}/protected")
    assert "Ada Lovelace" in protected.text
    claims = claims_of(browser.open(f"{demo.app}/claims"))
    assert claims["sub"] == "user_ada"
    assert claims["permissions"] == "reports:read, reports:write, members:manage"

    home = browser.submit(protected)
    assert home.url == f"{demo.app}/"
    assert "/auth/sign-in" in home.text
    assert "Ada" not in home.text
    at_workos = browser.open(demo.workos).text
    assert "Nobody is signed in at WorkOS" in at_workos
    assert "Active sessions: 0" in at_workos
    assert "Who are you?" in browser.open(f"{demo.app}/protected").text


def test_protected_page_comes_back_after_sign_in(demo: Demo) -> None:
    page = Browser().sign_in(f"{demo.app}/protected", "user_grace")

    assert urlsplit(page.url).path == "/protected"
    assert "Grace Hopper" in page.text


def test_script_without_a_session_gets_401_from_a_protected_page(demo: Demo) -> None:
    answer = requests.get(
        f"{demo.app}/claims", headers={"Accept": "application/json"}, timeout=30
    )

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthenticated"


def test_name_of_a_person_is_escaped(demo: Demo) -> None:
    browser = Browser()
    page = browser.open(f"{demo.app}/auth/sign-up")
    names = {"first_name": "<b>Eve</b>", "last_name": "&amp;"}

    home = browser.submit(page, email="eve@example.com", action="continue", **names)

    assert "Hello &lt;b&gt;Eve&lt;/b&gt;" in home.text
    assert "<b>Eve" not in home.text


def test_pages_show_no_secret(demo: Demo) -> None:
    """The access token, the refresh token and the API key stay on the server."""
    browser = Browser()
    home = browser.sign_in(f"{demo.app}/auth/sign-in")
    pages = [
        home,
        *(browser.open(demo.app + path) for path in ("/protected", "/claims")),
    ]

    for page in pages:
        assert "eyJ" not in page.text
        assert "sk_test" not in page.text
        assert "Fe26.2" not in page.text


def test_pages_go_on_working_while_short_tokens_are_refreshed(tmp_path: Path) -> None:
    with started(tmp_path, "--access-token-lifetime=2") as demo:
        until(demo.is_ready)
        browser = Browser()
        first = current = claims_of(browser.sign_in(f"{demo.app}/claims"))
        for _ in range(2):
            old = current
            until(lambda: time.time() > int(old["exp"]))  # noqa: B023

            def renewed() -> bool:
                nonlocal current
                current = claims_of(browser.open(f"{demo.app}/claims"))
                return current["exp"] > old["exp"]  # noqa: B023

            until(renewed)

        assert (current["sub"], current["sid"]) == (first["sub"], first["sid"])
        assert "<td>refresh_token</td>" in browser.open(demo.workos).text


@pytest.mark.parametrize("number", STOPS)
def test_signal_stops_everything(demo: Demo, number: int) -> None:
    """Workers share the listening socket: a port that is free has no orphan."""
    Browser().open(demo.app)
    assert listens(demo.port)
    assert listens(demo.workos_port)

    status = demo.stop(number)

    assert status == 0
    assert not listens(demo.port)
    assert not listens(demo.workos_port)
    assert "Ctrl-C stops it." in demo.text
    assert "Traceback" not in demo.text
    assert "ERROR" not in demo.text


@pytest.mark.parametrize("taken", ["port", "workos_port"])
def test_port_that_is_taken_is_named(tmp_path: Path, taken: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with started(tmp_path, **{taken: port}) as demo:
            assert demo.process.wait(30) == 1

    assert f"Port {port}" in demo.text
    assert "is in use" in demo.text
    assert "Traceback" not in demo.text
    other = demo.workos_port if taken == "port" else demo.port
    assert not listens(other)


def test_account_in_the_environment_is_used_without_a_fake(tmp_path: Path) -> None:
    account = FakeWorkOS.with_demo_data(client_id="client_own", api_key="sk_own")
    with serve(account) as workos:
        environ = {
            "WORKOS_CLIENT_ID": "client_own",
            "WORKOS_API_KEY": "sk_own",
            "WORKOS_API_HOSTNAME": "127.0.0.1",
            "WORKOS_API_PORT": str(workos.port),
            "WORKOS_API_HTTPS": "false",
        }
        with started(tmp_path, environ=environ) as demo:
            until(demo.is_ready)
            home = Browser().sign_in(f"{demo.app}/auth/sign-in")

            assert "Hello Ada" in home.text
            assert not listens(demo.workos_port)
            assert account.count("exchange") == 1


def test_half_an_account_is_explained(tmp_path: Path) -> None:
    with started(tmp_path, environ={"WORKOS_CLIENT_ID": "client_own"}) as demo:
        assert demo.process.wait(30) == 1

    assert "api_key (WORKOS_API_KEY) is missing" in demo.text
    assert "Traceback" not in demo.text


def test_settings_without_an_account_do_not_reach_the_demo(tmp_path: Path) -> None:
    """A developer's shell may hold settings that belong to another project."""
    environ = {"WORKOS_COOKIE_DOMAIN": "example.com", "WORKOS_API_HTTPS": "maybe"}
    with started(tmp_path, environ=environ) as demo:
        until(demo.is_ready)

        assert "Hello Ada" in Browser().sign_in(f"{demo.app}/auth/sign-in").text
