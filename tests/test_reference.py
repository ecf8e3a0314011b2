"""The reference layer: its gradients, and that a sequence is nothing but its ticks."""

import pytest
import torch

from spikepropamine.policies import reference
from spikepropamine.policies.reference import LayerParameters, LayerSpec
from spikepropamine.policies.rules import RULES

TICKS, BATCH, INPUTS, NEURONS = 3, 2, 2, 2
KINDS = [("none", "none")] + [(r, m) for r in RULES for m in ("none", "direct", "retroactive")]


def uniform(*shape, low=-1.0, high=1.0):
    return low + (high - low) * torch.rand(shape, dtype=torch.float64)


def coefficients_of(rule):
    """Random values of a rule's own coefficients, or None where it has none."""
    initial = torch.tensor(list(RULES[rule].coefficients.values()), dtype=torch.float64)
    return initial + uniform(len(initial), high=0.5) if len(initial) else None


def make_problem(spec, ticks=TICKS, batch=BATCH):
    """Random parameters, inputs, rate and state of a layer, in float64."""
    n, n_pre = spec.neurons, spec.plastic_inputs
    parameters = LayerParameters(
        weight=uniform(n, spec.inputs, low=-1.0, high=2.0),
        bias=uniform(n, low=0.0, high=0.5),
        membrane_decay=uniform(n, low=0.5, high=0.9),
        recurrent_weight=uniform(n, n) if spec.recurrent else None,
    )
    if spec.plastic:
        own = RULES[spec.rule].synaptic
        decays = [uniform(low=0.3, high=0.8) for _ in range(4)]
        parameters = parameters._replace(
            plasticity_gain=uniform(n, n_pre),
            pre_decay=decays[0],
            post_decay=decays[1],
            threshold_decay=decays[2] if "threshold" in spec.state_shapes else None,
            eta=decays[3] if spec.modulation == "retroactive" else None,
            coefficients=coefficients_of(spec.rule),
            pre_mean_share=uniform(low=0.2, high=0.8) if "pre_mean" in spec.state_shapes else None,
            post_mean_share=uniform(low=0.2, high=0.8)
            if "post_mean" in spec.state_shapes
            else None,
            synaptic=uniform(len(own), n, n_pre, low=0.5, high=1.5) if own else None,
        )
    inputs = (uniform(ticks, batch, spec.inputs) > 0).double()
    rate = uniform(ticks, batch, n) if spec.plastic else None
    state = {
        name: uniform(batch, *shape, low=0.0, high=0.9 * min(spec.clip, 1.0))
        for name, shape in spec.state_shapes.items()
    }
    return parameters, inputs, rate, state


def layer_sequence(spec, parameters, inputs, starts, rate, state):
    """The layer, where v of a rule that uses it is made of the rate, as a smooth function."""
    target = 1.3 - rate.flip(2) if spec.has_target else None
    return reference.layer_sequence(spec, parameters, inputs, starts, rate, state, target=target)


def starts_at(*entries, ticks, batch):
    """Episode starts [ticks, batch], 1 at the given (tick, environment) pairs."""
    starts = torch.zeros(ticks, batch, dtype=torch.float64)
    for tick, environment in entries:
        starts[tick, environment] = 1.0
    return starts


def assert_same(left, right, atol=1e-12):
    """Equality of spikes, potentials and states, up to the rounding of sums in another order."""
    for a, b in zip(left[:2], right[:2]):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)
    assert set(left[2]) == set(right[2])
    for name in left[2]:
        torch.testing.assert_close(left[2][name], right[2][name], rtol=0, atol=atol, msg=name)


@pytest.fixture
def smooth(monkeypatch):
    """A smooth function in place of the step, so that finite differences see the gradient."""
    monkeypatch.setattr(reference, "fire", lambda v, *_: torch.sigmoid(3.0 * (v - 1.0)))


