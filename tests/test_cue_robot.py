"""Robots that are shown cues: what a trial, a lesson and a reversal are."""

import gymnasium as gym
import numpy as np
import pytest
from PIL import ImageColor
from tapes import play_with_infos

from spikepropamine.envs import making, pictures
from spikepropamine.envs.perturbations import Perturbed

SHORT = {"cue_length": 4, "feedback_length": 2, "trials": 6}


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


def test_a_trial_shows_a_cue_and_then_the_outcome():
    env = cue_task()
    observations, _, infos = play_with_infos(env, 36)
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
    a = play_with_infos(plain, 36)[0]
    b = play_with_infos(reversed_, 36)[0]
    assert plain.targets[:3].tolist() == reversed_.targets[:3].tolist()
    assert plain.targets[3:].tolist() == (1 - reversed_.targets[3:]).tolist()
    np.testing.assert_array_equal(a[:, :-1], b[:, :-1])


def test_noise_flips_bits_and_leaves_the_draws_alone():
    clean = cue_task(trials=100)
    noisy = cue_task(trials=100, noise=0.2)
    a = play_with_infos(clean, 600)[0]
    b = play_with_infos(noisy, 600)[0]
    shows = np.arange(600) % 6 < 4
    assert (a[:-1][shows, 17:25] != b[:-1][shows, 17:25]).mean() == pytest.approx(
        0.2, abs=0.04
    )
    np.testing.assert_array_equal(clean.targets, noisy.targets)


def test_told_trials_show_the_direction_with_the_cue_and_change_nothing_else():
    plain = cue_task(trials=100)
    told = cue_task(trials=100, told=0.3)
    (a, _, _), (b, _, infos) = play_with_infos(plain, 600), play_with_infos(told, 600)
    tells = np.array([info["told"] for info in infos if "told" in info])
    assert tells.mean() == pytest.approx(0.3, abs=0.1)
    shows = np.repeat(tells, 6) & (np.arange(600) % 6 < 4)
    assert (b[:-1, -1][shows] == np.repeat(2 * told.targets - 1, 6)[shows]).all()
    np.testing.assert_array_equal(a[:, :-1], b[:, :-1])
    np.testing.assert_array_equal(a[:-1, -1][~shows], b[:-1, -1][~shows])


def test_cue_reversal_as_a_perturbation_is_the_reversal_of_the_task():
    theirs = cue_task(reversal=3)
    ours = Perturbed(cue_task(), "cue_reversal=1@18")
    a = play_with_infos(theirs, 36)
    b = play_with_infos(ours, 36)
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
    plain = play_with_infos(
        gym.make("HalfCheetahDirection-v0"), 20, options={"direction": 1}
    )
    turned = play_with_infos(
        Perturbed(gym.make("HalfCheetahDirection-v0"), "direction=-1@10"),
        20,
        options={"direction": 1},
    )
    np.testing.assert_array_equal(plain[0][:11], turned[0][:11])
    np.testing.assert_array_equal(plain[0][11:, -1], -turned[0][11:, -1])


def test_the_picture_has_a_mark_for_each_answer():
    env = cue_task(trials=3)
    for _ in played(env, seed=0):
        pass
    env.answers = [True, False]
    black = np.zeros((240, 240, 3), np.uint8)
    picture = pictures.run_by_cue(env, black)
    assert picture.shape == black.shape
    green = picture == ImageColor.getrgb(pictures.RIGHT)
    red = picture == ImageColor.getrgb(pictures.WRONG)
    right = np.flatnonzero(green.all(axis=2).any(axis=0))
    wrong = np.flatnonzero(red.all(axis=2).any(axis=0))
    assert len(right) > 10 and len(wrong) > 10
    assert right.max() < wrong.min()  # from left to right
