"""Real servers with the site of :mod:`benchmarks.race.app`, each on a free port.

Every server is a process group of its own, so that an orphan is found.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FACTORY: Final = "benchmarks.race.app:make_app"

#: Seconds.
START_WITHIN: Final = 30.0
STOP_WITHIN: Final = 15.0


class ServerFailed(Exception):
    """A server did not start or stop; the message is its log."""


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path
    #: The signal that asks it to stop.
    stop_signal: int = signal.SIGTERM

    @property
    def url(self) -> str:
        """The origin."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self.output.read_text("utf-8", "replace")

    def stop(self) -> int:
        """Ask it to stop and return its exit status.

        :raises ServerFailed: It does not stop, or leaves processes behind.
        """
        self.process.send_signal(self.stop_signal)
        try:
            status = self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"it did not stop:\n{self.log}") from None
        if not until(lambda: not self._has_processes(), 2):
            raise ServerFailed(f"it left processes behind:\n{self.log}")
        return status

    def kill(self) -> None:
        """Kill everything that is left of it."""
        if self._has_processes():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _has_processes(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


def until(condition: Callable[[], bool], within: float = START_WITHIN) -> bool:
    """Poll until a condition holds and return whether it came to that."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Return whether somebody listens on a port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def listens_at(path: Path) -> bool:
    """Return whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    *,
    stop_signal: int = signal.SIGTERM,
) -> Iterator[Server]:
    """Run a server that listens on a port while the block runs.

    :param folder: For its log; its temporary files too, so that two servers in
        different folders share none.
    :param environ: Beside the few variables that every program needs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{Path(command[0]).name}-{port}.log"
    base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    private = {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
            env={**base, **private, **(environ or {})},
        )
    server = Server(process, port, output, stop_signal)
    try:
        ready = until(lambda: process.poll() is not None or listens(port))
        if not ready or process.poll() is not None:
            raise ServerFailed(f"it did not start:\n{server.log}")
        yield server
    finally:
        server.kill()


def gunicorn(port: int, *options: str, factory: str = FACTORY) -> list[str]:
    """Return the command that serves the site with Gunicorn.

    :param factory: What makes another app.
    """
    return [
        *(sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}"),
        *("--worker-tmp-dir=/tmp", "--timeout=60", "--graceful-timeout=5"),
        *(*options, f"{factory}()"),
    ]


def waitress(port: int, *options: str) -> list[str]:
    """Return the command that serves the site with Waitress."""
    listen = f"--listen=127.0.0.1:{port}"
    return [sys.executable, "-m", "waitress", listen, *options, "--call", FACTORY]


def uwsgi(port: int, *options: str) -> list[str]:
    """Return the command that serves the site with uWSGI."""
    return [
        *(uwsgi_program() or "uwsgi", f"--http-socket=127.0.0.1:{port}", "--master"),
        *("--need-app", "--die-on-term", "--listen=100", "--buffer-size=16384"),
        *(f"--virtualenv={sys.prefix}", f"--pythonpath={ROOT}"),
        *(*options, f"--module={FACTORY}()"),
    ]


def uwsgi_program() -> str | None:
    """Return the path of uWSGI: beside this Python, where pip puts it, or on PATH."""
    beside = Path(sys.executable).with_name("uwsgi")
    return str(beside) if beside.exists() else shutil.which("uwsgi")


def redis_server(port: int, *options: str) -> list[str]:
    """Return the command that runs Redis, which keeps nothing on disk."""
    return [
        *("redis-server", "--port", str(port), "--bind", "127.0.0.1"),
        *("--save", "", "--appendonly", "no", *options),
    ]


def missing(name: str) -> str | None:
    """Return why a server cannot be run, ``None`` if it can.

    :param name: ``"gunicorn"``, ``"gevent"``, ``"waitress"``, ``"uwsgi"`` or
        ``"redis-server"``.
    """
    if name in ("uwsgi", "redis-server"):
        found = uwsgi_program() if name == "uwsgi" else shutil.which(name)
        return None if found else f"{name} is not installed"
    return None if find_spec(name) else f"{name} is not installed"
