"""The rules of plasticity, in plain Python, and what each rule is for; spikes."""

import math
import shutil
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikepropamine.policies.config import NetworkConfig
from spikepropamine.policies.layers import SpikingLayer
from spikepropamine.policies.reference import (
    SURROGATES,
    THRESHOLD,
    LayerParameters,
    LayerSpec,
    fire,
    layer_sequence,
)
from spikepropamine.policies.rules import (
    FLOOR,
    RULES,
    VARIABLES,
    abcd,
    covariance,
    oja,
    register,
    stdp,
)  # fmt: skip
from spikepropamine.versions import HERE

TICKS = 3
NEURONS = 2
INPUTS = 2
MODULATIONS = ["none", "direct", "retroactive"]

# One environment, three ticks; chosen so that neuron 0 fires at ticks 0 and 2 and
# neuron 1 at ticks 1 and 2, and so that the fast weights have moved by the time they
# matter.
INPUT = [[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
WEIGHT = [[1.2, -0.3], [0.4, 0.9]]
BIAS = [0.05, -0.1]
BETA = [0.9, 0.5]
GAIN = [[0.7, -0.4], [0.6, 0.8]]
RECURRENT = [[0.1, 0.2], [-0.3, 0.4]]
LP = 0.6
LQ = 0.5
LT = 0.8
ETA = 0.3
MODULATOR = [[0.5, 0.9], [-0.4, 0.8], [0.7, -0.6]]
TARGET = [[0.8, -0.5], [1.2, 0.3], [-0.6, 0.9]]
COEFFICIENTS = {  # away from the initial ones
    name: [0.7 * x + 0.2 * (k + 1) for k, x in enumerate(rule.coefficients.values())]
    for name, rule in RULES.items()
}
COEFFICIENTS["bcpnn"] = [-0.6]  # with more of it all neurons fire all the time
SYNAPTIC = [
    [0.9, 1.1],
    [1.3, 0.8],
]  # of each synapse, the same for all such coefficients
START = {  # not zero, so that every term of the equations matters
    "potential": [0.3, 0.2],
    "pre": [0.5, 0.2],
    "post": [0.4, 0.3],
    "threshold": [0.1, 0.2],
    "fast_weights": [[0.2, -0.1], [0.3, 0.15]],
    "eligibility": [[0.1, 0.2], [-0.2, 0.1]],
    "pre_mean": [0.3, 0.1],
    "post_mean": [0.2, 0.4],
}
PRE_SHARE = 0.4
POST_SHARE = 0.7


def update_by_hand(rule, modulation, decay, rate, values, eligibility):
    """F before the clip, and the eligibility, of one synapse after a tick."""
    f = values["f"]
    drive = rule(values, COEFFICIENTS[rule.name])
    free = rule(values | {"f": 0.0, "y": 0.0}, COEFFICIENTS[rule.name])
    if decay == "plain":
        free = drive
        decayed = 0.0
    else:
        decayed = abs(rate) * (drive - free)
    if modulation == "retroactive":
        return f + rate * eligibility + decayed, (1 - ETA) * eligibility + ETA * free
    return f + rate * free + decayed, eligibility


def layer_by_hand(rule, modulation, recurrent, clip, decay):
    """The model, neuron by neuron, in Python's floats: spikes, potentials and the last
    state.
    """
    v, p, q, theta = (list(START[k]) for k in ("potential", "pre", "post", "threshold"))
    fast, eligibility = (
        [list(row) for row in START[k]] for k in ("fast_weights", "eligibility")
    )
    usual_p = list(START["pre_mean"])
    usual_q = list(START["post_mean"])
    s = [float(x > 1.0) for x in v]
    spikes = []
    potentials = []
    for t in range(TICKS):
        pre = s if recurrent else INPUT[t]
        new_v = []
        for j in range(NEURONS):
            current = BIAS[j] + sum(WEIGHT[j][i] * INPUT[t][i] for i in range(INPUTS))
            if recurrent:
                current += sum(RECURRENT[j][i] * s[i] for i in range(NEURONS))
            for i in range(len(pre)):
                worth = fast[j][i]
                if rule == "bcpnn":  # log-odds, with floors of 0.1
                    odds = 1 + worth / (usual_p[i] + 0.1) / (usual_q[j] + 0.1)
                    worth = math.log(max(odds, 0.1))
                current += GAIN[j][i] * worth * pre[i]
            if rule == "bcpnn":
                current += COEFFICIENTS[rule][0] * math.log(1 + 10 * usual_q[j])
            new_v.append(BETA[j] * v[j] * (1 - s[j]) + current)
        v = new_v
        s = [float(x > 1.0) for x in new_v]
        p = [LP * p[i] + (1 - LP) * pre[i] for i in range(len(p))]
        q = [LQ * q[j] + (1 - LQ) * s[j] for j in range(NEURONS)]
        theta = [LT * theta[j] + (1 - LT) * q[j] ** 2 for j in range(NEURONS)]
        for j in range(NEURONS):
            recalled = sum(fast[j][i] * p[i] for i in range(len(p)))
            for i in range(len(p)):
                values = {"p": p[i], "q": q[j], "theta": theta[j], "f": fast[j][i]}
                values |= {"x": pre[i], "s": s[j]}
                values |= dict.fromkeys(RULES[rule].synaptic, SYNAPTIC[j][i])
                values |= {
                    "y": recalled,
                    "pp": sum(x * x for x in p),
                    "v": TARGET[t][j],
                }
                values |= {"usual_p": usual_p[i], "usual_q": usual_q[j]}
                rate = ETA if modulation == "none" else MODULATOR[t][j]
                updated, eligibility[j][i] = update_by_hand(
                    RULES[rule], modulation, decay, rate, values, eligibility[j][i]
                )
                fast[j][i] = max(-clip, min(clip, updated))
        rates = [ETA if modulation == "none" else abs(m) for m in MODULATOR[t]]
        usual_p = [
            u + PRE_SHARE * sum(rates) / NEURONS * (x - u) for u, x in zip(usual_p, p)
        ]
        usual_q = [u + POST_SHARE * r * (x - u) for u, x, r in zip(usual_q, q, rates)]
        spikes.append(s)
        potentials.append(v)
    state = {"potential": v, "pre": p, "post": q, "fast_weights": fast}
    if "theta" in RULES[rule].variables:
        state["threshold"] = theta
    if modulation == "retroactive":
        state["eligibility"] = eligibility
    if rule == "bcpnn":
        state |= {"pre_mean": usual_p, "post_mean": usual_q}
    return spikes, potentials, state


def batch(x):
    """A list as a float64 tensor with a batch of one."""
    return torch.tensor(x, dtype=torch.float64).unsqueeze(0)


def tensor(x):
    return torch.tensor(x, dtype=torch.float64)


def chosen_parameters(rule):
    return LayerParameters(
        tensor(WEIGHT), tensor(BIAS), tensor(BETA), tensor(RECURRENT), tensor(GAIN),
        tensor(LP), tensor(LQ), tensor(LT), tensor(ETA), tensor(COEFFICIENTS[rule]),
        tensor([SYNAPTIC] * len(RULES[rule].synaptic)), tensor(PRE_SHARE),
        tensor(POST_SHARE),
    )  # fmt: skip


def run_layer(spec, rate=None):
    """The layer on the numbers above; spikes, potentials [T, n] and the state without a
    batch.
    """
    if rate is None:
        plain = [[ETA] * NEURONS] * TICKS
        rate = plain if spec.modulation == "none" else MODULATOR
    state = {k: batch(START[k]) for k in spec.state_shapes}
    spikes, potentials, state = layer_sequence(
        spec,
        chosen_parameters(spec.rule),
        batch(INPUT).transpose(0, 1),
        torch.zeros(TICKS, 1, dtype=torch.float64),
        batch(rate).transpose(0, 1),
        state,
        target=batch(TARGET).transpose(0, 1),
    )
    return spikes[:, 0], potentials[:, 0], {k: x[0] for k, x in state.items()}


@pytest.mark.parametrize("clip", [1.0, 0.31])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("decay", ["contracting", "plain"])
@pytest.mark.parametrize("modulation", MODULATIONS)
@pytest.mark.parametrize("rule", RULES)
def test_three_ticks_of_two_neurons_are_as_by_hand(
    rule, modulation, recurrent, clip, decay
):
    spec = LayerSpec(
        INPUTS, NEURONS, rule, modulation, recurrent, clip=clip, decay=decay
    )
    by_hand = layer_by_hand(rule, modulation, recurrent, clip, decay)
    expected_spikes, expected_potentials, expected = by_hand
    assert (
        len({tuple(s) for s in expected_spikes}) > 1
    )  # or the example would be too easy
    spikes, potentials, state = run_layer(spec)
    assert spikes.tolist() == expected_spikes
    torch.testing.assert_close(
        potentials, tensor(expected_potentials), rtol=0, atol=1e-12
    )
    assert set(state) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(
            state[name], tensor(value), rtol=0, atol=1e-12, msg=name
        )


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("hebb", 0.5 * 0.8 - 0.2),
        ("oja", 0.5 * (0.8 - 0.5 * 0.2)),
        ("bcm", 0.8 * 0.5 * (0.5 - 0.1)),
        ("bcm_decay", 0.8 * 0.5 * (0.5 - 0.1) - 0.2),
        ("covariance", (0.8 - 0.1) * (0.5 - 0.1) - 0.2),
        ("stdp", 0.8),
        ("abcd", 0.8 * 0.5),
        ("delta", (0.7 - 0.3) * 0.8 / 1.9 - 0.09 * 0.2),
        ("abcd_synapse", 0.8 * 0.5),
        ("stpn", 0.5 * 0.8 - 0.25 * 0.2),
        ("bcpnn", (0.8 - 0.3) * (0.5 - 0.4) - 0.2),
    ],
)
def test_drive_of_one_synapse(rule, expected):
    values = {"p": 0.8, "q": 0.5, "theta": 0.1, "f": 0.2, "x": 0.0, "s": 1.0}
    values |= {"y": 0.3, "pp": 0.9, "v": 0.7, "usual_p": 0.3, "usual_q": 0.4}
    assert RULES[rule](values) == pytest.approx(expected)


