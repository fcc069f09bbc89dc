"""The filter in ini files, loaded by PasteDeploy itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
from paste.deploy import loadapp

from tests.gateway import Client
from tests.harness import PASSWORD, path_of
from wsgi_authkit import (
    AuthKitConfig,
    AuthKitMiddleware,
    ConfigurationError,
    SignInEvent,
)
from wsgi_authkit.paste import filter_app
from wsgi_authkit.stores import MemoryStore
from wsgi_authkit.testing import Clock, FakeWorkOS

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

SETTINGS = f"""\
client_id = client_test
api_key = sk_test_fake
redirect_uri = http://localhost:8000/callback
cookie_password = {PASSWORD}
"""

# What the ini files name.
clock = Clock()
fake = FakeWorkOS(clock=clock)
http = fake.session()
store = MemoryStore(clock)
signed_in: list[SignInEvent] = []


def on_success(event: SignInEvent) -> None:
    signed_in.append(event)


def show_user(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    session = environ["authkit.session"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [(session.user.email if session else "nobody").encode()]


def make_app(global_conf: dict[str, str]) -> WSGIApplication:
    return show_user


Load = Callable[[str], Any]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load an app behind a filter section with these lines."""

    def load_lines(lines: str) -> Any:
        ini = tmp_path / "site.ini"
        ini.write_text(
            "[app:site]\n"
            f"use = call:{__name__}:make_app\n"
            "[filter:authkit]\n"
            "use = egg:wsgi-authkit\n"
            f"{lines}\n"
            "[pipeline:main]\n"
            "pipeline = authkit site\n"
        )
        return loadapp(f"config:{ini}")

    return load_lines


