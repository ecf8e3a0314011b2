"""What is particular to plastic spiking actors, measured while they train, for SB3's logger.

Names begin with their section: learning/, spikes/, plasticity/, adaptation/, evolution/ or system/
(SB3's own rollout/, train/ and time/ stay as they are). Those of a layer end in /layerN, counted
from 0:

    learning/gradient_norm/GROUP     before clipping, of an update's minibatches (root mean square);
                                     groups are those of `parameter_group`
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
from functools import partial
from typing import Any

import torch
from stable_baselines3.common.utils import obs_as_tensor
from torch import Tensor, nn
from tqdm import tqdm

from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.policies.layers import SpikingLayer
from spikepropamine.policies.off_policy import actor_of
from spikepropamine.policies.policy import parameter_group
from spikepropamine.policies.rules import RULES
from spikepropamine.policies.spaces import each
from spikepropamine.training.callbacks import BetweenSteps, rollouts_of

SATURATED = 0.9  # share of ticks from which on a neuron counts as saturated
LOOKS = 8  # how often the fast weights are looked at in a rollout


class Diagnostics(BetweenSteps):
    """Records the diagnostics with every row of the logs, after `every` rollouts. Then the rollout
    is replayed through the network, since spikes and neuromodulator are not kept when it is made.
    A line warns once of a silent layer, and of fast weights most of which are at their bound.
    """

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every
        self.warned: set[str] = set()

    def _on_training_start(self) -> None:
        self.gradients = GradientNorms(self.model.policy)
        self.clock, self.steps = time.perf_counter(), self.num_timesteps

    def _on_rollout_start(self) -> None:
        self._record(self.gradients.stop())
        self.policy = actor_of(self.model.policy)
        self.spiking = isinstance(self.policy, PlasticSpikingPolicy)
        if self.spiking:
            self.state = self.model._last_lstm_states.pi[0][0].clone()  # type: ignore[attr-defined]

    def _on_rollout_end(self) -> None:
        rollouts = rollouts_of(self.model)
        last = self.num_timesteps >= self.locals["total_timesteps"]
        if last or rollouts % self.every == 0:
            if self.spiking:
                buffer: Any = self.model.rollout_buffer  # type: ignore[attr-defined]
                starts = torch.as_tensor(buffer.episode_starts, device=self.model.device)
                found = replayed(self.policy, buffer.observations, starts, self.state)
                self._record(found)
                self._warn(found)
                self._record(learned_parameters(self.policy.network.layers))
            now = time.perf_counter()
            rate = (self.num_timesteps - self.steps) / (now - self.clock)
            self.clock, self.steps = now, self.num_timesteps
            self._record({"system/steps_per_second": rate})
        if last or (rollouts + 1) % self.every == 0:  # the update that the next row tells of
            self.gradients.start()

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
                tqdm.write(f"warning, at step {self.num_timesteps:,}: {line}", file=sys.stderr)

    def _on_training_end(self) -> None:
        self._record(self.gradients.stop())

    def _record(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.logger.record(name, value, exclude="stdout")


@torch.no_grad()
def replayed(
    policy: PlasticSpikingPolicy, observations: Any, starts: Tensor, state: Tensor
) -> dict[str, float]:
    """Activity and fast weights of a rollout, by running its observations through the network.

    Args:
        policy: as it was in the rollout.
        observations: [T, B, *shape], or a dict of such.
        starts: [T, B], 1 where an episode starts.
        state: [B, D], flat, before the first step.
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
        measured = activity(spikes)
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
        "plasticity/fast_weight_norm": fast.square().mean(dim=(-2, -1)).sqrt().mean().item(),
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
            measured |= zip(RULES[layer.spec.rule].coefficients, parameters.coefficients)
        if parameters.synaptic is not None:
            measured |= zip(RULES[layer.spec.rule].synaptic, parameters.synaptic.mean(dim=(1, 2)))
        known = {name: x.item() for name, x in measured.items() if x is not None}
        values |= {f"plasticity/{name}/layer{index}": x for name, x in known.items()}
    return values


class GradientNorms:
    """Norms of gradients by `parameter_group`, between `start` and `stop`.

    Hooks on the parameters, because SB3 clips gradients in place as soon as they are there.
    """

    def __init__(self, policy: nn.Module) -> None:
        self.parameters = dict(policy.named_parameters())
        self.hooks: list[Any] = []

    def start(self) -> None:
        """From now on every gradient counts."""
        self.stop()
        self.squares: dict[str, list[Tensor]] = {name: [] for name in self.parameters}
        self.hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._add, name))
            for name, parameter in self.parameters.items()
            if parameter.requires_grad
        ]

    def _add(self, name: str, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self.squares[name].append(torch.linalg.vector_norm(parameter.grad).square())

    def stop(self) -> dict[str, float]:
        """Root mean square, over the gradients since `start`, of each group's norm."""
        totals: dict[str, float] = {}
        for hook in self.hooks:
            hook.remove()
        for name, squares in self.squares.items() if self.hooks else ():
            if squares:
                group = f"learning/gradient_norm/{parameter_group(name)}"
                totals[group] = totals.get(group, 0.0) + torch.stack(squares).mean().item()
        self.hooks = []
        return {group: square**0.5 for group, square in totals.items()}
