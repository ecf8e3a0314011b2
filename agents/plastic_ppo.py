"""`PlasticPPO`: recurrent PPO for policies with a large structured state."""

from typing import Any, ClassVar

import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from spikepropamine.agents.buffer import SequenceDictRolloutBuffer, SequenceRolloutBuffer
from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.policies.baselines import GruPolicy
from spikepropamine.policies.fast.ppo import FastPPO


class PlasticPPO(FastPPO, RecurrentPPO):
    """sb3-contrib's RecurrentPPO with a buffer of equal sequences.

    Rollout, loss, saving and loading are RecurrentPPO's; every argument of it works here too.

    Args:
        policy: "PlasticSpikingPolicy", or any recurrent policy of sb3-contrib ("MlpLstmPolicy").
        env: environment, or its id.
        sequence_length: environment steps through which gradients flow back in time; None makes it
            `n_steps`, or `batch_size` where that is less. Where it does not divide `n_steps`, the
            last sequences of a rollout are shorter, and where it does not divide `batch_size`, so
            are minibatches. Through hundreds of steps of plasticity that runs against its rule,
            gradients can overflow.

    Raises:
        ValueError: `sequence_length` is less than 1, or larger than `n_steps` or `batch_size`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        **RecurrentPPO.policy_aliases,
        "PlasticSpikingPolicy": PlasticSpikingPolicy,
        "GruPolicy": GruPolicy,
    }

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        learning_rate: Any = 3e-4,
        n_steps: int = 128,
        batch_size: int | None = 128,
        *,
        sequence_length: int | None = None,
        _init_setup_model: bool = True,
        **kwargs: Any,
    ) -> None:
        self.sequence_length = sequence_length
        kwargs["_init_setup_model"] = _init_setup_model
        super().__init__(policy, env, learning_rate, n_steps, batch_size, **kwargs)

    def _setup_model(self) -> None:
        limits = {"n_steps": self.n_steps, "batch_size": self.batch_size or self.n_steps}
        length = min(limits.values()) if self.sequence_length is None else self.sequence_length
        if length < 1:
            raise ValueError(f"sequence_length must be at least 1, got {length}")
        for name, limit in limits.items():
            if length > limit:
                more = f"{length} is more than {limit}"
                raise ValueError(f"sequence_length must be at most {name}, but {more}")
        # its buffer, which is replaced below, would hold the state of every step
        steps, self.n_steps = self.n_steps, 1
        super()._setup_model()
        self.n_steps = steps
        is_dict = isinstance(self.observation_space, spaces.Dict)
        buffer_class = SequenceDictRolloutBuffer if is_dict else SequenceRolloutBuffer
        self.rollout_buffer = buffer_class(
            self.n_steps,
            self.observation_space,
            self.action_space,
            device=self.device,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            n_envs=self.n_envs,
            sequence_length=length,
        )
        if isinstance(self.policy, PlasticSpikingPolicy):
            state = self.policy.initial_state(self.n_envs)
            pair = tuple(torch.as_tensor(x, device=self.device) for x in state)
            self._last_lstm_states = RNNStates(pair, pair)
