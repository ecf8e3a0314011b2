"""What goes wrong while a policy trains: numbers that are none any more stop it; of what will come
to nothing though every number is sound, a line warns once.
"""

import sys
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor
from tqdm import tqdm

from spikepropamine.agents.evolution import Evolution
from spikepropamine.policies.fast.ppo import NotFinite
from spikepropamine.policies.groups import parameter_group
from spikepropamine.policies.spaces import BadObservation
from spikepropamine.training.callbacks import BetweenSteps

LIMIT = 1e15
"""Beyond this size a number has exploded: its square is out of reach of float32's precision, and
soon out of its range."""

READ = {
    "values": "a value of the critic",
    "log_probs": "a log-likelihood",
    "means": "the output of the policy",
}
"""What is looked at after a rollout, where its buffer has it."""

ADVICE = "try a smaller trainer.learning_rate or trainer.sequence_length"
STILL = 1e-8
"""Relative change of an actor's parameters in an update from which on it does not move."""
STEERED = 0.005
"""Share of the actions' variance that has to come from the states, in the second half of training;
the rest is exploration."""


class Diverged(Exception):
    """Training met or produced numbers that are not finite, explained in one line."""


class Guard(BaseCallback):
    """Raises `Diverged` at the first number that is not finite or larger than `LIMIT`.

    What environments give is looked at at every step, before normalisation; state, values and
    likelihoods after every rollout; losses and parameters after the updates with it, before
    anything of them is saved.
    """

    def _on_training_start(self) -> None:
        self.normalisation = self.model.get_vec_normalize_env()

    def check_parameters(self) -> None:
        """Raises `Diverged` if a parameter is unsound."""
        for name, parameter in self.model.policy.named_parameters():
            if not _sound(parameter.detach()):
                self._learner(f"the parameter {name}")

    def _on_rollout_start(self) -> None:
        self.check_parameters()
        self._check_observations(self._raw_observations())

    def _on_step(self) -> bool:
        self._check_observations(self._raw_observations())
        rewards = self.locals["rewards"]
        if self.normalisation is not None and not isinstance(self.model, Evolution):
            rewards = self.normalisation.old_reward
        if not _sound(rewards):
            self._environment("reward", rewards)
        plain: dict[int, Any] = getattr(self.normalisation, "old_last", {})  # SB3's own has none
        for index in np.flatnonzero(self.locals["dones"]):
            normalised = self.locals["infos"][index].get("terminal_observation")
            final = plain.get(int(index), normalised)
            for name, array in _arrays(final):
                if not _sound(array):
                    self._environment(name, array[None], int(index))
        return True

    def _on_rollout_end(self) -> None:
        states = getattr(self.model, "_last_lstm_states", None)
        if states is not None and not all(_sound(x) for pair in states for x in pair):
            self._learner("the state of the network")
        buffer: Any = self.model.rollout_buffer  # type: ignore[attr-defined]
        for name, what in READ.items():
            if hasattr(buffer, name) and not _sound(getattr(buffer, name)):
                self._learner(what)

    def explain(self, error: ValueError) -> None:
        """PyTorch's distributions refuse what is no number: raises `Diverged` if it was that."""
        if "constraint" in str(error) or "invalid values" in str(error):
            self.check_parameters()
            self._learner("the output of the policy")
        if isinstance(error, BadObservation):
            raise Diverged(f"at step {self.num_timesteps:,}: {error}") from error
        if isinstance(error, NotFinite):
            self.check_parameters()
            self._learner("the loss")

    def _raw_observations(self) -> Any:
        if self.normalisation is not None:
            return self.normalisation.old_obs  # `get_original_obs` makes a deep copy
        return self.locals.get("new_obs", self.model._last_obs)  # type: ignore[attr-defined]

    def _check_observations(self, observations: Any) -> None:
        for name, array in _arrays(observations):
            if not _sound(array):
                self._environment(name, array)

    def _environment(self, what: str, array: np.ndarray, index: int | None = None) -> None:
        bad = np.argwhere(~(np.abs(array) <= LIMIT))[0]
        number, place = array[tuple(bad)], ", ".join(str(i) for i in bad[1:])
        where = f"{what}[{place}]" if place else what
        gave = f"environment {bad[0] if index is None else index} gave the {where} {number:g}"
        advice = "and training stops: mend it, or bound what it gives"
        raise Diverged(f"{gave} at step {self.num_timesteps:,}, {advice}")

    def _learner(self, what: str) -> None:
        bad = f"{what} is not finite or too large"
        raise Diverged(f"training diverged at step {self.num_timesteps:,}: {bad}; {ADVICE}")


