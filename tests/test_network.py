"""The network: settings, layout of its state, encodings, and time within a step."""

import gc
import math
from functools import partial

import conftest
import numpy as np
import pytest
import torch
from conftest import OBSERVATIONS, make_model, make_venv, zero_state

from spikepropamine.policies import NetworkConfig, StateLayout
from spikepropamine.policies.network import SpikingNetwork
from spikepropamine.policies.state import FLAGS

make_network = partial(
    conftest.make_network, backend="reference"
)  # which need not be compiled
OBSERVATION = torch.tensor([[[0.9, -0.7, 0.8], [-0.5, 0.6, 0.9]]])  # [1, 2, 3]


def observations(steps, batch=2, channels=3):
    return torch.rand(steps, batch, channels) * 2 - 1


def features_of(network, inputs, starts=None, state=None):
    """Features and the new state of a run, from zero unless a state is given."""
    starts = torch.zeros(inputs.shape[:2]) if starts is None else starts
    state = zero_state(network, inputs.shape[1]) if state is None else state
    with torch.no_grad():
        features, _, state = network.run(inputs, starts, state)
    return features, state


# settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rule": "ojaa"}, ["rule", "'ojaa'", "did you mean 'oja'", "bcm"]),
        ({"surrogate": "arctn"}, ["surrogate", "did you mean 'arctan'", "rectangle"]),
        ({"readout": "potentials"}, ["readout", "spikes+potentials"]),
        ({"hidden": (8, 0)}, ["hidden", "(8, 0)"]),
        ({"hidden": (8, 8, 8)}, ["plastic", "3 hidden layers"]),
        ({"plastic": (True,)}, ["plastic", "2 hidden layers", "(True,)"]),
        ({"recurrent": (True,)}, ["recurrent", "2 hidden layers"]),
        ({"slope": 0.0}, ["slope", "above 0"]),
        ({"hidden": (8.5, 8)}, ["hidden", "(8.5, 8)"]),
        ({"plastic": True}, ["plastic", "2 hidden layers", "(True,)"]),
        ({"ticks": "3"}, ["ticks", "whole number"]),
        ({"ticks": 2.5}, ["ticks", "whole number", "2.5"]),
        ({"eta": 1.0}, ["eta", "between 0 and 1"]),
        ({"membrane_decay": math.nan}, ["membrane_decay", "between 0 and 1"]),
        ({"rule": "none", "modulation": "direct"}, ["neuromodulator", "rule"]),
        ({"modulation": "feedback"}, ["exogenous", "feedback"]),
        ({"hidden": 64.5}, ["hidden", "widths", "64.5"]),
        ({"hidden": None}, ["hidden", "widths", "None"]),
        ({"plastic": None}, ["plastic", "one entry"]),
        ({"phases": True, "ticks": 1}, ["phases", "2 ticks"]),
        ({"phases": True, "ticks": 2, "plastic": (True, True)}, ["phases", "encoder"]),
        ({"encoder": (8, 0)}, ["encoder", "from 1 to 10000", "(8, 0)"]),
        ({"encoder": 8.5}, ["encoder", "8.5"]),
    ],
)
def test_a_bad_setting_is_named_with_what_would_be_right(settings, words):
    with pytest.raises(ValueError) as error:
        NetworkConfig(**settings)
    assert all(word in str(error.value) for word in words), error.value


def test_an_unknown_setting_is_named_with_the_nearest_one():
    with pytest.raises(ValueError, match="'modulaton'; did you mean 'modulation'"):
        NetworkConfig.of({"modulaton": "direct"})


# state


def expected_fields(rule, modulation):
    """Names and sizes of the fields of `make_network(hidden=(4, 5))` on 3 channels."""
    fields = {"plasticity_off": 1, "modulator_held": 1}
    fields |= {"layer0.potential": 4, "layer1.potential": 5, "readout": 5}
    if rule != "none":
        fields |= {"layer1.pre": 4, "layer1.post": 5, "layer1.fast_weights": 4 * 5}
    if rule == "bcm":  # the one of these with a threshold
        fields["layer1.threshold"] = 5
    if modulation == "retroactive":
        fields["layer1.eligibility"] = 4 * 5
    if modulation != "none":
        fields["layer1.modulation"] = 2 * 5
    return fields


