"""Contexts that a policy has to find out: measures by hand, and a whole evaluation of
them.
"""

from dataclasses import replace
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from saved_runs import command_line, measured
from stable_baselines3.common.policies import ActorCriticPolicy

from spikepropamine.envs.making import make
from spikepropamine.evaluation.ask.conditions import Condition
from spikepropamine.evaluation.ask.lesions import LESIONS, Wave
from spikepropamine.evaluation.judge.rewards import (
    Stretch,
    mean_of,
    pace,
    regained,
    since,
    stretches_of,
    time_to_identify,
)
from spikepropamine.evaluation.measures import OF_ACTING
from spikepropamine.evaluation.observed import Acted
from spikepropamine.evaluation.tabulation import RANDOM, TOLD, contexts_of
from spikepropamine.policies.export import save_policy
from spikepropamine.policies.state import StateLayout

PAYING = "Paying-v0"


def test_stretches_end_where_the_next_context_begins():
    first, later = stretches_of([[0, 30, 80], [0], [0, 100]], 100)
    assert first == [(0, 0, 30), (1, 0, 100), (2, 0, 100)]
    assert later == [(0, 30, 80), (0, 80, 100)]


def test_rewards_are_lined_up_where_contexts_begin():
    rewards = np.arange(200.0).reshape(2, 100)
    lined = since(rewards, [Stretch(0, 10, 13), Stretch(0, 50, 52)])
    np.testing.assert_array_equal(
        lined[0], [30, 31, 12]
    )  # means of two stretches, then of one
    assert np.isnan(lined[1]).all()
    assert mean_of(lined, range(2))[0] == 30.5 and np.isnan(mean_of(lined, range(2))[1])


def test_pace_is_between_random_actions_and_the_teacher():
    rates = np.array([1.0, 3.0, 5.0])
    random = np.ones(3)
    teacher = np.full(3, 5.0)
    np.testing.assert_array_equal(pace(rates, random, teacher), [0.0, 0.5, 1.0])
    assert np.isnan(pace(rates, teacher, teacher)).all()


def test_the_time_to_identify_is_where_nine_tenths_of_the_settled_pace_are_reached():
    steps = np.arange(200)
    random = np.zeros(200)
    teacher = np.full(200, 5.0)
    found = np.where(
        steps < 40, -1.0, 4.0
    )  # wrong for 40 steps, and then 0.8 of the teacher
    assert time_to_identify(found, random, teacher) == 40 + 10
    # nothing was found out
    assert time_to_identify(np.full(200, 0.2), random, teacher) is None
    # who knows from the beginning has nothing to find out, whatever noise there is
    noise = np.random.default_rng(0).normal(size=200) * 0.05
    assert time_to_identify(teacher + noise, random, teacher) == 10
    # speed that the teacher, too, has to gather is no time of finding out
    gathering = np.minimum(steps / 64, 1)  # binary fractions: paces are all the same
    assert time_to_identify(4 * gathering, random, 8 * gathering) == 7 + 10


def test_regained_are_nine_tenths_of_the_rate_before_a_change():
    random = np.zeros((3, 200))
    teacher = np.full((3, 200), 5.0)
    rewards = np.full((1, 3, 200), 4.0)
    rewards[0, 0, 100:150], rewards[0, 1, 100:] = (
        0.0,
        3.5,
    )  # back after 50 steps; not all of it
    rewards[0, 2, :100] = 1.0  # had found out nothing
    changes = [(episode, 100, 200) for episode in range(3)]
    np.testing.assert_array_equal(
        regained(rewards, random, teacher, changes), [[1.0, 0.0, np.nan]]
    )
    # too short to tell, and one of two of an episode
    assert np.isnan(regained(rewards, random, teacher, [(0, 150, 200)])[0, 0])
    rewards[0, 0, 100:] = 4.0
    rewards[0, 0, 190:] = 0.0
    both = regained(
        rewards, random, teacher, [(0, 60, 120), (0, 100, 200), (1, 100, 200)]
    )
    np.testing.assert_array_equal(both, [[1.0, 0.0, np.nan]])


