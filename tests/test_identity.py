"""What ``environ`` says of who makes the request, beside the session."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.gateway import environ, run
from tests.harness import Harness
from tests.sites import answer, checked, cookie_of, expired, make_site, navigation
from wsgi_authkit import AnonymousSession, Auth, Session
from wsgi_authkit.identity import publish
from wsgi_authkit.results import AuthResult

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

# WebOb 1.8 imports `cgi`, which Python 3.11 and 3.12 warn of.
pytestmark = pytest.mark.filterwarnings("ignore:'cgi' is deprecated")

CLAIMED: Final[dict[str, Any]] = {
    "REMOTE_USER": "root",
    "AUTH_TYPE": "Basic",
    "HTTP_REMOTE_USER": "root",
    "HTTP_AUTH_TYPE": "Basic",
}
NAMES: Final = ("REMOTE_USER", "AUTH_TYPE")


def signed_in(**options: Any) -> Harness:
    harness = make_site(**options)
    harness.sign_in()
    return harness


def seen(harness: Harness, request: WSGIEnvironment) -> dict[str, Any]:
    """Return who the app finds in ``environ``, by the keys that an app may look at."""
    run(harness.middleware, request)
    return {key: request[key] for key in CLAIMED if key in request}


# remote_user


@pytest.mark.parametrize(
    ("remote_user", "name"),
    [
        pytest.param("email", "ada@example.com", id="email"),
        pytest.param(lambda session: session.user.name, "Ada Lovelace", id="callable"),
        pytest.param(lambda session: "Ægir ☃", "Ægir ☃", id="not ASCII"),
    ],
)
def test_who_is_signed_in_is_named(remote_user: Any, name: str) -> None:
    """As bytes in disguise, as PEP 3333 has every string of ``environ``."""
    harness = signed_in(remote_user=remote_user)
    found = seen(harness, navigation(cookie_of(harness)))

    assert found["REMOTE_USER"].encode("latin-1").decode("utf-8") == name
    assert found["AUTH_TYPE"] == "AuthKit"
    assert set(found) == set(NAMES)


def test_sub_is_the_id_of_the_user() -> None:
    harness = signed_in(remote_user="sub")
    found = seen(harness, navigation(cookie_of(harness)))

    assert found["REMOTE_USER"] == harness.ada.id


def test_address_that_nobody_has_verified_names_nobody() -> None:
    """Who may sign up with any address would be its owner otherwise."""
    harness = make_site(remote_user="email")
    mallory = harness.workos.add_user("root@example.com", email_verified=False)
    harness.sign_in(mallory)
    request = navigation(cookie_of(harness))

    assert seen(harness, request) == {}
    assert request["authkit.session"]


@pytest.mark.parametrize("remote_user", ["sub", "email", lambda session: "somebody"])
@pytest.mark.parametrize(
    "path", ["/", "/auth/sign-in", "/auth/sign-out", "/callback", "/auth/other"]
)
def test_names_that_come_with_a_request_are_removed(
    remote_user: Any, path: str
) -> None:
    harness = make_site(remote_user=remote_user)

    assert seen(harness, environ(path=path, **CLAIMED)) == {}


def test_names_that_come_with_a_signed_in_request_are_replaced() -> None:
    harness = signed_in(remote_user="email")
    found = seen(harness, navigation(cookie_of(harness), **CLAIMED))

    assert found == {"REMOTE_USER": "ada@example.com", "AUTH_TYPE": "AuthKit"}


def test_names_are_removed_while_nobody_can_say_who_it_is() -> None:
    harness = make_site(remote_user="sub")
    cookie = expired(harness)
    harness.workos.down()
    request = navigation(cookie, **CLAIMED)

    assert seen(harness, request) == {}
    assert request["authkit.session"].status == "unavailable"


def test_names_are_removed_on_excluded_paths() -> None:
    request = environ(**CLAIMED)
    publish(request, AnonymousSession("excluded"), "sub")

    assert [name for name in NAMES if name in request] == []


def test_hooks_find_no_names_that_came_with_a_request() -> None:
    found: list[Any] = []
    harness = make_site(
        remote_user="sub",
        on_refresh=lambda session, environ: found.append(CLAIMED.keys() & environ),
    )
    run(harness.middleware, navigation(expired(harness), **CLAIMED))

    assert found == [set()]


@pytest.mark.parametrize("header", ["Remote-User", "Remote_User", "REMOTE-USER"])
def test_header_cannot_name_a_user(header: str) -> None:
    harness = make_site(remote_user="sub")

    assert seen(harness, environ(headers={header: "root"})) == {}


def test_names_are_left_to_the_server_without_the_option() -> None:
    """One that does HTTP authentication itself, for instance."""
    harness = signed_in()

    assert seen(harness, navigation(cookie_of(harness), **CLAIMED)) == CLAIMED
    assert seen(harness, navigation(cookie_of(harness))) == {}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("ada\nroot", id="line end"),
        pytest.param("ada\rroot", id="carriage return"),
        pytest.param("ada\0", id="NUL"),
        pytest.param("ada\x7f", id="DEL"),
        pytest.param("ada\x85root", id="C1 control"),
        pytest.param("ada\u2028root", id="line separator"),
        pytest.param("\u202eada", id="right-to-left override"),
        pytest.param("ada\ud800", id="lone surrogate"),
        pytest.param(b"ada", id="bytes"),
        pytest.param(5, id="number"),
    ],
)
def test_name_that_cannot_be_written_down_is_left_out_and_logged(
    name: Any, caplog: pytest.LogCaptureFixture
) -> None:
    harness = signed_in(remote_user=lambda session: name)
    caplog.clear()
    request = navigation(cookie_of(harness), **CLAIMED)

    assert seen(harness, request) == {}
    assert request["authkit.session"]
    [record] = [r for r in caplog.records if "remote_user" in r.message]
    assert record.levelno == logging.WARNING
    assert record.message.isprintable()


def test_callable_may_leave_somebody_unnamed(caplog: pytest.LogCaptureFixture) -> None:
    harness = signed_in(remote_user=lambda session: None)

    assert seen(harness, navigation(cookie_of(harness), **CLAIMED)) == {}
    assert "remote_user" not in caplog.text


def test_callable_is_not_asked_about_nobody() -> None:
    asked: list[Session] = []
    harness = make_site(remote_user=asked.append)
    seen(harness, navigation())

    assert asked == []


class Failing:
    """A callable that fails."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls = 0

    def __call__(self, session: Session) -> str:
        self.calls += 1
        raise self.error


