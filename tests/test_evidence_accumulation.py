"""EvidenceAccumulation: timing, rates, targets and pay of the T-maze."""

from math import comb

import numpy as np
import pytest
from tapes import five_sigma, run_episode

from spikepropamine.envs.evidence_accumulation import EvidenceAccumulation
from spikepropamine.envs.shown import PreviousActionAndReward

# no time and few neurons for spikes
SIDES_ALONE = {
    "step_ms": 1,
    "cue_ms": 1,
    "gap_ms": 0,
    "delay_ms": 0,
    "recall_ms": 1,
    "population": 1,
}


def spikes(env, seed=None):
    """Return the spike counts [steps, 4 populations, neurons] of an episode."""
    observations, *_ = run_episode(env, seed=seed)
    return observations[:-1].reshape(env.episode_steps, 4, env.population)


def test_coarse_counts_are_sums_of_fine_ones():
    fine = spikes(EvidenceAccumulation(step_ms=1), seed=3)
    coarse = spikes(EvidenceAccumulation(), seed=3)
    assert set(np.unique(fine)) == {0, 1}
    np.testing.assert_array_equal(coarse, fine.reshape(45, 50, 4, 10).sum(axis=1))


def test_published_timing():
    env = EvidenceAccumulation(
        step_ms=1, active_hz=1000
    )  # every active neuron spikes always
    raster = spikes(env, seed=0)
    assert len(raster) == env.episode_steps == 2250
    expected = np.zeros((2250, 3, 10))
    for k, side in enumerate(env.sides):
        expected[50 + 150 * k : 150 + 150 * k, side] = 1
    expected[2100:2250, 2] = 1
    np.testing.assert_array_equal(raster[:, :3], expected)


def test_firing_rates():
    env = EvidenceAccumulation()
    env.reset(seed=0)
    active = recall = background = 0.0
    episodes = 10
    for _ in range(episodes):
        raster = spikes(env)
        active += raster[:, :2].sum()
        recall += raster[:, 2].sum()
        background += raster[:, 3].sum()
    for count, milliseconds, rate in (
        (active, 700, 0.040),
        (recall, 150, 0.040),
        (background, 2250, 0.010),
    ):
        draws = episodes * 10 * milliseconds
        assert abs(count / draws - rate) < five_sigma(rate, draws)


@pytest.mark.parametrize("noise", [0.4, 1.0])
def test_noise_moves_spikes_and_keeps_their_number(noise):
    env = EvidenceAccumulation(step_ms=50, noise=noise, side_probability=0)
    env.reset(seed=0)
    on = 0.0
    off = 0.0
    total = 0.0
    episodes = 40
    for _ in range(episodes):
        raster = spikes(env)
        shown = (
            raster[: 7 * 3].reshape(7, 3, 4, 10)[:, 1:].sum(axis=(1, 3))
        )  # [cue, population]
        on += shown[np.arange(7), env.sides].sum()
        off += shown[np.arange(7), 1 - env.sides].sum()
        total += raster.sum()
    draws = episodes * 7 * 100 * 10
    mean = (0.040 + 0.010) / 4  # of the four populations, while a cue is on
    for count, rate in ((on, (1 - noise) * 0.040 + noise * mean), (off, noise * mean)):
        assert abs(count / draws - rate) < five_sigma(rate, draws)
    expected = episodes * 10 * (0.040 * (700 + 150) + 0.010 * 2250)
    assert abs(total - expected) < 5 * np.sqrt(expected)


def test_target_is_the_majority_side():
    env = EvidenceAccumulation(step_ms=50, active_hz=1000)
    env.reset(seed=0)
    targets = []
    for _ in range(50):
        observations, _, infos = run_episode(env)
        left = observations[:21, 0].sum()
        right = observations[:21, 10].sum()
        assert infos[-1]["target"] == int(right > left)
        assert infos[-1]["evidence"] * 100 == right - left
        targets.append(infos[-1]["target"])
    assert set(targets) == {0, 1}


def test_sides_follow_the_coin_and_the_side_probability():
    env = EvidenceAccumulation(**SIDES_ALONE)
    env.reset(seed=0)
    rights = []
    for _ in range(3000):
        env.reset()
        rights.append(env.sides.sum())
    # numbers of right-hand cues: an even mixture of binomials with 0.3 and 0.7
    for number in range(8):
        expected = sum(
            comb(7, number) * p**number * (1 - p) ** (7 - number) for p in (0.3, 0.7)
        )
        expected /= 2
        assert abs(np.mean(np.equal(rights, number)) - expected) < five_sigma(
            expected, 3000
        )


def test_reward_and_infos():
    env = EvidenceAccumulation(recall_ms=200)
    env.reset(seed=0)
    target = env.target
    steps = env.episode_steps
    # the wrong action everywhere before the window must not matter; then right, wrong,
    # right, right
    responses = [target, 1 - target, target, target]
    actions = iter([1 - target] * (steps - 4) + responses)
    _, rewards, infos = run_episode(env, lambda _: next(actions), seed=0)
    assert rewards.tolist() == [0] * (steps - 4) + [0.25, -0.25, 0.25, 0.25]
    assert infos[:-4] == [{}] * (steps - 4)
    assert infos[-4:-1] == [{"target": target, "feedback": 0.0}] * 3
    evidence = int(2 * env.sides.sum() - 7)
    known = {"target": target, "feedback": 0.0}
    assert infos[-1] == known | {"correct": True, "trial": 0, "evidence": evidence}


def test_who_guesses_is_not_told_to_change_sides():
    env = PreviousActionAndReward(EvidenceAccumulation(noise=1.0))
    assert not any(
        run_episode(env, seed=seed)[0][:, -1].any() for seed in range(5)
    )  # the place of the previous reward
    first, *_ = run_episode(EvidenceAccumulation(), lambda _: 0, seed=0)
    second, *_ = run_episode(EvidenceAccumulation(), lambda _: 1, seed=0)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("right", "correct"),
    [
        ([1, 1, 0], True),
        ([0, 0, 1], False),
        ([1, 0], False),  # the last response decides a tie
        ([0, 1], True),
    ],
)
def test_correct_is_the_majority_of_the_recall_window(right, correct):
    env = EvidenceAccumulation(recall_ms=50 * len(right))
    env.reset(seed=0)
    responses = [env.target if r else 1 - env.target for r in right]
    actions = iter([0] * (env.episode_steps - len(right)) + responses)
    _, rewards, infos = run_episode(env, lambda _: next(actions), seed=0)
    assert infos[-1]["correct"] is correct
    assert rewards.sum() == pytest.approx(np.mean(np.array(right) * 2 - 1))
