"""A spiking layer as a module: trainable parameters, and the call of a backend."""

import math

import torch
from torch import Tensor, nn

from spikepropamine.policies.backends import choose
from spikepropamine.policies.config import NetworkConfig
from spikepropamine.policies.dense import tanh
from spikepropamine.policies.reference import (
    LayerOutput,
    LayerParameters,
    LayerSpec,
    LayerState,
)
from spikepropamine.policies.rules import RULES

__all__ = ["FRACTIONS", "LayerOutput", "SpikingLayer", "logit"]

FRACTIONS = {
    "membrane_decay",
    "pre_decay",
    "post_decay",
    "threshold_decay",
    "eta",
    "pre_mean_share",
    "post_mean_share",
}
"""Parameters that are learned through a sigmoid, since they must lie in (0, 1)."""


def logit(probability: float) -> float:
    """Inverse of the sigmoid."""
    return math.log(probability / (1.0 - probability))


def _trained_fraction(value: float) -> nn.Parameter:
    """One of `FRACTIONS`, of which the initial value is this."""
    return nn.Parameter(torch.tensor(logit(value)))


class SpikingLayer(nn.Module):
    """LIF neurons with static or plastic synapses; holds parameters, never state.

    Args:
        spec: the kind of layer.
        exogenous: how many channels the neuromodulators and second compartments see.
        gain: standard deviation of the initial weights, times sqrt(fan-in).
        config: gives the other initial values; the mean of alpha is the rule's.
        backend: what runs the layer, a key of `policies.backends.BACKENDS`, or "auto".
    """

    def __init__(
        self,
        spec: LayerSpec,
        exogenous: int,
        gain: float,
        config: NetworkConfig,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.spec = spec
        self.backend = backend
        self.gain = gain
        # the order in which parameters are drawn is that of every policy with a seed
        self.weight = self._drawn_weights(spec.inputs, gain)
        self.bias = nn.Parameter(torch.zeros(spec.neurons))
        self.membrane_decay = nn.Parameter(
            torch.full((spec.neurons,), logit(config.membrane_decay))
        )
        if spec.recurrent:
            self.recurrent_weight = self._drawn_weights(spec.neurons, gain)
        if spec.plastic:
            self._make_plastic(config)
            self._make_modulated(exogenous, config)

    def _drawn_weights(self, fan_in: int, scale: float) -> nn.Parameter:
        drawn = torch.randn(self.spec.neurons, fan_in)
        return nn.Parameter(drawn * scale / math.sqrt(max(fan_in, 1)))

    def _make_plastic(self, config: NetworkConfig) -> None:
        """Parameters of plastic synapses: gains, traces, and what the rule learns."""
        spec = self.spec
        rule = RULES[spec.rule]
        self.plasticity_gain = self._drawn_weights(
            spec.plastic_inputs, config.plasticity_gain
        )
        self.plasticity_gain.data += rule.gain
        self.pre_decay = _trained_fraction(config.trace_decay)
        self.post_decay = _trained_fraction(config.trace_decay)
        if "threshold" in spec.state_shapes:
            self.threshold_decay = _trained_fraction(config.threshold_decay)
        if rule.coefficients:
            initial = list(rule.coefficients.values())
            self.coefficients = nn.Parameter(torch.tensor(initial))
        if rule.synaptic:
            shape = (spec.neurons, spec.plastic_inputs)
            matrices = [torch.full(shape, x) for x in rule.synaptic.values()]
            self.synaptic = nn.Parameter(torch.stack(matrices))
        for side, name in (("p", "pre_mean_share"), ("q", "post_mean_share")):
            share = rule.mean_of(side)
            if share is not None:
                setattr(self, name, _trained_fraction(share))

    def _make_modulated(self, exogenous: int, config: NetworkConfig) -> None:
        """Parameters of what multiplies the drive, and of second compartments."""
        spec = self.spec
        spread = math.sqrt(config.pathways)  # of which one is active at a time
        if spec.modulation != "direct":
            self.eta = _trained_fraction(config.eta)
        if spec.modulation != "none":
            self.modulator_weight = self._drawn_weights(
                spec.inputs, config.modulator_gain
            )
            self.modulator_exogenous = self._drawn_weights(
                exogenous, config.modulator_gain * spread
            )
            # starts where a plain rule does, so that plasticity is alive at the first
            # update
            level = math.atanh(config.eta)
            self.modulator_bias = nn.Parameter(torch.full((spec.neurons,), level))
        if spec.has_target:
            self.target_exogenous = self._drawn_weights(exogenous, spread)
            self.target_bias = nn.Parameter(torch.zeros(spec.neurons))

    def fixed_weights(self) -> list[nn.Parameter]:
        """The weights W of its inputs, and those among its neurons, if any."""
        if self.spec.recurrent:
            return [self.weight, self.recurrent_weight]
        return [self.weight]

    @torch.no_grad()
    def set_modulator_by_hand(self) -> None:
        """From now on the neuromodulator is the tanh of the sum of x(t), and is not
        trained.
        """
        if self.spec.modulation != "none":
            self.modulator_weight.requires_grad_(False).fill_(0.0)
            self.modulator_exogenous.requires_grad_(False).fill_(1.0)
            self.modulator_bias.requires_grad_(False).fill_(0.0)

    @torch.no_grad()
    def redraw(self, generator: torch.Generator) -> None:
        """Draws the fixed weights anew, with the spread of the initial ones."""
        for weight in self.fixed_weights():
            scale = self.gain / math.sqrt(max(weight.shape[1], 1))
            weight.copy_(torch.randn(weight.shape, generator=generator) * scale)

    def parameters_in_use(self) -> LayerParameters:
        """The trainable parameters in the units of the equations (decays and eta in (0,
        1)).
        """
        in_use: dict[str, Tensor] = {}
        for name in LayerParameters._fields:
            parameter: Tensor | None = getattr(self, name, None)
            if parameter is None:
                continue
            in_use[name] = torch.sigmoid(parameter) if name in FRACTIONS else parameter
        return LayerParameters(**in_use)

    def plasticity_rate(self, inputs: Tensor, exogenous: Tensor) -> Tensor:
        """What multiplies the drive at every tick: eta, or the neuromodulator

            m_j(t) = tanh(sum_i M_ji s_i(t) + M_j . x(t) + c_j).

        Args:
            inputs: s, the layer's input, [T, B, n_in].
            exogenous: x, [T, B, n_x].

        Returns:
            [T, B, n_out], in (0, 1), or in (-1, 1) of a neuromodulator.
        """
        if self.spec.modulation == "none":
            return torch.sigmoid(self.eta).expand(*inputs.shape[:2], self.spec.neurons)
        drive = nn.functional.linear(inputs, self.modulator_weight, self.modulator_bias)
        return tanh(drive + nn.functional.linear(exogenous, self.modulator_exogenous))

    def target(self, exogenous: Tensor) -> Tensor:
        """Current of second compartments, v_j(t) = V_j . x(t) + c_j, [T, B, n_out]."""
        return nn.functional.linear(exogenous, self.target_exogenous, self.target_bias)

    def forward(
        self,
        inputs: Tensor,
        starts: Tensor,
        exogenous: Tensor,
        plasticity: Tensor,
        state: LayerState,
        held: Tensor | None = None,
        state_wanted: bool = True,
    ) -> tuple[LayerOutput, LayerState]:
        """Runs a sequence of ticks.

        Args:
            inputs: [T, B, n_in] spikes or currents.
            starts: [T, B], 1 where an episode starts.
            exogenous: [T, B, n_x] signals for the neuromodulators.
            plasticity: [B, 1], 1 where plasticity acts, 0 where fast weights must not
                change.
            state: fields of `spec.state_shapes`, each [B, ...]; and in a
                neuromodulated layer `modulation` [B, ticks, n_out], the neuromodulator
                at the ticks of the step before.
            held: [B, 1], 1 where the neuromodulator is not computed but stays at
                `modulation`, step after step; None: nowhere.
            state_wanted: as for `policies.reference.layer_sequence`.

        Returns:
            What the layer did, and its new state.
        """
        rate = None
        modulation: LayerState = {}
        if self.spec.plastic:
            rate = self.plasticity_rate(inputs, exogenous)
            if "modulation" in state:
                state = dict(state)
                before = state.pop("modulation").transpose(0, 1)  # [ticks, B, n_out]
                ticks = len(before)
                if held is not None:
                    of_all_steps = before.repeat(len(rate) // ticks, 1, 1)
                    rate = torch.where(held > 0, of_all_steps, rate)
                modulation["modulation"] = rate[-ticks:].detach().transpose(0, 1)
            rate = rate * plasticity
        target = self.target(exogenous) if self.spec.has_target else None
        backend = choose(self.backend, self.spec, inputs.device.type)
        spikes, potentials, new_state = backend.layer_sequence(
            self.spec,
            self.parameters_in_use(),
            inputs,
            starts,
            rate,
            state,
            state_wanted,
            target,
        )
        return LayerOutput(spikes, potentials, rate), new_state | modulation
