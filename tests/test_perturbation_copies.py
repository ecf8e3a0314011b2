"""Perturbations survive copies, and live beside and inside one another."""

import copy
import itertools
import pickle
from dataclasses import replace

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from tapes import make, play

from spikepropamine.envs import quiet_mujoco
from spikepropamine.envs.perturbations import CATALOGUE, Perturbed, reason_against
from spikepropamine.envs.perturbations.model import same_model
from spikepropamine.envs.perturbations.verify import TASKS, Player, verify_pair, verify_pairs

quiet_mujoco()
pytestmark = pytest.mark.filterwarnings("ignore:compiler attribute:UserWarning")

COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda env: pickle.loads(pickle.dumps(env))}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "cue_reversal"])
def test_a_copy_is_perturbed_as_the_original(name, how):
    """At once, where it is a model that changes, and in the episodes that follow."""
    text = f"{name}~1" if not CATALOGUE[name].contexts else f"{name}=held_out@change(4)"
    env = Perturbed(make("Ant-v5"), text)
    play(env, 5)
    again = COPIES[how](env)
    assert same_model(again.unwrapped.model, env.unwrapped.model)
    for seed in (1, 2):
        expected = play(env, 40, seed)
        np.testing.assert_array_equal(play(again, 40, seed), expected)
    assert not np.array_equal(play(make("Ant-v5"), 40, 2), expected)


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_cue_task_goes_on_like_the_original(how):
    env = Perturbed(gym.make("CueAssociation-v0"), "cue_reversal=1@9 + obs_noise=0.1@ramp(3, 20)")
    env.reset(seed=0)
    again = None
    for step in range(30):
        if step == 7:
            again = COPIES[how](env)
        observation, reward, *_ = env.step(step % 2)
        if again is not None:
            same, equal, *_ = again.step(step % 2)
            np.testing.assert_array_equal(same, observation)
            assert equal == reward


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


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("HalfCheetahCue-v0", {"cue_length": 5, "told": 1.0}),
        ("HalfCheetahVelocity-v0", {"slowest": 2.0, "told": 1.0}),
        ("HalfCheetahDirectionSparse-v0", {"feedback_every": 3}),
        ("AntDirection-v0", {"directions": 8}),
    ],
)
def test_a_copy_of_a_task_of_ours_has_its_arguments(task, arguments, how):
    env = Perturbed(make(task, **arguments), "obs_noise=0.1")
    np.testing.assert_array_equal(play(COPIES[how](env), 20), play(env, 20))


NESTED = [
    ("mass=2", "gravity=1.5"),
    ("limb_length=0.8", "mass=2@4"),
    ("mass:torso=1.5", "limb_length:aux_1=0.7"),
    ("rough_ground=0.1", "strength=0.5"),
    ("strength=0.5", "rough_ground=0.1"),
    ("push=1", "mass=1.5"),
    ("obs_noise=0.3", "action_delay=2"),
    ("motor_signs=seen", "sensor_order=seen@change(5)"),
]


@pytest.mark.parametrize(("inner", "outer"), NESTED)
def test_nested_wrappers_are_one_with_both_terms(inner, outer):
    """In every episode, and in either order of being undone."""
    both = Perturbed(make("Ant-v5"), f"{inner} + {outer}")
    nested = Perturbed(Perturbed(make("Ant-v5"), inner), outer)
    for seed in range(3):
        np.testing.assert_array_equal(play(nested, 12, seed), play(both, 12, seed))
    plain = play(make("Ant-v5"), 12, 0)
    alone = play(Perturbed(make("Ant-v5"), inner), 12, 0)
    nested.undo()
    np.testing.assert_array_equal(play(nested.env, 12, 0), alone)
    nested.env.undo()
    np.testing.assert_array_equal(play(nested.unwrapped, 12, 0), plain)


def test_what_is_asked_for_twice_is_asked_for_by_both():
    """Whichever of two nested wrappers changes it last."""

    def weights(*texts):
        env = make("HalfCheetah-v5")
        for text in texts:
            env = Perturbed(env, text)
        env.reset(seed=0)
        found = []
        for _ in range(8):
            env.step(np.zeros(6))
            found.append(env.unwrapped._forward_reward_weight)
        env.undo()
        return [found[0], found[4], found[-1]]

    assert weights("direction=-1@3", "direction=0.5") == [0.5, -0.5, -0.5]
    assert weights("direction=0.5", "direction=-1@3") == [0.5, -0.5, -0.5]
    assert weights("direction=-1@3", "direction=-1@6") == [1, -1, 1]
    assert weights("direction=-1@6", "direction=-1@3") == [1, -1, 1]


