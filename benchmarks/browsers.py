"""Browsers without a screen, driven by Selenium, for tests and benchmarks of the pages.

Chromium has a driver of its own. Firefox needs geckodriver, which Debian does not have:
it translates WebDriver to Marionette, the protocol that every Firefox speaks. Here the
few commands that are needed are sent to Firefox directly.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.remote_connection import RemoteConnection

CHROMIUM = shutil.which("chromium")
CHROMEDRIVER = shutil.which("chromedriver")
HAS_CHROMIUM = CHROMIUM is not None and CHROMEDRIVER is not None
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
SCREEN = shutil.which("Xvfb")  # without any screen Firefox has no WebGL
HAS_FIREFOX = FIREFOX is not None and SCREEN is not None
SECONDS = 120  # at most until a browser has started, or has answered

FLAGS = [
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-dev-shm-usage",
    "disable-quic",
    "no-first-run",
    "disable-sync",
    "disable-background-networking",
    "disable-component-update",
]
SOFTWARE_3D = ["use-gl=angle", "use-angle=swiftshader", "enable-unsafe-swiftshader"]
"""Flags of Chromium with which the processor draws what WebGL shows."""

PREFERENCES = {
    "marionette.port": 0,  # any that is free; it is written to PORT_FILE
    "webgl.force-enabled": True,
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
}
PORT_FILE = "MarionetteActivePort"
SET_CONTEXT = "setContext"  # whether scripts run in the page or in the browser
MARIONETTE_NAMES = {
    Command.NEW_SESSION: "WebDriver:NewSession",
    Command.GET: "WebDriver:Navigate",
    Command.SET_TIMEOUTS: "WebDriver:SetTimeouts",
    Command.W3C_EXECUTE_SCRIPT: "WebDriver:ExecuteScript",
    Command.W3C_EXECUTE_SCRIPT_ASYNC: "WebDriver:ExecuteAsyncScript",
    Command.FIND_ELEMENT: "WebDriver:FindElement",
    Command.GET_ELEMENT_RECT: "WebDriver:GetElementRect",
    Command.W3C_ACTIONS: "WebDriver:PerformActions",
    Command.SCREENSHOT: "WebDriver:TakeScreenshot",
    SET_CONTEXT: "Marionette:SetContext",
    Command.QUIT: "Marionette:Quit",
}
"""What Marionette calls Selenium's commands."""

RESIZE = """
const [width, height] = arguments;
const { style } = gBrowser.selectedBrowser;
style.setProperty("width", `${width}px`);
style.setProperty("height", `${height}px`);
"""
COMPLAINTS = """
const errors = Services.console.getMessageArray().filter((message) =>
  message instanceof Ci.nsIScriptError
  && message.sourceName.startsWith("http")
  && (message.flags & Ci.nsIScriptError.warningFlag) === 0);
Services.console.reset();
return errors.map(({errorMessage}) => errorMessage);
"""


def chromium(*flags: str, logs: tuple[str, ...] = ("browser",)) -> webdriver.Chrome:
    """A Chromium of its own.

    Args:
        flags: more than those of every Chromium here, without the dashes.
        logs: of its logs, those that can be read.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in [*FLAGS, *flags]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", dict.fromkeys(logs, "ALL"))
    service = webdriver.ChromeService(CHROMEDRIVER)
    return webdriver.Chrome(options=options, service=service)


class Firefox(webdriver.Remote):
    """A Firefox of its own. Raises RuntimeError: it does not start.

    Args:
        profile: an empty folder, in which it leaves its files.
    """

    def __init__(self, profile: Path) -> None:
        lines = [
            f"user_pref({json.dumps(name)}, {json.dumps(value)});"
            for name, value in PREFERENCES.items()
        ]
        (profile / "user.js").write_text("\n".join(lines))
        self._screen, display = start_screen()
        command = [str(FIREFOX), "--headless", "--marionette"]
        command += ["--remote-allow-system-access", "--profile", str(profile)]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, stdout=quiet, stderr=quiet, env=os.environ | {"DISPLAY": display}
        )
        port = self._wait_for_port(profile / PORT_FILE)
        super().__init__(Marionette(port), options=webdriver.FirefoxOptions())

    def _wait_for_port(self, file: Path) -> int:
        until = time.monotonic() + SECONDS
        while not file.is_file() or not file.read_text():
            if self._process.poll() is not None or time.monotonic() > until:
                self._end()
                raise RuntimeError("Firefox does not start")
            time.sleep(0.1)
        return int(file.read_text())

    @contextmanager
    def _in_browser(self) -> Iterator[None]:
        """Scripts run in the browser, no longer in its page."""
        self.execute(SET_CONTEXT, {"value": "chrome"})
        try:
            yield
        finally:
            self.execute(SET_CONTEXT, {"value": "content"})

    def resize(self, width: int, height: int) -> None:
        """Gives the page a size, in pixels; it may be smaller than a window can be."""
        with self._in_browser():
            self.execute_script(RESIZE, width, height)

    def complaints(self) -> list[str]:
        """Errors of pages since the last call."""
        with self._in_browser():
            return self.execute_script(COMPLAINTS)

    def quit(self) -> None:
        """Ends the processes."""
        try:
            super().quit()
            self._process.wait(SECONDS)
        finally:
            self._end()

    def _end(self) -> None:
        for process in (self._process, self._screen):
            process.kill()
            process.wait()


def start_screen() -> tuple[subprocess.Popen[str], str]:
    """A screen that nobody sees: its process, and its name for DISPLAY."""
    command = [str(SCREEN), "-displayfd", "1", "-screen", "0", "1600x1000x24"]
    screen = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert screen.stdout is not None
    return screen, f":{screen.stdout.readline().strip()}"


class Marionette(RemoteConnection):
    """Selenium's connection, to Marionette instead of a WebDriver server."""

    def __init__(self, port: int) -> None:
        super().__init__(f"http://127.0.0.1:{port}")
        self._socket = socket.create_connection(("127.0.0.1", port), SECONDS)
        self._count = 0
        self._receive()  # it says first what it is

    def execute(self, command: str, params: dict[str, Any]) -> dict[str, Any]:
        """Sends a command; returns its answer as a WebDriver server gives it."""
        arguments = {
            name: value for name, value in params.items() if name != "sessionId"
        }
        if command == Command.NEW_SESSION:
            arguments = arguments["capabilities"]["firstMatch"][0]
        self._count += 1
        message = [0, self._count, MARIONETTE_NAMES[command], arguments]
        text = json.dumps(message).encode()
        self._socket.sendall(b"%d:%s" % (len(text), text))
        _, _, error, answer = self._receive()
        if error is not None:
            return {"status": 500, "value": json.dumps({"value": error})}
        is_wrapped = isinstance(answer, dict) and list(answer) == ["value"]
        return {"value": answer["value"] if is_wrapped else answer}

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()

    def _receive(self) -> list[Any]:
        """A message: its length in bytes, a colon, and JSON."""
        digits = b""
        while (byte := self._read(1)) != b":":
            digits += byte
        text = b""
        while len(text) < int(digits):
            text += self._read(int(digits) - len(text))
        return json.loads(text)

    def _read(self, count: int) -> bytes:
        """At most so many bytes, and at least one."""
        part = self._socket.recv(count)
        if not part:
            raise ConnectionError("Firefox has closed the connection")
        return part