def test_pairs_of_spikes_strengthen_in_one_order_and_weaken_in_the_other():
    assert stdp(p=0.4, q=0.0, x=0.0, s=1.0) == 0.4  # the presynaptic spike came first
    assert stdp(p=0.0, q=0.3, x=1.0, s=0.0) == -0.3
    assert stdp(p=0.4, q=0.3, x=0.0, s=0.0) == 0.0


def test_learned_coefficients_are_the_arguments_with_defaults():
    assert RULES["abcd"].coefficients == {"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0}
    assert abcd(0.8, 0.5, 2.0, 3.0, 4.0, 5.0) == 2 * 0.8 * 0.5 + 3 * 0.8 + 4 * 0.5 + 5
    assert covariance(0.3, 0.5, 0.0, rest=0.3) == 0.0


@pytest.mark.parametrize(
    ("name", "formula", "words"),
    [
        ("oja", lambda p: p, ["a rule oja already"]),
        ("my-rule", lambda p: p, ["'my-rule'", "underscores"]),
        ("öja", lambda p: p, ["'öja'", "underscores"]),
        ("none", lambda p: p, ["'none'"]),
        (
            "mine",
            lambda p, gain: p,
            ["'gain'", "p, q, theta, f, x, s, y, pp, v", "default"],
        ),
        ("mine", lambda p, kind="fast": p, ["'kind'", "default"]),
    ],
)
def test_what_cannot_be_registered_is_refused_in_one_line(name, formula, words):
    before = dict(RULES)
    with pytest.raises(ValueError) as error:
        register(name, formula)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value) and before == RULES


