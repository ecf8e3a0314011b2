"""Every backend agrees with the reference, value and gradient."""

import logging
import time

import numpy as np
import pytest
import torch
from conftest import KINDS
from hypothesis import given, settings
from hypothesis import strategies as st

from spikepropamine.policies import backends
from spikepropamine.policies.backends import BACKENDS
from spikepropamine.policies.compiled.specialise import kernels_for
from spikepropamine.policies.reference import LayerParameters, LayerSpec
from spikepropamine.policies.rules import RULES, register
from spikepropamine.policies.surrogates import SURROGATES

NAMES = list(BACKENDS)
FAST = [name for name in NAMES if name != "reference"]
# every kind of layer that has kernels of its own: where a drive has no fast weight in it, nothing
# decays, and the kernels of layers without modulation are those of direct modulation
ALL = [("none", "none", recurrent, "contracting") for recurrent in (False, True)] + [
    (rule, modulation, recurrent, decay)
    for rule in RULES
    for modulation in ("direct", "retroactive")
    for recurrent in (False, True)
    for decay in (("contracting", "plain") if "f" in RULES[rule].variables else ("contracting",))
]


def spec_of(kind, channels, neurons, **more):
    """The kind of a layer."""
    rule, modulation, recurrent, decay = kind
    return LayerSpec(channels, neurons, rule, modulation, recurrent, decay=decay, **more)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Case:
    """A layer with random numbers, a sequence for it, and gradients from above."""

    def __init__(self, spec, ticks, batch, seed, dtype=torch.float64, starts=0.15):
        self.spec, self.dtype = spec, dtype
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        def uniform(*shape):
            return torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)

        neurons, channels = spec.neurons, spec.inputs
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
                tensors["coefficients"] = torch.tensor(initial, dtype=dtype) + 0.5 * uniform(
                    len(initial)
                )
            for name in ("pre_mean", "post_mean"):
                if name in spec.state_shapes:
                    tensors[f"{name}_share"] = 0.1 + 0.8 * uniform()
            if own := RULES[spec.rule].synaptic:
                tensors["synaptic"] = 0.5 + uniform(len(own), *shape)
        self.parameters = {k: x.requires_grad_() for k, x in tensors.items()}
        # some inputs silent, some spikes, some currents
        kind = uniform(ticks, batch, channels)
        currents = normal(ticks, batch, channels)
        self.inputs = (currents * (kind > 0.8) + ((kind > 0.5) & (kind < 0.8))).requires_grad_()
        self.starts = (uniform(ticks, batch) < starts).to(dtype)
        self.rate = None
        if spec.plastic:
            self.rate = (0.7 * normal(ticks, batch, neurons)).requires_grad_()
        self.target = normal(ticks, batch, neurons).requires_grad_() if spec.has_target else None
        self.state = {
            k: (1.5 * uniform(batch, *shape) - 0.5).clamp(-spec.clip, spec.clip)
            for k, shape in spec.state_shapes.items()
        }
        self.state |= {k: x.abs() for k, x in self.state.items() if k.endswith("mean")}
        self.upstream = normal(ticks, batch, neurons), normal(ticks, batch, neurons)

    def forward(self, name, ticks=slice(None), batch=slice(None), state=None):
        if state is None:
            state = {k: x[batch] for k, x in self.state.items()}
        rate, target = (None if x is None else x[ticks, batch] for x in (self.rate, self.target))
        return BACKENDS[name](
            self.spec, LayerParameters(**self.parameters), self.inputs[ticks, batch],
            self.starts[ticks, batch], rate, state, target=target,
        )  # fmt: skip

    def run(self, name):
        """Values and gradients by name; the spikes apart."""
        leaves = {**self.parameters, "inputs": self.inputs, "rate": self.rate}
        leaves |= {"target": self.target}
        leaves = {k: x for k, x in leaves.items() if x is not None}
        spikes, potentials, state = self.forward(name)
        gradients = torch.autograd.grad(
            (spikes, potentials), list(leaves.values()), self.upstream, allow_unused=True
        )
        values = {f"state {k}": x for k, x in state.items()} | {"potentials": potentials}
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
    assert torch.equal(spikes, got_spikes)
    # float32 gradients that are small because large terms cancel keep the error of those terms
    least = 1e-3 if case.dtype == torch.float64 else 1.0
    for key, value in expected.items():
        scale = max(least, float(value.abs().max()))
        error = float((value - got[key]).abs().max()) / scale
        assert error < tolerance, f"{key} is off by {error:.1e}"


@pytest.mark.parametrize("name", FAST)
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    kind=st.sampled_from(KINDS),
    soft_reset=st.booleans(),
    surrogate=st.sampled_from(list(SURROGATES)),
    channels=st.integers(1, 20),
    neurons=st.integers(1, 20),
    ticks=st.integers(1, 40),
    batch=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_agrees_with_the_reference(
    name, kind, soft_reset, surrogate, channels, neurons, ticks, batch, seed
):
    spec = spec_of(
        kind, channels, neurons, surrogate=surrogate, slope=1.5, soft_reset=soft_reset, clip=0.5
    )
    assert_agree(Case(spec, ticks, batch, seed), name, 1e-10)