@pytest.mark.parametrize(
    ("rule", "modulation"),
    [("none", "none"), ("oja", "none"), ("bcm", "direct"), ("hebb", "retroactive")],
)
def test_the_layout_names_what_the_network_carries_and_nothing_else(rule, modulation):
    network = make_network(hidden=(4, 5), rule=rule, modulation=modulation)
    expected = expected_fields(rule, modulation)
    sizes = {name: math.prod(shape) for name, shape in network.layout.shapes.items()}
    assert sizes == expected
    assert network.layout.size == network.hidden_size == sum(expected.values())


def test_plastic_synapses_of_a_recurrent_layer_are_among_its_own_neurons():
    network = make_network(hidden=(4, 5), recurrent=(False, True))
    assert network.layout.shapes["layer1.fast_weights"] == (5, 5)


def test_an_unknown_field_is_named_with_the_fields_there_are():
    with pytest.raises(KeyError, match=r"'d'.*a, b, c"):
        StateLayout({"a": (2,), "b": (3, 2), "c": (1,)}).get(np.zeros(9), "d")


# time


@pytest.mark.parametrize("readout", ["spikes", "spikes+potentials"])
def test_a_step_of_several_ticks_is_that_many_steps_of_one_tick(readout):
    settings = {"readout": readout, "rule": "bcm", "hidden": (16, 16)}
    several = make_network(ticks=3, **settings)
    single = make_network(ticks=1, **settings)
    single.load_state_dict(several.state_dict())
    inputs = observations(4) * 2
    starts = torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    spread = torch.zeros(12, 2)
    spread[::3] = (
        starts  # an episode starts at the first tick of its step, and at no other
    )
    features, state = features_of(several, inputs, starts)
    expected, expected_state = features_of(
        single, inputs.repeat_interleave(3, dim=0), spread
    )
    assert features.abs().max() > 0
    torch.testing.assert_close(features, expected[2::3], rtol=0, atol=1e-6)
    state["layer1.modulation"] = state["layer1.modulation"][
        :, -1:
    ]  # of the last tick, as there
    for name in state:
        torch.testing.assert_close(
            state[name], expected_state[name], rtol=0, atol=1e-6, msg=name
        )


@pytest.mark.parametrize("encoder", [(), (7,)])
def test_with_phases_each_tick_has_a_pathway_of_its_own(encoder):
    """As if the environment had shown the observation at other channels at each
    tick.
    """
    settings = {"rule": "delta", "hidden": (16, 16), "encoder": encoder}
    phased = make_network(ticks=2, phases=True, **settings)
    single = make_network(8, ticks=1, exogenous=range(8), **settings)
    single.load_state_dict(phased.state_dict())
    inputs = observations(4) * 2
    shown = torch.zeros(8, 2, 8)
    shown[::2, :, :3], shown[1::2, :, 4:7] = inputs, inputs
    shown[::2, :, 3] = shown[1::2, :, 7] = 1.0
    features, state = features_of(phased, inputs)
    expected, expected_state = features_of(single, shown)
    assert features.abs().max() > 0
    torch.testing.assert_close(features, expected[1::2], rtol=0, atol=1e-6)
    name = "layer1.fast_weights"
    assert state[name].abs().max() > 0
    torch.testing.assert_close(state[name], expected_state[name], rtol=0, atol=1e-6)


def test_a_delay_shows_the_observation_of_the_step_before():
    """Zeros at the start of an episode; carried from one call to the next."""
    settings = {"rule": "hebb", "hidden": (16, 16)}
    delayed = make_network(delay=True, **settings)
    wide = make_network(6, **settings)
    wide.load_state_dict(delayed.state_dict())
    inputs = observations(6) * 2
    starts = torch.zeros(6, 2)
    starts[0] = starts[3, 1] = 1.0
    past = torch.zeros_like(inputs)
    past[1:] = inputs[:-1]
    past[3, 1] = 0.0
    expected, _ = features_of(wide, torch.cat([inputs, past], dim=2), starts)
    assert expected.abs().max() > 0
    whole, _ = features_of(delayed, inputs, starts)
    torch.testing.assert_close(whole, expected)
    first, state = features_of(delayed, inputs[:2], starts[:2])
    rest, _ = features_of(delayed, inputs[2:], starts[2:], state)
    torch.testing.assert_close(torch.cat([first, rest]), expected)
    assert state["observation"].tolist() == inputs[1].tolist()


