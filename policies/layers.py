"""A spiking layer as a module: its learned parameters, and the call of the sequence function."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from spikepropamine.policies.backends import choose
from spikepropamine.policies.fast.networks import tanh
from spikepropamine.policies.reference import LayerParameters, LayerSpec, LayerState
from spikepropamine.policies.rules import RULES

if TYPE_CHECKING:
    from spikepropamine.policies.network import NetworkConfig


FRACTIONS = {
    "membrane_decay", "pre_decay", "post_decay", "threshold_decay", "eta", "pre_mean_share",
    "post_mean_share",
}  # fmt: skip
"""Parameters that are learned through a sigmoid, since they must lie in (0, 1)."""


class LayerOutput(NamedTuple):
    """What a layer did, tick by tick, each [T, B, n_out].

    spikes are 0 or 1; potentials are taken before the reset; rate is what multiplied the drive of
    the plasticity (eta or the neuromodulator, in [-1, 1]), or None in a static layer.
    """

    spikes: Tensor
    potentials: Tensor
    rate: Tensor | None


def logit(probability: float) -> float:
    """Inverse of the sigmoid."""
    return math.log(probability / (1.0 - probability))


class SpikingLayer(nn.Module):
    """LIF neurons with static or plastic synapses; holds parameters, never state.

    Its neuromodulators see `exogenous` channels. `gain` is the standard deviation of the initial
    weights, times sqrt(fan-in); the other initial values are those of `config`, and the mean of
    alpha is the rule's. `backend` is a key of `policies.backends.BACKENDS`, or "auto".
    """

    def __init__(
        self,
        spec: LayerSpec,
        exogenous: int,
        gain: float,
        config: "NetworkConfig",
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.spec, self.backend, self.gain = spec, backend, gain
        n, n_in, n_pre = spec.neurons, spec.inputs, spec.plastic_inputs

        def weights(fan_in: int, scale: float) -> nn.Parameter:
            return nn.Parameter(
                torch.randn(n, fan_in) * scale / math.sqrt(max(fan_in, 1))
            )

        self.weight = weights(n_in, gain)
        self.bias = nn.Parameter(torch.zeros(n))
        self.membrane_decay = nn.Parameter(
            torch.full((n,), logit(config.membrane_decay))
        )
        if spec.recurrent:
            self.recurrent_weight = weights(n, gain)
        if spec.plastic:
            rule = RULES[spec.rule]
            self.plasticity_gain = weights(n_pre, config.plasticity_gain)
            self.plasticity_gain.data += rule.gain
            self.pre_decay = nn.Parameter(torch.tensor(logit(config.trace_decay)))
            self.post_decay = nn.Parameter(torch.tensor(logit(config.trace_decay)))
            if "threshold" in spec.state_shapes:
                self.threshold_decay = nn.Parameter(
                    torch.tensor(logit(config.threshold_decay))
                )
            if initial := list(rule.coefficients.values()):
                self.coefficients = nn.Parameter(torch.tensor(initial))
            if rule.synaptic:
                synapses = [
                    torch.full((n, n_pre), value) for value in rule.synaptic.values()
                ]
                self.synaptic = nn.Parameter(torch.stack(synapses))
            for side, name in (("p", "pre_mean_share"), ("q", "post_mean_share")):
                if (share := rule.mean_of(side)) is not None:
                    setattr(self, name, nn.Parameter(torch.tensor(logit(share))))
            pathways = math.sqrt(config.pathways)  # of which one is active at a time
            if spec.modulation != "direct":
                self.eta = nn.Parameter(torch.tensor(logit(config.eta)))
            if spec.modulation != "none":
                self.modulator_weight = weights(n_in, config.modulator_gain)
                self.modulator_exogenous = weights(
                    exogenous, config.modulator_gain * pathways
                )
                # starts where a plain rule does, so that plasticity is alive at the first update
                self.modulator_bias = nn.Parameter(
                    torch.full((n,), math.atanh(config.eta))
                )
            if spec.has_target:
                self.target_exogenous = weights(exogenous, pathways)
                self.target_bias = nn.Parameter(torch.zeros(n))

    def fixed_weights(self) -> list[nn.Parameter]:
        """The weights W of its inputs, and those among its own neurons where it has them."""
        named = (self.weight, getattr(self, "recurrent_weight", None))
        return [weight for weight in named if weight is not None]

    @torch.no_grad()
    def set_modulator_by_hand(self) -> None:
        """From now on the neuromodulator is the tanh of the sum of x(t), and is not trained."""
        if self.spec.modulation != "none":
            modulator = (
                self.modulator_weight,
                self.modulator_exogenous,
                self.modulator_bias,
            )
            for parameter, value in zip(modulator, (0.0, 1.0, 0.0)):
                parameter.requires_grad_(False).fill_(value)

    @torch.no_grad()
    def redraw(self, generator: torch.Generator) -> None:
        """Draws the fixed weights anew, with the spread of the initial ones."""
        for weight in self.fixed_weights():
            scale = self.gain / math.sqrt(max(weight.shape[1], 1))
            weight.copy_(torch.randn(weight.shape, generator=generator) * scale)

    def parameters_in_use(self) -> LayerParameters:
        """The trainable parameters in the units of the equations (decays and eta in (0, 1))."""
        found: Any = {
            name: getattr(self, name, None) for name in LayerParameters._fields
        }
        known = [
            name for name in found if name in FRACTIONS and found[name] is not None
        ]
        return LayerParameters(
            **found | {name: torch.sigmoid(found[name]) for name in known}
        )

    def plasticity_rate(self, inputs: Tensor, exogenous: Tensor) -> Tensor:
        """What multiplies the drive at every tick, [T, B, n_out]: eta, or the neuromodulator

            m_j(t) = tanh(sum_i M_ji s_i(t) + M_j . x(t) + c_j).

        s is the layer's input and x the exogenous signal [T, B, n_x].
        """
        if self.spec.modulation == "none":
            return torch.sigmoid(self.eta).expand(*inputs.shape[:2], self.spec.neurons)
        drive = nn.functional.linear(inputs, self.modulator_weight, self.modulator_bias)
        return tanh(drive + nn.functional.linear(exogenous, self.modulator_exogenous))

    def target(self, exogenous: Tensor) -> Tensor:
        """Current of the second compartment, v_j(t) = V_j . x(t) + c_j, [T, B, n_out]."""
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
            plasticity: [B, 1], 1 where plasticity acts, 0 where fast weights must not change.
            state: fields of `spec.state_shapes`, each [B, ...]; and in a neuromodulated layer
                `modulation` [B, ticks, n_out], the neuromodulator at the ticks of the step before.
            held: [B, 1], 1 where the neuromodulator is not computed but stays at `modulation`,
                step after step; None: nowhere.
            state_wanted: as for `policies.reference.layer_sequence`.
        """
        rate = self.plasticity_rate(inputs, exogenous) if self.spec.plastic else None
        modulation = {}
        if "modulation" in state and rate is not None:
            state = dict(state)
            before = state.pop("modulation").transpose(0, 1)
            ticks = len(before)
            if held is not None:
                rate = torch.where(
                    held > 0, before.repeat(len(rate) // ticks, 1, 1), rate
                )
            modulation = {"modulation": rate[-ticks:].detach().transpose(0, 1)}
        if rate is not None:
            rate = rate * plasticity
        target = self.target(exogenous) if self.spec.has_target else None
        backend = choose(self.backend, self.spec, inputs.device.type)
        spikes, potentials, state = backend.layer_sequence(
            self.spec,
            self.parameters_in_use(),
            inputs,
            starts,
            rate,
            state,
            state_wanted,
            target,
        )
        return LayerOutput(spikes, potentials, rate), state | modulation
