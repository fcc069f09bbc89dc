"""An outage signs nobody out: every fault, every age of a session, every request.

Only WorkOS saying that the grant is finished ends a session. Whatever else happens, the
cookie stays as it is, a valid token goes on working, and what needs a refresh is told
to come back.
"""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from ssl import SSLCertVerificationError, SSLEOFError, SSLError
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import MaxRetryError
from urllib3.exceptions import SSLError as TransportSSLError

import wsgi_authkit
from tests.gateway import Client, Response
from tests.harness import Harness, path_of, show_session
from wsgi_authkit import AuthKitMiddleware
from wsgi_authkit.api import CALL_DEADLINE, REFRESH_DEADLINE
from wsgi_authkit.errors import StoreError
from wsgi_authkit.refresh import FAILURE_LIFETIME
from wsgi_authkit.stores import MemoryStore
from wsgi_authkit.testing.faults import (
    ConnectionRefused,
    ConnectionReset,
    ConnectTimedOut,
    Fault,
    HugeBody,
    InvalidJSON,
    Latency,
    LostResponse,
    NameNotResolved,
    ReadTimedOut,
    SlowBody,
    Status,
    TruncatedBody,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PACKAGE = Path(wsgi_authkit.__file__).parent
#: Seconds by which a body that drips can exceed a deadline here: a piece of it.
SLACK = 0.25


@dataclass
class TLSFails(Fault):
    """The handshake fails, or the encrypted connection later on."""

    reason: SSLError
    strikes: int = 0

    def answer(self, answer: Any, wait: Any) -> Any:
        self.strikes += 1
        pool = HTTPConnectionPool("api.workos.com")
        cause = MaxRetryError(pool, "/", TransportSSLError(self.reason))
        raise requests.exceptions.SSLError(cause)


@dataclass(frozen=True)
class Case:
    """A fault, and how many refresh requests it may cost."""

    make: Callable[[], Fault]
    attempts: int
    #: Whether the callback says 503 and loads itself again.
    reloads: bool = True


def status(code: int, *args: Any, reloads: bool = True, **options: Any) -> Case:
    return Case(lambda: Status(code, *args, **options), 1, reloads)


#: One attempt where the request was not sent or was answered, two where it was sent
#: and not answered.
CASES = {
    "name not resolved": Case(NameNotResolved, 1),
    "refused": Case(ConnectionRefused, 1),
    "connect timed out": Case(ConnectTimedOut, 1),
    "bad certificate": Case(lambda: TLSFails(SSLCertVerificationError("no")), 1),
    "TLS breaks": Case(lambda: TLSFails(SSLEOFError("EOF")), 2),
    "reset": Case(ConnectionReset, 2),
    "read timed out": Case(ReadTimedOut, 2),
    "late": Case(lambda: Latency(60), 2),
    "lost response": Case(LostResponse, 2),
    "truncated": Case(TruncatedBody, 2),
    "dripping": Case(lambda: SlowBody(interval=SLACK, size=1), 2),
    "huge": Case(HugeBody, 2),
    "huge and declared": Case(lambda: HugeBody(declared=True), 2),
    "invalid JSON": Case(InvalidJSON, 1),
    "200 HTML": status(200, "html"),
    "200 empty": status(200, "empty"),
    "200 string": status(200, "string", reloads=False),
    "502 HTML": status(502, "html"),
    **{str(code): status(code) for code in (408, 429, 500, 502, 503, 504)},
    "401": status(401, reloads=False),
    "403": status(403, reloads=False),
    "404": status(404, reloads=False),
    "422": status(422, reloads=False),
    "redirect": status(302, headers={"Location": "https://x.example/"}, reloads=False),
    "invalid_client": status(400, json={"error": "invalid_client"}, reloads=False),
    "unauthorized_client": status(
        400, json={"error": "unauthorized_client"}, reloads=False
    ),
}
#: Seconds after the sign-in, with tokens that live for 300.
AGES = {"valid": 0, "expiring": 280, "expired": 310}

each_fault = pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for name, case in CASES.items()]
)
each_age = pytest.mark.parametrize("age", list(AGES))


