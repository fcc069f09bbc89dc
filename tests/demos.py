"""The demo as a process of its own, started as ``make demo`` starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import free_port

ROOT = Path(__file__).parents[1]


def until(condition: Callable[[], bool], within: float = 30) -> None:
    """Poll until a condition holds, and fail the test when it takes too long."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"it did not happen within {within} seconds")
        time.sleep(0.02)


@dataclass
class Demo:
    """The running demo."""

    process: subprocess.Popen[bytes]
    port: int
    workos_port: int
    output: Path

    @property
    def app(self) -> str:
        """The origin of the app."""
        return f"http://localhost:{self.port}"

    @property
    def workos(self) -> str:
        """The origin of the fake WorkOS."""
        return f"http://localhost:{self.workos_port}"

    @property
    def text(self) -> str:
        """What the demo and its servers have said so far."""
        return self.output.read_text("utf-8")

    def is_ready(self) -> bool:
        """Return whether it has started; a demo that has ended fails the test."""
        assert self.process.poll() is None, self.text
        return f"http://localhost:{self.port}" in self.text

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal to the demo alone and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def started(
    folder: Path,
    *options: str,
    port: int = 0,
    workos_port: int = 0,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Demo]:
    """Start the demo, in a process group of its own, and stop it in the end."""
    port, workos_port = port or free_port(), workos_port or free_port()
    command = [sys.executable, str(ROOT / "examples" / "demo.py"), *options]
    command += [f"--port={port}", f"--workos-port={workos_port}"]
    output = folder / "output.txt"
    # A developer's own account is none of a test's.
    inherited = {k: value for k, value in os.environ.items() if "WORKOS_" not in k}
    with (
        output.open("wb") as stream,
        subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
            env={**inherited, "PYTHONPATH": str(ROOT), **(environ or {})},
        ) as process,
    ):
        demo = Demo(process, port, workos_port, output)
        try:
            yield demo
        finally:
            if process.poll() is None:
                demo.stop(signal.SIGTERM)
