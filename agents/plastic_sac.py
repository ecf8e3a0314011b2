"""`PlasticSAC` and `PlasticTQC`: off-policy learning for actors with a memory."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from sb3_contrib import TQC
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3 import SAC
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, RolloutReturn
from stable_baselines3.common.utils import obs_as_tensor
from torch import Tensor

from spikepropamine.agents.buffer import SequenceReplayBuffer, Sequences
from spikepropamine.policies.fast.ppo import NotFinite
from spikepropamine.policies.off_policy import ACTORS, OffPolicy
from spikepropamine.policies.spaces import each, stacked

if TYPE_CHECKING:
    _Base = (
        SAC  # a mixin over either of two algorithms; to the type checker it is over one
    )
else:
    _Base = object


class Recent(NamedTuple):
    """What happened since the last update, each [T, n_envs, ...], where readers of on-policy
    algorithms look for it.
    """

    observations: Any  # as the actor saw them, or a dict of such
    means: np.ndarray  # of the actions' distribution, between -1 and 1
    episode_starts: np.ndarray  # 1 where an episode starts


@contextlib.contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """On a CPU, has oneDNN make matrix products instead of MKL, which on AMD takes twice as long
    for the same precision. Not on a CPU with AMX, where it would round to bfloat16, nor where a
    precision was chosen by PyTorch's newer settings, which do not go with this one.
    """
    before = None
    if device.type == "cpu" and not torch.cpu._is_amx_tile_supported():
        with contextlib.suppress(RuntimeError):
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        if before is not None:
            torch.set_float32_matmul_precision(before)


class SequenceLearning(_Base):
    """Off-policy learning from sequences, over SB3's SAC or sb3-contrib's TQC: one unroll of a
    minibatch gives both the actor's gradients and the next actions.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {}

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        *args: Any,
        sequence_length: int = 4,
        burn_in: int = 0,
        policy_delay: int = 1,
        **kwargs: Any,
    ) -> None:
        self.sequence_length, self.burn_in = sequence_length, burn_in
        self.policy_delay = policy_delay
        if isinstance(policy, str) and policy in ACTORS:
            given = kwargs.get("policy_kwargs") or {}
            kwargs["policy_kwargs"] = {"actor_class": ACTORS[policy]} | given
            policy = OffPolicy
        super().__init__(policy, env, *args, **kwargs)

    def _setup_model(self) -> None:
        for name, least in (
            ("sequence_length", 1),
            ("burn_in", 0),
            ("policy_delay", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name} must be at least {least}, got {getattr(self, name)}"
                )
        if self.n_steps != 1:
            raise ValueError(
                f"n_steps={self.n_steps} is not supported here: leave it out"
            )
        if self.replay_buffer_class is None:
            self.replay_buffer_class = SequenceReplayBuffer
        elif not issubclass(self.replay_buffer_class, SequenceReplayBuffer):
            why = "has no sequences: leave it out (hindsight experience replay is not supported)"
            raise ValueError(
                f"replay_buffer_class {self.replay_buffer_class.__name__} {why}"
            )
        lengths = {"sequence_length": self.sequence_length, "burn_in": self.burn_in}
        self.replay_buffer_kwargs = self.replay_buffer_kwargs | lengths
        super()._setup_model()
        if self.ent_coef_optimizer is not None:
            assert self.log_ent_coef is not None
            coefficient: Any = self.policy.log_ent_coef
            coefficient.data.copy_(self.log_ent_coef.detach())
            self.log_ent_coef = coefficient
            rate = self.lr_schedule(1)
            self.ent_coef_optimizer = torch.optim.Adam([coefficient], rate, fused=True)
        actor: Any = self.actor
        if actor.state_size:
            self.replay_buffer.keep_states(actor.state_size)  # type: ignore[union-attr]
        pair: Any = actor.pair(
            torch.zeros(self.n_envs, actor.state_size, device=self.device)
        )
        self._last_lstm_states: Any = None if pair is None else RNNStates(pair, pair)
        self._next_lstm_states = self._last_lstm_states
        self._steps: list[tuple[Any, ...]] = []

    @property
    def rollout_buffer(self) -> Recent:
        """What happened since the last update."""
        return Recent(*map(stacked, zip(*self._steps)))

    def load_replay_buffer(self, path: Any, truncate_last_traj: bool = True) -> None:
        """SB3's. Raises ValueError: it was filled by another algorithm, with other lengths of
        sequences or burn-in, in more environments, or with states of another network.
        """
        own: Any = self.replay_buffer
        super().load_replay_buffer(path, truncate_last_traj)
        found: Any = self.replay_buffer
        self.replay_buffer = own  # unless the other one fits
        if not isinstance(found, SequenceReplayBuffer):
            raise ValueError(
                f"{path} has no sequences: it is not of PlasticSAC or PlasticTQC"
            )
        theirs, ours = ((x.sequence_length, x.entries, x.n_envs) for x in (found, own))
        width = found.states.shape[2]
        if theirs != ours or own.states.shape[2] not in (0, width):
            length, entries, envs = theirs
            given = f"sequence_length={length}, burn_in={entries - length - 1}, {envs} environments"
            given += f" and states of {width} numbers"
            raise ValueError(
                f"{path} was filled with {given}: load the algorithm with these"
            )
        self.replay_buffer = found

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> RolloutReturn:
        """SB3's, with the actor's state carried on."""
        self._steps = []
        return super().collect_rollouts(*args, **kwargs)

    def dump_logs(self, iteration: int = 0) -> None:
        """SB3's; `iteration` is what its on-policy algorithms take."""
        super().dump_logs()

    @torch.no_grad()
    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        actor: Any = self.actor
        obs: Any = self._last_obs
        starts = torch.as_tensor(
            self._last_episode_starts, dtype=torch.float32, device=self.device
        )
        seen, _ = self.policy.split(obs)  # type: ignore[operator]
        inputs = actor.extract_features(obs_as_tensor(seen, self.device))
        before = self._last_lstm_states
        features, after = actor.unroll(inputs[None], starts[None], before and before.pi)
        self._next_lstm_states = before and RNNStates(after, after)
        means, log_std = actor.gaussian(features[0])
        if self.num_timesteps < learning_starts:
            drawn = torch.rand_like(means).mul_(2.0).sub_(1.0)
        else:
            drawn = torch.tanh(means + log_std.exp() * torch.randn_like(means))
        scaled = drawn.cpu().numpy()
        if action_noise is not None:
            scaled = np.clip(scaled + action_noise().reshape(scaled.shape), -1, 1)
        self._steps.append(
            (seen, torch.tanh(means).cpu().numpy(), starts.cpu().numpy())
        )
        scaled = scaled.reshape(n_envs, *self.action_space.shape)  # type: ignore[misc]
        return self.policy.unscale_action(scaled), scaled

    def _store_transition(
        self,
        replay_buffer: Any,
        buffer_action: np.ndarray,
        new_obs: Any,
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        norm: Any = self._vec_normalize_env
        raw = new_obs if norm is None else norm.get_original_obs()
        last: dict[int, Any] = {}
        for index in np.flatnonzero(dones):
            observation = infos[index]["terminal_observation"]
            if norm is not None:  # SB3's own keeps no raw ones
                plain = getattr(norm, "old_last", {}).get(int(index))
                plain = norm.unnormalize_obs(observation) if plain is None else plain
                observation = self._to_keep(observation, plain)
            last[int(index)] = observation
        before, after = (
            None if states is None else self.actor.flat(states.pi).cpu().numpy()  # type: ignore[operator]
            for states in (self._last_lstm_states, self._next_lstm_states)
        )
        replay_buffer.add(
            self._to_keep(self._last_obs, self._last_original_obs),
            buffer_action,
            reward if norm is None else norm.get_original_reward(),
            dones,
            infos,
            last,
            self._last_episode_starts,
            before,
            after,
        )
        self._last_obs, self._last_original_obs = new_obs, raw
        self._last_episode_starts, self._last_lstm_states = (
            dones,
            self._next_lstm_states,
        )

    def _to_keep(self, seen: Any, plain: Any) -> Any:
        """Observations as they were before normalisation; what is not normalised as the policy saw
        it, of pictures with their channels first.
        """
        norm: Any = self._vec_normalize_env
        if norm is None or not norm.norm_obs:
            return seen
        return (
            seen | {k: plain[k] for k in norm.norm_obs_keys}
            if isinstance(seen, dict)
            else plain
        )

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Some updates of critics, actor and entropy coefficient. Raises NotFinite where a loss is
        not a finite number.
        """
        buffer: Any = self.replay_buffer
        if not buffer.ready:
            return
        self.policy.set_training_mode(True)
        optimizers = [self.actor.optimizer, self.critic.optimizer]
        if self.ent_coef_optimizer is not None:
            optimizers.append(self.ent_coef_optimizer)
        self._update_learning_rate(optimizers)
        losses: dict[str, list[Tensor]] = {}
        with fast_products(self.device):
            for batch in buffer.minibatches(
                gradient_steps, batch_size, self._vec_normalize_env
            ):
                for name, loss in self._update(batch).items():
                    losses.setdefault(name, []).append(loss)
        means = {name: torch.stack(some).mean().item() for name, some in losses.items()}
        if not np.isfinite(list(means.values())).all():
            raise NotFinite
        for name, mean in means.items():
            self.logger.record(f"train/{name}", mean)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _update(self, batch: Sequences) -> dict[str, Tensor]:
        actor, first = self.actor, self.burn_in
        acts = self._n_updates % self.policy_delay == 0
        with torch.set_grad_enabled(acts):
            inputs, told, features = self._unrolled(batch)
            actions, log_probs = actor.draw(features)  # type: ignore[operator]
        seen = [inputs] if told is None else [inputs, told]
        if self.policy.critic_sees_state:  # type: ignore[attr-defined]
            # and teach the network what to keep: the actor's gradients alone hardly do
            seen.append(features)
        states = torch.cat(seen, dim=2)
        now, later = states[:-1].flatten(0, 1), states[1:].detach().flatten(0, 1)
        rewards, dones, weights = (
            x[first:-1].flatten() for x in (batch.rewards, batch.dones, batch.weights)
        )
        weights = weights / weights.sum().clamp(min=1)
        with torch.no_grad():
            learned = self.log_ent_coef
            ent_coef = self.ent_coef_tensor if learned is None else learned.exp()
            values = self._next_values(
                self.critic_target(later, actions[1:].flatten(0, 1))
            )
            values = values - ent_coef * log_probs[1:].reshape(-1, 1)
            targets = rewards[:, None] + (self.gamma * (1 - dones))[:, None] * values
        critic_loss = self._critic_loss(
            self.critic(now, batch.actions[first:-1].flatten(0, 1)), targets, weights
        )
        self.critic.optimizer.zero_grad()
        actor.optimizer.zero_grad()
        critic_loss.backward(retain_graph=acts)
        self.critic.optimizer.step()
        losses = {"critic_loss": critic_loss.detach()}
        if acts:
            values = self.critic(now.detach(), actions[:-1].flatten(0, 1), learn=False)
            actor_loss = (
                ent_coef * log_probs[:-1].flatten() - self._values(values)
            ) @ weights
            actor_loss.backward()
            actor.optimizer.step()
            losses |= {
                "actor_loss": actor_loss.detach(),
                "ent_coef": ent_coef.reshape(()),
            }
            if learned is not None and self.ent_coef_optimizer is not None:
                # of -log_ent_coef (log_prob + target_entropy)
                excess = (
                    log_probs[:-1].detach().flatten() @ weights + self.target_entropy
                )
                learned.grad = -excess.reshape(1)
                self.ent_coef_optimizer.step()
        if self._n_updates % self.target_update_interval == 0:
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.critic_target.parameters()),
                    list(self.critic.parameters()),
                    self.tau,
                )
        self._n_updates += 1
        return losses

    def _unrolled(self, batch: Sequences) -> tuple[Tensor, Tensor | None, Tensor]:
        """What the actor's network sees, what the critics are told, and what the network gives,
        [T, B, ...], after burn-in. A network for pictures learns from the critics alone: the
        actor's gradients hardly teach it anything (Yarats et al. 2021).
        """
        actor: Any = self.actor
        shape, first, state = batch.starts.shape, self.burn_in, actor.pair(batch.states)
        observations, told = self.policy.split(batch.observations)  # type: ignore[operator]
        flat = each(lambda x: x.flatten(0, 1), observations)
        inputs = actor.extract_features(flat).unflatten(0, shape)
        if first:
            with torch.no_grad():
                _, state = actor.unroll(inputs[:first], batch.starts[:first], state)
        inputs = inputs[first:]
        told = None if told is None else told[first:].float()
        return (
            inputs,
            told,
            actor.unroll(inputs.detach(), batch.starts[first:], state)[0],
        )

    def _next_values(self, outputs: Tensor) -> Tensor:
        """What the target critics [critics, N, outputs] say of the next step, [N, any]."""
        return outputs.squeeze(2).amin(dim=0).unsqueeze(1)

    def _values(self, outputs: Tensor) -> Tensor:
        """What the critics say for the actor's loss, [N]."""
        return outputs.squeeze(2).amin(dim=0)

    def _critic_loss(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Of outputs [critics, N, outputs] and targets [N, any], with weights [N]."""
        return (
            0.5 * ((outputs.squeeze(2) - targets.squeeze(1)).square() @ weights).sum()
        )

    def _excluded_save_params(self) -> list[str]:
        mine = ["_steps", "_last_lstm_states", "_next_lstm_states"]
        return [*super()._excluded_save_params(), *mine]


class PlasticSAC(SequenceLearning, SAC):
    """SB3's SAC for actors with a memory: spiking networks, plastic or not, LSTMs, GRUs, MLPs.

    Args:
        policy: "PlasticSpikingPolicy", "MlpLstmPolicy", "GruPolicy" or "MlpPolicy".
        env: environment, or its id.
        sequence_length: environment steps through which gradients flow back in time; a minibatch
            has `batch_size // sequence_length` sequences.
        burn_in: steps before these that only bring the stored state up to date with the network.
        policy_delay: critic updates for each of the actor and the entropy coefficient.
        args, kwargs: as for `SAC`.

    Raises:
        ValueError: lengths that are too small, n-step returns, another replay buffer, or gSDE.
    """


class PlasticTQC(SequenceLearning, TQC):
    """sb3-contrib's TQC for actors with a memory; arguments as for `PlasticSAC` and `TQC`."""

    def _setup_model(self) -> None:
        self.policy_kwargs = {"n_quantiles": 25} | self.policy_kwargs
        dropped, quantiles = (
            self.top_quantiles_to_drop_per_net,
            self.policy_kwargs["n_quantiles"],
        )
        if not 0 <= dropped < quantiles:
            least = f"at least 0 and less than n_quantiles, {quantiles}"
            raise ValueError(
                f"top_quantiles_to_drop_per_net must be {least}, got {dropped}"
            )
        super()._setup_model()

    def _next_values(self, outputs: Tensor) -> Tensor:
        """The pooled quantiles, without the largest."""
        count, _, quantiles = outputs.shape
        kept = count * (quantiles - self.top_quantiles_to_drop_per_net)
        return outputs.transpose(0, 1).flatten(1).sort(dim=1).values[:, :kept]

    def _values(self, outputs: Tensor) -> Tensor:
        return outputs.mean(dim=(0, 2))

    def _critic_loss(self, outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Quantile Huber loss (Dabney et al. 2018; Kuznetsov et al. 2020)."""
        quantiles = outputs.shape[2]
        off = (
            targets[None, :, None, :] - outputs[..., None]
        )  # [critics, N, quantiles, targets]
        size = off.abs()
        huber = torch.where(size > 1, size - 0.5, 0.5 * off * off)
        levels = (torch.arange(quantiles, device=off.device) + 0.5) / quantiles
        each = (levels[:, None] - (off.detach() < 0).float()).abs() * huber
        return (each.mean(dim=(0, 2, 3)) * weights).sum()