def test_an_encoder_is_layers_of_tanh_units_before_the_first_layer():
    network = make_network(encoder=(6, 5), ticks=1)
    first, second = network.encoder.layers
    inputs = observations(3)
    hidden = torch.tanh(inputs @ first.weight.T + first.bias)
    expected = torch.tanh(hidden @ second.weight.T + second.bias)
    torch.testing.assert_close(network.encoder(inputs), expected)
    assert network.layers[0].spec.inputs == 5
    features, outputs, _ = network.run(
        inputs, torch.zeros(3, 2), zero_state(network, 2)
    )
    features.sum().backward()
    assert all(x.grad is not None for x in network.encoder.parameters())
    currents = expected @ network.layers[0].weight.T + network.layers[0].bias
    torch.testing.assert_close(outputs[0].potentials[0], currents[0])


def test_an_episode_start_forgets_everything():
    network = make_network(readout="spikes+potentials", hidden=(16, 16))
    inputs = observations(8) * 2
    _, used = features_of(network, observations(8) * 2)
    assert all(x.abs().max() > 0 for name, x in used.items() if name not in FLAGS)
    starts = torch.zeros(8, 2)
    fresh, _ = features_of(network, inputs, starts)
    carried, _ = features_of(network, inputs, starts, used)
    starts[0] = 1.0
    started, _ = features_of(network, inputs, starts, used)
    torch.testing.assert_close(started, fresh, rtol=0, atol=1e-6)
    assert (carried - fresh).abs().max() > 0.01


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_the_flat_call_is_the_run_on_packed_states(backend, steps, grad):
    network = make_network(backend=backend)
    inputs = observations(steps)
    starts = torch.zeros(steps, 2)
    flat = features_of(network, observations(4))[1]
    expected, state = features_of(network, inputs, state=flat)
    flat = network.layout.pack(flat).unsqueeze(0)
    before = flat.clone()
    with torch.set_grad_enabled(grad):
        features, (new, _) = network(inputs, (flat, flat[..., :1]), starts)
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(new[0], network.layout.pack(state))
    assert torch.equal(flat, before)
    _, _, rest = network.run(
        inputs, starts, network.layout.unpack(flat[0]), state_wanted=False
    )
    assert rest.keys() <= state.keys()


# plasticity off


def test_without_plasticity_fast_weights_stay_zero_across_episode_starts():
    network = make_network()
    inputs = observations(10) * 2
    starts = torch.zeros(10, 2)
    starts[5] = 1.0
    state = zero_state(network, 2)
    state["plasticity_off"] = torch.tensor([[1.0], [0.0]])
    _, end = features_of(network, inputs, starts, state)
    off, on = end["layer1.fast_weights"]
    assert off.abs().max() == 0 and on.abs().max() > 0
    assert end["plasticity_off"].flatten().tolist() == [1.0, 0.0]


def test_without_plasticity_the_network_is_the_static_one():
    plastic = make_network(hidden=(16, 16), plasticity_gain=3.0)
    static = make_network(hidden=(16, 16), rule="none", modulation="none")
    static.load_state_dict(plastic.state_dict(), strict=False)
    inputs = observations(30) * 2
    state = zero_state(plastic, 2)
    with_plasticity, _ = features_of(plastic, inputs, state=state)
    state["plasticity_off"] = torch.ones(2, 1)
    without, _ = features_of(plastic, inputs, state=state)
    expected, _ = features_of(static, inputs)
    assert torch.equal(without, expected)
    assert not torch.equal(with_plasticity, expected)


# initial weights


def test_initial_weights_spread_as_their_gain_over_the_root_of_the_fan_in():
    network = make_network(
        channels=50, exogenous=range(40), hidden=(400, 300), recurrent=(False, True),
        rule="oja",
        modulation="direct", input_gain=3.0, gain=2.0, plasticity_gain=0.5,
        modulator_gain=1.5,
    )  # fmt: skip
    first, second = network.layers
    for weight, gain, fan_in in (
        (first.weight, 3.0, 50),
        (second.weight, 2.0, 400),
        (second.recurrent_weight, 2.0, 300),
        (second.plasticity_gain, 0.5, 300),
        (second.modulator_weight, 1.5, 400),
        (second.modulator_exogenous, 1.5, 40),
    ):
        assert weight.shape[1] == fan_in
        assert weight.std().item() == pytest.approx(gain / math.sqrt(fan_in), rel=0.05)
        assert abs(weight.mean().item()) < 0.05 * gain / math.sqrt(fan_in)


# neuromodulators


