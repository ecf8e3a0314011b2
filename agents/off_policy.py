"""Off-policy learning for actors with a memory: what all such algorithms have in
common.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3 import SAC
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import (
    GymEnv,
    MaybeCallback,
    RolloutReturn,
)
from stable_baselines3.common.utils import obs_as_tensor
from torch import Tensor, nn

from spikepropamine.agents.predicting import Predicting
from spikepropamine.agents.recent import Recent
from spikepropamine.agents.replay_buffer import SequenceReplayBuffer, Sequences
from spikepropamine.common import check_known
from spikepropamine.policies.actors import ACTORS, EXTRACTORS, Squashed
from spikepropamine.policies.critics import OffPolicy
from spikepropamine.policies.fast.ppo import NotFinite, one_thread
from spikepropamine.policies.flat_adam import flat
from spikepropamine.policies.passes import ActorPass
from spikepropamine.policies.spaces import each, stacked

if TYPE_CHECKING:
    # a mixin over several algorithms; to the type checker it is over one
    _Base = SAC
else:
    _Base = ABC


@contextlib.contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """On a CPU, has oneDNN make matrix products instead of MKL, which on some AMD
    processors takes twice as long for the same precision, and on others as long.

    Not on a CPU with AMX, where it would round to bfloat16, nor where a precision was
    chosen by PyTorch's newer settings, which do not go with this one.
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


class Inputs(NamedTuple):
    """Sequences of T entries on their way to the actor's network."""

    seen: Tensor
    """What the network sees, [T, B, channels]."""
    told: Tensor | None
    """What the critics alone are told, [T, B, numbers]; None: nothing."""
    starts: Tensor
    """[T, B], 1 where an episode starts."""
    state: Any
    """Of the network, before the first entry."""


class Transitions(NamedTuple):
    """N steps of a minibatch, as the updates use them."""

    states: Tensor
    """What the critics see before each step, [N, S]."""
    actions: Tensor
    """The actions that were taken, [N, actions], between -1 and 1."""
    rewards: Tensor
    """[N]."""
    dones: Tensor
    """[N], 1 where the step ended the episode for good."""
    next_states: Tensor
    """What the critics see after each step, [N, S], without gradients."""
    weights: Tensor
    """[N], which sum to 1; 0 where there was no step."""
    new_actions: Tensor
    """The present actor's actions in `states`, [N, actions]."""
    new_log_probs: Tensor
    """Their log-likelihoods, [N]."""
    next_actions: Tensor
    """Actions in `next_states` for the targets, [N, actions]."""
    next_log_probs: Tensor
    """Their log-likelihoods, [N]."""
    rows: Tensor
    """Which row of the pass through the actor each is, int64 [N], ascending."""


def features_of(actor: Squashed, inputs: Inputs) -> Tensor:
    """What the heads of an actor see, [T, B, F]."""
    return actor.features_of(memory_of(actor, inputs))


def memory_of(actor: Squashed, inputs: Inputs) -> Tensor:
    """What the memory of an actor gives, [T, B, memory_width].

    A network for pictures, which comes before it, learns from the critics alone: the
    actor's gradients hardly teach it anything (Yarats et al. 2021).
    """
    memory, _ = actor.run_memory(inputs.seen.detach(), inputs.starts, inputs.state)
    return memory


class ActorLoss(NamedTuple):
    """What the actor lowers, and the way to it."""

    value: Tensor
    """A scalar."""
    of_values: Tensor
    """Its gradient to what the critics say of the actor's actions, [critics, N,
    outputs]."""
    of_log_probs: Tensor | None
    """Its gradient to their log-likelihoods, [N]; None: these do not count."""


