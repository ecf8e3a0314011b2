"""Lesions: each takes away what it says, by the state alone, and nothing where there is nothing."""

import numpy as np
import pytest
from saved_runs import CUES, make_policy

from spikepropamine.evaluation.ask.conditions import CLEAN, make_env
from spikepropamine.evaluation.ask.lesions import EPISODE_BEFORE, LESIONS, Wave, layout_of
from spikepropamine.evaluation.ask.task import task_of
from spikepropamine.evaluation.hook import Hook
from spikepropamine.evaluation.run.episodes import run_episodes
from spikepropamine.evaluation.run.inside import InsideSums

SEEDS, WIDTH = [13, 10, 18], 10
TASK = task_of(CUES, {"trials": 4})  # 16 steps


class States(Hook):
    """Keeps the state after each step, [width, D]."""

    def __init__(self):
        self.kept = []

    def after(self, step, state, running, over):
        self.kept.append(state[0][0].copy())


def run(policy, seeds=SEEDS, *hooks):
    return run_episodes(
        policy,
        lambda: make_env(TASK, CLEAN),
        seeds,
        width=WIDTH,
        initial_state=policy.policy.initial_state(WIDTH),
        hooks=hooks,
    )


def runner(policy):
    return lambda seeds, hook, opposite=False: run(policy, seeds, hook)


def lesioned(policy, name, freeze_at=8):
    """Episodes, and the fields of the state of the rows that have one, [steps, rows, ...]."""
    layout, states = layout_of(policy), States()
    wave = Wave(layout, SEEDS, WIDTH, freeze_at, runner(policy))
    hook = LESIONS[name].hook(wave)
    episodes = run(policy, SEEDS, hook, states)
    return episodes, fields(layout, states)


def intact(policy):
    layout, states = layout_of(policy), States()
    return run(policy, SEEDS, states), fields(layout, states)


def fields(layout, states):
    rows = np.stack(states.kept)[:, [seed % WIDTH for seed in SEEDS]]
    return {name: layout.get(rows, name) for name in layout.shapes}


@pytest.fixture(scope="module")
def plastic():
    return make_policy(CUES)


@pytest.fixture(scope="module")
def before(plastic):
    return intact(plastic)


def test_off(plastic, before):
    episodes, state = lesioned(plastic, "off")
    assert (state["layer1.fast_weights"] == 0).all()
    assert (before[1]["layer1.fast_weights"][-1] != 0).any()
    assert [e.rewards for e in episodes] != [e.rewards for e in before[0]]


def test_frozen_at_a_step(plastic, before):
    _, state = lesioned(plastic, "frozen", freeze_at=8)
    fast, free = state["layer1.fast_weights"], before[1]["layer1.fast_weights"]
    np.testing.assert_array_equal(fast[:8], free[:8])
    assert (fast[7] != 0).any() and (free[8] != free[7]).any()
    assert all((later == fast[7]).all() for later in fast[8:])


def test_modulator_shuffled(plastic, before):
    _, state = lesioned(plastic, "modulator-shuffled")
    shuffled, own = state["layer1.modulation"], before[1]["layer1.modulation"]
    for row in range(len(SEEDS)):
        assert (shuffled[:, row] != own[:, row]).any()
        steps = sorted(step.tobytes() for step in own[:, row])
        assert len(set(steps)) > 3  # those of the episode, in another order
        assert sorted(step.tobytes() for step in shuffled[:, row]) == steps
    _, again = lesioned(plastic, "modulator-shuffled")
    np.testing.assert_array_equal(again["layer1.modulation"], shuffled)