def test_neuromodulators_begin_at_eta_and_their_spread_grows_with_the_gain():
    inputs = observations(50) * 2
    starts = torch.zeros(50, 2)
    spreads = []
    for gain in (0.0, 0.1, 0.2):
        network = make_network(hidden=(64, 64), modulator_gain=gain, eta=0.05)
        with torch.no_grad():
            _, outputs, _ = network.run(inputs, starts, zero_state(network, 2))
        spreads.append((outputs[1].rate - 0.05).square().mean().sqrt().item())
    assert spreads[0] < 1e-6 < spreads[1]
    assert spreads[2] == pytest.approx(2 * spreads[1], rel=0.05)


@pytest.mark.parametrize("modulation", ["direct", "retroactive"])
def test_the_state_tells_what_the_neuromodulators_were(modulation):
    network = make_network(modulation=modulation)
    inputs = observations(5) * 2
    starts = torch.zeros(5, 2)
    with torch.no_grad():
        _, outputs, state = network.run(inputs, starts, zero_state(network, 2))
    latest = outputs[1].rate[-2:].transpose(0, 1)  # two ticks
    assert torch.equal(state["layer1.modulation"], latest) and latest.abs().min() > 0
    assert outputs[0].rate is None and "layer0.modulation" not in state


@pytest.mark.parametrize("modulation", ["direct", "retroactive"])
def test_a_held_neuromodulator_is_the_given_one_even_across_episode_starts(modulation):
    network = make_network(modulation=modulation)
    inputs = observations(6) * 2
    starts = torch.zeros(6, 2)
    starts[3] = 1.0
    state = zero_state(network, 2)
    given = torch.rand(2, 2, 10) - 0.5
    state["modulator_held"] = torch.tensor([[1.0], [0.0]])
    state["layer1.modulation"] = given
    with torch.no_grad():
        _, outputs, end = network.run(inputs, starts, state)
        _, free, _ = network.run(inputs, starts, zero_state(network, 2))
    assert torch.equal(outputs[1].rate[:, 0], given[0].repeat(6, 1))
    assert torch.equal(end["layer1.modulation"][0], given[0])
    assert torch.equal(outputs[1].rate[:, 1], free[1].rate[:, 1])
    assert torch.equal(outputs[1].spikes[:, 1], free[1].spikes[:, 1])


def rates_of(network, inputs):
    with torch.no_grad():
        return network.run(
            inputs, torch.zeros(inputs.shape[:2]), zero_state(network, 2)
        )[1][1].rate


def test_a_neuromodulator_set_by_hand_is_the_feedback_and_is_not_trained():
    config = NetworkConfig(
        rule="oja", modulation="feedback", exogenous=(1, 2), hidden=(4, 3)
    )
    network = SpikingNetwork(3, config, (1, 2))
    inputs = observations(4)
    _, outputs, _ = network.run(inputs, torch.zeros(4, 2), zero_state(network, 2))
    feedback = torch.tanh(inputs[..., 1] + inputs[..., 2]).unsqueeze(2)
    torch.testing.assert_close(outputs[1].rate, feedback.expand_as(outputs[1].rate))
    held = [name for name, x in network.named_parameters() if not x.requires_grad]
    assert [name.split("_")[0] for name in held] == ["layers.1.modulator"] * 3


def test_tanh_units_are_leaky_and_graded_and_their_fast_weights_change():
    network = make_network(rule="hebb", units="tanh", ticks=1)
    inputs = observations(3, batch=1)
    state = zero_state(network, 1)
    _, outputs, after = network.run(inputs, torch.zeros(3, 1), state)
    first = network.layers[0]
    decay = torch.sigmoid(first.membrane_decay)
    potential = torch.zeros(1)
    for x, output in zip(inputs, outputs[0].spikes):
        potential = decay * potential + x @ first.weight.T + first.bias
        torch.testing.assert_close(output, torch.tanh(potential))
    assert after["layer1.fast_weights"].any()


def test_only_the_chosen_channels_reach_the_neuromodulators_directly():
    network = make_network(exogenous=[2])
    network.layers[
        0
    ].weight.data.zero_()  # no spikes, so the direct way is the only one
    base = rates_of(network, OBSERVATION)
    for channel, matters in [(0, False), (1, False), (2, True)]:
        changed = OBSERVATION.clone()
        changed[..., channel] += 0.5
        assert torch.equal(rates_of(network, changed), base) != matters


