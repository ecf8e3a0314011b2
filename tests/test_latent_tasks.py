"""Tasks with hidden latents: what they hide, what they show, and what they pay."""

import copy
import hashlib
import json
import pickle
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from stable_baselines3.common.env_checker import check_env as check_sb3
from tapes import play_with_infos

from spikepropamine.envs.cue_robot import CueRobot
from spikepropamine.envs.ids import ROBOTS as BODIES
from spikepropamine.envs.latent import DirectionRobot

ROBOTS = ("HalfCheetahDirection", "HalfCheetahVelocity")
KINDS = ("Sparse", "Opening")
FORCED = {
    "HalfCheetahDirection": ("direction", 1, -1),
    "HalfCheetahVelocity": ("target_velocity", 0.5, 2.5),
}
OTHERS = (
    "HalfCheetahCue-v0", "HalfCheetahCueLesson-v0", "CartPoleNoVelocity-v0",
    "PendulumNoVelocity-v0", "HalfCheetahNoVelocity-v0",
)  # fmt: skip
HASHES = Path(__file__).parent / "data" / "latent_tasks.json"


@pytest.mark.parametrize("task", OTHERS)
def test_checkers_accept_it(task):
    accepted(task)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    "task", ["Direction", "VelocitySparse", "VelocityOpening", "Cue", "CueLesson"]
)
def test_checkers_accept_every_robot(body, task):
    accepted(f"{body}{task}-v0")


def accepted(task):
    """Gymnasium's and Stable-Baselines3's checkers of environments raise where not."""
    env = gym.make(task).unwrapped
    check_gymnasium(env, skip_render_check=True)
    check_sb3(env, skip_render_check=True)


@pytest.mark.parametrize("body", BODIES)
def test_every_robot_can_be_told_to_go_back(body):
    """Its reward then differs from that of its plain task by twice the part for
    speed.
    """
    plain = gym.make(f"{body}-v5")
    forward, backward = (gym.make(f"{body}Direction-v0") for _ in range(2))
    plain.reset(seed=3)
    first, _ = forward.reset(seed=3, options={"direction": 1})
    other, _ = backward.reset(seed=3, options={"direction": -1})
    np.testing.assert_array_equal(first, other)
    tape = np.random.default_rng(0)
    for _ in range(10):
        action = tape.uniform(-0.4, 0.4, plain.action_space.shape).astype(np.float32)
        expected, reward, fallen, _, info = plain.step(action)
        there, same, forward_fallen, _, _ = forward.step(action)
        back, less, _, _, _ = backward.step(action)
        speed = info["reward_forward"]
        assert same == reward and forward_fallen == fallen
        assert less == pytest.approx(reward - 2 * speed)
        np.testing.assert_array_equal(there, [*expected, speed])
        np.testing.assert_array_equal(back, [*expected, -speed])


@pytest.mark.parametrize("body", BODIES)
def test_every_robot_can_have_a_target_velocity_and_a_cue(body):
    plain = gym.make(f"{body}-v5")
    velocity = gym.make(f"{body}Velocity-v0")
    cue = gym.make(f"{body}CueLesson-v0").unwrapped
    expected, _ = plain.reset(seed=3)
    velocity.reset(seed=3, options={"target_velocity": 0.2})
    observation, info = cue.reset(seed=3)
    assert 0 < velocity.unwrapped.fastest == BODIES[body].fastest
    np.testing.assert_array_equal(observation[: len(expected)], expected)
    for _ in range(5):
        action = np.zeros(plain.action_space.shape, np.float32)
        _, reward, _, _, plainly = plain.step(action)
        weight = plain.unwrapped._forward_reward_weight
        speed = plainly["x_velocity"]
        without = reward - weight * speed
        _, got, _, _, _ = velocity.step(action)
        assert got == pytest.approx(without - weight * abs(speed - 0.2))
        (direction,) = info["context"]
        _, got, _, _, info = cue.step(action)
        assert got == pytest.approx(without + weight * direction * speed)
        assert info["feedback"] == direction  # of a lesson


@pytest.mark.parametrize("body", BODIES)
def test_trials_of_every_robot_last_as_long(body):
    env = gym.make(f"{body}CueLesson-v0").unwrapped
    assert env.dt == pytest.approx(BODIES[body].step_seconds)
    assert env.cue_length * env.dt == pytest.approx(1.25, abs=env.dt)
    assert env.settle_length * env.dt == pytest.approx(0.5, abs=env.dt)


def test_a_robot_that_falls_ends_its_episode():
    env = gym.make("HopperCue-v0")
    env.reset(seed=0)
    for _ in range(200):
        *_, terminated, truncated, info = env.step(np.ones(3, np.float32))
        if terminated:
            break
    assert terminated and not truncated and not env.unwrapped.is_healthy
    assert "feedback" in info