@pytest.mark.parametrize("decay", ["contracting", "plain"])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(("rule", "modulation"), KINDS)
def test_gradients_are_those_of_finite_differences(rule, modulation, recurrent, decay, smooth):
    # a tight clip, so that some fast weights sit on the bound, where no gradient passes
    spec = LayerSpec(
        INPUTS, NEURONS, rule, modulation, recurrent, soft_reset=recurrent, clip=0.5, decay=decay
    )
    parameters, inputs, rate, state = make_problem(spec)
    starts = starts_at((1, 0), ticks=TICKS, batch=BATCH)
    names = [k for k, x in parameters._asdict().items() if x is not None]
    tensors = [getattr(parameters, k) for k in names] + [inputs] + list(state.values())
    tensors += [] if rate is None else [rate]

    def run(*values):
        values = list(values)
        given_rate = None if rate is None else values.pop()
        chosen = LayerParameters(**{"weight": None, "bias": None, "membrane_decay": None}
                                 | dict(zip(names, values)))  # fmt: skip
        new_state = dict(zip(state, values[len(names) + 1 :]))
        spikes, potentials, end = layer_sequence(
            spec, chosen, values[len(names)], starts, given_rate, new_state
        )
        return spikes, potentials, *end.values()

    assert torch.autograd.gradcheck(run, [x.requires_grad_() for x in tensors])


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(("rule", "modulation"), KINDS)
def test_a_sequence_is_its_ticks_one_by_one(rule, modulation, recurrent):
    spec = LayerSpec(4, 3, rule, modulation, recurrent)
    parameters, inputs, rate, state = make_problem(spec, ticks=12, batch=3)
    starts = starts_at((0, 1), (4, 0), (4, 2), (9, 0), ticks=12, batch=3)
    whole = layer_sequence(spec, parameters, inputs, starts, rate, state)
    parts, carried = [], state
    for t in range(12):
        now = slice(t, t + 1)
        tick_rate = None if rate is None else rate[now]
        *outputs, carried = layer_sequence(
            spec, parameters, inputs[now], starts[now], tick_rate, carried
        )
        parts.append(outputs)
    spikes, potentials = (torch.cat(x) for x in zip(*parts))
    assert 0 < spikes.mean() < 1
    assert_same(whole, (spikes, potentials, carried))


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(("rule", "modulation"), KINDS)
def test_an_episode_start_inside_is_a_fresh_run(rule, modulation, recurrent):
    spec = LayerSpec(4, 3, rule, modulation, recurrent)
    parameters, inputs, rate, state = make_problem(spec, ticks=10, batch=2)
    state["potential"] += 1.0  # neurons that have just fired must not matter either
    zero = {name: torch.zeros_like(x) for name, x in state.items()}

    def run_from(tick, starts, before):
        later_rate = None if rate is None else rate[tick:]
        return layer_sequence(spec, parameters, inputs[tick:], starts[tick:], later_rate, before)

    def tail(result):
        return result[0][-6:], result[1][-6:], result[2]

    never = starts_at(ticks=10, batch=2)
    both = starts_at((4, 0), (4, 1), ticks=10, batch=2)
    fresh = run_from(4, never, zero)
    assert_same(tail(run_from(0, both, state)), fresh)
    assert_same(run_from(4, both, state), fresh)
    ignored = run_from(0, never, state)
    assert (ignored[1][-6:] - fresh[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("rule", "modulation"), KINDS)
def test_one_environment_starts_without_disturbing_another(rule, modulation):
    spec = LayerSpec(4, 3, rule, modulation)
    parameters, inputs, rate, state = make_problem(spec, ticks=8, batch=2)
    never = starts_at(ticks=8, batch=2)
    first = starts_at((3, 0), ticks=8, batch=2)
    without = layer_sequence(spec, parameters, inputs, never, rate, state)
    with_start = layer_sequence(spec, parameters, inputs, first, rate, state)
    assert torch.equal(without[1][:, 1], with_start[1][:, 1])
    assert not torch.equal(without[1][:, 0], with_start[1][:, 0])


@pytest.mark.parametrize(("rule", "modulation"), KINDS)
def test_the_order_of_environments_does_not_matter(rule, modulation):
    spec = LayerSpec(4, 3, rule, modulation, recurrent=True)
    parameters, inputs, rate, state = make_problem(spec, ticks=8, batch=4)
    starts = starts_at((3, 0), (5, 2), ticks=8, batch=4)
    order = torch.tensor([2, 0, 3, 1])
    spikes, potentials, end = layer_sequence(spec, parameters, inputs, starts, rate, state)
    permuted = layer_sequence(
        spec,
        parameters,
        inputs[:, order],
        starts[:, order],
        None if rate is None else rate[:, order],
        {name: x[order] for name, x in state.items()},
    )
    expected = spikes[:, order], potentials[:, order], {k: x[order] for k, x in end.items()}
    assert_same(permuted, expected)


@pytest.mark.parametrize(("rule", "modulation"), KINDS[1:])
def test_fast_weights_of_one_environment_do_not_depend_on_another(rule, modulation):
    spec = LayerSpec(4, 3, rule, modulation)
    parameters, inputs, rate, state = make_problem(spec, ticks=8, batch=3)
    starts = starts_at(ticks=8, batch=3)
    before = layer_sequence(spec, parameters, inputs, starts, rate, state)[2]
    inputs[:, 1] = 1.0 - inputs[:, 1]
    rate[:, 1] = -rate[:, 1]
    after = layer_sequence(spec, parameters, inputs, starts, rate, state)[2]
    for name in before:
        assert torch.equal(before[name][[0, 2]], after[name][[0, 2]]), name
    assert not torch.equal(before["fast_weights"][1], after["fast_weights"][1])


@pytest.mark.parametrize(("rule", "modulation"), KINDS)
def test_the_given_state_is_not_changed(rule, modulation):
    spec = LayerSpec(4, 3, rule, modulation)
    parameters, inputs, rate, state = make_problem(spec)[0:4]
    copy = {name: x.clone() for name, x in state.items()}
    layer_sequence(spec, parameters, inputs, torch.ones(TICKS, BATCH), rate, state)
    assert all(torch.equal(state[name], copy[name]) for name in copy)


@pytest.mark.parametrize(
    ("soft_reset", "potentials"),
    # beta 0.5 and current 1.2: fires at once; then 1.2 alone, or 0.5 * 1.2 - 1 + 1.2 and so on
    [(False, [1.2, 1.2, 1.2]), (True, [1.2, 0.8, 1.6])],
)
def test_reset_has_known_values(soft_reset, potentials):
    one = torch.ones(1, 1, dtype=torch.float64)
    spec = LayerSpec(1, 1, soft_reset=soft_reset)
    parameters = LayerParameters(1.2 * one, 0.0 * one[0], 0.5 * one[0])
    starts = torch.zeros(3, 1, dtype=torch.float64)
    spikes, values, _ = layer_sequence(
        spec, parameters, one.expand(3, 1, 1), starts, None, {"potential": 0.0 * one}
    )
    torch.testing.assert_close(values.flatten(), torch.tensor(potentials, dtype=torch.float64))
    assert spikes.flatten().tolist() == [float(v > 1.0) for v in potentials]


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_a_static_layer_is_a_plastic_one_without_gain(rule, recurrent):
    plastic = LayerSpec(4, 3, rule, "direct", recurrent)
    parameters, inputs, rate, state = make_problem(plastic, ticks=20, batch=3)
    if RULES[rule].bias is not None:
        parameters = parameters._replace(coefficients=torch.zeros_like(parameters.coefficients))
    starts = starts_at((7, 1), ticks=20, batch=3)
    static = LayerSpec(4, 3, recurrent=recurrent)
    expected = layer_sequence(
        static, parameters, inputs, starts, None, {"potential": state["potential"]}
    )
    with_gain = layer_sequence(plastic, parameters, inputs, starts, rate, state)
    without = parameters._replace(plasticity_gain=torch.zeros_like(parameters.plasticity_gain))
    same = layer_sequence(plastic, without, inputs, starts, rate, state)
    assert torch.equal(same[0], expected[0])
    torch.testing.assert_close(same[1], expected[1], rtol=0, atol=1e-12)
    assert not torch.equal(with_gain[0], expected[0])
