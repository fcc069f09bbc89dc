"""What people use today for a session in a cookie, each in the wrapper that it needs.

Every wrapper leaves the session in ``environ`` for an app that reads it. The sessions
hold what ours do. Flask's and Django's are signed only; Beaker's and the SDK's are
encrypted too. A peer that is not installed is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from benchmarks.cost.requests import hello
from benchmarks.cost.sessions import CLIENT_ID, MadeSession, SessionMaker, cookie_header

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: The key in ``environ`` under which an app finds the session.
KEY: Final = "peer.session"
#: The packages that the peers are from.
PACKAGES: Final = ("workos", "flask", "beaker", "django")

_SECRET: Final = "a secret of the other libraries, long enough for each"
_FERNET_KEY: Final = "YSBrZXkgb2YgdGhlIFNESywgMzIgYnl0ZXMgbG9uZyE="


@dataclass(frozen=True, slots=True)
class Peer:
    """A library in its wrapper, and the ``Cookie`` headers of its sessions."""

    name: str
    app: WSGIApplication
    headers: Sequence[bytes]


@contextmanager
def peers(maker: SessionMaker, sessions: Sequence[MadeSession]) -> Iterator[list[Peer]]:
    """Yield the peers that are installed; WorkOS is served meanwhile."""
    with maker.served() as settings:
        url = f"http://127.0.0.1:{settings['WORKOS_API_PORT']}"
        made: dict[str, Callable[[], Peer]] = {
            "workos": lambda: _sdk(sessions, url),
            "flask": lambda: _flask(sessions),
            "beaker": lambda: _beaker(sessions),
            "django": lambda: _django(sessions),
        }
        yield [make() for package, make in made.items() if find_spec(package)]


def _reading(read: Callable[[WSGIEnvironment], Any]) -> WSGIApplication:
    """Return the app that does nothing, behind what reads a session of ``environ``."""

    def wrapper(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        environ[KEY] = read(environ)
        return hello(environ, start_response)

    return wrapper


def _sdk(sessions: Sequence[MadeSession], url: str) -> Peer:
    from webob.cookies import RequestCookies
    from workos import WorkOSClient
    from workos.session import seal_session_from_auth_response

    client = WorkOSClient(api_key="sk_test_fake", client_id=CLIENT_ID, base_url=url)

    def read(environ: WSGIEnvironment) -> Any:
        session = client.user_management.load_sealed_session(
            session_data=RequestCookies(environ).get("wos-session", ""),
            cookie_password=_FERNET_KEY,
        )
        answer = session.authenticate()
        return answer if answer.authenticated else None

    headers = [
        cookie_header(
            seal_session_from_auth_response(
                access_token=session.answer["access_token"],
                refresh_token=session.answer["refresh_token"],
                user=session.answer["user"],
                cookie_password=_FERNET_KEY,
            )
        )
        for session in sessions
    ]
    return Peer("workos (Python SDK), WebOb's cookies", _reading(read), headers)


def _flask(sessions: Sequence[MadeSession]) -> Peer:
    import flask
    from flask.sessions import SecureCookieSessionInterface

    app = flask.Flask(__name__)
    app.secret_key = _SECRET
    interface = SecureCookieSessionInterface()
    serializer = interface.get_signing_serializer(app)
    assert serializer is not None

    def read(environ: WSGIEnvironment) -> Any:
        opened = interface.open_session(app, app.request_class(environ))
        return opened and opened["user"]

    headers = [
        cookie_header(str(serializer.dumps(session.payload)), "session")
        for session in sessions
    ]
    return Peer("Flask's session (signed)", _reading(read), headers)


def _django(sessions: Sequence[MadeSession]) -> Peer:
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            SECRET_KEY=_SECRET,
            SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        )
    from django.contrib.sessions.backends.signed_cookies import SessionStore
    from django.http.cookie import parse_cookie

    def read(environ: WSGIEnvironment) -> Any:
        cookie = parse_cookie(environ["HTTP_COOKIE"]).get("sessionid")
        return SessionStore(session_key=cookie).get("user")

    def sealed(session: MadeSession) -> str:
        store = SessionStore()
        store.update(session.payload)
        store.save()
        return str(store.session_key)

    headers = [cookie_header(sealed(session), "sessionid") for session in sessions]
    return Peer("Django's session (signed)", _reading(read), headers)


def _beaker(sessions: Sequence[MadeSession]) -> Peer:
    from beaker.middleware import SessionMiddleware

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[KEY] = environ["beaker.session"].get("user")
        return hello(environ, start_response)

    options = {
        "session.type": "cookie",
        "session.key": "beaker",
        "session.crypto_type": "cryptography",
        "session.data_serializer": "json",
        "session.encrypt_key": _SECRET,
        "session.validate_key": _SECRET,
        # By default it seals the session again for every request that reads it.
        "session.save_accessed_time": False,
    }
    headers = [_of_beaker(options, session) for session in sessions]
    return Peer(
        "Beaker's session (encrypted)", SessionMiddleware(app, options), headers
    )


def _of_beaker(options: dict[str, Any], session: MadeSession) -> bytes:
    from beaker.middleware import SessionMiddleware

    sent: list[str] = []

    def save(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        # As JSON, for it cannot hold lists of other things than text.
        environ["beaker.session"].update(json.loads(json.dumps(session.payload)))
        environ["beaker.session"].save()
        start_response("200 OK", [])
        return []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Any:
        sent.extend(value for name, value in headers if name.lower() == "set-cookie")

    SessionMiddleware(save, options)({"HTTP_HOST": "localhost"}, start_response)
    name, _, value = sent[0].partition(";")[0].partition("=")
    return cookie_header(value, name)
