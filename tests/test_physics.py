"""MuJoCo tasks that are stepped in one call are Gymnasium's, to the last bit."""

import dataclasses
import logging
import subprocess
import sys
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from conftest import RandomEnv, same
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TransformReward

from spikepropamine.envs import making
from spikepropamine.envs.perturbations import CATALOGUE
from spikepropamine.envs.physics import robots, simulations
from spikepropamine.envs.physics.known import _code
from spikepropamine.envs.physics.robots import ROBOTS, NotKnown
from spikepropamine.envs.physics.rows import Rows
from spikepropamine.envs.physics.simulations import simulate
from spikepropamine.envs.physics.vector import PhysicsVectorEnv

ENTRIES = {robot.entry for robot in ROBOTS}
TASKS = sorted(
    name
    for name, spec in gym.registry.items()
    if name.endswith("-v5") and spec.entry_point in ENTRIES
)
ARGUMENTS = [
    ("Ant-v5", {"include_cfrc_ext_in_observation": False, "frame_skip": 2}),
    ("Ant-v5", {"main_body": "front_left_leg", "contact_force_range": (-0.5, 0.0)}),
    ("Ant-v5", {"terminate_when_unhealthy": False, "healthy_reward": 1}),
    ("HalfCheetah-v5", {"forward_reward_weight": 2, "ctrl_cost_weight": 0}),
    ("HalfCheetah-v5", {"exclude_current_positions_from_observation": False}),
    ("HalfCheetah-v5", {"frame_skip": 1, "reset_noise_scale": 0.5}),
    ("Hopper-v5", {"healthy_state_range": (-2.0, 2.0),
                   "healthy_reward": np.float32(2)}),
    ("Hopper-v5", {"terminate_when_unhealthy": False}),
    ("Humanoid-v5", {"include_cinert_in_observation": False}),
    ("Humanoid-v5", {"contact_cost_weight": 0.1, "contact_cost_range": (0.0, 3.0)}),
    ("HumanoidStandup-v5", {"include_cvel_in_observation": False,
                            "impact_cost_weight": 1.0}),
    ("InvertedDoublePendulum-v5", {"healthy_reward": 3}),
    ("InvertedPendulum-v5", {"reset_noise_scale": 0.1}),
    ("Pusher-v5", {"reward_near_weight": 2, "reward_control_weight": 0.3}),
    ("Reacher-v5", {"reward_dist_weight": 3, "frame_skip": 4}),
    ("Swimmer-v5", {"exclude_current_positions_from_observation": False}),
    ("Swimmer-v5", {"max_episode_steps": 7}),
    ("Walker2d-v5", {"xml_file": "walker2d.xml", "healthy_z_range": (1.0, 1.3)}),
]  # fmt: skip


def makers(name, count, **arguments):
    return [partial(gym.make, name, **arguments)] * count