def test_what_comes_after_the_settled_steps_does_not_count_as_settled():
    rate = np.where(np.arange(300) < 40, -1.0, 4.0)
    rate[191:] = 100.0  # the first window of ten steps with a step that is too late
    assert time_to_identify(rate, np.zeros(300), np.full(300, 5.0)) == 40 + 10


SIGNS = Condition("signs", "signs", "signs", "motor_signs=seen")
SIGNS_OFF = replace(SIGNS, key="signs [off]", lesion="off")


def evaluated(earned, began, of_random=None, horizon=300):
    """By condition, the means of what is measured of one run that earns so much per
    step; contexts begin at these steps of each episode, and those that random actions
    met are others where they say so.
    """

    def outcome(earns, starts):
        rewards = np.full((len(starts), horizon), earns)
        return {
            "rewards": rewards,
            "began": np.array(starts),
            "seed": np.arange(len(starts)),
        }

    found = {key: outcome(earns, began) for key, earns in earned.items()}
    measured = SimpleNamespace(
        conditions=[c for c in (SIGNS, SIGNS_OFF) if c.key in earned],
        seeds=range(len(began)),
        task=SimpleNamespace(horizon=horizon),
        outcomes=[found],
        references={"random": {"signs": outcome(0.0, of_random or began)}},
    )
    stretches = contexts_of(measured, SIGNS)
    means = {}
    for c in measured.conditions:
        acted = Acted(measured.task, c, measured.conditions, found,
                      measured.references, stretches)  # fmt: skip
        values = {m.name: [x.value for x in m.rows(acted)]
                  for m in OF_ACTING if m.of_contexts}  # fmt: skip
        means[c.key] = {
            name: float(np.mean(some)) for name, some in values.items() if some
        }
    return means


def test_what_plasticity_adds_to_the_opening_is_what_is_earned_more_than_without_it():
    found = evaluated({"signs": 3.0, "signs [off]": 1.0}, [[0, 150]] * 4)
    for prefix in ("", "later_"):
        assert found["signs"][f"{prefix}opening_over_off"] == 2.0
        assert f"{prefix}opening_over_off" not in found["signs [off]"]


def test_contexts_that_end_before_they_can_be_known_are_not_settled():
    found = evaluated({"signs": 3.0}, [[0, 60], [0, 60], [0, 130]])["signs"]
    assert (found["contexts"], found["later_contexts"]) == (3, 3)
    assert (found["settled_contexts"], found["later_settled_contexts"]) == (1, 3)


def test_contexts_are_those_that_anyone_met():
    """An episode that ends early for the policy has them all the same."""
    found = evaluated({"signs": 3.0}, [[0], [0]], of_random=[[0, 100], [0, 150]])[
        "signs"
    ]
    assert found["later_contexts"] == 2


def test_frozen_at_the_change_of_each_row():
    layout = StateLayout({"plasticity_off": (1,)})
    state = (np.zeros((1, 3, layout.size), np.float32),)
    hook = LESIONS["frozen"].hook(Wave(layout, range(3), 3, freeze_at=50))
    starts = np.ones(3, bool)

    def frozen(step, began):
        hook.before(
            step, state, starts, {row: {"context_began": b} for row, b in began.items()}
        )
        return state[0][0, :, 0].tolist()

    assert frozen(0, {0: 0, 1: 0, 2: 0}) == [0, 0, 0]
    assert frozen(20, {0: 0, 1: 20, 2: 0}) == [0, 1, 0]
    assert frozen(50, {0: 0, 1: 20, 2: 0}) == [1, 1, 1]
    assert LESIONS["frozen"].cost == 1


