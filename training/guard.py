"""`Guard`: ends a training at the first number that is not finite or has exploded."""

from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from spikepropamine.common import UsageError
from spikepropamine.policies.fast.ppo import NotFinite
from spikepropamine.policies.spaces import LARGEST_NUMBER, BadObservation, unsound

LIMIT = float(LARGEST_NUMBER)
"""What rewards, losses and parameters may be, as observations."""


class Diverged(UsageError):
    """Training met or produced numbers that are not finite, explained in one line."""

    code = 1


class Guard(BaseCallback):
    """Raises `Diverged` at the first number that is not finite or larger than `LIMIT`.

    What environments give is looked at at every step, before normalisation; losses and
    parameters in and after updates, before anything of them is saved.
    """

    def _on_training_start(self) -> None:
        self.normalisation = self.model.get_vec_normalize_env()

    def check_parameters(self) -> None:
        """Raises `Diverged` if a parameter is unsound."""
        for name, parameter in self.model.policy.named_parameters():
            is_sound = bool((parameter.detach().abs() <= LIMIT).all())  # false of NaN
            if not is_sound:
                self._blame_learner(f"the parameter {name}")

    def _on_training_end(self) -> None:
        self.check_parameters()

    def _on_rollout_start(self) -> None:
        self.check_parameters()
        self._check_observations(self._raw_observations())

    def _on_step(self) -> bool:
        self._check_observations(self._raw_observations())
        if self.normalisation is not None:
            self._check_rewards(self.normalisation.old_reward)
        self._check_rewards(self.locals["rewards"])
        self._check_last_observations()
        return True

    def _check_rewards(self, rewards: np.ndarray) -> None:
        bad = unsound(rewards, LIMIT)
        if bad is not None:
            _, place, number = bad
            self._blame_environment("reward", place, number)

    def _check_last_observations(self) -> None:
        """Checks the last observations of the episodes that have ended."""
        # SB3's VecNormalize keeps none as they were
        raw: dict[int, Any] = getattr(self.normalisation, "old_last", {})
        infos = self.locals["infos"]
        for index in map(int, np.flatnonzero(self.locals["dones"])):
            if index >= len(infos):  # of evolution, which tells the centre's alone
                continue
            last = raw.get(index, infos[index].get("terminal_observation"))
            if last is None:
                continue
            bad = unsound(last, LIMIT)
            if bad is not None:
                what, place, number = bad
                self._blame_environment(what, (index, *place), number)

    def explain(self, error: ValueError) -> None:
        """Raises `Diverged` if numbers that are not finite were the reason of an error,
        as where PyTorch's distributions refuse them.
        """
        if "constraint" in str(error) or "invalid values" in str(error):
            self.check_parameters()
            self._blame_learner("the output of the policy")
        if isinstance(error, BadObservation):
            raise Diverged(f"at step {self.num_timesteps:,}: {error}") from error
        if isinstance(error, NotFinite):
            self.check_parameters()
            self._blame_learner("the loss")

    def _raw_observations(self) -> Any:
        if self.normalisation is not None:
            return self.normalisation.old_obs  # `get_original_obs` makes a deep copy
        model: Any = self.model
        return self.locals.get("new_obs", model._last_obs)

    def _check_observations(self, observations: Any) -> None:
        """Stops training where an observation is not finite, or too large."""
        if observations is None:
            return
        bad = unsound(observations, LIMIT)
        if bad is not None:
            self._blame_environment(*bad)

    def _blame_environment(
        self, what: str, place: tuple[int, ...], number: float
    ) -> None:
        """Raises Diverged: an environment gave a number that is not sound."""
        index, *inner = place
        where = f"{what}[{', '.join(map(str, inner))}]" if inner else what
        raise Diverged(
            f"environment {index} gave the {where} {number:g} at step "
            f"{self.num_timesteps:,}, and training stops: mend it, or bound what it "
            "gives"
        )

    def _blame_learner(self, what: str) -> None:
        """Raises Diverged: the algorithm made a number that is not sound."""
        raise Diverged(
            f"training diverged at step {self.num_timesteps:,}: {what} is not finite "
            "or too large; try a smaller trainer.learning_rate or "
            "trainer.sequence_length"
        )
