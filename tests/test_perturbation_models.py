"""Perturbations of the model: as recompiling it would, as they say, and undone on
close.
"""

import re

import mujoco
import numpy as np
import pytest
from tapes import make, play

from spikepropamine.envs.perturbations import CATALOGUE, Perturbed, reason_against
from spikepropamine.envs.perturbations.catalogue import Bound


def with_model(task, model):
    """The task with another model of the same sizes."""
    env = make(task)
    env.unwrapped.model, env.unwrapped.data = model, mujoco.MjData(model)
    return env


def source(task):
    env = make(task)
    with open(env.unwrapped.fullpath) as file:
        return file.read()


def compiled(xml):
    spec = mujoco.MjSpec.from_string(xml)
    return spec.compile()


def replaced(text, *pairs):
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def keep_densities(xml, edited):
    """HalfCheetah's file scales all masses to a total: scale the edited ones as
    much.
    """
    loose = [text.replace('settotalmass="14"', "") for text in (xml, edited)]
    before, after = (compiled(text).body_mass.sum() for text in loose)
    return edited.replace(
        'settotalmass="14"', f'settotalmass="{float(14 * after / before)!r}"'
    )


def heavy_torso(factor):
    """Ant, recompiled with a multiple of the density of its torso's geom."""
    old = 'name="torso_geom" pos="0 0 0"'
    return compiled(replaced(source("Ant-v5"), (old, old + f' density="{5 * factor}"')))


def short_limb(task):
    """Recompiled with one middle segment of half the length, written out by hand."""
    xml = source(task)
    if task == "Ant-v5":
        leg = 'fromto="0.0 0.0 0.0 0.2 0.2 0.0" name="left_leg_geom"'
        lower = re.search(
            r'<body pos="0.2 0.2 0">\s*<joint axis="-1 1 0" name="ankle_1"', xml
        )[0]
        return compiled(
            replaced(
                xml,
                (leg, leg.replace("0.2", "0.1")),
                (lower, lower.replace('"0.2 0.2 0"', '"0.1 0.1 0"')),
            )
        )
    edited = replaced(
        xml,
        ('pos="-.14 0 -.07" rgba', 'pos="-.07 0 -.035" rgba'),
        ('size="0.046 .15" type="capsule"/>\n'
         '          <body name="bfoot" pos="-.28 0 -.14">',
         'size="0.046 .075" type="capsule"/>\n'
         '          <body name="bfoot" pos="-.14 0 -.07">'),
    )  # fmt: skip
    return compiled(keep_densities(xml, edited))


def damped(factor):
    spec = mujoco.MjSpec.from_string(source("Ant-v5"))
    for joint in spec.joints:
        joint.damping *= factor
    return spec.compile()


@pytest.mark.parametrize(
    ("task", "text", "model"),
    [
        ("Ant-v5", "mass:torso=2", lambda: heavy_torso(2)),
        ("Ant-v5", "damping=2", lambda: damped(2)),
        ("Ant-v5", "limb_length:aux_1=0.5", lambda: short_limb("Ant-v5")),
        (
            "HalfCheetah-v5",
            "limb_length:bshin=0.5",
            lambda: short_limb("HalfCheetah-v5"),
        ),
    ],
)
def test_a_whole_tape_agrees_with_a_recompiled_model(task, text, model):
    """With a factor of 2, which leaves no rounding behind: contacts are chaotic."""
    one = Perturbed(make(task), text)
    other = with_model(task, model())
    plain = play(make(task))
    actual = play(one)
    expected = play(other)
    assert np.abs(actual - plain).max() > 0.1
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)


def test_mass_without_inertia_is_another_thing():
    """The test above can tell the difference."""
    env = make("Ant-v5")
    env.unwrapped.model.body_mass[1] *= 1.5
    expected = play(with_model("Ant-v5", heavy_torso(1.5)))
    assert np.abs(play(env) - expected).max() > 1e-3


# ---------------------------------------------------------------- models


def test_edits_do_not_compound_over_resets_and_ramps():
    env = Perturbed(make("HalfCheetah-v5"), "mass:torso=2@ramp(0, 4) + mass=1.5")
    mass = env.unwrapped.model.body_mass.copy()
    for seed in range(3):
        play(env, steps=6, seed=seed)
        np.testing.assert_allclose(
            env.unwrapped.model.body_mass[1:3] / mass[1:3], [3, 1.5]
        )
    env.reset(seed=0)
    np.testing.assert_allclose(
        env.unwrapped.model.body_mass[1:3] / mass[1:3], [1.5, 1.5]
    )


def test_all_friction_changes_and_that_of_the_floor_alone_does_nothing():
    env = make("HalfCheetah-v5")
    plain = play(env)
    env.unwrapped.model.geom_friction[0] *= 0.1
    assert np.array_equal(play(env), plain)
    assert not np.array_equal(
        play(Perturbed(make("HalfCheetah-v5"), "friction=0.1")), plain
    )


def test_what_needs_weight_or_friction_is_refused_where_there_is_none():
    env = make("Pusher-v5")
    for text in ("push=1", "slope=5", "gravity_tilt=5", "gravity=2"):
        assert "it has no gravity" in reason_against(env, text)
    assert "its contacts have no friction" in reason_against(env, "friction=0.5")


