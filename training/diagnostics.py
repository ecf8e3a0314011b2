"""What is measured while a policy trains.

What SB3's logger gets besides its own rollout/, train/ and time/. Names begin with
their section, and those of a layer end in /layerN, counted from 0:

    spikes/firing_rate/layerN        spikes per neuron and tick
    spikes/silent/layerN             share of neurons without a spike in a whole rollout
    spikes/saturated/layerN          share of neurons that fire in 9 ticks of 10 or more
    plasticity/fast_weight_norm/     root mean square of F over synapses
    plasticity/clipped/              share of fast weights that are at their bound
    plasticity/modulator_mean/, modulator_spread/
                                     of the neuromodulator, over neurons and ticks
    plasticity/eta/, pre_decay/, post_decay/, threshold_decay/, alpha_mean/, alpha_std/
                                     learned, and the rule's own coefficients by their
                                     names
    adaptation/drift/layerN          |alpha F| / |W|: how far the effective weights
                                     W + alpha F have moved from those at the start of
                                     the episode, where F is 0; not a number where W is
                                     0
    adaptation/accuracy/trial_N      cue tasks: share of right responses in trial N of
    an
                                     episode
    evolution/centre, mean, best     returns of a generation's centre, members, and best
                                     member
    evolution/spread                 mean over parameters of the population's standard
                                     deviation
    system/steps_per_second          environment steps, since the row before
"""

import math
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from stable_baselines3.common.utils import obs_as_tensor
from torch import Tensor
from tqdm import tqdm

from spikepropamine.policies import PlasticSpikingPolicy
from spikepropamine.policies.critics import actor_of
from spikepropamine.policies.layers import SpikingLayer
from spikepropamine.policies.rules import RULES
from spikepropamine.policies.spaces import each
from spikepropamine.training.callbacks import BetweenSteps

SATURATED = 0.9
"""Share of ticks from which on a neuron counts as saturated."""
AT_BOUND = 0.9
"""Share of fast weights at their bound from which on a line warns of it."""
LOOKS = 8
"""How often the fast weights are looked at in a rollout."""

Measures = dict[str, float]
"""What is measured, by the name that the logger gets."""


class Diagnostics(BetweenSteps):
    """Writes a row of the logs, the diagnostics in it, after `every` rollouts, counted
    from the start of the run: SB3's own `log_interval` counts from where one was
    resumed.

    Then the rollout is replayed through the network, since spikes and neuromodulator
    are not kept when it is made. A line warns once of a silent layer, and of fast
    weights most of which are at their bound.

    Args:
        every: rollouts between rows.
        rollouts: how many rollouts there were since the start of the run, of the model.
    """

    def __init__(self, every: int, rollouts: Callable[[Any], int]) -> None:
        super().__init__()
        self.every = every
        self.rollouts = rollouts
        self.warned: set[str] = set()

    def _on_training_start(self) -> None:
        self.measured_at = time.perf_counter()
        self.steps_measured = self.num_timesteps
        self.steps_of_row = self.num_timesteps

    def _on_rollout_start(self) -> None:
        self.policy = actor_of(self.model.policy)
        self.spiking = isinstance(self.policy, PlasticSpikingPolicy)
        if self.spiking:
            states = self.model._last_lstm_states  # type: ignore[attr-defined]
            self.state = states.pi[0][0].clone()

    def _on_rollout_end(self) -> None:
        is_last = self.num_timesteps >= self.locals["total_timesteps"]
        is_due = self.rollouts(self.model) % self.every == 0
        if is_due or is_last:
            measures = self._measures()
            measures["system/steps_per_second"] = self._rate()
            for name, value in measures.items():
                self.logger.record(name, value, exclude="stdout")
        if is_due and not is_last:  # the last row waits for the last update
            self._write_row()

    def _on_training_end(self) -> None:
        if self.num_timesteps > self.steps_of_row:
            self._write_row()

    def _measures(self) -> Measures:
        """What is measured of the rollout that has ended; nothing where the actor has
        no spikes.
        """
        if not self.spiking:
            return {}
        model: Any = self.model
        buffer = model.rollout_buffer
        starts = torch.as_tensor(buffer.episode_starts, device=model.device)
        measures = replayed(self.policy, buffer.observations, starts, self.state)
        self._warn(measures)
        return measures | learned_parameters(self.policy.network.layers)

    def _rate(self) -> float:
        """Environment steps per second since it was last called."""
        now = time.perf_counter()
        rate = (self.num_timesteps - self.steps_measured) / (now - self.measured_at)
        self.measured_at = now
        self.steps_measured = self.num_timesteps
        return rate

    def _write_row(self) -> None:
        model: Any = self.model
        model.dump_logs(self.rollouts(model))
        self.steps_of_row = self.num_timesteps

    def _warn(self, measures: Measures) -> None:
        """Warns, once for each kind, where a layer is silent or its fast weights are at
        a bound.
        """
        for name, value in measures.items():
            kind, _, layer = name.rpartition("/")
            layer = layer.replace("layer", "layer ")
            if kind == "spikes/silent" and value == 1.0:
                line = f"{layer} is silent: raise network.gain or network.input_gain"
            elif kind == "plasticity/clipped" and value > AT_BOUND:
                line = (
                    f"{value:.0%} of the fast weights of {layer} are at their bound: "
                    "lower network.eta or raise network.clip"
                )
            else:
                continue
            if kind not in self.warned:
                self.warned.add(kind)
                tqdm.write(
                    f"warning, at step {self.num_timesteps:,}: {line}", file=sys.stderr
                )


