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

from spikepropamine.envs import making
from spikepropamine.envs.cue_robot import CueRobot
from spikepropamine.envs.ids import ROBOTS as BODIES
from spikepropamine.envs.latent import DirectionRobot
from spikepropamine.envs.perturbations import Perturbed
from spikepropamine.envs.shown import PreviousActionAndReward

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
SHORT = {"cue_length": 4, "feedback_length": 2, "trials": 6}


def play(env, steps, seed=0, options=None, action=None):
    """Observations [steps + 1, channels], rewards and infos on a fixed tape."""
    random = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed, options=options)
    observations = [observation]
    rewards = []
    infos = [info]
    for _ in range(steps):
        drawn = random.uniform(-1, 1, env.action_space.shape)
        observation, reward, _, _, info = env.step(
            drawn if action is None else action(infos[-1])
        )
        observations.append(observation)
        rewards.append(reward)
        infos.append(info)
    return np.array(observations), np.array(rewards), infos


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
    stock = play(gym.make("HalfCheetah-v5"), 20)[0]
    ours = play(gym.make(f"{robot}-v0"), 20)[0]
    np.testing.assert_array_equal(ours[:, :-1], stock)


@pytest.mark.parametrize("robot", ROBOTS)
def test_the_latent_shows_in_feedback_and_reward_alone(robot):
    name, one, other = FORCED[robot]
    runs = [
        play(gym.make(f"{robot}-v0"), 30, options={name: value})
        for value in (one, other)
    ]
    np.testing.assert_array_equal(runs[0][0][:, :-1], runs[1][0][:, :-1])
    assert (runs[0][0][1:, -1] != runs[1][0][1:, -1]).all()
    assert (runs[0][1] != runs[1][1]).all()


def test_directions_are_paid_as_they_should():
    (_, forward, infos), (_, backward, _) = (
        play(gym.make("HalfCheetahDirection-v0"), 30, options={"direction": direction})
        for direction in (1, -1)
    )
    cost = np.array([info["reward_ctrl"] for info in infos[1:]])
    np.testing.assert_allclose(forward - cost, -(backward - cost))
    stock = play(gym.make("HalfCheetah-v5"), 30)[1]
    np.testing.assert_array_equal(forward, stock)


