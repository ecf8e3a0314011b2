"""A policy without the last channels of its observations, or with more of them."""

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from spikepropamine.policies.export import POLICIES, arguments_of, policy_of
from spikepropamine.policies.spaces import space_to_json


def narrowed(policy: ActorCriticPolicy, channels: int) -> ActorCriticPolicy:
    """The same policy on the leading channels of its observations, as it is where others are zero.

    Args:
        policy: of a class in `POLICIES`, or one of the above, on a Box [channels or more].
        channels: that it is to see.
    """
    space: Any = policy.observation_space
    low, high = space.low[:channels], space.high[:channels]
    description = {
        "policy": next(c.__name__ for c in type(policy).__mro__ if c.__name__ in POLICIES),
        "arguments": arguments_of(policy),
        "observation_space": space_to_json(spaces.Box(low, high, dtype=space.dtype)),
        "action_space": space_to_json(policy.action_space),
    }
    wide = policy.state_dict()
    with torch.random.fork_rng(devices=[]):  # new weights are drawn, which nobody is to notice
        narrow = policy_of(description, 8 * sum(x.numel() for x in wide.values()))
    state = narrow.state_dict()
    narrow.load_state_dict({name: wide[name][_leading(x)] for name, x in state.items()})
    return narrow


def widen(policy: ActorCriticPolicy, channels: int, state: dict[str, Tensor]) -> None:
    """Gives a policy the weights of one on its leading `channels`, and zero for the others.

    Raises:
        RuntimeError: they are of another network.
    """
    narrow = narrowed(policy, channels)
    narrow.load_state_dict(state)
    wide = {name: torch.zeros_like(x) for name, x in policy.state_dict().items()}
    for name, x in narrow.state_dict().items():
        wide[name][_leading(x)] = x
    policy.load_state_dict(wide)


def _leading(x: Tensor) -> tuple[slice, ...]:
    return tuple(slice(size) for size in x.shape)
