"""Rows of results: what a finished cell leaves, and the files that hold them."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from saved_runs import ROOT

from spikepropamine.common import UsageError
from spikepropamine.folder import RunFolder
from spikepropamine.matrix import rows as rows_module
from spikepropamine.matrix.rows import (
    OBSERVER,
    TOLD,
    Row,
    collect,
    learning_curve,
    read_rows,
    rows_of,
    write_rows,
)
from spikepropamine.matrix.tables import adaptation, contexts


def test_a_training_in_two_sessions_took_the_time_of_both():
    clock = [{"time/time_elapsed": x} for x in ("9", "13", "", "1", "4")]
    assert rows_module._seconds(clock) == 17
    assert rows_module._seconds(clock[:2]) == 13


def test_a_learning_curve_is_known_from_the_first_episode_that_ended():
    steps = ["16", "32", "48", "64"]
    progress = [
        {"time/total_timesteps": step, "rollout/ep_rew_mean": value}
        for step, value in zip(steps, ["", "4", "8", "6"])
    ]
    curve = [float(value) for value in learning_curve(progress, 80).split()]
    assert len(curve) == 20  # one every 4 steps
    assert curve[7:16] == [4, 5, 6, 7, 8, 7.5, 7, 6.5, 6]
    assert curve[16:] == [6, 6, 6, 6]
    assert np.isnan(curve[:7]).all()
    assert learning_curve(progress[:1], 80) == ""


def mean(value):
    return {"mean": value}


ADAPTATION = {
    "first": {"settled_pace": mean(0.5), "opening_over_off": mean(0.25), "regained": None,
              "time_to_identify": mean(40.0)},
    "later": {"settled_pace": mean(0.75), "opening_over_off": mean(9.0), "regained": mean(0.125),
              "time_to_identify": mean(9.0)},
}  # fmt: skip
RESULT = {
    "return": mean(7.0), "retention": mean(0.8), "late_accuracy": mean(0.9),
    "accuracy_by_trial": [mean(0.5), mean(1.0)],
    "recovery": {"fraction": mean(0.6), "time": mean(30.0)}, "adaptation": ADAPTATION,
}  # fmt: skip


@pytest.fixture
def finished(tmp_path):
    """A cell of which everything is there, judged in some conditions."""
    run = RunFolder(tmp_path / "run")
    run.policy.mkdir(parents=True)
    metadata = {"steps": 32, "versions": {"revision": "abc"}}
    (run.policy / "policy.json").write_text(json.dumps({"metadata": metadata}))
    lines = (
        "rollout/ep_rew_mean,time/time_elapsed,time/total_timesteps\n"
        "1.0,10,8\n9.0,20,16\n,25,24\n4.0,30.6,32\n"
    )
    run.progress.write_text(lines)

    def write(env, conditions, episodes=2, references=None, suite="standard"):
        settings = {"env": env, "env_kwargs": {"noise": 0.0}, "suite": suite,
                    "episodes": episodes, "seeds": [0, episodes - 1]}  # fmt: skip
        known = {"severity": None, "split": None, "lesion": None}
        summary = {
            "settings": settings,
            "policies": {"own": {"actor_parameters": 123, "random_return": -1.0}},
            "conditions": [{"key": key} | known | more for key, more in conditions.items()],
            "results": {"own": dict.fromkeys(conditions, RESULT)},
            "references": references or {},
        }
        (tmp_path / suite).mkdir(exist_ok=True)
        (tmp_path / suite / "summary.json").write_text(json.dumps(summary))
        return SimpleNamespace(run=run, root=tmp_path, evaluations=[suite], env=env,
                               setting="plain", policy="ndp", seed=3)  # fmt: skip

    return write


def test_a_row_has_what_the_log_and_the_summary_say(finished):
    told = {"severity": 0.5, "split": "train", "lesion": "off"}
    (row,) = rows_of(finished("Ant-v5", {"signs": told}))
    assert row == Row(
        env="Ant-v5", setting="plain", policy="ndp", seed=3, parameters=123, steps=32, seconds=31,
        training_return=4.0, best_training_return=9.0, suite="standard", condition="signs",
        severity=0.5, split="train", lesion="off", episodes=2, ret=7.0, random_return=-1.0,
        retention=0.8, late_accuracy=0.9, accuracy_by_trial="0.5 1", settled_pace=0.5,
        later_settled_pace=0.75, opening_over_off=0.25, time_to_identify=40.0, regained=0.125,
        revision="abc",
    )  # fmt: skip


def test_the_ideal_observer_sees_the_noise_of_its_condition_and_replaces_what_it_did_before(
    finished, tmp_path, monkeypatch
):
    asked = []

    def observed(arguments, seeds):
        asked.append((arguments["noise"], len(seeds)))
        return {"late_accuracy": 1 - arguments["noise"]}

    monkeypatch.setattr(rows_module, "observed", observed)
    conditions = {"clean": {}, "noise-0.2": {"severity": 0.2}, "plasticity-off": {"lesion": "off"}}
    file = tmp_path / "rows.csv"
    for episodes in (2, 5):
        collect([finished("CueAssociation-v0", conditions, episodes)], file)
    assert asked == [(0.0, 2), (0.2, 2), (0.0, 5), (0.2, 5)]
    collect([finished("CueAssociation-v0", {"obs_dropout=0.2": {}}, 5)], file)  # it knows of none
    assert len(asked) == 4
    observer = [row for row in read_rows(file) if row.policy == OBSERVER]
    found = sorted((row.condition, row.episodes, row.late_accuracy) for row in observer)
    assert found == [("clean", 5, 1.0), ("noise-0.2", 5, 0.8)]


def test_a_file_keeps_its_order_when_some_of_its_runs_are_made_anew(finished, tmp_path):
    cell = finished("Ant-v5", {"clean": {}})
    for policy in ("snn", "mlp", "lstm", "mlp"):
        cell.policy = policy
        collect([cell], tmp_path / "rows.csv")
    assert [row.policy for row in read_rows(tmp_path / "rows.csv")] == ["snn", "mlp", "lstm"]


def test_a_teacher_that_is_told_is_on_file_beside_the_policies(finished, tmp_path):
    conditions = {"clean": {}, "signs": {"split": "held-out"}, "signs [off]": {"lesion": "off"}}
    random = {"first": {"settled_rate": 0.1, "regained": None}, "later": None}
    for share in (0.5, 0.75):  # what was there is replaced
        changes = {"settled_rate": None, "regained": share}
        teacher = {"first": {"settled_rate": 5.0, "regained": None}, "later": changes}
        references = {"signs": {"random": random, "teacher": teacher}}
        collect([finished("Ant-v5", conditions, 4, references)], tmp_path / "rows.csv")
    (told,) = (row for row in read_rows(tmp_path / "rows.csv") if row.policy == TOLD)
    assert told == Row(env="Ant-v5", setting="plain", policy=TOLD, condition="signs",
                       split="held-out", episodes=4, settled_pace=1.0, regained=0.75)  # fmt: skip
    with_suites = {"clean": {}, "signs": {"split": "held-out"}}
    cells = [finished("Ant-v5", with_suites, 4, references, suite) for suite in ("one", "two")]
    collect(cells, tmp_path / "suites.csv")
    told = [row for row in read_rows(tmp_path / "suites.csv") if row.policy == TOLD]
    assert [row.suite for row in told] == ["one", "two"]
    with pytest.raises(UsageError, match="judged by several suites"):
        adaptation([tmp_path / "suites.csv"])
    with pytest.raises(UsageError, match="judged by several suites"):
        contexts([tmp_path / "suites.csv"])


@pytest.mark.parametrize("name", ["cue-ppo", "cue-supervised", "robots"])
def test_the_committed_results_can_be_read(name):
    """Older ones have fewer columns."""
    file = ROOT / "benchmarks" / "results" / f"{name}.csv"
    rows = read_rows(file)
    with file.open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines):
        assert row.ret == pytest.approx(float(line["return"]))
        assert row.condition == line["condition"]


def test_rows_survive_their_file(tmp_path):
    rows = read_rows(ROOT / "benchmarks" / "results" / "robots.csv")
    write_rows(tmp_path / "again.csv", rows)
    assert read_rows(tmp_path / "again.csv") == rows


def test_a_number_that_is_not_finite_is_refused(tmp_path):
    file = tmp_path / "rows.csv"
    write_rows(file, [Row(env="Ant-v5", policy="snn", condition="clean", ret=float("nan"))])
    with pytest.raises(UsageError, match="ret is nan"):
        read_rows(file)


def test_a_file_of_something_else_is_refused(tmp_path):
    file = tmp_path / "other.csv"
    file.write_text("env,policy\nCueAssociation-v0,snn\n")
    with pytest.raises(UsageError, match="holds no results"):
        read_rows(file)