def problems_of(load: Load, lines: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load(lines)
    return caught.value.problems


def test_app_behind_the_filter_signs_people_in(load: Load) -> None:
    lines = "".join(
        f"{name} = {__name__}:{name}\n"
        for name in ("clock", "http", "store", "on_success")
    )
    client = Client(load(SETTINGS + lines), clock=clock)

    assert client.get("/").body == b"nobody"
    to_workos = client.get("/auth/sign-in").header("Location")
    assert to_workos is not None
    callback = path_of(fake.authorize(to_workos, "ada@example.com"))
    assert client.get(callback, cross_site=True).status == 303
    assert client.get("/").body == b"ada@example.com"
    assert [event.user.email for event in signed_in] == ["ada@example.com"]


def test_text_becomes_what_each_option_is(load: Load) -> None:
    app = load(
        f"{SETTINGS}"
        "mount = /login\n"
        "base_url = https://app.example.com\n"
        "allowed_return_urls =\n"
        "    https://one.example/\n"
        "    # a comment\n"
        "    https://two.example/\n"
        "allowed_origins =\n"
        "    https://shop.example\n"
        "    http://localhost:5173\n"
        "refresh_buffer = 2.5\n"
        "session_cache_size = 99\n"
        "revocation_check = 30\n"
        "debug = no\n"
        "cookie_max_age = 3600\n"
        "api_https = off\n"
        "api_hostname = localhost\n"
        "allow_insecure = true\n"
        "previous_cookie_passwords =\n"
        f"    {PASSWORD} of last year\n"
        f"    {PASSWORD} of the year before\n"
        "issuer = one, two\n"
    )
    assert isinstance(app, AuthKitMiddleware)
    config, options = app.service.config, app._options

    assert options.mount == "/login"
    assert options.base_url == "https://app.example.com"
    assert options.allowed_return_urls == (
        "https://one.example/",
        "https://two.example/",
    )
    assert options.allowed_origins == ("https://shop.example", "http://localhost:5173")
    assert options.refresh_buffer == 2.5
    assert options.session_cache_size == 99
    assert options.revocation_check == 30
    assert options.debug is False
    assert config.cookie_max_age == 3600
    assert config.api_https is False
    assert config.allow_insecure is True
    assert config.previous_cookie_passwords == (
        f"{PASSWORD} of last year",
        f"{PASSWORD} of the year before",
    )
    assert config.issuers == ("one", "two")


def test_lists_of_paths_protect_the_app(load: Load) -> None:
    client = Client(
        load(
            f"{SETTINGS}"
            "require_auth = true\n"
            "public_paths =\n"
            "    /\n"
            "    /about/:page*\n"
            "api_paths = /api/:path*\n"
        )
    )

    assert client.get("/").body == b"nobody"
    assert client.get("/about/us").body == b"nobody"
    assert client.get("/reports").status == 302
    assert client.get("/api/reports").status == 401


def test_environment_wins_over_the_file(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKOS_CLIENT_ID", "client_of_the_deployment")

    app = load(SETTINGS)

    assert app.service.config.client_id == "client_of_the_deployment"


def test_environment_alone_is_enough(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKOS_CLIENT_ID", "client_test")
    monkeypatch.setenv("WORKOS_API_KEY", "sk_test_fake")
    monkeypatch.setenv("WORKOS_REDIRECT_URI", "https://app.example.com/callback")
    monkeypatch.setenv("WORKOS_COOKIE_PASSWORD", PASSWORD)

    assert load("").service.config.redirect_uri == "https://app.example.com/callback"


def choose_redirect_uri(environ: WSGIEnvironment) -> str:
    return "http://localhost:8001/callback"


def test_redirect_uri_may_be_a_callable_with_its_list(load: Load) -> None:
    app = load(
        f"client_id = client_test\napi_key = sk_test_fake\n"
        f"cookie_password = {PASSWORD}\n"
        f"redirect_uri = {__name__}:choose_redirect_uri\n"
        "allowed_redirect_uris =\n"
        "    http://localhost:8000/callback\n"
        "    http://localhost:8001/callback\n"
    )
    response = Client(app).get("/auth/sign-in")

    assert "localhost%3A8001" in (response.header("Location") or "")
    with pytest.raises(ConfigurationError, match="allowed_redirect_uris"):
        load(f"redirect_uri = {__name__}:choose_redirect_uri")


def test_every_problem_is_told_at_once(load: Load) -> None:
    problems = problems_of(
        load,
        "client_id = client_test\n"
        "cookie_password = too short\n"
        "redirect_uri = http://localhost:8000/callback\n"
        "cookie_max_age = long\n"
        "debgu = true\n"
        "mount = auth\n"
        "store = memcached://localhost\n"
        "on_success = nowhere.at.all:hook\n",
    )

    begins = {problem.split()[0] for problem in problems}
    assert begins == {
        *("api_key", "cookie_password", "cookie_max_age", "debgu", "mount", "store"),
        "on_success",
    }
    assert len(problems) == 7
    assert "too short" not in "".join(problems)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param("debgu = true", "debgu .* did you mean debug[?]", id="option"),
        pytest.param(
            "Client_ID = x", "Client_ID .* did you mean client_id[?]", id="case"
        ),
        pytest.param(
            "colour = red", "colour is not an option; there are .*mount", id="far off"
        ),
        pytest.param("app = x", "app is not an option", id="name of a parameter"),
        pytest.param("debug = maybe", "debug must be one of true", id="truth value"),
        pytest.param(
            "require_auth =", "require_auth must be one of true", id="not said"
        ),
        pytest.param(
            "public_paths = /a?b", "public_paths", id="pattern that cannot work"
        ),
        pytest.param("debug =", "debug must be one of true", id="empty"),
        pytest.param(
            "refresh_buffer = 1e3", "refresh_buffer must be a number", id="number"
        ),
        pytest.param("api_port = 8o", "api_port must be a whole number", id="port"),
        pytest.param(
            "on_success = myapp.remember",
            "on_success must name an object, such as myapp.auth:remember",
            id="name without a colon",
        ),
        pytest.param(
            "on_error = nowhere.at.all:hook",
            "on_error cannot be imported: No module named 'nowhere'",
            id="module that is not there",
        ),
        pytest.param(
            "on_error = wsgi_authkit:hook",
            "on_error cannot be imported: .* has no attribute 'hook'",
            id="attribute that is not there",
        ),
        pytest.param(
            "on_error = wsgi_authkit:__all__",
            "on_error must be callable",
            id="object of another kind",
        ),
        pytest.param(
            "session_storage = database",
            "session_storage must be ",
            id="neither word nor object",
        ),
    ],
)
def test_entry_that_cannot_work_is_refused(load: Load, line: str, problem: str) -> None:
    [told] = problems_of(load, f"{SETTINGS}{line}\n")

    assert re.match(problem, told), told


def test_section_of_the_readme_lacks_only_what_the_environment_has(
    tmp_path: Path,
) -> None:
    readme = (Path(__file__).parents[1] / "README.rst").read_text("utf-8")
    [block] = re.findall(r"code-block:: ini\n\n((?:    .*\n|\n)+)", readme)
    ini = tmp_path / "site.ini"
    ini.write_text(f"{dedent(block)}\n[app:myapp]\nuse = call:{__name__}:make_app\n")

    with pytest.raises(ConfigurationError) as caught:
        loadapp(f"config:{ini}")

    missing = {problem.split()[0] for problem in caught.value.problems}
    assert missing == {"client_id", "api_key", "cookie_password", "on_success"}


def test_secrets_of_the_file_are_not_in_the_error(load: Load) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(f"{SETTINGS}webhook_secret = very\x7fsecret\ndebug = x-secret\n")

    assert "secret" not in str(caught.value).replace("webhook_secret", "")


def test_section_of_defaults_is_not_read() -> None:
    """``[DEFAULT]`` belongs to the whole file: its ``debug`` is another's."""
    lines = (line.partition(" = ") for line in SETTINGS.splitlines())
    settings = {name: text for name, _, text in lines}

    app = filter_app(show_user, {"debug": "true", "unknown": "x"}, **settings)

    assert app._options.debug is False


def test_every_option_of_the_middleware_can_stand_in_the_file() -> None:
    parameters = inspect.signature(AuthKitMiddleware).parameters.values()
    options = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    settings = {setting.name for setting in fields(AuthKitConfig)}

    with pytest.raises(ConfigurationError) as caught:
        filter_app(show_user, {}, zzz="")

    known = caught.value.problems[0].partition("there are ")[2].split(", ")
    assert set(known) == options | settings
