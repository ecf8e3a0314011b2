"""Spaces that cannot be trained on are named, with what would be right, before training begins."""

from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces

from spikepropamine.agents.zoo import TrainerSettings, build
from spikepropamine.policies import NetworkConfig
from spikepropamine.training.spaces import obstacle

BOX, TWO = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)
REFUSED = {
    "actions that are whole numbers": (BOX, spaces.Box(-3, 3, (2,), np.int64), "a Box of int64"),
    "a Discrete from 1": (spaces.Discrete(3, start=1), TWO, "let it start at 0"),
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


@pytest.mark.parametrize(
    ("agent", "observation", "action", "words"),
    [
        ("lstm", spaces.MultiDiscrete([2, 3]), BOX, "cannot take MultiDiscrete observations"),
        ("lstm", spaces.Dict(a=spaces.MultiDiscrete([2, 3])), BOX, "MultiDiscrete observations"),
        ("lstm-stock", BOX, spaces.MultiBinary(2), "cannot take MultiBinary actions"),
    ],
)
def test_what_one_policy_cannot_take_is_named(agent, observation, action, words):
    venv = SimpleNamespace(observation_space=observation, action_space=action)
    with pytest.raises(ValueError, match=words):
        build(agent, venv, NetworkConfig(), TrainerSettings())