def pages(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """A site with public pages, and one that asks to sign in."""
    if environ["PATH_INFO"] == "/protected" and not environ["authkit.session"]:
        challenge: Iterable[bytes] = environ["authkit"].challenge()(
            environ, start_response
        )
        return challenge
    return show_session(environ, start_response)


class Visitor:
    """Somebody whose session has some age when WorkOS begins to fail."""

    def __init__(self, age: str = "valid") -> None:
        self.site = Harness(app=pages)
        self.site.sign_in()
        self.cookie = self.site.session_cookie()
        self.site.clock.advance(AGES[age])
        self.usable = age != "expired"
        # Both flows are under way when WorkOS begins to fail.
        self.callback = self.approved(self.site.client)
        self.strange_callback = self.approved(self.site.new_client())
        self.site.workos.reset_calls()

    def approved(self, client: Client) -> str:
        location = client.get("/auth/sign-in").header("Location")
        assert location is not None
        return path_of(self.site.workos.authorize(location, self.site.ada))

    def fail(self, fault: Fault) -> None:
        self.fault = fault
        self.site.workos.fail(fault)

    def request(self, send: Callable[[Client], Response], deadline: float) -> Response:
        """Send a request, which has to be answered in time."""
        started = self.site.clock()
        response = send(self.site.client)
        assert self.site.clock() - started <= deadline + SLACK
        return response

    def attempts(self, kind: str = "refresh") -> int:
        return self.site.workos.count(kind) + getattr(self.fault, "strikes", 0)

    def recover(self) -> None:
        self.site.workos.recover()
        self.site.clock.advance(FAILURE_LIFETIME)

    def assert_kept(self, response: Response) -> None:
        """The cookie is as it was, and as good as it was."""
        assert not [c for c in response.set_cookies if c.startswith("wos-session")]
        assert self.site.session_cookie() == self.cookie
        self.recover()
        assert self.site.who()["user"] == "ada@example.com"


def assert_told_to_come_back(response: Response, *, page: bool) -> int:
    """A page that loads itself again, or JSON; return the seconds it says."""
    assert response.status == 503
    assert response.header("Location") is None
    assert "no-store" in str(response.header("Cache-Control"))
    seconds = int(response.header("Retry-After") or "")
    assert 3 <= seconds <= 10
    if page:
        assert f'http-equiv="refresh" content="{seconds}"' in response.text
    else:
        assert response.header("Content-Type") == "application/json"
        assert set(response.json()["error"]) == {"code", "message"}
    return seconds


# Every fault, every age, every request


@each_age
@each_fault
def test_public_page_is_served(case: Case, age: str) -> None:
    visitor = Visitor(age)
    visitor.fail(case.make())
    response = visitor.request(lambda c: c.get("/"), REFRESH_DEADLINE)

    assert response.status == 200
    expected = "active" if visitor.usable else "unavailable"
    assert response.json()["status"] == expected
    assert visitor.attempts() == (0 if age == "valid" else case.attempts)
    visitor.assert_kept(response)


@each_age
@each_fault
def test_protected_page_is_served_or_loads_itself_again(case: Case, age: str) -> None:
    visitor = Visitor(age)
    visitor.fail(case.make())
    response = visitor.request(lambda c: c.get("/protected"), REFRESH_DEADLINE)

    if visitor.usable:
        assert response.status == 200
    else:
        assert_told_to_come_back(response, page=True)
    visitor.assert_kept(response)


@each_age
@each_fault
def test_api_call_is_served_or_told_to_come_back(case: Case, age: str) -> None:
    visitor = Visitor(age)
    visitor.fail(case.make())
    response = visitor.request(
        lambda c: c.get("/protected", fetch=True), REFRESH_DEADLINE
    )

    if visitor.usable:
        assert response.status == 200
    else:
        assert_told_to_come_back(response, page=False)
        assert response.json()["error"]["code"] == "unavailable"
    visitor.assert_kept(response)


@each_age
@each_fault
def test_callback_loads_itself_again_and_ends_no_session(case: Case, age: str) -> None:
    visitor = Visitor(age)
    visitor.fail(case.make())
    response = visitor.request(lambda c: c.get(visitor.callback), CALL_DEADLINE)

    if case.reloads:
        assert_told_to_come_back(response, page=True)
    else:
        # It would not help before the operator has acted.
        assert response.status in (502, 503)
        assert 'http-equiv="refresh"' not in response.text
    assert visitor.attempts("exchange") == 1, "a code is never sent twice"
    visitor.assert_kept(response)


@each_age
@each_fault
def test_callback_without_verifier_leads_on_or_loads_itself_again(
    case: Case, age: str
) -> None:
    visitor = Visitor(age)
    visitor.fail(case.make())
    response = visitor.request(
        lambda c: c.get(visitor.strange_callback), REFRESH_DEADLINE
    )

    if visitor.usable:
        assert (response.status, response.header("Location")) == (303, "/")
    else:
        assert_told_to_come_back(response, page=True)
    assert visitor.attempts("exchange") == (
        0 if age == "valid" else getattr(visitor.fault, "strikes", 0)
    )
    visitor.assert_kept(response)


@each_age
@each_fault
def test_sign_out_works_without_workos(case: Case, age: str) -> None:
    visitor = Visitor(age)
    visitor.fail(case.make())
    response = visitor.request(lambda c: c.post("/auth/sign-out"), 0)

    assert response.status == 303
    assert "/sessions/logout?session_id=" in str(response.header("Location"))
    assert visitor.site.session_cookie() is None
    assert visitor.attempts() == len(visitor.site.workos.calls) == 0


@pytest.mark.parametrize(
    "fault", [ConnectionRefused(), ConnectTimedOut(), Status(500), Status(429)]
)
def test_callback_works_when_it_is_loaded_again(fault: Fault) -> None:
    visitor = Visitor("expired")
    visitor.fail(fault)
    visitor.site.client.get(visitor.callback)
    visitor.recover()
    response = visitor.site.client.get(visitor.callback)

    assert response.status == 303
    assert visitor.site.session_cookie() != visitor.cookie
    assert visitor.site.who()["user"] == "ada@example.com"


def test_person_without_cookie_does_not_notice_an_outage() -> None:
    visitor = Visitor()
    visitor.fail(ConnectionRefused())
    stranger = visitor.site.new_client()

    assert stranger.get("/").json()["reason"] == "no_cookie"
    assert stranger.get("/protected").status == 302
    assert stranger.get("/protected", fetch=True).status == 401
    assert visitor.site.workos.calls == []


# When to come back


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("7", 7, id="7"),
        pytest.param("0", 3, id="too soon"),
        pytest.param("-5", 3, id="negative"),
        pytest.param("3600", 10, id="too late"),
        pytest.param("soon", 3, id="unreadable"),
        pytest.param(None, 3, id="absent"),
        pytest.param("date", 6, id="date"),
    ],
)
@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize("page", [True, False], ids=["page", "JSON"])
def test_retry_after_of_workos_is_passed_on(
    code: int, header: str | None, seconds: int, page: bool
) -> None:
    visitor = Visitor("expired")
    value = header
    if header == "date":
        value = formatdate(visitor.site.clock() + 6, usegmt=True)
    visitor.fail(Status(code, headers={"Retry-After": value} if value else {}))
    response = visitor.site.client.get("/protected", fetch=not page)

    assert assert_told_to_come_back(response, page=page) == seconds


