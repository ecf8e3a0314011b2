"""What happens while a policy trains, besides what is measured and checked: the
callbacks of Stable-Baselines3 that are small.
"""

import time
from abc import abstractmethod
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_wrapper

from spikepropamine.agents.cue import shown
from spikepropamine.agents.teacher import Taught
from spikepropamine.common import progress_bar
from spikepropamine.envs.making import horizon_of
from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.policies.critics import actor_of
from spikepropamine.policies.parameter_groups import parameter_group
from spikepropamine.training.simulated import Simulated

ROWS = 20
"""Of the logs of a short run."""


class BetweenSteps(BaseCallback):
    """Has nothing to do at single steps, of which SB3 wants every callback to say
    something.
    """

    def _on_step(self) -> bool:
        return True


class Periodic(BetweenSteps):
    """Acts between an update and the next rollout, where another `every` steps are
    through, and after the last update.
    """

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    def _on_training_start(self) -> None:
        self.acted_at = self.num_timesteps

    def _on_rollout_start(self) -> None:
        if self.num_timesteps // self.every > self.acted_at // self.every:
            self.acted_at = self.num_timesteps
            self.act()

    def _on_training_end(self) -> None:
        if self.num_timesteps > self.acted_at:
            self.act()

    @abstractmethod
    def act(self) -> None:
        """What is done."""


class CueAccuracy(BaseCallback):
    """Logs the accuracy of the responses of a cue task, by trial and over the second
    half of the task's `trials` (of those so far, where it does not say). Trials have
    the task's numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trials = 1
        self.results: list[tuple[int, bool]] = []
        """Trials, and whether the response was right."""

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
        late = [right for trial, right in self.results if trial >= self.trials // 2]
        if late:
            self.logger.record("rollout/late_accuracy", float(np.mean(late)))
        by_trial: dict[int, list[bool]] = {}
        for trial, right in self.results:
            by_trial.setdefault(trial, []).append(right)
        for trial in sorted(by_trial):
            name = f"adaptation/accuracy/trial_{trial}"
            accuracy = float(np.mean(by_trial[trial]))
            self.logger.record(name, accuracy, exclude="stdout")
        self.results.clear()


class Shares(BetweenSteps):
    """Logs the shares of episodes in which a teacher acts, and of those with a cue."""

    def _on_rollout_end(self) -> None:
        taught = unwrap_vec_wrapper(self.training_env, Taught)
        if taught is not None:
            self.logger.record("rollout/teacher_acts", taught.share)
        wrapper = shown(self.training_env)
        if wrapper is not None and wrapper.cue is not None:
            self.logger.record("rollout/cue_shown", wrapper.share)


class CriticFirst(BetweenSteps):
    """Lets the critic alone learn for so many environment steps, to the end of the
    rollout.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def _on_training_start(self) -> None:
        self.waiting = [
            parameter
            for name, parameter in self.model.policy.named_parameters()
            if parameter_group(name) != "critic" and parameter.requires_grad
        ]

    def _on_rollout_start(self) -> None:
        all_learn = self.num_timesteps >= self.steps
        for parameter in self.waiting:
            parameter.requires_grad_(all_learn)
        if all_learn:
            self.waiting = []


def longest_episode(venv: VecEnv, unknown: int = 1000) -> int:
    """Steps of the longest episode that there can be.

    Args:
        venv: environments, stepped in one call or one by one.
        unknown: what is returned where there is no limit.
    """
    envs = venv.unwrapped
    if isinstance(envs, Simulated):
        limits = envs.horizons()
    else:
        limits = [horizon_of(env) for env in envs.envs]  # type: ignore[attr-defined]
    return max(limit or 0 for limit in limits) or unknown


def rows_every(given: int | None, steps: int, rollout: int) -> int:
    """Rollouts between rows of the logs: as given, or 10, or in short runs so few that
    there are 20 rows.

    Args:
        given: setting of the training.
        steps: environment steps of the training.
        rollout: environment steps of a rollout.
    """
    rollouts = steps // rollout
    return given or min(10, max(1, rollouts // ROWS))


class Progress(BaseCallback):
    """A progress bar with the rate, the time left, and the latest return.

    It says what it waits for before the first step and before the first update is
    through: the kernels of a spiking network are compiled then. The rate and the time
    left count from there.

    Args:
        total: environment steps of the training.
        shown: whether there is a bar at all.
    """

    def __init__(self, total: int, shown: bool = True) -> None:
        super().__init__()
        self.total = total
        self.shown = shown
        self.bar: Any = None
        self.waits_for = ["first update", "first step"]
        self.is_waiting = False

    def _on_training_start(self) -> None:
        self.bar = progress_bar(
            self.total,
            "steps",
            initial=self.num_timesteps,
            unit_scale=True,
            disable=not self.shown,
        )
        self._wait()

    def _wait(self) -> None:
        if self.waits_for:
            line = f"waiting for the {self.waits_for.pop()}"
            if isinstance(actor_of(self.model.policy), PlasticSpikingPolicy):
                line += " (kernels are compiled)"
            self.bar.set_description(line)
            self.is_waiting = True

    def _on_step(self) -> bool:
        if self.is_waiting:
            self._start_the_clock()
        self.bar.update(self.num_timesteps - self.bar.n)
        return True

    def _start_the_clock(self) -> None:
        """Ends the waiting: the rate and the time left count from here."""
        self.is_waiting = False
        self.bar.set_description("", refresh=False)
        # where tqdm counts from
        self.bar.initial = self.bar.n
        self.bar.start_t = time.time()
        self.bar.last_print_t = self.bar.start_t

    def _on_rollout_end(self) -> None:
        self._wait()
        if self.model.ep_info_buffer:
            mean = np.mean([episode["r"] for episode in self.model.ep_info_buffer])
            self.bar.set_postfix_str(f"return {mean:.1f}", refresh=False)

    def close(self) -> None:
        """Ends the bar, so that what is printed next has a line of its own."""
        if self.bar is not None:
            self.bar.set_description("", refresh=False)
            self.bar.close()
