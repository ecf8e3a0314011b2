"""Perturbations live beside one another, and are not copied."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from tapes import make, play

from spikepropamine.envs.perturbations import Perturbed, reason_against
from spikepropamine.envs.perturbations.verify import Player


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
def test_a_perturbed_environment_is_not_copied(copied):
    with pytest.raises(TypeError, match="cannot be copied; make another one"):
        copied(Perturbed(make("CartPole-v1"), "obs_noise=0.1"))


def test_one_text_has_all_that_perturbs_an_environment():
    env = gym.wrappers.TimeLimit(Perturbed(make("HalfCheetah-v5"), "mass=2"), 5)
    with pytest.raises(
        ValueError, match="perturbed by 'mass=2' already: join both, as"
    ):
        Perturbed(env, "gravity=1.5")


@pytest.mark.parametrize("onset", ["", "@5"])
@pytest.mark.parametrize(
    "sensing", ["obs_noise=1", "sensor_signs:all=1", "sensor_order=seen"]
)
def test_what_a_sensor_reads_is_told_by_the_task_as_it_is_now(sensing, onset):
    """Also where what changes the task comes after what changes the sensor."""
    asking = f"cue_reversal=1{onset}"
    texts = f"{sensing} + {asking}", f"{asking} + {sensing}"
    one, other = (
        play(Perturbed(make("HalfCheetahCueLesson-v0"), text), 12) for text in texts
    )
    np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------- bodies and worlds


def test_mild_bumps_are_no_other_floor():
    """Gymnasium's plane stays, so the mildest rough ground is bit for bit the plain
    one; contacts with a field alone would be other contacts."""
    player = Player("HalfCheetah-v5")
    sizes = []
    for severity in (0.001, 0.25, 1):
        env = player.make(f"rough_ground~{severity}")
        rows = {seed: player.play(env, seed) for seed in player.plain}
        sizes.append(
            max(np.abs(rows[seed] - player.plain[seed]).max() for seed in rows)
        )
    assert sizes[0] == 0 < sizes[1] < sizes[2]


def test_no_robot_loses_all_its_motors_with_one_limb():
    for task in ("Hopper-v5", "Swimmer-v5"):
        assert "all its motors" in reason_against(make(task), "crippled_leg=0")
