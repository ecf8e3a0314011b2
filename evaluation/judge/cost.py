"""What a policy costs: arithmetic per environment step, counted from what its neurons
did, memory.

The definitions are NeuroBench's (Yik et al. 2025): a synaptic operation is an input
that is not zero meeting a weight that is not zero; it is an accumulate where all inputs
of the layer are 0, 1 or -1, as spikes are, and else a multiply-accumulate; biases do
not count. NeuroBench knows no plasticity. Its operations are counted apart, and
densely, since fast weights change at every tick whether or not there is a spike: every
multiplication is a multiply-accumulate, which takes an addition along, and additions
that are left over are accumulates. Exponentials and hyperbolic tangents are not
counted.
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from math import prod
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn
from torch.nn.functional import conv2d

from spikepropamine.policies.rules import OF_FAST_WEIGHTS, RULES, Rule, larger, log
from spikepropamine.policies.spiking import PlasticSpikingPolicy

# 45 nm, 32-bit floating point, from Horowitz, "Computing's energy problem", ISSCC 2014
PICOJOULES_PER_ADDITION = 0.9
PICOJOULES_PER_MULTIPLICATION = 3.7

PARTS = ("synapses", "neurons", "plasticity", "neuromodulators")
"""Synaptic operations, from counted spikes; updates of membrane potentials, filters and
gates; use and update of fast weights, and the traces that drive them; synapses of
neuromodulators.
"""
KINDS = ("accumulates", "multiply_accumulates")
Operations = np.ndarray
"""Counts, float64 [2], of `KINDS`; the second is of a multiplication and an addition.
"""
Cost = Mapping[str, float]
"""What the actor costs from the observation to the action, by measure:
    PART_KIND, for example plasticity_accumulates: operations per environment step.
    energy_nJ: of their arithmetic alone, in the 45 nm of Horowitz 2014; memory takes
    more. parameter_bytes, state_bytes: memory of trainable parameters, and of what
    changes in an episode. activation_sparsity: share of the neurons' activations that
    are 0; missing without neurons.