def at_rest(rule, f):
    """The drive of a silent synapse whose coefficients are zero."""
    silent = dict.fromkeys((*VARIABLES, *rule.means), 0.0)
    return rule(silent | {"f": f}, [0.0] * len(rule.coefficients))


def silent_tick(spec, rate, state):
    """The state after a tick without a spike on either side, which leaves the drive its
    decay.
    """
    numbers = [x.float() for x in chosen_parameters(spec.rule)]
    parameters = LayerParameters(*numbers)._replace(
        bias=torch.full((NEURONS,), -9.0),
        coefficients=torch.zeros(len(RULES[spec.rule].coefficients)),
    )
    nothing = torch.zeros(1, 1, INPUTS), torch.zeros(1, 1)
    target = torch.zeros(1, 1, NEURONS)
    return layer_sequence(spec, parameters, *nothing, rate, state, target=target)[2]


DECAYING = [
    n for n, rule in RULES.items() if "f" in rule.variables and at_rest(rule, 0.0) == 0
]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    rule=st.sampled_from(DECAYING),
    modulation=st.sampled_from(MODULATIONS[1:]),
    ticks=st.integers(1, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_without_drive_fast_weights_never_grow_whatever_the_neuromodulator(
    rule, modulation, ticks, seed
):
    generator = torch.Generator().manual_seed(seed)
    spec = LayerSpec(INPUTS, NEURONS, rule, modulation, clip=10.0)
    state = {k: torch.zeros(1, *shape) for k, shape in spec.state_shapes.items()}
    state["fast_weights"] = torch.randn(1, NEURONS, INPUTS, generator=generator)
    state["post"] = torch.rand(1, NEURONS, generator=generator)
    for _ in range(ticks):
        before = state["fast_weights"].abs()
        state = silent_tick(
            spec, 2 * torch.rand(1, 1, NEURONS, generator=generator) - 1, state
        )
        assert (state["fast_weights"].abs() <= before).all()


@pytest.mark.parametrize(("decay", "factor"), [("contracting", 0.5), ("plain", 1.5)])
def test_a_negative_neuromodulator_decays_or_in_the_plain_form_grows(decay, factor):
    spec = LayerSpec(INPUTS, NEURONS, "hebb", "direct", clip=10.0, decay=decay)
    state = {k: torch.ones(1, *shape) for k, shape in spec.state_shapes.items()}
    state["pre"] = torch.zeros(1, INPUTS)
    fast = silent_tick(spec, torch.full((1, 1, NEURONS), -0.5), state)["fast_weights"]
    assert (fast == factor).all()


def test_the_neuromodulator_is_as_by_hand():
    spec = LayerSpec(2, 2, "oja", "direct")
    layer = SpikingLayer(spec, 2, 1.0, NetworkConfig())
    weight = [[0.5, -0.2], [0.1, 0.3]]
    exogenous = [[0.4, 0.0], [0.0, -0.7]]
    bias = [0.1, -0.1]
    for name, value in zip(("weight", "exogenous", "bias"), (weight, exogenous, bias)):
        getattr(layer, f"modulator_{name}").data = torch.tensor(value)
    rate = layer.plasticity_rate(
        torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.5, -1.0]]])
    )
    expected = np.tanh([0.5 + 0.4 * 0.5 + 0.1, 0.1 + 0.7 - 0.1])
    np.testing.assert_allclose(rate[0, 0].detach(), expected, rtol=1e-6)


