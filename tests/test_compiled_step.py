"""The compiled step of a whole network: that of the reference, and never of numbers gone by."""

import copy
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conftest import KINDS, make_network
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikepropamine.policies.network import FLAGS


def observations(steps, batch=2, channels=3):
    return torch.rand(steps, batch, channels) * 2 - 1


@st.composite
def networks(draw):
    """A network of any kind, with numbers far from their initial ones."""
    rule, modulation, recurrent, decay = draw(st.sampled_from(KINDS))
    layers = draw(st.integers(1, 3))
    several = {"min_size": layers, "max_size": layers}
    plastic = draw(st.lists(st.booleans(), **several))
    settings = {
        "rule": rule,
        "modulation": modulation,
        "decay": decay,
        "hidden": draw(st.lists(st.sampled_from([1, 3, 21, 64, 70, 128]), **several)),
        "plastic": plastic,
        "recurrent": [recurrent if rule != "none" else draw(st.booleans()) for _ in plastic],
        "ticks": draw(st.integers(1, 3)),
        "encoding": draw(st.sampled_from(["current", "population"])),
        "readout": draw(st.sampled_from(["spikes", "spikes+potentials"])),
        "soft_reset": draw(st.booleans()),
        "clip": draw(st.sampled_from([0.05, 1.0])),
    }
    exogenous = draw(st.sampled_from([(0, 1, 2), (2, 0), ()]))
    network = make_network(seed=draw(st.integers(0, 99)), exogenous=exogenous, **settings).double()
    with torch.no_grad():
        for x in network.parameters():
            x.add_(0.3 * torch.randn_like(x))
    return network


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.integers(0, 99), st.integers(1, 4))
def test_a_compiled_step_is_a_step_of_the_reference(network, seed, batch):
    """Features and the whole new state, with episode starts and lesions, step after step."""
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


def test_a_step_follows_the_optimiser_a_loaded_state_and_a_new_dtype():
    network, other = make_network(), make_network(seed=1)
    inputs, starts = observations(1), torch.zeros(1, 2)

    def features(dtype=torch.float32):
        flat = torch.ones(1, 2, network.layout.size, dtype=dtype)
        with torch.no_grad():
            return network(inputs.to(dtype), (flat, flat[..., :1]), starts)[0]

    for fused in (False, True):
        optimizer = torch.optim.Adam([network.readout_decay], lr=0.1, fused=fused)
        network.readout_decay.grad = torch.ones_like(network.readout_decay)
        before = features()
        optimizer.step()
        assert not torch.equal(features(), before)
    before = features()
    network.load_state_dict(other.state_dict())
    after = features()
    assert not torch.equal(after, before)
    network.double()
    assert features(torch.float64).dtype == torch.float64
    torch.testing.assert_close(features(torch.float64).float(), after)


def test_threads_do_not_meet(switching):
    network = make_network(hidden=[64, 64, 64], plastic=[True] * 3, recurrent=[False] * 3, ticks=8)
    inputs = torch.rand(2, 60, 1, 2, 3)

    def played(which):
        state, features = torch.zeros(1, 2, network.layout.size), []
        for x in inputs[which]:
            with torch.no_grad():
                out, (state, _) = network(x, (state, state[..., :1]), torch.zeros(1, 2))
            features.append(out)
        return torch.stack(features)

    expected = [played(0), played(1)]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            for one, other in zip(pool.map(played, (0, 1)), expected):
                assert torch.equal(one, other)


def test_a_copy_of_a_network_has_numbers_of_its_own():
    network = make_network()
    inputs, starts = observations(1), torch.zeros(1, 2)
    flat = torch.ones(1, 2, network.layout.size)
    with torch.no_grad():
        before = network(inputs, (flat, flat[..., :1]), starts)[0]
        twin = copy.deepcopy(network)
        twin.readout_decay.add_(1.0)
        assert torch.equal(network(inputs, (flat, flat[..., :1]), starts)[0], before)
        assert not torch.equal(twin(inputs, (flat, flat[..., :1]), starts)[0], before)


def test_a_step_refuses_what_does_not_fit():
    network = make_network()
    good = {"inputs": observations(1), "flat": torch.zeros(1, 2, network.layout.size)}
    for bad, words in (
        ({"inputs": observations(1, channels=2)}, "(1, 2, 2)"),
        ({"inputs": observations(1, batch=3)}, "(1, 3, 3)"),
        ({"flat": torch.zeros(1, 2, network.layout.size + 1)}, str(network.layout.size + 1)),
        ({"flat": good["flat"].double()}, "float64"),
    ):
        inputs, flat = (good | bad).values()
        with torch.no_grad(), pytest.raises(ValueError, match=re.escape(words)):
            network(inputs, (flat, flat[..., :1]), torch.zeros(1, 2))
