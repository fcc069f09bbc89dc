"""Visitors behind one shared cache: none gets another's page or cookie."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final
from wsgiref.validate import validator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway import Client, Header, Response
from tests.harness import Harness, path_of
from tests.shared_cache import HEURISTIC, SharedCache, is_from_cache
from tests.sites import EXPIRED, EXPIRING, make_site
from wsgi_authkit import Auth

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

URL: Final = "http://localhost:8000/"

#: What apps, and those who set up their CDN, send with every response.
CARELESS: Final = [
    pytest.param([], id="nothing"),
    pytest.param([("Cache-Control", "public, max-age=600")], id="public"),
    pytest.param([("cache-control", "s-maxage=600")], id="s-maxage"),
    pytest.param(
        [("Cache-Control", "max-age=600"), ("Cache-Control", "public")], id="two"
    ),
    pytest.param([("Expires", "Thu, 01 Jan 2099 00:00:00 GMT")], id="Expires"),
    pytest.param([("CDN-Cache-Control", "max-age=600")], id="CDN-Cache-Control"),
    pytest.param(
        [("Example-CDN-Cache-Control", "public, max-age=600")], id="a CDN's own"
    ),
    pytest.param([("Surrogate-Control", "max-age=600")], id="Surrogate-Control"),
    pytest.param([("EDGE-CONTROL", "max-age=600")], id="Edge-Control"),
    pytest.param([("X-Accel-Expires", "600")], id="X-Accel-Expires"),
    pytest.param(
        [("ETag", '"1"'), ("Cache-Control", "public, max-age=5")], id="validator"
    ),
    pytest.param([("Vary", "Accept"), ("Cache-Control", "public")], id="Vary"),
]
PUBLIC: Final = [("Cache-Control", "public, max-age=600")]


def greeting(headers: list[Header]) -> WSGIApplication:
    """Return an app that greets by name, with the same headers for everybody."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, auth = environ["PATH_INFO"], environ["authkit"]
        if path == "/end":
            end(auth)
        elif path == "/start":
            start(auth, environ["tests.answer"])
        if environ.get("HTTP_IF_NONE_MATCH"):
            start_response("304 Not Modified", list(headers))
            return []
        session = environ["authkit.session"]
        start_response("200 OK", [("Content-Type", "text/plain"), *headers])
        return [session.user.email.encode() if session else b"nobody"]

    return app


def start(auth: Auth, answer: Any) -> None:
    """Start a session as an app of one's own forms does."""
    auth.save_session(answer)


def end(auth: Auth) -> None:
    """End the session, without WorkOS."""
    auth.clear_session()


class Street:
    """A site, the cache in front of it, and those who come by."""

    def __init__(self, headers: list[Header], **options: Any) -> None:
        self.site: Harness = make_site(greeting(headers), **options)
        self.cache = SharedCache(self.site.middleware, self.site.clock)
        self.grace = self.site.workos.add_user("grace@example.com")
        self.users = {"ada": self.site.ada, "grace": self.grace}
        self.people = {name: self.client() for name in ("ada", "grace", "nobody")}

    def client(self) -> Client:
        return Client(self.cache, clock=self.site.clock)

    def sign_in(self, name: str, client: Client | None = None) -> None:
        """Sign in by the pages of the middleware, through the cache as all else."""
        browser = client or self.people[name]
        location = browser.get("/auth/sign-in").header("Location") or ""
        callback = self.site.workos.authorize(location, self.users[name])
        browser.get(path_of(callback), cross_site=True)

    def visit(self, name: str, path: str = "/", **options: Any) -> Response:
        """Visit a page, and see that it is nobody else's."""
        response = self.people[name].get(path, **options)
        assert response.text in ("nobody", f"{name}@example.com"), (name, response)
        self.check(response)
        return response

    def check(self, response: Response) -> None:
        if is_from_cache(response.headers):
            assert response.text == "nobody"
            assert response.set_cookies == []
        for stored in self.cache.stored:
            assert stored.set_cookies == [], stored
            assert stored.text == "nobody", stored


def is_signed_in(response: Response) -> bool:
    return response.text != "nobody"


