"""Lesions and jobs: each takes away what it says; a job is run in what its condition
says.
"""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv
from gymnasium.envs.registration import EnvSpec
from saved_runs import CUES, PENDULUM, make_policy, save_run

from spikepropamine.envs.perturbations import Perturbed
from spikepropamine.evaluation.ask.conditions import (
    CLEAN,
    STANDARD_CONDITIONS,
    Skipped,
    conditions_of,
    make_env,
    task_of,
)
from spikepropamine.evaluation.ask.lesions import (
    EPISODE_BEFORE,
    LESIONS,
    Hook,
    Wave,
    layout_of,
)
from spikepropamine.evaluation.ask.runs import applicable, load_runs
from spikepropamine.evaluation.run import cache, plan
from spikepropamine.evaluation.run.episodes import run_episodes
from spikepropamine.evaluation.run.work import InsideSums, Job, run_job

SEEDS = [13, 10, 18]
WIDTH = 10
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
    """Episodes, and the fields of the state of the rows that have one, [steps, rows,
    ...].
    """
    layout = layout_of(policy)
    states = States()
    wave = Wave(layout, SEEDS, WIDTH, freeze_at, runner(policy))
    hook = LESIONS[name].hook(wave)
    episodes = run(policy, SEEDS, hook, states)
    return episodes, fields(layout, states)


def intact(policy):
    layout = layout_of(policy)
    states = States()
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


def test_modulator_shuffled(plastic, before):
    _, state = lesioned(plastic, "modulator-shuffled")
    shuffled = state["layer1.modulation"]
    own = before[1]["layer1.modulation"]
    for row in range(len(SEEDS)):
        assert (shuffled[:, row] != own[:, row]).any()
        steps = sorted(step.tobytes() for step in own[:, row])
        assert len(set(steps)) > 3  # those of the episode, in another order
        assert sorted(step.tobytes() for step in shuffled[:, row]) == steps
    _, again = lesioned(plastic, "modulator-shuffled")
    np.testing.assert_array_equal(again["layer1.modulation"], shuffled)


def test_carry_over_takes_along_the_means_that_scale_fast_weights():
    policy = make_policy(CUES, rule="bcpnn")
    _, held = lesioned(policy, "carry-over-frozen")
    assert (held["layer1.pre_mean"] > 0).any() and (held["layer1.post_mean"] > 0).any()


def test_carry_over(plastic, before):
    layout = layout_of(plastic)
    states = States()
    run(plastic, [seed + EPISODE_BEFORE for seed in SEEDS], states)
    previous = fields(layout, states)["layer1.fast_weights"][-1]
    assert (previous != before[1]["layer1.fast_weights"][-1]).any()

    class First(Hook):
        def before(self, step, state, starts, infos):
            if step == 0:
                self.flat = state[0][0].copy()
                self.starts = starts.copy()

    first = First()
    hook = LESIONS["carry-over"].hook(
        Wave(layout, SEEDS, WIDTH, run_intact=runner(plastic))
    )
    run(plastic, SEEDS, hook, first)
    assert not first.starts.any()
    rows = first.flat[[seed % WIDTH for seed in SEEDS]]
    np.testing.assert_array_equal(layout.get(rows, "layer1.fast_weights"), previous)
    layout.get(first.flat, "layer1.fast_weights")[...] = 0
    assert (
        first.flat == 0
    ).all()  # but for the fast weights, it is a start as any other
    # and from there they change, or stay
    _, changing = lesioned(plastic, "carry-over")
    assert (changing["layer1.fast_weights"][-1] != previous).any()
    _, held = lesioned(plastic, "carry-over-frozen")
    np.testing.assert_array_equal(held["layer1.fast_weights"][0], previous)
    np.testing.assert_array_equal(held["layer1.fast_weights"][-1], previous)