@pytest.mark.parametrize(
    ("kind", "exogenous", "channels"),
    [
        ("box", None, {0, 1, 2}),
        ("box", (0, -1), {0, 2}),
        ("dict", ("reward",), "reward"),
        ("dict", ("phase", "reward"), "phase reward"),
    ],
)
def test_exogenous_channels_are_chosen_by_index_or_by_key(kind, exogenous, channels):
    settings = {
        "network": {"hidden": (4, 4), "modulation": "direct", "exogenous": exogenous}
    }
    policy = make_model(make_venv(kind), policy_kwargs=settings).policy
    if isinstance(
        channels, str
    ):  # find out which of the flattened features these keys fill
        space = OBSERVATIONS["dict"]
        silent = {
            k: np.zeros(space[k].shape, space[k].dtype) for k in ("cue", "reward")
        }
        silent["phase"] = np.array(0)
        loud = dict(silent)
        for key in channels.split():
            loud[key] = np.array(1) if key == "phase" else silent[key] + 1
        a, b = (
            policy.extract_features(policy.obs_to_tensor(x)[0])[0]
            for x in (silent, loud)
        )
        channels = set((a != b).nonzero().flatten().tolist())
        assert channels
    assert set(policy.network.exogenous.tolist()) == channels


@pytest.mark.parametrize(
    ("kind", "entry"), [("box", 3), ("box", "reward"), ("dict", "rewrd")]
)
def test_an_exogenous_channel_that_does_not_exist_is_named(kind, entry):
    settings = {"network": {"exogenous": (entry,)}}
    with pytest.raises(
        ValueError, match=f"exogenous channel {entry!r}.*does not exist"
    ):
        make_model(make_venv(kind), policy_kwargs=settings)


@pytest.mark.parametrize("hidden", [256, (256,), [256]])
@pytest.mark.parametrize("plastic", [(True, False), (False, True)])
def test_one_width_is_one_layer_that_is_what_any_of_several_was(hidden, plastic):
    config = NetworkConfig(hidden=hidden, plastic=plastic)
    assert (config.hidden, config.plastic, config.recurrent) == (
        (256,),
        (True,),
        (False,),
    )


# state is never kept in modules


def test_the_network_keeps_nothing_between_calls():
    network = make_network(modulation="retroactive", recurrent=(True, True))
    inputs = observations(6) * 2
    tensors = [*network.parameters(), *network.buffers()]
    before = [x.clone() for x in tensors]
    first, first_state = features_of(network, inputs)
    second, second_state = features_of(network, inputs)
    assert torch.equal(first, second)
    assert all(torch.equal(first_state[k], second_state[k]) for k in first_state)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors))
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize(("rule", "modulation"), [("none", "none"), ("oja", "direct")])
def test_a_pass_leaves_nothing_in_memory(rule, modulation):
    network = make_network(rule=rule, modulation=modulation, backend="auto")
    inputs = observations(40)
    left = []
    gc.freeze()  # what there is already, which takes long to go through
    for _ in range(6):
        features, _, _ = network.run(inputs, torch.zeros(40, 2), zero_state(network, 2))
        features.sum().backward()
        del features
        gc.collect()
        left.append(sum(issubclass(type(x), torch.Tensor) for x in gc.get_objects()))
    gc.unfreeze()
    assert left[-1] < left[0] + 5  # each pass used to leave three or more


@pytest.mark.parametrize(
    ("rule", "modulation"),
    [("none", "none"), ("hebb", "none"), ("oja", "direct"), ("bcm", "retroactive")],
)
def test_every_parameter_gets_a_gradient(rule, modulation):
    network = make_network(hidden=(16, 16), rule=rule, modulation=modulation)
    inputs = observations(12) * 2
    features, _, _ = network.run(inputs, torch.zeros(12, 2), zero_state(network, 2))
    (features * torch.randn_like(features)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_layers_are_as_the_settings_say():
    kind = {
        "surrogate": "triangle", "slope": 2.0, "soft_reset": True, "clip": 0.3,
        "decay": "plain",
    }  # fmt: skip
    network = make_network(**kind, membrane_decay=0.3, readout_decay=0.7)
    for layer in network.layers:
        assert {name: getattr(layer.spec, name) for name in kind} == kind
        assert layer.membrane_decay.sigmoid().tolist() == pytest.approx(
            [0.3] * layer.spec.neurons
        )
    assert network.readout_decay.sigmoid().tolist() == pytest.approx([0.7] * 10)
