"""The hooks of a refresh: once a call to WorkOS, and never in the way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway import Response, environ, run
from tests.harness import Harness, path_of, show_session
from wsgi_authkit import AuthKitMiddleware, Session
from wsgi_authkit.errors import (
    ConfigurationError,
    RefreshError,
    RefreshNeedsAuthorization,
    RefreshRejected,
    RefreshUnavailable,
)
from wsgi_authkit.refresh import FAILURE_LIFETIME
from wsgi_authkit.stores import MemoryStore
from wsgi_authkit.testing import Impersonator
from wsgi_authkit.testing.faults import (
    ConnectionRefused,
    Fault,
    InvalidJSON,
    LostResponse,
    Status,
)

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

EXPIRING, EXPIRED = 280, 310


class Told:
    """What the hooks were told, in order."""

    def __init__(self) -> None:
        self.sessions: list[tuple[Session, WSGIEnvironment]] = []
        self.errors: list[tuple[RefreshError, WSGIEnvironment, bool]] = []

    def on_refresh(self, session: Session, environ: WSGIEnvironment) -> None:
        self.sessions.append((session, environ))

    def on_refresh_error(
        self, error: RefreshError, environ: WSGIEnvironment, transient: bool
    ) -> None:
        self.errors.append((error, environ, transient))

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.sessions), len(self.errors)


class Site:
    """Somebody signed in to a site with hooks."""

    def __init__(self, **hooks: Any) -> None:
        self.told = Told()
        defaults = {
            "on_refresh": self.told.on_refresh,
            "on_refresh_error": self.told.on_refresh_error,
        }
        self.harness = Harness(options={**defaults, **hooks})
        self.harness.sign_in()
        self.workos, self.clock = self.harness.workos, self.harness.clock

    def get(self, **options: Any) -> Response:
        return self.harness.client.get("/", **options)

    def request(self, **extra: Any) -> WSGIEnvironment:
        """Return a request of the browser, to be recognised by its identity."""
        cookies = self.harness.client.jar.header("http://localhost:8000/")
        return environ(headers={"Cookie": cookies or ""}, **extra)


@pytest.fixture
def site() -> Site:
    return Site()


# When


def test_sign_in_and_valid_session_are_no_refresh(site: Site) -> None:
    site.get()

    assert site.told.counts == (0, 0)


@pytest.mark.parametrize("age", [EXPIRING, EXPIRED])
def test_refreshed_session_is_told_once(site: Site, age: float) -> None:
    site.clock.advance(age)
    for _ in range(3):
        site.get()

    assert site.told.counts == (1, 0)
    [(session, _)] = site.told.sessions
    assert session.user.email == "ada@example.com"
    assert session.expires_at.timestamp() == site.clock() + 300


def test_hook_is_given_the_new_token_and_who_impersonates() -> None:
    site = Site()
    admin = Impersonator(email="admin@example.com", reason="support")
    site.harness.sign_in(impersonator=admin)
    site.clock.advance(EXPIRED)
    request = site.request()
    run(site.harness.middleware, request)

    [(session, _)] = site.told.sessions
    assert session == request["authkit.session"]
    assert session.access_token
    assert session.impersonator is not None
    assert session.impersonator.email == "admin@example.com"


def test_late_request_with_the_old_cookie_is_told_nothing(site: Site) -> None:
    site.clock.advance(EXPIRED)
    late = site.request()
    site.get()
    run(site.harness.middleware, late)

    assert site.told.counts == (1, 0)


def test_repeated_request_is_one_call(site: Site) -> None:
    site.clock.advance(EXPIRED)
    site.workos.fail(LostResponse(), times=1)
    site.get()

    assert site.workos.count("refresh") == 2
    assert site.told.counts == (1, 0)


@pytest.mark.parametrize(
    ("fault", "kind", "transient"),
    [
        pytest.param(ConnectionRefused(), RefreshUnavailable, True, id="refused"),
        pytest.param(LostResponse(), RefreshUnavailable, True, id="lost twice"),
        pytest.param(InvalidJSON(), RefreshUnavailable, True, id="invalid JSON"),
        pytest.param(Status(503), RefreshUnavailable, True, id="503"),
        pytest.param(Status(429), RefreshUnavailable, True, id="429"),
        pytest.param(Status(401), RefreshUnavailable, False, id="401"),
        pytest.param(
            Status(400, json={"error": "invalid_client"}),
            RefreshUnavailable,
            False,
            id="invalid_client",
        ),
        pytest.param(
            Status(400, json={"error": "invalid_grant"}),
            RefreshRejected,
            False,
            id="invalid_grant",
        ),
        pytest.param(
            Status(400, json={"error": "sso_required"}),
            RefreshNeedsAuthorization,
            False,
            id="sso_required",
        ),
    ],
)
@pytest.mark.parametrize("age", [EXPIRING, EXPIRED])
def test_error_is_told_once_and_by_its_kind(
    site: Site, fault: Fault, kind: type[RefreshError], transient: bool, age: float
) -> None:
    site.clock.advance(age)
    site.workos.fail(fault)
    for _ in range(3):
        site.get(fetch=True)

    assert site.told.counts == (0, 1)
    [(error, _, told_transient)] = site.told.errors
    assert (type(error), told_transient) == (kind, transient)


def test_retry_after_is_told(site: Site) -> None:
    site.clock.advance(EXPIRED)
    site.workos.fail(Status(429, headers={"Retry-After": "7"}))
    site.get()

    [(error, _, _)] = site.told.errors
    assert isinstance(error, RefreshUnavailable)
    assert error.retry_after == 7


def test_every_call_is_told(site: Site) -> None:
    site.clock.advance(EXPIRED)
    site.workos.fail(503, times=2)
    for _ in range(3):
        site.get()
        site.clock.advance(FAILURE_LIFETIME)

    assert site.told.counts == (1, 2)


def test_of_64_threads_one_is_told(site: Site) -> None:
    site.clock.advance(EXPIRED)
    together = threading.Barrier(64)
    requests = [site.request() for _ in range(64)]

    def send(request: WSGIEnvironment) -> Response:
        together.wait(10)
        return run(site.harness.middleware, request)

    with ThreadPoolExecutor(64) as pool:
        users = {answer.json()["user"] for answer in pool.map(send, requests)}

    assert users == {"ada@example.com"}
    assert site.workos.count("refresh") == 1
    assert site.told.counts == (1, 0)
    assert any(site.told.sessions[0][1] is request for request in requests)


def test_of_64_threads_one_is_told_of_a_failure(site: Site) -> None:
    site.clock.advance(EXPIRED)
    site.workos.fail(503)
    requests = [site.request() for _ in range(64)]
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda r: run(site.harness.middleware, r), requests))

    assert {answer.json()["status"] for answer in answers} == {"unavailable"}
    assert site.told.counts == (0, 1)
    assert any(site.told.errors[0][1] is request for request in requests)


def test_session_that_ended_during_the_refresh_is_not_told() -> None:
    """An app that keeps what it is told must not keep somebody who signed out."""
    site = Site()
    site.clock.advance(EXPIRED)
    signing_out = site.harness.new_client()
    for cookie in site.harness.client.jar:
        signing_out.jar.store(
            "http://localhost:8000/", f"{cookie.name}={cookie.value}; Path=/"
        )
    site.workos.fail(Meanwhile(lambda: signing_out.post("/auth/sign-out")), times=1)
    answer = site.get().json()

    assert answer["reason"] == "revoked"
    assert site.told.counts == (0, 1)
    [(error, _, transient)] = site.told.errors
    assert (type(error), transient) == (RefreshRejected, False)


class Meanwhile(Fault):
    """WorkOS answers as ever, and something happens before the answer arrives."""

    processed = True

    def __init__(self, happen: Callable[[], object]) -> None:
        self._happen = happen

    def answer(self, answer: Any, wait: Any) -> Any:
        self._happen()
        return answer


# With what


def test_environ_is_the_one_of_the_request(site: Site) -> None:
    site.clock.advance(EXPIRED)
    site.workos.fail(503, times=1)
    failing, refreshing = site.request(path="/failing"), site.request(path="/good")
    run(site.harness.middleware, failing)
    site.clock.advance(FAILURE_LIFETIME)
    run(site.harness.middleware, refreshing)

    assert site.told.errors[0][1] is failing
    assert site.told.sessions[0][1] is refreshing


def test_callback_without_verifier_tells_the_same(site: Site) -> None:
    """Back button after a sign-in: who is signed in goes on, refreshed if need be."""
    callback = someone_elses_callback(site)
    site.clock.advance(EXPIRED)
    site.workos.fail(503, path="refresh", times=1)
    failing = navigation(site, callback)
    assert run(site.harness.middleware, failing).status == 503
    assert site.told.counts == (0, 1)
    assert site.told.errors[0][1] is failing

    site.clock.advance(FAILURE_LIFETIME)
    refreshing = navigation(site, callback)
    assert run(site.harness.middleware, refreshing).status == 303
    assert site.told.counts == (1, 1)
    assert site.told.sessions[0][1] is refreshing


def someone_elses_callback(site: Site) -> str:
    location = site.harness.new_client().get("/auth/sign-in").header("Location")
    assert location is not None
    return path_of(site.workos.authorize(location, site.harness.ada))


def navigation(site: Site, url: str) -> WSGIEnvironment:
    path, _, query = url.partition("?")
    request = site.request(path=path, query=query)
    return {**request, "HTTP_SEC_FETCH_MODE": "navigate", "HTTP_ACCEPT": "text/html"}


def test_hook_comes_after_the_result_is_published() -> None:
    """A hook that takes its time holds up nobody else, in any process."""
    served: list[Any] = []

    def send_late_request(*_: object) -> None:
        served.append(run(elsewhere, late).json())

    visited = Site(on_refresh=send_late_request)
    store = MemoryStore(clock=visited.clock)
    visited.harness.client.app = visited.harness.new_middleware(store=store)
    elsewhere: AuthKitMiddleware = visited.harness.new_middleware(store=store)
    visited.clock.advance(EXPIRED)
    late: WSGIEnvironment = visited.request()
    visited.get()

    assert [answer["user"] for answer in served] == ["ada@example.com"]
    assert visited.workos.count("refresh") == 1


def test_hook_of_a_failure_comes_after_it_is_published() -> None:
    served: list[Any] = []

    def send_again(*_: object) -> None:
        served.append(visited.get().json())

    visited: Site = Site(on_refresh_error=send_again)
    visited.clock.advance(EXPIRED)
    visited.workos.fail(503)
    visited.get()

    assert [answer["status"] for answer in served] == ["unavailable"]
    assert visited.workos.count("refresh") == 1


def test_refresh_goes_on_in_other_threads_while_a_hook_runs() -> None:
    running, let_go = threading.Event(), threading.Event()

    def slow(session: Session, environ: WSGIEnvironment) -> None:
        running.set()
        assert let_go.wait(10)

    site = Site(on_refresh=slow)
    site.clock.advance(EXPIRED)
    late = site.request()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(site.get)
        try:
            assert running.wait(10)
            answer = run(site.harness.middleware, late)
            assert not first.done()
        finally:
            let_go.set()

    assert answer.json()["user"] == "ada@example.com"


# What they raise


def raising(*_: object) -> None:
    raise LookupError("the app's own trouble")


@pytest.mark.parametrize("age", [EXPIRING, EXPIRED])
def test_what_on_refresh_raises_is_logged_and_ignored(
    caplog: pytest.LogCaptureFixture, age: float
) -> None:
    site = Site(on_refresh=raising)
    cookie = site.harness.session_cookie()
    site.clock.advance(age)
    response = site.get()

    assert response.json()["user"] == "ada@example.com"
    assert site.harness.session_cookie() != cookie
    assert [r.levelname for r in caplog.records if r.exc_info] == ["ERROR"]
    assert "the app's own trouble" in caplog.text


@pytest.mark.parametrize("age", [EXPIRING, EXPIRED])
def test_what_on_refresh_error_raises_is_logged_and_ignored(
    caplog: pytest.LogCaptureFixture, age: float
) -> None:
    site = Site(on_refresh_error=raising)
    cookie = site.harness.session_cookie()
    site.clock.advance(age)
    site.workos.fail(503)
    expected = "active" if age == EXPIRING else "unavailable"

    assert site.get().json()["status"] == expected
    assert site.harness.session_cookie() == cookie
    assert "the app's own trouble" in caplog.text


def test_what_hooks_return_means_nothing() -> None:
    site = Site(on_refresh=lambda *_: False)
    site.clock.advance(EXPIRED)

    assert site.get().json()["user"] == "ada@example.com"


def test_site_without_hooks_refreshes_as_ever() -> None:
    site = Site(on_refresh=None, on_refresh_error=None)
    site.clock.advance(EXPIRED)

    assert site.get().json()["user"] == "ada@example.com"


# At construction


@pytest.mark.parametrize("hook", ["on_refresh", "on_refresh_error"])
@pytest.mark.parametrize("value", ["print", 1, [], False, object()])
def test_hook_that_cannot_be_called_is_a_problem(hook: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Harness(options={hook: value})

    assert raised.value.problems == (f"{hook} must be callable",)


def test_bad_hooks_are_told_with_everything_else() -> None:
    options: Any = {"on_refresh": 1, "on_refresh_error": "x", "mount": "auth"}
    with pytest.raises(ConfigurationError) as raised:
        AuthKitMiddleware(show_session, store="nowhere", **options)

    text = str(raised.value)
    for name in ("on_refresh", "on_refresh_error", "mount", "store", "client_id"):
        assert name in text


def test_hooks_of_the_service_are_not_given_an_environ() -> None:
    site = Site()
    sessions: list[Session] = []
    site.clock.advance(EXPIRED)
    cookies = site.request()["HTTP_COOKIE"]
    site.harness.middleware.service.with_auth(cookies, on_refresh=sessions.append)

    assert [session.user.email for session in sessions] == ["ada@example.com"]
