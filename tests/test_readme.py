"""What the README and the documents in ``docs/`` say is what the code does."""

from __future__ import annotations

import ast
import inspect
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any, get_args, get_type_hints
from urllib.parse import quote

import pytest
from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix

import wsgi_authkit
from tests import gateway
from tests.gateway import Client
from tests.harness import PASSWORD, show_session
from tests.sites import expired, make_site, navigation
from tests.test_layering import LAYERS, PACKAGE
from wsgi_authkit import (
    AnonymousSession,
    APIKey,
    Auth,
    AuthKitConfig,
    AuthKitMiddleware,
    AuthKitService,
    AuthorizationError,
    RefreshOutcome,
    Session,
    SignInEvent,
    User,
)
from wsgi_authkit.authorization import AuthorizationOptions
from wsgi_authkit.config import ENVIRON_NAMES
from wsgi_authkit.endpoints import MOUNTED
from wsgi_authkit.session import Reason
from wsgi_authkit.testing import FakeWorkOS

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.rst").read_text("utf-8")
DOCUMENTS = {path.name: path.read_text("utf-8") for path in ROOT.glob("docs/*.rst")}
TEXTS = [README, *DOCUMENTS.values()]
ENVIRON = {
    "WORKOS_CLIENT_ID": "client_test",
    "WORKOS_API_KEY": "sk_test_fake",
    "WORKOS_REDIRECT_URI": "http://localhost:8000/callback",
    "WORKOS_COOKIE_PASSWORD": PASSWORD,
}


def python_blocks() -> list[str]:
    """Return the Python code of all documents."""
    pattern = r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)"
    return [
        dedent(block)
        for text in TEXTS
        for block in re.findall(pattern, text, re.MULTILINE)
    ]


def block_with(text: str) -> str:
    [block] = [block for block in python_blocks() if text in block]
    return block


def run(block: str) -> dict[str, Any]:
    """Execute a block of the documents and return what it defines."""
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(block, "a document", "exec"), names)
    return names


def section(title: str) -> str:
    """Return the text under a heading, which only one document has."""
    heading = re.compile(r"^(\S.*)\n(?:-{3,}|={3,})\n", re.MULTILINE)
    parts = [heading.split(text) for text in TEXTS]
    [text] = [
        text
        for each in parts
        for name, text in zip(each[1::2], each[2::2], strict=True)
        if name == title
    ]
    return str(text)


def cells(text: str, column: int = 0) -> list[str]:
    """Return what stands in double backquotes in a column of its list tables."""
    found = []
    for row in re.split(r"^   \* - ", text, flags=re.MULTILINE)[1:]:
        row = re.split(r"\n\S", row, maxsplit=1)[0]
        cell = re.split(r"^     - ", row, flags=re.MULTILINE)[column]
        found += re.findall(r"``(.+?)``", cell)
    return found


def names_in(text: str, column: int = 0) -> list[str]:
    """Return the names among :func:`cells`, functions without their arguments."""
    return [cell.partition("(")[0] for cell in cells(text, column)]


def public_attributes(*classes: type) -> set[str]:
    return {name for cls in classes for name in dir(cls) if not name.startswith("_")}