class Paying(gym.Env):
    """Pays the action."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Box(-1.0, 1.0, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), float(action.sum()), False, False, {}


@pytest.fixture
def run(tmp_path):
    """A policy that always acts (1, 1)."""
    gym.register(PAYING, entry_point=Paying, max_episode_steps=300)
    policy = ActorCriticPolicy(
        Paying.observation_space, Paying.action_space, lambda _: 0.0, net_arch=[]
    )
    with torch.no_grad():
        policy.action_net.weight.zero_()
        policy.action_net.bias.fill_(1.0)
    settings = {
        "env": PAYING,
        "policy": "mlp",
        "seed": 0,
        "n_envs": 1,
        "env_kwargs": {},
    }
    save_policy(
        tmp_path / "run" / "policy", policy, metadata={"settings": settings, "steps": 1}
    )
    yield tmp_path / "run"
    del gym.registry[PAYING]


def test_a_policy_beside_a_teacher_that_is_told(tmp_path, run):
    # both motors reversed; any signs; the same, the second too short for a pace
    texts = [
        "motor_signs=3",
        "motor_signs=0..3@change(100)",
        "motor_signs=0..3@change(215)",
    ]
    arguments = [run, "--teacher", run, "--perturb", *texts, "--episodes", 12]
    found = measured(*arguments, "--out", tmp_path / "out")

    def mean(policy, text, measure):
        score = found.estimate(policy, text, measure)
        return score and score.mean

    reversed_, changing, late = texts
    # whoever is told earns what is paid for, in any context, to the last bit
    assert mean(TOLD, reversed_, "settled_rate") == 2.0
    assert mean(TOLD, changing, "later_settled_rate") == 2.0
    assert {
        score.mean for _, score in found.curve(TOLD, changing, "context_reward")
    } == {2.0}
    assert mean(TOLD, changing, "regained") == 1.0  # it loses nothing
    assert mean(RANDOM, changing, "regained") is None
    assert (mean(TOLD, late, "later_settled_pace"), mean(TOLD, late, "regained")) == (
        None,
        1.0,
    )
    assert mean("mlp", reversed_, "contexts") == 12
    assert found.contexts("mlp", reversed_) == [""]
    assert mean("mlp", reversed_, "settled_rate") == -2
    random = mean(RANDOM, reversed_, "settled_rate")
    assert mean("mlp", reversed_, "settled_pace") == pytest.approx(
        (-2 - random) / (2 - random)
    )
    assert mean("mlp", reversed_, "time_to_identify") is None
    assert mean("mlp", changing, "later_contexts") == 12
    assert (
        mean("mlp", changing, "settled_rate") is None
    )  # no first context lasts so long
    assert (
        command_line(run, "--teacher", run, "--episodes", 2, "--out", tmp_path / "no")
        == 2
    )


@pytest.mark.parametrize(
    ("trained", "revealed"),
    [
        ({"previous": True}, None),
        ({"perturb": "motor_signs=seen", "reveal": True}, "motor_signs=3"),
    ],
)
def test_a_teacher_sees_what_it_saw_in_training(tmp_path, run, trained, revealed):
    """One that is shown the context is not told of it in another way too."""
    env = make(PAYING, previous="previous" in trained, reveal=revealed)
    policy = ActorCriticPolicy(
        env.observation_space, env.action_space, lambda _: 0.0, net_arch=[]
    )
    with torch.no_grad():
        policy.action_net.weight.zero_()
        policy.action_net.bias.fill_(0.0 if revealed else 1.0)
        if (
            revealed
        ):  # it acts as the signs ask for, which are shown after the two channels
            policy.action_net.weight[:, 2:] = torch.eye(2)
    settings = {
        "env": PAYING,
        "policy": "mlp",
        "seed": 0,
        "n_envs": 1,
        "env_kwargs": {},
    } | trained
    metadata = {"settings": settings, "steps": 1}
    save_policy(tmp_path / "teacher" / "policy", policy, metadata=metadata)
    arguments = [run, "--teacher", tmp_path / "teacher", "--perturb", "motor_signs=3"]
    found = measured(*arguments, "--episodes", 3, "--out", tmp_path / "out")
    assert found.estimate(TOLD, "motor_signs=3", "settled_rate").mean == 2.0
