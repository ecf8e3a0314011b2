"""The reference of a layer and its gradients; every backend agrees with it."""

import copy
import logging
import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
import torch
from conftest import KINDS, make_network
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikepropamine.policies import backends, reference
from spikepropamine.policies.backends import BACKENDS
from spikepropamine.policies.reference import SURROGATES, LayerParameters, LayerSpec
from spikepropamine.policies.rules import RULES, Synaptic, register
from spikepropamine.policies.state import FLAGS

NAMES = list(BACKENDS)
FAST = [name for name in NAMES if name != "reference"]
# every kind of layer that has kernels of its own: where a drive has no fast weight in
# it, nothing decays, and the kernels of layers without modulation are those of direct
# modulation
ALL = [("none", "none", recurrent, "contracting") for recurrent in (False, True)] + [
    (rule, modulation, recurrent, decay)
    for rule in RULES
    for modulation in ("direct", "retroactive")
    for recurrent in (False, True)
    for decay in (
        ("contracting", "plain") if "f" in RULES[rule].variables else ("contracting",)
    )
]
# with its units; graded ones have kernels of their own, too
UNITS = [(kind, "spiking") for kind in KINDS] + [
    (KINDS[1], "tanh"),
    (KINDS[4], "tanh"),
]


def spec_of(kind, channels, neurons, units="spiking", **more):
    """The kind of a layer."""
    rule, modulation, recurrent, decay = kind
    return LayerSpec(
        channels, neurons, rule, modulation, recurrent, units, decay=decay, **more
    )


pytestmark = pytest.mark.usefixtures("rule_of_many_terms")


class Case:
    """A layer with random numbers, a sequence for it, and gradients from above."""

    def __init__(self, spec, ticks, batch, seed, dtype=torch.float64, starts=0.15):
        self.spec = spec
        self.dtype = dtype
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(
                dtype
            )

        def uniform(*shape):
            return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)

        neurons = spec.neurons
        channels = spec.inputs
        tensors = {
            "weight": 1.5 * normal(neurons, channels) / channels**0.5,
            "bias": 0.3 * normal(neurons),
            "membrane_decay": uniform(neurons),
        }
        if spec.recurrent:
            tensors["recurrent_weight"] = normal(neurons, neurons) / neurons**0.5
        if spec.plastic:
            shape = neurons, spec.plastic_inputs
            tensors["plasticity_gain"] = normal(*shape) / shape[1] ** 0.5
            for name in ("pre_decay", "post_decay", "threshold_decay", "eta"):
                if name != "threshold_decay" or "threshold" in spec.state_shapes:
                    tensors[name] = 0.1 + 0.8 * uniform()
            if initial := list(RULES[spec.rule].coefficients.values()):
                tensors["coefficients"] = torch.tensor(
                    initial, dtype=dtype
                ) + 0.5 * uniform(len(initial))
            for name in ("pre_mean", "post_mean"):
                if name in spec.state_shapes:
                    tensors[f"{name}_share"] = 0.1 + 0.8 * uniform()
            if own := RULES[spec.rule].synaptic:
                tensors["synaptic"] = 0.5 + uniform(len(own), *shape)
        self.parameters = {k: x.requires_grad_() for k, x in tensors.items()}
        # some inputs silent, some spikes, some currents
        kind = uniform(ticks, batch, channels)
        currents = normal(ticks, batch, channels)
        self.inputs = (
            currents * (kind > 0.8) + ((kind > 0.5) & (kind < 0.8))
        ).requires_grad_()
        self.starts = (uniform(ticks, batch) < starts).to(dtype)
        self.rate = None
        if spec.plastic:
            self.rate = (0.7 * normal(ticks, batch, neurons)).requires_grad_()
        self.target = (
            normal(ticks, batch, neurons).requires_grad_() if spec.has_target else None
        )
        self.state = {
            k: (1.5 * uniform(batch, *shape) - 0.5).clamp(-spec.clip, spec.clip)
            for k, shape in spec.state_shapes.items()
        }
        self.state |= {k: x.abs() for k, x in self.state.items() if k.endswith("mean")}
        self.upstream = normal(ticks, batch, neurons), normal(ticks, batch, neurons)
        leaves = {"inputs": self.inputs, "rate": self.rate, "target": self.target}
        self.leaves = {
            k: x for k, x in {**self.parameters, **leaves}.items() if x is not None
        }

    def forward(self, name, ticks=slice(None), batch=slice(None), state=None):
        if state is None:
            state = {k: x[batch] for k, x in self.state.items()}
        rate, target = (
            None if x is None else x[ticks, batch] for x in (self.rate, self.target)
        )
        return import_module(BACKENDS[name]).layer_sequence(
            self.spec, LayerParameters(**self.parameters), self.inputs[ticks, batch],
            self.starts[ticks, batch], rate, state, target=target,
        )  # fmt: skip

    def run(self, name):
        """Values and gradients by name; the spikes apart."""
        leaves = self.leaves
        spikes, potentials, state = self.forward(name)
        gradients = torch.autograd.grad(
            (spikes, potentials),
            list(leaves.values()),
            self.upstream,
            allow_unused=True,
        )
        values = {f"state {k}": x for k, x in state.items()} | {
            "potentials": potentials
        }
        for key, gradient in zip(leaves, gradients):
            # a parameter without influence may have no gradient, or one of zero
            values["gradient " + key] = (
                torch.zeros_like(leaves[key]) if gradient is None else gradient
            )
        return spikes.detach(), {k: x.detach() for k, x in values.items()}

    def away_from_threshold(self):
        """Whether rounding cannot flip a spike."""
        with torch.no_grad():
            _, potentials, _ = self.forward("reference")
        return bool(((potentials - 1.0).abs() > 1e-5).all())


