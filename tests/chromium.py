"""A headless Chromium, by its DevTools protocol over a pipe: no driver, no port."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

PROGRAM: Final = shutil.which("chromium") or shutil.which("google-chrome")

#: Seconds for any answer or page.
PATIENCE: Final = 30.0

_OPTIONS: Final = (
    "--headless=new",
    "--no-sandbox",  # which needs more rights than a container gives
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    # The tests speak to this machine, and so does the browser.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)
# It reads descriptor 3 and writes 4.
_EXEC: Final = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)


class Chromium:
    """One tab."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._pending = b""
        self._count = 0
        self._events: list[dict[str, Any]] = []
        self._session: dict[str, str] = {}
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self.send("Page.enable")

    def send(self, method: str, **params: Any) -> Any:
        """Send a command and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        os.write(self._to, json.dumps({**message, **self._session}).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url: str) -> None:
        """Type an address and wait for the page."""
        self._events.clear()
        assert not self.send("Page.navigate", url=url).get("errorText"), url
        self.wait_for("Page.loadEventFired")

    def click(self, selector: str) -> None:
        """Click on what a CSS selector finds first."""
        self._events.clear()
        where = self.evaluate(
            f"(found => {{ found.scrollIntoView({{block: 'center'}});"
            f"const r = found.getBoundingClientRect();"
            f"return [r.x + r.width / 2, r.y + r.height / 2] }})"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            button = {"button": "left", "clickCount": 1, "x": where[0], "y": where[1]}
            self.send("Input.dispatchMouseEvent", type=kind, **button)

    def follow(self, selector: str) -> None:
        """Click, and wait for the page that comes."""
        self.click(selector)
        self.wait_for("Page.loadEventFired")

    def evaluate(self, script: str) -> Any:
        """Return the value of a script on the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    @property
    def url(self) -> str:
        """What the address bar shows."""
        return str(self.evaluate("location.href"))

    @property
    def text(self) -> str:
        """What the page shows."""
        return str(self.evaluate("document.body.innerText"))

    @property
    def cookies(self) -> dict[str, dict[str, Any]]:
        """All cookies of all sites by name."""
        found = self.send("Network.getAllCookies")["cookies"]
        return {cookie["name"]: cookie for cookie in found}

    def wait_for(self, event: str, text: str = "") -> None:
        """Wait for an event since the last :meth:`open` or :meth:`click`.

        :param text: What its parameters contain.
        """
        while not any(
            one["method"] == event and text in json.dumps(one) for one in self._events
        ):
            self._receive()

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._pending:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._from], [], [], left)[0]:
                raise TimeoutError("Chromium does not answer")
            block = os.read(self._from, 1 << 20)
            if not block:
                raise EOFError("Chromium has ended")
            self._pending += block
        text, _, self._pending = self._pending.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self._events.append(message)
        return message


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """Run a Chromium with a fresh profile in ``folder`` while the block runs."""
    assert PROGRAM is not None
    for_browser, to_browser = os.pipe()
    from_browser, for_us = os.pipe()
    command = [PROGRAM, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
    # Two digits, so that neither is the 3 or 4 of the other.
    passed = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (for_browser, for_us)]
    process = subprocess.Popen(
        [sys.executable, "-c", _EXEC, *map(str, passed), *command],
        pass_fds=passed,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in (for_browser, for_us, *passed):
        os.close(end)
    try:
        yield Chromium(to_browser, from_browser)
    finally:
        process.terminate()
        process.wait(PATIENCE)
        os.close(to_browser)
        os.close(from_browser)
