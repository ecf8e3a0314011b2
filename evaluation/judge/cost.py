"""What a policy costs: arithmetic per environment step, counted from what its neurons did, memory.

The definitions are NeuroBench's (Yik et al. 2025): a synaptic operation is an input that is not
zero meeting a weight that is not zero; it is an accumulate where all inputs of the layer are 0, 1
or -1, as spikes are, and else a multiply-accumulate; biases do not count. NeuroBench knows no
plasticity. Its operations are counted apart, and densely, since fast weights change at every tick
whether or not there is a spike: every multiplication is a multiply-accumulate, which takes an
addition along, and additions that are left over are accumulates. Exponentials and hyperbolic
tangents are not counted.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import sympy
import torch
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN
from torch import Tensor
from torch.nn.functional import conv2d

from spikepropamine.policies.policy import PlasticSpikingPolicy
from spikepropamine.policies.rules import OF_FAST_WEIGHTS, RULES, Rule, larger, log

# 45 nm, 32-bit floating point, from Horowitz, "Computing's energy problem", ISSCC 2014
PICOJOULES_PER_ADDITION, PICOJOULES_PER_MULTIPLICATION = 0.9, 3.7
SIDES = {"p": "pre", "x": "pre", "f": "both"}
SIDES |= dict.fromkeys(("q", "theta", "s", "y", "pp", "v"), "post")
PARTS = ("synapses", "neurons", "plasticity", "neuromodulators")


KINDS = ("accumulates", "multiply_accumulates")
Operations = np.ndarray
"""Counts, float64 [2], of `KINDS`; the second is of a multiplication and an addition."""
LayerCost = dict[str, Any]
"""What one layer of an actor does per environment step, and holds:
    name: of the layer.
    synapses: synaptic operations, from counted spikes.
    neurons: updates of membrane potentials, filters and gates.
    plasticity: use and update of fast weights, and the traces that drive them.
    neuromodulators: their synapses.
    membrane_updates: potentials updated, at all ticks of the step.
    neuron_count: neurons; 0 where the layer has no activations of its own.
    activation_sparsity: share of activations that are 0; None where there are none.
    parameter_bytes, state_bytes: memory of trainable parameters, and of what changes in an episode.
