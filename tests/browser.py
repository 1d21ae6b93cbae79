"""A headless Chromium on this machine, driven over its DevTools protocol: nothing but the loopback is used."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
# fmt: off
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
)
# fmt: on


class Tab:
    """A page in the browser: what it says goes to `events`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection, self._number = connection, 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask for something, and wait for the answer."""
        self._number += 1
        self.connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.connection.recv(timeout=30))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def run(self, expression: str) -> Any:
        """The value of an expression of JavaScript, waited for where it is a promise."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def view(self, width: int, height: int, scheme: str) -> None:
        """The window's size in CSS pixels, and "light" or "dark"."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, page: Path) -> float:
        """Load a page and wait until its charts are drawn; the milliseconds that took, by the browser's clock."""
        self.call("Page.navigate", url=page.resolve().as_uri())
        return self.run(
            """new Promise(done => { const look = () => document.readyState === "complete"
            && document.documentElement.dataset.ready ? done(performance.now()) : setTimeout(look, 10); look(); })"""
        )

    def press(self, key: str) -> None:
        """A key of the keyboard."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def complaints(self) -> list[Any]:
        """Errors and warnings of the page so far."""
        found = []
        for event in self.events:
            match event["method"], event["params"]:
                case "Runtime.exceptionThrown", said:
                    found.append(said)
                case "Runtime.consoleAPICalled", {"type": "error" | "warning" | "assert"} as said:
                    found.append(said)
                case "Log.entryAdded", {"entry": {"level": "error" | "warning"} as said}:
                    found.append(said)
        return found

    def requests(self) -> list[str]:
        """The addresses that the page asked for so far; what it holds itself is none."""
        asked = [
            e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith("data:")]

    def picture(self, whole: bool = True) -> bytes:
        """The page, or what the window shows of it, as a PNG file."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(shot["data"])


@contextmanager
def chromium(folder: Path) -> Iterator[Tab]:
    """A tab of a new browser, which ends with the block; `folder` is its own, and empty."""
    assert CHROMIUM is not None
    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        # The browser says which port it took.
        for line in process.stderr:
            if line.startswith("DevTools listening on "):
                break
        else:
            raise AssertionError("Chromium ended before it listened.")
        browser = line.split()[-1]
        with connect(browser, max_size=None, proxy=None) as main:
            main.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
            targets = json.loads(main.recv(timeout=30))["result"]["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        address = f"{browser.partition('/devtools/')[0]}/devtools/page/{page}"
        with connect(address, max_size=None, proxy=None) as connection:
            yield Tab(connection)
            connection.send(json.dumps({"id": 0, "method": "Browser.close"}))
        process.wait(timeout=20)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