def test_bcpnn_learns_the_log_odds_of_firing_together(rng):
    """At a small rate, of spikes that are drawn with known joint probabilities."""
    pre = 0.4
    post = 0.3
    both = 0.2
    rate = 0.002
    fast = usual_p = usual_q = 0.0
    for draw in rng.random(20_000):
        p = float(draw < pre)
        q = float(pre - both <= draw < pre - both + post)
        fast += rate * RULES["bcpnn"]({"p": p, "q": q, "f": fast, "usual_p": usual_p,
                                       "usual_q": usual_q})  # fmt: skip
        usual_p = usual_p + rate * (p - usual_p)
        usual_q = usual_q + rate * (q - usual_q)
    assert fast + usual_p * usual_q == pytest.approx(both, abs=0.03)
    found = RULES["bcpnn"].effective(fast, {"p": usual_p, "q": usual_q})
    floored = math.log(1 + (both - pre * post) / (pre + FLOOR) / (post + FLOOR))
    assert found == pytest.approx(floored, abs=0.1)


@pytest.mark.parametrize("f", [-1.0, 1.0])
def test_what_a_bcpnn_synapse_does_is_bounded_whatever_its_means(f):
    """Of currents and graded units they are negative, and may be minus the floor."""
    means = torch.linspace(-1.0, 1.0, 41, dtype=torch.float64)
    p, q = (
        x.clone().requires_grad_() for x in torch.meshgrid(means, means, indexing="ij")
    )
    fast = torch.full_like(p, f, requires_grad=True)
    worth = RULES["bcpnn"].effective(fast, {"p": p, "q": q})
    assert worth.detach().abs().max() <= math.log(1 + 1 / FLOOR**2)
    slopes = torch.autograd.grad(worth.sum(), (fast, p, q))
    assert slopes[0].abs().max() <= 1 / FLOOR**3
    assert max(x.abs().max() for x in slopes[1:]) <= 1 / FLOOR**4
    excitability = RULES["bcpnn"].excitability({"p": p, "q": q}, [1.0])
    assert excitability.isfinite().all()