@pytest.fixture
def _environ(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("block", python_blocks(), ids=lambda block: block[:30])
def test_python_code_compiles(block: str) -> None:
    assert ast.parse(block).body


@pytest.mark.parametrize("block", python_blocks(), ids=lambda block: block[:30])
@pytest.mark.usefixtures("_environ")
def test_python_code_runs(block: str) -> None:
    assert run(block)


def test_every_code_block_is_found() -> None:
    declared = [text.count(".. code-block:: python\n") for text in TEXTS]

    assert len(python_blocks()) == sum(declared)
    assert declared[0] >= 6


@pytest.mark.usefixtures("_environ")
def test_quick_start_shows_a_link_to_sign_in() -> None:
    app = run(block_with('return f"Hello'))["app"]

    page = Client(app).get("/")

    assert page.status == 200
    assert 'href="/auth/sign-in"' in page.body.decode()


def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


@pytest.mark.usefixtures("_environ")
def test_paths_are_protected_by_a_list() -> None:
    client = Client(
        run(block_with('protected_paths=["/account/:path*", '))["wrap"](hello)
    )

    assert [
        client.get(path).status for path in ("/admin/x", "/Admin/", "/account")
    ] == [*(302, 302, 302)]
    assert [client.get(path).status for path in ("/", "/static/x.css")] == [200, 200]


@pytest.mark.usefixtures("_environ")
def test_all_paths_but_some_are_protected() -> None:
    client = Client(run(block_with("def wrap_all"))["wrap_all"](hello))
    public = ("/", "/about", "/docs", "/docs/a/b", "/static/x.css", "/health")

    assert {client.get(path).status for path in public} == {200}
    assert client.get("/about/").status == 302
    assert client.get("/api/users").status == 401
    assert client.get("/join").header("Location") == ("/auth/sign-up?return_to=%2Fjoin")


@pytest.mark.usefixtures("_environ")
def test_abort_of_a_view_asks_to_sign_in() -> None:
    app = run(block_with("abort(401)"))["app"]

    assert Client(app).get("/reports").status == 302
    assert Client(app).get("/reports", fetch=True).status == 401


@pytest.mark.usefixtures("_environ")
def test_protected_view_asks_to_sign_in() -> None:
    app = run(block_with('return f"Hello'))["app"]
    signed_in = run(block_with("def signed_in"))["signed_in"]
    app.add_url_rule("/reports", view_func=signed_in(lambda: "the reports"))

    answer = Client(app).get("/reports")

    assert answer.status == 302
    assert answer.header("Location") == "/auth/sign-in?return_to=%2Freports"


@pytest.mark.usefixtures("_environ")
def test_abort_of_bottle_asks_to_sign_in() -> None:
    application = run(block_with("from bottle import"))["application"]

    assert Client(application).get("/reports").status == 302
    assert Client(application).get("/reports", fetch=True).status == 401


@pytest.mark.usefixtures("_environ")
def test_plain_wsgi_app_asks_to_sign_in() -> None:
    application = run(block_with("def application"))["application"]

    answer = Client(AuthKitMiddleware(application)).get("/reports")

    assert answer.status == 302


@pytest.mark.usefixtures("_environ")
def test_composed_middleware_sends_account_pages_to_workos() -> None:
    wrap = run(block_with("class AccountPages"))["wrap"]
    answer = Client(wrap(lambda *_: [])).get("/account")

    assert (answer.header("Location") or "").startswith("https://api.workos.com/")
    assert len(answer.set_cookies) == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *(("/account", 302), ("/Account/", 302), ("/account/a", 302)),
        *(("/%61ccount", 302), ("/account%2fa", 302), ("/account;x", 302)),
        *(("/", 200), ("/accounts", 200)),
    ],
)
def test_composed_middleware_knows_its_pages(path: str, status: int) -> None:
    pages = run(block_with("class AccountPages"))["AccountPages"]
    site = make_site(pages(show_session))

    assert gateway.run(site.middleware, navigation(PATH_INFO=path)).status == status


def test_composed_middleware_sends_nobody_to_workos_while_it_is_down() -> None:
    pages = run(block_with("class AccountPages"))["AccountPages"]
    site = make_site(pages(show_session))
    cookie = expired(site)
    site.workos.down()
    answer = gateway.run(site.middleware, navigation(cookie, path="/account"))

    assert answer.status == 503
    assert answer.header("Location") is None


@pytest.mark.usefixtures("_environ")
@pytest.mark.parametrize(
    "base", ["http://localhost:8000", "https://pr-41.preview.example.com"]
)
def test_previews_use_their_own_redirect_uri(base: str) -> None:
    wrap = run(block_with("REDIRECT_URIS = "))["wrap"]
    answer = Client(wrap(lambda *_: []), base=base).get("/auth/sign-in")

    assert quote(f"{base}/callback", safe="") in (answer.header("Location") or "")


