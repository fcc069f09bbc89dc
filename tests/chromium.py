"""A headless Chromium, by its DevTools protocol over a pipe: no driver, no port."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
# DOM code, character and Windows key code.
_KEYS: Final = {
    "Tab": ("Tab", "", 9),
    "Enter": ("Enter", "\r", 13),
    "Space": ("Space", " ", 32),
    "Escape": ("Escape", "", 27),
}
_SHIFT: Final = 8


# Third-party cookies are allowed: the site has to be safe where a browser does that.
_PREFERENCES: Final = {"profile": {"cookie_controls_mode": 0}}


class PageLost(Exception):
    """A script did not come to its end, for the page is another one by now."""


class _Pipe:
    """The browser's end of the protocol, which all tabs share."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._pending = b""
        self._count = 0
        #: What has happened and nobody has taken yet, by session.
        self.events: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    def send(self, session: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a command and return the answer to it."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self._count:
                return answer

    def receive(self) -> dict[str, Any]:
        """Wait for a message and return it."""
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
            self.events[message.get("sessionId", "")].append(message)
        return message


class Chromium:
    """One tab."""

    def __init__(self, pipe: _Pipe, *, background: bool = False) -> None:
        self._pipe = pipe
        self._session = ""
        self._events: list[dict[str, Any]] = []
        self._problems: list[str] = []
        created = self.send(
            "Target.createTarget", url="about:blank", background=background
        )
        self._target = created["targetId"]
        attached = self.send(
            "Target.attachToTarget", targetId=self._target, flatten=True
        )
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Audits"):
            self.send(f"{domain}.enable")

    def new_tab(self, *, background: bool = False) -> Chromium:
        """Return another tab of this browser, in front unless in the background."""
        return Chromium(self._pipe, background=background)

    def bring_to_front(self) -> None:
        """Choose this tab: it becomes visible and another one hidden."""
        self.send("Page.bringToFront")

    def close(self) -> None:
        """Close the tab."""
        target, self._session = self._target, ""
        self.send("Target.closeTarget", targetId=target)

    def send(self, method: str, **params: Any) -> Any:
        """Send a command and return its result."""
        answer = self._pipe.send(self._session, method, params)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url: str) -> None:
        """Type an address and wait for the page."""
        self._forget_events()
        navigated = self.send("Page.navigate", url=url)
        assert "errorText" not in navigated, navigated
        self.wait_for("Page.loadEventFired")

    def reload(self) -> None:
        """Load the page again and wait for it."""
        self._forget_events()
        self.send("Page.reload")
        self.wait_for("Page.loadEventFired")

    def click(self, selector: str) -> None:
        """Click on what a CSS selector finds first."""
        self._forget_events()
        self.click_at(
            *self.evaluate(
                f"(found => {{ found.scrollIntoView({{block: 'center'}});"
                f"const r = found.getBoundingClientRect();"
                f"return [r.x + r.width / 2, r.y + r.height / 2] }})"
                f"(document.querySelector({json.dumps(selector)}))"
            )
        )

    def click_at(self, x: float, y: float) -> None:
        """Click on a point of the viewport, whatever is there."""
        for kind in ("mousePressed", "mouseReleased"):
            button = {"button": "left", "clickCount": 1, "x": x, "y": y}
            self.send("Input.dispatchMouseEvent", type=kind, **button)

    def follow(self, selector: str) -> None:
        """Click, and wait for the page that comes."""
        self.click(selector)
        self.wait_for("Page.loadEventFired")

    def follow_script(self, script: str) -> None:
        """Run a script, and wait for the page that comes."""
        self._forget_events()
        self.evaluate(f"void {script}")
        self.wait_for("Page.loadEventFired")

    def press(self, key: str) -> None:
        """Press a key of :data:`_KEYS`, such as ``"Tab"`` or ``"Shift+Tab"``."""
        shift, _, name = key.rpartition("+")
        code, text, number = _KEYS[name]
        params = {
            "key": text if name == "Space" else name,
            "code": code,
            "windowsVirtualKeyCode": number,
            "modifiers": _SHIFT if shift else 0,
        }
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **params)
        self.send("Input.dispatchKeyEvent", type="keyUp", **params)

    def evaluate(self, script: str) -> Any:
        """Return the value of a script on the page; a promise is awaited.

        :raises PageLost: The page went away before.
        """
        answer = self._pipe.send(
            self._session,
            "Runtime.evaluate",
            {"expression": script, "returnByValue": True, "awaitPromise": True},
        )
        if "error" in answer:
            raise PageLost(answer["error"]["message"])
        found = answer["result"]
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str, within: float = PATIENCE) -> Any:
        """Ask a script until its value is true, and return that."""
        deadline = time.monotonic() + within
        while True:
            with suppress(PageLost):
                if found := self.evaluate(script):
                    return found
            assert time.monotonic() < deadline, f"not within {within} s: {script}"
            time.sleep(0.02)

    def emulate(
        self,
        *,
        width: int | None = None,
        height: int = 800,
        dark: bool = False,
        reduced_motion: bool = False,
    ) -> None:
        """Have another screen and other preferences.

        :param width: CSS pixels; ``None`` is the window's own size.
        """
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if reduced_motion else "no-preference",
        }
        listed = [{"name": name, "value": value} for name, value in features.items()]
        self.send("Emulation.setEmulatedMedia", features=listed)
        if width is None:
            self.send("Emulation.clearDeviceMetricsOverride")
            return
        screen = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.send("Emulation.setDeviceMetricsOverride", mobile=width < 600, **screen)

    def screenshot(self, path: Path) -> None:
        """Save what the tab shows as a PNG file."""
        data = self.send("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    @property
    def accessible(self) -> list[tuple[str, str]]:
        """Role and name of everything that assistive technology is told of."""
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        ]

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

    @property
    def problems(self) -> list[str]:
        """What went wrong in the tab's pages so far.

        Exceptions that nobody caught, errors in the console, and violations of a
        Content Security Policy; a status of 400 and more is none.
        """
        self.evaluate("0")  # lets what has been reported come in
        self._take_events()
        return list(self._problems)

    def wait_for(self, event: str, text: str = "") -> None:
        """Wait for an event since the last :meth:`open`, :meth:`reload` or click.

        :param text: What its parameters contain.
        """
        while True:
            self._take_events()
            if any(
                one["method"] == event and text in json.dumps(one)
                for one in self._events
            ):
                return
            self._pipe.receive()

    def _take_events(self) -> None:
        came = self._pipe.events[self._session]
        self._events += came
        self._problems += [text for one in came if (text := _problem(one))]
        came.clear()

    def _forget_events(self) -> None:
        self._take_events()
        self._events.clear()


def _problem(event: dict[str, Any]) -> str | None:
    """Return what is wrong, ``None`` if nothing is."""
    params = event["params"]
    if event["method"] == "Runtime.exceptionThrown":
        return json.dumps(params["exceptionDetails"])
    if event["method"] == "Runtime.consoleAPICalled" and params["type"] == "error":
        return json.dumps(params["args"])
    if event["method"] == "Log.entryAdded":
        entry = params["entry"]
        if entry["level"] == "error" and entry["source"] != "network":
            return str(entry["text"])
    if event["method"] == "Audits.issueAdded":
        issue = params["issue"]
        if issue["code"] == "ContentSecurityPolicyIssue":
            return json.dumps(issue["details"])
    return None


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """Run a Chromium with a fresh profile in ``folder`` while the block runs."""
    assert PROGRAM is not None
    profile = folder / "Default"
    profile.mkdir()
    (profile / "Preferences").write_text(json.dumps(_PREFERENCES))
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
        yield Chromium(_Pipe(to_browser, from_browser))
    finally:
        process.terminate()
        process.wait(PATIENCE)
        os.close(to_browser)
        os.close(from_browser)
