"""The page on which the plug of plasticity is pulled: what Python writes for it, and
that it does what Python does. Its own tests are in `web/tests`; those in a browser, in
`test_unplug.py`.
"""

import json
import os
import re
import shutil
import subprocess
from itertools import islice

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RescaleAction
from saved_runs import CUES, LESSON, ROOT, save_run

from spikepropamine.envs.making import make
from spikepropamine.envs.perturbations import CATALOGUE
from spikepropamine.evaluation.ask.conditions import CLEAN, make_env
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.evaluation.run.watched import watch
from spikepropamine.export import page
from spikepropamine.folder import find, plain_name
from spikepropamine.report.card import lines_on_file

WEB = ROOT / "web"
STEPS = 200
NODE = shutil.which("node") is not None and (WEB / "node_modules").is_dir()
needs_node = pytest.mark.skipif(
    not NODE, reason="Node is missing, or `npm ci` has not run in web/"
)


def written(folder, run_folder):
    """The card of a run that the page steps by itself, and its run."""
    (run,), task = load_runs([run_folder])
    place = folder / plain_name(str(run_folder.name))
    assert page.write_policy(place, run, task, "title")
    return json.loads((place / page.CARD).read_text()), run


@pytest.mark.parametrize("environment", ["HalfCheetah-v5", "Swimmer-v5", LESSON, CUES])
def test_a_card_has_the_state_and_the_numbers_of_the_task(environment, tmp_path):
    pytest.importorskip("onnx")
    card, run = written(tmp_path, save_run(tmp_path / "runs", environment, "ndp-oja"))
    layout = run.policy.policy.layout
    assert set(layout.shapes) - set(card["state"]) == {"modulator_held"}
    assert card["layer"]["neurons"] == 16
    assert set(card["families"]) <= set(page.IN_PAGE) <= set(CATALOGUE)
    env = make(environment, run.arguments)
    task = env.unwrapped
    if environment == CUES:
        assert (card["task"]["bits"], card["task"]["kind"]) == (task.bits, "board")
    else:
        assert card["task"]["frame_skip"] == task.frame_skip
        assert card["task"]["control_cost"] == task._ctrl_cost_weight
        assert len(card["task"]["motors"]) == task.model.nu
    env.close()


def test_what_the_page_cannot_step_is_left_to_python(tmp_path):
    run_folder = save_run(tmp_path, "Pendulum-v1", "ndp-oja")
    (run,), task = load_runs([run_folder])
    assert not page.write_policy(tmp_path / "out", run, task, "title")
    assert not (tmp_path / "out").exists()


def test_a_wrapper_that_changes_a_task_is_none_of_the_pages(tmp_path):
    pytest.importorskip("onnx")
    entry_point = "gymnasium.envs.mujoco.swimmer_v5:SwimmerEnv"
    gym.register("Swimmer-wrapped-v0", entry_point, max_episode_steps=50)
    try:
        spec = gym.spec("Swimmer-wrapped-v0")
        run_folder = save_run(tmp_path, spec.id, "ndp-oja")
        (run,), task = load_runs([run_folder])
        assert page.write_policy(tmp_path / "plain", run, task, "title")
        rescaled = RescaleAction.wrapper_spec(min_action=-0.5, max_action=0.5)
        spec.additional_wrappers = (rescaled,)
        assert not page.write_policy(tmp_path / "wrapped", run, task, "title")
    finally:
        del gym.registry["Swimmer-wrapped-v0"]


def test_every_family_of_the_page_is_a_record_in_it():
    text = (WEB / "src" / "perturbations.ts").read_text()
    records = text.partition("export const RECORDS")[2].partition("\n};")[0]
    names = re.findall(r"^  (\w+): \{", records, re.MULTILINE)
    assert tuple(names) == page.IN_PAGE


def test_scores_are_those_of_the_results_table():
    name = "motor-signs-alone/HalfCheetah-v5/ndp-hebb/seed-1"
    rows = {row["condition"]: row for row in page.scores_of(find(name))}
    lines = lines_on_file(find(name))
    assert rows["held out"]["pace"] == "0.832"
    assert float(rows["held out"]["pace"]) in np.round(
        lines.select("settled_pace").drop_nulls().to_series().to_list(), 3
    )


def test_a_run_without_a_card_has_no_scores(tmp_path):
    assert page.scores_of(tmp_path) == []


def traced(folder, name, seed=7):
    """Writes what Python's policy does in its task, for the page to be compared
    with.
    """
    (run,), task = load_runs([find(name)])
    place = folder / plain_name(name)
    assert page.write_policy(place, run, task, name)
    kept = {key: [] for key in ("observations", "actions", "rewards", "states")}
    kept |= {"warmstarts": [], "places": []}
    env = make_env(task, CLEAN, run.previous, run.revealed)
    data = env.unwrapped.data
    moments = watch(run.policy, env, seed)
    before = next(moments).observation
    start = {"positions": data.qpos.tolist(), "velocities": data.qvel.tolist()}
    for moment in islice(moments, STEPS):
        kept["observations"].append(np.asarray(before).tolist())
        kept["actions"].append(moment.action.tolist())
        kept["rewards"].append(moment.reward)
        kept["states"].append([*data.qpos, *data.qvel])
        kept["warmstarts"].append(data.qacc_warmstart.tolist())
        kept["places"].append(data.xpos.ravel().tolist())
        before = moment.observation
    env.close()
    (place / "trace.json").write_text(json.dumps(start | kept))
    return place.name, float(np.mean(kept["rewards"]))


# The share of steps that have to agree, and how closely: the state after a step, its
# reward, and, relatively, what a whole episode earns.
AGREE = {
    "motor-signs-alone/HalfCheetah-v5/ndp-hebb": (1.0, 1e-9, 1e-6, 0.15),
    "robots/Swimmer-v5/ndp-oja": (1.0, 1e-9, 1e-6, 0.15),
    # MuJoCo 3.14 and 4.0 part where a foot touches down, in Python too: of 12 episodes
    # the worst step differs by 0.001 to 0.4, and 95 % of steps by less than 8e-4
    "robots/Ant-v5/ndp-oja": (0.95, 2e-3, 1e-3, 0.3),
}


@needs_node
def test_the_page_does_what_python_does(tmp_path):
    """In each of 200 steps: the action for what Python saw, and the state after what it
    did; and on its own, from the same start, it earns as much.
    """
    pytest.importorskip("onnx")
    earned = dict(traced(tmp_path, name) for name in AGREE)
    (tmp_path / page.INDEX).write_bytes(page.index_of([]))
    command = ["npx", "vitest", "run", "tests/agree.test.ts"]
    environment = os.environ | {"AGREE": str(tmp_path)}
    done = subprocess.run(
        command, cwd=WEB, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    for name, (share, state, reward, earnings) in AGREE.items():
        differences = found[plain_name(name)]
        assert len(differences["physics"]["states"]) == STEPS
        assert max(differences["actions"]) < 1e-5, name
        assert np.quantile(differences["physics"]["states"], share) < state, name
        assert np.median(differences["physics"]["states"]) < 1e-4, name
        assert np.quantile(differences["physics"]["rewards"], share) < reward, name
        free = np.mean(differences["free"]["rewards"])
        assert free == pytest.approx(earned[plain_name(name)], rel=earnings), name


def test_no_registry_is_named():
    """The lock file names packages by version and digest, and no host."""
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert all("resolved" not in entry for entry in lock["packages"].values())