def test_velocities_are_paid_as_they_should():
    _, _, infos = play(
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
    dense = play(gym.make(f"{robot}-v0").unwrapped, 120)[0][1:, -1]
    sparse = play(gym.make(f"{robot}Sparse-v0", feedback_every=40).unwrapped, 120)[0][
        1:, -1
    ]
    assert np.flatnonzero(sparse).tolist() == [39, 79, 119]
    np.testing.assert_allclose(sparse[[39, 79, 119]], dense.reshape(3, 40).mean(axis=1))
    opening = play(gym.make(f"{robot}Opening-v0", feedback_opening=25).unwrapped, 60)[
        0
    ][1:, -1]
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
        a = play(plain, 24, seed)
        b = play(told, 24, seed)
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


# ---------------------------------------------------------------- cues


def cue_task(**arguments):
    return gym.make("HalfCheetahCue-v0", **(SHORT | arguments)).unwrapped


LESSON = {
    "cues": 3,
    "trials": 9,
    "feedback_length": 0,
    "settle_length": 1,
    "lesson": True,
}


def played(env, seed):
    """Rows of (observation, info) of an episode in which the robot does nothing, with
    the reset.
    """
    observation, info = env.reset(seed=seed)
    rows = [(observation, info)]
    over = False
    while not over:
        observation, _, over, _, info = env.step(np.zeros(6, np.float32))
        rows.append((observation, info))
    return rows


def test_a_lesson_tells_each_cue_once_and_then_asks():
    env = cue_task(**LESSON)
    for seed in range(5):
        rows = played(env, seed)
        assert sorted(env.order[:3]) == [0, 1, 2]
        ends = [info for _, info in rows if "target" in info]
        assert [info["told"] for info in ends] == [True] * 3 + [False] * 6
        assert ["correct" in info for info in ends] == [False] * 3 + [True] * 6
        shown = np.array([observation[-1] for observation, _ in rows[:-1]]).reshape(
            9, 4
        )
        assert (shown[:3] == 2.0 * env.targets[:3, None] - 1).all() and not shown[
            3:
        ].any()


def test_a_reversal_is_taught_too_and_comes_at_any_time():
    env = cue_task(**(LESSON | {"cues": 2, "reversal": "random"}))
    begins = set()
    for seed in range(40):
        rows = played(env, seed)
        told = [info["told"] for _, info in rows if "target" in info]
        (reversal,) = [
            trial for trial in range(3, 8) if told[trial] and told[trial + 1]
        ]
        begins.add(reversal)
        mapping = env.mapping[env.order]
        assert (env.targets[:reversal] == mapping[:reversal]).all()
        assert (env.targets[reversal:] == 1 - mapping[reversal:]).all()
        assert sorted(env.order[reversal : reversal + 2]) == [0, 1]
        assert {info["context_began"] for _, info in rows} == {0, 4 * reversal}
        assert rows[4 * reversal][1]["context_began"] == 4 * reversal
        assert not any(told[2:reversal]) and not any(told[reversal + 2 :])
    assert begins == {3, 4, 5, 6}


def test_the_context_of_a_cue_task_is_the_direction_of_its_trial():
    env = making.make("HalfCheetahCue-v0", SHORT, reveal="")
    assert env.observation_space.shape == (17 + 8 + 1 + 1,)
    for (observation, info), step in zip(played(env, 0), range(36)):
        assert (
            observation[-1]
            == info["context"][0]
            == 2 * env.unwrapped.targets[step // 6] - 1
        )
    perturbed = making.make(
        "HalfCheetahCue-v0", SHORT, "motor_signs=37", reveal="motor_signs=37"
    )
    assert perturbed.reset(seed=0)[1]["context"][1:] == [-1, 1, -1, 1, 1, -1]


def test_a_settling_robot_is_not_evaluated():
    """The first steps of a cue, in which it may still run the other way, do not
    count.
    """
    for settle in (0, 3):
        env = cue_task(settle_length=settle)
        env.reset(seed=0)
        total = 0.0
        for step in range(4):
            _, _, _, _, info = env.step(np.full(6, 0.7, np.float32))
            total += info["reward_forward"] * (step >= settle)
        assert info["feedback"] == pytest.approx(np.clip(total / (4 - settle), -1, 1))
        assert info["correct"] == (total > 0)


def test_what_is_faster_than_the_speed_limit_is_paid_no_more_but_is_felt():
    plain = cue_task()
    limited = cue_task(speed_limit=0.2, forward_reward_weight=3.0)
    random = np.random.default_rng(0)
    for env in (plain, limited):
        env.reset(seed=0)
    fast = slow = 0
    for _ in range(36):
        action = random.uniform(-1, 1, 6).astype(np.float32)
        _, _, _, _, expected = plain.step(action)
        _, reward, _, _, info = limited.step(action)
        speed = expected["reward_forward"]
        assert info["reward_forward"] == pytest.approx(3 * min(speed, 0.2))
        assert reward == pytest.approx(3 * min(speed, 0.2) + info["reward_ctrl"])
        assert info["feedback"] == expected["feedback"]
        fast = fast + (speed > 0.2)
        slow = slow + (speed < 0.2)
    assert fast and slow


def test_equal_seeds_are_equal_tasks_whatever_is_told_and_flipped():
    drawn = []
    for arguments in (
        {},
        {"reversal": 3},
        {"reversal": "random"},
        {"told": 0.5},
        {"noise": 0.2},
    ):
        env = cue_task(**arguments)
        for seed in (3, None):
            env.reset(seed=seed)
            drawn.append(
                [getattr(env, x).tolist() for x in ("patterns", "mapping", "order")]
            )
            drawn.append(env.np_random.random())
    assert drawn == drawn[:4] * 5


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


def test_a_trial_shows_a_cue_and_then_the_outcome():
    env = cue_task()
    observations, _, infos = play(env, 36)
    bits = observations[:, 17:25]
    outcome = observations[:, -1]
    for step in range(36):
        trial, phase = divmod(step, 6)
        shown = env.patterns[env.order[trial]] if phase < 4 else np.zeros(8)
        np.testing.assert_array_equal(bits[step], shown)
        if phase < 4:
            assert outcome[step] == 0
        else:
            target = 2 * env.targets[trial] - 1
            speeds = [
                info["x_velocity"] for info in infos[6 * trial + 1 : 6 * trial + 5]
            ]
            assert outcome[step] == pytest.approx(
                np.clip(target * np.mean(speeds), -1, 1)
            )
    assert not bits[36].any() and outcome[36] == 0
    responses = [info for info in infos if "correct" in info]
    assert [info["trial"] for info in responses] == list(range(6))
    assert [info["target"] for info in responses] == env.targets.tolist()
    for trial, info in enumerate(responses):
        assert info["correct"] == (outcome[6 * trial + 4] > 0)


def test_the_cue_task_ends_by_itself():
    env = cue_task()
    env.reset(seed=0)
    ends = [env.step(np.zeros(6))[2] for _ in range(36)]
    assert ends == [False] * 35 + [True]
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(6))
    assert gym.make("HalfCheetahCue-v0").unwrapped.episode_steps == 1000


def test_mappings_are_new_in_every_episode_and_even():
    env = cue_task(cues=4)
    mappings = set()
    for seed in range(100):
        env.reset(seed=seed)
        assert (
            sorted(env.mapping) == [0, 0, 1, 1]
            and len(np.unique(env.patterns, axis=0)) == 4
        )
        mappings.add(tuple(env.mapping))
    assert len(mappings) == 6


def test_a_reversal_turns_every_cue_and_nothing_else():
    plain = cue_task()
    reversed_ = cue_task(reversal=3)
    a = play(plain, 36)[0]
    b = play(reversed_, 36)[0]
    assert plain.targets[:3].tolist() == reversed_.targets[:3].tolist()
    assert plain.targets[3:].tolist() == (1 - reversed_.targets[3:]).tolist()
    np.testing.assert_array_equal(a[:, :-1], b[:, :-1])


def test_noise_flips_bits_and_leaves_the_draws_alone():
    clean = cue_task(trials=100)
    noisy = cue_task(trials=100, noise=0.2)
    a = play(clean, 600)[0]
    b = play(noisy, 600)[0]
    shows = np.arange(600) % 6 < 4
    assert (a[:-1][shows, 17:25] != b[:-1][shows, 17:25]).mean() == pytest.approx(
        0.2, abs=0.04
    )
    np.testing.assert_array_equal(clean.targets, noisy.targets)


def test_told_trials_show_the_direction_with_the_cue_and_change_nothing_else():
    plain = cue_task(trials=100)
    told = cue_task(trials=100, told=0.3)
    (a, _, _), (b, _, infos) = play(plain, 600), play(told, 600)
    tells = np.array([info["told"] for info in infos if "told" in info])
    assert tells.mean() == pytest.approx(0.3, abs=0.1)
    shows = np.repeat(tells, 6) & (np.arange(600) % 6 < 4)
    assert (b[:-1, -1][shows] == np.repeat(2 * told.targets - 1, 6)[shows]).all()
    np.testing.assert_array_equal(a[:, :-1], b[:, :-1])
    np.testing.assert_array_equal(a[:-1, -1][~shows], b[:-1, -1][~shows])


def test_cue_reversal_as_a_perturbation_is_the_reversal_of_the_task():
    theirs = cue_task(reversal=3)
    ours = Perturbed(cue_task(), "cue_reversal=1@18")
    a = play(theirs, 36)
    b = play(ours, 36)
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])


