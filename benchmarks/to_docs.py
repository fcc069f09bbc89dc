"""Runs benchmarks and writes what they print into ``docs/performance.rst``.

``.venv-bench/bin/python benchmarks/to_docs.py server scale`` runs these two, and
without names all that the document has. A block is what stands, indented, behind the
comment ``.. benchmark: server``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
DOCUMENT: Final = FOLDER.parent / "docs" / "performance.rst"

_BLOCK: Final = re.compile(r"^\.\. benchmark: (\w+)\n\n::\n\n((?:    .*\n|\n)+)", re.M)


def blocks(text: str) -> dict[str, str]:
    """Return the blocks of a document by the names of their benchmarks."""
    return {block[1]: block[2] for block in _BLOCK.finditer(text)}


def replace(text: str, name: str, output: str) -> str:
    """Return a document with another block in the place of one."""
    body = indent(output.strip("\n"), "    ")

    def renew(old: re.Match[str]) -> str:
        if old[1] != name:
            return old[0]
        after = old[2][len(old[2].rstrip()) :]
        return f".. benchmark: {name}\n\n::\n\n{body}{after}"

    return _BLOCK.sub(renew, text)


def main(names: Sequence[str]) -> int:
    """Replace the blocks of the named benchmarks, and return 0 if all passed."""
    status = 0
    for name in names or blocks(DOCUMENT.read_text("utf-8")):
        command = [sys.executable, str(FOLDER / f"{name}.py")]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        print(done.stdout)
        status = status or done.returncode
        text = DOCUMENT.read_text("utf-8")
        DOCUMENT.write_text(replace(text, name, done.stdout), "utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
