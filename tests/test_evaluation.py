"""Evaluation: equal to SB3's, paired, independent of the company, and what
plasticity-off means.
"""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from saved_runs import ARGUMENTS, CUES, PENDULUM, ROBOT, make_policy
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import spikepropamine  # noqa: F401  registers the environments
from spikepropamine.common import UsageError
from spikepropamine.evaluation.ask.conditions import (
    CLEAN,
    STANDARD,
    conditions_of,
    make_env,
    task_of,
)
from spikepropamine.evaluation.ask.lesions import PlasticityOff, layout_of
from spikepropamine.evaluation.run.episodes import finite_reward, run_episodes
from spikepropamine.evaluation.run.watched import can_record, recorded_layer, watch
from spikepropamine.evaluation.run.work import Job, run_job


def standard(task):
    """The conditions of the standard suite, by key."""
    return {c.key: c for c in conditions_of(task, STANDARD, [], [])[0]}


def run(policy, environment, name, seeds, width=50, **arguments):
    task = task_of(environment, {})
    condition = standard(task)[name]
    layout = layout_of(policy)
    state = None if layout is None else policy.policy.initial_state(width)
    hooks = [] if condition.lesion is None else [PlasticityOff(layout, 0)]
    return run_episodes(
        policy,
        lambda: make_env(task, condition),
        seeds,
        width=width,
        initial_state=state,
        hooks=hooks,
        **arguments,
    )


@pytest.mark.parametrize("width", [1, 8])
@pytest.mark.parametrize(
    ("environment", "kind"),
    [(CUES, "ndp-oja"), (CUES, "mlp"), ("CartPole-v1", "ndp-oja"),
     (PENDULUM, "ndp-oja"),
     (PENDULUM, "mlp")],
)  # fmt: skip
def test_equals_sb3(environment, kind, width):
    policy = make_policy(environment, kind)
    first = 800
    venv = make_vec_env(environment, width, seed=first)
    theirs = evaluate_policy(policy, venv, width, return_episode_rewards=True)
    episodes = run(
        policy, environment, "clean", range(first, first + width), width=width
    )
    # SB3's Monitor rounds to six decimals, and lists episodes as they end
    ours = [(round(e.total_reward, 6), e.length) for e in episodes]
    assert sorted(ours) == sorted(zip(*theirs))
    assert len(set(ours)) > 1 or width == 1


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("environment", [CUES, "CartPole-v1"])
def test_an_episode_does_not_depend_on_the_others(environment, deterministic):
    policy = make_policy(environment)
    seeds = list(range(93, 121))
    arguments = {"width": 10, "deterministic": deterministic}
    together = run(policy, environment, "noise-0.1", seeds, **arguments)
    few = [119, 94, 104]
    apart = [
        run(policy, environment, "noise-0.1", [seed], **arguments)[0] for seed in few
    ]
    assert apart == [together[seeds.index(seed)] for seed in few]
    assert [e.seed for e in run(policy, environment, "clean", few, width=10)] == few
    if environment != CUES:
        assert (
            len({e.length for e in together}) > 1
        )  # so some waves had ended episodes in them


def test_not_even_by_the_rounding_of_batched_sums():
    # here the last bits of an action depend on the row of the batch that it is computed
    # in
    policy = make_policy(PENDULUM, "mlp")
    with torch.no_grad():
        policy.policy.action_net.weight.mul_(
            0.02
        )  # so that few actions reach their bounds
    together = run(policy, PENDULUM, "clean", range(50, 100))
    assert run(policy, PENDULUM, "clean", [99, 98, 62]) == [
        together[k] for k in (49, 48, 12)
    ]


def test_random_actions_are_a_matter_of_the_episodes_seed():
    job = Job(
        None, False, task_of(PENDULUM, {}), CLEAN, (3, 4), 20, True, baseline="random"
    )
    both = run_job(job)
    one = run_job(replace(job, seeds=(4,)))
    assert both["return"][1] == one["return"][0] != both["return"][0]


def test_ended_environments_are_not_stepped():
    class Counting(gym.Wrapper):
        steps = 0

        def step(self, action):
            Counting.steps += 1
            return super().step(action)

    policy = make_policy("CartPole-v1")
    episodes = run_episodes(
        policy, lambda: Counting(gym.make("CartPole-v1")), range(8), width=8
    )
    assert Counting.steps == sum(e.length for e in episodes)
    assert all(e.total_reward == e.length and e.correct == () for e in episodes)


class Asking(gym.Env):
    """Three trials of which one answers to the second alone, rightly."""

    observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, trial=1):
        self.trial = trial

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock = 0
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.clock += 1
        info = {"trial": self.trial, "correct": True} if self.clock == 2 else {}
        return np.zeros(4, np.float32), 0.0, self.clock == 3, False, info


def test_responses_are_of_their_trials():
    policy = make_policy("CartPole-v1")
    (episode,) = run_episodes(policy, Asking, [0])
    assert episode.correct == (None, True)
    with pytest.raises(UsageError, match="trial 9 at step 1; trials are to be counted"):
        run_episodes(policy, lambda: Asking(9), [0])