@pytest.mark.parametrize("name", LESIONS)
def test_a_static_network_has_nothing_to_lose(name):
    policy = make_policy(CUES, "snn")
    expected, state = intact(policy)
    episodes, after = lesioned(policy, name)
    assert episodes == expected and [e.rewards for e in episodes] == [
        e.rewards for e in expected
    ]
    for field in state.keys() - {"plasticity_off", "modulator_held"}:
        np.testing.assert_array_equal(after[field], state[field])


def test_a_rule_by_itself_has_no_neuromodulator_to_lose():
    policy = make_policy(CUES, modulation="none")
    assert lesioned(policy, "modulator-shuffled")[0] == intact(policy)[0]


@pytest.mark.parametrize("name", ["mlp", "snn", "ndp-hebb"])
def test_only_plastic_policies_have_plasticity_to_take_away(name):
    run = SimpleNamespace(policy=make_policy(CUES, name), name=name)
    kept, skipped = applicable(run, STANDARD_CONDITIONS)
    assert kept == list(STANDARD_CONDITIONS[: 4 if name == "ndp-hebb" else 3])
    left_out = [Skipped("off", name, "it has no plasticity to take away")]
    assert skipped == (left_out if len(kept) == 3 else [])


def test_what_goes_on_inside_by_hand(plastic, before):
    inside = InsideSums(layout_of(plastic), every=5, spiking=True)
    run(plastic, SEEDS, inside)
    assert inside.sums["count"] == [3, 3, 3, 3]  # steps 0, 5, 10, 15 of three episodes
    state = before[1]
    fast = np.sqrt(np.square(state["layer1.fast_weights"][5]).mean(axis=(1, 2))).sum()
    assert inside.sums["fast_weight_norm"][1] == pytest.approx(fast, rel=1e-5)
    modulation = state["layer1.modulation"][15].reshape(3, -1)
    assert inside.sums["modulator_mean"][3] == pytest.approx(
        modulation.mean(axis=1).sum()
    )
    assert inside.sums["modulator_spread"][3] == pytest.approx(
        modulation.std(axis=1).sum()
    )
    potentials = np.concatenate(
        [state[f"layer{k}.potential"][5] for k in (0, 1)], axis=1
    )
    assert inside.sums["firing_rate"][1] == pytest.approx(
        (potentials > 1).mean(axis=1).sum()
    )
    assert 0 < inside.sums["firing_rate"][1] < 3


def test_all_that_a_measurement_depends_on_is_in_its_name():
    task = task_of(CUES, {"trials": 4})
    job = Job(Path("x"), False, task, CLEAN, (1, 2), 20, True)
    frozen = replace(CLEAN, lesion="frozen")
    others = [
        replace(job, previous=True),
        replace(job, revealed=""),
        replace(job, told=True),
        replace(job, baseline="random"),
        replace(job, seeds=(1, 3)),
        replace(job, width=10),
        replace(job, deterministic=False),
        replace(job, task=task_of(CUES, {"trials": 5})),
        replace(job, task=task_of(PENDULUM, {})),
        replace(job, task=replace(task, horizon=99)),
        replace(job, condition=replace(CLEAN, noise=0.1)),
        replace(job, condition=replace(CLEAN, text="obs_noise=0.1")),
        replace(job, condition=frozen),
        replace(job, condition=replace(CLEAN, lesion="off")),
        replace(job, condition=replace(frozen, onset=4, text="obs_noise=0.1@4")),
        replace(job, condition=replace(frozen, text="obs_noise=0.1@4")),
    ]
    names = [cache.name_of(one, "", {"torch": "1"}) for one in (job, *others)]
    names.append(cache.name_of(job, "", {"torch": "2"}))
    names.append(cache.name_of(job, "changed", {"torch": "1"}))
    assert len(set(names)) == len(names)