def assert_agree(case, name, tolerance):
    spikes, expected = case.run("reference")
    got_spikes, got = case.run(name)
    assert_same_outputs(case, got_spikes, spikes, tolerance)
    # float32 gradients that are small because large terms cancel keep the error of
    # those terms
    least = 1e-3 if case.dtype == torch.float64 else 1.0
    for key, value in expected.items():
        scale = max(least, float(value.abs().max()))
        error = float((value - got[key]).abs().max()) / scale
        assert error < tolerance, f"{key} is off by {error:.1e}"


def assert_same_outputs(case, got, expected, tolerance):
    if case.spec.units == "spiking":
        assert torch.equal(got, expected)
    else:
        torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)


# the reference


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_reference_are_those_of_finite_differences(kind, monkeypatch):
    # a smooth function in the place of the step, and a tight clip, so that some fast
    # weights come to the bound, where no gradient passes; none begins there
    monkeypatch.setattr(reference, "fire", lambda v, *_: torch.sigmoid(3.0 * (v - 1.0)))
    case = Case(spec_of(kind, 2, 2, soft_reset=kind[2], clip=0.5), 3, 2, seed=2)
    names = list(case.leaves)

    def run(*values):
        leaves = dict(zip(names, values))
        inputs, rate, target = (
            leaves.pop(k, None) for k in ("inputs", "rate", "target")
        )
        state = dict(zip(case.state, values[len(names) :]))
        spikes, potentials, end = reference.layer_sequence(
            case.spec,
            LayerParameters(**leaves),
            inputs,
            case.starts,
            rate,
            state,
            target=target,
        )
        return spikes, potentials, *end.values()

    state = [(0.9 * x).requires_grad_() for x in case.state.values()]
    assert torch.autograd.gradcheck(run, [*case.leaves.values(), *state])


@pytest.mark.parametrize(
    ("soft_reset", "potentials"),
    # beta 0.5 and current 1.2: fires at once; then 1.2 alone, or 0.5 * 1.2 - 1 + 1.2
    # and so on
    [(False, [1.2, 1.2, 1.2]), (True, [1.2, 0.8, 1.6])],
)
def test_reset_has_known_values(soft_reset, potentials):
    one = torch.ones(1, 1)
    starts = torch.zeros(3, 1)
    parameters = LayerParameters(1.2 * one, 0.0 * one[0], 0.5 * one[0])
    spikes, values, _ = reference.layer_sequence(
        LayerSpec(1, 1, soft_reset=soft_reset), parameters, one.expand(3, 1, 1), starts,
        None,
        {"potential": 0.0 * one},
    )  # fmt: skip
    assert values.flatten().tolist() == pytest.approx(potentials)
    assert spikes.flatten().tolist() == [float(v > 1.0) for v in potentials]


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_a_static_layer_is_a_plastic_one_without_gain(rule, recurrent):
    case = Case(LayerSpec(4, 3, rule, "direct", recurrent), 20, 3, seed=4)
    if RULES[rule].bias is not None:
        case.parameters["coefficients"] = torch.zeros_like(
            case.parameters["coefficients"]
        )
    with_gain, _, _ = case.forward("reference")
    case.parameters["plasticity_gain"] = torch.zeros_like(
        case.parameters["plasticity_gain"]
    )
    spikes, potentials, _ = case.forward("reference")
    case.spec = LayerSpec(4, 3, recurrent=recurrent)
    case.state = {"potential": case.state["potential"]}
    expected = case.forward("reference")
    assert torch.equal(spikes, expected[0]) and not torch.equal(spikes, with_gain)
    torch.testing.assert_close(potentials, expected[1], rtol=0, atol=1e-12)


