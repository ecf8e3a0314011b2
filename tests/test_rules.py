"""The rules of plasticity: the model's equations in plain Python, and what each rule is for."""

import numpy as np
import pytest
import torch

from spikepropamine.policies.layers import SpikingLayer
from spikepropamine.policies.reference import LayerParameters, LayerSpec, layer_sequence
from spikepropamine.policies.rules import RULES, bcm, oja

TICKS, NEURONS, INPUTS = 3, 2, 2
MODULATIONS = ["none", "direct", "retroactive"]

# One environment, three ticks; chosen so that neuron 0 fires at ticks 0 and 2 and neuron 1 at
# ticks 1 and 2, and so that the fast weights have moved by the time they matter.
INPUT = [[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
WEIGHT = [[1.2, -0.3], [0.4, 0.9]]
BIAS = [0.05, -0.1]
BETA = [0.9, 0.5]
GAIN = [[0.7, -0.4], [0.6, 0.8]]
RECURRENT = [[0.1, 0.2], [-0.3, 0.4]]
LP, LQ, LT, ETA = 0.6, 0.5, 0.8, 0.3
MODULATOR = [[0.5, 0.9], [-0.4, 0.8], [0.7, -0.6]]
START = {  # not zero, so that every term of the equations matters
    "potential": [0.3, 0.2],
    "pre": [0.5, 0.2],
    "post": [0.4, 0.3],
    "threshold": [0.1, 0.2],
    "fast_weights": [[0.2, -0.1], [0.3, 0.15]],
    "eligibility": [[0.1, 0.2], [-0.2, 0.1]],
}


def drive_by_hand(rule, p, q, theta, fast):
    """D_ji of one synapse."""
    if rule == "hebb":
        return q * p - fast
    if rule == "oja":
        return q * (p - q * fast)
    return p * q * (q - theta)


def layer_by_hand(rule, modulation, recurrent, clip):
    """The model, neuron by neuron, in Python's floats: spikes, potentials and the last state."""
    v, p, q, theta = (list(START[k]) for k in ("potential", "pre", "post", "threshold"))
    fast, eligibility = ([list(row) for row in START[k]] for k in ("fast_weights", "eligibility"))
    s = [float(x > 1.0) for x in v]
    spikes, potentials = [], []
    for t in range(TICKS):
        pre = s if recurrent else INPUT[t]
        new_v = []
        for j in range(NEURONS):
            current = BIAS[j] + sum(WEIGHT[j][i] * INPUT[t][i] for i in range(INPUTS))
            if recurrent:
                current += sum(RECURRENT[j][i] * s[i] for i in range(NEURONS))
            current += sum(GAIN[j][i] * fast[j][i] * pre[i] for i in range(len(pre)))
            new_v.append(BETA[j] * v[j] * (1 - s[j]) + current)
        v, s = new_v, [float(x > 1.0) for x in new_v]
        p = [LP * p[i] + (1 - LP) * pre[i] for i in range(len(p))]
        q = [LQ * q[j] + (1 - LQ) * s[j] for j in range(NEURONS)]
        theta = [LT * theta[j] + (1 - LT) * q[j] ** 2 for j in range(NEURONS)]
        for j in range(NEURONS):
            for i in range(len(p)):
                drive = drive_by_hand(rule, p[i], q[j], theta[j], fast[j][i])
                rate = ETA if modulation == "none" else MODULATOR[t][j]
                change = rate * (eligibility[j][i] if modulation == "retroactive" else drive)
                eligibility[j][i] = (1 - ETA) * eligibility[j][i] + ETA * drive
                fast[j][i] = max(-clip, min(clip, fast[j][i] + change))
        spikes.append(s)
        potentials.append(v)
    state = {"potential": v, "pre": p, "post": q, "fast_weights": fast}
    if rule == "bcm":
        state["threshold"] = theta
    if modulation == "retroactive":
        state["eligibility"] = eligibility
    return spikes, potentials, state


def batch(x):
    """A list as a float64 tensor with a batch of one."""
    return torch.tensor(x, dtype=torch.float64).unsqueeze(0)


def tensor(x):
    return torch.tensor(x, dtype=torch.float64)


def chosen_parameters():
    return LayerParameters(
        tensor(WEIGHT), tensor(BIAS), tensor(BETA), tensor(RECURRENT), tensor(GAIN),
        tensor(LP), tensor(LQ), tensor(LT), tensor(ETA),
    )  # fmt: skip


def run_layer(spec, rate=None):
    """The layer on the numbers above; spikes, potentials [T, n] and the state without a batch."""
    if rate is None:
        plain = [[ETA] * NEURONS] * TICKS
        rate = plain if spec.modulation == "none" else MODULATOR
    state = {k: batch(START[k]) for k in spec.state_shapes}
    spikes, potentials, state = layer_sequence(
        spec,
        chosen_parameters(),
        batch(INPUT).transpose(0, 1),
        torch.zeros(TICKS, 1, dtype=torch.float64),
        batch(rate).transpose(0, 1),
        state,
    )
    return spikes[:, 0], potentials[:, 0], {k: x[0] for k, x in state.items()}


@pytest.mark.parametrize("clip", [1.0, 0.31])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("modulation", MODULATIONS)
@pytest.mark.parametrize("rule", RULES)
def test_three_ticks_of_two_neurons_are_as_by_hand(rule, modulation, recurrent, clip):
    spec = LayerSpec(INPUTS, NEURONS, rule, modulation, recurrent, clip=clip)
    by_hand = layer_by_hand(rule, modulation, recurrent, clip)
    expected_spikes, expected_potentials, expected = by_hand
    assert len({tuple(s) for s in expected_spikes}) > 1  # or the example would be too easy
    spikes, potentials, state = run_layer(spec)
    assert spikes.tolist() == expected_spikes
    torch.testing.assert_close(potentials, tensor(expected_potentials), rtol=0, atol=1e-12)
    assert set(state) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(state[name], tensor(value), rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("hebb", 0.5 * 0.8 - 0.2), ("oja", 0.5 * (0.8 - 0.5 * 0.2)), ("bcm", 0.8 * 0.5 * (0.5 - 0.1))],
)
def test_drive_of_one_synapse(rule, expected):
    p, q, theta, fast = (torch.full((1, 1), x) for x in (0.8, 0.5, 0.1, 0.2))
    assert RULES[rule](p, q, theta, fast.unsqueeze(0)).item() == pytest.approx(expected)


def test_drive_pairs_every_presynaptic_with_every_postsynaptic_neuron_of_one_environment(rng):
    p, q = rng.random((2, 3)), rng.random((2, 4))
    drive = RULES["hebb"](torch.tensor(p), torch.tensor(q), None, torch.zeros(2, 4, 3))
    np.testing.assert_allclose(drive, q[:, :, None] * p[:, None, :])


def test_the_neuromodulator_is_as_by_hand():
    spec = LayerSpec(2, 2, "oja", "direct")
    layer = SpikingLayer(spec, 2, 1.0, 0.8, 0.6, 0.9, 0.18, 0.3, 1.0)
    weight, exogenous, bias = [[0.5, -0.2], [0.1, 0.3]], [[0.4, 0.0], [0.0, -0.7]], [0.1, -0.1]
    for name, value in zip(("weight", "exogenous", "bias"), (weight, exogenous, bias)):
        getattr(layer, f"modulator_{name}").data = torch.tensor(value)
    rate = layer.plasticity_rate(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.5, -1.0]]]))
    expected = np.tanh([0.5 + 0.4 * 0.5 + 0.1, 0.1 + 0.7 - 0.1])
    np.testing.assert_allclose(rate[0, 0].detach(), expected, rtol=1e-6)


