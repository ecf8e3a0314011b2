"""The pages in a real browser: Debian's Chromium, without a screen.

Skipped where it is not installed; `apt-get install chromium chromium-driver` installs
it.
"""

import json
import signal
import subprocess
import sys

import pytest
import yaml
from example_evaluation import write_example
from saved_runs import ROOT, write_run

from benchmarks.browsers import HAS_CHROMIUM, chromium
from spikepropamine.colours import OTHERS, POLICIES
from spikepropamine.report.dashboards import write_local
from spikepropamine.report.html import write_report

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(not HAS_CHROMIUM, reason="Chromium is not installed"),
]
WIDTHS = [360, 1280]


@pytest.fixture(scope="module")
def browser():
    driver = chromium(logs=("browser", "performance"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("pages")
    runs = folder / "runs"
    for seed in (0, 1):
        rows = [(-100.0 + 50 * k + seed, 100 * k) for k in range(1, 5)]
        write_run(runs / "Pendulum-v1" / "a policy" / f"seed-{seed}", "snn", seed, rows)
    evaluation = (
        runs / "Pendulum-v1" / "a policy" / "seed-0" / "evaluations" / "mid-episode"
    )
    report = write_report(write_example(evaluation))
    cue = write_report(write_example(folder / "cue", cue=True))
    return {"report": report, "cue report": cue, "local": write_local(runs)}


DRAWN = "return document.body?.dataset.ready !== undefined"
LOADED = "return document.readyState === 'complete'"


def load(browser, path, width, scheme="light", ready=DRAWN):
    """Opens a page, waits until its plots are drawn, and returns what the network was
    asked for.
    """
    from selenium.webdriver.support.ui import WebDriverWait

    size = {
        "width": width,
        "height": 800,
        "deviceScaleFactor": 1,
        "mobile": width < 500,
    }
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(path.as_uri())
    WebDriverWait(browser, 60).until(lambda driver: driver.execute_script(ready))
    messages = [
        json.loads(entry["message"])["message"]
        for entry in browser.get_log("performance")
    ]
    asked = [
        m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"
    ]
    return [request["request"]["url"] for request in asked]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The documentation, built."""
    pytest.importorskip("mkdocs", reason="it comes with requirements.lock")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("width", WIDTHS)
def test_the_site_is_read_from_files_alone(browser, site, width):
    for name in ("index", "perturbations", "results", "results/robots", "api/learning"):
        asked = load(browser, site / f"{name}.html", width, ready=LOADED)
        assert not [url for url in asked if not url.startswith(("file:", "data:"))]
        assert browser.get_log("browser") == []
        root = "document.documentElement"
        assert browser.execute_script(
            f"return {root}.scrollWidth <= {root}.clientWidth"
        ), name


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["report", "cue report", "local"])
def test_a_page_is_drawn_alone_and_fits(browser, pages, name, width):
    asked = load(browser, pages[name], width)
    assert [url for url in asked if not url.startswith("data:")] == [
        pages[name].as_uri()
    ]
    assert browser.get_log("browser") == []
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('.plot')].map(plot => "
        "plot.querySelectorAll('svg path, svg text').length)"
    )
    assert drawn and min(drawn) > 10
    root = "document.documentElement"
    assert browser.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
    overflowing = browser.execute_script(
        "return [...document.querySelectorAll('main *')]"
        ".filter(e => !e.closest('.scroll, svg') && "
        "e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.outerHTML.slice(0, 80))"
    )
    assert overflowing == []
    wide = browser.execute_script(
        "return [...document.querySelectorAll('.plot')]"
        ".filter(p => p.querySelector('svg')"
        ".getBoundingClientRect().width > p.getBoundingClientRect().width + 1).length"
    )
    assert wide == 0


def test_long_names_are_whole_on_a_wide_page(browser, tmp_path):
    for rate in (0.001, 0.0003):
        folder = tmp_path / f"rate-{rate}" / "seed-0"
        write_run(folder, "ndp-oja", 0, [(-100.0, 100), (-50.0, 200)])
        file = folder / "config.yaml"
        settings = yaml.safe_load(file.read_text())["settings"]
        settings["trainer"] = {
            "learning_rate": rate,
            "sequence_length": int(rate * 1e5),
        }
        file.write_text(yaml.safe_dump({"settings": settings}))
    load(browser, write_local(tmp_path), 1400)
    texts = browser.execute_script(
        "return [...document.querySelectorAll('.plot svg text')]"
        ".map(t => t.textContent)"
    )
    assert "ndp-oja, learning_rate 0.001, sequence_length 100" in texts
    assert not [text for text in texts if "\u2026" in text]


def luminance(rgb):
    """Relative, as WCAG 2 defines it."""
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in rgb]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_of_policies_can_be_read_on_any_paper(browser, pages, scheme):
    load(browser, pages["report"], 1280, scheme)
    known = {*POLICIES.values(), *OTHERS}
    least = {
        f"var(--{k}-{x[1:]})": of for x in known for k, of in (("c", 3.0), ("t", 4.5))
    }
    pixels = browser.execute_script(
        "const pen = document.createElement('canvas').getContext('2d');"
        "return arguments[0].map(colour => {"
        "document.body.style.color = colour;"
        "pen.fillStyle = getComputedStyle(document.body).color;"
        "pen.fillRect(0, 0, 1, 1);"
        "return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3)"
        ".map(x => x / 255) })",
        ["var(--paper)", *least],
    )
    paper, *shown = map(luminance, pixels)
    assert (paper > 0.9) == (scheme == "light")
    for (name, of), found in zip(least.items(), shown):
        assert (max(paper, found) + 0.05) / (min(paper, found) + 0.05) > of - 0.05, name


@pytest.mark.parametrize("name", ["report", "cue report", "local"])
def test_a_wide_page_is_used_and_labels_of_axes_do_not_collide(browser, pages, name):
    load(browser, pages[name], 1400)
    shares = browser.execute_script(
        "const whole = document.querySelector('main').clientWidth;"
        "return [...document.querySelectorAll('table, .plots.wide > figure')]"
        ".map(e => e.getBoundingClientRect().width / whole)"
    )
    assert shares and min(shares) > 0.75
    collisions = browser.execute_script(
        "const all = [...document.querySelectorAll('.plot .role-axis-label')]"
        ".flatMap(group => {"
        "const boxes = [...group.querySelectorAll('text')]"
        ".filter(t => t.textContent && getComputedStyle(t).opacity > 0)"
        ".map(t => t.getBoundingClientRect());"
        "return boxes.flatMap((a, i) => boxes.slice(i + 1)"
        ".filter(b => a.left < b.right - 1 &&"
        "b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)) });"
        "return all.length"
    )
    assert collisions == 0


def column(browser, head):
    """The cells of a column of the table of all results."""
    return browser.execute_script(
        "const table = document.querySelector('#all-results table');"
        "const at = [...table.tHead.rows[0].cells]"
        ".findIndex(c => c.textContent === arguments[0]);"
        "return [...table.tBodies[0].rows].map(row => row.cells[at].dataset.order)",
        head,
    )


def test_tables_sort_both_ways_by_mouse_and_keyboard(browser, pages):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    load(browser, pages["report"], 1280)
    before = column(browser, "severity")
    button = browser.find_element(
        By.XPATH, "//section[@id='all-results']//button[text()='severity']"
    )
    browser.execute_script("arguments[0].click()", button)
    values = [cell for cell in before if cell]
    gaps = [""] * (len(before) - len(values))
    rising = sorted(values, key=float)
    assert 0 < len(gaps) < len(before) and values != rising
    assert column(browser, "severity") == rising + gaps
    button.send_keys(Keys.ENTER)
    assert column(browser, "severity") == rising[::-1] + gaps
    head = button.find_element(By.XPATH, "..")
    assert head.get_attribute("aria-sort") == "descending"

    browser.find_element(
        By.XPATH, "//section[@id='all-results']//button[text()='policy']"
    ).send_keys(Keys.ENTER)
    names = column(browser, "policy")
    assert names == sorted(names) and len(set(names)) > 1
    assert head.get_attribute("aria-sort") is None


def test_pointing_at_a_curve_shows_its_values(browser, pages):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    load(browser, pages["report"], 1280)
    plot = browser.find_element(By.CSS_SELECTOR, "#severity .plot svg")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    ActionChains(browser).move_to_element(plot).perform()
    tooltip = browser.find_element(By.ID, "vg-tooltip-element")
    assert "severity" in tooltip.text and "ndp-oja" in tooltip.text


def test_a_page_that_is_served_follows_a_run_by_itself(browser, tmp_path):
    from selenium.webdriver.support.ui import WebDriverWait

    run = tmp_path / "seed-0"
    write_run(run, "snn", 0, [(-10.0, 100)])
    words = ["-m", "spikepropamine", "dashboards", "--live", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as command:
        address, _, rest = command.stdout.readline().partition(" ")
        assert rest == "(Ctrl-C ends it)\n"
        browser.get(address)
        waiting = WebDriverWait(browser, 30)
        waiting.until(lambda driver: "100 of 400" in driver.page_source)
        waiting.until(lambda driver: driver.execute_script(DRAWN))
        with (run / "progress.csv").open("a") as file:
            file.write("-5.0,200\n")
        waiting.until(lambda driver: "200 of 400" in driver.page_source)
        waiting.until(lambda driver: driver.execute_script(DRAWN))
        command.send_signal(signal.SIGINT)
        assert command.wait(30) == 0
    waiting.until(lambda driver: "has ended" in driver.page_source)
