"""What ``import wsgi_authkit`` takes, beside what it cannot do without.

Each import happens in a fresh interpreter, by turns, and is timed inside it: PyJWT and
cryptography alone, the package, the package with a name that an app takes from it, and
for comparison WebOb, requests and the Python SDK.

Run it with ``make bench BENCH=import_time``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cost.report import Bar, machine, print_table, print_verdict, versions
from benchmarks.cost.rounds import spread

NEEDED: Final = "jwt and cryptography"
PACKAGE: Final = "wsgi_authkit"
#: All that a request needs but what comes :data:`LATER`.
MIDDLEWARE: Final = "its AuthKitMiddleware"
#: What must not be imported along with the package.
LATER: Final = ("webob", "requests", "urllib3", "redis")

#: Statements by what they import.
IMPORTS: Final = {
    NEEDED: "import jwt, cryptography.hazmat.primitives.ciphers.aead, "
    "cryptography.hazmat.primitives.kdf.hkdf, cryptography.hazmat.primitives.padding",
    PACKAGE: "import wsgi_authkit",
    "its Session": "from wsgi_authkit import Session",
    MIDDLEWARE: "from wsgi_authkit import AuthKitMiddleware",
    "webob": "import webob",
    "requests": "import requests",
    "workos": "import workos",
}

_PROGRAM: Final = """
import sys, time
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
import json, resource
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([seconds * 1000, memory / 1024, [*sys.modules]]))
"""


def measure(statement: str) -> tuple[float, float, set[str]]:
    """Return milliseconds, the most MiB of memory, and the modules that are there."""
    # Isolated: nothing of this directory or the environment is imported.
    command = [sys.executable, "-I", "-c", _PROGRAM.format(statement=statement)]
    done = subprocess.run(command, check=True, capture_output=True)
    milliseconds, memory, modules = json.loads(done.stdout)
    return milliseconds, memory, set(modules)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and return 0 if every bar is reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args(arguments).rounds
    print("What importing takes, in fresh interpreters by turns\n")
    print(machine())
    print(versions("wsgi-authkit", "pyjwt", "cryptography", "webob", "requests"))
    print(f"{versions('workos')}; medians of {rounds} rounds\n")
    imports = {
        name: statement
        for name, statement in IMPORTS.items()
        if " " in name or find_spec(name)
    }
    times: dict[str, list[float]] = {name: [] for name in imports}
    memory: dict[str, float] = {}
    modules: dict[str, set[str]] = {}
    for number in range(rounds + 1):
        for name, statement in imports.items():
            milliseconds, memory[name], modules[name] = measure(statement)
            # The first round writes byte code and fills the file cache.
            times[name] += [milliseconds] * bool(number)
    medians = {name: statistics.median(values) for name, values in times.items()}
    rows = [
        [
            name,
            f"{median:.1f}",
            f"{spread(times[name]):.0%}",
            f"{median / medians[NEEDED]:.2f}",
            f"{memory[name]:.1f}",
        ]
        for name, median in medians.items()
    ]
    print_table(["import", "ms", "spread", "/ needed", "MiB in all"], rows)
    early = [name for name in LATER if name in modules[MIDDLEWARE]]
    return print_verdict(
        [
            Bar(f"{PACKAGE} / {NEEDED}", medians[PACKAGE] / medians[NEEDED], 1.3, 1.15),
            # That it does not grow: a dataclass takes Python half a millisecond.
            Bar(
                f"{MIDDLEWARE} / {NEEDED}",
                medians[MIDDLEWARE] / medians[NEEDED],
                2,
                1.3,
            ),
            Bar(f"of {', '.join(LATER)} imported", len(early), 0, digits=0),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
