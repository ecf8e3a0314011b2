"""Policies of the baselines: GRUs, and critics that are told more than the actor sees.

`told` is how many of the last channels of a Box the critic alone sees.
"""

from typing import Any, ClassVar

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from spikepropamine.policies.fast.networks import NETWORKS, lstm, mlp
from spikepropamine.policies.spaces import extractor_for


class LeadingLinear(nn.Linear):
    """A linear module of the leading channels alone."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., channels or more] to [..., outputs]."""
        return super().forward(x[..., : self.in_features])


class ToldMlpPolicy(ActorCriticPolicy):
    """SB3's policy without memory, whose critic may be told more."""

    def __init__(self, *args: Any, told: int, **kwargs: Any) -> None:
        self.told = told
        super().__init__(*args, **kwargs)

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()
        actor = self.mlp_extractor.policy_net
        first = actor[0] if len(actor) else None
        if not isinstance(first, nn.Linear):
            raise ValueError("an actor whose critic is told needs a hidden layer")
        actor[0] = LeadingLinear(first.in_features - self.told, first.out_features)


class ToldLstmPolicy(RecurrentActorCriticPolicy):
    """sb3-contrib's LSTM policy for all observations that SB3 takes, whose critic may be told more;
    it then has an LSTM of its own. Other arguments are those of `RecurrentActorCriticPolicy`.
    """

    memory: ClassVar[type[nn.RNNBase]] = nn.LSTM

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
        arguments["normalize_images"] = normalize_images
        super().__init__(observation_space, action_space, lr_schedule, **arguments)
        self.told = told
        if told and self.lstm_critic is None:
            raise ValueError("a critic that is told needs a memory of its own (enable_critic_lstm)")
        for name, unseen in (("lstm_actor", told), ("lstm_critic", 0)):
            old = getattr(self, name)
            if old is not None and (unseen or type(old) is not self.memory):
                sizes = old.input_size - unseen, old.hidden_size, old.num_layers
                setattr(self, name, self.memory(*sizes, **self.lstm_kwargs))
        make: Any = self.optimizer_class
        self.optimizer = make(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    @staticmethod
    def _process_sequence(
        features: Tensor, lstm_states: Any, episode_starts: Any, lstm: Any
    ) -> Any:
        process = RecurrentActorCriticPolicy._process_sequence
        return process(features[..., : lstm.input_size], lstm_states, episode_starts, lstm)


class Gru(nn.GRU):
    """`nn.GRU` with the call of `nn.LSTM`: of the pair of states it uses the first."""

    def forward(self, x: Tensor, states: Any = None) -> Any:
        """Inputs [T, B, channels] and a pair of states, each [layers, B, n], to outputs [T, B, n]
        and the new pair.
        """
        outputs, hidden = super().forward(x, None if states is None else states[0])
        return outputs, (hidden, torch.zeros_like(hidden))


class GruPolicy(ToldLstmPolicy):
    """The same with a GRU (Cho et al. 2014); `lstm_hidden_size` is its width."""

    memory = Gru


NETWORKS |= {ToldMlpPolicy: mlp, ToldLstmPolicy: lstm, GruPolicy: lstm}
