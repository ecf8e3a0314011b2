"""Stops a training whose numbers have stopped being numbers, and says where that began."""

from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from spikepropamine.agents.evolution import Evolution
from spikepropamine.policies.fast.ppo import NotFinite
from spikepropamine.policies.spaces import BadObservation

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
        raise Diverged(
            f"environment {bad[0] if index is None else index} gave the {where} {number:g} at step "
            f"{self.num_timesteps:,}, and training stops: mend it, or bound what it gives"
        )

    def _learner(self, what: str) -> None:
        raise Diverged(
            f"training diverged at step {self.num_timesteps:,}: {what} is not finite or too large; "
            f"{ADVICE}"
        )


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