# every backend


@pytest.mark.parametrize("name", FAST)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    kind_and_units=st.sampled_from(UNITS),
    soft_reset=st.booleans(),
    surrogate=st.sampled_from(list(SURROGATES)),
    channels=st.integers(1, 20),
    neurons=st.integers(1, 20),
    ticks=st.integers(1, 40),
    batch=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_agrees_with_the_reference(
    name, kind_and_units, soft_reset, surrogate, channels, neurons, ticks, batch, seed
):
    kind, units = kind_and_units
    spec = spec_of(
        kind,
        channels,
        neurons,
        units,
        surrogate=surrogate,
        slope=1.5,
        soft_reset=soft_reset,
        clip=0.5,
    )
    assert_agree(Case(spec, ticks, batch, seed), name, 1e-10)


@pytest.mark.parametrize("name", FAST)
def test_agrees_with_the_reference_in_float32(name):
    for seed in range(20):
        case = Case(
            LayerSpec(12, 17, "oja", "direct", clip=0.5),
            30,
            3,
            1000 * seed,
            torch.float32,
        )
        if case.away_from_threshold():
            assert_agree(case, name, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "units"),
    [(kind, "spiking") for kind in ALL] + [(kind, "tanh") for kind in KINDS],
)
@pytest.mark.parametrize("name", FAST)
def test_every_kind_that_is_registered_agrees(name, kind, units):
    for seed in range(5):
        case = Case(spec_of(kind, 13, 11, units, clip=0.5), 36, 3, seed)
        assert_agree(case, name, 1e-10)


@pytest.mark.parametrize(("kind", "units"), UNITS)
@pytest.mark.parametrize("name", FAST)
def test_every_kind_agrees_beyond_one_block_of_neurons(name, kind, units):
    case = Case(spec_of(kind, 70, 66, units), 36, 2, seed=1)
    assert_agree(case, name, 1e-10)


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("name", FAST)
def test_agrees_whether_inputs_are_sparse_or_not(name, share):
    case = Case(spec_of(KINDS[-1], 70, 66), 9, 2, seed=7)
    active = (
        torch.rand(case.inputs.shape, generator=torch.Generator().manual_seed(8))
        < share
    )
    case.inputs = (active * torch.randn_like(case.inputs)).requires_grad_()
    assert_agree(case, name, 1e-10)


