"""Critics of off-policy learning, and the policy that they form with an actor."""

# PyTorch's `Function.apply` has no annotations.
# mypy: allow-untyped-calls

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac.policies import SACPolicy
from torch import Tensor, nn

from spikepropamine.policies.actors import Squashed, SquashedMlp
from spikepropamine.policies.dense import Dense
from spikepropamine.policies.flat_adam import FLAT_ARGUMENTS, FlatAdam
from spikepropamine.policies.passes import DensePass


class Critics(nn.Module):
    """Several MLPs, whose hidden layers are rectified, as one batched product.

    Args:
        inputs: numbers of state and action together.
        widths: of the hidden layers.
        outputs: numbers that each MLP gives: 1 for a value, more for quantiles.
        count: of MLPs.
    """

    def __init__(
        self, inputs: int, widths: list[int], outputs: int, count: int
    ) -> None:
        super().__init__()
        sizes = [inputs, *widths, outputs]
        self.layers = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):  # as `nn.Linear` begins
            bound = 1 / math.sqrt(fan_in)
            weights = torch.empty(count, fan_in, fan_out).uniform_(-bound, bound)
            self.layers.append(weights.mT.contiguous())
            self.layers.append(torch.empty(count, 1, fan_out).uniform_(-bound, bound))

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """What every MLP gives, with PyTorch's autograd.

        Args:
            states: [N, ...].
            actions: [N, actions].

        Returns:
            [count, N, outputs].
        """
        inputs = torch.cat([states, actions], dim=1)
        count = len(self.layers[0])
        outputs: Tensor = Dense.apply(True, inputs.expand(count, -1, -1), *self.layers)
        return outputs

    def new_pass(self, rows: int) -> DensePass:
        """A pass without autograd, which learning uses, for so many rows."""
        return DensePass(list(self.layers), rows)


