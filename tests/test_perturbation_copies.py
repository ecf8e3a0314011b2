"""Perturbations survive copies, and live beside one another."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from tapes import make, play

from spikepropamine.envs import quiet_mujoco
from spikepropamine.envs.perturbations import Perturbed, reason_against
from spikepropamine.envs.perturbations.model import same_model
from spikepropamine.envs.perturbations.verify import Player

quiet_mujoco()
pytestmark = pytest.mark.filterwarnings("ignore:compiler attribute:UserWarning")


def pickled(env):
    return pickle.loads(pickle.dumps(env))


@pytest.mark.parametrize(
    "text",
    [
        "mass~1 + gravity~1 + joint_lock~1 + push~1",
        "limb_length~1 + obs_stuck~1 + action_delay~1@3",
        "rough_ground~1 + direction~1 + obs_noise~1",
        "motor_signs=held_out@change(4) + sensor_order=seen",
    ],
)
def test_what_was_pickled_is_perturbed_as_the_original(text):
    """At once, where it is a model that changes, and in the episodes that follow."""
    env = Perturbed(make("Ant-v5"), text)
    play(env, 5)
    again = pickled(env)
    assert same_model(again.unwrapped.model, env.unwrapped.model)
    expected = play(env, 40, 1)
    np.testing.assert_array_equal(play(again, 40, 1), expected)
    assert not np.array_equal(play(make("Ant-v5"), 40, 1), expected)


def test_a_copy_is_restored_and_leaves_the_original_alone():
    env = Perturbed(make("Ant-v5"), "mass=2 + rough_ground=0.1")
    before = copy.copy(make("Ant-v5").unwrapped.model)
    env.reset(seed=0)
    again = copy.deepcopy(env)
    again.undo()
    assert same_model(again.unwrapped.model, before)
    assert env.unwrapped.model.body_mass[1] == 2 * before.body_mass[1]
    env.undo()
    assert same_model(env.unwrapped.model, before)


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("HalfCheetahVelocity-v0", {"slowest": 2.0, "told": 1.0}),
        ("AntDirection-v0", {"directions": 8}),
    ],
)
def test_a_copy_of_a_task_of_ours_has_its_arguments(task, arguments):
    env = Perturbed(make(task, **arguments), "obs_noise=0.1")
    np.testing.assert_array_equal(play(pickled(env), 20), play(env, 20))


def test_a_copy_of_a_task_that_had_begun_begins_anew():
    """The task of the copy is new, so that there is nothing in it to be given back."""
    env = Perturbed(make("HalfCheetahCue-v0"), "cue_reversal=1")
    play(env, 5)
    again = pickled(env)
    again.undo()
    np.testing.assert_array_equal(play(again, 20), play(env, 20))


def test_one_text_has_all_that_perturbs_an_environment():
    env = gym.wrappers.TimeLimit(Perturbed(make("HalfCheetah-v5"), "mass=2"), 5)
    with pytest.raises(ValueError, match="perturbed by 'mass=2' already: join both, as"):
        Perturbed(env, "gravity=1.5")


@pytest.mark.parametrize("onset", ["", "@5"])
@pytest.mark.parametrize("sensing", ["obs_noise=1", "sensor_signs:all=1", "sensor_order=seen"])
def test_what_a_sensor_reads_is_told_by_the_task_as_it_is_now(sensing, onset):
    """Also where what changes the task comes after what changes the sensor."""
    asking = f"cue_reversal=1{onset}"
    texts = f"{sensing} + {asking}", f"{asking} + {sensing}"
    one, other = (play(Perturbed(make("HalfCheetahCueLesson-v0"), text), 12) for text in texts)
    np.testing.assert_array_equal(one, other)


# ---------------------------------------------------------------- bodies and worlds


def test_mild_bumps_are_no_other_floor():
    """Gymnasium's plane stays, so the mildest rough ground is bit for bit the plain one; contacts
    with a field alone would be other contacts."""
    player = Player("HalfCheetah-v5")
    sizes = []
    for severity in (0.001, 0.25, 1):
        env = player.make(f"rough_ground~{severity}")
        rows = {seed: player.play(env, seed) for seed in player.seeds}
        sizes.append(max(np.abs(rows[seed] - player.plain[seed]).max() for seed in player.seeds))
    assert sizes[0] == 0 < sizes[1] < sizes[2]


def test_no_robot_loses_all_its_motors_with_one_limb():
    for task in ("Hopper-v5", "Swimmer-v5"):
        assert "all its motors" in reason_against(make(task), "crippled_leg=0")
