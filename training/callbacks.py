"""What is measured, shown and checked while a policy trains.

What SB3's logger gets besides its own rollout/, train/ and time/. Names begin with their section,
and those of a layer end in /layerN, counted from 0:

    spikes/firing_rate/layerN        spikes per neuron and tick
    spikes/silent/layerN             share of neurons without a spike in a whole rollout
    spikes/saturated/layerN          share of neurons that fire in 9 ticks of 10 or more
    plasticity/fast_weight_norm/     root mean square of F over synapses
    plasticity/clipped/              share of fast weights that are at their bound
    plasticity/modulator_mean/, modulator_spread/   of the neuromodulator, over neurons and ticks
    plasticity/eta/, pre_decay/, post_decay/, threshold_decay/, alpha_mean/, alpha_std/   learned,
                                     and the rule's own coefficients by their names
    adaptation/drift/layerN          |alpha F| / |W|: how far the effective weights W + alpha F have
                                     moved from those at the start of the episode, where F is 0;
                                     not a number where W is 0
    adaptation/accuracy/trial_N      cue tasks: share of right responses in trial N of an episode
    evolution/centre, mean, best     returns of a generation's centre, members, and best member
    evolution/spread                 mean over parameters of the population's standard deviation
    system/steps_per_second          environment steps, since the row before
"""

import math
import sys
import time
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import unwrap_vec_wrapper
from torch import Tensor
from tqdm import tqdm

from spikepropamine.agents.evolution import Evolution
from spikepropamine.agents.helped import Taught, shown
from spikepropamine.common import UsageError, progress_bar
from spikepropamine.envs.making import horizon_of
from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.policies.fast.ppo import NotFinite
from spikepropamine.policies.layers import SpikingLayer
from spikepropamine.policies.off_policy import actor_of
from spikepropamine.policies.policy import parameter_group
from spikepropamine.policies.rules import RULES
from spikepropamine.policies.spaces import BadObservation, each, unsound

LIMIT = 1e15
"""Beyond this size a number has exploded: its square is out of reach of float32's precision, and
soon out of its range."""
SATURATED = 0.9  # share of ticks from which on a neuron counts as saturated
LOOKS = 8  # how often the fast weights are looked at in a rollout
ADVICE = "try a smaller trainer.learning_rate or trainer.sequence_length"


class BetweenSteps(BaseCallback):
    """Has nothing to do at single steps, of which SB3 wants every callback to say something."""

    def _on_step(self) -> bool:
        return True


