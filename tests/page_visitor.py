"""Someone in front of the page of `spikepropamine play`, in a real browser without a
screen: Debian's Chromium or Firefox.

Tests are skipped where a browser is not installed (`apt-get install chromium
chromium-driver` and `apt-get install firefox-esr xvfb`), or where the page is not built
(`make page`).
"""

import time

import pytest

from benchmarks.browsers import (
    HAS_CHROMIUM,
    HAS_FIREFOX,
    SOFTWARE_3D,
    Firefox,
    chromium,
)
from spikepropamine.export.built import ASSETS

PAGE_TESTS = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        not (ASSETS / "index.html").is_file(), reason="the page is not built"
    ),
]
BROWSERS = [
    pytest.param(
        "chromium",
        marks=pytest.mark.skipif(not HAS_CHROMIUM, reason="Chromium is not installed"),
    ),
    pytest.param(
        "firefox",
        marks=pytest.mark.skipif(not HAS_FIREFOX, reason="Firefox is not installed"),
    ),
]
SECONDS = 120  # at most for what takes a few where nothing else runs
SMALL = (500, 700)  # pixels; what is drawn in software is drawn faster
CLOCK = "return Number(document.getElementById('clock').textContent)"
STEPS = """
const [seconds, done] = arguments;
const clock = () => Number(document.getElementById("clock").textContent);
const until = clock() + seconds;
async function run() {
  while (clock() < until) {
    document.getElementById("step").click();
    await new Promise((go) => setTimeout(go, 0));
  }
}
run().then(done);
"""
TEXT = "return document.getElementById(arguments[0]).textContent"


def open_browser(name, folder):
    """A browser of its own; Firefox leaves its files in the folder."""
    driver = chromium(*SOFTWARE_3D) if name == "chromium" else Firefox(folder)
    driver.set_script_timeout(SECONDS)
    return driver


class Visitor:
    """Someone in front of the page, whose robot runs."""

    def __init__(self, driver, address, size=SMALL):
        self.driver = driver
        self.resize(size)
        driver.get(address)
        self.wait(lambda: self.clock > 0)

    def resize(self, size):
        """The inner size, which is smaller than a window may be."""
        width, height = size
        if isinstance(self.driver, Firefox):
            self.driver.resize(width, height)
            return
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", metrics | {"mobile": False}
        )

    def complaints(self):
        """Errors of the page that the browser has noted since the last call."""
        if isinstance(self.driver, Firefox):
            return self.driver.complaints()
        said = self.driver.get_log("browser")
        return [entry["message"] for entry in said if entry["level"] == "SEVERE"]

    def wait(self, reached):
        until = time.monotonic() + SECONDS
        while not reached():
            assert time.monotonic() < until, self.complaints()
            time.sleep(0.1)

    @property
    def clock(self):
        """Seconds of the robot's time since the start."""
        return self.driver.execute_script(CLOCK)

    def run(self, seconds):
        """Lets so much of the robot's time pass, by the button for single steps, with
        the robot scrolled away: pictures that are drawn in software would be waited
        for.
        """
        if self.text("pause") == "Pause":
            self.press("#pause")
        self.driver.execute_script("scrollTo(0, document.body.scrollHeight)")
        self.driver.execute_async_script(STEPS, seconds)

    def restart(self, seed):
        """Pauses at the start of an episode."""
        if self.text("pause") == "Pause":
            self.press("#pause")
        script = "document.getElementById('seed').value = arguments[0]"
        self.driver.execute_script(script, seed)
        self.press("#restart")

    def text(self, name):
        return self.driver.execute_script(TEXT, name)

    def number(self, name):
        return float(self.text(name).removesuffix(" %"))

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def press(self, selector):
        self.driver.execute_script("arguments[0].click()", self.find(selector))

    def pressed(self, selector):
        return self.find(selector).get_attribute("aria-pressed") == "true"

    def slide(self, name, value):
        """Moves a slider, as a hand does."""
        self.driver.execute_script(
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
            self.find(f"#{name}"), str(value),
        )  # fmt: skip

    def write(self, selector, text):
        """Writes into the field of a form, and sends it."""
        self.driver.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].form.requestSubmit()",
            self.find(selector),
            text,
        )

    def picture(self, name):
        """What a canvas shows."""
        return self.driver.execute_script(
            "return document.getElementById(arguments[0]).toDataURL()", name
        )

    def steps(self, count):
        """Takes single steps, of a robot."""
        self.run(count * 0.05 - 0.01)
        time.sleep(0.5)  # until they are drawn