@pytest.mark.parametrize("modulation", ["direct", "retroactive"])
@pytest.mark.parametrize("rule", RULES)
def test_rate_zero_leaves_fast_weights_alone(rule, modulation):
    spec = LayerSpec(INPUTS, NEURONS, rule, modulation)
    fast = run_layer(spec, rate=[[0.0, 0.0]] * TICKS)[2]["fast_weights"]
    assert fast.tolist() == START["fast_weights"]
    assert run_layer(spec)[2]["fast_weights"].tolist() != START["fast_weights"]


@pytest.mark.parametrize("modulation", MODULATIONS)
@pytest.mark.parametrize("rule", RULES)
def test_fast_weights_reach_the_bound_and_never_pass_it(rule, modulation):
    spec = LayerSpec(INPUTS, NEURONS, rule, modulation, clip=0.4)
    for sign in (1.0, -1.0):
        rate = [[sign * 50.0] * NEURONS] * TICKS
        assert run_layer(spec, rate)[2]["fast_weights"].abs().max() == 0.4


def correlated_inputs(rng, count=256):
    """Inputs [count, 3], and the eigenvalues and eigenvectors of their correlation matrix."""
    mixing = np.array([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.6, 0.2, 0.4]])
    inputs = rng.normal(size=(count, 3)) @ mixing.T
    return inputs, *np.linalg.eigh(inputs.T @ inputs / count)


