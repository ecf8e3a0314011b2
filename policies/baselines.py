"""Policies of the baselines: an MLP and an LSTM of which the critic may see more than
the actor, and a GRU.

`told` is how many of the last channels of a Box observation the critic alone sees.
"""

from typing import Any, ClassVar

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from spikepropamine.policies.fast import NETWORKS
from spikepropamine.policies.fast.networks import Pair, lstm, mlp
from spikepropamine.policies.spaces import extractor_for


class LeadingLinear(nn.Linear):
    """A linear module of the leading channels alone."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., channels or more] to [..., outputs]."""
        return super().forward(x[..., : self.in_features])


class ToldMlpPolicy(ActorCriticPolicy):
    """SB3's policy without memory, whose critic may see more than its actor.

    Args:
        told: how many of the last channels of a Box the critic alone sees.
        args, kwargs: of `ActorCriticPolicy`.

    Raises:
        ValueError: the actor has no hidden layer.
    """

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

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"told": self.told}


class ToldLstmPolicy(RecurrentActorCriticPolicy):
    """sb3-contrib's LSTM policy for all observations that SB3 takes, whose critic may
    see more than its actor; it then has an LSTM of its own.

    Args:
        observation_space: any that SB3 takes.
        action_space: any that SB3 takes.
        lr_schedule: learning rate as a function of the remaining progress.
        normalize_images: as in SB3.
        told: how many of the last channels of a Box the critic alone sees.
        arguments: of `RecurrentActorCriticPolicy`.

    Raises:
        ValueError: `told`, and the critic has no LSTM of its own.
    """

    memory: ClassVar[type[nn.RNNBase]] = nn.LSTM

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        normalize_images: bool = True,
        told: int = 0,
        **arguments: Any,
    ) -> None:
        arguments.setdefault(
            "features_extractor_class",
            extractor_for(observation_space, normalize_images),
        )
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            normalize_images=normalize_images,
            **arguments,
        )
        self.told = told
        if told and self.lstm_critic is None:
            raise ValueError(
                "a critic that is told needs a memory of its own (enable_critic_lstm)"
            )
        self._replace_memory("lstm_actor", unseen=told)
        self._replace_memory("lstm_critic", unseen=0)
        make_optimizer: Any = self.optimizer_class
        self.optimizer = make_optimizer(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def _replace_memory(self, name: str, unseen: int) -> None:
        """Puts a network of the right kind, without the last channels, in the place of
        the LSTM that sb3-contrib has made.
        """
        old = getattr(self, name)
        if old is None:
            return
        if unseen or type(old) is not self.memory:
            new = self.memory(
                old.input_size - unseen,
                old.hidden_size,
                old.num_layers,
                **self.lstm_kwargs,
            )
            setattr(self, name, new)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "lstm_hidden_size": self.lstm_actor.hidden_size,
            "told": self.told,
            "n_lstm_layers": self.lstm_actor.num_layers,
            "shared_lstm": self.shared_lstm,
            "enable_critic_lstm": self.enable_critic_lstm,
            "lstm_kwargs": self.lstm_kwargs,
        }

    @staticmethod
    def _process_sequence(
        features: Tensor, lstm_states: Pair, episode_starts: Tensor, lstm: nn.LSTM
    ) -> tuple[Tensor, Pair]:
        process = RecurrentActorCriticPolicy._process_sequence
        return process(
            features[..., : lstm.input_size], lstm_states, episode_starts, lstm
        )


class Gru(nn.GRU):
    """`nn.GRU` with the call of `nn.LSTM`: of the pair of states it uses the first."""

    def forward(self, x: Tensor, states: Pair | None = None) -> tuple[Tensor, Pair]:
        """Runs a sequence.

        Args:
            x: [T, B, channels].
            states: [layers, B, n] each; None: zeros.

        Returns:
            Outputs [T, B, n], and the new pair of states, whose second is zero.
        """
        before = None if states is None else states[0]
        outputs, hidden = super().forward(x, before)
        return outputs, (hidden, torch.zeros_like(hidden))


class GruPolicy(ToldLstmPolicy):
    """The same with a GRU (Cho et al. 2014); `lstm_hidden_size` is its width."""

    memory = Gru


NETWORKS |= {ToldMlpPolicy: mlp, ToldLstmPolicy: lstm, GruPolicy: lstm}