class SequenceLearning(Predicting, _Base):
    """Off-policy learning from sequences, over an algorithm of SB3 or sb3-contrib.

    One unroll of a minibatch gives both the actor's gradients and the next actions.
    Subclasses say what the critics should give (`_targets`), and the losses.

    Args:
        policy: "PlasticSpikingPolicy", "MlpLstmPolicy", "GruPolicy" or "MlpPolicy", for
            every space of observations; or SB3's and sb3-contrib's names for pictures
            ("CnnPolicy", "CnnLstmPolicy") and for a Dict ("MultiInputPolicy",
            "MultiInputLstmPolicy").
        env: environment, or its id.
        sequence_length: environment steps through which gradients flow back in time; a
            minibatch has `batch_size // sequence_length` sequences.
        burn_in: steps before these that only bring the stored state up to date with the
            network.
        args, kwargs: of the algorithm below.

    Raises:
        ValueError: lengths that are too small, n-step returns, another replay buffer,
            or gSDE.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {}
    actors: ClassVar[dict[str, type[Squashed]]] = ACTORS
    """Classes of actors, by SB3's names of policies."""
    kept_parts: ClassVar[dict[str, str]] = {"replay": "replay_buffer"}
    """Attributes that a checkpoint keeps by `contents` and `restore`, by their names in
    it."""

    policy: OffPolicy
    actor: Squashed
    policy_delay: int
    """Updates of the critics for each of the actor."""

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        *args: Any,
        sequence_length: int = 4,
        burn_in: int = 0,
        **kwargs: Any,
    ) -> None:
        self.sequence_length = sequence_length
        self.burn_in = burn_in
        if isinstance(policy, str):
            check_known("policy", policy, self.actors, error=ValueError)
            defaults: dict[str, Any] = {"actor_class": self.actors[policy]}
            if policy in EXTRACTORS:
                defaults["features_extractor_class"] = EXTRACTORS[policy]
            kwargs["policy_kwargs"] = defaults | (kwargs.get("policy_kwargs") or {})
            policy = OffPolicy
        elif not issubclass(policy, OffPolicy):
            raise ValueError(
                f"policy {policy.__name__} has no actor with a memory: use one of "
                f"{', '.join(self.actors)}"
            )
        super().__init__(policy, env, *args, **kwargs)

    def _setup_model(self) -> None:
        self._check_arguments()
        self.replay_buffer_class = self.replay_buffer_class or SequenceReplayBuffer
        self.replay_buffer_kwargs = self.replay_buffer_kwargs | {
            "sequence_length": self.sequence_length,
            "burn_in": self.burn_in,
        }
        super()._setup_model()
        actor = self.actor
        if actor.state_size:
            self.replay_buffer.keep_states(actor.state_size)  # type: ignore[union-attr]
        zeros = torch.zeros(self.n_envs, actor.state_size, device=self.device)
        pair = actor.pair(zeros)
        # of actor and critic, as RecurrentPPO has them; None without memory
        self._last_lstm_states = None if pair is None else RNNStates(pair, pair)
        self._next_lstm_states = self._last_lstm_states
        self._steps: list[tuple[Any, np.ndarray, np.ndarray]] = []
        self._passes: dict[str, Any] = {}
        self._gradient_step = 0  # of the present call of `train`

    def _check_arguments(self) -> None:
        """Raises ValueError where an argument is too small, or one of SAC's does not
        work here.
        """
        least = {"sequence_length": 1, "burn_in": 0, "policy_delay": 1}
        for name, bound in least.items():
            value = getattr(self, name)
            if value < bound:
                raise ValueError(f"{name} must be at least {bound}, got {value}")
        if self.n_steps != 1:
            raise ValueError(
                f"n-step returns (n_steps={self.n_steps}) are not supported here: "
                "leave n_steps out"
            )
        buffer = self.replay_buffer_class
        if buffer is not None and not issubclass(buffer, SequenceReplayBuffer):
            raise ValueError(
                f"replay_buffer_class {buffer.__name__} has no sequences: leave it out "
                "(hindsight experience replay is not supported)"
            )

    @property
    def rollout_buffer(self) -> Recent:
        """What happened since the last update."""
        observations, means, starts = zip(*self._steps)
        return Recent(stacked(observations), stacked(means), stacked(starts))

    def load_replay_buffer(self, path: Any, truncate_last_traj: bool = True) -> None:
        """Loads the replay buffer from a file, as in SB3.

        Args:
            path: of the file.
            truncate_last_traj: as in SB3.

        Raises:
            ValueError: it was filled by another algorithm, with other lengths of
                sequences or burn-in, in more environments, or with states of another
                network.
        """
        before = self.replay_buffer
        super().load_replay_buffer(path, truncate_last_traj)
        loaded: Any = self.replay_buffer
        self.replay_buffer = before  # unless the other one fits
        if not isinstance(loaded, SequenceReplayBuffer):
            raise ValueError(
                f"{path} has no sequences: it is not of PlasticSAC or another "
                "off-policy algorithm of this project"
            )
        width = loaded.states.shape[2]
        burn_in = loaded.entries - loaded.sequence_length - 1
        fits = (
            loaded.sequence_length == self.sequence_length
            and burn_in == self.burn_in
            and loaded.n_envs == self.n_envs
            and self.actor.state_size in (0, width)
        )
        if not fits:
            raise ValueError(
                f"{path} was filled with sequence_length={loaded.sequence_length}, "
                f"burn_in={burn_in}, {loaded.n_envs} environments and states of "
                f"{width} numbers: load the algorithm with these"
            )
        loaded.stored = {}  # its blocks are in no file of this run
        self.replay_buffer = loaded

    @classmethod
    def load(
        cls,
        path: Any,
        *args: Any,
        policy_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """As in SB3.

        Args:
            path: as in SB3.
            args: as in SB3.
            policy_kwargs: those that were given before. What was saved holds the kind
                of actor, too, which may be left out.
            kwargs: as in SB3.

        Raises:
            ValueError: `policy_kwargs` are others than those that were saved.
        """
        model = super().load(path, *args, **kwargs)
        saved = model.policy_kwargs
        for name, value in (policy_kwargs or {}).items():
            if name not in saved or saved[name] != value:
                raise ValueError(
                    f"the policy kwargs differ from those that were saved, {saved}, in "
                    f"{name}: leave policy_kwargs out"
                )
        return model

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Any:
        """Learns as SB3's algorithms do; small networks use one thread of PyTorch.

        Args:
            total_timesteps: as in SB3.
            callback: as in SB3.
            log_interval: as in SB3.
            tb_log_name: of TensorBoard's folder; None: the name of the class.
            reset_num_timesteps: as in SB3.
            progress_bar: as in SB3.
        """
        with one_thread(self.policy):
            return super().learn(
                total_timesteps,
                callback,
                log_interval,
                tb_log_name or type(self).__name__,
                reset_num_timesteps,
                progress_bar,
            )

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> RolloutReturn:
        """SB3's, with the actor's state carried on."""
        self._steps = []
        return super().collect_rollouts(*args, **kwargs)

    def dump_logs(self, iteration: int = 0) -> None:
        """SB3's; `iteration` is what its on-policy algorithms take."""
        super().dump_logs()

    @torch.no_grad()
    def _sample_action(
        self,
        learning_starts: int,
        action_noise: ActionNoise | None = None,
        n_envs: int = 1,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Actions as the environments take them, and between -1 and 1."""
        actor = self.actor
        starts = torch.as_tensor(
            self._last_episode_starts, dtype=torch.float32, device=self.device
        )
        seen, _ = self.policy.split(self._last_obs)
        inputs = actor.extract_features(obs_as_tensor(seen, self.device))
        state = None
        if self._last_lstm_states is not None:
            state = self._last_lstm_states.pi
        features, after = actor.unroll(inputs[None], starts[None], state)
        if self._last_lstm_states is not None:
            self._next_lstm_states = RNNStates(after, after)
        if self.num_timesteps < learning_starts:
            mode = actor.mode(features[0])
            drawn = torch.rand_like(mode).mul_(2.0).sub_(1.0)
        else:
            mode, drawn = actor.explore(features[0])
        scaled = drawn.cpu().numpy()
        if action_noise is not None:
            noise = action_noise().reshape(scaled.shape)
            scaled = np.clip(scaled + noise, -1, 1)
        self._steps.append((seen, mode.cpu().numpy(), starts.cpu().numpy()))
        scaled = scaled.reshape(n_envs, *self.action_space.shape)
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
        """Puts a transition into the replay buffer, as it was before it was
        normalised.
        """
        normalisation: Any = self._vec_normalize_env
        raw_obs = new_obs
        raw_reward = reward
        if normalisation is not None:
            raw_obs = normalisation.get_original_obs()
            raw_reward = normalisation.get_original_reward()
        replay_buffer.add(
            self._to_keep(self._last_obs, self._last_original_obs),
            buffer_action,
            raw_reward,
            dones,
            infos,
            self._last_of_episodes(dones, infos),
            self._last_episode_starts,
            self._flat(self._last_lstm_states),
            self._flat(self._next_lstm_states),
        )
        self._last_obs = new_obs
        self._last_original_obs = raw_obs
        self._last_episode_starts = dones
        self._last_lstm_states = self._next_lstm_states

    def _flat(self, states: RNNStates | None) -> np.ndarray | None:
        """The actor's states as the replay buffer keeps them, [n_envs, D]."""
        if states is None:
            return None
        flat = self.actor.flat(states.pi)
        assert flat is not None  # states are those of an actor with a memory
        return flat.cpu().numpy()

    def _last_of_episodes(
        self, dones: np.ndarray, infos: list[dict[str, Any]]
    ) -> dict[int, Any]:
        """The last observation of each episode that has ended, by environment, as it is
        kept.
        """
        normalisation: Any = self._vec_normalize_env
        # SB3's VecNormalize keeps no raw ones
        raw_ones = getattr(normalisation, "old_last", {})
        last: dict[int, Any] = {}
        for index in map(int, np.flatnonzero(dones)):
            observation = infos[index]["terminal_observation"]
            if normalisation is not None:
                raw = raw_ones.get(index)
                if raw is None:
                    raw = normalisation.unnormalize_obs(observation)
                observation = self._to_keep(observation, raw)
            last[index] = observation
        return last

    def _to_keep(self, seen: Any, raw: Any) -> Any:
        """Observations as they were before normalisation; what is not normalised as the
        policy saw it, of pictures with their channels first.
        """
        normalisation: Any = self._vec_normalize_env
        if normalisation is None or not normalisation.norm_obs:
            return seen
        if isinstance(seen, dict):
            return seen | {key: raw[key] for key in normalisation.norm_obs_keys}
        return raw

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Some updates of critics and actor.

        Args:
            gradient_steps: how many updates of the critics.
            batch_size: environment steps of each minibatch.

        Raises:
            NotFinite: a loss is not a finite number.
        """
        buffer: Any = self.replay_buffer
        if not buffer.ready:
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate(self._optimizers())
        losses: dict[str, list[Tensor]] = {}
        with fast_products(self.device):
            batches = buffer.minibatches(
                gradient_steps, batch_size, self._vec_normalize_env
            )
            for self._gradient_step, batch in enumerate(batches):
                for name, loss in self._update(batch).items():
                    losses.setdefault(name, []).append(loss)
        means = {name: torch.stack(x).mean().item() for name, x in losses.items()}
        if not np.isfinite(list(means.values())).all():
            raise NotFinite
        for name, mean in means.items():
            self.logger.record(f"train/{name}", mean)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.actor.optimizer, self.critic.optimizer]

    def _update(self, batch: Sequences) -> dict[str, Tensor]:
        """One update of the critics, and when it is due, of the actor; returns what is
        logged. Nothing is learned from a minibatch without a step that happened.
        """
        if not batch.weights[self.burn_in : -1].any():
            return {}
        actor_learns = self._n_updates % self.policy_delay == 0
        with torch.set_grad_enabled(actor_learns):
            transitions = self._transitions(batch)
        if actor_learns:
            self.actor.optimizer.zero_grad()
        logged = {"critic_loss": self._critics_learn(transitions)}
        if actor_learns:
            logged["actor_loss"] = self._actor_learns(transitions)
            logged |= self._after_actor(transitions)
        self._follow(actor_learns)
        self._n_updates += 1
        return logged

    @torch.no_grad()
    def _critics_learn(self, transitions: Transitions) -> Tensor:
        """Moves the critics, and returns their loss."""
        states = transitions.states
        values, next_values = self._values_of(transitions)
        targets = self._targets(transitions, next_values)
        loss, slopes = self._critic_loss(values, targets, transitions.weights)
        critics = self._pass_of("critic", len(states))
        critics.backward(slopes)
        critics.to_parameters()
        if states.requires_grad:
            # the critics train a network for pictures, and with `critic_sees_state` the
            # actor's memory
            of_states = critics.to_inputs(0, states.shape[1])
            torch.autograd.backward(states, of_states, retain_graph=True)
        self.critic.optimizer.step()
        return loss

    @torch.no_grad()
    def _actor_learns(self, transitions: Transitions) -> Tensor:
        """Moves the actor, and returns its loss."""
        states = transitions.states
        actions = transitions.new_actions
        critics = self._pass_of("critic", len(states))
        values = critics.forward(states, actions)
        loss = self._actor_loss(values, transitions)
        critics.backward(loss.of_values)
        width = states.shape[1]
        of_actions = critics.to_inputs(width, width + actions.shape[1])
        self._passes["actor"].backward(of_actions, loss.of_log_probs, transitions.rows)
        self.actor.optimizer.step()
        return loss.value

    def _pass_of(self, name: str, rows: int) -> Any:
        """The pass through "actor", "critic" or "critic_target", for so many rows."""
        kept = self._passes.get(name)
        if kept is not None and kept.rows == rows:
            return kept
        if name == "actor":
            made = ActorPass(self.actor, self._written_out_layers(), rows)
        else:
            made = getattr(self, name).new_pass(rows)
        self._passes[name] = made
        return made

    def _transitions(self, batch: Sequences) -> Transitions:
        """The steps of a minibatch after burn-in, with the present actor's actions."""
        inputs = self._inputs(batch, self.actor)
        of_critics = [inputs.seen]
        if inputs.told is not None:
            of_critics.append(inputs.told)
        if self.policy.critic_sees_state:
            memory = memory_of(self.actor, inputs)
            # which teaches the memory what to keep: the actor's gradients alone hardly
            # do
            of_critics.append(memory)
            features = self.actor.features_of(memory)
        elif self._written_out_layers():
            features = inputs.seen.detach()
        else:
            features = features_of(self.actor, inputs)
        states = torch.cat(of_critics, dim=2)
        rows = inputs.starts.numel()
        flat_drawn, flat_log_probs = self._pass_of("actor", rows).forward(
            features.flatten(0, 1)
        )
        drawn = flat_drawn.unflatten(0, inputs.starts.shape)
        log_probs = flat_log_probs.unflatten(0, inputs.starts.shape)
        taken = slice(self.burn_in, -1)
        weights = batch.weights[taken].flatten()
        return Transitions(
            states=states[:-1].flatten(0, 1),
            actions=batch.actions[taken].flatten(0, 1),
            rewards=batch.rewards[taken].flatten(),
            dones=batch.dones[taken].flatten(),
            next_states=states[1:].detach().flatten(0, 1),
            weights=weights / weights.sum().clamp(min=1),
            new_actions=drawn[:-1].flatten(0, 1),
            new_log_probs=log_probs[:-1].flatten(),
            next_actions=drawn[1:].flatten(0, 1),
            next_log_probs=log_probs[1:].flatten(),
            rows=torch.arange(weights.numel(), device=weights.device),
        )

    def _written_out_layers(self) -> list[nn.Linear]:
        """The hidden layers of the actor whose gradients are written out. There are
        none where gradients come from the critics, too.
        """
        if self.policy.critic_sees_state:
            return []
        return self.actor.rectified_layers()

    def _inputs(self, batch: Sequences, actor: Squashed) -> Inputs:
        """What the network of an actor sees of a minibatch, after burn-in."""
        burn_in = self.burn_in
        observations, told = self.policy.split(batch.observations)
        flat = each(lambda x: x.flatten(0, 1), observations)
        features: Any = actor.extract_features(flat)
        inputs = features.unflatten(0, batch.starts.shape)
        state = actor.pair(batch.states)
        if burn_in:
            with torch.no_grad():
                _, state = actor.unroll(inputs[:burn_in], batch.starts[:burn_in], state)
        if told is not None:
            told = told[burn_in:].float()
        return Inputs(inputs[burn_in:], told, batch.starts[burn_in:], state)

    def _values_of(self, transitions: Transitions) -> tuple[Tensor, Tensor]:
        """What the critics give for the steps, and the target critics for what comes
        after them, each [critics, N, outputs].
        """
        rows = len(transitions.states)
        values = self._pass_of("critic", rows).forward(
            transitions.states, transitions.actions
        )
        next_values = self._pass_of("critic_target", rows).forward(
            transitions.next_states, transitions.next_actions
        )
        return values, next_values

    @abstractmethod
    def _targets(self, transitions: Transitions, next_values: Tensor) -> Tensor:
        """What the critics should give for the steps, [N, any number of targets]."""

    @abstractmethod
    def _critic_loss(
        self, values: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of values [critics, N, outputs] and targets [N, any], with weights [N]; and
        its gradient to the values.
        """

    @abstractmethod
    def _actor_loss(self, values: Tensor, transitions: Transitions) -> ActorLoss:
        """What the actor lowers, where the critics say [critics, N, outputs] of its
        actions.
        """

    def _after_actor(self, transitions: Transitions) -> dict[str, Tensor]:
        """What else learns with the actor; returns what is logged."""
        return {}

    def _follow(self, actor_learned: bool) -> None:
        """Moves target networks at the end of an update."""

    def _move(
        self, target: Sequence[nn.Parameter], source: Sequence[nn.Parameter]
    ) -> None:
        """Moves the parameters of a target network by `tau` towards those of
        another.
        """
        flat(target).lerp_(flat(source), self.tau)

    def _move_critics(self) -> None:
        """Moves the target critics towards the critics, after a pass through both."""
        target = self._passes["critic_target"]
        source = self._passes["critic"]
        self._move(target.parameters, source.parameters)

    def _discounted(self, transitions: Transitions, next_values: Tensor) -> Tensor:
        """R + gamma (1 - done) v, for values v [N, any]."""
        discounts = self.gamma * (1 - transitions.dones)
        return transitions.rewards[:, None] + discounts[:, None] * next_values

    def _excluded_save_params(self) -> list[str]:
        excluded = super()._excluded_save_params()
        states = ["_last_lstm_states", "_next_lstm_states"]
        return [*excluded, *states, "_steps", "_passes"]