def check_steps(theirs, ours, steps, seed=0):
    """Both return the same on random actions, of all sizes; returns how many episodes
    ended.
    """
    assert ours.in_one_call
    assert same(theirs.reset(seed=seed), ours.reset(seed=seed))
    random = np.random.default_rng(seed)
    space = theirs.single_action_space
    ends = 0
    for step in range(steps):
        size = (0.1, 0.5, 1.0)[step // 50 % 3]
        actions = random.uniform(space.low, space.high, (theirs.num_envs, *space.shape))
        actions = (size * actions).astype(np.float32)
        expected = theirs.step(actions)
        found = ours.step(actions)
        assert same(found, expected), step
        ends += int((expected[2] | expected[3]).sum())
    theirs.close()
    ours.close()
    return ends


def check(name, steps, threads=1, count=3, **arguments):
    made = makers(name, count, **arguments)
    return check_steps(SyncVectorEnv(made), PhysicsVectorEnv(made, threads), steps)


def test_there_are_all_of_gymnasiums_tasks():
    assert len(TASKS) == len(ROBOTS) == 11


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_as_gymnasium_steps_it(name, threads):
    ends = check(name, 160, threads)
    falls = ("Hopper", "Walker", "Humanoid-", "Inverted")
    assert ends or not name.startswith(falls)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_so_it_is_for_fifty_thousand_steps(name):
    for threads in (1, 2):
        assert check(name, 25_000 // 5, threads, count=5)


@pytest.mark.parametrize(("name", "arguments"), ARGUMENTS)
def test_so_it_is_with_other_arguments(name, arguments):
    check(name, 60, threads=2, **arguments)


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("name", ["Ant-v5", "Pusher-v5", "Walker2d-v5"])
def test_so_it_is_with_any_number_of_environments(name, count):
    check(name, 40, count=count)


def test_so_it_is_with_an_edited_robot(tmp_path):
    text = Path(gym.make("HalfCheetah-v5").unwrapped.fullpath).read_text()
    file = tmp_path / "heavy.xml"
    file.write_text(text.replace('settotalmass="14"', 'settotalmass="20"'))
    assert file.read_text() != text
    check("HalfCheetah-v5", 40, xml_file=str(file))


@pytest.mark.parametrize("mode", AutoresetMode)
def test_episodes_begin_as_in_gymnasium(mode):
    made = makers("Hopper-v5", 3, max_episode_steps=30)
    theirs = SyncVectorEnv(made, autoreset_mode=mode)
    ours = PhysicsVectorEnv(made, 1, mode)
    assert same(theirs.reset(seed=0), ours.reset(seed=0))
    theirs.action_space.seed(0)
    for _ in range(100):
        actions = theirs.action_space.sample()
        *expected, infos = theirs.step(actions)
        *found, found_infos = ours.step(actions)
        assert same(*[list(x.pop("final_obs", [])) for x in (found_infos, infos)])
        assert same([*found, found_infos], [*expected, infos])
        over = expected[2] | expected[3]
        if mode == AutoresetMode.DISABLED and over.any():
            # each has options of its own, which Gymnasium takes the mask out of
            again = [env.reset(options={"reset_mask": over}) for env in (theirs, ours)]
            assert same(*again)


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Ant-v5"])
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_actions_of_any_type_are_as_in_gymnasium(name, dtype):
    theirs = gym.make(name)
    ours = simulate(makers_of(name))
    theirs.reset(seed=0)
    ours.reset(0, seed=0)
    random = np.random.default_rng(0)
    for _ in range(20):
        action = random.uniform(-1.4, 1.4, theirs.action_space.shape).astype(dtype)
        observation, reward, *_, info = theirs.step(action)
        stepped = ours.step(action[None])
        assert same(stepped.observations[0], observation)
        assert stepped.rewards[0] == reward
        assert same(stepped.each_info()[0], info)


def makers_of(name):
    return [make() for make in makers(name, 1)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Ant-v5", "InvertedPendulum-v5"])
@pytest.mark.parametrize("threads", [1, 2])
def test_actions_that_are_no_numbers_do_what_they_do_in_gymnasium(name, threads):
    made = makers(name, 2)
    theirs = SyncVectorEnv(made)
    ours = PhysicsVectorEnv(made, threads)
    theirs.reset(seed=0)
    ours.reset(seed=0)
    theirs.action_space.seed(0)
    for step in range(30):
        actions = theirs.action_space.sample()
        if step == 10:
            actions[0] = np.nan
        assert same(ours.step(actions), theirs.step(actions))


class Subclass(HalfCheetahEnv):
    def _get_obs(self):
        return super()._get_obs() + 1


def test_what_is_not_known_says_why():
    cheetah = partial(gym.make, "HalfCheetah-v5")
    cases = {
        "none of Gymnasium's": [gym.make("CartPole-v1")],
        "Subclass is none": [Subclass()],
        "TransformReward is not known": [TransformReward(cheetah(), lambda r: 2 * r)],
        "differ in more than their seeds": [cheetah(), cheetah(frame_skip=2)],
        "different limits": [cheetah(), cheetah(max_episode_steps=9)],
        "in a window": [cheetah(render_mode="human")],
    }
    for reason, envs in cases.items():
        with pytest.raises(NotKnown, match=reason):
            simulate(envs)


def test_other_code_in_gymnasium_is_not_known(monkeypatch):
    changed = [dataclasses.replace(robot, digests=("other",)) for robot in ROBOTS]
    monkeypatch.setattr(robots, "ROBOTS", changed)
    with pytest.raises(NotKnown, match="has other code for SwimmerEnv"):
        simulate([gym.make("Swimmer-v5")])


def test_comments_and_docstrings_are_no_code():
    plain = "    def one(x):\n        return x+1\n"
    told = "    def one(x):\n        '''Says.'''\n        return x + 1  # why\n"
    assert _code(plain) == _code(told) != _code(plain.replace("+", "-"))


def test_cue_tasks_do_without_mujoco():
    check = """
import sys
import gymnasium as gym
import spikepropamine
from spikepropamine.envs.physics.vector import PhysicsVectorEnv

envs = PhysicsVectorEnv([lambda: gym.make("CueAssociation-v0")] * 2)
envs.reset(seed=0)
unwanted = {"mujoco", "torch", "stable_baselines3"} & sys.modules.keys()
assert not unwanted, unwanted
"""
    subprocess.run([sys.executable, "-c", check], check=True)


def test_other_numbers_are_not_known(monkeypatch):
    monkeypatch.setattr(simulations, "_proven", {})

    def changed(robot):
        return dataclasses.replace(robot, observe=lambda x: robot.observe(x) + 1e-15)

    monkeypatch.setattr(robots, "ROBOTS", [changed(robot) for robot in ROBOTS])
    with pytest.raises(NotKnown, match="gives other numbers for SwimmerEnv"):
        simulate([gym.make("Swimmer-v5")])


def test_without_batches_of_mujoco_it_is_the_same(monkeypatch):
    def missing(*_):
        raise ImportError

    monkeypatch.setattr(simulations, "Together", missing)
    check("HalfCheetah-v5", 40, threads=2)


def test_a_step_before_the_first_reset_is_refused():
    ours = simulate(makers_of("HalfCheetah-v5"))
    with pytest.raises(gym.error.ResetNeeded):
        ours.step(np.zeros((1, 6)))


def test_actions_of_another_shape_are_refused():
    ours = simulate(makers_of("HalfCheetah-v5"))
    ours.reset(0)
    with pytest.raises(ValueError, match=r"\(1, 7\), not \(1, 6\)"):
        ours.step(np.zeros((1, 7)))


def stepped_pair(name, steps=12, **arguments):
    made = makers(name, 2, **arguments)
    pair = SyncVectorEnv(made), PhysicsVectorEnv(made)
    for env in pair:
        env.reset(seed=4)
        env.action_space.seed(4)
        for _ in range(steps):
            env.step(env.action_space.sample())
    return pair


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Ant-v5"])
def test_who_gets_hold_of_an_environment_finds_it_as_it_is(name, caplog):
    theirs, ours = stepped_pair(name)
    with caplog.at_level(logging.INFO, "spikepropamine.physics"):
        data = ours.call("data")
    assert not ours.in_one_call
    assert "somebody got hold of 'data'" in caplog.text
    for mine, expected in zip(data, theirs.call("data")):
        assert same(mine.qpos, expected.qpos)
        assert same(mine.qacc_warmstart, expected.qacc_warmstart)
    for _ in range(5):
        actions = theirs.action_space.sample()
        assert same(ours.step(actions), theirs.step(actions))


def test_to_ask_for_plain_attributes_changes_nothing():
    theirs, ours = stepped_pair("HalfCheetah-v5")
    for name in ("frame_skip", "dt", "spec", "observation_space", "_elapsed_steps"):
        assert ours.call(name) == theirs.call(name)
    assert ours.in_one_call


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Ant-v5"])
def test_methods_that_move_the_robot_do(name):
    theirs, ours = stepped_pair(name)
    task = theirs.envs[0].unwrapped
    for env in (theirs, ours):
        env.call("set_state", task.init_qpos + 0.1, task.init_qvel)
    assert ours.in_one_call
    for _ in range(5):
        actions = theirs.action_space.sample()
        assert same(ours.step(actions), theirs.step(actions))


def test_a_reward_that_is_changed_is_changed():
    theirs, ours = stepped_pair("HalfCheetah-v5")
    for env in (theirs, ours):
        env.set_attr("_ctrl_cost_weight", 3.0)
    actions = theirs.action_space.sample()
    assert same(ours.step(actions), theirs.step(actions))


def test_environments_of_any_kind_are_stepped_one_by_one(caplog):
    with caplog.at_level(logging.INFO, "spikepropamine.physics"):
        ours = PhysicsVectorEnv([RandomEnv] * 2)
    assert "RandomEnv is none of Gymnasium's v5 MuJoCo tasks" in caplog.text
    theirs = SyncVectorEnv([RandomEnv] * 2)
    assert same(theirs.reset(seed=0), ours.reset(seed=0))
    actions = np.zeros(2, dtype=int)
    assert same(ours.step(actions), theirs.step(actions))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["Ant-v5", "Humanoid-v5"])
@pytest.mark.parametrize(
    "text",
    [
        "mass=1.5",
        "mass:torso=0.5@5 + limb_length=0.8@9",
        "limb_length=0.9@ramp(5, 15)",
        "direction=-1@7 | obs_noise=0.3 + push=1.0",
        "rough_ground=0.1 + action_delay=2",
    ],
)
def test_perturbed_robots_that_feel_are_as_their_wrappers_make_them(
    name, text, threads
):
    made = [partial(making.make, name, {"max_episode_steps": 25}, text)] * 3
    check_steps(SyncVectorEnv(made), PhysicsVectorEnv(made, threads), 60)


EVERY_SIGNAL = [
    "obs_noise=0.2 + obs_bias=0.3..0.5 + obs_dropout=0.1",
    "obs_stuck=0.1..0.5@ramp(5, 30) + obs_delay=3@9",
    "sensor_signs=seen@change(5..15) + action_noise=0.3",
    "sensor_order=held_out + action_delay=2@4 + action_drop=0.3",
    "motor_signs~0.5 + action_gain=0.5..1.5@12",
    "motor_order=held_out + action_flip=-1",
    "motor_map=seen@change(4..9, 14..19)",
    "motor_signs=seen + obs_dropout=0.2@ramp(5, 20) | obs_bias=1 + direction=-1@6 | "
    "action_gain=0.5@3 + obs_noise=0.3 + mass=1.2 + obs_bias=0.1",
]


@pytest.mark.parametrize("text", EVERY_SIGNAL)
def test_perturbed_signals_are_as_their_wrappers_make_them(text):
    check_perturbed([text] * 4)


def check_perturbed(texts):
    """One robot under each text; infos, which may have lists, are compared as texts."""
    task = "HalfCheetah-v5", {"max_episode_steps": 25}
    made = [partial(making.make, *task, text) for text in texts]
    theirs, ours = SyncVectorEnv(made), PhysicsVectorEnv(made)
    expected, found = theirs.reset(seed=0), ours.reset(seed=0)
    space = theirs.action_space
    space.seed(0)
    for step in range(80):
        assert same(found[:-1], expected[:-1]), step
        assert repr(found[-1]) == repr(expected[-1]), step
        actions = space.sample()
        expected, found = theirs.step(actions), ours.step(actions)
    assert ours.in_one_call


def test_robots_under_several_texts_are_as_their_wrappers_make_them():
    check_perturbed(["obs_noise=0.1", "action_gain=0.5 + obs_noise=0.4", "obs_delay=2"])


def test_perturbations_of_somebodys_own_are_left_to_their_wrapper(monkeypatch):
    family = dataclasses.replace(
        CATALOGUE["gravity"], name="own", edit_model=lambda *_: None
    )
    monkeypatch.setitem(CATALOGUE, "own", family)
    with pytest.raises(NotKnown, match="own is a perturbation of somebody's own"):
        simulate([making.make("HalfCheetah-v5", {}, "own=2")])


def test_episodes_that_end_one_by_one_are_as_gymnasium_steps_them():
    theirs = {row: gym.make("Hopper-v5") for row in (3, 5, 8)}
    rows = Rows({row: gym.make("Hopper-v5") for row in (3, 5, 8)})
    running = sorted(theirs)
    for row in running:
        assert same(rows.reset(row, row, None), theirs[row].reset(seed=row))
    theirs[3].action_space.seed(0)
    while running:
        actions = {row: theirs[3].action_space.sample() for row in running}
        found = rows.step(running, actions)
        for row in running:
            expected = theirs[row].step(actions[row])
            assert same(found[row][4], expected[4])
            assert same(found[row][:4], [np.asarray(x) for x in expected[:4]])
        running = [row for row in running if not found[row][2]]
    assert rows.in_one_call