def test_oja_on_a_linear_neuron_finds_the_principal_direction(rng):
    inputs, _, vectors = correlated_inputs(rng)
    pre = torch.tensor(inputs)
    fast = torch.tensor([[[0.3, -0.2, 0.5]]], dtype=torch.float64)
    for _ in range(400):
        post = pre @ fast[0].T  # a linear neuron, q = F p, on every input at once
        drive = oja(pre, post, None, fast.expand(len(pre), 1, 3))
        fast = fast + 0.1 * drive.mean(dim=0, keepdim=True)
    direction = fast.flatten().numpy()
    # the fixed point is known exactly: a unit vector along the first principal direction
    np.testing.assert_allclose(np.abs(direction @ vectors[:, -1]), 1.0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(direction), 1.0, atol=1e-6)


def test_oja_sample_by_sample_finds_the_principal_direction(rng):
    inputs, values, vectors = correlated_inputs(rng)
    assert values[-1] > 3 * values[-2]  # or finding it would take long
    fast = torch.tensor([[[0.3, -0.2, 0.5]]], dtype=torch.float64)
    for pre in torch.tensor(inputs).repeat(8, 1).unsqueeze(1):
        fast = fast + 0.01 * oja(pre, pre @ fast[0].T, None, fast)
    direction = fast.flatten().numpy()
    assert abs(direction @ vectors[:, -1]) / np.linalg.norm(direction) > 0.99
    assert 0.8 < np.linalg.norm(direction) < 1.2


def test_bcm_potentiates_above_its_threshold_and_depresses_below():
    pre = torch.tensor([[1.0, 0.5, 0.0]])
    threshold = torch.tensor([[0.5]])
    fast = torch.zeros(1, 1, 3)
    above, below, at = (
        bcm(pre, torch.tensor([[q]]), threshold, fast)[0, 0] for q in (0.6, 0.4, 0.5)
    )
    assert (above[:2] > 0).all() and (below[:2] < 0).all() and (at == 0).all()
    assert above[2] == below[2] == 0  # a silent input changes nothing


def test_bcm_threshold_tracks_the_mean_square_of_the_postsynaptic_trace(rng):
    ticks, environments, decay = 400, 256, 0.5
    spec = LayerSpec(1, 1, "bcm")
    inputs = (rng.random((ticks, environments, 1)) < 0.4).astype(np.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    parameters = LayerParameters(
        2.0 * one, tensor([0.0]), tensor([1e-9]), None, 0.0 * one,
        tensor(0.5), tensor(decay), tensor(0.98), tensor(0.1),
    )  # fmt: skip
    zero = {
        k: torch.zeros(environments, *v, dtype=torch.float64) for k, v in spec.state_shapes.items()
    }
    no_starts = torch.zeros(ticks, environments, dtype=torch.float64)
    spikes, _, state = layer_sequence(
        spec, parameters, torch.tensor(inputs), no_starts, torch.zeros(ticks, environments, 1), zero
    )
    assert torch.equal(spikes, torch.tensor(inputs))  # the neuron repeats its input
    trace, traces = np.zeros((environments, 1)), []
    for s in inputs:
        trace = decay * trace + (1 - decay) * s
        traces.append(trace)
    traces = np.stack(traces)
    mean_square, square_of_mean = np.mean(traces**2), np.mean(traces) ** 2
    assert state["threshold"].mean().item() == pytest.approx(mean_square, rel=0.05)
    assert mean_square > 1.3 * square_of_mean  # so the two can be told apart
