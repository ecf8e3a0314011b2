"""Stable-Baselines3's actor-critic policy with a plastic spiking actor."""

from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common import torch_layers as sb3
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from spikepropamine.policies.config import NetworkConfig
from spikepropamine.policies.fast import NETWORKS, by_sequence, by_time, fast
from spikepropamine.policies.fast.networks import Pair, spiking
from spikepropamine.policies.lstm_arguments import refuse_lstm_arguments
from spikepropamine.policies.network import SpikingNetwork
from spikepropamine.policies.spaces import (
    LstmCombinedExtractor,
    check_observations,
    extractor_for,
)
from spikepropamine.policies.state import StateLayout

ADAM = {"eps": 1e-5, "fused": True}
"""Adam's arguments: SB3's epsilon, and all parameters in one call, since steps over
many small tensors are mostly overhead."""


class Heads(nn.Module):
    """What comes after the network, in the place and under the names that SB3 expects:
    nothing for the actor, hidden layers for the critic.

    Both get the spiking features and the observation side by side. The critic is an MLP
    on the observation and, unless `critic_sees_spikes` is off, on the features, which
    SB3 detaches: in a partially observed task only these tell what the actor has
    learned in this episode.

    Args:
        features: width of the spiking features.
        channels: width of the observation.
        widths: of the critic's hidden layers.
        critic_sees_spikes: whether the critic sees the features.
        activation_fn: of the critic.
    """

    def __init__(
        self,
        features: int,
        channels: int,
        widths: list[int],
        critic_sees_spikes: bool,
        activation_fn: type[nn.Module],
    ) -> None:
        super().__init__()
        self.sees_spikes = critic_sees_spikes
        inputs = channels + features if critic_sees_spikes else channels
        self.latent_dim_pi = features
        self.latent_dim_vf = widths[-1] if widths else inputs
        self.value_net = nn.Sequential(
            *sb3.create_mlp(inputs, -1, widths, activation_fn)
        )

    def forward_actor(self, latent: Tensor) -> Tensor:
        """[N, features + channels] to [N, features]."""
        return latent[:, : self.latent_dim_pi].contiguous()

    def forward_critic(self, latent: Tensor) -> Tensor:
        """[N, features + channels] to [N, latent_dim_vf]."""
        seen = latent if self.sees_spikes else latent[:, self.latent_dim_pi :]
        hidden: Tensor = self.value_net(seen)
        return hidden


