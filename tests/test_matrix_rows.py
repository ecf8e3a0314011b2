"""What a finished cell leaves in the file of its matrix."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from evaluation_of_arrays import condition, description_of
from evaluation_of_arrays import rows_of as rows_of_arrays

from spikepropamine import table
from spikepropamine.evaluation.tabulation import TOLD
from spikepropamine.folder import ASKED, RESULTS, RunFolder, seconds_of
from spikepropamine.matrix import rows as rows_module
from spikepropamine.matrix.definition import Labels
from spikepropamine.matrix.rows import OBSERVER, collect, rows_of
from spikepropamine.report.evaluation import EvaluationResults
from spikepropamine.report.results import lines_of
from spikepropamine.table import read, where


def test_a_training_in_two_sessions_took_the_time_of_both(tmp_path):
    lines = (
        "100,10,10",
        "200,20,10",
        "300,,",
        "500,75,4",
        "500,76,0",
        "600,76,0",
    )  # the second began after 200 steps
    file = tmp_path / "progress.csv"
    columns = "time/total_timesteps,time/time_elapsed,system/steps_per_second"
    file.write_text("\n".join([columns, *lines, ""]))
    assert seconds_of(file) == 20 + 75 and seconds_of(tmp_path / "missing") is None


@pytest.fixture
def finished(tmp_path):
    """A cell of which everything is there, evaluated in some conditions."""

    def cell(env, policy="ndp", results=()):
        run = RunFolder(tmp_path / "seed-0")
        return SimpleNamespace(
            labels=Labels(0, "plain", env, policy),
            results=results,
            run=run,
            files=tmp_path / "cells",
            stamp=tmp_path / "cells" / "seed-0.tiny.json",
        )

    def write(env, conditions, episodes=2, regained=None, suite="standard", way=""):
        every = [
            condition(key) | {"key": key} | more for key, more in conditions.items()
        ]
        measured = {
            ("own", None, "parameters"): [123.0],
            ("own", None, "training_return"): [4.0],
        }
        measured["own", None, "random_return"] = [np.full(episodes, -1.0)]
        for key in conditions:
            measured["own", key, "return"] = [
                7.0 + np.arange(episodes) - (episodes - 1) / 2
            ]
            measured["own", key, "correct"] = [np.tile([0.5, 1.0], (episodes, 1))]
            measured["own", key, "reward"] = {20: [3.0]}
            measured["own", key, "settled_pace"] = [np.full(episodes, 0.5)]
        if regained is not None:
            for name, value in (
                ("settled_pace", 1.0),
                ("regained", regained),
                ("return", 9.0),
            ):
                measured[TOLD, "signs", name] = [[value]]
        more = {
            "suite": suite,
            "seeds": [0, episodes - 1],
            "env_kwargs": {"noise": 0.0},
        }
        asked = description_of(every, {"own": [0]}, environment=env, **more)
        (tmp_path / suite).mkdir(exist_ok=True)
        (tmp_path / suite / ASKED).write_text(json.dumps(asked))
        rows = [row | {"suite": suite + way if row["suite"] else None,
                       "revision": "abc"}
                for row in rows_of_arrays(every, measured)]  # fmt: skip
        table.write(tmp_path / suite / RESULTS, table.table(rows))
        return cell(env, results=[tmp_path / suite])

    return write


def test_the_rows_of_a_cell_are_the_means_of_its_evaluation(finished):
    told = {"severity": 0.5, "split": "train", "lesion": "off"}
    frame = rows_of(finished("Ant-v5", {"clean": {}, "signs": told}))
    labels = frame.select(
        "environment", "setting", "policy", "seed", "revision"
    ).unique()
    assert labels.rows() == [("Ant-v5", "plain", "ndp", 0, "abc")]
    found = {
        (m, at): v for m, at, v in frame.select("measure", "at", "value").iter_rows()
    }
    assert found == {
        ("parameters", None): 123, ("training_return", None): 4, ("episodes", None): 2,
        ("random_return", None): -1, ("return", None): 7, ("correct", 0): 0.5,
        ("correct", 1): 1, ("late_accuracy", None): 1,
        ("settled_pace", None): 0.5,
    }  # fmt: skip
    (only,) = (
        where(frame, measure="return", condition="signs")
        .select("condition", "episode", *told)
        .rows(named=True)
    )
    assert only == {"condition": "signs", "episode": None} | told


def test_late_accuracy_is_a_mean_of_episodes_where_trials_have_no_answer(tmp_path):
    """By trial the means are 1, 0.5 and 1, and so 0.75 late on."""
    answers = np.array([[1.0, 0.0, np.nan], [1.0, 1.0, 1.0]])  # [episodes, trials]
    asked = description_of([condition("clean")], {"own": [0]}, seeds=[0, 1])
    (tmp_path / ASKED).write_text(json.dumps(asked))
    measured = {("own", "clean", "correct"): [answers]}
    measured["own", "clean", "return"] = [np.zeros(2)]
    measured["own", None, "random_return"] = [np.zeros(2)]
    rows = [
        row | {"suite": "standard"}
        for row in rows_of_arrays([condition("clean")], measured)
        if np.isfinite(row["value"])
    ]
    table.write(tmp_path / RESULTS, table.table(rows))
    kept = rows_module.evaluated(tmp_path)
    (late,) = lines_of(kept)["late_accuracy"]
    shown = EvaluationResults.read(tmp_path).measured("own", "clean", "late_accuracy")
    assert late == shown.mean == 0.5
    without = kept.filter(pl.col("measure") != "late_accuracy")
    assert lines_of(without)["late_accuracy"].to_list() == [0.75]  # of older files


def test_the_ideal_observer_sees_the_noise_of_its_condition_and_replaces_its_rows(
    finished, tmp_path, monkeypatch
):
    asked = []

    def observed(arguments, seeds):
        asked.append((arguments["noise"], len(seeds)))
        return np.full((len(seeds), 3), 1 - arguments["noise"])

    monkeypatch.setattr(rows_module, "ideal_responses", observed)
    conditions = {
        "clean": {},
        "noise-0.2": {"severity": 0.2},
        "plasticity-off": {"lesion": "off"},
    }
    file = tmp_path / "rows.csv"
    for episodes in (2, 5, 5):  # the task of the third may have other arguments
        cells = [finished("CueAssociation-v0", conditions, episodes)] * 2
        collect(cells, file)  # of one task, so that it is asked once
    asked_each_time = [(noise, n) for n in (2, 5, 5) for noise in (0.0, 0.2)]
    assert asked == asked_each_time
    observer = where(read(file), policy=OBSERVER)
    assert where(observer, measure="episodes")["value"].to_list() == [5]
    late = where(observer, measure="correct", at=2).select("condition", "value").rows()
    assert late == [("clean", 1.0), ("noise-0.2", 0.8)]
    collect([finished("CueAssociation-v0", conditions, 5, way="-x2")], file)
    suites = where(read(file), policy=OBSERVER, measure="return", condition="clean")[
        "suite"
    ]
    assert suites.to_list() == ["standard", "standard-x2"]


def test_a_file_keeps_its_order_when_some_of_its_runs_are_made_anew(finished, tmp_path):
    cell = finished("Ant-v5", {"clean": {}})
    for policy in ("snn", "mlp", "lstm", "mlp"):
        cell.labels = cell.labels._replace(policy=policy)
        assert collect([cell], tmp_path / "rows.csv") == rows_of(cell).height
    frame = read(tmp_path / "rows.csv")
    assert frame["policy"].unique(maintain_order=True).to_list() == [
        "snn",
        "mlp",
        "lstm",
    ]
    assert not frame.drop("value").is_duplicated().any()


def test_a_teacher_that_is_told_is_on_file_beside_the_policies(finished, tmp_path):
    conditions = {
        "clean": {},
        "signs": {"split": "held-out"},
        "signs [off]": {"lesion": "off"},
    }
    for share in (0.5, 0.75):  # what was there is replaced
        collect([finished("Ant-v5", conditions, 4, share)], tmp_path / "rows.csv")
    told = where(read(tmp_path / "rows.csv"), policy=TOLD)
    assert told.select("condition", "split", "measure", "value",
                       pl.col("seed")).rows() == [
        ("signs", "held-out", "settled_pace", 1.0, None),
        ("signs", "held-out", "regained", 0.75, None),
    ]  # fmt: skip
