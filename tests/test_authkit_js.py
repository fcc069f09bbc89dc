"""What ``authkit.js`` does when, with fake timers in Node.js.

Runs where Node.js is installed. With ``CI`` in the environment a missing Node.js is a
failure, not a skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).with_name("js")
TESTS = sorted(FOLDER.glob("*.test.mjs"))


@pytest.mark.parametrize("path", TESTS, ids=[path.name for path in TESTS])
def test_module_keeps_to_its_times(path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        if os.environ.get("CI"):
            pytest.fail("Node.js is not installed")
        pytest.skip("Node.js is not installed")
    finished = subprocess.run(
        [node, "--test", "--test-reporter=spec", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=100,
    )

    assert finished.returncode == 0, finished.stdout


def test_there_are_tests_to_run() -> None:
    assert TESTS