@pytest.mark.parametrize("page", [True, False], ids=["page", "JSON"])
def test_retry_after_of_workos_is_passed_on_by_the_callback(page: bool) -> None:
    visitor = Visitor()
    visitor.fail(Status(429, headers={"Retry-After": "8"}))
    response = visitor.site.client.get(
        visitor.callback, headers={} if page else {"Accept": "application/json"}
    )

    assert assert_told_to_come_back(response, page=page) == 8


def test_page_never_loads_itself_before_it_makes_sense() -> None:
    """The open circuit says fractions of seconds, and half of one is still closed."""
    visitor = Visitor("expired")
    visitor.fail(ConnectionRefused())
    others = [another(visitor.site) for _ in range(5)]
    visitor.site.clock.advance(310)
    for other in others:
        other.get("/")
    visitor.site.clock.advance(0.6)
    response = visitor.site.client.get("/protected")

    assert assert_told_to_come_back(response, page=True) == 5
    assert visitor.site.workos.count("refresh") == 5


def another(site: Harness) -> Client:
    """Return a browser that signed in while WorkOS was there."""
    client = site.new_client()
    site.workos.recover()
    site.sign_in(client=client)
    site.workos.down()
    return client


# What WorkOS decides


def test_finished_grant_is_a_sign_in_for_a_navigation() -> None:
    visitor = Visitor("expired")
    revoke(visitor)
    response = visitor.site.client.get("/protected")

    assert response.status == 302
    assert response.header("Location") == "/auth/sign-in?return_to=%2Fprotected"
    assert visitor.site.session_cookie() is None


