"""KeyValue: what a dictionary answers is right, and lags and bindings are as counted here."""

import numpy as np
import pytest

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
