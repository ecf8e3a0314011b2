"""The tasks of the tutorial on whether a task needs plasticity: what they hide, and
that the page shows their code.
"""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from saved_runs import ROOT
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import docs.tutorials.hidden_tasks  # noqa: F401  registers them
from spikepropamine.envs.making import make

TUTORIALS = ROOT / "docs" / "tutorials"
TASKS = ("Switchboard-v0", "Current-v0")
EPISODES = 50


def episode(env, act, seed):
    """Return, and the infos, of actions that see the observation and the last info."""
    observation, info = env.reset(seed=seed)
    infos = [info]
    earned = 0.0
    over = False
    while not over:
        observation, reward, terminated, over, info = env.step(act(observation, info))
        assert not terminated
        infos.append(info)
        earned += reward
    return earned, infos


@pytest.mark.parametrize("task", TASKS)
def test_each_is_an_environment_that_shows_what_it_hides(task):
    env = gym.make(task)
    check_env(env.unwrapped, skip_render_check=True)
    check_env_sb3(env.unwrapped)
    channels = env.observation_space.shape[0]
    revealed = make(task, reveal="")
    observation, info = revealed.reset(seed=0)
    np.testing.assert_allclose(observation[channels:], info["hidden"], rtol=1e-6)


def test_the_page_shows_the_code_that_was_run():
    page = (TUTORIALS / "does-plasticity-help.md").read_text()
    code = (TUTORIALS / "hidden_tasks.py").read_text()
    assert f"```python\n{code}```\n" in page


def test_who_sees_the_switch_is_always_right():
    env = gym.make("Switchboard-v0")
    earned, infos = episode(env, lambda _, info: int(np.argmax(info["hidden"])), seed=0)
    answers = [info for info in infos if "correct" in info]
    assert earned == len(answers) == env.unwrapped.trials
    assert [info["trial"] for info in answers] == list(range(len(answers)))


def test_the_right_switch_is_shown_after_the_answer_and_not_before():
    env = gym.make("Switchboard-v0")
    lamps = env.unwrapped.lamps
    observation, info = env.reset(seed=0)
    for step in range(80):
        shown = observation[lamps:]
        assert observation[:lamps].sum() == 1
        np.testing.assert_array_equal(shown, np.multiply(info["hidden"], step % 2))
        observation, *_, info = env.step(0)


def test_pairs_change_once_and_a_table_of_them_answers_nearly_all():
    """Whoever keeps the last switch of each lamp is wrong where it has none, or an old
    one.
    """
    env = gym.make("Switchboard-v0").unwrapped
    right = []
    changes = set()
    for seed in range(EPISODES):
        observation, _ = env.reset(seed=seed)
        first, table = env.wiring, {}
        wirings = {tuple(first)}
        for _ in range(env.trials):
            lamp = int(observation[: env.lamps].argmax())
            observation, reward, *_ = env.step(table.get(lamp, 0))
            table[lamp] = int(observation[env.lamps :].argmax())
            observation, *_ = env.step(0)
            wirings.add(tuple(env.wiring))
            right.append(reward)
        assert len(wirings) <= 2
        assert env.trials // 4 <= env.change < env.trials // 2
        changes.add(int(env.change))
    late = np.reshape(right, (EPISODES, -1))[:, env.trials // 2 :]
    assert late.mean() > 0.85 and len(changes) > 5


def mean_return(act):
    env = gym.make("Current-v0")
    return np.mean([episode(env, act, seed)[0] for seed in range(EPISODES)])


def steered(ahead, current):
    return np.clip(ahead - current, -1, 1).astype(np.float32)


def test_who_knows_the_current_earns_more_than_any_gain_on_the_distance():
    told = mean_return(lambda seen, info: steered(seen, info["hidden"][0]))
    for gain in (0.8, 1.0, 1.2, 1.5, 1.8):
        without = mean_return(lambda seen, _, gain=gain: steered(gain * seen, 0.0))
        assert told > without / 8, gain


def test_one_remembered_number_is_enough_to_stay_on_the_mark():
    """The current is the difference between what the boat did and what it was to
    do.
    """

    def remembering():
        memory = {"ahead": None, "action": 0.0, "current": 0.0}

        def act(seen, info):
            ahead = float(seen[0])
            if memory["ahead"] is not None and abs(memory["action"]) < 1:
                change = memory["ahead"] - ahead - memory["action"]
                if abs(change) <= 0.5:  # else the mark moved, or a bank was near
                    memory["current"] = change
            action = steered(seen, memory["current"])
            memory.update(ahead=ahead, action=float(action[0]))
            return action

        return act

    env = gym.make("Current-v0")
    returns = [episode(env, remembering(), seed)[0] for seed in range(EPISODES)]
    told = mean_return(lambda seen, info: steered(seen, info["hidden"][0]))
    assert np.mean(returns) > 4 * told
