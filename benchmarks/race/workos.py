"""A fake WorkOS on a port, in a process of its own if need be, and its sessions."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any, Final

from benchmarks.race.app import CERTIFICATE, WORKER
from wsgi_authkit import AuthKitConfig
from wsgi_authkit.seal import IronEncryption
from wsgi_authkit.session import dump_payload, parse_payload
from wsgi_authkit.testing import FakeWorkOS, Fault, serve

PASSWORD: Final = "a cookie password for the race, long enough"
REDIRECT_URI: Final = "http://localhost:8000/callback"
USER: Final = "user_ada"
#: Two organizations that the user is a member of.
ORGANIZATION, OTHER_ORGANIZATION = "org_acme", "org_globex"
#: Seconds that the past is away: longer than an access token lives.
PAST: Final = 600.0


class ServedWorkOS:
    """WorkOS on a port; every method can be called from another process.

    :param certificate: A PEM file with key and certificate, for https.
    :param clock: Unix seconds.
    """

    def __init__(
        self,
        certificate: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._now = clock
        self._behind = 0.0
        self._certificate = certificate
        self._stack = ExitStack()
        self.fake = FakeWorkOS.with_demo_data(clock=self._clock)
        self._port = 0

    def start(self) -> None:
        """Listen."""
        context = None
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate)
        # A call for the keys before the race: generating one takes a moment.
        self.fake.jwk_set()
        served = self._stack.enter_context(serve(self.fake, ssl_context=context))
        self._port = served.port

    def stop(self) -> None:
        """Close the port."""
        self._stack.close()

    def settings(self, redirect_uri: str = REDIRECT_URI) -> dict[str, str]:
        """Return the environment of an app that signs in here."""
        settings = {
            "WORKOS_CLIENT_ID": "client_test",
            "WORKOS_API_KEY": "sk_test_fake",
            "WORKOS_REDIRECT_URI": redirect_uri,
            "WORKOS_COOKIE_PASSWORD": PASSWORD,
            "WORKOS_API_HOSTNAME": "127.0.0.1",
            "WORKOS_API_PORT": str(self._port),
            "WORKOS_API_HTTPS": "true" if self._certificate else "false",
        }
        if self._certificate is not None:
            settings[CERTIFICATE] = str(self._certificate)
        return settings

    def set_grace(self, seconds: float) -> None:
        """Have a retired refresh token work for so long."""
        self.fake.settings.refresh_grace = seconds

    def set_lifetime(self, seconds: float) -> None:
        """Have access tokens live for so long."""
        self.fake.settings.access_token_lifetime = seconds

    def new_cookie(self, *, expired: bool = True) -> str:
        """Return the ``Cookie`` header of a new session."""
        self._behind = PAST if expired else 0.0
        try:
            answer = self.fake.create_session(
                self.fake.users[USER], organization_id=ORGANIZATION
            )
        finally:
            self._behind = 0.0
        sealed = IronEncryption(PASSWORD).seal(dump_payload(parse_payload(answer)))
        return f"wos-session={sealed}"

    def fail(self, fault: Fault, times: int = 1) -> None:
        """Have refreshes fail."""
        self.fake.fail(fault, path="refresh", times=times)

    def recover(self) -> None:
        """Have nothing fail."""
        self.fake.recover()

    def reset(self) -> None:
        """Forget the calls so far."""
        self.fake.reset_calls()

    def count(self) -> int:
        """Return how many refreshes were asked for."""
        return self.fake.count("refresh")

    def workers(self) -> list[int]:
        """Return the processes that asked for a refresh, in order."""
        return [
            int(call.headers[WORKER.lower()])
            for call in list(self.fake.calls)
            if call.matches("refresh", None) and WORKER.lower() in call.headers
        ]

    def _clock(self) -> float:
        return self._now() - self._behind


class _Manager(BaseManager):
    """Runs :class:`ServedWorkOS` in another process."""


_Manager.register("ServedWorkOS", ServedWorkOS)


@contextmanager
def workos_process(
    *, grace: float = 0.0, clock: Callable[[], float] = time.time
) -> Iterator[Any]:
    """Run WorkOS in a process of its own while the block runs.

    :param grace: Seconds for which a retired refresh token still works.
    :param clock: Unix seconds, in any process.
    """
    manager = _Manager(ctx=get_context("spawn"))
    with manager:
        workos: Any = manager.ServedWorkOS(None, clock)  # type: ignore[attr-defined]
        workos.start()
        workos.set_grace(grace)
        try:
            yield workos
        finally:
            workos.stop()


def config_of(settings: dict[str, str]) -> AuthKitConfig:
    """Return the configuration of an app in this process."""
    return AuthKitConfig.from_environ(settings)