"""
Cost = dict[str, Any]
"""What a policy costs, in one clean episode of `steps` steps: `layers` of the actor, from the
observation to the action; `parameter_bytes` and `state_bytes` of all layers; `activation_sparsity`,
the share of the neurons' activations that are 0, None without neurons.
"""


def operations(accumulates: float = 0.0, multiply_accumulates: float = 0.0) -> Operations:
    """A count of operations."""
    return np.array([accumulates, multiply_accumulates], dtype=float)


def energy(count: Operations) -> float:
    """Picojoules of the arithmetic alone, in the 45 nm of Horowitz 2014; memory takes more."""
    accumulates, both = map(float, count)
    return (accumulates + both) * PICOJOULES_PER_ADDITION + both * PICOJOULES_PER_MULTIPLICATION


def total(cost: Cost, part: str | None = None) -> Operations:
    """Operations of all layers: of one of `PARTS`, or of all."""
    parts = PARTS if part is None else (part,)
    return sum((layer[name] for layer in cost["layers"] for name in parts), operations())


def synaptic(inputs: Tensor, weight: Tensor) -> Operations:
    """Synaptic operations of a layer with inputs [N, n_in] and a weight [n_out, n_in], over all
    rows.
    """
    count = (inputs != 0).sum(dim=0).double() @ (weight != 0).sum(dim=0).double()
    binary = bool(((inputs == 0) | (inputs.abs() == 1)).all())
    return operations(float(count), 0) if binary else operations(0, float(count))


def cost_measures(cost: Cost) -> dict[str, float | None]:
    """By name, as measures of a results table: `cost/LAYER/PART/accumulates` and so on."""
    found: dict[str, float | None] = {"cost/steps": cost["steps"]}
    for layer in cost["layers"]:
        path = f"cost/{layer['name']}"
        found |= {
            f"{path}/{part}/{kind}": float(count)
            for part in PARTS
            for kind, count in zip(KINDS, layer[part])
        }
        found |= {f"{path}/{k}": x for k, x in layer.items() if k not in (*PARTS, "name")}
    return found


def cost_from(found: Mapping[str, float]) -> Cost:
    """The cost that `cost_measures` took apart; of several runs, from the means of these."""
    layers: dict[str, LayerCost] = {}
    for path, value in found.items():
        _, name, *what = path.split("/")
        layer = layers.setdefault(name, _layer(name)) if what else {}
        if len(what) == 2:
            layer[what[0]][KINDS.index(what[1])] = value
        elif what:
            layer[what[0]] = value
    return _whole(list(layers.values()), found["cost/steps"])


def _whole(layers: list[LayerCost], steps: float) -> Cost:
    active = [layer for layer in layers if layer["activation_sparsity"] is not None]
    neurons = sum(layer["neuron_count"] for layer in active)
    silent = sum(layer["neuron_count"] * (layer["activation_sparsity"] or 0.0) for layer in active)
    return {
        "layers": layers,
        "parameter_bytes": sum(layer["parameter_bytes"] for layer in layers),
        "state_bytes": sum(layer["state_bytes"] for layer in layers),
        "activation_sparsity": silent / neurons if neurons else None,
        "steps": steps,
    }


@torch.no_grad()
def cost_of(policy: Any, observations: Any) -> Cost:
    """What acting costs, by layer of the actor, per environment step, of an SB3 policy: a spiking
    one, an MLP or an LSTM. Observations are of consecutive steps of one episode from its start, [T,
    ...] or a dict of them, as the policy sees them (normalised).
    """
    seen = policy.obs_to_tensor(observations)[0]
    features = policy.extract_features(seen)
    if isinstance(features, tuple):  # extractors of its own for actor and critic
        features = features[0]
    layers, latent, steps = _pictures(policy, seen), features, len(features)
    if isinstance(policy, PlasticSpikingPolicy):
        more, latent = _spiking(policy, features)
        layers += more
    else:
        if hasattr(policy, "lstm_actor"):
            more, latent = _lstm(policy, features)
            layers += more
        dense, latent = _feedforward("layer", list(policy.mlp_extractor.policy_net), latent)
        layers += dense
    head = policy.action_net
    layers.append(_layer("action", head, synapses=synaptic(latent, head.weight)))
    for layer in layers:
        for part in PARTS:
            layer[part] /= steps
        layer["membrane_updates"] /= steps
    return _whole(layers, steps)


def _layer(
    name: str,
    holds: Any = (),
    *,
    outputs: Tensor | None = None,
    state: int = 0,
    membrane_updates: float = 0.0,
    **counts: Operations,
) -> LayerCost:
    """Counts of a whole episode. It `holds` parameters, those of a module or a list; `outputs` are
    what its neurons put out, [N, n]; `counts` are by part.
    """
    parameters = holds.parameters() if isinstance(holds, torch.nn.Module) else holds
    return {
        "name": name,
        **{part: counts.get(part, operations()) for part in PARTS},
        "membrane_updates": membrane_updates,
        "neuron_count": 0 if outputs is None else outputs.shape[1],
        "activation_sparsity": None if outputs is None else float((outputs == 0).double().mean()),
        "parameter_bytes": sum(p.numel() * p.element_size() for p in parameters),
        "state_bytes": 4 * state,
    }


def _pictures(policy: Any, observations: Any) -> list[LayerCost]:
    """Of the CNN of every picture."""
    shown: Any = preprocess_obs(observations, policy.observation_space, policy.normalize_images)
    extractor = policy.pi_features_extractor
    cnns: dict[str, tuple[Any, Any]] = {"": (extractor, shown)}
    if isinstance(extractor, CombinedExtractor):
        cnns = {f"{k}.": (part, shown[k]) for k, part in extractor.extractors.items()}
    return [
        layer
        for name, (cnn, x) in cnns.items()
        if isinstance(cnn, NatureCNN)
        for layer in _feedforward(f"{name}cnn", [*cnn.cnn, *cnn.linear], x)[0]
    ]


def _feedforward(name: str, modules: Sequence[Any], x: Tensor) -> tuple[list[LayerCost], Tensor]:
    """Of what has weights among modules that follow one another, each with its activation."""
    layers: list[LayerCost] = []
    for index, module in enumerate(modules):
        seen, x = x, module(x)
        if hasattr(module, "weight"):
            if isinstance(module, torch.nn.Conv2d):
                there, stride = (module.weight != 0).float(), module.stride
                met = conv2d((seen != 0).float(), there, stride=stride)  # type: ignore[arg-type]
                synapses = operations(0, float(met.sum(dtype=torch.float64)))
            else:
                synapses = synaptic(seen, module.weight)
            outputs = modules[index + 1](x).flatten(1)
            layers.append(
                _layer(f"{name}{len(layers)}", module, synapses=synapses, outputs=outputs)
            )
    return layers, x


def _lstm(policy: Any, features: Tensor) -> tuple[list[LayerCost], Tensor]:
    lstm, x = policy.lstm_actor, features
    layers: list[LayerCost] = []
    for index in range(lstm.num_layers):
        names = [f"{kind}_l{index}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        w_in, w_hidden, *biases = (getattr(lstm, name) for name in names)
        is_gru = isinstance(lstm, torch.nn.GRU)
        kind: Any = torch.nn.GRU if is_gru else torch.nn.LSTM
        cell = kind(w_in.shape[1], lstm.hidden_size)
        for name, value in zip(cell.state_dict(), (w_in, w_hidden, *biases)):
            getattr(cell, name).copy_(value)
        outputs = cell(x[:, None])[0][:, 0]
        before = torch.cat([torch.zeros_like(outputs[:1]), outputs[:-1]])
        gates = 3 * outputs.numel()  # c = f c + i g, h = o tanh(c); of a GRU r, z and 1 - z
        layers.append(
            _layer(
                f"{'gru' if is_gru else 'lstm'}{index}",
                [w_in, w_hidden, *biases],
                synapses=synaptic(x, w_in) + synaptic(before, w_hidden),
                neurons=operations(0, gates),
                outputs=outputs,
                state=(1 if is_gru else 2) * lstm.hidden_size,
            )
        )
        x = outputs
    return layers, x


def _spiking(policy: PlasticSpikingPolicy, features: Tensor) -> tuple[list[LayerCost], Tensor]:
    network, layout = policy.network, policy.layout
    ticks, steps = network.config.ticks, len(features)
    state = layout.unpack(torch.zeros(1, layout.size))
    starts = torch.zeros(steps, 1)
    starts[0] = 1.0
    latent, outputs, _ = network.run(features[:, None], starts, state)
    held = features.repeat_interleave(ticks, dim=0)
    exogenous = held[:, network.exogenous]
    layers: list[LayerCost] = []
    signal = held
    for index, (layer, output) in enumerate(zip(network.layers, outputs)):
        spec, spikes = layer.spec, output.spikes[:, 0]
        before = torch.cat([torch.zeros_like(spikes[:1]), spikes[:-1]])
        synapses, modulators = synaptic(signal, layer.weight), operations()
        if spec.recurrent:
            synapses += synaptic(before, layer.recurrent_weight)
        plasticity = _plasticity(layer, before if spec.recurrent else signal)
        if spec.modulation != "none":
            modulators = synaptic(exogenous, layer.modulator_exogenous)
            if layer.modulator_weight.any():  # set by hand, they are nothing
                modulators += synaptic(signal, layer.modulator_weight)
        if spec.has_target:
            plasticity += synaptic(exogenous, layer.target_exogenous)
        layers.append(
            _layer(
                f"layer{index}",
                layer,
                synapses=synapses,
                neurons=operations(0, spikes.numel()),
                plasticity=plasticity,
                neuromodulators=modulators,
                membrane_updates=spikes.numel(),
                outputs=spikes,
                state=sum(prod(shape) for shape in spec.state_shapes.values()),
            )
        )
        signal = spikes
    layers.append(
        _layer(
            "readout",
            [network.readout_decay],
            neurons=operations(0, signal.numel()),
            membrane_updates=signal.numel(),
            state=signal.shape[1],
        )
    )
    return layers, latent[:, 0]


def _plasticity(layer: Any, presynaptic: Tensor) -> Operations:
    """Of one layer over all ticks: use of the fast weights, traces, and their update."""
    spec = layer.spec
    if not spec.plastic:
        return operations()
    rule = RULES[spec.rule]
    ticks, n_pre, n_post = len(presynaptic), spec.plastic_inputs, spec.neurons
    use = int((presynaptic != 0).sum()) * n_post  # W + alpha F, where something comes in
    with sympy.evaluate(False):
        effect = rule.effective(sympy.Symbol("f"), {side: sympy.Symbol(side) for side in "pq"})
    use += use * len(_counted(effect, {})[1])  # and logarithms
    traces = 2 * (n_pre + n_post)
    if "theta" in rule.variables:
        traces += 3 * n_post  # with the square
    traces += n_pre * n_post * ("y" in rule.variables) + n_pre * ("pp" in rule.variables)
    traces += 2 * sum(n_pre if side == "p" else n_post for side, _ in rule.means.values())
    left_over, multiplied = drive_operations(rule, n_pre, n_post)
    decays = any(name in rule.variables for name in OF_FAST_WEIGHTS)
    updates = 1 + (spec.decay == "contracting" and decays)  # r D0, |r| (D - D0)
    if spec.modulation == "retroactive":
        updates += 2  # of the eligibility
    each = traces + updates * n_pre * n_post + multiplied
    return operations(ticks * left_over, use + ticks * each)


def drive_operations(rule: Rule, n_pre: int, n_post: int) -> Operations:
    """What the drive of all synapses takes, once, as the rule's formula is written.

    Terms of one side alone are counted once for each neuron of that side.
    """
    sides = SIDES | dict.fromkeys(rule.synaptic, "both") | {"P": "pre", "Q": "post"}
    learned = sympy.symbols([f"learned{n}" for n in range(len(rule.coefficients))])
    with sympy.evaluate(False):
        values = {name: sympy.Symbol(name) for name in (*rule.variables, *rule.synaptic)}
        values |= rule.named({"p": sympy.Symbol("P"), "q": sympy.Symbol("Q")})
        noted = _counted(rule(values, learned), sides)
    sizes = {"": 0, "pre": n_pre, "post": n_post, "both": n_pre * n_post}
    additions, multiplications = (sum(sizes[side] for side in of) for of in noted)
    return operations(max(0, additions - multiplications), multiplications)


def _counted(expression: Any, sides: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Additions and multiplications of an expression, each by the sides of what it is made of: the
    presynaptic or postsynaptic one, "both", or "" for numbers of no neuron.
    """
    additions: list[str] = []
    multiplications: list[str] = []
    for node in sympy.preorder_traversal(expression):
        of = {sides.get(symbol.name, "") for symbol in node.free_symbols} - {""}
        side = "both" if len(of) > 1 else "".join(of)
        if node.is_Add:
            additions += [side] * (len(node.args) - 1)
        elif node.is_Mul:  # a sign is none
            multiplications += [side] * (sum(x != -1 for x in node.args) - 1)
        elif node.is_Pow:
            multiplications += [side] * (abs(int(node.exp)) - 1)
        elif isinstance(node, sympy.log):
            multiplications.append(side)
    return additions, multiplications


log.register(sympy.Expr, sympy.log)
larger.register(sympy.Expr, sympy.Max)
