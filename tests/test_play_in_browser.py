"""`spikepropamine play` as a visitor has it: a command, and its page in a browser."""

import importlib
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
from page_visitor import BROWSERS, PAGE_TESTS, SECONDS, Visitor, open_browser
from saved_runs import ROOT, save_run

pytestmark = PAGE_TESTS
CART_MODEL = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/>
    <geom type="plane" size="10 10 0.1"/>
    <body name="cart" pos="0 0 0.2">
      <joint name="along" type="slide" axis="1 0 0" damping="1"/>
      <geom type="box" size="0.3 0.2 0.1" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor name="engine" joint="along" ctrlrange="-1 1"/></actuator>
</mujoco>
"""
OWN_TASKS = """
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.spaces import Box, Discrete


class Cart(MujocoEnv):
    metadata = {
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
        "render_fps": 250,
    }

    def __init__(self, **arguments):
        model = str(Path(__file__).with_name("cart.xml"))
        space = Box(-np.inf, np.inf, (2,), np.float64)
        super().__init__(model, 2, space, **arguments)

    def step(self, action):
        self.do_simulation(action, self.frame_skip)
        return self.seen(), float(self.data.qvel[0]), False, False, {}

    def reset_model(self):
        start = self.np_random.uniform(-0.1, 0.1, 1)
        self.set_state(start, np.zeros(1))
        return self.seen()

    def seen(self):
        return np.concatenate([self.data.qpos, self.data.qvel])


class Corridor(gymnasium.Env):
    observation_space = Box(-1, 1, (2,))
    action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.seen(), {}

    def step(self, action):
        reward = float("nan") if self.np_random.random() < BROKEN else float(action)
        return self.seen(), reward, False, False, {}

    def seen(self):
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


BROKEN = 0.0
gymnasium.register("Cart-v0", entry_point=Cart, max_episode_steps=500)
gymnasium.register("Corridor-v0", entry_point=Corridor, max_episode_steps=10)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder with a module of the user's own tasks, and a run of each."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "cart.xml").write_text(CART_MODEL)
    (folder / "own_tasks.py").write_text(OWN_TASKS)
    sys.path.insert(0, str(folder))
    importlib.import_module("own_tasks")
    for environment in ("Cart-v0", "Corridor-v0"):
        save_run(folder / "runs", environment, "ndp-oja")
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module", params=BROWSERS)
def browser(request, tmp_path_factory):
    driver = open_browser(request.param, tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


def start(folder, *words):
    """The command, as the leader of a group of processes."""
    path = os.pathsep.join([str(ROOT), str(folder)])
    return subprocess.Popen(
        [sys.executable, "-m", "spikepropamine", "play", *map(str, words)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "DISPLAY": "", "WAYLAND_DISPLAY": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextmanager
def playing(folder, *words):
    """The address of the page, until Ctrl-C, which leaves no process."""
    command = start(folder, *words)
    try:
        address = command.stdout.readline().split(" ")[0]
        assert address.startswith("http://127.0.0.1:"), command.stderr.read()
        yield address
        command.send_signal(signal.SIGINT)
        assert command.wait(SECONDS) == 0
        assert command.stderr.read() == ""
        with pytest.raises(ProcessLookupError):
            os.killpg(command.pid, 0)
    finally:
        command.kill()
        command.wait()


def test_ones_own_robot_is_stepped_by_python_and_shown(browser, own):
    run = own / "runs/Cart-v0/ndp-oja/seed-0"
    with playing(own, run, "--import", "own_tasks") as address:
        visitor = Visitor(browser, address)
        width = "return document.querySelector('#pictures img').naturalWidth"
        visitor.wait(lambda: browser.execute_script(width) == 480)
        visitor.press("#pause")
        before = visitor.picture("weights")
        visitor.press("#step")
        visitor.wait(lambda: visitor.picture("weights") != before)
        visitor.write("#perturb", "strength=0")
        visitor.wait(lambda: "strength=0" in visitor.text("text"))
        visitor.write("#perturb", "strenth=0")
        visitor.wait(lambda: "strength" in visitor.text("refused"))
        visitor.press("#plug")
        assert visitor.text("mode") == "Unplugged"
        visitor.press("#restart")
        visitor.wait(lambda: visitor.clock == 0)
        visitor.press("#pause")
        visitor.wait(lambda: visitor.clock > 0)
        assert visitor.complaints() == []
    visitor.wait(lambda: "ended" in visitor.text("loading"))


def test_a_task_without_a_picture_is_shown_by_its_plots(browser, own):
    run = own / "runs/Corridor-v0/ndp-oja/seed-0"
    with playing(own, run, "--import", "own_tasks") as address:
        visitor = Visitor(browser, address)
        assert visitor.find("#no-view").is_displayed()
        assert not visitor.find("#pictures").is_displayed()
        before = visitor.picture("reward")
        visitor.wait(lambda: visitor.picture("reward") != before)
        assert visitor.complaints() == []


def test_a_task_that_cannot_go_on_is_told_in_the_page(browser, own):
    run = own / "runs/Corridor-v0/ndp-oja/seed-0"
    (own / "broken.py").write_text("import own_tasks\nown_tasks.BROKEN = 0.3\n")
    with playing(own, run, "--import", "broken") as address:
        visitor = Visitor(browser, address)
        visitor.wait(lambda: "nan" in visitor.text("refused"))
        assert visitor.text("pause") == "Go on"


@pytest.mark.parametrize("environment", ["HalfCheetah-v5", "Pendulum-v1"])
def test_a_name_of_a_run_is_never_markup(browser, tmp_path, environment):
    folder = tmp_path / "<img src=x onerror=document.title='hacked'>"
    run = save_run(folder, environment, "ndp-oja")
    with playing(tmp_path, run) as address:
        visitor = Visitor(browser, address)
        if environment == "HalfCheetah-v5":
            visitor.press("#flip-all")
        else:
            visitor.write("#perturb", "obs_noise=0.1")
        visitor.wait(lambda: "onerror" in visitor.text("text"))
        script = "return document.querySelectorAll('img[src=x]').length"
        assert browser.execute_script(script) == 0
        assert "hacked" not in browser.execute_script("return document.title")
        assert visitor.complaints() == []


def test_a_page_cannot_run_what_is_not_its_own(browser, own):
    with playing(own) as address:
        visitor = Visitor(browser, address)
        script = """
        const made = document.createElement("script");
        made.textContent = "document.title = 'hacked'";
        document.body.append(made);
        document.body.insertAdjacentHTML(
          "beforeend", "<img src=data: onerror=\\"document.title = 'hacked'\\">");
        const done = arguments[0];
        fetch("http://127.0.0.1:1/").then(() => done("sent"), () => done("refused"));
        """
        assert browser.execute_async_script(script) == "refused"
        assert "hacked" not in browser.execute_script("return document.title")
        assert any("Content" in said for said in visitor.complaints())


@pytest.mark.parametrize("words", [["robots/Swimer-v5/ndp-oja"], ["--port", "{busy}"]])
def test_bad_input_is_one_line_and_leaves_no_process(own, words):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        command = start(own, *(word.format(busy=port) for word in words))
        out, error = command.communicate(timeout=SECONDS)
    assert (command.returncode, out) == (2, "")
    assert error.count("\n") == 1
    assert "Swimmer" in error or str(port) in error
    with pytest.raises(ProcessLookupError):
        os.killpg(command.pid, 0)
