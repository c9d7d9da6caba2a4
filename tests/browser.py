"""Chromium without a window or a network, driven over WebDriver."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

OFFLINE = ("--proxy-server=127.0.0.1:9", "--proxy-bypass-list=<-loopback>", "--host-resolver-rules=MAP * ~NOTFOUND")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""Key of an element's handle, fixed by the standard."""


class Browser:
    """One window, with its profile in a folder. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        command = ["chromedriver", "--port=0", "--log-level=SEVERE"]
        self._driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        said = (line for line in self._driver.stdout or () if "started successfully on port" in line)
        self._opener = build_opener(ProxyHandler({}))
        self._server = f"http://127.0.0.1:{re.findall('[0-9]+', next(said))[-1]}/session"
        arguments = ["--headless=new", "--window-size=1600,1000", f"--user-data-dir={folder}", *OFFLINE]
        arguments += ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        wanted = {"goog:chromeOptions": {"args": arguments}}
        wanted |= {"goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        try:
            self._server += f"/{self._ask('POST', '', {'capabilities': {'alwaysMatch': wanted}})['sessionId']}"
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._ask("DELETE", "")
        finally:
            self._stop()

    def _stop(self) -> None:
        self._driver.terminate()
        self._driver.communicate()

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._server + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with self._opener.open(request, timeout=300) as answer:
                return json.load(answer)["value"]
        except HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None

    def open(self, page: Path) -> None:
        self._ask("POST", "/url", {"url": page.resolve().as_uri()})

    def run(self, script: str) -> Any:
        """Run a function's body in the page and return what it returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def until(self, expression: str) -> Any:
        """Wait for an expression to be true, a minute at most, and return it."""
        end = time.monotonic() + 60
        while not (found := self.run(f"return {expression}")):
            assert time.monotonic() < end, f"never so: {expression}"
            time.sleep(0.05)
        return found

    def click(self, xpath: str) -> None:
        """Click the first match as a mouse does: it must stand still, and nothing may cover it."""
        self.until("document.getAnimations().length === 0")
        found = self._ask("POST", "/element", {"using": "xpath", "value": xpath})
        self._ask("POST", f"/element/{found[ELEMENT]}/click", {})

    def frame(self, number: int | None) -> None:
        """Go into a frame of the page, or with None back to the page."""
        self._ask("POST", "/frame", {"id": number})

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def errors(self) -> list[str]:
        """Return the console's errors since the last call."""
        return [entry["message"] for entry in self._log("browser") if entry["level"] == "SEVERE"]

    def requested(self) -> list[str]:
        """Return every address that was asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def _log(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("POST", "/se/log", {"type": kind})
        return found
