"""Sessions to measure with: signed by a fake WorkOS, as large as real ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from wsgi_authkit import AuthKitConfig
from wsgi_authkit.seal import IronEncryption
from wsgi_authkit.session import dump_payload, parse_payload
from wsgi_authkit.testing import FakeWorkOS, serve
from wsgi_authkit.tokens import read_unverified_claims

PASSWORD: Final = "a cookie password for the benchmarks, long enough"
CLIENT_ID: Final = "client_01JZ8E6T"
REDIRECT_URI: Final = "http://localhost:8000/callback"
COOKIE_NAME: Final = "wos-session"
#: Seconds: longer than any benchmark runs.
LIFETIME: Final = 24 * 3600

#: What a browser sends besides: analytics, a preference, a CSRF token.
OTHER_COOKIES: Final = (
    "_ga=GA1.1.1186264359.1764092154",
    "_ga_Z4K1VQ0J7T=GS2.1.s1764092154$o1$g1$t1764092201$j13$l0$h0",
    "theme=dark",
    "csrftoken=q1X0yS8bVdUuR4mT7kPz2wLhE5nJfGcA",
)
#: The header of somebody who has no session.
WITHOUT_SESSION: Final = "; ".join(OTHER_COOKIES).encode()

_PERMISSIONS: Final = [
    f"{thing}:{action}"
    for thing in ("posts", "users", "teams", "bills", "files")
    for action in ("view", "edit")
]


@dataclass(frozen=True, slots=True)
class MadeSession:
    """A session: what WorkOS answered, and what is sealed of it."""

    answer: dict[str, Any]
    #: The JSON object in the session cookie.
    payload: dict[str, Any]

    @property
    def token(self) -> str:
        """The access token."""
        return str(self.payload["accessToken"])


class SessionMaker:
    """Makes sessions, each of a person of its own, and knows how to open them.

    :param lifetime: Of the access tokens, in seconds.
    :param clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        lifetime: float = LIFETIME,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.workos = FakeWorkOS(
            client_id=CLIENT_ID, access_token_lifetime=lifetime, clock=clock
        )
        # A key set of two, as it is after a rotation.
        self.workos.rotate_keys()
        self._organization = self.workos.add_organization("Acme")
        self._encryption = IronEncryption(PASSWORD)
        self._made = 0

    def make(self, count: int) -> list[MadeSession]:
        """Return new sessions."""
        return [self._make() for _ in range(count)]

    def another(self, session: MadeSession) -> MadeSession:
        """Return another session of the same person, which the fake WorkOS forgets."""
        self._made += 1
        claims = read_unverified_claims(session.token)
        token = self.workos.sign({**claims, "sid": f"session_{self._made:030}"})
        return replace(session, payload={**session.payload, "accessToken": token})

    def with_new_header(self, session: MadeSession) -> MadeSession:
        """Return the same session, with a token header that no other token has."""
        self._made += 1
        claims = read_unverified_claims(session.token)
        token = self.workos.sign(claims, {"number": self._made})
        return replace(session, payload={**session.payload, "accessToken": token})

    def seal(self, session: MadeSession) -> str:
        """Return a cookie of a session; every call returns another one."""
        return self._encryption.seal(session.payload)

    def headers(self, sessions: Sequence[MadeSession]) -> list[bytes]:
        """Return a ``Cookie`` header for each session."""
        return [cookie_header(self.seal(session)) for session in sessions]

    def config(self) -> AuthKitConfig:
        """Return the configuration of an app that opens them."""
        return AuthKitConfig(
            client_id=CLIENT_ID,
            api_key="sk_test_fake",
            redirect_uri=REDIRECT_URI,
            cookie_password=PASSWORD,
        )

    @contextmanager
    def served(self) -> Iterator[dict[str, str]]:
        """Serve WorkOS and yield the environment of an app in another process."""
        with serve(self.workos) as served:
            yield {
                "WORKOS_CLIENT_ID": CLIENT_ID,
                "WORKOS_API_KEY": "sk_test_fake",
                "WORKOS_REDIRECT_URI": REDIRECT_URI,
                "WORKOS_COOKIE_PASSWORD": PASSWORD,
                "WORKOS_API_HOSTNAME": "127.0.0.1",
                "WORKOS_API_PORT": str(served.port),
                "WORKOS_API_HTTPS": "false",
            }

    def _make(self) -> MadeSession:
        self._made += 1
        number = f"{self._made:06}"
        user = self.workos.add_user(
            f"ada.lovelace.{number}@example.com",
            first_name="Ada",
            last_name="Lovelace",
            profile_picture_url=f"https://images.example/avatars/{number}.png",
        )
        self.workos.add_membership(
            user, self._organization, role="admin", permissions=_PERMISSIONS
        )
        answer = self.workos.create_session(user, organization_id=self._organization.id)
        return MadeSession(answer, dump_payload(parse_payload(answer)))


def cookie_header(value: str, name: str = COOKIE_NAME) -> bytes:
    """Return the header of a browser with a session cookie among others."""
    return cookies_header(f"{name}={value}")


def cookies_header(*cookies: str) -> bytes:
    """Return the header of a browser with cookies among others."""
    others = OTHER_COOKIES
    return "; ".join((*others[:2], *cookies, *others[2:])).encode()


def describe(maker: SessionMaker, session: MadeSession) -> str:
    """Return the sizes that the cost depends on."""
    cookie = maker.seal(session)
    user = json.dumps(session.payload["user"], separators=(",", ":"))
    payload = json.dumps(session.payload, separators=(",", ":"))
    return (
        f"token {len(session.token)} B, user {len(user)} B, session {len(payload)} B, "
        f"cookie {len(cookie)} B, Cookie header {len(cookie_header(cookie))} B"
    )