class PlasticSpikingPolicy(RecurrentActorCriticPolicy):
    """Actor-critic policy whose actor is a spiking network with plastic synapses.

    Use it by its alias with `PlasticPPO`, or with sb3-contrib's `RecurrentPPO` by
    class. The state that `predict` takes and returns is a pair of NumPy arrays; the
    first, [1, n_envs, D] float32, is the whole state of every environment, laid out as
    `layout` says.

    Args:
        observation_space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of
            these.
        action_space: Box, Discrete, MultiDiscrete or MultiBinary.
        lr_schedule: learning rate as a function of the remaining progress.
        network: a `NetworkConfig`, or a dict of its fields.
        net_arch: widths of the critic, `dict(vf=[...])` (the actor is the spiking
            network).
        critic_sees_spikes: the critic also sees the spiking features, detached.
        told: how many of the last channels of a Box the critic alone sees.
        backend: what runs the layers: auto, numba or reference.
        arguments: of SB3's `ActorCriticPolicy`; `activation_fn` is of the critic, and
            `use_sde` must be False.

    Raises:
        ValueError: gSDE, several features extractors, arguments of an LSTM, or settings
            that do not fit (see `NetworkConfig`).
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        network: NetworkConfig | dict[str, Any] | None = None,
        net_arch: dict[str, list[int]] | None = None,
        critic_sees_spikes: bool = True,
        told: int = 0,
        backend: str = "auto",
        **arguments: Any,
    ) -> None:
        refuse_lstm_arguments(
            arguments,
            "a spiking network",
            "give a width for each layer as network=dict(hidden=(64, 64)); "
            "critic_sees_spikes says whether the critic sees its features",
        )
        if arguments.pop("use_sde", False):
            raise ValueError(
                "PlasticSpikingPolicy does not support gSDE (use_sde=True): its "
                "exploration matrix assumes features without memory; use use_sde=False "
                "and set log_std_init instead"
            )
        if not arguments.get("share_features_extractor", True):
            raise ValueError(
                "share_features_extractor=False is not supported here: leave it out"
            )
        if net_arch is not None and not isinstance(net_arch, dict):
            raise ValueError(
                f"net_arch is dict(vf=[...]), of the critic, and not {net_arch}"
            )
        widths = {"vf": [64, 64], "pi": []} | (net_arch or {})
        if widths["pi"]:
            raise ValueError(
                "the actor is the spiking network: give its widths as network.hidden, "
                f"and leave net_arch['pi'] empty (got {widths['pi']})"
            )
        self.network_config = NetworkConfig.of(network)
        self.critic_sees_spikes = critic_sees_spikes
        self.told = told
        self.backend = backend
        of_sb3 = {name: x for name, x in arguments.items() if x is not None}
        images = of_sb3.get("normalize_images", True)
        extractor = extractor_for(observation_space, images)
        of_sb3.setdefault("features_extractor_class", extractor)
        if of_sb3.get("optimizer_class", torch.optim.Adam) is torch.optim.Adam:
            of_sb3.setdefault("optimizer_kwargs", ADAM)
        # read by the methods of RecurrentActorCriticPolicy; its constructor, which
        # would make an unused LSTM, is skipped
        self.shared_lstm = True
        self.enable_critic_lstm = False
        self.lstm_critic = None
        self.critic = None
        self.lstm_kwargs: dict[str, Any] = {}
        ActorCriticPolicy.__init__(
            self, observation_space, action_space, lr_schedule, widths, **of_sb3
        )
        self.lstm_hidden_state_shape = (1, 1, self.network.hidden_size)

    @property
    def network(self) -> SpikingNetwork:
        """The spiking network."""
        return self.lstm_actor

    @property
    def layout(self) -> StateLayout:
        """Names and shapes of the state's fields, a `StateLayout`."""
        return self.network.layout

    def _build_mlp_extractor(self) -> None:
        # the optimiser is made right after this, so the network has to exist by now
        self.lstm_actor = SpikingNetwork(
            self.features_dim - self.told,
            self.network_config,
            self._exogenous_channels(),
            self.backend,
        )
        self.mlp_extractor = Heads(
            self.network.output_size,
            self.features_dim,
            self.net_arch["vf"],
            self.critic_sees_spikes,
            self.activation_fn,
        )

    def _exogenous_channels(self) -> list[int]:
        """Indices into the extracted features of the channels named in `exogenous`."""
        channels = range(self.features_dim - self.told)
        count = len(channels)
        entries = self.network_config.exogenous
        if entries is None:
            return list(channels)
        by_key = self._channels_by_key()
        chosen: list[int] = []
        for entry in entries:
            if isinstance(entry, int) and -count <= entry < count:
                chosen.append(channels[entry])
            elif entry in by_key:
                chosen.extend(by_key[entry])
            else:
                valid = f"an index from {-count} to {count - 1}"
                if by_key:
                    valid += f" or one of the keys {', '.join(by_key)}"
                raise ValueError(
                    f"exogenous channel {entry!r} does not exist: give {valid}"
                )
        return chosen

    def _channels_by_key(self) -> dict[int | str, range]:
        """Where each key of a Dict observation lies in the extracted features."""
        extractor: Any = self.features_extractor
        if type(extractor) not in (sb3.CombinedExtractor, LstmCombinedExtractor):
            return {}  # others need not keep the keys apart
        space = cast(spaces.Dict, self.observation_space)
        by_key: dict[int | str, range] = {}
        start = 0
        for key, part in extractor.extractors.items():
            width = getattr(part, "features_dim", None)
            if width is None:
                width = get_flattened_obs_dim(space[key])
            by_key[key] = range(start, start + width)
            start += width
        return by_key

    @staticmethod
    def _process_sequence(
        features: Tensor, lstm_states: Pair, episode_starts: Tensor, lstm: Any
    ) -> tuple[Tensor, Pair]:
        """[n_seq * T, channels], one sequence after the other, to the network's
        features and these channels, in this order, and the new states.
        """
        sequences = lstm_states[0].shape[1]
        observations = by_time(features, sequences)
        starts = by_time(episode_starts, sequences)
        outputs, states = lstm(observations, lstm_states, starts)
        latent = torch.cat([outputs, observations], dim=2).flatten(0, 1)
        return by_sequence(latent, sequences), states

    def predict(self, observation: Any, *arguments: Any, **named: Any) -> Any:
        """As in SB3; threads may share the policy.

        Raises:
            BadObservation: see `policies.spaces.check_observations`; nothing has come
                of it, and the state still holds.
        """
        check_observations(observation)
        compiled = fast(self)
        predict = super().predict if compiled is None else compiled.predict
        return predict(observation, *arguments, **named)

    def initial_state(
        self, n_envs: int, plasticity: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The state before an episode, for `predict`.

        Args:
            n_envs: how many environments there are.
            plasticity: off, the fast weights stay at zero for as long as this state is
                carried on, across episode starts too: the same weights, without
                plasticity.

        Returns:
            The whole state [1, n_envs, D] and a placeholder [1, n_envs, 1], float32.
        """
        state = np.zeros((1, n_envs, self.layout.size), dtype=np.float32)
        self.layout.get(state, "plasticity_off")[...] = 0.0 if plasticity else 1.0
        return state, np.zeros((1, n_envs, 1), dtype=np.float32)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        # the base class's list has no `network`, so its save() and load() would lose
        # the sizes
        return super()._get_constructor_parameters() | {
            "network": self.network_config,
            "critic_sees_spikes": self.critic_sees_spikes,
            "told": self.told,
            "backend": self.backend,
        }


NETWORKS[PlasticSpikingPolicy] = spiking
