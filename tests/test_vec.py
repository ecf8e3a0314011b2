"""`make_vec` replaces Stable-Baselines3's `make_vec_env`, and gives the same
numbers.
"""

import logging

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import same
from gymnasium.wrappers import TransformReward
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize

import spikepropamine as sp


def stock(name, count=3, seed=3, **arguments):
    """Stable-Baselines3's own."""
    arguments = {"render_mode": None} | arguments
    return make_vec_env(name, count, seed=seed, env_kwargs=arguments)


def rows_of(venv, steps=60):
    """All that environments return on a fixed tape, but what the clock says."""
    random = np.random.default_rng(0)
    space = venv.action_space
    rows = [venv.reset(), venv.reset_infos]
    for _ in range(steps):
        actions = random.uniform(space.low, space.high, (venv.num_envs, *space.shape))
        *answer, infos = venv.step(actions.astype(np.float32))
        for info in infos:
            if "episode" in info:
                assert info["episode"].pop("t") >= 0
        rows += [*answer, infos, list(venv.reset_infos)]
    return rows


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["Ant-v5", "Hopper-v5", "InvertedPendulum-v5"])
def test_it_gives_what_stable_baselines_gives(name, threads):
    venv = sp.make_vec(name, 3, threads=threads, seed=3, max_episode_steps=25)
    expected = rows_of(stock(name, max_episode_steps=25))
    assert venv.in_one_call
    assert same(rows_of(venv), expected)
    venv.close()


def test_seeds_and_options_are_as_in_stable_baselines():
    theirs = stock("HalfCheetah-v5")
    ours = sp.make_vec("HalfCheetah-v5", 3, seed=3)
    for venv in (theirs, ours):
        venv.seed(11)
        venv.set_options({"anything": 1})
    assert same(ours.reset(), theirs.reset())
    assert same(ours.reset(), theirs.reset())
    assert ours.in_one_call


@pytest.mark.parametrize("wrapper", [VecNormalize, VecMonitor, VecFrameStack])
@pytest.mark.filterwarnings("ignore:The environment is already wrapped")
def test_it_goes_into_the_wrappers_of_stable_baselines(wrapper):
    rows = []
    for venv in (stock("Hopper-v5"), sp.make_vec("Hopper-v5", 3, seed=3)):
        more = {"n_stack": 2} if wrapper is VecFrameStack else {}
        rows.append(rows_of(wrapper(venv, **more), 40))
    assert same(*rows)


@pytest.mark.parametrize(
    ("algorithm", "arguments"),
    [
        (PPO, {"n_steps": 64, "batch_size": 64}),
        (SAC, {"learning_starts": 40, "batch_size": 32}),
    ],
)
def test_algorithms_of_stable_baselines_learn_the_same(algorithm, arguments):
    weights = []
    for made in (
        stock("Hopper-v5"),
        sp.make_vec("Hopper-v5", 3, seed=3),
        sp.make_vec("Hopper-v5", 3, seed=3, threads=2),
    ):
        model = algorithm("MlpPolicy", made, seed=1, device="cpu", **arguments)
        model.learn(200)
        assert made.__dict__.get("_simulations") is not None or made.envs
        weights.append(torch.nn.utils.parameters_to_vector(model.policy.parameters()))
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_policies_are_evaluated_in_it_without_a_warning(recwarn):
    ours = sp.make_vec("Hopper-v5", 2, seed=3)
    model = PPO("MlpPolicy", ours, device="cpu")
    recwarn.clear()
    found = evaluate_policy(model, ours, 4)
    assert not [w for w in recwarn if "Monitor" in str(w.message)]
    assert found == evaluate_policy(model, stock("Hopper-v5", 2), 4)


def test_it_answers_what_it_is_asked():
    ours = sp.make_vec("HalfCheetah-v5", 3)
    ours.reset()
    assert ours.get_attr("frame_skip") == [5, 5, 5]
    assert ours.get_attr("frame_skip", 1) == [5]
    assert ours.env_is_wrapped(Monitor) == [True] * 3
    assert ours.env_is_wrapped(TransformReward, [0, 2]) == [False, False]
    assert not ours.has_attr("nothing_of_that_name")
    assert [len(x) for x in ours.env_method("state_vector")] == [18] * 3
    assert ours.in_one_call
    with pytest.raises(AttributeError, match="no_such_method"):
        ours.env_method("no_such_method")


def test_who_gets_hold_of_an_environment_changes_it(caplog):
    theirs = stock("HalfCheetah-v5")
    ours = sp.make_vec("HalfCheetah-v5", 3, seed=3)
    rows = rows_of(theirs, 10), rows_of(ours, 10)
    with caplog.at_level(logging.WARNING, "spikepropamine.physics"):
        for venv in (theirs, ours):
            venv.envs[1].unwrapped.model.opt.gravity[2] = -3.0
    assert "HalfCheetah-v5: Gymnasium steps one by one" in caplog.text
    assert not ours.in_one_call
    for _ in range(10):
        actions = np.ones((3, 6), np.float32)
        *found, found_infos = ours.step(actions)
        *expected, infos = theirs.step(actions)
        assert same([*found, found_infos], [*expected, infos])
    assert same(*rows)


def test_a_robot_that_a_method_changes_is_changed():
    ours = sp.make_vec("HalfCheetah-v5", 2, seed=3)
    ours.reset()
    ours.set_attr("_ctrl_cost_weight", 3.0)  # of the outermost wrapper, as in SB3
    assert ours.in_one_call
    ours.env_method("__setattr__", "anything", 1)
    assert ours.in_one_call


def test_what_cannot_be_stepped_in_one_call_is_said(caplog):
    with caplog.at_level(logging.WARNING, "spikepropamine.physics"):
        venv = sp.make_vec("Pendulum-v1", 2, seed=3)
    assert "Pendulum-v1: Gymnasium steps one by one, since PendulumEnv" in caplog.text
    assert same(rows_of(venv), rows_of(stock("Pendulum-v1", 2)))


@pytest.mark.parametrize("arguments", [{"count": 0}, {"count": 1, "threads": 0}])
def test_numbers_below_one_are_refused(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        sp.make_vec("Ant-v5", **arguments)


def test_unknown_environments_are_refused():
    with pytest.raises(gym.error.NameNotFound, match="Did you mean: `Ant`"):
        sp.make_vec("Amt-v5", 2)


def test_gymnasiums_interface():
    theirs = gym.make_vec("Hopper-v5", 3, vectorization_mode="sync")
    ours = sp.make_gymnasium_vec("Hopper-v5", 3, threads=2)
    assert ours.in_one_call
    assert same(theirs.reset(seed=1), ours.reset(seed=1))
    theirs.action_space.seed(0)
    for _ in range(30):
        actions = theirs.action_space.sample()
        assert same(ours.step(actions), theirs.step(actions))
    ours.close()


def test_its_single_environments_pass_the_checks_of_stable_baselines():
    check_env(sp.make_vec("Swimmer-v5", 1).envs[0])
