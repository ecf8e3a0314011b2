"""Spiking policies that differ in parameters, each with some environments, stepped in one call."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikepropamine.policies.backends import choose_step
from spikepropamine.policies.fast import Fast, obstacle
from spikepropamine.policies.fast.networks import Pair

PARTS = ("lstm_actor.", "action_net.")


def can_differ(policy: Any, names: Sequence[str]) -> bool:
    """Whether policies that differ in these parameters can be stepped so: on the compiled way, and
    only in the network and its head.
    """
    network = getattr(policy, "network", None)
    return (
        network is not None
        and obstacle(policy) is None
        and choose_step(network.backend, network._specs, "cpu") is not None
        and all(name.startswith(PARTS) for name in names)
    )


class Several:
    """Members of a population, from the start of their episodes on.

    Args:
        policy: one that `can_differ`; it is changed in drawn weights only.
        names: of the parameters that differ.
        members: [members, parameters], the named parameters of each, in their order.
        environments: of each member; rows are those of the first member, then of the second, ...
        seeds: of the weights drawn for each of these environments, the same of all members; empty
            where none are drawn.
    """

    @torch.no_grad()
    def __init__(
        self,
        policy: Any,
        names: Sequence[str],
        members: Tensor,
        environments: int,
        seeds: Sequence[int] = (),
    ) -> None:
        from spikepropamine.policies.compiled.step import plan_of

        count, own = len(members), len(seeds) or 1
        self.environments, self.each = environments, environments // own  # rows of a network
        named = dict(policy.named_parameters())
        parts = members.split([named[name].numel() for name in names], dim=1)
        differ = {name: x.view(count, *named[name].shape) for name, x in zip(names, parts)}
        of_members = {n: differ.get(n, x.expand(count, *x.shape)) for n, x in named.items()}
        self.network = network = deepcopy(policy.network)
        for name, x in network.named_parameters():
            x.data = of_members[f"lstm_actor.{name}"].repeat_interleave(own, dim=0)
        drawn = []
        for seed in seeds:
            policy.network.redraw(seed)
            layers = policy.network.layers
            drawn.append([x.detach().clone() for layer in layers for x in layer.fixed_weights()])
        fixed = [x for layer in network.layers for x in layer.fixed_weights()]
        for x, of_seeds in zip(fixed, zip(*drawn)):
            x.data = torch.stack(of_seeds).repeat(count, 1, 1)
        self.weight = of_members["action_net.weight"].mT
        self.bias = of_members["action_net.bias"][:, None]
        self.plan = plan_of(network, self.each, network.readout_decay.dtype, count * own)
        self.way = Fast(policy, self._actor)
        self.state: Any = None
        self.drawn = torch.tensor(seeds or [0.0] * environments).repeat(count)[None, :, None]
        self.running: Sequence[int] = ()

    def act(self, observations: Any, starts: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        """The next deterministic actions [rows, ...]; those of other than these rows are any."""
        self.running = sorted({row // self.each for row in rows})
        actions, self.state = self.way.predict(observations, self.state, starts, True)
        return actions

    def _actor(self, features: Tensor, state: Pair, starts: Tensor) -> tuple[Tensor, None, Pair]:
        from spikepropamine.policies.compiled.step import go

        out, after, _ = go(self.network, self.plan, features[None], starts, state[0], self.running)
        memory = out.view(len(self.bias), self.environments, -1)
        logits = torch.baddbmm(self.bias, memory, self.weight)
        return logits.flatten(0, 1), None, (after, self.drawn)