def test_finished_grant_is_a_401_for_a_script_and_deletes_nothing() -> None:
    """Its late answer could delete the cookie that another tab has just brought."""
    visitor = Visitor("expired")
    revoke(visitor)
    response = visitor.site.client.get("/protected", fetch=True)

    assert response.status == 401
    assert response.json()["error"]["reason"] == "refresh_rejected"
    assert response.set_cookies == []
    assert visitor.site.session_cookie() == visitor.cookie


def test_finished_grant_is_nobody_on_a_public_page() -> None:
    visitor = Visitor("expired")
    revoke(visitor)
    answer = visitor.site.client.get("/", fetch=True).json()

    assert (answer["status"], answer["reason"]) == ("anonymous", "refresh_rejected")


def test_finished_grant_is_asked_about_once() -> None:
    visitor = Visitor("expired")
    revoke(visitor)
    for _ in range(5):
        visitor.site.client.get("/protected", fetch=True)

    assert visitor.site.workos.count("refresh") == 1


def revoke(visitor: Visitor) -> None:
    for session_id in visitor.site.workos.sessions:
        visitor.site.workos.revoke_session(session_id)


STEP_UP = ["sso_required", "mfa_enrollment", "email_verification_required"]
LOST = ["organization_not_found", "organization_membership_not_found"]


def member() -> tuple[Visitor, str]:
    """Return somebody whose expired session is in an organization."""
    visitor = Visitor()
    acme = visitor.site.workos.add_organization("Acme")
    visitor.site.workos.add_membership(visitor.site.ada, acme)
    visitor.site.sign_in(organization_id=acme.id)
    visitor.cookie = visitor.site.session_cookie()
    visitor.site.clock.advance(AGES["expired"])
    return visitor, acme.id


def organization_of(sign_in_url: str | None, client: Client) -> str | None:
    """Return the organization that a link to sign in leads to."""
    assert sign_in_url is not None
    location = client.get(sign_in_url).header("Location") or ""
    return parse_qs(urlsplit(location).query).get("organization_id", [None])[0]


@pytest.mark.parametrize("identifier", [*STEP_UP, *LOST])
def test_step_up_is_a_sign_in_for_that_organization(identifier: str) -> None:
    visitor, organization_id = member()
    visitor.fail(Status(400, json={"error": identifier}))
    response = visitor.site.client.get("/protected")

    assert response.status == 302
    assert visitor.site.session_cookie() == visitor.cookie, "kept until the callback"
    asked_for = organization_of(response.header("Location"), visitor.site.client)
    # Nobody can sign in to an organization that is lost to them.
    assert asked_for == (None if identifier in LOST else organization_id)


def test_step_up_is_a_401_with_a_link_for_a_script() -> None:
    visitor, organization_id = member()
    visitor.fail(Status(400, json={"error": "sso_required"}))
    response = visitor.site.client.get("/protected", fetch=True)

    assert response.status == 401
    assert response.set_cookies == []
    assert response.json()["error"]["reason"] == "expired"
    url = response.json()["signInUrl"]
    assert organization_of(url, visitor.site.client) == organization_id


def test_step_up_is_nobody_on_a_public_page() -> None:
    visitor, _ = member()
    visitor.fail(Status(400, json={"error": "sso_required"}))
    answer = visitor.site.who()

    assert (answer["status"], answer["reason"]) == ("anonymous", "expired")


