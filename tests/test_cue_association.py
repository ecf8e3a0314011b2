"""CueAssociation: what an episode draws, shows and pays; and its ideal observer."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
from tapes import five_sigma, run_episode

from spikepropamine.envs import quiet_mujoco
from spikepropamine.envs.cue_association import CueAssociation
from spikepropamine.evaluation.judge.ideal_observer import (
    IdealObserver,
    ideal_responses,
)


def responses(infos):
    return [info for info in infos if info]


def test_quiet_mujoco(tmp_path, monkeypatch, capfd, caplog):
    import mujoco

    monkeypatch.chdir(tmp_path)
    previous = mujoco.get_mju_user_warning()
    try:
        quiet_mujoco()
        gym.make("HalfCheetah-v5").close()
        assert not caplog.records
        handler = mujoco.get_mju_user_warning()
        handler("something else")
    finally:
        mujoco.set_mju_user_warning(previous)
    assert [record.message for record in caplog.records] == ["something else"]
    assert list(tmp_path.iterdir()) == []
    assert "settotalmass" not in "".join(capfd.readouterr())


def test_observations_and_rewards_by_hand():
    env = CueAssociation(
        bits=2, trials=2, cue_length=2, feedback_length=2, delay_length=1
    )
    env.reset(seed=0)
    cue_a, cue_b = env.order
    bits_a, bits_b = env.patterns[[cue_a, cue_b]]
    right = env.mapping.tolist()
    silence = [0, 0, 0, 0, 0, 0]
    # first trial right, second wrong; the actions at other steps differ and must not
    # matter
    right_a = right[cue_a]
    wrong_b = 1 - right[cue_b]
    hot = np.eye(2, dtype=int).tolist()
    expected = [
        [*bits_a, 0, 0, 0, 0],
        [*bits_a, 1, 0, 0, 0],
        [0, 0, 0, *hot[right_a], 1],
        [0, 0, 0, *hot[right_a], 1],
        silence,
        [*bits_b, 0, 0, 0, 0],
        [*bits_b, 1, 0, 0, 0],
        [0, 0, 0, *hot[wrong_b], -1],
        [0, 0, 0, *hot[wrong_b], -1],
        silence,
        silence,
    ]
    actions = iter([1 - right_a, right_a, 1, 0, 1, 1 - wrong_b, wrong_b, 0, 1, 0])
    observations, rewards, infos = run_episode(env, lambda _: next(actions), 0)
    np.testing.assert_array_equal(observations, expected)
    assert rewards.tolist() == [0, 1, 0, 0, 0, 0, -1, 0, 0, 0]
    expected = {
        1: {"target": right_a, "correct": True, "trial": 0, "cue": cue_a},
        6: {"target": 1 - wrong_b, "correct": False, "trial": 1, "cue": cue_b},
    }
    assert infos == [expected.get(step, {}) for step in range(10)]


def test_noise_and_background_rates():
    env = CueAssociation(
        noise=0.1, background=0.3, trials=200, cue_length=3, delay_length=3
    )
    observations, *_ = run_episode(env, seed=0)
    phase = np.arange(env.episode_steps) % env.trial_steps
    bits = observations[:-1, :20].astype(int)
    flips = bits[phase < 3] != np.repeat(env.patterns[env.order], 3, axis=0)
    spikes = bits[phase >= 3]
    assert abs(flips.mean() - 0.1) < five_sigma(0.1, flips.size)
    assert abs(spikes.mean() - 0.3) < five_sigma(0.3, spikes.size)
    # drawn anew at each of the three presentations of a trial
    assert (flips[0::3] != flips[1::3]).any() and (flips[1::3] != flips[2::3]).any()


def test_cues_are_distinct_and_new_in_every_episode():
    env = CueAssociation(cues=8, bits=3)  # all the patterns that there are
    env.reset(seed=0)
    first = env.patterns
    assert len(np.unique(first, axis=0)) == 8
    env.reset()
    assert (env.patterns != first).any()


@pytest.mark.parametrize(
    ("cues", "actions"), [(2, 2), (4, 2), (5, 2), (3, 3), (4, 3), (2, 4)]
)
def test_mapping_is_balanced_and_varies(cues, actions):
    env = CueAssociation(cues=cues, actions=actions)
    env.reset(seed=0)
    counts = np.zeros((cues, actions))
    mappings = set()
    episodes = 300
    for _ in range(episodes):
        env.reset()
        used = np.bincount(env.mapping, minlength=actions)
        assert used.max() - used.min() <= 1
        counts[np.arange(cues), env.mapping] += 1
        mappings.add(tuple(env.mapping.tolist()))
    assert np.abs(counts / episodes - 1 / actions).max() < five_sigma(
        1 / actions, episodes
    )
    if cues == 4 and actions == 2:
        assert len(mappings) == 6  # ways to choose which two of four cues get action 1


@pytest.mark.parametrize(("cues", "actions"), [(2, 2), (4, 3)])
def test_reversal_changes_every_cue(cues, actions):
    env = CueAssociation(cues=cues, actions=actions, trials=20, reversal=8)
    shifts = set()
    for seed in range(30):
        targets = [info["target"] for info in responses(run_episode(env, seed=seed)[2])]
        before = env.mapping[env.order]
        assert targets[:8] == before[:8].tolist()
        shift = set(((targets - before) % actions)[8:].tolist())
        assert len(shift) == 1 and 0 not in shift
        shifts |= shift
    assert shifts == set(range(1, actions))  # which other action it is, is drawn


SEEDS = range(1_000_000, 1_000_200)


@pytest.mark.parametrize(("noise", "known"), [(0.1, 0.997), (0.2, 0.951), (0.3, 0.787)])
def test_two_cues_of_20_bits_have_known_answers(noise, known):
    correct = ideal_responses({"noise": noise}, SEEDS).astype(float)
    assert abs(correct[:, correct.shape[1] // 2 :].mean() - known) < 0.02
    assert (
        abs(correct[:, 0].mean() - 0.5) < 0.1
    )  # nothing can be known of the first cue


def test_without_noise_only_the_first_trial_is_a_guess():
    correct = ideal_responses({}, SEEDS)
    assert correct[:, 1:].all()
    assert 0.4 < correct[:, 0].mean() < 0.6


def test_after_a_reversal_it_knows_the_other_action():
    """There are two, and it knows when they change places."""
    assert ideal_responses({"reversal": 5}, SEEDS[:50])[:, 1:].all()


def by_enumeration(mappings, noise, shown, feedback):
    """Probability of each action, by summing over all mappings, patterns and orders.

    Of the last pattern shown; the mappings are alike in probability, cues are drawn
    with replacement, and so are patterns.
    """
    cues = len(mappings[0])
    bits = shown.shape[1]
    every = np.array(list(itertools.product((0, 1), repeat=bits)))
    flips = (every[None] != shown[:, None]).sum(axis=2)  # [trials, patterns]
    likely = noise**flips * (1 - noise) ** (bits - flips)
    total = np.zeros(2)
    for mapping in mappings:
        for patterns in itertools.product(range(len(every)), repeat=cues):
            for order in itertools.product(range(cues), repeat=len(shown)):
                targets = [mapping[cue] for cue in order]
                if targets[:-1] == feedback:
                    weight = np.prod(
                        [likely[t, patterns[cue]] for t, cue in enumerate(order)]
                    )
                    total[targets[-1]] += weight
    return total / total.sum()


@pytest.mark.parametrize(
    ("cues", "mappings"), [(2, [(0, 1), (1, 0)]), (3, [(0, 0, 1), (0, 1, 0), (1, 0, 0),
                                                      (1, 1, 0), (1, 0, 1), (0, 1, 1)])]
)  # fmt: skip
def test_its_answers_are_those_of_bayes_rule_on_all_hypotheses(cues, mappings, rng):
    task = CueAssociation(cues=cues, bits=2, trials=4, noise=0.2)
    compared = 0
    for _ in range(20):
        shown = rng.integers(2, size=(3, 2))
        feedback = rng.integers(2, size=2).tolist()
        observer = IdealObserver(task)
        for pattern, target in zip(shown, feedback):
            action = observer.answer(pattern, 1)
            observer.learn(action, action == target)
        expected = by_enumeration(mappings, 0.2, shown, feedback)
        if abs(expected[0] - 0.5) > 1e-9:
            compared += 1
            assert observer.answer(shown[-1], 1) == expected.argmax()
    assert compared > 5


def test_the_ideal_observer_answers_the_trials_before_a_limit_of_steps():
    whole = ideal_responses({"noise": 0.2}, SEEDS[:20])
    arguments = {"noise": 0.2, "disable_env_checker": True}
    trials = whole.shape[1]
    for limit, asked in ((1, 1), (4, 1), (5, 2), (10_000, trials)):
        limited = ideal_responses(arguments | {"max_episode_steps": limit}, SEEDS[:20])
        assert np.array_equal(limited, whole[:, :asked])
