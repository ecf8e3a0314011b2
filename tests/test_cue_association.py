"""CueAssociation: what an episode draws, shows and pays."""

import gymnasium as gym
import numpy as np
import pytest
from tapes import five_sigma, run_episode

from spikepropamine.envs import quiet_mujoco
from spikepropamine.envs.cue_association import CueAssociation

LOUD = {"noise": 0.3, "background": 0.2}


def responses(infos):
    return [info for info in infos if info]


def accuracy(env, policy, episodes):
    """Return the fraction of right responses."""
    infos = [info for _ in range(episodes) for info in responses(run_episode(env, policy)[2])]
    return np.mean([info["correct"] for info in infos]), len(infos)


class Rememberer:
    """Repeat for each pattern what was right, and try the next action after what was wrong."""

    def __init__(self, bits, actions):
        self.bits, self.actions, self.choice, self.pattern = bits, actions, {}, None

    def __call__(self, observation):
        outcome = observation[-1]
        if outcome < 0 and self.pattern is not None:
            self.choice[self.pattern] = (self.choice[self.pattern] + 1) % self.actions
        self.pattern = None
        if not observation[self.bits]:
            return 0
        self.pattern = observation[: self.bits].tobytes()
        return self.choice.setdefault(self.pattern, 0)


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
    env = CueAssociation(bits=2, trials=2, cue_length=2, feedback_length=2, delay_length=1)
    options = {"mapping": [1, 0], "cues": [[1, 0], [1, 1]]}
    env.reset(seed=0, options=options)
    cue_a, cue_b = env.order
    bits_a, bits_b = options["cues"][cue_a], options["cues"][cue_b]
    right = options["mapping"]
    silence = [0, 0, 0, 0, 0, 0]
    # first trial right, second wrong; the actions at other steps differ and must not matter
    right_a, wrong_b = right[cue_a], 1 - right[cue_b]
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
    observations, rewards, infos = run_episode(env, lambda _: next(actions), 0, options)
    np.testing.assert_array_equal(observations, expected)
    assert rewards.tolist() == [0, 1, 0, 0, 0, 0, -1, 0, 0, 0]
    expected = {
        1: {"target": right_a, "correct": True, "trial": 0, "cue": cue_a},
        6: {"target": 1 - wrong_b, "correct": False, "trial": 1, "cue": cue_b},
    }
    assert infos == [expected.get(step, {}) for step in range(10)]


@pytest.mark.parametrize(
    "knobs", [{"noise": 0.3, "background": 0.2, "feedback_length": 3}, {"delay_length": 0}]
)
def test_outcome_channel_repeats_the_reward_during_feedback(knobs):
    env = CueAssociation(**knobs)
    generator = np.random.default_rng(0)
    observations, rewards, *_ = run_episode(env, lambda _: generator.integers(2), seed=3)
    assert set(rewards) == {-1.0, 0.0, 1.0}
    expected = np.zeros(env.episode_steps + 1)
    for step in np.flatnonzero(rewards):
        assert observations[step, env.bits] == 1  # the reward answers a respond flag
        expected[step + 1 : step + 1 + env.feedback_length] = rewards[step]
    np.testing.assert_array_equal(observations[:, -1], expected)
    assert observations[:, env.bits].sum() == np.count_nonzero(rewards) == env.trials
    assert not observations[-1].any()


def test_noise_and_background_rates():
    env = CueAssociation(noise=0.1, background=0.3, trials=200, cue_length=3, delay_length=3)
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


@pytest.mark.parametrize(("cues", "actions"), [(2, 2), (4, 2), (5, 2), (3, 3), (4, 3), (2, 4)])
def test_mapping_is_balanced_and_varies(cues, actions):
    env = CueAssociation(cues=cues, actions=actions)
    env.reset(seed=0)
    counts, mappings = np.zeros((cues, actions)), set()
    episodes = 300
    for _ in range(episodes):
        env.reset()
        used = np.bincount(env.mapping, minlength=actions)
        assert used.max() - used.min() <= 1
        counts[np.arange(cues), env.mapping] += 1
        mappings.add(tuple(env.mapping.tolist()))
    assert np.abs(counts / episodes - 1 / actions).max() < five_sigma(1 / actions, episodes)
    if cues == 4 and actions == 2:
        assert len(mappings) == 6  # ways to choose which two of four cues get action 1


@pytest.mark.parametrize("knobs", [{}, {"reversal": 5}, {"actions": 4, "cues": 3}])
def test_no_memory_is_chance(knobs):
    env = CueAssociation(delay_length=0, **knobs)
    env.reset(seed=0)
    generator = np.random.default_rng(0)
    policies = [lambda _: generator.integers(env.actions)]
    policies += [lambda _, a=a: a for a in range(env.actions)]
    for policy in policies:
        # With fewer cues than actions the responses of one episode are correlated; halve the count
        # that the bound is made of.
        measured, count = accuracy(env, policy, 200)
        assert abs(measured - 1 / env.actions) < five_sigma(1 / env.actions, count / 2)


@pytest.mark.parametrize(("cues", "actions"), [(2, 2), (4, 2), (3, 3)])
def test_memory_is_perfect_once_every_action_was_tried(cues, actions):
    env = CueAssociation(cues=cues, actions=actions, trials=30)
    env.reset(seed=0)
    for _ in range(20):
        infos = responses(run_episode(env, Rememberer(env.bits, actions))[2])
        shown = np.zeros(cues, dtype=int)
        for info in infos:
            if shown[info["cue"]] >= actions - 1:
                assert info["correct"]
            shown[info["cue"]] += 1


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


def test_options_force_cues_and_mapping_and_nothing_else():
    env = CueAssociation(cues=3, bits=4, actions=2, noise=0.2)
    cues = np.array([[0, 0, 0, 0], [1, 0, 0, 1], [1, 1, 1, 1]])
    free, *_ = run_episode(env, seed=5)
    order, patterns = env.order, env.patterns
    forced, _, infos = run_episode(env, seed=5, options={"mapping": [1, 1, 0], "cues": cues})
    assert [info["target"] for info in responses(infos)] == [[1, 1, 0][cue] for cue in order]
    np.testing.assert_array_equal(env.patterns, cues)
    # the same flips on other patterns
    shown = np.flatnonzero(free[:, 4])
    np.testing.assert_array_equal(
        free[shown, :4] != patterns[order], forced[shown, :4] != cues[order]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maping": [0, 1]}, "maping.*valid: 'mapping', 'cues'"),
        ({"mapping": [0, 2]}, r"'mapping' must be 2 integers in \[0, 1\]"),
        ({"mapping": [0.5, 1]}, "'mapping' must be"),
        ({"mapping": [0]}, "'mapping' must be"),
        ({"cues": [[0, 1], [0, 1]]}, "'cues' must be 2 distinct patterns of 2 bits"),
        ({"cues": [[0, 2], [0, 1]]}, "'cues' must be"),
        ({"cues": [[0, 1]]}, "'cues' must be"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        CueAssociation(bits=2).reset(options=options)
