"""`GruPolicy`: sb3-contrib's recurrent policy with GRUs in the place of its LSTMs."""

from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from spikepropamine.policies.extractors import extractor_for
from spikepropamine.policies.fast.networks import NETWORKS, lstm
from spikepropamine.policies.told import ToldLstmPolicy


class Gru(nn.GRU):
    """`nn.GRU` with the call of `nn.LSTM`: of the pair of states it uses the first."""

    def forward(self, x: Tensor, states: Any = None) -> Any:
        """Inputs [T, B, channels] and a pair of states, each [layers, B, n], to outputs [T, B, n]
        and the new pair.
        """
        outputs, hidden = super().forward(x, None if states is None else states[0])
        return outputs, (hidden, torch.zeros_like(hidden))


class GruPolicy(RecurrentActorCriticPolicy):
    """Actor-critic policy with a GRU (Cho et al. 2014), for all observations that SB3 takes.

    Arguments are those of sb3-contrib's `RecurrentActorCriticPolicy`, by their names there
    (`lstm_hidden_size` is the width of the GRU), and `told`, of how many last channels of a Box the
    critic alone sees, which then has a GRU of its own.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        normalize_images: bool = True,
        told: int = 0,
        **arguments: Any,
    ) -> None:
        extractor = extractor_for(observation_space, normalize_images, lstm=True)
        arguments = {"features_extractor_class": extractor} | arguments
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            normalize_images=normalize_images,
            **arguments,
        )
        self.told = told
        for name, unseen in (("lstm_actor", told), ("lstm_critic", 0)):
            memory = getattr(self, name)
            if memory is not None:
                inputs = memory.input_size - unseen
                setattr(self, name, Gru(inputs, memory.hidden_size, memory.num_layers))
            elif told:
                raise ValueError("a critic that is told needs a GRU of its own")
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    _process_sequence = staticmethod(ToldLstmPolicy._process_sequence)


NETWORKS[GruPolicy] = lstm
