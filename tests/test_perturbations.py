"""Perturbations of sensing and acting, their schedules, notation and messages."""

import re

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from gymnasium.wrappers import DelayObservation
from stable_baselines3.common.env_checker import check_env as check_sb3
from tapes import make, play

from spikepropamine.envs.perturbations import (
    CATALOGUE,
    Perturbed,
    parse,
    reason_against,
)

# ---------------------------------------------------------------- sensing and acting


class Echo(gym.Env):
    """Observes the step in every channel, and the action that arrived."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def _observation(self):
        return np.full(4, self.clock, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock = 1
        self.arrived = []
        return self._observation(), {}

    def step(self, action):
        self.clock += 1
        self.arrived.append(np.array(action))
        return self._observation(), 0.0, False, False, {}


def echoes(text, steps=30, seed=0, action=(0.5, -0.5), **arguments):
    env = Perturbed(Echo(), text, **arguments)
    rows = []
    infos = []
    observation, info = env.reset(seed=seed)
    rows.append(observation)
    infos.append(info["perturbations"])
    for _ in range(steps):
        observation, *_, info = env.step(np.array(action, np.float32))
        rows.append(observation)
        infos.append(info["perturbations"])
    return np.array(rows), np.array(env.unwrapped.arrived), infos


class Own(Echo):
    """Has attributes with names that MuJoCo's tasks and tasks with contexts have."""

    model = np.zeros(3)
    data = np.zeros(5)
    context = {"of": "its own"}


@pytest.mark.parametrize(
    "text", ["obs_noise=0.5@3", "action_gain=0.5@3", "motor_signs=3"]
)
def test_names_that_others_have_do_no_harm(text):
    env = Perturbed(Own(), text)
    env.reset(seed=0)
    for _ in range(5):
        *_, info = env.step(np.zeros(2, np.float32))
    assert info.get("context", [-1, -1]) == [-1, -1]
    assert reason_against(Own(), "mass=2").endswith("it has no MuJoCo model")


def test_noise_follows_the_spread_of_each_dimension():
    spread = np.array([0, 1, 10, 100])
    noise = echoes("obs_noise=0.5", 2000, spread=spread)[0] - echoes("none", 2000)[0]
    np.testing.assert_allclose(noise.std(axis=0), 0.5 * spread, rtol=0.1)
    assert abs(np.corrcoef(noise[:, 1], noise[:, 2])[0, 1]) < 0.1


def test_the_same_noise_at_every_severity():
    clean = echoes("none")[0]
    one, two = (echoes(f"obs_noise={level}")[0] - clean for level in (0.2, 0.4))
    np.testing.assert_allclose(two, 2 * one, atol=1e-5)


def test_a_delay_is_gymnasiums_but_for_the_beginning():
    env = DelayObservation(Echo(), 3)
    env.reset(seed=0)
    theirs = [env.step(np.zeros(2, np.float32))[0] for _ in range(10)]
    ours = echoes("obs_delay=3", 10)[0][1:]
    np.testing.assert_array_equal(ours[3:], theirs[3:])
    assert (ours[:3] == 1).all()
    assert echoes("obs_delay=2@5", 8)[0][:, 0].tolist() == [1, 2, 3, 4, 5, 4, 5, 6, 7]
    delayed = Perturbed(Echo(), "obs_delay=3")
    delayed.reset(seed=0)[0][:] = (
        9  # what is done to an observation is done to no other
    )
    assert (delayed.step(np.zeros(2, np.float32))[0] == 1).all()


@pytest.mark.parametrize(
    ("text", "space", "reason"),
    [
        (
            "obs_dropout=0.5",
            gym.spaces.Box(1.0, 2.0, (4,)),
            "0 is none of its observations",
        ),
        ("action_noise=0.5", gym.spaces.Box(-np.inf, np.inf, (4,)), "have no bounds"),
    ],
)
def test_spaces_that_a_perturbation_cannot_do_with(text, space, reason):
    env = Echo()
    env.observation_space = env.action_space = space
    assert reason in reason_against(env, text)


def test_dropped_dimensions_read_zero():
    rows = echoes("obs_dropout=0.5", 2000)[0]
    np.testing.assert_allclose((rows == 0).mean(axis=0), 0.5, atol=0.06)


