"""``make demo``: one of the examples and, without a WorkOS account, a fake WorkOS.

Where the environment has ``WORKOS_CLIENT_ID`` or ``WORKOS_API_KEY``, the app uses
WorkOS itself. Ctrl-C stops everything.
"""

from __future__ import annotations

import argparse
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wsgi_authkit import AuthKitConfig, ConfigurationError

HERE = Path(__file__).resolve().parent
#: What gunicorn is told to serve.
APPS = {
    "flask": "flask_app:app",
    "pyramid": "--paste=pyramid_app.ini",
    "bottle": "bottle_app:application",
    "django": "django_site.wsgi",
    "wsgi": "wsgi_app:application",
}
SOURCES = {
    **{name: f"examples/{name}_app.py" for name in APPS},
    "django": "examples/django_site/",
}
CLIENT_ID, API_KEY = "client_demo", "sk_test_demo"
START_WITHIN = 30.0  # seconds
STOP_WITHIN = 10.0

# Terminals that are closed send SIGHUP.
STOP_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
]


class DemoError(Exception):
    """The demo cannot run; the message says why."""


class Demo:
    """The servers, until a signal comes or one of them ends."""

    def __init__(self) -> None:
        # A flag and no exception: a second Ctrl-C must not interrupt the clean-up.
        self._stopped = False
        self._servers: dict[str, subprocess.Popen[bytes]] = {}

    def stop(self, *_: object) -> None:
        """Have :meth:`run` end; fit to be a signal handler."""
        self._stopped = True

    def run(self, servers: Sequence[Server], greeting: str) -> None:
        """Start the servers, say so, and wait until it is time to stop them.

        :raises DemoError: A port is taken, or a server does not start or ends.
        """
        try:
            for server in servers:
                check_port(server)
            for server in servers:
                self._servers[server.name] = server.start()
            for server in servers:
                self._wait_until_ready(server)
            if not self._stopped:
                print(greeting, flush=True)
            while not self._stopped:
                self._check()
                time.sleep(0.1)
        finally:
            self._stop_servers()

    def _wait_until_ready(self, server: Server) -> None:
        deadline = time.monotonic() + START_WITHIN
        while not self._stopped and not server.answers():
            self._check()
            if time.monotonic() > deadline:
                raise DemoError(f"{server.name} does not answer at {server.url}.")
            time.sleep(0.05)

    def _check(self) -> None:
        for name, process in self._servers.items():
            if process.poll() is not None:
                raise DemoError(f"{name} has ended; its messages are above.")

    def _stop_servers(self) -> None:
        # The app first: it must not see its WorkOS vanish.
        for process in reversed(self._servers.values()):
            process.terminate()
            try:
                process.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class Server:
    """A program that serves HTTP on a port of this machine."""

    def __init__(
        self, name: str, port: int, command: Sequence[str], **popen: Any
    ) -> None:
        self.name = name
        self.port = port
        self.url = f"http://localhost:{port}"
        self._command = [sys.executable, "-m", *command]
        self._popen = popen

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, out of reach of a Ctrl-C: the demo stops it in order."""
        return subprocess.Popen(
            self._command, start_new_session=True, cwd=HERE, **self._popen
        )

    def answers(self) -> bool:
        """Say whether it answers a request."""
        connection = http.client.HTTPConnection("localhost", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def check_port(server: Server) -> None:
    """Refuse a port on which somebody listens, over IPv4 or IPv6.

    :raises DemoError: Somebody does.
    """
    with suppress(OSError), socket.create_connection(("localhost", server.port), 1):
        raise DemoError(
            f"Port {server.port}, for {server.name}, is in use. Stop what listens "
            "there, or choose another: "
            ".venv/bin/python examples/demo.py --app flask --port 8080 "
            "--workos-port 8081"
        )


def fake_workos(options: argparse.Namespace) -> Server:
    """Return the fake WorkOS."""
    port = options.workos_port
    return Server(
        "the fake WorkOS",
        port,
        [
            "wsgi_authkit.testing",
            "--host=localhost",
            f"--port={port}",
            f"--client-id={CLIENT_ID}",
            f"--api-key={API_KEY}",
            f"--access-token-lifetime={options.access_token_lifetime}",
            f"--session-lifetime={options.session_lifetime}",
        ],
        stdout=subprocess.DEVNULL,
    )


def example(options: argparse.Namespace, environ: Mapping[str, str]) -> Server:
    """Return the chosen app under gunicorn."""
    return Server(
        "the app",
        options.port,
        [
            "gunicorn",
            f"--bind=localhost:{options.port}",
            "--workers=2",
            "--worker-class=gthread",
            "--threads=8",
            "--graceful-timeout=1",
            "--log-level=warning",
            # Its default path would take over the one of another gunicorn.
            "--no-control-socket",
            APPS[options.app],
        ],
        # Pyramid 2.1 uses what setuptools warns of.
        env={**environ, "PYTHONWARNINGS": "ignore:pkg_resources"},
    )


def has_account(environ: Mapping[str, str]) -> bool:
    """Say whether the environment has a WorkOS account."""
    return bool(environ.get("WORKOS_CLIENT_ID") or environ.get("WORKOS_API_KEY"))


def real_environ(options: argparse.Namespace) -> dict[str, str]:
    """Return the environment of the app with WorkOS itself.

    :raises ConfigurationError: Settings are missing or cannot work.
    """
    environ = {**app_defaults(options), **os.environ}
    AuthKitConfig.from_environ(environ)
    return environ


def fake_environ(options: argparse.Namespace) -> dict[str, str]:
    """Return the environment of the app with the fake WorkOS."""
    inherited = {
        name: value for name, value in os.environ.items() if "WORKOS_" not in name
    }
    return {
        **inherited,
        **app_defaults(options),
        "WORKOS_CLIENT_ID": CLIENT_ID,
        "WORKOS_API_KEY": API_KEY,
        "WORKOS_API_HOSTNAME": "localhost",
        "WORKOS_API_HTTPS": "false",
        "WORKOS_API_PORT": str(options.workos_port),
    }


def app_defaults(options: argparse.Namespace) -> dict[str, str]:
    """Return the settings that the demo can choose by itself."""
    return {
        "WORKOS_REDIRECT_URI": f"http://localhost:{options.port}/callback",
        # Of both workers; a new one each time signs everybody out.
        "WORKOS_COOKIE_PASSWORD": secrets.token_urlsafe(32),
    }


def greet(options: argparse.Namespace, workos: str) -> str:
    """Return what the demo says once it runs."""
    return (
        "\n"
        f"  The demo runs at  http://localhost:{options.port}\n"
        f"  It signs in with  {workos}\n"
        f"  It is written in  {SOURCES[options.app]}\n"
        "\n"
        "  Ctrl-C stops it.\n"
    )


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description="Serve one of the examples, with a fake WorkOS or your own.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--app", choices=APPS, default="flask", help="which example")
    parser.add_argument("--port", type=int, default=8000, help="where the app answers")
    parser.add_argument(
        "--workos-port", type=int, default=8001, help="where the fake WorkOS answers"
    )
    parser.add_argument(
        "--access-token-lifetime",
        type=int,
        default=60,
        metavar="N",
        help="seconds for which an access token of the fake WorkOS is valid",
    )
    parser.add_argument(
        "--session-lifetime",
        type=int,
        default=600,
        metavar="N",
        help="seconds after which a session of the fake WorkOS is over",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    options = parse_arguments(arguments)
    demo = Demo()
    for number in STOP_SIGNALS:
        signal.signal(number, demo.stop)
    try:
        if has_account(os.environ):
            environ = real_environ(options)
            demo.run([example(options, environ)], greet(options, "WorkOS"))
        else:
            workos = fake_workos(options)
            servers = [workos, example(options, fake_environ(options))]
            demo.run(servers, greet(options, f"a fake WorkOS at {workos.url}"))
    except (DemoError, ConfigurationError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