def test_refused_credentials_are_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    visitor = Visitor("expired")
    visitor.fail(Status(401))
    for _ in range(3):
        visitor.site.client.get("/")
        visitor.site.clock.advance(FAILURE_LIFETIME)

    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "operator" in errors[0].getMessage()


# The key set


KEY_FAULTS = [
    pytest.param(ConnectionRefused(), id="refused"),
    pytest.param(ReadTimedOut(), id="read timed out"),
    pytest.param(Status(404), id="404"),
    pytest.param(Status(503, "html"), id="503"),
    pytest.param(InvalidJSON(), id="invalid JSON"),
    pytest.param(Status(200, json={"keys": []}), id="no keys"),
]


class Workers:
    """Processes that share a store and nothing else."""

    def __init__(self) -> None:
        self.site = Harness(app=pages)
        self.store = MemoryStore(clock=self.site.clock)
        self.running = [self.start()]
        self.browsers = [self.site.new_client(self.running[0]) for _ in range(5)]
        for browser in self.browsers:
            self.site.sign_in(client=browser)

    def start(self) -> AuthKitMiddleware:
        return self.site.new_middleware(store=self.store)

    def visit_all(self) -> Iterator[dict[str, Any]]:
        """Have everybody visit every worker."""
        for worker in self.running:
            for browser in self.browsers:
                browser.app = worker
                yield self.site.who(browser)


@pytest.mark.parametrize("fault", KEY_FAULTS)
def test_key_set_that_is_gone_for_a_day_signs_nobody_out(fault: Fault) -> None:
    workers = Workers()
    workers.site.workos.fail(fault, path="jwks")
    for _ in range(24):
        workers.site.clock.advance(3600)
        # The one that fetched the keys is long gone in the end.
        workers.running = [*workers.running[-1:], workers.start()]
        visits = list(workers.visit_all())
        assert {answer["status"] for answer in visits} == {"active"}

    assert all(
        "wos-session" in str(browser.jar.header("http://localhost:8000/"))
        for browser in workers.browsers
    )


@pytest.mark.parametrize("fault", KEY_FAULTS)
def test_worker_without_keys_says_that_it_cannot_say(fault: Fault) -> None:
    visitor = Visitor()
    visitor.fail(fault)
    visitor.site.client.app = visitor.site.new_middleware()
    public = visitor.site.client.get("/")
    protected = visitor.site.client.get("/protected")
    script = visitor.site.client.get("/protected", fetch=True)

    assert public.json()["status"] == "unavailable"
    assert_told_to_come_back(protected, page=True)
    assert_told_to_come_back(script, page=False)
    visitor.assert_kept(public)


def test_worker_that_starts_while_all_is_down_serves_valid_sessions() -> None:
    workers = Workers()
    workers.site.workos.down()
    workers.running = [workers.start()]

    assert {answer["user"] for answer in workers.visit_all()} == {"ada@example.com"}


def test_planted_keys_are_not_believed() -> None:
    """Who writes the store cannot make this site believe their tokens."""
    workers = Workers()
    for key in list(workers.store._entries):
        workers.store.set(key, b'{"keys": []}', 3600)
    workers.site.workos.down()
    workers.running = [workers.start()]

    assert {answer["status"] for answer in workers.visit_all()} == {"unavailable"}


# The store


class BrokenStore(MemoryStore):
    """A store some of whose operations fail."""

    def __init__(self, clock: Callable[[], float], broken: Iterable[str]) -> None:
        super().__init__(clock=clock)
        self.broken = set(broken)
        self.tries = 0

    def _fail(self, operation: str) -> None:
        self.tries += 1
        if operation in self.broken:
            raise StoreError("the store is out of order", operation=operation)

    def get(self, key: str) -> bytes | None:
        self._fail("get")
        return super().get(key)

    def set(self, key: str, value: bytes, ttl: float) -> None:
        self._fail("set")
        super().set(key, value, ttl)

    def add(self, key: str, value: bytes, ttl: float) -> bool:
        self._fail("add")
        return super().add(key, value, ttl)

    def delete(self, key: str, expected: bytes | None = None) -> bool:
        self._fail("delete")
        return super().delete(key, expected)