@pytest.mark.parametrize(
    "task", ["HalfCheetahNoVelocity", "AntVelocity", "HopperDirectionSparse", "AntCue"]
)
def test_a_copy_has_the_arguments(task):
    arguments = {"reset_noise_scale": 0.0}
    arguments |= {"told": 0.3} if "NoVelocity" not in task else {}
    arguments |= {"fastest": 1.5} if "Velocity" in task and "No" not in task else {}
    env = gym.make(f"{task}-v0", **arguments).unwrapped
    for copied in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        assert type(copied) is type(env)
        for name in ("told", "fastest", "_reset_noise_scale", "trials", "feedback"):
            assert getattr(copied, name, None) == getattr(env, name, None)
        np.testing.assert_array_equal(copied.reset(seed=1)[0], env.reset(seed=1)[0])


def test_a_robot_of_ones_own_takes_a_task_or_says_why_not():
    from gymnasium.envs.mujoco.inverted_pendulum_v5 import InvertedPendulumEnv
    from gymnasium.envs.mujoco.swimmer_v5 import SwimmerEnv

    class Slow(DirectionRobot, SwimmerEnv):
        pass

    class Pendulum(CueRobot, InvertedPendulumEnv):
        pass

    env = Slow(frame_skip=2, told=0.5)
    assert env.told == 0.5 and env.frame_skip == 2
    with pytest.raises(TypeError, match="Pendulum: the robot has no method _get_rew"):
        Pendulum()


@pytest.mark.nightly
@pytest.mark.parametrize("case", json.loads(HASHES.read_text()))
def test_trajectories_are_those_on_file(case):
    """Of the tasks as they were when there was HalfCheetah alone, to the last bit."""
    task, arguments, options = json.loads(case)
    env = gym.make(task, **arguments)
    total = hashlib.sha256()
    for seed in (7, None):
        random = np.random.default_rng(0)
        observation, info = env.reset(seed=seed, options=options)
        over = False
        total.update(observation.tobytes() + repr(sorted(info.items())).encode())
        while not over:
            action = random.uniform(-1, 1, 6).astype(np.float32)
            observation, reward, terminated, truncated, info = env.step(action)
            over = terminated or truncated
            total.update(observation.tobytes() + np.float64(reward).tobytes())
            total.update(repr(sorted(info.items())).encode())
    assert total.hexdigest() == json.loads(HASHES.read_text())[case]


@pytest.mark.parametrize("robot", ROBOTS)
def test_with_the_same_seed_the_robot_moves_as_in_the_stock_task(robot):
    stock = play_with_infos(gym.make("HalfCheetah-v5"), 20)[0]
    ours = play_with_infos(gym.make(f"{robot}-v0"), 20)[0]
    np.testing.assert_array_equal(ours[:, :-1], stock)


@pytest.mark.parametrize("robot", ROBOTS)
def test_the_latent_shows_in_feedback_and_reward_alone(robot):
    name, one, other = FORCED[robot]
    runs = [
        play_with_infos(gym.make(f"{robot}-v0"), 30, options={name: value})
        for value in (one, other)
    ]
    np.testing.assert_array_equal(runs[0][0][:, :-1], runs[1][0][:, :-1])
    assert (runs[0][0][1:, -1] != runs[1][0][1:, -1]).all()
    assert (runs[0][1] != runs[1][1]).all()


def test_directions_are_paid_as_they_should():
    (_, forward, infos), (_, backward, _) = (
        play_with_infos(
            gym.make("HalfCheetahDirection-v0"), 30, options={"direction": direction}
        )
        for direction in (1, -1)
    )
    cost = np.array([info["reward_ctrl"] for info in infos[1:]])
    np.testing.assert_allclose(forward - cost, -(backward - cost))
    stock = play_with_infos(gym.make("HalfCheetah-v5"), 30)[1]
    np.testing.assert_array_equal(forward, stock)


def test_velocities_are_paid_as_they_should():
    _, _, infos = play_with_infos(
        gym.make("HalfCheetahVelocity-v0"), 30, options={"target_velocity": 1.25}
    )
    for info in infos[1:]:
        assert info["reward_forward"] == pytest.approx(-abs(info["x_velocity"] - 1.25))


@pytest.mark.parametrize("robot", ROBOTS)
def test_latents_vary_between_episodes_and_follow_the_seed(robot):
    env = gym.make(f"{robot}-v0")
    name = FORCED[robot][0]
    drawn = [env.reset(seed=seed)[1][name] for seed in range(200)]
    assert drawn[:20] == [env.reset(seed=seed)[1][name] for seed in range(20)]
    if robot == "HalfCheetahVelocity":
        assert 0 <= min(drawn) < 0.1 and 2.9 < max(drawn) <= 3
    else:
        values, counts = np.unique(np.round(drawn, 6), return_counts=True)
        assert len(values) == 2
        assert counts.min() > 200 / len(values) / 2