class Periodic(BetweenSteps):
    """Acts between an update and the next rollout, where another `every` steps are through, and
    after the last update.
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

    def _on_training_start(self) -> None:
        named = self.model.policy.named_parameters()
        others = [x for name, x in named if parameter_group(name) != "critic"]
        self.others = [x for x in others if x.requires_grad]

    def _on_rollout_start(self) -> None:
        learn = self.num_timesteps >= self.steps
        for parameter in self.others:
            parameter.requires_grad_(learn)
        self.others = [] if learn else self.others


def rollout_steps(model: Any) -> int:
    """Environment steps of a rollout; of a generation, if its episodes are as long as can be."""
    if isinstance(model, Evolution):
        return (model.population + 1) * model.n_envs * horizon_of_all(model.env, 1000)
    steps = (
        model.train_freq.frequency if hasattr(model, "train_freq") else model.n_steps
    )
    return steps * model.n_envs


def horizon_of_all(venv: Any, unknown: int) -> int:
    """Steps of the longest episode that there can be; `unknown` where there is no limit."""
    return max(horizon_of(env) or 0 for env in venv.unwrapped.envs) or unknown


def rollouts_of(model: Any) -> int:
    """Rollouts since the start of the run; of evolution, generations."""
    if isinstance(model, Evolution):
        return model.search.generations
    return model.num_timesteps // rollout_steps(model)


def rows_every(given: int | None, steps: int, rollout: int) -> int:
    """Rollouts between rows: as given, or 10, or in short runs so few that there are 20 rows."""
    return given or min(10, max(1, steps // rollout // 20))


class Progress(BaseCallback):
    """A progress bar with the rate, the time left, and the latest return.

    It says what it waits for before the first step and before the first update is through: the
    kernels of a spiking network are compiled then. The rate and the time left count from there.
    """

    def __init__(self, total: int) -> None:
        super().__init__()
        self.total = total
        self.bar: Any = None
        self.waits_for = ["first update", "first step"]

    def _on_training_start(self) -> None:
        self.bar = progress_bar(
            self.total, "steps", initial=self.num_timesteps, unit_scale=True
        )
        self._wait()

    def _wait(self) -> None:
        if self.waits_for:
            spiking = isinstance(actor_of(self.model.policy), PlasticSpikingPolicy)
            why = " (kernels are compiled)" * spiking
            self.bar.set_description(f"waiting for the {self.waits_for.pop()}{why}")

    def _on_step(self) -> bool:
        if self.bar.desc:  # what it waited for is through
            self.bar.set_description("", refresh=False)
            self.bar.initial = self.bar.n
            self.bar.start_t = self.bar.last_print_t = time.time()  # the clock of tqdm
        self.bar.update(self.num_timesteps - self.bar.n)
        return True

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


class Diagnostics(BetweenSteps):
    """Writes a row of the logs, the diagnostics in it, after `every` rollouts, counted from the
    start of the run: SB3's own `log_interval` counts from where one was resumed. Then the rollout
    is replayed through the network, since spikes and neuromodulator are not kept when it is made.
    A line warns once of a silent layer, and of fast weights most of which are at their bound.
    """

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every
        self.warned: set[str] = set()

    def _on_training_start(self) -> None:
        self.clock, self.steps = time.perf_counter(), self.num_timesteps
        self.row_at = self.num_timesteps

    def _on_rollout_start(self) -> None:
        self.policy = actor_of(self.model.policy)
        self.spiking = isinstance(self.policy, PlasticSpikingPolicy)
        if self.spiking:
            self.state = self.model._last_lstm_states.pi[0][0].clone()  # type: ignore[attr-defined]

    def _on_rollout_end(self) -> None:
        model: Any = self.model
        last = self.num_timesteps >= self.locals["total_timesteps"]
        due = rollouts_of(model) % self.every == 0
        if due or last:
            found: dict[str, float] = {}
            if self.spiking:
                buffer = model.rollout_buffer
                starts = torch.as_tensor(buffer.episode_starts, device=model.device)
                found = replayed(self.policy, buffer.observations, starts, self.state)
                self._warn(found)
                found |= learned_parameters(self.policy.network.layers)
            now = time.perf_counter()
            rate = (self.num_timesteps - self.steps) / (now - self.clock)
            self.clock, self.steps = now, self.num_timesteps
            for name, value in (found | {"system/steps_per_second": rate}).items():
                self.logger.record(name, value, exclude="stdout")
        if due and not last:  # the last row waits for the last update
            self._row()

    def _on_training_end(self) -> None:
        if self.num_timesteps > self.row_at:
            self._row()

    def _row(self) -> None:
        model: Any = self.model
        model.dump_logs(rollouts_of(model))
        self.row_at = self.num_timesteps

    def _warn(self, found: dict[str, float]) -> None:
        for name, value in found.items():
            kind, _, layer = name.rpartition("/")
            layer = layer.replace("layer", "layer ")
            line: str | None = None
            if kind == "spikes/silent" and value == 1.0:
                line = f"{layer} is silent: raise network.gain or network.input_gain"
            if kind == "plasticity/clipped" and value > 0.9:
                bound = f"{value:.0%} of the fast weights of {layer} are at their bound"
                line = f"{bound}: lower network.eta or raise network.clip"
            if line is not None and kind not in self.warned:
                self.warned.add(kind)
                tqdm.write(
                    f"warning, at step {self.num_timesteps:,}: {line}", file=sys.stderr
                )


@torch.no_grad()
def replayed(
    policy: PlasticSpikingPolicy, observations: Any, starts: Tensor, state: Tensor
) -> dict[str, float]:
    """Activity and fast weights of a rollout, by running its observations [T, B, *shape], or a dict
    of such, through the network of the policy as it was. Starts are [T, B], 1 where an episode
    starts; the state before the first step is flat, [B, D].
    """
    steps, batch = starts.shape
    network: Any = policy.network
    flat = each(lambda x: x.reshape(steps * batch, *x.shape[2:]), observations)
    features: Any = policy.extract_features(obs_as_tensor(flat, policy.device))
    fields = network.layout.unpack(state)
    pieces, looks = [], []
    length = -(-steps // LOOKS)
    parts = features.view(steps, batch, -1).split(length)
    for part, part_starts in zip(parts, starts.split(length)):
        _, outputs, fields = network.run(part, part_starts, fields)
        pieces.append(outputs)
        looks.append(fields)
    values: dict[str, float] = {}
    for index, layer in enumerate(network.layers):
        spikes = torch.cat([outputs[index].spikes for outputs in pieces])
        measured = activity(spikes) if layer.spec.units == "spiking" else {}
        if layer.spec.plastic:
            fast = torch.stack([look[f"layer{index}.fast_weights"] for look in looks])
            measured |= fast_weights(layer, fast)
        if layer.spec.modulation != "none":
            modulator = torch.cat([outputs[index].rate for outputs in pieces])
            measured["plasticity/modulator_mean"] = modulator.mean().item()
            measured["plasticity/modulator_spread"] = modulator.std(correction=0).item()
        values |= {f"{name}/layer{index}": value for name, value in measured.items()}
    return values


def activity(spikes: Tensor) -> dict[str, float]:
    """Firing rate, and shares of silent and of saturated neurons, of spikes [T, B, neurons]."""
    rates = spikes.mean(dim=(0, 1))
    return {
        "spikes/firing_rate": rates.mean().item(),
        "spikes/silent": (rates == 0).float().mean().item(),
        "spikes/saturated": (rates >= SATURATED).float().mean().item(),
    }


def fast_weights(layer: SpikingLayer, fast: Tensor) -> dict[str, float]:
    """Norm, share at the bound, and drift, of fast weights [..., neurons, inputs]."""
    parameters = layer.parameters_in_use()
    fixed = parameters.recurrent_weight if layer.spec.recurrent else parameters.weight
    size = torch.linalg.matrix_norm(fixed).item()
    moved = torch.linalg.matrix_norm(parameters.plasticity_gain * fast).mean().item()
    return {
        "plasticity/fast_weight_norm": fast.square()
        .mean(dim=(-2, -1))
        .sqrt()
        .mean()
        .item(),
        "plasticity/clipped": (fast.abs() >= layer.spec.clip).float().mean().item(),
        "adaptation/drift": moved / size if size else math.nan,
    }


@torch.no_grad()
def learned_parameters(layers: Any) -> dict[str, float]:
    """The trainable parameters of each plastic layer's rule, in the units of the equations."""
    values: dict[str, float] = {}
    for index, layer in ((i, x) for i, x in enumerate(layers) if x.spec.plastic):
        parameters = layer.parameters_in_use()
        alpha = parameters.plasticity_gain
        measured = {"alpha_mean": alpha.mean(), "alpha_std": alpha.std(correction=0)}
        scalars = ("eta", "pre_decay", "post_decay", "threshold_decay")
        measured |= {name: getattr(parameters, name) for name in scalars}
        if parameters.coefficients is not None:
            measured |= zip(
                RULES[layer.spec.rule].coefficients, parameters.coefficients
            )
        if parameters.synaptic is not None:
            measured |= zip(
                RULES[layer.spec.rule].synaptic, parameters.synaptic.mean(dim=(1, 2))
            )
        known = {name: x.item() for name, x in measured.items() if x is not None}
        values |= {f"plasticity/{name}/layer{index}": x for name, x in known.items()}
    return values


