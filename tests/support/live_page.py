"""A page of a running server in headless Chromium, with a real mouse and keyboard (Chrome DevTools Protocol)."""

import asyncio
import base64
import json
import re
import subprocess
import time
from pathlib import Path

from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import websocket_connect

from support.browser import CHROMIUM

TIMEOUT_S = 120


class LivePage:
    """Open an address; a context manager, so that no browser is left behind."""

    def __init__(self, address: str, profile: Path, *, width: int = 1400, height: int = 900):
        self._loop, self._count, self.problems = asyncio.new_event_loop(), 0, []
        self._process = subprocess.Popen(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"),
                *(f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            self._socket = self._loop.run_until_complete(self._connect())
            self.call("Runtime.enable")
            self.call("Page.enable")
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            self.call("Emulation.setDeviceMetricsOverride", **size)
            self.call("Page.navigate", url=address)
        except BaseException:
            self._process.kill()
            raise

    async def _connect(self):
        for line in self._process.stderr:
            if found := re.search(r"ws://([\d.:]+)/", line):
                break
        else:
            raise AssertionError("Chromium did not start")
        tabs = json.loads((await AsyncHTTPClient().fetch(f"http://{found[1]}/json/list")).body)
        page = next(tab for tab in tabs if tab["type"] == "page")
        return await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=1 << 28)

    def __enter__(self) -> "LivePage":
        return self

    def __exit__(self, *error) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait(timeout=30)
        self._process.stderr.close()
        self._loop.close()

    def call(self, method: str, **parameters) -> dict:
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, parameters), TIMEOUT_S))

    async def _call(self, method: str, parameters: dict) -> dict:
        self._count += 1
        await self._socket.write_message(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            message = json.loads(await self._socket.read_message())
            if message.get("method") == "Runtime.exceptionThrown":
                self.problems.append(message["params"]["exceptionDetails"]["exception"].get("description", "?"))
            if message.get("id") == self._count:
                assert "error" not in message, message
                return message["result"]

    def ask(self, expression: str):
        """Return the value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        until(lambda: self.ask(f"(() => {{ try {{ return !!({expression}); }} catch (e) {{ return false; }} }})()"))

    def mouse(self, kind: str, x: float, y: float, **options) -> None:
        buttons = {"button": "left", "clickCount": 1} if kind in ("mousePressed", "mouseReleased") else {}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **buttons, **options)

    def click(self, x: float, y: float) -> None:
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)

    def drag(self, places: list[tuple[float, float]]) -> None:
        self.mouse("mouseMoved", *places[0])
        self.mouse("mousePressed", *places[0])
        for place in places[1:]:
            self.mouse("mouseMoved", *place, buttons=1)
            time.sleep(0.05)
        self.mouse("mouseReleased", *places[-1])

    def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


def until(condition, timeout_s: float | None = None) -> None:
    """Wait until something is true."""
    end = time.monotonic() + (timeout_s or TIMEOUT_S)
    while not condition():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.1)