@pytest.mark.parametrize("robot", ROBOTS)
def test_feedback_is_sparse_a_mean_since_the_last_time_or_ends(robot):
    dense = play_with_infos(gym.make(f"{robot}-v0").unwrapped, 120)[0][1:, -1]
    sparse = play_with_infos(
        gym.make(f"{robot}Sparse-v0", feedback_every=40).unwrapped, 120
    )[0][1:, -1]
    assert np.flatnonzero(sparse).tolist() == [39, 79, 119]
    np.testing.assert_allclose(sparse[[39, 79, 119]], dense.reshape(3, 40).mean(axis=1))
    opening = play_with_infos(
        gym.make(f"{robot}Opening-v0", feedback_opening=25).unwrapped, 60
    )[0][1:, -1]
    np.testing.assert_array_equal(opening[:25], dense[:25])
    assert not opening[25:].any()


@pytest.mark.parametrize(
    ("task", "arguments", "options", "message"),
    [
        (
            "HalfCheetahDirection-v0",
            {"feedback": "never"},
            {},
            "one of 'dense', 'sparse'",
        ),
        (
            "HalfCheetahDirection-v0",
            {},
            {"direction": 2},
            "direction must be one of 1, -1",
        ),
        ("HalfCheetahDirection-v0", {}, {"way": 1}, "may have 'direction' only"),
        ("HalfCheetahVelocity-v0", {"slowest": 2, "fastest": 1}, {}, "fastest must be"),
        ("HalfCheetahCue-v0", {"reversal": 10}, {}, "reversal must be"),
        ("HalfCheetahCue-v0", {"settle_length": 90}, {}, "settle_length must be"),
        (
            "HalfCheetahCue-v0",
            {"lesson": True, "trials": 2},
            {},
            "more than the 2 of the lesson",
        ),
        (
            "HalfCheetahCue-v0",
            {"lesson": True, "trials": 4, "reversal": 2},
            {},
            "must be None",
        ),
        ("HalfCheetahCue-v0", {"lesson": True, "reversal": 2}, {}, r"in \[3, 7\]"),
        ("HalfCheetahCue-v0", {"speed_limit": -1}, {}, "speed_limit must be"),
    ],
)
def test_messages_name_the_argument_and_its_range(task, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        gym.make(task, disable_env_checker=True, **arguments).unwrapped.reset(
            options=options
        )


@pytest.mark.parametrize(
    "task", [f"{robot}{kind}-v0" for robot in ROBOTS for kind in KINDS]
)
def test_a_told_episode_has_feedback_more_often_and_the_same_latent(task):
    arguments = {"feedback_opening": 5, "feedback_every": 8}
    plain = gym.make(task, **arguments)
    told = gym.make(task, told=1, **arguments)
    intervals = []
    for seed in range(40):
        a = play_with_infos(plain, 24, seed)
        b = play_with_infos(told, 24, seed)
        np.testing.assert_array_equal(a[0][:, :-1], b[0][:, :-1])
        np.testing.assert_array_equal(a[1], b[1])
        speeds = np.array([info["reward_forward"] for info in b[2][1:]])
        interval = int(np.argmax(b[0][1:, -1] != 0)) + 1
        meant = np.zeros(24)
        for end in range(interval, 25, interval):
            meant[end - 1] = speeds[end - interval : end].mean()
        np.testing.assert_allclose(b[0][1:, -1], meant)
        intervals.append(interval)
    assert min(intervals) == 1 and 4 < max(intervals) <= 8 and np.median(intervals) < 4


@pytest.mark.parametrize(
    ("task", "of", "positions", "limit"),
    [
        ("CartPoleNoVelocity-v0", "CartPole-v1", [0, 2], 500),
        ("PendulumNoVelocity-v0", "Pendulum-v1", [0, 1], 200),
        ("HalfCheetahNoVelocity-v0", "HalfCheetah-v5", list(range(8)), 1000),
    ],
)
def test_a_task_without_velocities_is_the_same_otherwise(task, of, positions, limit):
    plain = gym.make(of)
    env = gym.make(task)
    for seed in range(3):
        expected = plain.reset(seed=seed)[0]
        observation = env.reset(seed=seed)[0]
        for step in range(10):
            np.testing.assert_array_equal(observation, expected[positions])
            assert observation in env.observation_space
            action = np.full(env.action_space.shape, step % 2, env.action_space.dtype)
            expected, reward, over, *_ = plain.step(action)
            observation, same, ends, *_ = env.step(action)
            assert (same, ends) == (reward, over)
    assert env.spec.max_episode_steps == limit