@pytest.mark.parametrize(("kind", "units"), UNITS)
@pytest.mark.parametrize("ticks", [1, 40])
@pytest.mark.parametrize("name", FAST)
def test_agrees_without_gradients(name, ticks, kind, units):
    case = Case(spec_of(kind, 9, 7, units), ticks, 3, seed=2, starts=0.4)
    with torch.no_grad():
        expected = case.forward("reference")
        got = case.forward(name)
    assert_same_outputs(case, got[0], expected[0], 1e-10)
    torch.testing.assert_close(got[1:], expected[1:], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_two_calls_are_one(name, kind, grad):
    case = Case(spec_of(kind, 6, 5), 40, 3, seed=3)
    with torch.set_grad_enabled(grad):
        spikes, potentials, state = case.forward(name)
        for split in (1, 39, 17):
            first = case.forward(name, slice(None, split))
            carried = {k: x.detach() for k, x in first[2].items()}
            second = case.forward(name, slice(split, None), state=carried)
            assert torch.equal(torch.cat([first[0], second[0]]), spikes)
            torch.testing.assert_close(torch.cat([first[1], second[1]]), potentials)
            torch.testing.assert_close(second[2], state)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_an_episode_start_inside_is_a_fresh_run(name, kind):
    case = Case(spec_of(kind, 6, 5), 20, 2, seed=3, starts=0.0)
    case.state["potential"] += (
        1.0  # neurons that have just fired must not matter either
    )
    fresh = {k: torch.zeros_like(x) for k, x in case.state.items()}
    with torch.no_grad():
        carried = case.forward(name)[1]
        expected = case.forward(name, slice(4, None), state=fresh)
        case.starts[4] = 1.0
        spikes, potentials, state = case.forward(name)
    assert torch.equal(spikes[4:], expected[0])
    torch.testing.assert_close(potentials[4:], expected[1])
    torch.testing.assert_close(state, expected[2])
    assert (carried[4:] - potentials[4:]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_environments_do_not_see_each_other_and_states_are_not_changed(name, kind):
    case = Case(spec_of(kind, 6, 5), 20, 4, seed=4)
    before = {k: x.clone() for k, x in case.state.items()}
    some = [2, 0, 3]
    with torch.no_grad():
        spikes, potentials, state = case.forward(name, state=case.state)
        without_one = case.forward(name, batch=some)
    assert torch.equal(without_one[0], spikes[:, some])
    torch.testing.assert_close(without_one[1], potentials[:, some])
    torch.testing.assert_close(without_one[2], {k: x[some] for k, x in state.items()})
    assert all(torch.equal(case.state[k], before[k]) for k in before)


def of_squares(p, q, f):
    return p * p * q - f


def of_own_recall(p, q, f, y, growth: Synaptic = 1.0):
    return growth * (q - y) * p - f


def of_two_coefficients(p, q, a: Synaptic = 1.0, b: Synaptic = 0.0):
    return a * p * q + b * p


def of_own_rest(p, q, d: Synaptic = 1.0):
    return p * q + d


def of_recall_alone(p, q, y):
    return p * q - y


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        (of_squares, "not linear in p, x and f"),
        (of_own_recall, "each synapse multiplies the recalled current"),
        (of_two_coefficients, "different coefficients of each synapse"),
        (of_own_rest, "each synapse multiplies another term"),
        (of_recall_alone, "y is in another term"),
    ],
)
def test_a_rule_outside_the_general_form_runs_on_the_next_backend_with_one_line(
    formula, reason, caplog
):
    name = formula.__name__
    register(name, formula)
    try:
        spec = LayerSpec(3, 2, name, "direct")
        with caplog.at_level(logging.INFO):
            assert backends.choose("auto", spec) is reference
            assert backends.choose("auto", spec) is reference
        assert len(caplog.records) == 1 and name in caplog.text
        assert reason in caplog.text
    finally:
        del RULES[name]


def test_rules_of_one_formula_share_their_kernels():
    from spikepropamine.policies.compiled.derive import kernels_for

    register("oja_again", lambda p, q, f: p * q - q * q * f)
    try:
        kernels = [
            kernels_for(LayerSpec(3, 2, rule)) for rule in ("oja", "oja_again", "hebb")
        ]
        assert kernels[0] is kernels[1] and kernels[0] is not kernels[2]
    finally:
        del RULES["oja_again"]


def test_a_state_that_requires_gradients_is_refused():
    case = Case(LayerSpec(3, 2, "oja", "direct"), 2, 1, seed=5)
    case.state["fast_weights"].requires_grad_()
    with pytest.raises(ValueError, match="must not require gradients"):
        case.forward("numba")


def test_choice_falls_back_with_one_line(caplog):
    with caplog.at_level(logging.WARNING):
        assert backends.choose("numba", LayerSpec(1, 1, "oja"), "meta") is reference
    assert len(caplog.records) == 1
    assert "numba" in caplog.text
    assert backends.choose("reference", LayerSpec(1, 1, "oja")) is reference
    with pytest.raises(ValueError, match="numba, reference"):
        backends.choose("numpy")


@pytest.mark.parametrize("ticks", [1, 7])
def test_leaky_integration_agrees_with_the_reference(ticks, rng):
    def run(name):
        tensors = [torch.tensor(x, requires_grad=True) for x in (spikes, decay)]
        starts = torch.tensor(starts_array)
        values = backends.choose(name).leaky_sequence(
            tensors[0], starts, tensors[1], torch.tensor(value)
        )
        (values * torch.tensor(weight)).sum().backward()
        return [values.detach(), *(x.grad for x in tensors)]

    spikes = rng.random((ticks, 3, 5))
    starts_array = (rng.random((ticks, 3)) < 0.3).astype(float)
    decay = rng.random(5)
    value = rng.random((3, 5))
    weight = rng.random((ticks, 3, 5))
    for found, expected in zip(run("numba"), run("reference")):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.nightly
