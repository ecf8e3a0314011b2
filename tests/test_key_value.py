"""KeyValue: what a dictionary answers is right, and lags and bindings are as counted here."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_sb3

from spikepropamine.envs.key_value import KeyValue


@pytest.mark.parametrize("ask", ["value", "count"])
def test_a_dictionary_answers_every_question(ask):
    env = KeyValue(ask=ask, steps=400)
    observation, _ = env.reset(seed=3)
    memory, counts, last, rewards, asked = {}, {}, {}, [], 0
    for step in range(400):
        key, value = observation[:20].tobytes(), observation[20:24]
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
            assert info == expected | {"lag": step - last[key], "bindings": counts[key]}
        else:
            assert info == {} and reward == 0.0
    assert sum(rewards) == asked > 100
    assert 4 <= len(memory) <= 8 and not observation.any()


def test_it_is_an_environment_and_seeds_repeat_it():
    env = gym.make("spikepropamine:KeyValue-v0", keys=3, noise=0.1)
    check_env(env.unwrapped)
    check_for_sb3(env.unwrapped)

    def episode(seed):
        seen = [env.reset(seed=seed)[0]]
        while not (result := env.step(0))[2]:
            seen.append(result[0])
        return np.stack(seen)

    assert np.array_equal(episode(5), episode(5)) and not np.array_equal(episode(5), episode(6))
    with pytest.raises(gym.error.ResetNeeded):
        env.unwrapped.step(0)


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


@pytest.mark.parametrize(
    "knobs", [{"keys": 5, "bits": 2}, {"values": 1}, {"steps": 1}, {"write": 1.5}, {"ask": "name"}]
)
def test_arguments_out_of_range_are_refused(knobs):
    with pytest.raises(ValueError, match=next(iter(knobs))):
        KeyValue(**knobs)