def test_who_is_told_is_told_of_a_reversal_by_a_perturbation_as_it_comes():
    text = "cue_reversal=1@18"
    env = making.make("HalfCheetahCue-v0", SHORT, text, reveal=text)
    rows = played(env, 0)
    for (observation, info), step in zip(rows, range(36)):
        right = 2 * env.unwrapped.targets[step // 6] - 1
        assert info["context"] == [right] and observation[26] == right
    assert [info["context_began"] for _, info in rows] == [0] * 18 + [18] * (
        len(rows) - 18
    )
    assert {info["context_began"] for _, info in played(cue_task(), 0)} == {0}


def test_reversing_direction_turns_feedback_too():
    plain = play(gym.make("HalfCheetahDirection-v0"), 20, options={"direction": 1})
    turned = play(
        Perturbed(gym.make("HalfCheetahDirection-v0"), "direction=-1@10"),
        20,
        options={"direction": 1},
    )
    np.testing.assert_array_equal(plain[0][:11], turned[0][:11])
    np.testing.assert_array_equal(plain[0][11:, -1], -turned[0][11:, -1])


# ------------------------------------------------------- previous action and reward


def test_previous_action_and_reward_are_appended():
    env = PreviousActionAndReward(gym.make("HalfCheetah-v5"))
    assert env.observation_space.shape == (17 + 6 + 1,)
    first, _ = env.reset(seed=0)
    assert not first[17:].any()
    action = np.linspace(-1, 1, 6).astype(np.float32)
    observation, reward, *_ = env.step(action)
    np.testing.assert_array_equal(observation[17:23], action)
    assert observation[-1] == reward and env.observation_space.contains(observation)
    discrete = PreviousActionAndReward(gym.make("CueAssociation-v0"))
    discrete.reset(seed=0)
    observation, reward, *_ = discrete.step(1)
    assert (
        observation[-3:].tolist() == [0, 1, reward] and observation.dtype == np.float32
    )


def test_it_does_not_give_away_what_a_task_hides():
    env = PreviousActionAndReward(
        gym.make("HalfCheetahDirectionOpening-v0", feedback_opening=5)
    )
    observations, rewards, _ = play(env, 20)
    assert not observations[6:, -1].any() and rewards[6:].all()


def test_a_discrete_observation_is_one_hot_before_what_is_shown():
    env = PreviousActionAndReward(gym.make("FrozenLake-v1", is_slippery=False))  # 4 x 4
    first, _ = env.reset(seed=0)
    second, *_ = env.step(1)  # down: from field 0 to field 4
    assert np.flatnonzero(first).tolist() == [0]
    assert np.flatnonzero(second).tolist() == [4, 16 + 1] and len(second) == 16 + 4 + 1
    assert env.observation_space.contains(second)


def test_previous_passes_the_checkers_and_refuses_other_spaces():
    env = PreviousActionAndReward(gym.make("HalfCheetahDirectionSparse-v0").unwrapped)
    check_gymnasium(env, skip_render_check=True)
    check_sb3(env, skip_render_check=True)
    with pytest.raises(ValueError, match="one dimension"):
        PreviousActionAndReward(gym.make("Blackjack-v1"))
