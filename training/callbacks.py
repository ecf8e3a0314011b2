"""What is measured, shown and checked while a policy trains."""

import time
from abc import abstractmethod
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import unwrap_vec_wrapper
from torch import Tensor

from spikepropamine.agents.evolution import Evolution
from spikepropamine.agents.helped import Taught, shown
from spikepropamine.common import progress_bar
from spikepropamine.envs.making import horizon_of
from spikepropamine.policies.fast.ppo import NotFinite
from spikepropamine.policies.policy import parameter_group
from spikepropamine.policies.spaces import BadObservation, unsound

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


class BetweenSteps(BaseCallback):
    """Has nothing to do at single steps, of which SB3 wants every callback to say something."""

    def _on_step(self) -> bool:
        return True


class Periodic(BetweenSteps):
    """Acts between an update and the next rollout, where another `every` steps are through."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def _on_training_start(self) -> None:
        self.acted_at = self.num_timesteps

    def _on_rollout_start(self) -> None:
        if self.num_timesteps // self.every > self.acted_at // self.every:
            self.acted_at = self.num_timesteps
            self.act()

    @abstractmethod
    def act(self) -> None:
        """What is done."""


class CueAccuracy(BaseCallback):
    """Logs the accuracy of the responses of a cue task, by trial and over the second half of the
    task's `trials` (of those so far, where it does not say). Trials have the task's numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trials = 1
        self.results: list[tuple[int, bool]] = []

    def _on_training_start(self) -> None:
        if self.training_env.has_attr("trials"):
            self.trials = max(self.training_env.get_attr("trials"))

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "correct" in info and "trial" in info:
                self.trials = max(self.trials, info["trial"] + 1)
                self.results.append((info["trial"], info["correct"]))
        return True

    def _on_rollout_end(self) -> None:
        late = [correct for trial, correct in self.results if trial >= self.trials // 2]
        if late:
            self.logger.record("rollout/late_accuracy", float(np.mean(late)))
        for trial in sorted({trial for trial, _ in self.results}):
            some = [correct for t, correct in self.results if t == trial]
            name = f"adaptation/accuracy/trial_{trial}"
            self.logger.record(name, float(np.mean(some)), exclude="stdout")
        self.results.clear()


class Shares(BetweenSteps):
    """Logs the shares of episodes in which a teacher acts, and of those with a cue."""

    def _on_rollout_end(self) -> None:
        taught = unwrap_vec_wrapper(self.training_env, Taught)
        if taught is not None:
            self.logger.record("rollout/teacher_acts", taught.share)
        helped = shown(self.training_env)
        if helped is not None and helped.cue is not None:
            self.logger.record("rollout/cue_shown", helped.share)


class CriticFirst(BetweenSteps):
    """Lets the critic alone learn for so many environment steps, to the end of the rollout."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.waiting: list[Any] = []

    def _on_rollout_start(self) -> None:
        for parameter in self.waiting:
            parameter.requires_grad_(True)
        self.waiting = []
        if self.num_timesteps < self.steps:
            named = self.model.policy.named_parameters()
            others = [x for name, x in named if parameter_group(name) != "critic"]
            self.waiting = [x for x in others if x.requires_grad]
            for parameter in self.waiting:
                parameter.requires_grad_(False)


class Rows(BetweenSteps):
    """Writes a row of the logs after every so many rollouts, counted from the start of the run:
    SB3's own `log_interval` counts from where a run was resumed.
    """

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def _on_rollout_end(self) -> None:
        if rollouts_of(self.model) % self.every == 0:
            dump_row(self.model)


def rollout_steps(model: Any) -> int:
    """Environment steps of a rollout; of a generation, if its episodes are as long as can be."""
    if isinstance(model, Evolution):
        return (model.population + 1) * model.n_envs * horizon_of_all(model.env, 1000)
    steps = model.train_freq.frequency if hasattr(model, "train_freq") else model.n_steps
    return steps * model.n_envs


def horizon_of_all(venv: Any, unknown: int) -> int:
    """Steps of the longest episode that there can be; `unknown` where there is no limit."""
    return max(horizon_of(env) or 0 for env in venv.unwrapped.envs) or unknown


def rollouts_of(model: Any) -> int:
    """Rollouts since the start of the run; of evolution, generations."""
    if isinstance(model, Evolution):
        return model.search.generations
    return model.num_timesteps // rollout_steps(model)


def dump_row(model: Any) -> None:
    """Writes a row of the logs now."""
    model.dump_logs(rollouts_of(model))


def rows_every(given: int | None, steps: int, rollout: int) -> int:
    """Rollouts between rows: as given, or 10, or in short runs so few that there are 20 rows."""
    return given or min(10, max(1, steps // rollout // 20))


class Progress(BaseCallback):
    """A progress bar with the rate, the time left, and the latest return.

    It says what it waits for before the first step and before the first update is through: kernels
    are compiled then. The rate and the time left count from there.
    """

    def __init__(self, total: int) -> None:
        super().__init__()
        self.total = total
        self.bar: Any = None

    def _on_training_start(self) -> None:
        self.bar = progress_bar(self.total, "steps", initial=self.num_timesteps, unit_scale=True)
        self.updated = False
        self._wait_for("first step")

    def _on_step(self) -> bool:
        if self.bar.n == self.bar.initial and self.waits:
            self._count_from_here()
        self.bar.update(self.num_timesteps - self.bar.n)
        return True

    def _on_rollout_start(self) -> None:
        if self.waits and self.updated:
            self._count_from_here()

    def _wait_for(self, what: str) -> None:
        self.waits = True
        self.bar.set_description(f"waiting for the {what} (kernels are compiled)")

    def _count_from_here(self) -> None:
        self.waits = False
        self.bar.set_description("", refresh=False)
        self.bar.initial = self.bar.n
        self.bar.start_t = self.bar.last_print_t = time.time()  # the clock of tqdm

    def _on_rollout_end(self) -> None:
        if not self.updated:
            self.updated = True
            self._wait_for("first update")
        if self.model.ep_info_buffer:
            mean = np.mean([episode["r"] for episode in self.model.ep_info_buffer])
            self.bar.set_postfix_str(f"return {mean:.1f}", refresh=False)

    def close(self) -> None:
        """Ends the bar, so that what is printed next has a line of its own."""
        if self.bar is not None:
            self.bar.close()


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
        if bad := unsound(rewards, LIMIT):
            self._environment("reward", *bad[1:])
        plain: dict[int, Any] = getattr(self.normalisation, "old_last", {})  # SB3's own has none
        for index in np.flatnonzero(self.locals["dones"]):
            normalised = self.locals["infos"][index].get("terminal_observation")
            final = plain.get(int(index), normalised)
            if final is not None and (bad := unsound(final, LIMIT)):
                self._environment(bad[0], (int(index), *bad[1]), bad[2])
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
        if observations is not None and (bad := unsound(observations, LIMIT)):
            self._environment(*bad)

    def _environment(self, what: str, place: tuple[int, ...], number: float) -> None:
        index, *inner = place
        where = f"{what}[{', '.join(map(str, inner))}]" if inner else what
        gave = f"environment {index} gave the {where} {number:g}"
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
