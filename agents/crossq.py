"""`PlasticCrossQ`: soft actor-critic with normalised critics and without target critics
(Bhatt et al. 2024) for actors with a memory.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
from sb3_contrib import CrossQ
from sb3_contrib.common.torch_layers import BatchRenorm1d
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import create_mlp
from torch import Tensor, nn

from spikepropamine.agents import off_policy_record, sac
from spikepropamine.agents.algorithm import Actor, Blueprint
from spikepropamine.agents.off_policy import Transitions
from spikepropamine.agents.replay_buffer import Sequences
from spikepropamine.agents.sac import MaximumEntropy
from spikepropamine.agents.settings import OffPolicySettings, Stochastic
from spikepropamine.policies.passes import GraphPass

NORMALISED = partial(BatchRenorm1d, momentum=0.01, eps=0.001, warmup_steps=100_000)
"""A layer that comes before each linear one, as in sb3-contrib."""
ADAM = {"betas": (0.5, 0.999)}
"""Arguments of the optimisers, as in sb3-contrib."""


@dataclass(frozen=True)
class CrossQSettings(OffPolicySettings, Stochastic):
    """Settings of CrossQ."""


class NormalisedCritics(nn.Module):
    """MLPs as `Critics`, with batch renormalisation before each layer.

    In training mode they are normalised by the minibatch, and running statistics are
    moved; otherwise by these.

    Args:
        inputs: numbers of state and action together.
        widths: of the hidden layers, which are rectified.
        outputs: numbers that each critic gives.
        count: how many critics.
    """

    def __init__(
        self, inputs: int, widths: list[int], outputs: int, count: int
    ) -> None:
        super().__init__()
        self.networks = nn.ModuleList()
        for _ in range(count):
            layers = create_mlp(
                inputs,
                outputs,
                widths,
                pre_linear_modules=[NORMALISED],  # type: ignore[list-item]
            )
            self.networks.append(nn.Sequential(*layers))

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """The critics' outputs.

        Args:
            states: [N, ...].
            actions: [N, actions].

        Returns:
            [count, N, outputs].
        """
        inputs = torch.cat([states, actions], dim=1)
        return torch.stack([network(inputs) for network in self.networks])

    def new_pass(self, rows: int) -> GraphPass:
        """A pass that learning uses, for so many rows."""
        return GraphPass(self, rows)


class PlasticCrossQ(MaximumEntropy, CrossQ):
    """sb3-contrib's CrossQ for actors with a memory: spiking networks, plastic or not,
    LSTMs, GRUs, MLPs.

    The critics are normalised, the actor is not: its network has a memory, and is the
    one of the other algorithms.

    Args:
        policy: "PlasticSpikingPolicy", "MlpLstmPolicy", "GruPolicy" or "MlpPolicy", for
            every space of observations; or SB3's and sb3-contrib's names for pictures
            ("CnnPolicy", "CnnLstmPolicy") and for a Dict ("MultiInputPolicy",
            "MultiInputLstmPolicy").
        env: environment, or its id.
        sequence_length: environment steps through which gradients flow back in time; a
            minibatch has `batch_size // sequence_length` sequences.
        burn_in: steps before these that only bring the stored state up to date with the
            network.
        args, kwargs: as for `CrossQ`.

    Raises:
        ValueError: lengths that are too small, n-step returns, another replay buffer,
            or gSDE.
    """

    def _setup_model(self) -> None:
        defaults = {
            "critics_class": NormalisedCritics,
            "target_critics": False,
            "optimizer_kwargs": ADAM,
        }
        self.policy_kwargs = defaults | self.policy_kwargs
        super()._setup_model()

    def _transitions(self, batch: Sequences) -> Transitions:
        """The transitions of a minibatch, without steps that did not happen: these
        would count in the statistics of normalisation.
        """
        transitions = super()._transitions(batch)
        happened = transitions.weights > 0
        return Transitions(*(part[happened] for part in transitions))

    def _values_of(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        """The critic's values for the steps and for what comes after them.

        Both come from one pass, so that both are normalised by the statistics of their
        mixture.
        """
        states = torch.cat([transitions.states, transitions.next_states])
        actions = torch.cat([transitions.actions, transitions.next_actions])
        self.critic.train(True)
        critics = self._pass_of("critic", len(transitions.states))
        values, next_values = critics.forward(states, actions).chunk(2, dim=1)
        self.critic.train(False)
        return values, next_values


def _make(actor: Actor, blueprint: Blueprint) -> BaseAlgorithm:
    return off_policy_record.make_off_policy(
        actor, blueprint, PlasticCrossQ, off_policy_record.arguments(blueprint)
    )


ALGORITHM = replace(
    sac.ALGORITHM,
    name="crossq",
    settings=CrossQSettings,
    arguments=off_policy_record.arguments,
    make=_make,
    sections=("sac", "crossq"),
)