def test_callable_that_fails_names_nobody_and_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hook = Failing(LookupError("no such person"))
    harness = signed_in(remote_user=hook)
    hook.calls = 0

    for _ in range(3):
        request = navigation(cookie_of(harness), **CLAIMED)
        assert seen(harness, request) == {}
        assert request["authkit.session"]
    assert hook.calls == 3
    [record] = [r for r in caplog.records if "remote_user" in r.message]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is hook.error


def test_callable_that_fails_does_not_lose_a_refreshed_session() -> None:
    harness = make_site(remote_user=Failing(LookupError()))
    response = run(harness.middleware, navigation(expired(harness)))

    assert response.status == 200
    assert [c.partition("=")[0] for c in response.set_cookies] == ["wos-session"]


def test_callable_that_fails_for_one_person_names_the_next() -> None:
    harness = make_site(remote_user=lambda session: {"Ada": "a"}[session.user.name])
    harness.sign_in()
    assert seen(harness, navigation(cookie_of(harness))) == {}

    ada = harness.workos.add_user("a@example.com", first_name="Ada")
    harness.sign_in(ada)
    found = seen(harness, navigation(cookie_of(harness)))
    assert found["REMOTE_USER"] == "a"


def test_exit_is_not_held_up_by_the_callable() -> None:
    hook = Failing(LookupError("no such person"))
    harness = signed_in(remote_user=hook)
    hook.error = KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt):
        run(harness.middleware, navigation(cookie_of(harness)))


def test_change_of_the_session_changes_the_name_at_once() -> None:
    found: list[tuple[str | None, ...]] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        auth: Auth = environ["authkit"]
        session = auth.session
        assert isinstance(session, Session)
        grace = replace(session.user, email="grace@example.com")
        for changed in (replace(session, user=grace), AnonymousSession("no_cookie")):
            auth._context.change(AuthResult(session=changed))
            found.append(tuple(environ.get(name) for name in NAMES))
        return answer()(environ, start_response)

    harness = signed_in(remote_user="email")
    run(harness.new_middleware(checked(app)), navigation(cookie_of(harness)))

    assert found == [("grace@example.com", "AuthKit"), (None, None)]


# Headers of the JavaScript libraries


@pytest.mark.parametrize(
    "header",
    [
        "x-workos-session",
        "X-WorkOS-Session",
        "X_Workos_Session",
        "x-workos_session",
        "x-workos-middleware",
        "X_WORKOS_MIDDLEWARE",
    ],
)
@pytest.mark.parametrize("path", ["/", "/auth/sign-in", "/callback"])
def test_internal_header_of_a_sibling_does_not_get_through(
    header: str, path: str
) -> None:
    """However it is spelled: a server folds all spellings into one key."""
    request = environ(path=path, headers={header: "Fe26.2*planted", "X-Other": "kept"})
    response = run(make_site().middleware, request)

    assert not [key for key in request if "WORKOS" in key.upper()]
    assert request["HTTP_X_OTHER"] == "kept"
    assert "planted" not in str(response.headers)


def test_signature_of_a_webhook_gets_through() -> None:
    request = environ("POST", headers={"WorkOS-Signature": "t=1, v1=2"})
    run(make_site().middleware, request)

    assert request["HTTP_WORKOS_SIGNATURE"] == "t=1, v1=2"