@pytest.mark.parametrize("onset", ["", "@5"])
@pytest.mark.parametrize("inner", ["obs_noise=1", "sensor_signs:all=1", "sensor_order=seen"])
def test_what_a_sensor_reads_is_told_by_the_task_as_it_is_now(inner, onset):
    """Also where the wrapper that changes the task is around the one that changes the sensor."""
    task, outer = "HalfCheetahCueLesson-v0", f"cue_reversal=1{onset}"
    both = Perturbed(make(task), f"{inner} + {outer}")
    nested = Perturbed(Perturbed(make(task), inner), outer)
    np.testing.assert_array_equal(play(nested, 12), play(both, 12))


def test_forces_add_up():
    within = Perturbed(Perturbed(make("Ant-v5"), "push=1"), "wind:side=5")
    together = Perturbed(make("Ant-v5"), "push=1 + wind:side=5")
    pushes = Perturbed(Perturbed(make("Ant-v5"), "push=1"), "push=1")
    alone = Perturbed(make("Ant-v5"), "push=1")
    for seed in range(3):
        np.testing.assert_array_equal(play(within, 60, seed), play(together, 60, seed))
        # each pushes in directions of its own
        assert not np.array_equal(play(pushes, 60, seed), play(alone, 60, seed))


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_all_pairs_of_families(task):
    """`verify` has a sample of them, see test_perturbation_proof.py."""
    row = verify_pairs(Player(task), list(CATALOGUE.values()), every=True)
    assert not row.failures


@pytest.mark.parametrize("task", ["Ant-v5", "HalfCheetah-v5"])
@pytest.mark.parametrize("name", ["mass", "strength", "crippled_leg"])
def test_rough_ground_goes_with_what_recomputes_constants(task, name):
    """MuJoCo refused that once: the field of bumps was not compiled to collide."""
    assert not verify_pair(Player(task, 2, [0]), CATALOGUE[name], CATALOGUE["rough_ground"])


def test_the_proof_catches_families_that_undo_each_other(monkeypatch):
    def push(task, value, bound):
        task.data.xfrc_applied[1, 0] = 10 * value  # whatever other forces there are

    one, other = (
        replace(CATALOGUE[name], edit_model=None, each_step=push) for name in ("mass", "gravity")
    )
    for family in (one, other):
        monkeypatch.setitem(CATALOGUE, family.name, family)
    failures = verify_pair(Player("HalfCheetah-v5", 2, [0]), one, other)
    assert "are not the same as one inside the other" in failures[0]


# ---------------------------------------------------------------- bodies and worlds


@pytest.mark.parametrize("task", ["HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5"])
@pytest.mark.parametrize("when", ["=1.5", "=1.5@30", "=0.5@periodic(30)"])
def test_limbs_that_are_longer_or_long_again_do_not_reach_into_the_floor(task, when):
    env, plain = Perturbed(make(task), f"limb_length{when}"), make(task)
    depths = []
    for one in (env, plain):
        one.reset(seed=0)
        for _ in range(31 if "@" in when else 0):
            one.step(np.zeros(one.action_space.shape, np.float32))
        model, data = one.unwrapped.model, one.unwrapped.data
        mujoco.mj_forward(model, data)
        floor = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
        depths.append(max([0, *(-c.dist for c in data.contact if floor[c.geom].any())]))
    assert depths[0] <= max(depths[1], 0.01) + 0.02


def test_a_push_lasts_as_long_on_every_robot():
    for task, steps in (("HalfCheetah-v5", 4), ("Hopper-v5", 25)):
        env = Perturbed(make(task), "push=0.1")
        env.reset(seed=0)
        pushed = []
        inner = env.env.step

        def step(action, env=env, inner=inner, pushed=pushed):
            pushed.append(bool(env.unwrapped.data.xfrc_applied.any()))
            return inner(action)

        env.env.step = step
        for _ in range(600):
            env.step(np.zeros(env.action_space.shape, np.float32))
        lengths = {len(list(run)) for on, run in itertools.groupby(pushed[:-steps]) if on}
        assert min(lengths) == steps and all(length % steps == 0 for length in lengths)


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
