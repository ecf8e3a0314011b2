"""A plastic spiking actor for rsl_rl, the trainer of many robots in simulation
(Schwarke and others 2025, arXiv:2509.10771).

Name it in the configuration of rsl_rl, in the place of `RNNModel`:

    "actor": {
        "class_name": "spikepropamine.export.rsl_rl_model:PlasticModel",
        "network": {"rule": "oja", "modulation": "direct"},
        "distribution_cfg": {"class_name": "GaussianDistribution"},
    }

rsl_rl stores the state at every step of a rollout: a network of 64 x 64 fast weights
takes 17 kB a step and environment.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from rsl_rl.models import MLPModel
from rsl_rl.utils import unpad_trajectories
from tensordict import TensorDict
from torch import Tensor, nn

from spikepropamine.common import UsageError
from spikepropamine.export.rsl_rl_file import (
    ACTIONS,
    NEW_STATES,
    OBSERVATION,
    STATES,
    States,
)
from spikepropamine.policies.config import NetworkConfig
from spikepropamine.policies.network import SpikingNetwork


class PlasticModel(MLPModel):
    """A spiking network with plastic synapses before rsl_rl's MLP.

    It has the contract of rsl_rl's `RNNModel`: the state that rsl_rl stores, resets and
    detaches is the network's flat state [1, environments, D].

    Args:
        obs: observations, to know their width.
        obs_groups: groups of observations of each set.
        obs_set: the set that this model sees.
        output_dim: actions.
        hidden_dims: layers of the MLP behind the network, one or more.
        activation: of these layers.
        obs_normalization: whether running statistics normalise observations.
        distribution_cfg: of the actions; None: there is none.
        network: fields of `NetworkConfig`.
        exogenous: channels of the observation that the neuromodulators see; None: all.

    Raises:
        ValueError: settings of a network that cannot be.
    """

    is_recurrent: bool = True

    def __init__(
        self,
        obs: TensorDict,
        obs_groups: dict[str, list[str]],
        obs_set: str,
        output_dim: int,
        hidden_dims: tuple[int, ...] | list[int] = (64,),
        activation: str = "elu",
        obs_normalization: bool = False,
        distribution_cfg: dict[str, Any] | None = None,
        network: Mapping[str, Any] | None = None,
        exogenous: Sequence[int] | None = None,
    ) -> None:
        config = NetworkConfig.of(network)
        _, channels = self._get_obs_dim(obs, obs_groups, obs_set)
        seen = list(range(channels) if exogenous is None else exogenous)
        made = SpikingNetwork(channels, config, seen)
        self.latent_dim = made.output_size
        super().__init__(
            obs,
            obs_groups,
            obs_set,
            output_dim,
            hidden_dims,
            activation,
            obs_normalization,
            distribution_cfg,
        )
        self.network = made
        self.exogenous = seen
        self.hidden_state: Tensor | None = None

    def get_latent(
        self,
        obs: TensorDict,
        masks: Tensor | None = None,
        hidden_state: Tensor | None = None,
    ) -> Tensor:
        """Features of the network.

        Args:
            obs: [environments, channels] by group, or with masks, padded trajectories
                [T, trajectories, channels].
            masks: [T, trajectories], which steps are none of padding; None: it is a
                step of a rollout, from and to the state that is kept.
            hidden_state: [1, trajectories, D], where trajectories begin.

        Returns:
            [environments, output_size], or without padding [T, environments,
            output_size].

        Raises:
            ValueError: masks without a state.
        """
        seen = super().get_latent(obs)
        if masks is None:
            return self._step(seen)
        if hidden_state is None:
            raise ValueError("trajectories need the states in which they begin")
        features, _ = self._run(seen, hidden_state)
        unpadded: Tensor = unpad_trajectories(features, masks)
        return unpadded

    def _step(self, seen: Tensor) -> Tensor:
        """Features [environments, output_size] of one step."""
        state = self.hidden_state
        if state is None:
            state = seen.new_zeros(1, len(seen), self.network.layout.size)
        features, self.hidden_state = self._run(seen[None], state)
        return features[0]

    def _run(self, seen: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Features and the new state; episodes begin where rsl_rl has set it to 0."""
        starts = seen.new_zeros(seen.shape[:2])
        pair = (state, state[..., :1])
        features, (after, _) = self.network(seen, pair, starts)
        return features, after

    def reset(
        self, dones: Tensor | None = None, hidden_state: Tensor | None = None
    ) -> None:
        """Forgets: in all environments, or in those that are done.

        Args:
            dones: [environments], 1 where an episode has ended; None: everywhere.
            hidden_state: to go on from, without `dones`.

        Raises:
            ValueError: a state with `dones`.
        """
        if dones is None:
            self.hidden_state = hidden_state
            return
        if hidden_state is not None:
            raise ValueError(
                "environments that are done begin at 0: give dones or hidden_state"
            )
        if self.hidden_state is not None:
            kept = (dones.reshape(1, -1, 1) != 1).to(self.hidden_state.dtype)
            self.hidden_state = self.hidden_state * kept

    def get_hidden_state(self) -> Tensor | None:
        """The state [1, environments, D]; None before the first step."""
        return self.hidden_state

    def detach_hidden_state(self, dones: Tensor | None = None) -> None:
        """Ends the gradient through time, everywhere."""
        if self.hidden_state is not None:
            self.hidden_state = self.hidden_state.detach()

    def as_jit(self) -> nn.Module:
        """Raises UsageError: there is no TorchScript of it."""
        raise UsageError("a plastic network has no TorchScript: export it as ONNX")

    def as_onnx(self, verbose: bool = False) -> nn.Module:
        """What `torch.onnx.export` takes, as rsl_rl's runner calls it."""
        return _OnnxModel(self)

    def _get_latent_dim(self) -> int:
        return self.latent_dim


class _OnnxModel(nn.Module):
    """One step of one robot with the inputs and outputs of rsl_rl's LSTM."""

    is_recurrent = True
    input_names: ClassVar = [OBSERVATION, *STATES]
    output_names: ClassVar = [ACTIONS, *NEW_STATES]

    def __init__(self, model: PlasticModel) -> None:
        super().__init__()
        self.normalizer = model.obs_normalizer
        self.mlp = model.mlp
        self.output = nn.Identity()
        if model.distribution is not None:
            self.output = model.distribution.as_deterministic_output_module()
        of_model = model.network
        readable = SpikingNetwork(
            of_model.input_size,
            of_model.config,
            model.exogenous,
            backend="reference",
        )
        readable.load_state_dict(of_model.state_dict())
        self.network = readable
        self.states = States(readable.layout)

    def forward(self, obs: Tensor, h_in: Tensor, c_in: Tensor) -> tuple[Tensor, ...]:
        """Observation [1, channels] and states; to actions [1, actions] and states."""
        seen = self.normalizer(obs)[None]
        state = self.states.join(h_in, c_in)[None]
        starts = seen.new_zeros(1, 1)
        features, (after, _) = self.network(seen, (state, state[..., :1]), starts)
        actions = self.output(self.mlp(features[0]))
        return (actions, *self.states.split(after[0]))

    def get_dummy_inputs(self) -> tuple[Tensor, ...]:
        """An observation and the states at the start of an episode."""
        obs = torch.zeros(1, self.network.input_size)
        start = torch.zeros(self.states.shape)
        return (obs, start, start.clone())
