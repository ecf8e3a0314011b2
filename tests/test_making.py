"""Making a task: what training and evaluation wrap it in, and in which order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spikepropamine.envs.making import make, measured_spread, training_text
from spikepropamine.envs.perturbations import Perturbed
from spikepropamine.envs.perturbations.suites import load_suite
from spikepropamine.envs.previous import PreviousActionAndReward


def test_the_plain_task_has_no_wrapper_of_ours():
    env = make("CueAssociation-v0", {"bits": 5})
    assert env.unwrapped.bits == 5
    assert not isinstance(env, Perturbed | PreviousActionAndReward)


@pytest.mark.parametrize("robot", ["HalfCheetah-v5", "HalfCheetahCue-v0", "AntDirection-v0"])
def test_robots_are_made_without_a_warning_and_a_log_of_it(robot, tmp_path):
    code = f"from spikepropamine.envs.making import make; make({robot!r})"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not result.stdout and not result.stderr
    assert not list(tmp_path.iterdir())


def test_the_previous_action_is_the_policys_own_not_the_perturbed_one():
    env = make("InvertedPendulum-v5", perturb="action_flip=-1", previous=True)
    env.reset(seed=0)
    observation, *_ = env.step(np.array([0.5], dtype=np.float32))
    assert observation[-2] == 0.5
    plain = make("InvertedPendulum-v5")
    plain.reset(seed=0)
    flipped, *_ = plain.step(np.array([-0.5], dtype=np.float32))
    np.testing.assert_array_equal(observation[:4], flipped)


@pytest.mark.parametrize(
    ("environment", "arguments", "perturb", "message"),
    [
        ("CueAssociation-v0", {"bits": 0}, None, "CueAssociation-v0 with {'bits': 0}: bits"),
        ("InvertedPendulum-v5", {}, "masss=2", "did you mean 'mass'?"),
        ("Swimmer-v5", {}, "friction=0.5", "would change nothing in Swimmer-v5"),
    ],
)
def test_what_cannot_be_made_says_why(environment, arguments, perturb, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(environment, arguments, perturb)


def test_a_suites_name_stands_for_what_training_may_use():
    text = training_text("novel-dynamics", "HalfCheetah-v5")
    conditions = load_suite("novel-dynamics", "HalfCheetah-v5")
    held_out = {c.text for c in conditions if c.split == "held-out"}
    alternatives = set(text.split(" | "))
    assert "none" in alternatives
    assert "mass~0.5" in alternatives
    assert not alternatives & held_out
    assert training_text("mass=2", "HalfCheetah-v5") == "mass=2"


def test_the_spread_is_that_of_each_dimension():
    spread = measured_spread("HalfCheetah-v5")
    assert spread.shape == (17,)
    # positions vary by fractions of a radian, the velocities of joints by several radians a second
    assert spread[:8].max() < 1 < spread[9:].max()
    np.testing.assert_array_equal(spread, measured_spread("HalfCheetah-v5"))
