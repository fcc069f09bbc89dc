"""``python -m wsgi_authkit.testing``: the fake on a port, with demo data."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from wsgi_authkit.testing.fake_workos import FakeWorkOS
from wsgi_authkit.testing.server import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status."""
    options = _parser().parse_args(arguments)
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: signals.append(received))
    fake = FakeWorkOS.with_demo_data(
        client_id=options.client_id,
        api_key=options.api_key,
        access_token_lifetime=options.access_token_lifetime,
        session_lifetime=options.session_lifetime,
        refresh_grace=options.refresh_grace,
    )
    with ExitStack() as stack:
        try:
            served = stack.enter_context(serve(fake, options.host, options.port))
        except OSError as error:
            sys.exit(f"{error}; choose another port with --port")
        sys.stdout.write(_greeting(served.url, options.host, served.port, fake))
        sys.stdout.flush()
        # An Event could deadlock: the handler runs inside of whatever it interrupts.
        while not signals:
            time.sleep(0.1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wsgi_authkit.testing",
        description="Serve a fake WorkOS with three people and three organizations.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8001, help="0 takes a free one")
    parser.add_argument("--client-id", default="client_test", help="the client id")
    parser.add_argument("--api-key", default="sk_test_fake", help="the API key")
    parser.add_argument(
        "--access-token-lifetime", type=int, default=300, metavar="N", help="seconds"
    )
    parser.add_argument(
        "--session-lifetime",
        type=int,
        default=34_560_000,
        metavar="N",
        help="seconds after which a session is over; 400 days unless given",
    )
    parser.add_argument(
        "--refresh-grace",
        type=int,
        default=30,
        metavar="N",
        help="seconds for which a retired refresh token still works",
    )
    return parser


def _greeting(url: str, host: str, port: int, fake: FakeWorkOS) -> str:
    return (
        f"Fake WorkOS listens on {url}\n\n"
        "Settings for the app:\n"
        f"  WORKOS_CLIENT_ID={fake.settings.client_id}\n"
        f"  WORKOS_API_KEY={fake.settings.api_key}\n"
        f"  WORKOS_API_HOSTNAME={host}\n"
        f"  WORKOS_API_PORT={port}\n"
        "  WORKOS_API_HTTPS=false\n"
        "  WORKOS_REDIRECT_URI=http://localhost:8000/callback\n"
        f"  WORKOS_COOKIE_PASSWORD={secrets.token_urlsafe(24)}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
