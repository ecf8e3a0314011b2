"""The page on which the plug of plasticity is pulled, by its own buttons."""

import json
import threading

import pytest
from page_visitor import BROWSERS, PAGE_TESTS, SMALL, Visitor, open_browser
from saved_runs import ROOT

from benchmarks.browsers import HAS_CHROMIUM, chromium
from spikepropamine.export.built import ASSETS
from spikepropamine.server import Server, files_below

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = PAGE_TESTS
WIDE, PHONE = (1400, 900), (400, 800)  # pixels


@pytest.fixture(scope="module")
def address():
    server = Server(files_below(ASSETS), 0, None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.address
    server.shutdown()


@pytest.fixture(scope="module", params=BROWSERS)
def browser(request, tmp_path_factory):
    driver = open_browser(request.param, tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser, address):
    places = json.loads((ASSETS / "data" / "index.json").read_text())["policies"]

    def visit(policy="", size=SMALL):
        place = next(place for place in places if policy in place)
        return Visitor(browser, f"{address}?policy={place}", size)

    return visit


def test_it_loads_with_no_error_and_little_on_the_wire(visit, address):
    visitor = visit()
    loaded = visitor.driver.execute_script(
        "return performance.getEntriesByType('resource').map("
        "({name, transferSize}) => [name, transferSize])"
    )
    assert all(name.startswith(address) for name, _ in loaded)
    assert sum(size for _, size in loaded) < 10e6
    assert visitor.complaints() == []


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


def test_keys_do_what_buttons_do(visit):
    from selenium.webdriver import ActionChains

    visitor = visit("motor-signs-alone")
    keys = ActionChains(visitor.driver)
    keys.send_keys(" ").perform()
    assert visitor.text("pause") == "Go on"
    keys.send_keys("u").perform()
    assert visitor.pressed("#plug")
    keys.send_keys("f").perform()
    assert "motor_signs=63" in visitor.text("text")
    visitor.driver.execute_script("arguments[0].focus()", visitor.find("#plug"))
    keys.send_keys(" ").perform()  # that of the button
    assert not visitor.pressed("#plug")
    assert visitor.text("pause") == "Go on"
    keys.send_keys("u").perform()
    assert visitor.pressed("#plug")
    visitor.driver.execute_script("arguments[0].focus()", visitor.find("#seed"))
    keys.send_keys("u").perform()
    assert visitor.pressed("#plug")


@pytest.mark.skipif(not HAS_CHROMIUM, reason="Chromium is not installed")
def test_without_webgl_the_robots_run_unseen(address):
    driver = chromium("disable-3d-apis")
    try:
        visitor = Visitor(driver, address)
        assert visitor.find("#no-view").is_displayed()
        assert not visitor.find("#view").is_displayed()
        visitor.press("#flip-all")
        assert "motor_signs=63" in visitor.text("text")
    finally:
        driver.quit()


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