def test_a_file_that_a_registered_task_names_is_in_its_name(tmp_path, monkeypatch):
    file = tmp_path / "robot.xml"
    names = []
    spec = EnvSpec(
        "Made-v0", PendulumEnv, max_episode_steps=20, kwargs={"xml_file": str(file)}
    )
    job = job_of(SimpleNamespace(folder=tmp_path / "run"), task_of(PENDULUM, {}), CLEAN)
    job = replace(job, task=replace(job.task, environment="Made-v0"))
    monkeypatch.setitem(gym.registry, "Made-v0", spec)
    for text in ("one", "other"):
        file.write_text(text)
        names.append(cache.name_of(job, "", {}))
    assert names[0] != names[1]


def test_a_task_of_a_notebook_is_never_taken_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    made = type("Made", (PendulumEnv,), {"__module__": "__main__"})
    monkeypatch.setitem(
        gym.registry, "Made-v0", EnvSpec("Made-v0", made, max_episode_steps=20)
    )
    job = job_of(SimpleNamespace(folder=tmp_path), task_of("Made-v0", {}), CLEAN)
    names = [cache.name_of(job, "", {}) for _ in range(2)]
    assert names[0] != names[1]


def job_of(run, task, condition, **more):
    return Job(
        run.folder / "policy",
        False,
        task,
        condition,
        (1_000_000, 1_000_003),
        10,
        True,
        **more,
    )


def test_a_job_freezes_where_its_condition_says(tmp_path):
    (run,), task = load_runs([save_run(tmp_path, CUES, "ndp-oja")])
    norms = {
        name: run_job(job_of(run, task, replace(CLEAN, key=name, lesion=name)))[
            "inside/fast_weight_norm"
        ]
        for name in ("off", "frozen")
    } | {"intact": run_job(job_of(run, task, CLEAN))["inside/fast_weight_norm"]}
    half = task.horizon // 2
    assert not norms["off"].any()
    np.testing.assert_array_equal(norms["frozen"][:half], norms["intact"][:half])
    assert norms["intact"][half - 1] > 0
    np.testing.assert_allclose(norms["frozen"][half:], norms["frozen"][half - 1])


def test_carry_over_begins_with_the_fast_weights_of_the_opposite_context(
    tmp_path, monkeypatch
):
    asked = []
    reset = Perturbed.reset

    def spying(self, *, seed=None, options=None):
        asked.append((seed, options))
        return reset(self, seed=seed, options=options)

    monkeypatch.setattr(Perturbed, "reset", spying)
    (run,), task = load_runs([save_run(tmp_path, PENDULUM, "ndp-oja")])
    conditions, _ = conditions_of(task, None, ["sensor_signs=seen"], ["carry-over"])
    run_job(job_of(run, task, conditions[-1]))
    opposite = {"context": "opposite"}
    assert asked == [
        (1_000_000, opposite),
        (1_000_003, opposite),
        (1_000_000, None),
        (1_000_003, None),
    ]


def test_random_actions_are_evaluated_in_the_condition():
    task = task_of(PENDULUM, {})
    conditions, _ = conditions_of(task, None, ["motor_signs:all=1"], [])
    plain, flipped = (
        run_job(Job(None, False, task, c, (3, 4), 20, True, baseline="random"))
        for c in conditions
    )
    assert not np.array_equal(plain["rewards"], flipped["rewards"])


def test_a_teacher_acts_as_is_likeliest_whatever_the_policies_do(tmp_path, monkeypatch):
    (run,), task = load_runs([save_run(tmp_path, PENDULUM, "mlp")])
    conditions, _ = conditions_of(task, None, ["motor_signs:all=1"], [])
    asked = []
    monkeypatch.setattr(plan, "run_jobs", lambda jobs, *_: (asked.extend(jobs), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        seeds = range(1_000_000, 1_000_002)
        wanted = plan.Plan([run], task, conditions, run, seeds, False, [], tmp_path)
        plan.evaluate(wanted, 1, {})
    assert [j.deterministic for j in asked if j.told] == [True]
    assert not any(j.deterministic for j in asked if j.folder and not j.told)