EVERY_VERB = ("get", "set", "add", "delete")


class DecoratedStore:
    """Hides that a store is one of ours."""

    def __init__(self, store: BrokenStore) -> None:
        self.get, self.set = store.get, store.set
        self.add, self.delete = store.add, store.delete
        self.close = store.close


@each_age
@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(EVERY_VERB, id="down"),
        pytest.param(("set", "add", "delete"), id="read-only"),
        pytest.param(("set", "add"), id="full"),
        pytest.param(("get",), id="write-only"),
        pytest.param(("delete",), id="no delete"),
    ],
)
def test_store_that_fails_signs_nobody_out(broken: Iterable[str], age: str) -> None:
    visitor = Visitor(age)
    store = BrokenStore(visitor.site.clock, broken)
    visitor.site.client.app = visitor.site.new_middleware(store=DecoratedStore(store))

    for _ in range(3):
        assert visitor.site.who()["user"] == "ada@example.com"
        assert visitor.site.client.get("/protected", fetch=True).status == 200
    assert visitor.site.workos.count("refresh") == (0 if age == "valid" else 1)
    assert visitor.site.client.get(visitor.callback).status == 303
    assert visitor.site.client.post("/auth/sign-out").status == 303
    assert visitor.site.session_cookie() is None


def test_store_that_fails_is_left_alone_for_a_moment(
    caplog: pytest.LogCaptureFixture,
) -> None:
    visitor = Visitor()
    store = BrokenStore(visitor.site.clock, EVERY_VERB)
    # So that every request would ask it.
    options: dict[str, Any] = {"store": DecoratedStore(store), "session_cache_size": 0}
    visitor.site.client.app = visitor.site.new_middleware(**options)
    for _ in range(10):
        visitor.site.who()
    assert store.tries == 1

    visitor.site.clock.advance(5)
    visitor.site.who()
    assert store.tries == 2
    logged = [record for record in caplog.records if "the store" in record.message]
    assert len(logged) == 1


# Nobody waits long


class Held(Fault):
    """WorkOS says nothing until it is let go, and then that it fails."""

    def __init__(self) -> None:
        self.asked, self.let_go = threading.Event(), threading.Event()

    def answer(self, answer: Any, wait: Any) -> Any:
        self.asked.set()
        assert self.let_go.wait(10)
        return Status(503).answer(answer, wait)


def test_valid_token_never_waits_for_somebody_elses_refresh() -> None:
    visitor = Visitor("expiring")
    held = Held()
    visitor.fail(held)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(visitor.site.who)
        assert held.asked.wait(10)
        try:
            others = [visitor.site.who() for _ in range(10)]
            assert not first.done()
        finally:
            held.let_go.set()
        answers = [first.result(), *others]

    assert {answer["user"] for answer in answers} == {"ada@example.com"}
    assert visitor.attempts() == 1


def test_all_who_wait_share_one_failure() -> None:
    visitor = Visitor("expired")
    held = Held()
    visitor.fail(held)
    with ThreadPoolExecutor(64) as pool:
        waiting = [
            pool.submit(visitor.site.client.get, "/protected") for _ in range(64)
        ]
        assert held.asked.wait(10)
        held.let_go.set()
        responses = [one.result() for one in waiting]

    for response in responses:
        assert_told_to_come_back(response, page=True)
        assert response.set_cookies == []
    assert visitor.attempts() == 1


#: Where waiting for a store is the matter: both are given what they sleep with.
POLLING = {"refresh.py", "stores/sqlite.py"}


def test_nothing_sleeps_but_polling() -> None:
    """A worker that sleeps serves nobody; ``Retry-After`` is for the browser."""
    sleepers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "testing" not in path.relative_to(PACKAGE).parts and sleeps(path)
    }

    assert sleepers == POLLING


def sleeps(path: Path) -> bool:
    """Say whether a module names anything that sleeps."""
    names = [
        getattr(node, "attr", None) or getattr(node, "id", None) or imported(node)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    ]
    return any(re.fullmatch(r"_?sleep", str(name)) for name in names)


def imported(node: ast.AST) -> str | None:
    return node.name if isinstance(node, ast.alias) else None