class Diverged(UsageError):
    """Training met or produced numbers that are not finite, explained in one line."""

    code = 1


class Guard(BaseCallback):
    """Raises `Diverged` at the first number that is not finite or larger than `LIMIT`.

    What environments give is looked at at every step, before normalisation; losses and parameters
    in and after updates, before anything of them is saved.
    """

    def _on_training_start(self) -> None:
        self.normalisation = self.model.get_vec_normalize_env()

    def check_parameters(self) -> None:
        """Raises `Diverged` if a parameter is unsound."""
        for name, parameter in self.model.policy.named_parameters():
            if not bool((parameter.detach().abs() <= LIMIT).all()):  # false of NaN
                self._learner(f"the parameter {name}")

    def _on_training_end(self) -> None:
        self.check_parameters()

    def _on_rollout_start(self) -> None:
        self.check_parameters()
        self._check_observations(self._raw_observations())

    def _on_step(self) -> bool:
        self._check_observations(self._raw_observations())
        rewards, evolves = self.locals["rewards"], isinstance(self.model, Evolution)
        if self.normalisation is not None and not evolves:
            rewards = self.normalisation.old_reward
        if bad := unsound(rewards, LIMIT):
            self._environment("reward", *bad[1:])
        plain: dict[int, Any] = getattr(
            self.normalisation, "old_last", {}
        )  # SB3's own has none
        for index in () if evolves else np.flatnonzero(self.locals["dones"]):
            final = plain.get(
                int(index), self.locals["infos"][index].get("terminal_observation")
            )
            if final is not None and (bad := unsound(final, LIMIT)):
                self._environment(bad[0], (int(index), *bad[1]), bad[2])
        return True

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
        raise Diverged(
            f"training diverged at step {self.num_timesteps:,}: {bad}; {ADVICE}"
        )