@pytest.mark.parametrize("headers", CARELESS)
@pytest.mark.parametrize("eager", [False, True])
def test_page_of_one_visitor_is_not_handed_to_the_next(
    headers: list[Header], eager: bool
) -> None:
    street = Street(headers, eager_auth=eager)
    street.sign_in("ada")
    street.sign_in("grace")
    assert is_signed_in(street.visit("ada", "/a"))
    assert is_signed_in(street.visit("grace", "/a"))
    assert is_signed_in(street.visit("ada", "/a", fetch=True))
    assert not is_signed_in(street.visit("nobody", "/a"))
    for seconds in (10, EXPIRING, EXPIRED):
        street.site.clock.advance(seconds)
        for name in ("ada", "nobody", "grace"):
            street.visit(name, "/a")


@pytest.mark.parametrize("headers", CARELESS)
def test_session_that_is_refreshed_stays_with_who_it_is_of(
    headers: list[Header],
) -> None:
    street = Street(headers)
    street.sign_in("ada")
    street.site.clock.advance(EXPIRING)
    refreshed = street.visit("ada")
    street.visit("nobody")

    assert refreshed.set_cookies
    assert [c.name for c in street.people["nobody"].jar] == []


@pytest.mark.parametrize("headers", CARELESS)
def test_session_that_the_app_starts_for_a_stranger_stays_with_them(
    headers: list[Header],
) -> None:
    street = Street(headers)
    answer = street.site.workos.create_session(street.grace)
    started = street.visit("grace", "/start", extra={"tests.answer": answer})

    assert started.text == "grace@example.com"
    assert street.cache.stored == []
    assert "Cookie" in (started.header("Vary") or "")


@pytest.mark.parametrize("headers", CARELESS)
def test_end_of_a_session_does_not_sign_the_next_out(headers: list[Header]) -> None:
    street = Street(headers)
    for name in ("ada", "grace"):
        street.sign_in(name)
    street.visit("ada", "/end")
    street.people["nobody"].get("/end")

    assert street.cache.stored == []
    assert is_signed_in(street.visit("grace", "/b"))


@pytest.mark.parametrize("headers", CARELESS)
def test_session_that_is_over_is_cleared_for_one_only(headers: list[Header]) -> None:
    street = Street(headers)
    for name in ("ada", "grace"):
        street.sign_in(name)
    for session_id, session in street.site.workos.sessions.items():
        if session.user_id == street.site.ada.id:
            street.site.workos.revoke_session(session_id)
    street.site.clock.advance(EXPIRED)
    cleared = street.visit("ada", "/c")

    assert [c for c in cleared.set_cookies if c.startswith("wos-session=;")]
    assert is_signed_in(street.visit("grace", "/c"))


@pytest.mark.parametrize("headers", CARELESS)
@pytest.mark.parametrize("cookie_name", ["wos-session", "sid", "__Host-s"])
def test_session_in_chunks_or_under_another_name_is_not_kept(
    headers: list[Header], cookie_name: str
) -> None:
    secure = cookie_name.startswith("__")
    uri = "https://localhost:8000/callback" if secure else f"{URL}callback"
    street = Street(headers, settings={"cookie_name": cookie_name, "redirect_uri": uri})
    permissions = [f"permission-number-{n}" for n in range(120)]
    street.site.workos.extra_claims["permissions"] = permissions
    for client in street.people.values():
        client.base = uri.removesuffix("/callback")
    street.sign_in("ada")
    names = {cookie.name for cookie in street.people["ada"].jar}
    assert f"{cookie_name}.0" in names

    assert is_signed_in(street.visit("ada"))
    assert street.cache.stored == []
    assert not is_signed_in(street.visit("nobody"))


@pytest.mark.parametrize(
    "cookie",
    [
        pytest.param("wos-session=damaged", id="damaged"),
        pytest.param("wos-session.0=2.half", id="one chunk of two"),
        pytest.param("wos-session.1=second", id="a second chunk alone"),
        pytest.param("wos-session=", id="empty"),
        pytest.param("workos-access-token=x", id="eager token alone"),
    ],
)
@pytest.mark.parametrize("headers", CARELESS)
def test_what_follows_a_cookie_of_ours_is_not_kept(
    headers: list[Header], cookie: str
) -> None:
    """The app, or what stands behind it, may read more in it than we do."""
    street = Street(headers)
    street.visit("nobody", headers={"Cookie": cookie})

    assert street.cache.stored == []


