"""A real browser for tests: Chromium by its driver's protocol (W3C WebDriver), with the standard library alone."""

import http.client
import json
import shutil
import socket
import subprocess
import time
from types import TracebackType
from typing import Any, Self

END, HOME, RIGHT = "\ue010", "\ue011", "\ue014"
_ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


def installed() -> bool:
    return shutil.which("chromedriver") is not None and shutil.which("chromium") is not None


class Browser:
    """One window."""

    def __enter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._session = ""
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            self._wait()
            options = {"binary": shutil.which("chromium"), "args": _ARGUMENTS}
            logs = {"performance": "ALL", "browser": "ALL"}
            wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": logs}}
            self._session = f"/session/{self._call('POST', '/session', capabilities=wanted)['sessionId']}"
        except BaseException:
            self._driver.kill()
            self._driver.wait()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._call("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait()

    def _wait(self) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                self._call("GET", "/status")
            except ConnectionRefusedError:
                assert time.monotonic() < end, "chromedriver does not answer"
                time.sleep(0.1)
            else:
                return

    def _call(self, method: str, path: str, **body: object) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        try:
            connection.request(method, self._session + path, json.dumps(body) if method == "POST" else None)
            answer = connection.getresponse()
            value = json.load(answer)["value"]
        finally:
            connection.close()
        assert answer.status == 200, value["message"]
        return value

    def _post(self, path: str, **body: object) -> Any:
        return self._call("POST", path, **body)

    def open(self, url: str) -> None:
        self._post("/url", url=url)

    def resize(self, width: int, height: int) -> None:
        """As a phone of that many pixels would show it."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        self._post("/goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=size)

    def run(self, script: str) -> Any:
        """What a script returns."""
        return self._post("/execute/sync", script=script, args=[])

    def type(self, selector: str, text: str) -> None:
        element = self._post("/element", using="css selector", value=selector)
        self._post(f"/element/{next(iter(element.values()))}/value", text=text)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the mouse, in pixels of the window."""
        moves = [
            {"type": "pointerMove", "x": round(start[0]), "y": round(start[1])},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerMove", "x": round(end[0]), "y": round(end[1]), "duration": 100},
            {"type": "pointerUp", "button": 0},
        ]
        self._post("/actions", actions=[{"type": "pointer", "id": "mouse", "actions": moves}])

    def requested(self) -> list[str]:
        """URLs of all requests since the last call."""
        messages = [
            json.loads(each["message"])["message"] for each in self._post("/se/log", type="performance")
        ]
        return [
            each["params"]["request"]["url"]
            for each in messages
            if each["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """What stands on the console."""
        return [each["message"] for each in self._post("/se/log", type="browser")]