class OffPolicy(SACPolicy):
    """Actor and critics of off-policy learning.

    Args:
        observation_space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of
            these.
        action_space: Box, bounded.
        lr_schedule: learning rate as a function of the remaining progress.
        actor_class: one of `policies.actors.ACTORS`.
        net_arch: widths: `dict(pi=[...], qf=[...])`, of the actor (a network without
            memory; what comes after an LSTM) and of the critics, or a list for both.
        n_critics: how many critics there are.
        n_quantiles: what each gives: 1 for SAC.
        critic_sees_state: the critics see what the actor's memory gives, too, and
            train it with their loss: in a partially observed task, this alone tells
            what the actor has found out (Lambrechts et al. 2025).
        told: how many of the last channels of a Box the critics alone see.
        critics_class: makes the critics, of the arguments of `Critics`.
        target_critics: whether there are critics that follow the others.
        target_actor: whether there is an actor that follows the other.
        log_std_init: initial log standard deviation of actions before squashing.
        use_sde: must be False.
        optimizer_class, optimizer_kwargs: of both, as in SB3; the default is Adam, in
            one call (`FlatAdam`) where there are no other arguments than that takes.
        more: arguments of the actor, such as `network` for a spiking one, or
            `activation_fn`; of an LSTM or a GRU `lstm_hidden_size`, `n_lstm_layers` and
            `lstm_kwargs`, as in sb3-contrib.

    Raises:
        ValueError: no critic, more channels told than there are, gSDE, several
            features extractors, critics with an LSTM, or arguments of an LSTM for an
            actor without one.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        actor_class: type[Squashed] = SquashedMlp,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        n_critics: int = 2,
        n_quantiles: int = 1,
        critic_sees_state: bool = False,
        told: int = 0,
        critics_class: Callable[[int, list[int], int, int], nn.Module] = Critics,
        target_critics: bool = True,
        target_actor: bool = False,
        log_std_init: float = 0.0,
        use_sde: bool = False,
        optimizer_class: type[torch.optim.Optimizer] = FlatAdam,
        optimizer_kwargs: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        if use_sde:
            raise ValueError("gSDE (use_sde=True) is not supported here: leave it out")
        for name in ("shared_lstm", "enable_critic_lstm"):
            if more.get(name):
                raise ValueError(
                    f"{name}=True is not supported here, since the critics are MLPs: "
                    "critic_sees_state=True shows them what the actor remembers"
                )
        if not more.get("share_features_extractor", True):
            raise ValueError(
                "share_features_extractor=False is not supported here: leave it out"
            )
        if n_critics < 1:
            raise ValueError(f"n_critics is {n_critics}; there has to be a critic")
        channels = math.prod(observation_space.shape or ())
        if told and not (
            isinstance(observation_space, spaces.Box) and 0 < told < channels
        ):
            raise ValueError(
                f"told={told} of {observation_space}: it is a number of channels of a "
                "Box, and the actor needs one, too"
            )
        optimizer_kwargs = optimizer_kwargs or {}
        others = optimizer_kwargs.keys() - FLAT_ARGUMENTS
        if optimizer_class is FlatAdam and others:
            optimizer_class = torch.optim.Adam
        BasePolicy.__init__(
            self,
            observation_space,
            action_space,
            squash_output=True,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        widths = {"pi": actor_class.widths, "qf": [256, 256]}
        if isinstance(net_arch, list):
            widths = {"pi": net_arch, "qf": net_arch}
        elif net_arch is not None:
            widths |= net_arch
        self.given = {
            "actor_class": actor_class,
            "net_arch": widths,
            "n_critics": n_critics,
            "n_quantiles": n_quantiles,
            "critic_sees_state": critic_sees_state,
            "told": told,
            "critics_class": critics_class,
            "target_critics": target_critics,
            "target_actor": target_actor,
            "log_std_init": log_std_init,
            **more,
        }
        self.critic_sees_state = critic_sees_state
        self.told = told
        seen_by_actor = observation_space
        if told:
            box: Any = observation_space
            seen_by_actor = spaces.Box(
                box.low[:-told], box.high[:-told], dtype=box.dtype
            )
        of_actor: dict[str, Any] = {
            "activation_fn": nn.ReLU,
            "net_arch": {"pi": widths["pi"], "vf": []},
            "log_std_init": log_std_init,
            "optimizer_class": optimizer_class,
            "optimizer_kwargs": optimizer_kwargs,
            **more,
        }
        spaces_and_rate = (seen_by_actor, action_space, lr_schedule)
        actor = actor_class(*spaces_and_rate, **of_actor)
        self.actor = actor
        inputs = actor.features_dim + told + get_action_dim(action_space)
        if critic_sees_state:
            inputs += actor.memory_width
        sizes = (inputs, widths["qf"], n_quantiles, n_critics)
        self.critic: Any = critics_class(*sizes)
        if target_critics:
            self.critic_target: Any = _following(critics_class(*sizes), self.critic)
        if target_actor:
            actor_target = actor_class(*spaces_and_rate, **of_actor)
            self.actor_target: Any = _following(actor_target, self.actor)
        # where the algorithm learns it
        self.log_ent_coef = nn.Parameter(torch.zeros(1))
        make_optimizer: Any = optimizer_class
        self.critic.optimizer = make_optimizer(
            self.critic.parameters(), lr=lr_schedule(1), **optimizer_kwargs
        )

    def _predict(self, observation: Any, *args: Any, **kwargs: Any) -> Tensor:
        seen, _ = self.split(observation)
        return self.actor._predict(seen, *args, **kwargs)

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        """The actor's."""
        seen, _ = self.split(observation)
        return self.actor.predict(seen, *args, **kwargs)

    def split(self, observations: Any) -> tuple[Any, Any]:
        """What the actor sees of observations [..., channels], and what the critics
        alone see (None: nothing).
        """
        if not self.told:
            return observations, None
        return observations[..., : -self.told], observations[..., -self.told :]

    def set_training_mode(self, mode: bool) -> None:
        """As in SB3."""
        self.actor.set_training_mode(mode)
        self.critic.train(mode)
        self.training = mode

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return self.given | {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }


def _following(target: nn.Module, source: nn.Module) -> nn.Module:
    """A target network, which begins as the other one and is not trained itself."""
    target.load_state_dict(source.state_dict())
    return target.requires_grad_(False).train(False)


def actor_of(policy: BasePolicy) -> Any:
    """What of a policy acts after training, and is saved for others: the actor of
    off-policy learning; otherwise the policy itself.
    """
    return policy.actor if isinstance(policy, OffPolicy) else policy
