"""What CueAssociation, EvidenceAccumulation and KeyValue share: seeds, ends, checks, pictures."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from conftest import pixels
from gymnasium.utils.env_checker import check_env as check_gymnasium
from stable_baselines3.common.env_checker import check_env as check_sb3
from tapes import run_episode

from spikepropamine.envs.cue_association import CueAssociation
from spikepropamine.envs.evidence_accumulation import EvidenceAccumulation
from spikepropamine.envs.key_value import KeyValue

TASKS = [
    (CueAssociation, {}),
    (CueAssociation, {"noise": 0.3, "background": 0.2}),
    (CueAssociation, {"actions": 3, "cues": 5, "cue_length": 3, "bits": 4, "reversal": 5}),
    (EvidenceAccumulation, {}),
    (EvidenceAccumulation, {"noise": 0.3}),
    (EvidenceAccumulation, {"step_ms": 10, "population": 3, "cues": 3, "gap_ms": 0}),
    (KeyValue, {"keys": 3, "noise": 0.1}),
]
DRAWN = [(CueAssociation, "CueAssociation-v0"), (EvidenceAccumulation, "EvidenceAccumulation-v0")]


@pytest.mark.parametrize(("task", "knobs"), TASKS)
def test_checkers_accept_it_without_a_warning(task, knobs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(f"{task.__name__}-v0", **knobs).unwrapped
        assert type(env) is task
        check_gymnasium(env)
        check_sb3(env)


@pytest.mark.parametrize(("task", "knobs"), TASKS)
def test_a_seed_decides_the_episode_and_observations_are_copies(task, knobs):
    env = task(**knobs)
    first, rewards, _ = run_episode(env, seed=1)
    second, *_ = run_episode(env)
    again, rewards_again, _ = run_episode(task(**knobs), seed=1)
    other, *_ = run_episode(env, seed=2)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(rewards, rewards_again)
    assert (first != second).any() and (first != other).any() and not first[-1].any()
    assert env.reset(seed=0)[0].flags.owndata and env.step(0)[0].flags.owndata


@pytest.mark.parametrize("task", [CueAssociation, EvidenceAccumulation, KeyValue])
def test_steps_outside_an_episode_or_the_action_space_are_refused(task):
    env = task()
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.step(0)
    env.reset(seed=0)
    for action in (-1, env.action_space.n):
        with pytest.raises(ValueError, match=r"action must be an integer in \[0, "):
            env.step(action)
    run_episode(env)
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.step(0)


@pytest.mark.parametrize(
    ("task", "knobs", "names"),
    [
        (CueAssociation, {"noise": 1.0, "background": 0.2}, ("patterns", "mapping", "order")),
        (CueAssociation, {"reversal": 3}, ("patterns", "mapping", "order")),
        (EvidenceAccumulation, {"noise": 0.5, "active_hz": 90}, ("sides",)),
        (EvidenceAccumulation, {"background_hz": 0, "step_ms": 5}, ("sides",)),
    ],
)
def test_equal_seeds_are_equal_tasks_in_all_conditions(task, knobs, names):
    plain, other = task(), task(**knobs)
    for seed in (7, None, None):  # later episodes, too
        plain.reset(seed=seed)
        other.reset(seed=seed)
        for name in names:
            np.testing.assert_array_equal(getattr(plain, name), getattr(other, name))


@pytest.mark.parametrize(
    ("task", "knobs", "steps"),
    [
        (CueAssociation, {}, 40),
        (CueAssociation, {"trials": 3}, 12),
        (CueAssociation, {"cue_length": 4, "feedback_length": 2, "delay_length": 0}, 60),
        (EvidenceAccumulation, {}, 45),
        (EvidenceAccumulation, {"step_ms": 1}, 2250),
        (EvidenceAccumulation, {"cues": 3, "delay_ms": 0}, 12),
        (EvidenceAccumulation, {"recall_ms": 50, "gap_ms": 0, "cue_ms": 50}, 29),
        (KeyValue, {"steps": 7}, 7),
    ],
)
def test_knobs_set_the_length(task, knobs, steps):
    env = task(**knobs)
    assert env.episode_steps == steps == len(run_episode(env)[1])


def test_knobs_set_the_spaces():
    env = CueAssociation(bits=7, actions=5)
    assert env.observation_space.low.tolist() == [0] * 13 + [-1] and env.action_space.n == 5
    assert env.observation_space.high.tolist() == [1] * 14
    space = EvidenceAccumulation(population=3, step_ms=25).observation_space
    assert space.low.tolist() == [0] * 12 and space.high.tolist() == [25] * 12


@pytest.mark.parametrize(
    ("task", "knobs", "message"),
    [
        (CueAssociation, {"cues": 0}, "cues must be an integer >= 1"),
        (CueAssociation, {"cues": 5, "bits": 2}, r"cues must be an integer in \[1, 4\]"),
        (CueAssociation, {"bits": 2.0}, "bits must be an integer >= 1"),
        (CueAssociation, {"actions": 1}, "actions must be an integer >= 2"),
        (CueAssociation, {"trials": True}, "trials must be an integer >= 1"),
        (CueAssociation, {"cue_length": 0}, "cue_length must be an integer >= 1"),
        (CueAssociation, {"feedback_length": 0}, "feedback_length must be an integer >= 1"),
        (CueAssociation, {"delay_length": -1}, "delay_length must be an integer >= 0"),
        (CueAssociation, {"noise": float("nan")}, r"noise must be a number in \[0, 1\]"),
        (CueAssociation, {"background": "a"}, r"background must be a number in \[0, 1\]"),
        (CueAssociation, {"reversal": 0}, r"reversal must be an integer in \[1, 9\]"),
        (CueAssociation, {"reversal": 10}, r"reversal must be an integer in \[1, 9\]"),
        (CueAssociation, {"reversal": 1, "trials": 1}, "reversal must be None"),
        (CueAssociation, {"render_mode": "human"}, "render_mode must be one of None, 'rgb_array'"),
        (EvidenceAccumulation, {"step_ms": 0}, "step_ms must be an integer >= 1"),
        (EvidenceAccumulation, {"step_ms": 20}, "divides gap_ms=50"),
        (EvidenceAccumulation, {"cue_ms": 75}, "divides cue_ms=75"),
        (EvidenceAccumulation, {"delay_ms": 75}, "divides delay_ms=75"),
        (EvidenceAccumulation, {"recall_ms": 0}, "recall_ms must be an integer >= 1"),
        (EvidenceAccumulation, {"cues": 4}, "cues must be an odd integer >= 1"),
        (EvidenceAccumulation, {"gap_ms": -50}, "gap_ms must be an integer >= 0"),
        (EvidenceAccumulation, {"population": 0}, "population must be an integer >= 1"),
        (EvidenceAccumulation, {"active_hz": 1001}, r"active_hz must be a number in \[0, 1000\]"),
        (EvidenceAccumulation, {"background_hz": -1}, "background_hz must be a number"),
        (EvidenceAccumulation, {"side_probability": 1.5}, "side_probability must be a number"),
        (EvidenceAccumulation, {"noise": -0.1}, r"noise must be a number in \[0, 1\]"),
        (KeyValue, {"keys": 5, "bits": 2}, "keys must be at most 4"),
        (KeyValue, {"values": 1}, "values must be an integer >= 2"),
        (KeyValue, {"steps": 1}, "steps must be an integer >= 2"),
        (KeyValue, {"write": 1.5}, "write must be a number"),
        (KeyValue, {"ask": "name"}, "ask must be one of 'value', 'count'"),
    ],
)
def test_messages_name_the_argument_and_its_range(task, knobs, message):
    with pytest.raises(ValueError, match=message):
        task(**knobs)


# ---------------------------------------------------------------- pictures


def test_a_cue_is_drawn_bit_by_bit():
    task = CueAssociation(cues=1, bits=4, render_mode="rgb_array")
    task.reset(seed=3, options={"cues": [[1, 0, 1, 1]]})
    picture = task.render()
    squares = [tuple(picture[92 + 22, 28 + 44 * bit + 22]) for bit in range(4)]
    on, off = (0, 114, 178), (228, 228, 228)
    assert squares == [on, off, on, on]
    task.step(0)  # feedback: no cue is shown
    assert tuple(task.render()[92 + 22, 28 + 22]) == off


@pytest.mark.parametrize("right", [True, False])
def test_an_answer_is_drawn_green_or_red(right):
    task = CueAssociation(render_mode="rgb_array")
    task.reset(seed=0)
    target = int(task.targets[0])
    task.step(target if right else 1 - target)
    picture = task.render()
    green, red = pixels(picture, (0, 158, 115)), pixels(picture, (213, 94, 0))
    assert green[0].size > 500 if right else red[0].size > 500
    assert not (red if right else green)[0].size


def test_evidence_appears_cue_by_cue():
    task = EvidenceAccumulation(render_mode="rgb_array")
    task.reset(seed=1)
    seen = []
    for _ in range(task.episode_steps):
        picture = task.render()
        left, right = (pixels(picture, c)[0].size for c in ((0, 114, 178), (204, 121, 167)))
        seen.append((left, right))
        task.step(0)
    assert task.render().shape == (420, 560, 3)  # after the end, too
    per_cue = max(seen[-1]) / max(task.sides.sum(), (1 - task.sides).sum())
    assert seen[0] == (0, 0)
    counts = np.round(np.array(seen[-1]) / per_cue)
    assert list(counts) == [(task.sides == 0).sum(), (task.sides == 1).sum()]


@pytest.mark.parametrize(
    ("task", "many"),
    [(CueAssociation, {"trials": 300, "actions": 30}), (EvidenceAccumulation, {"population": 200})],
)
def test_what_has_no_room_is_drawn_all_the_same(task, many):
    env = task(render_mode="rgb_array", **many)
    env.reset(seed=0)
    for _ in range(10):
        env.step(0)
    assert env.render().shape == (420, 560, 3)
    plain = task()
    plain.reset()
    assert plain.render() is None
