"""Policies whose critic is told more than the actor sees."""

from typing import Any

from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from spikepropamine.policies.fast.networks import NETWORKS, lstm, mlp


class LeadingLinear(nn.Linear):
    """A linear module of the leading channels alone."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., channels or more] to [..., outputs]."""
        return super().forward(x[..., : self.in_features])


class ToldMlpPolicy(ActorCriticPolicy):
    """SB3's policy without memory, whose actor does not see the last `told` channels of a Box."""

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
    """sb3-contrib's LSTM policy, whose actor does not see the last `told` channels of a Box; its
    critic has an LSTM of its own.
    """

    def __init__(self, *args: Any, told: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.told = told
        if self.lstm_critic is None:
            raise ValueError("a critic that is told needs an LSTM of its own (enable_critic_lstm)")
        theirs = self.lstm_actor
        self.lstm_actor = nn.LSTM(
            theirs.input_size - told, theirs.hidden_size, theirs.num_layers, **self.lstm_kwargs
        )
        make: Any = self.optimizer_class
        rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer = make(self.parameters(), lr=rate, **self.optimizer_kwargs)

    @staticmethod
    def _process_sequence(
        features: Tensor, lstm_states: Any, episode_starts: Any, lstm: Any
    ) -> Any:
        leading = features[..., : lstm.input_size]
        return RecurrentActorCriticPolicy._process_sequence(
            leading, lstm_states, episode_starts, lstm
        )


NETWORKS |= {ToldMlpPolicy: mlp, ToldLstmPolicy: lstm}