@pytest.mark.usefixtures("_environ")
def test_hook_answers_a_cancelled_sign_in() -> None:
    wrap = run(block_with("on_error=explain"))["wrap"]
    client = Client(wrap(lambda *_: []))

    assert b"extension 42" in client.get("/callback?error=access_denied").body
    assert b"extension 42" not in client.get("/callback").body


@pytest.mark.usefixtures("_environ")
def test_proxy_fix_is_outside() -> None:
    app = run(block_with("ProxyFix("))["app"]

    assert isinstance(app.wsgi_app, ProxyFix)
    assert isinstance(app.wsgi_app.app, AuthKitMiddleware)


@pytest.mark.usefixtures("_environ")
def test_service_knows_that_nobody_is_there() -> None:
    who = run(block_with("AuthKitService("))["who"]

    assert who(None) == ("nobody", [])


def test_example_of_a_test_passes() -> None:
    names = run(block_with("FakeWorkOS(clock=clock)"))
    test: Callable[[], None] = names["test_profile_shows_the_first_name"]

    test()


def test_every_setting_is_documented() -> None:
    text = section("Settings")
    settings = [setting.name for setting in fields(AuthKitConfig)]

    assert sorted(names_in(text)) == sorted(settings)
    variables = [name for names in ENVIRON_NAMES.values() for name in names]
    assert sorted(names_in(text, 1)) == sorted(variables)


def test_every_option_is_documented() -> None:
    parameters = inspect.signature(AuthKitMiddleware).parameters.values()
    options = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]

    assert sorted(names_in(section("Options"))) == sorted(options)


def test_default_of_every_option_is_the_documented_one() -> None:
    parameters = inspect.signature(AuthKitMiddleware).parameters
    rows = re.split(r"^   \* - ", section("Options"), flags=re.MULTILINE)[2:]
    # The default of redirect_uri is the setting, in words.
    named = (re.findall(r"``(.+?)``", row)[:2] for row in rows)
    documented = dict(pair for pair in named if pair[0] != "redirect_uri")

    assert eval(documented.pop("clock"), {"time": time}) is parameters["clock"].default
    for name, default in documented.items():
        assert ast.literal_eval(default) == parameters[name].default


def test_every_attribute_of_a_session_is_documented() -> None:
    table, reasons = section("The session").split("Reasons:")
    attributes = public_attributes(Session, AnonymousSession)

    assert set(names_in(table)) == attributes
    assert set(names_in(reasons)) == set(get_args(Reason))
    for user_field in fields(User):
        assert f"``{user_field.name}``" in table


def test_every_method_of_the_handle_is_documented() -> None:
    """Those that the middleware and the endpoints share are not for apps."""
    documented = set(names_in(section("The handle")))

    assert documented == public_attributes(Auth)
    for option in fields(AuthorizationOptions):
        assert f"``{option.name}``" in section("The handle")


def test_every_endpoint_is_documented() -> None:
    errors = section("When a sign-in fails")

    assert sorted(cells(section("Endpoints"))) == sorted(
        f"/auth{path}" for path in MOUNTED
    )
    codes = re.findall(
        r"``(\w+)``", (AuthorizationError.__doc__ or "").partition("Codes:")[2]
    )
    assert codes
    assert sorted(names_in(errors)) == sorted(codes)


def test_every_kind_of_outcome_is_documented() -> None:
    kinds = get_args(get_type_hints(RefreshOutcome)["kind"])

    assert cells(section("Organizations")) == ["kind", *(f'"{kind}"' for kind in kinds)]
    for name in ("session", "url", "reason", "retry_after"):
        assert f"``{name}``" in section("Organizations")


def test_everything_of_an_api_key_is_documented() -> None:
    for name in public_attributes(APIKey):
        assert f"``{name}" in section("API keys")


