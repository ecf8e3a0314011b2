"""Jobs as evaluations run them: their names on disk, lesions, contexts, baselines, the teacher."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from saved_runs import CUES, PENDULUM, save_run

from spikepropamine.envs.perturbations import Perturbed
from spikepropamine.evaluation.ask.conditions import CLEAN, conditions_of
from spikepropamine.evaluation.ask.lesions import LESIONS
from spikepropamine.evaluation.ask.runs import load_runs
from spikepropamine.evaluation.ask.task import task_of
from spikepropamine.evaluation.run import plan, store
from spikepropamine.evaluation.run.jobs import Job, run_job
from spikepropamine.evaluation.run.progress import ProgressBar


def test_all_that_a_measurement_depends_on_is_in_its_name():
    task = task_of(CUES, {"trials": 4})
    job = Job(Path("x"), "a", False, task, CLEAN, (1, 2), 20, True)
    frozen = replace(CLEAN, lesion=LESIONS["frozen"])
    others = [
        replace(job, digest="b"),
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
        replace(job, condition=replace(CLEAN, lesion=LESIONS["off"])),
        replace(job, condition=replace(frozen, onset=4, text="obs_noise=0.1@4")),
        replace(job, condition=replace(frozen, text="obs_noise=0.1@4")),
    ]
    names = [store.name_of(one, {"torch": "1"}) for one in (job, *others)]
    names.append(store.name_of(job, {"torch": "2"}))
    assert len(set(names)) == len(names)


def job_of(run, task, condition, **more):
    return Job(
        run.folder / "policy",
        run.digest,
        False,
        task,
        condition,
        (1_000_000, 1_000_003),
        10,
        True,
        **more,
    )


def test_a_job_freezes_where_its_condition_says(tmp_path):
    (run,), task = load_runs([save_run(tmp_path, CUES, "ndp-oja")], range(1_000_000, 1_000_004))
    norms = {
        name: run_job(job_of(run, task, replace(CLEAN, key=name, lesion=LESIONS[name])))[
            "inside/fast_weight_norm"
        ]
        for name in ("off", "frozen")
    } | {"intact": run_job(job_of(run, task, CLEAN))["inside/fast_weight_norm"]}
    half = task.horizon // 2
    assert not norms["off"].any()
    np.testing.assert_array_equal(norms["frozen"][:half], norms["intact"][:half])
    assert norms["intact"][half - 1] > 0
    np.testing.assert_allclose(norms["frozen"][half:], norms["frozen"][half - 1])


def test_carry_over_begins_with_the_fast_weights_of_the_opposite_context(tmp_path, monkeypatch):
    asked, reset = [], Perturbed.reset

    def spying(self, *, seed=None, options=None):
        asked.append((seed, options))
        return reset(self, seed=seed, options=options)

    monkeypatch.setattr(Perturbed, "reset", spying)
    (run,), task = load_runs([save_run(tmp_path, PENDULUM, "ndp-oja")], range(1_000_000, 1_000_004))
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
        run_job(Job(None, "", False, task, c, (3, 4), 20, True, baseline="random"))
        for c in conditions
    )
    assert not np.array_equal(plain["rewards"], flipped["rewards"])


def test_a_teacher_acts_as_is_likeliest_whatever_the_policies_do(tmp_path, monkeypatch):
    (run,), task = load_runs([save_run(tmp_path, PENDULUM, "mlp")], range(1_000_000, 1_000_002))
    conditions, _ = conditions_of(task, None, ["motor_signs:all=1"], [])
    asked = []
    monkeypatch.setattr(
        plan, "run_jobs", lambda jobs, *_: (asked.extend(j for j, _ in jobs), 1 / 0)
    )
    bar = ProgressBar(task.horizon)
    with pytest.raises(ZeroDivisionError):
        seeds = range(1_000_000, 1_000_002)
        asked_for = plan.Asked([run], task, conditions, run, seeds, False, [], tmp_path)
        plan.evaluate(asked_for, 1, {}, bar)
    bar.close()
    assert [j.deterministic for j in asked if j.told] == [True]
    assert not any(j.deterministic for j in asked if j.folder and not j.told)