def _sound(x: Any) -> bool:
    """Whether all numbers of an array or a tensor are finite and not beyond `LIMIT`."""
    if isinstance(x, Tensor):
        return not x.numel() or bool((x.abs() <= LIMIT).all())
    return bool(x.max(initial=0) <= LIMIT and x.min(initial=0) >= -LIMIT)  # false of NaN


def _arrays(observations: Any) -> list[tuple[str, np.ndarray]]:
    """Names and arrays of floating-point numbers in observations."""
    if observations is None:
        return []
    named = observations.items() if isinstance(observations, dict) else [("", observations)]
    return [
        (f"observation {key!r}" if key else "observation", np.asarray(x))
        for key, x in named
        if np.asarray(x).dtype.kind == "f"
    ]


class Health(BetweenSteps):
    """Reports a silent layer, saturated fast weights, a policy that updates leave where it is, and
    one that acts alike in all states. What it goes by is logged: `spikes/silent` and
    `plasticity/clipped` (see `training.diagnostics`, whose callback comes before this one), and

        learning/policy_change    |change of the actor's parameters in an update| / |parameters|
        learning/steered          share of the actions' variance that comes from the states, or
                                  where actions are discrete, of actions that are not the commonest
    """

    def __init__(self, total: int) -> None:
        super().__init__()
        self.total = total
        self.said: set[str] = set()
        self.before: Tensor | None = None

    def _on_rollout_end(self) -> None:
        found = self.logger.name_to_value
        for name, value in found.items():
            layer = name.rsplit("/", 1)[-1].replace("layer", "layer ")
            if name.startswith("spikes/silent/") and value == 1.0:
                self._say("silent", f"{layer} is silent: raise network.gain or network.input_gain")
            if name.startswith("plasticity/clipped/") and value > 0.9:
                bound = f"{value:.0%} of the fast weights of {layer} are at their bound"
                self._say("saturated", f"{bound}: lower network.eta or raise network.clip")
        steered = self._steered()
        self.logger.record("learning/steered", steered, exclude="stdout")
        if steered < STEERED and 2 * self.num_timesteps > self.total:
            self._say("steered", "the policy does not move: it acts alike in all states")
        model: Any = self.model
        self.before, self.updates = self._actor(), model._n_updates

    def _on_rollout_start(self) -> None:
        model: Any = self.model
        if self.before is None or model._n_updates == self.updates:
            return  # off-policy, random actions come first
        change = (self._actor() - self.before).norm() / self.before.norm()
        self.logger.record("learning/policy_change", change.item(), exclude="stdout")
        if change < STILL:
            still = "the policy does not move: updates leave it as it is; is there a reward?"
            self._say("still", still)

    def _actor(self) -> Tensor:
        """All parameters of the actor, in one vector."""
        named = self.model.policy.named_parameters()
        return torch.cat([p.detach().flatten() for n, p in named if parameter_group(n) != "critic"])

    def _steered(self) -> float:
        buffer: Any = self.model.rollout_buffer  # type: ignore[attr-defined]
        actions = np.asarray(buffer.actions)
        actions = actions.reshape(-1, actions.shape[-1])
        policy: Any = self.model.policy
        if hasattr(buffer, "means"):  # off-policy, where the noise depends on the state
            variance = buffer.means.reshape(actions.shape).var(axis=0)
            return float(np.clip(variance / np.maximum(actions.var(axis=0), 1e-12), 0, 1).mean())
        if isinstance(self.model.action_space, spaces.Box):
            noise = np.exp(2 * policy.log_std.detach().cpu().numpy().ravel())
            return float(np.clip(1 - noise / actions.var(axis=0), 0, 1).mean())
        counts = np.unique(actions, axis=0, return_counts=True)[1]
        return float(1 - counts.max() / counts.sum())

    def _say(self, kind: str, line: str) -> None:
        if kind not in self.said:
            self.said.add(kind)
            tqdm.write(f"warning, at step {self.num_timesteps:,}: {line}", file=sys.stderr)
