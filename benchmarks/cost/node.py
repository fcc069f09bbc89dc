"""The JavaScript libraries, timed by a Node beside this process.

They are used where ``node`` is installed and ``npm install`` was run in
``benchmarks/node``, as ``make bench`` does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from benchmarks.cost.rounds import Run
from benchmarks.cost.sessions import PASSWORD, MadeSession, SessionMaker

#: By name.
NodeCases: TypeAlias = dict[str, Run]

_FOLDER: Final = Path(__file__).resolve().parents[1] / "node"
_LIBRARIES: Final = ("authkit-session", "iron-session")
_IN_FLIGHT: Final = 16


class Packages:
    """What is installed for Node."""

    def missing(self) -> str | None:
        """Return why nothing can be timed, ``None`` if it can."""
        if shutil.which("node") is None:
            return "node is not installed"
        if not (_FOLDER / "node_modules").is_dir():
            return "npm install was not run in benchmarks/node"
        return None

    def describe(self) -> str:
        """Return the versions of Node and of its packages."""
        reason = self.missing()
        if reason is not None:
            return f"The JavaScript libraries are left out: {reason}."
        node = subprocess.run(["node", "--version"], capture_output=True, check=True)
        names = json.loads((_FOLDER / "package.json").read_text("utf-8"))
        found = [f"{name} {_version(name)}" for name in names["dependencies"]]
        return ", ".join([f"Node {node.stdout.decode().strip()}", *found])


NODE_PACKAGES: Final = Packages()


@contextmanager
def node_cases(
    maker: SessionMaker, sessions: Sequence[MadeSession]
) -> Iterator[NodeCases]:
    """Run a Node and yield what it can time; nothing where there is none."""
    if NODE_PACKAGES.missing():
        yield {}
        return
    headers = [header.decode() for header in maker.headers(sessions)]
    with maker.served() as settings, _running(settings) as ask:
        ask({"headers": headers, "password": PASSWORD}, answered=False)
        yield {
            f"{library}, {'one by one' if many == 1 else f'{many} in flight'}": partial(
                _time, ask, library, many
            )
            for library in _LIBRARIES
            for many in (1, _IN_FLIGHT)
        }


def _time(ask: Any, library: str, in_flight: int, count: int) -> float:
    # So that all of them are in flight most of the time.
    count = max(count, 4 * in_flight)
    return float(ask({"library": library, "count": count, "inFlight": in_flight}))


@contextmanager
def _running(settings: dict[str, str]) -> Iterator[Any]:
    environ = {**os.environ, **settings}
    process = subprocess.Popen(
        ["node", "cost.mjs"],
        cwd=_FOLDER,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield partial(_ask, process.stdin, process.stdout)
    finally:
        process.kill()
        process.communicate()


def _ask(
    to: IO[str], answers: IO[str], job: dict[str, Any], *, answered: bool = True
) -> Any:
    to.write(f"{json.dumps(job)}\n")
    to.flush()
    if not answered:
        return None
    line = answers.readline()
    if not line:
        raise RuntimeError("Node has ended; its message is above")
    return json.loads(line)


def _version(name: str) -> str:
    package = _FOLDER / "node_modules" / name / "package.json"
    return str(json.loads(package.read_text("utf-8"))["version"])