def test_actions_arrive_as_they_should():
    assert (echoes("action_gain=0.5")[1] == [0.25, -0.25]).all()
    assert (echoes("action_flip:action_1=-1")[1] == [0.5, 0.5]).all()
    assert (echoes("action_flip:-1=-1")[1] == [0.5, 0.5]).all()
    delayed = echoes("action_delay=2")[1]
    assert (delayed[:2] == 0).all() and (delayed[2:] == [0.5, -0.5]).all()
    dropped = (echoes("action_drop=0.5", 2000)[1] == 0).all(axis=1).mean()
    assert 0.44 < dropped < 0.56
    noisy = echoes("action_noise=1", 500)[1]
    assert noisy.min() >= -1 and noisy.max() <= 1 and noisy.std() > 0.3


def test_noise_of_actions_is_in_units_of_half_their_range():
    class Wide(Echo):
        action_space = gym.spaces.Box(-40.0, 40.0, (2,), np.float32)

    env = Perturbed(Wide(), "action_noise=0.1")
    env.reset(seed=0)
    for _ in range(2000):
        env.step(np.zeros(2, np.float32))
    np.testing.assert_allclose(
        np.std(env.unwrapped.arrived, axis=0), 0.1 * 40, rtol=0.1
    )


def test_a_bias_is_constant_within_an_episode_and_follows_the_spread():
    spread = np.array([0, 1, 10, 100])
    biases = []
    for seed in range(200):
        rows = (
            echoes("obs_bias=0.5", 3, seed, spread=spread)[0]
            - echoes("none", 3, seed)[0]
        )
        np.testing.assert_allclose(rows, rows[:1].repeat(4, axis=0), atol=1e-4)
        biases.append(rows[0])
    np.testing.assert_allclose(np.std(biases, axis=0), 0.5 * spread, rtol=0.2)


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.25, 1), (0.3, 2), (0.5, 2)])
def test_a_share_of_sensors_that_stick_is_rounded_up(share, count):
    assert (echoes(f"obs_stuck={share}")[0][-1] == 1).sum() == count
    rows = echoes(f"obs_stuck={share}@10")[0]  # they keep the reading of the onset
    assert (rows[-1] == 11).sum() == count and (rows[-1] == 31).sum() == 4 - count


def test_severity_and_value_are_visible_and_follow_the_schedule():
    infos = echoes("action_gain~1@ramp(2, 4) + obs_noise=0.2@2", 6)[2]
    assert [info["action_gain"]["value"] for info in infos] == [
        1,
        1,
        1,
        0.625,
        0.25,
        0.25,
        0.25,
    ]
    assert [info["action_gain"]["severity"] for info in infos] == [
        0,
        0,
        0,
        0.5,
        1,
        1,
        1,
    ]
    assert [info["obs_noise"]["severity"] for info in infos] == [
        0,
        0,
        0.2,
        0.2,
        0.2,
        0.2,
        0.2,
    ]


def test_randomised_values_are_drawn_anew():
    env = Perturbed(Echo(), "action_gain=0.5..2 + obs_delay=1..5")
    drawn = [env.reset(seed=seed)[1]["perturbations"] for seed in range(500)]
    values = np.array([one["action_gain"]["value"] for one in drawn])
    assert 0.5 <= values.min() < 0.52 and 1.98 < values.max() <= 2
    assert 0.1 < (values < 0.8).mean() < 0.3  # 0.3 of 1.5 in length is 0.2
    assert {one["obs_delay"]["value"] for one in drawn} == {1, 2, 3, 4, 5}


def test_one_alternative_per_episode():
    env = Perturbed(Echo(), "obs_noise=0.1 | action_gain=0.5 | none")
    chosen = [tuple(env.reset(seed=seed)[1]["perturbations"]) for seed in range(200)]
    assert set(chosen) == {("obs_noise",), ("action_gain",), ()}
    again = [tuple(env.reset(seed=seed)[1]["perturbations"]) for seed in range(200)]
    assert chosen == again


def test_the_task_draws_what_it_draws_without_the_wrapper():
    plain = make("Ant-v5")
    env = Perturbed(make("Ant-v5"), "push=1 + mass=0.5..2 | rough_ground=0.1")
    for seed in (3, None, None):
        a = plain.reset(seed=seed)[0]
        b = env.reset(seed=seed)[0]
        np.testing.assert_array_equal(
            a[:27], b[:27]
        )  # contact forces, from 27 on, depend on mass