"""


def operations(
    accumulates: float = 0.0, multiply_accumulates: float = 0.0
) -> Operations:
    """A count of operations, float64 [2].

    Args:
        accumulates: additions alone.
        multiply_accumulates: multiplications, each with an addition.
    """
    return np.array([accumulates, multiply_accumulates], dtype=float)


def total(cost: Cost, *parts: str) -> Operations:
    """Operations per environment step: of some of `PARTS`, or of all."""
    return operations(
        *(sum(cost[f"{x}_{kind}"] for x in parts or PARTS) for kind in KINDS)
    )


def synaptic(inputs: Tensor, weight: Tensor) -> Operations:
    """Synaptic operations of a layer, over all rows.

    Args:
        inputs: [N, n_in].
        weight: [n_out, n_in].
    """
    count = (inputs != 0).sum(dim=0).double() @ (weight != 0).sum(dim=0).double()
    binary = bool(((inputs == 0) | (inputs.abs() == 1)).all())
    return operations(float(count), 0) if binary else operations(0, float(count))


@torch.no_grad()
def cost_of(policy: Any, observations: Any) -> Cost:
    """What acting costs.

    Args:
        policy: of SB3: a spiking one, an MLP, an LSTM or a GRU, with a CNN or without.
        observations: of consecutive steps of one episode from its start, [T, ...] or a
            dict of them, as the policy sees them (normalised).
    """
    count = _Count()
    extractor = policy.pi_features_extractor
    spiking = isinstance(policy, PlasticSpikingPolicy)
    dense = [] if spiking else [policy.mlp_extractor.policy_net]
    seen, _ = policy.obs_to_tensor(observations)
    with ExitStack() as hooks:
        for part in (extractor, *dense, policy.action_net):
            for module in part.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    hooks.enter_context(module.register_forward_hook(count.layer))
                elif isinstance(module, nn.ReLU | policy.activation_fn):
                    hooks.enter_context(module.register_forward_hook(count.activation))
        latent = features = BasePolicy.extract_features(policy, seen, extractor)
        if spiking:
            latent = _spiking(count, policy, features)
        elif hasattr(policy, "lstm_actor"):
            latent = _recurrent(count, policy.lstm_actor, features)
        for part in (*dense, policy.action_net):
            latent = part(latent)
    return count.per_step(len(features))


class _Count:
    """Counts of a whole episode."""

    def __init__(self) -> None:
        self.operations = {part: operations() for part in PARTS}
        self.parameter_bytes = self.state_bytes = 0
        self.neurons = 0
        self.silent = 0.0  # how many of them are at 0, on average

    def layer(self, module: Any, inputs: Any, _: Tensor) -> None:
        """Counts a module that has weights; a hook of PyTorch.

        Args:
            module: linear or convolutional, which has run.
            inputs: a tuple with the input, [N, ...].
        """
        (x,) = inputs
        if isinstance(module, nn.Conv2d):
            there = (module.weight != 0).float()
            stride: Any = module.stride
            met = conv2d((x != 0).float(), there, stride=stride)
            self.operations["synapses"] += operations(
                0, float(met.sum(dtype=torch.float64))
            )
        else:
            self.operations["synapses"] += synaptic(x, module.weight)
        self.hold(module.parameters())

    def activation(self, _module: Any, _inputs: Any, output: Tensor) -> None:
        """Counts neurons and how many of them are silent; a hook of PyTorch.

        Args:
            output: what the neurons gave, [N, ...].
        """
        neurons = output[0].numel()
        self.neurons += neurons
        self.silent += neurons * float((output == 0).double().mean())

    def hold(self, parameters: Iterable[Tensor], state: int = 0) -> None:
        """Counts the memory that a network holds.

        Args:
            parameters: trainable.
            state: how many numbers, float32, change in an episode.
        """
        self.parameter_bytes += sum(p.numel() * p.element_size() for p in parameters)
        self.state_bytes += 4 * state

    def per_step(self, steps: int) -> Cost:
        """The cost, of an episode of so many steps."""
        cost = {
            f"{part}_{kind}": float(number) / steps
            for part, counted in self.operations.items()
            for kind, number in zip(KINDS, counted)
        }
        accumulates, both = map(float, total(cost))
        picojoules = (accumulates + both) * PICOJOULES_PER_ADDITION
        picojoules += both * PICOJOULES_PER_MULTIPLICATION
        cost["energy_nJ"] = picojoules / 1000
        cost["parameter_bytes"] = self.parameter_bytes
        cost["state_bytes"] = self.state_bytes
        if self.neurons:
            cost["activation_sparsity"] = self.silent / self.neurons
        return cost


def _recurrent(count: _Count, lstm: nn.LSTM | nn.GRU, x: Tensor) -> Tensor:
    is_gru = isinstance(lstm, nn.GRU)
    for index in range(lstm.num_layers):
        names = [
            f"{kind}_l{index}"
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        values = [getattr(lstm, name) for name in names]
        cell: Any = (nn.GRU if is_gru else nn.LSTM)(x.shape[1], lstm.hidden_size)
        cell.load_state_dict(dict(zip(cell.state_dict(), values)))
        outputs = cell(x[:, None])[0][:, 0]
        count.operations["synapses"] += synaptic(x, values[0])
        count.operations["synapses"] += synaptic(_before(outputs), values[1])
        # c = f c + i g, h = o tanh(c); of a GRU r, z and 1 - z
        count.operations["neurons"] += operations(0, 3 * outputs.numel())
        count.activation(cell, x, outputs)
        count.hold(values, state=(1 if is_gru else 2) * lstm.hidden_size)
        x = outputs
    return x


def _before(outputs: Tensor) -> Tensor:
    """The spikes of the tick before, [N, n]; at the first tick zeros."""
    return torch.cat([torch.zeros_like(outputs[:1]), outputs[:-1]])


def _spiking(count: _Count, policy: PlasticSpikingPolicy, features: Tensor) -> Tensor:
    network = policy.network
    layout = policy.layout
    starts = torch.zeros(len(features), 1)
    starts[0] = 1.0
    state = layout.unpack(torch.zeros(1, layout.size))
    latent, outputs, _ = network.run(features[:, None], starts, state)
    held = network.shown(features[:, None], starts, state)
    exogenous = held[:, 0, network.exogenous]
    signal = held[:, 0]
    for units in network.encoder.layers:
        count.operations["synapses"] += synaptic(signal, units.weight)
        count.operations["neurons"] += operations(0, units.out_features * len(signal))
        signal = torch.tanh(units(signal))
        count.activation(units, held, signal)
    for layer, output in zip(network.layers, outputs):
        spec = layer.spec
        spikes = output.spikes[:, 0]
        before = signal
        count.operations["synapses"] += synaptic(signal, layer.weight)
        if spec.recurrent:
            before = _before(spikes)
            count.operations["synapses"] += synaptic(before, layer.recurrent_weight)
        count.operations["plasticity"] += _plasticity(layer, before)
        if spec.modulation != "none":
            count.operations["neuromodulators"] += synaptic(
                exogenous, layer.modulator_exogenous
            )
            if layer.modulator_weight.any():  # set by hand, they are nothing
                count.operations["neuromodulators"] += synaptic(
                    signal, layer.modulator_weight
                )
        if spec.has_target:
            count.operations["plasticity"] += synaptic(
                exogenous, layer.target_exogenous
            )
        count.operations["neurons"] += operations(0, spikes.numel())
        count.activation(layer, signal, spikes)
        count.hold((), state=sum(prod(shape) for shape in spec.state_shapes.values()))
        signal = spikes
    count.operations["neurons"] += operations(
        0, signal.numel()
    )  # the readout's filters
    count.hold(network.parameters(), state=signal.shape[1])
    return latent[:, 0]


def _plasticity(layer: Any, presynaptic: Tensor) -> Operations:
    """The operations that plasticity takes in one layer, over all ticks: use of fast
    weights, traces, and their update.
    """
    spec = layer.spec
    if not spec.plastic:
        return operations()
    rule = RULES[spec.rule]
    ticks = len(presynaptic)
    n_pre = spec.plastic_inputs
    n_post = spec.neurons
    # W + alpha F, where something comes in
    use = int((presynaptic != 0).sum()) * n_post
    effect = _Arithmetic((1,), operations())
    rule.effective(effect, {"p": effect, "q": effect})
    use += use * int(effect.done[1])  # and logarithms
    traces = 2 * (n_pre + n_post)
    if "theta" in rule.variables:
        traces += 3 * n_post  # with the square
    if "y" in rule.variables:
        traces += n_pre * n_post
    if "pp" in rule.variables:
        traces += n_pre
    for side, _ in rule.means.values():
        traces += 2 * (n_pre if side == "p" else n_post)
    left_over, multiplied = drive_operations(rule, n_pre, n_post)
    decays = any(name in rule.variables for name in OF_FAST_WEIGHTS)
    updates = 1  # r D
    if spec.decay == "contracting" and decays:
        updates = 2  # r D0 and |r| (D - D0)
    if spec.modulation == "retroactive":
        updates += 2  # of the eligibility
    each = traces + updates * n_pre * n_post + multiplied
    return operations(ticks * left_over, use + ticks * each)


def drive_operations(rule: Rule, n_pre: int, n_post: int) -> Operations:
    """What the drive of all synapses takes, once, as the rule's formula is written.

    Terms of one side alone are counted once for each neuron of that side.

    Args:
        rule: whose drive it is.
        n_pre: presynaptic neurons.
        n_post: postsynaptic neurons.
    """
    done = operations()
    pre = (1, n_pre)
    post = (n_post, 1)
    both = (n_post, n_pre)
    shapes = dict.fromkeys(rule.variables, post) | dict.fromkeys(("p", "x"), pre)
    shapes |= dict.fromkeys(("f", *rule.synaptic), both)
    shapes |= rule.named({"p": pre, "q": post})
    values = {name: _Arithmetic(shape, done) for name, shape in shapes.items()}
    rule(values, [_Arithmetic((), done) for _ in rule.coefficients])
    additions, multiplications = done
    return operations(max(0, additions - multiplications), multiplications)


class _Arithmetic(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands for numbers of a shape in a formula: what would be computed with them is
    counted, the additions and the multiplications in `done`; nothing where the shape is
    (), of no neuron.
    """

    def __init__(self, shape: tuple[int, ...], done: np.ndarray) -> None:
        self.shape = shape
        self.done = done

    def __array_ufunc__(
        self, ufunc: Any, method: Any, *inputs: Any, **_: Any
    ) -> "_Arithmetic":
        shape = np.broadcast_shapes(*(np.shape(x) for x in inputs))
        if ufunc in (np.add, np.subtract):
            self.done[0] += prod(shape) if shape else 0
        elif ufunc is not np.negative:
            times = abs(int(inputs[1])) - 1 if ufunc is np.power else 1
            self.done[1] += times * prod(shape) if shape else 0
        return _Arithmetic(shape, self.done)


log.register(_Arithmetic, np.log)
larger.register(_Arithmetic, lambda x, _: x)
