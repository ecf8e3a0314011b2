"""The page of `spikepropamine play` in Chromium: its load and its pictures per second.

    python -m benchmarks.page [--seconds 10] [--size 1400 900] [--csv FILE]

Each policy runs at real time with all plots. A row `all` is of the whole page; a row
`without 3D` hides the robots, which leaves what the page itself computes: policies,
physics and plots. Without a graphics card the processor draws the robots, and those
rows say more about it than about the page.

- `bytes`: over the wire before the first step, `load_seconds`: until that step.
- `median`, `p95`, `p99`: milliseconds between two pictures. The screen is refreshed
  every 16.7 ms.
- `late`: the share of pictures that came after more than 16.7 ms, with half a
  millisecond to spare for the timer; `over_20`: after more than 20 ms.
- `speed`: of the robot's time, relative to the clock.
- `busy`: milliseconds of processor time per picture in the page's main thread.
"""

import json
import threading
from typing import Any

import numpy as np

from benchmarks.browsers import HAS_CHROMIUM, SECONDS, SOFTWARE_3D, chromium
from benchmarks.rows import Rows, run
from spikepropamine.common import UsageError
from spikepropamine.export.built import ASSETS, DATA, INDEX
from spikepropamine.server import Server, files_below

POLICIES = ["motor-signs-alone_HalfCheetah", "motor-signs_Ant"]
"""How the names of the policies begin."""
REFRESH = 16.7 + 0.5  # ms between two pictures, and what a timer may be wrong by
SETTLING = 5.0  # seconds in which the page finds how finely it can draw
MILLISECONDS = 1000

LOADED = """
const done = arguments[0];
const clock = document.getElementById("clock");
function look() {
  if (Number(clock.textContent) === 0) {
    setTimeout(look, 5);
    return;
  }
  const seconds = performance.now() / 1000;
  const kinds = ["navigation", "resource"];
  const files = kinds.flatMap((kind) => performance.getEntriesByType(kind));
  done([seconds, files.reduce((sum, file) => sum + file.transferSize, 0)]);
}
look();
"""
PICTURES = """
const [seconds, done] = arguments;
const clock = document.getElementById("clock");
const times = [];
let first = null;
function note(now) {
  first ??= { now, clock: Number(clock.textContent) };
  times.push(now);
  if (now - first.now < 1000 * seconds) {
    requestAnimationFrame(note);
    return;
  }
  const passed = Number(clock.textContent) - first.clock;
  done([times, passed / ((now - first.now) / 1000)]);
}
requestAnimationFrame(note);
"""
HIDE_ROBOTS = "document.getElementById('view').hidden = true"


def measure(rows: Rows, options: Any) -> None:
    """Adds what the page takes with each of `POLICIES`."""
    if not HAS_CHROMIUM:
        raise UsageError("Chromium is needed: apt-get install chromium chromium-driver")
    if not (ASSETS / "index.html").is_file():
        raise UsageError("the page is not built here: `make page` builds it")
    server = Server(files_below(ASSETS), 0, None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = chromium(*SOFTWARE_3D)
    try:
        width, height = options.size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
        command = "Emulation.setDeviceMetricsOverride"
        browser.execute_cdp_cmd(command, metrics | {"mobile": False})
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        browser.set_script_timeout(SECONDS + options.seconds)
        places = json.loads((ASSETS / DATA / INDEX).read_text())["policies"]
        for name in POLICIES:
            place = next(place for place in places if place.startswith(name))
            browser.execute_cdp_cmd("Network.clearBrowserCache", {})
            browser.get(f"{server.address}?policy={place}")
            seconds, size = browser.execute_async_script(LOADED)
            rows.add({"bytes": size, "load_seconds": seconds}, policy=name)
            browser.execute_async_script(PICTURES, SETTLING)
            rows.add(pictures(browser, options.seconds), policy=name, setting="all")
            browser.execute_script(HIDE_ROBOTS)
            measured = pictures(browser, options.seconds)
            rows.add(measured, policy=name, setting="without 3D")
    finally:
        browser.quit()
        server.shutdown()


def pictures(browser: Any, seconds: float) -> dict[str, float]:
    """What the pictures of so many seconds take, by measure."""
    before = _busy(browser)
    times, speed = browser.execute_async_script(PICTURES, seconds)
    busy = _busy(browser) - before
    between = np.diff(times)
    return {
        "pictures": len(between),
        "median": float(np.median(between)),
        "p95": float(np.percentile(between, 95)),
        "p99": float(np.percentile(between, 99)),
        "late": float(np.mean(between > REFRESH)),
        "over_20": float(np.mean(between > 20)),
        "speed": speed,
        "busy": MILLISECONDS * busy / len(between),
    }


def _busy(browser: Any) -> float:
    """Seconds that the page's main thread has computed so far."""
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(each["value"] for each in metrics if each["name"] == "TaskDuration")


if __name__ == "__main__":
    run(measure, __doc__, seconds=10.0, size=[1400, 900])
