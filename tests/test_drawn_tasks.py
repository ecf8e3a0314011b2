"""CueAssociation, EvidenceAccumulation and KeyValue: what they share, and KeyValue
itself.
"""

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
    (
        CueAssociation,
        {"actions": 3, "cues": 5, "cue_length": 3, "bits": 4, "reversal": 5},
    ),
    (EvidenceAccumulation, {}),
    (EvidenceAccumulation, {"noise": 0.3}),
    (EvidenceAccumulation, {"step_ms": 10, "population": 3, "cues": 3, "gap_ms": 0}),
    (KeyValue, {"keys": 3, "noise": 0.1}),
]


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
        (
            CueAssociation,
            {"noise": 1.0, "background": 0.2},
            ("patterns", "mapping", "order"),
        ),
        (CueAssociation, {"reversal": 3}, ("patterns", "mapping", "order")),
        (EvidenceAccumulation, {"noise": 0.5, "active_hz": 90}, ("sides",)),
        (EvidenceAccumulation, {"background_hz": 0, "step_ms": 5}, ("sides",)),
    ],
)
def test_equal_seeds_are_equal_tasks_in_all_conditions(task, knobs, names):
    plain = task()
    other = task(**knobs)
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
        (
            CueAssociation,
            {"cue_length": 4, "feedback_length": 2, "delay_length": 0},
            60,
        ),
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


@pytest.mark.parametrize(
    ("task", "knobs", "message"),
    [
        (CueAssociation, {"cues": 0}, "cues must be an integer >= 1"),
        (
            CueAssociation,
            {"cues": 5, "bits": 2},
            r"cues must be an integer in \[1, 4\]",
        ),
        (CueAssociation, {"actions": 1}, "actions must be an integer >= 2"),
        (
            CueAssociation,
            {"noise": float("nan")},
            r"noise must be a number in \[0, 1\]",
        ),
        (CueAssociation, {"reversal": 0}, r"reversal must be an integer in \[1, 9\]"),
        (CueAssociation, {"reversal": 1, "trials": 1}, "reversal must be None"),
        (
            CueAssociation,
            {"render_mode": "human"},
            "render_mode must be one of None, 'rgb_array'",
        ),
        (EvidenceAccumulation, {"step_ms": 0}, "step_ms must be an integer >= 1"),
        (EvidenceAccumulation, {"step_ms": 20}, "divides gap_ms=50"),
        (EvidenceAccumulation, {"cues": 4}, "cues must be an odd integer >= 1"),
        (
            EvidenceAccumulation,
            {"active_hz": 1001},
            r"active_hz must be a number in \[0, 1000\]",
        ),
        (KeyValue, {"keys": 5, "bits": 2}, "keys must be at most 4"),
        (KeyValue, {"steps": 1}, "steps must be an integer >= 2"),
        (KeyValue, {"write": 1.5}, "write must be a number"),
        (KeyValue, {"ask": "name"}, "ask must be one of 'value', 'count'"),
    ],
)
def test_messages_name_the_argument_and_its_range(task, knobs, message):
    with pytest.raises(ValueError, match=message):
        task(**knobs)


def test_options_of_a_reset_are_refused():
    with pytest.raises(ValueError, match=r"\['mapping'\] are unknown"):
        CueAssociation().reset(options={"mapping": [0, 1]})


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("right", [True, False])
def test_an_answer_is_drawn_green_or_red(right):
    task = CueAssociation(render_mode="rgb_array")
    task.reset(seed=0)
    target = int(task.targets[0])
    task.step(target if right else 1 - target)
    picture = task.render()
    green = pixels(picture, (0, 158, 115))
    red = pixels(picture, (213, 94, 0))
    assert green[0].size > 200 if right else red[0].size > 200
    assert not (red if right else green)[0].size


@pytest.mark.parametrize("ask", ["value", "count"])
def test_a_dictionary_answers_every_question(ask):
    env = KeyValue(ask=ask, steps=400)
    observation, _ = env.reset(seed=3)
    memory = {}
    counts = {}
    last = {}
    rewards = []
    asked = 0
    for step in range(400):
        key = observation[:20].tobytes()
        value = observation[20:24]
        writes, asks = observation[24:]
        assert writes + asks == 1 and value.sum() == writes
        assert asks == 0 or key in memory  # nothing is asked that was not told
        if writes:
            assert memory.get(key) != int(value.argmax())  # a new value each time
            memory[key], last[key] = int(value.argmax()), step
            counts[key] = counts.get(key, 0) + 1
        answer = memory[key] if ask == "value" else counts[key] % 4
        observation, reward, terminated, truncated, info = env.step(answer)
        rewards.append(reward)
        assert terminated == (step == 399) and not truncated
        if asks:
            asked += 1
            expected = {"target": answer, "correct": True, "trial": step}
            expected |= {
                "lag": step - last[key],
                "bindings": counts[key],
                "feedback": 0.0,
            }
            assert info == expected
        else:
            assert info == {} and reward == 0.0
    assert sum(rewards) == asked > 100
    assert 4 <= len(memory) <= 8 and not observation.any()


def test_write_and_noise_do_what_they_say():
    def share(**knobs):
        env = KeyValue(steps=2000, keys=1, **knobs)
        env.reset(seed=1)
        shown = [env.step(0) for _ in range(1998)]
        return np.stack([x[0] for x in shown])

    assert share(write=1.0)[:, 24].all() and not share(write=0.0)[:, 24].any()
    assert share(write=0.25)[:, 24].mean() == pytest.approx(0.25, abs=0.04)
    bits = share(noise=0.1)[:, :20]
    flipped = np.minimum(bits.mean(axis=0), 1 - bits.mean(axis=0))
    assert flipped.mean() == pytest.approx(0.1, abs=0.01)