def test_a_kernel_is_found_on_disk_by_another_process_until_a_source_changes(tmp_path):
    from spikepropamine.policies.compiled import numba_private

    program = """
import sys
from importlib import import_module
from spikepropamine.policies.compiled import numba_private
if sys.argv[1] != "-":
    numba_private.SOURCES = sys.argv[1]
from spikepropamine.policies.compiled import rows
rows.count_active(__import__("numpy").float64(0), 0, 0)
print(sum(rows.count_active.stats.cache_hits.values()))
"""

    def hits(sources):
        result = subprocess.run(
            [sys.executable, "-c", program, sources],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(result.stdout)

    assert [hits("-"), hits("-"), hits("others"), hits("others")] == [0, 1, 0, 1]
    assert (
        numba_private.SOURCES
    )  # of all files there, so that it changes with any of them


# the compiled step


@st.composite
def networks(draw):
    """A network of any kind, with numbers far from their initial ones."""
    rule, modulation, recurrent, decay = draw(st.sampled_from(KINDS))
    layers = draw(st.integers(1, 3))
    ticks = draw(st.integers(1, 3))
    several = {"min_size": layers, "max_size": layers}
    plastic = draw(st.lists(st.booleans(), **several))
    settings = {
        "rule": rule,
        "modulation": modulation,
        "decay": decay,
        "hidden": draw(st.lists(st.sampled_from([1, 3, 21, 64, 70, 128]), **several)),
        "plastic": plastic,
        "recurrent": [
            recurrent if rule != "none" else draw(st.booleans()) for _ in plastic
        ],
        "ticks": ticks,
        "phases": ticks > 1 and draw(st.booleans()),
        "delay": draw(st.booleans()),
        "encoder": draw(st.sampled_from([(5,), (4, 6), *[()] * (not plastic[0])])),
        "readout": draw(st.sampled_from(["spikes", "spikes+potentials"])),
        "soft_reset": draw(st.booleans()),
        "clip": draw(st.sampled_from([0.05, 1.0])),
    }
    exogenous = draw(st.sampled_from([(0, 1, 2), (2, 0), ()]))
    network = make_network(
        seed=draw(st.integers(0, 99)), exogenous=exogenous, **settings
    ).double()
    with torch.no_grad():
        for x in network.parameters():
            x.add_(0.3 * torch.randn_like(x))
    return network


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.integers(0, 99), st.integers(1, 4))
def test_a_compiled_step_is_a_step_of_the_reference(network, seed, batch):
    """Features and the whole new state, with episode starts and lesions, step after
    step.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = 5
    inputs = 2 * torch.randn(steps, batch, 3, generator=generator, dtype=torch.float64)
    starts = (torch.rand(steps, batch, generator=generator) < 0.2).double()
    flags = (torch.rand(2, batch, 1, generator=generator) < 0.3).double()
    flat = torch.zeros(1, batch, network.layout.size, dtype=torch.float64)
    for name, flag in zip(FLAGS, flags):
        network.layout.get(flat, name)[...] = flag
    expected = network.layout.unpack(flat[0].clone())
    reference = copy.deepcopy(network)
    for module in (reference, *reference.layers):
        module.backend = "reference"
    with torch.no_grad():
        for x, start in zip(inputs.unsqueeze(1), starts.unsqueeze(1)):
            before = flat.clone()
            features, (new, _) = network(x, (flat, flat[..., :1]), start)
            assert torch.equal(flat, before)
            wanted, _, expected = reference.run(x, start, expected)
            torch.testing.assert_close(features, wanted, rtol=1e-10, atol=1e-10)
            packed = reference.layout.pack(expected)
            torch.testing.assert_close(new[0], packed, rtol=1e-10, atol=1e-10)
            flat = new


def test_a_step_refuses_what_does_not_fit():
    network = make_network()
    good = {
        "inputs": torch.rand(1, 2, 3),
        "flat": torch.zeros(1, 2, network.layout.size),
    }
    for bad, words in (
        ({"inputs": torch.rand(1, 2, 2)}, "(1, 2, 2)"),
        ({"inputs": torch.rand(1, 3, 3)}, "(1, 3, 3)"),
        (
            {"flat": torch.zeros(1, 2, network.layout.size + 1)},
            str(network.layout.size + 1),
        ),
        ({"flat": good["flat"].double()}, "float64"),
    ):
        inputs, flat = (good | bad).values()
        with torch.no_grad(), pytest.raises(ValueError, match=re.escape(words)):
            network(inputs, (flat, flat[..., :1]), torch.zeros(1, 2))
