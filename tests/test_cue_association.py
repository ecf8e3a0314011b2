"""CueAssociation: what an episode draws, shows and pays."""

import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from stable_baselines3.common.env_checker import check_env as check_sb3

from spikepropamine.envs import quiet_mujoco
from spikepropamine.envs.cue_association import CueAssociation

LOUD = {"noise": 0.3, "background": 0.2}
CONDITIONS = [{}, LOUD, {"reversal": 5}, {"actions": 3, "cues": 5, "cue_length": 3, "bits": 4}]


def run_episode(env, policy=lambda observation: 0, seed=None, options=None):
    """Return observations [steps + 1, channels], rewards [steps], response infos, all infos."""
    observation, _ = env.reset(seed=seed, options=options)
    observations, rewards, infos, terminated = [observation], [], [], False
    while not terminated:
        observation, reward, terminated, truncated, info = env.step(policy(observation))
        assert not truncated
        observations.append(observation)
        rewards.append(reward)
        infos.append(info)
    return np.stack(observations), np.array(rewards), [i for i in infos if i], infos


def accuracy(env, policy, episodes):
    """Return the fraction of right responses."""
    infos = [info for _ in range(episodes) for info in run_episode(env, policy)[2]]
    return np.mean([info["correct"] for info in infos]), len(infos)


def bound(probability, draws):
    """Return five standard deviations of a measured frequency: about one false alarm in 2e6."""
    return 5 * np.sqrt(probability * (1 - probability) / draws)


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