def test_terms_do_not_disturb_each_others_noise():
    alone = echoes("obs_noise=0.2")[0]
    together = echoes("action_noise=0.3 + obs_noise=0.2")[0]
    np.testing.assert_array_equal(alone, together)


# ---------------------------------------------------------------- notation and messages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mas=1.5", "did you mean 'mass'"),
        ("mass", "cannot read 'mass'"),
        ("mass=1.5 + mass=2@5", "'mass' is there twice"),
        ("mass:torsoo=1.5", "did you mean 'torso'"),
        ("mass:99=1.5", "there are 7 targets"),
        ("gravity:torso=1.5", "gravity has no targets"),
        ("mass=9", r"mass must be in \[0.3, 3\] \(x nominal\), got 9"),
        ("obs_delay=1.5", "whole number"),
        ("mass=2..1", "a range rises"),
        ("mass=1.5@rampp(1, 2)", "did you mean 'ramp'"),
        ("mass=1.5@ramp(2, 1)", "two rising steps"),
        (
            "gravity_tilt=5",
            "would change nothing in HalfCheetah-v5: a pull to the side",
        ),
        ("motor_signs=64", "there are 64 contexts, from 0 to 63"),
        ("motor_signs=1e999", "a whole number from 0 on"),
        ("motor_signs=seen@change(1..99999999999999999999)", "rising steps from 1 on"),
        ("mass=seen", "seen is a set of contexts"),
        ("motor_signs=seen..3", "cannot read|set of contexts"),
        ("mass=1.5@change(100)", "what changes is a context"),
        ("motor_signs=3@change(100)", "no other context to change to"),
        ("motor_signs=seen@change(0)", "rising steps from 1 on"),
        ("motor_signs=seen@change(30, 20..40)", "rising steps from 1 on"),
        ("motor_signs=seen@ramp(1, 4)", "cannot grow along a ramp"),
        ("motor_signs:all=held_out", "of 2 contexts none is held out"),
        ("motor_order:bshin=1", "did you mean|choose from each"),
    ],
)
def test_messages_say_what_would_be_right(text, message):
    env = make("HalfCheetah-v5")
    with pytest.raises(ValueError, match=message):
        Perturbed(env, text)
    assert re.search(message, reason_against(env, text))


def test_a_plus_may_belong_to_a_number():
    ((first, second),) = parse("mass=+1.5e+0+slope=-1.5@500")
    assert (first.low, second.low, second.schedule.start) == (1.5, -1.5, 500)
    ((first, second),) = parse("mass=2. + obs_noise=0.2")
    assert (first.low, second.low) == (2, 0.2)


@pytest.mark.parametrize("family", CATALOGUE.values(), ids=CATALOGUE)
def test_severity_and_value_are_inverse(family):
    assert family.severity(family.nominal) == 0
    assert family.severity(family.hardest) == 1
    assert family.other is None or family.severity(family.other) == 1
    for severity in (0.25, 0.5, 1):
        assert family.severity(family.value(severity)) == pytest.approx(severity)


@pytest.mark.parametrize(
    "text", ["obs_noise=0.2 + mass=1.5 + push=1", "rough_ground=0.1"]
)
def test_checkers_accept_it(text):
    env = Perturbed(gym.make("HalfCheetah-v5").unwrapped, text)
    check_gymnasium(env, skip_render_check=True)
    check_sb3(env, skip_render_check=True)


def test_a_spec_can_be_written():
    env = Perturbed(gym.make("HalfCheetah-v5"), "obs_noise=0.2", spread=np.ones(17))
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    np.testing.assert_array_equal(play(again, steps=5), play(env, steps=5))


@pytest.mark.parametrize("spread", [[1.0, 2.0], -1.0, np.nan])
def test_a_spread_has_to_fit(spread):
    with pytest.raises(ValueError, match="spread"):
        Perturbed(Echo(), "obs_noise=0.1", spread=np.array(spread))


def test_what_changes_nothing_has_a_reason_against_it():
    env = make("HalfCheetah-v5")
    for text in ("mass=1", "mass~0", "mass~0 | gravity=1"):
        assert "changes nothing: there mass is what it is anyway" in reason_against(
            env, text
        )
    why = reason_against(env, "action_flip=1@50")
    assert why.endswith("from 1 to -1 (x nominal), as action_flip=-1")
    assert reason_against(env, "none") == "'none' changes nothing"
    assert not reason_against(env, "mass=1 | mass=2")
    assert not reason_against(env, "none | mass=2")