@pytest.mark.parametrize("kind", KINDS[1:3])
@pytest.mark.parametrize("name", FAST)
def test_agrees_with_the_reference_in_float32(name, kind):
    for seed in range(20):
        case = Case(spec_of(kind, 12, 17, clip=0.5), 30, 3, 1000 * seed, torch.float32)
        if case.away_from_threshold():
            assert_agree(case, name, 1e-4)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("name", ["torch", pytest.param("numba", marks=pytest.mark.slow)])
def test_every_kind_that_is_registered_agrees(name, kind):
    assert len(set(ALL)) >= 46
    for seed in range(5 if name == "numba" else 1):
        assert_agree(Case(spec_of(kind, 13, 11, clip=0.5), 36, 3, seed), name, 1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FAST)
def test_every_kind_agrees_beyond_one_block_of_neurons(name, kind):
    assert_agree(Case(spec_of(kind, 70, 66), 36, 2, seed=1), name, 1e-10)


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("share", [0.0, 0.15, 0.5])
@pytest.mark.parametrize("name", FAST)
def test_agrees_whether_inputs_are_sparse_or_not(name, share, kind):
    case = Case(spec_of(kind, 70, 66), 9, 2, seed=7)
    active = torch.rand(case.inputs.shape, generator=torch.Generator().manual_seed(8)) < share
    case.inputs = (active * torch.randn_like(case.inputs)).requires_grad_()
    assert_agree(case, name, 1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ticks", [1, 2, 40])
@pytest.mark.parametrize("name", FAST)
def test_agrees_without_gradients(name, ticks, kind):
    case = Case(spec_of(kind, 9, 7), ticks, 3, seed=2, starts=0.4)
    before = {k: x.clone() for k, x in case.state.items()}
    with torch.no_grad():
        expected, got = case.forward("reference"), case.forward(name)
    assert torch.equal(expected[0], got[0])
    torch.testing.assert_close(got[1:], expected[1:], rtol=1e-10, atol=1e-10)
    assert all(torch.equal(case.state[k], before[k]) for k in before), "the old state was changed"


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
def test_environments_do_not_see_each_other(name, kind):
    case = Case(spec_of(kind, 6, 5), 20, 4, seed=4)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        spikes, potentials, state = case.forward(name)
        moved = case.forward(name, batch=order)
    assert torch.equal(moved[0], spikes[:, order])
    torch.testing.assert_close(moved[1], potentials[:, order])
    torch.testing.assert_close(moved[2], {k: x[order] for k, x in state.items()})


def test_a_rule_outside_the_general_form_runs_on_the_next_backend_with_one_line(caplog):
    register("of_squares", lambda p, q, f: p * p * q - f)
    try:
        spec = LayerSpec(3, 2, "of_squares", "direct")
        with caplog.at_level(logging.INFO):
            assert backends.choose("auto", spec) is BACKENDS["torch"]
            assert backends.choose("auto", spec) is BACKENDS["torch"]
        assert len(caplog.records) == 1 and "of_squares" in caplog.text
        assert_agree(Case(spec, 5, 2, seed=1), "torch", 1e-10)
    finally:
        del RULES["of_squares"]


def test_rules_of_one_formula_share_their_kernels():
    register("oja_again", lambda p, q, f: p * q - q * q * f)
    try:
        kernels = [kernels_for(LayerSpec(3, 2, rule)) for rule in ("oja", "oja_again", "hebb")]
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
        assert backends.choose("numba", LayerSpec(1, 1, "oja"), "meta") is BACKENDS["torch"]
    assert len(caplog.records) == 1
    assert "numba" in caplog.text
    assert backends.choose("reference", LayerSpec(1, 1, "oja")) is BACKENDS["reference"]
    with pytest.raises(ValueError, match="numba, torch, reference"):
        backends.choose("numpy")


def test_numba_keeps_its_speed():
    """Training at B 8, n 64, T 64: 23 times with AVX-512, less a margin of 30 %."""
    least = 16.0 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8.0
    case = Case(LayerSpec(64, 64, "oja", "direct"), 64, 8, seed=6, dtype=torch.float32)

    def seconds(name, repeats):
        start = time.process_time()
        for _ in range(repeats):
            case.run(name)
        return (time.process_time() - start) / repeats

    seconds("numba", 2), seconds("reference", 1)
    ratios = [seconds("reference", 1) / seconds("numba", 10) for _ in range(7)]
    assert np.median(ratios) > least


@pytest.mark.parametrize("ticks", [1, 7])
def test_leaky_integration_agrees_with_the_reference(ticks, rng):
    def run(name):
        tensors = [torch.tensor(x, requires_grad=True) for x in (spikes, decay)]
        starts = torch.tensor(starts_array)
        values = backends.choose_leaky(name)(tensors[0], starts, tensors[1], torch.tensor(value))
        (values * torch.tensor(weight)).sum().backward()
        return [values.detach(), *(x.grad for x in tensors)]

    spikes = rng.random((ticks, 3, 5))
    starts_array = (rng.random((ticks, 3)) < 0.3).astype(float)
    decay, value, weight = rng.random(5), rng.random((3, 5)), rng.random((ticks, 3, 5))
    for found, expected in zip(run("numba"), run("reference")):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
