"""MotorMap: what is shown follows from the wiring, and least squares finds the
wiring.
"""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from conftest import pixels
from gymnasium.utils.env_checker import check_env as check_gymnasium
from stable_baselines3.common.env_checker import check_env as check_sb3

from benchmarks.motor_maps import explained
from spikepropamine.envs.making import make
from spikepropamine.envs.motor_map import WIRINGS, MotorMap, least_squares
from spikepropamine.evaluation.run.episodes import explained_late, run_episodes


def episode(env, seed=0, action=None):
    """Observations [T, channels], targets [T, motors] and infos of an episode."""
    observation, _ = env.reset(seed=seed)
    observations = [observation]
    infos = []
    ended = False
    while not ended:
        command = np.zeros(env.motors) if action is None else action
        observation, reward, ended, truncated, info = env.step(command)
        assert reward == -info["squared_error"] and not truncated
        observations.append(observation)
        infos.append(info)
    assert not observations[-1].any()
    targets = np.array([info["target"] for info in infos])
    return np.array(observations[:-1]), targets, infos


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("motors", [1, 6])
def test_checkers_accept_it_without_a_warning(wiring, motors):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("MotorMap-v0", motors=motors, wiring=wiring).unwrapped
        assert isinstance(env, MotorMap)
        check_gymnasium(env)
        check_sb3(env)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_effects_follow_from_commands_by_the_wiring_of_the_episode(wiring):
    env = MotorMap(motors=5, wiring=wiring)
    observations, targets, infos = episode(env)
    wanted, commands, effects = np.split(observations, 3, axis=1)
    wiring_of_episode = env.matrices[0]
    assert (env.matrices == wiring_of_episode).all()
    np.testing.assert_allclose(effects, commands @ wiring_of_episode.T, atol=1e-6)
    np.testing.assert_allclose(wanted, targets @ wiring_of_episode.T, atol=1e-6)
    assert not commands[0].any() and commands[1:].all()
    assert len(targets) == env.episode_steps == 48
    assert [info["trial"] for info in infos] == list(range(48))
    env.reset()
    assert (env.matrices[0] != wiring_of_episode).any()


def test_a_wiring_that_changes_in_an_episode_is_shown_a_step_later():
    env = MotorMap(motors=4, wiring="rotation", steps=21, changes=2)
    observations, targets, infos = episode(env)
    wanted, commands, effects = np.split(observations, 3, axis=1)
    wirings = [info["wiring"] for info in infos]
    assert wirings == [0] * 7 + [1] * 7 + [2] * 7
    assert len({env.matrices[step].tobytes() for step in (0, 7, 14)}) == 3
    for step in range(1, 21):
        np.testing.assert_allclose(
            wanted[step], env.matrices[step] @ targets[step], atol=1e-6
        )
        np.testing.assert_allclose(
            effects[step], env.matrices[step - 1] @ commands[step], atol=1e-6
        )


def test_what_is_explained_of_each_wiring_is_measured_apart():
    envs = [MotorMap(motors=2, steps=12, changes=2) for _ in range(3)]

    class RightInTheSecondWiring:
        steps = 0

        def predict(self, observations, state, starts, deterministic):
            step, self.steps = self.steps, self.steps + 1
            assert starts.all() == (step == 0)
            targets = [env._targets[step] * (4 <= step < 8) for env in envs]
            return np.array(targets), state

    shares = list(explained(RightInTheSecondWiring(), envs))
    np.testing.assert_allclose(shares, [0, 1, 0], atol=1e-6)