def test_carry_over(plastic, before):
    layout = layout_of(plastic)
    states = States()
    run(plastic, [seed + EPISODE_BEFORE for seed in SEEDS], states)
    previous = fields(layout, states)["layer1.fast_weights"][-1]
    assert (previous != before[1]["layer1.fast_weights"][-1]).any()

    class First(Hook):
        def before(self, step, state, starts, infos):
            if step == 0:
                self.flat, self.starts = state[0][0].copy(), starts.copy()

    first = First()
    hook = LESIONS["carry-over"].hook(Wave(layout, SEEDS, WIDTH, run_intact=runner(plastic)))
    run(plastic, SEEDS, hook, first)
    assert not first.starts.any()
    rows = first.flat[[seed % WIDTH for seed in SEEDS]]
    np.testing.assert_array_equal(layout.get(rows, "layer1.fast_weights"), previous)
    layout.get(first.flat, "layer1.fast_weights")[...] = 0
    assert (first.flat == 0).all()  # but for the fast weights, it is a start as any other
    # and from there they change, or stay
    _, changing = lesioned(plastic, "carry-over")
    assert (changing["layer1.fast_weights"][-1] != previous).any()
    _, held = lesioned(plastic, "carry-over-frozen")
    np.testing.assert_array_equal(held["layer1.fast_weights"][0], previous)
    np.testing.assert_array_equal(held["layer1.fast_weights"][-1], previous)


def test_where_there_are_contexts_the_other_episode_is_the_same_one_in_the_opposite_context(
    plastic,
):
    asked = []
    for has_contexts in (True, False):
        wave = Wave(
            layout_of(plastic), SEEDS, WIDTH, has_contexts=has_contexts,
            run_intact=lambda seeds, hook, **more: asked.append((list(seeds), more)),
        )  # fmt: skip
        LESIONS["carry-over"].hook(wave)
    assert asked == [
        (SEEDS, {"options": {"context": "opposite"}}),
        ([seed + EPISODE_BEFORE for seed in SEEDS], {}),
    ]


@pytest.mark.parametrize("name", LESIONS)
def test_a_static_network_has_nothing_to_lose(name):
    policy = make_policy(CUES, "snn")
    expected, state = intact(policy)
    episodes, after = lesioned(policy, name)
    assert episodes == expected and [e.rewards for e in episodes] == [e.rewards for e in expected]
    for field in state.keys() - {"plasticity_off", "modulator_held"}:
        np.testing.assert_array_equal(after[field], state[field])


def test_a_rule_by_itself_has_no_neuromodulator_to_lose():
    policy = make_policy(CUES, modulation="none")
    assert lesioned(policy, "modulator-shuffled")[0] == intact(policy)[0]


def test_only_spiking_policies_have_plasticity_to_take_away():
    assert layout_of(make_policy(CUES, "mlp")) is None


def test_what_goes_on_inside_by_hand(plastic, before):
    inside = InsideSums(layout_of(plastic), every=5)
    run(plastic, SEEDS, inside)
    assert inside.counts == [3, 3, 3, 3]  # steps 0, 5, 10, 15 of three episodes
    state = before[1]
    fast = np.sqrt(np.square(state["layer1.fast_weights"][5]).mean(axis=(1, 2))).sum()
    assert inside.sums["fast_weight_norm"][1] == pytest.approx(fast, rel=1e-5)
    modulation = state["layer1.modulation"][15].reshape(3, -1)
    assert inside.sums["modulator_mean"][3] == pytest.approx(modulation.mean(axis=1).sum())
    assert inside.sums["modulator_spread"][3] == pytest.approx(modulation.std(axis=1).sum())
    potentials = np.concatenate([state[f"layer{k}.potential"][5] for k in (0, 1)], axis=1)
    assert inside.sums["firing_rate"][1] == pytest.approx((potentials > 1).mean(axis=1).sum())
    assert 0 < inside.sums["firing_rate"][1] < 3


def test_potentials_of_an_encoder_are_not_those_of_neurons():
    layout = layout_of(make_policy(CUES, encoding="population"))
    assert "encoder.potential" in layout.shapes
    assert InsideSums(layout, 1).potential == ["layer0.potential", "layer1.potential"]