class Guessing(Asking):
    """Twenty steps; each is paid where the action is what the task has drawn."""

    action_space = gym.spaces.Discrete(4)
    actions = (
        "n",
        "e",
        "s",
        "w",
    )  # not how many answers there are, as other tasks have it

    def step(self, action):
        self.clock += 1
        reward = float(action == self.np_random.integers(4))
        return np.zeros(4, np.float32), reward, self.clock == 20, False, {}


def test_random_actions_are_not_what_the_task_draws():
    gym.register("Guessing-v0", Guessing, max_episode_steps=20)
    try:
        task = task_of("Guessing-v0", {})
        job = Job(
            None, False, task, CLEAN, tuple(range(40)), 40, True, baseline="random"
        )
        assert run_job(job)["return"].mean() == pytest.approx(
            5, abs=1.2
        )  # 4 standard errors
    finally:
        del gym.registry["Guessing-v0"]


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), -np.inf])
def test_a_reward_that_is_no_number_is_refused(reward):
    assert finite_reward(np.float32(2), 0, 0) == 2.0
    with pytest.raises(UsageError, match="at step 3 of the episode with seed 7"):
        finite_reward(reward, 3, 7)


def test_clean_is_clean_for_policies_trained_with_noise_or_help():
    task = task_of(CUES, {"noise": 0.4, "trials": 3})
    assert make_env(task, CLEAN).unwrapped.noise == 0
    noisy = make_env(task, standard(task)["noise-0.2"]).unwrapped
    assert (noisy.noise, noisy.trials) == (0.2, 3)
    robot = task_of(ROBOT, ARGUMENTS[ROBOT])
    assert robot.chance == 0.5 and robot.horizon == 20
    for task in (robot, task_of("HalfCheetahDirectionSparse-v0", {"told": 0.5})):
        assert make_env(task, CLEAN).unwrapped.told == 0


def test_watched_is_evaluated_with_sampled_actions_too():
    policy = make_policy(CUES)
    make = lambda: make_env(task_of(CUES, {}), CLEAN)  # noqa: E731
    sampled = {"width": 50, "deterministic": False}
    (episode,) = run_episodes(policy, make, [53], **sampled)
    _, *moments = watch(policy, make(), 53, **sampled)
    assert tuple(moment.reward for moment in moments) == episode.rewards
    _, *likeliest = watch(policy, make(), 53, width=50)
    actions = [[moment.action for moment in some] for some in (moments, likeliest)]
    assert actions[0] != actions[1]


def test_noise_is_a_perturbation_where_the_task_has_none_of_its_own():
    task = task_of(PENDULUM, {})
    noisy = make_env(task, standard(task)["noise-0.2"])
    plain = make_env(task, CLEAN)
    difference = noisy.reset(seed=3)[0] - plain.reset(seed=3)[0]
    _, _, _, _, info = noisy.step(np.zeros(1, np.float32))
    assert info["perturbations"]["obs_noise"]["value"] == 0.2
    assert standard(task)["noise-0.2"].text == "obs_noise=0.2"  # as reports tell it
    assert (difference != 0).all()


def test_recording_sees_what_predict_does():
    policy = make_policy(CUES)
    env = make_env(task_of(CUES, {}), CLEAN)
    _, *moments = watch(policy, env, 4)
    assert len(moments) == 40 and recorded_layer(policy)[0] == 1
    state = policy.policy.initial_state(1)
    start = np.ones(1, bool)
    observation = env.reset(seed=4)[0]
    for moment in moments:
        assert moment.spikes.shape == moment.modulator.shape == (2, 16)
        action, state = policy.predict(
            observation[None], state, start, deterministic=True
        )
        start = np.zeros(1, bool)
        np.testing.assert_array_equal(action[0], moment.action)
        fast = policy.policy.layout.get(state[0], "layer1.fast_weights")[0, 0]
        np.testing.assert_array_equal(fast, moment.fast_weights)
        observation, reward, *_ = env.step(action[0])
        assert reward == moment.reward
    assert not can_record(make_policy(CUES, "mlp"))
    *_, static = watch(make_policy(CUES, "snn"), env, 4)
    assert static.modulator is None and static.fast_weights is None
    *_, graded = watch(make_policy(CUES, units="tanh"), env, 4)  # which has no spikes
    assert graded.spikes is None and graded.fast_weights.shape == (16, 24)


def test_watched_is_evaluated_where_weights_are_drawn_too():
    policy = make_policy(CUES, fresh_weights="random")
    first, again = (
        [
            moment.action
            for moment in watch(
                policy, make_env(task_of(CUES, {}), CLEAN), 53, width=50
            )
        ]
        for _ in range(2)
    )
    assert first[1:] == again[1:]
    total = sum(
        moment.reward
        for moment in watch(policy, make_env(task_of(CUES, {}), CLEAN), 53, width=50)
    )
    (episode,) = run_episodes(
        policy, lambda: make_env(task_of(CUES, {}), CLEAN), [53], width=50
    )
    assert total == episode.total_reward


def test_stochastic_actions_are_drawn_and_leave_pytorchs_generator_alone():
    policy = make_policy(CUES)
    before = torch.get_rng_state()
    with torch.no_grad():
        policy.policy.action_net.weight.mul_(0.01)
    one, again, other = (
        run(policy, CUES, "clean", range(20), deterministic=x)
        for x in (False, False, True)
    )
    assert one == again != other and torch.equal(torch.get_rng_state(), before)
