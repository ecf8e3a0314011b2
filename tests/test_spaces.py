"""Spaces that cannot be trained on are named, with what would be right, before training begins."""

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from conftest import same
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from spikepropamine.agents.zoo import TrainerSettings, build
from spikepropamine.policies import NetworkConfig
from spikepropamine.policies.export import load_policy, save_policy
from spikepropamine.training.spaces import obstacle

BOX, TWO = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)
REFUSED = {
    "actions that are whole numbers": (BOX, spaces.Box(-3, 3, (2,), np.int64), "a Box of int64"),
    "a Discrete from 1": (spaces.Discrete(3, start=1), TWO, "let it start at 0"),
    "very many choices": (spaces.Discrete(100_000), TWO, "100,000 numbers for a network to see"),
    "a Dict in a Dict": (spaces.Dict(a=spaces.Dict(b=BOX)), TWO, "'a' is a nested Dict"),
    "an empty Dict": (spaces.Dict(), TWO, "empty"),
    "a number alone": (spaces.Box(-1, 1, ()), TWO, "the shape (1,)"),
    "a Box of nothing": (spaces.Box(-1, 1, (0,)), TWO, "holds no number"),
    "a Tuple": (spaces.Tuple([BOX, BOX]), TWO, "is a Tuple; supported are Box"),
    "a Text in a Dict": (spaces.Dict(a=BOX, b=spaces.Text(4)), TWO, "'b' is a Text"),
    "a table of choices": (spaces.MultiDiscrete([[2, 2], [3, 3]]), TWO, "one dimension"),
    "actions from 1": (BOX, spaces.Discrete(3, start=1), "action space is a Discrete that starts"),
    "choices from 1": (BOX, spaces.MultiDiscrete([2, 3], start=[0, 1]), "starts at [0, 1]"),
    "a Dict of actions": (BOX, spaces.Dict(a=TWO), "supported are Box"),
    "unbounded actions": (BOX, spaces.Box(-np.inf, np.inf, (2,)), "is unbounded"),
    "a number alone as action": (BOX, spaces.Box(-1, 1, ()), "the shape (1,)"),
    "a table of bits": (BOX, spaces.MultiBinary((2, 2)), "one dimension"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_on_is_named(case):
    observation, action, words = REFUSED[case]
    reason = obstacle(observation, action)
    assert words in reason and "\n" not in reason


@pytest.mark.parametrize("action", [TWO, BOX, spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2)])
@pytest.mark.parametrize(
    "observation",
    [BOX, TWO, spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3), spaces.Dict(a=BOX, b=TWO),
     spaces.Box(0, 255, (36, 36, 3), np.uint8)],
)  # fmt: skip
def test_what_can_is_not_refused(observation, action):
    assert obstacle(observation, action) is None


def test_what_one_policy_cannot_take_is_named():
    venv = SimpleNamespace(observation_space=BOX, action_space=spaces.MultiBinary(2))
    with pytest.raises(ValueError, match="cannot take MultiBinary actions"):
        build("lstm-stock", venv, NetworkConfig(), TrainerSettings())


class Choices(gym.Env):
    """Random observations of a space; what is done changes nothing."""

    action_space = TWO

    def __init__(self, space):
        self.observation_space = space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, False, False, {}


CHOICES = spaces.MultiDiscrete([2, 3])


@pytest.mark.parametrize(
    ("agent", "space"),
    [("mlp", CHOICES), ("lstm-stock", CHOICES),
     ("ndp-oja", spaces.Dict(choices=CHOICES, body=BOX))],
)  # fmt: skip
def test_what_learned_from_choices_acts_alike_out_of_its_folder(agent, space, tmp_path):
    venv = DummyVecEnv([lambda: Choices(space)] * 2)
    trainer = TrainerSettings(n_steps=8, batch_size=8, sequence_length=8, n_epochs=1)
    model = build(agent, venv, NetworkConfig(hidden=(8, 8)), trainer)
    model.learn(16)
    save_policy(tmp_path / "policy", model.policy)
    loaded = load_policy(tmp_path / "policy")
    observation, state = venv.reset(), None
    for _ in range(3):
        action, after = model.policy.predict(observation, state, deterministic=True)
        again, reread = loaded.predict(observation, state, deterministic=True)
        assert same(action, again) and same(after, reread)
        observation, state = venv.step(action)[0], after
