"""Making a task: what training and evaluation wrap it in, and in which order."""

import json
import re

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.spreads import measure
from spikepropamine.envs.making import (
    SPREADS,
    horizon_of,
    make,
    measured_spread,
    spread,
    training_text,
)
from spikepropamine.envs.perturbations import Perturbed
from spikepropamine.envs.perturbations.notation import load_suite
from spikepropamine.envs.shown import PreviousActionAndReward
from spikepropamine.evaluation.ask.conditions import task_of
from spikepropamine.training.sections import defaults


def test_the_plain_task_has_no_wrapper_of_ours():
    env = make("CueAssociation-v0", {"bits": 5})
    assert env.unwrapped.bits == 5
    assert not isinstance(env, Perturbed | PreviousActionAndReward)


def test_the_previous_action_is_the_policys_own_not_the_perturbed_one():
    env = make("InvertedPendulum-v5", perturb="action_flip=-1", previous=True)
    env.reset(seed=0)
    observation, *_ = env.step(np.array([0.5], dtype=np.float32))
    assert observation[-2] == 0.5
    plain = make("InvertedPendulum-v5")
    plain.reset(seed=0)
    flipped, *_ = plain.step(np.array([-0.5], dtype=np.float32))
    np.testing.assert_array_equal(observation[:4], flipped)


def test_what_cannot_be_made_says_why():
    with pytest.raises(
        ValueError, match=re.escape("CueAssociation-v0 with {'bits': 0}: bits")
    ):
        make("CueAssociation-v0", {"bits": 0})


def test_a_suites_name_stands_for_what_training_may_use():
    text = training_text("novel-dynamics", "HalfCheetah-v5")
    conditions = load_suite("novel-dynamics", "HalfCheetah-v5")
    held_out = {c.text for c in conditions if c.split == "held-out"}
    alternatives = set(text.split(" | "))
    assert "none" in alternatives
    assert "mass~0.5" in alternatives
    assert not alternatives & held_out
    assert training_text("mass=2", "HalfCheetah-v5") == "mass=2"


def test_training_leaves_out_what_would_change_nothing():
    assert "friction" not in training_text("novel-dynamics", "Reacher-v5")
    short = {"max_episode_steps": 200}
    assert "mass~1.0@100" in training_text(
        "mid-episode", "HalfCheetah-v5", short
    ).split(" | ")
    late = "mass=2 | friction=0.5 + gravity=2@200"
    assert training_text(late, "HalfCheetah-v5") == late
    with pytest.raises(
        ValueError, match="gravity begins at step 200, but episodes have 200 steps"
    ):
        training_text(late, "HalfCheetah-v5", short)
    with pytest.raises(
        ValueError, match="nothing of the suite body-damage applies to Cue"
    ):
        training_text("body-damage", "CueAssociation-v0")


@pytest.mark.parametrize("task", sorted(json.loads(SPREADS.read_text())))
def test_the_spread_is_the_same_in_training_and_evaluation(task, capsys):
    """And stored, for every task that has a configuration, with the arguments it has
    there.
    """
    training = defaults(task, "snn").env_kwargs
    np.testing.assert_array_equal(
        spread(task, training), spread(task, task_of(task, training).arguments)
    )
    assert "measured" not in capsys.readouterr().err


def test_the_spread_of_another_task_is_measured_once_and_it_says_so(capsys):
    found = spread("Pendulum-v1", {"g": 9.0, "max_episode_steps": 77})
    assert (
        "Pendulum-v1: the scale of its sensors' noise is measured"
        in capsys.readouterr().err
    )
    env = make("Pendulum-v1", {"g": 9.0}, "obs_noise=0.5")
    differences = [env.reset(seed=s)[0] - env.unwrapped._get_obs() for s in range(500)]
    np.testing.assert_allclose(np.std(differences, axis=0), 0.5 * found, rtol=0.15)
    assert not capsys.readouterr().err


def test_the_spread_of_an_observation_that_is_filled_again_and_again():
    class Filling(gym.Env):
        observation_space = action_space = gym.spaces.Box(-1, 1, (2,))

        def __init__(self):
            self.seen = np.zeros(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.step(None)[0], {}

        def step(self, action):
            self.seen[:] = self.np_random.normal(size=2)
            return self.seen, 0.0, False, False, {}

    np.testing.assert_allclose(measured_spread(Filling()), 1.0, rtol=0.1)


@pytest.mark.nightly
def test_what_is_stored_can_be_measured_again():
    stored = json.loads(SPREADS.read_text())["CueAssociation-v0"]
    assert measure("CueAssociation-v0") == stored


def test_a_scale_that_arguments_change_is_measured_again():
    fine = spread("EvidenceAccumulation-v0", {"step_ms": 1})
    assert fine.shape == spread("EvidenceAccumulation-v0").shape
    assert fine[0] < 0.2 < 0.8 < spread("EvidenceAccumulation-v0")[0]


def test_an_episode_ends_with_its_shortest_limit():
    short = make("CueAssociation-v0", {"max_episode_steps": 10})
    assert horizon_of(short) == 10
    assert horizon_of(make("CueAssociation-v0")) == 40


def test_a_policy_is_told_of_the_channels_that_it_was_told_of():
    for text in ("motor_signs:all=1", "none | mass=2 + motor_signs:all=0"):
        with pytest.raises(
            ValueError, match="told of motor_signs cannot be told of motor_signs:a"
        ):
            make("HalfCheetah-v5", perturb=text, reveal="motor_signs=seen")
    env = make(
        "HalfCheetah-v5", perturb="mass=2 + motor_order=3", reveal="motor_signs=seen"
    )
    assert env.reset(seed=0)[0][-6:].tolist() == [1.0] * 6