def test_oja_on_a_linear_neuron_finds_the_principal_direction(rng):
    mixing = np.array([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.6, 0.2, 0.4]])
    inputs = rng.normal(size=(256, 3)) @ mixing.T
    _, vectors = np.linalg.eigh(inputs.T @ inputs / len(inputs))
    pre = torch.tensor(inputs)
    fast = torch.tensor([[[0.3, -0.2, 0.5]]], dtype=torch.float64)
    for _ in range(400):
        post = pre @ fast[0].T  # a linear neuron, q = F p, on every input at once
        drive = oja(pre.unsqueeze(1), post.unsqueeze(2), fast.expand(len(pre), 1, 3))
        fast = fast + 0.1 * drive.mean(dim=0, keepdim=True)
    direction = fast.flatten().numpy()
    # the fixed point is known exactly: a unit vector along the first principal
    # direction
    np.testing.assert_allclose(np.abs(direction @ vectors[:, -1]), 1.0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(direction), 1.0, atol=1e-6)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(m=st.floats(-1, 1), seed=st.integers(0, 2**32 - 1))
def test_delta_moves_its_recall_towards_the_target_and_never_expands(m, seed):
    """Without its leak, the recall of the key shown moves by |m| |p|^2 / (1 + |p|^2) of
    its error; of two memories that learn the same, the difference never grows.
    """
    generator = torch.Generator().manual_seed(seed)
    layer = LayerSpec(INPUTS, NEURONS, "delta", "direct", clip=100.0)
    key = torch.rand(INPUTS, generator=generator)
    target = torch.randn(NEURONS, generator=generator)
    numbers = [x.float() for x in chosen_parameters("delta")]
    parameters = LayerParameters(*numbers)._replace(
        pre_decay=torch.tensor(0.0), coefficients=torch.zeros(1)
    )
    states = []
    for _ in range(2):
        state = {k: torch.zeros(1, *shape) for k, shape in layer.state_shapes.items()}
        state["fast_weights"] = torch.randn(1, NEURONS, INPUTS, generator=generator)
        new = layer_sequence(
            layer, parameters, key.view(1, 1, -1), torch.zeros(1, 1),
            torch.full((1, 1, NEURONS), m), state, target=target.view(1, 1, -1),
        )[2]  # fmt: skip
        before, after = (s["fast_weights"][0] @ key for s in (state, new))
        step = abs(m) * key @ key / (1 + key @ key)
        torch.testing.assert_close(
            after, before + step * (np.sign(m) * target - before)
        )
        states.append((state["fast_weights"], new["fast_weights"]))
    (one, one_after), (two, two_after) = states
    assert (one_after - two_after).norm() <= (one - two).norm() * (1 + 1e-6)


# derivative at u = 0.1 and slope 2, and at u = -0.4 and slope 2, by hand
BY_HAND = {
    "fast_sigmoid": (1 / 1.2**2, 1 / 1.8**2),
    "arctan": (1 / (1 + (0.1 * math.pi) ** 2), 1 / (1 + (0.4 * math.pi) ** 2)),
    "triangle": (0.8, 0.2),
    "rectangle": (1.0, 0.0),
}


def derivative(values, surrogate, slope):
    u = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    return (
        torch.autograd.grad(3.0 * fire(THRESHOLD + u, surrogate, slope).sum(), u)[0]
        / 3.0
    )


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_neuron_fires_above_its_threshold_and_not_at_it(surrogate):
    potential = THRESHOLD + torch.tensor([-3.0, -1e-6, 0.0, 1e-6, 3.0])
    assert fire(potential, surrogate, 5.0).tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_the_derivative_has_the_values_of_its_formula(surrogate):
    expected = torch.tensor(BY_HAND[surrogate], dtype=torch.float64)
    torch.testing.assert_close(derivative([0.1, -0.4], surrogate, 2.0), expected)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_the_derivative_peaks_at_one_at_zero_and_is_even(surrogate):
    values = derivative([x / 8 for x in range(-16, 17)], surrogate, 5.0)
    assert values[16] == 1.0 == values.max() and values.min() >= 0.0
    torch.testing.assert_close(values, values.flip(0))


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_patch_that_makes_spikes_graded_fits_the_code():
    """`docs/results/robots.md` has results that it made."""
    patch = "benchmarks/graded-spikes.patch"
    done = subprocess.run(
        ["git", "apply", "--check", patch], cwd=HERE.parent, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
