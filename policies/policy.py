"""Stable-Baselines3's actor-critic policies with a plastic spiking actor (`PlasticSpikingPolicy`),
and those of the baselines: GRUs, and critics that are told more than the actor sees.

`told` is how many of the last channels of a Box the critic alone sees.
"""

from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common import torch_layers as sb3
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from spikepropamine.policies.fast import NETWORKS, by_sequence, by_time, fast
from spikepropamine.policies.fast.networks import lstm, mlp, spiking
from spikepropamine.policies.network import NetworkConfig, SpikingNetwork, StateLayout
from spikepropamine.policies.spaces import (
    LstmCombinedExtractor,
    check_finite,
    extractor_for,
)

ADAM = {"eps": 1e-5, "fused": True}
"""Adam's arguments: SB3's epsilon, and all parameters in one call, since steps over many small
tensors are mostly overhead."""


class Heads(nn.Module):
    """What comes after the network, in the place and under the names that SB3 expects: nothing for
    the actor, hidden layers for the critic.

    Both are given the spiking features and the observation side by side. The critic is an MLP on
    the observation and, unless `critic_sees_spikes` is off, on the features, which SB3 detaches: in
    a partially observed task only these tell what the actor has learned in this episode.
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
        inputs = channels + (features if critic_sees_spikes else 0)
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
        return self.value_net(
            latent if self.sees_spikes else latent[:, self.latent_dim_pi :]
        )


class PlasticSpikingPolicy(RecurrentActorCriticPolicy):
    """Actor-critic policy whose actor is a spiking network with plastic synapses.

    Use it by its alias with `PlasticPPO`, or with sb3-contrib's `RecurrentPPO` by class. The
    state that `predict` takes and returns is a pair of NumPy arrays; the first, [1, n_envs, D]
    float32, is the whole state of every environment, laid out as `layout` says.

    Args:
        observation_space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of these.
        action_space: Box, Discrete, MultiDiscrete or MultiBinary.
        lr_schedule: learning rate as a function of the remaining progress.
        network: a `NetworkConfig`, or a dict of its fields.
        net_arch: widths of the critic, `dict(vf=[...])` (the actor is the spiking network).
        critic_sees_spikes: the critic also sees the spiking features, detached.
        told: how many of the last channels of a Box the critic alone sees.
        backend: what runs the layers: auto, numba or reference.
        arguments: of SB3's `ActorCriticPolicy`; `activation_fn` is of the critic, and `use_sde`
            must be False.

    Raises:
        ValueError: gSDE or several features extractors asked for, or settings that do not fit (see
            `NetworkConfig`).
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        network: NetworkConfig | dict[str, Any] | None = None,
        net_arch: dict[str, list[int]] | None = None,
        critic_sees_spikes: bool = True,
        told: int = 0,
        backend: str = "auto",
        **arguments: Any,
    ) -> None:
        if arguments.pop("use_sde", False):
            raise ValueError(
                "PlasticSpikingPolicy does not support gSDE (use_sde=True): its exploration matrix "
                "assumes features without memory; use use_sde=False and set log_std_init instead"
            )
        if not arguments.get("share_features_extractor", True):
            raise ValueError(
                "share_features_extractor=False is not supported here: leave it out"
            )
        if net_arch is not None and not isinstance(net_arch, dict):
            raise ValueError(
                f"net_arch is dict(vf=[...]), of the critic, and not {net_arch}"
            )
        net_arch = {"vf": [64, 64], "pi": []} | (net_arch or {})
        if net_arch["pi"]:
            raise ValueError(
                "the actor is the spiking network: give its widths as network.hidden, "
                f"and leave net_arch['pi'] empty (got {net_arch['pi']})"
            )
        self.network_config = NetworkConfig.of(network)
        self.critic_sees_spikes, self.told, self.backend = (
            critic_sees_spikes,
            told,
            backend,
        )
        extractor = extractor_for(
            observation_space, arguments.get("normalize_images", True)
        )
        given: dict[str, Any] = {"features_extractor_class": extractor}
        given |= {name: x for name, x in arguments.items() if x is not None}
        if given.get("optimizer_class", torch.optim.Adam) is torch.optim.Adam:
            given.setdefault("optimizer_kwargs", ADAM)
        # read by the methods of RecurrentActorCriticPolicy; its constructor, which would make an
        # unused LSTM, is skipped
        self.shared_lstm, self.enable_critic_lstm = True, False
        self.lstm_critic = self.critic = None
        self.lstm_kwargs: dict[str, Any] = {}
        common = observation_space, action_space, lr_schedule, net_arch
        ActorCriticPolicy.__init__(self, *common, **given)
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
        config, exogenous = self.network_config, self._exogenous_channels()
        channels = self.features_dim - self.told
        self.lstm_actor = SpikingNetwork(channels, config, exogenous, self.backend)
        critic = self.net_arch["vf"], self.critic_sees_spikes, self.activation_fn
        self.mlp_extractor = Heads(self.network.output_size, self.features_dim, *critic)

    def _exogenous_channels(self) -> list[int]:
        """Indices into the extracted features of the channels named in `exogenous`."""
        channels = list(range(self.features_dim - self.told))
        if self.network_config.exogenous is None:
            return channels
        named, start = {}, 0
        extractor: Any = self.features_extractor
        # others need not keep the keys apart
        if type(extractor) in (sb3.CombinedExtractor, LstmCombinedExtractor):
            for key, part in extractor.extractors.items():
                space = cast(spaces.Dict, self.observation_space)[key]
                width = getattr(part, "features_dim", None) or get_flattened_obs_dim(
                    space
                )
                named[key] = channels[start : start + width]
                start += width
        chosen: list[int] = []
        for entry in self.network_config.exogenous:
            if isinstance(entry, int) and -len(channels) <= entry < len(channels):
                chosen.append(channels[entry])
            elif entry in named:
                chosen.extend(named[entry])
            else:
                valid = f"an index from {-len(channels)} to {len(channels) - 1}"
                valid += f" or one of the keys {', '.join(named)}" if named else ""
                raise ValueError(
                    f"exogenous channel {entry!r} does not exist: give {valid}"
                )
        return chosen

    @staticmethod
    def _process_sequence(
        features: Tensor, lstm_states: Any, episode_starts: Tensor, lstm: Any
    ) -> tuple[Tensor, Any]:
        """[n_seq * T, channels], one sequence after the other, to the network's features and these
        channels, in this order, and the new states.
        """
        sequences = lstm_states[0].shape[1]
        observations = by_time(features, sequences)
        outputs, states = lstm(
            observations, lstm_states, by_time(episode_starts, sequences)
        )
        latent = torch.cat([outputs, observations], dim=2).flatten(0, 1)
        return by_sequence(latent, sequences), states

    def predict(self, observation: Any, *arguments: Any, **named: Any) -> Any:
        """As in SB3; threads may share the policy. Raises BadObservation: one is not finite;
        nothing has come of it, and the state still holds.
        """
        check_finite(observation)
        compiled = fast(self)
        predict = super().predict if compiled is None else compiled.predict
        return predict(observation, *arguments, **named)

    def initial_state(
        self, n_envs: int, plasticity: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The state before an episode, for `predict`.

        With `plasticity` off, the fast weights stay at zero for as long as this state is carried
        on, across episode starts too: the same weights, without plasticity.
        """
        state = np.zeros((1, n_envs, self.layout.size), dtype=np.float32)
        self.layout.get(state, "plasticity_off")[...] = 0.0 if plasticity else 1.0
        return state, np.zeros((1, n_envs, 1), dtype=np.float32)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        # the base class's list has no `network`, so its save() and load() would lose the sizes
        return super()._get_constructor_parameters() | {
            "network": self.network_config,
            "critic_sees_spikes": self.critic_sees_spikes,
            "told": self.told,
            "backend": self.backend,
        }


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

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"told": self.told}


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
        extractor = extractor_for(observation_space, normalize_images)
        arguments = {"features_extractor_class": extractor} | arguments
        arguments["normalize_images"] = normalize_images
        super().__init__(observation_space, action_space, lr_schedule, **arguments)
        self.told = told
        if told and self.lstm_critic is None:
            raise ValueError(
                "a critic that is told needs a memory of its own (enable_critic_lstm)"
            )
        for name, unseen in (("lstm_actor", told), ("lstm_critic", 0)):
            old = getattr(self, name)
            if old is not None and (unseen or type(old) is not self.memory):
                sizes = old.input_size - unseen, old.hidden_size, old.num_layers
                setattr(self, name, self.memory(*sizes, **self.lstm_kwargs))
        make: Any = self.optimizer_class
        self.optimizer = make(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        sizes = {"lstm_hidden_size": self.lstm_actor.hidden_size, "told": self.told}
        sizes |= {
            "n_lstm_layers": self.lstm_actor.num_layers,
            "shared_lstm": self.shared_lstm,
        }
        given = {
            "enable_critic_lstm": self.enable_critic_lstm,
            "lstm_kwargs": self.lstm_kwargs,
        }
        return super()._get_constructor_parameters() | sizes | given

    @staticmethod
    def _process_sequence(
        features: Tensor, lstm_states: Any, episode_starts: Any, lstm: Any
    ) -> Any:
        process = RecurrentActorCriticPolicy._process_sequence
        return process(
            features[..., : lstm.input_size], lstm_states, episode_starts, lstm
        )


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


NETWORKS[PlasticSpikingPolicy] = spiking
NETWORKS |= {ToldMlpPolicy: mlp, ToldLstmPolicy: lstm, GruPolicy: lstm}


Group = Literal[
    "encoder", "weights", "plasticity", "neuromodulator", "readout", "critic"
]

PLASTICITY = (
    "plasticity_gain", "pre_decay", "post_decay", "threshold_decay", "eta", "coefficients",
    "synaptic", "pre_mean_share", "post_mean_share", "target_exogenous", "target_bias",
)  # fmt: skip


def parameter_group(name: str) -> Group:
    """The group of a policy's parameter, by its name. Weights are all that the actor has besides
    the others.
    """
    # of off-policy learning
    name = name.removeprefix("actor.").removeprefix("actor_target.")
    first, last = name.split(".")[0], name.split(".")[-1]
    alone = first in ("vf_features_extractor", "log_ent_coef")
    if "value_net" in name or "critic" in first or alone:
        return "critic"
    if last.startswith("modulator"):
        return "neuromodulator"
    if name.startswith("lstm_actor.layers.") and last in PLASTICITY:
        return "plasticity"
    if first in ("action_net", "log_std", "log_std_net") or last == "readout_decay":
        return "readout"
    if "features_extractor" in first or name.startswith("lstm_actor.encoder."):
        return "encoder"
    return "weights"