@pytest.mark.parametrize("headers", CARELESS)
def test_answer_to_an_authorization_header_is_not_kept(headers: list[Header]) -> None:
    street = Street(headers)
    street.visit("nobody", headers={"Authorization": "Bearer x"})

    assert street.cache.stored == []


@pytest.mark.parametrize("path", ["/auth/sign-in", "/auth/sign-out", "/callback"])
def test_own_endpoints_are_not_kept(path: str) -> None:
    street = Street(PUBLIC)
    for method in ("GET", "HEAD", "POST", "PUT"):
        street.people["ada"].request(method, path)

    assert street.cache.stored == []


def test_304_to_somebody_makes_nothing_public_theirs() -> None:
    """A cache asks again with the next visitor's cookies and keeps what a 304 says."""
    street = Street([("ETag", '"1"'), ("Cache-Control", "public, max-age=5")])
    street.visit("nobody")
    street.sign_in("ada")
    street.site.clock.advance(EXPIRING)
    refreshed = street.visit("ada")

    assert [c for c in refreshed.set_cookies if c.startswith("wos-session=")]
    assert street.cache.stored == []
    assert street.visit("nobody").set_cookies == []


# What is public stays so


@pytest.mark.parametrize(
    "cookie",
    [
        pytest.param(None, id="none"),
        pytest.param("theme=dark", id="another"),
        pytest.param("wos-auth-verifier-0123abcd=Fe26.2*x", id="sign-in on its way"),
        pytest.param("wos-auth-marker=x", id="marker"),
    ],
)
def test_page_for_strangers_is_kept_as_the_app_has_it(cookie: str | None) -> None:
    street = Street([*PUBLIC, ("Set-Cookie", "theme=dark")])
    first = street.people["nobody"].get("/", headers={"Cookie": cookie})
    second = street.people["nobody"].get("/", headers={"Cookie": cookie})

    expected = [
        ("Content-Type", "text/plain"),
        *PUBLIC,
        ("Set-Cookie", "theme=dark"),
    ]
    assert first.headers == expected
    assert second.headers == [*expected, ("Age", "0")]
    assert street.cache.hits == 1


def test_page_without_cache_headers_is_kept_as_long_as_a_cache_likes() -> None:
    street = Street([])
    street.visit("nobody")
    street.site.clock.advance(HEURISTIC - 1)
    assert is_from_cache(street.visit("nobody").headers)
    street.site.clock.advance(1)
    assert not is_from_cache(street.visit("nobody").headers)


# Any order of events

STEPS: Final = st.tuples(
    st.sampled_from(["visit", "fetch", "bearer", "sign in", "sign out", "end", "wait"]),
    st.sampled_from(["ada", "grace"]),
)


@settings(max_examples=40, deadline=None)
@given(
    headers=st.sampled_from([param.values[0] for param in CARELESS]),
    eager=st.booleans(),
    steps=st.lists(STEPS, max_size=14),
)
def test_no_order_of_events_mixes_visitors_up(
    headers: Any, eager: bool, steps: list[tuple[str, str]]
) -> None:
    street = Street(headers, eager_auth=eager)
    for step, name in steps:
        client = street.people[name]
        if step == "sign in":
            street.sign_in(name)
        elif step == "sign out":
            client.post("/auth/sign-out")
        elif step == "wait":
            street.site.clock.advance(EXPIRING if name == "ada" else EXPIRED)
        else:
            path = "/end" if step == "end" else "/"
            bearer = {"Authorization": "Bearer x"} if step == "bearer" else {}
            street.visit(name, path, headers=bearer, fetch=step == "fetch")
        street.visit("nobody")


# The cache itself: what it would keep if it were let


@pytest.mark.parametrize("headers", CARELESS)
def test_cache_would_mix_visitors_up_without_us(headers: list[Header]) -> None:
    """Where the headers of the app are all that it sees, as with no middleware."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        name = environ.get("HTTP_COOKIE", "nobody")
        start_response("200 OK", [("Content-Type", "text/plain"), *headers])
        return [name.encode()]

    site = make_site()
    client = Client(SharedCache(validator(app), site.clock), clock=site.clock)
    client.get("/", headers={"Cookie": "ada"})

    assert client.get("/", headers={"Cookie": "grace"}).text == "ada"
