"""Running an example as its docstring says: one command, on free ports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.demos import until
from tests.servers import free_port

ROOT = Path(__file__).parents[1]


@dataclass
class Example:
    """A running example."""

    process: subprocess.Popen[bytes]
    url: str
    workos: str
    output: Path

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self.output.read_text("utf-8")

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.text
        return self.url in self.text


@contextmanager
def running(folder: Path, name: str) -> Iterator[Example]:
    """Run an example until the block is left, and stop it by Ctrl-C."""
    port, workos_port = free_port(), free_port()
    output = folder / "output.txt"
    command = [sys.executable, str(ROOT / "examples" / name)]
    command += [f"--port={port}", f"--workos-port={workos_port}"]
    with (
        output.open("wb") as stream,
        subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process,
    ):
        example = Example(
            process,
            f"http://localhost:{port}",
            f"http://localhost:{workos_port}",
            output,
        )
        try:
            until(example.is_ready)
            yield example
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0, example.text
            assert "Traceback" not in example.text
        finally:
            if process.poll() is None:
                process.kill()