@torch.no_grad()
def replayed(
    policy: PlasticSpikingPolicy, observations: Any, starts: Tensor, state: Tensor
) -> Measures:
    """Activity and fast weights of a rollout, by running its observations through the
    network of the policy as it was.

    Args:
        policy: whose network it is.
        observations: [T, B, *shape], or a dict of such.
        starts: [T, B], 1 where an episode starts.
        state: before the first step, flat, [B, D].
    """
    steps, batch = starts.shape
    network: Any = policy.network
    flat = each(lambda x: x.reshape(steps * batch, *x.shape[2:]), observations)
    features: Any = policy.extract_features(obs_as_tensor(flat, policy.device))
    fields = network.layout.unpack(state)
    length = -(-steps // LOOKS)  # rounded up
    outputs_of_pieces = []
    fields_after_pieces = []
    pieces = zip(features.view(steps, batch, -1).split(length), starts.split(length))
    for piece, piece_starts in pieces:
        _, outputs, fields = network.run(piece, piece_starts, fields)
        outputs_of_pieces.append(outputs)
        fields_after_pieces.append(fields)
    values: Measures = {}
    for index, layer in enumerate(network.layers):
        outputs_of_layer = [outputs[index] for outputs in outputs_of_pieces]
        measures: Measures = {}
        if layer.spec.units == "spiking":
            spikes = torch.cat([outputs.spikes for outputs in outputs_of_layer])
            measures |= activity(spikes)
        if layer.spec.plastic:
            name = f"layer{index}.fast_weights"
            fast = torch.stack([after[name] for after in fields_after_pieces])
            measures |= fast_weights(layer, fast)
        if layer.spec.modulation != "none":
            modulator = torch.cat([outputs.rate for outputs in outputs_of_layer])
            spread = modulator.std(correction=0)
            measures["plasticity/modulator_mean"] = modulator.mean().item()
            measures["plasticity/modulator_spread"] = spread.item()
        for name, value in measures.items():
            values[f"{name}/layer{index}"] = value
    return values


def activity(spikes: Tensor) -> Measures:
    """Firing rate, and shares of silent and of saturated neurons, of spikes
    [T, B, neurons].
    """
    rates = spikes.mean(dim=(0, 1))
    return {
        "spikes/firing_rate": rates.mean().item(),
        "spikes/silent": (rates == 0).float().mean().item(),
        "spikes/saturated": (rates >= SATURATED).float().mean().item(),
    }


def fast_weights(layer: SpikingLayer, fast: Tensor) -> Measures:
    """Norm, share at the bound, and drift, of the fast weights of a layer.

    Args:
        layer: whose fast weights they are.
        fast: [..., neurons, inputs].
    """
    parameters = layer.parameters_in_use()
    fixed = parameters.recurrent_weight if layer.spec.recurrent else parameters.weight
    size = torch.linalg.matrix_norm(fixed).item()
    moved = torch.linalg.matrix_norm(parameters.plasticity_gain * fast).mean().item()
    root_mean_squares = fast.square().mean(dim=(-2, -1)).sqrt()
    at_bound = fast.abs() >= layer.spec.clip
    return {
        "plasticity/fast_weight_norm": root_mean_squares.mean().item(),
        "plasticity/clipped": at_bound.float().mean().item(),
        "adaptation/drift": moved / size if size else math.nan,
    }


@torch.no_grad()
def learned_parameters(layers: Iterable[SpikingLayer]) -> Measures:
    """The trainable parameters of each plastic layer's rule, in the units of the
    equations.
    """
    values: Measures = {}
    for index, layer in enumerate(layers):
        if not layer.spec.plastic:
            continue
        parameters = layer.parameters_in_use()
        alpha = parameters.plasticity_gain
        measures: dict[str, Tensor | None] = {
            "alpha_mean": alpha.mean(),
            "alpha_std": alpha.std(correction=0),
        }
        for name in ("eta", "pre_decay", "post_decay", "threshold_decay"):
            measures[name] = getattr(parameters, name)
        rule = RULES[layer.spec.rule]
        if parameters.coefficients is not None:
            measures |= zip(rule.coefficients, parameters.coefficients)
        if parameters.synaptic is not None:
            means = parameters.synaptic.mean(dim=(1, 2))
            measures |= zip(rule.synaptic, means)
        for name, value in measures.items():
            if value is not None:
                values[f"plasticity/{name}/layer{index}"] = value.item()
    return values
