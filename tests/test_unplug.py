"""The page on which the plug of plasticity is pulled, in a real browser: Debian's
Chromium, without a screen, by the page's own buttons.

Skipped where Chromium is not installed (`apt-get install chromium chromium-driver`), or
where the page is not built (`make page`).
"""

import json
import shutil
import threading
import time

import pytest
from saved_runs import ROOT

from spikepropamine.export.server import ASSETS, Server, files_below

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="Chromium is not installed"
    ),
    pytest.mark.skipif(
        not (ASSETS / "index.html").is_file(), reason="the page is not built"
    ),
]
FLAGS = ["headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage",
         "disable-quic",
         "no-first-run", "disable-sync", "disable-background-networking",
         "disable-component-update", "use-gl=angle", "use-angle=swiftshader",
         "enable-unsafe-swiftshader"]  # fmt: skip
WIDE, PHONE = (1400, 900), (400, 800)
SECONDS = 120  # at most for what takes a few where nothing else runs
SMALL = (500, 700)  # what is drawn in software is drawn faster
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


@pytest.fixture(scope="module")
def address():
    server = Server(files_below(ASSETS), 0, None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.address
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(SECONDS)
    yield driver
    driver.quit()


class Visitor:
    """Someone in front of the page."""

    def __init__(self, driver, address, policy="", size=SMALL):
        self.driver = driver
        self.resize(size)
        places = json.loads((ASSETS / "data" / "index.json").read_text())["policies"]
        place = next(place for place in places if policy in place)
        driver.get(f"{address}?policy={place}")
        self.wait(lambda: self.clock > 0)

    def resize(self, size):
        """The inner size, which is smaller than a window may be."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", metrics | {"mobile": False}
        )

    def wait(self, reached):
        until = time.monotonic() + SECONDS
        while not reached():
            assert time.monotonic() < until, self.driver.get_log("browser")
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

    def picture(self, name):
        """What a canvas shows."""
        return self.driver.execute_script(
            "return document.getElementById(arguments[0]).toDataURL()", name
        )

    def steps(self, count):
        """Takes single steps, of a robot."""
        self.run(count * 0.05 - 0.01)
        time.sleep(0.5)  # until they are drawn


@pytest.fixture
def visit(browser, address):
    return lambda *arguments, **options: Visitor(
        browser, address, *arguments, **options
    )


def test_it_loads_with_no_error_and_little_on_the_wire(visit, address):
    visitor = visit()
    loaded = visitor.driver.execute_script(
        "return performance.getEntriesByType('resource').map("
        "({name, transferSize}) => [name, transferSize])"
    )
    assert all(name.startswith(address) for name, _ in loaded)
    assert sum(size for _, size in loaded) < 10e6
    said = visitor.driver.get_log("browser")
    assert [entry for entry in said if entry["level"] == "SEVERE"] == []


def test_all_motors_are_flipped_and_only_the_plastic_robot_recovers(visit):
    visitor = visit("motor-signs-alone")
    visitor.restart(seed=1)  # where it does not fall on its nose
    visitor.run(9)
    before = visitor.number("pace")
    assert before > 2
    visitor.press("#flip-all")
    assert "motor_signs=63" in visitor.text("text")
    visitor.run(9)
    assert visitor.number("pace") >= 0.8 * before
    assert visitor.number("twin-pace") < 0.2 * before
    visitor.press("#plug")
    visitor.run(6)
    assert visitor.number("pace") < 0.5 * before


def test_told_once_swapped_and_unplugged(visit):
    visitor = visit("cue-lesson")
    visitor.run(15)
    assert visitor.number("pace") >= 80
    visitor.press("#swap")
    visitor.run(16)
    assert visitor.number("pace") >= 80
    assert visitor.number("twin-pace") <= 70
    visitor.press("#plug")
    assert visitor.text("mode") == "Unplugged"
    visitor.run(15)
    assert visitor.number("pace") <= 70


def test_a_cue_is_told_and_shown(visit):
    visitor = visit("cue-lesson")
    visitor.run(4)
    visitor.press('[data-tell="B"]')
    visitor.run(1.3)
    assert "Btold" in visitor.text("asked")
    visitor.press('[data-ask="A"]')
    visitor.run(1.3)
    assert "Aasked" in visitor.text("asked")


def test_the_board_is_learned_swapped_and_learned_again(visit):
    visitor = visit("cue-ppo")
    visitor.run(16)
    assert visitor.number("pace") >= 90
    visitor.press("#swap")
    visitor.run(20)
    assert visitor.number("pace") >= 70
    assert visitor.number("twin-pace") <= 80


def test_every_other_control_changes_what_it_says(visit):
    visitor = visit("motor-signs_Ant")
    visitor.press("#pause")
    visitor.press('[data-motor="hip_1"]')
    assert visitor.pressed('[data-motor="hip_1"]')
    visitor.press("#shuffle")
    assert visitor.pressed("#shuffle")
    for name, value in {
        "strength": 0.5, "joint_lock": 1, "mass": 1.5, "slope": 6, "gravity_tilt": -8,
        "gravity": 0.5, "wind": 12, "friction": 0.5, "viscosity": 0.05,
        "obs_noise": 0.2,
        "action_noise": 0.3,
    }.items():  # fmt: skip
        visitor.slide(name, value)
        target = ":hip_4" if name in ("strength", "joint_lock") else ""
        assert f"{name}{target}={value}" in visitor.text("text")
    assert "motor_signs=4" in visitor.text("text")
    visitor.steps(3)
    visitor.press("#restore")
    assert not visitor.pressed('[data-motor="hip_1"]')
    assert not visitor.find("#text").is_displayed()


def test_a_push_moves_the_robot_and_a_seed_brings_the_episode_back(visit):
    visitor = visit("robots_HalfCheetah")
    visitor.press("#pause")

    def pace(push=False):
        visitor.press("#restart")
        if push:
            visitor.press("#push-back")
        visitor.steps(6)
        return visitor.number("pace"), visitor.picture("reward")

    assert pace() == pace()
    assert pace(push=True)[0] < pace()[0]


def test_frozen_weights_stay_and_forgotten_ones_are_gone(visit):
    visitor = visit("motor-signs-alone")
    visitor.run(3)
    visitor.press("#freeze")
    assert visitor.pressed("#freeze")
    visitor.press("#pause")
    visitor.steps(1)
    frozen = visitor.picture("weights")
    visitor.steps(3)
    assert visitor.picture("weights") == frozen
    visitor.press("#forget")
    visitor.steps(1)
    empty = visitor.picture("weights")
    assert empty != frozen
    visitor.press("#freeze")
    visitor.steps(12)
    assert visitor.picture("weights") not in (empty, frozen)


def test_the_robot_is_pulled_by_the_pointer(visit):
    from selenium.webdriver import ActionChains

    visitor = visit("robots_HalfCheetah")
    visitor.press("#pause")
    visitor.press("#restart")
    visitor.driver.execute_script("scrollTo(0, 0)")
    view = visitor.find("#view")
    hand = ActionChains(visitor.driver)
    half = -view.size["width"] // 4
    for height in range(-10, 60, 7):  # somewhere there is the trunk
        hand.move_to_element_with_offset(view, half, height).click_and_hold().perform()
        held = "held" in (view.get_attribute("class") or "")
        hand.move_by_offset(30, -20).release().perform()
        if held:
            break
    assert held
    assert "held" not in view.get_attribute("class")


def test_scenes_begin_and_speak(visit):
    visitor = visit()
    for scene in ("told-once", "hidden-signs", "no-help"):
        visitor.press(f'[data-scene="{scene}"]')
        visitor.wait(lambda scene=scene: visitor.pressed(f'[data-scene="{scene}"]'))
        visitor.wait(lambda: len(visitor.text("caption")) > 40)
    visitor.press("#leave")
    assert not visitor.find("#scene").is_displayed()


@pytest.mark.skipif(not AXE.is_file(), reason="`npm ci` has not run in web/")
@pytest.mark.parametrize("size", [WIDE, PHONE])
@pytest.mark.parametrize("policy", ["cue-lesson", "cue-ppo"])
def test_axe_finds_nothing_serious(visit, policy, size):
    visitor = visit(policy, size=size)
    visitor.press("#pause")
    visitor.driver.execute_script(AXE.read_text())
    found = visitor.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run().then(({violations}) => done(violations), (e) => done([String(e)]))"
    )
    serious = [x for x in found if x["impact"] in ("serious", "critical")]
    assert serious == []


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_nothing_is_wider_than_the_screen(visit, size):
    visitor = visit("motor-signs-alone", size=size)
    width = visitor.driver.execute_script("return document.documentElement.scrollWidth")
    assert width <= size[0]
