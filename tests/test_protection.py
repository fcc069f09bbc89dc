"""No protected page leaks, whatever the path looks like and wherever the app stands."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, unquote_to_bytes, urlsplit

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway import Client, Response, environ, run
from tests.harness import Harness, path_of
from tests.sites import cookie_of, make_site

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:'cgi' is deprecated"),
    # wsgiref.validate knows eight of them.
    pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD"),
]

SECRET: Final = "the secret of the administrators"
#: What is free, next to which everything is protected.
FREE: Final[dict[str, Any]] = {
    "public_paths": ["/", "/about", "/public/:path*", "/file.:extension"],
    "exclude_paths": ["/static/:path*", "/assets/(.*)"],
}


def careless(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """An app that finds its page by every reading of a path that there is."""
    path = environ["PATH_INFO"]
    for _ in range(2):
        path = unquote(path)
    path = re.split("[?#\x00]", path.replace("\\", "/"))[0]
    path = re.sub(r";[^/]*", "", path)
    path = re.sub(r"[\x00-\x20\x7f-\x9f]", "", path)
    path = path.replace("\xc0\xaf", "/").replace("\xc0\xae", ".")
    path = re.sub("/+", "/", posixpath.normpath(path)).rstrip("./").lower()
    start_response("200 OK", [("Content-Type", "text/plain")])
    is_head = environ["REQUEST_METHOD"] == "HEAD"
    body = SECRET if path == "/admin" else "nothing special"
    return [] if is_head else [body.encode()]


def flask_app() -> WSGIApplication:
    app = Flask(__name__)
    app.url_map.strict_slashes = False

    def admin() -> str:
        return SECRET

    def anything(path: str = "") -> str:
        return f"nothing special at {path}"

    app.add_url_rule("/admin", "admin", admin)
    app.add_url_rule("/", "home", anything)
    app.add_url_rule("/<path:path>", "anything", anything)
    return app.wsgi_app


def ask(site: Harness, target: str, method: str = "GET", **headers: str) -> Response:
    """Send a request target as it stands, decoded as a server does."""
    path, _, query = target.partition("?")
    sent = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", **headers}
    info = unquote_to_bytes(path).decode("latin-1")
    return run(
        site.middleware,
        environ(method, headers=sent, PATH_INFO=info, QUERY_STRING=query),
    )


#: Request targets that a careless app takes for /admin.
TRICKY: Final = [
    *("/admin", "/admin/", "/Admin", "/ADMIN", "/aDmIn/"),
    *("//admin", "///admin", "/admin//", "/./admin", "/admin/.", "/admin/./"),
    *("/public/../admin", "/static/../admin", "/assets/x/../../admin", "/x/../admin"),
    *("/%61dmin", "/%61%64%6D%69%6E", "/admin%2f", "/admin%2F%2F", "/%2fadmin"),
    *("/public/%2e%2e/admin", "/public/.%2E/admin", "/public%2f..%2fadmin"),
    *("/%2561dmin", "/public/%252e%252e/admin", "/public/..%252fadmin"),
    *("/static/%252e%252e%252fadmin", "/static/..%255cadmin", "/admin%252f"),
    *("/admin.", "/admin..", "/admin/...", "/admin%20", "/admin%09"),
    *("/admin%00", "/admin%00.css", "/admin%0a", "/admin%0d%0a"),
    *("/admin;", "/admin;x=y", "/admin/;/", "/admin/.;/", "/;/admin", "/admin/x/..;/"),
    *("/public/..;/admin", "/static/..;a=b/admin", "/public/.;/../admin"),
    *("/\\admin", "/public\\..\\admin", "/static/..%5cadmin"),
    *("/admin?", "/admin?/public/x", "/admin?x=/about", "/admin%3f/public/x"),
    *("/admin#", "/admin#/about", "/admin%23/about", "/admin?#/about"),
    *("/%c0%afadmin", "/public/%c0%ae%c0%ae/admin", "/public/%c0%ae%c0%ae%c0%afadmin"),
    *("/%ff/../admin", "/admin%85"),
]

each_trick = pytest.mark.parametrize("target", TRICKY)


@each_trick
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "BREW", "get"])
def test_careless_app_is_not_called_for_a_protected_page(
    target: str, method: str
) -> None:
    site = make_site(careless, require_auth=True, **FREE)
    response = ask(site, target, method)

    assert response.status == (302 if method == "GET" else 401)
    assert SECRET not in response.text


@each_trick
def test_careless_app_is_not_called_where_only_the_page_is_protected(
    target: str,
) -> None:
    site = make_site(
        careless,
        protected_paths=["/admin/:path*"],
        exclude_paths=["/static/(.*)", "/(.*).css"],
    )

    assert SECRET not in ask(site, target).text


@each_trick
def test_careless_app_would_serve_it(target: str) -> None:
    site = make_site(careless, require_auth=True, **FREE)
    site.sign_in()

    assert ask(site, target, Cookie=cookie_of(site)).text == SECRET


@each_trick
@pytest.mark.parametrize(
    "rules",
    [
        pytest.param({"require_auth": True, **FREE}, id="all but some"),
        pytest.param(
            {"protected_paths": ["/admin/:path*"], "exclude_paths": ["/static/(.*)"]},
            id="some",
        ),
    ],
)
def test_page_of_a_flask_app_does_not_leak(target: str, rules: dict[str, Any]) -> None:
    response = ask(make_site(flask_app(), **rules), target)

    assert SECRET not in response.text


def test_page_of_a_flask_app_is_there_for_who_is_signed_in() -> None:
    site = make_site(flask_app(), protected_paths=["/admin/:path*"])
    site.sign_in()

    assert ask(site, "/admin", Cookie=cookie_of(site)).text == SECRET
    assert ask(site, "/admin/", Cookie=cookie_of(site)).text == SECRET


PIECES: Final = [
    *("admin", "Admin", "public", "static", "about", "file.x", "assets", "x", ""),
    *("/", "//", "\\", "%2f", "%5c", "%252f", ".", "..", "%2e", "%252e", "..;", ";a=b"),
    *("%00", "%0a", "%7f", "%c2%85", "%c0%af", "%ff", "?", "%3f", "#", "%23", "%20"),
    *("%61dmin", "/../", "/./", "/..;/", "%e2%80%a8", "%"),
]
CARELESS_SITE: Final = make_site(careless, require_auth=True, **FREE)


@given(st.lists(st.sampled_from(PIECES), max_size=9))
@settings(max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
def test_no_path_put_together_of_tricks_leaks(pieces: list[str]) -> None:
    assert SECRET not in ask(CARELESS_SITE, "/" + "".join(pieces)).text


@pytest.mark.parametrize(
    "headers",
    [
        {"X-HTTP-Method-Override": "GET"},
        {"X-HTTP-Method": "GET"},
        {"X-Method-Override": "GET"},
    ],
)
def test_preflight_that_is_made_a_get_further_in_does_not_leak(
    headers: dict[str, str],
) -> None:
    site = make_site(careless, require_auth=True)
    preflight = {
        "Origin": "https://elsewhere.example",
        "Access-Control-Request-Method": "GET",
    }

    assert ask(site, "/admin", "OPTIONS", **preflight).status == 200
    assert ask(site, "/admin", "OPTIONS", **preflight, **headers).status == 401


@pytest.mark.parametrize("header", ["X-Original-URL", "X-Rewrite-URL"])
def test_path_in_a_header_frees_nothing(header: str) -> None:
    site = make_site(careless, require_auth=True, **FREE)

    assert ask(site, "/admin", **{header: "/about"}).status == 302


def test_method_override_does_not_make_a_navigation_of_a_post() -> None:
    site = make_site(careless, require_auth=True)
    override = {"X-HTTP-Method-Override": "GET"}

    assert ask(site, "/admin", "POST", **override).status == 401


def test_endpoints_are_reachable_whatever_is_protected() -> None:
    site = make_site(
        careless, require_auth=True, protected_paths=["/(.*)"], exclude_paths=["/(.*)"]
    )

    assert site.sign_in(return_to="/admin").header("Location") == "/admin"
    assert site.client.get("/admin").text == SECRET
    assert site.client.get("/auth/sign-out").status == 200
    assert site.client.post("/auth/sign-out", form={}).status == 303
    assert site.client.get("/admin").status == 302


def test_other_paths_below_mount_are_judged_like_any() -> None:
    site = make_site(careless, require_auth=True, public_paths=["/auth/login"])

    assert site.client.get("/auth/login").status == 200
    assert site.client.get("/auth/other").status == 302
    assert site.client.get("/auth/sign-in/").status == 302


# Below a mount point, behind TLS termination, with a client that lies

LIES: Final[dict[str, Any]] = {
    "HTTP_HOST": "evil.example",
    "SERVER_NAME": "evil.example",
    "SERVER_PORT": "666",
    "wsgi.url_scheme": "http",
    "HTTP_X_FORWARDED_HOST": "evil.example",
    "HTTP_X_FORWARDED_PROTO": "gopher",
    "HTTP_X_FORWARDED_PORT": "666",
    "HTTP_X_FORWARDED_PREFIX": "/evil",
    "HTTP_X_FORWARDED_FOR": "6.6.6.6",
    "HTTP_X_SCRIPT_NAME": "/evil",
    "HTTP_FORWARDED": "for=6.6.6.6;host=evil.example;proto=http",
    "HTTP_X_ORIGINAL_URL": "//evil.example/",
}
#: What would show that one was believed; no seal can have these by chance.
ECHOES: Final = ("evil.example", "/evil", "gopher:", "6.6.6.6", ":666")
PUBLIC_ORIGIN: Final = "https://app.example.com"


@pytest.fixture
def mounted() -> Client:
    """Return a browser on a site that is mounted at /app, and nobody is told so."""
    site = make_site(
        careless,
        settings={"redirect_uri": f"{PUBLIC_ORIGIN}/app/callback"},
        protected_paths=["/admin/:path*"],
        public_paths=[],
    )
    client = Client(
        site.middleware, base=PUBLIC_ORIGIN, script_name="/app", clock=site.clock
    )
    client.workos = site.workos  # type: ignore[attr-defined]
    client.user = site.ada  # type: ignore[attr-defined]
    return client


def lied_to(client: Client, method: str, url: str, **options: Any) -> Response:
    """Send a request full of lies; none of them may come back."""
    response = client.request(method, url, extra=LIES, **options)
    echoes = [*(value for _, value in response.headers), response.text]
    assert not [text for text in echoes if any(lie in text for lie in ECHOES)]
    return response


def test_round_trip_below_a_mount_point_believes_no_lie(mounted: Client) -> None:
    start = lied_to(mounted, "GET", "/app/admin?x=1")
    assert start.status == 302
    sign_in = start.header("Location") or ""
    assert sign_in == "/app/auth/sign-in?return_to=%2Fapp%2Fadmin%3Fx%3D1"

    location = lied_to(mounted, "GET", sign_in).header("Location") or ""
    query = parse_qs(urlsplit(location).query)
    assert query["redirect_uri"] == [f"{PUBLIC_ORIGIN}/app/callback"]

    callback = mounted.workos.authorize(  # type: ignore[attr-defined]
        location,
        mounted.user,  # type: ignore[attr-defined]
    )
    finished = lied_to(mounted, "GET", path_of(callback), cross_site=True)
    assert finished.header("Location") == "/app/admin?x=1"
    assert all("; Secure" in cookie for cookie in finished.set_cookies)

    assert lied_to(mounted, "GET", "/app/admin?x=1").text == SECRET
    left = lied_to(mounted, "POST", "/app/auth/sign-out", form={})
    assert left.status == 303
    assert lied_to(mounted, "GET", "/app/admin").status == 302


def test_script_below_a_mount_point_is_told_the_path_of_sign_in(
    mounted: Client,
) -> None:
    response = lied_to(mounted, "GET", "/app/admin", fetch=True)

    assert response.status == 401
    assert response.json()["signInUrl"] == "/app/auth/sign-in"


def test_htmx_below_a_mount_point_comes_back_to_its_page(mounted: Client) -> None:
    headers = {
        "HX-Request": "true",
        "HX-Current-URL": f"{PUBLIC_ORIGIN}/app/list?page=2",
    }
    response = lied_to(mounted, "GET", "/app/admin", fetch=True, headers=headers)

    assert response.header("HX-Redirect") == (
        "/app/auth/sign-in?return_to=%2Fapp%2Flist%3Fpage%3D2"
    )


def test_rules_are_about_the_path_below_the_mount_point(mounted: Client) -> None:
    assert mounted.get("/app/").status == 200
    assert mounted.get("/app/app/admin").status == 200
    assert mounted.get("/app/admin/users").status == 302


def test_mount_point_itself_is_the_path_of_the_home_page() -> None:
    site = make_site(
        careless,
        settings={"redirect_uri": f"{PUBLIC_ORIGIN}/app/callback"},
        require_auth=True,
        public_paths=["/"],
    )
    client = Client(site.middleware, base=PUBLIC_ORIGIN, script_name="/app")

    assert client.get("/app").status == 200
    assert client.get("/app/x").status == 302