@pytest.mark.parametrize("knobs", CONDITIONS)
def test_checkers_accept_it_without_a_warning(knobs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("CueAssociation-v0", **knobs).unwrapped
        check_gymnasium(env)
        check_sb3(env)


def test_import_is_light():
    code = (
        "import sys, spikepropamine, gymnasium; gymnasium.make('CueAssociation-v0');"
        "gymnasium.make('EvidenceAccumulation-v0');"
        "print([m for m in ('torch', 'stable_baselines3', 'mujoco') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stderr


def test_quiet_mujoco(tmp_path, monkeypatch, capfd, caplog):
    mujoco = pytest.importorskip("mujoco")
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


@pytest.mark.parametrize("knobs", CONDITIONS)
def test_seed_decides_the_episode(knobs):
    env = CueAssociation(**knobs)
    first, rewards, *_ = run_episode(env, seed=1)
    second, *_ = run_episode(env)
    again, rewards_again, *_ = run_episode(CueAssociation(**knobs), seed=1)
    other, *_ = run_episode(env, seed=2)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(rewards, rewards_again)
    assert (first != second).any() and (first != other).any()


def test_observations_are_fresh_arrays():
    env = CueAssociation()
    assert env.reset(seed=0)[0].flags.owndata and env.step(0)[0].flags.owndata


@pytest.mark.parametrize("knobs", [LOUD, {"noise": 1.0}, {"background": 1.0}, {"reversal": 3}])
def test_conditions_are_paired(knobs):
    plain, other = CueAssociation(), CueAssociation(**knobs)
    for seed in (7, None, None):  # later episodes must stay paired, too
        plain.reset(seed=seed)
        other.reset(seed=seed)
        for name in ("patterns", "mapping", "order"):
            np.testing.assert_array_equal(getattr(plain, name), getattr(other, name))


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
    observations, rewards, _, infos = run_episode(env, lambda _: next(actions), 0, options)
    np.testing.assert_array_equal(observations, expected)
    assert rewards.tolist() == [0, 1, 0, 0, 0, 0, -1, 0, 0, 0]
    responses = {
        1: {"target": right_a, "correct": True, "trial": 0, "cue": cue_a},
        6: {"target": 1 - wrong_b, "correct": False, "trial": 1, "cue": cue_b},
    }
    assert infos == [responses.get(step, {}) for step in range(10)]


@pytest.mark.parametrize("knobs", [{}, LOUD, {"delay_length": 0}, {"feedback_length": 3}])
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


@pytest.mark.parametrize(
    ("knobs", "steps"),
    [
        ({}, 40),
        ({"trials": 3}, 12),
        ({"cue_length": 4}, 70),
        ({"feedback_length": 2}, 50),
        ({"delay_length": 0}, 20),
    ],
)
def test_knobs_set_the_length(knobs, steps):
    env = CueAssociation(**knobs)
    assert env.episode_steps == steps == len(run_episode(env)[1])


def test_knobs_set_the_shape():
    env = CueAssociation(bits=7, actions=5)
    assert env.observation_space.shape == (7 + 1 + 5 + 1,)
    assert env.observation_space.low.tolist() == [0] * 13 + [-1]
    assert env.observation_space.high.tolist() == [1] * 14
    assert env.action_space.n == 5


def test_noise_and_background_rates():
    env = CueAssociation(noise=0.1, background=0.3, trials=200, cue_length=3, delay_length=3)
    observations, *_ = run_episode(env, seed=0)
    phase = np.arange(env.episode_steps) % env.trial_steps
    bits = observations[:-1, :20].astype(int)
    flips = bits[phase < 3] != np.repeat(env.patterns[env.order], 3, axis=0)
    spikes = bits[phase >= 3]
    assert abs(flips.mean() - 0.1) < bound(0.1, flips.size)
    assert abs(spikes.mean() - 0.3) < bound(0.3, spikes.size)
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
    counts = np.zeros((cues, actions))
    episodes = 1000
    for _ in range(episodes):
        env.reset()
        used = np.bincount(env.mapping, minlength=actions)
        assert used.max() - used.min() <= 1
        counts[np.arange(cues), env.mapping] += 1
    assert np.abs(counts / episodes - 1 / actions).max() < bound(1 / actions, episodes)


def test_every_balanced_mapping_occurs():
    env = CueAssociation(cues=4, actions=2)
    env.reset(seed=0)
    mappings = set()
    for _ in range(200):
        env.reset()
        mappings.add(tuple(env.mapping.tolist()))
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
        measured, responses = accuracy(env, policy, 400)
        assert abs(measured - 1 / env.actions) < bound(1 / env.actions, responses / 2)


@pytest.mark.parametrize(("cues", "actions"), [(2, 2), (4, 2), (3, 3)])
def test_memory_is_perfect_once_every_action_was_tried(cues, actions):
    env = CueAssociation(cues=cues, actions=actions, trials=30)
    env.reset(seed=0)
    for _ in range(20):
        infos = run_episode(env, Rememberer(env.bits, actions))[2]
        shown = np.zeros(cues, dtype=int)
        for info in infos:
            if shown[info["cue"]] >= actions - 1:
                assert info["correct"]
            shown[info["cue"]] += 1


def test_without_a_mapping_held_for_the_episode_memory_would_not_help():
    # The counterpart of the test above: on its first showing a cue is answered at chance.
    env = CueAssociation(trials=1)
    env.reset(seed=0)
    infos = [run_episode(env, Rememberer(env.bits, 2))[2][0] for _ in range(2000)]
    assert abs(np.mean([info["correct"] for info in infos]) - 0.5) < bound(0.5, 2000)


@pytest.mark.parametrize(("cues", "actions"), [(2, 2), (4, 3)])
def test_reversal_changes_every_cue(cues, actions):
    env = CueAssociation(cues=cues, actions=actions, trials=20, reversal=8)
    shifts = set()
    for seed in range(30):
        targets = [info["target"] for info in run_episode(env, seed=seed)[2]]
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
    forced, _, infos, _ = run_episode(env, seed=5, options={"mapping": [1, 1, 0], "cues": cues})
    assert [info["target"] for info in infos] == [[1, 1, 0][cue] for cue in order]
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


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"cues": 0}, "cues must be an integer >= 1"),
        ({"cues": 5, "bits": 2}, r"cues must be an integer in \[1, 4\]"),
        ({"bits": 0}, "bits must be an integer >= 1"),
        ({"bits": 2.0}, "bits must be an integer >= 1"),
        ({"actions": 1}, "actions must be an integer >= 2"),
        ({"trials": 0}, "trials must be an integer >= 1"),
        ({"trials": True}, "trials must be an integer >= 1"),
        ({"cue_length": 0}, "cue_length must be an integer >= 1"),
        ({"feedback_length": 0}, "feedback_length must be an integer >= 1"),
        ({"delay_length": -1}, "delay_length must be an integer >= 0"),
        ({"noise": 1.1}, r"noise must be a number in \[0, 1\]"),
        ({"noise": float("nan")}, r"noise must be a number in \[0, 1\]"),
        ({"background": -0.1}, r"background must be a number in \[0, 1\]"),
        ({"background": "a"}, r"background must be a number in \[0, 1\]"),
        ({"reversal": 0}, r"reversal must be an integer in \[1, 9\]"),
        ({"reversal": 10}, r"reversal must be an integer in \[1, 9\]"),
        ({"reversal": 1, "trials": 1}, "reversal must be None"),
    ],
)
def test_bad_arguments(knobs, message):
    with pytest.raises(ValueError, match=message):
        CueAssociation(**knobs)


def test_step_outside_an_episode_or_the_action_space():
    env = CueAssociation()
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.step(0)
    env.reset(seed=0)
    for action in (-1, 2):
        with pytest.raises(ValueError, match=r"action must be an integer in \[0, 1\]"):
            env.step(action)
    run_episode(env)
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.step(0)