@pytest.mark.usefixtures("_environ")
def test_examples_of_the_handle_work() -> None:
    fake = FakeWorkOS()
    acme = fake.add_organization("Acme", id="org_acme")
    ada = fake.add_user("ada@example.com", password="pw")
    fake.add_membership(ada, acme)
    fake.add_api_key("sk_good", acme, permissions=["reports:read"])
    fake.add_api_key("sk_poor", acme)
    sign_in = run(block_with("def sign_in(auth"))["sign_in"]
    app = Flask("readme")
    app.add_url_rule(
        "/sign-in",
        view_func=lambda: sign_in(
            request.environ["authkit"], "ada@example.com", request.args["password"]
        ),
    )
    for name, method in [("switch", "POST"), ("delete_account", "GET")]:
        view = run(block_with(f"def {name}():"))[name]
        app.add_url_rule(f"/{name}", view_func=view, methods=[method])
    app.add_url_rule(
        "/reports", view_func=run(block_with("validate_api_key()"))["reports"]
    )

    wrapped = AuthKitMiddleware(app, http=fake.session(), store="memory:")
    client = Client(wrapped)
    assert client.get("/sign-in?password=wrong").text == "invalid_credentials"
    assert client.get("/sign-in?password=pw").text == "signed in"
    switched = client.post("/switch", form={"organization": "org_acme"})
    assert (switched.status, switched.header("Location")) == (303, "/")

    def status(key: str) -> int:
        return client.get("/reports", headers={"Authorization": f"Bearer {key}"}).status

    assert [status(key) for key in ("sk_good", "sk_poor", "sk_bad")] == [200, 403, 401]
    fake.down()
    assert status("sk_new") == 503
    fake.recover()
    fake.extra_claims["auth_time"] = 0
    client.post("/switch", form={"organization": "org_acme"})
    stale = client.get("/delete_account")
    assert (stale.header("Location") or "").startswith("/auth/sign-in?")


def test_every_field_of_a_sign_in_event_is_documented() -> None:
    for event_field in fields(SignInEvent):
        assert f"``{event_field.name}``" in section("Hooks")


def test_every_method_of_the_service_is_documented() -> None:
    text = section("Without WSGI")
    methods = {
        name
        for name, member in inspect.getmembers(AuthKitService, inspect.isfunction)
        if not name.startswith("_")
    }
    internal = {"peek_flow", "session_ids"}

    missing = {name for name in methods - internal if f"{name}``" not in text}
    assert missing == {"with_auth"}  # it is in the example
    assert "service.with_auth(" in text


def test_names_that_are_imported_are_public() -> None:
    imported = {
        alias.name
        for block in python_blocks()
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module == "wsgi_authkit"
        for alias in node.names
    }

    assert imported
    assert imported <= set(wsgi_authkit.__all__)


def test_documents_that_are_named_exist() -> None:
    named = {
        name
        for text in TEXTS
        for name in re.findall(r"\b(?:docs|examples)/[\w/-]+\.\w+|\b[A-Z]+\.rst", text)
    }

    assert {"docs/requests.rst", "SECURITY.rst"} <= named
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_readme_links_to_every_document() -> None:
    links = set(re.findall(r"<docs/([\w-]+\.rst)>`_", section("More documentation")))

    assert links == set(DOCUMENTS)


def test_architecture_describes_every_layer() -> None:
    text = (ROOT / "docs" / "architecture.rst").read_text("utf-8")
    rows = re.findall(r"^   \* - (\d)\n     - (.*?)\n     - ", text, re.M | re.S)
    documented = {
        (int(number), name)
        for number, modules in rows
        for name in re.findall(r"``(\w+)", modules)
    }

    known = {(number, name) for number, names in enumerate(LAYERS) for name in names}
    package = ROOT / PACKAGE
    present = {
        (number, name)
        for number, name in known
        if (package / f"{name}.py").exists() or (package / name).is_dir()
    }
    assert present <= documented <= known