@pytest.mark.parametrize(("steps", "wirings"), [(49, 49), (480, 10), (98, 49)])
def test_every_wiring_lasts_as_long(steps, wirings):
    env = MotorMap(motors=1, steps=steps, changes=wirings - 1)
    _, _, infos = episode(env)
    lengths = np.bincount([info["wiring"] for info in infos])
    np.testing.assert_array_equal(lengths, np.full(wirings, steps // wirings))


@pytest.mark.parametrize(
    ("wiring", "singular"),
    [("order", (1, 1)), ("gains", (0.5, 2)), ("rotation", (1, 1))],
)
def test_wirings_are_what_they_are_called(wiring, singular):
    random = np.random.default_rng(0)
    for _ in range(20):
        matrix = WIRINGS[wiring](random, 7)
        values = np.linalg.svd(matrix)[1]
        assert values.min() >= singular[0] - 1e-9
        assert values.max() <= singular[1] + 1e-9
        if wiring != "rotation":
            assert ((matrix != 0).sum(axis=0) == 1).all()
            assert ((matrix != 0).sum(axis=1) == 1).all()


def test_the_error_is_of_the_command_and_the_spread_of_a_command_of_zeros():
    env = MotorMap(motors=3)
    _, targets, infos = episode(env, action=np.array([0.5, -2.0, 0.25]))
    clipped = np.array([0.5, -1.0, 0.25])  # to the action space
    for target, info in zip(targets, infos):
        assert info["squared_error"] == pytest.approx(
            np.square(clipped - target).mean()
        )
        assert info["squared_target"] == pytest.approx(np.square(target).mean())


def test_what_is_explained_is_a_share_of_the_last_quarter():
    # five steps: the last two count
    errors = [9.0, 9.0, 9.0, 1.0, 0.0]
    targets = [1.0, 1.0, 1.0, 3.0, 1.0]
    assert explained_late(errors, targets) == pytest.approx(0.75)
    assert np.isnan(explained_late([], []))
    assert np.isnan(explained_late([1.0], [0.0]))


def test_commands_of_zeros_explain_nothing_and_bold_wrong_ones_less_than_that():
    class Constant:
        def __init__(self, command):
            self.command = command

        def predict(self, observations, state, starts, deterministic):
            return np.full((len(observations), 3), self.command), state

    def explained(command):
        policy = Constant(command)
        episodes = run_episodes(policy, lambda: MotorMap(3), range(4), width=4)
        return np.array([episode.explained for episode in episodes])

    np.testing.assert_allclose(explained(0.0), 0.0, atol=1e-6)
    assert (explained(1.0) < -1).all()


@pytest.mark.parametrize("wiring", WIRINGS)
def test_least_squares_knows_the_wiring_after_as_many_steps_as_motors(wiring):
    env = MotorMap(motors=6, wiring=wiring)
    observations, targets, _ = episode(env)
    errors = np.square(least_squares(observations) - targets).mean(axis=1)
    assert errors[0] > 0.1  # nothing was shown yet
    assert errors[7:].max() < 1e-4
    noisy = MotorMap(motors=6, wiring=wiring, noise=0.1)
    observations, targets, _ = episode(noisy)
    errors = np.square(least_squares(observations) - targets).mean(axis=1)
    assert errors[-12:].mean() < errors[7:19].mean()


def test_an_observer_does_not_look_ahead():
    observations, _, _ = episode(MotorMap(motors=4))
    whole = least_squares(observations)
    first = least_squares(observations[:9])
    np.testing.assert_allclose(first, whole[:9])


@pytest.mark.parametrize("action", [np.zeros(3), np.full(4, np.nan), 0.5])
def test_a_command_that_does_not_fit_is_refused(action):
    env = MotorMap(motors=4)
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.step(np.zeros(4))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="4 finite numbers, one for each motor"):
        env.step(action)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"motors": 0}, "motors must be an integer >= 1"),
        ({"wiring": "orders"}, "wiring must be one of 'order', 'gains', 'rotation'"),
        ({"steps": 1}, "steps must be an integer >= 2"),
        ({"noise": -1.0}, "noise must be a number"),
        ({"changes": 48}, r"changes must be an integer in \[0, 47\]"),
    ],
)
def test_messages_name_the_argument_and_its_range(knobs, message):
    with pytest.raises(ValueError, match=message):
        MotorMap(**knobs)


def test_pictures_show_commands_that_are_close_as_right():
    env = MotorMap(motors=2, render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    env.step(np.linalg.solve(env.matrices[0], observation[:2]))
    green = pixels(env.render(), (0, 158, 115))
    red = pixels(env.render(), (213, 94, 0))
    assert green[0].size > 50
    env.step(-np.ones(2))
    assert pixels(env.render(), (213, 94, 0))[0].size > red[0].size


def test_who_sees_the_previous_reward_does_not_see_the_error():
    env = make("MotorMap-v0", previous=True)
    env.reset(seed=0)
    for _ in range(5):
        observation, reward, *_ = env.step(np.ones(env.action_space.shape))
        assert observation[-1] == 0 and reward < 0