def test_bumps_rise_out_of_a_floor_that_lies_deep():
    env = Perturbed(make("Pusher-v5"), "rough_ground=0.15")
    env.reset(seed=0)
    env.step(np.zeros(7))
    assert np.abs(env.unwrapped.data.qvel).max() < 1.0


def test_a_direction_is_given_back_whoever_turned_it_last():
    env = Perturbed(make("HalfCheetah-v5"), "direction=-1 | direction=0.5")
    seen = set()
    for seed in range(8):
        _, info = env.reset(seed=seed)
        weight = info["perturbations"]["direction"]["value"]
        assert env.unwrapped._forward_reward_weight == weight
        seen.add(weight)
    env.undo()
    assert seen == {-1.0, 0.5} and env.unwrapped._forward_reward_weight == 1.0


def test_a_direction_that_is_not_paid_cannot_be_turned():
    unpaid = make("HalfCheetah-v5", forward_reward_weight=0.0)
    assert "no part for moving forward" in reason_against(unpaid, "direction=-1")
    assert "cue_reversal" in reason_against(make("HalfCheetahCue-v0"), "direction=-1")


def test_wind_blows_against_the_robot_and_from_its_side_through_air():
    env = Perturbed(make("Ant-v5"), "wind:head=5 + wind:side=3")
    env.reset(seed=0)
    option = env.unwrapped.model.opt
    np.testing.assert_allclose(option.wind, [-5, 3, 0])
    assert option.density == 1.2


@pytest.mark.parametrize(
    ("name", "sideways"), [("HalfCheetah-v5", False), ("Ant-v5", True)]
)
def test_pushes_begin_once_a_second_last_a_fifth_of_it_and_are_in_weights(
    name, sideways
):
    task = make(name).unwrapped
    bound = Bound(target=np.array([1]), random=np.random.default_rng(0))
    forces = []
    for _ in range(20_000):
        task.data.xfrc_applied[:] = 0
        CATALOGUE["push"].each_step(task, 0.5, bound)
        forces.append(task.data.xfrc_applied[1].copy())
    forces = np.array(forces)
    pushed = np.abs(forces).max(axis=1) > 0
    weight = task.model.body_mass.sum() * 9.81
    np.testing.assert_allclose(np.linalg.norm(forces[pushed], axis=1), 0.5 * weight)
    assert (np.abs(forces[pushed, 1]).max() > 0) == sideways and not forces[:, 2:].any()
    steps = round(0.2 / task.dt)
    number = pushed.sum() / steps
    assert number == pytest.approx(
        task.dt * (len(forces) - pushed.sum() + number), rel=0.1
    )
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], pushed, [0]]))))[::2]
    assert (runs[:-1] % steps == 0).all() and (runs == steps).mean() > 0.9


def test_a_joint_loses_a_share_of_its_range_around_the_angle_that_it_has_at_the_onset():
    env = Perturbed(make("HalfCheetah-v5"), "joint_lock:bshin=0.75@20")
    task = env.unwrapped
    joint = task.model.joint("bshin")
    low, high = joint.range.copy()
    env.reset(seed=0)
    for _ in range(20):
        np.testing.assert_array_equal(joint.range, [low, high])
        env.step(np.full(6, 0.3))
    angle = np.clip(task.data.qpos[joint.qposadr[0]], low, high)
    assert abs(angle - (low + high) / 2) > 0.1
    expected = [angle + 0.25 * (low - angle), angle + 0.25 * (high - angle)]
    np.testing.assert_allclose(joint.range, expected)


def test_gravity_is_turned_to_the_side_and_then_backwards_and_keeps_its_size():
    env = Perturbed(make("Ant-v5"), "gravity_tilt=20 + slope=15")
    env.reset(seed=0)
    tilt, slope = np.deg2rad([20, 15])
    expected = [
        -np.cos(tilt) * np.sin(slope),
        np.sin(tilt),
        -np.cos(tilt) * np.cos(slope),
    ]
    np.testing.assert_allclose(
        env.unwrapped.model.opt.gravity, 9.81 * np.array(expected)
    )


def test_nothing_is_earned_by_shrinking():
    """The way from the old body's centre to the new one's is not run."""
    env = Perturbed(make("Humanoid-v5"), "limb_length=0.5@20")
    env.reset(seed=0)
    earned = [env.step(np.zeros(17))[4]["reward_forward"] for _ in range(22)]
    assert max(np.abs(np.diff(earned))) < 0.5


def test_rough_ground_has_no_end():
    """It is under the robot wherever that goes."""
    env = Perturbed(make("HalfCheetah-v5"), "rough_ground=0.15")
    task = env.unwrapped
    env.reset(seed=0)
    terrain = task.model.geom("rough_ground").id
    touched = []
    for place in (2.0, 30.0, 333.0, -100.0):
        task.data.qpos[0] = place
        env.step(np.zeros(6))
        hits = 0
        for _ in range(40):
            env.step(np.zeros(6))
            hits += any(terrain in contact.geom for contact in task.data.contact)
        touched.append(hits)
    assert min(touched) > 20
